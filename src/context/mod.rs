//! Who is asking: the context of the current transaction, and the only ways into one.
//!
//! | file | what |
//! | --- | --- |
//! | `current` | the context in force, resolved once per generation |
//! | `leftovers` | one principal a transaction, and nothing of the last one left in the session |
//! | `plans` | which kind of context cached plans were made for |
//! | `elevated` | what is held at the platform reaches rows, in recorded statements |
//! | `enter` | authenticate, assume, maintenance: the ways in |
//! | `narrow` | select_tenant, select_project, release |
//! | `principal` | who a context is for |
//! | `show` | the accessors |
//! | `api_keys`, `tickets` | the two kinds of credential |

pub mod api_keys;
pub mod current;
pub mod elevated;
mod enter;
mod leftovers;
mod narrow;
pub mod plans;
pub mod principal;
mod show;
pub mod tickets;

pub use current::{Current, current};

pub use leftovers::before_statement;

use crate::pg::hooks::queries;

/// Connects the context to the backend's life: called once, when the library is loaded.
pub fn init() {
    crate::pg::guc::init(tickets::changed);
    crate::pg::xact::init(crate::pg::xact::OnEnd {
        before_commit: leftovers::before_commit,
        transaction: |committed| {
            current::end_transaction();
            leftovers::end_transaction(committed);
            plans::end_transaction();
            queries::forget(0);
        },
        savepoint_abort: |savepoint| {
            leftovers::abort_savepoint(savepoint);
            plans::abort_savepoint();
            queries::forget(savepoint);
        },
    });
    crate::pg::inval::init();
}
