//! Numerics as PostgreSQL stores them: src/pg/numeric.rs, which links no server, against one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../../src/pg/numeric.rs"]
mod numeric;

use std::fmt::Write as _;

use numeric::{PgNumeric, to_millionths};
use proptest::prelude::*;
use tenancy_client_tests::Db;
use tenancy_core::quantity::{ONE, Quantity, quantity};

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Returns the words of numeric_send for stored words: the number of digits, weight, sign, scale, and the digits.
fn sent(stored: &[u8]) -> String {
    let words: Vec<u16> = (stored.chunks(2).map(|w| u16::from_ne_bytes([w[0], w[1]]))).collect();
    let (header, digits) = words.split_first().unwrap();
    let weight = i32::from(header & 0x3F) - i32::from(header & 0x40);
    let head = [
        digits.len() as u16,
        weight as u16,
        (header & 0x2000) << 1,
        header >> 7 & 0x3F,
    ];
    head.iter().chain(digits).fold(String::new(), |mut all, w| {
        let _ = write!(all, "{w:04x}");
        all
    })
}

#[test]
fn as_the_server_sends_them() {
    let db = Db::new();
    let mut admin = db.admin();
    let mut numbers = vec![0, i128::MAX, i128::MIN, i64::MAX.into()];
    for power in 0..38 {
        let one = 10_i128.pow(power);
        numbers.extend([one, -one, one - 1, one + 1, one.wrapping_mul(123_456_789)]);
    }
    for number in numbers {
        let text = admin.text(&format!(
            "SELECT encode(numeric_send(trim_scale({number}::numeric * 0.000001)), 'hex')"
        ));
        assert_eq!(
            sent(PgNumeric::from_millionths(number).bytes()),
            text,
            "{number}"
        );
        for (stored, one) in [
            (PgNumeric::from_attos(number), "0.000000000000000001"),
            (PgNumeric::in_millionths(number), "0.000000000001"),
        ] {
            let text = admin.text(&format!(
                "SELECT encode(numeric_send(trim_scale({number}::numeric * {one})), 'hex')"
            ));
            assert_eq!(sent(stored.bytes()), text, "{number} times {one}");
        }
    }
}

#[test]
fn as_files_have_them() {
    for (millionths, stored) in [
        (0, &[0x8000][..]),
        (1_000_000, &[0x8000, 1]),
        (-1_000_000, &[0xA000, 1]),
        (10_000_000_000, &[0x8001, 1]),
        (12_500_000, &[0x8080, 12, 5000]),
        (500_000, &[0x80FF, 5000]),
        (1, &[0x837E, 100]),
        (100, &[0x827F, 1]),
        (12_345_678_901_234, &[0x8301, 1234, 5678, 9012, 3400]),
    ] {
        assert_eq!(
            PgNumeric::from_millionths(millionths).bytes(),
            words(stored),
            "{millionths}"
        );
    }
}

#[test]
fn what_is_left_to_the_text() {
    for stored in [
        &[][..],
        &[0xC000],
        &[0xD000],
        &[0xF000],
        &[0xA000, 1],
        &[0x4000, 0, 1],
        // A hundredth of a millionth.
        &[0x847E, 1],
        &[0x867D, 1],
        // 10^16.
        &[0x8004, 1],
        // Just above what fits.
        &[0x8303, 9, 2233, 7203, 6854, 7758, 800],
    ] {
        assert_eq!(to_millionths(&words(stored)), None, "{stored:x?}");
    }
    assert_eq!(
        to_millionths(&words(&[0x8303, 9, 2233, 7203, 6854, 7758, 700])),
        Some(i64::MAX)
    );
    assert_eq!(to_millionths(&words(&[0x0002, 1, 1])), Some(10_000_000_000));
    assert_eq!(to_millionths(&words(&[0x8000])), Some(0));
    assert_eq!(to_millionths(&[0x80]), None);
}

/// Returns the value of stored digits, by wide arithmetic; `None` for less than millionths.
fn naive(stored: &[u8]) -> Option<i128> {
    let words: Vec<u16> = (stored.chunks(2).map(|w| u16::from_ne_bytes([w[0], w[1]]))).collect();
    let (header, digits) = words.split_first()?;
    let weight = i32::from(header & 0x3F) - i32::from(header & 0x40);
    let mut hundredths = 0;
    for (n, digit) in digits.iter().enumerate() {
        let place = weight - i32::try_from(n).ok()?;
        hundredths += i128::from(*digit) * 10_000_i128.pow(u32::try_from(place + 2).ok()?);
    }
    let value = (hundredths % 100 == 0).then_some(hundredths / 100)?;
    Some(if header & 0x2000 == 0 { value } else { -value })
}

proptest! {
    #[test]
    fn there_and_back(value in 0..=i64::MAX, shift in 0_u32..63) {
        let value = value >> shift;
        prop_assert_eq!(to_millionths(PgNumeric::from_millionths(value.into()).bytes()), Some(value));
    }

    #[test]
    fn as_wide_arithmetic_says(value in any::<i64>(), factor in any::<u64>(), shift in 0_u32..64) {
        let value = i128::from(value) * i128::from(factor >> shift);
        let stored = PgNumeric::from_millionths(value);
        // Beyond 128 bits of hundredths of millionths this cannot tell.
        if value.unsigned_abs() < 1 << 120 {
            prop_assert_eq!(naive(stored.bytes()), Some(value));
        }
        let digits = stored.bytes().get(2..).unwrap_or_default();
        prop_assert!(!digits.starts_with(&[0, 0]) && !digits.ends_with(&[0, 0]));
    }

    /// Any bytes: no panic, and the value is that of the numeric's text.
    #[test]
    fn any_words(header in any::<u16>(), digits in prop::collection::vec(0_u16..10_000, 0..8)) {
        let mut stored = vec![header];
        stored.extend(digits);
        if let Some(read) = to_millionths(&words(&stored)) {
            prop_assert!(read >= 0);
            prop_assert_eq!(quantity(&format!("{}.{:06}", read / ONE, read % ONE)), Ok(Quantity::from_millionths(read)));
        }
    }
}

#[test]
fn the_greatest_and_the_least() {
    for number in [i128::MAX, i128::MIN] {
        assert_eq!(PgNumeric::from_millionths(number).bytes().len(), 24);
    }
}
