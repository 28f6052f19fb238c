//! Shows the ledger to SQL.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use tenancy_core::ledger::{Counted, Span, State};
use tenancy_core::quantity;

use crate::pg::{ledger, queue, refusals, time};

/// Converts attos to a numeric.
pub fn decimal(attos: i128) -> Option<AnyNumeric> {
    AnyNumeric::try_from(quantity::text(attos).as_str()).ok()
}

/// Returns when a period ends; `None` if it never ends.
pub fn end(span: &Span) -> Option<TimestampWithTimeZone> {
    time::timestamp(super::budget_cache::end(span)?)
}

/// Returns this database's entries.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn _ledger_entries() -> TableIterator<
    'static,
    (
        name!(scope_id, pgrx::Uuid),
        name!(metric_id, i32),
        name!(period_start, Option<TimestampWithTimeZone>),
        name!(period_end, Option<TimestampWithTimeZone>),
        name!(loaded, bool),
        name!(used, Option<AnyNumeric>),
        name!(in_flight, Option<AnyNumeric>),
        name!(reserved, Option<AnyNumeric>),
        name!(touched_at, Option<TimestampWithTimeZone>),
    ),
> {
    TableIterator::new(ledger::entries(queue::database()).into_iter().map(|entry| {
        let open = entry.account.counted() == Counted::Open;
        let decimal = |amount: i128| match open {
            true => Some(AnyNumeric::from(amount)),
            false => decimal(amount),
        };
        (
            pgrx::Uuid::from_bytes(entry.account.scope),
            entry.account.counted().number(),
            time::timestamp(entry.span.start),
            end(&entry.span),
            entry.state == State::Loaded,
            decimal(entry.used),
            decimal(entry.in_flight),
            decimal(entry.reserved),
            time::timestamp(entry.touched),
        )
    }))
}

/// Statistics and free list of the ledger.
#[pg_extern(sql = false)]
fn _ledger_counts() -> TableIterator<
    'static,
    (
        name!(capacity, i64),
        name!(hits, i64),
        name!(misses, i64),
        name!(loads, i64),
        name!(evictions, i64),
    ),
> {
    let (capacity, head) = ledger::counts();
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    TableIterator::once((
        capacity as i64,
        number(head.hits),
        number(head.misses),
        number(head.loads),
        number(head.evictions),
    ))
}

/// Returns a warning for the log if a tenth of all entries were evicted since the last call.
pub fn thrashing(seen: &mut Option<u64>) -> Option<String> {
    let (capacity, head) = ledger::counts();
    let gone = head.evictions.saturating_sub(seen.replace(head.evictions)?);
    (gone > capacity as u64 / 10).then(|| {
        format!(
            "{gone} budget counters were evicted since the last check; the ledger holds {capacity}"
        )
    })
}

/// Drops this database's entries; each is loaded again when it is needed.
#[pg_extern(sql = false)]
fn _forget_ledger() {
    ledger::forget(queue::database());
    refusals::forget();
}
