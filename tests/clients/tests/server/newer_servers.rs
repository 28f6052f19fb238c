//! What PostgreSQL 16, 17 and 18 brought. Earlier servers run no test called from_17_… (scripts/clients).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

#[test]
fn from_16_the_right_to_grant_a_role_is_no_membership() {
    let world = World::new();
    let (maker, made) = (
        format!("{}_maker", world.db.name),
        format!("{}_made", world.db.name),
    );
    let mut admin = world.db.admin();
    admin.run(&format!("CREATE ROLE {maker} LOGIN CREATEROLE"));
    let mut session = Session::connect(&world.db.config(&maker));
    // The creator of a role may grant it from then on.
    session.run(&format!("CREATE ROLE {made} LOGIN"));
    admin.run(&format!("GRANT tenancy_app TO {made}"));
    session.run(&format!("ALTER ROLE {made} SET work_mem = '8MB'"));
    // An application that may grant what administrators are is none of them.
    let app = &world.db.app;
    admin.run(&format!(
        "GRANT tenancy_admin TO {app} WITH INHERIT FALSE, SET FALSE; GRANT TRUNCATE ON app.notes TO {app}"
    ));
    world
        .begin("alice")
        .fails("TRUNCATE app.notes")
        .code("42501");
    admin.run(&format!("DROP ROLE {made}; DROP ROLE {maker}"));
}

/// MERGE of all rows that the source does not have.
const MERGE: &str = "MERGE INTO app.notes n USING (SELECT -1::bigint AS id) s ON n.id = s.id WHEN NOT MATCHED BY SOURCE THEN";

#[test]
fn from_17_merge_not_matched_by_source_stays_with_the_tenant() {
    let world = World::new();
    let mut admin = world.db.admin();
    world
        .db
        .app()
        .fails(&format!("{MERGE} DELETE"))
        .code("55000");
    let mut app = world.begin("alice");
    assert_eq!(
        app.number(&format!(
            "WITH m AS ({MERGE} UPDATE SET body = 'x' RETURNING n.tenant_id = tenancy.tenant_id() AS own)
             SELECT count(*) * 10 + count(*) FILTER (WHERE own) FROM m"
        )),
        33
    );
    app.fails_inside(&format!(
        "{MERGE} UPDATE SET tenant_id = '{}'",
        world.id("umbrella")
    ))
    .code("42501");
    app.run(&format!("{MERGE} DELETE; COMMIT"));
    assert_eq!(admin.number("SELECT count(*) FROM app.notes"), 12);
    // A fleet writes to one tenant that it selects.
    let mut ops = world.begin("ops");
    ops.fails_inside(&format!("{MERGE} DELETE")).code("55000");
    ops.run("SELECT tenancy.select_tenant('umbrella')")
        .run(&format!("{MERGE} DELETE; COMMIT"));
    assert_eq!(admin.number("SELECT count(*) FROM app.notes"), 7);
    // A reader cannot write.
    world.db.owner().run(
        "SELECT tenancy.define_role('soylent', 'reader', '{data:read}');
         SELECT tenancy.assign('soylent/eve', 'reader', 'soylent'); SELECT tenancy.unassign('soylent/eve', 'member', 'soylent')",
    );
    let mut eve = world.begin("eve");
    assert_eq!(eve.number("SELECT count(*) FROM app.notes"), 7);
    for what in ["DELETE", "UPDATE SET body = 'x'"] {
        eve.fails_inside(&format!("{MERGE} {what}")).code("42501");
    }
}

#[test]
fn from_17_protect_takes_maintain_away_and_unprotect_gives_it_back() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.wide (tenant_id uuid NOT NULL); GRANT ALL ON app.wide TO tenancy_app, PUBLIC");
    let held = "SELECT has_table_privilege('tenancy_app', 'app.wide', 'MAINTAIN')";
    owner.run("SELECT tenancy.protect('app.wide')");
    assert_eq!(owner.text(held), "f");
    owner.run("SELECT tenancy.unprotect('app.wide')");
    assert_eq!(owner.text(held), "t");
}

#[test]
fn from_18_returning_old_shows_own_rows_only() {
    let world = World::new();
    let theirs = world.db.admin().text(&format!(
        "SELECT min(id) FROM app.notes WHERE tenant_id = '{}'",
        world.id("umbrella")
    ));
    let mut app = world.begin("alice");
    assert_eq!(
        app.texts("UPDATE app.notes SET body = 'new' RETURNING OLD.body || ' ' || NEW.body"),
        ["acme 1 new", "acme 2 new", "acme 3 new"]
    );
    for sql in [
        format!("UPDATE app.notes SET body = 'x' WHERE id = {theirs} RETURNING OLD.body"),
        format!(
            "INSERT INTO app.notes (id, body) VALUES ({theirs}, 'x') ON CONFLICT DO NOTHING RETURNING OLD.body"
        ),
    ] {
        assert!(app.texts(&sql).is_empty(), "{sql}");
    }
    app.fails_inside(&format!(
        "INSERT INTO app.notes (id, body) VALUES ({theirs}, 'x') ON CONFLICT (id) DO UPDATE SET body = 'y' RETURNING OLD.body"
    ))
    .code("42501")
    .hides("umbrella");
}

#[test]
fn from_18_a_not_null_that_older_rows_break_is_not_trusted() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.some (tenant_id uuid, body text); INSERT INTO app.some VALUES (NULL, 'x');
         ALTER TABLE app.some ADD CONSTRAINT there NOT NULL tenant_id NOT VALID",
    );
    owner
        .fails("SELECT tenancy.protect('app.some')")
        .code("22023");
    owner.run("SELECT tenancy.protect('app.some', backfill => 'acme')");
    assert_eq!(
        world.begin("alice").number("SELECT count(*) FROM app.some"),
        1
    );
}

#[test]
fn from_18_the_advice_for_a_temporal_foreign_key_is_temporal() {
    let world = World::bare();
    world.db.admin().run("CREATE EXTENSION btree_gist");
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.rooms (tenant_id uuid NOT NULL, id int, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
         CREATE TABLE app.stays (tenant_id uuid NOT NULL, room int, during daterange,
                                 CONSTRAINT stays FOREIGN KEY (room, PERIOD during) REFERENCES app.rooms (id, PERIOD during));
         SELECT tenancy.protect('app.rooms')",
    );
    for statement in owner.texts(
        "SELECT statement FROM tenancy.protect('app.stays') WHERE kind = 'advice' ORDER BY step",
    ) {
        owner.run(&statement);
    }
    assert_eq!(
        owner.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'stays'"),
        "FOREIGN KEY (tenant_id, room, PERIOD during) REFERENCES app.rooms(tenant_id, id, PERIOD during)"
    );
    // After that there is no advice.
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protect('app.stays') WHERE kind = 'advice'"),
        0
    );
}

#[test]
fn from_17_maintain_that_is_granted_later_lets_no_shared_role_rewrite_a_table() {
    let world = World::new();
    let app = &world.db.app;
    (world.db.owner()).run(&format!("GRANT MAINTAIN ON app.notes TO {app}"));
    let mut app = world.db.app();
    for sql in [
        "REINDEX TABLE app.notes",
        "CLUSTER app.notes USING notes_pkey",
        "VACUUM FULL app.notes",
        "LOCK TABLE app.notes IN ACCESS EXCLUSIVE MODE",
    ] {
        app.fails(sql).code("42501");
    }
}

#[test]
fn from_18_maintain_that_is_granted_later_lets_no_shared_role_write_statistics() {
    let world = World::new();
    let mut admin = world.db.admin();
    admin.run("ANALYZE app.notes");
    let mut owner = world.db.owner();
    owner.run(&format!("GRANT MAINTAIN ON app.notes TO {}", world.db.app));
    let held = "SELECT concat(reltuples, ' ', (SELECT count(*) FROM pg_stats s WHERE s.tablename = c.relname)) FROM pg_class c WHERE oid = 'app.notes'::regclass";
    let before = admin.text(held);
    // All that write them, so that a new one is found.
    let all = admin.texts(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(restore|clear)_.*stats$' ORDER BY 1",
    );
    let calls = [
        "pg_clear_attribute_stats('app', 'notes', 'body', false)",
        "pg_clear_relation_stats('app', 'notes')",
        "pg_restore_attribute_stats('schemaname', 'app', 'relname', 'notes', 'attname', 'body', 'inherited', false, 'version', 180000, 'null_frac', 1::real)",
        "pg_restore_relation_stats('schemaname', 'app', 'relname', 'notes', 'version', 180000, 'reltuples', 1e9::real)",
    ];
    assert_eq!(
        all,
        calls.map(|call| call.split_once('(').unwrap().0.to_owned())
    );
    let mut app = world.begin("alice");
    for call in calls {
        app.fails_inside(&format!("SELECT {call}")).code("42501");
        app.fails_inside(&format!("DO $$ BEGIN PERFORM {call}; END $$"))
            .code("42501");
    }
    assert_eq!(admin.text(held), before);
    // The owner still may, as for a restore of a dump.
    owner.run(&format!("SELECT {}", calls[3]));
    assert_ne!(admin.text(held), before);
}

/// A trigger at each login to the database, in which a superuser has this done.
fn at_login(world: &World, does: &str) {
    world.db.admin().run(&format!(
        "CREATE OR REPLACE FUNCTION public.at_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {does}; END $$;
         DROP EVENT TRIGGER IF EXISTS at_login; CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION public.at_login()"
    ));
}

#[test]
fn from_17_a_login_trigger_has_no_more_rights_than_who_logs_in() {
    const COUNT: &str = "SELECT count(*) FROM app.notes";
    let world = World::new();
    let mut sessions = [world.db.app(), world.db.owner()];
    for session in &mut sessions {
        session
            .fails("CREATE EVENT TRIGGER mine ON login EXECUTE FUNCTION tenancy_internal.forget_dropped()")
            .code("42501");
    }

    // The trigger runs before there is a context: isolated roles cannot log in, a superuser can.
    at_login(&world, &format!("PERFORM * FROM ({COUNT}) c"));
    for role in [&world.db.app, &world.db.owner] {
        Session::try_connect(&world.db.config(role))
            .err()
            .unwrap()
            .code("55000");
    }
    assert_eq!(world.db.admin().number(COUNT), 15);

    // A context of its transaction ends with it; one for the session holds, as if the client had asked.
    let key = world.key("alice");
    at_login(
        &world,
        &format!(
            "IF session_user = '{}' THEN PERFORM tenancy.authenticate('{key}'); END IF",
            world.db.app
        ),
    );
    world.db.app().fails(COUNT).code("55000");
    at_login(
        &world,
        &format!(
            "IF session_user = '{}' THEN PERFORM tenancy.authenticate('{key}', session => true); END IF",
            world.db.app
        ),
    );
    assert_eq!(world.db.app().number(COUNT), 3);
    // Behind a pool the login fails, and no client gets another's context.
    world.db.admin().run(&format!(
        "ALTER ROLE {} SET tenancy.pooled = on",
        world.db.app
    ));
    assert!(Session::try_connect(&world.db.config(&world.db.app)).is_err());
}

#[test]
fn from_17_copy_skips_no_error_of_a_policy() {
    let world = World::new();
    let mut app = world.begin("alice");
    // COPY FROM does not work with row security at all.
    app.fails_inside("COPY app.notes (body) FROM STDIN (ON_ERROR ignore)")
        .code("0A000");
}

#[test]
fn from_18_a_virtual_column_is_computed_for_own_rows_only() {
    let world = World::new();
    let theirs = world.db.admin().text(&format!(
        "SELECT min(id) FROM app.notes WHERE tenant_id = '{}'",
        world.id("umbrella")
    ));
    // As a superuser: the owner needs maintenance() to add an expression that can fail.
    world.db.admin().run(&format!(
        "ALTER TABLE app.notes ADD inverse bigint GENERATED ALWAYS AS (1000 / (id - {theirs})) VIRTUAL"
    ));
    let mut app = world.begin("alice");
    for condition in ["inverse IS NOT NULL", "inverse <> 0", "NOT inverse = 0"] {
        assert_eq!(
            app.number(&format!("SELECT count(*) FROM app.notes WHERE {condition}")),
            3
        );
    }
    app.run("UPDATE app.notes SET body = body WHERE inverse <> 0; DELETE FROM app.notes WHERE inverse = 0");
}

#[test]
fn a_generated_column_cannot_hold_the_owner_or_the_project() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.made (tenant_id uuid NOT NULL, owner_id uuid GENERATED ALWAYS AS (tenant_id) STORED)",
    );
    for option in ["owner_column", "project_column"] {
        owner
            .fails(&format!(
                "SELECT tenancy.protect('app.made', {option} => 'owner_id')"
            ))
            .code("22023");
    }
}
