//! The transactions of tenants whose plans limit how many they may have open at once, in shared memory.

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};

use crate::pg::cell::BackendCell;

/// How many such transactions there may be in the cluster.
const PLACES: usize = 2048;

/// A transaction of a tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Its backend; 0 for none.
    process: i32,
    database: u32,
    tenant: [u8; 16],
}

const FREE: Place = Place {
    process: 0,
    database: 0,
    tenant: [0; 16],
};

struct Shared {
    places: [Place; PLACES],
}

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Shared {}

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"tenancy_connections") };

/// The place of this backend, and the tenant that it is taken for.
static MINE: BackendCell<Option<(usize, [u8; 16])>> = BackendCell::new(None);

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    pg_shmem_init!(
        SHARED = Shared {
            places: [FREE; PLACES],
        }
    );
}

/// Takes a place for a transaction of a tenant until `leave`; false if the tenant has `most` of them.
pub fn enter(tenant: [u8; 16], most: usize) -> bool {
    if MINE.get().is_some_and(|(_, mine)| mine == tenant) {
        return true;
    }
    leave();
    // SAFETY: reads statics of the server.
    let (process, database) = unsafe { (pg_sys::MyProcPid, pg_sys::MyDatabaseId.to_u32()) };
    let mut shared = SHARED.exclusive();
    let (mut free, mut others) = (None, 0);
    for (at, place) in shared.places.iter().enumerate() {
        if place.process == 0 {
            free.get_or_insert(at);
        } else if place.tenant == tenant && place.database == database {
            others += 1;
        }
    }
    let found = free.filter(|_| others < most);
    let Some((at, place)) = found.and_then(|at| Some((at, shared.places.get_mut(at)?))) else {
        return false;
    };
    *place = Place {
        process,
        database,
        tenant,
    };
    MINE.set(Some((at, tenant)));
    true
}

/// Gives the place back.
pub fn leave() {
    if let Some((at, _)) = MINE.replace_with(None)
        && let Some(place) = SHARED.exclusive().places.get_mut(at)
    {
        *place = FREE;
    }
}
