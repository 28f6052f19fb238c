//! Keys that are replaced or erased, and the keyring under another master key.

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::secret::seal::{KeyName, Place};
use uuid::Uuid;

use super::keyring::{self, Keyring};
use super::rows::{self, Sealed, key_scope};
use crate::authority::{authorized, require_administrator};
use crate::context::{record, record_now};
use crate::error::{Error, ErrorReport};
use crate::pg::spi;
use crate::pg::uuid::{from_pg, pg_uuid};

/// Seals the secrets of a tenant, a partner or the platform under a new key. Returns how many. The old key stays.
#[pg_extern(sql = false)]
fn _rotate_tenant_key(scope: Option<pgrx::Uuid>) -> Result<i32, ErrorReport> {
    let scope = owner("secrets:manage", scope)?;
    let keyring = Keyring::open()?;
    let Some(old) = rows::locked_key(scope)? else {
        // Nothing is sealed.
        rows::sealing_key(scope)?;
        return Ok(0);
    };
    let new = keyring.create(scope)?;
    spi::write(
        "UPDATE tenancy_internal.sealing_keys SET key_id = $2, created_at = now() WHERE scope_id = $1",
        &[pg_uuid(scope).into(), pg_uuid(new.id).into()],
    )?;
    let all = rows::sealed_by(scope)?;
    for (name, sealed) in &all {
        reseal(name, sealed, new)?;
    }
    let details =
        json!({"old_key": old.id.to_string(), "key": new.id.to_string(), "secrets": all.len()});
    record("secret.key_rotated", Some(scope), None, details)?;
    Ok(i32::try_from(all.len()).unwrap_or(i32::MAX))
}

fn reseal(name: &str, sealed: &Sealed, key: KeyName) -> Result<(), Error> {
    let before = sealed.place(name);
    let value = keyring::key(sealed.key)?.open(&sealed.sealed, &before.bound());
    let value = value.ok_or_else(|| Error::SecretDamaged(name.to_owned()))?;
    let place = Place { key, ..before };
    spi::write(
        "UPDATE tenancy_internal.sealed_secrets SET key_id = $3, sealed = $4 WHERE name = $1 AND scope_id = $2",
        &[
            name.to_owned().into(),
            pg_uuid(sealed.scope).into(),
            pg_uuid(key.id).into(),
            rows::seal(&place, &value)?.into(),
        ],
    )
    .map(drop)
}

/// Removes the keys from the keyring that no row needs. Returns how many.
#[pg_extern(sql = false)]
fn _drop_old_tenant_keys(scope: Option<pgrx::Uuid>) -> Result<i32, ErrorReport> {
    let scope = owner("tenants:manage", scope)?;
    let keyring = Keyring::open()?;
    // Waits for those who create a key or seal with one, and keeps others from it.
    rows::locked_key(scope)?;
    if rows::replaced_here(scope)? {
        Err(Error::bad(
            "the key was replaced in this transaction, which may be rolled back",
            "Commit it, and drop the old keys in another transaction.",
        ))?;
    }
    let keep = rows::needed_keys(scope)?;
    about("secret.old_keys_dropped", scope)?;
    Ok(keyring.remove(scope, &keep)?)
}

/// Erases the keys of a tenant, a partner or the platform, and with them everything that they sealed. Returns how many.
#[pg_extern(sql = false)]
fn _erase_tenant_key(scope: Option<pgrx::Uuid>) -> Result<i32, ErrorReport> {
    let scope = owner("tenants:manage", scope)?;
    let keyring = Keyring::open()?;
    rows::locked_key(scope)?;
    spi::write(
        "DELETE FROM tenancy_internal.sealed_secrets WHERE key_scope_id = $1",
        &[pg_uuid(scope).into()],
    )?;
    spi::write(
        "DELETE FROM tenancy_internal.sealing_keys WHERE scope_id = $1",
        &[pg_uuid(scope).into()],
    )?;
    about("secret.key_erased", scope)?;
    Ok(keyring.remove(scope, &[])?)
}

/// Seals the keys of the keyring under the current master key. Returns how many were not.
#[pg_extern(sql = false)]
fn _reseal_keyring() -> Result<i32, ErrorReport> {
    require_administrator()?;
    let resealed = Keyring::open()?.reseal()?;
    record(
        "secret.keyring_resealed",
        None,
        None,
        json!({"keys": resealed}),
    )?;
    Ok(resealed)
}

/// Returns a scope that has keys, in which the caller holds a permission.
fn owner(permission: &str, scope: Option<pgrx::Uuid>) -> Result<Uuid, Error> {
    let found = authorized(permission, from_pg(scope.ok_or(Error::Null("scope"))?))?;
    let owner = key_scope(&found)?;
    match owner == found.id {
        true => Ok(owner),
        false => Err(Error::bad(
            format!(
                "scope must have a key, which a {} has not",
                found.level.as_str()
            ),
            "Name its tenant, whose key seals the project's secrets too.",
        )),
    }
}

/// Records what a rollback does not undo, before it is done.
fn about(action: &str, scope: Uuid) -> Result<(), Error> {
    match record_now(action, Some(scope), None, json!({})) {
        Err(Error::NoWorker) => record(action, Some(scope), None, json!({})),
        recorded => recorded,
    }
}
