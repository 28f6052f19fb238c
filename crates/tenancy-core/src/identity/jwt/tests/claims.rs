//! Claims as the provider's mapping reads them.

use super::forge::*;
use super::*;
use serde_json::json;

fn read(mapping: Mapping, changes: Value) -> Result<Claims, Refused> {
    let provider = Provider {
        mapping,
        ..all_kinds()
    };
    verify(&Signer::ed(1).token("ed", &claims_with(changes)), &provider)
}

fn mapping() -> Mapping {
    all_kinds().mapping
}

#[test]
fn a_claim_is_found_by_its_whole_name_or_by_a_pointer() {
    let tree = json!({
        "a": 1, "a.b": 2, "a/b": 3, "https://x.example/tenant": 4,
        "realm_access": {"roles": ["r"], "a/b": 5}, "": 6, "null": null
    });
    for (text, found) in [
        ("a", Some(json!(1))),
        ("a.b", Some(json!(2))),
        ("a/b", Some(json!(3))),
        ("https://x.example/tenant", Some(json!(4))),
        ("/realm_access/roles", Some(json!(["r"]))),
        ("/realm_access/roles/0", Some(json!("r"))),
        ("/realm_access/a~1b", Some(json!(5))),
        ("realm_access/roles", None),
        ("realm_access.roles", None),
        ("/a/b", None),
        ("A", None),
        ("null", None),
        ("/null", None),
    ] {
        assert_eq!(name(text).find(&tree), found.as_ref(), "{text}");
    }
    for text in ["", &"x".repeat(256)] {
        assert_eq!(ClaimName::parse(text), Err(BadClaimName));
    }
}

#[test]
fn the_user_is_a_text_that_can_be_stored() {
    for odd in [
        json!(null),
        json!(""),
        json!(" x"),
        json!("a\u{0}b"),
        json!("a\nb"),
        json!("x".repeat(256)),
        json!(["x"]),
        json!({"x": 1}),
        json!(true),
        json!(1.5),
    ] {
        assert_eq!(read(mapping(), json!({"sub": odd})), Err(Refused), "{odd}");
    }
    let user = |sub: Value| read(mapping(), json!({"sub": sub})).unwrap().user;
    assert_eq!(user(json!("Ümläut|7")), "Ümläut|7");
    assert_eq!(user(json!(4711)), "4711");
}

#[test]
fn an_email_counts_when_it_was_verified() {
    let by_email = || Mapping {
        user: name("email"),
        ..mapping()
    };
    for (verified, holds) in [
        (json!(true), true),
        (json!("true"), true),
        (json!(false), false),
        (json!("false"), false),
        (json!(1), false),
        (json!(null), false),
    ] {
        let changes = json!({"email": "a@example.com", "email_verified": verified});
        assert_eq!(read(by_email(), changes).is_ok(), holds, "{verified}");
    }
}

#[test]
fn a_tenant_is_asked_for_when_it_is_mapped() {
    let with_tenant = || Mapping {
        tenant: Some(name("https://x.example/tenant")),
        ..mapping()
    };
    assert_eq!(read(with_tenant(), json!({})), Err(Refused));
    let tenant = |value: Value| {
        read(with_tenant(), json!({"https://x.example/tenant": value})).map(|read| read.tenant)
    };
    assert_eq!(tenant(json!("acme")), Ok(Some("acme".into())));
    assert_eq!(tenant(json!(42)), Ok(Some("42".into())));
    for odd in [json!(["acme"]), json!(""), json!({"id": "acme"})] {
        assert_eq!(tenant(odd), Err(Refused));
    }
}

#[test]
fn groups_are_texts() {
    let groups = |value: Value| read(mapping(), json!({"groups": value})).map(|read| read.groups);
    let told = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned());
        Ok(Groups::Told(names.collect()))
    };
    assert_eq!(groups(json!(null)), told(&[]));
    assert_eq!(groups(json!([])), told(&[]));
    assert_eq!(groups(json!("a b")), told(&["a b"]));
    let many = json!(["b", "a", "b", "", "x\u{0}"]);
    assert_eq!(groups(many), told(&["a", "b"]));
    for odd in [json!(7), json!([7]), json!([["a"]]), json!({"a": true})] {
        assert_eq!(groups(odd), Err(Refused));
    }
    let nested = Mapping {
        groups: Some(name("/realm_access/roles")),
        ..mapping()
    };
    let changes = json!({"realm_access": {"roles": ["x"]}});
    let groups = |mapping: Mapping, changes| read(mapping, changes).map(|read| read.groups);
    assert_eq!(groups(nested, changes), told(&["x"]));
    let none = Mapping {
        groups: None,
        ..mapping()
    };
    assert_eq!(groups(none, json!({})), told(&[]));
}

#[test]
fn absent_empty_and_elsewhere_are_three_things() {
    let read = |mapping: &Mapping, changes: Value| {
        let changes = with(json!({"groups": null}), changes);
        super::claims::read(mapping.clone(), changes).map(|read| read.groups)
    };
    let (empty, keep) = (
        mapping(),
        Mapping {
            without_groups: NoGroups::Keep,
            ..mapping()
        },
    );
    let nobody = Ok(Groups::Told(vec![]));
    assert_eq!(read(&empty, json!({})), nobody);
    assert_eq!(read(&keep, json!({})), Ok(Groups::Untold));
    assert_eq!(read(&keep, json!({"groups": []})), nobody);
    // Too many for the token: what Entra ID and OpenID Connect say then.
    for hint in [
        json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/"}}}),
        json!({"hasgroups": true}),
        json!({"hasgroups": "true"}),
    ] {
        assert_eq!(read(&empty, hint.clone()), Ok(Groups::Elsewhere), "{hint}");
        assert_eq!(read(&keep, hint), Ok(Groups::Elsewhere));
    }
    // What is there counts, and hints at other claims do not.
    for (hint, groups) in [
        (
            json!({"hasgroups": true, "groups": ["a"]}),
            vec!["a".to_owned()],
        ),
        (json!({"hasgroups": false}), vec![]),
        (json!({"_claim_names": {"roles": "src1"}}), vec![]),
        (json!({"_claim_names": "groups"}), vec![]),
    ] {
        assert_eq!(
            read(&empty, hint.clone()),
            Ok(Groups::Told(groups)),
            "{hint}"
        );
    }
    let other = Mapping {
        groups: Some(name("wids")),
        ..mapping()
    };
    assert_eq!(
        read(&other, json!({"hasgroups": true})),
        Ok(Groups::Told(vec![]))
    );
    let distributed = json!({"_claim_names": {"wids": "src1"}});
    assert_eq!(read(&other, distributed), Ok(Groups::Elsewhere));
}

/// An object with the members of another beside or in place of its own.
fn with(mut object: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

#[test]
fn a_name_that_cannot_be_shown_is_none() {
    for (value, shown) in [
        (json!("  Alice "), Some("Alice")),
        (json!(""), None),
        (json!("a\u{7}"), None),
        (json!(7), None),
        (json!("x".repeat(256)), None),
    ] {
        let read = read(mapping(), json!({"name": value})).unwrap();
        assert_eq!(read.name.as_deref(), shown);
    }
}

#[test]
fn how_and_when_the_user_logged_in_is_read_and_never_refuses() {
    for (changes, methods, context, at) in [
        (
            json!({"amr": ["pwd", "mfa"], "acr": "2", "auth_time": NOW - 60}),
            &["pwd", "mfa"][..],
            Some("2"),
            Some(NOW - 60),
        ),
        (
            json!({"amr": "mfa", "auth_time": NOW + 30}),
            &["mfa"],
            None,
            Some(NOW + 30),
        ),
        (
            json!({"amr": [1, "otp", null], "acr": 2, "auth_time": "now"}),
            &["otp"],
            None,
            None,
        ),
        (
            json!({"amr": {"mfa": true}, "acr": ["2"], "auth_time": -1}),
            &[],
            None,
            None,
        ),
        // One that is to come would lengthen the session.
        (json!({"auth_time": NOW + 31}), &[], None, None),
        (json!({"auth_time": 1e300}), &[], None, None),
    ] {
        let read = read(mapping(), changes.clone()).unwrap();
        assert_eq!(read.methods, methods, "{changes}");
        assert_eq!(read.context.as_deref(), context, "{changes}");
        assert_eq!(
            read.authenticated_at,
            at.map(Instant::from_unix_seconds),
            "{changes}"
        );
    }
}
