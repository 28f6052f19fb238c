//! What a call site may see. Admission once per generation and permission; the call site remembers.
//!
//! Policies of a table with a project column check `data:read/project`: the permission, also if it is held only
//! in some of a tenant's projects.

use std::rc::Rc;

use tenancy_core::tenants::{TenantSet, int_key};

use crate::access::ResolvedReach;
use crate::context::elevated::require_record;
use crate::context::plans::PlanShape;
use crate::context::{self, Context, current, epoch};
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::fmgr::View;
use crate::pg::hooks::noted;
use crate::pg::{guc, tenant_sets, xact};

/// The suffix of a permission that is also checked in projects.
const IN_PROJECTS: &str = "/project";

/// What a call site needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Tenants,
    Visible,
    Writable,
    WritableShared,
    Projects,
    WritableProjects,
    ProjectKeys,
    WritableProjectKeys,
}

impl Question {
    /// Whether rows name projects by what they are called in their tenant.
    const fn by_key(self) -> bool {
        matches!(self, Self::ProjectKeys | Self::WritableProjectKeys)
    }

    const fn writes_projects(self) -> bool {
        matches!(self, Self::WritableProjects | Self::WritableProjectKeys)
    }
}

/// Returns the tenants in which a permission is held.
pub fn tenants(permission: &[u8]) -> Result<View, Error> {
    view_of(Question::Tenants, permission)
}

/// The same for the planner's equality. The planner evaluates it for estimates, in no statement that could be
/// recorded: it then gets nothing. An execution gets the error, so that no rows are silently left out.
pub fn tenants_or_nothing(permission: &[u8]) -> Result<View, Error> {
    match tenants(permission) {
        Err(Error::NotRecorded) if noted::is_planning() => Ok(View::Nothing),
        view => view,
    }
}

/// Returns those tenants and the scopes above them.
pub fn visible(permission: &[u8]) -> Result<View, Error> {
    view_of(Question::Visible, permission)
}

/// Returns the tenant to write to; an error if there are several.
pub fn writable(permission: &[u8]) -> Result<View, Error> {
    view_of(Question::Writable, permission)
}

/// Returns the tenant to write to, and the partners above tenants in which the permission is held, if none is selected.
pub fn writable_shared(permission: &[u8]) -> Result<View, Error> {
    view_of(Question::WritableShared, permission)
}

/// Returns the projects in which a permission is held.
pub fn projects(permission: &[u8]) -> Result<View, Error> {
    view_of(Question::Projects, permission)
}

/// Returns the projects to write to; an error if one of several must be selected.
pub fn writable_projects(permission: &[u8]) -> Result<View, Error> {
    view_of(Question::WritableProjects, permission)
}

/// Returns the same projects, to be named by their external ids; an error if they are of several tenants, since two of these may have
/// projects of one external id.
pub fn project_keys(permission: &[u8]) -> Result<View, Error> {
    view_of(Question::ProjectKeys, permission)
}

/// Returns the same of the projects to write to.
pub fn writable_project_keys(permission: &[u8]) -> Result<View, Error> {
    view_of(Question::WritableProjectKeys, permission)
}

/// The last result, for the next call site, the next execution of a statement, and the next transaction with the same context.
#[derive(Clone, Copy)]
struct Last {
    generation: u64,
    epoch: u64,
    question: Question,
    permission: [u8; 24],
    view: View,
}

static LAST: BackendCell<Option<Last>> = BackendCell::new(None);

fn view_of(question: Question, permission: &[u8]) -> Result<View, Error> {
    let mut short = [0; 24];
    // Padded with zeros: a permission that contains a zero could be mistaken for another.
    let fits = permission.len() <= short.len() && !permission.contains(&0);
    if fits {
        short[..permission.len()].copy_from_slice(permission);
        if let Some(last) = LAST.get()
            && last.question == question
            && last.permission == short
            && (last.generation == xact::generation() || is_renewed(last)?)
        {
            return Ok(last.view);
        }
    }
    let (view, keep) = find(question, permission)?;
    if fits && keep {
        LAST.set(Some(Last {
            generation: xact::generation(),
            epoch: epoch(),
            question,
            permission: short,
            view,
        }));
    }
    Ok(view)
}

/// Returns whether the context of this generation is the one that the result was computed for.
fn is_renewed(last: Last) -> Result<bool, Error> {
    let same = context_or_missing()?.is_some() && last.epoch == epoch();
    if same {
        let generation = xact::generation();
        LAST.set(Some(Last { generation, ..last }));
    }
    Ok(same)
}

/// Computes the view, and whether the next call site of this generation may use it. Not without a context,
/// where the setting tenancy.missing_context decides, which starts no generation; and not while elevated,
/// where each statement must check for itself.
fn find(question: Question, permission: &[u8]) -> Result<(View, bool), Error> {
    let Some(context) = context_or_missing()? else {
        return Ok((View::Nothing, false));
    };
    let keep = context.elevation().is_none();
    require_record(&context)?;
    let view = reached_view(question, permission, &context)?;
    // An external id may be another one in the next transaction.
    let keep = keep && !question.by_key();
    Ok((view, keep && !matches!(view, View::Nothing)))
}

fn reached_view(question: Question, permission: &[u8], context: &Context) -> Result<View, Error> {
    let Ok(text) = std::str::from_utf8(permission) else {
        return Ok(View::Nothing);
    };
    let (permission, in_projects) = match text.strip_suffix(IN_PROJECTS) {
        Some(permission) => (permission, true),
        None => (text, false),
    };
    let Some(reached) = context.reached(permission) else {
        // Maintenance.
        return Ok(View::Everything);
    };
    if question == Question::WritableShared && !context.selected && !reached.held_above.is_empty() {
        return Ok(View::Set(tenant_sets::publish(&written_above(
            context,
            &reached,
            in_projects,
        ))));
    }
    if reached.is_empty() {
        return Ok(View::Nothing);
    }
    match question {
        Question::Writable | Question::WritableShared if context.tenant.is_none() => {
            Err(Error::NotOneTenant(context.span()))
        }
        Question::Tenants | Question::Writable | Question::WritableShared => {
            Ok(tenants_view(context, &reached, in_projects))
        }
        _ if reached.reach.everything => Ok(View::Everything),
        Question::Visible if in_projects => Ok(set_of(reached.visible_with_projects())),
        Question::Visible => Ok(set_of(reached.visible())),
        Question::Projects
        | Question::WritableProjects
        | Question::ProjectKeys
        | Question::WritableProjectKeys => projects_view(question, context, &reached),
    }
}

/// Returns the scopes above in which a permission is held, with the tenant of a context that has only one.
fn written_above(context: &Context, reached: &ResolvedReach, in_projects: bool) -> Rc<TenantSet> {
    let tenants = match (&context.tenant, in_projects) {
        (None, _) => &Rc::default(),
        (Some(_), true) => &reached.tenants_with_projects,
        (Some(_), false) => &reached.tenants,
    };
    Rc::new(tenants.with(&reached.held_above))
}

fn tenants_view(context: &Context, reached: &ResolvedReach, in_projects: bool) -> View {
    if reached.reach.everything {
        return View::Everything;
    }
    let set = if in_projects {
        &reached.tenants_with_projects
    } else {
        &reached.tenants
    };
    match set.single() {
        Some(tenant) if context.plan_shape() == PlanShape::Single || context.tenant.is_some() => {
            View::One {
                id: *tenant.id.as_bytes(),
                int: int_key(tenant),
                set: tenant_sets::publish(set),
            }
        }
        _ => set_of(set),
    }
}

fn set_of(set: &Rc<TenantSet>) -> View {
    if set.is_empty() {
        View::Nothing
    } else {
        View::Set(tenant_sets::publish(set))
    }
}

/// Returns all rows of tenants that are reached as a whole, of others only those of the projects; with a
/// selected project only its rows.
fn projects_view(
    question: Question,
    context: &Context,
    reached: &ResolvedReach,
) -> Result<View, Error> {
    let none = Rc::default();
    let Some(project) = context.project else {
        if reached.partial.is_empty() {
            // Not every row: what admitted the row's tenant may be older, such as the key of an index that was searched
            // before the statement took a role away.
            let whole = match question.writes_projects() {
                true => reached.tenants.clone(),
                false => reached.visible().clone(),
            };
            return Ok(View::Projects {
                whole: tenant_sets::publish(&whole),
                projects: tenant_sets::publish(&none),
                closed: tenant_sets::publish(&none),
            });
        }
        if question.writes_projects() {
            return Err(Error::NotOneProject(reached.projects.len()));
        }
        if question.by_key() && reached.partial.len() > 1 {
            return Err(Error::NotOneTenant(reached.partial.len().to_string()));
        }
        return Ok(View::Projects {
            whole: tenant_sets::publish(&reached.tenants),
            projects: tenant_sets::publish(&reached.projects),
            closed: tenant_sets::publish(&reached.partial),
        });
    };
    let held = reached.partial.is_empty() || reached.projects.contains_id(project.as_bytes());
    let selected = tenancy_core::tenants::Tenant {
        id: project,
        external_id: match question.by_key() {
            true => context::project_key(project)?,
            false => None,
        },
    };
    let selected = if held { vec![selected] } else { Vec::new() };
    Ok(View::Projects {
        whole: tenant_sets::publish(&none),
        projects: tenant_sets::publish(&Rc::new(TenantSet::new(selected))),
        closed: tenant_sets::publish(&reached.partial),
    })
}

/// Returns the context; an error if there is none and the setting requires one.
pub fn context_or_missing() -> Result<Option<Rc<Context>>, Error> {
    let context = current()?;
    if context.is_none() && guc::missing_is_error() {
        return Err(Error::MissingContext);
    }
    Ok(context)
}
