//! The rows that a person may have to decide on: which to count.

use super::classify::classify;
use super::facts::{Choices, Decision, SchemaFacts};
use super::found::{Found, Kind, Parent};
use super::links::is_loose;
use super::referrers::ToCompare;
use super::schema::Schema;
use crate::policy::{Relation, quote_ident};

/// Rows of a table `t` to count before a schema is planned, as SQL conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToCount {
    /// The table.
    pub relation: Relation,
    /// Rows without a tenant.
    pub null: Option<String>,
    /// The column whose keys the table of tenants may not have.
    pub unknown: Option<String>,
    /// Rows that refer to a row that is not there.
    pub orphans: Option<String>,
}

/// Returns what must be counted before a schema is planned.
#[must_use]
pub fn to_count(facts: &SchemaFacts, choices: &Choices) -> Vec<ToCount> {
    let schema = Schema::new(facts, choices);
    let found = classify(facts, choices);
    let all: Vec<Option<Found>> = found.iter().cloned().map(Some).collect();
    (facts.tables.iter().zip(found))
        .filter(|(table, _)| table.protected_by.is_none() && schema.wrong_owner(table).is_none())
        .filter_map(|(table, found)| {
            let column = table.column(found.column.as_ref()?);
            let relation = table.relation.clone();
            let counted = match found.kind {
                Kind::TenantColumn => {
                    let column = column.filter(|column| schema.fits(column))?;
                    let missing = format!("t.{} IS NULL", quote_ident(&column.name));
                    let of_missing = |condition: String| format!("{missing} AND {condition}");
                    let may_miss = !column.not_null;
                    ToCount {
                        relation,
                        null: may_miss.then(|| of_missing(without_reference(&found.parents))),
                        unknown: schema
                            .is_unchecked(table, column)
                            .then(|| column.name.clone()),
                        orphans: orphans(&found.parents).filter(|_| may_miss).map(of_missing),
                    }
                }
                Kind::Child if !found.referrers.is_empty() => ToCount {
                    relation,
                    null: schema.not_of_one(&found, &all),
                    unknown: None,
                    orphans: None,
                },
                Kind::Child => ToCount {
                    relation,
                    null: is_loose(table, &found.parents)
                        .then(|| without_reference(&found.parents)),
                    unknown: None,
                    orphans: orphans(&found.parents),
                },
                _ => return None,
            };
            let is_needed =
                counted.null.is_some() || counted.unknown.is_some() || counted.orphans.is_some();
            is_needed.then_some(counted)
        })
        .collect()
}

/// Returns the tables of which it must be known whether tenants share their rows.
#[must_use]
pub fn to_compare(facts: &SchemaFacts, choices: &Choices) -> Vec<ToCompare> {
    let schema = Schema::new(facts, choices);
    let found = classify(facts, choices);
    let all: Vec<Option<Found>> = found.iter().cloned().map(Some).collect();
    (facts.tables.iter().zip(&found))
        .filter(|(table, found)| {
            let decided = choices
                .of(&table.relation)
                .is_some_and(Decision::leaves_alone);
            found.kind == Kind::Lookup && !decided && schema.wrong_owner(table).is_none()
        })
        .filter_map(|(table, _)| schema.compare(table, &all))
        .collect()
}

/// Returns the condition that a row `t` refers to a parent.
fn refers(parent: &Parent) -> String {
    let columns: Vec<String> = (parent.columns.iter())
        .map(|name| format!("t.{} IS NOT NULL", quote_ident(name)))
        .collect();
    columns.join(" AND ")
}

/// Returns the condition that a row `t` refers to none of its parents.
fn without_reference(parents: &[Parent]) -> String {
    let none: Vec<String> = parents
        .iter()
        .map(|parent| format!("NOT ({})", refers(parent)))
        .collect();
    match none.is_empty() {
        true => "true".to_owned(),
        false => none.join(" AND "),
    }
}

/// Returns the condition that the first parent that a row `t` refers to does not have that row; `None` where foreign keys say so.
fn orphans(parents: &[Parent]) -> Option<String> {
    let mut conditions = Vec::new();
    for (n, parent) in parents
        .iter()
        .enumerate()
        .filter(|(_, parent)| !parent.checked)
    {
        let pairs: Vec<String> = (parent.columns.iter().zip(&parent.ref_columns))
            .map(|(own, theirs)| format!("k.{} = t.{}", quote_ident(theirs), quote_ident(own)))
            .collect();
        let before = without_reference(parents.get(..n).unwrap_or_default());
        conditions.push(format!(
            "({before} AND {} AND NOT EXISTS (SELECT FROM {} k WHERE {}))",
            refers(parent),
            parent.relation,
            pairs.join(" AND ")
        ));
    }
    (!conditions.is_empty()).then(|| format!("({})", conditions.join(" OR ")))
}
