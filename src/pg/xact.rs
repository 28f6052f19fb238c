//! Where transactions and savepoints end, and the generation that per-row caches compare.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::cell::BackendCell;
use super::{blockers, inval, statics, time};
use crate::error::Error;

/// What the context module does when something ends.
#[derive(Clone, Copy)]
pub struct OnEnd {
    /// The transaction is about to commit or to be prepared, and can still run queries.
    pub before_commit: fn(Ending) -> Result<(), Error>,
    /// The transaction ended; true when it committed (or was prepared).
    pub transaction: fn(bool),
    /// A savepoint, and everything begun after it, was rolled back.
    pub savepoint_abort: fn(u32),
}

/// How a transaction is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By COMMIT.
    Commit,
    /// By PREPARE TRANSACTION.
    Prepare,
}

static ON_END: BackendCell<Option<OnEnd>> = BackendCell::new(None);
static GENERATION: BackendCell<u64> = BackendCell::new(1);

/// Registers the callbacks for the life of the backend.
pub fn init(on_end: OnEnd) {
    ON_END.set(Some(on_end));
    // SAFETY: registered once per process, in _PG_init; the callbacks are guarded and live for ever.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(savepoint_event), std::ptr::null_mut());
    }
}

/// Changes whenever an answer given earlier might be wrong: a context was set, cleared or restored,
/// or a transaction ended.
#[inline]
pub fn generation() -> u64 {
    GENERATION.get()
}

/// Makes every cached answer stale.
pub fn new_generation() {
    GENERATION.set(GENERATION.get() + 1);
}

/// When the current transaction started, microseconds since 2000; the same in its parallel workers.
pub fn transaction_started() -> i64 {
    statics::GetCurrentTransactionStartTimestamp()
}

/// When the current statement of the client's started, as Unix microseconds; the same in its parallel workers.
pub fn statement_started_unix() -> i64 {
    time::to_unix_micros(statics::GetCurrentStatementStartTimestamp())
}

/// The same instant as Unix microseconds, to compare with expiries.
pub fn transaction_started_unix() -> i64 {
    time::to_unix_micros(transaction_started())
}

/// The current savepoint's number.
pub fn savepoint() -> u32 {
    statics::GetCurrentSubTransactionId()
}

/// True inside a transaction that can run queries.
pub fn running() -> bool {
    statics::IsTransactionState()
}

/// True for the id of the current transaction or of one of its savepoints.
pub fn is_own(id: u32) -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(id.into()) }
}

/// Makes what this transaction has done so far visible to it.
pub fn end_command() {
    // SAFETY: inside a transaction, between two statements.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// True while a parallel query runs, in the leader and in its workers.
pub fn parallel() -> bool {
    statics::IsInParallelMode()
}

/// True in the queries by which the server checks foreign keys: they see what row security hides, and
/// show it to nobody.
pub fn in_referential_check() -> bool {
    statics::InNoForceRLSOperation()
}

/// True when this transaction may write.
pub fn may_write() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { !pg_sys::XactReadOnly && !pg_sys::RecoveryInProgress() && !pg_sys::IsInParallelMode() }
}

/// True when this transaction has written something, which may yet be undone.
pub fn has_written() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// True when this transaction has written something since its innermost savepoint.
pub fn has_written_here() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::GetCurrentTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// True when this transaction may write, and a row lock cannot raise a serialization failure.
pub fn may_write_aside() -> bool {
    // SAFETY: reads the server's transaction state.
    may_write() && unsafe { pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// True when queries that may write would read as of the transaction's begin, from which this one has written on.
pub fn reads_as_of_its_begin() -> bool {
    // SAFETY: reads the server's transaction state.
    has_written_here() && unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    if event == XACT_EVENT_PRE_PREPARE && blockers::is_marked() {
        Error::ManagedPrepared.raise();
    }
    let ending = match event {
        XACT_EVENT_PRE_COMMIT => Some(Ending::Commit),
        XACT_EVENT_PRE_PREPARE => Some(Ending::Prepare),
        _ => None,
    };
    if let Some(ending) = ending {
        if let Some(on_end) = ON_END.get()
            && let Err(error) = (on_end.before_commit)(ending)
        {
            error.raise();
        }
        return;
    }
    let committed = match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PARALLEL_COMMIT | XACT_EVENT_PREPARE => true,
        XACT_EVENT_ABORT | XACT_EVENT_PARALLEL_ABORT => false,
        _ => return,
    };
    new_generation();
    inval::end_transaction();
    blockers::end_transaction();
    if let Some(on_end) = ON_END.get() {
        (on_end.transaction)(committed);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn savepoint_event(
    event: pg_sys::SubXactEvent::Type,
    savepoint: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB
        && let Some(on_end) = ON_END.get()
    {
        (on_end.savepoint_abort)(savepoint);
    }
}
