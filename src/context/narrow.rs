//! Narrowing a context, and leaving it.

use std::rc::Rc;

use pgrx::prelude::*;
use tenancy_core::principal::Principal;
use tenancy_core::token::{Kind, Lifetime, Token};
use tenancy_core::tree::Level;
use uuid::Uuid;

use super::current::{self, Context};
use super::{enter, session_cleanup};
use crate::error::{Error, ErrorReport};
use crate::pg::guc;
use crate::pg::hooks::noted;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::tree;

/// Narrows the context to one of its tenants.
#[pg_extern(sql = false)]
fn select_tenant(
    tenant: Option<pgrx::Uuid>,
    session: Option<bool>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let tenant = from_pg(tenant.ok_or(Error::Null("tenant"))?);
    let context = required()?;
    if !context.spans(tenant)? {
        Err(Error::NoSuchScope(tenant.to_string()))?;
    }
    // Selecting the selected tenant again keeps the project.
    let project = context.project.filter(|_| {
        context
            .tenant
            .as_ref()
            .is_some_and(|held| held.id == tenant)
    });
    narrow(&context, tenant, project, session)?;
    Ok(pg_uuid(tenant))
}

/// Narrows the context to one project of its tenants.
#[pg_extern(sql = false)]
fn select_project(
    project: Option<pgrx::Uuid>,
    session: Option<bool>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let project = from_pg(project.ok_or(Error::Null("project"))?);
    let context = required()?;
    let found = match tenant_of(project)? {
        Some((tenant, active))
            if context.spans(tenant)?
                && context.project.is_none_or(|held| held == project)
                && context
                    .access
                    .as_ref()
                    .is_some_and(|access| access.holds_project(project, tenant)) =>
        {
            Some((tenant, active))
        }
        _ => None,
    };
    let (tenant, active) = found.ok_or_else(|| Error::NoSuchScope(project.to_string()))?;
    if !active {
        Err(Error::Inactive)?;
    }
    narrow(&context, tenant, Some(project), session)?;
    Ok(pg_uuid(project))
}

/// Ends the context, also the session's, and clears the ticket. As with any setting, ROLLBACK undoes this.
#[pg_extern(sql = false)]
fn release() -> Result<(), ErrorReport> {
    if noted::started_in_another(&noted::NO_CONTEXT) {
        Err(Error::ContextChanged)?;
    }
    session_cleanup::released()?;
    guc::clear();
    Ok(())
}

fn required() -> Result<Rc<Context>, Error> {
    let context = current::required()?;
    match context.principal {
        Principal::User(_) => Ok(context),
        Principal::Maintenance => Err(Error::AllTenants),
    }
}

fn narrow(
    context: &Context,
    tenant: Uuid,
    project: Option<Uuid>,
    session: Option<bool>,
) -> Result<(), Error> {
    let Principal::User(user) = context.principal else {
        return Err(Error::AllTenants);
    };
    let lifetime = match (session, context.claims.lifetime) {
        (Some(true), Lifetime::Session) => Lifetime::Session,
        // Otherwise a transaction's context could be extended to the session.
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
        proof: context.claims.proof,
        binding: guc::binding(lifetime),
        expires_at: context.claims.expires_at,
        client: context.claims.client,
    })?;
    session_cleanup::narrowed();
    Ok(())
}

/// Reads the tenant of a project, and whether the project itself is active.
fn tenant_of(project: Uuid) -> Result<Option<(Uuid, bool)>, Error> {
    let found = tree::scope(project)?.filter(|found| found.level == Level::Project);
    Ok(found.and_then(|found| Some((found.parent()?, found.active))))
}
