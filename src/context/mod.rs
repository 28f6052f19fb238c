//! The context of the current transaction, and the only ways to enter one.
//!
//! | file | what |
//! | --- | --- |
//! | `current` | the context in force, resolved once per generation |
//! | `session_cleanup` | one principal a transaction; clears the session of the last one |
//! | `plans` | which kind of context cached plans were made for |
//! | `elevated` | permissions at the platform reach rows, in recorded statements |
//! | `enter` | authenticate, assume, maintenance: the ways in |
//! | `maintenance` | all rows for a transaction, by a call or by a setting |
//! | `narrow` | select_tenant, select_project, release |
//! | `record`, `application` | entries of the audit log for what a context does: tenancy's, and `audit()` |
//! | `accessors` | `tenant_id()`, `user_id()` and the others |
//! | `outside` | `cache_key()` and `subject()`: names outside the database |
//! | `api_keys`, `tickets` | the two kinds of credential |

mod accessors;
pub mod api_keys;
mod application;
pub mod current;
pub mod elevated;
mod enter;
mod maintenance;
mod narrow;
mod outside;
pub mod plans;
mod record;
mod session_cleanup;
pub mod tickets;

pub use accessors::project_key;
pub use current::{Context, before_statement, current, epoch, on_resolved, required};
pub use enter::{Maintained, maintain};
pub use record::{record, record_now};

use crate::pg::hooks::queries;
use crate::pg::{ceilings, connections, transaction_end};

/// Registers the context's callbacks; called once, when the library is loaded.
pub fn init() {
    crate::pg::guc::init(tickets::changed, plans::discard_pruned, plans::widen);
    transaction_end::init(transaction_end::OnEnd {
        before_commit: |ending| {
            // Before settings are reset: to what they were.
            ceilings::lift();
            session_cleanup::before_commit(ending)
        },
        transaction: |committed| {
            ceilings::lift();
            connections::leave();
            current::end_transaction();
            session_cleanup::end_transaction(committed);
            plans::end_transaction();
            queries::forget(0);
        },
        savepoint_abort: |savepoint| {
            session_cleanup::abort_savepoint(savepoint);
            plans::abort_savepoint();
            queries::forget(savepoint);
        },
    });
    crate::pg::inval::init();
}
