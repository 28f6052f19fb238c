//! What an expression reveals about its evaluation, apart from its result.
//!
//! An expression that fails, writes, sleeps or counts its calls reveals that it was evaluated. If that depends
//! on a row that the caller cannot see, it must not be evaluated before tenancy's own conditions. Unknown
//! expressions count as revealing everything.
//!
//! Functions are identified by their oid, which is fixed for built-in ones.

/// Oids below this one belong to the server itself.
pub const FIRST_OTHER: u32 = 16384;

/// What the evaluation of an expression may reveal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shows {
    /// By a value that is computed when first needed: whether it was needed.
    pub late: bool,
    /// By failing, or by taking its time: whether it was evaluated at all.
    pub evaluation: bool,
    /// By failing for some values of a column and not for others.
    pub column: bool,
    /// By a user's code: how often it was evaluated, and with which values.
    pub calls: bool,
}

impl Shows {
    /// Only its result.
    pub const NOTHING: Self = Self {
        late: false,
        evaluation: false,
        column: false,
        calls: false,
    };
    /// Everything.
    pub const ANYTHING: Self = Self {
        late: true,
        evaluation: true,
        column: true,
        calls: true,
    };
    /// A value that is computed when it is first needed, such as a subquery's.
    pub const WHEN_FIRST_NEEDED: Self = Self {
        late: true,
        ..Self::NOTHING
    };

    /// Returns what either reveals.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            late: self.late || other.late,
            evaluation: self.evaluation || other.evaluation,
            column: self.column || other.column,
            calls: self.calls || other.calls,
        }
    }

    /// Returns whether it reveals anything.
    pub const fn anything(self) -> bool {
        self.late || self.evaluation || self.again()
    }

    /// Returns what it reveals after its late values are computed.
    #[must_use]
    pub const fn once_computed(self) -> Self {
        Self {
            late: false,
            ..self
        }
    }

    /// Returns whether evaluating it again, on another row, reveals anything: if it has not failed before, it fails
    /// only because of that row.
    pub const fn again(self) -> bool {
        self.column || self.calls
    }
}

/// Properties of a function in the server's catalog.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its oid.
    pub oid: u32,
    /// Marked LEAKPROOF.
    pub leakproof: bool,
    /// Marked IMMUTABLE.
    pub immutable: bool,
    /// Written in C: only superusers can create such functions.
    pub native: bool,
}

impl Function {
    /// Returns what a call reveals; `of_column`: whether its arguments contain a column of the row.
    pub const fn shows(self, of_column: bool) -> Shows {
        if self.oid < FIRST_OTHER && (self.leakproof || never_fails(self.oid)) {
            return Shows::NOTHING;
        }
        Shows {
            late: false,
            evaluation: true,
            column: of_column,
            calls: !(self.native && self.immutable),
        }
    }
}

/// Returns whether a built-in function never fails, although it is not marked LEAKPROOF: comparisons of numeric,
/// of enums, of dates with timestamps, of jsonb and of inet; the clock. Containment of jsonb recurses as deep as both documents
/// agree, and fails where the stack ends.
const fn never_fails(oid: u32) -> bool {
    matches!(
        oid,
        1718..=1723
            | 3508..=3513
            | 2338..=2343
            | 2351..=2356
            | 2364..=2369
            | 2377..=2382
            | 2520..=2525
            | 2527..=2532
            | 4038..=4043
            | 4047..=4049
            | 927..=930
            | 3551
            | 1299
            | 2647
            | 2648
    )
}

/// Returns whether the distance from a value of a built-in type may fail because of the value, inside an index or in a recheck.
/// The distance between a far point and a polygon can overflow, and there is no distance to an infinite date. Distances of
/// points, boxes and circles overflow only if their coordinates do.
pub const fn distance_fails(of: u32) -> bool {
    const POLYGON: u32 = 604;
    const DATE: u32 = 1082;
    matches!(of, POLYGON | DATE)
}

/// Returns whether a type is one of the usual types without a collation.
pub const fn has_no_collation(of: u32) -> bool {
    // bool, bigint, smallint, integer, oid, double precision, date, timestamp, timestamptz, numeric, uuid, jsonb
    matches!(
        of,
        16 | 20 | 21 | 23 | 26 | 701 | 1082 | 1114 | 1184 | 1700 | 2950 | 3802
    )
}

/// What a built-in function does to a time near now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NearNow {
    /// The current time.
    Clock,
    /// Converts a time.
    Converts,
    /// Adds or subtracts an interval.
    Shifts,
    /// Truncates to a unit, its first argument.
    Truncates,
}

impl NearNow {
    /// Finds a function by oid.
    pub const fn of(oid: u32) -> Option<Self> {
        Some(match oid {
            // now, transaction_timestamp, statement_timestamp
            1299 | 2647 | 2648 => Self::Clock,
            // between timestamptz, timestamp and date
            1174 | 1178 | 2024 | 2027 | 2028 | 2029 => Self::Converts,
            // timestamptz, timestamp and date with interval
            1189 | 1190 | 2032 | 2033 | 2071 | 2072 => Self::Shifts,
            // of timestamptz and of timestamp
            1217 | 2020 => Self::Truncates,
            _ => return None,
        })
    }
}

/// Returns whether a time near now stays in the server's range when such an interval is added or subtracted.
pub const fn interval_is_small(months: i32, days: i32, micros: i64) -> bool {
    const YEARS: i32 = 1000;
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    months.unsigned_abs() <= (YEARS * 12) as u32
        && days.unsigned_abs() <= (YEARS * 366) as u32
        && micros.unsigned_abs() <= YEARS as u64 * 366 * MICROS_PER_DAY as u64
}

/// Returns whether a time can be truncated to a unit.
pub fn is_unit(unit: &[u8]) -> bool {
    [
        &b"second"[..],
        b"minute",
        b"hour",
        b"day",
        b"week",
        b"month",
        b"quarter",
        b"year",
    ]
    .contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn function(oid: u32) -> Function {
        Function {
            oid,
            leakproof: false,
            immutable: false,
            native: true,
        }
    }

    #[test]
    fn leakproof_is_believed_of_built_in_functions_only() {
        let texteq = Function {
            leakproof: true,
            ..function(67)
        };
        assert_eq!(texteq.shows(true), Shows::NOTHING);
        let other = Function {
            leakproof: true,
            ..function(70_000)
        };
        assert!(other.shows(false).anything());
    }

    #[test]
    fn a_comparison_of_numbers_shows_nothing_and_a_division_does() {
        assert_eq!(function(1718).shows(true), Shows::NOTHING);
        let int4div = Function {
            immutable: true,
            ..function(154)
        };
        assert!(int4div.shows(true).column);
        assert!(int4div.shows(false).evaluation);
        assert!(!int4div.shows(false).again());
    }

    #[test]
    fn code_that_is_not_native_or_not_immutable_may_count_its_calls() {
        let plpgsql = Function {
            immutable: true,
            native: false,
            ..function(70_000)
        };
        assert!(plpgsql.shows(false).again());
        assert!(function(2923).shows(false).again(), "table_to_xml");
    }

    #[test]
    fn what_is_unknown_shows_anything() {
        assert!(Shows::ANYTHING.again() && Shows::ANYTHING.anything());
        assert_eq!(Shows::NOTHING.or(Shows::ANYTHING), Shows::ANYTHING);
        assert!(!Shows::WHEN_FIRST_NEEDED.again() && Shows::WHEN_FIRST_NEEDED.anything());
        assert!(!Shows::WHEN_FIRST_NEEDED.once_computed().anything());
    }

    #[test]
    fn only_small_intervals_keep_a_time_near_now() {
        assert!(interval_is_small(0, -30, 0));
        assert!(interval_is_small(12_000, 0, i64::from(i32::MAX)));
        assert!(!interval_is_small(i32::MIN, 0, 0));
        assert!(!interval_is_small(0, i32::MAX, 0));
        assert!(!interval_is_small(0, 0, i64::MIN));
        assert!(is_unit(b"month") && !is_unit(b"moon"));
    }
}
