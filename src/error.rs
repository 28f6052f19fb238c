//! Every error that Rust raises: one table of SQLSTATE, message, detail and hint.
//!
//! Two rules hold for all of them. What the caller may not see gets the message of what does not
//! exist; and no message repeats a credential, a ticket or a token.

use pgrx::prelude::*;
use pgrx::spi;
use tenancy_core::policy::Refusal;
use tenancy_core::quantity::QuantityError;

pub use pgrx::pg_sys::panic::ErrorReport;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library came by LOAD or CREATE EXTENSION, not with the server's start.
    #[error("tenancy must be loaded when the server starts")]
    NotPreloaded,
    /// An allocation of so many bytes failed.
    #[error("out of memory")]
    OutOfMemory(usize),
    /// This database has no tenancy.
    #[error("the extension tenancy is not installed in this database")]
    NotInstalled,
    /// tenancy's objects belong to a superuser, whose power its queries would have.
    #[error("the objects of tenancy belong to a superuser")]
    OwnerSuperuser,
    /// A protected table was touched without a context.
    #[error("a tenancy context is required")]
    MissingContext,
    /// A protected table lacks something that isolates it.
    #[error("protected table {table} is not isolated")]
    NotIsolated {
        /// Its name.
        table: String,
        /// What is missing, as a sentence.
        fault: String,
    },
    /// A MERGE that takes no right to read a protected table.
    #[error("permission denied: MERGE that reads no column of a protected table")]
    BlindMerge,
    /// A function that follows the versions of any row, whatever the policies of its table.
    #[error("permission denied for function currtid2: it knows no row security")]
    RowVersions,
    /// A role that tenants share reached for what its sessions share.
    #[error("permission denied for {0}: tenants share this role")]
    SharedObjects(&'static str),
    /// A statement that needs all rows of a protected table, outside of maintenance.
    #[error("{0} on a protected table needs maintenance")]
    NeedsMaintenance(&'static str),
    /// Tenancy was to be dropped, and a table's own policies would then open it.
    #[error(
        "cannot drop extension tenancy: {0} is protected and has permissive policies of its own"
    )]
    WouldOpen(String),
    /// A tenant was asked for where the context has several, or none.
    #[error("the context spans {0} tenants, and one is needed here")]
    NotOneTenant(String),
    /// A tenant's user, who holds nothing in it.
    #[error("the user has no role in its tenant")]
    NoRole,
    /// A project was asked for where the context has several.
    #[error("the context spans {0} projects, and one is needed here")]
    NotOneProject(usize),
    /// Use of a user who holds the tenant by several projects, recorded in none of them.
    #[error("the user has roles at {0} projects of the tenant, and one is needed here")]
    NamesNoProject(usize),
    /// The server's time zones do not say when a period begins or ends.
    #[error("the period is not known in this time zone")]
    NoPeriod,
    /// A permission is missing.
    #[error("permission denied: {permission} in {scope}")]
    Denied {
        /// The permission.
        permission: String,
        /// The scope's slug.
        scope: String,
    },
    /// What is given would be there when what it is given with has ended.
    #[error("{what} would outlast what you hold")]
    Outlasts {
        /// What is given.
        what: String,
        /// Until when the caller holds what it gives.
        until: String,
        /// Whether it can be given for a while.
        ends: bool,
    },
    /// Maintenance met an expression that asks for certain tenants.
    #[error("the context spans all tenants")]
    AllTenants,
    /// Wrong, unknown, revoked or expired: which of them is nobody's business.
    #[error("invalid credential")]
    InvalidCredential,
    /// The ticket or the credential behind a context has run out.
    #[error("the tenancy context has expired")]
    Expired,
    /// The user, or a scope above it, is suspended, archived, deleted or not ready yet.
    #[error("access is not active")]
    Inactive,
    /// The user may not come from this address.
    #[error("access is not allowed from this address")]
    WrongNetwork,
    /// A login that has something to write, where nothing can be written.
    #[error("this login has to write, and the transaction is read-only")]
    LoginWrites,
    /// An elevated context in a statement that began before it.
    #[error("this statement is not on record, and the context is elevated")]
    NotRecorded,
    /// The elevation that the transaction began with is over.
    #[error("the elevation has ended")]
    ElevationEnded,
    /// A second principal in one transaction.
    #[error("this transaction already has another principal")]
    Rebound,
    /// A session context of one user, and a ticket of another.
    #[error("the session has a context and a ticket of different users")]
    TwoIdentities,
    /// What outlives a transaction, asked for by a role behind a pool.
    #[error("{0} allowed behind a pool")]
    Pooled(&'static str),
    /// A context that was narrowed, then cleared, over a ticket that is wider.
    #[error("the narrowed context was cleared in this transaction")]
    Widened,
    /// A superuser or BYPASSRLS role asked for a context.
    #[error("the current role bypasses row security")]
    BypassesRowSecurity,
    /// A managed role tried to reach past row security.
    #[error("permission denied: {0} on a protected table")]
    NotOnProtected(&'static str),
    /// The context lacks a permission.
    #[error("permission denied: {0}")]
    NotPermitted(&'static str),
    /// The background worker is needed and cannot be had.
    #[error("the background worker of tenancy is not available")]
    NoWorker,
    /// The background worker does not answer.
    #[error("the background worker of tenancy does not answer")]
    WorkerSilent,
    /// The background worker could not do it.
    #[error("the background worker of tenancy failed: {0}")]
    WorkerFailed(String),
    /// maintenance() from a SECURITY DEFINER function: its caller would keep it.
    #[error("maintenance is for a session whose own role is granted tenancy_admin")]
    MaintenanceForOthers,
    /// A managed role tried to change what all sessions of the role share.
    #[error("permission denied to alter the current role")]
    SharedRole,
    /// A role that is no superuser tried to become the owner of tenancy's objects, or to change it.
    #[error("permission denied to grant or change role \"tenancy_owner\"")]
    OwnerRole,
    /// Not there, or not visible.
    #[error("scope \"{0}\" does not exist")]
    NoSuchScope(String),
    /// Not there, not visible, or not a user.
    #[error("user \"{0}\" does not exist")]
    NoSuchUser(String),
    /// A metric that was not defined.
    #[error("metric \"{0}\" does not exist")]
    NoSuchMetric(String),
    /// A budget has no room.
    #[error("the {}'s budget is exhausted", .0.level)]
    Exhausted(Box<Exhausted>),
    /// As many reservations are open as may be.
    #[error("the {level} has {most} reservations open, and may not have more")]
    TooManyReservations {
        /// The level of whose they are.
        level: &'static str,
        /// How many may be.
        most: i64,
    },
    /// All of the ledger's entries are in use.
    #[error("the ledger of tenancy is full")]
    LedgerFull,
    /// Two-phase commit after recording use.
    #[error("cannot PREPARE a transaction that has recorded use")]
    UsePrepared,
    /// Two-phase commit after managing: nobody could end what is prepared.
    #[error("cannot PREPARE a transaction that has called a management function")]
    ManagedPrepared,
    /// Recording use where nothing can be written.
    #[error("use cannot be recorded on a standby")]
    OnStandby,
    /// A reservation that was settled or cancelled, or has expired.
    #[error("the reservation is {0}")]
    ReservationOver(String),
    /// An object that is not a scope is not there, or not visible.
    #[error("{0} does not exist")]
    NoSuch(&'static str),
    /// The name of a role that comes with tenancy.
    #[error("role name \"{0}\" is taken")]
    RoleTaken(String),
    /// A slug that several scopes have.
    #[error("slug \"{0}\" is ambiguous")]
    AmbiguousSlug(String),
    /// An argument is NULL.
    #[error("{0} must not be null")]
    Null(&'static str),
    /// An argument is wrong.
    #[error("{0}")]
    BadArgument(String, &'static str),
    /// protect() will not do it.
    #[error("{0}")]
    Refused(Refusal),
    /// The server's query interface failed.
    #[error("query failed: {0}")]
    Spi(#[from] spi::Error),
    /// A state that should not be.
    #[error("tenancy: {0}")]
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
    /// When it begins anew.
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
        let begins = (self.resets.as_ref())
            .map_or_else(String::new, |at| format!(" It begins anew at {at}."));
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
            "From 0 to about 9.2 · 10¹², a quantity to the millionth.",
        )
    }
}

impl Error {
    /// A 22023 with a hint.
    pub fn bad(message: impl ToString, hint: &'static str) -> Self {
        Self::BadArgument(message.to_string(), hint)
    }

    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::NotPreloaded
            | Self::NotInstalled
            | Self::OwnerSuperuser
            | Self::MissingContext
            | Self::NotIsolated { .. }
            | Self::NeedsMaintenance(_)
            | Self::NotOneTenant(_)
            | Self::NoRole
            | Self::NotOneProject(_)
            | Self::NamesNoProject(_)
            | Self::NoPeriod
            | Self::NotRecorded
            | Self::ElevationEnded
            | Self::NoWorker
            | Self::WorkerSilent
            | Self::WorkerFailed(_)
            | Self::AllTenants => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::InvalidCredential
            | Self::Expired
            | Self::Inactive
            | Self::WrongNetwork
            | Self::Rebound
            | Self::TwoIdentities
            | Self::Pooled(_)
            | Self::Widened
            | Self::BypassesRowSecurity
            | Self::MaintenanceForOthers
            | Self::BlindMerge
            | Self::RowVersions
            | Self::SharedObjects(_)
            | Self::NotOnProtected(_)
            | Self::Denied { .. }
            | Self::Outlasts { .. }
            | Self::NotPermitted(_)
            | Self::SharedRole
            | Self::OwnerRole => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::WouldOpen(_) => ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            Self::LoginWrites => ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::NoSuchScope(_)
            | Self::NoSuchUser(_)
            | Self::NoSuchMetric(_)
            | Self::NoSuch(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::RoleTaken(_) => ERRCODE_DUPLICATE_OBJECT,
            Self::AmbiguousSlug(_) | Self::Null(_) | Self::BadArgument(..) => {
                ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::Refused(refusal) => match refusal.sqlstate() {
                "42501" => ERRCODE_INSUFFICIENT_PRIVILEGE,
                "42703" => ERRCODE_UNDEFINED_COLUMN,
                "42704" => ERRCODE_UNDEFINED_OBJECT,
                "42710" => ERRCODE_DUPLICATE_OBJECT,
                "42809" => ERRCODE_WRONG_OBJECT_TYPE,
                "23502" => ERRCODE_NOT_NULL_VIOLATION,
                "55000" => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                _ => ERRCODE_INVALID_PARAMETER_VALUE,
            },
            Self::Exhausted(_) | Self::TooManyReservations { .. } => {
                ERRCODE_CONFIGURATION_LIMIT_EXCEEDED
            }
            Self::LedgerFull => ERRCODE_INSUFFICIENT_RESOURCES,
            Self::OnStandby => ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::ReservationOver(_) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::UsePrepared | Self::ManagedPrepared => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::OutOfMemory(_) => ERRCODE_OUT_OF_MEMORY,
            Self::Spi(_) | Self::Internal(_) => ERRCODE_INTERNAL_ERROR,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.detail(),
            Self::Outlasts { until, .. } => Some(format!("You hold what gives it until {until}.")),
            Self::Exhausted(exhausted) => Some(exhausted.detail()),
            Self::NotIsolated { fault, .. } => Some(fault.clone()),
            Self::OutOfMemory(bytes) => Some(format!("Failed on request of size {bytes}.")),
            Self::Inactive => Some(
                "The user, the tenant it selected or a scope above is suspended, archived, deleted, \
                 not ready, or has moved away."
                    .into(),
            ),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused(refusal) => return refusal.hint(),
            Self::Outlasts { ends: true, .. } => "Pass an earlier expires_at: it must end by then.",
            Self::Outlasts { ends: false, .. } => {
                "Pass an earlier expires_at where there is one; a caller who holds it without an end, or an administrator, can give it for longer."
            }
            Self::NotPreloaded => {
                "Add tenancy to shared_preload_libraries in postgresql.conf and restart the server."
            }
            Self::NotInstalled => "Run CREATE EXTENSION tenancy.",
            Self::OwnerSuperuser => {
                "Give them back to tenancy_owner, and take SUPERUSER from that role if it has it."
            }
            Self::MissingContext => {
                "Call tenancy.authenticate(credential) in this transaction (or with session => true). \
                 For a data migration, a role granted tenancy_admin calls tenancy.maintenance(reason)."
            }
            Self::NotIsolated { .. } => {
                "Its owner calls tenancy.protect() to isolate it again, or tenancy.unprotect() to give its protection up."
            }
            Self::SharedObjects(_) => {
                "What belongs to a role is in reach of every session of that role. A function of another role, declared \
                 SECURITY DEFINER, can hand out what is a tenant's."
            }
            Self::BlindMerge => {
                "Name a column of the table in the statement, as in ON target.id = source.id."
            }
            Self::RowVersions => {
                "Select the row's ctid instead, as in SELECT ctid FROM t WHERE id = 1."
            }
            Self::NeedsMaintenance(_) => {
                "Run SELECT tenancy.maintenance('why') before it in the same transaction, as a role that is granted \
                 tenancy_admin; or take the protection off with tenancy.unprotect()."
            }
            Self::WouldOpen(_) => {
                "Without tenancy's policies they would show the rows of all tenants. Run tenancy.unprotect() on each of \
                 tenancy.protected_tables first, or drop those policies."
            }
            Self::NotOneTenant(_) => {
                "Call tenancy.select_tenant(tenant) first. If a prepared statement said this, run it \
                 again: its plan was made for one tenant and has been discarded."
            }
            Self::NoRole => "Its use is its tenant's: tenancy.assign() gives it a role there.",
            Self::RoleTaken(_) => "It is the name of a role that comes with tenancy.",
            Self::NotRecorded => {
                "Take the context in a statement before: only what starts in an elevated context is recorded."
            }
            Self::ElevationEnded => {
                "Begin another transaction; tenancy.elevate() begins another elevation."
            }
            Self::NotOneProject(_) => "Call tenancy.select_project(project) first.",
            Self::NamesNoProject(_) => "Name the project in which it was used.",
            Self::NoPeriod => {
                "The server's time zones (tzdata) decide; tenancy.update_scope() sets another as the setting time_zone."
            }
            Self::Denied { .. } | Self::NotPermitted(_) => {
                "tenancy.context() shows what you hold; a role that has it can be assigned with tenancy.assign()."
            }
            Self::InvalidCredential => "The credential is malformed, unknown, expired or revoked.",
            Self::AllTenants => {
                "Name the tenant in the statement. If a prepared statement said this, run it again: its \
                 plan was made for certain tenants and has been discarded."
            }
            Self::Expired => "Authenticate again.",
            Self::WrongNetwork => {
                "The networks that users may come from are set with tenancy.set_allowed_networks()."
            }
            Self::LoginWrites => {
                "A first login, or one with other groups than the last, needs a read-write \
                 transaction on the primary; the next ones do not."
            }
            Self::Inactive => return None,
            Self::Rebound => {
                "One transaction holds one principal: end it first; a session context ends with \
                 tenancy.release()."
            }
            Self::TwoIdentities => "Call tenancy.release(), or RESET tenancy.ticket.",
            Self::Pooled(_) => {
                "tenancy.pooled is on for this role: the next client would have it. Authenticate, or SET LOCAL tenancy.ticket, in each transaction."
            }
            Self::Widened => "End the transaction.",
            Self::BypassesRowSecurity => {
                "Superusers and BYPASSRLS roles read every tenant's rows whatever their context. \
                 Connect as a role that is a member of tenancy_app, or have a superuser set \
                 tenancy.allow_bypassrls."
            }
            Self::NotOnProtected(_) => {
                "It would reach every tenant's rows or sessions. A role that is granted tenancy_app serves many tenants, \
                 so it does not do this even as the table's owner: let another role own the table."
            }
            Self::MaintenanceForOthers => {
                "It lasts for the transaction, so a SECURITY DEFINER function would hand all tenants' \
                 rows to whoever calls it."
            }
            Self::SharedRole => {
                "Sessions of many tenants share a role that is granted tenancy_app; only an \
                 administrator may alter it."
            }
            Self::OwnerRole => {
                "tenancy's tables and functions belong to it: whoever acts as it reads and writes every tenant's access. \
                 Nobody needs to; a superuser can."
            }
            Self::NoSuchScope(_) => {
                "A scope is named by its id or its slug, and must be visible to you."
            }
            Self::NoSuchUser(_) => "A user is named by its id, or as in tenant/user.",
            Self::NoSuchMetric(_) => {
                "tenancy.metrics shows those there are; tenancy.define_metric() adds one."
            }
            Self::AmbiguousSlug(_) => {
                "Name the scope above it too, as in partner/tenant, or use the id."
            }
            Self::NoWorker => {
                "There is none on a standby; elsewhere raise max_worker_processes, which takes a restart."
            }
            Self::WorkerSilent => {
                "Another session may hold a lock on a table of tenancy's; else the server's log says more."
            }
            Self::BadArgument(_, hint) => hint,
            Self::Exhausted(_) => {
                "tenancy.check_budget() asks without recording; tenancy.set_budget() sets another."
            }
            Self::TooManyReservations { .. } => {
                "Settle or cancel what is done, or reserve with a shorter ttl. A superuser sets \
                 tenancy.reservations_per_user and tenancy.reservations_per_tenant."
            }
            Self::OnStandby => {
                "Only the primary knows what is in flight; tenancy.check_budget() answers here by what has been replayed."
            }
            Self::ReservationOver(_) => "A reservation is settled or cancelled once.",
            Self::LedgerFull => {
                "Each budget with transactions in flight takes one; raise tenancy.ledger_entries, which takes a restart."
            }
            Self::ManagedPrepared => {
                "Its locks would hold up who manages its caller, without a session to end: COMMIT it."
            }
            Self::UsePrepared => {
                "What is in flight belongs to this session: record use in a transaction of its own."
            }
            Self::WorkerFailed(_)
            | Self::NoSuch(_)
            | Self::Null(_)
            | Self::Spi(_)
            | Self::Internal(_)
            | Self::OutOfMemory(_) => return None,
        };
        Some(hint.to_owned())
    }

    /// Raises the error.
    pub fn raise(self) -> ! {
        ErrorReport::from(self).report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        let mut report = Self::new(error.code(), error.to_string(), "tenancy");
        if let Some(detail) = error.detail() {
            report = report.set_detail(detail);
        }
        if let Some(hint) = error.hint() {
            report = report.set_hint(hint);
        }
        report
    }
}
