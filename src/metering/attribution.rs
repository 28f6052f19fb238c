//! The scopes that an event belongs to: those of the context, or those that a trusted role names.

use std::cell::RefCell;
use std::collections::HashMap;

use tenancy_core::id::PLATFORM_ID;
use tenancy_core::principal::Principal;
use tenancy_core::subject::Subject;
use tenancy_core::token::Proof;
use tenancy_core::tree::Level;
use uuid::Uuid;

use crate::access::{OnlyProjects, only_projects};
use crate::context::{Context, required};
use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::{inval, xact};
use crate::tree;

/// The scopes and the user of an event. The platform is always among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The partner.
    pub partner: Option<Uuid>,
    /// The tenant.
    pub tenant: Option<Uuid>,
    /// The project.
    pub project: Option<Uuid>,
    /// The user.
    pub user: Option<Uuid>,
    /// The API key that proved the context.
    pub api_key: Option<Uuid>,
}

impl Attribution {
    /// Returns the tenant, else the partner, else the platform: idempotency keys are unique in it.
    pub fn owner(&self) -> Uuid {
        self.tenant.or(self.partner).unwrap_or(PLATFORM_ID)
    }

    /// Returns the place of the context. A user who holds the tenant only by projects must have selected one: otherwise its
    /// usage would bypass the budgets of all of them.
    pub fn of_context() -> Result<Self, Error> {
        let context = required()?;
        match context.projects {
            0 => Self::of(&context),
            several => Err(Error::NotOneProject(several)),
        }
    }

    /// Returns the owner of the context's reservations: the tenant, in any project.
    pub fn owner_of_context() -> Result<Uuid, Error> {
        let context = required()?;
        Ok(Self::of(&context)?.owner())
    }

    fn of(context: &Context) -> Result<Self, Error> {
        let (Principal::User(user), Some(access)) = (context.principal, &context.access) else {
            return Err(Error::MissingContext);
        };
        let api_key = match context.claims.proof {
            Some(Proof::ApiKey(key)) => Some(key),
            _ => None,
        };
        let Some(tenant) = &context.tenant else {
            // Its own partner or the platform, if the context has no tenant.
            if access.fleet || context.count() != Some(0) {
                return Err(Error::NotOneTenant(context.span()));
            }
            // Without a role in its tenant its usage would bypass the tenant's budgets and count only in the partner's.
            let home = access.home();
            return match home.get(2) {
                None => Ok(Self {
                    partner: home.get(1).copied(),
                    user: Some(user),
                    api_key,
                    ..Self::default()
                }),
                Some(_) => Err(Error::NoRole),
            };
        };
        let partner = match access.partner {
            Some(partner) => partner,
            None => partner_of(tenant.id)?,
        };
        Ok(Self {
            partner: Some(partner),
            tenant: Some(tenant.id),
            project: context.project,
            user: Some(user),
            api_key,
        })
    }

    /// Returns the place that a trusted role names.
    pub fn named(names: NamedScopes) -> Result<Self, Error> {
        if names == NamedScopes::default() {
            return Self::of_context();
        }
        // A role without a context processes invalidations only here while its transaction stays open.
        inval::accept();
        let known = KNOWN.with_borrow(|(generation, known)| {
            let (place, sources) = known.get(&names)?;
            (*generation == xact::generation() && sources.hold()).then_some(*place)
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let mut reading = Reading::begin();
        names.each(|id| reading.of(Subject::Scope(id)));
        let found = names.find(&mut reading)?;
        let sources = reading.done();
        KNOWN.with_borrow_mut(|(generation, known)| {
            if *generation != xact::generation() || known.len() >= KNOWN_MAX {
                *generation = xact::generation();
                known.clear();
            }
            known.insert(names, (found, sources));
        });
        Ok(found)
    }
}

/// The scopes that a trusted role names. Those above follow from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NamedScopes {
    /// The user.
    pub user: Option<Uuid>,
    /// The tenant.
    pub tenant: Option<Uuid>,
    /// The project.
    pub project: Option<Uuid>,
}

/// Places, and the rows that they depend on.
type KnownPlaces = HashMap<NamedScopes, (Attribution, Sources)>;

/// The number of places that a batch caches at most.
const KNOWN_MAX: usize = 10_000;

thread_local! {
    static KNOWN: RefCell<(u64, KnownPlaces)> = RefCell::default();
}

impl NamedScopes {
    fn each(self, f: impl FnMut(Uuid)) {
        [self.user, self.tenant, self.project]
            .into_iter()
            .flatten()
            .for_each(f);
    }

    fn find(self, reading: &mut Reading) -> Result<Attribution, Error> {
        let mut ids = Vec::new();
        self.each(|id| ids.push(id));
        let found = tree::scopes(&ids)?;
        let path = |id: Uuid, level: Level| match found.get(&id) {
            Some(found) if found.level == level => Ok(found.path.as_slice()),
            _ if level == Level::User => Err(Error::NoSuchUser(id.to_string())),
            _ => Err(Error::NoSuchScope(id.to_string())),
        };
        // [platform, partner, tenant, project]; a user's home is its path without the user.
        let project = self
            .project
            .map(|id| path(id, Level::Project))
            .transpose()?;
        let user = self.user.map(|id| path(id, Level::User)).transpose()?;
        let home = user
            .and_then(|path| path.split_last())
            .map(|(_, home)| home);
        let tenant = match self.tenant {
            Some(id) => Some(path(id, Level::Tenant)?),
            None => project
                .map(|path| &path[..path.len().min(3)])
                .or_else(|| home.filter(|home| home.len() == 3)),
        };
        if let (Some(tenant), Some(project), Some(id)) = (tenant, project, self.project)
            && !project.starts_with(tenant)
        {
            return Err(Error::NoSuchScope(id.to_string()));
        }
        // A user's usage is in its own parent, or below it.
        if let (Some(tenant), Some(home), Some(id)) = (tenant, home, self.user)
            && !tenant.starts_with(home)
        {
            return Err(Error::NoSuchUser(id.to_string()));
        }
        let above = tenant.or(home).unwrap_or_default();
        // As in the user's own context.
        let only = match (self.project, self.user, home, tenant) {
            (None, Some(user), Some(home), Some(tenant)) => {
                only_projects(user, home, tenant, reading)?
            }
            _ => OnlyProjects::None,
        };
        let project = match only {
            OnlyProjects::None => self.project,
            OnlyProjects::One(project) => Some(project),
            OnlyProjects::Several(projects) => return Err(Error::NamesNoProject(projects)),
        };
        Ok(Attribution {
            partner: above.get(1).copied(),
            tenant: tenant.and_then(|path| path.last()).copied(),
            project,
            user: self.user,
            api_key: None,
        })
    }
}

fn partner_of(tenant: Uuid) -> Result<Uuid, Error> {
    let found = tree::scope(tenant)?;
    let (partner, _) = found.map_or((None, None), |found| found.partner_and_tenant());
    partner.ok_or(Error::Inactive)
}
