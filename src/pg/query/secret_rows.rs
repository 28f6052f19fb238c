//! Rows that logical decoding does not read: no publication sends them, whatever tables it names.

use pgrx::pg_sys;

use crate::pg::extension;

/// The tables with such rows.
const TABLES: [&std::ffi::CStr; 2] = [c"signing_keys", c"identity_secrets"];

/// Returns whether a table has such rows.
pub fn has(table: pg_sys::Oid) -> bool {
    TABLES
        .iter()
        .any(|name| extension::internal_table(name).is_ok_and(|known| known == table))
}

/// Inserts a row. Constraints other than unique ones are not checked, and no triggers fire.
///
/// # Safety
/// A row of the table, which is open, and locked as an INSERT locks it. Its indexes are on columns.
pub unsafe fn insert(table: pg_sys::Relation, row: pg_sys::HeapTuple) {
    const OPTIONS: i32 = pg_sys::HEAP_INSERT_NO_LOGICAL as i32;
    let none = std::ptr::null_mut();
    // SAFETY: as above. What the server's own INSERT does with a row, whose copy lives until the end of this.
    unsafe {
        let row = pg_sys::heap_copytuple(row);
        let command = pg_sys::GetCurrentCommandId(true);
        pg_sys::heap_insert(table, row, command, OPTIONS, none);
        let slot =
            pg_sys::MakeSingleTupleTableSlot((*table).rd_att, &raw const pg_sys::TTSOpsHeapTuple);
        pg_sys::ExecStoreHeapTuple(row, slot, false);
        let indexes = pg_sys::CatalogOpenIndexes(table);
        for n in 0..usize::try_from((*indexes).ri_NumIndices).unwrap_or(0) {
            let index = *(*indexes).ri_IndexRelationDescs.add(n);
            let info = *(*indexes).ri_IndexRelationInfo.add(n);
            let mut values = [pg_sys::Datum::from(0); pg_sys::INDEX_MAX_KEYS as usize];
            let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
            pg_sys::FormIndexDatum(
                info,
                slot,
                none.cast(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            let unique = match (*(*index).rd_index).indisunique {
                true => pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
                false => pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
            };
            pg_sys::index_insert(
                index,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                &raw mut (*row).t_self,
                table,
                unique,
                false,
                info,
            );
        }
        pg_sys::CatalogCloseIndexes(indexes);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::heap_freetuple(row);
    }
}
