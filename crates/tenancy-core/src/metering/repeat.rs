//! What a request with a repeated idempotency key must repeat: hashes of its fields, to name those that differ without
//! keeping their values.

use sha2::{Digest, Sha256};

/// The bytes of a field's hash.
const BYTES: usize = 4;

/// The fields of an event that a repeated key must repeat. They fill a uuid.
pub const OF_EVENT: [&str; 4] = ["quantity", "cost", "project", "user"];
/// The fields of a reservation that a repeated key must repeat.
pub const OF_RESERVATION: [&str; 6] =
    ["metric", "quantity", "ttl", "attributes", "cost", "project"];

/// Hashes fields, each by itself. `None` differs from every value.
#[must_use]
pub fn fingerprints<const N: usize>(fields: [Option<&[u8]>; N]) -> Vec<u8> {
    let mut all = Vec::with_capacity(N * BYTES);
    for field in fields {
        let mut hash = Sha256::new();
        if let Some(value) = field {
            hash.update(b"=");
            hash.update(value);
        }
        all.extend_from_slice(hash.finalize().get(..BYTES).unwrap_or_default());
    }
    all
}

/// Returns the names of the fields whose hashes differ.
pub fn differing<'a>(names: &[&'a str], then: &[u8], now: &[u8]) -> Vec<&'a str> {
    let field = |all: &[u8], n: usize| all.get(n * BYTES..(n + 1) * BYTES).map(<[u8]>::to_vec);
    let names = names.iter().enumerate();
    let different = names.filter(|(n, _)| field(then, *n) != field(now, *n));
    different.map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_events_fields_fill_a_uuid() {
        assert_eq!(fingerprints([None; OF_EVENT.len()]).len(), 16);
    }

    #[test]
    fn nothing_differs_from_an_empty_value() {
        let (none, empty) = (fingerprints([None]), fingerprints([Some(&b""[..])]));
        assert_eq!(differing(&["cost"], &none, &empty), ["cost"]);
    }

    #[test]
    fn what_was_written_otherwise_differs_in_all() {
        let now = fingerprints([None; 4]);
        assert_eq!(differing(&OF_EVENT, &[], &now), OF_EVENT);
    }

    proptest! {
        #[test]
        fn exactly_the_fields_that_differ_are_named(fields in proptest::collection::vec(any::<Option<[u8; 8]>>(), 4), changed in any::<[bool; 4]>()) {
            let of = |fields: &[Option<[u8; 8]>]| {
                let field = |n: usize| fields[n].as_ref().map(|value| &value[..]);
                fingerprints([field(0), field(1), field(2), field(3)])
            };
            let mut others = fields.clone();
            for (field, changed) in others.iter_mut().zip(changed) {
                if changed {
                    *field = match field {
                        Some(value) if value[0] == 0 => None,
                        Some(value) => { let mut other = *value; other[0] ^= 0xff; Some(other) }
                        None => Some([7; 8]),
                    };
                }
            }
            let expected: Vec<&str> = OF_EVENT.iter().zip(changed).filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
            prop_assert_eq!(differing(&OF_EVENT, &of(&fields), &of(&others)), expected);
        }
    }
}
