//! Plans, features and settings: which value counts for a context. SQL writes them (sql/plan).
//!
//! | file | what |
//! | --- | --- |
//! | `definitions` | the features and settings that there are |
//! | `values` | the values of the scopes of a context and of its tenant's plan, cached until they change |
//! | `functions` | `feature()`, `setting()` and the like |
//! | `effective` | every value of a scope, and where it comes from, for a view |
//! | `resources` | the resources of the server that a plan allows |
//! | `check` | rules of core, for SQL |

mod check;
mod definitions;
mod effective;
mod functions;
mod resources;
mod values;

pub use resources::init;
