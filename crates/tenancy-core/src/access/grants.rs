//! The sum of a principal's assignments: the scopes in which a permission is held.

use crate::permission::Permission;
use crate::time::Instant;
use crate::tree::Level;
use uuid::Uuid;

/// One valid assignment: a role's permissions in a scope and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The scope's level; never a user.
    pub level: Level,
    /// The ids from the platform down to the scope.
    pub path: Vec<Uuid>,
    /// The permissions held there.
    pub permissions: Vec<Permission>,
    /// When it ends; `None`: without an end.
    pub expires_at: Option<Instant>,
}

impl Grant {
    /// Returns the scope.
    #[must_use]
    pub fn scope(&self) -> Uuid {
        self.path.last().copied().unwrap_or_default()
    }

    /// Returns the tenant that the scope is, or is in.
    #[must_use]
    pub fn tenant(&self) -> Option<Uuid> {
        match self.level {
            Level::Tenant => Some(self.scope()),
            Level::Project => self.path.iter().rev().nth(1).copied(),
            Level::Platform | Level::Partner | Level::User => None,
        }
    }

    fn covers(&self, wanted: &Permission) -> bool {
        self.permissions.iter().any(|held| held.covers(wanted))
    }
}

/// The holder of grants, which determines whether they reach an application's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// A user of a partner or a tenant.
    #[default]
    Below,
    /// A user of the platform, who reaches rows only while elevated.
    Platform,
    /// A user of the platform who is elevated until a time.
    Elevated(Instant),
}

/// How long a permission is held in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// Not at all.
    No,
    /// Until a time.
    Until(Instant),
    /// Without an end.
    Always,
}

/// The purpose of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To grant it, which reads no rows: elevated or not.
    Grant,
    /// To use it: on an application's rows a user of the platform holds it only while elevated.
    Act,
}

/// A principal's grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    grants: Vec<Grant>,
    holder: Holder,
}

/// Where a permission is held, as scopes of each level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Everywhere.
    pub everything: bool,
    /// In all tenants of these partners.
    pub partners: Vec<Uuid>,
    /// In these tenants, as a whole.
    pub tenants: Vec<Uuid>,
    /// In these projects, each with its tenant, whether or not that is held as a whole.
    pub projects: Vec<(Uuid, Uuid)>,
}

impl Grants {
    /// Creates a set of grants. Permissions of a user of the platform count for an application's rows only while
    /// elevated, and for management always.
    #[must_use]
    pub fn new(grants: Vec<Grant>, holder: Holder) -> Self {
        Self { grants, holder }
    }

    /// Returns the grants.
    #[must_use]
    pub fn all(&self) -> &[Grant] {
        &self.grants
    }

    fn counting<'a>(&'a self, wanted: &'a Permission) -> impl Iterator<Item = &'a Grant> {
        let counts = self.holder != Holder::Platform || wanted.is_management();
        let grants = self.grants.iter().filter(move |_| counts);
        grants.filter(move |grant| grant.covers(wanted))
    }

    /// Returns whether a permission is held in the scope with this path.
    #[must_use]
    pub fn hold(&self, wanted: &Permission, path: &[Uuid]) -> bool {
        self.counting(wanted)
            .any(|grant| path.contains(&grant.scope()))
    }

    /// Returns whether it could grant a permission in the scope with this path: as [`Grants::hold`], but elevated or
    /// not, since granting reads no rows.
    #[must_use]
    pub fn could_grant(&self, wanted: &Permission, path: &[Uuid]) -> bool {
        self.held(wanted, path, Purpose::Grant) != Held::No
    }

    /// Returns how long a permission is held in the scope with this path: as long as the longest assignment that gives
    /// it, and no longer than the elevation if it counts only while elevated.
    #[must_use]
    pub fn held(&self, wanted: &Permission, path: &[Uuid], purpose: Purpose) -> Held {
        let elevation = match (purpose, self.holder) {
            (Purpose::Act, Holder::Platform) if !wanted.is_management() => return Held::No,
            (Purpose::Act, Holder::Elevated(end)) if !wanted.is_management() => Held::Until(end),
            _ => Held::Always,
        };
        let giving = self.grants.iter();
        let giving = giving.filter(|grant| grant.covers(wanted) && path.contains(&grant.scope()));
        let longest = giving.map(|grant| grant.expires_at.map_or(Held::Always, Held::Until));
        longest.max().unwrap_or(Held::No).min(elevation)
    }

    /// Returns whether any permission is held in the scope with this path.
    #[must_use]
    pub fn see(&self, path: &[Uuid]) -> bool {
        self.grants
            .iter()
            .any(|grant| path.contains(&grant.scope()))
    }

    /// Returns the scopes in which a permission is held.
    #[must_use]
    pub fn reach(&self, wanted: &Permission) -> Reach {
        let mut reach = Reach::default();
        for grant in self.counting(wanted) {
            match grant.level {
                Level::Platform => reach.everything = true,
                Level::Partner => reach.partners.push(grant.scope()),
                Level::Tenant => reach.tenants.push(grant.scope()),
                Level::Project => {
                    if let Some(tenant) = grant.tenant() {
                        reach.projects.push((grant.scope(), tenant));
                    }
                }
                Level::User => {}
            }
        }
        reach
    }

    /// Returns the topmost scopes in which a permission is held.
    #[must_use]
    pub fn roots(&self, wanted: &Permission) -> Vec<Uuid> {
        let held: std::collections::HashSet<Uuid> =
            self.counting(wanted).map(Grant::scope).collect();
        let mut roots: Vec<Uuid> = self
            .counting(wanted)
            .filter(|grant| {
                let above = grant.path.split_last().map_or(&[][..], |(_, above)| above);
                !above.iter().any(|scope| held.contains(scope))
            })
            .map(Grant::scope)
            .collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

#[cfg(test)]
mod tests;
