//! Estimates of conditions by a column's statistics, which contain values of all tenants.
//!
//! On a table with row security the planner evaluates only leakproof operators on such values, and assumes something for the others.
//! With `tenancy.index_search = all` it evaluates those that may be too: a search may read all tenants' rows then, and a plan that
//! expects too many is slow. With `own` the tenants' share decides, and estimates depend on no value of another tenant's.

use pgrx::pg_sys;

use super::nodes::elements;

/// What an operator may take of the stack, many times.
const STACK_BYTES: usize = 64 * 1024;

/// Estimates conditions of a table, and its rows, by all statistics.
///
/// # Safety
/// `rel` is a table of the query with paths that are not chosen from yet; the conditions are its own, and their operators reveal nothing
/// of the values that they are evaluated on.
pub unsafe fn of_all_rows(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    conditions: &[*mut pg_sys::RestrictInfo],
) {
    // SAFETY: the planner's own structures. After an error nothing of them is used again.
    unsafe {
        if conditions.is_empty() || !has_room() {
            return;
        }
        let policies = policies_off(root, rel);
        for &condition in conditions {
            let relations = pg_sys::bms_membership((*condition).clause_relids);
            if relations == pg_sys::BMS_Membership::BMS_SINGLETON {
                let (inner, none) = (pg_sys::JoinType::JOIN_INNER, std::ptr::null_mut());
                (*condition).norm_selec = -1.0;
                pg_sys::clause_selectivity(root, condition.cast(), 0, inner, none);
            }
        }
        for (entry, policies) in policies {
            (*entry).securityQuals = policies;
        }
        // An OR, again of its arms.
        for condition in elements::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
            if !(*condition).orclause.is_null() {
                (*condition).norm_selec = -1.0;
            }
        }
        pg_sys::set_baserel_size_estimates(root, rel);
        for path in elements::<pg_sys::Path>((*rel).pathlist) {
            if (*path).param_info.is_null() {
                (*path).rows = (*rel).rows;
            }
        }
    }
}

type Entry = *mut pg_sys::RangeTblEntry;

/// Takes the policies off a table and its parents, and returns them.
unsafe fn policies_off(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
) -> Vec<(Entry, *mut pg_sys::List)> {
    let mut taken = Vec::new();
    // SAFETY: arrays of the query's relations have an element for each index.
    unsafe {
        let parents = (*root).append_rel_array;
        let mut at = (*rel).relid as usize;
        loop {
            let entry = *(*root).simple_rte_array.add(at);
            taken.push((entry, (*entry).securityQuals));
            (*entry).securityQuals = std::ptr::null_mut();
            if parents.is_null() || (*parents.add(at)).is_null() {
                return taken;
            }
            at = (**parents.add(at)).parent_relid as usize;
        }
    }
}

/// Returns whether no operator can exceed the stack, which would depend on the values.
#[inline(never)]
fn has_room() -> bool {
    let room = std::hint::black_box(std::mem::MaybeUninit::<[u8; STACK_BYTES]>::uninit());
    // SAFETY: compares the stack's depth with its limit.
    let deep = unsafe { pg_sys::stack_is_too_deep() };
    std::hint::black_box(&room);
    !deep
}
