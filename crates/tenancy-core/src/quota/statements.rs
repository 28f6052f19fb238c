//! The triggers of a table with quotas, and the query that counts it anew.

use std::ops::Range;

use super::Unit;
use crate::policy::quote_ident;

/// The trigger for new rows and rows that go.
pub const TRIGGER: &str = "tenancy_quota";
/// The trigger for rows whose counter, or whose share of it, changes.
pub const UPDATE_TRIGGER: &str = "tenancy_quota_update";
/// The trigger for TRUNCATE, which each part has for itself.
pub const TRUNCATE_TRIGGER: &str = "tenancy_quota_truncate";

/// Returns the statements that create the triggers of a table whose rows are counted by these columns, or replace them.
#[must_use]
pub fn create_triggers(table: &str, columns: &[&str]) -> Vec<String> {
    let mut changes: Vec<String> = Vec::new();
    for column in columns {
        let column = quote_ident(column);
        let change = format!("OLD.{column} IS DISTINCT FROM NEW.{column}");
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    vec![
        format!(
            "CREATE OR REPLACE TRIGGER {TRIGGER} AFTER INSERT OR DELETE ON {table} \
             FOR EACH ROW EXECUTE FUNCTION tenancy.count_quota()"
        ),
        format!(
            "CREATE OR REPLACE TRIGGER {UPDATE_TRIGGER} AFTER UPDATE ON {table} \
             FOR EACH ROW WHEN ({}) EXECUTE FUNCTION tenancy.count_quota()",
            changes.join(" OR ")
        ),
    ]
}

/// Returns the statement that creates the trigger for TRUNCATE of a table, or a part of it.
#[must_use]
pub fn create_truncate_trigger(table: &str) -> String {
    format!(
        "CREATE OR REPLACE TRIGGER {TRUNCATE_TRIGGER} AFTER TRUNCATE ON {table} \
         FOR EACH STATEMENT EXECUTE FUNCTION tenancy.count_quota()"
    )
}

/// Returns the statement that drops a trigger of a table.
#[must_use]
pub fn drop_trigger(trigger: &str, table: &str) -> String {
    format!("DROP TRIGGER IF EXISTS {trigger} ON {table}")
}

/// What a quota counts in a table.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The column with the tenant.
    pub tenant: &'a str,
    /// The column with the project, the user, or a value to count by.
    pub key: Option<&'a str>,
    /// The column that is summed; `None` for the number of rows.
    pub sum: Option<&'a str>,
    /// What it counts in.
    pub unit: Unit,
}

impl Counted<'_> {
    /// Returns the query for what the rows of a table, or those on some of its pages, count: tenant, key and count, all as texts. Where the column that is
    /// summed is NULL or negative, a row counts as nothing, as in the trigger.
    #[must_use]
    pub fn query(&self, table: &str, pages: Option<&Range<u32>>) -> String {
        let on_pages = pages.map_or_else(String::new, |Range { start, end }| {
            format!(
                "ctid >= '({start},0)'::pg_catalog.tid AND ctid < '({end},0)'::pg_catalog.tid AND "
            )
        });
        const TEXT: &str = "::pg_catalog.text";
        let tenant = quote_ident(self.tenant);
        let count = self.sum.map_or("pg_catalog.count(*)".to_owned(), |column| {
            let column = quote_ident(column);
            // Rounded row by row, as in the trigger.
            let stored = match self.unit {
                Unit::One => column.clone(),
                Unit::Millionth => format!("pg_catalog.round({column}, 6)"),
            };
            format!("pg_catalog.sum(CASE WHEN {column} > 0 THEN {stored} ELSE 0 END)")
        });
        match self.key.map(quote_ident) {
            Some(key) => format!(
                "SELECT {tenant}{TEXT}, {key}{TEXT}, ({count}){TEXT} FROM ONLY {table} \
                 WHERE {on_pages}{tenant} IS NOT NULL AND {key} IS NOT NULL GROUP BY 1, 2"
            ),
            None => format!(
                "SELECT {tenant}{TEXT}, ''{TEXT}, ({count}){TEXT} FROM ONLY {table} \
                 WHERE {on_pages}{tenant} IS NOT NULL GROUP BY 1"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_names_each_column_once() {
        let made = create_triggers("app.files", &["tenant_id", "size", "tenant_id"]);
        assert_eq!(
            made.last().map(String::as_str),
            Some(
                "CREATE OR REPLACE TRIGGER tenancy_quota_update AFTER UPDATE ON app.files FOR EACH ROW \
                 WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.size IS DISTINCT FROM NEW.size) \
                 EXECUTE FUNCTION tenancy.count_quota()"
            )
        );
    }

    #[test]
    fn rows_without_a_tenant_or_a_key_are_not_counted() {
        let counted = Counted {
            unit: Unit::One,
            tenant: "tenant_id",
            key: Some("room"),
            sum: Some("bytes"),
        };
        assert_eq!(
            counted.query("app.files", Some(&(1000..2000))),
            "SELECT tenant_id::pg_catalog.text, room::pg_catalog.text, \
             (pg_catalog.sum(CASE WHEN bytes > 0 THEN bytes ELSE 0 END))::pg_catalog.text FROM ONLY app.files \
             WHERE ctid >= '(1000,0)'::pg_catalog.tid AND ctid < '(2000,0)'::pg_catalog.tid AND tenant_id IS NOT NULL AND room IS NOT NULL GROUP BY 1, 2"
        );
        let counted = Counted {
            key: None,
            sum: None,
            ..counted
        };
        assert_eq!(
            counted.query("app.files", None),
            "SELECT tenant_id::pg_catalog.text, ''::pg_catalog.text, (pg_catalog.count(*))::pg_catalog.text FROM ONLY app.files \
             WHERE tenant_id IS NOT NULL GROUP BY 1"
        );
    }
}
