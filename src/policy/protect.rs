//! protect(), unprotect(), and protecting later partitions.

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::policy::{
    self, KeyType, MemberUndo, Needs, Options, PolicyChange, Refusal, Step, StepKind, UndoItem,
    Unprotect, check_kind,
};

use super::catalog::{self, Row};
use super::registry::Parts;
use super::{code, guard, index_advice, registry};
use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::spi::NotNull;
use crate::pg::{bounded, cluster, inheritance, relation, role};

/// Isolates a table: the SQL function `tenancy.protect` with its options as one jsonb.
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
#[pg_extern(sql = false)]
fn policy_protect(
    table: Option<pg_sys::Oid>,
    options: Option<bounded::Json>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(kind, String),
            name!(statement, Option<String>),
            name!(note, String),
        ),
    >,
    ErrorReport,
> {
    let table = table.ok_or(Error::Null("target"))?;
    let options: Options = options_of(options)?;
    Ok(TableIterator::new(protect_table(table, &options)?))
}

/// Isolates a table, and returns the steps.
pub fn protect_table(table: pg_sys::Oid, options: &Options) -> Result<Vec<Row>, Error> {
    guard::working_on(table, || catalog::pinned(|| protect(table, options)))
}

/// Removes the isolation of a table: the SQL function `tenancy.unprotect`.
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
#[pg_extern(sql = false)]
fn policy_unprotect(
    table: Option<pg_sys::Oid>,
    dry_run: Option<bool>,
    drop_column: Option<bool>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(kind, String),
            name!(statement, Option<String>),
            name!(note, String),
        ),
    >,
    ErrorReport,
> {
    let table = table.ok_or(Error::Null("target"))?;
    let (dry_run, drop_column) = (dry_run.unwrap_or(false), drop_column.unwrap_or(false));
    let rows = unprotect_table(table, dry_run, drop_column)?;
    Ok(TableIterator::new(rows))
}

/// Removes the isolation of a table, and returns the steps.
pub fn unprotect_table(
    table: pg_sys::Oid,
    dry_run: bool,
    drop_column: bool,
) -> Result<Vec<Row>, Error> {
    guard::working_on(table, || {
        catalog::pinned(|| unprotect(table, dry_run, drop_column))
    })
}

fn options_of(options: Option<bounded::Json>) -> Result<Options, Error> {
    let value = options.map_or(Value::Null, |bounded::Json(value)| value);
    serde_json::from_value(value).map_err(|fault| {
        Error::bad(
            format!("options of protect(): {fault}"),
            "Call tenancy.protect() with named arguments.",
        )
    })
}

fn protect(table: pg_sys::Oid, options: &Options) -> Result<Vec<Row>, Error> {
    let mut tree = inheritance::down(table);
    let mut facts = catalog::facts(table, &options.protection(), &tree)?;
    check_kind(&facts)?;
    if let Some(root) = registry::above(table).filter(|root| *root != table) {
        let mut steps = isolate_children(root, &Parts::all(root), options.dry_run)?;
        if steps.is_empty() {
            steps.push(Step {
                kind: StepKind::Skip,
                statement: String::new(),
                note: "isolated as a part of a protected table".to_owned(),
                actor: policy::Actor::Invoker,
            });
        }
        return Ok(catalog::rows(steps));
    }
    if !inheritance::parents(table).is_empty() {
        // The plan refuses, with the root's name.
        let facts = catalog::facts_to_protect(table, options, &tree)?;
        return Ok(catalog::rows(policy::plan(&facts, options)?.steps));
    }
    catalog::lock(table, &facts, options.dry_run)?;
    catalog::check_parts(table, &facts)?;
    tree = inheritance::down(table);
    let tables = inheritance::oids(&tree);
    check_parents(tables.get(1..).unwrap_or_default(), &tables)?;
    facts = catalog::facts_to_protect(table, options, &tree)?;
    check_kind(&facts)?;
    catalog::look_inside(table, &mut facts, options)?;
    facts.bad_indexes = Some(index_advice::count(table, &options.tenant_column)?);
    let plan = policy::plan(&facts, options)?;
    if let Some(shared) = facts.owner_shared.first() {
        warning!(
            "role \"{shared}\", which tenants share, has the rights of the owner of {}: the first row says how to separate the two",
            facts.relation
        );
    }
    if !options.dry_run {
        catalog::execute(&plan.steps, &facts)?;
        registry::save(table, &facts.relation, &plan, &tree)?;
        if plan.protection.shared && plan.key_type != KeyType::Uuid {
            registry::key_rows_of_partners(&facts.relation)?;
        }
        let options = serde_json::to_value(options.protection())
            .map_err(|_| Error::Internal("options that cannot be written"))?;
        record("protected", &facts.relation, &plan.steps, options)?;
        if let Some((table, fault)) = guard::missing(table)? {
            // Code of the table's owner has run in between.
            return Err(Error::NotIsolated { table, fault });
        }
    }
    Ok(catalog::rows(plan.steps))
}

/// Records in the audit log what was done, if anything was.
fn record(
    action: &str,
    table: &policy::Relation,
    steps: &[Step],
    details: Value,
) -> Result<(), Error> {
    if steps.iter().any(|step| step.kind == StepKind::Do) {
        context::record(action, None, Some(&table.to_string()), details)?;
    }
    Ok(())
}

fn unprotect(table: pg_sys::Oid, dry_run: bool, drop_column: bool) -> Result<Vec<Row>, Error> {
    let Some(protection) = registry::find_or_detached(table)? else {
        return Err(not_protected(table)?);
    };
    let mut tree = inheritance::down(table);
    let mut facts = catalog::facts(table, &protection, &tree)?;
    if !facts.invoker_owns {
        return Err(Error::Refused(Refusal::NotOwner {
            table: facts.relation.to_string(),
        }));
    }
    if !dry_run {
        // Recorded first: a rollback does not undo what the caller reads afterwards.
        if !role::is_superuser_role(role::current()) {
            let target = facts.relation.to_string();
            context::record_now("unprotect", None, Some(&target), json!({}))?;
        }
        catalog::lock(table, &facts, false)?;
        tree = inheritance::down(table);
        facts = catalog::facts(table, &protection, &tree)?;
    }
    let undo = registry::members(&tree)?;
    let schema: Vec<&UndoItem> = undo
        .iter()
        .filter(|u| !dry_run && u.relation == facts.relation)
        .flat_map(|u| &u.items)
        .filter(|item| item.key.starts_with("schema:"))
        .collect();
    // A dry run only checks whether another table takes over the duty.
    let heir = registry::hand_over(table, &facts.relation.schema, &schema)?;
    let how = Unprotect {
        drop_column,
        schema_in_use: heir,
        gone: gone(table, &undo)?,
    };
    let plan = policy::unplan(&facts, &protection, &undo, &how)?;
    if !dry_run {
        catalog::execute(&plan.steps, &facts)?;
        registry::remove(table)?;
        let details = json!({ "drop_column": drop_column });
        record("unprotected", &facts.relation, &plan.steps, details)?;
    }
    Ok(catalog::rows(plan.steps))
}

/// Returns why a table is not protected.
fn not_protected(table: pg_sys::Oid) -> Result<Error, Error> {
    let name = |oid: pg_sys::Oid| {
        Spi::connect(|client| {
            let rows = client.select(
                "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.oid = $1",
                Some(1),
                &[oid.into()],
            )?;
            match rows.into_iter().next() {
                Some(row) => Ok::<_, Error>(row.get::<String>(1)?),
                None => Ok(None),
            }
        })
    };
    let Some(relation) = name(table)? else {
        return Ok(Error::NoSuch("the table"));
    };
    Ok(Error::Refused(match registry::above(table) {
        Some(root) => Refusal::PartOf {
            table: relation,
            root: name(root)?.unwrap_or_default(),
        },
        None => Refusal::NotProtected { table: relation },
    }))
}

/// Returns the objects of undo records that no longer exist.
fn gone(table: pg_sys::Oid, undo: &[MemberUndo]) -> Result<Vec<Needs>, Error> {
    let needs: Vec<&Needs> = undo
        .iter()
        .flat_map(|u| &u.items)
        .flat_map(|item| &item.needs)
        .collect();
    let needs =
        serde_json::to_value(needs).map_err(|_| Error::Internal("a record cannot be read"))?;
    Spi::connect_mut(|client| {
        let rows = client.update(
            "SELECT DISTINCT x.kind, x.name FROM pg_catalog.jsonb_to_recordset($2) AS x(kind text, name text) \
             WHERE CASE x.kind \
                 WHEN 'schema' THEN pg_catalog.to_regnamespace(x.name) IS NULL \
                 WHEN 'sequence' THEN pg_catalog.to_regclass(x.name) IS NULL \
                 WHEN 'role' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_roles r \
                     WHERE r.rolname = x.name::pg_catalog.name) \
                 WHEN 'holder' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_class c, \
                     LATERAL (SELECT c.relacl AS acl UNION ALL SELECT t.attacl FROM pg_catalog.pg_attribute t WHERE t.attrelid = c.oid) s, \
                     LATERAL pg_catalog.aclexplode(s.acl) a \
                     LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee \
                     WHERE c.oid = $1 AND coalesce(r.rolname, '') = x.name) \
                 ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
                     WHERE a.attrelid = $1 AND NOT a.attisdropped \
                       AND a.attname = x.name::pg_catalog.name) \
             END",
            None,
            &[table.into(), JsonB(needs).into()],
        )?;
        let mut gone = Vec::new();
        for row in rows {
            gone.push(Needs {
                kind: row.not_null(1)?,
                name: row.not_null(2)?,
            });
        }
        Ok(gone)
    })
}

/// Isolates a new partition or child of a protected table: the named one. Costs the same with any number of other parts. For
/// other tables it costs some look-ups in indexes and does nothing. Refuses a protected table under an unprotected parent.
pub fn protect_children(parent: pg_sys::Oid, named: Option<pg_sys::Oid>) -> Result<(), Error> {
    // Another table may have the name, such as a temporary one.
    let child = named.filter(|child| inheritance::parents(*child).contains(&parent));
    let Some(root) = registry::root_of(parent) else {
        return check_unprotected_parent(child.unwrap_or(parent));
    };
    let named = child.map(|child| Parts::of_child(root, parent, child));
    // Without a new one, the name is another child's.
    let parts = match named.filter(|parts| !parts.new.is_empty()) {
        Some(parts) => parts,
        None => Parts::all(root),
    };
    code::check_new_parts(root, &parts.new)?;
    isolate_children(root, &parts, false)?;
    check_parents(&parts.new, &[])
}

/// Refuses parts of a protected table that also have an unprotected parent, which is not one of `tables` either. Through it every
/// role would read them.
fn check_parents(parts: &[pg_sys::Oid], tables: &[pg_sys::Oid]) -> Result<(), Error> {
    let is_open =
        |parent: &pg_sys::Oid| !tables.contains(parent) && registry::root_of(*parent).is_none();
    match (parts.iter()).find(|part| inheritance::parents(**part).iter().any(is_open)) {
        Some(part) => Err(Error::Refused(Refusal::UnprotectedParent {
            table: registry::name(*part)?,
        })),
        None => Ok(()),
    }
}

/// Refuses protected tables among those that an unprotected table has got below it.
fn check_unprotected_parent(table: pg_sys::Oid) -> Result<(), Error> {
    match registry::below(table)? {
        // Through its parent, which has no policy, every role would read it.
        Some(table) => Err(Error::Refused(Refusal::UnprotectedParent { table })),
        None => Ok(()),
    }
}

/// Isolates those of the parts of a protected table that are not isolated yet.
fn isolate_children(root: pg_sys::Oid, parts: &Parts, dry_run: bool) -> Result<Vec<Step>, Error> {
    let Some(protection) = registry::find_or_detached(root)? else {
        return Ok(Vec::new());
    };
    let isolate = || {
        let facts = catalog::facts(root, &protection, &parts.tree)?;
        if !policy::is_isolated(&facts) {
            return Ok(Vec::new());
        }
        let plan = policy::plan_children(&facts, &protection)?;
        // One that was protected separately may need no step.
        if !(dry_run || plan.steps.is_empty() && parts.new.is_empty()) {
            catalog::execute(&plan.steps, &facts)?;
            registry::save(root, &facts.relation, &plan, &parts.tree)?;
        }
        Ok(plan.steps)
    };
    guard::working_on(root, || catalog::pinned(isolate))
}

/// Called after a policy of a table was created or dropped, or its owner changed. Keeps tenancy's permissive policy only if
/// the table has none of its own. For an unprotected table it costs one look-up and does nothing.
pub fn follow_policies(table: pg_sys::Oid, change: PolicyChange) -> Result<(), Error> {
    // CREATE EXTENSION creates policies before the registry, and changes owners of tables.
    if cluster::creating_extension() {
        return Ok(());
    }
    let Some(root) = registry::above(table) else {
        return Ok(());
    };
    let Some(protection) = registry::find(root)? else {
        return Ok(());
    };
    // protect() and unprotect() handle policies themselves.
    if guard::works_on(root) {
        return Ok(());
    }
    // DROP OWNED removes roles from policies of other roles' tables: those stay closed until their owner runs protect().
    let owner = relation::read(table, |class| class.relowner);
    if !owner.is_some_and(role::may_act_as) {
        return Ok(());
    }
    let follow = || {
        let facts = catalog::facts(root, &protection, &inheritance::down(root))?;
        if policy::is_isolated(&facts) {
            let plan = policy::follow_policies(&facts, &protection, change);
            catalog::execute(&plan.steps, &facts)?;
        }
        Ok(())
    };
    guard::working_on(root, || catalog::pinned(follow))
}
