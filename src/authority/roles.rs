//! The rules of roles, for SQL to ask.

use pgrx::prelude::*;
use tenancy_core::permission::Permission;
use tenancy_core::role::{self, RoleNameError};
use tenancy_core::tree::Level;

use super::authorize::parse;
use crate::error::{Error, ErrorReport};
use crate::pg::bounded;
use crate::pg::uuid::pg_uuid;

/// Returns whether one of these permissions covers another.
#[pg_extern(sql = false)]
fn _covers(permissions: bounded::Texts, wanted: &str) -> Result<bool, ErrorReport> {
    let wanted = parse(wanted)?;
    let mut held = permissions.0.into_iter().flatten();
    Ok(held.any(|text| Permission::parse(&text).is_ok_and(|held| held.covers(&wanted))))
}

/// Returns the name of the role that a new user gets, or NULL.
#[pg_extern(sql = false)]
fn _default_role(parent_level: &str, kind: &str) -> Option<&'static str> {
    role::default_for(parent_level.parse::<Level>().ok()?, kind == "service")
}

/// Returns the built-in roles.
#[pg_extern(sql = false)]
fn _built_in_roles() -> TableIterator<
    'static,
    (
        name!(id, pgrx::Uuid),
        name!(name, &'static str),
        name!(permissions, Vec<&'static str>),
        name!(description, &'static str),
    ),
> {
    TableIterator::new(role::BUILT_IN.iter().enumerate().map(|(place, role)| {
        let id = pg_uuid(role::built_in_id(place));
        (id, role.name, role.permissions.to_vec(), role.description)
    }))
}

/// Returns true, or raises an error with the reason if a role's name is invalid.
#[pg_extern(sql = false)]
fn _check_role_name(name: Option<&str>) -> Result<bool, ErrorReport> {
    let name = name.ok_or(Error::Null("name"))?;
    role::check_name(name).map_err(|fault| match fault {
        RoleNameError::Taken => Error::RoleTaken(name.to_owned()),
        RoleNameError::Malformed(_) => Error::bad(
            fault,
            "It has 1 to 63 lower-case letters, digits and underscores, and starts with a letter, as in support_agent.",
        ),
    })?;
    Ok(true)
}
