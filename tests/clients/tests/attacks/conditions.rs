//! tenancy's conditions are evaluated before every other condition. Each test runs a statement whose conditions fail,
//! or count their calls, when they are evaluated. It runs once with a matching row of another tenant and once without one:
//! both runs must end in the same way. found/F0, with inputs of its class.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicU32, Ordering};

use postgres::SimpleQueryMessage;
use tenancy_client_tests::{Failure, Session, World};

/// Returns a statement's rows and numbers, or its error.
type Outcome = Result<Vec<String>, String>;

/// Runs a statement in a savepoint that is undone.
fn outcome(session: &mut Session, sql: &str) -> Outcome {
    static STATEMENTS: AtomicU32 = AtomicU32::new(0);
    let name = format!("p{}", STATEMENTS.fetch_add(1, Ordering::Relaxed));
    session.run("SAVEPOINT s");
    let result = session.simple_query(&sql.replace("{p}", &name));
    session.run("ROLLBACK TO s; RELEASE s");
    match result {
        Ok(messages) => Ok(messages
            .iter()
            .map(|message| match message {
                SimpleQueryMessage::Row(row) => format!("{:?}", row.get(0)),
                SimpleQueryMessage::CommandComplete(count) => count.to_string(),
                _ => String::new(),
            })
            .collect()),
        Err(error) => {
            let failure = Failure::from(&error);
            Err(format!("{} {}", failure.code, failure.message))
        }
    }
}

/// Returns the only value of a statement's only row, or its error.
fn value(session: &mut Session, sql: &str) -> Result<String, String> {
    let rows = outcome(session, sql)?;
    let value = rows.iter().find_map(|row| row.strip_prefix("Some(\""));
    Ok(value.unwrap_or("").trim_end_matches("\")").to_owned())
}

/// Asserts that a statement ends in the same way for another tenant's row and for a row that does not exist, and that
/// it succeeds for a row of the caller, if it should.
#[track_caller]
fn same(session: &mut Session, sql: &str) {
    let foreign = outcome(session, &sql.replace("{id}", "1001"));
    let nobodys = outcome(session, &sql.replace("{id}", "1401"));
    assert_eq!(foreign, nobodys, "{sql}");
}

/// Asserts that a condition is evaluated for the caller's own row: the test would notice.
#[track_caller]
fn fails_on_own(session: &mut Session, sql: &str) {
    let own = outcome(session, &sql.replace("{id}", "1"));
    assert!(own.is_err(), "{sql}: {own:?}");
}

/// An uncorrelated subquery that fails when it is computed.
const LATE: &str = "(SELECT 1/(count(*)-count(*)) FROM pg_am)";

/// Conditions on columns n, secret, flag, tenant_id that fail if a row with a secret from s on gets to them.
fn conditions() -> Vec<String> {
    vec![
        // F0 as it was found.
        format!("secret >= 's' AND n = {LATE}"),
        // They cost nothing.
        format!("secret >= 's' AND (flag OR {LATE} = 1)"),
        format!("secret >= 's' AND (n IS NULL OR {LATE} = 1)"),
        format!("secret >= 's' AND NOT (flag AND {LATE} = 1) AND (flag OR {LATE} > 0)"),
        format!("CASE WHEN secret >= 's' THEN {LATE} = n ELSE false END"),
        format!("CASE WHEN secret >= 's' THEN {LATE}::text::uuid ELSE other END = other"),
        // The planner derives an equality with the policy's value.
        format!(
            "CASE WHEN secret >= 's' THEN {LATE}::text::uuid ELSE other END = other AND other = tenancy.tenant_id()"
        ),
        format!("coalesce(n, {LATE}::int) > 0 AND (secret < 's' OR n IN ({LATE}, 7))"),
        // Functions without columns.
        "secret >= 's' AND n = pg_temp.boom()".into(),
        "secret >= 's' AND (flag OR pg_temp.boom() = 1)".into(),
        "secret >= 's' AND pg_temp.boom() = 1".into(),
        "secret >= 's' AND n = (SELECT pg_temp.boom())".into(),
        // The planner does not evaluate these for its estimates.
        "secret >= 's' AND n = pg_temp.bang()".into(),
        "secret >= 's' AND (flag OR pg_temp.bang() = 1)".into(),
        "secret >= 's' AND pg_temp.bang() = 1".into(),
        "CASE WHEN secret >= 's' THEN pg_temp.bang() = n ELSE flag END".into(),
        // tenancy's own functions.
        "secret >= 's' AND tenancy.can_write('data:write', other)".into(),
        "secret >= 's' AND other = tenancy.tenant_id('no such')".into(),
        "secret >= 's' AND tenancy.can('no such', other)".into(),
        // Functions of columns, and subqueries of columns.
        "secret >= 's' AND 1/(n-n) = 1".into(),
        "secret >= 's' AND EXISTS (SELECT FROM pg_am WHERE 1/(n-n) = 1)".into(),
        "1/(length(secret) - length('s3cret')) > 5".into(),
        "secret >= 's' AND ROW(n, n) = ROW(1, pg_temp.boom())".into(),
        "secret >= 's' AND (current_date > '2000-01-01' AND pg_temp.boom() = 1) IS TRUE".into(),
    ]
}

/// Functions of the attacker's in its temporary schema.
fn arm(session: &mut Session) {
    session.run(
        "CREATE FUNCTION pg_temp.boom() RETURNS int LANGUAGE plpgsql STABLE COST 0.0001 AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''22000'', MESSAGE = ''boom''; END';
         CREATE FUNCTION pg_temp.bang() RETURNS int LANGUAGE plpgsql VOLATILE COST 0.0001 AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''22000'', MESSAGE = ''bang''; END';
         CREATE SEQUENCE pg_temp.calls;
         CREATE FUNCTION pg_temp.tick(v text) RETURNS text LANGUAGE plpgsql STABLE COST 0.0001 AS 'BEGIN PERFORM nextval(''calls''); RETURN v; END';",
    );
}

/// Returns how often the attacker's function was called since the last check.
fn calls(session: &mut Session) -> i64 {
    let calls = session.number("SELECT nextval('pg_temp.calls') - 1");
    session.run("SELECT setval('pg_temp.calls', 1, false)");
    calls
}

/// Columns that every table of these tests has, and rows: 1 to 3 of alice's, 1001 to 1300 of others', with secrets.
const COLUMNS: &str = "id bigint, n int, secret text, flag bool NOT NULL DEFAULT false, other uuid";

fn fill(world: &World, table: &str, tenant: &str, more: &str, values: &str) {
    world.db.admin().run(&format!(
        "INSERT INTO {table} (id, n, secret, other, {tenant}{more})
         SELECT n, n, 'own', gen_random_uuid(), t.{tenant}{values} FROM (SELECT id AS tenant_id, external_id AS key, external_id::bigint AS number, id FROM tenancy.scopes WHERE slug = 'acme') t, generate_series(1, 3) n;
         INSERT INTO {table} (id, n, secret, other, {tenant}{more})
         SELECT 1000 + n, n, 's3cret', gen_random_uuid(), t.{tenant}{values} FROM (SELECT id AS tenant_id, external_id AS key, external_id::bigint AS number, id FROM tenancy.scopes WHERE slug = 'soylent') t, generate_series(1, 300) n;
         ANALYZE {table}"
    ));
}

/// A world with one table of each kind.
fn world() -> World {
    let world = World::bare();
    world.db.owner().run(&format!(
        "CREATE TABLE app.by_uuid ({COLUMNS}, tenant_id uuid NOT NULL, PRIMARY KEY (id));
         CREATE TABLE app.by_number ({COLUMNS}, number bigint NOT NULL, PRIMARY KEY (id));
         CREATE TABLE app.by_text ({COLUMNS}, key text NOT NULL, PRIMARY KEY (id));
         CREATE TABLE app.by_varchar ({COLUMNS}, key varchar NOT NULL, PRIMARY KEY (id));
         CREATE TABLE app.shared ({COLUMNS}, tenant_id uuid NOT NULL, PRIMARY KEY (id));
         CREATE TABLE app.owned ({COLUMNS}, tenant_id uuid NOT NULL, author uuid, PRIMARY KEY (id));
         CREATE TABLE app.projected ({COLUMNS}, tenant_id uuid NOT NULL, project uuid, PRIMARY KEY (id));
         CREATE TABLE app.parted ({COLUMNS}, tenant_id uuid NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE app.part_a PARTITION OF app.parted FOR VALUES FROM (0) TO (1500);
         CREATE TABLE app.part_b PARTITION OF app.parted DEFAULT;
         CREATE TABLE app.parent ({COLUMNS}, tenant_id uuid NOT NULL, PRIMARY KEY (id));
         CREATE TABLE app.child (more text) INHERITS (app.parent);
         SELECT tenancy.protect('app.by_uuid'); SELECT tenancy.protect('app.by_number', 'number'); SELECT tenancy.protect('app.by_text', 'key');
         SELECT tenancy.protect('app.by_varchar', 'key'); SELECT tenancy.protect('app.shared', shared => true);
         SELECT tenancy.protect('app.owned', owner_column => 'author'); SELECT tenancy.protect('app.projected', project_column => 'project');
         SELECT tenancy.protect('app.parted'); SELECT tenancy.protect('app.parent');
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO tenancy_app",
    ));
    for table in ["by_uuid", "shared", "projected", "parted", "child"] {
        fill(&world, &format!("app.{table}"), "tenant_id", "", "");
    }
    fill(&world, "app.by_number", "number", "", "");
    fill(&world, "app.by_text", "key", "", "");
    fill(&world, "app.by_varchar", "key", "", "");
    fill(
        &world,
        "app.owned",
        "tenant_id",
        ", author",
        ", '00000000-0000-7000-8000-0000000000aa'",
    );
    // Drafts of another author in alice's own tenant.
    world.db.admin().run("UPDATE app.owned SET tenant_id = (SELECT tenant_id FROM app.owned WHERE id = 1) WHERE id > 1000");
    world
}

const TABLES: [&str; 9] = [
    "by_uuid",
    "by_number",
    "by_text",
    "by_varchar",
    "shared",
    "owned",
    "projected",
    "parted",
    "parent",
];

#[test]
fn f0_no_condition_is_evaluated_on_a_row_of_another_tenant() {
    let world = world();
    // A tenant's user, and one of a fleet.
    for user in ["alice", "ops"] {
        let mut app = world.begin(user);
        arm(&mut app);
        for table in TABLES {
            for condition in conditions() {
                for settings in [
                    "",
                    "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;",
                    "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off;",
                ] {
                    same(
                        &mut app,
                        &format!(
                            "{settings} SELECT count(*) FROM app.{table} WHERE id = {{id}} AND {condition}"
                        ),
                    );
                }
            }
        }
        fails_on_own(
            &mut app,
            &format!("SELECT count(*) FROM app.by_uuid WHERE id = {{id}} AND (flag OR {LATE} = 1)"),
        );
    }
}

#[test]
fn f0_in_every_kind_of_statement() {
    let world = world();
    world.db.owner().run(
        "CREATE TABLE app.plain (id bigint, x int); GRANT SELECT ON app.plain TO tenancy_app;
         INSERT INTO app.plain SELECT n, n FROM generate_series(1, 2000) n;  ANALYZE app.plain",
    );
    let mut app = world.begin("alice");
    arm(&mut app);
    let statements = [
        "UPDATE app.{t} SET flag = true WHERE id = {id} AND {c}",
        "DELETE FROM app.{t} WHERE id = {id} AND {c}",
        "SELECT id FROM app.{t} WHERE id = {id} AND {c} FOR UPDATE",
        "SELECT min(id) FROM app.{t} WHERE id >= {id} AND id < {id} + 1 AND {c}",
        "SELECT max(n) FROM app.{t} WHERE id = {id} AND {c}",
        "MERGE INTO app.{t} d USING (SELECT 1 AS one) s ON d.id = {id} AND {c} WHEN MATCHED THEN UPDATE SET flag = true",
        "SELECT count(*) FROM app.plain p JOIN app.{t} d USING (id) WHERE p.id = {id} AND {c}",
        // The inner side of a nested loop, with parameters.
        "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off; SELECT count(*) FROM app.plain p JOIN app.{t} d ON d.id = p.id AND p.x < d.n + 100000 WHERE p.x = {id} AND {c}",
        "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SELECT count(*) FROM app.plain p LEFT JOIN app.{t} d ON d.id = p.id AND {c} WHERE p.x = {id}",
        "SELECT count(*) FROM app.plain p WHERE p.id = {id} AND EXISTS (SELECT FROM app.{t} d WHERE d.id = p.id AND {c})",
        "SELECT count(*) FROM app.plain p, LATERAL (SELECT * FROM app.{t} d WHERE d.id = p.id OFFSET 0) d WHERE p.x = {id} AND {c}",
        "WITH w AS MATERIALIZED (SELECT * FROM app.{t} WHERE id = {id} AND {c}) SELECT count(*) FROM w",
        "SELECT count(*) FROM (SELECT * FROM app.{t} UNION ALL SELECT * FROM app.{t}) d WHERE id = {id} AND {c}",
        "SELECT count(*) FROM (SELECT DISTINCT id, n, secret, flag, other FROM app.{t}) d WHERE id = {id} AND {c}",
        "SELECT count(*) FROM app.{t} WHERE ctid = ANY (ARRAY(SELECT format('(%s,%s)', b, i)::tid FROM generate_series(0, 9) b, generate_series(1, 200) i)) AND id = {id} AND {c}",
        "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL min_parallel_index_scan_size = 0; SELECT count(*) FROM app.{t} WHERE id = {id} AND {c}",
        "SET LOCAL plan_cache_mode = force_generic_plan; PREPARE {p} (bigint) AS SELECT count(*) FROM app.{t} WHERE id = $1 AND {c}; EXECUTE {p} ({id})",
        "SELECT (SELECT count(*) FROM app.{t} WHERE id = {id} AND {c})",
        "INSERT INTO pg_temp.sink SELECT id FROM app.{t} WHERE id = {id} AND {c}",
    ];
    app.run("CREATE TEMP TABLE sink (id bigint)");
    for table in ["by_uuid", "shared", "owned", "parted", "parent"] {
        for statement in statements {
            for condition in conditions() {
                let sql = statement.replace("{t}", table).replace("{c}", &condition);
                same(&mut app, &sql);
            }
        }
    }
    let own = statements[0].replace("{t}", "by_uuid");
    fails_on_own(&mut app, &own.replace("{c}", "pg_temp.boom() = n"));
}

#[test]
fn f0_variables_of_functions_that_are_not_assigned() {
    let world = world();
    let mut app = world.begin("alice");
    app.run("SET plan_cache_mode = force_generic_plan");
    // The plan is made while the record has the field, and is used again when it has not.
    let mut asks = |name: &str, query: &str, hit: &str, miss: &str| {
        app.run(&format!(
            "CREATE FUNCTION pg_temp.{name}(assign bool, what text) RETURNS void LANGUAGE plpgsql AS
             'DECLARE r record; BEGIN IF assign THEN SELECT 5 AS n, ''x''::text AS t INTO r; END IF; PERFORM {query}; END';
             SELECT pg_temp.{name}(true, '7')"
        ));
        let mut ask =
            |what: &str| outcome(&mut app, &format!("SELECT pg_temp.{name}(false, '{what}')"));
        assert_eq!(ask(hit), ask(miss), "{query}");
    };
    for table in TABLES {
        let query =
            format!("FROM app.{table} WHERE id = what::bigint AND secret >= ''s'' AND n = r.n");
        asks(&format!("in_{table}"), &query, "1001", "1401");
    }
    for (name, condition) in [
        ("a", "kind = r.t"),
        ("b", "(kind IS NULL OR r.t = name)"),
        ("c", "kind = r.t || ''x''"),
    ] {
        let query = format!("FROM tenancy.users WHERE slug = what AND {condition}");
        asks(name, &query, "eve", "nobody");
    }
}

/// A table with indexes, none by tenant, with so many rows of alice's tenant and with rows of another's on many pages.
fn indexed(own: u32) -> World {
    let world = World::bare();
    world.db.owner().run(&format!(
        "CREATE FUNCTION app.is_hot(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN hot($1); END';
         CREATE FUNCTION app.hot(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 >= ''s''';
         CREATE TABLE app.docs ({COLUMNS}, tenant_id uuid NOT NULL, area circle, filler text NOT NULL DEFAULT repeat('x', 300), PRIMARY KEY (id));
         CREATE INDEX ON app.docs (secret); CREATE INDEX ON app.docs (n); CREATE INDEX ON app.docs (other); CREATE INDEX docs_hash ON app.docs USING hash (secret);
         CREATE INDEX docs_area ON app.docs USING gist (area);
         SET search_path = app, pg_catalog; CREATE INDEX docs_hot ON app.docs (n) WHERE app.is_hot(secret); RESET search_path;
         SET search_path = app, pg_catalog; SELECT tenancy.protect('app.docs'); RESET search_path;
         GRANT SELECT, INSERT, UPDATE, DELETE ON app.docs TO tenancy_app",
    ));
    world.db.admin().run(&format!(
        "CREATE SCHEMA evil AUTHORIZATION {}; DROP INDEX app.docs_tenant_id_tenancy_idx; SET search_path = app, pg_catalog;
         INSERT INTO app.docs SELECT -n, n % 300, 'own' || (n / 150) % 260, false, gen_random_uuid(), s.id, '<(0,0),1>' FROM tenancy.scopes s, generate_series(1, {own}) n WHERE s.slug = 'acme';
         INSERT INTO app.docs SELECT 1000 + n, n % 300, 's3cret' || (n / 150) % 260, false, gen_random_uuid(), s.id, circle(point(n, n), 5) FROM tenancy.scopes s, generate_series(1, 40000) n WHERE s.slug = 'soylent';
         -- From PostgreSQL 17 on, ANALYZE does not find hot() by the caller's path.
         ALTER FUNCTION app.is_hot(text) SET search_path = app, pg_catalog; ANALYZE app.docs; ALTER FUNCTION app.is_hot(text) RESET ALL;
         DELETE FROM app.docs WHERE secret = 's3cret8'",
        world.db.app
    ));
    // The statistics still contain the value, so its plans are the same as those for existing values. The indexes do not.
    world.db.admin().run("VACUUM (INDEX_CLEANUP ON) app.docs");
    world
}

#[test]
fn f0_a_bitmap_is_not_made_because_another_found_foreign_rows() {
    let world = indexed(40_000);
    let mut app = world.begin("alice");
    arm(&mut app);
    let bitmaps = "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;";
    let late = LATE;
    for (condition, secrets) in [
        (format!("n = {late}"), ["s3cret7", "s3cret8"]),
        ("n = pg_temp.boom()".to_owned(), ["s3cret7", "s3cret8"]),
        (
            format!(
                "n = {late} AND other = (SELECT (1/(count(*)-count(*)))::text::uuid FROM pg_am)"
            ),
            ["s3cret7", "s3cret8"],
        ),
        (format!("(n = {late} OR id = 1001)"), ["s3cret7", "s3cret8"]),
        (
            "n = length(pg_temp.tick('seven'))".to_owned(),
            ["s3cret7", "s3cret8"],
        ),
    ] {
        for memory in ["4MB", "64kB"] {
            let mut ends = Vec::new();
            for secret in secrets {
                let sql = format!(
                    "{bitmaps} SET LOCAL work_mem = '{memory}'; SELECT count(*) FROM app.docs WHERE secret = '{secret}' AND {condition}"
                );
                ends.push(outcome(&mut app, &sql));
                // A rollback does not reset a sequence.
                ends.push(Ok(vec![calls(&mut app).to_string()]));
            }
            assert_eq!(ends[..2], ends[2..], "{condition}");
        }
    }
    // Two are combined, and the one whose key may show that it was made comes first.
    app.run(bitmaps);
    let plan = app.plan(&format!(
        "SELECT count(*) FROM app.docs WHERE secret = 's3cret7' AND n = {late}"
    ));
    let (_, bitmaps) = plan.split_once("BitmapAnd").expect(&plan);
    let place = |index: &str| bitmaps.find(index).expect(&plan);
    assert!(place("docs_n_idx") < place("docs_secret_idx"), "{plan}");
}

#[test]
fn f0_a_recheck_calls_no_code_for_foreign_rows() {
    let world = indexed(3);
    let mut app = world.begin("alice");
    arm(&mut app);
    // The attacker's function of the same name as the one that the index's predicate calls.
    app.run(
        "CREATE FUNCTION evil.hot(t text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM nextval(''pg_temp.calls''); RETURN true; END'",
    );
    let hostile = "SET LOCAL search_path = evil, app, pg_catalog; SET LOCAL work_mem = '64kB'; SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;";
    calls(&mut app);
    // A partial index on lossy pages.
    outcome(
        &mut app,
        &format!("{hostile} SELECT count(*) FROM app.docs WHERE n >= 0 AND app.is_hot(secret)"),
    )
    .unwrap();
    assert!(calls(&mut app) <= 3, "foreign rows were rechecked");
    let plan = format!(
        "{hostile} EXPLAIN (ANALYZE) SELECT count(*) FROM app.docs WHERE n >= 0 AND app.is_hot(secret)"
    );
    app.run("SAVEPOINT e");
    let plan = app.texts(&plan).join("\n");
    app.run("ROLLBACK TO e");
    calls(&mut app);
    assert!(
        plan.contains("on docs_hot") && plan.contains("lossy="),
        "{plan}"
    );
    // A value that is computed again, on lossy pages and of an index that always rechecks.
    for (settings, condition) in [
        (hostile, "secret >= pg_temp.tick('s')"),
        (
            hostile,
            "(secret >= pg_temp.tick('s') OR n = length(pg_temp.tick('x')))",
        ),
        (
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;",
            "secret = pg_temp.tick('s3cret7')",
        ),
        (
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;",
            "n = length(pg_temp.tick('seven')) AND secret >= ''",
        ),
    ] {
        outcome(
            &mut app,
            &format!("{settings} SELECT count(*) FROM app.docs WHERE {condition}"),
        )
        .unwrap();
        assert!(calls(&mut app) <= 10, "{condition}");
    }
    app.run("COMMIT");
    world.db.admin().run("DROP INDEX app.docs_secret_idx");
    app.begin(world.key("alice"));
    arm(&mut app);
    outcome(
        &mut app,
        "SET LOCAL enable_seqscan = off; SELECT count(*) FROM app.docs WHERE secret = pg_temp.tick('s3cret7')",
    )
    .unwrap();
    assert!(calls(&mut app) <= 5, "the hash index's recheck");
    outcome(
        &mut app,
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SELECT count(*) FROM app.docs WHERE secret = pg_temp.tick('s3cret7')",
    )
    .unwrap();
    assert!(
        calls(&mut app) <= 5,
        "the hash index's recheck, without a bitmap"
    );
    // An order by distance that is computed again for each row.
    outcome(
        &mut app,
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SELECT id FROM app.docs ORDER BY area <-> pg_temp.tick('(9,9)')::point LIMIT 2",
    )
    .unwrap();
    assert!(calls(&mut app) <= 5, "the order by distance");
}

/// Runs a statement that waits for a row which another transaction changes, and returns how it ended and how often it called the
/// attacker's function.
fn while_changed(world: &World, change: &str, settings: &str, sql: &str) -> (Outcome, i64) {
    let mut app = world.begin("alice");
    arm(&mut app);
    app.run(settings);
    let pid = app.pid();
    let mut admin = world.db.admin();
    admin.run(&format!("BEGIN; {change}"));
    let text = sql.to_owned();
    let waiting = std::thread::spawn(move || {
        let end = outcome(&mut app, &text);
        let calls = calls(&mut app);
        (end, calls)
    });
    let mut watch = world.db.admin();
    while watch.number(&format!(
        "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted"
    )) == 0
    {
        if waiting.is_finished() {
            panic!("nothing was waited for: {sql}: {:?}", waiting.join());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    admin.run("COMMIT");
    waiting.join().unwrap()
}

/// The statements that wait for rows and look at them again, on rows with `{c}`.
const LOCKING: [&str; 5] = [
    "UPDATE app.{t} SET n = 0 WHERE {c}",
    "DELETE FROM app.{t} WHERE {c}",
    "SELECT count(*) FROM (SELECT id FROM app.{t} WHERE {c} FOR UPDATE) x",
    "MERGE INTO app.{t} USING (SELECT 1 AS one) s ON {c} WHEN MATCHED THEN UPDATE SET n = 0",
    "UPDATE app.{t} SET n = 0 FROM (VALUES (1)) v(x) WHERE {c} AND x > 0",
];

#[test]
fn f0_a_row_that_was_given_away_meanwhile_is_asked_about_first() {
    let world = world();
    let mut admin = world.db.admin();
    let (acme, soylent) = (world.id("acme"), world.id("soylent"));
    // The row goes to another tenant, with its flag or without it, while a statement waits for it.
    for table in ["by_uuid", "parted", "projected", "parent"] {
        let child = if table == "parent" { "child" } else { table };
        for statement in LOCKING {
            for condition in [
                "id = 2 AND (flag OR pg_temp.bang() = 1)",
                "id = 2 AND (flag OR pg_temp.boom() = 1)",
                "id = 2 AND CASE WHEN flag THEN true ELSE 1/(n-n) = 1 END",
            ] {
                let sql = statement.replace("{t}", table).replace("{c}", condition);
                for flag in [true, false] {
                    admin.run(&format!(
                        "UPDATE app.{child} SET flag = true, n = 2, tenant_id = '{acme}' WHERE id = 2"
                    ));
                    let change = format!(
                        "UPDATE app.{child} SET tenant_id = '{soylent}', flag = {flag} WHERE id = 2"
                    );
                    let (end, _) = while_changed(&world, &change, "", &sql);
                    assert!(end.is_ok(), "{sql}: {end:?}");
                }
                // The test would notice: the row stays, without its flag.
                admin.run(&format!(
                    "UPDATE app.{child} SET flag = true, n = 2, tenant_id = '{acme}' WHERE id = 2"
                ));
                let change = format!("UPDATE app.{child} SET flag = false WHERE id = 2");
                let (end, _) = while_changed(&world, &change, "", &sql);
                assert!(end.is_err(), "{sql}: {end:?}");
            }
        }
    }
}

#[test]
fn f0_what_an_index_found_is_asked_about_again_after_the_policies() {
    let world = indexed(3);
    let mut admin = world.db.admin();
    admin.run("SET search_path = app, pg_catalog");
    let soylent = world.id("soylent");
    world.db.app().run(
        "CREATE FUNCTION evil.hot(t text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM nextval(''pg_temp.calls''); RETURN true; END'",
    );
    let index = "SET LOCAL search_path = app, pg_catalog; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off";
    let bitmap = "SET LOCAL search_path = app, pg_catalog; SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off";
    let hostile = "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL search_path = evil, app, pg_catalog";
    admin.run("CREATE INDEX docs_both ON app.docs (n, secret)");
    // What the row is compared with is computed again, and so is the predicate of a partial index, if the rest matches.
    for (settings, condition) in [
        (index, "n = 1 AND secret = pg_temp.tick('sown0')"),
        (bitmap, "n = 1 AND secret = pg_temp.tick('sown0')"),
        (hostile, "n = 1 AND app.is_hot(secret)"),
    ] {
        for statement in LOCKING {
            let sql = statement.replace("{t}", "docs").replace("{c}", condition);
            let ends = ["n = 1", "n = 7"].map(|n| {
                let change = format!("SET LOCAL search_path = app, pg_catalog; UPDATE app.docs SET tenant_id = '{soylent}', {n} WHERE id = -1");
                admin.run(
                    "DELETE FROM app.docs WHERE id = -1;
                     INSERT INTO app.docs SELECT -1, 1, 'sown0', false, NULL, id, '<(0,0),1>' FROM tenancy.scopes WHERE slug = 'acme'",
                );
                while_changed(&world, &change, settings, &sql)
            });
            assert_eq!(ends[0], ends[1], "{sql}");
        }
    }
}

#[test]
fn f0_no_distance_to_a_row_of_another_tenant_fails() {
    let world = World::bare();
    let mut admin = world.db.admin();
    admin.run("CREATE EXTENSION btree_gist");
    let tables = ["gist", "spgist"];
    for index in tables {
        let due = match index {
            "gist" => "CREATE INDEX ON app.by_gist USING gist (due);",
            _ => "",
        };
        world.db.owner().run(&format!(
            "CREATE TABLE app.by_{index} (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, shape polygon, due date);
             CREATE INDEX ON app.by_{index} USING {index} (shape); {due}
             SELECT tenancy.protect('app.by_{index}'); GRANT SELECT ON app.by_{index} TO tenancy_app"
        ));
    }
    let mut insert = |tenant: &str, first: i32, shape: &str, due: &str| {
        for index in tables {
            admin.run(&format!(
                "INSERT INTO app.by_{index} SELECT {first} + n, id, polygon '{shape}', date '{due}' FROM tenancy.scopes, generate_series(1, 3) n WHERE slug = '{tenant}'"
            ));
        }
    };
    insert("acme", 0, "((0,0),(0,1),(1,1))", "2024-01-01");
    let mut ends = Vec::new();
    for (n, (shape, due)) in [
        ("((0,0),(0,1),(1,1))", "2024-01-01"),
        ("((0,0),(100,1),(100,2))", "2024-01-01"),
        ("((0,0),(0,1),(1,1))", "infinity"),
    ]
    .into_iter()
    .enumerate()
    {
        insert("soylent", 1000 + 10 * n as i32, shape, due);
        let mut app = world.begin("alice");
        let mut end = Vec::new();
        for index in tables {
            for order in [
                "shape <-> point '(1e307,0)'",
                "point '(1e307,0)' <-> shape",
                "due <-> date '2024-01-01'",
            ] {
                let sql = format!(
                    "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SELECT count(*) FROM (SELECT id FROM app.by_{index} ORDER BY {order} LIMIT 5) x"
                );
                end.push(value(&mut app, &sql));
            }
        }
        ends.push(end);
    }
    assert_eq!(ends, vec![vec![Ok("3".to_owned()); 6]; 3]);
}

/// Statistics of all tenants' rows choose the plan.
#[test]
fn f0_a_condition_that_fails_is_evaluated_on_the_same_rows_whatever_index_is_used() {
    let world = indexed(3);
    let mut app = world.begin("alice");
    arm(&mut app);
    for condition in [
        format!("(flag OR {LATE} = 1)"),
        "(flag OR pg_temp.boom() = 1)".to_owned(),
        "pg_temp.bang() = n".to_owned(),
        format!("CASE WHEN flag THEN true ELSE {LATE} = n END"),
        "(n IS NULL OR 1/(n-n) = 1)".to_owned(),
    ] {
        for rest in ["secret = 's3cret7'", "secret = 'nobodys'", "id = 1001"] {
            for settings in [
                "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;",
                "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off;",
                "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;",
            ] {
                for sql in [
                    format!(
                        "{settings} SELECT count(*) FROM app.docs WHERE {condition} AND {rest}"
                    ),
                    format!(
                        "{settings} SELECT count(*) FROM app.docs d JOIN pg_am ON {condition} AND {rest} AND amname = 'btree'"
                    ),
                ] {
                    assert_eq!(value(&mut app, &sql), Ok("0".to_owned()), "{sql}");
                }
            }
        }
        fails_on_own(
            &mut app,
            &format!("SELECT count(*) FROM app.docs WHERE {condition} AND id = -{{id}}"),
        );
    }
}

#[test]
fn f0_on_conflict_asks_the_policies_before_where() {
    let world = world();
    let mut app = world.begin("alice");
    arm(&mut app);
    let insert = |condition: &str| {
        format!(
            "INSERT INTO app.by_uuid AS d (id, tenant_id, secret) VALUES (1001, tenancy.tenant_id(), 'x') ON CONFLICT (id) DO UPDATE SET secret = 'y' WHERE {condition}"
        )
    };
    let refused = outcome(&mut app, &insert("true"));
    assert!(refused.is_err(), "{refused:?}");
    for condition in [
        "false",
        "d.secret = 's3cret'",
        "d.secret = 'guessed'",
        "pg_temp.tick(d.secret) = 's3cret'",
        "1/(length(d.secret) - 6) = 1",
        "(SELECT 1/(count(*)-count(*)) FROM pg_am) = 1",
    ] {
        assert_eq!(
            outcome(&mut app, &insert(condition)),
            refused,
            "{condition}"
        );
        let inside = format!(
            "WITH w AS ({} RETURNING id) SELECT count(*) FROM w",
            insert(condition)
        );
        assert_eq!(outcome(&mut app, &inside), refused, "{condition}");
    }
    assert_eq!(calls(&mut app), 0);
    // One's own row is updated where WHERE says so.
    for (condition, updated) in [("d.secret = 'own'", "1"), ("d.secret = 'other'", "0")] {
        let own = insert(condition).replace("1001", "1");
        assert_eq!(outcome(&mut app, &own), Ok(vec![updated.into()]));
    }
}

#[test]
fn f0_views_of_tenancy_tell_nothing_of_rows_that_they_hide() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_metric('tokens', 'token', 'sum'); SELECT tenancy.set_budget('soylent', 'tokens', 777); SELECT tenancy.set_budget('acme', 'tokens', 5);
         SELECT tenancy.define_role('soylent', 'hidden_role', '{data:read}');
         SELECT tenancy.set_allowed_networks('soylent', '{10.0.0.0/8}'); SELECT tenancy.set_allowed_networks('soylent', NULL)",
    );
    // The key is the view; what a row of another tenant's has, and what none has.
    let probes = [
        ("users", "slug", "'eve'", "'nobody'"),
        ("users", "parent", "'soylent'", "'nothing'"),
        ("tenants", "slug", "'soylent'", "'nothing'"),
        ("tenants", "partner", "'hooli'", "'nothing'"),
        ("tenants", "external_id", "'44'", "'45'"),
        ("partners", "slug", "'hooli'", "'nothing'"),
        ("roles", "name", "'hidden_role'", "'no_role'"),
        ("assignments", "user_slug", "'eve'", "'nobody'"),
        ("assignments", "scope", "'soylent'", "'nothing'"),
        ("budgets", "amount", "777", "778"),
        ("budgets", "scope", "'soylent'", "'nothing'"),
        ("api_keys", "user_slug", "'eve'", "'nobody'"),
        ("api_keys", "name", "'test'", "'no_test'"),
    ];
    let conditions = [
        "{x} = (SELECT (1/(count(*)-count(*)))::text FROM pg_am)",
        "({x} IS NULL OR (SELECT 1/(count(*)-count(*)) FROM pg_am) = 1)",
        "pg_temp.boom() = 1",
        "{x} = pg_temp.boom()::text",
        "({x} IS NULL OR pg_temp.bang() = 1)",
        "CASE WHEN {x} IS NOT NULL THEN pg_temp.boom() = 1 END",
        "{x} = (SELECT pg_temp.tick('x'))",
        "{x} <> pg_temp.tick('x')",
    ];
    for user in ["alice", "ops"] {
        let mut app = world.begin(user);
        arm(&mut app);
        for (view, column, hit, miss) in probes {
            let text = format!("v.{column}::text");
            for condition in conditions {
                for shape in [
                    "SELECT count(*) FROM tenancy.{v} v WHERE v.{k} = {val} AND {c}",
                    "SELECT count(*) FROM (SELECT * FROM tenancy.{v} UNION ALL SELECT * FROM tenancy.{v}) v WHERE v.{k} = {val} AND {c}",
                    "SELECT count(*) FROM pg_temp.reads_{v}() v WHERE v.{k} = {val} AND {c}",
                    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SELECT count(*) FROM tenancy.{v} v JOIN pg_am a ON a.oid = 2 OR {c} WHERE v.{k} = {val}",
                ] {
                    let sql = shape
                        .replace("{v}", view)
                        .replace("{k}", column)
                        .replace("{c}", &condition.replace("{x}", &text));
                    if shape.contains("reads_") {
                        app.run(&format!(
                            "CREATE OR REPLACE FUNCTION pg_temp.reads_{view}() RETURNS SETOF tenancy.{view} LANGUAGE sql STABLE AS 'SELECT * FROM tenancy.{view}'"
                        ));
                    }
                    calls(&mut app);
                    let hidden = outcome(&mut app, &sql.replace("{val}", hit));
                    let hidden_calls = calls(&mut app);
                    let nothing = outcome(&mut app, &sql.replace("{val}", miss));
                    let no_calls = calls(&mut app);
                    let seen = match (user, view, column) {
                        // alice sees her own key, and the fleet's user those of its tenants.
                        (_, "api_keys", "name") => true,
                        _ => false,
                    };
                    if !seen {
                        assert_eq!((hidden, hidden_calls), (nothing, no_calls), "{user}: {sql}");
                    }
                }
            }
        }
    }
}

#[test]
fn views_of_tenancy_find_rows_by_index() {
    let world = World::bare();
    world
        .db
        .owner()
        .run("SELECT tenancy.create_user('acme', 'u' || n) FROM generate_series(1, 2000) n");
    world.db.admin().run("ANALYZE tenancy.scopes");
    let alice = world.id("alice");
    let mut ops = world.begin("ops");
    for condition in [
        "slug = 'u77'".to_owned(),
        format!("id = '{alice}'"),
        format!("id = (SELECT '{alice}'::uuid)"),
        format!("id = (SELECT '{alice}'::uuid) AND pg_backend_pid() > 0"),
    ] {
        let plan = ops.plan(&format!("SELECT * FROM tenancy.users WHERE {condition}"));
        assert!(
            plan.contains("on scopes s") && plan.contains("Index Cond"),
            "{plan}"
        );
        assert!(!plan.contains("Seq Scan on scopes s"), "{plan}");
        assert!(!plan.contains("barrier"), "{plan}");
    }
    // Time near now still chooses partitions.
    let plan = ops.plan("SELECT * FROM tenancy.recorded_usage WHERE at >= date_trunc('month', now()) - interval '1 day'");
    assert!(!plan.contains("CASE"), "{plan}");
}
