//! Tokens that are good for one login: the worker writes down each that was used, for as long as it would hold.

use pgrx::prelude::*;
use tenancy_core::jwt::{Claims, fingerprint};
use uuid::Uuid;

use crate::error::{Error, ErrorReport};
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{spi, time};
use crate::requests::{self, Reply, Request};

/// Records permanently that a token's id is used, or refuses the token if it was used before. The worker commits
/// this before anything is read with the token, so that a rollback does not undo it.
pub fn take(provider: Uuid, claims: &Claims) -> Result<(), Error> {
    let id = claims.id.as_ref().ok_or(Error::InvalidCredential)?;
    let claimed = requests::call(&Request::ClaimJti {
        provider,
        jti_hash: fingerprint(id),
        expires_at: claims.expires_at,
    })?;
    match claimed {
        Reply::Done => Ok(()),
        Reply::Duplicate => Err(Error::InvalidCredential),
    }
}

/// Writes down that a token was used, in this transaction; false if it was used before. For the worker.
pub fn claim(provider: Uuid, jti_hash: &[u8; 32], expires_at: i64) -> Result<bool, Error> {
    let new = spi::write(
        "INSERT INTO tenancy_internal.claimed_tokens (provider, jti_hash, expires_at) \
         VALUES ($1, $2, to_timestamp($3)) ON CONFLICT DO NOTHING RETURNING 1",
        &[
            pg_uuid(provider).into(),
            jti_hash.to_vec().into(),
            (expires_at.min(time::LAST_SECOND) as f64).into(),
        ],
    )?;
    Ok(new > 0)
}

/// `Request::ClaimJti`, for SQL.
#[pg_extern(sql = false)]
fn _claim_token(
    provider: pgrx::Uuid,
    jti_hash: &[u8],
    expires_at: TimestampWithTimeZone,
) -> Result<bool, ErrorReport> {
    let jti_hash = jti_hash
        .try_into()
        .map_err(|_| Error::bad("jti_hash must have 32 bytes", "It is a SHA-256."))?;
    let request = Request::ClaimJti {
        provider: from_pg(provider),
        jti_hash,
        expires_at: time::to_unix_micros(expires_at.into()).div_euclid(1_000_000),
    };
    Ok(requests::call(&request)? == Reply::Done)
}
