//! The context's functions with bad input: the SQLSTATE, a hint where one helps, and no partial effect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;
use tenancy_client_tests::bad_input::each;

const NOBODY: &str = "0190aaaa-0000-7000-8000-00000000dead";

#[test]
fn the_context() {
    let world = World::bare();
    let (acme, alice) = (world.id("acme"), world.id("alice"));
    let mut app = world.db.app();
    each(
        &mut app,
        &world,
        &[
            ("SELECT tenancy.authenticate(NULL)", "22023"),
            ("SELECT tenancy.authenticate('')", "42501"),
            ("SELECT tenancy.authenticate(repeat('x', 1000000))", "42501"),
            ("SELECT tenancy.authenticate('tnt1..')", "42501"),
            ("SELECT tenancy.select_tenant(NULL)", "22023"),
            (&format!("SELECT tenancy.select_tenant('{acme}')"), "55000"),
            (&format!("SELECT tenancy.select_project('{acme}')"), "55000"),
            ("SELECT tenancy.select_project(NULL)", "22023"),
            (
                "SELECT tenancy.can('data:read', gen_random_uuid())",
                "55000",
            ),
            ("SELECT tenancy.tenant_id('data:read')", "55000"),
            ("SELECT tenancy.tenant_ids('data:read')", "55000"),
            ("SELECT tenancy.visible_ids('data:read')", "55000"),
            (
                "SELECT tenancy.in_project('data:read', gen_random_uuid(), NULL)",
                "55000",
            ),
            (
                "SELECT tenancy.can_write('data:write', gen_random_uuid())",
                "55000",
            ),
            (
                "SELECT tenancy.has_permission('data:read', gen_random_uuid())",
                "55000",
            ),
            ("SET tenancy.missing_context = 'all'", "22023"),
        ],
    );
    app.login_session(world.key("alice"));
    each(
        &mut app,
        &world,
        &[
            (&format!("SELECT tenancy.select_tenant('{alice}')"), "42704"),
            (
                &format!("SELECT tenancy.select_tenant('{NOBODY}')"),
                "42704",
            ),
            (&format!("SELECT tenancy.select_project('{acme}')"), "42704"),
            (
                &format!("SELECT tenancy.select_project('{NOBODY}')"),
                "42704",
            ),
        ],
    );
    let mut gateway = world.db.gateway();
    each(
        &mut gateway,
        &world,
        &[
            ("SELECT tenancy.assume(NULL)", "22023"),
            (&format!("SELECT tenancy.assume('{NOBODY}')"), "42704"),
            ("SELECT tenancy.assume('acme')", "42704"),
            ("SELECT tenancy.assume('acme/nobody')", "42704"),
            ("SELECT tenancy.issue_ticket(NULL)", "22023"),
            (&format!("SELECT tenancy.issue_ticket('{NOBODY}')"), "42704"),
            ("SELECT tenancy.issue_ticket('acme')", "42704"),
            ("SELECT tenancy.issue_ticket('acme/alice', NULL)", "22023"),
            ("SELECT tenancy.issue_ticket('acme/alice', '0')", "22023"),
            (
                "SELECT tenancy.issue_ticket('acme/alice', '-1 day')",
                "22023",
            ),
            (
                "SELECT tenancy.issue_ticket('acme/alice', '8 days')",
                "22023",
            ),
            (
                "SELECT tenancy.issue_ticket('acme/alice', '290000 years')",
                "22023",
            ),
            (
                "SELECT tenancy.issue_ticket('acme/alice', tenant => 'umbrella')",
                "42704",
            ),
            (
                "SELECT tenancy.issue_ticket('platform/pat', tenant => 'acme')",
                "42704",
            ),
        ],
    );
    let mut owner = world.db.owner();
    each(
        &mut owner,
        &world,
        &[
            ("SELECT tenancy.maintenance(NULL)", "22023"),
            ("SELECT tenancy.maintenance('')", "22023"),
            ("SELECT tenancy.maintenance(E' \\n\\t')", "22023"),
            ("SELECT tenancy.issue_api_key(NULL, 'k')", "22023"),
            ("SELECT tenancy.issue_api_key('acme/alice', NULL)", "22023"),
            ("SELECT tenancy.issue_api_key('acme/alice', '')", "22023"),
            (
                "SELECT tenancy.issue_api_key('acme/alice', 'k', now() - interval '1 second')",
                "22023",
            ),
            (
                "SELECT tenancy.issue_api_key('acme/alice', 'k', '-infinity')",
                "22023",
            ),
            ("SELECT tenancy.issue_api_key('acme', 'k')", "42704"),
            (
                &format!("SELECT tenancy.issue_api_key('{NOBODY}', 'k')"),
                "42704",
            ),
            ("SELECT tenancy.revoke_api_key(NULL)", "22023"),
            (
                &format!("SELECT tenancy.revoke_api_key('{NOBODY}')"),
                "42704",
            ),
            ("SELECT tenancy.rotate_signing_key(NULL)", "22023"),
            ("SELECT tenancy.rotate_signing_key('-1 second')", "22023"),
            ("SELECT tenancy.rotate_signing_key('8 days')", "22023"),
            ("SELECT tenancy.rotate_signing_key('x')", "22007"),
        ],
    );
}

#[test]
fn expiries_without_an_end_and_odd_but_good_input() {
    let world = World::new();
    world
        .db
        .owner()
        .fails("SELECT tenancy.issue_api_key('acme/alice', 'k', 'infinity')")
        .code("22023");
    assert_eq!(
        world
            .begin("alice")
            .text("SELECT tenancy.context() ->> 'expires_at'"),
        "NULL"
    );
    let mut app = world.begin("alice");
    for sql in [
        "tenancy.can(NULL, gen_random_uuid())",
        "tenancy.can('data:read', NULL::uuid)",
        "tenancy.tenant_id(NULL)",
        "tenancy.tenant_id('billing:read')",
    ] {
        assert_eq!(app.text(&format!("SELECT {sql}")), "NULL", "{sql}");
    }
    for permission in [
        "",
        "data",
        "data:",
        ":read",
        "DATA:READ",
        "data:read:x",
        "billing:read",
        "data:read ",
        "ä:ö",
    ] {
        let sql = format!("SELECT tenancy.can('{permission}', tenancy.tenant_id())");
        assert_ne!(app.text(&sql), "t", "{permission:?}");
        assert_eq!(
            app.text(&format!("SELECT tenancy.tenant_ids('{permission}')")),
            "{}",
            "{permission:?}"
        );
    }
}

#[test]
fn a_fleet_where_one_tenant_is_needed() {
    let world = World::new();
    let mut ops = world.begin("ops");
    ops.fails_inside("SELECT tenancy.tenant_id('data:read')")
        .code("55000")
        .hints("select_tenant");
    assert_eq!(ops.text("SELECT tenancy.tenant_id()"), "NULL");
    assert_eq!(
        ops.text("SELECT cardinality(tenancy.tenant_ids('data:read'))"),
        "2"
    );
}

#[test]
fn the_errors_that_need_a_hint_have_one() {
    let world = World::new();
    let (mut app, mut owner) = (world.db.app(), world.db.owner());
    app.fails("SELECT * FROM app.notes").hints("authenticate");
    app.fails("SET tenancy.context = 'x'").hints("authenticate");
    app.try_login("x").unwrap_err().hints("expired or revoked");
    owner.fails("SELECT tenancy.create_tenant('Bad')").hints("");
    for sql in [
        "SELECT tenancy.create_tenant('x', partner => 'nobody')",
        "SELECT tenancy.create_tenant('acme', partner => 'globex')",
        "SELECT tenancy.create_project('globex', 'x')",
        "SELECT tenancy.create_user('acme', 'x', 'robot')",
        "SELECT tenancy.issue_ticket('acme/alice', '8 days')",
        "SELECT tenancy.revoke_api_key(gen_random_uuid())",
        "SELECT tenancy.set_status('acme', 'asleep')",
        "SELECT tenancy.create_tenant('Bad')",
        "SELECT tenancy.maintenance('')",
        "SELECT tenancy.update_scope('acme', slug => 'umbrella')",
        "SELECT tenancy.update_scope('acme', settings => '[]')",
        "SELECT tenancy.create_tenant('x', settings => '[]')",
    ] {
        let failure = owner.fails(sql);
        assert!(
            failure.hint.as_deref().is_some_and(|hint| hint.len() > 10),
            "{sql}: {failure:?}"
        );
    }
}
