//! Statements within statements: what is to be done once at the end of each. A query's triggers run in its frame, and so does what a
//! utility statement such as COPY or TRUNCATE does.

use std::cell::RefCell;

use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::hooks::noted;
use crate::pg::xact;

/// The callbacks of a room.
#[derive(Clone, Copy)]
pub struct OnFrame {
    /// Called at the end of a frame, with its depth: it ends what was begun there and deeper.
    pub end: fn(depth: usize) -> Result<(), Error>,
    /// Called when a rollback leaves this depth: what was begun deeper never ends. From depth 0 on, everything.
    pub forget: fn(depth: usize, all: bool),
}

static ON: BackendCell<Option<OnFrame>> = BackendCell::new(None);

thread_local! {
    /// The savepoint in which each frame began, the innermost last.
    static FRAMES: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Registers the callbacks for the backend's lifetime.
pub fn init(on: OnFrame) {
    ON.set(Some(on));
}

/// Returns the current depth: 0 outside all statements.
pub fn depth() -> usize {
    FRAMES.with_borrow(Vec::len)
}

/// Returns whether a frame that is ending is in no other, and in no query that is running.
pub fn is_outermost(depth: usize) -> bool {
    depth <= 1 && noted::activities() == 0
}

/// Begins a frame, and returns its depth for [`end`]. After an error [`forget`] ends it.
#[pg_guard]
pub unsafe extern "C-unwind" fn begin() -> usize {
    FRAMES.with_borrow_mut(|frames| {
        frames.push(xact::savepoint());
        frames.len()
    })
}

/// Ends the frame of this depth, and raises the error of what is done then. It may run queries.
#[pg_guard]
pub unsafe extern "C-unwind" fn end(depth: usize) {
    if let Some(on) = ON.get()
        && let Err(error) = (on.end)(depth)
    {
        error.raise();
    }
    leave(depth);
}

/// Leaves the frame of this depth without ending it.
pub fn leave(depth: usize) {
    FRAMES.with_borrow_mut(|frames| frames.truncate(depth.saturating_sub(1)));
}

/// Drops the frames of a transaction that ended (0), or of a savepoint that was rolled back.
pub fn forget(savepoint: u32) {
    let left = FRAMES.with_borrow_mut(|frames| {
        while frames.last().is_some_and(|began| *began >= savepoint) {
            frames.pop();
        }
        frames.len()
    });
    if let Some(on) = ON.get() {
        (on.forget)(left, savepoint == 0);
    }
}
