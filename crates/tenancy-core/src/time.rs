//! Instants and lengths of time. A number becomes one, or one a number, only where its unit and epoch are named.
//!
//! Sums and differences end at [`Instant::NEVER`] and [`Instant::LONG_AGO`] and never wrap.

use std::ops::{Add, AddAssign, Mul, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

const SECOND: i64 = 1_000_000;

/// An instant: microseconds of the Unix epoch, in eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Instant(i64);

impl Instant {
    /// The start of 1970 in UTC.
    pub const EPOCH: Self = Self(0);
    /// An instant that is never reached.
    pub const NEVER: Self = Self(i64::MAX);
    /// An instant before all others.
    pub const LONG_AGO: Self = Self(i64::MIN);

    /// Creates an instant from microseconds of the Unix epoch.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns it in microseconds of the Unix epoch.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Creates an instant from seconds of the Unix epoch. Saturates some 292,000 years away.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// Returns the second that contains it, in seconds of the Unix epoch.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// Adds a length; `None` if the sum is out of range.
    #[must_use]
    pub fn checked_add(self, length: Length) -> Option<Self> {
        self.0.checked_add(length.0).map(Self)
    }

    /// Returns the length between two instants, whichever is first.
    #[must_use]
    pub fn abs_diff(self, other: Self) -> Length {
        Length(i64::try_from(self.0.abs_diff(other.0)).unwrap_or(i64::MAX))
    }

    /// Returns the last multiple of `grid` since the Unix epoch that is not after the instant.
    #[must_use]
    pub fn floor(self, grid: Length) -> Self {
        Self(self.0.div_euclid(grid.0).saturating_mul(grid.0))
    }

    /// Returns the number of whole `grid`s from the Unix epoch to the instant; negative before it.
    #[must_use]
    pub fn count(self, grid: Length) -> i64 {
        self.0.div_euclid(grid.0)
    }
}

/// A length of time in microseconds; negative if it goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Length(i64);

impl Length {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// Creates a length from microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns it in microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Creates a length from milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Returns its whole milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0 / 1000
    }

    /// Creates a length from seconds.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// Returns its whole seconds, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// Creates a length from hours.
    #[must_use]
    pub const fn from_hours(hours: i64) -> Self {
        Self::from_seconds(hours.saturating_mul(3600))
    }

    /// Creates a length from days of 24 hours.
    #[must_use]
    pub const fn from_days(days: i64) -> Self {
        Self::from_hours(days.saturating_mul(24))
    }

    /// Returns the remainder of a division by `length`, which is positive; never negative.
    #[must_use]
    pub fn rem_euclid(self, length: Self) -> Self {
        Self(self.0.rem_euclid(length.0))
    }
}

impl Add<Length> for Instant {
    type Output = Self;

    fn add(self, length: Length) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl AddAssign<Length> for Instant {
    fn add_assign(&mut self, length: Length) {
        *self = *self + length;
    }
}

impl Sub<Length> for Instant {
    type Output = Self;

    fn sub(self, length: Length) -> Self {
        Self(self.0.saturating_sub(length.0))
    }
}

impl Sub for Instant {
    type Output = Length;

    fn sub(self, other: Self) -> Length {
        Length(self.0.saturating_sub(other.0))
    }
}

impl Add for Length {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Length {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<i64> for Length {
    type Output = Self;

    fn mul(self, times: i64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

/// A length that goes back becomes none.
impl From<Length> for Duration {
    fn from(length: Length) -> Self {
        Self::from_micros(u64::try_from(length.0).unwrap_or(0))
    }
}

/// Saturates.
impl From<Duration> for Length {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn they_take_eight_bytes() {
        assert_eq!((size_of::<Instant>(), size_of::<Length>()), (8, 8));
    }

    #[test]
    fn units_and_epochs() {
        assert_eq!(Instant::from_unix_seconds(-1).unix_micros(), -1_000_000);
        assert_eq!(Instant::from_unix_micros(-1).unix_seconds(), -1);
        assert_eq!(Instant::from_unix_micros(1_999_999).unix_seconds(), 1);
        assert_eq!(Length::from_days(1), Length::from_hours(24));
        assert_eq!(Length::from_hours(1), Length::from_seconds(3600));
        assert_eq!(Length::from_seconds(1), Length::from_millis(1000));
        assert_eq!(Length::from_millis(1), Length::from_micros(1000));
        assert_eq!(Length::from_micros(1_999).millis(), 1);
        assert_eq!(Length::from_micros(1_999_999).seconds(), 1);
    }

    #[test]
    fn what_is_out_of_range_saturates() {
        let (second, least) = (Length::from_seconds(1), Length(i64::MIN));
        assert_eq!(Instant::from_unix_seconds(i64::MAX), Instant::NEVER);
        assert_eq!(Instant::from_unix_seconds(i64::MIN), Instant::LONG_AGO);
        assert_eq!(Length::from_days(i64::MIN), least);
        assert_eq!(Instant::NEVER + second, Instant::NEVER);
        assert_eq!(Instant::NEVER.checked_add(second), None);
        assert_eq!(Instant::LONG_AGO - second, Instant::LONG_AGO);
        assert_eq!(Instant::NEVER - Instant::LONG_AGO, Length(i64::MAX));
        assert_eq!(Instant::LONG_AGO.abs_diff(Instant::NEVER), Length(i64::MAX));
        assert_eq!(Length(i64::MAX) * -2, least);
        assert_eq!(Instant::LONG_AGO.floor(Length(7)), Instant::LONG_AGO);
    }

    #[test]
    fn the_standard_library_has_no_negative_durations() {
        assert_eq!(Duration::from(Length(-1)), Duration::ZERO);
        assert_eq!(Duration::from(Length(1)), Duration::from_micros(1));
        assert_eq!(Length::from(Duration::from_millis(1)), Length(1000));
        assert_eq!(Length::from(Duration::MAX), Length(i64::MAX));
    }

    proptest! {
        #[test]
        fn sums_are_as_wide_ones_cut_to_the_range(a: i64, b: i64) {
            let cut = |sum: i128| sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
            let (wide_a, wide_b) = (i128::from(a), i128::from(b));
            prop_assert_eq!((Instant(a) + Length(b)).0, cut(wide_a + wide_b));
            prop_assert_eq!((Instant(a) - Length(b)).0, cut(wide_a - wide_b));
            prop_assert_eq!((Instant(a) - Instant(b)).0, cut(wide_a - wide_b));
            prop_assert_eq!((Length(a) + Length(b)).0, cut(wide_a + wide_b));
            prop_assert_eq!((Length(a) - Length(b)).0, cut(wide_a - wide_b));
            prop_assert_eq!((Length(a) * b).0, cut(wide_a * wide_b));
            prop_assert_eq!(Instant(a).abs_diff(Instant(b)).0, cut((wide_a - wide_b).abs()));
            prop_assert_eq!(Instant(a).checked_add(Length(b)), i64::try_from(wide_a + wide_b).ok().map(Instant));
        }

        #[test]
        fn an_instant_is_less_than_a_grid_after_its_floor(at: i64, grid in 1..i64::MAX) {
            let (at, grid) = (Instant(at), Length(grid));
            let (floor, past) = (at.floor(grid), Length(at.0).rem_euclid(grid));
            prop_assert!(Length::ZERO <= past && past < grid);
            prop_assert!(floor <= at && (floor == Instant::LONG_AGO || floor + past == at));
            prop_assert_eq!(grid * at.count(grid), floor - Instant::EPOCH);
        }
    }
}
