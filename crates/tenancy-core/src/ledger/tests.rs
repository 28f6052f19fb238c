//! Random interleavings of transactions, loads and evictions against a naive model.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

const ACCOUNTS: usize = 4;
const SPANS: [Span; 2] = [
    Span {
        start: Instant::EPOCH,
        end: grid(2),
    },
    Span::ALL,
];

/// The start of a slot of the grid, by its number.
const fn grid(number: i64) -> Instant {
    Instant::from_unix_micros(number * GRID.micros())
}

fn micros(micros: i64) -> Instant {
    Instant::from_unix_micros(micros)
}

fn account(n: usize) -> Account {
    Account::new(1, Counted::Metric(1), [n as u8; 16])
}

/// One step of the scheduler: a transaction or a loader continues as far as it can.
#[derive(Clone, Debug)]
enum Step {
    /// Checks and records at some accounts.
    Consume {
        who: usize,
        at: Vec<usize>,
        quantity: i128,
        slot: Instant,
    },
    /// Records without asking.
    Record {
        who: usize,
        at: usize,
        quantity: i128,
        slot: Instant,
    },
    Savepoint {
        who: usize,
    },
    RollBack {
        who: usize,
    },
    /// Commits in two steps: visible to others, finished.
    Commit {
        who: usize,
    },
    Abort {
        who: usize,
    },
    Load {
        who: usize,
        at: usize,
        span: usize,
    },
    FailLoad {
        who: usize,
    },
    /// Loaders lose patience.
    Wait,
    Limit {
        at: usize,
        span: usize,
        limit: Option<i128>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..5_usize;
    let slot = || (0..4_i64).prop_map(grid);
    prop_oneof![
        6 => (who(), prop::collection::btree_set(0..ACCOUNTS, 1..=ACCOUNTS), 0..4_i128, slot())
            .prop_map(|(who, at, quantity, slot)| Step::Consume { who, at: at.into_iter().collect(), quantity, slot }),
        2 => (who(), 0..ACCOUNTS, 0..4_i128, slot())
            .prop_map(|(who, at, quantity, slot)| Step::Record { who, at, quantity, slot }),
        2 => who().prop_map(|who| Step::Savepoint { who }),
        2 => who().prop_map(|who| Step::RollBack { who }),
        9 => who().prop_map(|who| Step::Commit { who }),
        1 => who().prop_map(|who| Step::Abort { who }),
        9 => (0..2_usize, prop_oneof![Just(0), 0..ACCOUNTS], 0..2_usize)
            .prop_map(|(who, at, span)| Step::Load { who, at, span }),
        1 => (0..2_usize).prop_map(|who| Step::FailLoad { who }),
        2 => Just(Step::Wait),
        1 => (0..ACCOUNTS, 0..2_usize, prop::option::of(0..20_i128))
            .prop_map(|(at, span, limit)| Step::Limit { at, span, limit }),
    ]
}

/// One of a backend's, which may be loading as well: 0 and 1 do.
#[derive(Default)]
struct Transaction {
    /// As its mark has it.
    id: u32,
    /// It is visible, and has not finished.
    visible: bool,
    depth: usize,
    held: Vec<(usize, Held)>,
    recorded: Vec<(usize, Recorded)>,
}

#[derive(Clone, Copy)]
enum Loader {
    Waiting(usize, usize),
    /// The entry was created, with this sum of the snapshot.
    Begun(usize, usize, u64, i128),
}

struct World {
    head: Head,
    buckets: Vec<u32>,
    entries: Vec<Entry>,
    marks: Vec<Mark>,
    transactions: Vec<Transaction>,
    loaders: [Option<Loader>; 2],
    /// What snapshots see, and of which transactions.
    seen: Vec<Recorded>,
    seen_ids: HashSet<u32>,
    ids: u32,
    /// With the finished ones.
    finished: Vec<Recorded>,
    limits: [[Option<i128>; 2]; ACCOUNTS],
    now: Instant,
}

fn sum(rows: &[Recorded], account: &Account, span: &Span) -> i128 {
    let of = rows
        .iter()
        .filter(|r| r.account == *account && span.has(r.slot));
    of.map(|r| r.used).sum()
}

impl World {
    fn new(size: usize) -> Self {
        Self {
            head: Head::new(),
            buckets: vec![EMPTY_BUCKET; 3],
            entries: vec![Entry::FREE; size],
            marks: (0..5).map(|_| Mark::new()).collect(),
            transactions: (0..5).map(|_| Transaction::default()).collect(),
            loaders: [None; 2],
            seen: Vec::new(),
            seen_ids: HashSet::new(),
            ids: 0,
            finished: Vec::new(),
            limits: [[None; 2]; ACCOUNTS],
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

    /// Returns the amounts in flight, by transactions.
    fn in_flight(&self, account: &Account, span: &Span) -> i128 {
        let held = self.transactions.iter().flat_map(|t| &t.held);
        let of = held.filter(|(_, held)| held.account == *account && held.span == *span);
        of.map(|(_, held)| held.quantity).sum()
    }

    fn record(&mut self, who: usize, at: usize, quantity: i128, slot: Instant) {
        if self.transactions[who].id == 0 {
            self.ids += 1;
            self.transactions[who].id = self.ids;
            self.marks[who].set(self.ids);
        }
        let depth = self.transactions[who].depth;
        self.transactions[who].recorded.push((
            depth,
            Recorded {
                account: account(at),
                slot,
                used: quantity,
                reserved: 0,
            },
        ));
    }

    fn consume(
        &mut self,
        who: usize,
        at: &[usize],
        quantity: i128,
        slot: Instant,
    ) -> Result<(), TestCaseError> {
        let mut demands = Vec::new();
        for &n in at {
            for (s, span) in SPANS.iter().enumerate() {
                if let Some(limit) = self.limits[n][s].filter(|_| span.has(slot)) {
                    demands.push(Demand {
                        account: account(n),
                        span: *span,
                        quantity,
                        limit: Some(limit),
                    });
                }
            }
        }
        let fits = demands.iter().all(|d| {
            sum(&self.finished, &d.account, &d.span)
                + self.in_flight(&d.account, &d.span)
                + quantity
                <= d.limit.unwrap_or(i128::MAX)
        });
        self.now += Length::from_micros(1);
        let now = self.now;
        match self.ledger().admit(&demands, &mut [], now) {
            Ok(()) => {
                prop_assert!(fits, "admitted what does not fit");
                let depth = self.transactions[who].depth;
                for d in demands {
                    let held = Held {
                        account: d.account,
                        span: d.span,
                        quantity,
                    };
                    self.transactions[who].held.push((depth, held));
                }
                for &n in at {
                    self.record(who, n, quantity, slot);
                }
            }
            Err(Blocked::Over(..)) => prop_assert!(!fits, "refused what fits"),
            Err(Blocked::Missing(..) | Blocked::Loading(..)) => {}
            Err(blocked) => prop_assert!(false, "{blocked:?}"),
        }
        Ok(())
    }

    fn finish(&mut self, who: usize, committed: bool) {
        let gone = std::mem::take(&mut self.transactions[who]);
        let held: Vec<Held> = gone.held.iter().map(|(_, held)| *held).collect();
        let recorded: Vec<Recorded> = gone.recorded.iter().map(|(_, r)| *r).collect();
        self.ledger().finish(committed, who, 0, &held, &recorded);
        if committed {
            self.finished.extend(recorded);
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
        (self.seen).extend(transaction.recorded.iter().map(|(_, r)| *r));
        self.seen_ids.insert(transaction.id);
    }

    /// Returns whether a backend is in the middle of a call.
    fn is_loading(&self, who: usize) -> bool {
        self.loaders.get(who).is_some_and(Option::is_some)
    }

    fn load(&mut self, who: usize, at: usize, span: usize) {
        match self.loaders[who] {
            None if self.transactions[who].visible => {}
            None => self.loaders[who] = Some(Loader::Waiting(at, span)),
            Some(Loader::Waiting(at, span)) => {
                self.now += Length::from_micros(1);
                let (now, own) = (self.now, self.transactions[who].id);
                let seen = self.seen_ids.clone();
                // No snapshot counts its own transaction among those that run.
                let sees = move |id| seen.contains(&id) || id == own;
                let mut ledger = self.ledger();
                let begun = ledger.begin_load(&account(at), &SPANS[span], now, who, || sees);
                self.loaders[who] = match begun {
                    Load::Begun(number) => {
                        let snapshot = sum(&self.seen, &account(at), &SPANS[span]);
                        Some(Loader::Begun(at, span, number, snapshot))
                    }
                    Load::Busy => Some(Loader::Waiting(at, span)),
                    Load::There | Load::Full => None,
                };
            }
            Some(Loader::Begun(at, span, number, snapshot)) => {
                let mut ledger = self.ledger();
                if ledger.end_load(&account(at), &SPANS[span], number, snapshot, 0) {
                    self.loaders[who] = None;
                }
            }
        }
    }

    fn fail_load(&mut self, who: usize) {
        match self.loaders[who].take() {
            None | Some(Loader::Waiting(..)) => {}
            Some(Loader::Begun(at, span, number, _)) => {
                self.ledger().drop_load(&account(at), &SPANS[span], number);
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let open =
            |world: &Self, who: usize| !world.transactions[who].visible && !world.is_loading(who);
        match step {
            Step::Consume {
                who,
                at,
                quantity,
                slot,
            } if open(self, *who) => {
                self.consume(*who, at, *quantity, *slot)?;
            }
            Step::Record {
                who,
                at,
                quantity,
                slot,
            } if open(self, *who) => {
                self.record(*who, *at, *quantity, *slot);
            }
            Step::Savepoint { who } if open(self, *who) => self.transactions[*who].depth += 1,
            Step::RollBack { who } if open(self, *who) && self.transactions[*who].depth > 0 => {
                let transaction = &mut self.transactions[*who];
                let depth = transaction.depth;
                let gone: Vec<Held> = (transaction.held.iter().filter(|(d, _)| *d >= depth))
                    .map(|(_, held)| *held)
                    .collect();
                transaction.held.retain(|(d, _)| *d < depth);
                transaction.recorded.retain(|(d, _)| *d < depth);
                transaction.depth -= 1;
                self.ledger().give_back(&gone);
            }
            Step::Commit { who } => self.commit(*who),
            Step::Abort { who } if open(self, *who) => self.finish(*who, false),
            Step::Load { who, at, span } => self.load(*who, *at, *span),
            Step::FailLoad { who } => self.fail_load(*who),
            Step::Wait => self.now += PATIENCE,
            Step::Limit { at, span, limit } => self.limits[*at][*span] = *limit,
            _ => {}
        }
        self.check()
    }

    /// Every loaded entry is the truth, at every moment.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for at in 0..ACCOUNTS {
            for span in &SPANS {
                let Some(entry) = self.ledger().look(&account(at), span) else {
                    prop_assert_eq!(self.in_flight(&account(at), span), 0);
                    continue;
                };
                prop_assert_eq!(entry.in_flight, self.in_flight(&account(at), span));
                if entry.state == State::Loaded {
                    prop_assert_eq!(entry.used, sum(&self.finished, &account(at), span));
                }
            }
        }
        Ok(())
    }

    /// All transactions end.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..4 {
            for who in 0..2 {
                if self.loaders[who].is_some() {
                    self.load(who, 0, 0);
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
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 500 }))]

    #[test]
    fn exact_in_every_interleaving(size in 1..8_usize, steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new(size);
        for step in &steps {
            world.step(step)?;
        }
        world.settle()?;
        for (at, limits) in world.limits.into_iter().enumerate() {
            for (n, span) in SPANS.iter().enumerate() {
                // From here on the rest is consumed unit by unit, and not one more.
                let Some(limit) = limits[n] else { continue };
                while world.loaders[0].is_some() || world.ledger().look(&account(at), span).is_none() {
                    world.load(0, at, n);
                }
                let left = limit - sum(&world.finished, &account(at), span);
                let demand = [Demand { account: account(at), span: *span, quantity: 1, limit: Some(limit) }];
                let mut taken = 0;
                while world.ledger().admit(&demand, &mut [], Instant::EPOCH).is_ok() {
                    taken += 1;
                }
                prop_assert_eq!(taken, left.max(0));
                let held = Held { account: account(at), span: *span, quantity: 1 };
                world.ledger().give_back(&vec![held; taken as usize]);
            }
        }
    }

    #[test]
    fn a_hard_budget_is_never_exceeded(limit in 0..12_i128, size in 2..6_usize, steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new(size);
        world.limits = [[Some(limit); 2]; ACCOUNTS];
        for step in &steps {
            match step {
                Step::Limit { .. } | Step::Record { .. } => {}
                step => world.step(step)?,
            }
            for at in 0..ACCOUNTS {
                for span in &SPANS {
                    prop_assert!(sum(&world.seen, &account(at), span) <= limit);
                }
            }
        }
    }
}

/// Begins a load at a moment; its snapshot sees transactions up to 9.
fn begin(world: &mut World, at: usize, now: i64) -> Load {
    let mut ledger = world.ledger();
    ledger.begin_load(&account(at), &SPANS[1], micros(now), 4, || |id| id <= 9)
}

fn used(quantity: i128) -> Recorded {
    Recorded {
        account: account(0),
        slot: grid(0),
        used: quantity,
        reserved: 0,
    }
}

fn end(world: &mut World, number: u64) -> bool {
    world
        .ledger()
        .end_load(&account(0), &SPANS[1], number, 100, 0)
}

/// What account 0 has in which entries, by their loads.
fn entries(world: &World) -> Vec<(u64, State, i128)> {
    let there = world.entries.iter().filter(|e| e.account == account(0));
    there.map(|e| (e.load, e.state, e.used)).collect()
}

#[test]
fn a_commit_counts_once_whether_the_snapshot_sees_it_or_not() {
    for (id, seen) in [(7, true), (12, false)] {
        let mut world = World::new(4);
        world.marks[0].set(id);
        let mut ledger = world.ledger();
        // Two entries: the first load was before the commit, the second after it, perhaps.
        let first = ledger.begin_load(&account(0), &SPANS[0], micros(1), 4, || |_| false);
        assert_eq!(first, Load::Begun(1));
        assert_eq!(begin(&mut world, 0, 1), Load::Begun(2));
        let mut ledger = world.ledger();
        assert!(ledger.end_load(&account(0), &SPANS[0], 1, 100, 0));
        // Between being visible and being finished any time may go by: it is waited for.
        assert_eq!(end(&mut world, 2), !seen);
        assert_eq!(world.ledger().finish(true, 0, 0, &[], &[used(5)]), seen);
        assert!(end(&mut world, 2));
        let expected = [
            (1, State::Loaded, 105),
            (2, State::Loaded, if seen { 100 } else { 105 }),
        ];
        assert_eq!(entries(&world), expected);
    }
}

#[test]
fn a_loader_waits_only_for_transactions_that_it_sees() {
    let mut world = World::new(4);
    for (n, mark) in world.marks.iter().enumerate() {
        mark.set(10 + n as u32);
    }
    // Its own, which is running.
    world.marks[4].set(7);
    assert_eq!(begin(&mut world, 0, 1), Load::Begun(1));
    assert!(end(&mut world, 1));
    assert!(!world.ledger().finish(true, 4, 0, &[], &[used(5)]));
    assert_eq!(entries(&world), [(1, State::Loaded, 105)]);
}

#[test]
fn the_next_transaction_of_a_backend_was_not_seen() {
    let mut world = World::new(4);
    world.marks[0].set(7);
    begin(&mut world, 0, 1);
    world.ledger().finish(true, 0, 0, &[], &[used(5)]);
    world.marks[0].set(12);
    world.ledger().finish(true, 0, 0, &[], &[used(3)]);
    assert!(end(&mut world, 1));
    assert_eq!(entries(&world), [(1, State::Loaded, 103)]);
}

#[test]
fn a_loader_delays_others_only_briefly() {
    let mut world = World::new(4);
    let late = PATIENCE.micros();
    assert_eq!(begin(&mut world, 0, 1), Load::Begun(1));
    assert_eq!(begin(&mut world, 0, late), Load::Busy);
    assert_eq!(begin(&mut world, 1, 2), Load::Begun(2));
    // Also when the clock is put back.
    assert_eq!(begin(&mut world, 0, -late), Load::Begun(3));
    assert_eq!(begin(&mut world, 0, 1 - late), Load::Busy);
    world.marks[0].set(12);
    world.ledger().finish(true, 0, 0, &[], &[used(5)]);
    // The first load to end keeps its entry. Another's entry is dropped when that load ends or fails.
    assert!(end(&mut world, 3));
    assert_eq!(begin(&mut world, 0, 3 * late), Load::There);
    assert!(end(&mut world, 1));
    assert_eq!(entries(&world), [(3, State::Loaded, 105)]);
    world.ledger().forget(1);
    assert_eq!(begin(&mut world, 0, 1), Load::Begun(4));
    assert_eq!(begin(&mut world, 0, 1 + late), Load::Begun(5));
    assert!(end(&mut world, 4));
    let there = world.ledger().look(&account(0), &SPANS[1]);
    assert_eq!(
        there.map(|e| (e.load, e.state)),
        Some((4, State::Loaded)),
        "the one that counts"
    );
    world.ledger().drop_load(&account(0), &SPANS[1], 5);
    assert_eq!(entries(&world), [(4, State::Loaded, 100)]);
}

#[test]
fn all_levels_or_none() {
    let mut world = World::new(8);
    world.limits[0][1] = Some(10);
    world.limits[1][1] = Some(3);
    for at in [0, 1] {
        for _ in 0..3 {
            world.load(0, at, 1);
        }
    }
    let demand = |at, quantity, limit| Demand {
        account: account(at),
        span: SPANS[1],
        quantity,
        limit: Some(limit),
    };
    let both = [demand(0, 4, 10), demand(1, 4, 3)];
    assert!(
        matches!(world.ledger().admit(&both, &mut [], micros(1)), Err(Blocked::Over(1, entry)) if entry.total() == 0)
    );
    assert_eq!(
        world
            .ledger()
            .look(&account(0), &SPANS[1])
            .map(|e| e.in_flight),
        Some(0)
    );
    assert_eq!(
        world
            .ledger()
            .admit(&[demand(0, 3, 10), demand(1, 3, 3)], &mut [], micros(1)),
        Ok(())
    );
}

#[test]
fn what_is_in_flight_is_not_evicted() {
    let mut world = World::new(1);
    for _ in 0..3 {
        world.load(0, 0, 1);
    }
    let demand = Demand {
        account: account(0),
        span: SPANS[1],
        quantity: 1,
        limit: None,
    };
    assert_eq!(world.ledger().admit(&[demand], &mut [], micros(1)), Ok(()));
    assert_eq!(begin(&mut world, 1, 2), Load::Full);
    world.ledger().give_back(&[Held {
        account: account(0),
        span: SPANS[1],
        quantity: 1,
    }]);
    assert!(matches!(begin(&mut world, 1, 2), Load::Begun(_)));
    assert_eq!(world.head.evictions, 1);
}

#[test]
fn sums_are_wider_than_quantities() {
    let mut world = World::new(1);
    for _ in 0..3 {
        world.load(0, 0, 1);
    }
    let most = Recorded {
        account: account(0),
        slot: grid(0),
        used: i64::MAX.into(),
        reserved: 0,
    };
    world.ledger().finish(true, 0, 0, &[], &[most; 3]);
    let demand = Demand {
        account: account(0),
        span: SPANS[1],
        quantity: i64::MAX.into(),
        limit: Some(i64::MAX.into()),
    };
    assert!(matches!(
        world.ledger().admit(&[demand], &mut [], micros(1)),
        Err(Blocked::Over(0, _))
    ));
}

#[test]
fn slots_are_on_the_grid() {
    let grid = GRID.micros();
    for (at, start) in [(0, 0), (grid - 1, 0), (grid, grid), (-1, -grid)] {
        assert_eq!(slot(micros(at)), micros(start));
    }
}
