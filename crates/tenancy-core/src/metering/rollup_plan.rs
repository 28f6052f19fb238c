//! Divides a span of time into rollups: as coarse as possible, without gap or overlap, and events for the rest at
//! its ends.

const QUARTER: i64 = 15 * 60 * 1_000_000;
const HOUR: i64 = 4 * QUARTER;
const DAY: i64 = 24 * HOUR;

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

    fn finer(self) -> Option<(Self, i64)> {
        match self {
            Self::Event => None,
            Self::Quarter => Some((Self::Event, QUARTER)),
            Self::Hour => Some((Self::Quarter, HOUR)),
            Self::Day => Some((Self::Hour, DAY)),
        }
    }
}

/// A part of a span, from one instant up to but not including another, in microseconds of any epoch that
/// began at midnight in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The rollup that it is read from.
    pub grain: Grain,
    /// Its beginning.
    pub from: i64,
    /// Its end.
    pub to: i64,
}

/// Returns the pieces of a span, in order, none coarser than `coarsest`.
#[must_use]
pub fn cover(from: i64, to: i64, coarsest: Grain) -> Vec<Piece> {
    let mut pieces = Vec::new();
    fill(from, to, coarsest, &mut pieces);
    pieces
}

/// Returns the pieces of consecutive spans, from each edge to the next. Adjacent pieces of one grain are merged.
/// Each row of a piece belongs to one of the spans.
#[must_use]
pub fn cover_all(edges: &[i64], coarsest: Grain) -> Vec<Piece> {
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

fn fill(from: i64, to: i64, grain: Grain, pieces: &mut Vec<Piece>) {
    if from >= to {
        return;
    }
    let Some((finer, size)) = grain.finer() else {
        pieces.push(Piece { grain, from, to });
        return;
    };
    let (Some(first), last) = (up(from, size), down(to, size)) else {
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

fn down(at: i64, size: i64) -> i64 {
    at.div_euclid(size).saturating_mul(size)
}

fn up(at: i64, size: i64) -> Option<i64> {
    at.checked_add(size - 1).map(|at| down(at, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_days_are_one_piece() {
        assert_eq!(
            cover(0, 31 * DAY, Grain::Day),
            [Piece {
                grain: Grain::Day,
                from: 0,
                to: 31 * DAY
            }]
        );
        assert_eq!(cover(5, 5, Grain::Day), []);
        assert_eq!(cover(5, 4, Grain::Day), []);
    }

    #[test]
    fn a_day_of_a_zone_at_half_an_hour() {
        let from = DAY - 11 * HOUR / 2;
        let grains: Vec<_> = cover(from, from + DAY, Grain::Day)
            .iter()
            .map(|p| p.grain)
            .collect();
        assert_eq!(grains, [Grain::Quarter, Grain::Hour, Grain::Quarter]);
        let grains: Vec<_> = cover(from + 1, from + 3 * DAY, Grain::Day)
            .iter()
            .map(|p| p.grain)
            .collect();
        use Grain::{Day, Event, Hour, Quarter};
        assert_eq!(grains, [Event, Quarter, Hour, Day, Hour, Quarter]);
    }

    #[test]
    fn spans_that_meet_share_pieces() {
        let hours: Vec<i64> = (0..100).map(|n| n * HOUR).collect();
        assert_eq!(
            cover_all(&hours, Grain::Day),
            [Piece {
                grain: Grain::Hour,
                from: 0,
                to: 99 * HOUR
            }]
        );
        let days: Vec<i64> = (0..11).map(|n| n * DAY - HOUR / 2).collect();
        assert_eq!(cover_all(&days, Grain::Day).len(), 21);
        assert_eq!(cover_all(&[], Grain::Day), []);
        assert_eq!(cover_all(&[1], Grain::Day), []);
        assert_eq!(cover_all(&[HOUR, HOUR, HOUR], Grain::Day), []);
    }

    proptest! {
        #[test]
        fn no_row_is_in_two_spans(mut edges in prop::collection::vec(0..20 * DAY, 2..20)) {
            edges.sort_unstable();
            let pieces = cover_all(&edges, Grain::Day);
            let covered: i64 = pieces.iter().map(|piece| piece.to - piece.from).sum();
            prop_assert_eq!(covered, edges[edges.len() - 1] - edges[0]);
            for pair in pieces.windows(2) {
                prop_assert!(pair[0].to == pair[1].from && pair[0].grain != pair[1].grain);
            }
            // An edge within a piece is at the start of a row of its grain.
            for piece in &pieces {
                for edge in edges.iter().filter(|edge| piece.from < **edge && **edge < piece.to) {
                    let size = piece.grain.finer().map_or(1, |(_, size)| size);
                    prop_assert_eq!(edge % size, 0);
                }
            }
        }

        #[test]
        fn pieces_meet_and_are_aligned(
            from in any::<i64>(), len in prop_oneof![0..3 * DAY, 0..2 * QUARTER, 0..400 * DAY, 0..i64::MAX],
            coarsest in prop_oneof![Just(Grain::Event), Just(Grain::Quarter), Just(Grain::Hour), Just(Grain::Day)],
        ) {
            let to = from.saturating_add(len);
            let pieces = cover(from, to, coarsest);
            let mut at = from;
            for piece in &pieces {
                prop_assert_eq!(piece.from, at);
                prop_assert!(piece.to > piece.from && piece.grain <= coarsest);
                if let Some((_, size)) = piece.grain.finer() {
                    prop_assert_eq!((piece.from % size, piece.to % size), (0, 0));
                }
                at = piece.to;
            }
            prop_assert_eq!(at, to.max(from));
            prop_assert!(pieces.len() <= 7);
            // Events are read for less than a quarter at each end, unless all is less than two.
            if coarsest != Grain::Event && len < i64::MAX / 2 && from < i64::MAX / 4 {
                for piece in pieces.iter().filter(|piece| piece.grain == Grain::Event) {
                    prop_assert!(piece.to - piece.from < 2 * QUARTER);
                }
            }
        }
    }
}
