//! Rows of a partner in a table with shared rows: read by its tenants, written with the permission at the partner.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

#[test]
fn a_partners_rows_are_written_with_the_permission_at_the_partner() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.update_scope('globex', external_id => '901'), tenancy.update_scope('hooli', external_id => '902');
         SELECT tenancy.create_partner('lonely', external_id => '903');
         SELECT tenancy.create_user('lonely', 'only', 'service', role => 'partner_admin')",
    );
    let lonely = owner.text("SELECT tenancy.issue_api_key('lonely/only', 'k')");
    for kind in ["uuid", "bigint", "text", "smallint", "numeric(9,0)"] {
        let key = |slug: &str| match kind {
            "uuid" => format!("'{}'::uuid", world.id(slug)),
            _ => format!("(SELECT external_id::{kind} FROM tenancy.scopes WHERE slug = '{slug}')"),
        };
        let literal = |slug: &str| {
            world
                .db
                .admin()
                .text(&format!("SELECT {}::text", key(slug)))
        };
        let [globex, hooli, acme, soylent] = ["globex", "hooli", "acme", "soylent"].map(literal);
        owner.run(&format!(
            "DROP TABLE IF EXISTS app.plans;
             CREATE TABLE app.plans (scope {kind} NOT NULL, name text);
             SELECT tenancy.protect('app.plans', 'scope', shared => true)"
        ));
        world.db.admin().run(&format!(
            "INSERT INTO app.plans VALUES ('{globex}', 'g'), ('{hooli}', 'h'), ('{acme}', 'a'), ('{soylent}', 's')"
        ));
        let names = "SELECT string_agg(name, '' ORDER BY name) FROM app.plans";
        let insert = |scope: &str| format!("INSERT INTO app.plans VALUES ('{scope}', 'new')");

        let mut ops = world.begin("ops");
        assert_eq!(ops.text(names), "ag", "{kind}");
        ops.run(&insert(&globex));
        for other in [&hooli, &soylent, &acme] {
            ops.fails_inside(&insert(other)).code("42501");
        }
        assert_eq!(
            ops.touched(&format!(
                "UPDATE app.plans SET name = 'G' WHERE scope = '{globex}' AND name = 'g'"
            )),
            1
        );
        assert_eq!(
            ops.touched("UPDATE app.plans SET name = name || '!'"),
            2,
            "{kind}: its own rows alone"
        );
        ops.fails_inside(&format!("UPDATE app.plans SET scope = '{hooli}'"))
            .code("42501");
        assert_eq!(ops.touched("DELETE FROM app.plans WHERE name = 'new!'"), 1);
        // In one of its tenants it is that tenant's.
        ops.run("SELECT tenancy.select_tenant('acme')");
        ops.fails_inside(&insert(&globex)).code("42501");
        assert_eq!(
            ops.touched("DELETE FROM app.plans"),
            1,
            "{kind}: the tenant's row"
        );
        ops.run("ROLLBACK");

        let mut alice = world.begin("alice");
        assert_eq!(alice.text(names), "ag", "{kind}");
        alice.fails_inside(&insert(&globex)).code("42501");
        assert_eq!(alice.touched("DELETE FROM app.plans"), 1, "{kind}");
        alice.run("ROLLBACK");

        // A partner without tenants, too.
        let mut only = world.db.app();
        only.begin(&lonely).run(
            "INSERT INTO app.plans VALUES ('903'::text::text, 'own')"
                .replace(
                    "'903'::text::text",
                    &match kind {
                        "uuid" => format!(
                            "'{}'",
                            world
                                .db
                                .admin()
                                .text("SELECT id FROM tenancy.scopes WHERE slug = 'lonely'")
                        ),
                        _ => "'903'".to_owned(),
                    },
                )
                .as_str(),
        );
        only.fails_inside(&insert(&globex)).code("42501");
        only.run("ROLLBACK");
    }
}

/// A partner and a tenant may have one external id, until a table has rows of partners with such keys.
#[test]
fn a_partner_and_another_partners_tenant_may_have_one_external_id() {
    let world = World::bare();
    let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
    // Soylent is hooli's, and 44 too.
    owner.run("SELECT tenancy.update_scope('globex', external_id => '44')");
    owner
        .fails("SELECT tenancy.update_scope('hooli', external_id => '44')")
        .code("42710");
    owner
        .fails("SELECT tenancy.update_scope('acme', external_id => '44')")
        .code("42710");
    let rows = "SELECT string_agg(name, '' ORDER BY name) FROM app.";
    for kind in ["bigint", "text"] {
        let table = format!("plain_{kind}");
        owner.run(&format!(
            "CREATE TABLE app.{table} (scope {kind} NOT NULL, name text); SELECT tenancy.protect('app.{table}', 'scope')"
        ));
        admin.run(&format!(
            "INSERT INTO app.{table} VALUES (42, 'a'), (43, 'u'), (44, 's')"
        ));
        for (user, names) in [("ops", "au"), ("alice", "a"), ("eve", "s"), ("boss", "s")] {
            assert_eq!(
                world.begin(user).text(&format!("{rows}{table}")),
                names,
                "{user}"
            );
        }
        assert_eq!(
            owner.number(&format!(
                "SELECT count(*) FROM tenancy.unknown_keys('app.{table}')"
            )),
            0
        );
        owner.run(&format!(
            "CREATE TABLE app.shared_{kind} (scope {kind} NOT NULL, name text)"
        ));
        owner
            .fails(&format!(
                "SELECT tenancy.protect('app.shared_{kind}', 'scope', shared => true)"
            ))
            .code("55000")
            .says("external id \"44\" is that of two scopes")
            .hints("update_scope()");
    }
    // Ids are those of one scope.
    owner.run("CREATE TABLE app.by_id (scope uuid NOT NULL, name text); SELECT tenancy.protect('app.by_id', 'scope', shared => true)");
    owner.run("SELECT tenancy.update_scope('hooli', external_id => '42'), tenancy.update_scope('hooli', external_id => '')");

    owner.run("SELECT tenancy.update_scope('globex', external_id => '901'); SELECT tenancy.protect('app.shared_bigint', 'scope', shared => true)");
    admin.run("INSERT INTO app.shared_bigint VALUES (901, 'g'), (902, 'h'), (44, 's')");
    let shared = format!("{rows}shared_bigint");
    assert_eq!(world.begin("ops").text(&shared), "g");
    for statement in [
        "SELECT tenancy.update_scope('globex', external_id => '44')",
        "SELECT tenancy.update_scope('soylent', external_id => '901')",
        "SELECT tenancy.create_tenant('new', partner => 'hooli', external_id => '901')",
        "SELECT tenancy.create_partner('new', external_id => '44')",
    ] {
        owner.fails(statement).code("42710").says("is taken");
    }
    owner.run("SELECT tenancy.update_scope('hooli', external_id => '902')");
    assert_eq!(world.begin("boss").text(&shared), "hs");

    // One whose external id is no key has no rows by it, also if a tenant has the same.
    admin.run("UPDATE tenancy.scopes SET keys_rows = false WHERE slug = 'globex'; UPDATE tenancy.scopes SET external_id = '901' WHERE slug = 'soylent'");
    assert_eq!(world.begin("ops").text(&shared), "NULL");
    let mut ops = world.begin("ops");
    ops.fails_inside("INSERT INTO app.shared_bigint VALUES (901, 'new')")
        .code("42501");
    assert_eq!(world.begin("alice").text(&shared), "NULL");
    assert_eq!(world.begin("eve").text(&shared), "gh");
}

/// A partner's external id and a table in which it keys rows see each other, whichever is first.
#[test]
fn a_partner_does_not_get_a_tenants_key_while_a_table_is_protected() {
    let protect = "SELECT tenancy.protect('app.rows', 'scope', shared => true)";
    for (set, undo) in [
        (
            "SELECT tenancy.create_partner('new', external_id => '44')",
            "",
        ),
        (
            "SELECT tenancy.update_scope('globex', external_id => '44')",
            "SELECT tenancy.update_scope('globex', external_id => '')",
        ),
    ] {
        for level in ["READ COMMITTED", "REPEATABLE READ"] {
            let world = World::bare();
            let mut owner = world.db.owner();
            owner.run("CREATE TABLE app.rows (scope bigint NOT NULL, name text)");
            // The id first: protect() waits for it.
            let (mut first, mut second) = (world.db.owner(), world.db.owner());
            first.run(&format!("BEGIN; {set}"));
            second.run(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM app.rows"
            ));
            let failure = world.db.behind(&mut first, second, protect).unwrap_err();
            failure.code("55000").says("\"44\"");
            if undo.is_empty() {
                world
                    .db
                    .admin()
                    .run("DELETE FROM tenancy.scopes WHERE slug = 'new'");
            } else {
                owner.run(undo);
            }
            // The table first.
            let (mut first, mut second) = (world.db.owner(), world.db.owner());
            first.run(&format!("BEGIN; {protect}"));
            second.run(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM tenancy.partners"
            ));
            let failure = world.db.behind(&mut first, second, set).unwrap_err();
            failure.code(if level == "READ COMMITTED" {
                "42710"
            } else {
                "40001"
            });
            // Ids that no tenant has become keys, whichever is first.
            owner.run("CREATE TABLE app.others (scope bigint NOT NULL)");
            let (mut first, second) = (world.db.owner(), world.db.owner());
            first.run("BEGIN; SELECT tenancy.create_partner('newer', external_id => '911')");
            world
                .db
                .behind(
                    &mut first,
                    second,
                    "SELECT tenancy.protect('app.others', 'scope', shared => true)",
                )
                .unwrap();
            assert_eq!(
                world.db.admin().number(
                    "SELECT count(*) FROM tenancy.scopes WHERE external_id = '911' AND keys_rows"
                ),
                1
            );
        }
    }
}

/// A partner changes while others add users below it, and while a table is being protected.
#[test]
fn who_changes_a_partner_waits_for_no_one_who_adds_scopes_below() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.rows (scope bigint NOT NULL); SET lock_timeout = '2s'");
    let mut adding = world.db.owner();
    adding.run("BEGIN; SELECT tenancy.create_user('globex', 'new'), tenancy.create_tenant('newest', partner => 'globex', external_id => '77')");
    owner.run("SELECT tenancy.update_scope('globex', external_id => '901')");
    owner.run("SELECT tenancy.protect('app.rows', 'scope', shared => true)");
    owner.run("SELECT tenancy.update_scope('globex', name => 'Globex')");
    adding.run("COMMIT");
}
