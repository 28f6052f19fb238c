//! Which databases have a worker and which need one, in shared memory. A database keeps its entry while it
//! has no worker, so that the launcher knows when there is something to do for it. What it decides is core's.

use std::sync::atomic::Ordering;

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};
use tenancy_core::time::{Instant, Length};
use tenancy_core::worker::{AWAY, Entry, SEARCH, SECOND, TIDY, TRIES, Table, What};

use crate::pg::cell::BackendCell;
use crate::pg::latch::wake;
use crate::pg::queue::{self, database};
use crate::pg::time::now;
use crate::pg::{capped, counts, events, session};

pub use tenancy_core::worker::{Job, Others};

/// How many databases have an entry. One more takes the entry of the idle one that is due last.
const DATABASES: usize = 1024;
/// How long after a worker has died what it left is tried again.
const REST: Length = Length::from_seconds(30);
/// How often the log says that the launcher has to work itself.
const TELL: Length = Length::from_seconds(60);

struct Shared {
    table: Table<DATABASES>,
    /// The launcher's latch; 0 if there is no launcher.
    launcher: usize,
    /// Whether there was a launcher since the server's start.
    seen: bool,
    /// When the log last had a warning that the launcher works itself.
    told: Instant,
}

// SAFETY: plain memory, reached under the lock; the address of a latch is only passed to the server.
unsafe impl pgrx::PGRXSharedMemory for Shared {}

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"tenancy_workers") };

/// Where this process last found its database.
static HINT: BackendCell<usize> = BackendCell::new(0);
/// The database that this process works for.
static WORKS_FOR: BackendCell<u32> = BackendCell::new(0);
/// Whether it is connected to it.
static CONNECTED: BackendCell<bool> = BackendCell::new(false);

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    pg_shmem_init!(
        SHARED = Shared {
            table: Table::new(),
            launcher: 0,
            seen: false,
            told: Instant::LONG_AGO,
        }
    );
}

impl Shared {
    fn find(&self, database: u32) -> Option<&Entry> {
        let (at, entry) = self.table.find(database, HINT.get())?;
        HINT.set(at);
        Some(entry)
    }

    fn find_mut(&mut self, database: u32) -> Option<&mut Entry> {
        self.table.find_mut(database)
    }

    /// Returns the latch to set for work that is due at a time.
    fn launcher_for(&self, due: Instant) -> usize {
        match due < self.table.sleeps_until {
            true => self.launcher,
            false => 0,
        }
    }
}

/// Wakes the launcher, if it is running.
fn wake_launcher(latch: usize) {
    if latch != 0 {
        // SAFETY: a latch in the server's shared memory, which lasts as long as the server. Where its
        // owner has ended, another process wakes for nothing, or none.
        unsafe { pg_sys::SetLatch(latch as *mut pg_sys::Latch) };
    }
}

// A backend's side ----------------------------------------------------------------------------------

/// The state of a database's worker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is running or starting.
    There,
    /// The caller must start it.
    ToStart,
    /// Too many databases have a place.
    NoRoom,
}

/// Returns the state of this database's worker. `dirty` notes that something must be sealed. Without a waiting
/// caller, due work that the launcher already knows of is left to it.
pub fn look(dirty: bool, waiting: bool) -> Presence {
    let database = database();
    if let Some(entry) = SHARED.share().find(database)
        && entry.process != 0
        && !entry.leave
    {
        touch(entry, dirty);
        return Presence::There;
    }
    let now = now();
    let mut shared = SHARED.exclusive();
    let Some(entry) = shared.table.entry(database, now) else {
        return Presence::NoRoom;
    };
    touch(entry, dirty);
    // Admission to leave, and now wanted again.
    entry.leave = false;
    if entry.process != 0 || entry.is_starting(now) {
        return Presence::There;
    }
    if !waiting && (entry.wanted != Instant::NEVER || entry.due <= now) {
        return Presence::There;
    }
    entry.started = now;
    entry.errand = false;
    Presence::ToStart
}

/// Stores only what changes: the entries are read by all.
fn touch(entry: &Entry, dirty: bool) {
    for flag in [Some(&entry.touched), dirty.then_some(&entry.dirty)] {
        if let Some(flag) = flag
            && !flag.load(Ordering::Relaxed)
        {
            flag.store(true, Ordering::Relaxed);
        }
    }
}

/// Notes that a worker could not be started because the server has no process left. The launcher then does its work,
/// first for databases where callers wait. Returns false if there never was a launcher.
pub fn not_started(waiting: bool) -> bool {
    let (database, now) = (database(), now());
    let (launcher, seen) = {
        let mut shared = SHARED.exclusive();
        if let Some(entry) = shared.find_mut(database)
            && entry.process == 0
        {
            entry.started = Instant::LONG_AGO;
            match waiting {
                true => entry.wanted = entry.wanted.min(now),
                false => entry.due = entry.due.min(now),
            }
        }
        (shared.launcher, shared.seen)
    };
    wake_launcher(launcher);
    seen
}

/// Notes that work for this database is due at a time. No process is needed until then.
pub fn expect(due: Instant) {
    note(database(), What::Due, due);
}

/// Notes that a clean-up of this database is due at a time.
pub fn expect_tidying(due: Instant) {
    note(database(), What::Tidying, due);
}

fn note(database: u32, what: What, at: Instant) {
    if let Some(entry) = SHARED.share().find(database)
        && entry.expected(what) <= at
    {
        return;
    }
    let launcher = {
        let mut shared = SHARED.exclusive();
        let now = now();
        let Some(entry) = shared.table.entry(database, now) else {
            let soon = now + SEARCH;
            shared.table.search = shared.table.search.min(soon);
            return;
        };
        entry.expect(what, at);
        match entry.process {
            0 => shared.launcher_for(at),
            _ => 0,
        }
    };
    wake_launcher(launcher);
}

/// Makes all databases write their counters, which are nearly full. At most once a second.
pub fn make_all_write() {
    let launcher = {
        let mut shared = SHARED.exclusive();
        let soon = (shared.table.searched + SECOND).max(now());
        if shared.table.search <= soon {
            return;
        }
        shared.table.search = soon;
        shared.launcher_for(soon)
    };
    wake_launcher(launcher);
}

/// Notes that this database's counts from before the server was stopped are in shared memory again. Called while the
/// server starts.
pub fn restored(database: u32) {
    if let Some(entry) = SHARED.exclusive().table.entry(database, now()) {
        entry.write_all = true;
        entry.due = Instant::LONG_AGO;
    }
}

/// Asks the worker of a database to exit, because a statement needs the database without other connections. No
/// worker is started for a while.
pub fn ask_to_leave(database: pg_sys::Oid) {
    let now = now();
    let mut process = 0;
    if let Some(entry) = SHARED.exclusive().find_mut(database.to_u32()) {
        entry.away_until = now + AWAY;
        entry.leave = entry.process != 0 || entry.is_starting(now);
        process = entry.process;
    }
    if process != 0 {
        wake(process);
    }
}

/// Removes a dropped database, with all its work.
pub fn dropped(database: u32) {
    if let Some(entry) = SHARED.exclusive().find_mut(database)
        && entry.process == 0
    {
        *entry = Entry::of(database);
    }
    drop(counts::take(database, |_| true));
    drop(capped::take(database, true));
    drop(events::take(database));
}

/// Returns the process id of this database's worker.
pub fn process() -> Option<i32> {
    let shared = SHARED.share();
    let entry = shared.find(database())?;
    (entry.process != 0).then_some(entry.process)
}

/// Wakes this database's worker.
pub fn nudge() {
    if let Some(process) = process() {
        wake(process);
    }
}

// The worker's side ---------------------------------------------------------------------------------

/// What a worker must do first.
#[derive(Clone, Copy, Default)]
pub struct Started {
    /// It was started for due work; no caller waits.
    pub errand: bool,
    /// All counts must be written.
    pub write_all: bool,
    /// The database must be cleaned up first.
    pub tidy: bool,
}

/// Registers this process, which is connected to its database, as its worker; `None` if there is another.
pub fn arrive() -> Option<Started> {
    let started = take_on(database(), false)?;
    connected();
    Some(started)
}

/// This process, a worker or the launcher, is a database's worker from now on, and about to connect to it; nothing when
/// there is another.
pub fn take_on(database: u32, launcher: bool) -> Option<Started> {
    let now = now();
    let mut shared = SHARED.exclusive();
    let entry = shared.find_mut(database).filter(|p| p.process == 0)?;
    entry.process = session::backend();
    entry.wanted = Instant::NEVER;
    let tidied = (Length::ZERO..TIDY).contains(&(now - entry.tidied));
    let started = Started {
        errand: entry.errand,
        write_all: entry.write_all,
        tidy: !(tidied && (entry.errand || launcher)),
    };
    shared.table.errand_next = !started.errand;
    drop(shared);
    WORKS_FOR.set(database);
    // SAFETY: registered once, by a process that becomes a worker once.
    unsafe { pg_sys::before_shmem_exit(Some(worker_exit), pg_sys::Datum::from(0)) };
    Some(started)
}

/// Notes that this process is connected to its database.
pub fn connected() {
    CONNECTED.set(true);
    if let Some(entry) = SHARED.exclusive().find_mut(WORKS_FOR.get()) {
        entry.due = Instant::NEVER;
        entry.tries = 0;
        entry.write_all = false;
    }
}

/// Returns whether something to seal was written since the last call.
pub fn take_dirty() -> bool {
    let shared = SHARED.share();
    (shared.find(database())).is_some_and(|entry| entry.dirty.swap(false, Ordering::Relaxed))
}

/// Notes that this worker itself wrote something to seal or roll up.
pub fn note_dirty() {
    if let Some(entry) = SHARED.share().find(database()) {
        entry.dirty.store(true, Ordering::Relaxed);
    }
}

/// Notes that the worker cleans up.
pub fn tidying() {
    let (database, now) = (database(), now());
    if let Some(entry) = SHARED.exclusive().find_mut(database) {
        entry.tidy = Instant::NEVER;
        entry.tidied = now;
    }
}

/// Returns whether this worker was asked to exit.
pub fn to_leave() -> bool {
    SHARED.share().find(database()).is_some_and(|p| p.leave)
}

/// Returns whether other databases need a worker.
pub fn others() -> Others {
    SHARED.share().table.others(now())
}

/// Returns whether a backend needed the worker since the last call. Clears expected work: the worker finds out
/// itself what is due.
pub fn take_touched() -> bool {
    let mut shared = SHARED.exclusive();
    let Some(entry) = shared.find_mut(database()) else {
        return false;
    };
    entry.due = Instant::NEVER;
    std::mem::take(entry.touched.get_mut())
}

/// Unregisters this worker, unless it is needed. Work is due again at `due`; `dirty` means that something is not
/// sealed or rolled up yet. Returns whether the worker exits.
pub fn depart(due: Instant, dirty: bool) -> bool {
    let database = database();
    let launcher = {
        let mut shared = SHARED.exclusive();
        let Some(entry) = shared.find_mut(database) else {
            return true;
        };
        if entry.touched.load(Ordering::Relaxed) || queue::is_waited_for(database) {
            return false;
        }
        go(entry, due, dirty);
        shared.launcher
    };
    wake_launcher(launcher);
    true
}

/// Unregisters this worker even if callers wait: it did its last work, or it is the launcher and other databases wait.
pub fn give_way(due: Instant, dirty: bool) {
    let database = database();
    let mut shared = SHARED.exclusive();
    if let Some(entry) = shared.find_mut(database) {
        go(entry, due, dirty);
        if queue::is_waited_for(database) {
            entry.wanted = now();
        }
    }
    let launcher = shared.launcher;
    drop(shared);
    wake_launcher(launcher);
}

fn go(entry: &mut Entry, due: Instant, dirty: bool) {
    entry.goes(due, dirty, now());
    WORKS_FOR.set(0);
}

/// Unregisters this worker, because the extension is not in this database.
pub fn gone() {
    let database = database();
    if let Some(entry) = SHARED.exclusive().find_mut(database) {
        *entry = Entry::of(database);
    }
    WORKS_FOR.set(0);
}

/// Called at the end of a worker, also after a failure: callers stop waiting for it, and its work is retried.
#[pg_guard]
unsafe extern "C-unwind" fn worker_exit(_code: i32, _arg: pg_sys::Datum) {
    let (database, process, now) = (WORKS_FOR.replace_with(0), session::backend(), now());
    if database == 0 {
        return;
    }
    // First, because the next worker takes its own requests.
    queue::abandon(database);
    if let Some(entry) = SHARED.exclusive().find_mut(database)
        && entry.process == process
    {
        entry.has_none(now + REST);
        *entry.dirty.get_mut() = true;
        // If it could not connect, no other worker can.
        if !CONNECTED.get() {
            entry.started = now;
            if entry.tries >= TRIES {
                *entry = Entry::of(database);
            }
        }
    }
}

// The launcher's side -------------------------------------------------------------------------------

/// Registers this process as the launcher.
pub fn launch() {
    let mut shared = SHARED.exclusive();
    // SAFETY: reads the address of this process's latch.
    shared.launcher = unsafe { pg_sys::MyLatch } as usize;
    shared.seen = true;
    drop(shared);
    // SAFETY: registered once, by a process that becomes the launcher once.
    unsafe { pg_sys::before_shmem_exit(Some(launcher_exit), pg_sys::Datum::from(0)) };
}

#[pg_guard]
unsafe extern "C-unwind" fn launcher_exit(_code: i32, _arg: pg_sys::Datum) {
    SHARED.exclusive().launcher = 0;
}

/// Returns the next job of the launcher. It alternates between databases where callers wait and databases where
/// work is due, the one that waits longest first.
pub fn next_job() -> Job {
    let now = now();
    let mut shared = SHARED.exclusive();
    // Later work wakes the launcher.
    shared.table.sleeps_until = Instant::NEVER;
    if shared.table.search <= now {
        drop(shared);
        search(now);
        shared = SHARED.exclusive();
    }
    shared.table.next_job(now)
}

/// Gives an entry to all databases that have something counted, which is due now.
fn search(now: Instant) {
    let mut found = counts::databases();
    found.extend(capped::databases());
    found.extend(events::databases());
    found.sort_unstable();
    found.dedup();
    {
        let mut shared = SHARED.exclusive();
        shared.table.search = Instant::NEVER;
        shared.table.searched = now;
    }
    // Without room for a database, this sets the next search.
    for database in found {
        note(database, What::Due, now);
    }
}

/// Makes each database with work compute again when it is due, because settings may have changed.
pub fn reconsider() {
    let now = now();
    for entry in SHARED.exclusive().table.all_mut() {
        if entry.process == 0 && entry.due != Instant::NEVER {
            entry.due = entry.due.min(now);
        }
    }
}

/// Returns whether the log should get a warning that the launcher works itself.
pub fn to_tell() -> bool {
    let now = now();
    let mut shared = SHARED.exclusive();
    let due = !(Length::ZERO..TELL).contains(&(now - shared.told));
    if due {
        shared.told = now;
    }
    due
}
