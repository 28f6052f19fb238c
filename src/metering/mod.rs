//! Metering: usage events and their sums. Events are append-only rows, written without a query and without
//! locks between writers; the worker rolls them up.
//!
//! | file | what |
//! | --- | --- |
//! | `record` | recording events: the only way to write one |
//! | `attribution` | the scopes that an event belongs to |
//! | `metrics` | the metrics, cached by each backend |
//! | `record_usage` | `record_usage()` and its variants, and INSERT into `recorded_usage` |
//! | `rerate` | what events cost at the prices of the book now, and corrections |
//! | `rollup` | rolls events up, for the worker |
//! | `rules` | rules of core, for SQL |
//! | `settings` | the settings `tenancy.usage_*` |

pub mod attribution;
mod metrics;
mod record;
mod record_usage;
mod rerate;
mod rollup;
mod rules;
pub mod settings;

pub use record::check_recordable;
pub use record_usage::{
    Arguments, Settled, id, quantity_of, reserved, settled, wish, wish_of_cost,
};
pub use rollup::{forget_keys, retire, roll, summarize};

/// Defines the settings, while the server loads its libraries.
pub fn init() {
    settings::init();
}
