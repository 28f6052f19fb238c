//! Notes objects that stay in a session when they are created: cursors WITH HOLD, LISTEN, and objects that may be
//! temporary.

use pgrx::pg_sys;

use super::tell;
use crate::pg::cell::BackendCell;
use crate::pg::{guc, session};

static HELD_CURSORS: BackendCell<bool> = BackendCell::new(false);
static LEFTOVERS: BackendCell<bool> = BackendCell::new(false);
static LISTENS: BackendCell<bool> = BackendCell::new(false);

/// Returns whether cursors WITH HOLD were declared since the last call.
pub fn take_held_cursors() -> bool {
    HELD_CURSORS.replace_with(false)
}

/// Returns whether temporary objects may have been created since the last call.
pub fn take_leftovers() -> bool {
    LEFTOVERS.replace_with(false)
}

/// Returns whether temporary objects may have been created since the last `take_leftovers`.
pub fn has_leftovers() -> bool {
    LEFTOVERS.get()
}

/// Returns whether the session may listen to channels.
pub fn listens() -> bool {
    LISTENS.get()
}

/// Notes that the session listens to no channel.
pub fn unlistened() {
    LISTENS.set(false);
}

/// Notes that dropped temporary objects are restored. (A closed cursor stays closed.)
pub fn note_leftovers() {
    LEFTOVERS.set(true);
}

/// Called before a utility statement.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the statement.
    let holds = unsafe {
        match (*node).type_ {
            T_ListenStmt => {
                LISTENS.set(true);
                return;
            }
            // These create nothing that stays, and must work in any state.
            T_TransactionStmt | T_VariableSetStmt | T_VariableShowStmt | T_DiscardStmt
            | T_PrepareStmt | T_ExecuteStmt | T_DeallocateStmt | T_ClosePortalStmt
            | T_FetchStmt | T_NotifyStmt | T_UnlistenStmt | T_ConstraintsSetStmt => {
                return;
            }
            // These may begin by entering a context.
            T_DoStmt | T_CallStmt => {
                check_query();
                LEFTOVERS.set(true);
                return;
            }
            T_DeclareCursorStmt => {
                let declare = node.cast::<pg_sys::DeclareCursorStmt>();
                (*declare).options & pg_sys::CURSOR_OPT_HOLD as i32 != 0
            }
            _ => false,
        }
    };
    // A ticket's principal enters before the statement creates objects, which are then its own.
    if guc::has_ticket() {
        tell(|on| (on.statement)());
    }
    if holds {
        HELD_CURSORS.set(true);
    } else {
        // It, or a function that it calls, may create temporary objects.
        LEFTOVERS.set(true);
    }
}

/// Called before a query.
pub fn check_query() {
    let left = (LEFTOVERS.get() && session::has_temporary()) || HELD_CURSORS.get();
    if left && guc::has_ticket() {
        tell(|on| (on.statement)());
    }
}
