//! Locks that a session holds over transactions.

use pgrx::pg_sys;

use crate::pg::relation;

/// A lock on an object, held until it is dropped, or until the session ends. It is none of the locks that statements take on
/// tables, and no role can take it by SQL.
pub struct SessionLock(pg_sys::LOCKTAG);

/// Conflicts with itself.
const MODE: pg_sys::LOCKMODE = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;

impl SessionLock {
    /// Takes the lock on an object of a catalog, or of what only has the number of one, without waiting. Returns `None` if another
    /// session holds it.
    pub fn take(catalog: pg_sys::Oid, object: u32) -> Option<Self> {
        let tag = pg_sys::LOCKTAG {
            // SAFETY: reads a static of the server.
            locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
            locktag_field2: catalog.to_u32(),
            locktag_field3: object,
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        // SAFETY: inside a transaction; as pg_try_advisory_lock() takes its locks.
        let taken = unsafe { pg_sys::LockAcquire(&raw const tag, MODE, true, true) };
        (taken != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL).then_some(Self(tag))
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        // An abort between two transactions has released it.
        if relation::holds(&self.0, MODE) {
            // SAFETY: this backend holds it. Reads no catalog, so it may run after an error too.
            unsafe { pg_sys::LockRelease(&raw const self.0, MODE, true) };
        }
    }
}
