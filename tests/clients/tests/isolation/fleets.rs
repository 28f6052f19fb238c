//! Users of several tenants search indexes by an array of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

use super::index_search::{self, KINDS, ROWS, docs, session};

const ARRAY: &str = "(tenant_id = ANY (tenancy.tenant_ids('data:read'::text)))";

/// Two of three tenants, with two thirds of the rows.
const FLEET: &str = "ops";

/// Returns whether the plan of a query searches an index by the array and by something else.
fn searches_by(plan: &str, by: &str) -> bool {
    index_search::searches_by(plan, &[ARRAY, by])
}

/// Counts rows as a superuser, who sees all.
fn count(world: &World, condition: &str) -> i64 {
    let (acme, umbrella) = (world.id("acme"), world.id("umbrella"));
    world.db.admin().number(&format!(
        "SELECT count(*) FROM app.docs WHERE tenant_id IN ('{acme}', '{umbrella}') AND {condition}"
    ))
}

#[test]
fn each_kind_is_searched_by_the_array_too_whatever_share_of_the_table_the_tenants_have() {
    let world = docs();
    for (method, on, condition, by) in KINDS {
        if method == "hash" {
            continue;
        }
        let expected = count(&world, condition);
        let mut admin = world.db.admin();
        admin.run(&format!(
            "CREATE INDEX searched ON app.docs USING {method} (tenant_id, {on})"
        ));
        for mode in ["own", "all", "off"] {
            let mut app = session(&world, FLEET, mode);
            let sql = format!("SELECT count(*) FROM app.docs WHERE {condition}");
            let plan = app.plan(&sql);
            let found = searches_by(&plan, by);
            assert!(
                mode == "all" || found == (mode == "own"),
                "{condition} by {method}, {mode}:\n{plan}"
            );
            assert_eq!(app.number(&sql), expected, "{condition}, {mode}:\n{plan}");
        }
        admin.run("DROP INDEX app.searched");
    }
}

/// A search by tenant alone would read entries of all tenants, if the access method begins with another column.
#[test]
fn under_own_the_tenant_is_the_first_column() {
    let world = docs();
    for (method, on, condition, by) in KINDS {
        if method == "hash" {
            continue;
        }
        let mut admin = world.db.admin();
        admin.run(&format!(
            "CREATE INDEX searched ON app.docs USING {method} ({on}, tenant_id)"
        ));
        for mode in ["own", "all"] {
            let mut app = session(&world, FLEET, mode);
            let sql = format!("SELECT count(*) FROM app.docs WHERE {condition}");
            let plan = app.plan(&sql);
            assert!(
                mode == "all" || !index_search::searches_by(&plan, &[by]),
                "{plan}"
            );
            assert_eq!(app.number(&sql), count(&world, condition), "{plan}");
        }
        admin.run("DROP INDEX app.searched");
    }
}

#[test]
fn a_large_fleet_reads_the_table_unless_something_else_is_searched() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run("CREATE INDEX ON app.docs (tenant_id, made)");
    let mut app = session(&world, FLEET, "own");
    // Else the planner would not think of an index here.
    app.run("SET LOCAL enable_seqscan = on; SET LOCAL random_page_cost = 0; SET LOCAL cpu_index_tuple_cost = 0");
    let plan = app.plan("SELECT * FROM app.docs");
    assert!(plan.contains("Seq Scan"), "{plan}");
    // A date's equality is leakproof: this index is searched in any mode.
    for mode in ["own", "off"] {
        let mut app = session(&world, FLEET, mode);
        app.run("SET LOCAL enable_seqscan = on");
        let condition = "made = date '2020-03-01'";
        let plan = app.plan(&format!("SELECT id FROM app.docs WHERE {condition}"));
        assert!(searches_by(&plan, "made = "), "{mode}:\n{plan}");
        let sql = format!("SELECT count(*) FROM app.docs WHERE {condition}");
        assert_eq!(app.number(&sql), count(&world, condition));
    }
}

#[test]
fn a_join_searches_by_the_array_and_the_other_tables_column() {
    let world = docs();
    world
        .db
        .admin()
        .run("CREATE INDEX ON app.docs (tenant_id, price)");
    let sql = "SELECT d.id FROM app.wanted w JOIN app.docs d ON d.price = w.price";
    let mut app = session(&world, FLEET, "own");
    app.run("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off");
    let plan = app.plan(sql);
    assert!(searches_by(&plan, "price = w.price"), "{plan}");
    let count = format!("SELECT count(*) FROM ({sql}) q");
    // Both tenants have a row of each price.
    assert_eq!(app.number(&count), 4 * ROWS / 600);
}

/// The index is searched once for each tenant, so its order is not that of its first column.
#[test]
fn rows_are_in_order_whichever_column_of_an_index_the_tenant_is() {
    let world = docs();
    let mut admin = world.db.admin();
    for index in [
        "(made, tenant_id)",
        "(tenant_id, made)",
        "(made, tenant_id, id)",
    ] {
        admin.run(&format!("CREATE INDEX searched ON app.docs {index}"));
        let mut app = session(&world, FLEET, "own");
        app.run("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off");
        for order in ["made", "made DESC", "tenant_id, made"] {
            let sql = format!(
                "SELECT made::text FROM app.docs WHERE made > '2020-02-01' ORDER BY {order} LIMIT 700"
            );
            let found = app.texts(&sql);
            app.run("SET LOCAL enable_sort = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_seqscan = on");
            assert_eq!(found, app.texts(&sql), "{index}, {order}");
            app.run("SET LOCAL enable_sort = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on; SET LOCAL enable_seqscan = off");
        }
        drop(app);
        admin.run("DROP INDEX app.searched");
    }
}

fn calls(app: &mut Session) -> i64 {
    app.number("SELECT coalesce(sum(pg_stat_get_xact_function_calls(oid)), 0) FROM pg_proc WHERE proname = 'tenant_ids'")
}

#[test]
fn planning_does_not_make_the_array_for_each_index() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run(&format!(
        "ALTER ROLE {} SET track_functions = 'all'",
        world.db.app
    ));
    for column in ["price", "made", "state", "name", "id"] {
        admin.run(&format!("CREATE INDEX ON app.docs (tenant_id, {column})"));
    }
    let mut app = session(&world, FLEET, "own");
    let sql = "SELECT id FROM app.docs WHERE price = 77.5";
    let plan = app.plan(sql);
    assert!(searches_by(&plan, "price = "), "{plan}");
    assert_eq!(calls(&mut app), 0);
    assert_eq!(app.texts(sql).len(), 2);
    assert_eq!(calls(&mut app), 1);
}

/// A prepared plan serves another fleet, and one that has lost a tenant.
#[test]
fn a_prepared_search_finds_the_rows_of_the_tenants_of_each_execution() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run("CREATE INDEX ON app.docs USING gin (tenant_id, tsv); CREATE INDEX ON app.docs USING gist (tenant_id, span)");
    let mut app = session(&world, FLEET, "own");
    app.run("SET enable_seqscan = off; COMMIT");
    let statements = [
        app.prepare("SELECT count(*) FROM app.docs WHERE tsv @@ 'w77'")
            .unwrap(),
        app.prepare("SELECT count(*) FROM app.docs WHERE span && int4range(77, 78)")
            .unwrap(),
    ];
    let read = |app: &mut Session, user: &str| {
        app.begin(world.key(user));
        let found = [0, 1].map(|n| app.query_one(&statements[n], &[]).unwrap().get::<_, i64>(0));
        app.run("COMMIT");
        found
    };
    assert_eq!(read(&mut app, "ops"), [2, 2]);
    assert_eq!(read(&mut app, "boss"), [1, 1]);
    assert_eq!(read(&mut app, "alice"), [1, 1]);
    assert_eq!(read(&mut app, "ops"), [2, 2]);
    world
        .db
        .owner()
        .run("SELECT tenancy.set_status('umbrella', 'suspended')");
    assert_eq!(read(&mut app, "ops"), [1, 1]);
}

/// Other tenants' entries are not read: the server counts those that an index returned.
#[test]
fn under_own_an_index_returns_entries_of_the_fleet_only() {
    let world = docs();
    let mut admin = world.db.admin();
    admin.run("CREATE INDEX searched ON app.docs USING gin (tenant_id, tsv)");
    let mut app = session(&world, "ops", "own");
    app.run("SET LOCAL enable_indexscan = off");
    // Only soylent's rows and umbrella's have the word; the fleet sees umbrella's.
    let found = app.number("SELECT count(*) FROM app.docs WHERE tsv @@ 'secret'");
    assert_eq!(found, ROWS / 3);
    let read = app.number("SELECT pg_stat_get_xact_tuples_returned('app.searched'::regclass)");
    assert_eq!(read, ROWS / 3);
}
