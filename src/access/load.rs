//! Reading a principal's access from the tree.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tenancy_core::grants::{Grant, Grants, Holder};
use tenancy_core::network::Network;
use tenancy_core::permission::Permission;
use tenancy_core::subject::Subject;
use tenancy_core::time::Instant;
use tenancy_core::tree::{Level, Status};
use uuid::Uuid;

use super::reachable_scopes::{OnlyProjects, ReachableScopes, Scopes};
use super::{Access, Elevation};
use crate::error::Error;
use crate::pg::sources::Reading;
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{spi, xact};
use crate::tree;

/// Reads a user's access.
pub fn load(user: Uuid) -> Result<Access, Error> {
    let now = xact::transaction_started().max(xact::statement_started());
    let mut reading = Reading::begin();
    let home = home(user)?;
    for id in home.path.iter().chain([&user]) {
        reading.of(Subject::Scope(*id));
        reading.of(Subject::Networks(*id));
    }
    let mut scopes = Scopes::default();
    scopes.read(home.path.iter().copied())?;
    if !scopes.active(&home.path) || !home.active {
        return Err(Error::Inactive);
    }
    let mut valid_until: Option<Instant> = None;
    let mut grants = Vec::new();
    for grant in assignments(user, &home.path, &mut reading)? {
        if let Some(end) = grant.expires_at {
            if end <= now {
                continue;
            }
            valid_until = sooner(valid_until, end);
        }
        grants.push(grant);
    }
    let assigned_until = valid_until;
    scopes.read(grants.iter().flat_map(|grant| grant.path.iter().copied()))?;
    let mut elevation = None;
    if may_elevate(&grants) {
        for found in elevations(user)? {
            if found.begun {
                valid_until = sooner(valid_until, found.elevation.expires_at);
                elevation = Some(found.elevation);
            } else {
                // Takes effect in the next transaction.
                valid_until = sooner(valid_until, Instant::LONG_AGO);
            }
        }
    }
    let holder = match &elevation {
        Some(elevation) => Holder::Elevated(elevation.expires_at),
        None if home.path.len() == 1 => Holder::Platform,
        None => Holder::Below,
    };
    let partner = home.path.get(1).copied();
    let places = ReachableScopes::find(&grants, &scopes)?;
    let tenants = Rc::new(places.all());
    let fleet = places.partners().next().is_some();
    let mut growing = reading.also();
    for partner in places.partners() {
        reading.of(Subject::Fleet(partner));
        growing.of(Subject::FleetGrown(partner));
    }
    Ok(Access {
        user,
        external_id: home.external_id,
        home: home.path,
        partner,
        fleet,
        grants: Grants::new(grants, holder),
        elevation,
        tenants,
        valid_until,
        assigned_until,
        known_up_to: tree::first_recent(),
        places,
        networks: home.networks,
        api_keys: home.api_keys,
        reached: RefCell::default(),
        sources: Rc::new(reading.done()),
        growing: growing.done(),
    })
}

fn sooner(known: Option<Instant>, end: Instant) -> Option<Instant> {
    Some(known.map_or(end, |known| known.min(end)))
}

struct Home {
    external_id: Option<String>,
    path: Vec<Uuid>,
    active: bool,
    networks: Vec<Vec<Network>>,
    api_keys: bool,
}

fn home(user: Uuid) -> Result<Home, Error> {
    spi::read(
        "SELECT u.path, u.status, \
                ARRAY(SELECT pg_catalog.array_to_string(n.networks, ' ') FROM tenancy_internal.allowed_networks n \
                       WHERE n.scope_id = ANY (u.path)), u.external_id, \
                u.kind = 'service' OR NOT EXISTS (SELECT FROM tenancy_internal.login_policy_registry l \
                                                   WHERE l.scope_id = ANY (u.path) AND NOT l.human_api_keys) \
         FROM tenancy.scopes u WHERE u.id = $1 AND u.level = 'user'",
        &[pg_uuid(user).into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Err(Error::NoSuch("the user"));
            };
            let mut path = uuids(row.not_null(1)?);
            path.pop();
            let status: String = row.not_null(2)?;
            Ok(Home {
                external_id: row.get(4)?,
                path,
                active: status == Status::Active.as_str(),
                networks: networks(row.not_null(3)?)?,
                api_keys: row.not_null(5)?,
            })
        },
    )
}

/// Parses each scope's networks from a text with blanks between them.
fn networks(scopes: Vec<String>) -> Result<Vec<Vec<Network>>, Error> {
    let networks = |text: &String| text.split(' ').map(str::parse).collect();
    let read: Result<_, _> = scopes.iter().map(networks).collect();
    read.map_err(|_| Error::Internal("a network that cannot be read"))
}

/// Reads a user's assignments within its parent, of roles defined at the scope or above: a tenant that moved to
/// another partner loses the old partner's users and roles. Assignments that give nothing now may give something
/// later.
fn assignments(user: Uuid, home: &[Uuid], reading: &mut Reading) -> Result<Vec<Grant>, Error> {
    let home = home.last().copied().unwrap_or_default();
    let mut roles: HashMap<Vec<String>, Vec<Permission>> = HashMap::new();
    spi::read(
        "SELECT s.level, s.path, r.permissions, \
                (pg_catalog.date_part('epoch', least(a.expires_at, r.expires_at)) * 1000000)::bigint, \
                a.scope_id, a.role_id, $2 = ANY (s.path) AND r.scope_id = ANY (s.path) \
         FROM tenancy_internal.role_assignments a \
         LEFT JOIN tenancy_internal.role_definitions r ON r.id = a.role_id \
         LEFT JOIN tenancy.scopes s ON s.id = a.scope_id \
         WHERE a.user_id = $1",
        &[pg_uuid(user).into(), pg_uuid(home).into()],
        |rows| {
            let mut grants = Vec::new();
            for row in rows {
                // NULL for a scope that was deleted.
                let path = uuids(row.get(2)?.unwrap_or_default());
                reading.of(Subject::Scope(row.not_null_id(5)?));
                reading.of(Subject::Role(row.not_null_id(6)?));
                path.iter().for_each(|id| reading.of(Subject::Scope(*id)));
                if row.get(7)? != Some(true) {
                    continue;
                }
                let level: String = row.not_null(1)?;
                let texts: Vec<String> = row.not_null(3)?;
                let permissions = roles.entry(texts).or_insert_with_key(|texts| {
                    let known = texts.iter().filter_map(|text| Permission::parse(text).ok());
                    known.collect()
                });
                grants.push(Grant {
                    level: level
                        .parse()
                        .map_err(|_| Error::Internal("a scope of no known level"))?,
                    path,
                    permissions: permissions.clone(),
                    expires_at: spi::instant(&row, 4)?,
                });
            }
            Ok(grants)
        },
    )
}

/// Returns the projects to record usage in, if a user holds a tenant only by projects, as [`Access::only_projects`] does.
/// For a user who is not active it uses the assignments. Paths end before the user, and include the tenant.
pub fn only_projects(
    user: Uuid,
    home: &[Uuid],
    tenant: &[Uuid],
    reading: &mut Reading,
) -> Result<OnlyProjects, Error> {
    let ids = |path: &[Uuid]| path.iter().copied().map(pg_uuid).collect::<Vec<_>>();
    let last = |path: &[Uuid]| pg_uuid(path.last().copied().unwrap_or_default());
    // The projects, each with whether it is active.
    let mut held: Vec<(Uuid, bool)> = Vec::new();
    let mut whole = false;
    spi::read(
        "SELECT s.id, a.role_id, s.level = 'project', s.status = 'active', \
                r.scope_id = ANY (s.path) AND least(a.expires_at, r.expires_at) > pg_catalog.now() IS NOT FALSE \
         FROM tenancy_internal.role_assignments a \
         JOIN tenancy_internal.role_definitions r ON r.id = a.role_id \
         JOIN tenancy.scopes s ON s.id = a.scope_id \
         WHERE a.user_id = $1 AND $2 = ANY (s.path) AND (s.id = ANY ($3) OR s.level = 'project' AND s.parent_id = $4)",
        &[
            pg_uuid(user).into(),
            last(home).into(),
            ids(tenant).into(),
            last(tenant).into(),
        ],
        |rows| {
            for row in rows {
                let scope = row.not_null_id(1)?;
                reading.of(Subject::Scope(scope));
                reading.of(Subject::Role(row.not_null_id(2)?));
                match (row.get(5)? == Some(true), row.get(3)? == Some(true)) {
                    (false, _) => {}
                    (true, false) => whole = true,
                    (true, true) => held.push((scope, row.get(4)? == Some(true))),
                }
            }
            Ok(())
        },
    )?;
    if whole {
        return Ok(OnlyProjects::None);
    }
    let any_active = held.iter().any(|(_, active)| *active);
    let counting = held.into_iter().filter(|held| held.1 || !any_active);
    Ok(OnlyProjects::of(counting.map(|held| held.0).collect()))
}

/// Returns whether a user still has the right to elevate; without it no elevation counts.
fn may_elevate(grants: &[Grant]) -> bool {
    let Ok(elevate) = Permission::parse("platform:elevate") else {
        return false;
    };
    let held = |grant: &Grant| grant.permissions.iter().any(|held| held.covers(&elevate));
    let mut grants = grants.iter();
    grants.any(|grant| grant.level == Level::Platform && held(grant))
}

struct FoundElevation {
    elevation: Elevation,
    begun: bool,
}

/// Reads elevations that have not ended. An elevation counts in transactions that began after it, never in
/// its own.
fn elevations(user: Uuid) -> Result<Vec<FoundElevation>, Error> {
    spi::read(
        "SELECT id, reason, (pg_catalog.date_part('epoch', expires_at) * 1000000)::bigint, \
                began_at < pg_catalog.now() AND xid IS DISTINCT FROM pg_catalog.pg_current_xact_id_if_assigned() \
         FROM tenancy.elevations \
         WHERE user_id = $1 AND ended_at IS NULL AND expires_at > pg_catalog.now() \
         ORDER BY expires_at",
        &[pg_uuid(user).into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    Ok(FoundElevation {
                        elevation: Elevation {
                            id: row.not_null_id(1)?,
                            reason: row.not_null(2)?,
                            expires_at: row.not_null_instant(3)?,
                        },
                        begun: row.not_null(4)?,
                    })
                })
                .collect()
        },
    )
}

fn uuids(ids: Vec<pgrx::Uuid>) -> Vec<Uuid> {
    ids.into_iter().map(from_pg).collect()
}
