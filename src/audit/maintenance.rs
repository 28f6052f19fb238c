//! `maintenance()`: recorded in the audit log and in `maintenance_log`. The worker commits both entries
//! before maintenance takes effect, so they stay if the caller's transaction is rolled back.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entry::{self, Actor};
use super::internal::internal;
use crate::error::Error;
use crate::pg::{client, cluster, role, session, spi};
use crate::requests::{self, Request};

/// A call of `maintenance()`, as both tables record it.
#[derive(Serialize, Deserialize)]
struct Maintenance {
    entry: Value,
    reason: String,
    role: String,
    login: String,
    client: Option<IpAddr>,
    pid: i32,
    /// The caller's transaction.
    xid: u64,
}

/// Records a call permanently. If no worker can do it, a superuser's call is recorded in its own
/// transaction: superusers can read all rows anyway, and must be able to restore databases.
pub fn record(reason: &str) -> Result<(), Error> {
    let details = json!({ "reason": reason });
    let call = Maintenance {
        // A caller with only a ticket has no context yet.
        entry: entry::row(Actor::of_session(), &internal("maintenance"), None, details)?,
        reason: reason.to_owned(),
        role: role::name(role::outer()),
        login: role::name(role::session()),
        client: client::address(),
        pid: session::backend(),
        xid: cluster::transaction(),
    };
    let row =
        serde_json::to_value(&call).map_err(|_| Error::Internal("an entry cannot be written"))?;
    match requests::call(&Request::Maintenance(row)) {
        Err(_) if role::is_superuser_role(role::outer()) => write(&call),
        done => done.map(drop),
    }
}

/// Writes both rows of a call that another process has recorded.
pub fn write_row(row: &Value) -> Result<(), Error> {
    let call =
        Maintenance::deserialize(row).map_err(|_| Error::Internal("an entry cannot be read"))?;
    write(&call)
}

/// Writes both rows, in this transaction.
fn write(call: &Maintenance) -> Result<(), Error> {
    entry::write_row(&call.entry)?;
    spi::write(
        "INSERT INTO tenancy.maintenance_log (role, login, reason, client, pid, xid) \
         VALUES ($1, $2, $3, $4::text::inet, $5, $6::text::xid8)",
        &[
            call.role.clone().into(),
            call.login.clone().into(),
            call.reason.clone().into(),
            call.client.map(|client| client.to_string()).into(),
            call.pid.into(),
            call.xid.to_string().into(),
        ],
    )
    .map(drop)
}
