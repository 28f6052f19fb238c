//! The server's own errors pass through tenancy's hooks unchanged: with constraint, table and context.

#![allow(clippy::unwrap_used)]

use tenancy_client_tests::World;

#[test]
fn a_violation_names_its_constraint_and_its_context() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.plain (id int CONSTRAINT plain_key PRIMARY KEY)");
    for statement in [
        "INSERT INTO app.plain VALUES (1), (1)",
        "DO $$ BEGIN INSERT INTO app.plain VALUES (1), (1); END $$",
        "CREATE TABLE app.copy (id int CONSTRAINT plain_key CHECK (id < 0)); INSERT INTO app.copy VALUES (1)",
        "PREPARE p AS INSERT INTO app.plain VALUES (1), (1); EXECUTE p",
    ] {
        let error = owner.batch_execute(statement).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.constraint(), Some("plain_key"), "{statement}");
        assert_eq!(error.schema(), Some("app"), "{statement}");
        assert!(error.table().is_some(), "{statement}");
    }
    let error = owner
        .batch_execute("DO $$ BEGIN RAISE EXCEPTION 'x'; END $$")
        .unwrap_err();
    let context = error.as_db_error().unwrap().where_().unwrap();
    assert!(context.contains("inline_code_block line 1"), "{context}");
}
