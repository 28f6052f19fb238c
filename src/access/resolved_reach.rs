//! The reach of one permission: tenants as a whole, and tenants by some of their projects.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::rc::Rc;

use tenancy_core::grants::Reach;
use tenancy_core::tenants::{Tenant, TenantSet};
use uuid::Uuid;

use super::reachable_scopes::ReachableScopes;

/// The scopes whose rows a permission reaches.
#[derive(Debug, Default)]
pub struct ResolvedReach {
    /// The reach, in terms of grants.
    pub reach: Reach,
    /// Tenants reached as a whole.
    pub tenants: Rc<TenantSet>,
    /// Those, and tenants reached by some of their projects.
    pub tenants_with_projects: Rc<TenantSet>,
    /// Tenants reached by some of their projects only.
    pub partial: Rc<TenantSet>,
    /// Those projects.
    pub projects: Rc<TenantSet>,
    /// The partners, and the platform, at which the permission is held.
    pub held_above: Vec<Tenant>,
    /// The scopes above, whose shared rows can be read.
    above: Vec<Tenant>,
    visible: OnceCell<Rc<TenantSet>>,
    visible_with_projects: OnceCell<Rc<TenantSet>>,
}

impl ResolvedReach {
    /// Resolves `reach` to active places; `all` are the tenants in which any permission is held.
    pub fn new(reach: Reach, places: &ReachableScopes, all: &Rc<TenantSet>) -> Self {
        let whole = places.whole(&reach);
        let above = |partial: &[Tenant]| {
            let tenants = whole.iter().chain(partial);
            places.above(tenants.map(|tenant| tenant.id))
        };
        let (projects, mut partial) = places.projects(&reach);
        partial.sort_by_key(|tenant| tenant.id);
        partial.dedup_by_key(|tenant| tenant.id);
        if !partial.is_empty() {
            let held: HashSet<Uuid> = whole.iter().map(|tenant| tenant.id).collect();
            partial.retain(|tenant| !held.contains(&tenant.id));
        }
        let above = above(&partial);
        let tenants = if whole.len() == all.len() {
            all.clone()
        } else {
            Rc::new(TenantSet::new(whole))
        };
        Self {
            held_above: places.held_above(&reach),
            reach,
            projects: Rc::new(TenantSet::new(projects)),
            ..Self::of(tenants, partial, above)
        }
    }

    fn of(tenants: Rc<TenantSet>, partial: Vec<Tenant>, above: Vec<Tenant>) -> Self {
        Self {
            tenants_with_projects: if partial.is_empty() {
                tenants.clone()
            } else {
                Rc::new(tenants.with(&partial))
            },
            tenants,
            partial: Rc::new(TenantSet::new(partial)),
            above,
            ..Self::default()
        }
    }

    /// Returns its part in one tenant.
    pub fn narrow(&self, tenant: &Tenant, places: &ReachableScopes) -> Self {
        let id = tenant.id.as_bytes();
        let only = |held: bool| {
            if held {
                vec![tenant.clone()]
            } else {
                Vec::new()
            }
        };
        let whole = only(self.reach.everything || self.tenants.contains_id(id));
        let partial = only(whole.is_empty() && self.partial.contains_id(id));
        let above = if whole.is_empty() && partial.is_empty() {
            Vec::new()
        } else {
            places.above(std::iter::once(tenant.id))
        };
        // Projects of other tenants do no harm: their tenants are not tenants_with_projects.
        let projects = if partial.is_empty() {
            Rc::default()
        } else {
            self.projects.clone()
        };
        Self {
            projects,
            held_above: self.held_above.clone(),
            ..Self::of(Rc::new(TenantSet::new(whole)), partial, above)
        }
    }

    /// Returns the tenants reached as a whole, and the scopes above all reached tenants.
    pub fn visible(&self) -> &Rc<TenantSet> {
        let with_above = || Rc::new(self.tenants.with(&self.above));
        self.visible.get_or_init(with_above)
    }

    /// Returns those, and the tenants reached by some of their projects.
    pub fn visible_with_projects(&self) -> &Rc<TenantSet> {
        let with_above = || Rc::new(self.tenants_with_projects.with(&self.above));
        self.visible_with_projects.get_or_init(with_above)
    }

    /// Returns whether it reaches no row.
    pub fn is_empty(&self) -> bool {
        !self.reach.everything && self.tenants_with_projects.is_empty()
    }
}
