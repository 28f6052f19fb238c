//! The price book of a metric: which price applies to an event of some scopes, with some values of dimensions, at a time.
//!
//! A price is set for a scope and all below it, and matches events that have all of its values; without values it matches
//! every event. The nearest scope that has a matching price wins: a contract replaces the list. Within a scope the price
//! with the most dimensions wins; of as many, the one whose dimensions come first in the metric.
//!
//! A look-up takes a hash for each scope and each set of dimensions that prices of it name, however many prices there are.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use crate::quantity::Price;
use crate::time::Instant;

/// A price as it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Its id.
    pub id: i32,
    /// The price of one unit; of several tiers the highest.
    pub price: Price,
}

/// The result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This price applies.
    Rate(Rate),
    /// The scopes have prices at that time, but none matches.
    Unknown,
    /// The scopes have no prices at that time.
    None,
}

/// A price, or the end of one, from an instant on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<S> {
    /// The scope that it is for, with all below it.
    pub scope: S,
    /// The dimensions that it names, with their values.
    pub values: Vec<(String, String)>,
    /// From when on it applies, until the next entry with the same scope and values.
    pub from: Instant,
    /// The price; `None` ends the one before.
    pub rate: Option<Rate>,
}

/// The changes of one price, in the order of time.
type Changes = Vec<(Instant, Option<Rate>)>;

/// The prices that name the same dimensions.
#[derive(Debug)]
struct Shape {
    /// In the order of the metric's dimensions, with their places there.
    dimensions: Vec<(usize, String)>,
    of: HashMap<Box<[u8]>, Changes>,
}

/// The prices of a scope.
#[derive(Debug)]
struct Prices {
    /// The most specific first.
    shapes: Vec<Shape>,
    /// When the first of them begins.
    since: Instant,
}

/// The prices of a metric. `S` identifies scopes.
#[derive(Debug)]
pub struct Book<S> {
    scopes: HashMap<S, Prices>,
    /// The key of a look-up, to allocate none.
    key: RefCell<Vec<u8>>,
}

impl<S: Copy + Eq + Hash> Book<S> {
    /// Builds the book of a metric with these dimensions. What names another dimension never matches.
    #[must_use]
    pub fn new(dimensions: &[String], entries: impl IntoIterator<Item = Entry<S>>) -> Self {
        let mut scopes: HashMap<S, Prices> = HashMap::new();
        for entry in entries {
            let prices = scopes.entry(entry.scope).or_insert(Prices {
                shapes: Vec::new(),
                since: entry.from,
            });
            prices.since = prices.since.min(entry.from);
            let place = |(name, value): (String, String)| {
                let at = dimensions.iter().position(|of| *of == name)?;
                Some((at, name, value))
            };
            let named: Option<Vec<_>> = entry.values.into_iter().map(place).collect();
            let Some(mut named) = named else {
                continue;
            };
            named.sort_unstable();
            let mut key = Vec::new();
            for (_, _, value) in &named {
                push(&mut key, value);
            }
            let shape = prices.shape(named.into_iter().map(|(at, name, _)| (at, name)));
            let changes = shape.of.entry(key.into_boxed_slice()).or_default();
            changes.push((entry.from, entry.rate));
        }
        for prices in scopes.values_mut() {
            let rank = |shape: &Shape| -> (Reverse<usize>, Vec<usize>) {
                let places = shape.dimensions.iter().map(|(at, _)| *at);
                (Reverse(shape.dimensions.len()), places.collect())
            };
            prices.shapes.sort_by_cached_key(rank);
            for changes in prices.shapes.iter_mut().flat_map(|s| s.of.values_mut()) {
                changes.sort_by_key(|(from, _)| *from);
            }
        }
        Self {
            scopes,
            key: RefCell::default(),
        }
    }

    /// Returns whether it has no prices at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Returns the dimensions that prices of these scopes name, each once or more.
    pub fn dimensions(&self, scopes: impl Iterator<Item = S>) -> impl Iterator<Item = &str> {
        let prices = scopes.filter_map(|id| self.scopes.get(&id));
        let shapes = prices.flat_map(|prices| &prices.shapes);
        let dimensions = shapes.flat_map(|shape| &shape.dimensions);
        dimensions.map(|(_, name)| name.as_str())
    }

    /// Returns the price of an event. `scopes` are its scopes, the nearest first; `value` returns its values of dimensions.
    pub fn find<'v>(
        &self,
        scopes: impl IntoIterator<Item = S>,
        at: Instant,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Found {
        let mut found = Found::None;
        for prices in scopes.into_iter().filter_map(|id| self.scopes.get(&id)) {
            if prices.since > at {
                continue;
            }
            found = Found::Unknown;
            for shape in &prices.shapes {
                if let Some(rate) = self.matching(shape, at, &value) {
                    return Found::Rate(rate);
                }
            }
        }
        found
    }

    /// Returns the highest price that an event may have, if dimensions without a value may still get any; and whether it has
    /// one of the book in any case.
    pub fn highest<'v>(
        &self,
        scopes: impl IntoIterator<Item = S>,
        at: Instant,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> (Option<Rate>, bool) {
        let mut highest: Option<Rate> = None;
        for prices in scopes.into_iter().filter_map(|id| self.scopes.get(&id)) {
            for shape in &prices.shapes {
                let known = |(_, name): &(usize, String)| value(name).is_some();
                if shape.dimensions.iter().all(known) {
                    if let Some(rate) = self.matching(shape, at, &value) {
                        // It replaces all that come after it.
                        return (Some(higher(highest, rate)), true);
                    }
                    continue;
                }
                let may = |key: &[u8]| shape.may_match(key, &value);
                let may = shape.of.iter().filter(|(key, _)| may(key));
                for rate in may.filter_map(|(_, changes)| in_effect(changes, at)) {
                    highest = Some(higher(highest, rate));
                }
            }
        }
        (highest, false)
    }

    fn matching<'v>(
        &self,
        shape: &Shape,
        at: Instant,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Option<Rate> {
        let mut key = self.key.borrow_mut();
        key.clear();
        for (_, name) in &shape.dimensions {
            push(&mut key, value(name)?);
        }
        in_effect(shape.of.get(key.as_slice())?, at)
    }
}

impl Prices {
    fn shape(&mut self, dimensions: impl Iterator<Item = (usize, String)>) -> &mut Shape {
        let dimensions: Vec<_> = dimensions.collect();
        let known = self.shapes.iter().position(|s| s.dimensions == dimensions);
        let at = known.unwrap_or_else(|| {
            let of = HashMap::new();
            self.shapes.push(Shape { dimensions, of });
            self.shapes.len() - 1
        });
        &mut self.shapes[at]
    }
}

impl Shape {
    /// Returns whether a key agrees with the values that are known.
    fn may_match<'v>(&self, mut key: &[u8], value: impl Fn(&str) -> Option<&'v str>) -> bool {
        self.dimensions.iter().all(|(_, name)| {
            let Some((of, rest)) = pop(key) else {
                return false;
            };
            key = rest;
            value(name).is_none_or(|value| value.as_bytes() == of)
        })
    }
}

fn higher(known: Option<Rate>, other: Rate) -> Rate {
    match known {
        Some(known) if known.price >= other.price => known,
        _ => other,
    }
}

/// Returns what applies at an instant.
fn in_effect(changes: &[(Instant, Option<Rate>)], at: Instant) -> Option<Rate> {
    let begun = changes.partition_point(|(from, _)| *from <= at);
    changes.get(begun.checked_sub(1)?)?.1
}

/// Appends a value to a key, after its length, so that no two lists of values have the same key.
fn push(key: &mut Vec<u8>, value: &str) {
    key.extend_from_slice(&(value.len() as u32).to_ne_bytes());
    key.extend_from_slice(value.as_bytes());
}

fn pop(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first_chunk()?;
    rest.split_at_checked(u32::from_ne_bytes(*length) as usize)
}

#[cfg(test)]
mod tests;
