//! Slots: so many at once at every level, freed by whatever ends them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::program::{Cluster, PgBouncer};
use tenancy_client_tests::{Db, Session, World};

const ACQUIRE: &str = "SELECT tenancy.acquire_slot('jobs')";
const TRY: &str = "SELECT tenancy.try_acquire_slot('jobs') IS NOT NULL";
const FOR_SESSION: &str = "SELECT tenancy.acquire_slot('jobs', until => 'session')";
const FOR_RELEASE: &str = "SELECT tenancy.acquire_slot('jobs', '1 hour', 'release')";

/// A world with `jobs` slots a tenant.
fn world(jobs: u32) -> World {
    limited(World::bare(), jobs)
}

fn limited(world: World, jobs: u32) -> World {
    world.db.owner().run(&format!(
        "SELECT tenancy.define_limit('jobs', 'slots', 'job'); SELECT tenancy.set_slots('globex', 'jobs', {jobs}, 'tenant')"
    ));
    world
}

/// How many slots a tenant holds.
fn held(world: &World, tenant: &str) -> i64 {
    world.db.owner().number(&format!(
        "SELECT count(*) FROM tenancy.slots WHERE scope = '{tenant}'"
    ))
}

#[track_caller]
fn comes_to(world: &World, tenant: &str, count: i64) {
    let end = Instant::now() + Duration::from_secs(20);
    while held(world, tenant) != count {
        assert!(Instant::now() < end, "{} are held", held(world, tenant));
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn three_a_user_and_ten_a_tenant() {
    let world = world(10);
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_slots('acme', 'jobs', 3, 'user'); SELECT tenancy.create_user('acme', 'u' || n) FROM generate_series(1, 4) n");
    let keys: Vec<String> = (1..=4)
        .map(|n| owner.text(&format!("SELECT tenancy.issue_api_key('acme/u{n}', 'k')")))
        .collect();
    let mut sessions: Vec<Session> = Vec::new();
    for key in &keys {
        for n in 0..4 {
            let mut session = world.db.app();
            session.begin(key);
            let got = session.text(TRY) == "t";
            let of_tenant = sessions.len() >= 10;
            assert_eq!(got, n < 3 && !of_tenant, "{key} {n}");
            if got {
                sessions.push(session);
            } else {
                let says = if of_tenant {
                    "the tenant holds"
                } else {
                    "the user holds"
                };
                session
                    .fails(ACQUIRE)
                    .code("53400")
                    .says(says)
                    .details("are held");
            }
        }
    }
    assert_eq!(sessions.len(), 10);
    assert_eq!(held(&world, "acme"), 10);
    // The other tenant has its own.
    assert_eq!(world.begin("bob").text(TRY), "t");
    assert_eq!(
        world.begin("alice").text("SELECT string_agg(concat_ws(' ', level, used, remaining, refused > 0), ', ' ORDER BY level) FROM tenancy.limits()"),
        "tenant 10 0 t, user 0 3 f"
    );
    sessions[0].run("COMMIT");
    let mut session = world.db.app();
    session.begin(&keys[3]);
    assert_eq!(session.text(TRY), "t");
}

/// A user of the partner works in two tenants, which both limit each of their users.
#[test]
fn what_a_tenant_gives_each_user_counts_in_that_tenant() {
    let world = world(10);
    world.db.owner().run(
        "SELECT tenancy.set_slots('acme', 'jobs', 1, 'user'), tenancy.set_slots('umbrella', 'jobs', 2, 'user')",
    );
    let mut sessions = Vec::new();
    for (tenant, wanted) in [("umbrella", 2), ("acme", 1)] {
        let mut ops = world.begin("ops");
        ops.run(&format!("SELECT tenancy.select_tenant('{tenant}')"));
        let got = (0..5).filter(|_| ops.text(TRY) == "t").count();
        assert_eq!(got, wanted, "{tenant}");
        let says = ops.text(
            "SELECT concat_ws(' ', used, remaining) FROM tenancy.limits() WHERE level = 'user'",
        );
        assert_eq!(says, format!("{wanted} 0"));
        sessions.push(ops);
    }
}

#[test]
fn a_slot_ends_with_what_it_was_taken_until() {
    let world = world(10);
    let mut alice = world.begin("alice");
    // Transaction: at its end, or at the rollback of its savepoint.
    alice
        .run(ACQUIRE)
        .run("SAVEPOINT a")
        .run(ACQUIRE)
        .run("SAVEPOINT b")
        .run(ACQUIRE);
    alice
        .run("RELEASE b")
        .run("SAVEPOINT c")
        .run(ACQUIRE)
        .run("ROLLBACK TO c");
    assert_eq!(held(&world, "acme"), 3);
    alice.run("ROLLBACK TO a");
    assert_eq!(held(&world, "acme"), 1);
    alice.run(ACQUIRE).run("COMMIT");
    assert_eq!(held(&world, "acme"), 0);
    alice
        .begin(world.key("alice"))
        .run(ACQUIRE)
        .fails("SELECT 1/0");
    alice.run("ROLLBACK");
    assert_eq!(held(&world, "acme"), 0);
    // In a block of PL/pgSQL.
    alice.begin(world.key("alice"));
    alice.run("DO $$ BEGIN BEGIN PERFORM tenancy.acquire_slot('jobs'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END; END $$");
    assert_eq!(held(&world, "acme"), 0);
    // Session: a rollback takes it back, a commit keeps it.
    alice.run(FOR_SESSION).run("ROLLBACK");
    assert_eq!(held(&world, "acme"), 0);
    alice
        .begin(world.key("alice"))
        .run(FOR_SESSION)
        .run("COMMIT");
    alice
        .begin(world.key("alice"))
        .run(FOR_SESSION)
        .run("ROLLBACK");
    assert_eq!(held(&world, "acme"), 1);
    alice.fails("BEGIN; DISCARD ALL").code("25001");
    alice.run("ROLLBACK");
    assert_eq!(held(&world, "acme"), 1);
    alice.run("DISCARD ALL");
    assert_eq!(held(&world, "acme"), 0);
    alice
        .begin(world.key("alice"))
        .run(FOR_SESSION)
        .run(FOR_SESSION)
        .run("COMMIT");
    assert_eq!(held(&world, "acme"), 2);
    drop(alice);
    comes_to(&world, "acme", 0);
    // Release: it outlives the session, but not a rollback.
    let mut alice = world.begin("alice");
    alice
        .run(FOR_RELEASE)
        .run("ROLLBACK")
        .begin(world.key("alice"));
    let id = alice.text(FOR_RELEASE);
    alice.run("COMMIT").run("DISCARD ALL");
    drop(alice);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(held(&world, "acme"), 1);
    let mut alice = world.begin("alice");
    let release = format!("SELECT tenancy.release_slot('{id}')");
    assert_eq!(alice.text(&release), "t");
    // At once, and for good.
    alice.run("ROLLBACK");
    assert_eq!(held(&world, "acme"), 0);
    assert_eq!(world.begin("alice").text(&release), "f");
}

#[test]
fn a_terminated_backend_frees_its_slots() {
    let world = world(3);
    let mut admin = world.db.admin();
    for until in ["transaction", "session"] {
        let mut alice = world.begin("alice");
        alice.run(&format!(
            "SELECT tenancy.acquire_slot('jobs', until => '{until}') FROM generate_series(1, 3)"
        ));
        if until == "session" {
            alice.run("COMMIT");
        }
        assert_eq!(world.begin("alice").text(TRY), "f");
        let pid = alice.pid();
        admin.run(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
        comes_to(&world, "acme", 0);
        assert_eq!(world.begin("alice").text(TRY), "t");
    }
}

#[test]
fn a_slot_expires_wherever_it_is_held() {
    let world = world(2);
    let mut alice = world.begin("alice");
    let short = alice.text("SELECT tenancy.acquire_slot('jobs', '200 milliseconds', 'session')");
    alice.run("SELECT tenancy.acquire_slot('jobs', '1 hour', 'session'); COMMIT");
    comes_to(&world, "acme", 1);
    let mut alice2 = world.begin("alice");
    alice2.run("SELECT tenancy.acquire_slot('jobs', '3 seconds', 'release'); COMMIT");
    alice2.begin(world.key("alice"));
    assert_eq!(alice2.text(TRY), "f");
    let end = Instant::now() + Duration::from_secs(20);
    while alice2.text(TRY) == "f" {
        assert!(Instant::now() < end);
    }
    assert_eq!(
        alice2.text(&format!("SELECT tenancy.release_slot('{short}')")),
        "f"
    );
    alice2.run("ROLLBACK");
    assert_eq!(held(&world, "acme"), 1);
}

#[test]
fn another_user_in_the_session_ends_the_slots_of_the_first() {
    let world = world(3);
    let mut session = world.begin("alice");
    session.run(FOR_SESSION).run("COMMIT");
    session.begin(world.key("alice")).run("COMMIT");
    assert_eq!(held(&world, "acme"), 1);
    session.begin(world.key("bob")).run("COMMIT");
    assert_eq!(held(&world, "acme"), 0);
    // Behind a pool that says so they are refused.
    world.db.admin().run(&format!(
        "ALTER ROLE {} SET tenancy.pooled = on",
        world.db.app
    ));
    let mut alice = world.begin("alice");
    alice
        .fails_inside(FOR_SESSION)
        .code("42501")
        .hints("until its release");
    alice.run(FOR_RELEASE).run(ACQUIRE).run("COMMIT");
    assert_eq!(held(&world, "acme"), 1);
}

#[test]
fn through_a_pool_in_transaction_mode() {
    let world = world(3);
    let upstream = world.db.config(&world.db.app);
    let bouncer = PgBouncer::start(&upstream, 1, "");
    let config = bouncer.config(&upstream);
    let (mut one, mut two) = (Session::connect(&config), Session::connect(&config));
    one.begin(world.key("alice"));
    let id = one.text(FOR_RELEASE);
    one.run(FOR_SESSION).run(ACQUIRE).run("COMMIT");
    assert_eq!(held(&world, "acme"), 2);
    // The server's session goes on with another client.
    two.begin(world.key("bob")).run(ACQUIRE).run("COMMIT");
    assert_eq!(held(&world, "acme"), 1);
    drop(one);
    let mut three = Session::connect(&config);
    three.begin(world.key("alice"));
    assert_eq!(
        three.text(&format!("SELECT tenancy.release_slot('{id}')")),
        "t"
    );
    three.run("COMMIT");
    assert_eq!(held(&world, "acme"), 0);
}

#[test]
fn nobody_else_releases_a_slot_or_learns_its_id() {
    let world = world(3);
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_user('acme', 'amy'), tenancy.create_user('acme', 'tad', role => 'tenant_admin')");
    let key = |user: &str| {
        world
            .db
            .owner()
            .text(&format!("SELECT tenancy.issue_api_key('acme/{user}', 'k')"))
    };
    let (amy, tad) = (key("amy"), key("tad"));
    let acquire = || {
        let mut alice = world.begin("alice");
        let id = alice.text(FOR_RELEASE);
        alice.run("COMMIT");
        id
    };
    let id = acquire();
    let release = format!("SELECT tenancy.release_slot('{id}')");
    for user in ["bob", "eve", "boss"] {
        let mut session = world.begin(user);
        assert_eq!(session.text(&release), "f", "{user}");
        assert_eq!(
            session.number("SELECT count(*) FROM tenancy.slots"),
            0,
            "{user}"
        );
    }
    // Near misses of the id.
    let mut alice = world.begin("alice");
    let other = format!("{}{}", &id[..35], if id.ends_with('0') { '1' } else { '0' });
    assert_eq!(
        alice.text(&format!("SELECT tenancy.release_slot('{other}')")),
        "f"
    );
    assert_eq!(
        alice.text("SELECT tenancy.release_slot('00000000-0000-0000-0000-000000000000')"),
        "f"
    );
    alice
        .fails_inside("SELECT tenancy.release_slot(NULL)")
        .code("22023");
    world.db.app().fails(&release).code("55000");
    // The holder sees it, its admin and its partner's too; another member does not, but may release what it was told.
    assert_eq!(alice.text("SELECT id FROM tenancy.slots"), id);
    let mut session = world.db.app();
    session.begin(&tad);
    assert_eq!(
        session.text("SELECT concat_ws(' ', id, username, until, pid) FROM tenancy.slots"),
        format!("{id} alice release")
    );
    session.run("COMMIT").begin(&amy);
    assert_eq!(session.number("SELECT count(*) FROM tenancy.slots"), 0);
    assert_eq!(session.text(&release), "t");
    let mut ops = world.begin("ops");
    let id = acquire();
    assert_eq!(ops.text("SELECT id FROM tenancy.slots"), id);
    assert_eq!(
        ops.text(&format!("SELECT tenancy.release_slot('{id}')")),
        "t"
    );
    // The first digits are a number, the rest is not guessed.
    let (a, b) = (acquire(), acquire());
    assert_ne!(a[8..], b[8..]);
}

#[test]
fn bad_input_gets_errors() {
    let world = world(3);
    world
        .db
        .owner()
        .run("SELECT tenancy.define_limit('api', 'rate')");
    let mut alice = world.begin("alice");
    for (call, code, text) in [
        ("acquire_slot(NULL)", "22023", "name"),
        ("acquire_slot('jobs', until => NULL)", "22023", "until"),
        (
            "acquire_slot('jobs', until => 'Session')",
            "22023",
            "until must be",
        ),
        (
            "acquire_slot('jobs', until => 'release')",
            "22023",
            "needs a ttl",
        ),
        ("acquire_slot('jobs', '0')", "22023", "ttl"),
        ("acquire_slot('jobs', '-1 hour')", "22023", "ttl"),
        ("acquire_slot('jobs', '8 days')", "22023", "ttl"),
        ("acquire_slot('jobs', '1 month')", "22023", "ttl"),
        ("acquire_slot('nothing')", "42704", "does not exist"),
        ("acquire_slot('api')", "22023", "is of kind rate"),
        ("try_acquire_slot('nothing')", "42704", "does not exist"),
    ] {
        alice
            .fails_inside(&format!("SELECT tenancy.{call}"))
            .code(code)
            .says(text);
    }
    assert_eq!(held(&world, "acme"), 0);
    world
        .db
        .owner()
        .run("SELECT tenancy.set_slots('acme', 'jobs', 0)");
    alice
        .fails_inside(ACQUIRE)
        .code("53400")
        .details("0 of 0 are held");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_slots('acme', 'jobs', NULL)");
    alice.run("SELECT tenancy.acquire_slot('jobs') FROM generate_series(1, 20)");
    assert_eq!(held(&world, "acme"), 20);
    alice.run("COMMIT");
    alice.fails(ACQUIRE).code("55000");
    world.db.stranger().fails(ACQUIRE).code("42501");
    world
        .begin("ops")
        .fails(ACQUIRE)
        .code("55000")
        .says("2 tenants");
}

/// 32 clients: never more than so many at once, and as many as there are.
#[test]
fn a_race_at_each_level_admits_exactly_so_many() {
    const CLIENTS: usize = 32;
    const MOST: u64 = 7;
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_project('acme', 'red')");
    for (level, scope) in [
        ("platform", "platform"),
        ("partner", "globex"),
        ("tenant", "acme"),
        ("project", "acme/red"),
        ("user", "acme/alice"),
        ("api_key", "acme/alice"),
    ] {
        let name = level.replace('_', "-");
        owner.run(&format!("SELECT tenancy.define_limit('{name}', 'slots'); SELECT tenancy.set_slots('{scope}', '{name}', {MOST}, '{level}')"));
        let (admitted, inside) = (AtomicU64::new(0), AtomicI64::new(0));
        let barrier = Barrier::new(CLIENTS);
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (world, admitted, inside, barrier, name) =
                    (&world, &admitted, &inside, &barrier, &name);
                scope.spawn(move || {
                    let acquire = format!("SELECT tenancy.try_acquire_slot('{name}')");
                    let mut session = world.db.app();
                    let begin = |session: &mut Session| {
                        session.begin(world.key("alice"));
                        if level == "project" {
                            session.run("SELECT tenancy.select_project('acme/red')");
                        }
                    };
                    begin(&mut session);
                    barrier.wait();
                    let got = session.text(&acquire) != "NULL";
                    admitted.fetch_add(got.into(), Ordering::Relaxed);
                    barrier.wait();
                    session.run(if client % 2 == 0 {
                        "COMMIT"
                    } else {
                        "ROLLBACK"
                    });
                    barrier.wait();
                    for n in 0..20 {
                        begin(&mut session);
                        if session.text(&acquire) != "NULL" {
                            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                            assert!(now <= MOST as i64, "{now} at once");
                            thread::sleep(Duration::from_micros(300));
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                        session.run(if n % 2 == 0 { "COMMIT" } else { "ROLLBACK" });
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), MOST, "{level}");
    }
    assert_eq!(held(&world, "acme"), 0);
}

#[test]
fn a_crash_and_a_restart_free_all() {
    let cluster = Cluster::start_with(&["max_prepared_transactions=5", "tenancy.slots=64"], &[]);
    let world = limited(World::bare_in(Db::on(cluster.config())), 100);
    // A prepared transaction has no session that would free its slots.
    let mut alice = world.begin("alice");
    alice.run(ACQUIRE);
    alice
        .fails("PREPARE TRANSACTION 'p'")
        .code("0A000")
        .says("holds slots");
    assert_eq!(held(&world, "acme"), 0);
    alice.run("ROLLBACK").begin(world.key("alice"));
    alice
        .run(FOR_RELEASE)
        .run(FOR_SESSION)
        .run("PREPARE TRANSACTION 'p'")
        .run("COMMIT PREPARED 'p'");
    assert_eq!(held(&world, "acme"), 2);
    // A tenant takes half of what is free at most.
    let mut app = world.begin("alice");
    let mut got = 2;
    while app.try_run(FOR_RELEASE).is_ok() {
        got += 1;
    }
    assert_eq!(got, 32);
    app.run("ROLLBACK").begin(world.key("alice"));
    app.run("SELECT tenancy.acquire_slot('jobs') FROM generate_series(1, 30)");
    app.fails(ACQUIRE).code("53000").hints("tenancy.slots");
    assert_eq!(world.begin("bob").text(TRY), "t");
    assert_eq!(
        world
            .db
            .owner()
            .text("SELECT concat_ws(' ', capacity, full_refusals) FROM tenancy.slot_stats()"),
        "64 2"
    );
    drop(app);
    let mut app = world.begin("alice");
    app.run(FOR_RELEASE).run(ACQUIRE);
    cluster.kill_process(app.pid());
    comes_to(&world, "acme", 0);
    let mut app = world.begin("alice");
    app.run(FOR_RELEASE).run("COMMIT");
    assert_eq!(held(&world, "acme"), 1);
    cluster.down();
    cluster.up();
    assert_eq!(held(&world, "acme"), 0);
}
