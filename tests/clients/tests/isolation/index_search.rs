//! Conditions that are not leakproof search indexes of protected tables: which do, by `tenancy.index_search`, and which never do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};
use tenancy_core::index_search::{EXTENSIONS, Group, OPERATORS};

pub const ROWS: i64 = 6000;

/// A table with a column of each kind; of each three rows, one is acme's. Rows of other tenants have the word `secret`.
pub fn docs() -> World {
    let world = World::bare();
    let mut admin = world.db.admin();
    admin.run("CREATE EXTENSION btree_gin; CREATE EXTENSION btree_gist; CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION pg_trgm");
    world.db.owner().run(
        "CREATE TYPE app.state AS ENUM ('new', 'sold', 'gone');
         CREATE TYPE app.pair AS (a int, b int);
         CREATE TYPE app.words AS RANGE (subtype = text);
         CREATE FUNCTION app.norm(numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN round($1); END';
         CREATE FUNCTION app.chosen(bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
         CREATE TABLE app.docs (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, price numeric, state app.state, made date, tags int[], labels text[], moods app.state[],
             pairs app.pair[], meta jsonb, tsv tsvector, body text, net inet, span int4range, term app.words, name public.citext, attr public.hstore);
         CREATE TABLE app.wanted (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, price numeric, state app.state);
         SELECT tenancy.protect('app.docs'), tenancy.protect('app.wanted')",
    );
    admin.run(&format!(
        "INSERT INTO app.docs SELECT n, t.id, n / 3 + 0.5, CASE WHEN n % 600 < 3 THEN 'sold' ELSE 'new' END::app.state, date '2020-01-01' + n / 3, ARRAY[n / 3, n / 3 + 1],
             ARRAY['l' || n / 3], CASE WHEN n % 600 < 3 THEN '{{sold}}' ELSE '{{new}}' END::app.state[], ARRAY[ROW(n / 3, 1)::app.pair], jsonb_build_object('ref', n / 3, 'k' || n / 3, 1),
             to_tsvector('simple', 'w' || n / 3 || ' ' || w), 'doc' || n / 3 || 'x ' || w, inet '10.0.0.0' + n / 3, int4range(n / 3, n / 3 + 1),
             app.words('a' || n / 3, 'a' || n / 3 || 'b'), 'Doc' || n / 3, hstore('ref', (n / 3)::text)
         FROM generate_series(3, {ROWS} + 2) n, LATERAL (SELECT id, CASE slug WHEN 'acme' THEN 'open' ELSE 'secret' END AS w FROM tenancy.tenants WHERE slug = (ARRAY['acme', 'umbrella', 'soylent'])[n % 3 + 1]) t;
         INSERT INTO app.wanted SELECT id, tenant_id, price, state FROM app.docs WHERE id % 600 < 3;
         ANALYZE app.docs; ANALYZE app.wanted"
    ));
    world
}

/// A session of acme's alice, in a transaction, with a setting of a superuser.
fn alice(world: &World, mode: &str) -> Session {
    session(world, "alice", mode)
}

/// A session of a user, likewise.
pub fn session(world: &World, user: &str, mode: &str) -> Session {
    world.db.admin().run(&format!(
        "ALTER ROLE {} SET tenancy.index_search = '{mode}'",
        world.db.app
    ));
    let mut app = world.begin(user);
    assert_eq!(app.text("SHOW tenancy.index_search"), mode);
    app.run("SET LOCAL enable_seqscan = off");
    app
}

/// Returns whether a plan searches an index by all of these.
pub fn searches_by(plan: &str, by: &[&str]) -> bool {
    plan.lines()
        .any(|line| line.contains("Index Cond:") && by.iter().all(|by| line.contains(by)))
}

/// Returns whether the plan of a query of `app.docs` searches an index by a condition.
fn searches(app: &mut Session, condition: &str, by: &str) -> (bool, String) {
    let plan = app.plan(&format!("SELECT id FROM app.docs WHERE {condition}"));
    (searches_by(&plan, &[by]), plan)
}

/// Kinds of conditions: what an index is on, its access method, the condition, and what EXPLAIN shows of it.
pub const KINDS: [(&str, &str, &str, &str); 24] = [
    (
        "btree",
        "lower(body)",
        "lower(body) = 'doc77x open'",
        "lower(body) = ",
    ),
    (
        "btree",
        "lower(body)",
        "lower(body) IN ('doc77x open', 'doc78x open')",
        "= ANY",
    ),
    (
        "btree",
        "((meta ->> 'ref'))",
        "meta ->> 'ref' = '77'",
        "= '77'",
    ),
    (
        "hash",
        "lower(body)",
        "lower(body) = 'doc77x open'",
        "lower(body) = ",
    ),
    ("btree", "price", "price = 77.5", "price = 77.5"),
    ("btree", "price", "price IN (77.5, 78.5)", "price = ANY"),
    (
        "btree",
        "price",
        "price > 1990 AND price < 1991",
        "price > ",
    ),
    ("hash", "price", "price = 77.5", "price = 77.5"),
    ("btree", "state", "state = 'sold'", "state = 'sold'"),
    ("btree", "made", "made = timestamp '2020-03-01'", "made = "),
    (
        "btree",
        "made",
        "made >= now() - interval '1 day'",
        "made >= ",
    ),
    ("btree", "name", "name = 'dOC77'", "name = "),
    ("gin", "tags", "tags && '{77}'", "tags && "),
    ("gin", "labels", "labels @> '{l77}'", "labels @> "),
    ("gin", "moods", "moods @> '{sold}'", "moods @> "),
    ("gin", "meta", "meta @> '{\"ref\": 77}'", "meta @> "),
    (
        "gin",
        "meta jsonb_path_ops",
        "meta @> '{\"ref\": 77}'",
        "meta @> ",
    ),
    ("gin", "meta", "meta ? 'k77'", "meta ? "),
    (
        "gin",
        "tsv",
        "tsv @@ to_tsquery('simple', 'w77 & open')",
        "tsv @@ ",
    ),
    (
        "gin",
        "body gin_trgm_ops",
        "body LIKE '%doc77x%'",
        "body ~~ ",
    ),
    ("gin", "attr", "attr @> 'ref=>77'", "attr @> "),
    ("gist", "span", "span && int4range(77, 78)", "span && "),
    ("gist", "net inet_ops", "net && '10.0.0.77'", "net && "),
    (
        "btree",
        "lower(body) text_pattern_ops",
        "lower(body) LIKE 'doc77x %'",
        "~>=~ ",
    ),
];

#[test]
fn each_kind_searches_an_index_with_the_tenant_under_own_any_under_all_and_none_under_off() {
    let world = docs();
    let mut admin = world.db.admin();
    let acme = world.id("acme");
    for (method, on, condition, by) in KINDS {
        let expected = admin.number(&format!(
            "SELECT count(*) FROM app.docs WHERE tenant_id = '{acme}' AND {condition}"
        ));
        assert!(
            expected < ROWS / 3 && (expected > 0 || condition.contains("now()")),
            "{condition}"
        );
        for (keys, modes) in [
            (on.to_owned(), ["all"].as_slice()),
            (format!("tenant_id, {on}"), &["own", "all"]),
        ] {
            if method == "hash" && keys.contains("tenant_id") {
                continue;
            }
            admin.run(&format!(
                "CREATE INDEX searched ON app.docs USING {method} ({keys})"
            ));
            for mode in ["own", "all", "off"] {
                let mut app = alice(&world, mode);
                let (found, plan) = searches(&mut app, condition, by);
                assert_eq!(
                    found,
                    modes.contains(&mode),
                    "{condition} by {method} ({keys}), {mode}:\n{plan}"
                );
                let sql = format!("SELECT count(*) FROM app.docs WHERE {condition}");
                assert_eq!(app.number(&sql), expected, "{condition}, {mode}");
            }
            admin.run("DROP INDEX app.searched");
        }
    }
}

/// Read from one value to another, it would touch as many entries as all tenants have there.
#[test]
fn own_leaves_out_a_btree_index_that_does_not_begin_with_the_tenant() {
    let world = docs();
    world
        .db
        .admin()
        .run("CREATE INDEX searched ON app.docs (price, tenant_id)");
    for (mode, wanted) in [("own", false), ("all", true), ("off", false)] {
        let mut app = alice(&world, mode);
        let (found, plan) = searches(&mut app, "price BETWEEN 77 AND 79", "price >= ");
        assert_eq!(found, wanted, "{mode}\n{plan}");
    }
}

#[test]
fn arms_of_an_or_search_an_index_each() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run("CREATE INDEX ON app.docs USING gin (tenant_id, tsv); CREATE INDEX ON app.docs USING gin (tenant_id, meta)");
    let condition = "(tsv @@ 'w77' OR meta @> '{\"ref\": 78}')";
    let mut app = alice(&world, "own");
    let (found, plan) = searches(&mut app, condition, "tsv @@ ");
    assert!(
        found && plan.contains("BitmapOr") && plan.contains("meta @> "),
        "{plan}"
    );
    assert_eq!(
        app.number(&format!("SELECT count(*) FROM app.docs WHERE {condition}")),
        2
    );
}

#[test]
fn a_join_searches_by_the_other_tables_column() {
    let world = docs();
    world
        .db
        .admin()
        .run("CREATE INDEX ON app.docs (tenant_id, price)");
    let sql = "SELECT d.id FROM app.wanted w JOIN app.docs d ON d.price = w.price";
    for (mode, by_price) in [("own", true), ("off", false)] {
        let mut app = alice(&world, mode);
        app.run("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off");
        let plan = app.plan(sql);
        assert_eq!(
            plan.contains("(price = w.price)"),
            by_price,
            "{mode}:\n{plan}"
        );
        assert_eq!(
            app.number(&format!("SELECT count(*) FROM ({sql}) q")),
            ROWS / 600
        );
    }
}

#[test]
fn partitions_and_writes_search_too() {
    let world = docs();
    world.db.owner().run(
        "CREATE TABLE app.parts (id bigint, tenant_id uuid NOT NULL, price numeric) PARTITION BY RANGE (id);
         CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (0) TO (3000); CREATE TABLE app.parts_2 PARTITION OF app.parts DEFAULT;
         CREATE INDEX ON app.parts (tenant_id, price); SELECT tenancy.protect('app.parts')",
    );
    world.db.admin().run("INSERT INTO app.parts SELECT id, tenant_id, price FROM app.docs; ANALYZE app.parts; CREATE INDEX ON app.docs USING gin (tenant_id, tags)");
    let mut app = alice(&world, "own");
    let plan = app.plan("SELECT * FROM app.parts WHERE price = 77.5");
    assert_eq!(plan.matches("(price = 77.5)").count(), 2, "{plan}");
    let sql = "UPDATE app.docs SET price = 0 WHERE tags @> '{77}'";
    let plan = app.plan(sql);
    assert!(
        plan.contains("Index Cond: ((tenant_id") && plan.contains("tags @> "),
        "{plan}"
    );
    assert_eq!(app.touched(sql), 2);
}

/// Conditions that may reveal something, each with the index that would serve it.
const TRAPS: [(&str, &str, &str); 16] = [
    (
        "USING gin (body gin_trgm_ops)",
        "body LIKE '%secret\\'",
        "body ~~",
    ),
    (
        "USING gin (body gin_trgm_ops)",
        "body ILIKE '%secret\\'",
        "body ~~*",
    ),
    (
        "USING gin (body gin_trgm_ops)",
        "body LIKE 'doc' || id || '%'",
        "body ~~",
    ),
    (
        "USING gin (body gin_trgm_ops)",
        "body LIKE ANY ('{%doc77x%,secret\\\\}')",
        "body ~~",
    ),
    (
        "USING gin (body gin_trgm_ops)",
        "body ~ 'doc77x'",
        "body ~ ",
    ),
    ("USING gin (meta)", "meta @@ '$.ref == 77'", "meta @@"),
    (
        "USING gin (meta)",
        "meta @? '$.ref ? (@.datetime() > \"2020-01-01\".datetime())'",
        "meta @?",
    ),
    ("USING gin (pairs)", "pairs @> '{\"(77,1)\"}'", "pairs @>"),
    (
        "USING gist (term)",
        "term && app.words('a77', 'a78')",
        "term &&",
    ),
    (
        "USING gist (span)",
        "span -|- int4range(70, 77)",
        "span -|-",
    ),
    ("(app.norm(price))", "app.norm(price) = 78", "app.norm"),
    (
        "(price) WHERE app.chosen(id)",
        "price = 77.5 AND app.chosen(id)",
        "price =",
    ),
    (
        "(lower(body) text_pattern_ops) WHERE id > 5",
        "lower(body) LIKE 'doc77x %' AND id > 5",
        "~>=~",
    ),
    ("USING gin (tsv)", "tsv @@ 'secret & (w77 | w78)'", "tsv @@"),
    ("USING gin (tsv)", "tsv @@ to_tsquery('w77')", "tsv @@"),
    (
        "(price)",
        "price = (SELECT 77.5 FROM pg_am LIMIT 1)",
        "price =",
    ),
];

#[test]
fn what_may_reveal_something_searches_no_index_and_reveals_nothing() {
    let world = docs();
    let mut admin = world.db.admin();
    let acme = world.id("acme");
    for (index, condition, by) in TRAPS {
        admin.run(&format!("CREATE INDEX searched ON app.docs {index}"));
        let mut app = alice(&world, "all");
        let (found, plan) = searches(&mut app, condition, by);
        assert!(!found, "{condition} by {index}:\n{plan}");
        // What fails for rows of other tenants does not fail here.
        let sql = format!("SELECT count(*) FROM app.docs WHERE {condition}");
        let expected = admin.number(&format!(
            "WITH own AS MATERIALIZED (SELECT * FROM app.docs WHERE tenant_id = '{acme}') {}",
            sql.replace("app.docs", "own")
        ));
        assert_eq!(app.number(&sql), expected, "{condition}");
        drop(app);
        admin.run("DROP INDEX app.searched");
    }
}

#[test]
fn a_pattern_and_a_query_are_constants() {
    let world = docs();
    world.db.admin().run("CREATE INDEX ON app.docs USING gin (body gin_trgm_ops); CREATE INDEX ON app.docs USING gin (tsv)");
    let mut app = alice(&world, "all");
    app.run(
        "PREPARE pattern(text) AS SELECT id FROM app.docs WHERE body LIKE $1;
         PREPARE query(text) AS SELECT id FROM app.docs WHERE tsv @@ to_tsquery('simple', $1)",
    );
    for (mode, found) in [("force_custom_plan", true), ("force_generic_plan", false)] {
        app.run(&format!("SET LOCAL plan_cache_mode = {mode}"));
        for (sql, by) in [
            ("EXECUTE pattern('%doc77x%')", "body ~~ "),
            ("EXECUTE query('w77')", "tsv @@ "),
        ] {
            let plan = app.plan(sql);
            let cond = plan
                .lines()
                .any(|l| l.contains("Index Cond:") && l.contains(by));
            assert_eq!(cond, found, "{mode}:\n{plan}");
            assert_eq!(app.texts(sql).len(), 1);
        }
    }
    // In a custom plan, an open backslash is seen.
    app.run("SET LOCAL plan_cache_mode = force_custom_plan");
    assert_eq!(app.texts("EXECUTE pattern('%secret\\')").len(), 0);
}

#[test]
fn a_function_gets_no_row_of_another_tenant() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run(
        "CREATE FUNCTION public.spy(uuid) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN IF $1 IS DISTINCT FROM tenancy.tenant_id() THEN RAISE EXCEPTION 'seen'; END IF; RETURN true; END $$;
         CREATE INDEX ON app.docs USING gin (tsv); CREATE INDEX ON app.docs USING gin (tags); CREATE INDEX ON app.docs USING gist (span); CREATE INDEX ON app.docs USING brin (made)",
    );
    for mode in ["own", "all", "off"] {
        let mut app = alice(&world, mode);
        for lossy in [
            "",
            "SET LOCAL work_mem = '64kB'; SET LOCAL enable_indexscan = off",
        ] {
            app.run(lossy);
            for condition in [
                "tsv @@ 'secret' AND public.spy(tenant_id)",
                "tsv @@ 'open | secret' AND public.spy(tenant_id)",
                "tags && (SELECT array_agg(n) FROM generate_series(1, 900) n) AND public.spy(tenant_id)",
                "public.spy(tenant_id) AND span && int4range(1, 900)",
                "(tsv @@ 'secret' OR tags @> '{77}') AND public.spy(tenant_id)",
                "public.spy(tenant_id) AND made > timestamp '2020-02-01'",
            ] {
                app.texts(&format!("SELECT id FROM app.docs WHERE {condition}"));
                app.texts(&format!(
                    "SELECT id FROM app.docs WHERE {condition} FOR UPDATE"
                ));
            }
        }
    }
}

/// Conditions that are estimated by values of all tenants, and others that are not: their operators may need more stack for some
/// values, or fail.
const ESTIMATES: [(&str, bool); 13] = [
    ("meta ? 'k77'", true),
    ("meta @> '{\"ref\": 77}'", true),
    ("'{\"ref\": 77}' <@ meta", false),
    ("attr @> 'ref=>77'", true),
    ("name = 'doc77'", false),
    ("price > 1990", true),
    ("span && int4range(77, 78)", true),
    ("(meta ? 'k77' OR meta ? 'k78')", true),
    ("meta @> '{\"ref\": {\"deep\": 1}}'", false),
    ("meta <@ '{\"ref\": 77}'", false),
    ("gaps && numrange(77, 78)", false),
    ("body LIKE '%doc77x%'", false),
    ("moods = '{sold}'", false),
];

fn rows(app: &mut Session, condition: &str) -> f64 {
    let plan = app.plan(&format!("SELECT id FROM app.docs WHERE {condition}"));
    let (_, rows) = plan.split_once("rows=").unwrap();
    rows.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn only_under_all_values_of_other_tenants_are_estimated_by() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run("ALTER TABLE app.docs ADD gaps numrange; UPDATE app.docs SET gaps = numrange(id / 3, id / 3 + 1); ANALYZE app.docs");
    for column in ["meta", "attr", "body gin_trgm_ops", "moods"] {
        admin.run(&format!("CREATE INDEX ON app.docs USING gin ({column})"));
    }
    admin.run("CREATE INDEX ON app.docs (price); CREATE INDEX ON app.docs (name); CREATE INDEX ON app.docs USING gist (span); CREATE INDEX ON app.docs USING gist (gaps)");
    for (condition, estimated) in ESTIMATES {
        let off = rows(&mut alice(&world, "off"), condition);
        assert_eq!(
            rows(&mut alice(&world, "own"), condition),
            off,
            "{condition}"
        );
        let all = rows(&mut alice(&world, "all"), condition);
        assert_eq!(all < off / 4.0, estimated, "{condition}: {off}, {all}");
        assert!(estimated || all == off, "{condition}: {off}, {all}");
    }
}

/// The operator of the attacker's has an estimator that calls it.
#[test]
fn nothing_else_is_estimated_together_with_such_a_condition() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run(
        "CREATE FUNCTION public.spy(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'seen'; END $$;
         CREATE OPERATOR public.=~ (FUNCTION = public.spy, LEFTARG = int, RIGHTARG = int, RESTRICT = eqsel);
         ALTER TABLE app.docs ADD common int; UPDATE app.docs SET common = id % 3; ANALYZE app.docs;
         CREATE INDEX ON app.docs USING gin (meta); CREATE INDEX ON app.docs (price)",
    );
    for condition in [
        "meta ? 'k77' AND common OPERATOR(public.=~) 1",
        "(meta ? 'k77' OR common OPERATOR(public.=~) 1)",
        "(meta ? 'k77' OR (price = 77.5 AND common OPERATOR(public.=~) 1))",
    ] {
        let mut app = alice(&world, "all");
        app.plan(&format!("SELECT id FROM app.docs WHERE {condition}"));
        app.plan(&format!(
            "SELECT id FROM app.docs WHERE {condition} AND id IN (SELECT id FROM app.wanted)"
        ));
    }
}

/// The function is built in, and the operator is not: its estimator calls the function of its negator, which is the attacker's.
#[test]
fn an_attackers_operator_of_a_built_in_function_is_not_estimated() {
    let world = docs();
    world.db.admin().run(
        "CREATE FUNCTION public.spy(numeric, numeric) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'seen'; END $$;
         CREATE FUNCTION public.spy(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'seen'; END $$;
         CREATE OPERATOR public.<<>> (FUNCTION = numeric_eq, LEFTARG = numeric, RIGHTARG = numeric, RESTRICT = neqsel);
         CREATE OPERATOR public.=== (FUNCTION = public.spy, LEFTARG = numeric, RIGHTARG = numeric, NEGATOR = OPERATOR(public.<<>>));
         CREATE OPERATOR public.<<>> (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text, RESTRICT = nlikesel);
         CREATE OPERATOR public.=== (FUNCTION = public.spy, LEFTARG = text, RIGHTARG = text, NEGATOR = OPERATOR(public.<<>>));
         CREATE FUNCTION public.spy(hstore, hstore) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'seen'; END $$;
         CREATE OPERATOR public.<<>> (FUNCTION = public.hs_contains, LEFTARG = hstore, RIGHTARG = hstore, RESTRICT = neqsel);
         CREATE OPERATOR public.=== (FUNCTION = public.spy, LEFTARG = hstore, RIGHTARG = hstore, NEGATOR = OPERATOR(public.<<>>));
         CREATE INDEX ON app.docs USING gin (attr);
         ALTER TABLE app.docs ADD fee numeric; UPDATE app.docs SET fee = id % 3;
         CREATE INDEX ON app.docs (fee); CREATE INDEX ON app.docs (lower(body)); ANALYZE app.docs",
    );
    for condition in [
        "fee OPERATOR(public.<<>>) 1",
        "fee OPERATOR(public.<<>>) ANY ('{1,2}')",
        "(fee OPERATOR(public.<<>>) 1 OR price = 77.5)",
        "lower(body) OPERATOR(public.<<>>) '%x%'",
        "attr OPERATOR(public.<<>>) 'ref=>77'",
    ] {
        let sql = format!("SELECT id FROM app.docs WHERE {condition}");
        alice(&world, "all").plan(&sql);
    }
}

/// The subquery is computed, and fails, when a row needs it.
#[test]
fn the_policy_stays_first_where_a_condition_is_estimated() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run(&format!(
        "ALTER TABLE app.docs ADD n int DEFAULT 0; UPDATE app.docs SET meta = meta || '{{\"hidden\": 1}}' WHERE tenant_id <> '{}';
         ANALYZE app.docs; CREATE INDEX ON app.docs USING gin (meta)",
        world.id("acme")
    ));
    let lazy = "(SELECT 1 / (count(*) - count(*)) FROM pg_am)";
    for mode in ["own", "all", "off"] {
        let mut app = alice(&world, mode);
        for condition in [
            format!("meta ? 'hidden' AND n = {lazy}"),
            format!("(meta ? 'hidden' OR price = 0) AND n = {lazy}"),
        ] {
            for scan in [
                "",
                "SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = off",
            ] {
                app.run(scan);
                let sql = format!("SELECT count(*) FROM app.docs WHERE {condition}");
                assert_eq!(app.number(&sql), 0, "{mode}");
            }
        }
    }
}

#[test]
fn only_superusers_choose_which_indexes_are_searched() {
    let world = World::bare();
    for mut session in [world.db.app(), world.db.owner()] {
        assert_eq!(session.text("SHOW tenancy.index_search"), "own");
        for mode in ["all", "off"] {
            let sql = format!("SET tenancy.index_search = '{mode}'");
            session.fails(&sql).code("42501");
        }
    }
}

#[test]
fn the_lists_agree_with_the_servers_catalog() {
    let world = World::bare();
    let mut admin = world.db.admin();
    // In an operator family of the server's, by itself or turned around.
    let searched = "EXISTS (SELECT FROM pg_operator o JOIN pg_amop a ON a.amopopr IN (o.oid, o.oprcom) WHERE o.oprcode = p.oid AND a.amoppurpose = 's' AND a.amopfamily < 16384)";
    for known in OPERATORS {
        let oid = known.oid;
        let row = admin.query_one(&format!("SELECT proname::text, proargtypes[0], proargtypes[1], pronargs, prolang, prorettype, proleakproof, provolatile <> 'v', {searched}, prosupport <> 0 FROM pg_proc p WHERE oid = {oid} AND pronamespace = 'pg_catalog'::regnamespace"), &[]).unwrap();
        assert_eq!(row.get::<_, String>(0), known.name);
        assert_eq!(
            [row.get::<_, u32>(1), row.get(2)],
            known.types,
            "{}",
            known.name
        );
        let (count, language, result): (i16, u32, u32) = (row.get(3), row.get(4), row.get(5));
        assert_eq!((count, language, result), (2, 12, 16), "{}", known.name);
        assert!(!row.get::<_, bool>(6), "{} is leakproof", known.name);
        assert!(row.get::<_, bool>(7), "{} is volatile", known.name);
        // LIKE and network comparisons become others that an index is searched by.
        let becomes =
            matches!(known.group, Group::Pattern | Group::Network) && row.get::<_, bool>(9);
        assert!(
            row.get::<_, bool>(8) || becomes,
            "{} searches no index",
            known.name
        );
    }
    for extension in EXTENSIONS {
        let name = extension.name;
        admin.run(&format!("CREATE EXTENSION {name}"));
        for function in extension.functions {
            let count = admin.number(&format!(
                "SELECT count(*) FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                 JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
                 JOIN pg_operator o ON o.oprcode = p.oid JOIN pg_amop a ON a.amopopr IN (o.oid, o.oprcom) AND a.amoppurpose = 's'
                 WHERE e.extname = '{name}' AND p.proname = '{function}' AND p.prolang = 13 AND p.proowner = 10"
            ));
            assert!(count > 0, "{name} has no {function}");
        }
    }
}
