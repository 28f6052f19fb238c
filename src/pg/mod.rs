//! The server's side of tenancy: everything unsafe lives here, and nothing here knows a rule.
//!
//! | file | what it wraps |
//! | --- | --- |
//! | `cell` | statics of one backend: single-threaded, so a plain cell |
//! | `secret` | the key in shared memory that context tokens are made with |
//! | `guc` | the settings `tenancy.*`: sealed context, ticket, switches |
//! | `xact` | transaction and savepoint ends |
//! | `inval` | invalidation messages between backends |
//! | `sources` | what cached answers were made of |
//! | `ddl` | whose code a statement sets off |
//! | `session` | what a backend carries from one transaction into the next |
//! | `savepoint` | savepoints of tenancy's own |
//! | `session_settings` | settings that a transaction leaves in the session |
//! | `snapshot` | snapshots to read at that are newer than the statement's |
//! | `spi` | queries as the owner of tenancy's objects, with a pinned search_path |
//! | `relation` | what pg_class says of a relation |
//! | `function` | what pg_proc says of a function |
//! | `role` | who is calling |
//! | `blockers` | ending the transactions of the managed that hold up who manages them |
//! | `managed` | management functions: run as the owner, and know who called |
//! | `memory` | allocations that fail |
//! | `backtrace` | keeps Rust's frames out of errors |
//! | `bounded` | arguments that are measured before they are converted |
//! | `fmgr` | C functions called per row, without pgrx's argument conversion |
//! | `row` | the row that a function answers with |
//! | `planner` | tenancy's conditions before all others |
//! | `statics` | what the server only reads |
//! | `support` | the planner support function's node surgery |
//! | `time` | the clock |
//! | `zone` | time zones |
//! | `hooks` | on utility statements and queries: what a policy cannot see |
//! | `nodes` | what parse trees hold |
//! | `published` | the scope sets that per-row calls read |
//! | `append` | rows without a query |
//! | `client` | where the client is |
//! | `cluster` | the cluster and the transaction |
//! | `counts` | counters in shared memory |
//! | `capped` | counters in shared memory that come to few rows |
//! | `events` | what the worker writes one by one, in shared memory |
//! | `kept` | what is counted, while the server is down |
//! | `ledger` | the ledger's memory, and where transactions enter and leave it |
//! | `queue` | requests to the database's worker, in shared memory |
//! | `trigger` | triggers in C |
//! | `worker` | the processes of background workers and of the launcher |
//! | `workers` | which databases have a worker and need one, in shared memory |

pub mod append;
pub mod backtrace;
pub mod blockers;
pub mod bounded;
pub mod capped;
pub mod cell;
pub mod client;
pub mod cluster;
pub mod counts;
pub mod ddl;
pub mod events;
pub mod fmgr;
pub mod function;
pub mod guc;
pub mod hooks;
pub mod inval;
pub mod kept;
pub mod ledger;
pub mod managed;
pub mod memory;
pub mod nodes;
pub mod planner;
pub mod published;
pub mod queue;
pub mod relation;
pub mod role;
pub mod row;
pub mod savepoint;
pub mod scan;
pub mod secret;
pub mod session;
pub mod session_settings;
pub mod snapshot;
pub mod sources;
pub mod spi;
pub mod statics;
pub mod support;
pub mod time;
pub mod trigger;
pub mod worker;
pub mod workers;
pub mod xact;
pub mod zone;
