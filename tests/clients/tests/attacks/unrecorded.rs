//! Attempts of an elevated user to avoid the audit log, or to stay elevated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, Until, World};

/// The recorded statements.
fn recorded(world: &World) -> Vec<String> {
    world.db.admin().texts(
        "SELECT details ->> 'statement' FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement' ORDER BY xid, id",
    )
}

/// Creates a function that reads notes and is declared parallel safe.
fn with_spy(session: &mut Session) {
    session.run(
        "CREATE FUNCTION pg_temp.spy() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS
         'BEGIN RETURN (SELECT count(*) FROM app.notes); END'",
    );
}

#[test]
fn what_a_function_reads_in_a_parallel_worker_is_on_record() {
    let world = World::elevated();
    let mut pat = world.begin("pat");
    with_spy(&mut pat);
    pat.always_parallel(Until::Transaction);
    assert_eq!(pat.number("SELECT pg_temp.spy()"), 15);
    pat.run("ROLLBACK");
    assert_eq!(recorded(&world), ["(SELECT count(*) FROM app.notes)"]);
}

#[test]
fn a_parallel_query_is_on_record_once_and_reads_all() {
    let world = World::elevated();
    let mut owner = world.db.owner();
    owner.run("ALTER TABLE app.notes SET (parallel_workers = 4)");
    let mut pat = world.begin("pat");
    pat.run(
        "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0",
    );
    pat.run("PREPARE count AS SELECT count(*) FROM app.notes");
    assert!(pat.plan("EXECUTE count").contains("Gather"));
    for _ in 0..3 {
        assert_eq!(pat.number("EXECUTE count"), 15);
    }
    pat.run("ROLLBACK");
    assert_eq!(recorded(&world).len(), 3);
}

/// The worker looks the elevation up for itself, and finds one that its leader did not have yet.
#[test]
fn a_worker_is_not_elevated_unrecorded_when_its_leader_is_not() {
    let world = World::elevated();
    world.db.admin().run("DELETE FROM tenancy.elevations");
    let mut other = world.begin("pat");
    other.run("SELECT tenancy.elevate('ticket 8', '1 hour')");
    let mut pat = world.begin("pat");
    other.run("COMMIT");
    pat.always_parallel(Until::Transaction);
    // Refused, or recorded.
    let read = pat.query_one("SELECT count(*) FROM app.notes", &[]);
    let rows = read.map_or(0, |row| row.get::<_, i64>(0));
    pat.run("ROLLBACK");
    assert!(
        rows == 0 || !recorded(&world).is_empty(),
        "{rows} rows, unrecorded"
    );
}

#[test]
fn a_query_continues_after_its_function_caught_an_error() {
    let world = World::elevated();
    let mut pat = world.begin("pat");
    pat.run(
        "CREATE FUNCTION pg_temp.catches() RETURNS boolean LANGUAGE plpgsql AS
         'BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN RETURN true; END'",
    );
    assert_eq!(
        pat.number("SELECT count(*) FROM app.notes WHERE pg_temp.catches()"),
        15
    );
}

#[test]
fn losing_the_right_to_elevate_ends_the_elevation() {
    let world = World::elevated();
    world.db.owner().run(&format!(
        "SELECT tenancy.define_role('platform', 'clerk', '{{data:read}}');
         SELECT tenancy.assign('{0}', 'clerk', 'platform'), tenancy.unassign('{0}', 'super_admin', 'platform')",
        world.id("pat")
    ));
    assert_eq!(
        world.begin("pat").number("SELECT count(*) FROM app.notes"),
        0
    );
}

#[test]
fn an_elevation_does_not_outlast_its_time_in_a_long_transaction() {
    let world = World::elevated();
    world
        .db
        .admin()
        .run("UPDATE tenancy.elevations SET expires_at = clock_timestamp() + interval '1 second'");
    let mut pat = world.begin("pat");
    assert_eq!(pat.number("SELECT count(*) FROM app.notes"), 15);
    pat.run("SELECT pg_sleep(1)");
    pat.fails("SELECT count(*) FROM app.notes").code("55000");
}

#[test]
fn the_record_has_the_users_address_and_not_the_gateways() {
    let world = World::new();
    let mut gateway = world.db.gateway();
    gateway.run(&format!(
        "BEGIN; SELECT tenancy.assume('{}', client => '192.0.2.7'); SELECT tenancy.audit('invoice.sent'); COMMIT",
        world.id("alice")
    ));
    assert_eq!(
        world
            .db
            .admin()
            .text("SELECT client::text FROM tenancy.audit_log WHERE action = 'invoice.sent'"),
        "192.0.2.7/32"
    );
}
