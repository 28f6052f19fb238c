//! The ledger's entries: a hash table with chains, in memory of a fixed size. All entries of an account
//! are in one chain, whatever their periods.
//!
//! Our own since PostgreSQL's shared hash tables evict nothing, and a model of this one is tested without a server.

use super::{Account, Counted, Ledger, Span, View};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;
/// How many entries are looked at for one that can go.
const SAMPLE: usize = 32;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Free,
    /// A loader reads what rows say.
    Loading,
    /// All that there is.
    Loaded,
}

/// What a scope used of something in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The account.
    pub account: Account,
    /// The period.
    pub span: Span,
    /// What it is.
    pub state: State,
    /// The number of the load that made it.
    pub load: u64,
    /// What committed transactions recorded, in millionths. Wider than a quantity: it never overflows.
    pub used: i128,
    /// What running ones were admitted with.
    pub in_flight: i128,
    /// What open reservations hold.
    pub reserved: i128,
    /// When it was last asked for, or its load began, by the caller's clock.
    pub touched: i64,
    /// The next one in its chain, or in that of the free ones.
    pub(super) next: u32,
}

impl Entry {
    /// Not an entry yet.
    pub const FREE: Self = Self {
        account: Account::new(0, Counted::Cost, [0; 16]),
        span: Span { start: 0, end: 0 },
        state: State::Free,
        load: 0,
        used: 0,
        in_flight: 0,
        reserved: 0,
        touched: 0,
        next: NONE,
    };

    /// All that counts against a limit.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.used + self.in_flight + self.reserved
    }

    /// Whether rows say all that it says.
    pub(super) fn can_go(&self) -> bool {
        self.state == State::Loaded && self.in_flight == 0
    }
}

/// What the ledger knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Entries that were there when they were asked for.
    pub hits: u64,
    /// Entries that were not.
    pub misses: u64,
    /// Entries that were begun to be loaded: the number of the last load.
    pub loads: u64,
    /// Entries that made room.
    pub evictions: u64,
    /// The first free one of those that were in use.
    free: u32,
    /// How many were ever in use.
    fresh: u32,
    /// Where the search for one that can go goes on.
    hand: u32,
}

impl Head {
    /// Of an empty ledger.
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

    /// The first of the chain that an account's entries are in.
    pub(super) fn first(&self, account: &Account) -> usize {
        let first = self.buckets.get(self.bucket(account));
        first.copied().unwrap_or(NONE) as usize
    }

    /// Where an account's period is: the loaded one, or the one that was last begun.
    pub(super) fn find(&self, account: &Account, span: &Span) -> Option<usize> {
        let (mut at, mut loading) = (self.first(account), None);
        while let Some(entry) = self.entries.get(at) {
            if entry.account == *account && entry.span == *span {
                if entry.state == State::Loaded {
                    return Some(at);
                }
                // New ones come first.
                loading = loading.or(Some(at));
            }
            at = entry.next as usize;
        }
        loading
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
        View::new(self.buckets, self.entries)
    }

    /// The first of the chain that an account's entries are in.
    pub(super) fn first(&self, account: &Account) -> usize {
        self.view().first(account)
    }

    /// Where an account's period is.
    pub(super) fn find(&self, account: &Account, span: &Span) -> Option<usize> {
        self.view().find(account, span)
    }

    /// Where an account's period is that a load, by its number, has not ended.
    pub(super) fn loading(&self, account: &Account, span: &Span, number: u64) -> Option<usize> {
        self.view().loading(account, span, number)
    }

    /// Puts in an entry; false when all are in use.
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

    /// Takes out an entry.
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

    /// Of some entries that can go, the one that was not asked for longest.
    fn oldest(&mut self) -> Option<usize> {
        let size = self.entries.len();
        let start = self.head.hand as usize;
        let (mut found, mut seen) = (None::<(i64, usize)>, 0);
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
