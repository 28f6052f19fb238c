//! Logging in with an identity provider's token: which user is found or created, and what its groups grant and revoke.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Barrier;

use postgres::types::Type;
use serde_json::json;
use tenancy_client_tests::idp::{Idp, Signer, key_set, now, refused};
use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";
const WROTE: &str = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";

/// Returns the users with this external id, as parent/slug/name.
fn users(world: &World, external_id: &str) -> Vec<String> {
    world.db.admin().texts(&format!(
        "SELECT p.slug || '/' || u.slug || '/' || u.name FROM tenancy.scopes u JOIN tenancy.scopes p ON p.id = u.parent_id \
         WHERE u.level = 'user' AND u.external_id = '{external_id}' ORDER BY 1"
    ))
}

/// The roles that a user has by its groups, as role@scope.
fn roles(world: &World, external_id: &str) -> Vec<String> {
    world.db.admin().texts(&format!(
        "SELECT r.name || '@' || s.slug FROM tenancy_internal.role_assignments a JOIN tenancy_internal.role_definitions r ON r.id = a.role_id \
         JOIN tenancy.scopes s ON s.id = a.scope_id JOIN tenancy.scopes u ON u.id = a.user_id \
         WHERE a.source = 'group' AND u.external_id = '{external_id}' ORDER BY 1"
    ))
}

/// The user that a token is for.
#[track_caller]
fn whose(session: &mut Session, token: &str) -> uuid::Uuid {
    session
        .query_typed("SELECT tenancy.authenticate($1)", &[(&token, Type::TEXT)])
        .unwrap()[0]
        .get(0)
}

#[test]
fn a_first_login_creates_the_user_and_later_ones_write_nothing() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', 'staff', 'member')",
        idp.issuer
    ));
    let claims = json!({"groups": ["staff", "others"], "name": "Zoë Z."});
    let token = idp.token_with("auth0|Zoe", claims.clone());
    let mut app = world.db.app();
    app.begin(&token);
    assert_eq!(app.number(COUNT), 3);
    assert_eq!(app.text(WROTE), "t");
    app.run("COMMIT");
    assert_eq!(users(&world, "auth0|Zoe"), ["acme/auth0-zoe/Zoë Z."]);
    assert_eq!(roles(&world, "auth0|Zoe"), ["member@acme"]);
    // The same token, another one, and another connection.
    for token in [&token, &idp.token_with("auth0|Zoe", claims)] {
        for app in [&mut app, &mut world.db.app()] {
            app.run("BEGIN READ ONLY").login(token);
            assert_eq!(app.number(COUNT), 3);
            assert_eq!(app.text(WROTE), "f");
            app.run("COMMIT");
        }
    }
    assert_eq!(users(&world, "auth0|Zoe").len(), 1);
}

#[test]
fn no_user_is_created_if_the_provider_may_not() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "");
    refused(&mut world.db.app(), &idp.token("zoe"));
    assert!(users(&world, "zoe").is_empty());
    // A user that was made by hand is found by its external id, and from then on is the provider's.
    owner.run("SELECT tenancy.create_user('acme', 'zoe-z', external_id => 'zoe')");
    let mut app = world.db.app();
    app.begin(&idp.token("zoe")).run("COMMIT");
    assert_eq!(users(&world, "zoe"), ["acme/zoe-z/zoe-z"]);
}

#[test]
fn a_user_belongs_to_the_provider_that_it_first_came_by() {
    let world = World::new();
    let mut owner = world.db.owner();
    let first = Idp::new("first").add(&mut owner, "acme", "create_users => true");
    let second = Idp::new("second").add(&mut owner, "acme", "create_users => true");
    let above = Idp::new("above").add(
        &mut owner,
        "globex",
        "create_users => true, tenant_claim => 'org'",
    );
    let mut app = world.db.app();
    let zoe = whose(&mut app, &first.token("zoe"));
    refused(&mut app, &second.token("zoe"));
    refused(&mut app, &above.token_with("zoe", json!({"org": "acme"})));
    assert_eq!(whose(&mut app, &first.token("zoe")), zoe);
    // After that provider is dropped, the user belongs to the provider of its next login.
    owner.run(&format!(
        "SELECT tenancy.drop_identity_provider('{}')",
        first.issuer
    ));
    refused(&mut app, &first.token("zoe"));
    assert_eq!(whose(&mut app, &second.token("zoe")), zoe);
}

#[test]
fn groups_give_and_take_at_a_login() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    for (group, role) in [("staff", "member"), ("leads", "manager")] {
        owner.run(&format!(
            "SELECT tenancy.map_group('{}', '{group}', '{role}', 'acme')",
            idp.issuer
        ));
    }
    let mut app = world.db.app();
    let at = |seconds: i64, groups: &[&str]| {
        idp.token_with("zoe", json!({"groups": groups, "iat": now() + seconds}))
    };
    let both = at(-50, &["staff", "leads"]);
    app.begin(&both).run("COMMIT");
    assert_eq!(roles(&world, "zoe"), ["manager@acme", "member@acme"]);
    app.begin(&at(-40, &["staff"])).run("COMMIT");
    assert_eq!(roles(&world, "zoe"), ["member@acme"]);
    // An older token is still good, and brings nothing back; here and in a session that has not seen it.
    app.begin(&both).run("COMMIT");
    world.db.app().begin(&both).run("COMMIT");
    assert_eq!(roles(&world, "zoe"), ["member@acme"]);
    app.begin(&at(-30, &[])).run("COMMIT");
    assert!(roles(&world, "zoe").is_empty());
    // Groups do not revoke a role that was assigned by hand.
    owner.run("SELECT tenancy.update_scope('acme/zoe', name => 'Zoe')");
    world.db.admin().run(
        "INSERT INTO tenancy_internal.role_assignments (user_id, role_id, scope_id) \
         SELECT u.id, r.id, u.parent_id FROM tenancy.scopes u, tenancy_internal.role_definitions r \
         WHERE u.external_id = 'zoe' AND r.name = 'member'",
    );
    app.begin(&at(-20, &["leads"])).run("COMMIT");
    app.begin(&at(-10, &[])).run("COMMIT");
    app.begin(&at(-5, &[]));
    assert_eq!(app.number(COUNT), 3);
}

#[test]
fn a_mapping_that_is_taken_back_is_felt_at_once() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    let map = |what: &str, group: &str| {
        format!(
            "SELECT tenancy.{what}('{}', '{group}', 'member')",
            idp.issuer
        )
    };
    owner
        .run(&map("map_group", "staff"))
        .run(&map("map_group", "*"));
    let mut app = world.db.app();
    app.login_session(&idp.token_in("zoe", &["staff"]));
    assert_eq!(app.number(COUNT), 3);
    owner.run(&map("unmap_group", "staff"));
    assert!(roles(&world, "zoe").is_empty());
    // The star is every user.
    app.run("SELECT tenancy.release()");
    app.login_session(&idp.token_in("zoe", &[]));
    assert_eq!(roles(&world, "zoe"), ["member@acme"]);
    owner.run(&map("unmap_group", "*"));
    owner.fails(&map("unmap_group", "*")).code("42704");
    assert!(roles(&world, "zoe").is_empty());
}

#[test]
fn a_login_that_must_write_is_refused_in_a_read_only_transaction() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', 'staff', 'member')",
        idp.issuer
    ));
    let mut app = world.db.app();
    let mut read_only = |token: &str| {
        app.run("BEGIN READ ONLY");
        let result = app.try_login(token);
        app.run("ROLLBACK");
        result
    };
    let token = idp.token_in("zoe", &["staff"]);
    let writes = |failure: tenancy_client_tests::Failure| {
        failure.code("25006").says("has to write").hides(&token);
    };
    writes(read_only(&token).unwrap_err());
    world.db.app().begin(&token).run("COMMIT");
    read_only(&token).unwrap();
    // A group that was left cannot be kept by reading only.
    let later = idp.token_with("zoe", json!({"iat": now() + 5}));
    writes(read_only(&later).unwrap_err());
    // Only a valid token gets a reason.
    let forged = Signer::ed("1", 9).token(&idp.claims("mallory"));
    read_only(&forged).unwrap_err().code("42501");
}

#[test]
fn what_was_rolled_back_is_not_remembered() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    let token = idp.token("zoe");
    let mut app = world.db.app();
    for undone in ["ROLLBACK", "ROLLBACK TO s; COMMIT"] {
        app.run("BEGIN; SAVEPOINT s").login(&token).login(&token);
        assert_eq!(app.number(COUNT), 3);
        app.run(undone);
        assert!(users(&world, "zoe").is_empty());
    }
    app.begin(&token);
    assert_eq!(app.number(COUNT), 3);
    app.run("COMMIT");
    let zoe = world
        .db
        .admin()
        .text("SELECT id FROM tenancy.scopes WHERE external_id = 'zoe'");
    assert_eq!(whose(&mut app, &token).to_string(), zoe);
}

#[test]
fn one_of_many_concurrent_first_logins_creates_the_user() {
    const MANY: usize = 8;
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', 'staff', 'member')",
        idp.issuer
    ));
    for round in 0..5 {
        let user = format!("user|{round}");
        let barrier = Barrier::new(MANY);
        let found: Vec<uuid::Uuid> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..MANY)
                .map(|_| {
                    let (barrier, user, idp, world) = (&barrier, &user, &idp, &world);
                    scope.spawn(move || {
                        let mut app = world.db.app();
                        barrier.wait();
                        app.run("BEGIN");
                        let id = whose(&mut app, &idp.token_in(user, &["staff"]));
                        assert_eq!(app.number(COUNT), 3);
                        app.run("COMMIT");
                        id
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(found.iter().all(|id| *id == found[0]), "{found:?}");
        assert_eq!(users(&world, &user).len(), 1);
        assert_eq!(roles(&world, &user), ["member@acme"]);
    }
}

#[test]
fn users_with_similar_names_have_different_slugs() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    let mut app = world.db.app();
    let mut all = Vec::new();
    // One of them looks like an existing user and is another one.
    for sub in [
        "A|b",
        "a b",
        "a-b",
        "alice",
        "../acme",
        "0190f7a1-0000-7000-8000-000000000001",
    ] {
        app.begin(&idp.token(sub)).run("COMMIT");
        all.push(users(&world, sub).remove(0));
    }
    assert_eq!(all[0], "acme/a-b/a-b");
    assert!(all[3].starts_with("acme/alice-"), "{all:?}");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6, "{all:?}");
}

#[test]
fn the_tenant_claim_finds_tenants_below_the_providers_scope_only() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("globex").add(
        &mut owner,
        "globex",
        "create_users => true, tenant_claim => 'https://globex.example/org'",
    );
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    let org = |value: serde_json::Value| {
        idp.token_with("zoe", json!({"https://globex.example/org": value}))
    };
    let mut app = world.db.app();
    // By external id, by slug, and as a number.
    for (value, rows) in [(json!("42"), 3), (json!("umbrella"), 5), (json!(43), 5)] {
        app.begin(&org(value));
        assert_eq!(app.number(COUNT), rows);
        app.run("COMMIT");
    }
    assert_eq!(users(&world, "zoe"), ["acme/zoe/zoe", "umbrella/zoe/zoe"]);
    // Another partner's tenant, the partner itself, an empty claim, an unknown tenant.
    for value in [
        json!("soylent"),
        json!("44"),
        json!("globex"),
        json!("hooli"),
        json!(world.id("acme").to_string()),
        json!("nothing"),
        json!(""),
        json!(null),
        json!(["acme"]),
    ] {
        refused(&mut app, &org(value));
    }
    refused(&mut app, &idp.token("zoe"));
    assert_eq!(users(&world, "zoe").len(), 2);
    // An external id counts before a slug that reads the same.
    owner.run("SELECT tenancy.create_tenant('44x', partner => 'globex')");
    owner.run("SELECT tenancy.update_scope('44x', slug => '42')");
    app.begin(&org(json!("42")));
    assert_eq!(app.number(COUNT), 3);
    app.run("COMMIT");
    // A tenant that leaves the partner leaves the provider, and the sessions that logged in with it lose their context.
    let (mut stays, mut leaves) = (world.db.app(), world.db.app());
    stays.login_session(&org(json!("acme")));
    leaves.login_session(&org(json!("umbrella")));
    assert_eq!((stays.number(COUNT), leaves.number(COUNT)), (3, 5));
    owner.run("SELECT tenancy.move_tenant('umbrella', 'hooli')");
    assert_eq!(stays.number(COUNT), 3);
    leaves.fails(COUNT).code("42501").says("expired");
    refused(&mut app, &org(json!("umbrella")));
}

#[test]
fn a_slug_of_tenants_of_two_partners_is_ambiguous() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_tenant('twin', partner => 'globex'), tenancy.create_tenant('twin', partner => 'hooli')");
    let idp = Idp::new("all").add(
        &mut owner,
        "platform",
        "create_users => true, tenant_claim => 'org'",
    );
    let mut app = world.db.app();
    refused(&mut app, &idp.token_with("zoe", json!({"org": "twin"})));
    app.begin(&idp.token_with("zoe", json!({"org": "soylent"})))
        .run("COMMIT");
    assert_eq!(users(&world, "zoe"), ["soylent/zoe/zoe"]);
}

#[test]
fn without_a_tenant_claim_a_provider_names_its_own_scopes_users() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.update_scope('acme/alice', external_id => 'alice'), tenancy.update_scope('globex/ops', external_id => 'ops'), tenancy.update_scope('platform/pat', external_id => 'pat')");
    let idp = Idp::new("globex").add(&mut owner, "globex", "");
    let mut app = world.db.app();
    refused(&mut app, &idp.token("alice"));
    refused(&mut app, &idp.token("pat"));
    assert_eq!(whose(&mut app, &idp.token("ops")), world.id("ops"));
}

#[test]
fn a_suspended_tenants_users_are_refused_and_none_is_created() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run("SELECT tenancy.set_status('acme', 'suspended')");
    let mut app = world.db.app();
    app.try_login(&idp.token("zoe"))
        .unwrap_err()
        .code("42501")
        .says("not active");
    assert!(users(&world, "zoe").is_empty());
    owner.run("SELECT tenancy.set_status('acme', 'active')");
    app.begin(&idp.token("zoe")).run("COMMIT");
    owner.run("SELECT tenancy.set_status('acme/zoe', 'suspended')");
    app.try_login(&idp.token("zoe"))
        .unwrap_err()
        .code("42501")
        .says("not active");
}

#[test]
fn a_session_ends_with_its_token() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(
        &mut owner,
        "acme",
        "create_users => true, leeway => '0 seconds'",
    );
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    let token = idp.token_with("zoe", json!({"exp": now() + 3}));
    let mut app = world.db.app();
    app.login_session(&token);
    assert_eq!(app.number(COUNT), 3);
    app.run("BEGIN");
    assert_eq!(app.number(COUNT), 3);
    app.run("SELECT pg_sleep(3.2)");
    // A transaction that has begun is not cut off.
    assert_eq!(app.number(COUNT), 3);
    app.run("COMMIT");
    app.fails(COUNT).code("42501").says("expired").hides(&token);
    app.run("SELECT tenancy.release()");
    refused(&mut app, &token);
}

#[test]
fn a_provider_that_is_disabled_stops_open_connections() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    let token = idp.token("zoe");
    let (mut session, mut request, mut spared) = (world.db.app(), world.db.app(), world.db.app());
    session.login_session(&token);
    request.begin(&token).run("COMMIT");
    spared.login_session(world.key("alice"));
    assert_eq!(session.number(COUNT), 3);
    let enable = |enabled: bool| {
        format!(
            "SELECT tenancy.set_identity_provider_enabled('{}', {enabled})",
            idp.issuer
        )
    };
    owner.run(&enable(false));
    session.fails(COUNT).code("42501").hides(&token);
    refused(&mut request, &token);
    refused(&mut world.db.app(), &token);
    assert_eq!(spared.number(COUNT), 3);
    owner.run(&enable(true));
    assert_eq!(session.number(COUNT), 3);
    request.begin(&token).run("COMMIT");
    owner.run(&format!(
        "SELECT tenancy.drop_identity_provider('{}')",
        idp.issuer
    ));
    session.fails(COUNT).code("42501").hides(&token);
    refused(&mut request, &token);
    // Added again it is another one.
    idp.add(&mut owner, "acme", "create_users => true");
    session.fails(COUNT).code("42501");
}

#[test]
fn a_key_that_is_rotated_out_is_worth_nothing_at_once() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    let next = Signer::ed("2", 2);
    let (old, new) = (idp.token("zoe"), next.token(&idp.claims("zoe")));
    let mut app = world.db.app();
    app.begin(&old).run("COMMIT");
    refused(&mut app, &new);
    let set = |keys: &[&Signer]| {
        format!(
            "SELECT tenancy.set_identity_keys('{}', '{}')",
            idp.issuer,
            key_set(keys)
        )
    };
    owner.run(&set(&[&idp.signer, &next]));
    app.begin(&old).run("COMMIT");
    app.begin(&new).run("COMMIT");
    owner.run(&set(&[&next]));
    refused(&mut app, &old);
    refused(&mut world.db.app(), &old);
    app.begin(&new).run("COMMIT");
    // The same name with another key is another key.
    owner.run(&set(&[&Signer::ed("2", 3)]));
    refused(&mut app, &new);
}

#[test]
fn a_sign_up_makes_no_backend_resolve_again() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    let mut other = world.db.app();
    let known = "SELECT principals FROM tenancy.access_cache()";
    other.begin(world.key("alice")).run("COMMIT");
    assert_eq!(other.number(known), 1);
    for n in 0..3 {
        world
            .db
            .app()
            .begin(&idp.token(&format!("new|{n}")))
            .run("COMMIT");
        other.begin(world.key("bob")).run("COMMIT");
        assert_eq!(other.number(known), 2);
    }
}
