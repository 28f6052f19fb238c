//! A driver reads which kind of error it is: from Rust and from SQL, wherever the error was raised and whatever it passed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use postgres::error::DbError;
use tenancy_client_tests::{Session, World};
use tenancy_core::error::{ARGUMENT_MAX, Kind, all};

fn refused(session: &mut Session, sql: &str) -> DbError {
    match session.batch_execute(sql) {
        Ok(()) => panic!("this was not refused: {sql}"),
        Err(error) => error.as_db_error().expect(sql).clone(),
    }
}

/// The SQLSTATE, and the name of one of tenancy's kinds.
fn kind(error: &DbError) -> (&str, Option<&str>) {
    let ours = error.schema() == Some("tenancy") && error.table().is_none();
    (error.code().code(), error.constraint().filter(|_| ours))
}

#[track_caller]
fn fails(session: &mut Session, sql: &str, code: &str, name: &str) {
    let error = refused(session, sql);
    assert_eq!(kind(&error), (code, Some(name)), "{sql}\n{error:?}");
}

#[test]
fn three_reasons_for_42501_are_told_apart() {
    let world = World::new();
    let mut app = world.db.app();
    let login = "SELECT tenancy.authenticate('tk_wrong')";
    fails(&mut app, login, "42501", "invalid_credential");
    let mut alice = world.begin("alice");
    let manage = "SELECT tenancy.create_project('acme', 'red')";
    fails(&mut alice, manage, "42501", "permission_missing");
    // A role that lacks tenancy_app: PostgreSQL's own error, without a name.
    let error = refused(&mut world.db.stranger(), login);
    assert_eq!(kind(&error), ("42501", None), "{error:?}");
}

#[test]
fn errors_of_sql_and_of_rust_have_their_names_wherever_they_are_raised() {
    let world = World::new();
    // A connection's first statement fails in the parser, before anything of it is planned; so does the one after it.
    let mut app = world.db.app();
    for _ in 0..2 {
        let unknown = "SELECT 'no-such'::tenancy.regscope";
        fails(&mut app, unknown, "42704", "scope_not_found");
    }
    fails(&mut app, "TABLE app.notes", "55000", "context_required");
    // Of SQL, through a management function in Rust.
    let mut owner = world.db.owner();
    let robot = "SELECT tenancy.create_user('acme', 'r2', kind => 'robot')";
    fails(&mut owner, robot, "22023", "invalid_argument");
    let taken = "SELECT tenancy.create_tenant('acme', partner => 'globex')";
    fails(&mut owner, taken, "42710", "slug_taken");
    // Of Rust, through SQL and Rust again.
    let gone = "SELECT tenancy.assign('acme/alice', 'nothing', 'acme')";
    fails(&mut owner, gone, "42704", "role_not_found");
    let slug = "SELECT tenancy.create_user('acme', 'No Slug')";
    fails(&mut owner, slug, "22023", "invalid_argument");
    // Of SQL without Rust, and in a trigger.
    let null = "SELECT tenancy.explain_access(NULL, NULL)";
    fails(&mut owner, null, "22023", "null_argument");
    let mut admin = world.db.admin();
    let append = "DELETE FROM tenancy.audit_log";
    fails(&mut admin, append, "42501", "append_only");
    // Of the core, by protect().
    let view = "CREATE VIEW app.v AS SELECT 1; SELECT tenancy.protect('app.v')";
    fails(&mut owner, view, "42809", "table_is_view");
    // In a utility statement.
    let truncate = "TRUNCATE app.notes";
    fails(&mut owner, truncate, "55000", "maintenance_needed");
}

#[test]
fn a_handler_in_plpgsql_reads_the_name() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE FUNCTION app.kind_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE kind text; schema text;
         BEGIN
             EXECUTE statement;
             RETURN NULL;
         EXCEPTION WHEN OTHERS THEN
             GET STACKED DIAGNOSTICS kind = CONSTRAINT_NAME, schema = SCHEMA_NAME;
             RETURN schema || ' ' || kind;
         END $$",
    );
    for (statement, name) in [
        (
            "SELECT tenancy.create_user(''nowhere'', ''x'')",
            "tenancy scope_not_found",
        ),
        (
            "SELECT tenancy.set_budget(''acme'', ''nothing'', 1)",
            "tenancy metric_not_found",
        ),
        ("TABLE app.notes", "tenancy context_required"),
        ("SELECT 1/0", " "),
    ] {
        let said = owner.text(&format!("SELECT app.kind_of('{statement}')"));
        assert_eq!(said, name, "{statement}");
    }
}

#[test]
fn an_error_that_was_handled_does_not_name_the_next_one() {
    let world = World::new();
    let mut owner = world.db.owner();
    let error = refused(
        &mut owner,
        "DO $$ BEGIN
             BEGIN
                 PERFORM tenancy.create_user('acme', 'No Slug');
             EXCEPTION WHEN invalid_parameter_value THEN NULL;
             END;
             RAISE EXCEPTION 'own' USING ERRCODE = '22023';
         END $$",
    );
    assert_eq!(
        (error.code().code(), error.constraint(), error.schema()),
        ("22023", None, None),
        "{error:?}"
    );
}

fn raise(kind: &Kind, arguments: &[String]) -> String {
    let arguments: String = arguments
        .iter()
        .map(|argument| format!(", '{}'", argument.replace('\'', "''")))
        .collect();
    let call = format!("tenancy_internal.error('{}'{arguments})", kind.name);
    format!("DO $do$ BEGIN RAISE EXCEPTION USING MESSAGE = {call}; END $do$")
}

#[test]
fn every_kind_has_the_texts_of_the_catalogue() {
    let world = World::bare();
    let mut admin = world.db.admin();
    for kind in all() {
        let arguments: Vec<String> = (kind.parameters().iter())
            .map(|name| format!("the %s {name}'s \"$1\""))
            .collect();
        let error = refused(&mut admin, &raise(kind, &arguments));
        assert_eq!(error.code().code(), kind.sqlstate, "{error:?}");
        // Naming it would take memory.
        let named = kind.name != "out_of_memory";
        assert_eq!(
            (error.schema(), error.constraint()),
            (named.then_some("tenancy"), named.then_some(kind.name)),
            "{error:?}"
        );
        let texts = kind.fill(&arguments);
        assert_eq!(
            (error.message(), error.detail(), error.hint()),
            (
                texts.message.as_str(),
                texts.detail.as_deref(),
                texts.hint.as_deref()
            )
        );
        // The CONTEXT does not show the function that raises the error.
        let context = error.where_().unwrap();
        assert_eq!(
            context,
            "PL/pgSQL function inline_code_block line 1 at RAISE"
        );
    }
}

#[test]
fn arguments_of_any_kind_are_harmless() {
    let world = World::bare();
    let mut owner = world.db.owner();
    let hostile = "%s%n {issuer} \\ \"'' $1";
    let error = refused(
        &mut owner,
        &format!("SELECT tenancy.set_identity_provider_enabled('{hostile}', true)"),
    );
    assert_eq!(kind(&error), ("42704", Some("provider_not_found")));
    assert_eq!(
        error.message(),
        format!(
            "identity provider \"{}\" does not exist",
            hostile.replace("''", "'")
        )
    );
    let long = "ü".repeat(100_000);
    let mut admin = world.db.admin();
    let kind = tenancy_core::error::find("slug_taken").unwrap();
    let error = refused(&mut admin, &raise(&kind, &[long]));
    assert_eq!(
        error.message(),
        format!("slug \"{}…\" is taken", "ü".repeat(ARGUMENT_MAX))
    );
}

#[test]
fn only_the_owner_of_tenancy_raises_its_errors() {
    let world = World::bare();
    for mut session in [world.db.app(), world.db.gateway(), world.db.owner()] {
        let error = refused(&mut session, "SELECT tenancy_internal.error('ledger_full')");
        assert_eq!(kind(&error), ("42501", None), "{error:?}");
    }
    let mut admin = world.db.admin();
    fails(
        &mut admin,
        "SELECT tenancy_internal.error('no_such')",
        "XX000",
        "internal",
    );
}
