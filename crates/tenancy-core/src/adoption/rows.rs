//! Rows of a table without a tenant, and those that refer to a row that is not there: what was decided about them, and what they block.

use super::facts::{ForeignKey, NullRows, Table};
use super::found::{Found, Kind, Parent};
use super::schema::Schema;
use crate::policy::quote_ident;

impl Schema<'_> {
    /// Returns what is done with rows of a table without a tenant, and whether that was decided for it alone.
    pub fn null_rows(&self, table: &Table) -> (NullRows, bool) {
        let decided = self.choices.of(&table.relation).and_then(|d| d.null_rows);
        (decided.unwrap_or(self.choices.null_rows), decided.is_some())
    }

    /// Decides on the rows of a table that were counted. `others` are links by which rows may have a tenant that their parents do not
    /// give them.
    pub fn check_rows(&self, table: &Table, found: &mut Found, others: &[String]) {
        let counts = table.counts;
        let column = quote_ident(found.column.as_deref().unwrap_or_default());
        if counts.unknown > 0 {
            found.block(format!(
                "{} whose {column} no tenant has: correct or delete them",
                rows(counts.unknown)
            ));
        }
        let (null_rows, decided) = self.null_rows(table);
        let mut orphans = counts.orphans;
        match null_rows {
            NullRows::Share => {
                found.shares_null |= counts.null > 0 || decided;
                if counts.null > 0 && found.kind == Kind::Child && !others.is_empty() {
                    found.block(format!(
                        "{} that refer to none of its parents may have a tenant through {}, and are not everybody's: name all parents with {{\"parents\": …}}, \
                         or the column with the tenant with {{\"tenant_column\": …}}",
                        rows(counts.null),
                        others.join(", ")
                    ));
                }
            }
            NullRows::Hide => {
                found.hides_null |= counts.null + orphans > 0 || decided;
                orphans = 0;
            }
            NullRows::Refuse | NullRows::Fill if counts.null == 0 => {}
            NullRows::Refuse | NullRows::Fill => {
                found.block(self.without_tenant(table, found, others))
            }
        }
        if orphans > 0 {
            found.block(format!(
                "{} refer to a row that is not there: correct or delete them, or leave them to maintenance with {{\"null_rows\": \"hide\"}}",
                rows(orphans)
            ));
        }
        let clears = |key: &&ForeignKey| {
            key.clears
                && found
                    .column
                    .as_ref()
                    .is_some_and(|column| key.columns == [column.clone()])
        };
        if let Some(key) = table
            .foreign_keys
            .iter()
            .find(clears)
            .filter(|_| found.shares_null)
        {
            let key = quote_ident(&key.name);
            found.block(format!("its foreign key {key} clears {column} when a tenant goes: the tenant's rows would become everybody's"));
        }
        let decision = self.choices.of(&table.relation);
        let is_owned =
            decision.is_some_and(|d| d.owner_column.is_some() || d.project_column.is_some());
        if found.shares_null && is_owned {
            found.block("its rows without a tenant are everybody's, and have no owner or project: decide on one of both".to_owned());
        }
        if found.shares_null && found.hides_null {
            found.block("of its rows without a tenant some would be everybody's, as those of its parent, and some nobody's: give them a tenant".to_owned());
        }
    }

    /// Returns what blocks a table with rows without a tenant.
    fn without_tenant(&self, table: &Table, found: &Found, others: &[String]) -> String {
        let rows = rows(table.counts.null);
        let choices = "let all tenants read them with {\"null_rows\": \"share\"}, or leave them to maintenance with {\"null_rows\": \"hide\"}";
        if !found.referrers.is_empty() {
            return format!("{rows} that no tenant alone uses: {choices}");
        }
        if found.parents.is_empty() {
            let column = quote_ident(found.column.as_deref().unwrap_or_default());
            let from = match others {
                [] => String::new(),
                others => format!(
                    " from what they refer to ({}) with {{\"null_rows\": \"fill\"}}",
                    others.join(", ")
                ),
            };
            return format!("{rows} without {column}: fill it{from}, {choices}");
        }
        let parents: Vec<String> = found.parents.iter().map(Parent::label).collect();
        format!(
            "{rows} that refer to none of {}: correct them, {choices}",
            parents.join(", ")
        )
    }
}

/// Returns a number of rows, as a plan names it.
pub fn rows(count: i64) -> String {
    match count {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    }
}
