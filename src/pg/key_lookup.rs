//! Looks a key up in a table that is not tenancy's, without a query. Planning one would evaluate the
//! functions of the table's indexes, constraints and policies, and running one its operators and casts:
//! code of the table's owner, with tenancy's power. What reads here are the server's own comparisons of
//! its own types. Neither rights nor row security are asked: the caller answers for what it makes of it.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::Error;

/// Whether a relation's own storage has a row with this key in a column. What cannot be looked at that
/// way counts as having one: a column of another type, a foreign table, a storage of another kind.
///
/// # Errors
/// If the relation is gone.
pub fn has_row(relation: pg_sys::Oid, column: &CStr, key: &str) -> Result<bool, Error> {
    // SAFETY: opened under a lock that is kept until the transaction's end, as a query would; an error
    // of the server unwinds to the caller, and the abort releases what is open.
    unsafe {
        let table = pg_sys::try_relation_open(relation, LOCK);
        let Some(opened) = table.as_ref() else {
            return Err(Error::NoSuch("the table"));
        };
        let found = match opened.rd_rel.as_ref() {
            // A partitioned table has no rows of its own.
            Some(class) if class.relkind == pg_sys::RELKIND_PARTITIONED_TABLE as i8 => false,
            Some(class)
                if class.relkind == pg_sys::RELKIND_RELATION as i8
                    && class.relam == pg_sys::HEAP_TABLE_AM_OID =>
            {
                match Wanted::of(relation, column, key) {
                    Some(Wanted::Nothing) => false,
                    Some(Wanted::Key(wanted)) => scan(table, &wanted),
                    None => true,
                }
            }
            _ => true,
        };
        pg_sys::relation_close(table, pg_sys::NoLock as i32);
        Ok(found)
    }
}

const LOCK: i32 = pg_sys::AccessShareLock as i32;

/// A key as a column holds it.
struct Key {
    column: pg_sys::AttrNumber,
    value: pg_sys::Datum,
    equal: pg_sys::Oid,
    family: pg_sys::Oid,
}

enum Wanted {
    Key(Key),
    /// The column's type has no such value.
    Nothing,
}

impl Wanted {
    /// `None` if the column is not there or its type is none that keys have.
    unsafe fn of(relation: pg_sys::Oid, column: &CStr, key: &str) -> Option<Self> {
        // SAFETY: catalog look-ups inside a transaction; the value is allocated in the current context.
        unsafe {
            let number = pg_sys::get_attnum(relation, column.as_ptr());
            if number <= 0 {
                return None;
            }
            let integers = pg_sys::INTEGER_BTREE_FAM_OID;
            let (value, equal, family) = match pg_sys::get_atttype(relation, number) {
                pg_sys::INT8OID => (
                    canonical::<i64>(key).into_datum(),
                    pg_sys::F_INT8EQ,
                    integers,
                ),
                pg_sys::INT4OID => (
                    canonical::<i32>(key).into_datum(),
                    pg_sys::F_INT4EQ,
                    integers,
                ),
                pg_sys::TEXTOID | pg_sys::VARCHAROID => (
                    key.into_datum(),
                    pg_sys::F_TEXTEQ,
                    pg_sys::TEXT_BTREE_FAM_OID,
                ),
                _ => return None,
            };
            Some(value.map_or(Self::Nothing, |value| {
                Self::Key(Key {
                    column: number,
                    value,
                    equal: pg_sys::Oid::from(equal),
                    family,
                })
            }))
        }
    }
}

/// A number, if the text is how it is written.
fn canonical<T: std::str::FromStr + ToString>(key: &str) -> Option<T> {
    key.parse::<T>().ok().filter(|n| n.to_string() == key)
}

/// Whether a row has the key: by an index where one serves, else by reading all of the table.
unsafe fn scan(table: pg_sys::Relation, key: &Key) -> bool {
    // SAFETY: the table is open; the snapshot is registered and the scan ended here, or by the abort.
    unsafe {
        let index = index_for(table, key);
        let mut wanted = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyEntryInitialize(
            &mut wanted,
            0,
            key.column,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::Oid::INVALID,
            // The index's order; a table is read by equality, which is that of bytes.
            index.map_or(pg_sys::C_COLLATION_OID, |(_, collation)| collation),
            key.equal,
            key.value,
        );
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let scan = pg_sys::systable_beginscan(
            table,
            index.map_or(pg_sys::Oid::INVALID, |(index, _)| index),
            index.is_some(),
            snapshot,
            1,
            &mut wanted,
        );
        let found = !pg_sys::systable_getnext(scan).is_null();
        pg_sys::systable_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        found
    }
}

/// A btree index that is led by the key's column under the server's own operators, and that holds every
/// row: without a predicate, and without expressions, which are their owner's code. With its collation.
unsafe fn index_for(table: pg_sys::Relation, key: &Key) -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    // SAFETY: the table is open; each index is open while it is looked at, and has at least one column.
    unsafe {
        let indexes = pg_sys::RelationGetIndexList(table);
        let count = indexes.as_ref().map_or(0, |list| list.length);
        (0..count).find_map(|n| {
            let oid = (*(*indexes).elements.add(usize::try_from(n).unwrap_or(0))).oid_value;
            let index = pg_sys::index_open(oid, LOCK);
            let found = serves(&*index, key);
            pg_sys::index_close(index, LOCK);
            found.map(|collation| (oid, collation))
        })
    }
}

unsafe fn serves(index: &pg_sys::RelationData, key: &Key) -> Option<pg_sys::Oid> {
    // SAFETY: an open index has its catalog rows, and as many families and collations as columns.
    unsafe {
        let plain = |attribute: u32| {
            pg_sys::heap_attisnull(index.rd_indextuple, attribute as i32, std::ptr::null_mut())
        };
        let form = &*index.rd_index;
        let collation = *index.rd_indcollation;
        let serves = (*index.rd_rel).relam == pg_sys::BTREE_AM_OID
            && form.indisvalid
            && !form.indcheckxmin
            && *form.indkey.values.as_ptr() == key.column
            && plain(pg_sys::Anum_pg_index_indpred)
            && plain(pg_sys::Anum_pg_index_indexprs)
            && *index.rd_opfamily == key.family
            && (collation == pg_sys::Oid::INVALID
                || pg_sys::get_collation_isdeterministic(collation));
        serves.then_some(collation)
    }
}
