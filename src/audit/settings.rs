//! The settings `tenancy.audit_*`. Only superusers may change them: audited roles must not choose what is audited.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use tenancy_core::time::Length;

/// Which logins are recorded.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Logins {
    /// None.
    #[name = c"off"]
    Off,
    /// Failed logins.
    #[name = c"failures"]
    Failures,
    /// All logins, counted: one entry for each user, credential and address in an interval.
    #[name = c"aggregate"]
    Aggregate,
    /// Each successful login in its own entry; failures are counted.
    #[name = c"each"]
    Each,
}

static LOGINS: GucSetting<Logins> = GucSetting::<Logins>::new(Logins::Aggregate);
static LOGIN_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(3600);
static SEAL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(10);
static RETENTION: GucSetting<i32> = GucSetting::<i32>::new(0);

/// Defines the settings, before the prefix is reserved.
pub fn init() {
    GucRegistry::define_enum_guc(
        c"tenancy.audit_logins",
        c"Which logins the audit log records: off, failures, aggregate or each.",
        c"The worker writes the entries; a login itself writes nothing.",
        &LOGINS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"tenancy.audit_login_interval",
        c"How long successful logins are counted before an entry is written.",
        c"",
        &LOGIN_INTERVAL,
        1,
        24 * 3600,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"tenancy.audit_seal_interval",
        c"How often new entries of the audit log are sealed.",
        c"",
        &SEAL_INTERVAL,
        1,
        3600,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"tenancy.audit_retention",
        c"After how many days a sealed month of the audit log is dropped; 0 is never.",
        c"",
        &RETENTION,
        0,
        36_500,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Returns which logins are recorded.
pub fn logins() -> Logins {
    LOGINS.get()
}

/// Returns how long successful logins are counted.
pub fn login_interval() -> Length {
    Length::from_seconds(LOGIN_INTERVAL.get().into())
}

/// Returns how often entries are sealed.
pub fn seal_interval() -> Duration {
    Length::from_seconds(SEAL_INTERVAL.get().into()).into()
}

/// Returns after how many days a month is dropped; 0 is never.
pub fn retention() -> i32 {
    RETENTION.get()
}
