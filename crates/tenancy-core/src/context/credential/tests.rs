//! Credentials: their one spelling, their hash, and what they never show.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::mac::Key;
use crate::time::Instant;
use proptest::prelude::*;

const ID: Uuid = Uuid::from_u128(0x018f_2c3a_9b0c_7def_8123_4567_89ab_cdef);

fn sample() -> ApiKey {
    ApiKey::new(ID, [0xFF; 32])
}

fn api_key(text: &str) -> ApiKey {
    match Credential::parse(text) {
        Ok(Credential::ApiKey(key)) => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_text_is_as_documented() {
    // 32 bytes of ones encode as underscores, the very separator.
    let secret = "_".repeat(42) + "8";
    let text = sample().to_text();
    assert_eq!(
        text,
        format!("tnk_018f2c3a9b0c7def8123456789abcdef_{secret}")
    );
    assert_eq!(text.len(), KEY_TEXT);
    let key = api_key(&text);
    assert_eq!((key.id, key.secret), (ID, [0xFF; 32]));
}

#[test]
fn the_hash_is_a_known_answer_over_domain_id_and_secret() {
    let hex: String = (sample().hash().iter().map(|b| format!("{b:02x}"))).collect();
    assert_eq!(
        hex,
        "9fb2d8728d12065cbe42b830e9ca29ed82d638e7c5822fafbc1c7087125bae57"
    );
}

#[test]
fn the_label_is_the_start_of_the_text_without_the_secret() {
    assert_eq!(sample().label(), &sample().to_text()[..4 + 24]);
    assert!(sample().to_text().starts_with(&sample().label()));
}

#[test]
fn a_hash_of_another_length_does_not_match() {
    let hash = sample().hash();
    assert!(sample().matches(&hash));
    for length in 0..32 {
        assert!(!sample().matches(&hash[..length]));
    }
    assert!(!sample().matches(&[hash.as_slice(), &[0]].concat()));
    assert!(!sample().matches(&[0; 32]));
}

#[test]
fn debug_shows_no_secret() {
    let key = ApiKey::new(ID, [0xA5; 32]);
    let secret = URL_SAFE_NO_PAD.encode([0xA5; 32]);
    for printed in [format!("{key:?}"), format!("{:?}", Credential::ApiKey(key))] {
        assert!(printed.contains(&ID.to_string()));
        assert!(!printed.contains("165") && !printed.to_lowercase().contains("a5a5"));
        assert!(!printed.contains(&secret) && !printed.contains("secret"));
    }
}

#[test]
fn a_ticket_is_recognised() {
    let ticket = Ticket {
        key_id: ID,
        user: ID,
        tenant: None,
        elevation: None,
        fleet: false,
        expires_at: Instant::from_unix_seconds(5),
    };
    match Credential::parse(&ticket.sign(&Key::new([1; 32]))) {
        Ok(Credential::Ticket(unverified)) => assert_eq!(unverified.claims(), &ticket),
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_texts_are_not_recognised() {
    let good = sample().to_text();
    let id = ID.simple().to_string();
    let secret = &good[37..];
    for text in [
        String::new(),
        "tnk_".to_owned(),
        "tnt1.".to_owned(),
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}="),
        format!("{good}A"),
        good[..79].to_owned(),
        good.replacen("tnk_", "TNK_", 1),
        good.replacen("tnk_", "tnk-", 1),
        good.replacen("tnk_", "tnt_", 1),
        format!("tnk_{}_{secret}", id.to_uppercase()),
        format!("tnk_{}_{secret}", id.replace('a', "g")),
        format!("tnk_{}_{secret}", &id[..31]),
        format!("tnk_{}__{secret}", &id[..31]),
        format!("tnk_{}_{}", ID.hyphenated(), &secret[..39]),
        format!("tnk_{id}-{secret}"),
        format!("tnk_{id}_{}9", &secret[..42]), // bits that no byte has
        format!("tnk_{id}_{}+", &secret[..42]),
        format!("tnk_{id}_{}é", &secret[..41]),
        "tnk_".to_owned() + &"é".repeat(38),
    ] {
        assert_eq!(
            Credential::parse(&text).unwrap_err(),
            Unrecognised,
            "{text:?}"
        );
    }
    assert_eq!(Unrecognised.to_string(), "not a credential");
}

proptest! {
    #[test]
    fn api_keys_read_back(id: u128, secret: [u8; 32]) {
        let key = ApiKey::new(Uuid::from_u128(id), secret);
        let read = api_key(&key.to_text());
        prop_assert_eq!(read.id, key.id);
        prop_assert_eq!(read.secret, secret);
        prop_assert!(read.matches(&key.hash()));
        prop_assert_eq!(read.to_text(), key.to_text());
    }

    #[test]
    fn another_id_or_secret_does_not_match(id: u128, secret: [u8; 32], bit in 0usize..256) {
        let hash = ApiKey::new(Uuid::from_u128(id), secret).hash();
        let other = Uuid::from_u128(id ^ (1 << (bit % 128)));
        prop_assert!(!ApiKey::new(other, secret).matches(&hash));
        let mut other = secret;
        other[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!ApiKey::new(Uuid::from_u128(id), other).matches(&hash));
        let mut stored = hash;
        stored[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!ApiKey::new(Uuid::from_u128(id), secret).matches(&stored));
    }

    #[test]
    fn a_label_does_not_depend_on_the_secret(id: u128, a: [u8; 32], b: [u8; 32]) {
        let id = Uuid::from_u128(id);
        prop_assert_eq!(ApiKey::new(id, a).label(), ApiKey::new(id, b).label());
    }

    #[test]
    fn parsing_never_panics_and_has_one_spelling(
        text in "\\PC{0,100}|tnk_[0-9a-g]{31,33}_[A-Za-z0-9_-]{42,44}|tnk_[0-9a-f]{32}_[A-Za-z0-9_-]{42}[AEIM]"
    ) {
        if let Ok(Credential::ApiKey(key)) = Credential::parse(&text) {
            prop_assert_eq!(key.to_text(), text);
        }
    }
}

#[test]
fn a_jwt_is_recognised_by_its_shape_and_never_printed() {
    let text = "eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl";
    let read = Credential::parse(text).unwrap();
    assert!(matches!(&read, Credential::Jwt(jwt) if jwt.0 == text));
    assert_eq!(format!("{read:?}"), "Jwt(Jwt(..))");
    for text in [
        "e30.e30",
        "e30.e30.",
        ".e30.e30",
        "e30..e30",
        "e30.e30.e30.e30",
        "e30.e30.e3 ",
        "e30.e30.e3=",
        "e30.e3+.e30",
        "é30.e30.e30",
        &format!("e30.e30.{}", "A".repeat(20_000)),
    ] {
        assert!(Credential::parse(text).is_err(), "{text}");
    }
    // A text that starts like a ticket or a key is parsed as nothing else.
    assert!(Credential::parse("tnt1.e30.e30").is_err());
    assert!(Credential::parse("tnk_e30.e30.e30").is_err());
}
