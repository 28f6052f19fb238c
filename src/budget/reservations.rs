//! Reservations: room kept for work whose size is known only afterwards. Each is a row, so it outlives
//! connections and crashes. An open reservation counts as in flight.

use pgrx::JsonB;
use pgrx::datum::{DatumWithOid, Interval};
use pgrx::prelude::*;
use tenancy_core::id::{PLATFORM_ID, new_id};
use tenancy_core::permission::Permission;
use tenancy_core::principal::Principal;
use tenancy_core::quantity::{Quantity, cost as cost_in, in_millionths, quantity as quantity_in};
use tenancy_core::time::Length;
use uuid::Uuid;

use crate::context::{current, required};
use crate::error::{Error, ErrorReport};
use crate::ledger::{
    Admission, Admitted, Event, admit, credits, free, held, note, note_open, try_admit,
};
use crate::metering::attribution::Attribution;
use crate::metering::{Settled, check_recordable, reserved, settled};
use crate::pg::fmgr::JsonArgument;
use crate::pg::heap_insert::Json;
use crate::pg::spi::NotNull;
use crate::pg::uuid::pg_uuid;
use crate::pg::{bounded, role, spi, time};
use crate::requests;

/// The permission to cancel another user's reservation.
const MANAGE: &str = "budgets:manage";
/// The longest time that a reservation may be open.
const TTL_MAX: Length = Length::from_days(7);

fn number(text: &AnyNumeric) -> Result<Quantity, Error> {
    Ok(quantity_in(&text.to_string())?)
}

/// Reserves a quantity in every budget until it is settled or cancelled, or expires.
#[pg_extern(sql = false)]
fn reserve(
    metric: Option<&str>,
    quantity: Option<AnyNumeric>,
    ttl: Option<Interval>,
    attributes: Option<bounded::Json>,
    cost: Option<AnyNumeric>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let metric = metric.ok_or(Error::Null("metric"))?;
    let quantity = number(&quantity.ok_or(Error::Null("quantity"))?)?;
    let ttl = ttl.ok_or(Error::Null("ttl"))?;
    let ttl = time::span(&ttl).unwrap_or(Length::ZERO);
    if ttl <= Length::ZERO || ttl > TTL_MAX {
        Err(Error::bad(
            "ttl must be more than 0 and at most 7 days",
            "It is how long the work may take.",
        ))?;
    }
    if quantity <= Quantity::ZERO {
        Err(Error::bad(
            "quantity must be more than 0",
            "Reserve the most that the work may come to; settle() takes what it was.",
        ))?;
    }
    check_recordable()?;
    let cost = cost.map(|cost| cost_in(&cost.to_string()));
    let attributes = attributes.map(|json| argument(json.0)).transpose()?;
    let event = reserved(
        metric,
        quantity,
        cost.transpose().map_err(Error::from)?,
        attributes,
    )?;
    let Some(metric) = event.metric else {
        return Err(Error::bad(
            "only what adds up can be reserved",
            "Reserve metrics whose aggregation is sum or count.",
        )
        .into());
    };
    let scopes = event.scopes();
    let Admitted { draws, budgets } = admit(&event, None, &scopes, Admission::Reserve)?;
    let dimensions = event.dimensions.iter();
    let dimensions = dimensions.map(|(name, value)| (name.clone(), value.clone().into()));
    let dimensions = serde_json::Value::Object(dimensions.collect());
    let id = pg_uuid(new_id());
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

/// A reservation, locked.
struct Reservation {
    held: Event,
    metric: String,
    state: String,
    /// Whether it drew from credits.
    drew: bool,
    /// The database role that reserved.
    by: String,
}

/// Columns of a reservation `r`, as [`held`] reads them.
const FIND: &str = "SELECT r.partner_id, r.tenant_id, r.project_id, r.user_id, r.metric_id, r.quantity, trunc(r.cost * 1000000000000)::text, \
     (extract(epoch FROM r.reserved_at) * 1000000)::bigint, r.state, m.name, r.drew, r.reserved_by::text, \
     r.api_key_id, ARRAY(SELECT d.key FROM jsonb_each_text(r.dimensions) d ORDER BY d.key), \
     ARRAY(SELECT d.value FROM jsonb_each_text(r.dimensions) d ORDER BY d.key) \
     FROM tenancy_internal.budget_reservations r JOIN tenancy_internal.metric_definitions m ON m.id = r.metric_id \
     WHERE r.id = $1 AND ($2 IS NULL OR coalesce(r.tenant_id, r.partner_id, $3) = $2) FOR UPDATE OF r";

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
            held: held(&row, 13)?,
            metric: row.not_null(10)?,
            state: row.not_null(9)?,
            drew: row.not_null(11)?,
            by: row.not_null(12)?,
        }))
    })?;
    found.ok_or(Error::NoSuchReservation)
}

/// Whether a trusted role calls without a user's context, as for `record_usage_for()`.
fn is_trusted() -> Result<bool, Error> {
    let user = current()?.is_some_and(|context| matches!(context.principal, Principal::User(_)));
    Ok(!user && (role::has_role(c"tenancy_gateway") || role::has_role(c"tenancy_admin")))
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
    let held = found.held;
    let quantity = match quantity {
        Some(quantity) => number(&quantity)?,
        None => held.quantity,
    };
    let cost = cost.map(|cost| cost_in(&cost.to_string()));
    // What is not said was reserved: the usage stays in the budgets of its dimensions.
    let attributes = match attributes {
        Some(json) => Some(argument(json.0)?),
        None if held.dimensions.is_empty() => None,
        None => {
            let dimensions = held.dimensions.iter();
            let dimensions = dimensions.map(|(name, value)| (name.clone(), value.clone().into()));
            Some(argument(serde_json::Value::Object(dimensions.collect()))?)
        }
    };
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
    let manage = Permission::parse(MANAGE).map_err(|_| Error::Internal("a permission"))?;
    let above = match (found.held.tenant, found.held.partner) {
        (Some(_), Some(partner)) => vec![PLATFORM_ID, partner],
        _ => vec![PLATFORM_ID],
    };
    Ok((context.access.as_ref()).is_some_and(|access| access.grants.hold(&manage, &above)))
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
