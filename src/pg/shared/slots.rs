//! Slots in shared memory: core's table under one lock, and those that this backend holds until its transaction or session ends.
//!
//! A backend that ends frees its slots, also when it is terminated. One that is killed takes all of shared memory with it: the
//! server restarts, and nothing is held.

use std::cell::RefCell;
use std::ffi::c_void;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use pgrx::prelude::*;
use tenancy_core::limit::shares::Owner;
use tenancy_core::limit::slots::{Counter, Demand, Head, Held, Holder, NONE, Refused, Slot, Slots};

use super::area::{self, Area, Lock};
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{queue, time, xact};

static SLOTS: GucSetting<i32> = GucSetting::<i32>::new(8192);

/// How many counters there are for each slot. A slot counts in ten at most, and shares most of them with others.
const COUNTERS_EACH: usize = 3;
/// The number of slots that are copied at a time.
const PIECE: usize = 1024;

/// The addresses of the table's parts, the same in every process.
#[derive(Clone, Copy)]
struct Memory {
    lock: *mut pg_sys::LWLockPadded,
    slots: *mut Slot,
    counters: *mut Counter,
    head: *mut Head,
    heap: *mut u32,
    chains: *mut u32,
    size: usize,
}

static MEMORY: BackendCell<Option<Memory>> = BackendCell::new(None);

/// Until when a slot is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The end of the transaction.
    Transaction,
    /// The end of the session.
    Session,
    /// Its release.
    Release,
}

/// A slot that this backend frees.
struct Mine {
    number: u32,
    id: [u8; 16],
    user: [u8; 16],
    until: Until,
    /// The savepoint in which it was acquired; 0 after its transaction.
    savepoint: u32,
}

thread_local! {
    static MINE: RefCell<Vec<Mine>> = const { RefCell::new(Vec::new()) };
}

static FREED_AT_EXIT: BackendCell<bool> = BackendCell::new(false);

/// Defines the setting, and requests shared memory while the server loads its libraries.
pub fn init() {
    GucRegistry::define_int_guc(
        c"tenancy.slots",
        c"How many slots may be held at once.",
        c"Each takes about 300 bytes of shared memory. A tenant takes half of what is free at most.",
        &SLOTS,
        64,
        1_048_576,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    area::request(Area {
        name: c"tenancy_slots",
        locks: 1,
        bytes: || sizes().iter().sum(),
        start,
    });
    // SAFETY: callbacks are registered once, while the library is loaded, and live until the process exits.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(savepoint_event), std::ptr::null_mut());
    }
}

fn size() -> usize {
    usize::try_from(SLOTS.get()).unwrap_or(0)
}

/// Returns the bytes of slots, counters, the head, the heap and chains. None needs a larger alignment than the one before.
fn sizes() -> [usize; 5] {
    let (slots, counters) = (size(), size() * COUNTERS_EACH);
    [
        slots * size_of::<Slot>(),
        counters * size_of::<Counter>(),
        size_of::<Head>(),
        slots * size_of::<u32>(),
        counters * size_of::<u32>(),
    ]
}

const _: () = assert!(
    align_of::<Slot>() <= 64
        && align_of::<Counter>() <= align_of::<Slot>()
        && align_of::<Head>() <= align_of::<Counter>()
        && align_of::<u32>() <= align_of::<Head>()
);

fn start(memory: *mut u8, lock: *mut pg_sys::LWLockPadded, new: bool) {
    let [slots, counters, head, heap, _] = sizes();
    let size = size();
    // SAFETY: memory of the sizes that were asked for; a new one is written before any other process can reach it.
    unsafe {
        let parts = Memory {
            lock,
            slots: memory.cast(),
            counters: memory.add(slots).cast(),
            head: memory.add(slots + counters).cast(),
            heap: memory.add(slots + counters + head).cast(),
            chains: memory.add(slots + counters + head + heap).cast(),
            size,
        };
        if new {
            parts.head.write(Head::EMPTY);
            for n in 0..size {
                parts.slots.add(n).write(Slot::FREE);
                parts.heap.add(n).write(NONE);
            }
            for n in 0..size * COUNTERS_EACH {
                parts.counters.add(n).write(Counter::FREE);
                parts.chains.add(n).write(NONE);
            }
        }
        MEMORY.set(Some(parts));
    }
}

/// Calls `f` with the table under its lock. `f` must not call anything else.
fn with<R>(f: impl FnOnce(&mut Slots<'_>) -> R) -> Result<R, Error> {
    let memory = MEMORY.get().ok_or(Error::NotPreloaded)?;
    // SAFETY: a lock that this process does not hold: `f` calls nothing.
    let _lock = unsafe { Lock::exclusive(memory.lock) };
    let counters = memory.size * COUNTERS_EACH;
    // SAFETY: the memory lives as long as the server, has these lengths, and is reached under the lock only.
    unsafe {
        Ok(f(&mut Slots::new(
            &mut *memory.head,
            std::slice::from_raw_parts_mut(memory.slots, memory.size),
            std::slice::from_raw_parts_mut(memory.heap, memory.size),
            std::slice::from_raw_parts_mut(memory.counters, counters),
            std::slice::from_raw_parts_mut(memory.chains, counters),
        )))
    }
}

/// Acquires a slot in all demands, or in none. Returns its id. `expires` is a time of [`time::monotonic`].
pub fn acquire(
    demands: &[Demand],
    holder: Holder,
    owner: Owner,
    until: Until,
    expires: u64,
) -> Result<Result<[u8; 16], Refused>, Error> {
    free_at_exit();
    // Reserves memory first: nothing between acquiring and noting can fail.
    MINE.with_borrow_mut(|mine| mine.reserve(1));
    let random = random()?;
    let now = time::monotonic();
    let id = |number| id_of(number, random);
    let number = match with(|slots| slots.acquire(demands, holder, owner, (expires, now), id))? {
        Ok(number) => number,
        Err(refused) => return Ok(Err(refused)),
    };
    let id = id(number);
    MINE.with_borrow_mut(|mine| {
        mine.push(Mine {
            number,
            id,
            user: holder.user,
            until,
            savepoint: xact::savepoint(),
        });
    });
    Ok(Ok(id))
}

/// Makes the id of a slot: its number, and what nobody guesses, in the form of a uuid of version 8.
fn id_of(number: u32, random: [u8; 16]) -> [u8; 16] {
    let mut id = random;
    if let Some(head) = id.first_chunk_mut() {
        *head = number.to_be_bytes();
    }
    id[6] = 0x80 | (id[6] & 0x0F);
    id[8] = 0x80 | (id[8] & 0x3F);
    id
}

fn number_of(id: &[u8; 16]) -> u32 {
    id.first_chunk()
        .map_or(NONE, |head| u32::from_be_bytes(*head))
}

fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0u8; 16];
    // SAFETY: writes as many bytes as the array has.
    match unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) } {
        true => Ok(bytes),
        false => Err(Error::Internal("the server has no random numbers")),
    }
}

/// Returns who holds the slot of this id in this database.
pub fn holder(id: &[u8; 16]) -> Result<Option<Holder>, Error> {
    let now = time::monotonic();
    let number = number_of(id);
    with(|slots| {
        slots.expire(now);
        let held = slots.held(number).filter(|slot| slot.id == *id);
        held.map(|slot| slot.holder)
            .filter(|holder| holder.database == queue::database())
    })
}

/// Frees a slot at once. Returns false if it is not held.
pub fn release(id: &[u8; 16]) -> Result<bool, Error> {
    MINE.with_borrow_mut(|mine| mine.retain(|mine| mine.id != *id));
    let number = number_of(id);
    with(|slots| slots.release(number, id))
}

/// Returns how many are held in each demand.
pub fn counts(demands: &[Demand]) -> Result<Vec<Held>, Error> {
    let mut found = Vec::with_capacity(demands.len());
    let now = time::monotonic();
    with(|slots| found.extend(demands.iter().map(|demand| slots.count(demand, now))))?;
    Ok(found)
}

/// Returns the slots of this database that are held, each as of the moment when it is read.
pub fn all() -> Result<Vec<Slot>, Error> {
    let memory = MEMORY.get().ok_or(Error::NotPreloaded)?;
    let (now, database) = (time::monotonic(), queue::database());
    let mut all = Vec::new();
    with(|slots| slots.expire(now))?;
    // One piece at a time: other processes do not wait for all of it.
    for first in (0..memory.size).step_by(PIECE) {
        let mut found = Vec::with_capacity(PIECE);
        with(|slots| found.extend(slots.all(database, first, PIECE)))?;
        all.append(&mut found);
    }
    Ok(all)
}

/// Statistics: how many may be held, how many are, and how many requests there was no room for since the server's start.
pub fn totals() -> Result<[u64; 3], Error> {
    let now = time::monotonic();
    let size = MEMORY.get().map_or(0, |memory| memory.size as u64);
    with(|slots| {
        slots.expire(now);
        [size, slots.head.shares.taken().into(), slots.head.full]
    })
}

/// Frees those of this backend's slots for which `ends` is true. Called at ends of transactions: raises no error.
fn free(ends: impl Fn(&Mine) -> bool) {
    let Ok(mut mine) = MINE.try_with(RefCell::take) else {
        return;
    };
    let over = |mine: &Mine| ends(mine);
    if mine.iter().any(over) {
        // Without memory there are no slots.
        let _ = with(|slots| {
            for mine in mine.iter().filter(|mine| over(mine)) {
                slots.release(mine.number, &mine.id);
            }
        });
        mine.retain(|mine| !over(mine));
    }
    MINE.set(mine);
}

fn is_empty() -> bool {
    MINE.with_borrow(Vec::is_empty)
}

/// Frees the session's slots that were acquired in earlier transactions, for DISCARD ALL.
pub fn end_session() {
    if !is_empty() {
        free(|mine| mine.savepoint == 0);
    }
}

/// Frees those of other users, when a user's context begins in the session.
pub fn entered(user: &[u8; 16]) {
    if !is_empty() {
        free(|mine| mine.savepoint == 0 && mine.user != *user);
    }
}

fn end_transaction(committed: bool) {
    if is_empty() {
        return;
    }
    match committed {
        true => free(|mine| mine.until == Until::Transaction),
        false => free(|mine| mine.savepoint != 0),
    }
    MINE.with_borrow_mut(|mine| {
        mine.retain(|mine| mine.until != Until::Release);
        mine.iter_mut().for_each(|mine| mine.savepoint = 0);
    });
}

fn holds_for_transaction() -> bool {
    let of = |mine: &Mine| mine.until == Until::Transaction;
    MINE.with_borrow(|mine| mine.iter().any(of))
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_PREPARE if holds_for_transaction() => Error::SlotsPrepared.raise(),
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => end_transaction(true),
        XACT_EVENT_ABORT => end_transaction(false),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn savepoint_event(
    event: pg_sys::SubXactEvent::Type,
    savepoint: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    // Savepoints that began later are in it: it ends before another one begins beside it.
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB && !is_empty() {
        free(|mine| mine.savepoint >= savepoint);
    }
}

/// Has this backend's slots freed when it exits.
fn free_at_exit() {
    if !FREED_AT_EXIT.replace_with(true) {
        // SAFETY: registered once in a process; the callback is guarded.
        unsafe { pg_sys::before_shmem_exit(Some(exits), pg_sys::Datum::from(0)) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn exits(_code: i32, _arg: pg_sys::Datum) {
    free(|mine| mine.until != Until::Release || mine.savepoint != 0);
}
