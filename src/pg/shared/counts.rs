//! Counters in shared memory, with keys of a fixed size, for events that are too frequent for an entry each. One
//! short lock, no allocation. Without room, the caller uses another way, and finally a coarser key, for which
//! places are reserved.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};
use tenancy_core::time::{Instant, Length};

use crate::pg::time;

/// The words of a key.
pub const WORDS: usize = 8;
/// A key. Its first word has the database's oid in the upper half.
pub type Key = [u64; WORDS];

/// The number of fine keys.
const FINE: usize = 4096;
/// The number of coarse keys.
const COARSE: usize = 128;
/// The number of places that a fine key may be in.
const WINDOW: usize = 16;
/// After how long a count that no worker took may be replaced: its database was dropped, or
/// this is a standby.
const ABANDONED_AFTER: Length = Length::from_hours(48);

/// A counter.
#[derive(Clone, Copy)]
pub struct Count {
    /// The key.
    pub key: Key,
    /// The count; 0 is a free place.
    pub count: u64,
    /// When it was first counted.
    pub first: Instant,
    /// When it was last counted.
    pub last: Instant,
}

struct Shared {
    fine: [Count; FINE],
    coarse: [Count; COARSE],
    /// The number of taken places.
    taken: usize,
}

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Shared {}

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"tenancy_counts") };

/// SipHash with a random key, generated when the server starts and inherited by every backend, so that no client
/// can compute which keys share places.
static HASHER: OnceLock<RandomState> = OnceLock::new();

/// A free place.
pub const FREE: Count = Count {
    key: [0; WORDS],
    count: 0,
    first: Instant::EPOCH,
    last: Instant::EPOCH,
};

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    HASHER.get_or_init(RandomState::new);
    pg_shmem_init!(
        SHARED = Shared {
            fine: [FREE; FINE],
            coarse: [FREE; COARSE],
            taken: 0,
        }
    );
}

/// The result of adding a count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// An existing counter has it.
    Known,
    /// A new counter has it.
    New,
    /// No counter was free.
    NoRoom,
}

impl Count {
    /// Creates a count of 1, now.
    pub fn once(key: Key) -> Self {
        Self::at(key, time::now())
    }

    /// Creates a count of 1 at an instant.
    pub fn at(key: Key, instant: Instant) -> Self {
        Self {
            key,
            count: 1,
            first: instant,
            last: instant,
        }
    }

    /// Adds another count of the same key.
    pub fn add(&mut self, other: &Self) {
        self.first = if self.count == 0 {
            other.first
        } else {
            self.first.min(other.first)
        };
        self.last = self.last.max(other.last);
        self.count += other.count;
    }

    /// Returns whether no worker will write it any more.
    pub fn is_abandoned(&self, now: Instant) -> bool {
        self.count > 0 && now - self.last > ABANDONED_AFTER
    }

    /// Returns the database that counts it.
    pub fn database(&self) -> u32 {
        (self.key[0] >> 32) as u32
    }

    /// Returns whether a database counts it.
    pub fn of(&self, database: u32) -> bool {
        self.database() == database
    }
}

/// The first of the places that a fine key may be in.
#[derive(Clone, Copy)]
pub struct Place(usize);

impl Place {
    /// Finds it.
    pub fn of(key: &Key) -> Self {
        let hasher = HASHER.get();
        Self(hasher.map_or(0, |hasher| hasher.hash_one(key) as usize % FINE))
    }
}

/// Adds a count: a new one, or one that was taken but could not be written.
pub fn add(count: &Count, coarse: bool) -> Added {
    if !coarse {
        return add_at(count, Place::of(&count.key));
    }
    let mut shared = SHARED.exclusive();
    let shared = &mut *shared;
    add_to(shared.coarse.iter_mut(), count, &mut shared.taken)
}

/// Adds a count with a fine key, whose place is known.
pub fn add_at(count: &Count, place: Place) -> Added {
    let mut shared = SHARED.exclusive();
    let shared = &mut *shared;
    let (before, after) = shared.fine.split_at_mut(place.0);
    let window = after.iter_mut().chain(before.iter_mut()).take(WINDOW);
    add_to(window, count, &mut shared.taken)
}

fn add_to<'a>(
    places: impl Iterator<Item = &'a mut Count>,
    count: &Count,
    taken: &mut usize,
) -> Added {
    let (mut free, mut abandoned) = (None, None);
    for place in places {
        if place.count == 0 {
            free.get_or_insert(place);
        } else if place.key == count.key {
            place.add(count);
            return Added::Known;
        } else if place.is_abandoned(count.last) {
            abandoned.get_or_insert(place);
        }
    }
    match free.or(abandoned) {
        Some(place) => {
            *taken += usize::from(place.count == 0);
            *place = *count;
            Added::New
        }
        None => Added::NoRoom,
    }
}

/// Returns when the oldest counter of a database was first counted.
pub fn first(database: u32) -> Option<Instant> {
    let shared = SHARED.share();
    let mine = shared.taken().filter(|count| count.of(database));
    mine.map(|count| count.first).min()
}

/// Returns the databases that have counters.
pub fn databases() -> Vec<u32> {
    let shared = SHARED.share();
    shared.taken().map(Count::database).collect()
}

/// Returns all counters, each with whether it is coarse.
pub fn all() -> Vec<(Count, bool)> {
    let shared = SHARED.share();
    let fine = shared.fine.iter().map(|count| (*count, false));
    let coarse = shared.coarse.iter().map(|count| (*count, true));
    let all = fine.chain(coarse);
    all.filter(|(count, _)| count.count != 0).collect()
}

/// Returns whether there is little room left.
pub fn crowded() -> bool {
    SHARED.share().taken > FINE / 2
}

impl Shared {
    fn taken(&self) -> impl Iterator<Item = &Count> {
        let places = self.fine.iter().chain(&self.coarse);
        places.filter(|count| count.count != 0)
    }
}

/// Removes and returns those counters of a database for which `due` is true.
pub fn take(database: u32, due: impl Fn(&Count) -> bool) -> Vec<Count> {
    let mut found = Vec::new();
    let mut shared = SHARED.exclusive();
    let shared = &mut *shared;
    for place in shared.fine.iter_mut().chain(shared.coarse.iter_mut()) {
        if place.count != 0 && place.of(database) && due(place) {
            found.push(std::mem::replace(place, FREE));
        }
    }
    shared.taken = shared.taken.saturating_sub(found.len());
    found
}
