//! Slots: how many may be held at once, at every level. In memory of a fixed size that the caller provides, under one lock, in a
//! few steps and without allocation.
//!
//! Each slot that is held has an entry, and each limit of a scope that has any held has a counter. Slots that expire are in a
//! heap by their time, and are freed before another is acquired.

use super::heap::{self, NOWHERE};
use super::shares::{Owner, Shares};
use super::table::Key;

/// No entry.
pub const NONE: u32 = u32::MAX;
/// The most counters of a slot: one for each level down to the project, and for a user and an API key one for the project, one
/// for the tenant and one for everywhere.
pub const COUNTERS_MAX: usize = 10;

/// A slot that is never freed by time.
pub const NEVER: u64 = u64::MAX;

/// A slot that is held, or a free entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its id.
    pub id: [u8; 16],
    /// What the caller keeps with it.
    pub holder: Holder,
    /// When it expires, by the caller's clock.
    pub expires: u64,
    owner: Owner,
    counters: [u32; COUNTERS_MAX],
    /// Its place in the heap.
    place: u32,
    next: u32,
    held: bool,
}

/// Who holds a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The database.
    pub database: u32,
    /// The limit.
    pub limit: u32,
    /// The user.
    pub user: [u8; 16],
    /// The tenant, or the partner or platform if there is none.
    pub place: [u8; 16],
    /// The process that acquired it.
    pub process: i32,
    /// Until when it is held, as a number of the caller.
    pub until: u8,
    /// When it was acquired, in microseconds of the Unix epoch.
    pub since: i64,
}

/// How many slots of a limit are held at a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    key: Key,
    held: u32,
    refused: u64,
    hash: u32,
    next: u32,
}

impl Slot {
    /// A free entry.
    pub const FREE: Self = Self {
        id: [0; 16],
        holder: Holder {
            database: 0,
            limit: 0,
            user: [0; 16],
            place: [0; 16],
            process: 0,
            until: 0,
            since: 0,
        },
        expires: 0,
        owner: Owner {
            tenant: 0,
            partner: 0,
            database: 0,
        },
        counters: [NONE; COUNTERS_MAX],
        place: NOWHERE,
        next: NONE,
        held: false,
    };
}

impl Counter {
    /// A free counter.
    pub const FREE: Self = Self {
        key: Key {
            target: [0; 16],
            database: 0,
            limit: 0,
            within: 0,
            which: [0; 4],
        },
        held: 0,
        refused: 0,
        hash: 0,
        next: NONE,
    };
}

/// The state of the table.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Who holds how many slots.
    pub shares: Shares,
    /// How many requests were refused because it was full.
    pub full: u64,
    free: u32,
    fresh: u32,
    free_counter: u32,
    fresh_counter: u32,
    counters: u32,
    heap: u32,
}

impl Head {
    /// An empty table's.
    pub const EMPTY: Self = Self {
        shares: Shares::NONE,
        full: 0,
        free: NONE,
        fresh: 0,
        free_counter: NONE,
        fresh_counter: 0,
        counters: 0,
        heap: 0,
    };
}

/// A limit of a scope that a slot counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// What it is for.
    pub key: Key,
    /// The hash of the key, at random.
    pub hash: u32,
    /// How many may be held.
    pub most: u64,
}

/// How many are held of a limit of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub held: u32,
    /// How many requests were refused since any was held.
    pub refused: u64,
}

/// Why no slot was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many are held as may be, of this demand; the first of several.
    Over {
        /// Its place among the demands.
        demand: usize,
        /// How many are held.
        held: u32,
    },
    /// There is no room for another slot.
    Full,
}

/// The table under its lock.
pub struct Slots<'a> {
    /// Its state.
    pub head: &'a mut Head,
    slots: &'a mut [Slot],
    heap: &'a mut [u32],
    counters: &'a mut [Counter],
    chains: &'a mut [u32],
}

impl<'a> Slots<'a> {
    /// Wraps the caller's memory: as many places in the heap as slots, and as many chains as counters; [`NONE`] at first.
    pub fn new(
        head: &'a mut Head,
        slots: &'a mut [Slot],
        heap: &'a mut [u32],
        counters: &'a mut [Counter],
        chains: &'a mut [u32],
    ) -> Self {
        Self {
            head,
            slots,
            heap,
            counters,
            chains,
        }
    }

    /// Acquires a slot in all demands, or in none. Returns its number, which [`Slots::release`] takes. `id` makes its id of that
    /// number.
    pub fn acquire(
        &mut self,
        demands: &[Demand],
        holder: Holder,
        owner: Owner,
        (expires, now): (u64, u64),
        id: impl FnOnce(u32) -> [u8; 16],
    ) -> Result<u32, Refused> {
        self.expire(now);
        let mut refused = None;
        let (mut known, mut missing) = ([NONE; COUNTERS_MAX], 0);
        for (n, (demand, known)) in demands.iter().zip(&mut known).enumerate() {
            let found = self.find(&demand.key, demand.hash);
            let held = self.counter(found).map_or(0, |counter| counter.held);
            if u64::from(held) >= demand.most {
                if let Some(counter) = self.counters.get_mut(found as usize) {
                    counter.refused += 1;
                }
                refused.get_or_insert(Refused::Over { demand: n, held });
            }
            missing += usize::from(found == NONE);
            *known = found;
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        let counters_left = self.counters.len() - self.head.counters as usize;
        let fits = demands.len() <= COUNTERS_MAX && missing <= counters_left;
        if !fits || !self.head.shares.has_room(&owner, self.slots.len()) {
            self.head.full += 1;
            return Err(Refused::Full);
        }
        for (demand, known) in demands.iter().zip(&mut known) {
            if *known == NONE {
                *known = self.add_counter(demand);
            }
            if let Some(counter) = self.counters.get_mut(*known as usize) {
                counter.held += 1;
            }
        }
        let number = self.take_free();
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = Slot {
                id: id(number),
                holder,
                expires,
                owner,
                counters: known,
                place: NOWHERE,
                next: NONE,
                held: true,
            };
        }
        self.head.shares.add(&owner);
        if expires != NEVER {
            heap::push(self.heap, &mut self.head.heap, self.slots, number);
        }
        Ok(number)
    }

    /// Frees a slot. Returns false if it is no longer held under this id.
    pub fn release(&mut self, number: u32, id: &[u8; 16]) -> bool {
        if self.held(number).is_none_or(|slot| slot.id != *id) {
            return false;
        }
        self.free(number);
        true
    }

    /// Returns a slot that is held.
    #[must_use]
    pub fn held(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number as usize).filter(|slot| slot.held)
    }

    /// Returns how many are held in a demand.
    pub fn count(&mut self, demand: &Demand, now: u64) -> Held {
        self.expire(now);
        let found = self.counter(self.find(&demand.key, demand.hash));
        found.map_or_else(Held::default, |counter| Held {
            held: counter.held,
            refused: counter.refused,
        })
    }

    /// Returns the slots of a database that are held, among `count` places from the place `first` on.
    pub fn all(&self, database: u32, first: usize, count: usize) -> impl Iterator<Item = Slot> {
        let of = move |slot: &&Slot| slot.held && slot.holder.database == database;
        self.slots
            .iter()
            .skip(first)
            .take(count)
            .filter(of)
            .copied()
    }

    /// Frees the slots whose time is over.
    pub fn expire(&mut self, now: u64) {
        while let Some(first) = self.heap.first().filter(|_| self.head.heap > 0).copied() {
            let over = |slot: &Slot| slot.expires <= now;
            if !self.slots.get(first as usize).is_some_and(over) {
                return;
            }
            self.free(first);
        }
    }

    fn free(&mut self, number: u32) {
        let Some(gone) = self.slots.get(number as usize).copied() else {
            return;
        };
        if gone.place != NOWHERE {
            heap::remove(self.heap, &mut self.head.heap, self.slots, gone.place);
        }
        for counter in gone.counters {
            self.leave(counter);
        }
        self.head.shares.remove(&gone.owner);
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = Slot {
                next: self.head.free,
                ..Slot::FREE
            };
        }
        self.head.free = number;
    }

    /// Takes a free entry. There is one: an owner with room has fewer than are free.
    fn take_free(&mut self) -> u32 {
        let number = self.head.free;
        if let Some(slot) = self.slots.get(number as usize) {
            self.head.free = slot.next;
            return number;
        }
        self.head.fresh += 1;
        self.head.fresh - 1
    }

    fn counter(&self, number: u32) -> Option<&Counter> {
        self.counters.get(number as usize)
    }

    fn chain(&self, hash: u32) -> usize {
        hash as usize % self.chains.len().max(1)
    }

    /// Returns the number of a counter, or [`NONE`].
    fn find(&self, key: &Key, hash: u32) -> u32 {
        let mut at = self.chains.get(self.chain(hash)).map_or(NONE, |at| *at);
        while let Some(counter) = self.counter(at) {
            if counter.hash == hash && counter.key == *key {
                return at;
            }
            at = counter.next;
        }
        NONE
    }

    fn add_counter(&mut self, demand: &Demand) -> u32 {
        let number = match self.counter(self.head.free_counter) {
            Some(free) => {
                let number = self.head.free_counter;
                self.head.free_counter = free.next;
                number
            }
            None => {
                self.head.fresh_counter += 1;
                self.head.fresh_counter - 1
            }
        };
        let chain = self.chain(demand.hash);
        if let (Some(counter), Some(first)) = (
            self.counters.get_mut(number as usize),
            self.chains.get_mut(chain),
        ) {
            *counter = Counter {
                key: demand.key,
                hash: demand.hash,
                next: *first,
                ..Counter::FREE
            };
            *first = number;
            self.head.counters += 1;
        }
        number
    }

    /// Counts one slot less, and frees a counter that counts none.
    fn leave(&mut self, number: u32) {
        let Some(counter) = self.counters.get_mut(number as usize) else {
            return;
        };
        counter.held = counter.held.saturating_sub(1);
        if counter.held > 0 {
            return;
        }
        let (next, chain) = (counter.next, counter.hash);
        let chain = self.chain(chain);
        let mut at = self.chains.get(chain).map_or(NONE, |at| *at);
        if at == number
            && let Some(first) = self.chains.get_mut(chain)
        {
            *first = next;
        }
        while let Some(before) = self.counters.get_mut(at as usize).filter(|_| at != number) {
            if before.next == number {
                before.next = next;
                break;
            }
            at = before.next;
        }
        if let Some(counter) = self.counters.get_mut(number as usize) {
            *counter = Counter {
                next: self.head.free_counter,
                ..Counter::FREE
            };
        }
        self.head.free_counter = number;
        self.head.counters -= 1;
    }
}

impl heap::Placed for Slot {
    fn key(&self) -> u64 {
        self.expires
    }

    fn place(&mut self) -> &mut u32 {
        &mut self.place
    }
}

#[cfg(test)]
mod tests;
