//! Reads the facts about schemas and plans their adoption.

use std::collections::HashMap;

use pgrx::JsonB;
use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;
use serde_json::Value;
use tenancy_core::adoption::{
    self, Choices, Counts, Named, OfEach, SchemaFacts, TablePlan, ToCount, Usage,
};
use tenancy_core::policy::{KeyType, Refusal, Relation, quote_ident};

use super::tenants;
use crate::context;
use crate::error::Error;
use crate::pg::spi::{self, Finds, NotNull};
use crate::pg::{relation, role, types};
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
        // The caller decides on later tables of the schemas, too.
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
        let began = policy::protects_in(&found)?;
        Ok(Self {
            tenant_table,
            schemas: found,
            choices,
            began,
        })
    }
}

/// Refuses decisions on what they cannot be about, and returns the names that nothing in the schemas has, maybe yet.
pub fn check_decisions(adopted: &Adopted) -> Result<Vec<String>, Error> {
    let choices = &adopted.choices;
    let mut names: Vec<String> = choices.decisions.keys().cloned().collect();
    names.sort_unstable();
    let mut absent = Vec::new();
    for (name, named) in policy::pinned(|| named(names, &adopted.schemas))? {
        if let Some((message, hint)) = choices.fault(&name, named) {
            return Err(Error::bad(message, hint));
        }
        if named == Named::Absent {
            absent.push(name);
        }
    }
    Ok(absent)
}

/// Returns what names are the names of.
fn named(names: Vec<String>, schemas: &[String]) -> Result<Vec<(String, Named)>, Error> {
    spi::read_as_caller(
        "SELECT d.name, coalesce(f.named, CASE WHEN EXISTS (SELECT FROM unnest($2) s(name) \
             WHERE starts_with(d.name, s.name || '.') OR starts_with(d.name, quote_ident(s.name) || '.')) THEN 'absent' ELSE 'other' END) \
         FROM unnest($1) d(name) LEFT JOIN LATERAL ( \
             SELECT CASE WHEN EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e') THEN 'other' \
                         WHEN c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) THEN 'table' \
                         WHEN c.relkind IN ('v', 'm', 'f') AND NOT c.relispartition THEN 'view' ELSE 'other' END AS named \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE (n.nspname = ANY ($2) OR c.relkind IN ('v', 'm')) AND c.relpersistence <> 't' AND d.name IN (n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname)) LIMIT 1) f ON true",
        &[names.into(), schemas.to_vec().into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    let named = match row.not_null::<String>(2)?.as_str() {
                        "table" => Named::Table,
                        "view" => Named::View,
                        "absent" => Named::Absent,
                        _ => Named::Other,
                    };
                    Ok((row.not_null(1)?, named))
                })
                .collect()
        },
    )
}

/// Reads the caller's choices.
pub fn choices(value: Value) -> Result<Choices, Error> {
    serde_json::from_value(value).map_err(|fault| {
        Error::bad(
            format!("options of adopt(): {fault}"),
            "null_rows is refuse, share, fill or hide. decisions are {\"schema.table\": {\"skip\": true}}, or share, tenant_column, parent_key, parents, by_referrers, null_rows, owner_column or project_column.",
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
    count(adopted, &mut facts, only)?;
    if only.is_none() {
        compare(adopted, &mut facts)?;
    }
    Ok(adoption::plan(&facts, choices))
}

/// Plans how to undo an adoption.
pub fn undo(adopted: &Adopted) -> Result<Vec<TablePlan>, Error> {
    Ok(adoption::undo(&facts(adopted)?, &adopted.choices))
}

fn facts(adopted: &Adopted) -> Result<SchemaFacts, Error> {
    let args = [
        adopted.tenant_table.into(),
        adopted.schemas.clone().into(),
        JsonB(policy::protected_columns()?).into(),
        adopted.choices.grants.clone().into(),
        policy::protected_with_shared_null()?.into(),
        granted()?.into(),
    ];
    let found = spi::planned_once(Finds::Any, || {
        spi::read_as_caller(include_str!("facts.sql"), &args, |rows| {
            match rows.into_iter().next() {
                Some(row) => Ok(row.get::<JsonB>(1)?),
                None => Ok(None),
            }
        })
    })?;
    let JsonB(mut found) = found.ok_or(Error::NoSuch("the table"))?;
    types::name_keys(&mut found);
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

/// Returns the roles that adopt() has let read tables that belong to no tenant, by the table.
fn granted() -> Result<JsonB, Error> {
    spi::read(
        "SELECT coalesce(jsonb_object_agg(g.relation, g.roles), '{}') FROM ( \
             SELECT relation::oid::text AS relation, jsonb_agg(grantee ORDER BY grantee) AS roles FROM tenancy_internal.adoption_grants \
              WHERE EXISTS (SELECT FROM pg_roles r WHERE r.rolname = grantee) GROUP BY 1) g",
        &[],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(JsonB(Value::Null)),
        },
    )
}

/// Counts the rows that the caller may have to decide on, with the rights of the tables' owner. Also finds out whether the table of
/// tenants has rows without a scope.
fn count(adopted: &Adopted, facts: &mut SchemaFacts, only: Option<&[String]>) -> Result<(), Error> {
    let choices = &adopted.choices;
    let (Some(tenants), Some(key)) = (facts.table(&facts.tenant_table), facts.tenant_key(choices))
    else {
        return Ok(());
    };
    // The plan says what is wrong with it.
    if !tenants.caller_owns || !tenants.owner_is_admin || key.key.is_none() {
        return Ok(());
    }
    let followed = tenants.followed;
    // Without maintenance the table of tenants shows no keys to a statement that is watched.
    let by_scopes = only.is_some() && tenants.protected_by.is_some();
    let by_id = key.key.is_some_and(|key| key.kind == KeyType::Uuid);
    let key = key.name.clone();
    if only.is_none() {
        let missing = tenants::missing(adopted.tenant_table, &key, None, None, 1)?;
        facts.missing_tenants = !missing.is_empty();
        if !followed {
            (facts.taken_keys, facts.taken_key) =
                tenants::taken(adopted.tenant_table, &key, &choices.partner)?;
        }
    }
    let (tenants, key) = (facts.tenant_table.to_string(), quote_ident(&key));
    // The condition that no tenant has the key of a row `t`.
    let unknown = |column: &String| {
        let name = quote_ident(column);
        let known = match (by_scopes, by_id) {
            (true, true) => {
                format!("SELECT FROM tenancy.scopes s WHERE s.id = t.{name} AND s.level = 'tenant'")
            }
            (true, false) => format!(
                "SELECT FROM tenancy.scopes s WHERE s.external_id = t.{name}::text AND s.level = 'tenant'"
            ),
            (false, _) => {
                format!("SELECT FROM {tenants} k WHERE k.{key}::text = t.{name}::text")
            }
        };
        format!("t.{name} IS NOT NULL AND NOT EXISTS ({known})")
    };
    let mut to_count = adoption::to_count(facts, choices);
    to_count.retain(|counted| only.is_none_or(|only| only.contains(&counted.relation.to_string())));
    // A statement that is watched may be in a context that shows some rows of other tables, or none.
    let sees = only.is_none() || maintained()?;
    if sees {
        to_count.retain(ToCount::has_numbers);
    }
    let mut found: HashMap<Relation, (Counts, OfEach<String>)> = HashMap::new();
    policy::as_table_owner(adopted.tenant_table, || {
        for mut counted in to_count {
            let counts = match sees || !counted.reads_others {
                true => {
                    let unknown = counted.unknown.as_ref().map(unknown);
                    let table = facts.table(&counted.relation);
                    let example = unknown.as_ref().zip(table);
                    counted.examples.unknown =
                        example.map(|(unknown, table)| table.example(unknown));
                    counted.unknown = unknown.map(|unknown| {
                        format!(
                            "(SELECT count(*) FROM {} t WHERE {unknown})",
                            counted.relation
                        )
                    });
                    numbers(&counted)?
                }
                false => {
                    let unseen = has_rows(&counted.relation)?;
                    (
                        Counts {
                            unseen,
                            ..Counts::default()
                        },
                        OfEach::default(),
                    )
                }
            };
            found.insert(counted.relation, counts);
        }
        Ok(())
    })?;
    for table in &mut facts.tables {
        if let Some((counts, examples)) = found.remove(&table.relation) {
            (table.counts, table.examples) = (counts, examples);
        }
    }
    Ok(())
}

fn maintained() -> Result<bool, Error> {
    let context = context::current()?;
    Ok(context.is_some_and(|context| context.is_maintenance()))
}

/// Counts rows of a table, and finds an example of those that there are.
fn numbers(counted: &ToCount) -> Result<(Counts, OfEach<String>), Error> {
    let all = [
        &counted.null,
        &counted.unknown,
        &counted.orphans,
        &counted.elsewhere,
        &counted.disagree,
        &counted.clashes,
    ];
    let query: Vec<String> = all
        .map(|number| format!("({})::bigint", number.as_deref().unwrap_or("0")))
        .into();
    let found: [i64; 6] = asked(&query, |row, n| Ok(row.get::<i64>(n)?.unwrap_or(0)))?;
    let mut examples = counted.examples.all();
    for (example, count) in examples.iter_mut().zip(found) {
        *example = example.filter(|_| count > 0);
    }
    let query =
        examples.map(|example| format!("({})::text", example.map_or("NULL", String::as_str)));
    let shown = match examples.iter().any(Option::is_some) {
        true => asked(&query, |row, n| Ok(row.get::<String>(n)?))?,
        false => Default::default(),
    };
    let [null, unknown, orphans, elsewhere, disagree, clashes] = found;
    let counts = Counts {
        null,
        unknown,
        orphans,
        elsewhere,
        disagree,
        clashes,
        unseen: false,
    };
    Ok((counts, OfEach::from_all(shown)))
}

/// Returns the values of one row of these columns.
fn asked<T, const N: usize>(
    columns: &[String],
    read: impl Fn(&SpiTupleTable<'_>, usize) -> Result<T, Error>,
) -> Result<[T; N], Error> {
    Spi::connect_mut(|client| {
        let query = format!("SELECT {}", columns.join(", "));
        let row = client.update(&query, Some(1), &[])?.first();
        let values: Vec<T> = (1..=N)
            .map(|n| read(&row, n))
            .collect::<Result<_, Error>>()?;
        let fault = |_| Error::Internal("a row of numbers that is too short");
        values.try_into().map_err(fault)
    })
}

fn has_rows(relation: &Relation) -> Result<bool, Error> {
    Spi::connect_mut(|client| {
        let query = format!("SELECT EXISTS (SELECT FROM {relation})");
        let row = client.update(&query, Some(1), &[])?.first();
        Ok(row.get_one::<bool>()?.unwrap_or(true))
    })
}

/// Finds out whether tenants share the rows of tables that belong to none, with the rights of the tables' owner.
fn compare(adopted: &Adopted, facts: &mut SchemaFacts) -> Result<(), Error> {
    let to_compare = adoption::to_compare(facts, &adopted.choices);
    let mut found: HashMap<Relation, Usage> = HashMap::new();
    policy::as_table_owner(adopted.tenant_table, || {
        for compared in to_compare {
            let usage = Spi::connect_mut(|client| {
                let row = client.update(&compared.query, Some(1), &[])?.first();
                Ok::<_, Error>(Usage {
                    of_several: row.get::<i64>(1)?.unwrap_or(0),
                    of_one: row.get::<i64>(2)?.unwrap_or(0),
                    tenants: row.get::<i64>(3)?.unwrap_or(0),
                })
            })?;
            found.insert(compared.relation, usage);
        }
        Ok(())
    })?;
    for table in &mut facts.tables {
        if let Some(usage) = found.remove(&table.relation) {
            table.usage = usage;
        }
    }
    Ok(())
}
