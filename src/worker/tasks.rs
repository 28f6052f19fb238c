//! The worker's periodic tasks. A failed task logs a warning and is retried later; it does not affect the
//! others.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use tenancy_core::partitions::Monthly;
use tenancy_core::time::Length;

use super::{Shift, serve};
use crate::audit::{logins, settings};
use crate::error::Error;
use crate::pg::bgworker;
use crate::pg::counts::Count;
use crate::pg::spi::NotNull;
use crate::pg::workers::{self, Started};
use crate::pg::{extension, spi, time};
use crate::{ledger, metering, partitions};

/// About how many events are rolled up in one transaction.
const ROLL: i32 = 100_000;
/// How many entries a seal has at most.
const SEAL: i32 = 10_000;
/// How often the worker cleans up.
const TIDY: Duration = Duration::from_secs(60);
/// How many unwritten logins keep their names.
const UNWRITTEN: usize = 100_000;
/// How long a failed task pauses.
const REST: Duration = Duration::from_secs(30);
/// How long before a month begins its partition is created.
const AHEAD: Length = Length::from_days(7);

/// How often a task is tried at its interval while an open transaction keeps it from finishing.
const IN_VAIN: u32 = 3;
/// How many intervals such a task waits afterwards.
const SLOWER: u32 = 3;

/// What the tasks found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The extension is in this database.
    There,
    /// It is not in this database: there is never work.
    Gone,
}

/// The schedule of a task.
#[derive(Default)]
struct Turn {
    ran: Option<Instant>,
    /// Until when it pauses after a failure.
    rests_until: Option<Instant>,
    /// How often it did not finish.
    in_vain: u32,
}

impl Turn {
    /// Returns whether the task is due, and notes that it runs.
    fn take(&mut self, now: Instant, every: Duration) -> bool {
        let due = match self.rests_until {
            Some(until) => until <= now,
            None => self.ran.is_none_or(|at| now - at >= self.pace(every)),
        };
        if due {
            self.ran = Some(now);
            self.rests_until = None;
        }
        due
    }

    fn pace(&self, every: Duration) -> Duration {
        match self.in_vain < IN_VAIN {
            true => every,
            false => every * SLOWER,
        }
    }

    /// Returns when the task is due again; `None` for at once.
    fn next(&self, every: Duration) -> Option<Instant> {
        self.rests_until
            .or_else(|| self.ran.map(|at| at + self.pace(every)))
    }

    /// Notes whether an open transaction keeps the task from finishing.
    fn waits(&mut self, waits: bool) {
        self.in_vain = match waits {
            true => self.in_vain.saturating_add(1),
            false => 0,
        };
    }

    /// Logs a failure; other tasks continue.
    fn ended(&mut self, done: Result<(), Stop>) -> Result<(), Stop> {
        if let Err(Stop::Failed(why)) = done {
            self.rests_until = Some(Instant::now() + REST);
            warn(&why);
            return Ok(());
        }
        done
    }
}

/// The schedules of all tasks.
pub struct Tasks {
    shift: Shift,
    /// Whether all counted logins are due.
    write_all: bool,
    tidied: Turn,
    /// The number of evicted counters at the last check.
    evicted: Option<u64>,
    logins: Turn,
    queued: Turn,
    refused: Turn,
    /// Logins that could not be written, and have no place in shared memory.
    unwritten: Vec<Count>,
    sealed: Turn,
    /// Entries of transactions before this one may be unsealed.
    unsealed: Option<u64>,
    rolled: Turn,
    /// Events of transactions before this one may not be rolled up.
    unrolled: Option<u64>,
}

/// Why a task did not finish.
enum Stop {
    Gone,
    Failed(String),
}

impl Tasks {
    /// Creates the tasks; none has run.
    pub fn new(started: Started, shift: Shift) -> Self {
        let mut tasks = Self {
            shift,
            write_all: started.write_all,
            tidied: Turn::default(),
            evicted: None,
            logins: Turn::default(),
            queued: Turn::default(),
            refused: Turn::default(),
            unwritten: Vec::new(),
            sealed: Turn::default(),
            unsealed: None,
            rolled: Turn::default(),
            unrolled: None,
        };
        if !started.tidy {
            tasks.tidied.ran = Some(shift.began);
        }
        tasks.look();
        if started.errand {
            // Earlier workers have tried before.
            (tasks.sealed.in_vain, tasks.rolled.in_vain) = (IN_VAIN, IN_VAIN);
        }
        tasks
    }

    /// Runs what is due.
    pub fn run(&mut self) -> State {
        self.look();
        match self.run_due(Instant::now()) {
            Err(_) => State::Gone,
            Ok(()) => State::There,
        }
    }

    /// Returns when work is due again.
    pub fn next(&mut self) -> tenancy_core::time::Instant {
        self.look();
        let (now, clock) = (Instant::now(), time::now());
        let at = |instant: Option<Instant>| {
            let left = instant.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            clock + Length::from(left)
        };
        let logins = logins::due().map(|due| due.max(at(self.logins.rests_until)));
        let queued = logins::queue_pending().then(|| at(self.queued.rests_until));
        let every = settings::seal_interval();
        let sealed = self.unsealed.map(|_| at(self.sealed.next(every)));
        let every = metering::settings::rollup_interval();
        let rolled = self.unrolled.map(|_| at(self.rolled.next(every)));
        let tidied = self.tidied.rests_until.map(|until| at(Some(until)));
        let refused = ledger::refusals_due().map(|due| due.max(at(self.refused.rests_until)));
        let all = [logins, queued, sealed, rolled, tidied, refused];
        all.into_iter()
            .flatten()
            .min()
            .unwrap_or(tenancy_core::time::Instant::NEVER)
    }

    /// Returns whether something is not sealed or rolled up yet.
    pub fn is_unfinished(&self) -> bool {
        self.unsealed.is_some() || self.unrolled.is_some()
    }

    /// Returns whether the tasks hold logins that are stored nowhere else.
    pub fn holds_something(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Writes queued logins; returns false if there were none, or on failure.
    pub fn write_queued(&mut self) -> bool {
        if !logins::queue_pending() || !self.queued.take(Instant::now(), Duration::ZERO) {
            return false;
        }
        let done = self.write(logins::take_queued());
        let written = done.is_ok();
        // If the extension was dropped, `run` notices.
        let _ = self.queued.ended(done);
        written
    }

    /// Writes logins, with those that could not be written before.
    fn write(&mut self, taken: Vec<Count>) -> Result<(), Stop> {
        let mut all = std::mem::take(&mut self.unwritten);
        all.extend(taken);
        if all.is_empty() {
            return Ok(());
        }
        let done = transaction(c"write logins", || logins::write(&all));
        if done.is_err() {
            self.unwritten = logins::put_back(all);
            if self.unwritten.len() > UNWRITTEN {
                logins::lose(&self.unwritten.split_off(UNWRITTEN));
            }
        }
        done
    }

    /// Keeps only the number of logins that could not be written when this worker exits.
    pub fn let_go(&mut self) {
        logins::lose(&std::mem::take(&mut self.unwritten));
    }

    /// Runs the last work before the worker exits.
    pub fn finish(&mut self) {
        let done = self
            .write(logins::take_queued())
            .and_then(|()| self.write(logins::take_due(true)))
            .and_then(|()| {
                self.unsealed = Some(bgworker::next_xid());
                self.seal()?;
                self.unrolled = Some(bgworker::next_xid());
                self.roll()
            });
        self.let_go();
        if let Err(Stop::Failed(why)) = done {
            warn(&why);
        }
    }

    fn run_due(&mut self, now: Instant) -> Result<(), Stop> {
        if self.tidied.take(now, TIDY) {
            workers::tidying();
            let done = self.tidy();
            self.tidied.ended(done)?;
            if let Some(why) = ledger::thrashing(&mut self.evicted) {
                ereport!(
                    WARNING,
                    PgSqlErrorCode::ERRCODE_WARNING,
                    format!("tenancy worker: {why}"),
                    "Raise tenancy.ledger_entries and restart the server."
                );
            }
        }
        if self.logins.take(now, Duration::ZERO) {
            let done = self.write(logins::take_due(self.write_all));
            self.write_all = false;
            self.logins.ended(done)?;
        }
        if ledger::refusals_due().is_some_and(|due| due <= time::now())
            && self.refused.take(now, Duration::ZERO)
        {
            let done = transaction(c"raise alerts of refused requests", ledger::alert_refusals);
            let done = done.map(|told| told.committed());
            self.refused.ended(done)?;
        }
        self.look();
        let every = settings::seal_interval();
        if self.unsealed.is_some() && self.sealed.take(now, every) {
            let done = self.seal();
            self.sealed.waits(self.unsealed.is_some());
            self.sealed.ended(done)?;
        }
        let every = metering::settings::rollup_interval();
        if self.unrolled.is_some() && self.rolled.take(now, every) {
            let done = [
                self.roll(),
                transaction(c"raise alerts of budgets", ledger::alert),
            ];
            self.rolled.waits(self.unrolled.is_some());
            self.rolled.ended(done.into_iter().collect())?;
        }
        Ok(())
    }

    /// Notes what was written.
    fn look(&mut self) {
        if workers::take_dirty() {
            let next = Some(bgworker::next_xid());
            (self.unsealed, self.unrolled) = (next, next);
            (self.sealed.in_vain, self.rolled.in_vain) = (0, 0);
        }
    }

    /// Rolls up, one transaction at a time, until nothing more can be rolled up.
    fn roll(&mut self) -> Result<(), Stop> {
        loop {
            let (rolled, horizon) = transaction(c"roll up use", || metering::roll(ROLL))?;
            if rolled == 0 {
                if self.unrolled.is_some_and(|xid| horizon >= xid) {
                    self.unrolled = None;
                }
                return Ok(());
            }
            if bgworker::stopping() || self.shift.is_over() {
                return Ok(());
            }
            // Callers do not wait until all of it is done.
            serve::serve(self.shift);
        }
    }

    /// Seals, in one transaction for each seal, until nothing more can be sealed.
    fn seal(&mut self) -> Result<(), Stop> {
        loop {
            let (sealed, horizon) = transaction(c"seal the audit log", || {
                spi::write_returning(
                    "SELECT tenancy_internal.seal_audit_log($1), pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
                    &[SEAL.into()],
                    |rows| {
                        let row = rows.first();
                        Ok((row.not_null::<i64>(1)?, row.not_null::<i64>(2)?))
                    },
                )
            })?;
            if sealed == 0 {
                if self
                    .unsealed
                    .is_some_and(|xid| horizon.cast_unsigned() >= xid)
                {
                    self.unsealed = None;
                }
                return Ok(());
            }
            if bgworker::stopping() || self.shift.is_over() {
                return Ok(());
            }
            // Callers do not wait until all of it is done.
            serve::serve(self.shift);
        }
    }

    /// Runs each clean-up separately: a locked table does not affect the others.
    fn tidy(&self) -> Result<(), Stop> {
        let done = [
            self.expire(),
            transaction(c"make the months' partitions", make_months),
            transaction(c"forget old idempotency keys", metering::forget_keys),
            transaction(c"tidy up", || {
                spi::write(
                    "DELETE FROM tenancy_internal.budget_reservations WHERE state <> 'open' AND ended_at < now() - interval '35 days'",
                    &[],
                )?;
                spi::write(
                    "DELETE FROM tenancy_internal.reservation_keys k WHERE k.used_at < now() - interval '35 days' \
                        AND NOT EXISTS (SELECT FROM tenancy_internal.budget_reservations r WHERE r.id = k.reservation)",
                    &[],
                )?;
                spi::write(
                    "DELETE FROM tenancy_internal.claimed_tokens WHERE expires_at < now()",
                    &[],
                )
                .map(drop)
            }),
            transaction(c"tidy up credits", ledger::credits::tidy),
            transaction(c"summarize usage", metering::summarize),
            retire(
                metering::settings::retention(),
                c"drop old months of usage",
                metering::retire,
            ),
            retire(
                settings::retention(),
                c"drop old months of the audit log",
                || {
                    spi::write(
                        "SELECT tenancy_internal.retire_audit_log($1)",
                        &[settings::retention().into()],
                    )
                    .map(drop)
                },
            ),
        ];
        done.into_iter().collect()
    }

    /// Expires reservations in batches, one transaction each: callers do not wait until all have expired.
    fn expire(&self) -> Result<(), Stop> {
        while transaction(c"expire reservations", ledger::expire)?
            && !bgworker::stopping()
            && !self.shift.is_over()
        {
            serve::serve(self.shift);
        }
        Ok(())
    }
}

fn make_months() -> Result<(), Error> {
    let now = time::now();
    for table in Monthly::ALL {
        partitions::make(table, now)?;
        partitions::make(table, now + AHEAD)?;
    }
    Ok(())
}

fn retire(days: i32, doing: &CStr, f: impl FnOnce() -> Result<(), Error>) -> Result<(), Stop> {
    match days {
        0 => Ok(()),
        _ => transaction(doing, f),
    }
}

/// Runs `f` in a transaction, if the extension is installed.
fn transaction<R>(doing: &CStr, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Stop> {
    let done = bgworker::transaction(doing, || {
        if extension::schema().is_none() {
            return Ok(None);
        }
        // A lock must not delay callers with other requests.
        spi::write("SELECT set_config('lock_timeout', '200ms', true)", &[])?;
        f().map(Some)
    });
    match done {
        Ok(Some(result)) => Ok(result),
        Ok(None) => Err(Stop::Gone),
        Err(why) => Err(Stop::Failed(format!("{}: {why}", doing.to_string_lossy()))),
    }
}

fn warn(why: &str) {
    // Terminated while a task was running.
    if bgworker::stopping() {
        return;
    }
    ereport!(
        WARNING,
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("tenancy worker: {why}"),
        "The worker tries again."
    );
}
