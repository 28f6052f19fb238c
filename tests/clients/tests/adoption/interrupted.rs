//! adopt() that is stopped anywhere and called again, while others write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tenancy_client_tests::application::{self, TRUTH};
use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::{Db, application::truth};

/// Writers that know nothing of tenants: they insert, move and delete children until told to stop.
fn writers(db: &Db, stop: &Arc<AtomicBool>) -> Vec<thread::JoinHandle<u64>> {
    (0..2)
        .map(|n| {
            let (mut session, stop) = (db.admin(), stop.clone());
            thread::spawn(move || {
                let mut written = 0;
                while !stop.load(Ordering::Relaxed) {
                    session.run(&format!("INSERT INTO app.tasks (project_id, title) SELECT id, 'w{n}' FROM app.projects ORDER BY random() LIMIT 1"));
                    session.run("INSERT INTO app.comments (task_id, body) SELECT id, 'w' FROM app.tasks ORDER BY random() LIMIT 2");
                    session.run("UPDATE app.comments SET task_id = (SELECT max(id) FROM app.tasks) WHERE id = (SELECT id FROM app.comments ORDER BY random() LIMIT 1)");
                    session.run("DELETE FROM app.comments WHERE id = (SELECT id FROM app.comments ORDER BY random() LIMIT 1)");
                    written += 1;
                }
                written
            })
        })
        .collect()
}

#[test]
fn it_is_resumed_after_its_backend_was_ended_anywhere_while_others_write() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 400);
    // Some batches a table.
    owner.run("UPDATE app.comments SET body = repeat('x', 900)");
    let stop = Arc::new(AtomicBool::new(false));
    let writers = writers(&db, &stop);
    let seed = std::process::id().into();
    let mut dice = Dice::new(seed, 0);
    let mut admin = db.admin();
    let call = "CALL tenancy.adopt('app.organizations', lock_timeout => '5s')";
    for _ in 0..10 {
        let mut session = db.owner();
        let pid = session.pid();
        let pause = Duration::from_millis(dice.roll(400));
        let adopting = thread::spawn(move || session.try_run(call).is_ok());
        thread::sleep(pause);
        admin.run(&format!("SELECT pg_terminate_backend({pid})"));
        let _ = adopting.join().unwrap();
    }
    owner = db.owner();
    owner.run(call);
    stop.store(true, Ordering::Relaxed);
    let written: u64 = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .sum();
    assert!(written > 0);
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
        7
    );
    assert_eq!(admin.number("SELECT count(*) FROM tenancy.tenants"), 3);
    for (table, tenant) in TRUTH {
        assert_eq!(
            truth(&mut admin, table, tenant),
            truth(&mut admin, table, "organization_id"),
            "{table}"
        );
        let wrong = format!(
            "SELECT count(*) FROM app.{table} WHERE organization_id IS DISTINCT FROM {tenant}"
        );
        assert_eq!(admin.number(&wrong), 0, "{table}");
    }
}

#[test]
fn a_table_that_is_added_in_between_is_adopted_by_the_next_call() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(
        &mut owner,
        "uuid",
        "('00000000-0000-4000-8000-00000000000' || (%s))::uuid",
        3,
    );
    owner.run("CALL tenancy.adopt('app.organizations', isolate => false)");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables"),
        0,
        "prepared only"
    );
    owner.run("CREATE TABLE app.files (id bigint PRIMARY KEY, task_id bigint NOT NULL REFERENCES app.tasks); INSERT INTO app.files SELECT id, id FROM app.tasks");
    owner.run("CALL tenancy.adopt('app.organizations')");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
        8
    );
    // One whose parent is protected by now: its owner sees the parent's rows in maintenance only.
    owner.run("CREATE TABLE app.tags (id bigint PRIMARY KEY, file_id bigint NOT NULL REFERENCES app.files)");
    db.admin()
        .run("INSERT INTO app.tags SELECT id, id FROM app.files");
    owner.run("CALL tenancy.adopt('app.organizations')");
    let mut admin = db.admin();
    assert_eq!(
        admin.number("SELECT count(*) FROM app.tags"),
        admin.number("SELECT count(*) FROM app.tasks")
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM app.tags g JOIN app.files f ON f.id = g.file_id WHERE g.organization_id IS DISTINCT FROM f.organization_id"),
        0
    );
}

/// A session that holds a table keeps adopt() waiting, which lets go of its place in the queue again and again.
#[test]
fn it_waits_for_a_lock_without_blocking_others_for_long() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 3);
    let mut holder = db.admin();
    holder.run("BEGIN; SELECT count(*) FROM app.tasks");
    let mut session = db.owner();
    let adopting = thread::spawn(move || {
        session
            .run("CALL tenancy.adopt('app.organizations', lock_timeout => '100ms')")
            .number("SELECT 1")
    });
    let mut other = db.admin();
    other.run("SET statement_timeout = '2s'");
    for _ in 0..10 {
        // It queues behind adopt() for at most lock_timeout.
        other.run("SELECT count(*) FROM app.tasks");
        thread::sleep(Duration::from_millis(50));
    }
    holder.run("COMMIT");
    adopting.join().unwrap();
    holder.run("BEGIN");
    owner.run("CREATE TABLE app.late (id bigint PRIMARY KEY, task_id bigint NOT NULL REFERENCES app.tasks)");
    holder.run("LOCK TABLE app.late");
    owner
        .fails("CALL tenancy.adopt('app.organizations', lock_timeout => '1ms')")
        .code("55P03")
        .says("app.late");
    holder.run("COMMIT");
    owner.run("CALL tenancy.adopt('app.organizations')");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
        8
    );
}
