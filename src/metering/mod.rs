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
//! | `closed` | periods that are closed |
//! | `rights` | what a caller may change of what is recorded |
//! | `void` | `void_event()` |
//! | `rollup` | rolls events up, for the worker |
//! | `rules` | rules of core, for SQL |
//! | `settings` | the settings `tenancy.usage_*` |

pub mod attribution;
pub mod closed;
mod metrics;
mod record;
mod record_usage;
mod rerate;
pub mod rights;
mod rollup;
mod rules;
pub mod settings;
mod void;

pub use record::{check_recordable, key_of, reused, use_up};
pub use record_usage::{
    Arguments, Settled, grown, id, quantity_of, reserved, settled, wish, wish_of_cost,
};
pub use rollup::{forget_keys, retire, roll, summarize};

/// Defines the settings, while the server loads its libraries.
pub fn init() {
    settings::init();
}
