//! Permissions of a management function's caller: which scopes and users it may see and change, and the keys and
//! tickets that it issues.
//!
//! | file | what |
//! | --- | --- |
//! | `authorize` | whether the caller has a permission, and until when |
//! | `issue` | keys and tickets for users |
//! | `regscope` | the type `regscope`: scopes by their slugs, as the caller may see them |
//! | `roles` | rules of roles, for SQL |

mod authorize;
mod issue;
mod regscope;
mod roles;

pub use authorize::{
    authorized, require_administrator, require_over, require_permission, standing,
};
