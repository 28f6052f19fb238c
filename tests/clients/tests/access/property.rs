//! Random trees, roles and assignments: has_permission() and the rows that a caller sees, compared with a reference in plain SQL.
//! An administrator computes the reference from the tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::{Session, World};

const PERMISSIONS: [&str; 12] = [
    "data:read",
    "data:write",
    "notes:read",
    "users:view",
    "roles:manage",
    "tenants:manage",
    "data:*",
    "*:read",
    "notes:*",
    "users:*",
    "*:*",
    "platform:elevate",
];
const ASKED: &str = "data:read,data:write,notes:read,users:view,roles:manage,tenants:manage,platform:elevate,data:*,*:*";

/// The expected answers from the tables alone, without the tested code: `covers`, users' permissions, and the visible rows. In plpgsql,
/// which keeps plans.
const REFERENCE: &str = "
    CREATE SCHEMA reference;
    CREATE FUNCTION reference.covers(held text, wanted text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
        SELECT split_part(held, ':', 1) IN ('*', split_part(wanted, ':', 1)) AND split_part(held, ':', 2) IN ('*', split_part(wanted, ':', 2)) $$;
    -- What users of the platform hold is for managing, not for rows.
    CREATE FUNCTION reference.manages(wanted text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
        SELECT split_part(wanted, ':', 1) IN ('accounting','audit','billing','budgets','identity','keys','partners','platform','projects','roles','tenants','users') $$;
    CREATE VIEW reference.grants AS
        SELECT u.id AS user_id, s.id AS scope_id, s.level, s.path, p AS permission,
               NOT EXISTS (SELECT FROM tenancy.scopes a WHERE a.id = ANY (s.path) AND a.status <> 'active') AS active
        FROM tenancy_internal.role_assignments a JOIN tenancy.scopes u ON u.id = a.user_id JOIN tenancy.scopes s ON s.id = a.scope_id
        JOIN tenancy_internal.role_definitions r ON r.id = a.role_id CROSS JOIN unnest(r.permissions) p
        WHERE (a.expires_at IS NULL OR a.expires_at > now()) AND u.parent_id = ANY (s.path);
    -- Who has one project that can be used, and nothing else, is in that project.
    CREATE FUNCTION reference.narrowed(who uuid) RETURNS uuid LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
        SELECT CASE WHEN bool_and(level = 'project') AND count(DISTINCT scope_id) = 1 THEN min(scope_id::text)::uuid END
        FROM reference.grants WHERE user_id = who AND active); END $$;
    CREATE FUNCTION reference.holds(who uuid, wanted text, scope uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
        SELECT EXISTS (SELECT FROM reference.grants g JOIN tenancy.scopes s ON s.id = scope AND g.scope_id = ANY (s.path)
                       WHERE g.user_id = who AND reference.covers(g.permission, wanted) AND coalesce(reference.narrowed(who) = ANY (s.path), true)
                         AND (EXISTS (SELECT FROM tenancy.scopes u JOIN tenancy.scopes h ON h.id = u.parent_id WHERE u.id = who AND h.level <> 'platform') OR reference.manages(wanted)))); END $$;
    -- A row of a tenant: held at the tenant or above, all of it active. With a project: or in that project. (A row whose project is another
    -- tenant's is visible to users with roles in that project and in one of the row's tenant.)
    CREATE FUNCTION reference.reads(who uuid, wanted text, tenant uuid, project uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
        SELECT EXISTS (SELECT FROM reference.grants g JOIN tenancy.scopes t ON t.id = tenant AND t.level = 'tenant'
                       WHERE g.user_id = who AND g.active AND reference.covers(g.permission, wanted) AND EXISTS (SELECT FROM tenancy.scopes u JOIN tenancy.scopes h ON h.id = u.parent_id WHERE u.id = who AND h.level <> 'platform')
                         AND NOT EXISTS (SELECT FROM tenancy.scopes a WHERE a.id = ANY (t.path) AND a.status <> 'active')
                         AND (g.scope_id = ANY (t.path) OR g.level = 'project' AND g.scope_id = project 
                              AND EXISTS (SELECT FROM reference.grants o WHERE o.user_id = who AND o.active AND o.level = 'project'
                                          AND reference.covers(o.permission, wanted) AND o.path[cardinality(o.path) - 1] = tenant)))); END $$;
    CREATE FUNCTION reference.enters(who uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
        SELECT NOT EXISTS (SELECT FROM tenancy.scopes u JOIN tenancy.scopes a ON a.id = ANY (u.path) WHERE u.id = who AND a.status <> 'active')); END $$;";

/// Three partners of three tenants with two projects each, tables with a row for each scope, roles here and there.
fn build(world: &World, dice: &mut Dice) {
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_partner('p' || n) FROM generate_series(0, 2) n;
         SELECT tenancy.create_tenant('t' || n || m, partner => 'p' || n) FROM generate_series(0, 2) n, generate_series(0, 2) m;
         SELECT tenancy.create_project('t' || n || m, 'j' || k) FROM generate_series(0, 2) n, generate_series(0, 2) m, generate_series(0, 1) k;
         CREATE TABLE app.tasks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, project uuid);
         CREATE TABLE app.memos (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL);
         SELECT tenancy.protect('app.tasks', project_column => 'project');
         SELECT tenancy.protect('app.memos', read_permission => 'notes:read');",
    );
    world.db.admin().run(
        "INSERT INTO app.tasks (tenant_id) SELECT id FROM tenancy.scopes WHERE level <> 'user';
         INSERT INTO app.tasks (tenant_id, project) SELECT tenant_id, id FROM tenancy.projects;
         INSERT INTO app.tasks (tenant_id, project) SELECT t.id, p.id FROM tenancy.tenants t, tenancy.projects p WHERE p.tenant_id <> t.id AND t.slug = 't00';
         INSERT INTO app.memos (tenant_id) SELECT id FROM tenancy.scopes WHERE level <> 'user';",
    );
    let scopes = owner.texts("SELECT id FROM tenancy.scopes WHERE level IN ('platform', 'partner', 'tenant') ORDER BY path, slug");
    for n in 0..12 {
        let held: Vec<&str> = (0..=dice.roll(3)).map(|_| *dice.of(&PERMISSIONS)).collect();
        owner.run(&format!(
            "SELECT tenancy.define_role('{}'::uuid, 'r{n}', '{{{}}}')",
            dice.of(&scopes),
            held.join(",")
        ));
    }
    let parents = owner.texts("SELECT id FROM tenancy.scopes WHERE level IN ('platform', 'partner', 'tenant') ORDER BY path, slug");
    for n in 0..50 {
        owner.run(&format!(
            "SELECT tenancy.create_user('{}'::uuid, 'u{n}', role => 'none')",
            dice.of(&parents)
        ));
    }
}

/// Some assignments of any role that counts at a scope, to users at scopes within their own.
fn assign(world: &World, dice: &mut Dice, count: usize) {
    let mut owner = world.db.owner();
    let possible = owner.texts(
        "SELECT format('%L::uuid, %L, %L::uuid', u.id, r.name, s.id) FROM tenancy.scopes u JOIN tenancy.scopes s ON u.parent_id = ANY (s.path)
         JOIN tenancy.roles r ON EXISTS (SELECT FROM tenancy.scopes d WHERE d.slug = r.scope AND d.level = r.scope_level AND d.id = ANY (s.path))
         WHERE u.level = 'user' AND u.slug ~ '^u[0-9]+$' AND s.level <> 'user'
         ORDER BY u.slug, (SELECT string_agg(a.slug, '/' ORDER BY cardinality(a.path)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)), r.name",
    );
    for _ in 0..count {
        let expires = if dice.roll(5) == 0 {
            ", now() + interval '1 day'"
        } else {
            ""
        };
        owner.run(&format!(
            "SELECT tenancy.assign({}{expires})",
            dice.of(&possible)
        ));
    }
    world.db.admin().run(
        "UPDATE tenancy_internal.role_assignments a SET expires_at = now() - interval '1 second'
         FROM tenancy.scopes u, tenancy.scopes s, tenancy_internal.role_definitions r
         WHERE u.id = a.user_id AND s.id = a.scope_id AND r.id = a.role_id
           AND a.expires_at IS NOT NULL AND abs(hashtext(u.slug || s.slug || r.name)) % 2 = 0",
    );
}

/// Asks as each user in turn, over the one connection, and compares.
fn compare(world: &World, app: &mut Session, note: &str) -> (usize, usize) {
    let mut admin = world.db.admin();
    let users = admin.query("SELECT id, slug, reference.enters(id) FROM tenancy.scopes WHERE level = 'user' AND slug ~ '^u[0-9]+$' ORDER BY slug", &[]).unwrap();
    let (mut held, mut rows) = (0, 0);
    let scopes = admin.texts("SELECT id FROM tenancy.scopes ORDER BY 1");
    for row in users {
        let (id, slug, enters): (uuid::Uuid, String, bool) = (row.get(0), row.get(1), row.get(2));
        let key = world
            .db
            .owner()
            .text(&format!("SELECT tenancy.issue_api_key('{id}'::uuid, 'k')"));
        app.run("BEGIN");
        assert_eq!(app.try_login(&key).is_ok(), enters, "{note}: {slug} enters");
        if !enters {
            app.run("ROLLBACK");
            continue;
        }
        let ask = |function: &str| {
            format!(
                "SELECT p || ' ' || s FROM unnest('{{{ASKED}}}'::text[]) p, unnest('{{{}}}'::uuid[]) s WHERE {function} ORDER BY p COLLATE \"C\", s",
                scopes.join(",")
            )
        };
        let said = app.texts(&ask("tenancy.has_permission(p, s)"));
        assert_eq!(
            said,
            admin.texts(&ask(&format!("reference.holds('{id}', p, s)"))),
            "{note}: {slug} holds"
        );
        held += said.len();
        for (table, permission, project) in [
            ("notes", "data:read", "NULL::uuid"),
            ("memos", "notes:read", "NULL::uuid"),
            ("tasks", "data:read", "project"),
        ] {
            let seen = app.texts(&format!("SELECT id FROM app.{table} ORDER BY id"));
            let expected = admin.texts(&format!("SELECT id FROM app.{table} WHERE reference.reads('{id}', '{permission}', tenant_id, {project}) ORDER BY id"));
            if table != "tasks"
                || !app
                    .texts("SELECT tenancy.project_id() IS NULL")
                    .contains(&"f".to_owned())
            {
                assert_eq!(seen, expected, "{note}: {slug} sees {table}");
            } else {
                // The only project that it has is selected: no row of the tenant that has none.
                assert_eq!(seen, admin.texts(&format!("SELECT id FROM app.tasks WHERE project = '{}' AND reference.reads('{id}', '{permission}', tenant_id, project) ORDER BY id", app.text("SELECT tenancy.project_id()"))), "{note}: {slug} sees its project's tasks");
            }
            rows += seen.len();
        }
        let tenants = format!(
            "SELECT t FROM unnest('{{{}}}'::uuid[]) t WHERE ",
            scopes.join(",")
        );
        assert_eq!(
            app.texts(&format!("{tenants} tenancy.can('data:write', t)")),
            admin.texts(&format!(
                "{tenants} reference.reads('{id}', 'data:write', t, NULL)"
            )),
            "{note}: {slug} writes"
        );
        app.run("COMMIT");
    }
    (held, rows)
}

#[test]
fn fifty_principals_against_a_naive_reference() {
    let world = World::new();
    let mut dice = Dice(20_261_121);
    build(&world, &mut dice);
    world.db.admin().run(REFERENCE);
    let mut app = world.db.app();
    let (mut held, mut rows) = (0, 0);
    for round in 0..4 {
        assign(&world, &mut dice, 40);
        // One connection for all steps: its cached access must follow the tree.
        let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
        match round {
            1 => owner.run("SELECT tenancy.set_status('t00', 'suspended'), tenancy.set_status('p1', 'archived'), tenancy.set_status('t20/j0', 'suspended')"),
            2 => owner.run("SELECT tenancy.set_status('t00', 'active'), tenancy.set_status('p1', 'active'), tenancy.set_status('t20/j0', 'active'), tenancy.move_tenant('t11', 'p2')"),
            3 => admin.run("DELETE FROM tenancy_internal.role_assignments a USING tenancy.scopes u WHERE u.id = a.user_id AND abs(hashtext(u.slug)) % 3 = 0; DELETE FROM tenancy_internal.role_definitions WHERE name IN ('r3', 'r7')"),
            _ => &mut owner,
        };
        let found = compare(&world, &mut app, &format!("round {round}"));
        held += found.0;
        rows += found.1;
    }
    // It was about something.
    assert!(
        held > 2_500 && rows > 250,
        "{held} permissions, {rows} rows"
    );
}
