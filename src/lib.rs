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
//! | `budget` | limits of usage: consume, check, reserve, settle |
//! | `worker` | each database's background worker |
//! | `testing` | functions for the tests alone, in a build with the feature of this name |
//!
//! A call enters a room, asks `tenancy-core` for a decision, and acts through `pg`.

// The only unstable feature: on stable Rust a failed allocation ends the process (pg::memory).
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
#[cfg(feature = "testing")]
mod testing;
pub mod tree;
pub mod worker;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

/// Runs files of SQL in this order, each after the one before it: after `$before`, files with their names, then what ends the
/// script.
macro_rules! sql_files {
    ($before:tt) => {
        extension_sql_file!(
            "../sql/finalize.sql",
            name = "finalize",
            requires = [$before],
            finalize
        );
    };
    ($before:tt $file:tt $name:tt $($rest:tt)*) => {
        extension_sql_file!($file, name = $name, requires = [$before]);
        sql_files!($name $($rest)*);
    };
}

extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
sql_files! {
    "bootstrap"
    "../sql/authority/functions.sql" "authority_functions"
    "../sql/tree/tables.sql" "tree_tables"
    "../sql/tree/create.sql" "tree_create"
    "../sql/tree/change.sql" "tree_change"
    "../sql/tree/views.sql" "tree_views"
    "../sql/access/tables.sql" "access_tables"
    "../sql/access/roles.sql" "access_roles"
    "../sql/access/assignments.sql" "access_assignments"
    "../sql/access/views.sql" "access_views"
    "../sql/access/elevation.sql" "access_elevation"
    "../sql/partitions/months.sql" "partitions_months"
    "../sql/audit/log.sql" "audit_log"
    "../sql/audit/seals.sql" "audit_seals"
    "../sql/audit/retention.sql" "audit_retention"
    "../sql/identity/claimed_tokens.sql" "identity_claimed_tokens"
    "../sql/context/tables.sql" "context_tables"
    "../sql/context/enter.sql" "context_enter"
    "../sql/context/credentials.sql" "context_credentials"
    "../sql/context/accessors.sql" "context_accessors"
    "../sql/identity/tables.sql" "identity_tables"
    "../sql/identity/login.sql" "identity_login"
    "../sql/identity/claims.sql" "identity_claims"
    "../sql/identity/providers.sql" "identity_providers"
    "../sql/identity/groups.sql" "identity_groups"
    "../sql/identity/functions.sql" "identity_functions"
    "../sql/policy/predicates.sql" "policy_predicates"
    "../sql/policy/protect.sql" "policy_protect"
    "../sql/policy/explain.sql" "policy_explain"
    "../sql/metering/metrics.sql" "metering_metrics"
    "../sql/metering/events.sql" "metering_events"
    "../sql/metering/record.sql" "metering_record"
    "../sql/metering/rollups.sql" "metering_rollups"
    "../sql/metering/usage.sql" "metering_usage"
    "../sql/budget/tables.sql" "budget_tables"
    "../sql/budget/periods.sql" "budget_periods"
    "../sql/budget/counts.sql" "budget_counts"
    "../sql/budget/budgets.sql" "budget_budgets"
    "../sql/budget/consume.sql" "budget_consume"
    "../sql/budget/reservations.sql" "budget_reservations"
    "../sql/ledger/functions.sql" "ledger_functions"
    "../sql/budget/alerts.sql" "budget_alerts"
    "../sql/budget/credit_tables.sql" "budget_credit_tables"
    "../sql/budget/credit_counts.sql" "budget_credit_counts"
    "../sql/budget/credits.sql" "budget_credits"
    "../sql/budget/report.sql" "budget_report"
    "../sql/budget/forecast.sql" "budget_forecast"
    "../sql/budget/top_usage.sql" "budget_top_usage"
    "../sql/budget/tree.sql" "budget_tree"
}

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
    // Before context: callbacks registered first are called last before a transaction is prepared.
    pg::ledger::init();
    context::init();
    pg::managed::init(authority::standing);
    policy::init();
}
