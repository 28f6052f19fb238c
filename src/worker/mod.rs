//! Each database's background worker: it seals the audit log, rolls up what was used, writes down what was counted in shared
//! memory, tidies up, and does at once what must outlive the caller's transaction.
//!
//! | file | what |
//! | --- | --- |
//! | `request` | what backends ask of it |
//! | `tasks` | what it does by itself |
//!
//! It starts when there is something to do and ends when there was nothing for a while, so that it is
//! in nobody's way. On a standby there is none.

mod request;
mod tasks;

use std::time::{Duration, Instant};

pub use request::{Reply, Request};
use tasks::Tasks;

use crate::error::Error;
use crate::pg::queue::{self, Presence, Waiting};
use crate::pg::worker as process;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks whether there is a worker.
const LOOK: Duration = Duration::from_millis(100);
/// How often the worker looks for something to do.
const TICK: Duration = Duration::from_secs(1);
/// How long it stays without anything to do.
const IDLE: Duration = Duration::from_secs(30);

/// Takes the shared memory; while the server loads its libraries.
pub fn init() {
    queue::init();
    process::init(run);
}

/// Sees to it that this database has a worker, if that is possible. Cheap.
pub fn ensure() {
    start(false, false);
}

/// There is something to write at once, for which nobody waits.
pub fn nudge() {
    ensure();
    queue::nudge();
}

/// Something was written that is to be sealed or rolled up.
pub fn wrote() {
    start(true, false);
}

/// True unless there is no worker and cannot be one. Who waits for it does not rest between attempts.
fn start(dirty: bool, waiting: bool) -> bool {
    if process::recovering() {
        return false;
    }
    match queue::look(dirty) {
        Presence::There => true,
        Presence::NoRoom => false,
        Presence::ToStart => process::start() || queue::not_started(waiting),
    }
}

/// Has the worker do something, and waits until that is committed and on disk. Works in read-only
/// transactions, and stays when the caller's transaction is rolled back.
pub fn call(request: &Request) -> Result<Reply, Error> {
    // It would wait for itself.
    if process::here() {
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
    let end = Instant::now() + PATIENCE;
    let mut waiting = None;
    loop {
        if !start(false, true) {
            return Err(Error::NoWorker);
        }
        if waiting.is_none() {
            waiting = Waiting::submit(&bytes);
        }
        if let Some((outcome, text)) = waiting.as_ref().and_then(Waiting::answer) {
            return request::reply(outcome, text);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::WorkerSilent);
        }
        process::wait(left.min(LOOK));
    }
}

/// The worker's life.
fn run() {
    let mut tasks = Tasks::new();
    let mut busy = Instant::now();
    let mut looked = None::<Instant>;
    loop {
        process::reload();
        if process::stopping() {
            break;
        }
        let served = request::serve() | tasks.write_queued();
        let due = looked.is_none_or(|at| at.elapsed() >= TICK);
        if due {
            looked = Some(Instant::now());
            match tasks.run() {
                tasks::State::Gone => return,
                tasks::State::Pending => busy = Instant::now(),
                tasks::State::Idle => {}
            }
        }
        if served {
            busy = Instant::now();
            continue;
        }
        if queue::to_leave() {
            break;
        }
        if busy.elapsed() > IDLE && queue::depart() {
            return;
        }
        process::wait(TICK);
    }
    process::last_work();
    tasks.finish();
}
