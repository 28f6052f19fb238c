//! The hook on utility statements: what a policy cannot see.
//!
//! Two duties before the statement (a role that many tenants share is not altered by one of its
//! sessions; a cursor that outlives its transaction is remembered) and one after it (a new partition
//! or child of a protected table is protected too).

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::cell::BackendCell;
use super::{role, spi, xact};
use crate::error::Error;

static PREVIOUS: BackendCell<pg_sys::ProcessUtility_hook_type> = BackendCell::new(None);
static HELD_CURSOR: BackendCell<bool> = BackendCell::new(false);
static ON_CHILD: BackendCell<Option<OnChild>> = BackendCell::new(None);

/// Called with the parent of a new partition or child.
pub type OnChild = fn(pg_sys::Oid) -> Result<(), Error>;

/// Installs the hook; `on_child` is called with the parent of a new partition or child.
pub fn init(on_child: OnChild) {
    ON_CHILD.set(Some(on_child));
    // SAFETY: set once, in _PG_init; the previous hook is kept and called.
    unsafe {
        PREVIOUS.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
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
    let parents = unsafe {
        let node = (*statement).utilityStmt;
        before(node);
        parents(node)
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
    if !parents.is_empty()
        && xact::running()
        && spi::schema().is_some()
        && let Some(on_child) = ON_CHILD.get()
    {
        for parent in parents {
            // SAFETY: the name was copied; the look-up takes no lock beyond the statement's own.
            let oid = unsafe { parent.oid() };
            if oid != pg_sys::Oid::INVALID
                && let Err(error) = on_child(oid)
            {
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
                }
            }
            pg_sys::NodeTag::T_AlterRoleStmt | pg_sys::NodeTag::T_AlterRoleSetStmt
                if shared_role() =>
            {
                Error::SharedRole.raise()
            }
            _ => {}
        }
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

/// The tables that a statement gives a partition or a child.
unsafe fn parents(node: *mut pg_sys::Node) -> Vec<Name> {
    let mut names = Vec::new();
    // SAFETY: the tag tells which statement it is; lists hold the nodes that the grammar puts there.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_CreateStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                each((*create).inhRelations, |parent| {
                    names.push(Name::copy(parent.cast()))
                });
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                let alter = node.cast::<pg_sys::AlterTableStmt>();
                each((*alter).cmds, |command| {
                    let command = command.cast::<pg_sys::AlterTableCmd>();
                    match (*command).subtype {
                        pg_sys::AlterTableType::AT_AttachPartition => {
                            names.push(Name::copy((*alter).relation));
                        }
                        pg_sys::AlterTableType::AT_AddInherit => {
                            names.push(Name::copy((*command).def.cast()));
                        }
                        _ => {}
                    }
                });
            }
            _ => {}
        }
    }
    names
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
