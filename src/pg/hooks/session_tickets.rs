//! A role behind a pool sets no ticket for the session. What set_config() sets in this way is undone when
//! the transaction commits; a startup packet is the connection's own.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::Error;
use crate::pg::guc;

/// Raises an error if the statement sets a ticket for the session, and may not.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) {
    // SAFETY: the tag tells which statement it is; its name is NULL or a C string.
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
