//! One transaction holds one principal; and nothing that a principal made in the session reaches the
//! next one, or somebody without a context: no cursor WITH HOLD, no temporary table, no currval().
//!
//! A context that ends with its transaction begins in a clean session and leaves a clean one: a pooled
//! connection goes to anybody, and what anybody left there (a temporary table in the place of another,
//! a function, a type) would run with the context of the next. A session context keeps what it made
//! until it is released or another principal comes. Maintenance keeps everything.

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{guc, hooks, session, spi, xact};

use super::current::current;
use super::principal::Who;

/// How long what a context makes in the session may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Until another principal comes.
    Session,
    /// Until the transaction ends.
    Transaction,
}

/// The principal of the current transaction.
static HERE: BackendCell<Option<(Who, Stay)>> = BackendCell::new(None);
/// The last principal that had a session context.
static LAST: BackendCell<Option<Who>> = BackendCell::new(None);
/// The savepoint in which this transaction cleared away, and who was last then: dropping a table is
/// undone with its savepoint.
static CLEARED: BackendCell<Option<(u32, Option<Who>)>> = BackendCell::new(None);
/// What this transaction had cleared away is back.
static UNDONE: BackendCell<bool> = BackendCell::new(false);
/// How many [`Busy`] are alive.
static BUSY: BackendCell<u32> = BackendCell::new(0);
/// The savepoint in which this transaction narrowed its context.
static NARROWED: BackendCell<Option<u32>> = BackendCell::new(None);

/// An error if this transaction already has another principal.
pub fn check(who: Who) -> Result<(), Error> {
    match HERE.get() {
        Some((here, _)) if here != who => Err(Error::Rebound),
        _ => Ok(()),
    }
}

/// The context of `who` begins, or goes on.
pub fn enter(who: Who, stay: Stay) -> Result<(), Error> {
    check(who)?;
    let first = HERE.get().is_none();
    if session::parallel_leader().is_none() {
        let last = LAST.get();
        let another = last.is_some_and(|last| last != who);
        if another || UNDONE.get() || (first && stay == Stay::Transaction) {
            clear_away()?;
            UNDONE.set(false);
            CLEARED.set(Some((xact::savepoint(), last)));
        }
        LAST.set((stay == Stay::Session).then_some(who));
    }
    if first {
        HERE.set(Some((who, stay)));
    }
    Ok(())
}

/// A statement is about to run in a session where something was left: whoever comes by a ticket
/// comes now, and not when the statement is already under way.
pub fn before_statement() -> Result<(), Error> {
    if BUSY.get() == 0 && HERE.get().is_none() && guc::has_ticket() && !xact::parallel() {
        current()?;
    }
    Ok(())
}

/// Alive while tenancy runs queries of its own, which are no statement of anybody's.
pub struct Busy;

/// Whether tenancy runs queries of its own.
pub fn is_busy() -> bool {
    BUSY.get() > 0
}

impl Busy {
    /// Until the value is dropped, also by an error.
    pub fn begin() -> Self {
        BUSY.set(BUSY.get() + 1);
        Self
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(BUSY.get().saturating_sub(1));
    }
}

/// The context was narrowed.
pub fn narrowed() {
    if NARROWED.get().is_none() {
        NARROWED.set(Some(xact::savepoint()));
    }
}

/// Whether the context was narrowed in this transaction.
pub fn is_narrowed() -> bool {
    NARROWED.get().is_some()
}

/// The session's context is released.
pub fn released() -> Result<(), Error> {
    if LAST.get().is_some() {
        clear_away()
    } else {
        Ok(())
    }
}

/// The transaction is about to commit.
pub fn before_commit() -> Result<(), Error> {
    let passing = match HERE.get() {
        Some((_, stay)) => stay == Stay::Transaction,
        None => guc::has_ticket(),
    };
    if passing { clear_away() } else { Ok(()) }
}

/// The transaction is over.
pub fn end_transaction(committed: bool) {
    if let (false, Some((_, last))) = (committed, CLEARED.get()) {
        LAST.set(last);
        hooks::note_leftovers();
    }
    CLEARED.set(None);
    UNDONE.set(false);
    NARROWED.set(None);
    HERE.set(None);
}

/// A savepoint, and what began after it, is undone.
pub fn abort_savepoint(savepoint: u32) {
    if let Some((cleared, last)) = CLEARED.get()
        && cleared >= savepoint
    {
        LAST.set(last);
        CLEARED.set(None);
        UNDONE.set(true);
        hooks::note_leftovers();
        xact::new_generation();
    }
    if NARROWED.get().is_some_and(|at| at >= savepoint) {
        NARROWED.set(None);
    }
}

fn clear_away() -> Result<(), Error> {
    let _busy = Busy::begin();
    if hooks::take_held_cursors() {
        let held = spi::read(
            "SELECT name FROM pg_catalog.pg_cursors WHERE is_holdable",
            &[],
            |rows| {
                rows.into_iter()
                    .map(|row| Ok(row.get::<String>(1)?))
                    .collect::<Result<Vec<_>, Error>>()
            },
        )?;
        for name in held.into_iter().flatten() {
            session::close_cursor(&name)?;
        }
    }
    if hooks::take_leftovers() {
        session::drop_temporary();
    }
    session::forget_sequences();
    Ok(())
}
