//! Asking this database's worker: to do something at once, and wait until it is committed; or to look again at some
//! time. The worker itself is the room `worker`, which knows what each request means.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tenancy_core::partitions::Monthly;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::bgworker;
use crate::pg::queue::{self, Outcome, Waiting};
use crate::pg::workers::{self, Presence};

/// How long a caller waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it waits for the first launcher after the server's start.
const FIRST_LAUNCH: Duration = Duration::from_secs(1);
/// How often it looks whether there is a worker.
const LOOK: Duration = Duration::from_millis(100);

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Writes an entry of the audit log, as `audit::row` makes it.
    Audit(serde_json::Value),
    /// Writes both rows of a call of `maintenance()`, as `audit::maintenance` makes them.
    Maintenance(serde_json::Value),
    /// Notes that a token was used, unless it was.
    ClaimJti {
        /// Whose token.
        provider: Uuid,
        /// SHA-256 of its id.
        jti_hash: [u8; 32],
        /// When it ends, in seconds of the Unix epoch.
        expires_at: i64,
    },
    /// Expires a batch of overdue reservations; done before: there were none.
    ExpireReservations,
    /// Makes a table's partition for an instant in microseconds of the Unix epoch.
    Partition(Monthly, i64),
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done and committed.
    Done,
    /// It was done before.
    Duplicate,
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
    if bgworker::recovering() {
        return false;
    }
    if bgworker::here() {
        if dirty {
            workers::note_dirty();
        }
        return true;
    }
    match workers::look(dirty, waiting) {
        Presence::There => true,
        Presence::NoRoom => false,
        Presence::ToStart => bgworker::start(queue::database()) || workers::not_started(waiting),
    }
}

/// Has the worker do something, and waits until that is committed and on disk. Works in read-only
/// transactions, and stays when the caller's transaction is rolled back.
pub fn call(request: &Request) -> Result<Reply, Error> {
    // It would wait for itself.
    if bgworker::here() || bgworker::recovering() {
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
        if !start(false, true) && (bgworker::impossible() || began.elapsed() > FIRST_LAUNCH) {
            return Err(Error::NoWorker);
        }
        if let Some((outcome, text)) = waiting.as_ref().and_then(Waiting::answer) {
            return reply(outcome, text);
        }
        let left = ANSWER_TIMEOUT.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(Error::WorkerSilent);
        }
        bgworker::wait(left.min(LOOK));
    }
}

/// What the caller makes of the worker's answer.
fn reply(outcome: Outcome, text: String) -> Result<Reply, Error> {
    match outcome {
        Outcome::Done => Ok(Reply::Done),
        Outcome::Duplicate => Ok(Reply::Duplicate),
        Outcome::Failed => Err(Error::WorkerFailed(text)),
    }
}
