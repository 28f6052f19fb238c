//! Ways for a table's owner to learn of other tenants' rows by DDL, and by code that DDL runs over them: all require maintenance().
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Failure, Session, World};

const MAINTENANCE: &str = "BEGIN; SELECT tenancy.maintenance('a migration')";

/// A function that counts its calls without rollback, and calls another one, which can be replaced.
const SPIES: &str = "
    CREATE SEQUENCE app.ran; GRANT ALL ON SEQUENCE app.ran TO PUBLIC;
    CREATE FUNCTION app.inner(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM nextval(''app.ran''); RETURN body; END';
    CREATE FUNCTION app.spy(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN app.inner(body); END';
    CREATE FUNCTION app.check(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN app.inner(body) IS NOT NULL; END'";

fn ran(world: &World) -> i64 {
    world
        .db
        .admin()
        .number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM app.ran")
}

/// Asserts that a statement needs maintenance.
#[track_caller]
fn needs_maintenance(session: &mut Session, sql: &str) {
    match session.batch_execute(sql) {
        Ok(()) => panic!("this was not refused: {sql}"),
        Err(error) => {
            let failure = Failure::from(&error);
            assert!(
                failure.code == "55000" && failure.message.contains("needs maintenance"),
                "{sql}: {failure:?}"
            );
        }
    }
    let _ = session.batch_execute("ROLLBACK");
}

/// A world with a table whose definition was full of functions before it was protected.
fn with_functions() -> World {
    let world = World::bare();
    world.db.owner().run(&format!(
        "{SPIES};
         CREATE FUNCTION app.in_index(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN body; END';
         CREATE FUNCTION app.in_predicate(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
         CREATE FUNCTION app.in_statistics(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN body; END';
         CREATE FUNCTION app.in_generated(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN body; END';
         CREATE FUNCTION app.in_check(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
         CREATE FUNCTION app.in_default() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN ''x''; END';
         CREATE FUNCTION app.in_domain(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
         CREATE FUNCTION app.in_range(a integer, b integer) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a - b; END';
         CREATE FUNCTION app.in_operator(a text, b text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
         CREATE FUNCTION app.in_policy(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
         CREATE FUNCTION app.in_key(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN ''k''; END';
         CREATE FUNCTION app.in_body(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
         CREATE FUNCTION app.standard(body text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN app.in_body(body);
         CREATE FUNCTION app.in_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
         CREATE FUNCTION app.in_nothing(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN body; END';
         CREATE FUNCTION app.in_another(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN body; END';
         CREATE DOMAIN app.checked AS text CHECK (app.in_domain(value));
         CREATE TYPE app.pair AS (word app.checked, n int);
         CREATE TYPE app.span AS RANGE (subtype = integer, subtype_diff = app.in_range);
         CREATE OPERATOR app.=== (FUNCTION = app.in_operator, LEFTARG = text, RIGHTARG = text);
         CREATE TABLE app.whole (id int NOT NULL, tenant_id uuid NOT NULL, body text DEFAULT app.in_default(), word app.pair[], span app.span,
             made text GENERATED ALWAYS AS (app.in_generated(body)) STORED,
             CHECK (app.in_check(body)), CHECK (body OPERATOR(app.===) 'x'), CHECK (app.standard(body)));
         CREATE INDEX ON app.whole (app.in_index(body)) WHERE app.in_predicate(body);
         CREATE STATISTICS app.stats ON app.in_statistics(body), id FROM app.whole;
         CREATE TRIGGER spy BEFORE INSERT ON app.whole FOR EACH ROW EXECUTE FUNCTION app.in_trigger();
         CREATE POLICY own ON app.whole USING (app.in_policy(body));
         CREATE TABLE app.halves (tenant_id uuid NOT NULL, body text) PARTITION BY LIST (app.in_key(body));
         CREATE TABLE app.half PARTITION OF app.halves FOR VALUES IN ('k');
         CREATE TABLE app.another (id int, body text); CREATE INDEX ON app.another (app.in_another(body));
         SELECT tenancy.protect('app.whole'); SELECT tenancy.protect('app.halves')"
    ));
    world
}

/// How a function is changed, its name, arguments, result and body.
fn changes(world: &World, function: &str) -> Vec<String> {
    let signature = world
        .db
        .admin()
        .text(&format!("SELECT oid::regprocedure FROM pg_proc WHERE proname = '{function}' AND pronamespace = 'app'::regnamespace"));
    let definition = world.db.admin().text(&format!(
        "SELECT pg_get_functiondef('{signature}'::regprocedure)"
    ));
    let with_notice = definition.replace("BEGIN RETURN", "BEGIN PERFORM 1; RETURN");
    assert_ne!(with_notice, definition);
    vec![
        with_notice,
        format!("ALTER FUNCTION {signature} SET search_path = app"),
        format!("ALTER FUNCTION {signature} SECURITY DEFINER"),
        format!(
            "ALTER FUNCTION {signature} OWNER TO {}_heir",
            world.db.owner
        ),
        format!("ALTER FUNCTION {signature} RENAME TO other"),
        format!("ALTER FUNCTION {signature} SET SCHEMA elsewhere"),
    ]
}

const CALLED: [&str; 13] = [
    "in_index",
    "in_predicate",
    "in_statistics",
    "in_generated",
    "in_check",
    "in_default",
    "in_domain",
    "in_range",
    "in_operator",
    "in_policy",
    "in_key",
    "in_body",
    "in_trigger",
];

/// A role to which the owner may give functions; the drop deletes it.
struct Heir<'a>(&'a World);

impl<'a> Heir<'a> {
    fn new(world: &'a World) -> Self {
        let owner = &world.db.owner;
        world.db.admin().run(&format!(
            "CREATE ROLE {owner}_heir; GRANT {owner}_heir TO {owner}; GRANT ALL ON SCHEMA app TO {owner}_heir"
        ));
        world.db.owner().run("CREATE SCHEMA elsewhere");
        Self(world)
    }
}

impl Drop for Heir<'_> {
    fn drop(&mut self) {
        let heir = format!("{}_heir", self.0.db.owner);
        let drop = format!("DROP OWNED BY {heir} CASCADE; DROP ROLE {heir}");
        let _ = self.0.db.admin().batch_execute(&drop);
    }
}

#[test]
fn a_function_that_a_protected_table_calls_is_altered_in_maintenance_only() {
    let world = with_functions();
    let _heir = Heir::new(&world);
    let mut owner = world.db.owner();
    owner.run("CREATE PROCEDURE app.run(sql text) LANGUAGE plpgsql AS 'BEGIN EXECUTE sql; END'");
    for function in CALLED {
        for sql in changes(&world, function) {
            needs_maintenance(&mut owner, &sql);
            needs_maintenance(
                &mut owner,
                &format!(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE app.x (); {sql}; COMMIT"
                ),
            );
            let nested = sql.replace('\'', "''");
            needs_maintenance(
                &mut owner,
                &format!("DO $do$ BEGIN EXECUTE '{nested}'; END $do$"),
            );
            needs_maintenance(&mut owner, &format!("CALL app.run('{nested}')"));
            owner.run(MAINTENANCE).run(&sql).run("ROLLBACK");
        }
        // An unchanged definition may be repeated, as migrations do that run at each deployment.
        let same = world.db.admin().text(&format!(
            "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = '{function}' AND pronamespace = 'app'::regnamespace"
        ));
        owner.run(&same);
    }
    // The owner may change functions that no protected table calls.
    for function in ["in_nothing", "in_another"] {
        for sql in changes(&world, function) {
            owner.run("BEGIN").run(&sql).run("ROLLBACK");
        }
    }
    owner.run("CREATE FUNCTION app.in_nothing(body int) RETURNS int LANGUAGE sql AS 'SELECT 1'");
    // With maintenance() the change is recorded; and superusers are not restricted.
    let first = &changes(&world, "in_check")[0];
    let mut admin = world.db.admin();
    admin.run("BEGIN").run(first).run("ROLLBACK");
    owner.run(MAINTENANCE).run(first).run("COMMIT");
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.protected_table_altered' AND target = 'app.whole'"),
        1
    );
    owner.run("SELECT tenancy.unprotect('app.whole'); SELECT tenancy.unprotect('app.halves')");
    for sql in changes(&world, "in_index") {
        owner.run("BEGIN").run(&sql).run("ROLLBACK");
    }
}

/// A table whose index calls a function that calls another.
fn with_spies() -> World {
    let world = World::bare();
    world.db.owner().run(&format!(
        "{SPIES};
         CREATE TABLE app.docs (id int PRIMARY KEY, tenant_id uuid NOT NULL, body text, n int CHECK (app.check(n::text)));
         CREATE INDEX spied ON app.docs (app.spy(body));
         CREATE INDEX brin ON app.docs USING brin (app.spy(body)) WITH (pages_per_range = 1);
         SELECT tenancy.protect('app.docs')"
    ));
    world.fill(
        "app.docs (id, tenant_id, body, n)",
        "n + 10 * length(t.slug), t.id, t.slug, n",
    );
    world
}

/// Commands that run a table's functions on all of its rows, in a transaction and outside of one.
const OVER_ALL: [&str; 10] = [
    "REINDEX TABLE app.docs",
    "REINDEX INDEX app.spied",
    "ANALYZE app.docs",
    "ANALYZE",
    "CLUSTER app.docs USING docs_pkey",
    "ALTER TABLE app.docs ADD COLUMN more uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE app.docs ALTER COLUMN n TYPE bigint",
    "ALTER TABLE app.docs ALTER COLUMN id TYPE bigint",
    "ALTER TABLE app.docs SET UNLOGGED",
    "SELECT brin_summarize_new_values('app.brin')",
];
const OUTSIDE: [&str; 6] = [
    "REINDEX TABLE CONCURRENTLY app.docs",
    "REINDEX INDEX CONCURRENTLY app.spied",
    "REINDEX SCHEMA app",
    "VACUUM FULL app.docs",
    "VACUUM (ANALYZE) app.docs",
    "CLUSTER",
];

#[test]
fn a_tables_functions_run_over_all_rows_in_maintenance_only() {
    let world = with_spies();
    let mut owner = world.db.owner();
    owner
        .run(MAINTENANCE)
        .run("CLUSTER app.docs USING docs_pkey; COMMIT");
    // Gives BRIN something to summarize.
    owner.run("SELECT brin_desummarize_range('app.brin', 0)");
    // The owner can replace the inner function: calls inside functions cannot be followed.
    owner.run("CREATE OR REPLACE FUNCTION app.inner(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM nextval(''app.ran''); RAISE NOTICE ''%'', body; RETURN body; END'");
    let before = ran(&world);
    for sql in OVER_ALL.iter().chain(&OUTSIDE) {
        needs_maintenance(&mut owner, sql);
    }
    // A refused attempt leaves a mark in the index: only a new index has something to summarize.
    const SUMMARIZE: &str = "REINDEX INDEX app.brin; SELECT brin_desummarize_range('app.brin', 0)";
    for sql in OVER_ALL {
        if !sql.starts_with("SELECT") {
            needs_maintenance(&mut owner, &format!("DO $do$ BEGIN {sql}; END $do$"));
        }
    }
    assert_eq!(ran(&world), before);
    // Nor from a function that is run for another table.
    owner.run(
        "CREATE TABLE app.plain (id int, body text); INSERT INTO app.plain VALUES (1, 'x'); CREATE INDEX ON app.plain (app.spy(body))",
    );
    owner.run(
        "CREATE FUNCTION app.detour(body text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM brin_summarize_new_values(''app.brin''); RETURN body; END'",
    );
    let mut admin = world.db.admin();
    admin.run(SUMMARIZE);
    let before = ran(&world);
    needs_maintenance(
        &mut owner,
        "BEGIN; ALTER TABLE app.docs ADD COLUMN more int; CREATE INDEX ON app.plain (app.detour(body))",
    );
    assert_eq!(ran(&world), before);
    // Unprotected tables are their owner's, also after the protected one was altered.
    for sql in [
        "REINDEX TABLE app.plain",
        "ANALYZE app.plain",
        "VACUUM FULL app.plain",
        "BEGIN; ALTER TABLE app.docs ADD COLUMN more int; CREATE INDEX ON app.plain (upper(app.spy(body))); ANALYZE app.plain; ROLLBACK",
    ] {
        owner.run(sql);
    }
    assert!(ran(&world) > before);
    for sql in OVER_ALL {
        owner.run(MAINTENANCE).run(sql).run("ROLLBACK");
    }
    // DDL that runs no such code is allowed.
    for sql in [
        "ALTER TABLE app.docs ADD COLUMN more uuid",
        "ALTER TABLE app.docs ADD COLUMN more int DEFAULT 1",
        "CREATE INDEX ON app.docs (tenant_id, body)",
        "CREATE INDEX ON app.docs (lower(body))",
        "REINDEX INDEX app.docs_pkey",
    ] {
        owner.run("BEGIN").run(sql).run("ROLLBACK");
    }
    owner.run("DROP INDEX app.brin").run("VACUUM app.docs");
    let before = ran(&world);
    admin.run("ANALYZE app.docs; REINDEX TABLE app.docs");
    assert!(ran(&world) > before);
    // Functions of a superuser's are no lesser role's code.
    admin.run("ALTER FUNCTION app.spy(text) OWNER TO postgres; ALTER FUNCTION app.inner(text) OWNER TO postgres; ALTER FUNCTION app.check(text) OWNER TO postgres");
    owner.run("ANALYZE app.docs; REINDEX TABLE app.docs");
}

/// Where a child brings the code.
const CHILDREN: [&str; 7] = [
    "ALTER TABLE app.child ADD CHECK (app.check(body))",
    "CREATE INDEX ON app.child (app.spy(body))",
    "CREATE INDEX ON app.child (id) WHERE app.check(body)",
    "CREATE STATISTICS app.s ON app.spy(body), id FROM app.child",
    "CREATE TRIGGER spy BEFORE INSERT ON app.child FOR EACH ROW EXECUTE FUNCTION app.fire()",
    "CREATE RULE spy AS ON INSERT TO app.child DO ALSO SELECT app.spy(new.body)",
    "CREATE POLICY own ON app.child USING (app.check(body))",
];

#[test]
fn a_part_that_brings_functions_along_needs_maintenance() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(&format!(
        "{SPIES};
         CREATE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
         CREATE FUNCTION app.known(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
         CREATE DOMAIN app.checked AS text CHECK (app.check(value));
         CREATE TABLE app.days (id int, tenant_id uuid NOT NULL, body text CHECK (app.known(body))) PARTITION BY RANGE (id);
         CREATE TABLE app.base (id int, tenant_id uuid NOT NULL, body text);
         SELECT tenancy.protect('app.days'); SELECT tenancy.protect('app.base')"
    ));
    let attaches = [
        (
            "CREATE TABLE app.child (id int, tenant_id uuid NOT NULL, body text, CONSTRAINT days_body_check CHECK (app.known(body)))",
            "ALTER TABLE app.days ATTACH PARTITION app.child FOR VALUES FROM (0) TO (10)",
        ),
        (
            "CREATE TABLE app.child (id int, tenant_id uuid NOT NULL, body text)",
            "ALTER TABLE app.child INHERIT app.base",
        ),
    ];
    for (create, attach) in attaches {
        for code in CHILDREN {
            // PostgreSQL itself refuses a part with rules.
            if code.contains("RULE") && attach.contains("PARTITION") {
                continue;
            }
            owner.run(&format!("BEGIN; {create}; {code}"));
            needs_maintenance(&mut owner, attach);
            owner.run(&format!(
                "{MAINTENANCE}; {create}; {code}; {attach}; ROLLBACK"
            ));
        }
        // The parts call the functions of the whole table too.
        owner.run(&format!(
            "BEGIN; {create}; CREATE INDEX ON app.child (body, lower(body)); {attach}; ROLLBACK"
        ));
    }
    for sql in [
        "CREATE TABLE app.child PARTITION OF app.days (CHECK (app.check(body))) FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE app.child PARTITION OF app.days (body DEFAULT app.spy('x')) FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE app.child (CHECK (app.check(body))) INHERITS (app.base)",
        "CREATE TABLE app.child (more app.checked) INHERITS (app.base)",
        "CREATE TABLE app.child (more text GENERATED ALWAYS AS (app.spy(body)) STORED) INHERITS (app.base)",
    ] {
        needs_maintenance(&mut owner, sql);
        owner.run(&format!("{MAINTENANCE}; {sql}; ROLLBACK"));
    }
    owner.run("CREATE TABLE app.child PARTITION OF app.days FOR VALUES FROM (0) TO (10); CREATE TABLE app.other () INHERITS (app.base)");
    needs_maintenance(
        &mut owner,
        "ALTER TABLE app.child ADD CHECK (app.check(body))",
    );
}

#[test]
fn code_of_a_type_needs_maintenance() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(&format!(
        "{SPIES};
         CREATE FUNCTION app.diff(a integer, b integer) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a - b; END';
         CREATE DOMAIN app.checked AS text CHECK (app.check(value));
         CREATE FUNCTION app.word() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN app.inner(''x''); END';
         CREATE DOMAIN app.filled AS text DEFAULT app.word();
         CREATE TYPE app.pair AS (word app.checked, n int);
         CREATE TYPE app.plain AS (word text, n int);
         CREATE TYPE app.span AS RANGE (subtype = integer, subtype_diff = app.diff);
         CREATE DOMAIN app.short AS text CHECK (length(value) < 10);
         ALTER TABLE app.notes ADD COLUMN plain app.plain, ADD COLUMN short app.short;
         CREATE TYPE app.row AS (tenant_id uuid, body text); CREATE TABLE app.typed OF app.row; SELECT tenancy.protect('app.typed')"
    ));
    for sql in [
        "ALTER TABLE app.notes ADD COLUMN more app.checked",
        "ALTER TABLE app.notes ADD COLUMN more app.checked[]",
        "ALTER TABLE app.notes ADD COLUMN more app.filled",
        "ALTER TABLE app.notes ADD COLUMN more app.pair",
        "ALTER TABLE app.notes ADD COLUMN more app.span",
        "ALTER TABLE app.notes ALTER COLUMN body TYPE app.checked",
        "ALTER TYPE app.plain ADD ATTRIBUTE more app.checked",
        "ALTER TYPE app.row ALTER ATTRIBUTE body TYPE varchar(5) CASCADE",
        "ALTER TYPE app.row DROP ATTRIBUTE tenant_id CASCADE",
        "ALTER TYPE app.row ADD ATTRIBUTE more app.checked CASCADE",
        "ALTER DOMAIN app.short SET DEFAULT app.word()",
        "ALTER DOMAIN app.short ADD CHECK (app.check(value)) NOT VALID",
    ] {
        needs_maintenance(&mut owner, sql);
    }
    for sql in [
        "ALTER TABLE app.notes ADD COLUMN more app.short",
        "ALTER TABLE app.notes ADD COLUMN more int4range",
        "ALTER TYPE app.plain ADD ATTRIBUTE more app.short",
        "ALTER DOMAIN app.short SET DEFAULT 'x'",
    ] {
        owner.run("BEGIN").run(sql).run("ROLLBACK");
    }
    assert_eq!(ran(&world), 0);
}

/// Values computed from all rows, shown to roles that may read an index: PostgreSQL's view applies no row security to them.
#[test]
fn statistics_of_an_index_are_read_in_maintenance_only() {
    const VALUES: &str = "SELECT coalesce(string_agg(concat_ws(' ', most_common_vals::text, histogram_bounds::text), ' '), '') FROM pg_stats WHERE tablename IN ('notes', 'notes_lower_idx')";
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("ANALYZE app.notes");
    assert_eq!(owner.text(VALUES), "");
    owner.run("CREATE INDEX ON app.notes (lower(body)); ANALYZE app.notes");
    let mut admin = world.db.admin();
    assert!(admin.text(VALUES).contains("umbrella"));
    for sql in [
        VALUES,
        "SELECT FROM pg_stats",
        "SELECT count(*) FROM pg_catalog.pg_stats WHERE tablename = 'pg_class'",
        "CREATE VIEW app.stats AS SELECT tablename, most_common_vals::text FROM pg_stats; SELECT FROM app.stats",
        "CREATE TEMP TABLE stats AS SELECT most_common_vals::text FROM pg_stats",
        "COPY (SELECT most_common_vals FROM pg_stats) TO STDOUT",
        "DO $$ BEGIN PERFORM FROM pg_stats; END $$",
    ] {
        needs_maintenance(&mut owner, sql);
    }
    owner.run(MAINTENANCE);
    assert!(owner.text(VALUES).contains("umbrella"));
    owner.run("ROLLBACK; SELECT FROM pg_stats_ext; SELECT FROM pg_stats_ext_exprs");
    // A statement that reads no index of a protected table is not affected.
    world.db.app().run("SELECT FROM pg_stats");
    // A role that may read all tables reads no rows of theirs there.
    let reader = format!("{}_reader", world.db.name);
    admin.run(&format!(
        "CREATE ROLE {reader}; GRANT pg_read_all_data TO {reader}; SET ROLE {reader}"
    ));
    for sql in [
        VALUES,
        "SELECT FROM pg_statistic",
        "SELECT FROM pg_statistic_ext_data",
    ] {
        needs_maintenance(&mut admin, sql);
    }
    admin.run(&format!("RESET ROLE; DROP ROLE {reader}"));
    owner.run("DROP INDEX app.notes_lower_idx; SELECT FROM pg_stats");
}

/// A statement that fails for chosen rows, or creates an object whose size reveals them.
#[test]
fn ddl_whose_outcome_reveals_chosen_rows_needs_maintenance() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TYPE app.state AS ENUM ('open', 'done');
         ALTER TABLE app.notes ADD COLUMN n bigint, ADD COLUMN amount numeric(8, 2), ADD COLUMN at timestamptz, ADD COLUMN code varchar(20),
             ADD COLUMN data jsonb, ADD COLUMN hidden boolean, ADD COLUMN state app.state, ADD COLUMN small int",
    );
    let long = "x".repeat(300);
    let choosing = format!("CREATE INDEX ON app.notes (coalesce(body, '{long}'))");
    for sql in [
        "CREATE INDEX ON app.notes (id) WHERE body = 'acme 1'",
        "CREATE INDEX ON app.notes (id) WHERE body LIKE 'a%'",
        "CREATE INDEX ON app.notes (id) WHERE body <> ''",
        "CREATE INDEX ON app.notes (id) WHERE n IS NULL AND id > 5",
        "CREATE INDEX ON app.notes (id) WHERE state = 'open'",
        "CREATE INDEX ON app.notes (id) WHERE tenant_id = '00000000-0000-0000-0000-000000000000'",
        "CREATE INDEX ON app.notes (id) WHERE lower(body) IS NULL",
        "CREATE INDEX ON app.notes (id) WHERE (body = 'acme 1') IS TRUE",
        "CREATE INDEX ON app.notes (id) WHERE data ? 'x'",
        "CREATE INDEX ON app.notes ((body = 'acme 1'))",
        "CREATE INDEX ON app.notes ((CASE WHEN body LIKE 'a%' THEN 0 ELSE id END))",
        "CREATE INDEX ON app.notes ((nullif(body, 'acme 1')))",
        "CREATE INDEX ON app.notes (replace(body, 'acme', 'x'))",
        "CREATE INDEX ON app.notes (substring(body from 'a.*'))",
        "CREATE INDEX ON app.notes (substr(body, 1, small))",
        "CREATE INDEX ON app.notes (date_trunc(body, at AT TIME ZONE 'UTC'))",
        "CREATE INDEX ON app.notes ((greatest(body, 'm')))",
        "CREATE INDEX ON app.notes ((at AT TIME ZONE body))",
        choosing.as_str(),
        "CREATE UNIQUE INDEX ON app.notes (body)",
        "CREATE UNIQUE INDEX ON app.notes (lower(body))",
        "CREATE UNIQUE INDEX ON app.notes (id) INCLUDE (tenant_id)",
        "CREATE UNIQUE INDEX CONCURRENTLY ON app.notes (body)",
        "ALTER TABLE app.notes ADD UNIQUE (body)",
        "ALTER TABLE app.notes DROP CONSTRAINT notes_pkey, ADD PRIMARY KEY (body)",
        "ALTER TABLE app.notes ALTER COLUMN body TYPE varchar(200)",
        "ALTER TABLE app.notes ALTER COLUMN body TYPE char(3)",
        "ALTER TABLE app.notes ALTER COLUMN n TYPE int",
        "ALTER TABLE app.notes ALTER COLUMN n TYPE smallint",
        "ALTER TABLE app.notes ALTER COLUMN code TYPE varchar(5)",
        "ALTER TABLE app.notes ALTER COLUMN amount TYPE numeric(4, 2)",
        "ALTER TABLE app.notes ALTER COLUMN amount TYPE int",
    ] {
        needs_maintenance(&mut owner, sql);
    }
    for sql in [
        "CREATE INDEX ON app.notes (id) WHERE n IS NULL",
        "CREATE INDEX ON app.notes (id) WHERE hidden",
        "CREATE INDEX ON app.notes (id) WHERE NOT hidden AND at IS NOT NULL OR hidden IS NOT TRUE",
        "CREATE INDEX ON app.notes (lower(body), upper(code))",
        "CREATE INDEX ON app.notes (coalesce(body, ''))",
        "CREATE INDEX ON app.notes ((body || ' ' || code))",
        "CREATE INDEX ON app.notes (substr(body, 1, 10), left(code, 3))",
        "CREATE INDEX ON app.notes (date_trunc('day', at AT TIME ZONE 'UTC'))",
        "CREATE INDEX ON app.notes ((data ->> 'kind'))",
        "CREATE INDEX ON app.notes USING gin (data)",
        "CREATE INDEX ON app.notes USING gin (to_tsvector('english', coalesce(body, '')))",
        "CREATE UNIQUE INDEX ON app.notes (tenant_id, body)",
        "CREATE UNIQUE INDEX ON app.notes (lower(body), tenant_id) WHERE at IS NULL",
        "ALTER TABLE app.notes ADD UNIQUE (tenant_id, body)",
        "ALTER TABLE app.notes ADD COLUMN slug text UNIQUE",
        "CREATE UNIQUE INDEX made ON app.notes (tenant_id, code); ALTER TABLE app.notes ADD CONSTRAINT used UNIQUE USING INDEX made",
        "ALTER TABLE app.notes ALTER COLUMN body TYPE varchar",
        "ALTER TABLE app.notes ALTER COLUMN code TYPE varchar(40)",
        "ALTER TABLE app.notes ALTER COLUMN code TYPE text",
        "ALTER TABLE app.notes ALTER COLUMN small TYPE bigint",
        "ALTER TABLE app.notes ALTER COLUMN small TYPE numeric",
        "ALTER TABLE app.notes ALTER COLUMN n TYPE text",
        "ALTER TABLE app.notes ALTER COLUMN amount TYPE numeric(12, 2)",
        "ALTER TABLE app.notes ALTER COLUMN amount TYPE numeric",
    ] {
        owner.run("BEGIN").run(sql).run("ROLLBACK");
    }
}

/// Creating a partition would reveal whether a row of the default partition has its key.
#[test]
fn partitions_do_not_tell_of_rows_in_the_default_one() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.days (tenant_id uuid NOT NULL, day int NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE app.rest PARTITION OF app.days DEFAULT;
         CREATE TABLE app.days_1 PARTITION OF app.days FOR VALUES FROM (0) TO (10);
         SELECT tenancy.protect('app.days');
         CREATE TABLE app.days_2 PARTITION OF app.days FOR VALUES FROM (10) TO (20);
         CREATE TABLE app.loose (tenant_id uuid NOT NULL, day int NOT NULL);
         ALTER TABLE app.days ATTACH PARTITION app.loose FOR VALUES FROM (20) TO (30)",
    );
    world.fill("app.days", "t.id, n + 100");
    for sql in [
        "CREATE TABLE app.days_3 PARTITION OF app.days FOR VALUES FROM (100) TO (200)",
        "CREATE TABLE app.loose_2 (LIKE app.loose); ALTER TABLE app.days ATTACH PARTITION app.loose_2 FOR VALUES FROM (50) TO (60)",
    ] {
        needs_maintenance(&mut owner, sql);
    }
    // Nor of rows that were taken out to be put in again.
    world.fill("app.days", "t.id, n");
    needs_maintenance(
        &mut owner,
        "BEGIN; ALTER TABLE app.days DETACH PARTITION app.days_1; ALTER TABLE app.days ATTACH PARTITION app.days_1 FOR VALUES FROM (0) TO (2)",
    );
    owner.run(&format!(
        "{MAINTENANCE}; ALTER TABLE app.days DETACH PARTITION app.days_1; ALTER TABLE app.days ATTACH PARTITION app.days_1 FOR VALUES FROM (0) TO (9);
         CREATE TABLE app.days_3 PARTITION OF app.days FOR VALUES FROM (200) TO (300); COMMIT"
    ));
}
