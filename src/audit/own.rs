//! Tenancy's own entries.

use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::audit::{OWN, check_reason};
use uuid::Uuid;

use super::entry::{self, Actor};
use crate::access::from_pg;
use crate::error::{Error, ErrorReport};
use crate::pg::append::Json;
use crate::pg::{bounded, cluster};
use crate::worker::{self, Request};

/// Records what is done to a scope, in this transaction. `action` is without the prefix.
pub fn record(
    action: &str,
    scope: Option<Uuid>,
    target: Option<&str>,
    details: Value,
) -> Result<(), Error> {
    // What CREATE EXTENSION makes is no entry, and a partition made then would not be dumped.
    if cluster::creating_extension() {
        return Ok(());
    }
    entry::write(
        &own(action),
        &Actor::about(scope)?,
        target,
        Json::new(details)?,
    )
    .map(drop)
}

/// Records it at once, for good, whatever becomes of this transaction, which may be read-only.
pub fn record_now(
    action: &str,
    scope: Option<Uuid>,
    target: Option<&str>,
    details: Value,
) -> Result<(), Error> {
    let row = entry::row(&own(action), scope, target, details)?;
    worker::call(&Request::Audit(row)).map(drop)
}

/// The name of an action of tenancy's own.
pub fn own(action: &str) -> String {
    format!("{OWN}{action}")
}

/// `record`, for SQL.
#[pg_extern(sql = false)]
fn _audit(
    action: Option<&str>,
    scope: Option<pgrx::Uuid>,
    target: Option<&str>,
    details: Option<bounded::Json>,
) -> Result<(), ErrorReport> {
    let action = action.ok_or(Error::Null("action"))?;
    let details = details.map_or_else(|| json!({}), |details| details.0);
    Ok(record(action, scope.map(from_pg), target, details)?)
}

/// `record_now`, for SQL.
#[pg_extern(sql = false)]
fn _record_now(action: Option<&str>, details: Option<bounded::Json>) -> Result<(), ErrorReport> {
    let action = action.ok_or(Error::Null("action"))?;
    let details = details.map_or_else(|| json!({}), |details| details.0);
    Ok(record_now(action, None, None, details)?)
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
