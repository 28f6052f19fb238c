//! Savepoints of tenancy, like those of PL/pgSQL around a block with an exception handler.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

/// How waiting for locks fails.
const WAITS: [PgSqlErrorCode; 2] = [
    PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
    PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
];

/// Calls `f` in a savepoint, and releases it afterwards. On an error it rolls back to the savepoint first: the server
/// leaves this to the creator of the savepoint.
pub fn around<T>(f: impl FnOnce() -> T) -> T {
    attempt(f).unwrap_or_else(|error| error.rethrow())
}

/// The same. Returns `None`, without effect, if `f` waited too long for a lock (55P03).
pub fn within<T>(f: impl FnOnce() -> T) -> Option<T> {
    unless(&[PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE], f)
}

/// The same, also if others waited for this transaction and it for them (40P01).
pub fn within_locks<T>(f: impl FnOnce() -> T) -> Option<T> {
    unless(&WAITS, f)
}

/// Calls `f` in a savepoint. Returns the message of an error, which is undone, but not of one that waiting for locks may end, nor of a
/// cancelled statement.
pub fn failure<E>(f: impl FnOnce() -> Result<(), E>) -> Result<Option<String>, E> {
    let passes = |code| {
        WAITS.contains(&code)
            || code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED
            || code == PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
    };
    match attempt(f) {
        Ok(done) => done.map(|()| None),
        Err(CaughtError::PostgresError(report) | CaughtError::ErrorReport(report))
            if !passes(report.sql_error_code()) =>
        {
            let detail = report.detail().map(|detail| format!(": {detail}"));
            Ok(Some(format!(
                "{}{}",
                report.message(),
                detail.unwrap_or_default()
            )))
        }
        Err(error) => error.rethrow(),
    }
}

fn unless<T>(failures: &[PgSqlErrorCode], f: impl FnOnce() -> T) -> Option<T> {
    match attempt(f) {
        Ok(result) => Some(result),
        Err(CaughtError::PostgresError(report) | CaughtError::ErrorReport(report))
            if failures.contains(&report.sql_error_code()) =>
        {
            None
        }
        Err(error) => error.rethrow(),
    }
}

fn attempt<T>(f: impl FnOnce() -> T) -> Result<T, CaughtError> {
    // SAFETY: after the savepoint, committed or not, memory context and resource owner are the caller's again.
    unsafe {
        let (memory, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = memory;
        let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(f())))
            .catch_others(Err)
            .catch_rust_panic(Err)
            .execute();
        if result.is_ok() {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::CurrentMemoryContext = memory;
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}
