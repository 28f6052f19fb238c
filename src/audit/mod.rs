//! The audit log: what happened, who did it, to whom. Rows go in without a query and without a lock
//! on one another; the worker seals them afterwards.
//!
//! | file | what |
//! | --- | --- |
//! | `entry` | who acts, and the row that comes of it |
//! | `own` | tenancy's own entries |
//! | `application` | `audit()` |
//! | `maintenance` | `maintenance()`, before it is a power |
//! | `logins` | logins, kept in shared memory |
//! | `settings` | the settings `tenancy.audit_*` |

mod application;
mod entry;
pub mod logins;
pub mod maintenance;
mod own;
pub mod settings;

pub use entry::{row, write_row};
pub use own::{checked_reason, record, record_now};

/// Takes the shared memory and defines the settings; while the server loads its libraries.
pub fn init() {
    crate::pg::counts::init();
    crate::pg::capped::init();
    crate::pg::events::init();
    settings::init();
}
