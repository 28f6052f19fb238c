//! Every error that Rust raises, and the kind of each in the catalogue (`tenancy_core::error`), which has the name, the
//! SQLSTATE and the texts. SQL raises the same kinds by `tenancy_internal.error()`. `pg::raise` hands them to the server.

use std::fmt;

use pgrx::spi;
use tenancy_core::error::{Kind, Texts, kind};
use tenancy_core::jwt;
use tenancy_core::policy::Refusal;
use tenancy_core::quantity::QuantityError;
use tenancy_core::time::Length;
use uuid::Uuid;

pub use pgrx::pg_sys::panic::ErrorReport;

/// The errors of tenancy.
#[derive(Debug)]
pub enum Error {
    /// The library was loaded by LOAD or CREATE EXTENSION, not when the server started.
    NotPreloaded,
    /// An allocation of this number of bytes failed.
    OutOfMemory(usize),
    /// The extension is not installed in this database.
    NotInstalled,
    /// tenancy's objects belong to a superuser: its queries would run with a superuser's rights.
    OwnerSuperuser,
    /// A statement names a protected table without a context.
    MissingContext,
    /// A protected table lacks something that isolates it.
    NotIsolated {
        /// Its name.
        table: String,
        /// What is missing, as a sentence.
        fault: String,
    },
    /// A MERGE that needs no SELECT privilege on a protected table.
    BlindMerge,
    /// A function that follows the versions of any row and ignores the policies of its table.
    RowVersions,
    /// A role that tenants share used an object that all of its sessions share.
    SharedObjects(&'static str),
    /// A statement that needs all rows of a protected table, outside of maintenance.
    NeedsMaintenance(&'static str),
    /// Another type for a column that the isolation of a table depends on.
    IsolatingColumnType {
        /// The column.
        column: String,
        /// The table.
        table: String,
    },
    /// DROP EXTENSION tenancy would open a table by the table's own policies.
    WouldOpen(String),
    /// A tenant is needed, and the context has several or none.
    NotOneTenant(String),
    /// Another context while a statement runs that row security applies to.
    ContextChanged,
    /// A plan that leaves out the partitions of all tenants but one starts in the context of another.
    PlannedForAnother,
    /// A tenant's user has no role in the tenant.
    NoRole,
    /// A project is needed, and the context has several.
    NotOneProject(usize),
    /// Usage without a project, of a user who holds the tenant by several projects.
    NamesNoProject(usize),
    /// The begin or end of a period cannot be computed with the server's time zones.
    NoPeriod,
    /// A permission is missing.
    Denied {
        /// The permission.
        permission: String,
        /// The scope's slug.
        scope: String,
    },
    /// A grant would outlast the permission that it is given with.
    Outlasts {
        /// What is given.
        what: String,
        /// The time at which the caller's permission ends.
        until: String,
        /// Whether it can be given with an end.
        ends: bool,
    },
    /// Maintenance evaluated an expression that asks for certain tenants.
    AllTenants,
    /// Wrong, unknown, revoked or expired: the caller does not learn which.
    InvalidCredential,
    /// The same of an identity provider's token: why, and whose it is, for the audit log.
    TokenRefused(jwt::Refusal, Option<Uuid>),
    /// The ticket or the credential of a context has expired.
    Expired,
    /// The user, or a scope above it, is suspended, archived, deleted or not ready yet.
    Inactive,
    /// The user may not connect from this address.
    WrongNetwork,
    /// A token that does not meet the login policy of this scope, and what that asks for.
    LoginPolicy(String, String),
    /// An API key of a user who may not use one.
    NoHumanKeys,
    /// A login that must write, in a read-only transaction.
    LoginWrites,
    /// An elevated context in a statement that began before it.
    NotRecorded,
    /// The elevation that the transaction began with has ended.
    ElevationEnded,
    /// A second principal in one transaction.
    Rebound,
    /// A session context of one user, and a ticket of another.
    TwoIdentities,
    /// A role behind a pool requested something that outlives the transaction.
    Pooled(&'static str),
    /// A context was narrowed and then cleared, and the session's ticket is wider.
    Widened,
    /// A superuser or BYPASSRLS role tried to enter a context.
    BypassesRowSecurity,
    /// A managed role tried to reach past row security.
    NotOnProtected(&'static str),
    /// The context lacks a permission.
    NotPermitted(&'static str),
    /// The background worker is needed and cannot be started.
    NoWorker,
    /// The background worker does not answer.
    WorkerSilent,
    /// The background worker failed to serve the request.
    WorkerFailed(String),
    /// maintenance() inside a SECURITY DEFINER function: its caller would keep the power.
    MaintenanceForOthers,
    /// A managed role tried to change what all sessions of the role share.
    SharedRole,
    /// A role that is no superuser tried to become the owner of tenancy's objects, or to change it.
    OwnerRole,
    /// A scope does not exist, or is not visible.
    NoSuchScope(String),
    /// A user does not exist, is not visible, or is another scope.
    NoSuchUser(String),
    /// An event's time is in the future.
    EventInFuture,
    /// An event's time is older than usage that may still be recorded.
    EventTooOld,
    /// A metric has prices, and none for these values of dimensions.
    NoPrice {
        /// Its name.
        metric: String,
        /// The dimensions that its prices differ by, with the values of the event.
        dimensions: Vec<(String, Option<String>)>,
    },
    /// An error of the n-th element of a batch.
    OfElement(i64, Box<Self>),
    /// An idempotency key was repeated with another event or reservation: which, and the fields that differ.
    KeyReused(&'static str, String),
    /// An event does not exist.
    NoSuchEvent,
    /// An event was voided before.
    EventVoided,
    /// An event cannot be voided, for this reason.
    NotVoidable(&'static str),
    /// The time of an event is in a closed period.
    PeriodClosed,
    /// A metric does not exist.
    NoSuchMetric(String),
    /// A budget has no room.
    Exhausted(Box<Exhausted>),
    /// A user or tenant has as many open reservations as are allowed.
    TooManyReservations {
        /// Its level: user or tenant.
        level: &'static str,
        /// The number that is allowed.
        most: i64,
    },
    /// All of the ledger's entries are in use.
    LedgerFull,
    /// A limit does not exist.
    NoSuchLimit(String),
    /// A rate limit has too little left.
    RateExhausted(Box<RateExhausted>),
    /// More would be stored than is allowed.
    QuotaExhausted(Box<QuotaExhausted>),
    /// A counter of a quota has no room for a sum.
    QuotaOverflow {
        /// The quota.
        quota: String,
        /// The table.
        table: String,
    },
    /// A counter has no room for a value to count by.
    QuotaKeyTooLong {
        /// The column.
        column: String,
        /// The table.
        table: String,
        /// The quota.
        quota: String,
    },
    /// A table has no quota of this name.
    NoSuchQuota {
        /// The table.
        table: String,
        /// The quota.
        quota: String,
    },
    /// A column that a quota counts by is gone.
    QuotaColumnMissing {
        /// The column.
        column: String,
        /// The table.
        table: String,
        /// The quota.
        quota: String,
    },
    /// All places for rate limits in use are taken.
    RatesFull,
    /// As many slots are held as may be.
    SlotsExhausted {
        /// The limit.
        limit: String,
        /// The level.
        level: &'static str,
        /// How many may be held.
        most: u64,
        /// How many are held.
        held: u32,
    },
    /// All places for slots are taken.
    SlotsFull,
    /// A slot until the end of a session that clients share.
    SlotsPooled,
    /// Two-phase commit while the transaction holds slots.
    SlotsPrepared,
    /// A function of limits of another kind.
    LimitOfOtherKind {
        /// The limit.
        limit: String,
        /// Its kind.
        kind: &'static str,
        /// The function of that kind.
        function: &'static str,
    },
    /// Two-phase commit after recording usage.
    UsePrepared,
    /// Two-phase commit after a management function: the prepared transaction's locks could not be broken.
    ManagedPrepared,
    /// Recording usage on a standby.
    OnStandby,
    /// A reservation that was settled or cancelled, or has expired.
    ReservationOver(String),
    /// An object other than a scope does not exist, or is not visible.
    NoSuch(&'static str),
    /// A reservation does not exist, or is not visible.
    NoSuchReservation,
    /// The name of a built-in role.
    RoleTaken(String),
    /// A slug that several scopes have.
    AmbiguousSlug(String),
    /// A statement leaves a table open in a schema whose tables are to be isolated.
    LeftOpen {
        /// The table.
        table: String,
        /// Why it may hold tenants' rows.
        reasons: String,
    },
    /// A statement shows a table that was left open in such a schema to more roles.
    GrantedOpen {
        /// The table.
        table: String,
        /// Why it may hold tenants' rows.
        reasons: String,
    },
    /// An external id of a partner and of a tenant, of both of which it would be the key in a table with shared rows.
    AmbiguousKey {
        /// The external id.
        key: String,
        /// The table.
        table: String,
    },
    /// External ids of partners that others set while these become keys of rows.
    KeysMeanwhile,
    /// A child's row refers to no row, or to one that its writer may not see, of the table named.
    NoParent(String),
    /// A row would move to another tenant without rows that refer to it.
    MovesAlone {
        /// The table of the row.
        table: String,
        /// That of the rows that refer to it.
        child: String,
        /// Whether the transaction reads what there was when it began.
        serializable: bool,
    },
    /// The table of tenants has no such key, or one of another type.
    NoTenantKey {
        /// The column.
        column: String,
        /// The table.
        table: String,
    },
    /// adopt() in a transaction block.
    AdoptInTransaction,
    /// Another session runs a procedure that two must not run.
    RunsAlready {
        /// The procedures.
        what: &'static str,
        /// Its process id.
        process: i32,
    },
    /// adopt() did not get a lock on a table.
    AdoptWaits(String),
    /// What the caller must decide before a schema can be adopted, a line for each reason.
    AdoptionBlocked(String),
    /// What keeps an adoption from being undone, likewise.
    UnadoptionBlocked(String),
    /// The table of tenants of a schema, whose watch would end with it.
    WatchEnds(String),
    /// A feature does not exist.
    NoSuchFeature(String),
    /// A setting does not exist.
    NoSuchSetting(String),
    /// A feature of another type is asked for as a boolean.
    NotBoolean(String),
    /// A tenant has as many transactions open as its plan allows: this many.
    TenantBusy(usize),
    /// A value of a feature, a setting or a plan is wrong.
    WrongValue {
        /// Its path.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A scope of another level than a tenant.
    NotATenant {
        /// Its slug.
        scope: String,
        /// Its level.
        level: &'static str,
    },
    /// What keeps a tenant from being purged, a line for each reason.
    PurgeBlocked {
        /// Its slug.
        tenant: String,
        /// The lines.
        reasons: String,
    },
    /// What keeps a tenant from being moved, a line for each reason.
    MoveBlocked {
        /// Its slug.
        tenant: String,
        /// The lines.
        reasons: String,
    },
    /// A subscriber is connected to this replication slot.
    MoveSubscribed(String),
    /// A subscriber has not got all rows of a tenant in time.
    MoveTooSlow {
        /// Its slug.
        tenant: String,
        /// How long it had.
        seconds: i32,
    },
    /// Rows of a table are there after they were deleted.
    PurgeRowsStay(String),
    /// Lines that are no export, or not all of one.
    ExportDamaged(String),
    /// What keeps an export from being imported, a line for each reason.
    ImportRefused(String),
    /// Columns that name a user who is to be forgotten, and for which nothing is decided, a line for each.
    ForgettingUndecided {
        /// Its id.
        user: String,
        /// The lines.
        columns: String,
    },
    /// What keeps a user from being forgotten, a line for each reason.
    ForgettingBlocked {
        /// Its id.
        user: String,
        /// The lines.
        reasons: String,
    },
    /// Rows of a table name a user after they were deleted or changed.
    ForgottenRowsStay(String),
    /// A row of a tenant would lie in another region.
    RegionDiffers {
        /// The tenant's region.
        home: String,
        /// The table.
        table: String,
        /// The table's region.
        region: String,
    },
    /// A table states a region, and the context has several tenants.
    RegionOfSeveral(String),
    /// Rows that would lie elsewhere if a scope had another region, a line for each table and tenant.
    RegionRowsStay {
        /// Its slug.
        scope: String,
        /// The lines.
        reasons: String,
    },
    /// A scope of this level has no region.
    NoRegionAt(&'static str),
    /// A secret does not exist, or is not visible.
    NoSuchSecret(String),
    /// A secret where its value would be stored.
    SecretStored,
    /// A scope of this level has no secrets.
    NoSecretsAt(&'static str),
    /// No keyring or no master key is configured.
    KeyringUnset,
    /// The keyring or the master key is not what it must be, as a sentence.
    Keyring(String),
    /// The keyring lacks a key.
    NoSealingKey,
    /// A scope has as many keys in the keyring as it may.
    TooManyKeys,
    /// A sealed value does not open.
    SecretDamaged(String),
    /// An argument is NULL.
    Null(&'static str),
    /// An argument is invalid.
    BadArgument(String, &'static str),
    /// protect() refuses the table or an option.
    Refused(Refusal),
    /// The server's query interface failed.
    Spi(spi::Error),
    /// An error that SQL raises, by its kind, with the arguments of its texts.
    OfSql(Kind, Vec<String>),
    /// A state that should be impossible.
    Internal(&'static str),
}

/// The budget that has no room, with its amounts in attos.
#[derive(Debug)]
pub struct Exhausted {
    /// Its id.
    pub budget: uuid::Uuid,
    /// Its scope.
    pub scope: uuid::Uuid,
    /// Its metric; 0 for cost.
    pub metric: i32,
    /// The level of its scope.
    pub level: &'static str,
    /// Its period.
    pub period: &'static str,
    /// Whether it limits cost.
    pub cost: bool,
    /// The part of usage that it is for; `None`: all.
    pub part: Option<String>,
    /// The budget's amount.
    pub limit: i128,
    /// Usage of committed transactions.
    pub used: i128,
    /// Amounts of running transactions and reservations.
    pub in_flight: i128,
    /// How much of that credits covered.
    pub drawn: i128,
    /// Amount left in credits.
    pub credits: i128,
    /// The requested amount.
    pub requested: i128,
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
        let part = (self.part.as_ref()).map_or_else(String::new, |part| format!(" for {part}"));
        let begins =
            (self.resets.as_ref()).map_or_else(String::new, |at| format!(" It resets at {at}."));
        format!(
            "Asked for {}{of}{part}; of {} ({}){on_top}, {} are used, {} in flight and {} left.{begins}",
            number(self.requested),
            number(self.limit),
            self.period,
            number(self.used),
            number(self.in_flight),
            number(room + self.credits),
        )
    }
}

/// The value of a rate limit that has too little left.
#[derive(Debug)]
pub struct RateExhausted {
    /// The limit.
    pub limit: String,
    /// The level.
    pub level: &'static str,
    /// How much in the time.
    pub amount: i64,
    /// How much at once.
    pub burst: i64,
    /// The time.
    pub per: &'static str,
    /// The requested amount.
    pub cost: i64,
    /// What it has left.
    pub left: u64,
    /// After which time the request fits; `None` for never.
    pub retry: Option<Length>,
}

impl RateExhausted {
    fn parts(&self) -> (Kind, Vec<String>) {
        let Self {
            limit,
            level,
            amount,
            burst,
            per,
            cost,
            left,
            retry,
        } = self;
        let rate = format!("{amount} per {per}, at most {burst} at once");
        match retry {
            Some(retry) => {
                let millis = retry.micros().saturating_add(999) / 1000;
                let (seconds, millis) = (millis / 1000, millis % 1000);
                let detail = format!(
                    "Asked for {cost}; of {rate}, {left} are left. Retry in {seconds}.{millis:03} seconds."
                );
                (
                    kind::rate_exhausted(),
                    strings([level, limit.as_str(), &detail]),
                )
            }
            None => (
                kind::rate_never_allows(),
                strings([level, limit.as_str(), &cost.to_string(), &rate]),
            ),
        }
    }
}

/// What a statement would store beyond a quota.
#[derive(Debug)]
pub struct QuotaExhausted {
    /// The quota.
    pub quota: String,
    /// The table.
    pub table: String,
    /// What it counts for: a level, or the value of a column.
    pub level: &'static str,
    /// The column and its value, of a quota for each value of a column.
    pub key: Option<(String, String)>,
    /// How much is stored.
    pub used: String,
    /// How much may be.
    pub allowed: String,
    /// How much the statement adds.
    pub asked: String,
}

impl QuotaExhausted {
    fn parts(&self) -> (Kind, Vec<String>) {
        let Self {
            quota,
            table,
            level,
            key,
            used,
            allowed,
            asked,
        } = self;
        let within = match key {
            Some((column, value)) => format!(" with {column} = {value}"),
            None => String::new(),
        };
        let detail =
            format!("{used} of {allowed} are stored{within}, and the statement adds {asked}.");
        (
            kind::quota_exhausted(),
            strings([level, quota.as_str(), table.as_str(), &detail]),
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
            Self::NoSuchFeature(name) => (kind::feature_not_found(), strings([name])),
            Self::NoSuchSetting(name) => (kind::setting_not_found(), strings([name])),
            Self::NotBoolean(name) => (kind::feature_not_boolean(), strings([name])),
            Self::TenantBusy(most) => (kind::tenant_busy(), strings([most])),
            Self::WrongValue { path, what } => (kind::value_invalid(), strings([path, what])),
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
            Self::IsolatingColumnType { column, table } => {
                (kind::isolating_column_type(), strings([column, table]))
            }
            Self::NeedsMaintenance(statement) => (kind::maintenance_needed(), strings([statement])),
            Self::WouldOpen(table) => (kind::drop_opens_table(), strings([table])),
            Self::NotOneTenant(tenants) => (kind::tenant_needed(), strings([tenants])),
            Self::ContextChanged => (kind::context_changed(), vec![]),
            Self::PlannedForAnother => (kind::planned_for_another_tenant(), vec![]),
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
            Self::InvalidCredential | Self::TokenRefused(..) => {
                (kind::invalid_credential(), vec![])
            }
            Self::Expired => (kind::context_expired(), vec![]),
            Self::Inactive => (kind::access_inactive(), vec![]),
            Self::WrongNetwork => (kind::address_not_allowed(), vec![]),
            Self::LoginPolicy(of, asks) => (kind::login_policy_unmet(), strings([of, asks])),
            Self::NoHumanKeys => (kind::human_api_key(), vec![]),
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
            Self::NoPrice { metric, dimensions } => {
                let each = dimensions.iter().map(|(name, value)| match value {
                    Some(value) => format!("the {name} \"{value}\""),
                    None => format!("usage without a {name}"),
                });
                let value = match dimensions.is_empty() {
                    true => "this time".to_owned(),
                    false => each.collect::<Vec<_>>().join(" and "),
                };
                (kind::price_unknown(), strings([metric, &value]))
            }
            Self::OfElement(_, error) => error.parts(),
            Self::KeyReused(what, fields) => (
                kind::idempotency_key_reused(),
                strings([*what, fields.as_str()]),
            ),
            Self::NoSuchEvent => (kind::event_not_found(), vec![]),
            Self::EventVoided => (kind::event_voided(), vec![]),
            Self::NotVoidable(reason) => (kind::event_not_voidable(), strings([reason])),
            Self::PeriodClosed => (kind::period_closed(), vec![]),
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
            Self::RateExhausted(exhausted) => exhausted.parts(),
            Self::QuotaExhausted(exhausted) => exhausted.parts(),
            Self::QuotaOverflow { quota, table } => (
                kind::quota_overflow(),
                strings([quota.as_str(), table.as_str()]),
            ),
            Self::QuotaKeyTooLong {
                column,
                table,
                quota,
            } => (
                kind::quota_key_too_long(),
                strings([column.as_str(), table.as_str(), quota.as_str()]),
            ),
            Self::NoSuchQuota { table, quota } => (
                kind::quota_not_found(),
                strings([table.as_str(), quota.as_str()]),
            ),
            Self::QuotaColumnMissing {
                column,
                table,
                quota,
            } => (
                kind::quota_column_missing(),
                strings([column.as_str(), table.as_str(), quota.as_str()]),
            ),
            Self::RatesFull => (kind::rates_full(), vec![]),
            Self::SlotsExhausted {
                limit,
                level,
                most,
                held,
            } => (
                kind::slots_exhausted(),
                strings([*level, limit, &held.to_string(), &most.to_string()]),
            ),
            Self::SlotsFull => (kind::slots_full(), vec![]),
            Self::SlotsPooled => (kind::session_slot_behind_pool(), vec![]),
            Self::SlotsPrepared => (kind::prepared_slots(), vec![]),
            Self::NoSuchLimit(limit) => (kind::limit_not_found(), strings([limit])),
            Self::LimitOfOtherKind {
                limit,
                kind,
                function,
            } => (
                kind::limit_of_other_kind(),
                strings([limit.as_str(), kind, function]),
            ),
            Self::UsePrepared => (kind::prepared_usage(), vec![]),
            Self::ManagedPrepared => (kind::prepared_management(), vec![]),
            Self::OnStandby => (kind::usage_on_standby(), vec![]),
            Self::ReservationOver(state) => (kind::reservation_closed(), strings([state])),
            Self::NoSuch(object) => (kind::object_not_found(), strings([object])),
            Self::NoSuchReservation => (kind::reservation_not_found(), vec![]),
            Self::RoleTaken(role) => (kind::role_name_reserved(), strings([role])),
            Self::AmbiguousSlug(slug) => (kind::slug_ambiguous(), strings([slug])),
            Self::AmbiguousKey { key, table } => (kind::ambiguous_key(), strings([key, table])),
            Self::KeysMeanwhile => (kind::keys_meanwhile(), vec![]),
            Self::LeftOpen { table, reasons } => (kind::left_open(), strings([table, reasons])),
            Self::GrantedOpen { table, reasons } => {
                (kind::granted_open(), strings([table, reasons]))
            }
            Self::WatchEnds(schema) => (kind::watch_ends(), strings([schema])),
            Self::NoParent(table) => (kind::parent_missing(), strings([table])),
            Self::MovesAlone {
                table,
                child,
                serializable,
            } => {
                let kind = match serializable {
                    true => kind::moved_meanwhile(),
                    false => kind::moves_alone(),
                };
                (kind, strings([table, child]))
            }
            Self::NoTenantKey { column, table } => {
                (kind::tenant_column_missing(), strings([column, table]))
            }
            Self::AdoptInTransaction => (kind::adopt_in_transaction(), vec![]),
            Self::RunsAlready { what, process } => (
                kind::runs_already(),
                strings([what.to_string(), process.to_string()]),
            ),
            Self::AdoptWaits(table) => (kind::adopt_waits(), strings([table])),
            Self::AdoptionBlocked(reasons) => (kind::adoption_blocked(), strings([reasons])),
            Self::UnadoptionBlocked(reasons) => (kind::unadoption_blocked(), strings([reasons])),
            Self::NotATenant { scope, level } => {
                (kind::not_a_tenant(), strings([scope.as_str(), level]))
            }
            Self::PurgeBlocked { tenant, reasons } => {
                (kind::purge_blocked(), strings([tenant, reasons]))
            }
            Self::MoveBlocked { tenant, reasons } => {
                (kind::move_blocked(), strings([tenant, reasons]))
            }
            Self::MoveSubscribed(slot) => (kind::move_subscribed(), strings([slot])),
            Self::MoveTooSlow { tenant, seconds } => (
                kind::move_too_slow(),
                strings([tenant.clone(), seconds.to_string()]),
            ),
            Self::ExportDamaged(fault) => (kind::export_damaged(), strings([fault])),
            Self::ImportRefused(reasons) => (kind::import_refused(), strings([reasons])),
            Self::PurgeRowsStay(table) => (kind::purge_rows_stay(), strings([table])),
            Self::ForgettingUndecided { user, columns } => {
                (kind::forgetting_undecided(), strings([user, columns]))
            }
            Self::ForgettingBlocked { user, reasons } => {
                (kind::forgetting_blocked(), strings([user, reasons]))
            }
            Self::ForgottenRowsStay(table) => (kind::forgotten_rows_stay(), strings([table])),
            Self::RegionDiffers {
                home,
                table,
                region,
            } => (kind::region_differs(), strings([home, table, region])),
            Self::RegionOfSeveral(table) => (kind::region_of_several(), strings([table])),
            Self::RegionRowsStay { scope, reasons } => {
                (kind::region_rows_stay(), strings([scope, reasons]))
            }
            Self::NoRegionAt(level) => (kind::level_without_region(), strings([level])),
            Self::NoSuchSecret(secret) => (kind::secret_not_found(), strings([secret])),
            Self::SecretStored => (kind::secret_stored(), vec![]),
            Self::NoSecretsAt(level) => (kind::level_without_secrets(), strings([level])),
            Self::KeyringUnset => (kind::keyring_not_set(), vec![]),
            Self::Keyring(fault) => (kind::keyring_unusable(), strings([fault])),
            Self::NoSealingKey => (kind::secret_key_missing(), vec![]),
            Self::TooManyKeys => (kind::too_many_sealing_keys(), vec![]),
            Self::SecretDamaged(secret) => (kind::secret_damaged(), strings([secret])),
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
