//! Settings of a session that change how the server reads and writes texts: tenancy finds the same in the catalogs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session, World};

const SETTINGS: [&str; 15] = [
    "quote_all_identifiers = on",
    "standard_conforming_strings = off",
    "backslash_quote = on",
    "transform_null_equals = on",
    "array_nulls = off",
    "bytea_output = escape",
    "extra_float_digits = -15",
    "xmlbinary = hex",
    "DateStyle = 'German, MDY'",
    "DateStyle = 'SQL, YMD'",
    "IntervalStyle = sql_standard",
    "TimeZone = 'Pacific/Kiritimati'",
    "search_path = ''",
    "search_path = tenancy, app, pg_catalog",
    "plpgsql.extra_errors = 'all'",
];

/// What protect() and its sisters answer, as an application's owner.
fn answers(owner: &mut Session) -> Vec<String> {
    let mut found = Vec::new();
    let mut ask = |owner: &mut Session, sql: &str| {
        found.push(format!("-- {sql}"));
        found.extend(owner.texts(sql));
    };
    owner.run(
        "CREATE TABLE app.things (id int, tenant_id uuid, \"Author\" uuid, project_id uuid DEFAULT '00000000-0000-7000-8000-000000000000',
             body text DEFAULT E'a\\\\b', PRIMARY KEY (id, tenant_id)) PARTITION BY LIST (id);
         CREATE TABLE app.things_1 PARTITION OF app.things FOR VALUES IN (1);
         CREATE POLICY narrow ON app.things USING (body <> E'\\\\')",
    );
    let steps = "SELECT concat_ws(' | ', kind, statement, note) FROM tenancy.";
    let protect = "protect('app.things', owner_column => 'Author', project_column => 'project_id'";
    ask(owner, &format!("{steps}{protect}, dry_run => true)"));
    ask(owner, &format!("{steps}{protect})"));
    ask(owner, &format!("{steps}{protect})"));
    // A later part, and a policy that comes and goes.
    owner.run("CREATE TABLE app.things_2 PARTITION OF app.things FOR VALUES IN (2); BEGIN; SELECT tenancy.maintenance('test'); DROP POLICY narrow ON app.things; COMMIT");
    ask(
        owner,
        "SELECT concat_ws(' ', isolated, partitions, key_type, owner_column) FROM tenancy.protected_tables WHERE tenant_column = 'tenant_id' AND partitions > 0",
    );
    ask(
        owner,
        "SELECT concat_ws(' | ', question, answer, detail) FROM tenancy.explain_access('app.things', 'acme/alice', role => NULL)",
    );
    ask(
        owner,
        "SELECT count(*) FROM tenancy.unknown_keys('app.things')",
    );
    ask(
        owner,
        "SELECT target FROM tenancy.audit_log WHERE action IN ('tenancy.protected', 'tenancy.unknown_keys') ORDER BY id DESC LIMIT 2",
    );
    ask(owner, &format!("{steps}unprotect('app.things')"));
    owner.run("DROP TABLE app.things");
    for (key, type_name) in [("bigint", "int8"), ("text", "varchar(40)")] {
        owner.run(&format!(
            "CREATE TABLE app.keyed (tenant_id {type_name} NOT NULL)"
        ));
        ask(
            owner,
            &format!("{steps}protect('app.keyed') WHERE '{key}' <> ''"),
        );
        owner.run("DROP TABLE app.keyed");
    }
    found
}

#[test]
fn protect_answers_the_same_with_any_setting() {
    let world = World::new();
    let usual = answers(&mut world.db.owner());
    assert!(
        usual.iter().any(|line| line.starts_with("do | ")),
        "{usual:?}"
    );
    for setting in SETTINGS {
        let mut owner = world.db.owner();
        owner.run(&format!("SET {setting}"));
        let name = setting.split(' ').next().unwrap();
        let before = owner.text(&format!("SHOW {name}"));
        for (answer, usual) in answers(&mut owner).iter().zip(&usual) {
            assert_eq!(answer, usual, "{setting}");
        }
        assert_eq!(owner.text(&format!("SHOW {name}")), before);
    }
}

#[test]
fn an_application_reads_and_writes_with_any_setting() {
    let world = World::new();
    for setting in SETTINGS {
        // A connection that has not looked at the table yet.
        let mut app = world.db.app();
        app.run(&format!("SET {setting}")).begin(world.key("bob"));
        app.run("INSERT INTO app.notes (body) VALUES ('mine')");
        assert_eq!(app.number("SELECT count(*) FROM app.notes"), 6, "{setting}");
        assert_eq!(
            app.touched("UPDATE app.notes SET body = body || '!'"),
            6,
            "{setting}"
        );
        app.run("ROLLBACK");
        app.fails("SELECT count(*) FROM app.notes").code("55000");
        // Not closed for its owner, who has no context.
        let mut owner = world.db.owner();
        owner.run(&format!("SET {setting}"));
        owner.fails("SELECT count(*) FROM app.notes").code("55000");
        assert_eq!(
            owner.text("SELECT isolated FROM tenancy.protected_tables"),
            "t",
            "{setting}"
        );
    }
}

#[test]
fn an_altered_policy_is_found_with_any_setting() {
    let world = World::new();
    let mut admin = world.db.admin();
    admin.run("SET session_replication_role = replica; ALTER POLICY tenancy_guard ON app.notes USING (true OR tenancy.can('data:read', tenant_id))");
    for setting in SETTINGS {
        let mut app = world.db.app();
        app.run(&format!("SET {setting}")).begin(world.key("bob"));
        app.fails("SELECT count(*) FROM app.notes")
            .says("not isolated");
        let mut owner = world.db.owner();
        owner.run(&format!("SET {setting}"));
        assert_eq!(
            owner.text("SELECT isolated FROM tenancy.protected_tables"),
            "f",
            "{setting}"
        );
    }
}

#[test]
fn a_database_with_all_of_them_has_tenancy() {
    let db = Db::new();
    db.admin().run("DROP EXTENSION tenancy CASCADE");
    for setting in SETTINGS {
        db.admin()
            .run(&format!("ALTER DATABASE {} SET {setting}", db.name));
    }
    let mut admin = db.admin();
    admin.run("CREATE EXTENSION tenancy");
    db.grant_roles(&mut admin);
    let world = World::bare_in(db).with_notes();
    assert_eq!(
        world.begin("bob").number("SELECT count(*) FROM app.notes"),
        5
    );
    world
        .db
        .app()
        .fails("SELECT count(*) FROM app.notes")
        .code("55000");
}

#[test]
fn a_month_has_the_same_bounds_with_any_setting() {
    let db = Db::new();
    for (n, setting) in (1..).zip(SETTINGS) {
        let mut admin = db.admin();
        admin.run(&format!("SET {setting}"));
        admin.run(&format!(
            "SELECT tenancy_internal.make_audit_partition(make_date({}, 12, 1))",
            2040 + n
        ));
        admin.run("RESET ALL; SET TimeZone = 'UTC'");
        let bounds = admin.text(&format!(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'audit_log_{}_12'",
            2040 + n
        ));
        let expected = format!(
            "FOR VALUES FROM ('{}-12-01 00:00:00+00') TO ('{}-01-01 00:00:00+00')",
            2040 + n,
            2041 + n
        );
        assert_eq!(bounds, expected, "{setting}");
    }
}
