//! Roles that tenants share. They must not alter themselves, because that affects all their sessions.

use pgrx::pg_sys;

use crate::error::Error;
use crate::pg::{role, xact};

/// Raises an error if the statement is not allowed for such a role and the current role is one.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the statement.
    unsafe {
        match (*node).type_ {
            T_AlterRoleStmt | T_AlterRoleSetStmt if shared_role() => Error::SharedRole.raise(),
            _ => {}
        }
    }
}

/// Returns whether the session logs in, or runs, as a role with tenancy_app and no higher role. Roles belong to the
/// cluster, so this also applies in databases without the extension. SECURITY DEFINER functions of other roles count
/// as those roles.
pub fn shared_role() -> bool {
    xact::running()
        && (is_shared(role::current())
            || (!role::in_definer_function() && is_shared(role::session())))
}

/// Returns whether many clients may use the session in turn: as `shared_role`, or as a gateway.
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
