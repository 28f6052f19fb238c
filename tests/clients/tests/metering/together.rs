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
