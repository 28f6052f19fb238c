//! Forged tokens of identity providers, and tokens for other audiences, are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;
use tenancy_client_tests::World;
use tenancy_client_tests::idp::{AUDIENCE, Idp, Signer, key_set, now, refused, unsigned};

const SECRET: &str = "an example secret of enough bytes";

#[test]
fn a_forged_header_opens_nothing() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp {
        signer: Signer::rsa("rsa"),
        ..Idp::new("acme")
    }
    .add(&mut owner, "acme", "create_users => true");
    let mut app = world.db.app();
    app.begin(&idp.token("zoe")).run("COMMIT");
    let claims = idp.claims("zoe");
    // Without a signature.
    for alg in ["none", "None", "NONE", "RS256", "HS256"] {
        let signed = unsigned(&json!({"alg": alg, "kid": "rsa"}), &claims);
        for token in [format!("{signed}."), format!("{signed}.AA")] {
            refused(&mut app, &token);
        }
    }
    // The public key as a secret: its text, its numbers, the whole set.
    let jwk = idp.signer.jwk();
    for secret in [
        jwk.to_string(),
        key_set(&[&idp.signer]),
        jwk["n"].as_str().unwrap().to_owned(),
        String::new(),
    ] {
        for alg in ["HS256", "RS256"] {
            let header = json!({"alg": alg, "kid": "rsa"});
            refused(
                &mut app,
                &Signer::hs("rsa", secret.as_bytes()).sign(&header, &claims),
            );
        }
    }
    // A key of the attacker's own, named or brought along.
    let own = Signer::ed("own", 66);
    for header in [
        json!({"alg": "EdDSA", "kid": "own"}),
        json!({"alg": "EdDSA", "kid": "rsa"}),
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "kid": "own", "jwk": own.jwk()}),
        json!({"alg": "EdDSA", "kid": "rsa", "jku": "https://attacker.example/keys"}),
        json!({"alg": "RS256", "kid": "rsa", "x5u": "https://attacker.example/cert"}),
    ] {
        refused(&mut app, &own.sign(&header, &claims));
    }
    // An unknown critical extension.
    let header = json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false});
    refused(&mut app, &idp.signer.sign(&header, &claims));
}

#[test]
fn a_token_for_another_time_or_another_application_opens_nothing() {
    let world = World::new();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    let mut app = world.db.app();
    for changes in [
        json!({"aud": "another"}),
        json!({"aud": ["another"]}),
        json!({"aud": null}),
        json!({"iss": "https://acme.example.com"}),
        json!({"iss": "https://other.example.com/"}),
        json!({"iss": "https://acme.example.com/\u{0}"}),
        json!({"iss": [idp.issuer]}),
        json!({"exp": now() - 60}),
        json!({"exp": null}),
        json!({"exp": "tomorrow"}),
        json!({"nbf": now() + 120}),
        json!({"iat": now() + 120}),
        json!({"sub": ""}),
        json!({"sub": null}),
        json!({"sub": {"id": "zoe"}}),
    ] {
        refused(&mut app, &idp.token_with("zoe", changes));
    }
    refused(
        &mut app,
        &idp.token_with("zoe", json!({"x": "y".repeat(20_000)})),
    );
    for text in ["a.b.c", "e30.e30.e30", "..", "eyJhbGciOiJub25lIn0.e30.AA"] {
        refused(&mut app, text);
    }
    app.begin(&idp.token_with("zoe", json!({"aud": ["x", AUDIENCE]})))
        .run("COMMIT");
}

#[test]
fn a_secrets_tokens_and_no_others() {
    let world = World::new();
    let mut owner = world.db.owner();
    let issuer = "https://hs.example.com/";
    let add = |secret: &str| {
        format!(
            "SELECT tenancy.add_identity_provider('acme', '{issuer}', '{{{AUDIENCE}}}', secret => '{secret}', create_users => true)"
        )
    };
    owner
        .fails(&add(&SECRET[..31]))
        .code("22023")
        .hides(&SECRET[..31]);
    owner.run(&add(SECRET));
    let idp = Idp {
        issuer: issuer.to_owned(),
        signer: Signer::hs("any", SECRET.as_bytes()),
    };
    let mut app = world.db.app();
    app.begin(&idp.token("zoe")).run("COMMIT");
    for wrong in [&SECRET[..32], &SECRET.to_uppercase(), ""] {
        refused(
            &mut app,
            &Signer::hs("any", wrong.as_bytes()).token(&idp.claims("zoe")),
        );
    }
    refused(&mut app, &Signer::ed("any", 1).token(&idp.claims("zoe")));
    // From a secret to keys: tokens signed with the secret are refused.
    owner.run(&format!(
        "SELECT tenancy.set_identity_keys('{issuer}', '{}')",
        key_set(&[&Signer::ed("1", 1)])
    ));
    refused(&mut app, &idp.token("zoe"));
    app.begin(&Signer::ed("1", 1).token(&idp.claims("zoe")))
        .run("COMMIT");
}

#[test]
fn any_changed_character_is_refused() {
    let world = World::new();
    let idp = Idp::new("acme").add(&mut world.db.owner(), "acme", "create_users => true");
    let token = idp.token("zoe");
    let mut app = world.db.app();
    // The good one is known to this connection: what is not the same to the letter is another one.
    app.begin(&token).run("COMMIT");
    for at in 0..token.len() {
        for to in ["A", "b", "_", "."] {
            if &token[at..=at] == to {
                continue;
            }
            refused(
                &mut app,
                &format!("{}{to}{}", &token[..at], &token[at + 1..]),
            );
        }
    }
    for end in (0..token.len()).step_by(7) {
        refused(&mut app, &token[..end]);
    }
    for odd in [
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("Bearer {token}"),
        format!("{token}.{token}"),
    ] {
        refused(&mut app, &odd);
    }
}

#[test]
fn a_token_is_no_ticket() {
    let world = World::new();
    let idp = Idp::new("acme").add(&mut world.db.owner(), "acme", "create_users => true");
    let token = idp.token("zoe");
    let mut app = world.db.app();
    app.begin(&token).run("COMMIT");
    app.run(&format!("SET tenancy.ticket = '{token}'"));
    app.fails("SELECT count(*) FROM app.notes")
        .code("42501")
        .hides(&token);
}

#[test]
fn secrets_and_keys_are_not_for_reading() {
    let world = World::new();
    let idp = Idp::new("acme").add(&mut world.db.owner(), "acme", "create_users => true");
    world.db.app().begin(&idp.token("zoe")).run("COMMIT");
    for mut session in [
        world.db.app(),
        world.db.gateway(),
        world.db.owner(),
        world.db.stranger(),
    ] {
        for table in [
            "identity_provider_registry",
            "identity_secrets",
            "identity_group_registry",
            "identity_users",
            "allowed_networks",
        ] {
            session
                .fails(&format!("SELECT FROM tenancy_internal.{table}"))
                .code("42501");
            session
                .fails(&format!("DELETE FROM tenancy_internal.{table}"))
                .code("42501");
        }
        for call in [
            "first_login(NULL, NULL, NULL, NULL, NULL)",
            "sync_groups(NULL, NULL, NULL, NULL, NULL)",
            "set_identity_keys('x', NULL, NULL, NULL)",
            "provider_of('x', NULL)",
        ] {
            session
                .fails(&format!("SELECT tenancy_internal.{call}"))
                .code("42501");
        }
    }
}
