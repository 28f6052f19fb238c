//! A metered user cannot undo, redirect or hide the usage that a trusted role records for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.001, dimensions => '{model}', prices => '{\"model\": {\"small\": 0.001, \"large\": 1}}');
         SELECT tenancy.assign('acme/alice', 'tenant_admin', 'acme');
         SELECT tenancy.set_budget('acme', 'tokens', 1000, 'day'), tenancy.set_budget('globex', NULL, 10, 'day')",
    );
    world
}

/// The gateway in alice's context.
fn gateway(world: &World) -> Session {
    let mut gateway = world.db.gateway();
    gateway.run(&format!(
        "BEGIN; SELECT tenancy.assume('{}')",
        world.id("alice")
    ));
    gateway
}

fn recorded(world: &World) -> String {
    world.db.admin().text(
        "SELECT coalesce(trim_scale(sum(quantity) / 1000000.0), 0)::text FROM tenancy_internal.usage_events",
    )
}

/// F14.
#[test]
fn a_key_belongs_to_the_role_and_the_user_that_record_with_it() {
    let world = world();
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 0, idempotency_key => 'r-' || n) FROM generate_series(1, 5) n; COMMIT");
    gateway(&world)
        .run("SELECT tenancy.consume('tokens', 10, idempotency_key => 'r-' || n) FROM generate_series(1, 5) n; COMMIT");
    assert_eq!(recorded(&world), "50");
    // Without a context the gateway records for others, by keys of its own again.
    world.db.gateway().run(&format!(
        "SELECT tenancy.record_usage_for('{}', 'tokens', 7, idempotency_key => 'r-1')",
        world.id("alice")
    ));
    assert_eq!(recorded(&world), "57");
    // Its own retries count nothing.
    gateway(&world)
        .run("SELECT tenancy.consume('tokens', 10, idempotency_key => 'r-' || n) FROM generate_series(1, 5) n; COMMIT");
    assert_eq!(recorded(&world), "57");
}

#[test]
fn a_reused_key_with_another_event_is_an_error() {
    let world = world();
    let first =
        gateway(&world).text("SELECT tenancy.record_usage('tokens', 3, idempotency_key => 'k')");
    let mut gateway = gateway(&world);
    let again = "SELECT tenancy.record_usage('tokens', 3, idempotency_key => 'k')";
    let before = gateway.text(again);
    assert_ne!(first, before, "the first was rolled back with its session");
    assert_eq!(gateway.text(again), before);
    gateway.run("COMMIT");
    for other in [
        "SELECT tenancy.record_usage('tokens', 4, idempotency_key => 'k')",
        "SELECT tenancy.record_usage('tokens', 3, cost => 0, idempotency_key => 'k')",
        "SELECT tenancy.consume('tokens', 2, idempotency_key => 'k')",
        "SELECT tenancy.record_usage_many('[{\"metric\": \"tokens\", \"quantity\": 5, \"idempotency_key\": \"k\"}]')",
    ] {
        gateway.run(&format!(
            "BEGIN; SELECT tenancy.assume('{}')",
            world.id("alice")
        ));
        gateway.fails(other).code("22023").says("idempotency key");
        gateway.run("ROLLBACK");
    }
    assert_eq!(recorded(&world), "3");
}

/// F13.
#[test]
fn only_the_reserver_and_those_above_cancel() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.assign('globex/ops', 'partner_admin', 'globex')");
    let reserve = |session: &mut Session| {
        let id = session
            .text("SELECT tenancy.reserve('tokens', 90, attributes => '{\"model\": \"small\"}')");
        session.run("COMMIT");
        id
    };
    let id = reserve(&mut gateway(&world));
    let mut alice = world.begin("alice");
    alice
        .fails(&format!("SELECT tenancy.cancel('{id}')"))
        .code("42501");
    alice.run("ROLLBACK");
    // A tenant's admin with budgets of its own does not free what its partner's gateway holds.
    gateway(&world).run(&format!("SELECT tenancy.cancel('{id}'); COMMIT"));
    let id = reserve(&mut gateway(&world));
    let mut ops = world.begin("ops");
    ops.run(&format!(
        "SELECT tenancy.select_tenant('{}'); SELECT tenancy.cancel('{id}'); COMMIT",
        world.id("acme")
    ));
    // A cancelled reservation can be settled: its usage is recorded.
    gateway(&world).run(&format!("SELECT tenancy.settle('{id}', 80); COMMIT"));
    assert_eq!(recorded(&world), "80");
    let mut again = gateway(&world);
    again
        .fails(&format!("SELECT tenancy.settle('{id}', 80)"))
        .code("55000");
}

/// F33 and F34.
#[test]
fn a_reservation_holds_the_most_that_it_may_cost() {
    let world = world();
    let mut gateway = gateway(&world);
    // The budget is ten. large costs 1, and the attributes do not exclude it.
    gateway
        .fails("SELECT tenancy.reserve('tokens', 11)")
        .code("53400");
    gateway.run("ROLLBACK");
    let mut gateway = self::gateway(&world);
    gateway.run("SELECT tenancy.reserve('tokens', 9)");
    gateway.run("SELECT tenancy.reserve('tokens', 900, attributes => '{\"model\": \"small\"}')");
    for more in [
        "SELECT tenancy.reserve('tokens', 1)",
        "SELECT tenancy.reserve('tokens', 1, attributes => '{\"model\": \"large\"}')",
        "SELECT tenancy.reserve('tokens', 1, cost => 0.2)",
    ] {
        gateway.run("SAVEPOINT s");
        gateway.fails(more).code("53400");
        gateway.run("ROLLBACK TO s");
    }
    gateway
        .fails("SELECT tenancy.reserve('tokens', 0)")
        .code("22023");
}
