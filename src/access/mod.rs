//! What a principal may do, resolved once per backend and kept until something changes it.
//!
//! | file | what |
//! | --- | --- |
//! | `load` | a principal's assignments, read from the tree |
//! | `reachable_scopes` | the active scopes that grants name |
//! | `resolved_reach` | the tenants and projects that one permission reaches, asked for once per permission |
//! | `cache` | the backend's resolved principals |
//! | `elevation` | whether what was made with an elevation still holds |

mod cache;
mod elevation;
mod load;
mod reachable_scopes;
mod resolved_reach;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::prelude::*;
use tenancy_core::grants::Grants;
use tenancy_core::network::Network;
use tenancy_core::permission::Permission;
use tenancy_core::tenants::{Tenant, TenantSet};
use uuid::Uuid;

use crate::error::Error;
use crate::pg::sources::{self, Sources};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;

pub use cache::{forget, resolve, totals};
pub use elevation::still_elevated;
pub use load::only_projects;
pub use reachable_scopes::OnlyProjects;
pub use resolved_reach::ResolvedReach;

/// A principal with what it may do. Holds only while its whole path is active.
#[derive(Debug)]
pub struct Access {
    /// The user.
    pub user: Uuid,
    /// The path of the scope that the user belongs to.
    home: Vec<Uuid>,
    /// The user's partner, unless it belongs to the platform.
    pub partner: Option<Uuid>,
    /// What was assigned.
    pub grants: Grants,
    /// The elevation in force.
    pub elevation: Option<Elevation>,
    /// The tenants in which anything is held, as a whole or in a project. Not those that an
    /// elevation reaches, which are all.
    pub tenants: Rc<TenantSet>,
    /// Whether tenants can be added without a change to the user: a partner's fleet.
    pub fleet: bool,
    /// From when on it must be read again, in microseconds of the Unix epoch: an assignment or an
    /// elevation ends, or begins.
    valid_until: Option<i64>,
    /// When the first of the assignments ends.
    assigned_until: Option<i64>,
    /// Tenants with smaller ids were there when the fleets were read.
    known_up_to: Uuid,
    places: reachable_scopes::ReachableScopes,
    /// From where the user may come, by each scope of its path that says so.
    pub networks: Vec<Vec<Network>>,
    reached: RefCell<HashMap<String, Rc<ResolvedReach>>>,
    /// What it was made of.
    pub sources: Rc<Sources>,
    /// The fleets, as far as tenants are added.
    growing: Sources,
}

/// The right to reach tenants' rows with what is held at the platform, for a while.
#[derive(Clone, Debug)]
pub struct Elevation {
    /// Its row.
    pub id: Uuid,
    /// Why it was asked for.
    pub reason: String,
    /// When it ends, in microseconds of the Unix epoch.
    pub expires_at: i64,
}

impl Access {
    /// What a permission reaches. A permission that is none reaches nothing.
    pub fn reached(&self, permission: &str) -> Rc<ResolvedReach> {
        if let Some(known) = self.reached.borrow().get(permission) {
            return known.clone();
        }
        let found = self.find_reached(permission);
        self.reached
            .borrow_mut()
            .insert(permission.to_owned(), found.clone());
        found
    }

    fn find_reached(&self, permission: &str) -> Rc<ResolvedReach> {
        let Ok(wanted) = Permission::parse(permission) else {
            return Rc::default();
        };
        let reach = self.grants.reach(&wanted);
        // Permissions that reach the same share the sets.
        if let Some(same) = self
            .reached
            .borrow()
            .values()
            .find(|known| known.reach == reach)
        {
            return same.clone();
        }
        Rc::new(ResolvedReach::new(reach, &self.places, &self.tenants))
    }

    /// What a permission reaches in one of the principal's tenants, or when elevated in any.
    pub fn reached_in(&self, permission: &str, tenant: &Tenant) -> ResolvedReach {
        self.reached(permission).narrow(tenant, &self.places)
    }

    /// Whether a permission is held in the scope that the user belongs to.
    pub fn holds_at_home(&self, permission: &str) -> bool {
        Permission::parse(permission).is_ok_and(|wanted| self.grants.hold(&wanted, &self.home))
    }

    /// One of its tenants by id.
    pub fn tenant(&self, id: Uuid) -> Option<&Tenant> {
        self.places.tenant(id)
    }

    /// Whether anything is held at the platform that reaches rows, for now.
    pub fn spans_all(&self) -> bool {
        self.elevation.is_some()
    }

    /// The projects to work in, if a tenant is held by projects of it only.
    pub fn only_projects(&self, tenant: Uuid) -> OnlyProjects {
        match self.spans_all() {
            true => OnlyProjects::None,
            false => self.places.only_projects(tenant),
        }
    }

    /// Whether a tenant is within what is held as a whole.
    pub fn holds_whole(&self, tenant: Uuid) -> bool {
        self.spans_all() || self.places.is_whole(tenant)
    }

    /// Whether a project of one of its tenants is within what is held.
    pub fn holds_project(&self, project: Uuid, tenant: Uuid) -> bool {
        self.spans_all() || self.places.holds_project(project, tenant)
    }

    /// The permissions held anywhere, as text, without repetition.
    pub fn permissions(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .grants
            .all()
            .iter()
            .flat_map(|grant| grant.permissions.iter().map(ToString::to_string))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The path of the scope that the user belongs to.
    pub fn home(&self) -> &[Uuid] {
        &self.home
    }

    /// When something ends that counts until then also in the transaction that is open. An elevation
    /// is asked by the clock.
    pub fn ends_in_transaction(&self) -> Option<i64> {
        self.assigned_until
    }

    /// Whether it still holds for a transaction that began at this time.
    fn holds_at(&self, transaction: i64) -> bool {
        self.valid_until.is_none_or(|end| end > transaction)
    }

    /// Whether its fleets still have all their tenants, as far as tenants that were added are concerned:
    /// an index look-up among the ids of the last day, instead of reading the fleets again.
    fn is_complete(&self) -> Result<bool, Error> {
        let partners: Vec<pgrx::Uuid> = self.places.partners().map(pg_uuid).collect();
        if partners.is_empty() {
            return Ok(true);
        }
        spi::read(
            "SELECT id FROM tenancy.scopes \
             WHERE parent_id = ANY ($1) AND level = 'tenant' AND id > $2 AND status = 'active'",
            &[partners.into(), pg_uuid(self.known_up_to).into()],
            |rows| {
                for row in rows {
                    let id: pgrx::Uuid = row.not_null(1)?;
                    if !self.tenants.contains_id(id.as_bytes()) {
                        return Ok(false);
                    }
                }
                Ok(true)
            },
        )
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.tenants.heap_bytes()
            + self.places.bytes()
            + self.sources.bytes()
            + self.growing.bytes()
    }
}

/// How much this backend has resolved and keeps: principals, and about how many bytes; and how often it read something to
/// keep it.
#[pg_extern(sql = false)]
fn access_cache()
-> TableIterator<'static, (name!(principals, i64), name!(bytes, i64), name!(reads, i64))> {
    let (principals, bytes) = totals();
    let reads = i64::try_from(sources::reads()).unwrap_or(i64::MAX);
    TableIterator::once((principals as i64, bytes as i64, reads))
}
