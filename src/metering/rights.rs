//! What a caller may change of usage that is recorded or reserved.

use tenancy_core::id::PLATFORM_ID;
use tenancy_core::permission::Permission;
use tenancy_core::principal::Principal;
use uuid::Uuid;

use crate::context::{current, required};
use crate::error::Error;
use crate::pg::role;

/// The permission to change what others reserved or recorded.
const MANAGE: &str = "budgets:manage";

/// Whether a trusted role calls without a user's context, as for `record_usage_for()`.
pub fn is_trusted() -> Result<bool, Error> {
    let user = current()?.is_some_and(|context| matches!(context.principal, Principal::User(_)));
    Ok(!user && (role::has_role(c"tenancy_gateway") || role::has_role(c"tenancy_admin")))
}

/// Returns whether the context manages budgets above a tenant, or above a partner's own usage.
pub fn manages_above(tenant: Option<Uuid>, partner: Option<Uuid>) -> Result<bool, Error> {
    let manage = Permission::parse(MANAGE).map_err(|_| Error::Internal("a permission"))?;
    let above = match (tenant, partner) {
        (Some(_), Some(partner)) => vec![PLATFORM_ID, partner],
        _ => vec![PLATFORM_ID],
    };
    let context = required()?;
    let access = context.access.as_ref();
    Ok(access.is_some_and(|access| access.grants.hold(&manage, &above)))
}
