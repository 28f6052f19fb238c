#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn plain(text: &str) -> String {
    read(text, true)
}

fn read(text: &str, standard_strings: bool) -> String {
    without_literals(text, standard_strings).0
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
    assert_eq!(read(text, true), "SELECT ? OR b = ?");
    assert_eq!(read("SELECT 'a\\' secret', c", false), "SELECT ?, c");
}

#[test]
fn a_string_continues_in_another_line_as_it_began() {
    for text in [
        "SELECT E'a'\n'\\', secret, ', b FROM t",
        "SELECT E'a' -- it's\n  -- so\r\n '\\' || secret', b FROM t",
    ] {
        assert_eq!(plain(text), "SELECT ?, b FROM t", "{text}");
    }
    // In the same line it does not; and one without escapes has none there either.
    assert_eq!(plain("SELECT E'a' 'b\\', c FROM t"), "SELECT ? ?, c FROM t");
    assert_eq!(plain("SELECT 'a'\n'b\\', c FROM t"), "SELECT ? ?, c FROM t");
}

#[test]
fn dollars_may_have_a_tag_with_digits() {
    assert_eq!(plain("SELECT $a1$ secret $a1$, b"), "SELECT ?, b");
    assert_eq!(plain("SELECT $1, $2b"), "SELECT $1, $2b");
}

#[test]
fn long_ones_are_cut() {
    for (word, length) in [("a", STATEMENT_MAX_BYTES), ("ü", STATEMENT_MAX_BYTES - 1)] {
        let long = Redacted::of(&format!("SELECT {}", word.repeat(5000)), true);
        assert_eq!(long.text.strip_suffix('…').unwrap().len(), length);
        assert_eq!(long.cut.unwrap().length, 7 + 5000 * word.len());
    }
    assert_eq!(Redacted::of("SELECT 1", true).cut, None);
}

#[test]
fn a_cut_text_can_be_identified() {
    let of = |last: &str| {
        let text = format!(
            "SELECT {} FROM {last} WHERE id = 'secret'",
            "a".repeat(2000)
        );
        let redacted = Redacted::of(&text, true);
        assert!(!redacted.text.contains("FROM"));
        let plain = text.replace("'secret'", "?");
        let cut = redacted.cut.unwrap();
        assert_eq!(cut.length, plain.len());
        let digest: String = Sha256::digest(&plain)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(cut.sha256, digest);
        digest
    };
    assert_ne!(of("app.notes"), of("app.secrets"));
}

/// JSON writes a control character in six bytes.
#[test]
fn names_of_control_characters_are_cut_sooner() {
    let long = Redacted::of(&format!("SELECT \"{}\"", "\u{1}".repeat(1000)), true);
    assert!(serde_json::to_string(&long.text).unwrap().len() <= STATEMENT_MAX_BYTES + 5);
    assert_eq!(long.cut.unwrap().length, 1009);
}

/// To the server they are letters: `\u{a0}e` is a type here, and its string has no escapes.
#[test]
fn spaces_of_other_scripts_are_letters() {
    for letter in ['\u{a0}', '\u{85}', '\u{2003}', '\u{3000}'] {
        assert_eq!(
            plain(&format!("SELECT {letter}e'a\\', 'secret'")),
            format!("SELECT {letter}e?, ?")
        );
    }
    assert_eq!(
        plain("SELECT E'a'\u{a0}\n'\\', 'secret'"),
        "SELECT ?\u{a0} ?, ?"
    );
    assert_eq!(plain("SELECT\x0c1,\x0b2"), "SELECT ?, ?");
}

/// It was prepared with the one setting, and runs with the other.
#[test]
fn a_setting_that_changed_since_hides_nothing_and_shows_no_value() {
    for (text, kept) in [
        ("SELECT 'a\\'b' FROM secrets", "SELECT ? FROM secrets"),
        ("SELECT 'a\\' FROM secrets", "SELECT ? FROM secrets"),
    ] {
        for setting in [true, false] {
            let redacted = Redacted::of(text, setting);
            assert_eq!((redacted.text.as_str(), redacted.cut), (kept, None));
        }
    }
    // It can be read in both ways: what is a value in one of them is not kept.
    for setting in [true, false] {
        let redacted = Redacted::of("SELECT 1, 'a\\', secret, \\'b', c", setting);
        assert_eq!(redacted.text, "SELECT ?, ?, …");
        assert!(redacted.cut.is_some());
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
        let _ = Redacted::of(&text, standard);
    }
}
