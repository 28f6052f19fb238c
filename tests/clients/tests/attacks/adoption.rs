//! Attacks on adopt(): its caller's power, and rows that become another's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session, application};

/// A role of its own that owns the schema `crm` with code that notes who runs it.
fn trap(db: &Db, member_of: &str) -> Session {
    let mut admin = db.admin();
    admin.run(&format!(
        "GRANT CREATE ON DATABASE {} TO {}",
        db.name, db.stranger
    ));
    if !member_of.is_empty() {
        admin.run(&format!("GRANT {member_of} TO {}", db.stranger));
    }
    let mut trap = db.stranger();
    trap.run(
        "CREATE SCHEMA crm; CREATE TABLE crm.ran (by name); GRANT ALL ON SCHEMA crm TO PUBLIC; GRANT ALL ON crm.ran TO PUBLIC;
         CREATE FUNCTION crm.note() RETURNS void LANGUAGE plpgsql AS $$BEGIN INSERT INTO crm.ran VALUES (current_user); END$$;
         CREATE FUNCTION crm.spy(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM crm.note(); RETURN $1; END$$;
         CREATE FUNCTION crm.spy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM crm.note(); RETURN NEW; END$$;
         CREATE TABLE crm.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE crm.projects (id bigint PRIMARY KEY, organization_id bigint REFERENCES crm.organizations);
         CREATE TABLE crm.tasks (id bigint PRIMARY KEY, project_id bigint NOT NULL REFERENCES crm.projects);
         INSERT INTO crm.organizations VALUES (1, 'one'); INSERT INTO crm.projects VALUES (1, 1); INSERT INTO crm.tasks VALUES (1, 1);
         CREATE INDEX ON crm.organizations ((id + crm.spy(1))); CREATE INDEX ON crm.projects ((id + crm.spy(1)));
         CREATE TRIGGER spy BEFORE UPDATE ON crm.tasks FOR EACH ROW EXECUTE FUNCTION crm.spy();
         TRUNCATE crm.ran",
    );
    trap
}

#[test]
fn a_superuser_who_plans_or_adopts_runs_no_owners_code_as_itself() {
    for (member_of, adopts) in [("", false), ("tenancy_app", false), ("tenancy_admin", true)] {
        let db = Db::new();
        trap(&db, member_of);
        let mut admin = db.admin();
        let dry = admin.try_run("CALL tenancy.adopt('crm.organizations', dry_run => true)");
        assert!(dry.is_ok(), "{member_of}: {dry:?}");
        let ran = admin.try_run("CALL tenancy.adopt('crm.organizations')");
        assert_eq!(ran.is_ok(), adopts, "{member_of}: {ran:?}");
        let others = format!("SELECT count(*) FROM crm.ran WHERE by <> '{}'", db.stranger);
        assert_eq!(admin.number(&others), 0, "{member_of}");
    }
}

/// Code of an owner runs in maintenance only if the owner could enter it, too.
#[test]
fn an_owner_without_power_is_not_adopted_for() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 1);
    owner.run("CALL tenancy.adopt('app.organizations', watch => 'off')");
    let mut admin = db.admin();
    admin.run(&format!(
        "GRANT CREATE, USAGE ON SCHEMA app TO {0}; GRANT REFERENCES ON app.tasks TO {0}",
        db.stranger
    ));
    db.stranger().run("CREATE TABLE app.trap (id bigint PRIMARY KEY, task_id bigint NOT NULL); INSERT INTO app.trap VALUES (1, 1)");
    admin.run("BEGIN; SELECT tenancy.maintenance('key'); ALTER TABLE app.trap ADD FOREIGN KEY (task_id) REFERENCES app.tasks; COMMIT");
    let failure = admin
        .fails("CALL tenancy.adopt('app.organizations')")
        .code("55000");
    assert!(
        failure
            .detail
            .unwrap_or_default()
            .contains("app.trap: belongs to")
    );
}

#[test]
fn a_schema_before_the_servers_is_not_asked() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 1);
    owner.run(
        "CREATE SCHEMA evil; CREATE TABLE evil.ran (by name); GRANT ALL ON SCHEMA evil TO PUBLIC; GRANT ALL ON evil.ran TO PUBLIC;
         CREATE FUNCTION evil.eq(name, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN true; END$$;
         CREATE OPERATOR evil.= (leftarg = name, rightarg = text, procedure = evil.eq); CREATE DOMAIN evil.text AS pg_catalog.text",
    );
    let mut admin = db.admin();
    admin.run("SET search_path = evil, pg_catalog, app");
    admin.run("CALL tenancy.adopt('app.organizations', dry_run => true)");
    admin.run("CALL tenancy.adopt('app.organizations')");
    admin.run("RESET search_path");
    assert_eq!(admin.number("SELECT count(*) FROM evil.ran"), 0);
}

/// The trigger on the table of tenants has more power than who writes a row: it converts no value of the table's own types.
#[test]
fn the_trigger_of_sign_ups_runs_no_code_of_the_table() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "CREATE TABLE app.ran (by name); GRANT ALL ON app.ran TO PUBLIC;
         CREATE TYPE app.evil AS ENUM ('a');
         CREATE FUNCTION app.evil_json(app.evil) RETURNS json LANGUAGE plpgsql AS $$BEGIN INSERT INTO app.ran VALUES (current_user); RETURN '1'; END$$;
         CREATE FUNCTION app.evil_text(app.evil) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO app.ran VALUES (current_user); RETURN 'x'; END$$;
         CREATE CAST (app.evil AS json) WITH FUNCTION app.evil_json(app.evil);
         CREATE CAST (app.evil AS text) WITH FUNCTION app.evil_text(app.evil) AS IMPLICIT;
         CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text, slug app.evil, e app.evil)",
    );
    owner.run("CALL tenancy.adopt('app.organizations', isolate => false)");
    owner.run("INSERT INTO app.organizations VALUES (1, 'one', 'a', 'a')");
    assert_eq!(owner.number("SELECT count(*) FROM app.ran"), 0);
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.tenants"), 1);
    // Nor if the trigger is made by hand for such a column.
    owner.run(
        "CREATE TABLE app.other (key app.evil);
         CREATE TRIGGER t AFTER INSERT ON app.other FOR EACH ROW EXECUTE FUNCTION tenancy.follow_tenant('key', 'key', 'key', '00000000-0000-7000-8000-000000000001')",
    );
    owner
        .fails("INSERT INTO app.other VALUES ('a')")
        .code("22023");
    assert_eq!(owner.number("SELECT count(*) FROM app.ran"), 0);
}

#[test]
fn names_of_any_characters_do_not_open_a_table() {
    for name in [
        "tâches",
        "back\\slash",
        "quo\"te",
        "per%cent",
        "semi;colon",
        "0041",
    ] {
        let db = Db::new();
        let mut owner = db.owner();
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        owner.run(&format!(
            "CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
             CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations);
             CREATE TABLE app.{quoted} (id bigint PRIMARY KEY, {quoted} bigint NOT NULL, CONSTRAINT {quoted} FOREIGN KEY ({quoted}) REFERENCES app.projects);
             INSERT INTO app.organizations VALUES (1, 'a'); INSERT INTO app.projects VALUES (1, 1); INSERT INTO app.{quoted} VALUES (1, 1)"
        ));
        owner.run("CALL tenancy.adopt('app.organizations')");
        assert_eq!(
            owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
            3,
            "{name}"
        );
        owner.run(&format!(
            "BEGIN; SELECT tenancy.maintenance('x'); INSERT INTO app.{quoted} VALUES (2, 1); COMMIT"
        ));
        owner.run("CALL tenancy.adopt('app.organizations')");
    }
}

/// A row of a tenant does not become everybody's when what it refers to goes.
#[test]
fn no_row_of_a_tenant_becomes_everybodys() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations ON DELETE CASCADE);
         CREATE TABLE app.docs (id bigint PRIMARY KEY, organization_id bigint REFERENCES app.organizations ON DELETE SET NULL, body text);
         CREATE TABLE app.tasks (id bigint PRIMARY KEY, project_id bigint REFERENCES app.projects ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED, body text);
         INSERT INTO app.organizations VALUES (1, 'a'), (2, 'b'); INSERT INTO app.projects VALUES (1, 1), (2, 2);
         INSERT INTO app.docs VALUES (1, NULL, 'all'), (2, 2, 'of 2'); INSERT INTO app.tasks VALUES (1, NULL, 'all'), (2, 2, 'of 2')",
    );
    let share = "null_rows => 'share'";
    let failure = owner
        .fails(&format!("CALL tenancy.adopt('app.organizations', {share})"))
        .code("55000");
    assert!(
        failure
            .detail
            .unwrap_or_default()
            .contains("would become everybody's")
    );
    owner.run("ALTER TABLE app.docs DROP CONSTRAINT docs_organization_id_fkey, ADD FOREIGN KEY (organization_id) REFERENCES app.organizations ON DELETE CASCADE");
    owner.run(&format!(
        "CALL tenancy.adopt('app.organizations', {share}, grants => '{{{}}}')",
        db.app
    ));
    let mut admin = db.admin();
    admin.run("SELECT tenancy.create_user(t.id, 'ann') FROM tenancy.tenants t");
    let key = |admin: &mut Session, n: &str| {
        admin.text(&format!("SELECT tenancy.issue_api_key(u.id, 'k') FROM tenancy.users u JOIN tenancy.tenants t ON t.id = u.parent_id WHERE t.external_id = '{n}'"))
    };
    let (one, two) = (key(&mut admin, "1"), key(&mut admin, "2"));
    let mut app = db.app();
    app.begin(&two);
    app.run("DELETE FROM app.projects; COMMIT");
    app.begin(&one);
    assert_eq!(
        app.texts("SELECT body FROM app.tasks UNION ALL SELECT body FROM app.docs"),
        ["all", "all"]
    );
    app.run("ROLLBACK");
    assert_eq!(
        admin.number("SELECT count(*) FROM app.tasks WHERE organization_id = 2"),
        1,
        "it stays where it was"
    );
    // Nor one that comes before what it refers to.
    owner.run("BEGIN; SELECT tenancy.maintenance('import')");
    owner
        .fails_inside("INSERT INTO app.tasks VALUES (6, 6, 'secret')")
        .code("55000")
        .says("does not exist or is not visible");
    owner.run("ROLLBACK");
}

/// A wrong decision, or one on what is not there any more, opens nothing.
#[test]
fn mistakes_open_nothing() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 1);
    owner.run("CREATE TABLE app.cards (id bigint PRIMARY KEY, number text); CREATE TABLE app.projects_data (id bigint PRIMARY KEY, secret text); ALTER TABLE app.projects ADD data_id bigint UNIQUE REFERENCES app.projects_data");
    owner.run("REVOKE ALL ON app.cards, app.projects_data, app.currencies FROM tenancy_app");
    let call = |more: &str| {
        format!(
            "CALL tenancy.adopt('app.organizations', grants => '{{{}}}'{more})",
            db.app
        )
    };
    let readable = |session: &mut Session, table: &str| {
        session.text(&format!(
            "SELECT has_table_privilege('{}', '{table}', 'SELECT')::text",
            db.app
        )) == "true"
    };
    for decision in [
        r#""app.tasks": {"parent_key": "typo"}"#,
        r#""app.tasks": {"tenant_column": "typo"}"#,
    ] {
        let failure = owner
            .fails(&call(&format!(", decisions => '{{{decision}}}'")))
            .code("55000");
        assert!(failure.detail.unwrap_or_default().contains("typo"));
    }
    // Rows that belong to one row of a tenant each.
    let failure = owner.fails(&call("")).code("55000");
    assert!(
        failure
            .detail
            .unwrap_or_default()
            .contains("app.projects_data: each of its rows")
    );
    owner.run(&call(
        r#", decisions => '{"app.projects_data": {"skip": true}}', isolate => false"#,
    ));
    for table in ["app.projects_data", "app.cards"] {
        let acl = owner.text(&format!(
            "SELECT coalesce(relacl::text, '') FROM pg_class WHERE oid = '{table}'::regclass"
        ));
        assert!(!readable(&mut owner, table), "{table} {acl}");
    }
    assert!(readable(&mut owner, "app.currencies"));
    owner.run("ALTER TABLE app.comments DROP CONSTRAINT comments_task_id_fkey");
    let failure = owner
        .fails(&call(
            r#", decisions => '{"app.projects_data": {"skip": true}}'"#,
        ))
        .code("55000");
    assert!(
        failure
            .detail
            .unwrap_or_default()
            .contains("app.comments: the foreign key")
    );
    owner.run("ALTER TABLE app.comments ADD CONSTRAINT another FOREIGN KEY (task_id) REFERENCES app.tasks");
    // What moved to another tenant between the phases is seen before the tables are isolated.
    owner.run(
        "UPDATE app.projects SET organization_id = 3 WHERE id = (SELECT min(id) FROM app.projects)",
    );
    owner.run(&call(
        r#", decisions => '{"app.projects_data": {"skip": true}}'"#,
    ));
    let mut admin = db.admin();
    for (table, tenant) in application::TRUTH {
        assert_eq!(
            admin.number(&format!(
                "SELECT count(*) FROM app.{table} WHERE organization_id IS DISTINCT FROM {tenant}"
            )),
            0,
            "{table}"
        );
    }
}

/// Another admin neither watches nor leaves alone what is not its own.
#[test]
fn another_admin_does_not_decide_on_later_tables() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 1);
    owner.run("CALL tenancy.adopt('app.organizations', watch => 'protect')");
    let mut admin = db.admin();
    admin.run(&format!(
        "GRANT tenancy_admin TO {0}; GRANT CREATE ON DATABASE {1} TO {0}",
        db.stranger, db.name
    ));
    let oid = admin.text("SELECT 'app.organizations'::regclass::oid::text");
    let mut other = db.stranger();
    for call in [
        format!("CALL tenancy.adopt({oid}::regclass, watch => 'off')"),
        format!("CALL tenancy.adopt({oid}::regclass, dry_run => true)"),
        format!("CALL tenancy.unadopt({oid}::regclass, dry_run => true)"),
    ] {
        other.fails(&call).code("42501");
    }
    other.run("CREATE SCHEMA mine; CREATE TABLE mine.organizations (id bigint PRIMARY KEY)");
    for schemas in [
        "{mine,app}",
        "{mine,public}",
        "{mine,pg_catalog}",
        "{mine,tenancy}",
    ] {
        other.fails(&format!("CALL tenancy.adopt('mine.organizations', schemas => '{schemas}', watch => 'protect')")).code("22023");
    }
    // Nor in a schema that both use.
    admin.run(&format!(
        "GRANT CREATE, USAGE ON SCHEMA app TO {}",
        db.stranger
    ));
    admin.run(&format!("SET ROLE {}; SET search_path = ''; CREATE TABLE app.theirs (id bigint PRIMARY KEY, name text); RESET search_path; RESET ROLE", db.stranger));
    other
        .fails("CALL tenancy.adopt('app.theirs', watch => 'off')")
        .code("42501");
    owner.run("CREATE TABLE app.late (id bigint PRIMARY KEY, task_id bigint NOT NULL REFERENCES app.tasks)");
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE table_name = 'app.late' AND isolated"), 1);
}
