//! Alerts of budgets: raised again when what they promise changes, told of refusals, and delivered to whoever asks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::{Session, World};

fn world() -> World {
    world_with("")
}

fn world_with(settings: &str) -> World {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens'), tenancy.define_metric('pings', 'pings');
         SELECT tenancy.set_budget('acme', 'pings', 1000, 'total', hard => false, alert_amounts => '{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}')",
    );
    let name = &world.db.name;
    let mut admin = world.db.admin();
    admin.run(&format!(
        "ALTER DATABASE {name} SET tenancy.usage_rollup_interval = 1"
    ));
    if !settings.is_empty() {
        admin.run(&format!("ALTER DATABASE {name} SET {settings}"));
    }
    // A worker that runs has the settings of its start.
    admin.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()");
    world
}

#[track_caller]
fn expect(session: &mut Session, sql: &str, expected: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let says = session.texts(sql).join(" ");
        if says == expected {
            return;
        }
        assert!(Instant::now() < end, "{says:?} is not {expected:?}: {sql}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the worker has raised alerts once more: those of a metric that nothing else uses.
#[track_caller]
fn one_round(world: &World) {
    let mut admin = world.db.admin();
    let pings = "SELECT count(*)::text FROM tenancy.budget_alerts WHERE metric = 'pings'";
    for _ in 0..2 {
        let before = admin.number(pings);
        world
            .begin("alice")
            .run("SELECT tenancy.record_usage('pings', 1); COMMIT");
        expect(&mut admin, pings, &(before + 1).to_string());
    }
}

const TOKENS: &str = "SELECT concat_ws(':', threshold, reached, amount, used) FROM tenancy.budget_alerts WHERE kind = 'threshold' AND metric = 'tokens' ORDER BY reached";

fn consume(world: &World, quantity: u32) {
    world.begin("alice").run(&format!(
        "SELECT tenancy.consume('tokens', {quantity}); COMMIT"
    ));
}

#[test]
fn another_amount_or_threshold_alerts_again() {
    let world = world();
    let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 100, 'total', alert_at => '{0.8}')");
    consume(&world, 85);
    expect(&mut admin, TOKENS, "0.8:80:100:85");
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 1000, 'total')");
    consume(&world, 700);
    one_round(&world);
    expect(&mut admin, TOKENS, "0.8:80:100:85");
    consume(&world, 65);
    expect(&mut admin, TOKENS, "0.8:80:100:85 0.8:800:1000:850");
    // By amounts, beside parts; and each once.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', NULL, 'total', alert_amounts => '{500, 800.5, 900}')");
    consume(&world, 1);
    expect(
        &mut admin,
        TOKENS,
        "0.8:80:100:85 500:1000:851 0.8:800:1000:850 800.5:1000:851",
    );
    one_round(&world);
    expect(
        &mut admin,
        "SELECT concat_ws(' ', alert_at, alert_amounts) FROM tenancy.budgets WHERE metric = 'tokens'",
        "{0.8} {500,800.5,900}",
    );
    expect(
        &mut admin,
        "SELECT count(*) FROM tenancy.budget_alerts WHERE metric = 'tokens'",
        "4",
    );
    for bad in [
        "'{0}'",
        "'{-1}'",
        "'{NaN}'",
        "'{NULL}'",
        "'{1e13}'",
        "'{1,2,3,4,5,6,7,8,9,10,11}'",
    ] {
        owner
            .fails(&format!(
                "SELECT tenancy.set_budget('acme', 'tokens', 5, 'total', alert_amounts => {bad})"
            ))
            .code("22023");
    }
}

#[test]
fn nothing_used_and_periods_that_are_over_alert_nothing() {
    let world = world();
    let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
    owner.run(
        "SELECT tenancy.set_budget('acme', 'tokens', 0, 'total', hard => false, alert_at => '{0.8}'),
                tenancy.set_budget('globex', 'tokens', 10, 'day', hard => false, alert_at => '{0.5}', alert_amounts => '{7}')",
    );
    // Loads the entries, with nothing in them.
    world
        .begin("alice")
        .run("SELECT tenancy.check_budget('tokens', 1), tenancy.record_usage('tokens', 0); COMMIT");
    one_round(&world);
    expect(&mut admin, TOKENS, "");
    world
        .begin("alice")
        .run("SELECT tenancy.record_usage('tokens', 50, at => now() - interval '3 days'); COMMIT");
    one_round(&world);
    expect(&mut admin, TOKENS, "0.8:0:0:50");
    world
        .begin("alice")
        .run("SELECT tenancy.record_usage('tokens', 6); COMMIT");
    expect(&mut admin, TOKENS, "0.8:0:0:50 0.5:5:10:6");
}

const REFUSED: &str =
    "SELECT coalesce(sum(refusals), 0)::text FROM tenancy.budget_alerts WHERE kind = 'refused'";

#[test]
fn refusals_are_told_at_most_once_an_interval() {
    let world = world();
    let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 100, 'day')");
    consume(&world, 95);
    let mut alice = world.begin("alice");
    // What only asks, and work that has happened, is not refused.
    alice.run("SELECT tenancy.fits('tokens', 50), tenancy.check_budget('tokens', 50); COMMIT");
    let mut session = world.begin("alice");
    let id = session.text("SELECT tenancy.reserve('tokens', 1)");
    session.run(&format!("SELECT tenancy.settle('{id}', 50); COMMIT"));
    one_round(&world);
    expect(&mut admin, REFUSED, "0");
    let refuse = |sql: &str| {
        world.begin("alice").fails(sql).code("53400");
    };
    refuse("SELECT tenancy.consume('tokens', 20)");
    expect(
        &mut admin,
        "SELECT concat_ws(' ', scope, metric, period, amount, refusals, since <= at, since > now() - interval '1 minute') FROM tenancy.budget_alerts WHERE kind = 'refused'",
        "acme tokens day 100 1 t t",
    );
    for _ in 0..3 {
        refuse("SELECT tenancy.reserve('tokens', 20)");
        refuse("SELECT tenancy.consume('tokens', 20)");
    }
    one_round(&world);
    expect(&mut admin, REFUSED, "1");
    // Other budgets have their own alert.
    owner.run("SELECT tenancy.set_budget('umbrella', 'tokens', 1, 'day')");
    world
        .begin("bob")
        .fails("SELECT tenancy.consume('tokens', 2)")
        .code("53400");
    expect(
        &mut admin,
        "SELECT string_agg(scope || refusals, ' ' ORDER BY scope) FROM tenancy.budget_alerts WHERE kind = 'refused'",
        "acme1 umbrella1",
    );
}

#[test]
fn every_refusal_is_told_in_the_end_whatever_is_rolled_back() {
    let world = world_with("tenancy.refusal_alert_interval = 2");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 0, 'day')");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut alice = world.begin("alice");
                for _ in 0..50 {
                    alice.fails_inside("SELECT tenancy.consume('tokens', 1)");
                    alice.run("DO $$ BEGIN PERFORM tenancy.consume('tokens', 2); EXCEPTION WHEN OTHERS THEN NULL; END $$");
                    thread::sleep(Duration::from_millis(20));
                }
                alice.run("ROLLBACK");
            });
        }
    });
    let mut admin = world.db.admin();
    expect(&mut admin, REFUSED, "400");
    expect(
        &mut admin,
        "SELECT count(*) FROM (SELECT at - lag(at) OVER (ORDER BY at) AS apart FROM tenancy.budget_alerts WHERE kind = 'refused') a WHERE apart < interval '2 seconds'",
        "0",
    );
}

/// Reads alerts after a cursor: the ids, and the new cursor.
#[track_caller]
fn since(session: &mut Session, after: &str, most: u64) -> (Vec<String>, String) {
    session.page("alerts_since", after, most)
}

/// A world with open reservations; to settle one for more than fits raises an alert.
struct Tight {
    world: World,
    reservations: HashMap<&'static str, Mutex<Vec<String>>>,
}

impl Tight {
    fn new() -> Self {
        let world = world();
        let (mut owner, mut reservations) = (world.db.owner(), HashMap::new());
        for (user, tenant) in [("alice", "acme"), ("bob", "umbrella"), ("eve", "soylent")] {
            owner.run(&format!(
                "SELECT tenancy.set_budget('{tenant}', 'tokens', 10, 'day')"
            ));
            let mut session = world.begin(user);
            let ids = session
                .texts("SELECT tenancy.reserve('tokens', 0.000001) FROM generate_series(1, 400)");
            session.run("COMMIT");
            reservations.insert(user, Mutex::new(ids));
        }
        Self {
            world,
            reservations,
        }
    }

    /// Settles one in the session's transaction, which stays open. Returns false if none is left.
    fn overrun(&self, session: &mut Session, user: &str) -> bool {
        let Some(id) = self.reservations[user].lock().unwrap().pop() else {
            return false;
        };
        session.run(&format!("SELECT tenancy.settle('{id}', 100)"));
        true
    }
}

#[test]
fn an_alert_that_commits_late_is_not_missed_and_delays_no_other() {
    let tight = Tight::new();
    let world = &tight.world;
    let mut owner = world.db.owner();
    assert!(since(&mut owner, "", 10).0.is_empty());
    let mut late = world.begin("alice");
    tight.overrun(&mut late, "alice");
    let mut bob = world.begin("bob");
    tight.overrun(&mut bob, "bob");
    bob.run("COMMIT");
    let (first, cursor) = since(&mut owner, "", 10);
    assert_eq!(first.len(), 1);
    assert!(since(&mut owner, &cursor, 10).0.is_empty());
    late.run("COMMIT");
    let (second, next) = since(&mut owner, &cursor, 10);
    assert_eq!(second.len(), 1);
    assert_ne!(first, second);
    assert!(since(&mut owner, &next, 10).0.is_empty());
    // Once more from the beginning: all of them.
    assert_eq!(since(&mut owner, "", 10).0.len(), 2);
    // Each reader has its own.
    for (user, sees) in [("alice", 0), ("ops", 2), ("boss", 0)] {
        let mut session = world.begin(user);
        assert_eq!(since(&mut session, "", 10).0.len(), sees, "{user}");
        let seen = session.number("SELECT count(*) FROM tenancy.budget_alerts");
        assert_eq!(seen, sees as i64, "{user}");
    }
    for bad in [
        "",
        "x",
        "1;2:2:;2:2:;1",
        &format!("{cursor}0x"),
        &"1".repeat(200_000),
    ] {
        owner
            .fails_with("SELECT * FROM tenancy.alerts_since($1)", &[&bad])
            .code("22023");
    }
    owner
        .fails("SELECT * FROM tenancy.alerts_since(max_rows => 0)")
        .code("22023");
    world
        .db
        .app()
        .fails("SELECT * FROM tenancy.alerts_since()")
        .code("55000");
}

#[test]
fn every_alert_arrives_whatever_commits_late_and_whoever_crashes() {
    let tight = Tight::new();
    let world = &tight.world;
    let until = AtomicBool::new(false);
    let mut told = Vec::new();
    let mut cursor = String::new();
    let mut owner = world.db.owner();
    thread::scope(|scope| {
        for (seed, user) in ["alice", "bob", "eve", "alice"].into_iter().enumerate() {
            let (tight, until) = (&tight, &until);
            scope.spawn(move || {
                let mut dice = Dice(seed as u64 + 1);
                while !until.load(Ordering::Relaxed) {
                    let mut session = tight.world.begin(user);
                    for _ in 0..=dice.roll(3) {
                        if !tight.overrun(&mut session, user) {
                            return;
                        }
                        let wait = if dice.roll(5) == 0 { 150 } else { 4 };
                        thread::sleep(Duration::from_millis(dice.roll(wait)));
                    }
                    session.run(if dice.roll(5) == 0 {
                        "ROLLBACK"
                    } else {
                        "COMMIT"
                    });
                }
            });
        }
        let mut dice = Dice(99);
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let (ids, next) = since(&mut owner, &cursor, 1 + dice.roll(6));
            // Else it crashes before the cursor is stored.
            if !ids.is_empty() && dice.roll(4) > 0 {
                told.extend(ids);
                cursor = next;
            }
        }
        until.store(true, Ordering::Relaxed);
    });
    told.extend(since(&mut owner, &cursor, 1_000_000).0);
    let truth = owner.texts("SELECT id FROM tenancy.budget_alerts");
    let set: BTreeSet<&String> = told.iter().collect();
    assert!(truth.len() > 20, "{}", truth.len());
    assert_eq!(set, truth.iter().collect());
    assert_eq!(set.len(), told.len(), "one that was stored came again");
}
