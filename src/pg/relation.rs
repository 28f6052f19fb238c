//! What pg_class says of a relation.

use pgrx::pg_sys;

/// Reads a relation's row in the system cache, if there is one.
pub fn read<T>(
    relation: pg_sys::Oid,
    f: impl FnOnce(&pg_sys::FormData_pg_class) -> T,
) -> Option<T> {
    // SAFETY: a look-up in the system cache inside a transaction; the tuple is released before
    // returning, and `f` keeps nothing of it.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relation),
        );
        if tuple.is_null() {
            return None;
        }
        let header = (*tuple).t_data;
        let form = header.cast::<u8>().add((*header).t_hoff.into());
        let result = f(&*form.cast::<pg_sys::FormData_pg_class>());
        pg_sys::ReleaseSysCache(tuple);
        Some(result)
    }
}
