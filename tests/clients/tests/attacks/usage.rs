//! Attempts of a tenant to exceed budgets that others set, and to use up what others may consume.

use std::time::Duration;

use tenancy_client_tests::World;

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens'), tenancy.assign('acme/alice', 'tenant_admin', 'acme'),
                tenancy.create_project('acme', 'apollo'), tenancy.create_user('acme', 'mia', role => 'manager')",
    );
    world
}

/// Another time zone for a scope.
fn zone(scope: &str, zone: &str) -> String {
    format!(
        "SELECT tenancy.update_scope('{scope}', settings => '{{\"plan\": \"pro\", \"time_zone\": \"{zone}\"}}')"
    )
}

#[test]
fn a_new_day_does_not_begin_by_another_time_zone() {
    let world = world();
    let mut owner = world.db.owner();
    let mut alice = world.db.app();
    // Its own budgets are its own.
    alice.begin(world.key("alice")).run(&zone("acme", "Asia/Tokyo")).run(
        "SELECT tenancy.set_budget('acme', 'tokens', 10, 'day'), tenancy.set_budget('acme/apollo', 'tokens', 10, 'hour')",
    );
    alice.run(&zone("acme", "Asia/Kolkata")).run("COMMIT");
    // The period `total` never resets.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 100, 'total')");
    alice
        .begin(world.key("alice"))
        .run(&zone("acme", "Asia/Tokyo"))
        .run("COMMIT");

    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 100, 'day')");
    alice.begin(world.key("alice")).run("SAVEPOINT s");
    for other in [
        zone("acme", "Pacific/Kiritimati"),
        // Back to what is above.
        "SELECT tenancy.update_scope('acme', settings => '{}')".into(),
    ] {
        alice.fails(&other).code("42501").hints("time zone");
        alice.run("ROLLBACK TO s");
    }
    // The same by another setting, and zones below, which decide over nothing but the tenant's own.
    alice
        .run(&zone("acme", "Asia/Tokyo"))
        .run(&zone("acme/apollo", "Asia/Kolkata"))
        .run("COMMIT");
    // A user who manages projects and may not set budgets.
    let mia = owner.text("SELECT tenancy.issue_api_key('acme/mia', 'k')");
    world
        .db
        .app()
        .begin(&mia)
        .fails(&zone("acme/apollo", "Asia/Tokyo"))
        .code("42501");
    // Who imposed it; and who administers.
    world
        .begin("ops")
        .run(&zone("acme", "Europe/Berlin"))
        .run("COMMIT");
    owner.run(&zone("acme", "Asia/Tokyo"));
}

/// POSIX rules: one sets the clock back by two weeks, others are harmless.
const RULES: [&str; 5] = [
    "AAA167BBB-167,J160/0,J344/3",
    "AAA-167BBB167,J1/0,J365/167",
    "UTC+3",
    "EST5EDT,M3.2.0,M11.1.0",
    ":Europe/Berlin",
];

#[test]
fn no_rule_is_a_time_zone() {
    let world = world();
    let mut alice = world.db.app();
    alice.begin(world.key("alice"));
    for rule in RULES {
        let settings = format!("settings => '{{\"time_zone\": \"{rule}\"}}'");
        for sql in [
            zone("acme", rule),
            zone("acme/apollo", rule),
            zone("acme/alice", rule),
            format!("SELECT tenancy.create_project('acme', 'zeus', {settings})"),
            format!("SELECT tenancy.create_user('acme', 'zoe', {settings})"),
        ] {
            alice
                .fails_inside(&sql)
                .code("22023")
                .says("is not a time zone")
                .hints("pg_timezone_names");
        }
    }
    // Whatever the case of a name.
    alice.run(&zone("acme", "europe/BERLIN")).run("COMMIT");
    let berlin = "SELECT tenancy_internal.time_zone('acme'::tenancy.regscope)";
    assert_eq!(world.db.admin().text(berlin), "europe/BERLIN");
}

#[test]
fn no_stored_time_zone_lets_use_pass() {
    let world = world();
    let mut admin = world.db.admin();
    world
        .begin("ops")
        .run("SELECT tenancy.set_budget('acme', 'tokens', 100, 'year'); COMMIT");
    let mut used = 0;
    for (n, stored) in RULES
        .into_iter()
        .chain(["Mars/Olympus", "Atlantic/Azores"])
        .enumerate()
    {
        // As a dump or another version brings it.
        admin.run(&format!(
            "UPDATE tenancy.scopes SET settings = '{{\"time_zone\": \"{stored}\"}}' WHERE slug = 'acme'"
        ));
        let zone = if stored == "Atlantic/Azores" {
            stored
        } else {
            "UTC"
        };
        assert_eq!(
            admin.text("SELECT tenancy_internal.time_zone('acme'::tenancy.regscope)"),
            zone
        );
        // Usage counts in the time zone in force at its time.
        let mut alice = world.begin("alice");
        for _ in 0..if n == 0 { 100 } else { 0 } {
            alice.run("SELECT tenancy.consume('tokens', 1)");
            used += 1;
        }
        alice
            .fails_inside("SELECT tenancy.consume('tokens', 1)")
            .code("53400");
        alice.run("COMMIT");
        assert_eq!(
            admin.texts("SELECT concat_ws(' ', scope, period_start <= now() AND now() < period_end, used) FROM tenancy.ledger WHERE level = 'tenant' AND metric = 'tokens' AND period_start <= now() AND now() < period_end"),
            vec![format!("acme t {used}"); if zone == "UTC" { 1 } else { 2 }],
            "{stored}"
        );
        assert_eq!(
            admin.text("SELECT concat_ws(' ', used, period_start <= now() AND now() < period_end) FROM tenancy.forecast('acme', 'tokens', 'year')"),
            format!("{used} t")
        );
        assert_eq!(
            admin.number(
                "SELECT sum(quantity)::bigint FROM tenancy.usage('acme', 'tokens', bucket => 'day')"
            ),
            used
        );
    }
}

#[test]
fn a_flood_of_reservations_that_expire_refuses_nothing_that_fits() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('globex', 'tokens', 9001, 'total')");
    let mut bob = world.begin("bob");
    bob.run("SELECT tenancy.reserve('tokens', 1, '1 second') FROM generate_series(1, 9000)");
    let late = bob.text("SELECT tenancy.reserve('tokens', 1, '1 second')");
    bob.run("COMMIT");
    std::thread::sleep(Duration::from_millis(1100));
    // A reservation that is being settled stays, and no session waits for it.
    bob.begin(world.key("bob"))
        .run(&format!("SELECT tenancy.settle('{late}', 1)"));
    let mut alice = world.begin("alice");
    alice
        .fails("SET LOCAL statement_timeout = '20s'; SELECT tenancy.consume('tokens', 9001)")
        .code("53400");
    alice
        .run("ROLLBACK")
        .begin(world.key("alice"))
        .run("SELECT tenancy.consume('tokens', 9000 - 1); COMMIT");
    alice.begin(world.key("alice"));
    assert_eq!(
        alice.text("SELECT tenancy.fits('tokens', 2)"),
        "f",
        "one is used, one is late"
    );
    bob.run("ROLLBACK");
    alice
        .run("SELECT tenancy.consume('tokens', 2)")
        .run("COMMIT");
}

#[test]
fn another_tenants_reservation_is_not_waited_for() {
    let world = world();
    let mut alice = world.begin("alice");
    let id = alice.text("SELECT tenancy.reserve('tokens', 5)");
    alice
        .run("COMMIT")
        .begin(world.key("alice"))
        .run(&format!("SELECT tenancy.settle('{id}')"));
    for user in ["bob", "eve", "ops", "pat"] {
        let mut session = world.begin(user);
        session.run("SET LOCAL lock_timeout = '200ms'");
        for call in ["settle", "cancel"] {
            session.run("SAVEPOINT s");
            let known = session.fails(&format!("SELECT tenancy.{call}('{id}')"));
            session.run("ROLLBACK TO s");
            let unknown = session.fails(&format!("SELECT tenancy.{call}(gen_random_uuid())"));
            session.run("ROLLBACK TO s");
            assert_eq!((known.code, known.message), (unknown.code, unknown.message));
        }
    }
    alice.run("COMMIT");
}
