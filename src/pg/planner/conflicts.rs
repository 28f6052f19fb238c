//! `INSERT … ON CONFLICT DO UPDATE … WHERE`: by its source code the server evaluates WHERE on the existing row, and only
//! then the policies for updates. 15.20 evaluated the policies first in tests; since nothing guarantees this, the order is
//! enforced here.

use pgrx::pg_sys;

use super::nodes::{case, constant, copy, elements, list};

/// Evaluates the policies first: a row that they hide passes WHERE unevaluated, and is refused by the check that follows,
/// as without WHERE.
///
/// # Safety
/// `query` is a query that was not planned yet, the planner's to change.
pub unsafe fn policies_first(query: *mut pg_sys::Query) {
    // SAFETY: the tags tell which nodes they are. Checks hold columns of the table that is inserted into, as
    // WHERE does.
    unsafe {
        for part in elements::<pg_sys::CommonTableExpr>((*query).cteList) {
            let inner = (*part).ctequery;
            if (*inner).type_ == pg_sys::NodeTag::T_Query {
                policies_first(inner.cast());
            }
        }
        let conflict = (*query).onConflict;
        if conflict.is_null() || (*conflict).onConflictWhere.is_null() {
            return;
        }
        let checks = elements::<pg_sys::WithCheckOption>((*query).withCheckOptions)
            .filter(|check| (**check).kind == pg_sys::WCOKind::WCO_RLS_CONFLICT_CHECK);
        let policies = list(checks.map(|check| copy((*check).qual)));
        if !policies.is_null() {
            let then = (*conflict).onConflictWhere.cast();
            (*conflict).onConflictWhere = case(policies, then, constant(true)).cast();
        }
    }
}
