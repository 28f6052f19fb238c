//! What each table is, and by which column or parent its rows belong to a tenant.

use super::facts::{Choices, Column, FILL, SchemaFacts, Table};
use super::filled::Filled;
use super::found::{Found, Kind};
use super::rows::{rows, such_as};
use super::schema::{Schema, plain};
use crate::policy::quote_ident;

/// Finds out what each table is, in the order of the facts.
pub fn classify(facts: &SchemaFacts, choices: &Choices) -> Vec<Found> {
    let schema = Schema::new(facts, choices);
    let mut found: Vec<Option<Found>> = (facts.tables.iter())
        .map(|table| schema.by_itself(table))
        .collect();
    // Links that a row always has first, level by level; only then those that may be NULL.
    while let Some((n, child)) =
        (schema.next_child(&found)).or_else(|| schema.next_referred(&found))
    {
        if let Some(place) = found.get_mut(n) {
            *place = Some(child);
        }
    }
    for n in 0..found.len() {
        schema.add_parents(n, &mut found);
    }
    schema.refresh(&mut found);
    for n in 0..found.len() {
        schema.add_referrers(n, &mut found);
    }
    schema.check_all(&mut found);
    let known = found.clone();
    (facts.tables.iter().zip(found))
        .map(|(table, found)| found.unwrap_or_else(|| schema.without_link(table, &known)))
        .collect()
}

impl<'a> Schema<'a> {
    /// Classifies what needs no other table: the table of tenants, and tables with a tenant column.
    fn by_itself(&self, table: &Table) -> Option<Found> {
        if let Some(name) = &table.protected_by {
            let kind = match table.relation == self.facts.tenant_table {
                true => Kind::TenantTable,
                false => Kind::TenantColumn,
            };
            let mut found =
                Found::new(kind, usize::from(kind != Kind::TenantTable), "is protected");
            if let Some(column) = table.column(name) {
                found = found.with_column(column);
            }
            found.shares_null = table.shares_null;
            // protect() declares the column NOT NULL otherwise.
            let may_be_null = table.column(name).is_some_and(|c| !c.not_null);
            found.hides_null = may_be_null && !table.shares_null && table.known.is_none();
            found.may_miss = found.may_be_null();
            self.check_sources(table, &mut found);
            return Some(found);
        }
        if let Some(reason) = self.wrong_decision(table) {
            let mut found = Found::new(Kind::NoLink, 0, reason.clone());
            found.block(reason);
            return Some(found);
        }
        if table.relation == self.facts.tenant_table {
            return Some(self.tenant_table(table));
        }
        match self.choices.of(&table.relation) {
            Some(decision) if decision.skip => {
                return Some(Found::new(Kind::Skipped, 0, "was decided"));
            }
            Some(decision) if decision.share => {
                let mut found = Found::new(Kind::Lookup, 0, "was decided");
                found.is_shared = true;
                return Some(found);
            }
            _ => {}
        }
        if table.filled.as_ref().is_some_and(Filled::is_added) {
            // A child whose column was added before.
            return None;
        }
        let candidates = self.tenant_columns(table);
        let (column, key) = self.best(&candidates)?;
        let reason = match key {
            Some(key) => format!(
                "{} refers to the table of tenants ({})",
                quote_ident(&column.name),
                quote_ident(&key.name)
            ),
            None if self.choices.of(&table.relation).is_some() => "was decided".to_owned(),
            None => format!("has the column {}", quote_ident(&column.name)),
        };
        let mut found = Found::new(Kind::TenantColumn, 1, reason).with_column(column);
        self.check_owner(table, &mut found);
        if candidates.len() > 1
            && self
                .names
                .first()
                .is_none_or(|name| plain(name) != plain(&column.name))
        {
            let names: Vec<String> = candidates
                .iter()
                .map(|(c, _)| quote_ident(&c.name))
                .collect();
            found.block(format!(
                "{} refer to the table of tenants: decide on one with {{\"tenant_column\": …}}",
                names.join(" and ")
            ));
        }
        found.may_miss = self.may_stay(table) && !column.not_null;
        self.check_type(column, &mut found);
        self.check_sources(table, &mut found);
        Some(found)
    }

    fn tenant_table(&self, table: &Table) -> Found {
        let mut found = Found::new(Kind::TenantTable, 0, "is the table of tenants");
        self.check_owner(table, &mut found);
        let Some(key) = self.key else {
            found
                .block("has no primary key of one column: name its key with tenant_key".to_owned());
            return found;
        };
        found = found.with_column(key);
        if key.key.is_none() || key.computed || key.generated && key.type_name == "uuid" {
            found.block(format!(
                "its key {} has the type {}",
                quote_ident(&key.name),
                key.type_name
            ));
        }
        if !key.not_null {
            found.block(format!("its key {} may be NULL", quote_ident(&key.name)));
        }
        if self.facts.taken_keys > 0 {
            found.block(format!(
                "{} with the external id of another partner's tenant, or with the key of a scope that is no tenant{}: adopt with that partner, or change the keys",
                rows(self.facts.taken_keys),
                such_as(&self.facts.taken_key)
            ));
        }
        found
    }

    pub fn check_owner(&self, table: &Table, found: &mut Found) {
        if let Some(reason) = self.wrong_owner(table) {
            found.block(reason);
        }
    }

    /// Checks the type of a tenant column, and that the application writes it.
    fn check_type(&self, column: &Column, found: &mut Found) {
        if column.generated {
            found.block(format!(
                "{} is a generated column, by which no table is isolated: name another with {{\"tenant_column\": …}}",
                quote_ident(&column.name)
            ));
        }
        if !self.fits(column) {
            let wanted = self.key.map_or("another", |key| key.type_name.as_str());
            found.block(format!(
                "{} has the type {}, and the key of tenants {wanted}",
                quote_ident(&column.name),
                column.type_name
            ));
        }
    }

    /// Checks that what a trigger fills the tenant column from is still there.
    fn check_sources(&self, table: &Table, found: &mut Found) {
        let Some(filled) = &table.filled else { return };
        let gone = filled
            .sources()
            .find(|source| self.followed(table, source).is_none());
        if let Some(source) = gone {
            let what = match source.key_name() {
                Some(key) => format!("the foreign key {}", quote_ident(key)),
                None => format!(
                    "the link to {}.{}",
                    quote_ident(source.schema),
                    quote_ident(source.name)
                ),
            };
            found.block(format!("{what} that gave its rows a tenant is gone: create it again, or drop the trigger {FILL}"));
        }
    }

    /// Classifies a table that nothing links to a tenant.
    fn without_link(&self, table: &Table, known: &[Option<Found>]) -> Found {
        if table.filled.is_some() {
            let mut found =
                Found::new(Kind::Child, 0, "belonged to a tenant through another table");
            self.check_sources(table, &mut found);
            self.check_left(table, &mut found, known);
            return found;
        }
        let decision = self.choices.of(&table.relation);
        if decision.is_some_and(|d| d.parent_key.is_some() || d.parents.is_some() || d.by_referrers)
        {
            let mut found = Found::new(Kind::NoLink, 0, "was decided on");
            found.block("what was decided links it to no table of tenants' rows".to_owned());
            return found;
        }
        let named = table.columns.iter().find_map(|column| {
            let mut all = self.all_by_name(table, column);
            all.retain(|(to, _)| self.holder(to, known).is_some());
            all.first().map(|(to, _)| (column, *to, all.len()))
        });
        if let Some((column, parent, tables)) = named {
            let name = quote_ident(&column.name);
            let reason = format!("{name} may refer to {parent}");
            let mut found = Found::new(Kind::NoLink, 0, reason);
            let all = match tables {
                1 => {
                    "take all columns that are named like a key for one with named_keys => true, or this one with "
                }
                _ => "or to another table of such a name: name it with ",
            };
            found.block(format!(
                "{name} may refer to {parent}, without a foreign key: {all}{{\"parents\": {{{}: {}}}}}, or decide with {{\"skip\": true}}",
                json(&column.name),
                json(&format!("{}.{}", parent.schema, parent.name))
            ));
            return found;
        }
        let refers = |(other, place): &(&'a Table, &Option<Found>)| {
            place.as_ref().is_some_and(Found::holds_tenants)
                && (self.all_links(other).iter()).any(|link| link.to == table.relation)
        };
        let Some((first, _)) = self.facts.tables.iter().zip(known).find(refers) else {
            return Found::new(
                Kind::NoLink,
                0,
                "has no column with the tenant, and nothing by which it refers to a table that has one",
            );
        };
        let reason = format!(
            "{} refers to it, and it has no column with the tenant",
            first.relation
        );
        // Without a row that two tenants use it may be one tenant's.
        let is_shared = table.usage.of_several > 0;
        let reason = match is_shared {
            true => reason,
            false => format!(
                "{reason}; no two tenants use the same row of it, so that it is not granted"
            ),
        };
        let mut found = Found::new(Kind::Lookup, 0, reason);
        found.is_shared = is_shared;
        if let Some(key) = &table.referred_once {
            found.block(format!(
                "each of its rows is that of one row of another table ({key}), so it may hold tenants' rows: decide with \
                 {{\"share\": true}} or {{\"skip\": true}}, or give each row to the tenant that uses it with {{\"by_referrers\": true}}"
            ));
        } else {
            self.check_sharing(table, &mut found, known);
        }
        found
    }
}

/// Returns a text as a decision has it.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
