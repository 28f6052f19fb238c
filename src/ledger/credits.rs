//! Credits on top of budgets: draws from them, in rows and in the ledger.

use tenancy_core::ledger::{
    Account, Counted, CreditBalance, CreditCoverage, Recorded, give_back as keep_first, slot,
};
use tenancy_core::quantity::in_millionths;
use tenancy_core::time::Instant;
use uuid::Uuid;

use super::budget_cache::Budget;
use super::event::Event;
use super::load::attos_of;
use crate::error::Error;
use crate::pg::spi::NotNull;
use crate::pg::uuid::pg_uuid;
use crate::pg::{ledger, queue, spi};

/// An amount drawn from a credit.
pub struct CreditDraw {
    budget: Uuid,
    credit: Uuid,
    /// In attos.
    quantity: i128,
}

/// Returns the account of what credits covered of a budget.
pub fn covered(budget: &Budget) -> Account {
    Account::covered(queue::database(), *budget.id.as_bytes())
}

/// Returns what a budget's credits have left at an instant, in order; `None` if it never had any.
pub fn pots(budget: &Budget, at: Instant) -> Option<impl Iterator<Item = CreditBalance>> {
    let database = queue::database();
    let pots = budget.credits.as_ref()?.iter().filter_map(move |credit| {
        let (amount, since) = credit.at(at)?;
        Some(CreditBalance {
            account: Account::drawn(database, *credit.id.as_bytes()),
            amount,
            since,
            taken: 0,
        })
    });
    Some(pots)
}

/// Returns what a budget's credits can cover of a demand.
pub fn cover(budget: &Budget, demand: usize, must: bool, at: Instant) -> Option<CreditCoverage> {
    Some(CreditCoverage {
        demand,
        limit: budget.amount,
        must,
        drawn: covered(budget),
        pots: pots(budget, at)?.collect(),
    })
}

/// Returns what an admitted cover draws.
pub fn drawn(cover: &CreditCoverage) -> impl Iterator<Item = CreditDraw> {
    let taken = cover.pots.iter().filter(|pot| pot.taken != 0);
    taken.map(|pot| CreditDraw {
        budget: Uuid::from_bytes(cover.drawn.scope),
        credit: Uuid::from_bytes(pot.account.scope),
        quantity: pot.taken,
    })
}

/// Writes draws, as used or as held by a reservation.
pub fn write(
    draws: &[CreditDraw],
    at: Instant,
    reservation: Option<pgrx::Uuid>,
) -> Result<(), Error> {
    if draws.is_empty() {
        return Ok(());
    }
    let credits: Vec<pgrx::Uuid> = draws.iter().map(|draw| pg_uuid(draw.credit)).collect();
    let quantities: Vec<String> = (draws.iter().map(|draw| in_millionths(draw.quantity))).collect();
    spi::execute_prepared(
        "INSERT INTO tenancy_internal.credit_draws (credit_id, at, quantity, reservation) \
         SELECT d.credit_id, to_timestamp($3::double precision / 1000000), d.quantity, $4 FROM unnest($1, $2::numeric[]) d (credit_id, quantity)",
        &[
            credits.into(),
            quantities.into(),
            at.unix_micros().into(),
            reservation.into(),
        ],
    )?;
    for draw in draws {
        let part = draw.quantity;
        let part = match reservation {
            Some(_) => (0, part),
            None => (part, 0),
        };
        note(draw, at, part);
    }
    Ok(())
}

fn note(draw: &CreditDraw, at: Instant, (used, reserved): (i128, i128)) {
    let database = queue::database();
    for account in [
        Account::covered(database, *draw.budget.as_bytes()),
        Account::drawn(database, *draw.credit.as_bytes()),
    ] {
        ledger::note(&Recorded {
            account,
            slot: slot(at),
            used,
            reserved,
        });
    }
}

/// Ends the draws of a settled reservation: turns them into usage up to the actual amount, and frees the rest.
/// The caller has locked the reservation.
pub fn settle(reservation: pgrx::Uuid, held: &Event, used: &Event) -> Result<(), Error> {
    let mut kept: Vec<CreditDraw> = Vec::new();
    let mut of_budget: Vec<i128> = Vec::new();
    let mut gone = take(reservation)?.into_iter().peekable();
    while let Some((draw, counted)) = gone.next() {
        note(&draw, held.at, (0, -draw.quantity));
        of_budget.push(draw.quantity);
        let last = gone
            .peek()
            .is_none_or(|(next, _)| next.budget != draw.budget);
        kept.push(draw);
        if last {
            let share = |event: &Event| event.share_of(counted).unwrap_or(0);
            keep_first(&mut of_budget, share(held).saturating_sub(share(used)));
            let first = kept.len() - of_budget.len();
            for (draw, quantity) in kept.iter_mut().skip(first).zip(of_budget.drain(..)) {
                draw.quantity = quantity;
            }
        }
    }
    kept.retain(|draw| draw.quantity != 0);
    write(&kept, held.at, None)
}

/// Frees everything that a cancelled or expired reservation drew.
pub fn free(reservation: pgrx::Uuid, at: Instant) -> Result<(), Error> {
    for (draw, _) in take(reservation)? {
        note(&draw, at, (0, -draw.quantity));
    }
    Ok(())
}

/// The rows of a reservation, which go: by budget, with what that counts, in the order in which they were drawn.
fn take(reservation: pgrx::Uuid) -> Result<Vec<(CreditDraw, Counted)>, Error> {
    spi::write_returning(
        "WITH gone AS (DELETE FROM tenancy_internal.credit_draws d WHERE d.reservation = $1 RETURNING d.credit_id, d.quantity) \
         SELECT g.budget_id, g.id, trunc(gone.quantity * 1000000000000)::text, b.metric_id \
         FROM gone JOIN tenancy_internal.credit_grants g ON g.id = gone.credit_id JOIN tenancy_internal.budget_definitions b ON b.id = g.budget_id \
         ORDER BY g.budget_id, g.priority, g.expires_at NULLS LAST, g.id",
        &[reservation.into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    let draw = CreditDraw {
                        budget: row.not_null_id(1)?,
                        credit: row.not_null_id(2)?,
                        quantity: attos_of(&row.not_null::<String>(3)?)?,
                    };
                    Ok((draw, row.get(4)?.map_or(Counted::Cost, Counted::Metric)))
                })
                .collect()
        },
    )
}

/// Merges draws into fewer rows, and closes credits that are used up.
pub fn tidy() -> Result<(), Error> {
    spi::write("SELECT tenancy_internal.tidy_credits()", &[]).map(drop)
}
