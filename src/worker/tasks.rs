//! What the worker does by itself. A task that fails says so, is tried again a while later, and is in no
//! other's way.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::request;
use crate::audit::{logins, settings};
use crate::budget;
use crate::error::Error;
use crate::months::Monthly;
use crate::pg::counts::Count;
use crate::pg::worker as process;
use crate::pg::{queue, spi, time};
use crate::usage;

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
const AHEAD: i64 = 7 * 24 * 3600 * 1_000_000;

/// What there is to do next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Something, soon.
    Pending,
    /// Nothing.
    Idle,
    /// Nothing ever: the extension is not in this database.
    Gone,
}

/// When a task ran.
#[derive(Default)]
struct Turn {
    ran: Option<Instant>,
    /// It failed.
    rests_until: Option<Instant>,
}

impl Turn {
    /// Whether it is its turn, which it has then.
    fn take(&mut self, now: Instant, every: Duration) -> bool {
        let due = match self.rests_until {
            Some(until) => until <= now,
            None => self.ran.is_none_or(|at| now - at >= every),
        };
        if due {
            self.ran = Some(now);
            self.rests_until = None;
        }
        due
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
#[derive(Default)]
pub struct Tasks {
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
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs what is due.
    pub fn run(&mut self) -> State {
        self.look();
        match self.run_due(Instant::now()) {
            Err(_) => State::Gone,
            Ok(()) if self.waits() || logins::pending() => State::Pending,
            Ok(()) => State::Idle,
        }
    }

    fn waits(&self) -> bool {
        let turns = [
            &self.tidied,
            &self.logins,
            &self.queued,
            &self.sealed,
            &self.rolled,
        ];
        self.unsealed.is_some()
            || !self.unwritten.is_empty()
            || self.unrolled.is_some()
            || turns.iter().any(|turn| turn.rests_until.is_some())
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

    /// The last that is done before the worker ends.
    pub fn finish(&mut self) {
        let done = self
            .write(logins::take_queued())
            .and_then(|()| self.write(logins::take_due(true)))
            .and_then(|()| {
                self.unsealed = Some(process::next_xid());
                self.seal()?;
                self.unrolled = Some(process::next_xid());
                self.roll()
            });
        logins::lose(&std::mem::take(&mut self.unwritten));
        if let Err(Stop::Failed(why)) = done {
            warn(&why);
        }
    }

    fn run_due(&mut self, now: Instant) -> Result<(), Stop> {
        if self.tidied.take(now, TIDY) {
            self.tidied.ended(tidy())?;
            if let Some(why) = budget::thrashing(&mut self.evicted) {
                ereport!(
                    WARNING,
                    PgSqlErrorCode::ERRCODE_WARNING,
                    format!("tenancy worker: {why}"),
                    "Raise tenancy.ledger_entries, which takes a restart."
                );
            }
        }
        if self.logins.take(now, Duration::ZERO) {
            let done = self.write(logins::take_due(false));
            self.logins.ended(done)?;
        }
        self.look();
        let every = Duration::from_secs(settings::seal_interval());
        if self.unsealed.is_some() && self.sealed.take(now, every) {
            let done = self.seal();
            self.sealed.ended(done)?;
        }
        let every = Duration::from_secs(usage::settings::rollup_interval());
        if self.unrolled.is_some() && self.rolled.take(now, every) {
            let done = [
                self.roll(),
                transaction(c"raise alerts of budgets", budget::alert),
            ];
            self.rolled.ended(done.into_iter().collect())?;
        }
        Ok(())
    }

    /// Takes note of what was written.
    fn look(&mut self) {
        if queue::take_dirty() {
            let next = Some(process::next_xid());
            (self.unsealed, self.unrolled) = (next, next);
        }
    }

    /// Rolls up, a transaction at a time, until nothing is left that can be.
    fn roll(&mut self) -> Result<(), Stop> {
        loop {
            let (rolled, horizon) = transaction(c"roll up use", || usage::roll(ROLL))?;
            if rolled == 0 {
                if self.unrolled.is_some_and(|xid| horizon >= xid) {
                    self.unrolled = None;
                }
                return Ok(());
            }
            if process::stopping() {
                return Ok(());
            }
            // Nobody waits for all of it.
            request::serve();
        }
    }

    /// Seals, a transaction for each seal, until nothing is left that can be.
    fn seal(&mut self) -> Result<(), Stop> {
        loop {
            let (sealed, horizon) = transaction(c"seal the audit log", || {
                spi::write_returning(
                    "SELECT tenancy._seal_audit_log($1), pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
                    &[SEAL.into()],
                    |rows| {
                        let row = rows.first();
                        Ok((
                            row.get::<i64>(1)?.unwrap_or(0),
                            row.get::<i64>(2)?.unwrap_or(0),
                        ))
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
            if process::stopping() {
                return Ok(());
            }
            // Nobody waits for all of it.
            request::serve();
        }
    }
}

/// Each for itself: a table that somebody has locked keeps the others from nothing.
fn tidy() -> Result<(), Stop> {
    let done = [
        expire(),
        transaction(c"make the months' partitions", make_months),
        transaction(c"forget old keys of use", usage::forget_keys),
        transaction(c"tidy up", || {
            spi::write(
                "DELETE FROM tenancy.budget_reservations WHERE state <> 'open' AND ended_at < now() - interval '35 days'",
                &[],
            )?;
            spi::write(
                "DELETE FROM tenancy.claimed_tokens WHERE expires_at < now()",
                &[],
            )
            .map(drop)
        }),
        transaction(c"tidy up credits", budget::tidy),
        transaction(c"summarize use", usage::summarize),
        retire(
            usage::settings::retention(),
            c"retire old months of use",
            usage::retire,
        ),
        retire(
            settings::retention(),
            c"retire old months of the audit log",
            || {
                spi::write(
                    "SELECT tenancy._retire_audit_log($1)",
                    &[settings::retention().into()],
                )
                .map(drop)
            },
        ),
    ];
    done.into_iter().collect()
}

/// A transaction for so many, since somebody may have let any number expire: nobody waits for all of them.
fn expire() -> Result<(), Stop> {
    while transaction(c"expire reservations", budget::expire)? && !process::stopping() {
        request::serve();
    }
    Ok(())
}

fn make_months() -> Result<(), Error> {
    let now = time::now_unix_micros();
    for table in [Monthly::AuditLog, Monthly::UsageEvents] {
        table.make(now)?;
        table.make(now.saturating_add(AHEAD))?;
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
    let done = process::transaction(doing, || {
        if spi::schema().is_none() {
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
    if process::stopping() {
        return;
    }
    ereport!(
        WARNING,
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("tenancy worker: {why}"),
        "It is tried again."
    );
}
