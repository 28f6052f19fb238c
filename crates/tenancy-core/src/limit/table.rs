//! The buckets of rates, in memory of a fixed size that the caller provides: a hash table with chains, in shards with a lock
//! each. Every operation runs under the locks of its shards, in a few steps, and allocates nothing.
//!
//! A bucket takes room only while something of it is taken: an idle one is full again, and is forgotten without loss. A bucket
//! in use is never forgotten, so a shard may be full of them; but no tenant fills it alone ([`Shares`]).

use super::bucket::{Level, Rate};
use super::shares::{Owner, Shares};

/// No entry.
pub const NONE: u32 = u32::MAX;
/// How many entries each new bucket examines for idle ones.
const SWEEP: usize = 4;
/// How many it examines if there is no room.
const SWEEP_FOR_ROOM: usize = 256;
/// What a bucket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The scope or the API key.
    pub target: [u8; 16],
    /// The database.
    pub database: u32,
    /// The limit.
    pub limit: u32,
    /// The scope that it counts in, as a number at random; 0 for all.
    pub within: u32,
    /// The level, the time, and who set it, as numbers of the caller.
    pub which: [u8; 4],
}

/// A bucket that a request takes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// What it is for.
    pub key: Key,
    /// The shard that it is in.
    pub shard: usize,
    /// The hash of the key, at random.
    pub hash: u32,
    /// Whose room it takes.
    pub owner: Owner,
    /// The rate that applies.
    pub rate: Rate,
}

/// A bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is for.
    pub key: Key,
    /// How full it was when it was last taken from.
    pub level: Level,
    /// The rate at that time.
    pub rate: Rate,
    /// How many requests it has refused since it is in use.
    pub refused: u64,
    /// When it refused the last one, by the caller's clock.
    pub refused_at: u64,
    owner: Owner,
    hash: u32,
    next: u32,
    in_use: bool,
}

impl Entry {
    /// A free entry.
    pub const FREE: Self = Self {
        key: Key {
            target: [0; 16],
            database: 0,
            limit: 0,
            within: 0,
            which: [0; 4],
        },
        level: Level { units: 0, at: 0 },
        rate: Rate {
            per: super::Per::Second,
            amount: 0,
            burst: 0,
        },
        refused: 0,
        refused_at: 0,
        owner: Owner {
            tenant: 0,
            partner: 0,
            database: 0,
        },
        hash: 0,
        next: NONE,
        in_use: false,
    };

    /// Returns whether it is a bucket's.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.in_use
    }

    /// Returns the next entry of the chain.
    #[cfg(test)]
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    fn is_idle(&self, now: u64) -> bool {
        self.rate.drained(self.level, now).units == 0
    }
}

/// The state of a shard.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Who has how many buckets.
    pub shares: Shares,
    /// How many requests were refused because it was full.
    pub full: u64,
    free: u32,
    fresh: u32,
    hand: u32,
}

impl Head {
    /// An empty shard's.
    pub const EMPTY: Self = Self {
        shares: Shares::NONE,
        full: 0,
        free: NONE,
        fresh: 0,
        hand: 0,
    };
}

/// One shard of the table, under its lock.
pub struct Shard<'a> {
    /// Its state.
    pub head: &'a mut Head,
    chains: &'a mut [u32],
    entries: &'a mut [Entry],
}

impl<'a> Shard<'a> {
    /// Wraps the caller's memory: as many chains as entries, of [`NONE`] and [`Entry::FREE`] at first.
    pub fn new(head: &'a mut Head, chains: &'a mut [u32], entries: &'a mut [Entry]) -> Self {
        Self {
            head,
            chains,
            entries,
        }
    }

    /// Finds a bucket.
    pub(super) fn find(&self, key: &Key, hash: u32) -> Option<u32> {
        let mut at = *self.chains.get(self.chain(hash))?;
        while let Some(entry) = self.entries.get(at as usize) {
            if entry.hash == hash && entry.key == *key {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    /// Returns the bucket of a demand, if it is in use.
    #[must_use]
    pub fn bucket(&self, demand: &Demand) -> Option<Entry> {
        let at = self.find(&demand.key, demand.hash)?;
        self.entry(at).copied()
    }

    /// Returns the buckets of a database that are in use, among `count` places from the place `first` on.
    pub fn in_use(&self, database: u32, first: usize, count: usize) -> impl Iterator<Item = Entry> {
        let of = move |entry: &&Entry| entry.in_use && entry.key.database == database;
        let places = self.entries.iter().skip(first).take(count);
        places.filter(of).copied()
    }

    pub(super) fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)
    }

    pub(super) fn entry_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at as usize)
    }

    /// Adds the bucket of a demand. Returns false without room for it.
    pub(super) fn insert(&mut self, demand: &Demand, level: Level) -> bool {
        self.sweep(SWEEP, level.at);
        if !self.has_room(&demand.owner) {
            self.sweep(SWEEP_FOR_ROOM, level.at);
        }
        self.has_room(&demand.owner) && self.add(demand, level).is_some()
    }

    fn add(&mut self, demand: &Demand, level: Level) -> Option<()> {
        let at = self.take_free()?;
        let chain = self.chain(demand.hash);
        let first = self.chains.get_mut(chain)?;
        *self.entries.get_mut(at as usize)? = Entry {
            key: demand.key,
            level,
            rate: demand.rate,
            owner: demand.owner,
            hash: demand.hash,
            next: *first,
            in_use: true,
            ..Entry::FREE
        };
        *first = at;
        self.head.shares.add(&demand.owner);
        Some(())
    }

    /// Removes a bucket.
    pub(super) fn remove(&mut self, at: u32) {
        let Some(gone) = self.entry(at).copied() else {
            return;
        };
        let chain = self.chain(gone.hash);
        let Some(first) = self.chains.get_mut(chain) else {
            return;
        };
        if *first == at {
            *first = gone.next;
        } else {
            let mut before = *first;
            while let Some(entry) = self.entries.get_mut(before as usize) {
                if entry.next == at {
                    entry.next = gone.next;
                    break;
                }
                before = entry.next;
            }
        }
        let free = self.head.free;
        if let Some(place) = self.entry_mut(at) {
            *place = Entry {
                next: free,
                ..Entry::FREE
            };
        }
        self.head.free = at;
        self.head.shares.remove(&gone.owner);
    }

    fn chain(&self, hash: u32) -> usize {
        hash as usize % self.chains.len().max(1)
    }

    fn has_room(&mut self, owner: &Owner) -> bool {
        self.head.shares.has_room(owner, self.entries.len())
    }

    fn take_free(&mut self) -> Option<u32> {
        let at = self.head.free;
        if at != NONE {
            self.head.free = self.entry(at)?.next;
            return Some(at);
        }
        let fresh = self.head.fresh;
        self.entry(fresh)?;
        self.head.fresh += 1;
        Some(fresh)
    }

    /// Forgets idle buckets among the next `count` entries.
    fn sweep(&mut self, count: usize, now: u64) {
        let size = self.head.fresh;
        for _ in 0..count.min(size as usize) {
            let at = self.head.hand % size;
            self.head.hand = at + 1;
            let idle = |entry: &Entry| entry.in_use && entry.is_idle(now);
            if self.entry(at).is_some_and(idle) {
                self.remove(at);
            }
        }
    }
}
