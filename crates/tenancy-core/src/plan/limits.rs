//! The limits of a plan, as people write them.

use serde_json::Value;

use super::definition::{Fault, members};

/// The levels that a plan's limits may be for.
const LEVELS: [&str; 4] = ["tenant", "project", "user", "api_key"];
/// The times of a rate.
const TIMES: [&str; 4] = ["second", "minute", "hour", "day"];
/// The widest limits: of amounts, and of rates and slots.
const AMOUNT_MAX: i64 = 9_000_000_000_000_000;
const COUNT_MAX: i64 = 1_000_000_000;

/// The kind of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// So much in a time.
    Rate,
    /// So many at once.
    Slots,
    /// So much in all.
    Amount,
}

impl LimitKind {
    /// Returns the kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self::Rate,
            "slots" => Self::Slots,
            "amount" => Self::Amount,
            _ => return None,
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Slots => "slots",
            Self::Amount => "amount",
        }
    }
}

/// A limit of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanLimit {
    /// Its name.
    pub name: String,
    /// For each scope of which level in the tenant.
    pub level: String,
    /// Of a rate: in which time.
    pub per: Option<String>,
    /// How much; `None`: not limited.
    pub amount: Option<i64>,
    /// Of a rate: how much at once.
    pub burst: Option<i64>,
}

/// Returns a number from `least` to `most`, or none for null.
fn whole(path: &str, value: &Value, least: i64, most: i64) -> Result<Option<i64>, Fault> {
    match value {
        Value::Null => Ok(None),
        _ => match value.as_i64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => {
                let what =
                    format!("must be a whole number from {least} to {most}, or null for no limit");
                Err(Fault::new(path, what))
            }
        },
    }
}

fn require_kind(
    path: &str,
    name: &str,
    wanted: LimitKind,
    kind_of: &dyn Fn(&str) -> Option<LimitKind>,
) -> Result<(), Fault> {
    match kind_of(name) {
        None => Err(Fault::new(
            path,
            "is not the name of a limit; the view tenancy.limit_names shows them",
        )),
        Some(kind) if kind == wanted => Ok(()),
        Some(kind) => Err(Fault::new(
            path,
            format!(
                "is a limit of kind {}, not {}",
                kind.as_str(),
                wanted.as_str()
            ),
        )),
    }
}

fn require_level(path: &str, level: &str) -> Result<(), Fault> {
    match LEVELS.contains(&level) {
        true => Ok(()),
        false => Err(Fault::new(
            path,
            format!("must be one of {}", LEVELS.join(", ")),
        )),
    }
}

/// Reads limits of kind amount or slots: a number for the tenant, or one for each of some levels.
pub(super) fn amounts(
    part: &str,
    value: &Value,
    kind: LimitKind,
    kind_of: &dyn Fn(&str) -> Option<LimitKind>,
    found: &mut Vec<PlanLimit>,
) -> Result<(), Fault> {
    let most = if kind == LimitKind::Amount {
        AMOUNT_MAX
    } else {
        COUNT_MAX
    };
    for (name, value) in members(part, value)? {
        let path = format!("{part}.{name}");
        require_kind(&path, name, kind, kind_of)?;
        let mut add = |path: &str, level: &str, value: &Value| {
            require_level(path, level)?;
            found.push(PlanLimit {
                name: name.clone(),
                level: level.to_owned(),
                per: None,
                amount: whole(path, value, 0, most)?,
                burst: None,
            });
            Ok(())
        };
        match value {
            Value::Object(levels) => {
                for (level, value) in levels {
                    add(&format!("{path}.{level}"), level, value)?;
                }
            }
            value => add(&path, "tenant", value)?,
        }
    }
    Ok(())
}

/// Reads rates: an object, or several in an array.
pub(super) fn rates(
    part: &str,
    value: &Value,
    kind_of: &dyn Fn(&str) -> Option<LimitKind>,
    found: &mut Vec<PlanLimit>,
) -> Result<(), Fault> {
    for (name, value) in members(part, value)? {
        let path = format!("{part}.{name}");
        require_kind(&path, name, LimitKind::Rate, kind_of)?;
        let Value::Array(several) = value else {
            found.push(rate(&path, name, value)?);
            continue;
        };
        for (n, value) in several.iter().enumerate() {
            let at = format!("{path}[{n}]");
            let rate = rate(&at, name, value)?;
            let same = |known: &PlanLimit| {
                known.name == rate.name && known.level == rate.level && known.per == rate.per
            };
            if found.iter().any(same) {
                return Err(Fault::new(&at, "has the level and the time of one before"));
            }
            found.push(rate);
        }
    }
    Ok(())
}

fn rate(path: &str, name: &str, value: &Value) -> Result<PlanLimit, Fault> {
    let members = members(path, value)?;
    if !members.contains_key("rate") {
        return Err(Fault::new(&format!("{path}.rate"), "is missing"));
    }
    let mut rate = PlanLimit {
        name: name.to_owned(),
        level: "tenant".to_owned(),
        per: Some("second".to_owned()),
        amount: None,
        burst: None,
    };
    for (key, value) in members {
        let at = format!("{path}.{key}");
        match (key.as_str(), value.as_str()) {
            ("rate", _) => rate.amount = whole(&at, value, 0, COUNT_MAX)?,
            ("burst", _) => rate.burst = whole(&at, value, 1, COUNT_MAX)?,
            ("per", Some(per)) if TIMES.contains(&per) => rate.per = Some(per.to_owned()),
            ("per", _) => {
                return Err(Fault::new(
                    &at,
                    format!("must be one of {}", TIMES.join(", ")),
                ));
            }
            ("level", level) => {
                require_level(&at, level.unwrap_or_default())?;
                rate.level = level.unwrap_or_default().to_owned();
            }
            _ => {
                return Err(Fault::new(
                    &at,
                    "is unknown; a rate has rate, per, burst and level",
                ));
            }
        }
    }
    match rate {
        PlanLimit {
            amount: None,
            burst: Some(_),
            ..
        } => Err(Fault::new(
            &format!("{path}.burst"),
            "is for a rate that is not null",
        )),
        rate => Ok(rate),
    }
}
