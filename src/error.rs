//! Every error that Rust raises, and the kind of each in the catalogue (`tenancy_core::error`), which has the name, the
//! SQLSTATE and the texts. SQL raises the same kinds by `tenancy_internal.error()`. `pg::raise` hands them to the server.

use std::fmt;

use pgrx::spi;
use tenancy_core::error::{Kind, Texts, kind};
use tenancy_core::policy::Refusal;
use tenancy_core::quantity::QuantityError;

pub use pgrx::pg_sys::panic::ErrorReport;

/// What can go wrong.
#[derive(Debug)]
pub enum Error {
    /// The library came by LOAD or CREATE EXTENSION, not with the server's start.
    NotPreloaded,
    /// An allocation of so many bytes failed.
    OutOfMemory(usize),
    /// This database has no tenancy.
    NotInstalled,
    /// tenancy's objects belong to a superuser, whose power its queries would have.
    OwnerSuperuser,
    /// A protected table was touched without a context.
    MissingContext,
    /// A protected table lacks something that isolates it.
    NotIsolated {
        /// Its name.
        table: String,
        /// What is missing, as a sentence.
        fault: String,
    },
    /// A MERGE that takes no right to read a protected table.
    BlindMerge,
    /// A function that follows the versions of any row, whatever the policies of its table.
    RowVersions,
    /// A role that tenants share reached for what its sessions share.
    SharedObjects(&'static str),
    /// A statement that needs all rows of a protected table, outside of maintenance.
    NeedsMaintenance(&'static str),
    /// Tenancy was to be dropped, and a table's own policies would then open it.
    WouldOpen(String),
    /// A tenant was asked for where the context has several, or none.
    NotOneTenant(String),
    /// A tenant's user, who holds nothing in it.
    NoRole,
    /// A project was asked for where the context has several.
    NotOneProject(usize),
    /// Use of a user who holds the tenant by several projects, recorded in none of them.
    NamesNoProject(usize),
    /// The server's time zones do not say when a period begins or ends.
    NoPeriod,
    /// A permission is missing.
    Denied {
        /// The permission.
        permission: String,
        /// The scope's slug.
        scope: String,
    },
    /// What is given would be there when what it is given with has ended.
    Outlasts {
        /// What is given.
        what: String,
        /// Until when the caller holds what it gives.
        until: String,
        /// Whether it can be given for a while.
        ends: bool,
    },
    /// Maintenance met an expression that asks for certain tenants.
    AllTenants,
    /// Wrong, unknown, revoked or expired: the caller does not learn which.
    InvalidCredential,
    /// The ticket or the credential behind a context has run out.
    Expired,
    /// The user, or a scope above it, is suspended, archived, deleted or not ready yet.
    Inactive,
    /// The user may not come from this address.
    WrongNetwork,
    /// A login that has something to write, where nothing can be written.
    LoginWrites,
    /// An elevated context in a statement that began before it.
    NotRecorded,
    /// The elevation that the transaction began with is over.
    ElevationEnded,
    /// A second principal in one transaction.
    Rebound,
    /// A session context of one user, and a ticket of another.
    TwoIdentities,
    /// What outlives a transaction, asked for by a role behind a pool.
    Pooled(&'static str),
    /// A context that was narrowed, then cleared, over a ticket that is wider.
    Widened,
    /// A superuser or BYPASSRLS role asked for a context.
    BypassesRowSecurity,
    /// A managed role tried to reach past row security.
    NotOnProtected(&'static str),
    /// The context lacks a permission.
    NotPermitted(&'static str),
    /// The background worker is needed and cannot be had.
    NoWorker,
    /// The background worker does not answer.
    WorkerSilent,
    /// The background worker could not do it.
    WorkerFailed(String),
    /// maintenance() from a SECURITY DEFINER function: its caller would keep it.
    MaintenanceForOthers,
    /// A managed role tried to change what all sessions of the role share.
    SharedRole,
    /// A role that is no superuser tried to become the owner of tenancy's objects, or to change it.
    OwnerRole,
    /// Not there, or not visible.
    NoSuchScope(String),
    /// Not there, not visible, or not a user.
    NoSuchUser(String),
    /// An event is dated in the future.
    EventInFuture,
    /// An event is dated before what may still be recorded.
    EventTooOld,
    /// An idempotency key came again with another event.
    KeyReused,
    /// A metric that was not defined.
    NoSuchMetric(String),
    /// A budget has no room.
    Exhausted(Box<Exhausted>),
    /// As many reservations are open as may be.
    TooManyReservations {
        /// The level of whose they are.
        level: &'static str,
        /// How many may be.
        most: i64,
    },
    /// All of the ledger's entries are in use.
    LedgerFull,
    /// Two-phase commit after recording use.
    UsePrepared,
    /// Two-phase commit after managing: nobody could end what is prepared.
    ManagedPrepared,
    /// Recording use where nothing can be written.
    OnStandby,
    /// A reservation that was settled or cancelled, or has expired.
    ReservationOver(String),
    /// An object that is not a scope is not there, or not visible.
    NoSuch(&'static str),
    /// A reservation is not there, or not visible.
    NoSuchReservation,
    /// The name of a role that comes with tenancy.
    RoleTaken(String),
    /// A slug that several scopes have.
    AmbiguousSlug(String),
    /// An argument is NULL.
    Null(&'static str),
    /// An argument is wrong.
    BadArgument(String, &'static str),
    /// protect() will not do it.
    Refused(Refusal),
    /// The server's query interface failed.
    Spi(spi::Error),
    /// An error that SQL raises, by its kind, with the arguments of its texts.
    OfSql(Kind, Vec<String>),
    /// A state that should not be.
    Internal(&'static str),
}

/// Which budget has no room, and how much it has. In millionths.
#[derive(Debug)]
pub struct Exhausted {
    /// The level of its scope.
    pub level: &'static str,
    /// Its period.
    pub period: &'static str,
    /// Whether it is of cost.
    pub cost: bool,
    /// What may be used.
    pub limit: i128,
    /// What committed transactions used.
    pub used: i128,
    /// What running ones and reservations hold.
    pub in_flight: i128,
    /// What credits covered of that.
    pub drawn: i128,
    /// What credits have left.
    pub credits: i128,
    /// What was asked for.
    pub asked: i128,
    /// When it resets.
    pub resets: Option<String>,
}

impl Exhausted {
    fn detail(&self) -> String {
        let number = tenancy_core::quantity::text;
        let room = (self.limit + self.drawn - self.used - self.in_flight).max(0);
        let on_top = match self.drawn + self.credits {
            0 => String::new(),
            credits => format!(" and {} in credits", number(credits)),
        };
        let of = if self.cost { " of cost" } else { "" };
        let begins =
            (self.resets.as_ref()).map_or_else(String::new, |at| format!(" It resets at {at}."));
        format!(
            "Asked for {}{of}; of {} ({}){on_top}, {} are used, {} in flight and {} left.{begins}",
            number(self.asked),
            number(self.limit),
            self.period,
            number(self.used),
            number(self.in_flight),
            number(room + self.credits),
        )
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<QuantityError> for Error {
    fn from(fault: QuantityError) -> Self {
        Self::bad(
            fault,
            "Pass 0 to about 9.2 · 10¹², with 6 digits after the point at most.",
        )
    }
}

impl Error {
    /// Returns a 22023 with a hint.
    pub fn bad(message: impl ToString, hint: &'static str) -> Self {
        Self::BadArgument(message.to_string(), hint)
    }

    /// Returns its kind, and the arguments of its texts.
    pub fn parts(&self) -> (Kind, Vec<String>) {
        match self {
            Self::NotPreloaded => (kind::not_preloaded(), vec![]),
            Self::OutOfMemory(bytes) => (kind::out_of_memory(), strings([bytes])),
            Self::NotInstalled => (kind::not_installed(), vec![]),
            Self::OwnerSuperuser => (kind::owner_is_superuser(), vec![]),
            Self::MissingContext => (kind::context_required(), vec![]),
            Self::NotIsolated { table, fault } => {
                (kind::table_not_isolated(), strings([table, fault]))
            }
            Self::BlindMerge => (kind::blind_merge(), vec![]),
            Self::RowVersions => (kind::row_versions_denied(), vec![]),
            Self::SharedObjects(objects) => (kind::shared_objects_denied(), strings([objects])),
            Self::NeedsMaintenance(statement) => (kind::maintenance_needed(), strings([statement])),
            Self::WouldOpen(table) => (kind::drop_opens_table(), strings([table])),
            Self::NotOneTenant(tenants) => (kind::tenant_needed(), strings([tenants])),
            Self::NoRole => (kind::user_without_role(), vec![]),
            Self::NotOneProject(projects) => (kind::project_needed(), strings([projects])),
            Self::NamesNoProject(projects) => {
                (kind::user_in_several_projects(), strings([projects]))
            }
            Self::NoPeriod => (kind::period_unknown(), vec![]),
            Self::Denied { permission, scope } => {
                let permission = format!("{permission} in {scope}");
                (kind::permission_missing(), vec![permission])
            }
            Self::NotPermitted(permission) => (kind::permission_missing(), strings([permission])),
            Self::Outlasts { what, until, ends } => {
                let hint = if *ends {
                    "Pass an earlier expires_at: it must end by then."
                } else {
                    "Pass an earlier expires_at where there is one. A caller who holds it without an end, or an administrator, can give it for longer."
                };
                (
                    kind::grant_outlasts_holder(),
                    strings([what.as_str(), until, hint]),
                )
            }
            Self::AllTenants => (kind::all_tenants(), vec![]),
            Self::InvalidCredential => (kind::invalid_credential(), vec![]),
            Self::Expired => (kind::context_expired(), vec![]),
            Self::Inactive => (kind::access_inactive(), vec![]),
            Self::WrongNetwork => (kind::address_not_allowed(), vec![]),
            Self::LoginWrites => (kind::login_needs_write(), vec![]),
            Self::NotRecorded => (kind::statement_not_recorded(), vec![]),
            Self::ElevationEnded => (kind::elevation_ended(), vec![]),
            Self::Rebound => (kind::second_principal(), vec![]),
            Self::TwoIdentities => (kind::context_and_ticket_differ(), vec![]),
            Self::Pooled(what) => (kind::not_behind_pool(), strings([what])),
            Self::Widened => (kind::narrowed_context_cleared(), vec![]),
            Self::BypassesRowSecurity => (kind::role_bypasses_row_security(), vec![]),
            Self::NotOnProtected(command) => (kind::protected_table_denied(), strings([command])),
            Self::NoWorker => (kind::worker_unavailable(), vec![]),
            Self::WorkerSilent => (kind::worker_silent(), vec![]),
            Self::WorkerFailed(reason) => (kind::worker_failed(), strings([reason])),
            Self::MaintenanceForOthers => (kind::maintenance_not_direct(), vec![]),
            Self::SharedRole => (kind::shared_role_denied(), vec![]),
            Self::OwnerRole => (kind::owner_role_protected(), vec![]),
            Self::NoSuchScope(scope) => (kind::scope_not_found(), strings([scope])),
            Self::NoSuchUser(user) => (kind::user_not_found(), strings([user])),
            Self::EventInFuture => (kind::event_in_future(), vec![]),
            Self::EventTooOld => (kind::event_too_old(), vec![]),
            Self::KeyReused => (kind::idempotency_key_reused(), vec![]),
            Self::NoSuchMetric(metric) => (kind::metric_not_found(), strings([metric])),
            Self::Exhausted(exhausted) => (
                kind::budget_exhausted(),
                strings([exhausted.level, &exhausted.detail()]),
            ),
            Self::TooManyReservations { level, most } => {
                let most = most.to_string();
                (kind::too_many_reservations(), strings([*level, &most]))
            }
            Self::LedgerFull => (kind::ledger_full(), vec![]),
            Self::UsePrepared => (kind::prepared_usage(), vec![]),
            Self::ManagedPrepared => (kind::prepared_management(), vec![]),
            Self::OnStandby => (kind::usage_on_standby(), vec![]),
            Self::ReservationOver(state) => (kind::reservation_closed(), strings([state])),
            Self::NoSuch(object) => (kind::object_not_found(), strings([object])),
            Self::NoSuchReservation => (kind::reservation_not_found(), vec![]),
            Self::RoleTaken(role) => (kind::role_name_reserved(), strings([role])),
            Self::AmbiguousSlug(slug) => (kind::slug_ambiguous(), strings([slug])),
            Self::Null(argument) => (kind::null_argument(), strings([argument])),
            Self::BadArgument(message, hint) => {
                (kind::invalid_argument(), strings([message.as_str(), hint]))
            }
            Self::Refused(refusal) => refusal.parts(),
            Self::Spi(error) => (kind::query_failed(), strings([error])),
            Self::OfSql(kind, arguments) => (*kind, arguments.clone()),
            Self::Internal(fault) => (kind::internal(), strings([fault])),
        }
    }

    /// Returns its message, detail and hint.
    pub fn texts(&self) -> Texts {
        let (kind, arguments) = self.parts();
        kind.fill(&arguments)
    }
}

fn strings<T: ToString, const N: usize>(arguments: [T; N]) -> Vec<String> {
    arguments.map(|argument| argument.to_string()).into()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().message)
    }
}

impl std::error::Error for Error {}

impl From<spi::Error> for Error {
    fn from(error: spi::Error) -> Self {
        Self::Spi(error)
    }
}
