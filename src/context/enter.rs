//! The ways into a context. A credential for the untrusted role, a name for the trusted gateway, and
//! a reason for the administrator.

use std::net::IpAddr;

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::credential::Credential;
use tenancy_core::token::{Kind, Lifetime, Proof, Token};

use super::current;
use super::principal::{Proven, Who};
use super::{api_keys, leftovers, tickets};
use crate::access::{from_pg, pg_uuid};
use crate::audit::{self, logins};
use crate::error::{Error, ErrorReport};
use crate::identity;
use crate::pg::{guc, role, secret, spi};

/// Takes the context that a credential proves, for this transaction or the session.
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
    logins::succeeded(user, proof.as_ref(), None)?;
    Ok(bound)
}

fn prove(text: &str) -> Result<Proven, Error> {
    match Credential::parse(text).map_err(|_| Error::InvalidCredential)? {
        Credential::ApiKey(key) => api_keys::verify(&key),
        Credential::Ticket(_) => {
            let ticket = tickets::verify(text).map_err(|error| match error {
                Error::Expired => Error::InvalidCredential,
                other => other,
            })?;
            Ok(Proven {
                user: ticket.user,
                proof: Some(Proof::Ticket(ticket.key_id)),
                tenant: ticket.tenant,
                expires_at: Some(ticket.expires_at.saturating_mul(1_000_000)),
            })
        }
        Credential::Jwt(_) => identity::verify(text),
    }
}

/// Takes a user's context without a credential: for the trusted gateway, which checked one.
#[pg_extern(sql = false)]
fn assume(
    user: Option<pgrx::Uuid>,
    session: Option<bool>,
    client: Option<pgrx::Inet>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let user = from_pg(user.ok_or(Error::Null("user"))?);
    let client = client.map(|client| {
        identity::networks::parse(&client.0).ok_or_else(|| {
            Error::bad(
                "client must be the address of one host",
                "As in 192.0.2.7, without a netmask.",
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
    logins::succeeded(user, None, client)?;
    Ok(bound)
}

/// Gives this transaction all rows of protected tables, and records who, when and why.
#[pg_extern(sql = false)]
fn maintenance(reason: Option<&str>) -> Result<(), ErrorReport> {
    let reason = reason.ok_or(Error::Null("reason"))?.trim();
    if reason.is_empty() {
        Err(Error::bad(
            "reason must not be empty",
            "Say why all tenants' rows are needed.",
        ))?;
    }
    if !secret::preloaded() {
        Err(Error::NotPreloaded)?;
    }
    if !role::outer_has_role(c"tenancy_admin") {
        Err(Error::MaintenanceForOthers)?;
    }
    take(&Token {
        kind: Kind::Maintenance,
        lifetime: Lifetime::Transaction,
        user: None,
        tenant: None,
        project: None,
        proof: None,
        binding: guc::binding(Lifetime::Transaction),
        expires_at: None,
        client: None,
    })?;
    // The row goes with the transaction; the log line stays if it is rolled back.
    ereport!(
        LOG,
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        format!(
            "tenancy: maintenance by role \"{}\": {reason}",
            role::current_name()
        )
    );
    spi::write(
        "INSERT INTO tenancy.maintenance_log (role, login, reason) VALUES ($1, session_user, $2)",
        &[role::current_name().into(), reason.to_owned().into()],
    )?;
    audit::record("maintenance", None, None, json!({ "reason": reason }))?;
    Ok(())
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

/// Puts a token in force, unless this transaction has had another principal, and resolves it: a
/// suspended tenant is refused here and not at the first query. A session context that was not used
/// in this transaction gives way: else whoever left one on a pooled connection would lock others out.
pub fn take(token: &Token) -> Result<(), Error> {
    let who = who(token)?;
    leftovers::check(who)?;
    guc::set_token(token).ok_or(Error::NotPreloaded)?;
    current::required().map(|_| ())
}

fn who(token: &Token) -> Result<Who, Error> {
    match (token.kind, token.user) {
        (Kind::Maintenance, _) => Ok(Who::Maintenance),
        (Kind::Principal, Some(user)) => Ok(Who::User(user)),
        (Kind::Principal, None) => Err(Error::Internal("a context without a user")),
    }
}
