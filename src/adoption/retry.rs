//! Transactions that wait for locks only briefly, and are tried again.

use std::ffi::CString;
use std::thread::sleep;
use std::time::Duration;

use tenancy_core::policy::{Actor, Relation};

use crate::error::Error;
use crate::pg::procedure::{Procedure, Transactions};
use crate::pg::savepoint;
use crate::pg::spi::{self, NotNull};
use crate::policy;

/// How long a transaction waits for a lock by default, how often it is tried, and how long it pauses in between.
pub const LOCK_TIMEOUT: &str = "2s";
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// The transactions of a procedure.
pub struct Patient {
    lock_timeout: String,
    transactions: Transactions,
}

impl Patient {
    /// Those of a procedure; an error if it is called in a transaction.
    pub fn new(lock_timeout: String, procedure: &Procedure) -> Result<Self, Error> {
        Ok(Self {
            lock_timeout,
            transactions: procedure.transactions().ok_or(Error::AdoptInTransaction)?,
        })
    }

    /// Commits, and begins the next one.
    pub fn commit(&self) {
        self.transactions.commit();
    }

    /// Builds an index while writers go on, between two transactions. What is left of an index of that name that was not finished
    /// is dropped first.
    pub fn build_index(&self, statement: &str, index: &Relation, table: &str) -> Result<(), Error> {
        self.run(table, || {
            if is_building(table)? {
                return Err(Error::AdoptWaits(table.to_owned()));
            }
            drop_unfinished(index)
        })?;
        let statement =
            CString::new(statement).map_err(|_| Error::Internal("a statement with a zero"))?;
        // Writers do not wait for it: it may wait for them as long as the session allows.
        match self.transactions.between(&statement) {
            true => Ok(()),
            false => Err(Error::AdoptInTransaction),
        }
    }

    /// Runs a body that locks a table, and tries it again where another session holds a lock.
    pub fn run<T>(&self, table: &str, body: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            let done = savepoint::within_locks(|| {
                wait_at_most(&self.lock_timeout)?;
                body()
            });
            match done {
                Some(done) => return done,
                None if tries == TRIES => return Err(Error::AdoptWaits(table.to_owned())),
                None => tries += 1,
            }
            // Sessions that wait behind this one go first.
            self.commit();
            sleep(PAUSE);
            pgrx::check_for_interrupts!();
        }
    }
}

/// Returns whether another session builds an index on a table: two would wait for each other. Of others' builds everybody sees the
/// process.
fn is_building(table: &str) -> Result<bool, Error> {
    is_true(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p JOIN pg_catalog.pg_locks l ON l.pid = p.pid \
           WHERE l.relation = pg_catalog.to_regclass($1) AND p.pid <> pg_catalog.pg_backend_pid())",
        table,
    )
}

/// Drops an index that a build left invalid, unless a session still builds it.
fn drop_unfinished(index: &Relation) -> Result<(), Error> {
    let name = index.to_string();
    let unfinished = is_true(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_index x WHERE x.indexrelid = pg_catalog.to_regclass($1) AND NOT x.indisvalid \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid))",
        &name,
    )?;
    if unfinished {
        policy::pinned(|| {
            policy::execute_statement(&format!("DROP INDEX {name}"), Actor::Invoker, &name)
        })?;
    }
    Ok(())
}

/// Returns what a query about one relation answers, as the caller sees it.
fn is_true(query: &'static str, relation: &str) -> Result<bool, Error> {
    spi::read_as_caller(query, &[relation.to_owned().into()], |rows| {
        match rows.into_iter().next() {
            Some(row) => row.not_null::<bool>(1),
            None => Ok(false),
        }
    })
}

/// Sets lock_timeout for this transaction.
pub fn wait_at_most(lock_timeout: &str) -> Result<(), Error> {
    spi::read_as_caller(
        "SELECT pg_catalog.set_config('lock_timeout', $1, true)",
        &[lock_timeout.to_owned().into()],
        |_| Ok(()),
    )
}
