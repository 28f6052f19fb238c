//! How much a counter may count: the limit of that name, as it applies to the tenant, or to the project or user in it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;
use pgrx::prelude::*;
use tenancy_core::quota::Per;
use tenancy_core::subject::Subject;
use uuid::Uuid;

use super::definitions::{self, Quota};
use crate::error::{Error, ErrorReport};
use crate::limit::effective;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};

/// What rows name a scope by.
#[derive(PartialEq, Eq, Hash)]
struct Name {
    per: Per,
    /// The tenant that it is in, of a project or user.
    tenant: Option<Uuid>,
    /// Whether it is an id; otherwise an external id.
    by_id: bool,
    text: Box<str>,
}

/// The number of names that a backend caches at most.
const MOST: usize = 4000;

thread_local! {
    static KNOWN: RefCell<HashMap<Name, (Uuid, Sources), RandomState>> = RefCell::default();
}

/// Returns how much a counter may count; `None`: not limited. A tenant, or a project or user in it, that does not exist has the limits of
/// what is above it.
pub fn of(quota: &Quota, tenant: &str, key: &str) -> Result<Option<i64>, Error> {
    let Some(tenant) = tenant_of(quota, tenant)? else {
        return Ok(None);
    };
    let Some(of_tenant) = effective::of_scope(tenant)? else {
        return Ok(None);
    };
    let Some(inner) = inner_scope(quota, tenant, key)? else {
        return Ok(of_tenant.least(quota.limit));
    };
    let mut place = of_tenant.place;
    match quota.per {
        Per::Project => place.project = Some(inner),
        _ => place.user = Some(inner),
    }
    Ok(effective::of(place)?.least(quota.limit))
}

fn tenant_of(quota: &Quota, tenant: &str) -> Result<Option<Uuid>, Error> {
    match quota.by_id {
        true => Ok(tenant.parse().ok()),
        false => named(Name {
            per: Per::Tenant,
            tenant: None,
            by_id: false,
            text: tenant.into(),
        }),
    }
}

/// Returns the project or user that a key names. It may be an id of anything: what the quota says it is, and in the tenant, it must be.
fn inner_scope(quota: &Quota, tenant: Uuid, key: &str) -> Result<Option<Uuid>, Error> {
    match quota.per {
        Per::Tenant | Per::Column => Ok(None),
        per => named(Name {
            per,
            tenant: Some(tenant),
            by_id: quota.key_by_id,
            text: key.into(),
        }),
    }
}

/// Returns the scope with a name. A user is below the tenant, or of what is above it.
fn named(wanted: Name) -> Result<Option<Uuid>, Error> {
    let known = KNOWN.with_borrow(|known| {
        let (id, sources) = known.get(&wanted)?;
        sources.hold().then_some(*id)
    });
    if known.is_some() {
        return Ok(known);
    }
    let id: Option<Uuid> = match wanted.by_id {
        true => match wanted.text.parse() {
            Ok(id) => Some(id),
            Err(_) => return Ok(None),
        },
        false => None,
    };
    let mut reading = Reading::begin();
    let found = spi::read(
        "SELECT s.id FROM tenancy.scopes s \
         WHERE $4::uuid IS NULL AND s.external_id = $1 AND $2 = 'tenant' AND (s.level = 'tenant' OR s.keys_rows) \
         UNION ALL \
         SELECT s.id FROM tenancy.scopes s \
         WHERE $4::uuid IS NULL AND s.parent_id = $3 AND s.external_id = $1 AND s.level = $2 AND $2 <> 'tenant' \
         UNION ALL \
         SELECT s.id FROM tenancy.scopes s JOIN tenancy.scopes t ON t.id = $3 \
         WHERE s.id = $4 AND s.level = $2 AND (t.id = ANY (s.path) OR s.level = 'user' AND s.parent_id = ANY (t.path)) \
         LIMIT 1",
        &[
            wanted.text.to_string().into(),
            wanted.per.as_str().into(),
            wanted.tenant.map(pg_uuid).into(),
            id.map(pg_uuid).into(),
        ],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null_id(1).map(Some),
            None => Ok(None),
        },
    )?;
    if let Some(id) = found {
        // Who gets another external id leaves this one to others, and who moves is in another tenant.
        reading.of(Subject::Scope(id));
        if let Some(tenant) = wanted.tenant {
            reading.of(Subject::Scope(tenant));
        }
        let sources = reading.done();
        KNOWN.with_borrow_mut(|known| {
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(wanted, (id, sources));
        });
    }
    Ok(found)
}

/// Returns how much a counter of a table may count, for the view.
#[pg_extern(sql = false)]
fn _quota_allowed(
    table: Option<pg_sys::Oid>,
    quota: Option<i32>,
    tenant: Option<&str>,
    key: Option<&str>,
) -> Result<Option<i64>, ErrorReport> {
    let (Some(table), Some(quota), Some(tenant), Some(key)) = (table, quota, tenant, key) else {
        return Ok(None);
    };
    match quota_of(table, quota)? {
        Some(quota) => Ok(of(&quota, tenant, key)?),
        None => Ok(None),
    }
}

/// Returns the scope that a counter of a tenant counts for, for the view.
#[pg_extern(sql = false)]
fn _quota_scope(
    table: Option<pg_sys::Oid>,
    quota: Option<i32>,
    tenant: Option<pgrx::Uuid>,
    key: Option<&str>,
) -> Result<Option<pgrx::Uuid>, ErrorReport> {
    let (Some(table), Some(quota), Some(tenant), Some(key)) = (table, quota, tenant, key) else {
        return Ok(None);
    };
    let Some(quota) = quota_of(table, quota)? else {
        return Ok(None);
    };
    match quota.per {
        Per::Tenant | Per::Column => Ok(Some(tenant)),
        Per::Project | Per::User => Ok(inner_scope(&quota, from_pg(tenant), key)?.map(pg_uuid)),
    }
}

fn quota_of(table: pg_sys::Oid, id: i32) -> Result<Option<Rc<Quota>>, Error> {
    let quotas = definitions::of(table)?;
    Ok(quotas.iter().find(|quota| quota.id == id).cloned())
}
