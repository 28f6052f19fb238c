//! Setting and removing secrets.

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::principal::Principal;
use tenancy_core::secret::name::{check_name, check_value};
use tenancy_core::secret::seal::Place;
use uuid::Uuid;

use super::rows::{self, key_scope};
use crate::authority::authorized;
use crate::context::{current, record};
use crate::error::{Error, ErrorReport};
use crate::pg::hooks::quiet;
use crate::pg::spi;
use crate::pg::uuid::{from_pg, pg_uuid};

/// Sets a secret and returns its version.
#[pg_extern(sql = false)]
fn _set_secret(
    scope: Option<pgrx::Uuid>,
    name: Option<&str>,
    value: Option<&str>,
    inherit: Option<bool>,
) -> Result<i32, ErrorReport> {
    quiet::called();
    let scope = from_pg(scope.ok_or(Error::Null("scope"))?);
    let name = name.ok_or(Error::Null("name"))?;
    let value = value.ok_or(Error::Null("value"))?;
    let inherit = inherit.ok_or(Error::Null("inherit"))?;
    let found = authorized("secrets:manage", scope)?;
    check_name(name).map_err(|fault| {
        Error::bad(
            fault,
            "The order of the arguments is scope, name, value. Names are shown; values are not.",
        )
    })?;
    check_value(value).map_err(|fault| {
        Error::bad(
            fault,
            "tenancy.remove_secret() removes a secret. Encode bytes in base64.",
        )
    })?;
    let key = rows::sealing_key(key_scope(&found)?)?;
    // Another session may set it at the same time: then its version is taken.
    loop {
        let known = rows::named(name, &[scope])?;
        let before = known.first().map_or(0, |known| known.version);
        let place = Place {
            scope,
            name,
            version: before.saturating_add(1),
            inherit,
            key,
        };
        let sealed = rows::seal(&place, value.as_bytes())?;
        if write(&place, sealed, before)? {
            record(
                "secret.set",
                Some(scope),
                Some(name),
                json!({"version": place.version, "inherit": inherit, "key": key.id.to_string()}),
            )?;
            return Ok(place.version);
        }
    }
}

/// Writes a row over the version `before`, 0 for none. Returns false if there is another.
fn write(place: &Place<'_>, sealed: Vec<u8>, before: i32) -> Result<bool, Error> {
    let user = current()?.and_then(|context| match context.principal {
        Principal::User(user) => Some(pg_uuid(user)),
        Principal::Maintenance => None,
    });
    spi::write_returning(
        "INSERT INTO tenancy_internal.sealed_secrets AS s \
             (name, scope_id, version, inherit, key_scope_id, key_id, sealed, set_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (name, scope_id) DO UPDATE \
            SET version = excluded.version, inherit = excluded.inherit, key_scope_id = excluded.key_scope_id, \
                key_id = excluded.key_id, sealed = excluded.sealed, set_by = excluded.set_by, set_at = now() \
          WHERE s.version = $9 RETURNING true",
        &[
            place.name.to_owned().into(),
            pg_uuid(place.scope).into(),
            place.version.into(),
            place.inherit.into(),
            pg_uuid(place.key.scope).into(),
            pg_uuid(place.key.id).into(),
            sealed.into(),
            user.into(),
            before.into(),
        ],
        |rows| Ok(!rows.is_empty()),
    )
}

/// Removes a secret.
#[pg_extern(sql = false)]
fn _remove_secret(scope: Option<pgrx::Uuid>, name: Option<&str>) -> Result<(), ErrorReport> {
    let scope: Uuid = from_pg(scope.ok_or(Error::Null("scope"))?);
    let name = name.ok_or(Error::Null("name"))?;
    authorized("secrets:manage", scope)?;
    let removed = spi::write_returning(
        "DELETE FROM tenancy_internal.sealed_secrets WHERE name = $1 AND scope_id = $2 RETURNING true",
        &[name.to_owned().into(), pg_uuid(scope).into()],
        |rows| Ok(!rows.is_empty()),
    )?;
    if !removed {
        Err(Error::NoSuchSecret(name.to_owned()))?;
    }
    Ok(record(
        "secret.removed",
        Some(scope),
        Some(name),
        json!({}),
    )?)
}
