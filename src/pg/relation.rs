//! What pg_class says of a relation.

use pgrx::pg_sys;

unsafe extern "C" {
    fn has_superclass(relation: pg_sys::Oid) -> bool;
}

/// Returns whether a relation is a partition or an inheritance child.
pub fn has_parent(relation: pg_sys::Oid) -> bool {
    // SAFETY: an index look-up in a catalog inside a transaction.
    unsafe { has_superclass(relation) }
}

/// Returns whether row security filters what a role reads of a relation.
pub fn filters(relation: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: look-ups in the system cache inside a transaction; the last argument keeps it from raising an error.
    unsafe {
        pg_sys::check_enable_rls(relation, role, true)
            == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
    }
}

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
