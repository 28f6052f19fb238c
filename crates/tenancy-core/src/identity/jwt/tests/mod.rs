//! The conditions of a valid token, and every way to miss them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacks;
mod claims;
mod forge;
mod keys;

use super::*;
use forge::*;
use serde_json::json;

#[test]
fn a_token_of_each_kind_holds() {
    let provider = all_kinds();
    for (signer, kid) in [
        (Signer::rsa(), "rsa"),
        (Signer::ec(), "ec"),
        (Signer::ed(1), "ed"),
    ] {
        let read = verify(&signer.token(kid, &claims()), &provider).unwrap();
        assert_eq!(
            read,
            Claims {
                user: "auth0|4711".into(),
                tenant: None,
                groups: Groups::Told(vec!["admins".into(), "staff".into()]),
                name: Some("Alice".into()),
                expires_at: Instant::from_unix_seconds(NOW + 330),
                issued_at: Some(Instant::from_unix_seconds(NOW - 10)),
                id: None,
                methods: vec![],
                context: None,
                authenticated_at: None,
            }
        );
    }
    let provider = forge::provider(KeySet::from_secret(SECRET).unwrap());
    let header = json!({"alg": "HS256"});
    let token = Signer::hs(SECRET).sign(&header, &claims());
    assert!(verify(&token, &provider).is_ok());
}

#[test]
fn a_known_answer_from_elsewhere_holds() {
    // RFC 8037, appendix A.4: its payload is no set of claims, so only the signature is checked.
    let keys = set(&[json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    })]);
    let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let verify = |signed| keys.verify("EdDSA", None, signed, signature);
    assert_eq!(verify(signed), Ok(()));
    assert_eq!(verify(&signed[..signed.len() - 1]), Err(Refusal::Signature));
}

#[test]
fn time_counts_with_the_leeway_and_no_more() {
    let provider = all_kinds();
    let at = |changes: Value, now: i64| {
        let token = Signer::ed(1).token("ed", &claims_with(changes));
        verify_at(&token, &provider, Instant::from_unix_seconds(now)).is_ok()
    };
    assert!(at(json!({}), NOW + 329));
    assert!(!at(json!({}), NOW + 330));
    assert!(!at(json!({}), i64::MAX));
    for begins in ["nbf", "iat"] {
        assert!(at(json!({begins: NOW + 30}), NOW));
        assert!(!at(json!({begins: NOW + 31}), NOW));
        assert!(at(json!({begins: null}), NOW));
        assert!(!at(json!({begins: "yesterday"}), NOW));
        assert!(!at(json!({begins: (NOW as f64) + 30.5}), NOW));
    }
    for never in [
        json!(null),
        json!("1800000300"),
        json!(true),
        json!([NOW + 300]),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
    ] {
        assert!(!at(json!({"exp": never}), NOW), "{never}");
    }
    assert!(at(json!({"exp": NOW as f64 + 0.5}), NOW + 29));
    assert!(!at(json!({"exp": NOW as f64 + 0.5}), NOW + 30));
}

#[test]
fn a_leeway_is_not_a_way_to_keep_tokens() {
    let provider = Provider {
        leeway: Length::from_seconds(i64::MAX),
        ..all_kinds()
    };
    let token = Signer::ed(1).token("ed", &claims());
    let late = Instant::from_unix_seconds(NOW + 300);
    assert!(verify_at(&token, &provider, late + MOST_LEEWAY).is_err());
}

#[test]
fn issuer_and_audience_are_exact() {
    let provider = all_kinds();
    let good = |changes: Value| {
        verify(&Signer::ed(1).token("ed", &claims_with(changes)), &provider).is_ok()
    };
    for issuer in [
        json!(null),
        json!("https://login.example.com"),
        json!("https://LOGIN.example.com/"),
        json!("https://login.example.com/\u{0}"),
        json!([ISSUER]),
        json!(7),
    ] {
        assert!(!good(json!({ "iss": issuer })), "{issuer}");
    }
    for audience in [json!("api"), json!("web"), json!(["x", "web"])] {
        assert!(good(json!({ "aud": audience })), "{audience}");
    }
    for audience in [
        json!(null),
        json!(""),
        json!("API"),
        json!("api "),
        json!([]),
        json!(["x"]),
        json!([["api"]]),
        json!(["api", 7]),
        json!({"api": true}),
    ] {
        assert!(!good(json!({ "aud": audience })), "{audience}");
    }
}

#[test]
fn a_provider_without_audiences_accepts_no_token() {
    let provider = Provider {
        audiences: Vec::new(),
        ..all_kinds()
    };
    let token = Signer::ed(1).token("ed", &claims());
    assert!(verify(&token, &provider).is_err());
}

#[test]
fn a_tokens_id_is_a_text_if_it_is_there() {
    let provider = all_kinds();
    let id = |id: Value| {
        let token = Signer::ed(1).token("ed", &claims_with(json!({ "jti": id })));
        verify(&token, &provider).map(|claims| claims.id)
    };
    assert_eq!(id(json!("a")), Ok(Some("a".into())));
    for odd in [json!(7), json!(""), json!(["a"])] {
        assert_eq!(id(odd), Err(Refused));
    }
}

#[test]
fn nothing_prints_a_token() {
    let token = Signer::ed(1).token("ed", &claims());
    let shown = format!("{:?}", Unverified::parse(&token).unwrap());
    assert_eq!(shown, "Unverified { .. }");
}

/// The hash of an issuer and an audience is unique.
#[test]
fn an_issuer_and_an_audience_are_distinguished() {
    let all = [
        ("a", "b"),
        ("ab", ""),
        ("", "ab"),
        ("b", "a"),
        ("a", "bc"),
        ("ab", "c"),
    ];
    for (n, one) in all.iter().enumerate() {
        for other in &all[n + 1..] {
            assert_ne!(tokens_of(one.0, one.1), tokens_of(other.0, other.1));
        }
    }
}

#[test]
fn audiences_are_read_as_they_are_matched() {
    let audiences = |aud: Value| {
        let token = Signer::ed(1).token("k", &claims_with(json!({ "aud": aud })));
        let read = Unverified::parse(&token).unwrap();
        read.audiences().map(|all| all.join(" "))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(audiences(json!("notes")), some("notes"));
    assert_eq!(audiences(json!(["a", "notes"])), some("a notes"));
    for none in [
        json!(null),
        json!(7),
        json!([]),
        json!(["a", 7]),
        json!([["a"]]),
        json!({}),
    ] {
        assert_eq!(audiences(none.clone()), None, "{none}");
    }
    let many = |count: usize| json!((0..count).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(audiences(many(MOST_AUDIENCES)).is_some());
    assert_eq!(audiences(many(MOST_AUDIENCES + 1)), None);
}

#[test]
fn a_token_without_aud_has_what_the_provider_reads_instead() {
    let token = |changes: Value| {
        let mut claims = claims_with(changes);
        claims.as_object_mut().unwrap().remove("aud");
        Signer::ed(1).token("ed", &claims)
    };
    let with = |claim: &str| Provider {
        audience_claim: Some(claim.to_owned()),
        ..all_kinds()
    };
    let cognito = token(json!({"client_id": "api"}));
    let parsed = Unverified::parse(&cognito).unwrap();
    assert_eq!(parsed.audiences(), Some(vec!["api"]));
    assert!(verify(&cognito, &with("client_id")).is_ok());
    // Where the provider does not say so, and where another claim has it.
    assert_eq!(why(&cognito, &all_kinds()), Err(Refusal::NoProvider));
    assert_eq!(why(&cognito, &with("azp")), Err(Refusal::NoProvider));
    // Only one text counts, and never beside aud.
    for odd in [json!(["api"]), json!(7), json!("other"), json!(null)] {
        let token = token(json!({"client_id": odd}));
        assert_eq!(why(&token, &with("client_id")), Err(Refusal::NoProvider));
    }
    for aud in [json!("other"), json!([])] {
        let both = claims_with(json!({"aud": aud, "client_id": "api"}));
        let both = Signer::ed(1).token("ed", &both);
        assert_eq!(why(&both, &with("client_id")), Err(Refusal::NoProvider));
    }
    assert_eq!(
        Unverified::parse(&token(json!({}))).unwrap().audiences(),
        None
    );
}

#[test]
fn an_issuer_may_have_several_names() {
    let named = |issuer: &str| Signer::ed(1).token("ed", &claims_with(json!({"iss": issuer})));
    let provider = Provider {
        aliases: vec!["https://former.example/".to_owned()],
        ..all_kinds()
    };
    assert!(verify(&named("https://former.example/"), &provider).is_ok());
    assert!(verify(&named(ISSUER), &provider).is_ok());
    let other = named("https://former.example");
    assert_eq!(why(&other, &provider), Err(Refusal::NoProvider));
}

#[test]
fn an_operator_learns_why() {
    let provider = all_kinds();
    let signed = |changes: Value| Signer::ed(1).token("ed", &claims_with(changes));
    let good = signed(json!({}));
    let cases = [
        ("a.b".to_owned(), Refusal::Malformed),
        (
            Signer::ed(1).sign(
                &json!({"alg": "EdDSA", "kid": "ed", "typ": "logout+jwt"}),
                &claims(),
            ),
            Refusal::Header,
        ),
        (Signer::ed(1).token("elsewhere", &claims()), Refusal::NoKey),
        (Signer::ed(1).token("rsa", &claims()), Refusal::NoKey),
        (Signer::ed(2).token("ed", &claims()), Refusal::Signature),
        (format!("{}AA", &good[..good.len() - 2]), Refusal::Signature),
        (
            signed(json!({"iss": "https://other.example/"})),
            Refusal::NoProvider,
        ),
        (signed(json!({"aud": "other"})), Refusal::NoProvider),
        (signed(json!({"exp": NOW - 31})), Refusal::Expired),
        (signed(json!({"exp": null})), Refusal::Expired),
        (signed(json!({"nbf": NOW + 31})), Refusal::NotYetValid),
        (signed(json!({"iat": NOW + 31})), Refusal::NotYetValid),
        (signed(json!({"jti": 7})), Refusal::Claims),
        (signed(json!({"sub": ""})), Refusal::NoUser),
        (signed(json!({"groups": 7})), Refusal::Groups),
    ];
    for (token, reason) in cases {
        assert_eq!(why(&token, &provider), Err(reason), "{token}");
    }
    let with_tenant = Provider {
        mapping: Mapping {
            tenant: Some(name("org")),
            ..forge::provider(set(&[Signer::ed(1).jwk("ed")])).mapping
        },
        ..all_kinds()
    };
    assert_eq!(why(&good, &with_tenant), Err(Refusal::NoTenant));
}
