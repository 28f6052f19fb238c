//! Objects that bypass a policy: shadowed names, the owner's rights, grants, COPY, settings. ATTACKS D2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

/// A schema in which the application may make objects.
fn scratch(world: &World) {
    world.db.admin().run(&format!(
        "CREATE SCHEMA scratch AUTHORIZATION {}",
        world.db.app
    ));
}

#[test]
fn d2_14_a_temporary_table_in_the_place_of_a_tenancy_table() {
    let world = World::new();
    let mut app = world.db.app();
    app.run(
        "CREATE TEMP TABLE scopes AS SELECT gen_random_uuid() AS id; CREATE TEMP TABLE notes (id int);
         CREATE TEMP TABLE api_key_secrets AS SELECT 1 AS id; CREATE TEMP TABLE signing_keys AS SELECT 1 AS id;
         SET search_path = pg_temp, tenancy, app",
    );
    app.begin(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
    assert_eq!(
        app.text("SELECT tenancy.tenant_id()"),
        world.id("acme").to_string()
    );
    app.fails_inside("SELECT tenancy.select_tenant('umbrella')")
        .code("42704");
}

#[test]
fn d2_15_operators_and_functions_of_the_attackers_own() {
    let world = World::new();
    scratch(&world);
    let mut app = world.db.app();
    app.run(
        "CREATE FUNCTION scratch.yes(uuid, uuid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE OPERATOR scratch.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = scratch.yes);
         CREATE FUNCTION scratch.texts(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE OPERATOR scratch.= (LEFTARG = text, RIGHTARG = text, FUNCTION = scratch.texts);
         CREATE FUNCTION scratch.any(uuid, uuid[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE FUNCTION scratch.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''all''';
         CREATE FUNCTION scratch.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.now() - interval ''10 years''';
         CREATE FUNCTION scratch.can(text, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE FUNCTION scratch.tenant_id(text) RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
         CREATE TABLE scratch.scopes (id uuid); CREATE TABLE scratch.api_key_secrets (id uuid);
         SET search_path = scratch, pg_catalog",
    );
    app.begin(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
    app.run("COMMIT").begin(world.key("ops"));
    assert_eq!(app.number(COUNT), 8);
    app.run("SELECT tenancy.select_tenant('globex/acme')");
    assert_eq!(app.number(COUNT), 3);
    app.fails_inside("SELECT tenancy.select_tenant('soylent')")
        .code("42704");
    app.run("ROLLBACK")
        .try_login(
            "tnk_00000000000070008000000000000001_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        )
        .unwrap_err();
}

#[test]
fn d2_21_the_owner_is_under_force_too() {
    let world = World::new();
    let mut owner = world.db.owner();
    let foreign = format!(
        "INSERT INTO app.notes (tenant_id, body) VALUES ('{}', 'x')",
        world.id("acme")
    );
    for sql in [
        "SELECT * FROM app.notes",
        "UPDATE app.notes SET body = ''",
        "DELETE FROM app.notes",
        &foreign,
    ] {
        owner
            .fails(sql)
            .code("55000")
            .hints("tenancy.maintenance(reason)");
    }
    owner.run("BEGIN; SELECT tenancy.maintenance('a migration')");
    assert_eq!(owner.touched("UPDATE app.notes SET body = body || '!'"), 15);
    owner.run("COMMIT");
    owner.fails(COUNT).code("55000");
    let log =
        owner.texts("SELECT concat_ws('|', reason, role, login) FROM tenancy.maintenance_log");
    assert_eq!(log, [format!("a migration|{0}|{0}", world.db.owner)]);
}

#[test]
fn an_insert_without_a_context_reports_the_missing_context() {
    let world = World::new();
    for mut session in [world.db.app(), world.db.owner()] {
        session
            .fails("INSERT INTO app.notes (body) VALUES ('x')")
            .code("55000")
            .hints("authenticate");
    }
}

#[test]
fn d2_21_the_owners_view_and_definer_function_are_filtered() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE VIEW app.through AS SELECT * FROM app.notes; GRANT SELECT ON app.through TO tenancy_app;
         CREATE FUNCTION app.all_notes() RETURNS SETOF app.notes LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
             AS 'SELECT * FROM app.notes';
         CREATE FUNCTION app.dynamic() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
             AS $$ DECLARE n bigint; BEGIN EXECUTE 'SELECT count(*) FROM app.notes' INTO n; RETURN n; END $$",
    );
    let mut app = world.begin("alice");
    assert_eq!(app.number("SELECT count(*) FROM app.through"), 3);
    assert_eq!(app.number("SELECT count(*) FROM app.all_notes()"), 3);
    assert_eq!(app.number("SELECT app.dynamic()"), 3);
    app.run("COMMIT");
    app.fails("SELECT * FROM app.through").code("55000");
    app.fails("SELECT * FROM app.all_notes()").code("55000");
}

#[test]
fn d2_21_a_definer_function_of_the_owner_lends_no_right_to_maintenance_beyond_its_body() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.fails_inside("SELECT tenancy.maintenance('mine')")
        .code("42501");
    assert_eq!(app.number(COUNT), 3);
    // Nor can maintenance join a transaction that has a principal.
    world
        .db
        .admin()
        .run(&format!("GRANT tenancy_app TO {}", world.db.owner));
    let mut owner = world.db.owner();
    owner
        .begin(world.key("alice"))
        .fails_inside("SELECT tenancy.maintenance('mine')")
        .code("42501");
    owner.run("ROLLBACK; BEGIN; SELECT tenancy.maintenance('mine')");
    owner
        .try_login(world.key("alice"))
        .unwrap_err()
        .code("42501");
}

#[test]
fn d2_26_roles_that_bypass_row_security_get_no_context() {
    let world = World::new();
    let mut admin = world.db.admin();
    admin
        .try_login(world.key("alice"))
        .unwrap_err()
        .code("42501")
        .hints("tenancy.allow_bypassrls");
    admin
        .fails("SELECT tenancy.assume('acme/alice')")
        .code("42501");
    admin.run(&format!("ALTER ROLE {} BYPASSRLS", world.db.app));
    let mut app = world.db.app();
    app.try_login(world.key("alice"))
        .unwrap_err()
        .code("42501")
        .says("bypasses row security");
    admin
        .run("BEGIN; SET LOCAL tenancy.allow_bypassrls = on")
        .login(world.key("alice"));
    assert_eq!(
        admin.text("SELECT tenancy.user_id()"),
        world.id("alice").to_string()
    );
}

#[test]
fn d2_27_to_29_rights_that_reach_all_rows_are_taken_away() {
    let world = World::new();
    scratch(&world);
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.wide (id int PRIMARY KEY, tenant_id uuid NOT NULL); GRANT ALL ON app.wide TO tenancy_app, PUBLIC");
    owner.run("SELECT tenancy.protect('app.wide')");
    let mut app = world.begin("alice");
    for table in ["app.notes", "app.wide"] {
        app.fails_inside(&format!("TRUNCATE {table}")).code("42501");
        app.fails_inside(&format!(
            "CREATE TABLE scratch.probe (id bigint REFERENCES {table} (id))"
        ))
        .code("42501");
        app.run("CREATE OR REPLACE FUNCTION scratch.spy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'");
        app.fails_inside(&format!("CREATE TRIGGER spy BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION scratch.spy()")).code("42501");
        app.fails_inside(&format!(
            "CREATE RULE r AS ON INSERT TO {table} DO ALSO NOTHING"
        ))
        .code("42501");
        app.fails_inside(&format!("CREATE POLICY p ON {table} USING (true)"))
            .code("42501");
        app.fails_inside(&format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"))
            .code("42501");
    }
}

#[test]
fn d2_33_copy_is_filtered_or_refused() {
    let world = World::new();
    let mut app = world.begin("alice");
    let mut text = String::new();
    for (sql, lines) in [
        ("COPY app.notes TO STDOUT", 3),
        ("COPY (SELECT * FROM app.notes) TO STDOUT", 3),
    ] {
        text.clear();
        std::io::Read::read_to_string(&mut app.copy_out(sql).unwrap(), &mut text).unwrap();
        assert_eq!(text.lines().count(), lines, "{text}");
        assert!(text.lines().all(|line| line.contains("acme")));
    }
    app.fails_inside("COPY app.notes TO PROGRAM 'cat'")
        .code("42501");
    // What does not become an INSERT (see protect::copy_from).
    app.fails_inside("COPY app.notes (body) FROM STDIN WHERE body <> ''")
        .code("0A000");
    app.fails_inside("COPY app.notes (body) FROM '/etc/passwd'")
        .code("42501");
    app.run("ROLLBACK");
    app.fails("COPY app.notes TO STDOUT").code("55000");
}

#[test]
fn d2_34_row_security_off_is_an_error() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("SET LOCAL row_security = off")
        .fails(COUNT)
        .code("42501");
    world
        .db
        .owner()
        .run("SET row_security = off")
        .fails(COUNT)
        .code("42501");
}

#[test]
fn d2_36_a_plan_does_not_keep_the_role_or_the_tenant() {
    let world = World::new();
    world
        .db
        .admin()
        .run(&format!("GRANT {} TO {}", world.db.app, world.db.gateway));
    let mut gateway = world.db.gateway();
    gateway.run("SET plan_cache_mode = force_generic_plan");
    let p = gateway.prepare("SELECT count(*) FROM app.notes").unwrap();
    let count = |gateway: &mut Session| -> i64 { gateway.query_one(&p, &[]).unwrap().get(0) };
    for (user, rows) in [("acme/alice", 3), ("umbrella/bob", 5)] {
        gateway
            .run("BEGIN")
            .run(&format!("SELECT tenancy.assume('{user}')"));
        assert_eq!(count(&mut gateway), rows);
        gateway.run(&format!("SET LOCAL ROLE {}", world.db.app));
        assert_eq!(count(&mut gateway), rows);
        gateway.run("COMMIT");
    }
}
