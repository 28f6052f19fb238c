//! Membership in tenancy's roles. Before PostgreSQL 16 a role with CREATEROLE can grant and alter every role that is no superuser,
//! and so become `tenancy_owner`. Therefore only superusers may change that role. A role that tenants share cannot grant a role
//! with more rights, also not to itself.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use super::shared_role::shared_role;
use crate::error::Error;
use crate::pg::nodes::each;
use crate::pg::{role, xact};

/// Roles that a role that tenants share cannot grant.
const ABOVE_APP: [&CStr; 3] = [c"tenancy_admin", c"tenancy_gateway", c"tenancy_auditor"];

/// Raises an error if a statement changes `tenancy_owner` or its members and the current role is no superuser, or if a role
/// that tenants share adds a member to a role with more rights.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) {
    // SAFETY: the caller's.
    let Some(named) = (unsafe { named(node) }) else {
        return;
    };
    if !xact::running() || role::is_superuser_role(role::current()) {
        return;
    }
    let has = |name: &CStr| role::named(name).is_some_and(|role| named.contains(&role));
    if has(role::OWNER) {
        Error::OwnerRole.raise();
    }
    if ABOVE_APP.into_iter().any(has) && shared_role() {
        Error::SharedRole.raise();
    }
}

/// Returns the roles that a statement about roles names; `None` for other statements, and for REVOKE.
unsafe fn named(node: *mut pg_sys::Node) -> Option<Vec<pg_sys::Oid>> {
    use pg_sys::NodeTag::*;
    let mut found = Roles(Vec::new());
    // SAFETY: the tag identifies the statement; its lists hold what the grammar puts there.
    unsafe {
        match (*node).type_ {
            T_GrantRoleStmt => {
                let grant = node.cast::<pg_sys::GrantRoleStmt>();
                if !(*grant).is_grant {
                    return None;
                }
                each((*grant).granted_roles, |granted| {
                    found.name((*granted.cast::<pg_sys::AccessPriv>()).priv_name);
                });
                found.specs((*grant).grantee_roles);
            }
            T_CreateRoleStmt => {
                found.members((*node.cast::<pg_sys::CreateRoleStmt>()).options);
            }
            T_AlterRoleStmt => {
                let alter = node.cast::<pg_sys::AlterRoleStmt>();
                found.spec((*alter).role);
                found.members((*alter).options);
            }
            T_AlterRoleSetStmt => {
                found.spec((*node.cast::<pg_sys::AlterRoleSetStmt>()).role);
            }
            T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType != pg_sys::ObjectType::OBJECT_ROLE {
                    return None;
                }
                found.name((*rename).subname);
            }
            T_DropRoleStmt => found.specs((*node.cast::<pg_sys::DropRoleStmt>()).roles),
            T_DropOwnedStmt => found.specs((*node.cast::<pg_sys::DropOwnedStmt>()).roles),
            T_ReassignOwnedStmt => {
                let reassign = node.cast::<pg_sys::ReassignOwnedStmt>();
                found.specs((*reassign).roles);
                found.spec((*reassign).newrole);
            }
            _ => return None,
        }
    }
    Some(found.0)
}

struct Roles(Vec<pg_sys::Oid>);

impl Roles {
    /// Adds a role by its name. The server itself refuses a missing role.
    unsafe fn name(&mut self, name: *const c_char) {
        if !name.is_null() && xact::running() {
            // SAFETY: a name in a statement is a C string.
            self.0.extend(role::named(unsafe { CStr::from_ptr(name) }));
        }
    }

    unsafe fn spec(&mut self, spec: *const pg_sys::RoleSpec) {
        if !spec.is_null() && xact::running() {
            // SAFETY: a role in a statement; a missing one has the invalid oid.
            self.0.push(unsafe { pg_sys::get_rolespec_oid(spec, true) });
        }
    }

    unsafe fn specs(&mut self, list: *mut pg_sys::List) {
        // SAFETY: a list of roles.
        unsafe { each(list, |spec| self.spec(spec.cast())) }
    }

    /// Adds the groups and members in the options of CREATE ROLE, CREATE GROUP and ALTER GROUP.
    unsafe fn members(&mut self, options: *mut pg_sys::List) {
        // SAFETY: a list of options; these have a list of roles.
        unsafe {
            each(options, |option| {
                let option = option.cast::<pg_sys::DefElem>();
                let name = CStr::from_ptr((*option).defname);
                if [c"addroleto", c"rolemembers", c"adminmembers"].contains(&name) {
                    self.specs((*option).arg.cast());
                }
            });
        }
    }
}
