//! Facts of the catalogs about a schema, and what the caller has decided.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::filled::Filled;
use crate::policy::{Key, Relation};

/// The trigger that fills the tenant column. Triggers run in the order of their names: the application's may set the foreign key.
pub const FILL: &str = "zz_tenancy_fill";

/// The trigger that follows the rows of the table of tenants.
pub const FOLLOW: &str = "tenancy_follow";

/// The constraint that keeps a tenant column from being NULL until `protect()` declares it NOT NULL.
pub const KNOWN: &str = "tenancy_tenant_known";

/// The schemas that are adopted.
#[derive(Debug, Clone, Deserialize)]
pub struct SchemaFacts {
    /// The application's table of tenants.
    pub tenant_table: Relation,
    /// Whether it has rows that no tenant exists for.
    #[serde(default)]
    pub missing_tenants: bool,
    /// How many of its rows have the external id of another partner's tenant, or the key of a scope that is no tenant.
    #[serde(default)]
    pub taken_keys: i64,
    /// The key of one of them.
    #[serde(default)]
    pub taken_key: Option<String>,
    /// All tables, without partitions and inheritance children, in the order of their names.
    pub tables: Vec<Table>,
}

/// A table.
#[derive(Debug, Clone, Deserialize)]
pub struct Table {
    /// Its name.
    pub relation: Relation,
    /// The estimated number of rows; 0 if it was never analyzed.
    pub rows: f64,
    /// Whether the caller has the owner's rights.
    pub caller_owns: bool,
    /// The owning role.
    #[serde(default)]
    pub owner: String,
    /// Whether the owner is granted tenancy_admin.
    #[serde(default = "yes")]
    pub owner_is_admin: bool,
    /// Whether the owner is a role that tenants share.
    #[serde(default)]
    pub owner_is_shared: bool,
    /// Whether other tables inherit from it that are no partitions.
    #[serde(default)]
    pub has_heirs: bool,
    /// Whether rows without a tenant are everybody's, if it is protected.
    #[serde(default)]
    pub shares_null: bool,
    /// Whether a row of a tenant's table refers to each of its rows alone.
    #[serde(default)]
    pub referred_once: Option<String>,
    /// The tenant column, if it is protected.
    #[serde(default)]
    pub protected_by: Option<String>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The columns of its primary key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// Its unique indexes.
    #[serde(default)]
    pub unique: Vec<UniqueIndex>,
    /// Triggers of its own, or of its partitions, that run before a row is written, and after the one that fills the tenant column.
    #[serde(default)]
    pub late_triggers: Vec<String>,
    /// Its own foreign keys.
    #[serde(default)]
    pub foreign_keys: Vec<ForeignKey>,
    /// What a trigger of tenancy fills.
    #[serde(default)]
    pub filled: Option<Filled>,
    /// Whether a trigger of tenancy takes the rows that refer to its rows along to another tenant.
    #[serde(default)]
    pub moves: bool,
    /// Whether a trigger of tenancy follows the rows of the table of tenants.
    #[serde(default)]
    pub followed: bool,
    /// Whether tenancy's CHECK against NULL is validated; `None` without one.
    #[serde(default)]
    pub known: Option<bool>,
    /// Columns led by a valid index that is not partial.
    #[serde(default)]
    pub indexed: Vec<String>,
    /// Indexes on it by the name that tenancy gives.
    #[serde(default)]
    pub own_indexes: Vec<String>,
    /// Its partitions that have rows, if it is partitioned.
    #[serde(default)]
    pub partitions: Vec<Partition>,
    /// The roles of `grants` that may not read it.
    #[serde(default)]
    pub not_readable: Vec<String>,
    /// The roles that adopt() has let read it, as a table that belongs to no tenant.
    #[serde(default)]
    pub granted: Vec<String>,
    /// Its rows that a person may have to decide on.
    #[serde(default)]
    pub counts: Counts,
    /// The keys of some of them.
    #[serde(default)]
    pub examples: OfEach<String>,
    /// How many tenants use its rows.
    #[serde(default)]
    pub usage: Usage,
}

const fn yes() -> bool {
    true
}

/// A partition that has rows.
#[derive(Debug, Clone, Deserialize)]
pub struct Partition {
    /// Its name.
    pub relation: Relation,
    /// Columns led by a valid index that is not partial.
    pub indexed: Vec<String>,
}

/// Rows that a person may have to decide on: see [`super::ToCount`].
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Rows without a tenant.
    pub null: i64,
    /// Rows whose tenant's key no row of the table of tenants has.
    pub unknown: i64,
    /// Rows that refer to a row that is not there.
    pub orphans: i64,
    /// Rows without a tenant that refer to a tenant's row by a link that does not count.
    pub elsewhere: i64,
    /// Rows whose parents have different tenants.
    pub disagree: i64,
    /// Keys of unique indexes that several rows have once the tenant column is filled.
    pub clashes: i64,
    /// Whether there are rows, but not what other tables show of them: only maintenance sees that.
    pub unseen: bool,
}

/// Something about each of the numbers of [`Counts`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OfEach<T> {
    /// Of rows without a tenant.
    pub null: Option<T>,
    /// Of rows whose tenant's key no row of the table of tenants has.
    pub unknown: Option<T>,
    /// Of rows that refer to a row that is not there.
    pub orphans: Option<T>,
    /// Of rows without a tenant that refer to a tenant's row by a link that does not count.
    pub elsewhere: Option<T>,
    /// Of rows whose parents have different tenants.
    pub disagree: Option<T>,
    /// Of keys that several rows have.
    pub clashes: Option<T>,
}

impl<T> Default for OfEach<T> {
    fn default() -> Self {
        Self {
            null: None,
            unknown: None,
            orphans: None,
            elsewhere: None,
            disagree: None,
            clashes: None,
        }
    }
}

impl<T> OfEach<T> {
    /// Returns all in the order of the fields.
    #[must_use]
    pub fn all(&self) -> [Option<&T>; 6] {
        [
            self.null.as_ref(),
            self.unknown.as_ref(),
            self.orphans.as_ref(),
            self.elsewhere.as_ref(),
            self.disagree.as_ref(),
            self.clashes.as_ref(),
        ]
    }

    /// Reads what [`OfEach::all`] returns.
    #[must_use]
    pub fn from_all(
        [null, unknown, orphans, elsewhere, disagree, clashes]: [Option<T>; 6],
    ) -> Self {
        Self {
            null,
            unknown,
            orphans,
            elsewhere,
            disagree,
            clashes,
        }
    }
}

/// Who uses the rows of a table that refers to no tenant: see [`super::ToCompare`].
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Rows that several tenants use.
    pub of_several: i64,
    /// Rows that one tenant uses.
    pub of_one: i64,
    /// How many tenants these are.
    pub tenants: i64,
}

/// A column.
#[derive(Debug, Clone, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// `format_type` without a length.
    #[serde(rename = "type")]
    pub type_name: String,
    /// What it may hold as a tenant column.
    #[serde(deserialize_with = "Key::of_facts")]
    pub key: Option<Key>,
    /// `format_type` with its length.
    #[serde(default)]
    pub full_type: String,
    /// Declared NOT NULL.
    pub not_null: bool,
    /// Whether it is a generated or identity column.
    #[serde(default)]
    pub generated: bool,
    /// Whether it is a generated column: no trigger before a row is written sees its value.
    #[serde(default)]
    pub computed: bool,
}

/// A unique index.
#[derive(Debug, Clone, Deserialize)]
pub struct UniqueIndex {
    /// Its name.
    pub name: String,
    /// Its columns and expressions, as SQL.
    pub keys: Vec<String>,
    /// The condition of a partial one.
    #[serde(default)]
    pub predicate: Option<String>,
    /// Whether two NULLs are the same.
    #[serde(default)]
    pub nulls_equal: bool,
}

/// A foreign key.
#[derive(Debug, Clone, Deserialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The referenced table.
    pub to: Relation,
    /// The referencing columns.
    pub columns: Vec<String>,
    /// The referenced columns.
    pub ref_columns: Vec<String>,
    /// Whether existing rows were checked.
    pub validated: bool,
    /// Whether it deletes rows with the referenced row.
    #[serde(default)]
    pub cascades: bool,
    /// Whether it sets columns NULL, or to their default, when the referenced row goes.
    #[serde(default)]
    pub clears: bool,
}

/// What to do with rows without a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullRows {
    /// The table is blocked until the caller decides.
    #[default]
    Refuse,
    /// All tenants may read them.
    Share,
    /// They get the tenant of the rows that they refer to.
    Fill,
    /// They stay without one, and only maintenance sees them.
    Hide,
}

/// What the caller has decided about one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Leave it as it is.
    #[serde(default)]
    pub skip: bool,
    /// Leave it as it is, and let the application's roles read it.
    #[serde(default)]
    pub share: bool,
    /// The column that holds the tenant.
    #[serde(default)]
    pub tenant_column: Option<String>,
    /// The foreign key by which it belongs to a tenant.
    #[serde(default)]
    pub parent_key: Option<String>,
    /// The tables through which it belongs to a tenant, by the columns that refer to them.
    #[serde(default)]
    pub parents: Option<BTreeMap<String, String>>,
    /// Whether each of its rows belongs to the tenant whose rows alone refer to it.
    #[serde(default)]
    pub by_referrers: bool,
    /// What to do with its rows without a tenant.
    #[serde(default)]
    pub null_rows: Option<NullRows>,
    /// What to do with those that `fill` finds no tenant for.
    #[serde(default)]
    pub rest: Option<NullRows>,
    /// The column with the user who owns a row.
    #[serde(default)]
    pub owner_column: Option<String>,
    /// The column with the project of a row.
    #[serde(default)]
    pub project_column: Option<String>,
}

impl Decision {
    /// Returns whether the table is left as it is.
    #[must_use]
    pub const fn leaves_alone(&self) -> bool {
        self.skip || self.share
    }
}

/// What the caller has chosen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// The key of the table of tenants; else its primary key.
    #[serde(default)]
    pub tenant_key: Option<String>,
    /// The column that holds the tenant wherever there is one of that name.
    #[serde(default)]
    pub tenant_column: Option<String>,
    /// The application's roles.
    #[serde(default)]
    pub grants: Vec<String>,
    /// The partner that gets the tenants.
    pub partner: String,
    /// What to do with rows without a tenant.
    #[serde(default)]
    pub null_rows: NullRows,
    /// Whether columns that are named like a key are taken for one.
    #[serde(default)]
    pub named_keys: bool,
    /// By the name of a table with its schema, as `regclass` or `schema.table`.
    #[serde(default)]
    pub decisions: HashMap<String, Decision>,
    /// Whether to isolate the tables, or only to prepare them.
    #[serde(default)]
    pub isolate: bool,
}

impl Choices {
    /// Returns what was decided about a table.
    #[must_use]
    pub fn of(&self, table: &Relation) -> Option<&Decision> {
        names(table)
            .iter()
            .find_map(|name| self.decisions.get(name))
    }
}

/// Returns the names by which a decision may name a table.
pub(super) fn names(table: &Relation) -> [String; 2] {
    [
        format!("{}.{}", table.schema, table.name),
        table.to_string(),
    ]
}

impl SchemaFacts {
    /// Returns the key of the table of tenants: the chosen column, or the only one of the primary key.
    #[must_use]
    pub fn tenant_key(&self, choices: &Choices) -> Option<&Column> {
        let tenants = self.table(&self.tenant_table)?;
        let name = match (&choices.tenant_key, tenants.primary_key.as_slice()) {
            (Some(name), _) => name,
            (None, [only]) => only,
            _ => return None,
        };
        tenants.column(name)
    }

    /// Returns a table by its name.
    #[must_use]
    pub fn table(&self, relation: &Relation) -> Option<&Table> {
        self.tables.iter().find(|t| t.relation == *relation)
    }
}

impl Table {
    /// Returns a column by its name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Returns whether all of these columns are NOT NULL.
    #[must_use]
    pub fn always_has(&self, columns: &[String]) -> bool {
        let mut columns = columns.iter();
        columns.all(|name| self.column(name).is_some_and(|c| c.not_null))
    }
}
