#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::definition::{Definition, compares};
use super::*;
use proptest::prelude::*;

fn family(leakproof: bool, listed: Option<&str>) -> Family {
    Family {
        name: "any_ops".to_owned(),
        known: true,
        leakproof,
        listed: listed.map(str::to_owned),
        orders: false,
    }
}

fn key(text: &str, family: Family) -> Key {
    Key {
        is_tenant: text == "tenant_id",
        is_expression: text.contains('('),
        family,
    }
}

/// An index with such keys; those named `n…` are numeric, others integer.
fn index(name: &str, method: &str, keys: &[&str]) -> Index {
    Index {
        table: "app.t".to_owned(),
        name: name.to_owned(),
        tenant: "tenant_id".to_owned(),
        method: method.to_owned(),
        definition: format!("{})", keys.join(", ")),
        predicate: None,
        tablespace: None,
        keys: (keys.iter())
            .map(|text| {
                let numeric = text.starts_with('n');
                key(text, family(!numeric, numeric.then_some("=")))
            })
            .collect(),
        constraint: false,
        partitioned: false,
        part: false,
        valid: true,
        has_btree: true,
        calls: Vec::new(),
        inlined: false,
    }
}

fn partial(mut index: Index, predicate: &str) -> Index {
    index.definition = format!("{} WHERE {predicate}", index.definition);
    index.predicate = Some(predicate.to_owned());
    index
}

/// Returns `kind: statement` of each advice.
fn lines(indexes: &[Index]) -> Vec<String> {
    (advise(indexes, &["btree_gin".to_owned()]).into_iter())
        .map(|found| {
            let statement = found.statement.unwrap_or_else(|| "-".to_owned());
            format!("{}: {statement}", found.kind.as_str())
        })
        .collect()
}

fn one(index: Index) -> Vec<String> {
    lines(&[index])
}

#[test]
fn an_index_that_begins_with_the_tenant_is_left_alone() {
    assert!(one(index("a", "btree", &["tenant_id", "n"])).is_empty());
    assert!(one(index("a", "gin", &["n", "tenant_id"])).is_empty());
    assert!(one(index("a", "hash", &["tenant_id"])).is_empty());
    assert!(one(index("a", "brin", &["n", "tenant_id"])).is_empty());
}

#[test]
fn the_tenant_comes_first() {
    assert_eq!(
        one(index("a", "btree", &["n"])),
        ["unused: CREATE INDEX CONCURRENTLY ON app.t (tenant_id, n)"]
    );
    assert_eq!(
        one(index("a", "btree", &["made DESC", "tenant_id", "n"])),
        ["slow: CREATE INDEX CONCURRENTLY ON app.t (tenant_id, made DESC, n)"]
    );
    assert_eq!(
        one(index("a", "gist", &["n"])),
        [
            "extension: CREATE EXTENSION btree_gist",
            "unused: CREATE INDEX CONCURRENTLY ON app.t USING gist (tenant_id, n)"
        ]
    );
}

#[test]
fn no_part_of_the_definition_is_lost() {
    let mut found = partial(
        index("a", "btree", &["n numeric_ops DESC NULLS LAST"]),
        "(x <> ') WHERE, (''\"'::text)",
    );
    found.definition = found.definition.replace(
        " WHERE (x",
        " INCLUDE (tenant_id, \"a, b)\") WITH (fillfactor='70') WHERE (x",
    );
    found.tablespace = Some("fast".to_owned());
    assert_eq!(
        one(found),
        [
            "unused: CREATE INDEX CONCURRENTLY ON app.t (tenant_id, n numeric_ops DESC NULLS LAST) INCLUDE (\"a, b)\") \
             WITH (fillfactor='70') TABLESPACE fast WHERE (x <> ') WHERE, (''\"'::text)"
        ]
    );
}

#[test]
fn a_key_needs_another_index_only_if_conditions_do_not_search_it() {
    let key = |column| Index {
        constraint: true,
        ..index("a", "btree", &[column])
    };
    assert!(one(key("id")).is_empty());
    let found = advise(&[key("n")], &[]);
    assert!(found[0].advice.ends_with("; keep it for the key"));
    assert!(found[0].statement.is_some());
}

#[test]
fn an_index_with_a_twin_is_left_alone() {
    let twin = |other: Index| lines(&[index("a", "btree", &["n"]), other]).is_empty();
    assert!(twin(index("b", "btree", &["tenant_id", "n"])));
    assert!(twin(index("b", "btree", &["tenant_id", "n", "x"])));
    assert!(!twin(index("b", "btree", &["tenant_id", "x", "n"])));
    assert!(!twin(index("b", "gin", &["tenant_id", "n"])));
    assert!(!twin(partial(
        index("b", "btree", &["tenant_id", "n"]),
        "(x > 0)"
    )));
    assert!(!twin(Index {
        valid: false,
        ..index("b", "btree", &["tenant_id", "n"])
    }));
    let gin = [
        index("a", "gin", &["n"]),
        index("b", "gin", &["nx", "n", "tenant_id"]),
    ];
    assert!(lines(&gin).is_empty());
    // Of a partition, a part of its parent's index.
    let parts = [
        index("a", "btree", &["n"]),
        Index {
            part: true,
            ..index("b", "btree", &["tenant_id", "n"])
        },
    ];
    assert!(lines(&parts).is_empty());
}

#[test]
fn what_the_advice_says_is_advised_once() {
    let mut hash = index("b", "hash", &["n"]);
    hash.name = "\"B\"".to_owned();
    let found = advise(&[index("a", "btree", &["n"]), hash.clone()], &[]);
    assert_eq!(found[1].statement, None);
    assert!(
        found[1].advice.ends_with("; as for a"),
        "{}",
        found[1].advice
    );
    // Executed, there is nothing left to advise.
    let made = index("made", "btree", &["tenant_id", "n"]);
    assert!(lines(&[index("a", "btree", &["n"]), hash.clone(), made]).is_empty());
    // Of another table it would not serve.
    let other = Index {
        table: "app.u".to_owned(),
        ..index("a", "btree", &["n"])
    };
    assert_eq!(lines(&[index("a", "btree", &["n"]), other]).len(), 2);
    assert!(
        one(Index {
            has_btree: false,
            ..hash
        })[0]
            .ends_with(": -")
    );
}

#[test]
fn a_partial_index_keeps_its_condition_unless_that_names_a_tenant() {
    assert_eq!(
        one(partial(index("a", "btree", &["n"]), "(x > 0)")),
        ["unused: CREATE INDEX CONCURRENTLY ON app.t (tenant_id, n) WHERE (x > 0)"]
    );
    let of_one = "(tenant_id = '0190aaaa-0000-7000-8000-00000000dead'::uuid)";
    assert_eq!(
        one(partial(index("a", "btree", &["id"]), of_one)),
        ["unused: CREATE INDEX CONCURRENTLY ON app.t (tenant_id, id)"]
    );
    assert!(compares("((\"No\")::text = 'x'::text)", "\"No\""));
    assert!(!compares("(tenant_id IS NOT NULL)", "tenant_id"));
    assert!(!compares("(other_tenant_id = 5)", "tenant_id"));
}

#[test]
fn an_expression_is_compared_by_its_result() {
    let expected = "CREATE INDEX CONCURRENTLY ON app.t (tenant_id, lower(body))";
    let of = |keys: &[&str]| index("a", "btree", keys);
    assert_eq!(one(of(&["lower(body)"])), [format!("unused: {expected}")]);
    // With a condition, also one that begins with the tenant is not searched.
    for keys in [&["lower(body)"][..], &["tenant_id", "lower(body)"]] {
        assert_eq!(
            one(partial(of(keys), "(x > 0)")),
            [format!("unused: {expected}")]
        );
    }
}

#[test]
fn functions_of_ones_own_are_named() {
    let calls = |keys: &[&str], inlined| Index {
        calls: vec!["app.f(numeric)".to_owned()],
        inlined,
        ..index("a", "btree", keys)
    };
    for keys in [&["app.f(n)"][..], &["tenant_id", "app.f(n)"]] {
        let found = advise(&[calls(keys, false)], &[]);
        assert_eq!(
            found[0].advice,
            "depends on app.f(numeric): index a generated column in its place"
        );
        assert_eq!(found[0].statement, None);
    }
    assert!(one(calls(&["tenant_id", "app.f(n)"], true)).is_empty());
    // In a condition, where the keys are compared by leakproof operators.
    assert_eq!(
        one(partial(calls(&["id"], false), "app.f(n)")),
        ["slow: CREATE INDEX CONCURRENTLY ON app.t (tenant_id, id) WHERE app.f(n)"]
    );
}

#[test]
fn methods_of_one_key_have_others_that_take_two() {
    let spgist = |name: &str, text: &str, leakproof, orders| {
        let mut index = index("a", "spgist", &[text]);
        index.keys[0].family = Family {
            name: name.to_owned(),
            orders,
            ..family(leakproof, None)
        };
        one(index).pop().unwrap()
    };
    let created = "CREATE INDEX CONCURRENTLY ON app.t";
    assert_eq!(
        spgist("range_ops", "span", false, false),
        format!("unused: {created} USING gist (tenant_id, span)")
    );
    assert_eq!(
        spgist("network_ops", "net", true, false),
        format!("slow: {created} USING gist (tenant_id, net inet_ops)")
    );
    assert_eq!(
        spgist("text_ops", "body", true, false),
        format!("slow: {created} (tenant_id, body text_pattern_ops)")
    );
    assert_eq!(
        spgist("kd_point_ops", "at kd_point_ops", false, true),
        format!("slow: {created} USING gist (tenant_id, at)")
    );
    assert_eq!(spgist("poly_ops", "area", false, false), "unused: -");
}

#[test]
fn unknown_operators_are_not_searched() {
    let with = |method: &str, orders| {
        let mut index = index("a", method, &["geom"]);
        index.keys[0].family = Family {
            known: false,
            leakproof: false,
            orders,
            ..family(false, None)
        };
        one(index).pop().unwrap()
    };
    assert_eq!(with("gin", false), "unused: -");
    assert_eq!(
        with("gist", true),
        "slow: CREATE INDEX CONCURRENTLY ON app.t USING gist (tenant_id, geom)"
    );
    assert_eq!(with("hnsw", true), "slow: -");
    assert_eq!(with("bloom", false), "unused: -");
    // A btree index still sorts.
    assert_eq!(
        with("btree", false),
        "slow: CREATE INDEX CONCURRENTLY ON app.t (tenant_id, geom)"
    );
}

#[test]
fn a_partitioned_table_is_indexed_at_once() {
    let found = advise(
        &[Index {
            partitioned: true,
            ..index("a", "btree", &["n"])
        }],
        &[],
    );
    assert_eq!(
        found[0].statement.as_deref(),
        Some("CREATE INDEX ON app.t (tenant_id, n)")
    );
    assert!(found[0].advice.contains("writes wait"));
}

#[test]
fn a_family_knows_its_operators_by_their_functions() {
    let member = |name: &str, function, function_name: &str, extension: Option<&str>| Member {
        name: name.to_owned(),
        function,
        function_name: function_name.to_owned(),
        extension: extension.map(str::to_owned),
        leakproof: false,
        orders: false,
    };
    let jsonb = [
        member("?", 4047, "jsonb_exists", None),
        member("@>", 4046, "jsonb_contains", None),
        member("@?", 4011, "jsonb_path_exists_opr", None),
    ];
    let read = Family::new("jsonb_ops", true, None, &jsonb);
    assert_eq!(read.listed.as_deref(), Some("@>"));
    assert!(read.known && !read.leakproof);
    let trigrams = |extension| {
        let like = member("~~", 850, "textlike", None);
        let similar = member("%", 70_000, "similarity_op", Some(extension));
        Family::new("gin_trgm_ops", false, Some(extension), &[similar, like])
    };
    assert_eq!(trigrams("pg_trgm").listed.as_deref(), Some("LIKE"));
    assert!(trigrams("pg_trgm").known && !trigrams("other").known);
    let geometry = [member("&&", 70_001, "geometry_overlaps", Some("postgis"))];
    let read = Family::new("gist_geometry_ops_2d", false, Some("postgis"), &geometry);
    assert!(read.listed.is_none() && !read.known);
}

proptest! {
    #[test]
    fn keys_are_read_as_they_were_written(
        names in prop::collection::vec("[a-z(),'\"\\[\\] ]{1,12}", 1..5),
        constants in prop::collection::vec("[a-z(),'\"\\[\\] ]{0,12}", 5),
        predicate in prop::option::of("[a-z(),'\" ]{1,20}"),
    ) {
        let keys: Vec<String> = (names.iter().zip(&constants))
            .map(|(name, constant)| {
                let (name, constant) = (name.replace('"', "\"\""), constant.replace('\'', "''"));
                format!("f(\"{name}\", '{constant}'::text[]) DESC")
            })
            .collect();
        let mut text = format!("{}) INCLUDE ({}) WITH (fillfactor='9')", keys.join(", "), keys.join(", "));
        if let Some(predicate) = &predicate {
            text.push_str(" WHERE ");
            text.push_str(predicate);
        }
        let read = Definition::read(&text, predicate.as_deref()).unwrap();
        prop_assert_eq!(&read.keys, &keys);
        prop_assert_eq!(&read.include, &keys);
        prop_assert_eq!(read.with, " WITH (fillfactor='9')");
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = Definition::read(&text, None);
    }
}
