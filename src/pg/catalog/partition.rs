//! Reads partition keys.

use pgrx::pg_sys;

/// pg_partitioned_table.partattrs.
const KEY_COLUMNS: pg_sys::AttrNumber = 5;

/// Returns whether a column is in the partition key of a partitioned table, or of the first of its partitions that are
/// partitioned again.
///
/// # Safety
/// This transaction has a lock on the table.
pub unsafe fn has_key_column(table: pg_sys::Oid, column: pg_sys::AttrNumber) -> bool {
    if key_columns(table).contains(&column) {
        return true;
    }
    // SAFETY: as above; the partition is locked before it is read, and its column has the same name.
    unsafe {
        let Some(part) = first_partitioned(table) else {
            return false;
        };
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        pg_sys::LockRelationOid(part, lock);
        let column = pg_sys::get_attnum(part, pg_sys::get_attname(table, column, false));
        has_key_column(part, column)
    }
}

/// Returns the columns of a partition key; 0 stands for an expression.
fn key_columns(table: pg_sys::Oid) -> Vec<pg_sys::AttrNumber> {
    // SAFETY: a look-up in the system cache inside a transaction; the tuple is released after the values are copied.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PARTRELID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(table));
        if tuple.is_null() {
            return Vec::new();
        }
        let mut null = true;
        let value = pg_sys::SysCacheGetAttr(cache, tuple, KEY_COLUMNS, &raw mut null);
        let mut columns = Vec::new();
        if !null {
            let vector = value.cast_mut_ptr::<pg_sys::int2vector>();
            let count = usize::try_from((*vector).dim1).unwrap_or(0);
            columns.extend_from_slice((*vector).values.as_slice(count));
        }
        pg_sys::ReleaseSysCache(tuple);
        columns
    }
}

/// Returns the first partition that is partitioned itself.
unsafe fn first_partitioned(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: the caller holds a lock on the table; its partitions are read while it is open.
    unsafe {
        let relation = pg_sys::RelationIdGetRelation(table);
        if relation.is_null() {
            return None;
        }
        let parts = &*pg_sys::RelationGetPartitionDesc(relation, true);
        let found = (0..usize::try_from(parts.nparts).unwrap_or(0))
            .find(|n| !*parts.is_leaf.add(*n))
            .map(|n| *parts.oids.add(n));
        pg_sys::RelationClose(relation);
        found
    }
}
