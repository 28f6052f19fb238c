//! Waking processes of the server.

use pgrx::pg_sys;

/// Wakes a process of the server, if it still exists.
pub fn wake(process: i32) {
    // SAFETY: a look-up in the server's table of processes. Its entries are never freed, so a process
    // that ends meanwhile leaves a latch that wakes its successor for nothing.
    unsafe {
        let found = pg_sys::BackendPidGetProc(process);
        if !found.is_null() {
            pg_sys::SetLatch(&raw mut (*found).procLatch);
        }
    }
}
