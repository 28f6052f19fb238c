//! Residency: a row of a tenant is not written where another region is stated, and no tenant gets another region while it has rows elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

/// A world whose notes lie in the region eu: acme is of us by its partner, umbrella of eu, soylent of none.
fn create() -> (World, Session) {
    let world = World::new();
    let mut owner = world.db.owner();
    world.db.admin().run("DELETE FROM app.notes");
    owner.run(
        "SELECT tenancy.set_region('globex', 'us'), tenancy.set_region('umbrella', 'eu');
         SELECT tenancy.set_table_region('app.notes', 'eu')",
    );
    (world, owner)
}

const WRITE: &str = "INSERT INTO app.notes (tenant_id, body) VALUES (tenancy.tenant_id(), 'new')";

#[test]
fn a_statement_that_could_write_a_row_elsewhere_is_refused() {
    let (world, mut owner) = create();
    world.fill("app.notes (tenant_id, body)", "t.id, 'note'");
    assert_eq!(
        owner.texts("SELECT s || ' ' || coalesce(tenancy.region_of(s::tenancy.regscope), '-') FROM unnest('{globex,acme,acme/alice,umbrella,soylent}'::text[]) s"),
        ["globex us", "acme us", "acme/alice us", "umbrella eu", "soylent -"]
    );
    let mut acme = world.begin("alice");
    for statement in [
        WRITE,
        "INSERT INTO app.notes DEFAULT VALUES",
        "UPDATE app.notes SET body = 'other'",
        "WITH w AS (UPDATE app.notes SET body = 'other' RETURNING 1) SELECT count(*) FROM w",
        "MERGE INTO app.notes n USING (SELECT id FROM app.notes) o ON n.id = o.id WHEN MATCHED THEN UPDATE SET body = 'x'",
        "COPY app.notes (tenant_id, body) FROM STDIN",
    ] {
        acme.fails_inside(statement)
            .code("55000")
            .says("of region us would lie in app.notes, of region eu");
    }
    // What takes rows away, or only reads and locks them, moves nothing.
    assert_eq!(acme.number("SELECT count(*) FROM app.notes"), 3);
    assert_eq!(acme.texts("SELECT body FROM app.notes FOR UPDATE").len(), 3);
    assert_eq!(acme.touched("DELETE FROM app.notes"), 3);
    acme.run("COMMIT");
    for user in ["bob", "eve"] {
        world
            .begin(user)
            .run(WRITE)
            .run("UPDATE app.notes SET body = 'x'; COMMIT");
    }
    // It is felt at once, by open sessions too.
    let mut acme = world.begin("alice");
    acme.fails_inside(WRITE).code("55000");
    owner.run("SELECT tenancy.set_table_region('app.notes', NULL)");
    acme.run(WRITE).run("COMMIT");
    owner.run("SELECT tenancy.set_table_region('app.notes', 'us')");
    acme.begin(world.key("alice")).run(WRITE).run("COMMIT");
    world
        .begin("bob")
        .fails(WRITE)
        .says("of region eu would lie in app.notes, of region us");
}

#[test]
fn who_has_several_tenants_selects_one() {
    let (world, _) = create();
    let mut ops = world.begin("ops");
    ops.fails_inside("UPDATE app.notes SET body = 'x'")
        .code("55000")
        .hints("select_tenant");
    ops.run("SELECT tenancy.select_tenant('umbrella')")
        .run(WRITE);
    ops.run("COMMIT");
    let mut ops = world.begin("ops");
    ops.run("SELECT tenancy.select_tenant('acme')");
    ops.fails(WRITE).code("55000");
    // Not for tables that state none.
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.free (tenant_id uuid, n integer); SELECT count(*) FROM tenancy.protect('app.free', grants => '{tenancy_app}')");
    world.begin("ops").run("UPDATE app.free SET n = 1");
}

#[test]
fn partitions_state_regions_of_their_own() {
    let (world, mut owner) = create();
    let (acme, umbrella) = (world.id("acme"), world.id("umbrella"));
    owner.run(&format!(
        "CREATE TABLE app.by_tenant (tenant_id uuid NOT NULL, day date DEFAULT '2026-05-05') PARTITION BY LIST (tenant_id);
         CREATE TABLE app.acmes PARTITION OF app.by_tenant FOR VALUES IN ('{acme}') PARTITION BY RANGE (day);
         CREATE TABLE app.acmes_all PARTITION OF app.acmes DEFAULT;
         CREATE TABLE app.umbrellas PARTITION OF app.by_tenant FOR VALUES IN ('{umbrella}');
         CREATE TABLE app.others PARTITION OF app.by_tenant DEFAULT;
         CREATE TABLE app.by_day (tenant_id uuid NOT NULL, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE app.first PARTITION OF app.by_day FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
         CREATE TABLE app.second PARTITION OF app.by_day FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
         SELECT count(*) FROM tenancy.protect('app.by_tenant', grants => '{{tenancy_app}}');
         SELECT count(*) FROM tenancy.protect('app.by_day', grants => '{{tenancy_app}}');
         GRANT INSERT ON app.first, app.second TO tenancy_app;
         SELECT tenancy.set_table_region('app.acmes', 'us'), tenancy.set_table_region('app.umbrellas', 'eu'), tenancy.set_table_region('app.others', 'asia');
         SELECT tenancy.set_table_region('app.first', 'us'), tenancy.set_table_region('app.second', 'eu')",
    ));
    let write = "INSERT INTO app.by_tenant (tenant_id) VALUES (tenancy.tenant_id())";
    for user in ["alice", "bob", "eve"] {
        world.begin(user).run(write).run("COMMIT");
    }
    // A tenant without a partition of its own comes into the default one.
    owner.run("SELECT tenancy.set_region('soylent', 'asia')");
    world.begin("eve").run(write).run("COMMIT");
    owner.run("SELECT tenancy.set_table_region('app.others', 'eu')");
    world
        .begin("eve")
        .fails(write)
        .says("would lie in app.others, of region eu");
    owner.run("SELECT tenancy.set_table_region('app.acmes', 'asia')");
    world
        .begin("alice")
        .fails(write)
        .says("would lie in app.acmes_all, of region asia");
    // By another column nobody knows where the row goes: the statement names the partition.
    let by_day = |table: &str, day: &str| {
        format!("INSERT INTO app.{table} VALUES (tenancy.tenant_id(), '{day}')")
    };
    let mut alice = world.begin("alice");
    alice
        .fails_inside(&by_day("by_day", "2026-02-02"))
        .says("app.second");
    alice.run(&by_day("first", "2026-02-02"));
    alice
        .fails_inside(&by_day("second", "2026-08-08"))
        .code("55000");
    assert_eq!(
        owner.texts("SELECT table_name || ' ' || coalesce(part_of, '-') || ' ' || coalesce(region, '-') || ' ' || coalesce(refused_tenants::text, '-') FROM tenancy.residency WHERE table_name LIKE 'app.a%' OR table_name LIKE 'app.by_t%' ORDER BY 1"),
        ["app.acmes app.by_tenant asia 2", "app.acmes_all app.by_tenant asia 2", "app.by_tenant - - -"]
    );
}

#[test]
fn a_tablespace_states_a_region_for_what_lies_in_it() {
    let (world, mut owner) = create();
    let mut admin = world.db.admin();
    let space = format!("{}_eu", world.db.name);
    admin.run("SET allow_in_place_tablespaces = on");
    admin.run(&format!("CREATE TABLESPACE {space} LOCATION ''"));
    admin.run(&format!(
        "GRANT CREATE ON TABLESPACE {space} TO {}",
        world.db.owner
    ));
    owner.run("CREATE TABLE app.files (tenant_id uuid, n integer); SELECT count(*) FROM tenancy.protect('app.files', grants => '{tenancy_app}')");
    owner.run(&format!(
        "SELECT tenancy.set_tablespace_region('{space}', 'eu')"
    ));
    let write = "INSERT INTO app.files VALUES (tenancy.tenant_id(), 1)";
    let mut alice = world.begin("alice");
    alice.run(write).run("COMMIT");
    // The same session, after the table has moved.
    owner.run("SELECT tenancy.maintenance('move')");
    owner.run(&format!("BEGIN; SELECT tenancy.maintenance('move'); ALTER TABLE app.files SET TABLESPACE {space}; COMMIT"));
    alice
        .begin(world.key("alice"))
        .fails(write)
        .says("would lie in app.files, of region eu");
    alice.run("ROLLBACK");
    assert_eq!(
        owner.texts(&format!("SELECT table_name || ' ' || tablespace_region FROM tenancy.residency WHERE tablespace = '{space}'")),
        ["app.files eu"]
    );
    assert_eq!(
        owner.texts("SELECT table_name || ' ' || region || ' ' || tenant || ' ' || tenant_region || ' ' || rows FROM tenancy.residency_violations()"),
        ["app.files eu acme us 1"]
    );
    owner
        .fails("SELECT tenancy.set_tablespace_region('nowhere', 'eu')")
        .code("42704");
    admin.run("DROP TABLE app.files");
    admin.run(&format!("DROP TABLESPACE {space}"));
}

#[test]
fn a_tenant_with_rows_elsewhere_gets_no_other_region() {
    let (world, mut owner) = create();
    world.fill("app.notes (tenant_id, body)", "t.id, 'note'");
    // soylent had none, and its five rows lie in eu.
    owner
        .fails("SELECT tenancy.set_region('soylent', 'us')")
        .code("55000")
        .details("app.notes: 7 rows of soylent");
    owner.run("SELECT tenancy.set_region('soylent', 'eu')");
    owner
        .fails("SELECT tenancy.set_region('hooli', 'us'), tenancy.set_region('soylent', NULL)")
        .details("app.notes: 7 rows of soylent");
    // Removed, its rows may lie anywhere.
    owner.run("SELECT tenancy.set_region('soylent', NULL)");
    owner.run("SELECT tenancy.set_region('umbrella', 'eu')");
    owner
        .fails("SELECT tenancy.set_region('umbrella', NULL)")
        .details("app.notes: 5 rows of umbrella");
    // To a partner of another region it does not move by the way.
    owner
        .fails("SELECT tenancy.move_tenant('acme', 'hooli')")
        .code("55000")
        .says("from region us to none");
    owner.run("SELECT tenancy.move_tenant('umbrella', 'hooli')");
    assert_eq!(owner.text("SELECT tenancy.region_of('umbrella')"), "eu");
    world.db.admin().run("DELETE FROM app.notes");
    owner.run("SELECT tenancy.set_region('umbrella', 'us')");
    world.begin("bob").fails(WRITE).code("55000");
}

#[test]
fn only_who_may_set_regions_sets_them() {
    let (world, mut owner) = create();
    let db = &world.db;
    for call in [
        "SELECT tenancy.set_region('acme', 'eu')",
        "SELECT tenancy.set_table_region('app.notes', NULL)",
        "SELECT tenancy.set_tablespace_region('pg_default', 'eu')",
        "SELECT * FROM tenancy.residency_violations()",
        "SELECT * FROM tenancy.residency",
    ] {
        for session in [&mut db.app(), &mut db.gateway(), &mut db.stranger()] {
            session.fails(call);
        }
    }
    for (call, code) in [
        ("SELECT tenancy.set_region('platform', 'eu')", "23514"),
        ("SELECT tenancy.set_region('acme/alice', 'eu')", "23514"),
        ("SELECT tenancy.set_region('acme', 'E U')", "22023"),
        ("SELECT tenancy.set_region(NULL, 'eu')", "22023"),
        (
            "SELECT tenancy.set_table_region('tenancy.scopes', 'eu')",
            "42501",
        ),
    ] {
        owner.fails(call).code(code);
    }
    owner.run("CREATE TABLE app.open (n integer)");
    owner
        .fails("SELECT tenancy.set_table_region('app.open', 'eu')")
        .code("22023");
    // Another administrator, without the rights of the tables' owner.
    db.admin()
        .run(&format!("GRANT tenancy_admin TO {}", db.stranger));
    db.stranger()
        .fails("SELECT tenancy.set_table_region('app.notes', NULL)")
        .code("42501");
    // With a context, from above the scope alone.
    db.admin()
        .run(&format!("GRANT tenancy_gateway TO {}", db.owner));
    let mut session = db.owner();
    session.run("SELECT tenancy.assume('globex/ops', true)");
    session.fails("SELECT tenancy.set_region('globex', NULL)");
    session
        .fails("SELECT tenancy.set_table_region('app.notes', NULL)")
        .code("42501");
    assert_eq!(db.admin().texts("SELECT DISTINCT target FROM tenancy.audit_log WHERE action = 'tenancy.region.set' ORDER BY 1"), ["globex", "umbrella"]);
}

/// The foreign key changes the rows with the parent's owner's rights, and would move them.
#[test]
fn a_cascade_moves_no_row_elsewhere() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.sites (tenant_id uuid NOT NULL, id int, country text, PRIMARY KEY (tenant_id, id, country));
         CREATE TABLE app.visits (tenant_id uuid NOT NULL, site int, country text, FOREIGN KEY (tenant_id, site, country) REFERENCES app.sites ON UPDATE CASCADE)
             PARTITION BY LIST (country);
         CREATE TABLE app.visits_de PARTITION OF app.visits FOR VALUES IN ('de');
         CREATE TABLE app.visits_us PARTITION OF app.visits FOR VALUES IN ('us');
         SELECT tenancy.protect('app.sites'); SELECT tenancy.protect('app.visits');
         SELECT tenancy.set_region('acme', 'eu')",
    );
    world.fill("app.sites (tenant_id, id, country)", "t.id, n, 'de'");
    world.fill("app.visits (tenant_id, site, country)", "t.id, n, 'de'");
    owner.run("SELECT tenancy.set_table_region('app.visits_us', 'us')");
    let mut alice = world.begin("alice");
    alice
        .fails_inside("UPDATE app.sites SET country = 'us'")
        .code("55000")
        .says("region eu would lie in app.visits_us");
    assert_eq!(
        alice.number("SELECT count(*) FROM app.visits WHERE country = 'us'"),
        0
    );
    // Who has no region may.
    let mut eve = world.begin("eve");
    eve.run("UPDATE app.sites SET country = 'us'");
    assert_eq!(
        eve.number("SELECT count(*) FROM app.visits WHERE country = 'us'"),
        7
    );
}

/// A transaction that was checked before the tenant got a region ends before its rows are counted.
#[test]
fn a_region_waits_for_writers_of_the_whole_table() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.visits (tenant_id uuid NOT NULL, day int) PARTITION BY LIST (day);
         CREATE TABLE app.visits_1 PARTITION OF app.visits FOR VALUES IN (1);
         CREATE TABLE app.visits_2 PARTITION OF app.visits FOR VALUES IN (2);
         SELECT tenancy.protect('app.visits', grants => '{tenancy_app}'); SELECT tenancy.set_table_region('app.visits_2', 'eu')",
    );
    let mut alice = world.begin("alice");
    alice.run("INSERT INTO app.visits VALUES (tenancy.tenant_id(), 1)");
    // It has locked neither the second part nor anything else of it.
    owner.run("SET lock_timeout = '200ms'");
    owner
        .fails("SELECT tenancy.set_region('acme', 'us')")
        .code("55P03");
    alice.run("INSERT INTO app.visits VALUES (tenancy.tenant_id(), 2); COMMIT");
    owner
        .fails("SELECT tenancy.set_region('acme', 'us')")
        .code("55000")
        .details("1 rows of acme");
}
