//! Which slugs, external ids and names may be stored.
//!
//! Users type slugs in paths like `globex/acme/alice`. So a slug has no upper case and no slash, and cannot be
//! parsed as a uuid, which is accepted in the same places.

use crate::excerpt::excerpt;
use crate::tree::Level;
use sha2::{Digest, Sha256};

/// The longest slug in bytes: that of a DNS label and of a PostgreSQL name.
const SLUG_LIMIT: usize = 63;

/// The longest external id or name in characters.
const TEXT_LIMIT: usize = 255;

/// Why a text is no slug. The error repeats at most its first 80 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    /// It is empty.
    #[error("a slug must not be empty")]
    Empty,
    /// More than 63 bytes.
    #[error("slug {slug:?} has {bytes} bytes; at most 63 are allowed")]
    TooLong {
        /// How it starts.
        slug: String,
        /// Its length.
        bytes: usize,
    },
    /// A character that a slug of this level may not have.
    #[error("slug {slug:?} has {found:?}; a slug of a {level} may have {allowed}")]
    Character {
        /// The slug.
        slug: String,
        /// The first character that is not allowed.
        found: char,
        /// The level of the scope.
        level: Level,
        /// The allowed characters.
        allowed: &'static str,
    },
    /// It starts or ends with a mark.
    #[error("slug {slug:?} must start and end with a letter or a digit, not with {found:?}")]
    Edge {
        /// The slug.
        slug: String,
        /// The mark at an end.
        found: char,
    },
    /// Two marks in a row.
    #[error("slug {slug:?} has {found:?} twice in a row")]
    Doubled {
        /// The slug.
        slug: String,
        /// The mark.
        found: char,
    },
    /// It can be parsed as a uuid.
    #[error("slug {0:?} could be read as a uuid")]
    Uuid(String),
}

/// Checks a slug: 1 to 63 lower-case ASCII letters, digits and marks (`-`, `_`, `.`, for users also `@` and
/// `+`), without a mark at the ends or two in a row, and not a text that PostgreSQL parses as a uuid.
pub fn check_slug(level: Level, slug: &str) -> Result<(), SlugError> {
    if slug.len() > SLUG_LIMIT {
        let bytes = slug.len();
        let slug = excerpt(slug);
        return Err(SlugError::TooLong { slug, bytes });
    }
    if let Some(found) = slug.chars().find(|&c| !is_plain(c) && !is_mark(level, c)) {
        return Err(SlugError::Character {
            slug: excerpt(slug),
            found,
            level,
            allowed: allowed(level),
        });
    }
    let (Some(first), Some(last)) = (slug.chars().next(), slug.chars().next_back()) else {
        return Err(SlugError::Empty);
    };
    if let Some(found) = [first, last].into_iter().find(|&c| !is_plain(c)) {
        let slug = excerpt(slug);
        return Err(SlugError::Edge { slug, found });
    }
    let mut pairs = slug.chars().zip(slug.chars().skip(1));
    if let Some((found, _)) = pairs.find(|&(a, b)| a == b && !is_plain(a)) {
        let slug = excerpt(slug);
        return Err(SlugError::Doubled { slug, found });
    }
    if reads_as_uuid(slug) {
        return Err(SlugError::Uuid(excerpt(slug)));
    }
    Ok(())
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

const fn is_mark(level: Level, c: char) -> bool {
    matches!(c, '-' | '_' | '.') || (matches!(level, Level::User) && matches!(c, '@' | '+'))
}

const fn allowed(level: Level) -> &'static str {
    match level {
        Level::User => "lower-case letters, digits and - _ . @ +",
        _ => "lower-case letters, digits and - _ .",
    }
}

/// Returns whether PostgreSQL parses a slug as a uuid. It accepts a hyphen after any group of four digits, so hyphens are
/// ignored.
fn reads_as_uuid(slug: &str) -> bool {
    let mut digits = slug.bytes().filter(|&b| b != b'-');
    digits.clone().count() == 32 && digits.all(|b| b.is_ascii_hexdigit())
}

/// Why a free text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// More than 255 characters.
    #[error("has more than 255 characters: {0:?}")]
    TooLong(String),
    /// A control character.
    #[error("has the control character {found:?}: {text:?}")]
    Control {
        /// The text.
        text: String,
        /// The first control character.
        found: char,
    },
    /// White space at an end.
    #[error("must not start or end with white space: {0:?}")]
    EdgeSpace(String),
}

/// Why a text is no external id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an external id {0}")]
pub struct ExternalIdError(pub TextFault);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name {0}")]
pub struct NameError(pub TextFault);

/// Checks an external id, which another system defines: 1 to 255 characters, no control character, no white
/// space at the ends.
pub fn check_external_id(external_id: &str) -> Result<(), ExternalIdError> {
    check_text(external_id).map_err(ExternalIdError)
}

/// Checks a display name: 1 to 255 characters, no control character, no white space at the ends.
pub fn check_name(name: &str) -> Result<(), NameError> {
    check_text(name).map_err(NameError)
}

fn check_text(text: &str) -> Result<(), TextFault> {
    if text.is_empty() {
        return Err(TextFault::Empty);
    }
    if text.chars().nth(TEXT_LIMIT).is_some() {
        return Err(TextFault::TooLong(excerpt(text)));
    }
    if let Some(found) = text.chars().find(|c| c.is_control()) {
        let text = excerpt(text);
        return Err(TextFault::Control { text, found });
    }
    if text.trim().len() != text.len() {
        return Err(TextFault::EdgeSpace(excerpt(text)));
    }
    Ok(())
}

/// Returns slugs for a user with this external id: the most readable first, then one that differs for two users
/// with similar ids. Both pass [`check_slug`].
pub fn suggest(external_id: &str) -> [String; 2] {
    /// Room for a hyphen and twelve hex digits.
    const STEM_LIMIT: usize = SLUG_LIMIT - 13;
    /// A prefix that makes a slug non-empty and no uuid: it has letters beyond `f`.
    const PREFIX: &str = "user";
    let mut stem = String::new();
    for c in external_id.chars().map(|c| c.to_ascii_lowercase()) {
        if stem.len() >= STEM_LIMIT {
            break;
        }
        if is_plain(c) {
            stem.push(c);
        } else if stem.ends_with(is_plain) {
            stem.push(if is_mark(Level::User, c) { c } else { '-' });
        }
    }
    let digest = Sha256::digest(external_id.as_bytes());
    let tail: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    let end = |stem: &mut String| {
        stem.truncate(STEM_LIMIT);
        while stem.ends_with(|c| !is_plain(c)) {
            stem.pop();
        }
    };
    end(&mut stem);
    if stem.is_empty() {
        stem.push_str(PREFIX);
    }
    // With the tail, a stem of twenty digits has as many digits as a uuid.
    if reads_as_uuid(&stem) || reads_as_uuid(&format!("{stem}{tail}")) {
        stem = format!("{PREFIX}-{stem}");
        end(&mut stem);
    }
    let own = format!("{stem}-{tail}");
    [stem, own]
}

#[cfg(test)]
mod tests;
