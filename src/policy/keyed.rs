//! Rows of protected tables with keys of their own that no scope has yet.

use std::ffi::CString;

use pgrx::prelude::*;

use crate::error::{Error, ErrorReport};
use crate::pg::key_lookup;

/// Whether a table's own storage has a row with this key, or cannot be asked.
#[pg_extern(sql = false)]
fn _has_key(relation: pg_sys::Oid, key_column: &str, key: &str) -> Result<bool, ErrorReport> {
    let column = CString::new(key_column).map_err(|_| Error::NoSuch("the column"))?;
    Ok(key_lookup::has_row(relation, &column, key)?)
}
