//! Invalidation between backends, by the server's own messages: they are sent when a transaction commits, also one that was
//! prepared, reach standbys, and are undone with a savepoint. A backend that missed some is told to drop everything.
//!
//! What concerns one subject is a message about the cache of a catalog, with the subject's number in the place of a row's
//! oid: no such row need exist, and of the server's own caches it can drop a row of pg_sequence at the most. What concerns
//! everything is a relcache invalidation of the beacon table, whose rows nobody reads.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::sources::{self, CACHE};
use crate::pg::{extension, xact};

/// How many subjects a transaction tells of one by one. More would overrun the server's queue, and every backend that is
/// behind would drop more than tenancy's answers.
const SUBJECTS_MAX: u32 = 1000;

static STALE: BackendCell<bool> = BackendCell::new(true);
static BEACON: BackendCell<pg_sys::Oid> = BackendCell::new(pg_sys::Oid::INVALID);

static UNTIL: BackendCell<i64> = BackendCell::new(i64::MAX);

static METRICS: BackendCell<pg_sys::Oid> = BackendCell::new(pg_sys::Oid::INVALID);
static METRICS_STALE: BackendCell<bool> = BackendCell::new(true);

/// How many subjects this transaction has told of.
static TOLD: BackendCell<u32> = BackendCell::new(0);

/// Called with each relation that changes.
static ON_RELATION: BackendCell<Option<fn(pg_sys::Oid)>> = BackendCell::new(None);

/// Tells `f` of each relation that changes, this backend's changes included; the invalid oid means any. It may not raise
/// errors, and is called wherever the server takes such messages in.
pub fn on_relation(f: fn(pg_sys::Oid)) {
    ON_RELATION.set(Some(f));
}

/// The catalog of that cache: pgrx knows no name for it.
const PG_SEQUENCE: pg_sys::Oid = pg_sys::Oid::from_u32(2224);

/// Registers the callbacks for the life of the backend.
pub fn init() {
    // SAFETY: registered once per process, in _PG_init; the callbacks are guarded and live for ever.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
        pg_sys::CacheRegisterSyscacheCallback(CACHE, Some(subject_changed), pg_sys::Datum::from(0));
    };
}

/// The beacon table of this database.
pub fn watch(beacon: pg_sys::Oid) {
    BEACON.set(beacon);
}

/// The table of metrics of this database.
pub fn watch_metrics(table: pg_sys::Oid) {
    METRICS.set(table);
}

/// Whether metrics became stale since the last call.
pub fn take_metrics() -> bool {
    METRICS_STALE.replace_with(false)
}

/// Whether everything became stale since the last call.
pub fn take() -> bool {
    STALE.replace_with(false)
}

/// Tells every backend, this one included, when the transaction commits.
pub fn send(table: pg_sys::Oid) {
    // SAFETY: the oid is a table's: the caller looked it up in this transaction.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(table) };
}

/// Tells every backend when the transaction commits that anything may have changed.
pub fn send_all() -> Result<(), Error> {
    send(extension::internal_table(c"beacon")?);
    Ok(())
}

/// Tells every backend when the transaction commits that the subject of this number has changed.
pub fn send_subject(number: u32) -> Result<(), Error> {
    TOLD.set(TOLD.get().saturating_add(1));
    if TOLD.get() > SUBJECTS_MAX {
        return send_all();
    }
    // SAFETY: inside a transaction. The row is one of the catalog's by its columns, none of them NULL, and is only hashed.
    unsafe {
        let catalog = pg_sys::table_open(PG_SEQUENCE, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let columns = (*catalog).rd_att;
        let count = usize::try_from((*columns).natts).unwrap_or(0);
        let (mut values, mut nulls) = (vec![pg_sys::Datum::from(0); count], vec![false; count]);
        if let Some(oid) = values.first_mut() {
            *oid = pg_sys::Datum::from(pg_sys::Oid::from_u32(number));
        }
        let row = pg_sys::heap_form_tuple(columns, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::CacheInvalidateHeapTuple(catalog, row, std::ptr::null_mut());
        pg_sys::heap_freetuple(row);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
    }
    Ok(())
}

/// The transaction is over.
pub fn end_transaction() {
    TOLD.set(0);
}

#[pg_guard]
unsafe extern "C-unwind" fn subject_changed(_arg: pg_sys::Datum, _cache: i32, number: u32) {
    // The server says 0 where it does not know what has changed.
    if number == 0 {
        sources::all_changed();
    }
    sources::changed(number);
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    if let Some(f) = ON_RELATION.get() {
        f(relation);
    }
    let any = relation == pg_sys::Oid::INVALID;
    if any || relation == METRICS.get() {
        METRICS_STALE.set(true);
    }
    if any || relation == BEACON.get() {
        STALE.set(true);
        sources::all_changed();
    }
}

/// What is resolved holds until then, in microseconds of the Unix epoch: an assignment ends.
pub fn hold_until(end: Option<i64>) {
    UNTIL.set(end.unwrap_or(i64::MAX));
}

/// A statement begins, or goes on: whether everything that was resolved in this transaction has to be resolved again.
pub fn asks_again() -> bool {
    accept();
    STALE.get() || xact::statement_started_unix() >= UNTIL.get()
}

/// Hears of what has been committed by others up to now.
pub fn accept() {
    // SAFETY: inside a transaction; what comes in only sets flags and drops the server's cache entries.
    unsafe { pg_sys::AcceptInvalidationMessages() }
}
