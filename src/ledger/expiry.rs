//! Amounts that reservations hold until they are settled, cancelled or expired.

use pgrx::spi::SpiHeapTupleData;
use tenancy_core::id::PLATFORM_ID;
use tenancy_core::quantity::{Cost, Quantity};
use uuid::Uuid;

use super::event::{Event, note, note_open};
use super::load::attos_of;
use super::{budget_cache, credits};
use crate::error::Error;
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{spi, time};

/// How many reservations expire in one transaction: other callers of the worker wait for it.
const AT_ONCE: i64 = 5_000;

/// The columns of a reservation `r` that [`held`] reads, from the first on.
macro_rules! held_columns {
    () => {
        "r.partner_id, r.tenant_id, r.project_id, r.user_id, r.metric_id, r.quantity, trunc(r.cost * 1000000000000)::text, \
         (extract(epoch FROM r.reserved_at) * 1000000)::bigint, r.api_key_id, \
         ARRAY(SELECT d.key FROM jsonb_each_text(r.dimensions) d ORDER BY d.key), \
         ARRAY(SELECT d.value FROM jsonb_each_text(r.dimensions) d ORDER BY d.key)"
    };
}
pub(crate) use held_columns;

/// What a reservation holds.
pub fn held(row: &SpiHeapTupleData<'_>) -> Result<Event, Error> {
    let id =
        |n: usize| -> Result<Option<Uuid>, Error> { Ok(row.get::<pgrx::Uuid>(n)?.map(from_pg)) };
    let (names, values): (Vec<String>, Vec<String>) = (row.not_null(10)?, row.not_null(11)?);
    Ok(Event {
        api_key: id(9)?,
        dimensions: names.into_iter().zip(values).collect(),
        partner: id(1)?,
        tenant: id(2)?,
        project: id(3)?,
        user: id(4)?,
        metric: row.get(5)?,
        quantity: Quantity::from_millionths(row.not_null(6)?),
        cost: Cost::from_attos(attos_of(&row.not_null::<String>(7)?)?),
        at: row.not_null_instant(8)?,
    })
}

/// Notes that a reservation no longer holds anything.
pub fn free(held: &Event) -> Result<(), Error> {
    let scopes = held.scopes();
    let budgets = budget_cache::parts_of(&scopes)?;
    note(held, &scopes, &budgets, |quantity| (0, -quantity));
    note_open(held, -1);
    Ok(())
}

/// Returns whether an overdue reservation still counts in a scope. Overdue reservations of other scopes do
/// not matter here.
pub fn any_expired(scope: Uuid) -> Result<bool, Error> {
    spi::read(
        "SELECT 1 FROM tenancy_internal.budget_reservations r \
         WHERE r.state = 'open' AND r.expires_at <= to_timestamp($1::double precision / 1000000) \
           AND ($2 = $3 OR $2 IN (r.partner_id, r.tenant_id, r.project_id, r.user_id)) LIMIT 1",
        &[
            time::now().unix_micros().into(),
            pg_uuid(scope).into(),
            pg_uuid(PLATFORM_ID).into(),
        ],
        |rows| Ok(!rows.is_empty()),
    )
}

/// Expires up to `AT_ONCE` overdue reservations, skipping locked ones. Returns false if none were left.
pub fn expire() -> Result<bool, Error> {
    let gone = spi::write_returning(
        concat!(
            "UPDATE tenancy_internal.budget_reservations r SET state = 'expired', ended_at = clock_timestamp() \
         WHERE r.id = ANY (ARRAY(SELECT o.id FROM tenancy_internal.budget_reservations o \
                                  WHERE o.state = 'open' AND o.expires_at <= to_timestamp($1::double precision / 1000000) \
                                  ORDER BY o.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) \
         RETURNING ",
            held_columns!(),
            ", CASE WHEN r.drew THEN r.id END"
        ),
        &[time::now().unix_micros().into(), AT_ONCE.into()],
        |rows| {
            rows.into_iter()
                .map(|row| Ok((held(&row)?, row.get::<pgrx::Uuid>(12)?)))
                .collect::<Result<Vec<_>, Error>>()
        },
    )?;
    let any = !gone.is_empty();
    for (held, drew) in gone {
        free(&held)?;
        if let Some(id) = drew {
            credits::free(id, held.at)?;
        }
    }
    Ok(any)
}
