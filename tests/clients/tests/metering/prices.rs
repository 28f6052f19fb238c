//! The price book: which price an event takes, that no cost loses a digit, who may set and see prices, and what happens without one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::{env, fs, thread};

use tenancy_client_tests::World;
use tenancy_client_tests::metering::{ledger_agrees, usage_agrees};
use tenancy_core::quantity::{Quantity, cost, price, priced, text};

fn metered() -> World {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'token', dimensions => '{model,direction}'), tenancy.define_metric('images', 'image', dimensions => '{size}')",
    );
    world
}

/// The cost of what alice would consume.
fn costs(world: &World, user: &str, call: &str) -> String {
    let mut session = world.begin(user);
    let id = session.text(&format!("SELECT tenancy.record_usage({call})"));
    session.run("COMMIT");
    world.db.admin().text(&format!(
        "SELECT cost FROM tenancy.recorded_usage WHERE id = '{id}'"
    ))
}

fn large(direction: &str) -> String {
    format!("'tokens', 1, attributes => '{{\"model\": \"large\", \"direction\": \"{direction}\"}}'")
}

#[test]
fn a_trace_by_model_and_direction_costs_what_exact_arithmetic_says() {
    const MODELS: [(&str, &str, &str); 3] = [
        ("tiny", "0.000000000007", "0.0000000123"),
        ("small", "0.00000015", "0.0000006"),
        ("large", "0.000003", "0.000015000001"),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let trace = env::var("TRACE").ok().filter(|name| !name.is_empty());
    let trace = trace.unwrap_or_else(|| "tests/replay/tiny.csv".to_owned());
    let file = fs::read_to_string(root.join(trace)).unwrap();
    let world = metered();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_budget('acme', NULL, 1000000), tenancy.set_budget('acme/alice', NULL, 1000000, 'total')");
    for (model, input, output) in MODELS {
        owner.run(&format!(
            "SELECT tenancy.set_price('tokens', {input}, '{{\"model\": \"{model}\", \"direction\": \"in\"}}'),
                    tenancy.set_price('tokens', {output}, '{{\"model\": \"{model}\", \"direction\": \"out\"}}')"
        ));
    }
    let (mut exact, mut events) = (0, Vec::new());
    for (n, line) in file.lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let (model, input, output) = MODELS[n % 3];
        for (direction, tokens, unit) in [("in", fields[1], input), ("out", fields[2], output)] {
            let tokens: i64 = tokens.parse().unwrap();
            let quantity = Quantity::from_millionths(tokens * 1_000_000);
            exact += priced(quantity, price(unit).unwrap()).unwrap().attos();
            events.push(format!(
                r#"{{"metric": "tokens", "quantity": {tokens}, "attributes": {{"model": "{model}", "direction": "{direction}"}}}}"#
            ));
        }
    }
    let mut session = world.begin("alice");
    for events in events.chunks(2000) {
        session.run(&format!(
            "SELECT tenancy.record_usage_many('[{}]')",
            events.join(", ")
        ));
    }
    session.run("COMMIT");
    let expected = text(exact);
    let mut admin = world.db.admin();
    let used = "SELECT cost FROM tenancy.usage('acme', 'tokens')";
    assert_eq!(admin.text(used), expected);
    assert_eq!(
        admin.text("SELECT trim_scale(sum(amount)) FROM tenancy.rated_usage('acme', 'tokens', now() - interval '1 day', now() + interval '1 day')"),
        expected
    );
    // Counted from rows, and rolled up.
    let asked = "SELECT used FROM tenancy.check_budget(NULL, 0)";
    assert_eq!(world.begin("alice").text(asked), expected);
    admin.run("SELECT tenancy.rollup(), tenancy_internal.forget_ledger()");
    assert_eq!(world.begin("alice").text(asked), expected);
    assert_eq!(admin.text(used), expected);
    usage_agrees(&mut admin);
}

#[test]
fn the_smallest_and_the_largest_numbers_are_exact() {
    let world = metered();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_price('tokens', 0.000000000001)");
    for (quantity, expected) in [
        ("0.000001", "0.000000000000000001"),
        ("3", "0.000000000003"),
        ("9000000000000", "9"),
        ("9223372036854.775807", "9.223372036854775807"),
    ] {
        assert_eq!(
            costs(&world, "alice", &format!("'tokens', {quantity}")),
            expected
        );
    }
    assert_eq!(
        costs(
            &world,
            "alice",
            "'tokens', 1, cost => 0.0000000000000000019"
        ),
        "0.000000000000000002"
    );
    owner.run("SELECT tenancy.set_price('images', 1000000)");
    world
        .begin("alice")
        .fails("SELECT tenancy.record_usage('images', 9000000000000)")
        .code("22023");
    let sum = "18.223372036857775810";
    assert_eq!(
        cost(
            &world
                .db
                .admin()
                .text("SELECT cost FROM tenancy.usage('acme')")
        ),
        cost(sum)
    );
    for wrong in ["0.0000000000001", "-1", "1000001", "'NaN'", "NULL"] {
        owner
            .fails(&format!("SELECT tenancy.set_price('tokens', {wrong})"))
            .code("22023");
    }
}

#[test]
fn costs_below_a_millionth_fill_a_budget_to_the_last() {
    let world = metered();
    let mut owner = world.db.owner();
    // 1,250 events of 0.0000004 each.
    owner.run(
        "SELECT tenancy.set_price('tokens', 0.0000004), tenancy.set_budget('acme', NULL, 0.0005)",
    );
    let admitted = AtomicI64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut session = world.db.app();
                session.login_session(world.key("alice"));
                for n in 0..400 {
                    // Some are rolled back, alone or with a savepoint.
                    session.run("BEGIN");
                    let said = session.try_run("SAVEPOINT s; SELECT tenancy.consume('tokens')");
                    let kept = said.is_ok() && n % 5 > 0;
                    session.run(if kept {
                        "COMMIT"
                    } else {
                        "ROLLBACK TO s; COMMIT"
                    });
                    admitted.fetch_add(kept.into(), Ordering::Relaxed);
                }
            });
        }
    });
    let mut alice = world.db.app();
    alice.login_session(world.key("alice"));
    while alice.try_run("SELECT tenancy.consume('tokens')").is_ok() {
        admitted.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(admitted.into_inner(), 1250);
    let mut admin = world.db.admin();
    ledger_agrees(&mut admin, 1);
    assert_eq!(
        alice.text("SELECT concat_ws(' ', used, remaining) FROM tenancy.check_budget('tokens')"),
        "0.0005 0"
    );
    // What rows say is the same.
    admin.run("SELECT tenancy_internal.forget_ledger()");
    alice
        .fails("SELECT tenancy.consume('tokens')")
        .code("53400");
    assert_eq!(
        alice.text("SELECT concat_ws(' ', used, remaining, tenancy.fits(NULL, 0.0000000001)) FROM tenancy.check_budget('tokens')"),
        "0.0005 0 f"
    );
    // Credits and reservations count as finely.
    owner.run("SELECT tenancy.grant_credit('acme', NULL, 0.000001)");
    let id = alice.text("SELECT tenancy.reserve('tokens', 2)");
    alice
        .fails("SELECT tenancy.consume('tokens')")
        .code("53400");
    alice.run(&format!("SELECT tenancy.settle('{id}', 0.5)"));
    alice.run("SELECT tenancy.consume('tokens', 2)");
    alice
        .fails("SELECT tenancy.consume('tokens', 0.000001)")
        .code("53400");
    admin.run("SELECT tenancy_internal.forget_ledger()");
    alice
        .fails("SELECT tenancy.consume('tokens', 0.000001)")
        .code("53400");
    assert_eq!(
        admin.text("SELECT concat_ws(' ', used, reserved, remaining) FROM tenancy.credits"),
        "0.000001 0 0"
    );
    ledger_agrees(&mut admin, 1);
}

#[test]
fn late_events_and_reservations_take_the_price_of_their_time() {
    let world = metered();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.set_price('tokens', 1, valid_from => now() - interval '10 days'), tenancy.set_price('tokens', 2, valid_from => now() - interval '5 days')",
    );
    let at = |days: u32| format!("'tokens', 1, at => now() - interval '{days} days'");
    assert_eq!(costs(&world, "alice", &at(7)), "1");
    assert_eq!(costs(&world, "alice", &at(4)), "2");
    let mut alice = world.begin("alice");
    let id = alice.text("SELECT tenancy.reserve('tokens', 3)");
    alice.run("COMMIT");
    owner.run("SELECT tenancy.set_price('tokens', 5)");
    assert_eq!(costs(&world, "alice", "'tokens', 1"), "5");
    assert_eq!(costs(&world, "alice", &at(7)), "1");
    assert_eq!(costs(&world, "alice", &at(4)), "2");
    world
        .begin("alice")
        .run(&format!("SELECT tenancy.settle('{id}'); COMMIT"));
    assert_eq!(
        world
            .db
            .admin()
            .text("SELECT concat_ws(' ', cost, used_cost) FROM tenancy.reservations"),
        "6 6"
    );
    // What has begun stays; what is to come may change.
    let since = owner.text("SELECT min(valid_from) FROM tenancy.prices");
    let failure = owner.fails(&format!(
        "SELECT tenancy.set_price('tokens', 9, valid_from => '{since}')"
    ));
    failure.code("22023").says("has a price");
    for price in [7, 8] {
        owner.run(&format!("SELECT tenancy.set_price('tokens', {price}, valid_from => date_trunc('day', now()) + interval '9 days')"));
    }
    assert_eq!(
        owner.texts("SELECT price::text FROM tenancy.prices ORDER BY valid_from"),
        ["1", "2", "5", "8"]
    );
    owner.run("SELECT tenancy.remove_price('tokens')");
    assert_eq!(costs(&world, "alice", "'tokens', 1"), "0");
    assert_eq!(costs(&world, "alice", &at(7)), "1");
    owner
        .fails("SELECT tenancy.remove_price('tokens')")
        .code("42704");
    assert_eq!(
        owner.texts("SELECT concat_ws(' ', price, cost) FROM tenancy.recorded_usage WHERE price < 1 ORDER BY at"),
        ["-1 0"]
    );
}

#[test]
fn prices_of_partners_and_tenants_apply_to_them_and_no_other_sees_them() {
    let world = metered();
    let mut owner = world.db.owner();
    owner.run(
        r#"SELECT tenancy.set_price('tokens', 8), tenancy.set_price('tokens', 9, '{"model": "large"}');
           SELECT tenancy.set_price('tokens', 10, '{"model": "large", "direction": "out"}')"#,
    );
    // The partner sets its own and its tenants', and no other's.
    world.begin("ops").run(
        r#"SELECT tenancy.set_price('tokens', 6, '{"model": "large"}', 'globex'), tenancy.set_price('tokens', 5, scope => 'acme'); COMMIT"#,
    );
    assert_eq!(costs(&world, "alice", &large("out")), "5");
    assert_eq!(costs(&world, "bob", &large("out")), "6");
    assert_eq!(costs(&world, "bob", "'tokens', 1"), "8");
    assert_eq!(costs(&world, "eve", &large("out")), "10");
    assert_eq!(costs(&world, "eve", &large("in")), "9");
    for (scope, code) in [
        ("soylent", "42704"),
        ("hooli", "42704"),
        ("platform", "42704"),
        ("00000000-0000-7000-8000-000000000000", "42704"),
        ("00000000-0000-0000-0000-000000000001", "42704"),
    ] {
        for call in [
            format!("set_price('tokens', 1, scope => '{scope}')"),
            format!("remove_price('tokens', scope => '{scope}')"),
        ] {
            world
                .begin("ops")
                .fails(&format!("SELECT tenancy.{call}"))
                .code(code);
        }
    }
    // A tenant does not set its own prices, whatever it may do in the tenant.
    owner.run("SELECT tenancy.assign('acme/alice', 'tenant_admin', 'acme'), tenancy.assign('umbrella/bob', 'tenant_admin', 'umbrella'), tenancy.assign('soylent/eve', 'tenant_admin', 'soylent')");
    for scope in ["acme", "acme/alice", "globex", "platform"] {
        let failure = world.begin("alice").fails(&format!(
            "SELECT tenancy.set_price('tokens', 0, scope => '{scope}')"
        ));
        assert!(
            ["42501", "42704", "22023"].contains(&failure.code.as_str()),
            "{scope}: {failure:?}"
        );
    }
    for (user, sees) in [
        (
            "alice",
            "acme 5, globex 6, platform 8, platform 9, platform 10",
        ),
        ("bob", "globex 6, platform 8, platform 9, platform 10"),
        ("eve", "platform 8, platform 9, platform 10"),
        ("boss", "platform 8, platform 9, platform 10"),
        (
            "ops",
            "acme 5, globex 6, platform 8, platform 9, platform 10",
        ),
    ] {
        let seen = world.begin(user).text("SELECT coalesce(string_agg(scope || ' ' || price, ', ' ORDER BY scope, price), '') FROM tenancy.prices");
        assert_eq!(seen, sees, "{user}");
    }
    let nobody = world.db.app().texts("SELECT id::text FROM tenancy.prices");
    assert_eq!(nobody, Vec::<String>::new());
}

#[test]
fn who_may_not_set_a_budget_does_not_set_the_prices_that_it_counts() {
    let world = metered();
    let mut owner = world.db.owner();
    let set = "SELECT tenancy.set_price('tokens', 0, scope => 'acme')";
    world.begin("ops").run(set);
    for scope in ["platform", "globex", "acme"] {
        owner.run(&format!("SELECT tenancy.set_budget('{scope}', NULL, 10)"));
        // The budget of acme is one that ops may set.
        let said = world.begin("ops").try_run(set);
        assert_eq!(said.is_ok(), scope == "acme", "{scope}: {said:?}");
        if let Err(failure) = said {
            failure.code("42501").says("an imposed budget counts costs");
        }
        owner.run(&format!("SELECT tenancy.remove_budget('{scope}', NULL)"));
    }
}

#[test]
fn a_metric_says_what_happens_without_a_price() {
    let world = metered();
    let mut owner = world.db.owner();
    owner.run(r#"SELECT tenancy.set_price('tokens', 1, '{"model": "large"}')"#);
    let call = r#"'tokens', 2, attributes => '{"model": "drow"}'"#;
    let recorded = |budget: bool| {
        let mut session = world.begin(if budget { "bob" } else { "alice" });
        let said = session.try_run(&format!("SELECT tenancy.record_usage({call}); COMMIT"));
        if let Err(failure) = &said {
            assert_eq!(failure.code, "22023");
        }
        said.is_ok()
    };
    owner.run("SELECT tenancy.set_budget('umbrella', NULL, 100)");
    for (option, with_budget, without) in [
        ("refuse_if_budgeted", false, true),
        ("refuse", false, false),
        ("free", true, true),
    ] {
        owner.run(&format!(
            "SELECT tenancy.define_metric('tokens', NULL, unknown_price => '{option}')"
        ));
        assert_eq!(
            (recorded(true), recorded(false)),
            (with_budget, without),
            "{option}"
        );
    }
    let unpriced = "SELECT concat_ws(' ', tenant_id, quantity, cost, attributes ->> 'model') FROM tenancy.unpriced_usage ORDER BY 1";
    let of = |slug: &str| format!("{} 2 0 drow", world.id(slug));
    let mut expected = vec![of("acme"), of("acme"), of("umbrella")];
    expected.sort();
    assert_eq!(world.db.admin().texts(unpriced), expected);
    assert_eq!(world.begin("bob").texts(unpriced), [of("umbrella")]);
    // A fallback is a price for everything.
    owner.run("SELECT tenancy.set_price('tokens', 3), tenancy.define_metric('tokens', NULL, unknown_price => 'refuse')");
    assert_eq!(costs(&world, "bob", call), "6");
    // Another tenant's price does not make one's own usage unknown.
    owner.run("SELECT tenancy.set_price('images', 1, scope => 'acme')");
    assert_eq!(costs(&world, "bob", "'images', 1"), "0");
    for wrong in ["'dear'", "''"] {
        owner
            .fails(&format!(
                "SELECT tenancy.define_metric('tokens', NULL, unknown_price => {wrong})"
            ))
            .code("22023");
    }
    owner
        .fails("SELECT tenancy.define_metric('tokens', NULL, dimensions => '{direction}')")
        .code("22023");
}

#[test]
fn a_reservation_without_dimensions_holds_the_dearest_price_that_may_apply() {
    let world = metered();
    world.db.owner().run(
        r#"SELECT tenancy.set_price('tokens', 1, '{"model": "small", "direction": "in"}'), tenancy.set_price('tokens', 2, '{"model": "small", "direction": "out"}'),
                  tenancy.set_price('tokens', 7, '{"model": "large", "direction": "out"}'), tenancy.set_price('tokens', 9, '{"model": "large"}', valid_from => now() + interval '1 day'),
                  tenancy.set_price('tokens', 99, scope => 'hooli'), tenancy.set_budget('acme', NULL, 100)"#,
    );
    let mut alice = world.begin("alice");
    for (attributes, cost) in [
        ("", "7"),
        (r#", attributes => '{"model": "small"}'"#, "2"),
        (r#", attributes => '{"direction": "in"}'"#, "1"),
        (
            r#", attributes => '{"model": "small", "direction": "in"}'"#,
            "1",
        ),
    ] {
        let id = alice.text(&format!(
            "SELECT tenancy.reserve('tokens', 1, '1 hour'{attributes})"
        ));
        assert_eq!(
            alice.text(&format!(
                "SELECT cost FROM tenancy.reservations WHERE id = '{id}'"
            )),
            cost,
            "{attributes}"
        );
    }
    // None may apply, whatever is added: that is not 0.
    for attributes in [
        r#"{"model": "x"}"#,
        r#"{"model": "x", "direction": "in"}"#,
        r#"{"model": "large", "direction": "in"}"#,
    ] {
        alice
            .fails_inside(&format!(
                "SELECT tenancy.reserve('tokens', 1, '1 hour', attributes => '{attributes}')"
            ))
            .code("22023");
    }
}

#[test]
fn tiers_are_recorded_at_the_highest_price_and_rated_by_the_quantity_of_the_period() {
    let world = metered();
    let mut owner = world.db.owner();
    owner.run(
        r#"SELECT tenancy.set_price('tokens', NULL, '{"model": "g"}', tiers => '[{"up_to": 10, "price": 0.5}, {"up_to": 20.5, "price": 1}, {"price": 0.000000000001}]', period => 'day'),
                  tenancy.set_price('tokens', NULL, '{"model": "v"}', tiers => '[{"up_to": 10, "price": 0.5}, {"price": 0.1}]', mode => 'volume', period => 'day'),
                  tenancy.set_price('tokens', 3, '{"model": "f"}')"#,
    );
    for (model, quantity, recorded) in [
        ("g", "10", "10"),
        ("g", "11", "11"),
        ("v", "10", "5"),
        ("f", "2", "6"),
    ] {
        let call = format!("'tokens', {quantity}, attributes => '{{\"model\": \"{model}\"}}'");
        assert_eq!(costs(&world, "alice", &call), recorded);
    }
    let rated = |scope: &str| {
        let sql = format!(
            "SELECT concat_ws(' ', dimensions ->> 'model', mode, quantity, amount, recorded, events) FROM tenancy.rated_usage('{scope}', 'tokens', now() - interval '1 day', now() + interval '1 day') ORDER BY 1"
        );
        world.db.admin().texts(&sql)
    };
    let of_f = "f flat 2 6 6 1";
    assert_eq!(
        rated("acme"),
        [
            of_f,
            // 10 · 0.5 + 10.5 · 1 + 0.5 · 10⁻¹²
            "g graduated 21 15.5000000000005 21 2",
            "v volume 10 5 5 1"
        ]
    );
    costs(
        &world,
        "alice",
        "'tokens', 0.1, attributes => '{\"model\": \"v\"}'",
    );
    // Another tenant's quantity is its own.
    costs(
        &world,
        "bob",
        "'tokens', 10, attributes => '{\"model\": \"v\"}'",
    );
    assert_eq!(rated("acme")[2], "v volume 10.1 1.01 5.05 2");
    assert_eq!(rated("umbrella"), ["v volume 10 5 5 1"]);
    assert_eq!(rated("globex").len(), 4);
    for tiers in [
        "[]",
        "{}",
        r#"[{"price": 1}, {"price": 2}]"#,
        r#"[{"up_to": 1, "price": 1}]"#,
        r#"[{"up_to": 2, "price": 1}, {"up_to": 2, "price": 1}, {"price": 1}]"#,
        r#"[{"up_to": 0, "price": 1}, {"price": 1}]"#,
        r#"[{"up_to": 5, "price": -1}, {"price": 1}]"#,
        r#"[{"up_to": "5", "price": 1}, {"price": 1}]"#,
        r#"[{"up_to": 5, "price": 1, "x": 1}, {"price": 1}]"#,
        r#"[{"up_to": 5}, {"price": 1}]"#,
    ] {
        owner
            .fails(&format!(
                "SELECT tenancy.set_price('tokens', NULL, tiers => '{tiers}')"
            ))
            .code("22023");
    }
    // The tenant's member sees what is its own, and nobody rates what is another's.
    world
        .begin("alice")
        .fails(
            "SELECT * FROM tenancy.rated_usage('acme', 'tokens', now() - interval '1 day', now())",
        )
        .code("42501");
    world
        .begin("boss")
        .fails(
            "SELECT * FROM tenancy.rated_usage('acme', 'tokens', now() - interval '1 day', now())",
        )
        .code("42704");
}

#[test]
fn other_sessions_take_a_new_price_from_their_next_call() {
    let world = metered();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_price('tokens', 1)");
    let mut alice = world.db.app();
    alice.login_session(world.key("alice"));
    for price in 2..6 {
        owner.run(&format!("SELECT tenancy.set_price('tokens', {price})"));
        let id = alice.text("SELECT tenancy.consume('tokens')");
        assert_eq!(
            owner.text(&format!(
                "SELECT cost FROM tenancy.recorded_usage WHERE id = '{id}'"
            )),
            price.to_string()
        );
    }
    assert_eq!(
        world.db.admin().texts("SELECT concat_ws(' ', details ->> 'price', details ->> 'retroactive') FROM tenancy.audit_log WHERE action LIKE '%price.set' ORDER BY id"),
        ["1", "2", "3", "4", "5"]
    );
}

#[test]
fn a_span_is_rated_again_by_corrections_that_are_events() {
    let world = metered();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_metric('pages', 'page', 'count', price => 1);
         SELECT tenancy.set_price('tokens', 2, valid_from => now() - interval '10 days'), tenancy.set_budget('acme', NULL, 1000, 'total'), tenancy.set_budget('acme', 'pages', 1000, 'total')",
    );
    let late = "'tokens', 3, at => now() - interval '2 days'";
    assert_eq!(costs(&world, "alice", late), "6");
    assert_eq!(costs(&world, "bob", late), "6");
    assert_eq!(costs(&world, "alice", "'tokens', 1, cost => 5"), "5");
    assert_eq!(costs(&world, "alice", "'pages', 1"), "1");
    // As if it had been half of it from last week on, and other pages.
    owner.run("SELECT tenancy.set_price('tokens', 1, valid_from => now() - interval '7 days'), tenancy.set_price('pages', 0.25, valid_from => now() - interval '7 days')");
    let used = "SELECT used FROM tenancy.check_budget(NULL, 0)";
    assert_eq!(world.begin("alice").text(used), "12");
    let rerate = |metric: &str| {
        format!(
            "SELECT concat_ws(' ', events, difference) FROM tenancy.rerate('{metric}', now() - interval '9 days', now() + interval '1 hour')"
        )
    };
    // What is rolled back has no effect, also while it runs.
    owner.run("BEGIN");
    assert_eq!(owner.text(&rerate("tokens")), "2 -6");
    // A lower cost that may be rolled back gives no room.
    assert_eq!(
        world
            .begin("alice")
            .text("SELECT concat_ws(' ', used, in_flight) FROM tenancy.check_budget(NULL, 0)"),
        "12 0"
    );
    owner.run("ROLLBACK");
    assert_eq!(world.begin("alice").text(used), "12");
    assert_eq!(owner.text(&rerate("tokens")), "2 -6");
    assert_eq!(owner.text(&rerate("tokens")), "0 0");
    assert_eq!(owner.text(&rerate("pages")), "1 -0.75");
    let mut admin = world.db.admin();
    let usage = "SELECT concat_ws(' ', (SELECT cost FROM tenancy.usage('acme')), quantity, cost, events) FROM tenancy.usage('acme', 'pages')";
    for _ in 0..2 {
        assert_eq!(world.begin("alice").text(used), "8.25");
        assert_eq!(admin.text(usage), "8.25 1 0.25 1");
        world
            .begin("alice")
            .run("SELECT tenancy.check_budget('pages', 1, 0)");
        let pages = "SELECT used FROM tenancy.ledger WHERE metric = 'pages'";
        assert_eq!(admin.text(pages), "1");
        ledger_agrees(&mut admin, 2);
        admin.run("SELECT tenancy.rollup(), tenancy_internal.forget_ledger()");
    }
    // A second change corrects what the first one left.
    owner.run("SELECT tenancy.set_price('tokens', 4, valid_from => now() - interval '6 days')");
    assert_eq!(owner.text(&rerate("tokens")), "2 18");
    assert_eq!(world.begin("alice").text(used), "17.25");
    assert_eq!(
        world.begin("alice").texts("SELECT concat_ws(' ', metric, cost_before, cost_after) FROM tenancy.rerated_usage ORDER BY id"),
        ["tokens 6 3", "pages 1 0.25", "tokens 3 12"]
    );
    assert_eq!(
        admin.texts("SELECT concat_ws(' ', mode, quantity, amount, events) FROM tenancy.rated_usage('acme', 'tokens', now() - interval '9 days', now() + interval '1 hour') ORDER BY 1"),
        ["flat 3 12 1", "named 1 5 1"]
    );
    world
        .begin("alice")
        .fails("SELECT tenancy.rerate('tokens', now() - interval '9 days', now())")
        .code("42704");
    // What had no price is corrected once it has one.
    owner.run("SELECT tenancy.set_price('images', 1, '{\"size\": \"s\"}', valid_from => now() - interval '5 days')");
    assert_eq!(costs(&world, "bob", "'images', 2"), "0");
    let unpriced = "SELECT count(*) FROM tenancy.unpriced_usage";
    assert_eq!(admin.number(unpriced), 1);
    owner.run("SELECT tenancy.set_price('images', 3, valid_from => now() - interval '5 days')");
    assert_eq!(owner.text(&rerate("images")), "1 6");
    assert_eq!(admin.number(unpriced), 0);
}
