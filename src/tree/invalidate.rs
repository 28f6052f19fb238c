//! Telling other backends that what they resolved may be out of date.

use std::ffi::CStr;

use tenancy_core::subject::Subject;
use uuid::Uuid;

use super::recent::is_recent;
use crate::error::Error;
use crate::pg::inval;
use crate::pg::trigger::Change;

crate::triggers! {
    tenancy_changed => change changed;
    tenancy_tenant_added => change tenant_added;
}

/// The backends that made something of a row read it again when this commits. The trigger names subjects and the columns that
/// hold their ids; both rows of an UPDATE count. Without names, and for a statement, all backends read all.
fn changed(change: &Change) -> Result<(), Error> {
    let names = change.arguments();
    if names.is_empty() || !change.is_of_row() {
        return inval::send_all();
    }
    for pair in names.chunks(2) {
        let &[subject, column] = pair else {
            return Err(Error::Internal("a trigger without a column"));
        };
        let [old, new] = change.uuids(column)?;
        for id in [old, new.filter(|_| new != old)].into_iter().flatten() {
            send(named(subject, id)?)?;
        }
    }
    Ok(())
}

fn named(name: &CStr, id: Uuid) -> Result<Subject, Error> {
    let subject = name.to_str().ok().and_then(|name| Subject::named(name, id));
    subject.ok_or(Error::Internal("a trigger of no known subject"))
}

fn send(subject: Subject) -> Result<(), Error> {
    inval::send_subject(subject.number())
}

/// A tenant is new, or active again: its partner's fleet has one more, which backends find by themselves among recent ids.
fn tenant_added(change: &Change) -> Result<(), Error> {
    let [_, id] = change.uuids(c"id")?;
    let [_, partner] = change.uuids(c"parent_id")?;
    let (Some(id), Some(partner)) = (id, partner) else {
        return inval::send_all();
    };
    // Somebody may have a role in it already.
    send(Subject::Scope(id))?;
    send(if is_recent(id) {
        Subject::FleetGrown(partner)
    } else {
        Subject::Fleet(partner)
    })
}
