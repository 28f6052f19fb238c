//! Signing against a reference, and what it must tell apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

/// HMAC-SHA-256 with the ordinary constructor, over the joined message.
fn reference(key: [u8; 32], domain: &str, message: &[u8]) -> Vec<u8> {
    let mut hmac = <Hmac<Sha256> as Mac>::new_from_slice(&key).unwrap();
    hmac.update(&[domain.as_bytes(), &[0], message].concat());
    hmac.finalize().into_bytes()[..16].to_vec()
}

#[test]
fn a_known_answer() {
    // python3 -c "import hmac; print(hmac.new(bytes(range(32)), b'd\0message', 'sha256').hexdigest()[:32])"
    let key = Key::new(std::array::from_fn(|i| i as u8));
    let hex: String = (key.sign("d", b"message").iter().map(|b| format!("{b:02x}"))).collect();
    assert_eq!(hex, "f874c02ef226ef96cbc3eb277cd0f497");
}

#[test]
fn the_key_does_not_print_its_content() {
    let key = Key::new([0xAB; 32]);
    assert_eq!(format!("{key:?}"), "Key(..)");
}

#[test]
fn the_domain_and_the_message_do_not_run_together() {
    let key = Key::new([1; 32]);
    assert_ne!(key.sign("ab", b"c"), key.sign("a", b"bc"));
    assert_ne!(key.sign("a", b""), key.sign("", b"a"));
}

#[test]
fn a_mac_of_another_length_is_false() {
    let key = Key::new([1; 32]);
    let mac = key.sign("d", b"m");
    assert!(key.verify("d", b"m", &mac));
    for length in 0..16 {
        assert!(!key.verify("d", b"m", &mac[..length]));
    }
    assert!(!key.verify("d", b"m", &[mac.as_slice(), &[0]].concat()));
    assert!(!key.verify("d", b"m", &[mac, mac].concat()));
}

proptest! {
    #[test]
    fn it_is_truncated_hmac(key: [u8; 32], domain in "[a-z/0-9]{0,20}", message: Vec<u8>) {
        let mac = Key::new(key).sign(&domain, &message);
        prop_assert_eq!(mac.to_vec(), reference(key, &domain, &message));
        prop_assert!(Key::new(key).clone().verify(&domain, &message, &mac));
    }

    #[test]
    fn any_change_is_seen(
        key: [u8; 32], message in proptest::collection::vec(any::<u8>(), 1..100), bit: prop::sample::Index
    ) {
        let signer = Key::new(key);
        let mac = signer.sign("d", &message);
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        prop_assert!(!signer.verify("d", &flip(&message), &mac));
        prop_assert!(!signer.verify("d", &message, &flip(&mac)));
        prop_assert!(!signer.verify("e", &message, &mac));
        let other: [u8; 32] = flip(&key).try_into().unwrap();
        prop_assert!(!Key::new(other).verify("d", &message, &mac));
    }
}
