//! Rate limits: at every level or at none, exact under concurrency, fair when memory is short.
//!
//! Rates are of hours and days, so that nothing drains while a test runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tenancy_client_tests::program::Cluster;
use tenancy_client_tests::{Db, Session, World};

const TAKE: &str = "SELECT tenancy.take('api')";

fn world() -> World {
    let world = World::bare();
    define(&world, "api");
    world
}

fn define(world: &World, name: &str) {
    world
        .db
        .owner()
        .run(&format!("SELECT tenancy.define_limit('{name}', 'rate')"));
}

/// Sets a rate: scope, limit, rate, per, burst and more.
fn set(world: &World, arguments: &str) {
    world
        .db
        .owner()
        .run(&format!("SELECT tenancy.set_rate_limit({arguments})"));
}

/// Adds a user of a tenant, and returns a key.
fn another_user(world: &World, tenant: &str, slug: &str) -> String {
    let mut owner = world.db.owner();
    owner.run(&format!("SELECT tenancy.create_user('{tenant}', '{slug}')"));
    owner.text(&format!(
        "SELECT tenancy.issue_api_key('{tenant}/{slug}', 'k')"
    ))
}

fn remaining(session: &mut Session, name: &str, level: &str) -> String {
    session.text(&format!(
        "SELECT remaining FROM tenancy.limits() WHERE name = '{name}' AND level = '{level}'"
    ))
}

fn tries(session: &mut Session, name: &str, times: usize) -> u64 {
    let sql = format!(
        "SELECT count(*) FILTER (WHERE t.allowed) FROM generate_series(1, {times}) n, tenancy.try_take('{name}', 1 + 0 * n) t"
    );
    session.number(&sql).try_into().unwrap()
}

#[test]
fn a_runaway_user_takes_nothing_from_its_tenant_nor_a_tenant_from_its_partner() {
    let world = world();
    set(&world, "'acme', 'api', 1, 'hour', 3, 'user'");
    set(&world, "'acme', 'api', 1, 'hour', 10");
    set(&world, "'globex', 'api', 1, 'hour', 15");
    let amy = another_user(&world, "acme", "amy");
    let mut alice = world.begin("alice");
    for left in ["2", "1", "0"] {
        assert_eq!(alice.text(TAKE), left);
    }
    alice
        .fails_inside(TAKE)
        .code("53400")
        .says("the user's rate limit \"api\" is exhausted")
        .details("Asked for 1; of 1 per hour, at most 3 at once, 0 are left. Retry in 3")
        .hints("try_take");
    assert_eq!(tries(&mut alice, "api", 1000), 0);
    assert_eq!(remaining(&mut alice, "api", "tenant"), "7");
    let says = alice.text(
        "SELECT concat_ws(' ', used, remaining, refused > 1000, refused_at > now()) FROM tenancy.limits() WHERE level = 'user'",
    );
    assert_eq!(says, "3 0 t t");

    let mut session = world.db.app();
    session.begin(&amy);
    assert_eq!(tries(&mut session, "api", 100), 3);
    // The tenant has 4 left: users that come now share them.
    let ann = another_user(&world, "acme", "ann");
    let abe = another_user(&world, "acme", "abe");
    session.run("COMMIT").begin(&ann);
    assert_eq!(tries(&mut session, "api", 100), 3);
    session.run("COMMIT").begin(&abe);
    assert_eq!(tries(&mut session, "api", 100), 1);
    let refused = session.text("SELECT concat_ws(' ', allowed, remaining, retry_after > interval '59 minutes', retry_after <= interval '1 hour', level, per) FROM tenancy.try_take('api')");
    assert_eq!(refused, "f 0 t t tenant hour");
    assert_eq!(remaining(&mut session, "api", "user"), "2");

    // The partner has 5 left for its other tenant, which has no limit of its own.
    let mut bob = world.begin("bob");
    assert_eq!(tries(&mut bob, "api", 100), 5);
    bob.fails_inside(TAKE).code("53400").says("the partner's");
    // Its numbers are for those who manage it.
    assert_eq!(remaining(&mut bob, "api", "partner"), "NULL");
    let mut ops = world.begin("ops");
    ops.run("SELECT tenancy.select_tenant('umbrella')");
    assert_eq!(remaining(&mut ops, "api", "partner"), "0");
    // Another partner's tenant takes what it wants.
    let mut eve = world.begin("eve");
    assert_eq!(eve.text("SELECT tenancy.take('api', 1000000)"), "NULL");
}

#[test]
fn each_time_of_a_name_counts_and_all_or_none() {
    let world = world();
    set(&world, "'acme', 'api', 1000, 'day', 6");
    set(&world, "'acme', 'api', 1, 'hour', 4");
    let mut alice = world.begin("alice");
    assert_eq!(alice.text("SELECT tenancy.take('api', 4)"), "0");
    let says = "SELECT string_agg(concat_ws(' ', per, remaining), ', ' ORDER BY per) FROM tenancy.limits()";
    assert_eq!(alice.text(says), "day 2, hour 0");
    assert_eq!(tries(&mut alice, "api", 50), 0);
    assert_eq!(alice.text(says), "day 2, hour 0");
    // The one that refuses for longest is reported.
    assert_eq!(
        alice.text("SELECT concat_ws(' ', per, retry_after > interval '3 hours') FROM tenancy.try_take('api', 4)"),
        "hour t"
    );
}

#[test]
fn rollback_gives_nothing_back() {
    let world = world();
    set(&world, "'acme', 'api', 1, 'day', 10");
    let mut alice = world.begin("alice");
    alice.run("SAVEPOINT s");
    assert_eq!(alice.text(TAKE), "9");
    alice.run("ROLLBACK TO s");
    assert_eq!(alice.text(TAKE), "8");
    alice.run("ROLLBACK").begin(world.key("alice"));
    assert_eq!(alice.text(TAKE), "7");
    let mut admin = world.db.admin();
    let pid = alice.pid();
    admin.run(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
    assert_eq!(world.begin("alice").text(TAKE), "6");
    // It writes nothing, so a read-only transaction may take.
    let mut reader = world.db.app();
    reader
        .run("BEGIN READ ONLY")
        .login_session(world.key("alice"));
    assert_eq!(reader.text(TAKE), "5");
    assert_eq!(
        reader.text("SELECT pg_current_xact_id_if_assigned()"),
        "NULL"
    );
}

#[test]
fn a_change_applies_at_once_and_keeps_what_was_taken() {
    let world = world();
    set(&world, "'acme', 'api', 1, 'day', 10");
    let mut alice = world.begin("alice");
    assert_eq!(alice.text("SELECT tenancy.take('api', 8)"), "2");
    set(&world, "'acme', 'api', 1, 'day', 20");
    assert_eq!(alice.text("SELECT tenancy.take('api', 0)"), "12");
    set(&world, "'acme', 'api', 100, 'day', 5");
    assert_eq!(alice.text("SELECT tenancy.take('api', 0)"), "0");
    set(&world, "'acme', 'api', NULL");
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_limit('acme', 'api', 'day')");
    assert_eq!(alice.text("SELECT tenancy.take('api', 1000)"), "NULL");
    set(&world, "'acme', 'api', 0, 'day'");
    alice
        .fails_inside(TAKE)
        .code("53400")
        .says("never allows 1");
    assert_eq!(
        alice.text("SELECT concat_ws(' ', allowed, remaining, retry_after, level) FROM tenancy.try_take('api')"),
        "f 0 tenant"
    );
    // The bucket was full before, and is full for a lower burst.
    set(&world, "'acme', 'api', 1, 'day', 3");
    assert_eq!(tries(&mut alice, "api", 5), 0);
}

#[test]
fn bad_input_gets_errors() {
    let world = world();
    set(&world, "'acme', 'api', 2, 'day', 10");
    world
        .db
        .owner()
        .run("SELECT tenancy.define_limit('rooms', 'amount')");
    let mut alice = world.begin("alice");
    for (call, code, text) in [
        ("take(NULL)", "22023", "name must not be null"),
        ("take('api', NULL)", "22023", "cost must not be null"),
        ("take('api', -1)", "22023", "cost must not be negative"),
        ("take('api', -9223372036854775808)", "22023", "negative"),
        ("take('nowhere')", "42704", "does not exist"),
        ("take('API')", "42704", "does not exist"),
        ("take('rooms')", "22023", "is of kind amount"),
        ("take('api', 11)", "53400", "never allows 11 at once"),
        ("take('api', 9223372036854775807)", "53400", "never allows"),
        ("try_take('nowhere')", "42704", "does not exist"),
        ("try_take('api', -1)", "22023", "negative"),
    ] {
        let failure = alice.fails_inside(&format!("SELECT tenancy.{call}"));
        failure.code(code).says(text);
    }
    alice
        .fails_inside("SELECT tenancy.take('api', 11)")
        .details("It allows 2 per day, at most 10 at once.");
    assert_eq!(
        alice.text("SELECT concat_ws(' ', allowed, remaining, retry_after, level, per) FROM tenancy.try_take('api', 11)"),
        "f 10 tenant day"
    );
    // None of it has taken anything.
    assert_eq!(alice.text("SELECT tenancy.take('api', cost => 0)"), "10");
    alice.run("COMMIT");
    alice.fails(TAKE).code("55000");
    world.db.stranger().fails(TAKE).code("42501");
    let mut ops = world.begin("ops");
    ops.fails(TAKE).code("55000").says("2 tenants");
}

#[test]
fn keys_of_one_user_count_apart_and_the_user_counts_all() {
    let world = world();
    set(&world, "'acme/alice', 'api', 1, 'day', 3, 'api_key'");
    set(&world, "'acme/alice', 'api', 1, 'day', 5");
    let another = world.another_key("alice");
    let mut alice = world.begin("alice");
    assert_eq!(tries(&mut alice, "api", 10), 3);
    alice.fails_inside(TAKE).code("53400").says("the API key's");
    alice.run("COMMIT").begin(&another);
    assert_eq!(tries(&mut alice, "api", 10), 2);
    alice.fails_inside(TAKE).says("the user's");
    // Nobody holds a key here: the level does not apply.
    let mut gateway = world.db.gateway();
    gateway.run(&format!(
        "BEGIN; SELECT tenancy.assume('{}')",
        world.id("alice")
    ));
    assert_eq!(
        gateway.text("SELECT string_agg(level, ' ') FROM tenancy.limits()"),
        "user"
    );
    gateway.fails(TAKE).says("the user's");
    let seen = "SELECT string_agg(concat_ws(' ', level, scope, used, api_key_id IS NOT NULL), ', ' ORDER BY level, used) FROM tenancy.rates_in_use";
    assert_eq!(
        world.db.owner().text(seen),
        "api_key alice 2 t, api_key alice 3 t, user alice 5 f"
    );
}

/// A user of the partner works in two tenants, which both limit each of their users.
#[test]
fn what_a_tenant_gives_each_user_counts_in_that_tenant() {
    let world = world();
    set(&world, "'acme', 'api', 1, 'day', 3, 'user'");
    set(&world, "'umbrella', 'api', 1, 'day', 5, 'user'");
    define(&world, "all");
    set(&world, "'globex', 'all', 1, 'day', 4, 'user'");
    let take = |tenant: &str, name: &str| {
        let mut ops = world.begin("ops");
        ops.run(&format!("SELECT tenancy.select_tenant('{tenant}')"));
        tries(&mut ops, name, 10)
    };
    assert_eq!(take("umbrella", "api"), 5);
    assert_eq!(take("acme", "api"), 3);
    assert_eq!(take("umbrella", "all"), 4);
    assert_eq!(take("acme", "all"), 0);
}

#[test]
fn others_see_only_what_they_may() {
    let world = world();
    set(&world, "'platform', 'api', 1, 'day', 100, 'user'");
    for user in ["alice", "bob", "eve"] {
        world.begin(user).run(TAKE);
    }
    let seen =
        "SELECT coalesce(string_agg(scope, ' ' ORDER BY scope), '') FROM tenancy.rates_in_use";
    assert_eq!(world.begin("alice").text(seen), "");
    assert_eq!(world.begin("ops").text(seen), "alice bob");
    assert_eq!(world.begin("boss").text(seen), "eve");
    assert_eq!(world.db.owner().text(seen), "alice bob eve");
    assert_eq!(world.db.app().text(seen), "");
    world
        .begin("alice")
        .fails("SELECT * FROM tenancy_internal.rate_buckets()")
        .code("42501");
    assert_eq!(
        world.db.owner().text("SELECT concat_ws(' ', capacity, used >= 3, full_refusals >= 0) FROM tenancy.rate_stats()"),
        "65536 t t"
    );
}

/// 32 clients take at the same time: exactly what fits is admitted.
#[test]
fn a_race_at_each_level_admits_exactly_the_burst() {
    const CLIENTS: usize = 32;
    const BURST: u64 = 100;
    let world = world();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_project('acme', 'red')");
    let levels = [
        ("platform", "platform"),
        ("partner", "globex"),
        ("tenant", "acme"),
        ("project", "acme/red"),
        ("user", "acme/alice"),
        ("api_key", "acme/alice"),
    ];
    for (level, scope) in levels {
        let name = level.replace('_', "-");
        define(&world, &name);
        set(
            &world,
            &format!("'{scope}', '{name}', 1, 'day', {BURST}, '{level}'"),
        );
    }
    for (level, _) in levels {
        let (name, admitted) = (level.replace('_', "-"), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let (world, name, admitted) = (&world, &name, &admitted);
                scope.spawn(move || {
                    for _ in 0..5 {
                        let mut alice = world.begin("alice");
                        if level == "project" {
                            alice.run("SELECT tenancy.select_project('acme/red')");
                        }
                        admitted.fetch_add(tries(&mut alice, name, 4), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), BURST, "{level}");
    }
}

/// Eight users with 5 each in a tenant with 23: all of the 23 are admitted, and no user gets more than its 5.
#[test]
fn a_race_over_two_levels_admits_what_fits_in_both() {
    let world = world();
    set(&world, "'acme', 'api', 1, 'day', 23");
    set(&world, "'acme', 'api', 1, 'day', 5, 'user'");
    let keys: Vec<String> = (0..8)
        .map(|n| another_user(&world, "acme", &format!("u{n}")))
        .collect();
    let admitted: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for client in 0..32 {
            let (world, keys, admitted) = (&world, &keys, &admitted);
            scope.spawn(move || {
                let mut session = world.db.app();
                for _ in 0..10 {
                    session.begin(&keys[client % 8]);
                    let got = tries(&mut session, "api", 2);
                    admitted[client % 8].fetch_add(got, Ordering::Relaxed);
                    session.run(if client % 3 == 0 {
                        "ROLLBACK"
                    } else {
                        "COMMIT"
                    });
                }
            });
        }
    });
    let each: Vec<u64> = admitted.into_iter().map(AtomicU64::into_inner).collect();
    assert!(each.iter().all(|got| *got <= 5), "{each:?}");
    assert_eq!(each.iter().sum::<u64>(), 23, "{each:?}");
}

#[test]
fn rates_are_full_again_after_a_restart() {
    let cluster = Cluster::start();
    let world = World::bare_in(Db::on(cluster.config()));
    define(&world, "api");
    set(&world, "'acme', 'api', 1, 'day', 10");
    assert_eq!(
        world.begin("alice").text("SELECT tenancy.take('api', 10)"),
        "0"
    );
    let mut app = world.begin("alice");
    let pid = app.pid();
    app.fails(TAKE).code("53400");
    cluster.kill_process(pid);
    assert_eq!(
        world.begin("alice").text("SELECT tenancy.take('api', 10)"),
        "0"
    );
    cluster.down();
    cluster.up();
    assert_eq!(world.begin("alice").text(TAKE), "9");
}

#[test]
fn a_tenant_that_fills_the_memory_leaves_room_for_others() {
    const USERS: usize = 1500;
    let cluster = Cluster::start_with(&["tenancy.rate_buckets=1024"], &[]);
    let world = World::bare_in(Db::on(cluster.config()));
    define(&world, "api");
    set(&world, "'platform', 'api', 1, 'day', 5, 'user'");
    set(&world, "'acme', 'api', 1, 'day', 100000");
    let mut owner = world.db.owner();
    owner.run(&format!(
        "SELECT tenancy.create_user('acme', 'flood-' || n) FROM generate_series(1, {USERS}) n"
    ));
    let users = owner.texts("SELECT id FROM tenancy.users WHERE slug LIKE 'flood-%'");
    let mut gateway = world.db.gateway();
    let (mut taken, mut full) = (0, 0);
    for user in &users {
        gateway.run(&format!("BEGIN; SELECT tenancy.assume('{user}')"));
        match gateway.try_run(TAKE) {
            Ok(()) => taken += 1,
            Err(failure) => {
                failure
                    .code("53000")
                    .says("no room")
                    .hints("tenancy.rate_buckets");
                full += 1;
            }
        }
        gateway.run("ROLLBACK");
    }
    assert!(
        (300..=512).contains(&taken),
        "{taken} taken, {full} without room"
    );
    // Without room nothing was taken from the tenant either.
    gateway.run(&format!("BEGIN; SELECT tenancy.assume('{}')", users[0]));
    assert_eq!(
        remaining(&mut gateway, "api", "tenant"),
        (100_000 - taken).to_string()
    );
    // Those of others still get theirs, and those who have one go on.
    for user in ["bob", "eve"] {
        assert_eq!(world.begin(user).text(TAKE), "4");
    }
    assert_eq!(gateway.text(TAKE), "3");
    let stats = "SELECT concat_ws(' ', capacity, full_refusals) FROM tenancy.rate_stats()";
    assert_eq!(world.db.owner().text(stats), format!("1024 {full}"));
}
