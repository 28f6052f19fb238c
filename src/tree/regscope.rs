//! The type `regscope`: a scope's id that may be written as a slug, as `regclass` is for tables.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenancy_core::tree::Level;
use uuid::Uuid;

use crate::access::{from_pg, pg_uuid};
use crate::context::current;
use crate::error::{Error, ErrorReport};
use crate::pg::{role, spi};

/// Input: an id is taken as it is; a slug, or a path of slugs from a partner or a tenant down, is
/// looked up among the scopes that the caller may see.
#[pg_extern(sql = false)]
fn regscope_in(text: &CStr) -> Result<pgrx::Uuid, ErrorReport> {
    let text = text
        .to_str()
        .map_err(|_| Error::NoSuchScope(String::from("?")))?;
    if let Ok(id) = Uuid::try_parse(text) {
        return Ok(pg_uuid(id));
    }
    Ok(pg_uuid(find(text)?))
}

/// Output: the id.
#[pg_extern(sql = false)]
fn regscope_out(scope: pgrx::Uuid) -> std::ffi::CString {
    // A uuid's text has no NUL byte.
    std::ffi::CString::new(from_pg(scope).to_string()).unwrap_or_default()
}

struct Found {
    id: Uuid,
    level: String,
    path: Vec<Uuid>,
}

fn find(text: &str) -> Result<Uuid, Error> {
    let no_such = || Error::NoSuchScope(text.chars().take(80).collect());
    let slugs: Vec<String> = text.split('/').map(str::to_owned).collect();
    let found = spi::read(
        "WITH RECURSIVE step (id, level, path, n) AS (\
             SELECT id, level, path, 1 FROM tenancy.scopes \
             WHERE slug = ($1)[1] AND level <> 'project' \
             UNION ALL \
             SELECT c.id, c.level, c.path, step.n + 1 \
             FROM step JOIN tenancy.scopes c ON c.parent_id = step.id \
                  AND c.slug = ($1)[step.n + 1]) \
         SELECT id, level, path FROM step \
         WHERE n = pg_catalog.cardinality($1) LIMIT 100",
        &[slugs.into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    Ok(Found {
                        id: from_pg(
                            row.get(1)?
                                .ok_or(Error::Internal("a scope without an id"))?,
                        ),
                        level: row.get::<String>(2)?.unwrap_or_default(),
                        path: row
                            .get::<Vec<pgrx::Uuid>>(3)?
                            .unwrap_or_default()
                            .into_iter()
                            .map(from_pg)
                            .collect(),
                    })
                })
                .collect::<Result<Vec<_>, Error>>()
        },
    )?;
    let mut seen = visible(found)?;
    // A user's slug is only its own within its parent: alone it never names one of several.
    let best = seen
        .iter()
        .filter_map(|scope| scope.level.parse::<Level>().ok())
        .min();
    seen.retain(|scope| scope.level.parse().ok() == best);
    match seen.as_slice() {
        [] => Err(no_such()),
        [only] => Ok(only.id),
        _ => Err(Error::AmbiguousSlug(text.chars().take(80).collect())),
    }
}

/// Administrators, auditors and the gateway see the tree; everybody else the scopes of the context's
/// tenants.
fn visible(found: Vec<Found>) -> Result<Vec<Found>, Error> {
    if [c"tenancy_admin", c"tenancy_gateway", c"tenancy_auditor"]
        .into_iter()
        .any(role::has_role)
    {
        return Ok(found);
    }
    let Some(now) = current()? else {
        return Ok(Vec::new());
    };
    Ok(found
        .into_iter()
        .filter(|scope| {
            scope
                .path
                .iter()
                .any(|id| now.tenants.contains_id(id.as_bytes()))
        })
        .collect())
}
