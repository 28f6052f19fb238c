//! Attempts to set a context that the server did not issue. ATTACKS D1, rows 1 to 3.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";
/// Texts that must never be printed.
const FORGED: &str = "v1.forged-by-hand-0123456789";

/// There is no context, and no row.
#[track_caller]
fn closed(session: &mut Session) {
    session
        .fails(COUNT)
        .code("55000")
        .says("a tenancy context is required")
        .hints("authenticate");
    assert_eq!(session.text("SELECT tenancy.user_id()"), "NULL");
    assert_eq!(session.text("SELECT tenancy.tenant_id()"), "NULL");
    assert_eq!(session.text("SELECT tenancy.context()"), "NULL");
}

#[test]
fn d1_1_set_creates_no_context() {
    let world = World::new();
    let mut app = world.db.app();
    for how in ["SET", "SET SESSION"] {
        let sql = format!("{how} tenancy.context = '{FORGED}'");
        app.fails(&sql)
            .code("42501")
            .hints("authenticate")
            .hides(FORGED);
    }
    for local in [false, true] {
        let sql = format!("SELECT set_config('tenancy.context', '{FORGED}', {local})");
        app.fails(&sql).code("42501").hides(FORGED);
    }
    app.run("BEGIN");
    app.fails(&format!("SET LOCAL tenancy.context = '{FORGED}'"))
        .code("42501")
        .hides(FORGED);
    app.run("ROLLBACK");
    closed(&mut app);
}

#[test]
fn d1_1_the_tenants_id_is_no_context() {
    let world = World::new();
    let mut app = world.db.app();
    for value in [
        world.id("acme").to_string(),
        world.id("alice").to_string(),
        "on".into(),
        "*".into(),
        "1".into(),
    ] {
        let refused = app
            .fails(&format!("SET tenancy.context = '{value}'"))
            .code("42501");
        assert!(value.len() < 3 || !refused.all.contains(&value));
    }
    closed(&mut app);
}

#[test]
fn d1_1b_one_select_that_sets_and_reads() {
    let world = World::new();
    let mut app = world.db.app();
    for setting in ["tenancy.context", "tenancy.ticket"] {
        let sql = format!(
            "WITH x AS MATERIALIZED (SELECT set_config('{setting}', '{FORGED}', true) AS v) \
             SELECT count(*) FROM x, app.notes WHERE x.v IS NOT NULL"
        );
        assert!(["42501", "55000"].contains(&app.fails(&sql).hides(FORGED).code.as_str()));
        app.begin(world.key("alice"));
        // In a transaction of hers she sees hers at most.
        let seen = app.simple_query(&sql);
        if let Ok(seen) = seen {
            let rows = seen.iter().find_map(|m| match m {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            assert_eq!(rows.as_deref(), Some("3"));
        }
        app.run("ROLLBACK");
    }
}

#[test]
fn d1_1c_startup_options() {
    let world = World::new();
    let refused = world
        .db
        .app_with(&format!("-c tenancy.context={FORGED}"))
        .err()
        .unwrap();
    refused.code("42501").hides(FORGED);
    world
        .db
        .app_with("-c tenancy.allow_bypassrls=on")
        .err()
        .unwrap()
        .code("42501");
    let mut empty = world
        .db
        .app_with("-c tenancy.missing_context=empty")
        .unwrap();
    assert_eq!(empty.number(COUNT), 0);
    closed(&mut world.db.app_with("-c tenancy.context=").unwrap());
    let mut garbage = world
        .db
        .app_with(&format!("-c tenancy.ticket={FORGED}"))
        .unwrap();
    garbage
        .fails(COUNT)
        .code("42501")
        .says("invalid credential")
        .hides(FORGED);
}

#[test]
fn d1_1c_a_good_ticket_in_the_startup_options_is_its_user_and_no_more() {
    let world = World::new();
    let ticket = world.ticket("alice", "5 minutes");
    let mut app = world
        .db
        .app_with(&format!("-c tenancy.ticket={ticket}"))
        .unwrap();
    assert_eq!(app.number(COUNT), 3);
    assert_eq!(
        app.text("SELECT tenancy.user_id()"),
        world.id("alice").to_string()
    );
    app.run("SET tenancy.ticket = ''");
    closed(&mut app);
    // RESET restores the value with which the connection started: the same ticket.
    app.run("RESET tenancy.ticket");
    assert_eq!(app.number(COUNT), 3);
}

#[test]
fn d1_1d_there_is_no_flag_that_bypasses() {
    let world = World::new();
    let mut app = world.db.app();
    app.fails("SET tenancy.allow_bypassrls = on").code("42501");
    assert_eq!(app.fails("SET tenancy.bypass = 'on'").code, "42602");
    assert_eq!(app.fails("SET tenancy.is_admin = 'true'").code, "42602");
    app.begin(world.key("alice"))
        .run("SET LOCAL row_security = off");
    app.fails(COUNT).code("42501");
}

#[test]
fn d1_2_roles_are_not_tenants() {
    let world = World::new();
    let mut app = world.db.app();
    for role in [
        "tenancy_admin",
        "tenancy_gateway",
        "postgres",
        &world.db.owner,
        &world.db.gateway,
    ] {
        app.fails(&format!("SET ROLE {role}")).code("42501");
        app.fails(&format!("SELECT set_config('role', '{role}', false)"))
            .code("42501");
        app.fails(&format!("SET SESSION AUTHORIZATION {role}"))
            .code("42501");
    }
    app.begin(world.key("alice"));
    for sql in [
        "SET LOCAL ROLE tenancy_app",
        "RESET ROLE",
        "SELECT set_config('role', 'tenancy_app', true)",
    ] {
        assert_eq!(app.run(sql).number(COUNT), 3);
    }
    app.run("COMMIT");
    closed(&mut app);
    closed(app.run("RESET ROLE"));
}

#[test]
fn d1_3_injected_sql_cannot_bind_another() {
    let world = World::new();
    let mut app = world.begin("alice");
    let bob = world.id("bob");
    for sql in [
        format!("SELECT tenancy.assume('{bob}')"),
        format!("SELECT tenancy.issue_ticket('{bob}')"),
        "SELECT tenancy.maintenance('because')".into(),
        "SELECT tenancy.rotate_signing_key()".into(),
        format!("SELECT tenancy_internal.issue_ticket('{bob}', 60, NULL)"),
        "SELECT tenancy_internal.rotate_signing_key(0)".into(),
        "SELECT hash FROM tenancy_internal.api_key_secrets".into(),
        "SELECT secret FROM tenancy_internal.signing_keys".into(),
        "SELECT * FROM tenancy.scopes".into(),
        format!("UPDATE tenancy.scopes SET status = 'deleted' WHERE id = '{bob}'"),
    ] {
        app.fails_inside(&sql).code("42501");
    }
    // What the managed may call does not know of bob either.
    for sql in [
        format!("SELECT tenancy.issue_api_key('{bob}', 'mine')"),
        format!("SELECT tenancy.set_status('{bob}', 'suspended')"),
    ] {
        app.fails_inside(&sql).code("42704");
    }
    assert_eq!(app.texts("SELECT slug FROM tenancy.users"), ["alice"]);
    for credential in [
        "",
        "alice",
        "tnk_",
        "' OR true --",
        &bob.to_string(),
        &format!("tnk_{}_x", bob.simple()),
    ] {
        app.run("SAVEPOINT s");
        app.try_login(credential)
            .unwrap_err()
            .code("42501")
            .says("invalid credential");
        app.run("ROLLBACK TO s");
    }
    assert_eq!(app.number(COUNT), 3);
}

#[test]
fn d1_3_a_second_principal_is_refused_in_one_transaction() {
    let world = World::new();
    let mut app = world.begin("alice");
    for other in ["bob", "ops", "eve"] {
        app.run("SAVEPOINT s");
        app.try_login(world.key(other))
            .unwrap_err()
            .code("42501")
            .says("another principal");
        app.run("ROLLBACK TO s");
    }
    assert_eq!(app.login(world.key("alice")).number(COUNT), 3);
    // Leaving does not make room for another.
    app.run("SELECT tenancy.release()");
    app.try_login(world.key("bob")).unwrap_err().code("42501");
    app.run("ROLLBACK");
    assert_eq!(app.begin(world.key("bob")).number(COUNT), 5);
}

#[test]
fn d1_3_the_gateway_too_holds_one_principal_a_transaction() {
    let world = World::new();
    let mut gateway = world.db.gateway();
    gateway
        .run("BEGIN")
        .run("SELECT tenancy.assume('acme/alice')");
    assert_eq!(gateway.number(COUNT), 3);
    gateway
        .fails_inside("SELECT tenancy.assume('umbrella/bob')")
        .code("42501")
        .says("another principal");
    gateway
        .run("COMMIT")
        .run("BEGIN")
        .run("SELECT tenancy.assume('umbrella/bob')");
    assert_eq!(gateway.number(COUNT), 5);
}

#[test]
fn d1_3_two_tickets_in_one_transaction() {
    let world = World::new();
    let (alice, bob) = (
        world.ticket("alice", "5 minutes"),
        world.ticket("bob", "5 minutes"),
    );
    let mut app = world.db.app();
    app.run("BEGIN")
        .run(&format!("SET LOCAL tenancy.ticket = '{alice}'"));
    assert_eq!(app.number(COUNT), 3);
    app.run(&format!("SET LOCAL tenancy.ticket = '{bob}'"));
    app.fails(COUNT)
        .code("42501")
        .says("another principal")
        .hides(&bob)
        .hides(&alice);
    app.run("ROLLBACK");
    closed(&mut app);
}

#[test]
fn d1_3_an_authenticated_context_precedes_the_ticket() {
    let world = World::new();
    let bob = world.ticket("bob", "5 minutes");
    let mut app = world.db.app();
    app.begin(world.key("alice"))
        .run(&format!("SET LOCAL tenancy.ticket = '{bob}'"));
    assert_eq!(app.number(COUNT), 3);
    assert_eq!(
        app.text("SELECT tenancy.context() ->> 'source'"),
        "authenticated"
    );
}
