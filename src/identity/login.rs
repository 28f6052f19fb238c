//! The writes of a login: a new user, its provider, and the roles of its groups. Most logins write
//! nothing.

use tenancy_core::jwt::{Claims, Groups};
use tenancy_core::time::Instant;
use uuid::Uuid;

use super::providers::KnownProvider;
use crate::error::Error;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{blockers, spi, xact};
use crate::tree;

/// A verified token, and its user's parent.
pub struct Login<'a> {
    /// The provider that issued it.
    pub known: &'a KnownProvider,
    /// Its claims.
    pub claims: &'a Claims,
    /// The scope that the user belongs to.
    pub parent: Uuid,
    /// When it was issued.
    pub issued: Instant,
}

impl Login<'_> {
    /// Returns the user's groups; `None` if they stay as they are.
    pub fn groups(&self) -> Option<Vec<String>> {
        match &self.claims.groups {
            Groups::Told(groups) => Some(groups.clone()),
            Groups::Untold | Groups::Elsewhere => None,
        }
    }

    /// Returns whether the token says that the groups are to be asked for elsewhere.
    pub fn elsewhere(&self) -> bool {
        self.claims.groups == Groups::Elsewhere
    }
}

/// Creates the user, if the provider may, and binds it to the provider. Returns `None` if the user belongs to
/// another provider, or must not be created. Of two concurrent first logins, one creates the user.
pub fn first(login: &Login<'_>) -> Result<Option<Uuid>, Error> {
    may_write()?;
    mark(login.parent)?;
    let subject = &login.claims.user;
    let slugs = login
        .known
        .create_users
        .then(|| tenancy_core::slug::suggest(subject).to_vec());
    spi::write_returning(
        "SELECT tenancy_internal.first_login($1, $2, $3, $4, $5)",
        &[
            pg_uuid(login.known.id).into(),
            pg_uuid(login.parent).into(),
            subject.clone().into(),
            slugs.into(),
            login.claims.name.clone().into(),
        ],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Ok(None);
            };
            Ok(row.get::<pgrx::Uuid>(1)?.map(from_pg))
        },
    )
}

/// Gives the user the roles of its groups, and removes those of former groups.
pub fn sync_groups(login: &Login<'_>, user: Uuid) -> Result<(), Error> {
    may_write()?;
    mark(login.parent)?;
    spi::write_returning(
        "SELECT tenancy_internal.sync_groups($1, $2, $3, $4, $5)",
        &[
            pg_uuid(login.known.id).into(),
            pg_uuid(user).into(),
            login.groups().into(),
            login.elsewhere().into(),
            login.issued.unix_seconds().into(),
        ],
        |_| Ok(()),
    )
}

/// Marks this transaction, so that its locks do not block managers of the user.
fn mark(parent: Uuid) -> Result<(), Error> {
    blockers::mark(&tree::path(parent)?)
}

fn may_write() -> Result<(), Error> {
    if xact::may_write() {
        Ok(())
    } else {
        Err(Error::LoginWrites)
    }
}
