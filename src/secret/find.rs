//! Finding the secret that a context means, and opening it.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::prelude::*;
use tenancy_core::grants::{Held, Purpose};
use tenancy_core::permission::Permission;
use tenancy_core::secret::name::is_visible;
use tenancy_core::tree::Level;
use uuid::Uuid;

use super::rows::{self, Sealed};
use super::{keyring, used};
use crate::access::Access;
use crate::context::Context;
use crate::context::current::required;
use crate::error::{Error, ErrorReport};
use crate::pg::{role, time, xact};
use crate::tree;

/// The permission to use secrets.
const USE: &str = "secrets:use";
/// The levels of a path, from the platform down.
const LEVELS: [Level; 4] = [
    Level::Platform,
    Level::Partner,
    Level::Tenant,
    Level::Project,
];

/// Returns the value of the nearest secret of this name.
#[pg_extern(sql = false)]
fn secret(name: Option<&str>) -> Result<String, ErrorReport> {
    let name = name.ok_or(Error::Null("name"))?;
    if role::in_restricted_operation() {
        Err(Error::SecretStored)?;
    }
    let context = required()?;
    let path = authorized_path(&context)?;
    let mut found = nearest(name, &path)?;
    let mut value = open(name, &found);
    // Between reading the row and its key, another session may have given it another key and dropped this one.
    while matches!(value, Err(Error::NoSealingKey)) {
        let again = nearest(name, &path)?;
        if again.key == found.key {
            break;
        }
        value = open(name, &again);
        found = again;
    }
    let value = value?;
    used::record(&context, &path, name, &found)?;
    Ok(value)
}

/// Returns the path of the scope that the context is in: the project, else the tenant, else the scope that the user belongs to.
/// An error unless the context may use secrets there.
fn authorized_path(context: &Context) -> Result<Rc<[Uuid]>, Error> {
    let Some(access) = &context.access else {
        return Err(Error::NotOneTenant(context.span()));
    };
    let tenant = context.tenant.as_ref().map(|tenant| tenant.id);
    let path = match context.project.or(tenant) {
        Some(place) => path_of(place)?,
        None => access.home().into(),
    };
    match holds(access, &path)? {
        true => Ok(path),
        false => Err(denied(&path)?),
    }
}

fn holds(access: &Access, path: &[Uuid]) -> Result<bool, Error> {
    let wanted = Permission::parse(USE).map_err(|_| Error::Internal("a malformed permission"))?;
    Ok(match access.grants.held(&wanted, path, Purpose::Act) {
        Held::No => false,
        Held::Until(end) => end > time::now(),
        Held::Always => true,
    })
}

fn denied(path: &[Uuid]) -> Result<Error, Error> {
    let place = path.last().copied().unwrap_or_default();
    let slug = tree::scope(place)?.map(|found| found.slug);
    Ok(Error::Denied {
        permission: USE.to_owned(),
        scope: slug.unwrap_or_default(),
    })
}

/// The path of a scope, and the generation in which it was read.
type KnownPath = (u64, Uuid, Rc<[Uuid]>);

thread_local! {
    /// That of the last scope.
    static PATH: RefCell<Option<KnownPath>> = const { RefCell::new(None) };
}

/// Returns a scope's path. It is read once per generation.
fn path_of(place: Uuid) -> Result<Rc<[Uuid]>, Error> {
    let known = PATH.with_borrow(|known| {
        let known = known.as_ref();
        known
            .filter(|(generation, of, _)| *generation == xact::generation() && *of == place)
            .map(|(_, _, path)| path.clone())
    });
    if let Some(path) = known {
        return Ok(path);
    }
    let path: Rc<[Uuid]> = tree::path(place)?.into();
    PATH.set(Some((xact::generation(), place, path.clone())));
    Ok(path)
}

/// Returns the secret that is nearest to the end of the path among those that are visible there; an error if there is none.
fn nearest(name: &str, path: &[Uuid]) -> Result<Sealed, Error> {
    let own = path.last();
    let depth = |found: &Sealed| path.iter().position(|scope| *scope == found.scope);
    let visible = |found: &Sealed| {
        let level = depth(found).and_then(|depth| LEVELS.get(depth));
        level.is_some_and(|level| is_visible(*level, own == Some(&found.scope), found.inherit))
    };
    let found = rows::named(name, path)?.into_iter();
    let nearest = found.filter(visible).max_by_key(depth);
    nearest.ok_or_else(|| Error::NoSuchSecret(name.to_owned()))
}

fn open(name: &str, found: &Sealed) -> Result<String, Error> {
    let key = keyring::key(found.key)?;
    let opened = key.open(&found.sealed, &found.place(name).bound());
    let opened = opened.ok_or_else(|| Error::SecretDamaged(name.to_owned()))?;
    String::from_utf8(opened.to_vec()).map_err(|_| Error::SecretDamaged(name.to_owned()))
}
