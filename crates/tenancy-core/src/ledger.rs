//! The ledger: usage of each scope in each period, and the amounts in flight. Durable rows are authoritative;
//! the ledger caches their sums, so that a check costs almost nothing.
//!
//! The table is memory of a fixed size that the caller provides. Every operation runs under one lock, in a
//! few steps, and allocates nothing. Only marks are written without the lock.
//!
//! # Why it is exact while entries are loaded and evicted
//!
//! Every transaction must count exactly once: in the rows that a loader reads, or by adding its amounts to the
//! entry. A recording transaction writes its id into its backend's [`Mark`] before it commits. It
//! [finishes](Ledger::finish) after its commit is visible: under the lock it adds its amounts to the entries
//! and clears the mark. A loader [begins](Ledger::begin_load) under the same lock: it creates the entry and
//! takes its snapshot. If the snapshot sees the commit of a marked transaction, the loader writes the number
//! of the load into the mark, unless an earlier load did. Loads are numbered in the order of their snapshots,
//! and a later snapshot sees everything that an earlier one sees. So the number splits the entries of a
//! transaction: entries of that load and later ones have its rows already, entries of earlier loads do not.
//!
//! For a transaction T, and an entry E of load n:
//!
//! | T | the rows that n reads | T adds its amounts to E |
//! | --- | --- | --- |
//! | finished before E was created | contain T: it was visible before it finished | no: E did not exist |
//! | is visible to n, finishes later | contain T | no: its mark was set, so n or an earlier load wrote its number there |
//! | becomes visible after n's snapshot | do not contain T | yes: only loads after n can write into its mark |
//! | rolls back | do not contain T | no |
//! | is the loader's own | are counted without T | yes: a loader skips its own mark |
//!
//! A load [ends](Ledger::end_load) when all transactions that it saw have finished. So at any moment a loaded
//! entry is the sum of all finished transactions, and compared entries are of the same moment.
//!
//! No commit waits for a loader. No loader waits for a commit that is not visible, however long it takes: for
//! a standby, for temporary tables, for code that runs in it. Between becoming visible and finishing, the
//! server does nothing that can wait. The rest follows from where marks and entries are:
//!
//! - Amounts recorded in a savepoint become visible with the top transaction, whose id is in the mark.
//! - A transaction that recorded cannot be prepared: it would become visible with no backend to finish it.
//! - If a process dies without finishing, the server resets all shared memory; the next ledger starts from
//!   rows.
//! - Accounts of [parts](Part) of a scope's usage are known only to transactions that know their budgets. `changes` says how
//!   they stay exact.
//! - Loaders do not wait for each other for long: after [`PATIENCE`] another loader creates a second entry
//!   under its own number. The first load to end keeps its entry, the others drop theirs.
//!
//! # Units
//!
//! Every amount is a number of [attos](crate::quantity::ATTOS), the product of the finest quantity and the finest price, so
//! that no cost is rounded before it is counted. Open reservations are counted by ones. A sum beyond 1.7 · 10²⁰ units stays
//! there and never wraps: it exceeds every budget.
//!
//! # Example
//!
//! Two transactions request 60 of one account. Its limit is 100, and 30 are used according to rows.
//!
//! ```
//! use tenancy_core::ledger::*;
//! use tenancy_core::time::Instant;
//!
//! let (mut head, mut buckets, mut entries) = (Head::new(), [EMPTY_BUCKET; 4], [Entry::FREE; 4]);
//! let marks = [Mark::new(), Mark::new()];
//! let now = Instant::EPOCH;
//! let mut ledger = Ledger::new(&mut head, &mut buckets, &mut entries, &marks);
//!
//! let (account, span) = (Account::new(1, Counted::Metric(1), [7; 16]), Span::ALL);
//! let demand = Demand { account, span, quantity: 60, limit: Some(100) };
//!
//! // What is not there is loaded first. This loader's snapshot sees the end of every transaction.
//! assert_eq!(ledger.admit(&[demand], &mut [], now), Err(Blocked::Missing(account, span)));
//! let load = ledger.begin_load(&account, &span, now, 0, || |_transaction| true);
//! assert_eq!(load, Load::Begun(1));
//! assert!(ledger.end_load(&account, &span, 1, 30, 0));
//!
//! // One of the two is admitted. The other does not fit beside what is in flight.
//! assert_eq!(ledger.admit(&[demand], &mut [], now), Ok(()));
//! assert!(matches!(ledger.admit(&[demand], &mut [], now), Err(Blocked::Over(0, _))));
//!
//! // The first commits: its amount in flight becomes used.
//! let held = Held { account, span, quantity: 60 };
//! let recorded = Recorded { account, slot: slot(now), used: 60, reserved: 0 };
//! ledger.finish(true, 0, 0, &[held], &[recorded]);
//! let entry = ledger.look(&account, &span).unwrap();
//! assert_eq!((entry.used, entry.in_flight), (90, 0));
//! ```

use crate::time::{Instant, Length};

mod changes;
mod credit;
mod mark;
mod part;
mod table;

pub use credit::{CoverageResult, CreditBalance, CreditCoverage, give_back};
pub use mark::Mark;
pub use part::{Member, Part, Per, Traits};
pub use table::{EMPTY_BUCKET, Entry, Head, State};

/// The grid on which periods begin and end: the offset of every time zone is a multiple of a quarter.
pub const GRID: Length = Length::from_seconds(15 * 60);

/// How long a load may take before another backend may start one too.
pub const PATIENCE: Length = Length::from_millis(200);

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
    /// The cost of a [part](Part) of a scope's usage.
    PartOfCost,
    /// The quantities of a metric in a part, by its id.
    Part(i32),
}

/// What is added to the number of a part: no metric's id is near.
const PARTS: i32 = i32::MIN;
const PARTS_END: i32 = -1000;

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
            Self::PartOfCost => PARTS,
            Self::Part(id) => PARTS + id,
        }
    }

    fn of(number: i32) -> Self {
        match number {
            0 => Self::Cost,
            -1 => Self::Covered,
            -2 => Self::Drawn,
            -3 => Self::Open,
            PARTS => Self::PartOfCost,
            part if part < PARTS_END => Self::Part(part - PARTS),
            id => Self::Metric(id),
        }
    }
}

/// The key of a counter: what it counts, in which database and of which scope. [`Counted`] is stored as its number, which
/// makes an entry smaller by an eighth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// The database.
    pub database: u32,
    number: i32,
    /// The scope; or the budget, or the credit.
    pub scope: [u8; 16],
}

impl Account {
    /// Returns the account of something that is counted for a scope.
    #[must_use]
    pub const fn new(database: u32, counted: Counted, scope: [u8; 16]) -> Self {
        Self {
            database,
            number: counted.number(),
            scope,
        }
    }

    /// Returns the account of a part of a scope's usage, by the [name](Part::name) of its account.
    #[must_use]
    pub const fn part(database: u32, counted: Counted, name: [u8; 16]) -> Self {
        let counted = match counted {
            Counted::Metric(id) => Counted::Part(id),
            _ => Counted::PartOfCost,
        };
        Self::new(database, counted, name)
    }

    /// Returns the account of what credits covered of a budget.
    #[must_use]
    pub fn covered(database: u32, budget: [u8; 16]) -> Self {
        Self::new(database, Counted::Covered, budget)
    }

    /// Returns the account of what was drawn from a credit.
    #[must_use]
    pub fn drawn(database: u32, credit: [u8; 16]) -> Self {
        Self::new(database, Counted::Drawn, credit)
    }

    /// Returns the account of a user's or a tenant's open reservations.
    #[must_use]
    pub fn open(database: u32, scope: [u8; 16]) -> Self {
        Self::new(database, Counted::Open, scope)
    }

    /// Returns what the account counts.
    #[must_use]
    pub fn counted(&self) -> Counted {
        Counted::of(self.number)
    }

    /// Returns whether it counts a part of a scope's usage.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.number < PARTS_END
    }

    /// Returns whether it counts all usage of a scope.
    #[must_use]
    pub fn is_of_scope(&self) -> bool {
        self.number >= 0
    }

    /// Returns whether it counts credits.
    #[must_use]
    pub fn is_credit(&self) -> bool {
        matches!(self.counted(), Counted::Covered | Counted::Drawn)
    }
}

/// A period; its end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Where it begins.
    pub start: Instant,
    /// Where the next begins.
    pub end: Instant,
}

impl Span {
    /// Everything.
    pub const ALL: Self = Self {
        start: Instant::EPOCH,
        end: Instant::NEVER,
    };

    /// Returns whether it contains an instant.
    #[must_use]
    pub fn has(&self, at: Instant) -> bool {
        self.start <= at && at < self.end
    }
}

/// Returns the start of the grid's slot that contains an instant.
#[must_use]
pub fn slot(at: Instant) -> Instant {
    at.floor(GRID)
}

/// A demand on one entry. Several limits of one entry are one demand with the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The account.
    pub account: Account,
    /// The period.
    pub span: Span,
    /// The amount, in [attos](crate::quantity::ATTOS).
    pub quantity: i128,
    /// The limit that usage must not exceed.
    pub limit: Option<i128>,
}

/// An amount in flight in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The account.
    pub account: Account,
    /// The period.
    pub span: Span,
    /// How much.
    pub quantity: i128,
}

/// An amount that a transaction recorded, and adds to every entry of that time when it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The account.
    pub account: Account,
    /// The slot of the grid.
    pub slot: Instant,
    /// Use.
    pub used: i128,
    /// The change of the amount that reservations hold.
    pub reserved: i128,
}

/// Why demands are not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// This entry must be loaded.
    Missing(Account, Span),
    /// Another backend is loading it.
    Loading(Account, Span),
    /// A demand would exceed its limit.
    Over(usize, Entry),
    /// Credits do not cover the rest.
    Short(usize, CoverageResult),
}

/// Result of [`Ledger::begin_load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// The entry is created, to be loaded under this number.
    Begun(u64),
    /// The entry exists.
    There,
    /// Another backend has started to load it recently.
    Busy,
    /// All entries are in use.
    Full,
}

/// A read-only view of the ledger, for many readers at once.
#[derive(Clone, Copy)]
pub struct View<'a> {
    head: &'a Head,
    buckets: &'a [u32],
    entries: &'a [Entry],
}

impl<'a> View<'a> {
    /// Creates a view over the memory of a ledger.
    #[must_use]
    pub fn new(head: &'a Head, buckets: &'a [u32], entries: &'a [Entry]) -> Self {
        Self {
            head,
            buckets,
            entries,
        }
    }

    /// Returns the entry of an account's period.
    #[must_use]
    pub fn look(&self, account: &Account, span: &Span) -> Option<&'a Entry> {
        self.entries.get(self.find(account, span)?)
    }

    /// Returns the same, if it is loaded and not outdated.
    #[must_use]
    pub fn loaded(&self, account: &Account, span: &Span) -> Option<&'a Entry> {
        let entry = self.look(account, span)?;
        (entry.state == State::Loaded && !self.head.changes.lacks(entry)).then_some(entry)
    }
}

/// The ledger over memory of the caller.
pub struct Ledger<'a> {
    head: &'a mut Head,
    buckets: &'a mut [u32],
    entries: &'a mut [Entry],
    marks: &'a [Mark],
}

impl<'a> Ledger<'a> {
    /// Creates a ledger over memory that was initialised with [`Head::new`], [`Entry::FREE`], [`EMPTY_BUCKET`] and
    /// [`Mark::new`].
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

    /// Admits all demands with their covers, or none. No two demands may have the same entry, and no two covers
    /// the same budget. A missing entry blocks before a full one, so that a refusal considers all entries.
    pub fn admit(
        &mut self,
        demands: &[Demand],
        covers: &mut [CreditCoverage],
        now: Instant,
    ) -> Result<(), Blocked> {
        let mut over = None;
        for (n, demand) in demands.iter().enumerate() {
            let entry = self.known(&demand.account, &demand.span, now)?;
            let fits = demand
                .limit
                .is_none_or(|limit| entry.total().saturating_add(demand.quantity) <= limit);
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
            self.add_in_flight(&demand.account, &demand.span, demand.quantity);
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

    /// Frees amounts in flight after a rollback of their savepoint.
    pub fn give_back(&mut self, held: &[Held]) {
        for held in held {
            self.add_in_flight(&held.account, &held.span, -held.quantity);
        }
    }

    /// Frees amounts after a rollback of their savepoint, as [`finish`](Self::finish) does.
    pub fn give_back_savepoint(&mut self, since: u64, held: &[Held], recorded: &[Recorded]) {
        self.give_back(held);
        self.head.outdate(since, recorded);
    }

    /// Begins a change of the parts of a scope that have budgets, before the change is visible.
    pub fn begin_change(&mut self, scope: &[u8; 16]) {
        self.head.begin_change(scope);
    }

    /// Ends a change, after all backends were told of it. Returns the number of changes that have ended.
    pub fn end_change(&mut self, scope: &[u8; 16]) -> u64 {
        self.head.end_change(scope)
    }

    /// Finishes a transaction, whose mark is `own`, after its commit is visible: frees its amounts in flight, and adds
    /// its recorded amounts if it committed. Its first event followed the [change](Self::end_change) of budgets numbered
    /// `since`. Returns true if a loader may wait for it.
    pub fn finish(
        &mut self,
        committed: bool,
        own: usize,
        since: u64,
        held: &[Held],
        recorded: &[Recorded],
    ) -> bool {
        self.give_back(held);
        self.head.outdate(since, recorded);
        let seen_by = self.marks.get(own).and_then(Mark::clear);
        if committed {
            for recorded in recorded {
                self.apply(recorded, seen_by);
            }
        }
        seen_by.is_some()
    }

    /// Creates an entry to load, unless it exists or another load has just begun. `take` is called only if a load
    /// begins: it takes the snapshot, and returns a function that returns whether the snapshot sees the end of
    /// a transaction. The mark `own` is the loader's.
    pub fn begin_load<S: Fn(u32) -> bool>(
        &mut self,
        account: &Account,
        span: &Span,
        now: Instant,
        own: usize,
        take: impl FnOnce() -> S,
    ) -> Load {
        if let Some(entry) = self.look(account, span) {
            let outdated = self.head.changes.lacks(&entry);
            if entry.state == State::Loaded && !outdated {
                return Load::There;
            }
            // The latest load: loads begin one after the other, however many backends wait.
            let latest = match entry.state {
                State::Loaded => self.view().latest_load(account, span),
                _ => Some(entry),
            };
            if latest.is_some_and(|latest| now.abs_diff(latest.touched) < PATIENCE) {
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

    /// Completes an entry: adds the sums at the loader's snapshot to the amounts added since. Returns false,
    /// without effect, while a transaction that the snapshot saw has not finished. If another loader was first, its
    /// entry stays.
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
        let known = self.look(account, span);
        let known = known.filter(|entry| entry.state == State::Loaded);
        let Some(at) = self.loading(account, span, number) else {
            return true;
        };
        if known.is_some_and(|known| !self.head.changes.lacks(&known)) {
            self.remove(at);
            return true;
        }
        // The new entry takes over what is in flight in an outdated one.
        if let Some(old) = known.and_then(|_| self.find(account, span)) {
            self.remove(old);
        }
        if let Some(entry) = self.entries.get_mut(at) {
            entry.used = entry.used.saturating_add(used);
            entry.reserved = entry.reserved.saturating_add(reserved);
            entry.in_flight += known.map_or(0, |known| known.in_flight);
            entry.state = State::Loaded;
        }
        true
    }

    /// Drops a failed load; the next loader begins again.
    pub fn drop_load(&mut self, account: &Account, span: &Span, number: u64) {
        if let Some(at) = self.loading(account, span, number) {
            self.remove(at);
        }
    }

    /// Returns the entry of an account's period.
    #[must_use]
    pub fn look(&self, account: &Account, span: &Span) -> Option<Entry> {
        self.view().look(account, span).copied()
    }

    /// Drops entries of a database that can be loaded again, because its rows were replaced.
    pub fn forget(&mut self, database: u32) {
        for at in 0..self.entries.len() {
            let of = |e: &Entry| e.account.database == database && e.can_go();
            if self.entries.get(at).is_some_and(of) {
                self.remove(at);
            }
        }
    }

    /// Returns the entry, which must be loaded, and notes its use.
    fn known(&mut self, account: &Account, span: &Span, now: Instant) -> Result<Entry, Blocked> {
        let at = self.find(account, span);
        let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) else {
            self.head.misses += 1;
            return Err(Blocked::Missing(*account, *span));
        };
        if entry.state == State::Loading {
            return Err(Blocked::Loading(*account, *span));
        }
        if self.head.changes.lacks(entry) {
            self.head.misses += 1;
            return Err(Blocked::Missing(*account, *span));
        }
        entry.touched = now;
        Ok(*entry)
    }

    fn add_in_flight(&mut self, account: &Account, span: &Span, quantity: i128) {
        if let Some(at) = self.find(account, span)
            && let Some(entry) = self.entries.get_mut(at)
        {
            entry.in_flight = entry.in_flight.saturating_add(quantity);
        }
    }

    /// Adds an amount to the entries of loads before the first one that saw the transaction.
    fn apply(&mut self, recorded: &Recorded, seen_by: Option<u64>) {
        let mut next = self.first(&recorded.account);
        while let Some(entry) = self.entries.get_mut(next) {
            let of = entry.account == recorded.account && entry.span.has(recorded.slot);
            if of && seen_by.is_none_or(|first| entry.load < first) {
                entry.used = entry.used.saturating_add(recorded.used);
                entry.reserved = entry.reserved.saturating_add(recorded.reserved);
            }
            next = entry.next as usize;
        }
    }
}

#[cfg(test)]
mod tests;
