//! How the rows of a table refer to others: by foreign keys, and by columns that are only named like one.

use super::facts::{Column, ForeignKey, SchemaFacts, Table, names};
use super::filled::Source;
use super::found::{Found, Parent};
use super::schema::{Schema, plain};
use crate::policy::{Relation, quote_ident};

/// Columns that refer to a row of another table.
#[derive(Debug, Clone)]
pub struct Link {
    pub to: Relation,
    pub columns: Vec<String>,
    pub ref_columns: Vec<String>,
    /// The foreign key; `None` if the columns are only named like one.
    pub key: Option<String>,
    /// Whether each row that refers to one refers to one that is there.
    pub checked: bool,
}

impl Link {
    fn of_key(key: &ForeignKey) -> Self {
        Self {
            to: key.to.clone(),
            columns: key.columns.clone(),
            ref_columns: key.ref_columns.clone(),
            key: Some(key.name.clone()),
            checked: key.validated,
        }
    }

    fn named(to: &Relation, column: &str, ref_column: &str) -> Self {
        Self {
            to: to.clone(),
            columns: vec![column.to_owned()],
            ref_columns: vec![ref_column.to_owned()],
            key: None,
            checked: false,
        }
    }

    /// Returns the parent that it links to, whose rows hold tenants.
    pub fn parent(&self, above: &Found) -> Parent {
        Parent {
            relation: self.to.clone(),
            tenant_column: above.column.clone().unwrap_or_default(),
            tenant_type: above.column_type.clone(),
            key: self.key.clone(),
            columns: self.columns.clone(),
            ref_columns: self.ref_columns.clone(),
            checked: self.checked,
            may_miss: above.may_miss,
        }
    }
}

impl<'a> Schema<'a> {
    /// Returns the links by which a table may belong to a tenant: those that its trigger follows, or were decided, or all of them.
    pub fn links(&self, table: &'a Table) -> Vec<Link> {
        if let Some(filled) = &table.filled {
            let sources = filled.sources();
            return sources
                .filter_map(|source| self.followed(table, &source))
                .collect();
        }
        let keys = || table.foreign_keys.iter();
        let decision = self.choices.of(&table.relation);
        if decision.is_some_and(|d| d.by_referrers) {
            return Vec::new();
        }
        if let Some(name) = decision.and_then(|d| d.parent_key.as_ref()) {
            return keys()
                .filter(|key| key.name == *name)
                .map(Link::of_key)
                .collect();
        }
        if let Some(parents) = decision.and_then(|d| d.parents.as_ref()) {
            let decided =
                |(column, parent): (&String, &String)| self.decided(table, column, parent).ok();
            return parents.iter().filter_map(decided).collect();
        }
        self.all_links(table)
    }

    /// Returns all of a table's links.
    pub fn all_links(&self, table: &'a Table) -> Vec<Link> {
        let mut keys: Vec<&ForeignKey> = table.foreign_keys.iter().collect();
        keys.sort_by_key(|key| !key.cascades);
        let mut links: Vec<Link> = keys.into_iter().map(Link::of_key).collect();
        if self.choices.named_keys {
            let named = |column: &'a Column| {
                let (to, key) = self.by_name(table, column)?;
                Some(Link::named(to, &column.name, key))
            };
            links.extend(table.columns.iter().filter_map(named));
        }
        links
    }

    /// Returns what a source of a table's trigger is by now.
    pub fn followed(&self, table: &Table, source: &Source<'_, String>) -> Option<Link> {
        if source.key_name().is_some() {
            return table
                .foreign_keys
                .iter()
                .find(|key| source.is_of(&key.name, &key.columns))
                .map(Link::of_key);
        }
        let to = source.relation();
        let other = self.facts.table(&to)?;
        let there = source.columns().all(|c| table.column(c).is_some())
            && source.ref_columns().all(|c| other.column(c).is_some());
        there.then(|| Link {
            to,
            columns: source.columns().cloned().collect(),
            ref_columns: source.ref_columns().cloned().collect(),
            key: None,
            checked: false,
        })
    }

    /// Returns the link that was decided, or what is wrong with the decision.
    pub fn decided(&self, table: &Table, column: &str, parent: &str) -> Result<Link, String> {
        let own = table
            .column(column)
            .ok_or_else(|| format!("has no column {}, as was decided", quote_ident(column)))?;
        let other = by_any_name(self.facts, parent).ok_or_else(|| format!("belongs to a tenant through {parent}, as was decided, which is no table of the schemas"))?;
        let key = (table.foreign_keys.iter())
            .find(|key| key.to == other.relation && key.columns == [column]);
        if let Some(key) = key {
            return Ok(Link::of_key(key));
        }
        let [key] = other.primary_key.as_slice() else {
            return Err(format!(
                "cannot belong to a tenant through {}, as was decided: that has no primary key of one column",
                other.relation
            ));
        };
        match other.column(key) {
            Some(theirs) if same_kind(&own.type_name, &theirs.type_name) => {
                Ok(Link::named(&other.relation, column, key))
            }
            _ => Err(format!(
                "cannot belong to a tenant through {}, as was decided: {} has the type {}",
                other.relation,
                quote_ident(column),
                own.type_name
            )),
        }
    }

    /// Returns the only table, with its key, that a column without a foreign key is named after.
    pub fn by_name(&self, table: &Table, column: &Column) -> Option<(&'a Relation, &'a str)> {
        match self.all_by_name(table, column).as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Returns the tables, with their keys, that a column without a foreign key may be named after: those of its own schema, if
    /// there are any.
    pub fn all_by_name(&self, table: &Table, column: &Column) -> Vec<(&'a Relation, &'a str)> {
        let has_key = |key: &ForeignKey| key.columns.contains(&column.name);
        let same_name = self.by_column_name.get(&plain(&column.name));
        let found: Vec<(&'a Relation, &'a str)> = (same_name.into_iter().flatten())
            .filter(|_| !table.foreign_keys.iter().any(has_key))
            .filter(|other| other.relation != table.relation)
            .filter_map(|other| {
                let key = other.column(other.primary_key.first()?)?;
                same_kind(&key.type_name, &column.type_name)
                    .then_some((&other.relation, key.name.as_str()))
            })
            .collect();
        let (here, elsewhere): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(other, _)| other.schema == table.relation.schema);
        if here.is_empty() { elsewhere } else { here }
    }

    /// Returns a table's links, those that were decided on first.
    pub fn decided_or_all_links(&self, table: &'a Table) -> Vec<Link> {
        self.with_links(table, self.all_links(table))
    }

    /// Returns the same, and those to all tables that its columns may be named after.
    pub fn any_links(&self, table: &'a Table) -> Vec<Link> {
        let named = table.columns.iter().flat_map(|column| {
            let all = self.all_by_name(table, column).into_iter();
            all.map(|(to, key)| Link::named(to, &column.name, key))
        });
        let more = self.all_links(table).into_iter().chain(named).collect();
        self.with_links(table, more)
    }

    fn with_links(&self, table: &'a Table, more: Vec<Link>) -> Vec<Link> {
        let mut links = self.links(table);
        for link in more {
            if !links
                .iter()
                .any(|known| known.columns == link.columns && known.to == link.to)
            {
                links.push(link);
            }
        }
        links
    }
}

/// Returns whether values of two types can be compared by the server's own operators.
fn same_kind(one: &str, other: &str) -> bool {
    let kind = |name: &str| match name {
        "bigint" | "integer" | "smallint" => 1,
        "text" | "character varying" => 2,
        "uuid" => 3,
        "numeric" => 4,
        "character" => 5,
        _ => 0,
    };
    kind(one) == kind(other) && kind(one) > 0
}

/// Returns a table by its name with its schema.
fn by_any_name<'f>(facts: &'f SchemaFacts, name: &str) -> Option<&'f Table> {
    let is_named = |table: &&Table| names(&table.relation).iter().any(|own| own == name);
    facts.tables.iter().find(is_named)
}

/// Returns whether a row may get a tenant from none of these parents.
pub fn is_loose(table: &Table, parents: &[Parent]) -> bool {
    !parents
        .iter()
        .any(|parent| !parent.may_miss && table.always_has(&parent.columns))
}
