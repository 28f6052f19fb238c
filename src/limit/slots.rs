//! `acquire_slot()`, `try_acquire_slot()` and `release_slot()`: how many may be held at once, at every level.

use pgrx::datum::Interval;
use pgrx::prelude::*;
use tenancy_core::limit::Kind;
use tenancy_core::limit::slots::{Holder, NEVER, Refused};
use tenancy_core::principal::Principal;
use tenancy_core::time::Length;

use super::definitions;
use super::effective::{self, Place};
use crate::context::{Context, required};
use crate::error::{Error, ErrorReport};
use crate::pg::slots::{self, Until};
use crate::pg::{guc, inval, queue, session, time};

/// The longest time to live of a slot.
const TTL_MAX: Length = Length::from_days(7);
/// The permission to free the slots of others.
const MANAGE: &str = "limits:manage";

impl Until {
    fn named(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "transaction" => Self::Transaction,
            "session" => Self::Session,
            "release" => Self::Release,
            _ => {
                return Err(Error::bad(
                    "until must be transaction, session or release",
                    "release: until release_slot(), or until ttl is over.",
                ));
            }
        })
    }
}

/// Returns the name of [`Until`] as a number.
pub fn until(number: u8) -> &'static str {
    match number {
        0 => "transaction",
        1 => "session",
        _ => "release",
    }
}

/// Acquires a slot, or raises an error.
#[pg_extern(sql = false)]
fn acquire_slot(
    name: Option<&str>,
    ttl: Option<Interval>,
    until: Option<&str>,
) -> Result<pgrx::Uuid, ErrorReport> {
    Ok(acquire(name, ttl, until)?.map_err(|refused| *refused)?)
}

/// Acquires a slot, or returns NULL if as many are held as may be.
#[pg_extern(sql = false)]
fn try_acquire_slot(
    name: Option<&str>,
    ttl: Option<Interval>,
    until: Option<&str>,
) -> Result<Option<pgrx::Uuid>, ErrorReport> {
    Ok(acquire(name, ttl, until)?.ok())
}

fn acquire(
    name: Option<&str>,
    ttl: Option<Interval>,
    until: Option<&str>,
) -> Result<Result<pgrx::Uuid, Box<Error>>, Error> {
    let name = name.ok_or(Error::Null("name"))?;
    let until = Until::named(until.ok_or(Error::Null("until"))?)?;
    let ttl = time_to_live(ttl, until)?;
    if until == Until::Session && guc::pooled() {
        return Err(Error::SlotsPooled);
    }
    // A value that was set before this call applies to it.
    inval::accept();
    let effective = effective::of_context()?;
    let id = definitions::with(name, |definition| {
        definition.require(Kind::Slots).map(|()| definition.id)
    })??;
    let applied = effective.applied(id);
    let demands = applied.map_or(&[][..], |applied| &applied.slots);
    let expires = ttl.map_or(NEVER, |ttl| {
        let nanos = u64::try_from(ttl.micros())
            .unwrap_or(0)
            .saturating_mul(1000);
        time::monotonic().saturating_add(nanos)
    });
    let place = &effective.place;
    let owner = place.owner(tenancy_core::limit::Level::User);
    match slots::acquire(demands, holder(place, id, until), owner, until, expires)? {
        Ok(id) => Ok(Ok(pgrx::Uuid::from_bytes(id))),
        Err(Refused::Full) => Err(Error::SlotsFull),
        Err(Refused::Over { demand, held }) => {
            let over = demands.get(demand);
            Ok(Err(Box::new(Error::SlotsExhausted {
                limit: name.to_owned(),
                level: over.map_or("", |over| level(over.key.which)),
                most: over.map_or(0, |over| over.most),
                held,
            })))
        }
    }
}

fn level([level, ..]: [u8; 4]) -> &'static str {
    let all = tenancy_core::limit::Level::ALL;
    all.get(usize::from(level))
        .map_or("", |level| level.words())
}

fn time_to_live(ttl: Option<Interval>, until: Until) -> Result<Option<Length>, Error> {
    let Some(ttl) = ttl else {
        return match until {
            Until::Release => Err(Error::bad(
                "a slot until its release needs a ttl",
                "It frees the slot if its holder fails to: pass how long the work may take.",
            )),
            _ => Ok(None),
        };
    };
    let ttl = time::span(&ttl).unwrap_or(Length::ZERO);
    if ttl <= Length::ZERO || ttl > TTL_MAX {
        return Err(Error::bad(
            "ttl must be more than 0 and at most 7 days",
            "It is how long the work may take.",
        ));
    }
    Ok(Some(ttl))
}

fn holder(place: &Place, limit: i32, until: Until) -> Holder {
    let user = place.user.unwrap_or_default();
    Holder {
        database: queue::database(),
        limit: limit.cast_unsigned(),
        user: *user.as_bytes(),
        place: *place.home().as_bytes(),
        process: session::backend(),
        until: until as u8,
        since: time::now().unix_micros(),
    }
}

/// Frees a slot. Returns false if it is not held, or not by those whose slots the caller may free.
#[pg_extern(sql = false)]
fn release_slot(slot: Option<pgrx::Uuid>) -> Result<bool, ErrorReport> {
    let id = *slot.ok_or(Error::Null("slot"))?.as_bytes();
    let context = required()?;
    let Some(holder) = slots::holder(&id)? else {
        return Ok(false);
    };
    match may_free(&context, &holder) {
        true => Ok(slots::release(&id)?),
        false => Ok(false),
    }
}

/// Whether a context is of the slot's tenant (or of its user, if it has none), or holds limits:manage there.
fn may_free(context: &Context, holder: &Holder) -> bool {
    let place = uuid::Uuid::from_bytes(holder.place);
    let Principal::User(user) = context.principal else {
        return true;
    };
    if context.tenant.as_ref().map(|tenant| tenant.id) == Some(place)
        || *user.as_bytes() == holder.user
    {
        return true;
    }
    let Some(reached) = context.reached(MANAGE) else {
        return true;
    };
    reached.reach.everything
        || reached.tenants.contains_id(place.as_bytes())
        || reached.held_above.iter().any(|above| above.id == place)
}
