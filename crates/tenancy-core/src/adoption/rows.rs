//! Rows of a table without a tenant, and those that refer to a row that is not there: what was decided about them, and what they block.

use super::facts::{NullRows, Table};
use super::found::{Found, Kind, Parent};
use super::schema::Schema;
use crate::policy::quote_ident;

impl Schema<'_> {
    /// Returns what is done with rows of a table without a tenant, and whether that was decided for it alone.
    pub fn null_rows(&self, table: &Table) -> (NullRows, bool) {
        let decided = self.choices.of(&table.relation).and_then(|d| d.null_rows);
        (decided.unwrap_or(self.choices.null_rows), decided.is_some())
    }

    /// Decides on the rows of a table that were counted.
    pub fn check_rows(&self, table: &Table, found: &mut Found) {
        let counts = table.counts;
        let column = quote_ident(found.column.as_deref().unwrap_or_default());
        if counts.unknown > 0 {
            found.block(format!(
                "{} whose {column} no tenant has: correct or delete them",
                rows(counts.unknown)
            ));
        }
        if counts.unseen {
            found.block("only maintenance sees what its rows refer to".to_owned());
        }
        let (null_rows, decided) = self.null_rows(table);
        let mut orphans = counts.orphans;
        match null_rows {
            NullRows::Share => {
                found.shares_null |= counts.null > 0 || decided;
            }
            NullRows::Hide => {
                found.hides_null |= counts.null + orphans > 0 || decided;
                orphans = 0;
            }
            NullRows::Refuse | NullRows::Fill if counts.null == 0 => {}
            NullRows::Refuse | NullRows::Fill => found.block(self.without_tenant(table, found)),
        }
        if orphans > 0 {
            found.block(format!(
                "{} refer to a row that is not there: correct or delete them, or leave them to maintenance with {{\"null_rows\": \"hide\"}}",
                rows(orphans)
            ));
        }
        if counts.disagree > 0 {
            found.block(format!(
                "{} refer to rows of different tenants: correct them, or decide on one way to the tenant with {{\"parent_key\": …}} or {{\"parents\": …}}",
                rows(counts.disagree)
            ));
        }
        // Of a column, who decides on the table alone knows what NULL means.
        let knows = found.kind == Kind::TenantColumn && decided;
        if found.shares_null && counts.elsewhere > 0 && !knows {
            found.block(format!(
                "{} without a tenant refer to a tenant's row ({}), and are not everybody's: name all its parents with {{\"parents\": …}}, fill its column with \
                 {{\"null_rows\": \"fill\"}}, or decide on the table alone",
                rows(counts.elsewhere),
                labels(&found.others)
            ));
        }
        let own = found.column.clone().into_iter().collect::<Vec<_>>();
        let cleared = table
            .foreign_keys
            .iter()
            .find(|key| key.clears && key.columns == own);
        let fills = found.kind == Kind::TenantColumn && !found.parents.is_empty();
        if let Some(key) = cleared.filter(|_| found.shares_null || fills) {
            let key = quote_ident(&key.name);
            found.block(format!("its foreign key {key} clears {column} when a tenant goes: the tenant's rows would become everybody's, or be filled again"));
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
    fn without_tenant(&self, table: &Table, found: &Found) -> String {
        let rows = rows(table.counts.null);
        let choices = "let all tenants read them with {\"null_rows\": \"share\"}, or leave them to maintenance with {\"null_rows\": \"hide\"}";
        if !found.referrers.is_empty() {
            return format!("{rows} that no tenant alone uses: {choices}");
        }
        if found.parents.is_empty() {
            let column = quote_ident(found.column.as_deref().unwrap_or_default());
            let from = match found.others.as_slice() {
                [] => String::new(),
                others => format!(
                    " from what they refer to, {}, with {{\"null_rows\": \"fill\"}}",
                    labels(others)
                ),
            };
            return format!("{rows} without {column}: fill it{from}, {choices}");
        }
        format!(
            "{rows} that refer to none of {}: correct them, {choices}",
            labels(&found.parents)
        )
    }
}

fn labels(tables: &[Parent]) -> String {
    let labels: Vec<String> = tables.iter().map(Parent::label).collect();
    labels.join(", ")
}

/// Returns a number of rows, as a plan names it.
pub fn rows(count: i64) -> String {
    match count {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    }
}
