//! The key that seals context tokens: random, generated when the server starts, only in shared memory. A restart
//! invalidates all tokens.

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};
use tenancy_core::mac::Key;

use crate::pg::cell::BackendCell;

// SAFETY: the name is used for this lock only.
static KEY: PgLwLock<[u8; 32]> = unsafe { PgLwLock::new(c"tenancy_context_key") };
static SEEN: BackendCell<Option<[u8; 32]>> = BackendCell::new(None);
static PRELOADED: BackendCell<bool> = BackendCell::new(false);

/// Requests shared memory. Returns false, without doing so, if the library is not loaded by
/// shared_preload_libraries.
pub fn init() -> bool {
    // SAFETY: a plain flag that the server sets while it loads libraries.
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        return false;
    }
    pg_shmem_init!(KEY = new_key());
    true
}

/// Returns the key; `None` if the library was not preloaded.
pub fn key() -> Option<Key> {
    if !preloaded() {
        return None;
    }
    // It never changes, so each backend reads it once under the lock.
    let bytes = SEEN.get().unwrap_or_else(|| *KEY.share());
    SEEN.set(Some(bytes));
    Some(Key::new(bytes))
}

/// Returns whether the library was loaded by shared_preload_libraries, and has its shared memory.
pub fn preloaded() -> bool {
    PRELOADED.get()
}

/// Returns `N` bytes from the server's cryptographic source; `None` if it has none.
pub fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0u8; N];
    // SAFETY: the buffer is N bytes long.
    unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), N) }.then_some(bytes)
}

fn new_key() -> [u8; 32] {
    let Some(key) = random() else {
        // A guessable key would make every context forgeable: do not start.
        ereport!(
            FATAL,
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            "tenancy: the server has no source of random bytes"
        );
    };
    // Inherited by every backend through fork.
    PRELOADED.set(true);
    key
}
