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
    /// The table that a row refers to, if it refers to none that goes before.
    Parent {
        /// The table.
        parent: Parent,
        /// The columns that refer to those before it.
        before: Vec<Vec<String>>,
    },
    /// The tables whose rows refer to it.
    Referrers(Vec<Parent>),
}

impl Fill {
    /// Returns the tables that the values come from.
    #[must_use]
    pub fn sources(&self) -> &[Parent] {
        match &self.from {
            FillFrom::Parent { parent, .. } => std::slice::from_ref(parent),
            FillFrom::Referrers(referrers) => referrers,
        }
    }

    /// Returns the statement that fills some rows of a table, or of a part of it: those of a range of blocks.
    #[must_use]
    pub fn batch(&self, part: &Relation, first: u32, end: u32) -> String {
        let range = format!(" AND c.ctid >= '({first},0)' AND c.ctid < '({end},0)'");
        self.statement(&format!("ONLY {part}"), &range)
    }

    /// Returns the statement that fills all rows.
    #[must_use]
    pub fn whole(&self, table: &Relation) -> String {
        self.statement(&table.to_string(), "")
    }

    fn statement(&self, target: &str, range: &str) -> String {
        match &self.from {
            FillFrom::Parent { parent, before } => self.of_parent(target, parent, before, range),
            FillFrom::Referrers(all) => {
                referrers::fill(target, &self.column, &self.column_type, all, range)
            }
        }
    }

    fn of_parent(
        &self,
        target: &str,
        parent: &Parent,
        before: &[Vec<String>],
        range: &str,
    ) -> String {
        let mut conditions: Vec<String> = (parent.columns.iter().zip(&parent.ref_columns))
            .map(|(own, theirs)| format!("c.{} = p.{}", quote_ident(own), quote_ident(theirs)))
            .collect();
        // A foreign key with one column that is NULL refers to nothing.
        conditions.extend(before.iter().map(|columns| {
            let none: Vec<String> = columns
                .iter()
                .map(|c| format!("c.{} IS NULL", quote_ident(c)))
                .collect();
            match none.as_slice() {
                [one] => one.clone(),
                several => format!("({})", several.join(" OR ")),
            }
        }));
        let column = quote_ident(&self.column);
        let mut tenant = format!("p.{}", quote_ident(&parent.tenant_column));
        if parent.tenant_type != self.column_type {
            tenant = format!("{tenant}::text::{}", self.column_type);
        }
        conditions.push(match self.only_missing {
            true => format!("c.{column} IS NULL"),
            false => format!("c.{column} IS DISTINCT FROM {tenant}"),
        });
        format!(
            "UPDATE {target} AS c SET {column} = {tenant} FROM {} AS p WHERE {}{range}",
            parent.relation,
            conditions.join(" AND "),
        )
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
