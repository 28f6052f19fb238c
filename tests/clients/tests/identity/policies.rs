//! Login policies: each scope on a user's path asks for itself, of tokens and of people's API keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use tenancy_client_tests::idp::{Idp, now, refused};
use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

fn set(session: &mut Session, scope: &str, policy: &str) {
    session.run(&format!(
        "SELECT tenancy.set_login_policy('{scope}'{policy})"
    ));
}

/// A world where acme believes a provider that creates users, and a member of it.
fn world() -> (World, Idp) {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', 'staff', 'member')",
        idp.issuer
    ));
    (world, idp)
}

fn with(changes: Value) -> Value {
    let mut claims = json!({"groups": ["staff"]});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[track_caller]
fn lets_in(world: &World, token: &str) {
    let mut app = world.db.app();
    app.begin(token);
    assert_eq!(app.number(COUNT), 3);
    app.run("COMMIT");
}

#[track_caller]
fn keeps_out(world: &World, token: &str, why: &str) {
    let failure = world.db.app().try_login(token).unwrap_err();
    let failure = failure.code("42501").says("does not meet the login policy");
    let detail = failure.detail.clone().unwrap();
    assert!(detail.contains(why), "{detail}");
    failure.hides(token);
}

#[test]
fn a_token_must_meet_the_policy_of_each_scope_above() {
    let (world, idp) = world();
    let mut owner = world.db.owner();
    let plain = idp.token_with("zoe", with(json!({"amr": ["pwd"]})));
    let strong = idp.token_with("zoe", with(json!({"amr": ["pwd", "mfa"], "acr": "silver"})));
    lets_in(&world, &plain);
    // In the same sessions, that have these tokens verified already.
    let mut known = world.db.app();
    known.begin(&plain);
    known.run("COMMIT");
    for scope in ["acme", "globex", "platform"] {
        set(&mut owner, scope, ", amr => '{mfa,hwk}'");
        keeps_out(&world, &plain, "for a login with amr mfa, hwk");
        known.try_login(&plain).unwrap_err().code("42501");
        lets_in(&world, &strong);
        set(&mut owner, scope, "");
        lets_in(&world, &plain);
    }
    // Of one scope either will do; another scope asks besides.
    set(
        &mut owner,
        "acme",
        ", amr => '{hwk}', acr => '{silver,gold}'",
    );
    lets_in(&world, &strong);
    keeps_out(&world, &plain, "amr hwk or acr silver, gold");
    set(&mut owner, "globex", ", acr => '{gold}'");
    keeps_out(
        &world,
        &strong,
        "partner globex asks for a login with acr gold",
    );
    set(&mut owner, "hooli", ", acr => '{gold}'");
    set(&mut owner, "globex", "");
    lets_in(&world, &strong);
}

#[test]
fn a_refused_first_login_creates_no_user() {
    let (world, idp) = world();
    set(&mut world.db.owner(), "acme", ", amr => '{mfa}'");
    keeps_out(&world, &idp.token_with("new", with(json!({}))), "amr mfa");
    let users = "SELECT count(*) FROM tenancy.scopes WHERE external_id = 'new'";
    assert_eq!(world.db.admin().number(users), 0);
    // Nobody is told what a policy asks for who has no user there.
    let mut owner = world.db.owner();
    let closed = Idp::new("umbrella").add(&mut owner, "umbrella", "");
    set(&mut owner, "umbrella", ", amr => '{mfa}'");
    refused(&mut world.db.app(), &closed.token("new"));
    lets_in(&world, &idp.token_with("new", with(json!({"amr": "mfa"}))));
    assert_eq!(world.db.admin().number(users), 1);
}

#[test]
fn a_session_ends_so_long_after_the_login() {
    let (world, idp) = world();
    let mut owner = world.db.owner();
    set(&mut owner, "globex", ", session_length => '1 hour'");
    let ago = |seconds: i64| idp.token_with("zoe", with(json!({"auth_time": now() - seconds})));
    lets_in(&world, &ago(0));
    lets_in(&world, &ago(3_500));
    keeps_out(&world, &ago(3_601), "more recent");
    keeps_out(&world, &idp.token_with("zoe", with(json!({}))), "auth_time");
    // A provider whose clock is ahead lengthens nothing.
    keeps_out(&world, &ago(-60), "auth_time");
    // The shorter of two.
    set(&mut owner, "acme", ", session_length => '10 minutes'");
    keeps_out(&world, &ago(601), "tenant acme");
    // An open session ends then, though its token is good for longer.
    set(&mut owner, "acme", ", session_length => '1 minute'");
    let mut app = world.db.app();
    app.login_session(&ago(57));
    let mut seen = 0;
    let failure = loop {
        match app.query(COUNT, &[]) {
            Ok(_) => seen += 1,
            Err(error) => break tenancy_client_tests::Failure::from(&error),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(seen > 0);
    failure.code("42501").says("expired");
}

#[test]
fn api_keys_of_people_are_refused_and_those_of_services_stay() {
    let world = World::new();
    let mut owner = world.db.owner();
    let robot = {
        owner.run("SELECT tenancy.create_user('acme', 'robot', 'service', role => 'member')");
        owner.text("SELECT tenancy.issue_api_key('acme/robot', 'k')")
    };
    let mut open = world.db.app();
    open.login_session(world.key("alice"));
    for scope in ["acme", "globex", "platform"] {
        set(&mut owner, scope, ", human_api_keys => false");
        let failure = world.db.app().try_login(world.key("alice")).unwrap_err();
        failure
            .code("42501")
            .says("API keys of persons")
            .hides(world.key("alice"));
        open.fails(COUNT).code("42501").says("API keys of persons");
        lets_in(&world, &robot);
        // Vouched for by the gateway.
        let mut gateway = world.db.gateway();
        gateway.run("BEGIN; SELECT tenancy.assume('acme/alice')");
        assert_eq!(gateway.number(COUNT), 3);
        set(&mut owner, scope, "");
        assert_eq!(open.number(COUNT), 3);
        lets_in(&world, world.key("alice"));
    }
}

#[test]
fn a_tenant_can_only_ask_for_more_and_a_temporary_holder_only_too() {
    let world = World::new();
    let mut owner = world.db.owner();
    set(
        &mut owner,
        "globex",
        ", amr => '{mfa}', session_length => '8 hours', human_api_keys => false",
    );
    owner.run("SELECT tenancy.create_user('acme', 'ada', 'service', role => 'tenant_admin'), tenancy.create_user('globex', 'temp', 'service');
               SELECT tenancy.assign('globex/temp', 'partner_admin', 'globex', clock_timestamp() + interval '1 day')");
    let mut key = |who: &str| {
        owner.text(&format!(
            "SELECT tenancy.issue_api_key('{who}', 'k', clock_timestamp() + interval '1 hour')"
        ))
    };
    let (ada, temp) = (key("acme/ada"), key("globex/temp"));
    let mut app = world.db.app();
    app.begin(&ada);
    app.fails_inside("SELECT tenancy.set_login_policy('globex')")
        .code("42704");
    app.fails_inside("SELECT tenancy.set_login_policy('acme/ada', amr => '{mfa}')")
        .code("22023");
    set(&mut app, "acme", ", amr => '{hwk}'");
    assert_eq!(
        app.texts("SELECT scope || ' ' || amr::text FROM tenancy.login_policies"),
        ["acme {hwk}"]
    );
    app.run("COMMIT");
    let mut app = world.db.app();
    app.begin(&temp);
    for weaker in [
        "",
        ", amr => '{mfa,otp}', session_length => '8 hours', human_api_keys => false",
        ", amr => '{mfa}', acr => '{gold}', session_length => '8 hours', human_api_keys => false",
        ", amr => '{mfa}', session_length => '9 hours', human_api_keys => false",
        ", amr => '{mfa}', human_api_keys => false",
        ", amr => '{mfa}', session_length => '8 hours'",
    ] {
        app.fails_inside(&format!(
            "SELECT tenancy.set_login_policy('globex'{weaker})"
        ))
        .code("42501")
        .says("outlast");
    }
    set(
        &mut app,
        "globex",
        ", amr => '{mfa}', session_length => '1 hour', human_api_keys => false",
    );
    app.run("COMMIT");
    for bad in [
        ", amr => NULL",
        ", amr => '{NULL}'",
        ", acr => '{\"\"}'",
        ", session_length => '0'",
        ", session_length => '-1 day'",
        ", session_length => '1 month'",
        ", session_length => '59 seconds'",
        ", human_api_keys => NULL",
    ] {
        world
            .db
            .owner()
            .fails(&format!("SELECT tenancy.set_login_policy('globex'{bad})"))
            .code("22023");
    }
}
