//! A standby: it answers queries, reports why it cannot record, and after promotion continues from the primary's last state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::metering::{
    Dice, Stop, all_agrees, usage_agrees, use_up, within_budgets,
};
use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Failure, Session, World};

const METERED: &str = "
    SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5), tenancy.define_metric('calls', 'calls', 'count');
    SELECT tenancy.create_project('acme', 'red');
    SELECT tenancy.set_budget('platform', 'tokens', 3000, 'total'), tenancy.set_budget('globex', NULL, 800, 'year'), tenancy.set_budget('acme', 'tokens', 1100, 'total'),
           tenancy.set_budget('acme/red', 'tokens', 700, 'year'), tenancy.set_budget('soylent/eve', 'tokens', 900, 'total')";
const ENTRIES: i64 = 5;
const WRITERS: [&str; 8] = ["alice", "alice", "alice", "bob", "bob", "eve", "eve", "pat"];

/// The same database with the same keys, on another server.
fn config_on(cluster: &Cluster, world: &World, role: &str) -> postgres::Config {
    let mut config = cluster.config();
    config.dbname(&world.db.name).user(role);
    config
}

/// Waits until the standby has replayed what the primary has written.
fn catch_up(primary: &mut Session, standby: &mut Session) {
    let written = primary.text("SELECT pg_current_wal_lsn()");
    let end = Instant::now() + Duration::from_secs(30);
    while standby.text(&format!("SELECT pg_last_wal_replay_lsn() >= '{written}'")) == "f" {
        assert!(Instant::now() < end, "the standby does not follow");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Begins a transaction of the application in the user's context.
fn enter(session: &mut Session, world: &World, user: &str) {
    session.begin(world.key(user));
    if user == "alice" {
        session.run("SELECT tenancy.select_project('acme/red')");
    }
}

/// Ends the primary first, however the test ends: without its standby it would wait forever to drop the database.
struct EndFirst<'a>(&'a Cluster);

impl Drop for EndFirst<'_> {
    fn drop(&mut self) {
        self.0.crash();
    }
}

#[test]
fn it_answers_and_continues_without_the_primary() {
    let primary = Cluster::start_with(&["wal_level=replica", "max_wal_senders=4"], &[]);
    let world = World::bare_in(Db::on(primary.config()));
    world.db.owner().run(METERED);
    // Something rolled up and something not, and reservations of all kinds.
    let reserve = |user: &str, quantity: i64, ttl: &str| {
        let mut session = world.db.app();
        enter(&mut session, &world, user);
        let id = session.text(&format!(
            "SELECT tenancy.reserve('tokens', {quantity}, '{ttl}')"
        ));
        session.run("COMMIT");
        id
    };
    world.begin("alice").run("SELECT tenancy.consume('tokens', 40); SELECT tenancy.record_usage('calls', at => now() - interval '1 day'); COMMIT");
    world.db.owner().run("SELECT tenancy.rollup()");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 3); COMMIT");
    let (to_settle, to_cancel, to_keep) = (
        reserve("alice", 100, "1 day"),
        reserve("alice", 50, "1 day"),
        reserve("eve", 7, "1 day"),
    );
    let to_expire = reserve("alice", 200, "4 seconds");

    let standby = primary.standby();
    let _first = EndFirst(&primary);
    let mut admin = world.db.admin();
    admin.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    admin.run("SELECT pg_reload_conf()");
    let end = Instant::now() + Duration::from_secs(30);
    while admin.number("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 0 {
        assert!(Instant::now() < end, "the standby does not stream");
        thread::sleep(Duration::from_millis(50));
    }
    let mut there = wait_for(&config_on(&standby, &world, "postgres"), "the standby");
    catch_up(&mut admin, &mut there);

    // It answers from rows.
    let mut app = Session::connect(&config_on(&standby, &world, &world.db.app));
    app.begin(world.key("alice"));
    let tenant = "SELECT concat_ws(' ', allowed, level, amount, used, in_flight, remaining) FROM tenancy.check_budget('tokens', ";
    let now = app.text(&format!("{tenant} 708)"));
    assert!(
        now == "f tenant 1100 43 707" || now == "t tenant 1100 43 907",
        "{now}"
    );
    thread::sleep(Duration::from_secs(4));
    assert_eq!(
        app.text(&format!("{tenant} 907)")),
        "t tenant 1100 43 907",
        "expired reservations hold no room"
    );
    assert_eq!(app.text(&format!("{tenant} 908)")), "f tenant 1100 43 907");
    assert_eq!(
        app.text("SELECT concat_ws(' ', tenancy.fits('tokens', 907), tenancy.fits('tokens', 908))"),
        "t f"
    );
    app.run("COMMIT");
    let mut own = Session::connect(&config_on(&standby, &world, &world.db.app));
    assert_eq!(
        own.begin(world.key("ops")).text(
            "SELECT concat_ws(' ', quantity, cost, events) FROM tenancy.usage('acme', 'tokens')"
        ),
        "43 21.5 2"
    );
    usage_agrees(&mut there);
    // The error names the reason.
    for refused in [
        "SELECT tenancy.consume('tokens', 1)",
        "SELECT tenancy.consume('tokens', 0)",
        "SELECT tenancy.record_usage('calls')",
        "SELECT tenancy.record_usage('calls', idempotency_key => 'k')",
        "SELECT tenancy.record_usage_many('[{\"metric\": \"calls\"}]')",
        "SELECT tenancy.reserve('tokens', 1)",
        &format!("SELECT tenancy.settle('{to_settle}', 1)"),
        &format!("SELECT tenancy.cancel('{to_cancel}')"),
    ] {
        app.begin(world.key("alice"))
            .fails(refused)
            .code("25006")
            .says("standby")
            .hints("check_budget()");
        app.run("ROLLBACK");
    }
    let mut gateway = Session::connect(&config_on(&standby, &world, &world.db.gateway));
    gateway
        .fails(&format!(
            "SELECT tenancy.record_usage_for('{}', 'tokens', 1)",
            world.id("alice")
        ))
        .code("25006")
        .hints("check_budget()");
    gateway
        .fails(&format!(
            "INSERT INTO tenancy.recorded_usage (metric, user_id) VALUES ('tokens', '{}')",
            world.id("alice")
        ))
        .code("25006");
    // Elsewhere a transaction that may not write is its own matter.
    let mut reader = world.db.app();
    reader.run("BEGIN READ ONLY").login(world.key("alice"));
    assert!(
        !reader
            .fails("SELECT tenancy.reserve('tokens', 1)")
            .code("25006")
            .message
            .contains("standby")
    );

    // An acknowledged commit is on the standby, whatever happens to the primary.
    let (sure, unsure) = (Mutex::new(HashSet::new()), Mutex::new(HashSet::new()));
    let (began, until) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|scope| {
        let stop = Stop(&until);
        for (n, user) in WRITERS.into_iter().enumerate() {
            let (world, sure, unsure, until) = (&world, &sure, &unsure, &until);
            scope.spawn(move || {
                let (mut session, mut dice) = (world.db.app(), Dice(n as u64));
                for k in 0.. {
                    if until.load(Ordering::Relaxed) {
                        return;
                    }
                    let mark = (n * 1_000_000 + k) as i64;
                    let what = match dice.roll(4) {
                        0 => format!("tenancy.record_usage('calls', attributes => '{{\"n\": {mark}}}')"),
                        1 => format!("tenancy.settle(tenancy.reserve('tokens', 2), {}, attributes => '{{\"n\": {mark}}}')", 1 + dice.roll(2)),
                        quantity => format!("tenancy.consume('tokens', {quantity}, attributes => '{{\"n\": {mark}}}')"),
                    };
                    let project = if user == "alice" { "SELECT tenancy.select_project('acme/red');" } else { "" };
                    let sql = format!("BEGIN; SELECT tenancy.authenticate('{}'); {project} SELECT {what}; COMMIT", world.key(user));
                    match session.batch_execute(&sql) {
                        Ok(()) => drop(sure.lock().unwrap().insert(mark)),
                        Err(error) => match Failure::from(&error).code.as_str() {
                            "53400" if session.batch_execute("ROLLBACK").is_ok() => {}
                            "53400" => return,
                            "" | "57P01" | "57P02" => {
                                unsure.lock().unwrap().insert(mark);
                                return;
                            }
                            _ => panic!("{:?}", Failure::from(&error)),
                        },
                    }
                }
            });
        }
        // Who asks meanwhile, and who rolls up.
        scope.spawn(|| {
            let mut owner = world.db.owner();
            while !until.load(Ordering::Relaxed)
                && owner.batch_execute("SELECT tenancy.rollup()").is_ok()
            {
                thread::sleep(Duration::from_millis(100));
            }
        });
        while began.elapsed() < Duration::from_secs(3) {
            app.begin(world.key("alice"))
                .run("SELECT * FROM tenancy.check_budget('tokens')")
                .run("COMMIT");
            within_budgets(&mut there);
            usage_agrees(&mut there);
        }
        primary.crash();
        drop(stop);
    });
    there.run("SELECT pg_promote(wait => false)");
    let end = Instant::now() + Duration::from_secs(30);
    while there.text("SELECT pg_is_in_recovery()") == "t" {
        assert!(Instant::now() < end, "it is not promoted");
        thread::sleep(Duration::from_millis(20));
    }

    let events: HashSet<i64> = there
        .texts(
            "SELECT attributes ->> 'n' FROM tenancy_internal.usage_events WHERE attributes ? 'n'",
        )
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    let (sure, unsure) = (sure.into_inner().unwrap(), unsure.into_inner().unwrap());
    assert!(sure.len() > 100, "{} events", sure.len());
    assert!(
        sure.is_subset(&events),
        "lost: {:?}",
        sure.difference(&events).collect::<Vec<_>>()
    );
    assert!(events.difference(&sure).all(|n| unsure.contains(n)));

    // The world, there; connections that were made before are as good as new ones.
    let db = |role: &str| Session::connect(&config_on(&standby, &world, role));
    let touch = || {
        for user in WRITERS {
            let mut session = db(&world.db.app);
            enter(&mut session, &world, user);
            session.run("SELECT * FROM tenancy.check_budget('tokens', 1)");
        }
    };
    touch();
    within_budgets(&mut there);
    all_agrees(&mut there, ENTRIES);
    app.begin(world.key("alice"))
        .run("SELECT tenancy.record_usage('calls'); COMMIT");
    // What was open is ended here.
    app.begin(world.key("alice"))
        .run(&format!("SELECT tenancy.settle('{to_settle}', 90); COMMIT"));
    app.begin(world.key("alice"))
        .run(&format!("SELECT tenancy.cancel('{to_cancel}'); COMMIT"));
    app.begin(world.key("alice"))
        .fails(&format!("SELECT tenancy.settle('{to_settle}', 90)"))
        .code("55000");
    app.run("ROLLBACK");
    // Its budgets stay exact.
    for id in there.texts(
        "SELECT id FROM tenancy_internal.budget_reservations WHERE state = 'open' AND expires_at > now()",
    ) {
        if id != to_keep {
            panic!("{id} is open and should not be");
        }
    }
    db(&world.db.app)
        .begin(world.key("eve"))
        .run(&format!("SELECT tenancy.settle('{to_keep}'); COMMIT"));
    let keys = ["alice", "bob", "eve", "pat"].map(|user| world.key(user));
    use_up(|| db(&world.db.app), &keys, "tokens", "1");
    assert_eq!(
        there.text(&format!(
            "SELECT state FROM tenancy_internal.budget_reservations WHERE id = '{to_expire}'"
        )),
        "expired"
    );
    within_budgets(&mut there);
    touch();
    all_agrees(&mut there, ENTRIES);
    there.run("SELECT tenancy.rollup()");
    all_agrees(&mut there, ENTRIES);
}
