//! Decimals as the server stores them, to and from millionths, with no text in between: a header, which
//! tells the weight of the first digit, and digits to the base of ten thousand. Files are written so, and
//! so it stays.

use crate::quantity::ONE;

const BASE: u64 = 10_000;
/// The digits of the greatest number of millionths before the point, and those behind it.
const WHOLE: usize = 9;
const PART: usize = 2;
/// The most bytes that a number of millionths takes.
const BYTES: usize = 2 + 2 * (WHOLE + PART);

// The header of a number that is neither NaN nor infinite, nor has hundreds of digits.
const SHORT: u16 = 0x8000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_SCALE: u32 = 7;
const SHORT_BELOW_ONE: u16 = 0x0040;
const SHORT_WEIGHT: u16 = 0x003F;
// That of others.
const KIND: u16 = 0xC000;
const LONG: u16 = 0x0000;

/// A decimal as it is stored, behind its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PgNumeric {
    bytes: [u8; BYTES],
    count: usize,
}

impl PgNumeric {
    /// Of millionths; without zeros behind the point that say nothing.
    #[must_use]
    pub fn new(millionths: i128) -> Self {
        let (whole, part) = split(millionths.unsigned_abs());
        let digits = digits(whole, part);
        let first = digits.iter().position(|digit| *digit != 0);
        let last = digits.iter().rposition(|digit| *digit != 0);
        let Some((first, last)) = first.zip(last) else {
            // Nothing but a header: zero.
            let mut zero = Self::EMPTY;
            zero.push(SHORT);
            return zero;
        };
        let mut header = SHORT | scale(part) << SHORT_SCALE;
        if millionths < 0 {
            header |= SHORT_NEGATIVE;
        }
        // The digit before the point has the weight 0.
        header |= match (WHOLE - 1).checked_sub(first) {
            Some(weight) => weight as u16,
            None => SHORT_BELOW_ONE | (SHORT_WEIGHT + 1).wrapping_sub((first + 1 - WHOLE) as u16),
        };
        let mut stored = Self::EMPTY;
        stored.push(header);
        for digit in digits.get(first..=last).unwrap_or_default() {
            stored.push(*digit);
        }
        stored
    }

    const EMPTY: Self = Self {
        bytes: [0; BYTES],
        count: 0,
    };

    fn push(&mut self, word: u16) {
        if let Some(place) = self.bytes.get_mut(self.count..self.count + 2) {
            place.copy_from_slice(&word.to_ne_bytes());
            self.count += 2;
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.count).unwrap_or_default()
    }
}

/// What is before the point, and the millionths behind it.
fn split(millionths: u128) -> (u128, u64) {
    // Nearly all numbers are small, and their division is much faster.
    if let Ok(small) = u64::try_from(millionths) {
        let one = ONE.unsigned_abs();
        return ((small / one).into(), small % one);
    }
    let one = u128::from(ONE.unsigned_abs());
    ((millionths / one), (millionths % one) as u64)
}

fn digits(whole: u128, part: u64) -> [u16; WHOLE + PART] {
    let mut digits = [0; WHOLE + PART];
    let mut places = digits.iter_mut().rev();
    let mut put = |digit: u64| {
        if let Some(place) = places.next() {
            *place = digit as u16;
        }
    };
    // Six decimals are a digit and a half.
    put(part % 100 * 100);
    put(part / 100);
    let mut wide = whole;
    while wide > u64::MAX.into() {
        put((wide % u128::from(BASE)) as u64);
        wide /= u128::from(BASE);
    }
    let mut rest = wide as u64;
    while rest > 0 {
        put(rest % BASE);
        rest /= BASE;
    }
    digits
}

/// How many decimals are shown.
fn scale(part: u64) -> u16 {
    let (mut rest, mut scale) = (part, 6);
    while scale > 0 && rest.is_multiple_of(10) {
        rest /= 10;
        scale -= 1;
    }
    scale
}

/// The millionths of a stored decimal from zero up; nothing when they are not exact or do not fit, or
/// when it is none: then its text says what is wrong with it.
#[must_use]
pub fn millionths(stored: &[u8]) -> Option<i64> {
    let mut words = stored
        .chunks_exact(2)
        .map(|word| u16::from_ne_bytes([word[0], word[1]]));
    let header = words.next()?;
    let mut weight = if header & KIND == SHORT {
        if header & SHORT_NEGATIVE != 0 {
            return None;
        }
        let weight = (header & SHORT_WEIGHT).cast_signed();
        if header & SHORT_BELOW_ONE != 0 {
            weight - (SHORT_WEIGHT + 1).cast_signed()
        } else {
            weight
        }
    } else if header & KIND == LONG {
        words.next()?.cast_signed()
    } else {
        return None;
    };
    let (mut whole, mut part) = (0_i64, 0_i64);
    for digit in words {
        match weight {
            0.. => whole = whole.checked_mul(BASE as i64)?.checked_add(digit.into())?,
            -1 => part = i64::from(digit) * 100,
            -2 if digit % 100 == 0 => part += i64::from(digit / 100),
            _ => return None,
        }
        weight = weight.checked_sub(1)?;
    }
    // Zeros before the point are not stored.
    while weight >= 0 && whole != 0 {
        whole = whole.checked_mul(BASE as i64)?;
        weight -= 1;
    }
    whole.checked_mul(ONE)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::quantity;
    use proptest::prelude::*;

    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// As the server's numeric_send and its files have them.
    #[test]
    fn as_the_server_stores_them() {
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
                PgNumeric::new(millionths).bytes(),
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
            assert_eq!(millionths(&words(stored)), None, "{stored:x?}");
        }
        assert_eq!(
            millionths(&words(&[0x8303, 9, 2233, 7203, 6854, 7758, 700])),
            Some(i64::MAX)
        );
        assert_eq!(millionths(&words(&[0x0002, 1, 1])), Some(10_000_000_000));
        assert_eq!(millionths(&words(&[0x8000])), Some(0));
        assert_eq!(millionths(&[0x80]), None);
    }

    /// What stored digits say, by wide arithmetic; nothing for less than millionths.
    fn naive(stored: &[u8]) -> Option<i128> {
        let words: Vec<u16> =
            (stored.chunks(2).map(|w| u16::from_ne_bytes([w[0], w[1]]))).collect();
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
            prop_assert_eq!(millionths(PgNumeric::new(value.into()).bytes()), Some(value));
        }

        #[test]
        fn as_wide_arithmetic_says(value in any::<i64>(), factor in any::<u64>(), shift in 0_u32..64) {
            let value = i128::from(value) * i128::from(factor >> shift);
            let stored = PgNumeric::new(value);
            // Beyond 128 bits of hundredths of millionths this cannot tell.
            if value.unsigned_abs() < 1 << 120 {
                prop_assert_eq!(naive(stored.bytes()), Some(value));
            }
            let digits = stored.bytes().get(2..).unwrap_or_default();
            prop_assert!(!digits.starts_with(&[0, 0]) && !digits.ends_with(&[0, 0]));
        }

        /// Whatever bytes there are: no panic, and what is read is what the text would have said.
        #[test]
        fn any_words(header in any::<u16>(), digits in prop::collection::vec(0_u16..10_000, 0..8)) {
            let mut stored = vec![header];
            stored.extend(digits);
            if let Some(read) = millionths(&words(&stored)) {
                prop_assert!(read >= 0);
                prop_assert_eq!(quantity(&format!("{}.{:06}", read / ONE, read % ONE)), Ok(read));
            }
        }
    }

    #[test]
    fn the_greatest_and_the_least() {
        assert_eq!(PgNumeric::new(i128::MAX).bytes().len(), BYTES);
        assert_eq!(PgNumeric::new(i128::MIN).bytes().len(), BYTES);
    }
}
