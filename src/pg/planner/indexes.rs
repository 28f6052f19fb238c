//! Conditions that an index scan evaluates before the filter.
//!
//! - On a lossy bitmap page, for a lossy operator, and for a concurrently changed row, the server evaluates the index's
//!   conditions again on the row: also the predicate of a partial index, and the values that the row is compared with.
//!   If that reveals more than its result, a bitmap's recheck begins with the policies. The recheck of a plain index
//!   scan cannot, so a bitmap scan of the same index replaces it.
//! - Bitmaps are combined one after the other, until the combination is empty. An index's conditions may reveal that
//!   they were evaluated. At most one such bitmap is combined with others, and it is the first. The conditions of the
//!   others are left to the filter.
//! - An order by distance is computed again for each row if the operator is lossy. If that runs a user's code, or fails
//!   for ordinary values of some rows, the index is not used for it.

use pgrx::pg_sys;
use tenancy_core::conditions::distance_fails;

use super::expression::Reader;
use super::nodes::{case, constant, copy, elements, list};

/// The paths of one protected table.
struct Paths<'a> {
    reader: Reader,
    policies: &'a [*mut pg_sys::RestrictInfo],
    /// Whether rows are locked, and rechecked if they were changed concurrently.
    locks: bool,
}

/// Changes the paths of a protected table.
///
/// # Safety
/// `rel` is a table of the query, whose paths are made and not chosen from yet.
pub unsafe fn harden(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    policies: &[*mut pg_sys::RestrictInfo],
) {
    // SAFETY: the lists hold paths of the relation; each has the tag of its kind.
    unsafe {
        let select = (*(*root).parse).commandType == pg_sys::CmdType::CMD_SELECT;
        let paths = Paths {
            reader: Reader::new(root),
            policies,
            locks: !select || !(*root).rowMarks.is_null(),
        };
        let (mut rechecked, mut dropped) = (Vec::new(), Vec::new());
        if let Some(keep) = paths.harden_all((*rel).partial_pathlist, &mut dropped) {
            (*rel).partial_pathlist = keep;
        }
        if let Some(keep) = paths.harden_all((*rel).pathlist, &mut rechecked) {
            (*rel).pathlist = keep;
            let sequential = pg_sys::create_seqscan_path(root, rel, (*rel).lateral_relids, 0);
            pg_sys::add_path(rel, sequential);
        }
        for path in rechecked {
            if !(*(*path).indexinfo).amhasgetbitmap {
                continue;
            }
            let joined = (*path).path.param_info;
            let outer = if joined.is_null() {
                (*rel).lateral_relids
            } else {
                (*joined).ppi_req_outer
            };
            let bitmap = pg_sys::create_bitmap_heap_path(root, rel, path.cast(), outer, 1.0, 0);
            paths.bitmap((*bitmap).bitmapqual);
            pg_sys::add_path(rel, bitmap.cast());
        }
    }
}

impl Paths<'_> {
    /// Returns the remaining paths, if one is removed, and notes those that an equal bitmap must replace.
    unsafe fn harden_all(
        &self,
        all: *mut pg_sys::List,
        rechecked: &mut Vec<*mut pg_sys::IndexPath>,
    ) -> Option<*mut pg_sys::List> {
        use pg_sys::NodeTag::*;
        let mut dropped = Vec::new();
        // SAFETY: a list of paths, each with the tag of its kind.
        unsafe {
            for path in elements::<pg_sys::Path>(all) {
                match (*path).type_ {
                    T_IndexPath => {
                        let index = path.cast::<pg_sys::IndexPath>();
                        if self.order_tells(index) {
                            dropped.push(path);
                        } else if self.rechecks(index) {
                            dropped.push(path);
                            rechecked.push(index);
                        }
                    }
                    T_BitmapHeapPath => {
                        self.bitmap((*path.cast::<pg_sys::BitmapHeapPath>()).bitmapqual);
                    }
                    _ => {}
                }
            }
            (!dropped.is_empty())
                .then(|| list(elements::<pg_sys::Path>(all).filter(|path| !dropped.contains(path))))
        }
    }

    /// Returns whether a plain index scan may recheck its conditions on a row in a way that reveals something. The policies cannot
    /// be placed before that recheck.
    unsafe fn rechecks(&self, path: *mut pg_sys::IndexPath) -> bool {
        // SAFETY: an index path has its index.
        unsafe {
            (self.locks || (*(*path).indexinfo).relam != pg_sys::BTREE_AM_OID)
                && (self.conditions(path))
                    .any(|condition| self.reader.read(condition).shows.again())
        }
    }

    /// Returns whether a bitmap's index conditions may reveal that they were evaluated.
    unsafe fn shows(&self, path: *mut pg_sys::Path) -> bool {
        use pg_sys::NodeTag::*;
        // SAFETY: a bitmap's path has the tag of its kind.
        unsafe {
            match (*path).type_ {
                T_IndexPath => self
                    .conditions(path.cast())
                    .any(|condition| self.reader.read(condition).shows.anything()),
                T_BitmapAndPath => elements((*path.cast::<pg_sys::BitmapAndPath>()).bitmapquals)
                    .any(|arm| self.shows(arm)),
                T_BitmapOrPath => elements((*path.cast::<pg_sys::BitmapOrPath>()).bitmapquals)
                    .any(|arm| self.shows(arm)),
                _ => true,
            }
        }
    }

    unsafe fn bitmap(&self, path: *mut pg_sys::Path) {
        use pg_sys::NodeTag::*;
        // SAFETY: as above.
        unsafe {
            match (*path).type_ {
                T_IndexPath => self.guard(path.cast()),
                T_BitmapOrPath => {
                    for arm in elements((*path.cast::<pg_sys::BitmapOrPath>()).bitmapquals) {
                        self.bitmap(arm);
                    }
                }
                T_BitmapAndPath => {
                    let path = path.cast::<pg_sys::BitmapAndPath>();
                    let arms = elements::<pg_sys::Path>((*path).bitmapquals);
                    let (showing, others): (Vec<_>, Vec<_>) =
                        arms.partition(|arm| self.shows(*arm));
                    if !showing.is_empty() {
                        (*path).bitmapquals = list(showing.into_iter().take(1).chain(others));
                    }
                    for arm in elements((*path).bitmapquals) {
                        self.bitmap(arm);
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the conditions that an index is searched by, without the policies.
    unsafe fn conditions(
        &self,
        path: *mut pg_sys::IndexPath,
    ) -> impl Iterator<Item = *mut pg_sys::Node> {
        // SAFETY: an index path's conditions are a list of IndexClause.
        unsafe {
            elements::<pg_sys::IndexClause>((*path).indexclauses)
                .map(|clause| (*clause).rinfo)
                .filter(|condition| !self.policies.contains(condition))
                .map(|condition| (*condition).clause.cast())
        }
    }

    /// Makes a recheck begin with the policies, if it reveals more than its result. The index search is unchanged: this
    /// condition is only for the recheck.
    unsafe fn guard(&self, path: *mut pg_sys::IndexPath) {
        // SAFETY: an index path has its index, whose predicate is a list of expressions. The new nodes are
        // made in the planner's memory.
        unsafe {
            let index = (*path).indexinfo;
            let again = |node| self.reader.read(node).shows.again();
            if !again((*index).indpred.cast()) && !self.conditions(path).any(again) {
                return;
            }
            // Several paths may share a part.
            let mut clauses = elements::<pg_sys::IndexClause>((*path).indexclauses);
            if clauses
                .next()
                .is_some_and(|first| (*first).indexquals.is_null())
            {
                return;
            }
            // Without those that the index's predicate implies, which may contain columns that the index does not have.
            let policies: Vec<_> = elements::<pg_sys::RestrictInfo>((*index).indrestrictinfo)
                .filter(|condition| self.policies.contains(condition))
                .collect();
            let Some(first) = policies.first() else {
                return;
            };
            let all = list(policies.iter().map(|condition| copy((**condition).clause)));
            let size = size_of::<pg_sys::RestrictInfo>();
            let guard = pg_sys::palloc(size).cast::<pg_sys::RestrictInfo>();
            guard.copy_from_nonoverlapping(*first, 1);
            (*guard).clause = case(all, constant(true), constant(false));
            (*guard).orclause = std::ptr::null_mut();
            (*guard).parent_ec = std::ptr::null_mut();
            let clause =
                pg_sys::palloc0(size_of::<pg_sys::IndexClause>()).cast::<pg_sys::IndexClause>();
            (*clause).type_ = pg_sys::NodeTag::T_IndexClause;
            (*clause).rinfo = guard;
            (*clause).lossy = true;
            (*path).indexclauses = list([clause].into_iter().chain(elements((*path).indexclauses)));
        }
    }

    /// Returns whether an order by distance runs a user's code, or may fail for a row's value.
    unsafe fn order_tells(&self, path: *mut pg_sys::IndexPath) -> bool {
        // SAFETY: a list of operators with the index's column on the left.
        unsafe {
            elements::<pg_sys::OpExpr>((*path).indexorderbys).any(|distance| {
                let mut args = elements::<pg_sys::Node>((*distance).args);
                args.any(|arg| {
                    distance_fails(pg_sys::exprType(arg).to_u32())
                        || self.reader.read(arg).shows.calls
                })
            })
        }
    }
}
