//! Which databases have a worker and which need one, in shared memory. A database keeps its place while it
//! has no worker, so that the launcher knows when there is something to do for it.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};

use super::cell::BackendCell;
use super::queue::{self, database};
use super::time::now;
use super::{capped, counts, events, session, worker};

/// How many databases have a place. One more takes the place of the idle one that is due last.
const DATABASES: usize = 1024;
/// How long a worker may take from being asked for to being there, in microseconds.
const START: i64 = 10 * SECOND;
/// How often a worker is started for a database that none reaches: it was dropped, or allows no connections.
const TRIES: u8 = 3;
/// How many workers the launcher starts at once for work that no caller waits for.
const ERRANDS: usize = 2;
/// How long a database is left alone that somebody is about to drop, rename or copy, in microseconds.
const AWAY: i64 = 10 * SECOND;
/// How long after the last tidying up the launcher has a database tidied up again, in microseconds.
const TIDY: i64 = 60 * SECOND;
/// How long after a worker has died what it left is tried again, in microseconds.
const REST: i64 = 30 * SECOND;
/// How often the launcher searches for databases that lost their place, in microseconds.
const SEARCH: i64 = 60 * SECOND;
/// How often the log says that the launcher has to work itself, in microseconds.
const TELL: i64 = 60 * SECOND;
const SECOND: i64 = 1_000_000;
/// An instant that never comes.
pub const NEVER: i64 = i64::MAX;
/// An instant that is over.
const LONG_AGO: i64 = i64::MIN;

/// What is known of a database.
struct Place {
    /// 0 is a free place.
    database: u32,
    /// Its worker; 0 while there is none.
    process: i32,
    /// When a worker was last asked for.
    started: i64,
    /// The worker is to end as soon as no caller waits for it.
    leave: bool,
    /// Until when no worker is started for what is due.
    away_until: i64,
    /// The worker was started for what was due.
    errand: bool,
    /// How often a worker was started for what is due, and did not come.
    tries: u8,
    /// Since when a caller waits for whom no worker could be started.
    wanted: i64,
    /// When there is something to do.
    due: i64,
    /// When there is something to tidy up.
    tidy: i64,
    /// When it was tidied up.
    tidied: i64,
    /// All that is counted is to be written: it was counted before the server was stopped.
    write_all: bool,
    /// Something was written that is to be sealed or rolled up.
    dirty: AtomicBool,
    /// The worker was looked for since it last looked whether it may go.
    touched: AtomicBool,
}

/// What somebody expects to be done.
#[derive(Clone, Copy)]
enum What {
    Due,
    Tidying,
}

struct Shared {
    places: [Place; DATABASES],
    /// How many places were ever taken: the first ones.
    used: usize,
    /// The launcher's latch; 0 while it is not there.
    launcher: usize,
    /// There was a launcher since the server's start.
    seen: bool,
    /// Until when the launcher sleeps.
    sleeps_until: i64,
    /// The launcher serves what is due before it serves another caller.
    errand_next: bool,
    /// When the launcher searches for databases without a place that have something to do.
    search: i64,
    searched: i64,
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
            places: [const { Place::of(0) }; DATABASES],
            used: 0,
            launcher: 0,
            seen: false,
            sleeps_until: LONG_AGO,
            errand_next: false,
            search: NEVER,
            searched: LONG_AGO,
            told: LONG_AGO,
        }
    );
}

impl Place {
    const fn of(database: u32) -> Self {
        Self {
            database,
            process: 0,
            started: LONG_AGO,
            leave: false,
            away_until: LONG_AGO,
            errand: false,
            tries: 0,
            wanted: NEVER,
            due: NEVER,
            tidy: NEVER,
            tidied: LONG_AGO,
            write_all: false,
            dirty: AtomicBool::new(true),
            touched: AtomicBool::new(false),
        }
    }

    fn expected(&self, what: What) -> i64 {
        match what {
            What::Due => self.due,
            What::Tidying => self.tidy,
        }
    }

    fn expect(&mut self, what: What, at: i64) {
        let expected = match what {
            What::Due => &mut self.due,
            What::Tidying => &mut self.tidy,
        };
        *expected = at.min(*expected);
    }

    fn is_starting(&self, now: i64) -> bool {
        self.process == 0 && self.started_lately(now)
    }

    /// Also when the clock was set back.
    fn started_lately(&self, now: i64) -> bool {
        (0..START).contains(&now.saturating_sub(self.started))
    }

    fn is_wanted(&self) -> bool {
        self.process == 0 && self.wanted != NEVER
    }

    /// When the launcher has to start a worker for what is due.
    fn next(&self) -> i64 {
        let tidy = match self.tidy {
            NEVER => NEVER,
            tidy => tidy.max(self.tidied.saturating_add(TIDY)),
        };
        match self.due.min(tidy) {
            NEVER => NEVER,
            due => due.max(self.away_until),
        }
    }

    fn has_none(&mut self, due: i64) {
        self.process = 0;
        self.started = LONG_AGO;
        self.leave = false;
        self.due = due;
    }
}

impl Shared {
    fn all(&self) -> &[Place] {
        self.places.get(..self.used).unwrap_or_default()
    }

    fn all_mut(&mut self) -> &mut [Place] {
        self.places.get_mut(..self.used).unwrap_or_default()
    }

    fn find(&self, database: u32) -> Option<&Place> {
        let here = |place: &&Place| place.database == database;
        if let Some(place) = self.places.get(HINT.get()).filter(here) {
            return Some(place);
        }
        let at = self.all().iter().position(|p| p.database == database)?;
        HINT.set(at);
        self.places.get(at)
    }

    fn find_mut(&mut self, database: u32) -> Option<&mut Place> {
        self.all_mut().iter_mut().find(|p| p.database == database)
    }

    /// The database's place, a new one if it has none. When all are taken, the idle database that is due
    /// last loses its place; what is counted for it is found by the next search.
    fn place(&mut self, database: u32) -> Option<&mut Place> {
        let known = self.all().iter().position(|p| p.database == database);
        let at = match known {
            Some(at) => at,
            None => {
                let at = self.make_room()?;
                self.places[at] = Place::of(database);
                at
            }
        };
        self.places.get_mut(at)
    }

    fn make_room(&mut self) -> Option<usize> {
        if self.used < DATABASES {
            self.used += 1;
            return Some(self.used - 1);
        }
        let now = now();
        let idle = |p: &Place| p.process == 0 && p.wanted == NEVER && !p.is_starting(now);
        let (at, last) = (self.all().iter().enumerate())
            .filter(|(_, place)| idle(place))
            .max_by_key(|(_, place)| place.next())?;
        if last.next() != NEVER {
            self.search = self.search.min(now.saturating_add(SEARCH));
        }
        Some(at)
    }

    /// The latch to set for something that is due then.
    fn launcher_for(&self, due: i64) -> usize {
        match due < self.sleeps_until {
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

/// Wakes a process of the server, if it is still there.
pub fn wake(process: i32) {
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

/// Looks for this database's worker; with `dirty`, tells it that there is something to seal. Without a
/// caller who waits, what the launcher already knows of is left to it.
pub fn look(dirty: bool, waiting: bool) -> Presence {
    let database = database();
    if let Some(place) = SHARED.share().find(database)
        && place.process != 0
        && !place.leave
    {
        touch(place, dirty);
        return Presence::There;
    }
    let now = now();
    let mut shared = SHARED.exclusive();
    let Some(place) = shared.place(database) else {
        return Presence::NoRoom;
    };
    touch(place, dirty);
    // Asked to leave, and now wanted again.
    place.leave = false;
    if place.process != 0 || place.is_starting(now) {
        return Presence::There;
    }
    if !waiting && (place.wanted != NEVER || place.due <= now) {
        return Presence::There;
    }
    place.started = now;
    place.errand = false;
    Presence::ToStart
}

/// Stores only what changes: the places are read by all.
fn touch(place: &Place, dirty: bool) {
    for flag in [Some(&place.touched), dirty.then_some(&place.dirty)] {
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
        if let Some(place) = shared.find_mut(database)
            && place.process == 0
        {
            place.started = LONG_AGO;
            match waiting {
                true => place.wanted = place.wanted.min(now),
                false => place.due = place.due.min(now),
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
    if let Some(place) = SHARED.share().find(database)
        && place.expected(what) <= at
    {
        return;
    }
    let launcher = {
        let mut shared = SHARED.exclusive();
        let Some(place) = shared.place(database) else {
            let soon = now().saturating_add(SEARCH);
            shared.search = shared.search.min(soon);
            return;
        };
        place.expect(what, at);
        match place.process {
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
        let soon = shared.searched.saturating_add(SECOND).max(now());
        if shared.search <= soon {
            return;
        }
        shared.search = soon;
        shared.launcher_for(soon)
    };
    wake_launcher(launcher);
}

/// What this database had counted when the server was stopped is in shared memory again. While the
/// server starts.
pub fn restored(database: u32) {
    if let Some(place) = SHARED.exclusive().place(database) {
        place.write_all = true;
        place.due = LONG_AGO;
    }
}

/// Asks the worker of a database to end, since the server counts who is connected to it, and starts none
/// for a while.
pub fn ask_to_leave(database: pg_sys::Oid) {
    let now = now();
    let mut process = 0;
    if let Some(place) = SHARED.exclusive().find_mut(database.to_u32()) {
        place.away_until = now.saturating_add(AWAY);
        place.leave = place.process != 0 || place.is_starting(now);
        process = place.process;
    }
    if process != 0 {
        wake(process);
    }
}

/// A database was dropped, with all that there was to do for it.
pub fn dropped(database: u32) {
    if let Some(place) = SHARED.exclusive().find_mut(database)
        && place.process == 0
    {
        *place = Place::of(database);
    }
    drop(counts::take(database, |_| true));
    drop(capped::take(database, true));
    drop(events::take(database));
}

/// The process id of this database's worker.
pub fn process() -> Option<i32> {
    let shared = SHARED.share();
    let place = shared.find(database())?;
    (place.process != 0).then_some(place.process)
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
    let started = take_on(database())?;
    connected();
    Some(started)
}

/// This process is a database's worker from now on, and about to connect to it; nothing when there is another.
pub fn take_on(database: u32) -> Option<Started> {
    let now = now();
    let mut shared = SHARED.exclusive();
    let place = shared.find_mut(database).filter(|p| p.process == 0)?;
    place.process = session::backend();
    place.wanted = NEVER;
    let tidied = (0..TIDY).contains(&now.saturating_sub(place.tidied));
    let started = Started {
        errand: place.errand,
        write_all: place.write_all,
        tidy: !(tidied && (place.errand || worker::is_launcher())),
    };
    shared.errand_next = !started.errand;
    drop(shared);
    WORKS_FOR.set(database);
    // SAFETY: registered once, by a process that becomes a worker once.
    unsafe { pg_sys::before_shmem_exit(Some(worker_exit), pg_sys::Datum::from(0)) };
    Some(started)
}

/// This process is connected to the database that it works for.
pub fn connected() {
    CONNECTED.set(true);
    if let Some(place) = SHARED.exclusive().find_mut(WORKS_FOR.get()) {
        place.due = NEVER;
        place.tries = 0;
        place.write_all = false;
    }
}

/// Whether there is something to seal that was not there at the last call.
pub fn take_dirty() -> bool {
    let shared = SHARED.share();
    (shared.find(database())).is_some_and(|place| place.dirty.swap(false, Ordering::Relaxed))
}

/// There is something to seal or roll up that this worker wrote itself.
pub fn note_dirty() {
    if let Some(place) = SHARED.share().find(database()) {
        place.dirty.store(true, Ordering::Relaxed);
    }
}

/// The worker tidies up.
pub fn tidying() {
    let (database, now) = (database(), now());
    if let Some(place) = SHARED.exclusive().find_mut(database) {
        place.tidy = NEVER;
        place.tidied = now;
    }
}

/// Whether this worker was asked to leave.
pub fn to_leave() -> bool {
    SHARED.share().find(database()).is_some_and(|p| p.leave)
}

/// Who else needs a worker and has none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Others {
    /// No database.
    None,
    /// A database where something is due.
    Due,
    /// A database where a caller waits.
    Wait,
}

/// Whether other databases need a worker.
pub fn others() -> Others {
    let now = now();
    let shared = SHARED.share();
    let others = shared.all().iter().map(|place| {
        if place.is_wanted() {
            Others::Wait
        } else if place.process == 0 && !place.is_starting(now) && place.next() <= now {
            Others::Due
        } else {
            Others::None
        }
    });
    others.max().unwrap_or(Others::None)
}

/// Whether the worker was looked for since the last call. What was expected until now is no more: the
/// worker finds out by itself what there is to do.
pub fn take_touched() -> bool {
    let mut shared = SHARED.exclusive();
    let Some(place) = shared.find_mut(database()) else {
        return false;
    };
    place.due = NEVER;
    std::mem::take(place.touched.get_mut())
}

/// This worker goes, unless it is looked for; something is to be done again at `due`, and there is
/// something that was not sealed or rolled up yet if `dirty`.
pub fn depart(due: i64, dirty: bool) -> bool {
    let database = database();
    let launcher = {
        let mut shared = SHARED.exclusive();
        let Some(place) = shared.find_mut(database) else {
            return true;
        };
        if place.touched.load(Ordering::Relaxed) || queue::is_waited_for(database) {
            return false;
        }
        go(place, due, dirty);
        shared.launcher
    };
    wake_launcher(launcher);
    true
}

/// This worker goes, whoever waits for it: it did its last work, or it is the launcher and others wait.
pub fn give_way(due: i64, dirty: bool) {
    let database = database();
    let mut shared = SHARED.exclusive();
    if let Some(place) = shared.find_mut(database) {
        go(place, due, dirty);
        if queue::is_waited_for(database) {
            place.wanted = now();
        }
    }
    let launcher = shared.launcher;
    drop(shared);
    wake_launcher(launcher);
}

fn go(place: &mut Place, due: i64, dirty: bool) {
    // What was expected or written meanwhile is still to come.
    let due = match *place.dirty.get_mut() {
        true => due.min(now()),
        false => due.min(place.due),
    };
    place.has_none(due);
    place.dirty.fetch_or(dirty, Ordering::Relaxed);
    WORKS_FOR.set(0);
}

/// This worker goes: the extension is not in this database.
pub fn gone() {
    let database = database();
    if let Some(place) = SHARED.exclusive().find_mut(database) {
        *place = Place::of(database);
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
    if let Some(place) = SHARED.exclusive().find_mut(database)
        && place.process == process
    {
        place.has_none(now.saturating_add(REST));
        *place.dirty.get_mut() = true;
        // Where it could not even connect, no other can.
        if !CONNECTED.get() {
            place.started = now;
            if place.tries >= TRIES {
                *place = Place::of(database);
            }
        }
    }
}

// The launcher's side -------------------------------------------------------------------------------

/// What the launcher does next.
pub enum Job {
    /// Starts a worker for this database.
    Start(u32),
    /// Nothing until then.
    Sleep(i64),
}

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
    shared.sleeps_until = NEVER;
    if shared.search <= now {
        drop(shared);
        search(now);
        shared = SHARED.exclusive();
    }
    let running = |p: &&Place| p.errand && p.started_lately(now);
    let room = shared.all().iter().filter(running).count() < ERRANDS;
    let idle = || (shared.all().iter().enumerate()).filter(|(_, p)| p.process == 0);
    let free = || idle().filter(|(_, place)| !place.is_starting(now));
    let wanted = free()
        .filter(|(_, place)| place.is_wanted())
        .min_by_key(|(_, place)| place.wanted)
        .map(|(at, _)| at);
    let due = free()
        .filter(|(_, place)| room && place.next() <= now)
        .min_by_key(|(_, place)| place.next())
        .map(|(at, _)| at);
    let errand = due.is_some() && (wanted.is_none() || shared.errand_next);
    let at = if errand { due } else { wanted };
    let Some(at) = at else {
        let until = idle().map(|(_, place)| {
            let due = if place.is_wanted() { now } else { place.next() };
            match due {
                NEVER => NEVER,
                due => due.max(place.started.saturating_add(START)),
            }
        });
        let until = until.min().unwrap_or(NEVER).min(shared.search);
        // Everything that is due waits for an errand to end, which is told, or to be over in time.
        shared.sleeps_until = until;
        return Job::Sleep(match room {
            true => until,
            false => until.max(now.saturating_add(SECOND)),
        });
    };
    let place = &mut shared.places[at];
    place.started = now;
    place.errand = errand;
    place.leave = false;
    if errand {
        place.tries += 1;
        if place.tries > TRIES {
            *place = Place::of(place.database);
            return Job::Sleep(now);
        }
    }
    Job::Start(place.database)
}

/// Gives a place to all databases that have something counted, which is due now.
fn search(now: i64) {
    let mut found = counts::databases();
    found.extend(capped::databases());
    found.extend(events::databases());
    found.sort_unstable();
    found.dedup();
    {
        let mut shared = SHARED.exclusive();
        shared.search = NEVER;
        shared.searched = now;
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
    for place in SHARED.exclusive().all_mut() {
        if place.process == 0 && place.due != NEVER {
            place.due = place.due.min(now);
        }
    }
}

/// Whether it is time to tell the log that the launcher has to work itself.
pub fn to_tell() -> bool {
    let now = now();
    let mut shared = SHARED.exclusive();
    let due = !(0..TELL).contains(&now.saturating_sub(shared.told));
    if due {
        shared.told = now;
    }
    due
}
