//! What the catalogs say of the tables with tenants' rows.

use serde::Deserialize;

use super::order::Edge;
use crate::policy::{Key, KeyType, Relation};

/// All protected tables, and all foreign keys to them.
#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    /// The protected tables, by name.
    pub tables: Vec<Table>,
    /// The foreign keys to them, from any table.
    pub links: Vec<Link>,
}

/// A protected table.
#[derive(Debug, Clone, Deserialize)]
pub struct Table {
    /// Its oid.
    pub oid: u32,
    /// Its name.
    pub relation: Relation,
    /// The column that holds the tenant.
    pub tenant_column: String,
    /// What that column holds, as the registry names it.
    pub key_type: String,
    /// The oid of its owner.
    pub owner: u32,
    /// Whether the caller has the rights of that owner.
    pub caller_owns: bool,
    /// The tables that have its rows: itself, its partitions and its inheritance children.
    pub parts: Vec<Part>,
}

/// A table that has rows of a protected one.
#[derive(Debug, Clone, Deserialize)]
pub struct Part {
    /// Its oid.
    pub oid: u32,
    /// Its name.
    pub relation: Relation,
    /// The oid of its owner.
    pub owner: u32,
    /// Whether an index finds the rows of a tenant.
    pub indexed: bool,
    /// How many rows it has, by the last ANALYZE; negative if that is not known.
    pub rows: f64,
}

/// A foreign key to a protected table.
#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    /// The constraint's name.
    pub name: String,
    /// The referencing table.
    pub from: Relation,
    /// The oid of the protected table that this is, or is a part of.
    pub from_root: Option<u32>,
    /// The oid of the referencing table's owner.
    pub from_owner: u32,
    /// The referenced table.
    pub to: Relation,
    /// The oid of the protected table that this is, or is a part of.
    pub to_root: u32,
    /// The referencing columns.
    pub columns: Vec<String>,
    /// The referenced columns.
    pub ref_columns: Vec<String>,
    /// The operators that compare the referenced columns with the referencing ones, with their schemas.
    pub operators: Vec<String>,
    /// `pg_constraint.confdeltype`.
    pub on_delete: String,
    /// Whether ON DELETE SET NULL may set its columns to NULL.
    pub nullable: bool,
}

impl Facts {
    /// Returns the place of a table.
    #[must_use]
    pub fn place(&self, oid: u32) -> Option<usize> {
        self.tables.iter().position(|table| table.oid == oid)
    }

    /// Returns the foreign keys between protected tables, as edges between their places.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        let edge = |link: &Link| {
            Some(Edge {
                from: self.place(link.from_root?)?,
                to: self.place(link.to_root)?,
                gives_way: link.gives_way(),
            })
        };
        self.links.iter().filter_map(edge).collect()
    }

    /// Returns whether a foreign key pairs the tenant columns of two protected tables: its rows refer to rows of their own tenant alone.
    #[must_use]
    pub fn carries_tenant(&self, link: &Link) -> bool {
        let column = |oid: u32| Some(&self.tables.get(self.place(oid)?)?.tenant_column);
        let (Some(from), Some(to)) = (link.from_root.and_then(column), column(link.to_root)) else {
            return false;
        };
        (link.columns.iter().zip(&link.ref_columns)).any(|(own, other)| own == from && other == to)
    }
}

impl Table {
    /// Returns what its tenant column holds.
    #[must_use]
    pub fn key(&self) -> Option<KeyType> {
        Key::parse(&self.key_type).map(|key| key.kind)
    }

    /// Returns why the caller's rights are not enough to change its rows, a line for each reason.
    #[must_use]
    pub fn not_owned(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.caller_owns {
            reasons.push(format!(
                "{}: the caller is neither its owner nor a member of that role.",
                self.relation
            ));
        }
        for part in self.parts.iter().filter(|part| part.owner != self.owner) {
            reasons.push(format!(
                "{}: its part {} belongs to another role.",
                self.relation, part.relation
            ));
        }
        reasons
    }
}

impl Link {
    /// Returns whether the referenced row may be deleted first: the reference becomes NULL.
    #[must_use]
    pub fn gives_way(&self) -> bool {
        self.on_delete == "n" && self.nullable
    }

    /// Returns whether the server deletes the referencing row with the referenced one.
    #[must_use]
    pub fn cascades(&self) -> bool {
        self.on_delete == "c"
    }
}
