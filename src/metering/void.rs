//! `void_event()`: takes an event back by another one with the negative quantity and cost.

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::id::new_id;
use tenancy_core::metric::Aggregation;
use tenancy_core::partitions::Monthly;
use tenancy_core::quantity::{Cost, Quantity, in_millionths};
use tenancy_core::time::Instant;

use super::attribution::Attribution;
use super::closed::{self, Late};
use super::record::{Dimensions, check_recordable, event_at};
use super::rights::{is_trusted, manages_above};
use crate::error::{Error, ErrorReport};
use crate::ledger::load::attos_of;
use crate::ledger::{Event, note, parts_of};
use crate::pg::heap_insert::hold;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::xact;
use crate::{context, partitions, requests};

/// The longest reason, in characters.
const REASON_MAX: usize = 300;

/// An event that was recorded.
struct Found {
    place: Attribution,
    at: Instant,
    metric: i32,
    name: String,
    aggregation: Aggregation,
    quantity: i64,
    cost: Cost,
    dimensions: Dimensions,
    corrects: bool,
    rerates: bool,
}

fn find(id: pgrx::Uuid, trusted: bool) -> Result<Found, Error> {
    // What the caller does not see in the view does not exist for it.
    let found = spi::read(
        "SELECT (extract(epoch FROM e.at) * 1000000)::bigint, e.metric_id, e.partner_id, e.tenant_id, e.project_id, e.user_id, e.quantity, \
                trunc((e.cost + coalesce((SELECT sum(x.difference) FROM tenancy_internal.rerated_events x WHERE x.corrected = e.id), 0)) * 1000000000000)::text, \
                e.corrects IS NOT NULL, m.name, m.aggregation, e.api_key_id, ARRAY(SELECT d.key FROM jsonb_each_text(e.dimensions) d ORDER BY d.key), \
                ARRAY(SELECT d.value FROM jsonb_each_text(e.dimensions) d ORDER BY d.key), e.price_id IS NOT DISTINCT FROM -2 \
         FROM tenancy_internal.usage_events e JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id \
         WHERE e.id = $1 AND ($2 OR EXISTS (SELECT FROM tenancy.recorded_usage r WHERE r.id = $1))",
        &[id.into(), trusted.into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Ok(None);
            };
            let scope =
                |n: usize| -> Result<_, Error> { Ok(row.get::<pgrx::Uuid>(n)?.map(from_pg)) };
            Ok(Some(Found {
                at: row.not_null_instant(1)?,
                metric: row.not_null(2)?,
                place: Attribution {
                    partner: scope(3)?,
                    tenant: scope(4)?,
                    project: scope(5)?,
                    user: scope(6)?,
                    api_key: scope(12)?,
                },
                quantity: row.not_null(7)?,
                cost: Cost::from_attos(attos_of(&row.not_null::<String>(8)?)?),
                dimensions: (row.not_null::<Vec<String>>(13)?.into_iter())
                    .zip(row.not_null::<Vec<String>>(14)?)
                    .collect(),
                rerates: row.not_null(15)?,
                corrects: row.not_null(9)?,
                name: row.not_null(10)?,
                aggregation: (row.not_null::<String>(11)?)
                    .parse()
                    .map_err(|_| Error::Internal("an aggregation"))?,
            }))
        },
    )?;
    found.ok_or(Error::NoSuchEvent)
}

/// Voids an event: records another with the negative quantity and cost, once. Returns its id.
#[pg_extern(sql = false)]
fn void_event(event: Option<pgrx::Uuid>, reason: Option<&str>) -> Result<pgrx::Uuid, ErrorReport> {
    let event = event.ok_or(Error::Null("event"))?;
    let reason = reason.ok_or(Error::Null("reason"))?;
    let printable = !reason.trim().is_empty() && !reason.chars().any(char::is_control);
    if !printable || reason.chars().count() > REASON_MAX {
        return Err(Error::bad(
            "reason must be a line of 1 to 300 printable characters",
            "Say why the event is wrong.",
        )
        .into());
    }
    check_recordable()?;
    // Corrections that another transaction records meanwhile would be left out, and voids that it does not see corrected.
    if xact::is_serializable() {
        return Err(Error::bad(
            "void_event() needs the isolation level READ COMMITTED",
            "SET default_transaction_isolation = 'read committed', and call it again.",
        )
        .into());
    }
    spi::execute_prepared(
        "LOCK TABLE tenancy_internal.rerated_events IN ROW EXCLUSIVE MODE",
        &[],
    )?;
    let trusted = is_trusted()?;
    let found = find(event, trusted)?;
    if !trusted && !manages_above(found.place.tenant, found.place.partner)? {
        return Err(Error::NotPermitted("budgets:manage above the tenant of the event").into());
    }
    if found.corrects {
        return Err(Error::NotVoidable("it voids another").into());
    }
    if found.rerates {
        return Err(Error::NotVoidable("it corrects the cost of another").into());
    }
    let quantity = match found.aggregation {
        Aggregation::Sum => found.quantity,
        Aggregation::Count => Quantity::ONE.millionths(),
        Aggregation::Max | Aggregation::Distinct => {
            return Err(Error::NotVoidable("peaks and different values do not add up").into());
        }
    };
    // In its own period, so that the room is free there.
    let at = closed::open_time(&found.place, found.at, Late::Now)?;
    let id = pg_uuid(new_id());
    let first = spi::execute_prepared(
        "INSERT INTO tenancy_internal.voided_events (event_id, void_id, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1",
        &[event.into(), id.into(), reason.into()],
    )?;
    if first == 0 {
        return Err(Error::EventVoided.into());
    }
    hold(partitions::of(Monthly::UsageEvents, at)?);
    requests::wrote();
    // Counted when the transaction commits, and not before: nothing is in flight for it.
    let taken = Event {
        dimensions: found.dimensions,
        metric: Some(found.metric),
        quantity: Quantity::from_millionths(-quantity),
        cost: Cost::from_attos(-found.cost.attos()),
        ..event_at(&found.place, at)
    };
    let scopes = taken.scopes();
    let budgets = parts_of(&scopes)?;
    note(&taken, &scopes, &budgets, |quantity| (quantity, 0));
    spi::execute_prepared(
        "INSERT INTO tenancy_internal.usage_events (at, origin, xid, id, metric_id, partner_id, tenant_id, project_id, user_id, quantity, cost, \
                value, dimensions, attributes, corrects, late_at, api_key_id, price_id) \
         SELECT to_timestamp($3::double precision / 1000000), tenancy_internal.origin(), pg_current_xact_id(), $2, e.metric_id, e.partner_id, e.tenant_id, \
                e.project_id, e.user_id, -e.quantity, $4::text::numeric, e.value, e.dimensions, e.attributes, e.id, \
                CASE WHEN e.at <> to_timestamp($3::double precision / 1000000) THEN e.at END, e.api_key_id, \
                coalesce((SELECT x.price_after FROM tenancy_internal.rerated_events x WHERE x.corrected = e.id ORDER BY x.correction DESC LIMIT 1), e.price_id) \
         FROM tenancy_internal.usage_events e WHERE e.id = $1",
        &[
            event.into(),
            id.into(),
            at.unix_micros().into(),
            in_millionths(taken.cost.attos()).into(),
        ],
    )?;
    context::record(
        "usage.voided",
        Some(found.place.owner()),
        Some(&from_pg(event).to_string()),
        json!({"void": from_pg(id).to_string(), "metric": found.name, "reason": reason}),
    )?;
    Ok(id)
}
