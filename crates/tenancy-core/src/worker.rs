//! Which databases have a worker, which need one, and what the launcher does next. The caller tells what time it is.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::time::{Instant, Length};

/// How long a worker may take from being asked for to being there.
pub const START: Length = Length::from_seconds(10);
/// How often a worker is started for a database that it cannot connect to, because it was dropped or allows no connections.
pub const TRIES: u8 = 3;
/// The number of workers that the launcher starts at once for work without a waiting caller.
const ERRANDS: usize = 2;
/// How long a database gets no worker because a session is about to drop, rename or copy it.
pub const AWAY: Length = Length::from_seconds(10);
/// How long after the last tidying up the launcher has a database tidied up again.
pub const TIDY: Length = Length::from_seconds(60);
/// How often the launcher searches for databases that lost their entry.
pub const SEARCH: Length = Length::from_seconds(60);
/// A second.
pub const SECOND: Length = Length::from_seconds(1);

/// The state of a database.
pub struct Entry {
    /// 0 is a free entry.
    pub database: u32,
    /// Its worker's process id; 0 if there is none.
    pub process: i32,
    /// When a worker was last requested.
    pub started: Instant,
    /// Whether the worker must exit as soon as no caller waits for it.
    pub leave: bool,
    /// Until when no worker is started for due work.
    pub away_until: Instant,
    /// Whether the worker was started for due work.
    pub errand: bool,
    /// How often a worker was started for due work and failed to start.
    pub tries: u8,
    /// Since when a caller waits for a worker that could not be started.
    pub wanted: Instant,
    /// When work is due.
    pub due: Instant,
    /// When a clean-up is due.
    pub tidy: Instant,
    /// The last clean-up.
    pub tidied: Instant,
    /// Whether all counts must be written, because they are from before the server was stopped.
    pub write_all: bool,
    /// Whether something was written that must be sealed or rolled up.
    pub dirty: AtomicBool,
    /// Whether a backend needed the worker since it last checked whether it may exit.
    pub touched: AtomicBool,
}

/// The kind of expected work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Any work.
    Due,
    /// Tidying up, which is bounded in how often it is done.
    Tidying,
}

impl Entry {
    /// A database of which nothing is known: what was written before may be unsealed.
    pub const fn of(database: u32) -> Self {
        Self {
            database,
            process: 0,
            started: Instant::LONG_AGO,
            leave: false,
            away_until: Instant::LONG_AGO,
            errand: false,
            tries: 0,
            wanted: Instant::NEVER,
            due: Instant::NEVER,
            tidy: Instant::NEVER,
            tidied: Instant::LONG_AGO,
            write_all: false,
            dirty: AtomicBool::new(true),
            touched: AtomicBool::new(false),
        }
    }

    /// When something is expected.
    pub fn expected(&self, what: What) -> Instant {
        match what {
            What::Due => self.due,
            What::Tidying => self.tidy,
        }
    }

    /// Something is expected then, if not before.
    pub fn expect(&mut self, what: What, at: Instant) {
        let expected = match what {
            What::Due => &mut self.due,
            What::Tidying => &mut self.tidy,
        };
        *expected = at.min(*expected);
    }

    /// Whether a worker was asked for that may still come.
    pub fn is_starting(&self, now: Instant) -> bool {
        self.process == 0 && self.started_lately(now)
    }

    /// Returns whether it is due; also if the clock was set back.
    fn started_lately(&self, now: Instant) -> bool {
        (Length::ZERO..START).contains(&(now - self.started))
    }

    /// Whether a caller waits, and no worker could be started for it.
    pub fn is_wanted(&self) -> bool {
        self.process == 0 && self.wanted != Instant::NEVER
    }

    /// Returns when the launcher must start a worker for due work.
    pub fn next(&self) -> Instant {
        let tidy = match self.tidy {
            Instant::NEVER => Instant::NEVER,
            tidy => tidy.max(self.tidied + TIDY),
        };
        match self.due.min(tidy) {
            Instant::NEVER => Instant::NEVER,
            due => due.max(self.away_until),
        }
    }

    /// The database no longer has a worker; work is due again at `due`.
    pub fn has_none(&mut self, due: Instant) {
        self.process = 0;
        self.started = Instant::LONG_AGO;
        self.leave = false;
        self.due = due;
    }

    /// Its worker goes; what was expected or written meanwhile is still to come.
    pub fn goes(&mut self, due: Instant, dirty: bool, now: Instant) {
        let due = match *self.dirty.get_mut() {
            true => due.min(now),
            false => due.min(self.due),
        };
        self.has_none(due);
        self.dirty.fetch_or(dirty, Ordering::Relaxed);
    }
}

/// Which other databases need a worker and have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Others {
    /// No database.
    None,
    /// A database where something is due.
    Due,
    /// A database where a caller waits.
    Wait,
}

/// The next job of the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Starts a worker for this database.
    Start(u32),
    /// Sleeps until a time.
    Sleep(Instant),
}

/// The databases of a server. One more than `N` takes the entry of the idle one that is due last.
pub struct Table<const N: usize> {
    entries: [Entry; N],
    /// How many entries were ever taken: the first ones.
    used: usize,
    /// Until when the launcher sleeps.
    pub sleeps_until: Instant,
    /// Whether the launcher next serves due work, before another caller.
    pub errand_next: bool,
    /// When the launcher searches for databases without an entry that have something to do.
    pub search: Instant,
    /// When it last did.
    pub searched: Instant,
}

impl<const N: usize> Table<N> {
    /// No database yet.
    pub const fn new() -> Self {
        Self {
            entries: [const { Entry::of(0) }; N],
            used: 0,
            sleeps_until: Instant::LONG_AGO,
            errand_next: false,
            search: Instant::NEVER,
            searched: Instant::LONG_AGO,
        }
    }

    /// Those that have an entry.
    pub fn all(&self) -> &[Entry] {
        self.entries.get(..self.used).unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn all_mut(&mut self) -> &mut [Entry] {
        self.entries.get_mut(..self.used).unwrap_or_default()
    }

    /// Returns a database's entry, and where it is: `hint` is where it was the last time.
    pub fn find(&self, database: u32, hint: usize) -> Option<(usize, &Entry)> {
        let here = |entry: &&Entry| entry.database == database;
        if let Some(entry) = self.entries.get(hint).filter(here) {
            return Some((hint, entry));
        }
        let at = self.position(database)?;
        Some((at, self.entries.get(at)?))
    }

    /// Returns a database's entry, to be changed.
    pub fn find_mut(&mut self, database: u32) -> Option<&mut Entry> {
        let at = self.position(database)?;
        self.entries.get_mut(at)
    }

    fn position(&self, database: u32) -> Option<usize> {
        self.all().iter().position(|e| e.database == database)
    }

    /// Returns the database's entry, a new one if it has none. When all are taken, the idle database that is due last
    /// loses its entry; what is counted for it is found by the next search. None if no database is idle.
    pub fn entry(&mut self, database: u32, now: Instant) -> Option<&mut Entry> {
        let at = match self.position(database) {
            Some(at) => at,
            None => {
                let at = self.make_room(now)?;
                *self.entries.get_mut(at)? = Entry::of(database);
                at
            }
        };
        self.entries.get_mut(at)
    }

    fn make_room(&mut self, now: Instant) -> Option<usize> {
        if self.used < N {
            self.used += 1;
            return Some(self.used - 1);
        }
        let idle = |e: &Entry| e.process == 0 && e.wanted == Instant::NEVER && !e.is_starting(now);
        let (at, last) = (self.all().iter().enumerate())
            .filter(|(_, entry)| idle(entry))
            .max_by_key(|(_, entry)| entry.next())?;
        if last.next() != Instant::NEVER {
            self.search = self.search.min(now + SEARCH);
        }
        Some(at)
    }

    /// Whether other databases than those that have a worker need one.
    pub fn others(&self, now: Instant) -> Others {
        let others = self.all().iter().map(|entry| {
            if entry.is_wanted() {
                Others::Wait
            } else if entry.process == 0 && !entry.is_starting(now) && entry.next() <= now {
                Others::Due
            } else {
                Others::None
            }
        });
        others.max().unwrap_or(Others::None)
    }

    /// Finds what the launcher does next: by turns a database where callers wait and one where something is due, in
    /// each case the one that waits longest. Notes that a worker was asked for.
    pub fn next_job(&mut self, now: Instant) -> Job {
        let running = |e: &&Entry| e.errand && e.started_lately(now);
        let room = self.all().iter().filter(running).count() < ERRANDS;
        let idle = || (self.all().iter().enumerate()).filter(|(_, e)| e.process == 0);
        let free = || idle().filter(|(_, entry)| !entry.is_starting(now));
        let wanted = free()
            .filter(|(_, entry)| entry.is_wanted())
            .min_by_key(|(_, entry)| entry.wanted)
            .map(|(at, _)| at);
        let due = free()
            .filter(|(_, entry)| room && entry.next() <= now)
            .min_by_key(|(_, entry)| entry.next())
            .map(|(at, _)| at);
        let errand = due.is_some() && (wanted.is_none() || self.errand_next);
        let at = if errand { due } else { wanted };
        let Some(at) = at else {
            let until = idle().map(|(_, entry)| {
                let due = if entry.is_wanted() { now } else { entry.next() };
                match due {
                    Instant::NEVER => Instant::NEVER,
                    due => due.max(entry.started + START),
                }
            });
            let until = until.min().unwrap_or(Instant::NEVER).min(self.search);
            // All due work waits until a started worker ends, which is signalled, or its start times out.
            self.sleeps_until = until;
            return Job::Sleep(match room {
                true => until,
                false => until.max(now + SECOND),
            });
        };
        let entry = &mut self.entries[at];
        entry.started = now;
        entry.errand = errand;
        entry.leave = false;
        if errand {
            entry.tries += 1;
            if entry.tries > TRIES {
                *entry = Entry::of(entry.database);
                return Job::Sleep(now);
            }
        }
        Job::Start(entry.database)
    }
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
