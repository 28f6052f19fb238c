//! Adopting the schema of an application that exists: the procedure `tenancy.adopt()`.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | reads the catalogs and the rows to be decided on, and plans |
//! | `run` | the procedure: runs the plan, a transaction for each step |
//! | `alone` | keeps two sessions from running these procedures at the same time |
//! | `retry` | its transactions, which wait for locks only briefly |
//! | `step` | runs a step, or a batch of it |
//! | `watch` | what follows a statement that makes a table for tenants' rows |
//! | `follow` | the tenant of a row of the application's table of tenants |
//! | `children` | the tenant of a row that belongs to one through another table |
//! | `moves` | the tenant of the rows that follow one which moves to another tenant |
//! | `links` | the tables that both read the tenant from |
//! | `keys` | the procedure fix_foreign_keys() |
//! | `unfix` | the procedure unfix_foreign_keys() |
//! | `replaced` | what the foreign keys were, for both |
//! | `tenants` | creates tenants from the application's own table of them |

mod alone;
mod children;
mod follow;
mod keys;
mod links;
mod moves;
mod plan;
mod replaced;
mod retry;
mod run;
mod step;
mod tenants;
mod unfix;
mod watch;

pub use alone::with_object as alone_with;
pub use retry::{LOCK_TIMEOUT, Patient, wait_at_most};
