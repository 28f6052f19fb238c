//! A pooled connection passes nothing on: what one client leaves in the session does not run in the next client's context,
//! does not read its credential, and does not block it. Clients take turns on one connection, as behind a pool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use postgres::Statement;
use postgres::types::Type;
use tenancy_client_tests::program::PgBouncer;
use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";
const AUTHENTICATE: &str = "SELECT tenancy.authenticate($1)";
/// The statement that an attacker prepares in its place.
const THEFT: &str = "SELECT tenancy.authenticate($1) FROM (SELECT pg_notify('loot', $1)) x";

/// A client of a pool: it prepared its statements once, by the protocol.
struct Client<'a> {
    world: &'a World,
    app: Session,
    login: Statement,
    name: String,
}

impl<'a> Client<'a> {
    fn new(world: &'a World) -> Self {
        let mut app = world.db.app();
        let login = app.prepare_typed(AUTHENTICATE, &[Type::TEXT]).unwrap();
        let name = app.text("SELECT name FROM pg_prepared_statements WHERE NOT from_sql");
        Self {
            world,
            app,
            login,
            name,
        }
    }

    /// A request of bob, who prepared long ago and knows nothing of the others.
    #[track_caller]
    fn bob_works(&mut self) {
        self.app.run("BEGIN");
        let key = self.world.key("bob");
        if let Err(error) = self.app.query(&self.login, &[&key]) {
            panic!("bob cannot authenticate: {error:?}");
        }
        assert_eq!(self.app.number(COUNT), 5);
        self.app.run("COMMIT");
        self.app.fails(COUNT).code("55000");
    }
}

/// Statements that make another one of the client's, each as a client may send them.
fn thefts(name: &str) -> Vec<(&'static str, String)> {
    let take = format!("DEALLOCATE \"{name}\"; PREPARE \"{name}\"(text) AS {THEFT}");
    let all = format!("DEALLOCATE ALL; PREPARE \"{name}\"(text) AS {THEFT}");
    let nested = format!(
        "DO $d$ BEGIN EXECUTE 'DEALLOCATE \"{name}\"'; EXECUTE $p$PREPARE \"{name}\"(text) AS {THEFT}$p$; END $d$"
    );
    let deallocate = format!(
        "DO $d$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $d$; PREPARE \"{name}\"(text) AS {THEFT}"
    );
    let aborted = format!("BEGIN; {take}; ROLLBACK");
    let savepoint = format!("BEGIN; SAVEPOINT a; {all}; ROLLBACK TO a; COMMIT");
    vec![
        ("as it is", take),
        ("all", all),
        ("in a block", nested),
        ("all in a block", deallocate),
        ("in an aborted transaction", aborted),
        ("in a savepoint", savepoint),
    ]
}

/// F5: the statement in the place of the one that authenticates.
#[test]
fn f5_a_statement_prepared_by_sql_does_not_take_a_drivers_place() {
    let world = World::new();
    let mut thief = world.db.app();
    thief.run("LISTEN loot");
    for (how, sql) in thefts("%s") {
        for context in ["none", "passing", "after the commit"] {
            let mut client = Client::new(&world);
            let sql = sql.replace("%s", &client.name);
            let own_transaction = sql.starts_with("BEGIN");
            // Outside of a transaction that is how poolers reset a connection, and drivers take note of it.
            if how == "all" && context != "passing" {
                continue;
            }
            if context == "passing" && !own_transaction {
                client.app.begin(world.key("eve"));
            } else if context == "after the commit" {
                client.app.begin(world.key("eve")).run("COMMIT");
            }
            // Each statement may be refused or do nothing.
            for one in sql.split("; ").filter(|_| !sql.starts_with("DO")) {
                let _ = client.app.batch_execute(one);
            }
            if sql.starts_with("DO") {
                let _ = client.app.batch_execute(&sql);
            }
            let _ = client.app.batch_execute("COMMIT");
            client.bob_works();
            client.bob_works();
            let sql = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql";
            assert_eq!(client.app.number(sql), 0, "{how}, {context}");
        }
    }
    thief.run("SELECT 1");
    let loot = thief.notifications().len();
    assert_eq!(loot, 0, "a key was stolen");
}

#[test]
fn f5_what_sql_prepared_is_gone_with_its_transaction() {
    let world = World::new();
    let left = |app: &mut Session| app.number("SELECT count(*) FROM pg_prepared_statements");
    let mut app = world.db.app();
    // Without any context.
    app.run("PREPARE mine AS SELECT 1");
    app.fails("EXECUTE mine").code("26000");
    app.run("BEGIN; PREPARE mine AS SELECT 1; EXECUTE mine; COMMIT");
    assert_eq!(left(&mut app), 0);
    // PREPARE is not undone by the server.
    app.run("BEGIN; PREPARE mine AS SELECT 1; ROLLBACK");
    assert_eq!(left(&mut app), 0);
    app.run("BEGIN; SAVEPOINT s; PREPARE mine AS SELECT 1; ROLLBACK TO s; EXECUTE mine");
    app.fails("SELECT 1/0");
    app.run("ROLLBACK");
    assert_eq!(left(&mut app), 0);
    // With a context.
    app.begin(world.key("alice"))
        .run("PREPARE mine AS SELECT body FROM app.notes; EXECUTE mine; COMMIT");
    app.fails("EXECUTE mine").code("26000");
    // Entering a context drops objects that the same transaction created before.
    app.run("BEGIN; PREPARE mine AS SELECT 1")
        .login(world.key("alice"))
        .fails("EXECUTE mine")
        .code("26000");
    app.run("ROLLBACK");
    // A ticket.
    let ticket = world.ticket("alice", "5 minutes");
    app.run(&format!(
        "BEGIN; SET LOCAL tenancy.ticket = '{ticket}'; PREPARE mine AS SELECT 1; COMMIT"
    ));
    app.fails("EXECUTE mine").code("26000");
    // A statement that authenticates by itself.
    app.run("BEGIN; PREPARE a(text) AS SELECT tenancy.authenticate($1)");
    app.run(&format!("EXECUTE a('{}')", world.key("alice")));
    assert_eq!(app.number(COUNT), 3);
    app.run("ROLLBACK; BEGIN; PREPARE a(text) AS SELECT tenancy.authenticate($1)");
    app.run(&format!(
        "EXPLAIN ANALYZE EXECUTE a('{}')",
        world.key("alice")
    ));
    assert_eq!(app.number(COUNT), 3);
    app.run("COMMIT");
    assert_eq!(left(&mut app), 0);
}

/// A session with its own context keeps its prepared statements until release() or another principal's context.
#[test]
fn a_session_context_keeps_what_sql_prepared() {
    let world = World::new();
    let mut app = world.db.app();
    app.login_session(world.key("alice"));
    app.run(&format!("PREPARE mine AS {COUNT}"));
    assert_eq!(app.number("EXECUTE mine"), 3);
    app.begin(world.key("bob"))
        .fails("EXECUTE mine")
        .code("26000");
    app.run("ROLLBACK");
    app.run("SELECT tenancy.release()")
        .run("DISCARD ALL")
        .login_session(world.key("alice"));
    app.run(&format!("PREPARE mine AS {COUNT}"));
    app.run("SELECT tenancy.release()");
    app.fails("EXECUTE mine").code("26000");
}

/// A driver that did not see DISCARD ALL binds to a name that is no more: an error, never another's statement.
#[test]
fn f5_a_name_that_a_driver_used_is_not_left_to_sql_in_a_session_context() {
    let world = World::new();
    for reset in ["DISCARD ALL", "DEALLOCATE ALL"] {
        let mut client = Client::new(&world);
        client.app.run(reset).login_session(world.key("eve"));
        let sql = format!("PREPARE \"{}\"(text) AS {THEFT}", client.name);
        let _ = client.app.batch_execute(&sql);
        client.app.run("BEGIN");
        let stolen = client.app.query(&client.login, &[&world.key("bob")]);
        let error = stolen.expect_err("bob's key was stolen");
        assert_eq!(error.code().unwrap().code(), "26000");
        client.app.run("ROLLBACK");
    }
}

#[test]
fn drivers_statements_stay_over_transactions_of_many_principals() {
    let world = World::new();
    let mut app = world.db.app();
    let login = app.prepare_typed(AUTHENTICATE, &[Type::TEXT]).unwrap();
    let count = app.prepare(COUNT).unwrap();
    for _ in 0..10 {
        for (user, rows) in [("alice", 3), ("bob", 5), ("ops", 8), ("eve", 7)] {
            app.run("BEGIN");
            app.query(&login, &[&world.key(user)]).unwrap();
            let found: i64 = app.query_one(&count, &[]).unwrap().get(0);
            assert_eq!(found, rows);
            app.run(if rows == 5 { "ROLLBACK" } else { "COMMIT" });
        }
    }
    // A driver closes one by the protocol, and makes others.
    drop(count);
    let count = app.prepare(COUNT).unwrap();
    app.begin(world.key("alice"));
    let found: i64 = app.query_one(&count, &[]).unwrap().get(0);
    assert_eq!(found, 3);
}

/// psycopg, Rails and PDO deallocate by SQL what they prepared by the protocol, and use no name twice.
#[test]
fn drivers_that_deallocate_by_sql_do_so_in_the_end() {
    let world = World::new();
    let mut app = world.db.app();
    let names = "SELECT name FROM pg_prepared_statements WHERE NOT from_sql ORDER BY prepare_time";
    let mut kept = Vec::new();
    for n in 0..300 {
        kept.push(app.prepare(&format!("SELECT {n}")).unwrap());
        let last = app.texts(names).pop().unwrap();
        app.begin(world.key("alice"))
            .run(&format!("DEALLOCATE \"{last}\"; COMMIT"));
    }
    let left = app.number("SELECT count(*) FROM pg_prepared_statements");
    assert!(left <= 260, "{left} statements are left");
    // In the transaction that prepared it, it is the client's own.
    app.begin(world.key("alice"));
    let own = app.prepare("SELECT 'own'").unwrap();
    let name = app.texts(names).pop().unwrap();
    app.run(&format!("DEALLOCATE \"{name}\""));
    assert!(app.query(&own, &[]).is_err());
    app.run("ROLLBACK");
    // Outside of a transaction, as poolers reset a connection.
    app.run("DEALLOCATE ALL");
    assert_eq!(app.number("SELECT count(*) FROM pg_prepared_statements"), 0);
}

/// F6, and other tickets that do not hold.
#[test]
fn f6_an_invalid_ticket_stops_no_login() {
    let world = World::new();
    let mut expired = world.ticket("eve", "5 minutes");
    expired.truncate(expired.len() - 2);
    for ticket in ["x", "tnk_x", expired.as_str(), "tnt_x"] {
        let mut app = world.db.app();
        app.run("CREATE TEMP TABLE junk()");
        app.run(&format!("SET tenancy.ticket = '{ticket}'"));
        app.fails("DO $$ BEGIN RAISE EXCEPTION 'left'; END $$");
        for sql in [
            "SELECT 1",
            "SET application_name = 'x'",
            "SET LOCAL work_mem = '1MB'",
            "SHOW work_mem",
            "BEGIN; ROLLBACK",
            "DO $$ BEGIN END $$",
            "SELECT * FROM pg_class LIMIT 1",
        ] {
            app.run(sql);
        }
        app.fails(COUNT).code("42501");
        app.begin(world.key("alice"));
        assert_eq!(app.number(COUNT), 3);
        app.run("COMMIT; CREATE TEMP TABLE IF NOT EXISTS junk()");
        app.run(&format!(
            "SELECT tenancy.authenticate('{}', session => true)",
            world.key("alice")
        ));
        assert_eq!(app.number(COUNT), 3);
        app.run(&format!("SET tenancy.ticket = '{ticket}'"));
        app.run("SELECT tenancy.release()");
        app.fails(COUNT).code("55000");
    }
}

/// F6: a credential replaces a valid ticket that another client left.
#[test]
fn f6_a_ticket_of_another_user_gives_way_to_a_credential() {
    let world = World::new();
    let ticket = world.ticket("eve", "5 minutes");
    for leave in [
        "CREATE TEMP TABLE junk()",
        "CREATE TEMP TABLE junk(); BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "DO $$ BEGIN CREATE TEMP TABLE junk(); END $$",
    ] {
        let mut app = world.db.app();
        app.run(leave);
        app.run(&format!("SET tenancy.ticket = '{ticket}'"));
        app.fails("DO $$ BEGIN RAISE EXCEPTION 'left'; END $$");
        app.run("BEGIN; SELECT 1; DO $$ BEGIN END $$")
            .login(world.key("alice"));
        assert_eq!(app.number(COUNT), 3);
        app.run("ROLLBACK").begin(world.key("bob"));
        assert_eq!(app.number(COUNT), 5);
        app.run("COMMIT").login_session(world.key("alice"));
        assert_eq!(app.number(COUNT), 3);
    }
    let mut gateway = world.db.gateway();
    gateway.run("CREATE TEMP TABLE junk()");
    gateway.run(&format!("SET tenancy.ticket = '{ticket}'"));
    gateway.run("BEGIN; SELECT 1; SELECT tenancy.assume('acme/alice')");
    assert_eq!(gateway.number(COUNT), 3);
}

/// The statement that authenticates clears what a client without a context left, before its context begins.
#[test]
fn a_type_left_without_a_context_does_not_read_the_next_credential() {
    let world = World::new();
    let mut thief = world.db.app();
    thief.run("LISTEN loot");
    for leave in [
        "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_notify('loot', VALUE) IS NOT NULL)",
        "CREATE TEMP TABLE text()",
        "DO $$ BEGIN CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_notify('loot', VALUE) IS NOT NULL); END $$",
    ] {
        let mut app = world.db.app();
        app.run(leave);
        app.run("BEGIN");
        app.query_typed(
            "SELECT tenancy.authenticate($1::text)",
            &[(&world.key("bob"), Type::TEXT)],
        )
        .unwrap();
        assert_eq!(app.number(COUNT), 5);
        app.run("COMMIT");
    }
    thief.run("SELECT 1");
    assert_eq!(thief.notifications().len(), 0, "a key was stolen");
}

/// F6: settings that would stop the next client, of a role without tenancy.pooled.
#[test]
fn f6_settings_that_stop_the_next_client_end_with_their_transaction() {
    let world = World::new();
    world.db.admin().run(&format!(
        "CREATE ROLE {0}_sub; GRANT {0}_sub TO {0}",
        world.db.app
    ));
    for set in [
        "SET row_security = off",
        "SET statement_timeout = 1",
        "SET statement_timeout = '90ms'",
        "SET lock_timeout = 1",
        "SET idle_in_transaction_session_timeout = 1",
        "SET idle_session_timeout = 1",
        "SELECT set_config('statement_timeout', '1', false)",
        "DO $$ BEGIN SET statement_timeout = 1; END $$",
        "BEGIN; SAVEPOINT s; SET row_security = off; RELEASE s; COMMIT",
        "BEGIN; SET row_security = off; COMMIT",
        "BEGIN; SET lock_timeout = 2; COMMIT",
        "SET row_security = off; SELECT 1",
        "SET ROLE bystander",
        "SET default_transaction_deferrable = on",
        "SET search_path = public, pg_catalog",
    ] {
        let set = &set.replace("bystander", &format!("{}_sub", world.db.app));
        let mut client = Client::new(&world);
        client.app.run(set);
        std::thread::sleep(std::time::Duration::from_millis(5));
        client.bob_works();
    }
    let mut app = world.db.app();
    app.run("BEGIN; SET statement_timeout = 1; PREPARE TRANSACTION 'settings'");
    assert_eq!(app.text("SHOW statement_timeout"), "0");
    app.run("ROLLBACK PREPARED 'settings'");
    // Settings that an application makes for its connections stay.
    app.run("SET statement_timeout = '5s'; SET search_path = app; SET app.theme = 'dark'");
    app.begin(world.key("alice")).run("COMMIT");
    assert_eq!(app.text("SHOW statement_timeout"), "5s");
    assert_eq!(app.text("SHOW search_path"), "app");
    assert_eq!(app.text("SHOW app.theme"), "dark");
    // And those of the transaction stay until it ends.
    app.run("BEGIN; SET LOCAL statement_timeout = '500ms'");
    assert_eq!(app.text("SHOW statement_timeout"), "500ms");
    app.run("ROLLBACK; SET search_path = pg_catalog, app, pg_temp");
    assert_eq!(app.text("SHOW search_path"), "pg_catalog, app, pg_temp");
    // A role that may authenticate too.
    app.run("SET ROLE tenancy_app");
    assert_eq!(app.text("SELECT current_user"), "tenancy_app");
    let sql = format!("DROP ROLE {}_sub", world.db.app);
    world.db.admin().run(&sql);
}

#[test]
fn a_context_hears_no_channel_of_the_client_before() {
    let world = World::new();
    let mut app = world.db.app();
    let channels = "SELECT count(*) FROM pg_listening_channels()";
    app.run("LISTEN a; LISTEN b");
    assert_eq!(app.number(channels), 2);
    app.begin(world.key("alice")).run("LISTEN c; COMMIT");
    assert_eq!(app.number(channels), 0);
    app.begin(world.key("alice")).run("LISTEN c; ROLLBACK");
    app.run("LISTEN d")
        .begin(world.key("alice"))
        .run("ROLLBACK");
    // Undone with its transaction; the next one that commits ends it.
    app.begin(world.key("bob")).run("COMMIT");
    assert_eq!(app.number(channels), 0);
    let ticket = world.ticket("alice", "5 minutes");
    app.run(&format!("LISTEN e; SET tenancy.ticket = '{ticket}'"));
    app.run(COUNT);
    assert_eq!(app.number(channels), 0);
    // A connection of its own, without a context or with the session's, hears what it likes.
    app.run("RESET tenancy.ticket; LISTEN f; SELECT 1; BEGIN; COMMIT");
    assert_eq!(app.number(channels), 1);
    app.login_session(world.key("alice"))
        .run("LISTEN g; SELECT 1");
    assert!(app.number(channels) >= 1);
}

#[test]
fn a_context_holds_no_advisory_lock_beyond_its_transaction() {
    let world = World::new();
    let held =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    let mut app = world.db.app();
    let lock =
        "SELECT pg_advisory_lock(8009), pg_advisory_lock(8009), pg_advisory_lock_shared(8010)";
    for end in ["COMMIT", "ROLLBACK"] {
        app.begin(world.key("alice")).run(lock).run(end);
        assert_eq!(app.number(held), 0, "{end}");
    }
    app.begin(world.key("alice")).run(lock);
    app.fails("SELECT 1/0");
    app.run("ROLLBACK");
    assert_eq!(app.number(held), 0);
    // Of a client without a context: when the next context begins.
    app.run(lock).begin(world.key("bob"));
    assert_eq!(app.number(held), 0);
    app.run("SELECT pg_advisory_xact_lock(8011)");
    assert_eq!(app.number(held), 1);
    app.run("COMMIT")
        .login_session(world.key("alice"))
        .run(lock);
    assert_eq!(app.number(held), 2);
}

/// A role behind a pool, as a superuser marks it.
fn pooled(world: &World) {
    world.db.admin().run(&format!(
        "ALTER ROLE {} SET tenancy.pooled = on",
        world.db.app
    ));
}

/// F30: a request that forgot to authenticate does not work in whatever tenant the last one left.
#[test]
fn f30_a_role_behind_a_pool_has_no_session_context() {
    let world = World::new();
    pooled(&world);
    let mut app = world.db.app();
    let sql = "SELECT tenancy.authenticate($1, session => true)";
    app.fails_with(sql, &[&world.key("eve")])
        .code("42501")
        .hints("tenancy.pooled");
    app.fails(COUNT).code("55000");
    app.run("BEGIN");
    app.fails_with(sql, &[&world.key("eve")]).code("42501");
    app.run("ROLLBACK");
    // It does not switch it off.
    app.fails("SET tenancy.pooled = off").code("42501");
    app.fails("SELECT set_config('tenancy.pooled', 'off', true)")
        .code("42501");
    app.fails("RESET tenancy.pooled").code("42501");
    app.run("RESET ALL").run("DISCARD ALL");
    assert_eq!(app.text("SHOW tenancy.pooled"), "on");
    assert!(world.db.app_with("-c tenancy.pooled=off").is_err());
    app.fails(&format!(
        "ALTER ROLE {} SET tenancy.pooled = off",
        world.db.app
    ))
    .code("42501");
    // A gateway's neither.
    let mut gateway = world.db.admin();
    gateway.run(&format!(
        "ALTER ROLE {} SET tenancy.pooled = on",
        world.db.gateway
    ));
    world
        .db
        .gateway()
        .fails("SELECT tenancy.assume('acme/alice', session => true)")
        .code("42501");
}

#[test]
fn a_role_behind_a_pool_has_no_ticket_of_the_session() {
    let world = World::new();
    pooled(&world);
    let ticket = world.ticket("eve", "5 minutes");
    let mut app = world.db.app();
    app.fails(&format!("SET tenancy.ticket = '{ticket}'"))
        .code("42501")
        .hides(&ticket);
    app.fails(&format!("SET SESSION \"Tenancy\".Ticket TO '{ticket}'"))
        .code("42501");
    app.run(&format!(
        "SELECT set_config('tenancy.ticket', '{ticket}', false)"
    ));
    app.fails(COUNT).code("55000");
    app.run("BEGIN").run(&format!(
        "SELECT set_config('tenancy.ticket', '{ticket}', false)"
    ));
    assert_eq!(app.number(COUNT), 7);
    app.run("COMMIT").fails(COUNT).code("55000");
    app.run(&format!("BEGIN; SET LOCAL tenancy.ticket = '{ticket}'"));
    assert_eq!(app.number(COUNT), 7);
    app.run("COMMIT").fails(COUNT).code("55000");
    // The connection's own, from its startup packet, stays.
    let mut own = world
        .db
        .app_with(&format!("-c tenancy.ticket={ticket}"))
        .unwrap();
    for _ in 0..2 {
        assert_eq!(own.number(COUNT), 7);
    }
}

#[test]
fn a_role_behind_a_pool_leaves_no_setting() {
    let world = World::new();
    world.db.admin().run(&format!(
        "CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO {0}; CREATE ROLE {0}_sub; GRANT {0}_sub TO {0}; \
         ALTER ROLE {0} SET statement_timeout = '7s'",
        world.db.app
    ));
    pooled(&world);
    let role = format!("SET ROLE {}_sub", world.db.app);
    let session = format!("SET SESSION AUTHORIZATION {}", world.db.app);
    let mut app = world.db.app();
    let state = "SELECT string_agg(name || '=' || setting, ', ' ORDER BY name) FROM pg_settings WHERE name NOT LIKE 'transaction%' AND name NOT LIKE 'plpgsql%'";
    let who = "SELECT current_user || session_user";
    let before = (app.text(state), app.text(who));
    for set in [
        role.as_str(),
        session.as_str(),
        "SET row_security = off",
        "SET statement_timeout = 1",
        "SET statement_timeout = '3s'",
        "SET lock_timeout = '3s'",
        "SET default_transaction_read_only = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
        "SET search_path = evil, pg_catalog",
        "SET backslash_quote = on",
        "SET transform_null_equals = on",
        "SET synchronous_commit = off",
        "SET work_mem = '64kB'",
        "SET enable_indexscan = off; SET enable_seqscan = off",
        "SET tenancy.missing_context = empty",
        "SET app.tenant = 'soylent'",
        "SET bytea_output = 'escape'; SET extra_float_digits = -15",
        "SET exit_on_error = on",
        "SET client_min_messages = error",
        "SELECT set_config('search_path', 'evil', false)",
        "DO $$ BEGIN PERFORM set_config('work_mem', '64kB', false); END $$",
        "BEGIN; SAVEPOINT s; SET work_mem = '64kB'; RELEASE s; COMMIT",
        "BEGIN; SET LOCAL work_mem = '65kB'; SET work_mem = '64kB'; SET LOCAL work_mem = '66kB'; COMMIT",
        "BEGIN; SET work_mem = '64kB'; COMMIT AND CHAIN; SET lock_timeout = 9; ROLLBACK",
        "BEGIN; SET work_mem = '64kB'; PREPARE TRANSACTION 'left'",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT 1; SET work_mem = '64kB'; COMMIT",
    ] {
        // Without a context and with one.
        app.run(set);
        assert_eq!((app.text(state), app.text(who)), before, "{set}");
        let _ = app.batch_execute("ROLLBACK PREPARED 'left'");
        if !set.contains("BEGIN") {
            app.begin(world.key("eve")).run(set).run("COMMIT");
            assert_eq!((app.text(state), app.text(who)), before, "{set}");
        }
        app.begin(world.key("bob"));
        assert_eq!(app.number(COUNT), 5, "{set}");
        app.run("COMMIT").fails(COUNT).code("55000");
    }
    assert_eq!(
        app.text("SELECT coalesce(current_setting('app.tenant', true), '')"),
        ""
    );
    // It works until the transaction ends; settings that poolers make for each client stay.
    app.run("BEGIN; SET work_mem = '65kB'");
    assert_eq!(app.text("SHOW work_mem"), "65kB");
    app.run("COMMIT; SET TIME ZONE 'Asia/Tokyo'; SET application_name = 'mine'");
    assert_eq!(app.text("SHOW timezone"), "Asia/Tokyo");
    assert_eq!(app.text("SHOW application_name"), "mine");
    world
        .db
        .admin()
        .run(&format!("DROP ROLE {}_sub", world.db.app));
}

#[test]
fn a_role_behind_a_pool_leaves_nothing_else_without_a_context_either() {
    let world = World::new();
    pooled(&world);
    let mut app = world.db.app();
    app.run("LISTEN a; SELECT pg_advisory_lock(8012)");
    app.run("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; CREATE TEMP TABLE t(); PREPARE p AS SELECT 1; COMMIT");
    assert_eq!(
        app.number("SELECT count(*) FROM pg_listening_channels()"),
        0
    );
    assert_eq!(app.number("SELECT count(*) FROM pg_cursors"), 0);
    assert_eq!(app.number("SELECT count(*) FROM pg_prepared_statements"), 0);
    assert_eq!(
        app.number(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        ),
        0
    );
    app.fails("SELECT * FROM t").code("42P01");
    app.run("BEGIN; SELECT pg_advisory_lock(8012); ROLLBACK");
    assert_eq!(
        app.number(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        ),
        0
    );
}

/// The same through a PgBouncer whose clients know nothing of one another.
#[test]
fn pgbouncer_passes_nothing_from_client_to_client() {
    let world = World::new();
    pooled(&world);
    let upstream = world.db.config(&world.db.app);
    let bouncer = PgBouncer::start(&upstream, 1, "");
    let config = bouncer.config(&upstream);
    let mut tokyo = config.clone();
    tokyo.options("");
    let (mut eve, mut bob) = (Session::connect(&config), Session::connect(&config));
    let pid = eve.pid();
    assert_eq!(bob.pid(), pid);
    for left in [
        "SET row_security = off",
        "SET search_path = pg_temp, pg_catalog",
        "SET statement_timeout = 1",
        "SET default_transaction_read_only = on",
        "CREATE TEMP TABLE text()",
        "CREATE TEMP TABLE junk()",
        "PREPARE s0(text) AS SELECT 1",
        "LISTEN loot",
        "SELECT pg_advisory_lock(8013)",
        "SELECT set_config('tenancy.ticket', 'x', false)",
        "DO $$ BEGIN PERFORM set_config('app.tenant', 'soylent', false); END $$",
        "SET TIME ZONE 'Asia/Tokyo'",
    ] {
        eve.run(left);
        bob.begin(world.key("bob"));
        assert_eq!(bob.number(COUNT), 5, "{left}");
        bob.run("INSERT INTO app.notes (body) VALUES ('one more')");
        bob.run("ROLLBACK").fails(COUNT).code("55000");
    }
    let _ = eve.batch_execute(&format!(
        "SELECT tenancy.authenticate('{}', session => true)",
        world.key("eve")
    ));
    bob.fails(COUNT).code("55000");
}
