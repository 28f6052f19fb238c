//! The server has few background workers, and any client can occupy them all: calls that need a worker then take longer, and none fails.
//! A database without work occupies none, and no counted usage is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;
use tenancy_client_tests::idp::Idp;
use tenancy_client_tests::metering::Stop;
use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Session, World};

/// Processes that work for a database.
const WORKERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tenancy worker'";
const HERE: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()";
const PARALLEL: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'";
const LOGINS: &str = "SELECT coalesce(sum((details ->> 'count')::bigint), 0) FROM tenancy.audit_log WHERE action = 'tenancy.login'";
const UNSEALED: &str = "SELECT count(*) FROM tenancy.audit_log l WHERE NOT EXISTS (SELECT FROM tenancy.audit_seals s WHERE l.id = ANY (s.ids))";
/// Statements that a client without a credential sends again and again.
const SLEEP: &str = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 8;
    SELECT count(pg_sleep(0.5)) FROM pg_proc";

#[track_caller]
fn until(session: &mut Session, sql: &str, wanted: i64, seconds: u64) {
    session.until(seconds, sql, &[&wanted.to_string()]);
}

fn root(cluster: &Cluster) -> Session {
    Session::connect(&cluster.config())
}

fn world(cluster: &Cluster) -> World {
    World::bare_in(Db::on(cluster.config()))
}

/// Clients that hold processes of the server until this is dropped, also by a panic.
struct Sleepers<'a> {
    admin: Session,
    world: &'a World,
    ended: &'a AtomicBool,
}

impl Drop for Sleepers<'_> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}' AND query LIKE '%pg_sleep%'",
            self.world.db.app
        );
        let _ = self.admin.batch_execute(&end);
    }
}

/// Runs something while parallel queries of clients without a credential hold every process of the server for workers.
fn with_all_taken(cluster: &Cluster, world: &World, what: impl FnOnce()) {
    let mut admin = root(cluster);
    // The server's own launcher and tenancy's have theirs.
    let all = admin
        .number("SELECT setting::bigint - 2 FROM pg_settings WHERE name = 'max_worker_processes'");
    until(&mut admin, WORKERS, 0, 60);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut sleepers = Sleepers {
            admin,
            world,
            ended: &ended,
        };
        let sleep = || {
            let mut app = world.db.app();
            while !ended.load(Ordering::Relaxed) {
                if app.batch_execute(SLEEP).is_err() {
                    break;
                }
            }
        };
        // Work that was due may have a process for some seconds yet; a query takes those that are free when it begins.
        let end = Instant::now() + Duration::from_secs(60);
        while sleepers.admin.number(PARALLEL) != all {
            assert!(Instant::now() < end, "not all processes could be taken");
            scope.spawn(sleep);
            thread::sleep(Duration::from_secs(1));
        }
        what();
        let now = sleepers.admin.number(PARALLEL);
        assert_eq!(now, all, "a process was free meanwhile");
    });
}

/// The process of the launcher, which is in no view while it has no database.
fn launcher(session: &mut Session) -> Option<i32> {
    let status = |pid: &str, field: &str| -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with(field))?;
        Some(line.split_whitespace().nth(1)?.to_owned())
    };
    let postmaster = status(&session.pid().to_string(), "PPid:")?;
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let found = name.contains("tenancy launcher") && status(&pid, "PPid:")? == postmaster;
        found.then(|| pid.parse().ok())?
    })
}

/// A launcher other than this one.
#[track_caller]
fn another_launcher(session: &mut Session, old: i32) -> i32 {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match launcher(session) {
            Some(pid) if pid != old => return pid,
            _ => assert!(Instant::now() < end, "there is no launcher"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn statements_on_record_and_single_use_logins_go_on_when_all_processes_are_taken() {
    let cluster = Cluster::start();
    let world = World::bare_in(Db::on(cluster.config())).with_notes();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(
        &mut owner,
        "acme",
        "create_users => true, single_use => true",
    );
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    owner.run("SELECT tenancy.create_user('platform', 'sue', role => 'super_admin')");
    let sue = owner.text("SELECT tenancy.issue_api_key('sue', 'test')");
    let mut app = world.db.app();
    app.begin(&sue)
        .run("SELECT tenancy.elevate('ticket 7', '1 hour'); COMMIT");
    with_all_taken(&cluster, &world, || {
        for n in 0..20 {
            app.begin(&sue);
            assert_eq!(app.number("SELECT count(*) FROM app.notes"), 15);
            app.run("COMMIT");
            app.begin(&idp.token_with("zoe", json!({"jti": n.to_string()})));
            assert_eq!(app.number("SELECT count(*) FROM app.notes"), 3);
            app.run("COMMIT");
        }
        app.try_login(&idp.token_with("zoe", json!({"jti": "1"})))
            .unwrap_err()
            .code("42501");
        let mut owner = world.db.owner();
        owner.run("BEGIN; SELECT tenancy.maintenance('a migration'); ROLLBACK");
    });
    let mut admin = world.db.admin();
    assert_eq!(
        admin.number(
            "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.elevation.statement'"
        ),
        20
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.maintenance_log"),
        1
    );
}

/// Each database has one process at a time, and leaves it to the next database.
#[test]
fn several_databases_share_what_is_left_when_all_processes_are_taken() {
    let cluster = Cluster::start_with(
        &["max_worker_processes=4", "tenancy.audit_seal_interval=1"],
        &[],
    );
    let worlds: Vec<World> = (0..5).map(|_| world(&cluster)).collect();
    with_all_taken(&cluster, &worlds[0], || {
        let began = Instant::now();
        thread::scope(|scope| {
            for world in &worlds {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut admin = world.db.admin();
                        for _ in 0..20 {
                            admin.run("SELECT testing.record_now('shared', '{}')");
                        }
                    });
                }
            }
        });
        println!("300 requests of 5 databases took {:?}", began.elapsed());
        // Work without a waiting caller is done too, while one database never stops sending requests.
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let stop = Stop(&ended);
            scope.spawn(|| {
                let mut admin = worlds[0].db.admin();
                while !ended.load(Ordering::Relaxed) {
                    // Of five databases, each waits for four others: on a slow machine longer than a request may take.
                    if let Err(failure) =
                        admin.try_run("SELECT testing.record_now('on and on', '{}')")
                    {
                        failure.code("55000").says("does not answer");
                    }
                }
            });
            for world in &worlds {
                let unsealed = format!("{UNSEALED} AND action = 'tenancy.shared'");
                until(&mut world.db.admin(), &unsealed, 0, 60);
            }
            drop(stop);
        });
    });
    for world in &worlds {
        let shared = "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.shared'";
        assert_eq!(world.db.admin().number(shared), 60);
    }
}

/// Here workers of other databases occupy the processes, and have to leave them.
#[test]
fn more_databases_than_processes_go_on_at_once() {
    let cluster = Cluster::start_with(&["max_worker_processes=4"], &[]);
    let dbs: Vec<Db> = (0..6).map(|_| Db::on(cluster.config())).collect();
    thread::scope(|scope| {
        for db in &dbs {
            scope.spawn(|| {
                let mut admin = db.admin();
                for _ in 0..100 {
                    admin.run("SELECT testing.record_now('at once', '{}')");
                }
            });
        }
    });
    for db in &dbs {
        let done = "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.at once'";
        assert_eq!(db.admin().number(done), 100);
    }
}

#[test]
fn databases_without_work_hold_no_process_and_their_logins_are_written_when_due() {
    let cluster = Cluster::start_with(&["tenancy.audit_login_interval=10"], &[]);
    let mut root = root(&cluster);
    let worlds: Vec<World> = (0..4).map(|_| world(&cluster)).collect();
    until(&mut root, WORKERS, 0, 60);
    for world in &worlds {
        world.begin("alice").run("COMMIT");
        // A login alone starts none.
        assert_eq!(world.db.admin().number(HERE), 0);
    }
    let counted = Instant::now();
    for world in &worlds {
        let mut admin = world.db.admin();
        assert!(counted.elapsed() > Duration::from_secs(7) || admin.number(LOGINS) == 0);
    }
    for world in &worlds {
        until(&mut world.db.admin(), LOGINS, 1, 60);
    }
    assert!(counted.elapsed() > Duration::from_secs(7), "too early");
    until(&mut root, WORKERS, 0, 60);
    // A failure is due at once.
    for world in &worlds {
        world.db.app().try_login("nonsense").unwrap_err();
        let failed = "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.login.failed'";
        until(&mut world.db.admin(), failed, 1, 20);
    }
    until(&mut root, WORKERS, 0, 60);
    // Nor does an open transaction hold one, which keeps what is written from being sealed.
    let mut open = worlds[0].db.owner();
    open.run("BEGIN; SELECT tenancy.audit('not.committed')");
    worlds[1]
        .db
        .owner()
        .run("SELECT tenancy.audit('committed')");
    until(&mut root, WORKERS, 0, 90);
    open.run("COMMIT");
    for world in &worlds[..2] {
        until(&mut world.db.admin(), UNSEALED, 0, 90);
    }
}

#[test]
fn what_is_counted_when_the_server_is_stopped_is_written_when_it_starts() {
    let cluster = Cluster::start();
    let worlds: Vec<World> = (0..3).map(|_| world(&cluster)).collect();
    until(&mut root(&cluster), WORKERS, 0, 60);
    for world in &worlds {
        for _ in 0..3 {
            world.begin("alice").run("COMMIT");
        }
    }
    // Here a worker comes at once, or is just about to.
    worlds[2].db.app().try_login("nonsense").unwrap_err();
    cluster.down();
    cluster.up();
    for world in &worlds {
        until(&mut world.db.admin(), LOGINS, 3, 30);
    }
    let failed = "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.login.failed'";
    until(&mut worlds[2].db.admin(), failed, 1, 30);
    // Once: neither the next start nor a crash brings them again.
    cluster.down();
    cluster.up();
    cluster.kill();
    until(&mut root(&cluster), WORKERS, 0, 60);
    for world in &worlds {
        assert_eq!(world.db.admin().number(LOGINS), 3);
    }
}

#[test]
fn what_was_counted_for_a_dropped_database_is_dropped_too() {
    let cluster = Cluster::start();
    let (gone, world) = (world(&cluster), world(&cluster));
    until(&mut root(&cluster), WORKERS, 0, 60);
    for world in [&gone, &world] {
        world.begin("alice").run("COMMIT");
    }
    root(&cluster).run(&format!("DROP DATABASE {} WITH (FORCE)", gone.db.name));
    // Counts of a stopped server are written when it starts, in the databases that it has.
    cluster.down();
    cluster.up();
    until(&mut world.db.admin(), LOGINS, 1, 30);
    until(&mut root(&cluster), WORKERS, 0, 60);
    assert!(
        !cluster.log().contains("FATAL:  database "),
        "{}",
        cluster.log()
    );
}

#[test]
fn the_launcher_ends_and_is_restarted() {
    let cluster = Cluster::start_with(&["max_worker_processes=3"], &[]);
    let world = world(&cluster);
    let mut admin = world.db.admin();
    let mut pid = another_launcher(&mut admin, 0);
    assert_eq!(
        admin.number(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"
        )),
        0,
        "it is connected to a database"
    );
    // After a clean end, other sessions notice nothing.
    for _ in 0..3 {
        let done = std::process::Command::new("kill")
            .arg(pid.to_string())
            .status();
        assert!(done.unwrap().success());
        pid = another_launcher(&mut admin, pid);
        admin.run("SELECT testing.record_now('x', '{}')");
    }
    // After a kill, the server restarts all processes.
    cluster.kill_process(pid);
    drop(admin);
    let mut config = cluster.config();
    config.dbname(&world.db.name);
    let end = Instant::now() + Duration::from_secs(30);
    while launcher(&mut wait_for(&config, "the server")).is_none_or(|new| new == pid) {
        assert!(Instant::now() < end, "there is no launcher");
        thread::sleep(Duration::from_millis(100));
    }
    with_all_taken(&cluster, &world, || {
        let mut admin = world.db.admin();
        for _ in 0..5 {
            admin.run("SELECT testing.record_now('y', '{}')");
            // While it works for a database, too.
            let pid = admin.number("SELECT pid FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()");
            assert_eq!(launcher(&mut admin), Some(pid.try_into().unwrap()));
            admin.run(&format!("SELECT pg_terminate_backend({pid}, 5000)"));
        }
    });
    let done = "SELECT count(*) FROM tenancy.audit_log WHERE action IN ('tenancy.x', 'tenancy.y')";
    assert_eq!(world.db.admin().number(done), 8);
}

#[test]
fn the_launcher_blocks_no_session() {
    let cluster = Cluster::start_with(
        &["max_worker_processes=3", "tenancy.audit_login_interval=3"],
        &[],
    );
    let world = world(&cluster);
    let (name, copy) = (&world.db.name, "copy");
    let mut outside = root(&cluster);
    with_all_taken(&cluster, &world, || {
        let other = Db::on(cluster.config());
        let mut admin = other.admin();
        admin.run("SELECT testing.record_now('x', '{}')");
        assert_eq!(admin.number(HERE), 1);
        drop(admin);
        // Each waits 5 seconds at most for those who are connected.
        outside.run(&format!("CREATE DATABASE {copy} TEMPLATE {}", other.name));
        outside.run(&format!("DROP DATABASE {copy}"));
        outside.run(&format!("DROP DATABASE {}", other.name));
        // Who comes next is served at once.
        world.db.admin().run("SELECT testing.record_now('x', '{}')");
    });
    // Work for a dropped database is removed.
    let gone = World::bare_in(Db::on(cluster.config()));
    gone.begin("alice").run("COMMIT");
    outside.run(&format!("DROP DATABASE {} WITH (FORCE)", gone.db.name));
    world.begin("alice").run("COMMIT");
    until(&mut world.db.admin(), LOGINS, 1, 30);
    until(&mut outside, WORKERS, 0, 60);
    assert!(
        !cluster.log().contains("FATAL:  database "),
        "{}",
        cluster.log()
    );
    // Without the extension there is nothing to do.
    world.begin("alice").run("COMMIT");
    world.db.admin().run("DROP EXTENSION tenancy CASCADE");
    until(&mut outside, WORKERS, 0, 60);
    // Sessions that were closed end a moment later.
    let connected = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    until(&mut outside, &connected, 0, 60);
}

/// Callers of one database that does not respond do not block those of others.
#[test]
fn one_database_does_not_take_all_places_for_waiting_callers() {
    let cluster = Cluster::start_with(&["max_connections=200"], &[]);
    let (stuck, free) = (Db::on(cluster.config()), Db::on(cluster.config()));
    let mut lock = stuck.admin();
    lock.run("SELECT testing.record_now('first', '{}')");
    let part = lock.text("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'tenancy.audit_log'::regclass ORDER BY inhrelid LIMIT 1");
    lock.run(&format!(
        "BEGIN; LOCK TABLE {part} IN ACCESS EXCLUSIVE MODE"
    ));
    thread::scope(|scope| {
        for _ in 0..150 {
            let mut session = stuck.admin();
            scope.spawn(move || {
                session
                    .fails("SELECT testing.record_now('late', '{}')")
                    .code("55000");
            });
        }
        let mut admin = free.admin();
        for _ in 0..20 {
            admin.run("SET statement_timeout = '5s'; SELECT testing.record_now('free', '{}')");
            thread::sleep(Duration::from_millis(100));
        }
    });
    lock.run("ROLLBACK");
}

#[test]
fn what_a_standby_has_counted_is_written_once_it_is_promoted() {
    let primary = Cluster::start_with(&["wal_level=replica", "max_wal_senders=4"], &[]);
    let world = world(&primary);
    let standby = primary.standby();
    let config = |role: &str| {
        let mut config = standby.config();
        config.dbname(&world.db.name).user(role);
        config
    };
    let mut there = wait_for(&config("postgres"), "the standby");
    until(&mut there, "SELECT count(*) FROM tenancy.api_keys", 6, 30);
    assert_eq!(launcher(&mut there), None);
    Session::connect(&config(&world.db.app))
        .begin(world.key("alice"))
        .run("COMMIT");
    // Also when it is stopped before.
    drop(there);
    standby.down();
    standby.up();
    let mut there = wait_for(&config("postgres"), "the standby");
    assert_eq!((there.number(WORKERS), there.number(LOGINS)), (0, 0));
    there.run("SELECT pg_promote()");
    until(&mut there, LOGINS, 1, 30);
    there.run("SELECT testing.record_now('x', '{}')");
    assert!(launcher(&mut there).is_some());
}
