//! fix_foreign_keys(): foreign keys that let a row refer to another tenant's are closed, as far as rows and tables allow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::application;
use tenancy_client_tests::{Db, Session};

/// An adopted application whose organizations have numbers, with a user's key for the first and the second.
fn adopted() -> (Db, Session, [String; 2]) {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 5);
    owner.run(
        "CREATE TABLE app.labels (id bigint PRIMARY KEY, organization_id bigint REFERENCES app.organizations, name text);
         CREATE TABLE app.labelled (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations,
             label_id bigint REFERENCES app.labels, task_id bigint REFERENCES app.tasks ON DELETE SET NULL, other_id bigint REFERENCES app.tasks ON UPDATE CASCADE);
         INSERT INTO app.labels VALUES (1, NULL, 'everybody''s')",
    );
    owner.run(&format!(
        "CALL tenancy.adopt('app.organizations', grants => '{{{}}}', null_rows => 'share')",
        db.app
    ));
    let mut admin = db.admin();
    let keys = ["org-1", "org-2"].map(|tenant| {
        admin.run(&format!("SELECT tenancy.create_user('{tenant}', 'ann')"));
        admin.text(&format!(
            "SELECT tenancy.issue_api_key('{tenant}/ann', 'k')"
        ))
    });
    (db, owner, keys)
}

const FIX: &str = "CALL tenancy.fix_foreign_keys()";
const STATUS: &str = "SELECT concat_ws(' ', table_name, foreign_key, status) FROM tenancy.foreign_key_fixes ORDER BY 1";
const OPEN: &str = "SELECT count(*) FROM tenancy.foreign_key_fixes WHERE status NOT IN ('done', 'cannot be closed')";

#[test]
fn keys_get_the_tenant_and_rows_of_others_are_out_of_reach() {
    let (db, mut owner, [one, two]) = adopted();
    let foreign = db
        .admin()
        .number("SELECT min(id) FROM app.tasks WHERE organization_id = 2");
    let mut app = db.app();
    let insert = format!("INSERT INTO app.labelled (task_id) VALUES ({foreign})");
    app.begin(&one).run(&insert).run("ROLLBACK");

    owner.run("CALL tenancy.fix_foreign_keys(dry_run => true)");
    let planned = owner.texts(STATUS);
    assert!(
        planned.contains(&"app.labelled labelled_task_id_fkey planned".to_owned()),
        "{planned:?}"
    );
    assert!(
        planned.contains(&"app.labelled labelled_label_id_fkey cannot be closed".to_owned()),
        "{planned:?}"
    );
    // What two keys refer to is made once.
    let unique = "SELECT count(*) FROM tenancy.foreign_key_fixes, unnest(statements) s WHERE s LIKE 'ALTER TABLE app.tasks ADD CONSTRAINT % UNIQUE%'";
    assert_eq!(owner.number(unique), 1, "{planned:?}");

    owner.run(FIX);
    assert_eq!(owner.number(OPEN), 0, "{:?}", owner.texts(STATUS));
    assert_eq!(
        owner.texts("SELECT conname FROM pg_constraint WHERE contype = 'f' AND NOT convalidated AND conparentid = 0 AND connamespace = 'app'::regnamespace"),
        Vec::<String>::new()
    );
    app.begin(&one);
    app.fails_inside(&insert).code("23503");
    let own = app.number("SELECT min(id) FROM app.tasks");
    app.run(&format!(
        "INSERT INTO app.labelled (task_id, other_id, label_id) VALUES ({own}, {own}, 1); COMMIT"
    ));
    // What the keys did before.
    app.begin(&one).run(&format!("DELETE FROM app.comments WHERE task_id = {own}; UPDATE app.labelled SET other_id = NULL; DELETE FROM app.tasks WHERE id = {own}"));
    assert_eq!(
        app.texts("SELECT organization_id || coalesce(task_id::text, '-') FROM app.labelled"),
        ["1-"]
    );
    app.run("ROLLBACK");
    app.begin(&two).run("COMMIT");

    // Nothing is left to do, and what was done stays on record.
    owner.run(FIX);
    assert_eq!(owner.number(OPEN), 0);
    assert!(
        owner.number("SELECT count(*) FROM tenancy.foreign_key_fixes WHERE status = 'done'") > 3
    );
}

#[test]
fn rows_of_other_tenants_are_counted_first_and_named() {
    let (db, mut owner, _) = adopted();
    db.admin().run(
        "INSERT INTO app.labelled (organization_id, task_id) SELECT 1, id FROM app.tasks WHERE organization_id = 2 LIMIT 3;
         INSERT INTO app.labelled (organization_id, task_id) SELECT 3, id FROM app.tasks WHERE organization_id = 2 LIMIT 1",
    );
    let warnings = owner.warnings(FIX);
    let told = "foreign key labelled_task_id_fkey of app.labelled stays open: 4 rows refer to another tenant's row: 3 of 1, 1 of 3";
    assert!(warnings.iter().any(|w| w.contains(told)), "{warnings:?}");
    assert_eq!(owner.text("SELECT string_agg(foreign_key, ' ') FROM tenancy.foreign_key_fixes WHERE status = 'blocked'"), "labelled_task_id_fkey");
    let definition = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'labelled_task_id_fkey'";
    assert_eq!(
        owner.text(definition),
        "FOREIGN KEY (task_id) REFERENCES app.tasks(id) ON DELETE SET NULL"
    );
    db.admin().run("UPDATE app.labelled SET task_id = NULL");
    owner.run(FIX);
    assert_eq!(
        owner.text(definition),
        "FOREIGN KEY (organization_id, task_id) REFERENCES app.tasks(organization_id, id) ON DELETE SET NULL (task_id)"
    );
}

/// A key that was replaced, and whose rows were not compared before the call was stopped, is compared by the next one.
#[test]
fn it_continues_where_it_was_stopped() {
    let (db, mut owner, _) = adopted();
    owner.run("CALL tenancy.fix_foreign_keys(dry_run => true)");
    let statements = owner.texts("SELECT unnest(statements[1:cardinality(statements) - 1]) FROM tenancy.foreign_key_fixes WHERE foreign_key IN ('labelled_task_id_fkey', 'comments_task_id_fkey')");
    owner.run("SET tenancy.maintenance_reason = 'by hand'");
    for statement in statements {
        owner.run(&statement);
    }
    owner.run("RESET tenancy.maintenance_reason");
    let open = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated AND conparentid = 0 AND connamespace = 'app'::regnamespace";
    assert!(owner.number(open) > 0);
    owner.run(FIX);
    assert_eq!(owner.number(open), 0);
    assert_eq!(owner.number(OPEN), 0);
    // A writer holds a lock for a moment.
    drop(db);
}

/// What keys of a large table refer to is built while writers go on.
#[test]
fn unique_indexes_of_large_tables_are_built_concurrently() {
    let (db, mut owner, _) = adopted();
    db.admin()
        .run("UPDATE pg_class SET reltuples = 5e6 WHERE oid = 'app.tasks'::regclass");
    owner.run(FIX);
    assert_eq!(owner.number(OPEN), 0, "{:?}", owner.texts(STATUS));
    let built = "SELECT count(*) FROM tenancy.foreign_key_fixes, unnest(statements) s WHERE s LIKE 'CREATE UNIQUE INDEX CONCURRENTLY % ON app.tasks (organization_id, id)'";
    assert_eq!(owner.number(built), 1);
    assert_eq!(
        owner.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'app.tasks'::regclass AND contype = 'u'"),
        "UNIQUE (organization_id, id)"
    );
}

/// A key that cannot be closed, or not yet, keeps none of the others, and loses nothing.
#[test]
fn each_key_is_closed_or_stays_as_it_is() {
    let (db, mut owner, _) = adopted();
    db.admin().run("CREATE EXTENSION citext SCHEMA public");
    owner.run(
        "CREATE TABLE app.parents (id int PRIMARY KEY, organization_id bigint NOT NULL);
         CREATE TABLE app.crossing (id int, organization_id bigint NOT NULL, parent int CONSTRAINT a_first REFERENCES app.parents);
         CREATE TABLE app.clean (id int, organization_id bigint NOT NULL, parent int CONSTRAINT clean_key REFERENCES app.parents ON DELETE CASCADE);
         COMMENT ON CONSTRAINT clean_key ON app.clean IS 'it''s kept';
         CREATE TABLE app.everybodys (id int, organization_id bigint, parent int REFERENCES app.parents);
         CREATE TABLE app.cased (id int PRIMARY KEY, account citext NOT NULL);
         CREATE TABLE app.cases (id int, account citext NOT NULL, parent int REFERENCES app.cased);
         CREATE TABLE app.numbered (id int, account numeric(9,0) NOT NULL, parent int REFERENCES app.parents);
         CREATE TABLE app.dangling (id int, organization_id bigint NOT NULL, parent int);
         INSERT INTO app.dangling VALUES (1, 1, 99);
         ALTER TABLE app.dangling ADD CONSTRAINT dangling_key FOREIGN KEY (parent) REFERENCES app.parents NOT VALID;
         INSERT INTO app.parents VALUES (1, 1), (2, 2);
         INSERT INTO app.crossing VALUES (1, 1, 2);
         INSERT INTO app.clean VALUES (1, 1, 1);
         SELECT tenancy.protect(t, 'organization_id') FROM unnest('{app.parents,app.crossing,app.clean,app.dangling}'::regclass[]) t;
         SELECT tenancy.protect('app.everybodys', 'organization_id', shared_null => true);
         SELECT tenancy.protect(t, 'account') FROM unnest('{app.cased,app.cases,app.numbered}'::regclass[]) t",
    );
    for _ in 0..2 {
        owner.run(FIX);
        let status = owner.texts("SELECT foreign_key || ' ' || status FROM tenancy.foreign_key_fixes WHERE table_name IN \
            ('app.crossing', 'app.clean', 'app.everybodys', 'app.cases', 'app.numbered') ORDER BY table_name");
        assert_eq!(
            status,
            [
                "cases_parent_fkey cannot be closed",
                "clean_key done",
                "a_first blocked",
                "everybodys_parent_fkey cannot be closed",
                "numbered_parent_fkey cannot be closed",
            ]
        );
    }
    assert_eq!(
        owner.text("SELECT pg_get_constraintdef(oid) || ' ' || obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'clean_key'"),
        "FOREIGN KEY (organization_id, parent) REFERENCES app.parents(organization_id, id) ON DELETE CASCADE it's kept"
    );
    // It is replaced, and says that it is still not valid: by the first call as before, by the second after it has tried.
    assert_eq!(
        owner.text(
            "SELECT status FROM tenancy.foreign_key_fixes WHERE foreign_key = 'dangling_key'"
        ),
        "blocked"
    );
    assert!(
        owner
            .text("SELECT note FROM tenancy.foreign_key_fixes WHERE foreign_key = 'dangling_key'")
            .contains("violates foreign key")
    );
}

/// An owner that could not begin maintenance gets none by planning.
#[test]
fn no_owners_code_runs_in_maintenance_that_it_could_not_begin() {
    let (db, _, _) = adopted();
    let mut admin = db.admin();
    admin.run(&format!(
        "CREATE SCHEMA low AUTHORIZATION {low}; CREATE TABLE low.seen (what text); ALTER TABLE low.seen OWNER TO {low}; SET ROLE {low};
         CREATE TYPE low.e AS ENUM ('a');
         CREATE FUNCTION low.cast_e(low.e) RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO low.seen VALUES ('ran'); RETURN 1; END$$;
         CREATE CAST (low.e AS int) WITH FUNCTION low.cast_e AS IMPLICIT;
         CREATE TABLE low.p (id int PRIMARY KEY, tenant int NOT NULL);
         CREATE TABLE low.c (id int, tenant int NOT NULL, p low.e REFERENCES low.p); RESET ROLE;
         INSERT INTO low.p VALUES (1, 1); INSERT INTO low.c VALUES (1, 1, 'a');
         SELECT tenancy.protect('low.p', 'tenant'); SELECT tenancy.protect('low.c', 'tenant'); TRUNCATE low.seen",
        low = db.stranger
    ));
    admin
        .run("CALL tenancy.fix_foreign_keys('{low}', dry_run => true)")
        .run("CALL tenancy.fix_foreign_keys('{low}')");
    assert_eq!(
        admin.texts("SELECT what FROM low.seen"),
        Vec::<String>::new()
    );
    assert_eq!(
        admin.text("SELECT status || ': ' || note FROM tenancy.foreign_key_fixes WHERE table_name = 'low.c'"),
        "blocked: the owner of its tables lacks tenancy_admin"
    );
}

/// Keys with a column that adopt() has added keep it from being undone, before anything is.
#[test]
fn what_keys_need_is_not_undone_by_half() {
    let (_db, mut owner, _) = adopted();
    owner.run(FIX);
    owner.run("CALL tenancy.unadopt('app.organizations', dry_run => true)");
    assert!(owner.number("SELECT count(*) FROM tenancy.adoption WHERE status = 'blocked'") > 0);
    let failure = owner
        .fails("CALL tenancy.unadopt('app.organizations')")
        .code("55000")
        .says("cannot be undone");
    let detail = failure.detail.unwrap_or_default();
    assert!(detail.contains("app.comments: its column organization_id is part of comments_task_id_fkey of app.comments"), "{detail}");
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE table_name = 'app.comments' AND isolated"), 1);
}

#[test]
fn who_may_not_is_told() {
    let (db, mut owner, _) = adopted();
    db.app().fails(FIX).code("42501");
    owner.run("BEGIN");
    owner.fails_inside(FIX).code("25001");
    owner.run("ROLLBACK");
    db.admin()
        .run("ALTER TABLE app.labelled OWNER TO CURRENT_USER");
    let warnings = owner.warnings(FIX);
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("do not both belong to the caller")),
        "{warnings:?}"
    );
}

/// What several keys refer to is made before the first of them, in whichever order the tables were made.
#[test]
fn what_keys_refer_to_is_made_for_the_first() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE app.sessions (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations);
         CREATE TABLE app.videos (id bigint PRIMARY KEY, session_id bigint NOT NULL REFERENCES app.sessions);
         CREATE TABLE app.clicks (id bigint PRIMARY KEY, session_id bigint NOT NULL REFERENCES app.sessions);
         CREATE SCHEMA aaa; CREATE TABLE aaa.pages (id bigint PRIMARY KEY, session_id bigint NOT NULL REFERENCES app.sessions)",
    );
    owner.run("CALL tenancy.adopt('app.organizations', schemas => '{app,aaa}')");
    assert_eq!(owner.warnings(FIX), Vec::<String>::new());
    assert_eq!(owner.number(OPEN), 0, "{:?}", owner.texts(STATUS));
}
