//! Metering under load: usage() equals the sum of the committed events at every moment, whichever process
//! is killed meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Session, World};

const METRICS: &str = "SELECT tenancy.define_metric('tokens', 'tokens', dimensions => '{model}'), tenancy.define_metric('peak', 'GB', 'max'),
    tenancy.define_metric('people', 'users', 'distinct'), tenancy.define_metric('calls', 'calls', 'count')";

/// Differences, in one snapshot, between usage() and the events, for each metric of every scope with events.
const WRONG: &str = "SELECT count(*) FROM
    (SELECT s.id AS scope, m.name, (SELECT (u.quantity, u.cost, u.events) FROM tenancy.usage(s.id, m.name) u) AS said,
            (SELECT ROW(CASE m.aggregation WHEN 'sum' THEN coalesce(sum(e.quantity) * 0.000001, 0) WHEN 'max' THEN max(e.quantity) * 0.000001
                             WHEN 'count' THEN count(*) ELSE count(DISTINCT e.user_id) END, coalesce(sum(e.cost) * 0.000001, 0), count(*))
               FROM tenancy_internal.usage_events e
              WHERE e.metric_id = m.id AND (s.level = 'platform' OR s.id IN (e.partner_id, e.tenant_id, e.project_id, e.user_id))) AS truth
       FROM tenancy.scopes s, tenancy_internal.metric_definitions m) x
    WHERE x.said IS DISTINCT FROM x.truth";

/// The same by day and user, in one snapshot.
const WRONG_BY: &str = "SELECT count(*) FROM
    (SELECT u.bucket_start, u.key, u.quantity FROM tenancy.usage('platform', 'tokens', bucket => 'day', by_dimension => 'user') u) u
    FULL JOIN (SELECT date_trunc('day', e.at, 'UTC') AS bucket_start, e.user_id::text AS key, sum(e.quantity) * 0.000001 AS quantity
                 FROM tenancy_internal.usage_events e JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id AND m.name = 'tokens' GROUP BY 1, 2) t
      ON t.bucket_start = u.bucket_start AND t.key IS NOT DISTINCT FROM u.key
    WHERE t.quantity IS DISTINCT FROM u.quantity";

/// Rollups of all three grains hold what is below the mark.
const ROLLED: &str = "SELECT concat_ws(' ', (SELECT sum(events) FROM tenancy_internal.usage_quarterly), (SELECT sum(events) FROM tenancy_internal.usage_hourly), (SELECT sum(events) FROM tenancy_internal.usage_daily),
    (SELECT count(*) FROM tenancy_internal.usage_events e JOIN tenancy.usage_marks m ON m.origin = e.origin AND e.xid < m.rolled_to))";

fn metered(world: World) -> World {
    let mut admin = world.db.admin();
    admin.run(METRICS);
    admin.run(&format!(
        "ALTER DATABASE {} SET tenancy.usage_rollup_interval = 1",
        world.db.name
    ));
    world
        .db
        .owner()
        .run("SELECT tenancy.create_project('acme', 'red')");
    world
}

#[track_caller]
fn agree(session: &mut Session) {
    assert_eq!(session.number(WRONG), 0, "usage() and the events differ");
    assert_eq!(session.number(WRONG_BY), 0, "by day and user");
    let rolled = session.text(ROLLED);
    let parts: Vec<&str> = rolled.split(' ').collect();
    assert!(parts.iter().all(|part| *part == parts[0]), "{rolled}");
}

/// Rolls up until nothing is left, which other databases' transactions may put off.
#[track_caller]
fn roll_all(session: &mut Session) {
    let end = Instant::now() + Duration::from_secs(30);
    while session.number("SELECT tenancy.rollup() * 0 + count(*) FROM tenancy_internal.usage_events e LEFT JOIN tenancy.usage_marks m ON m.origin = e.origin WHERE e.xid >= m.rolled_to OR m.origin IS NULL") > 0 {
        assert!(Instant::now() < end, "something is never rolled up");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The steps of a writer in order: pseudo-random, and the same for the same seed.
fn write(world: &World, user: &str, seed: u64, until: &AtomicBool) {
    let mut dice = Dice(seed);
    let mut random = |n: u64| dice.roll(n);
    let mut session = world.db.app();
    while !until.load(Ordering::Relaxed) {
        session.begin(world.key(user));
        if user == "ops" {
            session.run("SELECT tenancy.select_tenant('umbrella')");
        }
        for step in 0..random(6) {
            let late = random(200_000);
            session.run(&format!(
                "SAVEPOINT s{step}; SELECT tenancy.record_usage('tokens', {}.{:06}, 0.25, '{{\"model\": \"m{}\"}}', at => now() - interval '{late} seconds'),
                 tenancy.record_usage('peak', {}), tenancy.record_usage('people'), tenancy.record_usage('calls')",
                random(1000), random(1_000_000), random(3), random(500)
            ));
            match random(5) {
                0 => drop(session.run(&format!("ROLLBACK TO s{step}"))),
                1 => drop(session.run("DO $$ BEGIN PERFORM tenancy.record_usage('tokens', 7); RAISE 'x'; EXCEPTION WHEN OTHERS THEN PERFORM tenancy.record_usage('tokens', 5); END $$")),
                _ => {}
            }
        }
        // Some stay open while others begin and end.
        let long = random(8) == 0;
        thread::sleep(Duration::from_millis(random(if long { 400 } else { 4 })));
        session.run(if random(5) == 0 { "ROLLBACK" } else { "COMMIT" });
    }
}

#[test]
fn at_every_moment_it_is_what_the_events_say() {
    let world = metered(World::bare());
    let until = AtomicBool::new(false);
    let looked = AtomicU64::new(0);
    thread::scope(|scope| {
        for (seed, user) in ["alice", "bob", "eve", "ops", "alice", "bob"]
            .into_iter()
            .enumerate()
        {
            let (world, until) = (&world, &until);
            scope.spawn(move || write(world, user, seed as u64 + 1, until));
        }
        // By hand, besides the worker.
        scope.spawn(|| {
            let mut owner = world.db.owner();
            while !until.load(Ordering::Relaxed) {
                owner.run("SELECT tenancy.rollup()");
                thread::sleep(Duration::from_millis(20));
            }
        });
        // One that rolls up and changes its mind.
        scope.spawn(|| {
            let mut owner = world.db.owner();
            while !until.load(Ordering::Relaxed) {
                owner.run("BEGIN; SELECT tenancy.rollup(); ROLLBACK");
                thread::sleep(Duration::from_millis(90));
            }
        });
        let mut admin = world.db.admin();
        let end = Instant::now() + Duration::from_secs(8);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while Instant::now() < end || looked.load(Ordering::Relaxed) <= 3 {
                agree(&mut admin);
                looked.fetch_add(1, Ordering::Relaxed);
            }
        }));
        until.store(true, Ordering::Relaxed);
        if let Err(why) = result {
            std::panic::resume_unwind(why);
        }
    });
    let mut admin = world.db.admin();
    assert!(looked.load(Ordering::Relaxed) > 3);
    assert!(admin.number("SELECT count(*) FROM tenancy_internal.usage_events") > 500);
    agree(&mut admin);
    roll_all(&mut admin);
    agree(&mut admin);
}

#[test]
fn a_transaction_that_recorded_use_is_not_prepared() {
    let world = metered(World::bare());
    let mut admin = world.db.admin();
    admin.run("BEGIN");
    admin.run(&format!(
        "SELECT tenancy.record_usage_for('{}', 'tokens', 3)",
        world.id("alice")
    ));
    admin
        .fails(&format!("PREPARE TRANSACTION '{}'", world.db.name))
        .code("0A000");
    admin.run("ROLLBACK");
    agree(&mut admin);
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.usage_events"),
        0
    );
}

#[test]
fn the_worker_rolls_up_by_itself() {
    let world = metered(World::bare());
    let mut app = world.begin("alice");
    app.run("SELECT tenancy.record_usage('tokens', 3); COMMIT");
    let mut admin = world.db.admin();
    let end = Instant::now() + Duration::from_secs(30);
    while admin.number("SELECT count(*) FROM tenancy_internal.usage_daily") == 0 {
        assert!(Instant::now() < end, "nothing was rolled up");
        thread::sleep(Duration::from_millis(100));
    }
    agree(&mut admin);
}

#[test]
fn a_key_counts_once_in_any_order() {
    let world = metered(World::bare());
    // Two at once: the second waits; when the first is rolled back, it is the event.
    for (end, events, same) in [("COMMIT", 1, true), ("ROLLBACK", 2, false)] {
        let mut first = world.begin("alice");
        let sql =
            format!("SELECT tenancy.record_usage('tokens', 5, idempotency_key => '{end}')::text");
        let id = first.text(&sql);
        let mut second = world.begin("alice");
        let other = thread::scope(|scope| {
            let waiting = scope.spawn(|| second.text(&sql));
            thread::sleep(Duration::from_millis(300));
            assert!(!waiting.is_finished(), "it did not wait");
            first.run(end);
            waiting.join().unwrap()
        });
        second.run("COMMIT");
        assert_eq!(other == id, same, "{end}");
        let mut admin = world.db.admin();
        assert_eq!(
            admin.number("SELECT events FROM tenancy.usage('acme', 'tokens')"),
            events
        );
    }
    // Many at once, each key from every one of them; late ones in another month, too.
    thread::scope(|scope| {
        for n in 0..8 {
            let mut session = world.db.app();
            let world = &world;
            scope.spawn(move || {
                for key in 0..50 {
                    session.begin(world.key("alice"));
                    session.run(&format!(
                        "SELECT tenancy.record_usage('tokens', 2, idempotency_key => 'k{key}', at => now() - interval '{} days')",
                        (n * 4) % 33
                    ));
                    session.run(if (n + key) % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
                }
            });
        }
    });
    let mut admin = world.db.admin();
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.usage_events WHERE quantity = 2000000"),
        50
    );
    // The same key is another one for another metric and in another tenant.
    for (user, metric) in [("alice", "calls"), ("bob", "tokens")] {
        let mut app = world.begin(user);
        let sql = format!("SELECT tenancy.record_usage('{metric}', idempotency_key => 'k1')::text");
        let id = app.text(&sql);
        assert_eq!(app.text(&sql), id);
        app.run("COMMIT");
        assert_eq!(
            admin.number(&format!(
                "SELECT count(*) FROM tenancy_internal.usage_events WHERE id = '{id}'"
            )),
            1
        );
    }
    agree(&mut admin);
}

#[test]
fn a_hundred_thousand_at_once_count_the_same() {
    let world = metered(World::bare());
    let mut gateway = world.db.gateway();
    let users = format!(
        "ARRAY['{}', '{}', '{}']::uuid[]",
        world.id("alice"),
        world.id("bob"),
        world.id("eve")
    );
    assert_eq!(
        gateway.touched(&format!(
            "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, attributes) SELECT 'tokens', n % 7, ({users})[1 + n % 3], jsonb_build_object('model', n % 2)
             FROM generate_series(1, 100000) n"
        )),
        100_000
    );
    let mut copy = gateway
        .copy_in(
            "COPY tenancy.recorded_usage (metric, quantity, user_id, idempotency_key) FROM STDIN",
        )
        .unwrap();
    for n in 0..100_000 {
        use std::io::Write;
        // Every second one has been copied before.
        writeln!(copy, "tokens\t2\t{}\t{}", world.id("bob"), n / 2).unwrap();
    }
    copy.finish().unwrap();
    let mut admin = world.db.admin();
    assert_eq!(
        admin.number("SELECT events FROM tenancy.usage('platform', 'tokens')"),
        150_000
    );
    let expected = admin.number("SELECT sum(n % 7) FROM generate_series(1, 100000) n") + 100_000;
    assert_eq!(
        admin.number("SELECT quantity::bigint FROM tenancy.usage('platform', 'tokens')"),
        expected
    );
    assert_eq!(
        admin.texts("SELECT s.slug || ' ' || u.events FROM tenancy.usage('globex', 'tokens', by_dimension => 'tenant') u JOIN tenancy.scopes s ON s.id = u.key::uuid ORDER BY 1"),
        ["acme 33333", "umbrella 83334"]
    );
    agree(&mut admin);
    roll_all(&mut admin);
    agree(&mut admin);
    // All or nothing.
    gateway.fails(&format!(
        "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id) SELECT 'tokens', 500 - n, ({users})[1] FROM generate_series(1, 1000) n"
    )).code("22023");
    assert_eq!(
        admin.number("SELECT events FROM tenancy.usage('platform', 'tokens')"),
        150_000
    );
}

#[test]
fn no_argument_reaches_another_scope() {
    let world = metered(World::bare());
    let mut app = world.db.app();
    let umbrella = world.id("umbrella");
    app.begin(world.key("alice"));
    for attributes in [
        format!(
            "{{\"tenant_id\": \"{umbrella}\", \"partner_id\": \"{umbrella}\", \"user_id\": \"{umbrella}\"}}"
        ),
        format!("{{\"model\": \"{umbrella}\"}}"),
    ] {
        app.run(&format!(
            "SELECT tenancy.record_usage('tokens', 1, attributes => '{attributes}')"
        ));
        app.run(&format!(
            "SELECT tenancy.record_usage_many('[{{\"metric\": \"tokens\", \"attributes\": {attributes}}}]')"
        ));
    }
    app.run("COMMIT");
    for sql in [
        format!("SELECT tenancy.record_usage_for('{umbrella}', 'tokens')"),
        format!(
            "INSERT INTO tenancy.recorded_usage (metric, tenant_id) VALUES ('tokens', '{umbrella}')"
        ),
        "INSERT INTO tenancy_internal.usage_events SELECT * FROM tenancy_internal.usage_events"
            .to_owned(),
        "INSERT INTO tenancy_internal.usage_daily SELECT * FROM tenancy_internal.usage_daily"
            .to_owned(),
        "DELETE FROM tenancy.usage_marks".to_owned(),
        "SELECT tenancy.rollup()".to_owned(),
        "SELECT tenancy_internal.record('tokens', 1, NULL, NULL, NULL, NULL, 1)".to_owned(),
        format!("SELECT * FROM tenancy_internal.usage('{umbrella}', NULL, NULL, NULL, NULL, NULL)"),
    ] {
        app.begin(world.key("alice"));
        app.fails(&sql).code("42501");
        app.run("ROLLBACK");
    }
    let mut admin = world.db.admin();
    assert_eq!(
        admin.texts("SELECT DISTINCT s.slug FROM tenancy_internal.usage_events e JOIN tenancy.scopes s ON s.id = e.tenant_id"),
        ["acme"]
    );
    // A request for another's usage reveals nothing, not even that the scope exists.
    app.begin(world.key("alice"));
    for scope in [
        "umbrella",
        "soylent",
        "hooli",
        "00000000-0000-7000-8000-00000000beef",
    ] {
        let id = world
            .ids
            .get(scope)
            .map_or(scope.to_owned(), ToString::to_string);
        app.run("SAVEPOINT s")
            .fails(&format!("SELECT * FROM tenancy.usage('{id}')"))
            .code("42704")
            .says(&format!("scope \"{id}\" does not exist"));
        app.run("ROLLBACK TO s");
    }
}

#[test]
fn a_price_holds_from_now_on_in_every_session() {
    let world = metered(World::bare());
    let mut owner = world.db.owner();
    let mut app = world.db.app();
    let mut cost = |price: &str, at_once: i64| {
        owner.run(&format!("BEGIN; SELECT tenancy.define_metric('tokens', 'tokens', dimensions => '{{model}}', price => {price}); COMMIT"));
        app.begin(world.key("alice"));
        let id = app.text("SELECT tenancy.record_usage('tokens', 10)::text");
        app.run("COMMIT");
        assert_eq!(
            owner.number(&format!(
                "SELECT (cost * 1000)::bigint FROM tenancy.recorded_usage WHERE id = '{id}'"
            )),
            at_once
        );
    };
    cost("0.5", 5000);
    cost("0.25", 2500);
    cost("NULL", 2500);
    cost("0", 0);
    // A definition that is rolled back was none.
    owner.run("BEGIN; SELECT tenancy.define_metric('brief', 'x')");
    let alice = world.id("alice");
    owner.run(&format!(
        "SELECT tenancy.record_usage_for('{alice}', 'brief'); ROLLBACK"
    ));
    owner
        .fails(&format!(
            "SELECT tenancy.record_usage_for('{alice}', 'brief')"
        ))
        .code("42704");
}

/// Events that are recorded while everything is killed.
fn survive(world: &World, cluster: &Cluster, kill: impl Fn(&mut Session), times: usize) {
    let until = AtomicBool::new(false);
    let acknowledged = AtomicU64::new(0);
    thread::scope(|scope| {
        for user in ["alice", "bob", "eve"] {
            let (until, acknowledged) = (&until, &acknowledged);
            scope.spawn(move || {
                while !until.load(Ordering::Relaxed) {
                    let Ok(mut session) = Session::try_connect(&world.db.config(&world.db.app)) else {
                        thread::sleep(Duration::from_millis(50));
                        continue;
                    };
                    let sql = format!("BEGIN; SELECT tenancy.authenticate('{}'); SELECT tenancy.record_usage('tokens', 1); SELECT tenancy.record_usage('calls'); COMMIT", world.key(user));
                    while !until.load(Ordering::Relaxed) && session.batch_execute(&sql).is_ok() {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..times {
            thread::sleep(Duration::from_millis(700));
            drop(wait_for(&cluster.config(), "the server"));
            let Ok(mut admin) = Session::try_connect(&world.db.config("postgres")) else {
                continue;
            };
            kill(&mut admin);
        }
        until.store(true, Ordering::Relaxed);
    });
    let mut admin = wait_for(&world.db.config("postgres"), "the database");
    agree(&mut admin);
    let recorded = admin.number("SELECT count(*) FROM tenancy_internal.usage_events e JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id AND m.name = 'calls'");
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    assert!(
        recorded.unsigned_abs() >= acknowledged && acknowledged > 20,
        "{recorded} {acknowledged}"
    );
    roll_all(&mut admin);
    agree(&mut admin);
}

#[test]
fn after_any_kill_nothing_is_lost_or_counted_twice() {
    let cluster = Cluster::start();
    let worker = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()";
    for kind in ["worker", "backend", "server"] {
        let world = metered(World::bare_in(Db::on(cluster.config())));
        survive(
            &world,
            &cluster,
            |admin| match kind {
                "worker" => {
                    let pid = admin.number(worker);
                    if pid > 0 {
                        cluster.kill_process(i32::try_from(pid).unwrap());
                    }
                }
                "backend" => cluster.kill_process(admin.pid()),
                _ => cluster.kill(),
            },
            2,
        );
    }
}

#[test]
fn dimensions_are_texts_whatever_they_came_as() {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', dimensions => '{model,region,tier,none}', prices => '{\"model\": {\"small \\\"é\\\"\": 2}}')",
    );
    let mut alice = world.db.app();
    let mut admin = world.db.admin();
    for (attributes, dimensions, cost) in [
        (
            r#"{"model": "small \"é\"", "region": true, "tier": 1.50, "other": {"deep": [1, "model"]}}"#,
            r#"{"tier": "1.5", "model": "small \"é\"", "region": "true"}"#,
            2,
        ),
        (r#"{"tier": 7, "none": null}"#, r#"{"tier": "7"}"#, 0),
        (r#"{"other": "x"}"#, "", 0),
        ("{}", "", 0),
    ] {
        alice.begin(world.key("alice"));
        let id = alice.text(&format!(
            "SELECT tenancy.record_usage('tokens', attributes => $a${attributes}$a$)"
        ));
        alice.run("COMMIT");
        assert_eq!(
            admin.text(&format!(
                "SELECT concat(dimensions, ' ', trim_scale(cost * 0.000001), ' ', attributes = $a${attributes}$a$::jsonb) FROM tenancy_internal.usage_events WHERE id = '{id}'"
            )),
            format!("{dimensions} {cost} t")
        );
    }
    for wrong in [r#"{"model": []}"#, r#"{"tier": {"x": 1}}"#, "[]"] {
        alice
            .begin(world.key("alice"))
            .fails(&format!(
                "SELECT tenancy.record_usage('tokens', attributes => '{wrong}')"
            ))
            .code("22023");
        alice.run("ROLLBACK");
    }
    assert_eq!(
        alice
            .begin(world.key("alice"))
            .text("SELECT count(*)::text FROM tenancy.recorded_usage"),
        "4"
    );
}

#[test]
fn a_batch_with_a_field_that_nobody_reads_records_nothing() {
    let world = metered(World::bare());
    let good = r#"{"metric": "tokens", "quantity": 2}"#;
    for (element, says) in [
        (
            r#"{"metric": "tokens", "idempotencykey": "k"}"#,
            r#"element 2 has an unknown field "idempotencykey""#,
        ),
        (
            r#"{"metric": "tokens", "Quantity": 5}"#,
            r#"element 2 has an unknown field "Quantity""#,
        ),
        (
            r#"{"metric": "tokens", "tenant": "umbrella"}"#,
            r#"element 2 has an unknown field "tenant""#,
        ),
        ("7", "element 2 is not an object"),
        ("null", "element 2 is not an object"),
        (r#"[{"metric": "tokens"}]"#, "element 2 is not an object"),
    ] {
        world
            .begin("alice")
            .fails(&format!(
                "SELECT tenancy.record_usage_many('[{good}, {element}]')"
            ))
            .code("22023")
            .says(says);
    }
    // Which of them is refused for what it says.
    for (element, code) in [
        (r#"{"metric": "tokens", "quantity": -1}"#, "22023"),
        (r#"{"metric": "tokenz"}"#, "42704"),
        (r#"{"quantity": 1}"#, "22023"),
    ] {
        world
            .begin("alice")
            .fails(&format!(
                "SELECT tenancy.record_usage_many('[{good}, {good}, {element}]')"
            ))
            .code(code)
            .details("Element 3 of the array.");
    }
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy.recorded_usage"),
        0
    );
}
