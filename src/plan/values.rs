//! The values of the scopes of a context, and of the plan of its tenant. Each backend caches them until one changes, or
//! until another plan begins or ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::JsonB;
use serde_json::Value;
use tenancy_core::id::PLATFORM_ID;
use tenancy_core::plan::effective;
use tenancy_core::principal::Principal;
use tenancy_core::subject::Subject;
use tenancy_core::time::Instant;
use uuid::Uuid;

use super::definitions::{self, Known, Of};
use crate::context::{Context, epoch, required};
use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;
use crate::pg::xact;
use crate::tree;

/// The number of contexts whose values a backend caches at most, and of values of each.
const CONTEXTS_MAX: usize = 256;
const VALUES_MAX: usize = 1000;

/// Where values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A scope.
    Scope(Uuid),
    /// The plan of the tenant.
    Plan(Uuid),
}

/// The values of one source.
struct Layer {
    source: Source,
    features: Value,
    settings: Value,
}

/// A value that was asked for.
#[derive(Debug)]
pub struct Found {
    /// The value; null for none.
    pub value: Value,
    /// As `->>` writes it.
    pub text: Option<String>,
}

/// The values that count in some scopes.
pub struct Values {
    known: Rc<Known>,
    /// The nearest first.
    layers: Vec<Layer>,
    /// When another plan begins or ends.
    until: Option<Instant>,
    sources: Sources,
    found: [RefCell<HashMap<String, Rc<Found>>>; 2],
}

impl Values {
    /// Returns whether nothing has changed.
    fn hold(&self) -> bool {
        self.sources.hold()
            && self.known.hold()
            && self
                .until
                .is_none_or(|until| xact::statement_started() < until)
    }

    /// Returns the sources, the nearest first.
    pub fn sources(&self) -> impl Iterator<Item = Source> {
        self.layers.iter().map(|layer| layer.source)
    }

    /// Returns the values of each source, the nearest first.
    pub fn layers(&self, of: Of) -> Vec<&Value> {
        let each = self.layers.iter().map(|layer| match of {
            Of::Feature => &layer.features,
            Of::Setting => &layer.settings,
        });
        each.collect()
    }

    /// Returns a value by its name.
    pub fn find(&self, of: Of, name: &str) -> Result<Rc<Found>, Error> {
        let memo = &self.found[usize::from(of == Of::Setting)];
        if let Some(found) = memo.borrow().get(name) {
            return Ok(found.clone());
        }
        let value = effective(self.known.of(of), name, &self.layers(of))
            .ok_or_else(|| of.not_found(name))?;
        let text = match &value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            value => Some(value.to_string()),
        };
        let found = Rc::new(Found { value, text });
        let mut memo = memo.borrow_mut();
        if memo.len() < VALUES_MAX {
            memo.insert(name.to_owned(), found.clone());
        }
        Ok(found)
    }
}

/// The scopes of a context.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    user: Option<Uuid>,
    tenant: Option<Uuid>,
    project: Option<Uuid>,
}

impl Place {
    fn of(context: &Context) -> Self {
        Self {
            user: match context.principal {
                Principal::User(user) => Some(user),
                Principal::Maintenance => None,
            },
            tenant: context.tenant.as_ref().map(|tenant| tenant.id),
            project: context.project,
        }
    }

    /// Returns its scopes from the platform down. The user need not belong to the tenant.
    fn path(self) -> Result<Vec<Uuid>, Error> {
        let Some(tenant) = self.tenant else {
            return match self.user {
                Some(user) => tree::path(user),
                None => Ok(vec![PLATFORM_ID]),
            };
        };
        let mut path = tree::path(tenant)?;
        path.extend(self.project);
        path.extend(self.user);
        Ok(path)
    }
}

#[derive(Default)]
struct Cache {
    of: HashMap<Place, Rc<Values>>,
    last: Option<(u64, Rc<Values>)>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Returns the values of the current context; an error if there is none.
pub fn of_context() -> Result<Rc<Values>, Error> {
    let context = required()?;
    let last = CACHE.with_borrow(|cache| {
        let (known, values) = cache.last.as_ref()?;
        (*known == epoch() && values.hold()).then(|| values.clone())
    });
    if let Some(last) = last {
        return Ok(last);
    }
    let place = Place::of(&context);
    let known = CACHE.with_borrow(|cache| cache.of.get(&place).cloned());
    let values = match known.filter(|values| values.hold()) {
        Some(values) => values,
        None => Rc::new(read(|| place.path(), place.tenant)?),
    };
    CACHE.with_borrow_mut(|cache| {
        if cache.of.len() >= CONTEXTS_MAX {
            cache.of.clear();
        }
        cache.of.insert(place, values.clone());
        cache.last = Some((epoch(), values.clone()));
    });
    Ok(values)
}

/// Returns the values of a scope, which no user and no project need be selected for.
pub fn of_scope(scope: Uuid) -> Result<Values, Error> {
    let path = tree::path(scope)?;
    // The third of a path is a tenant, or a user of a partner, which has no plan.
    let tenant = path.get(2).copied();
    read(|| Ok(path), tenant)
}

fn read(
    path: impl FnOnce() -> Result<Vec<Uuid>, Error>,
    tenant: Option<Uuid>,
) -> Result<Values, Error> {
    let mut reading = Reading::begin();
    let known = definitions::all()?;
    if let Some(tenant) = tenant {
        reading.of(Subject::Scope(tenant));
        reading.of(Subject::Limits(tenant));
    }
    let path = path()?;
    path.iter()
        .for_each(|scope| reading.of(Subject::Options(*scope)));
    let mut own = read_scopes(&path)?;
    let mut layers: Vec<Layer> = path.iter().filter_map(|scope| own.remove(scope)).collect();
    let mut until = None;
    if let Some(tenant) = tenant {
        let (plan, ends) = read_plan(tenant)?;
        until = ends;
        if let Some(plan) = plan {
            if let Source::Plan(id) = plan.source {
                reading.of(Subject::Options(id));
            }
            // Above the tenant.
            let place = layers
                .iter()
                .position(|layer| layer.source == Source::Scope(tenant));
            layers.insert(place.unwrap_or(layers.len()), plan);
        }
    }
    layers.reverse();
    Ok(Values {
        known,
        layers,
        until,
        sources: reading.done(),
        found: Default::default(),
    })
}

fn read_scopes(ids: &[Uuid]) -> Result<HashMap<Uuid, Layer>, Error> {
    let ids: Vec<pgrx::Uuid> = ids.iter().copied().map(pg_uuid).collect();
    spi::read(
        "SELECT id, features, settings FROM tenancy.scopes WHERE id = ANY ($1)",
        &[ids.into()],
        |rows| {
            let read = rows.into_iter().map(|row| {
                let id = row.not_null_id(1)?;
                let layer = Layer {
                    source: Source::Scope(id),
                    features: row.not_null::<JsonB>(2)?.0,
                    settings: row.not_null::<JsonB>(3)?.0,
                };
                Ok((id, layer))
            });
            read.collect()
        },
    )
}

/// Reads the plan that a tenant has, and until when this holds.
fn read_plan(tenant: Uuid) -> Result<(Option<Layer>, Option<Instant>), Error> {
    spi::read(
        "SELECT d.id, d.features, d.settings, (extract(epoch FROM p.until) * 1000000)::bigint \
         FROM tenancy_internal.plan_at($1, statement_timestamp()) p \
         LEFT JOIN tenancy_internal.plan_definitions d ON d.id = p.plan_id",
        &[pg_uuid(tenant).into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Ok((None, None));
            };
            let plan = match row.get::<pgrx::Uuid>(1)? {
                None => None,
                Some(_) => Some(Layer {
                    source: Source::Plan(row.not_null_id(1)?),
                    features: row.not_null::<JsonB>(2)?.0,
                    settings: row.not_null::<JsonB>(3)?.0,
                }),
            };
            Ok((plan, spi::instant(&row, 4)?))
        },
    )
}
