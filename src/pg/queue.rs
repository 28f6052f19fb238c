//! What backends and the databases' workers share: which database has a worker, and requests that wait
//! for one. A fixed number of slots of a fixed size, in memory that a crash of any process makes anew.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};

use super::cell::BackendCell;
use super::session;

/// The longest request, in bytes.
pub const REQUEST_MAX: usize = 8 * 1024;
/// How many requests wait at once.
const SLOTS: usize = 128;
/// How many databases have a worker at once.
const WORKERS: usize = 64;
/// How long a worker may take from being asked for to being there, in microseconds.
const START: i64 = 10 * 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// A backend waits for an answer.
    Waiting,
    /// The worker is at it.
    Taken,
    /// The worker is at it, and nobody waits any more.
    Abandoned,
    /// The answer is there.
    Answered(Outcome),
}

/// How a request ended. The text of a failure is in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done and is committed.
    Done,
    /// It was done before.
    Duplicate,
    /// It was not done.
    Failed,
}

struct Slot {
    state: State,
    /// Grows with each use: an answer for an earlier use is nobody's.
    generation: u64,
    database: u32,
    backend: i32,
    len: usize,
    bytes: [u8; REQUEST_MAX],
}

/// A database's worker.
struct Worker {
    database: u32,
    /// 0 while it is being started.
    process: i32,
    started: i64,
    /// It is to end as soon as nobody waits for it.
    leave: bool,
    /// Something was written that is to be sealed.
    dirty: AtomicBool,
}

struct Shared {
    slots: [Slot; SLOTS],
    workers: [Worker; WORKERS],
}

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Shared {}

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"tenancy_worker_queue") };

/// The slot that this backend waits for.
static WAITED: BackendCell<Option<(usize, u64)>> = BackendCell::new(None);
static ON_EXIT: BackendCell<bool> = BackendCell::new(false);

/// Takes the shared memory; while the server loads its libraries.
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
            workers: [const {
                Worker {
                    database: 0,
                    process: 0,
                    started: 0,
                    leave: false,
                    dirty: AtomicBool::new(false),
                }
            }; WORKERS],
        }
    );
}

/// This backend's database.
pub fn database() -> u32 {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Wakes a process of the server, if it is still there.
fn wake(process: i32) {
    // SAFETY: a look-up in the server's table of processes. Its entries are never freed, so a process
    // that ends meanwhile leaves a latch that wakes its successor for nothing.
    unsafe {
        let found = pg_sys::BackendPidGetProc(process);
        if !found.is_null() {
            pg_sys::SetLatch(&raw mut (*found).procLatch);
        }
    }
}

// A backend's side ----------------------------------------------------------------------------------

/// What there is of a database's worker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It runs, or is about to.
    There,
    /// It is to be started by whoever was told this.
    ToStart,
    /// Too many databases have one.
    NoRoom,
}

/// Looks for this database's worker; with `dirty`, tells it that there is something to seal.
pub fn look(dirty: bool) -> Presence {
    let database = database();
    {
        let shared = SHARED.share();
        if let Some(worker) = shared.workers.iter().find(|w| w.database == database)
            && worker.process != 0
            && !worker.leave
        {
            if dirty {
                worker.dirty.store(true, Ordering::Relaxed);
            }
            return Presence::There;
        }
    }
    let now = now();
    let mut shared = SHARED.exclusive();
    let workers = &mut shared.workers;
    let known = workers.iter().position(|w| w.database == database);
    let unused =
        |w: &Worker| w.database == 0 || (w.process == 0 && w.started.saturating_add(START) <= now);
    let Some(at) = known.or_else(|| workers.iter().position(unused)) else {
        return Presence::NoRoom;
    };
    let worker = &mut workers[at];
    if known.is_none() {
        *worker = Worker {
            database,
            process: 0,
            started: i64::MIN,
            leave: false,
            dirty: AtomicBool::new(true),
        };
    }
    // Asked to leave, and now wanted again.
    worker.leave = false;
    worker.dirty.fetch_or(dirty, Ordering::Relaxed);
    if worker.process != 0 || worker.started.saturating_add(START) > now {
        return Presence::There;
    }
    worker.started = now;
    Presence::ToStart
}

/// The worker that was to be started cannot be: the server has no process left. Asks the one that has
/// been there longest, of another database, to make room; false if there is none. Who only looks tries
/// again after a while, who waits (`soon`) at once.
pub fn not_started(soon: bool) -> bool {
    let database = database();
    let mut shared = SHARED.exclusive();
    if soon && let Some(worker) = shared.workers.iter_mut().find(|w| w.database == database) {
        worker.started = i64::MIN;
    }
    let others = shared.workers.iter_mut().filter(|w| w.process != 0);
    let Some(oldest) = others.min_by_key(|w| (w.leave, w.started)) else {
        return false;
    };
    oldest.leave = true;
    let process = oldest.process;
    drop(shared);
    wake(process);
    true
}

/// A request that was handed in. Dropped before its answer was taken, it is given up, also by an error.
pub struct Waiting {
    slot: usize,
    generation: u64,
}

impl Waiting {
    /// Hands in a request; `None` while all slots are in use.
    pub fn submit(request: &[u8]) -> Option<Self> {
        on_exit_once();
        let (database, backend) = (database(), session::backend());
        let (waiting, worker) = {
            let mut shared = SHARED.exclusive();
            let at = shared.slots.iter().position(|s| s.state == State::Free)?;
            let slot = &mut shared.slots[at];
            slot.state = State::Waiting;
            slot.generation += 1;
            slot.database = database;
            slot.backend = backend;
            slot.len = request.len().min(REQUEST_MAX);
            slot.bytes[..slot.len].copy_from_slice(&request[..slot.len]);
            let waiting = Self {
                slot: at,
                generation: slot.generation,
            };
            let worker = shared.workers.iter().find(|w| w.database == database);
            (waiting, worker.map_or(0, |worker| worker.process))
        };
        WAITED.set(Some((waiting.slot, waiting.generation)));
        if worker != 0 {
            wake(worker);
        }
        Some(waiting)
    }

    /// The answer, if it is there; a failure comes with a text.
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
        // SAFETY: registered once per process; the callback is guarded and lives for ever.
        unsafe { pg_sys::before_shmem_exit(Some(backend_exit), pg_sys::Datum::from(0)) };
    }
}

/// A backend that is terminated while it waits does not unwind.
#[pg_guard]
unsafe extern "C-unwind" fn backend_exit(_code: i32, _arg: pg_sys::Datum) {
    if let Some((slot, generation)) = WAITED.replace_with(None) {
        give_up(slot, generation);
    }
}

/// Asks the worker of a database to end, since the server counts who is connected to it.
pub fn ask_to_leave(database: pg_sys::Oid) {
    let database = database.to_u32();
    let mut process = 0;
    for worker in &mut SHARED.exclusive().workers {
        if worker.database == database && worker.process != 0 {
            worker.leave = true;
            process = worker.process;
        }
    }
    if process != 0 {
        wake(process);
    }
}

/// The process id of this database's worker.
pub fn process() -> Option<i32> {
    let database = database();
    let shared = SHARED.share();
    let worker = shared.workers.iter().find(|w| w.database == database)?;
    (worker.process != 0).then_some(worker.process)
}

/// Wakes this database's worker.
pub fn nudge() {
    if let Some(process) = process() {
        wake(process);
    }
}

// The worker's side ---------------------------------------------------------------------------------

/// A request that the worker took.
pub struct Taken {
    slot: usize,
    generation: u64,
    /// What is asked for.
    pub request: Vec<u8>,
}

/// This process is its database's worker from now on; false when there is another.
pub fn arrive() -> bool {
    let (database, process) = (database(), session::backend());
    let mut shared = SHARED.exclusive();
    let Some(worker) = shared.workers.iter_mut().find(|w| w.database == database) else {
        return false;
    };
    if worker.process != 0 {
        return false;
    }
    worker.process = process;
    drop(shared);
    // SAFETY: registered once, by a process that becomes a worker once.
    unsafe { pg_sys::before_shmem_exit(Some(worker_exit), pg_sys::Datum::from(0)) };
    true
}

/// The requests that wait for this worker.
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
        wake(backend);
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

/// Whether there is something to seal that was not there at the last call.
pub fn take_dirty() -> bool {
    let database = database();
    let shared = SHARED.share();
    shared
        .workers
        .iter()
        .find(|w| w.database == database)
        .is_some_and(|worker| worker.dirty.swap(false, Ordering::Relaxed))
}

/// Whether this worker was asked to leave.
pub fn to_leave() -> bool {
    let database = database();
    let shared = SHARED.share();
    shared
        .workers
        .iter()
        .any(|w| w.database == database && w.leave)
}

/// This worker goes, unless somebody waits for it.
pub fn depart() -> bool {
    let database = database();
    let mut shared = SHARED.exclusive();
    let waited = |slot: &Slot| slot.state == State::Waiting && slot.database == database;
    if shared.slots.iter().any(waited) {
        return false;
    }
    forget(&mut shared);
    true
}

fn forget(shared: &mut Shared) {
    let (database, process) = (database(), session::backend());
    for worker in &mut shared.workers {
        if worker.database == database && worker.process == process {
            worker.database = 0;
            worker.process = 0;
        }
    }
}

/// However the worker ends, nobody goes on waiting for it.
#[pg_guard]
unsafe extern "C-unwind" fn worker_exit(_code: i32, _arg: pg_sys::Datum) {
    let database = database();
    let mut waiting = Vec::new();
    {
        let mut shared = SHARED.exclusive();
        let process = session::backend();
        let mine = |w: &Worker| w.database == database && w.process == process;
        if !shared.workers.iter().any(mine) {
            return;
        }
        forget(&mut shared);
        for slot in &mut shared.slots {
            if slot.database != database {
                continue;
            }
            match slot.state {
                State::Taken | State::Abandoned => {
                    waiting.extend(settle(slot, Outcome::Failed, "the worker ended"));
                }
                // Who waits starts another one.
                State::Waiting => waiting.push(slot.backend),
                State::Free | State::Answered(_) => {}
            }
        }
    }
    waiting.into_iter().for_each(wake);
}
