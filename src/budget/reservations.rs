//! Reservations: room kept for work whose size is known only afterwards. Each is a row, so it outlives
//! connections and crashes. An open reservation counts as in flight.

use pgrx::JsonB;
use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
use pgrx::prelude::*;
use tenancy_core::id::{PLATFORM_ID, new_id};
use tenancy_core::metering::repeat;
use tenancy_core::principal::Principal;
use tenancy_core::quantity::{
    Cost, Quantity, cost as cost_in, in_millionths, quantity as quantity_in,
};
use tenancy_core::time::{Instant, Length};
use uuid::Uuid;

use crate::context::required;
use crate::error::{Error, ErrorReport};
use crate::ledger::{
    Admission, Admitted, Event, admit, credits, free, held, held_columns, note, note_open,
    try_admit,
};
use crate::metering::attribution::Attribution;
use crate::metering::closed::{Late, open_time};
use crate::metering::rights::{is_trusted, manages_above};
use crate::metering::{
    Settled, check_recordable, grown, key_of, reserved, reused, settled, use_up,
};
use crate::pg::fmgr::JsonArgument;
use crate::pg::heap_insert::Json;
use crate::pg::spi::NotNull;
use crate::pg::uuid::pg_uuid;
use crate::pg::{bounded, role, spi, time};
use crate::requests;

/// The longest time that a reservation may be open.
const TTL_MAX: Length = Length::from_days(7);

fn number(text: &AnyNumeric) -> Result<Quantity, Error> {
    Ok(quantity_in(&text.to_string())?)
}

/// Reads how long a reservation may be open.
fn length(ttl: &Interval) -> Result<Length, Error> {
    let ttl = time::span(ttl).unwrap_or(Length::ZERO);
    match ttl > Length::ZERO && ttl <= TTL_MAX {
        true => Ok(ttl),
        false => Err(Error::bad(
            "ttl must be more than 0 and at most 7 days",
            "It is how long the work may take.",
        )),
    }
}

/// Reserves a quantity in every budget until it is settled or cancelled, or expires.
#[pg_extern(sql = false)]
fn reserve(
    metric: Option<&str>,
    quantity: Option<AnyNumeric>,
    ttl: Option<Interval>,
    attributes: Option<bounded::Json>,
    cost: Option<AnyNumeric>,
    idempotency_key: Option<&str>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let metric = metric.ok_or(Error::Null("metric"))?;
    let quantity = number(&quantity.ok_or(Error::Null("quantity"))?)?;
    let ttl = length(&ttl.ok_or(Error::Null("ttl"))?)?;
    if quantity <= Quantity::ZERO {
        Err(Error::bad(
            "quantity must be more than 0",
            "Reserve the most that the work may come to; settle() takes what it was.",
        ))?;
    }
    check_recordable()?;
    let cost = cost.map(|cost| cost_in(&cost.to_string()));
    let cost = cost.transpose().map_err(Error::from)?;
    let told = attributes.as_ref().map(|json| json.0.to_string());
    let said = idempotency_key.map(|_| said(metric, quantity, ttl, told, cost));
    let attributes = attributes.map(|json| argument(json.0)).transpose()?;
    let event = reserved(metric, quantity, cost, attributes)?;
    let Some(metric) = event.metric else {
        return Err(Error::bad(
            "only what adds up can be reserved",
            "Reserve metrics whose aggregation is sum or count.",
        )
        .into());
    };
    let id = pg_uuid(new_id());
    if let Some((key, said)) = idempotency_key.zip(said)
        && let Some(first) = claim(id, &event, key, said)?
    {
        return Ok(first);
    }
    let scopes = event.scopes();
    let Admitted { draws, budgets } = admit(&event, None, &scopes, Admission::Reserve)?;
    let dimensions = dimensions_of(&event);
    let some = |id: Option<Uuid>| DatumWithOid::from(id.map(pg_uuid));
    spi::execute_prepared(
        "INSERT INTO tenancy_internal.budget_reservations (id, partner_id, tenant_id, project_id, user_id, metric_id, quantity, cost, reserved_at, expires_at, state, drew, reserved_by, api_key_id, dimensions) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::numeric, to_timestamp($9::double precision / 1000000), \
                 to_timestamp($10::double precision / 1000000), 'open', $11, $12::name, $13, nullif($14, '{}'))",
        &[
            id.into(),
            some(event.partner),
            some(event.tenant),
            some(event.project),
            some(event.user),
            metric.into(),
            event.quantity.millionths().into(),
            in_millionths(event.cost.attos()).into(),
            event.at.unix_micros().into(),
            (event.at + ttl).unix_micros().into(),
            (!draws.is_empty()).into(),
            role::current_name().into(),
            some(event.api_key),
            JsonB(dimensions).into(),
        ],
    )?;
    credits::write(&draws, event.at, Some(id))?;
    note(&event, &scopes, &budgets, |quantity| (0, quantity));
    note_open(&event, 1);
    requests::expect_tidying(event.at + ttl);
    Ok(id)
}

/// Hashes what a repeated key must reserve again, but for the project.
fn said(
    metric: &str,
    quantity: Quantity,
    ttl: Length,
    attributes: Option<String>,
    cost: Option<Cost>,
) -> impl Fn(Option<Uuid>) -> Vec<u8> + use<> {
    let cost = cost.map(|cost| cost.attos().to_be_bytes());
    let (metric, quantity) = (metric.to_owned(), quantity.millionths().to_be_bytes());
    move |project| {
        repeat::fingerprints([
            Some(metric.as_bytes()),
            Some(&quantity[..]),
            Some(&ttl.micros().to_be_bytes()[..]),
            attributes.as_ref().map(String::as_bytes),
            cost.as_ref().map(|cost| &cost[..]),
            project.as_ref().map(|id| &id.as_bytes()[..]),
        ])
    }
}

/// Uses up a key, or returns the reservation that used it before. Raises an error if that reservation had other values.
fn claim(
    id: pgrx::Uuid,
    event: &Event,
    key: &str,
    said: impl Fn(Option<Uuid>) -> Vec<u8>,
) -> Result<Option<pgrx::Uuid>, Error> {
    let scope = pg_uuid(place(event).owner());
    let (key, said) = (pg_uuid(key_of(key.as_bytes())?), said(event.project));
    let first = use_up(
        (
            "INSERT INTO tenancy_internal.reservation_keys (scope_id, key, reservation, said, used_at) \
             VALUES ($1, $2, $3, $4, clock_timestamp()) ON CONFLICT DO NOTHING RETURNING 1",
            &[scope.into(), key.into(), id.into(), said.clone().into()],
        ),
        (
            "SELECT k.reservation, k.said FROM tenancy_internal.reservation_keys k WHERE k.scope_id = $1 AND k.key = $2",
            &[scope.into(), key.into()],
        ),
        |row| Ok((row.not_null(1)?, row.not_null::<Vec<u8>>(2)?)),
    )?;
    match first {
        Some((_, then)) if then != said => {
            Err(reused("reservation", &repeat::OF_RESERVATION, &then, &said))
        }
        first => Ok(first.map(|(first, _)| first)),
    }
}

/// A reservation, locked.
struct Reservation {
    held: Event,
    metric: String,
    state: String,
    /// Whether it drew from credits.
    drew: bool,
    /// The database role that reserved.
    by: String,
    /// Whether its metric counts events.
    counts: bool,
    /// When it expires.
    expires_at: Instant,
}

/// What [`held`] reads of a reservation `r`, and then what else is needed.
const FIND: &str = concat!(
    "SELECT ",
    held_columns!(),
    ", r.state, m.name, r.drew, r.reserved_by::text, m.aggregation = 'count', (extract(epoch FROM r.expires_at) * 1000000)::bigint \
     FROM tenancy_internal.budget_reservations r JOIN tenancy_internal.metric_definitions m ON m.id = r.metric_id \
     WHERE r.id = $1 AND ($2 IS NULL OR coalesce(r.tenant_id, r.partner_id, $3) = $2) FOR UPDATE OF r"
);

/// Finds and locks a reservation of the context's tenant, by any of its users; without a context, for a trusted role, of any tenant,
/// also of one that nobody may enter any more: the work has happened. Waits for a transaction that ends it.
fn find(id: pgrx::Uuid) -> Result<Reservation, Error> {
    check_recordable()?;
    // It does not even wait for those of other tenants.
    let owner = match is_trusted()? {
        true => None,
        false => Some(pg_uuid(Attribution::owner_of_context()?)),
    };
    let args = &[id.into(), owner.into(), pg_uuid(PLATFORM_ID).into()];
    let found = spi::write_returning(FIND, args, |rows| {
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(Reservation {
            held: held(&row)?,
            state: row.not_null(12)?,
            metric: row.not_null(13)?,
            drew: row.not_null(14)?,
            by: row.not_null(15)?,
            counts: row.not_null(16)?,
            expires_at: row.not_null_instant(17)?,
        }))
    })?;
    found.ok_or(Error::NoSuchReservation)
}

fn place(event: &Event) -> Attribution {
    Attribution {
        partner: event.partner,
        tenant: event.tenant,
        project: event.project,
        user: event.user,
        api_key: event.api_key,
    }
}

/// Settles a reservation: records the actual usage, whether it fits or not, and frees the room.
#[pg_extern(sql = false)]
fn settle(
    reservation: Option<pgrx::Uuid>,
    quantity: Option<AnyNumeric>,
    cost: Option<AnyNumeric>,
    attributes: Option<bounded::Json>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let id = reservation.ok_or(Error::Null("reservation"))?;
    let found = find(id)?;
    let open = found.state == "open";
    // The work has happened, even if the room was freed before.
    if found.state == "settled" {
        return Err(Error::ReservationOver(found.state).into());
    }
    let mut held = found.held;
    if !open {
        // Open ones put off the closing of their period.
        held.at = open_time(&place(&held), held.at, Late::Now)?;
    }
    let quantity = match quantity {
        Some(quantity) => number(&quantity)?,
        None => held.quantity,
    };
    let cost = cost.map(|cost| cost_in(&cost.to_string()));
    let attributes = attributes_of(&held, attributes)?;
    let (mut overrun, mut known) = (false, held.clone());
    let event = settled(
        Settled {
            place: place(&held),
            metric: &found.metric,
            quantity,
            cost: cost.transpose().map_err(Error::from)?,
            attributes,
            at: held.at,
        },
        |event| {
            known = event.clone();
            let (scopes, counted) = (event.scopes(), open.then_some(&held));
            let admitted = match try_admit(event, counted, &scopes, Admission::Required) {
                Err(Error::Exhausted(_)) => {
                    overrun = true;
                    admit(event, counted, &scopes, Admission::Skip)
                }
                admitted => admitted,
            };
            credits::write(&admitted?.draws, event.at, None)
        },
    )?;
    spi::execute_prepared(
        "UPDATE tenancy_internal.budget_reservations r SET state = 'settled', ended_at = clock_timestamp(), used = $2, used_cost = $3::text::numeric, overrun = $4, event_id = $5 \
         WHERE r.id = $1",
        &[
            id.into(),
            known.quantity.millionths().into(),
            in_millionths(known.cost.attos()).into(),
            overrun.into(),
            pg_uuid(event).into(),
        ],
    )?;
    if open {
        free(&held)?;
        if found.drew {
            credits::settle(id, &held, &known)?;
        }
    }
    Ok(pg_uuid(event))
}

/// Returns an event's dimensions as an object.
fn dimensions_of(event: &Event) -> serde_json::Value {
    let all = event.dimensions.iter();
    let all = all.map(|(name, value)| (name.clone(), value.clone().into()));
    serde_json::Value::Object(all.collect())
}

/// Returns the given attributes; without any, what was reserved: the usage stays in the budgets of its dimensions.
fn attributes_of(
    held: &Event,
    given: Option<bounded::Json>,
) -> Result<Option<JsonArgument>, Error> {
    match given {
        Some(json) => argument(json.0).map(Some),
        None if held.dimensions.is_empty() => Ok(None),
        None => argument(dimensions_of(held)).map(Some),
    }
}

fn argument(json: serde_json::Value) -> Result<JsonArgument, Error> {
    Ok(JsonArgument {
        bytes: json.to_string().len(),
        is_object: json.is_object(),
        json: Json::new(json)?,
    })
}

/// Returns whether the caller reserved, or manages budgets above the tenant. A user whom a budget limits cannot free its room.
fn may_cancel(found: &Reservation) -> Result<bool, Error> {
    if is_trusted()? {
        return Ok(true);
    }
    let context = required()?;
    let own = matches!(context.principal, Principal::User(user) if found.held.user == Some(user));
    if own && found.by == role::current_name() {
        return Ok(true);
    }
    manages_above(found.held.tenant, found.held.partner)
}

/// Prolongs an open reservation, lets it hold more, or both. Returns when it expires.
#[pg_extern(sql = false)]
fn extend(
    reservation: Option<pgrx::Uuid>,
    ttl: Option<Interval>,
    quantity: Option<AnyNumeric>,
    attributes: Option<bounded::Json>,
    cost: Option<AnyNumeric>,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    let id = reservation.ok_or(Error::Null("reservation"))?;
    let ttl = ttl.as_ref().map(length).transpose()?;
    let quantity = quantity.as_ref().map(number).transpose()?;
    let priced = attributes.is_some() || cost.is_some();
    if quantity.is_none() && (ttl.is_none() || priced) {
        return Err(Error::bad(
            "there is nothing to extend",
            "Pass ttl, quantity or both. attributes and cost are those of a quantity.",
        )
        .into());
    }
    let found = find(id)?;
    if !may_cancel(&found)? {
        return Err(
            Error::NotPermitted("budgets:manage above the tenant of the reservation").into(),
        );
    }
    if found.state != "open" {
        return Err(Error::ReservationOver(found.state).into());
    }
    let held = found.held;
    let mut drew = found.drew;
    let mut all = held.clone();
    if let Some(quantity) = quantity {
        let cost = cost.map(|cost| cost_in(&cost.to_string())).transpose();
        let attributes = attributes_of(&held, attributes)?;
        let cost = cost.map_err(Error::from)?;
        let cost = grown(
            (place(&held), held.at),
            &found.metric,
            quantity,
            cost,
            attributes,
        )?;
        // A metric of kind count counts one event, whatever its quantity.
        if held.metric.is_some() && found.counts {
            all.cost = cost.max(held.cost);
        } else if quantity < held.quantity {
            return Err(Error::bad(
                "quantity must not be less than what is reserved",
                "It is the new total. settle() frees what was not used.",
            )
            .into());
        } else {
            (all.quantity, all.cost) = (quantity, cost.max(held.cost));
        }
        let more = Event {
            quantity: all.quantity.beyond(held.quantity),
            cost: all.cost.beyond(held.cost),
            ..held.clone()
        };
        let scopes = all.scopes();
        let Admitted { draws, budgets } = admit(&all, Some(&held), &scopes, Admission::Required)?;
        drew |= !draws.is_empty();
        credits::write(&draws, held.at, Some(id))?;
        note(&more, &scopes, &budgets, |quantity| (0, quantity));
    }
    let until = ttl.map(|ttl| (time::now() + ttl).max(found.expires_at));
    let until = until.unwrap_or(found.expires_at);
    spi::execute_prepared(
        "UPDATE tenancy_internal.budget_reservations r SET quantity = $2, cost = $3::text::numeric, drew = $4, expires_at = to_timestamp($5::double precision / 1000000) \
         WHERE r.id = $1",
        &[
            id.into(),
            all.quantity.millionths().into(),
            in_millionths(all.cost.attos()).into(),
            drew.into(),
            until.unix_micros().into(),
        ],
    )?;
    requests::expect_tidying(until);
    Ok(time::timestamp(until))
}

/// Cancels a reservation and frees its room.
#[pg_extern(sql = false)]
fn cancel(reservation: Option<pgrx::Uuid>) -> Result<(), ErrorReport> {
    let id = reservation.ok_or(Error::Null("reservation"))?;
    let found = find(id)?;
    if !may_cancel(&found)? {
        return Err(
            Error::NotPermitted("budgets:manage above the tenant of the reservation").into(),
        );
    }
    if found.state != "open" {
        return Err(Error::ReservationOver(found.state).into());
    }
    spi::execute_prepared(
        "UPDATE tenancy_internal.budget_reservations r SET state = 'cancelled', ended_at = clock_timestamp() WHERE r.id = $1",
        &[id.into()],
    )?;
    free(&found.held)?;
    if found.drew {
        credits::free(id, found.held.at)?;
    }
    Ok(())
}
