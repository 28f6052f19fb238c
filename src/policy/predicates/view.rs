//! What a call site may see. Asked once per generation and permission; the call site remembers.

use tenancy_core::tenants::int_key;

use crate::context::plans::Form;
use crate::context::{Current, current};
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::fmgr::View;
use crate::pg::published::Which;
use crate::pg::{guc, xact};

pub fn tenants(permission: &[u8]) -> Result<View, Error> {
    view_of(Which::Tenants, permission)
}

pub fn visible(permission: &[u8]) -> Result<View, Error> {
    view_of(Which::Visible, permission)
}

/// The last answer, for the next call site and the next execution of a statement.
#[derive(Clone, Copy)]
struct Last {
    generation: u64,
    which: Which,
    permission: [u8; 16],
    view: View,
}

static LAST: BackendCell<Option<Last>> = BackendCell::new(None);

fn view_of(which: Which, permission: &[u8]) -> Result<View, Error> {
    let mut short = [0; 16];
    // Padded with zeros: a permission with one of its own could be taken for another.
    let fits = permission.len() <= short.len() && !permission.contains(&0);
    if fits {
        short[..permission.len()].copy_from_slice(permission);
        if let Some(last) = LAST.get()
            && last.generation == xact::generation()
            && last.which == which
            && last.permission == short
        {
            return Ok(last.view);
        }
    }
    let view = find(which, permission)?;
    // Without a context the setting tenancy.missing_context decides, which begins no generation.
    if fits && !matches!(view, View::Nothing) {
        LAST.set(Some(Last {
            generation: xact::generation(),
            which,
            permission: short,
            view,
        }));
    }
    Ok(view)
}

fn find(which: Which, permission: &[u8]) -> Result<View, Error> {
    let Some(now) = context_or_missing()? else {
        return Ok(View::Nothing);
    };
    Ok(match (now.form(), which, &now.tenant) {
        (Form::Open, ..) => View::Everything,
        _ if !now.permits(permission) => View::Nothing,
        (_, Which::Tenants, Some(tenant)) => View::One {
            id: *tenant.id.as_bytes(),
            int: int_key(tenant),
        },
        _ => View::Set(which),
    })
}

pub fn context_or_missing() -> Result<Option<std::rc::Rc<Current>>, Error> {
    let now = current()?;
    if now.is_none() && guc::missing_is_error() {
        return Err(Error::MissingContext);
    }
    Ok(now)
}
