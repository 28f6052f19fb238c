//! tenancy's views: `security_barrier` keeps leaky functions of a caller out of them, but other conditions are moved in,
//! among the view's own.
//!
//! A view of tenancy ends its conditions with a mark, `tenancy_internal.barrier()`. Conditions that are moved into the view
//! follow it, from statements, other views and inlined functions alike. Of these
//!
//! - those that reveal only their result stay unchanged, and may search indexes;
//! - so do those with late values, such as a subquery's: an added one-time filter computes the values before the first
//!   row is read;
//! - the others become one condition, `CASE WHEN` the view's own `THEN` the caller's `ELSE false END`, which contains
//!   columns of all tables in the view's own conditions, and is evaluated when they are.
//!
//! The mark itself is removed.
//!
//! So a view of tenancy must state everything that hides rows in its WHERE and in inner joins, at its top.

use pgrx::pg_sys;

use super::expression::Reader;
use super::nodes::{case, constant, copy, elements, list};
use super::own;

/// Puts a view's own conditions before a caller's. Does nothing for other queries.
///
/// # Safety
/// `root` is a query whose conditions are simplified and not distributed yet.
pub unsafe fn own_conditions_first(root: *mut pg_sys::PlannerInfo, on: bool) {
    // SAFETY: a query that is planned has a join tree, its conditions as a list, the planner's to change; CREATE
    // CREATE INDEX and CLUSTER estimate a table's size with a query without conditions.
    unsafe {
        let tree = (*(*root).parse).jointree;
        if tree.is_null() {
            return;
        }
        let quals = (*tree).quals.cast::<pg_sys::List>();
        if quals.is_null() || (*quals).type_ != pg_sys::NodeTag::T_List {
            return;
        }
        let Some(mark) = elements(quals).position(|node| is_mark(node)) else {
            return;
        };
        let all: Vec<*mut pg_sys::Node> = elements(quals).collect();
        let (own, callers) = (&all[..mark], &all[mark + 1..]);
        let mut conditions: Vec<_> = own.to_vec();
        let reader = Reader::new(root);
        let (mut showing, mut late) = (Vec::new(), Vec::new());
        for condition in callers.iter().filter(|node| !is_mark(**node)) {
            let mut values = Vec::new();
            let shows = reader.read_into(*condition, &mut values).shows;
            if on && shows.once_computed().anything() {
                showing.push(*condition);
            } else {
                conditions.push(*condition);
                late.extend(values);
            }
        }
        if on {
            conditions.extend(late.into_iter().map(|value| compute(value)));
        }
        if !showing.is_empty() {
            let mut before = own.to_vec();
            joined_by((*tree).fromlist, &mut before);
            let before = list(before.into_iter().map(|node| copy(node)));
            let then = pg_sys::make_ands_explicit(list(showing));
            conditions.push(if before.is_null() {
                then.cast()
            } else {
                case(before, then, constant(false)).cast()
            });
        }
        (*tree).quals = list(conditions).cast();
    }
}

/// Returns a condition that is true, contains no column, and needs a value.
unsafe fn compute(value: *mut pg_sys::Param) -> *mut pg_sys::Node {
    // SAFETY: new nodes in the planner's memory, with all fields set or zero.
    unsafe {
        let test = |kind| {
            let test = pg_sys::palloc0(size_of::<pg_sys::NullTest>()).cast::<pg_sys::NullTest>();
            (*test).xpr.type_ = pg_sys::NodeTag::T_NullTest;
            (*test).arg = copy(value).cast();
            (*test).nulltesttype = kind;
            (*test).location = -1;
            test
        };
        let either = [
            test(pg_sys::NullTestType::IS_NULL),
            test(pg_sys::NullTestType::IS_NOT_NULL),
        ];
        pg_sys::make_orclause(list(either)).cast()
    }
}

/// Returns the conditions of inner joins at the top of a query.
unsafe fn joined_by(from: *mut pg_sys::List, into: &mut Vec<*mut pg_sys::Node>) {
    // SAFETY: a join tree's nodes.
    unsafe {
        for node in elements::<pg_sys::Node>(from) {
            join(node, into);
        }
    }
}

unsafe fn join(node: *mut pg_sys::Node, into: &mut Vec<*mut pg_sys::Node>) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the node; conditions of joins are lists once they are simplified.
    unsafe {
        match (*node).type_ {
            T_FromExpr => {
                let from = &*node.cast::<pg_sys::FromExpr>();
                into.extend(elements::<pg_sys::Node>(from.quals.cast()));
                joined_by(from.fromlist, into);
            }
            T_JoinExpr => {
                let joined = &*node.cast::<pg_sys::JoinExpr>();
                join(joined.larg, into);
                if joined.jointype == pg_sys::JoinType::JOIN_INNER {
                    join(joined.rarg, into);
                    into.extend(elements::<pg_sys::Node>(joined.quals.cast()));
                }
            }
            _ => {}
        }
    }
}

/// Whether a condition is `tenancy_internal.barrier()`.
unsafe fn is_mark(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag identifies the node; a function's name lives in the planner's memory.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_FuncExpr {
            return false;
        }
        let call = &*node.cast::<pg_sys::FuncExpr>();
        call.args.is_null()
            && call.funcresulttype == pg_sys::BOOLOID
            && own::is(c"tenancy_internal", c"barrier", call.funcid)
    }
}
