//! A principal's access, resolved once per backend and cached until a change invalidates it.
//!
//! | file | what |
//! | --- | --- |
//! | `load` | a principal's assignments, read from the tree |
//! | `reachable_scopes` | the active scopes that grants name |
//! | `resolved_reach` | the tenants and projects that one permission reaches, resolved once per permission |
//! | `cache` | the backend's resolved principals |
//! | `elevation` | whether an elevation, and what was issued under it, is still valid |

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
use tenancy_core::time::Instant;
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

/// How many permissions' reach is kept. Policies name a few; a caller may name any number.
pub const PERMISSIONS_MAX: usize = 256;

/// A principal's access. Valid only while the principal's whole path is active.
#[derive(Debug)]
pub struct Access {
    /// The user.
    pub user: Uuid,
    /// The user's external id.
    external_id: Option<String>,
    /// The path of the scope that the user belongs to.
    home: Vec<Uuid>,
    /// The user's partner, unless it belongs to the platform.
    pub partner: Option<Uuid>,
    /// Its assignments.
    pub grants: Grants,
    /// The current elevation.
    pub elevation: Option<Elevation>,
    /// The tenants in which any permission is held, in the tenant or in a project. Without those that an
    /// elevation reaches, which are all.
    pub tenants: Rc<TenantSet>,
    /// Whether tenants can be added without a change to the user: a partner's fleet.
    pub fleet: bool,
    /// When it must be read again, because an assignment or an elevation ends or begins.
    valid_until: Option<Instant>,
    /// The end of the assignment that ends first.
    assigned_until: Option<Instant>,
    /// Tenants with smaller ids existed when the fleets were read.
    known_up_to: Uuid,
    places: reachable_scopes::ReachableScopes,
    /// The allowed networks of each scope on the user's path that has any.
    pub networks: Vec<Vec<Network>>,
    /// Whether the user may use API keys.
    pub api_keys: bool,
    reached: RefCell<HashMap<String, Rc<ResolvedReach>>>,
    /// The rows that it depends on.
    pub sources: Rc<Sources>,
    /// The fleets, for added tenants.
    growing: Sources,
}

/// A temporary right to reach tenants' rows with the permissions held at the platform.
#[derive(Clone, Debug)]
pub struct Elevation {
    /// Its row.
    pub id: Uuid,
    /// Its reason.
    pub reason: String,
    /// When it ends.
    pub expires_at: Instant,
}

impl Access {
    /// Returns what a permission reaches. An invalid permission reaches nothing.
    pub fn reached(&self, permission: &str) -> Rc<ResolvedReach> {
        if let Some(known) = self.reached.borrow().get(permission) {
            return known.clone();
        }
        let found = self.find_reached(permission);
        let mut known = self.reached.borrow_mut();
        if known.len() < PERMISSIONS_MAX {
            known.insert(permission.to_owned(), found.clone());
        }
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

    /// Returns what a permission reaches in one of the principal's tenants, or in any tenant while elevated.
    pub fn reached_in(&self, permission: &str, tenant: &Tenant) -> ResolvedReach {
        self.reached(permission).narrow(tenant, &self.places)
    }

    /// Returns whether a permission is held in the scope that the user belongs to.
    pub fn holds_at_home(&self, permission: &str) -> bool {
        Permission::parse(permission).is_ok_and(|wanted| self.grants.hold(&wanted, &self.home))
    }

    /// Returns one of its tenants by id.
    pub fn tenant(&self, id: Uuid) -> Option<&Tenant> {
        self.places.tenant(id)
    }

    /// Returns whether permissions held at the platform currently reach rows.
    pub fn spans_all(&self) -> bool {
        self.elevation.is_some()
    }

    /// Returns the projects to record usage in, if a tenant is held only by its projects.
    pub fn only_projects(&self, tenant: Uuid) -> OnlyProjects {
        match self.spans_all() {
            true => OnlyProjects::None,
            false => self.places.only_projects(tenant),
        }
    }

    /// Returns whether a tenant is held as a whole.
    pub fn holds_whole(&self, tenant: Uuid) -> bool {
        self.spans_all() || self.places.is_whole(tenant)
    }

    /// Returns whether any permission covers a project of one of its tenants.
    pub fn holds_project(&self, project: Uuid, tenant: Uuid) -> bool {
        self.spans_all() || self.places.holds_project(project, tenant)
    }

    /// Returns the permissions held anywhere, as text, without repetition.
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

    /// Returns the user's external id, by which rows of one tenant name it: no other user of that tenant has the same.
    pub fn key_in(&self, tenant: Uuid) -> Option<&str> {
        let own = self.home.last() == Some(&tenant);
        self.external_id.as_deref().filter(|_| own)
    }

    /// Returns the path of the scope that the user belongs to.
    pub fn home(&self) -> &[Uuid] {
        &self.home
    }

    /// Returns the first expiry that also takes effect in an open transaction. An elevation is checked against
    /// the clock instead.
    pub fn ends_in_transaction(&self) -> Option<Instant> {
        self.assigned_until
    }

    /// Returns whether it is still valid for a transaction that began at this time.
    fn holds_at(&self, transaction: Instant) -> bool {
        self.valid_until.is_none_or(|end| end > transaction)
    }

    /// Returns whether its fleets contain all added tenants: an index look-up among the ids of the last day,
    /// in place of reading the fleets again.
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

/// Returns how many principals this backend caches, about how many bytes they take, and how often it has read something
/// into its caches.
#[pg_extern(sql = false)]
fn access_cache()
-> TableIterator<'static, (name!(principals, i64), name!(bytes, i64), name!(reads, i64))> {
    let (principals, bytes) = totals();
    let reads = i64::try_from(sources::reads()).unwrap_or(i64::MAX);
    TableIterator::once((principals as i64, bytes as i64, reads))
}
