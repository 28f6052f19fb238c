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
    // What CREATE EXTENSION makes is no entry, and a partition made then would not be dumped.
    if cluster::creating_extension() {
        return Ok(());
    }
    entry::write(&internal(action), &actor()?, target, Json::new(details)?).map(drop)
}

/// Records it at once, for good, whatever becomes of this transaction, which may be read-only.
pub fn record_now(
    action: &str,
    actor: Actor,
    target: Option<&str>,
    details: Value,
) -> Result<(), Error> {
    let row = entry::row(actor, &internal(action), target, details)?;
    requests::call(&Request::Audit(row)).map(drop)
}

/// The name of an action of tenancy's own.
pub fn internal(action: &str) -> String {
    format!("{OWN}{action}")
}

/// A reason without white space around it, or an error.
#[pg_extern(sql = false)]
fn _checked_reason(reason: Option<&str>) -> Result<&str, ErrorReport> {
    Ok(checked_reason(reason)?)
}

/// The reason for a power over tenants' rows, without white space around it.
pub fn checked_reason(reason: Option<&str>) -> Result<&str, Error> {
    check_reason(reason.ok_or(Error::Null("reason"))?).map_err(|fault| {
        Error::bad(
            fault,
            "Say why tenants' rows are needed: a ticket's number and a few words.",
        )
    })
}

/// The cluster's system identifier.
#[pg_extern(sql = false)]
fn _origin() -> i64 {
    cluster::identifier()
}
