//! One generic plan that serves a tenant, a fleet and another tenant. ATTACKS D2, row 16.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

/// Runs a statement as a tenant, a fleet, another tenant and without a context, with one plan.
fn in_turn(world: &World, app: &mut Session, mut count: impl FnMut(&mut Session) -> i64) {
    for round in 0..3 {
        for (user, rows) in [
            ("alice", 3),
            ("ops", 8),
            ("bob", 5),
            ("boss", 7),
            ("pat", 0),
            ("eve", 7),
            ("alice", 3),
            ("ops", 8),
        ] {
            app.begin(world.key(user));
            assert_eq!(count(app), rows, "{user}, round {round}");
            app.run("COMMIT");
        }
    }
}

#[test]
fn d2_16_a_generic_plan_for_tenant_fleet_tenant() {
    let world = World::new();
    for mode in ["force_generic_plan", "force_custom_plan", "auto"] {
        let mut app = world.db.app();
        app.run(&format!("SET plan_cache_mode = {mode}"));
        app.prepare("SELECT count(*) FROM app.notes WHERE id > $1")
            .map(std::mem::forget)
            .unwrap();
        let name = app.text("SELECT name FROM pg_prepared_statements");
        in_turn(&world, &mut app, |app| {
            app.number(&format!("EXECUTE \"{name}\" (0)"))
        });
    }
}

#[test]
fn d2_16_a_statement_of_the_extended_protocol() {
    let world = World::new();
    let mut app = world.db.app();
    app.run("SET plan_cache_mode = force_generic_plan");
    let statement = app
        .prepare("SELECT count(*) FROM app.notes WHERE id > $1")
        .unwrap();
    in_turn(&world, &mut app, |app| {
        app.query_one(&statement, &[&0_i64]).unwrap().get(0)
    });
}

#[test]
fn d2_16_a_plan_in_a_function() {
    let world = World::new();
    world.db.owner().run(
        "CREATE FUNCTION app.n() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM app.notes); END';
         CREATE FUNCTION app.s() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM app.notes'",
    );
    let mut app = world.db.app();
    app.run("SET plan_cache_mode = force_generic_plan");
    in_turn(&world, &mut app, |app| app.number("SELECT app.n()"));
    in_turn(&world, &mut app, |app| app.number("SELECT app.s()"));
}

#[test]
fn d2_16_with_the_ticket_switching_between_tenant_and_fleet() {
    let world = World::new();
    let mut app = world.db.app();
    app.run("SET plan_cache_mode = force_generic_plan");
    let statement = app
        .prepare("SELECT count(*) FROM app.notes WHERE id > $1")
        .unwrap();
    let tickets = [
        ("alice", 3_i64),
        ("ops", 8),
        ("bob", 5),
        ("pat", 0),
        ("ops", 8),
        ("alice", 3),
        ("boss", 7),
        ("eve", 7),
    ];
    let tickets = tickets.map(|(user, rows)| (user, world.ticket(user, "5 minutes"), rows));
    for _ in 0..3 {
        for (user, ticket, rows) in &tickets {
            app.run(&format!("SET tenancy.ticket = '{ticket}'"));
            assert_eq!(
                app.query_one(&statement, &[&0_i64])
                    .unwrap()
                    .get::<_, i64>(0),
                *rows,
                "{user}"
            );
        }
    }
}

#[test]
fn d2_16_narrowed_and_widened_by_savepoints() {
    let world = World::new();
    let mut app = world.db.app();
    app.run("SET plan_cache_mode = force_generic_plan")
        .begin(world.key("ops"))
        .run("PREPARE p AS SELECT count(*) FROM app.notes");
    for _ in 0..3 {
        assert_eq!(app.number("EXECUTE p"), 8);
        app.run("SAVEPOINT s; SELECT tenancy.select_tenant('acme')");
        assert_eq!(app.number("EXECUTE p"), 3);
        app.run("ROLLBACK TO s; SAVEPOINT t; SELECT tenancy.select_tenant('umbrella')");
        assert_eq!(app.number("EXECUTE p"), 5);
        app.run("ROLLBACK TO s");
    }
}

#[test]
fn d2_16_a_plan_of_maintenance_is_not_kept() {
    let world = World::new();
    world
        .db
        .admin()
        .run(&format!("GRANT tenancy_app TO {}", world.db.owner));
    let mut owner = world.db.owner();
    owner.run(
        "SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*) FROM app.notes",
    );
    for _ in 0..2 {
        owner.run("BEGIN; SELECT tenancy.maintenance('count')");
        assert_eq!(owner.number("EXECUTE p"), 15);
        owner.run("COMMIT").begin(world.key("alice"));
        assert_eq!(owner.number("EXECUTE p"), 3);
        owner.run("COMMIT").begin(world.key("ops"));
        assert_eq!(owner.number("EXECUTE p"), 8);
        owner.run("COMMIT").fails("EXECUTE p").code("55000");
    }
}
