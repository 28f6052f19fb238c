#![allow(clippy::unwrap_used)]

use super::definition::find;
use super::*;
use crate::period::Period;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn definition(kind: Type, default: Value) -> Definition {
    Definition {
        kind,
        default,
        minimum: None,
        maximum: None,
        choices: Vec::new(),
    }
}

fn all() -> Definitions {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Definitions::from_iter([
        ("beta".to_owned(), definition(Type::Boolean, json!(false))),
        (
            "export.csv".to_owned(),
            definition(Type::Boolean, json!(true)),
        ),
        (
            "seats".to_owned(),
            Definition {
                minimum: Some(1.0),
                maximum: Some(100.0),
                ..definition(Type::Integer, json!(5))
            },
        ),
        ("ratio".to_owned(), definition(Type::Number, Value::Null)),
        (
            "motto".to_owned(),
            Definition {
                maximum: Some(5.0),
                ..definition(Type::Text, json!(""))
            },
        ),
        (
            "region".to_owned(),
            Definition {
                choices: texts(&["eu", "us"]),
                ..definition(Type::Enum, json!("eu"))
            },
        ),
        (
            "models".to_owned(),
            Definition {
                choices: texts(&["small", "gpt-4.1"]),
                ..definition(Type::List, json!(["small"]))
            },
        ),
        (
            "studio".to_owned(),
            definition(
                Type::Json,
                json!({"enabled": false, "seats": 3, "ui": {"theme": "dark", "any": null}, "open": {}}),
            ),
        ),
    ])
}

fn kinds(name: &str) -> Option<LimitKind> {
    LimitKind::named(match name {
        "api" => "rate",
        "jobs" => "slots",
        "rooms" => "amount",
        _ => return None,
    })
}

fn read(contents: Value) -> Result<Contents, String> {
    let all = all();
    let metric = |name: &str| match name {
        "tokens" => Some(PlanMetric {
            id: 7,
            adds_up: true,
        }),
        "peak" => Some(PlanMetric {
            id: 8,
            adds_up: false,
        }),
        _ => None,
    };
    let names = Names {
        features: &all,
        settings: &all,
        limit: &kinds,
        metric: &metric,
    };
    parse(&contents, &names).map_err(|fault| format!("{} {}", fault.path, fault.what))
}

#[test]
fn names_are_words_with_dots() {
    for good in ["a", "prompt_studio.enabled", "x-1", "a.b.c"] {
        assert!(check_name(good), "{good}");
    }
    for bad in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "A",
        "1a",
        "a.1",
        "a b",
        "ä",
        &"a".repeat(64),
    ] {
        assert!(!check_name(bad), "{bad}");
    }
}

#[test]
fn values_have_the_type_and_the_range_of_their_definition() {
    let all = all();
    let holds = |name: &str, value: Value| all[name].check_value(name, &value).is_ok();
    for (name, good, bad) in [
        (
            "beta",
            vec![json!(true)],
            vec![json!("true"), json!(1), json!(null), json!([]), json!({})],
        ),
        (
            "seats",
            vec![json!(1), json!(100)],
            vec![
                json!(0),
                json!(101),
                json!(1.5),
                json!("5"),
                json!(-1),
                json!(1e3),
            ],
        ),
        (
            "ratio",
            vec![json!(0.5), json!(-3)],
            vec![json!("0.5"), json!(true)],
        ),
        (
            "motto",
            vec![json!(""), json!("äöüßé")],
            vec![json!("sixsix"), json!(5)],
        ),
        (
            "region",
            vec![json!("us")],
            vec![json!("US"), json!("asia"), json!(["eu"])],
        ),
        (
            "models",
            vec![json!([]), json!(["gpt-4.1", "small"])],
            vec![
                json!(["large"]),
                json!(["small", "small"]),
                json!([1]),
                json!("small"),
            ],
        ),
        (
            "studio",
            vec![
                json!({}),
                json!({"enabled": true}),
                json!({"ui": {"theme": "light"}}),
                json!({"ui": {"any": [1]}}),
                json!({"open": {"x": 1}}),
            ],
            vec![
                json!({"enabled": 1}),
                json!({"enable": true}),
                json!({"ui": 1}),
                json!({"ui": {"x": 1}}),
                json!({"open": 1}),
                json!([]),
                json!(true),
            ],
        ),
    ] {
        for value in good {
            assert!(holds(name, value.clone()), "{name} {value}");
        }
        for value in bad {
            assert!(!holds(name, value.clone()), "{name} {value}");
        }
    }
}

#[test]
fn definitions_are_checked() {
    let mut wrong = vec![
        definition(Type::Enum, json!("a")),
        definition(Type::Json, json!({})),
        definition(Type::Json, json!(null)),
        definition(Type::Json, json!({"a.b": 1})),
        definition(Type::Json, json!({"": 1})),
        definition(Type::Boolean, json!("yes")),
        Definition {
            minimum: Some(2.0),
            maximum: Some(1.0),
            ..definition(Type::Integer, Value::Null)
        },
        Definition {
            minimum: Some(2.0),
            ..definition(Type::Integer, json!(1))
        },
        Definition {
            minimum: Some(2.0),
            ..definition(Type::Boolean, json!(true))
        },
        Definition {
            choices: vec!["a".to_owned()],
            ..definition(Type::Text, json!("a"))
        },
    ];
    let deep = (0..10).fold(json!(1), |inner, _| json!({"a": inner}));
    wrong.push(definition(Type::Json, deep));
    for definition in wrong {
        assert!(definition.check().is_err(), "{definition:?}");
    }
    all()
        .values()
        .for_each(|definition| definition.check().unwrap());
}

#[test]
fn names_below_another_with_parts_clash() {
    let all = all();
    assert_eq!(clash(&all, "studio.x", Type::Boolean), Some("studio"));
    assert_eq!(clash(&all, "export", Type::Json), Some("export.csv"));
    assert_eq!(clash(&all, "export", Type::Boolean), None);
    assert_eq!(clash(&all, "studios", Type::Json), None);
    assert_eq!(clash(&all, "beta.x", Type::Boolean), None);
}

#[test]
fn paths_and_elements_are_found_below_their_definition() {
    let all = all();
    let rest = |name| find(&all, name).map(|(known, _, rest)| (known.to_owned(), rest.to_owned()));
    assert_eq!(
        rest("export.csv"),
        Some(("export.csv".to_owned(), String::new()))
    );
    assert_eq!(
        rest("studio.ui.theme"),
        Some(("studio".to_owned(), "ui.theme".to_owned()))
    );
    assert_eq!(
        rest("models.gpt-4.1"),
        Some(("models".to_owned(), "gpt-4.1".to_owned()))
    );
    assert_eq!(rest("studio."), None);
    assert_eq!(rest("beta.x"), None);
    assert_eq!(rest("export"), None);
}

#[test]
fn the_nearest_value_counts_and_of_an_object_the_nearest_at_each_path() {
    let all = all();
    let near = json!({"beta": true, "studio": {"enabled": true, "ui": {"theme": "light"}}, "seats": 1000, "models": ["gpt-4.1"]});
    let far = json!({"beta": false, "studio": {"enabled": false, "seats": 9}, "seats": 7, "region": "us"});
    let layers = [&near, &far];
    let value = |name: &str| effective(&all, name, &layers);
    assert_eq!(value("beta"), Some(json!(true)));
    assert_eq!(value("region"), Some(json!("us")));
    assert_eq!(value("motto"), Some(json!("")));
    assert_eq!(value("ratio"), Some(Value::Null));
    assert_eq!(value("seats"), Some(json!(7)), "1000 is out of range");
    assert_eq!(value("studio.enabled"), Some(json!(true)));
    assert_eq!(value("studio.seats"), Some(json!(9)));
    assert_eq!(
        value("studio.ui"),
        Some(json!({"theme": "light", "any": null}))
    );
    assert_eq!(value("studio.none"), None);
    assert_eq!(value("studio.enabled.x"), None);
    assert_eq!(value("models.gpt-4.1"), Some(json!(true)));
    assert_eq!(value("models.small"), Some(json!(false)));
    assert_eq!(value("models.large"), None, "not one of the choices");
    assert_eq!(value("unknown"), None);
    let of = |name: &str| -> Vec<(String, Option<usize>)> {
        leaves(name, &all[name], &layers)
            .into_iter()
            .map(|(path, found)| (path, found.layer))
            .collect()
    };
    assert_eq!(of("beta"), [("beta".to_owned(), Some(0))]);
    let studio = of("studio");
    assert!(studio.contains(&("studio.enabled".to_owned(), Some(0))));
    assert!(studio.contains(&("studio.seats".to_owned(), Some(1))));
    assert!(studio.contains(&("studio.ui.any".to_owned(), None)));
    assert_eq!(studio.len(), 5);
}

#[test]
fn a_value_is_placed_at_its_path_and_removed_with_empty_objects() {
    let all = all();
    let own = Map::from_iter([("old".to_owned(), json!("kept"))]);
    let with = placed(&all, "studio.ui.theme", Some(&json!("x")), &own)
        .unwrap()
        .unwrap();
    assert_eq!(
        Value::Object(with.clone()),
        json!({"old": "kept", "studio": {"ui": {"theme": "x"}}})
    );
    assert_eq!(
        placed(&all, "studio.ui.theme", None, &with)
            .unwrap()
            .unwrap(),
        own
    );
    assert!(
        placed(&all, "studio.ui.theme", Some(&json!(1)), &own)
            .unwrap()
            .is_err()
    );
    assert!(
        placed(&all, "models.small", Some(&json!(true)), &own)
            .unwrap()
            .is_err()
    );
    assert!(placed(&all, "studio.x", Some(&json!(true)), &own).is_none());
    assert!(placed(&all, "nothing", None, &own).is_none());
}

#[test]
fn contents_are_read_with_the_path_of_what_is_wrong() {
    let found = read(json!({
        "limits": {"rooms": {"tenant": 10, "user": null}},
        "slots": {"jobs": 3},
        "rates": {"api": [{"rate": 100, "burst": 200}, {"rate": 10, "per": "minute", "level": "user"}]},
        "features": {"studio.enabled": true, "studio.seats": 4, "beta": true},
        "settings": {"region": "us"},
        "models": ["gpt-4.1"],
        "budgets": [{"metric": "tokens", "amount": 0.5}, {"metric": null, "amount": 9, "period": "day", "hard": false}],
        "resources": {"statement_timeout": "30s", "work_mem": "16MB", "connections": 5}
    }))
    .unwrap();
    assert_eq!(found.limits.len(), 5);
    let budget = |metric, amount, period, hard| PlanBudget {
        metric,
        amount,
        period,
        hard,
    };
    assert_eq!(
        found.budgets,
        [
            budget(Some(7), 500_000, Period::Month, true),
            budget(None, 9_000_000, Period::Day, false)
        ]
    );
    assert_eq!(
        found.features["studio"],
        json!({"enabled": true, "seats": 4})
    );
    assert_eq!(found.features["models"], json!(["gpt-4.1"]));
    assert_eq!(
        Value::Object(found.resources),
        json!({"statement_timeout": 30000, "work_mem": 16384, "connections": 5})
    );
    for (contents, path) in [
        (json!([]), "contents "),
        (json!({"budget": []}), "budget "),
        (json!({"budgets": {}}), "budgets "),
        (json!({"budgets": [1]}), "budgets[0] "),
        (
            json!({"budgets": [{"metric": "tokens"}]}),
            "budgets[0].amount ",
        ),
        (json!({"budgets": [{"amount": 1}]}), "budgets[0].metric "),
        (
            json!({"budgets": [{"metric": "token", "amount": 1}]}),
            "budgets[0].metric ",
        ),
        (
            json!({"budgets": [{"metric": "peak", "amount": 1}]}),
            "budgets[0].metric ",
        ),
        (
            json!({"budgets": [{"metric": "tokens", "amount": -1}]}),
            "budgets[0].amount ",
        ),
        (
            json!({"budgets": [{"metric": "tokens", "amount": 1e300}]}),
            "budgets[0].amount ",
        ),
        (
            json!({"budgets": [{"metric": "tokens", "amount": 0.0000001}]}),
            "budgets[0].amount ",
        ),
        (
            json!({"budgets": [{"metric": "tokens", "amount": 1, "period": "decade"}]}),
            "budgets[0].period ",
        ),
        (
            json!({"budgets": [{"metric": "tokens", "amount": 1, "hard": 1}]}),
            "budgets[0].hard ",
        ),
        (
            json!({"budgets": [{"metric": "tokens", "amount": 1, "alert_at": []}]}),
            "budgets[0].alert_at ",
        ),
        (
            json!({"budgets": [{"metric": "tokens", "amount": 1}, {"metric": "tokens", "amount": 2}]}),
            "budgets[1] ",
        ),
        (json!({"limits": 1}), "limits "),
        (json!({"limits": {"room": 1}}), "limits.room "),
        (json!({"limits": {"api": 1}}), "limits.api "),
        (json!({"limits": {"rooms": -1}}), "limits.rooms "),
        (json!({"limits": {"rooms": 1.5}}), "limits.rooms "),
        (
            json!({"limits": {"rooms": {"partner": 1}}}),
            "limits.rooms.partner ",
        ),
        (json!({"slots": {"jobs": 9_000_000_000_i64}}), "slots.jobs "),
        (json!({"rates": {"api": {}}}), "rates.api.rate "),
        (json!({"rates": {"api": 5}}), "rates.api "),
        (
            json!({"rates": {"api": {"rate": 1, "per": "week"}}}),
            "rates.api.per ",
        ),
        (
            json!({"rates": {"api": {"rate": 1, "burst": 0}}}),
            "rates.api.burst ",
        ),
        (
            json!({"rates": {"api": {"rate": null, "burst": 5}}}),
            "rates.api.burst ",
        ),
        (
            json!({"rates": {"api": {"rate": 1, "level": 3}}}),
            "rates.api.level ",
        ),
        (
            json!({"rates": {"api": {"rate": 1, "speed": 3}}}),
            "rates.api.speed ",
        ),
        (
            json!({"rates": {"api": [{"rate": 1}, {"rate": 2}]}}),
            "rates.api[1] ",
        ),
        (json!({"features": {"unknown": true}}), "features.unknown "),
        (json!({"features": {"beta": 1}}), "features.beta "),
        (json!({"features": {"beta": null}}), "features.beta "),
        (
            json!({"features": {"studio": {"ui": {"x": 1}}}}),
            "features.studio.ui.x ",
        ),
        (
            json!({"features": {"models.small": true}}),
            "features.models ",
        ),
        (json!({"models": ["large"]}), "models[0] "),
        (
            json!({"resources": {"shared_buffers": 1}}),
            "resources.shared_buffers ",
        ),
        (
            json!({"resources": {"statement_timeout": 0}}),
            "resources.statement_timeout ",
        ),
        (
            json!({"resources": {"statement_timeout": "30 parsecs"}}),
            "resources.statement_timeout ",
        ),
        (
            json!({"resources": {"work_mem": "-1MB"}}),
            "resources.work_mem ",
        ),
        (
            json!({"resources": {"work_mem": "99999999999999TB"}}),
            "resources.work_mem ",
        ),
    ] {
        let fault = read(contents.clone()).unwrap_err();
        assert!(fault.starts_with(path), "{contents}: {fault}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let key = prop_oneof![
            Just("enabled".to_owned()),
            Just("ui".to_owned()),
            Just("theme".to_owned()),
            Just("seats".to_owned()),
            "[a-z.]{0,4}"
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever is stored in the layers, an effective value fits its definition.
    #[test]
    fn effective_values_fit(a in json_value(), b in json_value()) {
        let all = all();
        for (name, definition) in &all {
            let near = json!({ name.as_str(): a.clone() });
            let far = json!({ name.as_str(): b.clone() });
            let found = effective(&all, name, &[&near, &far, &a]).unwrap();
            prop_assert!(found.is_null() || definition.check_value(name, &found).is_ok(), "{name} {found}");
        }
    }

    /// Reading never panics, and what is read is in range.
    #[test]
    fn contents_are_read_or_refused(value in json_value(), part in "limits|rates|slots|budgets|features|settings|models|resources") {
        if let Ok(found) = read(json!({ part.as_str(): {"rooms": value.clone(), "api": value.clone()} })) {
            prop_assert!(found.limits.iter().all(|limit| limit.amount.is_none_or(|amount| amount >= 0)));
        }
        let _ = read(json!({ part.as_str(): value.clone() }));
        let _ = read(value);
    }
}
