//! Finds rows of a table by an oid, without a query. Sees what is committed now, and what this transaction has written before
//! the running command.

use pgrx::pg_sys;

/// What finds the rows.
#[derive(Clone, Copy)]
pub enum By {
    /// The table's primary key, its first column.
    PrimaryKey,
    /// This index of a catalog, which begins with this column.
    Index(pg_sys::Oid, pg_sys::AttrNumber),
}

const BTREE_EQUAL: pg_sys::StrategyNumber = 3;
/// oideq().
const F_OIDEQ: pg_sys::Oid = pg_sys::Oid::from_u32(184);

/// Returns the first two columns, as oids, of the rows with this oid in the column of `by`; nothing if there is no such table. A
/// column of another type gives a meaningless oid.
pub fn find(table: pg_sys::Oid, by: By, oid: pg_sys::Oid) -> Vec<[pg_sys::Oid; 2]> {
    let mut found = Vec::new();
    // SAFETY: the table is locked before its index is looked up. A row is read as its table's columns, while the scan holds it;
    // the scan ends before the table is closed, and an error's abort ends both.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::try_relation_open(table, lock);
        if relation.is_null() {
            return found;
        }
        let (index, column) = match by {
            By::PrimaryKey => (primary_key(relation), 1),
            By::Index(index, column) => (index, column),
        };
        let columns = (*relation).rd_att;
        let count = usize::try_from((*columns).natts).unwrap_or(0).max(2);
        let (mut values, mut nulls) = (vec![pg_sys::Datum::from(0); count], vec![false; count]);
        let mut key = pg_sys::ScanKeyData::default();
        let wanted = pg_sys::Datum::from(oid);
        pg_sys::ScanKeyInit(&raw mut key, column, BTREE_EQUAL, F_OIDEQ, wanted);
        let (is_index, latest) = (index != pg_sys::Oid::INVALID, std::ptr::null_mut());
        let scan = pg_sys::systable_beginscan(relation, index, is_index, latest, 1, &raw mut key);
        loop {
            let row = pg_sys::systable_getnext(scan);
            if row.is_null() {
                break;
            }
            pg_sys::heap_deform_tuple(row, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
            let oid = |n: usize| {
                let value = values.get(n).map_or(0, |value| value.value());
                pg_sys::Oid::from_u32(value as u32)
            };
            found.push([oid(0), oid(1)]);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::relation_close(relation, lock);
    }
    found
}

unsafe fn primary_key(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: the caller's: the relation is open.
    unsafe {
        pg_sys::RelationGetPrimaryKeyIndex(
            relation,
            #[cfg(feature = "pg18")]
            false, // not a deferrable one
        )
    }
}
