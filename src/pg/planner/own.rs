//! tenancy's own schemas and functions, found by name once, until a function or a schema of the database changes.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::nodes::list;

/// What was found. An invalid oid stands for what does not exist.
#[derive(Default)]
struct Found {
    schemas: Vec<(&'static CStr, pg_sys::Oid)>,
    functions: Vec<(&'static CStr, Vec<pg_sys::Oid>, pg_sys::Oid)>,
}

thread_local! {
    static FOUND: RefCell<Found> = RefCell::default();
}

/// Registers the callbacks for the backend's lifetime.
pub fn init() {
    use pg_sys::SysCacheIdentifier::{NAMESPACEOID, PROCOID};
    for cache in [NAMESPACEOID, PROCOID] {
        let none = pg_sys::Datum::from(0);
        // SAFETY: registered once per process, in _PG_init; the callback is guarded and lives until the process exits.
        unsafe { pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(changed), none) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn changed(_arg: pg_sys::Datum, _cache: i32, _number: u32) {
    // Not while it is being read or replaced: then the message is about something older than the look-up.
    drop(FOUND.try_with(|found| {
        found
            .try_borrow_mut()
            .map(|mut found| *found = Found::default())
    }));
}

/// Returns a schema of the extension's, if the database has one with this name. This is cheaper than a look-up of the extension;
/// without it, putting policies first is harmless.
pub fn schema(name: &'static CStr) -> Option<pg_sys::Oid> {
    let known = FOUND.with_borrow(|found| {
        let known = found.schemas.iter().find(|(known, _)| *known == name);
        known.map(|(_, oid)| *oid)
    });
    let oid = known.unwrap_or_else(|| {
        // SAFETY: a look-up in the system cache inside a transaction.
        let oid = unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) };
        FOUND.with_borrow_mut(|found| found.schemas.push((name, oid)));
        oid
    });
    (oid != pg_sys::Oid::INVALID).then_some(oid)
}

/// Returns the function of the schema `tenancy` with this name and these types of arguments, if there is one.
pub fn function(name: &'static CStr, types: &[pg_sys::Oid]) -> Option<pg_sys::Oid> {
    let known = FOUND.with_borrow(|found| {
        let mut known = found.functions.iter();
        known
            .find(|(known, of, _)| *known == name && of == types)
            .map(|(_, _, oid)| *oid)
    });
    let oid = known.unwrap_or_else(|| {
        let oid = look_up(name, types);
        FOUND.with_borrow_mut(|found| found.functions.push((name, types.to_vec(), oid)));
        oid
    });
    (oid != pg_sys::Oid::INVALID).then_some(oid)
}

fn look_up(name: &CStr, types: &[pg_sys::Oid]) -> pg_sys::Oid {
    // SAFETY: names in the planner's memory; a catalog look-up inside a transaction.
    unsafe {
        let name = list([
            pg_sys::makeString(pg_sys::pstrdup(c"tenancy".as_ptr())),
            pg_sys::makeString(pg_sys::pstrdup(name.as_ptr())),
        ]);
        let count = i32::try_from(types.len()).unwrap_or(0);
        pg_sys::LookupFuncName(name, count, types.as_ptr(), true)
    }
}

/// Returns whether a function belongs to a schema of the extension's.
pub fn has(schema: &'static CStr, function: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in the system cache inside a transaction.
    function.to_u32() >= pg_sys::FirstNormalObjectId
        && self::schema(schema) == Some(unsafe { pg_sys::get_func_namespace(function) })
}

/// Returns whether a function has this name and belongs to a schema of the extension's.
pub fn is(schema: &'static CStr, name: &CStr, function: pg_sys::Oid) -> bool {
    if !has(schema, function) {
        return false;
    }
    // SAFETY: a look-up in the system cache inside a transaction; the name is copied into the current memory.
    unsafe {
        let found = pg_sys::get_func_name(function);
        !found.is_null() && CStr::from_ptr(found) == name
    }
}
