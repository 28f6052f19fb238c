//! The tree of scopes. The functions that change it are SQL (sql/tree); this room reads scopes, and has the rules that SQL
//! calls and the triggers that notify other backends of a change.
//!
//! | file | what |
//! | --- | --- |
//! | `scope` | a scope by its id |
//! | `recent` | tenants so new that backends look them up |
//! | `rules` | rules of core, for SQL |
//! | `invalidate` | notifies other backends of changes |

mod invalidate;
mod recent;
mod rules;
mod scope;

pub use recent::first_recent;
pub use scope::{Scope, path, require_tenant, require_user, scope, scopes, tenant};
