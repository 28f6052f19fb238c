//! adopt() that is called again with other arguments, of several adoptions, and what unadopt() takes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session};

const SHOP: &str = "CREATE SCHEMA shop; CREATE SCHEMA stock; GRANT USAGE ON SCHEMA shop, stock TO PUBLIC;
    CREATE TABLE shop.stores (id bigint PRIMARY KEY, name text);
    CREATE TABLE shop.orders (id bigint PRIMARY KEY, store_id bigint NOT NULL REFERENCES shop.stores);
    CREATE TABLE shop.drafts (id bigint PRIMARY KEY, order_id bigint);
    CREATE TABLE shop.currencies (code text PRIMARY KEY);
    CREATE TABLE stock.items (id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES shop.orders, currency text REFERENCES shop.currencies);
    INSERT INTO shop.stores VALUES (1, 'One'), (2, 'Two'); INSERT INTO shop.orders VALUES (1, 1), (2, 2);
    INSERT INTO shop.currencies VALUES ('EUR'); INSERT INTO stock.items VALUES (1, 1, 'EUR'), (2, 2, 'EUR')";

fn shop() -> (Db, Session) {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(SHOP);
    (db, owner)
}

/// The arguments of the first call.
fn first(db: &Db) -> String {
    format!(
        r#"CALL tenancy.adopt('shop.stores', grants => '{{{}}}', schemas => '{{shop,stock}}', named_keys => true, watch => 'protect',
            decisions => '{{"shop.later": {{"skip": true}}}}')"#,
        db.app
    )
}

#[test]
fn what_a_call_does_not_give_stays_as_it_was() {
    let (db, mut owner) = shop();
    owner.run(&first(&db));
    let kept = "SELECT string_agg(schema_name || action || choices, ' ' ORDER BY schema_name) FROM tenancy_internal.watched_schemas";
    let mut admin = db.admin();
    let before = admin.text(kept);
    owner.run("CALL tenancy.adopt('shop.stores')");
    assert_eq!(admin.text(kept), before);
    // Of new tables, too, and in all of its schemas.
    owner.run("CREATE TABLE stock.parts (id bigint PRIMARY KEY, item_id bigint NOT NULL); CREATE TABLE shop.later (id bigint PRIMARY KEY, order_id bigint)");
    assert_eq!(
        admin.texts("SELECT table_name FROM tenancy.protected_tables ORDER BY 1"),
        [
            "shop.drafts",
            "shop.orders",
            "shop.stores",
            "stock.items",
            "stock.parts"
        ]
    );
    // What is given replaces what was.
    owner.run(r#"CALL tenancy.adopt('shop.stores', decisions => '{"shop.later": {"skip": true}, "shop.never": {"skip": true}}', null_rows => 'hide')"#);
    let choices = "SELECT DISTINCT choices -> 'null_rows' || (choices -> 'decisions') FROM tenancy_internal.watched_schemas";
    assert!(admin.text(choices).contains("shop.never"));
    // It is undone in all schemas.
    owner.run("CALL tenancy.unadopt('shop.stores')");
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.protected_tables"),
        0
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.watched_schemas"),
        0
    );
}

#[test]
fn each_adoption_shows_its_own_plan() {
    let (db, mut owner) = shop();
    owner.run(
        "CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations)",
    );
    owner.run(&first(&db));
    owner.run("CALL tenancy.adopt('app.organizations')");
    let of = |owner: &mut Session, table: &str| {
        owner.texts(&format!(
            "SELECT table_name || ' ' || status FROM tenancy.adoption WHERE tenant_table = '{table}' ORDER BY place"
        ))
    };
    assert_eq!(
        of(&mut owner, "app.organizations"),
        ["app.organizations done", "app.projects done"]
    );
    assert_eq!(of(&mut owner, "shop.stores").len(), 5);
    // The same tables in the plans of two.
    owner.run("CALL tenancy.adopt('shop.orders', dry_run => true)");
    assert_eq!(of(&mut owner, "shop.stores").len(), 5);
    assert_eq!(of(&mut owner, "shop.orders").len(), 4);
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(of(&mut owner, "shop.stores")[0], "shop.stores done");
}

const GRANTS: &str = "SELECT coalesce(string_agg(c.oid::regclass || ' ' || coalesce(c.relacl::text, ''), '; ' ORDER BY c.oid::regclass::text), '') FROM pg_class c
    WHERE c.relnamespace IN ('shop'::regnamespace, 'stock'::regnamespace) AND c.relkind = 'r'";

#[test]
fn grants_are_taken_back() {
    let (db, mut owner) = shop();
    let mut admin = db.admin();
    admin.run("REVOKE ALL ON ALL TABLES IN SCHEMA shop, stock FROM tenancy_app");
    owner.run("GRANT SELECT ON shop.stores TO PUBLIC");
    let before = admin.text(GRANTS);
    owner.run(&first(&db));
    let granted = format!(
        "SELECT has_table_privilege('{}', 'shop.currencies', 'SELECT')",
        db.app
    );
    assert_eq!(admin.text(&granted), "t");
    // The record follows a new name, and is that of the table.
    owner.run("ALTER TABLE shop.currencies RENAME TO money");
    owner.run("CALL tenancy.adopt('shop.stores')");
    owner.run("CALL tenancy.unadopt('shop.stores')");
    owner.run("ALTER TABLE shop.money RENAME TO currencies");
    assert_eq!(admin.text(&granted), "f");
    assert_eq!(
        admin.text(GRANTS).replace("currencies {", ""),
        before.replace("currencies {", "")
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.adoption_grants"),
        0
    );
    // One that may have read it before still may.
    owner.run(&format!("GRANT SELECT ON shop.currencies TO {}", db.app));
    owner.run(&first(&db));
    owner.run("CALL tenancy.unadopt('shop.stores')");
    assert_eq!(admin.text(&granted), "t");
    // A table that is gone is forgotten.
    owner.run(&format!("REVOKE SELECT ON shop.currencies FROM {}", db.app));
    owner.run(&first(&db));
    owner.run("ALTER TABLE stock.items DROP currency; DROP TABLE shop.currencies");
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.adoption_grants"),
        0
    );
    owner.run("CALL tenancy.unadopt('shop.stores')");
}

const COLUMNS: &str = "SELECT string_agg(attrelid::regclass || '.' || attname || ' ' || attnotnull || ' ' || coalesce(pg_get_expr(adbin, adrelid), '') || ' ' || coalesce(attacl::text, ''), '; ' ORDER BY attrelid::regclass::text, attnum)
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0 AND NOT attisdropped AND attrelid::regclass::text LIKE 'app.rows%'";

/// What protect() changed of a column is undone by its new name.
#[test]
fn a_renamed_column_is_undone() {
    for parts in ["", " PARTITION BY LIST (kind)"] {
        let db = Db::new();
        let mut owner = db.owner();
        owner.run(&format!(
            "CREATE TABLE app.rows (id bigint, kind int, \"Org%s\" uuid, author uuid, body text){parts}; GRANT TRIGGER, REFERENCES (\"Org%s\", body) ON app.rows TO {0}",
            db.stranger
        ));
        if !parts.is_empty() {
            owner.run("CREATE TABLE app.rows_1 PARTITION OF app.rows FOR VALUES IN (1)");
        }
        let rename = |owner: &mut Session, from: &str, to: &str| {
            owner.run(&format!(
                "BEGIN; SELECT tenancy.maintenance('rename'); ALTER TABLE app.rows RENAME \"{from}\" TO \"{to}\"; COMMIT"
            ));
        };
        let before = owner.text(COLUMNS);
        owner.run("SELECT tenancy.protect('app.rows', 'Org%s', owner_column => 'author')");
        assert_ne!(owner.text(COLUMNS), before);
        rename(&mut owner, "Org%s", "tenant");
        rename(&mut owner, "body", "the text");
        rename(&mut owner, "author", "writer");
        owner.run("SELECT tenancy.unprotect('app.rows')");
        rename(&mut owner, "tenant", "Org%s");
        rename(&mut owner, "the text", "body");
        rename(&mut owner, "writer", "author");
        assert_eq!(owner.text(COLUMNS), before);
    }
}
