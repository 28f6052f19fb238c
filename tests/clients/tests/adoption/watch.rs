//! What follows a later statement that makes a table for tenants' rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session, application};

fn adopted(watch: &str) -> Db {
    let db = Db::new();
    let mut owner = db.owner();
    application::create(&mut owner, "bigint", "(%s)", 2);
    owner.run(&format!(
        "CALL tenancy.adopt('app.organizations', grants => '{{{}}}', watch => '{watch}')",
        db.app
    ));
    db
}

fn is_open(session: &mut Session, table: &str) -> bool {
    session.number(&format!(
        "SELECT count(*) FROM tenancy.unprotected_tables WHERE table_name = '{table}'"
    )) == 1
}

fn is_isolated(session: &mut Session, table: &str) -> bool {
    session.number(&format!(
        "SELECT count(*) FROM tenancy.protected_tables WHERE table_name = '{table}' AND isolated"
    )) == 1
}

#[test]
fn a_warning_is_the_default() {
    let db = adopted("warn");
    let mut owner = db.owner();
    for (statement, table) in [
        (
            "CREATE TABLE app.invoices (id bigint PRIMARY KEY, organization_id bigint NOT NULL)",
            "app.invoices",
        ),
        (
            "CREATE TABLE app.copy AS SELECT 1 AS id, 1::bigint AS organization_id",
            "app.copy",
        ),
        (
            "CREATE TABLE app.late (id bigint); ALTER TABLE app.late ADD organization_id bigint",
            "app.late",
        ),
        (
            "CREATE TABLE app.files (id bigint, task_id bigint NOT NULL REFERENCES app.tasks)",
            "app.files",
        ),
    ] {
        let warnings = owner.warnings(statement);
        assert!(
            warnings
                .iter()
                .any(|w| w.contains(table) && w.contains("Call tenancy.adopt() again")),
            "{statement}: {warnings:?}"
        );
        assert!(is_open(&mut owner, table));
    }
    for statement in [
        "CREATE TABLE app.kinds (id bigint PRIMARY KEY)",
        "CREATE TEMP TABLE scratch (organization_id bigint)",
        "CREATE SCHEMA other; CREATE TABLE other.invoices (organization_id bigint)",
        "CREATE INDEX ON app.tasks (title)",
        "ALTER TABLE app.tasks ADD rank int",
        "CREATE TABLE app.events_2024 PARTITION OF app.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    ] {
        assert_eq!(
            owner.warnings(statement),
            Vec::<String>::new(),
            "{statement}"
        );
    }
    owner.run("CALL tenancy.adopt('app.organizations')");
    assert!(is_isolated(&mut owner, "app.files"));
    let quiet = adopted("off");
    assert_eq!(
        quiet
            .owner()
            .warnings("CREATE TABLE app.invoices (organization_id bigint)"),
        Vec::<String>::new()
    );
}

#[test]
fn a_table_is_isolated_by_the_statement_that_makes_it() {
    let db = adopted("protect");
    let mut owner = db.owner();
    owner.run("CREATE TABLE app.invoices (id bigint PRIMARY KEY, organization_id bigint NOT NULL)");
    assert!(is_isolated(&mut owner, "app.invoices"));
    // As schema tools write it: the foreign key comes later, in the same script.
    owner.run(
        "BEGIN; CREATE TABLE app.lines (id bigint PRIMARY KEY, invoice_id bigint NOT NULL);
         ALTER TABLE app.lines ADD CONSTRAINT lines_invoice_fkey FOREIGN KEY (invoice_id) REFERENCES app.invoices (id); COMMIT",
    );
    assert!(is_isolated(&mut owner, "app.lines"));
    owner.run("BEGIN; SELECT tenancy.maintenance('rows'); INSERT INTO app.invoices VALUES (1, 2); INSERT INTO app.lines VALUES (1, 1)");
    assert_eq!(owner.number("SELECT organization_id FROM app.lines"), 2);
    owner.run("COMMIT");
    // The application's role has its rights as for other tables.
    assert!(
        owner.text(&format!(
            "SELECT has_table_privilege('{}', 'app.lines', 'INSERT')::text",
            db.app
        )) == "true"
    );
    // Dropped and created again, and swapped by a rename.
    owner.run("DROP TABLE app.lines; DROP TABLE app.invoices");
    owner.run("CREATE TABLE app.invoices (id bigint PRIMARY KEY, organization_id bigint NOT NULL)");
    assert!(is_isolated(&mut owner, "app.invoices"));
    owner.run("CREATE SCHEMA other; CREATE TABLE other.payments (id bigint PRIMARY KEY, organization_id bigint NOT NULL)");
    owner.run("ALTER TABLE other.payments SET SCHEMA app");
    assert!(is_isolated(&mut owner, "app.payments"));
}

#[test]
fn what_is_isolated_may_be_renamed_and_undone() {
    let db = adopted("protect");
    let mut owner = db.owner();
    assert_eq!(
        owner.warnings("ALTER TABLE app.projects RENAME organization_id TO org_id"),
        Vec::<String>::new()
    );
    owner.run("ALTER TABLE app.tasks RENAME organization_id TO org_no");
    owner.run("BEGIN; SELECT tenancy.maintenance('rows'); INSERT INTO app.tasks (project_id, title) SELECT min(id), 'x' FROM app.projects; COMMIT");
    assert!(is_isolated(&mut owner, "app.projects") && is_isolated(&mut owner, "app.tasks"));
    let mut admin = db.admin();
    assert_eq!(admin.number("SELECT count(*) FROM app.tasks t JOIN app.projects p ON p.id = t.project_id WHERE t.org_no IS DISTINCT FROM p.org_id"), 0);
    // One that the adoption has left, while the schema is watched.
    owner.run("SELECT set_config('search_path', '', false); CREATE TABLE app.late (id bigint PRIMARY KEY, task_id bigint NOT NULL REFERENCES app.tasks); RESET search_path");
    owner.run("INSERT INTO app.late VALUES (1, 1)");
    owner.run("CALL tenancy.adopt('app.organizations')");
    assert!(is_isolated(&mut owner, "app.late"));
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.protected_tables"),
        0
    );
}

#[test]
fn several_schemas_are_watched_together() {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "CREATE SCHEMA other;
         CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE other.projects (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations)",
    );
    owner.run(
        "CALL tenancy.adopt('app.organizations', schemas => '{app,other}', watch => 'protect')",
    );
    owner.run("CREATE TABLE other.two (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations)");
    owner.run("CREATE TABLE app.three (id bigint PRIMARY KEY, project_id bigint NOT NULL REFERENCES other.projects)");
    // By a usual name and another type of key, and through a table that is linked later.
    owner.run(r#"CREATE TABLE app.four (id int, "organizationId" int NOT NULL)"#);
    owner.run(
        "CREATE TABLE app.five (id bigint PRIMARY KEY, project_id bigint NOT NULL); CREATE TABLE app.six (id bigint PRIMARY KEY, five_id bigint NOT NULL REFERENCES app.five)",
    );
    owner.run("ALTER TABLE app.five ADD FOREIGN KEY (project_id) REFERENCES other.projects");
    for table in ["other.two", "app.three", "app.four", "app.five", "app.six"] {
        assert!(is_isolated(&mut owner, table), "{table}");
    }
}

#[test]
fn a_table_that_cannot_be_isolated_is_refused() {
    let db = adopted("protect");
    let mut owner = db.owner();
    for statement in [
        // A name and a type that others have, and rows without a tenant.
        "CREATE TABLE app.copy AS SELECT 1 AS id, NULL::bigint AS organization_id",
        "CREATE MATERIALIZED VIEW app.all_tasks AS SELECT * FROM app.tasks WITH NO DATA",
    ] {
        owner
            .fails(statement)
            .code("55000")
            .says("without isolation");
    }
    // A role without the rights of the tables' owner.
    db.admin().run(&format!(
        "GRANT CREATE, USAGE ON SCHEMA app TO {}",
        db.stranger
    ));
    let mut stranger = db.stranger();
    stranger
        .fails("CREATE TABLE app.mine (organization_id bigint NOT NULL)")
        .code("55000")
        .says("app.mine");
    stranger.run("CREATE TABLE app.mine (id bigint)");
    // A decision stands.
    owner.run(
        r#"CREATE TABLE app.public_notes (id bigint);
           "#,
    );
    owner.run(r#"CALL tenancy.adopt('app.organizations', decisions => '{"app.public_notes": {"skip": true}}', watch => 'protect')"#);
    owner.run("ALTER TABLE app.public_notes ADD organization_id bigint");
    owner.run("ALTER TABLE app.public_notes ADD more int");
    assert!(is_open(&mut owner, "app.public_notes"));
}

#[test]
fn it_ends_with_the_adoption_and_does_not_stop_a_restore() {
    let db = adopted("protect");
    let mut owner = db.owner();
    // What a dump's script does: the path is empty.
    owner.run("SET search_path = ''; SELECT pg_catalog.set_config('search_path', '', false)");
    owner.run("CREATE TABLE app.restored (organization_id bigint)");
    owner.run("RESET search_path");
    owner.run("DROP TABLE app.restored");
    owner.run("CALL tenancy.unadopt('app.organizations')");
    assert_eq!(
        owner.warnings("CREATE TABLE app.invoices (organization_id bigint)"),
        Vec::<String>::new()
    );
    assert_eq!(
        db.admin()
            .number("SELECT count(*) FROM tenancy_internal.watched_schemas"),
        0
    );
    // Without the table of tenants there is nothing to do.
    let db = adopted("warn");
    let mut owner = db.owner();
    owner.run("DROP TABLE app.organizations CASCADE");
    owner.run("CREATE TABLE app.invoices (organization_id bigint)");
    assert!(
        owner
            .fails("CALL tenancy.adopt('app.organizations', watch => 'always')")
            .code
            == "42P01"
    );
    owner
        .fails("CALL tenancy.adopt('app.projects', watch => 'always')")
        .code("22023")
        .says("watch");
}

/// Views and functions of a role to whom row security does not apply show all rows.
#[test]
fn views_and_functions_that_show_all_rows_are_found() {
    let db = adopted("warn");
    let mut admin = db.admin();
    let told = |warnings: Vec<String>, what: &str| {
        let found = warnings
            .iter()
            .any(|w| w.contains(what) && w.contains("row security does not apply"));
        assert!(found, "{what}: {warnings:?}");
    };
    told(
        admin.warnings("CREATE VIEW app.all_tasks AS SELECT * FROM app.tasks"),
        "app.all_tasks",
    );
    told(
        admin.warnings("CREATE VIEW app.indirect AS SELECT * FROM app.all_tasks"),
        "app.indirect",
    );
    told(
        admin.warnings("CREATE FUNCTION app.every_task() RETURNS SETOF app.tasks LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM app.tasks'"),
        "app.every_task()",
    );
    told(
        admin.warnings("ALTER FUNCTION app.every_task() COST 7"),
        "app.every_task()",
    );
    let mut owner = db.owner();
    for statement in [
        "CREATE VIEW app.own_tasks AS SELECT * FROM app.tasks",
        "CREATE VIEW app.codes AS SELECT * FROM app.currencies",
        "CREATE FUNCTION app.own() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.tasks'",
        "CREATE FUNCTION app.invoker() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM app.tasks'",
    ] {
        assert_eq!(
            owner.warnings(statement),
            Vec::<String>::new(),
            "{statement}"
        );
    }
    assert_eq!(
        admin.warnings(
            "CREATE VIEW app.as_reader WITH (security_invoker) AS SELECT * FROM app.tasks"
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        owner.texts("SELECT table_name || ' ' || kind FROM tenancy.unprotected_tables WHERE kind = 'view' ORDER BY 1"),
        ["app.all_tasks view", "app.indirect view"]
    );
    admin.run("ALTER VIEW app.own_tasks OWNER TO CURRENT_USER");
    assert!(is_open(&mut owner, "app.own_tasks"));
    admin.run("REVOKE EXECUTE ON FUNCTION app.every_task() FROM PUBLIC");
    assert_eq!(
        admin.warnings("ALTER FUNCTION app.every_task() COST 8"),
        Vec::<String>::new()
    );
    // The statement that the list gives closes it.
    for statement in
        owner.texts("SELECT statement FROM tenancy.unprotected_tables WHERE kind = 'view'")
    {
        admin.run(&statement);
    }
    assert!(!is_open(&mut owner, "app.all_tasks"));

    let db = adopted("protect");
    db.admin()
        .fails("CREATE VIEW app.all_tasks AS SELECT * FROM app.tasks")
        .code("55000")
        .says("app.all_tasks");
    db.admin()
        .run("CREATE VIEW app.as_reader WITH (security_invoker) AS SELECT * FROM app.tasks");
}

/// What was chosen stays for a later call that says nothing of it.
#[test]
fn off_stays_off() {
    let db = adopted("off");
    let mut owner = db.owner();
    owner.run("CALL tenancy.adopt('app.organizations')");
    let open = "CREATE TABLE app.invoices (id bigint PRIMARY KEY, organization_id bigint NOT NULL)";
    assert_eq!(owner.warnings(open), Vec::<String>::new());
    owner.run("CALL tenancy.adopt('app.organizations', watch => 'warn')");
    assert_eq!(
        owner.warnings("ALTER TABLE app.organizations ADD note text"),
        Vec::<String>::new()
    );
    assert!(
        !owner
            .warnings(
                "CREATE TABLE app.bills (id bigint PRIMARY KEY, organization_id bigint NOT NULL)"
            )
            .is_empty()
    );
}

/// What a partition, a rule or another view gives away is found too, and what does not is let be.
#[test]
fn rules_and_views_of_parts_are_found() {
    let db = adopted("protect");
    let mut admin = db.admin();
    for (statement, name) in [
        (
            "CREATE VIEW app.part AS SELECT * FROM app.events_2025",
            "app.part",
        ),
        (
            "CREATE MATERIALIZED VIEW app.copied AS SELECT * FROM app.events_2025",
            "app.copied",
        ),
        (
            "CREATE VIEW app.inner_view WITH (security_invoker) AS SELECT * FROM app.tasks; CREATE MATERIALIZED VIEW app.through AS SELECT * FROM app.inner_view",
            "app.through",
        ),
        (
            "CREATE TABLE app.plain (id int); CREATE RULE r AS ON UPDATE TO app.plain DO INSTEAD SELECT * FROM app.tasks",
            "app.plain",
        ),
        (
            "CREATE VIEW app.ruled WITH (security_invoker) AS SELECT id, title FROM app.tasks; CREATE RULE r AS ON INSERT TO app.ruled DO INSTEAD UPDATE app.tasks SET title = new.title WHERE id = new.id",
            "app.ruled",
        ),
    ] {
        admin
            .fails(&format!("SELECT tenancy.maintenance('m'); {statement}"))
            .code("55000")
            .says(name);
    }
    // A view of the owner's view is checked as the owner.
    db.owner()
        .run("CREATE VIEW app.owners AS SELECT * FROM app.tasks");
    admin.run("CREATE VIEW app.outer_view AS SELECT * FROM app.owners");
    assert!(!is_open(&mut admin, "app.outer_view"));
}

/// A grant shows what was left open to more roles.
#[test]
fn grants_on_what_is_open_are_followed() {
    let db = adopted("off");
    let (mut owner, mut admin) = (db.owner(), db.admin());
    owner.run(
        "CREATE TABLE app.kinds (id bigint); CREATE TABLE app.decided (organization_id bigint)",
    );
    admin.run("CREATE VIEW app.all_tasks AS SELECT * FROM app.tasks");
    admin.run("CREATE FUNCTION app.every_task() RETURNS SETOF app.tasks LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM app.tasks'");
    admin.run("REVOKE ALL ON FUNCTION app.every_task() FROM PUBLIC");
    let app = &db.app;
    let watch = |owner: &mut Session, action: &str| {
        owner.run(&format!(
            r#"CALL tenancy.adopt('app.organizations', grants => '{{{app}}}', decisions => '{{"app.decided": {{"skip": true}}}}', watch => '{action}')"#
        ));
    };
    // As a dump's script makes them: nobody looks.
    let late = |owner: &mut Session| {
        owner.run(
            "SELECT set_config('search_path', '', false);
             CREATE TABLE app.open_one (id bigint, organization_id bigint NOT NULL);
             CREATE TABLE app.open_two (id int, \"organizationId\" int);
             CREATE TABLE app.open_log (organization_id bigint, at date) PARTITION BY RANGE (at);
             CREATE TABLE app.open_log_1 PARTITION OF app.open_log DEFAULT;
             RESET search_path",
        );
    };
    watch(&mut owner, "warn");
    late(&mut owner);
    let open = [
        format!("GRANT SELECT ON app.open_one TO {app}"),
        format!("GRANT INSERT ON app.open_one, app.kinds TO {app}"),
        "GRANT SELECT ON app.open_two TO PUBLIC".to_owned(),
        format!("GRANT SELECT (id) ON app.open_two TO {app}"),
        format!("GRANT SELECT ON app.open_log_1 TO {app}"),
        format!("SET search_path = app; GRANT SELECT ON open_one TO {app}; RESET search_path"),
        format!("DO $$ BEGIN GRANT SELECT ON app.open_one TO {app}; END $$"),
    ];
    for statement in &open {
        let warnings = owner.warnings(statement);
        assert!(
            warnings
                .iter()
                .any(|w| w.contains("app.open_") && w.contains("the grant shows")),
            "{statement}: {warnings:?}"
        );
    }
    let told = |warnings: Vec<String>, what: &str| {
        assert!(
            warnings.iter().any(|w| w.contains(what)),
            "{what}: {warnings:?}"
        );
    };
    let all = format!("GRANT SELECT ON ALL TABLES IN SCHEMA app TO {app}");
    told(admin.warnings(&all), "app.open_two");
    told(
        admin.warnings(&format!("GRANT SELECT ON app.all_tasks TO {app}")),
        "app.all_tasks",
    );
    told(
        admin.warnings(&format!(
            "GRANT EXECUTE ON FUNCTION app.every_task() TO {app}"
        )),
        "app.every_task()",
    );
    told(
        admin.warnings(&format!(
            "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO {app}"
        )),
        "app.every_task()",
    );
    told(
        admin.warnings(&format!(
            "CREATE SCHEMA more GRANT SELECT ON app.open_one TO {app}"
        )),
        "app.open_one",
    );
    // What shows nothing more.
    for statement in [
        format!("GRANT SELECT ON app.tasks, app.kinds, app.decided, app.currencies TO {app}"),
        format!("REVOKE SELECT ON app.open_one FROM {app}"),
        format!("GRANT SELECT ON app.open_one TO {}", db.owner),
        format!("GRANT USAGE ON SCHEMA app TO {app}"),
        format!(
            "SELECT set_config('search_path', '', false); GRANT SELECT ON app.open_one TO {app}; RESET search_path"
        ),
    ] {
        assert_eq!(
            owner.warnings(&statement),
            Vec::<String>::new(),
            "{statement}"
        );
    }
    assert_eq!(
        admin.warnings("GRANT SELECT ON app.open_one TO CURRENT_USER"),
        Vec::<String>::new()
    );
    let by_hand =
        format!("SELECT tenancy.protect('app.open_one', 'organization_id', grants => '{{{app}}}')");
    assert_eq!(owner.warnings(&by_hand), Vec::<String>::new());

    owner.run("DROP TABLE app.open_one, app.open_two, app.open_log");
    watch(&mut owner, "protect");
    late(&mut owner);
    for statement in &open {
        owner
            .fails(statement)
            .code("55000")
            .says("the grant would show")
            .hints("adopt()");
        owner.run("RESET search_path");
    }
    admin.fails(&all).code("55000");
    admin
        .fails(&format!("GRANT SELECT ON app.all_tasks TO {app}"))
        .code("55000");
    assert!(!is_isolated(&mut owner, "app.open_one"));
    owner.run(&format!(
        "GRANT SELECT ON app.tasks, app.kinds, app.decided TO {app}"
    ));
}

/// A table that is made of a query belongs to its tenants if it has their column.
#[test]
fn a_table_made_of_a_query_is_isolated() {
    let db = adopted("protect");
    let mut owner = db.owner();
    for statement in [
        "CREATE TABLE app.copy AS SELECT * FROM app.projects",
        "SELECT id, organization_id INTO app.copy FROM app.tasks",
        "CREATE TABLE app.copy AS SELECT 7 AS id, 1::bigint AS organization_id",
        "CREATE TABLE app.copy AS SELECT 7 AS id, 1::bigint AS organization_id WITH NO DATA",
        "PREPARE rows AS SELECT id, organization_id FROM app.tasks; CREATE TABLE app.copy AS EXECUTE rows; DEALLOCATE rows",
    ] {
        owner.run("BEGIN; SELECT tenancy.maintenance('copy')");
        owner.run(statement);
        owner.run("COMMIT");
        assert!(is_isolated(&mut owner, "app.copy"), "{statement}");
        assert!(is_not_null(&mut owner, "app.copy"), "{statement}");
        owner.run("DROP TABLE app.copy");
    }
    // A row of no tenant, one without a tenant, and rows that nothing tells the tenant of.
    for (statement, why) in [
        (
            "CREATE TABLE app.copy AS SELECT 7 AS id, 99::bigint AS organization_id",
            "no tenant has",
        ),
        (
            "CREATE TABLE app.copy AS SELECT id, nullif(organization_id, 1) AS organization_id FROM app.projects",
            "organization_id",
        ),
        (
            "CREATE TABLE app.copy AS SELECT title FROM app.tasks",
            "is made of app.tasks, which is protected",
        ),
        (
            "CREATE TABLE app.copy AS SELECT count(*) FROM app.titles",
            "which is protected",
        ),
        (
            "PREPARE rows AS SELECT title FROM app.tasks; CREATE TABLE app.copy AS EXECUTE rows",
            "is made of app.tasks, which is protected",
        ),
    ] {
        owner.run("BEGIN; SELECT tenancy.maintenance('copy')");
        let failure = owner.fails(statement).code("55000").says("app.copy");
        let detail = failure.detail.clone().unwrap_or_default();
        assert!(detail.contains(why), "{statement}: {failure:?}");
        failure.hints("column");
        owner.run("ROLLBACK; DEALLOCATE ALL");
    }
    // The copy of one that tenants do not share, one that is temporary, and one that was decided on.
    for statement in [
        "CREATE TABLE app.codes AS SELECT * FROM app.currencies",
        "BEGIN; SELECT tenancy.maintenance('copy'); CREATE TEMP TABLE copy AS SELECT title FROM app.tasks; COMMIT",
    ] {
        assert_eq!(
            owner.warnings(statement),
            Vec::<String>::new(),
            "{statement}"
        );
    }
    let db = adopted("warn");
    let mut owner = db.owner();
    let copied = "BEGIN; SELECT tenancy.maintenance('copy'); CREATE TABLE app.titles_of AS SELECT title FROM app.tasks; COMMIT";
    assert!(owner.warnings(copied)[0].contains("app.titles_of is not isolated: it is made of"));
    owner.run("DROP TABLE app.titles_of");
    owner.run(r#"CALL tenancy.adopt('app.organizations', decisions => '{"app.titles_of": {"skip": true}}')"#);
    assert_eq!(owner.warnings(copied), Vec::<String>::new());
}

fn is_not_null(session: &mut Session, table: &str) -> bool {
    session.number(&format!(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = 'organization_id' AND attnotnull"
    )) == 1
}

/// Uuid keys are the ids of scopes.
#[test]
fn a_copy_with_uuid_keys_is_isolated() {
    let db = Db::new();
    let mut owner = db.owner();
    let key = "('00000000-0000-4000-8000-00000000000' || %s)::uuid";
    application::create(&mut owner, "uuid", key, 2);
    owner.run("CALL tenancy.adopt('app.organizations', watch => 'protect')");
    owner.run("BEGIN; SELECT tenancy.maintenance('copy'); CREATE TABLE app.copy AS SELECT * FROM app.projects; COMMIT");
    assert!(is_isolated(&mut owner, "app.copy"));
    owner
        .fails("CREATE TABLE app.wrong AS SELECT gen_random_uuid() AS organization_id")
        .code("55000");
}

/// What a migration will make may be decided on before.
#[test]
fn decisions_may_be_made_beforehand() {
    let db = adopted("protect");
    let (mut owner, mut admin) = (db.owner(), db.admin());
    admin.run("CREATE VIEW other_view AS SELECT 1 AS one");
    let decided = |decisions: &str| {
        format!("CALL tenancy.adopt('app.organizations', decisions => '{decisions}')")
    };
    owner.run(&decided(
        r#"{"app.all_tasks": {"skip": true}, "app.all_rows": {"skip": true}, "app.notes": {"share": true}, "app.titles": {"skip": true}}"#,
    ));
    admin.run("CREATE VIEW app.all_tasks AS SELECT * FROM app.tasks");
    admin.run("CREATE MATERIALIZED VIEW app.all_rows AS SELECT * FROM app.tasks WITH NO DATA");
    owner.run("CREATE TABLE app.notes (organization_id bigint)");
    assert!(is_open(&mut owner, "app.notes") && is_open(&mut owner, "app.all_tasks"));
    // Other names are not decided on.
    admin
        .fails("CREATE VIEW app.all_tasks_2 AS SELECT * FROM app.tasks")
        .code("55000");
    // A view may be in another schema.
    owner.run(&decided(r#"{"public.other_view": {"skip": true}}"#));
    for decisions in [
        r#"{"app.absent": {"tenant_column": "a"}}"#,
        r#"{"app.absent": {"skip": false}}"#,
        r#"{"elsewhere.absent": {"skip": true}}"#,
        r#"{"app": {"skip": true}}"#,
        r#"{"app.events_2025": {"skip": true}}"#,
        r#"{"app.titles": {"share": true}}"#,
        r#"{"app.titles": {"null_rows": "share"}}"#,
    ] {
        owner
            .fails(&decided(decisions))
            .code("22023")
            .says("decisions name");
    }
}

/// One warning says what an adoption leaves open.
#[test]
fn what_an_adoption_leaves_open_is_warned_of() {
    let db = Db::new();
    let (mut owner, mut admin) = (db.owner(), db.admin());
    application::create(&mut owner, "bigint", "(%s)", 2);
    admin.run("CREATE VIEW app.all_tasks AS SELECT * FROM app.tasks");
    admin.run("CREATE SCHEMA other; CREATE VIEW other.all_tasks AS SELECT * FROM app.tasks");
    let adopt = |decisions: &str| {
        format!("CALL tenancy.adopt('app.organizations', decisions => '{decisions}')")
    };
    let warnings = owner.warnings(&adopt("{}"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("1 of the tables and views in the adopted schemas")
            && warnings[0].contains("not isolated: app.all_tasks. "),
        "{warnings:?}"
    );
    assert_eq!(
        owner.warnings(&adopt(r#"{"app.all_tasks": {"skip": true}}"#)),
        Vec::<String>::new()
    );
    for n in 10..22 {
        admin.run(&format!(
            "CREATE VIEW app.all_{n} AS SELECT * FROM app.tasks"
        ));
    }
    let warnings = owner.warnings(&adopt("{}"));
    assert!(
        warnings[0].contains("13 of the tables")
            && warnings[0].contains("app.all_19, …")
            && !warnings[0].contains("app.all_20"),
        "{warnings:?}"
    );
}

/// The watch and decisions follow names.
#[test]
fn the_watch_follows_a_schema_that_is_renamed() {
    let db = Db::new();
    let (mut owner, mut admin) = (db.owner(), db.admin());
    application::create(&mut owner, "bigint", "(%s)", 2);
    owner.run("CREATE TABLE app.decided (id bigint)");
    owner.run(r#"CALL tenancy.adopt('app.organizations', watch => 'protect', decisions => '{"app.decided": {"skip": true}, "app.later": {"skip": true}}')"#);
    owner.run("ALTER TABLE app.decided ADD organization_id bigint");
    owner.run(r#"ALTER SCHEMA app RENAME TO "My App""#);
    let mine = |sql: &str| sql.replace("app.", r#""My App"."#);
    owner.run(&mine(
        "CREATE TABLE app.invoices (id bigint PRIMARY KEY, organization_id bigint NOT NULL)",
    ));
    assert!(is_isolated(&mut owner, &mine("app.invoices")));
    owner.run(&mine("ALTER TABLE app.decided ADD more int"));
    owner.run(&mine("CREATE TABLE app.later (organization_id bigint)"));
    owner
        .fails(&mine("CREATE TABLE app.other (organization_id text[])"))
        .code("55000");
    // Another schema of the old name is nobody's, also with tables of the old names.
    admin.run(&format!("CREATE SCHEMA app AUTHORIZATION {}", db.owner));
    owner.run("CREATE TABLE app.free (organization_id bigint)");
    assert_eq!(
        admin.texts("SELECT schema_name FROM tenancy_internal.watched_schemas"),
        ["My App"]
    );
    // Back, over a row that is out of date.
    owner.run("DROP SCHEMA app CASCADE");
    owner.run(r#"SELECT set_config('search_path', '', false); ALTER SCHEMA "My App" RENAME TO app; RESET search_path"#);
    owner.run("CREATE TABLE app.again (id bigint PRIMARY KEY, organization_id bigint NOT NULL)");
    assert!(is_isolated(&mut owner, "app.again"));
    owner.run("ALTER TABLE app.later ADD more int");
}

/// A decision is one about a table, not about the next one of its name.
#[test]
fn a_decision_follows_a_table_that_is_renamed() {
    let db = adopted("protect");
    let (mut owner, mut admin) = (db.owner(), db.admin());
    owner.run("CREATE TABLE app.one (id bigint); CREATE TABLE app.two (id bigint)");
    admin.run("CREATE VIEW app.view_one AS SELECT 1 AS one");
    owner.run(r#"CALL tenancy.adopt('app.organizations', watch => 'protect', decisions => '{"app.one": {"skip": true}, "app.two": {"skip": true}, "app.view_one": {"skip": true}}')"#);
    owner.run("ALTER TABLE app.one ADD organization_id bigint");
    owner.run("ALTER TABLE app.one RENAME TO first_one");
    owner.run("ALTER TABLE app.first_one ADD more int");
    let next = "CREATE TABLE app.one (organization_id bigint, tags text[], PRIMARY KEY (tags))";
    owner.run(next);
    assert!(is_isolated(&mut owner, "app.one"));
    admin.run("ALTER VIEW app.view_one RENAME TO view_two");
    admin.run("CREATE OR REPLACE VIEW app.view_two AS SELECT 1 AS one UNION SELECT count(*)::int FROM app.tasks");
    admin
        .fails("CREATE VIEW app.view_one AS SELECT * FROM app.tasks")
        .code("55000");
    // Into another schema, and back; the statement need not name the first one.
    owner.run("CREATE SCHEMA other");
    owner.run("SET search_path = other, app; ALTER TABLE two SET SCHEMA other; RESET search_path");
    owner.run("CREATE TABLE app.two (organization_id bigint)");
    assert!(is_isolated(&mut owner, "app.two"));
    owner.run("DROP TABLE app.two; ALTER TABLE other.two ADD organization_id bigint; ALTER TABLE other.two SET SCHEMA app");
    owner.run("ALTER TABLE app.two ADD more int; ALTER INDEX app.two RENAME TO three");
    owner.run("ALTER TABLE app.three ADD organization int");
    // A name that the path finds first is not the moved table's.
    owner.run("CREATE SCHEMA first; CREATE TABLE first.three (id int); SET search_path = first, app; ALTER TABLE three SET SCHEMA other; RESET search_path");
    owner.run("ALTER TABLE app.three ADD yet_more int");
}

/// Tables that go into a schema that is not watched.
#[test]
fn a_table_that_leaves_the_watched_schemas_is_warned_of() {
    let db = adopted("protect");
    let mut owner = db.owner();
    owner.run("CREATE SCHEMA other; CREATE TABLE app.plain (id int)");
    assert_eq!(
        owner.warnings("ALTER TABLE app.plain SET SCHEMA other"),
        Vec::<String>::new()
    );
    for table in ["tasks", "organizations"] {
        let warnings = owner.warnings(&format!("ALTER TABLE app.{table} SET SCHEMA other"));
        assert!(
            warnings.len() == 1
                && warnings[0].contains(&format!("the schema of other.{table} is not watched")),
            "{warnings:?}"
        );
    }
    // The watch goes on without the table of tenants in its schemas.
    owner.run("CREATE TABLE app.invoices (id bigint PRIMARY KEY, organization_id bigint NOT NULL)");
    assert!(is_isolated(&mut owner, "app.invoices"));
    owner.run(
        "CREATE TABLE app.notes (id bigint PRIMARY KEY, task_id bigint NOT NULL REFERENCES other.tasks)",
    );
    assert!(is_isolated(&mut owner, "app.notes"));
    owner.run(
        "CALL tenancy.adopt('other.organizations', schemas => '{app,other}', watch => 'protect')",
    );
    owner.run("CREATE TABLE other.bills (organization_id bigint NOT NULL)");
    assert!(is_isolated(&mut owner, "other.bills"));
}
