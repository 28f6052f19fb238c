//! What adopt() finds out before it changes anything, and names with an example.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session};

const BEGIN: &str = "CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
    CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations);
    INSERT INTO app.organizations VALUES (1, 'One'), (2, 'Two');
    INSERT INTO app.projects VALUES (1, 1), (2, 2);";

fn application(tables: &str) -> (Db, Session) {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(BEGIN);
    owner.run(tables);
    (db, owner)
}

const ADOPT: &str = "CALL tenancy.adopt('app.organizations'";

/// Returns the reasons for which a call is refused.
fn refused(owner: &mut Session, call: &str) -> String {
    let failure = owner.fails(call).code("55000");
    assert_eq!(
        owner.number("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%tenancy%' AND tgrelid::regclass::text LIKE 'app.%'"),
        0,
        "nothing was done"
    );
    failure.detail.unwrap_or_default()
}

/// Keys that several rows would have once a column is filled are counted before, whatever the index looks like.
#[test]
fn keys_that_would_clash_block() {
    let unique = [
        ("UNIQUE (organization_id, name)", true),
        (
            "UNIQUE NULLS NOT DISTINCT (organization_id, name, code)",
            true,
        ),
        ("UNIQUE (organization_id, name, code)", false),
        ("UNIQUE (name, code, id)", false),
    ];
    for (constraint, clashes) in unique {
        let (_db, mut owner) = application(&format!(
            "CREATE TABLE app.tags (id bigint PRIMARY KEY, organization_id bigint, project_id bigint REFERENCES app.projects, name text, code text, {constraint});
             INSERT INTO app.tags VALUES (1, 1, 1, 'a'), (2, NULL, 1, 'a'), (3, NULL, 2, 'c'), (4, 2, 2, 'b')"
        ));
        let call = format!(r#"{ADOPT}, decisions => '{{"app.tags": {{"null_rows": "fill"}}}}')"#);
        if !clashes {
            owner.run(&call);
            continue;
        }
        let reasons = refused(&mut owner, &call);
        assert!(
            reasons.contains("several rows would have 1 key of the unique index")
                && reasons.contains("(1,a"),
            "{constraint}: {reasons}"
        );
        owner.run("DELETE FROM app.tags WHERE id = 2");
        owner.run(&call);
        assert_eq!(
            owner.number("SELECT count(*) FROM tenancy.protected_tables"),
            3
        );
    }
    for (index, clashes) in [
        ("(organization_id, lower(name)) WHERE code IS NULL", true),
        ("(name) WHERE organization_id IS NOT NULL AND id < 3", true),
        (
            "(organization_id, lower(name)) WHERE code IS NOT NULL",
            false,
        ),
        ("(coalesce(organization_id, 0), name)", true),
    ] {
        let (_db, mut owner) = application(&format!(
            "CREATE TABLE app.tags (id bigint PRIMARY KEY, organization_id bigint, project_id bigint REFERENCES app.projects, name text, code text);
             CREATE UNIQUE INDEX \"Odd name\" ON app.tags {index};
             INSERT INTO app.tags VALUES (1, 1, 1, 'a'), (2, NULL, 1, 'a')"
        ));
        let call = format!("{ADOPT}, null_rows => 'fill')");
        match clashes {
            true => assert!(refused(&mut owner, &call).contains("unique index \"Odd name\"")),
            false => {
                owner.run(&call);
            }
        }
    }
}

#[test]
fn blocks_name_a_row_and_agree_with_their_number() {
    let (_db, mut owner) = application(
        "CREATE TABLE app.notes (a int, b text, organization_id bigint, project_id bigint, PRIMARY KEY (a, b));
         CREATE TABLE app.files (id bigint PRIMARY KEY, project_id bigint NOT NULL);
         CREATE TABLE app.logs (project_id bigint REFERENCES app.projects);
         CREATE TABLE app.visits (id bigint PRIMARY KEY, organization_id bigint NOT NULL);
         INSERT INTO app.notes VALUES (7, 'it''s', NULL, NULL), (8, 'x', 1, 1), (9, 'y', NULL, 1);
         INSERT INTO app.files VALUES (5, 99), (6, 1); INSERT INTO app.logs VALUES (1), (NULL);
         INSERT INTO app.visits VALUES (3, 77), (4, 78)",
    );
    let call = format!("{ADOPT}, named_keys => true)");
    let reasons = refused(&mut owner, &call);
    for wanted in [
        "app.notes: 2 rows without organization_id (for example (a, b) = (",
        "app.files: 1 row refers to a row that is not there (for example id = 5): ",
        "app.logs: 1 row that gets no tenant from app.projects (logs_project_id_fkey) (for example ctid = (0,2)): ",
        "app.visits: 2 rows whose organization_id no tenant has (for example id = 3): ",
    ] {
        assert!(reasons.contains(wanted), "{wanted} in {reasons}");
    }
    owner.run("INSERT INTO app.files VALUES (7, 98)");
    assert!(refused(&mut owner, &call).contains("app.files: 2 rows refer to a row"));
    owner.run(&format!("{ADOPT}, dry_run => true, named_keys => true)"));
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.adoption, unnest(blocked) b WHERE b LIKE '%(for example id = 5)%'"),
        1
    );
}

/// A trigger gives a row its tenant before the server knows the value of a generated column, and before triggers that are named later.
#[test]
fn what_a_trigger_does_not_see_blocks() {
    let (_db, mut owner) = application(
        "CREATE TABLE app.files (id bigint PRIMARY KEY, path text NOT NULL, project_id bigint GENERATED ALWAYS AS (length(path)) STORED REFERENCES app.projects);
         INSERT INTO app.files VALUES (1, 'a')",
    );
    let reasons = refused(&mut owner, &format!("{ADOPT})"));
    assert!(
        reasons.contains("app.files: it refers to its tenant by project_id, a generated column"),
        "{reasons}"
    );
    owner.run("ALTER TABLE app.files ALTER project_id DROP EXPRESSION");
    owner.run(
        "ALTER TABLE app.files ALTER project_id SET NOT NULL;
         CREATE FUNCTION app.choose() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.project_id := length(NEW.path); RETURN NEW; END$$;
         CREATE TRIGGER zz_zoom BEFORE INSERT ON app.files FOR EACH ROW EXECUTE FUNCTION app.choose();
         CREATE TRIGGER zz_zap AFTER INSERT ON app.files FOR EACH ROW EXECUTE FUNCTION app.choose();
         CREATE TRIGGER zz_zip BEFORE DELETE ON app.files FOR EACH ROW EXECUTE FUNCTION app.choose()",
    );
    let reasons = refused(&mut owner, &format!("{ADOPT})"));
    assert!(
        reasons.contains("app.files: its trigger zz_zoom runs after zz_tenancy_fill"),
        "{reasons}"
    );
    owner.run("ALTER TRIGGER zz_zoom ON app.files RENAME TO zoom");
    owner.run(&format!("{ADOPT})"));
    owner.run("BEGIN; SELECT tenancy.maintenance('import'); INSERT INTO app.files (id, path) VALUES (2, 'ab'); COMMIT");
    owner.run("BEGIN; SELECT tenancy.maintenance('look')");
    assert_eq!(
        owner.number("SELECT organization_id FROM app.files WHERE id = 2"),
        2
    );
}

/// What was prepared does not stay open because what it belongs to is left alone since.
#[test]
fn a_prepared_child_of_a_skipped_table_blocks() {
    let (_db, mut owner) = application(
        "CREATE TABLE app.tasks (id bigint PRIMARY KEY, project_id bigint NOT NULL REFERENCES app.projects);
         CREATE TABLE app.notes (id bigint PRIMARY KEY, task_id bigint NOT NULL REFERENCES app.tasks);
         CREATE TABLE app.pins (id bigint PRIMARY KEY, task_id bigint REFERENCES app.tasks, project_id bigint REFERENCES app.projects)",
    );
    owner.run(&format!("{ADOPT}, isolate => false)"));
    let skip =
        |more: &str| format!(r#"{ADOPT}, decisions => '{{"app.tasks": {{"skip": true}}{more}}}')"#);
    let failure = owner.fails(&skip("")).code("55000");
    let reasons = failure.detail.unwrap_or_default();
    for table in ["app.notes", "app.pins"] {
        let wanted = format!("{table}: it is prepared, and has its tenant from app.tasks");
        assert!(reasons.contains(&wanted), "{reasons}");
    }
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables"),
        0
    );
    owner.run(&skip(
        r#", "app.notes": {"skip": true}, "app.pins": {"share": true}"#,
    ));
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables"),
        2
    );
}

/// While tables are prepared the application goes on as before, also with a reference that it leaves open.
#[test]
fn a_reference_may_be_left_open_until_the_isolation() {
    let (db, mut owner) = application(
        "CREATE TABLE app.tasks (id bigint PRIMARY KEY, project_id bigint REFERENCES app.projects);
         CREATE TABLE app.docs (id bigint PRIMARY KEY, organization_id bigint REFERENCES app.organizations);
         INSERT INTO app.tasks VALUES (1, 1); INSERT INTO app.docs VALUES (1, 1)",
    );
    owner.run(&format!("{ADOPT}, isolate => false)"));
    let mut app = db.app();
    app.run("INSERT INTO app.tasks VALUES (2, NULL); INSERT INTO app.docs VALUES (2, NULL)");
    let failure = owner.fails(&format!("{ADOPT})")).code("55000");
    let reasons = failure.detail.unwrap_or_default();
    assert!(
        reasons.contains("app.tasks: 1 row that gets no tenant")
            && reasons.contains("(for example id = 2)"),
        "{reasons}"
    );
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables"),
        0
    );
    app.run("UPDATE app.tasks SET project_id = 2 WHERE id = 2; DELETE FROM app.docs WHERE id = 2");
    owner.run(&format!("{ADOPT})"));
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
        4
    );
    app.fails("INSERT INTO app.tasks VALUES (3, NULL)");
}

#[test]
fn decisions_that_cannot_be_meant_are_refused() {
    let (_db, mut owner) = application(
        "CREATE TABLE app.tasks (id bigint PRIMARY KEY, project_id bigint REFERENCES app.projects)",
    );
    for (decision, says) in [
        (r#"{"parents": {}}"#, "names no parents"),
        (r#"{"skip": true, "share": true}"#, "both skips and shares"),
        (
            r#"{"parents": {"project_id": "app.projects"}, "by_referrers": true}"#,
            "several ways",
        ),
    ] {
        owner
            .fails(&format!(
                r#"{ADOPT}, decisions => '{{"app.tasks": {decision}}}')"#
            ))
            .code("22023")
            .says(says);
    }
}
