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
    match attempt(f) {
        Ok(done) => done.map(|()| None),
        Err(CaughtError::PostgresError(report) | CaughtError::ErrorReport(report))
            if !passes(report.sql_error_code()) =>
        {
            Ok(Some(message(&report)))
        }
        Err(error) => error.rethrow(),
    }
}

/// Calls `f` in a savepoint. Returns an error that it raises, which is undone, but not one of those that `failure` lets pass.
pub fn refused<T>(f: impl FnOnce() -> T) -> Result<T, Refused> {
    match attempt(f) {
        Ok(done) => Ok(done),
        Err(CaughtError::PostgresError(report) | CaughtError::ErrorReport(report))
            if !passes(report.sql_error_code()) =>
        {
            Err(Refused(report))
        }
        Err(error) => error.rethrow(),
    }
}

/// An error that was caught.
pub struct Refused(pg_sys::panic::ErrorReportWithLevel);

impl Refused {
    /// Returns its message.
    pub fn message(&self) -> String {
        message(&self.0)
    }

    /// Raises it again.
    pub fn raise(self) -> ! {
        CaughtError::ErrorReport(self.0).rethrow()
    }
}

fn message(report: &pg_sys::panic::ErrorReportWithLevel) -> String {
    let detail = report.detail().map(|detail| format!(": {detail}"));
    format!("{}{}", report.message(), detail.unwrap_or_default())
}

/// Whether an error is one that waiting for locks may end, or that ends the statement.
fn passes(code: PgSqlErrorCode) -> bool {
    WAITS.contains(&code)
        || code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED
        || code == PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
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
