//! The buckets of rate limits in shared memory: core's table in shards, with a lock each.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use tenancy_core::limit::table::{Demand, Entry, Head, NONE, Shard};
use tenancy_core::limit::take::{Found, Refused, Shards, take as take_all};

use super::area::{self, Area, Lock};
use crate::error::Error;
use crate::pg::cell::BackendCell;

static BUCKETS: GucSetting<i32> = GucSetting::<i32>::new(65_536);

/// The number of shards. A set of them is a u32.
const SHARDS: usize = 32;
/// The number of buckets that are copied at a time.
const PIECE: usize = 1024;

/// The addresses of the table's parts, the same in every process.
#[derive(Clone, Copy)]
struct Memory {
    locks: *mut pg_sys::LWLockPadded,
    heads: *mut Head,
    entries: *mut Entry,
    chains: *mut u32,
    /// The entries of each shard.
    size: usize,
}

static MEMORY: BackendCell<Option<Memory>> = BackendCell::new(None);

/// SipHash with a random key, generated when the server starts and inherited by every backend, so that no client can compute
/// which buckets share a place, or which tenants a counter.
static HASHER: OnceLock<RandomState> = OnceLock::new();

thread_local! {
    static FOUND: RefCell<Vec<Found>> = const { RefCell::new(Vec::new()) };
}

/// Defines the setting, and requests shared memory while the server loads its libraries.
pub fn init() {
    HASHER.get_or_init(RandomState::new);
    GucRegistry::define_int_guc(
        c"tenancy.rate_buckets",
        c"How many rate limits may be in use at once.",
        c"One for each scope or API key, limit and time, while it is below its burst: 128 bytes of shared memory. A tenant takes half of what is free at most.",
        &BUCKETS,
        1024,
        16_777_216,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    area::request(Area {
        name: c"tenancy_rates",
        locks: SHARDS,
        bytes: || sizes().iter().sum(),
        start,
    });
}

/// Returns the entries of each shard.
fn size() -> usize {
    usize::try_from(BUCKETS.get()).unwrap_or(0).div_ceil(SHARDS)
}

/// Returns the bytes of entries, heads and chains. None needs a larger alignment than the one before.
fn sizes() -> [usize; 3] {
    [
        SHARDS * size() * size_of::<Entry>(),
        SHARDS * size_of::<Head>(),
        SHARDS * size() * size_of::<u32>(),
    ]
}

const _: () = assert!(
    align_of::<Entry>() <= 64
        && align_of::<Head>() <= align_of::<Entry>()
        && align_of::<u32>() <= align_of::<Head>()
        && size_of::<Entry>() <= 128
);

fn start(memory: *mut u8, locks: *mut pg_sys::LWLockPadded, new: bool) {
    let [first, second, _] = sizes();
    let size = size();
    // SAFETY: memory of the sizes that were asked for; a new one is written before any other process can reach it.
    unsafe {
        let entries: *mut Entry = memory.cast();
        let heads: *mut Head = memory.add(first).cast();
        let chains: *mut u32 = memory.add(first + second).cast();
        if new {
            for n in 0..SHARDS {
                heads.add(n).write(Head::EMPTY);
            }
            for n in 0..SHARDS * size {
                entries.add(n).write(Entry::FREE);
                chains.add(n).write(NONE);
            }
        }
        MEMORY.set(Some(Memory {
            locks,
            heads,
            entries,
            chains,
            size,
        }));
    }
}

/// Hashes a value with the server's key.
pub fn hash(value: &impl Hash) -> u64 {
    HASHER.get().map_or(0, |hasher| hasher.hash_one(value))
}

/// Returns the shard of a hash.
pub fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

/// The shards whose locks are held.
struct Locked {
    memory: Memory,
    held: u32,
}

impl Locked {
    /// Locks the shards of a set, in their order, so that no two processes wait for each other.
    fn new(memory: Memory, set: u32) -> Self {
        for number in numbers(set) {
            // SAFETY: one of the locks that were asked for; each is taken once. Released below.
            std::mem::forget(unsafe { Lock::exclusive(memory.locks.add(number)) });
        }
        Self { memory, held: set }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        for number in numbers(self.held) {
            // SAFETY: held since `new`.
            drop(unsafe { Lock::held(self.memory.locks.add(number)) });
        }
    }
}

/// Returns the numbers in a set, in their order.
fn numbers(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let number = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (number < u32::BITS).then_some(number as usize)
    })
}

impl Shards for Locked {
    fn shard(&mut self, number: usize) -> Shard<'_> {
        let number = number % SHARDS;
        debug_assert!(self.held & (1 << number) != 0);
        let Memory {
            heads,
            entries,
            chains,
            size,
            ..
        } = self.memory;
        // SAFETY: the memory lives as long as the server; each shard has `size` entries and chains, and is reached under its
        // lock only. The result borrows `self`, so there is one at a time.
        unsafe {
            Shard::new(
                &mut *heads.add(number),
                std::slice::from_raw_parts_mut(chains.add(number * size), size),
                std::slice::from_raw_parts_mut(entries.add(number * size), size),
            )
        }
    }
}

fn memory() -> Result<Memory, Error> {
    MEMORY.get().ok_or(Error::NotPreloaded)
}

/// Takes `cost` from all buckets, or from none. Returns how much may be taken at once afterwards; `None` without demands.
pub fn take(
    demands: &[Demand],
    cost: u64,
    now: u64,
) -> Result<Result<Option<u64>, Refused>, Error> {
    let memory = memory()?;
    FOUND.with_borrow_mut(|found| {
        // Under the locks nothing is allocated.
        found.clear();
        found.reserve(demands.len());
        let set = demands
            .iter()
            .fold(0, |set, demand| set | 1u32 << (demand.shard % SHARDS));
        let mut locked = Locked::new(memory, set);
        Ok(take_all(&mut locked, demands, cost, now, found))
    })
}

/// Returns the bucket of a demand, if it is in use.
pub fn find(demand: &Demand) -> Result<Option<Entry>, Error> {
    let mut locked = Locked::new(memory()?, 1 << (demand.shard % SHARDS));
    let shard = locked.shard(demand.shard);
    Ok(shard.bucket(demand))
}

/// Returns the buckets of a database that are in use, each as of the moment when it is read.
pub fn entries(database: u32) -> Result<Vec<Entry>, Error> {
    let memory = memory()?;
    let mut all = Vec::new();
    // One piece at a time: other processes do not wait for all of it.
    for number in 0..SHARDS {
        for first in (0..memory.size).step_by(PIECE) {
            let mut found = Vec::with_capacity(PIECE);
            let mut locked = Locked::new(memory, 1 << number);
            found.extend(locked.shard(number).in_use(database, first, PIECE));
            drop(locked);
            all.append(&mut found);
        }
    }
    Ok(all)
}

/// Statistics of the table.
pub struct Counts {
    /// How many buckets fit.
    pub capacity: u64,
    /// How many are there, idle ones included that were not forgotten yet.
    pub used: u64,
    /// How many requests were refused because there was no room, since the server's start.
    pub full: u64,
}

/// Returns the statistics of the whole server's table.
pub fn counts() -> Result<Counts, Error> {
    let memory = memory()?;
    let mut counts = Counts {
        capacity: (memory.size * SHARDS) as u64,
        used: 0,
        full: 0,
    };
    for number in 0..SHARDS {
        let mut locked = Locked::new(memory, 1 << number);
        let shard = locked.shard(number);
        counts.used += u64::from(shard.head.shares.taken());
        counts.full += shard.head.full;
    }
    Ok(counts)
}
