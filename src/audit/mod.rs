//! The audit log: what happened, who did it, to whom. Rows go in without a query and without a lock
//! on one another; the worker seals them afterwards. Who acts is said by the caller: the context knows.
//!
//! | file | what |
//! | --- | --- |
//! | `entry` | who acts, and the row that comes of it |
//! | `internal` | tenancy's own entries |
//! | `maintenance` | the record of `maintenance()`, before it takes effect |
//! | `logins` | logins, counted in shared memory |
//! | `settings` | the settings `tenancy.audit_*` |

mod entry;
mod internal;
pub mod logins;
pub mod maintenance;
pub mod settings;

pub use entry::{Actor, write, write_row};
pub use internal::{checked_reason, record, record_now};

/// Requests shared memory and defines the settings, while the server loads its libraries.
pub fn init() {
    crate::pg::counts::init();
    crate::pg::capped::init();
    crate::pg::events::init();
    settings::init();
}
