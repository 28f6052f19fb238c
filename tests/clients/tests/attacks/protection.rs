//! Only unprotect() and maintenance() lift protection; a table that was opened in another way is closed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

/// A function that counts its calls in a setting, and is false.
const TICK: &str = "CREATE FUNCTION pg_temp.tick() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN PERFORM set_config('x.n', (current_setting('x.n')::int + 1)::text, false); RETURN false; END $$;
    SELECT set_config('x.n', '0', false)";

fn ticks(session: &mut Session) -> i64 {
    session.number("SELECT current_setting('x.n')")
}

// F47
#[test]
fn whatever_a_statement_reads_it_is_refused_without_a_context() {
    let world = World::new();
    world.db.admin().run(&format!(
        "GRANT ALL ON app.notes TO {}; ALTER TABLE app.notes OWNER TO {}",
        world.db.app, world.db.owner
    ));
    let mut app = world.db.app();
    world.db.owner().run(
        "CREATE FUNCTION app.tick() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''a row was seen''; END'",
    );
    let statements = [
        "SELECT FROM app.notes",
        "SELECT 1 FROM app.notes WHERE app.tick()",
        "SELECT count(*) FROM app.notes",
        "SELECT count(*) FROM app.notes WHERE false",
        "SELECT n FROM app.notes n",
        "SELECT EXISTS (SELECT FROM app.notes)",
        "SELECT 1 FROM app.notes TABLESAMPLE SYSTEM (100)",
        "SELECT FROM ONLY app.notes",
        "SELECT FROM app.notes FOR UPDATE",
        "WITH x AS (SELECT FROM app.notes) SELECT count(*) FROM x",
        "SELECT count(*) FROM generate_series(1, 3) g LEFT JOIN app.notes n ON n.id = g",
        "DELETE FROM app.notes",
        "DELETE FROM app.notes WHERE app.tick()",
        "UPDATE app.notes SET body = 'x'",
        "UPDATE app.notes SET body = 'x' WHERE app.tick()",
        "INSERT INTO app.notes (body) SELECT 'x' WHERE false",
        "INSERT INTO app.notes (body) VALUES ('x') ON CONFLICT DO NOTHING",
        "INSERT INTO app.notes (id, body) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET body = 'y' WHERE app.tick()",
        "MERGE INTO app.notes n USING (SELECT 1) s ON true WHEN MATCHED AND app.tick() THEN DELETE",
        "MERGE INTO app.notes n USING (SELECT 1) s ON true WHEN MATCHED AND app.tick() THEN DO NOTHING",
        "MERGE INTO app.notes n USING (SELECT 1) s ON true WHEN MATCHED AND app.tick() THEN UPDATE SET body = 'x'",
        "MERGE INTO app.notes n USING (SELECT 1) s ON n.id = 1 WHEN MATCHED AND app.tick() THEN DELETE",
        "COPY app.notes TO STDOUT",
        "COPY (SELECT FROM app.notes) TO STDOUT",
        "BEGIN; DECLARE c CURSOR FOR SELECT FROM app.notes",
        "CREATE TEMP TABLE copied AS SELECT * FROM app.notes",
        "SELECT * INTO TEMP copied FROM app.notes",
        "DO $$ BEGIN PERFORM FROM app.notes; END $$",
        "EXPLAIN SELECT FROM app.notes",
        "EXPLAIN MERGE INTO app.notes n USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
        "PREPARE p AS SELECT FROM app.notes; EXECUTE p",
    ];
    for sql in statements {
        app.fails(sql).code("55000").says("context is required");
        app.run("ROLLBACK; DISCARD PLANS; DEALLOCATE ALL");
    }
    // Where a missing context is no error, it is no rows.
    app.run("SET tenancy.missing_context = 'empty'");
    for sql in &statements[..18] {
        if !sql.starts_with("INSERT") {
            app.run(sql).run("ROLLBACK");
        }
    }
    assert_eq!(app.number(COUNT), 0);
    let merge =
        "MERGE INTO app.notes n USING (SELECT 1) s ON true WHEN MATCHED AND app.tick() THEN";
    for action in ["DELETE", "UPDATE SET body = 'x'"] {
        app.fails(&format!("{merge} {action}")).code("42501");
    }
    // PostgreSQL asks for the right to read where nothing is done.
    app.run(&format!("{merge} DO NOTHING"));
}

// F47
#[test]
fn merge_that_reads_no_column_is_refused_in_a_context_too() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run(TICK)
        .run("MERGE INTO app.notes n USING (SELECT 1) s ON true WHEN MATCHED AND pg_temp.tick() THEN DO NOTHING");
    assert_eq!(ticks(&mut app), 3);
    for action in ["DELETE", "UPDATE SET body = 'x'"] {
        let merge = |on: &str| {
            format!(
                "MERGE INTO app.notes n USING (SELECT 1) s ON {on} WHEN MATCHED AND pg_temp.tick() THEN {action}"
            )
        };
        for explain in ["", "EXPLAIN ", "EXPLAIN ANALYZE "] {
            app.fails_inside(&format!("{explain}{}", merge("true")))
                .code("42501")
                .hints("Name a column");
        }
        app.fails_inside(&format!("PREPARE m AS {}; EXECUTE m", merge("true")))
            .code("42501");
        app.run("DEALLOCATE m");
        app.fails_inside(&format!("DO $$ BEGIN {}; END $$", merge("true")))
            .code("42501");
        // A condition that reads a column is evaluated on the tenant's rows.
        app.run("SELECT set_config('x.n', '0', false)")
            .run(&merge("n.id > 0"));
        assert_eq!(ticks(&mut app), 3, "{action}");
    }
    for sql in [
        "UPDATE app.notes SET body = 'x' WHERE pg_temp.tick()",
        "DELETE FROM app.notes WHERE pg_temp.tick()",
        "SELECT 1 FROM app.notes WHERE pg_temp.tick()",
        "SELECT 1 FROM app.notes TABLESAMPLE SYSTEM (100) WHERE pg_temp.tick()",
    ] {
        app.run("SELECT set_config('x.n', '0', false)").run(sql);
        assert_eq!(ticks(&mut app), 3, "{sql}");
    }
}

// F41
#[test]
fn a_table_that_is_not_isolated_is_closed() {
    let world = World::new();
    let (mut admin, mut owner, mut app) = (world.db.admin(), world.db.owner(), world.db.app());
    owner.run(
        "CREATE VIEW app.all_notes AS SELECT * FROM app.notes;
         CREATE VIEW app.my_notes WITH (security_invoker) AS SELECT * FROM app.notes;
         CREATE FUNCTION app.count_notes() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.notes';
         GRANT SELECT ON app.all_notes, app.my_notes TO tenancy_app",
    );
    let mut prepared = 0;
    // A statement prepared by SQL ends with its context.
    let mut prepare = |app: &mut Session| {
        prepared += 1;
        app.run(&format!("PREPARE known_{prepared} AS {COUNT}"));
        format!("EXECUTE known_{prepared}")
    };
    for (opens, detail) in [
        (
            "ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY",
            "Row security is disabled",
        ),
        (
            "ALTER TABLE app.notes NO FORCE ROW LEVEL SECURITY",
            "not forced",
        ),
        (
            "DROP POLICY tenancy_guard ON app.notes",
            "\"tenancy_guard\" is missing",
        ),
        (
            "DROP POLICY tenancy_guard_update ON app.notes",
            "\"tenancy_guard_update\" is missing",
        ),
        (
            "DROP POLICY tenancy_guard_delete ON app.notes",
            "\"tenancy_guard_delete\" is missing",
        ),
        (
            "ALTER POLICY tenancy_guard ON app.notes USING (true)",
            "\"tenancy_guard\" was altered",
        ),
        (
            "ALTER POLICY tenancy_guard ON app.notes TO tenancy_admin",
            "\"tenancy_guard\" was altered",
        ),
        (
            "ALTER POLICY tenancy_guard ON app.notes RENAME TO other",
            "\"tenancy_guard\" is missing",
        ),
        (
            "DROP POLICY tenancy_guard ON app.notes; CREATE POLICY tenancy_guard ON app.notes USING (true)",
            "\"tenancy_guard\" was altered",
        ),
    ] {
        admin.run(&format!("SET row_security = on; {opens}"));
        app.begin(world.key("alice"));
        let known = prepare(&mut app);
        app.run("SAVEPOINT s");
        for sql in [
            COUNT,
            known.as_str(),
            "SELECT FROM app.notes",
            "SELECT count(*) FROM app.all_notes",
            "SELECT count(*) FROM app.my_notes",
            "SELECT app.count_notes()",
            "INSERT INTO app.notes (body) VALUES ('x')",
            "UPDATE app.notes SET body = 'x'",
            "DELETE FROM app.notes",
            "COPY app.notes TO STDOUT",
            "MERGE INTO app.notes n USING (SELECT 1) s ON n.id = 1 WHEN MATCHED THEN DELETE",
            "EXPLAIN SELECT FROM app.notes",
        ] {
            let failure = app
                .fails(sql)
                .code("55000")
                .says("app.notes is not isolated")
                .hints("protect()");
            assert!(
                failure.detail.as_deref().unwrap().contains(detail),
                "{opens}: {failure:?}"
            );
            app.run("ROLLBACK TO s");
        }
        app.run("ROLLBACK");
        // The owner is let in by protect() alone. (The planner may ask for a context first.)
        owner.fails(COUNT).code("55000");
        owner
            .fails("COPY app.notes FROM STDIN")
            .code("55000")
            .says("not isolated");
        // Superusers are always let in.
        assert_eq!(admin.number(COUNT), 15);
        owner.run("SELECT tenancy.protect('app.notes')");
        app.begin(world.key("alice"));
        let known = prepare(&mut app);
        for sql in [
            COUNT,
            known.as_str(),
            "SELECT count(*) FROM app.all_notes",
            "SELECT app.count_notes()",
        ] {
            assert_eq!(app.number(sql), 3, "{opens}: {sql}");
        }
        app.run("ROLLBACK");
    }
    // In maintenance the owner looks at what there is.
    admin.run("ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY");
    owner.run("BEGIN; SELECT tenancy.maintenance('look')");
    assert_eq!(owner.number(COUNT), 15);
    owner.run("COMMIT");
    // unprotect() opens it for good.
    owner.run("SELECT tenancy.unprotect('app.notes'); GRANT SELECT ON app.notes TO tenancy_app");
    assert_eq!(app.number(COUNT), 15);
}

// F41
#[test]
fn a_table_that_lost_its_column_or_its_policies_in_a_restore_is_closed() {
    let world = World::new();
    let (mut admin, mut app) = (world.db.admin(), world.db.app());
    admin.run("ALTER TABLE app.notes DROP COLUMN tenant_id CASCADE");
    app.begin(world.key("alice"));
    let failure = app.fails_inside(COUNT).code("55000");
    assert!(failure.detail.unwrap().contains("\"tenant_id\" is missing"));
    app.run("ROLLBACK");
    // A table of the same name, and the record of another one, as a restore without policies leaves them.
    admin.run(
        "ALTER TABLE app.notes ADD COLUMN tenant_id bigint;
         CREATE TABLE app.restored (LIKE app.notes); GRANT SELECT ON app.restored TO tenancy_app;
         INSERT INTO tenancy_internal.protected_table_registry
         SELECT 'app.restored', tenant_column, key_type, options, undo, protected_at, protected_by FROM tenancy_internal.protected_table_registry",
    );
    app.begin(world.key("alice"));
    for table in ["app.notes", "app.restored"] {
        let failure = app
            .fails_inside(&format!("SELECT FROM {table}"))
            .code("55000");
        assert!(failure.detail.unwrap().contains("another type"));
    }
}

// F41
#[test]
fn a_part_that_is_not_isolated_is_closed_by_itself() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.days (tenant_id uuid NOT NULL, day int NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE app.days_1 PARTITION OF app.days FOR VALUES FROM (0) TO (10);
         SELECT tenancy.protect('app.days');
         CREATE TABLE app.days_2 PARTITION OF app.days FOR VALUES FROM (10) TO (20);
         GRANT ALL ON app.days_1, app.days_2 TO tenancy_app",
    );
    world.fill("app.days", "t.id, n + 8");
    let mut admin = world.db.admin();
    let mut app = world.begin("alice");
    assert_eq!(app.number("SELECT count(*) FROM app.days_2"), 2);
    app.run("COMMIT");
    admin.run("ALTER TABLE app.days_2 DISABLE ROW LEVEL SECURITY");
    app.begin(world.key("alice"));
    app.fails_inside("SELECT count(*) FROM app.days_2")
        .code("55000")
        .says("app.days_2 is not isolated");
    // Other parts are readable through their root and by themselves.
    assert_eq!(app.number("SELECT count(*) FROM app.days"), 3);
    assert_eq!(app.number("SELECT count(*) FROM app.days_1"), 1);
    app.run("COMMIT");
    owner.run("ALTER TABLE app.days DETACH PARTITION app.days_2");
    app.begin(world.key("alice"));
    app.fails_inside("SELECT count(*) FROM app.days_2")
        .code("55000");
    // The root's own row security counts for what is read through it.
    app.run("COMMIT");
    admin.run("ALTER TABLE app.days DISABLE ROW LEVEL SECURITY");
    app.begin(world.key("alice"));
    app.fails_inside("SELECT count(*) FROM app.days")
        .code("55000");
}

const MAINTENANCE: &str = "BEGIN; SELECT tenancy.maintenance('a migration')";

/// Statements that end the isolation, read, check or change all rows, or run code for later rows.
const NEED_MAINTENANCE: [&str; 47] = [
    "ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE app.notes NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE IF EXISTS app.notes ADD COLUMN harmless int, DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE ONLY app.notes DISABLE ROW LEVEL SECURITY",
    "DROP POLICY tenancy_guard ON app.notes",
    "DROP POLICY tenancy_access ON app.notes",
    "ALTER POLICY tenancy_guard ON app.notes USING (true)",
    "ALTER POLICY tenancy_guard ON app.notes TO tenancy_admin",
    "ALTER POLICY tenancy_guard ON app.notes RENAME TO other",
    "CREATE POLICY mine ON app.notes USING (app.spy(body))",
    "CREATE POLICY mine ON app.notes AS RESTRICTIVE USING (app.spy(body))",
    "ALTER TABLE app.notes DROP COLUMN tenant_id",
    "ALTER TABLE app.notes DROP COLUMN tenant_id CASCADE",
    "ALTER TABLE app.notes ALTER COLUMN tenant_id DROP DEFAULT",
    "ALTER TABLE app.notes ALTER COLUMN tenant_id SET DEFAULT gen_random_uuid()",
    "ALTER TABLE app.notes ALTER COLUMN body TYPE text USING app.leak(body)",
    "ALTER TABLE app.notes ALTER COLUMN body SET DATA TYPE app.checked",
    "ALTER TABLE app.notes ALTER COLUMN body SET DEFAULT app.leak('x')",
    "ALTER TABLE app.notes ADD CHECK (app.spy(body))",
    "ALTER TABLE app.notes ADD CHECK (body <> 'a secret')",
    "ALTER TABLE app.notes ADD CONSTRAINT later CHECK (app.spy(body)) NOT VALID",
    "ALTER TABLE app.notes VALIDATE CONSTRAINT unchecked",
    "ALTER TABLE app.notes ADD COLUMN more text DEFAULT app.leak('x')",
    "ALTER TABLE app.notes ADD COLUMN more text GENERATED ALWAYS AS (app.leak(body)) STORED",
    "ALTER TABLE app.notes ADD COLUMN more int GENERATED ALWAYS AS (body::int) STORED",
    "ALTER TABLE app.notes ADD COLUMN more text CHECK (app.spy(body))",
    "ALTER TABLE app.notes ADD COLUMN more app.checked DEFAULT 'x'",
    "ALTER TABLE app.notes ADD EXCLUDE (body WITH =)",
    "ALTER TABLE app.notes ADD FOREIGN KEY (parent) REFERENCES app.notes",
    "ALTER TABLE app.notes ADD FOREIGN KEY (parent) REFERENCES app.free",
    "ALTER TABLE app.notes VALIDATE CONSTRAINT later_key",
    "ALTER TABLE app.free ADD FOREIGN KEY (note) REFERENCES app.notes",
    "ALTER TABLE app.free VALIDATE CONSTRAINT later_key",
    "CREATE INDEX ON app.notes (app.leak(body))",
    "CREATE INDEX ON app.notes (id) WHERE app.spy(body)",
    "CREATE INDEX ON app.notes ((body::int))",
    "CREATE INDEX ON app.notes (id) WHERE 1 / (id - 5) > 0",
    "CREATE INDEX ON app.notes (id) WHERE body <> ''",
    "CREATE UNIQUE INDEX ON app.notes (body)",
    "ALTER TABLE app.notes ALTER COLUMN body TYPE varchar(200)",
    "CREATE STATISTICS app.spied ON (app.leak(body)), id FROM app.notes",
    "CREATE TRIGGER spy BEFORE INSERT ON app.notes FOR EACH ROW EXECUTE FUNCTION app.trigger()",
    "CREATE RULE spy AS ON INSERT TO app.notes DO ALSO INSERT INTO app.loot VALUES (new.body)",
    "CREATE MATERIALIZED VIEW app.all_notes AS SELECT * FROM app.notes",
    "REFRESH MATERIALIZED VIEW app.kept",
    "ALTER DOMAIN app.checked ADD CHECK (app.spy(value))",
    "TRUNCATE app.notes",
];

/// The usual statements of a migration.
const GO_ON: [&str; 33] = [
    "ALTER TABLE app.notes ADD COLUMN more text",
    "ALTER TABLE app.notes ADD COLUMN more text NOT NULL DEFAULT 'x'",
    "ALTER TABLE app.notes ADD COLUMN more timestamptz NOT NULL DEFAULT now() + interval '1 day'",
    "ALTER TABLE app.notes ADD COLUMN more uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE app.notes ADD COLUMN more jsonb DEFAULT '{}'::jsonb, ADD COLUMN tags text[] DEFAULT ARRAY[]::text[]",
    "ALTER TABLE app.notes ADD COLUMN more uuid DEFAULT tenancy.new_id()",
    "ALTER TABLE app.notes ADD COLUMN more app.checked",
    "ALTER TABLE app.notes ADD COLUMN more bigint REFERENCES app.free",
    "ALTER TABLE app.notes ADD CONSTRAINT unknown FOREIGN KEY (parent) REFERENCES app.notes NOT VALID",
    "ALTER TABLE app.notes DROP COLUMN body",
    "ALTER TABLE app.notes DROP CONSTRAINT unchecked",
    "ALTER TABLE app.notes ALTER COLUMN body SET DEFAULT 'x'",
    "ALTER TABLE app.notes ALTER COLUMN body TYPE varchar",
    "ALTER TABLE app.notes ALTER COLUMN body DROP NOT NULL, ALTER COLUMN body SET NOT NULL",
    "ALTER TABLE app.notes ALTER COLUMN body SET STATISTICS 500",
    "ALTER TABLE app.notes RENAME COLUMN body TO content",
    "ALTER TABLE app.notes RENAME COLUMN tenant_id TO customer_id",
    "ALTER TABLE app.notes RENAME TO memos",
    "ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    "ALTER TABLE app.notes SET (fillfactor = 80)",
    "ALTER TABLE app.notes ADD UNIQUE (tenant_id, id)",
    "ALTER TABLE app.notes REPLICA IDENTITY FULL",
    "ALTER TABLE app.notes DISABLE TRIGGER USER",
    "CREATE INDEX ON app.notes (tenant_id, body)",
    "CREATE UNIQUE INDEX ON app.notes (tenant_id, lower(body)) WHERE parent IS NOT NULL",
    "CREATE INDEX ON app.notes USING gin (to_tsvector('english', body))",
    "CREATE STATISTICS app.plain ON id, tenant_id FROM app.notes",
    "CREATE TRIGGER same BEFORE UPDATE ON app.notes FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "COMMENT ON TABLE app.notes IS 'notes'",
    "GRANT SELECT ON app.notes TO tenancy_auditor; REVOKE SELECT ON app.notes FROM tenancy_auditor",
    "CREATE TABLE app.children () INHERITS (app.notes)",
    "CREATE VIEW app.some_notes AS SELECT id FROM app.notes",
    "CREATE TABLE app.answers (id int, note bigint REFERENCES app.notes); DROP TABLE app.answers",
];

/// A world whose owner has code to plant, and a table without protection.
fn with_code() -> World {
    let world = World::new();
    world.db.owner().run(
        "ALTER TABLE app.notes ADD COLUMN parent bigint;
         CREATE TABLE app.loot (body text);
         CREATE TABLE app.free (id bigint PRIMARY KEY, note bigint); INSERT INTO app.free VALUES (1, 1);
         CREATE FUNCTION app.leak(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE NOTICE ''%'', body; RETURN body; END';
         CREATE FUNCTION app.spy(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE NOTICE ''%'', body; RETURN true; END';
         CREATE FUNCTION app.trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO app.loot VALUES (new.body); RETURN new; END';
         CREATE DOMAIN app.checked AS text CHECK (value <> '');
         CREATE MATERIALIZED VIEW app.kept AS SELECT count(*) FROM app.notes WITH NO DATA;
         ALTER TABLE app.free ADD CONSTRAINT later_key FOREIGN KEY (note) REFERENCES app.notes NOT VALID;
         ALTER TABLE app.notes ADD CONSTRAINT later_key FOREIGN KEY (parent) REFERENCES app.notes NOT VALID",
    );
    world
        .db
        .admin()
        .run("ALTER TABLE app.notes ADD CONSTRAINT unchecked CHECK (length(body) < 1000) NOT VALID, ADD COLUMN checked app.checked");
    world
}

// F10, F41, F44
#[test]
fn what_needs_all_rows_or_takes_isolation_off_needs_maintenance() {
    let world = with_code();
    let mut owner = world.db.owner();
    let mut isolated = world.db.admin();
    owner.run("CREATE PROCEDURE app.run(sql text) LANGUAGE plpgsql AS 'BEGIN EXECUTE sql; END'");
    for missing in ["error", "empty"] {
        owner.run(&format!("SET tenancy.missing_context = '{missing}'"));
        for sql in NEED_MAINTENANCE {
            let nested = sql.replace('\'', "''");
            for sql in [
                sql.to_owned(),
                format!("DO $do$ BEGIN EXECUTE '{nested}'; END $do$"),
                format!("CALL app.run('{nested}')"),
            ] {
                let failure = owner.fails(&sql);
                assert!(
                    // The planner may ask for a context first.
                    failure.code == "55000"
                        && failure.hint.as_deref().unwrap().contains("maintenance"),
                    "{sql}: {failure:?}"
                );
            }
        }
    }
    assert_eq!(
        isolated.text("SELECT isolated FROM tenancy.protected_tables"),
        "t"
    );
    // A tenant's context is none either.
    isolated.run(&format!("GRANT tenancy_app TO {}", world.db.owner));
    owner
        .run("RESET tenancy.missing_context")
        .begin(world.key("alice"));
    for sql in NEED_MAINTENANCE {
        owner.fails_inside(sql).code("55000").says("maintenance");
    }
}

// F10, F41, F44
#[test]
fn in_maintenance_the_owner_does_it_and_is_recorded() {
    let world = with_code();
    let (mut owner, mut app) = (world.db.owner(), world.db.app());
    for sql in NEED_MAINTENANCE {
        owner.run(MAINTENANCE).run("SAVEPOINT s");
        // Some of these would fail for reasons of their own.
        if let Err(error) = owner.batch_execute(sql) {
            let failure = tenancy_client_tests::Failure::from(&error);
            assert!(
                !failure.message.contains("maintenance")
                    && !["55000", "XX000"].contains(&failure.code.as_str()),
                "{sql}: {failure:?}"
            );
        }
        owner.run("ROLLBACK");
    }
    owner
        .run(MAINTENANCE)
        .run("ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY; REFRESH MATERIALIZED VIEW app.kept; COMMIT");
    app.begin(world.key("alice"));
    app.fails_inside(COUNT).code("55000").says("not isolated");
    app.run("COMMIT");
    let mut admin = world.db.admin();
    for action in ["protected_table_altered", "isolation_removed"] {
        assert_eq!(
            admin.number(&format!(
                "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.{action}' AND target = 'app.notes'"
            )),
            1,
            "{action}"
        );
    }
    assert_eq!(admin.number("SELECT count FROM app.kept"), 15);
    owner.run("SELECT tenancy.protect('app.notes')");
    app.begin(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
}

#[test]
fn ordinary_migrations_go_on() {
    let world = with_code();
    let mut owner = world.db.owner();
    for sql in GO_ON {
        owner.run("BEGIN").run(sql).run("ROLLBACK");
    }
    for sql in [
        "CREATE INDEX CONCURRENTLY notes_lower ON app.notes (tenant_id, lower(body))",
        "REINDEX TABLE CONCURRENTLY app.notes",
        "VACUUM FULL app.notes",
        "CLUSTER app.notes USING notes_pkey",
        "ANALYZE app.notes",
    ] {
        owner.run(sql);
    }
    // Keys that are validated where every row can be seen.
    owner
        .run(MAINTENANCE)
        .run("ALTER TABLE app.notes VALIDATE CONSTRAINT later_key")
        .run("COMMIT");
    // Dropping a table drops its protection.
    owner.run("DROP TABLE app.notes CASCADE; CREATE TABLE app.notes (id int)");
    assert_eq!(owner.number(COUNT), 0);
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables"),
        0
    );
}

/// A publication sends every tenant's rows.
#[test]
fn a_protected_table_is_published_in_maintenance_only() {
    let world = with_code();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.days (id int PRIMARY KEY, tenant_id uuid NOT NULL) PARTITION BY RANGE (id);
         CREATE TABLE app.day PARTITION OF app.days FOR VALUES FROM (0) TO (10);
         SELECT tenancy.protect('app.days'); CREATE PUBLICATION mine FOR TABLE app.free",
    );
    for sql in [
        "CREATE PUBLICATION p FOR TABLE app.notes",
        "CREATE PUBLICATION p FOR TABLE app.free, app.notes",
        "CREATE PUBLICATION p FOR TABLE ONLY app.notes (id, tenant_id)",
        "CREATE PUBLICATION p FOR TABLE app.notes WHERE (id = 1)",
        "CREATE PUBLICATION p FOR TABLE app.notes WHERE (body > 'x') WITH (publish = 'insert')",
        "CREATE PUBLICATION p FOR TABLE app.days WITH (publish_via_partition_root)",
        "CREATE PUBLICATION p FOR TABLE app.day",
        "ALTER PUBLICATION mine ADD TABLE app.notes",
        "ALTER PUBLICATION mine ADD TABLE app.notes WHERE (id = 1)",
        "ALTER PUBLICATION mine SET TABLE app.free, app.notes",
    ] {
        for sql in [sql.to_owned(), format!("DO $$ BEGIN {sql}; END $$")] {
            owner.fails(&sql).code("55000").says("maintenance");
        }
        owner.run(MAINTENANCE).run(sql).run("ROLLBACK");
    }
    // Only superusers publish all tables, or those of a schema.
    for sql in [
        "CREATE PUBLICATION p FOR ALL TABLES",
        "CREATE PUBLICATION p FOR TABLES IN SCHEMA app",
        "ALTER PUBLICATION mine ADD TABLES IN SCHEMA app",
    ] {
        owner.fails(sql).code("42501");
        owner.run(MAINTENANCE);
        owner.fails(sql).code("42501");
        owner.run("ROLLBACK");
    }
    owner
        .run(MAINTENANCE)
        .run("ALTER PUBLICATION mine ADD TABLE app.notes; COMMIT")
        .run("ALTER PUBLICATION mine SET (publish = 'insert'); ALTER PUBLICATION mine DROP TABLE app.notes");
    assert_eq!(
        world.db.admin().number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.protected_table_altered' AND target = 'app.notes' AND details ->> 'statement' = 'PUBLICATION'"),
        1
    );
}

/// Dropped with what depends on it, tenancy leaves tables that show nothing.
#[test]
fn dropping_the_extension_opens_nothing() {
    let world = World::new();
    let (mut admin, mut owner, mut app) = (world.db.admin(), world.db.owner(), world.db.app());
    for sql in [
        "DROP EXTENSION tenancy",
        "DROP EXTENSION tenancy CASCADE",
        "DROP SCHEMA tenancy CASCADE",
        "DROP FUNCTION tenancy.can(text, uuid) CASCADE",
        "ALTER EXTENSION tenancy DROP TABLE tenancy_internal.protected_table_registry",
        "DROP EVENT TRIGGER tenancy_forget_dropped",
        "DROP OWNED BY tenancy_owner CASCADE",
    ] {
        let failure = owner.fails(sql);
        assert!(
            ["42501", "42883", "2BP01"].contains(&failure.code.as_str()),
            "{sql}: {failure:?}"
        );
    }
    admin.fails("DROP EXTENSION tenancy").code("2BP01");
    // A policy of the application's own narrows; without the guards it would open the table.
    admin.run("CREATE POLICY own ON app.notes USING (true)");
    for sql in [
        "DROP EXTENSION tenancy CASCADE",
        "DROP EXTENSION IF EXISTS plpgsql, tenancy CASCADE",
        "DO $$ BEGIN DROP EXTENSION tenancy CASCADE; END $$",
    ] {
        admin
            .fails(sql)
            .code("2BP01")
            .says("app.notes")
            .hints("unprotect");
    }
    admin.run("DROP POLICY own ON app.notes; DROP EXTENSION tenancy CASCADE");
    for session in [&mut app, &mut owner] {
        assert_eq!(session.number(COUNT), 0);
        session
            .fails("INSERT INTO app.notes (tenant_id, body) VALUES (gen_random_uuid(), 'x')")
            .code("42501");
        session.run("UPDATE app.notes SET body = 'x'; DELETE FROM app.notes");
    }
    assert_eq!(admin.number(COUNT), 15);
    // Made again, it does not know the table, which stays closed until it is protected.
    admin.run("CREATE EXTENSION tenancy");
    world.db.grant_roles(&mut admin);
    assert_eq!(world.db.app().number(COUNT), 0);
    world.db.owner().run("SELECT tenancy.protect('app.notes')");
    assert_eq!(
        admin.text("SELECT isolated FROM tenancy.protected_tables"),
        "t"
    );
    world.db.app().fails(COUNT).code("55000");
}

#[test]
fn cascade_takes_no_isolation_off() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE SCHEMA types; CREATE TYPE types.mood AS ENUM ('x');
         CREATE FUNCTION types.own(text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN true;
         CREATE TABLE app.notes (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, body text, mood types.mood);
         SELECT tenancy.protect('app.notes')",
    );
    owner.run("BEGIN; DROP SCHEMA types CASCADE; ROLLBACK");
    let mut admin = world.db.admin();
    admin.run("CREATE POLICY tenancy_extra ON app.notes AS RESTRICTIVE USING (types.own(body))");
    // An application's policy is dropped with its function; a guard is dropped with nothing.
    owner.run("BEGIN; DROP SCHEMA types CASCADE; ROLLBACK");
    for (sql, code) in [
        (
            "ALTER TABLE app.notes DROP COLUMN tenant_id CASCADE",
            "55000",
        ),
        ("DROP OWNED BY CURRENT_USER RESTRICT", "2BP01"),
        ("DROP OWNED BY CURRENT_USER CASCADE", ""),
        ("DROP TABLE app.notes CASCADE", ""),
        ("DROP SCHEMA app CASCADE", ""),
    ] {
        owner.run("BEGIN");
        // However the statement ends, the table is isolated or dropped.
        match owner.batch_execute(sql) {
            Ok(()) => assert_eq!(
                owner.text("SELECT to_regclass('app.notes') IS NULL OR coalesce((SELECT isolated FROM tenancy.protected_tables), false)"),
                "t",
                "{sql}"
            ),
            Err(error) => assert_eq!(tenancy_client_tests::Failure::from(&error).code, code, "{sql}"),
        }
        owner.run("ROLLBACK");
    }
    assert_eq!(
        admin.text("SELECT isolated FROM tenancy.protected_tables"),
        "t"
    );
}

// F42
#[test]
fn a_role_that_tenants_share_does_no_ddl_though_it_owns_the_table() {
    let world = with_code();
    let mut admin = world.db.admin();
    admin.run(&format!(
        "GRANT CREATE ON SCHEMA app TO {0}; ALTER TABLE app.notes OWNER TO {0}; ALTER TABLE app.free OWNER TO {0};
         GRANT ALL ON ALL FUNCTIONS IN SCHEMA app TO {0}",
        world.db.app
    ));
    let mut app = world.db.app();
    let ddl = NEED_MAINTENANCE
        .iter()
        .filter(|sql| {
            sql.contains("app.notes") && !sql.contains("VIEW") && !sql.contains("app.free")
        })
        .chain(GO_ON.iter().filter(|sql| {
            !sql.contains("VIEW")
                && !sql.starts_with("COMMENT")
                && !sql.starts_with("CREATE TABLE app.answers")
        }));
    for sql in ddl.chain(&[
        "ALTER TABLE app.notes ALTER COLUMN tenant_id TYPE text",
        "ALTER TABLE app.notes ALTER COLUMN body TYPE varchar, ALTER COLUMN tenant_id TYPE text",
        "DROP TABLE app.notes",
        "DROP TABLE app.notes CASCADE",
        "ALTER TABLE app.notes SET SCHEMA public",
        "ALTER INDEX app.notes_pkey RENAME TO other",
        "DROP OWNED BY CURRENT_USER CASCADE",
        "DO $$ BEGIN DROP TABLE app.notes CASCADE; END $$",
        "CLUSTER app.notes USING notes_pkey",
        "VACUUM FULL app.notes",
        "REINDEX TABLE app.notes",
    ]) {
        let failure = app.fails(sql);
        assert_eq!(failure.code, "42501", "{sql}: {failure:?}");
    }
    app.begin(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
    app.fails_inside("ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY")
        .code("42501");
    app.fails_inside("DROP TABLE app.notes").code("42501");
    app.run("COMMIT");
    // Unprotected tables belong to their owner.
    app.run("CREATE TABLE app.mine (id int); ALTER TABLE app.mine ADD CHECK (id > 0); DROP TABLE app.mine");
}

// F9
#[test]
fn a_role_that_tenants_share_cannot_lock_others_out() {
    let world = World::new();
    let mut app = world.db.app();
    world.db.owner().run(
        "CREATE VIEW app.seen AS SELECT * FROM app.notes; GRANT ALL ON app.seen TO tenancy_app",
    );
    for mode in [
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ] {
        for table in ["app.notes", "ONLY app.notes", "app.seen"] {
            app.fails(&format!("BEGIN; LOCK TABLE {table} IN {mode} MODE"))
                .code("42501");
            app.run("ROLLBACK");
        }
        app.fails(&format!(
            "DO $$ BEGIN LOCK TABLE app.notes IN {mode} MODE; END $$"
        ))
        .code("42501");
    }
    for mode in ["ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE"] {
        app.run(&format!(
            "BEGIN; LOCK TABLE app.notes IN {mode} MODE; COMMIT"
        ));
    }
    world
        .db
        .owner()
        .run("BEGIN; LOCK TABLE app.notes IN ACCESS EXCLUSIVE MODE; COMMIT");
}

// F9, ATTACKS 32 and 52
#[test]
fn a_role_that_tenants_share_has_no_large_objects_and_ends_no_session() {
    let world = World::new();
    let mut app = world.begin("alice");
    for sql in [
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_get(1)",
        "SELECT lo_get(1, 0, 1)",
        "SELECT lo_put(1, 0, 'x')",
        "SELECT lo_open(1, 1)",
        "SELECT lo_unlink(1)",
        "SELECT count(lo_get(oid)) FROM pg_largeobject_metadata",
        "DO $$ BEGIN PERFORM lo_create(0); END $$",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_cancel_backend(1)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    ] {
        app.fails_inside(sql).code("42501").says("tenants share");
    }
    // Another role's.
    world.db.owner().run("SELECT lo_create(0)");
}

// F41: the very next statement, whatever was planned before.
#[test]
fn a_plan_that_is_kept_does_not_outlive_the_isolation() {
    let world = World::new();
    let (mut admin, mut app) = (world.db.admin(), world.db.app());
    app.run("SET plan_cache_mode = force_generic_plan");
    let statement = app.prepare(COUNT).unwrap();
    world.db.owner().run("CREATE FUNCTION app.counted() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM app.notes); END'");
    for _ in 0..3 {
        app.begin(world.key("alice"));
        assert_eq!(app.query_one(&statement, &[]).unwrap().get::<_, i64>(0), 3);
        assert_eq!(app.number("SELECT app.counted()"), 3);
        app.run("COMMIT");
        app.begin(world.key("alice"));
        admin.run("ALTER POLICY tenancy_guard ON app.notes USING (true)");
        assert!(app.query_one(&statement, &[]).is_err());
        app.run("ROLLBACK").begin(world.key("alice"));
        app.fails("SELECT app.counted()").code("55000");
        app.run("ROLLBACK");
        admin.run("SELECT tenancy.protect('app.notes')");
    }
}
