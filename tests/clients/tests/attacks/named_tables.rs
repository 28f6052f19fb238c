//! Ways to name a protected table, and to reach its rows, that do not look like a query of it: parts of a statement that the planner
//! removes, system columns, samples, functions that take a table's name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;

use tenancy_client_tests::{Session, World};

/// A world with `app.secrets` beside `app.notes`, and with what statements need.
fn world() -> World {
    let world = World::new();
    world.db.owner().run(
        "CREATE TABLE app.secrets (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, body text);
         CREATE TABLE app.plain (id bigint PRIMARY KEY, n bigint); INSERT INTO app.plain SELECT n, n FROM generate_series(1, 5) n;
         SELECT tenancy.protect('app.secrets');
         CREATE VIEW app.closed WITH (security_invoker) AS SELECT 1 AS one, CASE WHEN false THEN (SELECT count(*) FROM app.secrets) END AS n;
         GRANT SELECT ON app.closed TO tenancy_app",
    );
    world.fill(
        "app.secrets (id, tenant_id, body)",
        "n + 10 * external_id::int, t.id, t.slug",
    );
    world
}

/// Statements from which the planner removes the part that names `app.secrets`.
const FOLDED: [&str; 30] = [
    "SELECT CASE WHEN false THEN (SELECT count(*) FROM app.secrets) END",
    "SELECT coalesce(1, (SELECT count(*) FROM app.secrets))",
    "SELECT 1 WHERE NULL = (SELECT count(*) FROM app.secrets)",
    "SELECT 1 WHERE false AND EXISTS (SELECT FROM app.secrets)",
    "SELECT 1 WHERE true OR EXISTS (SELECT FROM app.secrets)",
    "SELECT count(*) FROM app.plain WHERE id = 1 AND id IN (SELECT id FROM app.secrets) AND false",
    "SELECT count(*) FROM app.plain WHERE true OR id = ANY (ARRAY(SELECT id FROM app.secrets))",
    "SELECT count(*) FROM app.plain HAVING false AND (SELECT count(*) FROM app.secrets) > 0",
    "SELECT count(*) FROM app.plain p LEFT JOIN app.secrets s ON s.id = p.id",
    "SELECT count(*) FROM app.plain p LEFT JOIN app.secrets s ON false",
    "SELECT count(*) FROM app.plain p JOIN app.plain q ON q.id = p.id AND (true OR p.id = (SELECT max(id) FROM app.secrets))",
    "WITH w AS (SELECT * FROM app.secrets) SELECT 1",
    "WITH w AS MATERIALIZED (SELECT (SELECT count(*) FROM app.secrets) AS n), x AS (SELECT 1) SELECT * FROM x",
    "WITH w AS (WITH v AS (SELECT * FROM app.secrets) SELECT 1) SELECT * FROM w",
    "SELECT s.y FROM (SELECT (SELECT count(*) FROM app.secrets) AS x, 1 AS y) s",
    "SELECT s.y FROM (SELECT (SELECT count(*) FROM app.secrets) AS x, n AS y FROM app.plain OFFSET 0) s",
    "SELECT s.y FROM (SELECT CASE WHEN false THEN (SELECT count(*) FROM app.secrets) END AS x, n AS y FROM app.plain) s",
    "SELECT 1 FROM (VALUES ((SELECT count(*) FROM app.secrets))) v(x)",
    "SELECT EXISTS (SELECT (SELECT max(id) FROM app.secrets) FROM app.plain)",
    "SELECT EXISTS (SELECT FROM app.plain ORDER BY (SELECT max(id) FROM app.secrets))",
    "SELECT count(*) FROM app.secrets WHERE false",
    "SELECT count(*) FROM app.secrets WHERE id > 5 AND id < 5",
    "SELECT count(*) FROM app.plain WHERE id IN (SELECT id FROM app.secrets WHERE false)",
    "SELECT one FROM app.closed",
    "SELECT 1 UNION ALL SELECT CASE WHEN false THEN (SELECT count(*) FROM app.secrets) END",
    "SELECT 1 FROM generate_series(1, CASE WHEN false THEN (SELECT count(*) FROM app.secrets) ELSE 1 END) g",
    "INSERT INTO app.plain SELECT 7, coalesce(7, (SELECT count(*) FROM app.secrets))",
    "UPDATE app.plain SET n = CASE WHEN true THEN 1 ELSE (SELECT count(*) FROM app.secrets) END",
    "DELETE FROM app.plain WHERE false AND EXISTS (SELECT FROM app.secrets)",
    "MERGE INTO app.plain p USING (SELECT 1 AS id) s ON p.id = s.id WHEN MATCHED THEN UPDATE SET n = coalesce(1, (SELECT count(*) FROM app.secrets))",
];

/// The same, by way of other statements.
fn around(sql: &str) -> Vec<String> {
    vec![
        sql.to_owned(),
        format!("EXPLAIN (ANALYZE) {sql}"),
        format!("PREPARE around AS {sql}; EXECUTE around; DEALLOCATE around"),
        format!(
            "SET LOCAL plan_cache_mode = force_generic_plan; PREPARE around AS {sql}; EXECUTE around; DEALLOCATE around"
        ),
        format!("DO $do$ BEGIN EXECUTE $sql${sql}$sql$; END $do$"),
    ]
}

#[test]
fn a_part_that_planning_takes_out_is_refused_without_a_context() {
    let world = world();
    let mut app = world.db.app();
    for sql in FOLDED {
        for sql in around(sql) {
            app.run("BEGIN");
            app.fails(&sql).code("55000").says("context");
            app.run("ROLLBACK");
        }
    }
    // By a parameter that closes the branch.
    app.run("BEGIN; SET LOCAL plan_cache_mode = force_custom_plan; PREPARE p (boolean) AS SELECT CASE WHEN $1 THEN (SELECT count(*) FROM app.secrets) END");
    app.fails("EXECUTE p (false)").code("55000").says("context");
    app.run("ROLLBACK; BEGIN");
    let mut closed = |on: bool| {
        let sql = "SELECT CASE WHEN $1 THEN (SELECT count(*) FROM app.secrets) END";
        app.fails_with(sql, &[&on])
    };
    closed(false).code("55000").says("context");
    app.run("ROLLBACK");
}

#[test]
fn a_part_that_planning_takes_out_works_in_a_context_and_needs_the_right() {
    let world = world();
    let mut app = world.begin("alice");
    for sql in FOLDED {
        for sql in around(sql) {
            app.run(&format!("SAVEPOINT s; {sql}; ROLLBACK TO s"));
        }
    }
    app.run("COMMIT");
    world
        .db
        .owner()
        .run("REVOKE SELECT ON app.secrets FROM tenancy_app");
    app.begin(world.key("alice"));
    for sql in FOLDED {
        app.fails_inside(sql).code("42501").says("secrets");
    }
}

#[test]
fn a_part_that_planning_takes_out_is_on_record() {
    let world = world();
    world.db.owner().run(&format!(
        "SELECT tenancy.assign('{}', 'super_admin', 'platform')",
        world.id("pat")
    ));
    world
        .begin("pat")
        .run("SELECT tenancy.elevate('ticket 7', '1 hour'); COMMIT");
    let mut admin = world.db.admin();
    let mut recorded = || {
        let entries = admin.texts("SELECT details ->> 'tables' FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement' ORDER BY xid, id");
        (
            entries.len(),
            entries.iter().filter(|t| t.contains("app.secrets")).count(),
        )
    };
    let mut pat = world.begin("pat");
    for sql in FOLDED {
        for sql in around(sql) {
            let before = recorded();
            pat.run(&format!("SAVEPOINT s; {sql}; ROLLBACK TO s"));
            let after = recorded();
            assert!(after.1 > before.1, "{sql}: {before:?} {after:?}");
        }
    }
    // A statement that names no protected table is not recorded, and a table that is named twice is recorded once.
    let before = recorded();
    pat.run("SELECT CASE WHEN false THEN (SELECT count(*) FROM app.plain) END");
    assert_eq!(recorded(), before);
    pat.run("SELECT (SELECT count(*) FROM app.secrets), CASE WHEN false THEN (SELECT count(*) FROM app.secrets) END");
    assert_eq!(recorded(), (before.0 + 1, before.1 + 1));
}

/// Ways to reach `app.notes`, and how many rows alice sees that way.
const WAYS: [(&str, i64); 18] = [
    (
        "SELECT count(*) FROM app.notes WHERE ctid = '(0,1)' OR ctid = ANY (ARRAY(SELECT format('(0,%s)', i)::tid FROM generate_series(1, 99) i))",
        3,
    ),
    (
        "SELECT count(*) FROM app.notes WHERE ctid >= '(0,0)' AND ctid < '(9,0)'",
        3,
    ),
    (
        "SELECT count(xmin) FROM app.notes WHERE tableoid = 'app.notes'::regclass",
        3,
    ),
    ("SELECT count(n) FROM app.notes n", 3),
    ("SELECT count(row_to_json(n)) FROM app.notes n", 3),
    (
        "SELECT count(n::text) FROM app.notes n WHERE n IS DISTINCT FROM NULL",
        3,
    ),
    (
        "SELECT max(c) FROM (SELECT count(*) OVER () AS c FROM app.notes) w",
        3,
    ),
    (
        "SELECT max(rank) FROM (SELECT rank() OVER (ORDER BY id) FROM app.notes) w",
        3,
    ),
    (
        "SELECT count(*) FROM app.notes TABLESAMPLE SYSTEM (100) REPEATABLE (1)",
        3,
    ),
    (
        "SELECT count(*) FROM app.notes TABLESAMPLE BERNOULLI (100)",
        3,
    ),
    (
        "SELECT count(*) FROM app.notes TABLESAMPLE SYSTEM_ROWS (100)",
        3,
    ),
    (
        "SELECT count(*) FROM app.notes TABLESAMPLE SYSTEM_TIME (1000)",
        3,
    ),
    (
        "SELECT count(*) FROM unnest(xpath('//row', table_to_xml('app.notes', true, false, '')))",
        3,
    ),
    (
        "SELECT count(*) FROM unnest(xpath('//row', query_to_xml('TABLE app.notes', true, false, '')))",
        3,
    ),
    (
        "SELECT sum(ndoc) FROM ts_stat('SELECT ''x''::tsvector FROM app.notes')",
        3,
    ),
    (
        "WITH w AS (UPDATE app.notes SET body = body RETURNING ctid) SELECT count(*) FROM w",
        3,
    ),
    (
        "WITH w AS (DELETE FROM app.notes RETURNING *) SELECT count(*) FROM w",
        3,
    ),
    (
        "WITH w AS (INSERT INTO app.notes (tenant_id, body) SELECT tenant_id, body FROM app.notes ON CONFLICT DO NOTHING RETURNING *) SELECT count(*) FROM w",
        3,
    ),
];

#[test]
fn every_way_to_rows_is_refused_without_a_context_and_shows_ones_own_with_one() {
    let world = world();
    world.db.admin().run(
        "CREATE EXTENSION tsm_system_rows; CREATE EXTENSION tsm_system_time; ANALYZE app.notes",
    );
    let mut app = world.db.app();
    let mut alice = world.begin("alice");
    for (sql, rows) in WAYS {
        app.run("BEGIN");
        app.fails(sql).code("55000").says("context");
        app.run("ROLLBACK");
        alice.run("SAVEPOINT s");
        assert_eq!(alice.number(sql), rows, "{sql}");
        alice.run("ROLLBACK TO s");
    }
    let merge = "MERGE INTO app.notes n USING app.notes m ON n.id = m.id WHEN MATCHED THEN DELETE";
    app.run("BEGIN");
    app.fails(merge).code("55000").says("context");
    app.run("ROLLBACK");
    alice.run("SAVEPOINT s");
    assert_eq!(alice.touched(merge), 3);
    alice.run("ROLLBACK TO s");
    app.run("BEGIN");
    assert!(app.copy_out("COPY app.notes TO STDOUT").is_err());
    app.run("ROLLBACK");
    let mut copied = String::new();
    (alice.copy_out("COPY app.notes TO STDOUT").unwrap())
        .read_to_string(&mut copied)
        .unwrap();
    assert_eq!(copied.lines().count(), 3, "{copied}");
    // Statistics of tables that row security hides rows of are shown to those that it does not apply to.
    for session in [&mut app, &mut alice] {
        for view in ["pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"] {
            assert_eq!(
                session.number(&format!(
                    "SELECT count(*) FROM {view} WHERE tablename = 'notes'"
                )),
                0
            );
        }
    }
}

/// Whether a row exists, by functions that read a table's pages and evaluate no policy.
#[test]
fn the_place_of_a_row_reveals_nothing() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE FUNCTION app.at(regclass, tid) RETURNS tid LANGUAGE plpgsql AS 'BEGIN RETURN currtid2($1::text, $2); END';
         CREATE OPERATOR app.@@@ (LEFTARG = text, RIGHTARG = tid, FUNCTION = currtid2)",
    );
    let ways = [
        "SELECT currtid2('app.notes', '(0,1)')",
        "SELECT currtid2(relname::text, '(0,1)') FROM pg_class WHERE relname = 'no such'",
        "SELECT 'app.notes'::text OPERATOR(app.@@@) '(0,1)'::tid",
        "SELECT app.at('app.notes', '(0,1)')",
        "DO $$ BEGIN PERFORM currtid2('app.notes', '(0,9)'); END $$",
    ];
    let refuse = |session: &mut Session| {
        for sql in ways {
            session
                .fails_inside(sql)
                .code("42501")
                .says("currtid2")
                .hints("ctid");
        }
    };
    let mut app = world.db.app();
    refuse(app.run("BEGIN"));
    refuse(&mut world.begin("alice"));
    refuse(owner.run("BEGIN"));
    // Roles that row security does not apply to can still use it.
    let mut admin = world.db.admin();
    assert_eq!(admin.text(ways[0]), "(0,1)");
}

/// Functions of an index run on the rows that a new row conflicts with, in the writer's session.
#[test]
fn protect_advises_to_pin_what_indexes_call() {
    let world = World::bare();
    world.db.admin().run(&format!(
        "CREATE EXTENSION btree_gist; CREATE SCHEMA evil AUTHORIZATION {}",
        world.db.app
    ));
    let mut owner = world.db.owner();
    owner.run(
        "CREATE FUNCTION app.tidy(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
         CREATE FUNCTION app.pinned(text) RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS 'BEGIN RETURN lower($1); END';
         CREATE FUNCTION app.parsed(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower($1);
         CREATE FUNCTION app.apart(text, text) RETURNS double precision LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN length($1) - length($2); END';
         CREATE TYPE app.names AS RANGE (subtype = text, subtype_diff = app.apart);
         CREATE TABLE app.people (id int, tenant_id uuid NOT NULL, name text, names app.names);
         CREATE UNIQUE INDEX ON app.people (app.tidy(name)); CREATE INDEX ON app.people (app.pinned(name)); CREATE INDEX ON app.people (app.parsed(name), lower(name));
         CREATE INDEX ON app.people USING gist (names)",
    );
    let mut advice = || {
        owner.texts("SELECT statement FROM tenancy.protect('app.people') WHERE kind = 'advice' AND note LIKE 'an index calls%'")
    };
    let advised = advice();
    assert_eq!(
        advised,
        [
            "ALTER FUNCTION app.apart(text,text) SET search_path = pg_catalog, app, pg_temp",
            "ALTER FUNCTION app.tidy(text) SET search_path = pg_catalog, app, pg_temp",
        ]
    );
    world.db.admin().run(
        "INSERT INTO app.people SELECT 1, id, 'Foreign' FROM tenancy.scopes WHERE slug = 'soylent'",
    );
    let read = || {
        let mut app = world.begin("alice");
        app.run(
            "CREATE TEMP TABLE heard (what text);
             CREATE OR REPLACE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN INSERT INTO heard VALUES ($1); RETURN pg_catalog.lower($1); END';
             SET LOCAL search_path = evil, pg_catalog;
             INSERT INTO app.people VALUES (2, tenancy.tenant_id(), 'FOREIGN') ON CONFLICT DO NOTHING",
        );
        app.number("SELECT count(*) FROM heard WHERE what = 'Foreign'")
    };
    // The attack, as long as the advice is not followed.
    assert!(read() > 0);
    let mut owner = world.db.owner();
    owner.run("BEGIN; SELECT tenancy.maintenance('pin what indexes call')");
    for statement in &advised {
        owner.run(statement);
    }
    owner.run("COMMIT");
    assert_eq!(read(), 0);
    assert!(advice().is_empty());
}
