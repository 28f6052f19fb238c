//! Tables in which rows without a tenant are everybody's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

fn world(key_type: &str) -> World {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(&format!(
        "CREATE TABLE app.roles (id int PRIMARY KEY, tenant {key_type}, name text)"
    ));
    let acme = match key_type {
        "uuid" => format!("'{}'", world.id("acme")),
        _ => "'7'".to_owned(),
    };
    let umbrella = match key_type {
        "uuid" => format!("'{}'", world.id("umbrella")),
        _ => "'8'".to_owned(),
    };
    if key_type != "uuid" {
        world.db.admin().run("SELECT tenancy.update_scope('acme', external_id => '7'), tenancy.update_scope('umbrella', external_id => '8')");
    }
    owner.run(&format!("INSERT INTO app.roles VALUES (1, NULL, 'admin'), (2, NULL, 'member'), (3, {acme}, 'of acme'), (4, {umbrella}, 'of umbrella')"));
    owner.run(&format!(
        "SELECT tenancy.protect('app.roles', 'tenant', shared_null => true, grants => '{{{}}}')",
        world.db.app
    ));
    world
}

#[test]
fn all_tenants_read_them_and_none_writes_them() {
    for key_type in ["uuid", "bigint", "integer", "text", "varchar(9)"] {
        let world = world(key_type);
        let mut app = world.begin("alice");
        let names = "SELECT name FROM app.roles ORDER BY id";
        assert_eq!(
            app.texts(names),
            ["admin", "member", "of acme"],
            "{key_type}"
        );
        for statement in [
            "UPDATE app.roles SET name = 'x' WHERE tenant IS NULL",
            "DELETE FROM app.roles WHERE tenant IS NULL",
            "UPDATE app.roles SET name = 'x' WHERE id IN (1, 4)",
        ] {
            assert_eq!(app.touched(statement), 0, "{statement}");
        }
        assert_eq!(
            app.texts("SELECT name FROM app.roles WHERE id < 3 FOR UPDATE"),
            Vec::<String>::new()
        );
        app.fails_inside("INSERT INTO app.roles VALUES (5, NULL, 'mine')")
            .code("42501");
        app.fails_inside("UPDATE app.roles SET tenant = NULL WHERE id = 3")
            .code("42501");
        app.fails_inside(
            "INSERT INTO app.roles VALUES (1, NULL, 'x') ON CONFLICT (id) DO UPDATE SET name = 'x'",
        )
        .code("42501");
        app.run("INSERT INTO app.roles (id, name) VALUES (6, 'own')");
        assert_eq!(
            app.number("SELECT count(*) FROM app.roles WHERE tenant IS NOT NULL"),
            2
        );
        app.run("ROLLBACK");
    }
}

#[test]
fn without_a_context_or_the_permission_nobody_reads_them() {
    let world = world("uuid");
    let mut app = world.db.app();
    app.fails("SELECT * FROM app.roles").code("55000");
    app.run("SET tenancy.missing_context = empty");
    assert_eq!(app.number("SELECT count(*) FROM app.roles"), 0);
    let mut admin = world.db.admin();
    admin.run("SELECT tenancy.create_user('acme', 'nobody', role => 'none')");
    let key = admin.text("SELECT tenancy.issue_api_key('acme/nobody', 'k')");
    app.run("RESET tenancy.missing_context");
    if app.try_login(&key).is_ok() {
        app.begin(&key);
        assert_eq!(app.number("SELECT count(*) FROM app.roles"), 0);
    }
}

#[test]
fn a_fleet_reads_them_and_the_platform_and_maintenance_write_them() {
    let world = World::elevated();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.roles (id int PRIMARY KEY, tenant_id uuid, name text); INSERT INTO app.roles VALUES (1, NULL, 'admin')");
    owner.run(&format!(
        "SELECT tenancy.protect('app.roles', shared_null => true, grants => '{{{}}}')",
        world.db.app
    ));
    owner.run("BEGIN; SELECT tenancy.maintenance('a role for all')");
    owner.run("INSERT INTO app.roles VALUES (2, NULL, 'member'); UPDATE app.roles SET name = 'root' WHERE id = 1; COMMIT");
    let mut fleet = world.begin("ops");
    assert_eq!(
        fleet.texts("SELECT name FROM app.roles ORDER BY id"),
        ["root", "member"]
    );
    fleet
        .fails_inside("INSERT INTO app.roles VALUES (3, NULL, 'x')")
        .code("55000")
        .hints("select_tenant");
    fleet.run("ROLLBACK");
    owner
        .fails("INSERT INTO app.roles VALUES (3, NULL, 'x')")
        .code("55000");
}

/// The plan of one tenant finds its own rows and everybody's by the index, and serves the next one too.
#[test]
fn one_plan_by_index_serves_one_tenant_after_the_other() {
    let world = world("uuid");
    let mut owner = world.db.owner();
    owner.run("BEGIN; SELECT tenancy.maintenance('rows'); INSERT INTO app.roles SELECT n, (SELECT tenant FROM app.roles WHERE id = 4), 'r' || n FROM generate_series(10, 20000) n; COMMIT");
    world.db.admin().run("ANALYZE app.roles");
    let mut app = world.begin("alice");
    let plan = app.plan("SELECT * FROM app.roles");
    assert!(
        plan.contains("BitmapOr") && plan.contains("Index Cond: (tenant IS NULL)"),
        "{plan}"
    );
    app.run("COMMIT; SET plan_cache_mode = force_generic_plan");
    let prepared = app.prepare("SELECT count(*) FROM app.roles").unwrap();
    for (user, rows) in [
        ("alice", 3),
        ("bob", 19994),
        ("alice", 3),
        ("ops", 19995),
        ("bob", 19994),
    ] {
        // The first execution for a fleet may be refused; it then discards the plan.
        let counted = (0..2).find_map(|_| {
            app.begin(world.key(user));
            let counted = app
                .query_one(&prepared, &[])
                .ok()
                .map(|row| row.get::<_, i64>(0));
            app.run("ROLLBACK");
            counted
        });
        assert_eq!(counted, Some(rows), "{user}");
    }
    // A condition of the caller's is evaluated after the policy, whatever it reveals.
    let alice = world.key("alice");
    app.begin(alice);
    app.run("SELECT 1 / (id - 15) FROM app.roles");
}

#[test]
fn it_contradicts_what_says_whose_a_row_is() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.t (id int, tenant_id uuid, author uuid, project uuid)");
    for option in [
        "shared => true",
        "owner_column => 'author'",
        "project_column => 'project'",
        "backfill => 'acme'",
    ] {
        owner
            .fails(&format!(
                "SELECT tenancy.protect('app.t', shared_null => true, {option})"
            ))
            .code("22023")
            .says("contradict");
    }
    owner.run("SELECT tenancy.protect('app.t', shared_null => true)");
    assert_eq!(owner.texts("SELECT shared_null::text || isolated FROM tenancy.protected_tables WHERE table_name = 'app.t'"), ["truetrue"]);
    owner.fails("SELECT tenancy.protect('app.t')").code("42710");
    owner.run("SELECT tenancy.unprotect('app.t')");
    owner.run("SELECT tenancy.protect('app.t')");
}
