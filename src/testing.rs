//! Functions that only the tests call. The tests declare them; a library that is installed or packaged does not have them.

use pgrx::prelude::*;
use serde_json::json;

use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::uuid::from_pg;
use crate::pg::{bounded, time};
use crate::requests::{self, Reply, Request};

/// Adds an entry to the audit log permanently and at once.
#[pg_extern(sql = false)]
fn _record_now(action: Option<&str>, details: Option<bounded::Json>) -> Result<(), ErrorReport> {
    let action = action.ok_or(Error::Null("action"))?;
    let details = details.map_or_else(|| json!({}), |details| details.0);
    Ok(context::record_now(action, None, None, details)?)
}

/// Records permanently that a token's id is used; false if it was used before.
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
        expires_at: time::from_server(expires_at.into()),
    };
    Ok(requests::call(&request)? == Reply::Done)
}
