//! The tree of scopes. The functions that build it are SQL (sql/tree); here scopes are read, and here are the
//! rules that SQL asks for and the triggers that tell other backends of a change.
//!
//! | file | what |
//! | --- | --- |
//! | `scope` | a scope by its id |
//! | `recent` | which tenants backends find by themselves |
//! | `rules` | rules of core, for SQL |
//! | `invalidate` | what changed, told to other backends |

mod invalidate;
mod recent;
mod rules;
mod scope;

pub use recent::first_recent;
pub use scope::{Scope, path, require_user, scope, scopes, tenant};
