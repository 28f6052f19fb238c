//! Concurrent clients of a tenant fill a quota to exactly its limit, at any isolation level, with deletes and rollbacks between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;

use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::{Failure, World};

const CLIENTS: u64 = 8;

fn world(rooms: i64, seats: i64) -> World {
    let world = World::bare();
    world.db.owner().run(&format!(
        "CREATE TABLE app.seats (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, room int);
         SELECT tenancy.protect('app.seats'); SELECT tenancy.define_limit('all', 'amount'), tenancy.define_limit('room', 'amount');
         SELECT tenancy.set_limit('globex', 'all', {rooms}, 'tenant'), tenancy.set_limit('globex', 'room', {seats}, 'tenant');
         SELECT tenancy.set_quota('app.seats', 'all'), tenancy.set_quota('app.seats', 'room', per => 'room')"
    ));
    world
}

#[test]
fn clients_fill_a_quota_exactly() {
    let world = world(100, 1000);
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let world = &world;
            scope.spawn(move || {
                let (mut session, mut dice) = (world.db.app(), Dice::new(7, n));
                loop {
                    let level = *dice.of(&["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]);
                    session
                        .run(&format!("BEGIN ISOLATION LEVEL {level}"))
                        .login(world.key("alice"));
                    let rows = 1 + dice.roll(3);
                    let sql = format!(
                        "INSERT INTO app.seats (room) SELECT n FROM generate_series(1, {rows}) n"
                    );
                    match session.try_run(&sql).and_then(|()| {
                        session.try_run(if dice.roll(4) == 0 {
                            "ROLLBACK"
                        } else {
                            "COMMIT"
                        })
                    }) {
                        Ok(()) => {}
                        Err(Failure { code, .. }) if code == "53400" => {
                            session.run("ROLLBACK");
                            if rows == 1 {
                                return;
                            }
                        }
                        // Two that add the first counter of a key at once; and what SERIALIZABLE finds.
                        Err(Failure { code, .. }) if code == "40001" => {
                            session.run("ROLLBACK");
                        }
                        Err(failure) => panic!("{failure:?}"),
                    }
                }
            });
        }
    });
    let mut owner = world.db.owner();
    assert_eq!(
        world.db.admin().number("SELECT count(*) FROM app.seats"),
        100
    );
    assert_eq!(
        owner.number("SELECT used::bigint FROM tenancy.quota_usage WHERE name = 'all'"),
        100
    );
    assert_eq!(
        owner.number("SELECT sum(corrected) FROM tenancy.recount('app.seats')"),
        0
    );
}

#[test]
fn counters_agree_after_any_concurrent_changes() {
    let world = world(40, 6);
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let world = &world;
            scope.spawn(move || {
                let (mut session, mut dice) = (world.db.app(), Dice::new(11, n));
                let user = *dice.of(&["alice", "alice", "bob"]);
                for _ in 0..150 {
                    session.begin(world.key(user));
                    for _ in 0..=dice.roll(2) {
                        let (room, other) = (dice.roll(9), dice.roll(9));
                        let change = match dice.roll(5) {
                            0..=2 => format!("INSERT INTO app.seats (room) VALUES ({room}), ({other})"),
                            3 => format!("DELETE FROM app.seats WHERE id IN (SELECT id FROM app.seats WHERE room = {room} LIMIT 2 FOR UPDATE SKIP LOCKED)"),
                            _ => format!("UPDATE app.seats SET room = {other} WHERE id IN (SELECT id FROM app.seats WHERE room = {room} LIMIT 1 FOR UPDATE SKIP LOCKED)"),
                        };
                        session.run("SAVEPOINT s");
                        match session.try_run(&change) {
                            Ok(()) if dice.roll(4) == 0 => {
 session.run("ROLLBACK TO s");
},
                            Ok(()) => {}
                            Err(Failure { code, .. }) if code == "53400" => {
 session.run("ROLLBACK TO s");
},
                            // Statements of a transaction may lock counters in another order than those of others.
                            Err(Failure { code, .. }) if code == "40P01" => break,
                            Err(failure) => panic!("{failure:?}"),
                        }
                    }
                    let end = if dice.roll(5) == 0 { "ROLLBACK" } else { "COMMIT" };
                    session.run(end);
                }
            });
        }
        // While others write, counting anew finds nothing wrong.
        let world = &world;
        scope.spawn(move || {
            let mut owner = world.db.owner();
            for _ in 0..10 {
                assert_eq!(
                    owner.number("SELECT sum(corrected) FROM tenancy.recount('app.seats')"),
                    0
                );
            }
        });
    });
    let over = "SELECT count(*) FROM tenancy.quota_usage WHERE used > allowed";
    let mut owner = world.db.owner();
    assert_eq!(owner.number(over), 0);
    assert_eq!(
        owner.number("SELECT sum(corrected) FROM tenancy.recount('app.seats')"),
        0
    );
}

#[test]
fn tenants_do_not_wait_for_each_other() {
    let world = world(10, 10);
    let mut alice = world.begin("alice");
    alice.run("INSERT INTO app.seats (room) VALUES (1)");
    let mut bob = world.begin("bob");
    bob.run("SET LOCAL lock_timeout = '2s'; INSERT INTO app.seats (room) VALUES (1); COMMIT");
    // One of the same tenant does, and then counts what has committed.
    let mut other = world.begin("alice");
    other
        .fails_inside("SET LOCAL lock_timeout = '100ms'; INSERT INTO app.seats (room) VALUES (2)")
        .code("55P03");
    alice.run("COMMIT");
    other.run("INSERT INTO app.seats (room) VALUES (2); COMMIT");
    assert_eq!(
        world.db.owner().number(
            "SELECT used::bigint FROM tenancy.quota_usage WHERE name = 'all' AND scope = 'acme'"
        ),
        2
    );
}
