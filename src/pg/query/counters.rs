//! Changes the counters of quotas, without a query, a plan or a switch of roles: an INSERT waits for it.
//!
//! A counter is read and changed in its newest committed version, whatever the transaction's snapshot: a sum needs no snapshot, and so
//! REPEATABLE READ fails no more often than READ COMMITTED.

use std::cell::RefCell;

use pgrx::pg_sys;

use crate::error::Error;

/// What becomes of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It stays.
    Keep,
    /// It becomes this.
    Set(i64),
    /// It is deleted.
    Delete,
}

/// A counter's key: quota, tenant, and what it counts for in the tenant.
#[derive(Clone, Copy)]
pub struct CounterKey<'a> {
    /// The quota.
    pub quota: i32,
    /// The tenant.
    pub tenant: &'a str,
    /// The key.
    pub key: &'a str,
}

/// A version of a counter that this transaction has written.
struct Own {
    quota: i32,
    tenant: Box<str>,
    key: Box<str>,
    place: pg_sys::ItemPointerData,
}

/// The number of them that are kept.
const OWN_MOST: usize = 16;

thread_local! {
    /// Nobody else can change these versions. Finding one by the index would take a step for each time that the transaction has changed
    /// the counter: those versions stay until it ends.
    static OWN: RefCell<Vec<Own>> = const { RefCell::new(Vec::new()) };
}

impl Own {
    fn is(&self, counter: CounterKey<'_>) -> bool {
        self.quota == counter.quota && *self.tenant == *counter.tenant && *self.key == *counter.key
    }
}

fn own(counter: CounterKey<'_>) -> Option<pg_sys::ItemPointerData> {
    OWN.with_borrow(|own| own.iter().find(|own| own.is(counter)).map(|own| own.place))
}

fn keep(counter: CounterKey<'_>, place: Option<pg_sys::ItemPointerData>) {
    OWN.with_borrow_mut(|all| {
        let known = all.iter().position(|own| own.is(counter));
        match (known, place) {
            (Some(known), Some(place)) => {
                if let Some(own) = all.get_mut(known) {
                    own.place = place;
                }
            }
            (Some(known), None) => drop(all.swap_remove(known)),
            (None, Some(place)) => {
                if all.len() >= OWN_MOST {
                    all.clear();
                }
                all.push(Own {
                    quota: counter.quota,
                    tenant: counter.tenant.into(),
                    key: counter.key.into(),
                    place,
                });
            }
            (None, None) => {}
        }
    });
}

/// Forgets where this transaction has written: it or a savepoint ends, or the table may have been rewritten. May be called at any moment.
pub fn forget() {
    OWN.with(|own| {
        if let Ok(mut own) = own.try_borrow_mut() {
            own.clear();
        }
    });
}

const BTREE_EQUAL: pg_sys::StrategyNumber = 3;
/// int4eq() and texteq().
const F_INT4EQ: pg_sys::Oid = pg_sys::Oid::from_u32(65);
const F_TEXTEQ: pg_sys::Oid = pg_sys::Oid::from_u32(67);
/// The columns of the table: the key, and the count.
const COLUMNS: usize = 4;

/// Locks a counter until the transaction ends, and changes it as `f` says of its value. Returns false if there is none. What other
/// transactions are changing is waited for. The caller ends the command before the counter is changed again.
pub fn change(
    table: pg_sys::Oid,
    counter: CounterKey<'_>,
    f: impl Fn(i64) -> Result<Next, Error>,
) -> Result<bool, Error> {
    // SAFETY: inside a transaction that may write. The table is one of tenancy's own, a heap with these columns and its key as the primary
    // key, both open and locked until the end. The scan holds the row's page until its version is locked; the texts outlive the scan.
    // An error's abort releases all of it.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        let index = pg_sys::RelationGetPrimaryKeyIndex(
            relation,
            #[cfg(feature = "pg18")]
            false, // not a deferrable one
        );
        if let Some(place) = own(counter) {
            if let Some(done) = change_version(relation, place, counter, &f) {
                pg_sys::table_close(relation, pg_sys::NoLock as i32);
                return done;
            }
            // A query of this transaction has changed it, too.
            keep(counter, None);
        }
        let texts = [text(counter.tenant), text(counter.key)];
        let mut keys = [pg_sys::ScanKeyData::default(); 3];
        let wanted = [
            (F_INT4EQ, pg_sys::Datum::from(counter.quota)),
            (F_TEXTEQ, texts[0]),
            (F_TEXTEQ, texts[1]),
        ];
        for ((key, column), (equal, value)) in keys.iter_mut().zip(1..).zip(wanted) {
            pg_sys::ScanKeyInit(key, column, BTREE_EQUAL, equal, value);
        }
        let result = loop {
            // For a table that is no catalog, a snapshot of now.
            let snapshot = std::ptr::null_mut();
            let scan =
                pg_sys::systable_beginscan(relation, index, true, snapshot, 3, keys.as_mut_ptr());
            let found = pg_sys::systable_getnext(scan);
            let done = match found.is_null() {
                true => Some(Ok(false)),
                false => change_version(relation, (*found).t_self, counter, &f),
            };
            pg_sys::systable_endscan(scan);
            match done {
                Some(done) => break done,
                None => {
                    pgrx::check_for_interrupts!();
                }
            }
        };
        for text in texts {
            pg_sys::pfree(text.cast_mut_ptr());
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        result
    }
}

/// Changes a version of a counter; `None` if there is a newer one, or it was deleted.
///
/// # Safety
/// A row of the open table that a scan holds, or that this transaction has written and not rolled back.
unsafe fn change_version(
    relation: pg_sys::Relation,
    mut place: pg_sys::ItemPointerData,
    counter: CounterKey<'_>,
    f: &impl Fn(i64) -> Result<Next, Error>,
) -> Option<Result<bool, Error>> {
    // SAFETY: the caller's. The lock fills in the row, which stays on its page while the buffer is pinned.
    unsafe {
        let mut row = pg_sys::HeapTupleData {
            t_self: place,
            ..Default::default()
        };
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        let mut failure = pg_sys::TM_FailureData::default();
        let status = pg_sys::heap_lock_tuple(
            relation,
            &raw mut row,
            pg_sys::GetCurrentCommandId(true),
            pg_sys::LockTupleMode::LockTupleExclusive,
            pg_sys::LockWaitPolicy::LockWaitBlock,
            false,
            &raw mut buffer,
            &raw mut failure,
        );
        let result = match status {
            pg_sys::TM_Result::TM_Ok => {
                let columns = (*relation).rd_att;
                let mut values = [pg_sys::Datum::from(0); COLUMNS];
                let mut nulls = [false; COLUMNS];
                pg_sys::heap_deform_tuple(
                    &raw mut row,
                    columns,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
                let used = values[COLUMNS - 1].value() as i64;
                let [quota, tenant, key, _] = values;
                let same = quota.value() as i32 == counter.quota
                    && is_text(tenant, counter.tenant)
                    && is_text(key, counter.key);
                match same.then(|| f(used)) {
                    // Another row has its place.
                    None => None,
                    Some(Ok(Next::Set(next))) if next != used => {
                        values[COLUMNS - 1] = pg_sys::Datum::from(next);
                        let new = pg_sys::heap_form_tuple(
                            columns,
                            values.as_mut_ptr(),
                            nulls.as_mut_ptr(),
                        );
                        pg_sys::CatalogTupleUpdate(relation, &raw mut place, new);
                        keep(counter, Some((*new).t_self));
                        pg_sys::heap_freetuple(new);
                        Some(Ok(true))
                    }
                    Some(Ok(Next::Delete)) => {
                        pg_sys::CatalogTupleDelete(relation, &raw mut place);
                        keep(counter, None);
                        Some(Ok(true))
                    }
                    Some(Ok(Next::Set(_) | Next::Keep)) => Some(Ok(true)),
                    Some(Err(error)) => Some(Err(error)),
                }
            }
            pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => None,
            pg_sys::TM_Result::TM_Invisible | pg_sys::TM_Result::TM_SelfModified
                if own(counter).is_some() =>
            {
                None
            }
            _ => Some(Err(Error::Internal(
                "a counter was changed twice in a command",
            ))),
        };
        pg_sys::ReleaseBuffer(buffer);
        result
    }
}

/// Returns whether a value is this text.
///
/// # Safety
/// A text that is not NULL.
unsafe fn is_text(value: pg_sys::Datum, text: &str) -> bool {
    // SAFETY: the caller's; what is compressed is copied.
    unsafe {
        let value = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
        pgrx::varlena_to_byte_slice(value) == text.as_bytes()
    }
}

/// Returns a text in the current memory.
fn text(text: &str) -> pg_sys::Datum {
    // SAFETY: the server copies as many bytes as it is told.
    unsafe {
        pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(
            text.as_ptr().cast(),
            text.len() as i32,
        ))
    }
}
