//! Which functions and operator families of extensions are known to core. Answers are kept until the catalog changes.
//!
//! A name is not enough: a member of an extension counts if it is written in C, and its owner is a superuser. Only superusers
//! create functions in C, and operator families.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenancy_core::index_search::{has_known_families, is_known};

use super::expression::C;
use crate::pg::function;

/// How many answers are kept.
const KEPT_MAX: usize = 4096;

/// What is asked about an oid.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    Function(u32),
    Family(u32),
}

thread_local! {
    static KNOWN: RefCell<HashMap<Asked, bool>> = RefCell::new(HashMap::new());
    /// Counts changes of the catalog.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    /// The count when the answers were kept.
    static KEPT_AT: Cell<u64> = const { Cell::new(0) };
}

/// Registers the callbacks for the backend's lifetime.
pub fn init() {
    use pg_sys::SysCacheIdentifier::{OPFAMILYOID, PROCOID};
    for cache in [PROCOID, OPFAMILYOID] {
        // SAFETY: registered once per process, in _PG_init; the callback is guarded and lives until the process exits.
        unsafe {
            pg_sys::CacheRegisterSyscacheCallback(
                cache as i32,
                Some(changed),
                pg_sys::Datum::from(0),
            );
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn changed(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    CHANGES.set(CHANGES.get().wrapping_add(1));
}

/// Returns whether core knows a function as one of an extension's.
pub fn knows_function(oid: pg_sys::Oid) -> bool {
    answer(Asked::Function(oid.to_u32()), || {
        let native = function::read(oid, |row| {
            // SAFETY: a catalog look-up inside a transaction.
            row.prolang == pg_sys::Oid::from(C) && unsafe { pg_sys::superuser_arg(row.proowner) }
        });
        // SAFETY: a catalog look-up; the name is NULL or a copy.
        let name = unsafe { text(pg_sys::get_func_name(oid)) };
        native == Some(true)
            && of_extension(pg_sys::ProcedureRelationId, oid)
                .zip(name)
                .is_some_and(|(extension, name)| is_known(&extension, &name))
    })
}

/// Returns whether core knows the extension of an operator family.
pub fn knows_family(oid: pg_sys::Oid) -> bool {
    answer(Asked::Family(oid.to_u32()), || {
        of_extension(pg_sys::OperatorFamilyRelationId, oid)
            .is_some_and(|extension| has_known_families(&extension))
    })
}

fn answer(asked: Asked, look_up: impl FnOnce() -> bool) -> bool {
    let changes = CHANGES.get();
    if KEPT_AT.replace(changes) != changes {
        KNOWN.with_borrow_mut(HashMap::clear);
    }
    if let Some(known) = KNOWN.with_borrow(|kept| kept.get(&asked).copied()) {
        return known;
    }
    let known = look_up();
    // What has changed meanwhile may be what was read.
    if CHANGES.get() == changes {
        KNOWN.with_borrow_mut(|kept| {
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(asked, known);
        });
    }
    known
}

/// Returns the name of the extension that an object is a member of.
fn of_extension(class: pg_sys::Oid, object: pg_sys::Oid) -> Option<String> {
    // SAFETY: catalog look-ups inside a transaction; the name is NULL or a copy.
    unsafe {
        let extension = pg_sys::getExtensionOfObject(class, object);
        if extension == pg_sys::Oid::INVALID {
            return None;
        }
        text(pg_sys::get_extension_name(extension))
    }
}

unsafe fn text(name: *const std::ffi::c_char) -> Option<String> {
    if name.is_null() {
        return None;
    }
    // SAFETY: not NULL, so a C string.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_string_lossy().into_owned())
}
