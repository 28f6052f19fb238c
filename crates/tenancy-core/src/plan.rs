//! Plans, features and settings: which values they may have, and which of several values counts.

mod budgets;
mod contents;
mod definition;
mod limits;
mod resolve;
mod resources;

pub use budgets::{PlanBudget, PlanMetric};
pub use contents::{Contents, Names, parse};
pub use definition::{Definition, Definitions, Fault, Type, check_name, clash};
pub use limits::{LimitKind, PlanLimit};
pub use resolve::{Effective, effective, leaves, placed};

#[cfg(test)]
mod tests;
