//! The settings `tenancy.reservations_*`. Only superusers may change them: a limited role must not raise its limit.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

static PER_USER: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static PER_TENANT: GucSetting<i32> = GucSetting::<i32>::new(100_000);

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
