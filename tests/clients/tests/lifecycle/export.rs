//! export_tenant(): every row of a tenant once, exactly as it is, at one snapshot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;
use tenancy_client_tests::{Db, Session, leaving};

const EXPORT: &str = "SELECT tenancy.export_tenant('acme')";

/// The rows of each table of an export.
fn tables(lines: &[String]) -> BTreeMap<String, Vec<Value>> {
    let mut tables = BTreeMap::new();
    let mut table = String::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(name) = line.get("table") {
            table = name.as_str().unwrap().to_owned();
            tables.insert(table.clone(), Vec::new());
        } else if line.is_array() {
            tables.get_mut(&table).unwrap().push(line);
        }
    }
    tables
}

fn sha256(session: &mut Session, lines: &[String]) -> String {
    let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let row = session
        .query_one(
            "SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')",
            &[&whole],
        )
        .unwrap();
    row.get(0)
}

#[test]
fn it_has_every_row_of_the_tenant_and_a_manifest_that_says_so() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 300);
    owner.run("SELECT tenancy.create_user('acme', 'ann'), tenancy.create_project('acme', 'p'), tenancy.set_budget('acme', NULL, 10); SELECT tenancy.issue_api_key('acme/ann', 'k')");
    for status in ["active", "suspended", "archived", "deleted", "provisioning"] {
        owner.run(&format!("SELECT tenancy.set_status('acme', '{status}')"));
        let lines = owner.texts(EXPORT);
        let tables = tables(&lines);
        assert_eq!(tables["tenancy.scopes"].len(), 3);
        assert_eq!(tables["tenancy.budgets"].len(), 1);
        for (table, rows) in [
            ("customers", 300),
            ("drafts", 300),
            ("orders", 300),
            ("order_lines", 900),
            ("folders", 353),
            ("teams", 300),
            ("members", 300),
            ("accounts", 300),
            ("events", 900),
            ("notes", 900),
            ("settings", 300),
            ("payments", 300),
        ] {
            assert_eq!(tables[&format!("app.{table}")].len(), rows, "{table}");
        }
        assert!(!tables.contains_key("app.receipts"), "not protected");
        let manifest: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        let above = &lines[..lines.len() - 1];
        assert_eq!(manifest["lines"], above.len());
        let mut all = format!("{}\n", lines[0]);
        for count in manifest["manifest"].as_array().unwrap() {
            let (table, rows) = (
                count["table"].as_str().unwrap(),
                count["rows"].as_u64().unwrap(),
            );
            let first = above
                .iter()
                .position(|line| line.starts_with(&format!("{{\"table\":\"{table}\",")))
                .unwrap();
            let sum = sha256(&mut owner, &above[first..=first + rows as usize]);
            assert_eq!(count["sha256"], sum.as_str(), "{table}");
            all.push_str(&format!("{table} {rows} {sum}\n"));
        }
        all.pop();
        assert_eq!(manifest["sha256"], sha256(&mut owner, &[all]).as_str());
        let places: Vec<&str> = (manifest["manifest"].as_array().unwrap().iter())
            .map(|count| count["table"].as_str().unwrap())
            .collect();
        let at = |table: &str| places.iter().position(|name| *name == table).unwrap();
        assert!(at("tenancy.scopes") < at("app.customers"));
        assert!(
            at("app.customers") < at("app.orders") && at("app.orders") < at("app.order_lines"),
            "{places:?}"
        );
        assert!(at("app.events") < at("app.notes"), "{places:?}");
    }
    let text = owner.texts(EXPORT).join("\n");
    // Login policies have a column human_api_keys.
    assert!(!text.contains("api_key_"), "keys are not exported");
    assert_eq!(
        db.admin().number(
            "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.tenant.exported'"
        ),
        6
    );
}

#[test]
fn values_read_back_exactly_whatever_the_session_sets() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "SELECT tenancy.create_tenant('acme', 'Acme');
         CREATE TYPE app.pair AS (a integer, b text);
         CREATE TABLE app.odd (tenant_id uuid, a numeric, b double precision, c timestamptz, d interval, e bytea, f text[], g json, h jsonb, i app.pair, j date, k money, l char(4), m int4range, n real,
             o integer GENERATED ALWAYS AS (1) STORED, p integer GENERATED ALWAYS AS IDENTITY, q text);
         INSERT INTO app.odd (tenant_id, a, b, c, d, e, f, g, h, i, j, k, l, m, n, q) SELECT id, 'NaN', 0.1::double precision + 0.2, 'infinity', '-1 year 2 days 3.5 sec', '\\x00ff0a', '[2:3]={a,NULL}', '{ \"b\":1.50,\n \"a\":null }', '{\"b\":1.50}',
             ROW(1, NULL)::app.pair, '-infinity', 12.34, 'ab', '[1,5)', 1.1, E'tab\\t quote\" back\\\\ line\\n\\u0001 \\u00e9\\U0001F600' FROM tenancy.tenants;
         INSERT INTO app.odd (tenant_id, a, g, q) SELECT id, 1.50, 'null', '' FROM tenancy.tenants;
         CREATE TABLE app.again (LIKE app.odd INCLUDING GENERATED);
         SELECT tenancy.protect('app.odd')",
    );
    owner.run("SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET bytea_output = 'escape'; SET extra_float_digits = -10; SET timezone = 'Asia/Kolkata'");
    let lines = owner.texts(EXPORT);
    assert_eq!(owner.text("SHOW datestyle"), "German, DMY");
    owner.run("RESET ALL");
    let odd = &tables(&lines)["app.odd"];
    assert_eq!(odd.len(), 2);
    for row in odd {
        let values: Vec<Option<String>> = serde_json::from_value(row.clone()).unwrap();
        let values: Vec<String> = values
            .iter()
            .map(|value| match value {
                None => "NULL".to_owned(),
                Some(value) => format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
            })
            .collect();
        owner.run(&format!("INSERT INTO app.again (tenant_id, a, b, c, d, e, f, g, h, i, j, k, l, m, n, p, q) VALUES ({})", values.join(", ")));
    }
    let same = "SELECT count(*) FROM app.again x JOIN app.odd y ON x::text = y::text AND record_image_eq(ROW(x.a, x.b, x.c, x.d, x.e, x.f, x.h, x.q), ROW(y.a, y.b, y.c, y.d, y.e, y.f, y.h, y.q))";
    assert_eq!(db.admin().number(same), 2);
}

#[test]
fn all_of_it_is_of_one_snapshot_while_others_write() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 2000);
    let mut lines = String::new();
    let mut writer = db.admin();
    {
        // Line by line, as COPY sends it.
        let mut reader = owner
            .copy_out("COPY (SELECT tenancy.export_tenant('acme')) TO STDOUT")
            .unwrap();
        let mut first = [0; 16];
        reader.read_exact(&mut first).unwrap();
        lines.push_str(std::str::from_utf8(&first).unwrap());
        writer.run("DELETE FROM app.payments; DELETE FROM app.settings; UPDATE app.notes SET body = 'changed'");
        reader.read_to_string(&mut lines).unwrap();
    }
    let lines: Vec<String> = lines
        .lines()
        .map(|line| line.replace("\\\\", "\\"))
        .collect();
    let tables = tables(&lines);
    assert_eq!(tables["app.payments"].len(), 2000);
    assert_eq!(tables["app.settings"].len(), 2000);
    assert!(
        tables["app.notes"]
            .iter()
            .all(|row| !row.to_string().contains("changed"))
    );
}

#[test]
fn only_an_administrator_with_the_owners_rights_exports() {
    let db = Db::new();
    leaving::create(&db, 3);
    let tenant = (db.admin()).text("SELECT id FROM tenancy.tenants WHERE slug = 'acme'");
    let by_id = format!("SELECT tenancy.export_tenant('{tenant}')");
    db.app().fails(&by_id).code("42501");
    db.stranger().fails(&by_id).code("42501");
    db.admin()
        .run(&format!("GRANT tenancy_admin TO {}", db.stranger));
    db.stranger().fails(EXPORT).code("42501");
    let mut owner = db.owner();
    owner
        .fails("SELECT tenancy.export_tenant(NULL)")
        .code("22023");
    owner
        .fails("SELECT tenancy.export_tenant('internal')")
        .code("22023");
    owner
        .fails("SELECT tenancy.export_tenant('nobody')")
        .code("42704");
    // Stopped early, and in a savepoint that is rolled back.
    owner.run("BEGIN; SAVEPOINT s");
    assert_eq!(owner.texts(&format!("{EXPORT} LIMIT 3")).len(), 3);
    owner.run("ROLLBACK TO s");
    assert!(owner.texts(EXPORT).len() > 30);
    owner.run("COMMIT");
}
