//! Conditions of a large server: long batches, many reservations, tables that another session has locked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::program::Cluster;
use tenancy_client_tests::{Db, Session, World};

/// How many rows of a table this transaction has read so far.
const READ: &str = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint FROM pg_stat_xact_all_tables WHERE schemaname = 'tenancy' AND relname = ";

fn world_in(db: Db) -> World {
    let world = World::bare_in(db);
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5);
         SELECT tenancy.set_budget('acme', 'tokens', 100000), tenancy.set_budget('globex', NULL, 100000)",
    );
    world
}

fn world() -> World {
    world_in(Db::new())
}

/// used and in flight of acme's tokens.
fn ledger(world: &World) -> String {
    world.db.admin().text(
        "SELECT concat_ws(' ', used, in_flight) FROM tenancy.ledger WHERE level = 'tenant' AND metric = 'tokens'",
    )
}

/// Returns a process's private memory in kB.
fn memory(pid: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn what_savepoints_held_follows_them() {
    let world = world();
    let mut alice = world.begin("alice");
    alice.run(
        "SELECT tenancy.consume('tokens', 10); SAVEPOINT a; SELECT tenancy.consume('tokens', 20);
         SAVEPOINT b; SELECT tenancy.consume('tokens', 30); RELEASE b; SAVEPOINT c; SELECT tenancy.consume('tokens', 5)",
    );
    assert_eq!(ledger(&world), "0 65");
    alice.run("ROLLBACK TO c");
    assert_eq!(ledger(&world), "0 60");
    alice.run("SAVEPOINT d; SELECT tenancy.consume('tokens', 7); RELEASE c; SELECT tenancy.consume('tokens', 1)");
    assert_eq!(ledger(&world), "0 68");
    alice.run("ROLLBACK TO a");
    assert_eq!(ledger(&world), "0 10");
    alice.run(
        "SAVEPOINT e; SAVEPOINT f; SELECT tenancy.consume('tokens', 40); RELEASE f; RELEASE e",
    );
    assert_eq!(ledger(&world), "0 50");
    alice.run("COMMIT");
    assert_eq!(ledger(&world), "50 0");
}

#[test]
fn a_batch_of_savepoints_costs_what_it_used_and_not_how_many_they_were() {
    let world = world();
    let mut alice = world.begin("alice");
    alice.run("SELECT tenancy.consume('tokens', 1)");
    let pid = alice.pid();
    let many = |n: u32, fault: &str| {
        format!(
            "DO $$ BEGIN FOR i IN 1..{n} LOOP
               BEGIN PERFORM tenancy.consume('tokens', 1); {fault} EXCEPTION WHEN division_by_zero THEN NULL; END;
             END LOOP; END $$"
        )
    };
    alice.run(&many(1000, ""));
    let before = memory(pid);
    alice.run(&many(30_000, ""));
    let grown = memory(pid) - before;
    assert!(grown < 16_000, "{grown} kB for 30,000 savepoints");
    let began = Instant::now();
    alice.run(&many(1000, "RAISE division_by_zero;"));
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    alice.run("COMMIT");
    assert_eq!(ledger(&world), "31001 0");
}

/// Much that is not acme's first project's: rolled up, and reserved.
fn crowd(world: &World) {
    let mut admin = world.db.admin();
    admin.run(
        "SELECT tenancy.create_project('acme', 'web'), tenancy.create_user('acme', 'ann');
         INSERT INTO tenancy_internal.usage_quarterly (metric_id, slot, partner_id, tenant_id, project_id, events, quantity, most, cost)
         SELECT 1, date_bin('15 minutes', now(), '2000-01-01 00:00:00+00') - n % 100 * interval '15 minutes', p.id, tenancy.new_id(), tenancy.new_id(), 1, 1000000, 1000000, 500000
           FROM generate_series(1, 20000) n, tenancy.scopes p WHERE p.slug = 'hooli';
         INSERT INTO tenancy_internal.budget_reservations (id, partner_id, tenant_id, project_id, user_id, metric_id, quantity, cost, reserved_at, expires_at, state, reserved_by)
         SELECT tenancy.new_id(), p.id, tenancy.new_id(), NULL, tenancy.new_id(), 1, 1000000, 500000, now(), now() + interval '1 day', 'open', current_user
           FROM generate_series(1, 20000) n, tenancy.scopes p WHERE p.slug = 'hooli';
         ANALYZE tenancy_internal.usage_quarterly; ANALYZE tenancy_internal.budget_reservations",
    );
}

#[test]
fn a_load_reads_its_own_rows_whatever_others_have() {
    let world = world();
    crowd(&world);
    let mut admin = world.db.admin();
    for scope in ["acme", "web", "ann", "globex"] {
        for metric in [0, 1] {
            admin.run(&format!(
                "BEGIN; SELECT * FROM tenancy_internal.used_of((SELECT id FROM tenancy.scopes WHERE slug = '{scope}'), {metric},
                    extract(epoch FROM date_trunc('month', now()))::bigint * 1000000 + 900000000, extract(epoch FROM now() + interval '1 hour')::bigint / 900 * 900000000)",
            ));
            for table in ["usage_quarterly", "budget_reservations"] {
                let read = admin.number(&format!("{READ} '{table}'"));
                assert!(read < 100, "{scope} {metric}: {read} rows of {table}");
            }
            admin.run("ROLLBACK");
        }
    }
}

#[test]
fn a_refusal_does_not_read_all_that_is_reserved() {
    let world = world();
    crowd(&world);
    world
        .begin("alice")
        .run("SELECT tenancy.reserve('tokens', 99999); COMMIT");
    let mut alice = world.begin("alice");
    alice
        .run("SAVEPOINT s")
        .fails("SELECT tenancy.consume('tokens', 2)")
        .code("53400");
    alice.run("ROLLBACK TO s; SAVEPOINT s");
    let before = alice.number(&format!("{READ} 'budget_reservations'"));
    alice
        .fails("SELECT tenancy.consume('tokens', 2)")
        .code("53400");
    alice.run("ROLLBACK TO s");
    let read = alice.number(&format!("{READ} 'budget_reservations'")) - before;
    assert!(read < 10, "{read} rows");
}

#[test]
fn a_user_without_a_role_does_not_use_past_its_tenant() {
    let mut world = world();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_user('acme', 'nobody'), tenancy.set_budget('acme', 'tokens', 0)",
    );
    world.learn();
    owner.run("SELECT tenancy.unassign(a.user_id, a.role, a.scope_id) FROM tenancy.assignments a WHERE a.user_slug = 'nobody'");
    let key = world.another_key("nobody");
    let mut app = world.db.app();
    for call in [
        "consume('tokens', 1)",
        "record_usage('tokens', 1)",
        "reserve('tokens', 1)",
        "check_budget('tokens', 1)",
        "fits('tokens', 1)",
    ] {
        app.begin(&key);
        app.fails(&format!("SELECT tenancy.{call}"))
            .code("55000")
            .says("no role in its tenant");
        app.run("ROLLBACK");
    }
}

fn expires(admin: &mut Session) {
    let end = Instant::now() + Duration::from_secs(10);
    while admin.number(
        "SELECT count(*) FROM tenancy_internal.budget_reservations WHERE state = 'open' AND expires_at < now()",
    ) != 0
    {
        assert!(Instant::now() < end, "what has expired is still open");
        thread::sleep(Duration::from_millis(100));
    }
}

/// A new worker tidies up at once; another had its first minute before the reservation was over.
fn new_worker(world: &World, admin: &mut Session) {
    world
        .begin("alice")
        .run("SELECT tenancy.reserve('tokens', 1, '100 milliseconds'); COMMIT");
    thread::sleep(Duration::from_millis(300));
    admin.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()");
    admin.run("SELECT testing.record_now('x', '{}')");
}

#[test]
fn a_locked_table_does_not_delay_other_work_and_the_log_names_it() {
    let cluster = Cluster::start();
    let world = world_in(Db::on(cluster.config()));
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 1); COMMIT");
    let mut admin = world.db.admin();
    let mut lock = world.db.admin();
    // The lock of a long ANALYZE: the months exist, and no session requests the lock.
    lock.run("BEGIN; LOCK TABLE tenancy_internal.usage_events IN SHARE UPDATE EXCLUSIVE MODE");
    new_worker(&world, &mut admin);
    expires(&mut admin);
    lock.run("ROLLBACK");
    assert!(!cluster.log().contains("lock timeout"), "{}", cluster.log());
    lock.run("BEGIN; LOCK TABLE tenancy_internal.usage_keys IN SHARE MODE");
    new_worker(&world, &mut admin);
    expires(&mut admin);
    let end = Instant::now() + Duration::from_secs(10);
    while !cluster.log().contains(
        "tenancy worker: forget old idempotency keys: canceling statement due to lock timeout",
    ) {
        assert!(Instant::now() < end, "{}", cluster.log());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_script_in_one_message_takes_no_longer_for_each_of_its_statements() {
    let db = Db::new();
    // Whoever looks at all of the text for each statement looks at 15 GB.
    let padded = format!("/* {} */ SET work_mem = '4MB';", "-".repeat(1500));
    let start = Instant::now();
    db.app().run(&padded.repeat(3000));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}
