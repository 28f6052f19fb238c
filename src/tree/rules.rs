//! The rules of the tree, for SQL.

use pgrx::prelude::*;
use tenancy_core::slug;
use tenancy_core::tree::{Level, Status};

use crate::error::{Error, ErrorReport};
use crate::pg::bounded;
use crate::pg::uuid::pg_uuid;
use crate::pg::zone::ServerZone;

/// Returns a new id, of version 7.
#[pg_extern(sql = false)]
fn new_id() -> pgrx::Uuid {
    pg_uuid(tenancy_core::id::new_id())
}

/// Returns true, or raises an error with the reason if a scope's slug, name or external id is invalid.
#[pg_extern(sql = false)]
fn _check_names(
    level: &str,
    slug: Option<&str>,
    name: Option<&str>,
    external_id: Option<&str>,
) -> Result<bool, ErrorReport> {
    let level: Level = parse_level(level)?;
    let slug = slug.ok_or(Error::Null("slug"))?;
    slug::check_slug(level, slug).map_err(|fault| {
        Error::bad(
            fault,
            "A slug has 1 to 63 lower-case letters and digits, with single - _ . between them, as in acme-corp.",
        )
    })?;
    if let Some(name) = name {
        slug::check_name(name)
            .map_err(|fault| Error::bad(fault, "A name is what people call it."))?;
    }
    if let Some(external_id) = external_id {
        slug::check_external_id(external_id)
            .map_err(|fault| Error::bad(fault, "An external id is stored as it is given."))?;
    }
    Ok(true)
}

/// Returns true, or raises an error if there is no such status.
#[pg_extern(sql = false)]
fn _check_status(status: Option<&str>) -> Result<bool, ErrorReport> {
    let status = status.ok_or(Error::Null("status"))?;
    status.parse::<Status>().map_err(|fault| {
        Error::bad(
            fault,
            "A scope works while its status, and that of every scope above, is active.",
        )
    })?;
    Ok(true)
}

/// Returns whether pg_timezone_names has a time zone with this name.
#[pg_extern(sql = false)]
fn _is_time_zone(name: &str) -> bool {
    ServerZone::named(name).is_some()
}

/// Returns whether a scope of one level may be the parent of another.
#[pg_extern(sql = false)]
fn _may_hold(parent: &str, child: &str) -> Result<bool, ErrorReport> {
    Ok(parse_level(parent)?.may_hold(parse_level(child)?))
}

/// Returns the worst of these statuses, which is the effective status of a path.
#[pg_extern(sql = false)]
fn _worst_status(statuses: Option<bounded::Texts>) -> String {
    let statuses = statuses
        .map_or_else(Vec::new, |statuses| statuses.0)
        .into_iter();
    let known = statuses.map(|status| {
        status
            .and_then(|text| text.parse().ok())
            .unwrap_or(Status::Deleted)
    });
    Status::effective(known).as_str().to_owned()
}

fn parse_level(text: &str) -> Result<Level, Error> {
    text.parse().map_err(|fault| {
        Error::bad(
            fault,
            "Levels are platform, partner, tenant, project, user.",
        )
    })
}
