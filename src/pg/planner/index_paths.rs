//! Makes a table's index paths again, with conditions that the planner does not search indexes by, and offers them to the planner
//! with the others.
//!
//! - `fleets`: policies that several tenants pass, as a condition on an array.
//! - `index_search`: conditions that reveal nothing. With `own`, a search with such a condition must search by tenant too, so that it
//!   reads the caller's entries. With `all`, it may read entries of all tenants, and its time and the server's statistics
//!   depend on them.

use pgrx::pg_sys;

use super::expression::Reader;
use super::fleets::{self, Fleet};
use super::index_search::{Searchable, Table, candidates, has_key_of};
use super::nodes::elements;
use super::{estimates, policies};
use crate::pg::guc::{self, IndexSearch};

/// Adds these paths to a table; those of `index_search` only if `hardened`.
///
/// # Safety
/// `rel` is a relation of the query, whose paths are made and not chosen from yet; `entry` is its entry in the range table.
pub unsafe fn add(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    entry: *mut pg_sys::RangeTblEntry,
    hardened: bool,
) {
    // SAFETY: the planner's own structures, as above.
    unsafe {
        if (*entry).inh
            || !(*entry).tablesample.is_null()
            || (*rel).indexlist.is_null()
            || pg_sys::is_dummy_rel(rel)
        {
            return;
        }
        let fleets = fleets::of(root, rel);
        let by_array = fleets.iter().any(|fleet| {
            elements::<pg_sys::IndexOptInfo>((*rel).indexlist)
                .any(|index| has_key_of(index, (*index).nkeycolumns, fleet.call))
        });
        let mut run = Run {
            root,
            rel,
            fleets,
            tenants: Vec::new(),
            own: false,
        };
        if by_array {
            run.offer((*rel).indexlist, &[]);
        }
        let mode = guc::index_search();
        if !hardened || (*root).qual_security_level == 0 || matches!(mode, IndexSearch::Off) {
            return;
        }
        let candidates = candidates(rel);
        if candidates.is_empty() {
            return;
        }
        let Some(tenants) = policies::tenants(root, rel) else {
            return;
        };
        run.own = matches!(mode, IndexSearch::Own);
        let table = Table {
            rel,
            reader: Reader::new(root),
            tenants: &tenants,
            own: run.own,
        };
        let Searchable {
            indexes,
            marked,
            estimated,
        } = table.searchable(candidates);
        if marked.is_empty() {
            return;
        }
        if !run.own {
            estimates::of_all_rows(root, rel, &estimated);
        }
        run.tenants = tenants;
        run.offer(indexes, &marked);
    }
}

/// A table whose index paths are made again.
struct Run {
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    fleets: Vec<Fleet>,
    /// The conditions that keep a search to the caller's tenants.
    tenants: Vec<*mut pg_sys::RestrictInfo>,
    /// Whether each search by a marked condition must have one of them.
    own: bool,
}

impl Run {
    /// Makes the index paths with the marked conditions counted as leakproof, and offers the planner those that may be used.
    unsafe fn offer(&self, indexes: *mut pg_sys::List, marked: &[*mut pg_sys::RestrictInfo]) {
        let none = std::ptr::null_mut();
        // SAFETY: the relation's lists and conditions are the planner's, and are put back before any path is chosen. After an error
        // nothing of them is used again.
        unsafe {
            let rel = &mut *self.rel;
            let before = (rel.indexlist, rel.pathlist, rel.partial_pathlist);
            (rel.indexlist, rel.pathlist, rel.partial_pathlist) = (indexes, none, none);
            for condition in marked {
                (**condition).leakproof = true;
            }
            for fleet in &self.fleets {
                fleet.begin();
            }
            let bitmaps = self.only_bitmaps(indexes);
            pg_sys::create_index_paths(self.root, self.rel);
            for (index, has_tuples) in bitmaps {
                ((*index).amsearcharray, (*index).amhasgettuple) = (false, has_tuples);
            }
            for fleet in &self.fleets {
                fleet.end();
            }
            for condition in marked {
                (**condition).leakproof = false;
            }
            let made = (rel.pathlist, rel.partial_pathlist);
            (rel.indexlist, rel.pathlist, rel.partial_pathlist) = before;
            for path in elements(made.0) {
                if self.keeps(path, marked) {
                    pg_sys::add_path(self.rel, path);
                }
            }
            for path in elements(made.1) {
                if self.keeps(path, marked) {
                    pg_sys::add_partial_path(self.rel, path);
                }
            }
        }
    }

    /// Where each search must be by tenant, makes the planner search GIN and GiST indexes only by the array, as the server does for a
    /// bitmap. It would make paths without it too, and prefer them. Returns the indexes, with whether they have other scans.
    unsafe fn only_bitmaps(
        &self,
        indexes: *mut pg_sys::List,
    ) -> Vec<(*mut pg_sys::IndexOptInfo, bool)> {
        let mut changed = Vec::new();
        if !self.own || self.fleets.is_empty() {
            return changed;
        }
        // SAFETY: a list of the table's indexes, which the planner has made for this query.
        unsafe {
            for index in elements::<pg_sys::IndexOptInfo>(indexes) {
                if !(*index).amsearcharray && (*index).amhasgetbitmap {
                    changed.push((index, (*index).amhasgettuple));
                    ((*index).amsearcharray, (*index).amhasgettuple) = (true, false);
                }
            }
        }
        changed
    }

    /// Returns whether a path is one of this run's, and each of its searches is as it must be. Then it is complete.
    unsafe fn keeps(&self, path: *mut pg_sys::Path, marked: &[*mut pg_sys::RestrictInfo]) -> bool {
        let mut searches = Vec::new();
        // SAFETY: a path, and the index paths that it consists of.
        unsafe {
            if !parts(path, &mut searches) {
                return false;
            }
            let mut new = false;
            for search in &searches {
                let has = |set: &[*mut pg_sys::RestrictInfo]| {
                    elements::<pg_sys::IndexClause>((**search).indexclauses)
                        .any(|clause| set.contains(&(*clause).rinfo))
                };
                let by_marked = has(marked);
                if by_marked && self.own && !has(&self.tenants) {
                    return false;
                }
                let (by_array, large) = self.by_array(*search);
                if large {
                    return false;
                }
                new = new || by_marked || by_array;
            }
            if new {
                for search in searches {
                    for fleet in &self.fleets {
                        fleet.keep(search);
                    }
                }
            }
            new
        }
    }

    /// Returns whether an index is searched by an array, and whether by nothing else although it is of tenants with much of the table.
    unsafe fn by_array(&self, path: *mut pg_sys::IndexPath) -> (bool, bool) {
        // SAFETY: an index path's conditions are a list of IndexClause.
        unsafe {
            let (mut arrays, mut others, mut large) = (false, false, false);
            for clause in elements::<pg_sys::IndexClause>((*path).indexclauses) {
                match (self.fleets.iter()).find(|fleet| fleet.policy == (*clause).rinfo) {
                    Some(fleet) => {
                        arrays = true;
                        large = large || fleet.is_large();
                    }
                    None => others = true,
                }
            }
            (arrays, large && !others)
        }
    }
}

/// Collects the index paths that a path consists of. Returns false if it consists of something else.
unsafe fn parts(path: *mut pg_sys::Path, into: &mut Vec<*mut pg_sys::IndexPath>) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: a path has the tag of its kind.
    unsafe {
        match (*path).type_ {
            T_IndexPath => {
                into.push(path.cast());
                true
            }
            T_BitmapHeapPath => parts((*path.cast::<pg_sys::BitmapHeapPath>()).bitmapqual, into),
            T_BitmapAndPath => elements((*path.cast::<pg_sys::BitmapAndPath>()).bitmapquals)
                .all(|arm| parts(arm, into)),
            T_BitmapOrPath => elements((*path.cast::<pg_sys::BitmapOrPath>()).bitmapquals)
                .all(|arm| parts(arm, into)),
            _ => false,
        }
    }
}
