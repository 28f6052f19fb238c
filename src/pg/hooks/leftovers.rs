//! Cursors WITH HOLD and temporary tables stay in a session: whoever uses or makes one is noted.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use super::tell;
use crate::pg::cell::BackendCell;
use crate::pg::nodes::{Name, each};
use crate::pg::session;

static HELD_CURSOR: BackendCell<bool> = BackendCell::new(false);

/// True when this session ever declared a cursor WITH HOLD.
pub fn held_cursor_was_declared() -> bool {
    HELD_CURSOR.get()
}

/// Before a utility statement.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag tells which statement it is.
    unsafe {
        match (*node).type_ {
            T_DeclareCursorStmt => {
                let declare = node.cast::<pg_sys::DeclareCursorStmt>();
                if (*declare).options & pg_sys::CURSOR_OPT_HOLD as i32 != 0 {
                    HELD_CURSOR.set(true);
                    tell(|on| (on.make)());
                }
            }
            T_FetchStmt
                if HELD_CURSOR.get() && is_held((*node.cast::<pg_sys::FetchStmt>()).portalname) =>
            {
                tell(|on| (on.touch)());
            }
            T_CopyStmt if session::has_temporary() => {
                let relation = (*node.cast::<pg_sys::CopyStmt>()).relation;
                if !relation.is_null() && Name::copy(relation).oid().is_some_and(is_temporary) {
                    tell(|on| (on.touch)());
                }
            }
            T_CreateStmt => made((*node.cast::<pg_sys::CreateStmt>()).relation),
            T_CreateTableAsStmt => {
                made((*(*node.cast::<pg_sys::CreateTableAsStmt>()).into).rel);
            }
            T_ViewStmt => made((*node.cast::<pg_sys::ViewStmt>()).view),
            _ => {}
        }
    }
}

/// Before a query, in sessions that have temporary tables: whose are they?
///
/// # Safety
/// `statement` is a planned query.
pub unsafe fn check_query(statement: *mut pg_sys::PlannedStmt) {
    if !session::has_temporary() || session::parallel_leader().is_some() {
        return;
    }
    let mut touched = false;
    // SAFETY: a query's range table holds range table entries.
    unsafe {
        each((*statement).rtable, |entry| {
            let entry = entry.cast::<pg_sys::RangeTblEntry>();
            touched |=
                (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION && is_temporary((*entry).relid);
        });
    }
    if touched {
        tell(|on| (on.touch)());
    }
}

/// What is made here stays in the session, if it is temporary.
unsafe fn made(relation: *const pg_sys::RangeVar) {
    // SAFETY: the statement's own node; the schema's name may be NULL.
    let temporary = unsafe {
        !relation.is_null()
            && ((*relation).relpersistence == pg_sys::RELPERSISTENCE_TEMP as c_char
                || (!(*relation).schemaname.is_null()
                    && CStr::from_ptr((*relation).schemaname)
                        .to_bytes()
                        .starts_with(b"pg_temp")))
    };
    if temporary {
        tell(|on| (on.make)());
    }
}

/// Whether a cursor outlived the transaction that made it.
unsafe fn is_held(name: *const c_char) -> bool {
    // SAFETY: a look-up by name among the session's portals.
    unsafe {
        let portal = pg_sys::GetPortalByName(name);
        !portal.is_null() && (*portal).createSubid == 0
    }
}

fn is_temporary(table: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups inside a transaction; an unknown oid gives the invalid namespace.
    unsafe { pg_sys::isTempNamespace(pg_sys::get_rel_namespace(table)) }
}
