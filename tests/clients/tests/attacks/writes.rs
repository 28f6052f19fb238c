//! Writing across tenants: foreign keys, policies of the attacker's own, moves, MERGE, ON CONFLICT. ATTACKS D3.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

/// Conversations and their messages as an application has them: keys without the tenant.
fn conversations(rule: &str) -> World {
    let world = World::bare();
    world.db.owner().run(&format!(
        "CREATE TABLE app.talks (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, title text);
         CREATE TABLE app.lines (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, talk_id bigint REFERENCES app.talks (id) {rule});
         SELECT tenancy.protect('app.talks'); SELECT tenancy.protect('app.lines')"
    ));
    for (n, tenant) in ["acme", "umbrella", "soylent"].iter().enumerate() {
        let id = world.id(tenant);
        world.db.admin().run(&format!("INSERT INTO app.talks VALUES ({n}, '{id}', '{tenant}'); INSERT INTO app.lines VALUES ({n}, '{id}', {n})"));
    }
    world
}

/// Does what protect() advised about foreign keys.
fn take_advice(world: &World) {
    let mut owner = world.db.owner();
    let advice = owner.texts("SELECT statement FROM tenancy.protect('app.lines') WHERE kind = 'advice' AND statement <> ''");
    assert!(!advice.is_empty());
    for statement in advice {
        owner.run(&statement);
    }
    let left = owner.texts("SELECT note FROM tenancy.protect('app.lines') WHERE kind = 'advice' UNION ALL SELECT note FROM tenancy.protect('app.talks') WHERE kind = 'advice'");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn d3_37_a_child_under_another_tenants_parent() {
    let world = conversations("");
    let sql = "INSERT INTO app.lines (id, talk_id) VALUES (10, 1)";
    // The attack, as long as the advice is not followed.
    assert_eq!(world.begin("alice").touched(sql), 1);
    take_advice(&world);
    world.begin("alice").fails(sql).code("23503");
    world
        .begin("alice")
        .fails("UPDATE app.lines SET talk_id = 1")
        .code("23503");
    assert_eq!(
        world
            .begin("alice")
            .touched("INSERT INTO app.lines (id, talk_id) VALUES (10, 0), (11, NULL)"),
        2
    );
}

#[test]
fn d3_37_the_advice_finds_rows_that_point_astray() {
    let world = conversations("");
    let (acme, sql) = (
        world.id("acme"),
        "SELECT statement FROM tenancy.protect('app.lines') WHERE kind = 'advice' AND statement <> ''",
    );
    world
        .db
        .admin()
        .run(&format!("INSERT INTO app.lines VALUES (10, '{acme}', 1)"));
    let mut owner = world.db.owner();
    let advice = owner.texts(sql);
    let results: Vec<bool> = advice
        .iter()
        .map(|statement| owner.batch_execute(statement).is_ok())
        .collect();
    assert!(
        results.contains(&false),
        "a key was called valid that is not: {advice:?}"
    );
}

#[test]
fn d3_38_deleting_my_parent_deletes_no_other_tenants_children() {
    let world = conversations("ON DELETE CASCADE");
    let acme = world.id("acme");
    take_advice(&world);
    let umbrella = world.id("umbrella");
    world
        .db
        .admin()
        .fails(&format!(
            "INSERT INTO app.lines VALUES (10, '{umbrella}', 0)"
        ))
        .code("23503");
    world
        .begin("alice")
        .run("INSERT INTO app.lines (id, talk_id) VALUES (11, 0); COMMIT");
    let mut app = world.begin("alice");
    assert_eq!(app.touched("DELETE FROM app.talks"), 1);
    assert_eq!(
        app.run("COMMIT")
            .begin(world.key("alice"))
            .number("SELECT count(*) FROM app.lines"),
        0
    );
    let left = world.db.admin().number(&format!(
        "SELECT count(*) FROM app.lines WHERE tenant_id <> '{acme}'"
    ));
    assert_eq!(left, 2);
}

#[test]
fn d3_38_set_null_keeps_the_tenant() {
    let world = conversations("ON DELETE SET NULL");
    take_advice(&world);
    world.begin("alice").run("DELETE FROM app.talks; COMMIT");
    let row = world
        .db
        .admin()
        .text("SELECT talk_id IS NULL AND tenant_id IS NOT NULL FROM app.lines WHERE id = 0");
    assert_eq!(row, "t");
}

#[test]
fn d3_39_a_later_permissive_policy_widens_nothing() {
    let world = World::new();
    world.db.owner().run(
        "BEGIN; SELECT tenancy.maintenance('other policies');
         CREATE POLICY everybody ON app.notes USING (true) WITH CHECK (true);
         CREATE POLICY inserts ON app.notes FOR INSERT WITH CHECK (true);
         CREATE POLICY reads ON app.notes FOR SELECT TO PUBLIC USING (true); COMMIT",
    );
    let mut app = world.begin("alice");
    let umbrella = world.id("umbrella");
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 3);
    app.fails_inside(&format!(
        "INSERT INTO app.notes (tenant_id, body) VALUES ('{umbrella}', 'x')"
    ))
    .code("42501");
    app.fails_inside(&format!("UPDATE app.notes SET tenant_id = '{umbrella}'"))
        .code("42501");
    assert_eq!(app.touched("DELETE FROM app.notes"), 3);
    app.run("COMMIT")
        .fails("SELECT * FROM app.notes")
        .code("55000");
    assert_eq!(
        world.db.admin().number("SELECT count(*) FROM app.notes"),
        12
    );
}

#[test]
fn d3_39_rows_of_others_cannot_be_reached_by_any_command() {
    let world = World::new();
    let bobs = world.db.admin().text("SELECT min(n.id) FROM app.notes n JOIN tenancy.tenants t ON t.id = n.tenant_id WHERE slug = 'umbrella'");
    let mut app = world.begin("alice");
    for sql in [
        format!("UPDATE app.notes SET body = 'x' WHERE id = {bobs}"),
        format!("DELETE FROM app.notes WHERE id = {bobs}"),
        format!("UPDATE app.notes SET body = 'x' WHERE id = {bobs} RETURNING body"),
        format!("SELECT * FROM app.notes WHERE id = {bobs} FOR UPDATE"),
        format!(
            "UPDATE app.notes n SET body = o.body FROM app.notes o WHERE n.id <> o.id AND o.id = {bobs}"
        ),
        format!("WITH d AS (DELETE FROM app.notes WHERE id = {bobs} RETURNING *) SELECT * FROM d"),
    ] {
        assert_eq!(app.touched(&sql), 0, "{sql}");
    }
}

#[test]
fn d3_39_update_cannot_move_a_row_away_or_fetch_one() {
    let world = World::new();
    let (umbrella, soylent) = (world.id("umbrella"), world.id("soylent"));
    let mut app = world.begin("alice");
    app.fails_inside(&format!("UPDATE app.notes SET tenant_id = '{umbrella}'"))
        .code("42501");
    app.fails_inside("UPDATE app.notes SET tenant_id = DEFAULT, body = tenant_id::text; UPDATE app.notes SET tenant_id = NULL");
    app.fails_inside(&format!(
        "UPDATE app.notes SET tenant_id = '{}'",
        world.id("platform")
    ))
    .code("42501");
    // A partner moves no row either: it writes to one tenant at a time.
    let mut ops = world.begin("ops");
    for tenant in [umbrella, soylent] {
        ops.fails_inside(&format!("UPDATE app.notes SET tenant_id = '{tenant}'"))
            .code("55000");
    }
    ops.run("SELECT tenancy.select_tenant('acme')");
    for tenant in [umbrella, soylent] {
        ops.fails_inside(&format!("UPDATE app.notes SET tenant_id = '{tenant}'"))
            .code("42501");
    }
    assert_eq!(ops.touched("UPDATE app.notes SET tenant_id = tenant_id"), 3);
}

#[test]
fn d3_40_the_default_is_the_contexts_tenant_and_another_value_is_refused() {
    let world = World::new();
    let mut app = world.begin("alice");
    let sql = "INSERT INTO app.notes (body) VALUES ('mine') RETURNING tenant_id";
    assert_eq!(
        app.query_one(sql, &[]).unwrap().get::<_, uuid::Uuid>(0),
        world.id("acme")
    );
    for tenant in ["umbrella", "soylent", "globex", "platform"] {
        let sql = format!(
            "INSERT INTO app.notes (tenant_id, body) VALUES ('{}', 'x')",
            world.id(tenant)
        );
        app.fails_inside(&sql).code("42501");
    }
    app.fails_inside("INSERT INTO app.notes (tenant_id, body) VALUES (NULL, 'x')");
    app.fails_inside("INSERT INTO app.notes (tenant_id, body) VALUES (gen_random_uuid(), 'x')")
        .code("42501");
    app.run("INSERT INTO app.notes (tenant_id, body) VALUES (DEFAULT, 'x')");
    // A fleet has no default tenant until one is selected.
    let mut ops = world.begin("ops");
    ops.fails_inside("INSERT INTO app.notes (body) VALUES ('x')");
    ops.run("SELECT tenancy.select_tenant('umbrella'); INSERT INTO app.notes (body) VALUES ('x')");
    ops.fails_inside(&format!(
        "INSERT INTO app.notes (tenant_id, body) VALUES ('{}', 'x')",
        world.id("acme")
    ))
    .code("42501");
}

#[test]
fn d3_41_on_conflict_does_not_touch_another_tenants_row() {
    let world = World::new();
    let row = world.db.admin().query_one("SELECT min(n.id) FROM app.notes n JOIN tenancy.tenants t ON t.id = n.tenant_id WHERE slug = 'umbrella'", &[]).unwrap();
    let bobs: i64 = row.get(0);
    let mut app = world.begin("alice");
    let values = format!("INSERT INTO app.notes (id, body) VALUES ({bobs}, 'taken')");
    let refused = app
        .fails_inside(&format!(
            "{values} ON CONFLICT (id) DO UPDATE SET body = 'taken'"
        ))
        .code("42501");
    refused
        .hides("umbrella")
        .hides(&world.id("umbrella").to_string());
    let refused = app.fails_inside(&format!(
        "{values} ON CONFLICT (id) DO UPDATE SET body = notes.body RETURNING body"
    ));
    refused.code("42501").hides("umbrella");
    // The unique key reveals that the value exists, not in which tenant.
    app.fails_inside(&values)
        .code("23505")
        .hides("umbrella")
        .hides(&world.id("umbrella").to_string());
    assert_eq!(app.touched(&format!("{values} ON CONFLICT DO NOTHING")), 0);
    assert_eq!(
        world
            .db
            .admin()
            .text(&format!("SELECT body FROM app.notes WHERE id = {bobs}")),
        "umbrella 1"
    );
}

#[test]
fn d3_41_merge_stays_inside() {
    let world = World::new();
    let mut app = world.begin("alice");
    let umbrella = world.id("umbrella");
    let ids = "(SELECT generate_series(1, 15) AS id) s";
    app.run(&format!("MERGE INTO app.notes n USING {ids} ON n.id = s.id WHEN MATCHED THEN UPDATE SET body = 'merged'"));
    assert_eq!(
        app.number("SELECT count(*) FROM app.notes WHERE body = 'merged'"),
        3
    );
    app.fails_inside(&format!("MERGE INTO app.notes n USING {ids} ON n.id = s.id WHEN MATCHED THEN UPDATE SET tenant_id = '{umbrella}'")).code("42501");
    app.fails_inside(&format!(
        "MERGE INTO app.notes n USING (SELECT 100 AS id) s ON n.id = s.id WHEN NOT MATCHED THEN INSERT (id, tenant_id, body) VALUES (s.id, '{umbrella}', 'x')"
    ))
    .code("42501");
    app.run(&format!(
        "MERGE INTO app.notes n USING {ids} ON n.id = s.id WHEN MATCHED THEN DELETE; COMMIT"
    ));
    let mut admin = world.db.admin();
    assert_eq!(admin.number("SELECT count(*) FROM app.notes"), 12);
    assert_eq!(
        admin.number("SELECT count(*) FROM app.notes WHERE body = 'merged'"),
        0
    );
}

#[test]
fn d3_returning_shows_own_rows_only() {
    let world = World::new();
    let mut app = world.begin("alice");
    let bodies = app.texts("UPDATE app.notes SET id = id RETURNING body");
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| body.starts_with("acme")));
    assert_eq!(app.texts("DELETE FROM app.notes RETURNING body").len(), 3);
}

#[test]
fn d3_a_user_of_the_platform_touches_no_tenants_rows() {
    let world = World::new();
    let mut app = world.begin("pat");
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 0);
    assert_eq!(app.touched("DELETE FROM app.notes"), 0);
    app.fails_inside(&format!(
        "INSERT INTO app.notes (tenant_id, body) VALUES ('{}', 'x')",
        world.id("acme")
    ))
    .code("42501");
}

#[test]
fn d3_a_policy_broken_by_hand_closes_the_table() {
    let world = World::new();
    world.db.admin().run("DROP POLICY tenancy_guard ON app.notes; DROP POLICY tenancy_access ON app.notes; CREATE POLICY broken ON app.notes USING (true)");
    world
        .begin("alice")
        .fails("SELECT count(*) FROM app.notes")
        .code("55000")
        .says("not isolated");
    assert_eq!(
        world
            .db
            .owner()
            .text("SELECT isolated FROM tenancy.protected_tables"),
        "f"
    );
    world.db.owner().run("SELECT tenancy.protect('app.notes')");
    assert_eq!(
        world
            .begin("alice")
            .number("SELECT count(*) FROM app.notes"),
        3
    );
}
