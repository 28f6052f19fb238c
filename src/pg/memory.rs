//! Turns a failed allocation into an ERROR of the statement (53200), as the server's own `palloc` does. By default
//! Rust ends the process, and with it every session of the server.
//!
//! An error needs memory itself. pgrx copies the server's errors into the current context, which may need a whole
//! block. If that fails too, the result is a loop that ends in a PANIC of the server. So each backend holds a ballast,
//! and frees it when memory is exhausted.

use std::alloc::Layout;
use std::cell::Cell;

use super::cell::BackendCell;
use super::raise;
use crate::error::Error;

/// The size of a block that a memory context requests after a larger one failed (`AllocSetAlloc`), and room for the
/// error's texts. It is never written, so it takes address space and no memory.
const BALLAST_BYTES: usize = 1024 * 1024 + 128 * 1024;

thread_local! {
    static BALLAST: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Whether the ballast is allocated.
static HELD: BackendCell<bool> = BackendCell::new(false);

/// Installs the hook for failed allocations of Rust.
pub fn init() {
    std::alloc::set_alloc_error_hook(failed);
    raise::on_out_of_memory(drop_ballast);
}

/// Called before a statement is planned, and before it runs: registers the error callback and allocates the ballast.
/// Raises an error if that fails, because a second failed allocation could not be reported.
pub fn require() {
    if !watch() {
        Error::OutOfMemory(BALLAST_BYTES).raise();
    }
}

/// Does what [`require`] does, for code that must always run. Returns whether the ballast is allocated.
pub fn watch() -> bool {
    raise::watch();
    if !HELD.get() {
        let mut room = Vec::new();
        if room.try_reserve_exact(BALLAST_BYTES).is_ok() {
            BALLAST.set(Some(room));
            HELD.set(true);
        }
    }
    HELD.get()
}

/// Memory is out: makes room for the error.
fn drop_ballast() {
    if HELD.replace_with(false) {
        drop(BALLAST.take());
    }
}

fn failed(layout: Layout) {
    drop_ballast();
    Error::OutOfMemory(layout.size()).raise();
}
