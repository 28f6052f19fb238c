//! Random interleavings of transactions that draw from credits, reservations, loads and evictions,
//! against a naive model.

#![allow(clippy::unwrap_used)]

use super::super::{Counted, EMPTY_BUCKET, GRID, Head, Load, Mark, PATIENCE, Recorded, State};
use super::*;
use crate::time::Length;
use proptest::prelude::*;
use std::collections::HashSet;

/// The second of two periods begins here.
const TURN: Instant = grid(2);
const FIRST: Span = Span {
    start: grid(0),
    end: TURN,
};
const SECOND: Span = Span {
    start: TURN,
    end: grid(4),
};

/// The start of a slot of the grid, by its number.
const fn grid(number: i64) -> Instant {
    Instant::from_unix_micros(number * GRID.micros())
}

fn account(counted: Counted, n: usize) -> Account {
    Account::new(1, counted, [n as u8; 16])
}

/// A budget of the account with the same number; the last is for all time and without an end.
#[derive(Clone, Debug)]
struct Budget {
    account: usize,
    limit: i128,
    credits: Vec<Credit>,
}

#[derive(Clone, Debug)]
struct Credit {
    id: usize,
    amount: i128,
    /// How much of it is carried into the second period.
    most: Option<i128>,
    /// The slots in which it can be drawn from.
    from: i64,
    until: i64,
}

impl Budget {
    fn period(&self, slot: Instant) -> Span {
        match self.account {
            0 if FIRST.has(slot) => FIRST,
            0 => SECOND,
            _ => Span::ALL,
        }
    }

    fn pots(&self, slot: Instant) -> Vec<CreditBalance> {
        let usable = |c: &&Credit| grid(c.from) <= slot && slot < grid(c.until);
        let pot = |c: &Credit| CreditBalance {
            account: account(Counted::Drawn, c.id),
            amount: c.amount,
            since: c.most.filter(|_| slot >= TURN).map(|most| (TURN, most)),
            taken: 7,
        };
        self.credits.iter().filter(usable).map(pot).collect()
    }
}

fn budgets() -> impl Strategy<Value = Vec<Budget>> {
    let credit = (
        0..9_i128,
        prop::option::of(0..6_i128),
        0..3_i64,
        prop_oneof![Just(9), 1..5_i64],
    );
    let budget = |account| {
        (0..8_i128, prop::collection::vec(credit.clone(), 0..3))
            .prop_map(move |(limit, credits)| (account, limit, credits))
    };
    // The first and the second are for the same account and period.
    (budget(0), budget(0), budget(1)).prop_map(|(a, b, c)| {
        let mut id = 0;
        let numbered = |(account, limit, credits): (usize, i128, Vec<_>)| {
            let credits = credits.into_iter().map(|(amount, most, from, until)| {
                id += 1;
                Credit {
                    id,
                    amount,
                    most,
                    from,
                    until,
                }
            });
            Budget {
                account,
                limit,
                credits: credits.collect(),
            }
        };
        [a, b, c].into_iter().map(numbered).collect()
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// Asks for some of both accounts, or has used it; as a reservation, or at once.
    Use {
        who: usize,
        at: [bool; 2],
        quantity: i128,
        slot: Instant,
        must: bool,
        reserve: bool,
    },
    /// Ends a reservation, having used some of it.
    Settle {
        who: usize,
        pick: usize,
        used: i128,
    },
    Savepoint {
        who: usize,
    },
    RollBack {
        who: usize,
    },
    Commit {
        who: usize,
    },
    Abort {
        who: usize,
    },
    Load {
        who: usize,
        pick: usize,
    },
    FailLoad {
        who: usize,
    },
    /// Loaders lose patience.
    Wait,
}

fn step(must: bool) -> impl Strategy<Value = Step> {
    let who = || 0..4_usize;
    let slot = || (0..4_i64).prop_map(grid);
    let musts = if must {
        Just(true).boxed()
    } else {
        prop::bool::weighted(0.7).boxed()
    };
    let at = prop_oneof![Just([true, false]), Just([false, true]), Just([true; 2])];
    prop_oneof![
        9 => (who(), at, 1..5_i128, slot(), musts, prop::bool::weighted(0.3)).prop_map(
            |(who, at, quantity, slot, must, reserve)| Step::Use { who, at, quantity, slot, must, reserve }),
        4 => (who(), 0..9_usize, 0..5_i128).prop_map(|(who, pick, used)| Step::Settle { who, pick, used }),
        2 => who().prop_map(|who| Step::Savepoint { who }),
        2 => who().prop_map(|who| Step::RollBack { who }),
        9 => who().prop_map(|who| Step::Commit { who }),
        1 => who().prop_map(|who| Step::Abort { who }),
        12 => (0..2_usize, 0..30_usize).prop_map(|(who, pick)| Step::Load { who, pick }),
        1 => (0..2_usize).prop_map(|who| Step::FailLoad { who }),
        2 => Just(Step::Wait),
    ]
}

/// What was reserved at an account, and what that drew from each of its budgets' credits.
#[derive(Clone)]
struct Reserved {
    account: usize,
    quantity: i128,
    slot: Instant,
    draws: Vec<(usize, Vec<(usize, i128)>)>,
}

#[derive(Default)]
struct Transaction {
    /// As its mark has it.
    id: u32,
    /// It is visible, and has not finished.
    visible: bool,
    depth: usize,
    held: Vec<(usize, Held)>,
    rows: Vec<(usize, Recorded)>,
    made: Vec<(usize, Reserved)>,
    ended: Vec<(usize, usize)>,
}

#[derive(Clone, Copy)]
enum Loader {
    Waiting(Account, Span),
    Begun(Account, Span, u64, i128, i128),
}

struct World {
    head: Head,
    buckets: Vec<u32>,
    entries: Vec<Entry>,
    marks: Vec<Mark>,
    budgets: Vec<Budget>,
    transactions: Vec<Transaction>,
    loaders: [Option<Loader>; 2],
    seen: Vec<Recorded>,
    seen_ids: HashSet<u32>,
    ids: u32,
    finished: Vec<Recorded>,
    /// Committed reservations, and whether a transaction is ending them; `None`: they have ended.
    open: Vec<Option<(Reserved, bool)>>,
    now: Instant,
}

fn sum(rows: &[Recorded], account: &Account, span: &Span) -> (i128, i128) {
    let of = rows
        .iter()
        .filter(|r| r.account == *account && span.has(r.slot));
    of.fold((0, 0), |(u, r), row| (u + row.used, r + row.reserved))
}

impl World {
    fn new(size: usize, budgets: Vec<Budget>) -> Self {
        Self {
            head: Head::new(),
            buckets: vec![EMPTY_BUCKET; 5],
            entries: vec![Entry::FREE; size],
            marks: (0..4).map(|_| Mark::new()).collect(),
            budgets,
            transactions: (0..4).map(|_| Transaction::default()).collect(),
            loaders: [None; 2],
            seen: Vec::new(),
            seen_ids: HashSet::new(),
            ids: 0,
            finished: Vec::new(),
            open: Vec::new(),
            now: Instant::EPOCH,
        }
    }

    fn ledger(&mut self) -> Ledger<'_> {
        Ledger::new(
            &mut self.head,
            &mut self.buckets,
            &mut self.entries,
            &self.marks,
        )
    }

    /// All entries that there can be.
    fn universe(&self) -> Vec<(Account, Span)> {
        let mut all = vec![
            (account(Counted::Metric(1), 0), FIRST),
            (account(Counted::Metric(1), 0), SECOND),
            (account(Counted::Metric(1), 1), Span::ALL),
        ];
        for (n, budget) in self.budgets.iter().enumerate() {
            all.push((account(Counted::Covered, n), budget.period(grid(0))));
            if budget.account == 0 {
                all.push((account(Counted::Covered, n), SECOND));
            }
            for credit in &budget.credits {
                all.push((account(Counted::Drawn, credit.id), Span::ALL));
                if credit.most.is_some() {
                    let since = Span {
                        start: TURN,
                        ..Span::ALL
                    };
                    all.push((account(Counted::Drawn, credit.id), since));
                }
            }
        }
        all
    }

    fn in_flight(&self, account: &Account, span: &Span) -> i128 {
        let held = self.transactions.iter().flat_map(|t| &t.held);
        let of = held.filter(|(_, held)| held.account == *account && held.span == *span);
        of.map(|(_, held)| held.quantity).sum()
    }

    /// All that counts, as the model knows it.
    fn total(&self, account: &Account, span: &Span) -> i128 {
        let (used, reserved) = sum(&self.finished, account, span);
        used + reserved + self.in_flight(account, span)
    }

    /// Returns whether a backend is in the middle of a call.
    fn is_loading(&self, who: usize) -> bool {
        self.loaders.get(who).is_some_and(Option::is_some)
    }

    /// Returns what a credit has left, by the model.
    fn left(&self, pot: &CreditBalance) -> i128 {
        let all = pot.amount - self.total(&pot.account, &Span::ALL);
        let since = pot
            .since()
            .map(|(span, most)| most - self.total(&pot.account, &span));
        since.map_or(all, |since| since.min(all))
    }

    /// Returns a budget's room without credits, by the model.
    fn room(&self, n: usize, slot: Instant) -> i128 {
        let budget = &self.budgets[n];
        let period = budget.period(slot);
        let used = self.total(&account(Counted::Metric(1), budget.account), &period);
        let drawn = self.total(&account(Counted::Covered, n), &period);
        (budget.limit + drawn - used).max(0)
    }

    fn asked(
        &self,
        at: [bool; 2],
        quantity: i128,
        slot: Instant,
        must: bool,
    ) -> (Vec<Demand>, Vec<(usize, CreditCoverage)>) {
        let (mut demands, mut covers) = (Vec::<Demand>::new(), Vec::new());
        for (n, budget) in self.budgets.iter().enumerate() {
            if !at[budget.account] {
                continue;
            }
            let (of, span) = (
                account(Counted::Metric(1), budget.account),
                budget.period(slot),
            );
            let known = demands.iter().position(|d| d.account == of);
            let demand = known.unwrap_or_else(|| {
                demands.push(Demand {
                    account: of,
                    span,
                    quantity,
                    limit: None,
                });
                demands.len() - 1
            });
            if budget.credits.is_empty() {
                let limit = demands[demand].limit.unwrap_or(i128::MAX).min(budget.limit);
                demands[demand].limit = must.then_some(limit);
                continue;
            }
            let cover = CreditCoverage {
                demand,
                limit: budget.limit,
                must,
                drawn: account(Counted::Covered, n),
                pots: budget.pots(slot),
            };
            covers.push((n, cover));
        }
        (demands, covers)
    }

    fn take(
        &mut self,
        who: usize,
        at: [bool; 2],
        quantity: i128,
        slot: Instant,
        must: bool,
        reserve: bool,
    ) -> Result<(), TestCaseError> {
        let (demands, covers) = self.asked(at, quantity, slot, must);
        let (mut fits, mut expected) = (true, Vec::new());
        for (n, budget) in self
            .budgets
            .iter()
            .enumerate()
            .filter(|(_, b)| at[b.account])
        {
            let mut need = (quantity - self.room(n, slot)).max(0);
            let mut taken = Vec::new();
            for pot in budget.pots(slot) {
                let take = self.left(&pot).max(0).min(need);
                need -= take;
                taken.push(take);
            }
            fits &= need == 0;
            expected.push(taken);
        }
        expected.retain(|taken| !taken.is_empty());
        let (of, mut covers): (Vec<usize>, Vec<CreditCoverage>) = covers.into_iter().unzip();
        self.now += Length::from_micros(1);
        let now = self.now;
        match self.ledger().admit(&demands, &mut covers, now) {
            Ok(()) => prop_assert!(fits || !must, "admitted what does not fit"),
            Err(Blocked::Missing(account, span)) => {
                // As a backend does.
                if let Some(loader) = self.loaders.get_mut(who) {
                    *loader = Some(Loader::Waiting(account, span));
                }
                return Ok(());
            }
            Err(Blocked::Loading(..)) => return Ok(()),
            Err(Blocked::Over(..) | Blocked::Short(..)) => {
                prop_assert!(!fits && must, "refused what fits");
                return Ok(());
            }
        }
        let taken: Vec<Vec<i128>> = covers
            .iter()
            .map(|c| c.pots.iter().map(|p| p.taken).collect())
            .filter(|t: &Vec<i128>| !t.is_empty())
            .collect();
        prop_assert_eq!(taken, expected, "not in order");
        let depth = self.transactions[who].depth;
        for demand in &demands {
            let held = Held {
                account: demand.account,
                span: demand.span,
                quantity,
            };
            self.transactions[who].held.push((depth, held));
        }
        for cover in &covers {
            let held = cover.held(demands[cover.demand].span);
            self.transactions[who]
                .held
                .extend(held.map(|held| (depth, held)));
        }
        for n in (0..2).filter(|n| at[*n]) {
            let draws = of
                .iter()
                .zip(&covers)
                .filter(|(b, _)| self.budgets[**b].account == n);
            let draws = draws.map(|(b, cover)| {
                let pots = self.budgets[*b].credits.iter();
                let id = |pot: &CreditBalance| {
                    pots.clone()
                        .find(|c| account(Counted::Drawn, c.id) == pot.account)
                        .map_or(0, |c| c.id)
                };
                (
                    *b,
                    cover.pots.iter().map(|pot| (id(pot), pot.taken)).collect(),
                )
            });
            let reserved = Reserved {
                account: n,
                quantity,
                slot,
                draws: draws.collect(),
            };
            self.note(who, &reserved, |q| if reserve { (0, q) } else { (q, 0) });
            if reserve {
                self.transactions[who].made.push((depth, reserved));
            }
        }
        Ok(())
    }

    fn note(&mut self, who: usize, what: &Reserved, part: impl Fn(i128) -> (i128, i128)) {
        let mut all = vec![(account(Counted::Metric(1), what.account), what.quantity)];
        for (budget, draws) in &what.draws {
            all.push((
                account(Counted::Covered, *budget),
                draws.iter().map(|(_, q)| q).sum(),
            ));
            all.extend(
                draws
                    .iter()
                    .map(|(id, q)| (account(Counted::Drawn, *id), *q)),
            );
        }
        if self.transactions[who].id == 0 {
            self.ids += 1;
            self.transactions[who].id = self.ids;
            self.marks[who].set(self.ids);
        }
        let depth = self.transactions[who].depth;
        for (account, quantity) in all {
            let (used, reserved) = part(quantity);
            let row = Recorded {
                account,
                slot: what.slot,
                used,
                reserved,
            };
            self.transactions[who].rows.push((depth, row));
        }
    }

    fn settle_one(&mut self, who: usize, pick: usize, used: i128) {
        let free = |o: &Option<(Reserved, bool)>| o.as_ref().is_some_and(|(_, busy)| !busy);
        let free: Vec<usize> = (0..self.open.len())
            .filter(|n| free(&self.open[*n]))
            .collect();
        let Some(&n) = free.get(pick % free.len().max(1)) else {
            return;
        };
        let Some((was, busy)) = &mut self.open[n] else {
            return;
        };
        *busy = true;
        let was = was.clone();
        self.note(who, &was, |q| (0, -q));
        let mut is = was;
        let unused = is.quantity - used.min(is.quantity);
        is.quantity -= unused;
        for (_, draws) in &mut is.draws {
            let mut kept: Vec<i128> = draws.iter().map(|(_, q)| *q).collect();
            give_back(&mut kept, unused);
            for ((_, q), kept) in draws.iter_mut().zip(kept) {
                *q = kept;
            }
        }
        self.note(who, &is, |q| (q, 0));
        let depth = self.transactions[who].depth;
        self.transactions[who].ended.push((depth, n));
    }

    fn unlock(&mut self, ended: &[usize]) {
        for n in ended {
            if let Some((_, busy)) = &mut self.open[*n] {
                *busy = false;
            }
        }
    }

    fn finish(&mut self, who: usize, committed: bool) {
        let gone = std::mem::take(&mut self.transactions[who]);
        let held: Vec<Held> = gone.held.iter().map(|(_, held)| *held).collect();
        let rows: Vec<Recorded> = gone.rows.iter().map(|(_, r)| *r).collect();
        self.ledger().finish(committed, who, 0, &held, &rows);
        let ended: Vec<usize> = gone.ended.iter().map(|(_, n)| *n).collect();
        if committed {
            self.finished.extend(rows);
            for n in ended {
                self.open[n] = None;
            }
            self.open
                .extend(gone.made.into_iter().map(|(_, made)| Some((made, false))));
        } else {
            self.unlock(&ended);
        }
    }

    fn commit(&mut self, who: usize) {
        if self.is_loading(who) {
            return;
        }
        let transaction = &mut self.transactions[who];
        if transaction.visible {
            return self.finish(who, true);
        }
        transaction.visible = true;
        (self.seen).extend(transaction.rows.iter().map(|(_, r)| *r));
        self.seen_ids.insert(transaction.id);
    }

    fn load(&mut self, who: usize, account: Account, span: Span) {
        match self.loaders[who] {
            None if self.transactions[who].visible => {}
            None => self.loaders[who] = Some(Loader::Waiting(account, span)),
            Some(Loader::Waiting(account, span)) => {
                self.now += Length::from_micros(1);
                let (now, own) = (self.now, self.transactions[who].id);
                let seen = self.seen_ids.clone();
                // No snapshot counts its own transaction among those that run.
                let sees = move |id| seen.contains(&id) || id == own;
                let begun = self.ledger().begin_load(&account, &span, now, who, || sees);
                self.loaders[who] = match begun {
                    Load::Begun(number) => {
                        let (used, reserved) = sum(&self.seen, &account, &span);
                        Some(Loader::Begun(account, span, number, used, reserved))
                    }
                    Load::Busy => Some(Loader::Waiting(account, span)),
                    Load::There | Load::Full => None,
                };
            }
            Some(Loader::Begun(account, span, number, used, reserved)) => {
                let mut ledger = self.ledger();
                if ledger.end_load(&account, &span, number, used, reserved) {
                    self.loaders[who] = None;
                }
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let open =
            |world: &Self, who: usize| !world.transactions[who].visible && !world.is_loading(who);
        match *step {
            Step::Use {
                who,
                at,
                quantity,
                slot,
                must,
                reserve,
            } if open(self, who) => self.take(who, at, quantity, slot, must, reserve)?,
            Step::Settle { who, pick, used } if open(self, who) => self.settle_one(who, pick, used),
            Step::Savepoint { who } if open(self, who) => self.transactions[who].depth += 1,
            Step::RollBack { who } if open(self, who) && self.transactions[who].depth > 0 => {
                let transaction = &mut self.transactions[who];
                let depth = transaction.depth;
                let gone = |d: usize| d >= depth;
                let held: Vec<Held> = (transaction.held.iter().filter(|(d, _)| gone(*d)))
                    .map(|(_, held)| *held)
                    .collect();
                let ended: Vec<usize> = (transaction.ended.iter().filter(|(d, _)| gone(*d)))
                    .map(|(_, n)| *n)
                    .collect();
                transaction.held.retain(|(d, _)| !gone(*d));
                transaction.rows.retain(|(d, _)| !gone(*d));
                transaction.made.retain(|(d, _)| !gone(*d));
                transaction.ended.retain(|(d, _)| !gone(*d));
                transaction.depth -= 1;
                self.unlock(&ended);
                self.ledger().give_back(&held);
            }
            Step::Commit { who } => self.commit(who),
            Step::Abort { who } if open(self, who) => self.finish(who, false),
            Step::Wait => self.now += PATIENCE,
            Step::Load { who, pick } => {
                let all = self.universe();
                let (account, span) = all[pick % all.len()];
                self.load(who, account, span);
            }
            Step::FailLoad { who } => match self.loaders[who].take() {
                None | Some(Loader::Waiting(..)) => {}
                Some(Loader::Begun(account, span, number, ..)) => {
                    self.ledger().drop_load(&account, &span, number);
                }
            },
            _ => {}
        }
        self.check()
    }

    /// Every loaded entry is the truth, and no credit is overdrawn, at every moment.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for (account, span) in self.universe() {
            if let Some(entry) = self.ledger().look(&account, &span) {
                prop_assert_eq!(entry.in_flight, self.in_flight(&account, &span));
                if entry.state == State::Loaded {
                    let truth = sum(&self.finished, &account, &span);
                    prop_assert_eq!((entry.used, entry.reserved), truth);
                }
            } else {
                prop_assert_eq!(self.in_flight(&account, &span), 0);
            }
        }
        for pot in self
            .budgets
            .iter()
            .flat_map(|b| b.pots(grid(0)).into_iter().chain(b.pots(TURN)))
        {
            prop_assert!(self.left(&pot) >= 0, "overdrawn");
        }
        Ok(())
    }

    /// All transactions end.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..4 {
            for who in 0..2 {
                if self.loaders[who].is_some() {
                    self.load(who, account(Counted::Metric(1), 0), FIRST);
                }
            }
            for who in 0..self.transactions.len() {
                self.commit(who);
                self.check()?;
            }
        }
        for who in 0..self.transactions.len() {
            if self.transactions[who].visible {
                self.commit(who);
            }
            self.finish(who, false);
        }
        prop_assert!(self.loaders.iter().all(Option::is_none));
        self.check()
    }

    /// Consumes units until none is left, and returns them: returns their number.
    fn drain(&mut self, at: [bool; 2], slot: Instant) -> i128 {
        let (demands, covers) = self.asked(at, 1, slot, true);
        let mut covers: Vec<CreditCoverage> = covers.into_iter().map(|(_, cover)| cover).collect();
        let (mut taken, mut held) = (0, Vec::new());
        loop {
            match self.ledger().admit(&demands, &mut covers, grid(0)) {
                Ok(()) => {
                    taken += 1;
                    for d in &demands {
                        let (account, span, quantity) = (d.account, d.span, 1);
                        held.push(Held {
                            account,
                            span,
                            quantity,
                        });
                    }
                    for cover in &covers {
                        held.extend(cover.held(demands[cover.demand].span));
                    }
                }
                Err(Blocked::Missing(account, span)) => {
                    for _ in 0..3 {
                        self.load(0, account, span);
                    }
                }
                Err(_) => break,
            }
        }
        self.ledger().give_back(&held);
        taken
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 500 }))]

    #[test]
    fn drawn_in_order_and_to_the_last_unit(budgets in budgets(), size in 12..24_usize, steps in prop::collection::vec(step(false), 1..150)) {
        let mut world = World::new(size, budgets);
        for step in &steps {
            world.step(step)?;
        }
        world.settle()?;
        for (at, slot) in [([true, false], grid(0)), ([true, false], TURN), ([false, true], grid(0)), ([false, true], TURN)] {
            let has = |n: usize| {
                let pots = world.budgets[n].pots(slot);
                world.room(n, slot) + pots.iter().map(|pot| world.left(pot)).sum::<i128>()
            };
            let all = (0..world.budgets.len()).filter(|n| at[world.budgets[*n].account]);
            let least = all.map(has).min();
            prop_assert_eq!(Some(world.drain(at, slot)), least);
        }
        world.check()?;
    }

    #[test]
    fn what_credits_do_not_cover_never_exceeds_the_budget(budgets in budgets(), size in 8..24_usize, steps in prop::collection::vec(step(true), 1..200)) {
        let mut world = World::new(size, budgets);
        for step in &steps {
            world.step(step)?;
            for (n, budget) in world.budgets.iter().enumerate() {
                for slot in [grid(0), TURN] {
                    let period = budget.period(slot);
                    let used = world.total(&account(Counted::Metric(1), budget.account), &period);
                    let drawn = world.total(&account(Counted::Covered, n), &period);
                    prop_assert!(used - drawn <= budget.limit, "{used} - {drawn} > {}", budget.limit);
                }
            }
        }
    }
}

#[test]
fn a_shortage_reports_what_was_left() {
    let credit = |id, amount| Credit {
        id,
        amount,
        most: None,
        from: 0,
        until: 9,
    };
    let mut budgets = vec![Budget {
        account: 1,
        limit: 10,
        credits: vec![credit(1, 3), credit(2, 4)],
    }];
    let mut world = World::new(8, budgets.clone());
    assert_eq!(world.drain([false, true], grid(0)), 17);
    let (demands, covers) = world.asked([false, true], 18, grid(0), true);
    let mut covers = vec![covers[0].1.clone()];
    let blocked = world.ledger().admit(&demands, &mut covers, grid(0));
    assert!(matches!(
        blocked,
        Err(Blocked::Short(
            0,
            CoverageResult {
                taken: 7,
                missing: 1,
                ..
            }
        ))
    ));
    // A credit that became smaller than what was drawn from it has nothing, and owes nothing.
    let row = Recorded {
        account: account(Counted::Drawn, 1),
        slot: grid(0),
        used: 3,
        reserved: 0,
    };
    world.ledger().finish(true, 0, 0, &[], &[row]);
    budgets[0].credits[0].amount = 1;
    world.budgets = budgets;
    assert_eq!(world.drain([false, true], grid(0)), 14);
}

#[test]
fn the_last_draw_is_returned_first() {
    for (unused, expected) in [
        (0, [5, 3, 2]),
        (1, [5, 3, 1]),
        (4, [5, 1, 0]),
        (99, [0; 3]),
        (-1, [5, 3, 2]),
    ] {
        let mut draws = [5, 3, 2];
        give_back(&mut draws, unused);
        assert_eq!(draws, expected);
    }
}
