//! Elevation: what is held at the platform reaches tenants' rows, statement by recorded statement.

use super::Current;
use crate::pg::cell::BackendCell;

/// Whether the running statement is on record, so that an elevated context may read rows.
static RECORDED: BackendCell<bool> = BackendCell::new(false);

/// Whether a context reaches rows now: an elevated one only in a statement that is on record.
pub fn reaches_rows(now: &Current) -> bool {
    !now.spans_all() || RECORDED.get()
}
