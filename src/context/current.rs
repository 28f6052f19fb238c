//! The context in force: from the sealed setting, else from the ticket, else none.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use tenancy_core::tenants::{Tenant, TenantSet};
use tenancy_core::token::{Kind, Lifetime, Proof, Token};
use uuid::Uuid;

use super::leftovers::{Busy, Stay};
use super::plans::{self, Form};
use super::principal::Who;
use super::{api_keys, leftovers, tickets};
use crate::access::{self, Access, from_pg, pg_uuid};
use crate::error::Error;
use crate::identity;
use crate::pg::published::{self, Which};
use crate::pg::{guc, inval, spi, xact};

/// A resolved context.
#[derive(Debug)]
pub struct Current {
    /// The principal.
    pub who: Who,
    /// What the principal may do; none for maintenance, which may do all.
    pub access: Option<Rc<Access>>,
    /// The tenants it may touch now: the principal's, or the one it selected.
    pub tenants: Rc<TenantSet>,
    /// Those and the scopes above them.
    visible: Rc<TenantSet>,
    /// The one tenant, if there is one.
    pub tenant: Option<Tenant>,
    /// The selected project.
    pub project: Option<Uuid>,
    /// Until when it holds.
    pub lifetime: Lifetime,
    /// What proved it.
    pub proof: Option<Proof>,
    /// Whether tenants may be added to it while it lasts: a fleet of which none was selected.
    pub fleet: bool,
    /// Whether it came by the setting tenancy.ticket.
    pub by_ticket: bool,
    /// When it ends at the latest, in microseconds of the Unix epoch.
    pub expires_at: Option<i64>,
    /// The address that a trusted caller vouched for.
    pub client: Option<IpAddr>,
}

impl Current {
    /// The form that plans take for it.
    pub fn form(&self) -> Form {
        match (self.who, &self.tenant) {
            (Who::Maintenance, _) => Form::Open,
            // A fleet of one is planned as a fleet: it can grow between two runs of a plan.
            (Who::User(_), Some(_)) if !self.fleet => Form::Single,
            (Who::User(_), _) => Form::Fleet,
        }
    }

    fn stay(&self) -> Stay {
        match (self.who, self.lifetime) {
            (Who::Maintenance, _) | (_, Lifetime::Session) => Stay::Session,
            (Who::User(_), Lifetime::Transaction) => Stay::Transaction,
        }
    }

    /// Whether a permission is held in its tenants.
    pub fn permits(&self, permission: &[u8]) -> bool {
        self.access
            .as_ref()
            .is_none_or(|access| access.permits(permission))
    }
}

thread_local! {
    static STATE: RefCell<(u64, Option<Rc<Current>>)> = const { RefCell::new((0, None)) };
}

/// The context in force. An error when there is one that no longer holds.
pub fn current() -> Result<Option<Rc<Current>>, Error> {
    let known = STATE.with_borrow(|(generation, current)| {
        (*generation == xact::generation()).then(|| current.clone())
    });
    if let Some(current) = known {
        return Ok(current);
    }
    let current = resolve()?.map(Rc::new);
    let sets = current
        .as_ref()
        .map(|now| (now.tenants.clone(), now.visible.clone()))
        .unzip();
    published::publish(Which::Tenants, sets.0);
    published::publish(Which::Visible, sets.1);
    STATE.set((xact::generation(), current.clone()));
    Ok(current)
}

/// The context in force; an error when there is none.
pub fn required() -> Result<Rc<Current>, Error> {
    current()?.ok_or(Error::MissingContext)
}

/// Drops the resolved context with its transaction, whatever the settings say.
pub fn end_transaction() {
    STATE.set((0, None));
}

fn resolve() -> Result<Option<Current>, Error> {
    let _busy = Busy::begin();
    drop_stale();
    let token = guc::token().filter(guc::bound_here);
    let ticket = guc::ticket();
    let found = match (&token, &ticket) {
        (Some(token), ticket) => {
            if let (Lifetime::Session, Some(ticket)) = (token.lifetime, ticket) {
                tickets::require_same_user(ticket, token.user)?;
            }
            from_token(token)?
        }
        // Clearing the setting must not widen what select_tenant() narrowed.
        (None, Some(_)) if leftovers::is_narrowed() => return Err(Error::Widened),
        (None, Some(ticket)) => from_ticket(ticket)?,
        (None, None) => return Ok(None),
    };
    leftovers::enter(found.who, found.stay())?;
    plans::enter(found.form());
    if token.is_some_and(|token| token.lifetime == Lifetime::Transaction) {
        let over_another = ticket.is_some() || guc::session_context_possible();
        let narrowed = found.access.as_ref().is_some_and(|access| access.fleet) && !found.fleet;
        if over_another || narrowed {
            plans::passing(over_another);
        }
    }
    Ok(Some(found))
}

/// Drops what other backends' changes made stale.
pub fn drop_stale() {
    match inval::take() {
        inval::Stale::No => {}
        inval::Stale::Fleets => access::forget(true),
        inval::Stale::All => {
            access::forget(false);
            api_keys::forget();
            tickets::forget();
            identity::forget();
            spi::forget_owner();
        }
    }
}

fn from_token(token: &Token) -> Result<Current, Error> {
    if token
        .expires_at
        .is_some_and(|end| end <= xact::transaction_started_unix())
    {
        return Err(Error::Expired);
    }
    match token.proof {
        Some(Proof::ApiKey(id)) => api_keys::still_holds(id)?,
        Some(Proof::Ticket(key)) => tickets::still_holds(key)?,
        Some(Proof::Provider(id)) => identity::still_holds(id)?,
        None => {}
    }
    match (token.kind, token.user) {
        (Kind::Maintenance, _) => Ok(Current {
            who: Who::Maintenance,
            access: None,
            tenants: Rc::default(),
            visible: Rc::default(),
            tenant: None,
            project: None,
            fleet: false,
            lifetime: token.lifetime,
            proof: None,
            by_ticket: false,
            expires_at: None,
            client: None,
        }),
        (Kind::Principal, Some(user)) => principal(
            user,
            token.tenant,
            token.project,
            Held {
                lifetime: token.lifetime,
                proof: token.proof,
                by_ticket: false,
                expires_at: token.expires_at,
                client: token.client,
            },
        ),
        (Kind::Principal, None) => Err(Error::Internal("a context without a user")),
    }
}

fn from_ticket(text: &str) -> Result<Current, Error> {
    let ticket = tickets::verify(text)?;
    let held = Held {
        lifetime: Lifetime::Transaction,
        proof: Some(Proof::Ticket(ticket.key_id)),
        by_ticket: true,
        expires_at: Some(ticket.expires_at.saturating_mul(1_000_000)),
        client: None,
    };
    principal(ticket.user, ticket.tenant, None, held)
}

struct Held {
    lifetime: Lifetime,
    proof: Option<Proof>,
    by_ticket: bool,
    expires_at: Option<i64>,
    client: Option<IpAddr>,
}

fn principal(
    user: Uuid,
    tenant: Option<Uuid>,
    project: Option<Uuid>,
    held: Held,
) -> Result<Current, Error> {
    let access = access::resolve(user)?;
    identity::networks::check(user, held.client)?;
    let selected = tenant.is_some();
    let (tenants, visible, tenant) = match tenant {
        None => {
            let single = access.tenants.single().cloned();
            (access.tenants.clone(), access.visible.clone(), single)
        }
        // Selected earlier; suspended or moved away since.
        Some(id) if !access.tenants.contains_id(id.as_bytes()) => return Err(Error::Inactive),
        Some(id) => {
            let tenant = match access.tenants.single() {
                Some(single) => single.clone(),
                None => read_tenant(id)?,
            };
            let (tenants, visible) = access.narrow(&tenant);
            (tenants, visible, Some(tenant))
        }
    };
    Ok(Current {
        who: Who::User(user),
        fleet: access.fleet && !selected,
        access: Some(access),
        tenants,
        visible,
        tenant,
        project,
        lifetime: held.lifetime,
        proof: held.proof,
        by_ticket: held.by_ticket,
        expires_at: held.expires_at,
        client: held.client,
    })
}

fn read_tenant(id: Uuid) -> Result<Tenant, Error> {
    spi::read(
        "SELECT id, external_id FROM tenancy.scopes WHERE id = $1",
        &[pg_uuid(id).into()],
        |rows| {
            let row = rows.into_iter().next().ok_or(Error::Inactive)?;
            Ok(Tenant {
                id: from_pg(row.get(1)?.ok_or(Error::Inactive)?),
                external_id: row.get(2)?,
            })
        },
    )
}
