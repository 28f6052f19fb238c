//! Budgets are exact under any concurrency.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tenancy_client_tests::metering::{Dice, end, units};
use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Session, World};

const METRICS: &str = "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5), tenancy.define_metric('calls', 'calls', 'count'),
    tenancy.define_metric('peak', 'seats', 'max')";
/// Selects entries of the ledger that differ from the events.
const WRONG: &str = "SELECT l.level, l.scope, l.metric, l.period_start, l.used, l.in_flight, s.sum FROM tenancy.ledger l, LATERAL (
    SELECT coalesce(sum(CASE WHEN l.metric IS NULL THEN e.cost ELSE e.quantity END), 0) / 1000000.0 AS sum
      FROM tenancy_internal.usage_events e JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id
     WHERE (l.level = 'platform' OR l.scope_id IN (e.partner_id, e.tenant_id, e.project_id, e.user_id))
       AND (l.metric IS NULL OR m.name = l.metric) AND e.at >= l.period_start AND (l.period_end IS NULL OR e.at < l.period_end)) s
    WHERE NOT l.loaded OR l.used <> s.sum OR l.in_flight <> 0";

fn world() -> World {
    world_in(Db::new())
}

fn world_in(db: Db) -> World {
    let world = World::bare_in(db);
    world.db.owner().run(METRICS);
    world
}

/// Runs an application's transactions of some units, and rolls some back. Returns true when all were refused.
fn work(session: &mut Session, key: &str, dice: &mut Dice) -> bool {
    session.begin(key);
    let (done, refused) = units(session, dice, |_, quantity| {
        format!("consume('tokens', {quantity})")
    });
    // Units that an exception block rolls back are free again too.
    session.run("DO $$ BEGIN PERFORM tenancy.consume('tokens', 1); RAISE EXCEPTION 'no'; EXCEPTION WHEN OTHERS THEN NULL; END $$");
    end(session, dice);
    done == 0 && refused > 0
}

fn used(admin: &mut Session, column: &str, id: uuid::Uuid) -> i64 {
    admin.number(&format!(
        "SELECT (coalesce(sum(quantity), 0) / 1000000)::bigint FROM tenancy_internal.usage_events WHERE {column} = '{id}'"
    ))
}

#[test]
fn a_race_for_exactly_k_units_at_several_levels() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.set_budget('acme/alice', 'tokens', 150, 'day'), tenancy.set_budget('acme', 'tokens', 211, 'month'),
                tenancy.set_budget('globex', 'tokens', 400, 'total'), tenancy.set_budget('platform', NULL, 215.5, 'year')",
    );
    let another = world
        .db
        .owner()
        .text("SELECT tenancy.issue_api_key(tenancy.create_user('acme', 'anna'), 'k')");
    let keys = [
        world.key("alice"),
        &another,
        world.key("bob"),
        world.key("eve"),
    ];
    std::thread::scope(|scope| {
        for n in 0..16_usize {
            let (world, key) = (&world, keys[n % 4]);
            scope.spawn(move || {
                let (mut session, mut dice) = (world.db.app(), Dice(n as u64));
                let mut refused = 0;
                while refused < 5 {
                    refused = if work(&mut session, key, &mut dice) {
                        refused + 1
                    } else {
                        0
                    };
                }
            });
        }
    });
    let mut admin = world.db.admin();
    assert_eq!(admin.texts(WRONG), Vec::<String>::new());
    // All is quiet: what is left is admitted to the last unit, and not one more.
    let drain = |users: &[&str]| {
        for key in users {
            let mut session = world.db.app();
            while session
                .begin(key)
                .batch_execute("SELECT tenancy.consume('tokens', 1)")
                .is_ok()
            {
                session.run("COMMIT");
            }
        }
    };
    drain(&keys);
    let total = "SELECT (sum(quantity) / 1000000)::bigint FROM tenancy_internal.usage_events";
    assert!(used(&mut admin, "user_id", world.id("alice")) <= 150);
    assert!(used(&mut admin, "tenant_id", world.id("acme")) <= 211);
    // At half a unit of cost each.
    assert_eq!(admin.number(total), 431);
    let globex = used(&mut admin, "partner_id", world.id("globex"));
    assert!(globex <= 400, "{globex}");
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_budget('platform', NULL, 'year')");
    drain(&keys[..3]);
    assert_eq!(used(&mut admin, "tenant_id", world.id("acme")), 211);
    assert_eq!(used(&mut admin, "partner_id", world.id("globex")), 400);
    assert_eq!(admin.number(total), 431 + 400 - globex);
    assert_eq!(admin.texts(WRONG), Vec::<String>::new());
}

#[test]
fn budgets_come_and_go_while_use_is_recorded() {
    let cluster = Cluster::start();
    let world = world_in(Db::on(cluster.config()));
    // Few entries for many budgets: they evict one another all the time.
    world
        .db
        .admin()
        .run("ALTER SYSTEM SET tenancy.ledger_entries = 64");
    cluster.down();
    cluster.up();
    world.db.owner().run(
        "SELECT tenancy.create_user('acme', 'u' || n) FROM generate_series(1, 40) n;
         SELECT tenancy.set_budget(u.id, 'tokens', 1000000, 'day'), tenancy.set_budget(u.id, NULL, 1000000, 'hour'), tenancy.set_budget(u.id, 'tokens', 1000000, 'month')
           FROM tenancy.users u WHERE u.slug LIKE 'u%'",
    );
    let keys: Vec<String> = world.db.owner().texts(
        "SELECT tenancy.issue_api_key(u.id, 'k') FROM tenancy.users u WHERE u.slug LIKE 'u%'",
    );
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 0..8_usize {
            let (world, keys, stop, done) = (&world, &keys, &stop, &done);
            scope.spawn(move || {
                let (mut session, mut dice) = (world.db.app(), Dice(n as u64));
                while !stop.load(Ordering::Relaxed) {
                    let key = &keys[dice.roll(keys.len() as u64) as usize];
                    let call = if dice.roll(2) == 0 {
                        "consume"
                    } else {
                        "record_usage"
                    };
                    session.begin(key).run(&format!(
                        "SELECT tenancy.{call}('tokens', {})",
                        dice.roll(3)
                    ));
                    session.run(if dice.roll(4) == 0 {
                        "ROLLBACK"
                    } else {
                        "COMMIT"
                    });
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut owner = world.db.owner();
        let mut admin = world.db.admin();
        for n in 0..60 {
            let scope = ["acme", "globex", "platform"][n % 3];
            owner.run(&format!(
                "SELECT tenancy.set_budget('{scope}', 'tokens', {}, 'month')",
                1_000_000 + n
            ));
            if n % 7 == 0 {
                owner.run(&format!(
                    "SELECT tenancy.remove_budget('{scope}', 'tokens', 'month')"
                ));
                admin.run("SELECT tenancy_internal.forget_ledger()");
            }
            if n % 5 == 0 {
                owner.run("SELECT tenancy.rollup()");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let mut admin = world.db.admin();
    assert_eq!(admin.texts(WRONG), Vec::<String>::new());
    assert!(done.load(Ordering::Relaxed) > 500);
    assert!(admin.number("SELECT evictions FROM tenancy.ledger_stats()") > 100);
    assert!(
        admin.number("SELECT max(evictions) FROM tenancy.ledger WHERE hit_rate BETWEEN 0 AND 100")
            > 100
    );
    assert!(admin.number("SELECT count(*) FROM tenancy.ledger WHERE used > 0") > 30);
    // A batch as a trusted role counts as well.
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 1000000, 'month')");
    let before = world.begin("alice").number("SELECT (used * 1000000)::bigint FROM tenancy.check_budget('tokens') WHERE level = 'tenant'");
    world.db.gateway().run(&format!(
        "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id) SELECT 'tokens', 2, '{}' FROM generate_series(1, 20000)",
        world.id("alice")
    ));
    let after = world.begin("alice").number("SELECT (used * 1000000)::bigint FROM tenancy.check_budget('tokens') WHERE level = 'tenant'");
    assert_eq!(after - before, 40_000_000_000);
    assert_eq!(admin.texts(WRONG), Vec::<String>::new());
}

#[test]
fn after_a_crash_the_ledger_is_what_the_events_say() {
    let cluster = Cluster::start();
    let world = world_in(Db::on(cluster.config()));
    world.db.owner().run("SELECT tenancy.set_budget('acme', 'tokens', 1000000, 'month'), tenancy.set_budget('globex', NULL, 1000000, 'day')");
    for round in 0..3_u64 {
        std::thread::scope(|scope| {
            for n in 0..6_u64 {
                let world = &world;
                scope.spawn(move || {
                    let Ok(mut session) = Session::try_connect(&world.db.config(&world.db.app)) else { return };
                    let mut dice = Dice(round * 100 + n);
                    loop {
                        let sql = format!("BEGIN; SELECT tenancy.authenticate('{}'); SELECT tenancy.consume('tokens', {}); COMMIT", world.key("alice"), 1 + dice.roll(3));
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
        let mut session = wait_for(&world.db.config(&world.db.app), "the database");
        session
            .begin(world.key("alice"))
            .run("SELECT tenancy.consume('tokens', 1); COMMIT");
        let mut admin = world.db.admin();
        assert_eq!(
            admin.number("SELECT count(*) FROM tenancy.ledger WHERE used > 1"),
            2
        );
        assert_eq!(admin.texts(WRONG), Vec::<String>::new());
    }
}

#[test]
fn what_a_backend_held_is_given_back_when_it_ends() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 10, 'day')");
    let (mut admin, mut other) = (world.db.admin(), world.begin("alice"));
    let mut app = world.begin("alice");
    app.run("SELECT tenancy.consume('tokens', 7)");
    other.run("SELECT tenancy.consume('tokens', 3)");
    other
        .run("SAVEPOINT s")
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400");
    other.run("ROLLBACK TO s");
    let pid = app.pid();
    admin.run(&format!("SELECT pg_terminate_backend({pid}, 5000)"));
    other
        .run("SELECT tenancy.consume('tokens', 7)")
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400");
    other.run("ROLLBACK");
    assert_eq!(
        admin.number("SELECT sum(used + in_flight)::bigint FROM tenancy.ledger"),
        0
    );
    // Nothing else passes on what is in flight here.
    let mut app = world.begin("alice");
    app.run("SELECT tenancy.consume('tokens', 1)")
        .fails("PREPARE TRANSACTION 'p'")
        .code("0A000");
    world
        .begin("alice")
        .run("SELECT tenancy.record_usage('tokens', 1)")
        .fails("PREPARE TRANSACTION 'p'")
        .code("0A000");
    // Same transaction, no budget when it began: what it used before counts when it commits, and once.
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_budget('acme', 'tokens', 'day')");
    let mut app = world.begin("alice");
    app.run("SELECT tenancy.consume('tokens', 6)");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 10, 'total')");
    app.run("SELECT tenancy.consume('tokens', 3); COMMIT");
    assert_eq!(
        admin.number(
            "SELECT used::bigint FROM tenancy.ledger WHERE metric = 'tokens' AND level = 'tenant' AND period_end IS NULL"
        ),
        9
    );
    assert_eq!(admin.texts(WRONG), Vec::<String>::new());
}

#[test]
fn only_permitted_callers_set_budgets() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.assign('acme/alice', 'tenant_admin', 'acme')");
    let set = "SELECT tenancy.set_budget('acme', 'tokens', 10, 'day')";
    // The partner imposes; the tenant's own budget is another, and both hold.
    world.begin("ops").run(set).run("COMMIT");
    let mut alice = world.db.app();
    alice
        .begin(world.key("alice"))
        .run("SELECT tenancy.set_budget('acme', 'tokens', 1000, 'day'); COMMIT");
    alice
        .begin(world.key("alice"))
        .fails("SELECT tenancy.consume('tokens', 11)")
        .code("53400");
    alice
        .run("ROLLBACK")
        .begin(world.key("alice"))
        .run("SELECT tenancy.set_budget('acme', 'tokens', 4, 'day'); COMMIT");
    alice
        .begin(world.key("alice"))
        .fails("SELECT tenancy.consume('tokens', 5)")
        .code("53400");
    alice
        .run("ROLLBACK")
        .begin(world.key("alice"))
        .run("SELECT tenancy.remove_budget('acme', 'tokens', 'day')");
    alice
        .fails("SELECT tenancy.remove_budget('acme', 'tokens', 'day')")
        .code("42704");
    alice.run("ROLLBACK").begin(world.key("alice"));
    assert_eq!(alice.number("SELECT count(*) FROM tenancy.budgets"), 2);
    // Others: not there, or not theirs.
    world.begin("bob").fails(set).code("42704");
    world.begin("boss").fails(set).code("42704");
    world
        .begin("alice")
        .fails("SELECT tenancy.set_budget('globex', 'tokens', 10, 'day')")
        .code("42704");
    world
        .begin("ops")
        .fails("SELECT tenancy.set_budget('platform', 'tokens', 10, 'day')")
        .code("42704");
    assert_eq!(
        world
            .begin("eve")
            .number("SELECT count(*) FROM tenancy.budgets"),
        0
    );
    world
        .db
        .app()
        .fails("SELECT tenancy.consume('tokens')")
        .code("55000");
    world
        .db
        .app()
        .fails("SELECT * FROM tenancy.check_budget('tokens')")
        .code("55000");
    for closed in [
        "SELECT * FROM tenancy.ledger",
        "SELECT * FROM tenancy_internal.budget_definitions",
        "SELECT tenancy_internal.forget_ledger()",
        "SELECT * FROM tenancy.ledger_stats()",
    ] {
        world.begin("alice").fails(closed).code("42501");
    }
    let refused = |sql: &str, code: &str| {
        world.db.owner().fails(sql).code(code);
    };
    for amount in [
        "NULL",
        "'NaN'",
        "'Infinity'",
        "-1",
        "0.0000001",
        "9223372036854.775808",
    ] {
        refused(
            &format!("SELECT tenancy.set_budget('acme', 'tokens', {amount})"),
            "22023",
        );
    }
    refused(
        "SELECT tenancy.set_budget('acme', 'tokens', 1, 'fortnight')",
        "22023",
    );
    refused(
        "SELECT tenancy.set_budget('acme', 'tokens', 1, NULL)",
        "22023",
    );
    refused("SELECT tenancy.set_budget(NULL, 'tokens', 1)", "22023");
    refused("SELECT tenancy.set_budget('acme', 'nothing', 1)", "42704");
    refused("SELECT tenancy.set_budget('acme', 'peak', 1)", "22023");
    refused("SELECT tenancy.remove_budget('acme', 'calls')", "42704");
    for quantity in [
        "NULL",
        "'NaN'",
        "'-Infinity'",
        "-1",
        "0.0000001",
        "9223372036854.775808",
    ] {
        for call in [
            "SELECT tenancy.consume",
            "SELECT * FROM tenancy.check_budget",
            "SELECT tenancy.fits",
        ] {
            world
                .begin("alice")
                .fails(&format!("{call}('tokens', {quantity})"))
                .code("22023");
        }
    }
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('nothing')")
        .code("42704");
    // The largest there is does not fit, and does not wrap.
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 9223372036854.775807)")
        .code("53400");
    world
        .begin("alice")
        .run("BEGIN")
        .run("SET TRANSACTION READ ONLY")
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("25006");
}

#[test]
fn periods_follow_the_clock_of_their_zone() {
    let world = world();
    let mut owner = world.db.owner();
    let span = |owner: &mut Session, period: &str, zone: &str, at: &str| {
        owner.text(&format!("SELECT to_char(to_timestamp(lo / 1000000) AT TIME ZONE '{zone}', 'YYYY-MM-DD HH24:MI') || ' ' || (hi - lo) / 3600000000 FROM tenancy_internal.period('{period}', '{zone}', (extract(epoch FROM '{at}'::timestamptz) * 1000000)::bigint)"))
    };
    owner.run("RESET ROLE");
    let mut owner = world.db.admin();
    for (period, zone, at, says) in [
        // Days of 23 and 25 hours.
        (
            "day",
            "Europe/Berlin",
            "2026-03-29 12:00+02",
            "2026-03-29 00:00 23",
        ),
        (
            "day",
            "Europe/Berlin",
            "2026-10-25 00:30+02",
            "2026-10-25 00:00 25",
        ),
        (
            "day",
            "Asia/Kathmandu",
            "2026-01-01 18:14+00",
            "2026-01-01 00:00 24",
        ),
        (
            "day",
            "Asia/Kathmandu",
            "2026-01-01 18:15+00",
            "2026-01-02 00:00 24",
        ),
        // The hour that occurs twice is two periods.
        (
            "hour",
            "Europe/Berlin",
            "2026-10-25 00:30+00",
            "2026-10-25 02:00 1",
        ),
        (
            "hour",
            "Europe/Berlin",
            "2026-10-25 01:30+00",
            "2026-10-25 02:00 1",
        ),
        (
            "hour",
            "Asia/Kathmandu",
            "2026-01-01 00:20+00",
            "2026-01-01 06:00 1",
        ),
        ("week", "UTC", "2026-11-22 23:59+00", "2026-11-16 00:00 168"),
        (
            "month",
            "America/New_York",
            "2026-12-01 04:59+00",
            "2026-11-01 00:00 721",
        ),
        (
            "year",
            "UTC",
            "2028-02-29 00:00+00",
            "2028-01-01 00:00 8784",
        ),
    ] {
        assert_eq!(
            span(&mut owner, period, zone, at),
            says,
            "{period} {zone} {at}"
        );
    }
    // Usage recorded for yesterday counts for yesterday.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 10, 'day')");
    world
        .begin("alice")
        .run("SELECT tenancy.record_usage('tokens', 9, at => now() - interval '1 day'); COMMIT");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 10); COMMIT");
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400");
    // A count counts events.
    owner.run("SELECT tenancy.set_budget('acme', 'calls', 2, 'total')");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('calls', 1000); COMMIT");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('calls', 0); COMMIT");
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('calls', 1)")
        .code("53400");
    for quantity in ["0", "0.000001", "1", "500000"] {
        let same = format!(
            "SELECT allowed = tenancy.fits('tokens', {quantity}) AND allowed = ({quantity} = 0) FROM tenancy.check_budget('tokens', {quantity})"
        );
        assert_eq!(world.begin("alice").text(&same), "t", "{quantity}");
    }
    // Lowered below the usage: no usage is undone, no more is admitted, except zero.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 3, 'day')");
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 0.000001)")
        .code("53400");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 0)");
    // A soft one refuses nothing.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 3, 'day', hard => false)");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 5); COMMIT");
    // An idempotency key: the second attempt consumes nothing.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 16, 'day', hard => true)");
    let first = world
        .begin("alice")
        .run("SELECT 1")
        .text("SELECT tenancy.consume('tokens', 1, idempotency_key => 'k')");
    assert!(!first.is_empty());
    let mut alice = world.begin("alice");
    let first = alice.text("SELECT tenancy.consume('tokens', 1, idempotency_key => 'k')");
    alice.run("COMMIT").begin(world.key("alice"));
    assert_eq!(
        alice.text("SELECT tenancy.consume('tokens', 1, idempotency_key => 'k')"),
        first
    );
    alice
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400");
}

#[test]
fn check_budget_answers_as_the_server_would_write_it() {
    let world = world();
    let mut owner = world.db.owner();
    let mut session = world.db.app();
    let key = world.key("alice");
    // Of another backend's making, and as numbers come: with zeros, as large as they get, beyond 64 bits.
    for amount in [
        "0",
        "0.000001",
        "0.0001",
        "0.5",
        "12.500000",
        "9999",
        "10000",
        "10000.0001",
        "123456789.01",
        "9223372036854.775807",
    ] {
        owner.run(&format!(
            "SELECT tenancy.set_budget('acme', 'tokens', {amount}, 'total')"
        ));
        session.begin(key);
        assert_eq!(
            session.text(&format!(
                "SELECT concat_ws(' ', numeric_send(amount) = numeric_send(trim_scale({amount}::numeric)), amount, pg_typeof(amount),
                        numeric_send(remaining) = numeric_send(amount), numeric_send(used) = numeric_send(0), level, of_cost, period, resets_at)
                   FROM tenancy.check_budget('tokens', 0)"
            )),
            format!("t {} numeric t t tenant f total", owner.text(&format!("SELECT trim_scale({amount}::numeric)")))
        );
        // Whatever a quantity looks like: what fits, fits to the last millionth.
        let fits = |quantity: &str| {
            format!(
                "SELECT concat_ws(' ', tenancy.fits('tokens', {quantity}), (tenancy.check_budget('tokens', {quantity})).allowed)"
            )
        };
        assert_eq!(
            session.text(&fits(&format!("{amount}::numeric(30,10)"))),
            "t t"
        );
        if amount != "9223372036854.775807" {
            assert_eq!(session.text(&fits(&format!("{amount} + 0.000001"))), "f f");
        }
        session.run("COMMIT");
    }
    for _ in 0..2 {
        session
            .begin(key)
            .run("SELECT tenancy.record_usage('tokens', 9223372036854.775807)")
            .run("COMMIT");
    }
    assert_eq!(
        session.begin(key).text(
            "SELECT concat_ws(' ', allowed, used, remaining) FROM tenancy.check_budget('tokens', 1)"
        ),
        "f 18446744073709.551614 0"
    );
    // One record in PL/pgSQL, and each column of it.
    session.run(
        "DO $$ DECLARE r record; BEGIN
             FOR n IN 1..3 LOOP
                 r := tenancy.check_budget('tokens', n);
                 ASSERT NOT r.allowed AND r.used = 18446744073709.551614 AND r.period = 'total' AND r.in_flight = 0 AND r.resets_at IS NULL;
                 ASSERT (tenancy.check_budget('tokens', n)).scope = r.scope;
             END LOOP;
         END $$",
    );
    session.run("COMMIT");
    // A period that ends; nothing to tell where there is no budget.
    owner.run("SELECT tenancy.remove_budget('acme', 'tokens', 'total'), tenancy.set_budget('acme/alice', NULL, 7, 'day')");
    assert_eq!(
        session.begin(key).text(
            "SELECT concat_ws(' ', level, of_cost, resets_at = date_trunc('day', now() AT TIME ZONE 'UTC' + interval '1 day') AT TIME ZONE 'UTC')
               FROM tenancy.check_budget(NULL, 1)"
        ),
        "user t t"
    );
    session.run("COMMIT");
    assert_eq!(
        session.begin(world.key("bob")).text(
            "SELECT concat_ws(' ', allowed, level IS NULL, num_nulls(level, scope, of_cost, period, amount, used, in_flight, remaining, resets_at))
               FROM tenancy.check_budget('tokens')"
        ),
        "t t 9"
    );
}

#[test]
fn a_connection_that_serves_several_tenants_uses_the_right_budget() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.set_budget('acme/alice', 'tokens', 10), tenancy.set_budget('umbrella/bob', 'tokens', 20), tenancy.set_budget('soylent', 'tokens', 30)",
    );
    let mut session = world.db.app();
    let mut amount = |user: &str| {
        session.run("ROLLBACK").begin(world.key(user));
        session.text("SELECT amount FROM tenancy.check_budget('tokens')")
    };
    for _ in 0..2 {
        assert_eq!(amount("alice"), "10");
        assert_eq!(amount("bob"), "20");
        assert_eq!(amount("eve"), "30");
    }
    // A budget that is read again and again shows the change at once.
    assert_eq!(amount("eve"), "30");
    owner.run("SELECT tenancy.set_budget('soylent', 'tokens', 31)");
    assert_eq!(amount("eve"), "31");
    owner.run("SELECT tenancy.set_budget('soylent/eve', 'tokens', 1)");
    assert_eq!(amount("eve"), "1");
}
