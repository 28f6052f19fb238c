//! What events cost at the prices of the book now, and the corrections that say so. An event is never changed.

use pgrx::JsonB;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use tenancy_core::quantity::{Cost, Quantity, in_millionths};

use super::attribution::Attribution;
use super::closed::{Late, open_time};
use super::metrics;
use super::record::{Corrected, correct, scopes};
use crate::error::ErrorReport;
use crate::ledger::load::attos_of;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{inval, time};

/// Returns which price of the book applies to an event now, and the cost in millionths; no row if none is known.
#[pg_extern(sql = false)]
fn _priced(
    metric: &str,
    partner: Option<pgrx::Uuid>,
    tenant: Option<pgrx::Uuid>,
    dimensions: Option<JsonB>,
    at: TimestampWithTimeZone,
    millionths: i64,
) -> Result<TableIterator<'static, (name!(price, i32), name!(cost, String))>, ErrorReport> {
    inval::accept();
    let metric = metrics::find(metric)?;
    let place = Attribution {
        partner: partner.map(from_pg),
        tenant: tenant.map(from_pg),
        ..Attribution::default()
    };
    let dimensions = dimensions.map(|json| json.0).unwrap_or_default();
    let value = |name: &str| dimensions.get(name).and_then(|value| value.as_str());
    let quantity = Quantity::from_millionths(millionths);
    let at = time::from_server(at.into());
    let priced = metric.cost(quantity, scopes(&place), at, value)?;
    let row = priced.and_then(|priced| Some((priced.price?, in_millionths(priced.cost.attos()))));
    Ok(TableIterator::new(row))
}

/// Records a correction: an event without quantity at the time of another, with the difference of its cost in attos.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the columns of an event")]
fn _correct(
    metric_id: i32,
    partner: Option<pgrx::Uuid>,
    tenant: Option<pgrx::Uuid>,
    project: Option<pgrx::Uuid>,
    user: Option<pgrx::Uuid>,
    dimensions: Option<JsonB>,
    at: TimestampWithTimeZone,
    attos: &str,
    api_key: Option<pgrx::Uuid>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let id = |id: Option<pgrx::Uuid>| id.map(from_pg);
    let place = Attribution {
        partner: id(partner),
        tenant: id(tenant),
        project: id(project),
        user: id(user),
        api_key: id(api_key),
    };
    let dimensions = match dimensions.map(|json| json.0) {
        Some(serde_json::Value::Object(dimensions)) => Some(dimensions),
        _ => None,
    };
    // What is closed stays closed.
    let told = time::from_server(at.into());
    let at = open_time(&place, told, Late::Now)?;
    let correction = Corrected {
        metric_id,
        place,
        dimensions,
        at,
        late: Some(told).filter(|told| *told != at),
        difference: Cost::from_attos(attos_of(attos)?),
    };
    Ok(pg_uuid(correct(correction)?))
}
