//! The budgets of a plan, as people write them.

use serde_json::Value;

use super::definition::{Fault, members};
use crate::period::Period;
use crate::quantity;

/// A metric, as budgets see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanMetric {
    /// Its id.
    pub id: i32,
    /// Whether its events add up, so that it may have a budget.
    pub adds_up: bool,
}

/// A budget of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanBudget {
    /// The id of its metric; `None` for cost.
    pub metric: Option<i32>,
    /// How much, in millionths.
    pub amount: i64,
    /// In which period.
    pub period: Period,
    /// Whether more is refused.
    pub hard: bool,
}

/// Reads budgets, each with another metric or period.
pub(super) fn budgets(
    part: &str,
    value: &Value,
    metric_of: &dyn Fn(&str) -> Option<PlanMetric>,
    found: &mut Vec<PlanBudget>,
) -> Result<(), Fault> {
    let Value::Array(several) = value else {
        return Err(Fault::new(part, "must be an array"));
    };
    for (n, value) in several.iter().enumerate() {
        let path = format!("{part}[{n}]");
        let budget = budget(&path, value, metric_of)?;
        let same =
            |known: &PlanBudget| known.metric == budget.metric && known.period == budget.period;
        if found.iter().any(same) {
            return Err(Fault::new(
                &path,
                "has the metric and the period of one before",
            ));
        }
        found.push(budget);
    }
    Ok(())
}

fn budget(
    path: &str,
    value: &Value,
    metric_of: &dyn Fn(&str) -> Option<PlanMetric>,
) -> Result<PlanBudget, Fault> {
    let members = members(path, value)?;
    if let Some(missing) = ["metric", "amount"]
        .into_iter()
        .find(|key| !members.contains_key(*key))
    {
        return Err(Fault::new(&format!("{path}.{missing}"), "is missing"));
    }
    let mut budget = PlanBudget {
        metric: None,
        amount: 0,
        period: Period::Month,
        hard: true,
    };
    for (key, value) in members {
        let wrong = |what: &str| Err(Fault::new(&format!("{path}.{key}"), what));
        match (key.as_str(), value) {
            ("metric", Value::Null) => {}
            ("metric", Value::String(name)) => match metric_of(name) {
                Some(metric) if metric.adds_up => budget.metric = Some(metric.id),
                Some(_) => return wrong("is a metric that does not add up, which has no budget"),
                None => {
                    return wrong(
                        "is not the name of a metric; the view tenancy.metrics shows them",
                    );
                }
            },
            ("metric", _) => return wrong("must be the name of a metric, or null for cost"),
            ("amount", Value::Number(amount)) => match quantity::quantity(&amount.to_string()) {
                Ok(amount) => budget.amount = amount.millionths(),
                Err(_) => {
                    return wrong(
                        "must be a number from 0 to 9223372036854 with 6 digits after the point at most",
                    );
                }
            },
            ("amount", _) => return wrong("must be a number"),
            ("period", value) => match value.as_str().and_then(|period| period.parse().ok()) {
                Some(period) if !Period::needs_anchor(period) => budget.period = period,
                _ => {
                    return wrong("must be one of hour, day, week, month, quarter, year, total");
                }
            },
            ("hard", Value::Bool(hard)) => budget.hard = *hard,
            ("hard", _) => return wrong("must be true or false"),
            _ => {
                return wrong("is unknown; a budget of a plan has metric, amount, period and hard");
            }
        }
    }
    Ok(budget)
}
