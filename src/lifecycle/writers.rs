//! Waits for transactions that have written into tables and have not ended.

use std::thread::sleep;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::adoption::Patient;
use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::policy;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(100);
/// After how many looks it says for whom it waits.
const PATIENCE: usize = 20;

/// A transaction of another session, or a prepared one.
type Writer = (String, Option<i32>);

/// Waits until all transactions have ended that now hold a writer's lock on one of these tables: what they have written is visible then.
/// Those that begin later do not matter, since nobody works in a deleted tenant. Between two looks it holds no snapshot and no lock.
pub fn wait(tables: &[pg_sys::Oid], transactions: &Patient) -> Result<(), Error> {
    wait_until(tables, transactions, None).map(drop)
}

/// The same, until a time. Returns whether they have ended.
pub fn wait_until(
    tables: &[pg_sys::Oid],
    transactions: &Patient,
    end: Option<Instant>,
) -> Result<bool, Error> {
    let mut left = policy::pinned(|| writers(tables))?;
    let mut looks = 0;
    while !left.is_empty() {
        if end.is_some_and(|end| Instant::now() > end) {
            return Ok(false);
        }
        if looks == PATIENCE {
            let sessions: Vec<String> = (left.iter())
                .map(|(_, pid)| {
                    pid.map_or("a prepared transaction".to_owned(), |pid| pid.to_string())
                })
                .collect();
            notice!(
                "tenancy: waiting for transactions that have written into protected tables, of the processes {}",
                sessions.join(", ")
            );
        }
        looks += 1;
        transactions.commit();
        sleep(PAUSE);
        pgrx::check_for_interrupts!();
        let running = policy::pinned(|| writers(tables))?;
        left.retain(|writer| running.contains(writer));
    }
    Ok(true)
}

fn writers(tables: &[pg_sys::Oid]) -> Result<Vec<Writer>, Error> {
    spi::read_as_caller(
        "SELECT DISTINCT l.virtualtransaction, l.pid FROM pg_catalog.pg_locks l \
         WHERE l.locktype = 'relation' AND l.relation = ANY ($1) AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() \
           AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
           AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')",
        &[tables.to_vec().into()],
        |rows| {
            rows.into_iter()
                .map(|row| Ok((row.not_null(1)?, row.get(2)?)))
                .collect()
        },
    )
}
