//! Adopting the schema of an application that exists: the procedure `tenancy.adopt()`.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | reads the catalogs and the rows to be decided on, and plans |
//! | `run` | the procedure: runs the plan, a transaction for each step |
//! | `step` | runs a step, or a batch of it |
//! | `tenants` | creates tenants from the application's own table of them |

mod plan;
mod run;
mod step;
mod tenants;
