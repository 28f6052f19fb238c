//! Is the row in the selected project? `in_project`.

use super::view::context_or_missing;
use super::{Outcome, yes};
use crate::c_functions;
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::fmgr::Call;
use crate::pg::xact;

c_functions! {
    tenancy_in_project, pg_finfo_tenancy_in_project => in_project;
}

#[derive(Clone, Copy)]
struct Project {
    generation: u64,
    selected: Option<[u8; 16]>,
    present: bool,
}

static PROJECT: BackendCell<Project> = BackendCell::new(Project {
    generation: 0,
    selected: None,
    present: false,
});

/// True when no project is selected, or the row's is the selected one.
#[inline]
fn in_project(call: &Call) -> Outcome {
    let mut project = PROJECT.get();
    if project.generation != xact::generation() {
        project = find_project()?;
    }
    yes(match project.selected {
        None => project.present,
        Some(selected) => !call.is_null(0) && *call.uuid(0) == selected,
    })
}

#[cold]
fn find_project() -> Result<Project, Error> {
    let now = context_or_missing()?;
    let project = Project {
        selected: now
            .as_ref()
            .and_then(|now| now.project)
            .map(|id| *id.as_bytes()),
        present: now.is_some(),
        // After `current`, which may itself have begun a generation.
        generation: xact::generation(),
    };
    PROJECT.set(project);
    Ok(project)
}
