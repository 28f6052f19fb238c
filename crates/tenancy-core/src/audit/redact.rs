//! Redaction of statements for the audit log: removes the values.
//!
//! Our own since the server exports nothing of the kind, and `pg_stat_statements` keeps the passwords of utility statements.

use sha2::{Digest, Sha256};

use crate::audit::fitting;

/// The most bytes in JSON that are kept: a request to the worker has limited room.
const STATEMENT_MAX_BYTES: usize = 1500;

/// A statement without the values in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// Its text, cut after 1,500 bytes and then with an ellipsis.
    pub text: String,
    /// What was cut off.
    pub cut: Option<Cut>,
}

/// The identity of a text that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The length of the whole text in bytes, with values replaced.
    pub length: usize,
    /// SHA-256 over the same text, in hexadecimal digits.
    pub sha256: String,
}

impl Redacted {
    /// Replaces every literal of a statement by `?`, removes comments and normalises white space. Identifiers and
    /// parameters stay. If the text cannot be parsed to its end, the rest is cut off, so that no data is recorded.
    /// `standard_strings` is the server's setting `standard_conforming_strings`.
    #[must_use]
    pub fn of(text: &str, standard_strings: bool) -> Self {
        let (mut whole, read) = without_literals(text, standard_strings);
        let (other, other_read) = without_literals(text, !standard_strings);
        // The server parsed it with either setting, which may have changed since.
        if !read && other_read {
            whole = other.clone();
        }
        let sure = !(read && other_read) || whole == other;
        let known = if sure { &whole } else { common(&whole, &other) };
        let kept = fitting(known, STATEMENT_MAX_BYTES);
        if kept.len() == whole.len() {
            return Self {
                text: whole,
                cut: None,
            };
        }
        let digest = Sha256::digest(&whole);
        Self {
            text: format!("{kept}…"),
            cut: Some(Cut {
                length: whole.len(),
                sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            }),
        }
    }
}

/// Returns the common prefix of both texts.
fn common<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    let length = same.map(|(c, _)| c.len_utf8()).sum();
    one.get(..length).unwrap_or_default()
}

/// Returns the redacted text, and whether it was parsed to its end.
fn without_literals(text: &str, standard_strings: bool) -> (String, bool) {
    let mut reader = Reader {
        rest: text,
        standard_strings,
        out: String::new(),
    };
    while reader.step().is_some() {}
    (reader.out, reader.rest.is_empty())
}

struct Reader<'a> {
    rest: &'a str,
    standard_strings: bool,
    out: String,
}

impl Reader<'_> {
    /// Reads one token. `None` at the end, or if the rest cannot be parsed.
    fn step(&mut self) -> Option<()> {
        let first = self.rest.chars().next()?;
        match first {
            c if is_space(c) => {
                self.rest = self.rest.trim_start_matches(is_space);
                self.space();
            }
            '-' if self.rest.starts_with("--") => {
                let end = self.rest.find(['\n', '\r']);
                self.skip(end.unwrap_or(self.rest.len()))?;
                self.space();
            }
            '/' if self.rest.starts_with("/*") => {
                self.comment()?;
                self.space();
            }
            '\'' => self.string(!self.standard_strings)?,
            '"' => {
                let length = 1 + closing(self.rest.get(1..)?, '"', false)?;
                self.keep(length)?;
            }
            '$' => self.dollar()?,
            c if c.is_ascii_digit() => self.number()?,
            '.' if self.rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => self.number()?,
            c if is_word(c) => self.word()?,
            c => self.keep(c.len_utf8())?,
        }
        Some(())
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.rest = self.rest.get(length..)?;
        Some(())
    }

    fn keep(&mut self, length: usize) -> Option<()> {
        self.out.push_str(self.rest.get(..length)?);
        self.skip(length)
    }

    fn space(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with(' ') {
            self.out.push(' ');
        }
    }

    /// Skips a comment; comments nest.
    fn comment(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.skip(2)?;
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2)?;
                if depth == 0 {
                    return Some(());
                }
            } else {
                let next = self.rest.chars().next()?;
                self.skip(next.len_utf8())?;
            }
        }
    }

    fn string(&mut self, escapes: bool) -> Option<()> {
        loop {
            let length = 1 + closing(self.rest.get(1..)?, '\'', escapes)?;
            self.skip(length)?;
            // It may continue in another line, then also with escapes.
            match continued(self.rest).filter(|_| escapes) {
                Some(gap) => self.skip(gap)?,
                None => break,
            }
        }
        self.out.push('?');
        Some(())
    }

    /// Reads a parameter, or a dollar-quoted string.
    fn dollar(&mut self) -> Option<()> {
        let after = self.rest.get(1..)?;
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            return self.keep(1 + digits);
        }
        // It does not begin with a digit, which would be a parameter.
        let tag = after.chars();
        let tag = tag.take_while(|c| is_word(*c) || c.is_ascii_digit());
        let tag = tag.map(char::len_utf8).sum::<usize>();
        if !after.get(tag..)?.starts_with('$') {
            return self.keep(1);
        }
        let delimiter = self.rest.get(..tag + 2)?;
        let end = self.rest.get(tag + 2..)?.find(delimiter)?;
        self.skip(2 * (tag + 2) + end)?;
        self.out.push('?');
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let mut length = 0;
        let mut before = ' ';
        for c in self.rest.chars() {
            let sign = (c == '+' || c == '-') && matches!(before, 'e' | 'E');
            if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign) {
                break;
            }
            length += c.len_utf8();
            before = c;
        }
        self.skip(length)?;
        self.out.push('?');
        Some(())
    }

    /// Reads a word, or the letter before a string of another kind.
    fn word(&mut self) -> Option<()> {
        let length = self
            .rest
            .chars()
            .take_while(|c| is_word(*c) || c.is_ascii_digit() || *c == '$')
            .map(char::len_utf8)
            .sum::<usize>();
        let (word, after) = (self.rest.get(..length)?, self.rest.get(length..)?);
        if after.starts_with('\'') {
            let escapes = match word.to_ascii_lowercase().as_str() {
                "e" => Some(true),
                "b" | "x" | "n" => Some(!self.standard_strings),
                _ => None,
            };
            if let Some(escapes) = escapes {
                self.skip(length)?;
                return self.string(escapes);
            }
        }
        if word.eq_ignore_ascii_case("u") && after.starts_with("&'") {
            self.skip(length + 1)?;
            return self.string(false);
        }
        self.keep(length)
    }
}

/// Returns whether the server treats a character as white space: other spaces are letters to it.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// Returns the offset of the quote with which a string continues in another line, if it does.
fn continued(text: &str) -> Option<usize> {
    let mut rest = text;
    let mut lines = false;
    loop {
        let next = rest.trim_start_matches(is_space);
        let skipped = rest.len() - next.len();
        lines |= rest.get(..skipped)?.contains(['\n', '\r']);
        rest = next;
        if !rest.starts_with("--") {
            break;
        }
        rest = rest.get(rest.find(['\n', '\r'])?..)?;
    }
    (lines && rest.starts_with('\'')).then_some(text.len() - rest.len())
}

/// Returns the offset after the closing quote; a doubled quote does not close.
fn closing(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next()?;
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return Some(at + quote.len_utf8()),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
