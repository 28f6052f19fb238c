//! protect() only takes access away, and ties no table to tenancy's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

// F2: a foreign key's check runs as the owner of the referenced table, and casts as the referencing column's type says.
#[test]
fn nobody_may_put_a_foreign_key_or_a_trigger_on_tenancys_tables() {
    let world = World::new();
    let granted = world.db.admin().texts(
        "SELECT DISTINCT concat_ws(' ', a.grantee::regrole, a.privilege_type, c.oid::regclass)
         FROM pg_class c CROSS JOIN LATERAL (
             SELECT c.relacl AS acl UNION ALL
             SELECT t.attacl FROM pg_attribute t WHERE t.attrelid = c.oid AND NOT t.attisdropped
         ) s, aclexplode(s.acl) a
         WHERE c.relnamespace::regnamespace::text LIKE 'tenancy%' AND a.grantee <> c.relowner
           AND a.privilege_type IN ('REFERENCES', 'TRIGGER', 'TRUNCATE')",
    );
    assert!(granted.is_empty(), "{granted:?}");
    let mut owner = world.db.owner();
    for sql in [
        "CREATE TABLE app.x (ref uuid REFERENCES tenancy.scopes (id))",
        "ALTER TABLE app.notes ADD FOREIGN KEY (tenant_id) REFERENCES tenancy.scopes (id)",
        "CREATE TYPE app.evil AS (t text); CREATE TABLE app.x (ref app.evil REFERENCES tenancy.scopes (id))",
        "CREATE TABLE app.x (ref uuid REFERENCES tenancy.role_definitions (id))",
        "CREATE TRIGGER t AFTER INSERT ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ] {
        owner.run("BEGIN; SELECT tenancy.maintenance('test')");
        owner.fails(sql).code("42501");
        owner.run("ROLLBACK");
    }
}

/// Schema tools read keys to schemas that they do not know as a fault (Prisma's P4002), or drop them.
#[test]
fn schema_tools_see_no_key_that_leads_to_tenancy() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.docs (id int PRIMARY KEY, tenant_id uuid, author uuid, project uuid);
         CREATE TABLE app.parts (tenant_id uuid, at int) PARTITION BY LIST (at);
         CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES IN (1);
         SELECT tenancy.protect('app.docs', owner_column => 'author', project_column => 'project');
         SELECT tenancy.protect('app.parts');
         CREATE TABLE app.parts_2 PARTITION OF app.parts FOR VALUES IN (2)",
    );
    assert_eq!(
        owner.number("SELECT count(*) FROM information_schema.referential_constraints WHERE constraint_schema = 'app'"),
        0
    );
    // So no trigger that checks a key is fired by an insert.
    assert_eq!(
        owner.number("SELECT count(*) FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'app'::regnamespace)"),
        0
    );
    let mut app = world.begin("alice");
    let plan: Vec<String> = app
        .query(
            "EXPLAIN (ANALYZE, COSTS OFF) INSERT INTO app.docs (id) VALUES (1)",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(!plan.join("\n").contains("Trigger"), "{plan:?}");
}

#[test]
fn a_foreign_key_to_scopes_that_is_there_is_advised_away() {
    let world = World::bare();
    world.db.admin().run(&format!(
        "CREATE TABLE app.old (id int, tenant_id uuid REFERENCES tenancy.scopes (id), by uuid CONSTRAINT old_by REFERENCES tenancy.scopes (id));
         ALTER TABLE app.old OWNER TO {}",
        world.db.owner
    ));
    let mut owner = world.db.owner();
    let advice = "SELECT statement FROM tenancy.protect('app.old') WHERE kind = 'advice' AND statement LIKE '%CONSTRAINT%' ORDER BY step";
    assert_eq!(
        owner.texts(advice),
        [
            "ALTER TABLE app.old DROP CONSTRAINT old_by",
            "ALTER TABLE app.old DROP CONSTRAINT old_tenant_id_fkey"
        ]
    );
    for statement in owner.texts(advice) {
        owner.run(&statement);
    }
    assert!(owner.texts(advice).is_empty());
}
