//! The columns and owners of a schema's tables, as they are compared with the table of tenants.

use std::collections::HashMap;

use super::facts::{Choices, Column, Decision, ForeignKey, NullRows, SchemaFacts, Table};
use super::found::Parent;
use crate::policy::{KeyType, quote_ident};

pub(super) struct Schema<'a> {
    pub facts: &'a SchemaFacts,
    pub choices: &'a Choices,
    /// The key of the table of tenants.
    pub key: Option<&'a Column>,
    /// Names of columns that hold the tenant, the most frequent first.
    pub names: Vec<String>,
    /// Tables with a key of one column, by the names that columns have after them.
    pub by_column_name: HashMap<String, Vec<&'a Table>>,
}

impl<'a> Schema<'a> {
    pub fn new(facts: &'a SchemaFacts, choices: &'a Choices) -> Self {
        let mut schema = Self {
            facts,
            choices,
            key: facts.tenant_key(choices),
            names: Vec::new(),
            by_column_name: HashMap::new(),
        };
        schema.names = schema.column_names();
        for table in facts
            .tables
            .iter()
            .filter(|table| table.primary_key.len() == 1)
        {
            let name = plain(&format!("{}_id", singular(&table.relation.name)));
            schema.by_column_name.entry(name).or_default().push(table);
        }
        schema
    }

    /// Returns the names of columns that hold the tenant: those that refer to the table of tenants, those by which tables are
    /// protected, and those that applications usually give. Upper case and `_` make no difference.
    fn column_names(&self) -> Vec<String> {
        let mut counted: Vec<(String, usize)> = Vec::new();
        let mut count = |name: &String| match counted.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += 1,
            None => counted.push((name.clone(), 1)),
        };
        for table in &self.facts.tables {
            let keys = table
                .foreign_keys
                .iter()
                .filter(|key| self.is_to_tenant(key));
            keys.flat_map(|key| &key.columns).for_each(&mut count);
            if table.relation != self.facts.tenant_table {
                table.protected_by.iter().for_each(&mut count);
            }
        }
        counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut names: Vec<String> = self.choices.tenant_column.iter().cloned().collect();
        names.extend(counted.into_iter().map(|(name, _)| name));
        let of = singular(&self.facts.tenant_table.name);
        names.push(format!("{of}_id"));
        names.extend(self.key.map(|k| k.name.clone()).filter(|name| name != "id"));
        names.push("tenant_id".to_owned());
        if of.to_lowercase().starts_with("org") {
            names.extend(["organization_id", "organisation_id", "org_id"].map(String::from));
        }
        let mut seen = Vec::new();
        for name in names {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        seen
    }

    /// Returns whether a foreign key is to the tenant's key alone.
    pub fn is_to_tenant(&self, key: &ForeignKey) -> bool {
        key.to == self.facts.tenant_table
            && self
                .key
                .is_some_and(|k| key.ref_columns == [k.name.clone()])
    }

    /// Returns what the caller has decided about a table that it does not have.
    pub fn wrong_decision(&self, table: &Table) -> Option<String> {
        let decision = self.choices.of(&table.relation)?;
        if let Some(name) = &decision.parent_key
            && !table.foreign_keys.iter().any(|key| key.name == *name)
        {
            return Some(format!(
                "has no foreign key {}, as was decided",
                quote_ident(name)
            ));
        }
        let otherwise = Decision {
            skip: false,
            share: false,
            ..decision.clone()
        };
        if decision.leaves_alone() && otherwise != Decision::default() {
            return Some("was decided to stay as it is, and otherwise".to_owned());
        }
        if decision.rest.is_some() && decision.null_rows != Some(NullRows::Fill) {
            return Some("was decided on the rest without \"null_rows\": \"fill\"".to_owned());
        }
        let columns = [
            &decision.tenant_column,
            &decision.owner_column,
            &decision.project_column,
        ];
        let missing = (columns.into_iter().flatten()).find(|name| table.column(name).is_none());
        if let Some(name) = missing {
            return Some(format!(
                "has no column {}, as was decided",
                quote_ident(name)
            ));
        }
        let parents = decision.parents.iter().flatten();
        parents
            .map(|(column, parent)| self.decided(table, column, parent))
            .find_map(Result::err)
    }

    /// Returns why a table cannot be adopted because of its owner. All tables have one owner, who may do in maintenance what
    /// their triggers do then.
    pub fn wrong_owner(&self, table: &Table) -> Option<String> {
        if !table.caller_owns {
            return Some("belongs to another role: adopt as its owner".to_owned());
        }
        let tenants = self.facts.table(&self.facts.tenant_table)?;
        let owner = quote_ident(&table.owner);
        if table.owner != tenants.owner {
            return Some(format!(
                "belongs to {owner}, and the table of tenants to {}: give them one owner",
                quote_ident(&tenants.owner)
            ));
        }
        if table.owner_is_shared {
            return Some(format!(
                "belongs to {owner}, a role that tenants share, who could take the protection off. Give the application's tables to another role: \
                 CREATE ROLE {0}; GRANT tenancy_admin TO {0}; GRANT USAGE, CREATE ON SCHEMA {1} TO {0}; REASSIGN OWNED BY {owner} TO {0}; \
                 and name {owner} in grants",
                quote_ident(&format!("{}_owner", table.owner)),
                quote_ident(&table.relation.schema)
            ));
        }
        (!table.owner_is_admin).then(|| {
            format!("belongs to {owner}, who lacks tenancy_admin: GRANT tenancy_admin TO {owner}")
        })
    }

    /// Returns whether tables belong to the same owner as all others.
    pub fn may_read<'p>(&self, mut tables: impl Iterator<Item = &'p Parent>) -> bool {
        tables.all(|table| {
            let table = self.facts.table(&table.relation);
            table.is_some_and(|table| self.wrong_owner(table).is_none())
        })
    }

    /// Returns whether a column can hold the tenant's key: uuid for uuid, and any other type of key for any other.
    pub fn fits(&self, column: &Column) -> bool {
        let (Some(own), Some(tenant)) = (column.key, self.key.and_then(|k| k.key)) else {
            return false;
        };
        (own.kind == KeyType::Uuid) == (tenant.kind == KeyType::Uuid)
    }

    /// Returns whether no foreign key says that the table of tenants has the keys of a tenant column.
    pub fn is_unchecked(&self, table: &Table, column: &Column) -> bool {
        let mut keys = table.foreign_keys.iter();
        !keys.any(|key| {
            self.is_to_tenant(key) && key.columns == [column.name.clone()] && key.validated
        })
    }

    /// Returns the columns of a table that may hold the tenant, with their foreign keys: the decided one, or those that refer to
    /// the table of tenants, or those whose name says so.
    pub fn tenant_columns<'t>(
        &self,
        table: &'t Table,
    ) -> Vec<(&'t Column, Option<&'t ForeignKey>)> {
        let key_of = |column: &Column| {
            (table.foreign_keys.iter())
                .find(|key| self.is_to_tenant(key) && key.columns == [column.name.clone()])
        };
        let decision = self.choices.of(&table.relation);
        // It may have a tenant column that is filled from them.
        let fills = self.fills(table);
        if decision.is_some_and(|d| d.by_referrers)
            || !fills && decision.is_some_and(|d| d.parent_key.is_some() || d.parents.is_some())
        {
            return Vec::new();
        }
        if let Some(name) = decision.and_then(|d| d.tenant_column.as_ref()) {
            return table
                .column(name)
                .into_iter()
                .map(|c| (c, key_of(c)))
                .collect();
        }
        let mut found: Vec<_> = (table.columns.iter())
            .filter_map(|column| Some((column, Some(key_of(column)?))))
            .collect();
        if found.is_empty() {
            let named = self.names.iter().find_map(|name| {
                let same = |column: &&Column| plain(&column.name) == plain(name);
                table.columns.iter().find(same)
            });
            found.extend(named.map(|column| (column, None)));
        }
        found
    }

    /// Returns the best of a table's candidates: the one with the name that most tables have, else the first.
    pub fn best<'t>(
        &self,
        candidates: &[(&'t Column, Option<&'t ForeignKey>)],
    ) -> Option<(&'t Column, Option<&'t ForeignKey>)> {
        let named =
            (self.names.iter()).find_map(|name| candidates.iter().find(|(c, _)| c.name == *name));
        named.or(candidates.first()).copied()
    }
}

/// Returns a name as it is compared: applications write organizationId and organization_id.
pub(super) fn plain(name: &str) -> String {
    name.to_lowercase().replace('_', "")
}

/// Returns the singular of a table's name, as applications name their columns.
pub(super) fn singular(name: &str) -> String {
    match name {
        _ if name.ends_with("ies") => format!("{}y", name.trim_end_matches("ies")),
        _ if name.ends_with("sses") || name.ends_with("xes") => {
            name.trim_end_matches("es").to_owned()
        }
        _ if name.ends_with("ss") => name.to_owned(),
        _ => name.trim_end_matches('s').to_owned(),
    }
}
