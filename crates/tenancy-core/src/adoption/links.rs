//! How the rows of a table refer to others: by foreign keys, and by columns that are only named like one.

use super::facts::{ForeignKey, SchemaFacts, Table, names};
use super::found::{Found, Parent};
use super::schema::{Schema, plain, singular};
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
    cascades: bool,
}

impl Link {
    fn of_key(key: &ForeignKey) -> Self {
        Self {
            to: key.to.clone(),
            columns: key.columns.clone(),
            ref_columns: key.ref_columns.clone(),
            key: Some(key.name.clone()),
            checked: key.validated,
            cascades: key.cascades,
        }
    }

    fn named(to: &Relation, column: &str, ref_column: &str) -> Self {
        Self {
            to: to.clone(),
            columns: vec![column.to_owned()],
            ref_columns: vec![ref_column.to_owned()],
            key: None,
            checked: false,
            cascades: false,
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
        let mut links: Vec<Link> = table.foreign_keys.iter().map(Link::of_key).collect();
        links.sort_by_key(|link| !link.cascades);
        if self.choices.named_keys {
            let named = |column: &'a super::facts::Column| {
                let (to, key) = self.by_name(table, column)?;
                Some(Link::named(to, &column.name, key))
            };
            links.extend(table.columns.iter().filter_map(named));
        }
        links
    }

    /// Returns what a source of a table's trigger is by now.
    pub fn followed(
        &self,
        table: &Table,
        source: &super::filled::Source<'_, String>,
    ) -> Option<Link> {
        if source.key_name().is_some() {
            return table
                .foreign_keys
                .iter()
                .find(|key| source.is_of(&key.name, &key.columns))
                .map(Link::of_key);
        }
        let to = Relation {
            schema: source.schema.clone(),
            name: source.name.clone(),
        };
        let other = self.facts.table(&to)?;
        let there = source.columns().all(|c| table.column(c).is_some())
            && source.ref_columns().all(|c| other.column(c).is_some());
        there.then(|| Link {
            to,
            columns: source.columns().cloned().collect(),
            ref_columns: source.ref_columns().cloned().collect(),
            key: None,
            checked: false,
            cascades: false,
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

    /// Returns the table and its key that a column without a foreign key is named after, in its own schema if there are several.
    pub fn by_name(
        &self,
        table: &Table,
        column: &super::facts::Column,
    ) -> Option<(&'a Relation, &'a str)> {
        if table
            .foreign_keys
            .iter()
            .any(|key| key.columns.contains(&column.name))
        {
            return None;
        }
        let name = plain(&column.name);
        let named = |other: &&'a Table| {
            other.relation != table.relation
                && plain(&format!("{}_id", singular(&other.relation.name))) == name
                && matches!(other.primary_key.as_slice(), [key] if other.column(key).is_some_and(|key| same_kind(&key.type_name, &column.type_name)))
        };
        let found: Vec<&'a Table> = self.facts.tables.iter().filter(named).collect();
        let here = |other: &&&'a Table| other.relation.schema == table.relation.schema;
        let other = match found.as_slice() {
            [only] => only,
            several => several.iter().find(here)?,
        };
        Some((&other.relation, other.primary_key.first()?))
    }
}

/// Returns whether values of two types can be compared: of the same one, or both whole numbers.
fn same_kind(one: &str, other: &str) -> bool {
    let is_whole = |name: &str| matches!(name, "bigint" | "integer" | "smallint");
    one == other || is_whole(one) && is_whole(other)
}

/// Returns a table by its name with its schema.
fn by_any_name<'f>(facts: &'f SchemaFacts, name: &str) -> Option<&'f Table> {
    let is_named = |table: &&Table| names(&table.relation).iter().any(|own| own == name);
    facts.tables.iter().find(is_named)
}

/// Returns whether a row may refer to none of its parents.
pub fn is_loose(table: &Table, parents: &[Parent]) -> bool {
    !parents
        .iter()
        .any(|parent| table.always_has(&parent.columns))
}
