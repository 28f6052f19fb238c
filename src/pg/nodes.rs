//! Safe access to parse trees.

use std::ffi::CStr;

use pgrx::pg_sys;

/// A table's name, copied from a statement.
pub struct Name {
    schema: Option<std::ffi::CString>,
    relation: std::ffi::CString,
}

impl Name {
    /// Copies it.
    ///
    /// # Safety
    /// `range` is a table's name in a statement.
    pub unsafe fn copy(range: *const pg_sys::RangeVar) -> Self {
        // SAFETY: the names are C strings, the schema's may be NULL.
        unsafe {
            let schema = (*range).schemaname;
            Self {
                schema: (!schema.is_null()).then(|| CStr::from_ptr(schema).to_owned()),
                relation: CStr::from_ptr((*range).relname).to_owned(),
            }
        }
    }

    /// Returns the table with this name, if it exists. Takes no lock.
    pub fn oid(&self) -> Option<pg_sys::Oid> {
        // SAFETY: names in the current memory context; a table that was dropped has the invalid oid.
        let oid = unsafe {
            let schema = match &self.schema {
                Some(schema) => pg_sys::pstrdup(schema.as_ptr()),
                None => std::ptr::null_mut(),
            };
            let range = pg_sys::makeRangeVar(schema, pg_sys::pstrdup(self.relation.as_ptr()), -1);
            pg_sys::RangeVarGetRelidExtended(
                range,
                pg_sys::NoLock as i32,
                pg_sys::RVROption::RVR_MISSING_OK,
                None,
                std::ptr::null_mut(),
            )
        };
        (oid != pg_sys::Oid::INVALID).then_some(oid)
    }
}

/// Calls `f` with each node of a list, which may be NULL.
///
/// # Safety
/// `list` is NULL or a list of pointers.
pub unsafe fn each(list: *mut pg_sys::List, mut f: impl FnMut(*mut pg_sys::Node)) {
    if list.is_null() {
        return;
    }
    // SAFETY: a list of pointers has `length` elements.
    unsafe {
        for n in 0..(*list).length {
            f((*(*list).elements.add(n as usize)).ptr_value.cast());
        }
    }
}
