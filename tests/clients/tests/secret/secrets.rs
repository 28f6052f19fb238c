//! set_secret(), secret() and remove_secret(): who may, which value is the nearest, and what is stored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;

use tenancy_client_tests::{Session, World};

/// The world in which alice (acme), bob (umbrella) and ops (globex) may use secrets, and anna runs acme.
fn world() -> World {
    let mut world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_project('acme', 'web'), tenancy.create_project('acme', 'shop');
         SELECT tenancy.define_role('globex', 'program', '{secrets:use}');
         SELECT tenancy.assign('acme/alice', 'program', 'acme'), tenancy.assign('umbrella/bob', 'program', 'umbrella');
         SELECT tenancy.create_user('acme', 'anna', role => 'tenant_admin'), tenancy.create_user('acme', 'max', role => 'manager')",
    );
    for user in ["anna", "max"] {
        let key = owner.text(&format!(
            "SELECT tenancy.issue_api_key(id, 'test') FROM tenancy.users WHERE slug = '{user}'"
        ));
        world.keys.insert(user, key);
    }
    world.learn();
    world
}

fn secret(session: &mut Session, name: &str) -> String {
    session.text(&format!("SELECT tenancy.secret('{name}')"))
}

#[test]
fn the_nearest_secret_is_used_and_partners_hand_on_only_what_they_say() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.set_secret('acme/web', 'project', 'of web'), tenancy.set_secret('acme', 'project', 'of acme'),
                tenancy.set_secret('acme', 'tenant', 'of acme'), tenancy.set_secret('acme', 'own', 'of acme'),
                tenancy.set_secret('globex', 'own', 'of globex', inherit => true),
                tenancy.set_secret('globex', 'handed', 'of globex', inherit => true),
                tenancy.set_secret('globex', 'kept', 'of globex'),
                tenancy.set_secret('platform', 'kept', 'of the platform', inherit => true),
                tenancy.set_secret('platform', 'handed', 'of the platform', inherit => true),
                tenancy.set_secret('platform', 'hidden', 'of the platform'),
                tenancy.set_secret('hooli', 'other', 'of hooli', inherit => true)",
    );
    let mut app = world.begin("alice");
    assert_eq!(secret(&mut app, "project"), "of acme");
    assert_eq!(secret(&mut app, "own"), "of acme");
    assert_eq!(secret(&mut app, "handed"), "of globex");
    // The partner's own does not hide what the platform hands on.
    assert_eq!(secret(&mut app, "kept"), "of the platform");
    for missing in ["hidden", "other", "nothing"] {
        app.fails_inside(&format!("SELECT tenancy.secret('{missing}')"))
            .code("42704")
            .hints("inherit => true");
    }
    app.run("SELECT tenancy.select_project('acme/web')");
    assert_eq!(secret(&mut app, "project"), "of web");
    assert_eq!(secret(&mut app, "tenant"), "of acme");
    assert_eq!(secret(&mut app, "handed"), "of globex");
    app.run("COMMIT");
    let mut other = world.begin("bob");
    assert_eq!(secret(&mut other, "own"), "of globex");
    other
        .fails_inside("SELECT tenancy.secret('tenant')")
        .code("42704");
    // Without a tenant, the partner's user has the partner's.
    let mut ops = world.begin("ops");
    assert_eq!(secret(&mut ops, "kept"), "of globex");
    ops.run("SELECT tenancy.select_tenant('acme')");
    assert_eq!(secret(&mut ops, "kept"), "of the platform");
}

#[test]
fn only_who_may_use_secrets_gets_one() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_secret('acme', 'smtp', 'hunter2')");
    assert_eq!(secret(&mut world.begin("alice"), "smtp"), "hunter2");
    // Whether or not there is one.
    for user in ["max", "eve"] {
        for name in ["smtp", "nothing"] {
            let refused = world
                .begin(user)
                .fails(&format!("SELECT tenancy.secret('{name}')"));
            refused.code("42501").says("secrets:use").hides("hunter2");
        }
    }
    world
        .db
        .app()
        .fails("SELECT tenancy.secret('smtp')")
        .code("55000");
    world
        .db
        .stranger()
        .fails("SELECT tenancy.secret('smtp')")
        .code("42501");
    let mut owner = world.db.owner();
    owner.run("BEGIN; SELECT tenancy.maintenance('secrets')");
    owner.fails("SELECT tenancy.secret('smtp')").code("55000");
    owner.run("ROLLBACK");
    // The table is out of reach.
    let mut app = world.begin("anna");
    app.fails_inside("SELECT * FROM tenancy_internal.sealed_secrets")
        .code("42501");
    // A suspended tenant has none, also in the transaction of its own.
    let mut alice = world.begin("alice");
    alice.run("COMMIT");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_status('acme', 'suspended')");
    alice.run("BEGIN");
    alice
        .fails(&format!(
            "SELECT tenancy.authenticate('{}')",
            world.key("alice")
        ))
        .code("42501");
    alice.run("ROLLBACK");
    let mut ops = world.begin("ops");
    ops.fails("SELECT tenancy.select_tenant('acme')");
}

#[test]
fn platform_users_use_tenants_secrets_only_while_elevated() {
    let world = World::elevated();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_secret('acme', 'smtp', 'hunter2')");
    let mut pat = world.begin("pat");
    pat.run("SELECT tenancy.select_tenant('acme')");
    assert_eq!(secret(&mut pat, "smtp"), "hunter2");
    pat.run("COMMIT");
    world
        .begin("pat")
        .run("SELECT tenancy.end_elevation(); COMMIT");
    world
        .begin("pat")
        .fails("SELECT tenancy.secret('smtp')")
        .code("42501");
}

#[test]
fn managers_of_secrets_set_them_in_their_scopes() {
    let world = world();
    let mut anna = world.begin("anna");
    assert_eq!(
        anna.number("SELECT tenancy.set_secret('acme', 'a', 'one')"),
        1
    );
    assert_eq!(
        anna.number("SELECT tenancy.set_secret('acme', 'a', 'two')"),
        2
    );
    anna.run("SELECT tenancy.set_secret('acme/web', 'b', 'three')");
    assert_eq!(secret(&mut anna, "a"), "two");
    for (scope, code) in [
        ("globex", "42704"),
        ("umbrella", "42704"),
        ("nobody", "42704"),
    ] {
        for call in [
            "set_secret('{}', 'a', 'hunter2')",
            "remove_secret('{}', 'a')",
        ] {
            let call = call.replace("{}", scope);
            anna.fails_inside(&format!("SELECT tenancy.{call}"))
                .code(code)
                .hides("hunter2");
        }
    }
    // Seen by those who may manage or use them, without values.
    let shown = "SELECT coalesce(string_agg(concat_ws(' ', scope, name, version), ', ' ORDER BY name), 'none') FROM tenancy.secrets";
    assert_eq!(anna.text(shown), "acme a 2, web b 1");
    let columns = anna.texts("SELECT s::text FROM tenancy.secrets s");
    assert!(!columns.join(" ").contains("two"), "{columns:?}");
    anna.run("SAVEPOINT s; SELECT tenancy.set_secret('acme', 'a', 'undone'); ROLLBACK TO s");
    assert_eq!(secret(&mut anna, "a"), "two");
    anna.run("SELECT tenancy.remove_secret('acme', 'a')");
    anna.fails_inside("SELECT tenancy.secret('a')")
        .code("42704");
    anna.fails_inside("SELECT tenancy.remove_secret('acme', 'a')")
        .code("42704");
    anna.run("COMMIT");
    assert_eq!(world.begin("max").text(shown), "none");
    assert_eq!(world.begin("eve").text(shown), "none");
    assert_eq!(world.db.app().text(shown), "none");
    let mut max = world.begin("max");
    max.fails("SELECT tenancy.set_secret('acme', 'a', 'hunter2')")
        .code("42501")
        .hides("hunter2");
    world
        .db
        .app()
        .fails(&format!(
            "SELECT tenancy.set_secret('{}'::uuid, 'a', 'hunter2')",
            world.id("acme")
        ))
        .code("55000");
}

#[test]
fn arguments_are_checked_and_no_value_is_repeated() {
    let world = world();
    let mut owner = world.db.owner();
    for (arguments, code) in [
        ("NULL, 'a', 'hunter2'", "22023"),
        ("'acme', NULL, 'hunter2'", "22023"),
        ("'acme', 'a', NULL", "22023"),
        ("'acme', 'a', 'hunter2', NULL", "22023"),
        ("'acme', '', 'hunter2'", "22023"),
        ("'acme', 'hunter2 and a space', 'a'", "22023"),
        ("'acme', repeat('hunter2', 20), 'a'", "22023"),
        ("'acme', 'a', ''", "22023"),
        ("'acme', 'a', repeat('hunter2', 10000)", "22023"),
        ("'acme/alice', 'a', 'hunter2'", "23514"),
    ] {
        let failure = owner.fails(&format!("SELECT tenancy.set_secret({arguments})"));
        assert!(!failure.message.contains("hunter2"), "{failure:?}");
        failure.code(code);
    }
    assert_eq!(
        owner.number("SELECT tenancy.set_secret('acme', repeat('x', 100), repeat('é', 32768))"),
        1
    );
    let mut app = world.begin("alice");
    assert_eq!(
        app.number("SELECT length(tenancy.secret(repeat('x', 100)))"),
        32768
    );
    app.fails_inside("SELECT tenancy.secret(NULL)")
        .code("22023");
    app.fails_inside("SELECT tenancy.secret('')").code("42704");
}

#[test]
fn rows_that_were_changed_or_swapped_do_not_open() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.set_secret('acme', 'a', 'of a'), tenancy.set_secret('acme', 'b', 'of b'), tenancy.set_secret('umbrella', 'a', 'of umbrella'),
                tenancy.set_secret('globex', 'kept', 'of globex')",
    );
    let mut admin = world.db.admin();
    let table = "tenancy_internal.sealed_secrets";
    for change in [
        format!("UPDATE {table} SET sealed = (SELECT o.sealed FROM {table} o WHERE o.name = 'b') WHERE name = 'a' AND scope_id = '{}'", world.id("acme")),
        format!("UPDATE {table} x SET (sealed, key_scope_id, key_id) = (SELECT o.sealed, o.key_scope_id, o.key_id FROM {table} o WHERE o.name = 'a' AND o.scope_id = '{}')
                  WHERE name = 'a' AND scope_id = '{}'", world.id("umbrella"), world.id("acme")),
        format!("UPDATE {table} SET version = 7 WHERE name = 'a'"),
        format!("UPDATE {table} SET sealed = set_byte(sealed, 40, 255 - get_byte(sealed, 40)) WHERE name = 'a'"),
        format!("UPDATE {table} SET sealed = substr(sealed, 1, 10) WHERE name = 'a'"),
        format!("UPDATE {table} SET sealed = '' WHERE name = 'a'"),
    ] {
        admin.run("CREATE TABLE kept AS TABLE tenancy_internal.sealed_secrets").run(&change);
        world.begin("alice").fails("SELECT tenancy.secret('a')").code("XX001");
        admin.run(&format!("DELETE FROM {table}; INSERT INTO {table} TABLE kept; DROP TABLE kept"));
    }
    // A partner's secret cannot be handed on by a change of its row.
    admin.run(&format!(
        "UPDATE {table} SET inherit = true WHERE name = 'kept'"
    ));
    world
        .begin("alice")
        .fails("SELECT tenancy.secret('kept')")
        .code("XX001");
    assert_eq!(secret(&mut world.begin("alice"), "a"), "of a");
    // What is stored is not the value.
    assert_eq!(
        admin.number(&format!(
            "SELECT count(*) FROM {table} WHERE position('of a'::bytea IN sealed) > 0"
        )),
        0
    );
}

#[test]
fn the_server_does_not_store_the_value() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_secret('acme', 'smtp', 'hunter2')");
    world
        .db
        .admin()
        .run(&format!("GRANT CREATE ON SCHEMA app TO {}", world.db.app));
    let mut app = world.begin("alice");
    app.fails_inside("CREATE MATERIALIZED VIEW app.m AS SELECT tenancy.secret('smtp')")
        .code("0A000");
    app.run("CREATE TABLE app.plain (a int)");
    for ddl in [
        "CREATE INDEX ON app.plain ((tenancy.secret('smtp')))",
        "CREATE TABLE app.generated (a text GENERATED ALWAYS AS (tenancy.secret('smtp')) STORED)",
    ] {
        app.fails_inside(ddl).code("42P17");
    }
    // Planning does not open it.
    let plan = app.plan("SELECT * FROM app.plain WHERE a::text = tenancy.secret('smtp')");
    assert!(!plan.contains("hunter2"), "{plan}");
}

#[test]
fn many_set_it_at_once_and_each_has_a_version() {
    let world = world();
    let versions: Vec<i64> = thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let mut owner = world.db.owner();
                scope.spawn(move || {
                    let set =
                        |k| format!("SELECT tenancy.set_secret('acme', 'busy', 'value {n} {k}')");
                    (0..10).map(|k| owner.number(&set(k))).collect::<Vec<_>>()
                })
            })
            .collect();
        all.into_iter()
            .flat_map(|all| all.join().unwrap())
            .collect()
    });
    let mut sorted = versions;
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=80).collect::<Vec<i64>>());
    assert!(secret(&mut world.begin("alice"), "busy").starts_with("value "));
    // One key was created, however many asked for it first.
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(DISTINCT key_id) FROM tenancy_internal.sealed_secrets"),
        1
    );
}

#[test]
fn the_audit_log_tells_who_and_never_what() {
    let world = world();
    world
        .begin("anna")
        .run("SELECT tenancy.set_secret('acme', 'smtp', 'hunter2'); COMMIT");
    // Use is recorded also if it is rolled back, and in a transaction that only reads.
    let mut app = world.db.app();
    for begin in ["BEGIN READ ONLY", "BEGIN"] {
        app.run(begin).login(world.key("alice"));
        assert_eq!(secret(&mut app, "smtp"), "hunter2");
        assert_eq!(secret(&mut app, "smtp"), "hunter2");
        app.run("ROLLBACK");
    }
    world
        .begin("anna")
        .run("SELECT tenancy.remove_secret('acme', 'smtp'); COMMIT");
    let mut admin = world.db.admin();
    let entries = admin.texts(
        "SELECT concat_ws(' ', action, target, (SELECT slug FROM tenancy.scopes s WHERE s.id = user_id), (SELECT slug FROM tenancy.scopes s WHERE s.id = tenant_id))
           FROM tenancy.audit_log WHERE action LIKE 'tenancy.secret.%' ORDER BY at",
    );
    assert_eq!(
        entries,
        [
            "tenancy.secret.set smtp anna acme",
            "tenancy.secret.used smtp alice acme",
            "tenancy.secret.removed smtp anna acme",
        ]
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.audit_log a WHERE a::text LIKE '%hunter2%'"),
        0
    );
}
