//! Prices, budgets of parts, reservations that grow, voided events and corrections of costs, all on the same usage: what is counted in
//! memory is what its rows say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::World;

/// Budgets, one of which counts in each run: of quantity and of cost, for each kind of part.
const BUDGETS: [&str; 8] = [
    "'tokens', 100, per => 'user'",
    "'tokens', 100, dimensions => '{\"model\": \"large\"}'",
    "'tokens', 100, per => 'model'",
    "'tokens', 100, per => 'api_key'",
    "NULL, 100, per => 'user'",
    "NULL, 100, dimensions => '{\"model\": \"large\"}'",
    "NULL, 100, per => 'model'",
    "NULL, 100, 'total'",
];

const LARGE: &str = "attributes => '{\"model\": \"large\"}'";

/// What the budget says of usage of the large model by alice.
fn told(world: &World, budget: &str) -> String {
    let what = match budget.starts_with("NULL") {
        true => format!("'tokens', 0, 0, {LARGE}"),
        false => format!("'tokens', 0, {LARGE}"),
    };
    let mut session = world.begin("alice");
    let told = session.text(&format!(
        "SELECT concat_ws(' ', amount, used, in_flight, remaining) FROM tenancy.check_budget({what})"
    ));
    session.run("COMMIT");
    told
}

/// Asserts what the budget says: as it was counted, loaded from events, and loaded from rollups.
#[track_caller]
fn says(world: &World, budget: &str, expected: &str) {
    let mut admin = world.db.admin();
    for step in ["as counted", "loaded from events", "loaded from rollups"] {
        assert_eq!(told(world, budget), expected, "{budget}: {step}");
        if step == "loaded from events" {
            admin.run("SELECT tenancy.rollup()");
        }
        admin.run("SELECT tenancy_internal.forget_ledger()");
    }
}

#[test]
fn all_of_it_counts_the_same_in_memory_and_by_rows() {
    for budget in BUDGETS {
        let world = World::bare();
        let mut owner = world.db.owner();
        // A token costs one, so that quantity and cost are the same until prices change.
        owner.run(&format!(
            "SELECT tenancy.define_metric('tokens', 'tokens', dimensions => '{{model}}', price => 1);
             SELECT tenancy.set_budget('acme', {budget})"
        ));
        let run = |sql: &str| {
            let mut session = world.begin("alice");
            let answer = session.text(sql);
            session.run("COMMIT");
            answer
        };
        let first = run(&format!("SELECT tenancy.consume('tokens', 30, {LARGE})"));
        says(&world, budget, "100 30 0 70");
        // A reservation that grows by as much as there is, and not more.
        let held = run(&format!("SELECT tenancy.reserve('tokens', 20, {LARGE})"));
        says(&world, budget, "100 30 20 50");
        world
            .begin("alice")
            .fails(&format!(
                "SELECT tenancy.extend('{held}', quantity => 71, {LARGE})"
            ))
            .code("53400");
        run(&format!(
            "SELECT tenancy.extend('{held}', quantity => 70, {LARGE})"
        ));
        says(&world, budget, "100 30 70 0");
        world
            .begin("alice")
            .fails(&format!(
                "SELECT tenancy.consume('tokens', 0.000001, {LARGE})"
            ))
            .code("53400");
        run(&format!("SELECT tenancy.settle('{held}', 25.5, {LARGE})"));
        says(&world, budget, "100 55.5 0 44.5");
        // The first event never was; its room is there again.
        owner.run(&format!("SELECT tenancy.void_event('{first}', 'twice')"));
        says(&world, budget, "100 25.5 0 74.5");
        // What was settled cost half as much, to the last digit; what is voided stays voided.
        owner.run("SELECT tenancy.set_price('tokens', 0.333333333333, '{\"model\": \"large\"}', valid_from => '2020-01-01')");
        let rerated = "SELECT concat_ws(' ', events, difference) FROM tenancy.rerate('tokens', now() - interval '1 hour', now() + interval '1 hour')";
        assert_eq!(owner.text(rerated), "1 -17.0000000000085", "{budget}");
        assert_eq!(owner.text(rerated), "0 0", "{budget}");
        let now = match budget.starts_with("NULL") {
            true => "100 8.4999999999915 0 91.5000000000085",
            false => "100 25.5 0 74.5",
        };
        says(&world, budget, now);
        // The corrected event is voided with its correction.
        let settled = owner.text(&format!(
            "SELECT event_id::text FROM tenancy.reservations WHERE id = '{held}'"
        ));
        owner.run(&format!("SELECT tenancy.void_event('{settled}', 'wrong')"));
        says(&world, budget, "100 0 0 100");
        assert_eq!(owner.text(rerated), "0 0", "{budget}");
        assert_eq!(
            owner
                .text("SELECT concat_ws(' ', quantity, cost) FROM tenancy.usage('acme', 'tokens')"),
            "0 0"
        );
        // By an export the sums are the same, once no transaction runs that may still record something.
        let end = Instant::now() + Duration::from_secs(20);
        while owner.number("SELECT events FROM tenancy.export_lag()") > 0 {
            assert!(Instant::now() < end, "the export waits");
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(
            owner.text("SELECT concat_ws(' ', trim_scale(sum(quantity)), trim_scale(sum(cost))) FROM tenancy.export_usage()"),
            "0 0"
        );
    }
}

/// Runs a statement of alice's.
#[track_caller]
fn alice(world: &World, sql: &str) -> String {
    let mut session = world.begin("alice");
    let answer = session.text(sql);
    session.run("COMMIT");
    answer
}

fn dear(world: &World) {
    world
        .db
        .owner()
        .run("SELECT tenancy.set_price('tokens', 3, valid_from => '2020-01-01')");
}

const RERATE: &str = "SELECT concat_ws(' ', events, difference) FROM tenancy.rerate('tokens', now() - interval '2 days', now() + interval '1 hour')";
const COST: &str = "SELECT concat_ws(' ', quantity, cost) FROM tenancy.usage('acme', 'tokens', until => 'infinity')";

#[test]
fn voids_and_corrections_wait_for_each_other() {
    for void_first in [false, true] {
        let world = World::bare();
        let mut owner = world.db.owner();
        owner.run("SELECT tenancy.define_metric('tokens', 'tokens', price => 1)");
        let event = alice(&world, "SELECT tenancy.consume('tokens', 100)");
        dear(&world);
        let void = format!("SELECT tenancy.void_event('{event}', 'wrong')::text");
        let (first, second) = match void_first {
            true => (void.as_str(), RERATE),
            false => (RERATE, void.as_str()),
        };
        owner.run("BEGIN").run(first);
        let other = thread::scope(|scope| {
            let other = scope.spawn(|| world.db.owner().text(second));
            thread::sleep(Duration::from_millis(300));
            assert!(!other.is_finished(), "{second} does not wait");
            owner.run("COMMIT");
            other.join().unwrap()
        });
        assert!(!void_first || other == "0 0", "{other}");
        assert_eq!(owner.text(COST), "0 0", "void first: {void_first}");
        assert_eq!(owner.text(RERATE), "0 0");
        // What a snapshot does not see would be corrected twice.
        for call in [RERATE, &void] {
            owner.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
            owner.fails(call).code("22023");
            owner.run("ROLLBACK");
        }
    }
}

#[test]
fn a_correction_of_what_is_closed_counts_now() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.define_metric('tokens', 'tokens', price => 1)");
    world.db.gateway().run(
        "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at) SELECT 'tokens', 100, u.id, now() - interval '25 hours' FROM tenancy.users u WHERE u.slug = 'alice'",
    );
    owner.run("SELECT tenancy.close_usage('acme', now() - interval '1 day', 'refuse')");
    dear(&world);
    assert_eq!(owner.text(RERATE), "1 200");
    let span = |span: &str| {
        format!(
            "SELECT concat_ws(' ', quantity, cost) FROM tenancy.usage('acme', 'tokens', {span})"
        )
    };
    let closed = owner.text(&span(
        "until => date_bin('15 minutes', now() - interval '24 hours', '2000-01-01')",
    ));
    assert_eq!(closed, "100 100");
    assert_eq!(owner.text(&span("until => 'infinity'")), "100 300");
    assert_eq!(
        owner.text("SELECT concat_ws(' ', cost_before, cost_after) FROM tenancy.rerated_usage"),
        "100 300"
    );
    assert_eq!(owner.text(RERATE), "0 0");
}

#[test]
fn values_and_prices_are_read_alike_everywhere() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_metric('tokens', 'tokens', dimensions => '{n,m}');
         SELECT tenancy.set_price('tokens', 7, '{\"n\": 1.50}'), tenancy.set_price('tokens', 8, '{\"n\": 1e23}'), tenancy.set_price('tokens', 9, '{\"n\": 2.0}'),
                tenancy.set_price('tokens', 1, '{\"m\": \"small\"}'), tenancy.set_price('tokens', 100, '{\"m\": \"large\"}')",
    );
    let cost = |attributes: &str| {
        let id = alice(
            &world,
            &format!("SELECT tenancy.record_usage('tokens', 1, attributes => '{attributes}')"),
        );
        world.db.owner().text(&format!(
            "SELECT cost::text FROM tenancy.recorded_usage WHERE id = '{id}'"
        ))
    };
    for (attributes, price) in [
        (r#"{"n": 1.5}"#, "7"),
        (r#"{"n": 1.50}"#, "7"),
        (r#"{"n": "1.5"}"#, "7"),
        (r#"{"n": 1e23}"#, "8"),
        (r#"{"n": 2.0}"#, "9"),
    ] {
        assert_eq!(cost(attributes), price, "{attributes}");
    }
    // What the server's JSON holds and no other's does is an error of the argument.
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let batch = |attributes: &str| {
        format!(
            "SELECT tenancy.record_usage_many('[{{\"metric\": \"tokens\", \"attributes\": {attributes}}}]')"
        )
    };
    for odd in [
        r#"{"n": 1e400}"#,
        r#"{"n": -1e400}"#,
        &format!(r#"{{"n": {deep}}}"#),
    ] {
        let mut session = world.begin("alice");
        for call in [
            format!("SELECT tenancy.record_usage('tokens', 1, attributes => '{odd}')"),
            format!("SELECT tenancy.reserve('tokens', 1, attributes => '{odd}')"),
            format!("SELECT tenancy.fits('tokens', 1, attributes => '{odd}')"),
            batch(odd),
        ] {
            session.fails_inside(&call).code("22023");
        }
    }
    // A reservation that grows keeps its dimensions.
    let held = alice(
        &world,
        r#"SELECT tenancy.reserve('tokens', 10, attributes => '{"m": "small", "n": "none"}')"#,
    );
    alice(
        &world,
        &format!("SELECT tenancy.extend('{held}', quantity => 20)"),
    );
    let cost = format!(
        "SELECT concat_ws(' ', quantity, cost) FROM tenancy.reservations WHERE id = '{held}'"
    );
    assert_eq!(owner.text(&cost), "20 20");
    // Free is free, however it is recorded.
    owner.run("SELECT tenancy.define_metric('tokens', 'tokens', unknown_price => 'free')");
    let held = alice(
        &world,
        r#"SELECT tenancy.reserve('tokens', 5, attributes => '{"m": "none", "n": "none"}')"#,
    );
    alice(&world, &format!("SELECT tenancy.settle('{held}')"));
    let used = format!(
        "SELECT concat_ws(' ', used, used_cost, overrun) FROM tenancy.reservations WHERE id = '{held}'"
    );
    assert_eq!(owner.text(&used), "5 0 f");
    // Who uses does not set prices, and is told what it lacks.
    owner.run("SELECT tenancy.assign('acme/alice', 'tenant_admin', 'acme')");
    let failure = world
        .begin("alice")
        .fails("SELECT tenancy.set_price('tokens', 1, scope => 'acme')");
    failure.code("42501");
}
