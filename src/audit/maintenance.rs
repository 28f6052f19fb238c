//! `maintenance()`: on record in the audit log and in `maintenance_log`. The worker writes and commits
//! both before it is a power, so the record stays whatever becomes of the caller's transaction.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entry::{self, Actor};
use super::own::own;
use crate::error::Error;
use crate::pg::{client, cluster, role, session, spi};
use crate::worker::{self, Request};

/// What both tables say of a call, in whichever process writes them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Maintenance {
    entry: Value,
    reason: String,
    role: String,
    login: String,
    client: Option<IpAddr>,
    pid: i32,
    /// The caller's transaction.
    xid: u64,
}

/// Records a call for good. Where the worker cannot do it, a superuser's call goes into its own
/// transaction: it reads all rows without asking, and it restores databases.
pub fn record(reason: &str) -> Result<(), Error> {
    let details = json!({ "reason": reason });
    let call = Maintenance {
        // Whoever comes by a ticket has no context before it asks for one.
        entry: entry::row_by(Actor::of(None), &own("maintenance"), None, details)?,
        reason: reason.to_owned(),
        role: role::name(role::outer()),
        login: role::name(role::session()),
        client: client::address(),
        pid: session::backend(),
        xid: cluster::transaction(),
    };
    let request = Request::Maintenance(Box::new(call));
    match (worker::call(&request), request) {
        (Err(_), Request::Maintenance(call)) if role::is_superuser_role(role::outer()) => {
            write(&call)
        }
        (done, _) => done.map(drop),
    }
}

/// Writes both rows, in this transaction.
pub fn write(call: &Maintenance) -> Result<(), Error> {
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
