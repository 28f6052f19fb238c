//! The current context: from the sealed setting, else from the ticket, else none.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use tenancy_core::principal::Principal;
use tenancy_core::subject::Subject;
use tenancy_core::tenants::Tenant;
use tenancy_core::time::Instant;
use tenancy_core::token::{Kind, Lifetime, Proof, Token};
use uuid::Uuid;

use super::plans::{self, PlanShape};
use super::session_cleanup::{InternalQuery, SessionLifetime};
use super::{api_keys, maintenance, session_cleanup, tickets};
use crate::access::{self, Access, Elevation, OnlyProjects, ResolvedReach};
use crate::audit::logins;
use crate::error::Error;
use crate::identity;
use crate::pg::cell::BackendCell;
use crate::pg::hooks::noted::{self, Identity};
use crate::pg::sources::{Reading, Sources};
use crate::pg::{ceilings, guc, inval, managed, spi, tenant_sets, xact};
use crate::tree;

/// A resolved context.
#[derive(Debug)]
pub struct Context {
    /// The principal.
    pub principal: Principal,
    /// The principal's access; `None` for maintenance, which may do everything.
    pub access: Option<Rc<Access>>,
    /// The tenant, if there is only one or one is selected.
    pub tenant: Option<Tenant>,
    /// Whether that tenant was selected, even if it is the only one.
    pub selected: bool,
    /// The selected project, or the only one.
    pub project: Option<Uuid>,
    /// The number of projects of which one must be selected to record usage.
    pub projects: usize,
    /// What was claimed and proven of it.
    pub claims: Claims,
    /// Whether tenants may be added while it lasts: a fleet of which none is selected.
    pub fleet: bool,
    /// The reach of permissions in the selected tenant.
    reached: RefCell<Vec<(String, Rc<ResolvedReach>)>>,
    /// The sources of its proof, of the elevation behind the proof, of its tenant if that is not one of the principal's, and of the
    /// selected project.
    sources: [Option<Rc<Sources>>; 4],
}

/// What a token or a ticket says of a context, besides its principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The selected tenant.
    tenant: Option<Uuid>,
    /// The selected project.
    project: Option<Uuid>,
    /// How long it lasts.
    pub lifetime: Lifetime,
    /// The credential that proved it.
    pub proof: Option<Proof>,
    /// Whether it comes from the setting tenancy.ticket.
    pub by_ticket: bool,
    /// When it ends at the latest.
    pub expires_at: Option<Instant>,
    /// The address that a trusted caller named.
    pub client: Option<IpAddr>,
}

impl Context {
    /// Returns the external id by which rows of the only tenant name the user.
    pub fn user_key(&self) -> Option<&str> {
        self.access.as_ref()?.key_in(self.tenant.as_ref()?.id)
    }

    /// Returns whether all its sources are unchanged.
    fn still_holds(&self) -> bool {
        self.access
            .as_ref()
            .is_none_or(|access| access.sources.hold())
            && self.sources.iter().flatten().all(|sources| sources.hold())
    }

    /// Returns whether this is its principal's access.
    fn has(&self, access: &Rc<Access>) -> bool {
        self.access
            .as_ref()
            .is_some_and(|known| Rc::ptr_eq(known, access))
    }

    /// Returns the form of plans for it.
    pub fn plan_shape(&self) -> PlanShape {
        match (self.principal, &self.tenant) {
            (Principal::Maintenance, _) => PlanShape::Open,
            // A fleet of one tenant is planned as a fleet: it can grow between two executions of a plan.
            (Principal::User(_), Some(_)) if !self.fleet => PlanShape::Single,
            (Principal::User(_), None) if self.spans_all() => PlanShape::Open,
            (Principal::User(_), _) => PlanShape::Fleet,
        }
    }

    /// Returns its only tenant.
    pub fn only_tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref().filter(|_| !self.fleet)
    }

    fn stay(&self) -> SessionLifetime {
        match (self.principal, self.claims.lifetime) {
            (Principal::Maintenance, _) | (_, Lifetime::Session) => SessionLifetime::Session,
            (Principal::User(_), Lifetime::Transaction) => SessionLifetime::Transaction,
        }
    }

    /// Returns the current elevation.
    pub fn elevation(&self) -> Option<&Elevation> {
        self.access.as_ref()?.elevation.as_ref()
    }

    /// Returns whether it is maintenance.
    pub fn is_maintenance(&self) -> bool {
        self.principal == Principal::Maintenance
    }

    /// Returns whether permissions held at the platform reach all tenants' rows.
    pub fn spans_all(&self) -> bool {
        self.access
            .as_ref()
            .is_some_and(|access| access.spans_all())
    }

    /// Returns the scopes in which any permission is held (it covers all scopes below), and the tenants that are
    /// held only by projects. With a selected tenant, only those in it.
    pub fn held(&self) -> (Vec<Uuid>, Vec<Uuid>) {
        let Some(access) = &self.access else {
            return Default::default();
        };
        let selected = self.tenant.as_ref().filter(|_| self.selected);
        let selected = selected.map(|tenant| tenant.id);
        if let Some(tenant) = selected.filter(|tenant| access.holds_whole(*tenant)) {
            return (vec![tenant], Vec::new());
        }
        let grants = access.grants.all().iter();
        grants
            .filter(|grant| selected.is_none() || grant.tenant() == selected)
            .map(|grant| (grant.scope(), grant.tenant().unwrap_or(grant.scope())))
            .unzip()
    }

    /// Returns how many tenants it spans; `None` for all.
    pub fn count(&self) -> Option<usize> {
        match &self.access {
            Some(_) if self.tenant.is_some() => Some(1),
            Some(access) if !access.spans_all() => Some(access.tenants.len()),
            _ => None,
        }
    }

    /// Returns its tenant; an error if it has several and none is selected.
    pub fn one_tenant(&self) -> Result<Uuid, Error> {
        match &self.tenant {
            Some(tenant) => Ok(tenant.id),
            None => Err(Error::NotOneTenant(self.span())),
        }
    }

    /// Returns the number of tenants for messages.
    pub fn span(&self) -> String {
        self.count()
            .map_or("all".to_owned(), |count| count.to_string())
    }

    /// Returns whether it spans a tenant.
    pub fn spans(&self, tenant: Uuid) -> Result<bool, Error> {
        if let Some(held) = self.tenant.as_ref().filter(|_| !self.fleet) {
            return Ok(held.id == tenant);
        }
        match &self.access {
            Some(access) if access.tenants.contains_id(tenant.as_bytes()) => Ok(true),
            Some(access) if access.spans_all() => Ok(tree::tenant(tenant)?.is_some()),
            _ => Ok(false),
        }
    }

    /// Returns whether a permission is held in the tenant, or without a tenant in the user's parent.
    pub fn holds(&self, permission: &str) -> bool {
        let (Some(access), Some(reached)) = (&self.access, self.reached(permission)) else {
            return true;
        };
        match &self.tenant {
            Some(tenant) => {
                reached.reach.everything
                    || reached
                        .tenants_with_projects
                        .contains_id(tenant.id.as_bytes())
            }
            None => access.holds_at_home(permission),
        }
    }

    /// Returns what a permission reaches; `None` for maintenance, which reaches everything.
    pub fn reached(&self, permission: &str) -> Option<Rc<ResolvedReach>> {
        let access = self.access.as_ref()?;
        let Some(tenant) = self.tenant.as_ref().filter(|_| self.selected) else {
            return Some(access.reached(permission));
        };
        let mut known = self.reached.borrow_mut();
        if let Some((_, found)) = known.iter().find(|(text, _)| text == permission) {
            return Some(found.clone());
        }
        let found = Rc::new(access.reached_in(permission, tenant));
        if known.len() < access::PERMISSIONS_MAX {
            known.push((permission.to_owned(), found.clone()));
        }
        Some(found)
    }
}

thread_local! {
    static STATE: RefCell<(u64, Option<Rc<Context>>)> = const { RefCell::new((0, None)) };
    /// The last context, also of an earlier transaction: a connection often repeats it.
    static LAST: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
}

/// Takes part in a context that is resolved; an error refuses it.
type OnResolved = fn(&Context) -> Result<(), Error>;

static ON_RESOLVED: BackendCell<Option<OnResolved>> = BackendCell::new(None);

/// Has `f` called with each context that is resolved.
pub fn on_resolved(f: OnResolved) {
    ON_RESOLVED.set(Some(f));
}

/// Counts the times that another context than the last was resolved.
static EPOCH: BackendCell<u64> = BackendCell::new(0);

/// Returns a number that changes with the current context, and with the slots of its published sets. As long as it is the
/// same, a resolved context sees the same.
pub fn epoch() -> u64 {
    EPOCH.get()
}

/// Returns the current context. An error if it is no longer valid.
pub fn current() -> Result<Option<Rc<Context>>, Error> {
    let known = STATE.with_borrow(|(generation, current)| {
        (*generation == xact::generation()).then(|| current.clone())
    });
    if let Some(current) = known {
        return Ok(current);
    }
    let current = resolve()?;
    if noted::started_in_another(&identity_of(current.as_deref())) {
        return Err(Error::ContextChanged);
    }
    if let Some(current) = &current {
        begin_epoch(current);
    }
    let access = current.as_ref().and_then(|current| current.access.as_ref());
    inval::hold_until(access.and_then(|access| access.ends_in_transaction()));
    STATE.set((xact::generation(), current.clone()));
    if let Some(Principal::User(user)) = current
        .as_ref()
        .filter(|context| context.claims.by_ticket)
        .map(|context| context.principal)
    {
        logins::came_by_ticket(user);
    }
    Ok(current)
}

/// Returns what must be the same from a statement's start to its end.
pub fn identity() -> Result<Identity, Error> {
    Ok(identity_of(current()?.as_deref()))
}

fn identity_of(context: Option<&Context>) -> Identity {
    let number = |id: Option<Uuid>| id.map_or(0, |id| id.as_u128());
    let Some(context) = context else {
        return noted::NO_CONTEXT;
    };
    let principal = match context.principal {
        Principal::User(user) => user.as_u128(),
        Principal::Maintenance => u128::MAX,
    };
    let tenant = context.tenant.as_ref().map(|tenant| tenant.id);
    let elevation = context.elevation().map(|elevation| elevation.id);
    [
        principal,
        number(tenant),
        number(context.project),
        number(elevation),
    ]
}

fn begin_epoch(current: &Rc<Context>) {
    LAST.with_borrow_mut(|last| {
        let same = last.as_ref().is_some_and(|last| Rc::ptr_eq(last, current));
        if !same || tenant_sets::is_crowded() {
            tenant_sets::clear();
            EPOCH.set(EPOCH.get() + 1);
            *last = Some(current.clone());
        }
    });
}

/// Checks for changes when a statement begins or a cursor continues. An error if a cursor's context is no longer
/// valid. A statement is not refused here: it may need no context, release it, or enter another.
pub fn ask_again(goes_on: bool) -> Result<(), Error> {
    if session_cleanup::is_busy() || managed::is_running() {
        return Ok(());
    }
    if inval::asks_again() || !resolved_still_holds() {
        xact::new_generation();
    }
    ceilings::query_starts();
    if goes_on {
        current()?;
    }
    Ok(())
}

fn resolved_still_holds() -> bool {
    STATE.with_borrow(|(_, current)| current.as_ref().is_none_or(|current| current.still_holds()))
}

/// Returns the current context; an error if there is none.
pub fn required() -> Result<Rc<Context>, Error> {
    current()?.ok_or(Error::MissingContext)
}

/// Drops the resolved context at the transaction's end, whatever the settings contain.
pub fn end_transaction() {
    maintenance::end_transaction();
    inval::hold_until(None);
    STATE.set((0, None));
}

fn resolve() -> Result<Option<Rc<Context>>, Error> {
    let _busy = InternalQuery::begin();
    drop_stale();
    let ticket = guc::ticket();
    let token = match guc::token().filter(guc::bound_here) {
        None if ticket.is_none() => maintenance::by_setting()?,
        token => token,
    };
    let found = match (&token, &ticket) {
        (Some(token), ticket) => {
            if let (Lifetime::Session, Some(ticket)) = (token.lifetime, ticket) {
                tickets::require_same_user(ticket, token.user)?;
            }
            from_token(token)?
        }
        // Clearing the setting must not widen a context that select_tenant() narrowed.
        (None, Some(_)) if session_cleanup::is_narrowed() => return Err(Error::Widened),
        (None, Some(ticket)) => {
            from_ticket(ticket).inspect_err(|why| logins::failed(Some(ticket), None, None, why))?
        }
        (None, None) => return Ok(None),
    };
    session_cleanup::enter(found.principal, found.stay())?;
    plans::enter(found.plan_shape(), found.only_tenant());
    if token.is_some_and(|token| token.lifetime == Lifetime::Transaction) {
        let over_another = ticket.is_some()
            || guc::session_context_possible()
            || guc::maintenance_reason().is_some();
        let wide = |access: &Rc<Access>| access.fleet || access.spans_all();
        let narrowed = found.selected && found.access.as_ref().is_some_and(wide);
        if over_another || narrowed {
            plans::may_widen(over_another);
        }
    }
    if let Some(on_resolved) = ON_RESOLVED.get() {
        on_resolved(&found)?;
    }
    Ok(Some(found))
}

/// Drops the context if anything may have changed. Sources report changes of single subjects.
pub fn drop_stale() {
    if inval::take() {
        LAST.set(None);
        access::forget();
        api_keys::forget();
        tickets::forget();
        identity::forget();
        spi::forget_owner();
    }
}

fn from_token(token: &Token) -> Result<Rc<Context>, Error> {
    if token
        .expires_at
        .is_some_and(|end| end <= xact::transaction_started())
    {
        return Err(Error::Expired);
    }
    let proof_sources = match (token.proof, token.user) {
        (Some(Proof::ApiKey(id)), _) => api_keys::still_holds(id)?,
        (Some(Proof::Ticket(key, elevation)), _) => [tickets::still_holds(key, elevation)?, None],
        (Some(Proof::Provider(id)), Some(user)) => [Some(identity::still_holds(id, user)?), None],
        (Some(Proof::Provider(_)), None) => {
            return Err(Error::Internal("a context without a user"));
        }
        (None, _) => [None, None],
    };
    let claims = Claims {
        tenant: token.tenant,
        project: token.project,
        lifetime: token.lifetime,
        proof: token.proof,
        by_ticket: false,
        expires_at: token.expires_at,
        client: token.client,
    };
    match (token.kind, token.user) {
        (Kind::Maintenance, _) => Ok(Rc::new(Context {
            principal: Principal::Maintenance,
            access: None,
            tenant: None,
            selected: false,
            project: None,
            projects: 0,
            fleet: false,
            claims,
            reached: RefCell::default(),
            sources: [None, None, None, None],
        })),
        (Kind::Principal, Some(user)) => principal(user, claims, proof_sources),
        (Kind::Principal, None) => Err(Error::Internal("a context without a user")),
    }
}

fn from_ticket(text: &str) -> Result<Rc<Context>, Error> {
    let (ticket, elevation) = tickets::verify(text)?;
    let claims = Claims {
        tenant: ticket.tenant,
        project: None,
        lifetime: Lifetime::Transaction,
        proof: Some(Proof::Ticket(ticket.key_id, ticket.elevation)),
        by_ticket: true,
        expires_at: Some(ticket.expires_at),
        client: None,
    };
    principal(ticket.user, claims, [elevation, None])
}

/// Returns the principal of the current ticket, if there is no other context. An error if the ticket is no
/// longer valid.
fn ticket_holder() -> Result<Option<Principal>, Error> {
    let _busy = InternalQuery::begin();
    drop_stale();
    if guc::token().filter(guc::bound_here).is_some() {
        return Ok(None);
    }
    match guc::ticket() {
        Some(ticket) => Ok(Some(from_ticket(&ticket)?.principal)),
        None => Ok(None),
    }
}

/// Clears the session for a ticket's principal before a statement runs, not while the statement is running. An
/// invalid ticket is no error until it is needed. A ticket left by another client is replaced by a
/// credential.
pub fn before_statement() -> Result<(), Error> {
    if session_cleanup::is_expecting()
        && guc::has_ticket()
        && !xact::parallel()
        && let Ok(Some(principal)) = ticket_holder()
    {
        session_cleanup::clear_early(principal)?;
    }
    Ok(())
}

/// Returns the context of a user, whose proof was checked. The last one, if it says the same and nothing has changed since.
fn principal(
    user: Uuid,
    claims: Claims,
    proof_sources: [Option<Rc<Sources>>; 2],
) -> Result<Rc<Context>, Error> {
    let access = access::resolve(user)?;
    let known = LAST.with_borrow(|last| {
        let last = last.as_ref()?;
        let same = last.claims == claims && last.has(&access) && last.still_holds();
        same.then(|| last.clone())
    });
    match known {
        Some(known) => Ok(known),
        None => new_principal(access, claims, proof_sources).map(Rc::new),
    }
}

fn new_principal(
    access: Rc<Access>,
    claims: Claims,
    [key, elevation]: [Option<Rc<Sources>>; 2],
) -> Result<Context, Error> {
    identity::networks::check(&access.networks, claims.client)?;
    if !access.api_keys && matches!(claims.proof, Some(Proof::ApiKey(_))) {
        return Err(Error::NoHumanKeys);
    }
    let selected = claims.tenant.is_some();
    let mut tenant_sources = None;
    let tenant = match claims.tenant {
        None if access.spans_all() => None,
        None => access.tenants.single().cloned(),
        Some(id) => Some(match access.tenant(id) {
            Some(tenant) => tenant.clone(),
            None if access.spans_all() => {
                let mut reading = Reading::begin();
                reading.of(Subject::Scope(id));
                let tenant = tree::tenant(id)?.ok_or(Error::Inactive)?;
                tenant_sources = Some(Rc::new(reading.done()));
                tenant
            }
            // The selected tenant was suspended, moved or unassigned since.
            None => return Err(Error::Inactive),
        }),
    };
    let (project, projects) = match (claims.project, &tenant) {
        (Some(id), Some(tenant)) if !access.holds_project(id, tenant.id) => {
            return Err(Error::Inactive);
        }
        (None, Some(tenant)) => match access.only_projects(tenant.id) {
            OnlyProjects::None => (None, 0),
            OnlyProjects::One(project) => (Some(project), 0),
            OnlyProjects::Several(projects) => (None, projects),
        },
        (project, _) => (project, 0),
    };
    let project_sources = project.map(|project| {
        let mut reading = Reading::begin();
        reading.of(Subject::Scope(project));
        Rc::new(reading.done())
    });
    Ok(Context {
        principal: Principal::User(access.user),
        fleet: access.fleet && !selected,
        access: Some(access),
        tenant,
        selected,
        project,
        projects,
        claims,
        reached: RefCell::default(),
        sources: [key, elevation, tenant_sources, project_sources],
    })
}
