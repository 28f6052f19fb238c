//! Conditions that reveal their evaluation. Each has no effect on the rows that its caller sees, and fails, raises a notice, counts, sleeps
//! or sets something on a row that the caller does not see.
//!
//! Out of scope: leaky operators in ORDER BY are evaluated on rows that have passed all conditions.

use crate::dice::Dice;

/// A subquery that divides by zero: the plan computes it as a parameter, when it is first needed.
const LAZY: &str = "(SELECT 1 / (count(*) - count(*)) FROM pg_am)";

/// Where a condition is put: one item of FROM.
#[derive(Clone, Debug)]
pub struct Spot {
    /// The alias.
    pub alias: String,
    /// What its rows hold.
    pub what: What,
}

/// What an item's rows hold.
#[derive(Clone, Debug)]
pub enum What {
    /// The columns of a protected table.
    Marks {
        /// Marks that the caller sees here.
        own: Vec<i32>,
        /// Marks that it does not see; not empty.
        foreign: Vec<i32>,
        /// Usable suffixes of `lit_` and `soft_`; none in derived tables.
        suffixes: Vec<&'static str>,
        /// Whether it has all columns, as derived tables have not.
        full: bool,
        /// Whether its rows have places, as those of views have not.
        places: bool,
        /// Whether its tenant column is of type uuid.
        uuid: bool,
    },
    /// Two columns of text of a view of tenancy.
    Texts {
        /// The column that tells rows apart.
        column: &'static str,
        /// The other one.
        other: &'static str,
        /// A text that the caller does not see.
        foreign: Vec<String>,
    },
}

/// A condition and the name of its kind.
pub struct Condition {
    /// The condition.
    pub sql: String,
    /// Its kind.
    pub kind: &'static str,
}

/// A condition on a spot.
pub fn tell(dice: &mut Dice, spot: &Spot) -> Condition {
    match dice.roll(10) {
        0..4 => by_value(dice, spot),
        4..7 => pair(dice, spot),
        7 => free(dice, spot).unwrap_or_else(|| guarded(dice, spot)),
        8 => guarded(dice, spot),
        _ => called(dice, spot),
    }
}

/// A condition that may stand in the place of a value: one expression that is true or NULL for rows that the caller sees.
pub fn tell_in_expression(dice: &mut Dice, spot: &Spot) -> Condition {
    match dice.roll(3) {
        0 => by_value(dice, spot),
        1 => guarded(dice, spot),
        _ => called(dice, spot),
    }
}

struct Words {
    /// Zero exactly for a row that the caller does not see.
    zero: String,
    /// The text that begins like this exactly for such a row.
    text: String,
    begins: String,
    /// The mark or the text.
    raw: String,
    /// True exactly for such a row, and leakproof.
    guard: String,
    alias: String,
}

fn words(dice: &mut Dice, spot: &Spot) -> Words {
    let a = spot.alias.clone();
    match &spot.what {
        What::Marks {
            own, foreign, full, ..
        } => {
            let f = *dice.of(foreign);
            let shown = if dice.chance(30) && *dice.of(&[true, false]) {
                "«F»".to_owned()
            } else {
                f.to_string()
            };
            let mark = match dice.roll(8) {
                0 if *full => format!("({a}.meta ->> 'mark')::int"),
                1 if *full => format!("{a}.tags[1]"),
                2 if *full => format!("lower({a}.span)"),
                3 => format!("ltrim(split_part({a}.secret, '-', 1), 'k')::int"),
                _ => format!("{a}.mark"),
            };
            let zero = match dice.roll(4) {
                0 => format!("({shown} - {mark})"),
                1 => format!("abs({mark} - {shown})"),
                2 => format!("({mark}::bigint - {shown})::int"),
                _ => format!("({mark} - {shown})"),
            };
            let guard = match dice.roll(6) {
                0 if *full && dice.chance(50) => searched(dice, &a, f).0,
                0 => format!("{a}.mark = ANY ('{{{f},9999}}')"),
                1 if !own.is_empty() => {
                    let all: Vec<String> = own.iter().map(i32::to_string).collect();
                    format!("{a}.mark <> ALL ('{{{}}}')", all.join(","))
                }
                2 => format!("({a}.secret >= 'k{f}-' AND {a}.secret < 'k{f}-~')"),
                _ => format!("{a}.mark = {shown}"),
            };
            Words {
                zero,
                text: format!("{a}.secret"),
                begins: format!("k{f}-"),
                raw: format!("{a}.mark"),
                guard,
                alias: a,
            }
        }
        What::Texts {
            column, foreign, ..
        } => {
            let f = dice.of(foreign).clone();
            let zero = match dice.roll(3) {
                0 => format!("length(replace({a}.{column}, '{f}', ''))"),
                1 => format!("(1 - ({a}.{column} = '{f}')::int)"),
                _ => format!("(CASE {a}.{column} WHEN '{f}' THEN 0 ELSE 7 END)"),
            };
            Words {
                zero,
                text: format!("{a}.{column}"),
                raw: format!("{a}.{column}"),
                guard: format!("{a}.{column} = '{f}'"),
                begins: f,
                alias: a,
            }
        }
    }
}

/// Kinds whose value fails.
const BY_VALUE: [(&str, &str); 52] = [
    ("division", "1 / D < 99999"),
    ("modulo", "100 % D < 99999"),
    ("numeric division", "1.0 / D IS NOT NULL"),
    ("float division", "(1::float8 / D) IS NOT NULL"),
    (
        "substring of a negative length",
        "substr('abc', 1, abs(D) - 1) IS NOT NULL",
    ),
    ("power of zero", "power(0::numeric, abs(D) - 1) >= 0"),
    ("square root", "sqrt(abs(D) - 1) >= 0"),
    ("logarithm", "ln(abs(D)) IS NOT NULL"),
    ("chr", "chr(abs(D)) IS NOT NULL"),
    (
        "make_date",
        "make_date(2024, least(abs(D), 12), 1) IS NOT NULL",
    ),
    (
        "smallint out of range",
        "(100000 - 99999 * least(abs(D), 1))::smallint = 1",
    ),
    (
        "integer out of range",
        "(2147483647 + (1 - least(abs(D), 1))) > 0",
    ),
    ("range bounds", "int4range(0, abs(D) - 1) IS NOT NULL"),
    (
        "range out of bounds",
        "int4range(1, 5) -|- int4range(7, 2147483646 + (1 - least(abs(D), 1)), '[]') IS NOT NULL",
    ),
    (
        "get_byte",
        "get_byte('\\x0102'::bytea, least(abs(D), 1) * 3 - 2) >= 0",
    ),
    (
        "array literal",
        "(CASE WHEN D = 0 THEN '{' ELSE '{1}' END)::int[] IS NOT NULL",
    ),
    (
        "trim_array",
        "trim_array(ARRAY[1, 2], least(abs(D), 1) - 1) IS NOT NULL",
    ),
    ("array subscript", "(ARRAY[1, 2])[1 / D] IS DISTINCT FROM 7"),
    ("array slice", "(ARRAY[1, 2])[100 / D : 9] IS NOT NULL"),
    (
        "cast of text",
        "('0' || replace(replace(T, 'B', 'z'), T, ''))::int = 0",
    ),
    (
        "cast to integer",
        "(CASE WHEN D = 0 THEN 'x' ELSE '1' END)::int = 1",
    ),
    (
        "cast to uuid",
        "(CASE WHEN D = 0 THEN 'x' ELSE '00000000-0000-7000-8000-000000000000' END)::uuid IS NOT NULL",
    ),
    (
        "cast to inet",
        "(CASE WHEN D = 0 THEN 'x' ELSE '10.0.0.1' END)::inet IS NOT NULL",
    ),
    (
        "cast to date",
        "(CASE WHEN D = 0 THEN 'x' ELSE '2024-02-29' END)::date IS NOT NULL",
    ),
    (
        "cast to interval",
        "(CASE WHEN D = 0 THEN 'x' ELSE '1 day' END)::interval IS NOT NULL",
    ),
    (
        "cast to regclass",
        "(CASE WHEN D = 0 THEN 'nosuch' ELSE 'pg_am' END)::regclass IS NOT NULL",
    ),
    (
        "cast to tsquery",
        "(CASE WHEN D = 0 THEN '!' ELSE 'a' END)::tsquery IS NOT NULL",
    ),
    (
        "cast to jsonb",
        "(CASE WHEN D = 0 THEN '{' ELSE '{}' END)::jsonb IS NOT NULL",
    ),
    (
        "cast to xml",
        "(CASE WHEN D = 0 THEN '<' ELSE '<a/>' END)::xml IS NOT NULL",
    ),
    (
        "cast to bit",
        "(CASE WHEN D = 0 THEN '2' ELSE '1' END)::bit(1) IS NOT NULL",
    ),
    ("LIKE with an open backslash", "T NOT LIKE 'B\\'"),
    ("ILIKE with an open backslash", "T NOT ILIKE 'B\\'"),
    (
        "LIKE with a bad escape",
        "T NOT LIKE 'B' ESCAPE (CASE WHEN D = 0 THEN 'ab' ELSE '!' END)",
    ),
    (
        "regular expression",
        "T ~ ('.' || repeat('(', 1 - least(abs(D), 1)))",
    ),
    (
        "regexp_replace",
        "regexp_replace(T, CASE WHEN D = 0 THEN '[' ELSE 'a' END, 'b') IS NOT NULL",
    ),
    (
        "jsonpath",
        "jsonb_path_exists(to_jsonb(D), '$ ? (@ == 0).datetime()') IS NOT NULL",
    ),
    (
        "jsonpath cast",
        "jsonb_path_query_first(to_jsonb(T), '$ ? (@ starts with \"B\").double()') IS NULL",
    ),
    (
        "width_bucket",
        "width_bucket(5, 0, 10, least(abs(D), 1)) > 0",
    ),
    (
        "date_trunc",
        "date_trunc(CASE WHEN D = 0 THEN 'nope' ELSE 'day' END, now()) IS NOT NULL",
    ),
    (
        "time zone",
        "(now() AT TIME ZONE (CASE WHEN D = 0 THEN 'Nope/Nope' ELSE 'UTC' END)) IS NOT NULL",
    ),
    (
        "encoding",
        "convert_from(decode(CASE WHEN D = 0 THEN 'ff' ELSE '61' END, 'hex'), 'UTF8') IS NOT NULL",
    ),
    (
        "format",
        "format(CASE WHEN D = 0 THEN '%' ELSE 'a' END) IS NOT NULL",
    ),
    (
        "correlated aggregate",
        "(SELECT max(1 / (v.x)) FROM (VALUES (D)) v(x)) < 99999",
    ),
    (
        "correlated subquery",
        "EXISTS (SELECT FROM pg_am WHERE 1 / D < 99999)",
    ),
    (
        "correlated IN",
        "D NOT IN (SELECT 100000 + 1 / D FROM pg_am)",
    ),
    ("row comparison", "ROW(1, 1 / D) IS DISTINCT FROM ROW(2, 2)"),
    ("coalesce", "coalesce(nullif(1 / D, 1 / D), 1) = 1"),
    (
        "set returning",
        "EXISTS (SELECT FROM generate_series(1, 3, least(abs(D), 1)))",
    ),
    ("any of an array", "77777 <> ALL (ARRAY[1 / D, 2])"),
    (
        "can() with a bad permission",
        "tenancy.can(CASE WHEN D = 0 THEN 'bad' ELSE 'data:read' END, '00000000-0000-7000-8000-000000000000'::uuid) IS NOT NULL",
    ),
    (
        "scope_ids() with a bad permission",
        "tenancy.scope_ids(CASE WHEN D = 0 THEN 'bad' ELSE 'data:read' END) IS NOT NULL",
    ),
    (
        "missing setting",
        "current_setting(CASE WHEN D = 0 THEN 'fuzz.none' ELSE 'fuzz.f' END) IS NOT NULL",
    ),
];

/// A value that fails.
fn by_value(dice: &mut Dice, spot: &Spot) -> Condition {
    let words = words(dice, spot);
    let (kind, sql) = *dice.of(&BY_VALUE);
    Condition {
        sql: fill(sql, &words),
        kind,
    }
}

/// Replaces the capital letters D, T, B, R and G that stand alone.
fn fill(template: &str, words: &Words) -> String {
    let mut out = String::new();
    let chars: Vec<char> = template.chars().collect();
    for (n, &c) in chars.iter().enumerate() {
        let word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric() || *c == '_');
        let alone = !word(n.checked_sub(1).and_then(|n| chars.get(n))) && !word(chars.get(n + 1));
        match c {
            'D' if alone => out += &words.zero,
            'T' if alone => out += &words.text,
            'B' if alone => out += &words.begins,
            'R' if alone => out += &words.raw,
            'G' if alone => out += &words.guard,
            'A' if alone => out += &words.alias,
            c => out.push(c),
        }
    }
    out
}

/// A condition that is true exactly for rows with a mark, and may search an index though it is not leakproof; and the name of the kind.
fn searched(dice: &mut Dice, a: &str, mark: i32) -> (String, &'static str) {
    let (kind, sql) = match dice.roll(10) {
        0 => ("numeric, searched", format!("{a}.cost = {mark}.5")),
        1 => (
            "numbers, searched",
            format!("{a}.cost IN ({mark}.5, 9999.5)"),
        ),
        2 => ("words, searched", format!("{a}.words @@ 'k{mark}'")),
        3 => (
            "words in a deep query, searched",
            format!("{a}.words @@ '(nope | k{mark}) & (nope | !nope)'"),
        ),
        4 => ("LIKE, searched", format!("{a}.secret LIKE '%k{mark}-%'")),
        5 => ("ILIKE, searched", format!("{a}.secret ILIKE 'K{mark}-%'")),
        6 => (
            "LIKE with an open backslash, searched",
            format!("{a}.secret LIKE '%k{mark}-\\'"),
        ),
        7 => (
            "jsonb, searched",
            format!("{a}.meta @> '{{\"mark\": {mark}}}'"),
        ),
        8 => ("array, searched", format!("{a}.tags @> ARRAY[{mark}]")),
        _ => (
            "range, searched",
            format!("{a}.span @> int4range({mark}, {mark} + 10)"),
        ),
    };
    (sql, kind)
}

/// Two conditions: a leakproof one that no row of the caller's passes, and one that fails when it is evaluated. PostgreSQL keeps their order,
/// since they cost the same.
fn pair(dice: &mut Dice, spot: &Spot) -> Condition {
    let a = &spot.alias;
    if let What::Marks {
        foreign,
        full: true,
        ..
    } = &spot.what
        && dice.chance(35)
    {
        let f = *dice.of(foreign);
        let (guard, kind) = searched(dice, a, f);
        let sql = match dice.roll(4) {
            0 => format!("{guard} AND 1 / ({a}.mark - {f}) > 0"),
            1 => format!("{guard} AND evil.spy({a}.mark)"),
            _ => format!("{guard} AND {a}.n = {LAZY}"),
        };
        return Condition { sql, kind };
    }
    let (guard, equality) = match &spot.what {
        What::Marks { own, foreign, .. } => {
            let f = *dice.of(foreign);
            let above = own.iter().all(|o| *o < f);
            let below = own.iter().all(|o| *o > f);
            match dice.roll(5) {
                0 if above => (format!("{a}.mark >= {f}"), false),
                1 if above => (format!("{a}.secret >= 'k{f}'"), false),
                2 if below => (format!("{a}.mark <= {f}"), false),
                3 if below => (format!("{a}.secret < 'k{}'", f + 1), false),
                _ => (format!("{a}.mark = {f}"), true),
            }
        }
        What::Texts {
            column, foreign, ..
        } => (format!("{a}.{column} = '{}'", dice.of(foreign)), true),
    };
    let number = match &spot.what {
        What::Marks { .. } => format!("{a}.n"),
        What::Texts { other, .. } => format!("{a}.{other}"),
    };
    let cast = match &spot.what {
        What::Marks { .. } => "",
        What::Texts { .. } => "::text",
    };
    let (kind, lazy) = match dice.roll(if equality { 4 } else { 8 }) {
        0 | 7 => ("lazy subquery", format!("{number} = {LAZY}{cast}")),
        1 if matches!(spot.what, What::Marks { full: true, .. }) => (
            "second key of BitmapAnd",
            format!("{a}.k = (SELECT 1 / (count(*) - count(*)) FROM pg_am)"),
        ),
        _ if equality => ("lazy subquery", format!("{LAZY}{cast} = {number}")),
        2 => ("lazy subquery <", format!("{number} < {LAZY}{cast}")),
        3 => (
            "lazy subquery in an array",
            format!("{number} = ANY (ARRAY[{LAZY}{cast}, '1'])"),
        ),
        4 => ("lazy subquery >=", format!("{LAZY}{cast} >= {number}")),
        5 => (
            "lazy cast of a subquery",
            format!("{number} = (SELECT (max(amname) || 'x')::int FROM pg_am){cast}"),
        ),
        _ => (
            "lazy function",
            format!("{number} <> (SELECT evil.boom()){cast}"),
        ),
    };
    Condition {
        sql: format!("{guard} AND {lazy}"),
        kind,
    }
}

/// Conditions that cost nothing, on columns that are true or NULL in all rows of the caller's: the planner sorts them first.
fn free(dice: &mut Dice, spot: &Spot) -> Option<Condition> {
    let What::Marks { suffixes, full, .. } = &spot.what else {
        return None;
    };
    if suffixes.is_empty() || !full {
        return None;
    }
    let a = &spot.alias;
    let s = *dice.of(suffixes);
    let truth = format!("{LAZY} > 0");
    let (kind, sql) = match dice.roll(7) {
        0 => ("free OR", format!("({a}.lit_{s} OR (SELECT {LAZY} > 0))")),
        1 => (
            "free IS NULL OR",
            format!("({a}.soft_{s} IS NULL OR (SELECT {LAZY} > 0))"),
        ),
        2 => (
            "free CASE",
            format!("(CASE WHEN {a}.lit_{s} THEN true ELSE (SELECT {LAZY} > 0) END)"),
        ),
        3 => (
            "free AND NOT",
            format!("NOT ({a}.soft_{s} IS NOT NULL AND (SELECT {LAZY} > 0))"),
        ),
        4 => (
            "free IS TRUE OR",
            format!("({a}.lit_{s} IS TRUE OR {truth})"),
        ),
        5 => (
            "free coalesce",
            format!("coalesce(nullif({a}.lit_{s}, false), (SELECT {LAZY} > 0))"),
        ),
        _ => (
            "free IN",
            format!(
                "({a}.lit_{s} OR 1 IN (SELECT 1 / (length(amname) - length(amname)) FROM pg_am))"
            ),
        ),
    };
    Some(Condition { sql, kind })
}

/// Something that fails without a column of the row, behind a guard in the same expression.
const GUARDED: [(&str, &str); 13] = [
    (
        "guarded subquery",
        "(SELECT 1 / (count(*) - count(*)) FROM pg_am) = 1",
    ),
    (
        "guarded EXISTS",
        "EXISTS (SELECT FROM pg_am WHERE 1 / (length(amname) - length(amname)) > 0)",
    ),
    (
        "guarded IN",
        "1 IN (SELECT 1 / (count(*) - count(*)) FROM pg_am)",
    ),
    ("guarded setting", "current_setting('fuzz.none') = 'x'"),
    ("guarded cast of now", "(now()::text || 'x')::int = 1"),
    ("guarded function", "evil.boom() = 1"),
    ("guarded notice or worse", "evil.fire(true)"),
    ("guarded sleep", "pg_sleep(0.3) IS NOT NULL"),
    ("guarded counter", "nextval('evil.counter') > 0"),
    (
        "guarded set_config",
        "set_config('fuzz.hit', 'yes', true) IS NOT NULL",
    ),
    ("guarded lock", "pg_try_advisory_xact_lock(8008)"),
    (
        "guarded can()",
        "tenancy.can(current_user || '!', '00000000-0000-7000-8000-000000000000'::uuid)",
    ),
    (
        "guarded has_permission()",
        "tenancy.has_permission('bad', current_user::text::tenancy.regscope)",
    ),
];

fn guarded(dice: &mut Dice, spot: &Spot) -> Condition {
    let words = words(dice, spot);
    let (kind, lazy) = *dice.of(&GUARDED);
    // A guard may be NULL, of an outer join.
    let template = match dice.roll(5) {
        0 => format!("(CASE WHEN G THEN {lazy} ELSE true END)"),
        1 => format!("(CASE WHEN G THEN {lazy} END) IS NOT TRUE"),
        2 if !lazy.contains("fuzz.none") => format!("((G) IS NOT TRUE OR {lazy})"),
        3 if !lazy.contains("fuzz.none") => format!("((G) IS TRUE AND {lazy}) IS NOT TRUE"),
        _ => format!("coalesce(CASE WHEN (G) IS NOT TRUE THEN true END, {lazy})"),
    };
    Condition {
        sql: fill(&template, &words),
        kind,
    }
}

/// Functions, operators and domains of the attacker's, and functions of the application that the attacker's are called by.
const CALLED: [(&str, &str); 11] = [
    ("function", "evil.spy(R)"),
    ("strict function", "evil.calm_spy(R) IS NOT FALSE"),
    ("inlined function", "evil.inline_spy(R)"),
    ("operator with an estimator", "R OPERATOR(evil.=~) R"),
    ("operator on text", "T OPERATOR(evil.=~) 'x'"),
    ("domain", "(T)::evil.careful_text IS NOT NULL"),
    ("function of text", "evil.spy(T)"),
    ("volatile function", "(random() < 2 AND evil.spy(R))"),
    (
        "function in CASE",
        "(CASE WHEN G THEN evil.spy(R) ELSE true END)",
    ),
    ("unpinned function of an index", "fns.norm(T) IS NOT NULL"),
    (
        "unpinned function of an index, compared",
        "fns.fold(T) > 'a'",
    ),
];

/// The predicate of a partial index, with a condition that searches it: on a lossy page it is evaluated again. None in derived tables.
pub fn unpinned(dice: &mut Dice, spot: &Spot) -> Option<Condition> {
    if !matches!(spot.what, What::Marks { full: true, .. }) {
        return None;
    }
    let a = &spot.alias;
    let from = dice.roll(20);
    Some(Condition {
        sql: format!("fns.chosen({a}.mark) AND {a}.k >= {from}"),
        kind: "unpinned predicate of an index",
    })
}

fn called(dice: &mut Dice, spot: &Spot) -> Condition {
    if dice.chance(35)
        && let Some(condition) = unpinned(dice, spot)
    {
        return condition;
    }
    let words = words(dice, spot);
    let (kind, sql) = *dice.of(&CALLED);
    Condition {
        sql: fill(sql, &words),
        kind,
    }
}

/// How many kinds there are.
pub const KINDS: usize = BY_VALUE.len() + GUARDED.len() + CALLED.len() + 1 + 8 + 7 + 10;

/// A condition that reveals nothing, and that an index may evaluate.
pub fn plain(dice: &mut Dice, spot: &Spot) -> String {
    let a = &spot.alias;
    match &spot.what {
        What::Texts { column, other, .. } => match dice.roll(3) {
            0 => format!("{a}.{column} >= 'b'"),
            1 => format!("{a}.{other} IS NOT NULL"),
            _ => format!("length({a}.{column}) > 3"),
        },
        What::Marks {
            full, own, places, ..
        } => {
            let n = dice.roll(50);
            let mark = *own.first().unwrap_or(&0);
            match dice.roll(if *full { 25 } else { 8 }) {
                0 => format!("{a}.k = {n}"),
                1 => format!("{a}.k BETWEEN {n} AND {}", n + 12),
                2 => format!("{a}.id < {}", 40 + n * 10),
                3 => format!("{a}.k IN ({n}, {}, 7)", n / 2),
                4 => format!("{a}.n <> {}", n % 10),
                5 => format!("({a}.k = {n} OR {a}.ref < {})", n * 4),
                6 => format!("{a}.mark >= {}", own.first().unwrap_or(&0)),
                7 => format!("{a}.flag"),
                8 => format!("{a}.tags @> ARRAY[{n}]"),
                9 => format!("{a}.meta @> '{{\"k\": {n}}}'"),
                10 => format!("{a}.span && int4range({}, {})", 100 + n, 140 + n),
                11 => format!("{a}.at >= date '2026-01-01' + {n}"),
                12 => format!("lower({a}.secret) > 'k13'"),
                13 => format!("{a}.k % 7 = {}", n % 7),
                14 => format!("{a}.ref < {} AND {a}.n > 4", 100 + n * 5),
                15 if *places => format!("{a}.ctid >= '(0,0)'"),
                16 => format!(
                    "({a}.tags @> ARRAY[{n}] OR {a}.mark = {})",
                    own.first().unwrap_or(&0)
                ),
                17 => format!("{a}.tenant_id IS NOT NULL"),
                19 => format!("{a}.cost BETWEEN {mark} AND {mark} + {n}.5"),
                20 => format!("{a}.words @@ 'k{mark} & !nope{n}'"),
                21 => format!("{a}.secret LIKE 'k{mark}-{}%'", n % 10),
                22 => format!("({a}.words @@ 'k{mark}' OR {a}.cost = {}.5)", mark + 1),
                23 => format!("{a}.tags && ARRAY[{mark}, {n}]"),
                24 => format!("{a}.span @> {}", mark + 5),
                _ => format!("{a}.k >= {} AND {a}.id > 0", n / 4),
            }
        }
    }
}
