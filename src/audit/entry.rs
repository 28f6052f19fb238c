//! An entry: the actor, the target, and the row.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tenancy_core::id::new_id;
use tenancy_core::partitions::Monthly;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::heap_insert::{Json, Value, append, check_writable};
use crate::pg::{client, cluster, role, time};
use crate::{partitions, requests, tree};

/// The actor of an entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Actor {
    /// The context's user.
    pub user: Option<Uuid>,
    /// The tenant that it is about.
    pub tenant: Option<Uuid>,
    /// The partner that it is about.
    pub partner: Option<Uuid>,
    /// The database role.
    pub role: String,
    /// The database role that logged in.
    pub login: String,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The number of significant bits, if it stands for a network.
    #[serde(default)]
    pub client_bits: Option<u8>,
}

impl Actor {
    /// Returns the database roles and the client's address of this session, without a user.
    pub fn of_session() -> Self {
        Self {
            role: role::name(role::outer()),
            login: role::name(role::session()),
            client: client::address(),
            ..Self::default()
        }
    }

    /// Replaces the tenant and partner by those of a scope.
    pub fn on(mut self, scope: Uuid) -> Result<Self, Error> {
        let found = tree::scope(scope)?;
        (self.partner, self.tenant) =
            found.map_or((None, None), |found| found.partner_and_tenant());
        Ok(self)
    }
}

/// The data that another process needs to write an entry.
#[derive(Serialize, Deserialize)]
struct Row {
    action: String,
    actor: Actor,
    target: Option<String>,
    details: serde_json::Value,
}

/// Returns an entry in the form that the worker takes.
pub fn row(
    actor: Actor,
    action: &str,
    target: Option<&str>,
    details: serde_json::Value,
) -> Result<serde_json::Value, Error> {
    serde_json::to_value(Row {
        action: action.to_owned(),
        actor,
        target: target.map(str::to_owned),
        details,
    })
    .map_err(|_| Error::Internal("an entry cannot be written"))
}

/// Writes an entry that `row` returned.
pub fn write_row(row: &serde_json::Value) -> Result<(), Error> {
    let row = Row::deserialize(row).map_err(|_| Error::Internal("an entry cannot be read"))?;
    write(
        &row.action,
        &row.actor,
        row.target.as_deref(),
        Json::new(row.details)?,
    )
    .map(drop)
}

/// Appends an entry, in this transaction.
pub fn write(
    action: &str,
    actor: &Actor,
    target: Option<&str>,
    details: Json,
) -> Result<Uuid, Error> {
    check_writable(c"an entry in the audit log");
    let id = new_id();
    let at = time::now();
    let table = partitions::of(Monthly::AuditLog, at)?;
    let uuid = |id: Option<Uuid>| id.map_or(Value::Null, |id| Value::Uuid(*id.as_bytes()));
    append(
        table,
        &[
            Value::Instant(at),
            Value::Int8(cluster::identifier()),
            Value::Xid8(cluster::transaction()),
            Value::Uuid(*id.as_bytes()),
            uuid(actor.user),
            uuid(actor.tenant),
            uuid(actor.partner),
            Value::Text(action),
            target.map_or(Value::Null, Value::Text),
            Value::Text(&actor.role),
            Value::Text(&actor.login),
            actor.client.map_or(Value::Null, |client| {
                Value::Inet(client, actor.client_bits.unwrap_or(u8::MAX))
            }),
            Value::Json(details),
        ],
    )?;
    requests::wrote();
    Ok(id)
}
