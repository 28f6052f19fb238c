//! Changes the counters of quotas, without a query, a plan or a switch of roles: an INSERT waits for it.
//!
//! A counter is read and changed in its newest committed version, whatever the transaction's snapshot: a sum needs no snapshot, and so
//! REPEATABLE READ fails no more often than READ COMMITTED.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
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

/// Where a counter was.
#[derive(Clone, Copy)]
struct Seen {
    place: pg_sys::ItemPointerData,
    /// The buffer that had its page, if it is known.
    buffer: Option<pg_sys::Buffer>,
}

thread_local! {
    /// Where this backend has last seen counters, by a hash of their keys. A row there may be another one by now: it is compared.
    /// Finding a counter by the index takes several times as long; and a step for each time that this transaction has changed it, as those
    /// versions stay until it ends.
    static SEEN: RefCell<HashMap<u64, Seen, RandomState>> = RefCell::default();
}

/// The number of them that are kept.
const SEEN_MOST: usize = 4000;

fn hash(counter: CounterKey<'_>) -> u64 {
    let key = (counter.quota, counter.tenant, counter.key);
    SEEN.with_borrow(|seen| seen.hasher().hash_one(key))
}

fn see(counter: CounterKey<'_>, place: Seen) {
    let hash = hash(counter);
    SEEN.with_borrow_mut(|seen| {
        if seen.len() >= SEEN_MOST && !seen.contains_key(&hash) {
            seen.clear();
        }
        seen.insert(hash, place);
    });
}

const MAIN: pg_sys::ForkNumber::Type = pg_sys::ForkNumber::MAIN_FORKNUM;
const BTREE_EQUAL: pg_sys::StrategyNumber = 3;
/// int4eq() and texteq().
const F_INT4EQ: pg_sys::Oid = pg_sys::Oid::from_u32(65);
const F_TEXTEQ: pg_sys::Oid = pg_sys::Oid::from_u32(67);
/// The columns of the table: the key, and the count.
const COLUMNS: usize = 4;
/// With less room on its page, a version is written to another one and takes entries in the index: rather is the page pruned.
const ROOM_BYTES: usize = 1000;

/// The values of a counter's row.
type Values = [pg_sys::Datum; COLUMNS];

/// Locks a counter until the transaction ends, and changes it as `f` says of its value; `f` may be asked several times. Returns false if
/// there is none. What other transactions are changing is waited for. The caller ends the command before the counter is changed again.
pub fn change(
    table: pg_sys::Oid,
    counter: CounterKey<'_>,
    f: impl Fn(i64) -> Result<Next, Error>,
) -> Result<bool, Error> {
    // SAFETY: inside a transaction that may write. The table is one of tenancy's own, a heap with these columns and its key as the primary
    // key, open and locked until the end. An error's abort releases all of it.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        let seen = SEEN.with_borrow(|seen| seen.get(&hash(counter)).copied());
        let done = match seen {
            Some(seen) => {
                let held = hold(relation, seen);
                (held.is_some() || is_within(relation, seen.place))
                    && try_change(relation, seen.place, held, counter, &f)
            }
            None => false,
        };
        let result = match done {
            true => Ok(true),
            false => find_and_change(relation, counter, &f),
        };
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        result
    }
}

/// Pins the page of a place, if its buffer still has it. Asking the file how long it is would be a system call.
///
/// # Safety
/// The table is open and locked.
unsafe fn hold(relation: pg_sys::Relation, seen: Seen) -> Option<pg_sys::Buffer> {
    let buffer = seen.buffer?;
    // SAFETY: the caller's; a buffer and a place that the server has given.
    unsafe {
        #[cfg(feature = "pg15")]
        let file = (*relation).rd_node;
        #[cfg(not(feature = "pg15"))]
        let file = (*relation).rd_locator;
        let page = pgrx::itemptr::item_pointer_get_block_number(&seen.place);
        pg_sys::ReadRecentBuffer(file, MAIN, page, buffer).then_some(buffer)
    }
}

/// Returns whether a place is on a page of the table: VACUUM may have cut off empty ones.
///
/// # Safety
/// The table is open and locked.
unsafe fn is_within(relation: pg_sys::Relation, place: pg_sys::ItemPointerData) -> bool {
    // SAFETY: the caller's; a place that the server has given.
    unsafe {
        let pages = pg_sys::RelationGetNumberOfBlocksInFork(relation, MAIN);
        pgrx::itemptr::item_pointer_get_block_number(&place) < pages
    }
}

/// Changes a counter that the index finds.
///
/// # Safety
/// As in [`change`].
unsafe fn find_and_change(
    relation: pg_sys::Relation,
    counter: CounterKey<'_>,
    f: &impl Fn(i64) -> Result<Next, Error>,
) -> Result<bool, Error> {
    // SAFETY: the caller's. The scan holds the row's page until its version is changed; the texts outlive the scan.
    unsafe {
        let index = primary_key(relation);
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
            let done = match found.as_ref() {
                None => Some(Ok(false)),
                Some(row) => {
                    let place = row.t_self;
                    match try_change(relation, place, None, counter, f) {
                        true => Some(Ok(true)),
                        false => lock_and_change(relation, place, counter, f),
                    }
                }
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
        result
    }
}

/// Returns the primary key's index.
///
/// # Safety
/// The table is open.
unsafe fn primary_key(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: the caller's.
    unsafe {
        pg_sys::RelationGetPrimaryKeyIndex(
            relation,
            #[cfg(feature = "pg18")]
            false, // not a deferrable one
        )
    }
}

/// Changes a counter in one step, with one record in the WAL, if its newest version is in this place and `f` has another value for it.
/// Otherwise returns false: then nothing has changed, and nothing is decided. A refusal is decided under a lock.
///
/// # Safety
/// As in [`change`]; the place is on a page of the table, whose pin `held` is given back.
unsafe fn try_change(
    relation: pg_sys::Relation,
    mut place: pg_sys::ItemPointerData,
    held: Option<pg_sys::Buffer>,
    counter: CounterKey<'_>,
    f: &impl Fn(i64) -> Result<Next, Error>,
) -> bool {
    // SAFETY: the caller's. A version that is committed, or this transaction's, and that no committed transaction has replaced. While its
    // page is pinned nothing takes its place, so that the update finds it, or finds that it was replaced.
    unsafe {
        let mut row = pg_sys::HeapTupleData {
            t_self: place,
            ..Default::default()
        };
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        let newest = &raw mut pg_sys::SnapshotSelfData;
        let found = pg_sys::heap_fetch(relation, newest, &raw mut row, &raw mut buffer, false);
        if let Some(held) = held {
            // With two pins the page could not be pruned.
            pg_sys::ReleaseBuffer(held);
        }
        if !found {
            return false;
        }
        let (mut values, used) = values(relation, &mut row, counter);
        let done = match used.map(|used| (used, f(used))) {
            Some((used, Ok(Next::Set(next)))) if next != used => {
                values[COLUMNS - 1] = pg_sys::Datum::from(next);
                update(relation, &mut place, buffer, values)
            }
            _ => None,
        };
        if let Some(new) = done {
            see(counter, new);
        }
        let page = pg_sys::BufferGetPage(buffer);
        if done.is_some() && pg_sys::PageGetHeapFreeSpace(page) < ROOM_BYTES {
            pg_sys::heap_page_prune_opt(relation, buffer);
        }
        pg_sys::ReleaseBuffer(buffer);
        done.is_some()
    }
}

/// Writes a new version of a row, unless it was replaced, and returns where it is.
///
/// # Safety
/// A version as in [`try_change`], whose page this buffer has, and is pinned.
unsafe fn update(
    relation: pg_sys::Relation,
    place: &mut pg_sys::ItemPointerData,
    buffer: pg_sys::Buffer,
    mut values: Values,
) -> Option<Seen> {
    let mut nulls = [false; COLUMNS];
    let mut failure = pg_sys::TM_FailureData::default();
    let mut mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
    #[cfg(not(feature = "pg15"))]
    let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
    // SAFETY: the caller's. The server's own UPDATE, in the transaction's current command.
    unsafe {
        let columns = (*relation).rd_att;
        let new = pg_sys::heap_form_tuple(columns, values.as_mut_ptr(), nulls.as_mut_ptr());
        let status = pg_sys::heap_update(
            relation,
            place,
            new,
            pg_sys::GetCurrentCommandId(true),
            std::ptr::null_mut(),
            true,
            &raw mut failure,
            &raw mut mode,
            #[cfg(not(feature = "pg15"))]
            &raw mut indexes,
        );
        let done = (status == pg_sys::TM_Result::TM_Ok).then(|| {
            // On another page it has an entry of its own.
            let stays = pg_sys::HeapTupleHeaderIsHeapOnly((*new).t_data);
            if !stays {
                let lock = pg_sys::RowExclusiveLock as i32;
                let index = pg_sys::index_open(primary_key(relation), lock);
                pg_sys::index_insert(
                    index,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    &raw mut (*new).t_self,
                    relation,
                    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
                    true,
                    pg_sys::BuildIndexInfo(index),
                );
                pg_sys::index_close(index, pg_sys::NoLock as i32);
            }
            Seen {
                place: (*new).t_self,
                buffer: stays.then_some(buffer),
            }
        });
        pg_sys::heap_freetuple(new);
        done
    }
}

/// Locks a version of a counter, and changes it; `None` if there is a newer one, or it was deleted.
///
/// # Safety
/// As in [`change`]; the place is that of a row that a scan holds.
unsafe fn lock_and_change(
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
                let (mut values, used) = values(relation, &mut row, counter);
                match used.map(|used| (used, f(used))) {
                    // Another row has its place.
                    None => None,
                    Some((used, Ok(Next::Set(next)))) if next != used => {
                        values[COLUMNS - 1] = pg_sys::Datum::from(next);
                        let new = update(relation, &mut place, buffer, values);
                        new.map(|new| {
                            see(counter, new);
                            Ok(true)
                        })
                    }
                    Some((_, Ok(Next::Delete))) => {
                        pg_sys::CatalogTupleDelete(relation, &raw mut place);
                        Some(Ok(true))
                    }
                    Some((_, Ok(Next::Set(_) | Next::Keep))) => Some(Ok(true)),
                    Some((_, Err(error))) => Some(Err(error)),
                }
            }
            pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => None,
            _ => Some(Err(Error::Internal(
                "a counter was changed twice in a command",
            ))),
        };
        pg_sys::ReleaseBuffer(buffer);
        result
    }
}

/// Returns the values of a row, and its count if it is this counter's.
///
/// # Safety
/// A row of the table, which is open, on a page that is pinned.
unsafe fn values(
    relation: pg_sys::Relation,
    row: &mut pg_sys::HeapTupleData,
    counter: CounterKey<'_>,
) -> (Values, Option<i64>) {
    let mut values = [pg_sys::Datum::from(0); COLUMNS];
    let mut nulls = [false; COLUMNS];
    // SAFETY: the caller's; no column may be NULL.
    let same = unsafe {
        let columns = (*relation).rd_att;
        pg_sys::heap_deform_tuple(row, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
        let [quota, tenant, key, _] = values;
        quota.value() as i32 == counter.quota
            && is_text(tenant, counter.tenant)
            && is_text(key, counter.key)
    };
    let used = values[COLUMNS - 1].value() as i64;
    (values, same.then_some(used))
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
