//! `limit_of()`: the least of all values that apply, from a cache that follows every change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use tenancy_client_tests::{Session, World};

const ROOMS: &str = "SELECT tenancy.limit_of('rooms')";
const READS: &str = "SELECT reads FROM tenancy.access_cache()";

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_limit('rooms', 'amount', 'room'), tenancy.define_limit('api', 'rate')",
    );
    world
}

fn set(world: &World, scope: &str, amount: &str, more: &str) {
    world.db.owner().run(&format!(
        "SELECT tenancy.set_limit('{scope}', 'rooms', {amount}{more})"
    ));
}

/// Waits until a statement says something.
#[track_caller]
fn comes_to(session: &mut Session, sql: &str, wanted: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while session.text(sql) != wanted {
        assert!(
            Instant::now() < end,
            "{} is not {wanted}",
            session.text(sql)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_least_value_of_all_levels_applies_from_the_next_statement_on() {
    let world = world();
    let (mut alice, mut bob) = (world.begin("alice"), world.begin("bob"));
    assert_eq!(alice.text(ROOMS), "NULL");
    for (scope, amount, of_alice, of_bob) in [
        ("platform", "1000", "1000", "1000"),
        ("globex", "900", "900", "900"),
        ("acme", "50", "50", "900"),
        ("acme/alice", "7", "7", "900"),
        ("acme/alice", "70", "50", "900"),
        ("acme", "NULL", "70", "900"),
        ("acme/alice", "NULL", "900", "900"),
        ("umbrella", "0", "900", "0"),
    ] {
        set(&world, scope, amount, "");
        assert_eq!(alice.text(ROOMS), of_alice, "{scope} {amount}");
        assert_eq!(bob.text(ROOMS), of_bob, "{scope} {amount}");
    }
    // For each user of a partner's tenants.
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_limit('acme/alice', 'rooms')");
    set(&world, "globex", "3", ", 'user'");
    assert_eq!(alice.text(ROOMS), "3");
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_limit('globex', 'rooms', level => 'user')");
    assert_eq!(alice.text(ROOMS), "900");
    // What is rolled back never was.
    let mut owner = world.db.owner();
    owner.run("BEGIN; SELECT tenancy.set_limit('acme', 'rooms', 1)");
    assert_eq!(alice.text(ROOMS), "900");
    owner.run("ROLLBACK");
    assert_eq!(alice.text(ROOMS), "900");
}

#[test]
fn nothing_is_read_when_it_is_known() {
    let world = world();
    set(&world, "acme", "50", "");
    let mut alice = world.begin("alice");
    assert_eq!(alice.text(ROOMS), "50");
    alice.run("COMMIT");
    let before = alice.text(READS);
    for _ in 0..20 {
        alice.begin(world.key("alice"));
        assert_eq!(alice.text(ROOMS), "50");
        alice.run("SELECT count(tenancy.limit_of('rooms')) FROM generate_series(1, 100); COMMIT");
    }
    assert_eq!(alice.text(READS), before);
    // A change elsewhere concerns nobody here.
    set(&world, "soylent", "5", "");
    alice.begin(world.key("alice"));
    assert_eq!(alice.text(ROOMS), "50");
    assert_eq!(alice.text(READS), before);
}

#[test]
fn a_plan_applies_from_its_start_to_its_end() {
    let world = world();
    set(&world, "globex", "10", ", 'tenant'");
    let mut admin = world.db.admin();
    admin.run(&format!(
        "INSERT INTO tenancy_internal.limit_values (limit_id, plan_id, level, imposed, amount)
         SELECT id, '00000000-0000-7000-8000-0000000000aa', 'tenant', true, 500 FROM tenancy_internal.limit_definitions WHERE name = 'rooms';
         INSERT INTO tenancy_internal.tenant_plans (tenant_id, plan_id, starts_at, ends_at)
         VALUES ('{}', '00000000-0000-7000-8000-0000000000aa', clock_timestamp() + interval '1.5 seconds', clock_timestamp() + interval '3.5 seconds')",
        world.id("acme")
    ));
    // In one transaction, whose connection hears of no change when it begins or ends.
    let mut alice = world.begin("alice");
    assert_eq!(alice.text(ROOMS), "10");
    comes_to(&mut alice, ROOMS, "500");
    assert_eq!(world.begin("bob").text(ROOMS), "10");
    comes_to(&mut alice, ROOMS, "10");
    // The plan's value changes while a tenant has it.
    admin.run(&format!(
        "INSERT INTO tenancy_internal.tenant_plans (tenant_id, plan_id, starts_at)
         VALUES ('{}', '00000000-0000-7000-8000-0000000000aa', clock_timestamp())",
        world.id("acme")
    ));
    assert_eq!(alice.text(ROOMS), "500");
    admin.run("UPDATE tenancy_internal.limit_values SET amount = 600 WHERE plan_id IS NOT NULL");
    assert_eq!(alice.text(ROOMS), "600");
    // The tenant's own value is nearer.
    set(&world, "acme", "20", "");
    assert_eq!(alice.text(ROOMS), "20");
}

#[test]
fn a_tenant_that_moves_gets_the_limits_of_its_new_partner() {
    let world = world();
    set(&world, "globex", "10", "");
    set(&world, "hooli", "20", "");
    let mut alice = world.begin("alice");
    assert_eq!(alice.text(ROOMS), "10");
    alice.run("COMMIT");
    world
        .db
        .owner()
        .run("SELECT tenancy.move_tenant('acme', 'hooli')");
    alice.begin(world.key("alice"));
    assert_eq!(alice.text(ROOMS), "20");
}

#[test]
fn a_user_of_several_tenants_selects_one() {
    let world = world();
    set(&world, "acme", "5", "");
    set(&world, "globex", "9", "");
    let mut ops = world.begin("ops");
    ops.fails_inside(ROOMS).code("55000").says("2 tenants");
    ops.run("SELECT tenancy.select_tenant('acme')");
    assert_eq!(ops.text(ROOMS), "5");
    ops.run("COMMIT").begin(world.key("ops"));
    ops.run("SELECT tenancy.select_tenant('umbrella')");
    assert_eq!(ops.text(ROOMS), "9");
}

#[test]
fn bad_input_and_missing_contexts_get_errors() {
    let world = world();
    let mut alice = world.begin("alice");
    alice
        .fails_inside("SELECT tenancy.limit_of('room')")
        .code("42704")
        .says("\"room\" does not exist");
    alice
        .fails_inside("SELECT tenancy.limit_of('Rooms')")
        .code("42704");
    alice
        .fails_inside("SELECT tenancy.limit_of('')")
        .code("42704");
    alice
        .fails_inside("SELECT tenancy.limit_of(NULL)")
        .code("22023");
    alice
        .fails_inside("SELECT tenancy.limit_of('api')")
        .code("22023")
        .hints("tenancy.take()");
    alice.run("COMMIT");
    alice.fails(ROOMS).code("55000");
    world.db.stranger().fails(ROOMS).code("42501");
    let mut owner = world.db.owner();
    owner.run("BEGIN; SELECT tenancy.maintenance('looking')");
    owner.fails(ROOMS).code("55000");
    // A suspended tenant has no context.
    world
        .db
        .owner()
        .run("SELECT tenancy.set_status('acme', 'suspended')");
    alice.run("BEGIN");
    alice.try_login(world.key("alice")).unwrap_err();
}

#[test]
fn parallel_workers_know_the_limits() {
    let world = World::new();
    world.db.owner().run(
        "SELECT tenancy.define_limit('rooms', 'amount'); SELECT tenancy.set_limit('acme', 'rooms', 5)",
    );
    let mut alice = world.begin("alice");
    alice.always_parallel(tenancy_client_tests::session::Until::Transaction);
    assert_eq!(
        alice.text("SELECT min(tenancy.limit_of('rooms')) FROM app.notes"),
        "5"
    );
}
