//! The backend's resolved principals.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use uuid::Uuid;

use super::Access;
use super::load::load;
use crate::error::Error;
use crate::pg::{sources, xact};

/// The size at which the cache is emptied: a pooled backend that serves every tenant in turn must not
/// grow without bound.
const CACHE_MAX_BYTES: usize = 64 << 20;

thread_local! {
    static RESOLVED: RefCell<(HashMap<Uuid, Rc<Access>>, usize)> = RefCell::default();
    /// The one that was asked for last.
    static LAST: RefCell<Option<Rc<Access>>> = const { RefCell::new(None) };
}

/// Returns a user's access, from the cache or the tree.
pub fn resolve(user: Uuid) -> Result<Rc<Access>, Error> {
    let last = LAST.with_borrow(|last| last.clone().filter(|last| last.user == user));
    let known = match last {
        Some(last) => Some(last),
        None => RESOLVED.with_borrow(|(known, _)| known.get(&user).cloned()),
    };
    let now = xact::transaction_started().max(xact::statement_started());
    if let Some(access) = known.filter(|access| access.holds_at(now) && access.sources.hold())
        && has_grown_to(&access)?
    {
        LAST.with_borrow_mut(|last| {
            if last.as_ref().is_none_or(|last| last.user != user) {
                *last = Some(access.clone());
            }
        });
        return Ok(access);
    }
    forget_one(user);
    let access = Rc::new(load(user)?);
    if access.sources.hold() {
        remember(access.clone());
    }
    Ok(access)
}

/// Returns whether an access has all tenants that were added to its fleets.
fn has_grown_to(access: &Access) -> Result<bool, Error> {
    let moment = sources::moment();
    if access.growing.hold() {
        return Ok(true);
    }
    let complete = access.is_complete()?;
    if complete {
        access.growing.renew(moment);
    }
    Ok(complete)
}

fn forget_one(user: Uuid) {
    LAST.set(None);
    RESOLVED.with_borrow_mut(|(known, bytes)| {
        if let Some(old) = known.remove(&user) {
            *bytes = bytes.saturating_sub(old.bytes());
        }
    });
}

fn remember(access: Rc<Access>) {
    RESOLVED.with_borrow_mut(|(known, bytes)| {
        if *bytes > CACHE_MAX_BYTES {
            known.clear();
            *bytes = 0;
        }
        *bytes += access.bytes();
        known.insert(access.user, access);
    });
}

/// Drops all entries.
pub fn forget() {
    LAST.set(None);
    RESOLVED.take();
}

/// Returns the number of principals, and about how many bytes they take.
pub fn totals() -> (usize, usize) {
    RESOLVED.with_borrow_mut(|(known, bytes)| {
        known.retain(|_, access| access.sources.hold());
        *bytes = known.values().map(|access| access.bytes()).sum();
        (known.len(), *bytes)
    })
}
