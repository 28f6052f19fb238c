//! `record_usage()` and similar functions, and INSERT into `recorded_usage`. They are called often, so they read
//! their arguments in place.

use tenancy_core::quantity::{Cost, Quantity, cost, quantity};
use tenancy_core::time::Instant;
use uuid::Uuid;

use super::attribution::{Attribution, NamedScopes};
use super::metrics;
use super::record::{
    Dimensions, Recorded, Use, cost_of, cost_of_settled, event, event_at, highest_cost_of, record,
};
use crate::error::Error;
use crate::ledger::{Admission, Event};
use crate::pg::fmgr::{Answer, Call, JsonArgument};
use crate::pg::{numeric, time};

crate::c_functions! {
    tenancy_record_usage => record_usage;
    tenancy_record_usage_for => record_usage_for;
    tenancy_record => record_or_not;
}

crate::triggers! {
    tenancy_insert_usage => row insert;
    tenancy_metrics_changed => statement metrics::changed;
}

/// The positions of a call's arguments: metric, quantity, cost, attributes, idempotency_key, at.
pub struct Arguments {
    metric: usize,
    quantity: usize,
    cost: usize,
    attributes: usize,
    key: usize,
    /// The position of `at`. None: the current time.
    pub at: Option<usize>,
    /// How the usage is admitted.
    pub admission: Admission,
}

impl Arguments {
    /// Reads the arguments from this one on. The usage is recorded even if no budget has room.
    pub const fn from(first: usize) -> Self {
        Self {
            metric: first,
            quantity: first + 1,
            cost: first + 2,
            attributes: first + 3,
            key: first + 4,
            at: Some(first + 5),
            admission: Admission::Skip,
        }
    }

    /// Records the usage of a call at a place. `otherwise` is the quantity if the argument is NULL.
    pub fn record(
        &self,
        call: &Call,
        place: Attribution,
        otherwise: Option<Quantity>,
    ) -> Result<Recorded, Error> {
        if call.is_null(self.metric) {
            return Err(Error::Null("metric"));
        }
        let given = |n: usize| (!call.is_null(n)).then_some(n);
        let name = call.str(self.metric)?;
        let much = match given(self.quantity) {
            Some(n) => quantity_of(call, n)?,
            None => otherwise.ok_or(Error::Null("quantity"))?,
        };
        let cost = given(self.cost).map(|n| cost(call.numeric(n)));
        let metric = metrics::find(name)?;
        record(&Use {
            place,
            metric: &metric,
            quantity: much,
            cost: cost.transpose()?,
            priced: None,
            attributes: given(self.attributes).map(|n| call.json(n)),
            key: given(self.key).map(|n| call.text(n)),
            at: self.at.and_then(given).map(|n| call.instant(n)),
            admission: self.admission,
        })
    }
}

/// Reads a quantity. Invalid numbers, and unusual formats, are parsed as text.
pub fn quantity_of(call: &Call, n: usize) -> Result<Quantity, Error> {
    match numeric::to_millionths(call.stored_numeric(n)) {
        Some(millionths) => Ok(Quantity::from_millionths(millionths)),
        None => Ok(quantity(call.numeric(n))?),
    }
}

/// Returns the id of the recorded event.
pub fn id(call: &Call, recorded: &Recorded) -> Answer {
    let (Recorded::Now(id) | Recorded::Before(id)) = recorded;
    call.uuid_answer(*id.as_bytes())
}

fn record_usage(call: &Call) -> Result<Answer, Error> {
    let place = Attribution::of_context()?;
    let recorded = Arguments::from(0).record(call, place, None)?;
    Ok(id(call, &recorded))
}

/// Returns the event of a reservation. Without a cost it has the highest cost that its attributes allow: a hard budget of
/// cost must hold for every way of settling it.
pub fn reserved(
    metric: &str,
    quantity: Quantity,
    cost: Option<Cost>,
    attributes: Option<JsonArgument>,
) -> Result<Event, Error> {
    asked(metric, quantity, cost, attributes, highest_cost_of)
}

/// Returns the highest cost that a reservation may come to when it holds this quantity.
pub fn grown(
    (place, at): (Attribution, Instant),
    metric: &str,
    quantity: Quantity,
    cost: Option<Cost>,
    attributes: Option<JsonArgument>,
) -> Result<Cost, Error> {
    if let Some(cost) = cost {
        return Ok(cost);
    }
    let metric = metrics::find(metric)?;
    let used = Use::asked(place, &metric, quantity, None, attributes);
    Ok(highest_cost_of(&used, at)?.0)
}

/// Returns the event of usage in the context now, with the cost that `cost_of` finds.
fn asked(
    metric: &str,
    quantity: Quantity,
    cost: Option<Cost>,
    attributes: Option<JsonArgument>,
    cost_of: impl Fn(&Use<'_>, Instant) -> Result<(Cost, Dimensions), Error>,
) -> Result<Event, Error> {
    let (place, now) = (Attribution::of_context()?, time::now());
    let metric = metrics::find(metric)?;
    let used = Use::asked(place, &metric, quantity, cost, attributes);
    let (cost, dimensions) = cost_of(&used, now)?;
    Ok(Event {
        dimensions,
        ..event(&place, &metric, quantity, cost, now)
    })
}

/// Returns the event that `consume()` with the same arguments would record in the context now.
pub fn wish(
    metric: &str,
    quantity: Quantity,
    cost: Option<Cost>,
    attributes: Option<JsonArgument>,
) -> Result<Event, Error> {
    asked(metric, quantity, cost, attributes, cost_of)
}

/// Returns an event of no metric in the context now, which costs this.
pub fn wish_of_cost(cost: Cost) -> Result<Event, Error> {
    let place = Attribution::of_context()?;
    Ok(Event {
        cost,
        ..event_at(&place, time::now())
    })
}

/// The actual usage of a reservation.
pub struct Settled<'a> {
    /// The place of the reservation.
    pub place: Attribution,
    /// The metric's name.
    pub metric: &'a str,
    /// The actual quantity, in millionths.
    pub quantity: Quantity,
    /// The actual cost; `None`: by the metric's price.
    pub cost: Option<Cost>,
    /// Its attributes.
    pub attributes: Option<JsonArgument>,
    /// The time of the reservation.
    pub at: Instant,
}

/// Records the actual usage of a reservation. Calls `known` with the event before it is written.
pub fn settled(
    settled: Settled<'_>,
    known: impl FnOnce(&Event) -> Result<(), Error>,
) -> Result<Uuid, Error> {
    let metric = metrics::find(settled.metric)?;
    let mut used = Use {
        at: Some(settled.at),
        admission: Admission::AlreadyHeld,
        ..Use::asked(
            settled.place,
            &metric,
            settled.quantity,
            settled.cost,
            settled.attributes,
        )
    };
    let (priced, dimensions) = cost_of_settled(&used, settled.at)?;
    used.priced = Some(priced);
    known(&Event {
        dimensions,
        ..event(&used.place, &metric, used.quantity, priced.cost, settled.at)
    })?;
    let (Recorded::Now(id) | Recorded::Before(id)) = record(&used)?;
    Ok(id)
}

/// Of an element of a batch, whose number is the last argument.
fn record_or_not(call: &Call) -> Result<Answer, Error> {
    let place = Attribution::of_context()?;
    let recorded = Arguments::from(0).record(call, place, None);
    let recorded = recorded.map_err(|error| Error::OfElement(call.int8(6), Box::new(error)))?;
    Ok(Answer::Bool(matches!(recorded, Recorded::Now(_))))
}

fn uuid(call: &Call, n: usize) -> Option<Uuid> {
    (!call.is_null(n)).then(|| Uuid::from_bytes(*call.uuid(n)))
}

fn record_usage_for(call: &Call) -> Result<Answer, Error> {
    let names = NamedScopes {
        user: uuid(call, 0),
        tenant: uuid(call, 7),
        project: uuid(call, 8),
    };
    if names == NamedScopes::default() {
        return Err(Error::Null("user_id or tenant"));
    }
    let recorded = Arguments::from(1).record(call, Attribution::named(names)?, None)?;
    Ok(id(call, &recorded))
}

/// Records a row inserted into the view `recorded_usage`: id, at, metric, quantity, cost, attributes, idempotency_key,
/// partner_id, tenant_id, project_id, user_id, price, corrects, late_at.
fn insert(call: &Call) -> Result<(), Error> {
    if [0, 7, 11, 12, 13].iter().any(|n| !call.is_null(*n)) {
        return Err(Error::bad(
            "id, partner_id, price, corrects and late_at are not for INSERT",
            "Pass user_id, tenant_id and project_id; id and partner_id follow from them.",
        ));
    }
    let place = Attribution::named(NamedScopes {
        user: uuid(call, 10),
        tenant: uuid(call, 8),
        project: uuid(call, 9),
    })?;
    let arguments = Arguments {
        metric: 2,
        quantity: 3,
        cost: 4,
        attributes: 5,
        key: 6,
        at: Some(1),
        admission: Admission::Skip,
    };
    let one = Some(Quantity::ONE);
    arguments.record(call, place, one).map(drop)
}
