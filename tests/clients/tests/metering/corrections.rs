//! Events that are voided, keys that are reused, batches of which each element is told, and periods that are closed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::Duration;

use tenancy_client_tests::{Session, World};

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5, dimensions => '{model}'), tenancy.define_metric('calls', 'calls', 'count'),
                tenancy.define_metric('peak', 'GB', 'max');
         SELECT tenancy.create_project('acme', 'red');
         SELECT tenancy.set_budget('acme', 'tokens', 100, 'month'), tenancy.set_budget('acme', 'calls', 3, 'total'), tenancy.set_budget('globex', NULL, 1000, 'total')",
    );
    world
}

fn record(world: &World, sql: &str) -> String {
    let mut session = world.begin("alice");
    let id = session.text(&format!("SELECT {sql}"));
    session.run("COMMIT");
    id
}

/// What the ledger says of a metric of acme, and says again after it was loaded from rows, rolled up or not.
#[track_caller]
fn used(world: &World, metric: &str, expected: &str) {
    let mut admin = world.db.admin();
    let ledger = format!(
        "SELECT string_agg(DISTINCT used::text, ' ') FROM tenancy.ledger WHERE level = 'tenant' AND metric = '{metric}'"
    );
    for step in ["as counted", "loaded from events", "loaded from rollups"] {
        world.begin("alice").run(&format!(
            "SELECT tenancy.check_budget('{metric}', 0); ROLLBACK"
        ));
        assert_eq!(admin.text(&ledger), expected, "{metric} {step}");
        if step == "loaded from events" {
            admin.run("SELECT tenancy.rollup()");
        }
        admin.run("SELECT tenancy_internal.forget_ledger()");
    }
}

#[test]
fn a_voided_event_counts_as_none() {
    let world = world();
    let keep = record(
        &world,
        "tenancy.consume('tokens', 30, attributes => '{\"model\": \"a\"}')",
    );
    let wrong = record(
        &world,
        "tenancy.consume('tokens', 60, attributes => '{\"model\": \"b\"}')",
    );
    let call = record(&world, "tenancy.consume('calls', 1)");
    record(&world, "tenancy.consume('calls', 1)");
    let mut owner = world.db.owner();
    let void = format!("SELECT tenancy.void_event('{wrong}', 'sent twice')");
    // Rolled back, it counts; and its room is nobody's before the commit.
    let mut other = world.db.owner();
    other.run("BEGIN").run(&void);
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 20)")
        .code("53400");
    other.run("ROLLBACK");
    used(&world, "tokens", "90");
    other.run(&format!(
        "BEGIN; SAVEPOINT s; {void}; ROLLBACK TO s; COMMIT"
    ));
    used(&world, "tokens", "90");
    let id = owner.text(&void);
    owner.run(&format!("SELECT tenancy.void_event('{call}', 'a test')"));
    used(&world, "calls", "1");
    used(&world, "tokens", "30");
    record(&world, "tenancy.consume('tokens', 70)");
    used(&world, "tokens", "100");
    // By all that reads usage.
    assert_eq!(
        owner.texts("SELECT concat_ws(' ', key, quantity, cost, events) FROM tenancy.usage('acme', 'tokens', by_dimension => 'model') ORDER BY key"),
        ["a 30 15 1", "b 0 0 0", "70 35 1"]
    );
    assert_eq!(
        owner.text("SELECT concat_ws(' ', quantity, events) FROM tenancy.usage('acme', 'calls')"),
        "1 1"
    );
    owner.run("SELECT tenancy.rollup()");
    assert_eq!(
        owner.text(
            "SELECT concat_ws(' ', quantity, cost, events) FROM tenancy.usage('acme', 'tokens')"
        ),
        "100 50 2"
    );
    assert_eq!(
        owner.text(&format!("SELECT concat_ws(' ', quantity, cost, corrects = '{wrong}', at = (SELECT at FROM tenancy.recorded_usage WHERE id = '{wrong}')) FROM tenancy.recorded_usage WHERE id = '{id}'")),
        "-60 -30 t t"
    );
    assert_eq!(
        owner.text(&format!("SELECT concat_ws(' ', metric, reason, quantity) FROM tenancy.usage_corrections WHERE event_id = '{wrong}' AND void_id = '{id}'")),
        "tokens sent twice -60"
    );
    assert_eq!(
        owner
            .number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.usage.voided'"),
        2
    );
    // Once; and neither itself nor what does not add up.
    owner.fails(&void).code("42710");
    owner
        .fails(&format!("SELECT tenancy.void_event('{id}', 'x')"))
        .code("22023");
    let peak = record(&world, "tenancy.record_usage('peak', 5)");
    owner
        .fails(&format!("SELECT tenancy.void_event('{peak}', 'x')"))
        .code("22023")
        .says("do not add up");
    for bad in ["''", "NULL", "E'a\\nb'", "repeat('x', 301)"] {
        owner
            .fails(&format!("SELECT tenancy.void_event('{keep}', {bad})"))
            .code("22023");
    }
    owner
        .fails("SELECT tenancy.void_event(gen_random_uuid(), 'x')")
        .code("42704");
}

#[test]
fn only_those_above_void_and_others_learn_nothing() {
    let world = world();
    let id = record(&world, "tenancy.record_usage('tokens', 5)");
    let void = format!("SELECT tenancy.void_event('{id}', 'x')");
    for (user, code) in [
        ("alice", "42501"),
        ("bob", "42704"),
        ("eve", "42704"),
        ("boss", "42704"),
    ] {
        world.begin(user).fails(&void).code(code);
    }
    world.db.app().fails(&void).code("55000");
    world
        .db
        .owner()
        .run("SELECT tenancy.create_user('acme', 'carol', role => 'tenant_admin')");
    let carol = world.db.owner().text(
        "SELECT tenancy.issue_api_key((SELECT id FROM tenancy.users WHERE slug = 'carol'), 'k')",
    );
    world.db.app().begin(&carol).fails(&void).code("42501");
    world.begin("ops").run(&void).run("ROLLBACK");
    world.db.gateway().run(&void);
    world.begin("ops").fails(&void).code("42710");
}

#[test]
fn two_at_once_void_once() {
    let world = world();
    let id = record(&world, "tenancy.record_usage('tokens', 5)");
    let void = format!("SELECT tenancy.void_event('{id}', 'x')");
    let mut first = world.db.owner();
    first.run("BEGIN").run(&void);
    let second = world.db.behind(&mut first, world.db.owner(), &void);
    assert_eq!(second.unwrap_err().code, "42710");
    used(&world, "tokens", "0");
}

#[test]
fn a_reused_key_names_what_differs() {
    let world = world();
    record(
        &world,
        "tenancy.record_usage('tokens', 5, cost => 1, idempotency_key => 'k')",
    );
    for (arguments, differ) in [
        ("6, cost => 1", "quantity"),
        ("5, cost => 2", "cost"),
        ("5", "cost"),
        ("7, cost => 0", "quantity, cost"),
    ] {
        let failure = world
            .begin("alice")
            .fails(&format!(
                "SELECT tenancy.record_usage('tokens', {arguments}, idempotency_key => 'k')"
            ))
            .code("22023");
        failure
            .says("another event")
            .details(&format!("It had another {differ}."));
    }
    let mut gateway = world.db.gateway();
    let for_user = |user: &str, project: &str| {
        format!(
            "SELECT tenancy.record_usage_for({user}, 'tokens', 5, idempotency_key => 'g', tenant => 'acme', project => {project})"
        )
    };
    let alice = format!("'{}'", world.id("alice"));
    gateway.run(&for_user(&alice, "NULL"));
    gateway
        .fails(&for_user("NULL", "NULL"))
        .code("22023")
        .details("another user.");
    gateway
        .fails(&for_user(&alice, "'acme/red'"))
        .code("22023")
        .details("another project.");
    gateway
        .fails(&for_user("NULL", "'acme/red'"))
        .code("22023")
        .details("another project, user.");
    gateway.run(&for_user(&alice, "NULL"));
    assert_eq!(
        gateway.number("SELECT count(*) FROM tenancy.recorded_usage"),
        2
    );
}

#[track_caller]
fn outcomes(session: &mut Session, batch: &str) -> Vec<String> {
    session.texts(&format!(
        "SELECT concat_ws(' ', element, outcome, sqlstate, error) FROM tenancy.record_usage_each($b${batch}$b$) ORDER BY element"
    ))
}

#[test]
fn each_element_of_a_batch_is_told_its_outcome() {
    let world = world();
    let mut alice = world.begin("alice");
    assert_eq!(
        outcomes(
            &mut alice,
            r#"[{"metric": "tokens", "idempotency_key": "b"}, {"metric": "tokens", "idempotency_key": "a"}, {"metric": "tokens", "idempotency_key": "a"}]"#
        ),
        ["1 recorded", "2 recorded", "3 repeated"]
    );
    alice.run("COMMIT").begin(world.key("alice"));
    assert_eq!(
        outcomes(
            &mut alice,
            r#"[{"metric": "tokens", "idempotency_key": "c"}, {"metric": "tokenz"}, {"metric": "tokens", "quantity": -1}, {"metric": "tokens"},
                {"metric": "tokens", "quantity": "x"}, {"metric": "tokens", "idempotency_key": "a", "quantity": 2}, {"metric": "tokens", "at": "2001-01-01"},
                {"metric": "tokens", "idempotency_key": "b"}]"#
        ),
        [
            "1 recorded",
            "2 failed 42704 metric_not_found",
            "3 failed 22023 invalid_argument",
            "4 recorded",
            "5 failed 22P02",
            "6 failed 22023 idempotency_key_reused",
            "7 failed 22023 event_too_old",
            "8 repeated"
        ]
    );
    alice.run("COMMIT");
    assert_eq!(
        world
            .db
            .admin()
            .text("SELECT concat_ws(' ', quantity, events) FROM tenancy.usage('acme', 'tokens')"),
        "4 4"
    );
    used(&world, "tokens", "4");
    assert!(outcomes(&mut world.begin("alice"), "[]").is_empty());
    for bad in [
        r#"{"metric": "tokens"}"#,
        "[7]",
        r#"[{"metric": "tokens", "key": "x"}]"#,
    ] {
        world
            .begin("alice")
            .fails(&format!("SELECT * FROM tenancy.record_usage_each('{bad}')"))
            .code("22023");
    }
    // What is wrong with the call is no element's fault.
    world
        .db
        .app()
        .fails(r#"SELECT * FROM tenancy.record_usage_each('[{"metric": "tokens"}]')"#)
        .code("55000");
}

#[test]
fn batches_with_the_same_keys_in_any_order_wait_and_never_in_a_circle() {
    let world = world();
    thread::scope(|scope| {
        for n in 0..4_i64 {
            let world = &world;
            scope.spawn(move || {
                for round in 0..20 {
                    let mut keys: Vec<i64> = (0..30).map(|k| (k * 7 + n * 11) % 30).collect();
                    if n % 2 == 0 {
                        keys.reverse();
                    }
                    let elements = keys.iter().map(|key| {
                        format!(r#"{{"metric": "calls", "idempotency_key": "{round} {key}"}}"#)
                    });
                    let batch = elements.collect::<Vec<_>>().join(",");
                    let function = ["record_usage_many", "record_usage_each"][(n % 2) as usize];
                    world.begin("alice").run(&format!(
                        "SELECT * FROM tenancy.{function}('[{batch}]'); COMMIT"
                    ));
                }
            });
        }
    });
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT events FROM tenancy.usage('acme', 'calls')"),
        600
    );
}

/// The end of the month before last, which is over whatever the day is.
const CLOSED: &str =
    "date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '3 days'";

#[test]
fn a_closed_period_refuses_late_events_or_takes_them_now() {
    let world = world();
    let name = &world.db.name;
    world.db.admin().run(&format!(
        "ALTER DATABASE {name} SET tenancy.usage_late = 200"
    ));
    let late =
        format!("SELECT tenancy.record_usage('tokens', 7, at => {CLOSED} - interval '1 second')");
    let mut alice = world.begin("alice");
    let before = alice.text(&late);
    alice.run("COMMIT");
    let keyed = format!(
        "tenancy.record_usage('tokens', 0, idempotency_key => 'k', at => {CLOSED} - interval '1 day')"
    );
    let keyed_id = record(&world, &keyed);
    let close = |how: &str| format!("SELECT tenancy.close_usage('acme', {CLOSED}, '{how}')");
    // By administrators only: it locks months of all tenants.
    for user in ["alice", "ops"] {
        world.begin(user).fails(&close("next")).code("42501");
    }
    world.db.gateway().fails(&close("next")).code("42501");
    world.db.owner().run(&close("refuse"));
    world
        .begin("alice")
        .fails(&late)
        .code("22023")
        .says("closed");
    world
        .begin("alice")
        .run(&format!(
            "SELECT tenancy.record_usage('tokens', 1, at => {CLOSED}), tenancy.record_usage('tokens', 1); ROLLBACK"
        ));
    // A retry of what was recorded before it was closed gets the first event.
    assert_eq!(record(&world, &keyed), keyed_id);
    // Other tenants are not closed.
    world.begin("bob").run(&late).run("ROLLBACK");
    world.db.owner().run(&close("next"));
    let mut alice = world.begin("alice");
    let id = alice.text(&late);
    alice.run("COMMIT");
    let mut owner = world.db.owner();
    assert_eq!(
        owner.text(&format!("SELECT concat_ws(' ', at > now() - interval '1 minute', late_at = {CLOSED} - interval '1 second') FROM tenancy.recorded_usage WHERE id = '{id}'")),
        "t t"
    );
    used(&world, "tokens", "7");
    // A correction of what is closed counts now.
    let void = owner.text(&format!(
        "SELECT tenancy.void_event('{before}', 'too late')"
    ));
    assert_eq!(
        owner.text(&format!("SELECT concat_ws(' ', at > now() - interval '1 minute', late_at IS NOT NULL, quantity) FROM tenancy.recorded_usage WHERE id = '{void}'")),
        "t t -7"
    );
    used(&world, "tokens", "0");
    assert_eq!(
        owner.text(&format!(
            "SELECT quantity::text FROM tenancy.usage('acme', 'tokens', until => {CLOSED})"
        )),
        "7"
    );
    for bad in [
        "'acme', now() + interval '1 day'".to_owned(),
        "'acme', NULL".to_owned(),
        format!("'acme', {CLOSED} - interval '1 day'"),
        format!("'acme', {CLOSED}, 'x'"),
        format!("'acme/alice', {CLOSED}"),
    ] {
        owner
            .fails(&format!("SELECT tenancy.close_usage({bad})"))
            .code("22023");
    }
    assert_eq!(
        owner.text("SELECT concat_ws(' ', scope, late_events) FROM tenancy.closed_usage"),
        "acme next"
    );
    // An open reservation of that time is work that may still be recorded there.
    let mut alice = world.begin("alice");
    alice.run("SELECT tenancy.reserve('tokens', 1); COMMIT");
    thread::sleep(Duration::from_millis(5));
    owner
        .fails("SELECT tenancy.close_usage('acme', now())")
        .code("55000");
}

#[test]
fn closing_waits_for_late_events_that_are_not_committed() {
    let world = world();
    let name = &world.db.name;
    world.db.admin().run(&format!(
        "ALTER DATABASE {name} SET tenancy.usage_late = 200"
    ));
    let late =
        format!("SELECT tenancy.record_usage('tokens', 7, at => {CLOSED} - interval '1 second')");
    world.begin("alice").run(&late).run("COMMIT");
    // Also one that lost its lock with a savepoint, and records again.
    let mut alice = world.begin("alice");
    alice
        .run(&format!("SAVEPOINT s; {late}; ROLLBACK TO s"))
        .run(&late);
    let closed = world.db.behind(
        &mut alice,
        world.db.owner(),
        &format!("SELECT tenancy.close_usage('globex', {CLOSED}, 'refuse')"),
    );
    assert_eq!(closed, Ok(()));
    world.begin("alice").fails(&late).code("22023");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT events FROM tenancy.usage('acme', 'tokens')"),
        2
    );
}
