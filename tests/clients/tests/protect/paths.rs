//! protect() on tables whose code resolves names by a search path, and its cost with many tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

/// The planner looks into functions in SQL that an index or a constraint calls, whatever it plans.
#[test]
fn a_tables_code_looks_names_up_where_the_caller_does() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE SCHEMA helpers; SET search_path = app, helpers;
         CREATE FUNCTION helpers.folded(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
         CREATE FUNCTION app.searched(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT folded($1)';
         CREATE FUNCTION app.allowed(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT folded($1) <> ''no''';
         CREATE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.body := folded(new.body); RETURN new; END';
         CREATE TABLE app.docs (id int, tenant_id uuid, body text CHECK (allowed(body)));
         INSERT INTO docs VALUES (1, NULL, 'One'), (2, NULL, 'Two');
         CREATE TRIGGER fire BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION fire()",
    );
    // From PostgreSQL 17 on, CREATE INDEX itself looks names up in pg_catalog and pg_temp alone.
    let indexed = owner.major() < 17;
    if indexed {
        owner.run(
            "CREATE INDEX ON docs (searched(body)); CREATE INDEX ON docs (id) WHERE allowed(body)",
        );
    }
    let mut admin = world.db.admin();
    for path in [
        "app, helpers",
        "\"$user\", helpers, pg_catalog",
        "pg_temp, helpers",
    ] {
        for sql in [
            "SELECT tenancy.protect('app.docs', backfill => 'acme', dry_run => true)",
            "SELECT tenancy.protect('app.docs', backfill => 'acme')",
            "SELECT tenancy.protect('app.docs')",
            "SELECT tenancy.unprotect('app.docs')",
        ] {
            for session in [&mut owner, &mut admin] {
                session.run(&format!("BEGIN; SET search_path = {path}"));
                // In the transaction of the first call what it has done stays.
                session.run(sql);
                assert_eq!(session.text("SHOW search_path"), path);
                session.run("ROLLBACK");
            }
            owner.run(&format!("SET search_path = {path}")).run(sql);
        }
        owner.run("UPDATE app.docs SET tenant_id = NULL");
    }
    assert_eq!(
        owner.texts("SELECT body FROM app.docs ORDER BY 1"),
        ["one", "two"]
    );
    // As in any statement that plans a query of the table, or updates it.
    for sql in [
        "SELECT FROM app.docs WHERE id = 1",
        "SELECT tenancy.protect('app.docs', backfill => 'acme')",
    ]
    .into_iter()
    .skip(usize::from(!indexed))
    {
        world
            .db
            .owner()
            .run("SET search_path = ''")
            .fails(sql)
            .code("42883");
    }
}

/// protect()'s own statements use the server's operators and types, whatever the caller's search path contains.
#[test]
fn protect_writes_its_policies_with_the_servers_own_operators() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE DOMAIN app.uuid AS text; CREATE DOMAIN app.text AS pg_catalog.text;
         CREATE FUNCTION app.yes(varchar, pg_catalog.text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE FUNCTION app.yes(pg_catalog.uuid, pg_catalog.uuid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE OPERATOR app.= (FUNCTION = app.yes, LEFTARG = varchar, RIGHTARG = pg_catalog.text);
         CREATE OPERATOR app.= (FUNCTION = app.yes, LEFTARG = pg_catalog.uuid, RIGHTARG = pg_catalog.uuid);
         CREATE TABLE app.words (id int, account varchar(20));
         CREATE TABLE app.docs (id int); INSERT INTO app.docs VALUES (1)",
    );
    for session in [&mut owner, &mut world.db.admin()] {
        session.run(
            "BEGIN; SET search_path = app, pg_catalog; CREATE TEMP TABLE uuid (x int);
             SELECT tenancy.protect('app.words', 'account'); SELECT tenancy.protect('app.docs', add_column => true, backfill => 'acme')",
        );
        session.run("SET search_path = pg_catalog, pg_temp");
        assert_eq!(
            session.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
            2
        );
        assert_eq!(
            session.number(
                "SELECT count(*) FROM pg_policies WHERE concat(qual, with_check) LIKE '%OPERATOR%'"
            ),
            0
        );
        assert_eq!(
            session.text("SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'app.docs'::regclass AND attname = 'tenant_id'"),
            "uuid"
        );
        session.run("ROLLBACK");
    }
}

/// With thousands of relations the planner takes queries on the catalogs for expensive, and compiling them takes seconds each.
#[test]
fn tenancys_own_queries_are_not_compiled() {
    let world = World::new();
    let mut owner = world.db.owner();
    let compiles = |session: &mut tenancy_client_tests::Session| {
        let pid = session.text("SELECT pg_backend_pid()");
        std::fs::read_to_string(format!("/proc/{pid}/maps"))
            .is_ok_and(|maps| maps.contains("llvmjit.so"))
    };
    owner.run(
        // More than the statements that call cost.
        "SET jit = on; SET jit_above_cost = 200;
         CREATE TABLE app.docs (id int, tenant_id uuid NOT NULL)",
    );
    for sql in [
        "tenancy.protect('app.docs')",
        "tenancy.protect('app.docs', dry_run => true)",
        "tenancy.unknown_keys('app.docs')",
        "tenancy.unprotect('app.docs', dry_run => true)",
        "tenancy.unprotect('app.docs')",
    ] {
        owner.run(&format!("SELECT {sql}"));
    }
    owner.run(
        "ALTER TABLE app.notes ADD COLUMN more int; CREATE TABLE app.child () INHERITS (app.notes)",
    );
    let own = compiles(&mut owner);
    owner.run("SELECT count(*) FROM pg_class a, pg_class b");
    // The server may have come without a compiler.
    let available = compiles(&mut owner);
    assert!(available || owner.text("SELECT pg_jit_available()") == "f");
    assert!(!own, "a query of tenancy's was compiled");
}

/// Which words are keywords is the server's to say: of each category, as names of a table and of its tenant column.
#[test]
fn names_are_quoted_as_the_server_quotes_them() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("CREATE SCHEMA \"select\"");
    let words = owner.texts(
        "SELECT min(word) FROM pg_get_keywords() GROUP BY catcode UNION SELECT max(word) FROM pg_get_keywords() GROUP BY catcode",
    );
    assert!(words.len() > 6, "{words:?}");
    for word in &words {
        let [table, column] = ["%I.%2$I", "%2$I"]
            .map(|format| owner.text(&format!("SELECT format('{format}', 'select', '{word}')")));
        owner.run(&format!("CREATE TABLE {table} ({column} uuid NOT NULL)"));
        let made = owner.texts(&format!(
            "SELECT statement FROM tenancy.protect('{table}', '{word}') WHERE statement LIKE 'CREATE POLICY tenancy_guard %'"
        ));
        assert!(
            made[0].contains(&format!(" ON {table} "))
                && made[0].contains(&format!("('data:read', {column})")),
            "{made:?}"
        );
    }
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
        words.len() as i64
    );
}
