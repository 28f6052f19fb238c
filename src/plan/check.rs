//! Rules of core, for SQL to ask before it writes.

use std::collections::HashMap;

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use tenancy_core::plan::{self, Definition, Fault, LimitKind, Names, PlanMetric, Type};

use super::definitions::{self, Of};
use crate::error::{Error, ErrorReport};
use crate::pg::bounded;
use crate::pg::spi::{self, NotNull};

fn wrong(fault: Fault) -> Error {
    Error::WrongValue {
        path: fault.path,
        what: fault.what,
    }
}

/// Raises an error if a feature or a setting cannot be defined so.
#[pg_extern(sql = false)]
fn _check_option(
    kind: &str,
    name: &str,
    type_name: &str,
    default_value: Option<bounded::Json>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    choices: Option<bounded::Texts>,
) -> Result<bool, ErrorReport> {
    let of = Of::named(kind)?;
    if !plan::check_name(name) {
        Err(Error::bad(
            format!(
                "\"{}\" is not a name of a {kind}",
                name.chars().take(80).collect::<String>()
            ),
            "A name has up to 63 lower-case letters, digits, hyphens and underscores, and dots between words that begin with a letter.",
        ))?;
    }
    let found: Type = type_name.parse().map_err(|()| {
        Error::bad(
            format!(
                "\"{}\" is not a type",
                type_name.chars().take(80).collect::<String>()
            ),
            "Types are boolean, integer, number, text, enum, list and json.",
        )
    })?;
    let choices = choices.map_or_else(Vec::new, |choices| choices.0);
    let definition = Definition {
        kind: found,
        default: default_value.map(|json| json.0).unwrap_or_default(),
        minimum,
        maximum,
        choices: choices
            .into_iter()
            .collect::<Option<Vec<String>>>()
            .ok_or(Error::Null("an element of choices"))?,
    };
    definition.check().map_err(wrong)?;
    let all = definitions::all()?;
    if let Some(other) = plan::clash(all.of(of), name, found) {
        Err(Error::bad(
            format!("\"{name}\" and \"{other}\" could not be told apart"),
            "Names go on below one of type json or list, with its paths or elements. Choose a name that begins with another word.",
        ))?;
    }
    Ok(true)
}

/// Returns the values of a scope with one more, or without it.
#[pg_extern(sql = false)]
fn _place_option(
    kind: &str,
    name: &str,
    value: Option<bounded::Json>,
    own: JsonB,
) -> Result<JsonB, ErrorReport> {
    let of = Of::named(kind)?;
    let none = Map::new();
    let own = own.0.as_object().unwrap_or(&none);
    let value = value.map(|value| value.0);
    let placed = plan::placed(definitions::all()?.of(of), name, value.as_ref(), own);
    let placed = placed.ok_or_else(|| of.not_found(name))?.map_err(wrong)?;
    Ok(JsonB(Value::Object(placed)))
}

/// Returns the contents of a plan as they are stored; an error if anything in them is wrong.
#[pg_extern(sql = false)]
fn _plan_contents(contents: bounded::Json) -> Result<JsonB, ErrorReport> {
    let kinds = limit_kinds()?;
    let known = definitions::all()?;
    let metrics = metrics()?;
    let names = Names {
        features: known.of(Of::Feature),
        settings: known.of(Of::Setting),
        limit: &|name| kinds.get(name).copied(),
        metric: &|name| metrics.get(name).copied(),
    };
    let found = plan::parse(&contents.0, &names).map_err(wrong)?;
    let budgets = found.budgets.into_iter().map(|budget| {
        json!({
            "metric_id": budget.metric,
            "amount": budget.amount,
            "period": budget.period.as_str(),
            "hard": budget.hard,
        })
    });
    let limits = found.limits.into_iter().map(|limit| {
        json!({
            "name": limit.name,
            "level": limit.level,
            "per": limit.per,
            "amount": limit.amount,
            "burst": limit.burst,
        })
    });
    Ok(JsonB(json!({
        "limits": limits.collect::<Vec<_>>(),
        "budgets": budgets.collect::<Vec<_>>(),
        "features": found.features,
        "settings": found.settings,
        "resources": found.resources,
    })))
}

fn limit_kinds() -> Result<HashMap<String, LimitKind>, Error> {
    spi::read(
        "SELECT name, kind FROM tenancy_internal.limit_definitions",
        &[],
        |rows| {
            let each = rows.into_iter().map(|row| {
                let kind = LimitKind::named(&row.not_null::<String>(2)?);
                Ok((
                    row.not_null(1)?,
                    kind.ok_or(Error::Internal("a limit of no known kind"))?,
                ))
            });
            each.collect()
        },
    )
}

fn metrics() -> Result<HashMap<String, PlanMetric>, Error> {
    spi::read(
        "SELECT name, id, aggregation IN ('sum', 'count') FROM tenancy_internal.metric_definitions",
        &[],
        |rows| {
            let each = rows.into_iter().map(|row| {
                let metric = PlanMetric {
                    id: row.not_null(2)?,
                    adds_up: row.not_null(3)?,
                };
                Ok((row.not_null(1)?, metric))
            });
            each.collect()
        },
    )
}
