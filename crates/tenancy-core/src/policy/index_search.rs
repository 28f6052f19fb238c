//! Which conditions may search an index before the policies of a table are evaluated.
//!
//! An index scan compares its search values with entries of all tenants. That is harmless if the comparison reveals nothing of an
//! entry but its result: it does not fail because of an entry's value, runs no user's code, and its use of the stack is the same
//! for every entry. PostgreSQL knows this of operators that are marked LEAKPROOF. The operators below are not marked, and were
//! read one by one. A condition that is not recognised is evaluated after the policies.
//!
//! Operators are identified by the oid of their function, which is fixed for built-in ones.
//!
//! Left out, because they may fail for some values: regular expressions, jsonpath, `-|-`, records, geometric types, `ltree`,
//! and each function that casts, computes or truncates.

/// A type's oid.
pub type Type = u32;

const TEXT: Type = 25;
const INET: Type = 869;
const TEXT_ARRAY: Type = 1009;
const DATE: Type = 1082;
const TIMESTAMP: Type = 1114;
const TIMESTAMPTZ: Type = 1184;
const NUMERIC: Type = 1700;
const ANY_ARRAY: Type = 2277;
const ANY_ELEMENT: Type = 2283;
const ANY_ENUM: Type = 3500;
const TSVECTOR: Type = 3614;
const TSQUERY: Type = 3615;
const JSONB: Type = 3802;
const ANY_RANGE: Type = 3831;
const ANY_MULTIRANGE: Type = 4537;

/// The longest pattern of LIKE.
pub const PATTERN_BYTES_MAX: usize = 1000;

/// The largest query of a text search, in words and operators.
pub const QUERY_ITEMS_MAX: usize = 100;

/// What an operator compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Two numbers of type numeric.
    Number,
    /// Two values of an enum.
    Enum,
    /// A date, timestamp or timestamptz with another of these.
    Time,
    /// Two arrays.
    Array,
    /// jsonb with jsonb or with keys.
    Json,
    /// A tsvector with a tsquery.
    TextSearch,
    /// A text with a pattern: LIKE, ILIKE.
    Pattern,
    /// Two networks.
    Network,
    /// Ranges, multiranges and their elements.
    Range,
}

use Group::{Array, Enum, Json, Network, Number, Pattern, Range, TextSearch, Time};

impl Group {
    /// Returns why an index may evaluate these operators on other tenants' values.
    pub const fn reason(self) -> &'static str {
        match self {
            Number => "compares digits",
            Enum => "compares oids or the stored order of labels; every stored label exists",
            Time => {
                "compares instants; a date out of a timestamp's range compares as infinitely far"
            }
            Array => {
                "compares elements by their type's own comparison; with elements of the listed types, which never fails"
            }
            Json => {
                "an index compares keys and hashes, one after the other; the comparison of documents is iterative"
            }
            TextSearch => {
                "looks up words; recurses over the query only, which must be a constant that recurses as deep for every row"
            }
            Pattern => {
                "an index compares a prefix or trigrams of the pattern, which must be a checked constant; the text is matched after the policies"
            }
            Network => "compares bits; addresses of different families are unequal",
            Range => {
                "compares bounds by the comparison of a built-in element type; computes no new range"
            }
        }
    }
}

/// The function of an operator that an index may evaluate before the policies.
#[derive(Clone, Copy, Debug)]
pub struct Operator {
    /// Its oid.
    pub oid: u32,
    /// Its name in pg_proc.
    pub name: &'static str,
    /// The types of its arguments.
    pub types: [Type; 2],
    /// What it compares.
    pub group: Group,
}

const fn on(oid: u32, name: &'static str, left: Type, right: Type, group: Group) -> Operator {
    Operator {
        oid,
        name,
        types: [left, right],
        group,
    }
}

/// The functions, sorted by oid. A test of the client tests compares them with the server's catalog.
pub const OPERATORS: &[Operator] = &[
    on(391, "array_lt", ANY_ARRAY, ANY_ARRAY, Array),
    on(392, "array_gt", ANY_ARRAY, ANY_ARRAY, Array),
    on(393, "array_le", ANY_ARRAY, ANY_ARRAY, Array),
    on(396, "array_ge", ANY_ARRAY, ANY_ARRAY, Array),
    on(744, "array_eq", ANY_ARRAY, ANY_ARRAY, Array),
    on(850, "textlike", TEXT, TEXT, Pattern),
    on(927, "network_sub", INET, INET, Network),
    on(928, "network_subeq", INET, INET, Network),
    on(929, "network_sup", INET, INET, Network),
    on(930, "network_supeq", INET, INET, Network),
    on(1633, "texticlike", TEXT, TEXT, Pattern),
    on(1718, "numeric_eq", NUMERIC, NUMERIC, Number),
    on(1720, "numeric_gt", NUMERIC, NUMERIC, Number),
    on(1721, "numeric_ge", NUMERIC, NUMERIC, Number),
    on(1722, "numeric_lt", NUMERIC, NUMERIC, Number),
    on(1723, "numeric_le", NUMERIC, NUMERIC, Number),
    on(2338, "date_lt_timestamp", DATE, TIMESTAMP, Time),
    on(2339, "date_le_timestamp", DATE, TIMESTAMP, Time),
    on(2340, "date_eq_timestamp", DATE, TIMESTAMP, Time),
    on(2341, "date_gt_timestamp", DATE, TIMESTAMP, Time),
    on(2342, "date_ge_timestamp", DATE, TIMESTAMP, Time),
    on(2351, "date_lt_timestamptz", DATE, TIMESTAMPTZ, Time),
    on(2352, "date_le_timestamptz", DATE, TIMESTAMPTZ, Time),
    on(2353, "date_eq_timestamptz", DATE, TIMESTAMPTZ, Time),
    on(2354, "date_gt_timestamptz", DATE, TIMESTAMPTZ, Time),
    on(2355, "date_ge_timestamptz", DATE, TIMESTAMPTZ, Time),
    on(2364, "timestamp_lt_date", TIMESTAMP, DATE, Time),
    on(2365, "timestamp_le_date", TIMESTAMP, DATE, Time),
    on(2366, "timestamp_eq_date", TIMESTAMP, DATE, Time),
    on(2367, "timestamp_gt_date", TIMESTAMP, DATE, Time),
    on(2368, "timestamp_ge_date", TIMESTAMP, DATE, Time),
    on(2377, "timestamptz_lt_date", TIMESTAMPTZ, DATE, Time),
    on(2378, "timestamptz_le_date", TIMESTAMPTZ, DATE, Time),
    on(2379, "timestamptz_eq_date", TIMESTAMPTZ, DATE, Time),
    on(2380, "timestamptz_gt_date", TIMESTAMPTZ, DATE, Time),
    on(2381, "timestamptz_ge_date", TIMESTAMPTZ, DATE, Time),
    on(
        2520,
        "timestamp_lt_timestamptz",
        TIMESTAMP,
        TIMESTAMPTZ,
        Time,
    ),
    on(
        2521,
        "timestamp_le_timestamptz",
        TIMESTAMP,
        TIMESTAMPTZ,
        Time,
    ),
    on(
        2522,
        "timestamp_eq_timestamptz",
        TIMESTAMP,
        TIMESTAMPTZ,
        Time,
    ),
    on(
        2523,
        "timestamp_gt_timestamptz",
        TIMESTAMP,
        TIMESTAMPTZ,
        Time,
    ),
    on(
        2524,
        "timestamp_ge_timestamptz",
        TIMESTAMP,
        TIMESTAMPTZ,
        Time,
    ),
    on(
        2527,
        "timestamptz_lt_timestamp",
        TIMESTAMPTZ,
        TIMESTAMP,
        Time,
    ),
    on(
        2528,
        "timestamptz_le_timestamp",
        TIMESTAMPTZ,
        TIMESTAMP,
        Time,
    ),
    on(
        2529,
        "timestamptz_eq_timestamp",
        TIMESTAMPTZ,
        TIMESTAMP,
        Time,
    ),
    on(
        2530,
        "timestamptz_gt_timestamp",
        TIMESTAMPTZ,
        TIMESTAMP,
        Time,
    ),
    on(
        2531,
        "timestamptz_ge_timestamp",
        TIMESTAMPTZ,
        TIMESTAMP,
        Time,
    ),
    on(2747, "arrayoverlap", ANY_ARRAY, ANY_ARRAY, Array),
    on(2748, "arraycontains", ANY_ARRAY, ANY_ARRAY, Array),
    on(2749, "arraycontained", ANY_ARRAY, ANY_ARRAY, Array),
    on(3508, "enum_eq", ANY_ENUM, ANY_ENUM, Enum),
    on(3510, "enum_lt", ANY_ENUM, ANY_ENUM, Enum),
    on(3511, "enum_gt", ANY_ENUM, ANY_ENUM, Enum),
    on(3512, "enum_le", ANY_ENUM, ANY_ENUM, Enum),
    on(3513, "enum_ge", ANY_ENUM, ANY_ENUM, Enum),
    on(3551, "network_overlap", INET, INET, Network),
    on(3634, "ts_match_vq", TSVECTOR, TSQUERY, TextSearch),
    on(3635, "ts_match_qv", TSQUERY, TSVECTOR, TextSearch),
    on(3855, "range_eq", ANY_RANGE, ANY_RANGE, Range),
    on(3857, "range_overlaps", ANY_RANGE, ANY_RANGE, Range),
    on(3858, "range_contains_elem", ANY_RANGE, ANY_ELEMENT, Range),
    on(3859, "range_contains", ANY_RANGE, ANY_RANGE, Range),
    on(
        3860,
        "elem_contained_by_range",
        ANY_ELEMENT,
        ANY_RANGE,
        Range,
    ),
    on(3861, "range_contained_by", ANY_RANGE, ANY_RANGE, Range),
    on(3863, "range_before", ANY_RANGE, ANY_RANGE, Range),
    on(3864, "range_after", ANY_RANGE, ANY_RANGE, Range),
    on(3865, "range_overleft", ANY_RANGE, ANY_RANGE, Range),
    on(3866, "range_overright", ANY_RANGE, ANY_RANGE, Range),
    on(3871, "range_lt", ANY_RANGE, ANY_RANGE, Range),
    on(3872, "range_le", ANY_RANGE, ANY_RANGE, Range),
    on(3873, "range_ge", ANY_RANGE, ANY_RANGE, Range),
    on(3874, "range_gt", ANY_RANGE, ANY_RANGE, Range),
    on(4039, "jsonb_lt", JSONB, JSONB, Json),
    on(4040, "jsonb_gt", JSONB, JSONB, Json),
    on(4041, "jsonb_le", JSONB, JSONB, Json),
    on(4042, "jsonb_ge", JSONB, JSONB, Json),
    on(4043, "jsonb_eq", JSONB, JSONB, Json),
    on(4046, "jsonb_contains", JSONB, JSONB, Json),
    on(4047, "jsonb_exists", JSONB, TEXT, Json),
    on(4048, "jsonb_exists_any", JSONB, TEXT_ARRAY, Json),
    on(4049, "jsonb_exists_all", JSONB, TEXT_ARRAY, Json),
    on(4050, "jsonb_contained", JSONB, JSONB, Json),
    on(4244, "multirange_eq", ANY_MULTIRANGE, ANY_MULTIRANGE, Range),
    on(
        4246,
        "range_overlaps_multirange",
        ANY_RANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4247,
        "multirange_overlaps_range",
        ANY_MULTIRANGE,
        ANY_RANGE,
        Range,
    ),
    on(
        4248,
        "multirange_overlaps_multirange",
        ANY_MULTIRANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4249,
        "multirange_contains_elem",
        ANY_MULTIRANGE,
        ANY_ELEMENT,
        Range,
    ),
    on(
        4250,
        "multirange_contains_range",
        ANY_MULTIRANGE,
        ANY_RANGE,
        Range,
    ),
    on(
        4251,
        "multirange_contains_multirange",
        ANY_MULTIRANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4252,
        "elem_contained_by_multirange",
        ANY_ELEMENT,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4253,
        "range_contained_by_multirange",
        ANY_RANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4254,
        "multirange_contained_by_multirange",
        ANY_MULTIRANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4258,
        "range_before_multirange",
        ANY_RANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4259,
        "multirange_before_range",
        ANY_MULTIRANGE,
        ANY_RANGE,
        Range,
    ),
    on(
        4260,
        "multirange_before_multirange",
        ANY_MULTIRANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4261,
        "range_after_multirange",
        ANY_RANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4262,
        "multirange_after_range",
        ANY_MULTIRANGE,
        ANY_RANGE,
        Range,
    ),
    on(
        4263,
        "multirange_after_multirange",
        ANY_MULTIRANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4264,
        "range_overleft_multirange",
        ANY_RANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4265,
        "multirange_overleft_range",
        ANY_MULTIRANGE,
        ANY_RANGE,
        Range,
    ),
    on(
        4266,
        "multirange_overleft_multirange",
        ANY_MULTIRANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4267,
        "range_overright_multirange",
        ANY_RANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4268,
        "multirange_overright_range",
        ANY_MULTIRANGE,
        ANY_RANGE,
        Range,
    ),
    on(
        4269,
        "multirange_overright_multirange",
        ANY_MULTIRANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(4274, "multirange_lt", ANY_MULTIRANGE, ANY_MULTIRANGE, Range),
    on(4275, "multirange_le", ANY_MULTIRANGE, ANY_MULTIRANGE, Range),
    on(4276, "multirange_ge", ANY_MULTIRANGE, ANY_MULTIRANGE, Range),
    on(4277, "multirange_gt", ANY_MULTIRANGE, ANY_MULTIRANGE, Range),
    on(
        4541,
        "range_contains_multirange",
        ANY_RANGE,
        ANY_MULTIRANGE,
        Range,
    ),
    on(
        4542,
        "multirange_contained_by_range",
        ANY_MULTIRANGE,
        ANY_RANGE,
        Range,
    ),
];

/// An extension whose operators and operator families are known.
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// Its name.
    pub name: &'static str,
    /// The functions of its operators that an index may evaluate before the policies.
    pub functions: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

/// The extensions. They count only if the function is a member, is written in C, and belongs to a superuser.
pub const EXTENSIONS: &[Extension] = &[
    Extension {
        name: "btree_gin",
        functions: &[],
        reason: "its operator families compare by the types' own comparisons",
    },
    Extension {
        name: "btree_gist",
        functions: &[],
        reason: "as btree_gin's; no operator of its own is listed: distances may overflow",
    },
    Extension {
        name: "citext",
        functions: &[
            "citext_eq",
            "citext_ge",
            "citext_gt",
            "citext_le",
            "citext_lt",
        ],
        reason: "compares texts in lower case, which the index has computed for each entry before",
    },
    Extension {
        name: "hstore",
        functions: &["exist", "exists_all", "exists_any", "hs_contains"],
        reason: "compares keys, values and hashes, one after the other",
    },
    Extension {
        name: "pg_trgm",
        functions: &[
            "similarity_op",
            "strict_word_similarity_commutator_op",
            "strict_word_similarity_op",
            "word_similarity_commutator_op",
            "word_similarity_op",
        ],
        reason: "counts trigrams in common",
    },
];

/// Finds a built-in function.
pub fn operator(oid: u32) -> Option<&'static Operator> {
    let place = OPERATORS.binary_search_by_key(&oid, |known| known.oid);
    OPERATORS.get(place.ok()?)
}

/// Returns whether an extension's operator families are known.
pub fn has_known_families(extension: &str) -> bool {
    EXTENSIONS.iter().any(|known| known.name == extension)
}

/// Returns whether a function of an extension is known.
pub fn is_known(extension: &str, function: &str) -> bool {
    EXTENSIONS
        .iter()
        .any(|known| known.name == extension && known.functions.contains(&function))
}

/// The function of a condition's operator.
#[derive(Clone, Copy, Debug)]
pub enum Called {
    /// A built-in one.
    BuiltIn(&'static Operator),
    /// One of [`EXTENSIONS`].
    OfExtension,
}

/// The type of an operator's argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Argument {
    /// Its oid.
    pub of: Type,
    /// Whether it is an array of an enum.
    pub of_enums: bool,
}

/// A part of a text search's query, in the server's order: an operator, its right operand, its left operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// A word.
    Word,
    /// `!`, followed by its operand.
    Not,
    /// `&` or `|`, followed by its right operand; the left one begins so many items further.
    Both(usize),
    /// `<->`, likewise.
    Phrase(usize),
}

/// What the index's column is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// A constant text.
    Text(&'a [u8]),
    /// A constant query of a text search.
    Query(&'a [Item]),
    /// A constant of another type, a parameter, or an expression of these: computed when the scan starts.
    Early,
    /// A column of another table.
    Joined,
}

/// A condition `left operator right`, one side of which is an index's key.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    /// The operator's function.
    pub called: Called,
    /// Whether it is `left operator ANY (right)`.
    pub any: bool,
    /// The types of both sides.
    pub types: [Argument; 2],
    /// Whether it compares by the default collation, C or POSIX, or by none.
    pub plain_collation: bool,
    /// Whether the index's key is on the left.
    pub key_left: bool,
    /// The other side.
    pub value: Value<'a>,
}

impl Condition<'_> {
    /// Returns whether an index may evaluate the condition on rows that the caller cannot see.
    pub fn tells_nothing(&self) -> bool {
        // Comparisons fail without a collation, and some refuse nondeterministic ones.
        if !self.plain_collation {
            return false;
        }
        let Called::BuiltIn(operator) = self.called else {
            return true;
        };
        match operator.group {
            Number | Enum | Time | Network => true,
            Json => !self.any,
            Array => !self.any && self.types.iter().all(|of| of.is_simple_array()),
            Range => !self.any && self.types.iter().all(|of| is_of_ranges(of.of)),
            Pattern => match self.value {
                Value::Text(pattern) => !self.any && self.key_left && is_closed(pattern),
                _ => false,
            },
            TextSearch => match self.value {
                Value::Query(query) => !self.any && recurses_equally(query),
                _ => false,
            },
        }
    }
}

impl Argument {
    /// Returns whether it is an array whose elements are compared without failing, by a built-in function.
    const fn is_simple_array(self) -> bool {
        self.of_enums || has_simple_elements(self.of)
    }
}

const fn has_simple_elements(array: Type) -> bool {
    // bool, bytea, smallint, integer, text, bpchar, varchar, bigint, real, double precision, inet, timestamp, date,
    // timestamptz, numeric, uuid
    matches!(
        array,
        1000 | 1001
            | 1005
            | 1007
            | 1009
            | 1014
            | 1015
            | 1016
            | 1021
            | 1022
            | 1041
            | 1115
            | 1182
            | 1185
            | 1231
            | 2951
    )
}

/// Returns whether a type is a built-in range or multirange, or the type of their elements. Others may call a user's functions.
const fn is_of_ranges(of: Type) -> bool {
    // int4range, numrange, tsrange, tstzrange, daterange, int8range; their multiranges; integer, numeric, timestamp,
    // timestamptz, date, bigint
    matches!(of, 3904 | 3906 | 3908 | 3910 | 3912 | 3926)
        || matches!(of, 4451 | 4532..=4536)
        || matches!(of, 23 | 1700 | 1114 | 1184 | 1082 | 20)
}

/// Returns whether LIKE cannot fail for a text because of this pattern: a backslash at the end fails when the text matches so far.
pub fn is_closed(pattern: &[u8]) -> bool {
    let backslashes = pattern
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count();
    pattern.len() <= PATTERN_BYTES_MAX && backslashes.is_multiple_of(2)
}

/// Returns whether the evaluation of a query needs the same stack for every row.
///
/// The server evaluates the left operand first, and the right one only if it matters. A right operand that is nested deeper
/// would exhaust the stack for those rows only: a function that calls itself can come so near to its limit.
pub fn recurses_equally(query: &[Item]) -> bool {
    query.len() <= QUERY_ITEMS_MAX && nesting(query, 0).is_some()
}

/// How deep a part of a query is nested. Phrases need more stack for each level.
#[derive(Clone, Copy)]
struct Nesting {
    levels: usize,
    phrase: bool,
}

/// Returns the nesting of the part at a place, if its first descent is its deepest.
fn nesting(query: &[Item], at: usize) -> Option<Nesting> {
    let (left, phrase) = match *query.get(at)? {
        Item::Word => {
            return Some(Nesting {
                levels: 1,
                phrase: false,
            });
        }
        Item::Not => (1, false),
        Item::Both(left) => (left, false),
        Item::Phrase(left) => (left, true),
    };
    let unary = matches!(query.get(at), Some(Item::Not));
    if !unary && left < 2 {
        return None;
    }
    let left = nesting(query, at.checked_add(left)?)?;
    if !unary {
        let right = nesting(query, at + 1)?;
        if right.levels > left.levels || right.phrase {
            return None;
        }
    }
    Some(Nesting {
        levels: left.levels + 1,
        phrase: phrase || left.phrase,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn plain(of: Type) -> Argument {
        Argument {
            of,
            of_enums: false,
        }
    }

    fn condition<'a>(name: &str, value: Value<'a>) -> Condition<'a> {
        let operator = OPERATORS.iter().find(|known| known.name == name).unwrap();
        Condition {
            called: Called::BuiltIn(operator),
            any: false,
            types: operator.types.map(plain),
            plain_collation: true,
            key_left: true,
            value,
        }
    }

    #[test]
    fn operators_are_sorted_and_have_a_reason() {
        assert!(OPERATORS.is_sorted_by(|a, b| a.oid < b.oid));
        for known in OPERATORS {
            assert_eq!(
                operator(known.oid).map(|found| found.name),
                Some(known.name)
            );
            assert!(!known.group.reason().is_empty());
        }
        assert!(operator(67).is_none(), "texteq needs no entry");
        for extension in EXTENSIONS {
            assert!(extension.functions.is_sorted() && !extension.reason.is_empty());
        }
    }

    #[test]
    fn what_may_fail_for_a_value_is_not_listed() {
        // regular expressions, jsonpath, -|- of ranges and multiranges, records, jsonb to text, date_trunc, similar_to
        let fails = [
            1254, 1238, 4010, 4011, 3862, 4255, 4256, 4257, 2981, 2987, 1217, 2020, 3214,
        ];
        for oid in fails {
            assert!(operator(oid).is_none(), "{oid}");
        }
        assert!(!is_known("pg_trgm", "similarity_dist"));
        assert!(!is_known("intarray", "_int_contains") && !has_known_families("intarray"));
        assert!(!is_known("citext", "hs_contains"));
    }

    #[test]
    fn numbers_enums_times_and_networks_take_any_value() {
        for name in [
            "numeric_eq",
            "enum_lt",
            "date_ge_timestamptz",
            "network_subeq",
        ] {
            for value in [Value::Early, Value::Joined] {
                for any in [false, true] {
                    let condition = Condition {
                        any,
                        ..condition(name, value)
                    };
                    assert!(condition.tells_nothing(), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_collation_that_is_not_plain_may_fail() {
        let mut like = condition("textlike", Value::Text(b"a%"));
        assert!(like.tells_nothing());
        like.plain_collation = false;
        assert!(!like.tells_nothing());
    }

    #[test]
    fn a_pattern_is_a_closed_constant() {
        let like = |pattern: &[u8]| condition("textlike", Value::Text(pattern)).tells_nothing();
        assert!(like(b"") && like(b"a%") && like(b"%a\\%b%") && like(b"a\\\\"));
        assert!(!like(b"secret\\") && !like(b"\\") && !like(b"a\\\\\\"));
        assert!(like(&[b'a'; PATTERN_BYTES_MAX]) && !like(&[b'a'; PATTERN_BYTES_MAX + 1]));
        for value in [Value::Early, Value::Joined] {
            assert!(!condition("textlike", value).tells_nothing());
            assert!(!condition("texticlike", value).tells_nothing());
        }
        let any = Condition {
            any: true,
            ..condition("textlike", Value::Text(b"a"))
        };
        assert!(!any.tells_nothing());
        let turned = Condition {
            key_left: false,
            ..condition("textlike", Value::Text(b"a"))
        };
        assert!(!turned.tells_nothing(), "the column is the pattern");
    }

    #[test]
    fn arrays_have_elements_without_surprises() {
        let overlap = |of: [Argument; 2]| {
            Condition {
                types: of,
                ..condition("arrayoverlap", Value::Early)
            }
            .tells_nothing()
        };
        assert!(overlap([plain(1007); 2]) && overlap([plain(TEXT_ARRAY); 2]));
        let enums = Argument {
            of: 70_000,
            of_enums: true,
        };
        assert!(overlap([enums; 2]));
        // point[], record[], jsonb[], an array of a user's type, and what is no array
        for of in [1017, 2287, 3807, 70_001, ANY_ARRAY] {
            assert!(!overlap([plain(of); 2]) && !overlap([plain(1007), plain(of)]));
        }
    }

    #[test]
    fn ranges_are_built_in() {
        let contains = |left, right| {
            Condition {
                types: [plain(left), plain(right)],
                ..condition("range_contains_elem", Value::Early)
            }
            .tells_nothing()
        };
        assert!(contains(3904, 23) && contains(3910, TIMESTAMPTZ));
        assert!(!contains(70_000, 23) && !contains(70_000, 70_001) && !contains(3904, TEXT));
    }

    #[test]
    fn a_query_recurses_as_deep_for_every_row() {
        use Item::{Both, Not, Phrase, Word};
        let safe = |query: &[Item]| condition("ts_match_vq", Value::Query(query)).tells_nothing();
        assert!(safe(&[Word]) && safe(&[Not, Word]));
        // a & b; (a & b) & c; (a <-> b) & c; !a & b; (a | b) & (c | d)
        assert!(safe(&[Both(2), Word, Word]));
        assert!(safe(&[Both(2), Word, Both(2), Word, Word]));
        assert!(safe(&[Both(2), Word, Phrase(2), Word, Word]));
        assert!(safe(&[Both(2), Word, Not, Word]));
        assert!(safe(&[Both(4), Both(2), Word, Word, Both(2), Word, Word]));
        // a & (b | c); a & !b; (a & b) & (c <-> d): the right operand needs more stack, for some rows
        assert!(!safe(&[Both(4), Both(2), Word, Word, Word]));
        assert!(!safe(&[Both(3), Not, Word, Word]));
        assert!(!safe(&[
            Both(4),
            Phrase(2),
            Word,
            Word,
            Both(2),
            Word,
            Word
        ]));
        // What is no query.
        assert!(!safe(&[]) && !safe(&[Not]) && !safe(&[Both(0), Word]));
        assert!(!safe(&[Both(usize::MAX), Word, Word]));
        assert!(!safe(&[Word; QUERY_ITEMS_MAX + 1]));
        assert!(!condition("ts_match_vq", Value::Early).tells_nothing());
        assert!(!condition("ts_match_vq", Value::Joined).tells_nothing());
    }

    #[test]
    fn an_extensions_function_needs_a_plain_collation_only() {
        let similar = Condition {
            called: Called::OfExtension,
            ..condition("textlike", Value::Early)
        };
        assert!(similar.tells_nothing());
        let other = Condition {
            plain_collation: false,
            ..similar
        };
        assert!(!other.tells_nothing());
    }
}
