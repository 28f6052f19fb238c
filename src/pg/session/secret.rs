//! The key that context tokens are made with: random, made when the server starts, in shared memory
//! and nowhere else. A token from before a restart is worth nothing after it.

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};
use tenancy_core::mac::Key;

use crate::pg::cell::BackendCell;

// SAFETY: the name is used for this lock only.
static KEY: PgLwLock<[u8; 32]> = unsafe { PgLwLock::new(c"tenancy_context_key") };
static SEEN: BackendCell<Option<[u8; 32]>> = BackendCell::new(None);
static PRELOADED: BackendCell<bool> = BackendCell::new(false);

/// Takes the shared memory. False when the library is not being loaded by
/// shared_preload_libraries, in which case nothing was taken.
pub fn init() -> bool {
    // SAFETY: a plain flag that the server sets while it loads libraries.
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        return false;
    }
    pg_shmem_init!(KEY = new_key());
    true
}

/// The key, or `None` when the library was not preloaded.
pub fn key() -> Option<Key> {
    if !preloaded() {
        return None;
    }
    // It never changes: one look under the lock per backend.
    let bytes = SEEN.get().unwrap_or_else(|| *KEY.share());
    SEEN.set(Some(bytes));
    Some(Key::new(bytes))
}

/// True when the library was loaded by shared_preload_libraries, and the server has its memory.
pub fn preloaded() -> bool {
    PRELOADED.get()
}

/// `N` bytes from the server's cryptographic source; `None` if it has none.
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
