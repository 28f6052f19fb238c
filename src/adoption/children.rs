//! The tenant of a row that belongs to one through another table: the trigger `tenancy.fill_tenant`. It reads the parent with the
//! writer's rights: a row that the writer may not see gives no tenant.

use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use tenancy_core::adoption::{self, Source};
use tenancy_core::policy::{Relation, quote_ident};

use crate::error::Error;
use crate::pg::ddl;
use crate::pg::spi::{self, NotNull};
use crate::pg::trigger::{Change, NewValue};
use crate::{policy, triggers};

triggers! {
    tenancy_fill_tenant => before fill;
}

fn fill(change: &Change) -> Result<Option<NewValue>, Error> {
    let arguments = change.arguments();
    let [column, origin, sources @ ..] = arguments.as_slice() else {
        return Err(Error::Internal("arguments of fill_tenant() are missing"));
    };
    let sources = || adoption::sources(sources, |argument| argument.is_empty());
    // A renamed column has its new name in the registry.
    let renamed = match change.has(column) {
        true => None,
        false => policy::tenant_column(change.table())?.and_then(|name| CString::new(name).ok()),
    };
    let column = renamed.as_deref().unwrap_or(column);
    let is_own = origin.to_bytes() == adoption::OWN.as_bytes();
    let keeps =
        change.is_update() && sources().all(|source| source.columns().all(|c| change.keeps(c)));
    let has_tenant = change.value(column)?.is_some();
    // The application writes its own column.
    if has_tenant && (is_own || !change.is_update() || keeps) {
        return Ok(None);
    }
    let is_protected = || Ok::<_, Error>(policy::tenant_column(change.table())?.is_some());
    spi::pinned(|| {
        for source in sources() {
            let Some(parent) = parent(change.table(), &source)? else {
                // Without the foreign key nothing says whose the row is.
                if source.columns().all(|column| change.has(column))
                    && !refers(change, source.columns().copied())?
                {
                    continue;
                }
                return Err(Error::NoParent(text(source.name)));
            };
            let columns: Vec<CString> = (parent.columns.iter())
                .map(|column| CString::new(column.as_str()).unwrap_or_default())
                .collect();
            if !refers(change, columns.iter().map(CString::as_c_str))? {
                continue;
            }
            let mut values: Vec<DatumWithOid<'_>> = Vec::new();
            for column in &columns {
                values.extend(change.value(column)?);
            }
            let found = Spi::connect_mut(|client| {
                let rows = client.update(&parent.query, Some(1), &values)?;
                match rows.into_iter().next() {
                    Some(row) => Ok::<_, Error>(Some(row.get::<String>(1)?)),
                    None => Ok(None),
                }
            })?;
            match found {
                Some(Some(tenant)) => {
                    return Ok(Some(NewValue {
                        column: column.to_owned(),
                        text: Some(CString::new(tenant).unwrap_or_default()),
                    }));
                }
                // That row has no tenant, but one that it refers to by other columns may.
                Some(None) => {}
                // It may have been without one before, or get one before the table is isolated.
                None if keeps || !is_protected()? => {}
                None => return Err(Error::NoParent(parent.name)),
            }
        }
        // One that refers to nothing, any more, or to a row of everybody, stays where it was.
        Ok(None)
    })
}

/// Returns whether none of these columns is NULL.
fn refers<'c>(change: &Change, columns: impl IntoIterator<Item = &'c CStr>) -> Result<bool, Error> {
    for column in columns {
        if change.value(column)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A table that gives a row its tenant.
struct Parent {
    name: String,
    /// The referencing columns, in the order of the parameters.
    columns: Vec<String>,
    query: String,
}

impl Parent {
    fn new(
        of: pg_sys::Oid,
        name: String,
        columns: Vec<String>,
        conditions: &str,
        source: &Source<'_, &CStr>,
    ) -> Result<Self, Error> {
        // A renamed column has its new name in the registry.
        let tenant = policy::tenant_column(of)?.unwrap_or_else(|| text(source.tenant_column));
        let query = format!(
            "SELECT p.{}::text FROM {name} p WHERE {conditions}",
            quote_ident(&tenant)
        );
        Ok(Self {
            name,
            columns,
            query,
        })
    }
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// Finds a parent: by the name of the foreign key, or by its columns if it was renamed; without a foreign key by the table's name.
fn parent(table: pg_sys::Oid, source: &Source<'_, &CStr>) -> Result<Option<Parent>, Error> {
    let columns: Vec<String> = source.columns().map(|column| text(column)).collect();
    let key = text(source.key);
    let key = key.strip_prefix(adoption::KEY).unwrap_or_default();
    if !key.is_empty() {
        return by_key(table, key, columns, source);
    }
    let relation = Relation {
        schema: text(source.schema),
        name: text(source.name),
    };
    let equal: Vec<String> = (1..)
        .zip(source.ref_columns())
        .map(|(n, theirs)| format!("p.{} = ${n}", quote_ident(&text(theirs))))
        .collect();
    let name = relation.to_string();
    let of = ddl::table(&name)?;
    Parent::new(of, name, columns, &equal.join(" AND "), source).map(Some)
}

fn by_key(
    table: pg_sys::Oid,
    key: &str,
    columns: Vec<String>,
    source: &Source<'_, &CStr>,
) -> Result<Option<Parent>, Error> {
    spi::read_as_caller(
        "SELECT c.confrelid, c.confrelid::regclass::text, k.own, k.conditions \
         FROM pg_constraint c \
         CROSS JOIN LATERAL (SELECT array_agg(own.attname::text ORDER BY u.n) AS own, \
                string_agg(format('p.%I OPERATOR(%I.%s) $%s', theirs.attname, n.nspname, o.oprname, u.n), ' AND ') AS conditions \
             FROM unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS u(own, theirs, equality, n) \
             JOIN pg_attribute own ON own.attrelid = c.conrelid AND own.attnum = u.own \
             JOIN pg_attribute theirs ON theirs.attrelid = c.confrelid AND theirs.attnum = u.theirs \
             JOIN pg_operator o ON o.oid = u.equality JOIN pg_namespace n ON n.oid = o.oprnamespace) k \
         WHERE c.conrelid = $1 AND c.contype = 'f' AND (c.conname = $2 OR k.own = $3) ORDER BY c.conname = $2 DESC LIMIT 1",
        &[table.into(), key.to_owned().into(), columns.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => {
                let (of, name, columns) = (row.not_null(1)?, row.not_null(2)?, row.not_null(3)?);
                let conditions: String = row.not_null(4)?;
                Parent::new(of, name, columns, &conditions, source).map(Some)
            }
            None => Ok(None),
        },
    )
}
