//! Actions that try to leave no audit entry, or an entry that does not say what happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

/// Whether an entry of an elevated statement names the table.
fn recorded(world: &World, table: &str) -> bool {
    world.db.admin().text(&format!(
        "SELECT coalesce(bool_or(details -> 'tables' ? '{table}'), false) FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement'"
    )) == "t"
}

/// Waits until a query answers with what is wanted.
#[track_caller]
fn until(session: &mut Session, sql: &str, wanted: &str) {
    session.until(20, sql, &[wanted]);
}

// F32: the record of an elevated statement ----------------------------------------------------------

/// Many tables with long names before the one that is meant, and an alias that pushes it out of the text.
#[test]
fn every_table_is_on_record_whatever_the_planner_leaves_out() {
    let world = World::elevated();
    let mut owner = world.db.owner();
    let name = |n: usize| format!("\"a {n:02} \"\"'% {}\"", "é\u{1}".repeat(15));
    for n in 0..70 {
        owner.run(&format!(
            "CREATE TABLE app.{0} (tenant_id uuid, id integer PRIMARY KEY); SELECT count(*) FROM tenancy.protect('app.{1}')",
            name(n),
            name(n).replace('\'', "''")
        ));
    }
    owner.run("CREATE TABLE app.secrets (tenant_id uuid, body text); SELECT count(*) FROM tenancy.protect('app.secrets')");
    world.fill("app.secrets", "t.id, 'secret'");
    let joins: String = (0..70)
        .map(|n| {
            // Left out because it is false, because the key is unique, or because nothing is left.
            let on = match n % 3 {
                1 => format!("x{n}.id = 1"),
                2 if n > 2 => "x2.id > 0 AND x2.id < 0".to_owned(),
                _ => "false".to_owned(),
            };
            format!(" LEFT JOIN app.{} x{n} ON {on}", name(n))
        })
        .collect();
    let sql = format!(
        "SELECT count(*) FROM (VALUES (1)) \"{}\" (a){joins} CROSS JOIN app.secrets",
        "long ".repeat(12)
    );
    let mut pat = world.begin("pat");
    assert_eq!(pat.number(&sql), 15);
    assert!(recorded(&world, "app.secrets"));
    let mut admin = world.db.admin();
    let tables = "SELECT count(*) FROM tenancy.audit_log, jsonb_array_elements(details -> 'tables') WHERE action = 'tenancy.elevation.statement'";
    assert_eq!(admin.number(tables), 71);
    assert!(
        admin.number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement' AND details ->> 'part' LIKE '% of %'") > 1
    );
    // The text is cut; its length and its hash tell which it was.
    let plain = sql
        .replace(" = 1", " = ?")
        .replace("> 0", "> ?")
        .replace("< 0", "< ?")
        .replace("(1)", "(?)");
    assert_eq!(
        admin.texts(&format!(
            "SELECT DISTINCT (details ->> 'statement_length')::integer = octet_length(s) AND details ->> 'statement_sha256' = encode(sha256(convert_to(s, 'UTF8')), 'hex')
             FROM tenancy.audit_log, (SELECT $a${plain}$a$ AS s) t WHERE action = 'tenancy.elevation.statement'"
        )),
        ["t"]
    );
}

#[test]
fn whatever_reaches_a_table_names_it() {
    let world = World::elevated();
    world.db.owner().run(&format!(
        "CREATE TABLE app.parts (tenant_id uuid NOT NULL, body text) PARTITION BY LIST (tenant_id);
         CREATE TABLE app.part PARTITION OF app.parts FOR VALUES IN ('{}');
         CREATE TABLE app.others PARTITION OF app.parts DEFAULT;
         SELECT count(*) FROM tenancy.protect('app.parts');
         CREATE VIEW app.over AS SELECT count(*) AS n FROM app.notes;
         CREATE FUNCTION app.counted() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM app.notes';
         CREATE FUNCTION app.folded() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) FROM app.notes';
         GRANT SELECT ON app.over TO tenancy_app",
        world.id("acme")
    ));
    world.fill("app.parts", "t.id, 'x'");
    world.db.admin().run(&format!(
        "GRANT TEMPORARY ON DATABASE {} TO tenancy_app",
        world.db.name
    ));
    let entries = "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement' AND details -> 'tables' ? 'app.$'";
    for (table, sql) in [
        ("notes", "SELECT n FROM app.over"),
        ("notes", "SELECT app.counted()"),
        ("notes", "SELECT 1 WHERE app.folded() > 0"),
        (
            "notes",
            "SELECT 1 WHERE EXISTS (SELECT FROM app.notes WHERE false)",
        ),
        (
            "notes",
            "SELECT 1 /* app.other */ FROM app.notes -- app.other",
        ),
        ("notes", "SELECT 1; SELECT 'x' FROM app.notes; SELECT 2"),
        (
            "notes",
            "PREPARE p AS SELECT body FROM app.notes; EXECUTE p; DEALLOCATE p",
        ),
        (
            "notes",
            "CREATE TEMP TABLE got AS SELECT body FROM app.notes; DROP TABLE got",
        ),
        (
            "notes",
            "DECLARE c CURSOR WITH HOLD FOR SELECT body FROM app.notes; FETCH 1 FROM c; CLOSE c",
        ),
        (
            "notes",
            "DO $$ DECLARE r record; BEGIN FOR r IN EXECUTE E'SELECT body FROM app\\x2enotes' LOOP NULL; END LOOP; END $$",
        ),
        ("notes", "EXPLAIN (ANALYZE) SELECT body FROM app.notes"),
        (
            "notes",
            "WITH w AS MATERIALIZED (SELECT body FROM app.notes) SELECT 1 FROM w LIMIT 0",
        ),
        ("parts", "SELECT body FROM app.part"),
        ("parts", "SELECT body FROM ONLY app.parts"),
    ] {
        let entries = entries.replace('$', table);
        let before = world.db.admin().number(&entries);
        let mut pat = world.begin("pat");
        // A view over it is its owner's, who has no context of its own.
        let _ = pat.batch_execute(sql);
        pat.run("ROLLBACK");
        assert!(world.db.admin().number(&entries) > before, "{sql}");
    }
    // Which partitions are left out is found out while the statement starts.
    let mut pat = world.begin("pat");
    pat.run("SELECT tenancy.select_tenant('acme')");
    assert_eq!(pat.number("SELECT count(*) FROM app.parts"), 3);
    pat.run("SET LOCAL plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*) FROM app.parts");
    assert_eq!(pat.number("EXECUTE p"), 3);
    assert_eq!(pat.touched("UPDATE app.parts SET body = 'y'"), 3);
}

#[test]
fn a_statement_that_a_client_sent_with_others_is_cut_out_in_bytes() {
    let world = World::elevated();
    let mut pat = world.begin("pat");
    pat.run("SELECT 'éééééééééééééééé'; SELECT body AS mine FROM app.notes; SELECT 'ü'");
    assert_eq!(
        world.db.admin().texts("SELECT details ->> 'statement' FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement'"),
        [" SELECT body AS mine FROM app.notes"].map(str::trim_start)
    );
}

/// The entry names the right tenant: a statement that reads one tenant's rows is not recorded for another.
#[test]
fn a_statement_reads_the_tenant_that_it_is_on_record_in() {
    let world = World::elevated();
    let mut pat = world.begin("pat");
    pat.run(&format!(
        "CREATE FUNCTION pg_temp.go() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM tenancy.select_tenant(''{}''); RETURN true; END'",
        world.id("soylent")
    ));
    pat.run("SELECT tenancy.select_tenant('acme')");
    for sql in [
        "SELECT count(*) FROM (SELECT pg_temp.go() OFFSET 0) g, app.notes",
        "SELECT body FROM app.notes WHERE pg_temp.go()",
        "DECLARE c CURSOR FOR SELECT body FROM app.notes; SELECT pg_temp.go(); FETCH ALL FROM c",
    ] {
        pat.run("SAVEPOINT s");
        let read = pat.simple_query(sql);
        pat.run("ROLLBACK TO s");
        let rows = read.map_or(String::new(), |messages| format!("{messages:?}"));
        assert!(!rows.contains("soylent"), "{sql}: {rows}");
    }
}

#[test]
fn a_cursor_does_not_outlast_the_elevation() {
    let world = World::elevated();
    let mut pat = world.begin("pat");
    pat.run("DECLARE c CURSOR FOR SELECT body FROM app.notes");
    assert_eq!(pat.texts("FETCH 2 FROM c").len(), 2);
    pat.run("COMMIT");
    world
        .db
        .admin()
        .run("UPDATE tenancy.elevations SET expires_at = clock_timestamp() + interval '1 second'");
    pat.begin(world.key("pat"));
    pat.run("DECLARE c CURSOR FOR SELECT body FROM app.notes; FETCH 2 FROM c; SELECT pg_sleep(1)");
    pat.fails("FETCH 2 FROM c")
        .code("55000")
        .says("elevation has ended");
}

// F28: what runs is not left without rows -----------------------------------------------------------

#[test]
fn a_cursor_continues_and_rewinds() {
    let world = World::elevated();
    let mut pat = world.begin("pat");
    pat.run("SELECT tenancy.select_tenant('acme'); SAVEPOINT a; DECLARE c SCROLL CURSOR FOR SELECT id FROM app.notes WHERE tenant_id IS NOT NULL; RELEASE a");
    pat.run("SAVEPOINT b; FETCH 1 FROM c; SELECT count(*) FROM app.notes");
    pat.fails("SELECT 1 / 0");
    pat.run("ROLLBACK TO b; SET LOCAL work_mem = '1MB'");
    assert_eq!(pat.texts("FETCH ALL FROM c").len(), 2);
    pat.run("MOVE ABSOLUTE 0 FROM c");
    assert_eq!(pat.texts("FETCH ALL FROM c").len(), 3);
}

/// A function fails inside of a query; the query after it is another.
#[test]
fn what_was_noted_ends_with_its_query() {
    let world = World::elevated();
    let mut pat = world.begin("pat");
    pat.run(
        "CREATE FUNCTION pg_temp.fails() RETURNS boolean LANGUAGE plpgsql AS
         'BEGIN PERFORM count(*) FROM app.notes WHERE 1 / (id - id) > 0; RETURN true; END';
         CREATE FUNCTION pg_temp.catches() RETURNS boolean LANGUAGE plpgsql AS
         'BEGIN RETURN pg_temp.fails(); EXCEPTION WHEN division_by_zero THEN RETURN true; END'",
    );
    let entries =
        "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement'";
    assert_eq!(
        pat.number("SELECT count(*) FROM app.notes WHERE pg_temp.catches()"),
        15
    );
    let before = world.db.admin().number(entries);
    assert!(before > 15);
    pat.fails_inside("SELECT pg_temp.fails()").code("22012");
    assert_eq!(pat.number("SELECT count(*) FROM app.notes"), 15);
    assert_eq!(world.db.admin().number(entries), before + 2);
}

// F38: maintenance() is recorded before it takes effect ----------------------------------------------

#[test]
fn maintenance_is_on_record_before_and_after_a_rollback() {
    let world = World::new();
    let mut owner = world.db.owner();
    let mut admin = world.db.admin();
    let both = "SELECT (SELECT count(*) FROM tenancy.maintenance_log l WHERE l.reason = 'why')
            || ' ' || (SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.maintenance' AND details ->> 'reason' = 'why')";
    for (n, (begin, end)) in [
        ("BEGIN; SELECT tenancy.maintenance('why')", "ROLLBACK"),
        (
            "BEGIN; SAVEPOINT s; SELECT tenancy.maintenance(' why ')",
            "ROLLBACK TO s; ROLLBACK",
        ),
        (
            "BEGIN READ ONLY; SELECT tenancy.maintenance('why')",
            "COMMIT",
        ),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT tenancy.maintenance('why')",
            "COMMIT",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        owner.run(begin);
        // Already there while it is in force.
        let (before, wanted) = (n + 1, n + 1);
        assert_eq!(admin.text(both), format!("{before} {wanted}"), "{begin}");
        assert_eq!(owner.number("SELECT count(*) FROM app.notes"), 15);
        owner.run(end);
        assert_eq!(admin.text(both), format!("{before} {wanted}"), "{end}");
    }
    assert_eq!(
        admin.text("SELECT string_agg(DISTINCT role || ' ' || login || ' ' || (pid > 0) || ' ' || (xid < pg_snapshot_xmax(pg_current_snapshot())), ',') FROM tenancy.maintenance_log"),
        format!("{0} {0} true true", world.db.owner)
    );
    assert_eq!(
        admin.text("SELECT count(*) FROM tenancy.maintenance_log l JOIN tenancy.audit_log a ON a.details ->> 'reason' = l.reason AND a.role = l.role AND a.login = l.login AND a.client IS NOT DISTINCT FROM l.client"),
        "16"
    );
    owner.run("SELECT tenancy.seal_audit_log()");
    assert_eq!(
        admin.texts("SELECT problem FROM tenancy.verify_audit_log()"),
        Vec::<String>::new()
    );
}

/// A refused call gives no power, recorded or not, and writes at most one line to the server's log.
#[test]
fn a_reason_is_one_line() {
    let world = World::elevated();
    let mut owner = world.db.owner();
    for reason in [
        "'x' || chr(10) || 'LOG:  tenancy: maintenance by role \"dba\": approved'",
        "'x' || chr(13)  || 'y'",
        "'x' || chr(27) || '[2K'",
        "'x' || chr(8232) || 'y'",
        "'x' || chr(8238) || 'y'",
        "repeat('x', 301)",
        "repeat(' ', 50000000)",
        "chr(10)",
    ] {
        owner.run("BEGIN");
        owner
            .fails_inside(&format!("SELECT tenancy.maintenance({reason})"))
            .code("22023");
        owner
            .fails_inside("SELECT count(*) FROM app.notes")
            .code("55000");
        owner.run("ROLLBACK");
        world
            .begin("pat")
            .fails(&format!("SELECT tenancy.elevate({reason})"))
            .code("22023");
    }
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.maintenance_log"),
        0
    );
}

// F37, F12, F35: logins -----------------------------------------------------------------------------

/// Counts the entries of logins, the logins, and the entries without a name.
const LOGINS: &str = "SELECT count(*) || ' entries, ' || coalesce(sum(coalesce((details ->> 'count')::bigint, 1)), 0) || ' logins, ' || count(*) FILTER (WHERE user_id IS NULL) || ' without a name'
    FROM tenancy.audit_log WHERE action = 'tenancy.login'";
const FAILED: &str = "SELECT coalesce(sum((details ->> 'count')::bigint), 0) FROM tenancy.audit_log WHERE action = 'tenancy.login.failed'";
const FAILED_ROWS: &str =
    "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.login.failed'";

/// Ends the worker, which writes down what it has.
fn flush(world: &World) {
    // There is one, and it does not go before.
    world.db.admin().run("SELECT testing.record_now('flush', '{}'); SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()");
}

fn set(world: &World, name: &str, value: &str) {
    world.db.admin().run(&format!(
        "ALTER DATABASE {} SET {name} = '{value}'",
        world.db.name
    ));
}

/// Fails this number of logins, each with the id of another key that does not exist.
fn flood(world: &World, times: u32) {
    world.db.app().run(&format!("DO $$ BEGIN FOR i IN 1..{times} LOOP BEGIN PERFORM tenancy.authenticate('tnk_' || replace(gen_random_uuid()::text, '-', '') || '_' || repeat('A', 43)); EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$"));
}

#[test]
fn each_login_is_recorded_however_its_transaction_ends() {
    let world = World::bare();
    set(&world, "tenancy.audit_logins", "each");
    let key = world.key("alice");
    let mut app = world.db.app();
    app.run("BEGIN READ ONLY").login(key).run("ROLLBACK");
    app.begin(key).run("ROLLBACK");
    app.run("BEGIN; SAVEPOINT s")
        .login(key)
        .run("ROLLBACK TO s; COMMIT");
    app.begin(key);
    app.fails("SELECT 1 / 0");
    app.run("ROLLBACK");
    let mut killed = world.begin("alice");
    let pid = killed.pid();
    world
        .db
        .admin()
        .run(&format!("SELECT pg_terminate_backend({pid}, 5000)"));
    // A connection that is still open.
    let open = world.begin("alice");
    let mut admin = world.db.admin();
    until(&mut admin, LOGINS, "6 entries, 6 logins, 0 without a name");
    drop(open);
    assert_eq!(
        admin.text("SELECT bool_and((details ->> 'at')::timestamptz <= at AND NOT details ? 'count' AND user_id = (SELECT id FROM tenancy.scopes WHERE slug = 'alice')) FROM tenancy.audit_log WHERE action = 'tenancy.login'"),
        "t"
    );
    // More logins at once than can be kept: not one by one, but by name.
    world.db.gateway().run(&format!(
        "DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM tenancy.assume('{}', client => '10.0.0.1'); END LOOP; END $$",
        world.id("alice")
    ));
    flush(&world);
    until(
        &mut admin,
        "SELECT coalesce(sum(coalesce((details ->> 'count')::bigint, 1)), 0) || ' ' || count(*) FILTER (WHERE user_id IS NULL) FROM tenancy.audit_log WHERE action = 'tenancy.login'",
        "5006 0",
    );
}

/// A ticket can come in the startup packet, and no function is called.
#[test]
fn a_ticket_in_the_setting_counts_as_a_login() {
    let world = World::new();
    let ticket = world.ticket("bob", "1 hour");
    let mut app = world
        .db
        .app_with(&format!("-c tenancy.ticket={ticket}"))
        .unwrap();
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 5);
    app.run("BEGIN READ ONLY; SELECT count(*) FROM app.notes; SAVEPOINT s; SET LOCAL work_mem = '1MB'; SELECT count(*) FROM app.notes; ROLLBACK");
    let mut wrong = world.db.app();
    wrong.run(&format!(
        "SET tenancy.ticket = '{}'",
        ticket.replace("bob", "x").chars().rev().collect::<String>()
    ));
    wrong.fails("SELECT count(*) FROM app.notes").code("42501");
    flush(&world);
    let mut admin = world.db.admin();
    until(
        &mut admin,
        "SELECT count(*) || ' ' || min(details ->> 'credential') || ' ' || sum((details ->> 'count')::bigint) || ' ' || bool_and(user_id = (SELECT id FROM tenancy.scopes WHERE slug = 'bob')) FROM tenancy.audit_log WHERE action = 'tenancy.login'",
        "1 ticket 2 true",
    );
    until(&mut admin, FAILED_ROWS, "1");
}

/// An attacker counts on there being no place for it.
#[test]
fn a_login_has_a_name_however_many_there_are() {
    let world = World::bare();
    flood(&world, 20_000);
    // Each from another address: more than there are counters.
    world.db.gateway().run(&format!(
        "DO $$ BEGIN FOR i IN 1..12000 LOOP PERFORM tenancy.assume('{}', client => '10.0.0.0'::inet + i); END LOOP; END $$",
        world.id("alice")
    ));
    world.begin("bob").run("ROLLBACK");
    flush(&world);
    let mut admin = world.db.admin();
    let logins = "SELECT sum(coalesce((details ->> 'count')::bigint, 1)) || ' ' || count(*) FILTER (WHERE user_id IS NULL) || ' ' || count(DISTINCT client) FILTER (WHERE user_id = (SELECT id FROM tenancy.scopes WHERE slug = 'alice'))
        FROM tenancy.audit_log WHERE action = 'tenancy.login'";
    until(&mut admin, logins, "12001 0 12000");
}

#[test]
fn failed_logins_fill_no_table_and_have_their_address() {
    let world = World::bare();
    let mut admin = world.db.admin();
    flood(&world, 30_000);
    // Who exists has a name, in spite of it.
    let wrong = format!("{}AAA", &world.key("eve")[..world.key("eve").len() - 3]);
    world.db.app().try_login(&wrong).unwrap_err();
    flood(&world, 30_000);
    flush(&world);
    until(&mut admin, FAILED, "60001");
    let rows = admin.number(FAILED_ROWS);
    assert!(rows <= 16, "{rows} rows");
    assert_eq!(
        admin.texts("SELECT DISTINCT concat_ws(' ', (SELECT slug FROM tenancy.scopes WHERE id = user_id), details ->> 'credential', login = role, details ->> 'others', client IS NOT DISTINCT FROM NULL) FROM tenancy.audit_log WHERE action = 'tenancy.login.failed' ORDER BY 1"),
        {
            let local = admin.text("SELECT inet_client_addr() IS NULL");
            let local = if local == "t" { "t" } else { "f" };
            [format!("api_key t {local}"), format!("eve api_key t {local}")]
        }
    );
}

/// Known users, from many addresses: a gateway names the address of each client.
#[test]
fn failed_logins_of_known_users_from_many_addresses_are_few_rows_too() {
    let world = World::bare();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_status('acme', 'suspended')");
    let id = world.id("alice");
    world.db.gateway().run(&format!(
        "DO $$ BEGIN FOR i IN 1..3000 LOOP BEGIN PERFORM tenancy.assume('{id}', client => '10.0.0.0'::inet + i); EXCEPTION WHEN OTHERS THEN NULL; END;
            BEGIN PERFORM tenancy.assume(gen_random_uuid()::tenancy.regscope, client => '10.1.0.0'::inet + i); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$"
    ));
    flush(&world);
    let mut admin = world.db.admin();
    until(&mut admin, FAILED, "6000");
    let rows = admin.number(FAILED_ROWS);
    // 128 by name, 64 by address and one for the rest, each a few times while it went on.
    assert!((100..193 * 8).contains(&rows), "{rows} rows");
    assert_eq!(admin.text("SELECT count(DISTINCT client) FILTER (WHERE user_id IS NOT NULL) || ' ' || count(DISTINCT client) FILTER (WHERE user_id IS NULL) FROM tenancy.audit_log WHERE action = 'tenancy.login.failed'"), "128 64");
}

/// The holder of one IPv6 address has its whole network.
#[test]
fn failed_logins_from_the_addresses_of_one_network_are_one_origin() {
    let world = World::bare();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_status('acme', 'suspended')");
    let id = world.id("alice");
    world.db.gateway().run(&format!(
        "DO $$ BEGIN FOR i IN 1..3000 LOOP BEGIN PERFORM tenancy.assume('{id}', client => '2001:db8:1:2::'::inet + i * 3000000000000000); EXCEPTION WHEN OTHERS THEN NULL; END;
            BEGIN PERFORM tenancy.assume(gen_random_uuid()::tenancy.regscope, client => '2001:db8:1:3::'::inet + i); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;
            -- Another one's, and IPv4 in a longer hand.
            BEGIN PERFORM tenancy.assume('{id}', client => '2001:db8:9::1'); EXCEPTION WHEN OTHERS THEN NULL; END;
            BEGIN PERFORM tenancy.assume('{id}', client => '192.0.2.1'); EXCEPTION WHEN OTHERS THEN NULL; END;
            BEGIN PERFORM tenancy.assume('{id}', client => '::ffff:192.0.2.1'); EXCEPTION WHEN OTHERS THEN NULL; END; END $$"
    ));
    flush(&world);
    let mut admin = world.db.admin();
    until(&mut admin, FAILED, "6003");
    assert_eq!(
        admin.texts("SELECT (user_id IS NOT NULL) || ' ' || client::text || ' ' || sum((details ->> 'count')::bigint) FROM tenancy.audit_log WHERE action = 'tenancy.login.failed' AND NOT details ? 'others' GROUP BY user_id, client ORDER BY 1"),
        [
            "false 2001:db8:1:3::/64 3000",
            "true 192.0.2.1/32 2",
            "true 2001:db8:1:2::/64 3000",
            "true 2001:db8:9::/64 1"
        ]
    );
    // Every login has an address.
    world.db.gateway().run(&format!(
        "SELECT tenancy.assume('{}', client => '2001:db8:1:2::7')",
        world.id("bob")
    ));
    flush(&world);
    until(
        &mut admin,
        "SELECT string_agg(client::text, ' ') FROM tenancy.audit_log WHERE action = 'tenancy.login'",
        "2001:db8:1:2::7/128",
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.verify_audit_log()"),
        0
    );
}

#[test]
fn audited_roles_do_not_choose_what_is_audited() {
    let world = World::bare();
    let roles = [world.db.app(), world.db.gateway(), world.db.owner()];
    for mut session in roles {
        for setting in [
            "audit_logins = off",
            "audit_login_interval = 86400",
            "audit_seal_interval = 3600",
            "audit_retention = 1",
        ] {
            session.run("BEGIN");
            session
                .fails_inside(&format!("SET LOCAL tenancy.{setting}"))
                .code("42501");
            session
                .fails_inside(&format!("ALTER ROLE CURRENT_USER SET tenancy.{setting}"))
                .code("42501");
            session.run("ROLLBACK");
        }
    }
}
