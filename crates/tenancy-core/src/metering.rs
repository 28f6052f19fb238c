//! What may be metered, and how it adds up.

pub mod metric;
pub mod period;
pub mod rollup_plan;
pub mod span;
