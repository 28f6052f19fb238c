//! The hint for a new row without a tenant, which a policy refuses.

use super::quote::quote_ident;

/// Returns what the writer of such a row can do. An ORM often names all columns of its model; without a context the default is NULL.
#[must_use]
pub fn null_tenant_hint(column: &str, shared_null: bool, has_context: bool) -> String {
    if !has_context {
        return format!(
            "The tenant column {} of the row is NULL, and there is no context that would set it: call tenancy.authenticate() in this transaction first.",
            quote_ident(column)
        );
    }
    let mut hint = format!(
        "The tenant column {} of the row is NULL. Leave the column out, so that its default sets it to the context's tenant, or give it that tenant's key.",
        quote_ident(column)
    );
    if shared_null {
        hint.push_str(" Rows without a tenant, which all tenants read, are written in maintenance() or with the permission at the platform.");
    }
    hint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_the_column_and_who_may_leave_it_empty() {
        let hint = null_tenant_hint("Tenant", false, true);
        assert!(hint.starts_with("The tenant column \"Tenant\" of the row is NULL."));
        assert!(!hint.contains("maintenance"));
        assert!(null_tenant_hint("Tenant", true, true).contains("maintenance()"));
        assert!(null_tenant_hint("Tenant", true, false).contains("authenticate()"));
    }
}
