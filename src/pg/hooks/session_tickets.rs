//! A role behind a pool cannot set a session ticket. A ticket from set_config() is reset when the transaction commits;
//! one from the startup packet belongs to the connection.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::Error;
use crate::pg::guc;

/// Raises an error if the statement sets a session ticket and the role may not.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) {
    // SAFETY: the tag identifies the statement; its name is NULL or a C string.
    let sets = unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_VariableSetStmt {
            return;
        }
        let set = node.cast::<pg_sys::VariableSetStmt>();
        (*set).kind == pg_sys::VariableSetKind::VAR_SET_VALUE
            && !(*set).is_local
            && !(*set).name.is_null()
            && CStr::from_ptr((*set).name)
                .to_bytes()
                .eq_ignore_ascii_case(b"tenancy.ticket")
    };
    if sets && guc::pooled() {
        Error::Pooled("tickets of the session are not").raise();
    }
}
