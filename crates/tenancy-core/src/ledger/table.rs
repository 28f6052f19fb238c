//! The ledger's entries: a hash table with chains, in memory of a fixed size. All entries of an account are in
//! one chain, for all periods.
//!
//! Our own since PostgreSQL's shared hash tables evict nothing, and a model of this one is tested without a server.

use crate::time::Instant;

use super::changes::Changes;
use super::{Account, Counted, Ledger, Span, View};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;
/// How many entries are examined to find one to evict.
const SAMPLE: usize = 32;

/// The state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The entry is free.
    Free,
    /// A loader is reading rows.
    Loading,
    /// The sums are complete.
    Loaded,
}

/// Usage of an account in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The account.
    pub account: Account,
    /// The period.
    pub span: Span,
    /// Its state.
    pub state: State,
    /// The number of the load that created it.
    pub load: u64,
    /// Amounts of committed transactions, in [attos](crate::quantity::ATTOS).
    pub used: i128,
    /// Amounts of running transactions.
    pub in_flight: i128,
    /// Amounts of open reservations.
    pub reserved: i128,
    /// When it was last used, or its load began, by the caller's clock.
    pub touched: Instant,
    /// The next entry in its chain, or in the free list.
    pub(super) next: u32,
}

impl Entry {
    /// A free entry.
    pub const FREE: Self = Self {
        account: Account::new(0, Counted::Cost, [0; 16]),
        span: Span {
            start: Instant::EPOCH,
            end: Instant::EPOCH,
        },
        state: State::Free,
        load: 0,
        used: 0,
        in_flight: 0,
        reserved: 0,
        touched: Instant::EPOCH,
        next: NONE,
    };

    /// Returns the sum that counts against a limit.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.used
            .saturating_add(self.in_flight)
            .saturating_add(self.reserved)
    }

    /// Returns whether it can be evicted: rows contain all of it.
    pub(super) fn can_go(&self) -> bool {
        self.state == State::Loaded && self.in_flight == 0
    }
}

/// Statistics and free list of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Look-ups that found their entry.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Loads begun: the number of the last load.
    pub loads: u64,
    /// Evicted entries.
    pub evictions: u64,
    /// The first entry of the free list.
    free: u32,
    /// How many entries were ever in use.
    fresh: u32,
    /// Where the search for an entry to evict continues.
    hand: u32,
    /// Changes of the parts that have budgets.
    pub(super) changes: Changes,
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

impl Head {
    /// Creates the head of an empty ledger.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            hits: 0,
            misses: 0,
            loads: 0,
            evictions: 0,
            free: NONE,
            fresh: 0,
            hand: 0,
            changes: Changes::NONE,
        }
    }
}

/// A bucket without entries.
pub const EMPTY_BUCKET: u32 = NONE;

impl View<'_> {
    fn bucket(&self, account: &Account) -> usize {
        let (high, low) = account.scope.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0, |all, b| (all << 8) | u64::from(*b));
        let mixed = (word(high) ^ word(low).rotate_left(17))
            ^ (u64::from(account.database) << 32)
            ^ u64::from(account.number.cast_unsigned());
        let mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
        ((mixed ^ (mixed >> 32)) % (self.buckets.len().max(1) as u64)) as usize
    }

    /// Returns the bucket of an account's chain.
    pub(super) fn first(&self, account: &Account) -> usize {
        let first = self.buckets.get(self.bucket(account));
        first.copied().unwrap_or(NONE) as usize
    }

    /// Finds an account's period: the loaded entry, or the one whose load began last.
    pub(super) fn find(&self, account: &Account, span: &Span) -> Option<usize> {
        let (mut at, mut loading) = (self.first(account), None);
        while let Some(entry) = self.entries.get(at) {
            if entry.account == *account && entry.span == *span {
                if entry.state == State::Loaded {
                    return Some(at);
                }
                // New entries come first.
                loading = loading.or(Some(at));
            }
            at = entry.next as usize;
        }
        loading
    }

    /// Returns the entry whose load began last, if it has not ended.
    pub(super) fn latest_load(&self, account: &Account, span: &Span) -> Option<Entry> {
        let mut at = self.first(account);
        while let Some(entry) = self.entries.get(at) {
            if entry.state == State::Loading && entry.account == *account && entry.span == *span {
                return Some(*entry);
            }
            at = entry.next as usize;
        }
        None
    }

    fn loading(&self, account: &Account, span: &Span, number: u64) -> Option<usize> {
        let mut at = self.first(account);
        while let Some(entry) = self.entries.get(at) {
            if entry.load == number
                && entry.state == State::Loading
                && entry.account == *account
                && entry.span == *span
            {
                return Some(at);
            }
            at = entry.next as usize;
        }
        None
    }
}

impl Ledger<'_> {
    pub(super) fn view(&self) -> View<'_> {
        View::new(self.head, self.buckets, self.entries)
    }

    /// Returns the bucket of an account's chain.
    pub(super) fn first(&self, account: &Account) -> usize {
        self.view().first(account)
    }

    /// Finds an account's period.
    pub(super) fn find(&self, account: &Account, span: &Span) -> Option<usize> {
        self.view().find(account, span)
    }

    /// Finds an account's period whose load with this number has not ended.
    pub(super) fn loading(&self, account: &Account, span: &Span, number: u64) -> Option<usize> {
        self.view().loading(account, span, number)
    }

    /// Inserts an entry; returns false if all are in use.
    pub(super) fn insert(&mut self, entry: Entry) -> bool {
        let Some(at) = self.room() else {
            return false;
        };
        let bucket = self.view().bucket(&entry.account);
        if let (Some(place), Some(first)) = (self.entries.get_mut(at), self.buckets.get_mut(bucket))
        {
            *place = Entry {
                next: *first,
                ..entry
            };
            *first = at as u32;
        }
        true
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, at: usize) {
        let Some(gone) = self.entries.get(at).copied() else {
            return;
        };
        let bucket = self.view().bucket(&gone.account);
        let first = self.first(&gone.account);
        if first == at {
            if let Some(first) = self.buckets.get_mut(bucket) {
                *first = gone.next;
            }
        } else {
            let mut before = first;
            while let Some(entry) = self.entries.get_mut(before) {
                if entry.next as usize == at {
                    entry.next = gone.next;
                    break;
                }
                before = entry.next as usize;
            }
        }
        if let Some(place) = self.entries.get_mut(at) {
            *place = Entry {
                next: self.head.free,
                ..Entry::FREE
            };
            self.head.free = at as u32;
        }
    }

    fn room(&mut self) -> Option<usize> {
        if self.head.free == NONE && (self.head.fresh as usize) < self.entries.len() {
            self.head.fresh += 1;
            return Some(self.head.fresh as usize - 1);
        }
        if self.head.free == NONE {
            let oldest = self.oldest()?;
            self.remove(oldest);
            self.head.evictions += 1;
        }
        let at = self.head.free as usize;
        self.head.free = self.entries.get(at)?.next;
        Some(at)
    }

    /// Returns the least recently used of some entries that can be evicted.
    fn oldest(&mut self) -> Option<usize> {
        let size = self.entries.len();
        let start = self.head.hand as usize;
        let (mut found, mut seen) = (None::<(Instant, usize)>, 0);
        for step in 0..size {
            let at = (start + step) % size;
            if let Some(entry) = self.entries.get(at).filter(|entry| entry.can_go()) {
                if found.is_none_or(|(touched, _)| entry.touched < touched) {
                    found = Some((entry.touched, at));
                }
                seen += 1;
            }
            if seen == SAMPLE {
                self.head.hand = ((at + 1) % size) as u32;
                break;
            }
        }
        found.map(|(_, at)| at)
    }
}
