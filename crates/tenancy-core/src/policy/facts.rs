//! Facts of the catalogs about a table: the input of planning, read by one query and deserialised by serde.

use super::key::{Key, Named};
use super::quote::quote_ident;
use serde::Deserialize;
use std::fmt;

/// A relation's name, with its schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Relation {
    /// The schema.
    pub schema: String,
    /// The name in it.
    pub name: String,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}",
            quote_ident(&self.schema),
            quote_ident(&self.name)
        )
    }
}

/// All facts that planning needs about a table, its partitions and inheritance children, and its dependents.
#[derive(Debug, Clone, Deserialize)]
pub struct TableFacts {
    /// The table.
    pub relation: Relation,
    /// `pg_class.relkind`.
    pub kind: String,
    /// `pg_class.relpersistence`.
    pub persistence: String,
    /// In `pg_catalog`, `information_schema` or a toast schema.
    pub catalog: bool,
    /// Belongs to this extension.
    pub own: bool,
    /// The owning role.
    pub owner: String,
    /// Whether row security never applies to the owner (superuser or BYPASSRLS).
    pub owner_bypasses: bool,
    /// Whether the owner is a superuser, who needs no grants.
    pub owner_superuser: bool,
    /// Roles that tenants share and that are the owner, or a member of it, the owner first.
    #[serde(default)]
    pub owner_shared: Vec<String>,
    /// The owner's privileges on the table, of SELECT, INSERT, UPDATE and DELETE.
    #[serde(default)]
    pub owner_privileges: Vec<String>,
    /// Whether there is a role of the name that would be given to a new owner.
    #[serde(default)]
    pub new_owner_exists: bool,
    /// Whether the invoker has the owner's rights.
    pub invoker_owns: bool,
    /// Whether row security filters what the invoker reads of the table now.
    pub filtered: bool,
    /// The parents of the table in partitioning or inheritance, nearest first.
    #[serde(default)]
    pub ancestors: Vec<Ancestor>,
    /// The tenant column, if the table has it.
    #[serde(default)]
    pub tenant: Option<Column>,
    /// The owner column, if one was named and the table has it.
    #[serde(default)]
    pub owner_column: Option<Column>,
    /// The project column, if one was named and the table has it.
    #[serde(default)]
    pub project_column: Option<Column>,
    /// The table first, then all partitions and children, parents before children.
    pub members: Vec<Member>,
    /// The existing roles of the option `grants`.
    #[serde(default)]
    pub grantees: Vec<Grantee>,
    /// Whether the invoker may grant usage of the schema.
    pub schema_grantable: bool,
    /// Sequences behind the table's columns.
    #[serde(default)]
    pub sequences: Vec<Sequence>,
    /// Functions of the extension that `tenancy_app` may execute and the owner may not.
    #[serde(default)]
    pub lacking_execute: Vec<Function>,
    /// Roles with rights on the table that may not execute the predicates.
    #[serde(default)]
    pub strangers: Vec<String>,
    /// Functions that the table's indexes call and that resolve names in the caller's search_path.
    #[serde(default)]
    pub unpinned: Vec<Unpinned>,
    /// Views and materialized views that read the table.
    #[serde(default)]
    pub views: Vec<View>,
    /// Foreign keys between the table (or its members) and protected tables, and within the table.
    #[serde(default)]
    pub foreign_keys: Vec<ForeignKey>,
    /// Names of relations that a new index must not take, per schema.
    #[serde(default)]
    pub taken: Vec<Relation>,
    /// Whether the table has any row; `None` if unknown.
    #[serde(default)]
    pub has_rows: Option<bool>,
    /// Rows whose tenant column is NULL; `None` if unknown.
    #[serde(default)]
    pub null_rows: Option<i64>,
    /// Keys that no tenant has, and the rows that have them; `None` if they were not counted.
    #[serde(default)]
    pub unknown: Option<(i64, i64)>,
    /// Indexes that serve a tenant badly; `None` if they were not counted.
    #[serde(default)]
    pub bad_indexes: Option<usize>,
    /// The scope to backfill with, as looked up.
    #[serde(default)]
    pub backfill: Option<Backfill>,
    /// The registered protection.
    #[serde(default)]
    pub registered: Option<Registered>,
}

/// A function without a search_path of its own.
#[derive(Debug, Clone, Deserialize)]
pub struct Unpinned {
    /// Its name with the types of its arguments.
    pub signature: String,
    /// Its schema.
    pub schema: String,
}

/// A table above this one in a partition or inheritance tree.
#[derive(Debug, Clone, Deserialize)]
pub struct Ancestor {
    /// Its name.
    pub relation: Relation,
    /// Whether it is protected.
    pub registered: bool,
}

/// A column of the table.
#[derive(Debug, Clone, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its name as the server deparses it.
    pub quoted: String,
    /// `format_type` without a length.
    #[serde(rename = "type")]
    pub type_name: String,
    /// What it may hold as a tenant column.
    #[serde(deserialize_with = "Key::of_facts")]
    pub key: Option<Key>,
    /// Whether it is a generated column, or an identity column that is not the table's primary key.
    pub generated: bool,
    /// Whether it is an identity column.
    #[serde(default)]
    pub identity: bool,
    /// Whether equality under its collation is equality of bytes.
    pub deterministic: bool,
}

/// The state of a column in one member of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ColumnState {
    /// Declared NOT NULL.
    pub not_null: bool,
    /// The default's text.
    #[serde(default)]
    pub default: Option<String>,
}

/// The table itself, a partition or an inheritance child.
#[derive(Debug, Clone, Deserialize)]
pub struct Member {
    /// Its name.
    pub relation: Relation,
    /// Its direct parent within the tree.
    #[serde(default)]
    pub parent: Option<Relation>,
    /// `pg_class.relkind`.
    pub kind: String,
    /// Whether it is a partition (whose indexes and foreign keys come from its root).
    pub partition: bool,
    /// Whether the invoker has the owner's rights.
    pub invoker_owns: bool,
    /// The owning role.
    pub owner: String,
    /// The recorded state of row security before the table was protected.
    #[serde(default)]
    pub before: Option<super::Before>,
    /// Row security enabled.
    pub rls: bool,
    /// Row security forced on the owner.
    pub force: bool,
    /// Policies on it.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// The tenant column here.
    #[serde(default)]
    pub tenant: Option<ColumnState>,
    /// The owner column here.
    #[serde(default)]
    pub owner_column: Option<ColumnState>,
    /// The project column here.
    #[serde(default)]
    pub project_column: Option<ColumnState>,
    /// Valid, non-partial btree indexes led by the tenant column.
    #[serde(default)]
    pub indexes: Vec<String>,
    /// Its own foreign keys to `tenancy.scopes`, from any column.
    #[serde(default)]
    pub scope_keys: Vec<String>,
    /// Roles other than the owner with TRUNCATE, REFERENCES, TRIGGER or MAINTAIN.
    #[serde(default)]
    pub excess: Vec<Grant>,
}

/// A row security policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// PERMISSIVE or RESTRICTIVE.
    pub permissive: bool,
    /// `pg_policy.polcmd`.
    pub command: String,
    /// Only for PUBLIC.
    pub public: bool,
    /// Only for the table's owner.
    #[serde(default)]
    pub for_owner: bool,
    /// The deparsed USING expression.
    #[serde(default)]
    pub using: Option<String>,
    /// The deparsed WITH CHECK expression.
    #[serde(default)]
    pub check: Option<String>,
}

/// A privilege of a role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Grant {
    /// The role; `None` is PUBLIC.
    #[serde(default)]
    pub grantee: Option<String>,
    /// TRUNCATE, REFERENCES, TRIGGER or MAINTAIN.
    pub privilege: String,
    /// Columns, for a column privilege.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// WITH GRANT OPTION.
    pub grantable: bool,
    /// Whether the role holds other privileges on the table too.
    #[serde(default)]
    pub others: bool,
}

/// A role of the option `grants`.
#[derive(Debug, Clone, Deserialize)]
pub struct Grantee {
    /// Its name.
    pub name: String,
    /// Its privileges on the table among SELECT, INSERT, UPDATE and DELETE.
    #[serde(default)]
    pub privileges: Vec<String>,
    /// Whether it may use the schema.
    pub schema_usage: bool,
}

/// A sequence behind a column.
#[derive(Debug, Clone, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub relation: Relation,
    /// The roles of the option `grants` that may use it already.
    #[serde(default)]
    pub users: Vec<String>,
    /// Whether the invoker may grant that.
    pub invoker_owns: bool,
}

/// A function of the extension.
#[derive(Debug, Clone, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `regprocedure`, schema-qualified.
    pub signature: String,
    /// Whether it is leakproof, which the predicates are.
    pub leakproof: bool,
}

/// A view or materialized view that reads the table.
#[derive(Debug, Clone, Deserialize)]
pub struct View {
    /// Its name.
    pub relation: Relation,
    /// `v` or `m`.
    pub kind: String,
    /// Whether it has `security_invoker`.
    pub security_invoker: bool,
    /// Whether its owner bypasses row security.
    pub owner_bypasses: bool,
    /// Roles other than its owner that may read it; `None` is PUBLIC.
    #[serde(default)]
    pub readers: Vec<Option<String>>,
}

/// A foreign key between two tables with a tenant column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The referencing table.
    pub from: Relation,
    /// The referenced table.
    pub to: Relation,
    /// Their oids, as numbers.
    #[serde(default)]
    pub oids: (u32, u32),
    /// The referencing columns.
    pub columns: Vec<String>,
    /// Whether each may be NULL.
    pub nullable: Vec<bool>,
    /// The referenced columns.
    pub ref_columns: Vec<String>,
    /// The referencing table's tenant column.
    pub from_tenant: String,
    /// What it holds.
    #[serde(deserialize_with = "Key::of_facts")]
    pub from_key: Option<Key>,
    /// Whether the referenced table has rows that scopes below share.
    #[serde(default)]
    pub to_shared: bool,
    /// Whether the referencing table is partitioned.
    #[serde(default)]
    pub partitioned: bool,
    /// Whether the referenced table is partitioned.
    #[serde(default)]
    pub to_partitioned: bool,
    /// The operators that compare the referenced columns with the referencing ones, with their schemas.
    #[serde(default)]
    pub operators: Vec<String>,
    /// Whether rows of the referencing table without a tenant are everybody's.
    #[serde(default)]
    pub from_shared_null: bool,
    /// Whether the referencing table's tenant column may be NULL.
    #[serde(default)]
    pub from_may_miss: Option<bool>,
    /// The constraint's comment.
    #[serde(default)]
    pub comment: Option<String>,
    /// Whether the caller has the rights of the owner of both tables, who is one role.
    #[serde(default)]
    pub caller_owns: bool,
    /// Whether that owner is granted tenancy_admin: its code may run in maintenance.
    #[serde(default)]
    pub owner_is_admin: bool,
    /// Whether the referenced table is too large to build an index on it while writers wait.
    #[serde(default)]
    pub large: bool,
    /// The referenced table's tenant column.
    pub to_tenant: String,
    /// What it holds.
    #[serde(deserialize_with = "Key::of_facts")]
    pub to_key: Option<Key>,
    /// `pg_constraint.confmatchtype`.
    #[serde(rename = "match")]
    pub match_type: String,
    /// `pg_constraint.confupdtype`.
    pub on_update: String,
    /// `pg_constraint.confdeltype`.
    pub on_delete: String,
    /// The column list of ON DELETE SET NULL or SET DEFAULT.
    #[serde(default)]
    pub delete_columns: Vec<String>,
    /// DEFERRABLE.
    pub deferrable: bool,
    /// INITIALLY DEFERRED.
    pub deferred: bool,
    /// Validated.
    pub validated: bool,
    /// ENFORCED. NOT ENFORCED exists from PostgreSQL 18 on.
    pub enforced: bool,
    /// The last column is a PERIOD, which exists from PostgreSQL 18 on.
    pub period: bool,
    /// Whether a unique index covers the referenced columns with the tenant column.
    pub unique_exists: bool,
}

/// The scope that rows without a tenant are assigned to.
#[derive(Debug, Clone, Deserialize)]
pub struct Backfill {
    /// The scope's id.
    pub id: String,
    /// Its level.
    pub level: String,
    /// The application's own key for it.
    #[serde(default)]
    pub external_id: Option<String>,
}

/// A registered protection.
#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    /// Its options.
    pub options: super::Protection,
    /// The roles of the option `grants`.
    #[serde(default)]
    pub granted: Vec<String>,
}

impl TableFacts {
    /// Returns the table's own entry among the members.
    #[must_use]
    pub fn root(&self) -> Option<&Member> {
        self.members.first()
    }

    /// Returns the columns that a protection names, each with its deparsed name.
    #[must_use]
    pub(super) fn names(&self) -> Vec<Named<'_>> {
        [&self.tenant, &self.owner_column, &self.project_column]
            .into_iter()
            .flatten()
            .map(|c| Named {
                name: &c.name,
                quoted: &c.quoted,
                key: c.key,
            })
            .collect()
    }
}
