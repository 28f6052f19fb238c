//! Examples of conditions that may search an index, and of others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const fn plain(of: Type) -> Argument {
    Argument {
        of,
        of_enums: false,
    }
}

fn condition<'a>(name: &str, value: Value<'a>) -> Condition<'a> {
    let operator = OPERATORS.iter().find(|known| known.name == name).unwrap();
    Condition {
        called: Called::BuiltIn(operator),
        any: false,
        types: operator.types.map(plain),
        plain_collation: true,
        key_left: true,
        value,
    }
}

#[test]
fn operators_are_sorted_and_have_a_reason() {
    assert!(OPERATORS.is_sorted_by(|a, b| a.oid < b.oid));
    for known in OPERATORS {
        assert_eq!(
            operator(known.oid).map(|found| found.name),
            Some(known.name)
        );
        assert!(!known.group.reason().is_empty());
    }
    assert!(operator(67).is_none(), "texteq needs no entry");
    for extension in EXTENSIONS {
        assert!(extension.functions.is_sorted() && !extension.reason.is_empty());
        assert!(!extension.estimated || !extension.functions.is_empty());
    }
}

#[test]
fn what_may_fail_for_a_value_is_not_listed() {
    // regular expressions, jsonpath, -|- of ranges and multiranges, records, jsonb to text, date_trunc, similar_to
    let fails = [
        1254, 1238, 4010, 4011, 3862, 4255, 4256, 4257, 2981, 2987, 1217, 2020, 3214,
    ];
    for oid in fails {
        assert!(operator(oid).is_none(), "{oid}");
    }
    assert!(!is_known("pg_trgm", "similarity_dist"));
    assert!(!is_known("intarray", "_int_contains") && !has_known_families("intarray"));
    assert!(!is_known("citext", "hs_contains"));
}

#[test]
fn numbers_enums_times_and_networks_take_any_value() {
    for name in [
        "numeric_eq",
        "enum_lt",
        "date_ge_timestamptz",
        "network_subeq",
    ] {
        for value in [Value::Early, Value::Joined] {
            for any in [false, true] {
                let condition = Condition {
                    any,
                    ..condition(name, value)
                };
                assert!(condition.tells_nothing(), "{name}");
            }
        }
    }
}

#[test]
fn a_collation_that_is_not_plain_may_fail() {
    let mut like = condition("textlike", Value::Text(b"a%"));
    assert!(like.tells_nothing());
    like.plain_collation = false;
    assert!(!like.tells_nothing());
}

#[test]
fn a_pattern_is_a_closed_constant() {
    let like = |pattern: &[u8]| condition("textlike", Value::Text(pattern)).tells_nothing();
    assert!(like(b"") && like(b"a%") && like(b"%a\\%b%") && like(b"a\\\\"));
    assert!(!like(b"secret\\") && !like(b"\\") && !like(b"a\\\\\\"));
    assert!(like(&[b'a'; PATTERN_BYTES_MAX]) && !like(&[b'a'; PATTERN_BYTES_MAX + 1]));
    for value in [Value::Early, Value::Joined] {
        assert!(!condition("textlike", value).tells_nothing());
        assert!(!condition("texticlike", value).tells_nothing());
    }
    let any = Condition {
        any: true,
        ..condition("textlike", Value::Text(b"a"))
    };
    assert!(!any.tells_nothing());
    let turned = Condition {
        key_left: false,
        ..condition("textlike", Value::Text(b"a"))
    };
    assert!(!turned.tells_nothing(), "the column is the pattern");
}

#[test]
fn arrays_have_elements_without_surprises() {
    let overlap = |of: [Argument; 2]| {
        Condition {
            types: of,
            ..condition("arrayoverlap", Value::Early)
        }
        .tells_nothing()
    };
    assert!(overlap([plain(1007); 2]) && overlap([plain(TEXT_ARRAY); 2]));
    let enums = Argument {
        of: 70_000,
        of_enums: true,
    };
    assert!(overlap([enums; 2]));
    // point[], record[], jsonb[], an array of a user's type, and what is no array
    for of in [1017, 2287, 3807, 70_001, ANY_ARRAY] {
        assert!(!overlap([plain(of); 2]) && !overlap([plain(1007), plain(of)]));
    }
}

#[test]
fn ranges_are_built_in() {
    let contains = |left, right| {
        Condition {
            types: [plain(left), plain(right)],
            ..condition("range_contains_elem", Value::Early)
        }
        .tells_nothing()
    };
    assert!(contains(3904, 23) && contains(3910, TIMESTAMPTZ));
    assert!(!contains(70_000, 23) && !contains(70_000, 70_001) && !contains(3904, TEXT));
}

#[test]
fn a_query_recurses_as_deep_for_every_row() {
    use Item::{Both, Not, Phrase, Word};
    let safe = |query: &[Item]| condition("ts_match_vq", Value::Query(query)).tells_nothing();
    assert!(safe(&[Word]) && safe(&[Not, Word]));
    // a & b; (a & b) & c; (a <-> b) & c; !a & b; (a | b) & (c | d)
    assert!(safe(&[Both(2), Word, Word]));
    assert!(safe(&[Both(2), Word, Both(2), Word, Word]));
    assert!(safe(&[Both(2), Word, Phrase(2), Word, Word]));
    assert!(safe(&[Both(2), Word, Not, Word]));
    assert!(safe(&[Both(4), Both(2), Word, Word, Both(2), Word, Word]));
    // a & (b | c); a & !b; (a & b) & (c <-> d): the right operand needs more stack, for some rows
    assert!(!safe(&[Both(4), Both(2), Word, Word, Word]));
    assert!(!safe(&[Both(3), Not, Word, Word]));
    assert!(!safe(&[
        Both(4),
        Phrase(2),
        Word,
        Word,
        Both(2),
        Word,
        Word
    ]));
    // What is no query.
    assert!(!safe(&[]) && !safe(&[Not]) && !safe(&[Both(0), Word]));
    assert!(!safe(&[Both(usize::MAX), Word, Word]));
    assert!(!safe(&[Word; QUERY_ITEMS_MAX + 1]));
    assert!(!condition("ts_match_vq", Value::Early).tells_nothing());
    assert!(!condition("ts_match_vq", Value::Joined).tells_nothing());
}

#[test]
fn an_extensions_function_needs_a_plain_collation_only() {
    let similar = Condition {
        called: Called::OfExtension { estimated: false },
        ..condition("textlike", Value::Early)
    };
    assert!(similar.tells_nothing());
    let other = Condition {
        plain_collation: false,
        ..similar
    };
    assert!(!other.tells_nothing());
}

#[test]
fn an_estimate_needs_an_operator_that_takes_whole_values() {
    let flat = Value::Json { flat: true };
    let nested = Value::Json { flat: false };
    let of = |name, value, types: [Type; 2]| Condition {
        types: types.map(plain),
        ..condition(name, value)
    };
    let (numbers, days) = (3906, 3912);
    for (condition, estimated) in [
        (condition("numeric_lt", Value::Early), true),
        (condition("numeric_lt", Value::Joined), false),
        (condition("enum_eq", Value::Early), true),
        (condition("network_subeq", Value::Early), true),
        (condition("jsonb_exists", Value::Text(b"key")), true),
        (condition("jsonb_contains", flat), true),
        (condition("jsonb_contains", nested), false),
        (condition("jsonb_contains", Value::Early), false),
        (condition("jsonb_contained", flat), false),
        (of("range_overlaps", Value::Early, [days, days]), true),
        (
            of("range_overlaps", Value::Early, [numbers, numbers]),
            false,
        ),
        (
            of("range_contains_elem", Value::Early, [numbers, NUMERIC]),
            false,
        ),
        (condition("textlike", Value::Text(b"a%")), false),
        (condition("ts_match_vq", Value::Query(&[Item::Word])), false),
    ] {
        assert!(condition.tells_nothing() || condition.value == Value::Joined || !estimated);
        assert_eq!(condition.may_be_estimated(), estimated, "{condition:?}");
    }
    let swapped = Condition {
        key_left: false,
        ..condition("jsonb_contains", flat)
    };
    assert!(!swapped.may_be_estimated(), "the column is the part");
    for estimated in [false, true] {
        let called = Called::OfExtension { estimated };
        let early = Condition {
            called,
            ..condition("numeric_eq", Value::Early)
        };
        assert!(early.tells_nothing() && early.may_be_estimated() == estimated);
        let joined = Condition {
            value: Value::Joined,
            ..early
        };
        assert!(!joined.may_be_estimated());
    }
    assert!(may_be_estimated("hstore"));
    assert!(!may_be_estimated("citext"), "it lowers both sides first");
}
