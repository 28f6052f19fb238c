//! Credits on top of a budget: amounts that the budget has no room for are drawn from them, in their order.
//!
//! They are counted in the same table. The amount that credits covered in a period is an entry of the budget with
//! that period; it extends the budget's limit. The total drawn from a credit, over all periods, is an entry of
//! the credit. A credit with a rollover has a second entry, for the amount drawn after its first period. So
//! every bound is a limit of some entry, and the end of a period needs no computation.

use crate::time::Instant;

use super::{Account, Blocked, Demand, Entry, Held, Ledger, Span};

/// A budget with credits. A demand has the entry of its usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditCoverage {
    /// The index of the demand.
    pub demand: usize,
    /// The limit without credits.
    pub limit: i128,
    /// Whether an uncovered amount is refused.
    pub must: bool,
    /// The account of what credits covered, with the demand's period.
    pub drawn: Account,
    /// The credits to draw from, in this order.
    pub pots: Vec<CreditBalance>,
}

/// A credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditBalance {
    /// The account of what was drawn from it.
    pub account: Account,
    /// Its amount.
    pub amount: i128,
    /// The end of its first period, and how much may be drawn afterwards.
    pub since: Option<(Instant, i128)>,
    /// The amount that is taken, if it is admitted.
    pub taken: i128,
}

/// The result of weighing a cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoverageResult {
    /// The entry of usage.
    pub entry: Entry,
    /// The entry of what credits covered.
    pub drawn: Entry,
    /// The amount to take from them; everything they have, if something is missing.
    pub taken: i128,
    /// The amount that they do not cover.
    pub missing: i128,
}

impl CreditBalance {
    fn since(&self) -> Option<(Span, i128)> {
        let span = |start| Span { start, ..Span::ALL };
        self.since.map(|(start, most)| (span(start), most))
    }

    /// Returns what it has left, by the sums of its entries; negative if it was reduced.
    pub fn left<E>(
        &self,
        mut total: impl FnMut(&Account, &Span) -> Result<i128, E>,
    ) -> Result<i128, E> {
        let left = (self.amount).saturating_sub(total(&self.account, &Span::ALL)?);
        match self.since() {
            None => Ok(left),
            Some((span, most)) => Ok(left.min(most.saturating_sub(total(&self.account, &span)?))),
        }
    }
}

impl CreditCoverage {
    /// Returns the amounts in flight after it is admitted, in the demand's period.
    pub fn held(&self, period: Span) -> impl Iterator<Item = Held> {
        let held = |account, span, quantity| Held {
            account,
            span,
            quantity,
        };
        let taken = self.pots.iter().filter(|pot| pot.taken != 0);
        let sum = taken.clone().map(|pot| pot.taken).sum();
        let own = Some(held(self.drawn, period, sum)).filter(|held| held.quantity != 0);
        let pots = taken.flat_map(move |pot| {
            let spans = [Some(Span::ALL), pot.since().map(|(span, _)| span)];
            let of = move |span| held(pot.account, span, pot.taken);
            spans.into_iter().flatten().map(of)
        });
        own.into_iter().chain(pots)
    }
}

/// Reduces draws by an unused amount: the last draw is returned first.
pub fn give_back(draws: &mut [i128], unused: i128) {
    let mut unused = unused.max(0);
    for draw in draws.iter_mut().rev() {
        let back = unused.min(*draw);
        (*draw, unused) = (*draw - back, unused - back);
    }
}

impl Ledger<'_> {
    /// Computes how much of a demand a budget has no room for, and how much its credits cover. Puts nothing in
    /// flight.
    pub(super) fn weigh(
        &mut self,
        demand: &Demand,
        cover: &mut CreditCoverage,
        now: Instant,
    ) -> Result<CoverageResult, Blocked> {
        let entry = self.known(&demand.account, &demand.span, now)?;
        let drawn = self.known(&cover.drawn, &demand.span, now)?;
        let room = (cover.limit.saturating_add(drawn.total())).saturating_sub(entry.total());
        let mut missing = (demand.quantity - room.max(0)).max(0);
        let mut taken = 0;
        for pot in &mut cover.pots {
            pot.taken = 0;
            // Entries that are not needed may be missing.
            if missing > 0 {
                let total =
                    |account: &Account, span: &Span| Ok(self.known(account, span, now)?.total());
                let take = pot.left(total)?.clamp(0, missing);
                pot.taken = take;
                (missing, taken) = (missing - take, taken + take);
            }
        }
        Ok(CoverageResult {
            entry,
            drawn,
            taken,
            missing,
        })
    }
}

#[cfg(test)]
mod tests;
