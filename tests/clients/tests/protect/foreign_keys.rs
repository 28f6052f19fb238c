//! Foreign keys as migration tools add them: by ALTER TABLE on a table that was just created.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

const ADD: &str =
    "ALTER TABLE app.tags ADD CONSTRAINT note FOREIGN KEY (note) REFERENCES app.notes (id)";
const VALID: &str = "SELECT convalidated AND contype = 'f' FROM pg_constraint WHERE conname = 'note' AND conrelid = 'app.tags'::regclass";
const TABLE: &str = "CREATE TABLE app.tags (id int PRIMARY KEY, tenant_id uuid, note bigint)";

#[test]
fn from_an_empty_table_they_need_no_maintenance() {
    let world = World::new();
    let mut owner = world.db.owner();
    for table in [
        TABLE.to_owned(),
        format!("{TABLE}; SELECT tenancy.protect('app.tags')"),
        "CREATE TABLE app.tags (id int, tenant_id uuid, note bigint) PARTITION BY LIST (id);
         CREATE TABLE app.tags_1 PARTITION OF app.tags FOR VALUES IN (1) PARTITION BY LIST (note);
         CREATE TABLE app.tags_2 PARTITION OF app.tags_1 DEFAULT"
            .to_owned(),
    ] {
        owner.run(&table).run(ADD);
        assert_eq!(owner.text(VALID), "t", "{table}");
        // It holds from the first row on.
        world
            .db
            .admin()
            .fails("INSERT INTO app.tags VALUES (1, NULL, -1)");
        let note = world.db.admin().text("SELECT min(id) FROM app.notes");
        let tenant = world.id("acme");
        world
            .db
            .admin()
            .run(&format!(
                "INSERT INTO app.tags VALUES (1, '{tenant}', {note})"
            ))
            .fails("DELETE FROM app.notes")
            .code("23503");
        owner.run("DROP TABLE app.tags");
    }
    // With a column that the statement adds first.
    owner.run("CREATE TABLE app.tags (id int)").run(
        "ALTER TABLE app.tags ADD COLUMN note bigint, ADD CONSTRAINT note FOREIGN KEY (note) REFERENCES app.notes (id)",
    );
    assert_eq!(owner.text(VALID), "t");
    owner.run("DROP TABLE app.tags");
    // Several at once, and more than a key.
    owner.run(TABLE).run(
        "ALTER TABLE ONLY app.tags ADD CONSTRAINT note FOREIGN KEY (note) REFERENCES app.notes (id) ON DELETE CASCADE, ADD FOREIGN KEY (id) REFERENCES app.tags (id)",
    );
    assert_eq!(owner.text(VALID), "t");
}

#[test]
fn from_a_table_with_rows_they_need_it() {
    let world = World::new();
    let mut owner = world.db.owner();
    let add = |owner: &mut tenancy_client_tests::Session| {
        owner.fails(ADD).code("55000").says("FOREIGN KEY");
    };
    owner
        .run(TABLE)
        .run("INSERT INTO app.tags VALUES (1, NULL, -1)");
    add(&mut owner);
    // Rows that are dead may be alive for another transaction.
    owner.run("DELETE FROM app.tags");
    add(&mut owner);
    owner
        .run("TRUNCATE app.tags")
        .run(ADD)
        .run("DROP TABLE app.tags");
    owner.run(
        "CREATE TABLE app.tags (id int, note bigint) PARTITION BY LIST (id);
         CREATE TABLE app.tags_1 PARTITION OF app.tags FOR VALUES IN (1);
         INSERT INTO app.tags VALUES (1, -1)",
    );
    add(&mut owner);
    owner.run("DROP TABLE app.tags").run(TABLE);
    // A row that is not committed yet.
    let mut writer = world.db.owner();
    writer.run("BEGIN; INSERT INTO app.tags VALUES (1, NULL, -1)");
    owner.run("SET lock_timeout = '100ms'");
    owner.fails(ADD).code("55P03");
    writer.run("COMMIT");
    add(&mut owner);
}

/// A function keeps the statement, which must not remember that the table was empty.
#[test]
fn a_kept_statement_looks_again() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(TABLE).run(&format!(
        "CREATE FUNCTION app.add() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {ADD}; END $$;
         SELECT app.add();
         ALTER TABLE app.tags DROP CONSTRAINT note;
         SELECT app.add();
         ALTER TABLE app.tags DROP CONSTRAINT note;
         INSERT INTO app.tags VALUES (1, NULL, -1)"
    ));
    owner.fails("SELECT app.add()").code("55000");
    owner
        .run("BEGIN; SELECT tenancy.maintenance('test')")
        .fails("SELECT app.add()")
        .code("23503");
}

#[test]
fn only_owners_wait_for_the_table() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner
        .run(TABLE)
        .run("BEGIN; INSERT INTO app.tags VALUES (1, NULL, -1)");
    let mut stranger = world.db.stranger();
    stranger.run("SET lock_timeout = '100ms'");
    stranger.fails(ADD).code("42501");
}

/// An event trigger runs between the look at the table and the statement.
#[test]
fn a_table_that_gets_rows_meanwhile_is_refused() {
    let world = World::new();
    world.db.owner().run(TABLE);
    world.db.admin().run(
        "CREATE FUNCTION app.fills() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.tags VALUES (9, NULL, -9); END $$;
         CREATE EVENT TRIGGER fills ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION app.fills()",
    );
    world.db.owner().fails(ADD).code("55000");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM pg_constraint WHERE conname = 'note'"),
        0
    );
}
