//! Budgets of K units at each of four levels and in a project admit exactly K under any concurrency. On a quiet server no
//! call that fits is refused. Both also hold while entries of the ledger constantly evict each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tenancy_client_tests::metering::{
    Dice, Stop, all_agrees, cancel, ledger_agrees, usage_agrees, use_up, within_budgets,
};
use tenancy_client_tests::program::Cluster;
use tenancy_client_tests::{Db, Failure, Session, World};

/// Open reservations of a tenant, shared by its sessions.
type Pool = Mutex<Vec<String>>;

/// One of the concurrent clients.
struct Racer<'a> {
    session: Session,
    key: &'a str,
    project: bool,
    pool: &'a Pool,
    dice: Dice,
    /// Whether it settles for more than was reserved.
    more: bool,
}

impl Racer<'_> {
    /// A call in its own savepoint, which may be rolled back even after success. Returns its result, if it was kept.
    fn call(&mut self, call: &str) -> Option<String> {
        self.session.run("SAVEPOINT s");
        match self.session.query_one(&format!("SELECT {call}::text"), &[]) {
            Ok(row) if self.dice.roll(5) > 0 => {
                self.session.run("RELEASE s");
                Some(row.try_get(0).unwrap_or_default())
            }
            Ok(_) => {
                self.session.run("ROLLBACK TO s");
                None
            }
            Err(error) => {
                let failure = Failure::from(&error);
                // 42501: another reserved it; 55000, 40001: another session has ended it; 42704: its reserver has rolled back.
                assert!(
                    ["53400", "55000", "42704", "40001", "42501"].contains(&failure.code.as_str()),
                    "{call}: {failure:?}"
                );
                self.session.run("ROLLBACK TO s");
                None
            }
        }
    }

    /// A transaction of some steps.
    fn run(&mut self) {
        // The ledger does not depend on the snapshot of a transaction.
        let level = if self.dice.roll(4) == 0 {
            "REPEATABLE READ"
        } else {
            "READ COMMITTED"
        };
        self.session
            .run(&format!("BEGIN ISOLATION LEVEL {level}"))
            .login(self.key);
        if self.project {
            self.session
                .run("SELECT tenancy.select_project('acme/red')");
        }
        let (mut made, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..=self.dice.roll(3) {
            let quantity = 1 + self.dice.roll(4);
            match self.dice.roll(7) {
                0 | 1 => drop(self.call(&format!("tenancy.consume('tokens', {quantity})"))),
                2 => {
                    // Units that the block rolls back are free again, and units that the handler consumes count.
                    self.session.run(&format!(
                        "DO $$ BEGIN
                             BEGIN PERFORM tenancy.consume('tokens', {quantity}); PERFORM tenancy.reserve('tokens', 1); RAISE 'no';
                             EXCEPTION WHEN raise_exception THEN PERFORM tenancy.consume('tokens', 1); END;
                         EXCEPTION WHEN configuration_limit_exceeded THEN NULL; END $$"
                    ));
                }
                3 | 4 => made.extend(self.call(&format!("tenancy.reserve('tokens', {quantity})"))),
                _ => {
                    let one = if self.dice.roll(3) == 0 {
                        made.pop()
                    } else {
                        self.pool.lock().unwrap().pop()
                    };
                    let Some(id) = one else { continue };
                    let end = match self.dice.roll(4) {
                        0 => format!("tenancy.cancel('{id}')"),
                        1 => format!("tenancy.settle('{id}')"),
                        2 if self.more => format!("tenancy.settle('{id}', 6)"),
                        _ => format!("tenancy.settle('{id}', 0.5)"),
                    };
                    match self.call(&end) {
                        Some(_) => taken.push(id),
                        None => made.push(id),
                    }
                }
            }
        }
        let commit = self.dice.roll(4) > 0;
        self.session.run(if commit { "COMMIT" } else { "ROLLBACK" });
        // Rolled-back reservations do not exist; rolled-back settlements leave theirs open. A session that ends a reservation
        // which no longer exists gets an error.
        let mut pool = self.pool.lock().unwrap();
        if commit {
            pool.extend(made);
        } else {
            pool.extend(taken);
        }
    }
}

/// Races for a while, and checks in every snapshot that no budget is exceeded.
fn race(world: &World, keys: &[(&str, bool, usize)], pools: &[Pool], more: bool, rounds: usize) {
    let until = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut admin = world.db.admin();
            while !until.load(Ordering::Relaxed) {
                within_budgets(&mut admin);
                thread::sleep(Duration::from_millis(5));
            }
        });
        scope.spawn(|| {
            let mut owner = world.db.owner();
            while !until.load(Ordering::Relaxed) {
                owner.run("SELECT tenancy.rollup()");
                thread::sleep(Duration::from_millis(25));
            }
        });
        let stop = Stop(&until);
        let racers: Vec<_> = (0..16_usize)
            .map(|n| {
                let (key, project, pool) = keys[n % keys.len()];
                let mut racer = Racer {
                    session: world.db.app(),
                    key,
                    project,
                    pool: &pools[pool],
                    dice: Dice(n as u64),
                    more,
                };
                scope.spawn(move || (0..rounds).for_each(|_| racer.run()))
            })
            .collect();
        for racer in racers {
            racer.join().unwrap();
        }
        drop(stop);
        watch.join().unwrap();
    });
}

/// Cancels what is still open.
fn cancel_all(world: &World, users: &[&str]) {
    let mut admin = world.db.admin();
    for user in users {
        let sql = format!(
            "SELECT r.id FROM tenancy_internal.budget_reservations r JOIN tenancy.scopes u ON u.slug = '{user}' AND u.parent_id = r.tenant_id WHERE r.state = 'open'"
        );
        for id in admin.texts(&sql) {
            cancel(world, &id);
        }
    }
    assert_eq!(
        admin.number(
            "SELECT count(*) FROM tenancy_internal.budget_reservations WHERE state = 'open'"
        ),
        0
    );
}

/// Budgets of K units each. Some are full at the end, whichever session is faster.
fn world(db: Db) -> World {
    let world = World::bare_in(db);
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5), tenancy.create_project('acme', 'red');
         SELECT tenancy.set_budget('platform', 'tokens', 600, 'total'), tenancy.set_budget('globex', 'tokens', 400, 'month'),
                tenancy.set_budget('acme', 'tokens', 250, 'year'), tenancy.set_budget('acme/red', 'tokens', 70, 'total'),
                tenancy.set_budget('acme/alice', 'tokens', 130, 'total'), tenancy.set_budget('hooli', NULL, 110, 'total')",
    );
    world
}

fn to_the_last_unit(more: bool) {
    let world = world(Db::new());
    let another = world.db.owner().text(
        "SELECT tenancy.issue_api_key(tenancy.create_user('acme', 'anna', role => 'member'), 'k')",
    );
    let pools: [Pool; 3] = Default::default();
    let keys = [
        (world.key("alice"), false, 0),
        (world.key("alice"), true, 0),
        (another.as_str(), true, 0),
        (another.as_str(), false, 0),
        (world.key("bob"), false, 1),
        (world.key("eve"), false, 2),
    ];
    race(&world, &keys, &pools, more, 60);
    let mut admin = world.db.admin();
    all_agrees(&mut admin, 6);
    cancel_all(&world, &["alice", "bob", "eve"]);
    let keys = [
        world.key("alice"),
        &another,
        world.key("bob"),
        world.key("eve"),
    ];
    // Halves were settled.
    use_up(|| world.db.app(), &keys, "tokens", "0.5");
    within_budgets(&mut admin);
    all_agrees(&mut admin, 6);
    let used = |admin: &mut Session, scope: &str| {
        admin.text(&format!("SELECT trim_scale(used) FROM tenancy.ledger WHERE scope = '{scope}' AND metric = 'tokens'"))
    };
    let overruns =
        admin.number("SELECT count(*) FROM tenancy_internal.budget_reservations WHERE overrun");
    assert_eq!(overruns > 0, more, "settled above what fitted");
    if more {
        return;
    }
    assert_eq!(used(&mut admin, "platform"), "600");
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_budget('platform', 'tokens', 'total')");
    use_up(|| world.db.app(), &keys, "tokens", "0.5");
    assert_eq!(used(&mut admin, "acme"), "250");
    assert_eq!(used(&mut admin, "globex"), "400");
    assert_eq!(
        admin.text("SELECT used FROM tenancy.ledger WHERE scope = 'hooli' AND metric IS NULL"),
        "110"
    );
    all_agrees(&mut admin, 6);
}

#[test]
fn reservations_and_all_else_race_for_exactly_k_units() {
    to_the_last_unit(false);
}

#[test]
fn only_what_was_settled_above_its_reservation_exceeds_a_budget() {
    to_the_last_unit(true);
}

/// Five hundred budgets in a ledger of 64 entries: each is loaded and evicted while others commit to the same scopes.
#[test]
fn entries_that_come_and_go_lose_nothing_and_double_nothing() {
    let cluster = Cluster::start_with(&["tenancy.ledger_entries=64"], &[]);
    let world = World::bare_in(Db::on(cluster.config()));
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5);
         SELECT tenancy.create_user('acme', 'u' || n) FROM generate_series(1, 120) n;
         SELECT tenancy.set_budget(u.id, 'tokens', 12, 'total') FROM tenancy.users u WHERE u.slug LIKE 'u%';
         SELECT tenancy.set_budget(u.id, NULL, 6, p) FROM tenancy.users u, unnest('{year,total}'::text[]) p WHERE u.slug LIKE 'u%'",
    );
    let keys = owner.texts(
        "SELECT tenancy.issue_api_key(u.id, 'k') FROM tenancy.users u WHERE u.slug LIKE 'u%'",
    );
    let until = AtomicBool::new(false);
    let admitted: i64 = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut admin = world.db.admin();
            while !until.load(Ordering::Relaxed) {
                within_budgets(&mut admin);
                admin.run("SELECT tenancy.rollup()");
            }
        });
        let stop = Stop(&until);
        // Three sessions at the same users, a step apart, some of them slow: one commits while another loads.
        let racers: Vec<_> = (0..9_usize)
            .map(|n| {
                let (world, keys) = (&world, &keys);
                scope.spawn(move || {
                    let (mut session, mut dice, mut admitted) = (world.db.app(), Dice(n as u64), 0);
                    for round in 0..9 * keys.len() {
                        let key = &keys[(round / 3 + n / 3 * 40) % keys.len()];
                        let level = if dice.roll(3) == 0 { "REPEATABLE READ" } else { "READ COMMITTED" };
                        let sql = format!("BEGIN ISOLATION LEVEL {level}; SELECT tenancy.authenticate('{key}'); SELECT tenancy.consume('tokens', 1), pg_sleep({}); {}", dice.roll(4).saturating_sub(2) as f64 * 0.004, if dice.roll(6) == 0 { "ROLLBACK" } else { "COMMIT" });
                        let rolled_back = sql.ends_with("ROLLBACK");
                        match session.batch_execute(&sql) {
                            Ok(()) => admitted += i64::from(!rolled_back),
                            Err(error) => {
                                Failure::from(&error).code("53400");
                                session.run("ROLLBACK");
                            }
                        }
                    }
                    admitted
                })
            })
            .collect();
        let admitted = racers.into_iter().map(|racer| racer.join().unwrap()).sum();
        drop(stop);
        watch.join().unwrap();
        admitted
    });
    // Every budget has exactly its units.
    let mut admin = world.db.admin();
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.usage_events"),
        admitted
    );
    assert_eq!(admitted, 120 * 12);
    assert_eq!(admin.texts("SELECT user_id || ' ' || count(*) FROM tenancy_internal.usage_events GROUP BY user_id HAVING count(*) <> 12"), Vec::<String>::new());
    assert!(admin.number("SELECT evictions FROM tenancy.ledger_stats()") > 2000);
    all_agrees(&mut admin, 30);
    usage_agrees(&mut admin);
}

#[test]
fn what_a_transaction_did_itself_is_counted_once() {
    let world = World::bare();
    let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
    owner.run("SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5)");
    let check = "SELECT concat_ws(' ', used, in_flight) FROM tenancy.check_budget('tokens')";
    let mut alice = world.db.app();
    for end in ["ROLLBACK", "COMMIT"] {
        // The budget is set, and its entry loaded from rows, after this transaction reserved.
        alice.begin(world.key("alice"));
        let id = alice.text("SELECT tenancy.reserve('tokens', 10)");
        owner.run("SELECT tenancy.set_budget('acme', 'tokens', 100, 'total'), tenancy.set_budget('globex', NULL, 100, 'total')");
        assert_eq!(alice.text(check), "0 0");
        alice.run(end);
        ledger_agrees(&mut admin, 1);
        assert_eq!(
            alice.begin(world.key("alice")).text(check),
            if end == "COMMIT" { "0 10" } else { "0 0" }
        );
        alice.run("COMMIT");
        if end == "COMMIT" {
            // After the settlement, and in a savepoint that is rolled back.
            alice
                .begin(world.key("alice"))
                .run(&format!("SAVEPOINT s; SELECT tenancy.cancel('{id}')"));
            admin.run("SELECT tenancy_internal.forget_ledger()");
            assert_eq!(alice.text(check), "0 10");
            alice.run(&format!("ROLLBACK TO s; SELECT tenancy.settle('{id}', 4)"));
            admin.run("SELECT tenancy_internal.forget_ledger()");
            assert_eq!(alice.text(check), "0 10");
            alice.run("COMMIT");
            ledger_agrees(&mut admin, 1);
            assert_eq!(alice.begin(world.key("alice")).text(check), "4 0");
            alice.run("COMMIT");
        }
        owner.run("SELECT tenancy.remove_budget('acme', 'tokens', 'total'), tenancy.remove_budget('globex', NULL, 'total')");
        admin.run("SELECT tenancy_internal.forget_ledger()");
    }
}
