//! Entering a context: the untrusted role needs a credential, the trusted gateway a name, the administrator a
//! reason.

use std::net::IpAddr;

use pgrx::prelude::*;
use tenancy_core::credential::Credential;
use tenancy_core::principal::{Principal, Proven};
use tenancy_core::token::{Kind, Lifetime, Proof, Token};

use super::current;
use super::record::actor;
use super::{api_keys, maintenance, session_cleanup, tickets};
use crate::audit::{self, logins};
use crate::error::{Error, ErrorReport};
use crate::identity;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{guc, role, secret};

/// Enters the context that a credential proves, for this transaction or the session.
#[pg_extern(sql = false)]
fn authenticate(
    credential: Option<&str>,
    session: Option<bool>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let text = credential.ok_or(Error::Null("credential"))?;
    check_caller()?;
    current::drop_stale();
    let proven = prove(text).inspect_err(|why| logins::failed(Some(text), None, None, why))?;
    let (user, proof) = (proven.user, proven.proof);
    let bound = bind(proven, lifetime(session), None)
        .inspect_err(|why| logins::failed(Some(text), Some(user), None, why))?;
    logins::succeeded(user, proof.as_ref(), None, || actor(Some(user)))?;
    Ok(bound)
}

fn prove(text: &str) -> Result<Proven, Error> {
    match Credential::parse(text).map_err(|_| Error::InvalidCredential)? {
        Credential::ApiKey(key) => api_keys::verify(&key),
        Credential::Ticket(_) => {
            let (ticket, _) = tickets::verify(text).map_err(|error| match error {
                Error::Expired => Error::InvalidCredential,
                other => other,
            })?;
            Ok(Proven {
                user: ticket.user,
                proof: Some(Proof::Ticket(ticket.key_id, ticket.elevation)),
                tenant: ticket.tenant,
                expires_at: Some(ticket.expires_at),
            })
        }
        Credential::Jwt(_) => identity::verify(text),
    }
}

/// Enters a user's context without a credential, for the trusted gateway, which checked the login.
#[pg_extern(sql = false)]
fn assume(
    user: Option<pgrx::Uuid>,
    session: Option<bool>,
    client: Option<pgrx::Inet>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let user = from_pg(user.ok_or(Error::Null("user_id"))?);
    let client = client.map(|client| {
        identity::networks::parse(&client.0).ok_or_else(|| {
            Error::bad(
                "client must be the address of one host",
                "Pass an address such as 192.0.2.7, without a netmask.",
            )
        })
    });
    let client = client.transpose()?;
    check_caller()?;
    current::drop_stale();
    crate::access::resolve(user)
        .map_err(|error| match error {
            Error::NoSuch(_) => Error::NoSuchUser(user.to_string()),
            other => other,
        })
        .inspect_err(|why| logins::failed(None, Some(user), client, why))?;
    let bound = bind(
        Proven {
            user,
            proof: None,
            tenant: None,
            expires_at: None,
        },
        lifetime(session),
        client,
    )
    .inspect_err(|why| logins::failed(None, Some(user), client, why))?;
    logins::succeeded(user, None, client, || actor(Some(user)))?;
    Ok(bound)
}

/// Gives this transaction all rows of protected tables, after role, time and reason are recorded.
#[pg_extern(sql = false)]
fn maintenance(reason: Option<&str>) -> Result<(), ErrorReport> {
    Ok(maintain(audit::checked_reason(reason)?)?)
}

/// The same, with a reason that was checked.
pub fn maintain(reason: &str) -> Result<(), Error> {
    if !secret::preloaded() {
        return Err(Error::NotPreloaded);
    }
    if !role::outer_has_role(c"tenancy_admin") {
        return Err(Error::MaintenanceForOthers);
    }
    session_cleanup::check(Principal::Maintenance)?;
    maintenance::record(reason)?;
    take(&maintenance::token())?;
    Ok(())
}

/// All rows for the transactions of one procedure, recorded once for all of them.
pub struct Maintained(());

impl Maintained {
    /// Gives this transaction all rows, after the reason is recorded.
    pub fn begin(reason: &str) -> Result<Self, Error> {
        maintain(reason)?;
        Ok(Self(()))
    }

    /// Gives a later transaction of the same procedure all rows.
    pub fn again(&self) -> Result<(), Error> {
        // The role may have lost tenancy_admin meanwhile.
        if !role::outer_has_role(c"tenancy_admin") {
            return Err(Error::MaintenanceForOthers);
        }
        session_cleanup::check(Principal::Maintenance)?;
        take(&maintenance::token())?;
        Ok(())
    }
}

fn lifetime(session: Option<bool>) -> Lifetime {
    if session == Some(true) {
        Lifetime::Session
    } else {
        Lifetime::Transaction
    }
}

fn check_caller() -> Result<(), Error> {
    if !secret::preloaded() {
        return Err(Error::NotPreloaded);
    }
    if role::bypasses_row_security() && !guc::bypass_allowed() {
        return Err(Error::BypassesRowSecurity);
    }
    Ok(())
}

fn bind(proven: Proven, lifetime: Lifetime, client: Option<IpAddr>) -> Result<pgrx::Uuid, Error> {
    if lifetime == Lifetime::Session {
        if guc::pooled() {
            return Err(Error::Pooled("session contexts are not"));
        }
        // Clears another user's ticket that was left in the session.
        tickets::give_way(proven.user);
    }
    take(&Token {
        kind: Kind::Principal,
        lifetime,
        user: Some(proven.user),
        tenant: proven.tenant,
        project: None,
        proof: proven.proof,
        binding: guc::binding(lifetime),
        expires_at: proven.expires_at,
        client,
    })?;
    Ok(pg_uuid(proven.user))
}

/// Sets a token, unless this transaction has had another principal, and resolves it, so that a suspended
/// tenant is refused here and not at the first query. A session context that was not used in this
/// transaction is replaced: otherwise one left on a pooled connection would lock out other clients.
pub fn take(token: &Token) -> Result<(), Error> {
    let principal = principal_of(token)?;
    session_cleanup::check(principal)?;
    guc::set_token(token).ok_or(Error::NotPreloaded)?;
    current::required().map(|_| ())
}

fn principal_of(token: &Token) -> Result<Principal, Error> {
    match (token.kind, token.user) {
        (Kind::Maintenance, _) => Ok(Principal::Maintenance),
        (Kind::Principal, Some(user)) => Ok(Principal::User(user)),
        (Kind::Principal, None) => Err(Error::Internal("a context without a user")),
    }
}
