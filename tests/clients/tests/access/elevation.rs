//! A super admin sees no tenant's rows before elevate(). After it, every read is in the audit log, by whatever statement and however
//! its transaction ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{thread, time::Duration};

use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

fn world() -> World {
    let mut world = World::new();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_user('platform', 'sue', role => 'super_admin')");
    let key = owner.text("SELECT tenancy.issue_api_key('sue', 'test')");
    world.keys.insert("sue", key);
    world.learn();
    world
}

fn elevate(world: &World) {
    world
        .begin("sue")
        .run("SELECT tenancy.elevate('ticket 7')")
        .run("COMMIT");
}

/// The number of recorded statements.
fn recorded(world: &World) -> i64 {
    world.db.admin().number(
        "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement'",
    )
}

#[test]
fn nothing_before_and_nothing_in_the_same_transaction() {
    let world = world();
    let mut sue = world.begin("sue");
    assert_eq!(sue.number(COUNT), 0);
    sue.run("SAVEPOINT s; SELECT tenancy.elevate('now'); RELEASE s");
    for _ in 0..2 {
        assert_eq!(sue.number(COUNT), 0);
        assert_eq!(sue.touched("UPDATE app.notes SET body = 'x'"), 0);
    }
    let acme = world.id("acme");
    assert_eq!(
        sue.text(&format!(
            "SELECT tenancy.has_permission('data:read', '{acme}'::uuid)"
        )),
        "f"
    );
    sue.fails_inside(&format!("SELECT tenancy.select_tenant('{acme}'::uuid)"))
        .code("42704");
    // Rolled back, it never was.
    sue.run("ROLLBACK");
    assert_eq!(world.begin("sue").number(COUNT), 0);
    // All at once in one message, too.
    let mut at_once = world.db.app();
    at_once.begin(world.key("sue"));
    assert_eq!(
        at_once
            .texts(&format!("SELECT tenancy.elevate('now'); {COUNT}"))
            .last()
            .unwrap(),
        "0"
    );
    at_once.run("ROLLBACK");
    // A transaction that began before it was committed stays without, as long as it lasts.
    let mut early = world.begin("sue");
    assert_eq!(early.number(COUNT), 0);
    elevate(&world);
    assert_eq!(early.number(COUNT), 0);
    early.run("COMMIT");
    assert_eq!(world.begin("sue").number(COUNT), 15);
    assert_eq!(recorded(&world), 1);
}

#[test]
fn users_without_the_permission_cannot_elevate() {
    let world = world();
    for user in ["alice", "ops", "boss", "pat"] {
        let code = world
            .begin(user)
            .fails("SELECT tenancy.elevate('why')")
            .code;
        assert_eq!(code, "42704", "{user}");
    }
    world
        .db
        .app()
        .fails("SELECT tenancy.elevate('why')")
        .code("55000");
    world
        .db
        .owner()
        .fails("SELECT tenancy.elevate('why')")
        .code("42501");
    for bad in [
        "NULL",
        "''",
        "'  '",
        "'why', '0'",
        "'why', '2 days'",
        "'why', NULL",
    ] {
        world
            .begin("sue")
            .fails(&format!("SELECT tenancy.elevate({bad})"))
            .code("22023");
    }
    // A role with the permission, not at the platform, is not enough.
    world.db.owner().run("SELECT tenancy.define_role('globex', 'climber', '{platform:elevate,data:read}'), tenancy.create_user('globex', 'cliff', role => 'climber')");
    let key = world
        .db
        .owner()
        .text("SELECT tenancy.issue_api_key('globex/cliff', 'k')");
    world
        .db
        .app()
        .begin(&key)
        .fails("SELECT tenancy.elevate('why')")
        .code("42704");
}

#[test]
fn whatever_reads_is_on_record_and_stays_there() {
    let world = world();
    world.db.owner().run(
        "CREATE FUNCTION app.total() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM app.notes); END $$;
         CREATE VIEW app.seen WITH (security_invoker) AS SELECT * FROM app.notes; GRANT SELECT ON app.seen TO tenancy_app;
         GRANT TEMPORARY ON DATABASE CURRENT_CATALOG TO tenancy_app".replace("CURRENT_CATALOG", &world.db.name).as_str(),
    );
    elevate(&world);
    let mut before = recorded(&world);
    for (note, read) in [
        (
            "plain",
            "SELECT count(*) FROM app.notes WHERE body <> 'secret 4711'",
        ),
        ("function", "SELECT app.total()"),
        ("view", "SELECT count(*) FROM app.seen"),
        (
            "lateral",
            "SELECT n FROM generate_series(1, 1) g, LATERAL (SELECT count(*) AS n FROM app.notes) l",
        ),
        ("empty", "SELECT count(*) FROM app.notes WHERE false"),
        ("copy", "COPY (SELECT body FROM app.notes) TO STDOUT"),
        (
            "cursor",
            "DECLARE c CURSOR FOR SELECT body FROM app.notes; FETCH ALL FROM c",
        ),
        (
            "temporary",
            "CREATE TEMP TABLE mine AS SELECT body FROM app.notes",
        ),
        (
            "block",
            "DO $$ BEGIN PERFORM count(*) FROM app.notes; END $$",
        ),
        ("explain", "EXPLAIN ANALYZE SELECT body FROM app.notes"),
        (
            "prepared",
            "PREPARE p AS SELECT body FROM app.notes; EXECUTE p; DEALLOCATE p",
        ),
        (
            "undone",
            "SAVEPOINT s; SELECT body FROM app.notes; ROLLBACK TO s",
        ),
    ] {
        let mut sue = world.begin("sue");
        if note == "copy" {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut sue.copy_out(read).unwrap(), &mut text).unwrap();
            assert_eq!(text.lines().count(), 15);
        } else {
            sue.run(read);
        }
        // On record before the transaction ends, and after it was rolled back.
        let after = recorded(&world);
        assert!(after > before, "{note}: not on record");
        sue.run("ROLLBACK");
        assert_eq!(recorded(&world), after, "{note}: on record no more");
        before = after;
    }
    // Read-only, and not committed.
    let mut sue = world.db.app();
    sue.run("BEGIN READ ONLY").login(world.key("sue"));
    assert_eq!(sue.number(COUNT), 15);
    drop(sue);
    assert_eq!(recorded(&world), before + 1);
    let mut admin = world.db.admin();
    let text = admin.texts("SELECT details ->> 'statement' FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement'").join("\n");
    assert!(
        text.contains("SELECT count(*) FROM app.notes WHERE body <>") && !text.contains("4711"),
        "{text}"
    );
    assert_eq!(
        admin.text("SELECT bool_and(user_id = (SELECT id FROM tenancy.scopes WHERE slug = 'sue') AND details ->> 'reason' = 'ticket 7' AND details -> 'tables' ? 'app.notes') FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement'"),
        "t"
    );
}

#[test]
fn a_statement_that_began_before_the_context_reads_nothing() {
    let world = world();
    elevate(&world);
    let before = recorded(&world);
    let key = world.key("sue");
    let mut app = world.db.app();
    for sql in [
        "SELECT tenancy.authenticate('$') IS NOT NULL, (SELECT count(*) FROM app.notes)",
        "SELECT count(*) FROM (SELECT tenancy.authenticate('$') AS me OFFSET 0) a, app.notes n",
        "WITH me AS MATERIALIZED (SELECT tenancy.authenticate('$') AS id) SELECT count(*) FROM me, app.notes n WHERE me.id IS NOT NULL",
    ] {
        app.run("BEGIN");
        let failed = app.batch_execute(&sql.replace('$', key)).is_err();
        let now = recorded(&world);
        app.run("ROLLBACK");
        assert!(failed || now > before, "{sql}");
    }
    // A cursor that was opened without a context, too.
    app.run("SET tenancy.missing_context = empty; BEGIN; DECLARE c CURSOR FOR SELECT body FROM app.notes").login(key);
    if let Ok(messages) = app.simple_query("FETCH ALL FROM c") {
        let rows = messages
            .iter()
            .filter(|message| matches!(message, postgres::SimpleQueryMessage::Row(_)))
            .count();
        assert!(
            rows == 0 || recorded(&world) > before,
            "{rows} rows, and no record"
        );
    }
}

fn is_over(session: &mut Session) {
    assert_eq!(session.number(COUNT), 0);
    assert_eq!(
        session
            .text("SELECT tenancy.context() -> 'elevation' IN (NULL, 'null')")
            .replace("NULL", "t"),
        "t"
    );
}

#[test]
fn it_ends_on_open_connections_too() {
    let world = world();
    let mut open = world.db.app();
    open.login_session(world.key("sue"));
    assert_eq!(open.number(COUNT), 0);
    elevate(&world);
    assert_eq!(open.number(COUNT), 15);
    // Ended by another session of hers.
    world
        .begin("sue")
        .run("SELECT tenancy.end_elevation()")
        .run("COMMIT");
    is_over(&mut open);
    // By itself.
    world
        .begin("sue")
        .run("SELECT tenancy.elevate('short', '2 seconds')")
        .run("COMMIT");
    assert_eq!(open.number(COUNT), 15);
    thread::sleep(Duration::from_millis(2100));
    is_over(&mut open);
    // With the role, and with the user.
    elevate(&world);
    assert_eq!(open.number(COUNT), 15);
    world
        .db
        .owner()
        .run("SELECT tenancy.unassign('sue', 'super_admin', 'platform')");
    is_over(&mut open);
    world.db.owner().run("SELECT tenancy.assign('sue', 'super_admin', 'platform'), tenancy.set_status('sue', 'suspended')");
    open.fails(COUNT).code("42501");
}

#[test]
fn it_is_one_users_and_writes_to_one_tenant() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.create_user('platform', 'sam', role => 'super_admin')");
    let sam = world
        .db
        .owner()
        .text("SELECT tenancy.issue_api_key('sam', 'k')");
    elevate(&world);
    assert_eq!(world.db.app().begin(&sam).number(COUNT), 0);
    let mut sue = world.begin("sue");
    for write in [
        "INSERT INTO app.notes (body) VALUES ('x')",
        "UPDATE app.notes SET body = 'x'",
        "DELETE FROM app.notes",
    ] {
        sue.fails_inside(write).code("55000");
    }
    sue.run("SELECT tenancy.select_tenant('acme')");
    assert_eq!(sue.number(COUNT), 3);
    assert_eq!(sue.touched("UPDATE app.notes SET body = body"), 3);
    sue.fails_inside(&format!(
        "UPDATE app.notes SET tenant_id = '{}'",
        world.id("umbrella")
    ))
    .code("42501");
    // A partner's rows and the platform's are not tenants': they are read, and not written.
    sue.fails_inside("SELECT tenancy.select_tenant('globex')")
        .code("42704");
}
