//! How much of a refused input an error may repeat: its first 80 characters.
//!
//! Errors land in logs and in clients' screens. An excerpt names the culprit without letting a
//! megabyte of it through.

/// The most characters of an input that an error repeats.
const LIMIT: usize = 80;

/// The first 80 characters of `text`. Print it with `{:?}`, which escapes what is not printable.
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
