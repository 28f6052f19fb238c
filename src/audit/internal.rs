//! Tenancy's own entries.

use pgrx::prelude::*;
use serde_json::Value;
use tenancy_core::audit::{OWN, check_reason};

use super::entry::{self, Actor};
use crate::error::{Error, ErrorReport};
use crate::pg::cluster;
use crate::pg::heap_insert::Json;
use crate::requests::{self, Request};

/// Records an action of tenancy's own, in this transaction. `action` is without the prefix.
pub fn record(
    action: &str,
    actor: impl FnOnce() -> Result<Actor, Error>,
    target: Option<&str>,
    details: Value,
) -> Result<(), Error> {
    // CREATE EXTENSION records nothing: a partition created then would not be dumped.
    if cluster::creating_extension() {
        return Ok(());
    }
    entry::write(&internal(action), &actor()?, target, Json::new(details)?).map(drop)
}

/// Adds an entry permanently and at once; it stays if this transaction is rolled back. Works in read-only transactions.
pub fn record_now(
    action: &str,
    actor: Actor,
    target: Option<&str>,
    details: Value,
) -> Result<(), Error> {
    let row = entry::row(actor, &internal(action), target, details)?;
    requests::call(&Request::Audit(row)).map(drop)
}

/// Returns the full name of an action of tenancy.
pub fn internal(action: &str) -> String {
    format!("{OWN}{action}")
}

/// Returns a reason without surrounding white space, or an error.
#[pg_extern(sql = false)]
fn _checked_reason(reason: Option<&str>) -> Result<&str, ErrorReport> {
    Ok(checked_reason(reason)?)
}

/// Returns the reason for access to tenants' rows, without surrounding white space.
pub fn checked_reason(reason: Option<&str>) -> Result<&str, Error> {
    check_reason(reason.ok_or(Error::Null("reason"))?).map_err(|fault| {
        Error::bad(
            fault,
            "Say why tenants' rows are needed: a ticket's number and a few words.",
        )
    })
}

/// Returns the cluster's system identifier.
#[pg_extern(sql = false)]
fn _origin() -> i64 {
    cluster::identifier()
}
