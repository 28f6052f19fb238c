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

macro_rules! operators {
    ($($oid:literal $name:ident($left:ident, $right:ident) $group:ident;)*) => {
        &[$(Operator { oid: $oid, name: stringify!($name), types: [$left, $right], group: $group }),*]
    };
}

/// The functions, sorted by oid. A test of the client tests compares them with the server's catalog.
pub const OPERATORS: &[Operator] = operators! {
     391 array_lt(ANY_ARRAY, ANY_ARRAY) Array;
     392 array_gt(ANY_ARRAY, ANY_ARRAY) Array;
     393 array_le(ANY_ARRAY, ANY_ARRAY) Array;
     396 array_ge(ANY_ARRAY, ANY_ARRAY) Array;
     744 array_eq(ANY_ARRAY, ANY_ARRAY) Array;
     850 textlike(TEXT, TEXT) Pattern;
     927 network_sub(INET, INET) Network;
     928 network_subeq(INET, INET) Network;
     929 network_sup(INET, INET) Network;
     930 network_supeq(INET, INET) Network;
    1633 texticlike(TEXT, TEXT) Pattern;
    1718 numeric_eq(NUMERIC, NUMERIC) Number;
    1720 numeric_gt(NUMERIC, NUMERIC) Number;
    1721 numeric_ge(NUMERIC, NUMERIC) Number;
    1722 numeric_lt(NUMERIC, NUMERIC) Number;
    1723 numeric_le(NUMERIC, NUMERIC) Number;
    2338 date_lt_timestamp(DATE, TIMESTAMP) Time;
    2339 date_le_timestamp(DATE, TIMESTAMP) Time;
    2340 date_eq_timestamp(DATE, TIMESTAMP) Time;
    2341 date_gt_timestamp(DATE, TIMESTAMP) Time;
    2342 date_ge_timestamp(DATE, TIMESTAMP) Time;
    2351 date_lt_timestamptz(DATE, TIMESTAMPTZ) Time;
    2352 date_le_timestamptz(DATE, TIMESTAMPTZ) Time;
    2353 date_eq_timestamptz(DATE, TIMESTAMPTZ) Time;
    2354 date_gt_timestamptz(DATE, TIMESTAMPTZ) Time;
    2355 date_ge_timestamptz(DATE, TIMESTAMPTZ) Time;
    2364 timestamp_lt_date(TIMESTAMP, DATE) Time;
    2365 timestamp_le_date(TIMESTAMP, DATE) Time;
    2366 timestamp_eq_date(TIMESTAMP, DATE) Time;
    2367 timestamp_gt_date(TIMESTAMP, DATE) Time;
    2368 timestamp_ge_date(TIMESTAMP, DATE) Time;
    2377 timestamptz_lt_date(TIMESTAMPTZ, DATE) Time;
    2378 timestamptz_le_date(TIMESTAMPTZ, DATE) Time;
    2379 timestamptz_eq_date(TIMESTAMPTZ, DATE) Time;
    2380 timestamptz_gt_date(TIMESTAMPTZ, DATE) Time;
    2381 timestamptz_ge_date(TIMESTAMPTZ, DATE) Time;
    2520 timestamp_lt_timestamptz(TIMESTAMP, TIMESTAMPTZ) Time;
    2521 timestamp_le_timestamptz(TIMESTAMP, TIMESTAMPTZ) Time;
    2522 timestamp_eq_timestamptz(TIMESTAMP, TIMESTAMPTZ) Time;
    2523 timestamp_gt_timestamptz(TIMESTAMP, TIMESTAMPTZ) Time;
    2524 timestamp_ge_timestamptz(TIMESTAMP, TIMESTAMPTZ) Time;
    2527 timestamptz_lt_timestamp(TIMESTAMPTZ, TIMESTAMP) Time;
    2528 timestamptz_le_timestamp(TIMESTAMPTZ, TIMESTAMP) Time;
    2529 timestamptz_eq_timestamp(TIMESTAMPTZ, TIMESTAMP) Time;
    2530 timestamptz_gt_timestamp(TIMESTAMPTZ, TIMESTAMP) Time;
    2531 timestamptz_ge_timestamp(TIMESTAMPTZ, TIMESTAMP) Time;
    2747 arrayoverlap(ANY_ARRAY, ANY_ARRAY) Array;
    2748 arraycontains(ANY_ARRAY, ANY_ARRAY) Array;
    2749 arraycontained(ANY_ARRAY, ANY_ARRAY) Array;
    3508 enum_eq(ANY_ENUM, ANY_ENUM) Enum;
    3510 enum_lt(ANY_ENUM, ANY_ENUM) Enum;
    3511 enum_gt(ANY_ENUM, ANY_ENUM) Enum;
    3512 enum_le(ANY_ENUM, ANY_ENUM) Enum;
    3513 enum_ge(ANY_ENUM, ANY_ENUM) Enum;
    3551 network_overlap(INET, INET) Network;
    3634 ts_match_vq(TSVECTOR, TSQUERY) TextSearch;
    3635 ts_match_qv(TSQUERY, TSVECTOR) TextSearch;
    3855 range_eq(ANY_RANGE, ANY_RANGE) Range;
    3857 range_overlaps(ANY_RANGE, ANY_RANGE) Range;
    3858 range_contains_elem(ANY_RANGE, ANY_ELEMENT) Range;
    3859 range_contains(ANY_RANGE, ANY_RANGE) Range;
    3860 elem_contained_by_range(ANY_ELEMENT, ANY_RANGE) Range;
    3861 range_contained_by(ANY_RANGE, ANY_RANGE) Range;
    3863 range_before(ANY_RANGE, ANY_RANGE) Range;
    3864 range_after(ANY_RANGE, ANY_RANGE) Range;
    3865 range_overleft(ANY_RANGE, ANY_RANGE) Range;
    3866 range_overright(ANY_RANGE, ANY_RANGE) Range;
    3871 range_lt(ANY_RANGE, ANY_RANGE) Range;
    3872 range_le(ANY_RANGE, ANY_RANGE) Range;
    3873 range_ge(ANY_RANGE, ANY_RANGE) Range;
    3874 range_gt(ANY_RANGE, ANY_RANGE) Range;
    4039 jsonb_lt(JSONB, JSONB) Json;
    4040 jsonb_gt(JSONB, JSONB) Json;
    4041 jsonb_le(JSONB, JSONB) Json;
    4042 jsonb_ge(JSONB, JSONB) Json;
    4043 jsonb_eq(JSONB, JSONB) Json;
    4046 jsonb_contains(JSONB, JSONB) Json;
    4047 jsonb_exists(JSONB, TEXT) Json;
    4048 jsonb_exists_any(JSONB, TEXT_ARRAY) Json;
    4049 jsonb_exists_all(JSONB, TEXT_ARRAY) Json;
    4050 jsonb_contained(JSONB, JSONB) Json;
    4244 multirange_eq(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4246 range_overlaps_multirange(ANY_RANGE, ANY_MULTIRANGE) Range;
    4247 multirange_overlaps_range(ANY_MULTIRANGE, ANY_RANGE) Range;
    4248 multirange_overlaps_multirange(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4249 multirange_contains_elem(ANY_MULTIRANGE, ANY_ELEMENT) Range;
    4250 multirange_contains_range(ANY_MULTIRANGE, ANY_RANGE) Range;
    4251 multirange_contains_multirange(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4252 elem_contained_by_multirange(ANY_ELEMENT, ANY_MULTIRANGE) Range;
    4253 range_contained_by_multirange(ANY_RANGE, ANY_MULTIRANGE) Range;
    4254 multirange_contained_by_multirange(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4258 range_before_multirange(ANY_RANGE, ANY_MULTIRANGE) Range;
    4259 multirange_before_range(ANY_MULTIRANGE, ANY_RANGE) Range;
    4260 multirange_before_multirange(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4261 range_after_multirange(ANY_RANGE, ANY_MULTIRANGE) Range;
    4262 multirange_after_range(ANY_MULTIRANGE, ANY_RANGE) Range;
    4263 multirange_after_multirange(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4264 range_overleft_multirange(ANY_RANGE, ANY_MULTIRANGE) Range;
    4265 multirange_overleft_range(ANY_MULTIRANGE, ANY_RANGE) Range;
    4266 multirange_overleft_multirange(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4267 range_overright_multirange(ANY_RANGE, ANY_MULTIRANGE) Range;
    4268 multirange_overright_range(ANY_MULTIRANGE, ANY_RANGE) Range;
    4269 multirange_overright_multirange(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4274 multirange_lt(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4275 multirange_le(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4276 multirange_ge(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4277 multirange_gt(ANY_MULTIRANGE, ANY_MULTIRANGE) Range;
    4541 range_contains_multirange(ANY_RANGE, ANY_MULTIRANGE) Range;
    4542 multirange_contained_by_range(ANY_MULTIRANGE, ANY_RANGE) Range;
};

/// An extension whose operators and operator families are known.
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// Its name.
    pub name: &'static str,
    /// The functions of its operators that an index may evaluate before the policies.
    pub functions: &'static [&'static str],
    /// Whether they allocate nothing for a value, and so may be evaluated on statistics.
    pub estimated: bool,
    /// Why.
    pub reason: &'static str,
}

/// The extensions. They count only if the function is a member, is written in C, and belongs to a superuser.
pub const EXTENSIONS: &[Extension] = &[
    Extension {
        name: "btree_gin",
        functions: &[],
        estimated: false,
        reason: "its operator families compare by the types' own comparisons",
    },
    Extension {
        name: "btree_gist",
        functions: &[],
        estimated: false,
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
        estimated: false,
        reason: "compares texts in lower case, which the index has computed for each entry before",
    },
    Extension {
        name: "hstore",
        functions: &["exist", "exists_all", "exists_any", "hs_contains"],
        estimated: true,
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
        estimated: false,
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

/// Returns whether an extension's operators with known functions may be evaluated on statistics.
pub fn may_be_estimated(extension: &str) -> bool {
    EXTENSIONS
        .iter()
        .any(|known| known.name == extension && known.estimated)
}

/// The function of a condition's operator.
#[derive(Clone, Copy, Debug)]
pub enum Called {
    /// A built-in one.
    BuiltIn(&'static Operator),
    /// One of [`EXTENSIONS`].
    OfExtension {
        /// Whether the operator is the extension's too, and one that [`may_be_estimated`].
        estimated: bool,
    },
    /// A built-in one that is marked LEAKPROOF, in a condition that is not leakproof: the index's key is an expression that may fail.
    /// The index holds its results, and does not compute it.
    Leakproof,
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
    /// A constant jsonb.
    Json {
        /// Whether it has no object or array inside another.
        flat: bool,
    },
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

/// `jsonb @> jsonb`. It recurses as deep as both sides agree.
const JSONB_CONTAINS: u32 = 4046;
/// `jsonb <@ jsonb`.
const JSONB_CONTAINED: u32 = 4050;

impl Condition<'_> {
    /// Returns whether the planner may evaluate the operator on values of other tenants too, which a column's statistics contain.
    /// That says more than `tells_nothing`: an index compares parts of values, and here the operator gets all of them.
    pub fn may_be_estimated(&self) -> bool {
        if matches!(self.value, Value::Joined) || !self.tells_nothing() {
            return false;
        }
        let operator = match self.called {
            Called::BuiltIn(operator) => operator,
            Called::Leakproof => return true,
            Called::OfExtension { estimated } => return estimated,
        };
        match operator.group {
            Number | Enum | Time | Network => true,
            Json => match operator.oid {
                JSONB_CONTAINS => self.key_left && matches!(self.value, Value::Json { flat: true }),
                JSONB_CONTAINED => false,
                _ => true,
            },
            // The distance of two numbers may be out of range.
            Range => self.types.iter().all(|of| !is_of_numbers(of.of)),
            // Arrays and text searches are estimated by elements that PostgreSQL compares anyway. A pattern recurses as far as it matches.
            Array | TextSearch | Pattern => false,
        }
    }
}

/// Returns whether a type is numrange, nummultirange or numeric.
const fn is_of_numbers(of: Type) -> bool {
    matches!(of, 3906 | 4532 | NUMERIC)
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
mod tests;
