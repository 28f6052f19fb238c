//! The tenant of a row that belongs to one through another table: the trigger `tenancy.fill_tenant`. It reads the parent with the
//! writer's rights: a row that the writer may not see gives no tenant.

use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use tenancy_core::policy::quote_ident;

use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::trigger::{Change, NewValue};
use crate::{policy, triggers};

triggers! {
    tenancy_fill_tenant => before fill;
}

fn fill(change: &Change) -> Result<Option<NewValue>, Error> {
    let arguments = change.arguments();
    let [column, key, tenant_column, columns @ ..] = arguments.as_slice() else {
        return Err(Error::Internal("arguments of fill_tenant() are missing"));
    };
    // A renamed column has its new name in the registry.
    let renamed = match change.has(column) {
        true => None,
        false => policy::tenant_column(change.table())?.and_then(|name| CString::new(name).ok()),
    };
    let column = renamed.as_deref().unwrap_or(column);
    let has_tenant = change.value(column)?.is_some();
    if has_tenant && (!change.is_update() || columns.iter().all(|column| change.keeps(column))) {
        return Ok(None);
    }
    spi::pinned(|| {
        let Some(parent) = parent(change.table(), key, columns, tenant_column)? else {
            // Without the foreign key nothing says whose the row is: NOT NULL refuses one without a tenant.
            return Ok(None);
        };
        let mut values: Vec<DatumWithOid<'_>> = Vec::new();
        for column in &parent.columns {
            let column = CString::new(column.as_str()).unwrap_or_default();
            match change.value(&column)? {
                Some(value) => values.push(value),
                // It refers to nothing, any more: it stays where it was.
                None => return Ok(None),
            }
        }
        let found = Spi::connect_mut(|client| {
            let rows = client.update(&parent.query, Some(1), &values)?;
            match rows.into_iter().next() {
                Some(row) => Ok::<_, Error>(Some(row.get::<String>(1)?)),
                None => Ok(None),
            }
        })?;
        let tenant = found.ok_or(Error::NoParent(parent.name))?;
        Ok(Some(NewValue {
            column: column.to_owned(),
            text: tenant.map(|tenant| CString::new(tenant).unwrap_or_default()),
        }))
    })
}

/// The table that a foreign key refers to.
struct Parent {
    name: String,
    /// The referencing columns, in the order of the parameters.
    columns: Vec<String>,
    query: String,
}

/// Finds the parent by the name of the foreign key, or by its columns if it was renamed.
fn parent(
    table: pg_sys::Oid,
    key: &CStr,
    columns: &[&CStr],
    tenant_column: &CStr,
) -> Result<Option<Parent>, Error> {
    let text = |name: &CStr| name.to_string_lossy().into_owned();
    let columns: Vec<String> = columns.iter().map(|column| text(column)).collect();
    let found = spi::read_as_caller(
        "SELECT c.confrelid, c.confrelid::regclass::text, k.own, k.conditions \
         FROM pg_constraint c \
         CROSS JOIN LATERAL (SELECT array_agg(own.attname::text ORDER BY u.n) AS own, \
                string_agg(format('p.%I OPERATOR(%I.%s) $%s', theirs.attname, n.nspname, o.oprname, u.n), ' AND ') AS conditions \
             FROM unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS u(own, theirs, equality, n) \
             JOIN pg_attribute own ON own.attrelid = c.conrelid AND own.attnum = u.own \
             JOIN pg_attribute theirs ON theirs.attrelid = c.confrelid AND theirs.attnum = u.theirs \
             JOIN pg_operator o ON o.oid = u.equality JOIN pg_namespace n ON n.oid = o.oprnamespace) k \
         WHERE c.conrelid = $1 AND c.contype = 'f' AND (c.conname = $2 OR k.own = $3) ORDER BY c.conname = $2 DESC LIMIT 1",
        &[table.into(), text(key).into(), columns.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(Some((
                row.not_null::<pg_sys::Oid>(1)?,
                row.not_null::<String>(2)?,
                row.not_null(3)?,
                row.not_null::<String>(4)?,
            ))),
            None => Ok(None),
        },
    )?;
    let Some((of, name, columns, conditions)) = found else {
        return Ok(None);
    };
    // A renamed column has its new name in the registry.
    let tenant = policy::tenant_column(of)?.unwrap_or_else(|| text(tenant_column));
    let query = format!(
        "SELECT p.{}::text FROM {name} p WHERE {conditions}",
        quote_ident(&tenant)
    );
    Ok(Some(Parent {
        name,
        columns,
        query,
    }))
}
