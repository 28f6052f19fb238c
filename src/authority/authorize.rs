//! Authorization of management functions: a principal by its permissions; without a context an administrator
//! by the database role.

use std::rc::Rc;

use pgrx::datum::datetime_support::ToIsoString;
use pgrx::prelude::*;
use tenancy_core::grants::{Grants, Held, Holder, Purpose};
use tenancy_core::permission::Permission;
use tenancy_core::principal::Principal;
use tenancy_core::time::Instant;
use uuid::Uuid;

use crate::access::Access;
use crate::context::{Context, current};
use crate::error::{Error, ErrorReport};
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{bounded, inval, managed, role as db_role, spi, xact};
use crate::tree::{self, Scope};

/// The caller of a management function.
enum Caller {
    /// An administrator's database role, without a principal.
    Administrator,
    /// A principal.
    Principal(Rc<Context>, Rc<Access>),
}

impl Caller {
    /// Finds the caller with its current permissions, not those at the transaction's start: an open transaction
    /// keeps its snapshot, but no power over others.
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

    /// Finds the caller of a function that auditors may call too.
    fn find_reader() -> Result<Self, Error> {
        match Self::find() {
            Err(Error::MissingContext) if db_role::has(managed::caller(), c"tenancy_auditor") => {
                Ok(Self::Administrator)
            }
            found => found,
        }
    }
}

/// Returns whether the caller of a management function is a user, with its parent's path, or an administrator; `None` if
/// it may not manage.
pub fn standing() -> Option<managed::Standing> {
    match current() {
        Ok(Some(context)) => Some(match (context.principal, &context.access) {
            (Principal::User(_), Some(access)) => managed::Standing::User(access.home().to_vec()),
            _ => managed::Standing::Administrator,
        }),
        Ok(None) if db_role::has(managed::caller(), c"tenancy_admin") => {
            Some(managed::Standing::Administrator)
        }
        // The next check raises the error.
        Ok(None) | Err(_) => None,
    }
}

/// Returns whether a scope is within the selected tenant or project.
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

/// Returns the scope, if the caller may see it.
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

/// Raises an error unless the caller holds a permission in a scope.
#[pg_extern(sql = false)]
fn _authorize(permission: Option<&str>, scope: Option<pgrx::Uuid>) -> Result<(), ErrorReport> {
    Ok(authorize(Caller::find, permission, scope)?)
}

/// Does what `_authorize` does, for functions that only read: an auditor without a context may call them.
#[pg_extern(sql = false)]
fn _authorize_reading(
    permission: Option<&str>,
    scope: Option<pgrx::Uuid>,
) -> Result<(), ErrorReport> {
    Ok(authorize(Caller::find_reader, permission, scope)?)
}

/// Raises an error unless the caller of a procedure holds a permission in a scope.
pub fn require_permission(permission: &str, scope: Uuid) -> Result<(), Error> {
    authorize(Caller::find, Some(permission), Some(pg_uuid(scope)))
}

fn authorize(
    caller: fn() -> Result<Caller, Error>,
    permission: Option<&str>,
    scope: Option<pgrx::Uuid>,
) -> Result<(), Error> {
    let permission = permission.ok_or(Error::Null("permission"))?;
    let scope = from_pg(scope.ok_or(Error::Null("scope"))?);
    check(&caller()?, permission, scope).map(drop)
}

/// Returns a scope in which the caller holds a permission; an error unless it does.
pub fn authorized(permission: &str, scope: Uuid) -> Result<Scope, Error> {
    check(&Caller::find()?, permission, scope)
}

/// Raises an error unless the caller is an administrator's database role, without a principal.
pub fn require_administrator() -> Result<(), Error> {
    match Caller::find()? {
        Caller::Administrator => Ok(()),
        Caller::Principal(..) => Err(Error::Denied {
            permission: "tenancy_admin".to_owned(),
            scope: "the database".to_owned(),
        }),
    }
}

fn check(caller: &Caller, permission: &str, scope: Uuid) -> Result<Scope, Error> {
    let wanted = parse(permission)?;
    let found = visible(caller, scope)?;
    match caller {
        Caller::Principal(_, access) if !access.grants.hold(&wanted, &found.path) => {
            Err(denied(permission, &found))
        }
        _ => Ok(found),
    }
}

fn denied(permission: &str, scope: &Scope) -> Error {
    Error::Denied {
        permission: permission.to_owned(),
        scope: scope.slug.clone(),
    }
}

/// Raises an error unless the caller holds each of these permissions in a scope, and so may grant them.
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

/// Returns until when the caller holds all of these permissions in a scope, to grant them; NULL: without an
/// end. Raises an error unless it holds them.
#[pg_extern(sql = false)]
fn _held_until(
    permissions: bounded::Texts,
    scope: pgrx::Uuid,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    Ok(held_in(permissions, scope, Purpose::Grant)?)
}

/// Does what `_authorize_permissions` does for using the permissions: those of a platform's user on tenants' rows count
/// only while it is elevated.
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

/// Raises an error unless the caller holds everything that a user was assigned, in the same scopes: a caller
/// that acts upon a user must not have less power than that user. With `acting` (issuing a key), permissions
/// on tenants' rows count for a user of the platform only while elevated. Returns until when.
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

/// Raises an error unless the caller of a procedure holds everything that a user was assigned.
pub fn require_over(user: Uuid) -> Result<(), Error> {
    match Caller::find()? {
        Caller::Administrator => Ok(()),
        Caller::Principal(_, access) => held_over(&access.grants, user, false).map(drop),
    }
}

/// Returns how long a principal holds everything that a user was assigned; an error unless it does.
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
                // A user of the platform must be elevated itself.
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

/// Returns the elevation without which the caller could not act as a user; NULL for none. Its keys end with it.
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

/// Returns how long a permission is held; an error unless it is.
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

fn end(held: Held) -> Option<Instant> {
    match held {
        Held::Until(end) => Some(end),
        Held::Always | Held::No => None,
    }
}

/// Raises an error if a grant until `ends` (NULL: never) would outlast the caller's permission, held until
/// `held` (NULL: without an end). Every function that grants power follows this rule.
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

/// Raises an error if a ticket for another user would outlast the context's permissions. A trusted role
/// without a context is not checked. Returns the elevation that the ticket depends on.
pub fn require_ticket(user: Uuid, expires_at: Instant) -> Result<Option<Uuid>, Error> {
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

fn timestamp(at: Instant) -> TimestampWithTimeZone {
    crate::pg::time::timestamp(at).unwrap_or_else(TimestampWithTimeZone::positive_infinity)
}

/// Ends the conditions of a view of tenancy: see `pg::planner::views`.
#[pg_extern(sql = false)]
const fn _barrier() -> bool {
    true
}

/// Returns the topmost scopes in which the caller holds a permission, or any permission if it is NULL. Without a
/// context, administrators, auditors and the gateway get the platform.
#[pg_extern(sql = false)]
fn scope_ids(permission: Option<&str>) -> Result<Vec<pgrx::Uuid>, ErrorReport> {
    Ok(roots(permission)?.into_iter().map(pg_uuid).collect())
}

/// Does what `scope_ids` does, for Rust.
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

/// Returns whether the context holds a permission in a scope, by default in the selected project or tenant, or
/// in its user's parent.
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
