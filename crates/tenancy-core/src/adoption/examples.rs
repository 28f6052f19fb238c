//! Rows of a table that a plan names, and keys that several rows would have.

use super::facts::{Table, UniqueIndex};
use super::found::{Found, Kind};
use super::schema::Schema;
use crate::policy::{quote_ident, quote_idents, quote_literal};

/// How many characters of a key are shown.
const SHOWN_MAX: u32 = 60;

impl Table {
    /// Returns the key of one of its rows `t` that a condition holds for, as SQL that returns a text.
    #[must_use]
    pub fn example(&self, condition: &str) -> String {
        let (names, row) = match self.primary_key.as_slice() {
            [] => ("ctid".to_owned(), "t.ctid".to_owned()),
            [one] => (quote_ident(one), format!("t.{}", quote_ident(one))),
            several => {
                let columns: Vec<String> = several
                    .iter()
                    .map(|column| format!("t.{}", quote_ident(column)))
                    .collect();
                let row = format!("ROW({})", columns.join(", "));
                (format!("({})", quote_idents(several)), row)
            }
        };
        format!(
            "(SELECT {} || left({row}::text, {SHOWN_MAX}) FROM {} t WHERE {condition} LIMIT 1)",
            quote_literal(&format!("{names} = ")),
            self.relation
        )
    }
}

impl UniqueIndex {
    /// Returns whether it may have a column.
    pub(super) fn has(&self, column: &str) -> bool {
        let name = quote_ident(column);
        let texts = self.keys.iter().chain(&self.predicate);
        texts.into_iter().any(|text| text.contains(&name))
    }

    /// Returns its keys that several of some rows have, one of them without a tenant before.
    fn clashes(&self, rows: &str) -> String {
        let mut conditions: Vec<String> = self.predicate.iter().map(|p| format!("({p})")).collect();
        if !self.nulls_equal {
            conditions.extend(self.keys.iter().map(|key| format!("({key}) IS NOT NULL")));
        }
        let wanted = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let keys = self.keys.join(", ");
        let named = quote_literal(&format!("({keys}) = "));
        format!(
            "SELECT {named} || left(ROW({keys})::text, {SHOWN_MAX}) AS example FROM ({rows}) u{wanted} GROUP BY {keys} \
             HAVING count(*) > 1 AND bool_or(u.tenancy_filled)"
        )
    }
}

impl Schema<'_> {
    /// Returns how many keys several rows of a table have once its tenant column is filled, and one of them, as SQL.
    pub fn clashes(
        &self,
        table: &Table,
        found: &Found,
        all: &[Option<Found>],
    ) -> Option<(String, String)> {
        let column = found.column.as_ref()?;
        if found.kind != Kind::TenantColumn || found.parents.is_empty() {
            return None;
        }
        let unique: Vec<&UniqueIndex> = (table.unique.iter()).filter(|u| u.has(column)).collect();
        let tenants: Option<Vec<String>> = (found.parents.iter())
            .map(|parent| self.tenant_through(parent, "t", all))
            .collect();
        let name = quote_ident(column);
        let filled = format!(
            "coalesce(t.{name}, coalesce({})::{})",
            tenants?.join(", "),
            found.column_type
        );
        let columns: Vec<String> = (table.columns.iter())
            .map(|own| match own.name == *column {
                true => format!("{filled} AS {name}"),
                false => format!("t.{}", quote_ident(&own.name)),
            })
            .collect();
        let rows = format!(
            "SELECT {}, t.{name} IS NULL AS tenancy_filled FROM {} t",
            columns.join(", "),
            table.relation
        );
        let clashes: Vec<String> = unique.iter().map(|u| u.clashes(&rows)).collect();
        let all = clashes.join(" UNION ALL ");
        (!clashes.is_empty()).then(|| {
            (
                format!("(SELECT count(*) FROM ({all}) x)"),
                format!("(SELECT x.example FROM ({all}) x LIMIT 1)"),
            )
        })
    }
}
