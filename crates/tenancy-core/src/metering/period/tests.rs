//! Every zone of tzdata at every change of its clock, against another calendar; and invented clocks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;

use self::clock::Clock;
use super::*;
use jiff::Timestamp;
use jiff::civil::{Date, ISOWeekDate, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;
use std::collections::HashSet;

/// In seconds.
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// 1970 and 2100.
const YEARS: std::ops::Range<i64> = 0..4_102_444_800;

/// The kinds that reset.
const KINDS: [Period; 6] = [
    Period::Hour,
    Period::Day,
    Period::Week,
    Period::Month,
    Period::Quarter,
    Period::Year,
];

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// Every zone of tzdata, those that are another's name once.
fn zones() -> Vec<(String, TimeZone, Clock)> {
    let mut seen = HashSet::new();
    let all = TimeZoneDatabase::bundled();
    let all = all.available().map(|name| {
        let zone = zone(name.as_str());
        let clock = Clock::of(&zone);
        (name.to_string(), zone, clock)
    });
    all.filter(|(_, _, clock)| seen.insert(clock.clone()))
        .collect()
}

fn micros(micros: i64) -> Instant {
    Instant::from_unix_micros(micros)
}

fn at(text: &str) -> Instant {
    Instant::from_unix_micros(text.parse::<Timestamp>().unwrap().as_microsecond())
}

/// Formats a period as its edges in UTC.
fn said(kind: Period, name: &str, instant: &str) -> String {
    let span = period(kind, &Clock::of(&zone(name)), at(instant)).unwrap();
    let edge = |at: Instant| {
        Timestamp::from_microsecond(at.unix_micros())
            .unwrap()
            .to_string()
    };
    format!("{} {}", edge(span.start), edge(span.end))
}

/// That an instant's period holds it, is that of all instants in it, and meets the ones before and after.
fn check(kind: Period, clock: &impl Zone, at: Instant) -> Span {
    check_anchored(kind, None, clock, at)
}

fn check_anchored(kind: Period, anchor: Option<Instant>, clock: &impl Zone, at: Instant) -> Span {
    let microsecond = Length::from_micros(1);
    let period = |kind, clock, at| anchored(kind, anchor, clock, at);
    let span = period(kind, clock, at).unwrap();
    assert!(span.has(at), "{kind} {at:?} {span:?}");
    let on_grid = [span.start, span.end].map(|edge| edge.floor(GRID));
    assert_eq!(on_grid, [span.start, span.end]);
    for inner in [span.start, span.end - microsecond] {
        assert_eq!(
            period(kind, clock, inner),
            Some(span),
            "{kind} {at:?} {inner:?}"
        );
    }
    let before = period(kind, clock, span.start - microsecond).unwrap();
    let after = period(kind, clock, span.end).unwrap();
    assert_eq!(
        (before.end, after.start),
        (span.start, span.end),
        "{kind} {at:?}"
    );
    span
}

/// The first days of the periods around a date, by another's calendar.
fn begins(kind: Period, date: Date) -> [Date; 4] {
    let month = |n: i32| {
        let month = i32::from(date.year()) * 12 + i32::from(date.month()) - 1 + n;
        Date::new(
            (month.div_euclid(12)) as i16,
            (month.rem_euclid(12) + 1) as i8,
            1,
        )
        .unwrap()
    };
    [-1, 0, 1, 2].map(|n: i32| match kind {
        Period::Day => date.checked_add(jiff::Span::new().days(n)).unwrap(),
        Period::Week => {
            let week = date.iso_week_date();
            ISOWeekDate::new(week.year(), week.week(), Weekday::Monday)
                .unwrap()
                .date()
                .checked_add(jiff::Span::new().weeks(n))
                .unwrap()
        }
        Period::Month => month(n),
        Period::Quarter => month(n * 3 - i32::from(date.month() - 1) % 3),
        _ => Date::new(date.year() + n as i16, 1, 1).unwrap(),
    })
}

/// The same period by another's calendar and clock: which of the days around begins last, of those that have begun.
fn expected(kind: Period, zone: &TimeZone, at: Instant) -> Span {
    let here = Timestamp::from_microsecond(at.unix_micros()).unwrap();
    let here = here.to_zoned(zone.clone());
    let edges = begins(kind, here.date()).map(|date| {
        let begin = date.to_zoned(zone.clone()).unwrap();
        Instant::from_unix_micros(begin.timestamp().as_microsecond()).floor(GRID)
    });
    let begun = edges.into_iter().filter(|edge| *edge <= at);
    let next = edges.into_iter().filter(|edge| *edge > at);
    Span {
        start: begun.max().unwrap(),
        end: next.min().unwrap(),
    }
}

#[test]
fn every_zone_at_every_change_of_its_clock() {
    let mut changes = 0;
    let zones = zones();
    assert!(zones.len() > 300, "{}", zones.len());
    for (name, zone, clock) in &zones {
        let mut last = [None; KINDS.len()];
        for (when, _) in clock
            .changes
            .iter()
            .filter(|(when, _)| YEARS.contains(when))
        {
            changes += 1;
            for near in [-DAY, -HOUR, -60, -1, 0, 60, HOUR, DAY + HOUR / 2] {
                let at = Instant::from_unix_seconds(when + near);
                for (kind, last) in KINDS.into_iter().zip(&mut last) {
                    let span = period(kind, clock, at).unwrap();
                    assert!(span.has(at), "{name} {kind} {at:?} {span:?}");
                    if last.replace(span) == Some(span) {
                        continue;
                    }
                    check(kind, clock, at);
                    if kind != Period::Hour {
                        assert_eq!(span, expected(kind, zone, at), "{name} {kind} {at:?}");
                    }
                }
            }
        }
    }
    assert!(changes > 30_000, "{changes}");
}

#[test]
fn months_and_years_of_every_zone_follow_each_other() {
    for (name, zone, clock) in zones() {
        for kind in [Period::Month, Period::Quarter, Period::Year] {
            let all = Span {
                start: Instant::from_unix_seconds(YEARS.start),
                end: Instant::from_unix_seconds(YEARS.end),
            };
            let edges = edges(kind, &clock, all, 2000).unwrap();
            assert!(edges[0] <= all.start && edges[edges.len() - 1] >= all.end);
            for pair in edges.windows(2) {
                let span = Span {
                    start: pair[0],
                    end: pair[1],
                };
                assert_eq!(span, expected(kind, &zone, span.start), "{name}");
                let days = (span.end - span.start).seconds() / DAY;
                assert!(
                    matches!(
                        (kind, days),
                        (Period::Month, 27..=31)
                            | (Period::Quarter, 89..=92)
                            | (Period::Year, 363..=366)
                    ),
                    "{name} {days}"
                );
            }
        }
    }
}

/// The months from the last day of a month at a time, by another's calendar and clock.
fn expected_month(anchor: &str, zone: &TimeZone, clock: &Clock, at: Instant) -> Span {
    let anchor: jiff::civil::DateTime = anchor.parse().unwrap();
    let here = Timestamp::from_microsecond(at.unix_micros()).unwrap();
    let here = here.to_zoned(zone.clone()).date();
    let edges = [-2, -1, 0, 1, 2].map(|n: i32| {
        let month = here.first_of_month() + jiff::Span::new().months(n);
        let day = anchor.day().min(month.days_in_month());
        let begin = month
            .with()
            .day(day)
            .build()
            .unwrap()
            .to_datetime(anchor.time());
        let zoned = begin.to_zoned(zone.clone()).unwrap();
        let first = Instant::from_unix_micros(zoned.timestamp().as_microsecond());
        // A time that the clock leaves out: when it does.
        let changed = clock.changes.iter().map(|(when, _)| *when);
        let changed = changed.map(Instant::from_unix_seconds);
        let changed = changed.filter(|when| *when <= first).max();
        let first = match zoned.datetime() == begin {
            true => first,
            false => changed.unwrap(),
        };
        first.floor(GRID)
    });
    let begun = edges.into_iter().filter(|edge| *edge <= at);
    let next = edges.into_iter().filter(|edge| *edge > at);
    Span {
        start: begun.max().unwrap(),
        end: next.min().unwrap(),
    }
}

#[test]
fn anchored_periods_of_every_zone_at_every_change_of_its_clock() {
    for (name, zone, clock) in &zones() {
        // Near when clocks change at night; in a year without changes it is the same time of the clock.
        let local = "2023-01-31T02:30:00";
        let anchor: jiff::civil::DateTime = local.parse().unwrap();
        let anchor = anchor.to_zoned(zone.clone()).unwrap().timestamp();
        let anchor = Some(Instant::from_unix_micros(anchor.as_microsecond()));
        let years = 0..2_208_988_800;
        for (when, _) in clock
            .changes
            .iter()
            .filter(|(when, _)| years.contains(when))
        {
            for near in [-HOUR, -1, 0, HOUR, 15 * DAY] {
                let at = Instant::from_unix_seconds(when + near);
                for kind in [
                    Period::Day,
                    Period::Week,
                    Period::Quarter,
                    Period::Year,
                    Period::Days(30),
                ] {
                    let span = anchored(kind, anchor, clock, at).unwrap();
                    assert!(span.has(at), "{name} {kind} {at:?} {span:?}");
                    if near == 0 {
                        check_anchored(kind, anchor, clock, at);
                    }
                }
                let month = check_anchored(Period::Month, anchor, clock, at);
                assert_eq!(
                    month,
                    expected_month(local, zone, clock, at),
                    "{name} {at:?}"
                );
            }
        }
    }
}

/// Formats an anchored period as its edges in UTC.
fn anchored_said(kind: Period, name: &str, anchor: &str, instant: &str) -> String {
    let clock = Clock::of(&zone(name));
    let span = anchored(kind, Some(at(anchor)), &clock, at(instant)).unwrap();
    let edge = |at: Instant| Timestamp::from_microsecond(at.unix_micros()).unwrap();
    format!("{} {}", edge(span.start), edge(span.end))
}

#[test]
fn a_month_from_the_31st_begins_on_the_last_day_of_shorter_ones() {
    let of = |instant| anchored_said(Period::Month, "UTC", "2026-01-31T09:00:00Z", instant);
    assert_eq!(
        of("2026-01-31T08:59:59Z"),
        "2025-12-31T09:00:00Z 2026-01-31T09:00:00Z"
    );
    assert_eq!(
        of("2026-02-01T00:00:00Z"),
        "2026-01-31T09:00:00Z 2026-02-28T09:00:00Z"
    );
    assert_eq!(
        of("2026-02-28T09:00:00Z"),
        "2026-02-28T09:00:00Z 2026-03-31T09:00:00Z"
    );
    assert_eq!(
        of("2028-02-29T10:00:00Z"),
        "2028-02-29T09:00:00Z 2028-03-31T09:00:00Z"
    );
    // Before the anchor as after it.
    assert_eq!(
        of("1999-04-30T09:00:00Z"),
        "1999-04-30T09:00:00Z 1999-05-31T09:00:00Z"
    );
}

#[test]
fn anchored_periods_begin_at_the_same_time_of_the_clock() {
    // 09:00 in Paris, in winter and in summer.
    let of = |kind, instant| anchored_said(kind, "Europe/Paris", "2026-01-15T08:00:00Z", instant);
    assert_eq!(
        of(Period::Month, "2026-07-01T00:00:00Z"),
        "2026-06-15T07:00:00Z 2026-07-15T07:00:00Z"
    );
    assert_eq!(
        of(Period::Quarter, "2026-07-01T00:00:00Z"),
        "2026-04-15T07:00:00Z 2026-07-15T07:00:00Z"
    );
    assert_eq!(
        of(Period::Year, "2027-01-15T07:59:59Z"),
        "2026-01-15T08:00:00Z 2027-01-15T08:00:00Z"
    );
    assert_eq!(
        of(Period::Week, "2026-07-01T00:00:00Z"),
        "2026-06-25T07:00:00Z 2026-07-02T07:00:00Z"
    );
    assert_eq!(
        of(Period::Day, "2026-07-01T06:59:00Z"),
        "2026-06-30T07:00:00Z 2026-07-01T07:00:00Z"
    );
    assert_eq!(
        of(Period::Days(10), "2026-01-24T00:00:00Z"),
        "2026-01-15T08:00:00Z 2026-01-25T08:00:00Z"
    );
    assert_eq!(
        of(Period::Days(10), "2026-01-15T07:59:00Z"),
        "2026-01-05T08:00:00Z 2026-01-15T08:00:00Z"
    );
}

#[test]
fn only_days_and_longer_take_an_anchor_and_some_days_need_one() {
    let utc = Clock::of(&zone("UTC"));
    let of = |kind, anchor| anchored(kind, anchor, &utc, micros(0));
    for kind in [Period::Hour, Period::Total] {
        assert_eq!(of(kind, Some(micros(0))), None);
    }
    assert_eq!(of(Period::Days(7), None), None);
    assert!(of(Period::Days(7), Some(micros(0))).is_some());
    assert_eq!(of(Period::Month, Some(Instant::NEVER)), None);
}

#[test]
fn some_days_have_one_name() {
    assert_eq!("30 days".parse(), Ok(Period::Days(30)));
    assert_eq!("1000 days".parse(), Ok(Period::Days(1000)));
    for text in [
        "1 days",
        "0 days",
        "-3 days",
        "+3 days",
        "030 days",
        "30  days",
        "1001 days",
        "99999 days",
        "30 day",
        " 30 days",
    ] {
        assert_eq!(text.parse::<Period>(), Err(UnknownPeriod), "{text}");
    }
}

#[test]
fn a_day_that_begins_twice_begins_the_first_time() {
    // 01:00 becomes 00:00.
    for instant in ["2020-10-25T00:30:00Z", "2020-10-25T01:30:00Z"] {
        let day = said(Period::Day, "Atlantic/Azores", instant);
        assert_eq!(day, "2020-10-25T00:00:00Z 2020-10-26T01:00:00Z");
    }
    for instant in ["2020-11-01T04:30:00Z", "2020-11-01T05:30:00Z"] {
        let month = said(Period::Month, "America/Havana", instant);
        assert_eq!(month, "2020-11-01T04:00:00Z 2020-12-01T05:00:00Z");
    }
    // 00:01 becomes 23:01 of a day that is over.
    for instant in ["2008-11-02T02:30:30Z", "2008-11-02T02:45:00Z"] {
        let day = said(Period::Day, "America/St_Johns", instant);
        assert_eq!(day, "2008-11-02T02:30:00Z 2008-11-03T03:30:00Z");
    }
}

#[test]
fn a_day_without_midnight_begins_after_it() {
    let day = said(Period::Day, "America/Havana", "2020-03-08T12:00:00Z");
    assert_eq!(day, "2020-03-08T05:00:00Z 2020-03-09T04:00:00Z");
    let before = said(Period::Day, "America/Havana", "2020-03-08T04:59:59Z");
    assert_eq!(before, "2020-03-07T05:00:00Z 2020-03-08T05:00:00Z");
}

#[test]
fn a_day_that_is_left_out_has_no_period() {
    // There is no 30 December 2011.
    for (instant, day) in [
        (
            "2011-12-30T09:59:59Z",
            "2011-12-29T10:00:00Z 2011-12-30T10:00:00Z",
        ),
        (
            "2011-12-30T10:00:00Z",
            "2011-12-30T10:00:00Z 2011-12-31T10:00:00Z",
        ),
    ] {
        assert_eq!(said(Period::Day, "Pacific/Apia", instant), day);
    }
}

#[test]
fn hours_are_those_on_the_clock() {
    // A time that occurs twice.
    let hour = |name, instant| said(Period::Hour, name, instant);
    let berlin = |instant| hour("Europe/Berlin", instant);
    assert_eq!(
        berlin("2020-10-25T00:30:00Z"),
        "2020-10-25T00:00:00Z 2020-10-25T01:00:00Z"
    );
    assert_eq!(
        berlin("2020-10-25T01:30:00Z"),
        "2020-10-25T01:00:00Z 2020-10-25T02:00:00Z"
    );
    // Half of one that comes twice.
    let howe = |instant| hour("Australia/Lord_Howe", instant);
    assert_eq!(
        howe("2020-04-04T14:45:00Z"),
        "2020-04-04T14:00:00Z 2020-04-04T15:00:00Z"
    );
    assert_eq!(
        howe("2020-04-04T15:10:00Z"),
        "2020-04-04T15:00:00Z 2020-04-04T15:30:00Z"
    );
    assert_eq!(
        howe("2020-04-04T15:30:00Z"),
        "2020-04-04T15:30:00Z 2020-04-04T16:30:00Z"
    );
    // Half of one that is left out.
    assert_eq!(
        howe("2020-10-03T15:29:00Z"),
        "2020-10-03T14:30:00Z 2020-10-03T15:30:00Z"
    );
    assert_eq!(
        howe("2020-10-03T15:30:00Z"),
        "2020-10-03T15:30:00Z 2020-10-03T16:00:00Z"
    );
    // By three quarters.
    assert_eq!(
        hour("Asia/Kathmandu", "2026-01-01T00:20:00Z"),
        "2026-01-01T00:15:00Z 2026-01-01T01:15:00Z"
    );
    // Off the grid: 00:44:30.
    assert_eq!(
        hour("Africa/Monrovia", "1971-01-01T00:40:00Z"),
        "1971-01-01T00:30:00Z 1971-01-01T01:30:00Z"
    );
}

#[test]
fn all_time_is_one_period() {
    let zone = Clock::of(&zone("Europe/Berlin"));
    let last = TOTAL_END - Length::from_micros(1);
    for at in [micros(0), micros(1), at("2026-01-01T00:00:00Z"), last] {
        let all = Span {
            start: Instant::EPOCH,
            end: TOTAL_END,
        };
        assert_eq!(period(Period::Total, &zone, at), Some(all));
    }
    assert_eq!(period(Period::Total, &zone, micros(-1)), None);
    assert_eq!(period(Period::Total, &zone, TOTAL_END), None);
}

#[test]
fn a_span_has_no_more_edges_than_asked_for() {
    let utc = Clock {
        first: 0,
        changes: vec![],
    };
    let day = DAY * 1_000_000;
    let span = |start, end| Span {
        start: micros(start),
        end: micros(end),
    };
    let all = |edges: &[i64]| Ok(edges.iter().map(|edge| micros(*edge)).collect::<Vec<_>>());
    assert_eq!(edges(Period::Day, &utc, span(1, day), 1), all(&[0, day]));
    assert_eq!(
        edges(Period::Day, &utc, span(0, day + 1), 2),
        all(&[0, day, 2 * day])
    );
    assert_eq!(
        edges(Period::Day, &utc, span(0, day + 1), 1),
        Err(NoEdges::TooMany)
    );
    assert_eq!(
        edges(Period::Hour, &utc, span(0, i64::MAX), 100_000),
        Err(NoEdges::TooMany)
    );
    assert_eq!(
        edges(Period::Year, &utc, span(i64::MIN, 0), 10),
        Err(NoEdges::Unknown)
    );
    assert_eq!(
        edges(Period::Total, &utc, span(5, 7), 1),
        Ok(vec![Instant::EPOCH, TOTAL_END])
    );
}

/// A zone with arbitrary offsets.
struct Liar<F>(F);

impl<F: Fn(Instant) -> Option<Stretch>> Zone for Liar<F> {
    fn stretch(&self, at: Instant) -> Option<Stretch> {
        (self.0)(at)
    }
}

#[test]
fn what_no_clock_does_has_no_periods() {
    let far = |offset| Clock {
        first: offset,
        changes: vec![],
    };
    for kind in KINDS {
        for offset in [
            OFFSET_MAX.seconds() + 1,
            167 * HOUR,
            -167 * HOUR,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(period(kind, &far(offset), micros(0)), None);
        }
        assert!(period(kind, &far(OFFSET_MIN.seconds()), micros(0)).is_some());
        let unknown = Liar(|_| None);
        assert_eq!(period(kind, &unknown, micros(0)), None);
        // A change that is over, and changes without an end.
        let stuck = Liar(|at| {
            Some(Stretch {
                offset: Length::ZERO,
                until: Some(at),
            })
        });
        assert_eq!(period(kind, &stuck, micros(0)), None);
        let restless = Liar(|at| {
            Some(Stretch {
                offset: Length::ZERO,
                until: Some(at + SECOND),
            })
        });
        assert_eq!(period(kind, &restless, micros(0)), None);
        for at in [Instant::LONG_AGO, Instant::NEVER, INSTANT_MAX + GRID] {
            assert_eq!(period(kind, &far(0), at), None);
        }
    }
}

#[test]
fn periods_have_their_names() {
    for kind in Period::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    for text in ["", "Day", "days", "fortnight", "day "] {
        assert_eq!(text.parse::<Period>(), Err(UnknownPeriod));
    }
}

/// Clocks that change to anything, so long apart.
fn clocks(least: i64) -> impl Strategy<Value = Clock> {
    let offset = OFFSET_MIN.seconds()..=OFFSET_MAX.seconds();
    let change = (least..40 * DAY, offset.clone());
    let changes = prop::collection::vec(change, 0..30);
    (offset, changes).prop_map(|(first, changes)| {
        let mut when = 0;
        let changes = changes.into_iter().map(|(later, offset)| {
            when += later;
            (when, offset)
        });
        Clock {
            first,
            changes: changes.collect(),
        }
    })
}

proptest! {
    #[test]
    fn any_clock_has_periods_that_follow_each_other(
        clock in clocks(3 * HOUR), near in prop::collection::vec((any::<prop::sample::Index>(), -3 * DAY..3 * DAY), 1..8),
    ) {
        for (change, off) in near {
            let when = match clock.changes.is_empty() {
                true => 0,
                false => clock.changes[change.index(clock.changes.len())].0,
            };
            for kind in KINDS {
                check(kind, &clock, Instant::from_unix_seconds(when + off));
            }
        }
    }

    #[test]
    fn any_clock_has_periods_that_hold_their_instants_or_none(clock in clocks(1), at in -40 * DAY..1200 * DAY, kind in prop::sample::select(&KINDS[..])) {
        let at = Instant::from_unix_seconds(at);
        if let Some(span) = period(kind, &clock, at) {
            prop_assert!(span.has(at));
        }
    }

    #[test]
    fn days_begin_when_the_clock_first_shows_them(clock in clocks(3 * HOUR), at in 0..1200 * DAY) {
        let Some(span) = period(Period::Day, &clock, Instant::from_unix_seconds(at)) else {
            return Err(TestCaseError::fail("no period"));
        };
        // The days that have begun: between two changes a clock only advances, so the latest day is at the end of a stretch.
        let shown = |from: i64, to: i64| {
            let changes = clock.changes.iter().map(|(change, _)| *change);
            let ends = changes.filter(|change| (from + 1..to).contains(change)).chain([to]);
            ends.map(|end| {
                let stretch = clock.stretch(Instant::from_unix_seconds(end - 1)).unwrap();
                (end - 1 + stretch.offset.seconds()).div_euclid(DAY)
            }).max().unwrap()
        };
        let (start, end) = (span.start.unix_seconds(), span.end.unix_seconds());
        let before = shown(start - 4 * DAY, start);
        prop_assert!(before < shown(start - 4 * DAY, start + 900));
        prop_assert_eq!(shown(start - 4 * DAY, end), shown(start - 4 * DAY, start + 900));
    }
}
