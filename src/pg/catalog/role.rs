//! Who is calling, in the server's terms.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::statics;

/// The role whose rights are in force.
pub fn current() -> pg_sys::Oid {
    statics::GetUserId()
}

/// True when row security does not apply to the current role.
pub fn bypasses_row_security() -> bool {
    bypasses(current())
}

/// Returns whether row security does not apply to a role.
pub fn bypasses(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::has_bypassrls_privilege(role) }
}

/// The role that logged in.
pub fn session() -> pg_sys::Oid {
    statics::GetSessionUserId()
}

/// True inside a SECURITY DEFINER function, and where tenancy runs as its owner.
pub fn in_definer_function() -> bool {
    statics::GetUserId() != statics::GetOuterUserId()
}

/// True for a superuser.
pub fn is_superuser_role(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::superuser_arg(role) }
}

/// The role that owns tenancy's objects.
pub const OWNER: &CStr = c"tenancy_owner";

/// True when the current role holds the rights of the named role (superusers hold all).
pub fn has_role(name: &CStr) -> bool {
    has(current(), name)
}

/// True when a role holds the rights of the named role of tenancy's (superusers hold all, and so does
/// the role that tenancy's own queries run as).
pub fn has(role: pg_sys::Oid, name: &CStr) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    named(name).is_some_and(|named| unsafe { pg_sys::has_privs_of_role(role, named) })
        || named(OWNER) == Some(role)
}

/// True when the current role has all that another has.
pub fn may_act_as(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::has_privs_of_role(current(), role) }
}

/// True when a role sees the whole tree without a context.
pub fn reads_all(role: pg_sys::Oid) -> bool {
    [c"tenancy_admin", c"tenancy_gateway", c"tenancy_auditor"]
        .into_iter()
        .any(|name| has(role, name))
}

/// Returns whether a role holds the rights of another (superusers hold all).
pub fn holds(role: pg_sys::Oid, other: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::has_privs_of_role(role, other) }
}

/// True when the session's own role holds the rights of the named role, whatever SECURITY DEFINER
/// function is running.
pub fn outer_has_role(name: &CStr) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    named(name).is_some_and(|role| unsafe { pg_sys::has_privs_of_role(outer(), role) })
}

/// True when a role was granted the named role; being superuser does not count.
pub fn is_member_of(member: pg_sys::Oid, name: &CStr) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    named(name).is_some_and(|role| unsafe { pg_sys::is_member_of_role_nosuper(member, role) })
}

/// The role of this name, if there is one.
pub fn named(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up inside a transaction; a missing role gives the invalid oid.
    let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (role != pg_sys::Oid::INVALID).then_some(role)
}

/// The session's own role, as SET ROLE left it, whatever SECURITY DEFINER function is running.
pub fn outer() -> pg_sys::Oid {
    statics::GetOuterUserId()
}

/// The current role's name.
pub fn current_name() -> String {
    name(current())
}

/// A role's name.
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
