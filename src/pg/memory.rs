//! What an allocation does that fails: an ERROR of the statement (53200), as the server's own `palloc` raises. Rust's
//! own answer ends the process, and with it every session of the server.
//!
//! An error needs memory itself. pgrx copies the server's errors into the context of the moment, and is caught in a
//! loop that ends in a PANIC of the server if that fails too; the context may ask for a whole block. So each backend
//! holds a ballast, and drops it when memory is out.

use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::{c_int, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::cell::BackendCell;
use crate::error::Error;

/// A block that a memory context asks for even if it could not have a larger one (`AllocSetAlloc`), and room for the
/// error's own texts. Nobody writes to it, so it takes address space and no memory.
const BALLAST_BYTES: usize = 1024 * 1024 + 128 * 1024;

thread_local! {
    static BALLAST: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Whether the ballast is there.
static HELD: BackendCell<bool> = BackendCell::new(false);

/// Where the server calls [`error_raised`] from.
struct Watcher(std::cell::UnsafeCell<pg_sys::ErrorContextCallback>);

// SAFETY: a backend has one thread that reaches it.
unsafe impl Sync for Watcher {}

static WATCHER: Watcher = Watcher(std::cell::UnsafeCell::new(pg_sys::ErrorContextCallback {
    previous: std::ptr::null_mut(),
    callback: Some(error_raised),
    arg: std::ptr::null_mut(),
}));

unsafe extern "C-unwind" {
    /// utils/elog.h: the SQLSTATE of the error that is being raised.
    fn geterrcode() -> c_int;
}

/// Installs the hook for allocations of Rust's.
pub fn init() {
    std::alloc::set_alloc_error_hook(failed);
}

/// Before a statement is planned, and before it runs: has the server tell of its errors, and takes the ballast. Raises an
/// error if there is no room for it, since a second allocation that fails could not be told of.
pub fn require() {
    if !watch() {
        Error::OutOfMemory(BALLAST_BYTES).raise();
    }
}

/// As [`require`], for what must run in any state. Returns whether the ballast is there.
pub fn watch() -> bool {
    // SAFETY: the list of callbacks belongs to the frames that are running; ours is a static that stays, and stands
    // at the end of the list. A frame that ends restores what was behind it, which is ours.
    unsafe {
        let ours = WATCHER.0.get();
        let mut link = &raw mut pg_sys::error_context_stack;
        while !(*link).is_null() && *link != ours {
            link = &raw mut (**link).previous;
        }
        *link = ours;
    }
    if !HELD.get() {
        let mut room = Vec::new();
        if room.try_reserve_exact(BALLAST_BYTES).is_ok() {
            BALLAST.set(Some(room));
            HELD.set(true);
        }
    }
    HELD.get()
}

fn drop_ballast() {
    if HELD.replace_with(false) {
        drop(BALLAST.take());
    }
}

/// Called by the server for each message that it reports, before it looks for whom to throw it to. It must not
/// raise an error itself.
unsafe extern "C-unwind" fn error_raised(_: *mut c_void) {
    #[allow(ffi_unwind_calls)] // reads a static
    // SAFETY: the server is reporting a message.
    if unsafe { geterrcode() } == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int {
        drop_ballast();
    }
}

fn failed(layout: Layout) {
    drop_ballast();
    Error::OutOfMemory(layout.size()).raise();
}
