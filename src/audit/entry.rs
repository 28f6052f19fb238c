//! An entry: who acts, on what, and the row that it becomes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tenancy_core::id::new_id;
use uuid::Uuid;

use crate::access::pg_uuid;
use crate::context::principal::Who;
use crate::context::{Current, current};
use crate::error::Error;
use crate::months::Monthly;
use crate::pg::append::{Json, Value, append, check_writable};
use crate::pg::{client, cluster, role, spi, time};
use crate::worker;

/// Who acts, from where.
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
    /// How many bits of it count, where it stands for a network.
    #[serde(default)]
    pub client_bits: Option<u8>,
}

impl Actor {
    /// Whoever acts now, in the tenant and partner of a scope; nothing: in the context's.
    pub fn about(scope: Option<Uuid>) -> Result<Self, Error> {
        let actor = Self::of(current()?.as_deref());
        match scope {
            Some(scope) => actor.on(scope),
            None => Ok(actor),
        }
    }

    /// Whoever acts now in a context.
    pub fn of(current: Option<&Current>) -> Self {
        Self {
            user: current.and_then(|now| match now.who {
                Who::User(user) => Some(user),
                Who::Maintenance => None,
            }),
            tenant: current.and_then(|now| Some(now.tenant.as_ref()?.id)),
            partner: current.and_then(|now| now.access.as_ref()?.partner),
            role: role::name(role::outer()),
            login: role::name(role::session()),
            // The gateway says where the user is; the connection is its own.
            client: current.and_then(|now| now.client).or_else(client::address),
            client_bits: None,
        }
    }

    /// In the tenant and partner of a scope instead.
    pub fn on(mut self, scope: Uuid) -> Result<Self, Error> {
        (self.tenant, self.partner) = spi::read(
            // By three ids, whatever is known of the table: it grows by thousands in one session.
            "SELECT CASE t.level WHEN 'tenant' THEN t.id END, CASE p.level WHEN 'partner' THEN p.id END \
             FROM tenancy.scopes s LEFT JOIN tenancy.scopes p ON p.id = s.path[2] \
             LEFT JOIN tenancy.scopes t ON t.id = s.path[3] WHERE s.id = $1",
            &[pg_uuid(scope).into()],
            |rows| {
                let Some(row) = rows.into_iter().next() else {
                    return Ok((None, None));
                };
                let id = |n| Ok::<_, Error>(row.get::<pgrx::Uuid>(n)?.map(crate::access::from_pg));
                Ok((id(1)?, id(2)?))
            },
        )?;
        Ok(self)
    }
}

/// What another process needs to write an entry.
#[derive(Serialize, Deserialize)]
struct Row {
    action: String,
    actor: Actor,
    target: Option<String>,
    details: serde_json::Value,
}

/// An entry as the worker takes it.
pub fn row(
    action: &str,
    scope: Option<Uuid>,
    target: Option<&str>,
    details: serde_json::Value,
) -> Result<serde_json::Value, Error> {
    row_by(Actor::about(scope)?, action, target, details)
}

/// The same by whom is known.
pub fn row_by(
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

/// Writes what `row` made.
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
    let table = Monthly::AuditLog.partition(time::to_unix_micros(at))?;
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
    worker::wrote();
    Ok(id)
}
