//! Recording events: the only way to write one.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::SpiHeapTupleData;
use tenancy_core::id::{PLATFORM_ID, new_id};
use tenancy_core::ledger::Counted;
use tenancy_core::metering::repeat;
use tenancy_core::metric::{
    ATTRIBUTES_MAX, Aggregation, KEY_MAX, MetricError, UnknownPrice, dimension_value, hash,
};
use tenancy_core::partitions::Monthly;
use tenancy_core::principal::Principal;
use tenancy_core::quantity::{Cost, Quantity};
use tenancy_core::time::{Instant, Length};
use uuid::Uuid;

use super::attribution::Attribution;
use super::closed::{Late, open_time};
use super::metrics::{CORRECTION, Metric, Priced, UNKNOWN};
use super::settings;
use crate::context::current;
use crate::error::Error;
use crate::ledger::{self, Admission, Event};
use crate::pg::cell::BackendCell;
use crate::pg::fmgr::JsonArgument;
use crate::pg::heap_insert::{Json, Value, append, check_writable, hold};
use crate::pg::numeric::PgNumeric;
use crate::pg::spi::NotNull;
use crate::pg::uuid::pg_uuid;
use crate::pg::{bgworker, cluster, managed, role, spi, time, xact};
use crate::{partitions, requests};

/// How far in the future an event may be, because clocks differ.
const AHEAD_MAX: Length = Length::from_hours(1);

/// Usage to be recorded.
pub struct Use<'a> {
    /// The scopes and the user.
    pub place: Attribution,
    /// What.
    pub metric: &'a Metric,
    /// How much.
    pub quantity: Quantity,
    /// The actual cost; `None`: by the metric's price.
    pub cost: Option<Cost>,
    /// What it costs, if that was computed before.
    pub priced: Option<Priced>,
    /// Its attributes.
    pub attributes: Option<JsonArgument>,
    /// The idempotency key.
    pub key: Option<&'a [u8]>,
    /// The time; `None`: now.
    pub at: Option<Instant>,
    /// How it is admitted.
    pub admission: Admission,
}

impl<'a> Use<'a> {
    /// Creates usage that is asked about, now and without a key.
    pub fn asked(
        place: Attribution,
        metric: &'a Metric,
        quantity: Quantity,
        cost: Option<Cost>,
        attributes: Option<JsonArgument>,
    ) -> Self {
        Self {
            place,
            metric,
            quantity,
            cost,
            priced: None,
            attributes,
            key: None,
            at: None,
            admission: Admission::Required,
        }
    }
}

/// The result of recording.
pub enum Recorded {
    /// The event was written, with this id.
    Now(Uuid),
    /// The event was written before, with this id.
    Before(Uuid),
}

/// Records an event in this transaction. Every counted quantity passes through this function.
pub fn record(used: &Use<'_>) -> Result<Recorded, Error> {
    check_recordable()?;
    let id = new_id();
    let mut told = ReadAttributes::of(used)?;
    // The time of a reservation was checked when it was made, so it is not checked against the clock again.
    let named = used.at.filter(|_| used.admission != Admission::AlreadyHeld);
    let at = match (named, used.at) {
        (Some(named), _) => when(named)?,
        (None, Some(at)) => at,
        (None, None) => time::now(),
    };
    let priced = match used.priced {
        Some(priced) => priced,
        None => told.cost_or_refused(used, at)?,
    };
    let cost = priced.cost;
    if let Some(key) = used.key
        && let Some(first) = claim(used, key, id)?
    {
        return Ok(Recorded::Before(first));
    }
    // After the key: what was recorded before its period was closed may be repeated.
    let at = match named {
        Some(named) => open_time(&used.place, named, Late::AsSet)?,
        None => at,
    };
    let late = named.filter(|named| *named != at);
    let event = Event {
        dimensions: std::mem::take(&mut told.dimensions),
        ..event(&used.place, used.metric, used.quantity, cost, at)
    };
    ledger::recorded(&event, used.admission)?;
    told.dimensions = event.dimensions;
    let row = Row {
        id,
        metric: used.metric.id,
        price: priced.price,
        quantity: used.quantity,
        cost,
        value: told.value,
        dimensions: told.dimensions(),
        attributes: told.attributes.map_or(Value::Null, Value::Json),
        late,
    };
    write(&used.place, at, &row)?;
    Ok(Recorded::Now(id))
}

/// The correction of an event's cost.
pub struct Corrected {
    /// The metric's id.
    pub metric_id: i32,
    /// The scopes and the user of the event.
    pub place: Attribution,
    /// Its dimensions, as stored.
    pub dimensions: Option<serde_json::Map<String, serde_json::Value>>,
    /// Its time.
    pub at: Instant,
    /// How much more it costs.
    pub difference: Cost,
    /// The time of the event, if that is closed; then `at` is now.
    pub late: Option<Instant>,
}

/// Records a correction, as an event without quantity, and returns its id.
pub fn correct(correction: Corrected) -> Result<Uuid, Error> {
    check_recordable()?;
    let (place, cost) = (&correction.place, correction.difference);
    let values = correction.dimensions.iter().flatten();
    let values =
        values.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let event = Event {
        dimensions: values.collect(),
        cost,
        ..event_at(place, correction.at)
    };
    // Less would be room in flight, which a rollback takes back: it counts from the commit on.
    let admission = match cost < Cost::ZERO {
        true => Admission::AlreadyHeld,
        false => Admission::Skip,
    };
    ledger::recorded(&event, admission)?;
    let id = new_id();
    let row = Row {
        id,
        metric: correction.metric_id,
        price: Some(CORRECTION),
        quantity: Quantity::ZERO,
        cost,
        value: None,
        dimensions: match correction.dimensions {
            Some(dimensions) => Value::Json(Json::new(dimensions.into())?),
            None => Value::Null,
        },
        attributes: Value::Null,
        late: correction.late,
    };
    write(place, correction.at, &row)?;
    Ok(id)
}

/// What an event has besides its scopes and its time.
struct Row<'a> {
    id: Uuid,
    metric: i32,
    price: Option<i32>,
    quantity: Quantity,
    cost: Cost,
    value: Option<Uuid>,
    dimensions: Value<'a>,
    attributes: Value<'a>,
    /// The time of the usage, if that time was closed.
    late: Option<Instant>,
}

fn write(place: &Attribution, at: Instant, row: &Row<'_>) -> Result<(), Error> {
    let table = partitions::of(Monthly::UsageEvents, at)?;
    let uuid = |id: Option<Uuid>| id.map_or(Value::Null, |id| Value::Uuid(*id.as_bytes()));
    let xid = cluster::transaction();
    // Once for each transaction is enough: the worker waits for its end. But what was taken in a savepoint is lost with it.
    let here = (xid, xact::savepoint(), table);
    if LAST.replace_with(here) != here {
        hold(table);
        requests::wrote();
    }
    append(
        table,
        &[
            Value::Instant(at),
            Value::Int8(cluster::identifier()),
            Value::Xid8(xid),
            Value::Uuid(*row.id.as_bytes()),
            Value::Int4(row.metric),
            row.price.map_or(Value::Null, Value::Int4),
            uuid(place.partner),
            uuid(place.tenant),
            uuid(place.project),
            uuid(place.user),
            Value::Int8(row.quantity.millionths()),
            Value::Numeric(PgNumeric::in_millionths(row.cost.attos())),
            uuid(row.value),
            row.dimensions,
            row.attributes,
            uuid(place.api_key),
            Value::Null,
            row.late.map_or(Value::Null, Value::Instant),
        ],
    )
}

/// Raises an error if usage cannot be recorded: on a standby, with a hint, and in other transactions that
/// cannot write.
pub fn check_recordable() -> Result<(), Error> {
    if bgworker::recovering() {
        return Err(Error::OnStandby);
    }
    check_writable(c"recording use");
    Ok(())
}

/// The values of an event's dimensions.
pub type Dimensions = Vec<(String, String)>;

/// Returns the cost of the usage at an instant, and its dimensions.
pub fn cost_of(used: &Use<'_>, at: Instant) -> Result<(Cost, Dimensions), Error> {
    let told = ReadAttributes::of(used)?;
    let priced = told.cost_or_refused(used, at)?;
    Ok((priced.cost, told.dimensions))
}

/// Returns the same of work that has happened and was reserved at an instant: at the highest price, if none is known for it.
pub fn cost_of_settled(used: &Use<'_>, at: Instant) -> Result<(Priced, Dimensions), Error> {
    let told = ReadAttributes::of(used)?;
    let priced = match told.cost(used, at)? {
        Some(priced) => priced,
        // As consume() would.
        None if used.metric.unknown_price == UnknownPrice::Free => Priced {
            cost: Cost::ZERO,
            price: Some(UNKNOWN),
        },
        None => {
            let scopes = scopes(&used.place);
            let highest = (used.metric).highest_cost(used.quantity, scopes, at, |_| None)?;
            Priced {
                cost: highest.map_or(Cost::ZERO, |highest| highest.cost),
                price: Some(UNKNOWN),
            }
        }
    };
    Ok((priced, told.dimensions))
}

/// Returns the highest cost that the usage's attributes allow at an instant, and its dimensions.
pub fn highest_cost_of(used: &Use<'_>, at: Instant) -> Result<(Cost, Dimensions), Error> {
    if let Some(cost) = used.cost {
        let told = used.attributes.as_ref().map(|_| ReadAttributes::of(used));
        let dimensions = told.transpose()?.map(|told| told.dimensions);
        return Ok((cost, dimensions.unwrap_or_default()));
    }
    let told = ReadAttributes::of(used)?;
    let value = |name: &str| told.dimension(name);
    let mut dimensions = used.metric.priced_by(scopes(&used.place));
    if !dimensions.all(|name| value(name).is_some())
        && let Some(highest) =
            (used.metric).highest_cost(used.quantity, scopes(&used.place), at, value)?
    {
        return Ok((highest.cost, told.dimensions));
    }
    // Exactly known, or unknown whatever is added.
    let priced = told.cost_or_refused(used, at)?;
    Ok((priced.cost, told.dimensions))
}

/// Returns the scopes whose prices may apply, the nearest first.
pub fn scopes(place: &Attribution) -> impl Iterator<Item = Uuid> + use<> {
    let all = [place.tenant, place.partner, Some(PLATFORM_ID)];
    all.into_iter().flatten()
}

/// Returns an event that counts nothing.
pub fn event_at(place: &Attribution, at: Instant) -> Event {
    Event {
        partner: place.partner,
        tenant: place.tenant,
        project: place.project,
        user: place.user,
        api_key: place.api_key,
        dimensions: Dimensions::new(),
        metric: None,
        quantity: Quantity::ZERO,
        cost: Cost::ZERO,
        at,
    }
}

/// Returns the event that budgets count, without dimensions. Metrics of kind max and distinct do not add up.
pub fn event(
    place: &Attribution,
    metric: &Metric,
    quantity: Quantity,
    cost: Cost,
    at: Instant,
) -> Event {
    let (counted, quantity) = match metric.aggregation {
        Aggregation::Sum => (Some(metric.id), quantity),
        Aggregation::Count => (Some(metric.id), Quantity::ONE),
        Aggregation::Max | Aggregation::Distinct => (None, Quantity::ZERO),
    };
    Event {
        metric: counted,
        quantity,
        cost,
        ..event_at(place, at)
    }
}

/// The last transaction that wrote, its savepoint and its table.
static LAST: BackendCell<(u64, u32, pg_sys::Oid)> = BackendCell::new((0, 0, pg_sys::Oid::INVALID));

/// The values of the attributes.
struct ReadAttributes {
    attributes: Option<Json>,
    dimensions: Dimensions,
    value: Option<Uuid>,
}

impl ReadAttributes {
    fn of(used: &Use<'_>) -> Result<Self, Error> {
        let refused = |fault: MetricError| {
            Error::bad(
                fault,
                "For example {\"model\": \"small\", \"request\": \"r-17\"}.",
            )
        };
        let attributes = match &used.attributes {
            Some(given) if !given.is_object || given.bytes > ATTRIBUTES_MAX => {
                return Err(refused(MetricError::Attributes));
            }
            given => given.as_ref().map(|given| given.json),
        };
        let metric = used.metric;
        let say = |name: &str| {
            let told = attributes.map(|all| all.field(name)).transpose()?;
            dimension_value(name, told.flatten().as_ref()).map_err(refused)
        };
        let mut dimensions = Vec::new();
        for name in &metric.dimensions {
            if let Some(text) = say(name)? {
                dimensions.push((name.clone(), text));
            }
        }
        let value = match (metric.aggregation, &metric.distinct_of) {
            (Aggregation::Distinct, Some(of)) => {
                let text = say(of)?;
                let text = text.ok_or_else(|| refused(MetricError::NoValue(of.clone())))?;
                Some(hash(text.as_bytes()))
            }
            (Aggregation::Distinct, None) => Some(used.place.user.ok_or_else(|| {
                Error::bad(
                    "this metric counts users, and no user is named",
                    "Record it for a user.",
                )
            })?),
            _ => None,
        };
        Ok(Self {
            attributes,
            dimensions,
            value,
        })
    }

    /// Returns the cost at an instant; `None` if no price is known.
    fn cost(&self, used: &Use<'_>, at: Instant) -> Result<Option<Priced>, Error> {
        match used.cost {
            Some(cost) => Ok(Some(Priced { cost, price: None })),
            None => (used.metric).cost(used.quantity, scopes(&used.place), at, |name| {
                self.dimension(name)
            }),
        }
    }

    /// Returns the cost. Where no price is known the metric decides; by default it is 0 if no budget counts cost, else an
    /// error: it would go by the budget.
    fn cost_or_refused(&self, used: &Use<'_>, at: Instant) -> Result<Priced, Error> {
        if let Some(priced) = self.cost(used, at)? {
            return Ok(priced);
        }
        let metric = used.metric;
        let refused = match metric.unknown_price {
            UnknownPrice::Refuse => true,
            UnknownPrice::Free => false,
            UnknownPrice::RefuseIfBudgeted => {
                let of = event(&used.place, metric, used.quantity, Cost::ZERO, at);
                let budgets = ledger::budgets_of(&of.scopes())?;
                (budgets.iter()).any(|budget| budget.counted == Counted::Cost)
            }
        };
        if !refused {
            return Ok(Priced {
                cost: Cost::ZERO,
                price: Some(UNKNOWN),
            });
        }
        // Named in the order of the metric's dimensions, each once.
        let by = |name: &str| (metric.priced_by(scopes(&used.place))).any(|by| by == name);
        let named = (metric.dimensions.iter()).filter(|name| by(name.as_str()));
        let value = |name: &String| {
            let value = self.dimension(name)?;
            Some(value.chars().take(80).collect())
        };
        Err(Error::NoPrice {
            metric: metric.name.clone(),
            dimensions: named.map(|name| (name.clone(), value(name))).collect(),
        })
    }

    fn dimension(&self, name: &str) -> Option<&str> {
        let told = self.dimensions.iter().find(|(of, _)| of == name);
        told.map(|(_, text)| text.as_str())
    }

    /// Returns the dimensions for the row.
    fn dimensions(&self) -> Value<'static> {
        if self.dimensions.is_empty() {
            return Value::Null;
        }
        let pairs = self.dimensions.iter();
        Value::Json(Json::object(
            pairs.map(|(name, text)| (name.as_str(), text.as_str())),
        ))
    }
}

fn when(at: Instant) -> Result<Instant, Error> {
    let now = time::now();
    if at > now + AHEAD_MAX {
        return Err(Error::EventInFuture);
    }
    if at < now - settings::late() {
        return Err(Error::EventTooOld);
    }
    Ok(at)
}

/// Hashes a key with the recording database role and the context's user, so that no other caller can use it up.
pub fn key_of(key: &[u8]) -> Result<Uuid, Error> {
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(Error::bad(
            MetricError::Key,
            "For example the id of the request.",
        ));
    }
    let user = match current()?.map(|context| context.principal) {
        Some(Principal::User(user)) => user,
        _ => Uuid::nil(),
    };
    let role = role::name(managed::caller());
    Ok(hash(
        &[user.as_bytes(), role.as_bytes(), b"\0", key].concat(),
    ))
}

/// Returns the error of a key that was repeated with other values.
pub fn reused(what: &'static str, names: &[&str], then: &[u8], now: &[u8]) -> Error {
    Error::KeyReused(what, repeat::differing(names, then, now).join(", "))
}

/// Hashes what a repeated key must record again.
fn said(used: &Use<'_>) -> Uuid {
    let quantity = used.quantity.millionths().to_be_bytes();
    let cost = used.cost.map(|cost| cost.attos().to_be_bytes());
    let fields = repeat::fingerprints([
        Some(&quantity[..]),
        cost.as_ref().map(|cost| &cost[..]),
        used.place.project.as_ref().map(|id| &id.as_bytes()[..]),
        used.place.user.as_ref().map(|id| &id.as_bytes()[..]),
    ]);
    Uuid::from_slice(&fields).unwrap_or_default()
}

/// Uses up a key with `insert`, or returns what `find` finds of who used it before. Waits for a transaction that uses the same
/// key.
pub fn use_up<T>(
    (insert, row): (&'static str, &[DatumWithOid<'_>]),
    (find, key): (&'static str, &[DatumWithOid<'_>]),
    read: impl Fn(&SpiHeapTupleData<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    loop {
        if spi::execute_prepared(insert, row)? > 0 {
            return Ok(None);
        }
        let first = spi::read(find, key, |rows| {
            rows.into_iter().next().map(|row| read(&row)).transpose()
        })?;
        // Else the key was deleted in between, because it was old.
        if first.is_some() {
            return Ok(first);
        }
    }
}

/// Uses up a key, or returns the event that used it before. Raises an error if that event had another quantity, cost, user or
/// project.
fn claim(used: &Use<'_>, key: &[u8], id: Uuid) -> Result<Option<Uuid>, Error> {
    let (scope, key) = (pg_uuid(used.place.owner()), pg_uuid(key_of(key)?));
    let said = said(used);
    let of = [scope.into(), used.metric.id.into(), key.into()];
    let row = [
        scope.into(),
        used.metric.id.into(),
        key.into(),
        pg_uuid(id).into(),
        pg_uuid(said).into(),
    ];
    let first = use_up(
        (
            "INSERT INTO tenancy_internal.usage_keys (scope_id, metric_id, key, event_id, said, used_at) \
             VALUES ($1, $2, $3, $4, $5, clock_timestamp()) ON CONFLICT DO NOTHING RETURNING 1",
            &row,
        ),
        (
            "SELECT event_id, said FROM tenancy_internal.usage_keys WHERE scope_id = $1 AND metric_id = $2 AND key = $3",
            &of,
        ),
        |row| Ok((row.not_null_id(1)?, row.not_null_id(2)?)),
    )?;
    match first {
        Some((_, then)) if then != said => Err(reused(
            "event",
            &repeat::OF_EVENT,
            then.as_bytes(),
            said.as_bytes(),
        )),
        first => Ok(first.map(|(first, _)| first)),
    }
}
