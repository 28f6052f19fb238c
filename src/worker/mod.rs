//! The databases' background workers: they seal the audit log, roll up what was used, write down what was
//! counted in shared memory, tidy up, and do at once what must outlive the caller's transaction.
//!
//! | file | what |
//! | --- | --- |
//! | `request` | what backends ask of it |
//! | `tasks` | what it does by itself |
//! | `launcher` | starts workers, and is one where the server has no process left for it |
//!
//! A worker starts when there is something to do and ends soon after; what is to be done later is noted for
//! the launcher. On a standby there is none.

mod launcher;
mod request;
mod tasks;

use std::time::{Duration, Instant};

pub use request::{Reply, Request};
use tasks::Tasks;

use crate::error::Error;
use crate::pg::queue::{self, Waiting};
use crate::pg::worker as process;
use crate::pg::workers::{self, Others, Presence, Started};
use crate::pg::{kept, time};

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for the first launcher after the server's start.
const FIRST_LAUNCH: Duration = Duration::from_secs(1);
/// How often it looks whether there is a worker.
const LOOK: Duration = Duration::from_millis(100);
/// How often the worker looks for something to do.
const TICK: Duration = Duration::from_secs(1);
/// How long it stays without anything to do.
const IDLE: Duration = Duration::from_secs(5);
/// It stays, too, where something is to be done so soon, in microseconds.
const SOON: i64 = 10_000_000;
/// How long the launcher works for a database while other databases' callers wait.
const HOLD: Duration = Duration::from_secs(1);

/// Takes the shared memory and registers the launcher; while the server loads its libraries.
pub fn init() {
    queue::init();
    workers::init();
    kept::init();
    process::init(process::Run {
        worker: run,
        launcher: launcher::run,
    });
}

/// There is something to do for this database then, as there is for it when nobody is connected to it.
pub fn expect(due: i64) {
    workers::expect(due);
}

/// There is something to tidy up then.
pub fn expect_tidying(due: i64) {
    workers::expect_tidying(due);
}

/// There is something to write at once, for which nobody waits.
pub fn nudge() {
    start(false, false);
    workers::nudge();
}

/// Something was written that is to be sealed or rolled up.
pub fn wrote() {
    start(true, false);
}

/// Sees to it that this database has a worker. True unless there is none and cannot be one.
fn start(dirty: bool, waiting: bool) -> bool {
    if process::recovering() {
        return false;
    }
    if process::here() {
        if dirty {
            workers::note_dirty();
        }
        return true;
    }
    match workers::look(dirty, waiting) {
        Presence::There => true,
        Presence::NoRoom => false,
        Presence::ToStart => process::start(queue::database()) || workers::not_started(waiting),
    }
}

/// Has the worker do something, and waits until that is committed and on disk. Works in read-only
/// transactions, and stays when the caller's transaction is rolled back.
pub fn call(request: &Request) -> Result<Reply, Error> {
    // It would wait for itself.
    if process::here() || process::recovering() {
        return Err(Error::NoWorker);
    }
    let bytes =
        serde_json::to_vec(request).map_err(|_| Error::Internal("a request cannot be written"))?;
    if bytes.len() > queue::REQUEST_MAX {
        return Err(Error::bad(
            "the entry is too large",
            "What is recorded at once must fit into 8 kB.",
        ));
    }
    let began = Instant::now();
    let mut waiting = None;
    loop {
        if waiting.is_none() {
            waiting = Waiting::submit(&bytes);
            // After the request: a worker that goes sees the one or the other.
            workers::nudge();
        }
        if !start(false, true) && (process::impossible() || began.elapsed() > FIRST_LAUNCH) {
            return Err(Error::NoWorker);
        }
        if let Some((outcome, text)) = waiting.as_ref().and_then(Waiting::answer) {
            return request::reply(outcome, text);
        }
        let left = PATIENCE.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(Error::WorkerSilent);
        }
        process::wait(left.min(LOOK));
    }
}

/// How long this worker may go on when others need one.
#[derive(Clone, Copy)]
struct Shift {
    began: Instant,
}

impl Shift {
    /// Whether it is another database's turn. Only the launcher is needed by others.
    fn is_over(self) -> bool {
        process::is_launcher() && self.began.elapsed() > HOLD && workers::others() != Others::None
    }
}

/// Why a worker ends.
enum End {
    /// It was told to, or its database is to be dropped or copied.
    Told,
    /// It is another database's turn.
    Over,
    /// Nothing is left to do now, and the worker is gone for others.
    Done,
}

/// The life of a database's worker.
fn run(started: Started) {
    let began = Instant::now();
    let mut worker = Worker {
        tasks: Tasks::new(started, Shift { began }),
        shift: Shift { began },
        busy: (!started.errand).then_some(began),
    };
    match worker.work() {
        End::Told => {
            process::last_work();
            worker.tasks.finish();
        }
        End::Over => worker.tasks.let_go(),
        End::Done => return,
    }
    workers::give_way(worker.tasks.next(), worker.tasks.is_unfinished());
}

struct Worker {
    tasks: Tasks,
    shift: Shift,
    /// When it was last asked for; nothing if never.
    busy: Option<Instant>,
}

impl Worker {
    fn work(&mut self) -> End {
        let mut looked = None::<Instant>;
        loop {
            process::reload();
            if process::stopping() {
                return End::Told;
            }
            let served = request::serve(self.shift) | self.tasks.write_queued();
            if looked.is_none_or(|at| at.elapsed() >= TICK) {
                looked = Some(Instant::now());
                if self.tasks.run() == tasks::State::Gone {
                    workers::gone();
                    return End::Done;
                }
            }
            if self.shift.is_over() {
                return End::Over;
            }
            if served {
                self.busy = Some(Instant::now());
                continue;
            }
            if workers::to_leave() {
                return End::Told;
            }
            if self.leaves() {
                return End::Done;
            }
            process::wait(TICK);
        }
    }

    /// Goes, if there is nothing to do now.
    fn leaves(&mut self) -> bool {
        if workers::take_touched() {
            self.busy = Some(Instant::now());
        }
        let next = self.tasks.next();
        let needed = match workers::others() {
            Others::Wait => true,
            Others::Due => process::is_launcher(),
            Others::None => false,
        };
        let stays = self
            .busy
            .is_some_and(|at| at.elapsed() < IDLE || next < time::now().saturating_add(SOON));
        (needed || !stays)
            && !self.tasks.holds_something()
            && workers::depart(next, self.tasks.is_unfinished())
    }
}
