//! `take()` and `try_take()`: a request to a rate limit, at every level or at none.

use tenancy_core::limit::Kind;
use tenancy_core::limit::bucket::Excess;
use tenancy_core::limit::take::Refused;
use tenancy_core::time::Length;

use super::definitions;
use super::effective::{self, Limit};
use super::values::bigint;
use crate::error::{Error, RateExhausted};
use crate::pg::fmgr::{Answer, Call};
use crate::pg::row::{Field, Shape, Type};
use crate::pg::{inval, rates, time};

crate::c_functions! {
    tenancy_take => take;
    tenancy_try_take => try_take;
}

/// What became of a request.
enum Outcome {
    /// Taken from all. How much may be taken at once now; `None`: not limited.
    Taken(Option<u64>),
    /// Taken from none: this value refuses, with so much left.
    Refused(Limit, Excess, u64),
}

/// Takes, or raises an error.
fn take(call: &Call) -> Result<Answer, Error> {
    match attempt(call)? {
        Outcome::Taken(left) => Ok(left.map_or(Answer::Null, |left| Answer::Int8(bigint(left)))),
        Outcome::Refused(value, excess, left) => {
            Err(Error::RateExhausted(Box::new(RateExhausted {
                limit: call.str(0)?.to_owned(),
                level: value.level.words(),
                amount: value.amount,
                burst: value.burst.unwrap_or_default(),
                per: value.per.map_or("", |per| per.as_str()),
                cost: call.int8(1),
                left,
                retry: length(excess),
            })))
        }
    }
}

/// The columns of try_take().
static ANSWER: Shape<5> = Shape::new([
    (c"allowed", Type::Bool),
    (c"remaining", Type::Int8),
    (c"retry_after", Type::Length),
    (c"level", Type::Text),
    (c"per", Type::Text),
]);

/// Takes, or returns what refuses.
fn try_take(call: &Call) -> Result<Answer, Error> {
    match attempt(call)? {
        Outcome::Taken(left) => ANSWER.answer(&[
            Field::Bool(true),
            left.map_or(Field::Null, |left| Field::Int8(bigint(left))),
            Field::Null,
            Field::Null,
            Field::Null,
        ]),
        Outcome::Refused(value, excess, left) => ANSWER.answer(&[
            Field::Bool(false),
            Field::Int8(bigint(left)),
            length(excess).map_or(Field::Null, Field::length),
            Field::word(value.level.as_str()),
            value
                .per
                .map_or(Field::Null, |per| Field::word(per.as_str())),
        ]),
    }
}

fn attempt(call: &Call) -> Result<Outcome, Error> {
    if call.is_null(0) {
        return Err(Error::Null("name"));
    }
    if call.is_null(1) {
        return Err(Error::Null("cost"));
    }
    let cost = u64::try_from(call.int8(1)).map_err(|_| {
        Error::bad(
            "cost must not be negative",
            "What was taken cannot be given back. 0 takes nothing and tells how much is left.",
        )
    })?;
    // A value that was set before this call applies to it.
    inval::accept();
    let effective = effective::of_context()?;
    let id = definitions::with(call.str(0)?, |definition| {
        definition.require(Kind::Rate).map(|()| definition.id)
    })??;
    let Some(applied) = effective.applied(id) else {
        return Ok(Outcome::Taken(None));
    };
    match rates::take(&applied.demands, cost, time::monotonic())? {
        Ok(left) => Ok(Outcome::Taken(left)),
        Err(Refused::Full) => Err(Error::RatesFull),
        Err(Refused::Over {
            demand,
            excess,
            left,
        }) => match applied.values.get(demand) {
            Some(value) => Ok(Outcome::Refused(value.clone(), excess, left)),
            None => Err(Error::Internal("a refusal without a rate")),
        },
    }
}

/// Returns after which time a request conforms, rounded up; `None` for never.
fn length(excess: Excess) -> Option<Length> {
    match excess {
        Excess::Until(nanos) => i64::try_from(nanos.div_ceil(1000))
            .ok()
            .map(Length::from_micros),
        Excess::Never => None,
    }
}
