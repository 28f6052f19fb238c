//! Narrowing a context, and leaving it.

use std::rc::Rc;

use pgrx::prelude::*;
use tenancy_core::token::{Kind, Lifetime, Token};
use uuid::Uuid;

use super::current::{self, Current};
use super::principal::Who;
use super::{enter, leftovers};
use crate::access::{from_pg, pg_uuid};
use crate::error::{Error, ErrorReport};
use crate::pg::{guc, spi};

/// Narrows the context to one of its tenants.
#[pg_extern(sql = false)]
fn select_tenant(
    tenant: Option<pgrx::Uuid>,
    session: Option<bool>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let tenant = from_pg(tenant.ok_or(Error::Null("tenant"))?);
    let now = required()?;
    if !now.spans(tenant)? {
        Err(Error::NoSuchScope(tenant.to_string()))?;
    }
    // Selecting the tenant that is selected keeps the project.
    let project = now
        .project
        .filter(|_| now.tenant.as_ref().is_some_and(|held| held.id == tenant));
    narrow(&now, tenant, project, session)?;
    Ok(pg_uuid(tenant))
}

/// Narrows the context to one project of its tenants.
#[pg_extern(sql = false)]
fn select_project(
    project: Option<pgrx::Uuid>,
    session: Option<bool>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let project = from_pg(project.ok_or(Error::Null("project"))?);
    let now = required()?;
    let found = match tenant_of(project)? {
        Some((tenant, active))
            if now.spans(tenant)?
                && now.project.is_none_or(|held| held == project)
                && now
                    .access
                    .as_ref()
                    .is_some_and(|access| access.enters(project, tenant)) =>
        {
            Some((tenant, active))
        }
        _ => None,
    };
    let (tenant, active) = found.ok_or_else(|| Error::NoSuchScope(project.to_string()))?;
    if !active {
        Err(Error::Inactive)?;
    }
    narrow(&now, tenant, Some(project), session)?;
    Ok(pg_uuid(project))
}

/// Leaves the context, the session's too, and the ticket. As with any setting, a ROLLBACK undoes it.
#[pg_extern(sql = false)]
fn release() -> Result<(), ErrorReport> {
    leftovers::released()?;
    guc::clear();
    Ok(())
}

fn required() -> Result<Rc<Current>, Error> {
    let now = current::required()?;
    match now.who {
        Who::User(_) => Ok(now),
        Who::Maintenance => Err(Error::AllTenants),
    }
}

fn narrow(
    now: &Current,
    tenant: Uuid,
    project: Option<Uuid>,
    session: Option<bool>,
) -> Result<(), Error> {
    let Who::User(user) = now.who else {
        return Err(Error::AllTenants);
    };
    let lifetime = match (session, now.lifetime) {
        (Some(true), Lifetime::Session) => Lifetime::Session,
        // Else a context that ends with its transaction could be made to outlive it.
        (Some(true), Lifetime::Transaction) => {
            return Err(Error::bad(
                "the context is not the session's",
                "Only what authenticate(…, session => true) began can be narrowed for the session.",
            ));
        }
        _ => Lifetime::Transaction,
    };
    enter::take(&Token {
        kind: Kind::Principal,
        lifetime,
        user: Some(user),
        tenant: Some(tenant),
        project,
        proof: now.proof,
        binding: guc::binding(lifetime),
        expires_at: now.expires_at,
        client: now.client,
    })?;
    leftovers::narrowed();
    Ok(())
}

/// The tenant of a project, and whether the project itself is active.
fn tenant_of(project: Uuid) -> Result<Option<(Uuid, bool)>, Error> {
    spi::read(
        "SELECT parent_id, status = 'active' FROM tenancy.scopes \
         WHERE id = $1 AND level = 'project'",
        &[pg_uuid(project).into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Ok(None);
            };
            let tenant = row.get::<pgrx::Uuid>(1)?.map(from_pg);
            Ok(tenant.map(|tenant| (tenant, row.get(2).ok().flatten().unwrap_or(false))))
        },
    )
}
