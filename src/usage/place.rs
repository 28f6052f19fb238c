//! The scopes that an event belongs to: those of the context, or those that a trusted role names.

use std::cell::RefCell;
use std::collections::HashMap;

use tenancy_core::id::PLATFORM_ID;
use tenancy_core::subject::Subject;
use uuid::Uuid;

use crate::access::{OnlyProjects, from_pg, only_projects, pg_uuid};
use crate::context::principal::Who;
use crate::context::{Current, current};
use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::{inval, spi, xact};

/// Where something was used, and by whom. All of it is in the platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The partner.
    pub partner: Option<Uuid>,
    /// The tenant.
    pub tenant: Option<Uuid>,
    /// The project.
    pub project: Option<Uuid>,
    /// The user.
    pub user: Option<Uuid>,
}

impl Place {
    /// The tenant, else the partner, else the platform: within it idempotency keys are unique.
    pub fn owner(&self) -> Uuid {
        self.tenant.or(self.partner).unwrap_or(PLATFORM_ID)
    }

    /// Where the context uses something. Who holds its tenant by projects only has selected one: else it would use past the
    /// budgets of all of them.
    pub fn of_context() -> Result<Self, Error> {
        let now = current()?.ok_or(Error::MissingContext)?;
        match now.projects {
            0 => Self::of(&now),
            several => Err(Error::NotOneProject(several)),
        }
    }

    /// In whose reservations the context finds its own: the tenant's, of whichever project.
    pub fn owner_of_context() -> Result<Uuid, Error> {
        let now = current()?.ok_or(Error::MissingContext)?;
        Ok(Self::of(&now)?.owner())
    }

    fn of(now: &Current) -> Result<Self, Error> {
        let (Who::User(user), Some(access)) = (now.who, &now.access) else {
            return Err(Error::MissingContext);
        };
        let Some(tenant) = &now.tenant else {
            // Its own, if it is nobody's but its partner's or the platform's.
            if access.fleet || now.count() != Some(0) {
                return Err(Error::NotOneTenant(now.span()));
            }
            // Without a role in its tenant it would use past the tenant's budgets, on the partner's.
            let home = access.home();
            return match home.get(2) {
                None => Ok(Self {
                    partner: home.get(1).copied(),
                    user: Some(user),
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
            project: now.project,
            user: Some(user),
        })
    }

    /// Where a trusted role says that it was.
    pub fn named(names: Names) -> Result<Self, Error> {
        if names == Names::default() {
            return Self::of_context();
        }
        // A role without a context hears of nothing else in a transaction that stays open.
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

/// What a trusted role names. What is above follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Names {
    /// The user.
    pub user: Option<Uuid>,
    /// The tenant.
    pub tenant: Option<Uuid>,
    /// The project.
    pub project: Option<Uuid>,
}

/// Places, and what they were made of.
type KnownPlaces = HashMap<Names, (Place, Sources)>;

/// How many places a batch remembers.
const KNOWN_MAX: usize = 10_000;

thread_local! {
    static KNOWN: RefCell<(u64, KnownPlaces)> = RefCell::default();
}

/// Level and path of a scope.
type Found = HashMap<Uuid, (String, Vec<Uuid>)>;

impl Names {
    fn each(self, f: impl FnMut(Uuid)) {
        [self.user, self.tenant, self.project]
            .into_iter()
            .flatten()
            .for_each(f);
    }

    fn find(self, reading: &mut Reading) -> Result<Place, Error> {
        let mut ids = Vec::new();
        self.each(|id| ids.push(pg_uuid(id)));
        let found = read(ids)?;
        let path = |id: Uuid, level: &str| match found.get(&id) {
            Some((is, path)) if is == level => Ok(path.as_slice()),
            _ if level == "user" => Err(Error::NoSuchUser(id.to_string())),
            _ => Err(Error::NoSuchScope(id.to_string())),
        };
        // [platform, partner, tenant, project]; a user's home is all of its path but itself.
        let project = self.project.map(|id| path(id, "project")).transpose()?;
        let user = self.user.map(|id| path(id, "user")).transpose()?;
        let home = user
            .and_then(|path| path.split_last())
            .map(|(_, home)| home);
        let tenant = match self.tenant {
            Some(id) => Some(path(id, "tenant")?),
            None => project
                .map(|path| &path[..path.len().min(3)])
                .or_else(|| home.filter(|home| home.len() == 3)),
        };
        if let (Some(tenant), Some(project), Some(id)) = (tenant, project, self.project)
            && !project.starts_with(tenant)
        {
            return Err(Error::NoSuchScope(id.to_string()));
        }
        // A user works in its own scope, or in one below.
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
        Ok(Place {
            partner: above.get(1).copied(),
            tenant: tenant.and_then(|path| path.last()).copied(),
            project,
            user: self.user,
        })
    }
}

fn read(ids: Vec<pgrx::Uuid>) -> Result<Found, Error> {
    spi::read(
        "SELECT id, level, path FROM tenancy.scopes WHERE id = ANY ($1)",
        &[ids.into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    let id: Option<pgrx::Uuid> = row.get(1)?;
                    let id = id.ok_or(Error::Internal("a scope without an id"))?;
                    let path: Vec<pgrx::Uuid> = row.get(3)?.unwrap_or_default();
                    let path = path.into_iter().map(from_pg).collect();
                    Ok((from_pg(id), (row.get(2)?.unwrap_or_default(), path)))
                })
                .collect()
        },
    )
}

fn partner_of(tenant: Uuid) -> Result<Uuid, Error> {
    let found = read(vec![pg_uuid(tenant)])?;
    let path = found.get(&tenant).map(|(_, path)| path.as_slice());
    path.and_then(|path| path.get(1).copied())
        .ok_or(Error::Inactive)
}
