//! The rows of a query as texts, a few at a time, at the snapshot of the statement that asks for them.

use std::collections::VecDeque;
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

/// How many bytes of texts are read at once, if a row has not more by itself.
const BYTES: usize = 4 << 20;

/// A query that is being read. It ends with the transaction, if not before.
pub struct Rows {
    portal: CString,
    /// Rows that were fetched and not read, in the portal's memory. What the server stores apart from its row is not in them.
    pending: VecDeque<pg_sys::HeapTuple>,
}

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
            Ok(Self {
                portal: name,
                pending: VecDeque::new(),
            })
        }
    }

    /// Calls `f` with the columns of each of the next rows, as the server writes them; `None` is NULL. It reads at most so many rows, and
    /// fewer if they are large. Returns how many there were: none at the end.
    pub fn read(&mut self, most: u32, mut f: impl FnMut(&[Option<&CStr>])) -> Result<u64, Error> {
        // SAFETY: the portal is found by its name, or the transaction has ended it; the texts of a row live until the next, and `f` keeps
        // none of them and raises no error. Rows that wait are copies in the portal's memory, and are freed when they were read.
        unsafe {
            pg_sys::SPI_connect();
            let portal = pg_sys::SPI_cursor_find(self.portal.as_ptr());
            if portal.is_null() {
                pg_sys::SPI_finish();
                return Err(Error::Internal("a query that has ended is read"));
            }
            let mut writer = Writer::new((*portal).tupDesc);
            let (mut count, mut bytes) = (0, 0);
            while bytes < BYTES
                && count < u64::from(most)
                && let Some(row) = self.pending.pop_front()
            {
                bytes += writer.write(row, &mut f);
                pg_sys::heap_freetuple(row);
                count += 1;
            }
            if count == 0 {
                pg_sys::SPI_cursor_fetch(portal, true, most.into());
                let (rows, table) = (pg_sys::SPI_processed, pg_sys::SPI_tuptable);
                for n in 0..rows as usize {
                    let row = *(*table).vals.add(n);
                    if bytes < BYTES {
                        bytes += writer.write(row, &mut f);
                        count += 1;
                    } else {
                        let before = pg_sys::MemoryContextSwitchTo((*portal).portalContext);
                        self.pending.push_back(pg_sys::heap_copytuple(row));
                        pg_sys::MemoryContextSwitchTo(before);
                    }
                }
                if rows == 0 {
                    pg_sys::SPI_cursor_close(portal);
                }
            }
            pg_sys::SPI_finish();
            Ok(count)
        }
    }
}

/// Writes the values of rows as texts.
struct Writer {
    shape: pg_sys::TupleDesc,
    functions: Vec<pg_sys::FmgrInfo>,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    texts: Vec<*const c_char>,
    /// The memory of one row's texts. It ends with the connection.
    memory: pg_sys::MemoryContext,
}

impl Writer {
    /// For rows of this shape, inside a connection.
    unsafe fn new(shape: pg_sys::TupleDesc) -> Self {
        // SAFETY: look-ups in the system cache inside a transaction; a child of the connection's memory.
        unsafe {
            let columns = (*shape).natts.unsigned_abs() as usize;
            let functions = (1..=columns)
                .map(|column| {
                    let (mut function, mut varlena) = (pg_sys::Oid::INVALID, false);
                    let kind = pg_sys::SPI_gettypeid(shape, column as i32);
                    pg_sys::getTypeOutputInfo(kind, &mut function, &mut varlena);
                    let mut info = std::mem::zeroed();
                    pg_sys::fmgr_info(function, &mut info);
                    info
                })
                .collect();
            Self {
                shape,
                functions,
                values: vec![pg_sys::Datum::from(0); columns],
                nulls: vec![true; columns],
                texts: vec![std::ptr::null(); columns],
                memory: pg_sys::AllocSetContextCreateInternal(
                    pg_sys::CurrentMemoryContext,
                    c"a row of tenancy".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                ),
            }
        }
    }

    /// Calls `f` with the texts of a row, and frees them. Returns how many bytes they had.
    unsafe fn write(
        &mut self,
        row: pg_sys::HeapTuple,
        f: &mut impl FnMut(&[Option<&CStr>]),
    ) -> usize {
        // SAFETY: the row has this shape, and the arrays a place for each column. Nothing in the boundary allocates or drops Rust's
        // memory: an error jumps out of it. One boundary for all columns: each would cost as much as a function that writes a value.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.memory);
            #[allow(ffi_unwind_calls)] // inside the boundary
            pg_guard_ffi_boundary(|| {
                heap_deform_tuple(
                    row,
                    self.shape,
                    self.values.as_mut_ptr(),
                    self.nulls.as_mut_ptr(),
                );
                let found = self.values.iter().zip(&self.nulls).zip(&mut self.functions);
                for (cell, ((value, null), function)) in self.texts.iter_mut().zip(found) {
                    *cell = match *null {
                        true => std::ptr::null(),
                        false => OutputFunctionCall(function, *value),
                    };
                }
            });
            pg_sys::MemoryContextSwitchTo(before);
            let texts: Vec<Option<&CStr>> = (self.texts.iter())
                .map(|text| (!text.is_null()).then(|| CStr::from_ptr(*text)))
                .collect();
            f(&texts);
            let bytes = texts.iter().flatten().map(|text| text.count_bytes()).sum();
            pg_sys::MemoryContextReset(self.memory);
            bytes
        }
    }
}
