//! Metrics: names, units, dimensions, and how events add up.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::excerpt::excerpt;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 63;
/// The longest unit, in characters.
pub const UNIT_MAX: usize = 40;
/// How many dimensions a metric has at most.
pub const DIMENSIONS_MAX: usize = 8;
/// The longest value of a dimension, in bytes.
pub const VALUE_MAX: usize = 200;
/// The largest attributes of an event, in bytes as they are stored.
pub const ATTRIBUTES_MAX: usize = 16 * 1024;
/// The longest idempotency key, in bytes.
pub const KEY_MAX: usize = 500;

/// How events add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// The sum of their quantities.
    Sum,
    /// Their largest quantity.
    Max,
    /// Their number.
    Count,
    /// The number of different values.
    Distinct,
}

impl Aggregation {
    const ALL: [Self; 4] = [Self::Sum, Self::Max, Self::Count, Self::Distinct];

    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Count => "count",
            Self::Distinct => "distinct",
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Aggregation {
    type Err = MetricError;

    fn from_str(text: &str) -> Result<Self, MetricError> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| MetricError::Aggregation(excerpt(text)))
    }
}

/// What happens to an event whose price is not known, and that names no cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPrice {
    /// It is refused where a budget counts its cost; else recorded at cost 0 and listed.
    #[default]
    RefuseIfBudgeted,
    /// It is refused.
    Refuse,
    /// It is recorded at cost 0 and listed.
    Free,
}

impl UnknownPrice {
    const ALL: [Self; 3] = [Self::RefuseIfBudgeted, Self::Refuse, Self::Free];

    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RefuseIfBudgeted => "refuse_if_budgeted",
            Self::Refuse => "refuse",
            Self::Free => "free",
        }
    }

    /// Returns the one of this name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// Why a definition or an event is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// Not a metric's name.
    #[error("{0:?} is not a metric's name")]
    Name(String),
    /// Not a unit.
    #[error("unit must have 1 to {UNIT_MAX} characters and no control characters")]
    Unit,
    /// Not one of the four.
    #[error("{0:?} is not an aggregation")]
    Aggregation(String),
    /// Not a dimension's name.
    #[error("{0:?} is not a dimension's name")]
    Dimension(String),
    /// The same dimension twice.
    #[error("dimension {0:?} is named twice")]
    Twice(String),
    /// Too many dimensions.
    #[error("a metric has {DIMENSIONS_MAX} dimensions at most")]
    TooMany,
    /// An event's value of a dimension.
    #[error(
        "the value of {0:?} must be a text, a number or a boolean of {VALUE_MAX} bytes at most"
    )]
    Value(String),
    /// An event of a metric that counts values, without one.
    #[error("attributes must have {0:?}, whose values are counted")]
    NoValue(String),
    /// Attributes that are no object or too large.
    #[error("attributes must be a JSON object of 16 kB at most")]
    Attributes,
    /// An empty or long idempotency key.
    #[error("idempotency_key must have 1 to {KEY_MAX} bytes")]
    Key,
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= NAME_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
}

/// Checks the name of a metric: `a-z 0-9 _ .` after a letter, as in `llm.tokens`.
pub fn check_name(name: &str) -> Result<(), MetricError> {
    if is_name(name) {
        Ok(())
    } else {
        Err(MetricError::Name(excerpt(name)))
    }
}

/// Checks the unit of a metric.
pub fn check_unit(unit: &str) -> Result<(), MetricError> {
    let chars = unit.chars().count();
    if (1..=UNIT_MAX).contains(&chars) && !unit.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(MetricError::Unit)
    }
}

/// Levels and other names that `usage()` can break usage down by, which are reserved names for dimensions.
const LEVELS: [&str; 6] = [
    "platform", "partner", "tenant", "project", "user", "api_key",
];

/// Checks the dimensions of a metric.
pub fn check_dimensions(dimensions: &[String]) -> Result<(), MetricError> {
    if dimensions.len() > DIMENSIONS_MAX {
        return Err(MetricError::TooMany);
    }
    for (n, name) in dimensions.iter().enumerate() {
        if !is_name(name) || LEVELS.contains(&name.as_str()) {
            return Err(MetricError::Dimension(excerpt(name)));
        }
        if dimensions.iter().take(n).any(|earlier| earlier == name) {
            return Err(MetricError::Twice(excerpt(name)));
        }
    }
    Ok(())
}

/// Returns the hash of a text, to compare texts of any length.
#[must_use]
pub fn hash(text: &[u8]) -> Uuid {
    let digest = Sha256::digest(text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

/// Returns a dimension's value as the stored text; `None` if the attributes have none.
pub fn dimension_value(
    name: &str,
    value: Option<&serde_json::Value>,
) -> Result<Option<String>, MetricError> {
    use serde_json::Value::{Bool, Null, Number, String};
    let text = match value {
        None | Some(Null) => return Ok(None),
        Some(String(text)) => text.clone(),
        Some(Number(number)) => number.to_string(),
        Some(Bool(value)) => value.to_string(),
        Some(_) => return Err(MetricError::Value(excerpt(name))),
    };
    if text.len() > VALUE_MAX {
        return Err(MetricError::Value(excerpt(name)));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names() {
        for name in ["tokens", "llm.tokens", "a", "gpu_hours2"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "1a",
            "_a",
            ".a",
            "A",
            "a b",
            "a-b",
            "é",
            &"a".repeat(64),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn units_and_aggregations() {
        assert_eq!(check_unit("GB·h"), Ok(()));
        for unit in ["", "a\nb", &"é".repeat(41)] {
            assert_eq!(check_unit(unit), Err(MetricError::Unit));
        }
        for one in Aggregation::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert!("avg".parse::<Aggregation>().is_err());
        for one in UnknownPrice::ALL {
            assert_eq!(UnknownPrice::named(one.as_str()), Some(one));
        }
        assert_eq!(UnknownPrice::named(""), None);
    }

    #[test]
    fn dimensions() {
        let check = |names: &[&str]| {
            check_dimensions(
                &names
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(check(&["model", "region"]), Ok(()));
        assert_eq!(check(&["a", "a"]), Err(MetricError::Twice("a".into())));
        assert_eq!(check(&["user"]), Err(MetricError::Dimension("user".into())));
        assert_eq!(check(&["a b"]), Err(MetricError::Dimension("a b".into())));
        let many: Vec<String> = (0..9).map(|n| format!("d{n}")).collect();
        assert_eq!(check_dimensions(&many), Err(MetricError::TooMany));
    }

    #[test]
    fn values_are_texts() {
        let value = |value| dimension_value("d", Some(&value));
        assert_eq!(value(json!("x")), Ok(Some("x".into())));
        assert_eq!(value(json!(7)), Ok(Some("7".into())));
        assert_eq!(value(json!(true)), Ok(Some("true".into())));
        assert_eq!(value(json!(null)), Ok(None));
        assert_eq!(dimension_value("d", None), Ok(None));
        for bad in [json!([]), json!({}), json!("x".repeat(201))] {
            assert_eq!(value(bad), Err(MetricError::Value("d".into())));
        }
    }
}
