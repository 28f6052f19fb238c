//! Credits on top of a budget: what the budget has no room for is drawn from them, in their order.
//!
//! They are counted in the same table. What credits covered in a period is an entry of the budget's own,
//! with that period; it is room that the budget has on top of its limit. What was drawn from a credit in
//! all is an entry of the credit's, whatever the periods. A credit of which no more than some goes on
//! into the periods after its first has a second entry, for what was drawn since then. So all that may
//! not be exceeded is a limit of some entry, and nothing is ever computed anew when a period ends.

use super::{Account, Blocked, Demand, Entry, Held, Ledger, Span};

/// A budget with credits. The entry of its use is a demand's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditCoverage {
    /// Which demand.
    pub demand: usize,
    /// What may be used without credits.
    pub limit: i64,
    /// Whether what they do not cover is refused.
    pub must: bool,
    /// What credits covered: with the demand's period.
    pub drawn: Account,
    /// What there is to draw from, in this order.
    pub pots: Vec<CreditBalance>,
}

/// A credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditBalance {
    /// What was drawn from it.
    pub account: Account,
    /// How much it is.
    pub amount: i64,
    /// Since when, and how much of it, may still be drawn.
    pub since: Option<(i64, i64)>,
    /// How much of it is taken, if it is admitted.
    pub taken: i64,
}

/// What a cover is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoverageResult {
    /// The entry of use.
    pub entry: Entry,
    /// What credits covered.
    pub drawn: Entry,
    /// What is to be taken from them; all that they have, if something is missing.
    pub taken: i128,
    /// What they do not cover.
    pub missing: i128,
}

impl CreditBalance {
    fn since(&self) -> Option<(Span, i64)> {
        let span = |start| Span { start, ..Span::ALL };
        self.since.map(|(start, most)| (span(start), most))
    }

    /// What it has left, by what the entries come to that are asked for; less than nothing where it was
    /// made smaller.
    pub fn left<E>(
        &self,
        mut total: impl FnMut(&Account, &Span) -> Result<i128, E>,
    ) -> Result<i128, E> {
        let left = i128::from(self.amount) - total(&self.account, &Span::ALL)?;
        match self.since() {
            None => Ok(left),
            Some((span, most)) => Ok(left.min(i128::from(most) - total(&self.account, &span)?)),
        }
    }
}

impl CreditCoverage {
    /// What is in flight once it is admitted, in the demand's period.
    pub fn held(&self, period: Span) -> impl Iterator<Item = Held> {
        let held = |account, span, quantity| Held {
            account,
            span,
            quantity,
        };
        let taken = self.pots.iter().filter(|pot| pot.taken != 0);
        let sum = taken.clone().map(|pot| i128::from(pot.taken)).sum();
        let own = Some(held(self.drawn, period, sum)).filter(|held| held.quantity != 0);
        let pots = taken.flat_map(move |pot| {
            let spans = [Some(Span::ALL), pot.since().map(|(span, _)| span)];
            let of = move |span| held(pot.account, span, pot.taken.into());
            spans.into_iter().flatten().map(of)
        });
        own.into_iter().chain(pots)
    }
}

/// What stays drawn when so much was not used: what was drawn last goes back first.
pub fn give_back(draws: &mut [i64], unused: i64) {
    let mut unused = unused.max(0);
    for draw in draws.iter_mut().rev() {
        let back = unused.min(*draw);
        (*draw, unused) = (*draw - back, unused - back);
    }
}

impl Ledger<'_> {
    /// How much of a demand a budget has no room for, and what of its credits that takes. Nothing is in
    /// flight by this.
    pub(super) fn weigh(
        &mut self,
        demand: &Demand,
        cover: &mut CreditCoverage,
        now: i64,
    ) -> Result<CoverageResult, Blocked> {
        let entry = self.known(&demand.account, &demand.span, now)?;
        let drawn = self.known(&cover.drawn, &demand.span, now)?;
        let room = i128::from(cover.limit) + drawn.total() - entry.total();
        let mut missing = (i128::from(demand.quantity) - room.max(0)).max(0);
        let mut taken = 0;
        for pot in &mut cover.pots {
            pot.taken = 0;
            // Those that are not needed need not be there.
            if missing > 0 {
                let total =
                    |account: &Account, span: &Span| Ok(self.known(account, span, now)?.total());
                let take = pot.left(total)?.clamp(0, missing);
                pot.taken = i64::try_from(take).unwrap_or(0);
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
