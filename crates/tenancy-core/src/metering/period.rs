//! Periods: the hours, days, weeks, months, quarters and years of a time zone.
//!
//! Days and longer periods may have an anchor, an instant at which one of them begins: the others begin at the same time of the
//! clock and, of months, on the same day. A month that lacks the day begins on its last one. Periods of some days follow each
//! other from their anchor.
//!
//! A zone's clock is set forward and back, also at midnight, so that a local time may not exist or may occur twice. Days
//! and longer periods therefore begin when the clock first shows their start, or a later time. Each instant is in the
//! last period that has begun. So periods contain their instants and follow each other without gap or overlap, for every
//! clock. A day that the clock skips has no period.
//!
//! Hours are those of the clock; an hour that occurs twice is two periods. If the clock changes by a part of an hour,
//! another hour begins at the change.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::ledger::{GRID, Span};
use crate::time::{Instant, Length};

const SECOND: Length = Length::from_seconds(1);
const HOUR: Length = Length::from_hours(1);
const DAY: Length = Length::from_days(1);
const WEEK: Length = Length::from_days(7);

/// The greatest offset from UTC that any clock had, rounded up: Manila's was 15:56:08, before 1845.
const OFFSET_MAX: Length = Length::from_hours(16);
const OFFSET_MIN: Length = Length::from_hours(-16);

/// How often a clock is read for one edge. It changes a few times a year, and less than two days are searched.
const LOOKS_MAX: usize = 16;

/// The first and the last instant with a period: some thousand years before and after.
const INSTANT_MIN: Instant = Instant::from_unix_seconds(-400_000_000_000);
const INSTANT_MAX: Instant = Instant::from_unix_seconds(400_000_000_000);

/// The end of `total`: the year 9999.
pub const TOTAL_END: Instant = Instant::from_unix_seconds(253_370_764_800);

/// A kind of period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// An hour of the clock.
    Hour,
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// A month of the calendar.
    Month,
    /// Three months of the calendar, from January, April, July and October.
    Quarter,
    /// A year of the calendar.
    Year,
    /// All time, in every zone.
    Total,
    /// So many days of the clock, from an anchor.
    Days(u16),
}

/// The numbers of days that a period may have.
const DAYS: std::ops::RangeInclusive<u16> = 2..=1000;

/// The names of periods of some days, by their number.
static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..=*DAYS.end()).map(|n| format!("{n} days")).collect());

impl Period {
    /// Every kind of the calendar, from the shortest.
    pub const ALL: [Self; 7] = [
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Quarter,
        Self::Year,
        Self::Total,
    ];

    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Days(n) => NAMES.get(usize::from(n)).map_or("", String::as_str),
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
            Self::Total => "total",
        }
    }

    /// Returns whether it may have an anchor.
    #[must_use]
    pub fn takes_anchor(self) -> bool {
        !matches!(self, Self::Hour | Self::Total)
    }

    /// Returns whether it must have one.
    #[must_use]
    pub fn needs_anchor(self) -> bool {
        matches!(self, Self::Days(_))
    }
}

/// A text that names no period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a period")]
pub struct UnknownPeriod;

impl FromStr for Period {
    type Err = UnknownPeriod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        if let Some(found) = all.find(|period| period.as_str() == text) {
            return Ok(found);
        }
        // Written one way only: a period is found by its name.
        let days = text.strip_suffix(" days").and_then(|n| n.parse().ok());
        let days = days.filter(|n| DAYS.contains(n)).map(Self::Days);
        days.filter(|days| days.as_str() == text)
            .ok_or(UnknownPeriod)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A span in which a zone's clock has one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The offset from UTC, in whole seconds.
    pub offset: Length,
    /// The first instant at which the offset may change; `None` if it never does.
    pub until: Option<Instant>,
}

/// The clock of a time zone. It is asked about whole seconds, and changes at whole seconds.
pub trait Zone {
    /// Returns the offset from an instant on; `None` if it is not known.
    fn stretch(&self, at: Instant) -> Option<Stretch>;
}

/// Returns the period that contains an instant. It begins and ends on the ledger's [grid](GRID).
///
/// `None` if the zone's offsets are impossible for a clock, or the instant is thousands of years away.
///
/// ```
/// use tenancy_core::period::{Period, Stretch, Zone, period};
/// use tenancy_core::time::{Instant, Length};
///
/// const HOUR: Length = Length::from_hours(1);
///
/// /// One hour ahead of UTC, and two from noon UTC of 1970-01-01 on.
/// struct Clock;
///
/// impl Zone for Clock {
///     fn stretch(&self, at: Instant) -> Option<Stretch> {
///         let noon = Instant::EPOCH + HOUR * 12;
///         Some(match at < noon {
///             true => Stretch { offset: HOUR, until: Some(noon) },
///             false => Stretch { offset: HOUR * 2, until: None },
///         })
///     }
/// }
///
/// // The day in which the clock was put forward has 23 hours: from 23:00 UTC of the day before to 22:00 UTC.
/// let day = period(Period::Day, &Clock, Instant::EPOCH).unwrap();
/// assert_eq!((day.start, day.end), (Instant::EPOCH - HOUR, Instant::EPOCH + HOUR * 22));
/// ```
#[must_use]
pub fn period(period: Period, zone: &impl Zone, at: Instant) -> Option<Span> {
    anchored(period, None, zone, at)
}

/// Returns the same with an anchor, an instant at which such a period begins; `None`: the calendar's.
///
/// `None` also if the kind takes no anchor, or lacks one that it needs.
#[must_use]
pub fn anchored(
    period: Period,
    anchor: Option<Instant>,
    zone: &impl Zone,
    at: Instant,
) -> Option<Span> {
    if anchor.map_or(period.needs_anchor(), |_| !period.takes_anchor()) {
        return None;
    }
    let anchor = match anchor {
        Some(anchor) if (INSTANT_MIN..=INSTANT_MAX).contains(&anchor) => {
            Some(anchor + stretch(zone, anchor.floor(SECOND))?.offset)
        }
        Some(_) => return None,
        None => None,
    };
    // A period that begins within a slot begins with the slot.
    let last = at.floor(GRID).checked_add(GRID)? - SECOND;
    if !(INSTANT_MIN..=INSTANT_MAX).contains(&last) {
        return None;
    }
    let (start, end) = match Calendar::of(period, anchor) {
        None if period == Period::Total => (Instant::EPOCH, TOTAL_END),
        None => hour(zone, last)?,
        Some(calendar) => calendar.around(zone, last)?,
    };
    let span = Span {
        start: start.floor(GRID),
        end: end.floor(GRID),
    };
    span.has(at).then_some(span)
}

/// Why there are no edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEdges {
    /// A period is not known.
    Unknown,
    /// There are more periods than allowed.
    TooMany,
}

/// Returns the starts of the periods in a span of time, and the end of the last one. At most `most` periods.
pub fn edges(
    period: Period,
    zone: &impl Zone,
    span: Span,
    most: usize,
) -> Result<Vec<Instant>, NoEdges> {
    let mut next = self::period(period, zone, span.start).ok_or(NoEdges::Unknown)?;
    let mut edges = vec![next.start];
    while next.end < span.end {
        if edges.len() >= most {
            return Err(NoEdges::TooMany);
        }
        edges.push(next.end);
        next = self::period(period, zone, next.end).ok_or(NoEdges::Unknown)?;
    }
    edges.push(next.end);
    Ok(edges)
}

/// Returns a clock's offset at an instant; `None` for impossible offsets, or a change in the past.
fn stretch(zone: &impl Zone, at: Instant) -> Option<Stretch> {
    let stretch = zone.stretch(at)?;
    let possible = (OFFSET_MIN..=OFFSET_MAX).contains(&stretch.offset)
        && stretch.until.is_none_or(|end| end > at);
    possible.then_some(stretch)
}

/// Returns the hour that contains an instant.
fn hour(zone: &impl Zone, at: Instant) -> Option<(Instant, Instant)> {
    let now = stretch(zone, at)?;
    let past = |offset: Length| offset.rem_euclid(HOUR);
    let begun = (at + now.offset).floor(HOUR) - now.offset;
    // The last change by a part of an hour since its start, and the first one after the instant.
    let (mut start, mut end) = (begun, begun + HOUR);
    let mut next = begun;
    for _ in 0..LOOKS_MAX {
        let before = stretch(zone, next)?;
        let Some(change) = before.until.filter(|change| *change < end) else {
            return Some((start, end));
        };
        let after = stretch(zone, change)?;
        if past(before.offset) != past(after.offset) {
            match change <= at {
                true => start = change,
                false => end = change,
            }
        }
        next = change;
    }
    None
}

/// Consecutive numbered periods of a calendar, of which number 0 begins at a local time. A local time is the instant at which a
/// clock of UTC shows it.
struct Calendar {
    anchor: Instant,
    step: Step,
}

enum Step {
    Length(Length),
    Months(i64),
}

/// Monday.
const FIRST_WEEK: Length = Length::from_days(-3);

impl Calendar {
    fn of(period: Period, anchor: Option<Instant>) -> Option<Self> {
        let first = match period {
            Period::Week => Instant::EPOCH + FIRST_WEEK,
            _ => Instant::EPOCH,
        };
        Some(Self {
            anchor: anchor.unwrap_or(first),
            step: match period {
                Period::Day => Step::Length(DAY),
                Period::Week => Step::Length(WEEK),
                Period::Days(n) => Step::Length(DAY * i64::from(n)),
                Period::Month => Step::Months(1),
                Period::Quarter => Step::Months(3),
                Period::Year => Step::Months(12),
                Period::Hour | Period::Total => return None,
            },
        })
    }

    /// Returns the number of the period that contains a local time.
    fn number(&self, local: Instant) -> i64 {
        match self.step {
            Step::Length(length) => (local - (self.anchor - Instant::EPOCH)).count(length),
            Step::Months(months) => {
                let number = (month(local) - month(self.anchor)).div_euclid(months);
                // Of the month in which it begins, it may not have begun.
                number - i64::from(self.begin(number) > local)
            }
        }
    }

    /// Returns the local time at which a period begins.
    fn begin(&self, number: i64) -> Instant {
        match self.step {
            Step::Length(length) => self.anchor + length * number,
            Step::Months(months) => {
                let first = month(self.anchor);
                let into = self.anchor - first_of_month(first);
                let time = into.rem_euclid(DAY);
                let day = into - time;
                let month = first + months * number;
                let last = first_of_month(month + 1) - first_of_month(month) - DAY;
                first_of_month(month) + day.min(last) + time
            }
        }
    }

    /// Returns the last period that has begun at an instant.
    fn around(&self, zone: &impl Zone, at: Instant) -> Option<(Instant, Instant)> {
        let mut number = self.number(at + stretch(zone, at)?.offset);
        let mut start = first(zone, self.begin(number))?;
        for _ in 0..LOOKS_MAX {
            // After the clock was set back, it shows a period that has ended.
            number += 1;
            let end = first(zone, self.begin(number))?;
            if end > at {
                return Some((start, end));
            }
            start = end;
        }
        None
    }
}

/// Returns when a clock first shows a local time, or a later one.
fn first(zone: &impl Zone, local: Instant) -> Option<Instant> {
    let mut at = local - OFFSET_MAX;
    for _ in 0..LOOKS_MAX {
        let stretch = stretch(zone, at)?;
        let shown = at.max(local - stretch.offset);
        match stretch.until.filter(|change| *change <= shown) {
            None => return Some(shown),
            Some(change) => at = change,
        }
    }
    None
}

/// Returns the months from the year 0 to a local time.
fn month(local: Instant) -> i64 {
    let (year, month) = crate::partitions::month_of(local);
    year * 12 + i64::from(month) - 1
}

/// Returns the local time at which a month begins, by its number.
fn first_of_month(number: i64) -> Instant {
    // Years that begin in March, in eras of 400.
    let (year, month) = ((number - 2).div_euclid(12), (number - 2).rem_euclid(12));
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5;
    Instant::EPOCH + DAY * (era * 146_097 + day - 719_468)
}

#[cfg(test)]
mod tests;
