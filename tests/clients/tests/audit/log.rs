//! The audit log over real connections: append-only, each entry sealed once whatever transactions do, kept through crashes, dumps and
//! retention.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Session, World};

const WRONG: &str = "SELECT seal || ' ' || coalesce(entry::text, '-') || ' ' || problem FROM tenancy.verify_audit_log()";
const NONE: Vec<String> = Vec::new();

/// Waits until a query answers so.
#[track_caller]
fn until(session: &mut Session, sql: &str, wanted: &str) {
    session.until(60, sql, &[wanted]);
}

/// Every entry is in exactly one seal, and nothing else is. Transactions of other databases may keep the last ones waiting.
#[track_caller]
fn sealed_once(admin: &mut Session) {
    until(
        admin,
        "SELECT NOT EXISTS (SELECT id FROM tenancy.audit_log EXCEPT SELECT unnest(ids) FROM tenancy.audit_seals)
            AND (SELECT count(*) = count(DISTINCT u.entry) AND count(*) = (SELECT count(*) FROM tenancy.audit_log) FROM tenancy.audit_seals s, unnest(s.ids) u (entry))",
        "t",
    );
    assert_eq!(admin.texts(WRONG), NONE);
}

#[test]
fn the_audit_log_cannot_be_changed() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.audit('invoice.sent', 'x')");
    let part = world.db.admin().text(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'tenancy.audit_log'::regclass ORDER BY 1 LIMIT 1",
    );
    for table in [
        "tenancy.audit_log",
        part.as_str(),
        "tenancy.audit_seals",
        "tenancy.audit_retired",
    ] {
        let column = match table {
            "tenancy.audit_seals" => "hash = ''",
            "tenancy.audit_retired" => "partition = ''",
            _ => "action = 'x'",
        };
        for sql in [
            format!("UPDATE {table} SET {column}"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
            format!("INSERT INTO {table} SELECT * FROM {table}"),
            format!("ALTER TABLE {table} DISABLE TRIGGER append_only"),
            format!("DROP TABLE {table}"),
        ] {
            for mut session in [world.db.app(), world.db.gateway(), world.db.owner()] {
                session.fails(&sql).code("42501");
            }
            if !sql.starts_with("INSERT") && !sql.starts_with("ALTER") && !sql.starts_with("DROP") {
                world.db.admin().fails(&sql).code("42501");
                world
                    .db
                    .admin()
                    .run("SET session_replication_role = replica")
                    .fails(&sql)
                    .code("42501");
            }
        }
    }
    // Through the parent only, and no function of the inside.
    assert_eq!(
        world
            .db
            .owner()
            .number(&format!("SELECT count(*) FROM {part}")),
        0,
        "an administrator may lock it, and sees nothing"
    );
    for mut session in [world.db.app(), world.db.gateway()] {
        session
            .fails(&format!("SELECT * FROM {part}"))
            .code("42501");
    }
    for mut session in [world.db.app(), world.db.owner(), world.db.gateway()] {
        session.run("SELECT count(*) FROM tenancy.audit_log");
        for sql in [
            "SELECT tenancy_internal.audit('x', NULL, NULL, '{}')",
            "SELECT tenancy_internal.seal_audit_log(1)",
            "SELECT tenancy_internal.retire_audit_log(1)",
            "SELECT tenancy_internal.make_audit_partition('2020-01-01')",
            "SELECT * FROM tenancy_internal.claimed_tokens",
        ] {
            session.fails(sql).code("42501");
        }
    }
}

#[test]
fn default_privileges_open_no_partition() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run(&format!(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA tenancy_internal GRANT ALL ON TABLES TO {0}; GRANT USAGE ON SCHEMA tenancy_internal TO {0}; SELECT tenancy_internal.make_audit_partition('2031-05-01')",
        db.stranger
    ));
    admin.run("INSERT INTO tenancy.audit_log SELECT '2031-05-02', 1, '1', tenancy.new_id(), NULL, NULL, NULL, 'x', NULL, 'r', 'l', NULL, '{}'");
    let mut stranger = db.stranger();
    assert_eq!(
        stranger.number("SELECT count(*) FROM tenancy_internal.audit_log_2031_05"),
        0
    );
    stranger
        .fails("DELETE FROM tenancy_internal.audit_log_2031_05")
        .code("42501");
    stranger
        .fails("INSERT INTO tenancy_internal.audit_log_2031_05 SELECT '2031-05-02', 1, '1', tenancy.new_id(), NULL, NULL, NULL, 'x', NULL, 'r', 'l', NULL, '{}'")
        .code("42501");
}

#[test]
fn whatever_transactions_do_each_entry_is_sealed_once() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run(&format!(
        "ALTER DATABASE {} SET tenancy.audit_seal_interval = 1",
        db.name
    ));
    admin.run("SELECT tenancy_internal.audit('first', NULL, NULL, '{}')");
    // One that is open all the time, and has written.
    let mut long = db.owner();
    long.run("BEGIN; SELECT tenancy.audit('long.first')");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..4 {
            let mut session = db.owner();
            let stop = &stop;
            scope.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    session.run("BEGIN");
                    for _ in 0..=n % 7 {
                        session.run("SELECT tenancy.audit('writer.entry', 'w', '{\"n\": 1}')");
                    }
                    session.run("SAVEPOINT s; SELECT tenancy.audit('writer.gone'); ROLLBACK TO s");
                    // Overlapping in every way.
                    if (n + writer) % 5 == 0 {
                        thread::sleep(Duration::from_millis(20));
                    }
                    session.run(if n % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
                }
            });
        }
        let mut sealer = db.owner();
        for _ in 0..30 {
            sealer.run("SELECT tenancy.seal_audit_log()");
            thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Nothing that began after the long one is sealed yet.
    let sealed = "SELECT count(*) FROM tenancy.audit_seals s, unnest(s.ids) u (entry) JOIN tenancy.audit_log l ON l.id = u.entry WHERE l.action LIKE 'writer.%'";
    assert_eq!(admin.number(sealed), 0);
    assert_eq!(admin.texts(WRONG), NONE);
    long.run("SELECT tenancy.audit('long.last'); COMMIT");
    // The worker does it, without being asked.
    until(
        &mut admin,
        "SELECT count(*) FROM tenancy.audit_log l WHERE NOT EXISTS (SELECT FROM tenancy.audit_seals s WHERE l.id = ANY (s.ids))",
        "0",
    );
    sealed_once(&mut admin);
    assert!(admin.number(sealed) > 100);
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'writer.gone'"),
        0
    );
}

#[test]
fn a_seal_has_so_many_entries_and_no_more_also_of_one_transaction() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run(&format!(
        "ALTER DATABASE {} SET tenancy.audit_seal_interval = 1",
        db.name
    ));
    admin.run("SELECT count(tenancy.audit('bulk.entry')) FROM generate_series(1, 25000)");
    sealed_once(&mut admin);
    assert_eq!(
        admin.number("SELECT max(cardinality(ids)) FROM tenancy.audit_seals"),
        10_000
    );
    // Verifying reads each seal by the index.
    let plan = admin.plan("SELECT * FROM tenancy.audit_log x WHERE x.origin = 1 AND (x.xid, x.id) > ('5', gen_random_uuid()) AND (x.xid, x.id) <= ('6', gen_random_uuid())");
    assert!(plan.contains("origin_xid_id_idx"), "{plan}");
}

#[test]
fn it_is_found_by_tenant_and_by_partner() {
    let world = World::bare();
    let mut admin = world.db.admin();
    let scope = |slug: &str| world.id(slug);
    for slug in ["acme", "umbrella", "soylent", "globex"] {
        admin.run(&format!(
            "SELECT count(tenancy_internal.audit('x', '{}', NULL, '{{}}')) FROM generate_series(1, 3000)",
            scope(slug)
        ));
    }
    admin.run(&format!("SELECT count(tenancy_internal.audit('x', '{0}', NULL, '{{}}')) FROM generate_series(1, 20); ANALYZE tenancy.audit_log", scope("platform")));
    let mut other = world.db.owner();
    other.run("SELECT tenancy.create_partner('small'); SELECT tenancy.create_tenant('tiny', partner => 'small'); SELECT tenancy.create_user('tiny', 'tim', role => 'tenant_admin')");
    other.run("SELECT tenancy.assign('acme/alice', 'manager', 'acme'); SELECT tenancy.assign('platform/pat', 'super_admin', 'platform')");
    let tiny = admin.text("SELECT id FROM tenancy.scopes WHERE slug = 'tiny'");
    admin.run(&format!(
        "SELECT count(tenancy_internal.audit('x', '{tiny}', NULL, '{{}}')) FROM generate_series(1, 20)"
    ));
    admin.run("VACUUM ANALYZE tenancy.audit_log");
    let key = other.text("SELECT tenancy.issue_api_key('tiny/tim', 'k')");
    let mut app = world.db.app();
    app.begin(&key);
    assert_eq!(
        app.number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.x'"),
        20
    );
    let plan = app.plan("SELECT * FROM tenancy.audit_log ORDER BY at DESC LIMIT 10");
    assert!(
        plan.contains("tenant_id_at_idx") && plan.contains("partner_id_at_idx"),
        "{plan}"
    );
    // In the last week of a month the next month's empty partition exists, and is read as a whole.
    for filled in admin.texts("SELECT DISTINCT tableoid::regclass::text FROM tenancy.audit_log WHERE action = 'tenancy.x'") {
        let partition = filled.rsplit('.').next().unwrap();
        assert!(!plan.contains(&format!("Seq Scan on {partition}")), "{plan}");
    }
    drop(app);
    for (user, rows) in [
        ("alice", 3000),
        ("ops", 9000),
        ("boss", 3000),
        ("pat", 12_040),
    ] {
        assert_eq!(
            world
                .begin(user)
                .number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.x'"),
            rows,
            "{user}"
        );
    }
}

#[test]
fn the_first_writer_of_a_month_blocks_no_other() {
    let db = Db::new();
    let (mut one, mut two) = (db.owner(), db.owner());
    one.run("BEGIN; SELECT tenancy.audit('first.one')");
    two.run("SET statement_timeout = 3000; SELECT tenancy.audit('first.two')");
    one.run("ROLLBACK");
    assert_eq!(
        two.texts("SELECT action FROM tenancy.audit_log WHERE action LIKE 'first.%'"),
        ["first.two"]
    );
}

#[test]
fn in_the_transaction_that_makes_the_extension() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run("DROP EXTENSION tenancy CASCADE; DROP SCHEMA IF EXISTS tenancy CASCADE");
    admin.run(
        "BEGIN; CREATE EXTENSION tenancy; SELECT tenancy_internal.audit('early', NULL, NULL, '{}'); COMMIT",
    );
    assert_eq!(
        admin.text("SELECT string_agg(action, ' ') FROM tenancy.audit_log"),
        "tenancy.early"
    );
    // Its partition is no member: a dump has it.
    assert_eq!(admin.number("SELECT count(*) FROM pg_inherits i JOIN pg_depend d ON d.objid = i.inhrelid AND d.deptype = 'e' WHERE inhparent = 'tenancy.audit_log'::regclass"), 0);
    admin.run("DROP EXTENSION tenancy CASCADE");
    assert_eq!(
        admin.number("SELECT count(*) FROM pg_class WHERE relname LIKE 'audit_log%'"),
        0
    );
}

#[test]
fn crashes_leave_the_chain_whole() {
    let cluster = Cluster::start();
    let db = Db::on(cluster.config());
    db.admin().run(&format!(
        "ALTER DATABASE {} SET tenancy.audit_seal_interval = 1",
        db.name
    ));
    for round in 0..2 {
        let mut admin = db.admin();
        admin.run("SELECT tenancy_internal.audit('committed', NULL, NULL, '{}')");
        let mut now = db.admin();
        now.run("BEGIN; SELECT testing.record_now('for.good', '{}')");
        let mut open = db.owner();
        open.run("BEGIN; SELECT tenancy.audit('not.committed')");
        if round == 0 {
            let worker = admin
                .number("SELECT pid FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()");
            cluster.kill_process(worker.try_into().unwrap());
        } else {
            cluster.kill();
        }
        let mut config = cluster.config();
        config.dbname(&db.name);
        let mut admin = wait_for(&config, "the database");
        assert_eq!(admin.texts(WRONG), NONE);
        admin.run("SELECT tenancy_internal.audit('after', NULL, NULL, '{}'); SELECT testing.record_now('after', '{}')");
        until(
            &mut admin,
            "SELECT count(*) FROM tenancy.audit_log l WHERE NOT EXISTS (SELECT FROM tenancy.audit_seals s WHERE l.id = ANY (s.ids))",
            "0",
        );
        sealed_once(&mut admin);
        assert_eq!(
            admin.text("SELECT count(*) FILTER (WHERE action = 'tenancy.committed') || ' ' || count(*) FILTER (WHERE action = 'tenancy.for.good') || ' ' || count(*) FILTER (WHERE action = 'not.committed') FROM tenancy.audit_log"),
            format!("{0} {0} 0", round + 1)
        );
    }
}

#[test]
fn the_worker_retires_old_months() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run(&format!(
        "ALTER DATABASE {0} SET tenancy.audit_retention = 60; ALTER DATABASE {0} SET tenancy.audit_seal_interval = 1",
        db.name
    ));
    admin.run("SELECT tenancy_internal.make_audit_partition('2021-01-01'), tenancy_internal.make_audit_partition((now() - interval '40 days')::date)");
    admin.run("INSERT INTO tenancy.audit_log SELECT '2021-01-02', tenancy_internal.origin(), pg_current_xact_id(), tenancy.new_id(), NULL, NULL, NULL, 'old.entry', NULL, 'r', 'l', NULL, '{}' FROM generate_series(1, 5)");
    // It looks when it starts.
    let end = Instant::now() + Duration::from_secs(20);
    while admin.number("SELECT count(*) FROM tenancy.audit_retired") == 0 {
        assert!(Instant::now() < end, "nothing was retired");
        admin.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'tenancy worker' AND datname = current_database()");
        db.admin()
            .run("SELECT tenancy_internal.audit('x', NULL, NULL, '{}')");
        thread::sleep(Duration::from_millis(1500));
    }
    assert_eq!(
        admin
            .text("SELECT string_agg(partition || ' ' || entries, ',') FROM tenancy.audit_retired"),
        "audit_log_2021_01 5"
    );
    assert_eq!(admin.texts(WRONG), NONE);
    assert_eq!(
        admin.text("SELECT to_regclass('tenancy_internal.audit_log_2021_01')::text"),
        "NULL"
    );
}

#[test]
fn an_application_adds_what_its_users_do() {
    let world = World::bare();
    let mut app = world.begin("alice");
    let id = app.text("SELECT tenancy.audit('invoice.sent', 'invoice 7', '{\"amount\": 7}')");
    app.run("COMMIT");
    let row = format!(
        "SELECT (SELECT slug FROM tenancy.scopes WHERE id = user_id) || ' ' || (SELECT slug FROM tenancy.scopes WHERE id = tenant_id)
            || ' ' || (SELECT slug FROM tenancy.scopes WHERE id = partner_id) || ' ' || action || ' ' || target || ' ' || (details ->> 'amount')
         FROM tenancy.audit_log WHERE id = '{id}' AND role = '{0}' AND login = '{0}'",
        world.db.app
    );
    assert_eq!(
        world.db.admin().text(&row),
        "alice acme globex invoice.sent invoice 7 7"
    );
    // A role that has no audit:write.
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.define_role('acme', 'reader', '{data:read}'); SELECT tenancy.create_user('acme', 'rita', role => 'reader')");
    let key = owner.text("SELECT tenancy.issue_api_key('acme/rita', 'k')");
    world
        .db
        .app()
        .begin(&key)
        .fails("SELECT tenancy.audit('invoice.sent')")
        .code("42501");
}
