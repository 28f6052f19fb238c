//! The transaction, its savepoint and its statement; and the generation that per-row caches compare.

use pgrx::pg_sys;

use crate::pg::cell::BackendCell;
use crate::pg::{statics, time};

static GENERATION: BackendCell<u64> = BackendCell::new(1);

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
