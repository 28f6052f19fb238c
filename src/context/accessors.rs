//! Accessors of the context for SQL. All return NULL without a context.

use std::cell::RefCell;

use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::policy::is_whole;
use tenancy_core::principal::Principal;
use tenancy_core::tenants::{canonical_int, int_key};
use tenancy_core::token::Lifetime;
use uuid::Uuid;

use super::current::current;
use crate::access::Access;
use crate::error::{Error, ErrorReport};
use crate::pg::time::iso;
use crate::pg::uuid::pg_uuid;
use crate::pg::xact;
use crate::tree;

/// Returns the user of the context.
#[pg_extern(sql = false)]
fn user_id() -> Result<Option<pgrx::Uuid>, ErrorReport> {
    Ok(current()?.and_then(|context| match context.principal {
        Principal::User(user) => Some(pg_uuid(user)),
        Principal::Maintenance => None,
    }))
}

/// Returns the tenant of the context, if it has only one.
#[pg_extern(sql = false)]
fn context_tenant_id() -> Result<Option<pgrx::Uuid>, ErrorReport> {
    Ok(current()?.and_then(|context| Some(pg_uuid(context.tenant.as_ref()?.id))))
}

/// Returns that tenant's external id, if it is a 64-bit integer.
#[pg_extern(sql = false)]
fn context_tenant_key_bigint() -> Result<Option<i64>, ErrorReport> {
    Ok(current()?.and_then(|context| int_key(context.tenant.as_ref()?)))
}

/// Returns that tenant's external id, if it is a 32-bit integer.
#[pg_extern(sql = false)]
fn context_tenant_key_integer() -> Result<Option<i32>, ErrorReport> {
    Ok(current()?.and_then(|context| i32::try_from(int_key(context.tenant.as_ref()?)?).ok()))
}

/// Returns that tenant's external id, if it is a whole number.
#[pg_extern(sql = false)]
fn context_tenant_key_numeric() -> Result<Option<AnyNumeric>, ErrorReport> {
    let key = context_tenant_key_text()?.filter(|key| is_whole(key));
    Ok(key.and_then(|key| AnyNumeric::try_from(key.as_str()).ok()))
}

/// Returns that tenant's external id.
#[pg_extern(sql = false)]
fn context_tenant_key_text() -> Result<Option<String>, ErrorReport> {
    Ok(current()?.and_then(|context| context.tenant.as_ref()?.external_id.clone()))
}

/// Returns the partner that the context's user, and its tenants, belong to.
#[pg_extern(sql = false)]
fn partner_id() -> Result<Option<pgrx::Uuid>, ErrorReport> {
    Ok(current()?.and_then(|context| context.access.as_ref()?.partner.map(pg_uuid)))
}

/// Returns the selected project.
#[pg_extern(sql = false)]
fn project_id() -> Result<Option<pgrx::Uuid>, ErrorReport> {
    Ok(current()?.and_then(|context| context.project.map(pg_uuid)))
}

/// Returns the external id that the user has in the context's tenant, if it is a 64-bit integer.
#[pg_extern(sql = false)]
fn context_user_key_bigint() -> Result<Option<i64>, ErrorReport> {
    Ok(context_user_key_text()?.and_then(|key| canonical_int(&key)))
}

/// Returns the external id that the user has in the context's tenant.
#[pg_extern(sql = false)]
fn context_user_key_text() -> Result<Option<String>, ErrorReport> {
    Ok(current()?.and_then(|context| context.user_key().map(str::to_owned)))
}

/// Returns the selected project's external id, if it is a 64-bit integer.
#[pg_extern(sql = false)]
fn context_project_key_bigint() -> Result<Option<i64>, ErrorReport> {
    Ok(context_project_key_text()?.and_then(|key| canonical_int(&key)))
}

/// Returns the selected project's external id.
#[pg_extern(sql = false)]
fn context_project_key_text() -> Result<Option<String>, ErrorReport> {
    match current()?.and_then(|context| context.project) {
        Some(project) => Ok(project_key(project)?),
        None => Ok(None),
    }
}

thread_local! {
    /// The external id of a project, and the generation in which it was read.
    static PROJECT: RefCell<Option<(u64, Uuid, Option<String>)>> = const { RefCell::new(None) };
}

/// Returns a project's external id. It is read once per generation.
pub fn project_key(project: Uuid) -> Result<Option<String>, Error> {
    let known = PROJECT.with_borrow(|known| {
        let known = known.as_ref();
        known
            .filter(|(generation, id, _)| *generation == xact::generation() && *id == project)
            .map(|(_, _, key)| key.clone())
    });
    if let Some(key) = known {
        return Ok(key);
    }
    let key = tree::scope(project)?.and_then(|found| found.external_id);
    PROJECT.set(Some((xact::generation(), project, key.clone())));
    Ok(key)
}

/// Returns the whole context.
#[pg_extern(sql = false)]
fn context() -> Result<Option<pgrx::JsonB>, ErrorReport> {
    let Some(context) = current()? else {
        return Ok(None);
    };
    let text = |id: Uuid| id.to_string();
    let access = context.access.as_ref();
    Ok(Some(pgrx::JsonB(json!({
        "kind": match context.principal {
            Principal::Maintenance => "maintenance",
            Principal::User(_) => "principal",
        },
        "user_id": match context.principal {
            Principal::User(user) => Some(text(user)),
            Principal::Maintenance => None,
        },
        "tenant_id": context.tenant.as_ref().map(|tenant| text(tenant.id)),
        "partner_id": access.and_then(|access| access.partner).map(text),
        "project_id": context.project.map(text),
        "tenants": access.map(|_| match context.count() {
            Some(count) => json!(count),
            None => json!("all"),
        }),
        "permissions": access.map(|access| access.permissions()),
        "roles": access.map(|access| roles(access)),
        "elevation": context.elevation().map(|elevation| json!({
            "reason": elevation.reason,
            "expires_at": iso(elevation.expires_at),
        })),
        "source": if context.claims.by_ticket { "ticket" } else { "authenticated" },
        "lifetime": match context.claims.lifetime {
            Lifetime::Transaction => "transaction",
            Lifetime::Session => "session",
        },
        "expires_at": context.claims.expires_at.and_then(iso),
    }))))
}

/// Lists the permissions held in each scope.
fn roles(access: &Access) -> Vec<Value> {
    let grants = access.grants.all().iter();
    grants
        .map(|grant| {
            let permissions = grant.permissions.iter().map(ToString::to_string);
            json!({
                "scope_id": grant.scope().to_string(),
                "level": grant.level.as_str(),
                "permissions": permissions.collect::<Vec<_>>(),
            })
        })
        .collect()
}
