//! The first copy of a table for a subscriber. Of secrets, which logical decoding does not read either, it gets no rows.

use pgrx::pg_sys;

use crate::pg::nodes::Name;
use crate::pg::{guc, secret_rows, xact};

/// Makes a COPY of a table with secrets by a subscriber one of no rows, unless the setting `tenancy.publish_secrets` is on.
///
/// # Safety
/// A utility statement that is the caller's to change.
pub unsafe fn hide_secrets(statement: *mut pg_sys::PlannedStmt) {
    // SAFETY: the tag identifies the statement. A query has the rows of the table in its place.
    unsafe {
        let utility = (*statement).utilityStmt;
        if !pg_sys::am_walsender
            || (*utility).type_ != pg_sys::NodeTag::T_CopyStmt
            || guc::publish_secrets()
        {
            return;
        }
        let copy = utility.cast::<pg_sys::CopyStmt>();
        if (*copy).is_from || (*copy).relation.is_null() || !xact::running() {
            return;
        }
        let table = Name::copy((*copy).relation).oid();
        if !table.is_some_and(secret_rows::has) {
            return;
        }
        let parsed = pg_sys::raw_parser(
            c"SELECT WHERE false".as_ptr(),
            pg_sys::RawParseMode::RAW_PARSE_DEFAULT,
        );
        let nothing = (*(*parsed).elements).ptr_value.cast::<pg_sys::RawStmt>();
        (*copy).relation = std::ptr::null_mut();
        (*copy).attlist = std::ptr::null_mut();
        (*copy).query = (*nothing).stmt;
    }
}
