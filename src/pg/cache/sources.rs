//! What this backend's cached answers were made of, and whether any of that has changed since.
//!
//! A message names one subject by a number. Each answer keeps the subjects that it was made of, so that a change drops the
//! answers that it concerns and no others. While an answer is read, it is not yet known what it will be made of: messages
//! of that time are kept, and looked at when it is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;
use tenancy_core::subject::Subject;

use crate::pg::cell::BackendCell;

/// The cache that messages about subjects name: it has one row a sequence and one key, the sequence's oid.
pub const CACHE: i32 = pg_sys::SysCacheIdentifier::SEQRELID as i32;

/// Counts the messages that concerned an answer.
static MARKS: BackendCell<u64> = BackendCell::new(1);
/// The mark at which all answers went.
static FLOOR: BackendCell<u64> = BackendCell::new(1);
/// Counts the messages.
static MESSAGES: BackendCell<u64> = BackendCell::new(0);
/// The last of them.
static LAST: [BackendCell<u32>; LAST_MAX] = [const { BackendCell::new(0) }; LAST_MAX];
const LAST_MAX: usize = 64;
/// Counts what was read.
static READS: BackendCell<u64> = BackendCell::new(0);

/// A subject that an answer was made of.
#[derive(Debug, Default)]
struct Watch {
    /// The mark of the last message about it.
    changed: Cell<u64>,
}

#[derive(Default)]
struct Watches {
    of: HashMap<u32, Rc<Watch>>,
    /// How many there may be before those are dropped that no answer has.
    most: usize,
}

thread_local! {
    static WATCHES: RefCell<Watches> = RefCell::default();
}

/// What an answer was made of.
#[derive(Debug)]
pub struct Sources {
    /// The mark as of which it was read.
    since: Cell<u64>,
    /// The last mark as of which it held.
    checked: Cell<u64>,
    of: Box<[Rc<Watch>]>,
}

impl Sources {
    /// Returns whether nothing of it has changed.
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

    /// Takes the answer as read at `moment`, of the same subjects.
    pub fn renew(&self, moment: Moment) {
        self.since.set(moment.0);
    }

    /// About how many bytes it takes.
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

/// An answer that is being read.
pub struct Reading {
    since: u64,
    messages: u64,
    of: Vec<Subject>,
}

impl Reading {
    /// Begins; before anything is read.
    pub fn begin() -> Self {
        READS.set(READS.get() + 1);
        Self {
            since: MARKS.get(),
            messages: MESSAGES.get(),
            of: Vec::new(),
        }
    }

    /// Begins another answer that is read by the same queries.
    pub fn also(&self) -> Self {
        Self {
            of: Vec::new(),
            ..*self
        }
    }

    /// Adds what the answer is made of.
    pub fn of(&mut self, subject: Subject) {
        if !self.of.contains(&subject) {
            self.of.push(subject);
        }
    }

    /// Ends. What does not hold is no error: it was true when it was read, and is not kept.
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

/// Where the message of this number is kept.
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

/// The number that the message about a subject comes with.
fn heard_as(number: u32) -> u32 {
    let none = pg_sys::Datum::from(0);
    let oid = pg_sys::Datum::from(pg_sys::Oid::from_u32(number));
    // SAFETY: inside a transaction; the cache has one key, an oid.
    unsafe { pg_sys::GetSysCacheHashValue(CACHE, oid, none, none, none) }
}

/// A message has come. May be called at any moment; allocates nothing.
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

/// Anything may have changed.
pub fn all_changed() {
    FLOOR.set(mark());
}

/// Returns how often this backend has read something to keep it.
pub fn reads() -> u64 {
    READS.get()
}
