//! Requests that wait for their database's worker: a fixed number of slots of a fixed size, in memory that is
//! reset when any process crashes.
//!
//! Our own since `shm_mq` has one sender and one receiver, and NOTIFY is sent by a commit only.

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};

use crate::pg::cell::BackendCell;
use crate::pg::{latch, session};

/// The longest request, in bytes.
pub const REQUEST_MAX: usize = 8 * 1024;
/// The maximum number of waiting requests.
const SLOTS: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// A backend waits for an answer.
    Waiting,
    /// The worker is executing it.
    Taken,
    /// The worker is executing it, and no backend waits any more.
    Abandoned,
    /// It has been answered.
    Answered(Outcome),
}

/// How a request ended. The text of a failure is in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed and committed.
    Done,
    /// It was done before.
    Duplicate,
    /// Until when it pauses after a failure.
    Failed,
}

struct Slot {
    state: State,
    /// Increases with each use, so that an answer for an earlier use is ignored.
    generation: u64,
    database: u32,
    backend: i32,
    len: usize,
    bytes: [u8; REQUEST_MAX],
}

struct Shared {
    slots: [Slot; SLOTS],
}

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Shared {}

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"tenancy_worker_queue") };

/// The slot that this backend waits for.
static WAITED: BackendCell<Option<(usize, u64)>> = BackendCell::new(None);
static ON_EXIT: BackendCell<bool> = BackendCell::new(false);

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    pg_shmem_init!(
        SHARED = Shared {
            slots: [const {
                Slot {
                    state: State::Free,
                    generation: 0,
                    database: 0,
                    backend: 0,
                    len: 0,
                    bytes: [0; REQUEST_MAX],
                }
            }; SLOTS],
        }
    );
}

/// Returns this backend's database.
pub fn database() -> u32 {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

// A backend's side ----------------------------------------------------------------------------------

/// A submitted request. If it is dropped before its answer was taken, also by an error, it is abandoned.
pub struct Waiting {
    slot: usize,
    generation: u64,
}

impl Waiting {
    /// Submits a request; returns `None` while there is no slot for it. A database never holds more slots than it
    /// leaves free.
    pub fn submit(request: &[u8]) -> Option<Self> {
        on_exit_once();
        let (database, backend) = (database(), session::backend());
        let waiting = {
            let mut shared = SHARED.exclusive();
            let (mut first, mut free, mut own) = (None, 0, 0);
            for (at, slot) in shared.slots.iter().enumerate() {
                if slot.state == State::Free {
                    first.get_or_insert(at);
                    free += 1;
                } else if slot.database == database {
                    own += 1;
                }
            }
            let at = first.filter(|_| own < free)?;
            let slot = &mut shared.slots[at];
            slot.state = State::Waiting;
            slot.generation += 1;
            slot.database = database;
            slot.backend = backend;
            slot.len = request.len().min(REQUEST_MAX);
            slot.bytes[..slot.len].copy_from_slice(&request[..slot.len]);
            Self {
                slot: at,
                generation: slot.generation,
            }
        };
        WAITED.set(Some((waiting.slot, waiting.generation)));
        Some(waiting)
    }

    /// Returns the answer, if there is one; a failure has a text.
    pub fn answer(&self) -> Option<(Outcome, String)> {
        let mut shared = SHARED.exclusive();
        let slot = &mut shared.slots[self.slot];
        let State::Answered(outcome) = slot.state else {
            return None;
        };
        let text = String::from_utf8_lossy(&slot.bytes[..slot.len]).into_owned();
        slot.state = State::Free;
        slot.generation += 1;
        Some((outcome, text))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITED.set(None);
        give_up(self.slot, self.generation);
    }
}

fn give_up(slot: usize, generation: u64) {
    let mut shared = SHARED.exclusive();
    let slot = &mut shared.slots[slot];
    if slot.generation != generation {
        return;
    }
    slot.state = match slot.state {
        State::Taken | State::Abandoned => State::Abandoned,
        State::Free | State::Waiting | State::Answered(_) => State::Free,
    };
}

fn on_exit_once() {
    if !ON_EXIT.replace_with(true) {
        // SAFETY: registered once per process; the callback is guarded and lives until the process exits.
        unsafe { pg_sys::before_shmem_exit(Some(backend_exit), pg_sys::Datum::from(0)) };
    }
}

/// Abandons the request of a backend that is terminated while it waits, which does not unwind.
#[pg_guard]
unsafe extern "C-unwind" fn backend_exit(_code: i32, _arg: pg_sys::Datum) {
    if let Some((slot, generation)) = WAITED.replace_with(None) {
        give_up(slot, generation);
    }
}

// The worker's side ---------------------------------------------------------------------------------

/// A request that the worker took.
pub struct Taken {
    slot: usize,
    generation: u64,
    /// The request.
    pub request: Vec<u8>,
}

/// Takes the requests that wait for this worker.
pub fn take() -> Vec<Taken> {
    let database = database();
    let mut taken = Vec::new();
    let mut shared = SHARED.exclusive();
    for (at, slot) in shared.slots.iter_mut().enumerate() {
        if slot.state == State::Waiting && slot.database == database {
            slot.state = State::Taken;
            taken.push(Taken {
                slot: at,
                generation: slot.generation,
                request: slot.bytes[..slot.len].to_vec(),
            });
        }
    }
    taken
}

/// Answers a request.
pub fn answer(taken: &Taken, outcome: Outcome, text: &str) {
    let backend = {
        let mut shared = SHARED.exclusive();
        let slot = &mut shared.slots[taken.slot];
        if slot.generation != taken.generation {
            return;
        }
        settle(slot, outcome, text)
    };
    if let Some(backend) = backend {
        latch::wake(backend);
    }
}

/// Returns a taken request to the queue, for the next worker.
pub fn put_back(taken: &Taken) {
    let mut shared = SHARED.exclusive();
    let slot = &mut shared.slots[taken.slot];
    if slot.generation == taken.generation {
        slot.state = match slot.state {
            State::Taken => State::Waiting,
            State::Abandoned => State::Free,
            other => other,
        };
    }
}

fn settle(slot: &mut Slot, outcome: Outcome, text: &str) -> Option<i32> {
    if slot.state == State::Abandoned {
        slot.state = State::Free;
        return None;
    }
    slot.state = State::Answered(outcome);
    let text = text.as_bytes();
    slot.len = text.len().min(REQUEST_MAX);
    slot.bytes[..slot.len].copy_from_slice(&text[..slot.len]);
    Some(slot.backend)
}

/// Returns whether a caller waits for a database's worker.
pub fn is_waited_for(database: u32) -> bool {
    let shared = SHARED.share();
    let waits = |slot: &Slot| slot.state == State::Waiting && slot.database == database;
    shared.slots.iter().any(waits)
}

/// Handles the end of a database's worker: requests that it took have failed, and waiting callers start another one.
pub fn abandon(database: u32) {
    let mut waiting = Vec::new();
    for slot in &mut SHARED.exclusive().slots {
        if slot.database != database {
            continue;
        }
        match slot.state {
            State::Taken | State::Abandoned => {
                waiting.extend(settle(slot, Outcome::Failed, "the worker ended"));
            }
            State::Waiting => waiting.push(slot.backend),
            State::Free | State::Answered(_) => {}
        }
    }
    waiting.into_iter().for_each(latch::wake);
}
