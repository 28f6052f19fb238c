//! The server's side of tenancy: everything unsafe lives here, and nothing here knows a rule. It imports no other room:
//! what is to be asked when the server calls comes as tables of functions.
//!
//! From the ground up; a folder uses those above it in this table:
//!
//! | where | what |
//! | --- | --- |
//! | `cell` | statics of one backend: single-threaded, so a plain cell |
//! | `memory` | allocations that fail |
//! | `raise` | the catalogue's errors, and the name of each where drivers read it |
//! | `backtrace` | keeps Rust's frames out of errors |
//! | `time`, `zone` | the clock, time zones |
//! | `statics` | what the server only reads |
//! | `uuid` | the server's form of ids |
//! | `numeric` | numerics as they are stored |
//! | `quote` | identifiers in SQL texts |
//! | `nodes` | what parse trees hold |
//! | `catalog/` | what the catalogs say of relations, functions and roles; the extension's own objects |
//! | `session/` | settings, the sealed context and its key, the client, the transaction, what stays in a session |
//! | `cache/` | what cached answers were made of, and messages that it has changed |
//! | `query/` | queries as the owner of tenancy's objects, savepoints and snapshots for them; rows without a query |
//! | `planner/` | tenancy's conditions before all others |
//! | `shared/` | shared memory: counters, the ledger, requests, which database has a worker; the workers' processes |
//! | `call/` | C functions and triggers that are called often; management functions, and who is in their way |
//! | `hooks/` | on statements, queries and the ends of transactions: what a policy cannot see |

pub mod backtrace;
mod cache;
mod call;
mod catalog;
pub mod cell;
pub mod hooks;
pub mod memory;
pub mod nodes;
pub mod numeric;
pub mod planner;
mod query;
pub mod quote;
pub mod raise;
pub mod session;
mod shared;
pub mod statics;
pub mod time;
pub mod uuid;
pub mod zone;

pub use cache::{inval, sources};
pub use call::{blockers, bounded, fmgr, managed, row, tenant_sets, trigger};
pub use catalog::{ddl, extension, function, relation, role};
pub use hooks::transaction_end;
pub use planner::support;
pub use query::{heap_insert, savepoint, scan, snapshot, spi};
pub use session::{client, cluster, guc, secret, xact};
pub use shared::{bgworker, capped, counts, events, kept, latch, ledger, queue, workers};
