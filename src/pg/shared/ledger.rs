//! The ledger in shared memory: core's table under one lock, the amounts of this backend's transaction, and
//! the events that remove them. [`tenancy_core::ledger`] explains why it is exact.
//!
//! core requires of the server:
//!
//! - A mark is written when its transaction first records something, which assigns the id. This is before
//!   the transaction is visible, and before anything else is recorded during its commit.
//! - A transaction becomes visible when the server removes it from the list of running ones. That happens
//!   after all waits, for locks or standbys, and before `XACT_EVENT_COMMIT`, where it finishes. Nothing in
//!   between waits. A backend terminated while it waits for a standby also reaches that event.
//! - The loader takes its snapshot under the ledger's lock. No process waits for the ledger's lock while it
//!   holds the lock of that list. The loader reads at that snapshot, and at no newer one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};
use tenancy_core::ledger::{
    Account, Blocked, CreditCoverage, Demand, EMPTY_BUCKET, Entry, GRID, Head, Held, Ledger, Load,
    Mark, PATIENCE, Recorded, Span, State, View, slot,
};
use tenancy_core::time::{Instant, Length};

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::snapshot::{Pushed, Snapshot};
use crate::pg::{time, xact};

static ENTRIES: GucSetting<i32> = GucSetting::<i32>::new(131_072);

/// The number of entries that are copied at a time.
const PIECE: usize = 4096;

/// The longest sleep before checking again: as long as it waits for another loader.
const LOOK: Length = PATIENCE;

struct Top(Head);

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Top {}

// SAFETY: the name is used for this lock only.
static HEAD: PgLwLock<Top> = unsafe { PgLwLock::new(c"tenancy_ledger") };

/// The addresses of its parts: the same in every process, since they are forked.
#[derive(Clone, Copy)]
struct Memory {
    changed: *mut pg_sys::ConditionVariable,
    entries: *mut Entry,
    buckets: *mut u32,
    count: usize,
    /// One for each backend.
    marks: *mut Mark,
    backends: usize,
    /// The number of changes of budgets that have ended: written under the lock, read without.
    changes: *const AtomicU64,
}

static MEMORY: BackendCell<Option<Memory>> = BackendCell::new(None);

/// The amounts of this transaction in the ledger, for one open savepoint.
#[derive(Default)]
struct OpenNotes {
    savepoint: u32,
    held: HashMap<(Account, Span), i128>,
    recorded: HashMap<(Account, Instant), (i128, i128)>,
}

impl OpenNotes {
    fn hold(&mut self, held: Held) {
        *self.held.entry((held.account, held.span)).or_default() += held.quantity;
    }

    fn note(&mut self, recorded: &Recorded) {
        let key = (recorded.account, recorded.slot);
        let sum = self.recorded.entry(key).or_default();
        sum.0 += recorded.used;
        sum.1 += recorded.reserved;
    }

    fn held(&self) -> impl Iterator<Item = Held> {
        self.held.iter().map(|(key, quantity)| Held {
            account: key.0,
            span: key.1,
            quantity: *quantity,
        })
    }

    fn recorded(&self) -> impl Iterator<Item = Recorded> {
        self.recorded.iter().map(|(key, sum)| Recorded {
            account: key.0,
            slot: key.1,
            used: sum.0,
            reserved: sum.1,
        })
    }

    /// Sums the notes of an account in a period. A batch may load many: it looks up the slots of the period, if
    /// they are fewer than all notes.
    fn of(&self, account: &Account, span: &Span) -> (i128, i128) {
        let add = |sum: (i128, i128), noted: &(i128, i128)| (sum.0 + noted.0, sum.1 + noted.1);
        let slots = span.end.count(GRID).saturating_sub(span.start.count(GRID));
        if usize::try_from(slots).is_ok_and(|slots| slots < self.recorded.len()) {
            let slots = (0..=slots).map(|n| slot(span.start) + GRID * n);
            return slots
                .filter(|slot| span.has(*slot))
                .filter_map(|slot| self.recorded.get(&(*account, slot)))
                .fold((0, 0), add);
        }
        let of = self.recorded.iter();
        of.filter(|((of, slot), _)| of == account && span.has(*slot))
            .fold((0, 0), |sum, (_, noted)| add(sum, noted))
    }

    /// Moves the amounts of a released savepoint to its parent. The smaller part moves.
    fn take_in(&mut self, mut inner: Self) {
        if inner.held.len() > self.held.len() {
            std::mem::swap(&mut inner.held, &mut self.held);
        }
        if inner.recorded.len() > self.recorded.len() {
            std::mem::swap(&mut inner.recorded, &mut self.recorded);
        }
        inner.held().for_each(|held| self.hold(held));
        inner.recorded().for_each(|recorded| self.note(&recorded));
    }
}

thread_local! {
    /// The innermost savepoint is last. A batch may open a hundred thousand, one after the other: the memory grows
    /// with their usage, not with their number.
    static MINE: RefCell<Vec<OpenNotes>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with the amounts since the innermost savepoint.
fn mine<R>(f: impl FnOnce(&mut OpenNotes) -> R) -> R {
    let savepoint = xact::savepoint();
    MINE.with_borrow_mut(|all| {
        if all.last().is_none_or(|last| last.savepoint != savepoint) {
            all.push(OpenNotes {
                savepoint,
                ..OpenNotes::default()
            });
        }
        let last = all.len() - 1;
        f(&mut all[last])
    })
}

/// The scopes whose budgets of parts this transaction changes.
#[derive(Default)]
struct Changing {
    scopes: Vec<[u8; 16]>,
    begun: bool,
}

thread_local! {
    static CHANGES: RefCell<Changing> = RefCell::default();
}

fn any_recorded() -> bool {
    MINE.with_borrow(|all| all.iter().any(|mine| !mine.recorded.is_empty()))
}

static ACTIVE: BackendCell<bool> = BackendCell::new(false);
/// The last change of budgets that had ended before this transaction's first event.
static SINCE: BackendCell<Option<u64>> = BackendCell::new(None);
static MARKED: BackendCell<bool> = BackendCell::new(false);
static LOADING: BackendCell<Option<(Account, Span, u64)>> = BackendCell::new(None);

type Hook = Option<unsafe extern "C-unwind" fn()>;
static NEXT_REQUEST: BackendCell<Hook> = BackendCell::new(None);
static NEXT_STARTUP: BackendCell<Hook> = BackendCell::new(None);

/// Requests shared memory, while the server loads its libraries.
pub fn init() {
    GucRegistry::define_int_guc(
        c"tenancy.ledger_entries",
        c"How many counters of budgets are kept in shared memory.",
        c"One for each scope, metric and period with a budget. Counters are evicted if there are more, and loaded again when needed.",
        &ENTRIES,
        64,
        16_777_216,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    pg_shmem_init!(HEAD = Top(Head::new()));
    // SAFETY: hooks and callbacks are set once, while the library is loaded, and live until the process exits.
    unsafe {
        NEXT_REQUEST.set(pg_sys::shmem_request_hook);
        pg_sys::shmem_request_hook = Some(request);
        NEXT_STARTUP.set(pg_sys::shmem_startup_hook);
        pg_sys::shmem_startup_hook = Some(startup);
        pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(savepoint_event), std::ptr::null_mut());
        pg_sys::RegisterResourceReleaseCallback(Some(released_resources), std::ptr::null_mut());
    }
}

fn count() -> usize {
    usize::try_from(ENTRIES.get()).unwrap_or(64)
}

fn backends() -> usize {
    // SAFETY: reads a static of the server, which the server sets before it asks for memory.
    usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or(0)
}

/// Where the number of changes is, after the condition variable.
const CHANGES_AT: usize =
    size_of::<pg_sys::ConditionVariable>().next_multiple_of(align_of::<AtomicU64>());

/// Returns the sizes of the condition variable with the number of changes, marks, entries and buckets, each aligned for the next one.
fn sizes(count: usize) -> [usize; 4] {
    [
        (CHANGES_AT + size_of::<AtomicU64>()).next_multiple_of(align_of::<Mark>()),
        backends() * size_of::<Mark>(),
        count * size_of::<Entry>(),
        count * size_of::<u32>(),
    ]
}

#[pg_guard]
unsafe extern "C-unwind" fn request() {
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: the previous hook, then what the server wants such a hook to do.
    unsafe {
        if let Some(next) = NEXT_REQUEST.get() {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| next());
        }
        // The server may align memory to less than a mark needs.
        pg_sys::RequestAddinShmemSpace(sizes(count()).iter().sum::<usize>() + align_of::<Mark>());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn startup() {
    let count = count();
    let backends = backends();
    let sizes = sizes(count);
    let [first, second, third, _] = sizes;
    let mut found = false;
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: the previous hook; then memory of the size that was asked for, in this one process,
    // written before any other can see it.
    unsafe {
        if let Some(next) = NEXT_STARTUP.get() {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| next());
        }
        let memory = pg_sys::ShmemInitStruct(
            c"tenancy_ledger_entries".as_ptr(),
            sizes.iter().sum::<usize>() + align_of::<Mark>(),
            &mut found,
        )
        .cast::<u8>();
        let memory = memory.add(memory.align_offset(align_of::<Mark>()));
        let changed: *mut pg_sys::ConditionVariable = memory.cast();
        let changes: *mut AtomicU64 = memory.add(CHANGES_AT).cast();
        let marks: *mut Mark = memory.add(first).cast();
        let entries: *mut Entry = memory.add(first + second).cast();
        let buckets: *mut u32 = memory.add(first + second + third).cast();
        if !found {
            pg_sys::ConditionVariableInit(changed);
            changes.write(AtomicU64::new(0));
            for n in 0..backends {
                marks.add(n).write(Mark::new());
            }
            for n in 0..count {
                entries.add(n).write(Entry::FREE);
                buckets.add(n).write(EMPTY_BUCKET);
            }
        }
        MEMORY.set(Some(Memory {
            changed,
            entries,
            buckets,
            count,
            marks,
            backends,
            changes,
        }));
    }
}

fn with<R>(f: impl FnOnce(&mut Ledger<'_>) -> R) -> R {
    let Some(memory) = MEMORY.get() else {
        Error::NotPreloaded.raise();
    };
    let mut head = HEAD.exclusive();
    // SAFETY: the memory lives as long as the server, is `count` long, and is reached under the lock only.
    let (entries, buckets) = unsafe {
        (
            std::slice::from_raw_parts_mut(memory.entries, memory.count),
            std::slice::from_raw_parts_mut(memory.buckets, memory.count),
        )
    };
    f(&mut Ledger::new(
        &mut head.0,
        buckets,
        entries,
        memory.marks(),
    ))
}

impl Memory {
    fn changes(&self) -> &'static AtomicU64 {
        // SAFETY: the memory lives as long as the server; the number is atomic.
        unsafe { &*self.changes }
    }

    fn marks(&self) -> &'static [Mark] {
        // SAFETY: the memory lives as long as the server and is `backends` long; marks are atomic.
        unsafe { std::slice::from_raw_parts(self.marks, self.backends) }
    }
}

/// Returns the place of this backend's mark. Only the first `MaxBackends` processes in the server's table have
/// transactions that can write.
fn own_mark() -> usize {
    // SAFETY: reads the server's table of processes; this process is in it while it runs transactions.
    unsafe {
        let first: *const pg_sys::PGPROC = (*pg_sys::ProcGlobal).allProcs;
        let own = (pg_sys::MyProc as usize).saturating_sub(first as usize);
        own / size_of::<pg_sys::PGPROC>()
    }
}

/// Writes this transaction's id into the mark, before the transaction is visible.
fn mark() {
    if MARKED.get() {
        return;
    }
    let Some(mark) = MEMORY
        .get()
        .and_then(|memory| memory.marks().get(own_mark()))
    else {
        Error::NotPreloaded.raise();
    };
    // SAFETY: inside a transaction that may write.
    mark.set(unsafe { pg_sys::GetTopTransactionId() }.into_inner());
    MARKED.set(true);
}

/// Waits until `f` returns a value.
fn wait<R>(mut f: impl FnMut(&mut Ledger<'_>) -> Option<R>) -> R {
    loop {
        if let Some(result) = with(&mut f) {
            // SAFETY: forgets that this process sleeps, if it did.
            unsafe { pg_sys::ConditionVariableCancelSleep() };
            return result;
        }
        if let Some(memory) = MEMORY.get() {
            // SAFETY: a condition variable in shared memory; an error leaves through the guard, and the
            // abort takes this process off its list.
            unsafe {
                pg_sys::ConditionVariableTimedSleep(
                    memory.changed,
                    LOOK.millis() as _,
                    pg_sys::PG_WAIT_EXTENSION,
                )
            };
        }
    }
}

fn wake() {
    if let Some(memory) = MEMORY.get() {
        // SAFETY: a condition variable in shared memory; waking raises nothing.
        unsafe { pg_sys::ConditionVariableBroadcast(memory.changed) };
    }
}

/// Notes that this transaction is about to read budgets, for an event. Before its first one, the number of changes of budgets
/// tells which of them it knows.
pub fn look() {
    if SINCE.get().is_some() {
        return;
    }
    let Some(memory) = MEMORY.get() else {
        Error::NotPreloaded.raise();
    };
    ACTIVE.set(true);
    SINCE.set(Some(memory.changes().load(Ordering::Acquire)));
}

/// Notes that this transaction changes the parts of a scope's usage that have budgets.
pub fn change(scope: [u8; 16]) {
    ACTIVE.set(true);
    CHANGES.with_borrow_mut(|changes| {
        if !changes.scopes.contains(&scope) {
            changes.scopes.push(scope);
        }
    });
}

fn any_changed() -> bool {
    CHANGES.with_borrow(|changes| !changes.scopes.is_empty())
}

/// Begins the changes, before their commit is visible.
fn begin_changes() {
    CHANGES.with_borrow_mut(|changes| {
        if changes.scopes.is_empty() || changes.begun {
            return;
        }
        changes.begun = true;
        with(|ledger| {
            for scope in &changes.scopes {
                ledger.begin_change(scope);
            }
        });
    });
}

/// Ends them, after all backends were told.
fn end_changes() {
    let changes = CHANGES.take();
    let Some(memory) = MEMORY.get().filter(|_| changes.begun) else {
        return;
    };
    with(|ledger| {
        for scope in &changes.scopes {
            let ended = ledger.end_change(scope);
            memory.changes().store(ended, Ordering::Release);
        }
    });
}

/// The server calls it at the end of a transaction, for the last time after it sent the invalidations and released locks.
#[pg_guard]
unsafe extern "C-unwind" fn released_resources(
    phase: pg_sys::ResourceReleasePhase::Type,
    _committed: bool,
    top: bool,
    _arg: *mut c_void,
) {
    if top && phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS && any_changed() {
        end_changes();
    }
}

/// Admits all demands with their credits, until the transaction ends or its savepoint is rolled back; or none of
/// them.
pub fn admit(demands: &[Demand], covers: &mut [CreditCoverage]) -> Result<(), Blocked> {
    let now = time::now();
    ACTIVE.set(true);
    // Reserves memory first: nothing between the lock and the note can fail.
    let pots: usize = covers.iter().map(|cover| 1 + 2 * cover.pots.len()).sum();
    mine(|mine| mine.held.reserve(demands.len() + pots));
    with(|ledger| ledger.admit(demands, covers, now))?;
    mine(|mine| {
        for demand in demands {
            mine.hold(Held {
                account: demand.account,
                span: demand.span,
                quantity: demand.quantity,
            });
        }
        for cover in covers.iter() {
            if let Some(demand) = demands.get(cover.demand) {
                cover.held(demand.span).for_each(|held| mine.hold(held));
            }
        }
    });
    Ok(())
}

/// Notes the amounts of an event, which become used when this transaction commits.
pub fn note(recorded: &Recorded) {
    ACTIVE.set(true);
    mark();
    mine(|mine| mine.note(recorded));
}

/// Calls `f` with the ledger under a shared lock. `f` must not call anything else.
pub fn view<R>(f: impl FnOnce(&View<'_>) -> R) -> R {
    let Some(memory) = MEMORY.get() else {
        Error::NotPreloaded.raise();
    };
    let shared = HEAD.share();
    // SAFETY: as in `with`; shared, since nothing is written.
    let (entries, buckets) = unsafe {
        (
            std::slice::from_raw_parts(memory.entries, memory.count),
            std::slice::from_raw_parts(memory.buckets, memory.count),
        )
    };
    f(&View::new(&shared.0, buckets, entries))
}

/// Loads an entry. `read` returns used and reserved amounts of committed rows at a snapshot, without this
/// transaction's.
pub fn load(
    account: &Account,
    span: &Span,
    read: impl FnOnce(&Pushed) -> Result<(i128, i128), Error>,
) -> Result<(), Error> {
    let _loading = Loading;
    let own = own_mark();
    let snapshot = Snapshot::prepare();
    let begun = wait(|ledger| {
        let take = || {
            snapshot.take();
            |transaction| snapshot.sees(transaction)
        };
        match ledger.begin_load(account, span, time::now(), own, take) {
            Load::Busy => None,
            begun => Some(begun),
        }
    });
    let number = match begun {
        Load::Begun(number) => number,
        Load::There | Load::Busy => return Ok(()),
        Load::Full => return Err(Error::LedgerFull),
    };
    LOADING.set(Some((*account, *span, number)));
    let pushed = snapshot.push();
    let (used, reserved) = read(&pushed)?;
    drop(pushed);
    // Reservations and draws from credits have no transaction id in their rows: they are read with this
    // transaction's changes, which are subtracted here and added when it commits.
    let (own_used, own_reserved) = own_notes(account, span);
    let own_used = if account.is_credit() { own_used } else { 0 };
    let (used, reserved) = (used - own_used, reserved - own_reserved);
    wait(|ledger| {
        ledger
            .end_load(account, span, number, used, reserved)
            .then_some(())
    });
    LOADING.set(None);
    wake();
    Ok(())
}

/// Returns what this transaction noted of an entry.
fn own_notes(account: &Account, span: &Span) -> (i128, i128) {
    MINE.with_borrow(|all| {
        all.iter().fold((0, 0), |sum, mine| {
            let of = mine.of(account, span);
            (sum.0 + of.0, sum.1 + of.1)
        })
    })
}

/// Ends a load on drop, also after an error, so that no process keeps waiting for it.
struct Loading;

impl Drop for Loading {
    fn drop(&mut self) {
        abandon();
    }
}

fn abandon() {
    if let Some((account, span, number)) = LOADING.replace_with(None) {
        with(|ledger| ledger.drop_load(&account, &span, number));
        wake();
    }
}

/// Drops all entries of a database that can be loaded again.
pub fn forget(database: u32) {
    with(|ledger| ledger.forget(database));
}

/// Returns the entries of a database, each as of the moment when it is read.
pub fn entries(database: u32) -> Vec<Entry> {
    let mut found = Vec::new();
    let Some(memory) = MEMORY.get() else {
        return found;
    };
    let of = |entry: &&Entry| entry.state != State::Free && entry.account.database == database;
    // One piece at a time: other processes do not wait for all of it.
    for first in (0..memory.count).step_by(PIECE) {
        let _head = HEAD.share();
        let count = PIECE.min(memory.count - first);
        // SAFETY: as in `with`; shared, since nothing is written.
        let entries = unsafe { std::slice::from_raw_parts(memory.entries.add(first), count) };
        found.extend(entries.iter().filter(of));
    }
    found
}

/// Returns the capacity and the statistics of the ledger.
pub fn counts() -> (usize, Head) {
    (
        MEMORY.get().map_or(0, |memory| memory.count),
        HEAD.share().0,
    )
}

fn finish(committed: bool) {
    abandon();
    if !ACTIVE.replace_with(false) {
        return;
    }
    let since = SINCE.replace_with(None).unwrap_or(0);
    let mut all = MINE.take();
    while all.len() > 1 {
        if let (Some(inner), Some(outer)) = (all.pop(), all.last_mut()) {
            outer.take_in(inner);
        }
    }
    let mine = all.pop().unwrap_or_default();
    let held: Vec<Held> = mine.held().collect();
    let recorded: Vec<Recorded> = mine.recorded().collect();
    let marked = MARKED.replace_with(false);
    if (held.is_empty() && recorded.is_empty()) && !marked {
        return;
    }
    if with(|ledger| ledger.finish(committed, own_mark(), since, &held, &recorded)) {
        wake();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_PREPARE if ACTIVE.get() && (any_recorded() || any_changed()) => {
            Error::UsePrepared.raise();
        }
        XACT_EVENT_PRE_COMMIT if ACTIVE.get() => begin_changes(),
        XACT_EVENT_COMMIT => finish(true),
        XACT_EVENT_ABORT => finish(false),
        XACT_EVENT_PREPARE => finish(false),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn savepoint_event(
    event: pg_sys::SubXactEvent::Type,
    savepoint: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    use pg_sys::SubXactEvent::*;
    if !ACTIVE.get() {
        return;
    }
    match event {
        SUBXACT_EVENT_COMMIT_SUB => MINE.with_borrow_mut(|all| released(all, savepoint, parent)),
        SUBXACT_EVENT_ABORT_SUB => {
            abandon();
            let (gone, recorded) = MINE.with_borrow_mut(|all| rolled_back(all, savepoint));
            if !gone.is_empty() || !recorded.is_empty() {
                let since = SINCE.get().unwrap_or(0);
                with(|ledger| ledger.give_back_savepoint(since, &gone, &recorded));
            }
        }
        _ => {}
    }
}

fn released(all: &mut Vec<OpenNotes>, savepoint: u32, parent: u32) {
    let Some(mut inner) = all.pop_if(|last| last.savepoint == savepoint) else {
        return;
    };
    match all.last_mut().filter(|last| last.savepoint == parent) {
        Some(outer) => outer.take_in(inner),
        None => {
            inner.savepoint = parent;
            all.push(inner);
        }
    }
}

/// Removes and returns what was admitted and recorded since a savepoint.
fn rolled_back(all: &mut Vec<OpenNotes>, savepoint: u32) -> (Vec<Held>, Vec<Recorded>) {
    let from = all.partition_point(|mine| mine.savepoint < savepoint);
    let gone = all.split_off(from);
    let held = gone.iter().flat_map(OpenNotes::held).collect();
    (held, gone.iter().flat_map(OpenNotes::recorded).collect())
}
