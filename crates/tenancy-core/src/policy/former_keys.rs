//! What foreign keys were before fix_foreign_keys() replaced them, and the statements that put them back.

use serde::{Deserialize, Serialize};

use super::constraint::constraint;
use super::facts::ForeignKey;
use super::quote::{own_name, quote_ident, quote_literal};

/// The end of the names of unique constraints that foreign keys with the tenant column refer to, and that tenancy made.
pub const MADE_KEY: &str = "tenancy_key";

/// The end of the name of a former key that is not in its place yet.
const HELPER: &str = "tenancy_former";

/// The end of the name of a CHECK that stands for MATCH FULL.
const CHECK: &str = "tenancy_check";

/// What the key in the place of a former one does not say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The referencing columns.
    pub columns: Vec<String>,
    /// The referenced columns.
    pub ref_columns: Vec<String>,
    /// The referencing table's tenant column.
    pub from_tenant: String,
    /// The referenced table's tenant column.
    pub to_tenant: String,
    /// `pg_constraint.confmatchtype`.
    #[serde(rename = "match")]
    pub match_type: String,
    /// `pg_constraint.confupdtype`.
    pub on_update: String,
    /// `pg_constraint.confdeltype`.
    pub on_delete: String,
    /// Whether ON DELETE SET NULL or SET DEFAULT had a column list.
    pub lists_columns: bool,
    /// Validated.
    pub validated: bool,
    /// The CHECK that was added with the new key, in the place of MATCH FULL.
    pub check: Option<String>,
}

impl Former {
    /// Returns what is to be kept of a key that is replaced.
    #[must_use]
    pub fn of(key: &ForeignKey) -> Self {
        let spelled_out =
            key.match_type == "f" && key.nullable.contains(&true) && key.columns.len() > 1;
        Self {
            columns: key.columns.clone(),
            ref_columns: key.ref_columns.clone(),
            from_tenant: key.from_tenant.clone(),
            to_tenant: key.to_tenant.clone(),
            match_type: key.match_type.clone(),
            on_update: key.on_update.clone(),
            on_delete: key.on_delete.clone(),
            lists_columns: !key.delete_columns.is_empty(),
            validated: key.validated,
            check: spelled_out.then(|| own_name(&key.from.name, &key.name, CHECK)),
        }
    }

    /// Returns the key of a table, named by its oid, that is in the place of the former one: the one of its name, or one that was renamed and has its columns. It
    /// has the tenant column, unless the former key is back.
    #[must_use]
    pub fn find<'a>(
        &self,
        table: u32,
        name: &str,
        keys: &'a [ForeignKey],
    ) -> Option<&'a ForeignKey> {
        let mut of_table = keys.iter().filter(|key| key.oids.0 == table);
        let named = of_table.clone().find(|key| {
            let own = without_tenant(key).map_or(key.columns.len(), |(own, _)| own.len());
            key.name == name && own == self.columns.len()
        });
        named.or_else(|| {
            of_table.find(|key| {
                without_tenant(key)
                    .is_some_and(|(own, theirs)| own == self.columns && theirs == self.ref_columns)
            })
        })
    }
}

/// Returns whether a foreign key has the tenant columns.
#[must_use]
pub fn carries_tenant(key: &ForeignKey) -> bool {
    without_tenant(key).is_some()
}

/// Returns the columns of a foreign key without the tenant's, and those that they refer to; `None` if it does not have these.
fn without_tenant(key: &ForeignKey) -> Option<(Vec<String>, Vec<String>)> {
    let (mut own, mut theirs) = (key.columns.clone(), key.ref_columns.clone());
    let at = (own.iter().zip(&theirs))
        .position(|(own, other)| *own == key.from_tenant && *other == key.to_tenant)?;
    own.remove(at);
    theirs.remove(at);
    Some((own, theirs))
}

/// Returns whether the tenant column of a foreign key may be NULL. It is not checked then.
#[must_use]
pub fn tenant_is_nullable(key: &ForeignKey) -> bool {
    (key.columns.iter().zip(&key.nullable))
        .any(|(column, nullable)| *column == key.from_tenant && *nullable)
}

/// Returns the name that a former key has until it is in its place.
fn helper(key: &ForeignKey) -> String {
    own_name(&key.from.name, &key.name, HELPER)
}

/// Returns the statement that drops what an undo that was stopped has left of a former key beside this one; `None` if nothing.
#[must_use]
pub fn drop_helper(key: &ForeignKey, keys: &[ForeignKey]) -> Option<(ForeignKey, String)> {
    let name = helper(key);
    let found = (keys.iter()).find(|other| other.from == key.from && other.name == name)?;
    let statement = format!(
        "ALTER TABLE {} DROP CONSTRAINT {}",
        key.from,
        quote_ident(&name)
    );
    Some((found.clone(), statement))
}

/// Returns the steps, each a transaction's statements, that put a former key in the place of `key`, which has the tenant column. What
/// an undo that was stopped has done is not done again. While rows are compared, both keys are there.
#[must_use]
pub fn put_back(former: &Former, key: &ForeignKey, keys: &[ForeignKey]) -> Vec<Vec<String>> {
    let Some((columns, ref_columns)) = without_tenant(key) else {
        return Vec::new();
    };
    let before = ForeignKey {
        columns,
        ref_columns,
        match_type: former.match_type.clone(),
        on_update: former.on_update.clone(),
        on_delete: former.on_delete.clone(),
        delete_columns: match former.lists_columns {
            true => key.delete_columns.clone(),
            false => Vec::new(),
        },
        ..key.clone()
    };
    let (table, name) = (&key.from, quote_ident(&key.name));
    let mut dropped = format!("DROP CONSTRAINT {name}");
    if let Some(check) = &former.check {
        dropped.push_str(&format!(
            ", DROP CONSTRAINT IF EXISTS {}",
            quote_ident(check)
        ));
    }
    let comment = key.comment.as_ref().map(|comment| {
        format!(
            "COMMENT ON CONSTRAINT {name} ON {table} IS {}",
            quote_literal(comment)
        )
    });
    // The server adds none to a partitioned table that it does not validate.
    if key.partitioned || !former.validated || !key.enforced {
        let added = constraint(&before, &key.name, !former.validated);
        let mut statements = vec![format!("ALTER TABLE {table} {dropped}, ADD {added}")];
        statements.extend(comment);
        return vec![statements];
    }
    let own = helper(key);
    let begun = (keys.iter()).find(|other| other.from == *table && other.name == own);
    let mut steps = Vec::new();
    if begun.is_none() {
        let added = constraint(&before, &own, true);
        steps.push(vec![format!("ALTER TABLE {table} ADD {added}")]);
    }
    let own = quote_ident(&own);
    if !begun.is_some_and(|begun| begun.validated) {
        steps.push(vec![format!(
            "ALTER TABLE {table} VALIDATE CONSTRAINT {own}"
        )]);
    }
    let mut statements = vec![
        format!("ALTER TABLE {table} {dropped}"),
        format!("ALTER TABLE {table} RENAME CONSTRAINT {own} TO {name}"),
    ];
    statements.extend(comment);
    steps.push(statements);
    steps
}
