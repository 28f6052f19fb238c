//! Reads a relation's row in pg_class.

use pgrx::pg_sys;

unsafe extern "C" {
    fn get_default_partition_oid(relation: pg_sys::Oid) -> pg_sys::Oid;
}

/// Returns whether row security filters what a role reads of a relation.
pub fn filters(relation: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: look-ups in the system cache inside a transaction; the last argument keeps it from raising an error.
    unsafe {
        pg_sys::check_enable_rls(relation, role, true)
            == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
    }
}

/// Returns whether this transaction holds a lock on a relation that prevents changes of its definition or its rows:
/// statements that build, rewrite or analyse it take such a lock.
pub fn is_locked(relation: pg_sys::Oid) -> bool {
    const STRONG: std::ops::RangeInclusive<u32> =
        pg_sys::ShareUpdateExclusiveLock..=pg_sys::AccessExclusiveLock;
    let tag = pg_sys::LOCKTAG {
        // SAFETY: reads a static of the server.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: relation.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    STRONG
        .into_iter()
        .any(|mode| holds(&tag, mode.cast_signed()))
}

#[cfg(any(feature = "pg15", feature = "pg16"))]
/// Returns whether this backend holds a lock, by the transaction or the session.
pub fn holds(tag: &pg_sys::LOCKTAG, mode: pg_sys::LOCKMODE) -> bool {
    // SAFETY: looks into the backend's own table of locks.
    unsafe { pg_sys::LockHeldByMe(tag, mode) }
}

#[cfg(not(any(feature = "pg15", feature = "pg16")))]
/// Returns whether this backend holds a lock, by the transaction or the session.
pub fn holds(tag: &pg_sys::LOCKTAG, mode: pg_sys::LOCKMODE) -> bool {
    // SAFETY: looks into the backend's own table of locks.
    unsafe { pg_sys::LockHeldByMe(tag, mode, false) }
}

/// Returns the default partition of a table, if it is partitioned and has one.
pub fn default_partition(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a look-up in the system cache inside a transaction.
    let partition = unsafe {
        pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
            #[allow(ffi_unwind_calls)] // inside the boundary
            get_default_partition_oid(relation)
        })
    };
    (partition != pg_sys::Oid::INVALID).then_some(partition)
}

/// Keeps others from writing a table until the transaction ends, and raises an error if a statement of this session is using it.
pub fn hold_still(table: pg_sys::Oid, doing: &std::ffi::CStr) {
    // SAFETY: inside a transaction; the table is closed, and stays locked.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::ShareRowExclusiveLock as i32);
        pg_sys::CheckTableNotInUse(relation, doing.as_ptr());
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
}

/// Returns whether a relation is a heap, which can be read page by page.
pub fn is_heap(relation: pg_sys::Oid) -> bool {
    let is_heap = |class: &pg_sys::FormData_pg_class| {
        class.relkind as u8 == pg_sys::RELKIND_RELATION && class.relam == pg_sys::HEAP_TABLE_AM_OID
    };
    read(relation, is_heap) == Some(true)
}

/// Returns how many pages a heap has that this transaction has locked.
pub fn pages(table: pg_sys::Oid) -> u32 {
    // SAFETY: inside a transaction; the table is locked, and has a file.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::NoLock as i32);
        let pages =
            pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        pages
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

/// Returns the table of an index, else the relation itself.
pub fn table_of(relation: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a look-up in the system cache inside a transaction; what is no index gives the invalid oid.
    let table = unsafe { pg_sys::IndexGetRelation(relation, true) };
    if table == pg_sys::Oid::INVALID {
        relation
    } else {
        table
    }
}
