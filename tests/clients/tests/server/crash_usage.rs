//! Many clients consume, record, reserve and settle while the server is killed. Afterwards every acknowledged transaction is present, every
//! other is present as a whole or not at all, and the recovered ledger equals the rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use postgres::SimpleQueryMessage;
use tenancy_client_tests::metering::{
    Dice, Stop, all_agrees, cancel, ledger_agrees, use_up, within_budgets,
};
use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Failure, Session, World};

/// Budgets of five levels that the traffic exhausts, and budgets that no call needs. Some share an entry.
fn budgets(times: usize) -> String {
    let of = |scope: &str, metric: &str, amount: f64, period: &str| {
        format!(
            "SELECT tenancy.set_budget('{scope}', {metric}, {}, '{period}');",
            amount * times as f64
        )
    };
    [
        of("platform", "'tokens'", 2400.0, "total"),
        of("globex", "'tokens'", 1500.0, "year"),
        of("globex", "NULL", 700.0, "total"),
        of("acme", "'tokens'", 900.0, "total"),
        of("acme/red", "'tokens'", 300.0, "total"),
        of("acme/alice", "'tokens'", 500.0, "year"),
        of("umbrella/bob", "'tokens'", 450.0, "total"),
        of("soylent", "'tokens'", 800.0, "total"),
        of("hooli", "NULL", 390.5, "year"),
        of("platform", "'notes'", 1e6, "year"),
        of("acme", "'notes'", 1e6, "total"),
        of("platform", "'calls'", 1e6, "total"),
        of("soylent/eve", "'calls'", 1e6, "year"),
        // Each user has less than any other budget has for it.
        format!(
            "SELECT tenancy.set_budget('platform', 'tokens', {}, 'total', per => 'user');",
            150 * times
        ),
    ]
    .concat()
}

/// How many entries the ledger has then.
const ENTRIES: i64 = 13;
const METRICS: &str = "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5), tenancy.define_metric('notes', 'notes'), tenancy.define_metric('calls', 'calls', 'count')";

/// The outcomes that writers know of.
#[derive(Default)]
struct Known {
    /// Events whose commit was acknowledged.
    sure: HashSet<i64>,
    /// Events whose commit was not acknowledged.
    unsure: HashSet<i64>,
    /// Reservations: acknowledged and, as far as one knows, open.
    open: HashSet<String>,
    /// Reservations that another session may have ended.
    ending: HashSet<String>,
    /// Reservations that were ended, acknowledged.
    ended: HashSet<String>,
}

struct Traffic<'a> {
    world: &'a World,
    until: AtomicBool,
    next: AtomicI64,
    known: Mutex<Known>,
}

impl<'a> Traffic<'a> {
    fn of(world: &'a World) -> Self {
        Self {
            world,
            until: AtomicBool::new(false),
            next: AtomicI64::new(1),
            known: Mutex::default(),
        }
    }

    fn know<R>(&self, f: impl FnOnce(&mut Known) -> R) -> R {
        f(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Connects and works, again and again.
    fn write(&self, user: &str, enter: &str, seed: u64) {
        let mut dice = Dice(seed);
        // Reservations that this writer is to end.
        let mut held: Vec<String> = Vec::new();
        while !self.until.load(Ordering::Relaxed) {
            let Ok(mut session) = Session::try_connect(&self.world.db.config(&self.world.db.app))
            else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            let mut there = true;
            while there && !self.until.load(Ordering::Relaxed) {
                there = self.once(&mut session, user, enter, &mut dice, &mut held);
            }
        }
    }

    /// Runs a transaction. Returns false when the connection is lost.
    fn once(
        &self,
        session: &mut Session,
        user: &str,
        enter: &str,
        dice: &mut Dice,
        held: &mut Vec<String>,
    ) -> bool {
        let mut sql = format!(
            "BEGIN; SELECT tenancy.authenticate('{}'){enter}",
            self.world.key(user)
        );
        let (mut events, mut ends, mut reserves) = (Vec::new(), Vec::new(), false);
        let mut event = || {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            events.push(n);
            format!("{{\"n\": {n}}}")
        };
        let aborted = dice.roll(8) == 0;
        for _ in 0..=dice.roll(3) {
            match dice.roll(10) {
                0..=2 => {
                    sql += &format!(
                        "; SELECT tenancy.consume('tokens', {}, attributes => '{}')",
                        1 + dice.roll(3),
                        event()
                    )
                }
                3 => {
                    sql += &format!(
                        "; SELECT tenancy.record_usage('notes', {}.5, attributes => '{}')",
                        dice.roll(9),
                        event()
                    )
                }
                4 => {
                    sql += &format!(
                        "; SELECT tenancy.record_usage('calls', 7, attributes => '{}', at => now() - interval '{} minutes')",
                        event(),
                        dice.roll(90)
                    )
                }
                5 => {
                    sql += "; SAVEPOINT s; SELECT tenancy.consume('tokens', 2, attributes => '{\"n\": -1}'); ROLLBACK TO s"
                }
                6 => {
                    sql += "; DO $$ BEGIN PERFORM tenancy.consume('tokens', 1, attributes => '{\"n\": -2}'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$"
                }
                7 if !reserves => {
                    reserves = true;
                    // Some are never settled.
                    let ttl = if dice.roll(6) == 0 {
                        "1 second"
                    } else {
                        "1 hour"
                    };
                    sql += &format!(
                        "; SELECT 'reserved ' || tenancy.reserve('tokens', {}, '{ttl}') || ' {ttl}'",
                        2 + dice.roll(5)
                    );
                }
                _ => {
                    if let Some(id) = held.pop() {
                        sql += &match dice.roll(3) {
                            0 => format!("; SELECT tenancy.cancel('{id}')"),
                            n => format!(
                                "; SELECT tenancy.settle('{id}', {n}, attributes => '{}')",
                                event()
                            ),
                        };
                        ends.push(id);
                    }
                }
            }
        }
        self.know(|known| known.ending.extend(ends.iter().cloned()));
        sql += if aborted { "; ROLLBACK" } else { "; COMMIT" };
        match session.simple_query(&sql) {
            Ok(_) if aborted => held.extend(ends),
            Ok(rows) => {
                let reserved = rows.iter().find_map(|row| match row {
                    SimpleQueryMessage::Row(row) => {
                        row.get(0)?.strip_prefix("reserved ")?.split_once(' ')
                    }
                    _ => None,
                });
                self.know(|known| {
                    known.sure.extend(events);
                    for id in &ends {
                        known.open.remove(id);
                    }
                    known.ended.extend(ends);
                    if let Some((id, "1 hour")) = reserved {
                        known.open.insert(id.to_owned());
                        held.push(id.to_owned());
                    }
                });
            }
            Err(error) => match Failure::from(&error).code.as_str() {
                // Refused, all of it.
                "53400" => {
                    held.extend(ends);
                    return session.batch_execute("ROLLBACK").is_ok();
                }
                // The server ended in between, or refused the connection: the commit may have succeeded or not.
                "" | "57P01" | "57P02" | "57P03" | "08006" | "53300" => {
                    self.know(|known| known.unsure.extend(events));
                    return false;
                }
                _ => panic!("{sql}\n{:?}", Failure::from(&error)),
            },
        }
        true
    }

    /// Asserts that every acknowledged transaction is present, and none that was not sent.
    #[track_caller]
    fn nothing_is_lost(&self, admin: &mut Session) -> i64 {
        let rows = admin.texts("SELECT attributes ->> 'n' FROM tenancy_internal.usage_events");
        let there: HashSet<i64> = rows.iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(there.len(), rows.len(), "an event is there twice");
        let reservations: Vec<(String, String, bool)> = (admin
            .simple_query("SELECT id, state, event_id FROM tenancy_internal.budget_reservations")
            .unwrap()
            .iter())
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((
                row.get(0)?.to_owned(),
                row.get(1)?.to_owned(),
                row.get(2).is_some(),
            )),
            _ => None,
        })
        .collect();
        let in_state = |of: &HashSet<String>, wanted: &[&str]| {
            let found = reservations
                .iter()
                .filter(|(id, state, _)| of.contains(id) && wanted.contains(&state.as_str()));
            found.count() == of.len()
        };
        self.know(|known| {
            let lost: Vec<_> = known.sure.difference(&there).collect();
            assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
            let strange: Vec<_> = there
                .iter()
                .filter(|n| !known.sure.contains(n) && !known.unsure.contains(n))
                .collect();
            assert!(
                strange.is_empty(),
                "present and never committed: {strange:?}"
            );
            let quiet: HashSet<String> = known.open.difference(&known.ending).cloned().collect();
            assert!(
                in_state(&quiet, &["open"]),
                "a reservation that no client ended is not open"
            );
            assert!(
                in_state(&known.ended, &["settled", "cancelled"]),
                "a reservation is open again"
            );
            assert!(
                in_state(&known.open, &["open", "settled", "cancelled"]),
                "a reservation is lost"
            );
        });
        for (id, state, event) in reservations {
            assert_eq!(state == "settled", event, "{id} is {state}");
        }
        assert_eq!(admin.number("SELECT count(*) FROM tenancy_internal.budget_reservations r WHERE r.event_id IS NOT NULL AND NOT EXISTS (SELECT FROM tenancy_internal.usage_events e WHERE e.id = r.event_id)"), 0);
        there.len().try_into().unwrap()
    }
}

fn metered(db: Db) -> World {
    let mut world = World::bare_in(db);
    let mut owner = world.db.owner();
    owner.run(METRICS);
    owner.run("SELECT tenancy.create_project('acme', 'red')");
    owner.run(&budgets(1));
    world.db.admin().run(&format!(
        "ALTER DATABASE {} SET tenancy.usage_rollup_interval = 1",
        world.db.name
    ));
    world.learn();
    world
}

/// The writers, and their places.
const WRITERS: [(&str, &str); 10] = [
    ("alice", ""),
    ("alice", "; SELECT tenancy.select_project('acme/red')"),
    ("alice", "; SELECT tenancy.select_project('acme/red')"),
    ("bob", ""),
    ("bob", ""),
    ("eve", ""),
    ("eve", ""),
    ("eve", ""),
    ("ops", "; SELECT tenancy.select_tenant('umbrella')"),
    ("pat", ""),
];

/// The superuser's connection to the world's database, as soon as there is one.
fn admin_of(world: &World, cluster: &Cluster) -> Session {
    drop(wait_for(&cluster.config(), "the server"));
    wait_for(&world.db.config("postgres"), "the database")
}

/// Waits until no writer's backend is left: a backend that is alone may still be at its commit.
fn wait_alone(admin: &mut Session, world: &World) {
    let end = Instant::now() + Duration::from_secs(30);
    let others = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('{}', '{}')",
        world.db.app, world.db.owner
    );
    while admin.number(&others) > 0 {
        assert!(Instant::now() < end, "a backend did not end");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Each session uses its budgets, so that the ledger loads them from rows.
fn touch(world: &World) {
    for (user, enter) in WRITERS {
        let mut session = world.begin(user);
        session.run(&format!("SELECT 1{enter}"));
        for metric in ["tokens", "notes", "calls"] {
            session.run(&format!("SELECT * FROM tenancy.check_budget('{metric}')"));
        }
    }
}

/// What is counted of each user's budget, which has the least left.
fn parts(world: &World) -> Vec<String> {
    let check = "SELECT concat_ws(' ', per, used, in_flight) FROM tenancy.check_budget('tokens', 1000000000)";
    let of = |user: &str, enter: &str| {
        world
            .begin(user)
            .run(&format!("SELECT 1{enter}"))
            .text(check)
    };
    WRITERS
        .iter()
        .map(|(user, enter)| of(user, enter))
        .collect()
}

#[test]
fn whatever_is_killed_the_ledger_is_the_events_and_nothing_is_lost() {
    let cluster = Cluster::start();
    let world = metered(Db::on(cluster.config()));
    let traffic = Traffic::of(&world);
    let some = |what: &str| {
        format!(
            "SELECT coalesce((SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND {what} ORDER BY random() LIMIT 1), 0)",
            world.db.name
        )
    };
    for (round, kind) in [
        "backend", "server", "worker", "at once", "backend", "server",
    ]
    .into_iter()
    .enumerate()
    {
        traffic.until.store(false, Ordering::Relaxed);
        // Raised while there is traffic to come, and full at the end.
        world.db.owner().run(&budgets(1 + round.min(2)));
        thread::scope(|scope| {
            let stop = Stop(&traffic.until);
            for (n, (user, enter)) in WRITERS.into_iter().enumerate() {
                let traffic = &traffic;
                scope.spawn(move || traffic.write(user, enter, (round * 100 + n) as u64));
            }
            // By hand, besides the worker.
            scope.spawn(|| {
                while !traffic.until.load(Ordering::Relaxed) {
                    if let Ok(mut owner) = Session::try_connect(&world.db.config(&world.db.owner)) {
                        while owner.batch_execute("SELECT tenancy.rollup()").is_ok()
                            && !traffic.until.load(Ordering::Relaxed)
                        {
                            thread::sleep(Duration::from_millis(30));
                        }
                    }
                    thread::sleep(Duration::from_millis(30));
                }
            });
            thread::sleep(Duration::from_millis(900));
            let pid =
                |what: &str| i32::try_from(admin_of(&world, &cluster).number(&some(what))).unwrap();
            match kind {
                "backend" => cluster.kill_process(pid(&format!("usename = '{}'", world.db.app))),
                "worker" => match pid("backend_type = 'tenancy worker'") {
                    0 => {}
                    pid => cluster.kill_process(pid),
                },
                "at once" => {
                    cluster.end_at_once();
                    cluster.up();
                }
                _ => cluster.kill(),
            }
            // The clients reconnect during recovery, and continue.
            thread::sleep(Duration::from_millis(500));
            drop(stop);
        });
        let mut admin = admin_of(&world, &cluster);
        wait_alone(&mut admin, &world);
        touch(&world);
        let there = traffic.nothing_is_lost(&mut admin);
        assert!(there > 50, "only {there} events after {kind}");
        within_budgets(&mut admin);
        all_agrees(&mut admin, ENTRIES);
        // The same once more from rows alone.
        let counted = parts(&world);
        assert!(
            counted.iter().any(|part| part.starts_with("user ")),
            "{counted:?}"
        );
        admin.run("SELECT tenancy_internal.forget_ledger()");
        assert_eq!(parts(&world), counted, "after {kind}");
        touch(&world);
        ledger_agrees(&mut admin, ENTRIES);
    }
    // All sessions have ended: abandoned reservations are freed, and what fits is admitted, to the last unit.
    let mut admin = world.db.admin();
    let mut ended = 0;
    for key in ["acme", "umbrella", "soylent", ""] {
        let of = format!(
            "SELECT id FROM tenancy_internal.budget_reservations r WHERE r.state = 'open' AND r.tenant_id IS NOT DISTINCT FROM (SELECT id FROM tenancy.scopes WHERE slug = '{key}' AND level = 'tenant')"
        );
        for id in admin.texts(&of) {
            cancel(&world, &id);
            ended += 1;
        }
    }
    assert_eq!(
        admin.number(
            "SELECT count(*) FROM tenancy_internal.budget_reservations WHERE state = 'open'"
        ),
        0,
        "after {ended}"
    );
    let keys: Vec<&str> = ["alice", "bob", "eve", "pat"]
        .map(|user| world.key(user))
        .to_vec();
    use_up(|| world.db.app(), &keys, "tokens", "1");
    within_budgets(&mut admin);
    all_agrees(&mut admin, ENTRIES - 2);
}
