//! Events in shared memory that the worker writes one by one. The caller does not wait, and a rollback does not
//! undo them. Their number is fixed; without room, the caller uses another way.

use pgrx::lwlock::PgLwLock;
use pgrx::pg_shmem_init;
use pgrx::prelude::*;

use crate::pg::counts::{Added, Count, FREE};

const EVENTS: usize = 1024;

struct Shared {
    events: [Count; EVENTS],
    used: usize,
}

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Shared {}

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"tenancy_events") };

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    pg_shmem_init!(
        SHARED = Shared {
            events: [FREE; EVENTS],
            used: 0,
        }
    );
}

/// Adds an event. Returns `New` if its database had none before.
pub fn add(event: &Count, database: u32) -> Added {
    let mut shared = SHARED.exclusive();
    let shared = &mut *shared;
    if shared.used == EVENTS {
        shared.take(|known| known.is_abandoned(event.last), |_| {});
    }
    let (before, after) = shared.events.split_at_mut(shared.used);
    let Some(free) = after.first_mut() else {
        return Added::NoRoom;
    };
    *free = *event;
    shared.used += 1;
    match before.iter().rev().any(|event| event.of(database)) {
        true => Added::Known,
        false => Added::New,
    }
}

/// Returns whether a database has any.
pub fn pending(database: u32) -> bool {
    let shared = SHARED.share();
    let mut used = shared.events.iter().take(shared.used);
    used.any(|event| event.of(database))
}

/// Returns the databases that have any.
pub fn databases() -> Vec<u32> {
    all().iter().map(Count::database).collect()
}

/// Returns all events, the oldest first.
pub fn all() -> Vec<Count> {
    let shared = SHARED.share();
    shared.events.iter().take(shared.used).copied().collect()
}

/// Removes and returns a database's events, the oldest first.
pub fn take(database: u32) -> Vec<Count> {
    let mut found = Vec::new();
    let mut shared = SHARED.exclusive();
    shared.take(|event| event.of(database), |event| found.push(event));
    found
}

impl Shared {
    /// Removes the events for which `which` is true; the others move up.
    fn take(&mut self, which: impl Fn(&Count) -> bool, mut taken: impl FnMut(Count)) {
        let mut kept = 0;
        for at in 0..self.used {
            let event = self.events[at];
            if which(&event) {
                taken(event);
            } else {
                self.events[kept] = event;
                kept += 1;
            }
        }
        self.used = kept;
    }
}
