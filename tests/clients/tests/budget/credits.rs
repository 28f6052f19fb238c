//! Credits on top of budgets: drawn in order, to the last unit and no further.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use tenancy_client_tests::metering::{Dice, end, units};
use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Session, World};

/// Selects entries of the ledger about credits that differ from the rows.
const WRONG: &str = "SELECT e.metric_id, e.scope_id, e.period_start, e.used, e.reserved, e.in_flight, s.used, s.reserved
    FROM tenancy_internal.ledger_entries() e, LATERAL (
        SELECT coalesce(sum(d.quantity) FILTER (WHERE d.reservation IS NULL), 0) / 1000000.0,
               coalesce(sum(d.quantity) FILTER (WHERE d.reservation IS NOT NULL), 0) / 1000000.0
          FROM tenancy_internal.credit_draws d JOIN tenancy_internal.credit_grants g ON g.id = d.credit_id
         WHERE (e.metric_id = -2 AND g.id = e.scope_id OR e.metric_id = -1 AND g.budget_id = e.scope_id)
           AND d.at >= e.period_start AND (e.period_end IS NULL OR d.at < e.period_end)) s (used, reserved)
    WHERE e.metric_id IN (-1, -2) AND (NOT e.loaded OR e.used <> s.used OR e.reserved <> s.reserved OR e.in_flight <> 0)
    UNION ALL
    SELECT 0, g.id, NULL, sum(d.quantity), NULL, NULL, g.amount, NULL
      FROM tenancy_internal.credit_grants g JOIN tenancy_internal.credit_draws d ON d.credit_id = g.id GROUP BY g.id HAVING sum(d.quantity) > g.amount";

fn world_in(db: Db) -> World {
    let world = World::bare_in(db);
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5);
         SELECT tenancy.set_budget('acme', 'tokens', 10, 'day')",
    );
    world
}

fn world() -> World {
    world_in(Db::new())
}

/// Grants on acme's tokens, by default a day's; returns the id.
fn grant(world: &World, amount: i64, more: &str) -> String {
    let period = if more.contains("period") {
        ""
    } else {
        ", period => 'day'"
    };
    let more = if more.is_empty() {
        String::new()
    } else {
        format!(", {more}")
    };
    world.db.owner().text(&format!(
        "SELECT tenancy.grant_credit('acme', 'tokens', {amount}{period}{more})"
    ))
}

/// Consumes this quantity as alice.
#[track_caller]
fn consume(world: &World, quantity: &str) {
    world.begin("alice").run(&format!(
        "SELECT tenancy.consume('tokens', {quantity}); COMMIT"
    ));
}

#[track_caller]
fn refused(world: &World, quantity: &str) {
    let mut alice = world.begin("alice");
    let fits = format!(
        "SELECT tenancy.fits('tokens', {quantity}) OR (SELECT allowed FROM tenancy.check_budget('tokens', {quantity}))"
    );
    assert_eq!(alice.text(&fits), "f");
    alice
        .fails(&format!("SELECT tenancy.consume('tokens', {quantity})"))
        .code("53400");
}

/// Asserts that this quantity is admitted, and that the smallest larger one is refused.
#[track_caller]
fn has(world: &World, left: i64) {
    let mut alice = world.begin("alice");
    let check = format!(
        "SELECT remaining::text || ' ' || allowed || ' ' || tenancy.fits('tokens', {left}) FROM tenancy.check_budget('tokens', {left})"
    );
    assert_eq!(alice.text(&check), format!("{left} true true"));
    alice.run(&format!("SELECT tenancy.consume('tokens', {left})"));
    drop(alice);
    refused(world, &format!("{left}.000001"));
}

/// note: used, reserved, remaining; by note.
fn credits(world: &World) -> String {
    world.db.admin().text(
        "SELECT string_agg(concat(note, ': ', concat_ws(' ', used, reserved, remaining)), ', ' ORDER BY note) FROM tenancy.credits",
    )
}

/// Asserts the sums in rows and in the ledger.
#[track_caller]
fn agrees(world: &World, expected: &str) {
    assert_eq!(credits(world), expected);
    assert_eq!(world.db.admin().texts(WRONG), Vec::<String>::new());
}

/// Makes the ledger read every entry again.
fn forget(world: &World) {
    world
        .db
        .admin()
        .run("SELECT tenancy_internal.forget_ledger()");
}

#[test]
fn in_their_order_and_after_the_budget() {
    let world = world();
    grant(&world, 5, "note => 'd never'");
    grant(
        &world,
        3,
        "note => 'c tomorrow', expires_at => now() + interval '1 day'",
    );
    grant(
        &world,
        2,
        "note => 'b soon', expires_at => now() + interval '1 hour'",
    );
    grant(&world, 1, "note => 'a first', priority => 10");
    grant(
        &world,
        100,
        "note => 'e later', priority => 0, effective_at => now() + interval '1 hour'",
    );
    has(&world, 21);
    consume(&world, "9");
    agrees(
        &world,
        "a first: 0 0 1, b soon: 0 0 2, c tomorrow: 0 0 3, d never: 0 0 5, e later: 0 0 100",
    );
    let mut alice = world.begin("alice");
    alice.run(
        "SELECT tenancy.consume('tokens', 3); SAVEPOINT s; SELECT tenancy.consume('tokens', 4)",
    );
    assert_eq!(
        alice.text("SELECT concat_ws(' ', amount, used, in_flight, remaining, credits) FROM tenancy.check_budget('tokens')"),
        "10 9 7 5 5"
    );
    alice.run("ROLLBACK TO s; COMMIT");
    agrees(
        &world,
        "a first: 1 0 0, b soon: 1 0 1, c tomorrow: 0 0 3, d never: 0 0 5, e later: 0 0 100",
    );
    consume(&world, "5.5");
    agrees(
        &world,
        "a first: 1 0 0, b soon: 2 0 0, c tomorrow: 3 0 0, d never: 1.5 0 3.5, e later: 0 0 100",
    );
    forget(&world);
    consume(&world, "0.5");
    let refusal = world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 4)");
    assert!(
        refusal.detail.as_deref().unwrap().starts_with(
            "Asked for 4; of 10 (day) and 11 in credits, 18 are used, 0 in flight and 3 left."
        ),
        "{refusal:?}"
    );
    consume(&world, "3");
    // What is used up is closed; what it covered stays covered, also when the budget is raised.
    world
        .db
        .admin()
        .run("SELECT tenancy_internal.tidy_credits()");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy.credits WHERE closed_at IS NOT NULL"),
        4
    );
    refused(&world, "0.000001");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 12, 'day')");
    has(&world, 2);
    // The view ledger shows no entries of credits.
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy.ledger"),
        1
    );
    // Credits of several budgets at once, one of them of cost: each has its own.
    world.db.owner().run(
        "SELECT tenancy.set_budget('globex', NULL, 11, 'month'), tenancy.grant_credit('globex', NULL, 1, note => 'f cost');
         SELECT tenancy.set_budget('acme/alice', 'tokens', 21, 'total'), tenancy.grant_credit('acme/alice', 'tokens', 2, 'total', note => 'g own')",
    );
    has(&world, 2);
    consume(&world, "2");
    agrees(
        &world,
        "a first: 1 0 0, b soon: 2 0 0, c tomorrow: 3 0 0, d never: 5 0 0, e later: 0 0 100, f cost: 0.5 0 0.5, g own: 2 0 0",
    );
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 100, 'day')");
    refused(&world, "0.000001");
}

#[test]
fn a_soft_budget_and_what_has_happened_draw_what_there_is() {
    let world = world();
    grant(&world, 4, "note => 'a'");
    let alice = world.id("alice");
    for (quantity, expected) in [(12, "a: 2 0 2"), (1, "a: 3 0 1"), (5, "a: 4 0 0")] {
        world.db.gateway().run(&format!(
            "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id) VALUES ('tokens', {quantity}, '{alice}')"
        ));
        agrees(&world, expected);
    }
    // The usage exceeds the budget and all credits by four. Raised by five, one is left.
    refused(&world, "0.000001");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 15, 'day')");
    has(&world, 1);
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 15, 'day', hard => false)");
    grant(&world, 2, "note => 'b'");
    consume(&world, "2");
    agrees(&world, "a: 4 0 0, b: 1 0 1");
    consume(&world, "20");
    agrees(&world, "a: 4 0 0, b: 2 0 0");
    // A batch.
    grant(&world, 1000, "note => 'c'");
    world.db.gateway().run(&format!(
        "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id) SELECT 'tokens', 0.5, '{alice}' FROM generate_series(1, 1000)"
    ));
    let mut admin = world.db.admin();
    assert_eq!(
        admin.text("SELECT used::text FROM tenancy.credits WHERE note = 'c'"),
        // The usage exceeded budget and credits by 20 before.
        "500"
    );
    assert_eq!(admin.texts(WRONG), Vec::<String>::new());
}

/// Returns when the current hour began. Waits if it ends within a minute.
fn turn(world: &World) -> String {
    let mut admin = world.db.admin();
    while admin.number("SELECT extract(minute FROM clock_timestamp())::bigint") == 59 {
        std::thread::sleep(Duration::from_secs(1));
    }
    admin.text("SELECT date_trunc('hour', now())")
}

#[test]
fn the_rest_rolls_over() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 10, 'hour'), tenancy.remove_budget('acme', 'tokens', 'day')");
    let turn = turn(&world);
    let credit = |amount, note: &str, more: &str| {
        let since = format!("timestamptz '{turn}' - interval '30 minutes'");
        let more = format!("period => 'hour', note => '{note}', effective_at => {since}{more}");
        grant(&world, amount, &more)
    };
    credit(9, "a capped", ", rollover => 4, priority => 1");
    credit(2, "b none", ", rollover => 0, priority => 2");
    credit(3, "c all", ", priority => 3");
    credit(8, "d all of it", ", rollover => 8, priority => 4");
    let late = |minutes: i64, quantity: i64| {
        world.begin("alice").run(&format!(
            "SELECT tenancy.record_usage('tokens', {quantity}, at => timestamptz '{turn}' - interval '{minutes} minutes'); COMMIT"
        ));
    };
    // Now: 10, and 4, 0, 3 and 8.
    has(&world, 25);
    // Before it was effective there was no credit.
    late(31, 11);
    agrees(
        &world,
        "a capped: 0 0 4, b none: 0 0 0, c all: 0 0 3, d all of it: 0 0 8",
    );
    // Those stay; from here on everything is drawn.
    late(30, 3);
    agrees(
        &world,
        "a capped: 3 0 4, b none: 0 0 0, c all: 0 0 3, d all of it: 0 0 8",
    );
    has(&world, 25);
    consume(&world, "12");
    agrees(
        &world,
        "a capped: 5 0 2, b none: 0 0 0, c all: 0 0 3, d all of it: 0 0 8",
    );
    forget(&world);
    // For the last hour, 4 of the first are left, all of the second, and the others.
    late(20, 5);
    agrees(
        &world,
        "a capped: 9 0 0, b none: 1 0 0, c all: 0 0 3, d all of it: 0 0 8",
    );
    has(&world, 11);
    late(1, 3);
    agrees(
        &world,
        "a capped: 9 0 0, b none: 2 0 0, c all: 2 0 1, d all of it: 0 0 8",
    );
    has(&world, 9);
    consume(&world, "9");
    refused(&world, "0.000001");
    agrees(
        &world,
        "a capped: 9 0 0, b none: 2 0 0, c all: 3 0 0, d all of it: 8 0 0",
    );
    forget(&world);
    refused(&world, "0.000001");
    // A cap that is used up leaves nothing to keep the credit for, once nothing comes late.
    credit(9, "e capped", ", rollover => 1");
    consume(&world, "1");
    let mut admin = world.db.admin();
    let open = "SELECT count(*) FROM tenancy.credits WHERE note = 'e capped' AND closed_at IS NULL";
    admin.run("SELECT tenancy_internal.tidy_credits()");
    assert_eq!(admin.number(open), 1);
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_budget('acme', 'tokens', 'hour')");
    assert_eq!(admin.number(open), 0);
}

#[test]
fn what_a_reservation_holds_of_the_last_period_is_not_of_this_one() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.set_budget('acme', 'tokens', 100, 'day'), tenancy.set_budget('acme', 'tokens', 0, 'hour')",
    );
    let turn = turn(&world);
    grant(
        &world,
        10,
        &format!(
            "period => 'hour', note => 'a', rollover => 5, effective_at => timestamptz '{turn}' - interval '30 minutes'"
        ),
    );
    let id = reserve(&world, "5", "1 hour");
    refused(&world, "0.000001");
    // As if it had been drawn before the hour ended: all of the other 5 roll over.
    world.db.admin().run(&format!(
        "UPDATE tenancy_internal.credit_draws SET at = timestamptz '{turn}' - interval '1 minute';
         UPDATE tenancy_internal.budget_reservations SET reserved_at = timestamptz '{turn}' - interval '1 minute'"
    ));
    forget(&world);
    agrees(&world, "a: 0 5 5");
    has(&world, 5);
    consume(&world, "4");
    has(&world, 1);
    // The amount that it returns does not roll over.
    world
        .begin("alice")
        .run(&format!("SELECT tenancy.settle('{id}', 2); COMMIT"));
    agrees(&world, "a: 6 0 1");
    has(&world, 1);
}

#[test]
fn an_expired_credit_covers_only_earlier_usage() {
    let world = world();
    grant(
        &world,
        5,
        "note => 'a', expires_at => clock_timestamp() + interval '4 seconds'",
    );
    has(&world, 15);
    consume(&world, "11");
    agrees(&world, "a: 1 0 4");
    let before = world.db.admin().text("SELECT clock_timestamp()");
    std::thread::sleep(Duration::from_secs(4));
    refused(&world, "0.000001");
    agrees(&world, "a: 1 0 0");
    world.begin("alice").run(&format!(
        "SELECT tenancy.record_usage('tokens', 2, at => '{before}'); COMMIT"
    ));
    agrees(&world, "a: 3 0 0");
    grant(&world, 3, "note => 'b'");
    has(&world, 3);
    // Long after that, the ledger does not read it.
    let mut admin = world.db.admin();
    admin.run("UPDATE tenancy_internal.credit_grants SET expires_at = now() - interval '40 days' WHERE note = 'a'; SELECT tenancy_internal.tidy_credits()");
    let closed = "SELECT string_agg(note, ' ') FROM tenancy.credits WHERE closed_at IS NOT NULL";
    assert_eq!(
        admin
            .query_one(closed, &[])
            .unwrap()
            .get::<_, Option<String>>(0),
        None
    );
    admin.run("UPDATE tenancy_internal.credit_grants SET expires_at = now() - interval '44 days' WHERE note = 'a'; SELECT tenancy_internal.tidy_credits()");
    assert_eq!(admin.text(closed), "a");
}

fn reserve(world: &World, quantity: &str, ttl: &str) -> String {
    let mut alice = world.begin("alice");
    let id = alice.text(&format!(
        "SELECT tenancy.reserve('tokens', {quantity}, '{ttl}')"
    ));
    alice.run("COMMIT");
    id
}

#[test]
fn reservations_draw_and_give_back() {
    let world = world();
    grant(&world, 3, "note => 'a', priority => 1");
    grant(&world, 5, "note => 'b'");
    let end = |call: &str| {
        world
            .begin("alice")
            .run(&format!("SELECT tenancy.{call}; COMMIT"));
    };
    let id = reserve(&world, "15", "1 hour");
    agrees(&world, "a: 0 3 0, b: 0 2 3");
    has(&world, 3);
    forget(&world);
    has(&world, 3);
    // Settled for less: the last drawn units return first. After a rollback none do.
    let less = format!("settle('{id}', 12)");
    world
        .begin("alice")
        .run(&format!("SELECT tenancy.{less}"))
        .run("ROLLBACK");
    let mut alice = world.begin("alice");
    alice.run(&format!(
        "SAVEPOINT s; SELECT tenancy.{less}; ROLLBACK TO s"
    ));
    // Nothing is free before the commit; read again in the middle of it, it is the same.
    alice.run(&format!("SELECT tenancy.{less}"));
    forget(&world);
    alice
        .fails("SELECT tenancy.consume('tokens', 3.000001)")
        .code("53400");
    drop(alice);
    agrees(&world, "a: 0 3 0, b: 0 2 3");
    end(&less);
    agrees(&world, "a: 2 0 1, b: 0 0 5");
    has(&world, 6);
    // More than was reserved draws more.
    let id = reserve(&world, "1", "1 hour");
    end(&format!("settle('{id}', 3)"));
    agrees(&world, "a: 3 0 0, b: 2 0 3");
    // And usage beyond the budget is recorded too.
    let id = reserve(&world, "1", "1 hour");
    agrees(&world, "a: 3 0 0, b: 2 1 2");
    end(&format!("settle('{id}', 5)"));
    agrees(&world, "a: 3 0 0, b: 5 0 0");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy.reservations WHERE overrun"),
        1
    );
    refused(&world, "0.000001");
    // A cancellation returns everything to the credits, also in one transaction.
    grant(&world, 4, "note => 'c'");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 12, 'day')");
    has(&world, 4);
    let id = reserve(&world, "3", "1 hour");
    agrees(&world, "a: 3 0 0, b: 5 0 0, c: 0 3 1");
    end(&format!("cancel('{id}')"));
    agrees(&world, "a: 3 0 0, b: 5 0 0, c: 0 0 4");
    let mut alice = world.begin("alice");
    let id = alice.text("SELECT tenancy.reserve('tokens', 4)");
    forget(&world);
    alice
        .run(&format!(
            "SAVEPOINT s; SELECT tenancy.cancel('{id}'); ROLLBACK TO s"
        ))
        .run("SAVEPOINT s")
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400");
    alice.run(&format!(
        "ROLLBACK TO s; SELECT tenancy.settle('{id}', 1); COMMIT"
    ));
    agrees(&world, "a: 3 0 0, b: 5 0 0, c: 1 0 3");
    // An expired credit is not drawn.
    let id = reserve(&world, "3", "1 second");
    agrees(&world, "a: 3 0 0, b: 5 0 0, c: 1 3 0");
    std::thread::sleep(Duration::from_millis(1100));
    consume(&world, "2");
    agrees(&world, "a: 3 0 0, b: 5 0 0, c: 3 0 1");
    // Settled after that, it is drawn again.
    end(&format!("settle('{id}', 1)"));
    agrees(&world, "a: 3 0 0, b: 5 0 0, c: 4 0 0");
    assert_eq!(
        world.db.admin().number(
            "SELECT count(*) FROM tenancy_internal.credit_draws WHERE reservation IS NOT NULL"
        ),
        0
    );
    // Of cost and of a metric at once, where one is more than reserved and the other less.
    world.db.owner().run(
        "SELECT tenancy.set_budget('acme', 'tokens', 100, 'day'), tenancy.set_budget('globex', NULL, 0, 'total'),
                tenancy.grant_credit('globex', NULL, 20, 'total', note => 'd cost')",
    );
    let id = reserve(&world, "10", "1 hour");
    let cost = "SELECT concat_ws(' ', used, reserved, remaining) FROM tenancy.credits WHERE note = 'd cost'";
    assert_eq!(world.db.admin().text(cost), "0 5 15");
    end(&format!("settle('{id}', 12, cost => 2)"));
    assert_eq!(world.db.admin().text(cost), "2 0 18");
    assert_eq!(world.db.admin().texts(WRONG), Vec::<String>::new());
}

#[test]
fn draws_become_few_rows_and_add_up_to_the_same() {
    let world = world();
    world.db.owner().run("SELECT tenancy.set_budget('acme', 'tokens', 0, 'total'), tenancy.set_budget('acme', 'tokens', 0, 'hour')");
    grant(
        &world,
        100,
        "period => 'total', note => 'a', effective_at => now() - interval '5 hours'",
    );
    grant(
        &world,
        100,
        "period => 'hour', note => 'b', rollover => 70, effective_at => now() - interval '5 hours'",
    );
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 1000, 'day')");
    let record = "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at) SELECT 'tokens', 1, $1, now() - interval '4 hours' + n * interval '1 minute' FROM generate_series(1, 60) n";
    let mut gateway = world.db.gateway();
    gateway.execute(record, &[&world.id("alice")]).unwrap();
    consume(&world, "3");
    agrees(&world, "a: 63 0 37, b: 63 0 7");
    let mut admin = world.db.admin();
    let rows = "SELECT count(*) FROM tenancy_internal.credit_draws";
    assert_eq!(admin.number(rows), 122);
    for _ in 0..2 {
        admin.run("SELECT tenancy_internal.tidy_credits()");
        // Five quarters, unless they began with the first minute, and the new one.
        assert!(admin.number(rows) <= 12);
        agrees(&world, "a: 63 0 37, b: 63 0 7");
        forget(&world);
        has(&world, 7);
    }
    // Late, into a quarter that has its row.
    gateway.execute(record, &[&world.id("alice")]).unwrap();
    agrees(&world, "a: 100 0 0, b: 70 0 0");
    admin.run("SELECT tenancy_internal.tidy_credits()");
    assert!(admin.number(rows) <= 12);
    agrees(&world, "a: 100 0 0, b: 70 0 0");
    forget(&world);
    refused(&world, "0.000001");
}

#[test]
fn only_permitted_callers_grant_and_revoke_credits() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.assign('acme/alice', 'tenant_admin', 'acme')");
    let give = "SELECT tenancy.grant_credit('acme', 'tokens', 5, 'day', note => 'mine')";
    let commit = |user: &str, sql: &str| {
        world.begin(user).run(sql).run("COMMIT");
    };
    // The budget is imposed from above: the tenant cannot grant itself more.
    world.begin("alice").fails(give).code("42704");
    commit(
        "ops",
        "SELECT tenancy.grant_credit('acme', 'tokens', 3, 'day', note => 'imposed')",
    );
    has(&world, 13);
    commit(
        "alice",
        "SELECT tenancy.set_budget('acme', 'tokens', 8, 'day')",
    );
    has(&world, 8);
    // She may grant on her own budget.
    commit("alice", give);
    has(&world, 13);
    consume(&world, "12");
    agrees(&world, "imposed: 2 0 1, mine: 4 0 1");
    let id = |note: &str| {
        world.db.admin().text(&format!(
            "SELECT id FROM tenancy.credits WHERE note = '{note}'"
        ))
    };
    let (imposed, mine) = (id("imposed"), id("mine"));
    // A credit that she may not revoke gets the same answer as one that does not exist.
    let unknown = world.db.admin().text("SELECT tenancy.new_id()");
    for (user, id) in [
        ("alice", &imposed),
        ("alice", &unknown),
        ("bob", &mine),
        ("boss", &imposed),
        ("eve", &unknown),
    ] {
        world
            .begin(user)
            .fails(&format!("SELECT tenancy.revoke_credit('{id}')"))
            .code("42704")
            .says(&format!("credit {id} does not exist"));
    }
    for user in ["bob", "eve", "boss"] {
        world.begin(user).fails(give).code("42704");
        assert_eq!(
            world
                .begin(user)
                .number("SELECT count(*) FROM tenancy.credits"),
            0
        );
    }
    assert_eq!(
        world
            .begin("ops")
            .number("SELECT count(*) FROM tenancy.credits"),
        2
    );
    assert_eq!(
        world
            .begin("alice")
            .number("SELECT count(*) FROM tenancy.credits"),
        2
    );
    for closed in [
        "SELECT * FROM tenancy_internal.credit_grants",
        "SELECT * FROM tenancy_internal.credit_draws",
        "INSERT INTO tenancy_internal.credit_draws DEFAULT VALUES",
        "SELECT tenancy_internal.grant_credit('acme', 'tokens', 5, 'day', 50, NULL, NULL, NULL, NULL)",
        "SELECT tenancy_internal.tidy_credits()",
    ] {
        world.begin("alice").fails(closed).code("42501");
    }
    let by_id = give.replace("acme", &world.id("acme").to_string());
    world.db.app().fails(&by_id).code("55000");
    world
        .db
        .app()
        .fails(&format!("SELECT tenancy.revoke_credit('{mine}')"))
        .code("55000");
    // A budget stays while its credits have something left.
    let remove = "SELECT tenancy.remove_budget('acme', 'tokens', 'day')";
    world.begin("alice").fails(remove).code("2BP01");
    // Revoked: nothing is left and drawn units stay drawn; a second call is no error.
    for _ in 0..2 {
        commit("alice", &format!("SELECT tenancy.revoke_credit('{mine}')"));
    }
    agrees(&world, "imposed: 2 0 1, mine: 4 0 0");
    refused(&world, "0.000001");
    commit("alice", remove);
    has(&world, 1);
    commit("ops", &format!("SELECT tenancy.revoke_credit('{imposed}')"));
    refused(&world, "0.000001");
    // A used-up credit does not block the removal.
    commit(
        "ops",
        "SELECT tenancy.grant_credit('acme', 'tokens', 2, 'day', note => 'used up')",
    );
    consume(&world, "2");
    commit("ops", remove);
    let mut admin = world.db.admin();
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.credit_draws"),
        0
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.credit_grants"),
        0
    );
    assert_eq!(
        admin.text("SELECT string_agg(replace(action, 'tenancy.', ''), ' ' ORDER BY id) FROM tenancy.audit_log WHERE action LIKE 'tenancy.credit.%'"),
        "credit.granted credit.granted credit.revoked credit.revoked credit.revoked credit.granted"
    );
}

#[test]
fn what_cannot_be_granted() {
    let world = world();
    for bad in [
        "NULL",
        "0",
        "-1",
        "'NaN'",
        "'Infinity'",
        "0.0000001",
        "9223372036854.775808",
        "1, 'fortnight'",
        "1, NULL",
        "1, 'day', -1",
        "1, 'day', 101",
        "1, 'day', NULL",
        "1, 'day', expires_at => now()",
        "1, 'day', expires_at => 'infinity'",
        "1, 'day', expires_at => now() + interval '1 hour', effective_at => now() + interval '2 hours'",
        "1, 'day', effective_at => '-infinity'",
        "1, 'day', effective_at => 'infinity'",
        "1, 'day', rollover => -1",
        "1, 'day', rollover => 1.000001",
        "1, 'day', rollover => 'NaN'",
        "1, 'day', rollover => 0.0000001",
        "1, 'total', rollover => 1",
        "1, 'day', note => repeat('x', 501)",
    ] {
        world
            .db
            .owner()
            .fails(&format!(
                "SELECT tenancy.grant_credit('acme', 'tokens', {bad})"
            ))
            .code("22023");
    }
    for (sql, code) in [
        ("grant_credit('acme', 'tokens', 1)", "42704"),
        ("grant_credit('acme', NULL, 1, 'day')", "42704"),
        ("grant_credit('acme', 'nothing', 1, 'day')", "42704"),
        ("grant_credit('nobody', 'tokens', 1, 'day')", "42704"),
        ("grant_credit(NULL, 'tokens', 1, 'day')", "22023"),
        ("revoke_credit(NULL)", "22023"),
        ("revoke_credit(gen_random_uuid())", "42704"),
    ] {
        world
            .db
            .owner()
            .fails(&format!("SELECT tenancy.{sql}"))
            .code(code);
    }
    // At most a hundred have something left; used-up ones do not count.
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.grant_credit('acme', 'tokens', 1, 'day') FROM generate_series(1, 100)",
    );
    let one = "SELECT tenancy.grant_credit('acme', 'tokens', 1, 'day')";
    owner.fails(one).code("54000").hints("revoke_credit");
    has(&world, 110);
    consume(&world, "12");
    owner.run(&format!("{one}; {one}"));
    owner.fails(one).code("54000");
    has(&world, 100);
    // The largest amounts do not overflow.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 9223372036854.775807, 'total')");
    owner.run("SELECT tenancy.grant_credit('acme', 'tokens', 9223372036854.775807, 'total') FROM generate_series(1, 3)");
    assert_eq!(
        world
            .begin("alice")
            .text("SELECT credits::text FROM tenancy.check_budget('tokens', 1)"),
        "100"
    );
    // Dropping a scope deletes its credits.
    let mut admin = world.db.admin();
    admin.run("DELETE FROM tenancy_internal.budget_definitions");
    assert_eq!(
        admin.number("SELECT (SELECT count(*) FROM tenancy_internal.credit_grants) + (SELECT count(*) FROM tenancy_internal.credit_draws)"),
        0
    );
}

/// Consumes, reserves and settles other sessions' reservations, for less or more than was reserved (never above what
/// fits), and rolls some of it back. Returns true if everything was refused.
fn work(session: &mut Session, key: &str, dice: &mut Dice) -> bool {
    session.begin(key);
    let (done, refused) = units(session, dice, |dice, quantity| match dice.roll(5) {
        0 => format!("reserve('tokens', {quantity})"),
        1 => format!(
            "settle(tenancy.reserve('tokens', {quantity}), {})",
            dice.roll(quantity + 1)
        ),
        2 => "cancel(tenancy.reserve('tokens', 3))".to_owned(),
        _ => format!("consume('tokens', {quantity})"),
    });
    end(session, dice);
    done == 0 && refused > 0
}

/// Settles every reservation with one unit, and consumes the rest unit by unit.
fn drain(world: &World) {
    let mut admin = world.db.admin();
    for id in admin.texts("SELECT id FROM tenancy.reservations WHERE state = 'open'") {
        world
            .begin("alice")
            .run(&format!("SELECT tenancy.settle('{id}', 1); COMMIT"));
    }
    let mut session = world.db.app();
    while session
        .begin(world.key("alice"))
        .batch_execute("SELECT tenancy.consume('tokens', 1)")
        .is_ok()
    {
        session.run("COMMIT");
    }
}

fn used(world: &World) -> i64 {
    world.db.admin().number(
        "SELECT (coalesce(sum(quantity), 0) / 1000000)::bigint FROM tenancy_internal.usage_events",
    )
}

#[test]
fn a_race_for_a_budget_and_its_credits() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.set_budget('acme', 'tokens', 100, 'day'), tenancy.set_budget('globex', NULL, 60, 'month'),
                tenancy.grant_credit('globex', NULL, 500, 'month')",
    );
    for (amount, more) in [
        (40, "priority => 1"),
        (7, "priority => 2"),
        (30, "priority => 3, expires_at => now() + interval '1 day'"),
    ] {
        grant(&world, amount, more);
    }
    std::thread::scope(|scope| {
        for n in 0..16_u64 {
            let world = &world;
            scope.spawn(move || {
                let (mut session, mut dice) = (world.db.app(), Dice(n));
                let mut refused = 0;
                while refused < 5 {
                    refused = if work(&mut session, world.key("alice"), &mut dice) {
                        refused + 1
                    } else {
                        0
                    };
                }
            });
        }
        // Meanwhile entries are evicted and loaded, and one more credit is granted.
        for n in 0..20 {
            forget(&world);
            world
                .db
                .admin()
                .run("SELECT tenancy_internal.tidy_credits()");
            if n == 10 {
                grant(&world, 23, "");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(world.db.admin().texts(WRONG), Vec::<String>::new());
    drain(&world);
    assert_eq!(used(&world), 200);
    assert_eq!(world.db.admin().texts(WRONG), Vec::<String>::new());
    let sums = "SELECT concat_ws(' ', scope, sum(used), sum(remaining)) FROM tenancy.credits GROUP BY scope ORDER BY scope";
    assert_eq!(
        world.db.admin().texts(sums),
        ["acme 100 0", "globex 40 460"]
    );
    forget(&world);
    refused(&world, "0.000001");
}

#[test]
fn after_a_crash_it_is_what_the_rows_say() {
    let cluster = Cluster::start();
    let world = world_in(Db::on(cluster.config()));
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 20, 'day')");
    grant(&world, 200, "");
    grant(&world, 100_000, "note => 'large'");
    let mut reserved = 0;
    for round in 0..3_u64 {
        reserve(&world, "7", "1 day");
        reserved += 7;
        std::thread::scope(|scope| {
            for n in 0..6_u64 {
                let world = &world;
                scope.spawn(move || {
                    let Ok(mut session) = Session::try_connect(&world.db.config(&world.db.app)) else { return };
                    let mut dice = Dice(round * 100 + n);
                    loop {
                        let sql = format!(
                            "BEGIN; SELECT tenancy.authenticate('{}'); SELECT tenancy.settle(tenancy.reserve('tokens', 3), 2); SELECT tenancy.consume('tokens', {}); COMMIT",
                            world.key("alice"),
                            1 + dice.roll(3)
                        );
                        if session.batch_execute(&sql).is_err() {
                            return;
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(700));
            if round == 1 {
                cluster.kill();
            } else {
                let pid = world.db.admin().number(&format!(
                    "SELECT pid::bigint FROM pg_stat_activity WHERE usename = '{}' LIMIT 1",
                    world.db.app
                ));
                cluster.kill_process(i32::try_from(pid).unwrap());
            }
        });
        drop(wait_for(&world.db.config(&world.db.app), "the database"));
        consume(&world, "1");
        assert_eq!(world.db.admin().texts(WRONG), Vec::<String>::new());
        // All but the budget's own 20 came from credits.
        let drawn = world
            .db
            .admin()
            .text("SELECT trim_scale(sum(used) + sum(reserved))::text FROM tenancy.credits");
        assert_eq!(drawn, (used(&world) + reserved - 20).to_string());
    }
    // The first is used up, and after a restart all sums are the same.
    let before = credits(&world);
    cluster.down();
    cluster.up();
    let left = world
        .db
        .admin()
        .number("SELECT remaining::bigint FROM tenancy.credits WHERE note = 'large'");
    has(&world, left);
    agrees(&world, &before);
}
