//! Which texts are permissions, and which permission covers which.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn permission(text: &str) -> Permission {
    Permission::parse(text).expect(text)
}

#[test]
fn permissions_read_back_what_they_print() {
    for text in [
        DATA_READ,
        DATA_WRITE,
        "accounting:view_tenant",
        "billing:*",
        "*:read",
        "*:*",
        "a:b",
        "a1_:b__2",
    ] {
        assert_eq!(permission(text).to_string(), text);
        assert_eq!(text.parse(), Ok(permission(text)));
    }
    assert_eq!(permission("data:read").resource(), "data");
    assert_eq!(permission("data:read").action(), "read");
}

#[test]
fn a_permission_has_exactly_one_colon() {
    for text in [
        "",
        "*",
        "data",
        "data:read:own",
        "data::read",
        "::",
        "data read",
    ] {
        let error = Permission::parse(text).expect_err(text);
        assert_eq!(error, PermissionError::Shape(text.to_owned()));
    }
}

#[test]
fn a_part_is_a_name_or_a_wildcard() {
    for bad in [
        "", " ", "Data", "dAta", "1data", "_data", "da ta", " data", "data ", "da-ta", "da*", "**",
        "*a", "dätä", "data\n", "data\0", "data.x",
    ] {
        let text = format!("{bad}:read");
        match Permission::parse(&text).expect_err(&text) {
            PermissionError::Part { part, permission } => {
                assert_eq!((part, permission.as_str()), ("resource", text.as_str()));
            }
            other => panic!("{other:?}"),
        }
        let text = format!("data:{bad}");
        match Permission::parse(&text).expect_err(&text) {
            PermissionError::Part { part, permission } => {
                assert_eq!((part, permission.as_str()), ("action", text.as_str()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_part_has_at_most_63_bytes() {
    let longest = "a".repeat(63);
    permission(&format!("{longest}:{longest}"));
    for text in [format!("{longest}a:read"), format!("data:{longest}a")] {
        let error = Permission::parse(&text).unwrap_err();
        assert!(matches!(error, PermissionError::TooLong { .. }));
    }
}

#[test]
fn errors_repeat_at_most_80_characters() {
    for text in [
        "x".repeat(500),
        "x".repeat(500) + ":y",
        "a:".to_owned() + &"é".repeat(500),
    ] {
        let error = Permission::parse(&text).unwrap_err().to_string();
        assert!(error.len() < 320, "{error}");
        assert!(!error.contains(&"x".repeat(81)) && !error.contains(&"é".repeat(79)));
    }
}

#[test]
fn covering_is_per_part_and_only_wildcards_widen() {
    let all = [
        "data:read",
        "data:write",
        "audit:read",
        "data:*",
        "*:read",
        "*:*",
    ];
    let covered: [&[&str]; 6] = [
        &["data:read"],
        &["data:write"],
        &["audit:read"],
        &["data:read", "data:write", "data:*"],
        &["data:read", "audit:read", "*:read"],
        &all,
    ];
    for (have, covered) in all.iter().zip(covered) {
        for wanted in all {
            assert_eq!(
                permission(have).covers(&permission(wanted)),
                covered.contains(&wanted),
                "{have} covers {wanted}"
            );
        }
    }
}

#[test]
fn a_prefix_is_not_the_same_name() {
    assert!(!permission("data:read").covers(&permission("data:read_all")));
    assert!(!permission("data:read_all").covers(&permission("data:read")));
}

fn any_permission() -> impl Strategy<Value = Permission> {
    "(\\*|[a-c]):(\\*|[a-c])".prop_map(|text| permission(&text))
}

proptest! {
    #[test]
    fn parsing_never_panics_and_has_one_spelling(text in "\\PC{0,20}|[a-z_*:0-9]{0,12}") {
        if let Ok(parsed) = Permission::parse(&text) {
            prop_assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn covering_is_a_partial_order(
        a in any_permission(), b in any_permission(), c in any_permission()
    ) {
        prop_assert!(a.covers(&a));
        if a.covers(&b) && b.covers(&a) {
            prop_assert_eq!(&a, &b);
        }
        if a.covers(&b) && b.covers(&c) {
            prop_assert!(a.covers(&c));
        }
    }

    #[test]
    fn what_is_covered_in_part_is_covered_in_every_instance(
        a in any_permission(), wanted in any_permission(), part in "[a-c]"
    ) {
        // A permission that covers data:* covers data:<anything>.
        if a.covers(&wanted) {
            let narrow = |text: &str| match text { "*" => part.clone(), _ => text.to_owned() };
            let narrower = permission(
                &format!("{}:{}", narrow(wanted.resource()), narrow(wanted.action())));
            prop_assert!(a.covers(&narrower));
        }
    }
}
