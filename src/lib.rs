//! tenancy: multi-tenancy inside PostgreSQL.
//!
//! The rooms, from the ground up. A room uses those below it, and no other: `crates/tenancy-core/tests/floors.rs` says
//! which, and fails on any other edge.
//!
//! | room | what |
//! | --- | --- |
//! | `error` | every error: SQLSTATE, message, detail, hint |
//! | `pg` | the server's side; the only unsafe code |
//! | `requests` | asking this database's worker |
//! | `tree` | scopes: one by its id, rules, invalidation |
//! | `partitions` | tables with one partition a month |
//! | `access` | what a principal may do |
//! | `identity` | identity providers, their tokens, allowed networks |
//! | `ledger` | the counters of budgets |
//! | `audit` | the record of what happened |
//! | `context` | who is asking: authenticate, assume, tickets, narrowing |
//! | `authority` | what the caller of a management function may do; keys and tickets for users |
//! | `metering` | events of usage, and what they add up to |
//! | `policy` | protect(), the predicates of its policies, and the planner's view of them |
//! | `budget` | what may be used: consume, check, reserve, settle |
//! | `worker` | each database's background worker |
//!
//! A call comes in at a room, asks `tenancy-core` for a decision, and acts through `pg`.

// The one unstable feature: on stable Rust an allocation that fails ends the process (pg::memory).
#![feature(alloc_error_hook)]

pub mod access;
pub mod audit;
pub mod authority;
pub mod budget;
pub mod context;
pub mod error;
pub mod identity;
pub mod ledger;
pub mod metering;
pub mod partitions;
pub mod pg;
pub mod policy;
pub mod requests;
pub mod tree;
pub mod worker;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!(
    "../sql/authority.sql",
    name = "authority",
    requires = ["bootstrap"]
);
extension_sql_file!("../sql/tree.sql", name = "tree", requires = ["authority"]);
extension_sql_file!("../sql/access.sql", name = "access", requires = ["tree"]);
extension_sql_file!("../sql/months.sql", name = "months", requires = ["access"]);
extension_sql_file!("../sql/audit.sql", name = "audit", requires = ["months"]);
extension_sql_file!("../sql/context.sql", name = "context", requires = ["audit"]);
extension_sql_file!(
    "../sql/identity.sql",
    name = "identity",
    requires = ["context"]
);
extension_sql_file!(
    "../sql/predicates.sql",
    name = "predicates",
    requires = ["context"]
);
extension_sql_file!(
    "../sql/policy.sql",
    name = "policy",
    requires = ["predicates"]
);
extension_sql_file!(
    "../sql/explain.sql",
    name = "explain",
    requires = ["policy"]
);
extension_sql_file!("../sql/usage.sql", name = "usage", requires = ["context"]);
extension_sql_file!("../sql/budget.sql", name = "budget", requires = ["usage"]);
extension_sql_file!(
    "../sql/reservations.sql",
    name = "reservations",
    requires = ["budget"]
);
extension_sql_file!("../sql/ledger.sql", name = "ledger", requires = ["budget"]);
extension_sql_file!(
    "../sql/alerts.sql",
    name = "alerts",
    requires = ["reservations", "ledger"]
);
extension_sql_file!(
    "../sql/credits.sql",
    name = "credits",
    requires = ["ledger"]
);
extension_sql_file!(
    "../sql/report.sql",
    name = "report",
    requires = ["alerts", "credits"]
);
extension_sql_file!(
    "../sql/finalize.sql",
    name = "finalize",
    requires = ["explain", "identity", "report"],
    finalize
);

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
    worker::init();
    // Before context: what comes first here is called last before a transaction is prepared.
    pg::ledger::init();
    context::init();
    pg::managed::init(authority::standing);
    policy::init();
}
