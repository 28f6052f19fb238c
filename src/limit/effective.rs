//! The limits that apply to a caller, or to a scope. Each backend caches them until a value, a plan or a scope changes, or the
//! tenant's plan begins or ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;
use pgrx::spi::SpiHeapTupleData;
use tenancy_core::limit::table::Demand;
use tenancy_core::limit::{Level, Per, slots};
use tenancy_core::subject::Subject;
use tenancy_core::time::Instant;
use uuid::Uuid;

pub use super::values::{Limit, Place};
use crate::context::{Context, required};
use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::xact;
use crate::tree::scope;

/// The number of places, and of scopes, that a backend caches at most. With twenty values one takes about 5 kB.
const MOST: usize = 4000;

/// The values of one limit, from the platform down.
#[derive(Debug)]
pub struct Applied {
    /// The values.
    pub values: Box<[Limit]>,
    /// Of a rate: the bucket of each value.
    pub demands: Box<[Demand]>,
    /// Of another limit: what a slot counts in.
    pub slots: Box<[slots::Demand]>,
}

/// All limits that apply to one place.
#[derive(Debug)]
pub struct Effective {
    /// The place.
    pub place: Place,
    of: HashMap<i32, Applied, RandomState>,
    from: Instant,
    until: Instant,
    sources: Sources,
}

impl Effective {
    /// Returns a limit; `None`: not limited.
    #[inline]
    pub fn applied(&self, limit: i32) -> Option<&Applied> {
        self.of.get(&limit)
    }

    /// Returns the least value of a limit; `None`: not limited.
    #[inline]
    pub fn least(&self, limit: i32) -> Option<i64> {
        let values = self.applied(limit)?.values.iter();
        values.map(|limit| limit.amount).min()
    }

    /// Returns all limits, by their ids.
    pub fn all(&self) -> impl Iterator<Item = (i32, &Applied)> {
        self.of.iter().map(|(id, applied)| (*id, applied))
    }

    #[inline]
    fn holds(&self, at: Instant) -> bool {
        self.from <= at && at < self.until && self.sources.hold()
    }
}

#[derive(Default)]
struct Cache {
    /// The last context, and what applied to it. A connection often repeats it.
    last: Option<(Rc<Context>, Rc<Effective>)>,
    places: HashMap<Place, Rc<Effective>, RandomState>,
    scopes: HashMap<Uuid, Rc<Effective>, RandomState>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Returns the limits that apply to the context. An error if there is no context of a user.
#[inline]
pub fn of_context() -> Result<Rc<Effective>, Error> {
    let context = required()?;
    let at = xact::statement_started();
    let last = CACHE.with_borrow(|cache| {
        let (of, last) = cache.last.as_ref()?;
        (Rc::ptr_eq(of, &context) && last.holds(at)).then(|| last.clone())
    });
    match last {
        Some(last) => Ok(last),
        None => find_of_context(context),
    }
}

#[cold]
fn find_of_context(context: Rc<Context>) -> Result<Rc<Effective>, Error> {
    let found = of(Place::of(&context)?)?;
    CACHE.with_borrow_mut(|cache| cache.last = Some((context, found.clone())));
    Ok(found)
}

/// Returns the limits that apply at a scope, whoever works in it; also without a context. `None` if no scope has this id.
pub fn of_scope(id: Uuid) -> Result<Option<Rc<Effective>>, Error> {
    let at = xact::statement_started();
    let known = CACHE.with_borrow(|cache| {
        let known = cache.scopes.get(&id).filter(|known| known.holds(at));
        known.cloned()
    });
    if known.is_some() {
        return Ok(known);
    }
    let Some(found) = scope(id)? else {
        return Ok(None);
    };
    let found = of(Place::of_scope(&found))?;
    CACHE.with_borrow_mut(|cache| {
        if cache.scopes.len() >= MOST {
            cache.scopes.clear();
        }
        cache.scopes.insert(id, found.clone());
    });
    Ok(Some(found))
}

/// Returns the limits that apply to a place.
pub fn of(place: Place) -> Result<Rc<Effective>, Error> {
    let at = xact::statement_started();
    let known = CACHE.with_borrow(|cache| {
        let known = cache.places.get(&place).filter(|known| known.holds(at));
        known.cloned()
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let found = Rc::new(read(place, at)?);
    CACHE.with_borrow_mut(|cache| {
        if cache.places.len() >= MOST {
            cache.places.clear();
        }
        cache.places.insert(place, found.clone());
    });
    Ok(found)
}

fn read(place: Place, at: Instant) -> Result<Effective, Error> {
    let mut reading = Reading::begin();
    for scope in place.scopes() {
        reading.of(Subject::Limits(scope));
    }
    // A scope that moves gets the limits of other scopes.
    for scope in [place.tenant, place.project, place.user].iter().flatten() {
        reading.of(Subject::Scope(*scope));
    }
    let scopes: Vec<pgrx::Uuid> = place.scopes().map(pg_uuid).collect();
    let mut until = Instant::NEVER;
    let mut of: HashMap<i32, Vec<Limit>, RandomState> = HashMap::default();
    spi::read(
        "SELECT p.plan_id, (extract(epoch FROM p.until) * 1000000)::bigint, \
                l.limit_id, l.level, l.target, l.per, l.amount, l.burst, l.imposed, coalesce(l.scope_id, l.plan_id) \
         FROM tenancy_internal.plan_at($2, pg_catalog.to_timestamp($4::float8 / 1000000)) p \
         LEFT JOIN LATERAL tenancy_internal.limits_of($1, p.plan_id, $3) l ON true \
         ORDER BY l.limit_id, tenancy_internal.level_rank(l.level), l.per, l.imposed DESC",
        &[
            scopes.into(),
            place.tenant.map(pg_uuid).into(),
            place.api_key.map(pg_uuid).into(),
            at.unix_micros().into(),
        ],
        |rows| {
            for row in rows {
                if let Some(plan) = row.get::<pgrx::Uuid>(1)? {
                    reading.of(Subject::Limits(from_pg(plan)));
                }
                until = spi::instant(&row, 2)?.unwrap_or(Instant::NEVER);
                if let Some(id) = row.get(3)? {
                    of.entry(id).or_default().push(limit(&row)?);
                }
            }
            Ok(())
        },
    )?;
    Ok(Effective {
        place,
        of: of
            .into_iter()
            .map(|(id, values)| (id, applied(&place, id, values)))
            .collect(),
        from: at,
        until,
        sources: reading.done(),
    })
}

fn applied(place: &Place, id: i32, values: Vec<Limit>) -> Applied {
    let demands: Box<[Demand]> = values
        .iter()
        .filter_map(|value| place.demand(id, value))
        .collect();
    let slots = match demands.is_empty() {
        true => place.slots(id, &values),
        false => Vec::new(),
    };
    Applied {
        demands,
        slots: slots.into(),
        values: values.into(),
    }
}

/// Reads a value, from the fourth column on.
fn limit(row: &SpiHeapTupleData<'_>) -> Result<Limit, Error> {
    let unknown = |_| Error::Internal("a limit of no known level or time");
    let level: String = row.not_null(4)?;
    let per: Option<String> = row.get(6)?;
    Ok(Limit {
        level: Level::named(&level).ok_or(()).map_err(unknown)?,
        target: row.not_null_id(5)?,
        per: per
            .map(|per| Per::named(&per).ok_or(()).map_err(unknown))
            .transpose()?,
        amount: row.not_null(7)?,
        burst: row.get(8)?,
        imposed: row.not_null(9)?,
        holder: row.not_null_id(10)?,
    })
}
