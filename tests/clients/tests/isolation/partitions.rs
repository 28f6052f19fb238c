//! Tables partitioned by tenant: a plan for one tenant leaves out the partitions of others, and never serves another tenant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

/// Tables of three tenants that are partitioned by the tenant in several ways. acme has 3 rows of each, umbrella 5, soylent 7.
fn parted() -> World {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.listed (id bigint, tenant_id uuid NOT NULL) PARTITION BY LIST (tenant_id);
         CREATE TABLE app.hashed (id bigint, tenant_id uuid NOT NULL) PARTITION BY HASH (tenant_id);
         CREATE TABLE app.numbered (id bigint, tenant_id bigint NOT NULL) PARTITION BY RANGE (tenant_id);
         CREATE TABLE app.named (id bigint, tenant_id text NOT NULL) PARTITION BY LIST (tenant_id);
         CREATE TABLE app.dated (id bigint, day date NOT NULL, tenant_id uuid NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE app.dated_1 (tenant_id uuid NOT NULL, day date NOT NULL, id bigint) PARTITION BY LIST (tenant_id);
         ALTER TABLE app.dated ATTACH PARTITION app.dated_1 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE app.hashed_0 PARTITION OF app.hashed FOR VALUES WITH (MODULUS 8, REMAINDER 0);",
    );
    for n in 1..8 {
        owner.run(&format!("CREATE TABLE app.hashed_{n} PARTITION OF app.hashed FOR VALUES WITH (MODULUS 8, REMAINDER {n})"));
    }
    for (tenant, key) in [("acme", 42), ("umbrella", 43), ("soylent", 44)] {
        let id = world.id(tenant);
        owner.run(&format!(
            "CREATE TABLE app.listed_{tenant} PARTITION OF app.listed FOR VALUES IN ('{id}');
             CREATE TABLE app.numbered_{tenant} PARTITION OF app.numbered FOR VALUES FROM ({key}) TO ({key} + 1);
             CREATE TABLE app.named_{tenant} PARTITION OF app.named FOR VALUES IN ('{key}');
             CREATE TABLE app.dated_1_{tenant} PARTITION OF app.dated_1 FOR VALUES IN ('{id}')"
        ));
    }
    owner.run(
        "SELECT tenancy.protect('app.listed'); SELECT tenancy.protect('app.hashed'); SELECT tenancy.protect('app.dated');
         SELECT tenancy.protect('app.numbered'); SELECT tenancy.protect('app.named')",
    );
    world.fill("app.listed", "n, t.id");
    world.fill("app.hashed", "n, t.id");
    world.fill("app.numbered", "n, t.external_id::bigint");
    world.fill("app.named", "n, t.external_id");
    world.fill(
        "app.dated (id, day, tenant_id)",
        "n, date '2026-01-01' + n::int, t.id",
    );
    world
}

const TABLES: [&str; 5] = ["listed", "hashed", "numbered", "named", "dated"];
const ROWS: [(&str, &str, i64); 3] = [
    ("alice", "acme", 3),
    ("bob", "umbrella", 5),
    ("eve", "soylent", 7),
];

/// How many partitions a plan reads.
fn scans(plan: &str) -> usize {
    let part = |line: &&str| {
        line.contains(" Scan") && !line.contains("Bitmap Index Scan") && !line.contains("CTE Scan")
    };
    plan.lines().filter(part).count()
}

/// Checks that a plan reads one partition, chosen while planning.
#[track_caller]
fn reads_one(plan: &str) {
    assert_eq!(scans(plan), 1, "{plan}");
    assert!(
        !plan.contains("Append") && !plan.contains("Subplans Removed"),
        "{plan}"
    );
}

#[test]
fn a_plan_for_one_tenant_has_only_its_partition() {
    let world = parted();
    for table in TABLES {
        for (user, tenant, rows) in ROWS {
            let mut app = world.begin(user);
            let sql = format!("SELECT * FROM app.{table}");
            let plan = app.plan(&sql);
            reads_one(&plan);
            assert!(table == "hashed" || plan.contains(tenant), "{plan}");
            assert_eq!(
                app.number(&format!("SELECT count(*) FROM app.{table}")),
                rows
            );
            for sql in [
                format!("UPDATE app.{table} SET id = id + 1 WHERE id > 1"),
                format!("DELETE FROM app.{table} WHERE id > 100"),
            ] {
                let plan = app.plan(&sql);
                reads_one(&plan);
            }
            assert_eq!(
                app.touched(&format!("UPDATE app.{table} SET id = id + 1 WHERE id > 1")),
                rows as u64 - 1
            );
        }
        // A fleet reads the partitions of both of its tenants.
        let sql = format!("SELECT count(*) FROM app.{table}");
        assert_eq!(world.begin("ops").number(&sql), 8, "{table}");
    }
}

#[test]
fn in_any_part_of_a_statement() {
    let world = parted();
    world.db.owner().run(
        "CREATE VIEW app.seen WITH (security_invoker) AS SELECT id, tenant_id FROM app.listed; GRANT SELECT ON app.seen TO PUBLIC",
    );
    for (user, _, rows) in ROWS {
        let mut app = world.begin(user);
        for (sql, count) in [
            ("SELECT count(*) FROM app.seen", 1),
            (
                "SELECT count(*) FROM (SELECT DISTINCT id FROM app.listed) l",
                1,
            ),
            (
                "WITH l AS MATERIALIZED (SELECT id FROM app.listed) SELECT count(*) FROM l",
                1,
            ),
            ("SELECT (SELECT count(*) FROM app.listed)", 1),
            (
                "SELECT count(*) FROM app.listed a JOIN app.hashed b USING (tenant_id, id)",
                2,
            ),
            (
                "SELECT count(*) FROM app.listed a LEFT JOIN app.dated b ON b.id = a.id",
                2,
            ),
            (
                "SELECT count(*) FROM app.listed a WHERE EXISTS (SELECT FROM app.named n WHERE n.id = a.id)",
                2,
            ),
            (
                "SELECT count(*) FROM (SELECT id FROM app.listed UNION SELECT id FROM app.numbered) u",
                2,
            ),
        ] {
            assert_eq!(app.number(sql), rows, "{sql}");
            let plan = app.plan(sql);
            let parts = ROWS.map(|(_, tenant, _)| plan.matches(&format!("_{tenant}")).count());
            assert!(
                parts.iter().filter(|count| **count > 0).count() == 1,
                "{sql}\n{plan}"
            );
            assert_eq!(scans(&plan), count, "{sql}\n{plan}");
        }
    }
}

/// What a session sees, however it asks.
#[track_caller]
fn sees(app: &mut Session, ask: &str, rows: i64) {
    assert_eq!(app.number(ask), rows, "{ask}");
}

/// Statements whose plans the server keeps, with parameters and without.
const KEPT: &str = "SET plan_cache_mode = force_generic_plan;
    PREPARE kept AS SELECT count(*) FROM app.listed;
    PREPARE given (bigint) AS SELECT count(*) FROM app.listed WHERE id > $1";
const ASK: [&str; 4] = [
    "EXECUTE kept",
    "EXECUTE given (0)",
    "SELECT app.counted()",
    "SELECT app.counted_plain()",
];

fn with_functions() -> World {
    let world = parted();
    world.db.owner().run(
        "CREATE FUNCTION app.counted() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM app.listed); END';
         CREATE FUNCTION app.counted_plain() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT count(*) FROM app.listed';
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO PUBLIC",
    );
    world
}

#[test]
fn kept_plans_serve_every_tenant_in_turn() {
    let world = with_functions();
    let mut app = world.db.app();
    let statement = app.prepare("SELECT count(*) FROM app.listed").unwrap();
    for turn in 0..4 {
        for (user, _, rows) in ROWS {
            app.begin(world.key(user)).run(KEPT);
            for ask in ASK.iter().chain(&ASK) {
                sees(&mut app, ask, rows);
            }
            let counted: i64 = app.query_one(&statement, &[]).unwrap().get(0);
            assert_eq!(counted, rows, "{user} in turn {turn}");
            app.run(if turn % 2 == 0 { "COMMIT" } else { "ROLLBACK" });
        }
        // A fleet, between tenants and in the transaction of one of its tenants.
        app.begin(world.key("ops")).run(KEPT);
        for ask in ASK {
            sees(&mut app, ask, 8);
        }
        for (tenant, rows) in [("acme", 3), ("umbrella", 5), ("acme", 3)] {
            app.run("SAVEPOINT narrow");
            app.run(&format!("SELECT tenancy.select_tenant('{tenant}')"));
            for ask in ASK.iter().chain(&ASK) {
                sees(&mut app, ask, rows);
            }
            app.run("ROLLBACK TO narrow");
            for ask in ASK {
                sees(&mut app, ask, 8);
            }
        }
        app.run("COMMIT");
    }
}

#[test]
fn kept_plans_follow_a_session_context_and_tickets() {
    let world = with_functions();
    let mut app = world.db.app();
    app.login_session(world.key("alice")).run(KEPT);
    for _ in 0..2 {
        for ask in ASK {
            sees(&mut app, ask, 3);
        }
        // Another tenant's transaction on top of the session's context.
        app.begin(world.key("bob")).run(KEPT);
        for ask in ASK {
            sees(&mut app, ask, 5);
        }
        app.run("COMMIT").run("DEALLOCATE ALL").run(KEPT);
    }
    app.run("SELECT tenancy.release(); DEALLOCATE ALL")
        .run(KEPT);
    for _ in 0..2 {
        for (user, _, rows) in ROWS {
            app.run(&format!(
                "SET tenancy.ticket = '{}'",
                world.ticket(user, "1 hour")
            ));
            for ask in &ASK[2..] {
                sees(&mut app, ask, rows);
            }
        }
    }
    app.run("RESET tenancy.ticket");
    for _ in 0..2 {
        for (user, _, rows) in ROWS {
            app.run(&format!(
                "BEGIN; SET LOCAL tenancy.ticket = '{}'",
                world.ticket(user, "1 hour")
            ));
            for ask in &ASK[2..] {
                sees(&mut app, ask, rows);
            }
            app.run("COMMIT");
        }
    }
}

/// A bound statement that has not started keeps its plan, which the server no longer looks for.
#[test]
fn a_bound_statement_is_refused_for_another_tenant() {
    let world = parted();
    let mut app = world.begin("ops");
    app.run("SELECT tenancy.select_tenant('acme')");
    let mut transaction = app.transaction().unwrap();
    let update = transaction
        .prepare("UPDATE app.listed SET id = id + 1")
        .unwrap();
    let same = transaction.bind(&update, &[]).unwrap();
    transaction.query_portal(&same, 0).unwrap();
    let bound = transaction.bind(&update, &[]).unwrap();
    let again = format!(
        "SELECT tenancy.release(); SELECT tenancy.authenticate('{}')",
        world.key("ops")
    );
    transaction.batch_execute(&again).unwrap();
    transaction
        .batch_execute("SELECT tenancy.select_tenant('umbrella')")
        .unwrap();
    let error = transaction.query_portal(&bound, 0).unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "40001", "{error}");
    assert!(
        error.message().contains("planned for another tenant"),
        "{error}"
    );
}

/// The key in a plan is the external id where the column holds that.
#[test]
fn kept_plans_follow_a_new_external_id() {
    let world = parted();
    world.db.owner().run(
        "CREATE FUNCTION app.counted(whole text) RETURNS bigint LANGUAGE plpgsql AS
             'BEGIN RETURN (SELECT count(*) FROM app.numbered) + (SELECT count(*) FROM app.named); END';
         CREATE TABLE app.numbered_rest PARTITION OF app.numbered DEFAULT;
         CREATE TABLE app.named_rest PARTITION OF app.named DEFAULT;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO PUBLIC",
    );
    let mut app = world.db.app();
    let mut counted = |rows: i64| {
        app.begin(world.key("bob"))
            .run("SET LOCAL plan_cache_mode = force_generic_plan");
        sees(&mut app, "SELECT app.counted('')", rows);
        app.run("COMMIT");
    };
    counted(10);
    counted(10);
    world
        .db
        .owner()
        .run("SELECT tenancy.update_scope('umbrella', external_id => '143')");
    counted(0);
    world.db.admin().run(
        "UPDATE app.numbered SET tenant_id = 143 WHERE tenant_id = 43; UPDATE app.named SET tenant_id = '143' WHERE tenant_id = '43'",
    );
    counted(10);
}

/// A function that the planner calls can change the context before the plan is kept. Then tenancy refuses the plan once, and the
/// server plans the next execution again.
#[test]
fn a_plan_that_was_overtaken_by_another_context_is_refused_once() {
    let world = parted();
    world.db.owner().run(&format!(
        "CREATE FUNCTION app.switch() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN
             IF current_setting('app.switch', true) = 'on' THEN
                 PERFORM set_config('app.switch', 'off', true), tenancy.release();
                 PERFORM tenancy.authenticate('{}');
                 PERFORM tenancy.select_tenant('umbrella');
             END IF;
             RETURN 1; END$$;
         CREATE FUNCTION app.counted() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM app.listed WHERE app.switch() = 1); END';
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO PUBLIC",
        world.key("ops")
    ));
    let mut app = world.begin("ops");
    app.run("SELECT tenancy.select_tenant('acme'); SET LOCAL app.switch = 'on'; SET LOCAL plan_cache_mode = force_generic_plan");
    if let Err(error) = app.simple_query("SELECT app.counted()") {
        assert_eq!(error.code().map(|code| code.code()), Some("40001"));
    }
    app.run("ROLLBACK");
    let mut refused = 0;
    for (user, _, rows) in ROWS.iter().chain(&ROWS) {
        app.begin(world.key(user));
        match app.simple_query("SELECT app.counted()") {
            Ok(_) => sees(&mut app, "SELECT app.counted()", *rows),
            Err(_) => refused += 1,
        }
        app.run("ROLLBACK");
    }
    assert!(refused <= 1, "refused {refused} times");
}

#[test]
fn other_partitions_are_not_locked() {
    let world = parted();
    let mut app = world.begin("alice");
    assert_eq!(app.number("SELECT count(*) FROM app.listed"), 3);
    let locked = app.texts(
        "SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE l.pid = pg_backend_pid() AND c.relkind IN ('r', 'p') AND n.nspname = 'app' ORDER BY 1",
    );
    assert_eq!(locked, ["listed", "listed_acme"]);
}

/// A constant of the caller's names nothing that is not its own.
#[test]
fn another_tenants_key_finds_nothing() {
    let world = parted();
    let mut app = world.begin("alice");
    let sql = format!(
        "SELECT count(*) FROM app.listed WHERE tenant_id = '{}'",
        world.id("umbrella")
    );
    assert_eq!(app.number(&sql), 0);
    assert_eq!(app.number("SELECT count(*) FROM app.listed_umbrella"), 0);
    app.run("COMMIT");
    app.fails("SELECT count(*) FROM app.listed").code("55000");
}
