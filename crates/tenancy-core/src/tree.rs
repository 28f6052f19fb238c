//! The scope tree: its levels, which level may be the parent of which, and the effective status of a path.

pub mod slug;
pub mod subject;

use crate::excerpt::excerpt;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The level of a scope, from the root down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The root. There is one.
    Platform,
    /// A reseller or operator with a fleet of tenants.
    Partner,
    /// The isolated customer.
    Tenant,
    /// An optional subdivision of a tenant.
    Project,
    /// A person or a service.
    User,
}

impl Level {
    /// Every level, from the root down.
    pub const ALL: [Level; 5] = [
        Level::Platform,
        Level::Partner,
        Level::Tenant,
        Level::Project,
        Level::User,
    ];

    /// Returns the level's stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Platform => "platform",
            Level::Partner => "partner",
            Level::Tenant => "tenant",
            Level::Project => "project",
            Level::User => "user",
        }
    }

    /// Returns whether a scope of this level may be the parent of one of level `child`.
    pub const fn may_hold(self, child: Level) -> bool {
        matches!(
            (self, child),
            (Level::Platform, Level::Partner | Level::User)
                | (Level::Partner, Level::Tenant | Level::User)
                | (Level::Tenant, Level::Project | Level::User)
        )
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a level (platform, partner, tenant, project, user)")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Level::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| UnknownLevel(excerpt(text)))
    }
}

/// Returns the partner and the tenant that a scope of this level and path is or belongs to. The path leads from the
/// platform down to the scope itself.
pub fn partner_and_tenant(level: Level, path: &[Uuid]) -> (Option<Uuid>, Option<Uuid>) {
    let above = match (level, path.split_last()) {
        // A user may belong to each of the three.
        (Level::User, Some((_, above))) => above,
        _ => path,
    };
    (above.get(1).copied(), above.get(2).copied())
}

/// The status of a scope, ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// In use. The only status that allows access.
    Active,
    /// Being set up.
    Provisioning,
    /// Stopped, and may become active again.
    Suspended,
    /// Kept, not used.
    Archived,
    /// Deleted, apart from what is still being removed.
    Deleted,
}

impl Status {
    /// Every status, from best to worst.
    pub const ALL: [Status; 5] = [
        Status::Active,
        Status::Provisioning,
        Status::Suspended,
        Status::Archived,
        Status::Deleted,
    ];

    /// Returns the status's stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Provisioning => "provisioning",
            Status::Suspended => "suspended",
            Status::Archived => "archived",
            Status::Deleted => "deleted",
        }
    }

    /// Returns whether a scope with this status allows access.
    pub const fn is_active(self) -> bool {
        matches!(self, Status::Active)
    }

    /// Returns the effective status of a scope, from the statuses on the path from the root to it: the worst of
    /// them. An empty path is deleted, so that the default is no access.
    pub fn effective(path: impl IntoIterator<Item = Status>) -> Status {
        path.into_iter().max().unwrap_or(Status::Deleted)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a status (active, provisioning, suspended, archived, deleted)")]
pub struct UnknownStatus(String);

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Status::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(excerpt(text)))
    }
}

#[cfg(test)]
mod tests;
