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
fn a_plan_and_a_template_give_a_new_tenant_its_amounts() {
    let world = world();
    world.db.owner().run(
        r#"SELECT tenancy.define_plan('small', '{"limits": {"files": 2}}'), tenancy.remove_limit('globex', 'files', level => 'tenant');
           SELECT tenancy.define_template('frugal', '{"limits": {"files": 1}}')"#,
    );
    for (tenant, template, allowed) in [
        ("initech", "NULL", "2 of 2"),
        ("hooli", "'frugal'", "1 of 1"),
    ] {
        let mut ops = world.begin("ops");
        let made = format!(
            "SELECT tenancy.onboard('{tenant}', '{tenant}', 'globex', 'small', {template}) ->> 'api_key'"
        );
        let key = ops.text(&made);
        ops.run("COMMIT");
        let mut admin = world.db.app();
        admin.begin(&key);
        let allowed_rows = &allowed[..1];
        admin.run(&format!(
            "INSERT INTO app.files SELECT n FROM generate_series(1, {allowed_rows}) n"
        ));
        admin
            .fails("INSERT INTO app.files VALUES (9)")
            .code("53400")
            .details(allowed);
    }
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

#[test]
fn what_a_key_names_follows_from_the_columns_type() {
    let world = world();
    let mut owner = world.db.owner();
    // Ids of another system that could be read as uuids, one of them as bob's.
    let bob = world.id("bob").simple().to_string();
    owner.run(&format!(
        "SELECT tenancy.create_project('acme', 'red', external_id => md5('red')), tenancy.create_user('acme', 'zoe', external_id => '{bob}');
         CREATE TABLE app.notes (id int, account bigint NOT NULL, project text, author text);
         SELECT tenancy.protect('app.notes', 'account', project_column => 'project', owner_column => 'author');
         SELECT tenancy.define_limit('notes', 'amount'), tenancy.define_limit('own', 'amount');
         SELECT tenancy.set_limit('acme/red', 'notes', 2), tenancy.set_limit('acme/zoe', 'own', 3);
         SELECT tenancy.set_quota('app.notes', 'notes', per => 'project'), tenancy.set_quota('app.notes', 'own', per => 'user')",
    ));
    let mut admin = world.db.admin();
    let insert = |id: i32, project: &str| {
        format!("INSERT INTO app.notes VALUES ({id}, 42, {project}, '{bob}')")
    };
    admin
        .run(&insert(1, "md5('red')"))
        .run(&insert(2, "md5('red')"));
    admin
        .fails(&insert(3, "md5('red')"))
        .says("the project's quota \"notes\"");
    admin.run(&insert(3, "md5('blue')"));
    admin
        .fails(&insert(4, "md5('blue')"))
        .says("the user's quota \"own\"");
    assert_eq!(
        owner.texts("SELECT concat_ws(' ', name, scope_level, scope, used, allowed) FROM tenancy.quota_usage WHERE name <> 'files' ORDER BY 1"),
        ["notes project red 2 2", "own user zoe 3 3"]
    );
}

#[test]
fn a_counter_shows_only_who_is_of_its_tenant() {
    let mut world = world();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_project('acme', 'red'), tenancy.create_project('umbrella', 'secret');
         CREATE TABLE app.notes (id int, tenant_id uuid NOT NULL, project uuid, author uuid);
         SELECT tenancy.protect('app.notes', project_column => 'project', owner_column => 'author');
         SELECT tenancy.define_limit('notes', 'amount'), tenancy.define_limit('own', 'amount');
         SELECT tenancy.set_limit('umbrella/bob', 'own', 0), tenancy.set_limit('umbrella/secret', 'notes', 0), tenancy.set_limit('globex/ops', 'own', 2);
         SELECT tenancy.set_quota('app.notes', 'notes', per => 'project'), tenancy.set_quota('app.notes', 'own', per => 'user')",
    );
    world.learn();
    let mut admin = world.db.admin();
    let acme = world.id("acme");
    let insert = |project: &str, author: &str| {
        format!(
            "INSERT INTO app.notes VALUES (1, '{acme}', '{}', '{}')",
            world.id(project),
            world.id(author)
        )
    };
    for (project, author) in [
        ("red", "alice"),
        ("red", "ops"),
        ("secret", "bob"),
        ("bob", "secret"),
        ("soylent", "boss"),
        ("alice", "umbrella"),
        ("acme", "red"),
        ("red", "pat"),
        ("red", "ops"),
    ] {
        admin.run(&insert(project, author));
    }
    // A partner's user has a limit in each of its tenants; what is of another tenant limits nothing here.
    admin
        .fails(&insert("red", "ops"))
        .says("the user's quota \"own\"")
        .details("2 of 2");
    const USAGE: &str = "SELECT concat_ws(' ', name, scope_level, scope, used, allowed) FROM tenancy.quota_usage WHERE name <> 'files' ORDER BY 1";
    let own = ["own user alice 1", "own user ops 2 2", "own user pat 1"];
    let all: Vec<&str> = std::iter::once("notes project red 4").chain(own).collect();
    assert_eq!(owner.texts(USAGE), all);
    assert_eq!(world.begin("ops").texts(USAGE), all);
    for user in ["alice", "pat"] {
        let expected = format!("own user {user} 1");
        assert_eq!(world.begin(user).texts(USAGE), [expected]);
    }
    // Who may look at a project sees that; with the reader's own counter, each once.
    owner.run("SELECT tenancy.define_role('acme', 'looker', '{limits:view}'); SELECT tenancy.assign('acme/alice', 'looker', 'acme/red')");
    assert_eq!(
        world.begin("alice").texts(USAGE),
        ["notes project red 4", "own user alice 1"]
    );
    for user in ["bob", "eve", "boss"] {
        assert_eq!(
            world.begin(user).texts(USAGE),
            Vec::<String>::new(),
            "{user}"
        );
    }
}

#[test]
fn a_tenants_reader_does_not_walk_the_counters_of_all() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run("SELECT count(tenancy.create_tenant('t' || n, partner => 'hooli')) FROM generate_series(1, 2000) n");
    let mut admin = world.db.admin();
    admin.run(
        "INSERT INTO tenancy_internal.quota_counters SELECT q.id, s.id::text, '', 1 FROM tenancy_internal.quota_definitions q, tenancy.scopes s WHERE s.level = 'tenant'",
    );
    admin.run("ANALYZE tenancy.scopes; ANALYZE tenancy_internal.quota_counters");
    let key = owner.text("SELECT tenancy.issue_api_key('acme/tad', 'k')");
    let count = "SELECT count(*) FROM tenancy.quota_usage";
    for (key, rows) in [
        (key.as_str(), 1),
        (world.key("alice"), 0),
        (world.key("ops"), 2),
    ] {
        let mut reader = world.db.app();
        reader.begin(key);
        assert_eq!(reader.number(count), rows);
        let plan = reader.texts(&format!("EXPLAIN (ANALYZE, BUFFERS) {count}"));
        let buffers = plan.iter().find(|line| line.contains("Buffers:")).unwrap();
        let blocks: i64 = buffers
            .split(['=', ' '])
            .filter_map(|word| word.parse::<i64>().ok())
            .sum();
        assert!(blocks < 150, "{}", plan.join("\n"));
    }
    assert_eq!(owner.number(count), 2003);
}
