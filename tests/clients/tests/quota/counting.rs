//! Every way to store a row, to change it and to remove it is counted, once, and what would exceed a quota is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

/// What is stored in acme, as the counters say.
const USED: &str = "SELECT string_agg(name || coalesce('[' || key || ']', '') || '=' || used, ' ' ORDER BY name, key) \
                    FROM tenancy.quota_usage WHERE scope = 'acme' AND used > 0";

/// A world with rooms of at most 5 rows, 100 bytes and 3 rows a floor for each tenant of globex.
fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "CREATE TABLE app.floors (id int, tenant_id uuid NOT NULL, PRIMARY KEY (tenant_id, id));
         CREATE TABLE app.rooms (id int, tenant_id uuid NOT NULL, floor int, name text, bytes int GENERATED ALWAYS AS (octet_length(name)) STORED,
                                 PRIMARY KEY (tenant_id, id),
                                 FOREIGN KEY (tenant_id, floor) REFERENCES app.floors ON DELETE CASCADE ON UPDATE CASCADE);
         SELECT tenancy.protect('app.floors'), tenancy.protect('app.rooms');
         SELECT tenancy.define_limit('rooms', 'amount'), tenancy.define_limit('bytes', 'amount', 'byte'), tenancy.define_limit('floor', 'amount');
         SELECT tenancy.set_limit('globex', 'rooms', 5, 'tenant'), tenancy.set_limit('globex', 'bytes', 100, 'tenant'),
                tenancy.set_limit('globex', 'floor', 3, 'tenant');
         SELECT tenancy.set_quota('app.rooms', 'rooms'), tenancy.set_quota('app.rooms', 'bytes', 'bytes'), tenancy.set_quota('app.rooms', 'floor', per => 'floor')",
    );
    world
}

/// Alice's transaction, with two floors.
fn begin(world: &World) -> Session {
    let mut alice = world.begin("alice");
    alice.run("INSERT INTO app.floors (id) VALUES (1), (2)");
    alice
}

/// The counters agree with the rows: counting anew corrects nothing.
#[track_caller]
fn agrees(world: &World, table: &str) {
    let wrong = format!("SELECT sum(corrected) FROM tenancy.recount('{table}')");
    assert_eq!(world.db.owner().number(&wrong), 0, "{table}");
}

#[track_caller]
fn used(world: &World, expected: &str) {
    assert_eq!(world.db.owner().text(USED), expected);
}

#[test]
fn rows_sums_and_rows_a_key_are_counted_and_held_to_their_limits() {
    let world = world();
    let mut alice = begin(&world);
    alice.run("INSERT INTO app.rooms (id, floor, name) VALUES (1, 1, 'aaaa'), (2, 1, 'bbb'), (3, 1, NULL)");
    alice
        .fails_inside("INSERT INTO app.rooms (id, floor, name) VALUES (4, 1, 'x')")
        .code("53400")
        .says("the tenant's quota \"floor\" of app.rooms is exhausted")
        .details("3 of 3 are stored with floor = 1, and the statement adds 1.")
        .hints("tenancy.quota_usage");
    alice
        .fails_inside("INSERT INTO app.rooms (id, floor, name) VALUES (4, 2, repeat('x', 94))")
        .code("53400")
        .details("7 of 100 are stored, and the statement adds 94.");
    alice.run(
        "INSERT INTO app.rooms (id, floor, name) VALUES (4, 2, repeat('x', 93)), (5, NULL, '')",
    );
    alice
        .fails_inside("INSERT INTO app.rooms (id) VALUES (6)")
        .code("53400")
        .says("quota \"rooms\"");
    // A statement counts as a whole, and what goes makes room for what comes.
    alice.run("WITH gone AS (DELETE FROM app.rooms WHERE id = 5 RETURNING id) INSERT INTO app.rooms (id) SELECT 6 FROM gone");
    alice.fails_inside("UPDATE app.rooms SET name = name || 'y' WHERE id = 4");
    alice.fails_inside("UPDATE app.rooms SET floor = 1 WHERE id = 4");
    alice.run("UPDATE app.rooms SET name = 'z' WHERE id = 4; UPDATE app.rooms SET floor = 3 - floor WHERE id IN (3, 4); COMMIT");
    used(&world, "bytes=8 floor[1]=3 floor[2]=1 rooms=5");
    // Another tenant has counters of its own.
    let mut bob = world.begin("bob");
    bob.run("INSERT INTO app.rooms (id, name) SELECT n, 'n' FROM generate_series(1, 5) n");
    bob.fails("INSERT INTO app.rooms (id) VALUES (6)")
        .code("53400");
    agrees(&world, "app.rooms");
}

#[test]
fn rollbacks_and_savepoints_leave_no_trace() {
    let world = world();
    let mut alice = begin(&world);
    alice.run("COMMIT").begin(world.key("alice"));
    alice
        .run("INSERT INTO app.rooms (id, floor) VALUES (1, 1); ROLLBACK")
        .begin(world.key("alice"));
    for _ in 0..4 {
        alice.run("SAVEPOINT s; INSERT INTO app.rooms (id, floor, name) VALUES (1, 1, 'xy'), (2, 1, 'z'); ROLLBACK TO s");
    }
    alice.run(
        "DO $$ BEGIN
             BEGIN INSERT INTO app.rooms (id, floor) VALUES (1, 1), (2, 1); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
             INSERT INTO app.rooms (id, floor) VALUES (3, 1);
             BEGIN INSERT INTO app.rooms (id, floor) SELECT n, 2 FROM generate_series(4, 14) n; EXCEPTION WHEN SQLSTATE '53400' THEN NULL; END;
             INSERT INTO app.rooms (id, floor) VALUES (4, 2);
         END $$; COMMIT",
    );
    used(&world, "floor[1]=1 floor[2]=1 rooms=2");
    agrees(&world, "app.rooms");
}

#[test]
fn many_statements_of_a_transaction_cost_as_much_each_as_a_few() {
    let world = world();
    world.db.owner().run("SELECT tenancy.set_limit('globex', 'rooms', 100000, 'tenant'), tenancy.set_limit('globex', 'floor', 100000, 'tenant')");
    let mut alice = begin(&world);
    let insert = |from: i32, to: i32| {
        format!(
            "DO $$ BEGIN FOR i IN {from}..{to} LOOP INSERT INTO app.rooms (id, floor) VALUES (i, 1); END LOOP; END $$"
        )
    };
    alice.run(&insert(1, 500));
    // With savepoints between, and queries that change counters themselves.
    alice.run(&format!(
        "SAVEPOINT a; {}; ROLLBACK TO a; {}; RELEASE a",
        insert(501, 600),
        insert(501, 1000)
    ));
    alice.run("DELETE FROM app.rooms WHERE id > 900; COMMIT");
    used(&world, "floor[1]=900 rooms=900");
    let mut owner = world.db.owner();
    owner.run(&format!(
        "BEGIN; SELECT tenancy.maintenance('load'); INSERT INTO app.rooms (id, tenant_id) VALUES (2001, '{0}'); SELECT tenancy.recount('app.rooms');
         INSERT INTO app.rooms (id, tenant_id) VALUES (2002, '{0}'); SELECT tenancy.set_quota('app.rooms', 'rooms'); DELETE FROM app.rooms WHERE id = 2001; COMMIT",
        world.id("acme")
    ));
    used(&world, "floor[1]=900 rooms=901");
    agrees(&world, "app.rooms");
}

#[test]
fn cascades_copy_merge_and_upserts_are_counted() {
    let world = world();
    let mut alice = begin(&world);
    alice.run(
        "INSERT INTO app.rooms (id, floor, name) VALUES (1, 1, 'a'), (2, 1, 'bb'), (3, 2, 'c')",
    );
    alice.run("UPDATE app.floors SET id = 7 WHERE id = 1");
    alice.run("COMMIT");
    used(&world, "bytes=4 floor[2]=1 floor[7]=2 rooms=3");
    alice
        .begin(world.key("alice"))
        .run("DELETE FROM app.floors WHERE id = 7; COMMIT");
    used(&world, "bytes=1 floor[2]=1 rooms=1");
    alice.begin(world.key("alice")).run(
        "INSERT INTO app.rooms (id, floor, name) VALUES (3, 2, 'c'), (4, 2, 'd') ON CONFLICT DO NOTHING;
         INSERT INTO app.rooms (id, floor, name) VALUES (4, 2, 'd') ON CONFLICT (tenant_id, id) DO UPDATE SET name = 'longer';
         MERGE INTO app.rooms r USING (VALUES (3), (5)) v (id) ON r.id = v.id
          WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, tenant_id, name) VALUES (v.id, tenancy.tenant_id(), 'merged'); COMMIT",
    );
    used(&world, "bytes=12 floor[2]=1 rooms=2");
    let mut copying = world.begin("alice");
    let mut copy = copying
        .copy_in("COPY app.rooms (id, name) FROM STDIN")
        .unwrap();
    std::io::Write::write_all(&mut copy, b"10\tten\n11\televen\n").unwrap();
    copy.finish().unwrap();
    copying.run("COMMIT").begin(world.key("alice"));
    used(&world, "bytes=21 floor[2]=1 rooms=4");
    let mut copy = copying
        .copy_in("COPY app.rooms (id, name) FROM STDIN")
        .unwrap();
    std::io::Write::write_all(&mut copy, b"12\tx\n13\ty\n").unwrap();
    let error = copy.finish().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "53400");
    drop(copying);
    used(&world, "bytes=21 floor[2]=1 rooms=4");
    world.db.admin().run("TRUNCATE app.rooms");
    assert_eq!(
        world
            .db
            .owner()
            .texts("SELECT used::text FROM tenancy.quota_usage WHERE used > 0"),
        Vec::<String>::new()
    );
    agrees(&world, "app.rooms");
}

#[test]
fn triggers_of_the_application_and_nested_statements_are_counted_once() {
    let world = world();
    world.db.owner().run(
        "BEGIN; SELECT tenancy.maintenance('triggers');
         CREATE FUNCTION app.twin() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.id < 100 THEN INSERT INTO app.rooms (id, floor, name) VALUES (NEW.id + 100, NEW.floor, NEW.name); END IF; RETURN NULL; END $$;
         CREATE TRIGGER twin AFTER INSERT ON app.rooms FOR EACH ROW EXECUTE FUNCTION app.twin();
         CREATE FUNCTION app.shorter() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := left(NEW.name, 2); RETURN NEW; END $$;
         CREATE TRIGGER shorter BEFORE UPDATE ON app.rooms FOR EACH ROW EXECUTE FUNCTION app.shorter(); COMMIT",
    );
    let mut alice = begin(&world);
    alice.run("INSERT INTO app.rooms (id, floor, name) VALUES (1, 1, 'abcd')");
    // The trigger changes a column that the statement does not name.
    alice.run("UPDATE app.rooms SET floor = floor WHERE id = 1; COMMIT");
    used(&world, "bytes=6 floor[1]=2 rooms=2");
    let mut alice = world.begin("alice");
    alice
        .fails("INSERT INTO app.rooms (id, floor) VALUES (2, 2), (3, NULL)")
        .code("53400");
    drop(alice);
    used(&world, "bytes=6 floor[1]=2 rooms=2");
    agrees(&world, "app.rooms");
}

#[test]
fn partitions_count_for_their_table_however_they_are_written() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.events (id int, tenant_id uuid NOT NULL, size numeric(10, 2)) PARTITION BY RANGE (id);
         CREATE TABLE app.events_1 PARTITION OF app.events FOR VALUES FROM (0) TO (10);
         SELECT tenancy.protect('app.events'); SELECT tenancy.set_quota('app.events', 'rooms'), tenancy.set_quota('app.events', 'bytes', 'size');
         -- Its columns are elsewhere.
         CREATE TABLE app.events_2 (gone int, size numeric(10, 2), tenant_id uuid NOT NULL, id int); ALTER TABLE app.events_2 DROP gone;
         ALTER TABLE app.events ATTACH PARTITION app.events_2 FOR VALUES FROM (10) TO (20)",
    );
    let mut alice = world.begin("alice");
    alice.run("INSERT INTO app.events (id, size) VALUES (1, 1.25), (11, 2.5)");
    alice.run("INSERT INTO app.events_1 (id, size) VALUES (2, -7); INSERT INTO app.events_2 (id, tenant_id, size) VALUES (12, tenancy.tenant_id(), NULL)");
    alice.run("UPDATE app.events SET id = 13 WHERE id = 1; COMMIT");
    used(&world, "bytes=3.75 rooms=4");
    let mut alice = world.begin("alice");
    alice
        .fails_inside("INSERT INTO app.events_1 (id, size) VALUES (3, 96.26)")
        .code("53400")
        .details("3.75 of 100 are stored, and the statement adds 96.26.");
    alice
        .fails_inside("INSERT INTO app.events_1 (id) VALUES (3), (4)")
        .says("\"rooms\"");
    alice.run("COMMIT");
    agrees(&world, "app.events");
    let mut admin = world.db.admin();
    admin.run("TRUNCATE app.events_1");
    used(&world, "bytes=3.75 rooms=3");
    owner.run("ALTER TABLE app.events DETACH PARTITION app.events_2");
    assert_eq!(
        owner.number("SELECT coalesce(sum(used), 0)::bigint FROM tenancy.quota_usage"),
        0
    );
    admin.run("ALTER TABLE app.events ATTACH PARTITION app.events_2 FOR VALUES FROM (10) TO (20)");
    used(&world, "bytes=3.75 rooms=3");
    owner.run("BEGIN; SELECT tenancy.maintenance('retention'); DROP TABLE app.events_2; COMMIT");
    assert_eq!(
        owner.number("SELECT coalesce(sum(used), 0)::bigint FROM tenancy.quota_usage"),
        0
    );
    agrees(&world, "app.events");
    owner
        .fails("CREATE TABLE app.child () INHERITS (app.rooms)")
        .says("inheritance children");
}

#[test]
fn what_was_stored_without_the_triggers_is_found_by_recount() {
    let world = world();
    let mut admin = world.db.admin();
    let acme = world.id("acme");
    admin.run(&format!(
        "BEGIN; SET LOCAL session_replication_role = replica; INSERT INTO app.rooms (id, tenant_id, name) VALUES (1, '{acme}', 'abc'), (2, '{acme}', 'd'); COMMIT"
    ));
    let mut owner = world.db.owner();
    assert_eq!(owner.texts("SELECT name || ' ' || counters || ' ' || corrected FROM tenancy.recount('app.rooms') ORDER BY 1"), ["bytes 1 1", "floor 0 0", "rooms 1 1"]);
    used(&world, "bytes=4 rooms=2");
    // Rows that went uncounted leave no room behind.
    admin.run("BEGIN; SET LOCAL session_replication_role = replica; INSERT INTO app.rooms (id, tenant_id) SELECT n, (SELECT id FROM tenancy.scopes WHERE slug = 'acme') FROM generate_series(3, 9) n; COMMIT; DELETE FROM app.rooms WHERE id > 1");
    used(&world, "bytes=3");
    assert_eq!(
        owner.number("SELECT sum(corrected) FROM tenancy.recount('app.rooms', 'rooms')"),
        1
    );
    owner
        .fails("SELECT tenancy.recount('app.rooms', 'none')")
        .code("42704");
    owner.run("ALTER TABLE app.rooms DISABLE TRIGGER tenancy_quota");
    assert_eq!(
        owner.texts("SELECT DISTINCT enforced::text FROM tenancy.quotas"),
        ["false"]
    );
}

#[test]
fn quotas_follow_their_table() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run("ALTER TABLE app.rooms RENAME floor TO level; ALTER TABLE app.rooms RENAME tenant_id TO tid; ALTER TABLE app.rooms RENAME TO halls");
    let mut alice = world.begin("alice");
    alice.run("INSERT INTO app.floors VALUES (1); INSERT INTO app.halls (id, level) VALUES (1, 1), (2, 1); COMMIT");
    used(&world, "floor[1]=2 rooms=2");
    // A row of another tenant, moved by its owner.
    world.db.admin().run(&format!(
        "UPDATE app.halls SET level = NULL, tid = '{}' WHERE id = 2",
        world.id("umbrella")
    ));
    used(&world, "floor[1]=1 rooms=1");
    owner.run("SELECT tenancy.drop_quota('app.halls', 'rooms')");
    used(&world, "floor[1]=1");
    owner.run("SELECT tenancy.unprotect('app.halls')");
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.quotas"), 0);
    let left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tenancy_quota%'";
    assert_eq!(owner.number(left), 0);
    owner.run("CREATE TABLE app.more (tenant_id uuid NOT NULL); SELECT tenancy.protect('app.more'); SELECT tenancy.set_quota('app.more', 'rooms'); DROP TABLE app.more");
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.quotas"), 0);
}

#[test]
fn only_the_tables_owner_sets_quotas_and_nobody_writes_counters() {
    let world = world();
    let mut alice = world.begin("alice");
    for attempt in [
        "SELECT tenancy.set_quota('app.rooms', 'rooms')",
        "SELECT tenancy.drop_quota('app.rooms', 'rooms')",
        "SELECT tenancy.recount('app.rooms')",
        "UPDATE tenancy_internal.quota_counters SET used = 0",
        "SELECT * FROM tenancy_internal.quota_counters",
        "SELECT tenancy_internal.quota_allowed('app.rooms'::regclass, 1, '', '')",
        "SELECT tenancy_internal.quota_part_dropped('app.rooms'::regclass)",
        "ALTER TABLE app.rooms DISABLE TRIGGER tenancy_quota",
        "DROP TRIGGER tenancy_quota ON app.rooms",
        "TRUNCATE app.rooms",
        "SET session_replication_role = replica",
        "CREATE TEMP TABLE t (tenant_id uuid); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tenancy.count_quota()",
    ] {
        alice.fails_inside(attempt).code("42501");
    }
    // Another administrator is no owner either.
    let mut admin = world.db.admin();
    admin.run(&format!("GRANT tenancy_admin TO {}", world.db.stranger));
    let mut stranger = world.db.stranger();
    for attempt in [
        "tenancy.set_quota('app.rooms', 'rooms')",
        "tenancy.drop_quota('app.rooms', 'rooms')",
        "tenancy.recount('app.rooms')",
    ] {
        stranger.fails(&format!("SELECT {attempt}")).code("42501");
    }
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.plain (tenant_id uuid, a text COLLATE \"C\", f float8)");
    for (attempt, code) in [
        ("tenancy.set_quota('app.plain', 'rooms')", "42704"),
        ("tenancy.set_quota('app.rooms', 'nothing')", "42704"),
        ("tenancy.set_quota('app.rooms', 'rooms', 'none')", "22023"),
        ("tenancy.set_quota('app.rooms', 'rooms', 'name')", "22023"),
        (
            "tenancy.set_quota('app.rooms', 'rooms', per => 'none')",
            "22023",
        ),
        (
            "tenancy.set_quota('app.rooms', 'rooms', per => 'project')",
            "22023",
        ),
        ("tenancy.set_quota(NULL, 'rooms')", "22023"),
    ] {
        owner.fails(&format!("SELECT {attempt}")).code(code);
    }
}

#[test]
fn a_value_that_no_counter_has_room_for_is_an_error() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.notes (id int, tenant_id uuid NOT NULL, topic text); SELECT tenancy.protect('app.notes');
         SELECT tenancy.set_quota('app.notes', 'floor', per => 'topic')",
    );
    // With the tenant's id, 2500 bytes; what compresses well counts as much.
    let insert = |id: i32, random: &str, length: i32| {
        format!(
            "INSERT INTO app.notes (id, topic) SELECT {id}, left(string_agg({random}, '' ORDER BY n), {length}) FROM generate_series(1, 100) n"
        )
    };
    let mut alice = world.begin("alice");
    alice.run(&insert(1, "md5(n::text)", 2464));
    for random in ["md5(n::text)", "md5('')"] {
        alice
            .fails_inside(&insert(2, random, 2465))
            .code("54000")
            .says(
                "a value of column topic of app.notes is too long for quota \"floor\" to count by",
            )
            .hints("2500 bytes");
    }
    alice.run("UPDATE app.notes SET topic = topic; COMMIT");
    agrees(&world, "app.notes");
    // Nor can it be counted anew.
    owner.run("SELECT tenancy.drop_quota('app.notes', 'floor')");
    let mut alice = world.begin("alice");
    alice.run(&insert(2, "md5(n::text)", 2465)).run("COMMIT");
    owner
        .fails("SELECT tenancy.set_quota('app.notes', 'floor', per => 'topic')")
        .code("54000")
        .says("too long");
}

#[test]
fn counting_anew_shows_how_far_it_is() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.big (id int, tenant_id uuid NOT NULL, part int, body text) PARTITION BY LIST (part);
         CREATE TABLE app.big_1 PARTITION OF app.big FOR VALUES IN (1) WITH (fillfactor = 10);
         CREATE TABLE app.big_2 PARTITION OF app.big FOR VALUES IN (2);
         SELECT tenancy.define_limit('all', 'amount'); SELECT tenancy.protect('app.big')",
    );
    // A row on each page.
    world.begin("alice").run(
        "INSERT INTO app.big (id, part, body) SELECT n, 1, repeat('x', 800) FROM generate_series(1, 1500) n; INSERT INTO app.big (part) VALUES (2); COMMIT",
    );
    let notices = owner.notices("SELECT tenancy.set_quota('app.big', 'all')");
    assert_eq!(
        notices,
        [
            "tenancy: quota \"all\" of app.big_1: 1 of 3 steps",
            "tenancy: quota \"all\" of app.big_1: 2 of 3 steps",
            "tenancy: quota \"all\" of app.big_2: 3 of 3 steps",
        ]
    );
    assert_eq!(
        owner.number("SELECT used::bigint FROM tenancy.quota_usage WHERE name = 'all'"),
        1501
    );
    // A part of another owner is read as that one.
    let mut admin = world.db.admin();
    admin.run("ALTER TABLE app.big_2 OWNER TO postgres; TRUNCATE app.big_1");
    assert_eq!(
        owner.number("SELECT used::bigint FROM tenancy.quota_usage WHERE name = 'all'"),
        1
    );
    assert_eq!(
        owner.notices("SELECT tenancy.recount('app.big')"),
        Vec::<String>::new()
    );
}

#[test]
fn counting_anew_is_right_at_every_isolation_level() {
    let world = world();
    let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for statement in [
            "TRUNCATE app.rooms",
            "SELECT tenancy.recount('app.rooms')",
            "SELECT tenancy.set_quota('app.rooms', 'floor', per => 'floor')",
        ] {
            let session = match statement {
                "TRUNCATE app.rooms" => &mut admin,
                _ => &mut owner,
            };
            session.run(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT tenancy.maintenance('count'); SELECT count(*) FROM pg_class"
            ));
            // After its snapshot, before its lock.
            let mut alice = begin(&world);
            alice.run("INSERT INTO app.rooms (id, floor) VALUES (1, 1), (2, 2); COMMIT");
            session.run(&format!("{statement}; COMMIT"));
            agrees(&world, "app.rooms");
            admin.run("TRUNCATE app.rooms, app.floors");
            agrees(&world, "app.rooms");
        }
    }
}
