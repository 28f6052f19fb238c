//! The registry of protected tables, their options and their previous state. Read and written as the extension's owner.

use std::collections::HashMap;

use pgrx::JsonB;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;
use serde_json::{Value, json};
use tenancy_core::policy::{
    self as rules, Live, MemberUndo, Plan, Protection, Refusal, Relation, UndoItem, merge,
};

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::hooks::TablePolicy;
use crate::pg::inheritance::{self, AtDepth, oids};
use crate::pg::lookup::{self, By};
use crate::pg::spi::{Finds, NotNull};
use crate::pg::{extension, relation, role, spi, types};

/// The tables of the registry.
#[derive(Clone, Copy)]
struct Tables {
    /// Protected tables.
    roots: pg_sys::Oid,
    /// Their parts.
    members: pg_sys::Oid,
}

/// What is known of the registry in this database.
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    NotInstalled,
    Tables(Tables),
}

static KNOWN: BackendCell<Known> = BackendCell::new(Known::Nothing);

/// Forgets the registry if a relation has changed that it may be; the invalid oid means all. Returns whether it did. May be
/// called at any moment.
pub fn forget(changed: pg_sys::Oid) -> bool {
    match KNOWN.get() {
        Known::Tables(tables)
            if ![pg_sys::Oid::INVALID, tables.roots, tables.members].contains(&changed) =>
        {
            false
        }
        _ => {
            KNOWN.set(Known::Nothing);
            true
        }
    }
}

fn installed() -> Option<Tables> {
    match KNOWN.get() {
        Known::Tables(tables) => Some(tables),
        Known::NotInstalled => None,
        Known::Nothing => {
            // While CREATE EXTENSION runs, one may exist without the other.
            let found = [c"protected_table_registry", c"protected_member_registry"]
                .map(extension::internal_table);
            let tables = match found {
                [Ok(roots), Ok(members)] => Some(Tables { roots, members }),
                _ => None,
            };
            KNOWN.set(tables.map_or(Known::NotInstalled, Known::Tables));
            tables
        }
    }
}

/// Returns whether this database has the extension.
pub fn is_installed() -> bool {
    installed().is_some()
}

/// Returns whether a table is registered by itself, not as a part.
fn is_root(table: pg_sys::Oid) -> bool {
    let found = installed().map(|tables| lookup::find(tables.roots, By::PrimaryKey, table));
    found.is_some_and(|found| !found.is_empty())
}

/// Returns the protected table that a table is, or was, registered as a part of.
pub fn registered_root(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let found = lookup::find(installed()?.members, By::PrimaryKey, table);
    found.first().map(|[_, root]| *root)
}

fn decode<T: serde::de::DeserializeOwned>(table: &str, value: Option<JsonB>) -> Result<T, Error> {
    let value = value.map_or(Value::Null, |JsonB(value)| value);
    serde_json::from_value(value).map_err(|reason| {
        Error::Refused(Refusal::BadRecord {
            table: table.to_owned(),
            reason: reason.to_string(),
        })
    })
}

fn encode<T: serde::Serialize>(value: &T) -> Result<JsonB, Error> {
    serde_json::to_value(value)
        .map(JsonB)
        .map_err(|_| Error::Internal("a record cannot be written"))
}

/// Returns the tenant columns of all protected tables, by oid.
pub fn all() -> Result<Value, Error> {
    spi::read(
        "SELECT coalesce(jsonb_object_agg(relation::oid::text, tenant_column), '{}') \
         FROM tenancy_internal.protected_table_registry",
        &[],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(row
                .get::<JsonB>(1)?
                .map_or_else(|| json!({}), |JsonB(value)| value)),
            None => Ok(json!({})),
        },
    )
}

/// Returns the protected tables, with their tenant columns and what these hold.
pub fn keyed() -> Result<Vec<(pg_sys::Oid, String, String)>, Error> {
    spi::read(
        "SELECT relation::oid, tenant_column::text, key_type FROM tenancy_internal.protected_table_registry",
        &[],
        |rows| {
            rows.into_iter()
                .map(|row| Ok((row.not_null(1)?, row.not_null(2)?, row.not_null(3)?)))
                .collect()
        },
    )
}

/// Returns whether a table of these schemas is protected.
pub fn protects_in(schemas: &[String]) -> Result<bool, Error> {
    spi::read(
        "SELECT EXISTS (SELECT FROM tenancy_internal.protected_table_registry r \
            JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ($1))",
        &[schemas.to_vec().into()],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(false),
        },
    )
}

/// Returns the protected tables in which rows without a tenant are everybody's.
pub fn shared_null() -> Result<Vec<pg_sys::Oid>, Error> {
    spi::read(
        "SELECT relation::oid FROM tenancy_internal.protected_table_registry WHERE (options ->> 'shared_null')::boolean",
        &[],
        |rows| rows.into_iter().map(|row| row.not_null(1)).collect(),
    )
}

/// Returns the protected tables with rows that several tenants read.
pub fn shared() -> Result<Vec<pg_sys::Oid>, Error> {
    spi::read(
        "SELECT relation::oid FROM tenancy_internal.protected_table_registry \
         WHERE (options ->> 'shared')::boolean OR (options ->> 'shared_null')::boolean",
        &[],
        |rows| rows.into_iter().map(|row| row.not_null(1)).collect(),
    )
}

/// Returns the column by which a table is protected, if it is.
pub fn tenant_column(table: pg_sys::Oid) -> Result<Option<String>, Error> {
    Ok(find(table)?.map(|protection| protection.tenant_column))
}

/// Returns the protection of a table.
pub fn find(table: pg_sys::Oid) -> Result<Option<Protection>, Error> {
    read(
        "SELECT options, relation::text FROM tenancy_internal.protected_table_registry WHERE relation = $1",
        &[table.into()],
        protection,
    )
}

/// Returns the protection of a table, or its former one if it is a detached part.
pub fn find_or_detached(table: pg_sys::Oid) -> Result<Option<Protection>, Error> {
    match find(table)? {
        None if detached(table) == Some(table) => read(
            "SELECT options, relation::text FROM tenancy_internal.protected_member_registry WHERE relation = $1",
            &[table.into()],
            protection,
        ),
        found => Ok(found),
    }
}

fn protection(rows: SpiTupleTable<'_>) -> Result<Option<Protection>, Error> {
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let table: String = row.not_null(2)?;
    decode(&table, row.get(1)?).map(Some)
}

/// Returns all registered tables, including parts.
pub fn tables() -> Result<Vec<pg_sys::Oid>, Error> {
    spi::read(
        "SELECT relation::oid FROM tenancy_internal.protected_table_registry \
         UNION ALL SELECT relation::oid FROM tenancy_internal.protected_member_registry",
        &[],
        |rows| {
            let mut found = Vec::new();
            for row in rows {
                found.extend(row.get::<pg_sys::Oid>(1)?);
            }
            Ok(found)
        },
    )
}

/// Reads what isolates a table right now. `None` if it is not protected.
pub fn live(table: pg_sys::Oid) -> Result<Option<Live>, Error> {
    let root = above(table);
    if root.is_none() && registered_root(table).is_none() {
        return Ok(None);
    }
    read(
        include_str!("live.sql"),
        &[table.into(), root.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => {
                let mut found = row.get::<JsonB>(1)?;
                found
                    .iter_mut()
                    .for_each(|json| types::name_keys(&mut json.0));
                decode("the registry", found).map(Some)
            }
            None => Ok(None),
        },
    )
}

/// Reads rows by index, with a plan that is made once.
pub fn read<R>(
    query: &'static str,
    args: &[DatumWithOid<'_>],
    f: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    spi::planned_once(Finds::ByIndex, || spi::read(query, args, f))
}

/// Returns a policy and its table; `None` also while the extension is created or dropped.
pub fn policy_table(policy: pg_sys::Oid) -> Result<Option<TablePolicy>, Error> {
    let found = spi::read(
        "SELECT polrelid, starts_with(polname::text, 'tenancy_') FROM pg_policy WHERE oid = $1",
        &[policy.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => {
                let (table, tenancys) = (row.not_null(1)?, row.not_null(2)?);
                Ok(Some(TablePolicy { table, tenancys }))
            }
            None => Ok(None),
        },
    );
    match found {
        Err(Error::OwnerSuperuser | Error::NotInstalled) => Ok(None),
        found => found,
    }
}

/// Returns whether a protected table has a column of a domain, or of a type that contains it.
pub fn protected_with(domain: pg_sys::Oid) -> Result<bool, Error> {
    spi::read(
        "WITH RECURSIVE types(oid) AS (\
             SELECT $1::oid \
             UNION \
             SELECT t.oid FROM types u JOIN pg_type t ON t.typbasetype = u.oid OR t.typelem = u.oid \
                 OR t.typrelid IN (SELECT a.attrelid FROM pg_attribute a WHERE a.atttypid = u.oid) \
                 OR t.oid IN (SELECT r.rngtypid FROM pg_range r WHERE r.rngsubtype = u.oid)) \
         SELECT EXISTS (\
             SELECT FROM (SELECT relation FROM tenancy_internal.protected_table_registry \
                          UNION ALL SELECT relation FROM tenancy_internal.protected_member_registry) r \
             JOIN pg_attribute a ON a.attrelid = r.relation AND NOT a.attisdropped \
             JOIN types u ON u.oid = a.atttypid)",
        &[domain.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(false),
        },
    )
}

/// Returns the topmost protected table that a table is, or is a part of.
pub fn above(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let mut up = inheritance::up(table).into_iter().rev();
    up.find_map(|(table, _)| is_root(table).then_some(table))
}

/// Returns the detached part of a protected table that a table is, or is a part of. It stays isolated.
fn detached(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let (top, _) = inheritance::up(table).pop()?;
    registered_root(top).map(|_| top)
}

/// Returns the table with whose protection a table's parts are isolated.
pub fn root_of(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    above(table).or_else(|| detached(table))
}

/// Returns the name of a protected table, or of a detached part of one, among a table and its parts.
pub fn below(table: pg_sys::Oid) -> Result<Option<String>, Error> {
    let mut down = inheritance::down(table).into_iter();
    let found = down.find(|(table, _)| is_root(*table) || registered_root(*table).is_some());
    found.map(|(found, _)| name(found)).transpose()
}

/// Returns a table's name, with its schema where it is needed.
pub fn name(table: pg_sys::Oid) -> Result<String, Error> {
    spi::read(
        "SELECT $1::regclass::text",
        &[table.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Err(Error::NoSuch("the table")),
        },
    )
}

/// A protected table and parts of it.
pub struct Parts {
    /// The table, and its parts, parents before children: all, or some of them with the parts between.
    pub tree: Vec<AtDepth>,
    /// Those of the parts that are not registered as its parts yet.
    pub new: Vec<pg_sys::Oid>,
}

impl Parts {
    /// Returns all parts of a protected table.
    pub fn all(root: pg_sys::Oid) -> Self {
        Self::with_new(root, inheritance::down(root))
    }

    /// Returns a child of a protected table, or of a part of it, with the parts below it.
    pub fn of_child(root: pg_sys::Oid, parent: pg_sys::Oid, child: pg_sys::Oid) -> Self {
        let mut tree = inheritance::up(parent);
        tree.retain(|(table, _)| inheritance::is_below(*table, root));
        // The table is the farthest from the child.
        for (_, depth) in &mut tree {
            *depth = -*depth;
        }
        tree.reverse();
        tree.extend(
            inheritance::down(child)
                .into_iter()
                .map(|(table, depth)| (table, depth + 1)),
        );
        Self::with_new(root, tree)
    }

    fn with_new(root: pg_sys::Oid, tree: Vec<AtDepth>) -> Self {
        let new = oids(&tree)
            .into_iter()
            .filter(|table| *table != root && registered_root(*table) != Some(root))
            .collect();
        Self { tree, new }
    }
}

/// Returns whether a table or one of its parts has storage: it has rows, or had some.
pub fn has_room(table: pg_sys::Oid) -> Result<bool, Error> {
    let tables = oids(&inheritance::down(table));
    spi::read(
        "SELECT bool_or(pg_relation_size(t) > 0) FROM unnest($1) t",
        &[tables.into()],
        |rows| match rows.into_iter().next() {
            // NULL where a part was just dropped.
            Some(row) => Ok(row.get(1)?.unwrap_or(false)),
            None => Ok(false),
        },
    )
}

/// Returns the name of a protected table that has permissive policies of its own.
pub fn opened_by_own_policies() -> Result<Option<String>, Error> {
    spi::read(
        "SELECT r.relation::text \
         FROM (SELECT relation FROM tenancy_internal.protected_table_registry \
               UNION ALL SELECT relation FROM tenancy_internal.protected_member_registry) r \
         JOIN pg_policy p ON p.polrelid = r.relation AND p.polpermissive AND NOT starts_with(p.polname::text, 'tenancy_') \
         ORDER BY 1 LIMIT 1",
        &[],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(row.get(1)?),
            None => Ok(None),
        },
    )
}

/// Returns tenancy's permissive policies, each with its table, quoted.
pub fn permissive_policies() -> Result<Vec<(String, String)>, Error> {
    spi::read(
        "SELECT quote_ident(p.polname), format('%I.%I', n.nspname, c.relname) \
         FROM (SELECT relation FROM tenancy_internal.protected_table_registry \
               UNION ALL SELECT relation FROM tenancy_internal.protected_member_registry) r \
         JOIN pg_policy p ON p.polrelid = r.relation AND p.polpermissive \
         JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace",
        &[],
        |rows| {
            let mut found = Vec::new();
            for row in rows {
                found.push((row.not_null(1)?, row.not_null(2)?));
            }
            Ok(found)
        },
    )
}

/// Returns whether a protected table was created OF a composite type: changes of the type change the table.
pub fn is_tables_type(composite: pg_sys::Oid) -> Result<bool, Error> {
    spi::read(
        "SELECT EXISTS (\
             SELECT FROM (SELECT relation FROM tenancy_internal.protected_table_registry \
                          UNION ALL SELECT relation FROM tenancy_internal.protected_member_registry) r \
             JOIN pg_class c ON c.oid = r.relation JOIN pg_type t ON t.oid = c.reloftype \
             WHERE t.typrelid = $1)",
        &[composite.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(false),
        },
    )
}

/// Returns whether a role may read statistics of index expressions of protected tables. These contain values of all rows,
/// and PostgreSQL applies no row security to them.
pub fn reads_statistics(role: pg_sys::Oid) -> Result<bool, Error> {
    spi::read(
        "SELECT EXISTS (\
             SELECT FROM (SELECT relation FROM tenancy_internal.protected_table_registry \
                          UNION ALL SELECT relation FROM tenancy_internal.protected_member_registry) r \
             JOIN pg_index i ON i.indrelid = r.relation AND i.indexprs IS NOT NULL \
             WHERE has_any_column_privilege($1, i.indexrelid, 'SELECT'))",
        &[role.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(false),
        },
    )
}

/// Returns those of a table and its parts that store rows.
pub fn parts(root: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut tables = oids(&inheritance::down(root));
    tables.retain(|table| {
        relation::read(*table, |class| class.relkind as u8) == Some(pg_sys::RELKIND_RELATION)
    });
    tables
}

/// Returns the records of a table and its parts, also of those that were protected separately before.
pub fn members(tree: &[AtDepth]) -> Result<Vec<MemberUndo>, Error> {
    read(
        "SELECT n.nspname::text, c.relname::text, r.undo \
         FROM (SELECT relation, undo FROM tenancy_internal.protected_table_registry \
               UNION ALL \
               SELECT relation, undo FROM tenancy_internal.protected_member_registry) r \
         JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE r.relation = ANY ($1)",
        &[oids(tree).into()],
        |rows| {
            let (mut found, mut places) = (Vec::<MemberUndo>::new(), HashMap::new());
            for row in rows {
                let relation = Relation {
                    schema: row.not_null(1)?,
                    name: row.not_null(2)?,
                };
                let items: Vec<UndoItem> = decode(&relation.to_string(), row.get(3)?)?;
                let place = *places.entry(relation.clone()).or_insert(found.len());
                match found.get_mut(place) {
                    Some(there) => there.items = merge(std::mem::take(&mut there.items), &items),
                    None => found.push(MemberUndo { relation, items }),
                }
            }
            Ok(found)
        },
    )
}

/// Records an executed plan for a table and its parts in `tree`.
pub fn save(
    root: pg_sys::Oid,
    relation: &Relation,
    plan: &Plan,
    tree: &[AtDepth],
) -> Result<(), Error> {
    let mut old: HashMap<Relation, Vec<UndoItem>> = members(tree)?
        .into_iter()
        .map(|member| (member.relation, member.items))
        .collect();
    let mut merged: Vec<MemberUndo> = Vec::new();
    for new in &plan.undo {
        let before = old.remove(&new.relation).unwrap_or_default();
        merged.push(MemberUndo {
            relation: new.relation.clone(),
            items: merge(before, &new.items),
        });
    }
    let rest = old.into_iter();
    merged.extend(rest.map(|(relation, items)| MemberUndo { relation, items }));
    let undo = merged
        .iter()
        .find(|m| m.relation == *relation)
        .map(|m| m.items.clone())
        .unwrap_or_default();
    let parts: Vec<Value> = merged
        .iter()
        .filter(|m| m.relation != *relation)
        .map(|m| json!({"schema": m.relation.schema, "name": m.relation.name, "undo": m.items}))
        .collect();
    forget_former(root, tree)?;
    spi::execute_prepared(
        "WITH parts AS (\
             INSERT INTO tenancy_internal.protected_member_registry AS m (relation, root, options, undo) \
             SELECT c.oid, $1, $4, p.undo \
             FROM jsonb_to_recordset($7) AS p(schema name, name name, undo jsonb) \
             JOIN pg_namespace n ON n.nspname = p.schema \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.name \
             ON CONFLICT (relation) DO UPDATE \
             SET root = EXCLUDED.root, options = EXCLUDED.options, undo = EXCLUDED.undo \
             WHERE (m.root, m.options, m.undo) IS DISTINCT FROM (EXCLUDED.root, EXCLUDED.options, EXCLUDED.undo)) \
         INSERT INTO tenancy_internal.protected_table_registry AS r \
                (relation, tenant_column, key_type, options, undo, protected_by) \
         VALUES ($1, $2::name, $3, $4, $5, $6::name) \
         ON CONFLICT (relation) DO UPDATE SET undo = EXCLUDED.undo WHERE r.undo IS DISTINCT FROM EXCLUDED.undo",
        &[
            root.into(),
            plan.protection.tenant_column.clone().into(),
            plan.key_type.as_str().into(),
            encode(&plan.protection)?.into(),
            encode(&undo)?.into(),
            role::current_name().into(),
            JsonB(Value::Array(parts)).into(),
        ],
    )?;
    Ok(())
}

/// Makes the external ids of partners and of the platform the keys of their rows, in all tables with shared rows; an error if a
/// tenant has the same, whose rows these would be, too. Before that the two may be equal. The table is in the registry: who sets such an
/// id from now on reads it there.
pub fn key_rows_of_partners(table: &Relation) -> Result<(), Error> {
    // First those that are committed: who changes one of them waits for this transaction, before it waits for its turn.
    key_rows(table)?;
    spi::write(
        "UPDATE tenancy_internal.key_rows_turn SET is_one = true",
        &[],
    )?;
    // Who had set an id before has committed by now.
    key_rows(table)?;
    // In REPEATABLE READ what others have committed meanwhile is seen and not changed.
    let others = spi::read(
        "SELECT EXISTS (SELECT FROM tenancy.scopes WHERE level IN ('platform', 'partner') AND external_id IS NOT NULL AND NOT keys_rows)",
        &[],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null::<bool>(1),
            None => Ok(false),
        },
    )?;
    match others {
        true => Err(Error::KeysMeanwhile),
        false => Ok(()),
    }
}

fn key_rows(table: &Relation) -> Result<(), Error> {
    let ambiguous = spi::read(
        "SELECT a.external_id FROM tenancy.scopes a JOIN tenancy.scopes b ON b.external_id = a.external_id \
         WHERE a.level IN ('platform', 'partner') AND b.level IN ('partner', 'tenant') AND b.id <> a.id ORDER BY 1 LIMIT 1",
        &[],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(row.get::<String>(1)?),
            None => Ok(None),
        },
    )?;
    if let Some(key) = ambiguous {
        return Err(Error::AmbiguousKey {
            key,
            table: table.to_string(),
        });
    }
    spi::write(
        "UPDATE tenancy.scopes SET keys_rows = true \
         WHERE level IN ('platform', 'partner') AND external_id IS NOT NULL AND NOT keys_rows",
        &[],
    )?;
    Ok(())
}

/// Removes tables that were protected separately and are now parts, and a part that is now separate.
fn forget_former(root: pg_sys::Oid, tree: &[AtDepth]) -> Result<(), Error> {
    for table in oids(tree) {
        if table != root && is_root(table) {
            spi::execute_prepared(
                "DELETE FROM tenancy_internal.protected_table_registry WHERE relation = $1",
                &[table.into()],
            )?;
        }
    }
    if registered_root(root).is_some() {
        spi::execute_prepared(
            "DELETE FROM tenancy_internal.protected_member_registry WHERE relation = $1",
            &[root.into()],
        )?;
    }
    Ok(())
}

/// Records the new name of a column of a protected table. Policies follow it by themselves.
pub fn rename_column(table: pg_sys::Oid, old: &str, new: &str) -> Result<(), Error> {
    if find(table)?.is_none() {
        return Ok(());
    }
    // The options of a table, and of its parts, name its columns under these keys.
    spi::write(
        "WITH renamed AS (\
             SELECT r.relation, (SELECT jsonb_object_agg(o.key, \
                 CASE WHEN o.key IN ('tenant_column', 'owner_column', 'project_column') AND o.value = to_jsonb($2) \
                      THEN to_jsonb($3) ELSE o.value END) FROM jsonb_each(r.options) o) AS options \
             FROM tenancy_internal.protected_table_registry r WHERE r.relation = $1), \
         parts AS (\
             UPDATE tenancy_internal.protected_member_registry m SET options = renamed.options \
             FROM renamed WHERE m.root = $1) \
         UPDATE tenancy_internal.protected_table_registry r \
         SET options = renamed.options, tenant_column = renamed.options ->> 'tenant_column' \
         FROM renamed WHERE r.relation = $1",
        &[table.into(), old.to_owned().into(), new.to_owned().into()],
    )?;
    // What unprotect() restores is that of the column, too.
    for mut member in members(&inheritance::down(table))? {
        if rules::rename_column(&mut member.items, old, new) {
            spi::write(
                "WITH one AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::name AND c.relname = $2::name), \
                 part AS (UPDATE tenancy_internal.protected_member_registry m SET undo = $3 FROM one WHERE m.relation = one.oid) \
                 UPDATE tenancy_internal.protected_table_registry r SET undo = $3 FROM one WHERE r.relation = one.oid",
                &[
                    member.relation.schema.into(),
                    member.relation.name.into(),
                    encode(&member.items)?.into(),
                ],
            )?;
        }
    }
    Ok(())
}

/// Removes a table and its parts from the registry.
pub fn remove(root: pg_sys::Oid) -> Result<(), Error> {
    spi::write(
        "WITH RECURSIVE tree(oid) AS (\
             SELECT $1::oid UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid), \
         parts AS (DELETE FROM tenancy_internal.protected_member_registry m USING tree t WHERE m.relation = t.oid) \
         DELETE FROM tenancy_internal.protected_table_registry WHERE relation = $1",
        &[root.into()],
    )?;
    Ok(())
}

/// Transfers the duty to revoke USAGE of the schema to another protected table in it, if there is one.
pub fn hand_over(root: pg_sys::Oid, schema: &str, items: &[&UndoItem]) -> Result<bool, Error> {
    let heir = spi::read(
        "SELECT r.relation::oid FROM tenancy_internal.protected_table_registry r \
         JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $2::name AND r.relation <> $1 \
         ORDER BY r.protected_at, r.relation::oid LIMIT 1",
        &[root.into(), schema.to_owned().into()],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(row.get::<pg_sys::Oid>(1)?),
            None => Ok(None),
        },
    )?;
    let Some(heir) = heir else {
        return Ok(false);
    };
    for item in items {
        spi::write(
            "UPDATE tenancy_internal.protected_table_registry SET undo = undo || $2 \
             WHERE relation = $1 AND NOT undo @> jsonb_build_array(jsonb_build_object('key', $3))",
            &[heir.into(), encode(item)?.into(), item.key.clone().into()],
        )?;
    }
    Ok(true)
}
