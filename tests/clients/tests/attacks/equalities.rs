//! No equality in a caller's statement replaces a policy's condition, or is evaluated before it, although the planner merges
//! equalities (F0's class).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

/// Rows of acme and of soylent in tables whose keys can be guessed. Soylent's row 1007 is the only one with its secret.
fn world() -> World {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.update_scope('acme', external_id => '4711'), tenancy.update_scope('soylent', external_id => '4713');
         CREATE TABLE app.legacy (id int, n int, secret text, other bigint, customer bigint NOT NULL);
         CREATE TABLE app.named (id int, n int, secret text, other text, customer text NOT NULL);
         CREATE TABLE app.parted (id int, n int, secret text, other bigint, customer bigint NOT NULL) PARTITION BY LIST (customer);
         CREATE TABLE app.parted1 PARTITION OF app.parted FOR VALUES IN (4711);
         CREATE TABLE app.parted2 PARTITION OF app.parted FOR VALUES IN (4713)",
    );
    for table in ["legacy", "named", "parted"] {
        owner.run(&format!(
            "INSERT INTO app.{table} SELECT i, i, 'a' || i, 4711, 4711 FROM generate_series(1, 3) i;
             INSERT INTO app.{table} SELECT i, i, 's' || i, 4713, 4713 FROM generate_series(1001, 1300) i;
             SELECT tenancy.protect('app.{table}', 'customer'); GRANT SELECT, INSERT, UPDATE, DELETE ON app.{table} TO {};
             ANALYZE app.{table}",
            world.db.app
        ));
    }
    world
}

fn alice(world: &World) -> Session {
    let mut app = world.begin("alice");
    app.run(
        "SET LOCAL app.k = '4711'; CREATE TEMP SEQUENCE calls;
         CREATE FUNCTION pg_temp.lie(int) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN CASE WHEN nextval('calls') <= $1 THEN 4711 ELSE 4713 END; END $$;
         CREATE FUNCTION pg_temp.boom() RETURNS bigint LANGUAGE plpgsql STABLE COST 1e39 AS $$ BEGIN RAISE EXCEPTION 'boom'; END $$;
         CREATE FUNCTION pg_temp.spy() RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM nextval('calls'); RETURN NULL; END $$",
    );
    app
}

#[test]
fn a_value_that_changes_while_it_is_compared_shows_no_other_tenant() {
    let world = world();
    for plan in [
        "SELECT 1",
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off",
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off",
    ] {
        for (table, key) in [
            ("legacy", "bigint"),
            ("named", "text"),
            ("parted", "bigint"),
        ] {
            let mut conditions = vec![format!(
                "customer = current_setting('app.k')::{key} AND set_config('app.k', '4713', true) IS NOT NULL"
            )];
            for calls in 0..8 {
                conditions.push(format!("customer = pg_temp.lie({calls})::{key}"));
                conditions.push(format!(
                    "customer = other AND other = pg_temp.lie({calls})::{key}"
                ));
            }
            for condition in conditions {
                for statement in [
                    format!("SELECT count(*) FROM app.{table} WHERE {condition} AND id > 1000"),
                    format!(
                        "WITH d AS (DELETE FROM app.{table} WHERE {condition} AND id > 1000 RETURNING 1) SELECT count(*) FROM d"
                    ),
                    format!(
                        "WITH d AS (UPDATE app.{table} SET n = 0 WHERE {condition} AND id > 1000 RETURNING 1) SELECT count(*) FROM d"
                    ),
                    format!(
                        "SELECT count(*) FROM app.{table} a JOIN app.{table} b USING (customer) WHERE a.{condition} AND b.id > 1000"
                    ),
                ] {
                    // The one with two columns of a name is no statement of a join.
                    if statement.contains("JOIN") && condition.contains("other") {
                        continue;
                    }
                    let mut app = alice(&world);
                    app.run(plan);
                    assert_eq!(app.number(&statement), 0, "{plan}: {statement}");
                }
            }
        }
    }
}

#[test]
fn a_function_whose_cost_is_no_number_comes_after_the_policy() {
    let world = world();
    for cost in ["0", "1", "1.7e308"] {
        for value in ["s1007", "t"] {
            let mut app = alice(&world);
            app.run(&format!("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL cpu_operator_cost = {cost}"));
            for other in [
                "pg_temp.boom()",
                "(SELECT (1 / (count(*) - count(*))) FROM pg_am)",
            ] {
                for more in [
                    "",
                    "WHEN current_setting('app.x', true) @@ ANY ('{}'::text[]) THEN NULL",
                ] {
                    let condition = format!(
                        "CASE WHEN id = 1007 AND secret >= '{value}' THEN {other} {more} ELSE customer END = customer"
                    );
                    assert_eq!(
                        app.number(&format!(
                            "SELECT count(*) FROM app.legacy WHERE {condition}"
                        )),
                        3,
                        "{cost}: {condition}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_views_own_conditions_come_after_the_policy() {
    let world = world();
    let mut app = alice(&world);
    let spying = "CASE WHEN secret = 's1007' AND id < 1100 THEN pg_temp.spy() ELSE other END";
    for (n, condition) in [
        format!("{spying} = other AND other = customer"),
        format!("{spying} = other AND other = customer AND {spying} = tenancy.tenant_key_bigint('data:write')"),
        format!("{spying} = customer"),
    ]
    .iter()
    .enumerate()
    {
        app.run(&format!(
            "CREATE TEMP VIEW v{n} WITH (security_barrier) AS SELECT * FROM app.legacy WHERE {condition};
             SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;
             UPDATE pg_temp.v{n} SET n = 0; DELETE FROM pg_temp.v{n} WHERE id < 0"
        ));
        assert_eq!(
            app.text("SELECT is_called::text FROM calls"),
            "false",
            "{condition}"
        );
    }
}

#[test]
fn a_failing_collation_reveals_nothing_of_other_users() {
    let world = world();
    for view in ["users", "tenants"] {
        for condition in [
            "(name IS NULL OR (SELECT 'x'::text COLLATE \"C\") = (SELECT 'y'::text COLLATE \"POSIX\"))",
            "(SELECT 'x'::text COLLATE \"C\") = (SELECT 'y'::text COLLATE \"POSIX\")",
            "starts_with(name COLLATE pg_temp.nd, 'zz')",
            "name COLLATE pg_temp.nd LIKE 'zz%'",
        ] {
            let ends = ["bob", "umbrella", "nobody"].map(|slug| {
                let mut app = alice(&world);
                app.run("CREATE COLLATION pg_temp.nd (provider = icu, locale = 'und', deterministic = false); SET LOCAL enable_seqscan = off");
                app.query_one(&format!("SELECT count(*) FROM tenancy.{view} WHERE slug = '{slug}' AND {condition}"), &[])
                    .map(|row| row.get::<_, i64>(0))
                    .map_err(|error| error.code().map(|code| code.code().to_owned()))
            });
            assert!(
                ends.iter().all(|end| *end == ends[2]),
                "{view}: {condition}: {ends:?}"
            );
        }
    }
}

/// F38's class: unprotect() is recorded before it takes effect.
#[test]
fn unprotect_is_on_record_also_when_it_is_rolled_back() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run("BEGIN; SELECT tenancy.unprotect('app.legacy')");
    owner.run("ROLLBACK");
    assert_eq!(
        world.db.admin().number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.unprotect' AND target = 'app.legacy'"),
        1
    );
}
