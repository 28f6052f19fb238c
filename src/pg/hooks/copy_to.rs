//! The first copy of a table for a subscriber. Of secrets, which logical decoding does not read either, it gets no rows.

use pgrx::pg_sys;

use crate::pg::nodes::{Name, each};
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
        if (*copy).is_from || !xact::running() || !reads_secrets(copy) {
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

/// Returns whether the table, or one of the query that a filter of rows makes of it, has secrets.
unsafe fn reads_secrets(copy: *const pg_sys::CopyStmt) -> bool {
    let is_secret = |name: *mut pg_sys::RangeVar| {
        // SAFETY: a name in a statement.
        let table = unsafe { Name::copy(name).oid() };
        table.is_some_and(secret_rows::has)
    };
    // SAFETY: the tags identify the nodes.
    unsafe {
        if !(*copy).relation.is_null() {
            return is_secret((*copy).relation);
        }
        let query = (*copy).query;
        if query.is_null() || (*query).type_ != pg_sys::NodeTag::T_SelectStmt {
            return false;
        }
        let mut found = false;
        each((*query.cast::<pg_sys::SelectStmt>()).fromClause, |item| {
            let item = item.cast::<pg_sys::Node>();
            found = found || (*item).type_ == pg_sys::NodeTag::T_RangeVar && is_secret(item.cast());
        });
        found
    }
}
