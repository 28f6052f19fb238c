//! Reading a principal's access from the tree.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use pgrx::prelude::*;
use tenancy_core::grants::{Grant, Grants, Reach};
use tenancy_core::permission::Permission;
use tenancy_core::tenants::{Tenant, TenantSet};
use tenancy_core::tree::{Level, Status};
use uuid::Uuid;

use super::{Access, Elevation, from_pg, pg_uuid};
use crate::error::Error;
use crate::pg::{spi, xact};

/// The active scopes that a principal's grants name, and the tenants below its partners.
#[derive(Debug, Default)]
pub struct Places {
    /// Tenants in which anything is held, sorted by id.
    tenants: Vec<Tenant>,
    /// The tenants of each partner at which anything is held, sorted.
    fleets: HashMap<Uuid, Vec<Uuid>>,
    /// The tenants at which anything is held by themselves.
    singles: HashSet<Uuid>,
    /// The projects at which anything is held, with their tenants.
    projects: Vec<(Uuid, Uuid)>,
    /// The scopes above a tenant, for tenants that are not in a fleet.
    ancestors: HashMap<Uuid, Vec<Tenant>>,
    /// The platform and, for fleets, their partners.
    named: HashMap<Uuid, Tenant>,
}

impl Places {
    /// One of the tenants by id.
    pub fn tenant(&self, id: Uuid) -> Option<&Tenant> {
        let at = self.tenants.binary_search_by_key(&id, |tenant| tenant.id);
        at.ok().and_then(|at| self.tenants.get(at))
    }

    /// The partners whose fleets are held.
    pub fn partners(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.fleets.keys().copied()
    }

    /// The active tenants that are reached as a whole, each once.
    pub fn whole(&self, reach: &Reach) -> Vec<Tenant> {
        let fleets = reach.partners.iter().filter_map(|id| self.fleets.get(id));
        let mut ids: Vec<Uuid> = fleets.flatten().chain(&reach.tenants).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let known = ids.into_iter().filter_map(|id| self.tenant(id));
        known.cloned().collect()
    }

    /// The active projects that are reached, and their tenants.
    pub fn projects(&self, reach: &Reach) -> (Vec<Tenant>, Vec<Tenant>) {
        let live = |pair: &&(Uuid, Uuid)| self.projects.contains(pair);
        let bare = |id| Tenant {
            id,
            external_id: None,
        };
        reach
            .projects
            .iter()
            .filter(live)
            .filter_map(|(project, tenant)| Some((bare(*project), self.tenant(*tenant)?.clone())))
            .unzip()
    }

    /// The scopes above these tenants, or above any tenant that is not known here: the platform.
    pub fn above(&self, tenants: impl Iterator<Item = Uuid>) -> Vec<Tenant> {
        let mut above: HashMap<Uuid, Tenant> = HashMap::new();
        let mut any = false;
        for tenant in tenants {
            any = true;
            for scope in self.ancestors.get(&tenant).into_iter().flatten() {
                above.insert(scope.id, scope.clone());
            }
        }
        if any {
            for scope in self.named.values() {
                above.insert(scope.id, scope.clone());
            }
        }
        above.into_values().collect()
    }

    /// The one project of a tenant in which all is held that is held in the tenant.
    pub fn only_project(&self, tenant: Uuid) -> Option<Uuid> {
        if self.is_whole(tenant) {
            return None;
        }
        let mut here = self.projects.iter().filter(|(_, of)| *of == tenant);
        let only = here.next().map(|(project, _)| *project);
        only.filter(|project| here.all(|(other, _)| other == project))
    }

    /// Whether a project is within what is held.
    pub fn enters(&self, project: Uuid, tenant: Uuid) -> bool {
        self.is_whole(tenant) || self.projects.contains(&(project, tenant))
    }

    /// Whether a tenant is within what is held as a whole.
    pub fn is_whole(&self, tenant: Uuid) -> bool {
        let mut fleets = self.fleets.values();
        self.singles.contains(&tenant) || fleets.any(|fleet| fleet.binary_search(&tenant).is_ok())
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let external = |tenant: &Tenant| tenant.external_id.as_ref().map_or(0, String::capacity);
        self.tenants.iter().map(external).sum::<usize>()
            + self.tenants.capacity() * size_of::<Tenant>()
            + self.fleets.values().map(Vec::capacity).sum::<usize>() * size_of::<Uuid>()
    }
}

/// Reads a user's access.
pub fn load(user: Uuid) -> Result<Access, Error> {
    let now = xact::transaction_started_unix();
    let home = home(user)?;
    let mut scopes = Scopes::default();
    scopes.read(home.path.iter().copied())?;
    if !scopes.active(&home.path) || !home.active {
        return Err(Error::Inactive);
    }
    let mut valid_until: Option<i64> = None;
    let mut until =
        |end: i64| valid_until = Some(valid_until.map_or(end, |sooner| sooner.min(end)));
    let mut grants = Vec::new();
    for assigned in assignments(user, &home.path)? {
        if let Some(end) = assigned.expires_at {
            if end <= now {
                continue;
            }
            until(end);
        }
        grants.push(assigned.grant);
    }
    scopes.read(grants.iter().flat_map(|grant| grant.path.iter().copied()))?;
    let mut elevation = None;
    if may_elevate(&grants) {
        for found in elevations(user)? {
            if found.begun {
                until(found.elevation.expires_at);
                elevation = Some(found.elevation);
            } else {
                // In force from the next transaction on.
                until(0);
            }
        }
    }
    let partner = home.path.get(1).copied();
    let places = places(&grants, &scopes)?;
    let tenants = Rc::new(TenantSet::new(places.tenants.clone()));
    Ok(Access {
        user,
        home: home.path,
        partner,
        fleet: !places.fleets.is_empty(),
        grants: Grants::new(grants, elevation.is_some()),
        elevation,
        tenants,
        valid_until,
        known_up_to: tenancy_core::id::first_at(recent_since()),
        places,
        reached: RefCell::default(),
    })
}

struct Home {
    path: Vec<Uuid>,
    active: bool,
}

fn home(user: Uuid) -> Result<Home, Error> {
    spi::read(
        "SELECT path, status FROM tenancy.scopes WHERE id = $1 AND level = 'user'",
        &[pg_uuid(user).into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Err(Error::NoSuch("the user"));
            };
            let mut path = uuids(row.get(1)?);
            path.pop();
            let status: Option<String> = row.get(2)?;
            Ok(Home {
                path,
                active: status.as_deref() == Some(Status::Active.as_str()),
            })
        },
    )
}

struct Assigned {
    grant: Grant,
    expires_at: Option<i64>,
}

/// What is assigned to a user within the scope it belongs to: a tenant that has moved to another
/// partner leaves the old one's users behind, and the roles that the old one defines.
fn assignments(user: Uuid, home: &[Uuid]) -> Result<Vec<Assigned>, Error> {
    let home = home.last().copied().unwrap_or_default();
    let mut roles: HashMap<Vec<String>, Vec<Permission>> = HashMap::new();
    spi::read(
        "SELECT s.level, s.path, r.permissions, \
                (pg_catalog.date_part('epoch', a.expires_at) * 1000000)::bigint \
         FROM tenancy.role_assignments a \
         JOIN tenancy.role_definitions r ON r.id = a.role_id \
         JOIN tenancy.scopes s ON s.id = a.scope_id \
         WHERE a.user_id = $1 AND $2 = ANY (s.path) AND r.scope_id = ANY (s.path)",
        &[pg_uuid(user).into(), pg_uuid(home).into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    let level: String = row.get(1)?.unwrap_or_default();
                    let texts: Vec<String> = row.get(3)?.unwrap_or_default();
                    let permissions = roles.entry(texts).or_insert_with_key(|texts| {
                        let known = texts.iter().filter_map(|text| Permission::parse(text).ok());
                        known.collect()
                    });
                    Ok(Assigned {
                        grant: Grant {
                            level: level
                                .parse()
                                .map_err(|_| Error::Internal("a scope of no known level"))?,
                            path: uuids(row.get(2)?),
                            permissions: permissions.clone(),
                        },
                        expires_at: row.get(4)?,
                    })
                })
                .collect()
        },
    )
}

/// Whoever lost the right to elevate is elevated no more.
fn may_elevate(grants: &[Grant]) -> bool {
    let Ok(elevate) = Permission::parse("platform:elevate") else {
        return false;
    };
    let held = |grant: &Grant| grant.permissions.iter().any(|held| held.covers(&elevate));
    let mut grants = grants.iter();
    grants.any(|grant| grant.level == Level::Platform && held(grant))
}

struct Found {
    elevation: Elevation,
    begun: bool,
}

/// Elevations that have not ended. One gives power in transactions that began after it, and never in
/// its own.
fn elevations(user: Uuid) -> Result<Vec<Found>, Error> {
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
                    Ok(Found {
                        elevation: Elevation {
                            id: uuid(row.get(1)?)?,
                            reason: row.get(2)?.unwrap_or_default(),
                            expires_at: row.get(3)?.unwrap_or_default(),
                        },
                        begun: row.get(4)? == Some(true),
                    })
                })
                .collect()
        },
    )
}

/// Scopes that were read, by id.
#[derive(Default)]
struct Scopes(HashMap<Uuid, (Tenant, bool)>);

impl Scopes {
    fn read(&mut self, ids: impl Iterator<Item = Uuid>) -> Result<(), Error> {
        let mut missing: Vec<Uuid> = ids.filter(|id| !self.0.contains_key(id)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<pgrx::Uuid> = missing.into_iter().map(pg_uuid).collect();
        spi::read(
            "SELECT id, external_id, status = 'active' FROM tenancy.scopes WHERE id = ANY ($1)",
            &[missing.into()],
            |rows| {
                for row in rows {
                    let tenant = Tenant {
                        id: uuid(row.get(1)?)?,
                        external_id: row.get(2)?,
                    };
                    self.0
                        .insert(tenant.id, (tenant, row.get(3)? == Some(true)));
                }
                Ok(())
            },
        )
    }

    fn get(&self, id: Uuid) -> Option<&Tenant> {
        self.0.get(&id).map(|(tenant, _)| tenant)
    }

    /// Whether every scope of a path is active.
    fn active(&self, path: &[Uuid]) -> bool {
        path.iter()
            .all(|id| self.0.get(id).is_some_and(|(_, active)| *active))
    }
}

fn places(grants: &[Grant], scopes: &Scopes) -> Result<Places, Error> {
    let mut places = Places::default();
    let mut partners = Vec::new();
    for grant in grants.iter().filter(|grant| scopes.active(&grant.path)) {
        if grant.level == Level::Partner {
            partners.push(grant.scope());
        }
        let Some(tenant) = grant.tenant() else {
            if let Some(platform) = grant.path.first().and_then(|id| scopes.get(*id)) {
                places.named.insert(platform.id, platform.clone());
            }
            continue;
        };
        if grant.level == Level::Project {
            places.projects.push((grant.scope(), tenant));
        } else {
            places.singles.insert(tenant);
        }
        if let Entry::Vacant(place) = places.ancestors.entry(tenant) {
            let above = grant.path.iter().take_while(|id| **id != tenant);
            place.insert(above.filter_map(|id| scopes.get(*id).cloned()).collect());
            places.tenants.extend(scopes.get(tenant).cloned());
        }
    }
    for partner in &partners {
        places.fleets.insert(*partner, Vec::new());
        if let Some(scope) = scopes.get(*partner) {
            places.named.insert(*partner, scope.clone());
        }
    }
    if !partners.is_empty() {
        for (partner, tenant) in fleets(&partners)? {
            places.fleets.entry(partner).or_default().push(tenant.id);
            places.tenants.push(tenant);
        }
        places
            .fleets
            .values_mut()
            .for_each(|ids| ids.sort_unstable());
    }
    places.tenants.sort_by_key(|tenant| tenant.id);
    places.tenants.dedup_by_key(|tenant| tenant.id);
    places.tenants.shrink_to_fit();
    Ok(places)
}

/// The active tenants of these partners.
fn fleets(partners: &[Uuid]) -> Result<Vec<(Uuid, Tenant)>, Error> {
    let partners: Vec<pgrx::Uuid> = partners.iter().copied().map(pg_uuid).collect();
    spi::read(
        "SELECT id, external_id, parent_id FROM tenancy.scopes \
         WHERE parent_id = ANY ($1) AND level = 'tenant' AND status = 'active'",
        &[partners.into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    let tenant = Tenant {
                        id: uuid(row.get(1)?)?,
                        external_id: row.get(2)?,
                    };
                    Ok((uuid(row.get(3)?)?, tenant))
                })
                .collect()
        },
    )
}

/// A tenant by its id, whatever its status: for whoever is elevated.
pub fn read_tenant(id: Uuid) -> Result<Option<Tenant>, Error> {
    spi::read(
        "SELECT id, external_id FROM tenancy.scopes WHERE id = $1 AND level = 'tenant'",
        &[pg_uuid(id).into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Ok(None);
            };
            Ok(Some(Tenant {
                id: uuid(row.get(1)?)?,
                external_id: row.get(2)?,
            }))
        },
    )
}

fn uuid(id: Option<pgrx::Uuid>) -> Result<Uuid, Error> {
    id.map(from_pg)
        .ok_or(Error::Internal("a scope without an id"))
}

fn uuids(ids: Option<Vec<pgrx::Uuid>>) -> Vec<Uuid> {
    ids.unwrap_or_default().into_iter().map(from_pg).collect()
}

/// A day ago, in milliseconds of the Unix epoch: no sign-up takes so long to commit.
fn recent_since() -> u64 {
    const DAY: i64 = 24 * 3600 * 1000;
    u64::try_from(crate::pg::time::now_unix_micros() / 1000 - DAY).unwrap_or(0)
}

/// Whether an id is so recent that backends look for it by themselves; see `Access::is_complete`.
#[pg_extern(sql = false)]
fn _is_recent(id: pgrx::Uuid) -> bool {
    // Half a day, so that no clock and no long transaction makes a difference.
    const HALF_A_DAY: u64 = 12 * 3600 * 1000;
    from_pg(id) > tenancy_core::id::first_at(recent_since() + HALF_A_DAY)
}
