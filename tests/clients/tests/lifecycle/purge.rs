//! purge_tenant(): everything that a tenant owns leaves, whatever its tables look like, and nothing of another tenant's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::leaving::{self, TABLES};
use tenancy_client_tests::{Db, Session, World};

const DELETE: &str = "SELECT tenancy.set_status('acme', 'deleted')";
const PURGE: &str = "CALL tenancy.purge_tenant('acme', 'contract ended', batch_rows => 40)";

/// What other tenants have: of the tables' rows, without those of acme.
fn others(rows: &[String]) -> Vec<String> {
    (rows.iter())
        .filter(|row| !row.contains(" acme "))
        .cloned()
        .collect()
}

fn certificate(admin: &mut Session) -> serde_json::Value {
    let entry =
        admin.text("SELECT details FROM tenancy.audit_log WHERE action = 'tenancy.purge.done'");
    serde_json::from_str(&entry).unwrap()
}

#[test]
fn a_tenant_leaves_tables_of_every_shape_and_a_certificate() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 100);
    owner.run(
        "SELECT tenancy.create_user('acme', 'ann'), tenancy.create_user('acme', 'bot', 'service'), tenancy.create_project('acme', 'p');
         SELECT tenancy.issue_api_key('acme/ann', 'k');
         SELECT tenancy.set_budget('acme', NULL, 10)",
    );
    let before = leaving::rows(&db);
    let mut admin = db.admin();
    let tenant = admin.text("SELECT id FROM tenancy.tenants WHERE slug = 'acme'");
    owner.run(DELETE).run(PURGE);

    let after = leaving::rows(&db);
    assert_eq!(
        after,
        others(&before),
        "the other tenant keeps all, acme nothing"
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM app.receipts"),
        100,
        "of the other"
    );
    assert_eq!(
        admin.number(&format!(
            "SELECT count(*) FROM tenancy.scopes WHERE '{tenant}' = ANY (path)"
        )),
        0
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.api_key_secrets"),
        0
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy_internal.budget_definitions"),
        0
    );

    let certificate = certificate(&mut admin);
    for table in TABLES.iter().filter(|table| **table != "drafts") {
        let expected: i64 = (before.iter())
            .filter_map(|row| row.strip_prefix(&format!("{table} acme ")))
            .map(|rows| rows.parse::<i64>().unwrap())
            .sum();
        // A child's rows are its parent's.
        let expected = if *table == "customers" {
            2 * expected
        } else {
            expected
        };
        assert_eq!(
            certificate["rows"][format!("app.{table}")],
            expected,
            "{table}: {certificate}"
        );
    }
    assert_eq!(certificate["rows"]["tenancy.scopes"], 4);
    assert_eq!(certificate["tenant"], tenant.as_str());
    assert_eq!(certificate["reason"], "contract ended");
    let valid = "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.purge.done' AND tenant_id IS NOT NULL AND partner_id IS NOT NULL
                   AND details ->> 'sha256' = encode(sha256(convert_to((details - 'sha256')::text, 'UTF8')), 'hex')";
    assert_eq!(admin.number(valid), 1);
    assert_eq!(
        admin.texts(
            "SELECT DISTINCT state || ' ' || sum(rows_left) FROM tenancy.purges GROUP BY state"
        ),
        ["done 0"]
    );
    admin.run("SELECT tenancy.seal_audit_log()");
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.verify_audit_log()"),
        0
    );
    // The names are free again.
    owner.run("SELECT tenancy.create_tenant('acme', 'Acme', external_id => '7')");
    owner
        .fails(PURGE)
        .code("55000")
        .says("is active, not deleted");
}

/// A hold is released by who could have set it: where who did set it holds the permission, also with a hold that was there before.
#[test]
fn a_hold_from_above_is_not_the_tenants_to_release() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_role('platform', 'counsel', '{legal:hold}'), tenancy.create_user('acme', 'cora', 'service'), tenancy.create_user('globex', 'cleo', 'service');
         SELECT tenancy.assign('acme/cora', 'counsel', 'acme'), tenancy.assign('globex/cleo', 'counsel', 'globex')",
    );
    let key = |who: &str| {
        world
            .db
            .owner()
            .text(&format!("SELECT tenancy.issue_api_key('{who}', 'k')"))
    };
    let (cora, cleo) = (key("acme/cora"), key("globex/cleo"));
    let (set, release) = (
        "SELECT tenancy.set_legal_hold('acme', 'case')",
        "SELECT tenancy.release_legal_hold('acme', 'over')",
    );
    let begin = |key: &str| {
        let mut app = world.db.app();
        app.begin(key);
        app
    };
    begin(&cora).run(set).run(release).run("COMMIT");
    owner.run(set);
    for key in [&cora, &cleo] {
        for call in [set, release] {
            begin(key).fails_inside(call).code("42501");
        }
    }
    owner.run(release);
    begin(&cleo).run(set).run("COMMIT");
    begin(&cora).fails_inside(release).code("42501");
    // Who sets it again from above decides from then on.
    owner.run(set);
    begin(&cleo).fails_inside(release).code("42501");
    owner.run(release);
    begin(&cora).run(set).run("COMMIT");
    begin(&cleo).run(release).run("COMMIT");
}

#[test]
fn batches_that_would_not_see_a_hold_are_refused() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    owner.run(DELETE);
    for level in ["repeatable read", "serializable"] {
        owner.run(&format!("SET default_transaction_isolation = '{level}'"));
        owner.fails(PURGE).code("22023").says("READ COMMITTED");
    }
    owner.run("RESET default_transaction_isolation").run(PURGE);
}

#[test]
fn only_a_deleted_tenant_without_a_hold_is_purged() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    let before = leaving::rows(&db);
    for status in ["active", "suspended", "archived", "provisioning"] {
        owner.run(&format!("SELECT tenancy.set_status('acme', '{status}')"));
        owner
            .fails(PURGE)
            .code("55000")
            .says(&format!("is {status}, not deleted"));
    }
    owner.run(DELETE);
    owner.run("SELECT tenancy.set_legal_hold('acme', 'case 12')");
    owner
        .fails(PURGE)
        .code("55000")
        .says("legal hold")
        .details("case 12");
    owner.run("SELECT tenancy.release_legal_hold('acme', 'case closed')");
    owner
        .fails("SELECT tenancy.release_legal_hold('acme', 'again')")
        .code("42704");
    // Above it, and below it.
    owner.run("SELECT tenancy.set_legal_hold('internal', 'all of them')");
    owner
        .fails(PURGE)
        .code("55000")
        .says("legal hold on \"internal\"");
    owner.run("SELECT tenancy.release_legal_hold('internal', 'x'), tenancy.create_user('acme', 'ann'); SELECT tenancy.set_legal_hold('acme/ann', 'witness')");
    owner
        .fails(PURGE)
        .code("55000")
        .says("legal hold on \"ann\"");
    owner.run("SELECT tenancy.release_legal_hold('acme/ann', 'x')");
    for bad in [
        "CALL tenancy.purge_tenant(NULL, 'x')",
        "CALL tenancy.purge_tenant('acme', NULL)",
        "CALL tenancy.purge_tenant('acme', '')",
        "CALL tenancy.purge_tenant('acme', 'x', batch_rows => 0)",
        "CALL tenancy.purge_tenant('acme', 'x', batch_rows => NULL)",
        "CALL tenancy.purge_tenant('acme', 'x', batch_rows => 2000000)",
        "CALL tenancy.purge_tenant('internal', 'x')",
        "CALL tenancy.purge_tenant('platform', 'x')",
        "CALL tenancy.purge_tenant('acme/ann', 'x')",
    ] {
        owner.fails(bad).code("22023");
    }
    owner
        .fails("CALL tenancy.purge_tenant('nobody', 'x')")
        .code("42704");
    owner
        .fails("CALL tenancy.purge_tenant('00000000-0000-7000-8000-0000000000ff', 'x')")
        .code("42704");
    owner.fails(&format!("BEGIN; {PURGE}")).code("25001");
    owner.run("ROLLBACK");
    let tenant = owner.text("SELECT id FROM tenancy.tenants WHERE slug = 'acme'");
    for mut other in [db.app(), db.stranger()] {
        other
            .fails(&format!("CALL tenancy.purge_tenant('{tenant}', 'x')"))
            .code("42501");
    }
    owner.run("CALL tenancy.purge_tenant('acme', 'x', dry_run => true)");
    assert_eq!(leaving::rows(&db), before);
    assert_eq!(db.admin().number("SELECT count(*) FROM tenancy.purges"), 0);
}

/// A principal needs the permission above the tenant; the rights on the tables are those of its database role.
#[test]
fn a_users_permission_must_reach_above_the_tenant() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    owner.run(
        "SELECT tenancy.create_user('internal', 'ops'); SELECT tenancy.assign('internal/ops', 'partner_admin', 'internal');
         SELECT tenancy.create_user('internal', 'clerk'); SELECT tenancy.assign('internal/clerk', 'tenant_admin', 'acme')",
    );
    db.admin()
        .run(&format!("GRANT tenancy_gateway TO {}", db.owner));
    owner.run(DELETE);
    let mut session = db.owner();
    let as_user = |user: &str| format!("SELECT tenancy.assume('internal/{user}', true)");
    session.run(&as_user("clerk"));
    let code = session.fails(PURGE).code;
    assert!(["42501", "42704"].contains(&code.as_str()), "{code}");
    session.run("SELECT tenancy.release()").run(&as_user("ops"));
    // Its context is for the first transaction; those of the purge are in maintenance.
    session.run(PURGE);
    let mut admin = db.admin();
    assert_eq!(admin.number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.purge.begun' AND user_id IS NOT NULL"), 1);
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.scopes WHERE slug = 'acme'"),
        0
    );
}

#[test]
fn a_purge_that_has_begun_keeps_the_tenant_deleted() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    owner.run("CREATE FUNCTION app.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;");
    db.admin().run("CREATE TRIGGER refuse BEFORE DELETE ON app.customers FOR EACH ROW EXECUTE FUNCTION app.refuse()");
    owner.run(DELETE);
    owner.fails(PURGE).says("not this one");
    let mut admin = db.admin();
    assert_eq!(
        admin.texts("SELECT DISTINCT state || ': ' || error FROM tenancy.purges"),
        ["failed: not this one"]
    );
    owner
        .fails("SELECT tenancy.set_status('acme', 'active')")
        .code("55000")
        .says("is being purged");
    owner.run("SELECT tenancy.update_scope('acme', external_id => '9')");
    owner.fails(PURGE).code("55000").says("external id");
    owner.run("SELECT tenancy.update_scope('acme', external_id => '7')");
    admin.run("DROP TRIGGER refuse ON app.customers");
    owner.run(PURGE);
    assert_eq!(
        admin.texts("SELECT DISTINCT state FROM tenancy.purges"),
        ["done"]
    );
}

#[test]
fn a_trigger_that_keeps_rows_is_found_out() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    db.admin().run(
        "CREATE FUNCTION app.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER keep BEFORE DELETE ON app.settings FOR EACH ROW EXECUTE FUNCTION app.keep()",
    );
    owner.run(DELETE);
    owner
        .fails(PURGE)
        .code("55000")
        .says("rows of app.settings stay");
    assert_eq!(
        db.admin()
            .number("SELECT count(*) FROM tenancy.tenants WHERE slug = 'acme'"),
        1
    );
}

#[test]
fn what_would_touch_rows_of_others_is_refused_before_anything_is_deleted() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    // Another tenant's payment of an order of acme's.
    db.admin().run(
        "UPDATE app.payments SET (order_tenant, order_id) = (SELECT tenant_id, id FROM app.orders WHERE tenant_id = (SELECT id FROM tenancy.tenants WHERE slug = 'acme') LIMIT 1)
          WHERE tenant_id = (SELECT id FROM tenancy.tenants WHERE slug = 'umbrella')",
    );
    owner.run(DELETE);
    let before = leaving::rows(&db);
    owner
        .fails(PURGE)
        .code("55000")
        .says("cannot be purged")
        .details("payments_order_tenant_order_id_fkey");
    assert_eq!(leaving::rows(&db), before);
    db.admin().run("DELETE FROM app.payments");
    // A table that is not protected.
    owner.run(
        "CREATE TABLE app.ledger (order_tenant uuid, order_id bigint, CONSTRAINT paid FOREIGN KEY (order_tenant, order_id) REFERENCES app.orders)",
    );
    db.admin()
        .run("INSERT INTO app.ledger SELECT tenant_id, id FROM app.orders");
    owner
        .fails(PURGE)
        .code("55000")
        .details("paid")
        .details("not protected");
    db.admin().run("DELETE FROM app.ledger");
    owner.run(PURGE);
}

/// The owner's code runs with the owner's rights, also when a superuser calls.
#[test]
fn a_superuser_lends_no_power_to_the_code_of_a_table() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    owner.run(
        "CREATE TABLE app.loot (who text, done boolean); GRANT ALL ON app.loot TO PUBLIC;
         CREATE FUNCTION app.grab() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO app.loot VALUES (current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user));
             RETURN OLD;
         END $$",
    );
    owner.run("BEGIN; SELECT tenancy.maintenance('trigger'); CREATE TRIGGER grab BEFORE DELETE ON app.settings FOR EACH ROW EXECUTE FUNCTION app.grab(); CREATE CONSTRAINT TRIGGER late AFTER DELETE ON app.settings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.grab(); COMMIT");
    owner.run(DELETE);
    let mut admin = db.admin();
    admin.run(PURGE);
    assert_eq!(
        admin.texts("SELECT DISTINCT who || ' ' || done FROM app.loot"),
        [format!("{} false", db.owner)]
    );
    // One who is not the owner cannot purge.
    let mut owner = db.owner();
    owner.run("SELECT tenancy.set_status('umbrella', 'deleted')");
    admin.run(&format!("GRANT tenancy_admin TO {}", db.stranger));
    db.stranger()
        .fails("CALL tenancy.purge_tenant('umbrella', 'x')")
        .code("55000")
        .details("app.settings: the caller is neither its owner");
}

#[test]
fn unprotected_tables_with_the_tenant_are_named() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    owner.run("CREATE TABLE app.users (id uuid PRIMARY KEY, body text); CREATE TABLE app.tenants (id uuid PRIMARY KEY); INSERT INTO app.tenants SELECT id FROM tenancy.tenants; INSERT INTO app.users SELECT id FROM app.tenants; SELECT tenancy.protect('app.tenants', 'id')");
    owner.run("CREATE TABLE app.cache (tenant_id uuid, body text); INSERT INTO app.cache SELECT id, 'x' FROM tenancy.tenants WHERE slug = 'acme'");
    owner.run(DELETE);
    assert_eq!(
        owner.warnings(PURGE),
        ["tenancy: app.cache is not protected, and has rows of the tenant"]
    );
    assert_eq!(
        certificate(&mut db.admin())["unprotected"],
        serde_json::json!(["app.cache"])
    );
}

#[test]
fn rows_that_policies_of_the_application_hide_leave_too() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 5);
    owner.run("BEGIN; SELECT tenancy.maintenance('policy'); CREATE POLICY visible ON app.settings AS RESTRICTIVE USING (key <> 'k1'); COMMIT");
    owner.run(DELETE).run(PURGE);
    let mut admin = db.admin();
    assert_eq!(
        admin.number("SELECT count(*) FROM app.settings WHERE org = '7'"),
        0
    );
    assert_eq!(certificate(&mut admin)["rows"]["app.settings"], 5);
}
