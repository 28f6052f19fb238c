//! The active scopes that grants name: tenants, alone or of a partner's fleet, and projects.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use tenancy_core::grants::{Grant, Reach};
use tenancy_core::tenants::{Tenant, TenantSet};
use tenancy_core::tree::Level;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;

/// The projects by which a tenant is held, if it is not held as a whole. Usage is then recorded in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnlyProjects {
    /// The tenant is held as a whole, or not at all.
    None,
    /// Only this project.
    One(Uuid),
    /// This number of projects.
    Several(usize),
}

impl OnlyProjects {
    /// Counts projects, which may repeat.
    pub fn of(mut projects: Vec<Uuid>) -> Self {
        projects.sort_unstable();
        projects.dedup();
        match projects.as_slice() {
            [] => Self::None,
            [one] => Self::One(*one),
            several => Self::Several(several.len()),
        }
    }
}

/// The active scopes that a principal's grants name, and the tenants below its partners.
#[derive(Debug, Default)]
pub struct ReachableScopes {
    /// Tenants in which any permission is held, sorted by id.
    tenants: Vec<Tenant>,
    /// The tenants of each partner at which any permission is held, sorted.
    fleets: HashMap<Uuid, Vec<Uuid>>,
    /// The tenants at which any permission is held directly.
    singles: HashSet<Uuid>,
    /// The projects at which any permission is held, with their tenants.
    projects: Vec<(Tenant, Uuid)>,
    /// The scopes above a tenant, for tenants that are not in a fleet.
    ancestors: HashMap<Uuid, Vec<Tenant>>,
    /// The platform and, for fleets, their partners.
    named: HashMap<Uuid, Tenant>,
}

impl ReachableScopes {
    /// Finds the scopes that grants name, among the scopes that were read.
    pub fn find(grants: &[Grant], scopes: &Scopes) -> Result<Self, Error> {
        let mut places = ReachableScopes::default();
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
                let project = scopes.get(grant.scope()).cloned();
                places
                    .projects
                    .extend(project.map(|project| (project, tenant)));
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

    /// Returns one of the tenants by id.
    pub fn tenant(&self, id: Uuid) -> Option<&Tenant> {
        let at = self.tenants.binary_search_by_key(&id, |tenant| tenant.id);
        at.ok().and_then(|at| self.tenants.get(at))
    }

    /// Returns all tenants as a set.
    pub fn all(&self) -> TenantSet {
        TenantSet::new(self.tenants.clone())
    }

    /// Returns the partners whose fleets are held.
    pub fn partners(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.fleets.keys().copied()
    }

    /// Returns the active tenants that are reached as a whole, each once.
    pub fn whole(&self, reach: &Reach) -> Vec<Tenant> {
        let fleets = reach.partners.iter().filter_map(|id| self.fleets.get(id));
        let mut ids: Vec<Uuid> = fleets.flatten().chain(&reach.tenants).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let known = ids.into_iter().filter_map(|id| self.tenant(id));
        known.cloned().collect()
    }

    /// Returns the active projects that are reached, and their tenants.
    pub fn projects(&self, reach: &Reach) -> (Vec<Tenant>, Vec<Tenant>) {
        let live = |(project, tenant): &(Uuid, Uuid)| {
            let mut known = self.projects.iter();
            known.find(|(known, of)| known.id == *project && of == tenant)
        };
        reach
            .projects
            .iter()
            .filter_map(|pair| {
                let (project, tenant) = live(pair)?;
                Some((project.clone(), self.tenant(*tenant)?.clone()))
            })
            .unzip()
    }

    /// Returns the partners that are reached, and the platform if all are.
    pub fn held_above(&self, reach: &Reach) -> Vec<Tenant> {
        let platform = |id: &&Uuid| reach.everything && !self.fleets.contains_key(id);
        let held = (self.named.keys()).filter(|id| reach.partners.contains(id) || platform(id));
        held.filter_map(|id| self.named.get(id).cloned()).collect()
    }

    /// Returns the scopes above these tenants; the platform for a tenant that is not among the places.
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

    /// Returns the projects by which a tenant is held, if it is not held as a whole.
    pub fn only_projects(&self, tenant: Uuid) -> OnlyProjects {
        if self.is_whole(tenant) {
            return OnlyProjects::None;
        }
        let here = self.projects.iter().filter(|(_, of)| *of == tenant);
        OnlyProjects::of(here.map(|(project, _)| project.id).collect())
    }

    /// Returns whether any permission covers a project.
    pub fn holds_project(&self, project: Uuid, tenant: Uuid) -> bool {
        let mut projects = self.projects.iter();
        self.is_whole(tenant) || projects.any(|(known, of)| known.id == project && *of == tenant)
    }

    /// Returns whether a tenant is held as a whole.
    pub fn is_whole(&self, tenant: Uuid) -> bool {
        let mut fleets = self.fleets.values();
        self.singles.contains(&tenant) || fleets.any(|fleet| fleet.binary_search(&tenant).is_ok())
    }

    /// Returns about how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let external = |tenant: &Tenant| tenant.external_id.as_ref().map_or(0, String::capacity);
        self.tenants.iter().map(external).sum::<usize>()
            + self.tenants.capacity() * size_of::<Tenant>()
            + self.fleets.values().map(Vec::capacity).sum::<usize>() * size_of::<Uuid>()
    }
}

/// Scopes that were read, by id.
#[derive(Default)]
pub struct Scopes(HashMap<Uuid, (Tenant, bool)>);

impl Scopes {
    /// Reads the scopes that were not read yet; the external id of a partner, or of the platform, only if it is the key of rows.
    pub fn read(&mut self, ids: impl Iterator<Item = Uuid>) -> Result<(), Error> {
        let mut missing: Vec<Uuid> = ids.filter(|id| !self.0.contains_key(id)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<pgrx::Uuid> = missing.into_iter().map(pg_uuid).collect();
        spi::read(
            "SELECT id, CASE WHEN keys_rows OR level NOT IN ('platform', 'partner') THEN external_id END, status = 'active' \
             FROM tenancy.scopes WHERE id = ANY ($1)",
            &[missing.into()],
            |rows| {
                for row in rows {
                    let tenant = Tenant {
                        id: row.not_null_id(1)?,
                        external_id: row.get(2)?,
                    };
                    self.0.insert(tenant.id, (tenant, row.not_null(3)?));
                }
                Ok(())
            },
        )
    }

    fn get(&self, id: Uuid) -> Option<&Tenant> {
        self.0.get(&id).map(|(tenant, _)| tenant)
    }

    /// Returns whether every scope of a path is active.
    pub fn active(&self, path: &[Uuid]) -> bool {
        path.iter()
            .all(|id| self.0.get(id).is_some_and(|(_, active)| *active))
    }
}

/// Reads the active tenants of these partners.
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
                        id: row.not_null_id(1)?,
                        external_id: row.get(2)?,
                    };
                    Ok((row.not_null_id(3)?, tenant))
                })
                .collect()
        },
    )
}
