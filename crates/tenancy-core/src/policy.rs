//! Isolating an application's tables: plans the steps of `protect()` from facts of the catalogs.
//!
//! Nothing here connects to a server. [`plan()`] takes [`TableFacts`] and [`Options`] and returns a [`Plan`] of statements, or a
//! [`Refusal`]; [`plan_children`] does the same for later partitions; [`unplan`] undoes everything.

mod access;
pub mod conditions;
mod constraint;
mod facts;
mod foreign_keys;
mod former_keys;
pub mod index_advice;
pub mod index_search;
mod key;
mod live;
mod null_tenant;
mod plan;
mod quote;
mod refusal;
mod statements;
mod undo;
mod unknown;

pub use access::{Access, Before, access, is_own_permissive};
pub use facts::{
    Ancestor, Backfill, Column, ColumnState, ForeignKey, Function, Grant, Grantee, Member, Policy,
    Registered, Relation, Sequence, TableFacts, View,
};
pub use foreign_keys::{Closing, Unique, closings, crossing};
pub use former_keys::{
    Former, MADE_KEY, carries_tenant, drop_helper, put_back, tenant_is_nullable,
};
pub use key::{Key, KeyType, is_whole};
pub use live::{Fault, Live, LiveColumn, fault};
pub use null_tenant::null_tenant_hint;
pub use plan::{PolicyChange, check_kind, follow_policies, is_isolated, plan, plan_children};
pub use quote::{
    dollar_quote, object_name, own_name, quote_ident, quote_idents, quote_literal, quote_with,
};
pub use refusal::Refusal;
pub use undo::{
    MemberUndo, Needs, UndoItem, Unprotect, before, granted, merge, rename_column, render, unplan,
};
pub use unknown::Tally;

use crate::permission;
use serde::{Deserialize, Serialize};

/// The arguments of `protect()`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The column that holds the tenant.
    pub tenant_column: String,
    /// Add that column if it is missing.
    #[serde(default)]
    pub add_column: bool,
    /// The scope that rows without a tenant are assigned to.
    #[serde(default)]
    pub backfill: Option<String>,
    /// A column with the only user who may see the row.
    #[serde(default)]
    pub owner_column: Option<String>,
    /// A column with the project of the row.
    #[serde(default)]
    pub project_column: Option<String>,
    /// Whether scopes below can read rows of the platform and of partners.
    #[serde(default)]
    pub shared: bool,
    /// Whether all tenants can read rows without a tenant.
    #[serde(default)]
    pub shared_null: bool,
    /// Whether rows may stay without a tenant, which only maintenance sees.
    #[serde(default)]
    pub hidden_null: bool,
    /// The permission to read rows.
    #[serde(default = "data_read")]
    pub read_permission: String,
    /// The permission to write rows.
    #[serde(default = "data_write")]
    pub write_permission: String,
    /// Whether the caller creates the index, concurrently.
    #[serde(default)]
    pub concurrently: bool,
    /// Whether to return only the steps.
    #[serde(default)]
    pub dry_run: bool,
    /// Roles that get SELECT, INSERT, UPDATE and DELETE, and USAGE of the schema and sequences.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Whether rows without a tenant, or with an unknown one, were counted before, without holding the table's lock.
    #[serde(default)]
    pub counted: bool,
}

impl Options {
    /// Returns those of a table with a tenant column, all others as they are by default.
    #[must_use]
    pub fn new(tenant_column: String) -> Self {
        Self {
            tenant_column,
            add_column: false,
            backfill: None,
            owner_column: None,
            project_column: None,
            shared: false,
            shared_null: false,
            hidden_null: false,
            read_permission: data_read(),
            write_permission: data_write(),
            concurrently: false,
            dry_run: false,
            grants: Vec::new(),
            counted: false,
        }
    }

    /// Returns the options that are stored for the table.
    #[must_use]
    pub fn protection(&self) -> Protection {
        Protection {
            tenant_column: self.tenant_column.clone(),
            owner_column: self.owner_column.clone(),
            project_column: self.project_column.clone(),
            shared: self.shared,
            shared_null: self.shared_null,
            read_permission: self.read_permission.clone(),
            write_permission: self.write_permission.clone(),
        }
    }
}

fn data_read() -> String {
    permission::DATA_READ.to_owned()
}

fn data_write() -> String {
    permission::DATA_WRITE.to_owned()
}

/// The stored options of a protected table, fixed as long as it is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The column that holds the tenant.
    pub tenant_column: String,
    /// A column with the only user who may see the row.
    #[serde(default)]
    pub owner_column: Option<String>,
    /// A column with the project of the row.
    #[serde(default)]
    pub project_column: Option<String>,
    /// Whether scopes below can read rows of the platform and of partners.
    #[serde(default)]
    pub shared: bool,
    /// Whether all tenants can read rows without a tenant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_null: bool,
    /// The permission to read rows.
    #[serde(default = "data_read")]
    pub read_permission: String,
    /// The permission to write rows.
    #[serde(default = "data_write")]
    pub write_permission: String,
}

impl Protection {
    /// Formats the options as arguments of `protect()`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut out = format!("tenant_column => {}", quote_literal(&self.tenant_column));
        for (name, value) in [
            ("owner_column", &self.owner_column),
            ("project_column", &self.project_column),
        ] {
            if let Some(value) = value {
                out.push_str(&format!(", {name} => {}", quote_literal(value)));
            }
        }
        if self.shared {
            out.push_str(", shared => true");
        }
        if self.shared_null {
            out.push_str(", shared_null => true");
        }
        for (name, value, usual) in [
            (
                "read_permission",
                &self.read_permission,
                permission::DATA_READ,
            ),
            (
                "write_permission",
                &self.write_permission,
                permission::DATA_WRITE,
            ),
        ] {
            if value != usual {
                out.push_str(&format!(", {name} => {}", quote_literal(value)));
            }
        }
        out
    }
}

/// The kind of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Execute it.
    Do,
    /// Nothing to do.
    Skip,
    /// The caller must run it, outside a transaction.
    Run,
    /// The caller may want to run it.
    Advice,
}

impl StepKind {
    /// Returns its name in the result of `protect()`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Skip => "skip",
            Self::Run => "run",
            Self::Advice => "advice",
        }
    }
}

/// The role that executes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The caller, so that PostgreSQL checks its rights. Statements that run code of the table's owner still run
    /// as that owner.
    Invoker,
    /// The table's owner, with immediate triggers.
    Owner,
    /// `tenancy_owner`: grants on the extension's own objects.
    Extension,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its kind.
    pub kind: StepKind,
    /// The SQL; empty if there is nothing to run.
    pub statement: String,
    /// Its reason.
    pub note: String,
    /// The role that executes it.
    pub actor: Actor,
}

/// The steps for a table, in order, and how to undo them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What the tenant column holds.
    pub key_type: KeyType,
    /// The options to store.
    pub protection: Protection,
    /// How to restore the previous state of the table and each of its parts.
    pub undo: Vec<MemberUndo>,
}

#[cfg(test)]
mod tests;
