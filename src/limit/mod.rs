//! Limits: rates, slots and amounts, for scopes and for the scopes and API keys below them. Other rooms ask [`effective`]
//! which values apply.
//!
//! | file | what |
//! | --- | --- |
//! | `definitions` | the names of limits, cached by each backend |
//! | `values` | where limits apply, and their values |
//! | `effective` | the values that apply to a caller or a scope, cached by each backend |
//! | `limit_of` | `limit_of()` |
//! | `take` | `take()`, `try_take()` |
//! | `slots` | `acquire_slot()`, `try_acquire_slot()`, `release_slot()` |
//! | `state` | the limits of the context, and buckets in use, for SQL |
//! | `held` | the slots that are held, for SQL |

pub mod definitions;
pub mod effective;
mod held;
mod limit_of;
mod slots;
mod state;
mod take;
mod values;

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    crate::pg::rates::init();
    crate::pg::slots::init();
}
