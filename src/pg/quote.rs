//! Identifiers in SQL texts, quoted as the server itself does it.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

/// Returns an identifier, in double quotes where this server needs them, or wants them (`quote_all_identifiers`).
pub fn identifier(name: &str) -> String {
    // No name in a catalog has a NUL.
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: the server reads a C string, and returns it or one in the current memory context.
    let quoted = unsafe { CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())) };
    quoted.to_string_lossy().into_owned()
}
