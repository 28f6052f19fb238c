//! Where limits apply, and their values.

use tenancy_core::id::PLATFORM_ID;
use tenancy_core::limit::shares::Owner;
use tenancy_core::limit::table::{Demand, Key};
use tenancy_core::limit::{Level, Per, bucket, slots};
use tenancy_core::token::Proof;
use tenancy_core::tree;
use uuid::Uuid;

use crate::context::Context;
use crate::error::Error;
use crate::metering::attribution::Attribution;
use crate::pg::{queue, rates};
use crate::tree::Scope;

/// The scopes that limits are set on, from the platform down, and the API key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The partner.
    pub partner: Option<Uuid>,
    /// The tenant.
    pub tenant: Option<Uuid>,
    /// The project.
    pub project: Option<Uuid>,
    /// The user.
    pub user: Option<Uuid>,
    /// The API key that proved the user.
    pub api_key: Option<Uuid>,
}

impl Place {
    /// Returns the place of a context. A user of several tenants must have selected one, and one of several projects likewise:
    /// otherwise it would bypass the limits of all of them.
    pub fn of(context: &Context) -> Result<Self, Error> {
        let place = Attribution::of_context()?;
        Ok(Self {
            partner: place.partner,
            tenant: place.tenant,
            project: place.project,
            user: place.user,
            api_key: match context.claims.proof {
                Some(Proof::ApiKey(key)) => Some(key),
                _ => None,
            },
        })
    }

    /// Returns the place of a scope, whoever works in it.
    pub fn of_scope(found: &Scope) -> Self {
        let (partner, tenant) = found.partner_and_tenant();
        let own = |level| (found.level == level).then_some(found.id);
        Self {
            partner,
            tenant,
            project: own(tree::Level::Project),
            user: own(tree::Level::User),
            api_key: None,
        }
    }

    /// Returns its scopes, from the platform down.
    pub fn scopes(&self) -> impl Iterator<Item = Uuid> {
        let below = [self.partner, self.tenant, self.project, self.user];
        std::iter::once(PLATFORM_ID).chain(below.into_iter().flatten())
    }

    /// Returns the tenant, else the partner, else the platform.
    pub fn home(&self) -> Uuid {
        self.tenant.or(self.partner).unwrap_or(PLATFORM_ID)
    }

    /// Returns the scope, or the API key, of a level.
    pub fn target(&self, level: Level) -> Option<Uuid> {
        match level {
            Level::Platform => Some(PLATFORM_ID),
            Level::Partner => self.partner,
            Level::Tenant => self.tenant,
            Level::Project => self.project,
            Level::User => self.user,
            Level::ApiKey => self.api_key,
        }
    }
}

/// A value of a limit that applies.
#[derive(Clone, Debug)]
pub struct Limit {
    /// For each of what it is.
    pub level: Level,
    /// The scope or API key that it is for.
    pub target: Uuid,
    /// Of a rate: in which time.
    pub per: Option<Per>,
    /// How much.
    pub amount: i64,
    /// Of a rate: how much at once.
    pub burst: Option<i64>,
    /// Whether it was set from above the tenant.
    pub imposed: bool,
    /// The scope or the plan that has the value.
    pub holder: Uuid,
}

impl Place {
    /// Returns the bucket from which a request takes at a value of a rate; `None` if it is no rate.
    pub fn demand(&self, limit: i32, value: &Limit) -> Option<Demand> {
        let (per, burst) = value.per.zip(value.burst)?;
        let which = [value.level as u8, per as u8, self.setter(value), 0];
        let key = self.key(limit, value, which);
        let hash = rates::hash(&key);
        let rate = bucket::Rate {
            per,
            amount: value.amount.try_into().unwrap_or(0),
            burst: burst.try_into().unwrap_or(0),
        };
        Some(Demand {
            key,
            shard: rates::shard(hash),
            hash: hash as u32,
            owner: self.owner(value.level),
            rate,
        })
    }

    /// Returns what a slot counts in at the values of a limit: each scope once, with the least of its values.
    pub fn slots(&self, limit: i32, values: &[Limit]) -> Vec<slots::Demand> {
        let mut demands: Vec<slots::Demand> = Vec::new();
        for value in values {
            let key = self.slot_key(limit, value);
            let most = value.amount.try_into().unwrap_or(0);
            match demands.iter_mut().find(|demand| demand.key == key) {
                Some(known) => known.most = known.most.min(most),
                None => demands.push(slots::Demand {
                    key,
                    hash: rates::hash(&key) as u32,
                    most,
                }),
            }
        }
        demands
    }

    /// Returns the key of what a slot counts in at a value.
    pub fn slot_key(&self, limit: i32, value: &Limit) -> Key {
        self.key(limit, value, [value.level as u8, 0, 0, 0])
    }

    fn key(&self, limit: i32, value: &Limit, which: [u8; 4]) -> Key {
        Key {
            target: *value.target.as_bytes(),
            database: queue::database(),
            limit: limit.cast_unsigned(),
            within: self.within(value).map_or(0, |id| rates::hash(&id) as u32),
            which,
        }
    }

    /// Returns in which scope a value for each user or API key counts: that of a tenant or its plan in the tenant, and that of
    /// a project in the project. `None`: wherever they work.
    fn within(&self, value: &Limit) -> Option<Uuid> {
        let everywhere = [Level::Platform, Level::Partner, Level::User];
        let is_holder = |level: &Level| self.target(*level) == Some(value.holder);
        if value.level < Level::User || everywhere.iter().any(is_holder) {
            return None;
        }
        match is_holder(&Level::Project) {
            true => self.project,
            false => self.tenant,
        }
    }

    /// Returns 0 for imposed values: a bucket stays when another of them becomes the nearest. Each of the others has its own.
    fn setter(&self, value: &Limit) -> u8 {
        let own = |level: &Level| !value.imposed && self.target(*level) == Some(value.holder);
        let level = Level::ALL.into_iter().find(own);
        level.map_or(0, |level| level as u8 + 1)
    }

    /// Returns whose room the bucket of a level takes.
    pub fn owner(&self, level: Level) -> Owner {
        let tenant = self.tenant.filter(|_| level >= Level::Tenant);
        let partner = self.partner.filter(|_| level >= Level::Partner);
        let partner = partner.unwrap_or(PLATFORM_ID);
        let number = |id: Option<Uuid>| rates::hash(&(queue::database(), id)) as u32;
        Owner {
            tenant: number(tenant.or(Some(partner))),
            partner: number(Some(partner)),
            database: number(None),
        }
    }
}

/// Returns a number as SQL's bigint, which has room for less.
pub fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
