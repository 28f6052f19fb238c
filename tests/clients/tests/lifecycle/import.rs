//! import_tenant(): an export comes back as it was, in the same or another database, or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session, leaving};

const STAGE: &str =
    "CREATE TEMP TABLE lines (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text)";

fn stage(session: &mut Session, lines: &[String]) {
    session.run("DROP TABLE IF EXISTS lines").run(STAGE);
    session
        .execute("INSERT INTO lines (line) SELECT l FROM unnest($1::text[]) WITH ORDINALITY u(l, n) ORDER BY n", &[&lines])
        .unwrap();
}

/// The rows of acme in all tables, as texts.
fn texts(db: &Db, tenant: &str) -> Vec<String> {
    let queries: Vec<String> = leaving::TABLES
        .iter()
        .map(|table| {
            let key = match *table {
                "notes" | "settings" => "org",
                _ => "tenant_id",
            };
            format!("SELECT '{table} ' || t::text FROM app.{table} t JOIN tenancy.scopes s ON t.{key}::text IN (s.id::text, s.external_id) WHERE s.slug = '{tenant}'")
        })
        .collect();
    db.admin().texts(&format!(
        "SELECT * FROM ({}) r ORDER BY 1",
        queries.join(" UNION ALL ")
    ))
}

#[test]
fn a_tenant_that_was_purged_comes_back_as_it_was() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 200);
    owner.run(
        "SELECT tenancy.create_user('acme', 'ann'), tenancy.create_project('acme', 'p');
         SELECT tenancy.define_role('acme', 'reader', '{data:read}'); SELECT tenancy.assign('acme/ann', 'reader', 'acme'), tenancy.set_budget('acme', NULL, 10)",
    );
    let tree = "SELECT concat_ws(' ', id, level, path, slug, external_id, created_at) FROM tenancy.scopes ORDER BY id";
    let roles = "SELECT concat_ws(' ', a.user_id, a.scope_id, r.name, r.permissions) FROM tenancy_internal.role_assignments a JOIN tenancy_internal.role_definitions r ON r.id = a.role_id ORDER BY 1";
    let mut admin = db.admin();
    let before = (
        texts(&db, "acme"),
        texts(&db, "umbrella"),
        admin.texts(tree),
        admin.texts(roles),
    );
    owner.run("SELECT tenancy.set_status('acme', 'deleted')");
    let lines = owner.texts("SELECT tenancy.export_tenant('acme')");
    owner.run("CALL tenancy.purge_tenant('acme', 'x')");
    stage(&mut owner, &lines);
    owner.run("SELECT tenancy.import_tenant('lines')");
    assert_eq!(
        (
            texts(&db, "acme"),
            texts(&db, "umbrella"),
            admin.texts(tree),
            admin.texts(roles)
        ),
        before
    );
    assert_eq!(
        admin.text("SELECT status FROM tenancy.tenants WHERE slug = 'acme'"),
        "deleted"
    );
    // Identity columns go on behind what was imported.
    owner.run("SELECT tenancy.set_status('acme', 'active')");
    owner.run("BEGIN; SELECT tenancy.maintenance('x'); INSERT INTO app.notes (org, body) VALUES (7, 'next'); COMMIT");
    owner
        .fails("SELECT tenancy.import_tenant('lines')")
        .code("42710");
}

#[test]
fn it_goes_to_another_database_and_to_another_partner() {
    let (db, other) = (Db::new(), Db::new());
    let mut owner = leaving::create(&db, 50);
    let before = texts(&db, "acme");
    let lines = owner.texts("SELECT tenancy.export_tenant('acme')");
    let mut there = leaving::create(&other, 1);
    other.admin().run("DELETE FROM app.receipts; DELETE FROM app.payments; DELETE FROM app.notes; DELETE FROM app.events; DELETE FROM app.order_lines; DELETE FROM app.orders; DELETE FROM app.customers");
    there
        .run("SELECT tenancy.set_status('acme', 'deleted')")
        .run("CALL tenancy.purge_tenant('acme', 'make room')");
    there.run("SELECT tenancy.create_partner('globex')");
    stage(&mut there, &lines);
    there.run("SELECT tenancy.import_tenant('lines', partner => 'globex')");
    assert_eq!(texts(&other, "acme"), before);
    assert_eq!(
        there.text("SELECT partner FROM tenancy.tenants WHERE slug = 'acme'"),
        "globex"
    );
    // Sequences are behind the rows that came.
    there.run("BEGIN; SELECT tenancy.maintenance('x'); INSERT INTO app.customers (tenant_id, name) SELECT id, 'new' FROM tenancy.tenants WHERE slug = 'acme'; COMMIT");
}

#[test]
fn a_copy_gets_ids_of_its_own() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "SELECT tenancy.create_tenant('acme', 'Acme'); SELECT tenancy.create_user('acme', 'ann');
         CREATE TABLE app.notes (tenant_id uuid, id bigint, author uuid, body text, PRIMARY KEY (tenant_id, id));
         CREATE TABLE app.replies (tenant_id uuid, id bigint, note bigint, PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, note) REFERENCES app.notes);
         INSERT INTO app.notes SELECT t.id, n, u.id, 'b' FROM tenancy.tenants t, tenancy.users u, generate_series(1, 10) n;
         INSERT INTO app.replies SELECT tenant_id, id, id FROM app.notes;
         SELECT tenancy.protect('app.notes', owner_column => 'author'), tenancy.protect('app.replies')",
    );
    let lines = owner.texts("SELECT tenancy.export_tenant('acme')");
    stage(&mut owner, &lines);
    owner
        .fails("SELECT tenancy.import_tenant('lines', ids => 'remap')")
        .code("42710");
    owner.run("SELECT tenancy.import_tenant('lines', ids => 'remap', slug => 'acme-2')");
    let mut admin = db.admin();
    assert_eq!(
        admin.texts("SELECT s.slug || ' ' || count(*) || ' ' || count(u.id) FROM app.notes n JOIN tenancy.scopes s ON s.id = n.tenant_id LEFT JOIN tenancy.scopes u ON u.id = n.author AND u.parent_id = s.id GROUP BY s.slug ORDER BY 1"),
        ["acme 10 10", "acme-2 10 10"]
    );
    assert_eq!(
        admin.number("SELECT count(DISTINCT author) FROM app.notes"),
        2
    );
}

#[test]
fn what_is_damaged_or_does_not_fit_leaves_nothing() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 20);
    let lines = owner.texts("SELECT tenancy.export_tenant('acme')");
    owner
        .run("SELECT tenancy.set_status('acme', 'deleted')")
        .run("CALL tenancy.purge_tenant('acme', 'x')");
    let before = (
        leaving::rows(&db),
        db.admin().number("SELECT count(*) FROM tenancy.scopes"),
    );
    let mut refused = |what: &str, lines: &[String], code: &str| {
        stage(&mut owner, lines);
        let failure = owner.fails("SELECT tenancy.import_tenant('lines')");
        assert_eq!(failure.code, code, "{what}: {failure:?}");
        assert_eq!(
            (
                leaving::rows(&db),
                db.admin().number("SELECT count(*) FROM tenancy.scopes")
            ),
            before,
            "{what}"
        );
    };
    refused("nothing", &[], "22P04");
    refused("no manifest", &lines[..lines.len() - 1], "22P04");
    refused("a manifest alone", &lines[lines.len() - 1..], "22P04");
    let mut less = lines.clone();
    less.remove(lines.len() / 2);
    refused("a row less", &less, "22P04");
    let mut twice = lines.clone();
    twice.insert(lines.len() / 2, lines[lines.len() / 2].clone());
    refused("a row twice", &twice, "22P04");
    let mut other = lines.clone();
    let at = other
        .iter()
        .position(|line| line.contains("\"f\""))
        .unwrap();
    other[at] = other[at].replace("\"f\"", "\"g\"");
    refused("another value", &other, "22P04");
    refused("no json", &["hello".to_owned()], "22P04");
    // Well made, but of rows that belong to another tenant.
    let umbrella = db
        .admin()
        .text("SELECT id FROM tenancy.tenants WHERE slug = 'umbrella'");
    let acme = serde_json::from_str::<serde_json::Value>(&lines[0]).unwrap()["tenant"]
        .as_str()
        .unwrap()
        .to_owned();
    let forged = forge(&lines, |line| {
        if line.starts_with('[') && line.contains("\"NaN\"") {
            line.replacen(&acme, &umbrella, 1)
        } else {
            line.to_owned()
        }
    });
    refused("another tenant's row", &forged, "55000");
    let forged = forge(&lines, |line| line.replace("app.folders", "app.loot"));
    refused("a table that is not there", &forged, "55000");
    let forged = forge(&lines, |line| line.replace("\"parent_id\"", "\"uncle_id\""));
    refused("other columns", &forged, "55000");
    let forged = forge(&lines, |line| {
        if line.starts_with('[') && line.contains("\"tenant\"") {
            line.replace("\"tenant\"", "\"partner\"")
        } else {
            line.to_owned()
        }
    });
    refused("a partner in place of the tenant", &forged, "23514");
    owner.run("BEGIN; SELECT tenancy.maintenance('check'); ALTER TABLE app.folders ADD CONSTRAINT none CHECK (name <> 'f') NOT VALID; COMMIT");
    stage(&mut owner, &lines);
    owner
        .fails("SELECT tenancy.import_tenant('lines')")
        .code("23514");
    assert_eq!(
        (
            leaving::rows(&db),
            db.admin().number("SELECT count(*) FROM tenancy.scopes")
        ),
        before
    );
    owner.run("ALTER TABLE app.folders DROP CONSTRAINT none");
    owner.run("SELECT tenancy.import_tenant('lines')");
    for bad in ["ids => 'other'", "ids => NULL", "partner => NULL"] {
        owner
            .fails(&format!("SELECT tenancy.import_tenant('lines', {bad})"))
            .code("22023");
    }
    owner
        .fails("SELECT tenancy.import_tenant(NULL)")
        .code("22023");
    owner
        .fails("SELECT tenancy.import_tenant('lines', partner => 'umbrella')")
        .code("42704");
    db.app()
        .fails("SELECT tenancy.import_tenant('tenancy.tenants')")
        .code("42501");
}

/// An export with changed lines and a manifest that fits them.
fn forge(lines: &[String], change: impl Fn(&str) -> String) -> Vec<String> {
    let mut sums = tenancy_core::lifecycle::Sums::default();
    let mut forged = Vec::new();
    for line in &lines[..lines.len() - 1] {
        let line = change(line);
        match serde_json::from_str::<serde_json::Value>(&line)
            .unwrap()
            .get("table")
        {
            Some(table) => sums.begin(table.as_str().unwrap(), &line),
            None if line.starts_with('[') => sums.row(&line),
            None => sums.line(&line),
        }
        forged.push(line);
    }
    forged.push(serde_json::to_string(&sums.manifest()).unwrap());
    forged
}
