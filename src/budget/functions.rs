//! `check_budget()` and `fits()`: would it be admitted, and if not, where not. `consume()` is with
//! `record_usage()`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use tenancy_core::ledger::{Entry, Span};
use tenancy_core::quantity::{QuantityError, quantity};

use super::account::account;
use super::book::{self, Budget};
use super::load;
use super::reservations::any_expired;
use super::show::decimal;
use crate::access::pg_uuid;
use crate::error::{Error, ErrorReport};
use crate::pg::append::look_again;
use crate::pg::fmgr::{Answer, Call};
use crate::pg::{ledger, worker as process};
use crate::usage;
use crate::worker::{self, Request};

/// What a budget says of a wish.
struct Said {
    budget: usize,
    span: Span,
    used: i128,
    in_flight: Option<i128>,
    left: i128,
    asked: i128,
}

impl Said {
    fn fits(&self, hard: bool) -> bool {
        !hard || self.asked <= self.left || self.asked == 0
    }
}

crate::c_functions! {
    tenancy_fits, pg_finfo_tenancy_fits => fits;
}

fn refused(fault: QuantityError) -> Error {
    Error::bad(fault, "From 0 to about 9.2 · 10¹², to the millionth.")
}

/// Whether so much more would be admitted now, and nothing else: for whoever asks often.
fn fits(call: &Call) -> Result<Answer, Error> {
    if call.is_null(1) {
        return Err(Error::Null("quantity"));
    }
    let quantity = quantity(call.numeric(1)).map_err(refused)?;
    let metric = match call.is_null(0) {
        true => None,
        false => Some(
            std::str::from_utf8(call.text(0))
                .map_err(|_| Error::Internal("a text that is not UTF-8"))?,
        ),
    };
    let event = usage::wish(metric, quantity)?;
    look_again();
    for budgets in book::of(&event.scopes())? {
        for budget in budgets.iter().filter(|budget| budget.hard) {
            if let Some(asked) = event.share(budget)
                && !ask(0, budget, asked.into(), event.at)?.fits(true)
            {
                return Ok(Answer::Bool(false));
            }
        }
    }
    Ok(Answer::Bool(true))
}

/// Whether so much more would be admitted now; and the budget that says no, or that has the least left.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn check_budget(
    metric: Option<&str>,
    quantity: Option<AnyNumeric>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(allowed, bool),
            name!(level, Option<String>),
            name!(scope, Option<pgrx::Uuid>),
            name!(of_cost, Option<bool>),
            name!(period, Option<String>),
            name!(amount, Option<AnyNumeric>),
            name!(used, Option<AnyNumeric>),
            name!(in_flight, Option<AnyNumeric>),
            name!(remaining, Option<AnyNumeric>),
            name!(resets_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let quantity = quantity.ok_or(Error::Null("quantity"))?.to_string();
    let quantity = self::quantity(&quantity).map_err(refused)?;
    let event = usage::wish(metric, quantity)?;
    look_again();
    let book = book::of(&event.scopes())?;
    let budgets: Vec<&Budget> = book.iter().flat_map(|budgets| budgets.iter()).collect();
    let mut worst: Option<Said> = None;
    for (n, budget) in budgets.iter().enumerate() {
        let Some(asked) = event.share(budget) else {
            continue;
        };
        let said = ask(n, budget, asked.into(), event.at)?;
        let rank = |said: &Said| {
            let hard = budgets.get(said.budget).is_some_and(|budget| budget.hard);
            (said.fits(hard), !hard, said.left - said.asked)
        };
        if worst.as_ref().is_none_or(|worst| rank(&said) < rank(worst)) {
            worst = Some(said);
        }
    }
    let Some((said, budget)) = worst
        .and_then(|said| Some((budgets.get(said.budget)?, said)))
        .map(|(budget, said)| (said, *budget))
    else {
        return Ok(TableIterator::once((
            true, None, None, None, None, None, None, None, None, None,
        )));
    };
    Ok(TableIterator::once((
        said.fits(budget.hard),
        Some(budget.level.clone()),
        Some(pg_uuid(budget.scope)),
        Some(budget.metric == 0),
        Some(budget.period.clone()),
        decimal(budget.amount.into()),
        decimal(said.used),
        said.in_flight.and_then(decimal),
        decimal(said.left.max(0)),
        super::show::end(&said.span),
    )))
}

fn ask(n: usize, budget: &Budget, asked: i128, at: i64) -> Result<Said, Error> {
    let said = look(n, budget, asked, at)?;
    // What has expired is in nobody's way. On a standby it was left out.
    if !said.fits(budget.hard) && !process::recovering() && any_expired()? {
        worker::call(&Request::ExpireReservations)?;
        return look(n, budget, asked, at);
    }
    Ok(said)
}

fn look(n: usize, budget: &Budget, asked: i128, at: i64) -> Result<Said, Error> {
    let (account, span) = (account(budget), budget.span(at)?);
    let said = |used: i128, in_flight: i128, known: bool| Said {
        budget: n,
        span,
        used,
        in_flight: known.then_some(in_flight),
        left: i128::from(budget.amount) - used - in_flight,
        asked,
    };
    // Nobody tells the ledger of a standby what the primary commits.
    if process::recovering() {
        let (used, reserved) = load::read(&account, &span, &|| {})?;
        return Ok(said(used, reserved, false));
    }
    let entry: Entry = loop {
        match ledger::look(&account, &span) {
            Some(entry) => break entry,
            None => load::load(&account, &span)?,
        }
    };
    Ok(said(entry.used, entry.in_flight + entry.reserved, true))
}
