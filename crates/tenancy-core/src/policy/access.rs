//! Which permissive policy a protected table has of tenancy's.
//!
//! The guards decide which tenants' rows a table shows. They are restrictive: without a permissive policy it shows none.
//! tenancy lets rows through only where the table alone would have done so too: protection takes access away and gives none.

use super::facts::{Member, Policy};
use super::statements::{POLICIES, TO_ALL, TO_OWNER};
use serde::Deserialize;

/// How row security of a table stood before it was protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Before {
    /// It was enabled.
    pub rls: bool,
    /// It was forced on the owner.
    pub force: bool,
}

/// Whom a permissive policy of tenancy's lets through to the guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone: row security was off, and the table has no permissive policy of its own.
    Everyone,
    /// The owner, who was exempt from row security: the table's own policies speak for everyone else.
    Owner,
    /// Nobody: the table's own policies spoke for the owner too.
    Nobody,
}

impl Access {
    /// The policy that does so.
    #[must_use]
    pub fn policy(self) -> Option<&'static str> {
        match self {
            Self::Everyone => Some(TO_ALL),
            Self::Owner => Some(TO_OWNER),
            Self::Nobody => None,
        }
    }
}

/// Returns whether a policy is the application's, and lets rows through.
#[must_use]
pub fn is_own_permissive(policy: &Policy) -> bool {
    policy.permissive && !POLICIES.contains(&policy.name.as_str())
}

/// Returns whom tenancy lets through to the guards of a table.
///
/// A permissive policy for some commands or some roles counts as one: PostgreSQL refuses the other commands and roles as
/// soon as row security is on, and they stay refused.
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
    /// How row security stood before: as it was recorded. Without a record, as tenancy's own policies tell, which a dump of the
    /// schema alone brings along, and as it is where there are none.
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
