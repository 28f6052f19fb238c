//! No caller below the platform can take another's issuer, audience, role, external id or slug by claiming its name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tenancy_client_tests::idp::{AUDIENCE, Idp, Signer, key_set, refused};
use tenancy_client_tests::{Session, World};

/// globex's own provider.
fn okta(signer: Signer) -> Idp {
    Idp {
        issuer: "https://globex.okta.com/".to_owned(),
        signer,
    }
}

/// The real one.
fn real() -> Idp {
    okta(Signer::ed("k", 1))
}

/// The provider with which hooli's admin signs.
fn false_one() -> Idp {
    okta(Signer::ed("k", 66))
}

/// A session of the application as a partner's admin.
fn admin_of(world: &World, user: &str) -> Session {
    let mut session = world.db.app();
    session.login_session(world.key(user));
    session
}

/// The tenant of a token's user.
#[track_caller]
fn tenant(world: &World, token: &str) -> String {
    let mut app = world.db.app();
    let user = app.begin(token).text("SELECT tenancy.user_id()");
    app.run("COMMIT");
    world.db.admin().text(&format!(
        "SELECT p.slug FROM tenancy.scopes u JOIN tenancy.scopes p ON p.id = u.parent_id WHERE u.id = '{user}'"
    ))
}

const NEW: &str = "create_users => true";

#[test]
fn claiming_an_issuer_first_gives_no_right_to_it() {
    let world = World::bare();
    let (mut ops, mut boss) = (admin_of(&world, "ops"), admin_of(&world, "boss"));
    // As a tenant's, as the partner's, and as one that names tenants.
    boss.run(&false_one().adding("soylent", NEW));
    let by_name = okta(Signer::ed("n", 67));
    boss.run(&by_name.adding("hooli", "tenant_claim => 'org', create_users => true"));
    ops.run(&real().adding("acme", NEW));
    assert_eq!(tenant(&world, &real().token("zoe")), "acme");
    assert_eq!(tenant(&world, &false_one().token("zoe")), "soylent");
    // The same subject, but another user.
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy_internal.identity_users b JOIN tenancy.scopes u ON u.id = b.user_id WHERE u.external_id = 'zoe'"),
        2
    );
    let mut app = world.db.app();
    for tenant in ["acme", "42", "umbrella", "43"] {
        refused(
            &mut app,
            &by_name.token_with("zoe", json!({ "org": tenant })),
        );
    }
    // Neither key is the other's, whatever it is called.
    refused(&mut app, &okta(Signer::ed("k", 68)).token("zoe"));
    refused(&mut app, &okta(Signer::ed("x", 1)).token("zoe"));
    // A disabled provider blocks no other; nor do remains of a dropped one.
    for call in [
        "set_identity_provider_enabled('https://globex.okta.com/', false, provider_scope => 'soylent')",
        "drop_identity_provider('https://globex.okta.com/', provider_scope => 'soylent')",
    ] {
        boss.run(&format!("SELECT tenancy.{call}"));
        refused(&mut app, &false_one().token("zoe"));
        assert_eq!(tenant(&world, &real().token("zoe")), "acme");
    }
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy_internal.identity_claims"),
        2
    );
}

/// A public key is public: so whose tokens it verifies is not decided by who brings it.
#[test]
fn the_same_keys_accept_no_other_providers_logins() {
    let world = World::bare();
    let (mut ops, mut boss) = (admin_of(&world, "ops"), admin_of(&world, "boss"));
    let rsa = || okta(Signer::rsa("r"));
    ops.run(&real().adding("acme", NEW));
    ops.run(&rsa().adding("umbrella", NEW));
    let taken = |session: &mut Session, sql: &str| {
        session
            .fails(sql)
            .code("42710")
            .says("belong to another provider")
            .hints("id of the scope");
    };
    taken(&mut boss, &real().adding("soylent", NEW));
    taken(&mut boss, &rsa().adding("soylent", NEW));
    // Written otherwise.
    let mut jwk = Signer::rsa("other").jwk();
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    jwk["n"] = URL_SAFE_NO_PAD
        .encode([&[0, 0], n.as_slice()].concat())
        .into();
    jwk["e"] = "AAEAAQ".into();
    let add = |audiences: &str, keys: &str| {
        format!(
            "SELECT tenancy.add_identity_provider('soylent', 'https://globex.okta.com/', '{audiences}', keys => '{keys}', create_users => true)"
        )
    };
    taken(
        &mut boss,
        &add("{notes}", &json!({ "keys": [jwk] }).to_string()),
    );
    taken(
        &mut boss,
        &add(
            "{other,notes}",
            &key_set(&[&Signer::ed("mine", 5), &Signer::ed("theirs", 1)]),
        ),
    );
    // Nor by way of keys that are its own at first, or of being off.
    boss.run(&false_one().adding("soylent", NEW));
    let set = format!(
        "SELECT tenancy.set_identity_keys('https://globex.okta.com/', '{}')",
        key_set(&[&real().signer])
    );
    taken(&mut boss, &set);
    boss.run("SELECT tenancy.set_identity_provider_enabled('https://globex.okta.com/', false)");
    boss.run(&set);
    taken(
        &mut boss,
        "SELECT tenancy.set_identity_provider_enabled('https://globex.okta.com/', true)",
    );
    assert_eq!(tenant(&world, &real().token("zoe")), "acme");
    boss.run("SELECT tenancy.drop_identity_provider('https://globex.okta.com/')");
    // Another audience, which their tokens have too: a token is for the audience that it was issued to.
    boss.run(&add("{account}", &key_set(&[&real().signer])));
    let both = |more: serde_json::Value| {
        let mut claims = json!({ "aud": ["account", AUDIENCE] });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        real().token_with("zoe", claims)
    };
    assert_eq!(tenant(&world, &both(json!({ "azp": AUDIENCE }))), "acme");
    let mut app = world.db.app();
    refused(&mut app, &both(json!({})));
    refused(&mut app, &both(json!({ "azp": "elsewhere" })));
    refused(&mut app, &both(json!({ "azp": [AUDIENCE] })));
    assert_eq!(tenant(&world, &real().token("zoe")), "acme");
}

#[test]
fn a_first_claim_with_anothers_keys_gives_nothing() {
    let world = World::bare();
    let (mut ops, mut boss, mut owner) = (
        admin_of(&world, "ops"),
        admin_of(&world, "boss"),
        world.db.owner(),
    );
    boss.run(&real().adding("soylent", NEW));
    ops.fails(&real().adding("acme", NEW))
        .code("42710")
        .hints("tenancy_admin");
    // By an audience that no other scope can have.
    let id = world.id("acme").to_string();
    let own = |scope: &str| {
        format!(
            "SELECT tenancy.add_identity_provider('{scope}', 'https://globex.okta.com/', '{{{id}}}', keys => '{}', create_users => true)",
            key_set(&[&real().signer])
        )
    };
    boss.fails(&own("hooli"))
        .code("22023")
        .says("is for that scope");
    boss.fails(&own("hooli").replace(&id, &id.to_uppercase()))
        .code("22023");
    ops.run(&own("acme"));
    assert_eq!(
        tenant(&world, &real().token_with("zoe", json!({ "aud": id }))),
        "acme"
    );
    ops.run("SELECT tenancy.drop_identity_provider('https://globex.okta.com/')");
    // Or an administrator decides whose tokens they are.
    assert_eq!(tenant(&world, &real().token("zoe")), "soylent");
    owner.run(&real().adding("acme", NEW));
    assert_eq!(tenant(&world, &real().token("zoe")), "acme");
    assert_eq!(
        owner.texts("SELECT scope || ' ' || vouched FROM tenancy.identity_providers ORDER BY 1"),
        ["acme true", "soylent false"]
    );
    // From then on no other provider is tried, with any key.
    let next = okta(Signer::ed("next", 9));
    boss.fails(&format!(
        "SELECT tenancy.set_identity_keys('https://globex.okta.com/', '{}')",
        key_set(&[&next.signer])
    ))
    .code("42710");
    let mut app = world.db.app();
    refused(&mut app, &next.token("zoe"));
    boss.run("SELECT tenancy.drop_identity_provider('https://globex.okta.com/')");
    boss.fails(&next.adding("soylent", NEW)).code("42710");
    refused(&mut app, &next.token("zoe"));
    ops.run(&format!(
        "SELECT tenancy.set_identity_keys('https://globex.okta.com/', '{}')",
        key_set(&[&next.signer])
    ));
    assert_eq!(tenant(&world, &next.token("zoe")), "acme");
    // The issuer's tokens for other applications are still free.
    boss.run(&format!(
        "SELECT tenancy.add_identity_provider('soylent', 'https://globex.okta.com/', '{{crm}}', keys => '{}', create_users => true)",
        key_set(&[&next.signer])
    ));
    assert_eq!(
        tenant(&world, &next.token_with("zoe", json!({ "aud": "crm" }))),
        "soylent"
    );
    assert_eq!(
        tenant(
            &world,
            &next.token_with("zoe", json!({ "aud": ["crm", AUDIENCE] }))
        ),
        "acme"
    );
    // An administrator gives them once.
    owner
        .fails(&next.adding("umbrella", NEW))
        .code("42710")
        .hints("tenant claim");
}

#[test]
fn a_provider_is_named_by_its_scope_where_the_issuer_is_not_enough() {
    let world = World::bare();
    let (mut ops, mut boss, mut owner) = (
        admin_of(&world, "ops"),
        admin_of(&world, "boss"),
        world.db.owner(),
    );
    ops.run(&real().adding("acme", NEW));
    boss.run(&false_one().adding("soylent", NEW));
    let issuer = real().issuer;
    for call in [
        format!("set_identity_keys('{issuer}', 'KEYS'"),
        format!("set_identity_provider_enabled('{issuer}', false"),
        format!("map_group('{issuer}', 'staff', 'member'"),
        format!("unmap_group('{issuer}', 'staff', 'member'"),
        format!("drop_identity_provider('{issuer}'"),
    ] {
        let keys = |seed| call.replace("KEYS", &key_set(&[&Signer::ed("2", seed)]));
        let call = keys(2);
        owner
            .fails(&format!("SELECT tenancy.{call})"))
            .code("22023")
            .says("is ambiguous")
            .hints("provider_scope");
        owner
            .fails(&format!(
                "SELECT tenancy.{call}, provider_scope => 'umbrella')"
            ))
            .code("42704");
        ops.fails(&format!(
            "SELECT tenancy.{call}, provider_scope => '{}')",
            world.id("soylent")
        ))
        .code("42704");
        // Each has one that it may know of.
        for (session, scope, call) in [(&mut ops, "acme", &call), (&mut boss, "soylent", &keys(3))]
        {
            session.run(&format!("SELECT tenancy.{call})"));
            let left = "SELECT coalesce(string_agg(scope, ' ' ORDER BY scope), '') FROM tenancy.identity_providers";
            let left_is = if call.starts_with("drop") { "" } else { scope };
            assert_eq!(session.text(left), left_is);
        }
    }
    // The topmost is meant: what a scope below calls the same is not in its way.
    ops.run(&real().adding("globex", "tenant_claim => 'org'"));
    ops.run(&okta(Signer::ed("k", 3)).adding("acme", NEW));
    ops.run(&format!(
        "SELECT tenancy.set_identity_provider_enabled('{issuer}', false)"
    ));
    assert_eq!(
        ops.texts("SELECT scope || ' ' || enabled FROM tenancy.identity_providers ORDER BY 1"),
        ["acme true", "globex false"]
    );
    ops.fails(&real().adding("globex", NEW))
        .code("42710")
        .says("exists already");
}

/// Each provider of an issuer and audience costs a signature check before authentication.
#[test]
fn an_issuer_is_tried_with_few_providers() {
    let world = World::bare();
    let mut boss = admin_of(&world, "boss");
    for n in 0..6u8 {
        boss.run(&format!(
            "SELECT tenancy.create_tenant('t{n}', partner => 'hooli')"
        ));
        let add = okta(Signer::ed("k", 100 + n)).adding(&format!("t{n}"), NEW);
        match n {
            0..4 => drop(boss.run(&add)),
            _ => drop(boss.fails(&add).code("53400").hints("tenant claim")),
        }
    }
    let mut ops = admin_of(&world, "ops");
    ops.run(&real().adding("acme", NEW));
    assert_eq!(tenant(&world, &real().token("zoe")), "acme");
    // By many audiences at once: more than tokens may have.
    let audiences: Vec<String> = (0..40)
        .map(|n| format!("a{n}"))
        .chain([AUDIENCE.to_owned()])
        .collect();
    refused(
        &mut world.db.app(),
        &real().token_with("zoe", json!({ "aud": audiences })),
    );
    assert_eq!(
        tenant(
            &world,
            &real().token_with("zoe", json!({ "aud": &audiences[20..] }))
        ),
        "acme"
    );
    boss.fails(&format!(
        "SELECT tenancy.add_identity_provider('soylent', 'https://globex.okta.com/', ARRAY(SELECT 'a' || n FROM generate_series(1, 33) n), keys => '{}')",
        key_set(&[&Signer::ed("k", 50)])
    ))
    .code("22023");
}

/// Two at once, of which neither sees the other's.
#[test]
fn one_of_two_concurrent_claims_to_the_same_tokens_succeeds() {
    let world = World::bare();
    let (mut ops, mut boss) = (admin_of(&world, "ops"), admin_of(&world, "boss"));
    boss.run("BEGIN").run(&real().adding("soylent", NEW));
    let add = real().adding("acme", NEW);
    let waits = std::thread::spawn(move || ops.fails(&add));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let end = std::time::Instant::now() + std::time::Duration::from_secs(15);
    while world.db.admin().number(waiting) == 0 {
        assert!(std::time::Instant::now() < end, "it does not wait");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    boss.run("COMMIT");
    waits.join().unwrap().code("42710");
}

/// Callers assign roles by name, and roles are defined at several levels.
#[test]
fn a_tenants_role_does_not_stand_in_for_its_partners() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_user('acme', 'tina', role => 'tenant_admin'), tenancy.create_user('globex', 'paul');
         SELECT tenancy.define_role('globex', 'support', '{data:read,audit:view}')",
    );
    let key = owner.text("SELECT tenancy.issue_api_key('acme/tina', 'test')");
    let mut tina = world.db.app();
    tina.login_session(&key);
    tina.run("SELECT tenancy.define_role('acme', 'support', '{}'), tenancy.define_role('acme', 'auditor', '{}')");
    let mut ops = admin_of(&world, "ops");
    // Also if the tenant's role was defined first.
    ops.run("SELECT tenancy.define_role('globex', 'auditor', '{audit:view}')");
    ops.run("SELECT tenancy.assign('globex/paul', 'support', 'acme'), tenancy.assign('globex/paul', 'auditor', 'acme')");
    assert_eq!(
        world.db.admin().texts("SELECT r.name || ' ' || s.slug FROM tenancy_internal.role_assignments a JOIN tenancy_internal.role_definitions r ON r.id = a.role_id JOIN tenancy.scopes s ON s.id = r.scope_id
                     JOIN tenancy.scopes u ON u.id = a.user_id WHERE u.slug = 'paul' ORDER BY 1"),
        ["auditor globex", "support globex"]
    );
    // A group's too.
    let idp = real();
    ops.run(&idp.adding("acme", NEW));
    ops.run(&format!(
        "SELECT tenancy.map_group('{}', 'staff', 'support')",
        idp.issuer
    ));
    let mut app = world.db.app();
    app.begin(&idp.token_in("zoe", &["staff"]));
    assert_eq!(app.text("SELECT tenancy.has_permission('audit:view')"), "t");
}

/// A user who creates projects cannot affect logins.
#[test]
fn a_project_takes_no_users_name() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_user('acme', 'mia', role => 'manager')");
    let key = owner.text("SELECT tenancy.issue_api_key('acme/mia', 'test')");
    let idp = real().add(&mut owner, "acme", NEW);
    let mut mia = world.db.app();
    mia.login_session(&key);
    mia.run("SELECT tenancy.create_project('acme', 'p', external_id => 'zoe')");
    // All that a first login would be called.
    for slug in tenancy_slugs("zoe") {
        mia.run(&format!("SELECT tenancy.create_project('acme', '{slug}')"));
    }
    assert_eq!(tenant(&world, &idp.token("zoe")), "acme");
    owner.run("SELECT tenancy.create_user('acme', 'yan', external_id => 'yan')");
    mia.run("SELECT tenancy.create_project('acme', 'q', external_id => 'yan')");
    mia.fails("SELECT tenancy.create_project('acme', 'r', external_id => 'yan')")
        .code("42710");
}

/// Returns the slugs that tenancy tries for first logins of this subject, in their order, by logins in another tenant.
fn tenancy_slugs(subject: &str) -> Vec<String> {
    let world = World::bare();
    let mut owner = world.db.owner();
    let idp = real().add(&mut owner, "acme", NEW);
    let mut found = Vec::new();
    loop {
        world.db.app().begin(&idp.token(subject)).run("COMMIT");
        let slug = owner.text(&format!(
            "SELECT slug FROM tenancy.users WHERE external_id = '{subject}'"
        ));
        if slug.starts_with("user-") {
            return found;
        }
        owner.run(&format!(
            "SELECT tenancy.update_scope('acme/{slug}', slug => 'gone{}', external_id => 'gone{}')",
            found.len(),
            found.len()
        ));
        owner.run(&format!("SELECT tenancy.create_project('acme', '{slug}')"));
        found.push(slug);
        assert!(found.len() < 20);
    }
}
