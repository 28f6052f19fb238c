//! Reservations that are retried, prolonged and grown: one for each key, and never more room than there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::Duration;

use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::{Session, World};

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5, dimensions => '{model}', prices => '{\"model\": {\"large\": 2}}'),
                tenancy.define_metric('calls', 'calls', 'count');
         SELECT tenancy.create_project('acme', 'red'), tenancy.create_project('acme', 'blue');
         SELECT tenancy.set_budget('acme', 'tokens', 100, 'day'), tenancy.set_budget('globex', NULL, 1000, 'month')",
    );
    world
}

/// used, in flight and reserved of acme's tokens, by the ledger, and after it was loaded anew from rows.
#[track_caller]
fn agrees(world: &World, expected: &str) {
    let mut admin = world.db.admin();
    let ledger = "SELECT concat_ws(' ', used, in_flight, reserved) FROM tenancy.ledger WHERE level = 'tenant' AND metric = 'tokens'";
    assert_eq!(admin.text(ledger), expected);
    admin.run("SELECT tenancy_internal.forget_ledger()");
    world
        .begin("alice")
        .run("SELECT tenancy.check_budget('tokens', 1); ROLLBACK");
    assert_eq!(admin.text(ledger), expected, "loaded from rows");
}

#[track_caller]
fn reserve(session: &mut Session, arguments: &str) -> String {
    session.text(&format!("SELECT tenancy.reserve({arguments})"))
}

#[test]
fn a_retry_gets_the_same_reservation() {
    let world = world();
    let key = "'tokens', 60, idempotency_key => 'r1'";
    let mut alice = world.begin("alice");
    let id = reserve(&mut alice, key);
    alice.run("COMMIT");
    // It would not fit twice.
    let mut alice = world.begin("alice");
    assert_eq!(reserve(&mut alice, key), id);
    alice.run("COMMIT");
    agrees(&world, "0 0 60");
    for (arguments, differ) in [
        ("'tokens', 61, idempotency_key => 'r1'", "quantity"),
        ("'calls', 60, idempotency_key => 'r1'", "metric"),
        ("'tokens', 60, '1 hour', idempotency_key => 'r1'", "ttl"),
        (
            "'tokens', 60, cost => 7, attributes => '{\"model\": \"large\"}', idempotency_key => 'r1'",
            "attributes, cost",
        ),
    ] {
        world
            .begin("alice")
            .fails(&format!("SELECT tenancy.reserve({arguments})"))
            .code("22023")
            .says("another reservation")
            .details(&format!("another {differ}."));
    }
    // Others' keys are their own.
    let mut bob = world.begin("bob");
    assert_ne!(reserve(&mut bob, key), id);
    // Settled or not, it is that reservation.
    let mut alice = world.begin("alice");
    alice.run(&format!("SELECT tenancy.settle('{id}', 10)"));
    assert_eq!(reserve(&mut alice, key), id);
    alice.run("COMMIT");
    agrees(&world, "10 0 0");
    // A reservation that was refused or rolled back has used up no key.
    world
        .begin("alice")
        .fails("SELECT tenancy.reserve('tokens', 95, idempotency_key => 'r2')")
        .code("53400");
    let mut alice = world.begin("alice");
    alice.run(
        "SAVEPOINT s; SELECT tenancy.reserve('tokens', 1, idempotency_key => 'r2'); ROLLBACK TO s",
    );
    reserve(&mut alice, "'tokens', 2, idempotency_key => 'r2'");
    alice.run("COMMIT");
    agrees(&world, "10 0 2");
    for bad in ["", &"x".repeat(501)] {
        world
            .begin("alice")
            .fails(&format!(
                "SELECT tenancy.reserve('tokens', 1, idempotency_key => '{bad}')"
            ))
            .code("22023");
    }
}

#[test]
fn many_at_once_with_one_key_reserve_once() {
    let world = world();
    let ids: Vec<String> = thread::scope(|scope| {
        let each = (0..6).map(|n| {
            let world = &world;
            scope.spawn(move || {
                let mut alice = world.begin("alice");
                let id = reserve(&mut alice, "'tokens', 60, idempotency_key => 'one'");
                thread::sleep(Duration::from_millis(20));
                let kept = n % 3 != 0;
                alice.run(if kept { "COMMIT" } else { "ROLLBACK" });
                kept.then_some(id)
            })
        });
        let each: Vec<_> = each.collect();
        each.into_iter()
            .filter_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    agrees(&world, "0 0 60");
}

#[test]
fn it_grows_as_far_as_there_is_room() {
    let world = world();
    let mut alice = world.begin("alice");
    let id = reserve(
        &mut alice,
        "'tokens', 10, attributes => '{\"model\": \"small\"}'",
    );
    alice.run("COMMIT");
    let cost = |world: &World| {
        let mut admin = world.db.admin();
        admin.text(&format!(
            "SELECT concat_ws(' ', quantity, cost) FROM tenancy.reservations WHERE id = '{id}'"
        ))
    };
    assert_eq!(cost(&world), "10 5");
    let grow = |quantity: &str| format!("SELECT tenancy.extend('{id}', quantity => {quantity})");
    // Rolled back, to a savepoint and as a whole.
    world.begin("alice").run(&format!(
        "SAVEPOINT s; {}; ROLLBACK TO s; COMMIT",
        grow("90")
    ));
    world
        .begin("alice")
        .run(&format!("{}; ROLLBACK", grow("90")));
    agrees(&world, "0 0 10");
    // Twice is once: the quantity is the total.
    for _ in 0..2 {
        world.begin("alice").run(&format!(
            "SELECT tenancy.extend('{id}', quantity => 40, attributes => '{{\"model\": \"small\"}}'); COMMIT"
        ));
        agrees(&world, "0 0 40");
        assert_eq!(cost(&world), "40 20");
    }
    // Without attributes those of the reservation count; without the dimension, the highest price.
    world.begin("alice").run(&format!("{}; COMMIT", grow("45")));
    assert_eq!(cost(&world), "45 22.5");
    world.begin("alice").run(&format!(
        "SELECT tenancy.extend('{id}', quantity => 50, attributes => '{{}}'); COMMIT"
    ));
    assert_eq!(cost(&world), "50 100");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 45); COMMIT");
    world.begin("alice").fails(&grow("56")).code("53400");
    world.begin("alice").fails(&grow("49")).code("22023");
    world.begin("alice").fails(&grow("'NaN'")).code("22023");
    world
        .begin("alice")
        .fails(&format!("SELECT tenancy.extend('{id}', cost => 5)"))
        .code("22023");
    agrees(&world, "45 0 50");
    world.begin("alice").run(&format!("{}; COMMIT", grow("55")));
    agrees(&world, "45 0 55");
    world
        .begin("alice")
        .run(&format!("SELECT tenancy.settle('{id}', 20); COMMIT"));
    agrees(&world, "65 0 0");
    world.begin("alice").fails(&grow("60")).code("55000");
    // In the transaction that made it, and cancelled there.
    let mut alice = world.begin("alice");
    let id = reserve(&mut alice, "'tokens', 1");
    alice.run(&format!(
        "SELECT tenancy.extend('{id}', quantity => 30), tenancy.cancel('{id}'); COMMIT"
    ));
    agrees(&world, "65 0 0");
    // One event is one call, however often it is extended.
    let mut alice = world.begin("alice");
    let id = reserve(&mut alice, "'calls', 1");
    alice.run(&format!(
        "SELECT tenancy.extend('{id}', quantity => 30); COMMIT"
    ));
    let calls = format!("SELECT quantity::text FROM tenancy.reservations WHERE id = '{id}'");
    assert_eq!(world.db.admin().text(&calls), "1");
}

#[test]
fn it_lasts_longer_and_at_most_seven_days() {
    let world = world();
    let mut alice = world.begin("alice");
    let id = reserve(&mut alice, "'tokens', 10, '1 hour'");
    alice.run("COMMIT");
    let mut admin = world.db.admin();
    let mut left = |least: &str, most: &str| {
        let sql = format!(
            "SELECT (expires_at - now() BETWEEN interval '{least}' AND interval '{most}')::text FROM tenancy.reservations WHERE id = '{id}'"
        );
        assert_eq!(admin.text(&sql), "true", "{least} {most}");
    };
    let extend = |ttl: &str| format!("SELECT tenancy.extend('{id}', {ttl})");
    left("59 minutes", "1 hour");
    world
        .begin("alice")
        .run(&format!("{}; COMMIT", extend("'1 minute'")));
    left("59 minutes", "1 hour");
    for _ in 0..2 {
        world
            .begin("alice")
            .run(&format!("{}; COMMIT", extend("'7 days'")));
    }
    left("6 days 23:59", "7 days");
    for bad in ["'8 days'", "'0'", "'-1 day'", "'1 month'"] {
        world.begin("alice").fails(&extend(bad)).code("22023");
    }
    world
        .begin("alice")
        .fails("SELECT tenancy.extend(NULL)")
        .code("22023");
    // As cancel().
    for user in ["bob", "eve", "boss"] {
        world.begin(user).fails(&extend("'1 hour'")).code("42704");
    }
    world
        .db
        .gateway()
        .run(&extend("'6 days'"))
        .run(&format!("SELECT tenancy.cancel('{id}')"))
        .fails(&extend("'6 days'"))
        .code("55000");
}

#[test]
fn an_extended_one_is_not_expired_and_what_expires_frees_all_of_it() {
    let world = world();
    let mut alice = world.begin("alice");
    let short = reserve(&mut alice, "'tokens', 10, '1 second'");
    let long = reserve(&mut alice, "'tokens', 10, '1 second'");
    alice.run(&format!(
        "SELECT tenancy.extend('{long}', '1 hour'), tenancy.extend('{short}', quantity => 40); COMMIT"
    ));
    thread::sleep(Duration::from_millis(1100));
    // Needs the room of the overdue one.
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 85); COMMIT");
    agrees(&world, "85 0 10");
}

#[test]
fn whatever_happens_at_once_the_budget_is_never_over() {
    let world = world();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let world = &world;
            scope.spawn(move || {
                let mut dice = Dice(seed);
                let mut session = world.db.app();
                let mut own: Vec<String> = Vec::new();
                for n in 0..60 {
                    session.begin(world.key("alice"));
                    let sql = match (dice.roll(4), own.last()) {
                        (0 | 1, Some(id)) => format!(
                            "SELECT tenancy.extend('{id}', '1 hour', {})::text",
                            dice.roll(50)
                        ),
                        (2, Some(id)) if dice.roll(2) == 0 => {
                            let sql = format!("SELECT tenancy.cancel('{id}')::text");
                            own.pop();
                            sql
                        }
                        _ => format!(
                            "SELECT tenancy.reserve('tokens', {}, idempotency_key => 's{seed}n{n}')::text",
                            1 + dice.roll(30)
                        ),
                    };
                    let keeps = dice.roll(4) > 0;
                    let made = session.try_run("SAVEPOINT s").is_ok()
                        && session.try_run(&sql).is_ok();
                    session.run(match (made, keeps) {
                        (true, true) => "COMMIT",
                        _ => "ROLLBACK",
                    });
                    if made && keeps && sql.contains("reserve") {
                        session.begin(world.key("alice"));
                        own.push(session.text(&sql));
                        session.run("COMMIT");
                    }
                }
            });
        }
        let mut admin = world.db.admin();
        for _ in 0..40 {
            let over = admin.number("SELECT count(*) FROM tenancy.ledger WHERE level = 'tenant' AND metric = 'tokens' AND used + in_flight + reserved > 100");
            assert_eq!(over, 0);
            thread::sleep(Duration::from_millis(25));
        }
    });
    let mut admin = world.db.admin();
    let open = admin.text(
        "SELECT coalesce(sum(quantity), 0)::text FROM tenancy.reservations WHERE state = 'open'",
    );
    assert!(open.parse::<i64>().unwrap() <= 100, "{open}");
    agrees(&world, &format!("0 0 {open}"));
}
