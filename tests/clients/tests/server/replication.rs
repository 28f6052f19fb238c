//! Logical replication: of an application's tables, and of all tables. Both come to rest, and neither sends a secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::program::{Cluster, server_program};
use tenancy_client_tests::scratch::Scratch;
use tenancy_client_tests::{Db, Session, World};

/// A provider's shared secret for HS256.
const SECRET: &str = "an example secret of enough bytes";

fn cluster() -> Cluster {
    Cluster::start_with(
        &[
            "wal_level=logical",
            "max_wal_senders=16",
            "max_replication_slots=16",
            "max_logical_replication_workers=16",
            "max_sync_workers_per_subscription=8",
            "max_worker_processes=32",
        ],
        &[],
    )
}

/// Subscribes from another database of the cluster, and waits until all tables are copied.
fn subscribe(cluster: &Cluster, from: &Db, to: &Db, options: &str) {
    from.admin()
        .run("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    // From 16 on, rows are otherwise written as the tables' owner, whom row security refuses.
    let as_owner = if to.admin().major() < 16 {
        ""
    } else {
        ", run_as_owner = true"
    };
    to.admin().run(&format!(
        "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port={} user=postgres dbname={} {options}' PUBLICATION p WITH (create_slot = false, slot_name = 's'{as_owner})",
        cluster.config().get_ports()[0], from.name
    ));
    let mut there = to.admin();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let copying = there
            .texts("SELECT srrelid::regclass || ' ' || srsubstate::text FROM pg_subscription_rel WHERE srsubstate <> 'r'");
        if copying.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "not copied: {copying:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn wait(session: &mut Session, sql: &str, wanted: i64) {
    let end = Instant::now() + Duration::from_secs(60);
    while session.number(sql) != wanted {
        assert!(
            Instant::now() < end,
            "{sql}: {} and not {wanted}",
            session.number(sql)
        );
        thread::sleep(Duration::from_millis(100));
    }
}

fn unsubscribe(from: &Db, to: &Db) {
    to.admin().run("ALTER SUBSCRIPTION s DISABLE");
    let mut admin = from.admin();
    wait(
        &mut admin,
        "SELECT count(*) FROM pg_replication_slots WHERE active",
        0,
    );
    to.admin()
        .run("ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s");
    admin.run("SELECT pg_drop_replication_slot('s')");
}

const SECRETS: &str = "SELECT id::text || secret::text FROM tenancy_internal.signing_keys UNION ALL SELECT secret::text FROM tenancy_internal.identity_secrets";

/// Makes a database with the schema of another, as `pg_dump -s` writes it, and its roles.
fn schema_of(cluster: &Cluster, db: &Db) -> Db {
    let other = Db::without_extension(cluster.config());
    let port = cluster.config().get_ports()[0].to_string();
    let at = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
    let dump = Command::new(server_program("pg_dump"))
        .args(at)
        .args(["-s", "--no-publications", &db.name])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    let scratch = Scratch::new("schema");
    let file = scratch.0.join("schema.sql");
    std::fs::write(&file, dump.stdout).unwrap();
    let restored = Command::new(server_program("psql"))
        .args(at)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &other.name, "-f"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(restored.status.success(), "{restored:?}");
    other
}

#[test]
fn an_applications_tables_are_replicated() {
    let cluster = cluster();
    let world = World::bare_in(Db::on(cluster.config())).with_notes();
    let there = schema_of(&cluster, &world.db);
    world
        .db
        .admin()
        .run("CREATE PUBLICATION p FOR TABLES IN SCHEMA app");
    subscribe(&cluster, &world.db, &there, "");
    let count = "SELECT count(*) FROM app.notes";
    let rows = world.db.admin().number(count);
    world
        .begin("alice")
        .run("INSERT INTO app.notes (body) VALUES ('later'); COMMIT");
    wait(&mut there.admin(), count, rows + 1);
    unsubscribe(&world.db, &there);
}

#[test]
fn all_tables_come_to_rest_without_the_secrets() {
    let cluster = cluster();
    let world = World::bare_in(Db::on(cluster.config())).with_notes();
    let mut owner = world.db.owner();
    owner.run(&format!(
        "SELECT tenancy.add_identity_provider('acme', 'https://shared.example.com/', '{{x}}', secret => '{SECRET}');
         SELECT tenancy.define_metric('tokens', 'tokens')"
    ));
    world
        .begin("alice")
        .run("SELECT tenancy.record_usage('tokens', 5); COMMIT");
    let there = schema_of(&cluster, &world.db);
    let (mut here, mut other) = (world.db.admin(), there.admin());
    here.run("CREATE PUBLICATION p FOR ALL TABLES");
    let own = other.texts(SECRETS);
    assert_eq!(own.len(), 1, "the subscriber's own key");
    subscribe(&cluster, &world.db, &there, "");
    assert_eq!(other.texts(SECRETS), own);
    assert_eq!(
        other.number("SELECT count(*) FROM tenancy.verify_audit_log()"),
        0
    );

    // What comes later, too: secrets that are written, read by no decoding, and the rest.
    here.run("SELECT pg_create_logical_replication_slot('spy', 'test_decoding')");
    owner.run(&format!(
        "SELECT tenancy.rotate_signing_key();
         SELECT tenancy.set_identity_keys('https://shared.example.com/', secret => '{SECRET}{SECRET}');
         SELECT tenancy.create_tenant('late'); SELECT tenancy.define_role('acme', 'late', '{{data:read}}')"
    ));
    wait(
        &mut other,
        "SELECT count(*) FROM tenancy.scopes WHERE slug = 'late'",
        1,
    );
    wait(
        &mut other,
        "SELECT count(*) FROM tenancy_internal.role_definitions WHERE name = 'late'",
        1,
    );
    assert_eq!(other.texts(SECRETS), own);
    let changes = here
        .texts("SELECT data FROM pg_logical_slot_get_changes('spy', NULL, NULL)")
        .join("\n");
    assert!(changes.contains("'late'"), "{changes}");
    for secret in here.texts("SELECT encode(secret, 'hex') FROM tenancy_internal.signing_keys UNION ALL SELECT encode(secret, 'hex') FROM tenancy_internal.identity_secrets") {
        assert!(!changes.contains(&secret), "{changes}");
    }
    // Nothing is tried again and again.
    wait(
        &mut other,
        "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'",
        0,
    );
    assert_eq!(
        other.number(
            "SELECT sum(apply_error_count + sync_error_count) FROM pg_stat_subscription_stats"
        ),
        0
    );
    here.run("SELECT pg_drop_replication_slot('spy')");
    unsubscribe(&world.db, &there);
}

/// Nor a filter of rows, for which a subscriber copies a query.
#[test]
fn a_filter_of_rows_sends_no_secrets() {
    let cluster = cluster();
    let world = World::bare_in(Db::on(cluster.config()));
    let there = schema_of(&cluster, &world.db);
    let mut other = there.admin();
    let own = other.texts(SECRETS);
    world
        .db
        .admin()
        .run("CREATE PUBLICATION p FOR TABLE tenancy_internal.signing_keys WHERE (id IS NOT NULL)");
    subscribe(&cluster, &world.db, &there, "");
    assert_eq!(other.texts(SECRETS), own);
    unsubscribe(&world.db, &there);
}

/// A copy that is to stand in for the server asks for them.
#[test]
fn secrets_are_published_if_asked() {
    let cluster = cluster();
    let world = World::bare_in(Db::on(cluster.config())).with_notes();
    let there = schema_of(&cluster, &world.db);
    let (mut here, mut other) = (world.db.admin(), there.admin());
    here.run("ALTER SYSTEM SET tenancy.publish_secrets = on")
        .run("SELECT pg_reload_conf()")
        .run("CREATE PUBLICATION p FOR ALL TABLES");
    subscribe(&cluster, &world.db, &there, "");
    assert_eq!(other.texts(SECRETS).len(), 2);
    let ticket = world.ticket("alice", "1 hour");
    world
        .db
        .owner()
        .run("SELECT tenancy.rotate_signing_key('1 hour')");
    wait(
        &mut other,
        "SELECT count(*) FROM tenancy_internal.signing_keys",
        3,
    );
    let mut app = Session::connect(&Db::config(&there, &world.db.app));
    app.begin(&ticket);
    wait(&mut app, "SELECT count(*) FROM app.notes", 3);
    unsubscribe(&world.db, &there);
}
