//! What each table is, and by which column or parent its rows belong to a tenant.

use std::collections::HashMap;

use super::facts::{Choices, Column, FILL, Filled, ForeignKey, NullRows, SchemaFacts, Table};
use super::found::{Found, Kind, Parent};
use super::schema::{Schema, plain, singular};
use crate::policy::{Relation, quote_ident};

/// Finds out what each table is, in the order of the facts.
pub fn classify(facts: &SchemaFacts, choices: &Choices) -> Vec<Found> {
    let schema = Schema::new(facts, choices);
    let mut found: Vec<Option<Found>> = (facts.tables.iter())
        .map(|table| schema.by_itself(table))
        .collect();
    // Strict keys first, level by level; only then keys that may be NULL.
    while let Some((n, child)) = schema.next_child(&found) {
        if let Some(place) = found.get_mut(n) {
            *place = Some(child);
        }
    }
    let known: HashMap<&Relation, Kind> = (facts.tables.iter().zip(&found))
        .filter_map(|(table, found)| Some((&table.relation, found.as_ref()?.kind)))
        .collect();
    for (table, found) in facts.tables.iter().zip(&mut found) {
        if let Some(found) = found {
            other_parents(table, &known, found);
        }
    }
    (facts.tables.iter().zip(found))
        .map(|(table, found)| found.unwrap_or_else(|| schema.without_link(table, &known)))
        .collect()
}

/// Returns whether rows of such a table belong to tenants.
fn holds_tenants(kind: Kind) -> bool {
    matches!(kind, Kind::TenantTable | Kind::TenantColumn | Kind::Child)
}

/// Blocks a child some of whose rows do not refer to its parent, but may belong to a tenant through another foreign key: they would
/// be everybody's.
fn other_parents(table: &Table, known: &HashMap<&Relation, Kind>, found: &mut Found) {
    let Some(parent) = found.parent.as_ref().filter(|_| table.filled.is_none()) else {
        return;
    };
    let without = |name: &String| table.counts.get(name).is_some_and(|count| count.null > 0);
    if !parent.columns.iter().any(without) {
        return;
    }
    let others: Vec<String> = (table.foreign_keys.iter())
        .filter(|key| key.name != parent.key)
        .filter(|key| (known.get(&key.to)).is_some_and(|kind| holds_tenants(*kind)))
        .map(|key| quote_ident(&key.name))
        .collect();
    if !others.is_empty() {
        found.block(format!(
            "its rows that do not refer to {} may have a tenant through {}, and are not everybody's: give it a column with the tenant, filled from all of \
             these, and name that with {{\"tenant_column\": …}}",
            parent.relation,
            others.join(", ")
        ));
    }
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
            if let Some(filled) = &table.filled
                && !table.foreign_keys.iter().any(|key| filled.follows(key))
            {
                found.block(gone(filled));
            }
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
                return Some(Found::new(Kind::Lookup, 0, "was decided"));
            }
            _ => {}
        }
        if table.filled.is_some() {
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
        self.check_column(table, column, &mut found);
        if let Some(key) = key.filter(|key| key.clears && found.shares_null) {
            found.block(format!(
                "its foreign key {} clears {} when a tenant goes: the tenant's rows would become everybody's",
                quote_ident(&key.name),
                quote_ident(&column.name)
            ));
        }
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
        if key.key.is_none() || key.generated && key.type_name == "uuid" {
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
                "{} with the external id of another partner's tenant, or with the key of a scope that is no tenant: adopt with that partner, or change the keys",
                rows(self.facts.taken_keys)
            ));
        }
        found
    }

    fn check_owner(&self, table: &Table, found: &mut Found) {
        if let Some(reason) = self.wrong_owner(table) {
            found.block(reason);
        }
    }

    /// Checks the type of a tenant column and its rows.
    fn check_column(&self, table: &Table, column: &Column, found: &mut Found) {
        let name = quote_ident(&column.name);
        if !self.fits(column) {
            let wanted = self.key.map_or("another", |key| key.type_name.as_str());
            found.block(format!(
                "{name} has the type {}, and the key of tenants {wanted}",
                column.type_name
            ));
            return;
        }
        let counts = table.counts.get(&column.name).copied().unwrap_or_default();
        if counts.unknown > 0 {
            found.block(format!(
                "{} whose {name} no tenant has: correct or delete them",
                rows(counts.unknown)
            ));
        }
        self.check_nulls(table, &column.name, counts.null, found);
    }

    /// Checks rows without a tenant.
    fn check_nulls(&self, table: &Table, column: &str, null: i64, found: &mut Found) {
        let decided = self.choices.of(&table.relation).and_then(|d| d.null_rows);
        if decided.unwrap_or(self.choices.null_rows) == NullRows::Share {
            found.shares_null = null > 0 || decided.is_some();
        } else if null > 0 {
            found.block(format!(
                "{} without {}: fill it, or let all tenants read them with {{\"null_rows\": \"share\"}}",
                rows(null),
                quote_ident(column)
            ));
        }
    }

    /// Finds the next table that belongs to a tenant through another one that does.
    fn next_child(&self, found: &[Option<Found>]) -> Option<(usize, Found)> {
        let mut best: Option<(bool, usize, usize, Found)> = None;
        for (n, table) in self.facts.tables.iter().enumerate() {
            if found.get(n).is_none_or(Option::is_some) {
                continue;
            }
            let decided = self
                .choices
                .of(&table.relation)
                .and_then(|d| d.parent_key.as_ref());
            let mut keys: Vec<&ForeignKey> = (table.foreign_keys.iter())
                .filter(|key| match (&table.filled, decided) {
                    // It may have another name by now.
                    (Some(filled), _) => filled.follows(key),
                    (None, Some(name)) => *name == key.name,
                    (None, None) => true,
                })
                .collect();
            keys.sort_by_key(|key| !key.cascades);
            for key in keys {
                let Some(above) = self.holder(&key.to, found) else {
                    continue;
                };
                let loose = !table.always_refers(key);
                let place = (loose, above.depth + 1);
                if best.as_ref().is_none_or(|(l, d, ..)| place < (*l, *d)) {
                    let child = self.child(table, key, above, loose);
                    best = Some((place.0, place.1, n, child));
                }
            }
        }
        best.map(|(_, _, n, child)| (n, child))
    }

    fn holder<'f>(&self, relation: &Relation, found: &'f [Option<Found>]) -> Option<&'f Found> {
        let n = self
            .facts
            .tables
            .iter()
            .position(|t| t.relation == *relation)?;
        let above = found.get(n)?.as_ref()?;
        (above.column.is_some() && above.kind != Kind::Skipped).then_some(above)
    }

    fn child(&self, table: &Table, key: &ForeignKey, above: &Found, loose: bool) -> Found {
        let column = match &table.filled {
            Some(filled) => filled.column.clone(),
            None => self
                .names
                .first()
                .cloned()
                .unwrap_or_else(|| "tenant_id".to_owned()),
        };
        let path = format!("refers to {} ({})", key.to, quote_ident(&key.name));
        let mut found = Found::new(Kind::Child, above.depth + 1, path);
        self.check_owner(table, &mut found);
        if table.filled.is_none() && table.column(&column).is_some() {
            found.block(format!(
                "has a column {} that is not the tenant: choose another name with tenant_column",
                quote_ident(&column)
            ));
        }
        if loose {
            let null = |name: &String| table.counts.get(name).map_or(0, |c| c.null);
            let (name, null) = (key.columns.iter().map(|name| (name, null(name))))
                .max_by_key(|(_, null)| *null)
                .map_or((String::new(), 0), |(name, null)| (name.clone(), null));
            self.check_nulls(table, &name, null, &mut found);
        }
        if table.has_heirs {
            found
                .block("tables inherit from it, whose rows no trigger would keep right".to_owned());
        }
        // Rows of what is everybody's are everybody's too.
        found.shares_null |= above.shares_null;
        found.column = Some(column);
        found.column_type.clone_from(&above.column_type);
        found.parent = Some(Parent {
            relation: key.to.clone(),
            tenant_column: above.column.clone().unwrap_or_default(),
            tenant_type: above.column_type.clone(),
            key: key.name.clone(),
            columns: key.columns.clone(),
            ref_columns: key.ref_columns.clone(),
        });
        found
    }

    /// Classifies a table that no foreign key links to a tenant.
    fn without_link(&self, table: &Table, known: &HashMap<&Relation, Kind>) -> Found {
        if let Some(filled) = &table.filled {
            let mut found =
                Found::new(Kind::Child, 0, "belonged to a tenant through a foreign key");
            found.block(gone(filled));
            return found;
        }
        if let Some((column, parent)) = self.by_name(table, known) {
            let reason = format!("{} may refer to {parent}", quote_ident(&column.name));
            let mut found = Found::new(Kind::NoLink, 0, reason);
            found.block(format!(
                "{} may refer to {parent}: add the foreign key, or decide with {{\"skip\": true}}",
                quote_ident(&column.name)
            ));
            return found;
        }
        let refers = |other: &&Table| {
            (known.get(&other.relation)).is_some_and(|kind| holds_tenants(*kind))
                && (other.foreign_keys.iter()).any(|key| key.to == table.relation)
        };
        let Some(first) = self.facts.tables.iter().find(refers) else {
            return Found::new(
                Kind::NoLink,
                0,
                "has no column with the tenant, and no foreign key to a table that has one",
            );
        };
        let reason = format!(
            "{} refers to it, and it has no column with the tenant",
            first.relation
        );
        let mut found = Found::new(Kind::Lookup, 0, reason);
        if let Some(key) = &table.referred_once {
            found.block(format!(
                "each of its rows is that of one row of another table ({key}), so it may hold tenants' rows: decide with \
                 {{\"share\": true}} or {{\"skip\": true}}, or give it the tenant's column"
            ));
        }
        found
    }

    /// Finds a column that is named after a table of tenants' rows and has the type of its key, without a foreign key.
    fn by_name<'t>(
        &self,
        table: &'t Table,
        known: &HashMap<&Relation, Kind>,
    ) -> Option<(&'t Column, &'a Relation)> {
        for other in &self.facts.tables {
            let belongs = matches!(
                known.get(&other.relation),
                Some(Kind::TenantTable | Kind::TenantColumn | Kind::Child)
            );
            let [key] = other.primary_key.as_slice() else {
                continue;
            };
            if !belongs || other.relation == table.relation {
                continue;
            }
            let name = plain(&format!("{}_id", singular(&other.relation.name)));
            let key = other.column(key);
            let column = (table.columns.iter().filter(|c| plain(&c.name) == name)).find(|column| {
                key.is_some_and(|key| key.type_name == column.type_name)
                    && !table
                        .foreign_keys
                        .iter()
                        .any(|k| k.columns.contains(&column.name))
            });
            if let Some(column) = column {
                return Some((column, &other.relation));
            }
        }
        None
    }
}

fn gone(filled: &Filled) -> String {
    format!(
        "the foreign key {} that gave its rows a tenant is gone: create it again, or drop the trigger {FILL}",
        quote_ident(&filled.key)
    )
}

fn rows(count: i64) -> String {
    match count {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    }
}
