//! The admin of a tenant tries to raise the limits that were imposed on it. Nothing does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

/// What applies in acme, as its users see it.
const APPLIES: &str = "SELECT concat_ws(' ', tenancy.limit_of('rooms'), tenancy.take('api', 0), (SELECT min(remaining) FROM tenancy.limits() WHERE name = 'jobs'))";

fn world() -> (World, String) {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_limit('rooms', 'amount'), tenancy.define_limit('api', 'rate'), tenancy.define_limit('jobs', 'slots');
         SELECT tenancy.set_limit('globex', 'rooms', 10, 'tenant'), tenancy.set_rate_limit('acme', 'api', 1, 'day', 20),
                tenancy.set_slots('platform', 'jobs', 30, 'tenant');
         SELECT tenancy.create_user('acme', 'tad', role => 'tenant_admin')",
    );
    let tad = owner.text("SELECT tenancy.issue_api_key('acme/tad', 'k')");
    (world, tad)
}

#[track_caller]
fn unchanged(session: &mut Session, after: &str) {
    assert_eq!(session.text(APPLIES), "10 20 30", "after {after}");
}

#[test]
fn nothing_that_a_tenants_admin_may_do_raises_its_limits() {
    let (world, tad) = world();
    let mut session = world.db.app();
    session.begin(&tad);
    unchanged(&mut session, "nothing");
    let id = world.id("acme");
    let attempts = [
        // Values of its own are added to what is imposed.
        "SELECT tenancy.set_limit('acme', 'rooms', 1000)".to_owned(),
        "SELECT tenancy.set_limit('acme', 'rooms', NULL)".to_owned(),
        "SELECT tenancy.set_limit('acme', 'rooms', 1000, 'user')".to_owned(),
        "SELECT tenancy.set_limit('acme/tad', 'rooms', 1000)".to_owned(),
        "SELECT tenancy.set_rate_limit('acme', 'api', 1000000000, 'day', 1000000000)".to_owned(),
        "SELECT tenancy.set_rate_limit('acme', 'api', 1000000000, 'second')".to_owned(),
        "SELECT tenancy.set_rate_limit('acme', 'api', NULL, 'day')".to_owned(),
        "SELECT tenancy.set_rate_limit('acme/tad', 'api', NULL, 'day', NULL, 'api_key')".to_owned(),
        "SELECT tenancy.set_slots('acme', 'jobs', 1000000)".to_owned(),
        "SELECT tenancy.set_slots('acme', 'jobs', NULL)".to_owned(),
        // Removing what others set; its own again and again.
        "SELECT tenancy.remove_limit('acme', 'rooms')".to_owned(),
        "SELECT tenancy.remove_limit('acme', 'api', 'day')".to_owned(),
        "SELECT tenancy.remove_limit('acme', 'api', 'day')".to_owned(),
        "SELECT tenancy.remove_limit('acme', 'jobs')".to_owned(),
        "SELECT tenancy.remove_limit('acme', 'jobs')".to_owned(),
        "SELECT tenancy.remove_limit('globex', 'rooms', level => 'tenant')".to_owned(),
        "SELECT tenancy.remove_limit('platform', 'jobs', level => 'tenant')".to_owned(),
        // Levels and scopes above.
        "SELECT tenancy.set_limit('acme', 'rooms', 1000, 'partner')".to_owned(),
        "SELECT tenancy.set_limit('acme', 'rooms', 1000, 'platform')".to_owned(),
        "SELECT tenancy.set_limit('globex', 'rooms', 1000, 'tenant')".to_owned(),
        "SELECT tenancy.set_limit('platform', 'rooms', 1000, 'tenant')".to_owned(),
        "SELECT tenancy.set_limit('umbrella', 'rooms', 1000)".to_owned(),
        format!("SELECT tenancy.set_limit('{}', 'rooms', 1000)", world.id("umbrella")),
        // Numbers and names.
        "SELECT tenancy.set_limit('acme', 'rooms', -1)".to_owned(),
        "SELECT tenancy.set_limit('acme', 'rooms', 9223372036854775807)".to_owned(),
        "SELECT tenancy.set_limit('acme', 'ROOMS', 1000)".to_owned(),
        "SELECT tenancy.set_limit('acme', NULL, 1000)".to_owned(),
        "SELECT tenancy.set_limit(NULL, 'rooms', 1000)".to_owned(),
        "SELECT tenancy.set_rate_limit('acme', 'rooms', 1000)".to_owned(),
        "SELECT tenancy.set_rate_limit('acme', 'api', 1000, 'Day')".to_owned(),
        "SELECT tenancy.define_limit('rooms', 'rate')".to_owned(),
        "SELECT tenancy.define_limit('rooms', 'amount', 'house')".to_owned(),
        // Tables, and functions that are not for it.
        "UPDATE tenancy_internal.limit_values SET amount = 1000".to_owned(),
        "DELETE FROM tenancy_internal.limit_values".to_owned(),
        format!("INSERT INTO tenancy_internal.limit_values (limit_id, scope_id, level, imposed, amount) VALUES (1, '{id}', 'tenant', true, 1000)"),
        "UPDATE tenancy.limit_settings SET amount = 1000".to_owned(),
        "DELETE FROM tenancy_internal.limit_definitions".to_owned(),
        format!("INSERT INTO tenancy_internal.tenant_plans (tenant_id, plan_id, starts_at) VALUES ('{id}', '{id}', now())"),
        "SELECT tenancy_internal.set_limit('acme', 'rooms', 1000, 'tenant')".to_owned(),
        "SELECT tenancy_internal.set_a_limit(NULL, 'rooms', 'amount', NULL, NULL, 1000, NULL)".to_owned(),
        "SELECT tenancy_internal.drop_limits()".to_owned(),
        // A role of its own, with every permission that it may give.
        "SELECT tenancy.define_role('acme', 'boss', '{limits:*}'); SELECT tenancy.assign('acme/tad', 'boss', 'acme'); SELECT tenancy.set_limit('acme', 'rooms', 1000)".to_owned(),
        "SELECT tenancy.assign('acme/tad', 'partner_admin', 'globex')".to_owned(),
        // Users and projects of its own.
        "SELECT tenancy.create_user('acme', 'second', role => 'tenant_admin'); SELECT tenancy.set_limit('acme/second', 'rooms', 1000)".to_owned(),
        "SELECT tenancy.create_project('acme', 'big'); SELECT tenancy.set_limit('acme/big', 'rooms', 1000); SELECT tenancy.select_project('acme/big')".to_owned(),
        "SELECT tenancy.create_tenant('acme-2', partner => 'globex')".to_owned(),
        "SELECT tenancy.move_tenant('acme', 'hooli')".to_owned(),
        "SELECT tenancy.elevate('more rooms', '1 hour')".to_owned(),
        // Settings.
        "SET tenancy.rate_buckets = 1024".to_owned(),
        "SET tenancy.slots = 64".to_owned(),
        "SET tenancy.limits = 'off'".to_owned(),
        "SET search_path = pg_temp; CREATE TEMP TABLE limit_values AS SELECT 1000 AS amount".to_owned(),
        "SET LOCAL ROLE tenancy_admin".to_owned(),
        "SELECT tenancy.maintenance('more rooms')".to_owned(),
    ];
    for attempt in attempts {
        session.run("SAVEPOINT s");
        match session.try_run(&attempt) {
            Ok(()) => {}
            Err(failure) => {
                assert!(!failure.code.starts_with("XX"), "{attempt}: {failure:?}");
                session.run("ROLLBACK TO s");
            }
        }
        unchanged(&mut session, &attempt);
    }
    // And not after it has committed what it could, for a user who is new.
    session.run("COMMIT").begin(&tad);
    unchanged(&mut session, "COMMIT");
    let mut owner = world.db.owner();
    let second = owner.text("SELECT tenancy.issue_api_key('acme/second', 'k')");
    session.run("COMMIT").begin(&second);
    unchanged(&mut session, "another user");
}

#[test]
fn what_the_admin_lowers_it_may_raise_again_and_the_partner_may_impose_more() {
    let (world, tad) = world();
    let mut session = world.db.app();
    session
        .begin(&tad)
        .run("SELECT tenancy.set_limit('acme', 'rooms', 4)");
    assert_eq!(session.text("SELECT tenancy.limit_of('rooms')"), "4");
    session.run("SELECT tenancy.set_limit('acme', 'rooms', 8)");
    assert_eq!(session.text("SELECT tenancy.limit_of('rooms')"), "8");
    session.run("COMMIT");
    let mut ops = world.begin("ops");
    ops.run("SELECT tenancy.set_limit('acme', 'rooms', 500); COMMIT");
    session.begin(&tad);
    assert_eq!(session.text("SELECT tenancy.limit_of('rooms')"), "8");
    session.run("SELECT tenancy.remove_limit('acme', 'rooms')");
    assert_eq!(session.text("SELECT tenancy.limit_of('rooms')"), "500");
}

#[test]
fn many_users_and_keys_do_not_take_more_than_the_tenant_may() {
    let (world, tad) = world();
    let mut session = world.db.app();
    session.begin(&tad);
    session.run("SELECT tenancy.create_user('acme', 'u' || n) FROM generate_series(1, 30) n; SELECT tenancy.create_project('acme', 'p' || n) FROM generate_series(1, 5) n; COMMIT");
    let mut taken = 0;
    for n in 1..=30 {
        session.begin(&tad);
        let key = session.text(&format!("SELECT tenancy.issue_api_key('acme/u{n}', 'k')"));
        session.run("COMMIT").begin(&key);
        session.run(&format!(
            "SELECT tenancy.select_project('acme/p{}')",
            n % 5 + 1
        ));
        taken += session.number("SELECT count(*) FILTER (WHERE t.allowed) FROM generate_series(1, 3) n, tenancy.try_take('api', 1 + 0 * n) t");
        session.run("COMMIT");
    }
    assert_eq!(taken, 20);
}
