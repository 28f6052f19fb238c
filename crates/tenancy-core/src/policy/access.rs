//! Which permissive policy of tenancy a protected table has.
//!
//! The guards decide which tenants' rows a table shows. They are restrictive: without a permissive policy it shows none.
//! tenancy adds a permissive policy only if the table alone would have shown rows too: protection only removes access.

use super::facts::{Member, Policy};
use super::statements::{POLICIES, TO_ALL, TO_OWNER};
use serde::Deserialize;

/// The state of row security before a table was protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Before {
    /// It was enabled.
    pub rls: bool,
    /// It was forced on the owner.
    pub force: bool,
}

/// The roles of tenancy's permissive policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All roles: row security was off, and the table has no permissive policy of its own.
    Everyone,
    /// The owner, who was exempt from row security: the table's own policies apply to all others.
    Owner,
    /// No role: the table's own policies applied to the owner too.
    Nobody,
}

impl Access {
    /// Returns the name of the policy.
    #[must_use]
    pub fn policy(self) -> Option<&'static str> {
        match self {
            Self::Everyone => Some(TO_ALL),
            Self::Owner => Some(TO_OWNER),
            Self::Nobody => None,
        }
    }
}

/// Returns whether a policy is the application's and permissive.
#[must_use]
pub fn is_own_permissive(policy: &Policy) -> bool {
    policy.permissive && !POLICIES.contains(&policy.name.as_str())
}

/// Returns the roles of tenancy's permissive policy for a table.
///
/// A permissive policy for some commands or roles counts as one: PostgreSQL refuses the other commands and roles as soon
/// as row security is on, and they stay refused.
#[must_use]
pub fn access(policies: &[Policy], before: Before) -> Access {
    let spoken_for = before.rls || policies.iter().any(is_own_permissive);
    match (spoken_for, before.rls && before.force) {
        (false, _) => Access::Everyone,
        (true, false) => Access::Owner,
        (true, true) => Access::Nobody,
    }
}

impl Member {
    /// Returns the recorded state of row security before protection. Without a record it is derived from tenancy's own policies,
    /// which a dump of the schema alone contains; without these it is the current state.
    #[must_use]
    pub fn before(&self) -> Before {
        let has = |name: &str| self.policies.iter().any(|p| p.name == name);
        let (rls, force) = if has(TO_ALL) {
            (false, false)
        } else if has(TO_OWNER) {
            (true, false)
        } else {
            (self.rls, self.force)
        };
        self.before.unwrap_or(Before { rls, force })
    }
}
