//! The server's side of tenancy: everything unsafe lives here, and nothing here knows a rule. It imports no other room:
//! rooms register tables of functions that the server's hooks call.
//!
//! From the ground up; a folder uses those above it in this table:
//!
//! | where | what |
//! | --- | --- |
//! | `cell` | statics of one backend: single-threaded, so a plain cell |
//! | `memory` | allocations that can fail |
//! | `raise` | the catalogue's errors, and the name of each where drivers read it |
//! | `backtrace` | keeps Rust's frames out of errors |
//! | `time`, `zone` | the clock, time zones |
//! | `statics` | data that the server only reads |
//! | `uuid` | the server's form of ids |
//! | `numeric` | numerics as they are stored |
//! | `quote` | identifiers in SQL texts |
//! | `nodes` | reads parse trees |
//! | `catalog/` | relations, functions and roles in the catalogs; the extension's own objects |
//! | `session/` | settings, the sealed context and its key, the client, the transaction, leftovers of a session |
//! | `cache/` | what cached results depend on, and the messages that invalidate them |
//! | `query/` | queries as the owner of tenancy's objects, savepoints and snapshots for them; rows without a query |
//! | `planner/` | tenancy's conditions before all others |
//! | `shared/` | shared memory: counters, the ledger, requests, which database has a worker; the workers' processes |
//! | `call/` | C functions and triggers that are called often; management functions, and the transactions that block them |
//! | `hooks/` | hooks on statements, queries and the ends of transactions, for what policies cannot check |

pub mod backtrace;
mod cache;
mod call;
mod catalog;
pub mod cell;
pub mod hooks;
pub mod memory;
pub mod nodes;
pub mod numeric;
pub mod numeric_text;
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
pub use call::{blockers, bounded, fmgr, managed, row, statement, tenant_sets, trigger};
pub use catalog::{
    ddl, extension, function, inheritance, lookup, partition, relation, role, types,
};
pub use hooks::transaction_end;
pub use planner::{keys, support};
pub use query::{
    counters, heap_insert, row_source, rows, savepoint, scan, secret_rows, snapshot, spi,
};
pub use session::{ceilings, client, cluster, guc, lock, procedure, secret, xact};
pub use shared::{
    bgworker, capped, connections, counts, events, kept, latch, ledger, queue, rates, refusals,
    slots, workers,
};
