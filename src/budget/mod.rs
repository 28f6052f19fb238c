//! Budgets: what a scope may use of something in a period, asked before it is used. The `ledger` counts, and admits.
//!
//! | file | what |
//! | --- | --- |
//! | `consume` | `consume()` |
//! | `check` | `check_budget()`, `fits()` |
//! | `reservations` | `reserve()`, `settle()`, `cancel()` |

mod check;
mod consume;
mod reservations;
