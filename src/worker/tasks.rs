//! What the worker does by itself. A task that fails says so, is tried again a while later, and is in no
//! other's way.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use tenancy_core::partitions::Monthly;

use super::{Shift, serve};
use crate::audit::{logins, settings};
use crate::error::Error;
use crate::pg::bgworker;
use crate::pg::counts::Count;
use crate::pg::spi::NotNull;
use crate::pg::workers::{self, NEVER, Started};
use crate::pg::{extension, spi, time};
use crate::{ledger, metering, partitions};

/// About how many events are rolled up in one transaction.
const ROLL: i32 = 100_000;
/// How many entries a seal has at most.
const SEAL: i32 = 10_000;
/// How often there is tidying up.
const TIDY: Duration = Duration::from_secs(60);
/// How many logins that cannot be written keep their names.
const UNWRITTEN: usize = 100_000;
/// How long a task that failed rests.
const REST: Duration = Duration::from_secs(30);
/// How long before it begins a month gets its partition.
const AHEAD_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// How often a task is tried at its interval while an open transaction keeps it from its end.
const IN_VAIN: u32 = 3;
/// And how many intervals it waits then.
const SLOWER: u32 = 3;

/// What the tasks have found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The extension is in this database.
    There,
    /// It is not: there is nothing to do, ever.
    Gone,
}

/// When a task ran.
#[derive(Default)]
struct Turn {
    ran: Option<Instant>,
    /// It failed.
    rests_until: Option<Instant>,
    /// How often it did not come to its end.
    in_vain: u32,
}

impl Turn {
    /// Whether it is its turn, which it has then.
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

    /// When it is its turn again; nothing for at once.
    fn next(&self, every: Duration) -> Option<Instant> {
        self.rests_until
            .or_else(|| self.ran.map(|at| at + self.pace(every)))
    }

    /// Whether an open transaction keeps it from its end.
    fn waits(&mut self, waits: bool) {
        self.in_vain = match waits {
            true => self.in_vain.saturating_add(1),
            false => 0,
        };
    }

    /// What failed is told, and others go on.
    fn ended(&mut self, done: Result<(), Stop>) -> Result<(), Stop> {
        if let Err(Stop::Failed(why)) = done {
            self.rests_until = Some(Instant::now() + REST);
            warn(&why);
            return Ok(());
        }
        done
    }
}

/// When which task ran.
pub struct Tasks {
    shift: Shift,
    /// All that is counted is due.
    write_all: bool,
    tidied: Turn,
    /// How many counters had made room until then.
    evicted: Option<u64>,
    logins: Turn,
    queued: Turn,
    /// Logins that could not be written, and have no place in shared memory any more.
    unwritten: Vec<Count>,
    sealed: Turn,
    /// Entries of transactions before this one may not be sealed yet.
    unsealed: Option<u64>,
    rolled: Turn,
    /// Events of transactions before this one may not be rolled up yet.
    unrolled: Option<u64>,
}

/// Why a task did not run to its end.
enum Stop {
    Gone,
    Failed(String),
}

impl Tasks {
    /// Nothing ran yet.
    pub fn new(started: Started, shift: Shift) -> Self {
        let mut tasks = Self {
            shift,
            write_all: started.write_all,
            tidied: Turn::default(),
            evicted: None,
            logins: Turn::default(),
            queued: Turn::default(),
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
            // Others have tried before.
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

    /// When there is something to do again, in microseconds since 2000.
    pub fn next(&mut self) -> i64 {
        self.look();
        let (now, clock) = (Instant::now(), time::now());
        let at = |instant: Option<Instant>| {
            let left = instant.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            clock.saturating_add(i64::try_from(left.as_micros()).unwrap_or(NEVER))
        };
        let logins = logins::due().map(|due| due.max(at(self.logins.rests_until)));
        let queued = logins::queue_pending().then(|| at(self.queued.rests_until));
        let every = Duration::from_secs(settings::seal_interval());
        let sealed = self.unsealed.map(|_| at(self.sealed.next(every)));
        let every = Duration::from_secs(metering::settings::rollup_interval());
        let rolled = self.unrolled.map(|_| at(self.rolled.next(every)));
        let tidied = self.tidied.rests_until.map(|until| at(Some(until)));
        let all = [logins, queued, sealed, rolled, tidied];
        all.into_iter().flatten().min().unwrap_or(NEVER)
    }

    /// Whether something was not sealed or rolled up yet.
    pub fn is_unfinished(&self) -> bool {
        self.unsealed.is_some() || self.unrolled.is_some()
    }

    /// Whether there is something that is nowhere else.
    pub fn holds_something(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Writes logins that wait for an entry of their own; false when there were none, or it failed.
    pub fn write_queued(&mut self) -> bool {
        if !logins::queue_pending() || !self.queued.take(Instant::now(), Duration::ZERO) {
            return false;
        }
        let done = self.write(logins::take_queued());
        let written = done.is_ok();
        // Where the extension is gone, `run` finds out.
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

    /// What can be written nowhere is nobody's when this worker goes.
    pub fn let_go(&mut self) {
        logins::lose(&std::mem::take(&mut self.unwritten));
    }

    /// The last that is done before the worker ends.
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
                    "Raise tenancy.ledger_entries, which takes a restart."
                );
            }
        }
        if self.logins.take(now, Duration::ZERO) {
            let done = self.write(logins::take_due(self.write_all));
            self.write_all = false;
            self.logins.ended(done)?;
        }
        self.look();
        let every = Duration::from_secs(settings::seal_interval());
        if self.unsealed.is_some() && self.sealed.take(now, every) {
            let done = self.seal();
            self.sealed.waits(self.unsealed.is_some());
            self.sealed.ended(done)?;
        }
        let every = Duration::from_secs(metering::settings::rollup_interval());
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

    /// Takes note of what was written.
    fn look(&mut self) {
        if workers::take_dirty() {
            let next = Some(bgworker::next_xid());
            (self.unsealed, self.unrolled) = (next, next);
            (self.sealed.in_vain, self.rolled.in_vain) = (0, 0);
        }
    }

    /// Rolls up, a transaction at a time, until nothing is left that can be.
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
            // Nobody waits for all of it.
            serve::serve(self.shift);
        }
    }

    /// Seals, a transaction for each seal, until nothing is left that can be.
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
            // Nobody waits for all of it.
            serve::serve(self.shift);
        }
    }

    /// Each for itself: a table that somebody has locked keeps the others from nothing.
    fn tidy(&self) -> Result<(), Stop> {
        let done = [
            self.expire(),
            transaction(c"make the months' partitions", make_months),
            transaction(c"forget old keys of use", metering::forget_keys),
            transaction(c"tidy up", || {
                spi::write(
                    "DELETE FROM tenancy_internal.budget_reservations WHERE state <> 'open' AND ended_at < now() - interval '35 days'",
                    &[],
                )?;
                spi::write(
                    "DELETE FROM tenancy_internal.claimed_tokens WHERE expires_at < now()",
                    &[],
                )
                .map(drop)
            }),
            transaction(c"tidy up credits", ledger::credits::tidy),
            transaction(c"summarize use", metering::summarize),
            retire(
                metering::settings::retention(),
                c"retire old months of use",
                metering::retire,
            ),
            retire(
                settings::retention(),
                c"retire old months of the audit log",
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

    /// A transaction for so many, since somebody may have let any number expire: nobody waits for all of them.
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
    let now = time::now_unix_micros();
    for table in Monthly::ALL {
        partitions::make(table, now)?;
        partitions::make(table, now.saturating_add(AHEAD_MICROS))?;
    }
    Ok(())
}

fn retire(days: i32, doing: &CStr, f: impl FnOnce() -> Result<(), Error>) -> Result<(), Stop> {
    match days {
        0 => Ok(()),
        _ => transaction(doing, f),
    }
}

/// A transaction where the extension is installed.
fn transaction<R>(doing: &CStr, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Stop> {
    let done = bgworker::transaction(doing, || {
        if extension::schema().is_none() {
            return Ok(None);
        }
        // Whoever holds a lock must not keep those waiting who ask something else.
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
    // Told to end in the middle of something.
    if bgworker::stopping() {
        return;
    }
    ereport!(
        WARNING,
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("tenancy worker: {why}"),
        "It is tried again."
    );
}
