//! The conditions of a table's policies sort before every other condition of a scan.
//!
//! The planner sorts a scan's filter by security level and then by cost, and treats cheap conditions that it
//! calls leakproof as level 0. Policies get level 0 and a cost below zero, so that nothing the planner makes later
//! (join conditions, derived equalities) comes before them; among themselves they stay in their order.
//!
//! Conditions of a level below the statement's come from row security, or are equalities that the planner
//! derived from one of it and one of the caller's: `tenant_id = tenancy.tenant_id(…)` and
//! `CASE WHEN secret = 's' THEN (SELECT …) ELSE tenant_id END = tenant_id` give the CASE the policy's level. An equality
//! is a policy if what it holds of the row shows nothing, or if row security has just that equality. The side without
//! columns may be the caller's; then a one-time filter above the scan has compared it with the policy's
//! first, and with that has evaluated it.

use pgrx::pg_sys;

use super::expression::Reader;
use super::nodes::{copy, elements};

/// So little that it changes no estimate.
const COST: f64 = -1e-9;

/// Puts the policies of a relation first, and returns them.
///
/// # Safety
/// `rel` is a relation of the query, whose paths are made.
pub unsafe fn put_first(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
) -> Vec<*mut pg_sys::RestrictInfo> {
    let mut policies = Vec::new();
    // SAFETY: a relation's conditions are a list of RestrictInfo, the planner's to change.
    unsafe {
        let level = (*root).qual_security_level;
        for condition in elements::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
            let own = (*condition).security_level;
            if own >= level || (*condition).pseudoconstant || !is_policy(root, rel, condition) {
                continue;
            }
            (*condition).eval_cost.startup = 0.0;
            (*condition).eval_cost.per_tuple = COST * f64::from(level - own);
            (*condition).security_level = 0;
            policies.push(condition);
        }
    }
    policies
}

unsafe fn is_policy(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    condition: *mut pg_sys::RestrictInfo,
) -> bool {
    // SAFETY: an operator's arguments are a list of expressions.
    unsafe {
        let clause = (*condition).clause.cast::<pg_sys::Node>();
        let Some((left, right)) = sides(clause) else {
            return true;
        };
        let reader = Reader::new(root);
        let harmless = |side| {
            let reading = reader.read(side);
            !reading.column || !reading.shows.anything()
        };
        (harmless(left) && harmless(right)) || is_of_row_security(root, rel, left, right)
    }
}

/// The two sides of an operator.
unsafe fn sides(clause: *mut pg_sys::Node) -> Option<(*mut pg_sys::Node, *mut pg_sys::Node)> {
    // SAFETY: the tag tells which node it is.
    unsafe {
        if (*clause).type_ != pg_sys::NodeTag::T_OpExpr {
            return None;
        }
        let mut args = elements((*clause.cast::<pg_sys::OpExpr>()).args);
        Some((args.next()?, args.next()?))
    }
}

/// Whether row security compares these two, in either order.
unsafe fn is_of_row_security(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    left: *mut pg_sys::Node,
    right: *mut pg_sys::Node,
) -> bool {
    // SAFETY: arrays of the query's relations have an element for each index; conditions of row security
    // are lists of conditions, once simplified; those of a part are its parents', translated step by step.
    unsafe {
        let (mut top, mut steps) = ((*rel).relid as usize, Vec::new());
        let parents = (*root).append_rel_array;
        while !parents.is_null() && !(*parents.add(top)).is_null() {
            steps.push(*parents.add(top));
            top = (**parents.add(top)).parent_relid as usize;
        }
        let entry = *(*root).simple_rte_array.add(top);
        elements::<pg_sys::List>((*entry).securityQuals)
            .flat_map(|level| elements::<pg_sys::Node>(level))
            .any(|clause| {
                if sides(clause).is_none() {
                    return false;
                }
                let mut clause = copy(clause);
                for step in steps.iter().rev() {
                    let mut step = *step;
                    clause = pg_sys::adjust_appendrel_attrs(root, clause, 1, &raw mut step);
                }
                sides(clause).is_some_and(|(a, b)| {
                    let same = |x: *mut pg_sys::Node, y: *mut pg_sys::Node| {
                        pg_sys::equal(x.cast(), y.cast())
                    };
                    (same(a, left) && same(b, right)) || (same(a, right) && same(b, left))
                })
            })
    }
}
