//! Who may change the trusted providers and what their tokens grant: the partner above the scope, never the tenant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;
use tenancy_client_tests::idp::{Idp, Signer, key_set, now, refused};
use tenancy_client_tests::{Session, World};

/// A session of a user, who has a role at a scope besides its own.
fn session(world: &World, user: &str, role: &str, scope: &str) -> Session {
    if !role.is_empty() {
        world.db.owner().run(&format!(
            "SELECT tenancy.assign('{}', '{role}', '{scope}')",
            world.id(user)
        ));
    }
    let mut app = world.db.app();
    app.login_session(world.key(user));
    app
}

/// Every call that would change something of a provider.
fn changes(idp: &Idp) -> Vec<String> {
    let keys = key_set(&[&Signer::ed("mine", 66)]);
    let issuer = &idp.issuer;
    vec![
        format!("SELECT tenancy.set_identity_keys('{issuer}', '{keys}')"),
        format!(
            "SELECT tenancy.set_identity_keys('{issuer}', secret => 'an example secret of enough bytes')"
        ),
        format!("SELECT tenancy.set_identity_provider_enabled('{issuer}', true)"),
        format!("SELECT tenancy.drop_identity_provider('{issuer}')"),
        format!("SELECT tenancy.map_group('{issuer}', 'staff', 'member')"),
        format!("SELECT tenancy.unmap_group('{issuer}', 'staff', 'member')"),
    ]
}

#[test]
fn a_tenants_admin_changes_no_keys() {
    let world = World::new();
    let mut owner = world.db.owner();
    let own = Idp::new("acme").add(&mut owner, "acme", "");
    let above = Idp::new("globex").add(&mut owner, "globex", "tenant_claim => 'org'");
    let mut alice = session(&world, "alice", "tenant_admin", "acme");
    let mine = Idp::new("mine");
    for scope in ["acme", &world.id("globex").to_string(), "platform"] {
        alice.fails(&mine.adding(scope, ""));
    }
    for idp in [&own, &above] {
        for call in changes(idp) {
            alice.fails(&call).code("42704").says("identity provider");
        }
    }
    assert!(
        alice
            .texts("SELECT issuer FROM tenancy.identity_providers")
            .is_empty()
    );
    assert!(
        alice
            .texts("SELECT issuer FROM tenancy.identity_groups")
            .is_empty()
    );
    // Nor by giving itself the permission.
    alice
        .fails("SELECT tenancy.define_role('acme', 'idp', '{identity:manage}')")
        .code("42501");
}

#[test]
fn a_partners_admin_manages_its_own_fleets_providers() {
    let world = World::new();
    let mut ops = session(&world, "ops", "", "");
    let mut boss = session(&world, "boss", "", "");
    let of_acme = Idp::new("acme").add(&mut ops, "acme", "create_users => true");
    let of_globex = Idp::new("globex").add(&mut ops, "globex", "tenant_claim => 'org'");
    ops.run(&format!(
        "SELECT tenancy.map_group('{}', 'staff', 'member')",
        of_acme.issuer
    ));
    for scope in ["soylent", "hooli"] {
        let scope = world.id(scope).to_string();
        ops.fails(&Idp::new("other").adding(&scope, ""))
            .code("42704");
    }
    ops.fails(&Idp::new("other").adding("platform", ""));
    assert_eq!(
        ops.texts("SELECT scope FROM tenancy.identity_providers ORDER BY 1"),
        ["acme", "globex"]
    );
    assert_eq!(
        ops.texts("SELECT group_name || ' ' || role FROM tenancy.identity_groups"),
        ["staff member"]
    );
    assert!(
        boss.texts("SELECT scope FROM tenancy.identity_providers")
            .is_empty()
    );
    // Another partner's provider gets the same answer as one that does not exist.
    let unknown = Idp::new("unknown");
    for (theirs, nobodys) in changes(&of_globex).iter().zip(changes(&unknown)) {
        let answers = [boss.fails(theirs), boss.fails(&nobodys)];
        let [theirs, nobodys] = answers.map(|failure| {
            failure
                .all
                .replace("globex.example", "x")
                .replace("unknown.example", "x")
        });
        assert_eq!(theirs, nobodys);
    }
    for call in changes(&of_globex).iter().chain(&changes(&of_acme)).take(5) {
        ops.run(&format!("BEGIN; {call}; ROLLBACK"));
    }
    world.db.app().begin(&of_acme.token("zoe")).run("COMMIT");
    // Without a context the application has no rights, and other roles never have any.
    for mut session in [world.db.app(), world.db.gateway(), world.db.stranger()] {
        for call in changes(&of_acme) {
            session.fails(&call);
        }
        session.fails(&unknown.adding("acme", ""));
        session.fails("SELECT tenancy.set_allowed_networks('acme', '{10.0.0.0/8}')");
    }
}

#[test]
fn a_mapping_gives_what_its_maker_holds() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.define_role('platform', 'seer', '{oracle:ask}'), tenancy.define_role('globex', 'clerk', '{data:read, users:view}')");
    let mut ops = session(&world, "ops", "", "");
    let idp = Idp::new("globex").add(
        &mut ops,
        "globex",
        "tenant_claim => 'org', create_users => true",
    );
    let map = |role: &str, scope: &str| {
        format!(
            "SELECT tenancy.map_group('{}', 'staff', '{role}'{})",
            idp.issuer,
            if scope.is_empty() {
                String::new()
            } else {
                format!(", '{scope}'")
            }
        )
    };
    for role in ["super_admin", "seer"] {
        ops.fails(&map(role, "")).code("42501");
        ops.fails(&map(role, "acme")).code("42501");
    }
    ops.fails(&map("nothing", "")).code("42704");
    for elsewhere in ["soylent", "hooli", "platform"] {
        ops.fails(&map("member", &world.id(elsewhere).to_string()))
            .code("42704");
    }
    ops.fails(&map("member", "acme/alice")).code("23514");
    // A role at one tenant is given only to that tenant's users with the group.
    ops.run(&map("clerk", "")).run(&map("manager", "acme"));
    let roles = |tenant: &str| {
        world
            .db
            .app()
            .begin(&idp.token_with("zoe", json!({"org": tenant, "groups": "staff"})))
            .run("COMMIT");
        world.db.admin().texts(&format!(
            "SELECT r.name || '@' || s.slug FROM tenancy_internal.role_assignments a JOIN tenancy_internal.role_definitions r ON r.id = a.role_id \
             JOIN tenancy.scopes s ON s.id = a.scope_id JOIN tenancy.scopes u ON u.id = a.user_id JOIN tenancy.scopes p ON p.id = u.parent_id \
             WHERE u.external_id = 'zoe' AND p.slug = '{tenant}' ORDER BY 1"
        ))
    };
    assert_eq!(roles("acme"), ["clerk@acme", "manager@acme"]);
    assert_eq!(roles("umbrella"), ["clerk@umbrella"]);
    // Dropping a role deletes its mappings.
    ops.run("SELECT tenancy.drop_role('globex', 'clerk')");
    assert_eq!(
        ops.texts("SELECT role FROM tenancy.identity_groups"),
        ["manager"]
    );
}

#[test]
fn a_signer_for_users_must_hold_what_they_hold() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.define_role('globex', 'logins', '{identity:*, tenants:view}'), tenancy.create_user('globex', 'keymaster', role => 'logins')");
    let key = owner.text("SELECT tenancy.issue_api_key('globex/keymaster', 'test')");
    let idp = Idp::new("acme").add(&mut owner, "acme", "");
    let mut keymaster = world.db.app();
    keymaster.login_session(&key);
    // It could be alice, who reads acme's notes.
    keymaster
        .fails(&Idp::new("own").adding("acme", ""))
        .code("42501")
        .says("data:read");
    keymaster
        .fails(&changes(&idp)[0])
        .code("42501")
        .says("data:read");
    // Disabling a provider grants nothing to any user, so its manager may do it.
    keymaster.run(&format!(
        "SELECT tenancy.set_identity_provider_enabled('{}', false)",
        idp.issuer
    ));
}

#[test]
fn a_tenants_admin_sets_its_own_networks() {
    let world = World::new();
    let mut alice = session(&world, "alice", "tenant_admin", "acme");
    alice.run("SELECT tenancy.set_allowed_networks('acme', '{127.0.0.0/8}')");
    assert_eq!(alice.texts("SELECT scope FROM tenancy.networks"), ["acme"]);
    for scope in ["umbrella", "globex", "soylent"] {
        let scope = world.id(scope);
        alice
            .fails(&format!(
                "SELECT tenancy.set_allowed_networks('{scope}', '{{10.0.0.0/8}}')"
            ))
            .code("42704");
    }
    let mut bob = session(&world, "bob", "", "");
    bob.fails("SELECT tenancy.set_allowed_networks('umbrella', '{10.0.0.0/8}')")
        .code("42501");
    assert!(bob.texts("SELECT scope FROM tenancy.networks").is_empty());
}

#[test]
fn a_token_for_a_single_use_is_good_once() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(
        &mut owner,
        "acme",
        "create_users => true, single_use => true",
    );
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    let token = |id: &str| idp.token_with("zoe", json!({"jti": id}));
    let mut app = world.db.app();
    app.begin(&token("1"));
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 3);
    app.run("COMMIT");
    for mut again in [world.db.app(), world.db.app()] {
        refused(&mut again, &token("1"));
    }
    refused(&mut app, &token("1"));
    // Another text with the same id is the same token.
    refused(
        &mut app,
        &idp.token_with("zoe", json!({"jti": "1", "iat": now() - 7})),
    );
    // A token without an id is refused; and a transaction that is rolled back has used its token.
    refused(&mut app, &idp.token("zoe"));
    app.begin(&token("2")).run("ROLLBACK");
    refused(&mut app, &token("2"));
    app.login_session(&token("3"));
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 3);
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 3);
    // Of many concurrent logins, one succeeds.
    let last = token("4");
    let good: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| usize::from(world.db.app().try_login(&last).is_ok())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(good, 1);
}
