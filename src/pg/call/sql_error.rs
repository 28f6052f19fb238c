//! How SQL raises the errors of the catalogue.

use pgrx::prelude::*;
use tenancy_core::error::find;

use super::bounded;
use crate::error::{Error, ErrorReport};

/// Raises an error of the catalogue for SQL: `RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('kind', …)`. As an expression
/// of RAISE it adds nothing to the error's CONTEXT.
#[pg_extern(sql = false)]
fn _error(kind: &str, arguments: bounded::Texts) -> Result<String, ErrorReport> {
    let arguments = arguments.0.into_iter().map(Option::unwrap_or_default);
    Err(match find(kind) {
        Some(kind) => Error::OfSql(kind, arguments.collect()),
        None => Error::Internal("an error of no known kind"),
    }
    .into())
}
