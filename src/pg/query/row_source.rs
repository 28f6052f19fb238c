//! Rows of texts that a statement reads as if they were a table. Many of them are kept on disk.

use std::ffi::CString;

use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;

use crate::error::Error;

/// Rows of texts, in columns v1, v2 and so on. They end with the transaction, if not before.
pub struct RowSource {
    name: CString,
    store: *mut pg_sys::Tuplestorestate,
    shape: pg_sys::TupleDesc,
    /// The memory of one row.
    memory: pg_sys::MemoryContext,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    rows: u64,
    bytes: usize,
}

impl RowSource {
    /// Makes one without rows. Statements read it by this name, which no other source of the same statement has.
    pub fn new(name: &str, columns: usize) -> Result<Self, Error> {
        const MANY: Error = Error::Internal("a row has more columns than a table");
        let name = CString::new(name).map_err(|_| Error::Internal("a name with a zero"))?;
        let number = i32::try_from(columns).map_err(|_| MANY)?;
        // SAFETY: made in the current context, which outlives this value: it is dropped by the function that makes it.
        unsafe {
            let shape = pg_sys::CreateTemplateTupleDesc(number);
            for n in 1..=number {
                let column = CString::new(format!("v{n}")).unwrap_or_default();
                let n = i16::try_from(n).map_err(|_| MANY)?;
                pg_sys::TupleDescInitEntry(shape, n, column.as_ptr(), pg_sys::TEXTOID, -1, 0);
            }
            Ok(Self {
                name,
                store: pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem),
                shape,
                memory: pg_sys::AllocSetContextCreateInternal(
                    pg_sys::CurrentMemoryContext,
                    c"a row of tenancy".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                ),
                values: vec![pg_sys::Datum::from(0); columns],
                nulls: vec![true; columns],
                rows: 0,
                bytes: 0,
            })
        }
    }

    /// Adds a row; it has a value for each column.
    pub fn add(&mut self, row: &[Option<String>]) {
        // SAFETY: the arrays have a place for each column; the texts are copied, first into the row's memory, then by the store.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.memory);
            for ((value, null), text) in self.values.iter_mut().zip(&mut self.nulls).zip(row) {
                let text = text.as_deref();
                self.bytes += text.map_or(0, str::len);
                *null = text.is_none();
                *value = text.into_datum().unwrap_or(pg_sys::Datum::from(0));
            }
            pg_sys::tuplestore_putvalues(
                self.store,
                self.shape,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            );
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::MemoryContextReset(self.memory);
        }
        self.rows += 1;
    }

    /// Returns how many rows it has.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns how many bytes their texts have.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for RowSource {
    fn drop(&mut self) {
        // After an error the abort of the transaction frees all of it.
        if !std::thread::panicking() {
            // SAFETY: no statement reads it any more; nothing refers to its memory.
            unsafe {
                pg_sys::tuplestore_end(self.store);
                pg_sys::MemoryContextDelete(self.memory);
                pg_sys::FreeTupleDesc(self.shape);
            }
        }
    }
}

/// Runs a statement that reads these sources, with the rights of the current role, and reads what it returns.
pub fn run<R>(
    statement: &str,
    sources: &[RowSource],
    f: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    Spi::connect_mut(|client| {
        for source in sources {
            register(source)?;
        }
        f(client.update(statement, Some(1), &[])?)
    })
}

/// Makes a source known to the statements of the current connection.
fn register(source: &RowSource) -> Result<(), Error> {
    // SAFETY: allocated in the connection's memory, as long as which the server refers to it; the source outlives the connection.
    let result = unsafe {
        let relation: *mut pg_sys::EphemeralNamedRelationData =
            pg_sys::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>()).cast();
        (*relation).md.name = pg_sys::pstrdup(source.name.as_ptr());
        (*relation).md.reliddesc = pg_sys::Oid::INVALID;
        (*relation).md.tupdesc = source.shape;
        (*relation).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
        #[allow(clippy::cast_precision_loss)] // an estimate
        let rows = source.rows as f64;
        (*relation).md.enrtuples = rows;
        (*relation).reldata = source.store.cast();
        pg_sys::SPI_register_relation(relation)
    };
    match result {
        result if result == pg_sys::SPI_OK_REL_REGISTER as i32 => Ok(()),
        _ => Err(Error::Internal(
            "the rows of a statement cannot be registered",
        )),
    }
}
