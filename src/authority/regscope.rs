//! The type `regscope`: a scope's id that may be written as a slug, as `regclass` is for tables.

use std::ffi::CStr;

use pgrx::prelude::*;
use uuid::Uuid;

use crate::context::current;
use crate::error::{Error, ErrorReport};
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{role, spi};

/// Parses a scope. An id is taken as it is; a slug, or a path of slugs from a partner or a tenant down, is
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

/// Prints the id.
#[pg_extern(sql = false)]
fn regscope_out(scope: pgrx::Uuid) -> std::ffi::CString {
    // A uuid's text has no NUL byte.
    std::ffi::CString::new(from_pg(scope).to_string()).unwrap_or_default()
}

struct FoundScope {
    id: Uuid,
    level: String,
    /// The level that the path begins at.
    top: String,
    /// Whether several tenants that the caller may see have the path's first slug.
    several: bool,
}

/// The maximum length of a path of slugs: partner/tenant/project/user, and some room.
const PATH_BYTES_MAX: usize = 5 * 64;

fn find(text: &str) -> Result<Uuid, Error> {
    let no_such = || Error::NoSuchScope(text.chars().take(80).collect());
    if text.len() > PATH_BYTES_MAX {
        return Err(no_such());
    }
    let slugs: Vec<String> = text.split('/').map(str::to_owned).collect();
    let (below, exactly) = visible()?
        .map(|visible| (visible.below, visible.exactly))
        .unzip();
    let found = spi::read(
        "WITH RECURSIVE step (id, level, path, n, top) AS (\
             SELECT id, level, path, 1, level FROM tenancy.scopes WHERE slug = ($1)[1] AND level <> 'project' \
             UNION ALL \
             SELECT c.id, c.level, c.path, step.n + 1, step.top \
             FROM step CROSS JOIN LATERAL (\
                 SELECT s.id, s.level, s.path FROM tenancy.scopes s \
                 WHERE s.parent_id = step.id AND s.slug = ($1)[step.n + 1] OFFSET 0) c \
             WHERE step.n < cardinality($1)) \
         SELECT id, level, top, \
             (SELECT count(*) FROM tenancy.scopes t WHERE t.slug = ($1)[1] AND t.level = 'tenant' \
                 AND ($2 IS NULL OR t.path && $2 OR t.id = ANY ($3))) > 1 \
         FROM step \
         WHERE n = cardinality($1) AND ($2 IS NULL OR path && $2 OR id = ANY ($3)) \
         ORDER BY array_position('{platform,partner,tenant,project,user}', top), \
                  array_position('{platform,partner,tenant,project,user}', level) LIMIT 2",
        &[slugs.into(), below.into(), exactly.into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    Ok(FoundScope {
                        id: row.not_null_id(1)?,
                        level: row.not_null(2)?,
                        top: row.not_null(3)?,
                        several: row.not_null(4)?,
                    })
                })
                .collect::<Result<Vec<_>, Error>>()
        },
    )?;
    let ambiguous = || Err(Error::AmbiguousSlug(text.chars().take(80).collect()));
    match found.as_slice() {
        [] => Err(no_such()),
        // The upper levels come first: no scope below can take the name of a partner, or of the platform.
        [first, ..] if matches!(first.top.as_str(), "platform" | "partner") => Ok(first.id),
        // The tenant must be unique before scopes below it are looked up: otherwise the path would select the tenant
        // that happens to have such a user.
        [first, ..] if first.top == "tenant" && first.several => ambiguous(),
        // A tenant's slug precedes a user's: a user's slug is unique only within its parent.
        [first, second] if second.level != "user" || first.level == "user" => ambiguous(),
        [first, ..] => Ok(first.id),
    }
}

/// The scopes that a caller may see: everything below some scopes, and some single scopes.
struct Visible {
    below: Vec<pgrx::Uuid>,
    exactly: Vec<pgrx::Uuid>,
}

/// Returns the scopes that the caller may see; `None` for administrators, auditors and the gateway, who see the
/// whole tree. Others see where they hold a permission, and the tenants of projects in which they do.
fn visible() -> Result<Option<Visible>, Error> {
    if role::reads_all(role::current()) {
        return Ok(None);
    }
    let context = current()?;
    let (below, exactly) = context.map_or_else(Default::default, |context| context.held());
    let ids = |ids: Vec<Uuid>| ids.into_iter().map(pg_uuid).collect();
    Ok(Some(Visible {
        below: ids(below),
        exactly: ids(exactly),
    }))
}
