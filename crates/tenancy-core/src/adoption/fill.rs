//! The statements that fill a tenant column, and the arguments of the trigger that goes on.

use super::found::Parent;
use super::{filled, referrers};
use crate::policy::{Relation, quote_ident};

/// A tenant column that is filled from other tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The column.
    pub column: String,
    /// Its type, with its length.
    pub column_type: String,
    /// Whether only rows without a tenant are filled: the application writes the column.
    pub only_missing: bool,
    /// Where its values come from.
    pub from: FillFrom,
}

/// Where the values of a tenant column come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FillFrom {
    /// The first of the tables that a row refers to which gives it a tenant.
    Parents(Vec<Parent>),
    /// The tables whose rows refer to it.
    Referrers(Vec<Parent>),
}

impl Fill {
    /// Returns the tables that the values come from.
    #[must_use]
    pub fn sources(&self) -> &[Parent] {
        match &self.from {
            FillFrom::Parents(sources) | FillFrom::Referrers(sources) => sources,
        }
    }

    /// Returns the statement that fills some rows of a table, or of a part of it: those of a range of blocks.
    #[must_use]
    pub fn batch(&self, part: &Relation, first: u32, end: u32) -> String {
        let range =
            |row: &str| format!(" AND {row}.ctid >= '({first},0)' AND {row}.ctid < '({end},0)'");
        self.statement(&format!("ONLY {part}"), &range)
    }

    /// Returns the statement that fills all rows.
    #[must_use]
    pub fn whole(&self, table: &Relation) -> String {
        self.statement(&table.to_string(), &|_| String::new())
    }

    fn statement(&self, target: &str, range: &dyn Fn(&str) -> String) -> String {
        let column = quote_ident(&self.column);
        let (tenant, from, mut conditions) = match &self.from {
            FillFrom::Referrers(all) => {
                return referrers::fill(target, &self.column, &self.column_type, all, range);
            }
            FillFrom::Parents(parents) => match parents.as_slice() {
                // A join is faster.
                [parent] => (
                    self.tenant(parent),
                    format!(" FROM {} AS p", parent.relation),
                    vec![parent.is_row("p", "c")],
                ),
                several => {
                    let tenants: Vec<String> = (several.iter())
                        .map(|parent| {
                            let (tenant, row) = (self.tenant(parent), parent.is_row("p", "c"));
                            format!(
                                "(SELECT {tenant} FROM {} AS p WHERE {row})",
                                parent.relation
                            )
                        })
                        .collect();
                    let tenant = format!("coalesce({})", tenants.join(", "));
                    (tenant, String::new(), Vec::new())
                }
            },
        };
        // A row whose parent has no tenant keeps its own.
        conditions.push(format!("{tenant} IS NOT NULL"));
        conditions.push(match self.only_missing {
            true => format!("c.{column} IS NULL"),
            false => format!("c.{column} IS DISTINCT FROM {tenant}"),
        });
        format!(
            "UPDATE {target} AS c SET {column} = {tenant}{from} WHERE {}{}",
            conditions.join(" AND "),
            range("c")
        )
    }

    /// Returns the tenant of a parent's row `p` in the column's type; NULL if it does not fit.
    fn tenant(&self, parent: &Parent) -> String {
        let theirs = format!("p.{}", quote_ident(&parent.tenant_column));
        if parent.tenant_type == self.column_type {
            return theirs;
        }
        // A cast to a shorter type would cut a key into another one.
        let cast = format!("{theirs}::text::{}", self.column_type);
        format!("CASE WHEN {cast}::text = {theirs}::text THEN {cast} END")
    }
}

/// Returns the trigger's arguments for a column that is filled from these parents.
pub fn arguments(column: &str, added: bool, parents: &[Parent]) -> Vec<String> {
    let mut out = vec![
        column.to_owned(),
        if added { filled::ADDED } else { filled::OWN }.to_owned(),
    ];
    for (n, parent) in parents.iter().enumerate() {
        if n > 0 {
            out.push(String::new());
        }
        out.push(parent.relation.schema.clone());
        out.push(parent.relation.name.clone());
        out.push(parent.tenant_column.clone());
        out.push(format!(
            "{}{}",
            filled::KEY,
            parent.key.as_deref().unwrap_or("")
        ));
        for (own, theirs) in parent.columns.iter().zip(&parent.ref_columns) {
            out.extend([own.clone(), theirs.clone()]);
        }
    }
    out
}
