//! Reads the facts about schemas and plans their adoption.

use std::collections::HashMap;

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::Value;
use tenancy_core::adoption::{self, Choices, Counts, SchemaFacts, TablePlan};
use tenancy_core::policy::{KeyType, Refusal, Relation, quote_ident};

use super::tenants;
use crate::error::Error;
use crate::pg::spi::{self, Finds, NotNull};
use crate::pg::{relation, role};
use crate::policy;

/// What is adopted, and what the caller has chosen.
pub struct Adopted {
    pub tenant_table: pg_sys::Oid,
    pub schemas: Vec<String>,
    pub choices: Choices,
    /// Whether tables of the schemas were protected before.
    pub began: bool,
}

impl Adopted {
    /// Looks up the schemas; by default that of the table of tenants.
    pub fn new(
        tenant_table: pg_sys::Oid,
        schemas: Option<Vec<String>>,
        choices: Choices,
    ) -> Result<Self, Error> {
        policy::pinned(|| Self::found(tenant_table, schemas, choices))
    }

    fn found(
        tenant_table: pg_sys::Oid,
        schemas: Option<Vec<String>>,
        choices: Choices,
    ) -> Result<Self, Error> {
        let owner = relation::read(tenant_table, |class| class.relowner)
            .ok_or(Error::NoSuch("the table of tenants"))?;
        if !role::may_act_as(owner) {
            return Err(Error::Refused(Refusal::NotOwner {
                table: policy::relation_name(tenant_table)?,
            }));
        }
        // Whoever adopts decides on later tables of the schemas.
        let found = spi::read_as_caller(
            "SELECT n.nspname::text FROM pg_namespace n JOIN pg_class c ON c.oid = $1 \
             WHERE n.oid = c.relnamespace AND ($2 IS NULL OR n.nspname = ANY ($2)) \
                OR n.nspname = ANY ($2) AND pg_has_role(n.nspowner, 'USAGE') AND n.oid >= 16384 \
                   AND n.nspname NOT IN ('tenancy', 'tenancy_internal')",
            &[tenant_table.into(), schemas.clone().into()],
            |rows| {
                rows.into_iter()
                    .map(|row| row.not_null::<String>(1))
                    .collect::<Result<Vec<_>, Error>>()
            },
        )?;
        let wanted = schemas.unwrap_or_default();
        if let Some(missing) = wanted.iter().find(|schema| !found.contains(schema)) {
            return Err(Error::bad(
                format!("schema \"{missing}\" does not exist, or belongs to another role"),
                "Name schemas as they are stored, without quotes: that of the table of tenants, and others that belong to you.",
            ));
        }
        let unknown = spi::read_as_caller(
            "SELECT g.name FROM pg_catalog.unnest($1) AS g(name) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = g.name) LIMIT 1",
            &[choices.grants.clone().into()],
            |rows| match rows.into_iter().next() {
                Some(row) => Ok(row.get::<String>(1)?),
                None => Ok(None),
            },
        )?;
        if let Some(role) = unknown {
            return Err(Error::Refused(Refusal::NoRole { role }));
        }
        let protected = policy::protected_columns()?;
        let oids: Vec<String> = match protected {
            Value::Object(columns) => columns.into_iter().map(|(oid, _)| oid).collect(),
            _ => Vec::new(),
        };
        let began = spi::read_as_caller(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.oid::text = ANY ($1) AND n.nspname = ANY ($2))",
            &[oids.into(), found.clone().into()],
            |rows| match rows.into_iter().next() {
                Some(row) => row.not_null(1),
                None => Ok(false),
            },
        )?;
        Ok(Self {
            tenant_table,
            schemas: found,
            choices,
            began,
        })
    }
}

/// Reads the caller's choices.
pub fn choices(value: Value) -> Result<Choices, Error> {
    serde_json::from_value(value).map_err(|fault| {
        Error::bad(
            format!("options of adopt(): {fault}"),
            "null_rows is refuse or share. decisions are {\"schema.table\": {\"skip\": true}}, or tenant_column, parent_key or null_rows.",
        )
    })
}

/// Plans what is left to do.
pub fn plan(adopted: &Adopted) -> Result<Vec<TablePlan>, Error> {
    plan_for(adopted, None)
}

/// The same, for some tables alone: the rows of others are not counted, and their plans are worth nothing.
pub fn plan_for(adopted: &Adopted, only: Option<&[String]>) -> Result<Vec<TablePlan>, Error> {
    let choices = &adopted.choices;
    let mut facts = facts(adopted)?;
    if only.is_none() {
        check_decisions(&facts, choices)?;
    }
    count(adopted, &mut facts, only)?;
    Ok(adoption::plan(&facts, choices))
}

/// Plans how to undo an adoption.
pub fn undo(adopted: &Adopted) -> Result<Vec<TablePlan>, Error> {
    Ok(adoption::undo(&facts(adopted)?, &adopted.choices))
}

fn check_decisions(facts: &SchemaFacts, choices: &Choices) -> Result<(), Error> {
    for name in choices.decisions.keys() {
        let is_it = |t: &adoption::Table| {
            let relation = &t.relation;
            format!("{}.{}", relation.schema, relation.name) == *name
                || relation.to_string() == *name
        };
        if !facts.tables.iter().any(is_it) {
            return Err(Error::bad(
                format!("decisions name {name}, which is no table of the schemas"),
                "Write the table's name with its schema.",
            ));
        }
    }
    Ok(())
}

fn facts(adopted: &Adopted) -> Result<SchemaFacts, Error> {
    let args = [
        adopted.tenant_table.into(),
        adopted.schemas.clone().into(),
        JsonB(policy::protected_columns()?).into(),
        adopted.choices.grants.clone().into(),
        policy::protected_with_shared_null()?.into(),
    ];
    let found = spi::planned_once(Finds::Any, || {
        spi::read_as_caller(include_str!("facts.sql"), &args, |rows| {
            match rows.into_iter().next() {
                Some(row) => Ok(row.get::<JsonB>(1)?),
                None => Ok(None),
            }
        })
    })?;
    let JsonB(found) = found.ok_or(Error::NoSuch("the table"))?;
    let facts: SchemaFacts = serde_json::from_value(found)
        .map_err(|_| Error::Internal("the catalogs' answer cannot be read"))?;
    if facts.table(&facts.tenant_table).is_none() {
        return Err(Error::bad(
            format!(
                "{} is not a table of the adopted schemas",
                facts.tenant_table
            ),
            "Name its schema among schemas. A view, a foreign table, a partition or an extension's table cannot be the table of tenants.",
        ));
    }
    Ok(facts)
}

/// Counts the rows that somebody may have to decide on, with the rights of the tables' owner: rows without a tenant, and rows whose key
/// the table of tenants does not have. Also finds out whether it has rows without a scope.
fn count(adopted: &Adopted, facts: &mut SchemaFacts, only: Option<&[String]>) -> Result<(), Error> {
    let choices = &adopted.choices;
    let tenants = facts.tenant_table.to_string();
    let table = facts.table(&facts.tenant_table);
    let key = table.and_then(|t| {
        let only = t.primary_key.first().cloned();
        choices.tenant_key.clone().or(only)
    });
    // The plan says what is wrong with it otherwise.
    let known = |key: &String| {
        table.is_some_and(|t| {
            t.caller_owns
                && t.owner_is_admin
                && t.column(key)
                    .is_some_and(|c| KeyType::from_type(&c.type_name).is_some())
        })
    };
    let followed = table.is_some_and(|table| table.followed);
    let protected = table.is_some_and(|table| table.protected_by.is_some());
    let key = key.filter(known);
    let Some(key) = key else { return Ok(()) };
    if only.is_none() {
        let missing = tenants::missing(adopted.tenant_table, &key, None, None, 1)?;
        facts.missing_tenants = !missing.is_empty();
        if !followed {
            facts.taken_keys = tenants::taken(adopted.tenant_table, &key, &choices.partner)?;
        }
    }
    let mut counted: HashMap<Relation, HashMap<String, Counts>> = HashMap::new();
    for (relation, column, unknown) in adoption::to_count(facts, choices) {
        if only.is_some_and(|only| !only.contains(&relation.to_string())) {
            continue;
        }
        let name = quote_ident(&column);
        // Without maintenance the table of tenants shows its keys to nobody: none is known then.
        let unknown = match unknown {
            true if only.is_some() && protected => {
                format!("count(*) FILTER (WHERE t.{name} IS NOT NULL)")
            }
            true => format!(
                "count(*) FILTER (WHERE t.{name} IS NOT NULL AND NOT EXISTS (SELECT FROM {tenants} k WHERE k.{}::text = t.{name}::text))",
                quote_ident(&key)
            ),
            false => "0::bigint".to_owned(),
        };
        let query =
            format!("SELECT count(*) FILTER (WHERE t.{name} IS NULL), {unknown} FROM {relation} t");
        let counts = policy::as_table_owner(adopted.tenant_table, || {
            Spi::connect_mut(|client| {
                let row = client.update(&query, Some(1), &[])?.first();
                Ok::<_, Error>(Counts {
                    null: row.get::<i64>(1)?.unwrap_or(0),
                    unknown: row.get::<i64>(2)?.unwrap_or(0),
                })
            })
        })?;
        counted.entry(relation).or_default().insert(column, counts);
    }
    for table in &mut facts.tables {
        if let Some(counts) = counted.remove(&table.relation) {
            table.counts = counts;
        }
    }
    Ok(())
}
