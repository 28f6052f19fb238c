#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::{CACHE_KEY_BYTES_MAX, SUBJECT_BYTES_MAX, cache_key, subject};

const TENANT: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
const ID: &str = "01920000-0000-7000-8000-000000000001";

#[test]
fn plain_names_stay_readable() {
    assert_eq!(
        cache_key(TENANT, "session", "user/42"),
        format!("{ID}:session:user/42")
    );
    assert_eq!(
        subject(TENANT, &["orders", "created"]),
        format!("{ID}.orders.created")
    );
    assert_eq!(subject(TENANT, &[]), ID);
}

#[test]
fn separators_and_wildcards_are_escaped() {
    assert_eq!(
        cache_key(TENANT, "a:b", "c d\n*{é}"),
        format!("{ID}:a%3Ab:c%20d%0A%2A%7B%C3%A9%7D")
    );
    assert_eq!(
        subject(TENANT, &["a.b", "*", ">", "x-y_z", ""]),
        format!("{ID}.a-2eb.-2a.-3e.x--y-5fz.-")
    );
}

#[test]
fn parts_that_join_to_the_same_text_differ() {
    assert_ne!(cache_key(TENANT, "a", "b:c"), cache_key(TENANT, "a:b", "c"));
    assert_ne!(subject(TENANT, &["a.b"]), subject(TENANT, &["a", "b"]));
    assert_ne!(subject(TENANT, &["a", ""]), subject(TENANT, &["a"]));
    // An escape and a text that looks like one.
    assert_ne!(cache_key(TENANT, "n", "%20"), cache_key(TENANT, "n", " "));
    assert_ne!(subject(TENANT, &["-2e"]), subject(TENANT, &["."]));
}

#[test]
fn long_names_show_their_first_part_and_differ_by_a_hash() {
    let long = "x".repeat(1000);
    let (key, other) = (
        cache_key(TENANT, "page", &long),
        cache_key(TENANT, "page", &format!("{long}y")),
    );
    assert!(key.starts_with(&format!("{ID}:page:#")));
    assert_ne!(key, other);
    // The hash of one is no key of another.
    assert_ne!(cache_key(TENANT, "page", &key[42..]), key);
    // Moving a letter from one long part to the other changes the hash.
    assert_ne!(
        cache_key(TENANT, &format!("{long}x"), &long),
        cache_key(TENANT, &long, &format!("{long}x"))
    );
    assert!(subject(TENANT, &["page", &long]).starts_with(&format!("{ID}.page.-h")));
    assert!(subject(TENANT, &[&long, "page"]).starts_with(&format!("{ID}.-h")));
    let tenant = Uuid::from_u128(7);
    assert_ne!(cache_key(tenant, "page", &long)[37..], key[37..]);
}

/// Texts that are alike: of few signs, some of which are escapes and separators, so that collisions would be found.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab:.%#h2e_-]{0,6}",
        "[-.a]{60,130}",
        any::<String>(),
        "\\PC{0,300}"
    ]
}

/// What a subject was made of.
fn parts_of(subject: &str) -> Vec<String> {
    let tokens = subject.split('.').skip(1);
    tokens
        .map(|token| {
            let (mut bytes, mut rest) = (Vec::new(), token.as_bytes());
            if token == "-" {
                return String::new();
            }
            while let [first, after @ ..] = rest {
                rest = match (first, after) {
                    (b'-', [b'-', after @ ..]) => {
                        bytes.push(b'-');
                        after
                    }
                    (b'-', [high, low, after @ ..]) => {
                        let digits = String::from_utf8(vec![*high, *low]).unwrap();
                        bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                        after
                    }
                    _ => {
                        bytes.push(*first);
                        after
                    }
                };
            }
            String::from_utf8(bytes).unwrap()
        })
        .collect()
}

proptest! {
    #[test]
    fn cache_keys_are_bounded_and_clean(namespace in part(), key in part()) {
        let found = cache_key(TENANT, &namespace, &key);
        prop_assert!(found.len() <= CACHE_KEY_BYTES_MAX);
        let clean = |byte: u8| byte.is_ascii_graphic() && !b"*?[]{}\\\"'".contains(&byte);
        prop_assert!(found.bytes().all(clean), "{}", found);
        prop_assert!(found.starts_with(ID));
    }

    #[test]
    fn subjects_are_bounded_and_clean(parts in vec(part(), 0..5)) {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let found = subject(TENANT, &parts);
        prop_assert!(found.len() <= SUBJECT_BYTES_MAX);
        prop_assert!(found.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)));
        prop_assert!(found.split('.').all(|token| !token.is_empty()));
        if !found.contains(".-h") {
            prop_assert_eq!(parts_of(&found), parts);
        }
    }

    #[test]
    fn different_parts_have_different_names(a in vec(part(), 2), b in vec(part(), 2)) {
        prop_assert_eq!(a == b, cache_key(TENANT, &a[0], &a[1]) == cache_key(TENANT, &b[0], &b[1]));
        let parts = |all: &[String]| subject(TENANT, &all.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(a == b, parts(&a) == parts(&b));
    }
}
