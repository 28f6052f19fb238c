//! The resources of the server that a plan allows: no session gets more, whatever it sets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::{Session, World};

/// A world in which acme has a plan with these resources.
fn world(resources: &str) -> World {
    let world = World::bare();
    world.db.owner().run(&format!(
        "SELECT tenancy.define_plan('small', '{{\"resources\": {resources}}}'), tenancy.set_plan('acme', 'small')"
    ));
    world.db.admin().run(
        "CREATE FUNCTION app.spin() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LOOP END LOOP; END $$;
         CREATE FUNCTION app.generous(sleeps boolean) RETURNS text LANGUAGE plpgsql SET statement_timeout = 0 SET work_mem = '2GB' AS $$
         BEGIN IF sleeps THEN PERFORM pg_sleep(60); END IF; RETURN current_setting('work_mem'); END $$",
    );
    world
}

/// Runs what must be cancelled long before its end.
#[track_caller]
fn is_cancelled(session: &mut Session, sql: &str) {
    let started = Instant::now();
    let failure = session.fails(sql).code("57014");
    assert!(failure.message.contains("statement timeout"), "{failure:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{sql}");
}

#[test]
fn no_session_gets_more_time_for_a_statement() {
    let world = world(r#"{"statement_timeout": "1s"}"#);
    // Each waits for a second or two: side by side.
    let raises = [
        "SELECT 1",
        "SET statement_timeout = 0",
        "SET LOCAL statement_timeout = 0",
        "SET statement_timeout = '1h'",
        "SET SESSION statement_timeout TO DEFAULT",
        "RESET statement_timeout",
        "RESET ALL",
        "SELECT set_config('statement_timeout', '0', true)",
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT set_config('statement_timeout', NULL, true)",
        "SAVEPOINT a; SET LOCAL statement_timeout = 0; ROLLBACK TO a",
        "SAVEPOINT a; SET LOCAL statement_timeout = 0; RELEASE a",
        "UPDATE pg_settings SET setting = '0' WHERE name = 'statement_timeout'",
        "SELECT tenancy.release()",
    ];
    let one = |raise: &str| {
        let mut alice = world.db.app_with("-c statement_timeout=0").unwrap();
        alice.begin(world.key("alice")).run(raise);
        is_cancelled(&mut alice, "SELECT pg_sleep(60)");
        // After the transaction, the session is as it was.
        alice.run("ROLLBACK");
        assert_eq!(alice.text("SHOW statement_timeout"), "0", "{raise}");
        alice.run("SELECT pg_sleep(1.3)");
    };
    thread::scope(|scope| raises.map(|raise| drop(scope.spawn(move || one(raise)))));
    for slow in [
        "SELECT app.generous(true)",
        "DO $$ BEGIN PERFORM set_config('statement_timeout', NULL, false); PERFORM pg_sleep(60); END $$",
        "SELECT app.spin()",
        "DO $$ BEGIN LOOP END LOOP; END $$",
        "SELECT set_config('statement_timeout', NULL, false), set_config('statement_timeout', '0', true), pg_sleep(60)",
        "DECLARE c CURSOR FOR SELECT pg_sleep(60); FETCH c",
        "SELECT count(*) FROM generate_series(1, 1000000000)",
    ] {
        is_cancelled(&mut world.begin("alice"), slow);
    }
    // The extended protocol, a prepared statement, and a cursor that goes on.
    let mut alice = world.begin("alice");
    let error = alice.query("SELECT pg_sleep(60)", &[]).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    alice.run("ROLLBACK").begin(world.key("alice"));
    let prepared = alice.prepare("SELECT pg_sleep($1)").unwrap();
    let error = alice.query(&prepared, &[&60f64]).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    alice.run("ROLLBACK");
    // The statement that enters.
    alice.run("BEGIN");
    is_cancelled(
        &mut alice,
        &format!(
            "SELECT tenancy.authenticate('{}'), pg_sleep(60)",
            world.key("alice")
        ),
    );
    alice.run("ROLLBACK");
    // Another tenant has no such plan, and the next client of the connection neither.
    alice
        .begin(world.key("bob"))
        .run("SELECT pg_sleep(1.3); COMMIT");
    // A lower value of the transaction stays, and one for the session is there again afterwards.
    alice
        .begin(world.key("alice"))
        .run("SET LOCAL statement_timeout = '500ms'");
    assert_eq!(alice.text("SHOW statement_timeout"), "500ms");
    alice.run("COMMIT; SET statement_timeout = '10s'");
    alice.begin(world.key("alice"));
    assert_eq!(alice.text("SHOW statement_timeout"), "1s");
    alice.run("COMMIT");
    assert_eq!(alice.text("SHOW statement_timeout"), "10s");
}

#[test]
fn a_ticket_and_a_session_context_are_limited_in_each_transaction() {
    let world = world(r#"{"statement_timeout": "1s"}"#);
    let ticket = world.ticket("alice", "1 hour");
    let mut session = world.db.app();
    session.run(&format!("SET tenancy.ticket = '{ticket}'"));
    for _ in 0..2 {
        is_cancelled(&mut session, "SELECT tenancy.user_id(), pg_sleep(60)");
    }
    session.run("RESET tenancy.ticket; SELECT pg_sleep(1.3)");
    let mut session = world.db.app();
    session.login_session(world.key("alice"));
    for _ in 0..2 {
        is_cancelled(&mut session, "SELECT tenancy.user_id(), pg_sleep(60)");
    }
    // A plan that changes takes effect in the next transaction.
    world.db.owner().run("SELECT tenancy.end_plan('acme')");
    session.run("SELECT tenancy.user_id(), pg_sleep(1.3)");
}

#[test]
fn no_session_gets_more_memory_or_workers() {
    let world = world(
        r#"{"work_mem": "1MB", "max_parallel_workers_per_gather": 0, "idle_in_transaction_session_timeout": "20s"}"#,
    );
    let options = "-c work_mem=2GB -c max_parallel_workers_per_gather=8 -c hash_mem_multiplier=100 -c idle_in_transaction_session_timeout=0";
    let now = "SELECT concat_ws(' ', current_setting('work_mem'), current_setting('max_parallel_workers_per_gather'),
        current_setting('hash_mem_multiplier'), current_setting('idle_in_transaction_session_timeout'))";
    for raise in [
        "SELECT 1",
        "SET work_mem = '2GB'; SET max_parallel_workers_per_gather = 8; SET hash_mem_multiplier = 1000; SET idle_in_transaction_session_timeout = 0",
        "SET LOCAL work_mem = '2GB'; SET LOCAL max_parallel_workers_per_gather = 8; SET LOCAL hash_mem_multiplier = 1000",
        "RESET work_mem; RESET max_parallel_workers_per_gather; RESET hash_mem_multiplier; RESET idle_in_transaction_session_timeout",
        "RESET ALL",
        "SET work_mem TO DEFAULT; SET hash_mem_multiplier TO DEFAULT",
        "SELECT set_config(name, '1000', false) FROM unnest('{work_mem,max_parallel_workers_per_gather,hash_mem_multiplier}'::text[]) name",
        "SELECT set_config(name, NULL, false) FROM unnest('{work_mem,max_parallel_workers_per_gather,hash_mem_multiplier,idle_in_transaction_session_timeout}'::text[]) name",
        "SAVEPOINT a; SET LOCAL work_mem = '2GB'; ROLLBACK TO a",
    ] {
        let mut alice = world.db.app_with(options).unwrap();
        alice.begin(world.key("alice")).run(raise);
        let value = alice.text(now);
        assert!(
            ["1MB 0 2 20s", "1000kB 0 2 20s"].contains(&value.as_str()),
            "{raise}: {value}"
        );
        alice.run("ROLLBACK");
        assert_eq!(alice.text(now), "2GB 8 100 0", "{raise}");
    }
    let mut alice = world.db.app_with(options).unwrap();
    alice.begin(world.key("alice"));
    assert_eq!(alice.text("SELECT app.generous(false)"), "1MB");
    // In the statement itself: the sort spills, whatever is set beside it.
    for beside in ["NULL", "'1GB'"] {
        let plan = alice.texts(&format!(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) WITH raised AS MATERIALIZED (SELECT set_config('work_mem', {beside}, true))
             SELECT * FROM raised, LATERAL (SELECT n, md5(n::text) FROM generate_series(1, 100000) n ORDER BY 2 OFFSET 0) x"
        ));
        assert!(plan.join("\n").contains("external "), "{plan:?}");
    }
    alice.run("COMMIT");
    assert_eq!(alice.text(now), "2GB 8 100 0");
    // A lower value is the session's to choose.
    alice
        .begin(world.key("alice"))
        .run("SET LOCAL work_mem = '256kB'");
    assert_eq!(alice.text("SHOW work_mem"), "256kB");
    alice.run("COMMIT");
    alice.begin(world.key("bob"));
    assert_eq!(
        alice.text(now),
        "2GB 8 100 0",
        "another tenant on the same connection"
    );
}

#[test]
fn a_tenant_has_so_many_transactions_at_once() {
    let world = world(r#"{"connections": 2}"#);
    let mut first = world.begin("alice");
    let mut second = world.begin("alice");
    // Again in the same transaction.
    second.login(world.key("alice"));
    let mut third = world.db.app();
    let try_begin = |session: &mut Session, user: &str| {
        session.run("ROLLBACK; BEGIN");
        session.try_login(world.key(user))
    };
    let refused = try_begin(&mut third, "alice").unwrap_err();
    refused.code("53300").details("2");
    try_begin(&mut third, "bob").unwrap();
    first.run("COMMIT");
    try_begin(&mut third, "alice").unwrap();
    try_begin(&mut first, "alice").unwrap_err().code("53300");
    second.run("ROLLBACK");
    try_begin(&mut first, "alice").unwrap();
    // The place of a backend that ends is free again.
    let pid = first.pid();
    let mut admin = world.db.admin();
    admin.run(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
    try_begin(&mut second, "alice").unwrap();
    // One that fails to begin holds none, and a savepoint keeps it.
    third.run("SAVEPOINT a; SELECT 1; ROLLBACK TO a");
    let mut fourth = world.db.app();
    try_begin(&mut fourth, "alice").unwrap_err().code("53300");
    third.run("COMMIT");
    second.run("COMMIT");
    try_begin(&mut fourth, "alice").unwrap();
    // Many at once: never more than two.
    fourth.run("COMMIT");
    let most = std::sync::atomic::AtomicI64::new(0);
    let done = std::sync::atomic::AtomicI64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                use std::sync::atomic::Ordering::SeqCst;
                let mut session = world.db.app();
                for _ in 0..30 {
                    session.run("BEGIN");
                    if session.try_login(world.key("alice")).is_ok() {
                        let inside = most.fetch_add(1, SeqCst) + 1;
                        assert!(inside <= 2, "{inside} at once");
                        session.run("SELECT tenancy.user_id()");
                        most.fetch_sub(1, SeqCst);
                        done.fetch_add(1, SeqCst);
                    }
                    session.run("ROLLBACK");
                }
            });
        }
    });
    assert!(done.into_inner() >= 30);
}
