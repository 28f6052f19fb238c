//! The watch of adopted schemas: views of other schemas, and the table of tenants itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session};

fn adopted(watch: &str) -> (Db, Session) {
    let db = Db::new();
    let mut owner = db.owner();
    owner.run(
        "CREATE TABLE app.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE app.projects (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES app.organizations);
         INSERT INTO app.organizations VALUES (1, 'One'), (2, 'Two'); INSERT INTO app.projects VALUES (1, 1), (2, 2);
         CREATE SCHEMA reports; GRANT USAGE ON SCHEMA reports TO PUBLIC",
    );
    owner.run(&format!(
        "CALL tenancy.adopt('app.organizations', watch => '{watch}')"
    ));
    (db, owner)
}

/// Views that show a protected table with the rights of a role that reads all rows, wherever they are, and through others.
#[test]
fn views_of_other_schemas_are_watched() {
    let (db, mut owner) = adopted("protect");
    let mut admin = db.admin();
    for view in [
        "CREATE VIEW reports.direct AS SELECT * FROM app.projects",
        "CREATE MATERIALIZED VIEW reports.copy AS SELECT * FROM app.projects",
    ] {
        admin.fails(view).code("55000").says("reports.");
    }
    // The inner one has its readers' rights, and is not open itself.
    admin.run("CREATE VIEW reports.below WITH (security_invoker) AS SELECT * FROM app.projects");
    admin
        .fails("CREATE VIEW reports.above AS SELECT * FROM reports.below")
        .code("55000")
        .says("reports.above");
    admin
        .fails("CREATE SCHEMA more CREATE VIEW outer_too AS SELECT count(*) FROM reports.below")
        .code("55000");
    // The owner's views are under the policies, until they get another owner, or what they read does.
    owner.run("CREATE VIEW reports.of_owner AS SELECT * FROM app.projects");
    admin
        .fails("ALTER VIEW reports.of_owner OWNER TO postgres")
        .code("55000");
    admin.run(&format!(
        "ALTER VIEW reports.below OWNER TO {}; ALTER VIEW reports.below RESET (security_invoker); CREATE VIEW reports.top AS SELECT * FROM reports.below",
        db.owner
    ));
    admin
        .fails("ALTER VIEW reports.below SET (security_invoker)")
        .code("55000")
        .says("reports.top");
    // One that was decided on may stay.
    owner.run(r#"CALL tenancy.adopt('app.organizations', decisions => '{"reports.top": {"skip": true}}')"#);
    admin.run("ALTER VIEW reports.below SET (security_invoker)");
    // Views of other tables are nobody's business.
    admin.run("CREATE VIEW reports.other AS SELECT * FROM pg_class; GRANT SELECT ON reports.other TO PUBLIC");
}

#[test]
fn views_of_other_schemas_are_warned_of() {
    let (db, _owner) = adopted("warn");
    let mut admin = db.admin();
    let warnings = admin.warnings(
        "CREATE VIEW reports.below WITH (security_invoker) AS SELECT * FROM app.projects; CREATE VIEW reports.above AS SELECT * FROM reports.below",
    );
    assert!(
        warnings.len() == 1 && warnings[0].contains("reports.above is not isolated"),
        "{warnings:?}"
    );
    let warnings = admin.warnings("GRANT SELECT ON reports.above TO PUBLIC");
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("the grant shows reports.above")),
        "{warnings:?}"
    );
}

#[test]
fn the_table_of_tenants_does_not_go_without_a_word() {
    let drop =
        "BEGIN; SELECT tenancy.maintenance('drop'); DROP TABLE app.organizations CASCADE; COMMIT";
    let (_db, mut owner) = adopted("protect");
    owner
        .fails(drop)
        .code("55000")
        .says("schema app")
        .hints("watch => 'off'");
    owner.run("ROLLBACK");
    let watched = "SELECT count(*) FROM tenancy_internal.watched_schemas";
    for watch in ["warn", "off"] {
        let (db, mut owner) = adopted(watch);
        let warnings = owner.warnings(drop);
        let told = warnings.iter().any(|w| w.contains("not watched any more"));
        assert_eq!(told, watch == "warn", "{warnings:?}");
        assert_eq!(db.admin().number(watched), 0);
    }
    // With its schema nothing is left to watch, and a dump's script makes it again.
    for drop in [
        "BEGIN; SELECT tenancy.maintenance('drop'); DROP SCHEMA app CASCADE; COMMIT",
        "SELECT set_config('search_path', '', false); BEGIN; SELECT tenancy.maintenance('drop'); DROP TABLE app.organizations CASCADE; COMMIT",
    ] {
        let (db, mut owner) = adopted("protect");
        owner.run(drop);
        assert_eq!(db.admin().number(watched), 0);
    }
}
