//! What identifies a transaction for good: the cluster and the transaction's full id.

use pgrx::pg_sys;

/// The cluster's system identifier, made by initdb.
pub fn identifier() -> i64 {
    // SAFETY: reads the control file's copy in shared memory.
    unsafe { pg_sys::GetSystemIdentifier() }.cast_signed()
}

/// The current transaction's id, which it gets if it has none.
pub fn transaction() -> u64 {
    // SAFETY: inside a transaction; an error where none can be given out.
    unsafe { pg_sys::GetTopFullTransactionId() }.value
}

/// Whether the current transaction may not write.
pub fn read_only() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() }
}

/// Whether CREATE EXTENSION is running: what is made becomes a member of the extension.
pub fn creating_extension() -> bool {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::creating_extension }
}
