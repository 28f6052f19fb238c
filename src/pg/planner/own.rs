//! tenancy's own schemas and functions, by name.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::answers::Answers;
use super::nodes::list;

thread_local! {
    /// By name. An invalid oid stands for what does not exist.
    static SCHEMAS: Answers<&'static CStr, pg_sys::Oid> = Answers::new();
    /// By name and number of arguments.
    static FUNCTIONS: Answers<(&'static CStr, usize), pg_sys::Oid> = Answers::new();
}

/// Returns a schema of the extension's, if the database has one with this name. This is cheaper than a look-up of the extension;
/// without it, putting policies first is harmless.
pub fn schema(name: &'static CStr) -> Option<pg_sys::Oid> {
    let oid = SCHEMAS.with(|schemas| {
        // SAFETY: a look-up in the system cache inside a transaction.
        schemas.get(name, || unsafe {
            pg_sys::get_namespace_oid(name.as_ptr(), true)
        })
    });
    (oid != pg_sys::Oid::INVALID).then_some(oid)
}

/// Returns the function of the schema `tenancy` with this name and this number of arguments, all texts, if there is one.
pub fn function(name: &'static CStr, texts: usize) -> Option<pg_sys::Oid> {
    let oid = FUNCTIONS.with(|functions| functions.get((name, texts), || look_up(name, texts)));
    (oid != pg_sys::Oid::INVALID).then_some(oid)
}

fn look_up(name: &CStr, texts: usize) -> pg_sys::Oid {
    // SAFETY: names in the planner's memory; a catalog look-up inside a transaction.
    unsafe {
        let name = list([
            pg_sys::makeString(pg_sys::pstrdup(c"tenancy".as_ptr())),
            pg_sys::makeString(pg_sys::pstrdup(name.as_ptr())),
        ]);
        let types = vec![pg_sys::TEXTOID; texts];
        let count = i32::try_from(texts).unwrap_or(0);
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

/// Returns the planner support function of a function, if it is one of the extension's.
pub fn support_function(function: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a look-up in the system cache inside a transaction.
    let support = unsafe { pg_sys::get_func_support(function) };
    has(c"tenancy_internal", support).then_some(support)
}
