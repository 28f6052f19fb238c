//! Shared memory, and the processes that work with it.
//!
//! | file | what |
//! | --- | --- |
//! | `area` | areas of shared memory whose size a setting decides |
//! | `rates` | the buckets of rate limits |
//! | `refusals` | what budgets refused |
//! | `slots` | slots that are held |
//! | `ledger` | the ledger's memory, and where transactions enter and leave it |
//! | `counts` | counters |
//! | `connections` | transactions of tenants that may have so many |
//! | `capped` | counters that come to few rows |
//! | `events` | what the worker writes one by one |
//! | `kept` | what is counted, while the server is down |
//! | `queue` | requests to the database's worker |
//! | `workers` | which databases have a worker and need one |
//! | `bgworker` | the processes of background workers and of the launcher |
//! | `latch` | waking a process |

mod area;
pub mod bgworker;
pub mod capped;
pub mod connections;
pub mod counts;
pub mod events;
pub mod kept;
pub mod latch;
pub mod ledger;
pub mod queue;
pub mod rates;
pub mod refusals;
pub mod slots;
pub mod workers;
