//! Reads a function's row in pg_proc.

use pgrx::pg_sys;

/// Reads a function's row in the system cache, if there is one.
pub fn read<T>(function: pg_sys::Oid, f: impl FnOnce(&pg_sys::FormData_pg_proc) -> T) -> Option<T> {
    with_tuple(function, |tuple| {
        // SAFETY: the row's columns begin where its header says, and are those of pg_proc.
        unsafe {
            let form = tuple.t_data.cast::<u8>().add((*tuple.t_data).t_hoff.into());
            f(&*form.cast::<pg_sys::FormData_pg_proc>())
        }
    })
}

/// Returns a copy of the row to compare with its later version, without the header fields that change with every version.
pub fn row(function: pg_sys::Oid) -> Option<Vec<u8>> {
    const SAME: usize = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
    with_tuple(function, |tuple| {
        // SAFETY: a tuple has so many bytes.
        let bytes =
            unsafe { std::slice::from_raw_parts(tuple.t_data.cast::<u8>(), tuple.t_len as usize) };
        bytes.get(SAME..).unwrap_or_default().to_vec()
    })
}

fn with_tuple<T>(function: pg_sys::Oid, f: impl FnOnce(&pg_sys::HeapTupleData) -> T) -> Option<T> {
    // SAFETY: a look-up in the system cache inside a transaction; the tuple is released before returning, and `f` keeps
    // nothing of it.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            pg_sys::Datum::from(function),
        );
        if tuple.is_null() {
            return None;
        }
        let result = f(&*tuple);
        pg_sys::ReleaseSysCache(tuple);
        Some(result)
    }
}
