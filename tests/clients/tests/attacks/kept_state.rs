//! Attacks in two steps: widening a narrowed context, plans that outlive a context, grants
//! and triggers made before or after protect(), writes that skip triggers, SECURITY DEFINER functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

const COUNT: &str = "SELECT count(*) FROM app.notes";

#[test]
fn clearing_the_setting_does_not_widen_a_narrowed_ticket() {
    let world = World::new();
    let ticket = world.ticket("ops", "5 minutes");
    let mut app = world.db.app();
    app.run(&format!("SET tenancy.ticket = '{ticket}'"));
    assert_eq!(app.number(COUNT), 8);
    app.run("BEGIN; SELECT tenancy.select_tenant('acme')");
    assert_eq!(app.number(COUNT), 3);
    app.run("SAVEPOINT s; RESET tenancy.context");
    app.fails_inside(COUNT).code("42501");
    app.run("ROLLBACK");
    // The next transaction begins with the whole ticket.
    assert_eq!(app.number(COUNT), 8);
    // Rollback to a savepoint restores the context from before the narrowing.
    app.run("BEGIN; SAVEPOINT s; SELECT tenancy.select_tenant('acme'); ROLLBACK TO s");
    assert_eq!(app.number(COUNT), 8);
}

#[test]
fn plans_made_while_narrowed_do_not_outlive_it() {
    let world = World::new();
    let mut app = world.db.app();
    app.login_session(world.key("ops"));
    app.run(&format!("PREPARE s AS {COUNT}"));
    for _ in 0..3 {
        assert_eq!(app.number("EXECUTE s"), 8);
        app.run("BEGIN; SELECT tenancy.select_tenant('acme')");
        assert_eq!(app.number("EXECUTE s"), 3);
        app.run("COMMIT");
        assert_eq!(app.number("EXECUTE s"), 8);
        app.run("BEGIN; SAVEPOINT a; SELECT tenancy.select_tenant('acme')");
        assert_eq!(app.number("EXECUTE s"), 3);
        app.run("ROLLBACK TO a");
        assert_eq!(app.number("EXECUTE s"), 8);
        app.run("COMMIT");
    }
}

/// A connection that serves principals of both kinds in turn stays right, whichever plans it keeps.
#[test]
fn tenants_and_fleets_in_turn_on_one_connection() {
    let world = World::new();
    let mut app = world.db.app();
    app.run("SET plan_cache_mode = force_generic_plan");
    let s = app.prepare(COUNT).unwrap();
    let name = app.text("SELECT name FROM pg_prepared_statements WHERE NOT from_sql");
    for round in 0..30 {
        let (user, rows) = [("alice", 3), ("ops", 8), ("alice", 3)][round % 3];
        app.begin(world.key(user));
        let found: i64 = app.query_one(&s, &[]).unwrap().get(0);
        assert_eq!(found, rows);
        app.run("COMMIT");
    }
    // After a while of one tenant alone its plans are made for it.
    for _ in 0..12 {
        app.begin(world.key("alice"))
            .run(&format!("EXECUTE \"{name}\"; COMMIT"));
    }
    app.begin(world.key("alice"));
    let plan = app.texts(&format!("EXPLAIN EXECUTE \"{name}\"")).join("\n");
    assert!(plan.contains("tenant_id = $"), "{plan}");
}

#[test]
fn d2_27_28_a_later_grant_of_everything_opens_nothing() {
    let world = World::new();
    world
        .db
        .admin()
        .run("GRANT ALL ON ALL TABLES IN SCHEMA app TO tenancy_app; GRANT CREATE ON SCHEMA app TO tenancy_app");
    let mut app = world.begin("alice");
    app.fails_inside("TRUNCATE app.notes").code("42501");
    app.run("COMMIT");
    world
        .db
        .admin()
        .run("CREATE TABLE app.cat (id uuid PRIMARY KEY); GRANT ALL ON app.cat TO tenancy_app; ALTER TABLE app.notes ADD cat uuid REFERENCES app.cat");
    app.begin(world.key("alice"));
    app.fails_inside("TRUNCATE app.cat CASCADE").code("42501");
    // Nor as another role that it may become, nor by a definer function of its own from there.
    app.run("CREATE FUNCTION app.empty() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'TRUNCATE app.notes'; COMMIT");
    let helper = format!("{}_helper", world.db.app);
    world.db.admin().run(&format!(
        "CREATE ROLE {helper}; GRANT {helper} TO {}; GRANT ALL ON app.notes TO {helper}; GRANT USAGE ON SCHEMA app TO {helper}",
        world.db.app
    ));
    app.run(&format!("SET ROLE {helper}"));
    app.fails("TRUNCATE app.notes").code("42501");
    app.fails("SELECT app.empty()").code("42501");
    app.run("RESET ROLE");
    world
        .db
        .admin()
        .run(&format!("DROP OWNED BY {helper}; DROP ROLE {helper}"));
    app.begin(world.key("alice"));
    app.run(
        "CREATE FUNCTION app.spy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    );
    app.fails_inside(
        "CREATE TRIGGER spy BEFORE INSERT ON app.notes FOR EACH ROW EXECUTE FUNCTION app.spy()",
    )
    .code("42501");
    // Its own, unprotected tables are its own.
    app.run("CREATE TABLE app.mine (id int); TRUNCATE app.mine");
}

#[test]
fn a_backfill_runs_the_owners_triggers_as_the_owner() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.trap (id int, tenant_id uuid); INSERT INTO app.trap VALUES (1);
         CREATE TABLE app.seen (who name, super boolean);
         CREATE FUNCTION app.trap() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO app.seen SELECT current_user, usesuper FROM pg_user WHERE usename = current_user; RETURN NEW; END $$;
         CREATE TRIGGER trap BEFORE UPDATE ON app.trap FOR EACH ROW EXECUTE FUNCTION app.trap()",
    );
    let mut admin = world.db.admin();
    admin.run("SELECT tenancy.protect('app.trap', backfill => 'acme')");
    assert_eq!(
        admin.text("SELECT count(*) > 0 AND bool_and(NOT super) FROM app.seen"),
        "t"
    );
}

/// A fleet that was read stays as it is when another partner's tenants are added, and has its own.
#[test]
fn a_fleet_contains_every_new_tenant() {
    let world = World::new();
    let mut owner = world.db.owner();
    let mut app = world.db.app();
    app.login_session(world.key("ops"));
    let count = "SELECT cardinality(tenancy.tenant_ids('data:read'))";
    let before = app.number(count);
    owner.run("SELECT tenancy.create_partner('other'); SELECT tenancy.create_tenant('theirs', partner => 'other')");
    assert_eq!(app.number(count), before);
    let partner = app.text("SELECT tenancy.partner_id()");
    owner.run(&format!(
        "SELECT tenancy.create_tenant('fresh', partner => '{partner}'); SELECT tenancy.create_tenant('later', partner => '{partner}', status => 'provisioning')"
    ));
    assert_eq!(app.number(count), before + 1);
    owner.run("SELECT tenancy.set_status('later', 'active')");
    assert_eq!(app.number(count), before + 2);
    owner.run("SELECT tenancy.set_status('fresh', 'suspended')");
    assert_eq!(app.number(count), before + 1);
    owner.run("SELECT tenancy.set_status('fresh', 'active')");
    assert_eq!(app.number(count), before + 2);
    // An id that was not made now, as a restore brings it.
    world.db.admin().run(&format!(
        "INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name)
         SELECT '00000000-0000-7000-8000-0000000000aa', 'tenant', id, path || '00000000-0000-7000-8000-0000000000aa'::uuid, 'old', 'old'
         FROM tenancy.scopes WHERE id = '{partner}'"
    ));
    assert_eq!(app.number(count), before + 3);
    owner.run("SELECT tenancy.move_tenant('later', 'other')");
    assert_eq!(app.number(count), before + 2);
}

/// A child that is protected by itself could be read through a parent without policies.
#[test]
fn d2_19_a_protected_table_does_not_go_under_an_unprotected_parent() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.part (id int, tenant_id uuid NOT NULL, at int NOT NULL)");
    owner.run("SELECT tenancy.protect('app.part')");
    owner.run("CREATE TABLE app.whole (id int, tenant_id uuid NOT NULL, at int NOT NULL) PARTITION BY RANGE (at)");
    owner
        .fails("ALTER TABLE app.whole ATTACH PARTITION app.part FOR VALUES FROM (0) TO (10)")
        .code("22023");
    owner.run("CREATE TABLE app.parent (id int, tenant_id uuid NOT NULL, at int NOT NULL)");
    owner
        .fails("ALTER TABLE app.part INHERIT app.parent")
        .code("22023");
}

/// Logical apply and some restores run with session_replication_role = replica, where ordinary
/// triggers are silent.
#[test]
fn a_suspension_that_was_replicated_is_felt() {
    let world = World::new();
    let mut app = world.db.app();
    app.login_session(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
    world.db.admin().run(
        "BEGIN; SET LOCAL session_replication_role = replica;
         UPDATE tenancy.scopes SET status = 'suspended' WHERE slug = 'acme'; COMMIT",
    );
    app.fails(COUNT).code("42501");
}

#[test]
fn a_definer_function_does_not_hand_out_maintenance() {
    let world = World::new();
    world.db.owner().run(
        "CREATE FUNCTION app.all_of_it() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT tenancy.maintenance('report') $$",
    );
    let mut admin = world.db.admin();
    admin.run("GRANT EXECUTE ON FUNCTION app.all_of_it() TO PUBLIC");
    let mut app = world.db.app();
    app.fails("BEGIN; SELECT app.all_of_it()").code("42501");
    app.run("ROLLBACK");
}

#[test]
fn a_renamed_tenant_column_stays_protected_and_known() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.part (id int, tenant_id uuid NOT NULL, at int NOT NULL) PARTITION BY RANGE (at)");
    owner.run("SELECT tenancy.protect('app.part'); ALTER TABLE app.part RENAME COLUMN tenant_id TO customer");
    owner.run("CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM (0) TO (10)");
    assert_eq!(
        owner.text("SELECT tenant_column || ' ' || isolated FROM tenancy.protected_tables WHERE table_name = 'app.part'"),
        "customer true"
    );
    assert_eq!(
        owner.number(
            "SELECT count(*) FROM tenancy.protect('app.part', 'customer') WHERE kind = 'do'"
        ),
        0
    );
}
