//! Procedures of which only one session runs one at a time.

use std::thread::sleep;
use std::time::Duration;

use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::extension;
use crate::pg::lock::SessionLock;
use crate::pg::spi::{self, NotNull};

/// How often, and after which pauses, a lock is tried that another session holds: one that has just been ended releases it soon.
/// No lock is waited for, since an index that the other one builds CONCURRENTLY would wait for this transaction.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Excludes other calls of fix_foreign_keys() and unfix_foreign_keys() until the lock is dropped.
pub fn with_keys() -> Result<SessionLock, Error> {
    let table = extension::internal_table(c"fixed_foreign_keys")?;
    on(table, "fix_foreign_keys() or unfix_foreign_keys()")
}

/// Excludes other calls of adopt() and unadopt() with this table of tenants until the lock is dropped.
pub fn with_adoption(tenant_table: pg_sys::Oid) -> Result<SessionLock, Error> {
    on(tenant_table, "adopt() or unadopt() of these tables")
}

fn on(table: pg_sys::Oid, what: &'static str) -> Result<SessionLock, Error> {
    with_object(pg_sys::RelationRelationId, table.to_u32(), what)
}

/// Excludes other procedures that ask for the same object of a catalog until the lock is dropped.
pub fn with_object(
    catalog: pg_sys::Oid,
    object: u32,
    what: &'static str,
) -> Result<SessionLock, Error> {
    for _ in 0..TRIES {
        if let Some(lock) = SessionLock::take(catalog, object) {
            return Ok(lock);
        }
        sleep(PAUSE);
        pgrx::check_for_interrupts!();
    }
    match SessionLock::take(catalog, object) {
        Some(lock) => Ok(lock),
        None => Err(Error::RunsAlready {
            what,
            process: holder(catalog, object)?,
        }),
    }
}

/// Returns the process that holds the lock; 0 if it has ended.
fn holder(catalog: pg_sys::Oid, object: u32) -> Result<i32, Error> {
    spi::read_as_caller(
        "SELECT l.pid FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database() \
          WHERE l.locktype = 'object' AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 0 AND l.granted LIMIT 1",
        &[catalog.into(), pg_sys::Oid::from_u32(object).into()],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(0),
        },
    )
}
