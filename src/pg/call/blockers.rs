//! Keeps managed users from blocking their managers. If a management function waits for a lock, the blocking
//! transactions of principals below its caller are ended.
//!
//! Every transaction in which a principal calls a management function, or a login writes, is marked. The marks are locks
//! that conflict with nothing, on the scopes from its user's parent up to the platform. They identify the transaction's
//! user to all sessions as long as the transaction holds any lock.

use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenancy_core::time::Length;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{extension, savepoint, spi, time};

/// How long a call waits before it looks for blockers.
const WAIT_MILLISECONDS: i32 = 150;
/// How often the lock that it waits for is noted.
const NOTED_EVERY_MILLISECONDS: i32 = 40;
/// After this number of waits for transactions that must not be ended, it waits long enough for deadlock detection.
const SHORT_WAITS: u32 = 6;

static NOTED: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];
static TIMEOUT: BackendCell<Option<u32>> = BackendCell::new(None);
static MARKED: BackendCell<bool> = BackendCell::new(false);

/// The first timeout id that PostgreSQL 15 reserves for extensions.
const USER_TIMEOUT: u32 = 12;

unsafe extern "C" {
    fn RegisterTimeout(id: u32, handler: unsafe extern "C" fn()) -> u32;
    fn enable_timeout_every(id: u32, first: pg_sys::TimestampTz, milliseconds: i32);
    fn disable_timeout(id: u32, keep_indicator: bool);
    fn kill(pid: i32, signal: i32) -> i32;
}

const SIGTERM: i32 = 15;

/// Notes the lock that this process waits for. Runs in a signal handler, and does nothing else.
unsafe extern "C" fn note_wait() {
    // SAFETY: the process is its own; the lock that it waits for is in shared memory and stays while it waits.
    unsafe {
        if pg_sys::MyProc.is_null() {
            return;
        }
        let lock = (*pg_sys::MyProc).waitLock;
        if lock.is_null() {
            return;
        }
        let tag = (*lock).tag;
        NOTED[0].store(tag.locktag_field1, Ordering::Relaxed);
        NOTED[1].store(tag.locktag_field2, Ordering::Relaxed);
        NOTED[2].store(tag.locktag_field3, Ordering::Relaxed);
        let rest = u32::from(tag.locktag_field4) | u32::from(tag.locktag_type) << 16 | 1 << 24;
        NOTED[3].store(rest, Ordering::Relaxed);
    }
}

/// The lock of the last wait.
struct Waited {
    field1: u32,
    field2: u32,
    field3: u32,
    field4: u16,
    kind: u8,
}

fn waited() -> Option<Waited> {
    let read = |n: usize| NOTED[n].load(Ordering::Relaxed);
    let rest = read(3);
    (rest >> 24 != 0).then(|| Waited {
        field1: read(0),
        field2: read(1),
        field3: read(2),
        field4: (rest & 0xffff) as u16,
        kind: (rest >> 16 & 0xff) as u8,
    })
}

/// The users whose transactions may be ended.
#[derive(Clone, Copy)]
pub enum Below {
    /// All principals.
    All,
    /// Users who belong below this scope.
    Scope(Uuid),
}

/// Returns a scope's number in lock tags.
fn short(scope: Uuid) -> u32 {
    // The last bytes of an id are random.
    let bytes = scope.as_bytes();
    let half =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    half(12) ^ half(8).rotate_left(7) ^ half(4).rotate_left(13) ^ half(0)
}

/// Marks this transaction as that of a user whose parent has this path.
pub fn mark(home: &[Uuid]) -> Result<(), Error> {
    MARKED.set(true);
    let scopes = extension::table(c"scopes")?;
    for (levels, scope) in home.iter().rev().enumerate() {
        // SAFETY: a lock of the transaction's that conflicts with none; the tag is the one of an object.
        unsafe {
            let tag = pg_sys::LOCKTAG {
                locktag_field1: pg_sys::MyDatabaseId.to_u32(),
                locktag_field2: scopes.to_u32(),
                locktag_field3: short(*scope),
                locktag_field4: levels as u16,
                locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
                locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
            };
            pg_sys::LockAcquire(&tag, pg_sys::AccessShareLock as i32, false, false);
        }
    }
    Ok(())
}

/// Returns whether this transaction is marked.
pub fn is_marked() -> bool {
    MARKED.get()
}

/// Resets the state at the transaction's end.
pub fn end_transaction() {
    MARKED.set(false);
}

/// Calls `f` so that no user below blocks it: tries it for a moment, in a savepoint; then ends blocking transactions of
/// users below, and tries again.
pub fn call<T>(below: Below, f: impl Fn() -> T) -> Result<T, Error> {
    let began = time::now();
    // SAFETY: reads statics of the server.
    let (own_limit, deadlock) = unsafe { (pg_sys::LockTimeout, pg_sys::DeadlockTimeout) };
    let mut in_vain = 0;
    loop {
        let waited_for = (time::now() - began).millis();
        if own_limit > 0 && waited_for >= i64::from(own_limit) {
            return Ok(f());
        }
        let limit = if in_vain < SHORT_WAITS {
            WAIT_MILLISECONDS
        } else {
            deadlock.saturating_mul(2).max(WAIT_MILLISECONDS)
        };
        if let Some(result) = attempt(limit, &f) {
            return Ok(result);
        }
        in_vain = if end_blockers(below)? > 0 {
            0
        } else {
            in_vain + 1
        };
    }
}

/// Calls `f` in a savepoint. Returns `None`, without effect, if it waited for a lock for more than `limit` milliseconds.
fn attempt<T>(limit: i32, f: &impl Fn() -> T) -> Option<T> {
    NOTED[3].store(0, Ordering::Relaxed);
    let noting = Noting::begin();
    let result = savepoint::within(|| {
        // SAFETY: a nest level of its own, which the rollback of the savepoint ends as well.
        unsafe {
            let level = pg_sys::NewGUCNestLevel();
            set_lock_timeout(limit);
            let result = f();
            pg_sys::AtEOXact_GUC(true, level);
            result
        }
    });
    drop(noting);
    result
}

unsafe fn set_lock_timeout(milliseconds: i32) {
    let value = std::ffi::CString::new(milliseconds.to_string()).unwrap_or_default();
    // SAFETY: inside a nest level of its own, which ends with the savepoint.
    unsafe {
        pg_sys::set_config_option(
            c"lock_timeout".as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// While it lives, the lock that this process waits for is noted.
struct Noting(u32);

impl Noting {
    fn begin() -> Self {
        // SAFETY: registered once a process, from the numbers that are free; the handler only reads and stores words.
        unsafe {
            let id = TIMEOUT.get().unwrap_or_else(|| {
                let id = RegisterTimeout(USER_TIMEOUT, note_wait);
                TIMEOUT.set(Some(id));
                id
            });
            let first = time::now() + Length::from_millis(NOTED_EVERY_MILLISECONDS.into());
            enable_timeout_every(id, time::to_server(first), NOTED_EVERY_MILLISECONDS);
            Self(id)
        }
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        // SAFETY: the timeout is registered.
        unsafe { disable_timeout(self.0, false) };
    }
}

/// Ends the marked transactions of users below that hold, or wait for, the lock of the last attempt. Returns how many.
fn end_blockers(below: Below) -> Result<usize, Error> {
    let Some(waited) = waited() else {
        return Ok(0);
    };
    let (scope, levels) = match below {
        Below::All => (tenancy_core::id::PLATFORM_ID, 0),
        Below::Scope(scope) => (scope, 1),
    };
    let (relation, transaction) = match u32::from(waited.kind) {
        kind if kind == pg_sys::LockTagType::LOCKTAG_TRANSACTION => (0, i64::from(waited.field1)),
        kind if kind == pg_sys::LockTagType::LOCKTAG_TUPLE
            || kind == pg_sys::LockTagType::LOCKTAG_RELATION =>
        {
            (i64::from(waited.field2), 0)
        }
        _ => return Ok(0),
    };
    let tuple = u32::from(waited.kind) == pg_sys::LockTagType::LOCKTAG_TUPLE;
    let scopes = extension::table(c"scopes")?;
    let found = spi::read(
        "SELECT DISTINCT l.pid FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_locks m ON m.pid = l.pid \
         WHERE m.locktype = 'object' AND m.classid = $1 AND m.objid = $2::bigint::oid AND m.objsubid >= $3 \
           AND m.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
           AND l.pid <> pg_catalog.pg_backend_pid() \
           AND (l.transactionid::text::bigint = $4 \
                OR ($5 AND l.locktype = 'tuple' AND l.relation = $6::bigint::oid AND l.page = $7 AND l.tuple = $8) \
                OR (NOT $5 AND l.locktype = 'relation' AND l.relation = $6::bigint::oid))",
        &[
            scopes.into(),
            i64::from(short(scope)).into(),
            levels.into(),
            transaction.into(),
            tuple.into(),
            relation.into(),
            (waited.field3 as i32).into(),
            (waited.field4 as i16).into(),
        ],
        |rows| {
            rows.into_iter()
                .map(|row| Ok(row.get::<i32>(1)?))
                .collect::<Result<Vec<_>, Error>>()
        },
    )?;
    let mut ended = 0;
    for pid in found.into_iter().flatten() {
        // SAFETY: a signal to a backend of this server that was just seen to hold a lock; it ends by itself.
        let sent = unsafe { !pg_sys::BackendPidGetProc(pid).is_null() && kill(pid, SIGTERM) == 0 };
        if sent {
            ended += 1;
            ereport!(
                LOG,
                PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
                format!(
                    "tenancy: ended the session of process {pid}, whose open transaction blocked a management function"
                )
            );
        }
    }
    Ok(ended)
}
