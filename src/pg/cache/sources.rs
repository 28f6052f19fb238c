//! The subjects that this backend's cached values depend on, and whether any of them has changed.
//!
//! A message names one subject by a number. Each value keeps its subjects, so that a change drops only the values that
//! depend on it. While a value is being read, its subjects are not yet known: messages of that time are kept and checked
//! afterwards.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;
use tenancy_core::subject::Subject;

use crate::pg::cell::BackendCell;

/// The cache that messages about subjects name: it has one row for each sequence and one key, the sequence's oid.
pub const CACHE: i32 = pg_sys::SysCacheIdentifier::SEQRELID as i32;

/// Counts the messages that concerned a value.
static MARKS: BackendCell<u64> = BackendCell::new(1);
/// The mark at which all values were dropped.
static FLOOR: BackendCell<u64> = BackendCell::new(1);
/// Counts the messages.
static MESSAGES: BackendCell<u64> = BackendCell::new(0);
/// The last of them.
static LAST: [BackendCell<u32>; LAST_MAX] = [const { BackendCell::new(0) }; LAST_MAX];
const LAST_MAX: usize = 64;
/// Counts reads into caches.
static READS: BackendCell<u64> = BackendCell::new(0);

/// A subject that values depend on.
#[derive(Debug, Default)]
struct Watch {
    /// The mark of the last message about it.
    changed: Cell<u64>,
}

#[derive(Default)]
struct Watches {
    of: HashMap<u32, Rc<Watch>>,
    /// The number above which subjects without a value are dropped.
    most: usize,
}

thread_local! {
    static WATCHES: RefCell<Watches> = RefCell::default();
}

/// The subjects of a value.
#[derive(Debug)]
pub struct Sources {
    /// The mark as of which it was read.
    since: Cell<u64>,
    /// The last mark at which it was valid.
    checked: Cell<u64>,
    of: Box<[Rc<Watch>]>,
}

impl Sources {
    /// Returns whether none of its subjects has changed.
    #[inline]
    pub fn hold(&self) -> bool {
        self.checked.get() == MARKS.get() || self.check()
    }

    fn check(&self) -> bool {
        let since = self.since.get();
        let held = since >= FLOOR.get() && self.of.iter().all(|watch| watch.changed.get() <= since);
        if held {
            self.checked.set(MARKS.get());
        }
        held
    }

    /// Renews the value as read at `moment`, with the same subjects.
    pub fn renew(&self, moment: Moment) {
        self.since.set(moment.0);
    }

    /// Returns about how many bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.of.len() * (size_of::<Rc<Watch>>() + size_of::<Watch>())
    }
}

/// A point in the order of messages.
#[derive(Clone, Copy)]
pub struct Moment(u64);

/// Returns the current moment.
pub fn moment() -> Moment {
    Moment(MARKS.get())
}

/// A value that is being read.
pub struct Reading {
    since: u64,
    messages: u64,
    of: Vec<Subject>,
}

impl Reading {
    /// Begins, before anything is read.
    pub fn begin() -> Self {
        READS.set(READS.get() + 1);
        Self {
            since: MARKS.get(),
            messages: MESSAGES.get(),
            of: Vec::new(),
        }
    }

    /// Begins another value that the same queries read.
    pub fn also(&self) -> Self {
        Self {
            of: Vec::new(),
            ..*self
        }
    }

    /// Adds a subject of the value.
    pub fn of(&mut self, subject: Subject) {
        if !self.of.contains(&subject) {
            self.of.push(subject);
        }
    }

    /// Ends reading. An outdated value is no error: it was valid when it was read, and is not cached.
    pub fn done(self) -> Sources {
        let numbers: Vec<u32> = self.of.iter().map(|of| heard_as(of.number())).collect();
        let missed = MESSAGES.get() - self.messages;
        let overtaken = missed > LAST_MAX as u64
            || (self.messages..MESSAGES.get()).any(|n| numbers.contains(&last(n).get()));
        Sources {
            since: Cell::new(if overtaken { 0 } else { self.since }),
            checked: Cell::new(0),
            of: WATCHES.with_borrow_mut(|watches| watches.find(&numbers)),
        }
    }
}

/// Returns the place of a message.
fn last(message: u64) -> &'static BackendCell<u32> {
    &LAST[(message % LAST_MAX as u64) as usize]
}

impl Watches {
    fn find(&mut self, numbers: &[u32]) -> Box<[Rc<Watch>]> {
        if self.of.len() >= self.most {
            self.of.retain(|_, watch| Rc::strong_count(watch) > 1);
            self.most = self.of.len() * 2 + 1024;
        }
        let found = numbers
            .iter()
            .map(|number| self.of.entry(*number).or_default().clone());
        found.collect()
    }
}

fn mark() -> u64 {
    MARKS.set(MARKS.get() + 1);
    MARKS.get()
}

/// Returns the number that the message about a subject has on arrival.
fn heard_as(number: u32) -> u32 {
    let none = pg_sys::Datum::from(0);
    let oid = pg_sys::Datum::from(pg_sys::Oid::from_u32(number));
    // SAFETY: inside a transaction; the cache has one key, an oid.
    unsafe { pg_sys::GetSysCacheHashValue(CACHE, oid, none, none, none) }
}

/// Handles a message. May be called at any moment; allocates nothing.
pub fn changed(number: u32) {
    last(MESSAGES.get()).set(number);
    MESSAGES.set(MESSAGES.get() + 1);
    let heard = WATCHES.try_with(|watches| {
        let watches = watches.try_borrow().ok()?;
        if let Some(watch) = watches.of.get(&number) {
            watch.changed.set(mark());
        }
        Some(())
    });
    if !matches!(heard, Ok(Some(()))) {
        all_changed();
    }
}

/// Drops all values.
pub fn all_changed() {
    FLOOR.set(mark());
}

/// Returns how often this backend has read something into a cache.
pub fn reads() -> u64 {
    READS.get()
}
