//! Domains find a tenant before anybody has logged in, and tell strangers nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

fn resolved(session: &mut Session, host: &str) -> String {
    session.text(&format!(
        "SELECT (SELECT slug FROM tenancy.tenants WHERE id = tenancy.resolve_domain('{host}'))"
    ))
}

/// Claims a domain and returns its token.
fn claim(session: &mut Session, scope: &str, host: &str) -> String {
    session.text(&format!(
        "SELECT tenancy.add_domain('{scope}', '{host}') ->> 'value'"
    ))
}

#[test]
fn a_host_is_that_of_a_verified_domain_or_of_a_slug_below_one() {
    let world = World::bare();
    let (mut owner, mut gateway) = (world.db.owner(), world.db.gateway());
    owner.run("SELECT tenancy.create_tenant('twin', partner => 'globex'), tenancy.create_tenant('twin', partner => 'hooli')");
    let base = claim(&mut owner, "platform", "App.Example.com.");
    assert_eq!(
        resolved(&mut gateway, "acme.app.example.com"),
        "NULL",
        "not verified"
    );
    assert_eq!(
        owner.text(&format!(
            "SELECT tenancy.verify_domain('platform', 'app.example.com', '{{other,{base}}}')"
        )),
        "t"
    );
    let hooli = claim(&mut owner, "hooli", "hooli.io");
    owner.run(&format!(
        "SELECT tenancy.verify_domain('hooli', 'hooli.io', '{{{hooli}}}')"
    ));
    for (host, tenant) in [
        ("acme.app.example.com", "acme"),
        ("ACME.App.Example.com.", "acme"),
        ("soylent.hooli.io", "soylent"),
        ("twin.hooli.io", "twin"),
        ("acme.hooli.io", "NULL"),
        ("twin.app.example.com", "NULL"),
        ("nobody.app.example.com", "NULL"),
        ("x.acme.app.example.com", "NULL"),
        ("globex.app.example.com", "NULL"),
        ("app.example.com", "NULL"),
        ("acme", "NULL"),
        ("", "NULL"),
        ("..", "NULL"),
        ("10.0.0.1", "NULL"),
    ] {
        assert_eq!(resolved(&mut gateway, host), tenant, "{host}");
    }
    owner.run("SELECT tenancy.set_status('acme', 'suspended')");
    assert_eq!(resolved(&mut gateway, "acme.app.example.com"), "NULL");
    owner.run(
        "SELECT tenancy.set_status('acme', 'active'), tenancy.set_status('hooli', 'suspended')",
    );
    assert_eq!(resolved(&mut gateway, "soylent.hooli.io"), "NULL");
    owner.run("SELECT tenancy.remove_domain('platform', 'app.example.com')");
    assert_eq!(resolved(&mut gateway, "acme.app.example.com"), "NULL");
}

#[test]
fn a_claim_does_nothing_until_its_token_was_seen() {
    let world = World::bare();
    let mut owner = world.db.owner();
    let key = owner.text("SELECT tenancy.issue_api_key(tenancy.create_user('acme', 'root', role => 'tenant_admin'), 'k')");
    let mut root = world.db.app();
    root.begin(&key);
    let token = claim(&mut root, "acme", "www.acme.com");
    assert_eq!(
        claim(&mut root, "acme", "WWW.acme.com"),
        token,
        "the same again"
    );
    root.fails_inside(&format!(
        "SELECT tenancy.verify_domain('acme', 'www.acme.com', '{{{token}}}')"
    ))
    .code("42704");
    root.fails_inside("SELECT tenancy.resolve_domain('www.acme.com')")
        .code("42501");
    root.fails_inside("SELECT tenancy.add_domain('umbrella', 'www.acme.com')")
        .code("42704");
    root.fails_inside("SELECT tenancy.add_domain('acme/alice', 'www.acme.com')")
        .code("22023");
    root.fails_inside("SELECT tenancy.remove_domain('acme', 'www.umbrella.com')")
        .code("42704");
    for host in [
        "acme", "1.2.3.4", "a..b", "-a.com", "a_b.com", "a b.com", "ä.com", "",
    ] {
        root.fails_inside(&format!("SELECT tenancy.add_domain('acme', '{host}')"))
            .code("22023");
    }
    root.run("COMMIT");
    // Another tenant claims it too, and learns nothing of the first; who controls the DNS gets it.
    let other = claim(&mut owner, "umbrella", "www.acme.com");
    assert_ne!(other, token);
    let mut bob = world.begin("bob");
    assert!(bob.texts("SELECT host FROM tenancy.domains").is_empty());
    owner.run(&format!(
        "SELECT tenancy.verify_domain('umbrella', 'www.acme.com', '{{{other}}}')"
    ));
    owner
        .fails(&format!(
            "SELECT tenancy.verify_domain('acme', 'www.acme.com', '{{{token}}}')"
        ))
        .code("42710");
    assert_eq!(
        owner.text(&format!(
            "SELECT tenancy.verify_domain('umbrella', 'www.acme.com', '{{{token}}}')"
        )),
        "f"
    );
    let mut gateway = world.db.gateway();
    assert_eq!(resolved(&mut gateway, "www.acme.com"), "umbrella");
    owner.run("SELECT tenancy.remove_domain('umbrella', 'www.acme.com')");
    owner.run(&format!(
        "SELECT tenancy.verify_domain('acme', 'www.acme.com', '{{{token}}}')"
    ));
    assert_eq!(resolved(&mut gateway, "www.acme.com"), "acme");
    root.begin(&key);
    assert_eq!(
        root.texts("SELECT host || (verified_at IS NOT NULL) FROM tenancy.domains"),
        ["www.acme.comtrue"]
    );
    world
        .db
        .stranger()
        .fails("SELECT tenancy.resolve_domain('www.acme.com')")
        .code("42501");
}
