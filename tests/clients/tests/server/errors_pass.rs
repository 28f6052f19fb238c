//! An error of an application's statement arrives as the server raised it: SQLSTATE, constraint, table, context.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session};

const SETUP: &str = "CREATE TABLE app.codes (code text CONSTRAINT codes_key PRIMARY KEY);
    GRANT SELECT, INSERT ON app.codes TO tenancy_app;
    INSERT INTO app.codes VALUES ('a');
    CREATE FUNCTION app.own() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'AP123', MESSAGE = 'own', CONSTRAINT = 'rule'; END $$;
    CREATE FUNCTION app.twice() RETURNS text LANGUAGE plpgsql AS $$
    DECLARE broken text; said text := '';
    BEGIN
        BEGIN
            INSERT INTO app.codes VALUES ('a');
        EXCEPTION WHEN unique_violation THEN
            GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
            said := said || broken;
        END;
        BEGIN
            PERFORM app.own();
        EXCEPTION WHEN SQLSTATE 'AP123' THEN
            GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
            said := said || ' ' || broken;
        END;
        RETURN said;
    END $$;";

fn refused(session: &mut Session, sql: &str) -> postgres::error::DbError {
    let error = session.batch_execute(sql).unwrap_err();
    error.as_db_error().unwrap().clone()
}

#[test]
fn a_statements_error_keeps_its_names_and_its_sqlstate() {
    let db = Db::new();
    db.owner().run(SETUP);
    let mut app = db.app();
    let taken = refused(&mut app, "INSERT INTO app.codes VALUES ('a')");
    assert_eq!(taken.code().code(), "23505");
    assert_eq!(
        (taken.schema(), taken.table(), taken.constraint()),
        (Some("app"), Some("codes"), Some("codes_key"))
    );
    let own = refused(&mut app, "SELECT app.own()");
    assert_eq!(
        (own.code().code(), own.constraint()),
        ("AP123", Some("rule"))
    );
    assert!(own.where_().unwrap_or("").contains("app.own()"), "{own:?}");
}

#[test]
fn also_inside_a_function_that_catches_it() {
    let db = Db::new();
    db.owner().run(SETUP);
    let mut app = db.app();
    for _ in 0..3 {
        assert_eq!(app.text("SELECT app.twice()"), "codes_key rule");
    }
}
