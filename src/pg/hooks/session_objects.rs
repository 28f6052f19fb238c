//! What stays in a session, noted as it is made: cursors WITH HOLD, LISTEN, and whatever may be
//! temporary.

use pgrx::pg_sys;

use super::tell;
use crate::pg::cell::BackendCell;
use crate::pg::{guc, session};

static HELD_CURSORS: BackendCell<bool> = BackendCell::new(false);
static LEFTOVERS: BackendCell<bool> = BackendCell::new(false);
static LISTENS: BackendCell<bool> = BackendCell::new(false);

/// Whether cursors WITH HOLD were declared since the last call.
pub fn take_held_cursors() -> bool {
    HELD_CURSORS.replace_with(false)
}

/// Whether there may be something temporary that was not there at the last call.
pub fn take_leftovers() -> bool {
    LEFTOVERS.replace_with(false)
}

/// Whether there may be something temporary that was not there at the last `take_leftovers`.
pub fn has_leftovers() -> bool {
    LEFTOVERS.get()
}

/// Whether the session may hear channels.
pub fn listens() -> bool {
    LISTENS.get()
}

/// The session hears no channel any more.
pub fn unlistened() {
    LISTENS.set(false);
}

/// What was temporary, and had been dropped, is back. (A cursor that was closed stays closed.)
pub fn note_leftovers() {
    LEFTOVERS.set(true);
}

/// Before a utility statement.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag tells which statement it is.
    let holds = unsafe {
        match (*node).type_ {
            T_ListenStmt => {
                LISTENS.set(true);
                return;
            }
            // These make nothing that stays, and have to work in any state.
            T_TransactionStmt | T_VariableSetStmt | T_VariableShowStmt | T_DiscardStmt
            | T_PrepareStmt | T_ExecuteStmt | T_DeallocateStmt | T_ClosePortalStmt
            | T_FetchStmt | T_NotifyStmt | T_UnlistenStmt | T_ConstraintsSetStmt => {
                return;
            }
            // These may begin by taking a context.
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
    // Whoever comes by a ticket comes before what the statement makes, which is then its own.
    if guc::has_ticket() {
        tell(|on| (on.statement)());
    }
    if holds {
        HELD_CURSORS.set(true);
    } else {
        // By itself or by what it calls, it may make something temporary.
        LEFTOVERS.set(true);
    }
}

/// Before a query.
pub fn check_query() {
    let left = (LEFTOVERS.get() && session::has_temporary()) || HELD_CURSORS.get();
    if left && guc::has_ticket() {
        tell(|on| (on.statement)());
    }
}
