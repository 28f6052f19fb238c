//! What an entry of the audit log may say.

pub mod quiet;
pub mod redact;

use crate::excerpt::excerpt;

/// The longest action, in bytes.
pub const ACTION_MAX: usize = 100;
/// The longest target, in characters.
pub const TARGET_MAX: usize = 500;
/// The largest details of an application's entry, in bytes as they are stored.
pub const DETAILS_MAX: usize = 64 * 1024;
/// The prefix of the extension's own actions.
pub const OWN: &str = "tenancy.";

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The action is not a list of words joined by dots.
    #[error("{0:?} is not an action")]
    Action(String),
    /// The action is reserved for the extension.
    #[error("the action {0:?} is reserved: it begins with {OWN}")]
    Reserved(String),
    /// An empty, long or unprintable target.
    #[error("target must have 1 to {TARGET_MAX} characters and no control characters")]
    Target,
    /// An empty, long or unprintable reason.
    #[error("reason must be one line of 1 to {REASON_MAX} printable characters")]
    Reason,
}

/// Checks an action of an application: words of `a-z 0-9 _`, joined by dots, as in `invoice.sent`.
pub fn check_action(action: &str) -> Result<(), EntryError> {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let starts = action
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_lowercase);
    if !starts || action.len() > ACTION_MAX || !action.split('.').all(word) {
        return Err(EntryError::Action(excerpt(action)));
    }
    if action == "tenancy" || action.starts_with(OWN) {
        return Err(EntryError::Reserved(excerpt(action)));
    }
    Ok(())
}

/// Checks a target.
pub fn check_target(target: &str) -> Result<(), EntryError> {
    let ok = !target.is_empty()
        && target.len() <= TARGET_MAX * 4
        && target.chars().count() <= TARGET_MAX
        && !target.chars().any(char::is_control);
    if ok { Ok(()) } else { Err(EntryError::Target) }
}

/// The longest reason, in characters.
pub const REASON_MAX: usize = 300;

/// Checks the reason for an elevation or for maintenance, and returns it without surrounding white space. It is
/// also written to the server's log, so it must not contain characters that end a line or reorder it.
pub fn check_reason(reason: &str) -> Result<&str, EntryError> {
    let turns = |c| matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
    // The most bytes that this number of characters can have, and some white space.
    if reason.len() > REASON_MAX * 8 {
        return Err(EntryError::Reason);
    }
    let reason = reason.trim();
    let ok = !reason.is_empty()
        && reason.chars().count() <= REASON_MAX
        && !reason.chars().any(|c| c.is_control() || turns(c));
    if ok {
        Ok(reason)
    } else {
        Err(EntryError::Reason)
    }
}

/// Returns the longest prefix of a text that takes at most `most` bytes in JSON.
pub fn fitting(text: &str, most: usize) -> &str {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, c)| {
        bytes += json_bytes(*c);
        bytes > most
    });
    match end {
        Some((at, _)) => text.get(..at).unwrap_or_default(),
        None => text,
    }
}

fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if c.is_control() => 6,
        c => c.len_utf8(),
    }
}

/// The most bytes of names in JSON that one entry lists.
pub const NAMES_MAX: usize = 3000;

/// Splits names into lists for one entry each, so that every name is in one.
pub fn parts(names: Vec<String>) -> Vec<Vec<String>> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for name in names {
        let more = name.chars().map(json_bytes).sum::<usize>() + 3;
        if bytes + more > NAMES_MAX && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        part.push(name);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn actions_are_dotted_words() {
        for action in ["invoice.sent", "a", "a1.b_2.c", "tenancyx.y"] {
            assert_eq!(check_action(action), Ok(()), "{action}");
        }
        for action in [
            "", ".", "a.", ".a", "a..b", "A", "1a", "_a", "a b", "a-b", "é", "a\n", "a.B",
        ] {
            assert!(
                matches!(check_action(action), Err(EntryError::Action(_))),
                "{action:?}"
            );
        }
        assert_eq!(check_action(&"a".repeat(ACTION_MAX)), Ok(()));
        assert!(check_action(&"a".repeat(ACTION_MAX + 1)).is_err());
    }

    #[test]
    fn the_extensions_own_names_are_reserved() {
        for action in ["tenancy", "tenancy.login", "tenancy.x.y"] {
            assert!(
                matches!(check_action(action), Err(EntryError::Reserved(_))),
                "{action}"
            );
        }
    }

    #[test]
    fn targets_are_short_and_printable() {
        assert_eq!(check_target("invoice 7 é"), Ok(()));
        assert_eq!(check_target(&"é".repeat(TARGET_MAX)), Ok(()));
        for target in ["", "a\nb", "\0", &"é".repeat(TARGET_MAX + 1)] {
            assert_eq!(check_target(target), Err(EntryError::Target));
        }
    }

    #[test]
    fn reasons_are_one_short_line() {
        assert_eq!(check_reason("  ticket 7: é  "), Ok("ticket 7: é"));
        let longest = "é".repeat(REASON_MAX);
        assert_eq!(check_reason(&longest), Ok(longest.as_str()));
        for reason in [
            "",
            " \n\t",
            "a\nLOG:  tenancy: b",
            "a\rb",
            "a\x1b[2Kb",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{202e}b",
            "a\u{2066}b",
            &"é".repeat(REASON_MAX + 1),
            &" ".repeat(100_000),
        ] {
            assert_eq!(check_reason(reason), Err(EntryError::Reason), "{reason:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_in_a_part_that_fits(names in prop::collection::vec(".{1,130}", 0..100)) {
            let parts = parts(names.clone());
            for part in &parts {
                prop_assert!(!part.is_empty());
                prop_assert!(serde_json::to_string(part).unwrap_or_default().len() <= NAMES_MAX + 2);
            }
            prop_assert_eq!(parts.concat(), names);
        }

        #[test]
        fn what_fits_is_the_beginning(text in ".{0,80}", most in 0_usize..200) {
            let kept = fitting(&text, most);
            prop_assert!(text.starts_with(kept));
            prop_assert!(serde_json::to_string(kept).unwrap_or_default().len() <= most + 2);
        }
    }
}
