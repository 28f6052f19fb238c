//! The ledger in shared memory: core's table under one lock, what this backend's transaction added to
//! it, and the moments at which that is taken out again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};
use tenancy_core::ledger::{
    Account, Blocked, Cover, Demand, EMPTY_BUCKET, Entry, Head, Held, Ledger, Load, Recorded, Span,
    State, View,
};

use super::cell::BackendCell;
use super::{time, xact};
use crate::error::Error;

static ENTRIES: GucSetting<i32> = GucSetting::<i32>::new(32_768);

/// How many entries are copied at a time.
const PIECE: usize = 4096;

/// How long is slept at most before looking again.
const LOOK: Duration = Duration::from_secs(1);

struct Top(Head);

// SAFETY: plain memory without pointers, reached under the lock.
unsafe impl pgrx::PGRXSharedMemory for Top {}

// SAFETY: the name is used for this lock only.
static HEAD: PgLwLock<Top> = unsafe { PgLwLock::new(c"tenancy_ledger") };

/// Where the rest of it is: the same in every process, since they are forked.
#[derive(Clone, Copy)]
struct Memory {
    changed: *mut pg_sys::ConditionVariable,
    entries: *mut Entry,
    buckets: *mut u32,
    count: usize,
}

static MEMORY: BackendCell<Option<Memory>> = BackendCell::new(None);

/// What this transaction has in the ledger.
#[derive(Default)]
struct Mine {
    /// By the savepoint in which it was admitted.
    held: HashMap<(u32, Account, Span), i128>,
    recorded: HashMap<(u32, Account, i64), (i128, i128)>,
}

thread_local! {
    static MINE: RefCell<Mine> = RefCell::default();
}

static ACTIVE: BackendCell<bool> = BackendCell::new(false);
static MARKED: BackendCell<bool> = BackendCell::new(false);
static HOLDING: BackendCell<bool> = BackendCell::new(false);
static LOADING: BackendCell<Option<(Account, Span, u64)>> = BackendCell::new(None);

type Hook = Option<unsafe extern "C-unwind" fn()>;
static NEXT_REQUEST: BackendCell<Hook> = BackendCell::new(None);
static NEXT_STARTUP: BackendCell<Hook> = BackendCell::new(None);

/// Takes the shared memory; while the server loads its libraries. Before whatever else runs before a
/// commit: the last registered is called first, and this must be the last.
pub fn init() {
    GucRegistry::define_int_guc(
        c"tenancy.ledger_entries",
        c"How many counters of budgets are kept in shared memory.",
        c"One for each scope, metric and period that has a budget; others make room and are read again when they are needed.",
        &ENTRIES,
        64,
        16_777_216,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    pg_shmem_init!(HEAD = Top(Head::new()));
    // SAFETY: hooks and callbacks are set once, while the library is loaded, and live for ever.
    unsafe {
        NEXT_REQUEST.set(pg_sys::shmem_request_hook);
        pg_sys::shmem_request_hook = Some(request);
        NEXT_STARTUP.set(pg_sys::shmem_startup_hook);
        pg_sys::shmem_startup_hook = Some(startup);
        pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(savepoint_event), std::ptr::null_mut());
    }
}

fn count() -> usize {
    usize::try_from(ENTRIES.get()).unwrap_or(64)
}

fn sizes(count: usize) -> [usize; 3] {
    [
        size_of::<pg_sys::ConditionVariable>().next_multiple_of(align_of::<Entry>()),
        count * size_of::<Entry>(),
        count * size_of::<u32>(),
    ]
}

#[pg_guard]
unsafe extern "C-unwind" fn request() {
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: the hook that was there, then what the server wants such a hook to do.
    unsafe {
        if let Some(next) = NEXT_REQUEST.get() {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| next());
        }
        // The server aligns what it hands out to less than an entry needs.
        pg_sys::RequestAddinShmemSpace(sizes(count()).iter().sum::<usize>() + align_of::<Entry>());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn startup() {
    let count = count();
    let [first, second, third] = sizes(count);
    let mut found = false;
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: the hook that was there; then memory of the size that was asked for, in this one process,
    // written before any other can see it.
    unsafe {
        if let Some(next) = NEXT_STARTUP.get() {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| next());
        }
        let memory = pg_sys::ShmemInitStruct(
            c"tenancy_ledger_entries".as_ptr(),
            first + second + third + align_of::<Entry>(),
            &mut found,
        )
        .cast::<u8>();
        let memory = memory.add(memory.align_offset(align_of::<Entry>()));
        let changed: *mut pg_sys::ConditionVariable = memory.cast();
        let entries: *mut Entry = memory.add(first).cast();
        let buckets: *mut u32 = memory.add(first + second).cast();
        if !found {
            pg_sys::ConditionVariableInit(changed);
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
    f(&mut Ledger::new(&mut head.0, buckets, entries))
}

/// Waits until `f` says something.
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
                    LOOK.as_millis() as _,
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

/// Takes all demands with what covers them, until the transaction ends or its savepoint is rolled back;
/// or none.
pub fn admit(demands: &[Demand], covers: &mut [Cover]) -> Result<(), Blocked> {
    let now = time::now();
    ACTIVE.set(true);
    // Room first: between the lock and the note there is nothing that can fail.
    let pots: usize = covers.iter().map(|cover| 1 + 2 * cover.pots.len()).sum();
    MINE.with_borrow_mut(|mine| mine.held.reserve(demands.len() + pots));
    with(|ledger| ledger.admit(demands, covers, now))?;
    let savepoint = xact::savepoint();
    MINE.with_borrow_mut(|mine| {
        let mut hold = |held: Held| {
            let key = (savepoint, held.account, held.span);
            *mine.held.entry(key).or_default() += held.quantity;
        };
        for demand in demands {
            hold(Held {
                account: demand.account,
                span: demand.span,
                quantity: demand.quantity.into(),
            });
        }
        for cover in covers.iter() {
            if let Some(demand) = demands.get(cover.demand) {
                cover.held(demand.span).for_each(&mut hold);
            }
        }
    });
    Ok(())
}

/// Notes what this transaction recorded: it is used when it commits.
pub fn note(recorded: &Recorded) {
    ACTIVE.set(true);
    let key = (xact::savepoint(), recorded.account, recorded.slot);
    MINE.with_borrow_mut(|mine| {
        let sum = mine.recorded.entry(key).or_default();
        sum.0 += recorded.used;
        sum.1 += recorded.reserved;
    });
}

/// Looks at the ledger, which stays as it is meanwhile: `f` asks nobody else.
pub fn view<R>(f: impl FnOnce(&View<'_>) -> R) -> R {
    let Some(memory) = MEMORY.get() else {
        Error::NotPreloaded.raise();
    };
    let _shared = HEAD.share();
    // SAFETY: as in `with`; shared, since nothing is written.
    let (entries, buckets) = unsafe {
        (
            std::slice::from_raw_parts(memory.entries, memory.count),
            std::slice::from_raw_parts(memory.buckets, memory.count),
        )
    };
    f(&View::new(buckets, entries))
}

/// Sees to it that an entry is loaded. `read` is given what it calls once it has its snapshot, and
/// returns what committed rows say of use and of reservations, without this transaction's.
pub fn load(
    account: &Account,
    span: &Span,
    read: impl FnOnce(&dyn Fn()) -> Result<(i128, i128), Error>,
) -> Result<(), Error> {
    let _loading = Loading;
    HOLDING.set(true);
    with(|ledger| ledger.hold());
    let now = time::now();
    let begun = wait(|ledger| {
        ledger
            .quiet()
            .then(|| ledger.begin_load(account, span, now))
    });
    let number = match begun {
        Load::Begun(number) => number,
        Load::There => {
            release();
            let loaded = |ledger: &mut Ledger<'_>| match ledger.look(account, span) {
                Some(entry) if entry.state != State::Loaded => None,
                _ => Some(()),
            };
            wait(loaded);
            return Ok(());
        }
        Load::Full => return Err(Error::LedgerFull),
    };
    LOADING.set(Some((*account, *span, number)));
    let (used, reserved) = read(&release)?;
    // Rows that do not say whose they are, are seen as this transaction left them, and its changes come
    // when it commits: those of reservations, and all that was drawn from credits.
    let (own_used, own_reserved) = own(account, span);
    let own_used = if account.is_credit() { own_used } else { 0 };
    with(|ledger| {
        ledger.end_load(
            account,
            span,
            number,
            used - own_used,
            reserved - own_reserved,
        );
    });
    LOADING.set(None);
    wake();
    Ok(())
}

/// What this transaction noted of an entry.
fn own(account: &Account, span: &Span) -> (i128, i128) {
    MINE.with_borrow(|mine| {
        let of = mine.recorded.iter();
        of.filter(|((_, of, slot), _)| of == account && span.has(*slot))
            .fold((0, 0), |(used, reserved), (_, noted)| {
                (used + noted.0, reserved + noted.1)
            })
    })
}

/// However a load ends, nobody goes on waiting for it.
struct Loading;

impl Drop for Loading {
    fn drop(&mut self) {
        abandon();
    }
}

fn abandon() {
    release();
    if let Some((account, span, number)) = LOADING.replace_with(None) {
        with(|ledger| ledger.drop_load(&account, &span, number));
        wake();
    }
}

fn release() {
    if HOLDING.replace_with(false) && with(|ledger| ledger.release()) {
        wake();
    }
}

/// Drops all of a database's entries that can be read again.
pub fn forget(database: u32) {
    with(|ledger| ledger.forget(database));
}

/// The entries of a database, each as it is when it is read.
pub fn entries(database: u32) -> Vec<Entry> {
    let mut found = Vec::new();
    let Some(memory) = MEMORY.get() else {
        return found;
    };
    let of = |entry: &&Entry| entry.state != State::Free && entry.account.database == database;
    // A piece at a time: nobody waits for all of it.
    for first in (0..memory.count).step_by(PIECE) {
        let _head = HEAD.share();
        let count = PIECE.min(memory.count - first);
        // SAFETY: as in `with`; shared, since nothing is written.
        let entries = unsafe { std::slice::from_raw_parts(memory.entries.add(first), count) };
        found.extend(entries.iter().filter(of));
    }
    found
}

/// How many entries there may be in all, and what the ledger knows of itself.
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
    let mine = MINE.take();
    let held: Vec<Held> = mine.held.iter().map(held).collect();
    let recorded: Vec<Recorded> = mine.recorded.iter().map(summed).collect();
    let marked = MARKED.replace_with(false);
    if (held.is_empty() && recorded.is_empty()) && !marked {
        return;
    }
    if with(|ledger| ledger.finish(committed, marked, &held, &recorded)) {
        wake();
    }
}

fn held((key, quantity): (&(u32, Account, Span), &i128)) -> Held {
    Held {
        account: key.1,
        span: key.2,
        quantity: *quantity,
    }
}

fn summed((key, sum): (&(u32, Account, i64), &(i128, i128))) -> Recorded {
    Recorded {
        account: key.1,
        slot: key.2,
        used: sum.0,
        reserved: sum.1,
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT
            if ACTIVE.get() && MINE.with_borrow(|mine| !mine.recorded.is_empty()) =>
        {
            wait(|ledger| ledger.mark().then(|| MARKED.set(true)));
        }
        XACT_EVENT_PRE_PREPARE
            if ACTIVE.get() && MINE.with_borrow(|mine| !mine.recorded.is_empty()) =>
        {
            Error::UsePrepared.raise();
        }
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
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event != pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB || !ACTIVE.get() {
        return;
    }
    abandon();
    let gone: Vec<Held> = MINE.with_borrow_mut(|mine| {
        mine.recorded.retain(|(within, ..), _| *within < savepoint);
        let gone = (mine.held.iter()).filter(|((within, ..), _)| *within >= savepoint);
        let gone = gone.map(held).collect();
        mine.held.retain(|(within, ..), _| *within < savepoint);
        gone
    });
    if !gone.is_empty() {
        with(|ledger| ledger.give_back(&gone));
    }
}
