//! Sorts the conditions of row security before every other condition of a scan, and makes sure that none is replaced.
//!
//! The planner sorts a scan's filter by security level, and then by cost. It treats cheap leakproof conditions as level 0,
//! and gives derived equalities the lowest level of their sources. So each condition of a scan gets its level here: one of
//! row security its place in row security, all others the statement's. None counts as leakproof any more, since the paths
//! are complete. Conditions that may reveal their evaluation come after those that cannot. Otherwise the index would
//! determine on which rows they are evaluated, and plans depend on statistics of all tenants' rows.
//!
//! `tenant_id = tenancy.tenant_id(…)` and a caller's `tenant_id = f()` form one equivalence class. Of its two sides without
//! columns the planner keeps one, and compares it with the other once, above the scan. A function declared STABLE may
//! return something else for each row, also `current_setting()`. So a policy that is not among the scan's conditions is
//! added again. Only a constant, a parameter from the client, or another function of tenancy may replace it.

use pgrx::pg_sys;

use super::expression::Reader;
use super::nodes::{copy, elements, list};
use super::own;

/// A condition of row security, translated for a relation.
struct Policy {
    clause: *mut pg_sys::Node,
    level: pg_sys::Index,
}

/// Puts the conditions of row security first, and returns those that a recheck may begin with.
///
/// # Safety
/// `rel` is a relation of the query, whose paths are made.
pub unsafe fn put_first(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
) -> Vec<*mut pg_sys::RestrictInfo> {
    // SAFETY: a relation's conditions are a list of RestrictInfo, the planner's to change.
    unsafe {
        let policies = of(root, rel);
        if policies.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<Option<*mut pg_sys::RestrictInfo>> = vec![None; policies.len()];
        for stands in [is_same, is_constant] {
            for condition in elements::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
                if (*condition).pseudoconstant {
                    continue;
                }
                for (policy, found) in policies.iter().zip(&mut found) {
                    if found.is_none() && stands(policy.clause, (*condition).clause.cast()) {
                        *found = Some(condition);
                    }
                }
            }
        }
        let known: Vec<_> = found.iter().copied().flatten().collect();
        for condition in elements::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
            (*condition).leakproof = false;
            if !known.contains(&condition) {
                raise(root, condition);
            }
        }
        let mut added = Vec::new();
        let (mut first, mut levelled) = (Vec::new(), Vec::new());
        for (policy, found) in policies.iter().zip(found) {
            let condition = match found {
                Some(condition) => condition,
                None if has_no_column(root, policy.clause) => continue,
                None => {
                    let made = restriction(root, copy(policy.clause).cast(), policy.level);
                    added.push(made);
                    made
                }
            };
            (*condition).leakproof = false;
            // One condition may stand for several policies.
            if levelled.contains(&condition) {
                (*condition).security_level = (*condition).security_level.min(policy.level);
                continue;
            }
            (*condition).security_level = policy.level;
            levelled.push(condition);
            if !is_written(root, rel) || is_of_tenancy(root, policy.clause) {
                first.push(condition);
            }
        }
        if !added.is_empty() {
            let with = |old| list(added.iter().copied().chain(elements(old)));
            (*rel).baserestrictinfo = with((*rel).baserestrictinfo);
            for index in elements::<pg_sys::IndexOptInfo>((*rel).indexlist) {
                (*index).indrestrictinfo = with((*index).indrestrictinfo);
            }
        }
        first
    }
}

/// Returns the conditions of a relation that are policies of tenancy, or stand for them; None if it has none.
///
/// # Safety
/// As `put_first`.
pub unsafe fn tenants(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
) -> Option<Vec<*mut pg_sys::RestrictInfo>> {
    // SAFETY: as above.
    unsafe {
        let mut policies = of(root, rel);
        policies.retain(|policy| {
            is_call_of_tenancy(policy.clause)
                || sides(policy.clause)
                    .is_some_and(|(a, b)| is_call_of_tenancy(a) || is_call_of_tenancy(b))
        });
        if policies.is_empty() {
            return None;
        }
        let stands = |condition: *mut pg_sys::RestrictInfo| {
            let clause = (*condition).clause.cast();
            !(*condition).pseudoconstant
                && (policies.iter()).any(|policy| {
                    is_same(policy.clause, clause) || is_constant(policy.clause, clause)
                })
        };
        let conditions = elements::<pg_sys::RestrictInfo>((*rel).baserestrictinfo);
        Some(conditions.filter(|condition| stands(*condition)).collect())
    }
}

/// Gives join conditions of parameterised paths the statement's level. Called when all paths are complete: before, the
/// levels determine which indexes can be used.
///
/// # Safety
/// `root` is the query's state.
pub unsafe fn joins_last(root: *mut pg_sys::PlannerInfo) {
    // SAFETY: the array has an element for each index of the range table, NULL for what is no relation.
    unsafe {
        for n in 1..(*root).simple_rel_array_size {
            let rel = *(*root).simple_rel_array.add(n as usize);
            if rel.is_null() {
                continue;
            }
            for path in elements::<pg_sys::ParamPathInfo>((*rel).ppilist) {
                for condition in elements::<pg_sys::RestrictInfo>((*path).ppi_clauses) {
                    raise(root, condition);
                }
            }
        }
    }
}

/// Puts a condition of the statement after those of row security.
unsafe fn raise(root: *mut pg_sys::PlannerInfo, condition: *mut pg_sys::RestrictInfo) {
    // SAFETY: a condition of the query.
    unsafe {
        let shows = Reader::new(root).read((*condition).clause.cast()).shows;
        let level = (*root).qual_security_level + pg_sys::Index::from(shows.anything());
        (*condition).leakproof = false;
        (*condition).security_level = (*condition).security_level.max(level);
    }
}

/// Returns the conditions of row security on a relation: its own, and those of its parents.
unsafe fn of(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo) -> Vec<Policy> {
    let mut policies = Vec::new();
    // SAFETY: arrays of the query's relations have an element for each index; conditions of row security
    // are lists of conditions, once simplified; those of a part are its parents', translated step by step.
    unsafe {
        let (mut at, mut steps) = ((*rel).relid as usize, Vec::new());
        let parents = (*root).append_rel_array;
        loop {
            let entry = *(*root).simple_rte_array.add(at);
            for (level, conditions) in (0..).zip(elements::<pg_sys::List>((*entry).securityQuals)) {
                for clause in elements::<pg_sys::Node>(conditions) {
                    let mut clause = clause;
                    for step in steps.iter().rev() {
                        let mut step: *mut pg_sys::AppendRelInfo = *step;
                        clause = pg_sys::adjust_appendrel_attrs(root, clause, 1, &raw mut step);
                    }
                    policies.push(Policy { clause, level });
                }
            }
            if parents.is_null() || (*parents.add(at)).is_null() {
                return policies;
            }
            steps.push(*parents.add(at));
            at = (**parents.add(at)).parent_relid as usize;
        }
    }
}

unsafe fn is_same(policy: *mut pg_sys::Node, clause: *mut pg_sys::Node) -> bool {
    // SAFETY: compares nodes.
    unsafe { pg_sys::equal(policy.cast(), clause.cast()) }
}

/// Returns whether a clause compares the same column by the same operator, with a value that cannot change after the planner
/// compared it with the policy's.
unsafe fn is_constant(policy: *mut pg_sys::Node, clause: *mut pg_sys::Node) -> bool {
    // SAFETY: the tags tell which nodes they are.
    unsafe {
        let (Some((a, b)), Some((c, d))) = (sides(policy), sides(clause)) else {
            return false;
        };
        let (known, given) = (
            &*policy.cast::<pg_sys::OpExpr>(),
            &*clause.cast::<pg_sys::OpExpr>(),
        );
        let stays = |mut node: *mut pg_sys::Node| {
            while (*node).type_ == pg_sys::NodeTag::T_RelabelType {
                node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
            }
            match (*node).type_ {
                pg_sys::NodeTag::T_Const => true,
                pg_sys::NodeTag::T_Param => {
                    (*node.cast::<pg_sys::Param>()).paramkind == pg_sys::ParamKind::PARAM_EXTERN
                }
                // The read and the write permission in the same tenant.
                pg_sys::NodeTag::T_FuncExpr => {
                    is_call_of_tenancy(node)
                        && elements::<pg_sys::Node>((*node.cast::<pg_sys::FuncExpr>()).args)
                            .all(|arg| (*arg).type_ == pg_sys::NodeTag::T_Const)
                }
                _ => false,
            }
        };
        known.opno == given.opno
            && known.inputcollid == given.inputcollid
            && ((is_same(a, c) && stays(d)) || (is_same(b, c) && stays(d)))
    }
}

/// Returns the two sides of an operator.
unsafe fn sides(clause: *mut pg_sys::Node) -> Option<(*mut pg_sys::Node, *mut pg_sys::Node)> {
    // SAFETY: the tag identifies the node.
    unsafe {
        if (*clause).type_ != pg_sys::NodeTag::T_OpExpr {
            return None;
        }
        let mut args = elements((*clause.cast::<pg_sys::OpExpr>()).args);
        Some((args.next()?, args.next()?))
    }
}

/// Such a condition is evaluated once, above the scan.
unsafe fn has_no_column(root: *mut pg_sys::PlannerInfo, clause: *mut pg_sys::Node) -> bool {
    // SAFETY: an expression of the query.
    unsafe { !Reader::new(root).read(clause).column }
}

/// Returns whether the statement writes to a relation. Then conditions of a caller's security_barrier view come after those
/// of row security.
unsafe fn is_written(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo) -> bool {
    // SAFETY: as for `of`.
    unsafe {
        let query = &*(*root).parse;
        let mut at = (*rel).relid as usize;
        let parents = (*root).append_rel_array;
        while !parents.is_null() && !(*parents.add(at)).is_null() {
            at = (**parents.add(at)).parent_relid as usize;
        }
        query.commandType != pg_sys::CmdType::CMD_SELECT
            && usize::try_from(query.resultRelation) == Ok(at)
    }
}

/// Returns whether a condition has the form of tenancy's: a call of one of its functions, or an equality that reveals
/// nothing of a row.
unsafe fn is_of_tenancy(root: *mut pg_sys::PlannerInfo, clause: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag identifies the node.
    unsafe {
        if let Some((left, right)) = sides(clause) {
            let reader = Reader::new(root);
            let harmless = |side| {
                let reading = reader.read(side);
                !reading.column || !reading.shows.anything()
            };
            return harmless(left) && harmless(right);
        }
        is_call_of_tenancy(clause)
    }
}

/// Also the form for one tenant of a policy on rows that all tenants read: an OR of an equality, and of tests for NULL.
unsafe fn is_call_of_tenancy(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag identifies the node; catalog look-ups inside a transaction.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_FuncExpr => {
                own::has(c"tenancy", (*node.cast::<pg_sys::FuncExpr>()).funcid)
            }
            pg_sys::NodeTag::T_RelabelType => {
                is_call_of_tenancy((*node.cast::<pg_sys::RelabelType>()).arg.cast())
            }
            pg_sys::NodeTag::T_BoolExpr => is_tenant_or_null(node.cast()),
            _ => false,
        }
    }
}

unsafe fn is_tenant_or_null(node: *mut pg_sys::BoolExpr) -> bool {
    // SAFETY: the tags identify the nodes.
    unsafe {
        let is_test_of_call = |node: *mut pg_sys::Node| {
            (*node).type_ == pg_sys::NodeTag::T_NullTest
                && is_call_of_tenancy((*node.cast::<pg_sys::NullTest>()).arg.cast())
        };
        let mut arms = elements::<pg_sys::Node>((*node).args);
        let (Some(one), Some(null), None) = (arms.next(), arms.next(), arms.next()) else {
            return false;
        };
        (*node).boolop == pg_sys::BoolExprType::OR_EXPR
            && sides(one).is_some_and(|(_, key)| is_call_of_tenancy(key))
            && (*null).type_ == pg_sys::NodeTag::T_BoolExpr
            && elements::<pg_sys::Node>((*null.cast::<pg_sys::BoolExpr>()).args)
                .any(is_test_of_call)
    }
}

/// Creates a condition that belongs to no equivalence class.
unsafe fn restriction(
    root: *mut pg_sys::PlannerInfo,
    clause: *mut pg_sys::Expr,
    level: pg_sys::Index,
) -> *mut pg_sys::RestrictInfo {
    let none = std::ptr::null_mut();
    // SAFETY: an expression of the query on one relation; the sets are left out, as the planner does for parts.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::make_restrictinfo(
            root, clause, true, false, false, level, none, none, none,
        );
        #[cfg(not(feature = "pg15"))]
        return pg_sys::make_restrictinfo(
            root, clause, true, false, false, false, level, none, none, none,
        );
    }
}
