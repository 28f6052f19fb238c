//! The rows of secrets, and the key that seals for each scope.

use pgrx::spi::SpiHeapTupleData;
use tenancy_core::secret::seal::{KeyName, Place};
use tenancy_core::tree::Level;
use uuid::Uuid;

use super::keyring::{self, Keyring};
use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;
use crate::pg::xact;
use crate::tree::Scope;

/// A sealed value.
pub struct Sealed {
    /// The scope that has it.
    pub scope: Uuid,
    /// How often it was set.
    pub version: i32,
    /// Whether scopes below inherit it.
    pub inherit: bool,
    /// The key that seals it.
    pub key: KeyName,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
}

impl Sealed {
    /// Returns the place that it is bound to, by the secret's name.
    pub fn place<'a>(&self, name: &'a str) -> Place<'a> {
        Place {
            scope: self.scope,
            name,
            version: self.version,
            inherit: self.inherit,
            key: self.key,
        }
    }

    /// Reads a row whose columns begin with these.
    fn read(row: &SpiHeapTupleData<'_>) -> Result<Self, Error> {
        Ok(Self {
            scope: row.not_null_id(1)?,
            version: row.not_null(2)?,
            inherit: row.not_null(3)?,
            key: KeyName {
                scope: row.not_null_id(4)?,
                id: row.not_null_id(5)?,
            },
            sealed: row.not_null(6)?,
        })
    }
}

/// Returns the scope whose key seals what a scope has: its tenant, else its partner, else the platform.
pub fn key_scope(scope: &Scope) -> Result<Uuid, Error> {
    match (scope.level, scope.partner_and_tenant()) {
        (Level::User, _) => Err(Error::NoSecretsAt(Level::User.as_str())),
        (_, (_, Some(tenant))) => Ok(tenant),
        (_, (Some(partner), None)) => Ok(partner),
        (_, (None, None)) => Ok(scope.id),
    }
}

/// Returns the secrets of this name in any of these scopes.
pub fn named(name: &str, scopes: &[Uuid]) -> Result<Vec<Sealed>, Error> {
    let scopes: Vec<pgrx::Uuid> = scopes.iter().copied().map(pg_uuid).collect();
    spi::read(
        "SELECT scope_id, version, inherit, key_scope_id, key_id, sealed \
         FROM tenancy_internal.sealed_secrets WHERE name = $1 AND scope_id = ANY ($2)",
        &[name.to_owned().into(), scopes.into()],
        |rows| rows.into_iter().map(|row| Sealed::read(&row)).collect(),
    )
}

/// Returns the ids of the keys of a scope that seal now, or that sealed what is committed.
pub fn needed_keys(scope: Uuid) -> Result<Vec<Uuid>, Error> {
    spi::read(
        "SELECT key_id FROM tenancy_internal.sealing_keys WHERE scope_id = $1 \
         UNION SELECT key_id FROM tenancy_internal.sealed_secrets WHERE key_scope_id = $1",
        &[pg_uuid(scope).into()],
        |rows| rows.into_iter().map(|row| row.not_null_id(1)).collect(),
    )
}

/// Returns all secrets that the keys of a scope seal, each with its name.
pub fn sealed_by(scope: Uuid) -> Result<Vec<(String, Sealed)>, Error> {
    spi::write_returning(
        "SELECT scope_id, version, inherit, key_scope_id, key_id, sealed, name \
         FROM tenancy_internal.sealed_secrets WHERE key_scope_id = $1 FOR UPDATE",
        &[pg_uuid(scope).into()],
        |rows| {
            rows.into_iter()
                .map(|row| Ok((row.not_null(7)?, Sealed::read(&row)?)))
                .collect()
        },
    )
}

const SHARED: &str =
    "SELECT key_id FROM tenancy_internal.sealing_keys WHERE scope_id = $1 FOR SHARE";

/// Waits for everyone who creates, replaces or removes keys of a scope, and keeps others from it until this transaction ends.
fn lock(scope: Uuid) -> Result<(), Error> {
    spi::write(
        "SELECT FROM tenancy.scopes WHERE id = $1 FOR NO KEY UPDATE",
        &[pg_uuid(scope).into()],
    )
    .map(drop)
}

/// Returns whether this transaction has replaced the key of a scope: if it is rolled back, the one before seals again.
pub fn replaced_here(scope: Uuid) -> Result<bool, Error> {
    spi::read(
        "SELECT xmin::text FROM tenancy_internal.sealing_keys WHERE scope_id = $1",
        &[pg_uuid(scope).into()],
        |rows| {
            let mut replaced = false;
            for row in rows {
                let xid: String = row.not_null(1)?;
                replaced |= xid.parse().is_ok_and(xact::is_own);
            }
            Ok(replaced)
        },
    )
}

/// Returns the key that seals for a scope now, and keeps it from being replaced or erased until the transaction ends. Creates it
/// if there is none.
pub fn sealing_key(scope: Uuid) -> Result<KeyName, Error> {
    if let Some(key) = locked(SHARED, scope)? {
        return Ok(key);
    }
    // Who erases keys waits for this transaction, or this waits for it, before there is a file that it would remove.
    lock(scope)?;
    if let Some(key) = locked(SHARED, scope)? {
        return Ok(key);
    }
    let new = Keyring::open()?.create(scope)?;
    let id = spi::write_returning(
        "INSERT INTO tenancy_internal.sealing_keys (scope_id, key_id) VALUES ($1, $2) \
         ON CONFLICT (scope_id) DO UPDATE SET created_at = sealing_keys.created_at RETURNING key_id",
        &[pg_uuid(scope).into(), pg_uuid(new.id).into()],
        |rows| rows.first().not_null_id(1),
    )?;
    Ok(KeyName { scope, id })
}

/// Returns the key that seals for a scope now, after everyone who creates, replaces or uses one; `None` if it has none.
pub fn locked_key(scope: Uuid) -> Result<Option<KeyName>, Error> {
    lock(scope)?;
    locked(
        "SELECT key_id FROM tenancy_internal.sealing_keys WHERE scope_id = $1 FOR UPDATE",
        scope,
    )
}

fn locked(query: &'static str, scope: Uuid) -> Result<Option<KeyName>, Error> {
    spi::write_returning(query, &[pg_uuid(scope).into()], |rows| {
        let row = rows.into_iter().next();
        row.map(|row| {
            Ok(KeyName {
                scope,
                id: row.not_null_id(1)?,
            })
        })
        .transpose()
    })
}

/// Seals a value in a place.
pub fn seal(place: &Place<'_>, value: &[u8]) -> Result<Vec<u8>, Error> {
    let sealed = keyring::key(place.key)?.seal(keyring::nonce()?, &place.bound(), value);
    sealed.ok_or(Error::Internal("a secret cannot be sealed"))
}
