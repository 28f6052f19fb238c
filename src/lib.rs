//! tenancy: multi-tenancy inside PostgreSQL.
//!
//! | module | what |
//! | --- | --- |
//! | `pg` | the server's side; the only unsafe code |
//! | `error` | every error: SQLSTATE, message, detail, hint |
//! | `tree` | scopes: rules, the type `regscope`, invalidation |
//! | `access` | what a principal may do |
//! | `context` | who is asking: authenticate, assume, tickets, narrowing |
//! | `audit` | the record of what happened |
//! | `usage` | metering: events of use, and what they add up to |
//! | `budget` | what may be used, and the ledger |
//! | `months` | tables that only grow, a partition for each month |
//! | `worker` | each database's background worker |
//! | `identity` | identity providers, their tokens, allowed networks |
//! | `policy` | protect(), the predicates of its policies, and the planner's view of them |
//!
//! A call comes in at `tree`, `context` or `policy`, asks `tenancy-core` for a decision, and acts
//! through `pg`.

// The one unstable feature: on stable Rust an allocation that fails ends the process (pg::memory).
#![feature(alloc_error_hook)]

pub mod access;
pub mod audit;
pub mod budget;
pub mod context;
pub mod error;
pub mod identity;
pub mod months;
pub mod pg;
pub mod policy;
pub mod tree;
pub mod usage;
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
    usage::init();
    budget::init();
    worker::init();
    // Before context: what comes first here is called last before a transaction is prepared.
    pg::ledger::init();
    context::init();
    pg::managed::init(access::standing);
    policy::init();
}
