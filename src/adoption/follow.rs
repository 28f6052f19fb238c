//! The tenant of a row of the application's table of tenants: the trigger `tenancy.follow_tenant`. It runs none of the table's
//! code: values are read only of the server's own types. What it does has the power of the table's owner, who created it:
//! without tenancy_admin it ends.

use std::ffi::CString;

use crate::error::Error;
use crate::pg::spi;
use crate::pg::trigger::Change;
use crate::{policy, triggers};

triggers! {
    tenancy_follow_tenant => change follow;
}

fn follow(change: &Change) -> Result<(), Error> {
    let arguments = change.arguments();
    let [key, slug, name, partner] = arguments.as_slice() else {
        return Err(Error::Internal("arguments of follow_tenant() are missing"));
    };
    let (table, partner) = (change.table(), partner.to_string_lossy().into_owned());
    // A renamed column has its new name there.
    let renamed = policy::tenant_column(table)?.and_then(|column| CString::new(column).ok());
    let key = renamed.as_deref().unwrap_or(key);
    let Some([gone, new]) = change.texts(key) else {
        return Err(Error::NoTenantKey {
            column: key.to_string_lossy().into_owned(),
            table: policy::relation_name(table)?,
        });
    };
    let [_, slug] = change.texts(slug).unwrap_or_default();
    let [old_name, name] = change.texts(name).unwrap_or_default();
    if change.is_update() && gone == new && old_name == name {
        return Ok(());
    }
    let arguments = [
        table.into(),
        partner.into(),
        change.is_uuid(key).into(),
        gone.into(),
        new.into(),
        slug.into(),
        name.into(),
    ];
    spi::write(
        "SELECT tenancy_internal.follow_tenant($1, $2::uuid, $3, $4, $5, $6, $7)",
        &arguments,
    )?;
    Ok(())
}
