//! Watches the schemas of an adopted application: a statement that makes a table for tenants' rows is followed by a warning, or
//! by the isolation of the table.

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::Value;
use tenancy_core::adoption::{Decision, Kind, Step, StepKind, TablePlan};
use tenancy_core::policy::{Refusal, Relation};

use super::plan::{self, Adopted};
use super::step;
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::spi::{self, NotNull};
use crate::pg::{cluster, relation, role};
use crate::{policy, triggers};

triggers! {
    tenancy_watch_ddl => event after_ddl;
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
        let choices = serde_json::to_value(&adopted.choices)
            .map_err(|_| Error::Internal("choices that cannot be written"))?;
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

fn after_ddl() -> Result<(), Error> {
    // The script of a dump sets an empty path. What it restores was looked at when it was made.
    if ISOLATING.get()
        || cluster::creating_extension()
        || cluster::upgrading()
        || spi::search_path().to_bytes().is_empty()
    {
        return Ok(());
    }
    let all = watched()?;
    for watched in all.iter().filter(|watched| watched.action != Action::Off) {
        warn_of_functions(&watched.schema)?;
        let changed = policy::pinned(|| changed(&watched.schema))?;
        if !changed.is_empty() {
            let schemas = (all.iter())
                .filter(|other| other.tenant_table == watched.tenant_table)
                .map(|other| other.schema.clone())
                .collect();
            paused(|| look(watched, schemas, &changed))?;
        }
    }
    Ok(())
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

/// Returns the names of tables of a schema that the statement has made or changed.
fn changed(schema: &str) -> Result<Vec<String>, Error> {
    spi::read_as_caller(
        "SELECT DISTINCT format('%I.%I', n.nspname, c.relname) FROM pg_event_trigger_ddl_commands() d \
         LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid \
         JOIN pg_class c ON c.oid = coalesce(w.ev_class, d.objid) JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE d.classid IN ('pg_class'::regclass, 'pg_rewrite'::regclass) AND NOT d.in_extension AND n.nspname = $1 \
           AND c.relkind IN ('r', 'p', 'm', 'f', 'v') AND NOT c.relispartition AND c.relpersistence <> 't'",
        &[schema.to_owned().into()],
        |rows| rows.into_iter().map(|row| row.not_null(1)).collect(),
    )
}

/// Warns of functions of a schema that the statement has made or changed, and that show all rows to who may call them. They are not
/// refused: PUBLIC may call a function until a later statement says otherwise.
fn warn_of_functions(schema: &str) -> Result<(), Error> {
    let found: Vec<(String, String)> = policy::pinned(|| {
        spi::read_as_caller(
            "SELECT DISTINCT d.object_identity, o.rolname::text FROM pg_event_trigger_ddl_commands() d \
             JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner \
             WHERE d.classid = 'pg_proc'::regclass AND NOT d.in_extension AND n.nspname = $1 \
               AND p.prosecdef AND (o.rolsuper OR o.rolbypassrls) AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) \
               AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a \
                            WHERE a.grantee <> p.proowner AND a.privilege_type = 'EXECUTE')",
            &[schema.to_owned().into()],
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

fn look(watched: &Watched, schemas: Vec<String>, changed: &[String]) -> Result<(), Error> {
    let Some(owner) = relation::read(watched.tenant_table, |class| class.relowner) else {
        // The table of tenants was dropped.
        return Ok(());
    };
    let choices = plan::choices(watched.choices.clone())?;
    let adopted = Adopted {
        tenant_table: watched.tenant_table,
        schemas,
        choices,
        began: true,
    };
    let plans = policy::pinned(|| spi::uncompiled(|| plan::plan_for(&adopted, Some(changed))))?;
    let isolates = watched.action == Action::Protect
        && role::may_act_as(owner)
        && role::outer_has_role(c"tenancy_admin");
    if isolates {
        isolate(&adopted, &plans, changed)?;
    }
    for (name, reasons) in open(&adopted, &plans, changed, isolates)? {
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

/// Returns the tables that hold tenants' rows, or may, and are not protected, with the reasons: by the plan that was made before
/// some were isolated, and by what the catalogs say now.
fn open(
    adopted: &Adopted,
    plans: &[TablePlan],
    names: &[String],
    isolated: bool,
) -> Result<Vec<(String, String)>, Error> {
    let listed: Vec<(Relation, String)> = spi::uncompiled(|| {
        spi::read(
            "SELECT n[1], n[2], array_to_string(reasons, '; ') FROM tenancy.unprotected_tables, parse_ident(table_name) n \
             WHERE table_name = ANY ($1) ORDER BY table_name",
            &[names.to_vec().into()],
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
    let decided = |relation: &Relation| {
        let decision = adopted.choices.of(relation);
        decision.is_some_and(Decision::leaves_alone)
    };
    let mut found: Vec<(String, String)> = (listed.into_iter())
        .filter(|(relation, _)| !decided(relation))
        .map(|(relation, reasons)| (relation.to_string(), reasons))
        .collect();
    for plan in plans {
        let name = plan.relation.to_string();
        let is_planned = || plan.steps.iter().any(|step| step.kind == StepKind::Protect);
        if names.contains(&name)
            && matches!(plan.kind, Kind::TenantColumn | Kind::Child)
            && (!is_ready(plan) || !isolated && is_planned())
            && !found.iter().any(|(other, _)| *other == name)
        {
            // Of one that is protected, what is wrong with it.
            let blocker = plan.blocked.first().map(|blocker| &blocker.text);
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

/// Runs what the plan says of the changed tables, and of those that belong to a tenant through them, in this transaction.
fn isolate(adopted: &Adopted, plans: &[TablePlan], changed: &[String]) -> Result<(), Error> {
    let mut names: Vec<String> = changed.to_vec();
    // Parents come first in a plan.
    for plan in plans {
        let name = plan.relation.to_string();
        let follows = |step: &Step| matches!(&step.kind, StepKind::Fill(fill) if fill.sources().iter().any(|source| names.contains(&source.relation.to_string())));
        if plan.steps.iter().any(follows) && !names.contains(&name) {
            names.push(name);
        }
    }
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
