//! The extension's schema and tables in this database.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::Error;

/// Returns the schema of the extension, if it is installed in this database.
pub fn schema() -> Option<pg_sys::Oid> {
    // SAFETY: catalog look-ups by name inside a transaction.
    unsafe {
        if pg_sys::get_extension_oid(c"tenancy".as_ptr(), true) == pg_sys::Oid::INVALID {
            return None;
        }
        let schema = pg_sys::get_namespace_oid(c"tenancy".as_ptr(), true);
        (schema != pg_sys::Oid::INVALID).then_some(schema)
    }
}

/// Returns the schema of the objects that only tenancy uses. It is a member of the extension, so it belongs to no other role.
pub fn internal_schema() -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up by name inside a transaction.
    let schema = unsafe { pg_sys::get_namespace_oid(c"tenancy_internal".as_ptr(), true) };
    (schema != pg_sys::Oid::INVALID).then_some(schema)
}

/// A table of the extension's that people read.
pub fn table(name: &CStr) -> Result<pg_sys::Oid, Error> {
    table_in(schema(), name)
}

/// A table of the extension's own.
pub fn internal_table(name: &CStr) -> Result<pg_sys::Oid, Error> {
    table_in(schema().and_then(|_| internal_schema()), name)
}

fn table_in(schema: Option<pg_sys::Oid>, name: &CStr) -> Result<pg_sys::Oid, Error> {
    let namespace = schema.ok_or(Error::NotInstalled)?;
    // SAFETY: a catalog look-up by name inside a transaction.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), namespace) };
    (oid != pg_sys::Oid::INVALID)
        .then_some(oid)
        .ok_or(Error::NotInstalled)
}

/// Returns the name of the extension that an object is a member of.
pub fn of(class: pg_sys::Oid, object: pg_sys::Oid) -> Option<String> {
    // SAFETY: catalog look-ups inside a transaction; the name is NULL or a copy.
    unsafe {
        let extension = pg_sys::getExtensionOfObject(class, object);
        if extension == pg_sys::Oid::INVALID {
            return None;
        }
        let name = pg_sys::get_extension_name(extension);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}
