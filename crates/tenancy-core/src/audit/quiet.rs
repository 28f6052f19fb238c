//! Statements that hold a secret as a literal or a parameter: what logs may show of them.

use super::redact::Redacted;

/// The functions whose arguments no log shows.
const QUIET: [&[u8]; 1] = [b"set_secret"];

/// Returns whether a text names a function whose arguments no log shows.
#[must_use]
pub fn is_quiet(text: &[u8]) -> bool {
    QUIET.iter().any(|name| {
        let mut parts = text.windows(name.len());
        parts.any(|part| part.eq_ignore_ascii_case(name))
    })
}

/// Returns a message of the server, with a statement or its parameters in it, without the values in them.
#[must_use]
pub fn quieted(message: &str, standard_strings: bool) -> String {
    // "duration: 0.1 ms  statement: …"
    let (before, statement) = match message.split_once("  ") {
        None if message.starts_with("duration: ") => return message.to_owned(),
        Some((before, statement)) if before.starts_with("duration: ") => (before, statement),
        _ => ("", message),
    };
    let statement = Redacted::of(statement, standard_strings).text;
    match before {
        "" => statement,
        before => format!("{before}  {statement}"),
    }
}

/// Returns the message of an error without what it quotes, which may be a part of the statement.
#[must_use]
pub fn without_quoted(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            let (before, after) = (message.get(..=first), message.get(last..));
            format!(
                "{}…{}",
                before.unwrap_or_default(),
                after.unwrap_or_default()
            )
        }
        (Some(only), _) => format!("{}…", message.get(..=only).unwrap_or_default()),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_quiet, quieted, without_quoted};

    #[test]
    fn quoted_parts_of_errors_are_hidden() {
        for (message, shown) in [
            (
                "syntax error at or near \"'hunter2'\"",
                "syntax error at or near \"…\"",
            ),
            ("scope \"a\" and \"b\" differ", "scope \"…\" differ"),
            ("unterminated \"hunter2", "unterminated \"…"),
            ("permission denied", "permission denied"),
        ] {
            assert_eq!(without_quoted(message), shown);
        }
    }

    #[test]
    fn a_call_is_found_however_it_is_written() {
        for text in [
            "SELECT tenancy.set_secret('acme', 'n', 'v')",
            "do $$ begin perform Tenancy.SET_Secret($1,$2,$3); end $$",
        ] {
            assert!(is_quiet(text.as_bytes()), "{text}");
        }
        assert!(!is_quiet(b"SELECT tenancy.secret('n')"));
        assert!(!is_quiet(b""));
    }

    #[test]
    fn values_are_hidden_and_the_duration_stays() {
        for (message, shown) in [
            (
                "statement: SELECT tenancy.set_secret('acme', 'n', 'hunter2')",
                "statement: SELECT tenancy.set_secret(?, ?, ?)",
            ),
            (
                "duration: 0.123 ms  statement: SELECT tenancy.set_secret('a', E'\\'b', $$hunter2$$)",
                "duration: 0.123 ms  statement: SELECT tenancy.set_secret(?, ?, ?)",
            ),
            ("duration: 0.123 ms", "duration: 0.123 ms"),
            (
                "parameters: $1 = 'acme', $2 = 'n', $3 = 'hunter''2'",
                "parameters: $1 = ?, $2 = ?, $3 = ?",
            ),
            (
                "statement: DO $x$ BEGIN PERFORM tenancy.set_secret('a', 'n', 'hunter2'); END $x$",
                "statement: DO ?",
            ),
        ] {
            assert_eq!(quieted(message, true), shown);
        }
        for text in [
            "statement: SELECT tenancy.set_secret('a', 'n', 'hunter2",
            "statement: SELECT tenancy.set_secret('a', 'n', 'hunter2') AS \"it's\"",
            "statement: SELECT \"it's\", tenancy.set_secret('a', 'n', 'hunter2')",
        ] {
            let shown = quieted(text, true);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
