//! The backend's resolved principals.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use uuid::Uuid;

use super::Access;
use super::load::load;
use crate::error::Error;
use crate::pg::xact;

/// Where the cache is emptied and begun again: a pooled backend that serves every tenant in turn
/// must not grow without bound.
const MOST_BYTES: usize = 64 << 20;

struct Known {
    access: Rc<Access>,
    /// False when a tenant was added somewhere since, maybe to this fleet.
    complete: bool,
}

thread_local! {
    static RESOLVED: RefCell<(HashMap<Uuid, Known>, usize)> = RefCell::default();
}

/// What a user may do, from the cache or the tree.
pub fn resolve(user: Uuid) -> Result<Rc<Access>, Error> {
    let known =
        RESOLVED.with_borrow(|(known, _)| known.get(&user).map(|k| (k.access.clone(), k.complete)));
    let now = xact::transaction_started_unix().max(xact::statement_started_unix());
    match known.filter(|(access, _)| access.holds_at(now)) {
        Some((access, true)) => Ok(access),
        Some((access, false)) if access.is_complete()? => {
            RESOLVED.with_borrow_mut(|(known, _)| {
                if let Some(known) = known.get_mut(&user) {
                    known.complete = true;
                }
            });
            Ok(access)
        }
        _ => {
            let access = Rc::new(load(user)?);
            remember(access.clone());
            Ok(access)
        }
    }
}

fn remember(access: Rc<Access>) {
    RESOLVED.with_borrow_mut(|(known, bytes)| {
        if *bytes > MOST_BYTES {
            known.clear();
            *bytes = 0;
        }
        *bytes += access.bytes();
        let user = access.user;
        let complete = true;
        if let Some(old) = known.insert(user, Known { access, complete }) {
            *bytes = bytes.saturating_sub(old.access.bytes());
        }
    });
}

/// Doubts what is known of fleets, or drops everything.
pub fn forget(fleets_only: bool) {
    RESOLVED.with_borrow_mut(|(known, bytes)| {
        if fleets_only {
            for known in known.values_mut() {
                known.complete &= !known.access.fleet;
            }
        } else {
            known.clear();
            *bytes = 0;
        }
    });
}

/// How many principals, and about how many bytes.
pub fn totals() -> (usize, usize) {
    RESOLVED.with_borrow(|(known, bytes)| (known.len(), *bytes))
}
