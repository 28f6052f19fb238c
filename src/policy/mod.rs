//! Isolation of tables: protect(), the predicates of its policies, and the planner's view of them.
//!
//! | file | what |
//! | --- | --- |
//! | `predicates` | functions of policies, called for each row |
//! | `planner` | their support functions for the planner |
//! | `protect` | protect() and unprotect() |
//! | `catalog` | reading facts about a table; executing planned steps |
//! | `registry` | the registry of protected tables |
//! | `foreign_keys` | reading the foreign keys between protected tables |
//! | `unknown` | rows whose key no tenant has |
//! | `index_advice` | which indexes isolation makes useless or slow |
//! | `code` | functions that a protected table's definition calls |
//! | `ddl` | which changes of a protected table need maintenance, and which a shared role may never make |
//! | `region` | whether a statement could write a tenant's row into another region |
//! | `guard` | closes a protected table that is not isolated; refuses statements without a context |

mod catalog;
mod code;
mod ddl;
mod foreign_keys;
mod guard;
mod index_advice;
mod planner;
mod predicates;
mod protect;
mod region;
mod registry;
mod unknown;

pub use catalog::{as_table_owner, as_table_owner_unfiltered, execute_statement, pinned, run};
pub use foreign_keys::between_protected as foreign_keys;
pub use guard::works_on;
pub use protect::{protect_table, unprotect_table};
pub use region::conflict as region_conflict;
pub use registry::{
    all as protected_columns, find as protection, has_room, keyed as protected_keys,
    name as relation_name, protects_in, root_of, shared_null as protected_with_shared_null,
    tenant_column,
};

use tenancy_core::policy::{PolicyChange, quote_with};

/// Registers hooks; called once, when the library is loaded.
pub fn init() {
    quote_with(crate::pg::quote::identifier);
    crate::pg::planner::init(planner::only_tenant, predicates::parameter);
    guard::init();
    crate::pg::hooks::init(crate::pg::hooks::On {
        table: guard::check,
        blind_merge: guard::check_blind_merge,
        change: ddl::check,
        domain: ddl::check_domain,
        drop: ddl::before_drop,
        policy: registry::policy_table,
        calls: code::before,
        called: code::after,
        function_altered: code::check_altered,
        function_over_all: code::check_run,
        isolated: guard::is_isolated,
        altered: ddl::check_outcome,
        statement: crate::context::before_statement,
        query: crate::context::elevated::ON_QUERY,
        child: protect::protect_children,
        protected: guard::is_protected,
        rename: registry::rename_column,
        refused: guard::ON_REFUSED,
        policies: |table, created| {
            let change = if created {
                PolicyChange::Created
            } else {
                PolicyChange::Other
            };
            protect::follow_policies(table, change)
        },
    });
}
