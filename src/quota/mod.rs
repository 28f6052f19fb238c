//! Quotas: how much a protected table stores for each tenant, project, user or value of a column. How much it may is a limit of kind
//! amount; this room counts.
//!
//! Triggers of the table sum what a statement adds and takes. At the statement's end each counter changes once, and is refused there
//! if it would pass its limit. Counters are rows: a rollback, a crash and a restore treat them as they treat what they count.
//!
//! | file | what |
//! | --- | --- |
//! | `definitions` | the quotas of a table, cached by each backend |
//! | `allowed` | how much a counter may count |
//! | `changes` | what the running statements have added and taken |
//! | `count` | the trigger |
//! | `flush` | changing the counters at the end of a statement |
//! | `recount` | counting a table anew |
//! | `set` | `set_quota()`, `drop_quota()`, `recount()` |
//! | `follow` | partitions that come and go, and renamed columns |

mod allowed;
mod changes;
mod count;
mod definitions;
mod flush;
mod follow;
mod recount;
mod set;

use crate::pg::hooks::{self, frames};

/// Registers callbacks; called once, when the library is loaded.
pub fn init() {
    definitions::init();
    frames::init(frames::OnFrame {
        end: flush::end,
        forget: changes::forget,
    });
    hooks::follow(hooks::Follow {
        child: follow::child,
        detached: follow::detached,
        rename: follow::rename,
    });
}
