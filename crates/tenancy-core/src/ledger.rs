//! The ledger: what each scope used of what in each period, and what is in flight. Durable rows are the
//! truth; this is what they add up to, kept where asking costs nothing.
//!
//! The table is a caller's memory of a fixed size. Everything here happens under one lock, in a few
//! steps, and allocates nothing. Only marks are written without it.
//!
//! # What makes it exact while entries come and go
//!
//! Every transaction must count once: in the rows that a loader reads, or by adding itself to the entry.
//! A transaction that records writes its id into its backend's [`Mark`], before it commits. It
//! [finishes](Ledger::finish) after its commit is visible: under the lock it adds itself to the entries
//! and clears the mark. A loader [begins](Ledger::begin_load) under the same lock: it makes the entry,
//! takes its snapshot, and tells each marked transaction whose commit that snapshot sees the number of
//! the load, unless an earlier load did. Loads are numbered in the order of their snapshots, and what
//! one snapshot sees, later ones see too. So that number splits the entries of a transaction: those of
//! that load and of later ones have its rows already, those of earlier loads do not.
//!
//! For a transaction T, and an entry E of load n:
//!
//! | T | the rows that n reads | T adds itself to E |
//! | --- | --- | --- |
//! | finished before E was made | have T: it was visible before it finished | no: E was not there |
//! | is visible to n, finishes later | have T | no: its mark was there, so n or an earlier load told it |
//! | becomes visible after n's snapshot | do not have T | yes: only loads after n can tell it |
//! | rolls back | do not have T | no |
//! | is the loader's own | are counted without T | yes: a loader passes its own mark over |
//!
//! A loader [ends](Ledger::end_load) when all whom it saw have finished. So a loaded entry is the sum of
//! all that finished, at any moment, and entries that are compared are of the same moment.
//!
//! No commit waits for a loader, and no loader for a commit that is not visible, however long that takes:
//! for a standby, for temporary tables, for code that runs in it. Between being visible and finishing
//! the server does nothing that can wait. The rest follows from where marks and entries are:
//!
//! - What is recorded in a savepoint becomes visible with its top transaction, whose id the mark has.
//! - A transaction that recorded cannot be prepared: it would become visible with nobody to finish it.
//! - A process that dies without finishing takes all shared memory with it; the next ledger starts from
//!   rows.
//! - Loaders do not wait for each other for long: after [`PATIENCE`] another makes an entry of its own,
//!   under a number of its own. The first to end has the entry that counts, the others drop theirs.
//!
//! # Example
//!
//! Two transactions ask for 60 of one account, whose limit is 100, and of which rows say that 30 are used.
//!
//! ```
//! use tenancy_core::ledger::*;
//!
//! let (mut head, mut buckets, mut entries) = (Head::new(), [EMPTY_BUCKET; 4], [Entry::FREE; 4]);
//! let marks = [Mark::new(), Mark::new()];
//! let mut ledger = Ledger::new(&mut head, &mut buckets, &mut entries, &marks);
//!
//! let (account, span) = (Account::new(1, Counted::Metric(1), [7; 16]), Span::ALL);
//! let demand = Demand { account, span, quantity: 60, limit: Some(100) };
//!
//! // What is not there is loaded first. This loader's snapshot sees the end of every transaction.
//! assert_eq!(ledger.admit(&[demand], &mut [], 0), Err(Blocked::Missing(account, span)));
//! let load = ledger.begin_load(&account, &span, 0, 0, || |_transaction| true);
//! assert_eq!(load, Load::Begun(1));
//! assert!(ledger.end_load(&account, &span, 1, 30, 0));
//!
//! // One of the two is admitted. The other does not fit beside what is in flight.
//! assert_eq!(ledger.admit(&[demand], &mut [], 0), Ok(()));
//! assert!(matches!(ledger.admit(&[demand], &mut [], 0), Err(Blocked::Over(0, _))));
//!
//! // The first commits: what was in flight is used.
//! let held = Held { account, span, quantity: 60 };
//! let recorded = Recorded { account, slot: slot(0), used: 60, reserved: 0 };
//! ledger.finish(true, 0, &[held], &[recorded]);
//! let entry = ledger.look(&account, &span).unwrap();
//! assert_eq!((entry.used, entry.in_flight), (90, 0));
//! ```

mod credit;
mod mark;
mod table;

pub use credit::{CoverageResult, CreditBalance, CreditCoverage, give_back};
pub use mark::Mark;
pub use table::{EMPTY_BUCKET, Entry, Head, State};

/// The grid that periods begin and end on, in microseconds: every time zone is off by whole quarters.
pub const GRID: i64 = 900_000_000;

/// How long a load may take before another may be begun beside it, in microseconds.
pub const PATIENCE: u64 = 200_000;

/// What an account counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counted {
    /// The cost of all metrics.
    Cost,
    /// The quantities of a metric, by its id.
    Metric(i32),
    /// What [credits](Account::covered) covered of a budget.
    Covered,
    /// What was [drawn](Account::drawn) from a credit.
    Drawn,
    /// How many [reservations](Account::open) are open.
    Open,
}

impl Counted {
    /// Returns the number by which SQL names it: a metric's id, or one that no metric has.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Cost => 0,
            Self::Metric(id) => id,
            Self::Covered => -1,
            Self::Drawn => -2,
            Self::Open => -3,
        }
    }

    fn of(number: i32) -> Self {
        match number {
            0 => Self::Cost,
            -1 => Self::Covered,
            -2 => Self::Drawn,
            -3 => Self::Open,
            id => Self::Metric(id),
        }
    }
}

/// What is counted, and where. What is counted is kept as its number: an entry would else be larger by a seventh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// The database.
    pub database: u32,
    number: i32,
    /// The scope; or the budget, or the credit.
    pub scope: [u8; 16],
}

impl Account {
    /// Counts something of a scope in a database.
    #[must_use]
    pub const fn new(database: u32, counted: Counted, scope: [u8; 16]) -> Self {
        Self {
            database,
            number: counted.number(),
            scope,
        }
    }

    /// What credits covered of a budget.
    #[must_use]
    pub fn covered(database: u32, budget: [u8; 16]) -> Self {
        Self::new(database, Counted::Covered, budget)
    }

    /// What was drawn from a credit.
    #[must_use]
    pub fn drawn(database: u32, credit: [u8; 16]) -> Self {
        Self::new(database, Counted::Drawn, credit)
    }

    /// How many reservations a user or a tenant has open.
    #[must_use]
    pub fn open(database: u32, scope: [u8; 16]) -> Self {
        Self::new(database, Counted::Open, scope)
    }

    /// What is counted.
    #[must_use]
    pub fn counted(&self) -> Counted {
        Counted::of(self.number)
    }

    /// Whether it is about credits.
    #[must_use]
    pub fn is_credit(&self) -> bool {
        matches!(self.counted(), Counted::Covered | Counted::Drawn)
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
    Short(usize, CoverageResult),
}

/// Result of [`Ledger::begin_load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// The entry is made, and this number's to load.
    Begun(u64),
    /// It is there.
    There,
    /// Another is loading it, and has not been for long.
    Busy,
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
    marks: &'a [Mark],
}

impl<'a> Ledger<'a> {
    /// Over memory that is as [`Head::new`], [`Entry::FREE`], [`EMPTY_BUCKET`] and [`Mark::new`] begin.
    pub fn new(
        head: &'a mut Head,
        buckets: &'a mut [u32],
        entries: &'a mut [Entry],
        marks: &'a [Mark],
    ) -> Self {
        Self {
            head,
            buckets,
            entries,
            marks,
        }
    }

    /// Takes all of the demands with what covers them, or none. No two demands are for the same entry,
    /// and no two covers for one budget. An entry that is not there blocks before one that is full, so
    /// that a refusal is always everybody's.
    pub fn admit(
        &mut self,
        demands: &[Demand],
        covers: &mut [CreditCoverage],
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

    /// Ends a transaction, whose mark is `own`: what it held is in flight no more, and what it recorded is
    /// used, if it committed. After its commit is visible. True if a loader may wait for that.
    pub fn finish(
        &mut self,
        committed: bool,
        own: usize,
        held: &[Held],
        recorded: &[Recorded],
    ) -> bool {
        self.give_back(held);
        let seen_by = self.marks.get(own).and_then(Mark::clear);
        if committed {
            for recorded in recorded {
                self.apply(recorded, seen_by);
            }
        }
        seen_by.is_some()
    }

    /// Makes an entry to load, unless it is there or another has just begun. `take` takes the snapshot
    /// that is read, and returns whether it sees the end of a transaction; it is called if a load is
    /// begun. The mark `own` is the loader's.
    pub fn begin_load<S: Fn(u32) -> bool>(
        &mut self,
        account: &Account,
        span: &Span,
        now: i64,
        own: usize,
        take: impl FnOnce() -> S,
    ) -> Load {
        if let Some(entry) = self.look(account, span) {
            if entry.state == State::Loaded {
                return Load::There;
            }
            // The latest: loads begin one after the other, however many wait.
            if now.abs_diff(entry.touched) < PATIENCE {
                return Load::Busy;
            }
        }
        let number = self.head.loads + 1;
        let entry = Entry {
            account: *account,
            span: *span,
            state: State::Loading,
            load: number,
            touched: now,
            ..Entry::FREE
        };
        if !self.insert(entry) {
            return Load::Full;
        }
        self.head.loads = number;
        let sees = take();
        for (at, mark) in self.marks.iter().enumerate() {
            if at != own {
                mark.tell(number, &sees);
            }
        }
        Load::Begun(number)
    }

    /// Adds what the loader's snapshot says: with what was added meanwhile it is the truth. False, and
    /// nothing is done, while a transaction that the snapshot saw has not finished. If another loader
    /// was first, its entry stays.
    #[must_use]
    pub fn end_load(
        &mut self,
        account: &Account,
        span: &Span,
        number: u64,
        used: i128,
        reserved: i128,
    ) -> bool {
        if self.marks.iter().any(|mark| mark.was_seen_by(number)) {
            return false;
        }
        let known = self.look(account, span).map(|entry| entry.state) == Some(State::Loaded);
        let Some(at) = self.loading(account, span, number) else {
            return true;
        };
        if known {
            self.remove(at);
        } else if let Some(entry) = self.entries.get_mut(at) {
            entry.used += used;
            entry.reserved += reserved;
            entry.state = State::Loaded;
        }
        true
    }

    /// The loader failed: the next one begins again.
    pub fn drop_load(&mut self, account: &Account, span: &Span, number: u64) {
        if let Some(at) = self.loading(account, span, number) {
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
        if entry.state == State::Loading {
            return Err(Blocked::Loading(*account, *span));
        }
        entry.touched = now;
        Ok(*entry)
    }

    fn add_in_flight(&mut self, account: &Account, span: &Span, quantity: i128) {
        if let Some(at) = self.find(account, span)
            && let Some(entry) = self.entries.get_mut(at)
        {
            entry.in_flight += quantity;
        }
    }

    /// Adds to the entries of loads before the first one that saw it.
    fn apply(&mut self, recorded: &Recorded, seen_by: Option<u64>) {
        let mut next = self.first(&recorded.account);
        while let Some(entry) = self.entries.get_mut(next) {
            let of = entry.account == recorded.account && entry.span.has(recorded.slot);
            if of && seen_by.is_none_or(|first| entry.load < first) {
                entry.used += recorded.used;
                entry.reserved += recorded.reserved;
            }
            next = entry.next as usize;
        }
    }
}

#[cfg(test)]
mod tests;
