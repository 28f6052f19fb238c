//! `tree()`, `top_usage()` and `forecast()`: they agree with `usage()`, show each caller its own part, and return it in pages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use tenancy_client_tests::{Session, World};

/// A world in which tokens were used: alice 60, a project of hers 15 of them, carl 30 (an administrator of acme), bob 7, eve 500.
fn world() -> World {
    let mut world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5, dimensions => '{model}');
         SELECT tenancy.set_budget('globex', 'tokens', 1000), tenancy.set_budget('acme', 'tokens', 100),
                tenancy.set_budget('alice', 'tokens', 80, 'total', hard => false), tenancy.set_budget('soylent', NULL, 300);
         SELECT tenancy.create_project('acme', 'web')",
    );
    for (user, parent, role) in [
        ("carl", "acme", "tenant_admin"),
        ("zoe", "globex", "partner_user"),
        ("books", "globex", "none"),
    ] {
        let key = owner.text(&format!(
            "SELECT tenancy.issue_api_key(tenancy.create_user('{parent}', '{user}', role => nullif('{role}', 'partner_user')), 'test')"
        ));
        world.keys.insert(user, key);
    }
    owner.run(
        "SELECT tenancy.define_role('globex', 'bookkeeper', '{accounting:view_partner,accounting:view_tenant}');
         SELECT tenancy.assign('globex/books', 'bookkeeper', 'globex');
         SELECT tenancy.assign('globex/zoe', 'partner_user', 'acme'), tenancy.assign('globex/zoe', 'partner_user', 'umbrella')",
    );
    world.learn();
    for (user, project, quantity) in [
        ("alice", "", 45),
        ("alice", "acme/web", 15),
        ("carl", "", 30),
        ("bob", "", 7),
        ("eve", "", 500),
    ] {
        let mut session = world.begin(user);
        if !project.is_empty() {
            session.run(&format!("SELECT tenancy.select_project('{project}')"));
        }
        session.run(&format!("SELECT tenancy.consume('tokens', {quantity}, attributes => '{{\"model\": \"m{quantity}\"}}'); COMMIT"));
    }
    world
}

#[track_caller]
fn draws(session: &mut Session, arguments: &str, expected: &[&str]) {
    let lines = session.texts(&format!(
        "SELECT rtrim(concat_ws(' ', tree, used, budget, bar)) FROM tenancy.tree({arguments})"
    ));
    assert_eq!(lines, expected);
}

#[test]
fn each_caller_draws_its_part_of_the_tree() {
    let world = world();
    let all = "metric => 'tokens', depth => 3";
    let acme = [
        "acme 90 100 █████████░  90 %",
        "├─ web 15",
        "├─ alice 60 80 ▒▒▒▒▒▒▒░░░  75 % in total (soft)",
        "└─ carl 30",
    ];
    let mut carl = world.begin("carl");
    draws(&mut carl, all, &acme);
    draws(
        &mut carl,
        "metric => 'tokens', depth => 1, most => 1",
        &[
            acme[0],
            acme[1],
            "├─ alice 60 80 ▒▒▒▒▒▒▒░░░  75 % in total (soft)",
            "└─ … 1 more 30",
        ],
    );
    let globex = [
        "globex 97 1000 ░░░░░░░░░░   9 %",
        "├─ acme 90 100 █████████░  90 %",
        "│  ├─ web 15",
        "│  ├─ alice 60 80 ▒▒▒▒▒▒▒░░░  75 % in total (soft)",
        "│  └─ carl 30",
        "├─ umbrella 7",
        "│  └─ bob 7",
        "├─ books 0",
        "├─ ops 0",
        "└─ zoe 0",
    ];
    draws(&mut world.begin("ops"), all, &globex);
    draws(
        &mut world.begin("ops"),
        &format!("'globex', {all}"),
        &globex,
    );
    // Narrowed to a tenant.
    let mut ops = world.begin("ops");
    ops.run("SELECT tenancy.select_tenant('acme')");
    draws(&mut ops, all, &acme);
    // Of cost.
    draws(
        &mut world.begin("boss"),
        "",
        &[
            "hooli 250",
            "├─ soylent 250 300 ████████░░  83 %",
            "│  └─ eve 250",
            "└─ boss 0",
        ],
    );
    // Its own, and that of two clients, whose budgets are none of its business.
    draws(&mut world.begin("alice"), all, &["alice 60"]);
    draws(
        &mut world.begin("zoe"),
        all,
        &[
            "acme 90",
            "├─ web 15",
            "├─ alice 60",
            "└─ carl 30",
            "umbrella 7",
            "└─ bob 7",
        ],
    );
    // A partner's tenants, and not the partner itself.
    world
        .db
        .owner()
        .run("SELECT tenancy.assign('globex/zoe', 'partner_user', 'globex')");
    draws(
        &mut world.begin("zoe"),
        "metric => 'tokens', depth => 0",
        &["acme 90", "umbrella 7"],
    );
    // A user that may only see usage gets ids, as from usage().
    let (globex, tenants) = (world.id("globex"), [world.id("acme"), world.id("umbrella")]);
    let mut lines = world
        .begin("books")
        .texts("SELECT concat_ws(' ', tree, used, budget, bar) FROM tenancy.tree(metric => 'tokens', depth => 1)");
    assert!(lines.contains(&"├─ books 0".to_owned()), "{lines:?}");
    lines.truncate(3);
    assert_eq!(
        lines,
        [
            format!("{globex} 97"),
            format!("├─ {} 90", tenants[0]),
            format!("├─ {} 7", tenants[1])
        ]
    );
    assert_eq!(
        world.begin("books").texts(
            "SELECT concat_ws(' ', key, name, quantity, share) FROM tenancy.top_usage('tokens')"
        ),
        [
            format!("{} 90 92.8", tenants[0]),
            format!("{} 7 7.2", tenants[1])
        ]
    );
    // All of it, without a context: administrators and auditors.
    let grant = format!("GRANT tenancy_auditor TO {}", world.db.stranger);
    world.db.admin().run(&grant);
    for mut session in [world.db.owner(), world.db.stranger()] {
        draws(
            &mut session,
            "metric => 'tokens', depth => 1",
            &[
                "platform 597",
                "├─ hooli 500",
                "├─ globex 97 1000 ░░░░░░░░░░   9 %",
                "├─ internal 0",
                "└─ pat 0",
            ],
        );
        assert_eq!(
            session.texts(
                "SELECT name || ' ' || share FROM tenancy.top_usage('tokens', by_dimension => 'partner')"
            ),
            ["hooli 83.8", "globex 16.2"]
        );
    }
}

#[test]
fn what_one_may_not_see_is_not_there() {
    let world = world();
    let nothing = uuid::Uuid::max();
    for (user, scope, code) in [
        ("carl", world.id("umbrella"), "42704"),
        ("carl", world.id("soylent"), "42704"),
        ("carl", nothing, "42704"),
        ("carl", world.id("globex"), "42704"),
        ("alice", world.id("acme"), "42501"),
        ("alice", world.id("carl"), "42501"),
        ("zoe", world.id("globex"), "42704"),
        ("boss", world.id("acme"), "42704"),
        ("pat", world.id("acme"), "42704"),
    ] {
        let mut answers = Vec::new();
        for call in [
            format!("usage('{scope}', 'tokens')"),
            format!("tree('{scope}', 'tokens')"),
            format!("forecast('{scope}', 'tokens')"),
            format!("top_usage('tokens', '{scope}')"),
        ] {
            let refused = world
                .begin(user)
                .fails(&format!("SELECT * FROM tenancy.{call}"));
            answers.push(format!("{} {}", refused.message, refused.code));
        }
        assert!(answers[0].ends_with(code), "{user}: {answers:?}");
        // The same answer as usage().
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{user}: {answers:?}"
        );
    }
    // Without a context, and as a user who may see nothing.
    for call in ["tree()", "top_usage('tokens')"] {
        let call = format!("SELECT * FROM tenancy.{call}");
        world.db.app().fails(&call).code("55000");
        world.db.gateway().fails(&call).code("55000");
        world.begin("pat").fails(&call).code("42704");
    }
    world
        .begin("zoe")
        .fails("SELECT * FROM tenancy.top_usage('tokens')")
        .code("22023");
    assert_eq!(
        world.begin("alice").texts(
            "SELECT concat_ws(' ', name, quantity) FROM tenancy.top_usage('tokens', by_dimension => 'project')"
        ),
        ["45", "acme/web 15"]
    );
}

/// Usage drawn from credits counts as used, and the rest of the credits as left.
#[test]
fn credits_are_room() {
    let world = world();
    let mut ops = world.begin("ops");
    ops.run("SELECT tenancy.grant_credit('acme', 'tokens', 50); COMMIT");
    let acme = "'acme', 'tokens', depth => 0";
    draws(
        &mut world.begin("carl"),
        acme,
        &["acme 90 100 ██████░░░░  60 % with credits"],
    );
    let mut carl = world.begin("carl");
    carl.run("SELECT tenancy.consume('tokens', 30); COMMIT");
    draws(
        &mut world.begin("carl"),
        acme,
        &["acme 120 100 ████████░░  80 % with credits"],
    );
    carl.begin(world.key("carl"))
        .run("SELECT tenancy.consume('tokens', 30); COMMIT");
    draws(
        &mut world.begin("carl"),
        acme,
        &["acme 150 100 ██████████ 100 % with credits"],
    );
    // A user who may not see budgets sees no credits.
    draws(&mut world.begin("zoe"), acme, &["acme 150"]);
    // The rest of a revoked credit is not left to use.
    ops.begin(world.key("ops"))
        .run("SELECT tenancy.grant_credit('acme', 'tokens', 850, note => 'by mistake'); COMMIT");
    draws(
        &mut world.begin("carl"),
        acme,
        &["acme 150 100 █░░░░░░░░░  15 % with credits"],
    );
    ops.begin(world.key("ops")).run(
        "SELECT tenancy.revoke_credit(id) FROM tenancy.credits WHERE note IS NOT NULL; COMMIT",
    );
    draws(
        &mut world.begin("carl"),
        acme,
        &["acme 150 100 ██████████ 100 % with credits"],
    );
}

/// Used, budget and its exhaustion, as the caller may see them.
#[test]
fn a_forecast_shows_the_budgets_that_one_may_see() {
    let world = world();
    let ask = "SELECT concat_ws(' ', used, budget, exhausted_at IS NOT NULL, forecast >= used, period_start <= now() AND now() < period_end) \
               FROM tenancy.forecast('acme', 'tokens')";
    let mut carl = world.begin("carl");
    // Early in a month there is no forecast.
    let said = carl
        .text("SELECT now() - date_trunc('month', now(), 'UTC') > interval '37 hours 12 minutes'")
        == "t";
    let (tail, none) = if said { (" t t", " t t") } else { (" t", " t") };
    let expected = |exhausted: bool| format!("90 100 {}{tail}", if exhausted { "t" } else { "f" });
    let answer = carl.text(ask);
    assert!(
        answer == expected(true) || answer == expected(false),
        "{answer}"
    );
    assert_eq!(world.begin("zoe").text(ask), format!("90 f{none}"));
    // Used up: now.
    world
        .db
        .owner()
        .run("SELECT tenancy.set_budget('acme', 'tokens', 90)");
    assert_eq!(
        world.begin("carl").text(ask),
        format!("90 90 {}{tail}", if said { "t" } else { "f" })
    );
    assert_eq!(
        world.begin("carl").text("SELECT num_nulls(period_start, period_end, forecast, exhausted_at) || ' ' || used FROM tenancy.forecast('acme', 'tokens', 'total')"),
        "4 90"
    );
}

/// Each line equals `usage()` of its scope, before, between and after rollups, in the scope's own month.
#[test]
fn each_line_is_the_truth() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.update_scope('umbrella', settings => '{\"time_zone\": \"Pacific/Kiritimati\"}'),
                tenancy.update_scope('soylent', settings => '{\"time_zone\": \"America/Lima\"}')",
    );
    let mut gateway = world.db.gateway();
    for round in 0..4 {
        // Around the turns of hours, days and months of them all.
        gateway.run(&format!(
            "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at)
             SELECT 'tokens', 1 + {round} + n, u.id, date_trunc('month', now(), 'UTC') + n * interval '7 hours 13 minutes' - interval '3 days'
               FROM tenancy.users u, generate_series(0, 20) n WHERE u.slug IN ('alice', 'bob', 'eve')
                AND date_trunc('month', now(), 'UTC') + n * interval '7 hours 13 minutes' - interval '3 days' <= now()"
        ));
        if round % 2 == 1 {
            owner.run("SELECT tenancy.rollup()");
        }
        // A tenant moves: what it used goes with its line, and stays with its partner's.
        if round == 2 {
            owner.run("SELECT tenancy.move_tenant('umbrella', 'hooli')");
        }
        for period in ["day", "week", "month", "year", "total"] {
            let wrong = world.db.admin().texts(&format!(
                "SELECT concat_ws(' ', t.tree, t.used, u.quantity)
                   FROM tenancy.tree(metric => 'tokens', period => '{period}', depth => 4) t
                   JOIN tenancy.scopes s ON s.slug = regexp_replace(t.tree, '^.*[ ]', '') AND s.level = t.level
                  CROSS JOIN LATERAL tenancy_internal.report_span('{period}', tenancy_internal.time_zone(s.id), now()) p
                  CROSS JOIN LATERAL tenancy.usage(s.id, 'tokens', p.since, p.until) u
                  WHERE t.used IS DISTINCT FROM u.quantity"
            ));
            assert_eq!(wrong, Vec::<String>::new(), "{period} in round {round}");
            let lines = world.db.admin().number(&format!(
                "SELECT count(*) FROM tenancy.tree(metric => 'tokens', period => '{period}', depth => 4) t
                   JOIN tenancy.scopes s ON s.slug = regexp_replace(t.tree, '^.*[ ]', '') AND s.level = t.level"
            ));
            assert_eq!(
                lines,
                world
                    .db
                    .admin()
                    .number("SELECT count(*) FROM tenancy.scopes")
            );
        }
    }
}

#[test]
fn thousands_of_tenants_are_a_page() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_tenant('t' || n, partner => 'hooli') FROM generate_series(1, 3000) n");
    world.db.gateway().run(
        "INSERT INTO tenancy.recorded_usage (metric, quantity, tenant_id)
         SELECT 'tokens', substr(t.slug, 2)::integer, t.id FROM tenancy.tenants t WHERE t.slug ~ '^t[0-9]+$'",
    );
    let begin = Instant::now();
    let lines = world
        .begin("boss")
        .texts("SELECT tree || ' ' || used FROM tenancy.tree(metric => 'tokens', most => 3)");
    // 3000 of them, and eve's 500.
    assert_eq!(
        lines,
        [
            "hooli 4502000",
            "├─ t3000 3000",
            "├─ t2999 2999",
            "├─ t2998 2998",
            "├─ … 2,998 more 4493003",
            "└─ boss 0"
        ]
    );
    // Not a call for each: that would take many times as long.
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    let sql = "SELECT count(*) FROM tenancy.tree()";
    assert_eq!(world.begin("boss").number(sql), 23);
}

#[test]
fn usage_of_a_tenant_that_moved_says_whose_its_parts_are() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_metric('tokens', 'tokens'), tenancy.set_budget('acme', 'tokens', 100, 'total');
         SELECT tenancy.grant_credit('acme', 'tokens', 5, 'total', note => 'sorry for June'), tenancy.grant_credit('acme', 'tokens', 6, 'total', note => NULL);
         SELECT tenancy.create_partner('initech')",
    );
    world
        .begin("alice")
        .run("SELECT tenancy.record_usage('tokens', 3); COMMIT");
    let notes = "SELECT coalesce(note, '-') FROM tenancy.credits ORDER BY 1";
    let usage = |more: &str| format!("SELECT * FROM tenancy.usage('acme', 'tokens'{more})");
    assert_eq!(owner.notices(&usage("")), Vec::<String>::new());
    // To where it is: nothing has moved.
    owner.run("SELECT tenancy.move_tenant('acme', 'globex')");
    assert_eq!(owner.texts(notes), ["-", "sorry for June"]);
    owner.run("SELECT tenancy.move_tenant('acme', 'initech', with_notes => true)");
    assert_eq!(owner.texts(notes), ["-", "sorry for June"]);
    world
        .begin("alice")
        .run("SELECT tenancy.record_usage('tokens', 4); COMMIT");
    let said = owner.notices(&usage(""));
    assert!(
        said.len() == 1 && said[0].contains("came from another partner"),
        "{said:?}"
    );
    for nothing_to_say in [
        ", until => now() - interval '1 hour'",
        ", since => now() + interval '1 hour'",
        ", by_dimension => 'partner'",
    ] {
        assert_eq!(owner.notices(&usage(nothing_to_say)), Vec::<String>::new());
    }
    let parts = "SELECT string_agg(p.slug || ' ' || u.quantity, ', ' ORDER BY p.slug)
        FROM tenancy.usage('acme', 'tokens', by_dimension => 'partner') u JOIN tenancy.partners p ON p.id::text = u.key";
    assert_eq!(owner.text(parts), "globex 3, initech 4");
    // Each partner's own totals are its part.
    for (partner, used) in [("globex", "3"), ("initech", "4")] {
        let total = format!("SELECT quantity::text FROM tenancy.usage('{partner}', 'tokens')");
        assert_eq!(owner.text(&total), used);
    }
    owner.run("SELECT tenancy.move_tenant('acme', 'globex')");
    assert_eq!(owner.texts(notes), ["-", "-"]);
    // Nothing is kept of a tenant that is gone.
    owner.run("SELECT tenancy.set_status('acme', 'deleted')");
    owner.run("CALL tenancy.purge_tenant('acme', 'over')");
    let kept = "SELECT count(*) FROM tenancy_internal.former_partners";
    assert_eq!(world.db.admin().number(kept), 0);
}
