//! Maintenance: all rows for this transaction, after role, time and reason are recorded. By a call, or by a setting.

use std::cell::RefCell;

use pgrx::prelude::*;
use tenancy_core::principal::Principal;
use tenancy_core::token::{Kind, Lifetime, Token};

use super::session_cleanup;
use crate::audit;
use crate::error::Error;
use crate::pg::{guc, role, secret, session, xact};

thread_local! {
    /// The reason with which the setting gave maintenance in this transaction.
    static BY_SETTING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Gives this transaction all rows if the setting `tenancy.maintenance_reason` says so: for migration tools that cannot call
/// `maintenance()` first. Recorded once for each transaction and reason.
pub fn by_setting() -> Result<Option<Token>, Error> {
    let Some(reason) = guc::maintenance_reason() else {
        return Ok(None);
    };
    let may = secret::preloaded()
        && session::is_clients()
        && xact::running()
        && !xact::parallel()
        && role::outer_has_role(c"tenancy_admin")
        && session_cleanup::check(Principal::Maintenance).is_ok();
    if !may {
        return Ok(None);
    }
    let reason = audit::checked_reason(Some(&reason))?;
    if BY_SETTING.with_borrow(|known| known.as_deref() != Some(reason)) {
        record(reason)?;
        BY_SETTING.set(Some(reason.to_owned()));
    }
    let token = token();
    guc::set_token(&token).ok_or(Error::NotPreloaded)?;
    Ok(Some(token))
}

/// Handles the transaction's end.
pub fn end_transaction() {
    BY_SETTING.take();
}

/// Records maintenance, in the audit log and in the server's.
pub fn record(reason: &str) -> Result<(), Error> {
    audit::maintenance::record(reason)?;
    // Role names may contain any character; the log line must be one line.
    ereport!(
        LOG,
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        format!(
            "tenancy: maintenance by role \"{}\": {reason}",
            role::name(role::outer()).escape_debug()
        )
    );
    Ok(())
}

/// Returns a token of maintenance for this transaction.
pub fn token() -> Token {
    Token {
        kind: Kind::Maintenance,
        lifetime: Lifetime::Transaction,
        user: None,
        tenant: None,
        project: None,
        proof: None,
        binding: guc::binding(Lifetime::Transaction),
        expires_at: None,
        client: None,
    }
}
