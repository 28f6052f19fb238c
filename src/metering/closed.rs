//! Periods that are closed: what is recorded late for them is refused, or counted at the time of recording.

use pgrx::pg_sys;
use tenancy_core::id::PLATFORM_ID;
use tenancy_core::partitions::Monthly;
use tenancy_core::time::Instant;

use super::attribution::Attribution;
use crate::error::Error;
use crate::partitions;
use crate::pg::cell::BackendCell;
use crate::pg::heap_insert::hold;
use crate::pg::uuid::pg_uuid;
use crate::pg::{cluster, spi, time, xact};

/// The last transaction and partition that late usage was recorded in, and up to when any scope was closed then. While the transaction
/// holds the partition, `close_usage()` of its month waits.
static CLOSED: BackendCell<(u64, u32, pg_sys::Oid, Instant)> =
    BackendCell::new((0, 0, pg_sys::Oid::INVALID, Instant::EPOCH));

/// What becomes of usage at a closed time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// As the closing says.
    AsSet,
    /// It has happened: it counts now.
    Now,
}

/// Returns when usage that names its time counts: then, or now if that time is closed. Raises an error if it is refused.
pub fn open_time(place: &Attribution, at: Instant, late: Late) -> Result<Instant, Error> {
    let table = partitions::of(Monthly::UsageEvents, at)?;
    // A savepoint that is rolled back lets go of what was taken in it.
    let (xid, savepoint) = (cluster::transaction(), xact::savepoint());
    let (of, within, part, closed) = CLOSED.get();
    let closed = match (of, within, part) == (xid, savepoint, table) {
        true => closed,
        false => {
            hold(table);
            let closed = latest()?;
            CLOSED.set((xid, savepoint, table, closed));
            closed
        }
    };
    if at >= closed {
        return Ok(at);
    }
    let scopes = [Some(PLATFORM_ID), place.partner, place.tenant];
    let scopes: Vec<pgrx::Uuid> = scopes.into_iter().flatten().map(pg_uuid).collect();
    let refused: Option<bool> = spi::read(
        "SELECT bool_or(c.late_events = 'refuse') FROM tenancy_internal.usage_closings c \
         WHERE c.scope_id = ANY ($1) AND c.closed_to > to_timestamp($2::double precision / 1000000)",
        &[scopes.into(), at.unix_micros().into()],
        |rows| Ok(rows.first().get(1)?),
    )?;
    match refused {
        None => Ok(at),
        Some(true) if late == Late::AsSet => Err(Error::PeriodClosed),
        Some(_) => Ok(time::now()),
    }
}

/// Returns up to when any scope is closed.
fn latest() -> Result<Instant, Error> {
    let latest: Option<i64> = spi::read(
        "SELECT (extract(epoch FROM max(c.closed_to)) * 1000000)::bigint FROM tenancy_internal.usage_closings c",
        &[],
        |rows| Ok(rows.first().get(1)?),
    )?;
    Ok(latest.map_or(
        Instant::from_unix_micros(i64::MIN),
        Instant::from_unix_micros,
    ))
}
