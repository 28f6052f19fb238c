//! A transaction has one principal. No object that a principal creates in the session reaches the next
//! principal, or a client without a context: no cursor WITH HOLD, temporary table, currval(), prepared
//! statement, LISTEN or advisory lock.
//!
//! A context that ends with its transaction begins in a clean session and leaves a clean one. A pool gives
//! the connection to any client, and objects left there (a temporary table in place of another, a function,
//! a type) would run with the next client's context. A session context keeps its objects until it is
//! released or another principal enters. Maintenance keeps everything. Slots until the end of the session stay until another user
//! enters.
//!
//! The statement that authenticates runs before the context begins: a type of a client without a context
//! could read the credential. So objects of such a client end with its transaction too.

use tenancy_core::principal::Principal;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::hooks::session_statements;
use crate::pg::session::settings;
use crate::pg::transaction_end::Ending;
use crate::pg::{guc, hooks, session, slots, spi, xact};

/// How long objects that a context creates in the session may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLifetime {
    /// Until another principal enters.
    Session,
    /// Until the transaction ends.
    Transaction,
}

/// The principal of the current transaction.
static HERE: BackendCell<Option<(Principal, SessionLifetime)>> = BackendCell::new(None);
/// The last principal that had a session context.
static LAST: BackendCell<Option<Principal>> = BackendCell::new(None);
/// The savepoint in which this transaction cleared the session, and the last principal at that time:
/// rolling back the savepoint restores dropped tables.
static CLEARED: BackendCell<Option<(u32, Option<Principal>)>> = BackendCell::new(None);
/// Whether a rollback restored what this transaction had cleared.
static UNDONE: BackendCell<bool> = BackendCell::new(false);
/// A ticket's principal, for whom this transaction cleared the session before the first use.
static EARLY: BackendCell<Option<Principal>> = BackendCell::new(None);
/// Whether the session stops listening if this transaction commits.
static UNLISTENING: BackendCell<bool> = BackendCell::new(false);
/// How many [`InternalQuery`] are alive.
static BUSY: BackendCell<u32> = BackendCell::new(0);
/// The savepoint in which this transaction narrowed its context.
static NARROWED: BackendCell<Option<u32>> = BackendCell::new(None);

/// Raises an error if this transaction already has another principal.
pub fn check(principal: Principal) -> Result<(), Error> {
    match HERE.get() {
        Some((here, _)) if here != principal => Err(Error::Rebound),
        _ => Ok(()),
    }
}

/// Begins or continues the context of `who`.
pub fn enter(principal: Principal, stay: SessionLifetime) -> Result<(), Error> {
    check(principal)?;
    let first = HERE.get().is_none();
    if session::parallel_leader().is_none() {
        let another = LAST.get().is_some_and(|last| last != principal);
        // Objects created since belong to the ticket's principal.
        let cleared = EARLY.get() == Some(principal);
        if another || UNDONE.get() || (first && stay == SessionLifetime::Transaction && !cleared) {
            clear_for_next()?;
        }
        LAST.set((stay == SessionLifetime::Session).then_some(principal));
        if let Principal::User(user) = principal {
            slots::entered(user.as_bytes());
        }
    }
    if first {
        HERE.set(Some((principal, stay)));
    }
    Ok(())
}

/// Returns whether leftovers may have to be cleared before the first use of a ticket's principal.
pub fn is_expecting() -> bool {
    BUSY.get() == 0 && HERE.get().is_none() && EARLY.get().is_none()
}

/// Clears away what was left for a ticket's principal, before its first use.
pub fn clear_early(principal: Principal) -> Result<(), Error> {
    clear_for_next()?;
    LAST.set(None);
    EARLY.set(Some(principal));
    Ok(())
}

fn clear_for_next() -> Result<(), Error> {
    let last = LAST.get();
    clear_away()?;
    UNDONE.set(false);
    CLEARED.set(Some((xact::savepoint(), last)));
    Ok(())
}

/// Live while tenancy runs its own queries, which are not statements of a client.
pub struct InternalQuery;

/// Returns whether tenancy runs its own queries.
pub fn is_busy() -> bool {
    BUSY.get() > 0
}

impl InternalQuery {
    /// Begins such a query. Dropping the value ends it, also on an error.
    pub fn begin() -> Self {
        BUSY.set(BUSY.get() + 1);
        Self
    }
}

impl Drop for InternalQuery {
    fn drop(&mut self) {
        BUSY.set(BUSY.get().saturating_sub(1));
    }
}

/// Notes that the context was narrowed.
pub fn narrowed() {
    if NARROWED.get().is_none() {
        NARROWED.set(Some(xact::savepoint()));
    }
}

/// Returns whether the context was narrowed in this transaction.
pub fn is_narrowed() -> bool {
    NARROWED.get().is_some()
}

/// Clears the session after its context is released.
pub fn released() -> Result<(), Error> {
    if LAST.get().is_some() {
        clear_away()
    } else {
        Ok(())
    }
}

/// Clears the session before the transaction commits or is prepared.
pub fn before_commit(ending: Ending) -> Result<(), Error> {
    let pooled = guc::pooled();
    let passing = match HERE.get() {
        Some((_, stay)) => stay == SessionLifetime::Transaction,
        None => guc::has_ticket(),
    };
    if passing || (pooled && !maintained()) {
        match ending {
            Ending::Commit => clear_away()?,
            // The server itself refuses to prepare a transaction with cursors, temporary objects or LISTEN.
            Ending::Prepare => session::release_advisory_locks(),
        }
    } else if ending == Ending::Commit
        && !keeps()
        && hooks::has_leftovers()
        && session::has_temporary()
        && hooks::behind_clients()
    {
        hooks::take_leftovers();
        session::drop_temporary();
    }
    settings::before_commit(pooled, hooks::behind_clients);
    Ok(())
}

/// Returns whether objects stay for the next transactions.
fn keeps() -> bool {
    match HERE.get() {
        Some((_, stay)) => stay == SessionLifetime::Session,
        None => guc::has_session_context(),
    }
}

fn maintained() -> bool {
    matches!(HERE.get(), Some((Principal::Maintenance, _)))
}

/// Resets the state at the transaction's end.
pub fn end_transaction(committed: bool) {
    if let (false, Some((_, last))) = (committed, CLEARED.get()) {
        LAST.set(last);
        hooks::note_leftovers();
    }
    if session::parallel_leader().is_none() {
        session_statements::end_transaction(keeps());
        if committed && UNLISTENING.get() {
            hooks::unlistened();
        }
        let passing = matches!(HERE.get(), Some((_, SessionLifetime::Transaction)));
        if !committed && (passing || guc::pooled()) {
            session::release_advisory_locks();
        }
    }
    UNLISTENING.set(false);
    CLEARED.set(None);
    EARLY.set(None);
    UNDONE.set(false);
    NARROWED.set(None);
    HERE.set(None);
}

/// Handles the rollback of a savepoint and of everything after it.
pub fn abort_savepoint(savepoint: u32) {
    if let Some((cleared, last)) = CLEARED.get()
        && cleared >= savepoint
    {
        LAST.set(last);
        CLEARED.set(None);
        EARLY.set(None);
        UNDONE.set(true);
        hooks::note_leftovers();
        xact::new_generation();
    }
    if NARROWED.get().is_some_and(|at| at >= savepoint) {
        NARROWED.set(None);
    }
}

fn clear_away() -> Result<(), Error> {
    let _busy = InternalQuery::begin();
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
    session_statements::drop_prepared();
    session::release_advisory_locks();
    settings::before_context(hooks::behind_clients);
    if hooks::listens() && hooks::behind_clients() {
        session::unlisten();
        UNLISTENING.set(true);
    }
    Ok(())
}
