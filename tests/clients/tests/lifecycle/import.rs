//! import_tenant(): an export becomes a tenant in the same or another database, all of it or nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::Duration;

use tenancy_client_tests::exported::{Export, stage};
use tenancy_client_tests::{Db, Session, leaving};

const EXPORT: &str = "SELECT tenancy.export_tenant('acme')";
const KEEP: &str = "SELECT tenancy.import_tenant('lines', ids => 'keep')";

/// Gives acme a tree, roles and limits of its own.
fn furnish(owner: &mut Session) {
    owner.run(
        "SELECT tenancy.create_project('acme', 'web', settings => '{\"color\": \"red\"}'); SELECT tenancy.create_user('acme', 'ann', external_id => 'sub|1');
                SELECT tenancy.create_user('acme', 'bot', kind => 'service', status => 'suspended');
         SELECT tenancy.define_role('acme', 'reader', '{data:read}', 'reads'); SELECT tenancy.assign('acme/ann', 'reader', 'acme/web');
         SELECT tenancy.assign('acme/ann', 'manager', 'acme', '2100-01-01')",
    );
}

/// Budgets and limits as the tenant's own admin sets them.
fn furnish_as_admin(db: &Db, owner: &mut Session) {
    owner.run(
        "SELECT tenancy.define_metric('tokens', 'token'); SELECT tenancy.define_limit('calls', 'rate'); SELECT tenancy.define_limit('jobs', 'slots');
         SELECT tenancy.create_user('acme', 'boss', role => 'tenant_admin')",
    );
    let key = owner.text("SELECT tenancy.issue_api_key('acme/boss', 'k')");
    db.app().begin(&key).run(
        "SELECT tenancy.set_budget('acme', 'tokens', 100.5, alert_at => '{0.5,1}', alert_amounts => '{70}'); SELECT tenancy.set_budget('acme/ann', NULL, 5, 'day', hard => false);
         SELECT tenancy.set_budget('acme', 'tokens', 90, per => 'user'), tenancy.set_budget('acme', 'tokens', 80, '30 days', anchor => '2026-01-15 00:00Z');
         SELECT tenancy.grant_credit('acme', 'tokens', 7, expires_at => '2100-01-01', note => 'gift');
         SELECT tenancy.set_rate_limit('acme', 'calls', 10, 'minute', level => 'user'); SELECT tenancy.set_slots('acme/web', 'jobs', 3); COMMIT",
    );
}

#[test]
fn a_tenant_that_was_purged_comes_back_as_it_was() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 300);
    furnish(&mut owner);
    furnish_as_admin(&db, &mut owner);
    owner.run("SELECT tenancy.set_allowed_networks('acme', '{10.0.0.0/8,::1}'), tenancy.set_login_policy('acme', amr => '{mfa}', session_length => '90 minutes')");
    let before = leaving::rows(&db);
    let lines = owner.texts(EXPORT);
    owner
        .run("SELECT tenancy.set_status('acme', 'deleted')")
        .run("CALL tenancy.purge_tenant('acme', 'x')");
    stage(&mut owner, &lines);
    owner.run(KEEP);
    let mut after = before.clone();
    after.retain(|row| !row.starts_with("receipts"));
    assert_eq!(leaving::rows(&db), after);
    let again = owner.texts(EXPORT);
    assert_eq!(Export::read(&again).hashes(), Export::read(&lines).hashes());
    assert_eq!(
        db.admin().texts("SELECT slug || ' ' || effective_status || ' ' || external_id FROM tenancy.tenants ORDER BY 1"),
        ["acme active 7", "umbrella active 8"]
    );
    // Sequences go on behind the rows.
    owner.run("BEGIN; SELECT tenancy.maintenance('x'); INSERT INTO app.notes (org, body) VALUES (7, 'next');
        INSERT INTO app.customers (tenant_id, name) SELECT id, 'next' FROM tenancy.tenants; COMMIT");
    owner.fails(KEEP).code("42710");
    let entry = db.admin().text(
        "SELECT details::text FROM tenancy.audit_log WHERE action = 'tenancy.tenant.imported'",
    );
    assert!(
        entry.contains("\"app.events\": 900") && entry.contains("\"tenancy.scopes\": 5"),
        "{entry}"
    );
}

#[test]
fn a_role_of_the_import_gives_what_it_gave() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    furnish(&mut owner);
    let lines = owner.texts(EXPORT);
    stage(&mut owner, &lines);
    owner
        .run("BEGIN")
        .fails_inside("SELECT tenancy.import_tenant('lines')")
        .code("42710");
    owner.run("ROLLBACK");
    // The rows' numbers are taken, and umbrella keeps its own: only what has keys with the tenant fits into the same database.
    let mut export = Export::read(&lines);
    export.tables.retain(|(begin, _)| {
        !begin["table"].as_str().unwrap().starts_with("app.")
            || ["app.folders", "app.events"]
                .iter()
                .any(|table| begin["table"] == *table)
    });
    stage(&mut owner, &export.lines());
    let copy = owner.text("SELECT tenancy.import_tenant('lines', slug => 'copy')");
    assert_ne!(copy, export.get("tenancy.scopes", 0, "id"));
    let key = owner.text("SELECT tenancy.issue_api_key('copy/ann', 'k')");
    let mut app = db.app();
    app.begin(&key);
    assert_eq!(app.number("SELECT count(*) FROM app.folders"), 58);
    assert_eq!(
        app.texts("SELECT DISTINCT tenant_id::text FROM app.events"),
        [copy]
    );
    app.run("ROLLBACK");
    assert_eq!(
        db.admin().texts("SELECT s.slug || ' ' || a.role || ' ' || a.scope || ' ' || coalesce(a.expires_at::date::text, '') FROM tenancy.assignments a JOIN tenancy.scopes s ON s.id = a.user_id \
                          JOIN tenancy.scopes t ON t.id = s.parent_id WHERE t.slug = 'copy' ORDER BY 1"),
        ["ann manager copy 2100-01-01", "ann member copy ", "ann reader web ", "bot service copy "]
    );
}

/// An application with uuid keys, and a tenant with rows.
fn uuids(owner: &mut Session) {
    owner.run(
        "CREATE TABLE app.colors (id uuid PRIMARY KEY);
         INSERT INTO app.colors VALUES ('00000000-0000-0000-0000-0000000000c0');
         CREATE TABLE app.notes (tenant_id uuid, id uuid PRIMARY KEY, author uuid, color uuid REFERENCES app.colors, parent uuid REFERENCES app.notes, info jsonb, n bigint GENERATED ALWAYS AS IDENTITY UNIQUE);
         CREATE TABLE app.replies (tenant_id uuid, id bigint, note uuid REFERENCES app.notes, more text DEFAULT 'd', PRIMARY KEY (tenant_id, id));
         SELECT tenancy.protect('app.notes', owner_column => 'author'), tenancy.protect('app.replies')",
    );
}

fn fill_uuids(owner: &mut Session) {
    owner.run(
        "SELECT tenancy.create_tenant('acme', 'Acme'); SELECT tenancy.create_user('acme', 'ann');
         BEGIN; SELECT tenancy.maintenance('x');
         INSERT INTO app.notes (tenant_id, id, author, color, info) SELECT t.id, gen_random_uuid(), u.id, '00000000-0000-0000-0000-0000000000c0', jsonb_build_object('by', u.id) FROM tenancy.tenants t, tenancy.users u, generate_series(1, 10) n;
         INSERT INTO app.notes (tenant_id, id, parent) SELECT tenant_id, gen_random_uuid(), id FROM app.notes;
         INSERT INTO app.replies SELECT tenant_id, row_number() OVER (), id FROM app.notes; COMMIT",
    );
}

#[test]
fn a_copy_in_the_same_database_has_ids_of_its_own() {
    let db = Db::new();
    let mut owner = db.owner();
    uuids(&mut owner);
    fill_uuids(&mut owner);
    let lines = owner.texts(EXPORT);
    stage(&mut owner, &lines);
    owner
        .fails("SELECT tenancy.import_tenant('lines')")
        .code("42710")
        .says("acme");
    owner
        .fails("SELECT tenancy.import_tenant('lines', ids => 'keep', slug => 'two')")
        .code("42710");
    owner.run("SELECT tenancy.import_tenant('lines', slug => 'two'), tenancy.import_tenant('lines', slug => 'three', status => 'provisioning')");
    let counts = "SELECT s.slug || ' ' || count(*) || ' ' || count(u.id) || ' ' || count(c.id) || ' ' || count(p.id) FROM app.notes n JOIN tenancy.scopes s ON s.id = n.tenant_id \
                  LEFT JOIN tenancy.scopes u ON u.id = n.author AND u.parent_id = s.id LEFT JOIN app.colors c ON c.id = n.color \
                  LEFT JOIN app.notes p ON p.id = n.parent AND p.tenant_id = s.id GROUP BY s.slug ORDER BY 1";
    assert_eq!(
        db.admin().texts(counts),
        ["acme 20 10 10 10", "three 20 10 10 10", "two 20 10 10 10"]
    );
    assert_eq!(
        db.admin().texts("SELECT s.slug || ' ' || count(*) FROM app.replies r JOIN app.notes n ON n.id = r.note AND n.tenant_id = r.tenant_id JOIN tenancy.scopes s ON s.id = r.tenant_id GROUP BY s.slug ORDER BY 1"),
        ["acme 20", "three 20", "two 20"]
    );
    // What is inside of JSON stays.
    assert_eq!(
        db.admin()
            .number("SELECT count(DISTINCT info ->> 'by') FROM app.notes"),
        1
    );
    assert_eq!(
        db.admin()
            .text("SELECT status FROM tenancy.tenants WHERE slug = 'three'"),
        "provisioning"
    );
}

#[test]
fn it_goes_to_another_database_and_to_another_partner() {
    let (db, other) = (Db::new(), Db::new());
    let mut owner = leaving::create(&db, 200);
    furnish(&mut owner);
    let lines = owner.texts(EXPORT);
    let mut there = leaving::create(&other, 1);
    there
        .run("SELECT tenancy.set_status('acme', 'deleted'); SELECT tenancy.set_status('umbrella', 'deleted')")
        .run("CALL tenancy.purge_tenant('acme', 'make room')")
        .run("CALL tenancy.purge_tenant('umbrella', 'make room')")
        .run("SELECT tenancy.create_partner('globex')");
    stage(&mut there, &lines);
    // Without its external id the tenant has no rows in some of the tables.
    there
        .fails("SELECT tenancy.import_tenant('lines', 'globex')")
        .code("55000")
        .details("app.notes: the tenant has no external id");
    there.run(
        "SELECT tenancy.import_tenant('lines', 'globex', external_id => '9', slug => 'moved')",
    );
    assert_eq!(
        leaving::rows(&other),
        leaving::rows(&db)
            .iter()
            .filter(|row| row.contains(" acme ") && !row.starts_with("receipts"))
            .map(|row| row.replace(" acme ", " moved "))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        there.text("SELECT partner FROM tenancy.tenants WHERE slug = 'moved'"),
        "globex"
    );
    let again = there.texts("SELECT tenancy.export_tenant('moved')");
    let (mut again, mut before) = (Export::read(&again), Export::read(&lines));
    assert_eq!(again.tables.len(), before.tables.len());
    assert_ne!(
        again.get("tenancy.scopes", 0, "id"),
        before.get("tenancy.scopes", 0, "id")
    );
    for status in ["archived", "deleted"] {
        there.run(&format!(
            "SELECT tenancy.create_partner('{status}', status => '{status}')"
        ));
        there.fails(&format!("SELECT tenancy.import_tenant('lines', '{status}', slug => 'x', external_id => '10')")).code("55000").details("The partner is");
    }
}

#[test]
fn tables_may_differ_as_far_as_defaults_go() {
    let (db, other) = (Db::new(), Db::new());
    let mut owner = db.owner();
    uuids(&mut owner);
    fill_uuids(&mut owner);
    let lines = owner.texts(EXPORT);
    let mut there = other.owner();
    uuids(&mut there);
    there.run("BEGIN; SELECT tenancy.maintenance('x'); ALTER TABLE app.replies ADD COLUMN seen boolean NOT NULL DEFAULT false, ADD COLUMN long text GENERATED ALWAYS AS (more || '!') STORED; COMMIT");
    stage(&mut there, &lines);
    there.run("SELECT tenancy.import_tenant('lines', ids => 'keep')");
    assert_eq!(
        there.texts("SELECT tenancy.maintenance('x')::text").len(),
        1
    );
    assert_eq!(
        other
            .admin()
            .texts("SELECT DISTINCT seen || ' ' || long FROM app.replies"),
        ["false d!"]
    );
    there.run("BEGIN; SELECT tenancy.maintenance('x'); ALTER TABLE app.replies ADD COLUMN must text; COMMIT");
    there.run("BEGIN; SELECT tenancy.maintenance('x'); UPDATE app.replies SET must = ''; ALTER TABLE app.replies ALTER must SET NOT NULL, DROP COLUMN more CASCADE; ALTER TABLE app.notes ALTER info TYPE text; COMMIT");
    let failure = there
        .fails("SELECT tenancy.import_tenant('lines', slug => 'two')")
        .code("55000");
    for reason in [
        "app.replies: its column must takes no NULL",
        "app.replies: it has no column more",
        "app.notes: its column info is of type text here",
    ] {
        assert!(
            failure.detail.as_ref().unwrap().contains(reason),
            "{reason}: {failure:?}"
        );
    }
    assert_eq!(
        other.admin().number("SELECT count(*) FROM tenancy.tenants"),
        1
    );
}

#[test]
fn what_is_given_from_above_is_refused_left_out_or_restored() {
    let (db, other) = (Db::new(), Db::new());
    let above = "SELECT tenancy.define_metric('tokens', 'token'); SELECT tenancy.define_limit('calls', 'rate'); SELECT tenancy.define_feature('beta'); SELECT tenancy.define_setting('region', level => 'partner');
                 SELECT tenancy.define_plan('gold', '{}'); SELECT tenancy.define_role('internal', 'seller', '{data:read,plans:manage}')";
    let mut owner = db.owner();
    uuids(&mut owner);
    fill_uuids(&mut owner);
    owner.run(above).run(
        "SELECT tenancy.set_plan('acme', 'gold'); SELECT tenancy.set_feature('acme', 'beta', 'true'); SELECT tenancy.set_setting('acme', 'region', '\"eu\"');
         SELECT tenancy.set_budget('acme', 'tokens', 10); SELECT tenancy.grant_credit('acme', 'tokens', 5); SELECT tenancy.set_rate_limit('acme', 'calls', 3, 'hour');
         SELECT tenancy.assign('acme/ann', 'seller', 'acme'); SELECT tenancy.define_role('acme', 'chief', '{plans:manage}'); SELECT tenancy.assign('acme/ann', 'chief', 'acme')",
    );
    let lines = owner.texts(EXPORT);
    let mut there = other.owner();
    uuids(&mut there);
    stage(&mut there, &lines);
    let failure = there.fails(KEEP).code("55000");
    for reason in [
        "the role \"chief\" has the permission plans:manage",
        "there is no role \"seller\" of the partner",
        "there is no metric \"tokens\"",
        "there is no limit \"calls\"",
        "\"acme\" has features",
        "the plan \"gold\" is given from above",
    ] {
        assert!(
            failure.detail.as_ref().unwrap().contains(reason),
            "{reason}: {failure:?}"
        );
    }
    there.run(above);
    let failure = there
        .fails(KEEP)
        .code("55000")
        .hints("granted => 'leave_out'");
    for reason in [
        "\"seller\" has the permission plans:manage",
        "a budget for tokens is imposed",
        "a credit for tokens was granted",
        "the limit \"calls\" is imposed",
        "the setting region",
    ] {
        assert!(
            failure.detail.as_ref().unwrap().contains(reason),
            "{reason}: {failure:?}"
        );
    }
    let warned = there.warnings(
        "BEGIN; SELECT tenancy.import_tenant('lines', ids => 'keep', granted => 'leave_out')",
    );
    assert!(
        warned
            .iter()
            .filter(|text| text.contains("left out"))
            .count()
            >= 8,
        "{warned:?}"
    );
    let mut copy = Export::read(&there.texts(EXPORT));
    for table in [
        "tenancy.roles",
        "tenancy.budgets",
        "tenancy.credits",
        "tenancy.limits",
        "tenancy.tenant_plans",
    ] {
        assert_eq!(copy.table(table).1.len(), 0, "{table}");
    }
    assert_eq!(copy.get("tenancy.scopes", 0, "features"), "{}");
    there
        .run("ROLLBACK")
        .run("SELECT tenancy.import_tenant('lines', ids => 'keep', granted => 'restore')");
    assert_eq!(
        Export::read(&there.texts(EXPORT)).hashes(),
        Export::read(&lines).hashes()
    );
}

#[test]
fn nothing_is_left_of_a_run_that_was_killed() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 1500);
    let lines = owner.texts(EXPORT);
    owner
        .run("SELECT tenancy.set_status('acme', 'deleted')")
        .run("CALL tenancy.purge_tenant('acme', 'x')");
    owner.run(
        "CREATE TABLE app.lines (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text)",
    );
    owner.execute("INSERT INTO app.lines (line) SELECT l FROM unnest($1::text[]) WITH ORDINALITY u(l, n) ORDER BY n", &[&lines]).unwrap();
    let before = (
        leaving::rows(&db),
        db.admin()
            .texts("SELECT id::text FROM tenancy.scopes ORDER BY 1"),
    );
    let mut ended = 0;
    for wait in [20, 80, 200, 400] {
        let mut session = db.owner();
        let pid = session.pid();
        let importing = thread::spawn(move || {
            session
                .try_run("SELECT tenancy.import_tenant('app.lines', ids => 'keep')")
                .is_ok()
        });
        thread::sleep(Duration::from_millis(wait));
        db.admin()
            .run(&format!("SELECT pg_terminate_backend({pid})"));
        if importing.join().unwrap() {
            break;
        }
        ended += 1;
        assert_eq!(
            (
                leaving::rows(&db),
                db.admin()
                    .texts("SELECT id::text FROM tenancy.scopes ORDER BY 1")
            ),
            before
        );
    }
    assert!(ended > 0);
}

#[test]
fn memory_does_not_grow_with_the_rows() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "SELECT tenancy.create_tenant('acme'); CREATE TABLE app.files (tenant_id uuid, id bigint, body text, PRIMARY KEY (tenant_id, id));
         ALTER TABLE app.files ALTER body SET STORAGE MAIN;
         INSERT INTO app.files SELECT t.id, n, repeat('x', 8000000) FROM tenancy.tenants t, generate_series(1, 60) n; SELECT tenancy.protect('app.files');
         CREATE TABLE app.lines (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text)",
    );
    let peak = |session: &mut Session| {
        let pid = session.pid();
        let status = db
            .admin()
            .text(&format!("SELECT pg_read_file('/proc/{pid}/status')"));
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        kilobytes
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .unwrap()
            / 1024
    };
    let mut session = db.owner();
    session.run("INSERT INTO app.lines (line) SELECT tenancy.export_tenant('acme')");
    let exporting = peak(&mut session);
    assert!(exporting < 300, "{exporting} MB for 480 MB of rows");
    let mut session = db.owner();
    session.run("SELECT tenancy.import_tenant('app.lines', slug => 'two')");
    let importing = peak(&mut session);
    assert!(importing < 300, "{importing} MB for 480 MB of rows");
    assert_eq!(
        db.admin()
            .number("SELECT count(*) FROM app.files WHERE length(body) = 8000000"),
        120
    );
}
