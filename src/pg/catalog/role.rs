//! The caller's database roles.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::statics;

/// Returns the role whose rights apply now.
pub fn current() -> pg_sys::Oid {
    statics::GetUserId()
}

/// Returns whether row security does not apply to the current role.
pub fn bypasses_row_security() -> bool {
    bypasses(current())
}

/// Returns whether row security does not apply to a role.
pub fn bypasses(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::has_bypassrls_privilege(role) }
}

/// Returns the role that logged in.
pub fn session() -> pg_sys::Oid {
    statics::GetSessionUserId()
}

/// Returns true inside a SECURITY DEFINER function, and while tenancy runs as its owner.
pub fn in_definer_function() -> bool {
    statics::GetUserId() != statics::GetOuterUserId()
}

/// Returns whether the server runs code whose results it stores, as for a materialized view or an index.
pub fn in_restricted_operation() -> bool {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::InSecurityRestrictedOperation() }
}

/// Returns whether a role is a superuser.
pub fn is_superuser_role(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::superuser_arg(role) }
}

/// The role that owns tenancy's objects.
pub const OWNER: &CStr = c"tenancy_owner";

/// Returns whether the current role has the rights of the named role (superusers have all).
pub fn has_role(name: &CStr) -> bool {
    has(current(), name)
}

/// Returns whether a role has the rights of the named role of tenancy (superusers and tenancy_owner have all).
pub fn has(role: pg_sys::Oid, name: &CStr) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    named(name).is_some_and(|named| unsafe { pg_sys::has_privs_of_role(role, named) })
        || named(OWNER) == Some(role)
}

/// Returns whether the current role has all rights of another.
pub fn may_act_as(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::has_privs_of_role(current(), role) }
}

/// Returns whether a role sees the whole tree without a context.
pub fn reads_all(role: pg_sys::Oid) -> bool {
    [c"tenancy_admin", c"tenancy_gateway", c"tenancy_auditor"]
        .into_iter()
        .any(|name| has(role, name))
}

/// Returns whether a role has the rights of another (superusers have all).
pub fn holds(role: pg_sys::Oid, other: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::has_privs_of_role(role, other) }
}

/// Returns whether the session's own role has the rights of the named role, also inside SECURITY DEFINER functions.
pub fn outer_has_role(name: &CStr) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    named(name).is_some_and(|role| unsafe { pg_sys::has_privs_of_role(outer(), role) })
}

/// Returns whether a role was granted the named role; being superuser does not count. From PostgreSQL 16 on, a membership that
/// is neither inherited nor open to SET ROLE does not count either: the creator of a role gets such a one.
pub fn is_member_of(member: pg_sys::Oid, name: &CStr) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    named(name).is_some_and(|role| unsafe {
        pg_sys::is_member_of_role_nosuper(member, role) && acts_as(member, role)
    })
}

#[cfg(feature = "pg15")]
unsafe fn acts_as(_member: pg_sys::Oid, _role: pg_sys::Oid) -> bool {
    true
}

#[cfg(not(feature = "pg15"))]
unsafe fn acts_as(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups inside a transaction.
    unsafe { pg_sys::has_privs_of_role(member, role) || pg_sys::member_can_set_role(member, role) }
}

/// Returns the role with this name, if it exists.
pub fn named(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up inside a transaction; a missing role gives the invalid oid.
    let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (role != pg_sys::Oid::INVALID).then_some(role)
}

/// Returns the session's own role, after SET ROLE, also inside SECURITY DEFINER functions.
pub fn outer() -> pg_sys::Oid {
    statics::GetOuterUserId()
}

/// Returns the current role's name.
pub fn current_name() -> String {
    name(current())
}

/// Returns a role's name.
pub fn name(role: pg_sys::Oid) -> String {
    // SAFETY: the name is a C string in the current memory context.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            return String::from("?");
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}
