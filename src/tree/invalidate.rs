//! Invalidating caches of other backends.

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
    tenancy_write_secret => unpublished changed;
}

/// Makes backends drop what they cached of a row when the transaction commits. The trigger names subjects and the columns
/// with their ids; both rows of an UPDATE count. Without names, and for a statement trigger, all backends drop everything.
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

/// Handles a tenant that is new or active again. Backends find a new tenant of a fleet themselves, among recent ids.
fn tenant_added(change: &Change) -> Result<(), Error> {
    let [_, id] = change.uuids(c"id")?;
    let [_, partner] = change.uuids(c"parent_id")?;
    let (Some(id), Some(partner)) = (id, partner) else {
        return inval::send_all();
    };
    // Users may already have roles in it.
    send(Subject::Scope(id))?;
    send(if is_recent(id) {
        Subject::FleetGrown(partner)
    } else {
        Subject::Fleet(partner)
    })
}
