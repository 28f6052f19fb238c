//! The values that a caller sees in each relation, and the values it does not see: the source of conditions that none of its rows triggers.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::{TABLES, VIEWS};

/// A relation that statements read.
#[derive(Clone, Copy, Debug)]
pub struct Relation {
    /// Its name, without the schema.
    pub name: &'static str,
    /// Its state.
    pub shape: Shape,
}

/// The kind of a relation.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A protected table, or a view on it: the table's place in `TABLES`.
    Table(usize),
    /// A view of tenancy: the column that tells rows apart, and another column of text.
    Own(&'static str, &'static str),
}

/// Views of tenancy.
pub const OWN_VIEWS: [(&str, &str, &str); 9] = [
    ("users", "slug", "kind"),
    ("tenants", "slug", "status"),
    ("projects", "slug", "status"),
    ("partners", "slug", "status"),
    ("roles", "name", "scope_level"),
    ("assignments", "user_slug", "role"),
    ("api_keys", "name", "state"),
    ("budgets", "scope", "period"),
    ("networks", "scope", "level"),
];

/// All relations.
pub fn relations() -> Vec<Relation> {
    let place = |name: &str| TABLES.iter().position(|t| t.name == name).unwrap();
    let tables = TABLES.iter().enumerate().map(|(n, table)| Relation {
        name: table.name,
        shape: Shape::Table(n),
    });
    let views = VIEWS.iter().map(|(name, on, _)| Relation {
        name,
        shape: Shape::Table(place(on)),
    });
    let own = OWN_VIEWS.iter().map(|(name, column, other)| Relation {
        name,
        shape: Shape::Own(column, other),
    });
    tables.chain(views).chain(own).collect()
}

/// A tenant's marks are ten in a row from this one on.
pub const ACME: i32 = 130;
/// The other tenant that has columns of its own.
pub const SOYLENT: i32 = 150;

/// What one caller sees.
#[derive(Debug, Default)]
pub struct Facts {
    /// By relation: marks of rows that it sees.
    pub own: BTreeMap<String, Vec<i32>>,
    /// By relation: marks of rows that it does not see. None of them is seen in any other relation.
    pub foreign: BTreeMap<String, Vec<i32>>,
    /// By view of tenancy: texts of rows that it sees.
    pub own_texts: BTreeMap<String, Vec<String>>,
    /// By view of tenancy: texts of rows that it does not see, nor in any other view.
    pub foreign_texts: BTreeMap<String, Vec<String>>,
    /// The suffixes of the columns `lit_` and `soft_` that are true and NULL in all rows that it sees.
    pub suffixes: Vec<&'static str>,
    /// Tables in which it sees rows that it may not write.
    pub read_only_rows: BTreeSet<&'static str>,
}

impl Facts {
    /// From what is seen and what there is, by relation.
    pub fn new(
        seen: BTreeMap<String, Vec<i32>>,
        all: &BTreeMap<String, Vec<i32>>,
        seen_texts: BTreeMap<String, Vec<String>>,
        all_texts: &BTreeMap<String, Vec<String>>,
        read_only_rows: BTreeSet<&'static str>,
    ) -> Self {
        let anywhere: BTreeSet<i32> = seen.values().flatten().copied().collect();
        let texts: BTreeSet<String> = seen_texts.values().flatten().cloned().collect();
        let suffixes = [("a", ACME), ("s", SOYLENT)]
            .into_iter()
            .filter(|(_, from)| !anywhere.iter().any(|m| (*from..from + 10).contains(m)))
            .map(|(suffix, _)| suffix)
            .collect();
        Self {
            foreign: rest(all, &anywhere),
            foreign_texts: rest(all_texts, &texts),
            own: seen,
            own_texts: seen_texts,
            suffixes,
            read_only_rows,
        }
    }

    /// A statement, or its plan, with a text that there is nowhere in place of each that the caller does not see.
    pub fn without_texts(&self, sql: &str) -> String {
        let mut sql = sql.to_owned();
        for text in self.foreign_texts.values().flatten() {
            for (open, close) in [("'", "'"), ("'", "\\'"), ("\"", "\"")] {
                sql = sql.replace(
                    &format!("{open}{text}{close}"),
                    &format!("{open}nosuch{close}"),
                );
            }
        }
        sql
    }

    /// Everything that it does not see, as array literals: marks, and texts with the beginnings of secrets.
    pub fn unseen(&self) -> (String, String) {
        let marks: BTreeSet<i32> = self.foreign.values().flatten().copied().collect();
        let texts: BTreeSet<String> = self.foreign_texts.values().flatten().cloned().collect();
        let numbers: Vec<String> = marks.iter().map(i32::to_string).collect();
        let words: Vec<String> = marks
            .iter()
            .map(|m| format!("k{m}-"))
            .chain(texts)
            .collect();
        (
            format!("{{{}}}", numbers.join(",")),
            format!("{{{}}}", words.join(",")),
        )
    }

    /// Whether it sees rows of a table and may write them all.
    pub fn updates(&self, table: usize) -> bool {
        self.writes_all(table) && !self.own[TABLES[table].name].is_empty()
    }

    /// Whether each row of a table that it sees may be written by it.
    pub fn writes_all(&self, table: usize) -> bool {
        !self.read_only_rows.contains(TABLES[table].name)
    }
}

fn rest<T: Ord + Clone>(
    all: &BTreeMap<String, Vec<T>>,
    seen: &BTreeSet<T>,
) -> BTreeMap<String, Vec<T>> {
    all.iter()
        .map(|(name, values)| {
            let left = values.iter().filter(|v| !seen.contains(v)).cloned();
            (name.clone(), left.collect())
        })
        .collect()
}
