//! The managed managing: what the caller of a management function may do to whom, what it may see, and the keys and
//! tickets that it makes for others.
//!
//! | file | what |
//! | --- | --- |
//! | `authorize` | whether the caller may do that, and for how long |
//! | `issue` | keys and tickets for users |
//! | `regscope` | the type `regscope`: scopes by their slugs, as the caller may see them |
//! | `roles` | rules of roles, for SQL |

mod authorize;
mod issue;
mod regscope;
mod roles;

pub use authorize::standing;
