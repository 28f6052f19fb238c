//! What the worker does by itself. A task that fails says so once and is tried again a while later.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::request;
use crate::audit::{logins, settings};
use crate::budget;
use crate::error::Error;
use crate::months::Monthly;
use crate::pg::worker as process;
use crate::pg::{queue, spi, time};
use crate::usage;

/// About how many events are rolled up in one transaction.
const ROLL: i32 = 100_000;
/// How many entries a seal has at most.
const SEAL: i32 = 10_000;
/// How often there is tidying up.
const TIDY: Duration = Duration::from_secs(60);
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

/// When which task ran.
pub struct Tasks {
    sealed: Option<Instant>,
    tidied: Option<Instant>,
    rests_until: Option<Instant>,
    /// Entries of transactions before this one may not be sealed yet.
    unsealed: Option<u64>,
    rolled: Option<Instant>,
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
        Self {
            sealed: None,
            tidied: None,
            rests_until: None,
            unsealed: None,
            rolled: None,
            unrolled: None,
        }
    }

    /// Runs what is due.
    pub fn run(&mut self) -> State {
        self.look();
        let now = Instant::now();
        if self.rests_until.is_some_and(|until| until > now) {
            return State::Pending;
        }
        self.rests_until = None;
        match self.run_due(now) {
            Ok(()) if self.unsealed.is_some() || self.unrolled.is_some() || logins::pending() => {
                State::Pending
            }
            Ok(()) => State::Idle,
            Err(Stop::Gone) => State::Gone,
            Err(Stop::Failed(why)) => {
                self.rests_until = Some(now + REST);
                warn(&why);
                State::Pending
            }
        }
    }

    /// The last that is done before the worker ends.
    pub fn finish(&mut self) {
        let done = write_logins(true).and_then(|()| {
            self.unsealed = Some(process::next_xid());
            self.seal()?;
            self.unrolled = Some(process::next_xid());
            self.roll()
        });
        if let Err(Stop::Failed(why)) = done {
            warn(&why);
        }
    }

    fn run_due(&mut self, now: Instant) -> Result<(), Stop> {
        let due = |last: Option<Instant>, every| last.is_none_or(|at| now - at >= every);
        if due(self.tidied, TIDY) {
            self.tidied = Some(now);
            tidy()?;
        }
        write_logins(false)?;
        self.look();
        let every = Duration::from_secs(settings::seal_interval());
        if self.unsealed.is_some() && due(self.sealed, every) {
            self.sealed = Some(now);
            self.seal()?;
        }
        let every = Duration::from_secs(usage::settings::rollup_interval());
        if self.unrolled.is_some() && due(self.rolled, every) {
            self.rolled = Some(now);
            self.roll()?;
            transaction(c"raise alerts of budgets", budget::alert)?;
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

fn write_logins(all: bool) -> Result<(), Stop> {
    let taken = logins::take_due(all);
    if taken.is_empty() {
        return Ok(());
    }
    let done = transaction(c"write logins", || logins::write(&taken));
    if done.is_err() {
        logins::put_back(&taken);
    }
    done
}

fn tidy() -> Result<(), Stop> {
    // A transaction for so many, since somebody may have let any number expire: nobody waits for all of them.
    while transaction(c"expire reservations", budget::expire)? && !process::stopping() {
        request::serve();
    }
    transaction(c"tidy up", || {
        let now = time::now_unix_micros();
        for table in [Monthly::AuditLog, Monthly::UsageEvents] {
            table.make(now)?;
            table.make(now.saturating_add(AHEAD))?;
        }
        usage::forget_keys()?;
        spi::write(
            "DELETE FROM tenancy.budget_reservations WHERE state <> 'open' AND ended_at < now() - interval '35 days'",
            &[],
        )?;
        spi::write(
            "DELETE FROM tenancy.claimed_tokens WHERE expires_at < now()",
            &[],
        )?;
        Ok(())
    })?;
    transaction(c"tidy up credits", budget::tidy)?;
    transaction(c"summarize use", usage::summarize)?;
    if usage::settings::retention() > 0 {
        transaction(c"retire old months of use", usage::retire)?;
    }
    if settings::retention() == 0 {
        return Ok(());
    }
    transaction(c"retire old months of the audit log", || {
        spi::write(
            "SELECT tenancy._retire_audit_log($1)",
            &[settings::retention().into()],
        )
        .map(drop)
    })
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
        Err(why) => Err(Stop::Failed(why)),
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
