//! One transaction holds one principal; and what a principal made in the session (cursors WITH HOLD,
//! temporary tables, sequence values) is its own: the next principal finds none of it, and whoever
//! has no context cannot touch it. Nobody counts as a principal too: a temporary table that was made
//! without a context could stand in the way of a table that the next one means.

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{hooks, session, spi, xact};

use super::current::current;
use super::principal::Who;

/// The principal of the current transaction.
static HERE: BackendCell<Option<Who>> = BackendCell::new(None);
/// The principal that what is left in the session belongs to.
static LAST: BackendCell<Option<Who>> = BackendCell::new(None);
/// The savepoint in which this transaction cleared away, and whose leftovers they were: dropping a
/// table is undone with its savepoint.
static CLEARED: BackendCell<Option<(u32, Who)>> = BackendCell::new(None);
/// The savepoint in which this transaction narrowed its context.
static NARROWED: BackendCell<Option<u32>> = BackendCell::new(None);

/// An error if this transaction already has another principal.
pub fn check(who: Who) -> Result<(), Error> {
    match HERE.get() {
        Some(here) if here != who => Err(Error::Rebound),
        _ => Ok(()),
    }
}

/// The context of `who` begins, or goes on.
pub fn enter(who: Who) -> Result<(), Error> {
    check(who)?;
    if session::parallel_leader().is_none() {
        pass_to(who)?;
    }
    HERE.set(Some(who));
    Ok(())
}

/// Something that was left in the session is about to be read or written.
pub fn touch() -> Result<(), Error> {
    let Some(last) = LAST.get() else {
        return Ok(());
    };
    // Whoever comes by a ticket comes now, and what was left goes: too late for this statement.
    let who = current()?.map_or(Who::Nobody, |now| now.who);
    if who == last {
        Ok(())
    } else {
        Err(Error::Leftover)
    }
}

/// Something is about to be made that stays in the session.
pub fn make() -> Result<(), Error> {
    match (LAST.get(), current()?) {
        (Some(_), None) => pass_to(Who::Nobody),
        _ => Ok(()),
    }
}

fn pass_to(who: Who) -> Result<(), Error> {
    if let Some(last) = LAST.get().filter(|last| *last != who) {
        clear_away()?;
        CLEARED.set(Some((xact::savepoint(), last)));
    }
    LAST.set(Some(who));
    Ok(())
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

/// The transaction is over.
pub fn end_transaction(committed: bool) {
    if let (false, Some((_, last))) = (committed, CLEARED.get()) {
        LAST.set(Some(last));
    }
    CLEARED.set(None);
    NARROWED.set(None);
    HERE.set(None);
}

/// A savepoint, and what began after it, is undone.
pub fn abort_savepoint(savepoint: u32) {
    if let Some((cleared, last)) = CLEARED.get()
        && cleared >= savepoint
    {
        LAST.set(Some(last));
        CLEARED.set(None);
        // The same principal may go on, and then clears away again.
        xact::new_generation();
    }
    if NARROWED.get().is_some_and(|at| at >= savepoint) {
        NARROWED.set(None);
    }
}

fn clear_away() -> Result<(), Error> {
    if hooks::held_cursor_was_declared() {
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
    session::forget_temporary();
    Ok(())
}
