//! protect() only ever removes access, and creates no dependency of a table on tenancy's own tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

// F2: a foreign key's check runs as the owner of the referenced table, and casts as the referencing column's type says.
#[test]
fn no_role_may_put_a_foreign_key_or_a_trigger_on_tenancys_tables() {
    let world = World::new();
    let granted = world.db.admin().texts(
        "SELECT DISTINCT concat_ws(' ', a.grantee::regrole, a.privilege_type, c.oid::regclass)
         FROM pg_class c CROSS JOIN LATERAL (
             SELECT c.relacl AS acl UNION ALL
             SELECT t.attacl FROM pg_attribute t WHERE t.attrelid = c.oid AND NOT t.attisdropped
         ) s, aclexplode(s.acl) a
         WHERE c.relnamespace::regnamespace::text LIKE 'tenancy%' AND a.grantee <> c.relowner
           AND a.privilege_type IN ('REFERENCES', 'TRIGGER', 'TRUNCATE')",
    );
    assert!(granted.is_empty(), "{granted:?}");
    let mut owner = world.db.owner();
    for sql in [
        "CREATE TABLE app.x (ref uuid REFERENCES tenancy.scopes (id))",
        "ALTER TABLE app.notes ADD FOREIGN KEY (tenant_id) REFERENCES tenancy.scopes (id)",
        "CREATE TYPE app.evil AS (t text); CREATE TABLE app.x (ref app.evil REFERENCES tenancy.scopes (id))",
        "CREATE TABLE app.x (ref uuid REFERENCES tenancy_internal.role_definitions (id))",
        "CREATE TRIGGER t AFTER INSERT ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ] {
        owner.run("BEGIN; SELECT tenancy.maintenance('test')");
        owner.fails(sql).code("42501");
        owner.run("ROLLBACK");
    }
}

/// Schema tools read keys to schemas that they do not know as a fault (Prisma's P4002), or drop them.
#[test]
fn schema_tools_see_no_key_that_leads_to_tenancy() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "CREATE TABLE app.docs (id int PRIMARY KEY, tenant_id uuid, author uuid, project uuid);
         CREATE TABLE app.parts (tenant_id uuid, at int) PARTITION BY LIST (at);
         CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES IN (1);
         SELECT tenancy.protect('app.docs', owner_column => 'author', project_column => 'project');
         SELECT tenancy.protect('app.parts');
         CREATE TABLE app.parts_2 PARTITION OF app.parts FOR VALUES IN (2)",
    );
    assert_eq!(
        owner.number("SELECT count(*) FROM information_schema.referential_constraints WHERE constraint_schema = 'app'"),
        0
    );
    // So an insert fires no trigger that checks a key.
    assert_eq!(
        owner.number("SELECT count(*) FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'app'::regnamespace)"),
        0
    );
    let mut app = world.begin("alice");
    let plan: Vec<String> = app
        .query(
            "EXPLAIN (ANALYZE, COSTS OFF) INSERT INTO app.docs (id) VALUES (1)",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(!plan.join("\n").contains("Trigger"), "{plan:?}");
}

#[test]
fn a_foreign_key_to_scopes_that_is_there_is_advised_away() {
    let world = World::bare();
    world.db.admin().run(&format!(
        "CREATE TABLE app.old (id int, tenant_id uuid REFERENCES tenancy.scopes (id), by uuid CONSTRAINT old_by REFERENCES tenancy.scopes (id));
         ALTER TABLE app.old OWNER TO {}",
        world.db.owner
    ));
    let mut owner = world.db.owner();
    let advice = "SELECT statement FROM tenancy.protect('app.old') WHERE kind = 'advice' AND statement LIKE '%CONSTRAINT%' ORDER BY step";
    assert_eq!(
        owner.texts(advice),
        [
            "ALTER TABLE app.old DROP CONSTRAINT old_by",
            "ALTER TABLE app.old DROP CONSTRAINT old_tenant_id_fkey"
        ]
    );
    for statement in owner.texts(advice) {
        owner.run(&statement);
    }
    assert!(owner.texts(advice).is_empty());
}

/// A table whose own policies and column grants say who sees and changes what; three rows of acme, two of umbrella.
const POSTS: &str = "
    CREATE TABLE app.posts (id int PRIMARY KEY, tenant_id uuid NOT NULL, author text, body text, salary int, draft bool, deleted bool);
    REVOKE ALL ON app.posts FROM tenancy_app;
    ALTER TABLE app.posts ENABLE ROW LEVEL SECURITY;
    CREATE POLICY reads ON app.posts FOR SELECT USING (NOT deleted AND (NOT draft OR author = current_setting('app.author', true)));
    CREATE POLICY changes ON app.posts FOR UPDATE USING (author = current_setting('app.author', true));
    GRANT SELECT (id, tenant_id, author, body, draft, deleted), UPDATE (body), DELETE, INSERT ON app.posts TO tenancy_app";

fn posts(world: &World) {
    world.db.owner().run(POSTS);
    let (acme, umbrella) = (world.id("acme"), world.id("umbrella"));
    world.db.admin().run(&format!(
        "INSERT INTO app.posts VALUES (1, '{acme}', 'ann', 'open', 100, false, false), (2, '{acme}', 'ben', 'a draft', 200, true, false),
                                      (3, '{acme}', 'ann', 'gone', 300, false, true), (4, '{umbrella}', 'bob', 'theirs', 400, false, false),
                                      (5, '{umbrella}', 'ann', 'her draft', 500, true, false)"
    ));
}

/// All that a role may do to a table, as the catalogs say it.
const RIGHTS: &str = "SELECT string_agg(x, chr(10) ORDER BY x) FROM (
    SELECT concat_ws(' ', c.relname, a.grantee::regrole, a.privilege_type) x FROM pg_class c, aclexplode(c.relacl) a
        WHERE relnamespace = 'app'::regnamespace AND a.grantee <> c.relowner AND a.privilege_type NOT IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')
    UNION ALL SELECT concat_ws(' ', c.relname, t.attname, a.grantee::regrole, a.privilege_type) FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
        WHERE relnamespace = 'app'::regnamespace
    UNION ALL SELECT concat_ws(' ', n.nspname, a.grantee, a.privilege_type) FROM pg_namespace n, aclexplode(n.nspacl) a WHERE nspname = 'app'
    UNION ALL SELECT 'none') s";

/// Returns what a session of the application can do with the posts of acme.
fn what_ann_can(app: &mut Session) -> Vec<String> {
    let mut out = vec![
        format!("{:?}", app.texts("SELECT id FROM app.posts WHERE tenant_id = (SELECT min(tenant_id::text)::uuid FROM app.posts WHERE id = 1) ORDER BY id")),
        app.touched("UPDATE app.posts SET body = body || '!' WHERE id = 1").to_string(),
        app.touched("UPDATE app.posts SET body = 'mine now' WHERE id = 2").to_string(),
        app.touched("DELETE FROM app.posts WHERE id = 1").to_string(),
    ];
    for sql in [
        "SELECT salary FROM app.posts",
        "SELECT * FROM app.posts",
        "UPDATE app.posts SET author = 'ann'",
        "UPDATE app.posts SET salary = 0",
        "TRUNCATE app.posts",
        "INSERT INTO app.posts (id, tenant_id, author) SELECT 9, min(tenant_id::text)::uuid, 'ann' FROM app.posts WHERE id = 1",
    ] {
        out.push(app.fails_inside(sql).code);
    }
    out
}

// F43, as it was found.
#[test]
fn a_tables_own_policies_and_column_grants_narrow_as_before() {
    let world = World::bare();
    posts(&world);
    let rights = world.db.admin().text(RIGHTS);
    let mut before = world.db.app();
    before.run("BEGIN; SET LOCAL app.author = 'ann'");
    let could = what_ann_can(&mut before);
    before.run("ROLLBACK");
    assert_eq!(
        could,
        [
            "[\"1\"]", "1", "0", "0", "42501", "42501", "42501", "42501", "42501", "42501"
        ]
    );
    let mut owner = world.db.owner();
    for _ in 0..2 {
        let steps = owner.texts(
            "SELECT concat_ws(' ', kind, statement, note) FROM tenancy.protect('app.posts')",
        );
        assert!(
            !steps.iter().any(|s| s.contains("DROP POLICY")),
            "{steps:?}"
        );
        let mut app = world.begin("alice");
        app.run("SET LOCAL app.author = 'ann'");
        assert_eq!(what_ann_can(&mut app), could);
        app.run("ROLLBACK");
        assert_eq!(world.db.admin().text(RIGHTS), rights);
    }
    // Of another tenant she sees nothing, whatever the table's own policies say.
    assert_eq!(world.begin("bob").texts("SELECT id FROM app.posts"), ["4"]);
    assert_eq!(
        owner.text("SELECT isolated FROM tenancy.protected_tables"),
        "t"
    );
    // The owner was exempt from the policies, and is so where it sees all tenants' rows.
    owner.run("BEGIN; SELECT tenancy.maintenance('count')");
    assert_eq!(owner.number("SELECT count(*) FROM app.posts"), 5);
    owner.run("COMMIT");
    owner.run("SELECT tenancy.unprotect('app.posts')");
    assert_eq!(
        owner.texts("SELECT policyname FROM pg_policies WHERE tablename = 'posts' ORDER BY 1"),
        ["changes", "reads"]
    );
    assert_eq!(world.db.admin().text(RIGHTS), rights);
}

#[test]
fn what_was_revoked_is_never_granted_again() {
    let world = World::bare();
    let app = world.db.app.clone();
    let mut owner = world.db.owner();
    owner.run(&format!(
        "CREATE SCHEMA other; CREATE TABLE other.t (id serial, tenant_id uuid, body text); REVOKE ALL ON other.t FROM tenancy_app;
         REVOKE USAGE ON SCHEMA other FROM tenancy_app; REVOKE USAGE ON SEQUENCE other.t_id_seq FROM tenancy_app;
         GRANT TRUNCATE, SELECT ON other.t TO {0}; GRANT TRIGGER ON other.t TO {0}",
        world.db.stranger
    ));
    let held = || {
        world.db.admin().text(&format!(
            "SELECT concat_ws(' ', (SELECT string_agg(p, ',') FROM unnest('{{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}}'::text[]) p WHERE has_table_privilege('{app}', 'other.t', p)),
                    has_schema_privilege('{app}', 'other', 'USAGE'), has_sequence_privilege('{app}', 'other.t_id_seq', 'USAGE'))"
        ))
    };
    owner.run("SELECT tenancy.protect('other.t')");
    assert_eq!(held(), "f f");
    owner
        .fails("SELECT tenancy.protect('other.t', grants => '{nobody_of_this_name}')")
        .code("42704");
    owner
        .fails("SELECT tenancy.protect('other.t', grants => '{public}')")
        .code("42704");
    let asked = format!("SELECT tenancy.protect('other.t', grants => '{{{app}}}')");
    owner.run(&asked);
    assert_eq!(held(), "SELECT,INSERT,UPDATE,DELETE t t");
    assert_eq!(
        world
            .begin("alice")
            .touched("INSERT INTO other.t (body) VALUES ('x')"),
        1
    );
    owner.run(&format!(
        "REVOKE DELETE ON other.t FROM {app}; REVOKE USAGE ON SEQUENCE other.t_id_seq FROM {app}"
    ));
    for sql in [asked.as_str(), "SELECT tenancy.protect('other.t')"] {
        owner.run(sql);
        assert_eq!(held(), "SELECT,INSERT,UPDATE t f");
    }
    // unprotect() revokes its grants, and grants TRUNCATE again to roles that still have rights, not to those that lost them.
    owner.run(&format!(
        "REVOKE SELECT ON other.t FROM {}",
        world.db.stranger
    ));
    owner.run("SELECT tenancy.unprotect('other.t')");
    assert_eq!(held(), "f f");
    let stranger = world.db.stranger.clone();
    let truncate = format!("SELECT has_table_privilege('{stranger}', 'other.t', 'TRUNCATE')");
    assert_eq!(world.db.admin().text(&truncate), "f");
    owner.run(&format!(
        "GRANT TRUNCATE, SELECT ON other.t TO {stranger}; SELECT tenancy.protect('other.t')"
    ));
    assert_eq!(world.db.admin().text(&truncate), "f");
    owner.run("SELECT tenancy.unprotect('other.t')");
    assert_eq!(world.db.admin().text(&truncate), "t");
}

#[test]
fn row_security_without_a_policy_stays_closed_until_it_is_opened() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.shut (id int, tenant_id uuid); ALTER TABLE app.shut ENABLE ROW LEVEL SECURITY");
    world.fill("app.shut", "n, t.id");
    let advice =
        owner.texts("SELECT statement FROM tenancy.protect('app.shut') WHERE kind = 'advice'");
    assert_eq!(
        advice,
        ["CREATE POLICY tenant_rows ON app.shut USING (true)"]
    );
    let count = "SELECT count(*) FROM app.shut";
    let mut app = world.begin("alice");
    assert_eq!(app.number(count), 0);
    app.fails_inside("INSERT INTO app.shut (id) VALUES (1)")
        .code("42501");
    app.run("ROLLBACK");
    owner.run("BEGIN; SELECT tenancy.maintenance('open it')");
    assert_eq!(owner.number(count), 15);
    owner.run(&advice[0]).run("COMMIT");
    assert_eq!(world.begin("alice").number(count), 3);
    owner.run("BEGIN; SELECT tenancy.maintenance('close it'); DROP POLICY tenant_rows ON app.shut; COMMIT");
    assert_eq!(world.begin("alice").number(count), 0);
}

#[test]
fn tenancys_permissive_policy_follows_the_applications() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.parts (id int, tenant_id uuid) PARTITION BY LIST (id); CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES IN (1, 2, 3);
               SELECT tenancy.protect('app.parts')");
    world.fill("app.parts", "least(n, 3), t.id");
    let policies = |table: &str| {
        world.db.admin().text(&format!(
            "SELECT string_agg(policyname || ':' || array_to_string(roles, '+'), ' ' ORDER BY policyname) FROM pg_policies
             WHERE tablename = '{table}' AND permissive = 'PERMISSIVE'"
        ))
    };
    let sees = |table: &str| {
        world
            .begin("alice")
            .number(&format!("SELECT count(*) FROM {table}"))
    };
    let mut change = |sql: &str| {
        owner
            .run("BEGIN; SELECT tenancy.maintenance('policies')")
            .run(sql)
            .run("COMMIT");
    };
    let me = &world.db.owner;
    for (table, all, own) in [("notes", 3, "body LIKE '% 2'"), ("parts", 3, "id = 1")] {
        let name = format!("app.{table}");
        assert_eq!(policies(table), "tenancy_access:public");
        assert_eq!(sees(&name), all);
        change(&format!("CREATE POLICY first ON {name} USING ({own})"));
        assert_eq!(policies(table), format!("first:public tenancy_owner:{me}"));
        assert_eq!(sees(&name), 1);
        // For a role of its own it narrows that role; the others have none any more.
        change(&format!(
            "CREATE POLICY second ON {name} TO {} USING (true); DROP POLICY first ON {name}",
            world.db.stranger
        ));
        assert_eq!(sees(&name), 0);
        change(&format!("DROP POLICY second ON {name}"));
        assert_eq!(policies(table), "tenancy_access:public");
        assert_eq!(sees(&name), all);
    }
    // A restrictive policy lets nothing through by itself.
    change("CREATE POLICY narrow ON app.notes AS RESTRICTIVE USING (body LIKE '% 1')");
    assert_eq!(policies("notes"), "tenancy_access:public");
    assert_eq!(sees("app.notes"), 1);
}

// F42: the application's own role owns the tables.
/// Every statement that gives a table to another owner, or drops the application's policies.
#[test]
fn tenancys_permissive_policy_follows_owners_and_dropped_roles() {
    let world = World::new();
    let (mut admin, mut owner) = (world.db.admin(), world.db.owner());
    let (me, guest) = (world.db.owner.as_str(), world.db.stranger.as_str());
    let heir = format!("{me}_heir");
    let policies = || {
        world.db.admin().text(
            "SELECT coalesce(string_agg(policyname || ':' || array_to_string(roles, '+'), ' ' ORDER BY policyname), '') FROM pg_policies
             WHERE tablename = 'notes' AND permissive = 'PERMISSIVE'",
        )
    };
    admin.run(&format!(
        "CREATE ROLE {heir}; GRANT {heir} TO {me}; GRANT ALL ON SCHEMA app TO {heir}; CREATE PROCEDURE app.run(sql text) LANGUAGE plpgsql AS 'BEGIN EXECUTE sql; END';
         CREATE POLICY first ON app.notes USING (true)"
    ));
    for (sql, now) in [
        (
            format!("ALTER TABLE app.notes OWNER TO {heir}"),
            heir.as_str(),
        ),
        (format!("REASSIGN OWNED BY {heir} TO {me}"), me),
        (
            format!("DO $$ BEGIN ALTER TABLE app.notes OWNER TO {heir}; END $$"),
            &heir,
        ),
        (
            format!("CALL app.run('REASSIGN OWNED BY {heir} TO {me}')"),
            me,
        ),
        (
            format!(
                "BEGIN; REASSIGN OWNED BY {me} TO {heir}; REASSIGN OWNED BY {heir} TO {me}; COMMIT"
            ),
            me,
        ),
    ] {
        admin.run(&sql);
        assert_eq!(
            policies(),
            format!("first:public tenancy_owner:{now}"),
            "{sql}"
        );
    }
    admin.run(&format!("GRANT ALL ON SCHEMA app TO {heir}"));
    // The owner's own REASSIGN OWNED, among the roles that it is a member of.
    owner.run(&format!(
        "ALTER TABLE app.notes OWNER TO {heir}; REASSIGN OWNED BY {heir} TO {me}"
    ));
    assert_eq!(policies(), format!("first:public tenancy_owner:{me}"));
    admin.run("DROP POLICY first ON app.notes");
    assert_eq!(policies(), "tenancy_access:public");
    for (sql, dropped) in [
        (
            format!("CREATE POLICY guests ON app.notes TO {guest} USING (true)"),
            true,
        ),
        (
            format!("CREATE POLICY guests ON app.notes TO {guest}, {heir} USING (true)"),
            false,
        ),
    ] {
        admin.run(&sql);
        admin.run(&format!("DROP OWNED BY {guest}"));
        let expected = if dropped {
            "tenancy_access:public".to_owned()
        } else {
            format!("guests:{heir} tenancy_owner:{me}")
        };
        assert_eq!(policies(), expected, "{sql}");
    }
    admin.run("DROP POLICY guests ON app.notes");
    // PostgreSQL removes no role from a policy of another owner's table.
    admin.run(&format!(
        "CREATE POLICY guests ON app.notes TO {guest} USING (true)"
    ));
    world.db.stranger().run(&format!("DROP OWNED BY {guest}"));
    assert_eq!(policies(), format!("guests:{guest} tenancy_owner:{me}"));
    assert_eq!(
        admin.text("SELECT isolated FROM tenancy.protected_tables"),
        "t"
    );
    admin.run(&format!("DROP OWNED BY {heir}; DROP ROLE {heir}"));
}

#[test]
fn advice_on_a_shared_owner_comes_first_and_separates_it() {
    let world = World::bare();
    let app = world.db.app.clone();
    let mut admin = world.db.admin();
    admin.run(&format!(
        "CREATE TABLE app.mine (id serial, tenant_id uuid); ALTER TABLE app.mine OWNER TO {app}"
    ));
    let first = admin.text("SELECT concat_ws('|', kind, note) FROM tenancy.protect('app.mine', dry_run => true) WHERE step = 1");
    assert!(first.starts_with("advice|WARNING"), "{first}");
    let script = admin.text("SELECT statement FROM tenancy.protect('app.mine') WHERE step = 1");
    admin.run(&script);
    assert_eq!(
        admin.text("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'"),
        format!("{app}_owner")
    );
    let mut session = world.begin("alice");
    assert_eq!(session.touched("INSERT INTO app.mine DEFAULT VALUES"), 1);
    session
        .fails_inside("ALTER TABLE app.mine DISABLE ROW LEVEL SECURITY")
        .code("42501");
    session.run("COMMIT");
    let told =
        admin.texts("SELECT note FROM tenancy.protect('app.mine') WHERE note LIKE 'WARNING%'");
    assert!(told.is_empty(), "{told:?}");
    // A member of the owner is reported too.
    admin.run(&format!("GRANT {app}_owner TO {app}"));
    let script = admin.text("SELECT statement FROM tenancy.protect('app.mine') WHERE step = 1");
    admin.run(&script);
    let told =
        admin.texts("SELECT note FROM tenancy.protect('app.mine') WHERE note LIKE 'WARNING%'");
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(
        world.begin("alice").number("SELECT count(*) FROM app.mine"),
        1
    );
    admin.run(&format!(
        "DROP OWNED BY {app}_owner CASCADE; DROP ROLE {app}_owner"
    ));
}

#[test]
fn unknown_keys_finds_rows_whose_key_no_tenant_has() {
    let world = World::bare();
    let mut owner = world.db.owner();
    let mut admin = world.db.admin();
    let acme = world.id("acme");
    owner.run("CREATE TABLE app.ids (tenant_id uuid NOT NULL, at int) PARTITION BY LIST (at); CREATE TABLE app.ids_1 PARTITION OF app.ids FOR VALUES IN (1); CREATE TABLE app.ids_2 PARTITION OF app.ids DEFAULT;
               CREATE TABLE app.numbers (account bigint NOT NULL); CREATE TABLE app.small (account int NOT NULL); CREATE TABLE app.words (account text NOT NULL, body text);
               CREATE TABLE app.short (account varchar NOT NULL)");
    let lost = "0190aaaa-0000-7000-8000-00000000dead";
    admin.run(&format!(
        "INSERT INTO app.ids SELECT v::uuid, n FROM generate_series(1, 3) n, unnest(ARRAY['{acme}', '{lost}', '{}']) v;
         INSERT INTO app.numbers VALUES (42), (42), (77), (-1); INSERT INTO app.small VALUES (42), (77);
         INSERT INTO app.words SELECT v, 'x' FROM unnest(ARRAY['42', '042', '', repeat('long ', 1000), '{acme}']) v; INSERT INTO app.short VALUES ('43'), ('44 ')",
        world.id("globex")
    ));
    let mut told = |call: &str| {
        owner
            .texts(&format!(
                "SELECT note FROM tenancy.protect({call}) WHERE kind = 'advice'"
            ))
            .join("|")
    };
    // A partner's rows are seen in tables with shared rows only.
    assert!(told("'app.ids', shared => true, dry_run => true").contains(": 3, with 1 "));
    assert!(told("'app.ids'").contains(": 6, with 2 "));
    // Once: a later call reads no table.
    assert_eq!(told("'app.ids'"), "");
    assert!(told("'app.numbers', 'account'").contains(": 2, with 2 "));
    assert!(told("'app.small', 'account'").contains(": 1, with 1 "));
    assert!(told("'app.words', 'account'").contains(": 4, with 4 "));
    assert!(told("'app.short', 'account'").contains(": 1, with 1 "));
    let mut owner = world.db.owner();
    let mut unknown = |table: &str| {
        owner.texts(&format!("SELECT concat_ws('=', left(key, 40), rows) FROM tenancy.unknown_keys('{table}') ORDER BY key COLLATE \"C\""))
    };
    let mut both = vec![format!("{lost}=3"), format!("{}=3", world.id("globex"))];
    both.sort();
    assert_eq!(unknown("app.ids"), both);
    assert_eq!(unknown("app.ids_1").len(), 2);
    assert_eq!(unknown("app.numbers"), ["-1=1", "77=1"]);
    assert_eq!(unknown("app.small"), ["77=1"]);
    assert_eq!(unknown("app.short"), ["44 =1"]);
    assert_eq!(unknown("app.words").len(), 4);
    // It is in the audit log, and its answer changes with the tree.
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.unknown_keys' AND target = 'app.small'"),
        1
    );
    admin.run("SELECT tenancy.create_tenant('late', partner => 'globex', external_id => '77')");
    assert_eq!(unknown("app.small"), [""; 0]);
    // It is for administrators who own the table or may read it.
    world
        .db
        .app()
        .fails("SELECT * FROM tenancy.unknown_keys('app.small')")
        .code("42501");
    admin.run(&format!(
        "GRANT tenancy_admin TO {0}; GRANT USAGE ON SCHEMA app TO {0}",
        world.db.stranger
    ));
    let mut stranger = world.db.stranger();
    stranger
        .fails("SELECT * FROM tenancy.unknown_keys('app.numbers')")
        .code("42501");
    admin.run(&format!(
        "GRANT SELECT ON app.numbers TO {}",
        world.db.stranger
    ));
    assert_eq!(
        stranger.number("SELECT count(*) FROM tenancy.unknown_keys('app.numbers')"),
        1
    );
    admin.run("CREATE TABLE app.other (id int)");
    admin
        .fails("SELECT * FROM tenancy.unknown_keys('app.other')")
        .code("42704");
}
