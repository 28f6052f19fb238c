//! Metering: what was used, by whom, and what it adds up to. Events are rows that nobody changes,
//! written without a query and without a lock on one another; the worker rolls them up.
//!
//! | file | what |
//! | --- | --- |
//! | `record` | an event, and the one way in for all of them |
//! | `place` | the scopes that an event belongs to |
//! | `metrics` | what may be counted, kept by each backend |
//! | `functions` | `record_usage()` and its kin, and INSERT into `recorded_usage` |
//! | `rollup` | what the worker does |
//! | `rules` | rules of core, for SQL |
//! | `settings` | the settings `tenancy.usage_*` |

mod functions;
mod metrics;
pub mod place;
mod record;
mod rollup;
mod rules;
pub mod settings;

pub use functions::{Settled, quantity_of, reserved, settled, wish};
pub use record::check_recordable;
pub use rollup::{forget_keys, retire, roll, summarize};

/// Defines the settings; while the server loads its libraries.
pub fn init() {
    settings::init();
}
