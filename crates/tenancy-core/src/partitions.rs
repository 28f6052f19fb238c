//! Tables with one partition a month in UTC, and the month of an instant.

use serde::{Deserialize, Serialize};

use crate::time::{Instant, Length};

const DAY: Length = Length::from_days(1);

/// A table with one partition a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Monthly {
    /// `audit_log`.
    AuditLog,
    /// `usage_events`.
    UsageEvents,
}

impl Monthly {
    /// All such tables.
    pub const ALL: [Self; 2] = [Self::AuditLog, Self::UsageEvents];

    /// The name of the partition that takes the rows of an instant.
    pub fn partition(self, at: Instant) -> String {
        let table = match self {
            Self::AuditLog => "audit_log",
            Self::UsageEvents => "usage_events",
        };
        let (year, month) = month_of(at);
        format!("{table}_{year:04}_{month:02}")
    }
}

/// Returns the year and month in UTC of an instant.
pub fn month_of(at: Instant) -> (i64, u8) {
    // Days since 0000-03-01, in eras of 400 years: the leap day is the last of its year.
    let days = at.count(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, u8::try_from(month).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MICROSECOND: Length = Length::from_micros(1);

    fn day(number: i64) -> Instant {
        Instant::EPOCH + DAY * number
    }

    #[test]
    fn partitions_are_named_by_year_and_month() {
        assert_eq!(Monthly::AuditLog.partition(day(0)), "audit_log_1970_01");
        let last = day(20_454) - MICROSECOND;
        assert_eq!(Monthly::UsageEvents.partition(last), "usage_events_2025_12");
    }

    #[test]
    fn months_at_their_edges() {
        assert_eq!(month_of(day(0)), (1970, 1));
        assert_eq!(month_of(day(0) - MICROSECOND), (1969, 12));
        assert_eq!(month_of(day(31) - MICROSECOND), (1970, 1));
        assert_eq!(month_of(day(31)), (1970, 2));
        // 2000-02-29 and the day after it.
        assert_eq!(month_of(day(11_016)), (2000, 2));
        assert_eq!(month_of(day(11_017)), (2000, 3));
        assert_eq!(month_of(day(20_454) - MICROSECOND), (2025, 12));
        assert_eq!(month_of(day(20_454)), (2026, 1));
    }

    proptest! {
        #[test]
        fn months_follow_each_other(days in -700_000_i64..700_000) {
            let (year, month) = month_of(day(days));
            let next = month_of(day(days + 1));
            let following = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            prop_assert!(next == (year, month) || next == following);
            prop_assert!((1..=12).contains(&month));
            // Never shorter than 28 days, never longer than 31.
            prop_assert_ne!(month_of(day(days + 31)), (year, month));
        }
    }
}
