//! Metrics, prices, periods, spans and the plan of rollups.

pub mod metric;
pub mod period;
pub mod price;
pub mod rollup_plan;
pub mod span;
