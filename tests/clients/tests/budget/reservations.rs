//! Reservations: durable, settled once by any connection, and never lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Session, World};

fn world_in(db: Db) -> World {
    let world = World::bare_in(db);
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5, dimensions => '{model}', prices => '{\"model\": {\"large\": 2}}'),
                tenancy.define_metric('peak', 'seats', 'max');
         SELECT tenancy.set_budget('acme', 'tokens', 100, 'day'), tenancy.set_budget('globex', NULL, 1000, 'month')",
    );
    world
}

fn world() -> World {
    world_in(Db::new())
}

/// used, in flight and reserved of acme's tokens, by the ledger and by rows.
fn ledger(world: &World) -> (String, String) {
    let mut admin = world.db.admin();
    let says = admin.text("SELECT concat_ws(' ', used, in_flight, reserved) FROM tenancy.ledger WHERE level = 'tenant' AND metric = 'tokens'");
    let rows = admin.text(
        "SELECT concat_ws(' ', trim_scale(coalesce((SELECT sum(quantity) FROM tenancy_internal.usage_events), 0) / 1000000.0), 0,
                coalesce((SELECT sum(quantity) FROM tenancy.reservations WHERE state = 'open'), 0))",
    );
    (says, rows)
}

#[track_caller]
fn agrees(world: &World, expected: &str) {
    let (says, rows) = ledger(world);
    assert_eq!(says, expected);
    assert_eq!(rows, expected);
}

fn reserve(world: &World, quantity: &str) -> String {
    reserve_as(world, "alice", quantity)
}

fn reserve_as(world: &World, user: &str, quantity: &str) -> String {
    let mut session = world.begin(user);
    let id = session.text(&format!("SELECT tenancy.reserve('tokens', {quantity})"));
    session.run("COMMIT");
    id
}

#[test]
fn kept_settled_and_cancelled() {
    let world = world();
    let id = reserve(&world, "60");
    agrees(&world, "0 0 60");
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 41)")
        .code("53400");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 40)")
        .run("ROLLBACK");
    // Another connection, for less than reserved; rolled back first.
    let settle =
        format!("SELECT tenancy.settle('{id}', 25, attributes => '{{\"model\": \"large\"}}')");
    world.begin("alice").run(&settle).run("ROLLBACK");
    agrees(&world, "0 0 60");
    let mut alice = world.begin("alice");
    alice.run(&format!("SAVEPOINT s; {settle}; ROLLBACK TO s"));
    // Nothing is freed before it is committed.
    alice
        .run(&settle)
        .fails("SELECT tenancy.consume('tokens', 41)")
        .code("53400");
    alice
        .run("ROLLBACK")
        .begin(world.key("alice"))
        .run(&settle)
        .run("COMMIT");
    agrees(&world, "25 0 0");
    assert_eq!(
        world
            .db
            .admin()
            .text("SELECT sum(used)::text FROM tenancy.ledger WHERE metric IS NULL"),
        "50"
    );
    world.begin("alice").fails(&settle).code("55000");
    world
        .begin("alice")
        .fails(&format!("SELECT tenancy.cancel('{id}')"))
        .code("55000");
    // Others do not know of it.
    let id = reserve(&world, "75");
    for user in ["bob", "eve"] {
        world
            .begin(user)
            .fails(&format!("SELECT tenancy.settle('{id}')"))
            .code("42704");
        world
            .begin(user)
            .fails(&format!("SELECT tenancy.cancel('{id}')"))
            .code("42704");
    }
    world
        .begin("alice")
        .fails("SELECT tenancy.reserve('tokens', 0.000001)")
        .code("53400");
    world
        .begin("alice")
        .run(&format!("SELECT tenancy.cancel('{id}'); COMMIT"));
    agrees(&world, "25 0 0");
    // Made and ended in one transaction.
    let mut alice = world.begin("alice");
    let id = alice.text("SELECT tenancy.reserve('tokens', 10)");
    alice.run(&format!("SELECT tenancy.settle('{id}', 5); COMMIT"));
    agrees(&world, "30 0 0");
    for (sql, code) in [
        ("SELECT tenancy.reserve('tokens', 1, '0')", "22023"),
        ("SELECT tenancy.reserve('tokens', 1, '8 days')", "22023"),
        ("SELECT tenancy.reserve('tokens', 1, NULL)", "22023"),
        ("SELECT tenancy.reserve('tokens', 'NaN')", "22023"),
        ("SELECT tenancy.reserve('peak', 1)", "22023"),
        ("SELECT tenancy.reserve('nothing', 1)", "42704"),
        ("SELECT tenancy.settle(NULL)", "22023"),
        ("SELECT tenancy.cancel(gen_random_uuid())", "42704"),
        (
            "SELECT * FROM tenancy_internal.budget_reservations",
            "42501",
        ),
        ("SELECT * FROM tenancy_internal.budget_alert_log", "42501"),
    ] {
        world.begin("alice").fails(sql).code(code);
    }
}

#[test]
fn more_than_was_reserved_has_happened_all_the_same() {
    let world = world();
    let mut admin = world.db.admin();
    admin.run("LISTEN tenancy_budget");
    let (one, two) = (reserve(&world, "50"), reserve(&world, "20"));
    // It fits.
    world
        .begin("alice")
        .run(&format!("SELECT tenancy.settle('{one}', 80); COMMIT"));
    agrees(&world, "80 0 20");
    // It does not.
    world
        .begin("alice")
        .run(&format!("SELECT tenancy.settle('{two}', 30); COMMIT"));
    agrees(&world, "110 0 0");
    assert_eq!(admin.texts("SELECT kind || ' ' || amount || ' ' || used || ' ' || reservation FROM tenancy.budget_alerts"), [format!("overrun 20 30 {two}")]);
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.reservations WHERE overrun"),
        1
    );
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400");
    // Listeners learn no more than that: any role can listen.
    let id = admin.text("SELECT id::text FROM tenancy.budget_alerts");
    let mut told = admin.notifications();
    let told = postgres::fallible_iterator::FallibleIterator::next(
        &mut told.timeout_iter(Duration::from_secs(5)),
    )
    .unwrap()
    .unwrap();
    assert_eq!(told.payload(), id);
}

#[test]
fn expired_room_is_free_at_once_and_late_work_counts() {
    let world = world();
    let mut alice = world.begin("alice");
    let id = alice.text("SELECT tenancy.reserve('tokens', 100, '1 second')");
    alice.run("COMMIT").begin(world.key("alice"));
    alice
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400");
    std::thread::sleep(Duration::from_millis(1100));
    // Not one refusal too many: a call that would be refused first frees them.
    alice
        .run("ROLLBACK")
        .begin(world.key("alice"))
        .run("SELECT tenancy.consume('tokens', 99); COMMIT");
    agrees(&world, "99 0 0");
    alice
        .begin(world.key("alice"))
        .fails(&format!("SELECT tenancy.cancel('{id}')"))
        .code("55000");
    alice
        .run("ROLLBACK")
        .begin(world.key("alice"))
        .run(&format!("SELECT tenancy.settle('{id}', 2); COMMIT"));
    agrees(&world, "101 0 0");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy.reservations WHERE overrun"),
        1
    );
}

#[test]
fn thresholds_are_reported_once() {
    let world = world();
    let mut admin = world.db.admin();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 100, 'day', alert_at => '{0.5, 0.9}')");
    let count = "SELECT string_agg(threshold || ':' || used, ' ' ORDER BY threshold) FROM tenancy.budget_alerts \
                 WHERE scope = 'acme' AND metric = 'tokens' AND period = 'day' AND amount = 100";
    for (quantity, expected) in [
        (40, None),
        (15, Some("0.5:55")),
        (5, Some("0.5:55")),
        (35, Some("0.5:55 0.9:95")),
    ] {
        world.begin("alice").run(&format!(
            "SELECT tenancy.consume('tokens', {quantity}); COMMIT"
        ));
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            let now: Option<String> = admin.query_one(count, &[]).unwrap().get(0);
            if now.as_deref() == expected {
                break;
            }
            assert!(Instant::now() < end, "{now:?} is not {expected:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    for bad in ["'{0}'", "'{NaN}'", "'{11}'", "'{NULL}'"] {
        world
            .db
            .owner()
            .fails(&format!(
                "SELECT tenancy.set_budget('acme', 'tokens', 1, 'day', alert_at => {bad})"
            ))
            .code("22023");
    }
}

#[test]
fn each_caller_sees_its_part_of_reservations_and_alerts() {
    let mut world = world();
    let carl = world.db.owner().text(
        "SELECT tenancy.issue_api_key(tenancy.create_user('acme', 'carl', role => 'tenant_admin'), 'test')",
    );
    world.keys.insert("carl", carl);
    world.learn();
    let settled = |user: &str, reserved: &str, used: i32| {
        let mut session = world.begin(user);
        let id = session.text(&format!("SELECT tenancy.reserve('tokens', {reserved})"));
        session.run(&format!("SELECT tenancy.settle('{id}', {used}); COMMIT"));
    };
    settled("alice", "60.5", 90);
    settled("carl", "5", 20);
    let (open, other) = (
        reserve_as(&world, "eve", "3"),
        reserve_as(&world, "bob", "4"),
    );
    world
        .begin("bob")
        .run(&format!("SELECT tenancy.cancel('{other}'); COMMIT"));
    let (alice, carl, eve, bob) = (
        "tokens 60.5 121 settled 90 45 f acme t",
        "tokens 5 10 settled 20 10 t acme t",
        "tokens 3 6 open f soylent f",
        "tokens 4 8 cancelled f umbrella f",
    );
    let told = "overrun tenant acme tokens 5 20";
    let sees = |session: &mut Session, reservations: &[&str], alerts: &[&str]| {
        assert_eq!(
            session.texts(
                "SELECT concat_ws(' ', metric, quantity, cost, state, used, used_cost, overrun, tenant, event_id IS NOT NULL)
                   FROM tenancy.reservations ORDER BY quantity DESC"
            ),
            reservations
        );
        assert_eq!(
            session.texts("SELECT concat_ws(' ', kind, level, scope, metric, period, amount, used) FROM tenancy.budget_alerts"),
            alerts
        );
    };
    sees(&mut world.begin("alice"), &[alice], &[]);
    sees(&mut world.begin("carl"), &[alice, carl], &[told]);
    sees(&mut world.begin("ops"), &[alice, carl, bob], &[told]);
    sees(&mut world.begin("boss"), &[eve], &[]);
    sees(&mut world.begin("eve"), &[eve], &[]);
    sees(&mut world.begin("pat"), &[], &[]);
    sees(&mut world.db.app(), &[], &[]);
    let all = [alice, carl, bob, eve];
    sees(&mut world.db.gateway(), &all, &[told]);
    sees(&mut world.db.owner(), &all, &[told]);
    let grant = format!("GRANT tenancy_auditor TO {}", world.db.stranger);
    world.db.admin().run(&grant);
    let mut auditor = world.db.stranger();
    sees(&mut auditor, &all, &[told]);
    // What was used, too; and nothing that changes anything.
    assert_eq!(
        auditor
            .text("SELECT concat_ws(' ', quantity, cost) FROM tenancy.usage('globex', 'tokens')"),
        "110 55"
    );
    auditor
        .fails("SELECT tenancy.usage(gen_random_uuid(), 'tokens')")
        .code("42704");
    for denied in [
        format!("SELECT tenancy.settle('{open}')"),
        "SELECT tenancy.set_budget('acme', 'tokens', 1)".to_owned(),
        "SELECT tenancy.rollup()".to_owned(),
    ] {
        auditor.fails(&denied).code("42501");
    }
    // Others still need a context for it.
    for mut session in [world.db.gateway(), world.db.app()] {
        session
            .fails(&format!(
                "SELECT tenancy.usage('{}', 'tokens')",
                world.id("globex")
            ))
            .code("55000");
    }
}

#[test]
fn reservations_race_settle_once_and_outlive_a_crash() {
    let cluster = Cluster::start();
    let world = world_in(Db::on(cluster.config()));
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 1000, 'day')");
    let ids: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let world = &world;
                scope.spawn(move || {
                    let (mut session, mut ids) = (world.db.app(), Vec::new());
                    for round in 0..30 {
                        session.begin(world.key("alice"));
                        let Ok(row) =
                            session.query_one("SELECT tenancy.reserve('tokens', 7, attributes => '{\"model\": \"small\"}')::text", &[])
                        else {
                            session.run("ROLLBACK");
                            continue;
                        };
                        if (round + n) % 5 == 0 {
                            session.run("ROLLBACK");
                        } else {
                            session.run("COMMIT");
                            ids.push(row.get(0));
                        }
                    }
                    ids
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    // The budget has room for 142 times 7.
    assert_eq!(ids.len(), 142);
    agrees(&world, "0 0 994");
    cluster.kill();
    drop(wait_for(&cluster.config(), "the server"));
    world
        .begin("alice")
        .fails("SELECT tenancy.reserve('tokens', 7, attributes => '{\"model\": \"small\"}')")
        .code("53400");
    agrees(&world, "0 0 994");
    // All sessions try to end every one: each is settled once, also if it was cancelled before.
    let settled: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_usize)
            .map(|n| {
                let (world, ids) = (&world, &ids);
                scope.spawn(move || {
                    let mut session: Session = world.db.app();
                    let mut done = 0;
                    for k in 0..ids.len() {
                        let id = &ids[(k + n * 7) % ids.len()];
                        session.begin(world.key("alice"));
                        let call = if k % 3 == 0 {
                            format!("cancel('{id}')")
                        } else {
                            format!("settle('{id}', {})", k % 8)
                        };
                        match session.batch_execute(&format!("SELECT tenancy.{call}")) {
                            Ok(()) => {
                                session.run("COMMIT");
                                done += usize::from(call.starts_with("settle"));
                            }
                            Err(error) => {
                                assert_eq!(
                                    error.code().map(|c| c.code()),
                                    Some("55000"),
                                    "{error:?}"
                                );
                                session.run("ROLLBACK");
                            }
                        }
                    }
                    done
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(settled, 142);
    let used = world.db.admin().text(
        "SELECT trim_scale(sum(quantity) / 1000000.0)::text FROM tenancy_internal.usage_events",
    );
    agrees(&world, &format!("{used} 0 0"));
}

fn cap(world: &World, user: u32, tenant: u32) {
    world.db.admin().run(&format!(
        "ALTER DATABASE {0} SET tenancy.reservations_per_user = {user}; ALTER DATABASE {0} SET tenancy.reservations_per_tenant = {tenant}",
        world.db.name
    ));
}

/// Without a limit a user could open millions, and each budget above would be slow to load for all.
#[test]
fn a_user_and_a_tenant_have_so_many_open() {
    let mut world = world();
    world.db.owner().run("SELECT tenancy.create_user('acme', 'ann'), tenancy.create_user('acme', 'amy'), tenancy.set_budget('acme', 'tokens', 1000000, 'day')");
    for user in ["ann", "amy"] {
        let key = world.db.owner().text(&format!(
            "SELECT tenancy.issue_api_key('acme/{user}', 'test')"
        ));
        world.keys.insert(user, key);
    }
    cap(&world, 3, 5);
    let full = |user: &str, says: &str| {
        world
            .begin(user)
            .fails("SELECT tenancy.reserve('tokens', 1)")
            .code("53400")
            .says(says)
            .hints("tenancy.reservations_per_user");
    };
    let ids: Vec<String> = (0..3).map(|_| reserve(&world, "1")).collect();
    full("alice", "the user has 3 open reservations");
    // In one transaction too, and what is rolled back is free again.
    let mut ann = world.begin("ann");
    ann.run(
        "SELECT tenancy.reserve('tokens', 1); SAVEPOINT s; SELECT tenancy.reserve('tokens', 1)",
    );
    full("amy", "the tenant has 5 open reservations");
    ann.run("ROLLBACK TO s");
    let amys = reserve_as(&world, "amy", "1");
    full("amy", "the tenant has 5 open reservations");
    ann.run("ROLLBACK");
    reserve_as(&world, "ann", "1");
    full("ann", "the tenant");
    // Others are not concerned, nor is what needs no reservation.
    world
        .begin("bob")
        .run("SELECT tenancy.reserve('tokens', 1); COMMIT");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('tokens', 1); COMMIT");
    world
        .begin("alice")
        .run(&format!("SELECT tenancy.settle('{}', 1); COMMIT", ids[0]));
    world
        .begin("amy")
        .run(&format!("SELECT tenancy.cancel('{amys}'); COMMIT"));
    for _ in 0..2 {
        reserve_as(&world, "ann", "1");
    }
    full("alice", "the tenant");
    // It settles what expired or was settled once, and no more.
    world
        .begin("alice")
        .fails(&format!("SELECT tenancy.settle('{}', 1)", ids[0]))
        .code("55000");
    full("alice", "the tenant");
    // Read from the rows again.
    world
        .db
        .admin()
        .run("SELECT tenancy_internal.forget_ledger()");
    full("alice", "the tenant");
    cap(&world, 0, 0);
    for _ in 0..7 {
        reserve(&world, "1");
    }
    // Who is bounded does not say how much.
    for mut session in [world.db.app(), world.db.gateway(), world.db.owner()] {
        session
            .fails("SET tenancy.reservations_per_user = 0")
            .code("42501");
    }
}

#[test]
fn expired_reservations_do_not_take_room() {
    let world = world();
    cap(&world, 2, 2);
    let mut alice = world.begin("alice");
    alice.run("SELECT tenancy.reserve('tokens', 1, '1 second'), tenancy.reserve('tokens', 1, '1 hour'); COMMIT");
    let over = "SELECT count(*) FROM tenancy.reservations WHERE expires_at <= clock_timestamp()";
    while world.db.admin().number(over) < 1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    reserve(&world, "1");
    world
        .begin("alice")
        .fails("SELECT tenancy.reserve('tokens', 1)")
        .code("53400");
}

#[test]
fn of_many_at_once_as_many_as_may_are_opened() {
    let world = world();
    cap(&world, 40, 0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut session = world.db.app();
                for _ in 0..20 {
                    session.begin(world.key("alice"));
                    let _ = session.batch_execute("SELECT tenancy.reserve('tokens', 0.01)");
                    session.run("COMMIT");
                }
            });
        }
    });
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy.reservations WHERE state = 'open'"),
        40
    );
}

#[test]
fn work_of_a_tenant_that_was_suspended_meanwhile_is_settled() {
    let world = world();
    let ids: Vec<String> = (0..5).map(|_| reserve(&world, "10")).collect();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_status('acme', 'suspended')");
    let settle = |id: &str| format!("SELECT tenancy.settle('{id}', 7)");
    let cancel = |id: &str| format!("SELECT tenancy.cancel('{id}')");
    // Nobody else may end it, nor learns whether it exists.
    for user in [None, Some("bob"), Some("ops")] {
        for sql in [settle(&ids[0]), cancel(&ids[0])] {
            let mut session = user.map_or_else(|| world.db.app(), |user| world.begin(user));
            let failure = session.fails(&sql);
            let codes = ["55000", "42704"];
            assert!(codes.contains(&failure.code.as_str()), "{failure:?}");
        }
    }
    agrees(&world, "0 0 50");
    world
        .db
        .gateway()
        .run(&settle(&ids[0]))
        .run(&cancel(&ids[1]));
    agrees(&world, "7 0 30");
    owner.run("SELECT tenancy.set_status('acme', 'archived')");
    world.db.gateway().run(&settle(&ids[2]));
    owner.run("SELECT tenancy.set_status('acme', 'deleted')");
    world
        .db
        .gateway()
        .run(&settle(&ids[3]))
        .run(&cancel(&ids[4]));
    for once in [0, 2, 3] {
        let again = settle(&ids[once]);
        world.db.gateway().fails(&again).code("55000");
    }
    assert_eq!(
        world
            .db
            .admin()
            .texts("SELECT concat_ws(' ', state, used) FROM tenancy.reservations ORDER BY id"),
        [
            "settled 7",
            "cancelled",
            "settled 7",
            "settled 7",
            "cancelled"
        ]
    );
    world
        .db
        .gateway()
        .fails(&settle("01890000-0000-7000-8000-000000000001"))
        .code("42704");
}
