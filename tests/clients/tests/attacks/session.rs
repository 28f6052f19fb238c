//! What one principal leaves in a session for the next: cursors, temporary tables, prepared statements. ATTACKS D2, rows 17
//! and 18.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

const COUNT: &str = "SELECT count(*) FROM app.notes";

#[test]
fn d2_17_a_holdable_cursor_does_not_cross_to_the_next_principal() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("DECLARE held CURSOR WITH HOLD FOR SELECT body FROM app.notes; COMMIT");
    app.begin(world.key("bob"));
    app.fails("FETCH ALL FROM held").code("34000");
    app.run("ROLLBACK");
    assert_eq!(app.number("SELECT count(*) FROM pg_cursors"), 0);
    // A session context keeps its own, until it is released.
    app.run("COMMIT").login_session(world.key("bob"));
    app.run("BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT body FROM app.notes; COMMIT");
    assert_eq!(app.texts("FETCH 2 FROM mine").len(), 2);
    app.run("SELECT tenancy.release()");
    app.fails("FETCH ALL FROM mine").code("34000");
}

/// Functions fetch without any statement that a hook sees.
#[test]
fn d2_17_a_holdable_cursor_is_gone_for_functions_too() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("DECLARE held CURSOR WITH HOLD FOR SELECT body FROM app.notes; COMMIT");
    app.fails("SELECT cursor_to_xml('held', 10, false, true, '')")
        .code("34000");
    app.fails("DO $$ DECLARE c refcursor := 'held'; r record; BEGIN FETCH c INTO r; RAISE NOTICE '%', r; END $$")
        .code("34000");
}

/// An object planted in the temporary schema would run with the next principal's context.
#[test]
fn d2_14_what_was_planted_without_a_context_is_gone_with_one() {
    let world = World::new();
    let plant = "CREATE TEMP TABLE IF NOT EXISTS notes (body text);
         CREATE OR REPLACE FUNCTION pg_temp.spy() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE NOTICE '%', (SELECT string_agg(body, ',') FROM app.notes); RETURN NEW; END $$;
         CREATE TRIGGER t BEFORE INSERT ON pg_temp.notes FOR EACH ROW EXECUTE FUNCTION pg_temp.spy();
         CREATE DOMAIN pg_temp.email AS text CHECK (VALUE <> '')";
    let mut app = world.db.app();
    for user in ["alice", "bob"] {
        app.run(plant);
        app.begin(world.key(user));
        app.fails_inside("INSERT INTO pg_temp.notes VALUES ('x')")
            .code("42P01");
        app.fails_inside("SELECT 'a'::pg_temp.email").code("42704");
        app.run("COMMIT");
    }
    // By a ticket the statement that would have met it fails, and the next ones are clean.
    app.run(plant);
    app.run(&format!(
        "SET tenancy.ticket = '{}'",
        world.ticket("alice", "5 minutes")
    ));
    assert_eq!(app.number(COUNT), 3);
    app.fails("INSERT INTO pg_temp.notes VALUES ('x')")
        .code("42P01");
}

#[test]
fn d2_17_a_holdable_cursor_does_not_cross_by_ticket_either() {
    let world = World::new();
    let (alice, bob) = (
        world.ticket("alice", "5 minutes"),
        world.ticket("bob", "5 minutes"),
    );
    let mut app = world.db.app();
    app.run(&format!("SET tenancy.ticket = '{alice}'"));
    app.run("BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT body FROM app.notes; COMMIT");
    app.run(&format!("SET tenancy.ticket = '{bob}'"));
    assert_eq!(app.number(COUNT), 5);
    app.fails("FETCH ALL FROM held").code("34000");
}

#[test]
fn d2_17_a_holdable_cursor_made_by_a_driver_or_a_function() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("DO $$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT body FROM app.notes'; END $$; COMMIT");
    app.begin(world.key("bob"));
    app.fails("FETCH ALL FROM held").code("34000");
}

#[test]
fn d2_17_a_plain_cursor_ends_with_its_transaction() {
    let world = World::new();
    let mut app = world.begin("ops");
    app.run("DECLARE open CURSOR FOR SELECT body FROM app.notes ORDER BY id");
    assert_eq!(app.texts("FETCH 1 FROM open").len(), 1);
    // It keeps the context in which it was opened.
    app.run("SELECT tenancy.select_tenant('acme')");
    app.fails("FETCH ALL FROM open")
        .code("55000")
        .says("the context changed");
    app.run("ROLLBACK").begin(world.key("bob"));
    app.fails("FETCH ALL FROM open").code("34000");
}

#[test]
fn d2_17_a_cursor_over_release_fails_or_is_empty() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("DECLARE open CURSOR FOR SELECT body FROM app.notes; SELECT tenancy.release()");
    app.fails("FETCH ALL FROM open").code("55000");
}

#[test]
fn d2_18_temporary_tables_and_sequences_do_not_cross() {
    let world = World::new();
    world
        .db
        .owner()
        .run("CREATE SEQUENCE app.counter; GRANT USAGE ON SEQUENCE app.counter TO tenancy_app");
    let mut app = world.begin("alice");
    app.run("CREATE TEMP TABLE kept AS SELECT * FROM app.notes; SELECT nextval('app.counter'), lastval(); COMMIT");
    app.fails("SELECT count(*) FROM kept").code("42P01");
    app.login_session(world.key("alice"));
    app.run("CREATE TEMP TABLE kept AS SELECT * FROM app.notes; SELECT nextval('app.counter')");
    assert_eq!(app.number("SELECT count(*) FROM kept"), 3);
    app.begin(world.key("bob"));
    app.fails_inside("SELECT * FROM kept").code("42P01");
    app.fails_inside("SELECT currval('app.counter')")
        .code("55000");
    app.fails_inside("SELECT lastval()").code("55000");
    app.run("COMMIT");
    app.fails("SELECT * FROM kept").code("42P01");
}

#[test]
fn d2_18_a_rolled_back_switch_still_clears_at_the_next() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("CREATE TEMP TABLE kept AS SELECT * FROM app.notes; COMMIT");
    app.begin(world.key("bob")).run("ROLLBACK");
    // The drop was undone with bob's transaction: she has her table again, he has not.
    app.begin(world.key("bob"))
        .fails("SELECT * FROM kept")
        .code("42P01");
    app.run("ROLLBACK")
        .run("BEGIN; SAVEPOINT s")
        .login(world.key("bob"));
    app.run("ROLLBACK TO s").login(world.key("bob"));
    app.fails("SELECT * FROM kept").code("42P01");
}

#[test]
fn d2_18_what_was_cleared_in_a_savepoint_is_cleared_again_after_it() {
    let world = World::new();
    let ticket = world.ticket("bob", "5 minutes");
    let mut app = world.begin("alice");
    app.run("CREATE TEMP TABLE kept AS SELECT * FROM app.notes; COMMIT");
    app.run(&format!("SET tenancy.ticket = '{ticket}'"));
    app.run("BEGIN; SAVEPOINT s");
    assert_eq!(app.number(COUNT), 5);
    app.run("ROLLBACK TO s");
    assert_eq!(app.number(COUNT), 5);
    app.fails("SELECT * FROM kept").code("42P01");
}

#[test]
fn d2_18_objects_of_the_last_principal_are_gone_without_a_context() {
    let world = World::new();
    let mut app = world.begin("alice");
    app.run("CREATE TEMP TABLE kept AS SELECT * FROM app.notes; DECLARE held CURSOR WITH HOLD FOR SELECT body FROM app.notes; COMMIT");
    // The next client of a pooled connection need not be so kind as to authenticate first.
    assert!(
        app.simple_query("FETCH ALL FROM held").is_err(),
        "another client reads her cursor"
    );
    assert!(
        app.simple_query("SELECT * FROM kept").is_err(),
        "another client reads her temporary table"
    );
}

#[test]
fn d2_18_what_the_last_ticket_left_is_not_there_before_the_next_is_used() {
    let world = World::new();
    let (alice, bob) = (
        world.ticket("alice", "5 minutes"),
        world.ticket("bob", "5 minutes"),
    );
    let mut app = world.db.app();
    app.run(&format!("SET tenancy.ticket = '{alice}'"));
    app.run("BEGIN; CREATE TEMP TABLE kept AS SELECT * FROM app.notes; DECLARE held CURSOR WITH HOLD FOR SELECT body FROM app.notes; COMMIT");
    app.run(&format!("SET tenancy.ticket = '{bob}'"));
    assert!(
        app.simple_query("FETCH ALL FROM held").is_err(),
        "bob reads her cursor"
    );
    assert!(
        app.simple_query("SELECT * FROM kept").is_err(),
        "bob reads her temporary table"
    );
}

#[test]
fn d2_18_prepared_statements_run_as_the_executing_principal() {
    let world = World::new();
    let mut app = world.db.app();
    let p = app.prepare("SELECT count(*) FROM app.notes").unwrap();
    for (user, rows) in [("alice", 3), ("bob", 5), ("ops", 8), ("eve", 7)] {
        app.begin(world.key(user));
        let found: i64 = app.query_one(&p, &[]).unwrap().get(0);
        assert_eq!(found, rows);
        app.run("COMMIT");
    }
    assert!(app.query(&p, &[]).is_err());
}
