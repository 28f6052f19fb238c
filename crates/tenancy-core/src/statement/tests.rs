#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn plain(text: &str) -> String {
    without_literals(text, true)
}

#[test]
fn literals_go_and_the_rest_stays() {
    for (text, kept) in [
        ("SELECT 1", "SELECT ?"),
        (
            "select * from notes where id = 'it''s' and n > -1.5e-3",
            "select * from notes where id = ? and n > -?",
        ),
        (
            "SELECT E'a\\'b', b'01', X'ff', U&'\\0061', N'x', $$secret$$, $q$a $$ b$q$",
            "SELECT ?, ?, ?, ?, ?, ?, ?",
        ),
        (
            "SELECT $1, a$b, t1.c2, \"O'Brien 7\" FROM \"t\"\"1\"",
            "SELECT $1, a$b, t1.c2, \"O'Brien 7\" FROM \"t\"\"1\"",
        ),
        (
            "SELECT /* secret /* nested */ 'x' */ a -- 'b'\n  , c",
            "SELECT a , c",
        ),
        ("SELECT .5, 0xff, 1_000, 1e10", "SELECT ?, ?, ?, ?"),
        ("SELECT 'é', ü, 'ö'", "SELECT ?, ü, ?"),
        ("  SELECT\n\t1 ", "SELECT ? "),
    ] {
        assert_eq!(plain(text), kept);
    }
}

#[test]
fn what_does_not_end_is_cut() {
    for text in [
        "SELECT 'secret",
        "SELECT $x$secret",
        "SELECT /* secret",
        "SELECT -- secret",
        "SELECT E'secret\\'",
    ] {
        assert_eq!(plain(text), "SELECT ");
    }
    assert_eq!(plain("SELECT \"secret"), "SELECT ");
}

#[test]
fn backslashes_escape_where_the_setting_says_so() {
    let text = "SELECT 'a\\' OR b = 'secret'";
    assert_eq!(without_literals(text, true), "SELECT ? OR b = ?");
    assert_eq!(
        without_literals("SELECT 'a\\' secret', c", false),
        "SELECT ?, c"
    );
}

#[test]
fn long_ones_are_cut() {
    for (word, length) in [("a", LONGEST), ("ü", LONGEST - 1)] {
        let long = plain(&format!("SELECT {}", word.repeat(5000)));
        assert_eq!(long.strip_suffix('…').unwrap().len(), length);
    }
}

proptest! {
    #[test]
    fn no_value_survives(value in "[a-z0-9 $]{0,12}secret[a-z0-9 $]{0,12}") {
        let quoted = value.replace('$', "");
        let number = value.len();
        let text = format!("SELECT '{value}', E'\\\\{value}', $t${quoted}$t$, {number}{number} /* {quoted} */ FROM t");
        let kept = plain(&text);
        prop_assert!(!kept.contains("secret"), "{}", kept);
        prop_assert!(kept.ends_with("FROM t"));
    }

    #[test]
    fn never_panics(text in ".{0,60}", standard: bool) {
        let _ = without_literals(&text, standard);
    }
}
