//! Every kind of statement that an application may send, as a tenant and as a fleet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const USERS: [(&str, i64); 4] = [("alice", 3), ("bob", 5), ("ops", 8), ("pat", 0)];

/// Selects one tenant where the user has several, as writing takes: the rows it has then.
fn select_one(app: &mut Session, user: &str, rows: i64) -> i64 {
    if user != "ops" {
        return rows;
    }
    app.run("SELECT tenancy.select_tenant('umbrella')");
    5
}

#[test]
fn plpgsql_loops_and_variables() {
    let world = World::new();
    world.db.owner().run(
        "CREATE FUNCTION app.loop() RETURNS bigint LANGUAGE plpgsql AS $$
         DECLARE r record; n bigint := 0; BEGIN FOR r IN SELECT * FROM app.notes LOOP n := n + 1; END LOOP; RETURN n; END $$;
         CREATE FUNCTION app.by_cursor() RETURNS bigint LANGUAGE plpgsql AS $$
         DECLARE c CURSOR FOR SELECT * FROM app.notes; n bigint := 0; BEGIN FOR r IN c LOOP n := n + 1; END LOOP; RETURN n; END $$",
    );
    let mut app = world.db.app();
    for _ in 0..7 {
        for (user, rows) in USERS {
            app.begin(world.key(user));
            assert_eq!(
                (
                    app.number("SELECT app.loop()"),
                    app.number("SELECT app.by_cursor()")
                ),
                (rows, rows),
                "{user}"
            );
            app.run("COMMIT");
        }
    }
}

#[test]
fn cursors_of_the_protocol_and_of_sql() {
    let world = World::new();
    let mut app = world.db.app();
    for (user, rows) in USERS {
        let mut transaction = app.transaction().unwrap();
        transaction
            .query("SELECT tenancy.authenticate($1)", &[&world.key(user)])
            .unwrap();
        let portal = transaction.bind("SELECT id FROM app.notes", &[]).unwrap();
        let mut seen = 0;
        loop {
            let batch = transaction.query_portal(&portal, 2).unwrap();
            seen += batch.len() as i64;
            if batch.len() < 2 {
                break;
            }
        }
        assert_eq!(seen, rows, "{user}");
        transaction.commit().unwrap();
        app.begin(world.key(user))
            .run("DECLARE c SCROLL CURSOR FOR SELECT id FROM app.notes ORDER BY id");
        assert_eq!(app.texts("FETCH ALL FROM c").len() as i64, rows);
        assert_eq!(app.texts("FETCH BACKWARD ALL FROM c").len() as i64, rows);
        app.run("COMMIT");
    }
}

#[test]
fn current_of_a_cursor() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("DECLARE c CURSOR FOR SELECT * FROM app.notes FOR UPDATE; FETCH 1 FROM c");
    assert_eq!(
        app.touched("UPDATE app.notes SET body = 'here' WHERE CURRENT OF c"),
        1
    );
}

#[test]
fn merge_and_on_conflict_of_own_rows() {
    let world = World::bare();
    world.db.owner().run("CREATE TABLE app.counts (tenant_id uuid NOT NULL, name text, n int, PRIMARY KEY (tenant_id, name)); SELECT tenancy.protect('app.counts')");
    for user in ["alice", "bob"] {
        let mut app = world.begin(user);
        for _ in 0..3 {
            app.run("INSERT INTO app.counts (name, n) VALUES ('a', 1) ON CONFLICT (tenant_id, name) DO UPDATE SET n = counts.n + 1");
            app.run(
                "MERGE INTO app.counts c USING (VALUES ('b')) v (name) ON c.name = v.name
                 WHEN MATCHED THEN UPDATE SET n = n + 1 WHEN NOT MATCHED THEN INSERT (name, n) VALUES (v.name, 1)",
            );
        }
        assert_eq!(
            app.texts("SELECT n FROM app.counts ORDER BY name"),
            ["3", "3"]
        );
        app.run("COMMIT");
    }
    // With a selected tenant, a fleet's user reads only that tenant's rows.
    let merge = "MERGE INTO app.counts c USING (VALUES ('a')) v (name) ON c.name = v.name WHEN MATCHED THEN UPDATE SET n = 10";
    let mut ops = world.begin("ops");
    ops.fails_inside(merge).code("55000");
    ops.run("SELECT tenancy.select_tenant('acme')")
        .run(merge)
        .run("COMMIT");
    assert_eq!(
        world
            .db
            .admin()
            .texts("SELECT t.slug FROM app.counts c JOIN tenancy.tenants t ON t.id = c.tenant_id WHERE n = 10"),
        ["acme"]
    );
}

#[test]
fn copy_out_as_each() {
    let world = World::new();
    for (user, rows) in USERS {
        let mut app = world.begin(user);
        let mut text = String::new();
        std::io::Read::read_to_string(
            &mut app.copy_out("COPY app.notes TO STDOUT").unwrap(),
            &mut text,
        )
        .unwrap();
        assert_eq!(text.lines().count() as i64, rows, "{user}");
    }
}

#[test]
fn views_with_security_invoker() {
    let world = World::new();
    world.db.owner().run(
        "CREATE VIEW app.seen WITH (security_invoker) AS SELECT * FROM app.notes;
         CREATE VIEW app.fenced WITH (security_barrier, security_invoker) AS SELECT id, body FROM app.notes;
         GRANT SELECT, INSERT, UPDATE, DELETE ON app.seen, app.fenced TO tenancy_app",
    );
    for (user, rows) in USERS {
        let mut app = world.begin(user);
        assert_eq!(
            (
                app.number("SELECT count(*) FROM app.seen"),
                app.number("SELECT count(*) FROM app.fenced")
            ),
            (rows, rows)
        );
        let rows = select_one(&mut app, user, rows);
        assert_eq!(app.touched("UPDATE app.seen SET body = 'x'") as i64, rows);
        assert_eq!(app.touched("DELETE FROM app.fenced") as i64, rows);
    }
    let plan = world.begin("alice").plan("SELECT * FROM app.seen");
    assert!(plan.contains("tenancy.tenant_id('data:read'"), "{plan}");
    let umbrella = world.id("umbrella");
    world
        .begin("alice")
        .fails(&format!(
            "INSERT INTO app.seen (tenant_id, body) VALUES ('{umbrella}', 'x')"
        ))
        .code("42501");
    world.db.app().fails("SELECT * FROM app.seen").code("55000");
}

#[test]
fn subqueries_ctes_windows_and_set_operations() {
    let world = World::new();
    for (user, rows) in USERS {
        let mut app = world.begin(user);
        for sql in [
            "SELECT count(*) FROM (SELECT * FROM app.notes UNION SELECT * FROM app.notes) u",
            "WITH RECURSIVE r AS (SELECT * FROM app.notes UNION SELECT n.* FROM app.notes n JOIN r ON r.id = n.id) SELECT count(*) FROM r",
            "SELECT count(*) FROM generate_series(1, 15) g WHERE EXISTS (SELECT FROM app.notes n WHERE n.id = g)",
            "SELECT coalesce(max(n), 0) FROM (SELECT row_number() OVER (ORDER BY id) n FROM app.notes) w",
            "SELECT count(*) FROM app.notes a, LATERAL (SELECT FROM app.notes b WHERE b.id = a.id) l",
            "SELECT count(n.id) FROM generate_series(1, 15) g LEFT JOIN app.notes n ON n.id = g",
            "SELECT count(*) FROM app.notes TABLESAMPLE SYSTEM (100)",
            "SELECT (SELECT count(*) FROM app.notes)",
        ] {
            assert_eq!(app.number(sql), rows, "{user}: {sql}");
        }
    }
}

#[test]
fn a_hundred_executions_of_a_drivers_statements_in_turn() {
    let world = World::new();
    let mut app = world.db.app();
    let count = app
        .prepare("SELECT count(*) FROM app.notes WHERE body LIKE $1")
        .unwrap();
    let change = app
        .prepare("UPDATE app.notes SET body = body WHERE id > $1 RETURNING id")
        .unwrap();
    for n in 0..100 {
        let (user, rows) = USERS[(n * 7 + n / 3) % USERS.len()];
        app.begin(world.key(user));
        assert_eq!(
            app.query_one(&count, &[&"%"]).unwrap().get::<_, i64>(0),
            rows,
            "{user}"
        );
        let rows = select_one(&mut app, user, rows);
        assert_eq!(
            app.query(&change, &[&0_i64]).unwrap().len() as i64,
            rows,
            "{user}"
        );
        app.run("COMMIT");
    }
}

#[test]
fn select_for_update_and_isolation_levels() {
    let world = World::new();
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let mut app = world.db.app();
        app.run(&format!("BEGIN ISOLATION LEVEL {level}"))
            .login(world.key("alice"));
        assert_eq!(app.texts("SELECT id FROM app.notes FOR UPDATE").len(), 3);
        app.run("COMMIT")
            .run(&format!("BEGIN ISOLATION LEVEL {level} READ ONLY"))
            .login(world.key("ops"));
        assert_eq!(app.number("SELECT count(*) FROM app.notes"), 8);
        app.run("COMMIT");
    }
}
