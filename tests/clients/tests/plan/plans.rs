//! Plans, features and settings: which value counts, when a change takes effect, and who may make it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use tenancy_client_tests::{Session, World};

const DEFINE: &str = "
    SELECT tenancy.define_limit('rooms', 'amount', 'room'), tenancy.define_limit('api', 'rate'), tenancy.define_limit('jobs', 'slots', 'job');
    SELECT tenancy.define_feature('beta'), tenancy.define_feature('seats', 'integer', '1', 1, 1000),
           tenancy.define_feature('studio', 'json', '{\"enabled\": false, \"ui\": {\"theme\": \"dark\"}}'),
           tenancy.define_feature('models', 'list', choices => '{small,large}');
    SELECT tenancy.define_setting('language', 'enum', '\"en\"', 'user', choices => '{en,de,fr}'),
           tenancy.define_setting('max_rows', 'integer', '100', minimum => 1, maximum => 1000),
           tenancy.define_setting('region', 'text', level => 'partner');
    SELECT tenancy.define_plan('free', '{\"limits\": {\"rooms\": 5}, \"features\": {\"seats\": 2}}'),
           tenancy.define_plan('pro', '{\"limits\": {\"rooms\": 500}, \"features\": {\"beta\": true, \"seats\": 20, \"studio.enabled\": true},
                                        \"models\": [\"small\", \"large\"], \"settings\": {\"max_rows\": 500}}');";

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(DEFINE);
    world
}

/// A session of a user that stays open.
fn open(world: &World, user: &str) -> Session {
    let mut session = world.db.app();
    session.login_session(world.key(user));
    session
}

fn seats(session: &mut Session) -> i64 {
    session.number("SELECT tenancy.feature_value('seats')::text")
}

/// A tenant's admin in a tenant, in a transaction.
fn tenant_admin(world: &World) -> Session {
    let key = world.db.owner().text(
        "SELECT tenancy.issue_api_key(tenancy.create_user('acme', 'root' || (SELECT count(*) FROM tenancy.scopes), role => 'tenant_admin'), 'k')",
    );
    let mut session = world.db.app();
    session.begin(&key);
    session
}

#[test]
fn the_nearest_source_counts() {
    let world = world();
    let mut owner = world.db.owner();
    let mut alice = open(&world, "alice");
    assert_eq!(seats(&mut alice), 1, "the default");
    for (n, source) in [
        (3, "SELECT tenancy.set_feature('platform', 'seats', '3')"),
        (4, "SELECT tenancy.set_feature('globex', 'seats', '4')"),
        (20, "SELECT tenancy.set_plan('acme', 'pro')"),
        (5, "SELECT tenancy.set_feature('acme', 'seats', '5')"),
        (6, "SELECT tenancy.set_feature('acme/alice', 'seats', '6')"),
        (5, "SELECT tenancy.set_feature('acme/alice', 'seats', NULL)"),
        (20, "SELECT tenancy.set_feature('acme', 'seats', NULL)"),
        (4, "SELECT tenancy.end_plan('acme')"),
        (3, "SELECT tenancy.set_feature('globex', 'seats', NULL)"),
        (1, "SELECT tenancy.set_feature('platform', 'seats', NULL)"),
    ] {
        owner.run(source);
        assert_eq!(seats(&mut alice), n, "{source}");
    }
    // The other tenant had none of it.
    assert_eq!(seats(&mut open(&world, "bob")), 1);
}

#[test]
fn paths_of_an_object_and_elements_of_a_list_are_features() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_plan('acme', 'pro'), tenancy.set_feature('acme', 'studio.ui.theme', '\"light\"')");
    let mut alice = open(&world, "alice");
    let mut is = |name: &str| alice.text(&format!("SELECT tenancy.feature('{name}')"));
    assert_eq!(
        (is("studio.enabled"), is("models.large")),
        ("t".into(), "t".into())
    );
    assert_eq!(
        alice.text("SELECT tenancy.feature_value('studio')"),
        r#"{"ui": {"theme": "light"}, "enabled": true}"#
    );
    let mut bob = open(&world, "bob");
    assert_eq!(bob.text("SELECT tenancy.feature('models.large')"), "f");
    assert_eq!(bob.text("SELECT tenancy.feature('studio.enabled')"), "f");
    for name in [
        "studio.enable",
        "models.huge",
        "bet",
        "",
        "studio.",
        "beta.x",
        "studio.ui.theme.x",
    ] {
        bob.fails(&format!("SELECT tenancy.feature('{name}')"))
            .code("42704");
    }
    for name in ["studio", "models", "seats", "studio.ui.theme"] {
        bob.fails(&format!("SELECT tenancy.feature('{name}')"))
            .code("22023")
            .hints("feature_value");
    }
    bob.fails("SELECT tenancy.setting('beta')").code("42704");
    world
        .db
        .app()
        .fails("SELECT tenancy.feature('beta')")
        .code("55000");
}

#[test]
fn another_plan_takes_effect_at_its_instant_in_open_sessions() {
    let world = world();
    let mut owner = world.db.owner();
    let mut sessions: Vec<Session> = (0..3).map(|_| open(&world, "alice")).collect();
    owner.run("SELECT tenancy.set_plan('acme', 'free'), tenancy.set_plan('acme', 'pro', now() + '3 s', now() + '6 s')");
    let edge = |owner: &mut Session, column: &str| {
        let sql = format!(
            "SELECT (extract(epoch FROM {column}) * 1000000)::bigint FROM tenancy.tenant_plans WHERE plan = 'pro'"
        );
        owner.number(&sql)
    };
    let (start, end) = (edge(&mut owner, "starts_at"), edge(&mut owner, "ends_at"));
    let (mut at, mut during) = (0, 0);
    while at < end + 500_000 {
        for session in &mut sessions {
            let answer = session.text(
                "SELECT tenancy.feature_value('seats')::text || ' ' || (extract(epoch FROM statement_timestamp()) * 1000000)::bigint",
            );
            let (seats, when) = answer.split_once(' ').unwrap();
            at = when.parse().unwrap();
            let inside = (start..end).contains(&at);
            during += u32::from(inside);
            assert_eq!(
                seats,
                if inside { "20" } else { "2" },
                "{at} of {start} to {end}"
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(during > 0);
    let rows = owner.texts(
        "SELECT plan || counts FROM tenancy.tenant_plans WHERE tenant = 'acme' ORDER BY starts_at",
    );
    assert_eq!(rows, ["freetrue", "profalse"]);
}

#[test]
fn after_a_trial_the_earlier_plan_counts_again_and_none_if_there_was_none() {
    let world = world();
    let mut owner = world.db.owner();
    let mut alice = open(&world, "alice");
    owner.run("SELECT tenancy.set_plan('acme', 'pro', ends_at => now() + '2 s', trial => true)");
    assert_eq!(seats(&mut alice), 20);
    assert_eq!(alice.text("SELECT tenancy.setting('max_rows')"), "500");
    let until = Instant::now() + Duration::from_secs(20);
    while seats(&mut alice) != 1 {
        assert!(Instant::now() < until, "the trial does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(alice.text("SELECT tenancy.setting('max_rows')"), "100");
    assert_eq!(owner.text("SELECT trial FROM tenancy.tenant_plans"), "t");
}

#[test]
fn a_repeated_plan_changes_nothing_and_a_wrong_one_neither() {
    let world = world();
    let mut owner = world.db.owner();
    let all = "SELECT md5(string_agg(x, '')) FROM (SELECT p::text AS x FROM tenancy_internal.plan_definitions p UNION ALL
        SELECT v::text FROM tenancy_internal.limit_values v UNION ALL SELECT t::text FROM tenancy_internal.tenant_plans t UNION ALL
        SELECT o::text FROM tenancy_internal.option_definitions o ORDER BY 1) x";
    owner.run("SELECT tenancy.set_plan('acme', 'pro')");
    let mut admin = world.db.admin();
    let before = admin.text(all);
    owner.run(DEFINE);
    owner.run("SELECT tenancy.set_plan('acme', 'pro')");
    // define_limit() says nothing of when; all else is as it was.
    assert_eq!(admin.text(all), before);
    for (contents, path) in [
        (
            r#"{"limits": {"rooms": 9}, "features": {"unknown": true}}"#,
            "features.unknown",
        ),
        (
            r#"{"limits": {"rooms": 9}, "features": {"seats": 1001}}"#,
            "features.seats",
        ),
        (
            r#"{"limits": {"rooms": 9}, "features": {"studio.ui": {"colour": 1}}}"#,
            "features.studio.ui.colour",
        ),
        (r#"{"limits": {"rooms": 9, "api": 9}}"#, "limits.api"),
        (
            r#"{"limits": {"rooms": 9}, "rates": {"api": [{"rate": 1}, {"rate": 1, "per": "week"}]}}"#,
            "rates.api[1].per",
        ),
        (
            r#"{"limits": {"rooms": 9}, "settings": {"language": "it"}}"#,
            "settings.language",
        ),
        (
            r#"{"limits": {"rooms": 9}, "models": ["huge"]}"#,
            "models[0]",
        ),
        (r#"{"limits": {"rooms": 9}, "budget": {}}"#, "budget "),
        (
            r#"{"limits": {"rooms": 9}, "budgets": [{"metric": "no", "amount": 1}]}"#,
            "budgets[0].metric",
        ),
        (
            r#"{"limits": {"rooms": 99999999999999999999}}"#,
            "limits.rooms",
        ),
        ("[]", "contents"),
        ("null", "contents"),
    ] {
        let failure = owner.fails(&format!("SELECT tenancy.define_plan('pro', '{contents}')"));
        assert!(
            failure.clone().code("22023").message.starts_with(path),
            "{failure:?}"
        );
    }
    assert_eq!(admin.text(all), before);
    // What is left out is removed.
    owner.run("SELECT tenancy.define_plan('pro', '{\"features\": {\"seats\": 21}}')");
    assert_eq!(
        owner.text("SELECT limits || features FROM tenancy.plans WHERE name = 'pro'"),
        r#"[{"seats": 21}]"#
    );
    owner
        .fails("SELECT tenancy.drop_plan('pro')")
        .code("2BP01")
        .details("it: 1.");
    owner.run("SELECT tenancy.set_plan('acme', 'free'), tenancy.end_plan('acme', 'pro'), tenancy.drop_plan('pro')");
    owner
        .fails("SELECT tenancy.set_plan('acme', 'pro')")
        .code("42704");
}

#[test]
fn a_tenants_admin_cannot_grant_itself_anything() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.set_plan('acme', 'free'), tenancy.set_setting('acme', 'region', '\"eu\"'), tenancy.create_project('acme', 'web');
         SELECT tenancy.define_setting('quota', 'integer', level => 'platform')",
    );
    let mut admin = tenant_admin(&world);
    for (code, attempt) in [
        ("42501", "set_plan('acme', 'pro')"),
        ("42501", "set_plan('acme', 'free', trial => true)"),
        ("42501", "end_plan('acme')"),
        ("42704", "set_plan('umbrella', 'pro')"),
        ("42704", "set_plan('soylent', 'pro')"),
        ("42704", "set_plan('globex', 'pro')"),
        ("42501", "set_feature('acme', 'beta', 'true')"),
        ("42501", "set_feature('acme/alice', 'beta', 'true')"),
        ("42501", "set_feature('acme/web', 'seats', '1000')"),
        ("42704", "set_feature('platform', 'beta', 'true')"),
        ("42704", "set_feature('globex', 'beta', 'true')"),
        ("42501", "set_feature('acme', 'seats', NULL)"),
        ("42704", "define_feature('mine')"),
        ("42704", "define_setting('mine')"),
        (
            "42704",
            "define_plan('free', '{\"features\": {\"beta\": true}}')",
        ),
        ("42704", "define_plan('free', '{}', 'globex')"),
        ("42501", "define_plan('free', '{}', 'acme')"),
        ("42704", "drop_plan('free')"),
        ("42501", "set_setting('acme', 'region', '\"us\"')"),
        ("42501", "set_setting('acme', 'region', NULL)"),
        ("42501", "set_setting('acme', 'quota', '7')"),
        ("42501", "set_setting('acme/web', 'region', '\"us\"')"),
        (
            "42501",
            "update_scope('acme', settings => '{\"region\": \"us\"}')",
        ),
        ("42501", "update_scope('acme', settings => '{}')"),
        (
            "42501",
            "create_project('acme', 'new', settings => '{\"quota\": 9}')",
        ),
        (
            "22023",
            "update_scope('acme', settings => '{\"region\": \"eu\", \"max_rows\": 100000}')",
        ),
        (
            "22023",
            "create_project('acme', 'new', settings => '{\"max_rows\": 0}')",
        ),
        ("22023", "set_setting('acme', 'max_rows', '1001')"),
        ("42501", "define_role('acme', 'boss', '{plans:manage}')"),
    ] {
        admin
            .fails_inside(&format!("SELECT tenancy.{attempt}"))
            .code(code);
    }
    for table in [
        "option_definitions",
        "plan_definitions",
        "tenant_plans",
        "limit_values",
    ] {
        admin
            .fails_inside(&format!("SELECT * FROM tenancy_internal.{table}"))
            .code("42501");
    }
    for function in [
        "set_plan('acme', 'pro', NULL, NULL, false)",
        "set_feature('acme', 'beta', 'true')",
        "effective_of(NULL, NULL)",
    ] {
        admin
            .fails_inside(&format!("SELECT tenancy_internal.{function}"))
            .code("42501");
    }
    admin
        .fails_inside("UPDATE tenancy.scopes SET features = '{\"beta\": true}'")
        .code("42501");
    assert_eq!(seats(&mut admin), 2);
    // What it may set is its own.
    admin.run(
        "SELECT tenancy.set_setting('acme', 'max_rows', '50'), tenancy.set_setting('acme/alice', 'language', '\"de\"'), tenancy.set_setting('acme/web', 'language', '\"fr\"');
         SELECT tenancy.update_scope('acme', settings => '{\"region\": \"eu\", \"max_rows\": 60, \"colour\": \"red\"}')",
    );
    assert_eq!(
        admin.text("SELECT tenancy.setting('max_rows') || tenancy.setting('region')"),
        "60eu"
    );
    admin.run("COMMIT");
    let mut alice = open(&world, "alice");
    assert_eq!(alice.text("SELECT tenancy.setting('language')"), "de");
    // A user chooses for itself what is the users' to choose.
    alice.run("SELECT tenancy.set_setting(tenancy.user_id(), 'language', '\"fr\"')");
    assert_eq!(alice.text("SELECT tenancy.setting('language')"), "fr");
    alice
        .fails("SELECT tenancy.set_setting(tenancy.user_id(), 'max_rows', '1')")
        .code("42501");
    alice
        .fails("SELECT tenancy.set_setting('acme', 'language', '\"en\"')")
        .code("42501");
}

#[test]
fn plans_of_another_partner_do_not_exist() {
    let world = world();
    world.db.owner().run("SELECT tenancy.define_plan('gold', '{}', 'hooli'), tenancy.define_plan('pro', '{\"features\": {\"seats\": 77}}', 'globex')");
    let mut ops = world.begin("ops");
    let missing = ops
        .fails_inside("SELECT tenancy.set_plan('acme', 'nothing')")
        .code("42704");
    let hidden = ops
        .fails_inside("SELECT tenancy.set_plan('acme', 'gold')")
        .code("42704");
    assert_eq!(missing.message.replace("nothing", "gold"), hidden.message);
    ops.fails_inside("SELECT tenancy.define_plan('gold', '{}', 'hooli')")
        .code("42704");
    ops.fails_inside("SELECT tenancy.drop_plan('gold', 'hooli')")
        .code("42704");
    ops.fails_inside("SELECT tenancy.define_plan('gold', '{}')")
        .code("42704");
    ops.fails_inside("SELECT tenancy.set_plan('soylent', 'pro')")
        .code("42704");
    assert_eq!(
        ops.texts("SELECT owner || name FROM tenancy.plans ORDER BY 1"),
        ["globexpro", "platformfree", "platformpro"]
    );
    // The partner's own comes before the platform's of the same name.
    ops.run("SELECT tenancy.set_plan('acme', 'pro'); COMMIT");
    assert_eq!(seats(&mut open(&world, "alice")), 77);
    let mut eve = open(&world, "eve");
    world
        .db
        .owner()
        .run("SELECT tenancy.set_plan('soylent', 'pro')");
    assert_eq!(seats(&mut eve), 20);
    // With another partner, the plan of the old one ends.
    world
        .db
        .owner()
        .run("SELECT tenancy.move_tenant('acme', 'hooli')");
    assert_eq!(seats(&mut open(&world, "alice")), 1);
    world
        .db
        .owner()
        .run("SELECT tenancy.move_tenant('soylent', 'globex')");
    assert_eq!(seats(&mut eve), 20, "the platform's stays");
}

#[test]
fn what_is_undone_does_not_count() {
    let world = world();
    let mut owner = world.db.owner();
    let mut ops = world.begin("ops");
    ops.run("SELECT tenancy.select_tenant(id) FROM tenancy.tenants WHERE slug = 'acme'");
    assert_eq!(seats(&mut ops), 1);
    ops.run("ROLLBACK").begin(world.key("ops"));
    ops.run("SAVEPOINT a; SELECT tenancy.set_feature('acme', 'seats', '9'); SELECT tenancy.set_plan('acme', 'pro'); ROLLBACK TO a");
    ops.run("SELECT tenancy.select_tenant(id) FROM tenancy.tenants WHERE slug = 'acme'");
    assert_eq!(seats(&mut ops), 1);
    ops.run("COMMIT");
    let mut alice = open(&world, "alice");
    owner.run("BEGIN; SELECT tenancy.set_plan('acme', 'pro')");
    assert_eq!(seats(&mut alice), 1, "not committed");
    owner.run("ROLLBACK");
    assert_eq!(seats(&mut alice), 1);
    // A definition that no longer allows a value that is set: it does not count.
    owner.run("SELECT tenancy.set_feature('acme', 'seats', '900')");
    assert_eq!(seats(&mut alice), 900);
    owner.run("SELECT tenancy.define_feature('seats', 'integer', '1', 1, 800)");
    assert_eq!(seats(&mut alice), 1);
    owner
        .fails("SELECT tenancy.define_feature('seats', 'text')")
        .code("22023");
    owner
        .fails("SELECT tenancy.define_feature('studio.x')")
        .code("22023");
    // A suspended tenant has no context; its plan waits.
    owner.run("SELECT tenancy.set_plan('acme', 'pro'), tenancy.set_feature('acme', 'seats', NULL), tenancy.set_status('acme', 'suspended')");
    alice.fails("SELECT tenancy.feature('beta')").code("42501");
    owner.run("SELECT tenancy.set_status('acme', 'active')");
    assert_eq!(seats(&mut alice), 20);
}

#[test]
fn of_two_callers_at_once_the_last_one_counts() {
    let world = world();
    let mut first = world.db.owner();
    let mut second = world.db.owner();
    // The first begins first and commits last.
    first.run("BEGIN; SELECT 1");
    second.run("SELECT tenancy.set_plan('acme', 'free')");
    first.run("SELECT tenancy.set_plan('acme', 'pro'); COMMIT");
    assert_eq!(seats(&mut open(&world, "alice")), 20);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let world = &world;
            scope.spawn(move || {
                let mut owner = world.db.owner();
                for m in 0..10 {
                    let plan = ["free", "pro"][(n + m) % 2];
                    owner.run(&format!("SELECT tenancy.set_plan('acme', '{plan}')"));
                }
            });
        }
    });
    let mut owner = world.db.owner();
    let last = owner.text("SELECT plan FROM tenancy.tenant_plans WHERE counts");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.tenant_plans WHERE counts"),
        1
    );
    assert_eq!(
        seats(&mut open(&world, "alice")),
        if last == "pro" { 20 } else { 2 }
    );
}

#[test]
fn the_view_says_what_counts_and_why() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.set_plan('acme', 'pro'), tenancy.set_feature('acme', 'studio.ui.theme', '\"light\"'), tenancy.set_setting('globex', 'region', '\"eu\"');
         SELECT tenancy.set_limit('acme', 'rooms', 7, 'user')",
    );
    let rows = |session: &mut Session| {
        session.texts("SELECT concat_ws(' ', kind, name, value, source, source_name) FROM tenancy.effective_values WHERE scope = 'acme' ORDER BY kind, name, value")
    };
    let expected = [
        r#"amount rooms {"level": "tenant", "amount": 500} plan pro"#,
        "feature beta true plan pro",
        r#"feature models ["small", "large"] plan pro"#,
        "feature seats 20 plan pro",
        "feature studio.enabled true plan pro",
        r#"feature studio.ui.theme "light" tenant acme"#,
        r#"setting language "en" default"#,
        "setting max_rows 500 plan pro",
        r#"setting region "eu" partner globex"#,
    ];
    assert_eq!(rows(&mut owner), expected);
    assert_eq!(rows(&mut tenant_admin(&world)), expected);
    assert!(rows(&mut world.begin("alice")).is_empty());
    assert!(rows(&mut world.begin("boss")).is_empty());
    assert_eq!(
        tenant_admin(&world).text(
            "SELECT count(DISTINCT scope) FROM tenancy.effective_values WHERE level <> 'user'"
        ),
        "1"
    );
}

fn consume(session: &mut Session, quantity: i64) -> Result<(), tenancy_client_tests::Failure> {
    session.try_run(&format!("SELECT tenancy.consume('tokens', {quantity})"))
}

#[test]
fn the_budgets_of_a_plan_hold_until_another_one_begins() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        r#"SELECT tenancy.define_metric('tokens', 'token');
           SELECT tenancy.define_plan('small', '{"budgets": [{"metric": "tokens", "amount": 10, "period": "year"}]}'),
                  tenancy.define_plan('large', '{"budgets": [{"metric": "tokens", "amount": 20.5, "period": "year"}]}');
           SELECT tenancy.set_plan('acme', 'small')"#,
    );
    let (mut alice, mut bob) = (open(&world, "alice"), open(&world, "bob"));
    consume(&mut alice, 8).unwrap();
    consume(&mut alice, 3).unwrap_err().code("53400");
    consume(&mut bob, 1000).unwrap();
    assert_eq!(
        alice.text("SELECT level || amount || remaining FROM tenancy.check_budget('tokens', 1)"),
        "tenant102"
    );
    // Earlier usage counts in the next plan.
    owner.run("SELECT tenancy.set_plan('acme', 'large')");
    consume(&mut alice, 12).unwrap();
    consume(&mut alice, 1).unwrap_err().code("53400");
    // An imposed budget of the tenant replaces that of the plan, and gives it back.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 30, 'year')");
    consume(&mut alice, 10).unwrap();
    consume(&mut alice, 1).unwrap_err().code("53400");
    owner.run("SELECT tenancy.remove_budget('acme', 'tokens', 'year')");
    consume(&mut alice, 1).unwrap_err().code("53400");
    // A plan that changes, in all tenants that have it.
    owner.run(r#"SELECT tenancy.define_plan('large', '{"budgets": [{"metric": "tokens", "amount": 31, "period": "year"}]}')"#);
    consume(&mut alice, 1).unwrap();
    consume(&mut alice, 1).unwrap_err().code("53400");
    // The tenant cannot begin another day by another time zone.
    let mut admin = tenant_admin(&world);
    admin
        .fails_inside(
            r#"SELECT tenancy.update_scope('acme', settings => '{"time_zone": "Asia/Tokyo"}')"#,
        )
        .code("42501");
    assert_eq!(
        admin.text("SELECT value ->> 'amount' FROM tenancy.effective_values WHERE scope = 'acme' AND kind = 'budget' AND name = 'tokens year'"),
        "31"
    );
    admin.run("ROLLBACK");
    // A trial without budgets, and its end.
    owner.run("SELECT tenancy.define_plan('open', '{}'), tenancy.set_plan('acme', 'open', ends_at => now() + '2 s', trial => true)");
    consume(&mut alice, 5).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while consume(&mut alice, 1).is_ok() {
        assert!(Instant::now() < until, "the trial does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    owner.run("SELECT tenancy.end_plan('acme')");
    consume(&mut alice, 1).unwrap();
}

#[test]
fn many_sessions_use_exactly_what_a_plan_gives() {
    let world = world();
    world.db.owner().run(
        r#"SELECT tenancy.define_metric('tokens', 'token');
           SELECT tenancy.define_plan('small', '{"budgets": [{"metric": "tokens", "amount": 100, "period": "year"}]}'), tenancy.set_plan('acme', 'small')"#,
    );
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut alice = open(&world, "alice");
                while consume(&mut alice, 3).is_ok() {}
                while consume(&mut alice, 1).is_ok() {}
            });
        }
    });
    let used = world
        .db
        .admin()
        .number("SELECT (sum(quantity) / 1000000)::bigint FROM tenancy_internal.usage_events");
    assert_eq!(used, 100);
}
