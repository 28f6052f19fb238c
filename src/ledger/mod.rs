//! The counters of budgets: exact at every level under concurrency. Rows are the truth; the ledger in shared memory holds
//! their sums and the amounts in flight.
//!
//! | file | what |
//! | --- | --- |
//! | `event` | what an event adds to the counters |
//! | `admission` | whether there is room for it in every budget |
//! | `alerts` | the worker's alerts: thresholds that were reached, requests that were refused |
//! | `budget_cache` | the budgets of scopes, kept by each backend |
//! | `credits` | draws from credits on top of budgets |
//! | `load` | reads the sums of an account from rows |
//! | `expiry` | amounts of reservations, and their expiry |
//! | `parts` | budgets of parts of usage that are set while transactions run |
//! | `settings` | how many reservations may be open |
//! | `inspect` | the ledger, for SQL |

mod admission;
mod alerts;
mod budget_cache;
pub mod credits;
mod event;
mod expiry;
mod inspect;
pub mod load;
mod parts;
mod settings;

pub use admission::{Admission, Admitted, admit, recorded, try_admit};
pub use alerts::{alert, alert_refusals, refusals_due};
pub use budget_cache::{Budget, end, of as budgets_of, parts_of};
pub use event::{Event, note, note_open};
pub(crate) use expiry::held_columns;
pub use expiry::{any_expired, expire, free, held};
pub use inspect::thrashing;
pub use settings::init;
