//! The rows that a person may have to decide on: which to count.

use super::classify::classify;
use super::facts::{Choices, Decision, NullRows, OfEach, SchemaFacts, Table};
use super::found::{Found, Kind, Parent};
use super::links::is_loose;
use super::referrers::ToCompare;
use super::schema::Schema;
use crate::policy::{Relation, quote_ident};

/// Numbers of rows of a table `t` that must be known before a schema is planned, as SQL expressions.
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
    /// Rows without a tenant that refer to a tenant's row elsewhere.
    pub elsewhere: Option<String>,
    /// Rows whose parents have different tenants.
    pub disagree: Option<String>,
    /// Keys of unique indexes that several rows have once the tenant column is filled.
    pub clashes: Option<String>,
    /// The key of one of these rows, or one of these keys, as a text; of rows whose key no tenant has by their condition.
    pub examples: OfEach<String>,
    /// Whether its rows get their tenant from other tables.
    pub reads_others: bool,
}

impl ToCount {
    /// Returns whether there is something to count.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        let numbers = [
            &self.null,
            &self.unknown,
            &self.orphans,
            &self.elsewhere,
            &self.disagree,
            &self.clashes,
        ];
        numbers.iter().any(|number| number.is_some())
    }
}

/// Returns what must be counted before a schema is planned.
#[must_use]
pub fn to_count(facts: &SchemaFacts, choices: &Choices) -> Vec<ToCount> {
    let schema = Schema::new(facts, choices);
    let all: Vec<Option<Found>> = classify(facts, choices).into_iter().map(Some).collect();
    (facts.tables.iter().zip(all.iter().flatten()))
        .filter(|(table, _)| table.protected_by.is_none() && schema.wrong_owner(table).is_none())
        .filter_map(|(table, found)| schema.counted(table, found, &all))
        .collect()
}

/// Returns the tables of which it must be known whether tenants share their rows.
#[must_use]
pub fn to_compare(facts: &SchemaFacts, choices: &Choices) -> Vec<ToCompare> {
    let schema = Schema::new(facts, choices);
    let all: Vec<Option<Found>> = classify(facts, choices).into_iter().map(Some).collect();
    (facts.tables.iter().zip(all.iter().flatten()))
        .filter(|(table, found)| {
            let decided = choices
                .of(&table.relation)
                .is_some_and(Decision::leaves_alone);
            found.kind == Kind::Lookup && !decided && schema.wrong_owner(table).is_none()
        })
        .filter_map(|(table, _)| schema.compare(table, &all))
        .collect()
}

/// Returns the condition that one of these holds.
fn any_of(conditions: &[String]) -> String {
    let all: Vec<String> = conditions.iter().map(|c| format!("({c})")).collect();
    all.join(" OR ")
}

/// Returns the condition that all of these hold.
fn all_of(conditions: Vec<String>) -> String {
    match conditions.is_empty() {
        true => "true".to_owned(),
        false => conditions.join(" AND "),
    }
}

impl Schema<'_> {
    fn counted(&self, table: &Table, found: &Found, all: &[Option<Found>]) -> Option<ToCount> {
        let count = |condition: &str| {
            format!(
                "(SELECT count(*) FROM {} t WHERE {condition})",
                table.relation
            )
        };
        let mut out = ToCount {
            relation: table.relation.clone(),
            null: None,
            unknown: None,
            orphans: None,
            elsewhere: None,
            disagree: None,
            clashes: None,
            examples: OfEach::default(),
            reads_others: found.parents.len() + found.referrers.len() > 0,
        };
        // The rows that have no tenant of their own.
        let open = match found.kind {
            Kind::TenantColumn => {
                let column = table
                    .column(found.column.as_ref()?)
                    .filter(|column| self.fits(column))?;
                out.unknown = self
                    .is_unchecked(table, column)
                    .then(|| column.name.clone());
                (!column.not_null).then(|| format!("t.{} IS NULL", quote_ident(&column.name)))
            }
            // A row that was filled keeps its tenant.
            Kind::Child => Some(
                match found
                    .column
                    .as_ref()
                    .filter(|name| table.column(name).is_some())
                {
                    Some(name) => format!("t.{} IS NULL", quote_ident(name)),
                    None => "true".to_owned(),
                },
            ),
            _ => return None,
        };
        // Another owner's tables are not read: its plan says so.
        let tables = (found.parents.iter())
            .chain(&found.others)
            .chain(&found.referrers);
        let may_read = self.may_read(tables);
        if let Some(open) = open.filter(|_| may_read) {
            let mut conditions: OfEach<String> = OfEach::default();
            if !found.referrers.is_empty() {
                out.null = self.not_of_one(&table.relation, found, all);
            } else if is_loose(table, &found.parents) {
                let none = self.without_tenant_of(found, all);
                conditions.null = Some(format!("{open} AND {none}"));
            }
            let orphans = orphans(&found.parents);
            // A row is the orphan of one parent.
            conditions.orphans =
                (!orphans.is_empty()).then(|| format!("{open} AND ({})", any_of(&orphans)));
            if self.null_rows(table).0 == NullRows::Share
                || found.parents.iter().any(|parent| parent.may_miss)
            {
                conditions.elsewhere = self
                    .elsewhere(found, all)
                    .map(|condition| format!("{open} AND {condition}"));
            }
            conditions.disagree = self
                .disagree(found, all)
                .map(|condition| format!("{open} AND ({condition})"));
            out.null = out.null.or(conditions.null.as_deref().map(count));
            out.orphans = conditions.orphans.as_deref().map(count);
            out.elsewhere = conditions.elsewhere.as_deref().map(count);
            out.disagree = conditions.disagree.as_deref().map(count);
            let one = |condition: &String| table.example(condition);
            out.examples = OfEach::from_all(conditions.all().map(|condition| condition.map(one)));
            if let Some((clashes, example)) = self.clashes(table, found, all) {
                (out.clashes, out.examples.clashes) = (Some(clashes), Some(example));
            }
        }
        (out.reads_others || out.has_numbers()).then_some(out)
    }

    /// Returns the condition that a row `t` has no tenant from its parents.
    fn without_tenant_of(&self, found: &Found, all: &[Option<Found>]) -> String {
        let none: Vec<String> = (found.parents.iter())
            .map(|parent| {
                match self
                    .tenant_through(parent, "t", all)
                    .filter(|_| parent.may_miss)
                {
                    // An orphan is counted as one.
                    Some(tenant) if !parent.checked => format!(
                        "(NOT ({}) OR {tenant} IS NULL AND {})",
                        parent.refers("t"),
                        exists(parent)
                    ),
                    Some(tenant) => format!("(NOT ({}) OR {tenant} IS NULL)", parent.refers("t")),
                    None => format!("NOT ({})", parent.refers("t")),
                }
            })
            .collect();
        all_of(none)
    }

    /// Returns the condition that a row `t` has no tenant, but refers to a tenant's row by a link that does not count.
    fn elsewhere(&self, found: &Found, all: &[Option<Found>]) -> Option<String> {
        let through = |parent: &Parent| match self.tenant_through(parent, "t", all) {
            Some(tenant) => format!("{tenant} IS NOT NULL"),
            None => format!("({})", parent.refers("t")),
        };
        let none = self.without_tenant_of(found, all);
        let others: Vec<String> = found.others.iter().map(through).collect();
        (!others.is_empty()).then(|| format!("{none} AND ({})", others.join(" OR ")))
    }

    /// Returns the condition that two parents of a row `t` have different tenants.
    fn disagree(&self, found: &Found, all: &[Option<Found>]) -> Option<String> {
        let mut conditions = Vec::new();
        for (n, one) in found.parents.iter().enumerate() {
            for other in found.parents.iter().skip(n + 1) {
                let tenants = (
                    self.tenant_through(one, "t", all),
                    self.tenant_through(other, "t", all),
                );
                let differ = match tenants {
                    (Some(a), Some(b)) => format!(" AND {a} <> {b}"),
                    _ => String::new(),
                };
                conditions.push(format!(
                    "{} AND {}{differ}",
                    one.refers("t"),
                    other.refers("t")
                ));
            }
        }
        (!conditions.is_empty()).then(|| conditions.join(" OR "))
    }
}

/// Returns the condition that the row that a row `t` refers to is there.
fn exists(parent: &Parent) -> String {
    format!(
        "EXISTS (SELECT FROM {} k WHERE {})",
        parent.relation,
        parent.is_row("k", "t")
    )
}

/// Returns, for each parent of which no foreign key says that it has the rows, the condition that it is the first that a row `t`
/// refers to, and does not have that row.
fn orphans(parents: &[Parent]) -> Vec<String> {
    (parents.iter().enumerate())
        .filter(|(_, parent)| !parent.checked)
        .map(|(n, parent)| {
            let before = parents.iter().take(n);
            let before = before.map(|parent| format!("NOT ({})", parent.refers("t")));
            format!(
                "{} AND {} AND NOT {}",
                all_of(before.collect()),
                parent.refers("t"),
                exists(parent)
            )
        })
        .collect()
}
