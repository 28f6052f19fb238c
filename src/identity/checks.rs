//! Checks of keys and claims before SQL stores them.

use pgrx::prelude::*;
use tenancy_core::jwt::{self, AUDIENCE_CLAIMS, ClaimName, KeySet, NoGroups};

use crate::error::{Error, ErrorReport};
use crate::pg::bounded;

/// Returns true, or raises an error with the reason if a provider's keys or secret are invalid.
#[pg_extern(sql = false)]
fn _check_identity_keys(
    keys: Option<bounded::Json>,
    secret: Option<&[u8]>,
) -> Result<bool, ErrorReport> {
    match (keys, secret) {
        (Some(keys), None) => KeySet::from_jwks(&keys.0).map_err(|fault| {
            Error::bad(
                fault,
                "Give the provider's JWKS as it publishes it, with keys for RS256, ES256 or EdDSA.",
            )
        })?,
        (None, Some(secret)) => KeySet::from_secret(secret).map_err(|fault| {
            Error::bad(
                fault,
                "A shorter secret can be guessed from a single token.",
            )
        })?,
        _ => Err(Error::bad(
            "either keys or secret is needed, and not both",
            "keys is the provider's JWKS; secret is what it shares for HS256.",
        ))?,
    };
    Ok(true)
}

/// Returns the keys of a set that verify nothing, with the reasons.
#[pg_extern(sql = false)]
fn _skipped_keys(keys: bounded::Json) -> Result<Vec<String>, ErrorReport> {
    let keys = KeySet::from_jwks(&keys.0).map_err(|fault| Error::bad(fault, ""))?;
    Ok(keys.skipped().iter().map(ToString::to_string).collect())
}

/// Returns true, or raises an error if a provider's tokens cannot be read so.
#[pg_extern(sql = false)]
fn _check_token_claims(
    audience_claim: Option<&str>,
    without_groups: Option<&str>,
) -> Result<bool, ErrorReport> {
    if audience_claim.is_some_and(|claim| !AUDIENCE_CLAIMS.contains(&claim)) {
        Err(Error::bad(
            "audience_claim is none that names an application",
            "Use client_id (Amazon Cognito), cid (Okta), appid (Entra ID) or azp; tokens with aud need none.",
        ))?;
    }
    if without_groups.and_then(NoGroups::parse).is_none() {
        Err(Error::bad(
            "without_groups must be empty or keep",
            "empty: a token without the claim takes the groups away; keep: it leaves them as they are.",
        ))?;
    }
    Ok(true)
}

/// Returns true, or raises an error if a claim's name is invalid.
#[pg_extern(sql = false)]
fn _check_claim(name: Option<&str>) -> Result<bool, ErrorReport> {
    if let Some(name) = name {
        ClaimName::parse(name).map_err(|fault| {
            Error::bad(
                fault,
                "Name it exactly as tokens do, or by a JSON pointer such as /realm_access/roles.",
            )
        })?;
    }
    Ok(true)
}

/// Returns the hash of an issuer and an audience.
#[pg_extern(sql = false)]
fn _tokens_of(issuer: &str, audience: &str) -> Vec<u8> {
    jwt::tokens_of(issuer, audience).to_vec()
}

/// Returns fingerprints of the keys of a key set, independent of how they are written.
#[pg_extern(sql = false)]
fn _key_fingerprints(keys: bounded::Json) -> Result<Vec<Vec<u8>>, ErrorReport> {
    let keys = KeySet::from_jwks(&keys.0).map_err(|fault| Error::bad(fault, ""))?;
    Ok(keys.fingerprints().map(Vec::from).collect())
}
