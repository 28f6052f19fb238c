//! Metrics. Each backend caches the definitions that it has used until one changes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tenancy_core::metric::{Aggregation, UnknownPrice};
use tenancy_core::price::{Book, Entry, Found, Rate};
use tenancy_core::quantity::{self, Cost, Price, Quantity, priced};
use tenancy_core::time::Instant;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::spi::NotNull;
use crate::pg::{extension, inval, spi};

/// A metric.
pub struct Metric {
    /// Its id.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// How its events add up.
    pub aggregation: Aggregation,
    /// The attributes that usage can be broken down by.
    pub dimensions: Vec<String>,
    /// The attribute whose values are counted.
    pub distinct_of: Option<String>,
    /// What happens to an event without a known price.
    pub unknown_price: UnknownPrice,
    /// The prices by scope, dimensions and time.
    book: Book<Uuid>,
    /// The price of all times, for everybody, where the book has none.
    price: Option<Price>,
    /// The same for values of a dimension.
    prices: Option<Prices>,
}

/// Prices by the values of a dimension.
struct Prices {
    dimension: String,
    of: HashMap<String, Price>,
}

/// A cost, and which price it was computed at.
#[derive(Clone, Copy)]
pub struct Priced {
    /// The cost.
    pub cost: Cost,
    /// The price, as events store it: its id in the price book, [`OWN`], [`UNKNOWN`], or none if the caller named the cost.
    pub price: Option<i32>,
}

/// The metric's own price, or that it has no prices.
const OWN: i32 = 0;
/// No price was known.
pub const UNKNOWN: i32 = -1;
/// A correction of another event's cost.
pub const CORRECTION: i32 = -2;

impl Metric {
    /// Returns the cost of a quantity; `None` if its price is unknown. `scopes` are those of the event, the nearest first;
    /// `value` returns the values of dimensions.
    pub fn cost<'a>(
        &self,
        quantity: Quantity,
        scopes: impl IntoIterator<Item = Uuid>,
        at: Instant,
        value: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Priced>, Error> {
        let found = match self.book.is_empty() {
            true => Found::None,
            false => self.book.find(scopes, at, &value),
        };
        if let Found::Rate(rate) = found {
            return at_price(quantity, rate.price, rate.id).map(Some);
        }
        let by_value = self.prices.as_ref().and_then(|prices| {
            let value = value(&prices.dimension)?;
            prices.of.get(value).copied()
        });
        if let Some(price) = by_value.or(self.price) {
            return at_price(quantity, price, OWN).map(Some);
        }
        let refuse = self.unknown_price == UnknownPrice::Refuse;
        let known = found == Found::None && self.prices.is_none() && !refuse;
        Ok((known || quantity == Quantity::ZERO).then_some(Priced {
            cost: Cost::ZERO,
            price: Some(OWN),
        }))
    }

    /// Returns the cost of a quantity at the highest price that may apply, if dimensions without a value may get any; `None`
    /// if none may.
    pub fn highest_cost<'a>(
        &self,
        quantity: Quantity,
        scopes: impl IntoIterator<Item = Uuid>,
        at: Instant,
        value: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Priced>, Error> {
        let (of_book, always) = self.book.highest(scopes, at, &value);
        let own = match &self.prices {
            _ if always => None,
            None => self.price,
            Some(prices) => match value(&prices.dimension) {
                Some(value) => prices.of.get(value).copied().or(self.price),
                None => prices.of.values().copied().chain(self.price).max(),
            },
        };
        match (of_book, own) {
            (Some(rate), own) if own.is_none_or(|own| own <= rate.price) => {
                at_price(quantity, rate.price, rate.id).map(Some)
            }
            (_, Some(own)) => at_price(quantity, own, OWN).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns the dimensions that prices of these scopes differ by.
    pub fn priced_by(&self, scopes: impl Iterator<Item = Uuid>) -> impl Iterator<Item = &str> {
        let own = self.prices.as_ref().map(|prices| prices.dimension.as_str());
        self.book.dimensions(scopes).chain(own)
    }
}

fn at_price(quantity: Quantity, price: Price, id: i32) -> Result<Priced, Error> {
    let cost = priced(quantity, price)
        .map_err(|fault| Error::bad(fault, "The cost of an event is at most about 9.2 · 10¹²."))?;
    Ok(Priced {
        cost,
        price: Some(id),
    })
}

thread_local! {
    static KNOWN: RefCell<HashMap<String, Rc<Metric>>> = RefCell::new(HashMap::new());
}

/// Finds a metric by name.
pub fn find(name: &str) -> Result<Rc<Metric>, Error> {
    if inval::take_metrics() {
        KNOWN.with_borrow_mut(HashMap::clear);
        inval::watch_metrics(extension::internal_table(c"metric_definitions")?);
    }
    if let Some(known) = KNOWN.with_borrow(|known| known.get(name).cloned()) {
        return Ok(known);
    }
    let found = Rc::new(load(name)?);
    KNOWN.with_borrow_mut(|known| known.insert(name.to_owned(), found.clone()));
    Ok(found)
}

/// Makes every backend drop its cached metrics.
pub fn changed() -> Result<(), Error> {
    inval::send(extension::internal_table(c"metric_definitions")?);
    Ok(())
}

fn load(name: &str) -> Result<Metric, Error> {
    let mut metric = spi::read(
        "SELECT m.id, m.aggregation, m.dimensions, m.distinct_of, m.price::text, p.key, m.unknown_price, \
                (SELECT array_agg(v.key ORDER BY v.key) FROM jsonb_each(p.value) v), \
                (SELECT array_agg((v.value::numeric)::text ORDER BY v.key) FROM jsonb_each(p.value) v) \
         FROM tenancy_internal.metric_definitions m LEFT JOIN LATERAL jsonb_each(m.prices) p ON true \
         WHERE m.name = $1 LIMIT 1",
        &[name.into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Err(Error::NoSuchMetric(name.chars().take(80).collect()));
            };
            let aggregation: String = row.not_null(2)?;
            let own: Option<String> = row.get(5)?;
            let dimension: Option<String> = row.get(6)?;
            let values: Vec<String> = row.get(8)?.unwrap_or_default();
            let of: Vec<String> = row.get(9)?.unwrap_or_default();
            let of = values.into_iter().zip(of);
            let of = of.map(|(value, text)| Ok((value, price(&text)?)));
            let of: HashMap<String, Price> = of.collect::<Result<_, Error>>()?;
            let unknown_price: String = row.not_null(7)?;
            Ok(Metric {
                id: row.not_null(1)?,
                name: name.to_owned(),
                aggregation: aggregation
                    .parse()
                    .map_err(|_| Error::Internal("a metric's aggregation"))?,
                dimensions: row.not_null(3)?,
                distinct_of: row.get(4)?,
                unknown_price: UnknownPrice::named(&unknown_price)
                    .ok_or(Error::Internal("what happens without a price"))?,
                book: Book::new(&[], []),
                price: own.as_deref().map(price).transpose()?,
                prices: dimension.map(|dimension| Prices { dimension, of }),
            })
        },
    )?;
    metric.book = load_book(&metric)?;
    Ok(metric)
}

fn price(text: &str) -> Result<Price, Error> {
    quantity::price(text).map_err(|_| Error::Internal("a metric's price"))
}

fn load_book(metric: &Metric) -> Result<Book<Uuid>, Error> {
    let entries = spi::read(
        "SELECT p.scope_id, p.id, p.price::text, (extract(epoch FROM p.valid_from) * 1000000)::bigint, d.names, d.values \
         FROM tenancy_internal.price_book p \
         CROSS JOIN LATERAL (SELECT array_agg(d.key ORDER BY d.key) AS names, array_agg(d.value ORDER BY d.key) AS values \
                               FROM jsonb_each_text(p.dimensions) d) d \
         WHERE p.metric_id = $1",
        &[metric.id.into()],
        |rows| {
            let entries = rows.into_iter().map(|row| {
                let (id, text) = (row.not_null(2)?, row.get::<String>(3)?);
                let names: Vec<String> = row.get(5)?.unwrap_or_default();
                let values: Vec<String> = row.get(6)?.unwrap_or_default();
                let rate = |text: &str| {
                    Ok::<_, Error>(Rate {
                        id,
                        price: price(text)?,
                    })
                };
                Ok(Entry {
                    scope: row.not_null_id(1)?,
                    values: names.into_iter().zip(values).collect(),
                    from: row.not_null_instant(4)?,
                    rate: text.as_deref().map(rate).transpose()?,
                })
            });
            entries.collect::<Result<Vec<_>, Error>>()
        },
    )?;
    Ok(Book::new(&metric.dimensions, entries))
}
