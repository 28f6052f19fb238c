//! What a plan has, as people write it.

use serde_json::{Map, Value};

use super::budgets::{PlanBudget, PlanMetric, budgets};
use super::definition::{Definitions, Fault, Type, members};
use super::limits::{LimitKind, PlanLimit, amounts, rates};
use super::resolve::placed;
use super::resources::resources;

/// The feature that the part `models` is.
const MODELS: &str = "models";

/// The names that a plan may use.
pub struct Names<'a> {
    /// The features.
    pub features: &'a Definitions,
    /// The settings.
    pub settings: &'a Definitions,
    /// Returns the kind of a limit.
    pub limit: &'a dyn Fn(&str) -> Option<LimitKind>,
    /// Returns a metric.
    pub metric: &'a dyn Fn(&str) -> Option<PlanMetric>,
}

/// What a plan has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Its limits of every kind.
    pub limits: Vec<PlanLimit>,
    /// Its budgets.
    pub budgets: Vec<PlanBudget>,
    /// The values of features.
    pub features: Map<String, Value>,
    /// The values of settings.
    pub settings: Map<String, Value>,
    /// Resources of the server, in milliseconds, kilobytes or a number.
    pub resources: Map<String, Value>,
}

/// Reads the contents of a plan.
pub fn parse(contents: &Value, names: &Names<'_>) -> Result<Contents, Fault> {
    let mut found = Contents::default();
    for (part, value) in members("contents", contents)? {
        match part.as_str() {
            "limits" => amounts(
                part,
                value,
                LimitKind::Amount,
                names.limit,
                &mut found.limits,
            )?,
            "slots" => amounts(
                part,
                value,
                LimitKind::Slots,
                names.limit,
                &mut found.limits,
            )?,
            "rates" => rates(part, value, names.limit, &mut found.limits)?,
            "budgets" => budgets(part, value, names.metric, &mut found.budgets)?,
            "features" => values(part, value, names.features, "feature", &mut found.features)?,
            "settings" => values(part, value, names.settings, "setting", &mut found.settings)?,
            "models" => models(value, names.features, &mut found.features)?,
            "resources" => found.resources = resources(part, value)?,
            _ => {
                let parts =
                    "limits, rates, slots, budgets, features, settings, models and resources";
                return Err(Fault::new(
                    part,
                    format!("is not a part of a plan; it may have {parts}"),
                ));
            }
        }
    }
    Ok(found)
}

fn values(
    part: &str,
    value: &Value,
    all: &Definitions,
    what: &str,
    found: &mut Map<String, Value>,
) -> Result<(), Fault> {
    for (name, value) in members(part, value)? {
        put(part, name, value, all, what, found)?;
    }
    Ok(())
}

fn put(
    part: &str,
    name: &str,
    value: &Value,
    all: &Definitions,
    what: &str,
    found: &mut Map<String, Value>,
) -> Result<(), Fault> {
    match placed(all, name, Some(value), found) {
        None => Err(Fault::new(
            &format!("{part}.{name}"),
            format!("is not the name of a {what}; the view tenancy.{what}_names shows them"),
        )),
        Some(Err(fault)) => Err(Fault::new(&format!("{part}.{}", fault.path), fault.what)),
        Some(Ok(with)) => {
            *found = with;
            Ok(())
        }
    }
}

fn models(
    value: &Value,
    features: &Definitions,
    found: &mut Map<String, Value>,
) -> Result<(), Fault> {
    match features.get(MODELS) {
        Some(definition) if definition.kind == Type::List => {
            definition.check_value(MODELS, value)?;
            found.insert(MODELS.to_owned(), value.clone());
            Ok(())
        }
        _ => Err(Fault::new(
            MODELS,
            "needs a feature \"models\" of type list; tenancy.define_feature() adds it",
        )),
    }
}
