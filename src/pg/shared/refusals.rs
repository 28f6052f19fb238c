//! How many requests budgets refused, in shared memory: a refused transaction is rolled back, and its count must stay. The
//! worker writes them to rows. A crash of the server forgets what is not written.

use pgrx::lwlock::PgLwLock;
use pgrx::pg_shmem_init;
use pgrx::prelude::*;
use tenancy_core::time::Instant;

use crate::pg::{queue, time};

/// The number of budgets that refuse at the same time and are counted, in the cluster.
const PLACES: usize = 1024;
/// In how many places a budget may be: a request that is refused waits for no long search.
const PROBES: usize = 16;

/// What a budget refused since the last alert.
#[derive(Clone, Copy)]
pub struct Refusals {
    database: u32,
    /// The budget.
    pub budget: [u8; 16],
    /// The budget's scope.
    pub scope: [u8; 16],
    /// The metric; 0 for cost.
    pub metric: i32,
    /// The budget's amount, in millionths.
    pub amount: i64,
    /// How many requests.
    pub count: u64,
    /// When the first of them was refused.
    pub first: Instant,
    last: Instant,
    /// When the next alert of it may be written.
    rests_until: Instant,
}

impl Refusals {
    fn counts_in(&self, database: u32) -> bool {
        self.database == database && self.count > 0
    }
}

const FREE: Refusals = Refusals {
    database: 0,
    budget: [0; 16],
    scope: [0; 16],
    metric: 0,
    amount: 0,
    count: 0,
    first: Instant::EPOCH,
    last: Instant::EPOCH,
    rests_until: Instant::EPOCH,
};

struct Shared {
    places: [Refusals; PLACES],
}

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Shared {}

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"tenancy_refusals") };

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    pg_shmem_init!(
        SHARED = Shared {
            places: [FREE; PLACES],
        }
    );
}

/// Counts a refused request of a budget. Returns whether nothing was counted for it before.
pub fn count(budget: [u8; 16], scope: [u8; 16], metric: i32, amount: i64) -> bool {
    let (database, now) = (queue::database(), time::now());
    // Ids end with random bits.
    let [.., a, b] = budget;
    let start = usize::from(u16::from_be_bytes([a, b]));
    let mut shared = SHARED.exclusive();
    let places = &mut shared.places;
    let at = |n: usize| (start + n) % PLACES;
    let known = (0..PROBES).map(at).find(|at| {
        (places.get(*at)).is_some_and(|place| place.database == database && place.budget == budget)
    });
    // Else a free one, else that whose last refusal is the longest ago.
    let found = known.or_else(|| {
        let all = (0..PROBES).map(at);
        all.min_by_key(|at| places.get(*at).map(|place| (place.count > 0, place.last)))
    });
    let Some(place) = found.and_then(|at| places.get_mut(at)) else {
        return false;
    };
    let new = known.is_none() || place.count == 0;
    if new {
        (place.count, place.first) = (0, now);
    }
    *place = Refusals {
        database,
        budget,
        scope,
        metric,
        amount,
        count: place.count.saturating_add(1),
        first: place.first,
        last: now,
        rests_until: match known {
            Some(_) => place.rests_until,
            None => Instant::EPOCH,
        },
    };
    new
}

/// Returns what is counted in this database and may be written now.
pub fn pending() -> Vec<Refusals> {
    let (database, now) = (queue::database(), time::now());
    let shared = SHARED.share();
    let places = shared.places.iter();
    let pending = places.filter(|place| place.counts_in(database) && place.rests_until <= now);
    pending.copied().collect()
}

/// Returns when something that is counted in this database may be written; `None` if nothing is.
pub fn due() -> Option<Instant> {
    let database = queue::database();
    let shared = SHARED.share();
    let places = shared.places.iter();
    let counted = places.filter(|place| place.counts_in(database));
    counted.map(|place| place.rests_until).min()
}

/// Notes that a count was written, or not because the last alert is too recent; the next one may be written at `until`. What was
/// refused meanwhile stays counted.
pub fn rest(of: &Refusals, written: bool, until: Instant) {
    let mut shared = SHARED.exclusive();
    let same = |place: &&mut Refusals| place.database == of.database && place.budget == of.budget;
    if let Some(place) = shared.places.iter_mut().find(same) {
        place.rests_until = until;
        if written && place.first == of.first {
            place.count = place.count.saturating_sub(of.count);
            place.first = place.last;
        }
    }
}

/// Forgets what is counted in this database.
pub fn forget() {
    let database = queue::database();
    let mut shared = SHARED.exclusive();
    let places = shared.places.iter_mut();
    for place in places.filter(|place| place.database == database) {
        *place = FREE;
    }
}
