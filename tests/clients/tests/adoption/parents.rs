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
    app.texts(&format!(
        "SELECT t.id::text FROM app.{table} t ORDER BY t.id"
    ))
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
    owner.fails("BEGIN; SELECT tenancy.maintenance('import'); INSERT INTO app.deploys VALUES (8, NULL, 2)").code("55000");
}

#[test]
fn it_is_undone_and_stopped_halfway_as_with_one_parent() {
    let (db, mut owner) = application(DEPLOYS);
    let columns = "SELECT string_agg(attrelid::regclass || attname || attnotnull, ' ' ORDER BY attrelid::regclass::text, attnum) FROM pg_attribute
        WHERE attrelid IN ('app.deploys'::regclass, 'app.logs'::regclass) AND attnum > 0 AND NOT attisdropped";
    let before = owner.text(columns);
    owner.run(&adopt(&db, ", isolate => false"));
    owner.run("ALTER TABLE app.deploys DISABLE TRIGGER USER; UPDATE app.deploys SET organization_id = NULL WHERE id > 2");
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
        .details("app.drafts: 1 row refers")
        .details("app.pages: 1 row that gets no tenant from")
        .details("app.pages: 1 row refers to a row that is not there");
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
    owner.run("ROLLBACK; BEGIN; SELECT tenancy.maintenance('correct')");
    assert_eq!(
        owner.number("WITH u AS (UPDATE app.pages SET id = id + 100 WHERE organization_id IS NULL RETURNING 1) SELECT count(*) FROM u"),
        3
    );
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
        .details(r#"app.projects (tasks_project_id_fkey), with {"null_rows": "fill"}"#);
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
        .details("app.webhooks: of its rows that others refer to, 4 are used by one tenant alone and 0 by several");
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

/// The application goes on while it is prepared: it adds a row before what it refers to, refers to nothing by a number, and changes
/// rows that refer to nothing.
#[test]
fn an_application_without_foreign_keys_goes_on() {
    let (db, mut owner) = application(DRAFTS);
    owner.run("DELETE FROM app.pages WHERE id > 4; DELETE FROM app.drafts WHERE id = 3; UPDATE app.pages SET note_id = 2 WHERE id = 4");
    let more = ", named_keys => true, isolate => false";
    owner.run(&adopt(&db, more));
    owner.run(
        "BEGIN; INSERT INTO app.pages VALUES (10, 10, NULL); UPDATE app.pages SET note_id = NULL WHERE id = 10; INSERT INTO app.drafts VALUES (10, 2); COMMIT;
         INSERT INTO app.pages VALUES (11, 0, NULL); UPDATE app.pages SET id = 12 WHERE id = 11; DELETE FROM app.pages WHERE id = 12",
    );
    owner.run(&adopt(&db, ", named_keys => true"));
    assert_eq!(seen(&db, &user(&db, 2), "pages"), ["2", "4", "10"]);
}

/// A parent whose rows may be everybody's gives no tenant away: the other one counts, in the rows that there are and in later ones.
#[test]
fn a_parent_of_everybody_opens_no_row_of_a_tenant() {
    let (db, mut owner) = application(
        "CREATE TABLE app.categories (id bigint PRIMARY KEY, organization_id bigint REFERENCES app.organizations);
         CREATE TABLE app.tasks (id bigint PRIMARY KEY, category_id bigint NOT NULL REFERENCES app.categories, project_id bigint NOT NULL REFERENCES app.projects);
         CREATE TABLE app.reports (id bigint PRIMARY KEY, category_id bigint REFERENCES app.categories, project_id bigint REFERENCES app.projects);
         INSERT INTO app.categories VALUES (1, NULL), (2, 2);
         INSERT INTO app.tasks VALUES (1, 1, 1), (2, 1, 2), (3, 2, 2);
         INSERT INTO app.reports VALUES (1, 1, 1), (2, 2, NULL), (3, 1, NULL), (4, NULL, 2)",
    );
    owner.run(&adopt(
        &db,
        r#", decisions => '{"app.categories": {"null_rows": "share"}, "app.reports": {"null_rows": "share"}}'"#,
    ));
    let (one, two) = (user(&db, 1), user(&db, 2));
    assert_eq!(seen(&db, &one, "tasks"), ["1"]);
    assert_eq!(seen(&db, &two, "tasks"), ["2", "3"]);
    assert_eq!(
        seen(&db, &one, "reports"),
        ["1", "3"],
        "that of everybody's category alone is everybody's"
    );
    assert_eq!(seen(&db, &two, "reports"), ["2", "3", "4"]);
    owner.run("BEGIN; SELECT tenancy.maintenance('import')");
    for (row, tenant) in [
        ("(10, 1, 2)", "2"),
        ("(11, 1, NULL)", "none"),
        ("(12, 2, NULL)", "2"),
        ("(13, NULL, 1)", "1"),
    ] {
        let insert = format!(
            "INSERT INTO app.reports VALUES {row} RETURNING coalesce(organization_id::text, 'none')"
        );
        assert_eq!(owner.text(&insert), tenant, "{row}");
    }
    owner.run("COMMIT");
    let mut app = db.app();
    app.begin(&two);
    assert_eq!(
        app.text(
            "UPDATE app.tasks SET category_id = 1 WHERE id = 3 RETURNING organization_id::text"
        ),
        "2"
    );
    app.run("COMMIT");
}

/// What is shared for all tables is not what refers to a tenant's row by a link that does not count.
#[test]
fn what_refers_to_a_tenants_row_is_not_everybodys() {
    let (db, mut owner) = application(
        "CREATE TABLE app.tasks (id bigint PRIMARY KEY, organization_id bigint REFERENCES app.organizations, project_id bigint NOT NULL REFERENCES app.projects);
         CREATE TABLE app.files (id bigint PRIMARY KEY, project_id bigint REFERENCES app.projects, note_id bigint);
         INSERT INTO app.tasks VALUES (1, 1, 1), (2, NULL, 2);
         INSERT INTO app.files VALUES (1, 1, NULL), (2, NULL, 2), (3, NULL, NULL)",
    );
    owner
        .fails(&adopt(&db, ", null_rows => 'share'"))
        .code("55000")
        .details("app.tasks: 1 row without a tenant refers to a tenant's row (app.projects (tasks_project_id_fkey))")
        .details("app.files: 1 row without a tenant refers to a tenant's row (app.notes (by its column note_id))");
    owner.run(&adopt(&db, r#", null_rows => 'share', named_keys => true, decisions => '{"app.tasks": {"null_rows": "fill"}}'"#));
    assert_eq!(seen(&db, &user(&db, 1), "files"), ["1", "3"]);
    assert_eq!(seen(&db, &user(&db, 2), "tasks"), ["2"]);
}

/// A key is not cut into another tenant's; parents that disagree are told; a key that is gone gives its rows to no other parent.
#[test]
fn no_row_gets_another_tenant() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "CREATE TABLE app.organizations (id varchar(20) PRIMARY KEY, name text);
         CREATE TABLE app.notes (id bigint PRIMARY KEY, organization_id varchar(4) NOT NULL REFERENCES app.organizations);
         CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id varchar(20) NOT NULL REFERENCES app.organizations);
         CREATE TABLE app.deploys (id bigint PRIMARY KEY, note_id bigint REFERENCES app.notes, project_id bigint REFERENCES app.projects);
         INSERT INTO app.organizations VALUES ('acme', 'A'), ('acme-2', 'B');
         INSERT INTO app.notes VALUES (1, 'acme'); INSERT INTO app.projects VALUES (2, 'acme-2');
         INSERT INTO app.deploys VALUES (1, 1, NULL), (2, NULL, 2), (3, 1, 2)",
    );
    owner
        .fails(&adopt(&db, ""))
        .code("55000")
        .details("app.deploys: 1 row refers to rows of different tenants");
    owner.run("DELETE FROM app.deploys WHERE id = 3");
    owner.run(&adopt(&db, ""));
    assert_eq!(
        db.admin()
            .texts("SELECT organization_id FROM app.deploys ORDER BY id"),
        ["acme", "acme-2"]
    );
    owner.run("BEGIN; SELECT tenancy.maintenance('import'); ALTER TABLE app.deploys DROP CONSTRAINT deploys_note_id_fkey; COMMIT");
    owner
        .fails(
            "BEGIN; SELECT tenancy.maintenance('import'); INSERT INTO app.deploys VALUES (4, 1, 2)",
        )
        .code("55000");
    owner.run("ROLLBACK");
}

/// What several tenants use by the time of the isolation is no longer one's.
#[test]
fn a_row_that_another_tenant_uses_meanwhile_is_taken_back() {
    let (db, mut owner) = application(WEBHOOKS);
    let decisions =
        r#", decisions => '{"app.webhooks": {"by_referrers": true, "null_rows": "hide"}}'"#;
    owner.run(&adopt(&db, &format!("{decisions}, isolate => false")));
    owner.run("INSERT INTO app.apps VALUES (8, 2, 1, 1)");
    owner.run(&adopt(&db, decisions));
    assert_eq!(seen(&db, &user(&db, 1), "webhooks"), ["3"]);
    assert_eq!(seen(&db, &user(&db, 2), "webhooks"), ["2", "4"]);
}

/// A watched statement that cannot see what rows refer to gives them to nobody.
#[test]
fn a_watched_statement_takes_no_invisible_row_for_missing() {
    let (db, mut owner) =
        application("CREATE TABLE app.drafts (id bigint PRIMARY KEY, project_id bigint NOT NULL)");
    let more = ", named_keys => true, null_rows => 'hide', watch => 'protect'";
    owner.run(&adopt(&db, more));
    owner
        .fails("CREATE TABLE app.copies AS SELECT n AS id, n AS project_id FROM generate_series(1, 2) n")
        .code("55000");
    owner.run("CREATE TABLE app.copies (id bigint PRIMARY KEY, project_id bigint NOT NULL)");
    owner.run("BEGIN; SELECT tenancy.maintenance('import'); CREATE TABLE app.others AS SELECT n::bigint AS id, n::bigint AS project_id FROM generate_series(1, 2) n; COMMIT");
    assert_eq!(seen(&db, &user(&db, 2), "others"), ["2"]);
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE table_name IN ('app.copies', 'app.others')"), 2);
}

/// What refers to rows of everybody alone is everybody's only if that was decided, and what comes to refer to one stays its tenant's.
#[test]
fn rows_do_not_become_everybodys_by_what_they_refer_to() {
    let (db, mut owner) = application(
        "CREATE TABLE app.roles (id bigint PRIMARY KEY, organization_id bigint REFERENCES app.organizations);
         CREATE TABLE app.people (id bigint PRIMARY KEY, role_id bigint NOT NULL REFERENCES app.roles);
         INSERT INTO app.roles VALUES (1, 1), (2, 2), (3, NULL);
         INSERT INTO app.people VALUES (1, 1), (2, 2), (3, 3)",
    );
    let share = r#", decisions => '{"app.roles": {"null_rows": "share"}}'"#;
    owner
        .fails(&adopt(&db, share))
        .code("55000")
        .details("app.people: 1 row that gets no tenant from app.roles");
    owner.run("DELETE FROM app.people WHERE id = 3");
    owner.run(&adopt(&db, &format!("{share}, isolate => false")));
    owner.run("UPDATE app.people SET role_id = 3 WHERE id = 1");
    owner.run(&adopt(&db, share));
    assert_eq!(seen(&db, &user(&db, 1), "people"), ["1"]);
    let two = user(&db, 2);
    assert_eq!(seen(&db, &two, "people"), ["2"]);
    let mut app = db.app();
    app.begin(&two);
    assert_eq!(
        app.text("UPDATE app.people SET role_id = 3 WHERE id = 2 RETURNING organization_id::text"),
        "2"
    );
}

/// A column is filled, and what is left is hidden; a key that no tenant has is hidden, too.
#[test]
fn what_cannot_be_filled_is_hidden() {
    let (db, mut owner) = application(
        "CREATE TABLE app.groups (id bigint PRIMARY KEY, organization_id bigint, project_id bigint REFERENCES app.projects);
         INSERT INTO app.groups VALUES (1, NULL, NULL), (2, NULL, 1), (3, 2, NULL), (4, 99, NULL)",
    );
    let decide = |decision: &str| {
        adopt(
            &db,
            &format!(r#", decisions => '{{"app.groups": {decision}}}'"#),
        )
    };
    owner
        .fails(&decide(r#"{"null_rows": "fill"}"#))
        .code("55000")
        .details(r#""rest": "share""#);
    owner
        .fails(&decide(r#"{"null_rows": "fill", "share": true}"#))
        .code("55000")
        .details("and otherwise");
    owner.run(&decide(r#"{"null_rows": "fill", "rest": "hide"}"#));
    assert_eq!(seen(&db, &user(&db, 1), "groups"), ["2"]);
    assert_eq!(seen(&db, &user(&db, 2), "groups"), ["3"]);
    owner.run("BEGIN; SELECT tenancy.maintenance('look')");
    assert_eq!(owner.number("SELECT count(*) FROM app.groups"), 4);
}

/// What the application may read, and may be a tenant's, is warned of; a lookup is granted only where tenants share a row.
#[test]
fn nothing_is_opened_or_left_open_without_a_word() {
    let (db, mut owner) = application(
        "CREATE TABLE app.tokens (id bigint PRIMARY KEY, owner_type text, owner_id bigint, token text);
         CREATE TABLE app.bots (id bigint PRIMARY KEY, secret text);
         ALTER TABLE app.notes ADD bot_id bigint REFERENCES app.bots;
         INSERT INTO app.bots VALUES (1, 's'); UPDATE app.notes SET bot_id = 1 WHERE id = 1",
    );
    owner.run(&format!(
        "GRANT SELECT ON app.tokens TO {}; REVOKE ALL ON app.bots FROM tenancy_app",
        db.app
    ));
    let warnings = owner.warnings(&adopt(&db, ""));
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("not isolated: app.tokens. ")),
        "{warnings:?}"
    );
    let granted = format!(
        "SELECT has_table_privilege('{}', 'app.bots', 'SELECT')::text",
        db.app
    );
    assert_eq!(owner.text(&granted), "false");
    owner.run(&adopt(
        &db,
        r#", decisions => '{"app.bots": {"share": true}}'"#,
    ));
    assert_eq!(owner.text(&granted), "true");
}
