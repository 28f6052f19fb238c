//! Protected tables in a part of a statement that planning removes: a branch with a constant false condition, an unused column or
//! WITH query. The plan keeps naming them, with the rights that the part needs. So the server checks these rights, and all hooks
//! find all tables of the statement.

use std::ffi::{c_int, c_void};

use pgrx::pg_sys;

use super::nodes::elements;

/// The tables with policies of a query that was rewritten and is not planned yet.
#[repr(C)]
pub struct Protected {
    /// Their entries in range tables.
    entries: *mut pg_sys::List,
    /// The query of each.
    queries: *mut pg_sys::List,
    /// The query that is being visited.
    query: *mut pg_sys::Query,
    /// Whether the query has parts that planning may remove.
    parts: bool,
}

/// Tables that a plan keeps naming.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Named {
    /// Entries of a range table.
    tables: *mut pg_sys::List,
    /// The rights needed on each.
    #[cfg(not(feature = "pg15"))]
    rights: *mut pg_sys::List,
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

impl Protected {
    /// Finds the tables of a query.
    ///
    /// # Safety
    /// `query` is rewritten and not planned yet.
    pub unsafe fn of(query: *mut pg_sys::Query) -> Self {
        // SAFETY: as above. A table that is alone in FROM stays in the plan's range table.
        unsafe {
            let mut found = Self {
                entries: std::ptr::null_mut(),
                queries: std::ptr::null_mut(),
                query,
                parts: has_parts(query),
            };
            if found.parts {
                visit(query.cast(), (&raw mut found).cast());
            } else {
                found.add_from(query);
            }
            found
        }
    }

    /// Adds the tables of a query without parts, and of subqueries in its FROM.
    unsafe fn add_from(&mut self, query: *mut pg_sys::Query) {
        // SAFETY: a query's range table holds entries.
        unsafe {
            for entry in elements::<pg_sys::RangeTblEntry>((*query).rtable) {
                if (*entry).rtekind == pg_sys::RTEKind::RTE_SUBQUERY {
                    self.add_from((*entry).subquery);
                } else if is_protected(entry) {
                    self.entries = pg_sys::lappend(self.entries, entry.cast());
                }
            }
        }
    }

    /// Returns their entries in range tables.
    pub fn entries(&self) -> impl Iterator<Item = *mut pg_sys::RangeTblEntry> {
        // SAFETY: a list of entries.
        unsafe { elements(self.entries) }
    }
}

/// Returns whether an entry is a table with policies.
unsafe fn is_protected(entry: *mut pg_sys::RangeTblEntry) -> bool {
    // SAFETY: an entry of a query's range table.
    unsafe {
        (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION && !(*entry).securityQuals.is_null()
    }
}

impl Named {
    /// None.
    pub const NONE: Self = Self {
        tables: std::ptr::null_mut(),
        #[cfg(not(feature = "pg15"))]
        rights: std::ptr::null_mut(),
    };

    /// Returns the tables, if planning may remove parts of their query.
    ///
    /// # Safety
    /// The query is not planned yet.
    pub unsafe fn removable(tables: &Protected) -> Self {
        let mut named = Self::NONE;
        if tables.parts {
            // SAFETY: as above.
            unsafe {
                let queries = elements::<pg_sys::Query>(tables.queries);
                for (entry, query) in tables.entries().zip(queries) {
                    named.note(entry, query);
                }
            }
        }
        named
    }

    /// Notes a table.
    unsafe fn note(&mut self, entry: *mut pg_sys::RangeTblEntry, query: *mut pg_sys::Query) {
        #[cfg(feature = "pg15")]
        let _ = query;
        // SAFETY: an entry of a query's range table, of which the planner copies as much into a plan's.
        unsafe {
            let size = size_of::<pg_sys::RangeTblEntry>();
            let copy = pg_sys::palloc(size).cast::<pg_sys::RangeTblEntry>();
            copy.copy_from_nonoverlapping(entry, 1);
            (*copy).tablesample = std::ptr::null_mut();
            (*copy).securityQuals = std::ptr::null_mut();
            self.tables = pg_sys::lappend(self.tables, copy.cast());
            #[cfg(not(feature = "pg15"))]
            {
                let rights = pg_sys::getRTEPermissionInfo((*query).rteperminfos, entry);
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

unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, found: *mut c_void) -> bool {
    use pg_sys::NodeTag::*;
    if node.is_null() {
        return false;
    }
    // SAFETY: the tag identifies the node; the pointer is to a `Protected`, and nothing else refers to it.
    unsafe {
        let tables = found.cast::<Protected>();
        match (*node).type_ {
            T_RangeTblEntry => {
                if is_protected(node.cast()) {
                    (*tables).entries = pg_sys::lappend((*tables).entries, node.cast());
                    (*tables).queries = pg_sys::lappend((*tables).queries, (*tables).query.cast());
                }
                false
            }
            T_Query => {
                let around = std::mem::replace(&mut (*tables).query, node.cast());
                let flags = pg_sys::QTW_EXAMINE_RTES_BEFORE as c_int;
                raw::query_tree_walker(node.cast(), visit, found, flags);
                (*tables).query = around;
                false
            }
            _ => raw::expression_tree_walker(node, visit, found),
        }
    }
}
