//! The catalogue of errors, for Rust and SQL: each kind has a name, a SQLSTATE, texts, and says whether a retry can help.
//!
//! Names are stable: applications compare them. Texts are not. Two rules hold for all of them. What the caller may not see
//! gets the message of what does not exist; and no message repeats a credential, a ticket or a token.

mod catalogue;
#[cfg(test)]
mod tests;

pub use catalogue::{SECTIONS, kind};

/// The most characters of an argument that a text repeats.
pub const ARGUMENT_MAX: usize = 1000;

/// The argument that is a list of reasons, and how long that may be.
const LIST: &str = "list";
const LIST_MAX: usize = 50_000;

/// A kind of error. `{name}` in a text stands for an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its stable name, in snake_case.
    pub name: &'static str,
    /// Its SQLSTATE, five characters.
    pub sqlstate: &'static str,
    /// Whether the same call can succeed later.
    pub retry: Retry,
    /// The message: one clause.
    pub message: &'static str,
    /// The detail, whole sentences; empty for none.
    pub detail: &'static str,
    /// The hint, whole sentences; empty for none.
    pub hint: &'static str,
}

/// Whether the same call can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not without a change of the call, of grants or of data.
    No,
    /// After the caller has followed the hint.
    AfterHint,
    /// After another `authenticate()` or `assume()`.
    AfterLogin,
    /// In a transaction of its own.
    NewTransaction,
    /// Later, unchanged.
    Later,
}

impl Retry {
    /// Returns the words of the reference.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::AfterHint => "after the hint",
            Self::AfterLogin => "after a new login",
            Self::NewTransaction => "in a new transaction",
            Self::Later => "later",
        }
    }
}

/// The texts of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// The message.
    pub message: String,
    /// The detail.
    pub detail: Option<String>,
    /// The hint.
    pub hint: Option<String>,
}

impl Kind {
    /// Returns the names of its arguments in the order in which [`Kind::fill`] takes them: that of their first
    /// appearance in message, detail and hint.
    #[must_use]
    pub fn parameters(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for text in [self.message, self.detail, self.hint] {
            for (_, name) in pieces(text) {
                if let Some(name) = name.filter(|name| !names.contains(name)) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Returns its texts with the arguments in them. One that is missing is empty; a detail or hint that comes out empty is
    /// none.
    #[must_use]
    pub fn fill<T: AsRef<str>>(&self, arguments: &[T]) -> Texts {
        let parameters = self.parameters();
        let filled = |text: &'static str| {
            let mut filled = String::new();
            for (before, name) in pieces(text) {
                filled.push_str(before);
                let place = name.and_then(|name| parameters.iter().position(|p| *p == name));
                if let Some(argument) = place.and_then(|place| arguments.get(place)) {
                    let most = if name == Some(LIST) {
                        LIST_MAX
                    } else {
                        ARGUMENT_MAX
                    };
                    push_cut(&mut filled, argument.as_ref(), most);
                }
            }
            filled
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        Texts {
            message: filled(self.message),
            detail: some(filled(self.detail)),
            hint: some(filled(self.hint)),
        }
    }
}

/// Returns the kind of this name.
#[must_use]
pub fn find(name: &str) -> Option<Kind> {
    all().find(|kind| kind.name == name).copied()
}

/// Returns all kinds, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    SECTIONS.iter().flat_map(|(_, kinds)| *kinds)
}

/// The parts of a text, each with the placeholder that follows it.
fn pieces(text: &'static str) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    text.split('}').map(|piece| match piece.split_once('{') {
        Some((before, name)) => (before, Some(name)),
        None => (piece, None),
    })
}

fn push_cut(text: &mut String, argument: &str, most: usize) {
    match argument.char_indices().nth(most) {
        Some((end, _)) => {
            text.push_str(argument.get(..end).unwrap_or_default());
            text.push('…');
        }
        None => text.push_str(argument),
    }
}
