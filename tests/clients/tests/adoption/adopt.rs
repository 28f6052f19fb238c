//! adopt() on applications of different shape: every row stays with its organization, without a statement by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::application::{self, TRUTH};
use tenancy_client_tests::{Db, Session};

/// Types of keys, and how a number becomes one.
const KEYS: [(&str, &str); 11] = [
    ("bigint", "(%s)"),
    ("integer", "(%s)::integer"),
    ("text", "('org_' || (%s))"),
    ("varchar(20)", "('org_' || (%s))"),
    (
        "uuid",
        "('00000000-0000-4000-8000-00000000000' || (%s))::uuid",
    ),
    ("smallint", "(%s)::smallint"),
    ("numeric(10,0)", "(%s)::numeric"),
    ("char(8)", "('org_' || (%s))"),
    ("citext", "('Org_' || (%s))"),
    ("public.number", "(%s)::bigint"),
    (
        "public.handle",
        "('00000000-0000-4000-8000-00000000000' || (%s))::uuid",
    ),
];

fn adopt(db: &Db) -> String {
    format!(
        "CALL tenancy.adopt('app.organizations', grants => '{{{}}}')",
        db.app
    )
}

/// Compares what each organization's user sees with the truth before.
fn compare(db: &Db, truths: &[Vec<String>]) {
    let mut admin = db.admin();
    for tenant in admin.texts("SELECT slug FROM tenancy.tenants ORDER BY slug") {
        admin.run(&format!("SELECT tenancy.create_user('{tenant}', 'ann')"));
        let key = admin.text(&format!(
            "SELECT tenancy.issue_api_key('{tenant}/ann', 'k')"
        ));
        let own = admin.text(&format!(
            "SELECT coalesce(external_id, id::text) FROM tenancy.tenants WHERE slug = '{tenant}'"
        ));
        let mut app = db.app();
        app.begin(&key);
        assert_eq!(
            app.texts("SELECT id::text FROM app.organizations"),
            [own.as_str()]
        );
        for ((table, _), truth) in TRUTH.iter().zip(truths) {
            let seen = app.number(&format!("SELECT count(*) FROM app.{table}"));
            let expected = truth
                .iter()
                .find_map(|row| row.strip_prefix(&format!("{own}=")))
                .unwrap();
            assert_eq!(seen.to_string(), expected, "{table} of {tenant}");
        }
        assert_eq!(
            app.number("SELECT count(*) FROM app.titles"),
            app.number("SELECT count(*) FROM app.tasks")
        );
        assert_eq!(
            app.number("SELECT count(*) FROM app.currencies"),
            1,
            "a lookup is readable"
        );
    }
}

fn truths(session: &mut Session) -> Vec<Vec<String>> {
    TRUTH
        .iter()
        .map(|(table, tenant)| application::truth(session, table, tenant))
        .collect()
}

#[test]
fn every_row_stays_with_its_organization_whatever_the_keys() {
    for (key_type, key) in KEYS {
        let db = Db::new();
        let mut owner = db.owner();
        db.admin().run(
            "CREATE EXTENSION citext SCHEMA public; CREATE DOMAIN public.number AS bigint CHECK (VALUE > 0); CREATE DOMAIN public.handle AS uuid",
        );
        application::create(&mut owner, key_type, key, 20);
        owner.run("GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT SELECT ON app.titles TO PUBLIC");
        owner.run("ALTER VIEW app.titles SET (security_invoker)");
        let truths = truths(&mut db.admin());
        assert_eq!(truths[0].len(), 3, "{key_type}");
        owner.run(&adopt(&db));
        compare(&db, &truths);
        assert_eq!(
            owner.texts("SELECT table_name FROM tenancy.adoption WHERE status NOT IN ('done', 'nothing to do')"),
            Vec::<String>::new()
        );
        assert_eq!(
            owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
            7
        );
        // Nothing is left for another call.
        let before =
            owner.texts("SELECT table_name || updated_at FROM tenancy.adoption ORDER BY 1");
        owner.run(&adopt(&db));
        assert_eq!(
            before,
            owner.texts("SELECT table_name || updated_at FROM tenancy.adoption ORDER BY 1")
        );
    }
}

#[test]
fn new_rows_of_children_get_their_tenant_with_and_without_a_context() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 5);
    owner.run(&adopt(&db));
    let mut admin = db.admin();
    admin.run("SELECT tenancy.create_user('org-1', 'ann')");
    let key = admin.text("SELECT tenancy.issue_api_key('org-1/ann', 'k')");
    let mut app = db.app();
    app.begin(&key);
    assert_eq!(
        app.text("INSERT INTO app.comments (task_id, body) SELECT min(id), 'x' FROM app.tasks RETURNING organization_id::text"),
        "1"
    );
    app.run("COMMIT");
    owner.run("BEGIN; SELECT tenancy.maintenance('import')");
    let insert = "INSERT INTO app.tasks (project_id, title) SELECT id, 'x' FROM app.projects WHERE organization_id = 2 LIMIT 1 RETURNING organization_id::text";
    assert_eq!(owner.text(insert), "2");
    let moved = "UPDATE app.tasks SET project_id = (SELECT min(id) FROM app.projects WHERE organization_id = 3) WHERE title = 'x' RETURNING organization_id::text";
    assert_eq!(owner.text(moved), "3");
    owner.run("COMMIT");
}

/// Everything that the catalogs say of the application's tables, but for dropped columns.
const CATALOG: &str = "SELECT string_agg(o, ' ' ORDER BY o) FROM (
    SELECT attrelid::regclass || '.' || attname || attnotnull || atthasdef AS o FROM pg_attribute WHERE attrelid::regclass::text LIKE 'app.%' AND NOT attisdropped
    UNION ALL SELECT tgrelid::regclass || tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'app.%'
    UNION ALL SELECT polrelid::regclass || polname FROM pg_policy WHERE polrelid::regclass::text LIKE 'app.%'
    UNION ALL SELECT conrelid::regclass || conname FROM pg_constraint WHERE conrelid::regclass::text LIKE 'app.%'
    UNION ALL SELECT relname || relrowsecurity || relforcerowsecurity || coalesce(relacl::text, '') FROM pg_class WHERE oid::regclass::text LIKE 'app.%') x";

#[test]
fn it_is_undone_as_if_it_had_not_been() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 5);
    let before = owner.text(CATALOG);
    owner.run("CALL tenancy.adopt('app.organizations')");
    assert_ne!(before, owner.text(CATALOG));
    owner.run("CALL tenancy.unadopt('app.organizations', dry_run => true)");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.adoption WHERE status = 'planned'"),
        7
    );
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(before, owner.text(CATALOG));
    assert_eq!(
        owner.number("SELECT count(*) FROM app.comments"),
        180,
        "rows are as they were"
    );
    // Half an adoption too.
    owner.run("CALL tenancy.adopt('app.organizations', isolate => false)");
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(before, owner.text(CATALOG));
}

#[test]
fn a_dry_run_changes_nothing_and_shows_the_plan() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 5);
    let objects = "SELECT coalesce(string_agg(o, ' ' ORDER BY o), '') FROM (
        SELECT attrelid::regclass || '.' || attname || attnotnull AS o FROM pg_attribute WHERE attrelid::regclass::text LIKE 'app.%'
        UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'app.%'
        UNION ALL SELECT polname FROM pg_policy WHERE polrelid::regclass::text LIKE 'app.%') x";
    let before = owner.text(objects);
    // Also inside a transaction block, where a real run is refused.
    owner.run("BEGIN; CALL tenancy.adopt('app.organizations', dry_run => true)");
    let kinds = owner.texts(
        "SELECT table_name || ': ' || kind || ' ' || status FROM tenancy.adoption ORDER BY place",
    );
    owner.run("COMMIT");
    assert_eq!(
        kinds,
        [
            "app.organizations: tenant table planned",
            "app.events: tenant column planned",
            "app.memberships: tenant column planned",
            "app.projects: tenant column planned",
            "app.event_notes: child planned",
            "app.tasks: child planned",
            "app.comments: child planned",
            "app.currencies: lookup nothing to do",
            "app.users: lookup nothing to do",
        ]
    );
    assert_eq!(before, owner.text(objects));
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.tenants"), 0);
    owner
        .fails("BEGIN; CALL tenancy.adopt('app.organizations')")
        .code("25001")
        .hints("dry_run");
}

/// The statements of the plan, in its order, do by hand what adopt() does.
#[test]
fn the_plan_is_a_script() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "text", "('org_' || (%s))", 5);
    let truths = truths(&mut db.admin());
    owner.run(&format!(
        "CALL tenancy.adopt('app.organizations', grants => '{{{}}}', dry_run => true)",
        db.app
    ));
    let statements = owner.texts(
        "SELECT s.text FROM tenancy.adoption a, unnest(a.statements) WITH ORDINALITY s(text, n) ORDER BY s.text LIKE '%tenancy.protect(%', a.place, s.n",
    );
    let (first, rest): (Vec<&String>, Vec<&String>) = statements
        .iter()
        .partition(|s| !s.contains("DROP CONSTRAINT"));
    for statement in first.into_iter().chain(rest) {
        owner.run(statement);
    }
    owner.run("ALTER VIEW app.titles SET (security_invoker)");
    owner.run(&format!("GRANT SELECT ON app.titles TO {}", db.app));
    compare(&db, &truths);
}

#[test]
fn all_that_blocks_is_said_at_once_and_can_be_decided() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 2);
    owner.run(
        "CREATE TABLE app.roles (id bigint PRIMARY KEY, organization_id bigint REFERENCES app.organizations, name text);
         INSERT INTO app.roles VALUES (1, NULL, 'admin'), (2, NULL, 'member'), (3, 1, 'special');
         CREATE TABLE app.imports (id bigint PRIMARY KEY, organization_id uuid);
         CREATE TABLE app.visits (id bigint PRIMARY KEY, organization_id bigint NOT NULL);
         INSERT INTO app.visits VALUES (1, 1), (2, 99);
         CREATE TABLE app.drafts (id bigint PRIMARY KEY, task_id bigint NOT NULL)",
    );
    let failure = owner
        .fails("CALL tenancy.adopt('app.organizations')")
        .code("55000");
    let detail = failure.detail.clone().unwrap_or_default();
    for (table, what) in [
        ("app.roles", "2 rows without organization_id"),
        ("app.imports", "has the type uuid"),
        ("app.visits", "1 row whose organization_id no tenant has"),
        ("app.drafts", "may refer to app.tasks"),
    ] {
        let line = detail
            .lines()
            .find(|line| line.starts_with(&format!("{table}: ")));
        assert!(
            line.is_some_and(|line| line.contains(what)),
            "{table} in {detail}"
        );
    }
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.tenants"),
        0,
        "nothing was done"
    );
    owner.run("DELETE FROM app.visits WHERE id = 2");
    owner.run(
        r#"CALL tenancy.adopt('app.organizations', decisions => '{"app.roles": {"null_rows": "share"}, "app.imports": {"skip": true},
            "app.drafts": {"skip": true}}')"#,
    );
    assert_eq!(
        owner.texts("SELECT table_name FROM tenancy.protected_tables WHERE shared_null"),
        ["app.roles"]
    );
    assert_eq!(
        owner.texts("SELECT table_name FROM tenancy.adoption WHERE kind = 'skipped' ORDER BY 1"),
        ["app.drafts", "app.imports"]
    );
}

#[test]
fn mistakes_in_the_call_are_told() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 1);
    owner.run("CREATE TABLE app.wide (a int, b int, PRIMARY KEY (a, b))");
    let mut fails = |call: &str| owner.fails(&format!("CALL tenancy.adopt({call})"));
    fails("'app.organizations', null_rows => 'drop'")
        .code("22023")
        .says("drop")
        .hints("refuse, share, fill or hide");
    fails(r#"'app.organizations', decisions => '{"app.nothing": {"tenant_column": "id"}}'"#)
        .code("22023")
        .says("app.nothing");
    fails(r#"'app.organizations', decisions => '{"app.users": {"skip": "yes"}}'"#).code("22023");
    fails("'app.organizations', schemas => '{nowhere}'")
        .code("22023")
        .says("nowhere");
    fails("'app.titles'").code("22023").says("not a table");
    fails("'app.wide'").code("55000");
    fails("NULL").code("22023");
    fails("'app.organizations', partner => 'nobody'").code("42704");
    fails("'app.organizations', lock_timeout => 'soon'").code("22023");
    fails("'app.organizations', grants => '{nobody}'").code("42704");
}

/// Another role than the owner changes nothing; a superuser adopts without lending its rights to the owner's triggers.
#[test]
fn the_owner_adopts_or_a_superuser() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 3);
    let mut admin = db.admin();
    admin.run(&format!("GRANT tenancy_admin TO {0}; GRANT USAGE ON SCHEMA app TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO {0}", db.stranger));
    db.stranger()
        .fails("CALL tenancy.adopt('app.organizations')")
        .code("42501")
        .says("must be owner");
    owner.run(
        "CREATE TABLE app.ran (by name);
         CREATE FUNCTION app.spy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO app.ran VALUES (current_user); RETURN NEW; END$$;
         CREATE TRIGGER spy BEFORE UPDATE ON app.tasks FOR EACH ROW EXECUTE FUNCTION app.spy()",
    );
    let truths = truths(&mut admin);
    admin.run(&adopt(&db));
    assert_eq!(
        admin.texts("SELECT DISTINCT by::text FROM app.ran"),
        [db.owner.as_str()]
    );
    owner.run("ALTER VIEW app.titles SET (security_invoker)");
    owner.run(&format!("GRANT SELECT ON app.titles TO {}", db.app));
    compare(&db, &truths);
}

#[test]
fn indexes_of_large_tables_are_built_while_writers_go_on() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 2);
    let mut admin = db.admin();
    // As left behind by one that was stopped.
    owner
        .run("CREATE INDEX projects_organization_id_tenancy_idx ON app.projects (organization_id)");
    admin.run(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.projects_organization_id_tenancy_idx'::regclass;
         UPDATE pg_class SET reltuples = 5e6 WHERE oid IN ('app.comments'::regclass, 'app.projects'::regclass, 'app.events_2025'::regclass, 'app.events_later'::regclass)",
    );
    owner.run("CALL tenancy.adopt('app.organizations', dry_run => true)");
    assert_eq!(
        owner.texts("SELECT s FROM tenancy.adoption, unnest(statements) s WHERE s LIKE 'CREATE INDEX%' ORDER BY table_name, s"),
        [
            "CREATE INDEX CONCURRENTLY comments_organization_id_tenancy_idx ON app.comments (organization_id)",
            "CREATE INDEX CONCURRENTLY events_2025_organization_id_tenancy_idx ON app.events_2025 (organization_id)",
            "CREATE INDEX CONCURRENTLY events_later_organization_id_tenancy_idx ON app.events_later (organization_id)",
            "CREATE INDEX events_organization_id_tenancy_idx ON app.events (organization_id)",
            "CREATE INDEX CONCURRENTLY projects_organization_id_tenancy_idx ON app.projects (organization_id)",
        ]
    );
    owner.run("CALL tenancy.adopt('app.organizations')");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
        7
    );
    let made = "SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid::regclass::text LIKE '%\\_tenancy\\_idx' AND indisvalid ORDER BY 1";
    let indexes = owner.texts(made);
    for wanted in [
        "app.comments_organization_id_tenancy_idx",
        "app.projects_organization_id_tenancy_idx",
        "app.events_organization_id_tenancy_idx",
        "app.events_2025_organization_id_tenancy_idx",
    ] {
        assert!(
            indexes.contains(&wanted.to_owned()),
            "{wanted}: {indexes:?}"
        );
    }
    assert_eq!(
        owner.number("SELECT count(*) FROM pg_index WHERE NOT indisvalid"),
        0
    );
    assert_eq!(
        owner.number("SELECT count(*) FROM pg_inherits WHERE inhparent = 'app.events_organization_id_tenancy_idx'::regclass"),
        2
    );
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(owner.texts(made), Vec::<String>::new());
}

/// Writers wait for no build of an index, nor for anything else, longer than a moment.
#[test]
fn writers_of_a_large_table_do_not_wait() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations);
         CREATE TABLE app.tasks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, project_id bigint NOT NULL REFERENCES app.projects, note text);
         INSERT INTO app.organizations SELECT n, 'Org ' || n FROM generate_series(1, 20) n;
         INSERT INTO app.projects SELECT n, n % 20 + 1 FROM generate_series(1, 200) n;
         INSERT INTO app.tasks (project_id, note) SELECT n % 200 + 1, repeat('x', 50) FROM generate_series(1, 400000) n;
         ANALYZE app.tasks",
    );
    let stop = std::sync::atomic::AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut session = db.owner();
            session.run("SET tenancy.maintenance_reason = 'writer'");
            let mut longest = std::time::Duration::ZERO;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let began = std::time::Instant::now();
                session.run("INSERT INTO app.tasks (project_id) VALUES (1)");
                session.run(
                    "UPDATE app.tasks SET note = 'new' WHERE id = 1 + (random() * 300000)::int",
                );
                longest = longest.max(began.elapsed());
            }
            longest
        });
        owner.run("CALL tenancy.adopt('app.organizations')");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(longest < std::time::Duration::from_secs(2), "{longest:?}");
    let mut admin = db.admin();
    assert_eq!(
        admin.number("SELECT count(*) FROM app.tasks t JOIN app.projects p ON p.id = t.project_id WHERE t.organization_id IS DISTINCT FROM p.organization_id"),
        0
    );
    assert_eq!(admin.number("SELECT count(*) FROM pg_index WHERE indexrelid = 'app.tasks_organization_id_tenancy_idx'::regclass AND indisvalid"), 1);
}

/// A block of another language cannot go on after a statement that ends its transaction.
#[test]
fn a_block_that_calls_it_gets_an_error_where_an_index_is_built() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 2);
    let mut admin = db.admin();
    admin.run("UPDATE pg_class SET reltuples = 5e6 WHERE oid = 'app.projects'::regclass");
    let started = admin.text("SELECT pg_postmaster_start_time()");
    for block in [
        "DO $$ BEGIN CALL tenancy.adopt('app.organizations'); END $$",
        "DO $$ BEGIN FOR n IN 1..2 LOOP CALL tenancy.adopt('app.organizations'); END LOOP; END $$",
    ] {
        owner.fails(block).code("25001");
    }
    assert_eq!(
        db.admin().text("SELECT pg_postmaster_start_time()"),
        started
    );
    owner.run("CALL tenancy.adopt('app.organizations')");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables WHERE isolated"),
        7
    );
}

/// Names that the server would cut are not those of two tables.
#[test]
fn indexes_of_tables_with_long_names_have_names_of_their_own() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run("CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text); INSERT INTO app.organizations VALUES (1, 'One')");
    let long = "a_name_that_is_long_enough_to_be_cut_by_the_server_";
    for n in [1, 2] {
        owner.run(&format!("CREATE TABLE app.{long}{n} (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations)"));
    }
    db.admin().run(&format!(
        "UPDATE pg_class SET reltuples = 5e6 WHERE relname IN ('{long}1', '{long}2')"
    ));
    owner.run("CALL tenancy.adopt('app.organizations')");
    assert_eq!(
        owner.number("SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_tenancy\\_idx'"),
        2
    );
}

/// Organizations and partners may be numbered alike.
#[test]
fn a_partner_may_have_the_number_of_an_organization() {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 2);
    owner.run("SELECT tenancy.create_partner('globex', external_id => '1'), tenancy.create_partner('hooli', external_id => '7')");
    owner.run("CALL tenancy.adopt('app.organizations', partner => 'globex')");
    owner.run("BEGIN; SELECT tenancy.maintenance('m'); INSERT INTO app.organizations VALUES (7, 'Seven', 'EUR'); COMMIT");
    assert_eq!(
        owner.texts("SELECT external_id FROM tenancy.tenants ORDER BY 1"),
        ["1", "2", "3", "7"]
    );
}

/// The server may number the tenants.
#[test]
fn a_table_of_tenants_with_an_identity_is_adopted() {
    for identity in ["ALWAYS", "BY DEFAULT"] {
        let db = Db::new();
        let mut owner = db.owner();
        owner.run(&format!(
            "CREATE TABLE app.organizations (id integer GENERATED {identity} AS IDENTITY PRIMARY KEY, name text);
             CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id integer NOT NULL REFERENCES app.organizations);
             INSERT INTO app.organizations (name) VALUES ('One'), ('Two'); INSERT INTO app.projects VALUES (1, 1), (2, 2), (3, 2)"
        ));
        let before = owner.text(CATALOG);
        owner.run(&adopt(&db));
        let mut admin = db.admin();
        admin.run("SELECT tenancy.create_user('two', 'ann')");
        let key = admin.text("SELECT tenancy.issue_api_key('two/ann', 'k')");
        let mut app = db.app();
        app.begin(&key);
        assert_eq!(app.texts("SELECT name FROM app.organizations"), ["Two"]);
        assert_eq!(app.number("SELECT count(*) FROM app.projects"), 2);
        app.run("COMMIT");
        owner.run("BEGIN; SELECT tenancy.maintenance('sign-up'); INSERT INTO app.organizations (name) VALUES ('Three'); COMMIT");
        assert_eq!(
            admin.text("SELECT name FROM tenancy.tenants WHERE external_id = '3'"),
            "Three"
        );
        owner.run("CALL tenancy.unadopt('app.organizations')");
        assert_eq!(owner.text(CATALOG), before);
    }
}
