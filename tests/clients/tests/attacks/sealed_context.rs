//! Attempts to read the sealed context and set it again, or to leave something behind for the sessions of a role that many
//! tenants share. ATTACKS D1, rows 4, 12 and 13.
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
fn d1_4_the_token_is_nowhere_to_be_read() {
    let world = World::new();
    let ticket = world.ticket("bob", "5 minutes");
    let mut app = world.db.app();
    app.login_session(world.key("alice"))
        .run(&format!("SET tenancy.ticket = '{ticket}'"));
    for name in ["tenancy.context", "tenancy.ticket"] {
        assert_eq!(app.text(&format!("SHOW {name}")), "(sealed)");
        assert_eq!(
            app.text(&format!("SELECT current_setting('{name}')")),
            "(sealed)"
        );
        let listed = app.texts(&format!("SELECT concat_ws(' ', setting, boot_val, reset_val) FROM pg_settings WHERE name = '{name}'"));
        assert!(
            listed
                .iter()
                .all(|text| text.trim().is_empty() || text == "(sealed)"),
            "{listed:?}"
        );
    }
    let everything = app
        .texts("SELECT to_jsonb(s)::text FROM pg_settings s")
        .join("\n");
    assert!(!everything.contains(&ticket));
    // The shown value cannot be set again, in this session or another.
    app.fails("SET tenancy.context = '(sealed)'").code("42501");
    let mut other = world.db.app();
    other
        .fails("SELECT set_config('tenancy.context', '(sealed)', false)")
        .code("42501");
    closed(&mut other);
}

#[test]
fn d1_4_functions_and_roles_cannot_keep_the_current_value() {
    let world = World::new();
    let mut admin = world.db.admin();
    admin.run(&format!(
        "CREATE SCHEMA scratch AUTHORIZATION {}",
        world.db.app
    ));
    let ticket = world.ticket("alice", "5 minutes");
    let mut app = world.db.app();
    app.login_session(world.key("alice"))
        .run(&format!("SET tenancy.ticket = '{ticket}'"));
    app.fails("CREATE FUNCTION scratch.f() RETURNS bigint LANGUAGE sql SET tenancy.context FROM CURRENT RETURN 1").code("42501");
    app.fails(&format!("CREATE FUNCTION scratch.f() RETURNS bigint LANGUAGE sql SET tenancy.context = '{FORGED}' RETURN 1"))
        .code("42501")
        .hides(FORGED);
    // Every role could read it in pg_proc or pg_db_role_setting.
    app.fails("CREATE FUNCTION scratch.g() RETURNS bigint LANGUAGE sql SET tenancy.ticket FROM CURRENT AS 'SELECT 1'")
        .code("42501");
    admin
        .fails(&format!(
            "ALTER DATABASE {} SET tenancy.ticket = '{ticket}'",
            world.db.name
        ))
        .code("42501")
        .hides(&ticket);
    for statement in [
        format!(
            "ALTER ROLE {} SET tenancy.context = '{FORGED}'",
            world.db.app
        ),
        format!(
            "ALTER DATABASE {} SET tenancy.context = '{FORGED}'",
            world.db.name
        ),
    ] {
        admin.fails(&statement).code("42501").hides(FORGED);
    }
    closed(&mut world.db.app());
}

#[test]
fn d1_4_a_function_that_clears_the_context_gives_it_back() {
    let world = World::new();
    world.db.admin().run(&format!(
        "CREATE SCHEMA scratch AUTHORIZATION {}",
        world.db.app
    ));
    let mut app = world.db.app();
    app.run("CREATE FUNCTION scratch.who() RETURNS uuid LANGUAGE plpgsql SET tenancy.context = '' AS 'BEGIN RETURN tenancy.user_id(); END'");
    app.begin(world.key("alice"));
    assert_eq!(app.text("SELECT scratch.who()"), "NULL");
    assert_eq!(app.number(COUNT), 3);
    app.run("COMMIT");
    closed(&mut app);
}

#[test]
fn d1_12_and_13_a_shared_role_cannot_alter_itself() {
    let world = World::new();
    let role = &world.db.app;
    let mut app = world.db.app();
    for sql in [
        "ALTER ROLE CURRENT_USER SET search_path = scratch".to_owned(),
        format!("ALTER ROLE {role} SET tenancy.missing_context = 'empty'"),
        format!(
            "ALTER ROLE {role} IN DATABASE {} SET search_path = scratch",
            world.db.name
        ),
        format!("ALTER ROLE {role} RESET ALL"),
        "ALTER ROLE SESSION_USER SET statement_timeout = 1".to_owned(),
        format!("ALTER ROLE {role} PASSWORD 'mine'"),
        format!("ALTER USER {role} WITH ENCRYPTED PASSWORD 'mine'"),
        "DO $$ BEGIN EXECUTE 'ALTER ROLE CURRENT_USER PASSWORD ''mine'''; END $$".to_owned(),
    ] {
        app.fails(&sql).code("42501");
        app.begin(world.key("alice")).fails(&sql).code("42501");
        app.run("ROLLBACK");
    }
    assert_eq!(world.db.admin().number(&format!("SELECT count(*) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = setrole WHERE rolname = '{role}'")), 0);
    world
        .db
        .admin()
        .run(&format!("ALTER ROLE {role} SET work_mem = '8MB'"));
}
