//! adopt() on tables that belong to a tenant through one of several tables, without a foreign key, or by a column that is NULL in
//! some rows: each row stays with its organization, and none becomes another's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session};

/// Organizations 1 and 2, with a project and a note each, numbered like them.
const BEGIN: &str = "CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
    CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations);
    CREATE TABLE app.notes (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations);
    INSERT INTO app.organizations VALUES (1, 'One'), (2, 'Two');
    INSERT INTO app.projects VALUES (1, 1), (2, 2);
    INSERT INTO app.notes VALUES (1, 1), (2, 2);";

fn application(tables: &str) -> (Db, Session) {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(BEGIN);
    owner.run(tables);
    (db, owner)
}

fn adopt(db: &Db, more: &str) -> String {
    format!(
        "CALL tenancy.adopt('app.organizations', grants => '{{{}}}'{more})",
        db.app
    )
}

/// Returns the key of a user of an organization.
fn user(db: &Db, organization: i32) -> String {
    let mut admin = db.admin();
    let tenant = admin.text(&format!(
        "SELECT slug FROM tenancy.tenants WHERE external_id = '{organization}'"
    ));
    admin.run(&format!("SELECT tenancy.create_user('{tenant}', 'ann')"));
    admin.text(&format!(
        "SELECT tenancy.issue_api_key('{tenant}/ann', 'k')"
    ))
}

/// Returns the ids of a table's rows that a user sees.
fn seen(db: &Db, key: &str, table: &str) -> Vec<String> {
    let mut app = db.app();
    app.begin(key);
    app.texts(&format!("SELECT id::text FROM app.{table} ORDER BY id"))
}

const DEPLOYS: &str = "CREATE TABLE app.deploys (id bigint PRIMARY KEY, project_id bigint REFERENCES app.projects, note_id bigint REFERENCES app.notes,
        CHECK (num_nonnulls(project_id, note_id) = 1));
    CREATE TABLE app.logs (id bigint PRIMARY KEY, deploy_id bigint NOT NULL REFERENCES app.deploys);
    INSERT INTO app.deploys VALUES (1, 1, NULL), (2, 2, NULL), (3, NULL, 1), (4, NULL, 2);
    INSERT INTO app.logs SELECT id, id FROM app.deploys;";

#[test]
fn rows_of_one_of_several_parents_belong_to_its_tenant() {
    let (db, mut owner) = application(DEPLOYS);
    owner.run(&adopt(&db, ""));
    let (one, two) = (user(&db, 1), user(&db, 2));
    for table in ["deploys", "logs"] {
        assert_eq!(seen(&db, &one, table), ["1", "3"], "{table}");
        assert_eq!(seen(&db, &two, table), ["2", "4"], "{table}");
    }
    // Written without a context, and moved.
    owner.run("BEGIN; SELECT tenancy.maintenance('import')");
    let tenant = |owner: &mut Session, statement: &str| {
        owner.text(&format!("{statement} RETURNING organization_id::text"))
    };
    assert_eq!(
        tenant(&mut owner, "INSERT INTO app.deploys VALUES (5, NULL, 2)"),
        "2"
    );
    assert_eq!(
        tenant(&mut owner, "INSERT INTO app.deploys VALUES (6, 1)"),
        "1"
    );
    assert_eq!(
        tenant(
            &mut owner,
            "UPDATE app.deploys SET project_id = NULL, note_id = 2 WHERE id = 6"
        ),
        "2"
    );
    assert_eq!(
        tenant(
            &mut owner,
            "UPDATE app.deploys SET project_id = 1, note_id = NULL WHERE id = 5"
        ),
        "1"
    );
    owner.run("COMMIT");
    // In a context, another's row is out of sight.
    let mut app = db.app();
    app.begin(&one);
    app.fails("UPDATE app.deploys SET note_id = 2 WHERE id = 3")
        .code("55000");
    app.run("ROLLBACK");
    // A key that got another name is followed, one that is gone is told.
    owner.run(
        "ALTER TABLE app.deploys RENAME CONSTRAINT deploys_note_id_fkey TO another;
         BEGIN; SELECT tenancy.maintenance('import'); INSERT INTO app.deploys VALUES (7, NULL, 2); COMMIT",
    );
    assert_eq!(seen(&db, &two, "deploys"), ["2", "4", "6", "7"]);
    owner.run("BEGIN; SELECT tenancy.maintenance('import'); ALTER TABLE app.deploys DROP CONSTRAINT another; COMMIT");
    owner
        .fails(&adopt(&db, ""))
        .code("55000")
        .details("deploys_note_id_fkey")
        .details("is gone");
    owner.fails("BEGIN; SELECT tenancy.maintenance('import'); INSERT INTO app.deploys VALUES (8, NULL, 2)").code("23502");
}

#[test]
fn it_is_undone_and_stopped_halfway_as_with_one_parent() {
    let (db, mut owner) = application(DEPLOYS);
    let columns = "SELECT string_agg(attrelid::regclass || attname || attnotnull, ' ' ORDER BY attrelid::regclass::text, attnum) FROM pg_attribute
        WHERE attrelid IN ('app.deploys'::regclass, 'app.logs'::regclass) AND attnum > 0 AND NOT attisdropped";
    let before = owner.text(columns);
    owner.run(&adopt(&db, ", isolate => false"));
    owner.run("ALTER TABLE app.deploys DROP CONSTRAINT tenancy_tenant_known, DISABLE TRIGGER USER; UPDATE app.deploys SET organization_id = NULL WHERE id > 2");
    owner.run("ALTER TABLE app.deploys ENABLE TRIGGER USER");
    owner.run(&adopt(&db, ""));
    assert_eq!(seen(&db, &user(&db, 1), "logs"), ["1", "3"]);
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(before, owner.text(columns));
}

const DRAFTS: &str = "CREATE TABLE app.drafts (id bigint PRIMARY KEY, \"projectId\" integer NOT NULL);
    CREATE TABLE app.pages (id bigint PRIMARY KEY, draft_id bigint, note_id bigint);
    INSERT INTO app.drafts VALUES (1, 1), (2, 2), (3, 99);
    INSERT INTO app.pages VALUES (1, 1, NULL), (2, 2, NULL), (3, NULL, 1), (4, NULL, NULL), (5, 77, NULL), (6, 3, NULL);";

#[test]
fn columns_that_are_named_like_keys_are_taken_for_them() {
    let (db, mut owner) = application(DRAFTS);
    owner
        .fails(&adopt(&db, ""))
        .code("55000")
        .details("named_keys => true")
        .details(r#"{"parents": {"projectId": "app.projects"}}"#);
    owner
        .fails(&adopt(&db, ", named_keys => true"))
        .code("55000")
        .details("app.drafts: 1 row refer")
        .details("app.pages: 1 row that refer to none of")
        .details("app.pages: 1 row refer to a row that is not there");
    // Rows that refer to nothing are nobody's, and not everybody's.
    owner
        .fails(&adopt(&db, ", named_keys => true, null_rows => 'share'"))
        .code("55000")
        .details("not there");
    owner.run(&adopt(&db, ", named_keys => true, null_rows => 'hide'"));
    let (one, two) = (user(&db, 1), user(&db, 2));
    assert_eq!(
        (seen(&db, &one, "drafts"), seen(&db, &two, "drafts")),
        (vec!["1".to_owned()], vec!["2".to_owned()])
    );
    assert_eq!(
        (seen(&db, &one, "pages"), seen(&db, &two, "pages")),
        (vec!["1".to_owned(), "3".to_owned()], vec!["2".to_owned()])
    );
    owner.run("BEGIN; SELECT tenancy.maintenance('look')");
    assert_eq!(
        owner.number("SELECT count(*) FROM app.pages WHERE organization_id IS NULL"),
        3
    );
    assert_eq!(
        owner.text("INSERT INTO app.pages VALUES (7, 2, NULL) RETURNING organization_id::text"),
        "2"
    );
    assert_eq!(
        owner.text("INSERT INTO app.drafts VALUES (8, 1) RETURNING organization_id::text"),
        "1"
    );
    owner
        .fails("INSERT INTO app.pages VALUES (9, 98, NULL)")
        .code("55000");
    owner.run("ROLLBACK");
    // An application role cannot write rows without a tenant, nor name another's.
    let mut app = db.app();
    for row in ["(20, NULL, NULL, NULL)", "(20, 1, NULL, 2)"] {
        app.begin(&one);
        app.fails(&format!(
            "INSERT INTO app.pages (id, draft_id, note_id, organization_id) VALUES {row}"
        ));
        app.run("ROLLBACK");
    }
    // Nothing is left for another call; and it is undone.
    owner.run(&adopt(&db, ", named_keys => true, null_rows => 'hide'"));
    assert_eq!(
        owner.texts(
            "SELECT table_name FROM tenancy.adoption WHERE status NOT IN ('done', 'nothing to do')"
        ),
        Vec::<String>::new()
    );
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(owner.number("SELECT count(*) FROM pg_attribute WHERE attrelid IN ('app.pages'::regclass, 'app.drafts'::regclass) AND attname = 'organization_id' AND NOT attisdropped"), 0);
}

#[test]
fn one_column_is_decided_on() {
    let (db, mut owner) = application(
        "CREATE TABLE app.files (id bigint PRIMARY KEY, owner bigint NOT NULL, subject bigint);
         INSERT INTO app.files VALUES (1, 1, NULL), (2, 2, 1)",
    );
    let decide = |parents: &str| {
        adopt(
            &db,
            &format!(", decisions => '{{\"app.files\": {{\"parents\": {parents}}}}}'"),
        )
    };
    owner
        .fails(&decide(r#"{"owner": "app.nothing"}"#))
        .code("55000")
        .details("no table of the schemas");
    owner.run(&decide(r#"{"owner": "app.projects"}"#));
    assert_eq!(seen(&db, &user(&db, 1), "files"), ["1"]);
    // The table is found by its name: without it nothing is written.
    owner.run("ALTER TABLE app.projects RENAME TO ventures");
    owner.fails("BEGIN; SELECT tenancy.maintenance('import'); INSERT INTO app.files VALUES (3, 1)");
    owner.run("ROLLBACK");
    owner
        .fails(&adopt(&db, ""))
        .code("55000")
        .details("the link to app.projects");
}

#[test]
fn a_column_that_is_missing_in_some_rows_is_filled() {
    let (db, mut owner) = application(
        "CREATE TABLE app.tasks (id bigint PRIMARY KEY, organization_id bigint REFERENCES app.organizations, project_id bigint NOT NULL REFERENCES app.projects);
         INSERT INTO app.tasks VALUES (1, 1, 1), (2, NULL, 2), (3, NULL, 1), (4, 2, 1)",
    );
    owner
        .fails(&adopt(&db, ""))
        .code("55000")
        .details(r#"(tasks_project_id_fkey) with {"null_rows": "fill"}"#);
    owner.run(&adopt(
        &db,
        r#", decisions => '{"app.tasks": {"null_rows": "fill"}}'"#,
    ));
    let (one, two) = (user(&db, 1), user(&db, 2));
    assert_eq!(seen(&db, &one, "tasks"), ["1", "3"]);
    assert_eq!(
        seen(&db, &two, "tasks"),
        ["2", "4"],
        "what the application wrote stays"
    );
    // An application that names the column without a value goes on, with and without a context.
    let mut app = db.app();
    app.begin(&one);
    assert_eq!(
        app.text("INSERT INTO app.tasks VALUES (5, NULL, 1) RETURNING organization_id::text"),
        "1"
    );
    app.fails("INSERT INTO app.tasks VALUES (6, NULL, 2)");
    app.run("ROLLBACK");
    owner.run("BEGIN; SELECT tenancy.maintenance('import')");
    assert_eq!(
        owner.text("INSERT INTO app.tasks VALUES (7, NULL, 2) RETURNING organization_id::text"),
        "2"
    );
    owner.run("COMMIT");
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(
        owner.number("SELECT count(organization_id) FROM app.tasks"),
        5,
        "the column is the application's"
    );
    assert_eq!(owner.number("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'app.tasks'::regclass AND NOT tgisinternal"), 0);
}

#[test]
fn owners_and_projects_are_columns_of_a_decision() {
    let (db, mut owner) = application(
        "CREATE TABLE app.people (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations);
         CREATE TABLE app.diaries (id bigint PRIMARY KEY, person_id bigint NOT NULL REFERENCES app.people);
         INSERT INTO app.people VALUES (11, 1), (12, 1), (21, 2);
         INSERT INTO app.diaries VALUES (1, 11), (2, 12), (3, 21)",
    );
    let decisions = r#", decisions => '{"app.diaries": {"owner_column": "person_id"}}'"#;
    owner
        .fails(&adopt(&db, &decisions.replace("person_id", "nobody")))
        .code("55000")
        .details("has no column nobody");
    owner.run(&adopt(&db, decisions));
    let mut admin = db.admin();
    let keys = [11, 12].map(|person| {
        let tenant = admin.text("SELECT slug FROM tenancy.tenants WHERE external_id = '1'");
        admin.run(&format!(
            "SELECT tenancy.create_user('{tenant}', 'user-{person}', external_id => '{person}')"
        ));
        admin.text(&format!(
            "SELECT tenancy.issue_api_key('{tenant}/user-{person}', 'k')"
        ))
    });
    assert_eq!(seen(&db, &keys[0], "diaries"), ["1"]);
    assert_eq!(seen(&db, &keys[1], "diaries"), ["2"]);
}

const WEBHOOKS: &str = "CREATE TABLE app.plans (id bigint PRIMARY KEY);
    CREATE TABLE app.webhooks (id bigint PRIMARY KEY, secret text);
    CREATE TABLE app.apps (id bigint PRIMARY KEY, project_id bigint NOT NULL REFERENCES app.projects, webhook_id bigint REFERENCES app.webhooks,
        plan_id bigint REFERENCES app.plans);
    CREATE TABLE app.calls (id bigint PRIMARY KEY, webhook_id bigint NOT NULL REFERENCES app.webhooks);
    INSERT INTO app.plans VALUES (1), (2);
    INSERT INTO app.webhooks SELECT n, 'secret ' || n FROM generate_series(1, 5) n;
    INSERT INTO app.apps VALUES (1, 1, 1, 1), (2, 2, 2, 1), (3, 1, 3, 2), (4, 1, 3, 2), (5, 2, 4, NULL);
    INSERT INTO app.calls VALUES (1, 1), (2, 2), (3, 3), (4, 4)";

#[test]
fn rows_that_one_tenant_alone_uses_are_its_own() {
    let (db, mut owner) = application(WEBHOOKS);
    let failure = owner
        .fails(&adopt(&db, ""))
        .code("55000")
        .details("app.webhooks: each of its rows that others refer to (4)");
    assert!(
        !failure.detail.unwrap_or_default().contains("app.plans"),
        "tenants share a plan"
    );
    let decide = |more: &str| {
        adopt(
            &db,
            &format!(r#", decisions => '{{"app.webhooks": {{"by_referrers": true{more}}}}}'"#),
        )
    };
    owner
        .fails(&decide(""))
        .code("55000")
        .details("app.webhooks: 1 row that no tenant alone uses");
    owner.run(&decide(r#", "null_rows": "hide""#));
    let (one, two) = (user(&db, 1), user(&db, 2));
    for table in ["webhooks", "calls"] {
        assert_eq!(seen(&db, &one, table), ["1", "3"], "{table}");
        assert_eq!(seen(&db, &two, table), ["2", "4"], "{table}");
    }
    assert_eq!(seen(&db, &two, "plans"), ["1", "2"]);
    let mut app = db.app();
    app.begin(&one);
    assert_eq!(
        app.text("INSERT INTO app.webhooks VALUES (6, 'mine') RETURNING organization_id::text"),
        "1"
    );
    app.run("COMMIT");
    // The decision is remembered by what was done.
    owner.run(&adopt(&db, ""));
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(owner.number("SELECT count(*) FROM pg_attribute WHERE attrelid = 'app.webhooks'::regclass AND attname = 'organization_id'"), 0);
}

#[test]
fn an_adoption_by_use_that_was_stopped_goes_on() {
    let (db, mut owner) = application(WEBHOOKS);
    let decisions =
        r#", decisions => '{"app.webhooks": {"by_referrers": true, "null_rows": "hide"}}'"#;
    owner.run(&adopt(&db, &format!("{decisions}, isolate => false")));
    // The application goes on: it adds a row before anything refers to it.
    owner.run(
        "INSERT INTO app.webhooks VALUES (7, 'new'); INSERT INTO app.apps VALUES (7, 2, 7, 1)",
    );
    owner.run(&adopt(&db, decisions));
    assert_eq!(seen(&db, &user(&db, 2), "webhooks"), ["2", "4", "7"]);
}
