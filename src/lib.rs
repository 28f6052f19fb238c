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
pub mod tree;
pub mod worker;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!(
    "../sql/authority/functions.sql",
    name = "authority_functions",
    requires = ["bootstrap"]
);
extension_sql_file!(
    "../sql/tree/tables.sql",
    name = "tree_tables",
    requires = ["authority_functions"]
);
extension_sql_file!(
    "../sql/tree/create.sql",
    name = "tree_create",
    requires = ["tree_tables"]
);
extension_sql_file!(
    "../sql/tree/change.sql",
    name = "tree_change",
    requires = ["tree_create"]
);
extension_sql_file!(
    "../sql/tree/views.sql",
    name = "tree_views",
    requires = ["tree_change"]
);
extension_sql_file!(
    "../sql/access/tables.sql",
    name = "access_tables",
    requires = ["tree_views"]
);
extension_sql_file!(
    "../sql/access/roles.sql",
    name = "access_roles",
    requires = ["access_tables"]
);
extension_sql_file!(
    "../sql/access/assignments.sql",
    name = "access_assignments",
    requires = ["access_roles"]
);
extension_sql_file!(
    "../sql/access/views.sql",
    name = "access_views",
    requires = ["access_assignments"]
);
extension_sql_file!(
    "../sql/access/elevation.sql",
    name = "access_elevation",
    requires = ["access_views"]
);
extension_sql_file!(
    "../sql/partitions/months.sql",
    name = "partitions_months",
    requires = ["access_elevation"]
);
extension_sql_file!(
    "../sql/audit/log.sql",
    name = "audit_log",
    requires = ["partitions_months"]
);
extension_sql_file!(
    "../sql/audit/seals.sql",
    name = "audit_seals",
    requires = ["audit_log"]
);
extension_sql_file!(
    "../sql/audit/retention.sql",
    name = "audit_retention",
    requires = ["audit_seals"]
);
extension_sql_file!(
    "../sql/identity/claimed_tokens.sql",
    name = "identity_claimed_tokens",
    requires = ["audit_retention"]
);
extension_sql_file!(
    "../sql/context/tables.sql",
    name = "context_tables",
    requires = ["identity_claimed_tokens"]
);
extension_sql_file!(
    "../sql/context/enter.sql",
    name = "context_enter",
    requires = ["context_tables"]
);
extension_sql_file!(
    "../sql/context/credentials.sql",
    name = "context_credentials",
    requires = ["context_enter"]
);
extension_sql_file!(
    "../sql/context/accessors.sql",
    name = "context_accessors",
    requires = ["context_credentials"]
);
extension_sql_file!(
    "../sql/identity/tables.sql",
    name = "identity_tables",
    requires = ["context_accessors"]
);
extension_sql_file!(
    "../sql/identity/login.sql",
    name = "identity_login",
    requires = ["identity_tables"]
);
extension_sql_file!(
    "../sql/identity/claims.sql",
    name = "identity_claims",
    requires = ["identity_login"]
);
extension_sql_file!(
    "../sql/identity/providers.sql",
    name = "identity_providers",
    requires = ["identity_claims"]
);
extension_sql_file!(
    "../sql/identity/groups.sql",
    name = "identity_groups",
    requires = ["identity_providers"]
);
extension_sql_file!(
    "../sql/identity/functions.sql",
    name = "identity_functions",
    requires = ["identity_groups"]
);
extension_sql_file!(
    "../sql/policy/predicates.sql",
    name = "policy_predicates",
    requires = ["identity_functions"]
);
extension_sql_file!(
    "../sql/policy/protect.sql",
    name = "policy_protect",
    requires = ["policy_predicates"]
);
extension_sql_file!(
    "../sql/policy/explain.sql",
    name = "policy_explain",
    requires = ["policy_protect"]
);
extension_sql_file!(
    "../sql/metering/metrics.sql",
    name = "metering_metrics",
    requires = ["policy_explain"]
);
extension_sql_file!(
    "../sql/metering/events.sql",
    name = "metering_events",
    requires = ["metering_metrics"]
);
extension_sql_file!(
    "../sql/metering/record.sql",
    name = "metering_record",
    requires = ["metering_events"]
);
extension_sql_file!(
    "../sql/metering/rollups.sql",
    name = "metering_rollups",
    requires = ["metering_record"]
);
extension_sql_file!(
    "../sql/metering/usage.sql",
    name = "metering_usage",
    requires = ["metering_rollups"]
);
extension_sql_file!(
    "../sql/budget/tables.sql",
    name = "budget_tables",
    requires = ["metering_usage"]
);
extension_sql_file!(
    "../sql/budget/periods.sql",
    name = "budget_periods",
    requires = ["budget_tables"]
);
extension_sql_file!(
    "../sql/budget/counts.sql",
    name = "budget_counts",
    requires = ["budget_periods"]
);
extension_sql_file!(
    "../sql/budget/budgets.sql",
    name = "budget_budgets",
    requires = ["budget_counts"]
);
extension_sql_file!(
    "../sql/budget/consume.sql",
    name = "budget_consume",
    requires = ["budget_budgets"]
);
extension_sql_file!(
    "../sql/budget/reservations.sql",
    name = "budget_reservations",
    requires = ["budget_consume"]
);
extension_sql_file!(
    "../sql/ledger/functions.sql",
    name = "ledger_functions",
    requires = ["budget_reservations"]
);
extension_sql_file!(
    "../sql/budget/alerts.sql",
    name = "budget_alerts",
    requires = ["ledger_functions"]
);
extension_sql_file!(
    "../sql/budget/credit_tables.sql",
    name = "budget_credit_tables",
    requires = ["budget_alerts"]
);
extension_sql_file!(
    "../sql/budget/credit_counts.sql",
    name = "budget_credit_counts",
    requires = ["budget_credit_tables"]
);
extension_sql_file!(
    "../sql/budget/credits.sql",
    name = "budget_credits",
    requires = ["budget_credit_counts"]
);
extension_sql_file!(
    "../sql/budget/report.sql",
    name = "budget_report",
    requires = ["budget_credits"]
);
extension_sql_file!(
    "../sql/budget/forecast.sql",
    name = "budget_forecast",
    requires = ["budget_report"]
);
extension_sql_file!(
    "../sql/budget/top_usage.sql",
    name = "budget_top_usage",
    requires = ["budget_forecast"]
);
extension_sql_file!(
    "../sql/budget/tree.sql",
    name = "budget_tree",
    requires = ["budget_top_usage"]
);
extension_sql_file!(
    "../sql/finalize.sql",
    name = "finalize",
    requires = ["budget_tree"],
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
    // Before context: callbacks registered first are called last before a transaction is prepared.
    pg::ledger::init();
    context::init();
    pg::managed::init(authority::standing);
    policy::init();
}
