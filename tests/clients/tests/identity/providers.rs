//! What a provider's tokens are like: groups that a token does not tell, audiences in other claims, renamed issuers, keys that verify
//! nothing; and why a token was refused, for who runs the provider.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use tenancy_client_tests::idp::{Idp, Signer, key_set, now, refused};
use tenancy_client_tests::{Session, World};

const WROTE: &str = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";

/// A provider of acme whose group of staff gives a role, and everybody another one.
fn provider(world: &World, more: &str) -> Idp {
    let mut owner = world.db.owner();
    let more = format!("create_users => true{more}");
    let idp = Idp::new("acme").add(&mut owner, "acme", &more);
    owner.run(&format!(
        "SELECT tenancy.map_group('{0}', 'staff', 'tenant_admin'), tenancy.map_group('{0}', '*', 'member')",
        idp.issuer
    ));
    idp
}

/// The roles that a user has by its groups.
fn roles(world: &World, external_id: &str) -> Vec<String> {
    world.db.admin().texts(&format!(
        "SELECT r.name FROM tenancy_internal.role_assignments a JOIN tenancy_internal.role_definitions r ON r.id = a.role_id \
         JOIN tenancy.scopes u ON u.id = a.user_id WHERE a.source = 'group' AND u.external_id = '{external_id}' ORDER BY 1"
    ))
}

/// Logs in, and returns whether that wrote.
#[track_caller]
fn log_in(app: &mut Session, token: &str) -> bool {
    let wrote = app.begin(token).text(WROTE);
    app.run("COMMIT");
    wrote == "t"
}

#[test]
fn groups_that_are_elsewhere_stay_and_it_says_so() {
    let world = World::new();
    let idp = provider(&world, "");
    let mut app = world.db.app();
    let elsewhere = "SELECT users_with_groups_elsewhere FROM tenancy.identity_providers";
    let both = ["member", "tenant_admin"];
    // Entra ID's token of a user in two hundred groups, and an access token's hint.
    for hint in [
        json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/"}}}),
        json!({"hasgroups": true}),
    ] {
        assert!(log_in(&mut app, &idp.token_in("zoe", &["staff"])));
        assert_eq!(roles(&world, "zoe"), both);
        assert_eq!(world.db.owner().number(elsewhere), 0);
        assert!(log_in(&mut app, &idp.token_with("zoe", hint.clone())));
        assert_eq!(roles(&world, "zoe"), both, "{hint}");
        assert_eq!(world.db.owner().number(elsewhere), 1);
        // Once; what follows writes nothing.
        for at in [1, 2] {
            let mut later = hint.clone();
            later["x"] = at.into();
            assert!(!log_in(&mut app, &idp.token_with("zoe", later)));
        }
    }
    assert_eq!(
        world.db.owner().number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.identity.groups_elsewhere'"),
        2
    );
    // An empty list is one, and so is a token without the claim.
    assert!(log_in(&mut app, &idp.token_in("zoe", &[])));
    assert_eq!(roles(&world, "zoe"), ["member"]);
    assert_eq!(world.db.owner().number(elsewhere), 0);
    log_in(&mut app, &idp.token_in("zoe", &["staff"]));
    log_in(&mut app, &idp.token("zoe"));
    assert_eq!(roles(&world, "zoe"), ["member"]);
    // A user whose first token does not tell has what everybody has.
    log_in(&mut app, &idp.token_with("new", json!({"hasgroups": true})));
    assert_eq!(roles(&world, "new"), ["member"]);
    // Nor does one that tells, but is older than one that says where they are.
    log_in(
        &mut app,
        &idp.token_with("late", json!({"groups": [], "iat": now() - 50})),
    );
    log_in(
        &mut app,
        &idp.token_with("late", json!({"hasgroups": true, "iat": now() - 10})),
    );
    log_in(
        &mut app,
        &idp.token_with("late", json!({"groups": ["staff"], "iat": now() - 30})),
    );
    assert_eq!(roles(&world, "late"), ["member"]);
    // An older token that tells restores nothing, and one that does not tell hides no newer one.
    log_in(&mut app, &idp.token_in("zoe", &["staff"]));
    let old = json!({"iat": now() - 60, "hasgroups": true});
    log_in(&mut app, &idp.token_with("zoe", old));
    assert_eq!(roles(&world, "zoe"), both);
}

#[test]
fn a_token_without_the_claim_says_what_the_provider_says_it_does() {
    let world = World::new();
    let idp = provider(&world, ", without_groups => 'keep'");
    let mut app = world.db.app();
    let both = ["member", "tenant_admin"];
    log_in(&mut app, &idp.token_in("zoe", &["staff"]));
    assert!(!log_in(&mut app, &idp.token("zoe")));
    assert_eq!(roles(&world, "zoe"), both);
    // Who leaves the group loses the role, at once if the mapping goes.
    log_in(&mut app, &idp.token_in("zoe", &[]));
    assert_eq!(roles(&world, "zoe"), ["member"]);
    log_in(&mut app, &idp.token_in("zoe", &["staff"]));
    let mut owner = world.db.owner();
    owner.run(&format!(
        "SELECT tenancy.unmap_group('{}', 'staff', 'tenant_admin')",
        idp.issuer
    ));
    log_in(&mut app, &idp.token("zoe"));
    assert_eq!(roles(&world, "zoe"), ["member"]);
    owner
        .fails(&format!(
            "SELECT tenancy.update_identity_provider('{}', without_groups => 'none')",
            idp.issuer
        ))
        .code("22023");
}

/// The token of a provider that leaves out aud, such as Amazon Cognito's access token.
fn without_aud(idp: &Idp, user: &str, changes: Value) -> String {
    let mut claims = idp.claims_with(user, changes);
    claims.as_object_mut().unwrap().remove("aud");
    idp.signer.token(&claims)
}

#[test]
fn an_audience_may_be_in_another_claim() {
    let world = World::new();
    let idp = provider(&world, "");
    let mut app = world.db.app();
    let audience = idp.claims("x")["aud"].clone();
    let token = |changes| without_aud(&idp, "zoe", changes);
    let cognito = token(json!({"client_id": audience}));
    refused(&mut app, &cognito);
    let update = |more: &str| {
        format!(
            "SELECT tenancy.update_identity_provider('{}', {more})",
            idp.issuer
        )
    };
    let mut owner = world.db.owner();
    owner.run(&update("audience_claim => 'client_id'"));
    log_in(&mut app, &cognito);
    // Tokens with aud are as before, and the other claim counts for nothing beside it.
    log_in(&mut app, &idp.token("zoe"));
    let other = idp.token_with("zoe", json!({"aud": "other", "client_id": audience}));
    refused(&mut app, &other);
    for changes in [
        json!({"client_id": "other"}),
        json!({"client_id": [audience]}),
        json!({"azp": audience}),
        json!({}),
    ] {
        refused(&mut app, &token(changes));
    }
    owner
        .fails(&update("audience_claim => 'sub'"))
        .code("22023");
    owner.run(&update("audience_claim => ''"));
    refused(&mut app, &cognito);
}

#[test]
fn a_renamed_issuer_keeps_its_users() {
    let world = World::new();
    let idp = provider(&world, "");
    let (mut app, mut owner) = (world.db.app(), world.db.owner());
    let former = idp.token_in("zoe", &["staff"]);
    log_in(&mut app, &former);
    let key = owner.text(
        "SELECT tenancy.issue_api_key(u.id, 'k') FROM tenancy.users u WHERE u.external_id = 'zoe'",
    );
    let new = "https://new.example.com/";
    let renamed = |changes: Value| {
        let mut changes = changes;
        changes["iss"] = new.into();
        idp.token_with("zoe", changes)
    };
    let token = renamed(json!({"groups": ["staff"]}));
    refused(&mut app, &token);
    owner.run(&format!(
        "SELECT tenancy.update_identity_provider('{}', '{new}', aliases => '{{{0}}}')",
        idp.issuer
    ));
    for token in [&token, &former] {
        let mut app = world.db.app();
        assert!(!log_in(&mut app, token));
        log_in(&mut app, &key);
    }
    // Without its former name: at once, also where it was verified before.
    owner.run(&format!(
        "SELECT tenancy.update_identity_provider('{new}', aliases => '{{}}')"
    ));
    refused(&mut app, &former);
    log_in(&mut app, &token);
    log_in(&mut app, &key);
    assert_eq!(roles(&world, "zoe"), ["member", "tenant_admin"]);
    assert_eq!(
        owner.text("SELECT concat_ws(' ', issuer, aliases, users) FROM tenancy.identity_providers"),
        format!("{new} {{}} 1")
    );
    // Nobody else's tokens: neither by the name nor by an alias.
    Idp::new("other").add(&mut owner, "umbrella", "");
    for more in [
        "new_issuer => 'https://other.example.com/'",
        "aliases => '{https://other.example.com/}'",
    ] {
        let call = format!("SELECT tenancy.update_identity_provider('{new}', {more})");
        owner.fails(&call).code("42710");
    }
    for more in [
        "new_issuer => ''",
        &format!("aliases => '{{{new}}}'"),
        "aliases => '{NULL}'",
        "audiences => '{}'",
    ] {
        let call = format!("SELECT tenancy.update_identity_provider('{new}', {more})");
        owner.fails(&call).code("22023");
    }
    for bad in [
        "-1 second",
        "601 seconds",
        "1 month -30 days +1 second",
        "178000000 years",
    ] {
        let call = format!("SELECT tenancy.update_identity_provider('{new}', leeway => '{bad}')");
        owner.fails(&call).code("22023");
    }
    // A tenant's admin, who does not manage identity.
    let mut admin = world.begin("alice");
    admin
        .fails(&format!(
            "SELECT tenancy.update_identity_provider('{new}', 'https://x.example/')"
        ))
        .code("42704");
}

#[test]
fn keys_revoked_by_a_first_login_are_in_the_audit_log() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = provider(&world, "");
    let key = owner.text(
        "SELECT tenancy.issue_api_key(tenancy.create_user('acme', 'zoe', external_id => 'zoe'), 'by hand')",
    );
    let mut app = world.db.app();
    log_in(&mut app, &key);
    log_in(&mut app, &idp.token("zoe"));
    refused(&mut app, &key);
    assert_eq!(
        owner.text("SELECT concat(target LIKE 'tnk_%', ' ', details ? 'provider') FROM tenancy.audit_log WHERE action = 'tenancy.key.revoked'"),
        "t t"
    );
}

#[test]
fn a_weak_key_in_a_set_is_named_and_the_others_verify() {
    let world = World::new();
    let (mut owner, idp) = (world.db.owner(), Idp::new("acme"));
    let mut broken = Signer::ed("broken", 2).jwk();
    broken["x"] = "AAAA".into();
    let mut set: Value = serde_json::from_str(&key_set(&[&idp.signer])).unwrap();
    set["keys"].as_array_mut().unwrap().push(broken.clone());
    owner.run(&format!(
        "SELECT tenancy.add_identity_provider('acme', '{}', '{{{}}}', keys => '{set}', create_users => true)",
        idp.issuer,
        idp.claims("x")["aud"].as_str().unwrap(),
    ));
    let skipped = "SELECT skipped_keys::text FROM tenancy.identity_providers";
    assert!(owner.text(skipped).contains("broken"));
    log_in(&mut world.db.app(), &idp.token("zoe"));
    // A set without a good key is an error; a good set names none.
    owner
        .fails(&format!(
            "SELECT tenancy.set_identity_keys('{}', '{}')",
            idp.issuer,
            json!({"keys": [broken]})
        ))
        .code("22023");
    owner.run(&format!(
        "SELECT tenancy.set_identity_keys('{}', '{}')",
        idp.issuer,
        key_set(&[&idp.signer])
    ));
    assert_eq!(owner.text(skipped), "{}");
}

#[test]
fn an_operator_learns_why_a_token_was_refused_and_its_bearer_does_not() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "");
    owner.run("SELECT tenancy.create_user('acme', 'zoe', external_id => 'zoe')");
    let mut app = world.db.app();
    let stranger = Signer::ed("1", 3);
    for token in [
        idp.token("nobody"),
        idp.token("nobody"),
        idp.token_with("zoe", json!({"exp": now() - 100})),
        idp.token_with("zoe", json!({"nbf": now() + 100})),
        idp.token_with("zoe", json!({"groups": 7})),
        stranger.token(&idp.claims("zoe")),
        Signer::ed("2", 1).token(&idp.claims("zoe")),
        idp.token_with("zoe", json!({"aud": "other"})),
        idp.token_with("zoe", json!({"iss": "https://nowhere.example/"})),
    ] {
        refused(&mut app, &token);
    }
    let all = "SELECT concat_ws(' ', issuer, reason, count) FROM tenancy.identity_refusals ORDER BY issuer, reason";
    let of = |reason: &str| format!("{} {reason}", idp.issuer);
    let known: Vec<String> = [
        "expired 1",
        "groups 1",
        "no_key 1",
        "not_yet_valid 1",
        "signature 1",
        "unknown_user 2",
    ]
    .iter()
    .map(|reason| of(reason))
    .collect();
    let mut wanted: Vec<&str> = known.iter().map(String::as_str).collect();
    wanted.push("no_provider 2");
    owner.until(20, all, &wanted);
    // With the entry of the login that failed.
    let entries = "SELECT DISTINCT details ->> 'reason' FROM tenancy.audit_log WHERE action = 'tenancy.login.failed' ORDER BY 1";
    assert_eq!(owner.texts(entries).len(), 7);
    // Who does not see the provider sees nothing of it; who sees it sees no tokens of others.
    let sees = |who: &str| world.begin(who).texts(all);
    assert_eq!(sees("alice"), Vec::<String>::new());
    assert_eq!(sees("ops"), known);
    owner.run(&format!(
        "SELECT tenancy.drop_identity_provider('{}')",
        idp.issuer
    ));
    assert_eq!(owner.texts(all), ["no_provider 2"]);
}

#[test]
fn no_number_of_others_keeps_a_vouched_provider_out() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    // As many as it would take: each with a key of its own, of the same issuer and audience.
    let (issuer, claims) = (idp.issuer.clone(), idp.claims("x"));
    let audience = claims["aud"].as_str().unwrap();
    let mut admin = world.db.admin();
    admin.run(&format!(
        "UPDATE tenancy_internal.identity_provider_registry SET vouched = false;
         UPDATE tenancy_internal.identity_claims SET key = uuid_send(provider_id);
         INSERT INTO tenancy_internal.identity_provider_registry (id, scope_id, issuer, audiences, user_claim, leeway, create_users, single_use)
         SELECT gen_random_uuid(), gen_random_uuid(), '{issuer}', '{{{audience}}}', 'sub', 30, false, false FROM generate_series(1, 70);
         INSERT INTO tenancy_internal.identity_secrets SELECT id, sha256(id::text::bytea) FROM tenancy_internal.identity_provider_registry WHERE keys IS NULL;
         INSERT INTO tenancy_internal.identity_claims SELECT tenancy_internal.tokens_of('{issuer}', '{audience}'), uuid_send(id), id FROM tenancy_internal.identity_provider_registry WHERE keys IS NULL"
    ));
    refused(&mut world.db.app(), &idp.token("zoe"));
    owner.run(&format!(
        "SELECT tenancy.set_identity_provider_enabled('{issuer}', true, provider_scope => 'acme')"
    ));
    log_in(&mut world.db.app(), &idp.token("zoe"));
}
