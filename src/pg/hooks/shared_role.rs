//! What a role that many tenants share does not do, whatever it was granted: alter itself, which all
//! its sessions would feel, and reach past row security.

use pgrx::pg_sys;

use super::tell;
use crate::error::Error;
use crate::pg::nodes::Name;
use crate::pg::{role, xact};

/// Raises an error if the statement is not for such a role and the current one is.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag tells which statement it is.
    unsafe {
        match (*node).type_ {
            T_AlterRoleStmt | T_AlterRoleSetStmt if shared_role() => Error::SharedRole.raise(),
            // protect() takes this privilege away; a later GRANT ALL must not bring it back.
            T_CreateTrigStmt if shared_role() => {
                let trigger = node.cast::<pg_sys::CreateTrigStmt>();
                refuse_if_protected(&Name::copy((*trigger).relation), "CREATE TRIGGER");
            }
            _ => {}
        }
    }
}

fn refuse_if_protected(name: &Name, command: &'static str) {
    if let Some(table) = name.oid() {
        refuse_on(table, command);
    }
}

/// Raises an error if a table is protected.
pub fn refuse_on(table: pg_sys::Oid, command: &'static str) {
    tell(|on| {
        if (on.protected)(table)? {
            return Err(Error::NotOnProtected(command));
        }
        Ok(())
    });
}

/// Sessions of many tenants log in, or run, as a role that was granted tenancy_app and nothing above
/// it. Roles are the cluster's, so this holds in databases without the extension too. What another
/// role's SECURITY DEFINER function does is that role's.
pub fn shared_role() -> bool {
    xact::running()
        && (is_shared(role::current())
            || (!role::in_definer_function() && is_shared(role::session())))
}

/// Whether many clients may use the session in turn: as `shared_role`, or as a gateway.
pub fn behind_clients() -> bool {
    let gateway = |role| {
        role::is_member_of(role, c"tenancy_gateway")
            && !role::is_member_of(role, c"tenancy_admin")
            && !role::is_superuser_role(role)
    };
    shared_role() || (xact::running() && (gateway(role::current()) || gateway(role::session())))
}

fn is_shared(role: pg_sys::Oid) -> bool {
    role::is_member_of(role, c"tenancy_app")
        && !role::is_member_of(role, c"tenancy_admin")
        && !role::is_superuser_role(role)
}
