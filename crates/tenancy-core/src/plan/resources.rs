//! The resources of the server that a plan allows, as people write them.

use serde_json::{Map, Value};

use super::definition::{Fault, members};

/// The unit of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Time, in milliseconds.
    Milliseconds,
    /// Memory, in kilobytes.
    Kilobytes,
    /// A number.
    Count,
}

/// The resources of the server: their names, units, and least and greatest values.
const RESOURCES: [(&str, Unit, i64, i64); 5] = [
    ("statement_timeout", Unit::Milliseconds, 1000, 2_147_483_647),
    (
        "idle_in_transaction_session_timeout",
        Unit::Milliseconds,
        1000,
        2_147_483_647,
    ),
    ("work_mem", Unit::Kilobytes, 64, 2_147_483_647),
    ("max_parallel_workers_per_gather", Unit::Count, 0, 1024),
    ("connections", Unit::Count, 1, 10_000),
];

pub(super) fn resources(part: &str, value: &Value) -> Result<Map<String, Value>, Fault> {
    let mut found = Map::new();
    for (name, value) in members(part, value)? {
        let path = format!("{part}.{name}");
        let known = RESOURCES.iter().find(|(known, ..)| known == name);
        let Some((_, unit, least, most)) = known else {
            let names: Vec<&str> = RESOURCES.iter().map(|(name, ..)| *name).collect();
            return Err(Fault::new(
                &path,
                format!("is not a resource; there are {}", names.join(", ")),
            ));
        };
        match measured(value, *unit).filter(|number| (least..=most).contains(&number)) {
            Some(number) => found.insert(name.clone(), number.into()),
            None => {
                let (unit, such) = match unit {
                    Unit::Milliseconds => (" milliseconds", ", or a text such as \"30s\""),
                    Unit::Kilobytes => (" kilobytes", ", or a text such as \"16MB\""),
                    Unit::Count => ("", ""),
                };
                return Err(Fault::new(
                    &path,
                    format!("must be a whole number from {least} to {most}{unit}{such}"),
                ));
            }
        };
    }
    Ok(found)
}

/// Reads a number of a unit, or a text with one and its unit, as the server's settings have them.
fn measured(value: &Value, unit: Unit) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let text = value.as_str()?.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: i64 = number.parse().ok()?;
    let factor = match (unit, suffix.trim()) {
        (Unit::Milliseconds, "" | "ms") | (Unit::Kilobytes, "" | "kB") | (Unit::Count, "") => 1,
        (Unit::Milliseconds, "s") => 1000,
        (Unit::Milliseconds, "min") => 60_000,
        (Unit::Milliseconds, "h") => 3_600_000,
        (Unit::Milliseconds, "d") => 86_400_000,
        (Unit::Kilobytes, "MB") => 1024,
        (Unit::Kilobytes, "GB") => 1024 * 1024,
        (Unit::Kilobytes, "TB") => 1024 * 1024 * 1024,
        _ => return None,
    };
    number.checked_mul(factor)
}
