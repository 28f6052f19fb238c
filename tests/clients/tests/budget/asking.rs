//! Asking is recording: what `fits()` and `check_budget()` say of the same arguments, `consume()` does. A price that nobody knows is
//! not 0. What a call does not say stays as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::World;

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        r#"SELECT tenancy.define_metric('tokens', 'token', dimensions => '{model,way}', price => 0.000001, prices => '{"model": {"small": 0.000001, "large": 0.0001}}'),
                  tenancy.define_metric('images', 'image', dimensions => '{model}', prices => '{"model": {"draw": 0.04}}'),
                  tenancy.define_metric('pages', 'page', 'count', price => 0.01),
                  tenancy.define_metric('notes', 'note');
           SELECT tenancy.set_budget('acme', NULL, 1), tenancy.set_budget('acme', 'tokens', 50000, 'day')"#,
    );
    world
}

#[test]
fn what_is_asked_is_what_is_recorded() {
    let world = world();
    let model = |model: &str| format!("attributes => '{{\"model\": \"{model}\"}}'");
    let mut calls = vec![
        "'notes', 1000000".to_owned(),
        "'pages', 7".to_owned(),
        "'pages', 7, cost => 1.000001".to_owned(),
        "'pages', 7, cost => 1".to_owned(),
        "'tokens', 50000".to_owned(),
        "'tokens', 50001".to_owned(),
        "'tokens', 1, cost => 2".to_owned(),
        format!("'images', 1, {}", model("paint")),
        format!("'images', 0, {}", model("paint")),
        "'images', 1".to_owned(),
        "'tokens', 1, attributes => '[]'".to_owned(),
        "'tokens', 1, attributes => '{\"model\": {}}'".to_owned(),
        "'tokens', -1".to_owned(),
        "'tokens', 1, cost => -1".to_owned(),
        "'nothing', 1".to_owned(),
    ];
    for of in ["small", "large", "Large", "unknown"] {
        for quantity in [1, 9_999, 10_000, 10_001, 50_000, 50_001] {
            calls.push(format!("'tokens', {quantity}, {}", model(of)));
        }
    }
    for quantity in [1, 25, 26] {
        calls.push(format!("'images', {quantity}, {}", model("draw")));
    }
    let mut admitted = 0;
    for call in &calls {
        let said = |sql: &str| {
            let mut session = world.begin("alice");
            let said = session
                .try_run("SAVEPOINT first")
                .and_then(|()| session.try_run(sql));
            let said = said.map_err(|failure| failure.code).map(|()| {
                session.run("ROLLBACK TO first");
                session.text(sql)
            });
            session.run("ROLLBACK");
            said
        };
        let fits = said(&format!("SELECT tenancy.fits({call})::text"));
        let checked = said(&format!(
            "SELECT allowed::text FROM tenancy.check_budget({call})"
        ));
        let consumed = match said(&format!("SELECT tenancy.consume({call})")) {
            Ok(_) => Ok("true".to_owned()),
            Err(code) if code == "53400" => Ok("false".to_owned()),
            Err(code) => Err(code),
        };
        assert_eq!((&fits, &checked), (&consumed, &consumed), "{call}");
        admitted += u32::from(consumed == Ok("true".to_owned()));
    }
    assert_eq!(admitted, 25, "{calls:?}");
    world
        .begin("alice")
        .fails("SELECT tenancy.fits(NULL, 1, cost => 1)")
        .code("22023");
}

#[test]
fn a_price_that_nobody_knows_is_refused_where_a_budget_counts_cost() {
    let world = world();
    let images = |user: &str, rest: &str| {
        let mut session = world.begin(user);
        let said = session.try_run(&format!("SELECT tenancy.record_usage('images', 3{rest})"));
        session.run("ROLLBACK");
        said
    };
    let none = r#", attributes => '{"model": "drow"}'"#;
    images("alice", none)
        .unwrap_err()
        .code("22023")
        .says("metric \"images\" has no price for the model \"drow\"");
    images("alice", "")
        .unwrap_err()
        .code("22023")
        .says("for usage without a model");
    images("alice", ", cost => 0.1").unwrap();
    images("alice", r#", attributes => '{"model": "draw"}'"#).unwrap();
    // No budget counts bob's cost: it is recorded, and can be found.
    let mut bob = world.begin("bob");
    bob.run(&format!("SELECT tenancy.record_usage('images', 3{none}), tenancy.record_usage('images', 1, attributes => '{{\"model\": \"draw\"}}'); COMMIT"));
    let unpriced =
        "SELECT concat_ws(' ', metric, quantity, dimension, value) FROM tenancy.unpriced_usage";
    assert_eq!(world.db.admin().texts(unpriced), ["images 3 model drow"]);
    assert_eq!(world.begin("alice").texts(unpriced), Vec::<String>::new());
    // Work that was reserved has happened: it is settled at the highest price.
    let mut alice = world.begin("alice");
    let id = alice.text("SELECT tenancy.reserve('images', 10)");
    alice.run(&format!("SELECT tenancy.settle('{id}', 10{none}); COMMIT"));
    assert_eq!(
        world
            .db
            .admin()
            .texts("SELECT cost::text FROM tenancy.recorded_usage WHERE quantity = 10"),
        ["0.4"]
    );
    // A price for all other values, which may be 0.
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.define_metric('images', 'image', price => 0)");
    images("alice", none).unwrap();
    images("alice", "").unwrap();
}

#[test]
fn what_is_not_said_stays() {
    let world = world();
    let mut owner = world.db.owner();
    let mut admin = world.db.admin();
    let budget =
        "SELECT concat_ws(' ', amount, hard, alert_at) FROM tenancy.budgets WHERE metric = 'notes'";
    for (call, becomes) in [
        ("50, hard => false, alert_at => '{0.8}'", "50 f {0.8}"),
        ("2000", "2000 f {0.8}"),
        ("NULL, hard => true", "2000 t {0.8}"),
        ("NULL, alert_at => '{}'", "2000 t {}"),
        ("NULL, 'month', NULL, '{1}'", "2000 t {1}"),
    ] {
        owner.run(&format!(
            "SELECT tenancy.set_budget('acme', 'notes', {call})"
        ));
        assert_eq!(admin.texts(budget), [becomes], "{call}");
    }
    owner
        .fails("SELECT tenancy.set_budget('umbrella', 'notes', NULL, hard => true)")
        .code("22023");
    assert_eq!(
        admin.texts("SELECT details #>> '{before,amount}' FROM tenancy.audit_log WHERE action LIKE '%budget.set' AND target = 'notes' ORDER BY id"),
        ["NULL", "50", "2000", "2000", "2000"]
    );
    let metric = "SELECT concat_ws(' ', unit, aggregation, dimensions, price, prices) FROM tenancy.metrics WHERE name = 'tokens'";
    let prices = r#"{"model": {"large": 0.0001, "small": 0.000001}}"#;
    for (call, becomes) in [
        (
            "'token', price => 0.5",
            format!("token sum {{model,way}} 0.500000000000 {prices}"),
        ),
        (
            "NULL, description => 'x'",
            format!("token sum {{model,way}} 0.500000000000 {prices}"),
        ),
        (
            "NULL, dimensions => '{model}'",
            format!("token sum {{model}} 0.500000000000 {prices}"),
        ),
        (
            "NULL, prices => '{}'",
            "token sum {model} 0.500000000000".to_owned(),
        ),
        (
            "NULL, dimensions => '{}'",
            "token sum {} 0.500000000000".to_owned(),
        ),
    ] {
        owner.run(&format!("SELECT tenancy.define_metric('tokens', {call})"));
        assert_eq!(admin.texts(metric), [becomes], "{call}");
    }
    // A dimension that prices differ by is not taken away from under them.
    owner
        .fails("SELECT tenancy.define_metric('images', NULL, dimensions => '{}')")
        .code("22023");
    owner
        .fails("SELECT tenancy.define_metric('tokens', NULL, aggregation => 'max')")
        .code("22023");
    owner
        .fails("SELECT tenancy.define_metric('new', NULL)")
        .code("22023");
}

#[test]
fn a_quarter_is_a_period() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'notes', 5, 'quarter')");
    world
        .begin("alice")
        .run("SELECT tenancy.consume('notes', 5); COMMIT");
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('notes', 1)")
        .code("53400");
    assert_eq!(
        world.begin("alice").text("SELECT resets_at = date_trunc('quarter', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '3 months' FROM tenancy.check_budget('notes', 1)"),
        "t"
    );
}
