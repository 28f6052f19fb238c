//! Entries of the audit log for what the context does.

use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::principal::Principal;
use uuid::Uuid;

use super::{Context, current};
use crate::audit::{self, Actor};
use crate::error::{Error, ErrorReport};
use crate::pg::bounded;
use crate::pg::uuid::from_pg;

/// Returns who acts now, in the tenant and partner of a scope; without one, in the context's.
pub fn actor(scope: Option<Uuid>) -> Result<Actor, Error> {
    let actor = actor_of(current()?.as_deref());
    match scope {
        Some(scope) => actor.on(scope),
        None => Ok(actor),
    }
}

/// Returns who acts now in a context.
pub fn actor_of(current: Option<&Context>) -> Actor {
    let session = Actor::of_session();
    let Some(context) = current else {
        return session;
    };
    Actor {
        user: match context.principal {
            Principal::User(user) => Some(user),
            Principal::Maintenance => None,
        },
        tenant: context.tenant.as_ref().map(|tenant| tenant.id),
        partner: context.access.as_ref().and_then(|access| access.partner),
        // The gateway names the user's address; the connection's address is the gateway's.
        client: context.claims.client.or(session.client),
        ..session
    }
}

/// Adds an entry about a scope, in this transaction. `action` has no prefix.
pub fn record(
    action: &str,
    scope: Option<Uuid>,
    target: Option<&str>,
    details: Value,
) -> Result<(), Error> {
    audit::record(action, || actor(scope), target, details)
}

/// Adds an entry permanently and at once; it stays if this transaction is rolled back. Works in read-only transactions.
pub fn record_now(
    action: &str,
    scope: Option<Uuid>,
    target: Option<&str>,
    details: Value,
) -> Result<(), Error> {
    audit::record_now(action, actor(scope)?, target, details)
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
