//! New rows that a policy refuses because their tenant is NULL. The server's error does not say that.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::noted;
use crate::pg::cell::BackendCell;
use crate::pg::nodes::each;
use crate::pg::raise;

static ON: BackendCell<Option<OnRefused>> = BackendCell::new(None);

/// What is known of a protected table without asking the catalogs: an error is being reported.
#[derive(Clone, Copy)]
pub struct OnRefused {
    /// Returns the tenant column of a table.
    pub tenant_column: fn(pg_sys::Oid) -> Option<CString>,
    /// Returns the hint for a row of the table whose tenant is NULL.
    pub hint: fn(pg_sys::Oid) -> Option<CString>,
}

/// Has errors of refused rows looked at.
pub fn init(on: OnRefused) {
    ON.set(Some(on));
    raise::on_refused_row(hint);
}

/// Returns the hint if the row that the innermost query writes has no tenant.
fn hint() -> Option<CString> {
    let on = ON.get()?;
    let query = noted::running()?;
    let mut found = None;
    // SAFETY: the query is running, and so has a plan and a state until the error ends it. The server checks a new row in the
    // context for each row, whose slot it is.
    unsafe {
        let rows = (*(*query).estate).es_per_tuple_exprcontext.as_ref()?;
        let row = rows.ecxt_scantuple.as_ref()?;
        each((*(*query).plannedstmt).rtable, |entry| {
            let entry = &*entry.cast::<pg_sys::RangeTblEntry>();
            let is_written = entry.rtekind == pg_sys::RTEKind::RTE_RELATION
                && entry.rellockmode == pg_sys::RowExclusiveLock as i32;
            if is_written
                && found.is_none()
                && let Some(column) = (on.tenant_column)(entry.relid)
                && is_null(row, &column)
            {
                found = Some(entry.relid);
            }
        });
    }
    (on.hint)(found?)
}

/// Returns whether a column of a row has been read, and is NULL.
unsafe fn is_null(row: &pg_sys::TupleTableSlot, name: &CStr) -> bool {
    // SAFETY: a row has a description of as many columns, and has read the first of them.
    unsafe {
        let known = usize::try_from(row.tts_nvalid).unwrap_or(0);
        let natts = usize::try_from((*row.tts_tupleDescriptor).natts).unwrap_or(0);
        let columns = columns(row.tts_tupleDescriptor, natts);
        (0..known.min(natts)).any(|at| {
            let column = &*columns.add(at);
            !column.attisdropped
                && CStr::from_ptr(column.attname.data.as_ptr()) == name
                && *row.tts_isnull.add(at)
        })
    }
}

#[cfg(not(feature = "pg18"))]
unsafe fn columns(row: pg_sys::TupleDesc, _: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: the caller's description of a row.
    unsafe { (*row).attrs.as_ptr() }
}

/// As the server's TupleDescAttr() finds them: behind their short forms.
#[cfg(feature = "pg18")]
unsafe fn columns(row: pg_sys::TupleDesc, natts: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: the caller's description of a row, of as many columns.
    unsafe { (*row).compact_attrs.as_ptr().add(natts).cast() }
}
