//! Excerpts of refused input for errors: at most the first 80 characters.
//!
//! Errors appear in logs and on clients' screens. An excerpt identifies the input without printing a
//! megabyte of it.

/// The most characters of an input that an error repeats.
const LIMIT: usize = 80;

/// Returns the first 80 characters of `text`. Print it with `{:?}`, which escapes unprintable characters.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn short_input_is_repeated_whole() {
        assert_eq!(excerpt(""), "");
        assert_eq!(excerpt("acme"), "acme");
        assert_eq!(excerpt(&"x".repeat(80)), "x".repeat(80));
    }

    #[test]
    fn long_input_is_cut_by_characters_not_bytes() {
        assert_eq!(excerpt(&"é".repeat(81)), "é".repeat(80));
        assert_eq!(excerpt(&"x".repeat(1_000_000)).len(), 80);
    }
}
