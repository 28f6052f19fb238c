//! onboard() makes a whole tenant or nothing, and made again changes only what differs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const DEFINE: &str = r#"
    SELECT tenancy.define_limit('rooms', 'amount', 'room'), tenancy.define_limit('api', 'rate'), tenancy.define_metric('tokens', 'token');
    SELECT tenancy.define_feature('beta'), tenancy.define_feature('studio', 'json', '{"enabled": false, "ui": {"theme": "dark"}}');
    SELECT tenancy.define_setting('language', 'enum', '"en"', 'user', choices => '{en,de,fr}');
    SELECT tenancy.define_plan('pro', '{"features": {"beta": true}}');
    SELECT tenancy.define_template('agency', '{"settings": {"language": "de"}, "features": {"studio.enabled": true}, "limits": {"rooms": 7},
        "rates": {"api": [{"rate": 5}, {"rate": 1, "per": "minute", "level": "user"}]},
        "roles": {"support": {"permissions": ["data:read", "users:view"], "description": "Support"}},
        "budgets": [{"metric": "tokens", "amount": 1000.5, "alert_at": [0.8]}, {"metric": null, "amount": 50, "period": "day", "hard": false}],
        "projects": {"web": {"name": "Web", "settings": {"language": "fr"}}, "ops": {}}}')"#;

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(DEFINE);
    world
}

/// Everything that onboarding writes.
fn all(world: &World) -> String {
    world.db.admin().text(
        "SELECT md5(string_agg(x, '' ORDER BY x)) FROM (
             SELECT s::text AS x FROM tenancy.scopes s UNION ALL SELECT r::text FROM tenancy_internal.role_definitions r UNION ALL
             SELECT a::text FROM tenancy_internal.role_assignments a UNION ALL SELECT b::text FROM tenancy_internal.budget_definitions b UNION ALL
             SELECT v::text FROM tenancy_internal.limit_values v UNION ALL SELECT p::text FROM tenancy_internal.tenant_plans p) x",
    )
}

fn changes(session: &mut Session, call: &str) -> String {
    session.text(&format!(
        "SELECT coalesce(string_agg(c ->> 'kind', ' ' ORDER BY n), '') FROM jsonb_array_elements({call}) WITH ORDINALITY c (c, n)"
    ))
}

const WHOLE: &str =
    "tenant plan feature setting limit limit limit role budget budget project project admin";

#[test]
fn a_whole_tenant_is_made_once_and_made_again_changes_nothing() {
    let world = world();
    let mut ops = world.begin("ops");
    let before = all(&world);
    let call = |more: &str| {
        format!(
            "tenancy.onboard('initech', 'Initech', 'globex', 'pro', 'agency', 'root'{more}) -> 'changes'"
        )
    };
    assert_eq!(changes(&mut ops, &call(", dry_run => true")), WHOLE);
    assert_eq!(
        ops.text("SELECT tenancy.onboard('initech', 'Initech', 'globex', 'pro', 'agency', dry_run => true) - 'changes'"),
        "{}",
        "no ids and no key"
    );
    ops.run("COMMIT").begin(world.key("ops"));
    assert_eq!(all(&world), before, "a dry run writes nothing");
    let made = ops.text("SELECT tenancy.onboard('initech', 'Initech', 'globex', 'pro', 'agency', 'root', settings => '{\"colour\": \"red\"}')");
    ops.run("COMMIT");
    let key = ops.text(&format!("SELECT '{made}'::jsonb ->> 'api_key'"));
    let once = all(&world);
    ops.begin(world.key("ops"));
    assert_eq!(changes(&mut ops, &call("")), "");
    assert_eq!(
        ops.text(
            "SELECT tenancy.onboard('initech', partner => 'globex', admin => 'root') ->> 'api_key'"
        ),
        "NULL"
    );
    assert_eq!(
        changes(&mut ops, "tenancy.apply_template('initech', 'agency')"),
        ""
    );
    ops.run("COMMIT");
    assert_eq!(all(&world), once);
    // Its admin works in it.
    let mut root = world.db.app();
    root.begin(&key);
    assert_eq!(
        root.text("SELECT tenancy.feature('beta') || ' ' || tenancy.feature('studio.enabled') || ' ' || tenancy.setting('language')"),
        "true true de"
    );
    assert_eq!(
        root.texts("SELECT slug FROM tenancy.projects ORDER BY 1"),
        ["ops", "web"]
    );
    assert_eq!(
        root.texts("SELECT concat_ws(' ', metric, amount, period, hard, imposed) FROM tenancy.budgets ORDER BY 1"),
        ["50 day f t", "tokens 1000.5 month t t"]
    );
    root.run("SELECT tenancy.create_user('initech', 'sue', role => 'support')");
    root.fails("SELECT tenancy.onboard('initech', partner => 'globex', template => 'agency')")
        .code("42704");
    root.run("ROLLBACK").begin(&key);
    root.fails("SELECT tenancy.apply_template('initech', 'agency')")
        .code("42501");
    root.run("ROLLBACK");
}

#[test]
fn only_what_differs_is_changed_and_reported() {
    let world = world();
    let mut ops = world.begin("ops");
    ops.run("SELECT tenancy.onboard('initech', 'Initech', 'globex', 'pro', 'agency')");
    ops.run(
        "SELECT tenancy.set_feature('initech', 'studio.enabled', 'false'), tenancy.set_feature('initech', 'studio.ui.theme', '\"light\"'),
                tenancy.set_setting('initech', 'language', '\"en\"'), tenancy.set_budget('initech', 'tokens', 9), tenancy.remove_limit('initech', 'rooms')",
    );
    let reported = "SELECT concat_ws(' ', c ->> 'kind', c ->> 'name', c ->> 'before', c ->> 'after') FROM jsonb_array_elements(tenancy.apply_template('initech', 'agency', dry_run => true)) c";
    let expected = [
        "feature studio.enabled false true",
        "setting language en de",
        "limit rooms tenant 7",
        "budget tokens month 9 1000.5",
    ];
    assert_eq!(ops.texts(reported), expected);
    assert_eq!(ops.texts(&reported.replace("true)", "false)")), expected);
    assert_eq!(ops.texts(reported), [""; 0]);
    // What the tenant has besides stays.
    assert_eq!(
        ops.text("SELECT features ->> 'studio' FROM tenancy.tenants WHERE slug = 'initech'"),
        r#"{"ui": {"theme": "light"}, "enabled": true}"#
    );
}

#[test]
fn what_fails_leaves_nothing() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.define_template('power', '{\"projects\": {\"a\": {}}, \"roles\": {\"root\": {\"permissions\": [\"platform:manage\"]}}}'),
                tenancy.define_template('hoolis', '{}', 'hooli'), tenancy.define_plan('hoolis', '{}', 'hooli'), tenancy.define_template('lost', '{\"groups\": [{\"issuer\": \"https://no\", \"group\": \"g\", \"role\": \"member\"}]}')",
    );
    let before = all(&world);
    let mut ops = world.begin("ops");
    for (code, rest) in [
        ("42501", "template => 'power'"),
        ("42704", "template => 'hoolis'"),
        ("42704", "plan => 'hoolis'"),
        ("42704", "plan => 'nothing'"),
        ("42704", "template => 'nothing'"),
        ("42704", "template => 'lost'"),
        ("42501", "external_id => '77'"),
        ("22023", "admin => 'Not a slug'"),
        (
            "22023",
            "trial_ends_at => now() - interval '1 day', plan => 'pro'",
        ),
        ("22023", "settings => '{\"language\": \"it\"}'"),
        ("22023", "settings => '[]'"),
        ("22023", "settings => NULL"),
        ("22023", "dry_run => NULL"),
    ] {
        ops.fails_inside(&format!(
            "SELECT tenancy.onboard('initech', partner => 'globex', {rest})"
        ))
        .code(code);
        if code != "22023" || !rest.starts_with("dry_run") {
            ops.fails_inside(&format!(
                "SELECT tenancy.onboard('initech', partner => 'globex', dry_run => true, {rest})"
            ))
            .code(code);
        }
    }
    ops.fails_inside("SELECT tenancy.onboard('initech', partner => 'hooli')")
        .code("42704");
    ops.fails_inside("SELECT tenancy.onboard('ops', partner => 'globex')")
        .code("42710");
    ops.run("COMMIT");
    assert_eq!(all(&world), before);
}

#[test]
fn of_two_callers_at_once_one_makes_the_tenant() {
    let world = world();
    let keys: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut owner = world.db.owner();
                    let call = "SELECT coalesce(tenancy.onboard('initech', partner => 'globex', plan => 'pro', template => 'agency') ->> 'api_key', '')";
                    match owner.query_one(call, &[]) {
                        Ok(row) => row.get::<_, String>(0),
                        Err(error) => {
                            assert_eq!(error.code().unwrap().code(), "42710", "{error:?}");
                            String::new()
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(keys.iter().filter(|key| !key.is_empty()).count(), 1);
    let mut owner = world.db.owner();
    let count = |owner: &mut Session, what: &str| {
        owner.number(&format!(
            "SELECT count(*) FROM tenancy.{what} WHERE tenant = 'initech'"
        ))
    };
    assert_eq!(
        (
            count(&mut owner, "projects"),
            count(&mut owner, "tenant_plans")
        ),
        (2, 1)
    );
}
