//! Answers from the catalog about schemas, functions and operator families, kept until one of these changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::cell::BackendCell;

/// How many answers of a kind are kept.
const KEPT_MAX: usize = 4096;

/// Counts changes of the catalog.
static CHANGES: BackendCell<u64> = BackendCell::new(0);

/// Registers the callbacks for the backend's lifetime.
pub fn init() {
    use pg_sys::SysCacheIdentifier::{NAMESPACEOID, OPFAMILYOID, PROCOID};
    for cache in [NAMESPACEOID, PROCOID, OPFAMILYOID] {
        let none = pg_sys::Datum::from(0);
        // SAFETY: registered once per process, in _PG_init; the callback is guarded and lives until the process exits.
        unsafe { pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(changed), none) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn changed(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    CHANGES.set(CHANGES.get().wrapping_add(1));
}

/// Answers to one kind of question.
pub struct Answers<K, V> {
    kept: RefCell<HashMap<K, V, RandomState>>,
    /// The count of changes when they were kept.
    kept_at: Cell<u64>,
}

impl<K: Eq + Hash, V: Copy> Answers<K, V> {
    pub fn new() -> Self {
        Self {
            kept: RefCell::default(),
            kept_at: Cell::new(0),
        }
    }

    /// Returns the answer, which `look_up` finds if it is not kept.
    pub fn get(&self, asked: K, look_up: impl FnOnce() -> V) -> V {
        let changes = CHANGES.get();
        if self.kept_at.replace(changes) != changes {
            self.kept.borrow_mut().clear();
        }
        if let Some(known) = self.kept.borrow().get(&asked) {
            return *known;
        }
        let found = look_up();
        // What has changed meanwhile may be what was read.
        if CHANGES.get() == changes {
            let mut kept = self.kept.borrow_mut();
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(asked, found);
        }
        found
    }
}
