//! An assignment reaches exactly its tenants, its projects and its permissions, for as long as it lasts.
//! After it is revoked, it has no effect from the next transaction of every open connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{thread, time::Duration};

use tenancy_client_tests::{Session, World};
use uuid::Uuid;

const COUNT: &str = "SELECT count(*) FROM app.notes";

/// Makes users with keys.
fn add(world: &mut World, users: &[(&'static str, &str)]) {
    for (slug, parent) in users {
        let mut owner = world.db.owner();
        owner.run(&format!(
            "SELECT tenancy.create_user('{parent}', '{slug}', role => 'none')"
        ));
        let key = owner.text(&format!(
            "SELECT tenancy.issue_api_key('{parent}/{slug}', 'test')"
        ));
        world.keys.insert(slug, key);
    }
    world.learn();
}

/// The tenants whose rows are seen.
fn seen(session: &mut Session) -> Vec<String> {
    session.texts("SELECT DISTINCT split_part(body, ' ', 1) FROM app.notes ORDER BY 1")
}

#[test]
fn a_partner_user_reads_its_three_clients_and_writes_nothing() {
    let mut world = World::new();
    world.db.owner().run(
        "SELECT tenancy.create_tenant('t' || n, partner => 'globex') FROM generate_series(1, 4) n;",
    );
    world.db.admin().run("INSERT INTO app.notes (tenant_id, body) SELECT id, slug || ' 1' FROM tenancy.tenants WHERE slug ~ '^t[0-9]$'");
    add(&mut world, &[("paul", "globex")]);
    for client in ["acme", "t2", "t4"] {
        world.db.owner().run(&format!(
            "SELECT tenancy.assign('globex/paul', 'partner_user', '{client}')"
        ));
    }
    let mut paul = world.begin("paul");
    assert_eq!(seen(&mut paul), ["acme", "t2", "t4"]);
    assert_eq!(
        paul.number("SELECT cardinality(tenancy.tenant_ids('data:read'))"),
        3
    );
    assert_eq!(
        paul.texts("SELECT slug FROM tenancy.tenants ORDER BY 1"),
        ["acme", "t2", "t4"]
    );
    for (slug, can) in [
        ("acme", "t"),
        ("t2", "t"),
        ("t4", "t"),
        ("t1", "f"),
        ("t3", "f"),
        ("umbrella", "f"),
        ("soylent", "f"),
    ] {
        let id = world.id(slug);
        assert_eq!(
            paul.text(&format!("SELECT tenancy.can('data:read', '{id}'::uuid)")),
            can,
            "{slug}"
        );
        assert_eq!(
            paul.text(&format!(
                "SELECT tenancy.has_permission('data:read', '{id}'::uuid)"
            )),
            can,
            "{slug}"
        );
        assert_eq!(
            paul.text(&format!(
                "SELECT tenancy.has_permission('billing:view', '{id}'::uuid)"
            )),
            "f",
            "{slug}"
        );
        if can == "f" {
            paul.fails_inside(&format!("SELECT tenancy.select_tenant('{id}'::uuid)"))
                .code("42704");
        }
    }
    paul.run("SELECT tenancy.select_tenant('t2')");
    assert_eq!(seen(&mut paul), ["t2"]);
    paul.fails_inside("INSERT INTO app.notes (body) VALUES ('x')")
        .code("42501");
    assert_eq!(paul.touched("UPDATE app.notes SET body = 'x'"), 0);
    assert_eq!(paul.touched("DELETE FROM app.notes"), 0);
}

#[test]
fn two_projects_of_three() {
    let mut world = World::new();
    add(&mut world, &[("dev", "acme"), ("one", "acme")]);
    world.db.owner().run(
        "SELECT tenancy.create_project('acme', p) FROM unnest('{red,blue,green}'::text[]) p;
         CREATE TABLE app.tasks (tenant_id uuid NOT NULL, project uuid, body text);
         SELECT tenancy.protect('app.tasks', project_column => 'project');
         SELECT tenancy.assign('acme/dev', 'member', 'acme/red'), tenancy.assign('acme/dev', 'member', 'acme/blue'), tenancy.assign('acme/one', 'member', 'acme/red')",
    );
    world.db.admin().run("INSERT INTO app.tasks SELECT tenant_id, id, slug FROM tenancy.projects; INSERT INTO app.tasks SELECT id, NULL, 'none' FROM tenancy.tenants");
    world.learn();
    let all = "SELECT body FROM app.tasks ORDER BY 1";
    let mut dev = world.begin("dev");
    assert_eq!(dev.texts(all), ["blue", "red"]);
    // Rows without a project column are the tenant's: none of them.
    assert_eq!(dev.number(COUNT), 0);
    // To write, one is selected.
    for write in [
        "INSERT INTO app.tasks (body) VALUES ('x')",
        "UPDATE app.tasks SET body = 'x'",
        "DELETE FROM app.tasks",
    ] {
        dev.fails_inside(write)
            .code("55000")
            .hints("select_project");
    }
    dev.fails_inside(&format!(
        "SELECT tenancy.select_project('{}'::uuid)",
        world.id("green")
    ))
    .code("42704");
    dev.run("SAVEPOINT s; SELECT tenancy.select_project('acme/red')");
    assert_eq!(dev.texts(all), ["red"]);
    assert_eq!(
        dev.text("INSERT INTO app.tasks (body) VALUES ('new') RETURNING project"),
        world.id("red").to_string()
    );
    for other in ["blue", "green"] {
        dev.fails_inside(&format!(
            "INSERT INTO app.tasks (project, body) VALUES ('{}', 'x')",
            world.id(other)
        ))
        .code("42501");
        dev.fails_inside(&format!(
            "UPDATE app.tasks SET project = '{}'",
            world.id(other)
        ))
        .code("42501");
    }
    dev.fails_inside("UPDATE app.tasks SET project = NULL")
        .code("42501");
    dev.run("ROLLBACK");
    // Exactly one is selected by itself.
    let mut one = world.begin("one");
    assert_eq!(
        one.text("SELECT tenancy.project_id()"),
        world.id("red").to_string()
    );
    assert_eq!(
        one.text("INSERT INTO app.tasks (body) VALUES ('new') RETURNING project"),
        world.id("red").to_string()
    );
    one.run("ROLLBACK");
    // Another project: one tenant's of two.
    world
        .db
        .owner()
        .run("SELECT tenancy.unassign('acme/dev', 'member', 'acme/blue')");
    let mut dev = world.begin("dev");
    assert_eq!(dev.texts(all), ["red"]);
    assert_eq!(
        dev.text("SELECT tenancy.project_id()"),
        world.id("red").to_string()
    );
}

#[test]
fn an_assignment_ends_while_a_connection_is_open() {
    let mut world = World::new();
    add(&mut world, &[("temp", "globex")]);
    let (mut session, mut pooled, mut narrowed) = (world.db.app(), world.db.app(), world.db.app());
    world.db.owner().run("SELECT tenancy.assign('globex/temp', 'partner_user', 'acme', now() + interval '3 seconds'), tenancy.assign('globex/temp', 'partner_user', 'umbrella')");
    session.login_session(world.key("temp"));
    narrowed
        .login_session(world.key("temp"))
        .run("SELECT tenancy.select_tenant('acme', session => true)");
    assert_eq!(seen(&mut session), ["acme", "umbrella"]);
    assert_eq!(seen(&mut narrowed), ["acme"]);
    assert_eq!(seen(pooled.begin(world.key("temp"))), ["acme", "umbrella"]);
    pooled.run("COMMIT");
    thread::sleep(Duration::from_millis(3100));
    assert_eq!(seen(&mut session), ["umbrella"]);
    assert_eq!(seen(pooled.begin(world.key("temp"))), ["umbrella"]);
    pooled.run("COMMIT");
    narrowed.fails(COUNT).code("42501").says("not active");
    assert_eq!(session.text("SELECT string_agg(scope || ' ' || expired, ', ' ORDER BY scope) FROM tenancy.assignments"), "acme true, umbrella false");
    // After an extension it has effect again; an end in the past is refused.
    world
        .db
        .owner()
        .fails("SELECT tenancy.assign('globex/temp', 'partner_user', 'acme', now())")
        .code("22023");
    world.db.owner().run(
        "SELECT tenancy.assign('globex/temp', 'partner_user', 'acme', now() + interval '1 hour')",
    );
    assert_eq!(seen(&mut session), ["acme", "umbrella"]);
    assert_eq!(seen(&mut narrowed), ["acme"]);
}

/// How a user loses what it has, how it gets it back, and what an open session that has nothing selected then sees.
#[test]
fn open_connections_lose_what_is_taken_at_their_next_transaction() {
    let mut world = World::new();
    add(&mut world, &[("paul", "globex")]);
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.define_role('globex', 'reader', '{data:read}'), tenancy.create_project('acme', 'web')");
    owner.run("SELECT tenancy.assign('globex/paul', 'reader', 'acme'), tenancy.assign('globex/paul', 'partner_user', 'umbrella')");
    let (mut session, mut pooled, mut narrowed) = (world.db.app(), world.db.app(), world.db.app());
    session.login_session(world.key("paul"));
    narrowed
        .login_session(world.key("paul"))
        .run("SELECT tenancy.select_tenant('acme', session => true)");
    let statement = pooled
        .prepare("SELECT DISTINCT split_part(body, ' ', 1) FROM app.notes ORDER BY 1")
        .unwrap();
    for (take, give) in [
        (
            "SELECT tenancy.unassign('globex/paul', 'reader', 'acme')",
            "SELECT tenancy.assign('globex/paul', 'reader', 'acme')",
        ),
        (
            "SELECT tenancy.define_role('globex', 'reader', '{}')",
            "SELECT tenancy.define_role('globex', 'reader', '{data:read}')",
        ),
        (
            "SELECT tenancy.define_role('globex', 'reader', '{users:view}')",
            "SELECT tenancy.define_role('globex', 'reader', '{data:*}')",
        ),
        (
            "SELECT tenancy.drop_role('globex', 'reader')",
            "SELECT tenancy.define_role('globex', 'reader', '{data:read}'), tenancy.assign('globex/paul', 'reader', 'acme')",
        ),
        (
            "SELECT tenancy.set_status('acme', 'suspended')",
            "SELECT tenancy.set_status('acme', 'active')",
        ),
        (
            "SELECT tenancy.move_tenant('acme', 'hooli')",
            "SELECT tenancy.move_tenant('acme', 'globex'), tenancy.assign('globex/paul', 'reader', 'acme')",
        ),
    ] {
        // Inside an open transaction the tenants stay; a role that is revoked and assigned again in one transaction was never gone.
        session.run("BEGIN");
        for _ in 0..2 {
            assert_eq!(seen(&mut session), ["acme", "umbrella"], "{take}");
        }
        session.run("COMMIT");
        assert_eq!(seen(&mut narrowed), ["acme"], "{take}");
        owner.run(&format!("BEGIN; {take}; ROLLBACK"));
        assert_eq!(
            seen(&mut session),
            ["acme", "umbrella"],
            "rolled back: {take}"
        );
        owner.run(take);
        assert_eq!(seen(&mut session), ["umbrella"], "{take}");
        pooled.begin(world.key("paul"));
        let rows: Vec<String> = pooled
            .query(&statement, &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(rows, ["umbrella"], "{take}");
        pooled.run("COMMIT");
        if take.contains("define_role") {
            assert_eq!(seen(&mut narrowed), Vec::<String>::new(), "{take}");
        } else {
            narrowed.fails(COUNT).code("42501").says("not active");
        }
        owner.run(give);
    }
    assert_eq!(seen(&mut session), ["acme", "umbrella"]);
    // All of it, and the user itself.
    owner.run("SELECT tenancy.set_status('globex', 'suspended')");
    session.fails(COUNT).code("42501").says("not active");
    owner.run("SELECT tenancy.set_status('globex', 'active')");
    world.db.admin().run("DELETE FROM tenancy_internal.role_assignments WHERE user_id IN (SELECT id FROM tenancy.scopes WHERE slug = 'paul')");
    assert_eq!(seen(&mut session), Vec::<String>::new());
    world
        .db
        .admin()
        .run("DELETE FROM tenancy_internal.api_key_secrets; DELETE FROM tenancy.scopes WHERE slug = 'paul'");
    session.fails(COUNT).code("42501");
}

#[test]
fn a_project_is_suspended_under_an_open_connection() {
    let mut world = World::new();
    add(&mut world, &[("dev", "acme")]);
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_project('acme', 'red'), tenancy.create_project('acme', 'blue');
         CREATE TABLE app.tasks (tenant_id uuid NOT NULL, project uuid, body text);
         SELECT tenancy.protect('app.tasks', project_column => 'project');
         SELECT tenancy.assign('acme/dev', 'member', 'acme/red'), tenancy.assign('acme/dev', 'member', 'acme/blue')",
    );
    world
        .db
        .admin()
        .run("INSERT INTO app.tasks SELECT tenant_id, id, slug FROM tenancy.projects");
    let all = "SELECT body FROM app.tasks ORDER BY 1";
    let (mut session, mut narrowed) = (world.db.app(), world.db.app());
    session.login_session(world.key("dev"));
    narrowed
        .login_session(world.key("dev"))
        .run("SELECT tenancy.select_project('acme/red', session => true)");
    assert_eq!(
        (session.texts(all), narrowed.texts(all)),
        (
            vec!["blue".to_owned(), "red".to_owned()],
            vec!["red".to_owned()]
        )
    );
    owner.run("SELECT tenancy.set_status('acme/red', 'suspended')");
    assert_eq!(session.texts(all), ["blue"]);
    narrowed.fails(all).code("42501").says("not active");
    owner.run("SELECT tenancy.set_status('acme/red', 'active')");
    assert_eq!(session.texts(all), ["blue", "red"]);
    owner.run("SELECT tenancy.unassign('acme/dev', 'member', 'acme/red')");
    assert_eq!(session.texts(all), ["blue"]);
    narrowed.fails(all).code("42501").says("not active");
}

#[test]
fn a_tenant_that_moves_leaves_the_old_partners_people_and_roles_behind() {
    let mut world = World::new();
    add(
        &mut world,
        &[("paul", "globex"), ("ann", "acme"), ("hank", "hooli")],
    );
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_role('globex', 'crew', '{data:read}'), tenancy.define_role('acme', 'own', '{data:read}');
         SELECT tenancy.create_project('acme', 'web');
         SELECT tenancy.assign('globex/paul', 'partner_user', 'acme'), tenancy.assign('globex/paul', 'member', 'acme/web'), tenancy.assign('globex/paul', 'partner_user', 'umbrella');
         SELECT tenancy.assign('acme/ann', 'crew', 'acme'), tenancy.assign('acme/alice', 'own', 'acme')",
    );
    let (mut paul, mut ann, mut ops, mut boss) = (
        world.db.app(),
        world.db.app(),
        world.db.app(),
        world.db.app(),
    );
    for (session, user) in [
        (&mut paul, "paul"),
        (&mut ann, "ann"),
        (&mut ops, "ops"),
        (&mut boss, "boss"),
    ] {
        session.login_session(world.key(user));
    }
    assert_eq!(
        (
            paul.number(COUNT),
            ann.number(COUNT),
            ops.number(COUNT),
            boss.number(COUNT)
        ),
        (8, 3, 8, 7)
    );
    owner.run("SELECT tenancy.move_tenant('acme', 'hooli')");
    // ann has no role any more: hers was the old partner's to define.
    assert_eq!(
        (
            paul.number(COUNT),
            ann.number(COUNT),
            ops.number(COUNT),
            boss.number(COUNT)
        ),
        (5, 0, 5, 10)
    );
    let left = "SELECT string_agg(u.slug || ' ' || r.name, ', ' ORDER BY u.slug, r.name) FROM tenancy_internal.role_assignments a
        JOIN tenancy_internal.role_definitions r ON r.id = a.role_id JOIN tenancy.scopes u ON u.id = a.user_id JOIN tenancy.scopes s ON s.id = a.scope_id
        WHERE s.slug IN ('acme', 'web')";
    assert_eq!(world.db.admin().text(left), "alice member, alice own");
    // The old partner's role definition has no effect there.
    owner.run("SELECT tenancy.define_role('globex', 'crew', '{*:*}')");
    assert_eq!(ann.number(COUNT), 0);
    // Moving back restores no role.
    owner.run("SELECT tenancy.move_tenant('acme', 'globex')");
    assert_eq!(
        (
            paul.number(COUNT),
            ann.number(COUNT),
            ops.number(COUNT),
            boss.number(COUNT)
        ),
        (5, 0, 8, 7)
    );
}

#[test]
fn a_permission_of_the_applications_own_is_answered_for_each_tenant() {
    let mut world = World::bare();
    add(&mut world, &[("paul", "globex"), ("wes", "globex")]);
    world.db.owner().run(
        "CREATE TABLE app.notes (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, body text NOT NULL);
         SELECT tenancy.protect('app.notes', read_permission => 'notes:read', write_permission => 'notes:write');
         SELECT tenancy.define_role('globex', 'reader', '{notes:read}'), tenancy.define_role('globex', 'writer', '{notes:*}'), tenancy.define_role('globex', 'blind', '{notes:write}');
         SELECT tenancy.assign('globex/paul', 'reader', 'acme'), tenancy.assign('globex/paul', 'partner_user', 'umbrella');
         SELECT tenancy.assign('globex/wes', 'writer', 'acme'), tenancy.assign('globex/wes', 'reader', 'umbrella')",
    );
    world.fill("app.notes (tenant_id, body)", "t.id, t.slug || ' ' || n");
    let (acme, umbrella) = (world.id("acme"), world.id("umbrella"));
    let can = |session: &mut Session, permission: &str, tenant: Uuid| {
        session.text(&format!(
            "SELECT tenancy.can('{permission}', '{tenant}'::uuid)"
        ))
    };
    let mut paul = world.begin("paul");
    // notes:read in one client and nothing of it in the next, where there is data:read, and the other way round.
    assert_eq!(
        (
            can(&mut paul, "notes:read", acme),
            can(&mut paul, "notes:read", umbrella)
        ),
        ("t".into(), "f".into())
    );
    assert_eq!(
        (
            can(&mut paul, "data:read", acme),
            can(&mut paul, "data:read", umbrella)
        ),
        ("f".into(), "t".into())
    );
    assert_eq!(seen(&mut paul), ["acme"]);
    // data:read says nothing about a table that asks for another permission, nor does a member's role.
    assert_eq!(world.begin("alice").number(COUNT), 0);
    assert_eq!(world.begin("ops").number(COUNT), 0);
    // Read without write.
    paul.run("SELECT tenancy.select_tenant('acme')");
    paul.fails_inside("INSERT INTO app.notes (body) VALUES ('x')")
        .code("42501");
    assert_eq!(
        paul.touched("UPDATE app.notes SET body = 'x'") + paul.touched("DELETE FROM app.notes"),
        0
    );
    // Both here, the one there; to write, one is selected, and there it is not enough.
    let mut wes = world.begin("wes");
    assert_eq!(seen(&mut wes), ["acme", "umbrella"]);
    wes.fails_inside("UPDATE app.notes SET body = body")
        .code("55000");
    wes.run("SAVEPOINT s; SELECT tenancy.select_tenant('acme')");
    assert_eq!(wes.touched("UPDATE app.notes SET body = body"), 3);
    wes.fails_inside(&format!("UPDATE app.notes SET tenant_id = '{umbrella}'"))
        .code("42501");
    wes.run("ROLLBACK TO s; SELECT tenancy.select_tenant('umbrella')");
    assert_eq!(wes.touched("UPDATE app.notes SET body = body"), 0);
    wes.fails_inside("INSERT INTO app.notes (body) VALUES ('x')")
        .code("42501");
    wes.run("ROLLBACK");
    // Write without read: rows can be inserted, and not be seen, changed or deleted.
    world.db.owner().run("SELECT tenancy.unassign('globex/wes', 'writer', 'acme'), tenancy.assign('globex/wes', 'blind', 'acme'), tenancy.unassign('globex/wes', 'reader', 'umbrella')");
    let mut wes = world.begin("wes");
    assert_eq!(
        wes.touched("INSERT INTO app.notes (body) VALUES ('blind')"),
        1
    );
    assert_eq!(wes.number(COUNT), 0);
    wes.fails_inside("INSERT INTO app.notes (body) VALUES ('blind') RETURNING body")
        .code("42501");
    assert_eq!(
        wes.touched("UPDATE app.notes SET body = 'x'") + wes.touched("DELETE FROM app.notes"),
        0
    );
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM app.notes WHERE body = 'x'"),
        0
    );
}
