//! Attempts of a user with access to single projects of a tenant to consume more than their budgets.

use tenancy_client_tests::{Failure, Session, World};

/// All that uses something in the context, or asks whether it could.
const USES: [&str; 9] = [
    "SELECT tenancy.consume('tokens', 1)",
    "SELECT tenancy.consume('tokens', 0, idempotency_key => 'k')",
    "SELECT tenancy.record_usage('tokens', 1)",
    "SELECT tenancy.record_usage('tokens', 1, at => now() - interval '1 hour')",
    "SELECT tenancy.record_usage_many('[{\"metric\": \"tokens\"}]')",
    "SELECT tenancy.reserve('tokens', 1)",
    "SELECT tenancy.fits('tokens', 1)",
    "SELECT * FROM tenancy.check_budget('tokens', 1)",
    "SELECT * FROM tenancy.check_budget(NULL, 1)",
];

/// Two projects of acme with 100 tokens each, and a third without a budget; who holds what is in the name.
fn world() -> World {
    let world = World::bare();
    world.db.owner().run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 1);
         SELECT tenancy.set_budget(tenancy.create_project('acme', p), 'tokens', 100) FROM unnest('{apollo,zeus}'::text[]) p;
         SELECT tenancy.create_project('acme', 'hera'), tenancy.create_project('umbrella', 'apollo');
         SELECT tenancy.create_user('acme', u, role => 'none') FROM unnest('{dave,lone,both,none}'::text[]) u;
         SELECT tenancy.create_user('globex', 'paul', role => 'none');
         SELECT tenancy.assign('globex/paul', 'member', 'umbrella/apollo');
         SELECT tenancy.assign(u::tenancy.regscope, 'member', p::tenancy.regscope) FROM (VALUES
             ('acme/dave', 'acme/apollo'), ('acme/dave', 'acme/zeus'), ('acme/lone', 'acme/apollo'), ('acme/both', 'acme'), ('acme/both', 'acme/apollo'),
             ('acme/both', 'acme/zeus'), ('globex/paul', 'acme/apollo'), ('globex/paul', 'acme/zeus')) a (u, p)",
    );
    world
}

fn key(world: &World, user: &str) -> String {
    (world.db.owner()).text(&format!("SELECT tenancy.issue_api_key('{user}', 'k')"))
}

/// Refused, with the way out, and nothing is recorded.
#[track_caller]
fn refused(session: &mut Session) {
    for sql in USES {
        session
            .fails_inside(sql)
            .code("55000")
            .says("2 projects")
            .hints("select_project");
    }
}

/// How much was used where, as `project quantity`.
fn used(world: &World) -> String {
    world.db.admin().text(
        "SELECT string_agg(x.said, ', ' ORDER BY x.said) FROM (
            SELECT concat_ws(' ', coalesce(s.slug, 'tenant'), trim_scale(sum(e.quantity) / 1000000.0)) AS said
              FROM tenancy_internal.usage_events e LEFT JOIN tenancy.scopes s ON s.id = e.project_id GROUP BY s.slug) x",
    )
}

#[test]
fn without_a_project_nothing_is_used() {
    let world = world();
    let dave = key(&world, "acme/dave");
    let mut app = world.db.app();
    app.begin(&dave);
    refused(&mut app);
    // As the tenant's, nothing changes; nor by another way to be dave.
    app.run("SELECT tenancy.select_tenant('acme')");
    refused(&mut app);
    app.run("COMMIT");
    let mut gateway = world.db.gateway();
    gateway.run("BEGIN; SELECT tenancy.assume('acme/dave')");
    refused(&mut gateway);
    for row in [
        "(metric) VALUES ('tokens')",
        "(metric, at) VALUES ('tokens', now())",
    ] {
        gateway
            .fails_inside(&format!("INSERT INTO tenancy.recorded_usage {row}"))
            .code("55000")
            .hints("select_project");
    }
    gateway.run("COMMIT");
    let ticket = gateway.text("SELECT tenancy.issue_ticket('acme/dave')");
    app.run(&format!("SET tenancy.ticket = '{ticket}'; BEGIN"));
    refused(&mut app);
    app.run("COMMIT; RESET tenancy.ticket");
    // One of a partner's, who has other tenants too.
    app.begin(&key(&world, "globex/paul"));
    app.fails_inside(USES[0])
        .code("55000")
        .hints("select_tenant");
    app.run("SELECT tenancy.select_tenant('acme')");
    refused(&mut app);
    app.run("COMMIT");
    assert_eq!(used(&world), "NULL");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy_internal.budget_reservations"),
        0
    );
}

#[test]
fn each_project_has_its_own_room() {
    let world = world();
    let dave = key(&world, "acme/dave");
    let mut app = world.db.app();
    for project in ["apollo", "zeus"] {
        let select = format!("SELECT tenancy.select_project('acme/{project}')");
        app.begin(&dave).run(&select);
        app.fails_inside("SELECT tenancy.consume('tokens', 101)")
            .code("53400");
        app.run("SELECT tenancy.consume('tokens', 60)");
        let id = app.text("SELECT tenancy.reserve('tokens', 40)");
        assert_eq!(app.text("SELECT tenancy.fits('tokens', 1)"), "f");
        app.run("COMMIT");
        // A reservation made in a project is settled in it, whichever project is selected then.
        app.begin(&dave)
            .run(&format!("SELECT tenancy.settle('{id}', 10); COMMIT"));
        app.begin(&dave).run(&select);
        let id = app.text("SELECT tenancy.reserve('tokens', 30)");
        app.run("COMMIT")
            .begin(&dave)
            .run(&format!("SELECT tenancy.cancel('{id}'); COMMIT"));
        app.begin(&dave).run(&select);
        app.run("SELECT tenancy.consume('tokens', 30)");
        app.fails("SELECT tenancy.consume('tokens', 0.000001)")
            .code("53400");
        app.run("ROLLBACK");
        app.begin(&dave)
            .run(&select)
            .run("SELECT tenancy.record_usage_many('[{\"metric\": \"tokens\", \"quantity\": 30}]'); COMMIT");
    }
    assert_eq!(used(&world), "apollo 100, zeus 100");
}

#[test]
fn a_user_of_one_project_records_in_it() {
    let world = world();
    let (lone, dave) = (key(&world, "acme/lone"), key(&world, "acme/dave"));
    let mut app = world.db.app();
    app.begin(&lone)
        .run("SELECT tenancy.consume('tokens', 10); COMMIT");
    assert_eq!(used(&world), "apollo 10");
    app.begin(&lone)
        .fails("SELECT tenancy.consume('tokens', 91)")
        .code("53400");
    app.run("ROLLBACK");
    // An inactive project cannot be selected; once active again, it can.
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_status('acme/zeus', 'archived')");
    app.begin(&dave)
        .run("SELECT tenancy.consume('tokens', 10); COMMIT");
    assert_eq!(used(&world), "apollo 20");
    app.begin(&dave)
        .fails("SELECT tenancy.consume('tokens', 81)")
        .code("53400");
    app.run("ROLLBACK");
    owner.run("SELECT tenancy.set_status('acme/zeus', 'active')");
    app.begin(&dave);
    refused(&mut app);
    app.run("COMMIT");
    // With all of them, nothing is left to work in.
    owner.run("SELECT tenancy.set_status('acme/zeus', 'suspended'), tenancy.set_status('acme/apollo', 'suspended')");
    for user in [&lone, &dave] {
        app.begin(user).fails(USES[0]).code("55000").hints("role");
        app.run("ROLLBACK");
    }
    owner.run("SELECT tenancy.set_status('acme/zeus', 'active'), tenancy.set_status('acme/apollo', 'active')");
    // A role that has expired, or is revoked.
    owner.run("SELECT tenancy.unassign('acme/dave', 'member', 'acme/apollo')");
    app.begin(&dave)
        .run("SELECT tenancy.consume('tokens', 5); COMMIT");
    assert_eq!(used(&world), "apollo 20, zeus 5");
    // A second one while the transaction is open.
    app.begin(&dave).run("SELECT tenancy.consume('tokens', 5)");
    owner.run("SELECT tenancy.assign('acme/dave', 'member', 'acme/hera')");
    refused(&mut app);
    app.run("SELECT tenancy.select_project('acme/hera'); SELECT tenancy.consume('tokens', 1000); COMMIT");
    assert_eq!(used(&world), "apollo 20, hera 1000, zeus 10");
}

#[test]
fn a_user_of_the_tenant_may_record_for_the_tenant() {
    let world = world();
    let mut app = world.db.app();
    app.begin(&key(&world, "acme/both"))
        .run("SELECT tenancy.consume('tokens', 300)");
    app.run("SELECT tenancy.select_project('acme/apollo')")
        .fails("SELECT tenancy.consume('tokens', 101)")
        .code("53400");
    app.run("ROLLBACK");
    app.begin(&key(&world, "acme/both"))
        .run("SELECT tenancy.consume('tokens', 300); COMMIT");
    // A partner's admin, and one who is elevated, whatever else it has.
    app.begin(world.key("ops"))
        .run("SELECT tenancy.select_tenant('acme')")
        .run("SELECT tenancy.consume('tokens', 30); COMMIT");
    world.db.owner().run(
        "SELECT tenancy.create_user('platform', 'sue', role => 'super_admin');
         SELECT tenancy.assign('sue', 'member', 'acme/apollo'), tenancy.assign('sue', 'member', 'acme/zeus')",
    );
    let sue = key(&world, "sue");
    app.begin(&sue).run("SELECT tenancy.select_tenant('acme')");
    refused(&mut app);
    app.run("COMMIT")
        .begin(&sue)
        .run("SELECT tenancy.elevate('ticket 7'); COMMIT");
    app.begin(&sue)
        .run("SELECT tenancy.select_tenant('acme')")
        .run("SELECT tenancy.consume('tokens', 20); COMMIT");
    assert_eq!(used(&world), "tenant 350");
}

#[test]
fn what_others_record_is_where_the_user_works() {
    let world = world();
    let mut gateway = world.db.gateway();
    let for_user = |user: &str, more: &str| {
        format!("SELECT tenancy.record_usage_for('{user}', 'tokens', 1{more})")
    };
    let row = |user: &str| {
        format!(
            "INSERT INTO tenancy.recorded_usage (metric, user_id) VALUES ('tokens', '{user}'::tenancy.regscope)"
        )
    };
    for sql in [
        for_user("acme/dave", ""),
        for_user("acme/dave", ", tenant => 'acme'"),
        for_user("globex/paul", ", tenant => 'acme'"),
        row("acme/dave"),
    ] {
        gateway
            .fails(&sql)
            .code("55000")
            .says("2 projects")
            .hints("Name the project");
    }
    assert_eq!(used(&world), "NULL");
    gateway
        .run(&for_user("acme/dave", ", project => 'acme/zeus'"))
        .run(&for_user("acme/lone", ""))
        .run(&row("acme/lone"))
        .run(&for_user("globex/paul", ", tenant => 'umbrella'"))
        .run(&for_user("globex/paul", ""))
        .run(&for_user("acme/both", ""))
        .run(&for_user("acme/none", ""));
    assert_eq!(used(&world), "apollo 3, tenant 3, zeus 1");
    // The same as in the users' own contexts, whatever they hold.
    let mut owner = world.db.owner();
    for change in [
        "SELECT 1",
        "SELECT tenancy.set_status('acme/zeus', 'archived')",
        "SELECT tenancy.assign('acme/lone', 'member', 'acme/zeus')",
        "SELECT tenancy.set_status('acme/zeus', 'active')",
        "SELECT tenancy.assign('acme/dave', 'member', 'acme', expires_at => now() + interval '1 hour')",
        "SELECT tenancy.assign('acme/dave', 'member', 'acme', expires_at => clock_timestamp() + interval '1 second'); SELECT pg_sleep(1.1)",
        "SELECT tenancy.unassign('acme/dave', 'member', 'acme/apollo')",
        "SELECT tenancy.assign('globex/paul', 'partner_user', 'globex')",
    ] {
        owner.run(change);
        for (user, tenant) in [
            ("acme/dave", "acme"),
            ("acme/lone", "acme"),
            ("acme/both", "acme"),
            ("globex/paul", "acme"),
            ("globex/paul", "umbrella"),
        ] {
            let own = place(
                &world,
                &format!(
                    "SELECT tenancy.assume('{user}'); SELECT tenancy.select_tenant('{tenant}'); SELECT tenancy.record_usage('tokens', 0, attributes => '{{\"last\": 1}}')"
                ),
            );
            let named = place(
                &world,
                &format!(
                    "SELECT tenancy.record_usage_for('{user}', 'tokens', 0, tenant => '{tenant}', attributes => '{{\"last\": 1}}')"
                ),
            );
            assert_eq!(own, named, "{change}: {user} in {tenant}");
        }
    }
}

#[test]
fn what_changes_while_a_batch_is_recorded_counts_for_the_rest() {
    let world = world();
    let (mut owner, mut gateway) = (world.db.owner(), world.db.gateway());
    let one = "SELECT tenancy.record_usage_for('acme/lone', 'tokens', 1)";
    gateway.run("BEGIN").run(one);
    for (change, known) in [
        ("tenancy.assign('acme/lone', 'member', 'acme/zeus')", false),
        ("tenancy.set_status('acme/zeus', 'suspended')", true),
        ("tenancy.set_status('acme/zeus', 'active')", false),
        (
            "tenancy.unassign('acme/lone', 'member', 'acme/apollo')",
            true,
        ),
        (
            "tenancy.assign('acme/lone', 'member', 'acme/apollo')",
            false,
        ),
        ("tenancy.assign('acme/lone', 'member', 'acme')", true),
    ] {
        owner.run(&format!("SELECT {change}"));
        if known {
            gateway.run(one);
        } else {
            gateway.fails_inside(one).code("55000").says("2 projects");
        }
    }
    gateway.run("COMMIT");
    assert_eq!(used(&world), "apollo 2, tenant 1, zeus 1");
}

/// In which project a gateway's call records, or the error.
fn place(world: &World, sql: &str) -> String {
    let mut gateway = world.db.gateway();
    gateway.run("BEGIN");
    if let Err(error) = gateway.batch_execute(sql) {
        return Failure::from(&error).code;
    }
    gateway.run("COMMIT");
    world.db.admin().text(
        "SELECT coalesce(project_id::text, 'tenant') FROM tenancy_internal.usage_events WHERE attributes ? 'last' ORDER BY id DESC LIMIT 1",
    )
}
