//! Backends and servers that are killed in mid-transaction leave nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

/// Waits until no backend of the application is left.
#[track_caller]
fn wait_gone(admin: &mut Session, role: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while admin.number(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"
    )) > 0
    {
        assert!(Instant::now() < end, "a backend did not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_terminated_backend_leaves_nothing() {
    let world = World::new();
    let mut admin = world.db.admin();
    for _ in 0..5 {
        let mut app = world.begin("alice");
        app.run("INSERT INTO app.notes (body) VALUES ('lost'); CREATE TEMP TABLE t AS SELECT * FROM app.notes; SELECT tenancy.select_tenant('acme')");
        let pid = app.pid();
        admin.run(&format!("SELECT pg_terminate_backend({pid})"));
        app.fails(COUNT);
        wait_gone(&mut admin, &world.db.app);
        world.db.app().fails(COUNT).code("55000");
        wait_gone(&mut admin, &world.db.app);
    }
    assert_eq!(
        admin.number("SELECT count(*) FROM app.notes WHERE body = 'lost'"),
        0
    );
    assert_eq!(admin.number("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND l.granted AND l.relation IS NOT NULL AND a.backend_type = 'client backend'"), 0);
    assert_eq!(world.begin("alice").number(COUNT), 3);
}

#[test]
fn a_client_that_vanishes_leaves_nothing() {
    let world = World::new();
    for _ in 0..20 {
        let mut app = world.begin("bob");
        app.run("INSERT INTO app.notes (body) VALUES ('lost')");
        drop(app);
    }
    let mut admin = world.db.admin();
    wait_gone(&mut admin, &world.db.app);
    assert_eq!(
        admin.number("SELECT count(*) FROM app.notes WHERE body = 'lost'"),
        0
    );
    world.db.app().fails(COUNT).code("55000");
}

#[test]
fn a_cancelled_statement_leaves_the_session_in_order() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("SET LOCAL statement_timeout = 50");
    app.fails("SELECT pg_sleep(5) FROM app.notes").code("57014");
    app.run("ROLLBACK").fails(COUNT).code("55000");
    assert_eq!(app.begin(world.key("bob")).number(COUNT), 5);
}

/// A world in a cluster of its own.
fn world_in(cluster: &Cluster) -> World {
    let db = Db::on(cluster.config());
    World::bare_in(db).with_notes()
}

/// After a crash: tickets and keys are valid, contexts are gone, rows are isolated.
#[track_caller]
fn in_order(world: &World, ticket: &str, ops: &str) {
    let mut app = wait_for(&world.db.config(&world.db.app), "the database");
    app.fails(COUNT).code("55000");
    assert_eq!(app.begin(ticket).number(COUNT), 3);
    assert_eq!(app.run("COMMIT").begin(world.key("bob")).number(COUNT), 5);
    app.run("COMMIT")
        .run(&format!("SET tenancy.ticket = '{ops}'"));
    assert_eq!(app.number(COUNT), 8);
    app.fails("SELECT tenancy.select_tenant('soylent')")
        .code("42704");
    app.run("SET tenancy.ticket = ''")
        .fails(COUNT)
        .code("55000");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM app.notes WHERE body = 'lost'"),
        0
    );
    world.db.app().try_login("tnk_0").unwrap_err().code("42501");
}

#[test]
fn a_backend_killed_hard_and_the_server_killed_hard() {
    let cluster = Cluster::start();
    let world = world_in(&cluster);
    let (ticket, ops) = (
        world.ticket("alice", "1 hour"),
        world.ticket("ops", "1 hour"),
    );
    let mut open = world.db.app();
    open.login_session(world.key("alice"));
    let mut app = world.begin("alice");
    app.run("INSERT INTO app.notes (body) VALUES ('lost')");
    // The server notices, ends all the others and starts again with a fresh shared memory.
    cluster.kill_process(app.pid());
    app.fails(COUNT);
    drop(app);
    in_order(&world, &ticket, &ops);
    assert!(
        open.simple_query(COUNT).is_err(),
        "a context outlived the crash"
    );

    let mut app = world.begin("alice");
    app.run("INSERT INTO app.notes (body) VALUES ('lost')");
    cluster.kill();
    assert!(app.simple_query(COUNT).is_err());
    in_order(&world, &ticket, &ops);

    // An orderly restart as well, and a revocation before it holds after it.
    world
        .db
        .owner()
        .run("SELECT tenancy.revoke_api_key(id) FROM tenancy.api_keys WHERE user_slug = 'eve'");
    cluster.down();
    cluster.up();
    in_order(&world, &ticket, &ops);
    world
        .db
        .app()
        .try_login(world.key("eve"))
        .unwrap_err()
        .code("42501");
}
