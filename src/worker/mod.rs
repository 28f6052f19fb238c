//! The databases' background workers. They seal the audit log, roll up usage, write the counts of shared memory to
//! tables, remove old rows, and do at once what must outlive the caller's transaction. Backends send `requests`.
//!
//! | file | what |
//! | --- | --- |
//! | `serve` | requests of backends |
//! | `tasks` | periodic work |
//! | `launcher` | starts workers; does their work if the server has no process left for one |
//!
//! A worker starts when there is work to do, and exits soon after; it notes later work for the launcher. A
//! standby has none.

mod launcher;
mod serve;
mod tasks;

use std::time::{Duration, Instant};

use tasks::Tasks;

use tenancy_core::time::Length;

use crate::pg::bgworker;
use crate::pg::queue;
use crate::pg::workers::{self, Others, Started};
use crate::pg::{kept, time};

/// How often the worker checks for work.
const TICK: Duration = Duration::from_secs(1);
/// How long an idle worker waits before it exits.
const IDLE: Duration = Duration::from_secs(5);
/// It stays, too, where something is to be done so soon.
const SOON: Length = Length::from_seconds(10);
/// How long the launcher works for a database while other databases' callers wait.
const HOLD: Duration = Duration::from_secs(1);

/// Requests shared memory and registers the launcher, while the server loads its libraries.
pub fn init() {
    queue::init();
    workers::init();
    kept::init();
    bgworker::init(bgworker::Run {
        worker: run,
        launcher: launcher::run,
    });
}

/// How long this worker may continue while other databases need one.
#[derive(Clone, Copy)]
struct Shift {
    began: Instant,
}

impl Shift {
    /// Returns whether it is another database's turn. Only the launcher is shared.
    fn is_over(self) -> bool {
        bgworker::is_launcher() && self.began.elapsed() > HOLD && workers::others() != Others::None
    }
}

/// Why a worker exits.
enum End {
    /// A request to exit, or its database is being dropped or copied.
    Asked,
    /// It is another database's turn.
    Over,
    /// No work is left now, and others already see the worker as gone.
    Done,
}

/// Runs a database's worker.
fn run(started: Started) {
    let began = Instant::now();
    let mut worker = Worker {
        tasks: Tasks::new(started, Shift { began }),
        shift: Shift { began },
        busy: (!started.errand).then_some(began),
    };
    match worker.work() {
        End::Asked => {
            bgworker::last_work();
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
    /// When it was last needed; `None` if never.
    busy: Option<Instant>,
}

impl Worker {
    fn work(&mut self) -> End {
        let mut looked = None::<Instant>;
        loop {
            bgworker::reload();
            if bgworker::stopping() {
                return End::Asked;
            }
            let served = serve::serve(self.shift) | self.tasks.write_queued();
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
                return End::Asked;
            }
            if self.leaves() {
                return End::Done;
            }
            bgworker::wait(TICK);
        }
    }

    /// Decides to exit if there is nothing to do now. Returns whether it exits.
    fn leaves(&mut self) -> bool {
        if workers::take_touched() {
            self.busy = Some(Instant::now());
        }
        let next = self.tasks.next();
        let needed = match workers::others() {
            Others::Wait => true,
            Others::Due => bgworker::is_launcher(),
            Others::None => false,
        };
        let stays = self
            .busy
            .is_some_and(|at| at.elapsed() < IDLE || next < time::now() + SOON);
        (needed || !stays)
            && !self.tasks.holds_something()
            && workers::depart(next, self.tasks.is_unfinished())
    }
}
