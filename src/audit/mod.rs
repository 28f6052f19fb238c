//! The audit log. Entries are inserted without a query and without locking each other; the worker seals them later.
//! The caller names the actor, which it knows from the context.
//!
//! | file | what |
//! | --- | --- |
//! | `entry` | the actor, and the row of an entry |
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
