//! Counters in shared memory of events that an attacker can repeat without limit. Each database has a fixed
//! number of them. A counter is written soon, and then at intervals that double each time, up to an hour. So
//! the number of rows is bounded.

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};
use tenancy_core::time::{Instant, Length};

use crate::pg::counts::{Added, Count, FREE};
use crate::pg::time;

/// The precision of a counter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// By user or key.
    Named,
    /// By address.
    Origin,
    /// All others.
    Rest,
}

/// The number of places.
const NAMED: usize = 512;
const ORIGINS: usize = 256;
const RESTS: usize = 128;
/// The number of places that one database takes at most.
const NAMED_EACH: usize = 128;
const ORIGINS_EACH: usize = 64;
const RESTS_EACH: usize = 1;
/// How long after the first writing the second comes at the earliest.
const SOON: Length = Length::from_seconds(1);
/// The longest interval between entries, and how long an idle counter keeps its place.
const LONGEST: Length = Length::from_hours(1);

/// A counter, and when it was written.
#[derive(Clone, Copy)]
struct Place {
    count: Count,
    written: Instant,
    times: u32,
}

const UNUSED: Place = Place {
    count: FREE,
    written: Instant::EPOCH,
    times: 0,
};

impl Place {
    fn is_free(&self, now: Instant) -> bool {
        self.count.key == FREE.key
            || self.count.is_abandoned(now)
            || (self.count.count == 0 && !(Length::ZERO..LONGEST).contains(&(now - self.written)))
    }

    /// Returns the interval between its entries.
    fn rest(&self) -> Length {
        let rest = SOON * (1 << self.times.saturating_sub(1).min(12));
        rest.min(LONGEST)
    }

    /// Returns whether it is due; also if the clock was set back.
    fn is_due(&self, now: Instant) -> bool {
        self.times == 0 || !(Length::ZERO..self.rest()).contains(&(now - self.written))
    }

    /// Returns when it is due.
    fn due(&self) -> Instant {
        match self.times {
            0 => self.count.first,
            _ => self.written + self.rest(),
        }
    }

    /// Returns whether there is something to write.
    fn counts(&self) -> bool {
        self.count.count > 0
    }
}

struct Shared {
    named: [Place; NAMED],
    origins: [Place; ORIGINS],
    rests: [Place; RESTS],
}

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Shared {}

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"tenancy_capped_counts") };

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    pg_shmem_init!(
        SHARED = Shared {
            named: [UNUSED; NAMED],
            origins: [UNUSED; ORIGINS],
            rests: [UNUSED; RESTS],
        }
    );
}

/// Adds a count. Returns `New` if there was nothing to write before.
pub fn add(count: &Count, tier: Tier) -> Added {
    let now = time::now();
    let mut shared = SHARED.exclusive();
    let (places, most) = match tier {
        Tier::Named => (&mut shared.named[..], NAMED_EACH),
        Tier::Origin => (&mut shared.origins[..], ORIGINS_EACH),
        Tier::Rest => (&mut shared.rests[..], RESTS_EACH),
    };
    let database = (count.key[0] >> 32) as u32;
    let (mut free, mut taken) = (None, 0);
    for (at, place) in places.iter_mut().enumerate() {
        if place.is_free(now) {
            free.get_or_insert(at);
        } else if place.count.key == count.key {
            let first = place.count.count == 0;
            place.count.add(count);
            return if first { Added::New } else { Added::Known };
        } else if place.count.of(database) {
            taken += 1;
        }
    }
    match free.and_then(|at| places.get_mut(at)) {
        Some(place) if taken < most => {
            *place = Place {
                count: *count,
                ..UNUSED
            };
            Added::New
        }
        _ => Added::NoRoom,
    }
}

/// Returns when a database has something to write.
pub fn due(database: u32) -> Option<Instant> {
    let shared = SHARED.share();
    let mine = shared.counting().filter(|p| p.count.of(database));
    mine.map(Place::due).min()
}

/// Returns the databases that have something to write.
pub fn databases() -> Vec<u32> {
    let shared = SHARED.share();
    let counting = shared.counting();
    counting.map(|place| place.count.database()).collect()
}

/// Returns everything to write, with its precision.
pub fn all() -> Vec<(Count, Tier)> {
    let shared = SHARED.share();
    let named = shared.named.iter().map(|place| (place, Tier::Named));
    let origins = shared.origins.iter().map(|place| (place, Tier::Origin));
    let rests = shared.rests.iter().map(|place| (place, Tier::Rest));
    let all = named.chain(origins).chain(rests);
    all.filter(|(place, _)| place.counts())
        .map(|(place, tier)| (place.count, tier))
        .collect()
}

impl Shared {
    fn counting(&self) -> impl Iterator<Item = &Place> {
        let all = self.named.iter().chain(&self.origins).chain(&self.rests);
        all.filter(|place| place.counts())
    }
}

/// Takes what a database must write now, or `all` of it. The counters keep their places.
pub fn take(database: u32, all: bool) -> Vec<Count> {
    let now = time::now();
    let mut found = Vec::new();
    let mut shared = SHARED.exclusive();
    let shared = &mut *shared;
    let places = shared.named.iter_mut().chain(&mut shared.origins);
    for place in places.chain(&mut shared.rests) {
        if place.count.count > 0 && place.count.of(database) && (all || place.is_due(now)) {
            found.push(place.count);
            place.count.count = 0;
            place.written = now;
            place.times = place.times.saturating_add(1);
        }
    }
    found
}
