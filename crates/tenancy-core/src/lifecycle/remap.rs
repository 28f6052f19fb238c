//! How the values of a row change when a tenant is imported: not at all, or each id becomes a new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::facts::Facts;

/// What the catalogs say of a table that rows are imported into, beside [`super::Table`].
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Shape {
    /// Its columns, without generated ones.
    pub columns: Vec<Column>,
    /// The columns of each unique index.
    pub keys: Vec<Vec<String>>,
    /// The columns of foreign keys to tables that are not protected.
    pub outward: Vec<String>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as the server writes it.
    pub kind: String,
    /// Whether it takes no NULL and has no default.
    pub required: bool,
    /// Whether a sequence of its own gives it values.
    pub numbered: bool,
}

/// What becomes of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remap {
    /// They stay.
    Keep,
    /// It is the tenant's own key.
    Tenant,
    /// Ids of scopes of the tenant become those that these get; others stay.
    Scope,
    /// All of them become new ones.
    Key,
    /// The table's own sequence gives new ones.
    Number,
    /// Numbers of large objects, which are not in an export.
    LargeObject,
}

/// Returns what becomes of the columns of each table; `shapes` are those of the tables of `facts`, by their places. With `keep` ids stay.
#[must_use]
pub fn changes(facts: &Facts, shapes: &[Shape], keep: bool) -> Vec<BTreeMap<String, Remap>> {
    let one = |(place, shape): (usize, &Shape)| {
        let change = |column: &Column| {
            (
                column.name.clone(),
                change(facts, shapes, place, column, keep),
            )
        };
        shape.columns.iter().map(change).collect()
    };
    shapes.iter().enumerate().map(one).collect()
}

fn change(facts: &Facts, shapes: &[Shape], place: usize, column: &Column, keep: bool) -> Remap {
    let Some((table, shape)) = facts.tables.get(place).zip(shapes.get(place)) else {
        return Remap::Keep;
    };
    if column.name == table.tenant_column {
        return Remap::Tenant;
    }
    match column.kind.as_str() {
        "oid" | "lo" => Remap::LargeObject,
        _ if keep => Remap::Keep,
        "uuid" if is_key(facts, shapes, (place, &column.name), &mut BTreeSet::new()) => Remap::Key,
        "uuid" if shape.outward.contains(&column.name) => Remap::Keep,
        "uuid" => Remap::Scope,
        _ if column.numbered && is_bare(facts, shape, place, column) => Remap::Number,
        _ => Remap::Keep,
    }
}

/// Returns whether a column of uuids identifies rows of protected tables: its own, or those that it refers to.
fn is_key<'a>(
    facts: &'a Facts,
    shapes: &[Shape],
    at: (usize, &'a str),
    seen: &mut BTreeSet<(usize, &'a str)>,
) -> bool {
    let (place, column) = at;
    let Some((table, shape)) = facts.tables.get(place).zip(shapes.get(place)) else {
        return false;
    };
    if column == table.tenant_column || !seen.insert(at) {
        return false;
    }
    let mut referred = (facts.links.iter())
        .filter(|link| link.from_root == Some(table.oid))
        .filter_map(|link| {
            let n = link.columns.iter().position(|own| own == column)?;
            Some((
                facts.place(link.to_root)?,
                link.ref_columns.get(n)?.as_str(),
            ))
        })
        // A row that refers to itself says nothing.
        .filter(|to| *to != at)
        .peekable();
    if referred.peek().is_some() {
        return referred.all(|to| seen.contains(&to) || is_key(facts, shapes, to, seen));
    }
    !shape.outward.iter().any(|other| other == column)
        && shape.keys.iter().flatten().any(|key| key == column)
}

/// Returns whether a number identifies rows in the whole table, and no other row refers to it.
fn is_bare(facts: &Facts, shape: &Shape, place: usize, column: &Column) -> bool {
    let Some(table) = facts.tables.get(place) else {
        return false;
    };
    let alone =
        |key: &&Vec<String>| key.contains(&column.name) && !key.contains(&table.tenant_column);
    let referred = (facts.links.iter())
        .any(|link| link.to_root == table.oid && link.ref_columns.contains(&column.name));
    shape.keys.iter().any(|key| alone(&key)) && !referred
}

/// The new ids of an import.
pub struct NewIds {
    scopes: HashMap<Uuid, Uuid>,
    /// Known to no one who could have written the file.
    salt: Option<[u8; 16]>,
}

impl NewIds {
    /// All ids stay.
    #[must_use]
    pub fn kept() -> Self {
        Self {
            scopes: HashMap::new(),
            salt: None,
        }
    }

    /// Ids change; the salt is a random one.
    #[must_use]
    pub fn new(salt: [u8; 16]) -> Self {
        Self {
            scopes: HashMap::new(),
            salt: Some(salt),
        }
    }

    /// Returns whether ids change.
    #[must_use]
    pub fn change(&self) -> bool {
        self.salt.is_some()
    }

    /// Adds a scope of the file with the id that it gets. Returns whether it is the first of this id.
    pub fn add(&mut self, former: Uuid, new: Uuid) -> bool {
        self.scopes.insert(former, new).is_none()
    }

    /// Returns the id of a scope of the file; `None` if the file has no such scope.
    #[must_use]
    pub fn scope(&self, former: Uuid) -> Option<Uuid> {
        self.scopes.get(&former).copied()
    }

    /// Returns the id that a key becomes, the same one each time.
    #[must_use]
    pub fn key(&self, former: Uuid) -> Uuid {
        if let Some(scope) = self.scope(former) {
            return scope;
        }
        let Some(salt) = self.salt else {
            return former;
        };
        let sum: [u8; 32] = Sha256::new()
            .chain_update(salt)
            .chain_update(former.as_bytes())
            .finalize()
            .into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(sum.split_at(16).0);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Link, Table};
    use crate::policy::Relation;

    fn named(name: &str) -> Relation {
        Relation {
            schema: "app".to_owned(),
            name: name.to_owned(),
        }
    }

    fn table(oid: u32, name: &str) -> Table {
        Table {
            oid,
            relation: named(name),
            tenant_column: "tenant_id".to_owned(),
            key_type: "uuid".to_owned(),
            owner: 1,
            caller_owns: true,
            parts: Vec::new(),
        }
    }

    fn link(from: u32, column: &str, to: u32, other: &str) -> Link {
        Link {
            name: "key".to_owned(),
            from: named("a"),
            from_root: Some(from),
            from_owner: 1,
            to: named("b"),
            to_root: to,
            columns: vec!["tenant_id".to_owned(), column.to_owned()],
            ref_columns: vec!["tenant_id".to_owned(), other.to_owned()],
            operators: Vec::new(),
            on_delete: "a".to_owned(),
            nullable: true,
        }
    }

    fn shape(columns: &[(&str, &str)], keys: &[&[&str]], outward: &[&str]) -> Shape {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Shape {
            columns: (columns.iter())
                .map(|(name, kind)| Column {
                    name: (*name).to_owned(),
                    kind: (*kind).to_owned(),
                    required: false,
                    numbered: *kind == "bigint",
                })
                .collect(),
            keys: keys.iter().map(|key| names(key)).collect(),
            outward: names(outward),
        }
    }

    fn found(facts: &Facts, shapes: &[Shape], keep: bool) -> Vec<String> {
        (changes(facts, shapes, keep).iter())
            .map(|table| {
                let texts: Vec<String> = table
                    .iter()
                    .map(|(name, change)| format!("{name} {change:?}"))
                    .collect();
                texts.join(", ")
            })
            .collect()
    }

    #[test]
    fn keys_and_what_refers_to_them_change_and_other_ids_only_if_they_are_scopes() {
        let facts = Facts {
            tables: vec![table(1, "notes"), table(2, "replies")],
            links: vec![
                link(2, "note", 1, "id"),
                link(2, "parent", 2, "id"),
                link(2, "id", 2, "id"),
            ],
        };
        let shapes = [
            shape(
                &[
                    ("tenant_id", "uuid"),
                    ("id", "uuid"),
                    ("author", "uuid"),
                    ("color", "uuid"),
                    ("file", "oid"),
                ],
                &[&["id"], &["color", "id"]],
                &["color"],
            ),
            shape(
                &[
                    ("tenant_id", "uuid"),
                    ("id", "uuid"),
                    ("note", "uuid"),
                    ("parent", "uuid"),
                    ("n", "bigint"),
                ],
                &[&["id"], &["n"]],
                &[],
            ),
        ];
        assert_eq!(
            found(&facts, &shapes, false),
            [
                "author Scope, color Keep, file LargeObject, id Key, tenant_id Tenant",
                "id Key, n Number, note Key, parent Key, tenant_id Tenant"
            ]
        );
        assert_eq!(
            found(&facts, &shapes, true),
            [
                "author Keep, color Keep, file LargeObject, id Keep, tenant_id Tenant",
                "id Keep, n Keep, note Keep, parent Keep, tenant_id Tenant"
            ]
        );
    }

    #[test]
    fn a_circle_of_keys_ends() {
        let facts = Facts {
            tables: vec![table(1, "a"), table(2, "b")],
            links: vec![link(1, "id", 2, "id"), link(2, "id", 1, "id")],
        };
        let one = shape(&[("id", "uuid")], &[&["id"]], &[]);
        assert_eq!(
            found(&facts, &[one.clone(), one], false),
            ["id Key", "id Key"]
        );
    }

    #[test]
    fn numbers_stay_where_rows_refer_to_them_or_the_tenant_is_in_the_key() {
        let facts = Facts {
            tables: vec![table(1, "a"), table(2, "b")],
            links: vec![link(2, "a", 1, "id")],
        };
        let a = shape(&[("id", "bigint")], &[&["id"]], &[]);
        let b = shape(&[("id", "bigint")], &[&["id", "tenant_id"]], &[]);
        assert_eq!(found(&facts, &[a, b], false), ["id Keep", "id Keep"]);
    }

    #[test]
    fn an_id_becomes_the_same_one_each_time_and_another_with_another_salt() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut ids = NewIds::new([7; 16]);
        assert_eq!(ids.key(one), ids.key(one));
        assert_ne!(ids.key(one), ids.key(two));
        assert_ne!(ids.key(one), NewIds::new([8; 16]).key(one));
        assert_eq!(ids.key(one).get_version_num(), 8);
        assert!(ids.add(one, two));
        assert!(!ids.add(one, two));
        assert_eq!(
            (ids.key(one), ids.scope(one), ids.scope(two)),
            (two, Some(two), None)
        );
        assert_eq!(NewIds::kept().key(one), one);
    }
}
