//! The advice about indexes: executed as it is given, the application's plans use what it creates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const TABLE: &str = "app.\"Odd \"\"Docs\"";

/// A table with names that need quotes, and rows of two tenants.
fn docs() -> World {
    let world = World::bare();
    let mut admin = world.db.admin();
    admin.run("CREATE EXTENSION citext; CREATE EXTENSION pg_trgm");
    world.db.owner().run(&format!(
        "CREATE TYPE app.state AS ENUM ('new', 'sold');
         CREATE FUNCTION app.norm(numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN round($1); END';
         CREATE TABLE {TABLE} (id bigint PRIMARY KEY, \"Tenant \"\"Id\" uuid NOT NULL, \"order\" numeric, state app.state, made timestamptz, body text,
             tags int[], meta jsonb, tsv tsvector, net inet, span int4range, name public.citext, at point, code numeric UNIQUE);
         SELECT tenancy.protect('{TABLE}', 'Tenant \"Id')"
    ));
    admin.run(&format!(
        "INSERT INTO {TABLE} SELECT n, t.id, n / 2, CASE WHEN n % 600 < 2 THEN 'sold' ELSE 'new' END::app.state, timestamptz '2020-01-01Z' + n * interval '1 hour', 'Doc' || n / 2 || 'x',
             ARRAY[n / 2], jsonb_build_object('ref', n / 2), to_tsvector('simple', 'w' || n / 2), inet '10.0.0.0' + n / 2, int4range(n / 2, n / 2 + 1), 'Doc' || n / 2, point(n, n), n
         FROM generate_series(2, 6001) n, LATERAL (SELECT id FROM tenancy.tenants WHERE slug = (ARRAY['acme', 'umbrella'])[n % 2 + 1]) t;
         ANALYZE {TABLE}"
    ));
    world
}

fn alice(world: &World) -> Session {
    let mut app = world.begin("alice");
    app.run("SET LOCAL enable_seqscan = off");
    app
}

/// Returns the statements of the advice on the table.
fn statements(session: &mut Session) -> Vec<String> {
    session.texts(&format!(
        "SELECT statement FROM tenancy.index_advice('{TABLE}') WHERE statement IS NOT NULL AND coalesce(index_name, '') <> '\"Odd \"\"Docs_code_key\"'"
    ))
}

/// An index as applications have it, its kind, a query of the table, and what its plan shows of the index that replaces it.
const KINDS: [(&str, &str, &str, &str); 19] = [
    (
        "(\"order\")",
        "unused",
        "WHERE \"order\" = 77",
        "\"order\" = ",
    ),
    (
        "(\"order\" DESC NULLS LAST, state) INCLUDE (name) WITH (fillfactor = 70) WHERE state <> 'new'",
        "unused",
        "WHERE \"order\" > 77 AND state <> 'new' AND \"order\" < 99",
        "\"order\" > ",
    ),
    (
        "(made DESC, \"Tenant \"\"Id\")",
        "slow",
        "WHERE made = timestamptz '2020-02-01Z'",
        "made = ",
    ),
    ("(made)", "slow", "ORDER BY made LIMIT 10", "_made_idx"),
    ("(name)", "unused", "WHERE name = 'dOC77'", "name = "),
    (
        "(lower(body))",
        "unused",
        "WHERE lower(body) = 'doc77x'",
        "lower(body) = ",
    ),
    (
        "((meta ->> 'ref'))",
        "unused",
        "WHERE meta ->> 'ref' IN ('77', '78')",
        "= ANY ",
    ),
    (
        "(lower(body) text_pattern_ops) WHERE state = 'new'",
        "unused",
        "WHERE lower(body) LIKE 'doc77x%' AND state = 'new'",
        "~>=~ ",
    ),
    (
        "USING hash (\"order\")",
        "unused",
        "WHERE \"order\" = 77",
        "\"order\" = ",
    ),
    (
        "USING hash (body)",
        "slow",
        "WHERE body = 'Doc77x'",
        "body = ",
    ),
    (
        "USING gin (tags)",
        "unused",
        "WHERE tags && '{77}'",
        "tags && ",
    ),
    (
        "USING gin (meta jsonb_path_ops) WITH (fastupdate = off)",
        "unused",
        "WHERE meta @> '{\"ref\": 77}'",
        "meta @> ",
    ),
    ("USING gin (tsv)", "unused", "WHERE tsv @@ 'w77'", "tsv @@ "),
    (
        "USING gin (to_tsvector('simple', body))",
        "unused",
        "WHERE to_tsvector('simple', body) @@ 'doc77x'",
        " @@ ",
    ),
    (
        "USING gin (body gin_trgm_ops)",
        "unused",
        "WHERE body LIKE '%c77x%'",
        "body ~~ ",
    ),
    (
        "USING gist (net inet_ops)",
        "unused",
        "WHERE net && '10.0.0.77'",
        "net && ",
    ),
    (
        "USING spgist (span)",
        "unused",
        "WHERE span && int4range(77, 78)",
        "span && ",
    ),
    (
        "USING spgist (body)",
        "slow",
        "WHERE body ^@ 'Doc77x'",
        "~>=~ ",
    ),
    (
        "USING spgist (at kd_point_ops)",
        "slow",
        "ORDER BY at <-> '(7,7)' LIMIT 10",
        "Order By: (at <-> ",
    ),
];

#[test]
fn the_advice_as_it_is_given_creates_what_plans_use() {
    let world = docs();
    // Conditions and expressions on a protected table, concurrently, are a superuser's.
    let mut admin = world.db.admin();
    for (index, kind, query, by) in KINDS {
        admin.run(&format!("CREATE INDEX old ON {TABLE} {index}"));
        let found = admin.text(&format!(
            "SELECT kind FROM tenancy.index_advice('{TABLE}') WHERE index_name = 'old'"
        ));
        assert_eq!(found, kind, "{index}");
        for statement in statements(&mut admin) {
            admin.run(&statement);
        }
        assert_eq!(statements(&mut admin), Vec::<String>::new(), "{index}");
        let made = admin.texts(&format!(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = '{TABLE}'::regclass AND indexrelid::regclass::text NOT IN ('app.old', 'app.\"Odd \"\"Docs_code_key\"') AND NOT indisprimary
             AND indexrelid::regclass::text NOT LIKE '%tenancy_idx%'"
        ));
        assert_eq!(made.len(), 1, "{index}: {made:?}");
        admin.run(&format!("DROP INDEX app.old; ANALYZE {TABLE}"));
        let plan = alice(&world).plan(&format!("SELECT id FROM {TABLE} {query}"));
        let name = made[0].trim_start_matches("app.");
        assert!(plan.contains(name) && plan.contains(by), "{index}:\n{plan}");
        assert!(
            plan.contains("Index Cond: ((\"Tenant \"\"Id\" = tenancy.tenant_id(")
                || plan.contains("Index Cond: (\"Tenant \"\"Id\" = tenancy.tenant_id("),
            "{index}:\n{plan}"
        );
        admin.run(&format!("DROP INDEX {}", made[0]));
    }
}

/// These the planner leaves to the filter, or reads for all tenants; no other index of the same columns is better.
#[test]
fn advice_without_a_statement_says_what_is_true() {
    let world = docs();
    let mut admin = world.db.admin();
    for (index, kind, advice, query) in [
        (
            "(app.norm(\"order\"))",
            "unused",
            "depends on app.norm(numeric)",
            "app.norm(\"order\") = 77",
        ),
        (
            "(\"Tenant \"\"Id\", app.norm(\"order\"))",
            "unused",
            "depends on app.norm(numeric)",
            "app.norm(\"order\") = 77",
        ),
        (
            "(\"Tenant \"\"Id\", ((meta ->> 'ref')::int))",
            "unused",
            "depends on a cast",
            "(meta ->> 'ref')::int = 77",
        ),
        (
            "(lower(body COLLATE \"en-x-icu\"))",
            "unused",
            "depends on a collation",
            "lower(body COLLATE \"en-x-icu\") = 'doc77x'",
        ),
        (
            "USING brin (\"order\")",
            "unused",
            "whole table",
            "\"order\" = 77",
        ),
    ] {
        admin.run(&format!("CREATE INDEX old ON {TABLE} {index}"));
        let found = admin.text(&format!(
            "SELECT concat_ws(' ', kind, advice, statement) FROM tenancy.index_advice('{TABLE}') WHERE index_name = 'old'"
        ));
        assert!(
            found.starts_with(kind) && found.contains(advice) && !found.contains("CREATE"),
            "{found}"
        );
        let plan = alice(&world).plan(&format!("SELECT id FROM {TABLE} WHERE {query}"));
        assert!(
            !plan
                .lines()
                .any(|line| line.contains("Index Cond") && line.contains("77")),
            "{plan}"
        );
        admin.run("DROP INDEX app.old");
    }
}

/// The parent's index is advised on once, and a partition's own index by itself.
#[test]
fn a_partitioned_table_is_advised_on_once() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.parts (id bigint, tenant_id uuid NOT NULL, price numeric, made date) PARTITION BY RANGE (id);
         CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (0) TO (3000);
         CREATE TABLE app.parts_2 PARTITION OF app.parts DEFAULT;
         CREATE INDEX ON app.parts (price); CREATE INDEX own ON app.parts_2 (made);
         SELECT tenancy.protect('app.parts')",
    );
    let expected = [
        "app.parts parts_price_idx CREATE INDEX ON app.parts (tenant_id, price)",
        "app.parts_2 own CREATE INDEX CONCURRENTLY ON app.parts_2 (tenant_id, made)",
    ];
    for target in ["", "'app.parts'"] {
        let found = owner.texts(&format!(
            "SELECT concat_ws(' ', table_name, index_name, statement) FROM tenancy.index_advice({target})"
        ));
        assert_eq!(found, expected, "{target}");
    }
    for statement in owner.texts("SELECT statement FROM tenancy.index_advice()") {
        owner.run(&statement);
    }
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.index_advice()"),
        0
    );
    world
        .db
        .admin()
        .run("INSERT INTO app.parts SELECT n, t.id, n, NULL FROM generate_series(1, 5000) n, tenancy.tenants t; ANALYZE app.parts");
    let plan = alice(&world).plan("SELECT * FROM app.parts WHERE price = 77");
    assert_eq!(plan.matches("(price = '77'::numeric)").count(), 2, "{plan}");
}

/// Reads the catalogs as a set, whatever the number of tables.
#[test]
fn advice_on_many_tables_takes_one_query() {
    let world = World::bare();
    let mut admin = world.db.admin();
    // As protect() registers them; nothing but the registry makes the number of tables.
    admin.run(
        "DO $$ BEGIN FOR n IN 1..2000 LOOP EXECUTE format('CREATE TABLE app.t%s (id int PRIMARY KEY, tenant_id uuid NOT NULL, price numeric)', n);
             EXECUTE format('CREATE INDEX ON app.t%s (price)', n); END LOOP; END $$;
         INSERT INTO tenancy_internal.protected_table_registry (relation, tenant_column, key_type, options, undo, protected_by)
         SELECT c.oid, 'tenant_id', 'uuid', '{}', '[]', 'test' FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relname ~ '^t[0-9]+$'",
    );
    let start = std::time::Instant::now();
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.index_advice()"),
        2000
    );
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn who_may_see_advice_and_about_what() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.loose (id int PRIMARY KEY, customer uuid NOT NULL, tenant_id uuid, price numeric); CREATE INDEX ON app.loose (price)",
    );
    // Before it is protected, to create indexes first.
    for (arguments, expected) in [
        ("'app.loose'", "(tenant_id, price)"),
        ("'app.loose', 'customer'", "(customer, price)"),
    ] {
        let found = owner.text(&format!(
            "SELECT statement FROM tenancy.index_advice({arguments})"
        ));
        assert!(found.ends_with(expected), "{found}");
    }
    owner
        .fails("SELECT * FROM tenancy.index_advice('app.loose', 'nothing')")
        .code("22023");
    owner
        .fails("SELECT * FROM tenancy.index_advice(4::oid::regclass)")
        .code("42704");
    for session in [&mut world.db.app(), &mut world.db.stranger()] {
        session
            .fails("SELECT * FROM tenancy.index_advice('app.loose')")
            .code("42501");
    }
}
