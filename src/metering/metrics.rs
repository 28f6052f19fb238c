//! Metrics. Each backend caches the definitions that it has used until one changes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tenancy_core::metric::Aggregation;
use tenancy_core::quantity::{self, Cost, Price, Quantity, priced};

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
    price: Option<Price>,
    prices: Option<Prices>,
}

/// Prices by the values of a dimension.
struct Prices {
    dimension: String,
    of: HashMap<String, Price>,
}

impl Metric {
    /// Returns the cost of a quantity; `None` if the prices have none for it. `value` returns the values of dimensions.
    pub fn cost<'a>(
        &self,
        quantity: Quantity,
        value: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Cost>, Error> {
        let by_value = self.prices.as_ref().and_then(|prices| {
            let value = value(&prices.dimension)?;
            prices.of.get(value).copied()
        });
        match (by_value.or(self.price), &self.prices) {
            (Some(price), _) => at_price(quantity, price).map(Some),
            (None, None) => Ok(Some(Cost::ZERO)),
            (None, Some(_)) => Ok((quantity == Quantity::ZERO).then_some(Cost::ZERO)),
        }
    }

    /// Returns the cost of a quantity at the highest of all prices.
    pub fn highest_cost(&self, quantity: Quantity) -> Result<Cost, Error> {
        let of_values = self.prices.iter().flat_map(|prices| prices.of.values());
        let highest = of_values.copied().chain(self.price).max();
        at_price(quantity, highest.unwrap_or_default())
    }

    /// Returns the dimension that prices differ by.
    pub fn priced_by(&self) -> Option<&str> {
        self.prices.as_ref().map(|prices| prices.dimension.as_str())
    }
}

fn at_price(quantity: Quantity, price: Price) -> Result<Cost, Error> {
    priced(quantity, price)
        .map_err(|fault| Error::bad(fault, "A cost is at most about 9.2 · 10¹²."))
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
    spi::read(
        "SELECT m.id, m.aggregation, m.dimensions, m.distinct_of, m.price::text, p.key, \
                (SELECT array_agg(v.key ORDER BY v.key) FROM jsonb_each(p.value) v), \
                (SELECT array_agg((v.value::numeric)::text ORDER BY v.key) FROM jsonb_each(p.value) v) \
         FROM tenancy_internal.metric_definitions m LEFT JOIN LATERAL jsonb_each(m.prices) p ON true \
         WHERE m.name = $1 LIMIT 1",
        &[name.into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Err(Error::NoSuchMetric(name.chars().take(80).collect()));
            };
            let price =
                |text: &str| quantity::price(text).map_err(|_| Error::Internal("a metric's price"));
            let aggregation: String = row.not_null(2)?;
            let own: Option<String> = row.get(5)?;
            let dimension: Option<String> = row.get(6)?;
            let values: Vec<String> = row.get(7)?.unwrap_or_default();
            let of: Vec<String> = row.get(8)?.unwrap_or_default();
            let of = values.into_iter().zip(of);
            let of = of.map(|(value, text)| Ok((value, price(&text)?)));
            let of: HashMap<String, Price> = of.collect::<Result<_, Error>>()?;
            Ok(Metric {
                id: row.not_null(1)?,
                name: name.to_owned(),
                aggregation: aggregation
                    .parse()
                    .map_err(|_| Error::Internal("a metric's aggregation"))?,
                dimensions: row.not_null(3)?,
                distinct_of: row.get(4)?,
                price: own.as_deref().map(price).transpose()?,
                prices: dimension.map(|dimension| Prices { dimension, of }),
            })
        },
    )
}
