//! Protected tables in a part of a statement that planning removes: a branch with a constant false condition, an unused column or
//! WITH query. The plan keeps naming them, with the rights that the part needs. So the server checks these rights, and all hooks
//! find all tables of the statement.

use std::ffi::{c_int, c_void};

use pgrx::pg_sys;

use super::nodes::elements;

/// Tables of a query.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Named {
    /// Entries of a range table.
    tables: *mut pg_sys::List,
    /// The rights needed on each.
    #[cfg(not(feature = "pg15"))]
    rights: *mut pg_sys::List,
    /// The query with the range table.
    #[cfg(not(feature = "pg15"))]
    query: *mut pg_sys::Query,
}

/// Called as C calls them, without a guard: an error of the server passes through, and nothing here has a destructor.
mod raw {
    use super::{c_int, c_void, pg_sys};

    pub type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;

    unsafe extern "C" {
        #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
        pub fn expression_tree_walker(
            node: *mut pg_sys::Node,
            walker: Walker,
            context: *mut c_void,
        ) -> bool;
        #[cfg_attr(not(feature = "pg15"), link_name = "query_tree_walker_impl")]
        pub fn query_tree_walker(
            query: *mut pg_sys::Query,
            walker: Walker,
            context: *mut c_void,
            flags: c_int,
        ) -> bool;
    }
}

impl Named {
    /// None.
    pub const NONE: Self = Self {
        tables: std::ptr::null_mut(),
        #[cfg(not(feature = "pg15"))]
        rights: std::ptr::null_mut(),
        #[cfg(not(feature = "pg15"))]
        query: std::ptr::null_mut(),
    };

    /// Returns the protected tables of a query with parts that planning may remove.
    ///
    /// # Safety
    /// `query` is rewritten and not planned yet.
    pub unsafe fn removable(query: *mut pg_sys::Query) -> Self {
        let mut named = Self::NONE;
        // SAFETY: as above. A table that is alone in FROM stays in the plan's range table.
        unsafe {
            if has_parts(query) {
                visit(query.cast(), (&raw mut named).cast());
            }
        }
        named
    }

    /// Notes a table with row security.
    unsafe fn note(&mut self, entry: *mut pg_sys::RangeTblEntry) {
        // SAFETY: an entry of a query's range table, of which the planner copies as much into a plan's.
        unsafe {
            if (*entry).rtekind != pg_sys::RTEKind::RTE_RELATION || (*entry).securityQuals.is_null()
            {
                return;
            }
            let size = size_of::<pg_sys::RangeTblEntry>();
            let copy = pg_sys::palloc(size).cast::<pg_sys::RangeTblEntry>();
            copy.copy_from_nonoverlapping(entry, 1);
            (*copy).tablesample = std::ptr::null_mut();
            (*copy).securityQuals = std::ptr::null_mut();
            self.tables = pg_sys::lappend(self.tables, copy.cast());
            #[cfg(not(feature = "pg15"))]
            {
                let rights = pg_sys::getRTEPermissionInfo((*self.query).rteperminfos, entry);
                self.rights = pg_sys::lappend(self.rights, rights.cast());
            }
        }
    }

    /// Adds the missing tables to a plan.
    ///
    /// # Safety
    /// `plan` was made of the query that they are of, and is the caller's to change.
    pub unsafe fn keep(&self, plan: *mut pg_sys::PlannedStmt) {
        // SAFETY: the lists hold entries, in the memory that the plan was made in.
        unsafe {
            #[cfg(not(feature = "pg15"))]
            let mut rights = elements::<pg_sys::RTEPermissionInfo>(self.rights);
            for entry in elements::<pg_sys::RangeTblEntry>(self.tables) {
                #[cfg(not(feature = "pg15"))]
                let Some(rights) = rights.next() else { return };
                let mut known = elements::<pg_sys::RangeTblEntry>((*plan).rtable);
                if known.any(|known| {
                    (*known).rtekind == pg_sys::RTEKind::RTE_RELATION
                        && (*known).relid == (*entry).relid
                }) {
                    continue;
                }
                #[cfg(not(feature = "pg15"))]
                {
                    (*plan).permInfos = pg_sys::lappend((*plan).permInfos, rights.cast());
                    (*entry).perminfoindex = (*(*plan).permInfos).length as pg_sys::Index;
                }
                (*plan).rtable = pg_sys::lappend((*plan).rtable, entry.cast());
            }
        }
    }
}

/// Returns whether a query has subqueries in expressions, or WITH queries, also in its FROM.
unsafe fn has_parts(query: *mut pg_sys::Query) -> bool {
    // SAFETY: a query's range table holds entries.
    unsafe {
        (*query).hasSubLinks
            || !(*query).cteList.is_null()
            || elements::<pg_sys::RangeTblEntry>((*query).rtable).any(|entry| {
                (*entry).rtekind == pg_sys::RTEKind::RTE_SUBQUERY && has_parts((*entry).subquery)
            })
    }
}

unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, named: *mut c_void) -> bool {
    use pg_sys::NodeTag::*;
    if node.is_null() {
        return false;
    }
    // SAFETY: the tag identifies the node; the pointer is to a `Named`, and nothing else refers to it.
    unsafe {
        let found = named.cast::<Named>();
        match (*node).type_ {
            T_RangeTblEntry => {
                (*found).note(node.cast());
                false
            }
            T_Query => {
                #[cfg(not(feature = "pg15"))]
                let around = std::mem::replace(&mut (*found).query, node.cast());
                let flags = pg_sys::QTW_EXAMINE_RTES_BEFORE as c_int;
                raw::query_tree_walker(node.cast(), visit, named, flags);
                #[cfg(not(feature = "pg15"))]
                {
                    (*found).query = around;
                }
                false
            }
            _ => raw::expression_tree_walker(node, visit, named),
        }
    }
}
