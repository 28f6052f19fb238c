//! Rows of a table without a tenant, and those that refer to a row that is not there: what was decided about them, and what they block.

use super::facts::{Column, NullRows, Table};
use super::found::{Found, Kind, Parent};
use super::schema::{Schema, plain};
use crate::policy::quote_ident;

impl Schema<'_> {
    /// Returns whether a tenant column is filled where it is missing.
    pub fn fills(&self, table: &Table) -> bool {
        let decided = self.choices.of(&table.relation).and_then(|d| d.null_rows);
        decided.unwrap_or(self.choices.null_rows) == NullRows::Fill
    }

    /// Returns what is done with rows of a table without a tenant, those that are filled left out, and whether that was decided for it
    /// alone.
    pub fn null_rows(&self, table: &Table) -> (NullRows, bool) {
        let decision = self.choices.of(&table.relation);
        let decided = decision.and_then(|d| match d.null_rows {
            Some(NullRows::Fill) => d.rest.or(d.null_rows),
            other => other,
        });
        (decided.unwrap_or(self.choices.null_rows), decided.is_some())
    }

    /// Returns whether rows of a table may stay without a tenant.
    pub fn may_stay(&self, table: &Table) -> bool {
        matches!(self.null_rows(table).0, NullRows::Share | NullRows::Hide)
    }

    /// Decides on the rows of a table that were counted.
    pub fn check_rows(&self, table: &Table, found: &mut Found) {
        let (counts, examples) = (table.counts, &table.examples);
        let column = quote_ident(found.column.as_deref().unwrap_or_default());
        if counts.unseen {
            found.block("only maintenance sees what its rows refer to".to_owned());
        }
        let (null_rows, decided) = self.null_rows(table);
        if counts.unknown > 0 && null_rows != NullRows::Hide {
            found.block(format!(
                "{} whose {column} no tenant has{}: correct or delete them, or leave them to maintenance with {{\"null_rows\": \"hide\"}}",
                rows(counts.unknown),
                such_as(&examples.unknown)
            ));
        }
        let mut orphans = counts.orphans;
        match null_rows {
            NullRows::Share => {
                found.shares_null |= counts.null > 0 || decided;
            }
            NullRows::Hide => {
                found.hides_null |= counts.null + orphans > 0 || decided;
                orphans = 0;
            }
            NullRows::Refuse | NullRows::Fill if counts.null == 0 || found.hides_null => {}
            NullRows::Refuse | NullRows::Fill => found.block(self.without_tenant(table, found)),
        }
        if orphans > 0 {
            found.block(format!(
                "{} to a row that is not there{}: correct or delete them, or leave them to maintenance with {{\"null_rows\": \"hide\"}}",
                rows_do(orphans, "refer"),
                such_as(&examples.orphans)
            ));
        }
        if counts.disagree > 0 {
            found.block(format!(
                "{} to rows of different tenants{}: correct them, or decide on one way to the tenant with {{\"parent_key\": …}} or {{\"parents\": …}}",
                rows_do(counts.disagree, "refer"),
                such_as(&examples.disagree)
            ));
        }
        if counts.clashes > 0 {
            let own = found.column.as_deref();
            let unique =
                (table.unique.iter()).filter(|unique| own.is_some_and(|column| unique.has(column)));
            let names: Vec<String> = unique.map(|unique| quote_ident(&unique.name)).collect();
            let keys = match counts.clashes {
                1 => "1 key".to_owned(),
                n => format!("{n} keys"),
            };
            found.block(format!(
                "once {column} is filled, several rows would have {keys} of the unique index {}{}: correct them, or name another column with {{\"tenant_column\": …}}",
                names.join(" or "),
                such_as(&examples.clashes)
            ));
        }
        // Of a column, who decides on the table alone knows what NULL means.
        let knows = found.kind == Kind::TenantColumn && decided;
        if found.shares_null && counts.elsewhere > 0 && !knows {
            let (verb, are) = match counts.elsewhere {
                1 => ("refers", "is"),
                _ => ("refer", "are"),
            };
            found.block(format!(
                "{} without a tenant {verb} to a tenant's row ({}){}, and {are} not everybody's: name all its parents with {{\"parents\": …}}, fill its column with \
                 {{\"null_rows\": \"fill\"}}, or decide on the table alone",
                rows(counts.elsewhere),
                labels(&found.others),
                such_as(&examples.elsewhere)
            ));
        }
        let named = |column: &&Column| {
            let same = |name: &String| plain(name) == plain(&column.name);
            found.column.as_ref() != Some(&column.name)
                && self.fits(column)
                && self.names.iter().any(same)
        };
        let other = table
            .columns
            .iter()
            .find(named)
            .filter(|_| found.kind == Kind::Child);
        if let Some(other) = other.filter(|_| found.shares_null) {
            let other = quote_ident(&other.name);
            found.block(format!("its rows without a tenant would be everybody's, but may have it in {other}: name that with {{\"tenant_column\": …}}"));
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
        let (count, example) = (table.counts.null, such_as(&table.examples.null));
        let (these, get) = (rows(count), if count == 1 { "gets" } else { "get" });
        let column = quote_ident(found.column.as_deref().unwrap_or_default());
        let choices = "let all tenants read them with {\"null_rows\": \"share\"}, or leave them to maintenance with {\"null_rows\": \"hide\"}";
        let others = labels(&found.others);
        if !found.referrers.is_empty() {
            return format!("{these} that no tenant alone uses{example}: {choices}");
        }
        if found.kind == Kind::Child {
            let parents = match found.others.is_empty() {
                true => String::new(),
                false => {
                    format!(", name all parents with {{\"parents\": …}} ({others} may be one)")
                }
            };
            let from = labels(&found.parents);
            return format!(
                "{these} that {get} no tenant from {from}{example}: correct them{parents}, {choices}; or leave the table as it is with {{\"share\": true}}"
            );
        }
        if found.parents.is_empty() {
            let from = match found.others.is_empty() {
                true => String::new(),
                false => {
                    format!(" from what they refer to, {others}, with {{\"null_rows\": \"fill\"}}")
                }
            };
            return format!("{these} without {column}{example}: fill it{from}, {choices}");
        }
        let from = labels(&found.parents);
        format!(
            "{these} that {get} no tenant from {from}{example}: correct them, or decide with {{\"null_rows\": \"fill\", \"rest\": \"share\"}} or \"hide\""
        )
    }
}

fn labels(tables: &[Parent]) -> String {
    let labels: Vec<String> = tables.iter().map(Parent::label).collect();
    labels.join(", ")
}

/// Returns a number of rows with a verb.
fn rows_do(count: i64, verb: &str) -> String {
    let ending = if count == 1 { "s" } else { "" };
    format!("{} {verb}{ending}", rows(count))
}

/// Returns the example of some rows, as a plan names it.
pub fn such_as(example: &Option<String>) -> String {
    (example.as_ref()).map_or_else(String::new, |example| format!(" (for example {example})"))
}

/// Returns a number of rows, as a plan names it.
pub fn rows(count: i64) -> String {
    match count {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    }
}
