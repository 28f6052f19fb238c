//! A budget of a part is set and removed while transactions with usage of the part run.

use super::super::*;
use proptest::prelude::*;
use std::collections::HashSet;

const SCOPE: [u8; 16] = [7; 16];
/// In the place of the scope.
const PART: [u8; 16] = [7, 7, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];

#[derive(Clone, Debug)]
enum Step {
    /// Records usage of the part.
    Event(usize),
    /// Consumes it, if the budget is known.
    Consume(usize),
    RollBack(usize),
    /// In two steps: visible to others, finished.
    Commit(usize),
    Abort(usize),
    /// In two steps: begun, ended.
    Load(usize),
    Wait,
    /// The budget is set in four steps: begun, visible, told, ended; or it is removed.
    Change,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..4_usize;
    prop_oneof![
        6 => who().prop_map(Step::Event),
        4 => who().prop_map(Step::Consume),
        1 => who().prop_map(Step::RollBack),
        8 => who().prop_map(Step::Commit),
        1 => who().prop_map(Step::Abort),
        8 => (0..2_usize).prop_map(Step::Load),
        1 => Just(Step::Wait),
        5 => Just(Step::Change),
    ]
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Budget {
    None,
    Begun,
    Visible,
    Told,
    Set,
}

#[derive(Default)]
struct Transaction {
    id: u32,
    since: Option<u64>,
    visible: bool,
    /// What is recorded of the part, and what of it was noted in the part's account.
    used: i128,
    noted: i128,
    held: i128,
}

struct World {
    head: Head,
    buckets: Vec<u32>,
    entries: Vec<Entry>,
    marks: Vec<Mark>,
    transactions: Vec<Transaction>,
    loads: [Option<(u64, i128)>; 2],
    seen: HashSet<u32>,
    seen_sum: i128,
    finished: i128,
    budget: Budget,
    ended: u64,
    ids: u32,
    now: Instant,
}

fn part() -> Account {
    Account::part(1, Counted::Cost, PART)
}

impl World {
    fn ledger(&mut self) -> Ledger<'_> {
        let (head, buckets) = (&mut self.head, &mut self.buckets);
        Ledger::new(head, buckets, &mut self.entries, &self.marks)
    }

    fn knows(&self) -> bool {
        matches!(self.budget, Budget::Told | Budget::Set)
    }

    fn event(&mut self, who: usize) {
        let (knows, ended) = (self.knows(), self.ended);
        let transaction = &mut self.transactions[who];
        if transaction.visible {
            return;
        }
        if transaction.id == 0 {
            self.ids += 1;
            transaction.id = self.ids;
            self.marks[who].set(self.ids);
        }
        transaction.since.get_or_insert(ended);
        transaction.used += 1;
        transaction.noted += i128::from(knows);
    }

    fn consume(&mut self, who: usize) {
        let ended = self.ended;
        if !self.knows() || self.transactions[who].visible {
            return;
        }
        self.transactions[who].since.get_or_insert(ended);
        let demand = Demand {
            account: part(),
            span: Span::ALL,
            quantity: 1,
            limit: Some(1000),
        };
        let now = self.now;
        if self.ledger().admit(&[demand], &mut [], now).is_ok() {
            self.transactions[who].held += 1;
            self.event(who);
        }
    }

    fn finish(&mut self, who: usize, committed: bool) {
        let transaction = std::mem::take(&mut self.transactions[who]);
        let recorded = |account, used| Recorded {
            account,
            slot: Instant::EPOCH,
            used,
            reserved: 0,
        };
        let mut all = Vec::new();
        if transaction.used > 0 {
            all.push(recorded(
                Account::new(1, Counted::Cost, SCOPE),
                transaction.used,
            ));
        }
        if transaction.noted > 0 {
            all.push(recorded(part(), transaction.noted));
        }
        let held = Held {
            account: part(),
            span: Span::ALL,
            quantity: transaction.held,
        };
        let since = transaction.since.unwrap_or(self.ended);
        self.ledger().finish(committed, who, since, &[held], &all);
        if committed {
            self.finished += transaction.used;
        }
    }

    fn commit(&mut self, who: usize) {
        let transaction = &mut self.transactions[who];
        if transaction.visible {
            return self.finish(who, true);
        }
        if transaction.id != 0 {
            transaction.visible = true;
            self.seen.insert(transaction.id);
            self.seen_sum += transaction.used;
        }
    }

    fn load(&mut self, who: usize) {
        if let Some((number, sum)) = self.loads[who] {
            if self.ledger().end_load(&part(), &Span::ALL, number, sum, 0) {
                self.loads[who] = None;
            }
        } else if !matches!(self.budget, Budget::None | Budget::Begun) {
            let (seen, now, sum) = (self.seen.clone(), self.now, self.seen_sum);
            let own = self.marks.len() - 1;
            let sees = move |id| seen.contains(&id);
            if let Load::Begun(number) =
                self.ledger()
                    .begin_load(&part(), &Span::ALL, now, own, || sees)
            {
                self.loads[who] = Some((number, sum));
            }
        }
    }

    fn change(&mut self) {
        self.budget = match self.budget {
            Budget::None => {
                self.head.begin_change(&SCOPE);
                Budget::Begun
            }
            Budget::Begun => Budget::Visible,
            Budget::Visible => Budget::Told,
            Budget::Told => {
                self.ended = self.head.end_change(&SCOPE);
                Budget::Set
            }
            Budget::Set => Budget::None,
        };
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let in_flight: i128 = self.transactions.iter().map(|t| t.held).sum();
        let view = View::new(&self.head, &self.buckets, &self.entries);
        match view.look(&part(), &Span::ALL) {
            Some(entry) => prop_assert_eq!(entry.in_flight, in_flight),
            None => prop_assert_eq!(0, in_flight),
        }
        // Only who sees the budget asks.
        if matches!(self.budget, Budget::None | Budget::Begun) {
            return Ok(());
        }
        if let Some(entry) = view.loaded(&part(), &Span::ALL) {
            prop_assert_eq!(entry.used, self.finished);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 2000 }))]

    #[test]
    fn an_entry_has_the_usage_of_those_who_did_not_know_its_budget(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World {
            head: Head::new(),
            buckets: vec![EMPTY_BUCKET; 3],
            entries: vec![Entry::FREE; 8],
            marks: (0..5).map(|_| Mark::new()).collect(),
            transactions: (0..4).map(|_| Transaction::default()).collect(),
            loads: [None; 2],
            seen: HashSet::new(),
            seen_sum: 0,
            finished: 0,
            budget: Budget::None,
            ended: 0,
            ids: 0,
            now: Instant::EPOCH,
        };
        for step in steps {
            match step {
                Step::Event(who) => world.event(who),
                Step::Consume(who) => world.consume(who),
                // A rollback to a savepoint before everything else.
                Step::RollBack(who) if !world.transactions[who].visible => {
                    let gone = std::mem::take(&mut world.transactions[who].held);
                    let held = Held { account: part(), span: Span::ALL, quantity: gone };
                    world.ledger().give_back(&[held]);
                    let transaction = &mut world.transactions[who];
                    (transaction.used, transaction.noted) = (0, 0);
                }
                Step::Commit(who) => world.commit(who),
                Step::Abort(who) if !world.transactions[who].visible => world.finish(who, false),
                Step::Load(who) => world.load(who),
                Step::Wait => world.now += PATIENCE,
                Step::Change => world.change(),
                _ => {}
            }
            world.check()?;
        }
    }
}
