//! Shows the slots that are held to SQL.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use tenancy_core::limit::slots::NEVER;
use tenancy_core::time::{Instant, Length};

use super::values::bigint;
use crate::error::ErrorReport;
use crate::pg::{slots, time};

/// Returns the slots of this database that are held.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn _held_slots() -> Result<
    TableIterator<
        'static,
        (
            name!(id, pgrx::Uuid),
            name!(limit_id, i32),
            name!(user_id, pgrx::Uuid),
            name!(place_id, pgrx::Uuid),
            name!(until, &'static str),
            name!(expires_at, Option<TimestampWithTimeZone>),
            name!(acquired_at, Option<TimestampWithTimeZone>),
            name!(pid, Option<i32>),
        ),
    >,
    ErrorReport,
> {
    let (now, clock) = (time::now(), time::monotonic());
    let rows = slots::all()?.into_iter().map(move |slot| {
        let holder = slot.holder;
        let until = super::slots::until(holder.until);
        let left = slot.expires.saturating_sub(clock) / 1000;
        let expires = now + Length::from_micros(bigint(left));
        (
            pgrx::Uuid::from_bytes(slot.id),
            holder.limit.cast_signed(),
            pgrx::Uuid::from_bytes(holder.user),
            pgrx::Uuid::from_bytes(holder.place),
            until,
            (slot.expires != NEVER)
                .then(|| time::timestamp(expires))
                .flatten(),
            time::timestamp(Instant::from_unix_micros(holder.since)),
            // The session of a slot until its release may be another client's by now.
            (until != "release").then_some(holder.process),
        )
    });
    Ok(TableIterator::new(rows))
}

/// Returns the statistics of the whole server's slots.
#[pg_extern(sql = false)]
fn _slot_counts() -> Result<
    TableIterator<'static, (name!(capacity, i64), name!(held, i64), name!(full, i64))>,
    ErrorReport,
> {
    let totals = slots::totals()?;
    let [capacity, held, full] = totals.map(bigint);
    Ok(TableIterator::once((capacity, held, full)))
}
