//! Quotas: how much a table stores for each tenant, project, user or value of a column, and how much it may.
//!
//! | module | what |
//! | --- | --- |
//! | [`changes`] | what a statement has added to and taken from counters |
//! | [`statements`] | the triggers of a table with quotas, and the query that counts it anew |

pub mod changes;
pub mod statements;

use std::ops::Range;

/// What a quota counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// Each tenant.
    Tenant,
    /// Each project of a tenant.
    Project,
    /// Each user of a tenant.
    User,
    /// Each value of a column, within a tenant.
    Column,
}

impl Per {
    /// Returns the one with this stored name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Tenant, Self::Project, Self::User, Self::Column]
            .into_iter()
            .find(|per| per.as_str() == name)
    }

    /// Returns the stored name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::User => "user",
            Self::Column => "column",
        }
    }
}

/// What a counter counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Rows, and sums of integers.
    One,
    /// Sums of numerics, in millionths.
    Millionth,
}

impl Unit {
    /// Returns how many of it make one of a limit.
    #[must_use]
    pub const fn of_one(self) -> i64 {
        match self {
            Self::One => 1,
            Self::Millionth => crate::quantity::ONE,
        }
    }

    /// Writes a count as a decimal number.
    #[must_use]
    pub fn text(self, count: i64) -> String {
        match self {
            Self::One => count.to_string(),
            Self::Millionth => crate::quantity::text(crate::quantity::attos(count)),
        }
    }
}

/// Why a counter keeps its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More would be stored than is allowed.
    Exceeded,
    /// The counter has no room for the number.
    Overflow,
}

/// The bytes of a tenant and a key together that a counter has room for: both are in its index.
pub const KEY_BYTES_MAX: usize = 2500;

/// Returns whether a counter has room for its names.
#[must_use]
pub const fn has_room(tenant: &str, key: &str) -> bool {
    tenant.len() + key.len() <= KEY_BYTES_MAX
}

/// The pages that are counted at once: progress shows after each twentieth of a table, and not sooner than after this many.
const PAGES_AT_ONCE: u32 = 1000;

/// Splits the pages of a table into steps.
pub fn steps(pages: u32) -> impl Iterator<Item = Range<u32>> {
    let step = pages.div_ceil(20).max(PAGES_AT_ONCE);
    let begin = move |begin: u32| begin..begin.saturating_add(step).min(pages);
    (0..pages).step_by(step as usize).map(begin)
}

/// Returns the next value of a counter. Only what adds is refused: a counter above a limit that was lowered may still go down. It may
/// be below zero inside a statement, where a function or trigger has removed rows that the statement has yet to count. At the end of the
/// client's statement that is raised to zero: rows that were stored without being counted would otherwise leave room when they go.
///
/// # Errors
/// If it may not, or cannot, count so much.
pub fn next(used: i64, change: i64, allowed: Option<i64>, unit: Unit) -> Result<i64, Refused> {
    if change <= 0 {
        return Ok(used.saturating_add(change));
    }
    let next = used.checked_add(change).ok_or(Refused::Overflow)?;
    let room = allowed.map(|allowed| i128::from(allowed) * i128::from(unit.of_one()));
    match room {
        Some(room) if i128::from(next) > room => Err(Refused::Exceeded),
        _ => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stored_names_are_read_as_written() {
        for per in [Per::Tenant, Per::Project, Per::User, Per::Column] {
            assert_eq!(Per::named(per.as_str()), Some(per));
        }
        assert_eq!(Per::named("room_id"), None);
    }

    #[test]
    fn steps_cover_all_pages_once() {
        assert_eq!(steps(0).count(), 0);
        assert_eq!(
            (steps(1000).count(), steps(1000).next()),
            (1, Some(0..1000))
        );
        assert_eq!(
            steps(2001).collect::<Vec<_>>(),
            [0..1000, 1000..2000, 2000..2001]
        );
        assert_eq!(steps(u32::MAX).count(), 20);
        for pages in [19_999, 20_000, 20_001, 1_000_001, u32::MAX] {
            let mut next = 0;
            for step in steps(pages) {
                assert!(step.start == next && step.end > next);
                next = step.end;
            }
            assert_eq!(next, pages);
        }
    }

    #[test]
    fn names_have_room_up_to_the_last_byte() {
        let key = "k".repeat(KEY_BYTES_MAX - 1);
        assert!(has_room("t", &key) && !has_room("te", &key));
    }

    #[test]
    fn what_fits_exactly_is_allowed() {
        assert_eq!(next(9, 1, Some(10), Unit::One), Ok(10));
        assert_eq!(next(10, 1, Some(10), Unit::One), Err(Refused::Exceeded));
        assert_eq!(next(0, 1, Some(0), Unit::One), Err(Refused::Exceeded));
        assert_eq!(next(10, 1, None, Unit::One), Ok(11));
        assert_eq!(
            next(1_500_000, 500_000, Some(2), Unit::Millionth),
            Ok(2_000_000)
        );
        assert_eq!(
            next(1_500_000, 500_001, Some(2), Unit::Millionth),
            Err(Refused::Exceeded)
        );
    }

    #[test]
    fn a_counter_above_a_lowered_limit_goes_down() {
        assert_eq!(next(10, -1, Some(3), Unit::One), Ok(9));
        assert_eq!(next(10, 0, Some(3), Unit::One), Ok(10));
    }

    #[test]
    fn a_row_may_go_before_it_is_counted() {
        assert_eq!(next(1, -5, Some(3), Unit::One), Ok(-4));
        assert_eq!(next(-1, 1, Some(0), Unit::One), Ok(0));
        assert_eq!(next(-1, 2, Some(0), Unit::One), Err(Refused::Exceeded));
        assert_eq!(next(i64::MIN, -1, None, Unit::One), Ok(i64::MIN));
    }

    #[test]
    fn a_number_without_room_is_an_error() {
        assert_eq!(next(i64::MAX, 1, None, Unit::One), Err(Refused::Overflow));
        assert_eq!(next(i64::MAX, -1, None, Unit::One), Ok(i64::MAX - 1));
        assert_eq!(
            next(0, i64::MAX, Some(9_000_000_000_000_000), Unit::Millionth),
            Ok(i64::MAX)
        );
    }

    proptest! {
        #[test]
        fn no_counter_passes_its_limit(changes in prop::collection::vec(-50_i64..50, 0..200), allowed in 0_i64..500) {
            let mut used = 0;
            for change in changes {
                if let Ok(next) = next(used, change, Some(allowed), Unit::One) {
                    used = next;
                }
                prop_assert!(used <= allowed);
            }
        }
    }
}
