//! Watches the schemas of an adopted application: a statement that makes a table for tenants' rows is followed by a warning, or
//! by the isolation of the table.

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::Value;
use tenancy_core::adoption::{Choices, Decision, Kind, Step, StepKind, TablePlan};
use tenancy_core::policy::{Refusal, Relation};

use super::plan::{self, Adopted};
use super::step;
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::hooks::tables;
use crate::pg::spi::{self, NotNull};
use crate::pg::statement::{Grant, Renamed, Statement};
use crate::pg::{cluster, ddl, relation, role};
use crate::{policy, triggers};

triggers! {
    tenancy_watch_ddl => event after_ddl;
    tenancy_watch_drop => event after_drop;
}

/// Whether this backend adopts, undoes that, or isolates a table for a statement: its own statements are not watched.
static ISOLATING: BackendCell<bool> = BackendCell::new(false);

/// What follows a statement that makes a table for tenants' rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Off,
    /// A warning.
    Warn,
    /// Its isolation, or an error.
    Protect,
}

impl Action {
    /// Parses the argument of `adopt()`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "off" => Ok(Self::Off),
            "warn" => Ok(Self::Warn),
            "protect" => Ok(Self::Protect),
            other => Err(Error::bad(
                format!("watch is {other}"),
                "Use off, warn or protect.",
            )),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Protect => "protect",
        }
    }
}

/// Runs `f`, whose statements are not watched.
pub fn paused<R>(f: impl FnOnce() -> R) -> R {
    let _before = ISOLATING.hold(true);
    f()
}

/// Returns what follows such a statement in the schemas now; at first a warning.
pub fn action(adopted: &Adopted) -> Result<Action, Error> {
    let mut found = watched()?.into_iter();
    let same = found.find(|w| w.tenant_table == adopted.tenant_table);
    Ok(same.map_or(Action::Warn, |watched| watched.action))
}

/// Returns the schemas that were adopted with a table of tenants, and the choices of then.
pub fn before(tenant_table: pg_sys::Oid) -> Result<Option<(Vec<String>, Choices)>, Error> {
    let mut all = watched()?;
    all.retain(|watched| watched.tenant_table == tenant_table);
    let choices = match all.first() {
        Some(first) => plan::choices(first.choices.clone())?,
        None => return Ok(None),
    };
    let mut schemas = Vec::new();
    for watched in all {
        if schema_exists(&watched.schema)? {
            schemas.push(watched.schema);
        }
    }
    Ok(Some((schemas, choices)))
}

/// Refuses schemas that belong to an adoption of another owner.
pub fn check(adopted: &Adopted) -> Result<(), Error> {
    for watched in watched()? {
        let owner = relation::read(watched.tenant_table, |class| class.relowner);
        if adopted.schemas.contains(&watched.schema)
            && owner.is_some_and(|owner| !role::may_act_as(owner))
        {
            return Err(Error::Refused(Refusal::NotOwner {
                table: policy::relation_name(watched.tenant_table)?,
            }));
        }
    }
    Ok(())
}

/// Sets what follows such a statement in the schemas from now on; `None` for schemas that are adopted no longer.
pub fn set(adopted: &Adopted, action: Option<Action>) -> Result<(), Error> {
    spi::write(
        "DELETE FROM tenancy_internal.watched_schemas WHERE schema_name::text = ANY ($1)",
        &[adopted.schemas.clone().into()],
    )?;
    if let Some(action) = action {
        let choices = written(&adopted.choices)?;
        spi::write(
            "INSERT INTO tenancy_internal.watched_schemas (schema_name, tenant_table, action, choices) \
             SELECT s.name::name, $2, $3, $4 FROM unnest($1) AS s(name)",
            &[
                adopted.schemas.clone().into(),
                adopted.tenant_table.into(),
                action.as_str().into(),
                JsonB(choices).into(),
            ],
        )?;
    }
    Ok(())
}

/// A watched schema.
struct Watched {
    schema: String,
    tenant_table: pg_sys::Oid,
    action: Action,
    choices: Value,
}

fn after_ddl(statement: &Statement) -> Result<(), Error> {
    if ISOLATING.get() || cluster::creating_extension() || cluster::upgrading() {
        return Ok(());
    }
    if let Some(renamed) = statement.renamed() {
        follow(renamed)?;
    }
    // The script of a dump sets an empty path. What it restores was looked at when it was made.
    if spi::search_path().to_bytes().is_empty() {
        return Ok(());
    }
    // Names in the statement are looked up as the statement did.
    let grant = statement.grant();
    let all = watched()?;
    let schemas: Vec<String> = all.iter().map(|watched| watched.schema.clone()).collect();
    for watched in all.iter().filter(|watched| watched.action != Action::Off) {
        warn_of_functions(&watched.schema, &grant)?;
        let changed = policy::pinned(|| changed(&watched.schema, &schemas))?;
        let granted = policy::pinned(|| granted(&watched.schema, &schemas, &grant))?;
        if changed.is_empty() && granted.is_empty() {
            continue;
        }
        let Some(adopted) = adopted(watched, &all)? else {
            continue;
        };
        if !changed.is_empty() {
            let copied = statement.copies().then(tables::copied).flatten();
            paused(|| look(watched, &adopted, &changed, copied))?;
        }
        if !granted.is_empty() {
            look_at_grant(watched, &adopted, &granted)?;
        }
    }
    Ok(())
}

/// Warns of the end of a watch where the table of tenants is dropped, or refuses it; forgets tables that are gone.
fn after_drop(_: &Statement) -> Result<(), Error> {
    if cluster::creating_extension() || cluster::upgrading() {
        return Ok(());
    }
    let gone: Vec<pg_sys::Oid> = spi::read_as_caller(
        "SELECT objid FROM pg_catalog.pg_event_trigger_dropped_objects() \
         WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objsubid = 0 AND object_type IN ('table', 'foreign table')",
        &[],
        |rows| rows.into_iter().map(|row| row.not_null(1)).collect(),
    )?;
    if gone.is_empty() {
        return Ok(());
    }
    spi::write(
        "DELETE FROM tenancy_internal.adoption_grants WHERE relation = ANY ($1)",
        &[gone.clone().into()],
    )?;
    // The script of a dump drops what it creates again.
    let is_script = spi::search_path().to_bytes().is_empty();
    for watched in watched()?
        .into_iter()
        .filter(|w| gone.contains(&w.tenant_table))
    {
        let stays = schema_exists(&watched.schema)?;
        match watched.action {
            Action::Protect if stays && !is_script => {
                return Err(Error::WatchEnds(watched.schema));
            }
            Action::Warn if stays && !is_script => warning!(
                "tenancy: the table of tenants of schema {} is gone: its tables are not watched any more. Call tenancy.adopt() with the one that takes its place",
                watched.schema
            ),
            _ => {}
        }
    }
    spi::write(
        "DELETE FROM tenancy_internal.watched_schemas WHERE tenant_table = ANY ($1)",
        &[gone.into()],
    )?;
    Ok(())
}

/// Returns what was adopted with a watched schema, with the schema that the table of tenants is in now.
fn adopted(watched: &Watched, all: &[Watched]) -> Result<Option<Adopted>, Error> {
    let Some(tenants) = name_of(watched.tenant_table)? else {
        return Ok(None);
    };
    let mut schemas: Vec<String> = (all.iter())
        .filter(|other| other.tenant_table == watched.tenant_table)
        .map(|other| other.schema.clone())
        .collect();
    if !schemas.contains(&tenants.schema) {
        schemas.push(tenants.schema);
    }
    Ok(Some(Adopted {
        tenant_table: watched.tenant_table,
        schemas,
        choices: plan::choices(watched.choices.clone())?,
        began: true,
    }))
}

fn schema_exists(name: &str) -> Result<bool, Error> {
    spi::read_as_caller(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1::pg_catalog.name)",
        &[name.to_owned().into()],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(false),
        },
    )
}

fn name_of(relation: pg_sys::Oid) -> Result<Option<Relation>, Error> {
    spi::read_as_caller(
        "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        &[relation.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => {
                let (schema, name) = (row.not_null(1)?, row.not_null(2)?);
                Ok(Some(Relation { schema, name }))
            }
            None => Ok(None),
        },
    )
}

/// Lets the watch and the decisions follow a schema or a relation that has another name now: another one of the old name is neither
/// watched nor decided on.
fn follow(renamed: Renamed) -> Result<(), Error> {
    let all = watched()?;
    if all.is_empty() {
        return Ok(());
    }
    let (old_schemas, name) = match renamed {
        Renamed::Schema { old, new } => {
            if all.iter().any(|watched| watched.schema == old) {
                // What has the new name was dropped before.
                spi::write(
                    "DELETE FROM tenancy_internal.watched_schemas WHERE schema_name::text = $1",
                    &[new.clone().into()],
                )?;
                spi::write(
                    "UPDATE tenancy_internal.watched_schemas SET schema_name = $2::name WHERE schema_name::text = $1",
                    &[old.clone().into(), new.clone().into()],
                )?;
            }
            rewrite(|choices| choices.rename_schema(&old, &new))?;
            return Ok(());
        }
        Renamed::Relation(name) => (None, name),
        Renamed::Moved { schema, name } => match schema {
            Some(schema) => (Some(vec![schema]), name),
            None => (Some(spi::schemas()?), name),
        },
    };
    let Some((relation, new)) = policy::pinned(altered)? else {
        return Ok(());
    };
    let is_moved = old_schemas.is_some();
    for schema in old_schemas.unwrap_or_else(|| vec![new.schema.clone()]) {
        let old = Relation {
            schema,
            name: name.clone(),
        };
        let is_watched = |schema: &str| {
            let mut all = all.iter();
            all.any(|watched| watched.schema == schema && watched.action != Action::Off)
        };
        if ddl::table(&old.to_string()).is_ok_and(|found| found != relation) {
            // The statement would have found this one.
            break;
        }
        let is_followed = rewrite(|choices| choices.rename(&old, &new))?;
        if is_moved && is_watched(&old.schema) && !is_watched(&new.schema) {
            let is_isolated = policy::tenant_column(relation)?.is_some();
            if is_isolated || all.iter().any(|w| w.tenant_table == relation) {
                warning!(
                    "tenancy: the schema of {new} is not watched: call tenancy.adopt() again, with this schema in schemas"
                );
            }
        }
        if is_followed {
            break;
        }
    }
    Ok(())
}

/// Returns the relation that the statement has altered.
fn altered() -> Result<Option<(pg_sys::Oid, Relation)>, Error> {
    spi::read_as_caller(
        "SELECT c.oid, n.nspname::text, c.relname::text FROM pg_event_trigger_ddl_commands() d \
         JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'm', 'f', 'v') LIMIT 1",
        &[],
        |rows| match rows.into_iter().next() {
            Some(row) => {
                let (schema, name) = (row.not_null(2)?, row.not_null(3)?);
                Ok(Some((row.not_null(1)?, Relation { schema, name })))
            }
            None => Ok(None),
        },
    )
}

/// Changes the choices of adoptions. Returns whether some did.
fn rewrite(change: impl Fn(&mut Choices) -> bool) -> Result<bool, Error> {
    let mut changed = false;
    for watched in watched()? {
        let mut choices = plan::choices(watched.choices)?;
        if change(&mut choices) {
            changed = true;
            spi::write(
                "UPDATE tenancy_internal.watched_schemas SET choices = $2 WHERE schema_name::text = $1",
                &[watched.schema.into(), JsonB(written(&choices)?).into()],
            )?;
        }
    }
    Ok(changed)
}

/// Returns choices as they are kept.
pub fn written(choices: &Choices) -> Result<Value, Error> {
    serde_json::to_value(choices).map_err(|_| Error::Internal("choices that cannot be written"))
}

fn watched() -> Result<Vec<Watched>, Error> {
    let query = "SELECT schema_name::text, tenant_table::oid, action, choices FROM tenancy_internal.watched_schemas ORDER BY 1";
    spi::read(query, &[], |rows| {
        rows.into_iter()
            .map(|row| {
                let (action, JsonB(choices)) = (row.not_null::<String>(3)?, row.not_null(4)?);
                Ok(Watched {
                    schema: row.not_null(1)?,
                    tenant_table: row.not_null(2)?,
                    action: Action::parse(&action)?,
                    choices,
                })
            })
            .collect()
    })
}

/// Returns the names of tables of a schema that the statement has made or changed, and not protect() itself, and of views anywhere that
/// show some of it. With a view those that read it: they may show more than before.
fn changed(schema: &str, all: &[String]) -> Result<Vec<String>, Error> {
    let found: Vec<(pg_sys::Oid, String)> = spi::read_as_caller(
        "WITH RECURSIVE made AS ( \
             SELECT DISTINCT c.oid, c.relkind FROM pg_event_trigger_ddl_commands() d \
             LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid \
             JOIN pg_class c ON c.oid = coalesce(w.ev_class, d.objid) \
             WHERE d.classid IN ('pg_class'::regclass, 'pg_rewrite'::regclass) AND NOT d.in_extension \
               AND c.relkind IN ('r', 'p', 'm', 'f', 'v') AND NOT c.relispartition AND c.relpersistence <> 't'), \
         above(oid) AS ( \
             SELECT oid FROM made WHERE relkind IN ('v', 'm') \
             UNION SELECT w.ev_class FROM above a \
             JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.oid \
             JOIN pg_rewrite w ON w.oid = d.objid) \
         SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM (SELECT oid FROM made UNION SELECT oid FROM above) m \
         JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 OR c.relkind IN ('v', 'm') AND NOT EXISTS (SELECT FROM unnest($2) s WHERE s = n.nspname) AND EXISTS ( \
             WITH RECURSIVE shown(oid) AS ( \
                 SELECT c.oid \
                 UNION SELECT d.refobjid FROM shown s JOIN pg_rewrite w ON w.ev_class = s.oid \
                 JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass) \
             SELECT FROM shown s JOIN pg_class t ON t.oid = s.oid JOIN pg_namespace tn ON tn.oid = t.relnamespace WHERE tn.nspname = $1)",
        &[schema.to_owned().into(), all.to_vec().into()],
        |rows| {
            rows.into_iter()
                .map(|row| Ok((row.not_null(1)?, row.not_null(2)?)))
                .collect()
        },
    )?;
    let others = (found.into_iter()).filter(|(table, _)| !policy::works_on(*table));
    Ok(others.map(|(_, name)| name).collect())
}

/// Returns the names of relations of a schema that are not protected, and of views anywhere that show some of it, on which a statement grants a right to roles that do not have
/// all rights on them anyway. Of a partition the table is meant.
fn granted(schema: &str, all: &[String], grant: &Grant) -> Result<Vec<String>, Error> {
    if grant.relations.is_empty() && grant.relations_of.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<(pg_sys::Oid, String)> = spi::read_as_caller(
        "SELECT DISTINCT c.oid, format('%I.%I', n.nspname, c.relname) \
         FROM pg_class g JOIN pg_namespace gn ON gn.oid = g.relnamespace \
         JOIN pg_class c ON c.oid = CASE WHEN g.relispartition THEN coalesce(pg_partition_root(g.oid), g.oid) ELSE g.oid END \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE (n.nspname = $1 OR c.relkind IN ('v', 'm') AND NOT EXISTS (SELECT FROM unnest($5) s WHERE s = n.nspname) AND EXISTS ( \
                 WITH RECURSIVE shown(oid) AS ( \
                     SELECT c.oid \
                     UNION SELECT d.refobjid FROM shown s JOIN pg_rewrite w ON w.ev_class = s.oid \
                     JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass) \
                 SELECT FROM shown s JOIN pg_class t ON t.oid = s.oid JOIN pg_namespace tn ON tn.oid = t.relnamespace WHERE tn.nspname = $1)) \
           AND (g.oid = ANY ($2) OR gn.nspname = ANY ($3)) \
           AND c.relkind IN ('r', 'p', 'm', 'f', 'v') AND c.relpersistence <> 't' \
           AND EXISTS (SELECT FROM unnest($4) r(oid) LEFT JOIN pg_roles o ON o.oid = r.oid \
                        WHERE o.oid IS NULL OR NOT (o.rolsuper OR o.rolbypassrls OR pg_has_role(o.oid, c.relowner, 'USAGE')))",
        &[
            schema.to_owned().into(),
            grant.relations.clone().into(),
            grant.relations_of.clone().into(),
            grant.roles.clone().into(),
            all.to_vec().into(),
        ],
        |rows| {
            rows.into_iter()
                .map(|row| Ok((row.not_null(1)?, row.not_null(2)?)))
                .collect()
        },
    )?;
    let mut open = Vec::new();
    for (relation, name) in found {
        if !policy::works_on(relation) && policy::tenant_column(relation)?.is_none() {
            open.push(name);
        }
    }
    Ok(open)
}

/// Warns of functions of a schema that the statement has made, changed or granted, and that show all rows to who may call them. They
/// are not refused: PUBLIC may call a function until a later statement says otherwise.
fn warn_of_functions(schema: &str, grant: &Grant) -> Result<(), Error> {
    let found: Vec<(String, String)> = policy::pinned(|| {
        spi::read_as_caller(
            "WITH named(oid) AS ( \
                 SELECT d.objid FROM pg_event_trigger_ddl_commands() d WHERE d.classid = 'pg_proc'::regclass AND NOT d.in_extension \
                 UNION SELECT unnest($2) \
                 UNION SELECT f.oid FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace WHERE cardinality($3) > 0 AND n.nspname = ANY ($3)) \
             SELECT p.oid::regprocedure::text, o.rolname::text \
             FROM named JOIN pg_proc p USING (oid) JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner \
             WHERE n.nspname = $1 AND p.prosecdef AND (o.rolsuper OR o.rolbypassrls) AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) \
               AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a \
                            WHERE a.grantee <> p.proowner AND a.privilege_type = 'EXECUTE')",
            &[
                schema.to_owned().into(),
                grant.functions.clone().into(),
                grant.functions_of.clone().into(),
            ],
            |rows| {
                rows.into_iter()
                    .map(|row| Ok((row.not_null(1)?, row.not_null(2)?)))
                    .collect()
            },
        )
    })?;
    for (function, owner) in found {
        warning!(
            "tenancy: {function} runs with the rights of {owner}, to whom row security does not apply, for all who may call it: give it to the owner of the tables, or revoke EXECUTE"
        );
    }
    Ok(())
}

/// Looks at what the statement has made or changed; `copied` is a protected table that it was made of.
fn look(
    watched: &Watched,
    adopted: &Adopted,
    changed: &[String],
    copied: Option<pg_sys::Oid>,
) -> Result<(), Error> {
    let Some(owner) = relation::read(watched.tenant_table, |class| class.relowner) else {
        return Ok(());
    };
    let planned = |names: &[String]| {
        policy::pinned(|| spi::uncompiled(|| plan::plan_for(adopted, Some(names))))
    };
    let mut plans = planned(changed)?;
    let names = with_followers(&plans, changed);
    if names.len() > changed.len() {
        // Their rows count too.
        plans = planned(&names)?;
    }
    let isolates = watched.action == Action::Protect
        && role::may_act_as(owner)
        && role::outer_has_role(c"tenancy_admin");
    if isolates {
        isolate(adopted, &plans, &names)?;
    }
    let mut found = open(adopted, &plans, changed, isolates)?;
    if let Some(copied) = copied {
        add_copies(adopted, changed, copied, &mut found)?;
    }
    for (name, reasons) in found {
        match watched.action {
            Action::Off => {}
            Action::Warn => warning!(
                "tenancy: {name} is not isolated: it {reasons}. Call tenancy.adopt() again, with the arguments that it had for {}, or run the statement in tenancy.unprotected_tables",
                policy::relation_name(watched.tenant_table)?
            ),
            Action::Protect => {
                return Err(Error::LeftOpen {
                    table: name,
                    reasons,
                });
            }
        }
    }
    Ok(())
}

/// Adds a table that was made of a protected one, and that is not isolated.
fn add_copies(
    adopted: &Adopted,
    changed: &[String],
    copied: pg_sys::Oid,
    found: &mut Vec<(String, String)>,
) -> Result<(), Error> {
    for name in changed {
        let copy = ddl::table(name)?;
        let decided = name_of(copy)?.is_some_and(|copy| is_decided(adopted, &copy));
        if !decided
            && policy::tenant_column(copy)?.is_none()
            && !found.iter().any(|(other, _)| other == name)
        {
            let of = policy::relation_name(copied)?;
            found.push((name.clone(), format!("is made of {of}, which is protected")));
        }
    }
    Ok(())
}

/// Returns whether a relation may stay as it is.
fn is_decided(adopted: &Adopted, relation: &Relation) -> bool {
    let decision = adopted.choices.of(relation);
    decision.is_some_and(Decision::leaves_alone)
}

/// Warns of relations that the statement shows to more roles, or refuses it. It does not isolate them: they were left open before.
fn look_at_grant(watched: &Watched, adopted: &Adopted, granted: &[String]) -> Result<(), Error> {
    let plans = policy::pinned(|| spi::uncompiled(|| plan::plan_for(adopted, Some(granted))))?;
    for (table, reasons) in open(adopted, &plans, granted, false)? {
        match watched.action {
            Action::Off => {}
            Action::Warn => warning!(
                "tenancy: the grant shows {table}, which is not isolated: it {reasons}. Revoke it, call tenancy.adopt() again, or run the statement in tenancy.unprotected_tables"
            ),
            Action::Protect => return Err(Error::GrantedOpen { table, reasons }),
        }
    }
    Ok(())
}

/// How many names a warning has at most.
const NAMES_MAX: usize = 10;

/// Warns of relations of the schemas that an adoption has left open, and that were not decided on.
pub fn warn_of_open(adopted: &Adopted, mut open: Vec<String>) -> Result<(), Error> {
    open.extend(
        (policy::pinned(|| listed(adopted, None))?.into_iter())
            .map(|(relation, _)| relation.to_string()),
    );
    open.sort();
    open.dedup();
    if !open.is_empty() {
        let names: Vec<&str> = open.iter().take(NAMES_MAX).map(String::as_str).collect();
        let more = if open.len() > NAMES_MAX { ", …" } else { "" };
        warning!(
            "tenancy: {} of the tables and views in the adopted schemas may show tenants' rows to the application, and are not isolated: {}{more}. See tenancy.adoption and tenancy.unprotected_tables, and decide on them in adopt(), or revoke their grants",
            open.len(),
            names.join(", ")
        );
    }
    Ok(())
}

/// Returns what unprotected_tables lists for the schemas, or of these names, and was not decided on, with the reasons.
fn listed(adopted: &Adopted, names: Option<&[String]>) -> Result<Vec<(Relation, String)>, Error> {
    let mut found: Vec<(Relation, String)> = spi::uncompiled(|| {
        spi::read(
            "SELECT n[1], n[2], array_to_string(reasons, '; ') FROM tenancy.unprotected_tables, parse_ident(table_name) n \
             WHERE CASE WHEN $1 IS NULL THEN n[1] = ANY ($2) ELSE table_name = ANY ($1) END ORDER BY table_name",
            &[
                names.map(<[String]>::to_vec).into(),
                adopted.schemas.clone().into(),
            ],
            |rows| {
                rows.into_iter()
                    .map(|row| {
                        let (schema, name) = (row.not_null(1)?, row.not_null(2)?);
                        Ok((Relation { schema, name }, row.not_null(3)?))
                    })
                    .collect()
            },
        )
    })?;
    found.retain(|(relation, _)| !is_decided(adopted, relation));
    Ok(found)
}

/// Returns the tables that hold tenants' rows, or may, and are not protected, with the reasons: by the plan that was made before
/// some were isolated, and by what the catalogs say now.
fn open(
    adopted: &Adopted,
    plans: &[TablePlan],
    names: &[String],
    isolated: bool,
) -> Result<Vec<(String, String)>, Error> {
    let mut found: Vec<(String, String)> = listed(adopted, Some(names))?
        .into_iter()
        .map(|(relation, reasons)| (relation.to_string(), reasons))
        .collect();
    for plan in plans {
        let name = plan.relation.to_string();
        let blocker = plan.blocked.first().map(|blocker| &blocker.text);
        if let Some((_, reasons)) = found.iter_mut().find(|(other, _)| *other == name) {
            // What stands in the way of its isolation.
            if let Some(blocker) = blocker {
                reasons.push_str("; ");
                reasons.push_str(blocker);
            }
            continue;
        }
        let is_planned = || plan.steps.iter().any(|step| step.kind == StepKind::Protect);
        if names.contains(&name)
            && matches!(plan.kind, Kind::TenantColumn | Kind::Child)
            && (!is_ready(plan) || !isolated && is_planned())
        {
            // Of one that is protected, what is wrong with it.
            found.push((name, blocker.unwrap_or(&plan.reason).clone()));
        }
    }
    Ok(found)
}

/// Returns whether a table can be isolated in a statement's transaction: a large one cannot get its index there.
fn is_ready(plan: &TablePlan) -> bool {
    let is_index = |step: &Step| matches!(step.kind, StepKind::Index(_));
    plan.blocked.is_empty() && !plan.steps.iter().any(is_index)
}

/// Adds the tables that belong to a tenant through those that were changed.
fn with_followers(plans: &[TablePlan], changed: &[String]) -> Vec<String> {
    let mut names: Vec<String> = changed.to_vec();
    // Parents come first in a plan.
    for plan in plans {
        let name = plan.relation.to_string();
        let follows = |step: &Step| matches!(&step.kind, StepKind::Fill(fill) if fill.sources().iter().any(|source| names.contains(&source.relation.to_string())));
        if plan.steps.iter().any(follows) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Runs what the plan says of these tables in this transaction.
fn isolate(adopted: &Adopted, plans: &[TablePlan], names: &[String]) -> Result<(), Error> {
    let wanted = |plan: &&TablePlan| {
        names.contains(&plan.relation.to_string())
            && matches!(plan.kind, Kind::TenantColumn | Kind::Child)
            && is_ready(plan)
    };
    for plan in plans.iter().filter(wanted) {
        for step in &plan.steps {
            let mut next = Some(step::Position::Start);
            while let Some(position) = next {
                next = policy::pinned(|| step::run(plan, step, &adopted.choices, position))?;
            }
        }
    }
    Ok(())
}
