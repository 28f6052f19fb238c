//! Attempts to keep a context beyond its lifetime: past the ends of transactions, savepoints and sessions, expiry, suspension and
//! revocation. ATTACKS D1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread::sleep;
use std::time::Duration;

use tenancy_client_tests::{Session, Until, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

#[track_caller]
fn closed(session: &mut Session) {
    session
        .fails(COUNT)
        .code("55000")
        .says("a tenancy context is required");
    assert_eq!(session.text("SELECT tenancy.context()"), "NULL");
}

#[test]
fn d1_7_outside_a_transaction_it_lasts_for_its_statement() {
    let world = World::new();
    let mut app = world.db.app();
    closed(app.login(world.key("alice")));
    app.login(world.key("bob"));
    closed(app.login(world.key("alice")));
    // In one statement it is of use.
    let sql = "WITH a AS MATERIALIZED (SELECT tenancy.authenticate($1) AS u) SELECT tenancy.tenant_id() FROM a WHERE u IS NOT NULL";
    let row = app.query_one(sql, &[&world.key("alice")]).unwrap();
    assert_eq!(row.get::<_, uuid::Uuid>(0), world.id("acme"));
    closed(&mut app);
}

#[test]
fn d1_8_rollback_brings_no_earlier_tenant_back() {
    let world = World::new();
    let mut app = world.db.app();
    app.begin(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
    closed(app.run("ROLLBACK"));
    app.begin(world.key("bob")).run("COMMIT");
    app.run("BEGIN").run("ROLLBACK");
    closed(&mut app);
    app.run("BEGIN")
        .login_session(world.key("alice"))
        .run("ROLLBACK");
    closed(&mut app);
    app.begin(world.key("alice")).fails("SELECT 1/0");
    closed(app.run("ROLLBACK"));
}

#[test]
fn d1_8_rollback_to_a_savepoint_brings_none_back_that_was_not_there() {
    let world = World::new();
    let mut app = world.db.app();
    app.run("BEGIN; SAVEPOINT s").login(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
    app.run("ROLLBACK TO s; SAVEPOINT t");
    app.fails(COUNT).code("55000");
    app.run("ROLLBACK TO t");
    // Undone, and still this transaction was hers.
    app.try_login(world.key("bob")).unwrap_err().code("42501");
    app.run("ROLLBACK TO s").login(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
}

#[test]
fn d1_8_rollback_to_a_savepoint_widens_only_to_what_was_there() {
    let world = World::new();
    let mut app = world.begin("ops");
    assert_eq!(app.number(COUNT), 8);
    app.run("SAVEPOINT s; SELECT tenancy.select_tenant('acme')");
    assert_eq!(app.number(COUNT), 3);
    app.fails_inside("SELECT tenancy.select_tenant('umbrella')")
        .code("42704");
    assert_eq!(app.number(COUNT), 3);
    assert_eq!(app.run("ROLLBACK TO s").number(COUNT), 8);
}

#[test]
fn release_ends_every_kind_of_context_and_rollback_undoes_it_as_any_setting() {
    let world = World::new();
    let mut app = world.db.app();
    app.begin(world.key("alice"))
        .run("SAVEPOINT s; SELECT tenancy.release(); ROLLBACK TO s");
    assert_eq!(app.number(COUNT), 3);
    app.run("SELECT tenancy.release()");
    app.fails_inside(COUNT).code("55000");
    app.run("COMMIT");
    app.login_session(world.key("alice"));
    app.run("BEGIN; SELECT tenancy.release(); ROLLBACK");
    assert_eq!(app.number(COUNT), 3);
    app.run("SELECT tenancy.release()");
    closed(&mut app);
    let ticket = world.ticket("alice", "5 minutes");
    app.run(&format!("SET tenancy.ticket = '{ticket}'"));
    app.run("SELECT tenancy.release()");
    closed(&mut app);
    // Without a context it does nothing.
    app.run("SELECT tenancy.release()");
}

/// A worker of a parallel query has its leader's context or none, whatever happened before.
#[test]
fn d1_9_a_parallel_worker_is_its_leader() {
    let world = World::new();
    let ticket = world.ticket("bob", "5 minutes");
    let mut app = world.db.app();
    app.login_session(world.key("alice"));
    app.run("BEGIN; SELECT tenancy.release(); ROLLBACK; SELECT tenancy.release()");
    app.run(&format!("SET tenancy.ticket = '{ticket}'"));
    let own = app.text("SELECT tenancy.tenant_id()");
    app.run("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off; SET enable_indexscan = off; SET enable_bitmapscan = off");
    app.always_parallel(Until::Session);
    assert_eq!(
        app.text("SELECT string_agg(DISTINCT tenant_id::text, ',') FROM app.notes"),
        own
    );
    assert_eq!(app.text("SELECT tenancy.tenant_id()"), own);
    // A session context and a ticket of different users: no user.
    app.run("RESET tenancy.ticket");
    app.login_session(world.key("alice"));
    app.fails(&format!(
        "DO $$ BEGIN SET LOCAL tenancy.ticket = '{ticket}'; PERFORM count(*) FROM app.notes; END $$"
    ))
    .code("42501");
}

#[test]
fn a_ticket_ends_with_release() {
    let world = World::new();
    let ticket = world.ticket("alice", "5 minutes");
    let mut app = world.db.app();
    app.run(&format!("SET tenancy.ticket = '{ticket}'"));
    assert_eq!(app.number(COUNT), 3);
    app.run("SELECT tenancy.release()");
    closed(&mut app);
}

#[test]
fn d1_9_nothing_survives_commit() {
    let world = World::new();
    let mut app = world.db.app();
    for user in ["alice", "ops", "bob"] {
        app.begin(world.key(user))
            .run("SELECT 1 FROM app.notes LIMIT 1; COMMIT");
        closed(&mut app);
    }
    app.begin(world.key("ops"))
        .run("SELECT tenancy.select_tenant('acme'); COMMIT");
    closed(&mut app);
    app.begin(world.key("alice")).run("COMMIT AND CHAIN");
    app.fails(COUNT).code("55000");
    app.run("ROLLBACK");
}

#[test]
fn d1_9_a_session_context_must_be_asked_for_by_name_and_ends_with_discard() {
    let world = World::new();
    let mut app = world.db.app();
    app.login_session(world.key("alice"));
    assert_eq!(app.number(COUNT), 3);
    assert_eq!(
        app.text("SELECT tenancy.context() ->> 'lifetime'"),
        "session"
    );
    closed(app.run("DISCARD ALL"));
    closed(app.login_session(world.key("alice")).run("RESET ALL"));
    closed(
        app.login_session(world.key("alice"))
            .run("RESET tenancy.context"),
    );
    let ticket = world.ticket("alice", "5 minutes");
    closed(
        app.run(&format!("SET tenancy.ticket = '{ticket}'"))
            .run("DISCARD ALL"),
    );
}

#[test]
fn a_transactions_context_cannot_be_promoted_to_the_session() {
    let world = World::new();
    let mut app = world.begin("ops");
    app.fails_inside("SELECT tenancy.select_tenant('acme', session => true)")
        .code("22023");
    app.run("COMMIT");
    closed(&mut app);
    let ticket = world.ticket("ops", "5 minutes");
    app.run("BEGIN")
        .run(&format!("SET LOCAL tenancy.ticket = '{ticket}'"));
    app.fails_inside("SELECT tenancy.select_tenant('acme', session => true)")
        .code("22023");
    app.run("SELECT tenancy.select_tenant('acme')");
    assert_eq!(app.number(COUNT), 3);
    closed(app.run("COMMIT"));
    app.login_session(world.key("ops"))
        .run("SELECT tenancy.select_tenant('acme', session => true)");
    assert_eq!(app.number(COUNT), 3);
    app.fails("SELECT tenancy.select_tenant('umbrella')")
        .code("42704");
}

#[test]
fn another_principal_for_a_transaction_leaves_the_session_as_it_was() {
    let world = World::new();
    let mut app = world.db.app();
    app.login_session(world.key("alice"));
    app.begin(world.key("bob"));
    assert_eq!(app.number(COUNT), 5);
    assert_eq!(app.run("COMMIT").number(COUNT), 3);
    app.begin(world.key("bob")).run("ROLLBACK");
    assert_eq!(app.number(COUNT), 3);
    // Once it was used in a transaction, that is its principal's.
    app.run("BEGIN").run(COUNT);
    app.try_login(world.key("bob")).unwrap_err().code("42501");
}

#[test]
fn d1_10_unset_is_nothing_not_everything() {
    let world = World::new();
    let mut app = world.db.app();
    for sql in [
        "RESET tenancy.context",
        "SET tenancy.context = ''",
        "SET tenancy.context TO DEFAULT",
        "RESET ALL",
        "SET tenancy.ticket = ''",
    ] {
        closed(app.run(sql));
    }
    app.run("SET tenancy.missing_context = empty");
    assert_eq!(app.number(COUNT), 0);
    let acme = world.id("acme");
    app.fails(&format!(
        "INSERT INTO app.notes (tenant_id, body) VALUES ('{acme}', 'x')"
    ))
    .code("42501");
    assert_eq!(app.touched("UPDATE app.notes SET body = 'x'"), 0);
    assert_eq!(app.touched("DELETE FROM app.notes"), 0);
}

#[test]
fn d1_11_code_that_swallows_the_error_sees_nothing() {
    let world = World::new();
    let mut app = world.db.app();
    app.try_login("tnk_wrong").unwrap_err();
    closed(&mut app);
    app.run("SET tenancy.missing_context = empty");
    app.try_login("tnk_wrong").unwrap_err();
    assert_eq!(app.number(COUNT), 0);
    app.run("RESET tenancy.missing_context");
    app.run("DO $$ BEGIN PERFORM tenancy.authenticate('tnk_wrong'); EXCEPTION WHEN OTHERS THEN NULL; END $$");
    closed(&mut app);
}

#[test]
fn exception_blocks_undo_the_context_with_the_rest() {
    let world = World::new();
    let mut app = world.db.app();
    app.run("BEGIN");
    app.run(&format!(
        "DO $$ BEGIN PERFORM tenancy.authenticate('{}'); RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$",
        world.key("alice")
    ));
    app.fails_inside(COUNT).code("55000");
    app.run("ROLLBACK").begin(world.key("ops"));
    app.run("DO $$ BEGIN PERFORM tenancy.select_tenant('acme'); RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$");
    assert_eq!(app.number(COUNT), 8);
    app.run("DO $$ BEGIN PERFORM tenancy.select_tenant('acme'); EXCEPTION WHEN OTHERS THEN NULL; END $$");
    assert_eq!(app.number(COUNT), 3);
}

#[test]
fn a_prepared_transaction_takes_no_context_along() {
    let world = World::new();
    let gid = &world.db.name;
    let mut app = world.begin("alice");
    app.run("INSERT INTO app.notes (body) VALUES ('two-phase')")
        .run(&format!("PREPARE TRANSACTION '{gid}'"));
    closed(&mut app);
    let mut same = world.db.app();
    same.run(&format!("COMMIT PREPARED '{gid}'"));
    closed(&mut same);
    assert_eq!(app.begin(world.key("alice")).number(COUNT), 4);
    assert_eq!(world.begin("bob").number(COUNT), 5);
}

#[test]
fn procedures_that_commit_lose_the_context() {
    let world = World::new();
    world.db.admin().run(&format!(
        "CREATE SCHEMA scratch AUTHORIZATION {}",
        world.db.app
    ));
    let mut app = world.db.app();
    app.run(
        "CREATE PROCEDURE scratch.p(credential text) LANGUAGE plpgsql AS $$
         BEGIN PERFORM tenancy.authenticate(credential); PERFORM count(*) FROM app.notes; COMMIT; PERFORM count(*) FROM app.notes; END $$",
    );
    app.fails_with("CALL scratch.p($1)", &[&world.key("alice")])
        .code("55000");
    closed(&mut app);
}

#[test]
fn d1_5_a_ticket_runs_out_in_an_open_session() {
    let world = World::new();
    let ticket = world.ticket("alice", "2 seconds");
    let (mut by_setting, mut by_session) = (world.db.app(), world.db.app());
    by_setting.run(&format!("SET tenancy.ticket = '{ticket}'"));
    by_session.login_session(&ticket);
    assert_eq!((by_setting.number(COUNT), by_session.number(COUNT)), (3, 3));
    sleep(Duration::from_millis(2300));
    for session in [&mut by_setting, &mut by_session] {
        session
            .fails(COUNT)
            .code("42501")
            .says("expired")
            .hides(&ticket);
        session.fails("SELECT tenancy.user_id()").code("42501");
    }
    by_setting
        .run("SET tenancy.ticket = ''")
        .try_login(&ticket)
        .unwrap_err()
        .code("42501")
        .hides(&ticket);
    // A new one helps.
    let ticket = world.ticket("alice", "5 minutes");
    assert_eq!(
        by_setting
            .run(&format!("SET tenancy.ticket = '{ticket}'"))
            .number(COUNT),
        3
    );
}

#[test]
fn d1_5_a_key_runs_out_in_an_open_session() {
    let world = World::new();
    let sql = format!(
        "SELECT tenancy.issue_api_key('{}', 'short', clock_timestamp() + '2 seconds')",
        world.id("alice")
    );
    let key = world.db.owner().text(&sql);
    let mut app = world.db.app();
    app.login_session(&key);
    assert_eq!(app.number(COUNT), 3);
    sleep(Duration::from_millis(2300));
    app.fails(COUNT).code("42501").says("expired");
    app.try_login(&key)
        .unwrap_err()
        .code("42501")
        .says("invalid credential")
        .hides(&key);
}
