//! The ledger: what each scope used of what in each period, and what is in flight. Durable rows are the
//! truth; this is what they add up to, kept where asking costs nothing.
//!
//! The table is a caller's memory of a fixed size. Everything here happens under one lock, in a few
//! steps, and allocates nothing.
//!
//! What makes it exact while entries come and go: whoever recorded use [marks](Ledger::mark) itself
//! before it commits, and [finishes](Ledger::finish) after its commit can be seen. A loader
//! [holds](Ledger::hold) new commits back until nobody is marked; then it makes the entry and takes its
//! snapshot. So a transaction that finished before is in the snapshot and never met the entry, and one
//! that finishes later is not in the snapshot and adds itself to the entry, loaded or loading.

mod credit;
mod table;

pub use credit::{Cover, Pot, Weighed, give_back};
pub use table::{EMPTY_BUCKET, Entry, Head, State};

/// The grid that periods begin and end on, in microseconds: every time zone is off by whole quarters.
pub const GRID: i64 = 900_000_000;

/// What is counted, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// The database.
    pub database: u32,
    /// The metric; 0 is the cost of all of them, and less is about [credits](Account::covered) and
    /// [reservations](Account::open).
    pub metric: i32,
    /// The scope.
    pub scope: [u8; 16],
}

impl Account {
    /// What credits covered of a budget.
    #[must_use]
    pub fn covered(database: u32, budget: [u8; 16]) -> Self {
        Self {
            database,
            metric: -1,
            scope: budget,
        }
    }

    /// What was drawn from a credit.
    #[must_use]
    pub fn drawn(database: u32, credit: [u8; 16]) -> Self {
        Self {
            database,
            metric: -2,
            scope: credit,
        }
    }

    /// How many reservations a user or a tenant has open.
    #[must_use]
    pub fn open(database: u32, scope: [u8; 16]) -> Self {
        Self {
            database,
            metric: -3,
            scope,
        }
    }

    /// Whether it is about credits.
    #[must_use]
    pub fn is_credit(&self) -> bool {
        matches!(self.metric, -2 | -1)
    }

    /// Whether it counts reservations.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.metric == -3
    }
}

/// A period, in microseconds of the Unix epoch; its end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Where it begins.
    pub start: i64,
    /// Where the next begins.
    pub end: i64,
}

impl Span {
    /// Everything.
    pub const ALL: Self = Self {
        start: 0,
        end: i64::MAX,
    };

    /// Whether an instant is in it.
    #[must_use]
    pub fn has(&self, at: i64) -> bool {
        self.start <= at && at < self.end
    }
}

/// The beginning of the grid's slot that an instant is in.
#[must_use]
pub fn slot(at: i64) -> i64 {
    at.div_euclid(GRID).saturating_mul(GRID)
}

/// What is asked of one entry. Several limits of one entry are one demand with the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The account.
    pub account: Account,
    /// The period.
    pub span: Span,
    /// How much, in millionths.
    pub quantity: i64,
    /// What use may not exceed.
    pub limit: Option<i64>,
}

/// What is in flight in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The account.
    pub account: Account,
    /// The period.
    pub span: Span,
    /// How much.
    pub quantity: i128,
}

/// What a transaction recorded, and adds to every entry of that time when it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The account.
    pub account: Account,
    /// The slot of the grid.
    pub slot: i64,
    /// Use.
    pub used: i128,
    /// What reservations hold: more, or less when they end.
    pub reserved: i128,
}

/// Why demands are not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// This entry must be loaded.
    Missing(Account, Span),
    /// Somebody is loading it.
    Loading(Account, Span),
    /// A demand would exceed its limit.
    Over(usize, Entry),
    /// A cover does not reach.
    Short(usize, Weighed),
}

/// What becomes of a wish to load an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// The entry is made, and this number's to load.
    Begun(u64),
    /// It is there, or somebody is loading it.
    There,
    /// All entries are in use.
    Full,
}

/// The ledger as it is, to look at only: many may at once.
#[derive(Clone, Copy)]
pub struct View<'a> {
    buckets: &'a [u32],
    entries: &'a [Entry],
}

impl<'a> View<'a> {
    /// Over the memory of a ledger.
    #[must_use]
    pub fn new(buckets: &'a [u32], entries: &'a [Entry]) -> Self {
        Self { buckets, entries }
    }

    /// The entry of an account's period.
    #[must_use]
    pub fn look(&self, account: &Account, span: &Span) -> Option<&'a Entry> {
        self.entries.get(self.find(account, span)?)
    }

    /// The same, if it is loaded.
    #[must_use]
    pub fn loaded(&self, account: &Account, span: &Span) -> Option<&'a Entry> {
        let entry = self.look(account, span)?;
        (entry.state == State::Loaded).then_some(entry)
    }
}

/// The ledger over somebody's memory.
pub struct Ledger<'a> {
    head: &'a mut Head,
    buckets: &'a mut [u32],
    entries: &'a mut [Entry],
}

impl<'a> Ledger<'a> {
    /// Over memory that is as [`Head::new`], [`Entry::FREE`] and [`EMPTY_BUCKET`] begin.
    pub fn new(head: &'a mut Head, buckets: &'a mut [u32], entries: &'a mut [Entry]) -> Self {
        Self {
            head,
            buckets,
            entries,
        }
    }

    /// Takes all of the demands with what covers them, or none. No two demands are for the same entry,
    /// and no two covers for one budget. An entry that is not there blocks before one that is full, so
    /// that a refusal is always everybody's.
    pub fn admit(
        &mut self,
        demands: &[Demand],
        covers: &mut [Cover],
        now: i64,
    ) -> Result<(), Blocked> {
        let mut over = None;
        for (n, demand) in demands.iter().enumerate() {
            let entry = self.known(&demand.account, &demand.span, now)?;
            let fits = demand
                .limit
                .is_none_or(|limit| entry.total() + i128::from(demand.quantity) <= limit.into());
            if !fits && over.is_none() {
                over = Some(Blocked::Over(n, entry));
            }
        }
        for (n, cover) in covers.iter_mut().enumerate() {
            let Some(demand) = demands.get(cover.demand) else {
                continue;
            };
            let weighed = self.weigh(demand, cover, now)?;
            if cover.must && weighed.missing > 0 && over.is_none() {
                over = Some(Blocked::Short(n, weighed));
            }
        }
        self.head.hits += (demands.len() + covers.len()) as u64;
        if let Some(over) = over {
            return Err(over);
        }
        for demand in demands {
            self.add_in_flight(&demand.account, &demand.span, demand.quantity.into());
        }
        for cover in covers.iter() {
            if let Some(demand) = demands.get(cover.demand) {
                for held in cover.held(demand.span) {
                    self.add_in_flight(&held.account, &held.span, held.quantity);
                }
            }
        }
        Ok(())
    }

    /// What is in flight is not any more: its savepoint was rolled back.
    pub fn give_back(&mut self, held: &[Held]) {
        for held in held {
            self.add_in_flight(&held.account, &held.span, -held.quantity);
        }
    }

    /// Announces that a transaction is about to commit. False while somebody holds commits back.
    pub fn mark(&mut self) -> bool {
        if self.head.holding > 0 {
            return false;
        }
        self.head.committing += 1;
        true
    }

    /// A transaction ended: what it held is in flight no more, and what it recorded is used, if it
    /// committed. True when somebody may wait for that.
    pub fn finish(
        &mut self,
        committed: bool,
        marked: bool,
        held: &[Held],
        recorded: &[Recorded],
    ) -> bool {
        self.give_back(held);
        if committed {
            for recorded in recorded {
                self.apply(recorded);
            }
        }
        if marked {
            self.head.committing = self.head.committing.saturating_sub(1);
        }
        marked && self.head.holding > 0
    }

    /// Holds commits back from now on.
    pub fn hold(&mut self) {
        self.head.holding += 1;
    }

    /// Whether everybody who was about to commit is done.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.head.committing == 0
    }

    /// Lets commits go on; true when nobody else holds them.
    pub fn release(&mut self) -> bool {
        self.head.holding = self.head.holding.saturating_sub(1);
        self.head.holding == 0
    }

    /// Makes an entry to load. Only while commits are held back and nobody is committing; the loader's
    /// snapshot is taken before they are released.
    pub fn begin_load(&mut self, account: &Account, span: &Span, now: i64) -> Load {
        if self.find(account, span).is_some() {
            return Load::There;
        }
        self.head.loads += 1;
        let number = self.head.loads;
        let entry = Entry {
            account: *account,
            span: *span,
            state: State::Loading(number),
            touched: now,
            ..Entry::FREE
        };
        if self.insert(entry) {
            Load::Begun(number)
        } else {
            Load::Full
        }
    }

    /// What the loader's snapshot says; with what was added meanwhile it is the truth.
    pub fn end_load(
        &mut self,
        account: &Account,
        span: &Span,
        number: u64,
        used: i128,
        reserved: i128,
    ) {
        if let Some(entry) = self.loading(account, span, number) {
            entry.used += used;
            entry.reserved += reserved;
            entry.state = State::Loaded;
        }
    }

    /// The loader failed: the next one begins again.
    pub fn drop_load(&mut self, account: &Account, span: &Span, number: u64) {
        if self.loading(account, span, number).is_some()
            && let Some(at) = self.find(account, span)
        {
            self.remove(at);
        }
    }

    /// The entry of an account's period.
    #[must_use]
    pub fn look(&self, account: &Account, span: &Span) -> Option<Entry> {
        self.view().look(account, span).copied()
    }

    /// Drops what can be loaded again of a database: its rows were replaced.
    pub fn forget(&mut self, database: u32) {
        for at in 0..self.entries.len() {
            let of = |e: &Entry| e.account.database == database && e.can_go();
            if self.entries.get(at).is_some_and(of) {
                self.remove(at);
            }
        }
    }

    /// The entry, which is asked for now; it must be loaded.
    fn known(&mut self, account: &Account, span: &Span, now: i64) -> Result<Entry, Blocked> {
        let at = self.find(account, span);
        let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) else {
            self.head.misses += 1;
            return Err(Blocked::Missing(*account, *span));
        };
        if let State::Loading(_) = entry.state {
            return Err(Blocked::Loading(*account, *span));
        }
        entry.touched = now;
        Ok(*entry)
    }

    fn loading(&mut self, account: &Account, span: &Span, number: u64) -> Option<&mut Entry> {
        let at = self.find(account, span)?;
        let entry = self.entries.get_mut(at)?;
        (entry.state == State::Loading(number)).then_some(entry)
    }

    fn add_in_flight(&mut self, account: &Account, span: &Span, quantity: i128) {
        if let Some(at) = self.find(account, span)
            && let Some(entry) = self.entries.get_mut(at)
        {
            entry.in_flight += quantity;
        }
    }

    fn apply(&mut self, recorded: &Recorded) {
        let mut next = self.first(&recorded.account);
        while let Some(entry) = self.entries.get_mut(next) {
            if entry.account == recorded.account && entry.span.has(recorded.slot) {
                entry.used += recorded.used;
                entry.reserved += recorded.reserved;
            }
            next = entry.next as usize;
        }
    }
}

#[cfg(test)]
mod tests;
