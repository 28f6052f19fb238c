//! Quoting of names and values for SQL.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// The most bytes of a name.
const NAME_BYTES: usize = 63;

static QUOTE: OnceLock<fn(&str) -> String> = OnceLock::new();

/// Sets how identifiers are quoted. Which words are keywords is the server's to say: each major has others.
pub fn quote_with(quote: fn(&str) -> String) {
    let _ = QUOTE.set(quote);
}

/// Returns an identifier, in double quotes where it needs them; always in quotes before [`quote_with`].
#[must_use]
pub fn quote_ident(name: &str) -> String {
    #[cfg(test)]
    quote_with(tests::quote);
    QUOTE
        .get()
        .map_or_else(|| quoted(name), |quote| quote(name))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes identifiers and joins them with commas.
#[must_use]
pub fn quote_idents<S: AsRef<str>>(names: &[S]) -> String {
    names
        .iter()
        .map(|n| quote_ident(n.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns a text literal that does not depend on `standard_conforming_strings`.
#[must_use]
pub fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Returns a name `<table>_<column>_<label>` that fits PostgreSQL's 63 bytes: it cuts the longer of the first two, never within
/// a character.
#[must_use]
pub fn object_name(table: &str, column: &str, label: &str) -> String {
    let (mut t, mut c) = (table, column);
    while t.len() + c.len() + label.len() + 2 > NAME_BYTES {
        let longer = if t.len() > c.len() { &mut t } else { &mut c };
        let Some((end, _)) = longer.char_indices().next_back() else {
            break;
        };
        *longer = longer.get(..end).unwrap_or_default();
    }
    format!("{t}_{c}_{label}")
}

/// The same for a name that finds its object again: where it would be cut, and so could be another object's too, it has a hash.
#[must_use]
pub fn own_name(table: &str, what: &str, label: &str) -> String {
    if table.len() + what.len() + label.len() + 2 <= NAME_BYTES {
        return format!("{table}_{what}_{label}");
    }
    let digest = Sha256::digest(format!("{table} {what}"));
    let hash: String = (digest.iter().take(6))
        .map(|byte| format!("{byte:02x}"))
        .collect();
    object_name(table, &hash, label)
}

/// Dollar-quotes a body with a tag that does not occur in it.
#[must_use]
pub fn dollar_quote(body: &str) -> String {
    let mut tag = "$tenancy$".to_owned();
    let mut n = 0_u32;
    while body.contains(&tag) {
        n += 1;
        tag = format!("$tenancy{n}$");
    }
    format!("{tag}{body}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the server quotes, with fewer keywords.
    pub(super) fn quote(name: &str) -> String {
        if is_plain(name) {
            name.to_owned()
        } else {
            quoted(name)
        }
    }

    fn is_plain(name: &str) -> bool {
        let letter = |c: char| c.is_ascii_lowercase() || c == '_';
        name.starts_with(letter)
            && name.chars().all(|c| letter(c) || c.is_ascii_digit())
            && !["order", "table", "user"].contains(&name)
    }

    /// Parses one identifier as PostgreSQL's scanner does.
    fn read_ident(sql: &str) -> Option<String> {
        if let Some(rest) = sql.strip_prefix('"') {
            let inner = rest.strip_suffix('"')?;
            let mut out = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                if c == '"' && chars.next()? != '"' {
                    return None;
                }
                out.push(c);
            }
            (!out.is_empty()).then_some(out)
        } else {
            is_plain(sql).then(|| sql.to_owned())
        }
    }

    proptest! {
        #[test]
        fn every_identifier_round_trips(name in "[^\0]{1,40}") {
            prop_assert_eq!(read_ident(&quote_ident(&name)), Some(name));
        }

        #[test]
        fn a_literal_ends_where_it_should(value in "[^\0]{0,40}") {
            let sql = quote_literal(&value);
            let escaped = sql.starts_with('E');
            let inner = sql.trim_start_matches('E').strip_prefix('\'').and_then(|s| s.strip_suffix('\'')).unwrap_or("?").to_owned();
            let mut back = inner.replace("''", "'");
            if escaped { back = back.replace("\\\\", "\\"); } else { prop_assert!(!inner.contains('\\')); }
            prop_assert_eq!(back, value);
        }

        #[test]
        fn object_names_fit(t in "\\PC{1,63}", c in "\\PC{1,63}") {
            let name = object_name(&t, &c, "tenancy_idx");
            prop_assert!(name.len() <= 63);
            prop_assert!(name.ends_with("_tenancy_idx"));
        }

        #[test]
        fn own_names_fit_and_differ(t in "[a-z]{50,63}", a in "[a-z]{20,63}", b in "[a-z]{20,63}") {
            let name = own_name(&t, &a, "tenancy_key");
            prop_assert!(name.len() <= 63);
            prop_assert!(name.ends_with("_tenancy_key"));
            prop_assert_eq!(a == b, name == own_name(&t, &b, "tenancy_key"));
        }

        #[test]
        fn dollar_quotes_hold(body in "[$a-z0-9]{0,60}") {
            let body = format!("{body}$tenancy$ {body} $tenancy1$");
            let q = dollar_quote(&body);
            let tag_end = q[1..].find('$').map_or(0, |i| i + 2);
            prop_assert_eq!(q[tag_end..].find(&q[..tag_end]), Some(body.len()));
        }
    }

    #[test]
    fn plain_names_stay_plain() {
        assert_eq!(quote_ident("tenant_id"), "tenant_id");
        assert_eq!(quote_ident("_a1"), "_a1");
        assert_eq!(quote_ident("user"), "\"user\"");
        assert_eq!(quote_ident("Tenant"), "\"Tenant\"");
        assert_eq!(quote_ident("1a"), "\"1a\"");
        assert_eq!(quote_ident("a\"; drop"), "\"a\"\"; drop\"");
        assert_eq!(quote_ident("größe"), "\"größe\"");
    }

    #[test]
    fn object_name_is_short_where_it_can_be() {
        assert_eq!(
            object_name("messages", "tenant_id", "tenancy_idx"),
            "messages_tenant_id_tenancy_idx"
        );
    }
}
