//! COPY FROM a client into protected tables, as bulk loaders of every driver send it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;

use tenancy_client_tests::{Failure, Session, World};

/// Copies these lines; returns how many rows were copied.
fn copy(session: &mut Session, sql: &str, lines: &str) -> Result<u64, Failure> {
    let sent = (|| {
        let mut writer = session.copy_in(sql)?;
        let _ = writer.write_all(lines.as_bytes());
        writer.finish()
    })();
    sent.map_err(|error| Failure::from(&error))
}

/// The same with a connection of its own, in a transaction: the driver cannot go on after a COPY that failed before it began.
fn refused(world: &World, begin: &str, sql: &str, lines: &str) -> Failure {
    let mut session = world.db.app();
    session.run("BEGIN").run(begin);
    copy(&mut session, sql, lines).unwrap_err()
}

/// Takes a user's context.
fn login(world: &World, user: &str) -> String {
    format!("SELECT tenancy.authenticate('{}')", world.key(user))
}

fn world() -> World {
    let world = World::new();
    world.db.owner().run(
        "CREATE TABLE app.items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, code text UNIQUE, price numeric DEFAULT 7,
             double numeric GENERATED ALWAYS AS (price * 2) STORED, made timestamptz DEFAULT now());
         SELECT tenancy.protect('app.items')",
    );
    world
}

const COUNT: &str = "SELECT count(*) FROM app.items";

#[test]
fn an_application_loads_its_own_rows() {
    let world = world();
    let mut app = world.begin("alice");
    let acme = world.id("acme");
    // The tenant by default, and named; formats and options.
    for (sql, lines, rows) in [
        (
            "COPY app.items (code) FROM STDIN",
            "a\nb\n\\N\n".to_owned(),
            3,
        ),
        (
            "COPY app.items (code, tenant_id) FROM STDIN (FORMAT csv, HEADER)",
            format!("code,tenant_id\nc,{acme}\n\"d\ne\",{acme}\n"),
            2,
        ),
        (
            "COPY app.items (code, price) FROM STDIN WITH DELIMITER '|' NULL 'none'",
            "f|1.5\ng|none\n".into(),
            2,
        ),
        (
            "COPY app.items FROM STDIN (FORMAT csv, FORCE_NULL (price))",
            format!("-1,{acme},h,\"\",2026-01-01\n"),
            1,
        ),
        ("COPY app.items FROM STDIN", String::new(), 0),
    ] {
        assert_eq!(copy(&mut app, sql, &lines).unwrap(), rows, "{sql}");
    }
    assert_eq!(app.number(COUNT), 8);
    assert_eq!(
        app.texts("SELECT concat_ws('|', code, price, double) FROM app.items ORDER BY id"),
        [
            "h",
            "a|7|14",
            "b|7|14",
            "7|14",
            "c|7|14",
            "d\ne|7|14",
            "f|1.5|3.0",
            "g"
        ]
    );
    // Each default was evaluated once.
    assert_eq!(app.number("SELECT max(id) FROM app.items"), 7);
    app.run("COMMIT");
    assert_eq!(world.begin("bob").number(COUNT), 0);
}

#[test]
fn every_row_is_checked() {
    let world = world();
    let (acme, umbrella, soylent) = (world.id("acme"), world.id("umbrella"), world.id("soylent"));
    let sql = "COPY app.items (tenant_id, code) FROM STDIN";
    let alice = login(&world, "alice");
    refused(&world, "SELECT 1", sql, &format!("{acme}\ta\n"))
        .code("55000")
        .says("context is required");
    let unknown = "01a22745-f115-7138-90a9-c26d1bfc1fd1";
    for foreign in [&umbrella.to_string(), "\\N", unknown] {
        let lines = format!("{acme}\ta\n{foreign}\tb\n");
        refused(&world, &alice, sql, &lines)
            .code("42501")
            .says("row-level security policy");
    }
    // A fleet writes to one tenant at a time, as by INSERT; maintenance writes to all.
    let ops = login(&world, "ops");
    refused(&world, &ops, sql, &format!("{acme}\ta\n")).code("55000");
    let mut app = world.begin("ops");
    app.run("SELECT tenancy.select_tenant('umbrella')");
    assert_eq!(copy(&mut app, sql, &format!("{umbrella}\tu\n")).unwrap(), 1);
    app.run("COMMIT");
    copy(&mut world.db.owner(), sql, &format!("{acme}\ta\n"))
        .unwrap_err()
        .code("55000");
    let mut owner = world.db.owner();
    owner.run("BEGIN; SELECT tenancy.maintenance('load')");
    let lines = format!("{acme}\tx\n{umbrella}\ty\n{soylent}\tz\n{unknown}\tu2\n");
    assert_eq!(copy(&mut owner, sql, &lines).unwrap(), 4);
    owner.run("COMMIT");
    for (user, rows) in [("alice", 1), ("bob", 2), ("eve", 1)] {
        assert_eq!(world.begin(user).number(COUNT), rows, "{user}");
    }
}

#[test]
fn errors_are_those_of_copy_and_insert() {
    let world = world();
    let alice = login(&world, "alice");
    let sql = "COPY app.items (code, price) FROM STDIN";
    for (sql, lines, code, says) in [
        (
            sql,
            "a\t1\nb\tcheap\n",
            "22P02",
            "COPY items, line 2, column price",
        ),
        (
            sql,
            "a\t1\na\t2\n",
            "23505",
            "constraint: Some(\"items_code_key\")",
        ),
        (
            sql,
            "a\t1\tmore\n",
            "22P04",
            "extra data after last expected column",
        ),
        (
            "COPY app.items (code, double) FROM STDIN",
            "",
            "42P10",
            "generated column",
        ),
        (
            "COPY app.items (nothing) FROM STDIN",
            "",
            "42703",
            "nothing",
        ),
        (
            "COPY app.items (code, code) FROM STDIN",
            "",
            "42701",
            "code",
        ),
        (
            "COPY app.items (code) FROM STDIN (FORMAT best)",
            "",
            "22023",
            "best",
        ),
        // What only the server's own COPY does.
        (
            "COPY app.items (code) FROM STDIN WHERE code = 'a'",
            "a\n",
            "0A000",
            "row-level security",
        ),
    ] {
        let failure = refused(&world, &alice, sql, lines).code(code);
        assert!(failure.all.contains(says), "{failure:?}");
    }
    let read_only = format!("SET TRANSACTION READ ONLY; {alice}");
    refused(&world, &read_only, sql, "a\t1\n").code("25006");
    if world.db.admin().major() >= 17 {
        let sql = "COPY app.items (code) FROM STDIN (ON_ERROR ignore)";
        refused(&world, &alice, sql, "a\n").code("0A000");
    }
    assert_eq!(world.db.admin().number(COUNT), 0);
}

#[test]
fn rights_on_columns_and_tables() {
    let world = world();
    let app = &world.db.app;
    world.db.admin().run(&format!(
        "REVOKE INSERT ON app.items FROM tenancy_app; GRANT INSERT (code, tenant_id) ON app.items TO {app}"
    ));
    let mut app = world.begin("alice");
    assert_eq!(
        copy(&mut app, "COPY app.items (code) FROM STDIN", "a\n").unwrap(),
        1
    );
    assert_eq!(
        app.text("SELECT concat_ws('|', code, price) FROM app.items"),
        "a|7"
    );
    let alice = login(&world, "alice");
    for sql in [
        "COPY app.items (code, price) FROM STDIN",
        "COPY app.items FROM STDIN",
    ] {
        refused(&world, &alice, sql, "b\t1\n").code("42501");
    }
    copy(
        &mut world.db.stranger(),
        "COPY app.items (code) FROM STDIN",
        "a\n",
    )
    .unwrap_err()
    .code("42501");
}

#[test]
fn triggers_and_partitions_work_as_for_insert() {
    let world = world();
    let (acme, umbrella) = (world.id("acme"), world.id("umbrella"));
    world.db.owner().run(&format!(
        "CREATE TABLE app.runs (said text);
         GRANT ALL ON app.runs TO PUBLIC;
         CREATE TABLE app.parted (tenant_id uuid NOT NULL, n int, said text) PARTITION BY LIST (tenant_id);
         CREATE TABLE app.parted_acme PARTITION OF app.parted FOR VALUES IN ('{acme}');
         CREATE TABLE app.parted_rest PARTITION OF app.parted DEFAULT;
         CREATE TABLE app.whole (tenant_id uuid NOT NULL, n int, said text);
         CREATE FUNCTION app.moves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.n < 0 THEN RETURN NULL; END IF;
             IF NEW.n = 13 THEN NEW.tenant_id := '{umbrella}'; END IF; NEW.said := 'seen'; RETURN NEW; END $$;
         CREATE FUNCTION app.ran() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.runs SELECT count(*) FROM new; RETURN NULL; END $$;
         CREATE TRIGGER moves BEFORE INSERT ON app.parted FOR EACH ROW EXECUTE FUNCTION app.moves();
         CREATE TRIGGER ran AFTER INSERT ON app.parted REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION app.ran();
         CREATE TRIGGER moves BEFORE INSERT ON app.whole FOR EACH ROW EXECUTE FUNCTION app.moves();
         SELECT tenancy.protect('app.parted'); SELECT tenancy.protect('app.whole')"
    ));
    let mut app = world.begin("alice");
    let sql = "COPY app.parted (n) FROM STDIN";
    assert_eq!(copy(&mut app, sql, "1\n2\n-1\n3\n").unwrap(), 3);
    assert_eq!(app.texts("SELECT said FROM app.runs"), ["3"]);
    assert_eq!(
        app.number("SELECT count(*) FROM app.parted_acme WHERE said = 'seen'"),
        3
    );
    // A trigger cannot move a row to another tenant.
    refused(
        &world,
        &login(&world, "alice"),
        "COPY app.whole (n) FROM STDIN",
        "1\n13\n",
    )
    .code("42501");
    assert_eq!(
        copy(
            &mut app,
            "COPY app.parted_acme (n, tenant_id) FROM STDIN",
            &format!("4\t{acme}\n")
        )
        .unwrap(),
        1
    );
    app.run("COMMIT");
}

#[test]
fn other_tables_and_roles_are_the_servers() {
    let world = world();
    world.db.owner().run(
        "CREATE TABLE app.free (id int, body text);
         CREATE TABLE app.own_rls (id int, body text);
         ALTER TABLE app.own_rls ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.own_rls USING (true)",
    );
    let mut app = world.db.app();
    assert_eq!(
        copy(
            &mut app,
            "COPY app.free FROM STDIN WHERE id > 1",
            "1\ta\n2\tb\n"
        )
        .unwrap(),
        1
    );
    copy(&mut app, "COPY app.own_rls FROM STDIN", "1\ta\n")
        .unwrap_err()
        .code("0A000");
    let acme = world.id("acme");
    let mut admin = world.db.admin();
    assert_eq!(
        copy(
            &mut admin,
            "COPY app.items (tenant_id) FROM STDIN",
            &format!("{acme}\n")
        )
        .unwrap(),
        1
    );
}

/// What the server's COPY does in another way than an INSERT stays its own, which it refuses.
#[test]
fn tables_with_rules_and_without_columns_are_left_to_the_server() {
    let world = world();
    let acme = world.id("acme");
    world.db.owner().run(
        "CREATE TABLE app.ruled (tenant_id uuid NOT NULL, n int); CREATE TABLE app.log (n int);
         CREATE RULE also AS ON INSERT TO app.ruled DO ALSO INSERT INTO app.log VALUES (new.n);
         SELECT tenancy.protect('app.ruled');
         CREATE TABLE app.par (tenant_id uuid NOT NULL); SELECT tenancy.protect('app.par')",
    );
    let alice = login(&world, "alice");
    refused(&world, &alice, "COPY app.ruled (n) FROM STDIN", "1\n").code("0A000");
    let mut owner = world.db.owner();
    if owner.major() < 16 {
        owner.run(&format!(
            "CREATE TABLE app.chg (tenant_id uuid GENERATED ALWAYS AS ('{acme}'::uuid) STORED) INHERITS (app.par)"
        ));
        refused(&world, &alice, "COPY app.chg FROM STDIN", "").code("0A000");
    }
}

/// The lock on a table does not keep its schema from being renamed.
#[test]
fn a_table_of_the_same_name_gets_nothing() {
    let world = world();
    let mut owner = world.db.owner();
    let schema =
        "GRANT USAGE ON SCHEMA rn TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA rn TO PUBLIC";
    owner.run(&format!(
        "CREATE SCHEMA rn; CREATE TABLE rn.t (tenant_id uuid NOT NULL, n int); SELECT tenancy.protect('rn.t'); {schema}"
    ));
    let mut app = world.begin("alice");
    let mut to = app.copy_in("COPY rn.t (n) FROM STDIN").unwrap();
    to.write_all(b"1\n2\n").unwrap();
    to.flush().unwrap();
    owner.run(&format!(
        "ALTER SCHEMA rn RENAME TO rn_old; CREATE SCHEMA rn; CREATE TABLE rn.t (tenant_id uuid, n int); {schema}"
    ));
    to.write_all(b"3\n").unwrap();
    assert_eq!(to.finish().unwrap(), 3);
    app.run("COMMIT");
    let mut admin = world.db.admin();
    assert_eq!(admin.number("SELECT count(*) FROM rn_old.t"), 3);
    assert_eq!(admin.number("SELECT count(*) FROM rn.t"), 0);
}

/// More than work_mem.
#[test]
fn many_rows() {
    let world = world();
    let mut app = world.begin("alice");
    app.run("SET work_mem = '64kB'");
    let lines: String = (0..50_000)
        .map(|n| format!("item {n} {}\n", "x".repeat(50)))
        .collect();
    assert_eq!(
        copy(&mut app, "COPY app.items (code) FROM STDIN", &lines).unwrap(),
        50_000
    );
    assert_eq!(app.number(COUNT), 50_000);
    app.run("COMMIT");
    // A second time it fails at the last line, and leaves nothing.
    let lines: String = (0..50_000).map(|n| format!("again {n}\n")).collect();
    let sql = "COPY app.items (code) FROM STDIN";
    refused(&world, &login(&world, "alice"), sql, &(lines + "again 7\n")).code("23505");
    app.begin(world.key("alice"));
    assert_eq!(app.number(COUNT), 50_000);
}
