//! Reading scopes by their ids.

use std::collections::HashMap;

use pgrx::spi::SpiHeapTupleData;
use tenancy_core::tenants::Tenant;
use tenancy_core::tree::{Level, partner_and_tenant};
use uuid::Uuid;

use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};

/// A scope.
pub struct Scope {
    /// Its id.
    pub id: Uuid,
    /// Its level.
    pub level: Level,
    /// The scopes from the platform down to this one.
    pub path: Vec<Uuid>,
    /// Its slug.
    pub slug: String,
    /// Its id in the identity provider, if it has one.
    pub external_id: Option<String>,
    /// Whether its own status is active; those above it have statuses of their own.
    pub active: bool,
}

impl Scope {
    /// The partner and the tenant that it is or belongs to.
    pub fn partner_and_tenant(&self) -> (Option<Uuid>, Option<Uuid>) {
        partner_and_tenant(self.level, &self.path)
    }

    /// The scope above it; nothing for the platform.
    pub fn parent(&self) -> Option<Uuid> {
        let (_, above) = self.path.split_last()?;
        above.last().copied()
    }

    /// It as a tenant of a set.
    pub fn into_tenant(self) -> Tenant {
        Tenant {
            id: self.id,
            external_id: self.external_id,
        }
    }
}

/// Returns a scope with any status; `None` if no scope has this id.
pub fn scope(id: Uuid) -> Result<Option<Scope>, Error> {
    Ok(scopes(&[id])?.remove(&id))
}

/// Returns a scope that is a tenant, with any status.
pub fn require_tenant(id: Uuid) -> Result<Scope, Error> {
    let scope = scope(id)?.ok_or_else(|| Error::NoSuchScope(id.to_string()))?;
    match scope.level {
        Level::Tenant => Ok(scope),
        level => Err(Error::NotATenant {
            scope: scope.slug,
            level: level.as_str(),
        }),
    }
}

/// Returns those of these scopes that there are, by their ids.
pub fn scopes(ids: &[Uuid]) -> Result<HashMap<Uuid, Scope>, Error> {
    let ids: Vec<pgrx::Uuid> = ids.iter().copied().map(pg_uuid).collect();
    spi::read(
        "SELECT id, level, path, slug, external_id, status = 'active' FROM tenancy.scopes WHERE id = ANY ($1)",
        &[ids.into()],
        |rows| {
            let found = rows.into_iter().map(|row| read(&row));
            found
                .map(|found| found.map(|found| (found.id, found)))
                .collect()
        },
    )
}

/// Returns the path of a scope; empty if no scope has this id.
pub fn path(id: Uuid) -> Result<Vec<Uuid>, Error> {
    Ok(scope(id)?.map(|found| found.path).unwrap_or_default())
}

/// Returns a tenant by its id, with any status.
pub fn tenant(id: Uuid) -> Result<Option<Tenant>, Error> {
    let found = scope(id)?.filter(|found| found.level == Level::Tenant);
    Ok(found.map(Scope::into_tenant))
}

/// Raises an error unless the id is a user's.
pub fn require_user(id: Uuid) -> Result<(), Error> {
    match scope(id)? {
        Some(found) if found.level == Level::User => Ok(()),
        _ => Err(Error::NoSuchUser(id.to_string())),
    }
}

/// Reads a row of [`scopes`].
fn read(row: &SpiHeapTupleData<'_>) -> Result<Scope, Error> {
    let level: String = row.not_null(2)?;
    let path: Vec<pgrx::Uuid> = row.not_null(3)?;
    Ok(Scope {
        id: row.not_null_id(1)?,
        level: level
            .parse()
            .map_err(|_| Error::Internal("a scope of no known level"))?,
        path: path.into_iter().map(from_pg).collect(),
        slug: row.not_null(4)?,
        external_id: row.get(5)?,
        active: row.not_null(6)?,
    })
}
