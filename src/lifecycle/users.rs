//! The columns that name users, and `set_forgetting()`, which says what becomes of their rows.

use pgrx::prelude::*;
use tenancy_core::lifecycle::{Rule, TenantKey, UserColumn, UserKey};
use tenancy_core::policy::{Key, Refusal};
use tenancy_core::tree::Level;

use crate::error::{Error, ErrorReport};
use crate::pg::spi::{self, NotNull};
use crate::pg::{relation, role};
use crate::tree::{self, Scope};
use crate::{authority, policy};

/// A column that names users, with its table.
pub struct Named {
    /// The table.
    pub table: pg_sys::Oid,
    /// The table's and the column's name, for people.
    pub place: String,
    /// The column; `None` if it is gone or of a type that names no user.
    pub column: Option<UserColumn>,
}

/// Returns all columns that name users, by table.
pub fn read() -> Result<Vec<Named>, Error> {
    spi::read(
        "SELECT relation, table_name, user_column, key_type, tenant_column, tenant_key_type, rule, clear_columns \
         FROM tenancy_internal.known_user_columns ORDER BY table_name, user_column",
        &[],
        |rows| {
            let mut found = Vec::new();
            for row in rows {
                let (table, name): (String, String) = (row.not_null(2)?, row.not_null(3)?);
                let kind = |text: Option<String>| Key::parse(&text?).map(|key| key.kind);
                let tenant: Option<String> = row.get(5)?;
                let rule: Option<String> = row.get(7)?;
                let (key, tenant_key) = (kind(row.get(4)?), kind(row.get(6)?));
                let clear = row.not_null(8)?;
                found.push(Named {
                    table: row.not_null(1)?,
                    place: format!("{table}({name})"),
                    column: key.map(|key| UserColumn {
                        name,
                        key,
                        tenant: tenant.zip(tenant_key),
                        rule: rule.as_deref().and_then(Rule::parse),
                        clear,
                    }),
                });
            }
            Ok(found)
        },
    )
}

/// Returns what columns hold for a user.
pub fn key(user: &Scope) -> Result<UserKey, Error> {
    let parent = match user.parent() {
        Some(parent) => tree::scope(parent)?.filter(|parent| parent.level == Level::Tenant),
        None => None,
    };
    let key = |scope: &Scope| TenantKey {
        id: scope.id,
        external_id: scope.external_id.clone(),
    };
    Ok(UserKey {
        user: key(user),
        tenant: parent.as_ref().map(key),
    })
}

#[pg_extern(sql = false)]
fn lifecycle_set_forgetting(
    target: Option<pg_sys::Oid>,
    rule: Option<String>,
    user_column: Option<String>,
    clear_columns: Option<Vec<Option<String>>>,
) -> Result<(), ErrorReport> {
    authority::require_administrator()?;
    let target = target.ok_or(Error::Null("target"))?;
    let owner = relation::read(target, |class| class.relowner).ok_or(Error::NoSuch("the table"))?;
    if !role::may_act_as(owner) {
        let table = policy::relation_name(target)?;
        Err(Error::Refused(Refusal::NotOwner { table }))?;
    }
    spi::write(
        "SELECT tenancy_internal.keep_forgetting($1, $2, $3, $4)",
        &[
            target.into(),
            rule.into(),
            user_column.into(),
            clear_columns.into(),
        ],
    )?;
    Ok(())
}
