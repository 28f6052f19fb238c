//! The length of intervals.

use crate::time::Length;

const DAY_MICROS: i64 = Length::from_days(1).micros();

/// Returns the length of an interval of months, days and microseconds. A day has 24 hours.
///
/// Returns `None` for an interval with months, whose length depends on the date: one that compares as a day may be three
/// days, or negative. Also `None` on overflow.
#[must_use]
pub fn length(months: i32, days: i32, micros: i64) -> Option<Length> {
    if months != 0 {
        return None;
    }
    let micros = i64::from(days).checked_mul(DAY_MICROS)?.checked_add(micros);
    micros.map(Length::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(months: i32, days: i32, micros: i64) -> Option<i64> {
        length(months, days, micros).map(Length::micros)
    }

    #[test]
    fn days_and_microseconds_add_up() {
        assert_eq!(micros(0, 0, 1), Some(1));
        assert_eq!(micros(0, 1, -3_600_000_000), Some(23 * 3_600_000_000));
        assert_eq!(micros(0, -1, 1), Some(1 - DAY_MICROS));
    }

    #[test]
    fn months_come_to_nothing_certain() {
        assert_eq!(micros(1, -31, 0), None);
        assert_eq!(micros(-1, 31, 0), None);
        assert_eq!(micros(1, -29, 0), None);
    }

    #[test]
    fn what_does_not_fit_is_none() {
        assert_eq!(micros(0, i32::MAX, i64::MAX), None);
        assert_eq!(micros(0, i32::MIN, i64::MIN), None);
        assert_eq!(micros(0, i32::MAX, 0), None);
        assert_eq!(micros(0, 1, i64::MAX), None);
    }
}
