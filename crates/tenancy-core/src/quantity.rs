//! Quantities, costs and prices: fixed point, parsed from the server's decimal text. Overflow is an error; values never
//! wrap.
//!
//! A quantity has 6 digits after the point and a price 12, so their product has 18: a cost is exact, however small it is.

/// How many units of the fixed point make one: quantities are counted in millionths.
pub const ONE: i64 = 1_000_000;
/// How many attos (10⁻¹⁸) make a millionth. Costs, and all amounts of budgets, are counted in attos.
pub const ATTOS: i128 = 1_000_000_000_000;
/// The digits after the point of a quantity.
const QUANTITY_DIGITS: usize = 6;
/// The digits after the point of a price.
const PRICE_DIGITS: usize = 12;
/// The digits after the point of a cost.
const COST_DIGITS: usize = 18;

macro_rules! fixed_point {
    ($(#[$doc:meta])* $name:ident $number:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(transparent)]
        pub struct $name($number);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

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
    Quantity i64
}

fixed_point! {
    /// The cost, in attos: 10⁻¹⁸.
    Cost i128
}

impl Quantity {
    /// One.
    pub const ONE: Self = Self(ONE);

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

    /// Returns how many attos it is, as budgets count it.
    #[must_use]
    pub const fn attos(self) -> i128 {
        attos(self.0)
    }
}

impl Cost {
    /// The highest cost of an event, about 9.2 · 10¹²: that of a budget.
    pub const MAX: Self = Self(attos(i64::MAX));

    /// Takes so many attos.
    #[must_use]
    pub const fn from_attos(attos: i128) -> Self {
        Self(attos)
    }

    /// Takes so many millionths.
    #[must_use]
    pub const fn from_millionths(millionths: i64) -> Self {
        Self(attos(millionths))
    }

    /// Returns how many attos it is.
    #[must_use]
    pub const fn attos(self) -> i128 {
        self.0
    }
}

/// Converts millionths to attos.
#[must_use]
pub const fn attos(millionths: i64) -> i128 {
    // Not `from`, which is not const. Below 2^63 · 10^12 < 2^103.
    millionths as i128 * ATTOS
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
    small(fixed("quantity", text, QUANTITY_DIGITS, false)?, "quantity").map(Quantity)
}

/// Reads how much a row stores, in millionths, rounded to the nearest, a half up. What is negative counts as nothing.
pub fn stored(text: &str) -> Result<i64, QuantityError> {
    match text.starts_with('-') {
        true => Ok(0),
        false => {
            let name = "a number that a quota sums";
            small(fixed(name, text, QUANTITY_DIGITS, true)?, name)
        }
    }
}

/// Reads a cost, with 18 digits after the point; further ones are rounded, a half up.
pub fn cost(text: &str) -> Result<Cost, QuantityError> {
    payable(fixed("cost", text, COST_DIGITS, true)?)
}

/// Reads a price for one unit, with 12 digits after the point; further ones are rounded, a half up.
pub fn price(text: &str) -> Result<Price, QuantityError> {
    small(fixed("price", text, PRICE_DIGITS, true)?, "price").map(Price)
}

/// Returns what a quantity costs at a price, exactly.
pub fn priced(quantity: Quantity, price: Price) -> Result<Cost, QuantityError> {
    // Both are below 2^63, so the product is below 2^126.
    payable(i128::from(quantity.0) * i128::from(price.0))
}

fn payable(attos: i128) -> Result<Cost, QuantityError> {
    let cost = Cost(attos);
    (cost <= Cost::MAX).then_some(cost).ok_or(TooLarge("cost"))
}

fn small(value: i128, name: &'static str) -> Result<i64, QuantityError> {
    i64::try_from(value).map_err(|_| TooLarge(name))
}

/// Writes attos as a decimal, without trailing zeros.
pub fn text(attos: i128) -> String {
    decimal(attos, COST_DIGITS)
}

/// Writes how many millionths attos are, likewise: tables store costs in millionths.
pub fn in_millionths(attos: i128) -> String {
    decimal(attos, COST_DIGITS - QUANTITY_DIGITS)
}

fn decimal(number: i128, digits: usize) -> String {
    let one = 10_u128.pow(digits as u32);
    let sign = if number < 0 { "-" } else { "" };
    let (whole, part) = (number.unsigned_abs() / one, number.unsigned_abs() % one);
    let text = format!("{sign}{whole}.{part:0digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn fixed(
    name: &'static str,
    text: &str,
    digits: usize,
    round: bool,
) -> Result<i128, QuantityError> {
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
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(places.take(digits)) {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(digit - b'0')))
            .ok_or(TooLarge(name))?;
    }
    let up = rest.first().is_some_and(|digit| *digit >= b'5');
    value.checked_add(i128::from(up)).ok_or(TooLarge(name))
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
    fn costs_keep_eighteen_digits_and_prices_twelve() {
        assert_eq!(cost("0.0000004"), Ok(Cost(400_000_000_000)));
        assert_eq!(cost("0.0000000000000000004"), Ok(Cost(0)));
        assert_eq!(cost("0.0000000000000000005"), Ok(Cost(1)));
        assert_eq!(cost("9223372036854.775807"), Ok(Cost::MAX));
        for text in [
            "9223372036854.775807000000000001",
            "9223372036855",
            &"9".repeat(60),
        ] {
            assert_eq!(cost(text), Err(TooLarge("cost")), "{text}");
        }
        assert_eq!(price("0.0000025"), Ok(Price(2_500_000)));
        assert_eq!(price("0.0000000000005"), Ok(Price(1)));
        assert_eq!(price("9223372"), Ok(Price(9_223_372_000_000_000_000)));
        assert_eq!(price("9223373"), Err(TooLarge("price")));
        assert_eq!(
            priced(Quantity::ONE, Price(2_500_000)),
            Ok(Cost(2_500_000_000_000))
        );
        // The smallest quantity at the smallest price, and the largest quantity.
        assert_eq!(priced(Quantity(1), Price(1)), Ok(Cost(1)));
        assert_eq!(
            priced(Quantity(i64::MAX), Price(1)),
            Ok(Cost(i64::MAX.into()))
        );
        assert_eq!(
            priced(Quantity(i64::MAX), Price(1_000_000_000_000)),
            Ok(Cost::MAX)
        );
        assert_eq!(
            priced(Quantity(i64::MAX), Price(1_000_000_000_001)),
            Err(TooLarge("cost"))
        );
        assert_eq!(
            priced(Quantity(i64::MAX), Price(i64::MAX)),
            Err(TooLarge("cost"))
        );
    }

    #[test]
    fn attos_as_text() {
        for (number, expected) in [
            (0, "0"),
            (1, "0.000000000000000001"),
            (-1, "-0.000000000000000001"),
            (attos(1_500_000), "1.5"),
            (attos(i64::MAX), "9223372036854.775807"),
        ] {
            assert_eq!(text(number), expected);
        }
        assert_eq!(in_millionths(1), "0.000000000001");
        assert_eq!(in_millionths(attos(-1_500_000)), "-1500000");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0..=i64::MAX, zeros in 0_usize..5) {
            let text = format!("{}.{:06}{}", value / ONE, value % ONE, "0".repeat(zeros));
            prop_assert_eq!(quantity(&text), Ok(Quantity(value)));
            prop_assert_eq!(cost(&text), Ok(Cost::from_millionths(value)));
        }

        #[test]
        fn as_wide_arithmetic_says(whole in 0_u64..=u64::MAX, part in "[0-9]{0,18}") {
            let scaled = i128::from(whole) * 1_000_000_000_000_000_000
                + format!("{part:0<18}").parse::<i128>().unwrap_or_default();
            let text = if part.is_empty() { whole.to_string() } else { format!("{whole}.{part}") };
            prop_assert_eq!(cost(&text).ok(), Some(Cost(scaled)).filter(|cost| *cost <= Cost::MAX));
            let exact = Some(scaled / ATTOS).filter(|_| scaled % ATTOS == 0);
            prop_assert_eq!(quantity(&text).ok(), exact.and_then(|n| i64::try_from(n).ok()).map(Quantity));
        }

        #[test]
        fn costs_are_written_as_they_are_read(number in 0..=Cost::MAX.0, shift in 0_u32..100) {
            let number = number >> shift;
            prop_assert_eq!(cost(&super::text(number)), Ok(Cost(number)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = (quantity(&text), cost(&text), price(&text));
        }

        #[test]
        fn the_cost_of_a_sum_is_the_sum_of_the_costs(parts in prop::collection::vec(0..1_000_000_000_i64, 0..50), price in 0..1_000_000_000_000_000_000_i64) {
            let each = parts.iter().map(|part| priced(Quantity(*part), Price(price)).map_or(-1, Cost::attos));
            let whole = priced(Quantity(parts.iter().sum()), Price(price)).map_or(-1, Cost::attos);
            prop_assert_eq!(each.sum::<i128>(), whole);
        }
    }
}
