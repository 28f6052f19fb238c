//! unfix_foreign_keys(): the keys that fix_foreign_keys() has replaced are put back as they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::Duration;

use tenancy_client_tests::application;
use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::program::{command, server_program, succeed};
use tenancy_client_tests::{Db, Session};

/// An adopted application whose organizations have numbers, with foreign keys of all kinds.
fn adopted() -> (Db, Session) {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 5);
    owner.run(
        "CREATE TABLE app.pairs (a int NOT NULL, b int NOT NULL, organization_id bigint NOT NULL REFERENCES app.organizations, PRIMARY KEY (a, b));
         CREATE TABLE app.kinds (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations,
             a int, b int, cleared bigint REFERENCES app.tasks ON DELETE SET NULL ON UPDATE SET NULL, moved bigint REFERENCES app.tasks ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED,
             listed bigint, parent bigint REFERENCES app.kinds, unchecked bigint,
             CONSTRAINT both_or_none FOREIGN KEY (a, b) REFERENCES app.pairs MATCH FULL,
             CONSTRAINT of_columns FOREIGN KEY (listed) REFERENCES app.tasks ON DELETE SET NULL (listed));
         ALTER TABLE app.kinds ADD CONSTRAINT not_valid FOREIGN KEY (unchecked) REFERENCES app.tasks NOT VALID;
         COMMENT ON CONSTRAINT of_columns ON app.kinds IS 'it''s ours';
         CREATE TABLE app.parted (id bigint, organization_id bigint NOT NULL, task_id bigint CONSTRAINT of_parts REFERENCES app.tasks ON DELETE CASCADE) PARTITION BY LIST (organization_id);
         CREATE TABLE app.parted_1 PARTITION OF app.parted DEFAULT",
    );
    owner.run(&format!(
        "CALL tenancy.adopt('app.organizations', grants => '{{{}}}')",
        db.app
    ));
    (db, owner)
}

/// All constraints, as they are defined. The server leaves those of partitions that are referred to as not valid, once they were.
const CONSTRAINTS: &str = "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated || coalesce(obj_description(oid, 'pg_constraint'), '') \
    FROM pg_constraint WHERE conparentid = 0 AND connamespace = 'app'::regnamespace ORDER BY 1";
const FIX: &str = "CALL tenancy.fix_foreign_keys()";
const UNFIX: &str = "CALL tenancy.unfix_foreign_keys()";
const STATUS: &str = "SELECT concat_ws(' ', table_name, foreign_key, status, done, steps, note) FROM tenancy.foreign_key_fixes ORDER BY 1";
/// The foreign keys between tenants' tables.
const OWN_KEYS: &str = "SELECT count(*) FROM tenancy.foreign_key_fixes";

#[test]
fn all_is_as_before_and_unadopt_goes_on() {
    let (db, mut owner) = adopted();
    let before = owner.texts(CONSTRAINTS);
    owner.run(FIX);
    assert_ne!(owner.texts(CONSTRAINTS), before);
    // What the adoption needs is not undone by half; the error names what goes first.
    let failure = owner
        .fails("CALL tenancy.unadopt('app.organizations')")
        .code("55000")
        .hints("CALL tenancy.unfix_foreign_keys()");
    let detail = failure.detail.unwrap_or_default();
    assert!(detail.contains("comments_task_id_fkey"), "{detail}");

    let fixed = owner.texts(CONSTRAINTS);
    owner.run("CALL tenancy.unfix_foreign_keys(dry_run => true)");
    assert_eq!(owner.texts(CONSTRAINTS), fixed);
    let planned = owner.texts(STATUS);
    assert!(
        planned
            .iter()
            .any(|s| s.starts_with("app.kinds both_or_none undo planned 0 ")),
        "{planned:?}"
    );
    // A plan to undo is none to fix, and the other way round.
    owner.run("CALL tenancy.fix_foreign_keys(dry_run => true)");
    // One that was not valid is made so by the second call.
    let left = "SELECT count(*) FROM tenancy.foreign_key_fixes WHERE status <> 'done'";
    assert_eq!(owner.number(left), 1, "{:?}", owner.texts(STATUS));

    assert_eq!(owner.warnings(UNFIX), Vec::<String>::new());
    assert_eq!(
        owner.texts(CONSTRAINTS),
        before,
        "{:?}",
        owner.texts(STATUS)
    );
    let left =
        "SELECT count(*) FROM tenancy.foreign_key_fixes WHERE status <> 'undone' OR done < steps";
    assert_eq!(owner.number(left), 0, "{:?}", owner.texts(STATUS));
    assert!(owner.number(OWN_KEYS) > 8);
    // It can be called again, and fixed again.
    owner.run(UNFIX);
    assert_eq!(owner.texts(CONSTRAINTS), before);
    owner.run(FIX);
    assert_eq!(owner.texts(CONSTRAINTS), fixed);
    owner.run(UNFIX);
    assert_eq!(owner.texts(CONSTRAINTS), before);
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE table_name LIKE 'app.%'"),
        0
    );
    drop(db);
}

/// While rows are compared, and in every moment before and after, a key is there.
#[test]
fn it_is_resumed_after_its_backend_was_ended_anywhere() {
    let (db, mut owner) = adopted();
    let before = owner.texts(CONSTRAINTS);
    owner.run(FIX);
    let fixed = owner.texts(CONSTRAINTS);
    let mut admin = db.admin();
    let mut dice = Dice::new(std::process::id().into(), 0);
    // Each key, by its table and the column that it is about, exists.
    let checked = "SELECT count(DISTINCT (conrelid, conkey[cardinality(conkey)])) FROM pg_constraint \
        WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'app'::regnamespace";
    let keys = admin.number(checked);
    for _ in 0..12 {
        let mut session = db.owner();
        let pid = session.pid();
        let pause = Duration::from_millis(dice.roll(60));
        let undoing = thread::spawn(move || session.try_run(UNFIX).is_ok());
        thread::sleep(pause);
        assert_eq!(admin.number(checked), keys);
        admin.run(&format!("SELECT pg_terminate_backend({pid})"));
        let _ = undoing.join().unwrap();
        assert_eq!(admin.number(checked), keys);
    }
    owner = db.owner();
    owner.run(UNFIX);
    assert_eq!(
        owner.texts(CONSTRAINTS),
        before,
        "{:?}",
        owner.texts(STATUS)
    );
    owner.run(FIX);
    assert_eq!(owner.texts(CONSTRAINTS), fixed);
}

/// What an undo that was stopped has added is gone once the keys are fixed again, and no key loses its record.
#[test]
fn a_stopped_undo_is_taken_back_by_fixing_again() {
    let (_db, mut owner) = adopted();
    let before = owner.texts(CONSTRAINTS);
    owner.run(FIX);
    let fixed = owner.texts(CONSTRAINTS);
    owner.run("CALL tenancy.unfix_foreign_keys(dry_run => true)");
    let first = owner.texts("SELECT statements[1] FROM tenancy.foreign_key_fixes WHERE foreign_key IN ('comments_task_id_fkey', 'of_columns')");
    owner.run("SET tenancy.maintenance_reason = 'by hand'");
    for statement in &first {
        assert!(
            statement.contains("_tenancy_former") && statement.ends_with("NOT VALID"),
            "{statement}"
        );
        owner.run(statement);
    }
    owner.run("RESET tenancy.maintenance_reason");
    assert_eq!(owner.texts(CONSTRAINTS).len(), fixed.len() + first.len());
    owner.run(FIX);
    // One that was not valid is made so by the second call, and is not valid again in the end.
    let valid = |definitions: Vec<String>| -> Vec<String> {
        (definitions.iter())
            .map(|definition| definition.replace(" NOT VALID false", " true"))
            .collect()
    };
    assert_eq!(owner.texts(CONSTRAINTS), valid(fixed));
    owner.run(UNFIX);
    assert_eq!(owner.texts(CONSTRAINTS), before);
}

/// A fix that was stopped between the new key and the comparison of its rows keeps what the key was.
#[test]
fn a_stopped_fix_is_undone_too() {
    let (_db, mut owner) = adopted();
    let before = owner.texts(CONSTRAINTS);
    owner.run("CALL tenancy.fix_foreign_keys(dry_run => true)");
    let statements = owner.texts("SELECT unnest(statements[1:cardinality(statements) - 1]) FROM tenancy.foreign_key_fixes WHERE foreign_key = 'comments_task_id_fkey'");
    owner.run("SET tenancy.maintenance_reason = 'by hand'");
    for statement in statements {
        owner.run(&statement);
    }
    owner.run("RESET tenancy.maintenance_reason");
    owner.run("CALL tenancy.fix_foreign_keys(dry_run => true)");
    owner.run(UNFIX);
    assert_eq!(
        owner.texts(CONSTRAINTS),
        before,
        "{:?}",
        owner.texts(STATUS)
    );
}

/// An index that was built for a constraint, when the call was stopped, goes too; one that identifies rows for subscribers does not.
#[test]
fn what_was_made_is_dropped_and_what_rows_are_found_by_is_not() {
    let (_db, mut owner) = adopted();
    owner.run(
        "CREATE UNIQUE INDEX tasks_organization_id_id_tenancy_key ON app.tasks (organization_id, id)",
    );
    owner.run(FIX);
    owner.run("ALTER TABLE app.events REPLICA IDENTITY USING INDEX events_organization_id_id_at_tenancy_key");
    let made = "SELECT relname::text FROM pg_class WHERE relname LIKE '%tenancy\\_key' ORDER BY 1";
    let before = owner.texts(made);
    assert!(
        before.contains(&"tasks_organization_id_id_tenancy_key".to_owned()),
        "{before:?}"
    );
    owner.run(UNFIX);
    assert_eq!(
        owner.texts(made),
        ["events_organization_id_id_at_tenancy_key"]
    );
}

/// Tables, keys and columns may have new names by then; what others use stays.
#[test]
fn renamed_ones_are_found_and_what_is_in_use_stays() {
    let (db, mut owner) = adopted();
    owner.run(FIX);
    owner.run(
        "ALTER TABLE app.comments RENAME CONSTRAINT comments_task_id_fkey TO of_task;
         ALTER TABLE app.tasks RENAME CONSTRAINT tasks_project_id_fkey TO of_project;
         ALTER TABLE app.tasks RENAME TO jobs;
         ALTER TABLE app.kinds RENAME moved TO shifted;
         CREATE TABLE app.own (id int, organization_id bigint NOT NULL, task_id bigint, FOREIGN KEY (organization_id, task_id) REFERENCES app.jobs (organization_id, id));
         SELECT tenancy.protect('app.own', 'organization_id')",
    );
    owner.run(UNFIX);
    let definition = |owner: &mut Session, name: &str| {
        owner.text(&format!(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{name}'"
        ))
    };
    assert_eq!(
        definition(&mut owner, "of_task"),
        "FOREIGN KEY (task_id) REFERENCES app.jobs(id) ON DELETE CASCADE"
    );
    assert_eq!(
        definition(&mut owner, "of_project"),
        "FOREIGN KEY (project_id) REFERENCES app.projects(id) ON DELETE CASCADE"
    );
    assert_eq!(
        definition(&mut owner, "kinds_moved_fkey"),
        "FOREIGN KEY (shifted) REFERENCES app.jobs(id) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED"
    );
    // The application's own key needs the constraint, which goes with the last one that does.
    let made = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'app.jobs'::regclass AND contype = 'u'";
    assert_eq!(owner.number(made), 1);
    // One that is gone cannot be put back, and this is said.
    owner
        .run(FIX)
        .run("DROP TABLE app.own; ALTER TABLE app.comments DROP CONSTRAINT of_task");
    let warnings = owner.warnings(UNFIX);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0]
            .contains("foreign key of_task of app.comments is not put back: no key of its name"),
        "{warnings:?}"
    );
    assert_eq!(owner.number(made), 0);
    drop(db);
}

/// A row that refers to nothing, as a superuser can write it: the new key stays, and only that.
#[test]
fn a_row_that_violates_the_former_key_keeps_the_new_one() {
    let (db, mut owner) = adopted();
    owner.run(FIX);
    let fixed = owner.texts("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'app.comments'::regclass ORDER BY 1");
    db.admin().run("SET session_replication_role = replica; INSERT INTO app.comments (task_id, organization_id) VALUES (999999, 1)");
    let warnings = owner.warnings(UNFIX);
    assert!(
        warnings.len() == 1
            && warnings[0].contains(
                "comments_task_id_fkey of app.comments is not put back: insert or update"
            ),
        "{warnings:?}"
    );
    assert_eq!(
        owner.texts("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'app.comments'::regclass ORDER BY 1"),
        fixed
    );
    assert_eq!(owner.text("SELECT status FROM tenancy.foreign_key_fixes WHERE foreign_key = 'comments_task_id_fkey'"), "undo blocked");
    // What it refers to stays as well.
    let made = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'app.tasks'::regclass AND contype = 'u'";
    assert_eq!(owner.number(made), 1);
    db.admin()
        .run("DELETE FROM app.comments WHERE task_id = 999999");
    assert_eq!(owner.warnings(UNFIX), Vec::<String>::new());
    assert_eq!(owner.number(made), 0);
}

/// Rows without a tenant, which the new key does not check and maintenance does not show, are not taken for compared.
#[test]
fn a_key_stays_while_rows_could_have_no_tenant() {
    let (db, mut owner) = adopted();
    owner.run(FIX);
    owner.run("SET tenancy.maintenance_reason = 'test'; ALTER TABLE app.comments ALTER organization_id DROP NOT NULL; RESET tenancy.maintenance_reason");
    db.admin().run("SET session_replication_role = replica; INSERT INTO app.comments (task_id, organization_id) VALUES (999999, NULL)");
    let warnings = owner.warnings(UNFIX);
    assert!(
        warnings.len() == 1 && warnings[0].contains("comments_task_id_fkey of app.comments is not put back: the column organization_id may be NULL"),
        "{warnings:?}"
    );
    assert_eq!(
        owner.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'comments_task_id_fkey'"),
        "FOREIGN KEY (organization_id, task_id) REFERENCES app.tasks(organization_id, id) ON DELETE CASCADE"
    );
}

/// The schemas that are named, and only those.
#[test]
fn other_schemas_stay_fixed() {
    let (_db, mut owner) = adopted();
    owner.run(FIX);
    let fixed = owner.texts(CONSTRAINTS);
    owner.run("CALL tenancy.unfix_foreign_keys('{elsewhere}')");
    assert_eq!(owner.texts(CONSTRAINTS), fixed);
    // Nor does a plan for them forget what the keys were.
    owner.run("CALL tenancy.fix_foreign_keys('{elsewhere}')");
    owner.run("CALL tenancy.unfix_foreign_keys('{app}')");
    assert_ne!(owner.texts(CONSTRAINTS), fixed);
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.foreign_key_fixes WHERE status <> 'undone'"),
        0
    );
}

/// Also of tables that are not protected any more.
#[test]
fn keys_of_unprotected_tables_are_put_back() {
    let (_db, mut owner) = adopted();
    let before = owner.texts(CONSTRAINTS);
    owner.run(FIX);
    owner.run("SELECT tenancy.unprotect(t) FROM unnest('{app.comments,app.tasks}'::regclass[]) t");
    owner.run(UNFIX);
    assert_eq!(
        owner.texts(CONSTRAINTS),
        before,
        "{:?}",
        owner.texts(STATUS)
    );
}

/// A dump has what the keys were.
#[test]
fn a_restored_database_is_undone_too() {
    let (db, mut owner) = adopted();
    let before = owner.texts(CONSTRAINTS);
    owner.run(FIX);
    let config = db.config("postgres");
    let host = match &config.get_hosts()[0] {
        postgres::config::Host::Tcp(name) => name.clone(),
        postgres::config::Host::Unix(path) => path.display().to_string(),
    };
    let port = config.get_ports()[0].to_string();
    let dump = std::env::temp_dir().join(format!("{}.dump", db.name));
    let copy = format!("{}_copy", db.name);
    db.admin().run(&format!("CREATE DATABASE {copy}"));
    let client = |program: &str, database: &str, more: &[&str]| {
        let mut command = command(server_program(program));
        command
            .args(["-h", &host, "-p", &port, "-U", "postgres", "-d", database])
            .args(more);
        succeed(&mut command);
    };
    let file = dump.to_str().unwrap();
    client("pg_dump", &db.name, &["-Fc", "-f", file]);
    client("pg_restore", &copy, &["-e", file]);
    std::fs::remove_file(&dump).unwrap();
    let mut config = db.config(&db.owner);
    let mut owner = Session::connect(config.dbname(&copy));
    owner.run(UNFIX);
    let after = owner.texts(CONSTRAINTS);
    drop(owner);
    db.admin().run(&format!("DROP DATABASE {copy}"));
    assert_eq!(after, before);
}

#[test]
fn who_may_not_is_told() {
    let (db, mut owner) = adopted();
    owner.run(FIX);
    db.app().fails(UNFIX).code("42501");
    owner.run("BEGIN");
    owner.fails_inside(UNFIX).code("25001");
    owner.run("ROLLBACK");
    db.admin()
        .run("ALTER TABLE app.comments OWNER TO CURRENT_USER");
    let warnings = owner.warnings(UNFIX);
    assert!(
        warnings.len() == 1 && warnings[0].contains("do not both belong to the caller"),
        "{warnings:?}"
    );
}

/// No code of an owner that could not begin maintenance runs in it.
#[test]
fn no_owners_code_runs_in_maintenance_that_it_could_not_begin() {
    let (db, mut owner) = adopted();
    owner.run(FIX);
    let mut admin = db.admin();
    let fixed = owner.texts(CONSTRAINTS);
    admin.run(&format!(
        "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p') LOOP \
            EXECUTE format('ALTER TABLE %s OWNER TO {}', t); END LOOP; END $$",
        db.stranger
    ));
    let warnings = admin.warnings(UNFIX);
    assert!(
        !warnings.is_empty() && warnings.iter().all(|w| w.contains("lacks tenancy_admin")),
        "{warnings:?}"
    );
    assert_eq!(admin.texts(CONSTRAINTS), fixed);
}
