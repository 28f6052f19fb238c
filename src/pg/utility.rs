//! The hook on utility statements: what a policy cannot see.
//!
//! Before the statement: a role that many tenants share is not altered by one of its sessions, and
//! does not TRUNCATE or CREATE TRIGGER on protected tables, whatever it was granted; a cursor that
//! outlives its transaction is remembered. After it: a new partition or child of a protected table is
//! protected too; a renamed column is renamed in the record.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::cell::BackendCell;
use super::{role, session, spi, xact};
use crate::error::Error;

static PREVIOUS: BackendCell<pg_sys::ProcessUtility_hook_type> = BackendCell::new(None);
static PREVIOUS_START: BackendCell<pg_sys::ExecutorStart_hook_type> = BackendCell::new(None);
static HELD_CURSOR: BackendCell<bool> = BackendCell::new(false);
static ON: BackendCell<Option<On>> = BackendCell::new(None);

/// What the policy module does after a statement.
#[derive(Clone, Copy)]
pub struct On {
    /// A table got a partition or a child.
    pub child: fn(parent: pg_sys::Oid) -> Result<(), Error>,
    /// Something left in the session is about to be used.
    pub touch: fn() -> Result<(), Error>,
    /// Something that stays in the session is about to be made.
    pub make: fn() -> Result<(), Error>,
    /// Whether a table, or one that it is a part of, is protected.
    pub protected: fn(table: pg_sys::Oid) -> Result<bool, Error>,
    /// A table's column was renamed.
    pub rename: fn(table: pg_sys::Oid, old: &str, new: &str) -> Result<(), Error>,
}

/// Installs the hook.
pub fn init(on: On) {
    ON.set(Some(on));
    // SAFETY: set once, in _PG_init; the previous hook is kept and called.
    unsafe {
        PREVIOUS.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
        PREVIOUS_START.set(pg_sys::ExecutorStart_hook);
        pg_sys::ExecutorStart_hook = Some(executor_start);
    }
}

/// True when this session ever declared a cursor WITH HOLD.
pub fn held_cursor_was_declared() -> bool {
    HELD_CURSOR.get()
}

#[pg_guard]
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the server passes a statement that is valid for the call. What is needed of it after
    // the call is read before: a COMMIT inside may free it.
    let changes = unsafe {
        let node = (*statement).utilityStmt;
        before(node);
        changes(node)
    };
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: the arguments are passed on as they came, to the hook that was there before or to the
    // server's own function.
    unsafe {
        match PREVIOUS.get() {
            Some(previous) => pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                previous(
                    statement,
                    query,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    dest,
                    completion,
                )
            }),
            None => pg_sys::standard_ProcessUtility(
                statement,
                query,
                read_only_tree,
                context,
                params,
                environment,
                dest,
                completion,
            ),
        }
    }
    if !changes.is_empty()
        && xact::running()
        && spi::schema().is_some()
        && let Some(on) = ON.get()
    {
        for change in changes {
            // SAFETY: the name was copied; the look-up takes no lock beyond the statement's own.
            let table = unsafe { change.table.oid() };
            if table == pg_sys::Oid::INVALID {
                continue;
            }
            let done = match &change.what {
                What::Child => (on.child)(table),
                What::Rename { old, new } => (on.rename)(table, old, new),
            };
            if let Err(error) = done {
                error.raise();
            }
        }
    }
}

unsafe fn before(node: *mut pg_sys::Node) {
    // SAFETY: the tag tells which statement it is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_DeclareCursorStmt => {
                let declare = node.cast::<pg_sys::DeclareCursorStmt>();
                if (*declare).options & pg_sys::CURSOR_OPT_HOLD as i32 != 0 {
                    HELD_CURSOR.set(true);
                    ask(|on| on.make);
                }
            }
            pg_sys::NodeTag::T_FetchStmt if HELD_CURSOR.get() => {
                if is_held((*node.cast::<pg_sys::FetchStmt>()).portalname) {
                    ask(|on| on.touch);
                }
            }
            pg_sys::NodeTag::T_CopyStmt if session::has_temporary() => {
                let relation = (*node.cast::<pg_sys::CopyStmt>()).relation;
                if !relation.is_null() && is_temporary(Name::copy(relation).oid()) {
                    ask(|on| on.touch);
                }
            }
            pg_sys::NodeTag::T_CreateStmt => {
                made((*node.cast::<pg_sys::CreateStmt>()).relation);
            }
            pg_sys::NodeTag::T_CreateTableAsStmt => {
                made((*(*node.cast::<pg_sys::CreateTableAsStmt>()).into).rel);
            }
            pg_sys::NodeTag::T_ViewStmt => made((*node.cast::<pg_sys::ViewStmt>()).view),

            pg_sys::NodeTag::T_AlterRoleStmt | pg_sys::NodeTag::T_AlterRoleSetStmt
                if shared_role() =>
            {
                Error::SharedRole.raise()
            }
            // protect() takes these privileges away; a later GRANT ALL must not bring them back.
            pg_sys::NodeTag::T_TruncateStmt if shared_role() => {
                let truncate = node.cast::<pg_sys::TruncateStmt>();
                each((*truncate).relations, |table| {
                    refuse_if_protected(&Name::copy(table.cast()), "TRUNCATE");
                });
            }
            pg_sys::NodeTag::T_CreateTrigStmt if shared_role() => {
                let trigger = node.cast::<pg_sys::CreateTrigStmt>();
                refuse_if_protected(&Name::copy((*trigger).relation), "CREATE TRIGGER");
            }
            _ => {}
        }
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
        ask(|on| on.make);
    }
}

fn ask(what: fn(&On) -> fn() -> Result<(), Error>) {
    if spi::schema().is_some()
        && let Some(on) = ON.get()
        && let Err(error) = what(&on)()
    {
        error.raise();
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

/// Before any query runs, in sessions that have temporary tables: whose are they?
#[pg_guard]
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    if session::has_temporary() && session::parallel_leader().is_none() {
        let mut touched = false;
        // SAFETY: the executor passes a planned query; its range table holds range table entries.
        unsafe {
            each((*(*query).plannedstmt).rtable, |entry| {
                let entry = entry.cast::<pg_sys::RangeTblEntry>();
                touched |= (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION
                    && is_temporary((*entry).relid);
            });
        }
        if touched {
            ask(|on| on.touch);
        }
    }
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: passed on to the hook that was there before, or to the server's own function.
    unsafe {
        match PREVIOUS_START.get() {
            Some(previous) => {
                pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| previous(query, flags));
            }
            None => pg_sys::standard_ExecutorStart(query, flags),
        }
    }
}

unsafe fn refuse_if_protected(name: &Name, command: &'static str) {
    if spi::schema().is_none() {
        return;
    }
    // SAFETY: the look-up takes no lock; a name that is not there gives the invalid oid.
    let table = unsafe { name.oid() };
    let Some(on) = ON.get().filter(|_| table != pg_sys::Oid::INVALID) else {
        return;
    };
    match (on.protected)(table) {
        Ok(false) => {}
        Ok(true) => Error::NotOnProtected(command).raise(),
        Err(error) => error.raise(),
    }
}

/// Sessions of many tenants run as a role that was granted tenancy_app and nothing above it. Roles
/// are the cluster's, so this holds in databases without the extension too.
fn shared_role() -> bool {
    xact::running()
        && role::is_member(c"tenancy_app")
        && !role::is_superuser()
        && !role::is_member(c"tenancy_admin")
}

/// A table's name, copied from a statement.
struct Name {
    schema: Option<std::ffi::CString>,
    relation: std::ffi::CString,
}

impl Name {
    unsafe fn copy(range: *const pg_sys::RangeVar) -> Self {
        // SAFETY: the names are C strings, the schema's may be NULL.
        unsafe {
            let schema = (*range).schemaname;
            Self {
                schema: (!schema.is_null()).then(|| CStr::from_ptr(schema).to_owned()),
                relation: CStr::from_ptr((*range).relname).to_owned(),
            }
        }
    }

    unsafe fn oid(&self) -> pg_sys::Oid {
        // SAFETY: names in the current memory context; a table that is gone gives the invalid oid.
        unsafe {
            let schema = match &self.schema {
                Some(schema) => pg_sys::pstrdup(schema.as_ptr()),
                None => std::ptr::null_mut(),
            };
            let range = pg_sys::makeRangeVar(schema, pg_sys::pstrdup(self.relation.as_ptr()), -1);
            pg_sys::RangeVarGetRelidExtended(
                range,
                pg_sys::NoLock as i32,
                pg_sys::RVROption::RVR_MISSING_OK,
                None,
                std::ptr::null_mut(),
            )
        }
    }
}

/// What a statement changes that the policy module wants to know.
struct Change {
    table: Name,
    what: What,
}

enum What {
    /// The table gets a partition or a child.
    Child,
    /// A column of the table is renamed.
    Rename { old: String, new: String },
}

unsafe fn changes(node: *mut pg_sys::Node) -> Vec<Change> {
    let mut found = Vec::new();
    // SAFETY: the tag tells which statement it is; lists hold the nodes that the grammar puts there.
    unsafe {
        let mut child_of = |parent: *const pg_sys::RangeVar| {
            found.push(Change {
                table: Name::copy(parent),
                what: What::Child,
            });
        };
        match (*node).type_ {
            // A foreign table's statement begins with a table's.
            pg_sys::NodeTag::T_CreateStmt | pg_sys::NodeTag::T_CreateForeignTableStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                each((*create).inhRelations, |parent| child_of(parent.cast()));
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                let alter = node.cast::<pg_sys::AlterTableStmt>();
                each((*alter).cmds, |command| {
                    let command = command.cast::<pg_sys::AlterTableCmd>();
                    match (*command).subtype {
                        pg_sys::AlterTableType::AT_AttachPartition => child_of((*alter).relation),
                        pg_sys::AlterTableType::AT_AddInherit => child_of((*command).def.cast()),
                        _ => {}
                    }
                });
            }
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType == pg_sys::ObjectType::OBJECT_COLUMN
                    && !(*rename).relation.is_null()
                {
                    let text =
                        |name: *mut c_char| CStr::from_ptr(name).to_string_lossy().into_owned();
                    found.push(Change {
                        table: Name::copy((*rename).relation),
                        what: What::Rename {
                            old: text((*rename).subname),
                            new: text((*rename).newname),
                        },
                    });
                }
            }
            _ => {}
        }
    }
    found
}

unsafe fn each(list: *mut pg_sys::List, mut f: impl FnMut(*mut pg_sys::Node)) {
    if list.is_null() {
        return;
    }
    // SAFETY: a list of pointers has `length` elements.
    unsafe {
        for n in 0..(*list).length {
            f((*(*list).elements.add(n as usize)).ptr_value.cast());
        }
    }
}
