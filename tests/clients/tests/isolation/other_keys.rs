//! Projects and users that rows name by the application's own keys: no key means anything in another tenant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Db, Session};

/// Two tenants, each with projects 1 and 2 and users 7 and 8. Rows of both, by project and by owner.
struct Two {
    db: Db,
    keys: Vec<(&'static str, String)>,
}

const KINDS: [(&str, &str, &str); 6] = [
    ("bigint", "bigint", "user_key_bigint"),
    ("integer", "integer", "user_key_bigint"),
    ("smallint", "numeric(9,0)", ""),
    ("varchar(9)", "varchar(9)", "user_key_text"),
    ("char(3)", "text", "user_key_text"),
    ("uuid", "app.number", "user_key_bigint"),
];

impl Two {
    fn new() -> Self {
        let db = Db::new();
        let mut owner = db.owner();
        owner.run("CREATE DOMAIN app.number AS bigint CHECK (VALUE > 0)");
        for tenant in ["1", "2"] {
            owner.run(&format!(
                "SELECT tenancy.create_tenant('t{tenant}', external_id => '{tenant}')"
            ));
            for project in ["1", "2"] {
                owner.run(&format!("SELECT tenancy.create_project('t{tenant}', 'p{project}', external_id => '{project}')"));
            }
            for user in ["7", "8"] {
                owner.run(&format!(
                    "SELECT tenancy.create_user('t{tenant}', 'u{user}', external_id => '{user}')"
                ));
            }
        }
        let mut key =
            |user: &str| owner.text(&format!("SELECT tenancy.issue_api_key('{user}', 'k')"));
        let keys = vec![
            ("t1/u7", key("t1/u7")),
            ("t1/u8", key("t1/u8")),
            ("t2/u7", key("t2/u7")),
        ];
        Self { db, keys }
    }

    fn begin(&self, user: &str) -> Session {
        let (_, key) = self.keys.iter().find(|(name, _)| *name == user).unwrap();
        let mut app = self.db.app();
        app.begin(key);
        app
    }
}

#[test]
fn owners_are_users_of_the_rows_tenant() {
    let two = Two::new();
    let mut owner = two.db.owner();
    for (tenant, user, function) in KINDS {
        let own = match tenant {
            "uuid" => "(SELECT x.id FROM tenancy.tenants x WHERE x.external_id = t)".to_owned(),
            _ => format!("t::{tenant}"),
        };
        owner.run(&format!(
            "DROP TABLE IF EXISTS app.rows;
             CREATE TABLE app.rows (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant {tenant} NOT NULL, owner {user}, body text);
             CREATE INDEX ON app.rows (owner);
             SELECT tenancy.protect('app.rows', 'tenant', owner_column => 'owner')"
        ));
        two.db.admin().run(&format!(
            "INSERT INTO app.rows (tenant, owner, body) SELECT {own}, u::{user}, t || u FROM unnest('{{1,2}}'::text[]) t, unnest('{{7,8,9}}'::text[]) u"
        ));
        for (who, seen) in [("t1/u7", "17"), ("t1/u8", "18"), ("t2/u7", "27")] {
            let mut app = two.begin(who);
            assert_eq!(
                app.texts("SELECT body FROM app.rows"),
                [seen],
                "{tenant}, {user}"
            );
            app.run("INSERT INTO app.rows (body) VALUES ('own')");
            assert_eq!(
                app.number("SELECT count(*) FROM app.rows"),
                2,
                "{tenant}, {user}"
            );
            app.fails_inside("INSERT INTO app.rows (owner) VALUES ('9')")
                .code("42501");
            app.run("ROLLBACK");
        }
        if !function.is_empty() {
            let mut app = two.begin("t1/u7");
            app.run("SET LOCAL enable_seqscan = off");
            let plan = app.plan("SELECT * FROM app.rows");
            assert!(
                plan.contains(&format!("tenancy.{function}()")),
                "{user}: {plan}"
            );
        }
    }
    // A partner's user owns nothing in its tenants: its key is another user's there.
    owner.run(
        "SELECT tenancy.create_user('internal', 'staff', external_id => '7', role => 'none');
         SELECT tenancy.assign('internal/staff', 'member', 't1'), tenancy.assign('internal/staff', 'member', 't2')",
    );
    let staff = owner.text("SELECT tenancy.issue_api_key('internal/staff', 'k')");
    let mut app = two.db.app();
    app.begin(&staff);
    assert_eq!(app.texts("SELECT body FROM app.rows"), Vec::<String>::new());
    app.run("SELECT tenancy.select_tenant('t2')");
    assert_eq!(app.texts("SELECT body FROM app.rows"), Vec::<String>::new());
    assert_eq!(app.text("SELECT tenancy.user_key_bigint()"), "NULL");
    app.run("ROLLBACK");
    assert_eq!(
        two.begin("t1/u7").texts("SELECT body FROM app.rows"),
        ["17"]
    );
    // Another key takes effect in open sessions.
    let mut open = two.db.app();
    open.login_session(&two.keys[0].1);
    assert_eq!(open.texts("SELECT body FROM app.rows"), ["17"]);
    owner.run("SELECT tenancy.update_scope('t1/u7', external_id => '9')");
    assert_eq!(open.texts("SELECT body FROM app.rows"), ["19"]);
}

#[test]
fn projects_are_those_of_the_rows_tenant() {
    let two = Two::new();
    let mut owner = two.db.owner();
    // It has project 1 of t1 alone; u7 of t2 the whole of t2.
    owner.run(
        "SELECT tenancy.create_user('internal', 'part', role => 'none'); SELECT tenancy.assign('internal/part', 'member', 't1/p1')",
    );
    let part = owner.text("SELECT tenancy.issue_api_key('internal/part', 'k')");
    for project in [
        "bigint",
        "integer",
        "smallint",
        "numeric(9,0)",
        "varchar(9)",
        "char(3)",
        "app.number",
    ] {
        for tenant in ["bigint", "text"] {
            owner.run(&format!(
                "DROP TABLE IF EXISTS app.rows;
                 CREATE TABLE app.rows (tenant {tenant} NOT NULL, project {project}, body text);
                 SELECT tenancy.protect('app.rows', 'tenant', project_column => 'project')"
            ));
            two.db.admin().run(&format!(
                "INSERT INTO app.rows SELECT t::{tenant}, p::{project}, t || p FROM unnest('{{1,2}}'::text[]) t, unnest('{{1,2}}'::text[]) p"
            ));
            let mut app = two.db.app();
            let all = "SELECT body FROM app.rows ORDER BY 1";
            assert_eq!(app.begin(&part).texts(all), ["11"], "{project}, {tenant}");
            app.run("INSERT INTO app.rows (body) VALUES ('own')");
            assert_eq!(
                app.text("SELECT rtrim(project::text) FROM app.rows WHERE body = 'own'"),
                "1"
            );
            app.fails_inside("INSERT INTO app.rows (project) VALUES ('2')")
                .code("42501");
            app.fails_inside("UPDATE app.rows SET project = '2'")
                .code("42501");
            app.run("ROLLBACK");
            let mut app = two.begin("t2/u7");
            assert_eq!(app.texts(all), ["21", "22"], "{project}, {tenant}");
            app.run("SELECT tenancy.select_project('t2/p2')");
            assert_eq!(app.texts(all), ["22"], "{project}, {tenant}");
            app.fails_inside("INSERT INTO app.rows (project) VALUES ('1')")
                .code("42501");
            app.run("ROLLBACK");
        }
    }
    // Projects of one key in two tenants are two: with both, a tenant must be selected.
    owner.run("SELECT tenancy.assign('internal/part', 'member', 't2/p2')");
    let mut app = two.db.app();
    app.begin(&part);
    app.fails_inside("SELECT body FROM app.rows").code("55000");
    app.run("SELECT tenancy.select_tenant('t2')");
    assert_eq!(app.texts("SELECT body FROM app.rows"), ["22"]);
    app.run("ROLLBACK");
    // Another key takes effect.
    owner.run("SELECT tenancy.update_scope('t2/p2', external_id => '5')");
    let mut app = two.begin("t2/u7");
    app.run("SELECT tenancy.select_project('t2/p2')");
    assert_eq!(app.number("SELECT count(*) FROM app.rows"), 0);
    app.run("ROLLBACK");
    // At once, in an open transaction too: the key is another project's by then.
    let mut app = two.begin("t2/u7");
    app.run("SELECT tenancy.select_project('t2/p1')");
    assert_eq!(app.texts("SELECT body FROM app.rows"), ["21"]);
    owner.run("SELECT tenancy.update_scope('t2/p1', external_id => '6'); SELECT tenancy.update_scope('t2/p2', external_id => '1')");
    assert_eq!(app.number("SELECT count(*) FROM app.rows"), 0);
    assert_eq!(app.text("SELECT tenancy.project_key_text()"), "6");
}
