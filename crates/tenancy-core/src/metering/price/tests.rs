use super::*;
use crate::quantity::price;
use proptest::prelude::*;

fn at(seconds: i64) -> Instant {
    Instant::from_unix_micros(seconds * 1_000_000)
}

fn rate(id: i32) -> Rate {
    let price = price(&format!("0.{id:06}")).unwrap_or_default();
    Rate { id, price }
}

fn entry(scope: u8, values: &[(&str, &str)], from: i64, id: Option<i32>) -> Entry<u8> {
    let values = values
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Entry {
        scope,
        values: values.collect(),
        from: at(from),
        rate: id.map(rate),
    }
}

fn book(entries: &[Entry<u8>]) -> Book<u8> {
    let dimensions = ["model", "direction", "cached"].map(str::to_owned);
    Book::new(&dimensions, entries.iter().cloned())
}

fn id(found: Found) -> Option<i32> {
    match found {
        Found::Rate(rate) => Some(rate.id),
        Found::Unknown | Found::None => None,
    }
}

fn of<'v>(values: &'v [(&'v str, &'v str)]) -> impl Fn(&str) -> Option<&'v str> {
    move |name| {
        let found = values.iter().find(|(of, _)| *of == name);
        found.map(|(_, value)| *value)
    }
}

const LARGE_IN: &[(&str, &str)] = &[("model", "large"), ("direction", "in")];

#[test]
fn the_nearest_scope_wins_then_the_most_dimensions_then_their_order() {
    let entries = [
        entry(0, &[], 0, Some(1)),
        entry(0, &[("direction", "in")], 0, Some(2)),
        entry(0, &[("model", "large")], 0, Some(3)),
        entry(0, &[("direction", "in"), ("model", "large")], 0, Some(4)),
        entry(1, &[("model", "large")], 0, Some(5)),
        entry(2, &[], 0, Some(6)),
    ];
    let found = |entries: &[Entry<u8>], scopes: &[u8], values| {
        id(book(entries).find(scopes.iter().copied(), at(0), of(values)))
    };
    assert_eq!(found(&entries, &[2, 1, 0], LARGE_IN), Some(6));
    assert_eq!(found(&entries, &[9, 1, 0], LARGE_IN), Some(5));
    assert_eq!(found(&entries, &[9, 0], LARGE_IN), Some(4));
    assert_eq!(found(&entries[..3], &[0], LARGE_IN), Some(3));
    assert_eq!(found(&entries[..2], &[0], LARGE_IN), Some(2));
    assert_eq!(found(&entries, &[1, 0], &[("model", "small")]), Some(1));
    assert_eq!(found(&entries, &[1, 0], &[("direction", "in")]), Some(2));
    assert_eq!(found(&entries, &[9], LARGE_IN), None);
}

#[test]
fn an_event_takes_the_price_of_its_time() {
    let entries = [
        entry(0, &[], 20, Some(2)),
        entry(0, &[], 10, Some(1)),
        entry(0, &[], 30, None),
        entry(0, &[], 40, Some(3)),
    ];
    let book = book(&entries);
    let found = |seconds| book.find([0], at(seconds), |_| None);
    assert_eq!(found(9), Found::None);
    assert_eq!(found(10), Found::Rate(rate(1)));
    assert_eq!(found(19), Found::Rate(rate(1)));
    assert_eq!(found(20), Found::Rate(rate(2)));
    assert_eq!(found(30), Found::Unknown);
    assert_eq!(found(99), Found::Rate(rate(3)));
    assert_eq!(book.find([1], at(99), |_| None), Found::None);
}

#[test]
fn a_price_that_ended_leaves_the_next_one() {
    let entries = [
        entry(1, &[], 0, Some(1)),
        entry(1, &[], 10, None),
        entry(0, &[], 0, Some(2)),
        entry(0, &[("gone", "x")], 0, Some(3)),
    ];
    let book = book(&entries);
    let gone = &[("gone", "x")];
    assert_eq!(id(book.find([1, 0], at(9), of(gone))), Some(1));
    assert_eq!(id(book.find([1, 0], at(10), of(gone))), Some(2));
}

#[test]
fn values_that_run_together_are_different() {
    let entries = [entry(0, &[("model", "a"), ("direction", "bc")], 0, Some(1))];
    let book = book(&entries);
    let found = |values| id(book.find([0], at(0), of(values)));
    assert_eq!(found(&[("model", "a"), ("direction", "bc")]), Some(1));
    assert_eq!(found(&[("model", "ab"), ("direction", "c")]), None);
}

fn entries() -> impl Strategy<Value = Vec<Entry<u8>>> {
    let value = || prop::option::of(0..3_u8);
    let one = (
        0..3_u8,
        value(),
        value(),
        value(),
        0..4_i64,
        prop::option::weighted(0.8, 1..50_i32),
    );
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let mut entries: Vec<Entry<u8>> = Vec::new();
        for (scope, model, direction, cached, from, id) in all {
            let named = [
                ("model", model),
                ("direction", direction),
                ("cached", cached),
            ];
            let values: Vec<(String, String)> = named
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())))
                .collect();
            // A table has one for each scope, values and time.
            let same = |e: &Entry<u8>| e.scope == scope && e.values == values && e.from == at(from);
            if !entries.iter().any(same) {
                entries.push(Entry {
                    scope,
                    values,
                    from: at(from),
                    rate: id.map(rate),
                });
            }
        }
        entries
    })
}

fn values() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = || prop::option::of(0..3_u8);
    (value(), value(), value()).prop_map(|(model, direction, cached)| {
        let named = [
            ("model", model),
            ("direction", direction),
            ("cached", cached),
        ];
        let named = named.into_iter();
        named
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())))
            .collect()
    })
}

/// Returns the price by going through all entries.
fn naive(
    entries: &[Entry<u8>],
    scopes: &[u8],
    now: Instant,
    of: &[(String, String)],
) -> Option<Rate> {
    let order = ["model", "direction", "cached"];
    let latest = |e: &&Entry<u8>| {
        !entries
            .iter()
            .any(|o| o.scope == e.scope && o.values == e.values && o.from <= now && o.from > e.from)
    };
    let places = |e: &Entry<u8>| -> Vec<usize> {
        let names = order.iter().enumerate();
        names
            .filter(|(_, name)| e.values.iter().any(|(of, _)| of == *name))
            .map(|(n, _)| n)
            .collect()
    };
    let matching = entries
        .iter()
        .filter(|e| e.from <= now && e.values.iter().all(|value| of.contains(value)))
        .filter(latest)
        .filter(|e| e.rate.is_some() && scopes.contains(&e.scope));
    let best = matching.min_by_key(|e| {
        let near = scopes.iter().position(|scope| *scope == e.scope);
        (near, Reverse(e.values.len()), places(e))
    });
    best.and_then(|e| e.rate)
}

proptest! {
    #[test]
    fn as_going_through_all_entries_says(entries in entries(), values in values(), now in 0..5_i64) {
        let book = book(&entries);
        let value = |name: &str| {
            let found = values.iter().find(|(of, _)| of == name);
            found.map(|(_, value)| value.as_str())
        };
        let scopes = [2, 1, 0];
        let found = book.find(scopes, at(now), value);
        let expected = naive(&entries, &scopes, at(now), &values);
        prop_assert_eq!(id(found), expected.map(|rate| rate.id));
        let any = entries.iter().any(|e| e.from <= at(now));
        prop_assert_eq!(found == Found::None, !any);
    }

    #[test]
    fn no_way_to_complete_the_values_costs_more(entries in entries(), values in values(), now in 0..5_i64) {
        let book = book(&entries);
        let known = |name: &str| {
            let found = values.iter().find(|(of, _)| of == name);
            found.map(|(_, value)| value.as_str())
        };
        let scopes = [2, 1, 0];
        let (mut most, mut without) = (None, false);
        // The fourth value is one that no price names.
        for n in 0..64 {
            let texts = ["0", "1", "2", "other"];
            let free = [("model", texts[n % 4]), ("direction", texts[n / 4 % 4]), ("cached", texts[n / 16])];
            let all = |name: &str| known(name).or_else(|| free.iter().find(|(of, _)| *of == name).map(|(_, v)| *v));
            if let Found::Rate(rate) = book.find(scopes, at(now), all) {
                most = most.max(Some(rate.price));
            } else {
                without = true;
            }
        }
        let (highest, always) = book.highest(scopes, at(now), known);
        let highest = highest.map(|rate| rate.price);
        prop_assert!(highest >= most, "{highest:?} is less than {most:?}");
        // With all values it is the price.
        if values.len() == 3 {
            prop_assert_eq!(highest, most);
        }
        prop_assert!(!(always && without), "said to have a price in any case");
    }
}
