//! Budgets of parts of a scope's usage: of each member, of values of dimensions, and of API keys. They hold beside all others,
//! and what the ledger counts of them is what is loaded from rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::thread;

use tenancy_client_tests::metering::{Dice, usage_agrees, within_budgets};
use tenancy_client_tests::program::Cluster;
use tenancy_client_tests::{Db, Failure, Session, World};

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(METRICS);
    world
}

const METRICS: &str = r#"SELECT tenancy.define_metric('tokens', 'token', dimensions => '{model,region}', price => 0.5),
    tenancy.define_metric('calls', 'call', 'count', dimensions => '{model}', price => 0.25), tenancy.define_metric('pages', 'page')"#;

/// Whether a call in a transaction of its own is admitted.
fn consume(world: &World, user: &str, arguments: &str) -> bool {
    let mut session = world.begin(user);
    match session.try_run(&format!("SELECT tenancy.consume({arguments})")) {
        Ok(()) => {
            session.run("COMMIT");
            true
        }
        Err(failure) => {
            failure.code("53400");
            session.run("ROLLBACK");
            false
        }
    }
}

fn model(model: &str) -> String {
    format!("attributes => '{{\"model\": \"{model}\"}}'")
}

/// What the ledger says, and what it says after it was loaded from rows again.
fn agrees(world: &World, user: &str, arguments: &str) -> String {
    let check = format!(
        "SELECT concat_ws(' ', per, amount, used, in_flight) FROM tenancy.check_budget({arguments})"
    );
    let mut session = world.begin(user);
    let counted = session.text(&check);
    world
        .db
        .admin()
        .run("SELECT tenancy_internal.forget_ledger()");
    assert_eq!(session.text(&check), counted, "{user} {arguments}");
    world
        .db
        .admin()
        .run("SELECT tenancy.rollup(), tenancy_internal.forget_ledger()");
    assert_eq!(
        session.text(&check),
        counted,
        "{user} {arguments}, rolled up"
    );
    session.run("COMMIT");
    counted
}

#[test]
fn each_user_of_a_tenant_has_the_amount_for_itself() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.create_user('acme', 'amy');
         SELECT tenancy.set_budget('acme', 'tokens', 10, 'day', per => 'user')",
    );
    let amy = world
        .db
        .owner()
        .text("SELECT tenancy.issue_api_key('acme/amy', 'key')");
    assert!(consume(&world, "alice", "'tokens', 7"));
    assert!(consume(&world, "alice", "'tokens', 3"));
    let failure = world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 0.5)");
    failure
        .code("53400")
        .says("the tenant's budget is exhausted")
        .details(&format!("for user {}", world.id("alice")))
        .details("of 10 (day), 10 are used");
    let mut session = world.db.app();
    session
        .begin(&amy)
        .run("SELECT tenancy.consume('tokens', 10); COMMIT");
    // Another user of another tenant, and usage of no user.
    assert!(consume(&world, "bob", "'tokens', 100"));
    world
        .db
        .gateway()
        .run("SELECT tenancy.record_usage_for(NULL, 'tokens', 1000, tenant => 'acme')");
    assert_eq!(agrees(&world, "alice", "'tokens', 1"), "user 10 10 0");
    assert_eq!(
        world
            .begin("alice")
            .text("SELECT tenancy.fits('tokens', 1)::text"),
        "false"
    );
    // It is one budget, and stays beside that of the tenant.
    let budgets = "SELECT concat_ws(' ', scope, metric, period, amount, per) FROM tenancy.budgets ORDER BY per NULLS LAST";
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 5000, 'day'), tenancy.set_budget('acme', 'tokens', 12, 'day', per => 'user')");
    let mut admin = world.db.admin();
    assert_eq!(
        admin.texts(budgets),
        ["acme tokens day 12 user", "acme tokens day 5000"]
    );
    assert!(consume(&world, "alice", "'tokens', 2"));
    assert!(!consume(&world, "alice", "'tokens', 1"));
    world
        .db
        .owner()
        .run("SELECT tenancy.remove_budget('acme', 'tokens', 'day', per => 'user')");
    assert!(consume(&world, "alice", "'tokens', 1"));
    assert_eq!(admin.texts(budgets), ["acme tokens day 5000"]);
    // What was recorded without it counts when it is set again.
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 14, 'day', per => 'user')");
    assert!(consume(&world, "alice", "'tokens', 1"));
    assert!(!consume(&world, "alice", "'tokens', 1"));
}

#[test]
fn only_usage_with_the_values_of_dimensions_counts() {
    let world = world();
    world.db.owner().run(
        r#"SELECT tenancy.set_budget('acme', 'tokens', 10, 'day', dimensions => '{"model": "large"}'),
                  tenancy.set_budget('acme', 'tokens', 4, 'day', dimensions => '{"model": "large", "region": "eu"}'),
                  tenancy.set_budget('acme', 'tokens', 30, 'day', per => 'model'),
                  tenancy.set_budget('globex', NULL, 20, 'total', dimensions => '{"model": "large"}')"#,
    );
    let eu = r#"attributes => '{"model": "large", "region": "eu"}'"#;
    assert!(consume(&world, "alice", &format!("'tokens', 4, {eu}")));
    assert!(!consume(&world, "alice", &format!("'tokens', 1, {eu}")));
    assert!(consume(
        &world,
        "alice",
        &format!("'tokens', 6, {}", model("large"))
    ));
    assert!(!consume(
        &world,
        "alice",
        &format!("'tokens', 1, {}", model("large"))
    ));
    for small in ["small", "Large", "tiny"] {
        assert!(consume(
            &world,
            "alice",
            &format!("'tokens', 30, {}", model(small))
        ));
        assert!(!consume(
            &world,
            "alice",
            &format!("'tokens', 1, {}", model(small))
        ));
    }
    assert!(consume(&world, "alice", "'tokens', 500"));
    // The partner's cost for the model, of all metrics: 5 of tokens, and 60 calls at 0.25.
    for _ in 0..60 {
        assert!(consume(
            &world,
            "alice",
            &format!("'calls', 1, {}", model("large"))
        ));
    }
    let failure = world.begin("alice").fails(&format!(
        "SELECT tenancy.consume('calls', 1, {})",
        model("large")
    ));
    failure
        .says("the partner's budget is exhausted")
        .details("Asked for 0.25 of cost for model large; of 20 (total)");
    assert!(consume(
        &world,
        "alice",
        &format!("'calls', 1, {}", model("small"))
    ));
    assert_eq!(
        agrees(&world, "alice", &format!("'tokens', 1, {eu}")),
        "10 10 0"
    );
    assert_eq!(
        agrees(&world, "alice", &format!("'tokens', 1, {}", model("small"))),
        "model 30 30 0"
    );
    assert_eq!(
        agrees(&world, "alice", &format!("'calls', 1, {}", model("large"))),
        "20 20 0"
    );
}

#[test]
fn usage_with_a_key_counts_in_the_budgets_of_the_key() {
    let world = world();
    let other = world.another_key("alice");
    let mut owner = world.db.owner();
    let ids = owner.texts("SELECT k.id::text FROM tenancy.api_keys k JOIN tenancy.users u ON u.id = k.user_id WHERE u.slug = 'alice' ORDER BY k.id");
    let [first, _] = &ids[..] else {
        panic!("{ids:?}")
    };
    owner.run(&format!(
        "SELECT tenancy.set_budget('acme', 'tokens', 5, 'day', api_key => '{first}'),
                tenancy.set_budget('acme', 'tokens', 9, 'day', per => 'api_key')"
    ));
    assert!(consume(&world, "alice", "'tokens', 5"));
    world
        .begin("alice")
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400")
        .details(&format!("for API key {first}"));
    let mut session = world.db.app();
    session
        .begin(&other)
        .run("SELECT tenancy.consume('tokens', 9); COMMIT");
    session
        .begin(&other)
        .fails("SELECT tenancy.consume('tokens', 1)")
        .code("53400");
    session.run("ROLLBACK");
    // A context that no key proved.
    let ticket = world.ticket("alice", "1 hour");
    session
        .begin(&ticket)
        .run("SELECT tenancy.consume('tokens', 100); COMMIT");
    assert_eq!(agrees(&world, "alice", "'tokens', 1"), "5 5 0");
    // The same by the report.
    let by = "SELECT concat_ws(' ', key = $1, quantity) FROM tenancy.usage('acme', 'tokens', by_dimension => 'api_key') ORDER BY quantity";
    assert_eq!(
        owner.texts(&by.replace("$1", &format!("'{first}'"))),
        ["t 5", "f 9", "100"]
    );
    // A key that the caller may not see is one that does not exist.
    let bobs = owner.text("SELECT k.id::text FROM tenancy.api_keys k JOIN tenancy.users u ON u.id = k.user_id WHERE u.slug = 'bob'");
    let set =
        |key: &str| format!("SELECT tenancy.set_budget('acme', 'tokens', 1, api_key => '{key}')");
    owner.run("SELECT tenancy.assign('acme/alice', 'tenant_admin', 'acme')");
    let hidden = world.begin("alice").fails(&set(&bobs)).code("42704");
    let missing = "00000000-0000-4000-8000-000000000001";
    let missing = world
        .begin("alice")
        .fails(&set(missing))
        .code("42704")
        .message
        .replace(missing, &bobs);
    assert_eq!(hidden.message, missing);
}

#[test]
fn reservations_hold_room_in_the_budgets_of_their_part() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.set_budget('acme', 'tokens', 10, 'day', per => 'model'), tenancy.set_budget('acme', 'tokens', 14, 'day', per => 'user')",
    );
    let large = model("large");
    let mut session = world.begin("alice");
    let id = session.text(&format!("SELECT tenancy.reserve('tokens', 8, {large})"));
    session.run("COMMIT");
    assert!(!consume(&world, "alice", &format!("'tokens', 3, {large}")));
    assert!(consume(&world, "alice", &format!("'tokens', 2, {large}")));
    assert!(!consume(&world, "alice", "'tokens', 5"));
    assert_eq!(
        agrees(&world, "alice", &format!("'tokens', 0.1, {large}")),
        "model 10 2 8"
    );
    // Attributes that are not said are those that were reserved.
    session
        .begin(world.key("alice"))
        .run(&format!("SELECT tenancy.settle('{id}', 6); COMMIT"));
    assert_eq!(
        agrees(&world, "alice", &format!("'tokens', 3, {large}")),
        "model 10 8 0"
    );
    // Another value frees the room of the one and takes that of the other, whether it has it or not.
    session.begin(world.key("alice"));
    let id = session.text(&format!("SELECT tenancy.reserve('tokens', 2, {large})"));
    session.run("COMMIT");
    assert!(consume(
        &world,
        "alice",
        &format!("'tokens', 3, {}", model("small"))
    ));
    session.begin(world.key("alice")).run(&format!(
        "SELECT tenancy.settle('{id}', 1, {}); COMMIT",
        model("small")
    ));
    assert_eq!(
        agrees(&world, "alice", &format!("'tokens', 9, {large}")),
        "model 10 8 0"
    );
    assert_eq!(
        agrees(&world, "alice", &format!("'tokens', 9, {}", model("small"))),
        "user 14 12 0"
    );
    // Cancelled and expired ones hold nothing.
    session.begin(world.key("alice"));
    let id = session.text(&format!("SELECT tenancy.reserve('tokens', 2, {large})"));
    session
        .run("COMMIT")
        .begin(world.key("alice"))
        .run(&format!("SELECT tenancy.cancel('{id}'); COMMIT"))
        .begin(world.key("alice"));
    session.run(&format!(
        "SELECT tenancy.reserve('tokens', 2, '100 milliseconds', {}); COMMIT",
        large.replace("attributes => ", "")
    ));
    thread::sleep(std::time::Duration::from_millis(150));
    assert!(consume(&world, "alice", &format!("'tokens', 2, {large}")));
}

/// No one waits for a transaction that ran when a budget was set, and nothing of it is lost.
#[test]
fn a_transaction_that_does_not_know_the_budget_counts_when_it_ends() {
    let world = world();
    let mut owner = world.db.owner();
    let check = "SELECT concat_ws(' ', used, in_flight) FROM tenancy.check_budget('tokens')";
    for (end, used) in [("COMMIT", "9 0"), ("ROLLBACK", "9 0")] {
        let (mut old, mut new) = (world.begin("alice"), world.db.app());
        old.run("SELECT tenancy.consume('tokens', 6)");
        let reservation = old.text("SELECT tenancy.reserve('tokens', 1)");
        owner.run("SELECT tenancy.set_budget('acme', 'tokens', 10, 'day', per => 'user')");
        // Loaded while the older transaction runs.
        let before = if end == "COMMIT" { "0" } else { "9" };
        new.begin(world.key("alice"));
        assert_eq!(new.text(check), format!("{before} 0"));
        new.run("COMMIT");
        if end == "COMMIT" {
            old.run(&format!(
                "SELECT tenancy.consume('tokens', 2); SELECT tenancy.settle('{reservation}')"
            ));
        }
        old.run(end);
        new.begin(world.key("alice"));
        assert_eq!(new.text(check), used);
        new.run("COMMIT");
        assert!(!consume(&world, "alice", "'tokens', 2"));
        assert_eq!(
            agrees(&world, "alice", "'tokens', 1"),
            format!("user 10 {used}")
        );
        owner.run("SELECT tenancy.remove_budget('acme', 'tokens', 'day', per => 'user')");
    }
}

#[test]
fn what_a_budget_may_not_be_for_is_refused() {
    let world = world();
    let mut owner = world.db.owner();
    for (arguments, says) in [
        (
            "'acme', 'tokens', 1, per => 'modle'",
            "\"modle\" is not a dimension of metric \"tokens\"",
        ),
        ("'acme', 'tokens', 1, per => ''", "is not a dimension"),
        (
            "'acme', 'pages', 1, per => 'model'",
            "\"model\" is not a dimension of metric \"pages\"",
        ),
        (
            "'acme', NULL, 1, per => 'way'",
            "\"way\" is not a dimension of any metric",
        ),
        (
            "'acme', 'tokens', 1, per => 'tenant'",
            "per must be a level below the scope",
        ),
        (
            "'acme/alice', 'tokens', 1, per => 'user'",
            "per must be a level below the scope",
        ),
        (
            "'acme', 'tokens', 1, dimensions => '[]'",
            "dimensions must be an object",
        ),
        (
            "'acme', 'tokens', 1, dimensions => '{\"model\": 5}'",
            "dimensions must be an object",
        ),
        (
            "'acme', 'tokens', 1, dimensions => '{\"modle\": \"x\"}'",
            "\"modle\" is not a dimension",
        ),
        (
            "'acme', 'tokens', 1, per => 'model', dimensions => '{\"model\": \"x\"}'",
            "per must not be one of the dimensions",
        ),
        ("'acme', 'tokens', 1, '30 days'", "anchor must not be NULL"),
        (
            "'acme', 'tokens', 1, '1 days', anchor => '2026-01-01 00:00Z'",
            "is not a period of a budget",
        ),
        (
            "'acme', 'tokens', 1, 'hour', anchor => '2026-01-01 00:00Z'",
            "the period \"hour\" has no anchor",
        ),
        (
            "'acme', 'tokens', 1, 'month', anchor => '2026-01-01 00:01Z'",
            "anchor must be at a quarter of an hour",
        ),
        (
            "'acme', 'tokens', 1, 'month', anchor => 'infinity'",
            "anchor must be at a quarter of an hour",
        ),
    ] {
        owner
            .fails(&format!("SELECT tenancy.set_budget({arguments})"))
            .code("22023")
            .says(says);
    }
    owner
        .fails("SELECT tenancy.remove_budget('acme', 'tokens', per => 'user')")
        .code("42704");
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.budgets"), 0);
    // A budget of a part has no credits.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 1, per => 'user')");
    owner
        .fails("SELECT tenancy.grant_credit('acme', 'tokens', 1)")
        .code("42704");
    owner
        .fails("SELECT tenancy.set_budget('acme', 'tokens', 1, per => 'user', alert_at => '{0.8}')")
        .code("22023")
        .says("has no alerts");
    owner
        .fails("SELECT tenancy.set_budget('umbrella', 'tokens', 1, dimensions => format('{\"model\": \"%s\"}', n)::jsonb) FROM generate_series(1, 201) n")
        .code("54000");
    // Empty dimensions are none.
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 1, dimensions => '{}'), tenancy.set_budget('acme', 'tokens', 2)");
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.budgets"), 2);
}

#[test]
fn a_period_begins_at_its_anchor() {
    let world = world();
    world.db.owner().run(
        "SELECT tenancy.update_scope('acme', settings => '{\"time_zone\": \"Europe/Paris\"}');
         SELECT tenancy.set_budget('acme', 'tokens', 10, 'month', anchor => date_trunc('day', now(), 'Europe/Paris') - interval '3 days'),
                tenancy.set_budget('acme', 'calls', 5, '10 days', anchor => date_trunc('hour', now()) - interval '24 days')",
    );
    let mut session = world.begin("alice");
    session
        .run("SELECT tenancy.consume('tokens', 4), tenancy.consume('calls'); COMMIT")
        .begin(world.key("alice"));
    let resets = |metric| format!("SELECT resets_at::text FROM tenancy.check_budget('{metric}')");
    let month = "SELECT ((date_trunc('day', now(), 'Europe/Paris') - interval '3 days') AT TIME ZONE 'Europe/Paris' + interval '1 month') AT TIME ZONE 'Europe/Paris'";
    let days = "SELECT ((date_trunc('hour', now()) - interval '24 days') AT TIME ZONE 'Europe/Paris' + interval '30 days') AT TIME ZONE 'Europe/Paris'";
    assert_eq!(
        session.text(&resets("tokens")),
        session.text(&format!("{month} || ''").replace("SELECT ", "SELECT '' || "))
    );
    assert_eq!(
        session.text(&resets("calls")),
        session.text(&days.replacen("SELECT ", "SELECT '' || ", 1))
    );
    session.run("COMMIT");
    assert_eq!(agrees(&world, "alice", "'tokens', 1"), "10 4 0");
    assert_eq!(agrees(&world, "alice", "'calls', 1"), "5 1 0");
    // What is omitted stays; -infinity is the calendar.
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 11)");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.budgets WHERE anchor IS NOT NULL"),
        2
    );
    owner.run("SELECT tenancy.set_budget('acme', 'tokens', 11, anchor => '-infinity')");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.budgets WHERE anchor IS NOT NULL"),
        1
    );
}

/// A transaction of some calls with random attributes, some of them rolled back.
fn transaction(session: &mut Session, key: &str, dice: &mut Dice, open: &Mutex<Vec<String>>) {
    session.begin(key);
    let (mut made, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..=dice.roll(2) {
        let of = format!(
            r#"'{{"model": "m{}", "region": "r{}"}}'"#,
            dice.roll(4),
            dice.roll(3)
        );
        let mut ended = None;
        let call = match dice.roll(5) {
            0 | 1 => format!(
                "tenancy.consume('tokens', {}, attributes => {of})",
                1 + dice.roll(2)
            ),
            2 => format!("tenancy.consume('calls', attributes => {of})"),
            3 => format!(
                "tenancy.reserve('tokens', 2, {}, {of})",
                if dice.roll(3) == 0 {
                    "'1 millisecond'"
                } else {
                    "'1 hour'"
                }
            ),
            _ => {
                let Some(id) = open.lock().unwrap().pop() else {
                    continue;
                };
                let call = match dice.roll(3) {
                    0 => format!("tenancy.settle('{id}')"),
                    1 => format!("tenancy.settle('{id}', 1)"),
                    _ => format!("tenancy.settle('{id}', 0, attributes => {of})"),
                };
                ended = Some(id);
                call
            }
        };
        session.run("SAVEPOINT s");
        match session.query_one(&format!("SELECT {call}::text"), &[]) {
            Ok(row) if dice.roll(5) > 0 => {
                session.run("RELEASE s");
                match ended {
                    Some(id) => taken.push(id),
                    None if call.contains("'1 hour'") => made.push(row.get(0)),
                    None => {}
                }
            }
            Ok(_) => {
                session.run("ROLLBACK TO s");
                made.extend(ended);
            }
            Err(error) => {
                let failure = Failure::from(&error);
                assert!(
                    ["53400", "55000", "42704"].contains(&failure.code.as_str()),
                    "{call}: {failure:?}"
                );
                session.run("ROLLBACK TO s");
            }
        }
    }
    let commit = dice.roll(4) > 0;
    session.run(if commit { "COMMIT" } else { "ROLLBACK" });
    let kept = if commit { made } else { taken };
    open.lock().unwrap().extend(kept);
}

/// Parts of usage in rows that exceed a budget: of the tenant's tokens each user, model, key, and model in a region.
const OVER: &str = "
    SELECT concat_ws(' ', b.per, b.dimensions, b.amount / 1000000, u.value, u.used / 1000000) FROM tenancy_internal.budget_definitions b
     CROSS JOIN LATERAL tenancy_internal.period(b.period, 'UTC', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, b.anchor) p
     CROSS JOIN LATERAL (
        SELECT CASE b.per WHEN 'user' THEN e.user_id::text WHEN 'api_key' THEN e.api_key_id::text ELSE e.dimensions ->> b.per END AS value,
               sum(CASE WHEN b.metric_id IS NULL THEN e.cost ELSE e.quantity END) AS used
          FROM (SELECT at, metric_id, user_id, api_key_id, dimensions, quantity, cost FROM tenancy_internal.usage_events
                UNION ALL
                SELECT reserved_at, metric_id, user_id, api_key_id, dimensions, quantity, cost FROM tenancy_internal.budget_reservations
                 WHERE state = 'open') e
         WHERE e.at >= to_timestamp(p.lo / 1000000) AND e.at < to_timestamp(p.hi / 1000000) AND (b.metric_id IS NULL OR e.metric_id = b.metric_id) AND (b.dimensions IS NULL OR e.dimensions @> b.dimensions)
         GROUP BY 1) u
     WHERE tenancy_internal.is_part(b) AND (b.per IS NULL OR u.value IS NOT NULL) AND u.used > b.amount";

/// A hundred budgets of each event at once, of which some are set and removed meanwhile, in a ledger that evicts.
#[test]
fn a_hundred_budgets_of_parts_are_exact_together() {
    let cluster = Cluster::start_with(&["tenancy.ledger_entries=256"], &[]);
    let world = World::bare_in(Db::on(cluster.config()));
    let mut owner = world.db.owner();
    owner.run(METRICS);
    owner.run(
        r#"SELECT tenancy.create_user('acme', 'u' || n) FROM generate_series(1, 5) n;
           SELECT tenancy.set_budget('acme', 'tokens', 25, 'day', per => 'user'), tenancy.set_budget('acme', 'tokens', 45, 'total', per => 'model'),
                  tenancy.set_budget('acme', NULL, 15, 'total', per => 'user'), tenancy.set_budget('acme', 'tokens', 27, 'year', per => 'api_key'),
                  tenancy.set_budget('globex', 'tokens', 130, 'total', per => 'tenant'), tenancy.set_budget('acme', 'calls', 9, 'day', per => 'model');
           SELECT tenancy.set_budget('acme', 'tokens', 16, p, dimensions => format('{"model": "m%s", "region": "r%s"}', m, r)::jsonb)
             FROM generate_series(0, 3) m, generate_series(0, 2) r, unnest('{day,month,quarter,year,total}'::text[]) p;
           SELECT tenancy.set_budget('acme', 'tokens', 21, 'total', per => 'user', dimensions => format('{"model": "m%s"}', m)::jsonb) FROM generate_series(0, 3) m;
           SELECT tenancy.set_budget('acme', 'tokens', 40 + n, n || ' days', per => 'user', anchor => date_trunc('hour', now())) FROM generate_series(2, 45) n"#,
    );
    let keys = owner.texts(
        "SELECT tenancy.issue_api_key(u.id, 'k') FROM tenancy.users u WHERE u.slug LIKE 'u%'",
    );
    let open = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let racers: Vec<_> = (0..16_usize)
            .map(|n| {
                let (world, keys, open) = (&world, &keys, &open);
                scope.spawn(move || {
                    let (mut session, mut dice) = (world.db.app(), Dice(n as u64));
                    for _ in 0..12 {
                        let key = &keys[dice.index(keys.len())];
                        transaction(&mut session, key, &mut dice, open);
                    }
                })
            })
            .collect();
        let mut admin = world.db.admin();
        for round in 0.. {
            assert_eq!(
                admin.texts(OVER),
                Vec::<String>::new(),
                "over a hard budget"
            );
            within_budgets(&mut admin);
            // Soft, so that what was recorded before is no excess. Each makes every counter of acme's parts load again.
            let sql = match round % 16 {
                2 => {
                    "SELECT tenancy.set_budget('acme', 'tokens', 9000, 'total', false, per => 'region')"
                }
                10 => "SELECT tenancy.remove_budget('acme', 'tokens', 'total', per => 'region')",
                _ => "SELECT 1",
            };
            world.db.owner().run(sql);
            admin.run("SELECT tenancy.rollup()");
            if racers.iter().all(|racer| racer.is_finished()) {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(100));
        }
        for racer in racers {
            racer.join().unwrap();
        }
    });
    let mut admin = world.db.admin();
    assert_eq!(
        admin.texts(OVER),
        Vec::<String>::new(),
        "over a hard budget"
    );
    usage_agrees(&mut admin);
    let recorded = admin.number("SELECT count(*) FROM tenancy_internal.usage_events");
    assert!(recorded > 40, "{recorded}");
    // Unit by unit, until nothing fits anywhere; then the sums are those of the rows.
    let mut session = world.db.app();
    let mut all = Vec::new();
    for pass in 0..2 {
        for key in &keys {
            for of in
                (0..12).map(|n| format!(r#"{{"model": "m{}", "region": "r{}"}}"#, n / 3, n % 3))
            {
                session.begin(key);
                let check = format!(
                    "SELECT concat_ws(' ', per, amount, used, in_flight, allowed) FROM tenancy.check_budget('tokens', attributes => '{of}')"
                );
                let said = session.text(&check);
                match pass {
                    0 => all.push(said),
                    _ => assert_eq!(said, all.remove(0), "{of}"),
                }
                session.run("COMMIT");
            }
        }
        admin.run("SELECT tenancy.rollup(), tenancy_internal.forget_ledger()");
    }
}

#[test]
fn a_year_of_anchored_periods_follows_hour_by_hour_in_every_zone() {
    let world = World::bare();
    let wrong = world.db.admin().texts(
        "SELECT concat_ws(' ', x.zone, x.kind, x.at, to_timestamp(x.lo / 1000000), to_timestamp(x.hi / 1000000))
           FROM (SELECT z.zone, k.kind, t.at, p.lo, p.hi, lag(p.lo) OVER w AS lo_before, lag(p.hi) OVER w AS hi_before
                   FROM unnest('{UTC,Europe/Paris,America/Havana,Atlantic/Azores,Australia/Lord_Howe,Asia/Kathmandu,Africa/Casablanca}'::text[]) z (zone)
                  CROSS JOIN unnest('{day,week,month,quarter,year,30 days}'::text[]) k (kind)
                  CROSS JOIN generate_series(timestamptz '2026-01-01 00:00+00', '2027-01-02 00:00+00', '1 hour') t (at)
                  CROSS JOIN LATERAL tenancy_internal.period(k.kind, z.zone, (extract(epoch FROM t.at) * 1000000)::bigint, '2024-08-31 02:30+00') p
                 WINDOW w AS (PARTITION BY z.zone, k.kind ORDER BY t.at)) x
          WHERE extract(epoch FROM x.at) * 1000000 NOT BETWEEN x.lo AND x.hi - 1
             OR (x.lo, x.hi) <> (x.lo_before, x.hi_before) AND x.lo <> x.hi_before LIMIT 5",
    );
    assert_eq!(wrong, Vec::<String>::new());
}
