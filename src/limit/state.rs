//! Shows limits and the buckets of rates to SQL.

use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use tenancy_core::limit::table::Entry;
use tenancy_core::limit::{Kind, Level, Per};
use tenancy_core::time::Length;

use super::effective::{self, Applied, Limit, Place};
use super::values::bigint;
use crate::context::required;
use crate::error::{Error, ErrorReport};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;
use crate::pg::{inval, queue, rates, time};

/// The state of a bucket as of now.
#[derive(Default)]
struct State {
    used: Option<i64>,
    remaining: Option<i64>,
    refused: Option<i64>,
    refused_at: Option<TimestampWithTimeZone>,
}

impl State {
    fn of(entry: &Entry, now: u64) -> Self {
        let level = entry.rate.drained(entry.level, now);
        Self {
            used: Some(bigint(entry.rate.used(level))),
            remaining: Some(bigint(entry.rate.left(level))),
            refused: Some(bigint(entry.refused)),
            refused_at: refused_at(entry, now),
        }
    }

    /// Returns the state of a bucket that is not in use.
    fn idle(value: &Limit) -> Self {
        Self {
            used: Some(0),
            remaining: value.burst.filter(|_| value.amount > 0).or(Some(0)),
            refused: Some(0),
            refused_at: None,
        }
    }
}

fn refused_at(entry: &Entry, now: u64) -> Option<TimestampWithTimeZone> {
    let ago = now.saturating_sub(entry.refused_at) / 1000;
    let at = time::now() - Length::from_micros(bigint(ago));
    (entry.refused > 0).then(|| time::timestamp(at)).flatten()
}

/// A limit that applies to the context.
type LimitRow = (
    String,
    String,
    &'static str,
    pgrx::Uuid,
    Option<&'static str>,
    i64,
    Option<i64>,
    bool,
    State,
);

/// Returns the limits that apply to the context, each with its state.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn limits() -> Result<
    TableIterator<
        'static,
        (
            name!(name, String),
            name!(kind, String),
            name!(level, &'static str),
            name!(scope_id, pgrx::Uuid),
            name!(per, Option<&'static str>),
            name!(amount, i64),
            name!(burst, Option<i64>),
            name!(imposed, bool),
            name!(used, Option<i64>),
            name!(remaining, Option<i64>),
            name!(refused, Option<i64>),
            name!(refused_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let rows = own_limits()?.into_iter().map(|row| {
        let (name, kind, level, scope, per, amount, burst, imposed, state) = row;
        (
            name,
            kind,
            level,
            scope,
            per,
            amount,
            burst,
            imposed,
            state.used,
            state.remaining,
            state.refused,
            state.refused_at,
        )
    });
    Ok(TableIterator::new(rows))
}

fn own_limits() -> Result<Vec<LimitRow>, Error> {
    inval::accept();
    let effective = effective::of_context()?;
    let ids: Vec<i32> = effective.all().map(|(id, _)| id).collect();
    let names = names(ids)?;
    let visible = visible()?;
    let mut rows = Vec::new();
    for (id, applied) in effective.all() {
        let Some((name, kind)) = names.get(&id) else {
            continue;
        };
        for (n, value) in applied.values.iter().enumerate() {
            // What other tenants use of it is for those who manage them.
            let state = match value.level >= Level::Tenant || visible.contains(&value.target) {
                true if kind == Kind::Slots.as_str() => held(&effective.place, id, applied, value)?,
                true => state(applied, n, value)?,
                false => State::default(),
            };
            rows.push((
                name.clone(),
                kind.clone(),
                value.level.as_str(),
                pg_uuid(value.target),
                value.per.map(Per::as_str),
                value.amount,
                value.burst,
                value.imposed,
                state,
            ));
        }
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(rows)
}

fn state(applied: &Applied, n: usize, value: &Limit) -> Result<State, Error> {
    let Some(demand) = applied.demands.get(n) else {
        return Ok(State::default());
    };
    let now = time::monotonic();
    let entry = rates::find(demand)?.map(|mut entry| {
        entry.rate = demand.rate;
        State::of(&entry, now)
    });
    Ok(entry.unwrap_or_else(|| State::idle(value)))
}

/// Returns how many slots are held of those that a value allows.
fn held(place: &Place, id: i32, applied: &Applied, value: &Limit) -> Result<State, Error> {
    let key = place.slot_key(id, value);
    let Some(demand) = applied.slots.iter().find(|demand| demand.key == key) else {
        return Ok(State::default());
    };
    let counts = crate::pg::slots::counts(std::slice::from_ref(demand))?;
    let counted = counts.first().copied().unwrap_or_default();
    let held = i64::from(counted.held);
    Ok(State {
        used: Some(held),
        remaining: Some((value.amount - held).max(0)),
        refused: Some(bigint(counted.refused)),
        refused_at: None,
    })
}

/// Returns the scopes above tenants at which the context holds limits:view.
fn visible() -> Result<Vec<uuid::Uuid>, Error> {
    let reached = required()?.reached("limits:view");
    let above = reached.iter().flat_map(|reached| &reached.held_above);
    Ok(above.map(|scope| scope.id).collect())
}

/// Returns the names and kinds of limits.
fn names(ids: Vec<i32>) -> Result<HashMap<i32, (String, String)>, Error> {
    spi::read(
        "SELECT d.id, d.name, d.kind FROM tenancy_internal.limit_definitions d WHERE d.id = ANY ($1)",
        &[ids.into()],
        |rows| {
            let each = rows
                .into_iter()
                .map(|row| Ok((row.not_null(1)?, (row.not_null(2)?, row.not_null(3)?))));
            each.collect()
        },
    )
}

/// Returns the buckets of this database that are in use.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn _rate_buckets() -> Result<
    TableIterator<
        'static,
        (
            name!(limit_id, i32),
            name!(level, &'static str),
            name!(target, pgrx::Uuid),
            name!(per, &'static str),
            name!(imposed, bool),
            name!(amount, i64),
            name!(burst, i64),
            name!(used, Option<i64>),
            name!(remaining, Option<i64>),
            name!(refused, Option<i64>),
            name!(refused_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let now = time::monotonic();
    let rows = rates::entries(queue::database())?.into_iter();
    let rows = rows.filter_map(move |entry| {
        let [level, _, setter, _] = entry.key.which;
        let state = State::of(&entry, now);
        // An idle one is as good as gone.
        state.used.filter(|used| *used > 0)?;
        Some((
            entry.key.limit.cast_signed(),
            Level::ALL.get(usize::from(level))?.as_str(),
            pgrx::Uuid::from_bytes(entry.key.target),
            entry.rate.per.as_str(),
            setter == 0,
            bigint(entry.rate.amount),
            bigint(entry.rate.burst),
            state.used,
            state.remaining,
            state.refused,
            state.refused_at,
        ))
    });
    Ok(TableIterator::new(rows))
}

/// Returns the statistics of the whole server's buckets.
#[pg_extern(sql = false)]
fn _rate_counts() -> Result<
    TableIterator<'static, (name!(capacity, i64), name!(used, i64), name!(full, i64))>,
    ErrorReport,
> {
    let counts = rates::counts()?;
    Ok(TableIterator::once((
        bigint(counts.capacity),
        bigint(counts.used),
        bigint(counts.full),
    )))
}
