//! Whether the caller of a management function may do that: a principal by its permissions; without a
//! context an administrator, by the database role.

use std::rc::Rc;

use pgrx::datum::datetime_support::ToIsoString;
use pgrx::prelude::*;
use tenancy_core::grants::{Grants, Held, Holder, Purpose};
use tenancy_core::permission::Permission;
use tenancy_core::principal::Principal;
use uuid::Uuid;

use crate::access::Access;
use crate::context::{Context, current};
use crate::error::{Error, ErrorReport};
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{bounded, inval, managed, role as db_role, spi, xact};
use crate::tree::{self, Scope};

/// Who called.
enum Caller {
    /// A role that administers tenancy, without a principal.
    Administrator,
    /// A principal.
    Principal(Rc<Context>, Rc<Access>),
}

impl Caller {
    /// As of now, and not as of the transaction's begin: whoever keeps one open keeps what it reads, and
    /// no power over others.
    fn find() -> Result<Self, Error> {
        inval::accept();
        xact::new_generation();
        match current()? {
            Some(context) => match (context.principal, context.access.clone()) {
                (Principal::User(_), Some(access)) => Ok(Self::Principal(context, access)),
                _ => Ok(Self::Administrator),
            },
            None if db_role::has(managed::caller(), c"tenancy_admin") => Ok(Self::Administrator),
            None => Err(Error::MissingContext),
        }
    }

    /// Who reads, where an auditor may.
    fn find_reader() -> Result<Self, Error> {
        match Self::find() {
            Err(Error::MissingContext) if db_role::has(managed::caller(), c"tenancy_auditor") => {
                Ok(Self::Administrator)
            }
            found => found,
        }
    }
}

/// Where the caller of a management function stands; nothing if it may not manage.
pub fn standing() -> Option<managed::Standing> {
    match current() {
        Ok(Some(context)) => Some(match (context.principal, &context.access) {
            (Principal::User(_), Some(access)) => managed::Standing::User(access.home().to_vec()),
            _ => managed::Standing::Administrator,
        }),
        Ok(None) if db_role::has(managed::caller(), c"tenancy_admin") => {
            Some(managed::Standing::Administrator)
        }
        // Whoever is asked next says what is wrong.
        Ok(None) | Err(_) => None,
    }
}

/// Whether a scope is within what the context was narrowed to.
fn within(context: &Context, path: &[Uuid]) -> bool {
    let tenant = context.tenant.as_ref().filter(|_| context.selected);
    tenant.is_none_or(|tenant| path.contains(&tenant.id))
        && context
            .project
            .is_none_or(|project| path.contains(&project))
}

fn sees(context: &Context, access: &Access, path: &[Uuid]) -> bool {
    within(context, path) && access.grants.see(path)
}

/// The scope, if the caller may know of it.
fn visible(caller: &Caller, scope: Uuid) -> Result<Scope, Error> {
    let found = tree::scope(scope)?;
    match caller {
        Caller::Administrator => found,
        Caller::Principal(context, access) => {
            found.filter(|found| sees(context, access, &found.path))
        }
    }
    .ok_or_else(|| Error::NoSuchScope(scope.to_string()))
}

pub fn parse(permission: &str) -> Result<Permission, Error> {
    Permission::parse(permission)
        .map_err(|fault| Error::bad(fault, "A permission is resource:action, as in data:read."))
}

/// An error unless the caller holds a permission in a scope.
#[pg_extern(sql = false)]
fn _authorize(permission: Option<&str>, scope: Option<pgrx::Uuid>) -> Result<(), ErrorReport> {
    Ok(authorize(Caller::find, permission, scope)?)
}

/// The same, for what only reads: an auditor without a context may.
#[pg_extern(sql = false)]
fn _authorize_reading(
    permission: Option<&str>,
    scope: Option<pgrx::Uuid>,
) -> Result<(), ErrorReport> {
    Ok(authorize(Caller::find_reader, permission, scope)?)
}

fn authorize(
    caller: fn() -> Result<Caller, Error>,
    permission: Option<&str>,
    scope: Option<pgrx::Uuid>,
) -> Result<(), Error> {
    let permission = permission.ok_or(Error::Null("permission"))?;
    let scope = from_pg(scope.ok_or(Error::Null("scope"))?);
    let wanted = parse(permission)?;
    let caller = caller()?;
    let found = visible(&caller, scope)?;
    match &caller {
        Caller::Principal(_, access) if !access.grants.hold(&wanted, &found.path) => {
            Err(denied(permission, &found))
        }
        _ => Ok(()),
    }
}

fn denied(permission: &str, scope: &Scope) -> Error {
    Error::Denied {
        permission: permission.to_owned(),
        scope: scope.slug.clone(),
    }
}

/// An error unless the caller could hand out each of these permissions in a scope: it holds them there.
#[pg_extern(sql = false)]
fn _authorize_permissions(
    permissions: bounded::Texts,
    scope: pgrx::Uuid,
) -> Result<(), ErrorReport> {
    let caller = Caller::find()?;
    let found = visible(&caller, from_pg(scope))?;
    for text in permissions.0 {
        let text = text.ok_or(Error::Null("a permission"))?;
        let wanted = parse(&text)?;
        if let Caller::Principal(_, access) = &caller
            && !access.grants.could_grant(&wanted, &found.path)
        {
            Err(denied(&text, &found))?;
        }
    }
    Ok(())
}

/// Until when the caller holds all of these permissions in a scope, to hand them out; NULL for ever. An
/// error unless it does.
#[pg_extern(sql = false)]
fn _held_until(
    permissions: bounded::Texts,
    scope: pgrx::Uuid,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    Ok(held_in(permissions, scope, Purpose::Grant)?)
}

/// The same, as they are to be used: what reaches tenants' rows counts for a user of the platform only
/// while elevated.
#[pg_extern(sql = false)]
fn _authorize_acting(
    permissions: bounded::Texts,
    scope: pgrx::Uuid,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    Ok(held_in(permissions, scope, Purpose::Act)?)
}

fn held_in(
    permissions: bounded::Texts,
    scope: pgrx::Uuid,
    purpose: Purpose,
) -> Result<Option<TimestampWithTimeZone>, Error> {
    let caller = Caller::find()?;
    let found = visible(&caller, from_pg(scope))?;
    let Caller::Principal(_, access) = &caller else {
        return Ok(None);
    };
    let mut until = Held::Always;
    for text in permissions.0.into_iter().flatten() {
        let held = require(&access.grants, &text, &found.path, purpose, &found.slug)?;
        until = until.min(held);
    }
    Ok(end(until).map(timestamp))
}

/// An error unless the caller holds all that a user was assigned, where it was: whoever acts upon a user
/// is not less than that user. To act for it (`acting`: with a key) it is held as it is to be used: what
/// reaches tenants' rows counts for a user of the platform only while elevated. Returns until when.
#[pg_extern(sql = false)]
fn _authorize_over(
    user: pgrx::Uuid,
    acting: bool,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    Ok(match Caller::find()? {
        Caller::Administrator => None,
        Caller::Principal(_, access) => {
            end(held_over(&access.grants, from_pg(user), acting)?).map(timestamp)
        }
    })
}

/// How long a principal holds all that a user was assigned; an error unless it does.
fn held_over(grants: &Grants, user: Uuid, acting: bool) -> Result<Held, Error> {
    spi::read(
        "SELECT s.path, r.permissions, cardinality(u.path) > 2 \
         FROM tenancy_internal.role_assignments a \
         JOIN tenancy_internal.role_definitions r ON r.id = a.role_id \
         JOIN tenancy.scopes s ON s.id = a.scope_id \
         JOIN tenancy.scopes u ON u.id = a.user_id WHERE a.user_id = $1",
        &[pg_uuid(user).into()],
        |rows| {
            let mut until = Held::Always;
            for row in rows {
                let path: Vec<pgrx::Uuid> = row.not_null(1)?;
                let path: Vec<Uuid> = path.into_iter().map(from_pg).collect();
                let permissions: Vec<String> = row.not_null(2)?;
                // A user of the platform is elevated or not by itself.
                let purpose = match row.get(3)? {
                    Some(true) if acting => Purpose::Act,
                    _ => Purpose::Grant,
                };
                for text in permissions {
                    let place = "a scope of that user";
                    until = until.min(require(grants, &text, &path, purpose, place)?);
                }
            }
            Ok(until)
        },
    )
}

/// The elevation without which the caller could not act as a user; NULL for none. What it makes with that ends with it.
#[pg_extern(sql = false)]
fn _elevation_over(user: pgrx::Uuid) -> Result<Option<pgrx::Uuid>, ErrorReport> {
    Ok(match Caller::find()? {
        Caller::Administrator => None,
        Caller::Principal(_, access) => elevation_over(&access, from_pg(user))?.map(pg_uuid),
    })
}

fn elevation_over(access: &Access, user: Uuid) -> Result<Option<Uuid>, Error> {
    let Some(elevation) = &access.elevation else {
        return Ok(None);
    };
    let without = Grants::new(access.grants.all().to_vec(), Holder::Platform);
    match held_over(&without, user, true) {
        Ok(_) => Ok(None),
        Err(Error::Denied { .. }) => Ok(Some(elevation.id)),
        Err(error) => Err(error),
    }
}

/// How long a permission is held; an error unless it is.
fn require(
    grants: &Grants,
    text: &str,
    path: &[Uuid],
    purpose: Purpose,
    place: &str,
) -> Result<Held, Error> {
    match grants.held(&parse(text)?, path, purpose) {
        Held::No => Err(Error::Denied {
            permission: text.to_owned(),
            scope: place.to_owned(),
        }),
        held => Ok(held),
    }
}

fn end(held: Held) -> Option<i64> {
    match held {
        Held::Until(end) => Some(end),
        Held::Always | Held::No => None,
    }
}

/// An error if what is given (until `ends`, NULL: for good) would outlast what it is given with, which
/// is held until `held` (NULL: for good). The one rule of all functions that give power.
#[pg_extern(sql = false)]
fn _require_lasting(
    what: &str,
    held: Option<TimestampWithTimeZone>,
    ends: Option<TimestampWithTimeZone>,
) -> Result<(), ErrorReport> {
    Ok(match held {
        Some(held) if ends.is_none_or(|ends| ends > held) => {
            Err(outlasts(what, held, ends.is_some()))
        }
        _ => Ok(()),
    }?)
}

fn outlasts(what: &str, held: TimestampWithTimeZone, ends: bool) -> Error {
    Error::Outlasts {
        what: what.to_owned(),
        until: held.to_iso_string(),
        ends,
    }
}

/// An error unless a ticket for another user ends no later than what the context holds. A trusted role
/// without a context gives its own word. Returns the elevation that it takes.
pub fn require_ticket(user: Uuid, expires_at: i64) -> Result<Option<Uuid>, Error> {
    let Some(context) = current()? else {
        return Ok(None);
    };
    match (context.principal, &context.access) {
        (Principal::User(own), Some(access)) if own != user => {
            match end(held_over(&access.grants, user, true)?) {
                Some(held) if expires_at > held => {
                    Err(outlasts("the ticket", timestamp(held), true))
                }
                _ => elevation_over(access, user),
            }
        }
        _ => Ok(None),
    }
}

fn timestamp(unix_micros: i64) -> TimestampWithTimeZone {
    crate::pg::time::from_unix_micros(unix_micros)
        .unwrap_or_else(TimestampWithTimeZone::positive_infinity)
}

/// Ends the conditions of a view of tenancy: see `pg::planner::views`.
#[pg_extern(sql = false)]
const fn _barrier() -> bool {
    true
}

/// The topmost scopes in which the caller holds a permission, or anything if it is NULL. Administrators,
/// auditors and the gateway without a context: the platform.
#[pg_extern(sql = false)]
fn scope_ids(permission: Option<&str>) -> Result<Vec<pgrx::Uuid>, ErrorReport> {
    Ok(roots(permission)?.into_iter().map(pg_uuid).collect())
}

/// As `scope_ids`.
fn roots(permission: Option<&str>) -> Result<Vec<Uuid>, Error> {
    let Some((context, access)) =
        current()?.and_then(|context| context.access.clone().map(|access| (context, access)))
    else {
        return Ok(if db_role::reads_all(managed::caller()) {
            vec![tenancy_core::id::PLATFORM_ID]
        } else {
            Vec::new()
        });
    };
    let wanted = permission.map(parse).transpose()?;
    let mut roots = match &wanted {
        Some(wanted) => access.grants.roots(wanted),
        None => access.grants.all().iter().map(|g| g.scope()).collect(),
    };
    let narrowed = context.project.or_else(|| {
        context
            .tenant
            .as_ref()
            .filter(|_| context.selected)
            .map(|t| t.id)
    });
    if let Some(narrowed) = narrowed {
        let path = tree::path(narrowed)?;
        if path.iter().any(|scope| roots.contains(scope)) {
            return Ok(vec![narrowed]);
        }
        let mut below = Vec::new();
        for root in roots {
            if tree::scope(root)?.is_some_and(|found| within(&context, &found.path)) {
                below.push(root);
            }
        }
        roots = below;
    }
    Ok(roots)
}

/// Whether the context holds a permission in a scope, by default in the selected project or tenant, or
/// where its user belongs.
#[pg_extern(sql = false)]
fn has_permission(
    permission: Option<&str>,
    scope: Option<pgrx::Uuid>,
) -> Result<Option<bool>, ErrorReport> {
    let Some(permission) = permission else {
        return Ok(None);
    };
    let wanted = parse(permission)?;
    let Some(context) = current()? else {
        return Err(Error::MissingContext)?;
    };
    let Some(access) = &context.access else {
        return Ok(Some(true));
    };
    let tenant = context.tenant.as_ref().map(|tenant| tenant.id);
    let scope = scope.map(from_pg).or(context.project).or(tenant);
    let scope = scope.unwrap_or(access.user);
    let Some(found) = tree::scope(scope)? else {
        return Ok(Some(false));
    };
    Ok(Some(
        within(&context, &found.path) && access.grants.hold(&wanted, &found.path),
    ))
}
