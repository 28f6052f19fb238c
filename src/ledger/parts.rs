//! Budgets of parts of usage that are set while other transactions run.

use tenancy_core::subject::Subject;

use crate::error::Error;
use crate::pg::trigger::Change;
use crate::pg::{inval, ledger};

crate::triggers! {
    tenancy_parts_changed => change parts_changed;
}

/// Handles a budget of a part that is new or changed: transactions that ran before do not know its account.
fn parts_changed(change: &Change) -> Result<(), Error> {
    for scope in change.uuids(c"scope_id")?.into_iter().flatten() {
        ledger::change(*scope.as_bytes());
    }
    inval::send_subject(Subject::Parts.number())
}
