//! A new row without a tenant is refused, and the error tells its writer why: an ORM often names all columns of its model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;

use tenancy_client_tests::{Failure, Session, World};

const HINT: &str = "The tenant column tenant_id of the row is NULL. Leave the column out";

fn world() -> World {
    let world = World::new();
    world.db.owner().run(
        "CREATE TABLE app.everybodys (id bigint GENERATED ALWAYS AS IDENTITY, tenant_id uuid, body text);
         SELECT tenancy.protect('app.everybodys', shared_null => true);
         CREATE TABLE app.parted (body text, tenant_id uuid, day date) PARTITION BY RANGE (day);
         CREATE TABLE app.part (tenant_id uuid, day date, gone int, body text);
         ALTER TABLE app.part DROP gone;
         ALTER TABLE app.parted ATTACH PARTITION app.part DEFAULT;
         SELECT tenancy.protect('app.parted');
         CREATE VIEW app.seen WITH (security_invoker) AS SELECT tenant_id, body FROM app.notes",
    );
    world
}

fn copy(session: &mut Session, rows: &str) -> Failure {
    let mut to = session
        .copy_in("COPY app.notes (tenant_id, body) FROM STDIN")
        .unwrap();
    to.write_all(rows.as_bytes()).unwrap();
    Failure::from(&to.finish().unwrap_err())
}

#[test]
fn a_null_tenant_is_named_wherever_it_is_written() {
    let world = world();
    let acme = world.id("acme");
    let mut app = world.begin("alice");
    for statement in [
        "INSERT INTO app.notes (tenant_id, body) VALUES (NULL, 'x')".to_owned(),
        format!("INSERT INTO app.notes (tenant_id, body) VALUES ('{acme}', 'x'), (NULL, 'y')"),
        "INSERT INTO app.notes (tenant_id, body) SELECT NULL, body FROM app.notes".to_owned(),
        "UPDATE app.notes SET tenant_id = NULL".to_owned(),
        "INSERT INTO app.seen VALUES (NULL, 'x')".to_owned(),
        format!("INSERT INTO app.notes (id, tenant_id, body) SELECT id, '{acme}', 'x' FROM app.notes LIMIT 1 ON CONFLICT (id) DO UPDATE SET tenant_id = NULL"),
        "MERGE INTO app.notes n USING (VALUES (1)) v ON n.body IS NULL WHEN NOT MATCHED THEN INSERT (tenant_id, body) VALUES (NULL, 'x')".to_owned(),
        "WITH new AS (INSERT INTO app.notes (tenant_id, body) VALUES (NULL, 'x') RETURNING id) SELECT 1".to_owned(),
        "INSERT INTO app.parted (tenant_id, body) VALUES (NULL, 'x')".to_owned(),
        "DO $$BEGIN INSERT INTO app.notes (tenant_id, body) VALUES (NULL, 'x'); END$$".to_owned(),
    ] {
        app.fails_inside(&statement)
            .code("42501")
            .says("new row violates row-level security policy")
            .hints(HINT);
    }
    let failure = copy(&mut app, &format!("{acme}\tx\n\\N\ty\n"));
    failure.code("42501").hints(HINT);
    // As a driver sends it.
    let mut app = world.begin("alice");
    app.fails_with(
        "INSERT INTO app.notes (tenant_id, body) VALUES ($1, 'x')",
        &[&None::<uuid::Uuid>],
    )
    .code("42501")
    .hints(HINT);
}

#[test]
fn who_may_write_rows_without_a_tenant_is_said_of_tables_that_have_some() {
    let world = world();
    let mut app = world.begin("alice");
    for statement in [
        "INSERT INTO app.everybodys (tenant_id, body) VALUES (NULL, 'x')",
        "INSERT INTO app.everybodys (body) VALUES ('x'); UPDATE app.everybodys SET tenant_id = NULL",
    ] {
        app.fails_inside(statement)
            .code("42501")
            .hints(HINT)
            .hints("are written in maintenance()");
    }
}

/// Another error is no NULL tenant's, also where NULLs are near.
#[test]
fn other_rows_that_are_refused_have_no_such_hint() {
    let world = world();
    let (acme, other) = (world.id("acme"), world.id("umbrella"));
    let mut app = world.begin("alice");
    for statement in [
        format!("INSERT INTO app.notes (tenant_id, body) VALUES ('{other}', 'x')"),
        format!(
            "INSERT INTO app.everybodys (tenant_id, body) VALUES ('{acme}', NULL), ('{other}', NULL)"
        ),
        format!(
            "INSERT INTO app.notes (tenant_id, body) SELECT '{other}', e.tenant_id::text FROM (VALUES (1)) v LEFT JOIN app.everybodys e ON false"
        ),
        format!("UPDATE app.notes SET tenant_id = '{other}'"),
        format!(
            "UPDATE app.parted SET tenant_id = '{other}'; INSERT INTO app.parted (tenant_id) VALUES ('{other}')"
        ),
        // After one that was refused for its NULL, and was caught.
        format!(
            "DO $$BEGIN BEGIN INSERT INTO app.notes (tenant_id, body) VALUES (NULL, 'x'); EXCEPTION WHEN insufficient_privilege THEN END; \
                 INSERT INTO app.notes (tenant_id, body) VALUES ('{other}', 'x'); END$$"
        ),
    ] {
        let failure = app.fails_inside(&statement).code("42501");
        assert_eq!(failure.hint, None, "{statement}");
    }
    app.fails_inside("INSERT INTO app.notes (body) VALUES (NULL)")
        .code("23502");
    app.run("INSERT INTO app.notes (body) VALUES ('x'); INSERT INTO app.everybodys (body) VALUES (NULL)");
}
