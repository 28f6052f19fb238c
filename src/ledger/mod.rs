//! The counters of budgets: exact at every level, whoever asks at once. Rows are the truth; the ledger in shared memory
//! is what they add up to and what is in flight.
//!
//! | file | what |
//! | --- | --- |
//! | `event` | what is counted of an event, and the note of it |
//! | `admission` | whether there is room for it in every budget |
//! | `budget_cache` | the budgets of scopes, kept by each backend |
//! | `credits` | what is drawn from credits on top of budgets |
//! | `load` | what rows say of an account |
//! | `expiry` | what reservations hold, until their time is over |
//! | `settings` | how many reservations may be open |
//! | `inspect` | the ledger, for SQL |

mod admission;
mod budget_cache;
pub mod credits;
mod event;
mod expiry;
mod inspect;
pub mod load;
mod settings;

pub use admission::{Admission, admit, recorded};
pub use budget_cache::{Budget, end, of as budgets_of};
pub use event::{Event, note, note_open};
pub use expiry::{any_expired, expire, free, held};
pub use inspect::{alert, thrashing};
pub use settings::init;
