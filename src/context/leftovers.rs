//! One transaction holds one principal; and when a session passes from one principal to the next,
//! nothing the first one made in it is left: no holdable cursor, no temporary table, no currval().

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{session, spi, utility, xact};

use super::current::Who;

/// The principal of the current transaction.
static HERE: BackendCell<Option<Who>> = BackendCell::new(None);
/// The last principal of the session.
static LAST: BackendCell<Option<Who>> = BackendCell::new(None);
/// The savepoint in which this transaction cleared away, and whose leftovers they were: dropping a
/// table is undone with its savepoint.
static CLEARED: BackendCell<Option<(u32, Who)>> = BackendCell::new(None);

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
        if let Some(last) = LAST.get().filter(|last| *last != who) {
            clear_away()?;
            CLEARED.set(Some((xact::savepoint(), last)));
        }
        LAST.set(Some(who));
    }
    HERE.set(Some(who));
    Ok(())
}

/// The transaction is over.
pub fn end_transaction(committed: bool) {
    if let (false, Some((_, last))) = (committed, CLEARED.get()) {
        LAST.set(Some(last));
    }
    CLEARED.set(None);
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
}

fn clear_away() -> Result<(), Error> {
    if utility::held_cursor_was_declared() {
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
