//! What was found about a table.

use super::Phase;
use super::facts::Column;
use crate::policy::{Relation, quote_ident, quote_idents};

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The application's table of tenants.
    TenantTable,
    /// It has a column with the tenant's key.
    TenantColumn,
    /// It belongs to a tenant through another table.
    Child,
    /// Rows of tenants refer to it; it has none of its own.
    Lookup,
    /// Nothing links it to a tenant.
    NoLink,
    /// The caller decided to leave it as it is.
    Skipped,
}

impl Kind {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenantTable => "tenant table",
            Self::TenantColumn => "tenant column",
            Self::Child => "child",
            Self::Lookup => "lookup",
            Self::NoLink => "no link",
            Self::Skipped => "skipped",
        }
    }
}

/// The table through which another one belongs to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The table.
    pub relation: Relation,
    /// Its column with the tenant.
    pub tenant_column: String,
    /// The type of that column, with its length.
    pub tenant_type: String,
    /// The foreign key to it; `None` if the columns are only named like one.
    pub key: Option<String>,
    /// The referencing columns.
    pub columns: Vec<String>,
    /// The referenced columns.
    pub ref_columns: Vec<String>,
    /// Whether each row that refers to one refers to one that is there.
    pub checked: bool,
    /// Whether its rows may be without a tenant.
    pub may_miss: bool,
}

impl Parent {
    /// Returns the condition that a row refers to one of its rows: with a column that is NULL it refers to none.
    pub(super) fn refers(&self, row: &str) -> String {
        let columns = self.columns.iter();
        let there: Vec<String> = columns
            .map(|c| format!("{row}.{} IS NOT NULL", quote_ident(c)))
            .collect();
        there.join(" AND ")
    }

    /// Returns the condition that its row is the one that a row refers to.
    pub(super) fn is_row(&self, above: &str, row: &str) -> String {
        let pairs: Vec<String> = (self.columns.iter().zip(&self.ref_columns))
            .map(|(own, theirs)| {
                format!(
                    "{row}.{} = {above}.{}",
                    quote_ident(own),
                    quote_ident(theirs)
                )
            })
            .collect();
        pairs.join(" AND ")
    }

    /// Returns how a plan names it.
    pub(super) fn label(&self) -> String {
        match &self.key {
            Some(key) => format!("{} ({})", self.relation, quote_ident(key)),
            None => format!(
                "{} (by its column {})",
                self.relation,
                quote_idents(&self.columns)
            ),
        }
    }
}

/// A reason why a table cannot be adopted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The phase that it blocks.
    pub phase: Phase,
    /// What is in the way, and what to do.
    pub text: String,
}

/// What was found about a table.
#[derive(Debug, Clone)]
pub struct Found {
    pub kind: Kind,
    pub reason: String,
    pub column: Option<String>,
    /// The type of the column, with its length.
    pub column_type: String,
    /// Where its rows have their tenant from: the first that a row refers to.
    pub parents: Vec<Parent>,
    /// Or the tables that refer to it, each as the one whose columns refer.
    pub referrers: Vec<Parent>,
    /// Other tables of tenants' rows that its rows refer to.
    pub others: Vec<Parent>,
    /// Whether all tenants may read it: tenants share its rows, or that was decided.
    pub is_shared: bool,
    /// Whether rows may be without a tenant, by what was decided, whatever rows there are.
    pub may_miss: bool,
    /// How many tables are between it and the tenant.
    pub depth: usize,
    /// Whether rows without a tenant are everybody's.
    pub shares_null: bool,
    /// Whether rows may be without a tenant, which only maintenance sees.
    pub hides_null: bool,
    pub blocked: Vec<Blocker>,
}

impl Found {
    pub fn new(kind: Kind, depth: usize, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            column: None,
            column_type: String::new(),
            parents: Vec::new(),
            referrers: Vec::new(),
            others: Vec::new(),
            is_shared: false,
            may_miss: false,
            depth,
            shares_null: false,
            hides_null: false,
            blocked: Vec::new(),
        }
    }

    pub fn with_column(mut self, column: &Column) -> Self {
        self.column = Some(column.name.clone());
        self.column_type.clone_from(&column.full_type);
        self
    }

    pub fn block(&mut self, text: String) {
        let phase = Phase::Prepare;
        self.blocked.push(Blocker { phase, text });
    }

    /// Returns whether its rows are, or will be, a tenant's.
    pub fn holds_tenants(&self) -> bool {
        let kinds = [Kind::TenantTable, Kind::TenantColumn, Kind::Child];
        kinds.contains(&self.kind) && self.column.is_some()
    }

    /// Returns whether rows may be without a tenant.
    pub fn may_be_null(&self) -> bool {
        self.shares_null || self.hides_null
    }

    /// Returns its place in the order of tables: that of tenants first, those that belong to no tenant last.
    pub fn place(&self) -> usize {
        match self.kind {
            Kind::TenantTable | Kind::TenantColumn | Kind::Child => self.depth,
            Kind::Lookup | Kind::NoLink | Kind::Skipped => usize::MAX,
        }
    }
}
