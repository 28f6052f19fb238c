//! The transaction, its savepoint and its statement; and the generation that per-row caches compare.

use pgrx::pg_sys;
use tenancy_core::time::Instant;

use crate::pg::cell::BackendCell;
use crate::pg::{statics, time};

static GENERATION: BackendCell<u64> = BackendCell::new(1);

/// Returns a number that changes whenever cached results may be wrong: a context was set, cleared or
/// restored, or a transaction ended.
#[inline]
pub fn generation() -> u64 {
    GENERATION.get()
}

/// Makes every cached result stale.
pub fn new_generation() {
    GENERATION.set(GENERATION.get() + 1);
}

/// Returns when the current transaction started; the same in its parallel workers.
pub fn transaction_started() -> Instant {
    time::from_server(statics::GetCurrentTransactionStartTimestamp())
}

/// Returns when the client's current statement started; the same in its parallel workers.
pub fn statement_started() -> Instant {
    time::from_server(statics::GetCurrentStatementStartTimestamp())
}

/// Returns the current savepoint's number.
pub fn savepoint() -> u32 {
    statics::GetCurrentSubTransactionId()
}

/// Returns whether a transaction is open that can run queries.
pub fn running() -> bool {
    statics::IsTransactionState()
}

/// Returns whether an id is that of the current transaction or one of its savepoints.
pub fn is_own(id: u32) -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(id.into()) }
}

/// Makes this transaction's changes so far visible to it.
pub fn end_command() {
    // SAFETY: inside a transaction, between two statements.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// Returns whether a parallel query is running, in the leader and in its workers.
pub fn parallel() -> bool {
    statics::IsInParallelMode()
}

/// Returns true in the server's queries that check foreign keys: they read rows that row security hides, but do not
/// show them.
pub fn in_referential_check() -> bool {
    statics::InNoForceRLSOperation()
}

/// Returns whether this transaction can write.
pub fn may_write() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { !pg_sys::XactReadOnly && !pg_sys::RecoveryInProgress() && !pg_sys::IsInParallelMode() }
}

/// Returns whether this transaction has written, which may still be rolled back.
pub fn has_written() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// Returns whether this transaction has written since its innermost savepoint.
pub fn has_written_here() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::GetCurrentTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// Returns whether this transaction can write, and a row lock cannot raise a serialization failure.
pub fn may_write_aside() -> bool {
    // SAFETY: reads the server's transaction state.
    may_write() && unsafe { pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Returns whether queries read at the transaction's first snapshot, from REPEATABLE READ on.
pub fn is_serializable() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Returns whether queries that may write would read at the transaction's first snapshot, because it has written under
/// REPEATABLE READ or above.
pub fn reads_as_of_its_begin() -> bool {
    has_written_here() && is_serializable()
}
