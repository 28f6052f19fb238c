//! How much a counter may count: the limit of that name, as it applies to the tenant, or to the project or user in it.

use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use pgrx::prelude::*;
use tenancy_core::quota::Per;
use tenancy_core::subject::Subject;
use uuid::Uuid;

use super::definitions::{self, Quota};
use crate::error::{Error, ErrorReport};
use crate::limit::effective::{self, Place};
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;

/// An external id: of a tenant, or of a project or user in a tenant.
type ExternalId = (Per, Option<Uuid>, Box<str>);

/// The number of external ids that a backend caches at most.
const MOST: usize = 4000;

thread_local! {
    static KNOWN: RefCell<HashMap<ExternalId, (Uuid, Sources), RandomState>> = RefCell::default();
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
    let inner = match quota.per {
        Per::Tenant | Per::Column => None,
        per => inner_scope(per, tenant, key)?,
    };
    let Some(inner) = inner else {
        return Ok(of_tenant.least(quota.limit));
    };
    // It may be an id of anything: what the column says it is must be that.
    let found = effective::of_scope(inner)?.map(|found| found.place);
    let mut place = of_tenant.place;
    match (quota.per, found) {
        (Per::Project, Some(Place { project, .. })) if project == Some(inner) => {
            place.project = project;
        }
        (Per::User, Some(Place { user, .. })) if user == Some(inner) => place.user = user,
        _ => return Ok(of_tenant.least(quota.limit)),
    }
    Ok(effective::of(place)?.least(quota.limit))
}

fn tenant_of(quota: &Quota, tenant: &str) -> Result<Option<Uuid>, Error> {
    match quota.by_id {
        true => Ok(tenant.parse().ok()),
        false => named(Per::Tenant, None, tenant),
    }
}

fn inner_scope(per: Per, tenant: Uuid, key: &str) -> Result<Option<Uuid>, Error> {
    match key.parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => named(per, Some(tenant), key),
    }
}

/// Returns the scope with an external id.
fn named(per: Per, tenant: Option<Uuid>, key: &str) -> Result<Option<Uuid>, Error> {
    let wanted: ExternalId = (per, tenant, key.into());
    let known = KNOWN.with_borrow(|known| {
        let (id, sources) = known.get(&wanted)?;
        sources.hold().then_some(*id)
    });
    if known.is_some() {
        return Ok(known);
    }
    let mut reading = Reading::begin();
    let found = spi::read(
        "SELECT s.id FROM tenancy.scopes s \
         WHERE s.external_id = $1 AND $2 = 'tenant' AND (s.level = 'tenant' OR s.keys_rows) \
         UNION ALL \
         SELECT s.id FROM tenancy.scopes s WHERE s.parent_id = $3 AND s.external_id = $1 AND s.level = $2 AND $2 <> 'tenant' \
         LIMIT 1",
        &[
            key.to_owned().into(),
            per.as_str().into(),
            tenant.map(pg_uuid).into(),
        ],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null_id(1).map(Some),
            None => Ok(None),
        },
    )?;
    if let Some(id) = found {
        // Who gets another external id leaves this one to others.
        reading.of(Subject::Scope(id));
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
    let quotas = definitions::of(table)?;
    let Some(quota) = quotas.iter().find(|found| found.id == quota) else {
        return Ok(None);
    };
    Ok(of(quota, tenant, key)?)
}

/// Returns the scope of a project or user that a counter counts for, for the view.
#[pg_extern(sql = false)]
fn _quota_scope(
    per: Option<&str>,
    tenant: Option<pgrx::Uuid>,
    key: Option<&str>,
) -> Result<Option<pgrx::Uuid>, ErrorReport> {
    let (Some(per), Some(tenant), Some(key)) = (per.and_then(Per::named), tenant, key) else {
        return Ok(None);
    };
    match per {
        Per::Tenant | Per::Column => Ok(Some(tenant)),
        Per::Project | Per::User => {
            Ok(inner_scope(per, crate::pg::uuid::from_pg(tenant), key)?.map(pg_uuid))
        }
    }
}
