//! What keeps the trigger that fills a tenant column from finding the tenant.

use super::facts::{FILL, Table};
use super::found::Found;
use super::schema::Schema;
use crate::policy::{quote_ident, quote_idents};

impl Schema<'_> {
    /// Checks that the trigger sees what a row refers to, and that it goes on to hold a tenant.
    pub fn check_trigger(&self, table: &Table, own: &mut Found, found: &[Option<Found>]) {
        self.check_left(table, own, found);
        if own.parents.is_empty() {
            return;
        }
        let mut referring = own.parents.iter().flat_map(|parent| &parent.columns);
        let is_computed = |name: &&String| table.column(name).is_some_and(|c| c.computed);
        if let Some(name) = referring.find(is_computed) {
            let name = quote_ident(name);
            own.block(format!(
                "it refers to its tenant by {name}, a generated column, which has no value yet when a trigger fills the tenant: \
                 store {name} as an ordinary column, or decide on another way with {{\"parent_key\": …}} or {{\"parents\": …}}"
            ));
        }
        let column = own.column.as_ref().and_then(|name| table.column(name));
        if let Some(column) = column.filter(|column| column.computed) {
            let name = quote_ident(&column.name);
            own.block(format!("{name} is a generated column, which nothing fills"));
        }
        if !table.late_triggers.is_empty() {
            let (names, runs, them) = match table.late_triggers.len() {
                1 => ("trigger", "runs", "it"),
                _ => ("triggers", "run", "them"),
            };
            let all = quote_idents(&table.late_triggers);
            own.block(format!(
                "its {names} {all} {runs} after {FILL}, in the order of names, and may change what a row refers to: rename {them} with ALTER TRIGGER … RENAME TO …"
            ));
        }
    }

    /// Checks that no table that a trigger reads the tenant from was decided to hold none since.
    pub fn check_left(&self, table: &Table, own: &mut Found, found: &[Option<Found>]) {
        let sources = table.filled.iter().flat_map(|filled| filled.sources());
        let left = sources
            .filter_map(|source| self.followed(table, &source))
            .find(|link| self.holder(&link.to, found).is_none());
        if let Some(link) = left {
            own.block(format!(
                "it is prepared, and has its tenant from {}, which is left as it is by now: decide on that otherwise, or leave this one as it is, too, with {{\"skip\": true}}",
                link.to
            ));
        }
    }
}
