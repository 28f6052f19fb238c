//! What this backend is doing, and what was noted of queries that have started and not ended.
//!
//! A query on protected tables runs in one context from its start to its end. So all parts of a policy, and all policies, decide on
//! a row for the same principal, tenant and project, whatever a function does meanwhile, and whenever a part was evaluated.
//!
//! A call site checks whether the query that it is evaluated in was noted. It is identified by the memory of the query,
//! which a cursor keeps while it is not running, and by what this backend is doing, since a query also evaluates in
//! other memory: when it rechecks a row that another transaction changed, and when it prunes partitions before it has
//! started.

use std::cell::RefCell;

use pgrx::pg_sys;

use crate::pg::{fmgr, xact};

/// The mark of an elevated query, opaque to this module.
pub type Mark = u128;

/// What must be the same from a query's start to its end, opaque to this module.
pub type Identity = [u128; 4];

/// The identity of no context.
pub const NO_CONTEXT: Identity = [0; 4];

/// An activity of this backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Plans a query, or explains one without running it.
    Plans,
    /// Runs a query.
    Runs(Noting),
}

/// A query that is running.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Query(pub *mut pg_sys::QueryDesc);

impl Default for Query {
    fn default() -> Self {
        Self(std::ptr::null_mut())
    }
}

/// What was noted of a query.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Noting {
    /// Its mark.
    pub mark: Option<Mark>,
    /// Whether it names a protected table.
    pub protected: bool,
    /// The context that it started in, if it does.
    pub identity: Option<Identity>,
    /// The query, while it runs; NULL while it starts.
    pub query: Query,
}

/// A noted query.
#[derive(Clone, Copy)]
pub struct Noted {
    /// Compared, and never dereferenced.
    memory: pg_sys::MemoryContext,
    /// What was noted of it.
    pub noting: Noting,
    /// The generation in which the context was last compared.
    pub generation: u64,
    savepoint: u32,
}

thread_local! {
    static NOTED: RefCell<Vec<Noted>> = const { RefCell::new(Vec::new()) };
    /// The current activities of this backend, the innermost last, with the savepoint in which each began.
    static DOING: RefCell<Vec<(Doing, u32)>> = const { RefCell::new(Vec::new()) };
}

/// Begins an activity; returns the depth for `leave`. After an error `forget` ends it.
pub fn enter(what: Doing) -> usize {
    DOING.with_borrow_mut(|doing| {
        doing.push((what, xact::savepoint()));
        doing.len() - 1
    })
}

/// Returns how many activities there are.
pub fn activities() -> usize {
    DOING.with_borrow(Vec::len)
}

/// Ends the activity that began at this depth.
pub fn leave(depth: usize) {
    DOING.with_borrow_mut(|doing| doing.truncate(depth));
}

/// Returns the innermost activity.
pub fn doing() -> Option<Doing> {
    DOING.with_borrow(|doing| doing.last().map(|(doing, _)| *doing))
}

/// Returns the query that is the innermost activity and is running. May be called while an error is reported.
pub fn running() -> Option<*mut pg_sys::QueryDesc> {
    let innermost = DOING.with(|doing| Some(doing.try_borrow().ok()?.last()?.0));
    match innermost? {
        Doing::Runs(noting) if !noting.query.0.is_null() => Some(noting.query.0),
        _ => None,
    }
}

/// Returns whether the calling function is evaluated for a plan, not for a row.
pub fn is_planning() -> bool {
    doing() == Some(Doing::Plans)
}

/// Notes that the query that is starting names a protected table.
pub fn names_protected() {
    DOING.with_borrow_mut(|doing| {
        if let Some((Doing::Runs(noting), _)) = doing.last_mut() {
            noting.protected = true;
        }
    });
}

/// Returns whether a query on protected tables is running that started in another context.
pub fn started_in_another(identity: &Identity) -> bool {
    DOING.with_borrow(|doing| {
        doing.iter().any(|(doing, _)| match doing {
            Doing::Runs(noting) => noting.identity.is_some_and(|began| began != *identity),
            Doing::Plans => false,
        })
    })
}

/// Returns whether the query that the calling function is evaluated in was noted with this mark.
pub fn is_noted(mark: Mark) -> bool {
    let runs = match doing() {
        Some(Doing::Runs(noting)) => noting.mark,
        _ => None,
    };
    runs == Some(mark) || of(fmgr::asking()).and_then(|noted| noted.noting.mark) == Some(mark)
}

/// Notes a query that has started, if there is anything to note.
pub fn note(memory: pg_sys::MemoryContext, noting: Noting) {
    if noting == Noting::default() {
        return;
    }
    let noted = Noted {
        memory,
        noting,
        generation: xact::generation(),
        savepoint: xact::savepoint(),
    };
    NOTED.with_borrow_mut(|all| all.push(noted));
}

/// Returns what was noted of the query that runs in this memory.
pub fn of(memory: pg_sys::MemoryContext) -> Option<Noted> {
    NOTED.with_borrow(|all| all.iter().find(|noted| noted.memory == memory).copied())
}

/// Notes that the context was compared now.
pub fn compared(memory: pg_sys::MemoryContext) {
    NOTED.with_borrow_mut(|all| {
        for noted in all.iter_mut().filter(|noted| noted.memory == memory) {
            noted.generation = xact::generation();
        }
    });
}

/// Drops the note of a query that ends, and returns it.
pub fn take(memory: pg_sys::MemoryContext) -> Option<Noted> {
    let noted = of(memory)?;
    NOTED.with_borrow_mut(|all| all.retain(|noted| noted.memory != memory));
    Some(noted)
}

/// Drops the notes of a transaction that ended, or of a savepoint that was rolled back: its queries may be gone without
/// having ended, and their memory may be reused. Queries from before the savepoint continue.
pub fn forget(savepoint: u32) {
    NOTED.with_borrow_mut(|all| all.retain(|noted| noted.savepoint < savepoint));
    DOING.with_borrow_mut(|doing| doing.retain(|(_, began)| *began < savepoint));
}
