//! Attempts to gain rights by roles and keys, and to see others' rows in tenancy's own views.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::Duration;

use tenancy_client_tests::World;

const HELD: &str = "SELECT tenancy.context() ->> 'permissions'";

#[test]
fn a_partner_leaves_no_role_in_a_tenant_that_moved_away() {
    let world = World::new();
    let alice = world.id("alice");
    let mut ops = world.db.app();
    ops.login_session(world.key("ops"));
    ops.run("SELECT tenancy.define_role('globex', 'helper', '{data:read}')");
    ops.run(&format!(
        "SELECT tenancy.assign('{alice}', 'helper', 'acme'); SELECT tenancy.unassign('{alice}', 'member', 'acme')"
    ));
    assert_eq!(world.begin("alice").text(HELD), r#"["data:read"]"#);
    world
        .db
        .owner()
        .run("SELECT tenancy.move_tenant('acme', 'hooli')");
    // Its role, that it can still make more of.
    ops.run("SELECT tenancy.define_role('globex', 'helper', '{data:read,data:write,users:*}')");
    assert_eq!(world.begin("alice").text(HELD), "[]");
    let mut owner = world.db.owner();
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.assignments WHERE role = 'helper'"),
        0
    );
}

#[test]
fn a_role_is_taken_back_though_another_of_its_name_is_nearer() {
    let world = World::new();
    let alice = world.id("alice");
    let mut ops = world.db.app();
    ops.login_session(world.key("ops"));
    ops.run("SELECT tenancy.define_role('globex', 'support', '{data:read}')");
    ops.run(&format!(
        "SELECT tenancy.assign('{alice}', 'support', 'acme')"
    ));
    ops.run("SELECT tenancy.define_role('acme', 'support', '{}')");
    ops.run(&format!(
        "SELECT tenancy.unassign('{alice}', 'support', 'acme')"
    ));
    ops.fails(&format!(
        "SELECT tenancy.unassign('{alice}', 'support', 'acme')"
    ))
    .code("42704");
}

/// The role gets more permissions while a caller who does not hold them assigns it.
#[test]
fn the_checked_permissions_are_assigned() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.define_role('globex', 'support', '{data:read}')");
    owner.run("BEGIN; SELECT tenancy.define_role('globex', 'support', '{data:export}')");
    let mut ops = world.db.app();
    ops.login_session(world.key("ops"));
    let assign = format!(
        "SELECT tenancy.assign('{}', 'support', 'acme')",
        world.id("alice")
    );
    let waits = thread::spawn(move || ops.fails(&assign));
    thread::sleep(Duration::from_millis(500));
    owner.run("COMMIT");
    waits.join().unwrap().code("42501").says("data:export");
}

#[test]
fn a_key_that_was_rolled_back_is_no_key() {
    let world = World::new();
    let alice = world.id("alice");
    world.db.owner().run(&format!(
        "SELECT tenancy.assign('{alice}', 'tenant_admin', 'acme')"
    ));
    let mut app = world.begin("alice");
    let key = app.text(&format!("SELECT tenancy.issue_api_key('{alice}', 'ghost')"));
    app.run(&format!("SELECT tenancy.authenticate('{key}')"));
    app.run("ROLLBACK");
    assert!(app.try_login(&key).is_err());
}

/// A condition that runs before the view's own sees rows that the view does not show.
#[test]
fn a_condition_sees_no_more_than_the_view_shows() {
    let world = World::new();
    world.db.owner().run(
        "SELECT tenancy.add_identity_provider('hooli', 'https://hooli.example', '{app}', secret => 'an example secret of enough bytes');
         SELECT tenancy.map_group('https://hooli.example', 'staff', 'member');
         SELECT tenancy.set_allowed_networks('soylent', '{192.0.2.0/24}')",
    );
    let mut alice = world.begin("alice");
    alice.run(
        "CREATE FUNCTION pg_temp.spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
         'BEGIN RAISE EXCEPTION ''seen: %'', $1; END'",
    );
    let shapes = [
        "SET LOCAL enable_nestloop = off",
        "SET LOCAL enable_nestloop = on; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
         SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off",
    ];
    for shape in shapes {
        alice.run(shape);
        for (view, column) in [
            ("identity_providers", "issuer"),
            ("identity_groups", "group_name"),
            ("networks", "networks::text"),
        ] {
            assert_eq!(
                alice.number(&format!(
                    "SELECT count(*) FROM tenancy.{view} WHERE pg_temp.spy({column})"
                )),
                0
            );
        }
    }
}

/// Any SQL user can hold an advisory lock.
#[test]
fn an_advisory_lock_does_not_block_a_move() {
    let world = World::new();
    let mut app = world.db.app();
    app.run("SELECT pg_advisory_lock('tenancy.scopes'::regclass::oid::bigint)");
    world
        .db
        .owner()
        .run("SET lock_timeout = '5s'; SELECT tenancy.move_tenant('acme', 'hooli')");
}
