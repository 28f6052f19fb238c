//! Attempts to gain rights by the functions that manage: by roles, assignments, keys, moves, other users'
//! functions. Each attempt is made as the application role, in a principal's context, over its own connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

/// The world with an admin (anna), a manager (max) and a keeper of keys (kim) in acme, a partner's user for acme (paul) and a
/// super admin (sue).
fn world() -> World {
    let mut world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_role('acme', 'keyring', '{keys:manage}');
         SELECT tenancy.create_user('acme', 'anna', role => 'tenant_admin'), tenancy.create_user('acme', 'max', role => 'manager'),
                tenancy.create_user('acme', 'kim', role => 'keyring'), tenancy.create_user('globex', 'paul'),
                tenancy.create_user('platform', 'sue', role => 'super_admin');
         SELECT tenancy.assign('globex/paul', 'partner_user', 'acme');
         SELECT tenancy.create_project('acme', 'web'), tenancy.create_project('acme', 'ops-room')",
    );
    for user in ["anna", "max", "kim", "paul", "sue"] {
        let key = owner.text(&format!(
            "SELECT tenancy.issue_api_key(id, 'test') FROM tenancy.users WHERE slug = '{user}'"
        ));
        world.keys.insert(user, key);
    }
    world.learn();
    world
}

const PERMISSIONS: &str = "data:read,data:write,notes:read,tenants:view,tenants:update,tenants:manage,partners:view,partners:manage,users:view,\
    users:manage,roles:view,roles:manage,keys:view,keys:manage,identity:manage,billing:view,audit:view,audit:write,platform:elevate,data:*,*:*";

/// All that a user holds, and all the rows it sees: what must not grow.
fn held(world: &World, user: &str) -> (Vec<String>, i64) {
    let ids: Vec<String> = world.ids.values().map(ToString::to_string).collect();
    let mut app = world.begin(user);
    let mut held = app.texts(&format!(
        "SELECT p || ' ' || s FROM unnest('{{{PERMISSIONS}}}'::text[]) p, unnest('{{{}}}'::uuid[]) s WHERE tenancy.has_permission(p, s)",
        ids.join(",")
    ));
    held.sort();
    let rows = app.number(COUNT);
    (held, rows)
}

/// Runs a call, keeps what it did if it worked.
fn attempt(session: &mut Session, call: &str) -> String {
    session.run("SAVEPOINT attempt");
    match session.batch_execute(call) {
        Ok(()) => {
            session.run("RELEASE attempt");
            "ok".to_owned()
        }
        Err(error) => {
            session.run("ROLLBACK TO attempt");
            error.code().unwrap().code().to_owned()
        }
    }
}

const ROLES: [&str; 8] = [
    "super_admin",
    "partner_admin",
    "partner_user",
    "tenant_admin",
    "manager",
    "member",
    "service",
    "keyring",
];

#[test]
fn no_user_gains_by_assigning_itself_all_that_it_can() {
    let world = world();
    for user in ["alice", "max", "anna", "kim", "paul", "pat", "ops", "boss"] {
        let before = held(&world, user);
        let mut app = world.begin(user);
        for role in ROLES {
            for scope in world.ids.values() {
                attempt(
                    &mut app,
                    &format!(
                        "SELECT tenancy.assign('{}'::uuid, '{role}', '{scope}'::uuid)",
                        world.id(user)
                    ),
                );
            }
        }
        app.run("COMMIT");
        assert_eq!(held(&world, user), before, "{user}");
    }
}

#[test]
fn no_role_has_more_than_its_creator_holds() {
    let world = world();
    let permissions: Vec<&str> = PERMISSIONS.split(',').collect();
    for user in ["alice", "max", "anna", "kim", "paul", "pat", "ops", "boss"] {
        let before = held(&world, user);
        let mut app = world.begin(user);
        for permission in permissions
            .iter()
            .chain(&["*:read", "tenants:*", "*:manage", "data:*"])
        {
            for (slug, scope) in &world.ids {
                let made = attempt(
                    &mut app,
                    &format!(
                        "SELECT tenancy.define_role('{scope}'::uuid, 'made', '{{{permission}}}')"
                    ),
                );
                if made == "ok" {
                    // A user who may define a role may assign it, also to itself.
                    attempt(
                        &mut app,
                        &format!(
                            "SELECT tenancy.assign('{}'::uuid, 'made', '{scope}'::uuid)",
                            world.id(user)
                        ),
                    );
                } else {
                    assert!(
                        ["42501", "42704", "23514"].contains(&made.as_str()),
                        "{user}: {permission} at {slug}: {made}"
                    );
                }
            }
        }
        app.run("COMMIT");
        assert_eq!(held(&world, user), before, "{user}");
    }
}

#[test]
fn wildcards_parents_and_other_peoples_roles() {
    let world = world();
    let (acme, globex) = (world.id("acme"), world.id("globex"));
    world.db.owner().run(
        "SELECT tenancy.define_role('acme', 'strong', '{data:read,tenants:manage}');
         SELECT tenancy.assign('acme/alice', 'strong', 'acme')",
    );
    let mut anna = world.begin("anna");
    for wildcard in [
        "*:*",
        "data:*",
        "*:read",
        "tenants:*",
        "platform:elevate",
        "partners:view",
        "identity:manage",
    ] {
        anna.fails_inside(&format!(
            "SELECT tenancy.define_role('{acme}'::uuid, 'wild', '{{data:read,{wildcard}}}')"
        ))
        .code("42501")
        .says(wildcard);
    }
    for call in [
        "SELECT tenancy.define_role('$'::uuid, 'mine', '{data:read}')",
        "SELECT tenancy.assign('!'::uuid, 'member', '$'::uuid)",
        "SELECT tenancy.drop_role('$'::uuid, 'member')",
    ] {
        let call = call.replace('!', &world.id("anna").to_string());
        for scope in ["globex", "platform", "umbrella", "hooli", "soylent"] {
            anna.fails_inside(&call.replace('$', &world.id(scope).to_string()))
                .code("42704");
        }
    }
    // A role that holds more than she does is not hers to give, to take, to weaken or to drop.
    for call in [
        format!(
            "SELECT tenancy.assign('{}'::uuid, 'strong', '{acme}'::uuid)",
            world.id("anna")
        ),
        format!(
            "SELECT tenancy.unassign('{}'::uuid, 'strong', '{acme}'::uuid)",
            world.id("alice")
        ),
        format!("SELECT tenancy.define_role('{acme}'::uuid, 'strong', '{{data:read}}')"),
        format!("SELECT tenancy.drop_role('{acme}'::uuid, 'strong')"),
        // Nor is who has it.
        format!(
            "SELECT tenancy.issue_api_key('{}'::uuid, 'k')",
            world.id("alice")
        ),
        format!(
            "SELECT tenancy.set_status('{}'::uuid, 'suspended')",
            world.id("alice")
        ),
    ] {
        anna.fails_inside(&call)
            .code("42501")
            .says("tenants:manage");
    }
    // One that she has does not grow in her hands.
    anna.run(&format!(
        "SELECT tenancy.define_role('{acme}'::uuid, 'mine', '{{data:read}}'), tenancy.assign('{}'::uuid, 'mine', '{acme}'::uuid)",
        world.id("anna")
    ));
    anna.fails_inside(&format!(
        "SELECT tenancy.define_role('{acme}'::uuid, 'mine', '{{data:read,tenants:manage}}')"
    ))
    .code("42501");
    // A name of a role above is that role, also where she defines another of that name.
    world
        .db
        .owner()
        .run("SELECT tenancy.define_role('globex', 'crew', '{tenants:manage}')");
    anna.fails_inside(&format!(
        "SELECT tenancy.assign('{}'::uuid, 'crew', '{acme}'::uuid)",
        world.id("anna")
    ))
    .code("42501");
    anna.run(&format!(
        "SELECT tenancy.define_role('{acme}'::uuid, 'crew', '{{data:read}}')"
    ));
    anna.fails_inside(&format!(
        "SELECT tenancy.assign('{}'::uuid, 'crew', '{acme}'::uuid)",
        world.id("anna")
    ))
    .code("42501");
    assert_eq!(
        anna.text(&format!(
            "SELECT tenancy.has_permission('tenants:manage', '{acme}'::uuid)"
        )),
        "f"
    );
    assert_eq!(
        anna.text(&format!(
            "SELECT tenancy.has_permission('data:read', '{globex}'::uuid)"
        )),
        "f"
    );
}

#[test]
fn built_in_roles_cannot_be_changed() {
    let world = world();
    let mut owner = world.db.owner();
    for role in [
        "super_admin",
        "partner_admin",
        "partner_user",
        "tenant_admin",
        "manager",
        "member",
        "service",
    ] {
        for scope in ["platform", "globex", "acme"] {
            owner
                .fails(&format!(
                    "SELECT tenancy.define_role('{scope}', '{role}', '{{*:*}}')"
                ))
                .code("42710");
        }
        owner
            .fails(&format!("SELECT tenancy.drop_role('platform', '{role}')"))
            .code("42501");
        world
            .db
            .admin()
            .fails(&format!(
                "UPDATE tenancy_internal.role_definitions SET permissions = '{{*:*}}' WHERE name = '{role}'"
            ))
            .code("42501");
    }
    let mut sue = world.begin("sue");
    sue.fails_inside("SELECT tenancy.define_role('platform', 'member', '{*:*}')")
        .code("42710");
    sue.fails_inside("SELECT tenancy.drop_role('platform', 'member')")
        .code("42501");
    sue.fails_inside("UPDATE tenancy_internal.role_definitions SET permissions = '{*:*}'")
        .code("42501");
    sue.fails_inside(
        "INSERT INTO tenancy_internal.role_assignments (user_id, role_id, scope_id) SELECT NULL, NULL, NULL",
    )
    .code("42501");
}

#[test]
fn only_callers_above_both_partners_move_a_tenant() {
    let world = world();
    let (acme, hooli, soylent, globex) = (
        world.id("acme"),
        world.id("hooli"),
        world.id("soylent"),
        world.id("globex"),
    );
    for (user, code) in [
        ("alice", "42501"),
        ("anna", "42501"),
        ("max", "42501"),
        ("paul", "42501"),
        ("ops", "42704"),
        ("boss", "42704"),
        ("pat", "42704"),
    ] {
        world
            .begin(user)
            .fails(&format!(
                "SELECT tenancy.move_tenant('{acme}'::uuid, '{hooli}'::uuid)"
            ))
            .code(code);
    }
    // Nor fetched from the other.
    world
        .begin("ops")
        .fails(&format!(
            "SELECT tenancy.move_tenant('{soylent}'::uuid, '{globex}'::uuid)"
        ))
        .code("42704");
    world
        .begin("boss")
        .fails(&format!(
            "SELECT tenancy.move_tenant('{soylent}'::uuid, '{globex}'::uuid)"
        ))
        .code("42704");
    // A user is in what it belongs to for good: there is no way to name another parent.
    for sql in [
        "UPDATE tenancy.users SET parent_id = NULL",
        "UPDATE tenancy.scopes SET parent_id = NULL",
        "INSERT INTO tenancy.users (slug) VALUES ('x')",
    ] {
        assert!(world.begin("anna").batch_execute(sql).is_err(), "{sql}");
    }
}

#[test]
fn a_users_roles_stay_within_what_it_belongs_to() {
    let world = world();
    for (user, scope) in [
        ("alice", "umbrella"),
        ("alice", "globex"),
        ("alice", "platform"),
        ("paul", "soylent"),
        ("paul", "hooli"),
        ("paul", "platform"),
        ("alice", "alice"),
        ("paul", "paul"),
    ] {
        world
            .db
            .owner()
            .fails(&format!(
                "SELECT tenancy.assign('{}'::uuid, 'member', '{}'::uuid)",
                world.id(user),
                world.id(scope)
            ))
            .code("23514");
    }
}

#[test]
fn keys_of_the_mightier_are_not_to_be_had() {
    let world = world();
    let issue = |user: &str| {
        format!(
            "SELECT tenancy.issue_api_key('{}'::uuid, 'mine')",
            world.id(user)
        )
    };
    let mut kim = world.begin("kim");
    for user in ["alice", "anna", "max"] {
        kim.fails_inside(&issue(user)).code("42501");
    }
    for user in ["bob", "ops", "paul", "pat", "sue", "eve"] {
        kim.fails_inside(&issue(user)).code("42704");
    }
    // Her own is as good as the one she has.
    let key = kim.text(&issue("kim"));
    kim.run("COMMIT");
    let mut again = world.db.app();
    again.begin(&key);
    assert_eq!(again.number(COUNT), 0);
    again.fails_inside(&issue("anna")).code("42501");
    let mut anna = world.begin("anna");
    for user in ["bob", "ops", "paul", "pat", "sue", "eve"] {
        anna.fails_inside(&issue(user)).code("42704");
    }
    // What a user was given in part of the tenant, or for a time, counts as well; what has expired might be prolonged.
    world.db.owner().run("SELECT tenancy.create_user('acme', 'dev', role => 'none'), tenancy.create_user('acme', 'old', role => 'none')");
    world
        .db
        .owner()
        .run("SELECT tenancy.assign('acme/dev', 'member', 'acme/web')");
    let mut world = world;
    world.learn();
    let mut kim = world.begin("kim");
    kim.fails_inside(&format!(
        "SELECT tenancy.issue_api_key('{}'::uuid, 'mine')",
        world.id("dev")
    ))
    .code("42501");
    kim.run(&format!(
        "SELECT tenancy.issue_api_key('{}'::uuid, 'mine')",
        world.id("old")
    ));
}

#[test]
fn a_revoked_key_is_worth_nothing_ever_again() {
    let world = world();
    let key = world.another_key("alice");
    let id = world
        .db
        .owner()
        .text("SELECT id FROM tenancy.api_keys WHERE name = 'another'");
    let (mut open, mut pooled) = (world.db.app(), world.db.app());
    open.login_session(&key);
    assert_eq!(open.number(COUNT), 3);
    pooled.begin(&key).run("COMMIT");
    world
        .begin("anna")
        .run(&format!("SELECT tenancy.revoke_api_key('{id}')"))
        .run("COMMIT");
    open.fails(COUNT).code("42501");
    for session in [&mut pooled, &mut world.db.app()] {
        session
            .run("BEGIN")
            .try_login(&key)
            .unwrap_err()
            .code("42501")
            .says("invalid credential");
        session.run("ROLLBACK");
    }
    // Neither she nor the administrator brings it back, and revoking it again does not.
    world
        .begin("anna")
        .run(&format!("SELECT tenancy.revoke_api_key('{id}')"))
        .run("COMMIT");
    world.db.owner().fails(&format!(
        "UPDATE tenancy.api_keys SET revoked_at = NULL WHERE id = '{id}'"
    ));
    world.db.owner().run("SELECT tenancy.set_status('acme/alice', 'suspended'), tenancy.set_status('acme/alice', 'active')");
    world
        .db
        .app()
        .run("BEGIN")
        .try_login(&key)
        .unwrap_err()
        .code("42501");
}

#[test]
fn a_transaction_kept_open_keeps_no_power_over_others() {
    let world = world();
    let mut owner = world.db.owner();
    let issue = format!(
        "SELECT tenancy.issue_api_key('{}'::uuid, 'late')",
        world.id("alice")
    );
    let key = owner.text("SELECT id FROM tenancy.api_keys WHERE user_slug = 'anna'");
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for (take, give, code) in [
            (
                "SELECT tenancy.unassign('acme/anna', 'tenant_admin', 'acme')",
                "SELECT tenancy.assign('acme/anna', 'tenant_admin', 'acme')",
                "42704",
            ),
            (
                "SELECT tenancy.set_status('acme/anna', 'suspended')",
                "SELECT tenancy.set_status('acme/anna', 'active')",
                "42501",
            ),
            (
                "SELECT tenancy.set_status('globex', 'suspended')",
                "SELECT tenancy.set_status('globex', 'active')",
                "42501",
            ),
        ] {
            let mut anna = world.db.app();
            anna.run(&format!("BEGIN ISOLATION LEVEL {level}"))
                .login(world.key("anna"));
            anna.run(&issue);
            owner.run(take);
            anna.fails(&issue).code(code);
            owner.run(give);
        }
    }
    let mut anna = world.begin("anna");
    anna.run(&issue);
    owner.run(&format!("SELECT tenancy.revoke_api_key('{key}')"));
    anna.fails(&issue).code("42501");
}

#[test]
fn what_was_narrowed_manages_nothing_else() {
    let world = world();
    let ids = |slug: &str| world.id(slug);
    let calls = |there: &str| {
        [
            format!(
                "SELECT tenancy.set_status('{}'::uuid, 'suspended')",
                ids(there)
            ),
            format!(
                "SELECT tenancy.update_scope('{}'::uuid, name => 'x')",
                ids(there)
            ),
            format!("SELECT tenancy.create_user('{}'::uuid, 'x')", ids(there)),
            format!(
                "SELECT tenancy.define_role('{}'::uuid, 'x', '{{data:read}}')",
                ids(there)
            ),
            format!(
                "SELECT tenancy.assign('{}'::uuid, 'partner_admin', '{}'::uuid)",
                ids("ops"),
                ids(there)
            ),
            format!(
                "SELECT tenancy.set_allowed_networks('{}'::uuid, '{{}}')",
                ids(there)
            ),
        ]
    };
    let ticket = world.db.gateway().text(&format!(
        "SELECT tenancy.issue_ticket('{}', '5 minutes', tenant => '{}'::uuid)",
        ids("ops"),
        ids("acme")
    ));
    let mut selected = world.begin("ops");
    selected.run("SELECT tenancy.select_tenant('acme')");
    let mut by_ticket = world.db.app();
    by_ticket.run(&format!("SET tenancy.ticket = '{ticket}'; BEGIN"));
    let mut authenticated = world.db.app();
    authenticated.begin(&ticket);
    for session in [&mut selected, &mut by_ticket, &mut authenticated] {
        for there in ["umbrella", "globex", "platform", "hooli", "soylent"] {
            for call in calls(there) {
                session.fails_inside(&call).code("42704");
            }
        }
        session
            .fails_inside(&format!(
                "SELECT tenancy.create_tenant('x', partner => '{}'::uuid)",
                ids("globex")
            ))
            .code("42704");
        // A key of its own would outlive the ticket and reach the whole fleet.
        session
            .fails_inside(&format!(
                "SELECT tenancy.issue_api_key('{}'::uuid, 'x')",
                ids("ops")
            ))
            .code("42704");
        assert_eq!(session.texts("SELECT slug FROM tenancy.tenants"), ["acme"]);
        // In its tenant it does what it may.
        assert_eq!(
            attempt(
                session,
                &format!(
                    "SELECT tenancy.update_scope('{}'::uuid, name => 'x')",
                    ids("acme")
                )
            ),
            "ok"
        );
        session.run("ROLLBACK");
    }
    // A project is narrower than its tenant.
    let mut project = world.begin("ops");
    project.run("SELECT tenancy.select_project('acme/web')");
    for call in calls("acme").iter().chain(&calls("ops-room")) {
        let code = project.fails_inside(call).code;
        assert_eq!(code, "42704", "{call}");
    }
}

#[test]
fn a_definers_rights_are_its_owners_to_lend() {
    let world = world();
    // A sign-up function owned by an administrator can create a tenant for callers without a context.
    world.db.owner().run(
        "CREATE FUNCTION app.sign_up(slug text) RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
             BEGIN ATOMIC SELECT tenancy.create_tenant(slug); END;
         CREATE FUNCTION app.take_over(who uuid) RETURNS text LANGUAGE sql SECURITY INVOKER SET search_path = pg_catalog
             BEGIN ATOMIC SELECT tenancy.issue_api_key(who, 'x'); END;
         GRANT EXECUTE ON FUNCTION app.sign_up(text), app.take_over(uuid) TO tenancy_app",
    );
    let mut app = world.db.app();
    app.run("SELECT app.sign_up('fresh')");
    app.fails("SELECT tenancy.create_tenant('stale')")
        .code("55000");
    app.fails(&format!("SELECT app.take_over('{}')", world.id("alice")))
        .code("55000");
    // A caller with a context needs its own permissions, whichever role owns the function.
    for user in ["alice", "anna", "ops"] {
        world
            .begin(user)
            .fails("SELECT app.sign_up('other')")
            .code("42704");
    }
    // A function whose owner is no administrator lends no rights.
    world.db.admin().run(&format!(
        "CREATE ROLE {0}_plain IN ROLE tenancy_app;
         CREATE FUNCTION app.sign_up_too(slug text) RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
             BEGIN ATOMIC SELECT tenancy.create_tenant(slug); END;
         ALTER FUNCTION app.sign_up_too(text) OWNER TO {0}_plain;
         GRANT EXECUTE ON FUNCTION app.sign_up_too(text) TO tenancy_app",
        world.db.name
    ));
    app.fails("SELECT app.sign_up_too('third')").code("55000");
    // Behind it the administrator's own calls are an administrator's, and not the caller's.
    assert_eq!(
        world.db.admin().texts(
            "SELECT slug FROM tenancy.tenants WHERE slug IN ('fresh', 'stale', 'other', 'third')"
        ),
        ["fresh"]
    );
    world.db.admin().run(&format!(
        "DROP FUNCTION app.sign_up_too(text); DROP ROLE {}_plain",
        world.db.name
    ));
}

#[test]
fn the_path_and_temporary_objects_change_no_answer() {
    let world = world();
    let mut alice = world.begin("alice");
    alice.run(
        "CREATE TEMP TABLE role_assignments (user_id uuid); CREATE TEMP TABLE scopes (id uuid);
         CREATE FUNCTION pg_temp._authorize(text, uuid) RETURNS void LANGUAGE sql RETURN NULL;
         CREATE FUNCTION pg_temp.coalesce_one(text, uuid) RETURNS void LANGUAGE sql RETURN NULL;
         CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql RETURN 'infinity'::timestamptz;
         CREATE FUNCTION pg_temp.array_agg(text) RETURNS text[] LANGUAGE sql RETURN NULL::text[];
         SET LOCAL search_path = pg_temp, tenancy, pg_catalog",
    );
    for call in [
        format!(
            "SELECT tenancy.assign('{}'::uuid, 'tenant_admin', '{}'::uuid)",
            world.id("alice"),
            world.id("acme")
        ),
        format!(
            "SELECT tenancy.set_status('{}'::uuid, 'suspended')",
            world.id("acme")
        ),
        format!(
            "SELECT tenancy.issue_api_key('{}'::uuid, 'x')",
            world.id("anna")
        ),
    ] {
        alice.fails_inside(&call).code("42501");
    }
    for call in [
        "SELECT tenancy_internal.authorize('*:*', NULL)",
        "SELECT tenancy_internal.create_tenant('x', NULL, NULL::uuid, NULL, '{}', 'active')",
        "SELECT tenancy_internal.make_api_key(NULL, 'x', NULL, NULL)",
    ] {
        alice
            .fails_inside(call)
            .code("42501")
            .says("permission denied for schema tenancy_internal");
    }
}
