//! Permissions: `resource:action`, with `*` as a wildcard for either part.

use crate::excerpt::excerpt;
use std::fmt;
use std::str::FromStr;

/// The permission to read the rows of protected tables.
pub const DATA_READ: &str = "data:read";

/// The permission to write the rows of protected tables.
pub const DATA_WRITE: &str = "data:write";

/// Resources that tenancy manages. All others are the application's: rows.
const MANAGEMENT: [&str; 14] = [
    "accounting",
    "audit",
    "billing",
    "budgets",
    "identity",
    "keys",
    "limits",
    "partners",
    "plans",
    "platform",
    "projects",
    "roles",
    "tenants",
    "users",
];

/// The wildcard for every value.
const WILDCARD: &str = "*";

/// The longest part, in bytes.
const PART_LIMIT: usize = 63;

/// A valid permission. It has one spelling, so equal permissions have equal texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    resource: String,
    action: String,
}

/// Why a text is no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// There is not exactly one colon.
    #[error("permission {0:?} is not of the form resource:action")]
    Shape(String),
    /// A part is neither `*` nor `[a-z][a-z0-9_]*`.
    #[error(
        "permission {permission:?}: the {part} must be * or a lower-case letter followed by \
         lower-case letters, digits and underscores"
    )]
    Part {
        /// `resource` or `action`.
        part: &'static str,
        /// The permission, at most its first 80 characters.
        permission: String,
    },
    /// A part is longer than 63 bytes.
    #[error("permission {permission:?}: the {part} is longer than 63 characters")]
    TooLong {
        /// `resource` or `action`.
        part: &'static str,
        /// The permission, at most its first 80 characters.
        permission: String,
    },
}

impl Permission {
    /// Parses `resource:action`.
    pub fn parse(text: &str) -> Result<Self, PermissionError> {
        let (resource, action) = text
            .split_once(':')
            .filter(|(_, action)| !action.contains(':'))
            .ok_or_else(|| PermissionError::Shape(excerpt(text)))?;
        check_part("resource", resource, text)?;
        check_part("action", action, text)?;
        Ok(Permission {
            resource: resource.to_owned(),
            action: action.to_owned(),
        })
    }

    /// Returns the resource: the part before the colon.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Returns the action: the part after the colon.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// Returns whether it is for managing tenancy, and not for an application's rows. A wildcard is not: it covers
    /// both.
    pub fn is_management(&self) -> bool {
        MANAGEMENT.contains(&self.resource.as_str())
    }

    /// Returns whether a table may require it: it has no wildcard, and is not one of tenancy's own.
    pub fn is_for_rows(&self) -> bool {
        self.resource != WILDCARD && self.action != WILDCARD && !self.is_management()
    }

    /// Returns whether this permission includes `wanted`. Only a wildcard covers a wildcard: every known action is not
    /// all actions.
    pub fn covers(&self, wanted: &Permission) -> bool {
        covers_part(&self.resource, &wanted.resource) && covers_part(&self.action, &wanted.action)
    }
}

fn covers_part(have: &str, wanted: &str) -> bool {
    have == WILDCARD || have == wanted
}

fn check_part(part: &'static str, text: &str, whole: &str) -> Result<(), PermissionError> {
    if text.len() > PART_LIMIT {
        let permission = excerpt(whole);
        return Err(PermissionError::TooLong { part, permission });
    }
    let mut bytes = text.bytes();
    let named = bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if named || text == WILDCARD {
        return Ok(());
    }
    let permission = excerpt(whole);
    Err(PermissionError::Part { part, permission })
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Permission::parse(text)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.action)
    }
}

#[cfg(test)]
mod tests;
