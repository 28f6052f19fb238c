//! Statements within statements: rows that go before the statement that stored them has counted them, errors, and counters that move.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

/// A world with rooms of at most 3 rows for each tenant of globex.
fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "CREATE TABLE app.rooms (id int, tenant_id uuid NOT NULL, floor int NOT NULL DEFAULT 1, PRIMARY KEY (tenant_id, id));
         SELECT tenancy.protect('app.rooms'); SELECT tenancy.define_limit('rooms', 'amount'), tenancy.define_limit('floor', 'amount');
         SELECT tenancy.set_limit('globex', 'rooms', 3, 'tenant');
         SELECT tenancy.set_quota('app.rooms', 'rooms'), tenancy.set_quota('app.rooms', 'floor', per => 'floor')",
    );
    world
}

const USED: &str = "SELECT string_agg(name || '=' || used, ' ' ORDER BY name) FROM tenancy.quota_usage WHERE scope = 'acme'";

#[track_caller]
fn agrees(world: &World, used: &str) {
    let mut owner = world.db.owner();
    assert_eq!(owner.text(USED), used);
    assert_eq!(
        owner.number("SELECT sum(corrected) FROM tenancy.recount('app.rooms')"),
        0
    );
    let below = "SELECT count(*) FROM tenancy_internal.quota_counters WHERE used < 0";
    assert_eq!(world.db.admin().number(below), 0);
}

#[test]
fn a_row_may_go_before_it_is_counted() {
    let world = world();
    world.db.owner().run(
        "BEGIN; SELECT tenancy.maintenance('triggers');
         CREATE FUNCTION app.vanish() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM app.rooms WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE TRIGGER a_vanish AFTER INSERT ON app.rooms FOR EACH ROW WHEN (NEW.id BETWEEN 100 AND 199) EXECUTE FUNCTION app.vanish();
         CREATE TRIGGER z_vanish AFTER INSERT ON app.rooms FOR EACH ROW WHEN (NEW.id BETWEEN 200 AND 299) EXECUTE FUNCTION app.vanish();
         CREATE FUNCTION app.gone(int, again boolean = false) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
             DELETE FROM app.rooms WHERE id = $1;
             IF again THEN
                 BEGIN DELETE FROM app.rooms; INSERT INTO app.rooms (id) VALUES (900); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
             END IF;
             RETURN $1; END $$; COMMIT",
    );
    let mut alice = world.begin("alice");
    for (statement, rows) in [
        ("INSERT INTO app.rooms (id) VALUES (100)", 0),
        (
            "INSERT INTO app.rooms (id) VALUES (101), (201), (1), (202)",
            1,
        ),
        (
            "INSERT INTO app.rooms (id) VALUES (300) RETURNING app.gone(id)",
            1,
        ),
        (
            "INSERT INTO app.rooms (id) VALUES (300), (301) RETURNING app.gone(id, true)",
            1,
        ),
        (
            "INSERT INTO app.rooms (id) SELECT app.gone(n) FROM generate_series(1, 2) n",
            2,
        ),
        (
            "DO $$ BEGIN INSERT INTO app.rooms (id) VALUES (100); DELETE FROM app.rooms; INSERT INTO app.rooms (id) VALUES (100), (2); END $$",
            1,
        ),
        (
            "SAVEPOINT s; INSERT INTO app.rooms (id) VALUES (102); ROLLBACK TO s; INSERT INTO app.rooms (id) VALUES (103), (5)",
            2,
        ),
    ] {
        alice.run(statement);
        assert_eq!(
            alice.number("SELECT count(*) FROM app.rooms"),
            rows,
            "{statement}"
        );
    }
    let mut copy = alice.copy_in("COPY app.rooms (id) FROM STDIN").unwrap();
    std::io::Write::write_all(&mut copy, b"104\n6\n203\n").unwrap();
    copy.finish().unwrap();
    alice
        .fails_inside("INSERT INTO app.rooms (id) VALUES (7)")
        .code("53400")
        .details("3 of 3");
    alice.run("COMMIT");
    agrees(&world, "floor=3 rooms=3");
    let mut alice = world.begin("alice");
    alice.run("DELETE FROM app.rooms; INSERT INTO app.rooms (id) VALUES (100) RETURNING app.gone(id); COMMIT");
    agrees(&world, "rooms=0");
}

#[test]
fn rows_that_nothing_has_counted_leave_no_room_when_they_go() {
    let world = world();
    let acme = world.id("acme");
    let mut admin = world.db.admin();
    admin.run(&format!("BEGIN; SET LOCAL session_replication_role = replica; INSERT INTO app.rooms (id, tenant_id) SELECT n, '{acme}' FROM generate_series(1, 6) n; COMMIT"));
    let mut alice = world.begin("alice");
    alice.run("DELETE FROM app.rooms WHERE id < 4; SAVEPOINT s; DELETE FROM app.rooms WHERE id = 4; ROLLBACK TO s");
    alice
        .fails_inside("INSERT INTO app.rooms (id) SELECT n FROM generate_series(10, 13) n")
        .code("53400")
        .details("0 of 3");
    alice.run("DELETE FROM app.rooms; INSERT INTO app.rooms (id) VALUES (10), (11), (12); COMMIT");
    agrees(&world, "floor=3 rooms=3");
}

#[test]
fn an_error_while_quotas_are_read_does_not_end_them() {
    let world = world();
    let mut alice = world.begin("alice");
    let mut admin = world.db.admin();
    admin.run("BEGIN; LOCK TABLE tenancy_internal.quota_definitions IN ACCESS EXCLUSIVE MODE");
    alice
        .fails_inside("SET LOCAL lock_timeout = '100ms'; INSERT INTO app.rooms (id) VALUES (1)")
        .code("55P03");
    admin.run("ROLLBACK");
    alice
        .fails_inside("INSERT INTO app.rooms (id) SELECT n FROM generate_series(1, 4) n")
        .code("53400");
    alice.run("INSERT INTO app.rooms (id) VALUES (1); COMMIT");
    agrees(&world, "floor=1 rooms=1");
}

#[test]
fn a_transaction_that_rewrites_the_counters_finds_them() {
    let world = world();
    let mut admin = world.db.admin();
    let insert = |n: i32| {
        format!(
            "INSERT INTO app.rooms (id, tenant_id, floor) SELECT {n}, s.id, f FROM tenancy.scopes s, (VALUES ({n})) v (f) WHERE s.level = 'tenant' AND s.slug IN ('umbrella', 'acme', 'soylent') ORDER BY s.slug DESC"
        )
    };
    for n in 1..=2 {
        let (first, then) = (
            insert(n),
            format!("{}; UPDATE app.rooms SET floor = 5", insert(n + 10)),
        );
        admin.run(&format!(
            "BEGIN; {first}; DELETE FROM app.rooms WHERE id = {n}; {first}; CLUSTER tenancy_internal.quota_counters USING quota_counters_pkey; {then}; DELETE FROM app.rooms WHERE id > 10; COMMIT"
        ));
    }
    agrees(&world, "floor=2 rooms=2");
}

#[test]
fn a_counter_that_is_no_longer_where_it_was_seen_is_found() {
    let world = world();
    let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
    owner.run("SELECT tenancy.set_limit('globex', 'rooms', 10000, 'tenant')");
    let mut alice = world.db.app();
    let key = world.key("alice").to_owned();
    let insert = |id: i32, floors: i32| {
        format!(
            "INSERT INTO app.rooms (id, floor) SELECT {id} + n, n FROM generate_series(1, {floors}) n"
        )
    };
    // By the index, which knows it on another page, too.
    let by_index = "SET enable_seqscan = off; SET enable_bitmapscan = off;
         SELECT count(*) FROM tenancy_internal.quota_counters c JOIN tenancy_internal.quota_definitions q ON q.id = c.quota_id AND q.per = 'tenant'
         WHERE c.tenant = (SELECT id::text FROM tenancy.scopes WHERE slug = 'acme') AND c.key = '' AND c.used =";
    alice.begin(&key);
    for n in 1..=300 {
        alice.run(&insert(10 * n, 1));
    }
    alice.run("COMMIT");
    assert_eq!(admin.number(&format!("{by_index} 300")), 1);
    // A counter stays on its page, however often it changes.
    admin.run("VACUUM tenancy_internal.quota_counters");
    let pages = "SELECT pg_relation_size('tenancy_internal.quota_counters')";
    let before = admin.number(pages);
    for n in 0..200 {
        alice
            .begin(&key)
            .run(&insert(4000 + 10 * n, 1))
            .run("COMMIT");
        alice
            .begin(&key)
            .run(&format!(
                "DELETE FROM app.rooms WHERE id = {}",
                4001 + 10 * n
            ))
            .run("COMMIT");
    }
    assert_eq!(admin.number(pages), before);
    // What a rollback leaves there is not the counter.
    alice.begin(&key).run(&insert(5000, 1)).run("ROLLBACK");
    admin.run("VACUUM tenancy_internal.quota_counters");
    alice.begin(&key).run(&insert(5000, 1)).run("COMMIT");
    // Others remove counters and change one, and VACUUM gives their places to others or cuts off their pages.
    for again in 1..=3 {
        alice.begin(&key).run(&insert(10_000, 1000)).run("COMMIT");
        admin.run("DELETE FROM app.rooms WHERE id > 10000");
        admin.run("VACUUM tenancy_internal.quota_counters");
        (world.begin("alice"))
            .run(&insert(5000 + 10 * again, 1))
            .run("COMMIT");
        assert_eq!(admin.number(&format!("{by_index} {}", 301 + again)), 1);
        let wrong = "SELECT sum(corrected) FROM tenancy.recount('app.rooms')";
        assert_eq!(owner.number(wrong), 0);
    }
}

#[test]
fn a_trigger_that_is_missing_anywhere_shows() {
    let world = world();
    let mut owner = world.db.owner();
    let enforced = "SELECT bool_and(enforced)::text FROM tenancy.quotas";
    owner.run(
        "CREATE TABLE app.events (id int, tenant_id uuid NOT NULL) PARTITION BY RANGE (id);
         CREATE TABLE app.events_1 PARTITION OF app.events FOR VALUES FROM (0) TO (10);
         SELECT tenancy.protect('app.events'); SELECT tenancy.set_quota('app.events', 'rooms');
         CREATE TABLE app.events_2 PARTITION OF app.events FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
         CREATE TABLE app.events_3 PARTITION OF app.events_2 DEFAULT",
    );
    assert_eq!(owner.text(enforced), "true");
    for (table, trigger) in [
        ("app.rooms", "tenancy_quota_truncate"),
        ("app.events_3", "tenancy_quota_truncate"),
        ("ONLY app.events", "tenancy_quota"),
        ("ONLY app.events_2", "tenancy_quota_update"),
    ] {
        owner.run(&format!("ALTER TABLE {table} DISABLE TRIGGER {trigger}"));
        assert_eq!(owner.text(enforced), "false", "{table}");
        owner.run(&format!("ALTER TABLE {table} ENABLE TRIGGER {trigger}"));
        assert_eq!(owner.text(enforced), "true", "{table}");
    }
}
