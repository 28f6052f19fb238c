//! What a tenant column holds.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// What a tenant column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// The id of a scope.
    Uuid,
    /// The application's own key.
    BigInt,
    /// The application's own key.
    Integer,
    /// The application's own key.
    SmallInt,
    /// The application's own key, a numeric without decimals.
    Numeric,
    /// The application's own key.
    Text,
    /// The application's own key.
    Varchar,
    /// The application's own key, without the blanks at its end.
    Char,
    /// The application's own key, as it is written.
    Citext,
}

const ALL: [KeyType; 9] = [
    KeyType::Uuid,
    KeyType::BigInt,
    KeyType::Integer,
    KeyType::SmallInt,
    KeyType::Numeric,
    KeyType::Text,
    KeyType::Varchar,
    KeyType::Char,
    KeyType::Citext,
];

impl KeyType {
    /// Returns its name in the registry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::BigInt => "bigint",
            Self::Integer => "integer",
            Self::SmallInt => "smallint",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Varchar => "varchar",
            Self::Char => "char",
            Self::Citext => "citext",
        }
    }

    /// Returns the type that predicates take it as.
    pub(super) const fn argument(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::BigInt => "bigint",
            Self::Integer | Self::SmallInt => "integer",
            Self::Numeric | Self::Text | Self::Varchar | Self::Char | Self::Citext => "text",
        }
    }

    /// Returns the type that predicates take the key of a project or a user as.
    pub(super) const fn other_argument(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::BigInt | Self::Integer | Self::SmallInt => "bigint",
            Self::Numeric | Self::Text | Self::Varchar | Self::Char | Self::Citext => "text",
        }
    }

    /// Returns the ending of the functions that return such a key: `tenant_key_bigint`.
    pub(super) const fn ending(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::BigInt => "bigint",
            Self::Integer | Self::SmallInt => "integer",
            Self::Numeric => "numeric",
            Self::Text | Self::Varchar | Self::Char | Self::Citext => "text",
        }
    }

    /// Returns whether a foreign key can pair a column of this type with one of another: the server has an operator for them, which
    /// is true for the same tenant alone. That of citext is not.
    pub(crate) fn refers_to(self, other: Self) -> bool {
        match self {
            Self::Uuid => other == Self::Uuid,
            Self::BigInt | Self::Integer | Self::SmallInt => matches!(
                other,
                Self::BigInt | Self::Integer | Self::SmallInt | Self::Numeric
            ),
            Self::Numeric => other == Self::Numeric,
            Self::Text | Self::Varchar => matches!(other, Self::Text | Self::Varchar),
            Self::Char => other == Self::Char,
            Self::Citext => false,
        }
    }
}

/// The type of a column, as far as it may be a tenant column's: `bigint`, or `domain bigint` for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The type, or the one below a domain.
    pub kind: KeyType,
    /// Whether it is a domain.
    pub domain: bool,
}

impl Key {
    /// A plain uuid.
    pub const UUID: Self = Self {
        kind: KeyType::Uuid,
        domain: false,
    };

    /// Returns the key type with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (name, domain) = match name.strip_prefix("domain ") {
            Some(base) => (base, true),
            None => (name, false),
        };
        let kind = ALL.into_iter().find(|kind| kind.as_str() == name)?;
        Some(Self { kind, domain })
    }

    /// Returns the key of the context's project or user, as the default of such a column.
    pub(super) fn other_default(self, what: &str) -> String {
        match self.kind {
            KeyType::Uuid => format!("tenancy.{what}_id()"),
            KeyType::BigInt | KeyType::Integer | KeyType::SmallInt | KeyType::Numeric => {
                format!("tenancy.{what}_key_bigint()")
            }
            KeyType::Text | KeyType::Varchar | KeyType::Char | KeyType::Citext => {
                format!("tenancy.{what}_key_text()")
            }
        }
    }

    /// Reads one of facts: NULL for a type that no key has.
    pub(crate) fn of_facts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        let name = Option::<String>::deserialize(from)?;
        Ok(name.and_then(|name| Self::parse(&name)))
    }
}

/// A column that policies name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its name as the server deparses it.
    pub quoted: &'a str,
    /// What it holds.
    pub key: Option<Key>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = if self.domain { "domain " } else { "" };
        write!(f, "{domain}{}", self.kind.as_str())
    }
}

/// Returns whether a text is a numeric without decimals as the server writes it, so that two texts are equal if their numbers are.
#[must_use]
pub fn is_whole(text: &str) -> bool {
    if text == "NaN" {
        return true;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain && (text == "0" || !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in ALL {
            for domain in [false, true] {
                let key = Key { kind, domain };
                assert_eq!(Key::parse(&key.to_string()), Some(key));
            }
        }
        for other in ["", "jsonb", "domain", "domain domain uuid", "Uuid"] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
    }

    #[test]
    fn whole_numbers_have_one_text() {
        for whole in [
            "0",
            "7",
            "-7",
            "10",
            "99999999999999999999999999999999999999",
        ] {
            assert!(is_whole(whole), "{whole}");
        }
        for other in [
            "", "-", "-0", "00", "07", "+7", "7.0", " 7", "7e3", "nan", "٧",
        ] {
            assert!(!is_whole(other), "{other}");
        }
    }
}
