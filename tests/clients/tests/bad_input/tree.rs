//! The tree's functions with bad input: the SQLSTATE and no partial effect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;
use tenancy_client_tests::bad_input::each;

const NOBODY: &str = "0190aaaa-0000-7000-8000-00000000dead";

#[test]
fn the_tree() {
    let world = World::bare();
    let mut owner = world.db.owner();
    let long = "a".repeat(64);
    let mut cases: Vec<(String, &str)> = Vec::new();
    let slugs = [
        "NULL",
        "''",
        "'Acme'",
        "'a b'",
        "'a/b'",
        "'-a'",
        "'a-'",
        "'a--b'",
        "'ä'",
        &format!("'{long}'"),
        "'0190aaaa-0000-7000-8000-00000000dead'",
    ];
    for slug in slugs {
        for call in [
            "create_partner(S)",
            "create_tenant(S)",
            "create_project('acme', S)",
            "create_user('acme', S)",
        ] {
            cases.push((
                format!("SELECT tenancy.{}", call.replace('S', slug)),
                "22023",
            ));
        }
    }
    for call in [
        "create_partner('new'",
        "create_tenant('new'",
        "create_project('acme', 'new'",
        "create_user('acme', 'new'",
    ] {
        for (argument, code) in [
            ("status => 'asleep'", "22023"),
            ("status => NULL", "22023"),
            ("settings => '[]'", "22023"),
            ("settings => NULL", "22023"),
            ("settings => '1'", "22023"),
            ("settings => '{'", "22P02"),
            ("external_id => ''", "22023"),
            ("name => ''", "22023"),
        ] {
            cases.push((format!("SELECT tenancy.{call}, {argument})"), code));
        }
        cases.push((
            format!("SELECT tenancy.{call}, external_id => repeat('x', 300))"),
            "22023",
        ));
        cases.push((
            format!("SELECT tenancy.{call}, name => repeat('x', 300))"),
            "22023",
        ));
    }
    for (sql, code) in [
        ("create_partner('globex')", "42710"),
        ("create_tenant('acme', partner => 'globex')", "42710"),
        ("create_tenant('new', external_id => '42')", "42710"),
        ("create_user('acme', 'alice')", "42710"),
        ("create_tenant('new', partner => NULL)", "22023"),
        ("create_tenant('new', partner => 'nobody')", "42704"),
        ("create_tenant('new', partner => 'NOBODY')", "42704"),
        ("create_tenant('new', partner => 'acme')", "23514"),
        ("create_tenant('new', partner => 'platform')", "23514"),
        ("create_project('globex', 'new')", "23514"),
        ("create_project('alice', 'new')", "23514"),
        ("create_project(NULL, 'new')", "22023"),
        ("create_user('acme/alice', 'new')", "23514"),
        ("create_user(NULL, 'new')", "22023"),
        ("create_user('nobody', 'new')", "42704"),
        ("create_user('acme', 'new', 'robot')", "22023"),
        ("create_user('acme', 'new', NULL)", "22023"),
        ("set_status('acme', 'asleep')", "22023"),
        ("set_status('acme', NULL)", "22023"),
        ("set_status(NULL, 'active')", "22023"),
        ("set_status('nobody', 'active')", "42704"),
        ("effective_status(NULL)", "22023"),
        ("effective_status('NOBODY')", "42704"),
        ("update_scope(NULL, name => 'x')", "22023"),
        ("update_scope('nobody', name => 'x')", "42704"),
        ("update_scope('acme', slug => 'Bad')", "22023"),
        ("update_scope('acme', slug => 'umbrella')", "42710"),
        ("update_scope('acme', external_id => '43')", "42710"),
        ("update_scope('acme', name => '')", "22023"),
        ("update_scope('acme', settings => '[]')", "22023"),
        ("move_tenant('acme', 'umbrella')", "23514"),
        ("move_tenant('acme', 'acme')", "23514"),
        ("move_tenant('acme', 'platform')", "23514"),
        ("move_tenant('acme/alice', 'hooli')", "23514"),
        ("move_tenant('globex', 'hooli')", "23514"),
        ("move_tenant(NULL, 'hooli')", "22023"),
        ("move_tenant('acme', NULL)", "22023"),
        ("move_tenant('nobody', 'hooli')", "42704"),
        ("move_tenant('acme', 'nobody')", "42704"),
    ] {
        cases.push((
            format!("SELECT tenancy.{}", sql.replace("NOBODY", NOBODY)),
            code,
        ));
    }
    for text in [
        "",
        "/",
        "acme/",
        "/acme",
        "a//b",
        "a/b/c/d/e/f",
        "ACME",
        " acme",
        "acme/nobody",
        "0190aaaa",
        "*",
        "%",
        "{}",
    ] {
        cases.push((format!("SELECT '{text}'::tenancy.regscope"), "42704"));
    }
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|(sql, code)| (sql.as_str(), *code))
        .collect();
    each(&mut owner, &world, &cases);
}

#[test]
fn moves_and_slugs_that_meet_another() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_tenant('acme', partner => 'hooli')");
    owner
        .fails("SELECT tenancy.move_tenant('globex/acme', 'hooli')")
        .code("42710")
        .hints("update_scope");
    owner
        .fails("SELECT tenancy.set_status('acme', 'active')")
        .code("22023")
        .says("ambiguous")
        .hints("partner/tenant");
}

#[test]
fn the_tree_by_hand_as_the_superuser() {
    let world = World::bare();
    let mut admin = world.db.admin();
    let (acme, globex, alice) = (world.id("acme"), world.id("globex"), world.id("alice"));
    each(
        &mut admin,
        &world,
        &[
            (
                &format!("UPDATE tenancy.scopes SET parent_id = '{alice}' WHERE id = '{acme}'"),
                "23514",
            ),
            (
                &format!("UPDATE tenancy.scopes SET parent_id = '{acme}' WHERE id = '{globex}'"),
                "23514",
            ),
            (
                &format!("UPDATE tenancy.scopes SET level = 'partner' WHERE id = '{acme}'"),
                "23514",
            ),
            (
                &format!("UPDATE tenancy.scopes SET path = path[1:1] || id WHERE id = '{acme}'"),
                "23514",
            ),
            (
                "INSERT INTO tenancy.scopes (id, level, path, slug, name) VALUES (gen_random_uuid(), 'platform', '{}', 'p', 'p')",
                "23514",
            ),
            (
                &format!("DELETE FROM tenancy.scopes WHERE id = '{acme}'"),
                "23503",
            ),
        ],
    );
}
