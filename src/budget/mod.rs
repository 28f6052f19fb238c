//! Budgets: how much a scope may use of a metric in a period. The `ledger` counts usage and admits it.
//!
//! | file | what |
//! | --- | --- |
//! | `consume` | `consume()` |
//! | `check` | `check_budget()`, `fits()` |
//! | `reservations` | `reserve()`, `settle()`, `cancel()` |

mod check;
mod consume;
mod reservations;
