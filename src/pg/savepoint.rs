//! Savepoints of tenancy's own, as PL/pgSQL makes one around a block that handles errors.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::prelude::*;

/// Calls `f` in a savepoint, which is released after it. An error that passes rolls it back first: the server leaves that
/// to whoever made the savepoint. `None` if `f` had to wait for a lock for too long (55P03): then it has done nothing.
pub fn within<T>(f: impl FnOnce() -> T) -> Option<T> {
    // SAFETY: memory and resources are the caller's again after the savepoint, whatever becomes of it.
    unsafe {
        let (memory, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = memory;
        let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(f())))
            .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| Err(None))
            .catch_others(|error| Err(Some(error)))
            .catch_rust_panic(|error| Err(Some(error)))
            .execute();
        if result.is_ok() {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::CurrentMemoryContext = memory;
        pg_sys::CurrentResourceOwner = owner;
        match result {
            Ok(result) => Some(result),
            Err(None) => None,
            Err(Some(error)) => error.rethrow(),
        }
    }
}
