//! `tenancy.maintenance_reason`: maintenance by a connection string, for migration tools that run only their own scripts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, Until, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

/// A connection of a role with this setting.
fn connect(world: &World, role: &str, reason: &str) -> Session {
    let mut config = world.db.config(role);
    let reason = reason.replace(' ', "\\ ");
    config.options(&format!("-c tenancy.maintenance_reason={reason}"));
    Session::connect(&config)
}

/// How often the log has a reason.
fn recorded(world: &World, reason: &str) -> i64 {
    world.db.admin().number(&format!(
        "SELECT count(*) FROM tenancy.maintenance_log WHERE reason = '{reason}'"
    ))
}

#[test]
fn each_transaction_that_needs_it_is_maintenance_and_recorded_once() {
    let world = World::new();
    let mut owner = connect(&world, &world.db.owner, "release 42");
    owner.run("SELECT 1; CREATE TABLE app.free (id int); DROP TABLE app.free");
    assert_eq!(recorded(&world, "release 42"), 0);
    assert_eq!(owner.number(COUNT), 15);
    assert_eq!(recorded(&world, "release 42"), 1);
    owner.run("BEGIN");
    assert_eq!(owner.number(COUNT), 15);
    owner.run("SAVEPOINT s");
    assert_eq!(owner.number("SELECT count(*) FROM app.notes"), 15);
    owner.run("UPDATE app.notes SET body = body; ROLLBACK TO s; DELETE FROM app.notes; ROLLBACK");
    assert_eq!(recorded(&world, "release 42"), 2);
    owner.run("BEGIN; SAVEPOINT s");
    assert_eq!(owner.number(COUNT), 15);
    owner.run("ROLLBACK TO s");
    assert_eq!(owner.number(COUNT), 15);
    owner.run("COMMIT");
    assert_eq!(recorded(&world, "release 42"), 3);
    // Another reason is another entry.
    owner.run("BEGIN; SET tenancy.maintenance_reason = 'another'");
    assert_eq!(owner.number(COUNT), 15);
    owner.run("COMMIT; RESET ALL");
    assert_eq!(recorded(&world, "another"), 1);
    let log =
        "SELECT DISTINCT role || login FROM tenancy.maintenance_log WHERE reason = 'release 42'";
    let role = &world.db.owner;
    assert_eq!(owner.text(log), format!("{role}{role}"));
    owner.run("SET tenancy.maintenance_reason = ''");
    owner
        .fails(COUNT)
        .code("55000")
        .hints("tenancy.maintenance_reason");
}

#[test]
fn migrations_need_no_other_statement() {
    let world = World::new();
    let mut owner = connect(&world, &world.db.owner, "release 43");
    owner.run(
        "ALTER TABLE app.notes ADD CONSTRAINT short CHECK (length(body) < 1000);
         UPDATE app.notes SET body = body || '!';
         CREATE FUNCTION app.folded(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)'",
    );
    // A tool that isolates its scripts.
    owner.run("BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; ALTER TABLE app.notes ALTER COLUMN body TYPE varchar(1000) USING trim(body); COMMIT");
    owner.run("CREATE INDEX CONCURRENTLY ON app.notes (app.folded(body))");
    owner.run("REINDEX TABLE CONCURRENTLY app.notes");
    // Procedures that commit, as pg_partman's.
    owner.run(
        "CREATE PROCEDURE app.batches() LANGUAGE plpgsql AS $$ BEGIN
             FOR n IN 0..2 LOOP UPDATE app.notes SET body = 'batch' WHERE id % 3 = n; COMMIT; END LOOP;
         END $$",
    );
    owner.run("CALL app.batches()");
    assert_eq!(
        owner.number("SELECT count(*) FROM app.notes WHERE body = 'batch'"),
        15
    );
    owner.run("CREATE MATERIALIZED VIEW app.totals AS SELECT tenant_id, count(*) FROM app.notes GROUP BY 1");
    owner.run("REFRESH MATERIALIZED VIEW app.totals");
    let before = recorded(&world, "release 43");
    owner.run("CALL app.batches()");
    assert_eq!(recorded(&world, "release 43"), before + 3);
}

#[test]
fn it_is_a_role_s_own() {
    let world = World::new();
    let deploy = &world.db.owner;
    world.db.admin().run(&format!(
        "ALTER ROLE {deploy} SET tenancy.maintenance_reason = 'deploys'; ALTER ROLE {} SET tenancy.maintenance_reason = 'deploys'",
        world.db.app
    ));
    assert_eq!(world.db.owner().number(COUNT), 15);
    world.db.app().fails(COUNT).code("55000");
}

#[test]
fn roles_without_tenancy_admin_get_nothing() {
    let world = World::new();
    for mut app in [
        connect(&world, &world.db.app, "mine"),
        connect(&world, &world.db.gateway, "mine"),
        connect(&world, &world.db.stranger, "mine"),
    ] {
        for sql in [COUNT, "DELETE FROM app.notes"] {
            assert!(app.batch_execute(sql).is_err(), "{sql}");
        }
    }
    let mut app = connect(&world, &world.db.app, "mine");
    // Nor with another's functions, nor in its own context.
    world.db.owner().run(
        "CREATE FUNCTION app.all_notes() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM app.notes';
         CREATE FUNCTION app.all_notes_set() RETURNS bigint SECURITY DEFINER LANGUAGE sql SET tenancy.maintenance_reason = 'mine' AS 'SELECT count(*) FROM app.notes';
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO PUBLIC",
    );
    app.fails("SELECT app.all_notes()").code("55000");
    app.fails("SELECT app.all_notes_set()").code("55000");
    app.begin(world.key("alice"));
    for sql in [
        COUNT,
        "SELECT app.all_notes()",
        "SELECT app.all_notes_set()",
    ] {
        assert_eq!(app.number(sql), 3, "{sql}");
    }
    app.run("COMMIT");
    // An administrator who takes another role.
    let mut owner = connect(&world, &world.db.owner, "mine");
    world
        .db
        .admin()
        .run(&format!("GRANT {} TO {}", world.db.app, world.db.owner));
    owner.run(&format!("SET ROLE {}", world.db.app));
    owner.fails(COUNT).code("55000");
    owner.run("RESET ROLE");
    assert_eq!(recorded(&world, "mine"), 0);
    assert_eq!(owner.number(COUNT), 15);
    // A right that was taken away.
    world
        .db
        .admin()
        .run(&format!("REVOKE tenancy_admin FROM {}", world.db.owner));
    owner.fails(COUNT).code("55000");
}

#[test]
fn a_credential_comes_first() {
    let world = World::new();
    let mut owner = connect(&world, &world.db.owner, "both");
    world
        .db
        .admin()
        .run(&format!("GRANT tenancy_app TO {}", world.db.owner));
    owner.begin(world.key("alice"));
    assert_eq!(owner.number(COUNT), 3);
    owner.run("SELECT tenancy.release()");
    owner.fails(COUNT).code("55000");
    owner.run("ROLLBACK");
    owner.run(&format!(
        "SET tenancy.ticket = '{}'",
        world.ticket("bob", "1 hour")
    ));
    assert_eq!(owner.number(COUNT), 5);
    owner.run("RESET tenancy.ticket");
    assert_eq!(recorded(&world, "both"), 0);
    assert_eq!(owner.number(COUNT), 15);
    // A transaction in maintenance has its principal.
    owner.run("BEGIN");
    assert_eq!(owner.number(COUNT), 15);
    let login = format!("SELECT tenancy.authenticate('{}')", world.key("alice"));
    owner.fails(&login).code("42501");
    owner.run("ROLLBACK");
}

#[test]
fn parallel_workers_and_kept_plans() {
    let world = World::new();
    world
        .db
        .admin()
        .run(&format!("GRANT tenancy_app TO {}", world.db.owner));
    let mut owner = connect(&world, &world.db.owner, "plans");
    owner.run("SET plan_cache_mode = force_generic_plan");
    let count = owner.prepare(COUNT).unwrap();
    for round in 0..12 {
        let rows: i64 = owner.query_one(&count, &[]).unwrap().get(0);
        assert_eq!(rows, 15);
        owner.begin(world.key("alice"));
        let rows: i64 = owner.query_one(&count, &[]).unwrap().get(0);
        assert_eq!(rows, 3);
        owner.run("COMMIT");
        if round % 3 == 1 {
            owner.run("SET tenancy.maintenance_reason = ''");
            owner.begin(world.key("alice"));
            let rows: i64 = owner.query_one(&count, &[]).unwrap().get(0);
            assert_eq!(rows, 3);
            owner.run("COMMIT; RESET tenancy.maintenance_reason");
        }
        if round == 6 {
            owner.always_parallel(Until::Session);
        }
    }
    assert_eq!(owner.number(COUNT), 15);
    // A plan made for a ticket's tenant.
    let ticket = world.ticket("alice", "1 hour");
    for (begin, end) in [
        (
            format!("SET tenancy.ticket = '{ticket}'"),
            "RESET tenancy.ticket",
        ),
        (
            format!("BEGIN; SET LOCAL tenancy.ticket = '{ticket}'"),
            "COMMIT",
        ),
    ] {
        owner.run(&begin);
        let rows: i64 = owner.query_one(&count, &[]).unwrap().get(0);
        assert_eq!(rows, 3);
        owner.run(end);
        let rows: i64 = owner.query_one(&count, &[]).unwrap().get(0);
        assert_eq!(rows, 15, "{begin}");
    }
}

/// The server refuses it, also in maintenance; the hint names what works.
#[test]
fn another_type_for_the_tenant_column() {
    let world = World::new();
    let mut owner = connect(&world, &world.db.owner, "types");
    let alter = "ALTER TABLE app.notes ALTER COLUMN tenant_id TYPE text";
    for mut session in [world.db.owner(), world.db.admin()] {
        session
            .fails(alter)
            .code("0A000")
            .hints("tenancy.unprotect(), ALTER TABLE, tenancy.protect()");
    }
    owner.fails(alter).code("0A000");
    world.db.stranger().fails(alter).code("42501");
    owner.run("UPDATE app.notes SET body = body");
    owner.run(&format!(
        "BEGIN; SELECT tenancy.unprotect('app.notes'); ALTER TABLE app.notes ALTER COLUMN tenant_id DROP DEFAULT; {alter};
         UPDATE app.notes n SET tenant_id = t.external_id FROM tenancy.tenants t WHERE t.id::text = n.tenant_id;
         SELECT tenancy.protect('app.notes'); COMMIT"
    ));
    assert_eq!(world.begin("alice").number(COUNT), 3);
    // Other columns go on.
    owner.run("ALTER TABLE app.notes ALTER COLUMN body TYPE varchar(500)");
}

#[test]
fn only_reasons() {
    let world = World::bare();
    let mut owner = world.db.owner();
    for bad in ["   ", &"x".repeat(301), "two\nlines", "\u{202e}turned"] {
        owner
            .fails(&format!("SET tenancy.maintenance_reason = '{bad}'"))
            .code("22023");
        owner
            .fails(&format!(
                "ALTER ROLE {} SET tenancy.maintenance_reason = '{bad}'",
                world.db.owner
            ))
            .code("22023");
    }
    owner.run("SET tenancy.maintenance_reason = ''");
}
