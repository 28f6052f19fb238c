//! Making what users log in with: API keys, tickets, and the keys that sign tickets. `context` verifies them.

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::credential::ApiKey;
use tenancy_core::id::new_id;
use tenancy_core::ticket::Ticket;
use tenancy_core::time::Length;

use super::authorize::require_ticket;
use crate::context::{self, record, tickets};
use crate::error::{Error, ErrorReport};
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{secret, spi, time};
use crate::{access, tree};

/// The longest life of a ticket: a week.
const TICKET_TTL_MAX: Length = Length::from_days(7);

/// Creates a key for a user and returns its text, which is shown once and stored nowhere.
#[pg_extern(sql = false)]
fn _make_api_key(
    user: Option<pgrx::Uuid>,
    name: Option<&str>,
    expires_at: Option<TimestampWithTimeZone>,
    elevation: Option<pgrx::Uuid>,
) -> Result<String, ErrorReport> {
    let user = user.ok_or(Error::Null("user_id"))?;
    let name = name.ok_or(Error::Null("name"))?;
    tenancy_core::slug::check_name(name)
        .map_err(|fault| Error::bad(fault, "A key's name says what it is for."))?;
    if let Some(end) = expires_at {
        time::check_expiry(end)?;
    }
    tree::require_user(from_pg(user))?;
    let secret = secret::random().ok_or(Error::Internal("no source of random bytes"))?;
    let key = ApiKey::new(new_id(), secret);
    spi::write(
        "WITH k AS (INSERT INTO tenancy_internal.api_key_secrets (id, user_id, name, label, hash, expires_at, elevation_id) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id) \
         INSERT INTO tenancy_internal.api_key_uses (key_id) SELECT id FROM k",
        &[
            pg_uuid(key.id).into(),
            user.into(),
            name.to_owned().into(),
            key.label().into(),
            key.hash().to_vec().into(),
            expires_at.into(),
            elevation.into(),
        ],
    )?;
    record(
        "key.issued",
        Some(from_pg(user)),
        Some(&key.label()),
        json!({ "user": from_pg(user) }),
    )?;
    Ok(key.to_text())
}

/// Returns a ticket for a user, valid for `seconds`.
#[pg_extern(sql = false)]
fn _issue_ticket(
    user: Option<pgrx::Uuid>,
    seconds: Option<f64>,
    tenant: Option<pgrx::Uuid>,
) -> Result<String, ErrorReport> {
    let user = from_pg(user.ok_or(Error::Null("user_id"))?);
    let seconds = seconds.ok_or(Error::Null("ttl"))?;
    if !(1.0..=TICKET_TTL_MAX.seconds() as f64).contains(&seconds) {
        Err(Error::bad(
            "ttl must be between 1 second and 7 days",
            "A ticket is for handing an identity on, not for keeping it: issue an API key for that.",
        ))?;
    }
    context::current::drop_stale();
    tree::require_user(user)?;
    let access = access::resolve(user)?;
    let tenant = tenant.map(from_pg);
    if let Some(tenant) = tenant
        && access.tenant(tenant).is_none()
    {
        Err(Error::NoSuchScope(tenant.to_string()))?;
    }
    // The current time, not the transaction's start, which may be long ago.
    let now = time::now().floor(Length::from_seconds(1));
    let expires_at = now + Length::from_seconds(seconds as i64);
    let elevation = require_ticket(user, expires_at)?;
    let (key_id, key) = tickets::current_signing_key()?.ok_or(Error::Internal(
        "no signing key: call tenancy.rotate_signing_key()",
    ))?;
    let ticket = Ticket {
        key_id,
        user,
        tenant,
        elevation,
        fleet: access.fleet,
        expires_at,
    };
    Ok(ticket.sign(&key))
}

/// Creates the key that signs new tickets. Tickets of older keys stay valid for at most `seconds`.
#[pg_extern(sql = false)]
fn _rotate_signing_key(seconds: Option<f64>) -> Result<pgrx::Uuid, ErrorReport> {
    let seconds = seconds.ok_or(Error::Null("grace"))?;
    if !(0.0..=TICKET_TTL_MAX.seconds() as f64).contains(&seconds) {
        Err(Error::bad(
            "grace must be between 0 and 7 days",
            "No ticket lives longer than 7 days.",
        ))?;
    }
    let secret = secret::random::<32>().ok_or(Error::Internal("no source of random bytes"))?;
    let id = pg_uuid(new_id());
    // Another rotation ends first: its new key is one of those that retire, and each is read once.
    spi::write(
        "LOCK TABLE tenancy_internal.signing_keys IN SHARE ROW EXCLUSIVE MODE",
        &[],
    )?;
    spi::write(
        // Inserts the known keys again: the table's trigger keeps inserted rows out of publications, but not updated ones.
        "WITH known AS (DELETE FROM tenancy_internal.signing_keys \
             RETURNING id, secret, created_at, least(retires_at, now() + make_interval(secs => $3)) AS retires_at) \
         INSERT INTO tenancy_internal.signing_keys (id, secret, created_at, retires_at) \
             SELECT id, secret, created_at, retires_at FROM known WHERE retires_at >= now() - interval '7 days' \
             UNION ALL SELECT $1::uuid, $2::bytea, now(), NULL::timestamptz",
        &[id.into(), secret.to_vec().into(), seconds.into()],
    )?;
    Ok(id)
}
