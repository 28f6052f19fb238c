//! Requests to this database's worker: to do something at once, and wait for its commit; or to check for work at some
//! time. The room `worker` serves them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tenancy_core::partitions::Monthly;
use tenancy_core::time;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::bgworker;
use crate::pg::queue::{self, Outcome, Waiting};
use crate::pg::workers::{self, Presence};

/// How long a caller waits for a reply.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller waits for the first launcher after the server's start.
const FIRST_LAUNCH: Duration = Duration::from_secs(1);
/// How often a caller checks whether there is a worker.
const LOOK: Duration = Duration::from_millis(100);

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Writes an entry of the audit log, as `audit::row` makes it.
    Audit(serde_json::Value),
    /// Writes both rows of a call of `maintenance()`, as `audit::maintenance` makes them.
    Maintenance(serde_json::Value),
    /// Records that a token was used, unless it was used before.
    ClaimJti {
        /// The provider of the token.
        provider: Uuid,
        /// SHA-256 of its id.
        jti_hash: [u8; 32],
        /// When it ends.
        expires_at: time::Instant,
    },
    /// Expires a batch of overdue reservations; done before: there were none.
    ExpireReservations,
    /// Creates a table's partition for an instant.
    Partition(Monthly, time::Instant),
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done and committed.
    Done,
    /// It was done before.
    Duplicate,
}

/// Notes that work for this database is due at a time, even if no client is connected then.
pub fn expect(due: time::Instant) {
    workers::expect(due);
}

/// Notes that cleaning up is due at a time.
pub fn expect_tidying(due: time::Instant) {
    workers::expect_tidying(due);
}

/// Notes that something must be written at once, without a waiting caller.
pub fn nudge() {
    start(false, false);
    workers::nudge();
}

/// Notes that something was written that must be sealed or rolled up.
pub fn wrote() {
    start(true, false);
}

/// Makes sure that this database has a worker. Returns false if there is none and none can start.
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

/// Sends a request to the worker and waits until its result is committed and on disk. Works in read-only
/// transactions; the result stays if the caller's transaction is rolled back.
pub fn call(request: &Request) -> Result<Reply, Error> {
    // The worker would wait for itself.
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
            // After the request: an exiting worker sees either the request or the nudge.
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

/// Converts the worker's answer for the caller.
fn reply(outcome: Outcome, text: String) -> Result<Reply, Error> {
    match outcome {
        Outcome::Done => Ok(Reply::Done),
        Outcome::Duplicate => Ok(Reply::Duplicate),
        Outcome::Failed => Err(Error::WorkerFailed(text)),
    }
}
