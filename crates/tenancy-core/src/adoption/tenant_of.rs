//! The tenant of a row, as SQL, as long as its table has no column for it.

use super::found::{Found, Parent};
use super::schema::Schema;
use crate::policy::{Relation, quote_ident};

/// How many tables may be between a row and its tenant in a query, and how long that may be.
const DEPTH_MAX: usize = 8;
const LENGTH_MAX: usize = 10_000;

impl Schema<'_> {
    /// Returns the tenant of a row of a table as a text: that in its column, or that of its parents.
    pub fn tenant_of(
        &self,
        relation: &Relation,
        row: &str,
        found: &[Option<Found>],
    ) -> Option<String> {
        self.nested(relation, row, found, 0)
            .filter(|sql| sql.len() < LENGTH_MAX)
    }

    /// Returns the tenant of the row that a row refers to.
    pub fn tenant_through(
        &self,
        parent: &Parent,
        row: &str,
        found: &[Option<Found>],
    ) -> Option<String> {
        self.through(parent, row, found, 0)
            .filter(|sql| sql.len() < LENGTH_MAX)
    }

    fn nested(
        &self,
        relation: &Relation,
        row: &str,
        found: &[Option<Found>],
        depth: usize,
    ) -> Option<String> {
        let (table, own) = (self.facts.table(relation)?, self.holder(relation, found)?);
        let column = own.column.as_ref()?;
        if table.column(column).is_some() {
            return Some(format!("{row}.{}::text", quote_ident(column)));
        }
        let parents: Option<Vec<String>> = (own.parents.iter().filter(|_| depth < DEPTH_MAX))
            .map(|parent| self.through(parent, row, found, depth))
            .collect();
        match parents?.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!("coalesce({})", several.join(", "))),
        }
    }

    fn through(
        &self,
        parent: &Parent,
        row: &str,
        found: &[Option<Found>],
        depth: usize,
    ) -> Option<String> {
        let above = format!("p{depth}");
        let tenant = self.nested(&parent.relation, &above, found, depth + 1)?;
        Some(format!(
            "(SELECT {tenant} FROM {} {above} WHERE {})",
            parent.relation,
            parent.is_row(&above, row)
        ))
    }
}
