//! Reads one column of all committed rows of a table, without a plan, a policy, or a user's function.

use pgrx::PgMemoryContexts;
use pgrx::pg_sys;
use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::{numeric_text, types};

/// A value of a column that may hold tenants' keys.
pub enum Key {
    /// A uuid.
    Uuid([u8; 16]),
    /// A bigint, an integer or a smallint.
    Number(i64),
    /// A text, or what the server writes as one.
    Text(String),
}

impl Key {
    /// Returns it as the server writes it.
    pub fn into_text(self) -> String {
        match self {
            Self::Uuid(bytes) => uuid::Uuid::from_bytes(bytes).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// The number of rows after which memory is freed.
const ROWS_AT_ONCE: u32 = 1000;

/// The flags of the executor's sequential scan.
const FLAGS: u32 = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
    | pg_sys::ScanOptions::SO_ALLOW_STRAT
    | pg_sys::ScanOptions::SO_ALLOW_SYNC
    | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;

/// Calls `f` with each value of a column that is not NULL. The table is a plain table, and is locked against changes of its
/// definition until the transaction ends.
pub fn keys(
    table: pg_sys::Oid,
    column: &str,
    mut f: impl FnMut(Key) -> Result<(), Error>,
) -> Result<(), Error> {
    let name = std::ffi::CString::new(column).map_err(|_| Error::NoSuch("the column"))?;
    let mut memory = PgMemoryContexts::new("tenancy keys");
    // SAFETY: the table stays open, and the snapshot registered, until the scan has ended; after an error the abort releases
    // both. Functions of the table's access method are called behind a boundary, since they may raise errors.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let number = pg_sys::get_attnum(table, name.as_ptr());
        if number <= 0 {
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            return Err(Error::NoSuch("the column"));
        }
        let kind = pg_sys::get_atttype(table, number);
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
        let method = &*(*relation).rd_tableam;
        let (Some(begin), Some(next), Some(end)) =
            (method.scan_begin, method.scan_getnextslot, method.scan_end)
        else {
            return Err(Error::Internal("a table without an access method"));
        };
        #[allow(ffi_unwind_calls)] // inside the boundary
        let scan = pg_guard_ffi_boundary(|| {
            begin(
                relation,
                snapshot,
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                FLAGS,
            )
        });
        let mut result = Ok(());
        let mut more = true;
        while more && result.is_ok() {
            pgrx::check_for_interrupts!();
            let from = memory.value();
            let before = pg_sys::MemoryContextSwitchTo(from);
            for _ in 0..ROWS_AT_ONCE {
                #[allow(ffi_unwind_calls)] // inside the boundary
                let found = pg_guard_ffi_boundary(|| {
                    next(scan, pg_sys::ScanDirection::ForwardScanDirection, slot)
                });
                if !found {
                    more = false;
                    break;
                }
                if i32::from((*slot).tts_nvalid) < i32::from(number) {
                    pg_sys::slot_getsomeattrs_int(slot, i32::from(number));
                }
                let at = number as usize - 1;
                if let Some(key) = key(
                    *(*slot).tts_values.add(at),
                    *(*slot).tts_isnull.add(at),
                    kind,
                ) {
                    // Values that `f` keeps are in Rust's memory.
                    result = f(key);
                    if result.is_err() {
                        break;
                    }
                }
            }
            pg_sys::MemoryContextSwitchTo(before);
            memory.reset();
        }
        #[allow(ffi_unwind_calls)] // inside the boundary
        pg_guard_ffi_boundary(|| end(scan));
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        result
    }
}

/// Reads a value of a type that keys have, or of a domain over one, which runs no other code; `None` for NULL and for other types.
///
/// # Safety
/// `datum` is of the type `kind`, and lives as long as the call.
pub unsafe fn key(datum: pg_sys::Datum, null: bool, kind: pg_sys::Oid) -> Option<Key> {
    // SAFETY: the caller's; a citext is stored as a text is.
    unsafe {
        match types::base(kind) {
            pg_sys::UUIDOID => {
                pgrx::Uuid::from_datum(datum, null).map(|id| Key::Uuid(*id.as_bytes()))
            }
            pg_sys::INT8OID => i64::from_datum(datum, null).map(Key::Number),
            pg_sys::INT4OID => i32::from_datum(datum, null).map(|n| Key::Number(n.into())),
            pg_sys::INT2OID => i16::from_datum(datum, null).map(|n| Key::Number(n.into())),
            pg_sys::TEXTOID | pg_sys::VARCHAROID => String::from_datum(datum, null).map(Key::Text),
            // The blanks at its end are none of its own.
            pg_sys::BPCHAROID => String::from_datum(datum, null)
                .map(|text| Key::Text(text.trim_end_matches(' ').to_owned())),
            pg_sys::NUMERICOID if !null => Some(Key::Text(numeric_text::of(datum).to_owned())),
            other if types::is_citext(other) => String::from_datum(datum, null).map(Key::Text),
            _ => None,
        }
    }
}
