//! The permanent identity of a transaction: the cluster and the transaction's full id.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pgrx::pg_sys;

/// Returns the cluster's system identifier, created by initdb.
pub fn identifier() -> i64 {
    // SAFETY: reads the control file's copy in shared memory.
    unsafe { pg_sys::GetSystemIdentifier() }.cast_signed()
}

/// Returns the data directory, which belongs to the user who runs the server.
pub fn data_directory() -> PathBuf {
    // SAFETY: a C string that the server sets when it starts.
    let path = unsafe { CStr::from_ptr(pg_sys::DataDir) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

/// Returns the current transaction's id, and assigns one if it has none.
pub fn transaction() -> u64 {
    // SAFETY: inside a transaction; an error where none can be given out.
    unsafe { pg_sys::GetTopFullTransactionId() }.value
}

/// Returns whether the current transaction cannot write.
pub fn read_only() -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() }
}

/// Returns whether pg_upgrade runs this server: the objects of a database come back as they were, an application's tables
/// perhaps before the extension's.
pub fn upgrading() -> bool {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// Returns whether CREATE EXTENSION is running: new objects become members of the extension.
pub fn creating_extension() -> bool {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::creating_extension }
}
