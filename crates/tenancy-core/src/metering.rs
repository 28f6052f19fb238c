//! Metrics, prices, periods, spans, repeated keys and the plan of rollups.

pub mod metric;
pub mod period;
pub mod price;
pub mod repeat;
pub mod rollup_plan;
pub mod span;
