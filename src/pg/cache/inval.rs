//! Invalidation between backends, by the server's own messages. They are sent when a transaction commits, also a prepared
//! one, reach standbys, and are undone with a savepoint. A backend that missed some drops everything.
//!
//! A change of one subject is a message about the cache of a catalog, with the subject's number in place of a row's oid. No
//! such row needs to exist; of the server's own caches it can drop at most a row of pg_sequence. A change of everything is a
//! relcache invalidation of the beacon table, which is never read.

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenancy_core::time::Instant;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::sources::{self, CACHE};
use crate::pg::{extension, xact};

/// How many subjects a transaction invalidates one by one. More would overrun the server's queue, and every slow backend
/// would drop more than tenancy's caches.
const SUBJECTS_MAX: u32 = 1000;

static STALE: BackendCell<bool> = BackendCell::new(true);
static BEACON: BackendCell<pg_sys::Oid> = BackendCell::new(pg_sys::Oid::INVALID);

static UNTIL: BackendCell<Instant> = BackendCell::new(Instant::NEVER);

static METRICS: BackendCell<pg_sys::Oid> = BackendCell::new(pg_sys::Oid::INVALID);
static METRICS_STALE: BackendCell<bool> = BackendCell::new(true);

/// How often a relation's definition, or the name of a schema, has changed.
static DEFINITIONS: BackendCell<u64> = BackendCell::new(0);

/// The number of subjects that this transaction has invalidated.
static TOLD: BackendCell<u32> = BackendCell::new(0);

/// Is told of a relation that changes.
pub type OnRelation = fn(pg_sys::Oid);

/// Called with each relation that changes.
static ON_RELATION: [BackendCell<Option<OnRelation>>; 2] = [const { BackendCell::new(None) }; 2];

/// Calls `f` with each relation that changes, also by this backend; the invalid oid means all. `f` must not raise errors,
/// and is called wherever the server processes such messages.
pub fn on_relation(f: OnRelation) {
    let free = ON_RELATION.iter().find(|on| on.get().is_none());
    assert!(
        free.is_some(),
        "ON_RELATION has no room for another callback"
    );
    if let Some(free) = free {
        free.set(Some(f));
    }
}

/// The catalog of that cache, for which pgrx has no name.
const PG_SEQUENCE: pg_sys::Oid = pg_sys::Oid::from_u32(2224);

/// Registers the callbacks for the backend's lifetime.
pub fn init() {
    // SAFETY: registered once per process, in _PG_init; the callbacks are guarded and live until the process exits.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
        pg_sys::CacheRegisterSyscacheCallback(CACHE, Some(subject_changed), pg_sys::Datum::from(0));
        let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
        pg_sys::CacheRegisterSyscacheCallback(
            schemas,
            Some(schema_changed),
            pg_sys::Datum::from(0),
        );
    };
}

/// Sets the beacon table of this database.
pub fn watch(beacon: pg_sys::Oid) {
    BEACON.set(beacon);
}

/// Sets the table of metrics of this database.
pub fn watch_metrics(table: pg_sys::Oid) {
    METRICS.set(table);
}

/// Returns whether metrics became stale since the last call.
pub fn take_metrics() -> bool {
    METRICS_STALE.replace_with(false)
}

/// Returns whether everything became stale since the last call.
pub fn take() -> bool {
    STALE.replace_with(false)
}

/// Returns a number that is another one once the definition of a relation, or the name of a schema, has changed.
pub fn definitions() -> u64 {
    DEFINITIONS.get()
}

/// Invalidates a table in every backend, also this one, when the transaction commits.
pub fn send(table: pg_sys::Oid) {
    // SAFETY: the oid is a table's: the caller looked it up in this transaction.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(table) };
}

/// Makes every backend drop everything when the transaction commits.
pub fn send_all() -> Result<(), Error> {
    send(extension::internal_table(c"beacon")?);
    Ok(())
}

/// Invalidates the subject with this number in every backend when the transaction commits.
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

/// Resets the state at the transaction's end.
pub fn end_transaction() {
    TOLD.set(0);
}

#[pg_guard]
unsafe extern "C-unwind" fn subject_changed(_arg: pg_sys::Datum, _cache: i32, number: u32) {
    // The server passes 0 if it does not know what has changed.
    if number == 0 {
        sources::all_changed();
    }
    sources::changed(number);
}

#[pg_guard]
unsafe extern "C-unwind" fn schema_changed(_arg: pg_sys::Datum, _cache: i32, _number: u32) {
    DEFINITIONS.set(DEFINITIONS.get().wrapping_add(1));
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    DEFINITIONS.set(DEFINITIONS.get().wrapping_add(1));
    for f in ON_RELATION.iter().filter_map(BackendCell::get) {
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

/// Limits the validity of resolved access, because an assignment ends.
pub fn hold_until(end: Option<Instant>) {
    UNTIL.set(end.unwrap_or(Instant::NEVER));
}

/// Called when a statement begins or continues. Returns whether everything resolved in this transaction must be resolved again.
pub fn asks_again() -> bool {
    accept();
    STALE.get() || xact::statement_started() >= UNTIL.get()
}

/// Processes invalidations of transactions that have committed.
pub fn accept() {
    // SAFETY: inside a transaction; what comes in only sets flags and drops the server's cache entries.
    unsafe { pg_sys::AcceptInvalidationMessages() }
}
