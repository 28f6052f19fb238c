//! pg_dump, and pg_restore into a fresh cluster: the tree, the keys and the isolation are restored, the secrets are not. pg_upgrade
//! keeps those too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use postgres::Config;
use tenancy_client_tests::idp::{AUDIENCE, Idp, Signer, refused};
use tenancy_client_tests::metering::all_agrees;
use tenancy_client_tests::program::{Cluster, server_program, succeed};
use tenancy_client_tests::scratch::Scratch;
use tenancy_client_tests::world::server;
use tenancy_client_tests::{Db, World};

/// A provider's shared secret for HS256.
const SECRET: &str = "an example secret of enough bytes";

/// A client program with the connection in its arguments.
fn client(program: &str, config: &Config) -> Command {
    let mut command = Command::new(server_program(program));
    let host = match &config.get_hosts()[0] {
        postgres::config::Host::Tcp(name) => name.clone(),
        postgres::config::Host::Unix(path) => path.display().to_string(),
    };
    command.args([
        "-h",
        &host,
        "-p",
        &config.get_ports()[0].to_string(),
        "-U",
        "postgres",
    ]);
    command
}

/// A world with at least one object of each kind.
fn full() -> World {
    full_in(Db::new())
}

fn full_in(db: Db) -> World {
    let world = World::bare_in(db).with_notes();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.update_scope('internal', slug => 'house', name => 'The house');
         SELECT tenancy.update_scope('acme', settings => '{\"tone\": \"dry\"}');
         SELECT tenancy.create_project('acme', 'red');
         SELECT tenancy.define_feature('beta'), tenancy.define_setting('language', default_value => '\"en\"'), tenancy.define_limit('rooms', 'amount');
         SELECT tenancy.define_plan('pro', '{\"limits\": {\"rooms\": 5}, \"features\": {\"beta\": true}, \"resources\": {\"work_mem\": \"1MB\"}}'),
                tenancy.set_plan('acme', 'pro', trial => true), tenancy.set_setting('acme', 'language', '\"de\"'), tenancy.set_feature('globex', 'beta', 'false'),
                tenancy.define_template('agency', '{\"features\": {\"beta\": true}}'), tenancy.add_domain('acme', 'www.acme.com');
         SELECT tenancy.create_tenant('asleep', partner => 'hooli', status => 'suspended');
         SELECT tenancy.issue_api_key('umbrella/bob', 'revoked'); SELECT tenancy.rotate_signing_key('1 hour');
         SELECT tenancy.revoke_api_key(id) FROM tenancy.api_keys WHERE name = 'revoked';
         CREATE TABLE app.calls (id bigint, tenant_id uuid NOT NULL, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE app.calls_1 PARTITION OF app.calls FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         SELECT tenancy.protect('app.calls');
         CREATE TABLE app.calls_2 PARTITION OF app.calls FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
         CREATE TABLE app.owned (tenant_id uuid NOT NULL, who uuid, mail text); SELECT tenancy.protect('app.owned');
         SELECT tenancy.set_forgetting('app.owned', 'keep', 'who', '{mail}'), tenancy.set_region('globex', 'eu'), tenancy.set_table_region('app.owned', 'eu');
         CREATE TABLE app.legacy (id int, account bigint NOT NULL); CREATE POLICY own ON app.legacy USING (id IS DISTINCT FROM -1); SELECT tenancy.protect('app.legacy', 'account')",
    );
    owner.run("BEGIN; SELECT tenancy.maintenance('a look around'); COMMIT");
    // One sealed entry and one without a seal.
    world.db.admin().run(&format!(
        "ALTER DATABASE {} SET tenancy.audit_seal_interval = 3600",
        world.db.name
    ));
    owner.run("SELECT tenancy.audit('invoice.sent', 'x', '{\"n\": 1.50}'); SELECT tenancy.seal_audit_log()");
    owner.run("SELECT tenancy.audit('not.sealed')");
    Idp::new("dumped").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('https://dumped.example.com/', 'staff', 'member'); SELECT tenancy.set_allowed_networks('hooli', '{{127.0.0.0/8}}'), tenancy.set_login_policy('hooli', amr => '{{mfa}}', session_length => '90 minutes');
         SELECT tenancy.add_identity_provider('umbrella', 'https://shared.example.com/', '{{{AUDIENCE}}}', secret => '{SECRET}', create_users => true)"
    ));
    world.db.app().begin(&shared().token("zed")).run("COMMIT");
    world
        .db
        .app()
        .begin(&Idp::new("dumped").token_in("zoe", &["staff"]))
        .run("COMMIT");
    // Some events are rolled up, some are not.
    owner.run(
        "SELECT tenancy.define_metric('tokens', 'tokens', dimensions => '{model}', price => 0.5)",
    );
    let alice = world.id("alice");
    owner.run(&format!(
        "SELECT tenancy.record_usage_for('{alice}', 'tokens', n, attributes => '{{\"model\": \"big\"}}', at => now() - n * interval '1 day') FROM generate_series(1, 30) n"
    ));
    // Other databases' transactions may delay the rollup.
    while owner.number("SELECT tenancy.rollup() * 0 + count(*) FROM tenancy.usage_marks") == 0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    owner.run(&format!(
        "SELECT tenancy.record_usage_for('{alice}', 'tokens', 1000, idempotency_key => 'once')"
    ));
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 10000, 'total', alert_at => '{0.5}'), tenancy.set_budget('globex', NULL, 10000)");
    world
        .begin("alice")
        .run("SELECT tenancy.reserve('tokens', 100, '1 day'); COMMIT");
    // Amounts drawn from credits, some of them reserved.
    owner.run(
        "SELECT tenancy.set_budget('umbrella', 'tokens', 10, 'total'), tenancy.grant_credit('umbrella', 'tokens', 3, 'total', note => 'a'),
                tenancy.grant_credit('umbrella', 'tokens', 6, 'total', 60, now() + interval '1 year', note => 'b')",
    );
    world
        .begin("bob")
        .run("SELECT tenancy.consume('tokens', 14), tenancy.reserve('tokens', 2, '1 day'); COMMIT");
    world.fill("app.calls", "n, t.id, date '2026-01-30' + n::int");
    world.fill("app.legacy", "n, t.external_id::bigint");
    world
}

/// A provider that signs with a secret.
fn shared() -> Idp {
    Idp {
        issuer: "https://shared.example.com/".to_owned(),
        signer: Signer::hs("any", SECRET.as_bytes()),
    }
}

const PROVIDERS: &str =
    "SELECT (to_jsonb(p) - 'verified_by')::text FROM tenancy.identity_providers p ORDER BY id";
const GROUPS: &str = "SELECT to_jsonb(g)::text FROM tenancy.identity_groups g ORDER BY issuer";
const NETWORKS: &str = "SELECT to_jsonb(n)::text FROM tenancy.networks n UNION ALL SELECT to_jsonb(l)::text FROM tenancy.login_policies l";
const TREE: &str = "SELECT to_jsonb(s)::text FROM tenancy.scopes s ORDER BY id";
const PROTECTED: &str =
    "SELECT to_jsonb(p)::text FROM tenancy.protected_tables p ORDER BY table_name";
const KEYS: &str = "SELECT to_jsonb(k)::text FROM tenancy.api_keys k ORDER BY id";
const USED: &str = "SELECT concat_ws(' ', s.slug, u.bucket_start, u.key, u.quantity, u.cost, u.events) FROM tenancy.scopes s, tenancy.usage(s.id, 'tokens', bucket => 'day', by_dimension => 'model') u ORDER BY 1";
const PLANS: &str = "SELECT concat_ws(' ', kind, name, value, source, source_name) FROM tenancy.effective_values WHERE scope = 'acme'
    UNION ALL SELECT concat_ws(' ', tenant, plan, starts_at, trial, counts) FROM tenancy.tenant_plans UNION ALL SELECT name || contents FROM tenancy.templates
    UNION ALL SELECT scope || host || value FROM tenancy.domains ORDER BY 1";
const DECIDED: &str = "SELECT concat_ws(' ', table_name, user_column, rule, clear_columns) FROM tenancy.user_columns
    UNION ALL SELECT concat_ws(' ', table_name, region, refused_tenants) FROM tenancy.residency WHERE region IS NOT NULL
    UNION ALL SELECT slug || tenancy.region_of(id) FROM tenancy.tenants WHERE tenancy.region_of(id) IS NOT NULL ORDER BY 1";
const CREDITS: &str = "SELECT to_jsonb(c)::text FROM tenancy.credits c ORDER BY note";
const LOG: &str = "SELECT to_jsonb(l)::text FROM tenancy.maintenance_log l ORDER BY id";
const AUDIT: &str = "SELECT tenancy_internal.audit_digest(l)::text FROM tenancy.audit_log l WHERE action IN ('invoice.sent', 'not.sealed') ORDER BY id";
const WRONG: &str = "SELECT problem FROM tenancy.verify_audit_log()";
const UNSEALED: &str = "SELECT count(*) FROM tenancy.audit_log l WHERE NOT EXISTS (SELECT FROM tenancy.audit_seals s WHERE l.id = ANY (s.ids))";
const POLICIES: &str =
    "SELECT to_jsonb(p)::text FROM pg_policies p ORDER BY schemaname, tablename, policyname";
const GRANTS: &str = "SELECT concat_ws(' ', table_schema, table_name, privilege_type) FROM information_schema.table_privileges WHERE grantee = 'tenancy_app' ORDER BY 1";

/// A copy of a world, restored into another cluster.
fn restored(world: &World, cluster: &Cluster, format: &str) -> World {
    let scratch = Scratch::new("dump");
    let file = scratch.0.join("dump");
    let source = Db::config(&world.db, "postgres");
    succeed(
        client("pg_dump", &source)
            .args(["-F", format, "-f"])
            .arg(&file)
            .arg(&world.db.name),
    );
    let db = Db::without_extension_like(cluster.config(), &world.db);
    let target = cluster.config();
    // The roles belong to the cluster, as with every dump.
    db.admin().run("DO $$ DECLARE r text; BEGIN FOREACH r IN ARRAY '{tenancy_owner,tenancy_admin,tenancy_gateway,tenancy_app,tenancy_auditor}'::text[] LOOP
        IF to_regrole(r) IS NULL THEN EXECUTE 'CREATE ROLE ' || r; END IF; END LOOP; END $$");
    restore(&target, &db.name, &file, format);
    db.grant_roles(&mut db.admin());
    World {
        db,
        keys: world.keys.clone(),
        ids: world.ids.clone(),
    }
}

fn restore(target: &Config, database: &str, file: &Path, format: &str) {
    if format == "p" {
        succeed(
            client("psql", target)
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"])
                .arg(file),
        );
        return;
    }
    // In parallel: no table waits for the rows of tenancy's tables.
    succeed(
        client("pg_restore", target)
            .args(["--exit-on-error", "--jobs=4", "-d", database])
            .arg(file),
    );
}

/// Whether secrets come with the data.
#[derive(PartialEq)]
enum Secrets {
    LeftOut,
    Kept,
}

#[track_caller]
fn same(before: &World, after: &World, secrets: Secrets) {
    for sql in [
        PROVIDERS, GROUPS, NETWORKS, TREE, PROTECTED, KEYS, LOG, USED, AUDIT, POLICIES, GRANTS,
        CREDITS, PLANS, DECIDED,
    ] {
        let normal = |world: &World| -> Vec<String> {
            // Names of roles contain the database's name.
            world
                .db
                .admin()
                .texts(sql)
                .into_iter()
                .map(|row| row.replace(&world.db.name, "db"))
                .collect()
        };
        assert_eq!(normal(before), normal(after), "{sql}");
    }
    assert_eq!(after.db.admin().text("SELECT slug || name FROM tenancy.partners WHERE id = '00000000-0000-7000-8000-000000000001'"), "houseThe house");
    for table in ["app.notes", "app.calls", "app.legacy"] {
        let count = format!("SELECT count(*) FROM {table}");
        for (user, rows) in [("alice", 3), ("bob", 5), ("eve", 7), ("ops", 8), ("pat", 0)] {
            assert_eq!(after.begin(user).number(&count), rows, "{user} in {table}");
        }
        after.db.app().fails(&count).code("55000");
        after.db.owner().fails(&count).code("55000");
    }
    after
        .begin("alice")
        .run("INSERT INTO app.notes (body) VALUES ('after'); COMMIT");
    assert_eq!(
        after
            .begin("alice")
            .number("SELECT count(*) FROM app.notes"),
        4
    );
    let foreign = format!(
        "INSERT INTO app.notes (tenant_id, body) VALUES ('{}', 'x')",
        after.id("umbrella")
    );
    after.begin("alice").fails(&foreign).code("42501");
    // A user of a provider logs in again as the same user; a provider with a secret needs it again.
    let zoe = "SELECT count(*) FROM tenancy.scopes WHERE external_id = 'zoe'";
    let token = Idp::new("dumped").token_in("zoe", &["staff"]);
    let mut app = after.db.app();
    app.run("BEGIN READ ONLY").login(&token);
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 4);
    app.run("COMMIT");
    assert_eq!(after.db.admin().number(zoe), 1);
    if secrets == Secrets::LeftOut {
        refused(&mut app, &shared().token("zed"));
        after.db.owner().run(&format!(
            "SELECT tenancy.set_identity_keys('{}', secret => '{SECRET}')",
            shared().issuer
        ));
    }
    app.begin(&shared().token("zed")).run("COMMIT");
    // Metering continues: a used key stays used, and events not yet rolled up are rolled up once.
    let mut admin = after.db.admin();
    let left = "SELECT concat_ws(' ', used, in_flight, remaining, credits) FROM tenancy.check_budget('tokens')";
    app.begin(after.key("bob"));
    assert_eq!(app.text(left), "14 2 3 3");
    app.run("SELECT tenancy.consume('tokens', 3)")
        .fails("SELECT tenancy.consume('tokens', 0.000001)")
        .code("53400");
    app.run("ROLLBACK");
    let total = "SELECT quantity::bigint FROM tenancy.usage('acme', 'tokens')";
    assert_eq!(admin.number(total), 465 + 1000);
    let check =
        "SELECT concat_ws(' ', amount, used, in_flight) FROM tenancy.check_budget('tokens')";
    assert_eq!(app.begin(after.key("alice")).text(check), "10000 1465 100");
    app.run("COMMIT");
    // An idempotency key belongs to the role that used it.
    after.db.owner().run(&format!(
        "SELECT tenancy.record_usage_for('{0}', 'tokens', 1000, idempotency_key => 'once'), tenancy.record_usage_for('{0}', 'tokens', 7, at => now() - interval '3 days')",
        after.id("alice")
    ));
    assert_eq!(admin.number(total), 465 + 1000 + 7);
    admin.run("SELECT tenancy.rollup()");
    assert_eq!(admin.number(total), 465 + 1000 + 7);
    assert_eq!(
        admin.number("SELECT sum(events) FROM tenancy_internal.usage_quarterly"),
        33
    );
    // An open reservation is settled here, once. The ledger equals the rows, before and after a reload.
    let id = admin.text(&format!(
        "SELECT id FROM tenancy_internal.budget_reservations WHERE state = 'open' AND user_id = '{}'",
        after.id("alice")
    ));
    let settle = format!("SELECT tenancy.settle('{id}', 40)");
    app.begin(after.key("alice")).run(&settle).run("COMMIT");
    app.begin(after.key("alice")).fails(&settle).code("55000");
    app.run("ROLLBACK");
    for again in ["SELECT", "SELECT tenancy_internal.forget_ledger()"] {
        admin.run(again);
        assert_eq!(app.begin(after.key("alice")).text(check), "10000 1512 0");
        app.run("COMMIT");
        all_agrees(&mut admin, 2);
    }
    // A new partition is isolated too.
    let mut owner = after.db.owner();
    owner.run("CREATE TABLE app.calls_3 PARTITION OF app.calls FOR VALUES FROM ('2026-03-01') TO ('2026-04-01'); GRANT SELECT ON app.calls_1, app.calls_3 TO tenancy_app");
    assert_eq!(
        after
            .begin("alice")
            .number("SELECT count(*) FROM app.calls_3"),
        0
    );
    assert_eq!(owner.text("SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = 'app.calls_3'::regclass"), "t");
    // The audit log is complete and continues: unsealed entries get a seal, and so do new ones.
    let mut admin = after.db.admin();
    assert_eq!(admin.texts(AUDIT).len(), 2);
    assert_eq!(admin.texts(WRONG), Vec::<String>::new());
    owner.run("SELECT tenancy.audit('in.the.copy')");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while admin.number(UNSEALED) > 0 {
        assert!(std::time::Instant::now() < end, "not sealed in the copy");
        owner.run("SELECT tenancy.seal_audit_log()");
    }
    assert_eq!(
        admin.number("SELECT count(DISTINCT origin) FROM tenancy.audit_log"),
        2
    );
    assert_eq!(admin.texts(WRONG), Vec::<String>::new());
    let part = admin
        .text("SELECT tableoid::regclass FROM tenancy.audit_log WHERE action = 'invoice.sent'");
    for table in [part.as_str(), "tenancy.audit_log", "tenancy.audit_seals"] {
        admin.fails(&format!("DELETE FROM {table}")).code("42501");
    }
    admin.run(&format!("BEGIN; ALTER TABLE {part} DISABLE TRIGGER append_only; ALTER TABLE tenancy.audit_log DISABLE TRIGGER append_only; DELETE FROM tenancy.audit_log WHERE action = 'not.sealed'"));
    assert_eq!(admin.texts(WRONG), ["the entry is missing"]);
    admin.run("ROLLBACK");
    // The tree still works.
    owner.run("SELECT tenancy.create_tenant('newborn', partner => 'house')");
    assert_eq!(
        owner.texts("SELECT kind FROM tenancy.protect('app.notes') WHERE kind = 'do'"),
        Vec::<String>::new()
    );
    owner.run("SELECT tenancy.unprotect('app.legacy')");
}

#[test]
fn into_a_fresh_cluster_and_as_plain_sql_into_another() {
    let before = full();
    let old_ticket = before.ticket("alice", "1 hour");
    let cluster = Cluster::start();
    let after = restored(&before, &cluster, "c");
    same(&before, &after, Secrets::LeftOut);
    // Signing keys are not dumped: old tickets are invalid here, new ones can be issued.
    after
        .db
        .app()
        .try_login(&old_ticket)
        .unwrap_err()
        .code("42501");
    assert_eq!(
        after
            .db
            .app()
            .begin(&after.ticket("alice", "1 minute"))
            .number("SELECT count(*) FROM app.notes"),
        4
    );
    drop(after);
    drop(cluster);
}

#[test]
fn as_plain_sql() {
    let before = full();
    let cluster = Cluster::start();
    let after = restored(&before, &cluster, "p");
    same(&before, &after, Secrets::LeftOut);
    // The restored database can be dumped again.
    let again = client("pg_dump", &cluster.config())
        .arg(&after.db.name)
        .output()
        .unwrap();
    assert!(again.status.success());
    drop(after);
    drop(cluster);
}

/// From TENANCY_TEST_OLD_BIN's major version, or from this one to itself.
#[test]
fn pg_upgrade_keeps_everything() {
    let old = Cluster::start_old();
    let before = full_in(Db::on(old.config()));
    // A child comes back by ALTER TABLE … INHERIT, perhaps before the extension's tables are there.
    before.db.owner().run(
        "CREATE TABLE app.parents (tenant_id uuid NOT NULL, body text); SELECT tenancy.protect('app.parents');
         CREATE TABLE app.children (more text) INHERITS (app.parents);
         CREATE TABLE app.picks (who tenancy.regscope); INSERT INTO app.picks VALUES ('acme')",
    );
    before.fill("app.children (tenant_id, body)", "t.id, t.slug");
    let ticket = before.ticket("alice", "1 hour");
    let new = old.upgrade();
    old.up();
    let after = World {
        db: before.db.also_on(new.config()),
        keys: before.keys.clone(),
        ids: before.ids.clone(),
    };
    same(&before, &after, Secrets::Kept);
    let mut admin = after.db.admin();
    assert_eq!(
        admin.text("SELECT slug FROM app.picks JOIN tenancy.tenants ON id = who::uuid"),
        "acme"
    );
    let mut app = after.db.app();
    app.begin(&ticket);
    assert_eq!(app.number("SELECT count(*) FROM app.parents"), 3);
    app.run("COMMIT");
    app.fails("SELECT count(*) FROM app.parents").code("55000");
    // A new child is isolated at once.
    let mut owner = after.db.owner();
    owner.run("CREATE TABLE app.late () INHERITS (app.parents)");
    assert_eq!(
        owner
            .text("SELECT isolated FROM tenancy.protected_tables WHERE table_name = 'app.parents'"),
        "t"
    );
    // Before the clusters: databases are dropped on their servers.
    drop((before, after));
    drop((old, new));
}

#[test]
fn a_dump_has_no_secret_in_it() {
    let world = full();
    let output = succeed(client("pg_dump", &Db::config(&world.db, "postgres")).arg(&world.db.name));
    let dump = String::from_utf8(output.stdout).unwrap();
    assert!(
        dump.contains("COPY tenancy.scopes")
            && dump.contains("COPY tenancy_internal.api_key_secrets")
    );
    assert!(!dump.contains("COPY tenancy_internal.signing_keys"));
    for key in world.keys.values() {
        assert!(
            !dump.contains(key) && !dump.contains(&key[37..]),
            "a key is in the dump"
        );
    }
    for secret in world
        .db
        .admin()
        .texts("SELECT encode(secret, 'hex') FROM tenancy_internal.signing_keys")
    {
        assert!(!dump.contains(&secret), "a signing key is in the dump");
    }
    assert!(!dump.contains(&world.ticket("alice", "1 hour")));
    let hex: String = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
    assert!(dump.contains("COPY tenancy_internal.identity_provider_registry"));
    assert!(!dump.contains("COPY tenancy_internal.identity_secrets"));
    assert!(
        !dump.contains(SECRET) && !dump.contains(&hex),
        "a provider's secret is in the dump"
    );
}

#[test]
fn the_owner_cannot_dump_by_accident_what_row_security_hides() {
    let world = full();
    let mut config = client("pg_dump", &Db::config(&world.db, "postgres"));
    let output = config
        .args(["-U", &world.db.owner, "-t", "app.notes"])
        .arg(&world.db.name)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("row-level security"),
        "{output:?}"
    );
}

/// As Rails does after each migration. The partitions of logs, which it locks, show nothing.
#[test]
fn the_tables_owner_dumps_the_schema() {
    let world = full();
    let output = client("pg_dump", &Db::config(&world.db, "postgres"))
        .args(["-U", &world.db.owner, "-s"])
        .arg(&world.db.name)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let schema = String::from_utf8_lossy(&output.stdout);
    for wanted in [
        "CREATE TABLE app.notes",
        "CREATE POLICY tenancy_guard ON app.notes",
        "CREATE TABLE tenancy_internal.audit_log_",
    ] {
        assert!(schema.contains(wanted), "{wanted}");
    }
    let mut admin = world.db.admin();
    let part = admin.text("SELECT tableoid::regclass::text FROM tenancy.audit_log LIMIT 1");
    let count = format!("SELECT count(*) FROM {part}");
    assert!(admin.number(&count) > 0);
    let mut owner = world.db.owner();
    assert_eq!(owner.number(&count), 0);
    owner.fails(&format!("DELETE FROM {part}")).code("42501");
    owner
        .fails("SELECT * FROM tenancy_internal.signing_keys")
        .code("42501");
    world
        .db
        .app()
        .fails(&format!("SELECT * FROM {part}"))
        .code("42501");
}

/// A dump from before the schema tenancy_internal, through the filter that operating/upgrades.md names.
#[test]
fn an_earlier_dump_is_restored_too() {
    const DUMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/earlier_dump.sql");
    const FILTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/earlier-dump");
    let db = Db::without_extension(server());
    let scratch = Scratch::new("earlier");
    let file = scratch.0.join("dump");
    let filtered = Command::new(FILTER)
        .stdin(std::fs::File::open(DUMP).unwrap())
        .output()
        .unwrap();
    assert!(filtered.status.success());
    std::fs::write(&file, filtered.stdout).unwrap();
    // The roles exist if a test has created the extension before, as in the cluster of the dump.
    drop(Db::new());
    restore(&server(), &db.name, &file, "p");
    let mut admin = db.admin();
    let used = "SELECT quantity::bigint FROM tenancy.usage('acme', 'tokens')";
    for (sql, wanted) in [
        (
            "SELECT slug FROM tenancy.tenants WHERE external_id = '41'",
            "acme",
        ),
        (
            "SELECT concat_ws(' ', user_slug, role) FROM tenancy.assignments WHERE role = 'reader'",
            "alice reader",
        ),
        ("SELECT name FROM tenancy.api_keys", "laptop"),
        (
            "SELECT concat_ws(' ', group_name, role) FROM tenancy.identity_groups",
            "staff member",
        ),
        (
            "SELECT concat_ws(' ', metric, amount::int) FROM tenancy.budgets",
            "tokens 100",
        ),
        ("SELECT note FROM tenancy.credits", "welcome"),
        (used, "25"),
        (
            "SELECT concat_ws(' ', table_name, isolated) FROM tenancy.protected_tables",
            "app.notes t",
        ),
        (
            "SELECT details ->> 'table' FROM tenancy.audit_log WHERE action = 'note.written'",
            "tenancy.role_definitions",
        ),
        ("SELECT count(*) FROM tenancy.verify_audit_log()", "0"),
        (
            "SELECT string_agg(DISTINCT c.relnamespace::regnamespace::text, ' ') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
           WHERE i.inhparent IN ('tenancy.audit_log'::regclass, 'tenancy_internal.usage_events'::regclass)",
            "tenancy_internal",
        ),
    ] {
        assert_eq!(admin.text(sql), wanted, "{sql}");
    }
    // Metering continues.
    admin.run("SELECT tenancy.record_usage_for('acme/alice', 'tokens', 5)");
    assert_eq!(admin.number(used), 30);
}
