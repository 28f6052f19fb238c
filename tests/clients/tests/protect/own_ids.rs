//! Scopes with the uuids of an application that exists already.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

/// Two organizations with two projects, two people and eight papers each, all by the application's own uuids.
const APPLICATION: &str = "
    CREATE TABLE app.organizations (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL UNIQUE);
    CREATE TABLE app.projects (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), organization_id uuid NOT NULL REFERENCES app.organizations, name text NOT NULL);
    CREATE TABLE app.people (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), organization_id uuid NOT NULL REFERENCES app.organizations, name text NOT NULL);
    CREATE TABLE app.papers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organization_id uuid NOT NULL REFERENCES app.organizations,
        project_id uuid REFERENCES app.projects, author_id uuid REFERENCES app.people, title text NOT NULL);
    INSERT INTO app.organizations (name) VALUES ('initech'), ('vandelay');
    INSERT INTO app.projects (organization_id, name) SELECT id, p FROM app.organizations, unnest('{tps,art}'::text[]) p;
    INSERT INTO app.people (organization_id, name) SELECT id, p || '-' || name FROM app.organizations, unnest('{ann,ben}'::text[]) p;
    INSERT INTO app.papers (organization_id, project_id, author_id, title)
        SELECT o.id, j.id, p.id, o.name || ' ' || j.name || ' ' || p.name FROM app.organizations o JOIN app.projects j ON j.organization_id = o.id
            JOIN app.people p ON p.organization_id = o.id, generate_series(1, 2)";

#[test]
fn an_application_keeps_its_uuids() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(APPLICATION).run(
        "SELECT tenancy.create_tenant(name, id => id) FROM app.organizations;
         SELECT tenancy.create_project(organization_id, name, id => id) FROM app.projects;
         SELECT tenancy.create_user(organization_id, name, id => id) FROM app.people;
         SELECT tenancy.protect('app.papers', 'organization_id', project_column => 'project_id');
         SELECT tenancy.protect('app.people', 'organization_id'); SELECT tenancy.protect('app.projects', 'organization_id');
         SELECT tenancy.protect('app.organizations', 'id')",
    );
    let mut app = world.db.app();
    let ann = owner.text("SELECT tenancy.issue_api_key('initech/ann-initech', 'k')");
    app.begin(&ann);
    assert_eq!(app.number("SELECT count(*) FROM app.papers"), 8);
    assert_eq!(
        app.number("SELECT count(*) FROM app.papers WHERE title LIKE 'initech%'"),
        8
    );
    assert_eq!(app.texts("SELECT name FROM app.organizations"), ["initech"]);
    assert_eq!(app.number("SELECT count(*) FROM app.people"), 2);
    app.run("SELECT tenancy.select_project('initech/tps')");
    assert_eq!(app.number("SELECT count(*) FROM app.papers"), 4);
    // The table of tenants makes their keys as before.
    owner.run("BEGIN; SELECT tenancy.maintenance('sign-up'); INSERT INTO app.organizations (name) VALUES ('hooli'); COMMIT");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM app.organizations"),
        3
    );
    app.run("INSERT INTO app.papers (title) VALUES ('by default')");
    assert_eq!(app.number("SELECT count(*) FROM app.papers"), 5);
}

/// The id of a scope decides which rows are its own, so only a caller that manages all tenants may choose it.
#[test]
fn only_who_manages_all_tenants_names_ids() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(&format!(
        "SELECT tenancy.define_role('globex', 'steward', '{{tenants:manage,projects:manage,users:manage}}');
         SELECT tenancy.assign('{}', 'steward', 'globex')",
        world.id("ops")
    ));
    let free = "11111111-1111-4111-8111-111111111111";
    for id in [free.to_owned(), world.id("soylent").to_string()] {
        for sql in [
            format!("SELECT tenancy.create_tenant('new', partner => 'globex', id => '{id}')"),
            format!("SELECT tenancy.create_project('acme', 'new', id => '{id}')"),
            format!("SELECT tenancy.create_user('acme', 'new', id => '{id}')"),
        ] {
            let mut ops = world.begin("ops");
            // The same answer whether the id is taken or not.
            ops.fails(&sql)
                .code("42501")
                .says("permission denied: tenants:manage in platform");
        }
    }
    let mut ops = world.begin("ops");
    ops.run("SELECT tenancy.create_tenant('new', partner => 'globex'), tenancy.create_project('acme', 'new'), tenancy.create_user('acme', 'newer')");
    // Two at once: the second waits, and is refused.
    let create = format!("SELECT tenancy.create_tenant('twin', id => '{free}')");
    let mut first = world.db.owner();
    first.run("BEGIN").run(&create);
    std::thread::scope(|threads| {
        let second = threads.spawn(|| {
            let other = create.replace("twin", "other");
            world.db.owner().fails(&other).code("42710").says(free);
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        first.run("COMMIT");
        second.join().unwrap();
    });
    assert_eq!(
        world.db.admin().text(&format!(
            "SELECT slug FROM tenancy.scopes WHERE id = '{free}'"
        )),
        "twin"
    );
}
