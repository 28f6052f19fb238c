//! Divides a span of time into rollups: as coarse as possible, without gap or overlap, and events for the rest at
//! its ends.

use crate::time::{Instant, Length};

const QUARTER: Length = Length::from_seconds(15 * 60);
const HOUR: Length = Length::from_hours(1);
const DAY: Length = Length::from_days(1);

/// The granularity of stored usage. Days, hours and quarters of an hour are those of UTC: in every zone of today,
/// days and hours begin with one of the quarters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// The events themselves.
    Event,
    /// Rows of a quarter of an hour.
    Quarter,
    /// Rows of an hour.
    Hour,
    /// Rows of a day.
    Day,
}

impl Grain {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Quarter => "quarter",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    fn finer(self) -> Option<(Self, Length)> {
        match self {
            Self::Event => None,
            Self::Quarter => Some((Self::Event, QUARTER)),
            Self::Hour => Some((Self::Quarter, HOUR)),
            Self::Day => Some((Self::Hour, DAY)),
        }
    }
}

/// A part of a span, from one instant up to but not including another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The rollup that it is read from.
    pub grain: Grain,
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

/// Returns the pieces of a span, in order, none coarser than `coarsest`.
#[must_use]
pub fn cover(from: Instant, to: Instant, coarsest: Grain) -> Vec<Piece> {
    let mut pieces = Vec::new();
    fill(from, to, coarsest, &mut pieces);
    pieces
}

/// Returns the pieces of consecutive spans, from each edge to the next. Adjacent pieces of one grain are merged.
/// Each row of a piece belongs to one of the spans.
#[must_use]
pub fn cover_all(edges: &[Instant], coarsest: Grain) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for span in edges.windows(2) {
        let [from, to] = *span else { continue };
        for piece in cover(from, to, coarsest) {
            match pieces.last_mut() {
                Some(last) if last.grain == piece.grain && last.to == piece.from => {
                    last.to = piece.to;
                }
                _ => pieces.push(piece),
            }
        }
    }
    pieces
}

fn fill(from: Instant, to: Instant, grain: Grain, pieces: &mut Vec<Piece>) {
    if from >= to {
        return;
    }
    let Some((finer, size)) = grain.finer() else {
        pieces.push(Piece { grain, from, to });
        return;
    };
    let (Some(first), last) = (up(from, size), to.floor(size)) else {
        return fill(from, to, finer, pieces);
    };
    if first >= last {
        return fill(from, to, finer, pieces);
    }
    fill(from, first, finer, pieces);
    pieces.push(Piece {
        grain,
        from: first,
        to: last,
    });
    fill(last, to, finer, pieces);
}

fn up(at: Instant, size: Length) -> Option<Instant> {
    let last = size - Length::from_micros(1);
    at.checked_add(last).map(|at| at.floor(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(micros: i64) -> Instant {
        Instant::from_unix_micros(micros)
    }

    fn hours(hours: i64) -> Instant {
        Instant::EPOCH + HOUR * hours
    }

    /// Whether an instant is at the start of a row of this size.
    fn begins(at: Instant, size: Length) -> bool {
        (at - Instant::EPOCH).rem_euclid(size) == Length::ZERO
    }

    #[test]
    fn whole_days_are_one_piece() {
        assert_eq!(
            cover(hours(0), hours(31 * 24), Grain::Day),
            [Piece {
                grain: Grain::Day,
                from: hours(0),
                to: hours(31 * 24)
            }]
        );
        assert_eq!(cover(micros(5), micros(5), Grain::Day), []);
        assert_eq!(cover(micros(5), micros(4), Grain::Day), []);
    }

    #[test]
    fn a_day_of_a_zone_at_half_an_hour() {
        let from = hours(18) + QUARTER * 2;
        let grains: Vec<_> = cover(from, from + DAY, Grain::Day)
            .iter()
            .map(|p| p.grain)
            .collect();
        assert_eq!(grains, [Grain::Quarter, Grain::Hour, Grain::Quarter]);
        let grains: Vec<_> = cover(from + Length::from_micros(1), from + DAY * 3, Grain::Day)
            .iter()
            .map(|p| p.grain)
            .collect();
        use Grain::{Day, Event, Hour, Quarter};
        assert_eq!(grains, [Event, Quarter, Hour, Day, Hour, Quarter]);
    }

    #[test]
    fn spans_that_meet_share_pieces() {
        let each: Vec<Instant> = (0..100).map(hours).collect();
        assert_eq!(
            cover_all(&each, Grain::Day),
            [Piece {
                grain: Grain::Hour,
                from: hours(0),
                to: hours(99)
            }]
        );
        let days = (0..11).map(|n| hours(n * 24) - QUARTER * 2);
        let days: Vec<Instant> = days.collect();
        assert_eq!(cover_all(&days, Grain::Day).len(), 21);
        assert_eq!(cover_all(&[], Grain::Day), []);
        assert_eq!(cover_all(&[micros(1)], Grain::Day), []);
        assert_eq!(cover_all(&[hours(1); 3], Grain::Day), []);
    }

    proptest! {
        #[test]
        fn no_row_is_in_two_spans(mut edges in prop::collection::vec((0..20 * DAY.micros()).prop_map(micros), 2..20)) {
            edges.sort_unstable();
            let pieces = cover_all(&edges, Grain::Day);
            let covered = pieces.iter().fold(Length::ZERO, |sum, piece| sum + (piece.to - piece.from));
            prop_assert_eq!(covered, edges[edges.len() - 1] - edges[0]);
            for pair in pieces.windows(2) {
                prop_assert!(pair[0].to == pair[1].from && pair[0].grain != pair[1].grain);
            }
            // An edge within a piece is at the start of a row of its grain.
            for piece in &pieces {
                for edge in edges.iter().filter(|edge| piece.from < **edge && **edge < piece.to) {
                    let size = piece.grain.finer().map_or(Length::from_micros(1), |(_, size)| size);
                    prop_assert!(begins(*edge, size));
                }
            }
        }

        #[test]
        fn pieces_meet_and_are_aligned(
            from in any::<i64>(),
            len in prop_oneof![0..3 * DAY.micros(), 0..2 * QUARTER.micros(), 0..400 * DAY.micros(), 0..i64::MAX],
            coarsest in prop_oneof![Just(Grain::Event), Just(Grain::Quarter), Just(Grain::Hour), Just(Grain::Day)],
        ) {
            let (from, early) = (micros(from), from < i64::MAX / 4);
            let to = from + Length::from_micros(len);
            let pieces = cover(from, to, coarsest);
            let mut at = from;
            for piece in &pieces {
                prop_assert_eq!(piece.from, at);
                prop_assert!(piece.to > piece.from && piece.grain <= coarsest);
                if let Some((_, size)) = piece.grain.finer() {
                    prop_assert!(begins(piece.from, size) && begins(piece.to, size));
                }
                at = piece.to;
            }
            prop_assert_eq!(at, to.max(from));
            prop_assert!(pieces.len() <= 7);
            // Events are read for less than a quarter at each end, unless all is less than two.
            if coarsest != Grain::Event && len < i64::MAX / 2 && early {
                for piece in pieces.iter().filter(|piece| piece.grain == Grain::Event) {
                    prop_assert!(piece.to - piece.from < QUARTER * 2);
                }
            }
        }
    }
}
