//! Whatever has a lifetime ends with its source: roles, assignments, keys, tickets, providers, mappings, networks, budgets. Intervals
//! are checked by the time at which they end. A managed user cannot block its manager, and every statement checks its context again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use tenancy_client_tests::idp::{Idp, Signer, key_set};
use tenancy_client_tests::{Failure, Session, World};

/// The world with a partner_admin of globex for a day (temp), a super admin of the platform for a day (ted), one without an end who is elevated
/// (sue), and what they will try to change.
fn world() -> (World, Idp) {
    let mut world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_user('globex', 'temp'), tenancy.create_user('platform', 'ted'), tenancy.create_user('platform', 'sue', role => 'super_admin');
         SELECT tenancy.assign('globex/temp', 'partner_admin', 'globex', clock_timestamp() + interval '1 day'),
                tenancy.assign('platform/ted', 'super_admin', 'platform', clock_timestamp() + interval '1 day');
         SELECT tenancy.create_tenant('asleep', partner => 'globex', status => 'suspended'), tenancy.create_user('acme', 'carl', status => 'suspended');
         SELECT tenancy.define_role('acme', 'crew', '{users:view}'), tenancy.assign('acme/alice', 'crew', 'acme'), tenancy.define_role('acme', 'spare', '{users:view}');
         SELECT tenancy.set_allowed_networks('umbrella', '{10.0.0.0/8}');
         SELECT tenancy.define_metric('tokens', 'token'), tenancy.set_budget('acme', 'tokens', 100), tenancy.set_price('tokens', 1, valid_from => '2000-01-01'), tenancy.set_price('tokens', 1, '{}', 'acme');
         SELECT tenancy.define_limit('api', 'rate'), tenancy.define_limit('jobs', 'slots', 'job'), tenancy.define_limit('seats', 'amount', 'seat'),
                tenancy.set_rate_limit('acme', 'api', 10), tenancy.set_slots('acme', 'jobs', 10), tenancy.set_limit('acme', 'seats', 10);
         SELECT tenancy.define_feature('beta'), tenancy.define_setting('theme');
         SELECT tenancy.define_plan('pro', '{\"features\": {\"beta\": true}}'), tenancy.define_plan('own', '{}', 'globex'), tenancy.define_plan('spare', '{}', 'globex'),
                tenancy.define_template('start', '{\"features\": {\"beta\": true}}'), tenancy.set_plan('umbrella', 'pro');",
    );
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    for user in ["temp", "ted", "sue"] {
        let key = owner.text(&format!(
            "SELECT tenancy.issue_api_key(id, 'test') FROM tenancy.users WHERE slug = '{user}'"
        ));
        world.keys.insert(user, key);
    }
    world.learn();
    world
        .begin("sue")
        .run("SELECT tenancy.elevate('ticket 7', '1 hour'); COMMIT");
    (world, idp)
}

fn outlasts(failure: Failure) {
    let failure = failure.code("42501").says("would outlast your permission");
    assert!(failure.detail.unwrap().contains("ends at 2"), "until when");
    assert!(failure.hint.is_some());
}

/// Calls that grant without an end, which a partner_admin of globex may make.
fn for_good(world: &World, idp: &Idp) -> Vec<String> {
    let keys = key_set(&[&Signer::ed("mine", 66)]);
    let issuer = &idp.issuer;
    let id = |slug: &str| world.id(slug).to_string();
    vec![
        "SELECT tenancy.define_role('acme', 'crew', '{users:view,data:read}')".to_owned(),
        "SELECT tenancy.assign('acme/alice', 'member', 'acme')".to_owned(),
        "SELECT tenancy.assign('acme/alice', 'member', 'acme', clock_timestamp() + interval '2 days')".to_owned(),
        "SELECT tenancy.issue_api_key('acme/alice', 'k')".to_owned(),
        "SELECT tenancy.issue_api_key('acme/alice', 'k', clock_timestamp() + interval '2 days')".to_owned(),
        // A user without roles: keys issued by keys:manage end too.
        "SELECT tenancy.issue_api_key('acme/carl', 'k')".to_owned(),
        Idp::new("new").adding("acme", ""),
        format!("SELECT tenancy.set_identity_keys('{issuer}', '{keys}')"),
        format!("SELECT tenancy.set_identity_keys('{issuer}', secret => 'an example secret of enough bytes')"),
        format!("SELECT tenancy.set_identity_provider_enabled('{issuer}', true)"),
        format!("SELECT tenancy.map_group('{issuer}', '*', 'member')"),
        format!("SELECT tenancy.map_group('{issuer}', '*', 'member', 'acme')"),
        "SELECT tenancy.set_status('asleep', 'active')".to_owned(),
        "SELECT tenancy.set_status('acme/carl', 'active')".to_owned(),
        "SELECT tenancy.update_scope('acme', slug => 'acne')".to_owned(),
        "SELECT tenancy.update_scope('acme', settings => '{\"plan\": \"pro\"}')".to_owned(),
        format!("SELECT tenancy.update_scope('{}'::uuid, external_id => 'my subject')", id("alice")),
        "SELECT tenancy.set_allowed_networks('umbrella', NULL)".to_owned(),
        "SELECT tenancy.set_allowed_networks('umbrella', '{10.0.0.0/8,192.0.2.0/24}')".to_owned(),
        "SELECT tenancy.set_allowed_networks('umbrella', '{0.0.0.0/0}')".to_owned(),
        "SELECT tenancy.set_budget('acme', 'tokens', 101)".to_owned(),
        "SELECT tenancy.set_budget('acme', 'tokens', 100, hard => false)".to_owned(),
        "SELECT tenancy.remove_budget('acme', 'tokens')".to_owned(),
        "SELECT tenancy.grant_credit('acme', 'tokens', 5)".to_owned(),
        "SELECT tenancy.set_price('tokens', 2, scope => 'acme')".to_owned(),
        "SELECT tenancy.remove_price('tokens', scope => 'acme')".to_owned(),
        "SELECT tenancy.rerate('tokens', now() - interval '1 day', now(), 'acme')".to_owned(),
        "SELECT tenancy.grant_credit('acme', 'tokens', 5, expires_at => clock_timestamp() + interval '2 days')".to_owned(),
        "SELECT tenancy.set_rate_limit('acme', 'api', 11)".to_owned(),
        "SELECT tenancy.set_rate_limit('acme', 'api', 10, burst => 11)".to_owned(),
        "SELECT tenancy.set_rate_limit('acme', 'api', NULL)".to_owned(),
        "SELECT tenancy.set_slots('acme', 'jobs', 11)".to_owned(),
        "SELECT tenancy.set_limit('acme', 'seats', 11)".to_owned(),
        // It may replace one of the platform.
        "SELECT tenancy.set_limit('umbrella', 'seats', 1)".to_owned(),
        "SELECT tenancy.remove_limit('acme', 'seats')".to_owned(),
        "SELECT tenancy.set_feature('acme', 'beta', 'true')".to_owned(),
        "SELECT tenancy.set_setting('acme', 'theme', '\"dark\"')".to_owned(),
        "SELECT tenancy.define_plan('own', '{\"features\": {\"beta\": true}}', 'globex')".to_owned(),
        "SELECT tenancy.drop_plan('spare', 'globex')".to_owned(),
        "SELECT tenancy.set_plan('acme', 'pro')".to_owned(),
        "SELECT tenancy.set_plan('acme', 'pro', ends_at => clock_timestamp() + interval '2 days')".to_owned(),
        "SELECT tenancy.end_plan('umbrella')".to_owned(),
        "SELECT tenancy.define_template('own', '{}', 'globex')".to_owned(),
        "SELECT tenancy.apply_template('acme', 'start')".to_owned(),
        "SELECT tenancy.onboard('fresh', partner => 'globex')".to_owned(),
        "SELECT tenancy.onboard('fresh', partner => 'globex', admin => NULL, plan => 'pro')".to_owned(),
        "SELECT tenancy.onboard('fresh', partner => 'globex', admin => NULL, template => 'start')".to_owned(),
        "SELECT tenancy.onboard('acme', partner => 'globex', admin => NULL, settings => '{\"theme\": \"dark\"}')".to_owned(),
        "SELECT tenancy.add_domain('acme', 'acme.example')".to_owned(),
    ]
}

/// Calls that revoke, or grant for a time.
const FOR_A_WHILE: [&str; 29] = [
    "SELECT tenancy.define_role('acme', 'crew', '{users:view}', 'the same')",
    "SELECT tenancy.define_role('acme', 'crew', '{}')",
    "SELECT tenancy.define_role('acme', 'fresh', '{data:read}')",
    "SELECT tenancy.define_role('acme', 'spare', '{users:view,data:read}')",
    "SELECT tenancy.drop_role('acme', 'crew')",
    "SELECT tenancy.assign('acme/alice', 'member', 'acme', clock_timestamp() + interval '1 hour')",
    "SELECT tenancy.unassign('acme/alice', 'crew', 'acme')",
    "SELECT tenancy.issue_api_key('acme/alice', 'k', clock_timestamp() + interval '1 hour')",
    "SELECT tenancy.create_user('acme', 'dora')",
    "SELECT tenancy.create_tenant('fresh', partner => 'globex')",
    "SELECT tenancy.create_project('acme', 'web')",
    "SELECT tenancy.set_status('acme', 'suspended')",
    "SELECT tenancy.set_status('acme/alice', 'suspended')",
    "SELECT tenancy.update_scope('acme', name => 'Acme')",
    "SELECT tenancy.update_scope('acme', slug => 'acme', settings => '{}')",
    "SELECT tenancy.set_allowed_networks('umbrella', '{10.1.0.0/16}')",
    "SELECT tenancy.set_allowed_networks('acme', '{10.1.0.0/16}')",
    "SELECT tenancy.set_budget('acme', 'tokens', 99)",
    "SELECT tenancy.set_budget('umbrella', 'tokens', 99)",
    "SELECT tenancy.grant_credit('acme', 'tokens', 5, expires_at => clock_timestamp() + interval '1 hour')",
    "SELECT tenancy.set_identity_provider_enabled('https://acme.example/', false)",
    "SELECT tenancy.drop_identity_provider('https://acme.example/')",
    "SELECT tenancy.set_rate_limit('acme', 'api', 9)",
    "SELECT tenancy.set_slots('acme', 'jobs', 9)",
    "SELECT tenancy.set_limit('acme', 'seats', 9)",
    "SELECT tenancy.set_feature('umbrella', 'beta', NULL)",
    "SELECT tenancy.set_plan('acme', 'pro', ends_at => clock_timestamp() + interval '1 hour')",
    "SELECT tenancy.onboard('fresh', partner => 'globex', admin => NULL)",
    "SELECT tenancy.onboard('fresh', partner => 'globex', admin => NULL, plan => 'pro', trial_ends_at => clock_timestamp() + interval '1 hour')",
];

fn works(session: &mut Session, who: &str, call: &str) {
    session.run("SAVEPOINT tried");
    if let Err(error) = session.batch_execute(call) {
        panic!("{who}: {call}: {:?}", Failure::from(&error));
    }
    session.run("ROLLBACK TO tried; RELEASE tried");
}

// F22, F23: found by a role, a provider and a mapping.
#[test]
fn a_temporary_holder_grants_nothing_without_an_end() {
    let (world, idp) = world();
    for call in for_good(&world, &idp) {
        works(&mut world.begin("ops"), "ops", &call);
        for user in ["temp", "ted"] {
            let mut session = world.begin(user);
            // A super admin changes a tenant's users and providers only while elevated.
            let acting = user == "ted"
                && [
                    "issue_api_key",
                    "identity",
                    "onboard('fresh', partner => 'globex')",
                ]
                .iter()
                .any(|made| call.contains(made));
            if acting {
                session.fails_inside(&call).code("42501");
            } else {
                outlasts(session.fails_inside(&call));
            }
        }
    }
    let mut ted = world.begin("ted");
    outlasts(ted.fails_inside("SELECT tenancy.move_tenant('acme', 'hooli')"));
    for call in FOR_A_WHILE {
        let call = call.replace("https://acme.example/", &idp.issuer);
        works(&mut world.begin("temp"), "temp", &call);
    }
}

// F22: and what it gave for a while is over with it.
#[test]
fn what_was_given_for_a_while_is_over_with_the_giver() {
    let (world, _) = world();
    let mut temp = world.begin("temp");
    temp.run("SELECT tenancy.define_role('acme', 'fresh', '{data:read,users:manage}'), tenancy.create_user('acme', 'dora', role => 'fresh')");
    temp.run("COMMIT");
    let key = world
        .db
        .owner()
        .text("SELECT tenancy.issue_api_key(id, 'test') FROM tenancy.users WHERE slug = 'dora'");
    let held = "SELECT tenancy.has_permission('users:manage')";
    assert_eq!(world.db.app().begin(&key).text(held), "t");
    // An administrator assigns the role: its permissions end with the role nevertheless.
    world
        .db
        .owner()
        .run("SELECT tenancy.assign('acme/dora', 'fresh', 'acme')");
    assert_eq!(world.db.app().begin(&key).text(held), "t");
    world.db.admin().run(
        "UPDATE tenancy_internal.role_definitions SET expires_at = clock_timestamp() - interval '1 second' WHERE name = 'fresh'",
    );
    assert_eq!(world.db.app().begin(&key).text(held), "f");
    // Until it is defined again by one who does.
    world
        .db
        .owner()
        .run("SELECT tenancy.define_role('acme', 'fresh', '{data:read,users:manage}')");
    assert_eq!(world.db.app().begin(&key).text(held), "t");
}

// F24
#[test]
fn what_an_elevation_gives_ends_with_it() {
    let (world, idp) = world();
    let mut sue = world.begin("sue");
    let keys = key_set(&[&Signer::ed("mine", 66)]);
    for call in [
        "SELECT tenancy.issue_api_key('acme/alice', 'mine')".to_owned(),
        "SELECT tenancy.issue_api_key('acme/alice', 'mine', clock_timestamp() + interval '2 hours')".to_owned(),
        Idp::new("new").adding("acme", ""),
        format!("SELECT tenancy.set_identity_keys('{}', '{keys}')", idp.issuer),
        format!("SELECT tenancy.set_identity_provider_enabled('{}', true)", idp.issuer),
        format!("SELECT tenancy.update_identity_provider('{}', aliases => '{{https://mine.example/}}')", idp.issuer),
    ] {
        outlasts(sue.fails_inside(&call));
    }
    sue.run("SELECT tenancy.issue_api_key('acme/alice', 'mine', clock_timestamp() + interval '30 minutes')");
    // The permissions that she has without elevation have no end.
    for call in [
        "SELECT tenancy.issue_api_key('platform/ted', 'k')",
        "SELECT tenancy.assign('acme/alice', 'tenant_admin', 'acme')",
        "SELECT tenancy.define_role('acme', 'crew', '{users:view,data:read}')",
        "SELECT tenancy.move_tenant('acme', 'hooli')",
    ] {
        works(&mut sue, "sue", call);
    }
    sue.run("COMMIT");
    // A trusted role in her context has her permissions, and no more.
    let mut gateway = world.db.gateway();
    gateway.run("BEGIN; SELECT tenancy.assume('platform/sue')");
    outlasts(gateway.fails_inside("SELECT tenancy.issue_ticket('acme/alice', '2 hours')"));
    gateway.run("SELECT tenancy.issue_ticket('acme/alice', '5 minutes')");
    gateway.run("SELECT tenancy.issue_ticket('platform/sue', '2 days')");
    gateway.run("COMMIT; SELECT tenancy.issue_ticket('acme/alice', '2 days')");
    let mut temp = world.db.gateway();
    temp.run("BEGIN; SELECT tenancy.assume('globex/temp')");
    outlasts(temp.fails_inside("SELECT tenancy.issue_ticket('acme/alice', '2 days')"));
}

const BOUNDED: &str = "assign create_partner create_tenant create_project create_user define_metric define_role grant_credit issue_api_key remove_budget set_budget set_status update_scope move_tenant \
    add_identity_provider update_identity_provider set_identity_keys set_identity_provider_enabled map_group set_allowed_networks \
    set_rate_limit set_slots set_limit remove_limit define_feature define_setting set_feature set_setting define_plan drop_plan set_plan end_plan \
    define_template apply_template onboard add_domain verify_domain set_login_policy set_price remove_price rerate close_usage";
/// They leave asking to others: to these, or to the functions that they call for each part.
const ASK_BY: [&str; 7] = [
    "set_a_limit",
    "put_option",
    "define_option",
    "put_template",
    "put_tenant",
    "put_budget",
    "put_credit",
];
/// They remove, read or record, or are checked again at each use (an elevation ends with the right to it).
const GIVES_NOTHING: &str = "drop_role unassign elevate end_elevation revoke_api_key drop_identity_provider \
    unmap_group revoke_credit record_usage_many forecast tree top_usage usage rated_usage export_usage \
    record_usage_each alerts_since \
    define_limit drop_template remove_domain set_legal_hold release_legal_hold \
    set_secret remove_secret rotate_tenant_key drop_old_tenant_keys erase_tenant_key reseal_keyring";

#[test]
fn every_management_function_gives_nothing_or_is_bounded() {
    let world = World::bare();
    let found: BTreeSet<String> = world
        .db
        .admin()
        .texts("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'tenancy'::regnamespace AND prosrc = 'managed_wrapper'")
        .into_iter()
        .collect();
    let list = |names: &str| {
        names
            .split_whitespace()
            .map(str::to_owned)
            .collect::<BTreeSet<String>>()
    };
    let known: BTreeSet<String> = list(BOUNDED).union(&list(GIVES_NOTHING)).cloned().collect();
    assert_eq!(
        found, known,
        "decide whether what a new function gives outlasts its caller"
    );
    // Those that are bounded ask.
    let by = ASK_BY.join("|");
    let asking = world.db.admin().texts(&format!(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'tenancy_internal'::regnamespace AND pg_get_functiondef(oid) ~ '[.](require_lasting|require_lasting_id|authorize_signing|{by})[(]'",
    ));
    let asking: BTreeSet<String> = asking.into_iter().collect();
    for name in list(BOUNDED) {
        assert!(asking.contains(&name), "{name} does not ask");
    }
}

/// Calls with an argument that is a span or a time, as who calls them; `$` is the argument.
const SPANS: [(&str, &str, &str); 8] = [
    ("elevate.ttl", "sue", "tenancy.elevate('x', $)"),
    (
        "issue_ticket.ttl",
        "",
        "tenancy.issue_ticket('acme/alice', $)",
    ),
    (
        "rotate_signing_key.grace",
        "",
        "tenancy.rotate_signing_key($)",
    ),
    ("reserve.ttl", "alice", "tenancy.reserve('tokens', 1, $)"),
    (
        "extend.ttl",
        "alice",
        "tenancy.extend(tenancy.reserve('tokens', 1), $)",
    ),
    (
        "acquire_slot.ttl",
        "alice",
        "tenancy.acquire_slot('jobs', $, 'release')",
    ),
    (
        "try_acquire_slot.ttl",
        "alice",
        "tenancy.try_acquire_slot('jobs', $, 'release')",
    ),
    (
        "add_identity_provider.leeway",
        "",
        "tenancy.add_identity_provider('acme', 'https://x.example/', '{x}', secret => 'an example secret of enough bytes', leeway => $)",
    ),
];
const BAD_SPANS: [&str; 17] = [
    "NULL",
    "'-1 day'",
    "'-1 microsecond'",
    "'1 month'",
    "'-1 month'",
    "'1 month -31 days'",
    "'1 month -30 days'",
    // Compares as a second, a minute, a day; comes to more or to less by the month.
    "'1 month -30 days +1 second'",
    "'1 month -30 days +1 minute'",
    "'1 month -29 days'",
    "'-1 month +31 days'",
    "'1 year -365 days +1 minute'",
    "'1 day -24 hours -1 microsecond'",
    "'8 days'",
    "'178000000 years'",
    "'-178000000 years'",
    "'2147483647 days'",
];
/// As above; also whether NULL and a time in the past are accepted.
const TIMES: [(&str, &str, &str, bool, bool); 21] = [
    (
        "set_budget.anchor",
        "",
        "tenancy.set_budget('acme', 'tokens', 1, '30 days', anchor => $)",
        false,
        false,
    ),
    (
        "issue_api_key.expires_at",
        "",
        "tenancy.issue_api_key('acme/alice', 'k', $)",
        true,
        false,
    ),
    (
        "assign.expires_at",
        "",
        "tenancy.assign('acme/alice', 'member', 'acme', $)",
        true,
        false,
    ),
    (
        "grant_credit.expires_at",
        "",
        "tenancy.grant_credit('acme', 'tokens', 1, expires_at => $)",
        true,
        false,
    ),
    (
        "grant_credit.effective_at",
        "",
        "tenancy.grant_credit('acme', 'tokens', 1, effective_at => $)",
        true,
        true,
    ),
    (
        "set_plan.starts_at",
        "",
        "tenancy.set_plan('acme', 'pro', starts_at => $)",
        true,
        true,
    ),
    (
        "set_plan.ends_at",
        "",
        "tenancy.set_plan('acme', 'pro', ends_at => $)",
        true,
        false,
    ),
    (
        "end_plan.at",
        "",
        "tenancy.end_plan('acme', at => $)",
        true,
        false,
    ),
    (
        "onboard.trial_ends_at",
        "",
        "tenancy.onboard('fresh', partner => 'globex', plan => 'pro', trial_ends_at => $)",
        true,
        false,
    ),
    (
        "record_usage.at",
        "alice",
        "tenancy.record_usage('tokens', 1, at => $)",
        true,
        true,
    ),
    (
        "record_usage_for.at",
        "gateway",
        "tenancy.record_usage_for('acme/alice', 'tokens', 1, at => $)",
        true,
        true,
    ),
    (
        "usage.since",
        "",
        "(SELECT count(*) FROM tenancy.usage('acme', 'tokens', $, NULL, 'hour'))",
        true,
        true,
    ),
    (
        "usage.until",
        "",
        "(SELECT count(*) FROM tenancy.usage('acme', 'tokens', NULL, $, 'hour'))",
        true,
        true,
    ),
    (
        "set_price.valid_from",
        "",
        "tenancy.set_price('tokens', 1, valid_from => $)",
        true,
        true,
    ),
    (
        "remove_price.valid_from",
        "",
        "tenancy.remove_price('tokens', valid_from => $)",
        true,
        true,
    ),
    (
        "rated_usage.since",
        "",
        "(SELECT count(*) FROM tenancy.rated_usage('acme', 'tokens', $, '9000-01-01'))",
        false,
        true,
    ),
    (
        "rated_usage.until",
        "",
        "(SELECT count(*) FROM tenancy.rated_usage('acme', 'tokens', '2000-01-01', $))",
        false,
        true,
    ),
    (
        "rerate.since",
        "",
        "(SELECT count(*) FROM tenancy.rerate('tokens', $, '9000-01-01'))",
        false,
        true,
    ),
    (
        "rerate.until",
        "",
        "(SELECT count(*) FROM tenancy.rerate('tokens', '2000-01-01', $))",
        false,
        true,
    ),
    (
        "verify_audit_log.since",
        "",
        "(SELECT count(*) FROM tenancy.verify_audit_log($))",
        true,
        true,
    ),
    (
        "close_usage.until",
        "",
        "tenancy.close_usage('acme', $)",
        false,
        true,
    ),
];
const BAD_TIMES: [(&str, &str); 6] = [
    ("now() - interval '1 second'", "past"),
    ("clock_timestamp() - interval '1 microsecond'", "past"),
    ("'4713-01-01 BC'", "far"),
    ("'294276-12-31 23:59:59.999999'", "far"),
    ("'infinity'", "open"),
    ("'-infinity'", "open"),
];

#[test]
fn spans_and_times_are_checked_by_what_they_come_to() {
    let (world, _) = world();
    let session = |who: &str| match who {
        "" => {
            let mut owner = world.db.owner();
            owner.run("BEGIN");
            owner
        }
        "gateway" => {
            let mut gateway = world.db.gateway();
            gateway.run("BEGIN");
            gateway
        }
        user => world.begin(user),
    };
    let found: BTreeSet<String> = world
        .db
        .admin()
        .texts(
            "SELECT proname || '.' || a.name FROM pg_proc p, unnest(p.proargnames, p.proargtypes::oid[]) a (name, type)
              WHERE pronamespace = 'tenancy'::regnamespace AND a.type IN ('interval'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)",
        )
        .into_iter()
        .collect();
    let named = SPANS.iter().map(|s| s.0).chain(TIMES.iter().map(|t| t.0));
    let mut known: BTreeSet<String> = named.map(str::to_owned).collect();
    // They hand them on to usage(); identity::policies and identity::providers try the last two.
    let others = [
        "top_usage.since",
        "top_usage.until",
        "set_login_policy.session_length",
        "update_identity_provider.leeway",
    ];
    known.extend(others.map(str::to_owned));
    assert_eq!(found, known, "a span or a time that is not tried");
    for (name, who, call) in SPANS {
        let mut session = session(who);
        for bad in BAD_SPANS {
            let failure = session.fails_inside(&format!("SELECT {}", call.replace('$', bad)));
            assert_eq!(failure.code, "22023", "{name} {bad}: {failure:?}");
        }
        let good = if name.ends_with("leeway") {
            "'1 day -23:59:00'"
        } else {
            "'1 day -1 hour'"
        };
        works(
            &mut session,
            who,
            &format!("SELECT {}", call.replace('$', good)),
        );
    }
    for (name, who, call, null, past) in TIMES {
        let mut session = session(who);
        for (bad, kind) in BAD_TIMES {
            let call = format!("SELECT {}", call.replace('$', bad));
            let reads = name.starts_with("usage.") || name.starts_with("verify");
            if (kind == "past" && past) || (kind == "open" && reads) || name.starts_with("verify") {
                works(&mut session, who, &call);
            } else {
                let failure = session.fails_inside(&call);
                assert_eq!(failure.code, "22023", "{name} {bad}: {failure:?}");
            }
        }
        if null {
            works(
                &mut session,
                who,
                &format!("SELECT {}", call.replace('$', "NULL")),
            );
        }
    }
}

/// Locks that a managed user's session may hold and keep.
fn lockers() -> Vec<(&'static str, String)> {
    let ada = |sql: &str| ("ada", sql.to_owned());
    vec![
        ada("SELECT tenancy.update_scope('acme', name => 'Acme')"),
        ada("SELECT tenancy.update_scope('acme/alice', name => 'Alice')"),
        ada("SELECT tenancy.set_status('acme/alice', 'active')"),
        ada("SELECT tenancy.revoke_api_key(id) FROM tenancy.api_keys ORDER BY user_slug = 'ada'"),
        ada("SELECT tenancy.assign('acme/alice', 'crew', 'acme', clock_timestamp() + interval '1 day')"),
        ada("SELECT tenancy.unassign('acme/alice', 'member', 'acme'), tenancy.unassign('acme/alice', 'local', 'acme')"),
        ada("SELECT tenancy.define_role('acme', 'local', '{data:read}')"),
        ada("SELECT tenancy.drop_role('acme', 'local')"),
        ada("SELECT tenancy.set_allowed_networks('acme', '{127.0.0.0/8,0.0.0.0/0}')"),
        ada("SELECT tenancy.set_budget('acme', 'tokens', 500); SELECT tenancy.grant_credit('acme', 'tokens', 5)"),
        ada("SELECT tenancy.create_user('acme', 'nick'), tenancy.create_project('acme', 'web')"),
        ada("SAVEPOINT a; SELECT tenancy.update_scope('acme', name => 'Acme'); SAVEPOINT b; SELECT tenancy.set_status('acme/alice', 'active')"),
        ("alice", "INSERT INTO app.notes (body) VALUES ('x'); SELECT * FROM app.notes FOR UPDATE; LOCK TABLE tenancy.users, tenancy.api_keys IN ACCESS SHARE MODE".to_owned()),
        ("alice", "SELECT tenancy.consume('tokens', 1), tenancy.reserve('tokens', 1)".to_owned()),
        ("login", String::new()),
    ]
}

/// Calls of the manager, a partner_admin of globex; the last ones are an administrator's.
fn managing(idp: &Idp) -> Vec<String> {
    let keys = key_set(&[&idp.signer]);
    let issuer = &idp.issuer;
    [
        "set_status('acme', 'suspended')",
        "set_status('acme/alice', 'suspended')",
        "revoke_api_key(id) FROM tenancy.api_keys WHERE user_slug IN ('alice', 'ada')",
        "define_role('globex', 'crew', '{users:view}')",
        "drop_role('globex', 'crew')",
        "define_role('acme', 'local', '{users:view}')",
        "drop_role('acme', 'local')",
        "assign('acme/alice', 'crew', 'acme')",
        "unassign('acme/alice', 'member', 'acme')",
        "set_allowed_networks('acme', '{10.0.0.0/8}')",
        "update_scope('acme', name => 'Acme Ltd')",
        "set_identity_provider_enabled('ISSUER', false)",
        "set_identity_keys('ISSUER', 'KEYS')",
        "map_group('ISSUER', 'staff', 'member')",
        "unmap_group('ISSUER', '*', 'member')",
        "drop_identity_provider('ISSUER')",
        "set_budget('acme', 'tokens', 2000)",
        "grant_credit('acme', 'tokens', 5)",
        "remove_budget('acme', 'tokens')",
        "create_user('acme', 'nick')",
        "create_project('acme', 'web')",
        "move_tenant('acme', 'hooli')",
    ]
    .map(|call| {
        format!(
            "SELECT tenancy.{}",
            call.replace("ISSUER", issuer).replace("KEYS", &keys)
        )
    })
    .to_vec()
}

/// The world with a tenant_admin of acme (ada), roles of the partner's and of the tenant's, and a provider.
fn managed() -> (World, Idp) {
    let mut world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_user('acme', 'ada', role => 'tenant_admin');
         SELECT tenancy.define_role('globex', 'crew', '{data:read}'), tenancy.define_role('acme', 'local', '{data:read}');
         SELECT tenancy.assign('acme/alice', 'local', 'acme'), tenancy.define_metric('tokens', 'token');
         SELECT tenancy.set_budget('acme', 'tokens', 1000);
         SELECT tenancy.set_allowed_networks('acme', '{127.0.0.0/8,0.0.0.0/0,::/0}'); SELECT tenancy.set_allowed_networks('acme', NULL)",
    );
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    let key = owner.text("SELECT tenancy.issue_api_key('acme/ada', 'test')");
    world.keys.insert("ada", key);
    world.learn();
    (world, idp)
}

/// A session that holds what it has locked.
fn holding(world: &World, idp: &Idp, who: &str, sql: &str) -> Session {
    let mut session = world.db.app();
    if who == "login" {
        session.begin(&idp.token_in("zoe", &["staff"]));
    } else {
        session.begin(world.key(who)).run(sql);
    }
    session
}

fn is_alive(admin: &mut Session, pid: i32) -> bool {
    admin.text(&format!("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid} AND state = 'idle in transaction')")) == "t"
}

// F7: each of them within a second, whatever is held.
#[test]
fn managed_users_never_block_their_managers() {
    let (world, idp) = managed();
    let mut admin = world.db.admin();
    for (who, sql) in lockers() {
        let mut held = holding(&world, &idp, who, &sql);
        let mut pid = held.pid();
        for call in managing(&idp) {
            for by in ["owner", "ops"] {
                // Another partner is the platform's to give.
                if by == "ops" && call.contains("move_tenant") {
                    continue;
                }
                if !is_alive(&mut admin, pid) {
                    held = holding(&world, &idp, who, &sql);
                    pid = held.pid();
                }
                let mut manager = if by == "ops" {
                    world.begin("ops")
                } else {
                    world.db.owner()
                };
                if by == "owner" {
                    manager.run("BEGIN");
                }
                manager.run("SET LOCAL statement_timeout = '1s'");
                if let Err(error) = manager.batch_execute(&call) {
                    panic!(
                        "{by}: {call}, while {who} holds {sql}: {:?}",
                        Failure::from(&error)
                    );
                }
                manager.run("ROLLBACK");
            }
        }
        drop(held);
    }
}

#[test]
fn a_manager_ends_only_blocking_sessions_of_users_below() {
    let (world, idp) = managed();
    let mut admin = world.db.admin();
    // In another tenant, in the tenant and not in the way, and above.
    let mut bob = world.begin("bob");
    bob.run("INSERT INTO app.notes (body) VALUES ('x')");
    let mut alice = world.begin("alice");
    alice.run("INSERT INTO app.notes (body) VALUES ('x')");
    let mut beside = holding(
        &world,
        &idp,
        "ada",
        "SELECT tenancy.create_user('acme', 'nick')",
    );
    let mut held = holding(
        &world,
        &idp,
        "ada",
        "SELECT tenancy.update_scope('acme', name => 'A')",
    );
    let (beside_pid, held_pid) = (beside.pid(), held.pid());
    let mut ops = world.begin("ops");
    ops.run("SET LOCAL statement_timeout = '1s'; SELECT tenancy.update_scope('acme', name => 'B')");
    assert!(!is_alive(&mut admin, held_pid));
    assert!(is_alive(&mut admin, beside_pid));
    beside.run("COMMIT");
    alice.run("COMMIT");
    bob.run("COMMIT");
    // A managed user waits for its manager.
    let mut ada = world.begin("ada");
    ada.run("SET LOCAL lock_timeout = '600ms'");
    ada.fails("SELECT tenancy.update_scope('acme', name => 'C')")
        .code("55P03");
    // And equals for each other.
    let mut other = world.db.owner();
    other.run("BEGIN; SELECT tenancy.update_scope('umbrella', name => 'U')");
    let mut owner = world.db.owner();
    owner.run("BEGIN; SET LOCAL lock_timeout = '600ms'");
    owner
        .fails("SELECT tenancy.update_scope('umbrella', name => 'V')")
        .code("55P03");
    ops.run("SELECT 1; COMMIT");
}

#[test]
fn what_manages_is_not_prepared() {
    let (world, idp) = managed();
    for (who, sql) in lockers() {
        if who == "alice" {
            // It locks nothing that a manager's call needs.
            continue;
        }
        holding(&world, &idp, who, &sql)
            .fails("PREPARE TRANSACTION 'held'")
            .code("0A000")
            .says("management function");
    }
}

/// Statements of the context's user in an open transaction.
const WORK: [&str; 7] = [
    "SELECT count(*) FROM app.notes",
    "INSERT INTO app.notes (body) VALUES ('later')",
    "UPDATE app.notes SET body = 'later'",
    "SELECT tenancy.consume('tokens', 1)",
    "SELECT tenancy.reserve('tokens', 1)",
    "SELECT tenancy.record_usage('tokens', 1)",
    "EXECUTE mine",
];

#[test]
fn each_statement_asks_again() {
    let (world, _) = managed();
    let undo = "SELECT tenancy.set_status('acme', 'active'), tenancy.set_status('acme/alice', 'active'), tenancy.assign('acme/alice', 'member', 'acme')";
    for change in [
        "SELECT tenancy.set_status('acme', 'suspended')",
        "SELECT tenancy.set_status('globex', 'suspended')",
        "SELECT tenancy.set_status('acme/alice', 'archived')",
        "SELECT tenancy.revoke_api_key(id) FROM tenancy.api_keys WHERE user_slug = 'alice'",
        "SELECT tenancy.set_allowed_networks('acme', '{192.0.2.1}')",
    ] {
        let key = world.another_key("alice");
        for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
            let mut alice = world.db.app();
            alice
                .run(&format!("BEGIN ISOLATION LEVEL {isolation}"))
                .login(&key);
            alice.run("PREPARE mine AS SELECT count(*) FROM app.notes; DECLARE c CURSOR FOR SELECT id FROM app.notes; FETCH 1 FROM c");
            for work in WORK {
                works(&mut alice, "alice", work);
            }
            let mut owner = world.db.owner();
            owner.run("BEGIN").run(change);
            works(&mut alice, "alice", WORK[0]);
            owner.run("COMMIT");
            for work in WORK.iter().chain(&["FETCH 1 FROM c"]) {
                let failure = alice.fails_inside(work);
                assert_eq!(failure.code, "42501", "{change}: {work}: {failure:?}");
            }
            alice.run("ROLLBACK; DEALLOCATE ALL");
            if isolation == "READ COMMITTED" && change.contains("revoke") {
                break;
            }
            owner.run("SELECT tenancy.set_status('globex', 'active'), tenancy.set_allowed_networks('acme', NULL)").run(undo);
        }
    }
}

// Also where it has written, and reads as of its begin.
#[test]
fn a_transaction_that_sees_no_changes_hears_of_them() {
    let (world, _) = managed();
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for work in &WORK[..6] {
            let mut alice = world.db.app();
            alice
                .run(&format!("BEGIN ISOLATION LEVEL {isolation}"))
                .login(world.key("alice"));
            alice
                .run("INSERT INTO app.notes (body) VALUES ('before')")
                .run(work);
            let mut owner = world.db.owner();
            owner.run("SELECT tenancy.set_status('acme', 'suspended')");
            let failure = alice.fails(work);
            assert_eq!(failure.code, "42501", "{isolation}: {work}: {failure:?}");
            owner.run("SELECT tenancy.set_status('acme', 'active')");
        }
    }
}

#[test]
fn a_removed_or_expired_role_ends_at_the_next_statement() {
    let (world, _) = managed();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.unassign('acme/alice', 'local', 'acme')");
    let mut alice = world.begin("alice");
    assert_eq!(alice.number("SELECT count(*) FROM app.notes"), 3);
    owner.run("SELECT tenancy.unassign('acme/alice', 'member', 'acme')");
    assert!(
        alice
            .batch_execute("SAVEPOINT s; INSERT INTO app.notes (body) VALUES ('x')")
            .is_err()
    );
    alice.run("ROLLBACK TO s");
    assert_ne!(
        alice
            .query("SELECT FROM app.notes", &[])
            .map_or(0, |rows| rows.len()),
        3
    );
    drop(alice);
    owner.run("SELECT tenancy.assign('acme/alice', 'member', 'acme', clock_timestamp() + interval '2 seconds')");
    let mut alice = world.begin("alice");
    assert_eq!(alice.number("SELECT count(*) FROM app.notes"), 3);
    let mut owner = world.db.owner();
    while owner.text("SELECT bool_and(expired) FROM tenancy.assignments WHERE user_slug = 'alice'")
        != "t"
    {}
    alice.run("SAVEPOINT s");
    assert_ne!(
        alice
            .query("SELECT FROM app.notes", &[])
            .map_or(0, |rows| rows.len()),
        3
    );
}

/// A key of alice's that sue issued while elevated, and a ticket that a gateway issued with her power.
fn given_by_elevation(world: &World) -> (String, String) {
    let mut sue = world.begin("sue");
    let key = sue.text("SELECT tenancy.issue_api_key('acme/alice', 'mine', clock_timestamp() + interval '30 minutes')");
    sue.run("COMMIT");
    let mut gateway = world.db.gateway();
    gateway.run("BEGIN; SELECT tenancy.assume('platform/sue')");
    let ticket = gateway.text("SELECT tenancy.issue_ticket('acme/alice', '30 minutes')");
    gateway.run("COMMIT");
    (key, ticket)
}

const NOTES: &str = "SELECT count(*) FROM app.notes";

/// Sessions that were opened by what an elevation gave, in a transaction and between two.
fn opened(world: &World, key: &str, ticket: &str) -> Vec<Session> {
    let mut sessions = Vec::new();
    for credential in [key, ticket] {
        let mut app = world.db.app();
        app.begin(credential);
        sessions.push(app);
        let mut app = world.db.app();
        app.login_session(credential);
        sessions.push(app);
    }
    let mut app = world.db.app();
    app.run(&format!("SET tenancy.ticket = '{ticket}'"));
    sessions.push(app);
    for session in &mut sessions {
        assert_eq!(session.number(NOTES), 3);
    }
    sessions
}

#[track_caller]
fn nothing_is_left(world: &World, sessions: Vec<Session>, key: &str, ticket: &str) {
    for mut session in sessions {
        session.fails(NOTES).code("42501");
    }
    for credential in [key, ticket] {
        let failure = world.db.app().try_login(credential).unwrap_err();
        assert_eq!(failure.code("42501").message, "invalid credential");
    }
    let mut app = world.db.app();
    app.run(&format!("SET tenancy.ticket = '{ticket}'"));
    app.fails(NOTES).code("42501");
}

#[test]
fn what_an_elevation_gave_ends_when_it_is_ended_early() {
    let (world, _) = world();
    let (key, ticket) = given_by_elevation(&world);
    // What she could have given without, stays.
    let mut sue = world.begin("sue");
    let lasting = sue.text("SELECT tenancy.issue_api_key('platform/ted', 'k')");
    sue.run("COMMIT");
    let sessions = opened(&world, &key, &ticket);
    world
        .begin("sue")
        .run("SELECT tenancy.end_elevation(); COMMIT");
    nothing_is_left(&world, sessions, &key, &ticket);
    let mut owner = world.db.owner();
    assert_eq!(
        owner.text("SELECT state FROM tenancy.api_keys WHERE name = 'mine'"),
        "revoked"
    );
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.key.revoked'"),
        1
    );
    world.db.app().begin(&lasting).run("COMMIT");
    // Another elevation brings nothing back.
    world
        .begin("sue")
        .run("SELECT tenancy.elevate('ticket 8', '1 hour'); COMMIT");
    nothing_is_left(&world, Vec::new(), &key, &ticket);
    world.begin("alice").number(NOTES);
}

#[test]
fn what_an_elevation_gave_ends_with_the_right_to_it() {
    for (end, again) in [
        (
            "SELECT tenancy.unassign('platform/sue', 'super_admin', 'platform')",
            "SELECT tenancy.assign('platform/sue', 'super_admin', 'platform')",
        ),
        (
            "SELECT tenancy.set_status('platform/sue', 'suspended')",
            "SELECT tenancy.set_status('platform/sue', 'active')",
        ),
    ] {
        let (world, _) = world();
        let (key, ticket) = given_by_elevation(&world);
        let sessions = opened(&world, &key, &ticket);
        world.db.owner().run(end);
        nothing_is_left(&world, sessions, &key, &ticket);
        // It is the elevation's: as she is, it is.
        world.db.owner().run(again);
        world.db.app().begin(&key).number(NOTES);
    }
    // A retired signing key ends its tickets, also these.
    let (world, _) = world();
    let (key, ticket) = given_by_elevation(&world);
    let mut app = world.db.app();
    app.login_session(&ticket);
    world
        .db
        .owner()
        .run("SELECT tenancy.rotate_signing_key('0')");
    app.fails(NOTES).code("42501");
    world.db.app().begin(&key).number(NOTES);
}

/// Logins find users by their external ids, and rows are found by those of tenants: they stay.
#[test]
fn a_temporary_holder_sets_no_external_id() {
    let (world, _) = world();
    for (call, who) in [
        (
            "create_user('acme', 'dora', external_id => 'my subject')",
            "temp",
        ),
        (
            "create_user('globex', 'dora', external_id => 'my subject')",
            "temp",
        ),
        ("create_project('acme', 'web', external_id => 'x')", "temp"),
        (
            "create_user('acme', 'dora', external_id => 'my subject')",
            "ted",
        ),
        (
            "create_tenant('fresh', partner => 'globex', external_id => '99')",
            "ted",
        ),
        ("create_partner('fresh', external_id => '99')", "ted"),
        ("define_metric('tokens', 'token', price => 0)", "ted"),
        ("define_feature('beta', default_value => 'true')", "ted"),
        ("define_setting('theme', level => 'user')", "ted"),
    ] {
        outlasts(
            world
                .begin(who)
                .fails_inside(&format!("SELECT tenancy.{call}")),
        );
    }
    for call in [
        "SELECT tenancy.create_tenant('fresh', partner => 'globex')",
        "SELECT tenancy.create_partner('fresh')",
        "SELECT tenancy.define_metric('tokens', 'token')",
        "SELECT tenancy.define_metric('fresh', 'piece', price => 1)",
        "SELECT tenancy.define_feature('beta', description => 'new')",
        "SELECT tenancy.define_feature('fresh', default_value => 'true')",
    ] {
        works(&mut world.begin("ted"), "ted", call);
    }
    for call in [
        "SELECT tenancy.create_user('acme', 'dora', external_id => 'her subject')",
        "SELECT tenancy.create_project('acme', 'web', external_id => 'x')",
    ] {
        works(&mut world.begin("ops"), "ops", call);
    }
}
