//! The ticket's round trip, its expiry, and everything that is not a ticket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::time::Length;
use proptest::option;
use proptest::prelude::*;

fn key() -> Key {
    Key::new([7; 32])
}

fn any_uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn second(seconds: i64) -> Instant {
    Instant::from_unix_seconds(seconds)
}

prop_compose! {
    fn any_ticket()(
        key_id in any_uuid(),
        user in any_uuid(),
        tenant in option::of(any_uuid()),
        elevation in option::of(any_uuid()),
        fleet: bool,
        expires_at in (-9_000_000_000_000..9_000_000_000_000_i64).prop_map(second),
    ) -> Ticket {
        Ticket { key_id, user, tenant, elevation, fleet, expires_at }
    }
}

fn sample() -> Ticket {
    Ticket {
        key_id: Uuid::from_u128(1),
        user: Uuid::from_u128(2),
        tenant: Some(Uuid::from_u128(3)),
        elevation: None,
        fleet: true,
        expires_at: second(1000),
    }
}

/// The text of a ticket with any payload, with a good MAC.
fn forged(payload: &[u8]) -> String {
    let mac = key().sign(DOMAIN, payload);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("tnt1.{}.{}", encode(payload), encode(&mac))
}

#[test]
fn the_format_is_as_documented() {
    let text = sample().sign(&key());
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!((parts.len(), parts[0]), (3, "tnt1"));
    let payload = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    assert_eq!(payload[..16], 1u128.to_be_bytes());
    assert_eq!(payload[16..32], 2u128.to_be_bytes());
    assert_eq!(payload[32], TENANT | FLEET);
    assert_eq!(payload[33..49], 3u128.to_be_bytes());
    assert_eq!(payload[49..], 1000i64.to_be_bytes());
}

#[test]
fn an_elevation_follows_the_tenant() {
    let ticket = Ticket {
        elevation: Some(Uuid::from_u128(4)),
        ..sample()
    };
    let text = ticket.sign(&key());
    let payload = URL_SAFE_NO_PAD
        .decode(text.split('.').nth(1).unwrap())
        .unwrap();
    assert_eq!(payload.len(), MAX_PAYLOAD);
    assert_eq!(payload[32], TENANT | FLEET | ELEVATED);
    assert_eq!(payload[49..65], 4u128.to_be_bytes());
    assert_eq!(text.len(), MAX_TEXT);
}

#[test]
fn it_expires_at_the_very_second() {
    let text = sample().sign(&key());
    let at = |now| Ticket::parse(&text).unwrap().verify(&key(), second(now));
    assert_eq!(at(i64::MIN), Ok(sample()));
    assert_eq!(at(999), Ok(sample()));
    assert_eq!(at(1000), Err(TicketError::Expired));
    assert_eq!(at(1001), Err(TicketError::Expired));
    assert_eq!(at(i64::MAX), Err(TicketError::Expired));
}

#[test]
fn a_bad_signature_is_reported_before_the_expiry() {
    let text = sample().sign(&Key::new([8; 32]));
    for now in [0, 1000, 2000] {
        let result = Ticket::parse(&text).unwrap().verify(&key(), second(now));
        assert_eq!(result, Err(TicketError::BadSignature));
    }
}

#[test]
fn the_claims_of_one_do_not_go_with_the_mac_of_another() {
    let other = Ticket {
        expires_at: second(9_000_000_000_000),
        ..sample()
    };
    let (a, b) = (sample().sign(&key()), other.sign(&key()));
    let (claims, _) = b.rsplit_once('.').unwrap();
    let (_, mac) = a.rsplit_once('.').unwrap();
    let mixed = Ticket::parse(&format!("{claims}.{mac}")).unwrap();
    assert_eq!(mixed.claims(), &other);
    assert_eq!(
        mixed.verify(&key(), second(0)),
        Err(TicketError::BadSignature)
    );
}

#[test]
fn a_mac_of_another_domain_is_a_bad_signature() {
    let payload = sample().payload();
    let mac = URL_SAFE_NO_PAD.encode(key().sign("tenancy/context/1", &payload));
    let text = format!("tnt1.{}.{mac}", URL_SAFE_NO_PAD.encode(&payload));
    let result = Ticket::parse(&text).unwrap().verify(&key(), second(0));
    assert_eq!(result, Err(TicketError::BadSignature));
}

#[test]
fn invalid_tickets_are_malformed() {
    let good = sample().sign(&key());
    let (head, mac) = good.rsplit_once('.').unwrap();
    for text in [
        String::new(),
        "tnt1".to_owned(),
        "tnt1.".to_owned(),
        "tnt1..".to_owned(),
        "tnt1...".to_owned(),
        head.to_owned(),
        format!("{head}."),
        format!("tnt1..{mac}"),
        format!("{good}."),
        format!("{good}.{mac}"),
        format!("{good}="),
        format!("{good}A"),
        format!(" {good}"),
        format!("{good}\n"),
        good.replacen("tnt1", "tnt2", 1),
        good.replacen("tnt1", "TNT1", 1),
        good.replacen("tnt1.", "", 1),
        format!("tnt1.{}.{mac}", "A".repeat(1_000_000)),
    ] {
        assert_eq!(Ticket::parse(&text), Err(Malformed), "{text:?}");
    }
}

#[test]
fn even_a_good_mac_does_not_pass_another_layout() {
    let good = sample().payload();
    assert!(Ticket::parse(&forged(&good)).is_ok());
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        forged(&bytes)
    };
    for text in [
        forged(&[]),
        forged(&good[..32]),
        forged(&good[..33]),
        changed(&|bytes| bytes[32] &= !TENANT),
        changed(&|bytes| bytes[32] |= ELEVATED),
        changed(&|bytes| bytes[32] |= 1 << 3),
        changed(&|bytes| bytes[32] |= 1 << 7),
        changed(&|bytes| bytes[49..].copy_from_slice(&i64::MAX.to_be_bytes())),
        changed(&|bytes| bytes.push(0)),
        changed(&|bytes| bytes.truncate(bytes.len() - 1)),
    ] {
        assert_eq!(Ticket::parse(&text), Err(Malformed));
    }
}

#[test]
fn debug_does_not_print_the_mac() {
    let unverified = Ticket::parse(&sample().sign(&key())).unwrap();
    let printed = format!("{unverified:?}");
    assert!(
        printed.contains("claims") && !printed.contains("mac"),
        "{printed}"
    );
}

proptest! {
    #[test]
    fn tickets_read_back(ticket in any_ticket(), secret: [u8; 32]) {
        let key = Key::new(secret);
        let text = ticket.sign(&key);
        prop_assert!(text.len() <= MAX_TEXT);
        let unverified = Ticket::parse(&text).unwrap();
        prop_assert_eq!(unverified.claims(), &ticket);
        let now = ticket.expires_at - Length::from_seconds(1);
        let verified = unverified.verify(&key, now);
        if now < ticket.expires_at {
            prop_assert_eq!(verified, Ok(ticket));
        } else {
            prop_assert_eq!(verified, Err(TicketError::Expired));
        }
    }

    #[test]
    fn a_changed_bit_never_verifies(ticket in any_ticket(), bit: prop::sample::Index) {
        let mut bytes = ticket.sign(&key()).into_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Some(unverified) = String::from_utf8(bytes).ok().and_then(|t| Ticket::parse(&t).ok()) {
            prop_assert_eq!(unverified.verify(&key(), Instant::LONG_AGO), Err(TicketError::BadSignature));
        }
    }

    #[test]
    fn parsing_never_panics(
        text in "\\PC{0,150}|tnt1\\.[A-Za-z0-9_.=-]{0,120}|tnt1\\.[A-Za-z0-9_-]{55}[AQgw]\\.[A-Za-z0-9_-]{21}[AQgw]"
    ) {
        if let Ok(unverified) = Ticket::parse(&text) {
            prop_assert_eq!(unverified.verify(&key(), Instant::LONG_AGO), Err(TicketError::BadSignature));
        }
    }

    /// Every accepted text has one spelling.
    #[test]
    fn payloads_are_malformed_or_canonical(
        mut bytes in proptest::collection::vec(any::<u8>(), 30..76), flags in 0u8..8
    ) {
        if let Some(byte) = bytes.get_mut(32) {
            *byte = flags;
        }
        let text = forged(&bytes);
        if let Ok(unverified) = Ticket::parse(&text) {
            prop_assert_eq!(unverified.claims().sign(&key()), text);
        }
    }
}
