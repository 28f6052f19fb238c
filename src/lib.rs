//! tenancy: multi-tenancy inside PostgreSQL.
//!
//! The rooms, from the ground up. A room uses only rooms below it: `crates/tenancy-core/tests/floors.rs` lists them, and fails
//! on any other edge.
//!
//! | room | what |
//! | --- | --- |
//! | `error` | every error: SQLSTATE, message, detail, hint |
//! | `pg` | the server's side; the only unsafe code |
//! | `requests` | requests to this database's worker |
//! | `tree` | scopes: one by its id, rules, invalidation |
//! | `partitions` | tables with one partition a month |
//! | `access` | what a principal may do |
//! | `identity` | identity providers, their tokens, allowed networks |
//! | `ledger` | the counters of budgets |
//! | `audit` | the audit log |
//! | `context` | the caller's identity: authenticate, assume, tickets, narrowing |
//! | `authority` | what the caller of a management function may do; keys and tickets for users |
//! | `metering` | events of usage, and their sums |
//! | `policy` | protect(), the predicates of its policies, and the planner's view of them |
//! | `adoption` | adopt(): the schema of an application that exists |
//! | `limit` | rates, slots and amounts |
//! | `budget` | limits of usage: consume, check, reserve, settle |
//! | `plan` | plans, features and settings |
//! | `lifecycle` | purge_tenant(): the end of a tenant's life |
//! | `quota` | quotas: how much a table stores for whom |
//! | `secret` | secrets of tenants, sealed under keys outside the database |
//! | `worker` | each database's background worker |
//! | `testing` | functions for the tests alone, in a build with the feature of this name |
//!
//! A call enters a room, asks `tenancy-core` for a decision, and acts through `pg`.

// The only unstable feature: on stable Rust a failed allocation ends the process (pg::memory).
#![feature(alloc_error_hook)]

pub mod access;
pub mod adoption;
pub mod audit;
pub mod authority;
pub mod budget;
pub mod context;
pub mod error;
pub mod identity;
pub mod ledger;
pub mod lifecycle;
pub mod limit;
pub mod metering;
pub mod partitions;
pub mod pg;
pub mod plan;
pub mod policy;
pub mod quota;
pub mod requests;
pub mod secret;
#[cfg(feature = "testing")]
mod testing;
pub mod tree;
pub mod worker;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

/// Called by the server when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::backtrace::keep_out_of_errors();
    pg::memory::init();
    if !pg::secret::init() {
        error::Error::NotPreloaded.raise();
    }
    audit::init();
    metering::init();
    ledger::init();
    limit::init();
    secret::init();
    worker::init();
    // Before context: callbacks registered first are called last before a transaction is prepared.
    pg::ledger::init();
    context::init();
    pg::managed::init(authority::standing);
    policy::init();
    plan::init();
    quota::init();
}
