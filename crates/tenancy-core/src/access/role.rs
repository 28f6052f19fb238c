//! The built-in roles.

use crate::tree::Level;
use uuid::Uuid;

/// A built-in role, which cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// Its permissions, as `resource:action`.
    pub permissions: &'static [&'static str],
    /// Its purpose.
    pub description: &'static str,
}

/// All built-in roles, the most powerful first. Their ids are fixed: the first has number 1.
pub const BUILT_IN: [BuiltIn; 7] = [
    BuiltIn {
        name: "super_admin",
        permissions: &["*:*"],
        description: "everything; assigned at the platform, tenants' rows only while elevated",
    },
    BuiltIn {
        name: "partner_admin",
        permissions: &[
            "data:read",
            "data:write",
            "partners:view",
            "tenants:*",
            "projects:*",
            "users:*",
            "roles:*",
            "keys:*",
            "identity:*",
            "billing:*",
            "budgets:*",
            "limits:*",
            "plans:*",
            "secrets:*",
            "accounting:*",
            "audit:*",
        ],
        description: "runs a partner: its tenants, their users, roles, keys and billing",
    },
    BuiltIn {
        name: "partner_user",
        permissions: &[
            "data:read",
            "tenants:view",
            "projects:view",
            "users:view",
            "accounting:view_tenant",
            "audit:write",
        ],
        description: "reads the clients it is assigned to; no billing, changes nothing",
    },
    BuiltIn {
        name: "tenant_admin",
        permissions: &[
            "data:read",
            "data:write",
            "tenants:view",
            "tenants:update",
            "projects:*",
            "users:*",
            "roles:*",
            "keys:*",
            "billing:*",
            "budgets:*",
            "limits:*",
            "plans:view",
            "secrets:*",
            "accounting:view_own",
            "accounting:view_tenant",
            "audit:*",
        ],
        description: "runs a tenant: its projects, users, roles, keys and billing",
    },
    BuiltIn {
        name: "manager",
        permissions: &[
            "data:read",
            "data:write",
            "tenants:view",
            "projects:*",
            "users:view",
            "roles:view",
            "keys:view",
            "limits:view",
            "plans:view",
            "accounting:view_own",
            "accounting:view_tenant",
            "audit:view",
            "audit:write",
        ],
        description: "works in a tenant and runs its projects; sees users, use and the audit log",
    },
    BuiltIn {
        name: "member",
        permissions: &[
            "data:read",
            "data:write",
            "tenants:view",
            "projects:view",
            "accounting:view_own",
            "audit:write",
        ],
        description: "works in a tenant or a project",
    },
    BuiltIn {
        name: "service",
        permissions: &[
            "data:read",
            "data:write",
            "accounting:view_own",
            "audit:write",
        ],
        description: "a program that works in a tenant or a project",
    },
];

/// Why a role may not be called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleNameError {
    /// Too long, or of other characters.
    #[error("{0:?} is not a role's name")]
    Malformed(String),
    /// The name of a built-in role, or `none`.
    #[error("the name is taken")]
    Taken,
}

/// The longest name of a role, in bytes.
const NAME_MAX: usize = 63;

/// Returns whether a role may have this name: a letter, then letters, digits and `_`, all of them lower case.
pub fn check_name(name: &str) -> Result<(), RoleNameError> {
    let good = (1..=NAME_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !good {
        // Shorter than other excerpts, as long as names are.
        return Err(RoleNameError::Malformed(name.chars().take(40).collect()));
    }
    if BUILT_IN.iter().any(|known| known.name == name) || name == "none" {
        return Err(RoleNameError::Taken);
    }
    Ok(())
}

/// Returns the id of the built-in role at this place in [`BUILT_IN`].
#[must_use]
pub fn built_in_id(place: usize) -> Uuid {
    // Next to the platform's own id, in a range that no clock produces.
    const FIRST: u128 = 0x0000_0000_0000_7000_8000_0000_0000_0101;
    Uuid::from_u128(FIRST + place as u128)
}

/// Returns the default role of a new user.
#[must_use]
pub fn default_for(parent: Level, service: bool) -> Option<&'static str> {
    match (parent, service) {
        (Level::Tenant, false) => Some("member"),
        (Level::Tenant, true) => Some("service"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
