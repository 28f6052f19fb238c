//! The settings `tenancy.reservations_*` and `tenancy.refusal_alert_interval`. Only superusers may change them: a limited role must not raise its limit.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

static PER_USER: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static PER_TENANT: GucSetting<i32> = GucSetting::<i32>::new(100_000);
static REFUSAL_ALERT_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(3600);

/// Defines the settings, before the prefix is reserved.
pub fn init() {
    let most = |name, short, setting| {
        GucRegistry::define_int_guc(
            name,
            short,
            c"0 is no limit.",
            setting,
            0,
            i32::MAX,
            GucContext::Suset,
            GucFlags::default(),
        );
    };
    most(
        c"tenancy.reservations_per_user",
        c"How many reservations of one user may be open.",
        &PER_USER,
    );
    most(
        c"tenancy.reservations_per_tenant",
        c"How many reservations of one tenant may be open.",
        &PER_TENANT,
    );
    GucRegistry::define_int_guc(
        c"tenancy.refusal_alert_interval",
        c"How often an alert tells that a budget refuses requests, at most.",
        c"",
        &REFUSAL_ALERT_INTERVAL,
        1,
        86_400,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    crate::pg::refusals::init();
}

/// Returns how many seconds lie between two alerts that a budget refuses requests, at least.
pub fn refusal_alert_interval() -> i32 {
    REFUSAL_ALERT_INTERVAL.get()
}

/// Returns how many reservations of one user may be open; `None` is no limit.
pub fn reservations_per_user() -> Option<i64> {
    limit(&PER_USER)
}

/// Returns how many reservations of one tenant may be open; `None` is no limit.
pub fn reservations_per_tenant() -> Option<i64> {
    limit(&PER_TENANT)
}

fn limit(setting: &GucSetting<i32>) -> Option<i64> {
    Some(i64::from(setting.get())).filter(|most| *most > 0)
}
