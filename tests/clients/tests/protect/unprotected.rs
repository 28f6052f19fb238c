//! What is not protected, and should perhaps be: the check after a migration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

const LIST: &str = "SELECT concat_ws(' | ', table_name, kind, tenant_column, array_to_string(reasons, '; '), statement) FROM tenancy.unprotected_tables ORDER BY table_name";

#[test]
fn tables_that_may_hold_tenants_rows_are_listed_with_the_reason() {
    let world = World::new();
    let mut owner = world.db.owner();
    assert_eq!(owner.texts(LIST), Vec::<String>::new());
    owner.run(
        "ALTER TABLE app.notes ADD UNIQUE (id, tenant_id);
         CREATE TABLE app.accounts (id uuid PRIMARY KEY, name text);
         CREATE TABLE app.invoices (id int PRIMARY KEY, tenant_id uuid REFERENCES app.accounts);
         SELECT tenancy.protect('app.invoices');
         CREATE TABLE app.\"Odd Name\" (tenant_id uuid, body text) PARTITION BY LIST (tenant_id);
         CREATE TABLE app.odd_rest PARTITION OF app.\"Odd Name\" DEFAULT;
         CREATE TABLE app.lines (id int PRIMARY KEY, invoice int REFERENCES app.invoices (id));
         CREATE TABLE app.line_taxes (id int, line int REFERENCES app.lines);
         CREATE TABLE app.countries (id int PRIMARY KEY, tenant_id text);
         CREATE TABLE app.unrelated (id int REFERENCES app.countries);
         CREATE TEMP TABLE fleeting (tenant_id uuid);
         BEGIN; SELECT tenancy.maintenance('totals');
         CREATE MATERIALIZED VIEW app.totals AS SELECT tenant_id, count(*) FROM app.notes GROUP BY 1; COMMIT",
    );
    assert_eq!(
        owner.texts(LIST),
        [
            "app.\"Odd Name\" | table | tenant_id | has the column tenant_id, by which 2 protected tables are isolated | SELECT tenancy.protect('app.\"Odd Name\"', 'tenant_id')",
            "app.accounts | table | id | the tenant column of app.invoices refers to it | SELECT tenancy.protect('app.accounts', 'id')",
            "app.line_taxes | table | refers to app.lines, which holds tenants' rows",
            "app.lines | table | refers to app.invoices, which holds tenants' rows",
            "app.totals | materialized view | tenant_id | has the column tenant_id, by which 2 protected tables are isolated; is made of app.notes, which is protected",
        ]
    );
    assert_eq!(
        owner.text(
            "SELECT readers::text FROM tenancy.unprotected_tables WHERE table_name = 'app.lines'"
        ),
        "{tenancy_app}"
    );
    // Also a table that nobody has a right to.
    owner.run("CREATE TABLE app.closed (tenant_id uuid); REVOKE ALL ON app.closed FROM CURRENT_USER, tenancy_app");
    assert_eq!(
        owner.text(
            "SELECT readers::text FROM tenancy.unprotected_tables WHERE table_name = 'app.closed'"
        ),
        "{}"
    );
    owner.run("DROP TABLE app.closed");
    // The statements do it.
    for statement in
        owner.texts("SELECT statement FROM tenancy.unprotected_tables WHERE statement IS NOT NULL")
    {
        owner.run(&statement);
    }
    assert_eq!(
        owner.texts("SELECT table_name FROM tenancy.unprotected_tables ORDER BY 1"),
        ["app.line_taxes", "app.lines", "app.totals"]
    );
    // Dropped and created again, and swapped by a rename, a table is listed.
    owner.run(
        "DROP TABLE app.invoices CASCADE; CREATE TABLE app.invoices (id int, tenant_id uuid);
         CREATE TABLE app.notes_new (LIKE app.notes); ALTER TABLE app.notes RENAME TO notes_old; ALTER TABLE app.notes_new RENAME TO notes",
    );
    let listed = owner.texts("SELECT table_name FROM tenancy.unprotected_tables ORDER BY 1");
    for table in ["app.invoices", "app.notes"] {
        assert!(listed.contains(&table.to_owned()), "{listed:?}");
    }
    world
        .db
        .app()
        .fails("TABLE tenancy.unprotected_tables")
        .code("42501");
}
