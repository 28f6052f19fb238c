//! Which databases have a worker and which need one, in shared memory. A database keeps its entry while it
//! has no worker, so that the launcher knows when there is something to do for it. What it decides is core's.

use std::sync::atomic::Ordering;

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};
use tenancy_core::worker::{
    AWAY_MICROS, Entry, LONG_AGO, SEARCH_MICROS, SECOND_MICROS, TIDY_MICROS, TRIES, Table, What,
};

use crate::pg::cell::BackendCell;
use crate::pg::latch::wake;
use crate::pg::queue::{self, database};
use crate::pg::time::now;
use crate::pg::{capped, counts, events, session};

pub use tenancy_core::worker::{Job, NEVER, Others};

/// How many databases have an entry. One more takes the entry of the idle one that is due last.
const DATABASES: usize = 1024;
/// How long after a worker has died what it left is tried again.
const REST_MICROS: i64 = 30 * SECOND_MICROS;
/// How often the log says that the launcher has to work itself.
const TELL_MICROS: i64 = 60 * SECOND_MICROS;

struct Shared {
    table: Table<DATABASES>,
    /// The launcher's latch; 0 while it is not there.
    launcher: usize,
    /// There was a launcher since the server's start.
    seen: bool,
    /// When the log was told that the launcher has to work itself.
    told: i64,
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

/// Takes the shared memory; while the server loads its libraries.
pub fn init() {
    pg_shmem_init!(
        SHARED = Shared {
            table: Table::new(),
            launcher: 0,
            seen: false,
            told: LONG_AGO,
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

    /// The latch to set for something that is due then.
    fn launcher_for(&self, due: i64) -> usize {
        match due < self.table.sleeps_until {
            true => self.launcher,
            false => 0,
        }
    }
}

/// Wakes the launcher, if it is there.
fn wake_launcher(latch: usize) {
    if latch != 0 {
        // SAFETY: a latch in the server's shared memory, which lasts as long as the server. Where its
        // owner has ended, another process wakes for nothing, or none.
        unsafe { pg_sys::SetLatch(latch as *mut pg_sys::Latch) };
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

/// Looks for this database's worker; with `dirty`, tells it that there is something to seal. Without a
/// caller who waits, what the launcher already knows of is left to it.
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
    if !waiting && (entry.wanted != NEVER || entry.due <= now) {
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

/// The worker that was to be started cannot be, since the server has no process left for it: the launcher
/// does its work, first for databases where callers wait. Returns false if there never was a launcher.
pub fn not_started(waiting: bool) -> bool {
    let (database, now) = (database(), now());
    let (launcher, seen) = {
        let mut shared = SHARED.exclusive();
        if let Some(entry) = shared.find_mut(database)
            && entry.process == 0
        {
            entry.started = LONG_AGO;
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

/// There is something to do for this database then. Costs no process until that time.
pub fn expect(due: i64) {
    note(database(), What::Due, due);
}

/// There is something to tidy up in this database then.
pub fn expect_tidying(due: i64) {
    note(database(), What::Tidying, due);
}

fn note(database: u32, what: What, at: i64) {
    if let Some(entry) = SHARED.share().find(database)
        && entry.expected(what) <= at
    {
        return;
    }
    let launcher = {
        let mut shared = SHARED.exclusive();
        let now = now();
        let Some(entry) = shared.table.entry(database, now) else {
            let soon = now.saturating_add(SEARCH_MICROS);
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

/// The counters are nearly full: all databases are to write theirs down. At most once a second.
pub fn make_all_write() {
    let launcher = {
        let mut shared = SHARED.exclusive();
        let soon = shared
            .table
            .searched
            .saturating_add(SECOND_MICROS)
            .max(now());
        if shared.table.search <= soon {
            return;
        }
        shared.table.search = soon;
        shared.launcher_for(soon)
    };
    wake_launcher(launcher);
}

/// What this database had counted when the server was stopped is in shared memory again. While the
/// server starts.
pub fn restored(database: u32) {
    if let Some(entry) = SHARED.exclusive().table.entry(database, now()) {
        entry.write_all = true;
        entry.due = LONG_AGO;
    }
}

/// Asks the worker of a database to end, since the server counts who is connected to it, and starts none
/// for a while.
pub fn ask_to_leave(database: pg_sys::Oid) {
    let now = now();
    let mut process = 0;
    if let Some(entry) = SHARED.exclusive().find_mut(database.to_u32()) {
        entry.away_until = now.saturating_add(AWAY_MICROS);
        entry.leave = entry.process != 0 || entry.is_starting(now);
        process = entry.process;
    }
    if process != 0 {
        wake(process);
    }
}

/// A database was dropped, with all that there was to do for it.
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

/// The process id of this database's worker.
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

/// What a worker was started for.
#[derive(Clone, Copy, Default)]
pub struct Started {
    /// For what was due; no caller waits.
    pub errand: bool,
    /// All that is counted is to be written.
    pub write_all: bool,
    /// It is to be tidied up first.
    pub tidy: bool,
}

/// This process, which is connected to its database, is its worker from now on; nothing when there is another.
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
    entry.wanted = NEVER;
    let tidied = (0..TIDY_MICROS).contains(&now.saturating_sub(entry.tidied));
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

/// This process is connected to the database that it works for.
pub fn connected() {
    CONNECTED.set(true);
    if let Some(entry) = SHARED.exclusive().find_mut(WORKS_FOR.get()) {
        entry.due = NEVER;
        entry.tries = 0;
        entry.write_all = false;
    }
}

/// Whether there is something to seal that was not there at the last call.
pub fn take_dirty() -> bool {
    let shared = SHARED.share();
    (shared.find(database())).is_some_and(|entry| entry.dirty.swap(false, Ordering::Relaxed))
}

/// There is something to seal or roll up that this worker wrote itself.
pub fn note_dirty() {
    if let Some(entry) = SHARED.share().find(database()) {
        entry.dirty.store(true, Ordering::Relaxed);
    }
}

/// The worker tidies up.
pub fn tidying() {
    let (database, now) = (database(), now());
    if let Some(entry) = SHARED.exclusive().find_mut(database) {
        entry.tidy = NEVER;
        entry.tidied = now;
    }
}

/// Whether this worker was asked to leave.
pub fn to_leave() -> bool {
    SHARED.share().find(database()).is_some_and(|p| p.leave)
}

/// Whether other databases need a worker.
pub fn others() -> Others {
    SHARED.share().table.others(now())
}

/// Whether the worker was looked for since the last call. What was expected until now is no more: the
/// worker finds out by itself what there is to do.
pub fn take_touched() -> bool {
    let mut shared = SHARED.exclusive();
    let Some(entry) = shared.find_mut(database()) else {
        return false;
    };
    entry.due = NEVER;
    std::mem::take(entry.touched.get_mut())
}

/// This worker goes, unless it is looked for; something is to be done again at `due`, and there is
/// something that was not sealed or rolled up yet if `dirty`.
pub fn depart(due: i64, dirty: bool) -> bool {
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

/// This worker goes, whoever waits for it: it did its last work, or it is the launcher and others wait.
pub fn give_way(due: i64, dirty: bool) {
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

fn go(entry: &mut Entry, due: i64, dirty: bool) {
    entry.goes(due, dirty, now());
    WORKS_FOR.set(0);
}

/// This worker goes: the extension is not in this database.
pub fn gone() {
    let database = database();
    if let Some(entry) = SHARED.exclusive().find_mut(database) {
        *entry = Entry::of(database);
    }
    WORKS_FOR.set(0);
}

/// However a worker ends, no caller goes on waiting for it, and what it left is tried again.
#[pg_guard]
unsafe extern "C-unwind" fn worker_exit(_code: i32, _arg: pg_sys::Datum) {
    let (database, process, now) = (WORKS_FOR.replace_with(0), session::backend(), now());
    if database == 0 {
        return;
    }
    // First: who comes next takes requests of its own.
    queue::abandon(database);
    if let Some(entry) = SHARED.exclusive().find_mut(database)
        && entry.process == process
    {
        entry.has_none(now.saturating_add(REST_MICROS));
        *entry.dirty.get_mut() = true;
        // Where it could not even connect, no other can.
        if !CONNECTED.get() {
            entry.started = now;
            if entry.tries >= TRIES {
                *entry = Entry::of(database);
            }
        }
    }
}

// The launcher's side -------------------------------------------------------------------------------

/// This process is the launcher.
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

/// Finds what the launcher does next: by turns a database where callers wait and one where something is
/// due, in each case the one that waits longest.
pub fn next_job() -> Job {
    let now = now();
    let mut shared = SHARED.exclusive();
    // What comes from now on wakes the launcher.
    shared.table.sleeps_until = NEVER;
    if shared.table.search <= now {
        drop(shared);
        search(now);
        shared = SHARED.exclusive();
    }
    shared.table.next_job(now)
}

/// Gives an entry to all databases that have something counted, which is due now.
fn search(now: i64) {
    let mut found = counts::databases();
    found.extend(capped::databases());
    found.extend(events::databases());
    found.sort_unstable();
    found.dedup();
    {
        let mut shared = SHARED.exclusive();
        shared.table.search = NEVER;
        shared.table.searched = now;
    }
    // Where there is no room for one, this sets the next search.
    for database in found {
        note(database, What::Due, now);
    }
}

/// Settings may have changed, on which it depends when something is due: each database with something
/// to do finds out.
pub fn reconsider() {
    let now = now();
    for entry in SHARED.exclusive().table.all_mut() {
        if entry.process == 0 && entry.due != NEVER {
            entry.due = entry.due.min(now);
        }
    }
}

/// Whether it is time to tell the log that the launcher has to work itself.
pub fn to_tell() -> bool {
    let now = now();
    let mut shared = SHARED.exclusive();
    let due = !(0..TELL_MICROS).contains(&now.saturating_sub(shared.told));
    if due {
        shared.told = now;
    }
    due
}
