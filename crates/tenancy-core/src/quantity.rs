//! Quantities, costs and prices: fixed point in 64 bits, parsed from the server's decimal text. Overflow is an
//! error; values never wrap.

/// How many units of the fixed point make one: quantities and costs are counted in millionths.
pub const ONE: i64 = 1_000_000;
/// The digits after the point of a quantity or a cost.
const QUANTITY_DIGITS: usize = 6;
/// The digits after the point of a price.
const PRICE_DIGITS: usize = 12;
/// The fixed-point unit of prices.
const PRICE_ONE: i128 = 1_000_000_000_000;

macro_rules! fixed_point {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// Takes so many millionths.
            #[must_use]
            pub const fn from_millionths(millionths: i64) -> Self {
                Self(millionths)
            }

            /// Returns how many millionths it is.
            #[must_use]
            pub const fn millionths(self) -> i64 {
                self.0
            }

            /// Returns how much more it is than another; nothing where it is not more.
            #[must_use]
            pub fn beyond(self, other: Self) -> Self {
                Self((self.0 - other.0).max(0))
            }
        }
    };
}

fixed_point! {
    /// How much was used, in millionths of the metric's unit.
    Quantity
}

fixed_point! {
    /// The cost, in millionths.
    Cost
}

impl Quantity {
    /// One.
    pub const ONE: Self = Self(ONE);
}

/// The price of one unit, in millionths of millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Price(i64);

/// Why a number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// NaN, an infinity, or no number at all.
    #[error("{0} must be a finite number")]
    NotFinite(&'static str),
    /// Below zero.
    #[error("{0} must not be negative")]
    Negative(&'static str),
    /// More digits after the point than the fixed point has.
    #[error("{0} has more than 6 digits after the point")]
    TooFine(&'static str),
    /// More than fits 64 bits.
    #[error("{0} is too large")]
    TooLarge(&'static str),
}

use QuantityError::{Negative, NotFinite, TooFine, TooLarge};

/// Reads a quantity; exact, or an error. Zero is one.
pub fn quantity(text: &str) -> Result<Quantity, QuantityError> {
    fixed("quantity", text, QUANTITY_DIGITS, false).map(Quantity)
}

/// Reads how much a row stores, in millionths, rounded to the nearest, a half up. What is negative counts as nothing.
pub fn stored(text: &str) -> Result<i64, QuantityError> {
    match text.starts_with('-') {
        true => Ok(0),
        false => fixed("a number that a quota sums", text, QUANTITY_DIGITS, true),
    }
}

/// Reads a cost, rounded to the nearest millionth, a half up.
pub fn cost(text: &str) -> Result<Cost, QuantityError> {
    fixed("cost", text, QUANTITY_DIGITS, true).map(Cost)
}

/// Reads a price for one unit, rounded likewise.
pub fn price(text: &str) -> Result<Price, QuantityError> {
    fixed("price", text, PRICE_DIGITS, true).map(Price)
}

/// Returns what a quantity costs at a price, rounded to the nearest millionth, a half up.
pub fn priced(quantity: Quantity, price: Price) -> Result<Cost, QuantityError> {
    // Both are below 2^63, so the product is below 2^126.
    let exact = i128::from(quantity.0) * i128::from(price.0);
    let rounded = i64::try_from((exact + PRICE_ONE / 2).div_euclid(PRICE_ONE));
    rounded.map(Cost).map_err(|_| TooLarge("cost"))
}

/// Writes millionths as a decimal, without trailing zeros.
pub fn text(millionths: i128) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, part) = (
        millionths.unsigned_abs() / 1_000_000,
        millionths.unsigned_abs() % 1_000_000,
    );
    let text = format!("{sign}{whole}.{part:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn fixed(name: &'static str, text: &str, digits: usize, round: bool) -> Result<i64, QuantityError> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let numeric = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !numeric(whole) || !numeric(part) || whole.len() + part.len() == 0 {
        return Err(NotFinite(name));
    }
    if negative && (whole.bytes().chain(part.bytes())).any(|b| b != b'0') {
        return Err(Negative(name));
    }
    let (kept, rest) = part.as_bytes().split_at(part.len().min(digits));
    if !round && rest.iter().any(|b| *b != b'0') {
        return Err(TooFine(name));
    }
    let places = kept.iter().copied().chain(std::iter::repeat(b'0'));
    let mut value: i64 = 0;
    for digit in whole.bytes().chain(places.take(digits)) {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or(TooLarge(name))?;
    }
    let up = rest.first().is_some_and(|digit| *digit >= b'5');
    value.checked_add(i64::from(up)).ok_or(TooLarge(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_stores_what_is_not_negative() {
        assert_eq!(stored("1.2345675"), Ok(1_234_568));
        assert_eq!(stored("-3"), Ok(0));
        assert_eq!(stored("-Infinity"), Ok(0));
        assert!(stored("NaN").is_err() && stored("9223372036855").is_err());
    }

    #[test]
    fn numbers_as_the_server_writes_them() {
        for (text, value) in [
            ("0", 0),
            ("-0.000", 0),
            ("1", ONE),
            ("0.000001", 1),
            ("12.5", 12_500_000),
            ("1.0000000", ONE),
            ("9223372036854.775807", i64::MAX),
        ] {
            assert_eq!(quantity(text), Ok(Quantity(value)), "{text}");
        }
        for text in [
            "NaN",
            "Infinity",
            "-Infinity",
            "",
            ".",
            "1e5",
            "+1",
            "1.2.3",
            "٣",
        ] {
            assert_eq!(quantity(text), Err(NotFinite("quantity")), "{text}");
        }
        assert_eq!(quantity("-1"), Err(Negative("quantity")));
        assert_eq!(quantity("-0.0000001"), Err(Negative("quantity")));
        assert_eq!(quantity("0.0000001"), Err(TooFine("quantity")));
        for text in ["9223372036854.775808", "9223372036855", &"9".repeat(200)] {
            assert_eq!(quantity(text), Err(TooLarge("quantity")), "{text}");
        }
    }

    #[test]
    fn costs_and_prices_are_rounded() {
        assert_eq!(cost("0.0000004"), Ok(Cost(0)));
        assert_eq!(cost("0.0000005"), Ok(Cost(1)));
        assert_eq!(cost("9223372036854.7758075"), Err(TooLarge("cost")));
        assert_eq!(price("0.0000025"), Ok(Price(2_500_000)));
        assert_eq!(price("9223372"), Ok(Price(9_223_372_000_000_000_000)));
        assert_eq!(price("9223373"), Err(TooLarge("price")));
        assert_eq!(priced(Quantity::ONE, Price(2_500_000)), Ok(Cost(3)));
        assert_eq!(
            priced(Quantity(1000 * ONE), Price(2_500_000)),
            Ok(Cost(2_500))
        );
        assert_eq!(
            priced(Quantity(i64::MAX), Price(i64::MAX)),
            Err(TooLarge("cost"))
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0..=i64::MAX, zeros in 0_usize..5) {
            let text = format!("{}.{:06}{}", value / ONE, value % ONE, "0".repeat(zeros));
            prop_assert_eq!(quantity(&text), Ok(Quantity(value)));
            prop_assert_eq!(cost(&text), Ok(Cost(value)));
        }

        #[test]
        fn as_wide_arithmetic_says(whole in 0_u64..=u64::MAX, part in "[0-9]{0,12}") {
            let scaled = i128::from(whole) * 1_000_000_000_000
                + format!("{part:0<12}").parse::<i128>().unwrap_or_default();
            let rounded = i64::try_from((scaled + 500_000) / 1_000_000).ok();
            let text = if part.is_empty() { whole.to_string() } else { format!("{whole}.{part}") };
            prop_assert_eq!(cost(&text).ok(), rounded.map(Cost));
            prop_assert_eq!(quantity(&text).ok(), rounded.filter(|_| scaled % 1_000_000 == 0).map(Quantity));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = (quantity(&text), cost(&text), price(&text));
        }

        #[test]
        fn a_price_is_multiplied_and_rounded(quantity in 0..1_000_000_000_000_i64, price in 0..1_000_000_000_000_000_i64) {
            let exact = i128::from(quantity) * i128::from(price);
            let cost = i128::from(priced(Quantity(quantity), Price(price)).map_or(-1, Cost::millionths)) * PRICE_ONE;
            prop_assert!((cost - exact).abs() * 2 <= PRICE_ONE);
        }
    }
}
