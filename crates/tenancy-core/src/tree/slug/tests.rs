//! Which slugs, external ids and names are taken, and what is said of the others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;
use uuid::Uuid;

#[test]
fn good_slugs_are_taken_at_every_level() {
    let longest = "a".repeat(63);
    for slug in [
        "a",
        "7",
        "acme",
        "acme-inc",
        "acme_inc",
        "acme.inc",
        "a-b_c.d",
        "42",
        "a-_b",
        "0.1",
        "dead-beef",
        "xn-bcher-kva",
        &longest,
    ] {
        for level in Level::ALL {
            assert_eq!(check_slug(level, slug), Ok(()), "{level} {slug}");
        }
    }
}

#[test]
fn only_users_have_at_and_plus() {
    for slug in ["alice@acme.example", "alice+test@acme.example", "a+b"] {
        for level in Level::ALL {
            let result = check_slug(level, slug);
            assert_eq!(result.is_ok(), level == Level::User, "{level} {slug}");
        }
    }
    let error = check_slug(Level::Tenant, "a@b").unwrap_err().to_string();
    assert_eq!(
        error,
        "slug \"a@b\" has '@'; a slug of a tenant may have lower-case letters, digits and - _ ."
    );
}

#[test]
fn empty_and_long_slugs_are_refused() {
    assert_eq!(check_slug(Level::Tenant, ""), Err(SlugError::Empty));
    let long = "a".repeat(64);
    let error = check_slug(Level::Tenant, &long).unwrap_err();
    assert_eq!(
        error,
        SlugError::TooLong {
            slug: long,
            bytes: 64
        }
    );
}

#[test]
fn other_characters_are_refused_by_name() {
    for (slug, culprit) in [
        ("Acme", 'A'),
        ("acme/x", '/'),
        ("ac me", ' '),
        ("acmé", 'é'),
        ("аcme", 'а'), // Cyrillic
        ("acme\0", '\0'),
        ("acme\n", '\n'),
        ("a'b", '\''),
        ("a\\b", '\\'),
        ("{a}", '{'),
        ("*", '*'),
        ("a:b", ':'),
    ] {
        for level in Level::ALL {
            match check_slug(level, slug) {
                Err(SlugError::Character { found, .. }) => assert_eq!(found, culprit),
                other => panic!("{slug:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn marks_stand_inside_and_alone() {
    for mark in ['-', '_', '.', '@', '+'] {
        for slug in [format!("{mark}a"), format!("a{mark}"), mark.to_string()] {
            let expected = SlugError::Edge {
                slug: slug.clone(),
                found: mark,
            };
            assert_eq!(check_slug(Level::User, &slug), Err(expected));
        }
        let slug = format!("a{mark}{mark}b");
        let expected = SlugError::Doubled {
            slug: slug.clone(),
            found: mark,
        };
        assert_eq!(check_slug(Level::User, &slug), Err(expected));
    }
}

#[test]
fn a_slug_is_never_read_as_a_uuid() {
    for slug in [
        "00000000-0000-7000-8000-000000000000",
        "00000000000070008000000000000000",
        "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
    ] {
        assert_eq!(
            check_slug(Level::Tenant, slug),
            Err(SlugError::Uuid(slug.to_owned()))
        );
    }
    for slug in [
        "0000000000007000800000000000000",
        "000000000000700080000000000000000",
        "0000000000007000800000000000000g",
        "a0ee_bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
    ] {
        assert_eq!(check_slug(Level::Tenant, slug), Ok(()), "{slug}");
    }
}

#[test]
fn external_ids_are_taken_as_they_are() {
    let longest = "é".repeat(255);
    for id in [
        "42",
        "042",
        "auth0|5f7c8ec7",
        "org_Acme",
        "a b",
        "Ünïcode/x",
        &longest,
    ] {
        assert_eq!(check_external_id(id), Ok(()), "{id}");
        assert_eq!(check_name(id), Ok(()), "{id}");
    }
}

#[test]
fn bad_external_ids_and_names_are_refused_with_the_reason() {
    let long = "é".repeat(256);
    for (text, reason) in [
        ("", "must not be empty"),
        (long.as_str(), "has more than 255 characters"),
        ("a\0b", "has the control character '\\0'"),
        ("a\tb", "has the control character '\\t'"),
        ("a\n", "has the control character '\\n'"),
        ("a\u{85}b", "has the control character '\\u{85}'"),
        (" a", "must not start or end with white space"),
        ("a ", "must not start or end with white space"),
        ("a\u{a0}", "must not start or end with white space"),
        (" ", "must not start or end with white space"),
    ] {
        let error = check_external_id(text).expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("an external id {reason}")),
            "{error}"
        );
        assert!(!error.contains(&"é".repeat(81)));
        let error = check_name(text).expect_err(text).to_string();
        assert!(error.starts_with(&format!("a name {reason}")), "{error}");
    }
}

/// The same rule in another form.
fn naive(level: Level, slug: &str) -> bool {
    let marks = if level == Level::User { "-_.@+" } else { "-_." };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&slug.len())
        && slug.chars().all(|c| plain(c) || marks.contains(c))
        && slug.starts_with(plain)
        && slug.ends_with(plain)
        && !marks
            .chars()
            .any(|mark| slug.contains(&format!("{mark}{mark}")))
        && Uuid::try_parse(&slug.replace('-', "")).is_err()
}

proptest! {
    #[test]
    fn slugs_follow_the_rule(
        slug in "[a-c0-2._@+-]{0,8}|[a-fA-F0-9-]{30,38}|[a-z.-]{60,66}|\\PC{0,6}",
        level in proptest::sample::select(Level::ALL.to_vec()),
    ) {
        prop_assert_eq!(check_slug(level, &slug).is_ok(), naive(level, &slug));
    }

    #[test]
    fn no_uuid_is_a_slug(bits: u128) {
        let id = Uuid::from_u128(bits);
        prop_assert!(check_slug(Level::User, &id.to_string()).is_err());
        prop_assert!(check_slug(Level::User, &id.simple().to_string()).is_err());
    }

    #[test]
    fn errors_repeat_at_most_80_characters(text in "\\PC{81,300}") {
        // The message closes what it repeats with a quotation mark.
        prop_assume!(text.chars().nth(80) != Some('"'));
        let whole: String = text.chars().take(81).collect();
        for error in [
            check_slug(Level::User, &text).unwrap_err().to_string(),
            check_external_id(&format!(" {text}")).unwrap_err().to_string(),
        ] {
            prop_assert!(!error.contains(&whole));
        }
    }
}

#[test]
fn a_slug_is_suggested_for_any_external_id() {
    for (external_id, slug) in [
        ("alice", "alice"),
        ("Alice@Example.com", "alice@example.com"),
        ("auth0|5f7c8ec7", "auth0-5f7c8ec7"),
        ("--a--b--", "a-b"),
        ("..", "user"),
        ("日本", "user"),
        (
            "0190f7a1-0000-7000-8000-000000000001",
            "user-0190f7a1-0000-7000-8000-000000000001",
        ),
    ] {
        assert_eq!(suggest(external_id)[0], slug);
    }
    assert_ne!(suggest("A|b")[1], suggest("a-b")[1]);
}

#[test]
fn a_suggested_slug_never_reads_as_a_uuid_with_its_tail() {
    // Twenty hex digits, and twelve of the tail.
    for external_id in ["0A|0-0|A0A0AAaaAaA0AA0A", "00112233445566778899"] {
        for slug in suggest(external_id) {
            assert_eq!(check_slug(Level::User, &slug), Ok(()));
        }
    }
    // A prefix pushes the rest against the limit, where a mark may stand.
    let long = "0-1-2-3-4-5-6-7-8-9-0-1-2-3-4-5-6-7-8-90123456789ab";
    for length in 40..=long.len() {
        for slug in suggest(&long[..length]) {
            assert_eq!(check_slug(Level::User, &slug), Ok(()));
        }
    }
}

proptest! {
    #[test]
    fn what_is_suggested_is_a_slug(external_id in "\\PC{0,255}|[a-f0-9]{32}|[a-fA-F0-9@.+|-]{1,100}|[a-fA-F0-9|-]{20,24}|[a-f0-9-]{32,52}") {
        for slug in suggest(&external_id) {
            prop_assert_eq!(check_slug(Level::User, &slug), Ok(()), "{:?}", slug);
        }
    }
}
