//! Tokens that are good for one login: the worker writes down each that was used, for as long as it would hold.

use tenancy_core::jwt::{Claims, Refusal, fingerprint};
use tenancy_core::time::Instant;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::spi;
use crate::pg::uuid::pg_uuid;
use crate::requests::{self, Reply, Request};

/// Records permanently that a token's id is used, or refuses the token if it was used before. The worker commits
/// this before anything is read with the token, so that a rollback does not undo it.
pub fn take(provider: Uuid, claims: &Claims) -> Result<(), Error> {
    let used = Error::TokenRefused(Refusal::Used, Some(provider));
    let Some(id) = &claims.id else {
        return Err(used);
    };
    let claimed = requests::call(&Request::ClaimJti {
        provider,
        jti_hash: fingerprint(id),
        expires_at: claims.expires_at,
    })?;
    match claimed {
        Reply::Done => Ok(()),
        Reply::Duplicate => Err(used),
    }
}

/// Writes down that a token was used, in this transaction; false if it was used before. For the worker.
pub fn claim(provider: Uuid, jti_hash: &[u8; 32], expires_at: Instant) -> Result<bool, Error> {
    let new = spi::write(
        "INSERT INTO tenancy_internal.claimed_tokens (provider, jti_hash, expires_at) \
         VALUES ($1, $2, to_timestamp($3)) ON CONFLICT DO NOTHING RETURNING 1",
        &[
            pg_uuid(provider).into(),
            jti_hash.to_vec().into(),
            (expires_at.unix_seconds() as f64).into(),
        ],
    )?;
    Ok(new > 0)
}
