//! Invalidation between backends. Nobody reads the beacon tables' rows: a relcache invalidation on
//! one of them tells every backend that what it resolved may be out of date, and leaves plans alone
//! that read the real tables.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::cell::BackendCell;

/// Which cached answers an invalidation reaches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// None.
    No,
    /// Answers that span a fleet: a tenant was added.
    Fleets,
    /// All.
    All,
}

static STALE: BackendCell<Stale> = BackendCell::new(Stale::All);
static BEACONS: BackendCell<(pg_sys::Oid, pg_sys::Oid)> =
    BackendCell::new((pg_sys::Oid::INVALID, pg_sys::Oid::INVALID));

static UNTIL: BackendCell<i64> = BackendCell::new(i64::MAX);

static METRICS: BackendCell<pg_sys::Oid> = BackendCell::new(pg_sys::Oid::INVALID);
static METRICS_STALE: BackendCell<bool> = BackendCell::new(true);
static BUDGETS: BackendCell<pg_sys::Oid> = BackendCell::new(pg_sys::Oid::INVALID);
static BUDGETS_STALE: BackendCell<bool> = BackendCell::new(true);

/// Called with each relation that changes.
static ON_RELATION: BackendCell<Option<fn(pg_sys::Oid)>> = BackendCell::new(None);

/// Tells `f` of each relation that changes, this backend's changes included; the invalid oid means any. It may not raise
/// errors, and is called wherever the server takes such messages in.
pub fn on_relation(f: fn(pg_sys::Oid)) {
    ON_RELATION.set(Some(f));
}

/// Registers the callback for the life of the backend.
pub fn init() {
    // SAFETY: registered once per process, in _PG_init; the callback is guarded and lives for ever.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0))
    };
}

/// The beacon tables of this database: the one for everything and the one for fleets.
pub fn watch(all: pg_sys::Oid, fleets: pg_sys::Oid) {
    BEACONS.set((all, fleets));
}

/// The table of metrics of this database.
pub fn watch_metrics(table: pg_sys::Oid) {
    METRICS.set(table);
}

/// Whether metrics became stale since the last call.
pub fn take_metrics() -> bool {
    METRICS_STALE.replace_with(false)
}

/// The table of budgets of this database.
pub fn watch_budgets(table: pg_sys::Oid) {
    BUDGETS.set(table);
}

/// Whether budgets became stale since the last call.
pub fn take_budgets() -> bool {
    BUDGETS_STALE.replace_with(false)
}

/// What became stale since the last call.
pub fn take() -> Stale {
    STALE.replace_with(Stale::No)
}

/// Tells every backend, this one included, when the transaction commits.
pub fn send(beacon: pg_sys::Oid) {
    // SAFETY: the oid is a table's: the caller looked it up in this transaction.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(beacon) };
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    if let Some(f) = ON_RELATION.get() {
        f(relation);
    }
    if relation == pg_sys::Oid::INVALID || relation == METRICS.get() {
        METRICS_STALE.set(true);
    }
    if relation == pg_sys::Oid::INVALID || relation == BUDGETS.get() {
        BUDGETS_STALE.set(true);
    }
    let (all, fleets) = BEACONS.get();
    let reached = if relation == pg_sys::Oid::INVALID || relation == all {
        Stale::All
    } else if relation == fleets {
        Stale::Fleets
    } else {
        return;
    };
    STALE.set(STALE.get().max(reached));
}

/// What is resolved holds until then, in microseconds of the Unix epoch: an assignment ends.
pub fn hold_until(end: Option<i64>) {
    UNTIL.set(end.unwrap_or(i64::MAX));
}

/// A statement begins, or goes on: whether what was resolved in this transaction has to be resolved again.
pub fn asks_again() -> bool {
    accept();
    STALE.get() == Stale::All || super::xact::statement_started_unix() >= UNTIL.get()
}

/// Hears of what has been committed by others up to now.
pub fn accept() {
    // SAFETY: inside a transaction; what comes in only sets flags and drops the server's cache entries.
    unsafe { pg_sys::AcceptInvalidationMessages() }
}
