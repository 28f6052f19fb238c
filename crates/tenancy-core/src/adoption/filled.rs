//! The arguments of the trigger that fills a tenant column: the column, whether adopt() has added it, and where its values come from.
//!
//! Each source is the schema and the name of a table, its tenant column, the name of the foreign key to it, and pairs of a
//! referencing and a referenced column. An empty argument stands between two sources.

use serde::Deserialize;

use crate::policy::Relation;

/// The second argument for a column that adopt() has added.
pub const ADDED: &str = "added";

/// The same for a column that the application had.
pub const OWN: &str = "own";

/// The start of the argument that names a foreign key. Without one the columns are only named like a key.
pub const KEY: &str = "key ";

/// A table that gives a row its tenant.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a, T> {
    /// The table's schema.
    pub schema: &'a T,
    /// Its name.
    pub name: &'a T,
    /// Its tenant column.
    pub tenant_column: &'a T,
    /// [`KEY`] and the name of the foreign key, or nothing after it.
    pub key: &'a T,
    /// Referencing and referenced columns by turns.
    pub pairs: &'a [T],
}

impl<'a, T> Source<'a, T> {
    /// Returns the referencing columns.
    pub fn columns(&self) -> impl Iterator<Item = &'a T> + use<'a, T> {
        self.pairs.iter().step_by(2)
    }

    /// Returns the referenced columns.
    pub fn ref_columns(&self) -> impl Iterator<Item = &'a T> + use<'a, T> {
        self.pairs.iter().skip(1).step_by(2)
    }
}

/// Reads the sources of a trigger's arguments, without the first two. What is no source is left out.
pub fn sources<T>(
    arguments: &[T],
    is_empty: impl Fn(&T) -> bool,
) -> impl Iterator<Item = Source<'_, T>> {
    (arguments.split(is_empty)).filter_map(|source| match source {
        [schema, name, tenant_column, key, pairs @ ..] if !pairs.is_empty() => Some(Source {
            schema,
            name,
            tenant_column,
            key,
            pairs,
        }),
        _ => None,
    })
}

/// A tenant column that a trigger fills.
#[derive(Debug, Clone, Deserialize)]
pub struct Filled {
    /// The trigger's arguments.
    pub arguments: Vec<String>,
    /// Keys and views that the column is part of.
    #[serde(default)]
    pub part_of: Vec<String>,
}

impl Filled {
    /// Returns the column's name when the trigger was created.
    #[must_use]
    pub fn column(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    /// Returns whether adopt() has added the column.
    #[must_use]
    pub fn is_added(&self) -> bool {
        self.arguments.get(1).is_some_and(|origin| origin == ADDED)
    }

    /// Returns where its values come from.
    pub fn sources(&self) -> impl Iterator<Item = Source<'_, String>> {
        sources(
            self.arguments.get(2..).unwrap_or_default(),
            String::is_empty,
        )
    }
}

impl Source<'_, String> {
    /// Returns the name that the foreign key had; `None` without one.
    #[must_use]
    pub fn key_name(&self) -> Option<&str> {
        self.key.strip_prefix(KEY).filter(|name| !name.is_empty())
    }

    /// Returns the table that it names.
    #[must_use]
    pub fn relation(&self) -> Relation {
        Relation {
            schema: self.schema.clone(),
            name: self.name.clone(),
        }
    }

    /// Returns whether a foreign key with this name and these columns is the source's, maybe by another name.
    #[must_use]
    pub fn is_of(&self, name: &str, columns: &[String]) -> bool {
        (self.key_name()).is_some_and(|key| key == name || self.columns().eq(columns))
    }
}
