//! What a principal may do, resolved once per backend and kept until something changes it.
//!
//! Until there are roles, the place in the tree decides: a tenant's user reads and writes its tenant,
//! a partner's user reads and writes the partner's whole fleet, a user of the platform touches no
//! tenant's rows.

mod cache;

use std::rc::Rc;

use pgrx::prelude::*;
use tenancy_core::permission::Permission;
use tenancy_core::tenants::{Tenant, TenantSet};
use tenancy_core::tree::{Level, Status};
use uuid::Uuid;

use crate::error::Error;
use crate::pg::spi;

pub use cache::{forget, resolve, totals};

/// A principal with what it may touch. Holds only while its whole path is active.
#[derive(Debug)]
pub struct Access {
    /// The user.
    pub user: Uuid,
    /// The user's partner, unless it belongs to the platform.
    pub partner: Option<Uuid>,
    /// The tenants whose rows it may touch.
    pub tenants: Rc<TenantSet>,
    /// Those and the scopes above them, whose shared rows it may read.
    pub visible: Rc<TenantSet>,
    /// Whether tenants can be added without a change to the user: a fleet.
    pub fleet: bool,
    /// Tenants with smaller ids were there when the fleet was read.
    known_up_to: Uuid,
    ancestors: Vec<Tenant>,
    grants: Vec<Permission>,
}

impl Access {
    /// Whether a permission is held in the principal's tenants.
    pub fn permits(&self, permission: &[u8]) -> bool {
        let Some(wanted) = std::str::from_utf8(permission)
            .ok()
            .and_then(|text| Permission::parse(text).ok())
        else {
            return false;
        };
        self.grants.iter().any(|grant| grant.covers(&wanted))
    }

    /// The permissions held, as text.
    pub fn grants(&self) -> Vec<String> {
        self.grants.iter().map(ToString::to_string).collect()
    }

    /// The set of one of the principal's tenants, and what that one may see.
    pub fn narrow(&self, tenant: &Tenant) -> (Rc<TenantSet>, Rc<TenantSet>) {
        let mut visible = self.ancestors.clone();
        visible.push(tenant.clone());
        (
            Rc::new(TenantSet::new(vec![tenant.clone()])),
            Rc::new(TenantSet::new(visible)),
        )
    }

    /// Whether a fleet still has all its tenants, as far as tenants that were added are concerned: an
    /// index look-up among the ids of the last day, instead of reading the fleet again.
    fn is_complete(&self) -> Result<bool, Error> {
        let Some(partner) = self.partner.filter(|_| self.fleet) else {
            return Ok(true);
        };
        spi::read(
            "SELECT id FROM tenancy.scopes \
             WHERE parent_id = $1 AND level = 'tenant' AND id > $2 AND status = 'active'",
            &[pg_uuid(partner).into(), pg_uuid(self.known_up_to).into()],
            |rows| {
                for row in rows {
                    let id: Option<pgrx::Uuid> = row.get(1)?;
                    if !id.is_some_and(|id| self.tenants.contains_id(id.as_bytes())) {
                        return Ok(false);
                    }
                }
                Ok(true)
            },
        )
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.tenants.heap_bytes() + self.visible.heap_bytes()
    }
}

/// Reads a user's access from the tree.
fn load(user: Uuid) -> Result<Access, Error> {
    let place = spi::read(
        "SELECT p.id, p.level::text, p.external_id, p.path, \
                (SELECT pg_catalog.array_agg(a.status::text) FROM tenancy.scopes a \
                 WHERE a.id = ANY (u.path)) \
         FROM tenancy.scopes u JOIN tenancy.scopes p ON p.id = u.parent_id \
         WHERE u.id = $1 AND u.level = 'user'",
        &[pg_uuid(user).into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Ok(None);
            };
            Ok(Some(Place {
                home: Tenant {
                    id: from_pg(
                        row.get(1)?
                            .ok_or(Error::Internal("a scope without an id"))?,
                    ),
                    external_id: row.get(3)?,
                },
                level: row.get::<String>(2)?.unwrap_or_default(),
                path: row.get::<Vec<pgrx::Uuid>>(4)?.unwrap_or_default(),
                statuses: row.get::<Vec<String>>(5)?.unwrap_or_default(),
            }))
        },
    )?
    .ok_or(Error::NoSuch("the user"))?;

    let status = Status::effective(
        place
            .statuses
            .iter()
            .map(|text| text.parse().unwrap_or(Status::Deleted)),
    );
    if !status.is_active() {
        return Err(Error::Inactive);
    }
    let ancestors = ancestors(&place.path)?;
    let level = place
        .level
        .parse()
        .map_err(|_| Error::Internal("a scope of no known level"))?;
    let tenants = match level {
        Level::Tenant => vec![place.home.clone()],
        Level::Partner => fleet(place.home.id)?,
        Level::Platform | Level::Project | Level::User => Vec::new(),
    };
    let partner = match level {
        Level::Partner => Some(place.home.id),
        Level::Tenant => place.path.iter().rev().nth(1).map(|id| from_pg(*id)),
        _ => None,
    };
    let ancestors: Vec<Tenant> = ancestors
        .into_iter()
        .filter(|scope| level != Level::Tenant || scope.id != place.home.id)
        .collect();
    let mut visible = ancestors.clone();
    visible.extend(tenants.iter().cloned());
    let fleet = level == Level::Partner;
    let held: &[&str] = match level {
        Level::Tenant | Level::Partner => &["data:read", "data:write"],
        Level::Platform | Level::Project | Level::User => &[],
    };
    let grants = held
        .iter()
        .filter_map(|text| Permission::parse(text).ok())
        .collect();
    Ok(Access {
        user,
        partner,
        tenants: Rc::new(TenantSet::new(tenants)),
        visible: Rc::new(TenantSet::new(visible)),
        fleet,
        known_up_to: tenancy_core::id::first_at(recent_since()),
        ancestors,
        grants,
    })
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

struct Place {
    home: Tenant,
    level: String,
    path: Vec<pgrx::Uuid>,
    statuses: Vec<String>,
}

fn ancestors(path: &[pgrx::Uuid]) -> Result<Vec<Tenant>, Error> {
    spi::read(
        "SELECT id, external_id FROM tenancy.scopes WHERE id = ANY ($1)",
        &[path.to_vec().into()],
        tenants,
    )
}

fn fleet(partner: Uuid) -> Result<Vec<Tenant>, Error> {
    spi::read(
        "SELECT id, external_id FROM tenancy.scopes \
         WHERE parent_id = $1 AND level = 'tenant' \
           AND status = 'active'",
        &[pg_uuid(partner).into()],
        tenants,
    )
}

fn tenants(rows: pgrx::spi::SpiTupleTable<'_>) -> Result<Vec<Tenant>, Error> {
    rows.into_iter()
        .map(|row| {
            Ok(Tenant {
                id: from_pg(
                    row.get(1)?
                        .ok_or(Error::Internal("a scope without an id"))?,
                ),
                external_id: row.get(2)?,
            })
        })
        .collect()
}

/// The server's form of a uuid.
pub fn pg_uuid(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// The crate's form of a uuid.
pub fn from_pg(id: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// How much this backend has resolved and keeps: principals, and about how many bytes.
#[pg_extern(sql = false)]
fn access_cache() -> TableIterator<'static, (name!(principals, i64), name!(bytes, i64))> {
    let (principals, bytes) = totals();
    TableIterator::once((principals as i64, bytes as i64))
}
