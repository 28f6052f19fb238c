//! Roles that many tenants share, and that they do not alter themselves, which all their sessions would feel.

use pgrx::pg_sys;

use crate::error::Error;
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
            _ => {}
        }
    }
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
