//! Round trips of tokens, and texts that are refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::option;
use proptest::prelude::*;

fn key() -> Key {
    Key::new([7; 32])
}

fn any_uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn any_instant() -> impl Strategy<Value = Instant> {
    any::<i64>().prop_map(Instant::from_unix_micros)
}

prop_compose! {
    fn any_token()(
        maintenance: bool,
        session: bool,
        user in option::of(any_uuid()),
        tenant in option::of(any_uuid()),
        project in option::of(any_uuid()),
        proof in option::of((any_uuid(), 0..4u8)),
        elevation in any_uuid(),
        backend: i32,
        started in any_instant(),
        expires_at in option::of(any_instant()),
        client: Option<IpAddr>,
    ) -> Token {
        Token {
            kind: if maintenance { Kind::Maintenance } else { Kind::Principal },
            lifetime: if session { Lifetime::Session } else { Lifetime::Transaction },
            user,
            tenant,
            project,
            proof: proof.map(|(id, kind)| match kind {
                0 => Proof::ApiKey(id),
                1 => Proof::Ticket(id, None),
                2 => Proof::Ticket(id, Some(elevation)),
                _ => Proof::Provider(id),
            }),
            binding: Binding { backend, started },
            expires_at,
            client,
        }
    }
}

fn sample() -> Token {
    Token {
        kind: Kind::Principal,
        lifetime: Lifetime::Transaction,
        user: Some(Uuid::from_u128(1)),
        tenant: Some(Uuid::from_u128(2)),
        project: None,
        proof: None,
        binding: Binding {
            backend: 4711,
            started: Instant::from_unix_micros(1_700_000_000_000_000),
        },
        expires_at: None,
        client: None,
    }
}

/// Seals any bytes with a valid MAC.
fn sealed(bytes: &[u8]) -> String {
    let mac = key().sign(DOMAIN, bytes);
    URL_SAFE_NO_PAD.encode([bytes, &mac].concat())
}

fn opened(text: &str) -> Vec<u8> {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
    bytes[..bytes.len() - MAC_BYTES].to_vec()
}

#[test]
fn the_layout_is_as_documented() {
    let bytes = opened(&sample().encode(&key(), 9));
    assert_eq!(bytes.len(), 4 + 4 + 8 + 16 + 16);
    assert_eq!(bytes[..2], [2, 9]);
    assert_eq!(bytes[2..4], (USER | TENANT).to_be_bytes());
    assert_eq!(bytes[4..8], 4711i32.to_be_bytes());
    assert_eq!(bytes[8..16], 1_700_000_000_000_000i64.to_be_bytes());
    assert_eq!(bytes[16..32], 1u128.to_be_bytes());
    assert_eq!(bytes[32..], 2u128.to_be_bytes());
}

#[test]
fn an_address_has_as_many_bytes_as_it_needs() {
    for (client, bytes) in [
        (None, 0),
        (Some(IpAddr::from([192, 0, 2, 1])), 4),
        (Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])), 16),
    ] {
        let token = Token { client, ..sample() };
        let text = token.encode(&key(), 0);
        assert_eq!(opened(&text).len(), 48 + bytes);
        assert_eq!(Token::decode(&text, &key(), 0), Ok(token));
    }
}

#[test]
fn the_longest_token_fits() {
    let id = Some(Uuid::max());
    let token = Token {
        user: id,
        tenant: id,
        project: id,
        proof: id.map(|key| Proof::Ticket(key, id)),
        expires_at: Some(Instant::LONG_AGO),
        client: Some(IpAddr::from([u16::MAX; 8])),
        ..sample()
    };
    let text = token.encode(&key(), 255);
    assert_eq!(text.len(), MAX_TEXT);
    assert_eq!(Token::decode(&text, &key(), 255), Ok(token));
}

#[test]
fn invalid_tokens_are_refused() {
    let good = sample().encode(&key(), 0);
    assert!(Token::decode(&good, &key(), 0).is_ok());
    for text in [
        String::new(),
        " ".to_owned(),
        "=".to_owned(),
        "A".repeat(22),
        "A".repeat(100),
        "A".repeat(1_000_000),
        format!("{good}="),
        format!("{good}=="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}\0"),
        format!("{good}A"),
        format!("{good}{good}"),
        good.to_lowercase(),
        good.replacen('A', "é", 1),
    ] {
        assert_eq!(Token::decode(&text, &key(), 0), Err(Refused), "{text:?}");
    }
}

#[test]
fn another_key_or_key_id_is_refused() {
    let text = sample().encode(&key(), 3);
    assert_eq!(Token::decode(&text, &Key::new([8; 32]), 3), Err(Refused));
    assert_eq!(Token::decode(&text, &key(), 4), Err(Refused));
}

#[test]
fn even_a_good_mac_does_not_pass_another_layout() {
    let good = opened(&sample().encode(&key(), 0));
    assert!(Token::decode(&sealed(&good), &key(), 0).is_ok());
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        sealed(&bytes)
    };
    let flagged = |change: &dyn Fn(u16) -> u16| {
        changed(&|bytes| {
            let flags = change(u16::from_be_bytes([bytes[2], bytes[3]]));
            bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        })
    };
    for text in [
        sealed(&[]),
        sealed(&[VERSION]),
        changed(&|bytes| bytes[0] = 0),
        changed(&|bytes| bytes[0] = 1),
        changed(&|bytes| bytes[0] = 3),
        flagged(&|flags| flags | PROVEN),
        flagged(&|flags| flags | BY_TICKET),
        flagged(&|flags| flags | BY_PROVIDER),
        flagged(&|flags| flags | PROOF),
        flagged(&|flags| flags | PROJECT),
        flagged(&|flags| flags | EXPIRES),
        flagged(&|flags| flags | CLIENT),
        flagged(&|flags| flags | CLIENT_V6),
        flagged(&|flags| flags & !TENANT),
        flagged(&|flags| flags | ELEVATED),
        flagged(&|flags| flags | 1 << 12),
        flagged(&|flags| flags | 1 << 15),
        changed(&|bytes| bytes.push(0)),
        changed(&|bytes| bytes.truncate(bytes.len() - 1)),
        changed(&|bytes| bytes.truncate(15)),
    ] {
        assert_eq!(Token::decode(&text, &key(), 0), Err(Refused));
    }
}

#[test]
fn a_mac_of_another_domain_is_refused() {
    let bytes = opened(&sample().encode(&key(), 0));
    let mac = key().sign("tenancy/ticket/1", &bytes);
    let text = URL_SAFE_NO_PAD.encode([bytes.as_slice(), &mac].concat());
    assert_eq!(Token::decode(&text, &key(), 0), Err(Refused));
}

#[test]
fn every_single_bit_counts() {
    for token in [
        sample(),
        Token {
            project: Some(Uuid::from_u128(3)),
            expires_at: Some(Instant::from_unix_micros(1)),
            ..sample()
        },
        Token {
            tenant: None,
            proof: Some(Proof::ApiKey(Uuid::from_u128(4))),
            ..sample()
        },
        Token {
            proof: Some(Proof::Ticket(Uuid::from_u128(6), Some(Uuid::from_u128(7)))),
            ..sample()
        },
        Token {
            proof: Some(Proof::Provider(Uuid::from_u128(5))),
            client: Some(IpAddr::from([192, 0, 2, 1])),
            ..sample()
        },
    ] {
        let good = token.encode(&key(), 0);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = String::from_utf8(bytes) {
                assert_eq!(Token::decode(&text, &key(), 0), Err(Refused), "{bit}");
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let good = sample().encode(&key(), 0);
    for length in 0..good.len() {
        assert_eq!(Token::decode(&good[..length], &key(), 0), Err(Refused));
        assert_eq!(
            Token::decode(&good[good.len() - length..], &key(), 0),
            Err(Refused)
        );
    }
}

proptest! {
    #[test]
    fn tokens_read_back(token in any_token(), secret: [u8; 32], key_id: u8) {
        let key = Key::new(secret);
        let text = token.encode(&key, key_id);
        prop_assert!(text.len() <= MAX_TEXT);
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        prop_assert_eq!(Token::decode(&text, &key, key_id), Ok(token));
    }

    #[test]
    fn different_tokens_have_different_texts(a in any_token(), b in any_token()) {
        prop_assert_eq!(a == b, a.encode(&key(), 0) == b.encode(&key(), 0));
    }

    #[test]
    fn a_flipped_bit_is_refused(token in any_token(), bit: prop::sample::Index) {
        let good = token.encode(&key(), 0);
        let mut bytes = good.clone().into_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert_eq!(Token::decode(&text, &key(), 0), Err(Refused));
        }
    }

    #[test]
    fn one_character_for_another_is_refused(
        token in any_token(), at: prop::sample::Index, c in "[A-Za-z0-9_-]"
    ) {
        let good = token.encode(&key(), 0);
        let at = at.index(good.len());
        let text = format!("{}{c}{}", &good[..at], &good[at + 1..]);
        prop_assert_eq!(Token::decode(&text, &key(), 0).is_ok(), text == good);
    }

    #[test]
    fn random_text_is_refused(text in "\\PC{0,150}|[A-Za-z0-9_=-]{0,130}") {
        prop_assert_eq!(Token::decode(&text, &key(), 0), Err(Refused));
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let text = URL_SAFE_NO_PAD.encode(&bytes);
        prop_assert_eq!(Token::decode(&text, &key(), 0), Err(Refused));
    }

    /// A text with a valid MAC is accepted in one encoding only.
    #[test]
    fn signed_bytes_are_refused_or_canonical(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..80), flags in 0..=KNOWN
    ) {
        if let [version, key_id, high, low, ..] = bytes.as_mut_slice() {
            (*version, *key_id) = (VERSION, 0);
            [*high, *low] = flags.to_be_bytes();
        }
        let text = sealed(&bytes);
        if let Ok(token) = Token::decode(&text, &key(), 0) {
            prop_assert_eq!(token.encode(&key(), 0), text);
        }
    }
}
