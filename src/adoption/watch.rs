//! Watches the schemas of an adopted application: a statement that makes a table for tenants' rows is followed by a warning, or
//! by the isolation of the table.

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::Value;
use tenancy_core::adoption::{Kind, TablePlan};

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

/// Whether this backend isolates a table for a statement: its own statements are not watched.
static ISOLATING: BackendCell<bool> = BackendCell::new(false);

/// What follows a statement that makes a table for tenants' rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A warning.
    Warn,
    /// Its isolation, or an error.
    Protect,
}

impl Action {
    /// Parses the argument of `adopt()`; `None` for no action.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        match text {
            "off" => Ok(None),
            "warn" => Ok(Some(Self::Warn)),
            "protect" => Ok(Some(Self::Protect)),
            other => Err(Error::bad(
                format!("watch is {other}"),
                "Use off, warn or protect.",
            )),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Protect => "protect",
        }
    }
}

/// Watches the schemas from now on, or no longer.
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
    for watched in watched()? {
        let changed = policy::pinned(|| changed(&watched.schema))?;
        if !changed.is_empty() {
            look(&watched, &changed)?;
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
                    action: Action::parse(&action)?.unwrap_or(Action::Warn),
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
         JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE d.classid = 'pg_class'::regclass AND NOT d.in_extension AND n.nspname = $1 \
           AND c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'",
        &[schema.to_owned().into()],
        |rows| rows.into_iter().map(|row| row.not_null(1)).collect(),
    )
}

fn look(watched: &Watched, changed: &[String]) -> Result<(), Error> {
    let owner = relation::read(watched.tenant_table, |class| class.relowner);
    let (open, Some(owner)) = (open(changed)?, owner) else {
        // The table of tenants was dropped.
        return Ok(());
    };
    if open.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = open.iter().map(|(name, _)| name.clone()).collect();
    let schemas = Some(vec![watched.schema.clone()]);
    let choices = plan::choices(watched.choices.clone())?;
    let skipped = |name: &String| choices.decisions.get(name).is_some_and(|d| d.skip);
    let open: Vec<_> = open
        .into_iter()
        .filter(|(name, _)| !skipped(name))
        .collect();
    match watched.action {
        Action::Warn => {
            for (name, reasons) in open {
                warning!(
                    "tenancy: {name} is not isolated: it {reasons}. CALL tenancy.adopt('{}') isolates it",
                    policy::relation_name(watched.tenant_table)?
                );
            }
            Ok(())
        }
        Action::Protect => {
            if role::may_act_as(owner) && role::outer_has_role(c"tenancy_admin") {
                let adopted = Adopted::new(watched.tenant_table, schemas, choices.clone())?;
                isolate(&adopted, &names)?;
            }
            let left = self::open(&names)?;
            match left.into_iter().find(|(name, _)| !skipped(name)) {
                Some((table, reasons)) => Err(Error::LeftOpen { table, reasons }),
                None => Ok(()),
            }
        }
    }
}

/// Returns those of the tables that may hold tenants' rows and are not protected, with the reasons.
fn open(names: &[String]) -> Result<Vec<(String, String)>, Error> {
    spi::uncompiled(|| {
        spi::read(
            "SELECT table_name, array_to_string(reasons, '; ') FROM tenancy.unprotected_tables WHERE table_name = ANY ($1) ORDER BY 1",
            &[names.to_vec().into()],
            |rows| {
                rows.into_iter()
                    .map(|row| Ok((row.not_null(1)?, row.not_null(2)?)))
                    .collect()
            },
        )
    })
}

/// Runs what a plan for these tables says, in this transaction.
fn isolate(adopted: &Adopted, names: &[String]) -> Result<(), Error> {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            ISOLATING.set(false);
        }
    }
    ISOLATING.set(true);
    let _end = Restore;
    let plans = policy::pinned(|| spi::uncompiled(|| plan::plan_for(adopted, Some(names))))?;
    let wanted = |plan: &&TablePlan| {
        names.contains(&plan.relation.to_string())
            && matches!(plan.kind, Kind::TenantColumn | Kind::Child)
            && plan.blocked.is_empty()
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
