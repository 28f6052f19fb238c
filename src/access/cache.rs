//! The backend's resolved principals.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use uuid::Uuid;

use super::{Access, load};
use crate::error::Error;

/// Where the cache is emptied and begun again: a pooled backend that serves every tenant in turn
/// must not grow without bound.
const MOST_BYTES: usize = 64 << 20;

thread_local! {
    static RESOLVED: RefCell<(HashMap<Uuid, Rc<Access>>, usize)> = RefCell::default();
}

/// What a user may do, from the cache or the tree.
pub fn resolve(user: Uuid) -> Result<Rc<Access>, Error> {
    if let Some(access) = RESOLVED.with_borrow(|(known, _)| known.get(&user).cloned()) {
        return Ok(access);
    }
    let access = Rc::new(load(user)?);
    RESOLVED.with_borrow_mut(|(known, bytes)| {
        if *bytes > MOST_BYTES {
            known.clear();
            *bytes = 0;
        }
        *bytes += access.bytes();
        known.insert(user, access.clone());
    });
    Ok(access)
}

/// Drops what is known of fleets, or everything.
pub fn forget(fleets_only: bool) {
    RESOLVED.with_borrow_mut(|(known, bytes)| {
        known.retain(|_, access| fleets_only && !access.fleet);
        *bytes = known.values().map(|access| access.bytes()).sum();
    });
}

/// How many principals, and about how many bytes.
pub fn totals() -> (usize, usize) {
    RESOLVED.with_borrow(|(known, bytes)| (known.len(), *bytes))
}
