//! Where the server writes statements, and what it shows of those that set a secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use tenancy_client_tests::program::{Cluster, hand_over};
use tenancy_client_tests::scratch::Scratch;
use tenancy_client_tests::{Db, World};

/// Everything that logs a statement, its parameters or its plan.
const LOGS_ALL: [&str; 15] = [
    "shared_preload_libraries=pg_stat_statements,auto_explain,tenancy",
    "log_statement=all",
    "log_duration=on",
    "log_min_duration_statement=0",
    "log_min_error_statement=debug5",
    "log_error_verbosity=verbose",
    "log_parameter_max_length=-1",
    "log_parameter_max_length_on_error=-1",
    "compute_query_id=on",
    "pg_stat_statements.track=all",
    "pg_stat_statements.track_utility=on",
    "auto_explain.log_min_duration=0",
    "auto_explain.log_verbose=on",
    "auto_explain.log_nested_statements=on",
    "auto_explain.log_analyze=on",
];

#[test]
fn no_log_and_no_statistics_show_the_value() {
    let scratch = Scratch::new("quiet");
    let keyring = scratch.0.join("keyring");
    fs::create_dir(&keyring).unwrap();
    fs::set_permissions(&keyring, Permissions::from_mode(0o700)).unwrap();
    hand_over(&keyring);
    let master = scratch.0.join("master");
    fs::write(&master, "0001020304050607".repeat(4)).unwrap();
    fs::set_permissions(&master, Permissions::from_mode(0o600)).unwrap();
    hand_over(&master);
    let mut settings: Vec<String> = LOGS_ALL.map(str::to_owned).into();
    settings.push(format!("tenancy.keyring_directory={}", keyring.display()));
    settings.push(format!("tenancy.master_key_file={}", master.display()));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let cluster = Cluster::start_with(&settings, &[]);
    let world = World::bare_in(Db::on(cluster.config()));
    let mut admin = world.db.admin();
    admin.run("CREATE EXTENSION pg_stat_statements SCHEMA public");
    admin.run("CREATE FUNCTION app.wrapped(value text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN tenancy.set_secret('acme', 'w', value || '-hunter2'); END $$");
    admin.run("GRANT USAGE ON SCHEMA app TO PUBLIC; SELECT 'shown-in-the-log'");

    let mut owner = world.db.owner();
    let set = "tenancy.set_secret('acme', 'a', 'hunter2')";
    for worked in [
        format!("SELECT {set}"),
        "SELECT Tenancy . SET_SECRET ( scope => 'acme', name => 'a', value => $v$hunter2$v$ ), 'x''hunter2'".to_owned(),
        "SELECT tenancy.set_secret('acme', 'a', E'\\'hunter2')".to_owned(),
        format!("DO $$ BEGIN PERFORM {set}; END $$"),
        format!("DO $$ BEGIN PERFORM {set}; RAISE NOTICE 'done'; END $$"),
        "PREPARE p AS SELECT tenancy.set_secret('acme', $1, $2); EXECUTE p('a', 'hunter2')".to_owned(),
        "EXECUTE p('b', 'hunter2')".to_owned(),
        format!("EXPLAIN (ANALYZE, VERBOSE) SELECT {set}"),
        format!("CREATE TEMP TABLE made AS SELECT {set}"),
        format!("BEGIN; DECLARE c CURSOR FOR SELECT {set}; FETCH c; COMMIT"),
        "SELECT app.wrapped('x')".to_owned(),
        format!("SELECT 1; SELECT {set}; SELECT 2"),
    ] {
        owner.run(&worked);
    }
    owner
        .query(
            "SELECT tenancy.set_secret($1::text, $2, $3)",
            &[&"acme", &"a", &"hunter2"],
        )
        .unwrap();
    for fails in [
        // Refused, malformed, in another order, and inside a function.
        "SELECT tenancy.set_secret('nobody', 'a', 'hunter2')",
        "SELECT tenancy.set_secret('hunter2', 'a', 'acme')",
        "SELECT tenancy.set_secret('acme', 'hunter2 !', 'a')",
        "SELECT tenancy.set_secret('acme', 'a', 'hunter2', 'hunter2')",
        "SELECT tenancy.set_secret('acme', 'a', 'hunter2'",
        "SELECT tenancy.set_secret('acme', 'a' 'hunter2')",
        "SELECT tenancy.set_secret('acme', 'a', 'hunter2",
        "SELECT tenancy.set_secret('acme', 'a', 'hunter2', 1, 2)",
        "SELECT tenancy.set_secret('acme', 'a', 'hunter2') / 0",
        "DO $$ BEGIN PERFORM tenancy.set_secret('acme', 'a', 'hunter2'); RAISE 'failed'; END $$",
        "DO $$ BEGIN PERFORM tenancy.set_secret('nobody', 'a', 'hunter2'); END $$",
        "EXECUTE p('a', NULL)",
        "EXECUTE p('hunter2 !', 'hunter2')",
    ] {
        owner.fails(fails);
    }
    assert!(
        owner
            .query(
                "SELECT tenancy.set_secret($1::text, $2, $3)",
                &[&"nobody", &"a", &"hunter2"]
            )
            .is_err()
    );

    // While the session is idle, its last statement is shown to others.
    let mut setter = world.db.owner();
    setter.run(&format!("SELECT {set}"));
    let activity = admin.texts("SELECT query FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    assert!(
        activity.iter().any(|query| query.contains("set_secret")),
        "{activity:?}"
    );
    assert!(!activity.join("\n").contains("hunter2"), "{activity:?}");
    let statements = admin.texts("SELECT query FROM public.pg_stat_statements");
    assert!(
        statements
            .iter()
            .any(|query| query.contains("set_secret($1")),
        "{statements:?}"
    );
    assert!(!statements.join("\n").contains("hunter2"), "{statements:?}");

    // The value is read and stays out of the log too.
    owner.run("SELECT tenancy.define_role('acme', 'program', '{secrets:use}'), tenancy.assign('acme/alice', 'program', 'acme')");
    assert!(
        world
            .begin("alice")
            .text("SELECT tenancy.secret('a')")
            .contains("hunter2")
    );
    let log = cluster.log();
    assert!(
        log.contains("shown-in-the-log") && log.contains("Query Text"),
        "nothing was logged"
    );
    let shown: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("hunter2"))
        .collect();
    assert!(shown.is_empty(), "{shown:#?}");
}
