//! The rows of a query as texts, a few at a time, at the snapshot of the statement that asks for them.

use std::ffi::{CStr, CString, c_char};

use pgrx::pg_sys;
use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary;

use crate::error::Error;

unsafe extern "C" {
    fn heap_deform_tuple(
        tuple: pg_sys::HeapTuple,
        shape: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );
    fn OutputFunctionCall(function: *mut pg_sys::FmgrInfo, value: pg_sys::Datum) -> *const c_char;
}

/// A query that is being read. It ends with the transaction, if not before.
pub struct Rows(CString);

impl Rows {
    /// Begins a query that only reads. It sees what the statement that is running sees, as do all others of the same statement.
    pub fn open(query: &str) -> Result<Self, Error> {
        let query = CString::new(query).map_err(|_| Error::Internal("a query with a zero"))?;
        // SAFETY: inside a transaction, with an active snapshot, which the portal keeps; the connection ends here, and the portal stays.
        // Its name is copied.
        unsafe {
            pg_sys::SPI_connect();
            let portal = pg_sys::SPI_cursor_open_with_args(
                std::ptr::null(),
                query.as_ptr(),
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null(),
                true,
                pg_sys::CURSOR_OPT_NO_SCROLL as i32,
            );
            let name = CStr::from_ptr((*portal).name).to_owned();
            pg_sys::SPI_finish();
            Ok(Self(name))
        }
    }

    /// Calls `f` with the columns of each of the next rows, as the server writes them; `None` is NULL. Returns how many rows there were:
    /// none at the end.
    pub fn read(&self, most: u32, mut f: impl FnMut(&[Option<&CStr>])) -> Result<u64, Error> {
        // SAFETY: the portal is found by its name, or the transaction has ended it; the rows and the texts live until the connection
        // ends, and `f` keeps none of them and raises no error.
        unsafe {
            pg_sys::SPI_connect();
            let portal = pg_sys::SPI_cursor_find(self.0.as_ptr());
            if portal.is_null() {
                pg_sys::SPI_finish();
                return Err(Error::Internal("a query that has ended is read"));
            }
            pg_sys::SPI_cursor_fetch(portal, true, most.into());
            let (rows, table) = (pg_sys::SPI_processed, pg_sys::SPI_tuptable);
            let columns = (*(*table).tupdesc).natts.unsigned_abs() as usize;
            let texts = texts(table, rows as usize, columns);
            let mut values = Vec::with_capacity(columns);
            for row in texts.chunks(columns.max(1)) {
                values.clear();
                values.extend(
                    (row.iter()).map(|text| (!text.is_null()).then(|| CStr::from_ptr(*text))),
                );
                f(&values);
            }
            if rows == 0 {
                pg_sys::SPI_cursor_close(portal);
            }
            pg_sys::SPI_finish();
            Ok(rows)
        }
    }
}

/// Returns the texts of all values, row by row; NULL is a null pointer. One boundary for all of them: each would cost as much as a
/// function that writes a value.
unsafe fn texts(
    table: *mut pg_sys::SPITupleTable,
    rows: usize,
    columns: usize,
) -> Vec<*const c_char> {
    let mut texts = vec![std::ptr::null(); rows * columns];
    let mut values = vec![pg_sys::Datum::from(0); columns];
    let mut nulls = vec![true; columns];
    // SAFETY: the rows have these columns, and the arrays a place for each. Nothing in the boundary allocates or drops: an error jumps out
    // of it.
    unsafe {
        let shape = (*table).tupdesc;
        let mut functions: Vec<pg_sys::FmgrInfo> = (1..=columns)
            .map(|column| {
                let (mut function, mut varlena) = (pg_sys::Oid::INVALID, false);
                let kind = pg_sys::SPI_gettypeid(shape, column as i32);
                pg_sys::getTypeOutputInfo(kind, &mut function, &mut varlena);
                let mut info = std::mem::zeroed();
                pg_sys::fmgr_info(function, &mut info);
                info
            })
            .collect();
        #[allow(ffi_unwind_calls)] // inside the boundary
        pg_guard_ffi_boundary(|| {
            for (n, cells) in texts.chunks_mut(columns.max(1)).enumerate() {
                let row = *(*table).vals.add(n);
                heap_deform_tuple(row, shape, values.as_mut_ptr(), nulls.as_mut_ptr());
                let found = values.iter().zip(&nulls).zip(&mut functions);
                for (cell, ((value, null), function)) in cells.iter_mut().zip(found) {
                    if !*null {
                        *cell = OutputFunctionCall(function, *value);
                    }
                }
            }
        });
    }
    texts
}
