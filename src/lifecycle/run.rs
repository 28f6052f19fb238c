//! The batches of a procedure, each a transaction of its own in maintenance. What is left is planned again at each call, so that one that
//! was interrupted is resumed by the next.

use pgrx::prelude::*;
use tenancy_core::lifecycle::{Change, Facts, Link, Stage, Table};
use uuid::Uuid;

use super::batch::{self, Way};
use super::plan::Plan;
use crate::adoption::{LOCK_TIMEOUT, Patient, wait_at_most};
use crate::audit;
use crate::context::Maintained;
use crate::error::Error;
use crate::pg::procedure::Procedure;
use crate::pg::{savepoint, xact};
use crate::policy;

/// How many rows a batch may have.
const BATCH_MAX: i32 = 1_000_000;
/// How often all tables are emptied again because rows were found in them afterwards.
pub const PASSES_MAX: usize = 10;

/// What the caller of a procedure asks for.
pub struct Call {
    procedure: &'static str,
    /// Why, as the record has it.
    pub reason: String,
    /// Whether it is only told what would be done.
    pub dry_run: bool,
    batch: u32,
    lock_timeout: String,
}

impl Call {
    /// Checks the arguments that both procedures have.
    pub fn new(
        procedure: &'static str,
        reason: Option<&str>,
        batch_rows: Option<i32>,
        dry_run: Option<bool>,
        lock_timeout: Option<String>,
    ) -> Result<Self, Error> {
        let reason = audit::checked_reason(reason)?.to_owned();
        let batch = batch_rows.ok_or(Error::Null("batch_rows"))?;
        if !(1..=BATCH_MAX).contains(&batch) {
            return Err(Error::bad(
                format!("batch_rows must be from 1 to {BATCH_MAX}"),
                "It is how many rows a transaction deletes, and locks until it ends.",
            ));
        }
        let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
        wait_at_most(&lock_timeout)?;
        // Batches would not see what others have committed since they began, such as a legal hold.
        if xact::is_serializable() {
            return Err(Error::bad(
                format!("{procedure} needs the isolation level READ COMMITTED"),
                "SET default_transaction_isolation = 'read committed', and call it again.",
            ));
        }
        Ok(Self {
            procedure,
            reason,
            dry_run: dry_run.unwrap_or(false),
            batch: batch.unsigned_abs(),
            lock_timeout,
        })
    }

    /// Begins maintenance. Its reason is a short line.
    pub fn maintain(&self) -> Result<Maintained, Error> {
        let reason: String = self.reason.chars().take(250).collect();
        Maintained::begin(&format!("{}: {reason}", self.procedure))
    }

    /// Begins the record, commits it, and begins the rest.
    pub fn run<R>(
        &self,
        procedure: &Procedure,
        record: impl FnOnce() -> Result<R, Error>,
    ) -> Result<Run<R>, Error> {
        let transactions = Patient::new(self.lock_timeout.clone(), procedure)?;
        let record = record()?;
        // A user's context ends here: it was for this transaction.
        transactions.commit();
        Ok(Run {
            record,
            transactions,
            maintained: self.maintain()?,
            batch: self.batch,
        })
    }
}

/// Returns a number by which other sessions see that a tenant or a user is leaving.
pub fn lock_key(scope: Uuid) -> u32 {
    let [.., a, b, c, d] = *scope.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Returns all tables and parts that a writer may have locked.
pub fn locked(facts: &Facts) -> Vec<pg_sys::Oid> {
    (facts.tables.iter())
        .flat_map(|table| table.parts.iter().map(|part| part.oid).chain([table.oid]))
        .map(pg_sys::Oid::from_u32)
        .collect()
}

/// The record of a procedure.
pub trait Record {
    /// Raises an error unless what it records may go on, and keeps it so until the transaction ends.
    fn check(&self) -> Result<(), Error>;
    /// Records that rows of a table were deleted or changed; `done`: all of them that there were.
    fn note(&self, table: &str, change: &Change, rows: u64, done: bool) -> Result<(), Error>;
    /// Records an error.
    fn note_failure(&self, error: &str) -> Result<(), Error>;
}

/// A procedure under way.
pub struct Run<R> {
    /// Its record.
    pub record: R,
    /// Its transactions.
    pub transactions: Patient,
    /// That it is in maintenance.
    pub maintained: Maintained,
    /// How many rows a batch has.
    pub batch: u32,
}

impl<R: Record> Run<R> {
    /// Runs a transaction in maintenance as long as what it works on may leave, and commits it. An error is recorded.
    pub fn transaction<T>(
        &self,
        table: &str,
        body: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = self.transactions.run(table, || {
            Ok(savepoint::refused(|| {
                let body = || {
                    self.maintained.again()?;
                    self.record.check()?;
                    policy::pinned(&body)
                };
                body().unwrap_or_else(|error: Error| error.raise())
            }))
        })?;
        match done {
            Ok(done) => {
                self.transactions.commit();
                Ok(done)
            }
            Err(refused) => {
                self.record.note_failure(&refused.message())?;
                self.transactions.commit();
                refused.raise()
            }
        }
    }

    /// Empties all tables once. Returns how many rows it deleted.
    pub fn pass(&self, plan: &Plan) -> Result<u64, Error> {
        let mut deleted = 0;
        for stage in &plan.stages {
            deleted += match stage.circular {
                true => self.circle(plan, stage)?,
                false => {
                    let mut rows = 0;
                    for (table, condition) in
                        stage.tables.iter().filter_map(|place| plan.table(*place))
                    {
                        rows += self.table(&Change::Delete, table, condition)?;
                    }
                    rows
                }
            };
        }
        Ok(deleted)
    }

    /// Deletes or changes the rows of a table with a condition, batch by batch. Returns how many.
    pub fn table(&self, change: &Change, table: &Table, condition: &str) -> Result<u64, Error> {
        let name = table.relation.to_string();
        let expected = self.transaction(&name, || batch::estimate(table, condition))?;
        let all: f64 = table.parts.iter().map(|part| part.rows.max(0.0)).sum();
        let most = 2.0 * all + 100.0 * f64::from(self.batch);
        let mut deleted: u64 = 0;
        for part in &table.parts {
            // As if the tenant's rows were spread evenly.
            let share = if all > 0.0 {
                part.rows.max(0.0) / all
            } else {
                1.0
            };
            let mut way = policy::pinned(|| Way::of(part, expected * share, self.batch))?;
            let mut more = true;
            while more {
                let (rows, left) = self.transaction_mut(&name, &mut way, |way| {
                    let found = way.batch(change, table, part, condition, self.batch)?;
                    self.record.note(&name, change, found.0, false)?;
                    Ok(found)
                })?;
                way.advance(rows, self.batch);
                (deleted, more) = (deleted + rows, left);
                // A trigger after the statement may make rows what they were.
                if matches!(change, Change::Set(_)) && deleted as f64 > most {
                    return Err(Error::ForgottenRowsStay(name));
                }
            }
        }
        self.transaction(&name, || self.record.note(&name, change, 0, true))?;
        Ok(deleted)
    }

    /// The same for a body that needs a mutable value; it may run several times.
    fn transaction_mut<S, T>(
        &self,
        table: &str,
        state: &mut S,
        body: impl Fn(&mut S) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let state = std::cell::RefCell::new(state);
        self.transaction(table, || body(&mut state.borrow_mut()))
    }

    /// Empties tables whose rows refer to each other: rows to which no other refers, batch by batch, as long as these are many; what is
    /// left then, such as rows that refer to each other in a circle, by one statement.
    fn circle(&self, plan: &Plan, stage: &Stage) -> Result<u64, Error> {
        let tables: Vec<(&Table, &str)> = (stage.tables.iter())
            .filter_map(|place| plan.table(*place))
            .collect();
        let among = |oid: Option<u32>| tables.iter().any(|(table, _)| Some(table.oid) == oid);
        let links: Vec<&Link> = (plan.facts.links.iter())
            .filter(|link| among(link.from_root) && among(Some(link.to_root)))
            .collect();
        let mut deleted = 0;
        loop {
            let mut rows = 0;
            for (table, condition) in &tables {
                let name = table.relation.to_string();
                let to: Vec<&Link> = (links.iter().copied())
                    .filter(|link| link.to_root == table.oid)
                    .collect();
                for part in &table.parts {
                    rows += self.transaction(&name, || {
                        let found =
                            batch::delete_leaf_rows(table, part, condition, &to, self.batch)?;
                        self.record.note(&name, &Change::Delete, found, false)?;
                        Ok(found)
                    })?;
                }
            }
            deleted += rows;
            if rows < u64::from(self.batch / 10).max(1) {
                break;
            }
        }
        let name = tables
            .first()
            .map_or_else(String::new, |(table, _)| table.relation.to_string());
        let rest = self.transaction(&name, || {
            let rows = batch::delete_together(&tables)?;
            for ((table, _), rows) in tables.iter().zip(&rows) {
                let (name, rows) = (table.relation.to_string(), rows.unsigned_abs());
                self.record.note(&name, &Change::Delete, rows, true)?;
            }
            Ok(rows)
        })?;
        Ok(deleted + rest.iter().map(|rows| rows.unsigned_abs()).sum::<u64>())
    }
}
