//! The set of tenants against a list that is searched from its start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn tenant(id: u128, external_id: Option<&str>) -> Tenant {
    Tenant {
        id: Uuid::from_u128(id),
        external_id: external_id.map(str::to_owned),
    }
}

fn bytes(id: u128) -> [u8; 16] {
    *Uuid::from_u128(id).as_bytes()
}

#[test]
fn the_empty_set_has_nothing() {
    for set in [TenantSet::new(Vec::new()), TenantSet::default()] {
        assert!(set.is_empty());
        assert_eq!(set.len(), 0);
        assert_eq!(set.single(), None);
        assert!(!set.contains_id(&[0; 16]) && !set.contains_int(0) && !set.contains_text(b""));
        assert!(set.ids().is_empty() && set.ints().is_empty() && set.texts().is_empty());
        assert_eq!(set.heap_bytes(), 0);
    }
}

#[test]
fn a_set_of_one_is_single() {
    let set = TenantSet::new(vec![tenant(5, Some("42"))]);
    assert_eq!(set.single(), Some(&tenant(5, Some("42"))));
    assert_eq!(set.len(), 1);
    assert!(set.contains_id(&bytes(5)) && !set.contains_id(&bytes(6)));
    assert!(set.contains_int(42) && !set.contains_int(0));
    assert!(set.contains_text(b"42") && !set.contains_text(b"") && !set.contains_text(b"042"));
}

#[test]
fn a_tenant_without_an_external_id_has_no_key() {
    let set = TenantSet::new(vec![tenant(1, None)]);
    assert!(set.contains_id(&bytes(1)));
    assert!(!set.contains_int(0) && !set.contains_text(b""));
    assert!(set.ints().is_empty() && set.texts().is_empty());
}

#[test]
fn several_are_sorted_and_not_single() {
    let set = TenantSet::new(vec![
        tenant(3, Some("9")),
        tenant(1, Some("-7")),
        tenant(2, Some("acme")),
        tenant(4, None),
        tenant(5, Some("10")),
    ]);
    assert_eq!(set.single(), None);
    assert_eq!(set.len(), 5);
    assert_eq!(set.ids(), [1, 2, 3, 4, 5].map(Uuid::from_u128));
    assert_eq!(set.ints(), [-7, 9, 10]);
    assert_eq!(set.texts(), ["-7", "10", "9", "acme"]);
    assert!(
        set.contains_text(b"acme") && !set.contains_text(b"acm") && !set.contains_text(b"\xFF")
    );
}

#[test]
fn one_key_among_several_tenants_is_compared_too() {
    let set = TenantSet::new(vec![tenant(1, Some("7")), tenant(2, None), tenant(3, None)]);
    assert!(set.contains_int(7) && !set.contains_int(8));
    assert!(set.contains_text(b"7") && !set.contains_text(b"8"));
}

#[test]
fn one_tenant_named_twice_is_one() {
    let set = TenantSet::new(vec![tenant(1, Some("a")), tenant(1, Some("b"))]);
    assert_eq!(set.single(), Some(&tenant(1, Some("a"))));
    assert_eq!((set.len(), set.texts().len()), (1, 1));
    assert!(!set.contains_text(b"b"));
}

#[test]
fn only_the_canonical_spelling_is_a_number() {
    for (text, int) in [
        ("0", 0),
        ("42", 42),
        ("-7", -7),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(canonical_int(text), Some(int));
        assert_eq!(int_key(&tenant(1, Some(text))), Some(int));
    }
    for text in [
        "",
        "-",
        "+",
        "+42",
        "042",
        "00",
        "-0",
        "-00",
        "-042",
        "--1",
        "+-1",
        " 42",
        "42 ",
        "4 2",
        "42\n",
        "42\0",
        "4_2",
        "4,2",
        "42.0",
        "4e1",
        "0x2A",
        "٤٢",
        "４２",
        "abc",
        "4a",
        "-a",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999",
    ] {
        assert_eq!(canonical_int(text), None, "{text:?}");
        assert_eq!(int_key(&tenant(1, Some(text))), None);
    }
    assert_eq!(int_key(&tenant(1, None)), None);
}

#[test]
fn ten_thousand_are_built_and_asked_in_no_time() {
    let rows: Vec<Tenant> = (0..10_000u128)
        .map(|i| tenant(i << 64 | i, Some(&i.to_string())))
        .rev()
        .collect();
    let start = Instant::now();
    let set = TenantSet::new(rows);
    for i in 0..10_000u128 {
        assert!(
            set.contains_id(&bytes(i << 64 | i)) && !set.contains_id(&bytes(i << 64 | (i + 1)))
        );
        assert!(set.contains_int(i as i64) && !set.contains_int(-1 - i as i64));
        assert!(set.contains_text(i.to_string().as_bytes()));
    }
    // Some tens of milliseconds unoptimised; what is quadratic takes longer than this.
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(
        (10_000 * 48..10_000 * 400).contains(&set.heap_bytes()),
        "{}",
        set.heap_bytes()
    );
}

#[test]
fn more_tenants_take_more_memory() {
    let of = |n: u128| TenantSet::new((0..n).map(|i| tenant(i, Some("x"))).collect()).heap_bytes();
    assert!(of(1) > 0 && of(1) < of(10) && of(10) < of(1000));
}

/// Few ids and external ids, so that they meet; and odd spellings of numbers.
fn any_rows() -> impl Strategy<Value = Vec<Tenant>> {
    let external_id = proptest::option::of("-?[0-9]{1,2}|[a-b]{0,2}|\\PC{0,3}");
    let row = (0u128..30, external_id).prop_map(|(id, external)| tenant(id, external.as_deref()));
    proptest::collection::vec(row, 0..12)
}

proptest! {
    #[test]
    fn it_answers_as_a_list_would(rows in any_rows(), texts in proptest::collection::vec("-?[0-9]{1,2}|[a-b]{0,2}", 20)) {
        let set = TenantSet::new(rows.clone());
        let mut naive: Vec<Tenant> = Vec::new();
        for row in rows {
            if !naive.iter().any(|other| other.id == row.id) {
                naive.push(row);
            }
        }
        prop_assert_eq!(set.len(), naive.len());
        prop_assert_eq!(set.is_empty(), naive.is_empty());
        prop_assert_eq!(set.single(), (naive.len() == 1).then(|| &naive[0]));
        for id in 0..31 {
            let expected = naive.iter().any(|t| t.id == Uuid::from_u128(id));
            prop_assert_eq!(set.contains_id(&bytes(id)), expected);
        }
        for int in -100..100i64 {
            let text = int.to_string();
            let expected = naive.iter().any(|t| t.external_id.as_ref() == Some(&text));
            prop_assert_eq!(set.contains_int(int), expected);
        }
        let own = naive.iter().filter_map(|t| t.external_id.clone());
        for text in texts.into_iter().chain(own) {
            let expected = naive.iter().any(|t| t.external_id.as_ref() == Some(&text));
            prop_assert_eq!(set.contains_text(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_lists_are_sorted_and_what_is_contained(rows in any_rows()) {
        let set = TenantSet::new(rows);
        prop_assert!(set.ids().is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()));
        prop_assert!(set.ints().is_sorted_by(|a, b| a < b));
        prop_assert!(set.texts().is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()));
        prop_assert!(set.ids().iter().all(|id| set.contains_id(id.as_bytes())));
        prop_assert!(set.ints().iter().all(|int| set.contains_int(*int)));
        prop_assert!(set.texts().iter().all(|text| set.contains_text(text.as_bytes())));
        let ints: BTreeSet<i64> = set.texts().iter().filter_map(|t| canonical_int(t)).collect();
        prop_assert_eq!(set.ints(), ints.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn every_integer_has_its_canonical_spelling(int: i64) {
        prop_assert_eq!(canonical_int(&int.to_string()), Some(int));
    }

    #[test]
    fn a_number_has_one_spelling(text in "[ +-]?[0-9]{0,21}|\\PC{0,4}") {
        if let Some(int) = canonical_int(&text) {
            prop_assert_eq!(int.to_string(), text);
        }
    }
}

proptest! {
    #[test]
    fn adding_is_the_set_of_both(
        one in prop::collection::btree_set(0u128..12, 0..8),
        other in prop::collection::btree_set(0u128..12, 0..8),
    ) {
        let row = |id: &u128| tenant(*id, (!id.is_multiple_of(3)).then(|| id.to_string()).as_deref());
        let rows = |ids: &BTreeSet<u128>| ids.iter().map(row).collect::<Vec<_>>();
        let added = TenantSet::new(rows(&one)).with(&rows(&other));
        let both = TenantSet::new(rows(&one.union(&other).copied().collect()));
        prop_assert_eq!(added.ids(), both.ids());
        prop_assert_eq!(added.ints(), both.ints());
        prop_assert_eq!(added.texts(), both.texts());
        prop_assert_eq!(added.single(), both.single());
        for id in 0..13 {
            prop_assert_eq!(added.contains_id(&bytes(id)), both.contains_id(&bytes(id)));
        }
    }
}
