//! Which limit holds for a counter: imposed values, the tenant's own, plans, projects, users, external ids.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "CREATE TABLE app.files (id int, tenant_id uuid NOT NULL); SELECT tenancy.protect('app.files');
         SELECT tenancy.define_limit('files', 'amount'); SELECT tenancy.set_limit('globex', 'files', 3, 'tenant');
         SELECT tenancy.set_quota('app.files', 'files'); SELECT tenancy.create_user('acme', 'tad', role => 'tenant_admin')",
    );
    world
}

#[test]
fn a_tenants_admin_lowers_its_limit_and_never_raises_it() {
    let world = world();
    let mut owner = world.db.owner();
    let key = owner.text("SELECT tenancy.issue_api_key('acme/tad', 'k')");
    let mut tad = world.db.app();
    tad.begin(&key)
        .run("INSERT INTO app.files SELECT n FROM generate_series(1, 3) n");
    for attempt in [
        "'acme', 'files', 100",
        "'acme', 'files', NULL",
        "'acme/tad', 'files', 100",
    ] {
        tad.run(&format!("SELECT tenancy.set_limit({attempt})"));
        tad.fails_inside("INSERT INTO app.files VALUES (4)")
            .code("53400")
            .details("3 of 3");
    }
    // The admin's own value applies in its transaction; a counter above it goes down and not up.
    tad.run("SELECT tenancy.set_limit('acme', 'files', 1)");
    tad.fails_inside("INSERT INTO app.files VALUES (4)")
        .details("3 of 1");
    tad.run("DELETE FROM app.files WHERE id = 3; UPDATE app.files SET id = id + 1; COMMIT");
    assert_eq!(
        owner.text("SELECT concat_ws(' ', used, allowed, share) FROM tenancy.quota_usage"),
        "2 1 2.0000"
    );
    let mut alice = world.begin("alice");
    alice
        .fails("INSERT INTO app.files VALUES (4)")
        .details("2 of 1");
    // In a plan, and at once in every session.
    owner.run("SELECT tenancy.remove_limit('globex', 'files', level => 'tenant')");
    let mut alice = world.begin("alice");
    alice
        .fails("INSERT INTO app.files VALUES (4)")
        .details("2 of 1");
    tad.begin(&key)
        .run("SELECT tenancy.remove_limit('acme', 'files'); COMMIT");
    let mut alice = world.begin("alice");
    alice.run("INSERT INTO app.files SELECT n FROM generate_series(1, 20) n; COMMIT");
    assert_eq!(owner.text("SELECT concat_ws(' ', used, coalesce(allowed::text, 'any'), share) FROM tenancy.quota_usage"), "22 any");
    owner.run("SELECT tenancy.define_plan('small', '{\"limits\": {\"files\": 22}}'), tenancy.set_plan('acme', 'small')");
    let mut alice = world.begin("alice");
    alice
        .fails("INSERT INTO app.files VALUES (4)")
        .details("22 of 22");
}

#[test]
fn projects_users_and_external_ids_have_counters_of_their_own() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_project('acme', 'red', external_id => 'R'), tenancy.create_project('acme', 'blue', external_id => 'B');
         CREATE TABLE app.notes (id int, account bigint NOT NULL, project text, owner_id uuid);
         SELECT tenancy.protect('app.notes', 'account', project_column => 'project', owner_column => 'owner_id');
         SELECT tenancy.define_limit('notes', 'amount'), tenancy.define_limit('own', 'amount'), tenancy.define_limit('total', 'amount');
         SELECT tenancy.set_limit('acme', 'notes', 2, 'project'), tenancy.set_limit('acme/red', 'notes', 3), tenancy.set_limit('acme', 'own', 4, 'user'),
                tenancy.set_limit('acme', 'total', 100);
         SELECT tenancy.set_quota('app.notes', 'notes', per => 'project'), tenancy.set_quota('app.notes', 'own', per => 'user'), tenancy.set_quota('app.notes', 'total')",
    );
    let mut alice = world.begin("alice");
    let row = |project: &str| {
        format!(
            "INSERT INTO app.notes VALUES (1, 42, {project}, '{}')",
            world.id("alice")
        )
    };
    for project in ["'R'", "'R'", "'R'"] {
        alice.run(&row(project));
    }
    alice
        .fails_inside(&row("'R'"))
        .says("the project's quota \"notes\"")
        .details("3 of 3");
    // A row without a project counts in none.
    alice.run(&row("NULL"));
    alice
        .fails_inside(&row("'B'"))
        .says("the user's quota \"own\"")
        .details("4 of 4");
    alice.run("COMMIT");
    assert_eq!(
        owner.texts("SELECT concat_ws(' ', name, scope_level, scope, used, allowed) FROM tenancy.quota_usage ORDER BY 1"),
        ["notes project red 3 3", "own user alice 4 4", "total tenant acme 4 100"]
    );
    // She sees what is counted for her; the admin of another tenant nothing of it.
    let mut alice = world.begin("alice");
    assert_eq!(alice.texts("SELECT name FROM tenancy.quota_usage"), ["own"]);
    let mut boss = world.begin("boss");
    assert_eq!(boss.number("SELECT count(*) FROM tenancy.quota_usage"), 0);
    let mut ops = world.begin("ops");
    assert_eq!(ops.number("SELECT count(*) FROM tenancy.quota_usage"), 3);
}

#[test]
fn a_purged_tenant_leaves_no_counter() {
    let world = world();
    world
        .begin("alice")
        .run("INSERT INTO app.files VALUES (1), (2); COMMIT");
    let mut owner = world.db.owner();
    owner
        .run("SELECT tenancy.set_status('acme', 'deleted')")
        .run("CALL tenancy.purge_tenant('acme', 'contract ended')");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy_internal.quota_counters"),
        0
    );
}
