//! `check_budget()` and `fits()`: would it be admitted, and if not, where not. `consume()` is with
//! `record_usage()`. Admission before all that costs something, so nothing is allocated but the answer.

use std::rc::Rc;

use tenancy_core::ledger::{Account, Counted, Span};
use tenancy_core::quantity::cost;
use tenancy_core::time::Instant;

use crate::error::Error;
use crate::ledger::{Budget, Event, any_expired, budgets_of, credits, end, load};
use crate::metering;
use crate::pg::fmgr::{Answer, Call};
use crate::pg::heap_insert::look_again;
use crate::pg::row::{Field, Shape, Type};
use crate::pg::{bgworker, ledger, xact};
use crate::requests::{self, Reply, Request};

crate::c_functions! {
    tenancy_fits => fits;
    tenancy_check_budget => check_budget;
}

/// The result of one budget for a request.
struct BudgetState<'a> {
    budget: &'a Budget,
    span: Span,
    used: i128,
    in_flight: Option<i128>,
    /// What credits have left.
    credits: i128,
    /// What is left, with credits.
    left: i128,
    requested: i128,
}

/// The sums of an entry: used, reserved, and in flight if it is known.
type Sums = (i128, i128, Option<i128>);

impl<'a> BudgetState<'a> {
    /// Computes it from the sums of entries.
    fn new<E>(
        budget: &'a Budget,
        account: &Account,
        (span, at): (Span, Instant),
        mut sums: impl FnMut(&Account, &Span) -> Result<Sums, E>,
    ) -> Result<Self, E> {
        let (used, reserved, in_flight) = sums(account, &span)?;
        let mut state = Self {
            budget,
            span,
            used,
            in_flight: in_flight.map(|running| running + reserved),
            credits: 0,
            left: budget.amount - used - reserved - in_flight.unwrap_or_default(),
            requested: 0,
        };
        if let Some(pots) = credits::pots(budget, at) {
            let mut total = |account: &Account, span: &Span| {
                let (used, reserved, in_flight) = sums(account, span)?;
                Ok(used + reserved + in_flight.unwrap_or_default())
            };
            state.left += total(&credits::covered(budget), &span)?;
            for pot in pots {
                state.credits += pot.left(&mut total)?.max(0);
            }
            state.left = state.left.max(0) + state.credits;
        }
        Ok(state)
    }

    fn fits(&self) -> bool {
        !self.budget.hard || self.requested <= self.left || self.requested == 0
    }

    /// Returns its rank: the budget with the least rank is reported.
    fn rank(&self) -> (bool, bool, i128) {
        (self.fits(), !self.budget.hard, self.left - self.requested)
    }
}

/// Returns only whether the quantity would be admitted now, for frequent calls.
fn fits(call: &Call) -> Result<Answer, Error> {
    let event = wish(call)?;
    let budgets = budgets_of(&event.scopes())?;
    let worst = worst(&event, &budgets, |budget| budget.hard)?;
    Ok(Answer::Bool(worst.is_none_or(|state| state.fits())))
}

/// The columns of check_budget().
static ANSWER: Shape<13> = Shape::new([
    (c"allowed", Type::Bool),
    (c"level", Type::Text),
    (c"scope", Type::Uuid),
    (c"of_cost", Type::Bool),
    (c"period", Type::Text),
    (c"amount", Type::Numeric),
    (c"used", Type::Numeric),
    (c"in_flight", Type::Numeric),
    (c"remaining", Type::Numeric),
    (c"credits", Type::Numeric),
    (c"resets_at", Type::Instant),
    (c"budget", Type::Uuid),
    (c"per", Type::Text),
]);

/// Returns whether the quantity would be admitted now, with the budget that refuses it or has the least left.
fn check_budget(call: &Call) -> Result<Answer, Error> {
    let event = wish(call)?;
    let budgets = budgets_of(&event.scopes())?;
    let Some(state) = worst(&event, &budgets, |_| true)? else {
        let mut without = [Field::Null; 13];
        without[0] = Field::Bool(true);
        return ANSWER.answer(&without);
    };
    let budget = state.budget;
    let resets = end(&state.span);
    let per = budget.part.as_ref().and_then(|part| part.per());
    ANSWER.answer(&[
        Field::Bool(state.fits()),
        Field::word(budget.level),
        Field::Uuid(*budget.scope.as_bytes()),
        Field::Bool(budget.counted == Counted::Cost),
        Field::word(budget.period.as_str()),
        Field::attos(budget.amount),
        Field::attos(state.used),
        state.in_flight.map_or(Field::Null, Field::attos),
        Field::attos(state.left.max(0)),
        Field::attos(state.credits),
        resets.map_or(Field::Null, Field::Instant),
        Field::Uuid(*budget.id.as_bytes()),
        per.map_or(Field::Null, |per| Field::text(per.as_str())),
    ])
}

/// Reads the arguments. A budget that was set before this call applies to it.
fn wish(call: &Call) -> Result<Event, Error> {
    if call.is_null(1) {
        return Err(Error::Null("quantity"));
    }
    let given = |n: usize| (!call.is_null(n)).then_some(n);
    let cost = given(2).map(|n| cost(call.numeric(n))).transpose()?;
    let attributes = given(3).map(|n| call.json(n));
    look_again();
    match call.is_null(0) {
        true if cost.is_some() || attributes.is_some() => Err(Error::bad(
            "cost and attributes are those of a metric",
            "Without a metric the quantity is the cost.",
        )),
        true => metering::wish_of_cost(self::cost(call.numeric(1))?),
        false => {
            let quantity = metering::quantity_of(call, 1)?;
            metering::wish(call.str(0)?, quantity, cost, attributes)
        }
    }
}

/// Returns the budget that has no room for an event, or the least left.
fn worst<'a>(
    event: &Event,
    budgets: &'a [Rc<Budget>],
    wanted: impl Fn(&Budget) -> bool,
) -> Result<Option<BudgetState<'a>>, Error> {
    let mut tidy = false;
    loop {
        let found = at_once(event, budgets, &wanted)?;
        // Expired reservations do not take room; on a standby they were left out.
        let refused = found.as_ref().filter(|state| !state.fits());
        match refused {
            Some(state) if !tidy && !bgworker::recovering() && any_expired(state.budget.scope)? => {
                tidy = requests::call(&Request::ExpireReservations)? != Reply::Done;
            }
            _ => return Ok(found),
        }
    }
}

/// Does the same, with all budgets read at one moment.
fn at_once<'a>(
    event: &Event,
    budgets: &'a [Rc<Budget>],
    wanted: impl Fn(&Budget) -> bool,
) -> Result<Option<BudgetState<'a>>, Error> {
    // A standby's ledger does not see commits of the primary, and a parallel query has no snapshot that is recent
    // enough to load an entry.
    if bgworker::recovering() || xact::parallel() {
        return weigh(event, budgets, wanted, |budget, account| {
            let span = budget.span(event.at)?;
            BudgetState::new(budget, account, (span, event.at), |account, span| {
                let part = event.part_rows(budget);
                let (used, reserved) = load::read(account, span, part.as_ref())?;
                Ok((used, reserved, None))
            })
        });
    }
    loop {
        let found = ledger::view(|ledger| {
            weigh(event, budgets, &wanted, |budget, account| {
                let span = budget.known(event.at).ok_or(Unknown::Period(budget))?;
                BudgetState::new(budget, account, (span, event.at), |account, span| {
                    let entry = ledger.loaded(account, span);
                    let entry = entry.ok_or(Unknown::Entry(budget, *account, *span))?;
                    Ok((entry.used, entry.reserved, Some(entry.in_flight)))
                })
            })
        });
        match found {
            Ok(worst) => return Ok(worst),
            Err(Unknown::Period(budget)) => drop(budget.span(event.at)?),
            Err(Unknown::Entry(budget, account, span)) => {
                load::load(&account, &span, event.part_rows(budget).as_ref())?;
            }
        }
    }
}

/// An entry that must be loaded first.
enum Unknown<'a> {
    Period(&'a Budget),
    Entry(&'a Budget, Account, Span),
}

fn weigh<'a, E>(
    event: &Event,
    budgets: &'a [Rc<Budget>],
    wanted: impl Fn(&Budget) -> bool,
    ask: impl Fn(&'a Budget, &Account) -> Result<BudgetState<'a>, E>,
) -> Result<Option<BudgetState<'a>>, E> {
    let mut worst: Option<BudgetState<'_>> = None;
    for budget in budgets.iter().filter(|budget| wanted(budget)) {
        let Some((account, requested)) = event.share(budget) else {
            continue;
        };
        let state = BudgetState {
            requested,
            ..ask(budget, &account)?
        };
        if worst
            .as_ref()
            .is_none_or(|worst| state.rank() < worst.rank())
        {
            worst = Some(state);
        }
    }
    Ok(worst)
}
