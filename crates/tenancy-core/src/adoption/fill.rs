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
        let range = |row: &str| batch_range(row, first, end);
        self.statement(&format!("ONLY {part}"), &range)
    }

    /// Returns the statement that fills all rows.
    #[must_use]
    pub fn whole(&self, table: &Relation) -> String {
        self.statement(&table.to_string(), &|_| String::new())
    }

    /// Returns the queries that lock the rows that the wrong ones of these get their tenant from: they do not move to another tenant
    /// before the transaction ends. Rows without a tenant need none: who moves such a row fills them, too.
    #[must_use]
    pub fn locks(&self, part: &Relation, first: u32, end: u32) -> Vec<String> {
        let (FillFrom::Parents(parents), false) = (&self.from, self.only_missing) else {
            return Vec::new();
        };
        let (_, _, conditions) = self.wrong(parents);
        let range = batch_range("c", first, end);
        (parents.iter())
            .map(|parent| {
                let (above, row) = (&parent.relation, parent.is_row("p", "c"));
                let more = conditions.iter().filter(|condition| **condition != row);
                let all: Vec<&str> = std::iter::once(row.as_str())
                    .chain(more.map(String::as_str))
                    .collect();
                format!(
                    "SELECT 1 FROM ONLY {part} AS c, {above} AS p WHERE {}{range} FOR KEY SHARE OF p",
                    all.join(" AND ")
                )
            })
            .collect()
    }

    fn statement(&self, target: &str, range: &dyn Fn(&str) -> String) -> String {
        let column = quote_ident(&self.column);
        let (tenant, from, conditions) = match &self.from {
            FillFrom::Referrers(all) => {
                return referrers::fill(target, &self.column, &self.column_type, all, range);
            }
            FillFrom::Parents(parents) => self.wrong(parents),
        };
        format!(
            "UPDATE {target} AS c SET {column} = {tenant}{from} WHERE {}{}",
            conditions.join(" AND "),
            range("c")
        )
    }

    /// Returns the tenant of a row `c`, what else is read for it, and the conditions that it has another one.
    fn wrong(&self, parents: &[Parent]) -> (String, String, Vec<String>) {
        let column = quote_ident(&self.column);
        let (tenant, from, mut conditions) = match parents {
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
        };
        // A row whose parent has no tenant keeps its own.
        conditions.push(format!("{tenant} IS NOT NULL"));
        conditions.push(match self.only_missing {
            true => format!("c.{column} IS NULL"),
            false => format!("c.{column} IS DISTINCT FROM {tenant}"),
        });
        (tenant, from, conditions)
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

fn batch_range(row: &str, first: u32, end: u32) -> String {
    format!(" AND {row}.ctid >= '({first},0)' AND {row}.ctid < '({end},0)'")
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
