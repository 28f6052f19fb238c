//! What an allocation does that fails: an ERROR of the statement (53200), as the server's own `palloc` raises. Rust's
//! own answer ends the process, and with it every session of the server.
//!
//! An error needs memory itself. pgrx copies the server's errors into the context of the moment, and is caught in a
//! loop that ends in a PANIC of the server if that fails too; the context may ask for a whole block. So each backend
//! holds a ballast, and drops it when memory is out.

use std::alloc::Layout;
use std::cell::Cell;

use super::cell::BackendCell;
use super::raise;
use crate::error::Error;

/// A block that a memory context asks for even if it could not have a larger one (`AllocSetAlloc`), and room for the
/// error's own texts. Nobody writes to it, so it takes address space and no memory.
const BALLAST_BYTES: usize = 1024 * 1024 + 128 * 1024;

thread_local! {
    static BALLAST: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Whether the ballast is there.
static HELD: BackendCell<bool> = BackendCell::new(false);

/// Installs the hook for allocations of Rust's.
pub fn init() {
    std::alloc::set_alloc_error_hook(failed);
    raise::on_out_of_memory(drop_ballast);
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
