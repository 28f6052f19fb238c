//! The application's table of tenants and the tenants stay in step after adopt().
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session, application};

const TENANTS: &str = "SELECT slug || ' ' || name || ' ' || coalesce(external_id, id::text) || ' ' || status FROM tenancy.tenants ORDER BY coalesce(external_id, id::text)";

fn adopted(key_type: &str, key: &str) -> Db {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, key_type, key, 1);
    owner.run(&format!(
        "CALL tenancy.adopt('app.organizations', grants => '{{{}}}')",
        db.app
    ));
    db
}

/// Runs as the application's migration role does, by the setting of its connection.
fn maintained(session: &mut Session, sql: &str) {
    session
        .run("SET tenancy.maintenance_reason = 'sign-up'")
        .run(sql)
        .run("RESET tenancy.maintenance_reason");
}

#[test]
fn a_row_makes_renames_and_ends_its_tenant() {
    let db = adopted("bigint", "(%s)");
    let mut owner = db.owner();
    maintained(
        &mut owner,
        "INSERT INTO app.organizations (id, name) VALUES (10, 'Späti & Co.'), (11, 'Org 1'), (12, '???')",
    );
    assert_eq!(
        owner.texts(TENANTS),
        [
            "org-1 Org 1 1 active",
            "sp-ti-co Späti & Co. 10 active",
            "org-1-11 Org 1 11 active",
            "tenant ??? 12 active",
            "org-2 Org 2 2 active",
            "org-3 Org 3 3 active",
        ]
    );
    maintained(
        &mut owner,
        "UPDATE app.organizations SET name = 'Initech' WHERE id = 12",
    );
    maintained(&mut owner, "DELETE FROM app.organizations WHERE id = 10");
    maintained(
        &mut owner,
        "UPDATE app.organizations SET id = 13 WHERE id = 11",
    );
    let tenants = owner.texts(TENANTS);
    assert!(
        tenants.contains(&"tenant Initech 12 active".to_owned()),
        "{tenants:?}"
    );
    assert!(tenants.contains(&"sp-ti-co Späti & Co. 10 deleted".to_owned()));
    assert!(tenants.contains(&"org-1-11 Org 1 11 deleted".to_owned()));
    // A name that a scope may not have is cleaned; one that is suspended stays so.
    maintained(
        &mut owner,
        "INSERT INTO app.organizations (id, name) VALUES (14, E' Tab\\tand\\nline '), (15, '')",
    );
    let tenants_now = owner.texts(TENANTS);
    assert!(
        tenants_now
            .iter()
            .any(|t| t.ends_with("Tab and line 14 active")),
        "{tenants_now:?}"
    );
    assert!(tenants_now.iter().any(|t| t.ends_with("15 15 active")));
    owner.run(
        "SELECT tenancy.set_status(id, 'suspended') FROM tenancy.tenants WHERE external_id = '14'",
    );
    maintained(&mut owner, "DELETE FROM app.organizations WHERE id = 14");
    maintained(
        &mut owner,
        "INSERT INTO app.organizations (id, name) VALUES (14, 'Back')",
    );
    assert!(
        owner
            .texts(TENANTS)
            .iter()
            .any(|t| t.ends_with("14 suspended"))
    );
    assert!(tenants.iter().any(|t| t.ends_with("Org 1 13 active")));
    // A row that comes back is the same tenant again.
    maintained(
        &mut owner,
        "INSERT INTO app.organizations (id, name) VALUES (10, 'Spati')",
    );
    assert!(
        owner
            .texts(TENANTS)
            .contains(&"sp-ti-co Spati 10 active".to_owned())
    );
    assert!(
        owner.number("SELECT count(*) FROM tenancy.audit_log WHERE action LIKE 'tenancy.scope.%'")
            > 0
    );
}

/// The row's own tenant renames and ends itself with the rights that it has on the row, and no others.
#[test]
fn a_tenant_renames_itself_with_its_rights_on_the_row_alone() {
    let db = adopted(
        "uuid",
        "('00000000-0000-4000-8000-00000000000' || (%s))::uuid",
    );
    let mut admin = db.admin();
    admin.run("SELECT tenancy.create_user('org-1', 'ann'), tenancy.create_user('org-2', 'bob')");
    let key = |admin: &mut Session, user: &str| {
        admin.text(&format!("SELECT tenancy.issue_api_key('{user}', 'k')"))
    };
    let (ann, bob) = (key(&mut admin, "org-1/ann"), key(&mut admin, "org-2/bob"));
    let mut app = db.app();
    app.begin(&ann);
    app.run("UPDATE app.organizations SET name = 'Mine'");
    app.run("COMMIT").begin(&ann);
    app.fails_inside(
        "INSERT INTO app.organizations (id, name) VALUES (gen_random_uuid(), 'Another')",
    )
    .code("42501");
    app.fails_inside("UPDATE app.organizations SET id = '00000000-0000-4000-8000-000000000002'")
        .code("42501");
    app.run("ROLLBACK");
    assert!(admin.texts(TENANTS)[0].starts_with("org-1 Mine"));
    assert!(admin.texts(TENANTS)[1].starts_with("org-2 Org 2"));
    app.begin(&bob);
    app.run("DELETE FROM app.event_notes; DELETE FROM app.events; DELETE FROM app.organizations; COMMIT");
    assert!(admin.texts(TENANTS)[1].ends_with("deleted"));
    app.run("BEGIN");
    app.fails_inside(&format!("SELECT tenancy.authenticate('{bob}')"))
        .code("42501");
    app.run("ROLLBACK");
}

/// A key that is another scope's, or an owner that lost its rights, stops the row.
#[test]
fn a_row_cannot_take_a_scope_and_power_ends_with_its_owners() {
    let db = adopted(
        "uuid",
        "('00000000-0000-4000-8000-00000000000' || (%s))::uuid",
    );
    let mut admin = db.admin();
    let mut fails = |id: &str| {
        admin.fails(&format!(
            "INSERT INTO app.organizations (id, name) VALUES ('{id}', 'x')"
        ))
    };
    fails("00000000-0000-7000-8000-000000000001").code("42710");
    fails("ffffffff-ffff-ffff-ffff-ffffffffffff").code("22023");
    admin.run(&format!("REVOKE tenancy_admin FROM {}", db.owner));
    admin
        .fails("INSERT INTO app.organizations (id, name) VALUES (gen_random_uuid(), 'x')")
        .code("42501")
        .says("may not create tenants");
}

/// Tenants that exist already keep their partner, and their names and states: a uuid is the same tenant, but two partners' tables
/// may number their rows alike.
#[test]
fn tenants_of_other_partners_stay_theirs() {
    let id = "00000000-0000-4000-8000-000000000002";
    let db = Db::new();
    let mut owner = db.owner();
    application::create(
        &mut owner,
        "uuid",
        "('00000000-0000-4000-8000-00000000000' || (%s))::uuid",
        1,
    );
    let mut admin = db.admin();
    admin.run(&format!(
        "SELECT tenancy.create_partner('hooli'); SELECT tenancy.create_tenant('theirs', 'Theirs', 'hooli', id => '{id}')"
    ));
    owner.run(&format!(
        "CALL tenancy.adopt('app.organizations', grants => '{{{}}}')",
        db.app
    ));
    let theirs = "SELECT s.name || ' ' || s.status || ' ' || p.slug FROM tenancy.scopes s JOIN tenancy.scopes p ON p.id = s.parent_id WHERE s.slug = 'theirs'";
    assert_eq!(admin.text(theirs), "Theirs active hooli");
    let other = "00000000-0000-4000-8000-00000000000a";
    admin.run(&format!(
        "SELECT tenancy.create_tenant('another', 'Another', 'hooli', id => '{other}'); SELECT tenancy.set_status('another', 'suspended')"
    ));
    maintained(
        &mut owner,
        &format!("INSERT INTO app.organizations (id, name) VALUES ('{other}', 'Mine')"),
    );
    assert_eq!(
        admin.text("SELECT name || ' ' || status FROM tenancy.scopes WHERE slug = 'another'"),
        "Another suspended"
    );

    // Their rows neither rename nor end them.
    maintained(
        &mut owner,
        &format!(
            "UPDATE app.organizations SET name = 'Taken' WHERE id IN ('{id}', '{other}'); DELETE FROM app.organizations WHERE id = '{other}'"
        ),
    );
    admin.run("SELECT tenancy.set_status('another', 'active')");
    maintained(
        &mut owner,
        &format!("INSERT INTO app.organizations (id, name) VALUES ('{other}', 'Mine')"),
    );
    maintained(
        &mut owner,
        &format!("DELETE FROM app.organizations WHERE id = '{other}'"),
    );
    assert_eq!(
        admin.texts("SELECT name || ' ' || status FROM tenancy.scopes WHERE slug IN ('theirs', 'another') ORDER BY 1"),
        ["Another active", "Theirs active"]
    );

    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 1);
    db.admin().run("SELECT tenancy.create_partner('hooli'); SELECT tenancy.create_tenant('theirs', 'Theirs', 'hooli', external_id => '2')");
    owner
        .fails(&format!(
            "CALL tenancy.adopt('app.organizations', grants => '{{{}}}')",
            db.app
        ))
        .code("55000");
    owner
        .texts(
            "SELECT unnest(blocked) FROM tenancy.adoption WHERE table_name = 'app.organizations'",
        )
        .iter()
        .find(|reason| reason.contains("another partner's tenant"))
        .unwrap();
}

#[test]
fn a_renamed_key_column_is_followed_and_others_may_go() {
    let db = adopted("bigint", "(%s)");
    let mut owner = db.owner();
    owner.run("ALTER TABLE app.organizations RENAME COLUMN id TO org_no");
    maintained(
        &mut owner,
        "INSERT INTO app.organizations (org_no, name) VALUES (20, 'Twenty')",
    );
    assert!(
        owner
            .texts(TENANTS)
            .contains(&"twenty Twenty 20 active".to_owned())
    );
}

/// A role that tenants share cannot make the trigger on a table of its own.
#[test]
fn only_admins_create_the_triggers() {
    let db = adopted("bigint", "(%s)");
    db.admin()
        .run(&format!("GRANT CREATE ON SCHEMA app TO {}", db.stranger));
    let mut stranger = db.stranger();
    stranger.run("CREATE TABLE app.own (id bigint, name text)");
    for function in [
        "follow_tenant('id', '', 'name', '00000000-0000-7000-8000-000000000001')",
        "fill_tenant('id', 'k', 'id')",
    ] {
        stranger
            .fails(&format!("CREATE TRIGGER t AFTER INSERT ON app.own FOR EACH ROW EXECUTE FUNCTION tenancy.{function}"))
            .code("42501");
    }
}
