//! The tree of scopes. The functions that build it are SQL (sql/tree.sql); here are the rules they ask
//! for, the type `regscope`, and the trigger that tells other backends of a change.

mod invalidate;
mod regscope;
mod rules;

pub use rules::require_user;
