//! Attempts to slow other sessions down: a commit that waits or takes long, and a session that stops while it reads a counter.
//! Other sessions consume meanwhile, also where their counters are read for the first time, and every budget stays exact.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postgres::config::Host;
use tenancy_client_tests::metering::{
    Dice, Stop, all_agrees, ledger_agrees, use_up, within_budgets,
};
use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Failure, Session, World};

/// Budgets of the platform, of partners, tenants and users.
const METERED: &str = "
    SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5), tenancy.define_metric('calls', 'calls', 'count');
    SELECT tenancy.set_budget('platform', 'tokens', 1000000, 'total'), tenancy.set_budget('globex', 'tokens', 500000, 'month'),
           tenancy.set_budget('hooli', NULL, 500000, 'year'), tenancy.set_budget('acme', 'tokens', 100000, 'total'),
           tenancy.set_budget('umbrella', 'calls', 100000, 'total'), tenancy.set_budget('soylent', 'tokens', 10, 'total'),
           tenancy.set_budget('acme/alice', 'tokens', 50000, 'total'), tenancy.set_budget('soylent/eve', 'tokens', 5000, 'year')";
const ENTRIES: i64 = 8;

/// Longer than any step takes here, also on a busy machine. A session that waits for the attacker waits forever.
const PATIENT: &str = "SET LOCAL statement_timeout = '20s'";

#[track_caller]
fn until(what: &str, mut f: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !f() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A session whose COMMIT does not return.
struct Committing {
    pid: i32,
    session: JoinHandle<Result<Session, Failure>>,
}

impl Committing {
    /// Commits, and returns when that waits for what is named.
    #[track_caller]
    fn start(mut session: Session, admin: &mut Session, waits_for: &str) -> Self {
        let pid = session.pid();
        let session = thread::spawn(move || match session.batch_execute("COMMIT") {
            Ok(()) => Ok(session),
            Err(error) => Err(Failure::from(&error)),
        });
        until(waits_for, || Self::is_waiting(pid, admin, waits_for));
        Self { pid, session }
    }

    fn is_waiting(pid: i32, admin: &mut Session, waits_for: &str) -> bool {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = '{waits_for}'"
        );
        admin.number(&sql) == 1
    }

    /// Still waits. Ends that, by a function that is given its process; it has committed all the same.
    #[track_caller]
    fn end(self, admin: &mut Session, waits_for: &str, by: &str) -> Result<Session, Failure> {
        assert!(
            Self::is_waiting(self.pid, admin, waits_for),
            "it does not wait any more"
        );
        admin.run(&format!("SELECT {by}({})", self.pid));
        self.session.join().unwrap()
    }
}

/// Other sessions consume, record, reserve and settle; every counter is loaded again, one is new.
#[track_caller]
fn others_work(world: &World, admin: &mut Session) {
    for user in ["bob", "alice", "eve", "pat"] {
        admin.run("SELECT tenancy_internal.forget_ledger()");
        let mut session = world.db.app();
        session.run("BEGIN").run(PATIENT).login(world.key(user));
        session.run(
            "SELECT tenancy.consume('tokens', 0.5), tenancy.record_usage('calls');
             SELECT tenancy.settle(tenancy.reserve('tokens', 0.5), 0.25), tenancy.cancel(tenancy.reserve('tokens', 0.5));
             SELECT * FROM tenancy.check_budget('tokens')",
        );
        session.run("COMMIT");
    }
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('umbrella/bob', 'tokens', 100000, 'total')");
    let mut bob = world.db.app();
    bob.run("BEGIN").run(PATIENT).login(world.key("bob"));
    bob.run("SELECT tenancy.consume('tokens', 0.5); COMMIT");
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_budget('umbrella/bob', 'tokens', 'total')");
}

fn used(admin: &mut Session, user: &str) -> i64 {
    admin.number(&format!(
        "SELECT count(*) FROM tenancy_internal.usage_events e JOIN tenancy.scopes u ON u.id = e.user_id WHERE u.slug = '{user}' AND e.attributes ? 'waits'"
    ))
}

/// Eve has used so much, and commits it so.
fn eve(world: &World, level: &str, quantity: &str) -> Session {
    let mut eve = world.begin("eve");
    eve.run(&format!(
        "SAVEPOINT s; SELECT tenancy.consume('tokens', 1); ROLLBACK TO s;
         SAVEPOINT s; SELECT tenancy.consume('tokens', {quantity}, attributes => '{{\"waits\": 1}}'); RELEASE s;
         SET LOCAL synchronous_commit = {level}"
    ));
    eve
}

/// Loads every counter again.
fn touch(world: &World) {
    for user in ["alice", "bob", "eve", "pat"] {
        let mut session = world.begin(user);
        session.run(
            "SELECT (tenancy.check_budget('tokens')).used, (tenancy.check_budget('calls')).used",
        );
    }
}

// F26, F21.
#[test]
fn a_commit_waiting_for_a_standby_blocks_no_other_session() {
    let settings = [
        "wal_level=replica",
        "max_wal_senders=4",
        "synchronous_commit=local",
    ];
    let primary = Cluster::start_with(&settings, &[]);
    let world = World::bare_in(Db::on(primary.config()));
    world.db.owner().run(METERED);
    let standby = primary.standby();
    let mut admin = world.db.admin();
    admin.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    admin.run("SELECT pg_reload_conf()");
    until("the standby does not stream", || {
        admin.number("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1
    });

    // The standby is connected and applies nothing.
    wait_for(&standby.config(), "the standby").run("SELECT pg_wal_replay_pause()");
    let waits = Committing::start(eve(&world, "remote_apply", "2"), &mut admin, "SyncRep");
    others_work(&world, &mut admin);
    // Usage of a waiting commit is in flight: it counts exactly once.
    let mut other = world.begin("eve");
    let left = "SELECT concat_ws(' ', trim_scale(used), trim_scale(in_flight), trim_scale(remaining)) FROM tenancy.check_budget('tokens')";
    assert_eq!(other.text(left), "0.75 2 7.25");
    other.run("ROLLBACK");
    let ended = waits.end(&mut admin, "SyncRep", "pg_cancel_backend");
    assert!(ended.is_ok(), "{:?}", ended.err());
    assert_eq!(used(&mut admin, "eve"), 1);
    touch(&world);
    all_agrees(&mut admin, ENTRIES);

    // The standby is down; waiting sessions are terminated.
    standby.crash();
    for level in ["on", "remote_write", "remote_apply"] {
        let waits = Committing::start(eve(&world, level, "0.5"), &mut admin, "SyncRep");
        others_work(&world, &mut admin);
        let ended = waits.end(&mut admin, "SyncRep", "pg_terminate_backend");
        assert!(ended.is_err());
        touch(&world);
        all_agrees(&mut admin, ENTRIES);
    }
    assert_eq!(used(&mut admin, "eve"), 4);

    // A session with NOTIFY waits in the middle of its commit for another one with NOTIFY.
    let mut first = world.db.stranger();
    first.run("BEGIN; NOTIFY x; CREATE TEMP TABLE t (); SET LOCAL synchronous_commit = on");
    let first = Committing::start(first, &mut admin, "SyncRep");
    let mut second = eve(&world, "local", "0.5");
    second.run("NOTIFY x");
    let second = Committing::start(second, &mut admin, "object");
    others_work(&world, &mut admin);
    assert!(Committing::is_waiting(second.pid, &mut admin, "object"));
    first
        .end(&mut admin, "SyncRep", "pg_cancel_backend")
        .unwrap();
    second.session.join().unwrap().unwrap();
    touch(&world);
    all_agrees(&mut admin, ENTRIES);

    // Killed: all is read from rows, and it has committed.
    let waits = Committing::start(eve(&world, "on", "0.5"), &mut admin, "SyncRep");
    others_work(&world, &mut admin);
    primary.kill_process(waits.pid);
    assert!(waits.session.join().unwrap().is_err());
    let mut admin = wait_for(&world.db.config("postgres"), "the database");
    assert_eq!(used(&mut admin, "eve"), 6);
    touch(&world);
    all_agrees(&mut admin, ENTRIES);
    use_up(|| world.db.app(), &[world.key("eve")], "tokens", "0.25");
    within_budgets(&mut admin);
    all_agrees(&mut admin, ENTRIES);
}

// F21: what a commit does for hundreds of temporary tables, or for a trigger that was put off.
#[test]
fn a_long_commit_blocks_no_other_session() {
    let world = World::bare();
    let mut admin = world.db.admin();
    world.db.owner().run(METERED);
    admin.run(
        "CREATE FUNCTION app.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(8); RETURN NULL; END $$;
         SELECT pg_advisory_lock(8)",
    );
    let mut session = eve(&world, "on", "2");
    session.run(
        "CREATE TEMP TABLE t (n integer);
         CREATE CONSTRAINT TRIGGER t AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.hold();
         INSERT INTO t VALUES (1)",
    );
    let waits = Committing::start(session, &mut admin, "advisory");
    others_work(&world, &mut admin);
    assert!(Committing::is_waiting(waits.pid, &mut admin, "advisory"));
    admin.run("SELECT pg_advisory_unlock(8)");
    waits.session.join().unwrap().unwrap();
    touch(&world);
    all_agrees(&mut admin, ENTRIES);

    let mut session = world.db.app();
    session.login_session(world.key("eve"));
    session.run("DO $$ BEGIN FOR n IN 1..1000 LOOP EXECUTE format('CREATE TEMP TABLE t%s (n integer PRIMARY KEY, b text) ON COMMIT DELETE ROWS', n); END LOOP; END $$");
    let pid = session.pid();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopped = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                session
                    .run("BEGIN; SELECT FROM t1; SELECT tenancy.consume('tokens', 0.000001)")
                    .run("COMMIT");
            }
        });
        // Bob has read his counters and consumed while one and the same commit went on.
        let commit = format!(
            "SELECT coalesce((SELECT xact_start FROM pg_stat_activity WHERE pid = {pid} AND state = 'active' AND query = 'COMMIT')::text, '')"
        );
        let (mut bob, mut met) = (world.db.app(), 0);
        until("no call of consume() while a commit waits", || {
            admin.run("SELECT tenancy_internal.forget_ledger()");
            let before = admin.text(&commit);
            bob.begin(world.key("bob"))
                .run("SELECT tenancy.consume('tokens', 1); COMMIT");
            met += u32::from(!before.is_empty() && admin.text(&commit) == before);
            met == 20
        });
        drop(stopped);
    });
    touch(&world);
    all_agrees(&mut admin, ENTRIES);
}

/// A client that reads what it wants to read.
struct Slow(TcpStream);

impl Slow {
    /// Connects without a password.
    fn connect(config: &postgres::Config) -> Self {
        let Host::Tcp(host) = &config.get_hosts()[0] else {
            panic!("a test server listens on 127.0.0.1");
        };
        let stream = TcpStream::connect((host.as_str(), config.get_ports()[0])).unwrap();
        let (user, database) = (config.get_user().unwrap(), config.get_dbname().unwrap());
        let mut slow = Self(stream);
        let words = format!("\0\x03\0\0user\0{user}\0database\0{database}\0\0");
        slow.send(&[], words.as_bytes());
        // Up to the first ReadyForQuery.
        loop {
            let mut head = [0; 5];
            slow.0.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
            slow.0.read_exact(&mut vec![0; length]).unwrap();
            match head[0] {
                b'Z' => return slow,
                b'E' => panic!("not let in"),
                _ => {}
            }
        }
    }

    fn send(&mut self, kind: &[u8], body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        let message = [kind, &length, body].concat();
        self.0.write_all(&message).unwrap();
    }

    fn query(&mut self, sql: &str) {
        self.send(b"Q", format!("{sql}\0").as_bytes());
    }

    /// Reads; false if nothing comes any more.
    fn read(&mut self, bytes: usize) -> bool {
        let wait = Some(Duration::from_secs(5));
        self.0.set_read_timeout(wait).unwrap();
        self.0.read_exact(&mut vec![0; bytes]).is_ok()
    }
}

/// Returns a session that is stopped where `loading` counts `wanted`; none if it went past.
fn stopped_at(world: &World, admin: &mut Session, loading: &str, wanted: i64) -> Option<Slow> {
    admin.run("SELECT tenancy_internal.forget_ledger()");
    let mut session = Slow::connect(&world.db.config(&world.db.app));
    session.query(&format!(
        "BEGIN; SELECT tenancy.authenticate('{}'); SET LOCAL client_min_messages = log;
         SELECT repeat('x', 1000) FROM generate_series(1, 12000);
         SET LOCAL debug_print_parse = on; SET LOCAL debug_print_rewritten = on; SET LOCAL debug_print_plan = on;
         SELECT tenancy.consume('tokens', 0.5)",
        world.key("eve")
    ));
    // As much as it takes to get there, and nothing more.
    let mut stuck = 0;
    while stuck < 20 {
        if admin.number(loading) == wanted {
            stuck += 1;
            thread::sleep(Duration::from_millis(5));
        } else {
            stuck = 0;
            if !session.read(20_000) {
                return None;
            }
        }
    }
    Some(session)
}

/// A client makes the server send it the plans of tenancy's queries, and stops reading while a shared counter is being loaded.
#[test]
fn a_session_stopped_while_it_loads_a_counter_blocks_no_other() {
    let world = World::bare();
    let mut admin = world.db.admin();
    world.db.owner().run(METERED);
    let loading = "SELECT count(*) FROM tenancy_internal.ledger_entries() WHERE NOT loaded";
    let mut slow: Vec<Slow> = Vec::new();
    for n in 1..=2 {
        // How far the server is ahead of what is read, the network decides: a session may go past the place.
        let stopped = (0..8).find_map(|_| stopped_at(&world, &mut admin, loading, n));
        let session = stopped.expect("it does not stop there");
        slow.push(session);
        others_work(&world, &mut admin);
        assert!(admin.number(loading) >= n, "no session was loading");
    }
    // The slow readers continue, with the right sums.
    let readers: Vec<_> = slow
        .into_iter()
        .map(|mut session| {
            session.query("COMMIT");
            thread::spawn(move || {
                let _ = session.0.set_read_timeout(Some(Duration::from_secs(20)));
                let _ = std::io::copy(&mut session.0, &mut std::io::sink());
            })
        })
        .collect();
    until("they did not go on", || {
        used_in_all(&mut admin, "eve", "0.5") == 4
    });
    touch(&world);
    all_agrees(&mut admin, ENTRIES);
    admin.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    for reader in readers {
        reader.join().unwrap();
    }
}

fn used_in_all(admin: &mut Session, user: &str, quantity: &str) -> i64 {
    admin.number(&format!(
        "SELECT count(*) FROM tenancy_internal.usage_events e JOIN tenancy.scopes u ON u.id = e.user_id WHERE u.slug = '{user}' AND e.quantity = {quantity} * 1000000"
    ))
}

/// Counters are dropped and read again all the time, while reservations are made and ended, budgets come and go, and
/// transactions that have written read them.
#[test]
fn counters_that_are_read_while_others_commit_count_each_once() {
    let world = World::bare();
    let mut admin = world.db.admin();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5), tenancy.define_metric('calls', 'calls', 'count');
         SELECT tenancy.set_budget('platform', 'tokens', 900, 'total'), tenancy.set_budget('globex', 'tokens', 600, 'month'),
                tenancy.set_budget('acme', 'tokens', 400, 'total'), tenancy.set_budget('umbrella', NULL, 150, 'total'),
                tenancy.set_budget('soylent', 'tokens', 350, 'year'), tenancy.set_budget('soylent/eve', NULL, 1000, 'total')",
    );
    let (until, keys) = (
        AtomicBool::new(false),
        ["alice", "bob", "eve"].map(|user| world.key(user)),
    );
    thread::scope(|scope| {
        let stop = Stop(&until);
        scope.spawn(|| {
            let mut admin = world.db.admin();
            while !until.load(Ordering::Relaxed) {
                admin.run("SELECT tenancy_internal.forget_ledger()");
            }
        });
        scope.spawn(|| {
            let mut owner = world.db.owner();
            while !until.load(Ordering::Relaxed) {
                owner.run("SELECT tenancy.remove_budget('soylent/eve', NULL, 'total')");
                owner.run("SELECT tenancy.set_budget('soylent/eve', NULL, 1000, 'total'), tenancy.rollup()");
            }
        });
        let racers: Vec<_> = (0..9_usize)
            .map(|n| {
                let (world, key) = (&world, keys[n % 3]);
                scope.spawn(move || race(world, key, Dice(n as u64), 120))
            })
            .collect();
        for _ in 0..20 {
            within_budgets(&mut admin);
            thread::sleep(Duration::from_millis(20));
        }
        for racer in racers {
            racer.join().unwrap();
        }
        drop(stop);
    });
    within_budgets(&mut admin);
    touch(&world);
    all_agrees(&mut admin, 5);
    use_up(|| world.db.app(), &keys, "tokens", "0.5");
    within_budgets(&mut admin);
    ledger_agrees(&mut admin, 5);
}

/// Some transactions; each ends the reservation of the one before it.
fn race(world: &World, key: &str, mut dice: Dice, rounds: usize) {
    let mut session = world.db.app();
    let mut made = None::<String>;
    for _ in 0..rounds {
        let level = if dice.roll(3) == 0 {
            "REPEATABLE READ"
        } else {
            "READ COMMITTED"
        };
        session
            .run(&format!("BEGIN ISOLATION LEVEL {level}"))
            .login(key);
        if let Some(id) = made.take() {
            session.run(&match dice.roll(3) {
                0 => format!("SELECT tenancy.settle('{id}', 0.5)"),
                _ => format!("SELECT tenancy.cancel('{id}')"),
            });
        }
        let call = match dice.roll(4) {
            0 => "tenancy.consume('tokens', 0.5)",
            1 => "tenancy.consume('tokens', 0.5), (tenancy.check_budget('tokens')).used",
            _ => "tenancy.reserve('tokens', 2)",
        };
        session.run("SAVEPOINT s");
        match session.query_one(&format!("SELECT {call}::text"), &[]) {
            Ok(row) => made = row.try_get(0).ok().filter(|_| call.contains("reserve")),
            Err(error) => {
                Failure::from(&error).code("53400");
                session.run("ROLLBACK TO s");
            }
        }
        session.run("COMMIT");
    }
    if let Some(id) = made {
        session
            .begin(key)
            .run(&format!("SELECT tenancy.cancel('{id}'); COMMIT"));
    }
}
