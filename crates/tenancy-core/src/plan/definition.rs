//! What a feature or a setting is, and which values it may have.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Map, Value};

/// The maximum length of a text, and the maximum number of elements of a list.
const LENGTH_MAX: usize = 10_000;
const ELEMENTS_MAX: usize = 1_000;
/// How deep an object may be.
const DEPTH_MAX: usize = 8;
/// The maximum length of a name.
const NAME_MAX: usize = 63;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// true or false.
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Number,
    /// A text.
    Text,
    /// One of some texts.
    Enum,
    /// Some texts, each once.
    List,
    /// An object. Its default value says which paths it has, and of which types.
    Json,
}

impl Type {
    /// Every type.
    pub const ALL: [Self; 7] = [
        Self::Boolean,
        Self::Integer,
        Self::Number,
        Self::Text,
        Self::Enum,
        Self::List,
        Self::Json,
    ];

    /// Returns its stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "text",
            Self::Enum => "enum",
            Self::List => "list",
            Self::Json => "json",
        }
    }

    /// Returns whether names go on below it: a path of an object, an element of a list.
    pub const fn has_parts(self) -> bool {
        matches!(self, Self::List | Self::Json)
    }
}

impl FromStr for Type {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|known| known.as_str() == text).ok_or(())
    }
}

/// What is wrong, and at which path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path, as in `rates.api[1].per`.
    pub path: String,
    /// What is wrong with the value there: the rest of a sentence.
    pub what: String,
}

impl Fault {
    pub(crate) fn new(path: &str, what: impl Into<String>) -> Self {
        Self {
            path: path.chars().take(200).collect(),
            what: what.into(),
        }
    }
}

/// A feature or a setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its type.
    pub kind: Type,
    /// The value without any other; null for none.
    pub default: Value,
    /// The least number, or length of a text.
    pub minimum: Option<f64>,
    /// The greatest number, or length of a text.
    pub maximum: Option<f64>,
    /// The texts that are allowed; empty for all.
    pub choices: Vec<String>,
}

/// Features or settings by their names.
pub type Definitions = BTreeMap<String, Definition>;

impl Definition {
    /// Checks the definition itself.
    pub fn check(&self) -> Result<(), Fault> {
        let texts = matches!(self.kind, Type::Enum | Type::List);
        if self.choices.is_empty() && self.kind == Type::Enum {
            return Err(Fault::new("choices", "must name the values of an enum"));
        }
        if !self.choices.is_empty() && !texts {
            return Err(Fault::new("choices", "are for the types enum and list"));
        }
        let ranged = matches!(self.kind, Type::Integer | Type::Number | Type::Text);
        if (self.minimum.is_some() || self.maximum.is_some()) && !ranged {
            return Err(Fault::new(
                "minimum and maximum",
                "are for the types integer, number and text",
            ));
        }
        if self.minimum > self.maximum && self.maximum.is_some() {
            return Err(Fault::new("minimum", "must not be above maximum"));
        }
        match (&self.default, self.kind) {
            (Value::Object(shape), Type::Json) if !shape.is_empty() => {
                check_shape("default_value", &self.default, 0)
            }
            (_, Type::Json) => Err(Fault::new(
                "default_value",
                "of type json must be an object with every path that a value may have",
            )),
            (Value::Null, _) => Ok(()),
            (value, _) => self.check_value("default_value", value),
        }
    }

    /// Checks a value. One of type json may have some of the paths.
    pub fn check_value(&self, path: &str, value: &Value) -> Result<(), Fault> {
        let wrong = || Err(Fault::new(path, format!("must be {}", self.wanted())));
        match (self.kind, value) {
            (Type::Boolean, Value::Bool(_)) => Ok(()),
            (Type::Integer, Value::Number(number)) => match number.as_i64() {
                Some(whole) if self.in_range(whole as f64) => Ok(()),
                _ => wrong(),
            },
            (Type::Number, Value::Number(number)) => match number.as_f64() {
                Some(number) if self.in_range(number) => Ok(()),
                _ => wrong(),
            },
            (Type::Text, Value::String(text)) => {
                let length = text.chars().count();
                match length <= LENGTH_MAX && self.in_range(length as f64) {
                    true => Ok(()),
                    false => wrong(),
                }
            }
            (Type::Enum, Value::String(text)) if self.choices.contains(text) => Ok(()),
            (Type::List, Value::Array(elements)) => self.check_elements(path, elements),
            (Type::Json, Value::Object(_)) => check_object(path, &self.default, value),
            _ => wrong(),
        }
    }

    fn check_elements(&self, path: &str, elements: &[Value]) -> Result<(), Fault> {
        if elements.len() > ELEMENTS_MAX {
            return Err(Fault::new(
                path,
                format!("has more than {ELEMENTS_MAX} elements"),
            ));
        }
        for (n, element) in elements.iter().enumerate() {
            let at = format!("{path}[{n}]");
            let Value::String(text) = element else {
                return Err(Fault::new(&at, "must be a text"));
            };
            if text.is_empty() || text.chars().count() > 200 {
                return Err(Fault::new(&at, "must have 1 to 200 characters"));
            }
            if !self.choices.is_empty() && !self.choices.contains(text) {
                return Err(Fault::new(
                    &at,
                    format!("must be {}", one_of(&self.choices)),
                ));
            }
            if elements.iter().take(n).any(|before| before == element) {
                return Err(Fault::new(&at, "is listed twice"));
            }
        }
        Ok(())
    }

    fn in_range(&self, number: f64) -> bool {
        self.minimum.is_none_or(|least| number >= least)
            && self.maximum.is_none_or(|most| number <= most)
    }

    fn wanted(&self) -> String {
        let what = match self.kind {
            Type::Boolean => return "true or false".to_owned(),
            Type::Integer => "a whole number",
            Type::Number => "a number",
            Type::Text => "a text",
            Type::Enum => return one_of(&self.choices),
            Type::List => return "an array of texts".to_owned(),
            Type::Json => return "an object".to_owned(),
        };
        let (of, from, unit) = match self.kind {
            Type::Text => (" of", " of", " characters"),
            _ => ("", " from", ""),
        };
        match (self.minimum, self.maximum) {
            (None, None) => what.to_owned(),
            (Some(least), None) => format!("{what}{of} {least}{unit} or more"),
            (None, Some(most)) => format!("{what}{of} {most}{unit} or less"),
            (Some(least), Some(most)) => format!("{what}{from} {least} to {most}{unit}"),
        }
    }
}

fn one_of(choices: &[String]) -> String {
    let shown: Vec<String> = choices
        .iter()
        .take(20)
        .map(|choice| format!("\"{choice}\""))
        .collect();
    format!("one of {}", shown.join(", "))
}

/// Checks the name of a feature or a setting: words with dots between them.
pub fn check_name(name: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
    };
    name.len() <= NAME_MAX && name.split('.').all(word)
}

/// Returns the definition that a name means, and the path or element below it, which may be empty.
pub fn find<'a, 'n>(
    all: &'a Definitions,
    name: &'n str,
) -> Option<(&'a str, &'a Definition, &'n str)> {
    if let Some((known, found)) = all.get_key_value(name) {
        return Some((known, found, ""));
    }
    name.match_indices('.').find_map(|(dot, _)| {
        let (known, found) = all.get_key_value(name.get(..dot)?)?;
        let rest = name.get(dot + 1..)?;
        let goes_on = found.kind.has_parts() && !rest.is_empty();
        goes_on.then_some((known.as_str(), found, rest))
    })
}

/// Returns a name that would be read for another one: one of them has parts, and the other begins with it.
pub fn clash<'a>(all: &'a Definitions, name: &str, kind: Type) -> Option<&'a str> {
    let below = |upper: &str, lower: &str| {
        lower
            .strip_prefix(upper)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    let mut known = all.iter();
    let clash = known.find(|(known, definition)| {
        (kind.has_parts() && below(name, known))
            || (definition.kind.has_parts() && below(known, name))
    });
    clash.map(|(known, _)| known.as_str())
}

fn check_shape(path: &str, shape: &Value, depth: usize) -> Result<(), Fault> {
    let Value::Object(members) = shape else {
        return Ok(());
    };
    if depth >= DEPTH_MAX {
        return Err(Fault::new(
            path,
            format!("is more than {DEPTH_MAX} objects deep"),
        ));
    }
    members.iter().try_for_each(|(key, member)| {
        let at = format!("{path}.{key}");
        if key.is_empty() || key.contains('.') || key.len() > NAME_MAX {
            return Err(Fault::new(
                &at,
                "must be a key of 1 to 63 characters without a dot",
            ));
        }
        check_shape(&at, member, depth + 1)
    })
}

/// Returns whether an object of a shape is open: it has no paths, so any object will do.
pub(super) fn is_open(shape: &Value) -> bool {
    shape.as_object().is_none_or(|members| members.is_empty())
}

/// Checks that an object has only paths of a shape, with values of the same types.
fn check_object(path: &str, shape: &Value, value: &Value) -> Result<(), Fault> {
    match (shape, value) {
        (Value::Object(known), Value::Object(members)) if !known.is_empty() => {
            members.iter().try_for_each(|(key, member)| {
                let at = format!("{path}.{key}");
                match known.get(key) {
                    Some(shape) => check_object(&at, shape, member),
                    None => Err(Fault::new(
                        &at,
                        "is not a path of the definition's default value",
                    )),
                }
            })
        }
        _ if fits(shape, value) => Ok(()),
        _ => Err(Fault::new(path, format!("must be {}", named(shape)))),
    }
}

/// Returns whether a value is of the type that a leaf of a shape has; a null allows all.
pub(super) fn fits(shape: &Value, value: &Value) -> bool {
    shape.is_null() || std::mem::discriminant(shape) == std::mem::discriminant(value)
}

fn named(shape: &Value) -> &'static str {
    match shape {
        Value::Null => "a value",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Returns the members of an object; an error if it is none.
pub(super) fn members<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Fault> {
    value
        .as_object()
        .ok_or_else(|| Fault::new(path, "must be an object"))
}
