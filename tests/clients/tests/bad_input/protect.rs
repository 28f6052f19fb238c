//! protect() and unprotect() with bad input: the SQLSTATE, a reason, a hint where one helps, and an unchanged table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Failure, World};

const SCHEMA: &str = "
    CREATE TABLE app.plain (id int, tenant_id uuid, other uuid, label text, made date);
    CREATE TABLE app.full AS SELECT n AS id, NULL::uuid AS tenant_id FROM generate_series(1, 3) n;
    CREATE TABLE app.rows AS SELECT 1 AS id;
    CREATE TABLE app.computed (id int, tenant_id bigint GENERATED ALWAYS AS (id * 2) STORED);
    CREATE TABLE app.numbered (tenant_id bigint GENERATED ALWAYS AS IDENTITY);
    CREATE VIEW app.view AS SELECT * FROM app.plain;
    CREATE MATERIALIZED VIEW app.matview AS SELECT * FROM app.plain;
    CREATE SEQUENCE app.sequence; CREATE INDEX plain_index ON app.plain (id); CREATE TYPE app.composite AS (id int);
    CREATE COLLATION app.loose (provider = icu, locale = 'und', deterministic = false);
    CREATE TABLE app.folded (tenant_id text COLLATE app.loose);
    CREATE TABLE app.parent (id int, tenant_id uuid) PARTITION BY RANGE (id);
    CREATE TABLE app.part PARTITION OF app.parent DEFAULT;
    CREATE TABLE app.done (id int, tenant_id uuid NOT NULL); SELECT tenancy.protect('app.done')";

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(SCHEMA);
    world.db.admin().run(
        "CREATE TABLE app.foreigner (id int, tenant_id uuid); CREATE FOREIGN DATA WRAPPER none; CREATE SERVER s FOREIGN DATA WRAPPER none;
         CREATE FOREIGN TABLE app.remote (id int, tenant_id uuid) SERVER s",
    );
    world
}

/// Everything that protecting could have changed.
const STATE: &str = "SELECT string_agg(x, chr(10) ORDER BY x) FROM (
    SELECT concat_ws(' ', oid::regclass, relrowsecurity, relforcerowsecurity) x FROM pg_class WHERE relnamespace = 'app'::regnamespace
    UNION ALL SELECT concat_ws(' ', c.oid::regclass, a) FROM pg_class c, aclexplode(coalesce(relacl, acldefault('r', relowner))) a WHERE relnamespace = 'app'::regnamespace AND relkind = 'r'
    UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, attnotnull, atthasdef) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
        WHERE relnamespace = 'app'::regnamespace AND NOT attisdropped
    UNION ALL SELECT concat(conrelid::regclass, conname) FROM pg_constraint WHERE connamespace = 'app'::regnamespace
    UNION ALL SELECT to_jsonb(p)::text FROM pg_policies p
    UNION ALL SELECT r::text FROM tenancy_internal.protected_table_registry r UNION ALL SELECT r::text FROM tenancy_internal.protected_member_registry r) s";

#[test]
fn what_cannot_be_isolated_is_refused_with_the_reason() {
    let world = world();
    let before = world.db.admin().text(STATE);
    let mut owner = world.db.owner();
    owner.run("CREATE TEMP TABLE passing (tenant_id uuid)");
    let mut wrong = Vec::new();
    for (call, code, hint) in [
        ("protect(NULL)", "22023", false),
        ("protect('app.nothing')", "42P01", false),
        ("protect(0)", "42704", false),
        ("protect('app.view')", "42809", true),
        ("protect('app.matview')", "42809", true),
        ("protect('app.sequence')", "42809", true),
        ("protect('app.plain_index')", "42809", true),
        ("protect('app.composite')", "42809", true),
        ("protect('pg_temp.passing')", "42809", false),
        ("protect('app.foreigner')", "42501", false),
        ("protect('pg_catalog.pg_class')", "42809", false),
        ("protect('information_schema.sql_features')", "42809", false),
        ("protect('tenancy.scopes')", "42809", false),
        (
            "protect('tenancy_internal.api_key_secrets')",
            "42809",
            false,
        ),
        ("protect('app.rows')", "22023", true),
        ("protect('app.plain', 'nothing')", "22023", true),
        ("protect('app.plain', '')", "22023", true),
        ("protect('app.plain', NULL)", "22023", false),
        ("protect('app.plain', 'made')", "22023", true),
        ("protect('app.computed')", "22023", true),
        ("protect('app.numbered')", "22023", true),
        ("protect('app.folded')", "22023", true),
        ("protect('app.full')", "22023", true),
        ("protect('app.rows', add_column => true)", "22023", true),
        ("protect('app.full', backfill => 'nobody')", "42704", true),
        ("protect('app.full', backfill => 'globex')", "22023", true),
        (
            "protect('app.full', backfill => 'acme/alice')",
            "22023",
            true,
        ),
        (
            "protect('app.full', backfill => gen_random_uuid())",
            "42704",
            false,
        ),
        ("protect('app.part')", "22023", true),
        (
            "protect('app.plain', owner_column => 'nothing')",
            "22023",
            false,
        ),
        (
            "protect('app.plain', owner_column => 'made')",
            "22023",
            true,
        ),
        (
            "protect('app.plain', project_column => 'made')",
            "22023",
            true,
        ),
        (
            "protect('app.plain', owner_column => 'tenant_id')",
            "22023",
            true,
        ),
        (
            "protect('app.plain', owner_column => 'other', project_column => 'other')",
            "22023",
            true,
        ),
        (
            "protect('app.plain', owner_column => 'other', shared => true)",
            "22023",
            true,
        ),
        ("protect('app.done', shared => true)", "42710", true),
        ("unprotect(NULL)", "22023", false),
        ("unprotect('app.plain')", "42704", true),
        ("unprotect('app.view')", "42704", true),
        ("unprotect('app.nothing')", "42P01", false),
        ("unprotect(0)", "42704", false),
    ] {
        owner.run("BEGIN; SAVEPOINT s");
        match owner.batch_execute(&format!("SELECT * FROM tenancy.{call}")) {
            Ok(()) => wrong.push(format!("not refused: {call}")),
            Err(error) => {
                let failure = Failure::from(&error);
                let helped = !hint || failure.hint.as_deref().is_some_and(|text| text.len() > 10);
                if failure.code != code || !helped || failure.all.contains("panicked") {
                    wrong.push(format!(
                        "{call}: wanted {code}, got {} {} (hint {:?})",
                        failure.code, failure.message, failure.hint
                    ));
                }
            }
        }
        owner.run("ROLLBACK TO s; COMMIT");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world
        .db
        .admin()
        .fails("SELECT tenancy.protect('app.remote')")
        .code("42809")
        .hints("server");
    assert_eq!(
        world.db.admin().text(STATE),
        before,
        "something was changed"
    );
}

#[test]
fn a_dry_run_changes_nothing_and_returns_the_steps() {
    let world = world();
    let before = world.db.admin().text(STATE);
    let mut owner = world.db.owner();
    let told = owner.texts(
        "SELECT statement FROM tenancy.protect('app.plain', dry_run => true) WHERE kind = 'do'",
    );
    assert!(
        told.iter()
            .any(|sql| sql.contains("FORCE ROW LEVEL SECURITY")),
        "{told:?}"
    );
    owner.run("SELECT * FROM tenancy.unprotect('app.done', dry_run => true)");
    assert_eq!(world.db.admin().text(STATE), before);
    // The dry run lists the steps that the call executes.
    let done = owner.texts("SELECT statement FROM tenancy.protect('app.plain') WHERE kind = 'do'");
    assert_eq!(done, told);
    assert_eq!(
        owner.texts("SELECT statement FROM tenancy.protect('app.plain') WHERE kind = 'do'"),
        Vec::<String>::new()
    );
}

#[test]
fn unprotect_restores_what_was_there() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run("GRANT TRUNCATE, REFERENCES ON app.plain TO tenancy_app; ALTER TABLE app.plain ENABLE ROW LEVEL SECURITY; GRANT SELECT ON app.plain TO tenancy_auditor");
    let before = world.db.admin().text(STATE);
    owner
        .run("SELECT * FROM tenancy.protect('app.plain')")
        .run("SELECT * FROM tenancy.unprotect('app.plain')");
    assert_eq!(world.db.admin().text(STATE), before);
    owner.run("SELECT * FROM tenancy.protect('app.rows', add_column => true, backfill => 'acme')");
    assert_eq!(
        world.begin("alice").number("SELECT count(*) FROM app.rows"),
        1
    );
    assert_eq!(
        world.begin("bob").number("SELECT count(*) FROM app.rows"),
        0
    );
    owner.run("SELECT * FROM tenancy.unprotect('app.rows', drop_column => true)");
    assert_eq!(world.db.admin().text(STATE), before);
}

#[test]
fn a_protection_that_fails_half_way_leaves_nothing() {
    let world = world();
    let mut owner = world.db.owner();
    // A key that is too long for an index breaks it, after other steps were done.
    owner.run(
        "CREATE TABLE app.long (tenant_id text);
         INSERT INTO app.long SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n",
    );
    let before = world.db.admin().text(STATE);
    owner.run("BEGIN; SAVEPOINT s");
    owner
        .fails("SELECT tenancy.protect('app.long')")
        .code("54000");
    owner.run("ROLLBACK TO s; COMMIT");
    assert_eq!(world.db.admin().text(STATE), before);
}

#[test]
fn names_that_need_quotes_and_paths_of_the_callers() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE SCHEMA \"My app\"; CREATE TABLE \"My app\".\"We; DROP TABLE app.done; --\" (\"Id\" int, \"Tenant Id%1$s\" uuid);
         CREATE SCHEMA trap; CREATE FUNCTION trap.can(text, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true'; SET search_path = trap, \"My app\", pg_catalog",
    );
    owner.run("SELECT * FROM tenancy.protect('\"We; DROP TABLE app.done; --\"', 'Tenant Id%1$s')");
    world.fill("\"My app\".\"We; DROP TABLE app.done; --\"", "n, t.id");
    assert_eq!(
        world
            .begin("alice")
            .number("SELECT count(*) FROM \"My app\".\"We; DROP TABLE app.done; --\""),
        3
    );
    assert_eq!(world.db.admin().number("SELECT count(*) FROM app.done"), 0);
    owner.run("SELECT * FROM tenancy.unprotect('\"My app\".\"We; DROP TABLE app.done; --\"')");
}

#[test]
fn only_admins_and_owners_protect() {
    let world = world();
    for mut session in [world.db.app(), world.db.gateway(), world.db.stranger()] {
        session
            .fails("SELECT * FROM tenancy.protect('app.plain')")
            .code("42501");
        session
            .fails("SELECT * FROM tenancy.unprotect('app.done')")
            .code("42501");
    }
}
