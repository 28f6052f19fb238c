//! Decides which changes of a protected table need maintenance, and which a role that tenants share may never make.
//!
//! DDL that reads, checks or changes all rows, runs code for future rows, or removes the isolation needs maintenance, which is
//! recorded. Other DDL does not. Superusers are not restricted, nor are protect() and unprotect() themselves.

use pgrx::pg_sys;
use serde_json::json;

use super::{catalog, guard, registry};
use crate::context::{self, current};
use crate::error::Error;
use crate::pg::hooks::change::{Change, Reach};
use crate::pg::hooks::{is_view, shared_role};
use crate::pg::{relation, role};

/// Checks a statement that changes a table's definition.
pub fn check(change: &Change) -> Result<(), Error> {
    let locks = matches!(change.reach, Reach::Lock);
    if locks {
        // A lock on a view also locks its tables.
        let shared = is_view(change.table) || guard::is_protected(change.table)?;
        return if shared && shared_role() {
            Err(Error::NotOnProtected(change.command))
        } else {
            Ok(())
        };
    }
    if change.command == "ALTER TYPE"
        && !role::is_superuser_role(role::current())
        && registry::is_tables_type(change.table)?
    {
        return require_maintenance(change.command);
    }
    if !guard::is_protected(change.table)? {
        return Ok(());
    }
    let superuser = role::is_superuser_role(role::current());
    if !superuser {
        // The server itself refuses commands that need the owner. These two can be granted.
        let grantable = matches!(change.command, "CREATE TRIGGER" | "TRUNCATE");
        if !grantable && !owns(change.table) {
            return Ok(());
        }
        if shared_role() {
            return Err(Error::NotOnProtected(change.command));
        }
    }
    if let Reach::Type(column) = &change.reach
        && guard::depends_on(change.table, column)?
    {
        // The server refuses it to everybody, and does not say what to do.
        return Err(Error::IsolatingColumnType {
            column: column.clone(),
            table: guard::name(change.table)?.unwrap_or_default(),
        });
    }
    if superuser {
        return Ok(());
    }
    let needs = match &change.reach {
        Reach::Definition | Reach::Parts | Reach::Lock | Reach::Type(_) => false,
        Reach::Unique(columns) => {
            guard::tenant_column(change.table)?.is_none_or(|tenant| !columns.contains(&tenant))
        }
        Reach::Contents => registry::has_room(change.table)?,
        Reach::Column(name) => guard::depends_on(change.table, name)?,
        Reach::Rows | Reach::Isolation => true,
    };
    if needs {
        require_maintenance(change.command)?;
        let target = guard::name(change.table)?;
        context::record(
            "protected_table_altered",
            None,
            target.as_deref(),
            json!({ "statement": change.command }),
        )?;
    }
    Ok(())
}

/// Checks a statement that validates the values of a domain in all tables.
pub fn check_domain(domain: pg_sys::Oid) -> Result<(), Error> {
    if !role::is_superuser_role(role::current()) && registry::protected_with(domain)? {
        require_maintenance("ALTER DOMAIN")?;
    }
    Ok(())
}

/// Checks a table's isolation after a statement.
pub fn check_outcome(table: pg_sys::Oid) -> Result<(), Error> {
    if guard::works_on(table) {
        return Ok(());
    }
    let Some((name, missing)) = guard::missing(table)? else {
        return Ok(());
    };
    if !role::is_superuser_role(role::current()) {
        require_maintenance("a change of the isolation")?;
    }
    context::record(
        "isolation_removed",
        None,
        Some(&name),
        json!({ "missing": missing }),
    )
}

/// Drops tenancy's permissive policies before tenancy and its guards are dropped: they do not depend on the extension, and
/// without the guards they would show every row. Refuses if a table has other permissive policies, which would open it.
pub fn before_drop() -> Result<(), Error> {
    // The server refuses all others.
    if !role::is_superuser_role(role::current()) {
        return Ok(());
    }
    if let Some(table) = registry::opened_by_own_policies()? {
        return Err(Error::WouldOpen(table));
    }
    catalog::pinned(|| {
        registry::permissive_policies()?
            .iter()
            .try_for_each(|(policy, table)| {
                catalog::run(&format!("DROP POLICY {policy} ON {table}"))
            })
    })
}

fn owns(table: pg_sys::Oid) -> bool {
    relation::read(table, |class| class.relowner)
        .is_some_and(|owner| role::holds(role::current(), owner))
}

/// Raises an error outside maintenance.
pub fn require_maintenance(statement: &'static str) -> Result<(), Error> {
    match current()? {
        Some(context) if context.is_maintenance() => Ok(()),
        _ => Err(Error::NeedsMaintenance(statement)),
    }
}
