//! What the running statements have added to and taken from counters, and tables that they have to count anew.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::pg_sys;
use tenancy_core::quota::changes::{Change, Changes, Overflow};

use super::definitions::Quota;
use crate::pg::hooks::frames;

/// What a statement has to do at its end.
#[derive(Default)]
pub struct Done {
    /// The changes of counters, sorted.
    pub changes: Vec<Change>,
    /// The quotas that they are of.
    pub quotas: Vec<Rc<Quota>>,
    /// Tables to count anew.
    pub uncounted: Vec<pg_sys::Oid>,
}

#[derive(Default)]
struct Frame {
    depth: usize,
    changes: Changes,
    /// The quotas that they are of, as they were when the first row was counted.
    quotas: Vec<Rc<Quota>>,
    /// Tables with rows that no trigger has counted.
    uncounted: Vec<pg_sys::Oid>,
}

/// A counter that went below zero.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Below {
    /// The quota.
    pub quota: i32,
    /// The tenant.
    pub tenant: String,
    /// The key.
    pub key: String,
    /// Whether it stays when it counts nothing.
    pub stays: bool,
}

thread_local! {
    /// Those of the client's statement, sorted. After a savepoint's rollback some may be so no more.
    static BELOW: RefCell<Vec<Below>> = const { RefCell::new(Vec::new()) };
    /// The innermost last; statements that change nothing have none.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

fn with<R>(f: impl FnOnce(&mut Frame) -> R) -> R {
    let depth = frames::depth();
    FRAMES.with_borrow_mut(|frames| match frames.last_mut() {
        Some(frame) if frame.depth == depth => f(frame),
        _ => {
            let mut frame = Frame {
                depth,
                ..Frame::default()
            };
            let result = f(&mut frame);
            frames.push(frame);
            result
        }
    })
}

/// Adds to the changes of the current statement.
#[inline]
pub fn add(
    quota: &Rc<Quota>,
    f: impl FnOnce(&mut Changes) -> Result<(), Overflow>,
) -> Result<(), Overflow> {
    with(|frame| {
        if !frame.quotas.iter().any(|known| known.id == quota.id) {
            frame.quotas.push(quota.clone());
        }
        f(&mut frame.changes)
    })
}

/// Notes a table that is to be counted anew at the end of the current statement.
pub fn count_anew(table: pg_sys::Oid) {
    with(|frame| {
        if !frame.uncounted.contains(&table) {
            frame.uncounted.push(table);
        }
    });
}

/// Takes what was begun at a depth or deeper.
#[inline]
pub fn take(depth: usize) -> Option<Done> {
    FRAMES.with_borrow_mut(|frames| {
        let frame = frames.pop_if(|frame| frame.depth >= depth)?;
        Some(Done {
            changes: frame.changes.finish(),
            quotas: frame.quotas,
            uncounted: frame.uncounted,
        })
    })
}

/// Notes a counter that went below zero.
#[cold]
pub fn note_below(counter: Below) {
    BELOW.with_borrow_mut(|below| {
        if let Err(place) = below.binary_search(&counter) {
            below.insert(place, counter);
        }
    });
}

/// Returns the counters that went below zero.
#[inline]
pub fn below() -> Vec<Below> {
    BELOW.with_borrow(Clone::clone)
}

/// Forgets the counters that went below zero.
pub fn none_below() {
    BELOW.take();
}

/// Drops what was begun deeper than a depth.
pub fn forget(depth: usize, all: bool) {
    if all {
        none_below();
    }
    FRAMES.with(|frames| {
        if let Ok(mut frames) = frames.try_borrow_mut() {
            frames.retain(|frame| !all && frame.depth <= depth);
        }
    });
}
