//! Budgets: what a scope may use of something in a period. Exact at every level, whoever asks at once:
//! rows are the truth, the ledger in shared memory is what they add up to and what is in flight.
//!
//! | file | what |
//! | --- | --- |
//! | `book` | the budgets of scopes, kept by each backend |
//! | `account` | what an event means for the ledger: admission, and the note of what was recorded |
//! | `credits` | what is drawn from credits on top of budgets |
//! | `load` | what rows say of an account |
//! | `functions` | `check_budget()`, `fits()` |
//! | `reservations` | `reserve()`, `settle()`, `cancel()`, and what becomes of those that expire |
//! | `settings` | how many reservations may be open |
//! | `show` | the ledger, for SQL |

mod account;
mod book;
mod credits;
mod functions;
mod load;
mod reservations;
mod settings;
mod show;

pub use account::{Asked, Event, recorded};
pub use credits::tidy;
pub use reservations::expire;
pub use settings::init;
pub use show::{alert, text, thrashing};
