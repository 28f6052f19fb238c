//! Two sessions that call adopt(), or fix_foreign_keys(), at the same time: one of them runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread::{self, JoinHandle};
use std::time::Duration;

use tenancy_client_tests::application;
use tenancy_client_tests::{Db, Session};

const FIX: &str = "CALL tenancy.fix_foreign_keys(lock_timeout => '1min')";
const UNFIX: &str = "CALL tenancy.unfix_foreign_keys(lock_timeout => '1min')";
const ADOPT: &str = "CALL tenancy.adopt('app.organizations', lock_timeout => '1min')";
const UNADOPT: &str = "CALL tenancy.unadopt('app.organizations', lock_timeout => '1min')";

fn application() -> (Db, Session) {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 2);
    (db, owner)
}

/// Runs a call in a session of its own, which waits for a lock that `holder` has until it commits. Returns its process id.
fn waiting(db: &Db, holder: &mut Session, call: &'static str) -> (i32, JoinHandle<()>) {
    holder.run("BEGIN; LOCK TABLE app.tasks IN ROW EXCLUSIVE MODE");
    let mut session = db.owner();
    let pid = session.pid();
    let running = thread::spawn(move || {
        session.run(call);
    });
    let mut admin = db.admin();
    let waits = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted");
    while admin.number(&waits) == 0 {
        assert!(!running.is_finished(), "{call} did not wait");
        thread::sleep(Duration::from_millis(20));
    }
    (pid, running)
}

/// Asserts that calls are refused while this one waits, and that all goes on when it has ended.
fn excludes(db: &Db, first: &'static str, refused: &[&str], message: &str) {
    let (mut holder, mut other) = (db.admin(), db.owner());
    other.run("SET statement_timeout = '30s'");
    let (pid, running) = waiting(db, &mut holder, first);
    for call in refused {
        other
            .fails(call)
            .code("55006")
            .says(&format!("another session runs {message}"))
            .hints(&format!("It is the process {pid} in pg_stat_activity."));
    }
    holder.run("COMMIT");
    running.join().unwrap();
    other.run("RESET statement_timeout").run(refused[0]);
}

#[test]
fn keys_are_fixed_and_unfixed_by_one_session() {
    let (db, mut owner) = application();
    owner.run(ADOPT);
    let before = "SELECT string_agg(conrelid::regclass || ' ' || conname || pg_get_constraintdef(oid), ', ' ORDER BY oid::text) FROM pg_constraint WHERE contype IN ('f', 'u') AND conparentid = 0 AND connamespace = 'app'::regnamespace";
    let made = "SELECT count(*) - count(DISTINCT (conrelid, conkey)) FROM pg_constraint WHERE contype IN ('f', 'u') AND conparentid = 0 AND connamespace = 'app'::regnamespace";
    let plan = "CALL tenancy.fix_foreign_keys(dry_run => true)";
    excludes(
        &db,
        FIX,
        &[FIX, UNFIX, plan],
        "fix_foreign_keys() or unfix_foreign_keys()",
    );
    assert_eq!(owner.number(made), 0, "{}", owner.text(before));
    excludes(
        &db,
        UNFIX,
        &[UNFIX, FIX],
        "fix_foreign_keys() or unfix_foreign_keys()",
    );
    assert_eq!(owner.number(made), 0, "{}", owner.text(before));
}

/// Both at once, as often as the clock gives them different turns.
#[test]
fn racing_calls_make_nothing_twice() {
    let (db, mut owner) = application();
    owner.run(ADOPT);
    let twice = "SELECT count(*) - count(DISTINCT (conrelid, conkey)) FROM pg_constraint WHERE contype IN ('f', 'u') AND conparentid = 0 AND connamespace = 'app'::regnamespace";
    for call in [FIX, UNFIX, FIX, UNFIX] {
        let racing: Vec<_> = (0..2)
            .map(|_| {
                let mut session = db.owner();
                thread::spawn(move || session.try_run(call))
            })
            .collect();
        for result in racing {
            if let Err(failure) = result.join().unwrap() {
                failure.code("55006");
            }
        }
        assert_eq!(owner.number(twice), 0, "{call}");
        let open =
            "SELECT count(*) FROM tenancy.foreign_key_fixes WHERE status NOT IN ('done', 'undone')";
        assert_eq!(owner.number(open), 0, "{call}");
    }
}

#[test]
fn a_schema_is_adopted_and_unadopted_by_one_session() {
    let (db, mut owner) = application();
    let plan = "CALL tenancy.adopt('app.organizations', dry_run => true)";
    // Another application's tables are another adoption.
    owner.run(
        "CREATE SCHEMA other; CREATE TABLE other.organizations (id bigint PRIMARY KEY, name text)",
    );
    let (mut holder, mut other) = (db.admin(), db.owner());
    other.run("SET statement_timeout = '30s'");
    let (pid, running) = waiting(&db, &mut holder, ADOPT);
    for call in [ADOPT, UNADOPT, plan] {
        other
            .fails(call)
            .code("55006")
            .says("another session runs adopt() or unadopt() of these tables")
            .hints(&format!("It is the process {pid} in pg_stat_activity."));
    }
    other.run("CALL tenancy.adopt('other.organizations', dry_run => true)");
    holder.run("COMMIT");
    running.join().unwrap();
    other.run("RESET statement_timeout").run(ADOPT);
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE table_name LIKE 'app.%' AND isolated"),
        7
    );
    excludes(
        &db,
        UNADOPT,
        &[UNADOPT, ADOPT],
        "adopt() or unadopt() of these tables",
    );
}

/// An error, a cancelled statement and an ended session give way to the next call.
#[test]
fn calls_that_failed_exclude_no_others() {
    let (db, mut owner) = application();
    owner.run(ADOPT);
    let mut failed = db.owner();
    failed.run("BEGIN");
    failed.fails_inside(FIX).code("25001");
    owner.run("CALL tenancy.fix_foreign_keys(dry_run => true)");
    failed.run("ROLLBACK");
    let mut admin = db.admin();
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let mut holder = db.admin();
        holder.run("BEGIN; LOCK TABLE app.tasks IN ROW EXCLUSIVE MODE");
        let mut session = db.owner();
        let pid = session.pid();
        let running = thread::spawn(move || {
            let result = session.try_run(FIX);
            (session, result)
        });
        let waits = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted");
        while admin.number(&waits) == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        admin.run(&format!("SELECT {end}({pid})"));
        // The session stays, where it was not ended.
        let (_session, result) = running.join().unwrap();
        assert!(result.is_err());
        holder.run("COMMIT");
        owner.run("CALL tenancy.fix_foreign_keys(dry_run => true)");
    }
    owner.run(FIX);
}
