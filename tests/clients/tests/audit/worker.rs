//! The background worker: its guarantees to callers, and that it blocks no session.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::program::Cluster;
use tenancy_client_tests::{Db, Session};

const WORKERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()";
const PID: &str = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()";

fn entries(session: &mut Session, action: &str) -> i64 {
    session.number(&format!(
        "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.{action}'"
    ))
}

#[test]
fn the_workers_result_stays_however_the_caller_ends() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run("BEGIN; SELECT testing.record_now('rolled.back', '{}'); ROLLBACK");
    admin.run("BEGIN READ ONLY; SELECT testing.record_now('read.only', '{}'); COMMIT");
    admin.run("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SELECT testing.record_now('deferrable', '{}'); ROLLBACK");
    admin.fails(
        "DO $$ BEGIN PERFORM testing.record_now('failed', '{}'); RAISE EXCEPTION 'x'; END $$",
    );
    for action in ["rolled.back", "read.only", "deferrable", "failed"] {
        assert_eq!(entries(&mut admin, action), 1, "{action}");
    }
    // It was committed before the call returned, in a transaction of another's.
    admin.run("BEGIN; SELECT testing.record_now('mine', '{}')");
    assert_eq!(entries(&mut db.admin(), "mine"), 1);
    admin.run("ROLLBACK");
    assert_eq!(admin.number(WORKERS), 1);
}

#[test]
fn many_call_at_once() {
    let db = Db::new();
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            let mut session = db.admin();
            scope.spawn(move || {
                for _ in 0..50 {
                    session.run("SELECT testing.record_now('many', '{\"x\": 1}')");
                }
            });
        }
    });
    let mut admin = db.admin();
    assert_eq!(entries(&mut admin, "many"), 800);
    // Those who waited together share transactions.
    assert!(
        admin.number(
            "SELECT count(DISTINCT xid) FROM tenancy.audit_log WHERE action = 'tenancy.many'"
        ) < 800
    );
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_token_is_claimed_once() {
    let db = Db::new();
    let claim = |n: u8, until: &str| {
        format!(
            "SELECT testing.claim_token('00000000-0000-7000-8000-0000000000{n:02}', sha256('jti'), {until})"
        )
    };
    let mut admin = db.admin();
    // In a read-only transaction that is rolled back, too.
    admin.run("BEGIN READ ONLY");
    assert_eq!(admin.text(&claim(1, "now() + interval '1 hour'")), "t");
    admin.run("ROLLBACK");
    assert_eq!(admin.text(&claim(1, "now() + interval '1 hour'")), "f");
    assert_eq!(admin.text(&claim(2, "'infinity'")), "t");
    // Of concurrent logins with one token, one succeeds.
    let won: usize = thread::scope(|scope| {
        let callers: Vec<_> = (0..12)
            .map(|_| {
                let (mut session, sql) = (db.admin(), claim(3, "now() + interval '1 hour'"));
                scope.spawn(move || usize::from(session.text(&sql) == "t"))
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    });
    assert_eq!(won, 1);
    // Expired rows are deleted; the worker looks for them when it starts.
    assert_eq!(admin.text(&claim(4, "now() - interval '1 second'")), "t");
    admin.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database(); SELECT testing.record_now('x', '{}')");
    let end = Instant::now() + Duration::from_secs(10);
    while admin.number("SELECT count(*) FROM tenancy_internal.claimed_tokens") != 3 {
        assert!(Instant::now() < end, "the expired one is still there");
        thread::sleep(Duration::from_millis(50));
    }
    admin
        .fails("SELECT testing.claim_token(tenancy.new_id(), 'short', now())")
        .code("22023");
}

#[test]
fn too_large_requests_are_refused() {
    let db = Db::new();
    let mut admin = db.admin();
    admin
        .fails("SELECT testing.record_now('large', jsonb_build_object('x', repeat('y', 9000)))")
        .code("22023");
    admin.run("SELECT testing.record_now('fits', jsonb_build_object('x', repeat('y', 7000)))");
    assert_eq!(entries(&mut admin, "fits"), 1);
}

#[test]
fn a_call_that_is_cancelled_leaves_nothing_behind() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run("SELECT testing.record_now('first', '{}')");
    // The worker waits for the table, and the callers for it.
    let mut lock = db.admin();
    let part = admin.text("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'tenancy.audit_log'::regclass ORDER BY inhrelid LIMIT 1");
    lock.run(&format!(
        "BEGIN; LOCK TABLE {part} IN ACCESS EXCLUSIVE MODE"
    ));
    thread::scope(|scope| {
        for _ in 0..20 {
            let mut session = db.admin();
            scope.spawn(move || {
                for _ in 0..10 {
                    session
                        .fails("SET statement_timeout = 40; SELECT testing.record_now('cancelled', '{}')")
                        .code("57014");
                }
            });
        }
        // Terminated, too.
        for _ in 0..5 {
            let mut session = db.admin();
            let pid = session.pid();
            let mut killer = db.admin();
            scope.spawn(move || {
                session.fails("SELECT testing.record_now('terminated', '{}')");
            });
            thread::sleep(Duration::from_millis(100));
            killer.run(&format!("SELECT pg_terminate_backend({pid})"));
        }
    });
    lock.run("ROLLBACK");
    // All slots are free again: more than there are can call one after the other, and at once.
    for _ in 0..200 {
        admin.run("SELECT testing.record_now('after', '{}')");
    }
    assert_eq!(entries(&mut admin, "after"), 200);
}

#[test]
fn a_call_without_an_answer_fails_in_time() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run("SELECT testing.record_now('first', '{}')");
    let mut lock = db.admin();
    let part = admin.text("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'tenancy.audit_log'::regclass ORDER BY inhrelid LIMIT 1");
    lock.run(&format!(
        "BEGIN; LOCK TABLE {part} IN ACCESS EXCLUSIVE MODE"
    ));
    let began = Instant::now();
    admin
        .fails("SELECT testing.record_now('late', '{}')")
        .code("55000");
    assert!(began.elapsed() < Duration::from_secs(15));
    lock.run("ROLLBACK");
    admin.run("SELECT testing.record_now('after', '{}')");
    assert_eq!(entries(&mut admin, "late"), 0);
}

#[test]
fn a_terminated_worker_ends_and_is_restarted() {
    let db = Db::new();
    let mut admin = db.admin();
    for _ in 0..5 {
        admin.run("SELECT testing.record_now('x', '{}')");
        let pid = admin.text(PID);
        admin.run(&format!("SELECT pg_terminate_backend({pid}, 5000)"));
        assert_eq!(admin.number(WORKERS), 0);
    }
    admin.run("SELECT testing.record_now('x', '{}')");
    assert_eq!(entries(&mut admin, "x"), 6);
    // While callers wait for it: each has an answer, yes or no, and yes is true.
    let done: i64 = thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let mut session = db.admin();
                scope.spawn(move || {
                    (0..100)
                        .filter(|_| {
                            session
                                .batch_execute("SELECT testing.record_now('y', '{}')")
                                .is_ok()
                        })
                        .count() as i64
                })
            })
            .collect();
        let mut killer = db.admin();
        for _ in 0..10 {
            killer.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()");
            thread::sleep(Duration::from_millis(30));
        }
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    });
    assert!(done > 200, "{done}");
    assert!(entries(&mut admin, "y") >= done);
}

#[test]
fn databases_are_dropped_copied_and_renamed_at_once() {
    let db = Db::new();
    let mut root = db.admin();
    root.run("SELECT testing.record_now('x', '{}')");
    let name = tenancy_client_tests::world::unique("w");
    let mut config = db.config("postgres");
    config.dbname("postgres");
    let mut outside = Session::connect(&config);
    drop(root);
    thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    outside.run(&format!("CREATE DATABASE {name} TEMPLATE {}", db.name));
    let mut there = config.clone();
    there.dbname(&name);
    let use_it = |config: &postgres::Config| {
        let mut session = Session::connect(config);
        session.run("SELECT testing.record_now('y', '{}')");
        assert_eq!(session.number(WORKERS), 1);
        assert_eq!(
            session.texts("SELECT problem FROM tenancy.verify_audit_log()"),
            Vec::<String>::new()
        );
        drop(session);
        thread::sleep(Duration::from_millis(200));
    };
    use_it(&there);
    outside.run(&format!("ALTER DATABASE {name} RENAME TO {name}_2"));
    there.dbname(&format!("{name}_2"));
    use_it(&there);
    outside.run(&format!("DROP DATABASE {name}_2"));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn it_leaves_when_the_extension_does() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run("SELECT testing.record_now('x', '{}')");
    admin.run("SET statement_timeout = '60s'; DROP EXTENSION tenancy CASCADE");
    admin.run("DROP SCHEMA IF EXISTS tenancy CASCADE; CREATE EXTENSION tenancy");
    admin.run("SELECT testing.record_now('again', '{}')");
    assert_eq!(entries(&mut admin, "again"), 1);
}

#[test]
fn without_a_worker_process_calls_fail_and_the_rest_continues() {
    let cluster = Cluster::start();
    let mut config = cluster.config();
    config.dbname("postgres");
    Session::connect(&config).run("ALTER SYSTEM SET max_worker_processes = 0");
    cluster.down();
    cluster.up();
    let db = Db::on(cluster.config());
    let mut admin = db.admin();
    admin
        .fails("SELECT testing.record_now('x', '{}')")
        .code("55000")
        .hints("max_worker_processes");
    // An action that must be recorded first has no effect if it cannot be recorded.
    let mut owner = db.owner();
    owner.run("BEGIN");
    owner
        .fails_inside("SELECT tenancy.maintenance('x')")
        .code("55000")
        .hints("max_worker_processes");
    assert_eq!(
        owner.text("SELECT coalesce(tenancy.context()::text, 'none')"),
        "none"
    );
    owner.run("ROLLBACK");
    // A superuser reads all without asking, and restores databases.
    admin.run("SELECT tenancy.maintenance('a superuser')");
    let log = "SELECT string_agg(reason, ',') FROM tenancy.maintenance_log";
    assert_eq!(admin.text(log), "a superuser");
    assert_eq!(entries(&mut admin, "maintenance"), 1);
    // The first writer makes the partition by itself.
    admin.run("SELECT tenancy_internal.audit('y', NULL, NULL, '{}')");
    assert_eq!(entries(&mut admin, "y"), 1);
    db.owner().run("SELECT tenancy.seal_audit_log()");
    assert_eq!(
        admin.texts("SELECT problem FROM tenancy.verify_audit_log()"),
        Vec::<String>::new()
    );
}

#[test]
fn a_lock_holder_keeps_no_third_session_waiting() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run(&format!(
        "ALTER DATABASE {} SET tenancy.audit_seal_interval = 1",
        db.name
    ));
    admin.run("SELECT testing.record_now('first', '{}')");
    let mut sealer = db.owner();
    sealer.run("BEGIN; SELECT tenancy.seal_audit_log()");
    let began = Instant::now();
    for _ in 0..40 {
        admin.run("SELECT testing.record_now('other', '{}'), pg_sleep(0.05)");
    }
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    sealer.run("COMMIT");
    assert_eq!(entries(&mut admin, "other"), 40);
}
