//! Logins in the audit log: counted instead of written one by one, failures written soon, and never a secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::{Session, World};

const LOGINS: &str = "SELECT action || ' ' || coalesce((SELECT slug FROM tenancy.scopes WHERE id = user_id), '-') || ' ' || coalesce((SELECT slug FROM tenancy.scopes WHERE id = tenant_id), '-')
    || ' ' || (details ->> 'credential') || ' ' || coalesce(sum((details ->> 'count')::bigint)::text, 'each')
    FROM tenancy.audit_log WHERE action LIKE 'tenancy.login%' GROUP BY action, user_id, tenant_id, details ->> 'credential', details ? 'count' ORDER BY 1";

fn set(world: &World, name: &str, value: &str) {
    world.db.admin().run(&format!(
        "ALTER DATABASE {} SET tenancy.audit_{name} = '{value}'",
        world.db.name
    ));
}

/// Ends the worker, which writes down what it has.
fn flush(world: &World) {
    // There is one, and it does not go before.
    world.db.admin().run("SELECT testing.record_now('flush', '{}'); SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()");
}

#[track_caller]
fn until(admin: &mut Session, wanted: &[&str]) {
    admin.until(15, LOGINS, wanted);
}

#[test]
fn successes_are_counted_and_written_together() {
    let world = World::bare();
    let mut app = world.db.app();
    let mut other = world.db.app();
    for _ in 0..50 {
        app.begin(world.key("alice")).run("COMMIT");
        other.begin(world.key("alice")).run("ROLLBACK");
    }
    app.begin(world.key("bob")).run("COMMIT");
    app.begin(&world.ticket("bob", "1 minute")).run("COMMIT");
    app.run("BEGIN READ ONLY")
        .login(world.key("eve"))
        .run("COMMIT");
    world
        .db
        .gateway()
        .run(&format!("SELECT tenancy.assume('{}')", world.id("ops")));
    let mut admin = world.db.admin();
    assert_eq!(admin.texts(LOGINS), Vec::<String>::new());
    flush(&world);
    until(
        &mut admin,
        &[
            "tenancy.login alice acme api_key 100",
            "tenancy.login bob umbrella api_key 1",
            "tenancy.login bob umbrella ticket 1",
            "tenancy.login eve soylent api_key 1",
            "tenancy.login ops - assumed 1",
        ],
    );
    assert_eq!(
        admin.text("SELECT string_agg(DISTINCT role || ' ' || login || ' ' || coalesce(host(client), 'none'), ',') FROM tenancy.audit_log WHERE user_id = (SELECT id FROM tenancy.scopes WHERE slug = 'alice')"),
        format!("{0} {0} {1}", world.db.app, world.db.app().text("SELECT coalesce(host(inet_client_addr()), 'none')"))
    );
    assert_eq!(
        admin.text("SELECT bool_and((details ->> 'first')::timestamptz <= (details ->> 'last')::timestamptz AND (details ->> 'last')::timestamptz <= at) FROM tenancy.audit_log WHERE action = 'tenancy.login'"),
        "t"
    );
}

#[test]
fn failures_come_within_seconds_with_what_is_known_and_no_secret() {
    let world = World::bare();
    let mut app = world.db.app();
    let key = world.another_key("alice");
    let wrong = format!("{}{}", &key[..key.len() - 3], "AAA");
    for _ in 0..3 {
        app.try_login(&wrong).unwrap_err().code("42501");
    }
    app.try_login("nonsense").unwrap_err().code("42501");
    app.try_login(&format!("{}x", world.ticket("eve", "1 minute")))
        .unwrap_err()
        .code("42501");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_status('umbrella', 'suspended')");
    app.try_login(world.key("bob")).unwrap_err().code("42501");
    let mut admin = world.db.admin();
    until(
        &mut admin,
        &[
            "tenancy.login.failed - - unknown 2",
            "tenancy.login.failed alice acme api_key 3",
            "tenancy.login.failed bob umbrella api_key 1",
        ],
    );
    let all = admin
        .texts("SELECT to_jsonb(l)::text FROM tenancy.audit_log l")
        .join("\n");
    for secret in [
        &key[37..],
        "nonsense",
        &wrong[37..],
        &world.key("bob")[37..],
    ] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    assert!(all.contains(&admin.text("SELECT id FROM tenancy.api_keys WHERE name = 'another'")));
}

#[test]
fn as_configured() {
    let world = World::bare();
    let key = world.key("alice");
    let mut admin = world.db.admin();
    set(&world, "logins", "off");
    world.db.app().begin(key).run("COMMIT");
    world.db.app().try_login("x").unwrap_err();
    set(&world, "logins", "failures");
    world.db.app().begin(key).run("COMMIT");
    world.db.app().try_login("y").unwrap_err();
    until(&mut admin, &["tenancy.login.failed - - unknown 1"]);
    set(&world, "logins", "each");
    let mut app = world.db.app();
    app.begin(key).run("COMMIT");
    app.begin(key).run("ROLLBACK");
    app.run("BEGIN READ ONLY").login(key).run("COMMIT");
    // Each one, however its transaction ends.
    let end = Instant::now() + Duration::from_secs(15);
    let each = "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.login'";
    while admin.number(each) < 3 {
        assert!(Instant::now() < end, "{}", admin.number(each));
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(admin.number(each), 3);
    set(&world, "logins", "aggregate");
    set(&world, "login_interval", "1");
    flush(&world);
    world.db.app().begin(key).run("COMMIT");
    until(
        &mut admin,
        &[
            "tenancy.login alice acme api_key 1",
            "tenancy.login alice acme api_key each",
            "tenancy.login.failed - - unknown 1",
        ],
    );
    // Who is recorded does not decide what is.
    world
        .db
        .app()
        .fails("SET tenancy.audit_logins = off")
        .code("42501");
    world
        .db
        .owner()
        .fails("SET tenancy.audit_logins = off")
        .code("42501");
}

#[test]
fn too_many_different_ones_are_counted_all_the_same() {
    let world = World::bare();
    let mut app = world.db.app();
    // Each with an id of its own, more than there is room for.
    app.run("DO $$ BEGIN FOR i IN 1..6000 LOOP BEGIN PERFORM tenancy.authenticate('tnk_' || replace(gen_random_uuid()::text, '-', '') || '_' || repeat('A', 43)); EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$");
    let mut admin = world.db.admin();
    let end = Instant::now() + Duration::from_secs(15);
    let total = "SELECT coalesce(sum((details ->> 'count')::bigint), 0) FROM tenancy.audit_log WHERE action = 'tenancy.login.failed'";
    while admin.number(total) < 6000 {
        assert!(Instant::now() < end, "{}", admin.text(total));
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(admin.number(total), 6000);
}
