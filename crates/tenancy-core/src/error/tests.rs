//! The catalogue keeps its own rules, and SQL keeps to the catalogue.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../tests/sources/mod.rs"]
mod sources;

use std::collections::HashSet;
use std::path::PathBuf;

use super::*;
use sources::{files, root};

const TEMPLATE: Kind = Kind {
    name: "template",
    sqlstate: "22023",
    retry: Retry::No,
    message: "{what} in {place}",
    detail: "{detail}",
    hint: "Ask {place}, not {whom}.",
};

#[test]
fn every_name_is_distinct_and_in_snake_case() {
    let mut names = HashSet::new();
    for kind in all() {
        assert!(names.insert(kind.name), "{} is there twice", kind.name);
        assert!(
            kind.name.starts_with(|c: char| c.is_ascii_lowercase())
                && (kind.name.bytes()).all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_')),
            "{}",
            kind.name
        );
        // What a server's identifier can hold.
        assert!(kind.name.len() < 64, "{}", kind.name);
        assert_eq!(find(kind.name), Some(*kind));
    }
    assert_eq!(find("no_such_kind"), None);
    assert_eq!(find(""), None);
}

/// ORMs take the constraint's name of 23505, 23503 and 23P01 for one of the application's own.
#[test]
fn no_kind_has_a_sqlstate_that_drivers_map_to_constraints_of_tables() {
    for kind in all() {
        assert!(
            kind.sqlstate.len() == 5
                && (kind.sqlstate.bytes()).all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()),
            "{}",
            kind.name
        );
        assert!(
            !["23505", "23503", "23P01"].contains(&kind.sqlstate),
            "{}",
            kind.name
        );
    }
}

#[test]
fn texts_are_written_as_postgresqls_style_guide_says() {
    for kind in all() {
        let first = kind.message.split(' ').next().unwrap();
        let acronym = first.chars().all(|c| c.is_ascii_uppercase());
        assert!(
            !kind.message.is_empty()
                && !kind.message.ends_with('.')
                && (acronym || !first.starts_with(|c: char| c.is_ascii_uppercase())),
            "{}: {}",
            kind.name,
            kind.message
        );
        for sentence in [kind.detail, kind.hint] {
            let whole = sentence.ends_with('.') && !sentence.starts_with(' ');
            let argument = sentence.starts_with('{') && sentence.ends_with('}');
            assert!(
                sentence.is_empty() || whole || argument,
                "{}: {sentence}",
                kind.name
            );
        }
        let texts = format!("{} {} {}", kind.message, kind.detail, kind.hint).to_lowercase();
        for word in ["nobody", "whoever", "somebody", "everybody", "anew"] {
            assert!(!texts.contains(word), "{} says {word}", kind.name);
        }
    }
}

#[test]
fn arguments_fill_the_texts_in_the_order_of_their_first_appearance() {
    assert_eq!(TEMPLATE.parameters(), ["what", "place", "detail", "whom"]);
    let texts = TEMPLATE.fill(&["rain", "spain", "It falls.", "me"]);
    assert_eq!(texts.message, "rain in spain");
    assert_eq!(texts.detail.as_deref(), Some("It falls."));
    assert_eq!(texts.hint.as_deref(), Some("Ask spain, not me."));
    let texts = TEMPLATE.fill::<&str>(&[]);
    assert_eq!(texts.message, " in ");
    assert_eq!(texts.detail, None);
}

#[test]
fn arguments_are_repeated_as_they_are_and_cut_when_long() {
    let hostile = "%s %n {place} {} }{ \"x\" 'y' \\ $1 %%";
    assert_eq!(
        TEMPLATE.fill(&[hostile, "b"]).message,
        format!("{hostile} in b")
    );
    let longest = "é".repeat(ARGUMENT_MAX);
    assert_eq!(
        TEMPLATE.fill(&[&longest, ""]).message,
        format!("{longest} in ")
    );
    let longer = "é".repeat(1_000_000);
    assert_eq!(
        TEMPLATE.fill(&[&longer, ""]).message,
        format!("{longest}… in ")
    );
}

fn sql_files() -> Vec<(PathBuf, String)> {
    let mut found = files(&root().join("sql"), "sql");
    found.extend(files(&root().join("src"), "sql"));
    assert!(found.len() > 10, "{}", found.len());
    found
}

/// From here to the end of the statement.
fn statement(text: &str) -> &str {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '\'';
        c == ';' && !quoted
    });
    &text[..end.unwrap()]
}

/// The arguments of a call, whose opening parenthesis is before this.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start, mut found) = (0, false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        quoted ^= c == '\'';
        match c {
            _ if quoted => {}
            '(' => depth += 1,
            ')' if depth == 0 => {
                found.push(text[start..at].trim());
                return found;
            }
            ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    panic!("a call without an end");
}

const CALL: &str = "tenancy_internal.error(";

#[test]
fn every_raise_in_sql_goes_through_the_catalogue() {
    let mut raised = 0;
    for (path, text) in sql_files() {
        for (at, _) in text.match_indices("RAISE ") {
            let line = text[..at].lines().next_back().unwrap_or_default();
            if line.starts_with("--") {
                continue;
            }
            let raise = statement(&text[at..]);
            let plain = raise.split_whitespace().collect::<Vec<_>>().join(" ");
            let says = |start: &str| plain.starts_with(start);
            // What is caught again, in the same function.
            let inside = says("RAISE unique_violation USING CONSTRAINT = 'identity_claims_pkey'")
                || says("RAISE EXCEPTION USING ERRCODE = 'TN001'")
                || plain == "RAISE invalid_parameter_value";
            if inside || says("RAISE NOTICE ") {
                continue;
            }
            raised += 1;
            if path.ends_with("bootstrap.sql") {
                repeats_the_catalogue(raise, &plain);
                continue;
            }
            assert!(
                (says("RAISE EXCEPTION USING MESSAGE = tenancy")
                    || says("RAISE EXCEPTION USING MESSAGE = CASE WHEN "))
                    && raise.contains(CALL)
                    && !plain.contains("ERRCODE"),
                "{}: {plain}",
                path.display()
            );
        }
    }
    assert!(raised > 90, "{raised}");
}

/// Errors that are raised before the catalogue is installed have its texts.
fn repeats_the_catalogue(raise: &str, plain: &str) {
    let name = plain.split("CONSTRAINT = '").nth(1).unwrap();
    let kind = find(name.split('\'').next().unwrap()).unwrap_or_else(|| panic!("{plain}"));
    assert!(plain.contains("SCHEMA = 'tenancy'"), "{plain}");
    let quoted = |text: &str| text.replace('\'', "''");
    let code = format!("ERRCODE = '{}'", kind.sqlstate);
    let message = format!("MESSAGE = '{}'", quoted(kind.message));
    let hint = format!("HINT = '{}'", quoted(kind.hint));
    for part in [code, message, hint] {
        assert!(raise.contains(&part), "{plain}: {part}");
    }
    let detail = quoted(kind.detail).replace("{encoding}", "%s");
    assert!(
        kind.detail == "{fault}" || raise.contains(&detail),
        "{plain}: {detail}"
    );
}

#[test]
fn sql_calls_kinds_of_the_catalogue_with_as_many_arguments_as_they_have() {
    for (path, text) in sql_files() {
        for (at, _) in text.match_indices(CALL) {
            let arguments = arguments(&text[at + CALL.len()..]);
            let name = arguments[0];
            // The declaration, its grants and comment, and comments.
            if name.starts_with("kind text") || name.starts_with("text") || name == "'kind'" {
                continue;
            }
            let place = format!("{}: {name}", path.display());
            let kind = find(name.trim_matches('\'')).unwrap_or_else(|| panic!("{place}"));
            let most = kind.parameters().len();
            // A hint that is an argument may be missing.
            let least = if kind.hint == "{hint}" {
                most - 1
            } else {
                most
            };
            assert!(
                (least..=most).contains(&(arguments.len() - 1)),
                "{place} with {arguments:?}"
            );
        }
    }
}

#[test]
fn every_kind_is_raised_somewhere() {
    let sql = sql_files().into_iter().map(|(_, text)| text);
    let rust = files(&root().join("src"), "rs").into_iter();
    let core = files(&root().join("crates/tenancy-core/src/policy"), "rs").into_iter();
    let sources: String = sql.chain(rust.chain(core).map(|(_, text)| text)).collect();
    for Kind { name, .. } in all() {
        assert!(
            sources.contains(&format!("'{name}'")) || sources.contains(&format!("kind::{name}()")),
            "{name}"
        );
    }
}
