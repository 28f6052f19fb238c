//! The settings `tenancy.usage_*`.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use tenancy_core::time::Length;

static LATE: GucSetting<i32> = GucSetting::<i32>::new(35);
static KEY_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(35);
static RETENTION: GucSetting<i32> = GucSetting::<i32>::new(0);
static ROLLUP_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(5);

/// Defines the settings, before the prefix is reserved.
pub fn init() {
    let days = |name, short, setting, least| {
        GucRegistry::define_int_guc(
            name,
            short,
            c"",
            setting,
            least,
            36_500,
            GucContext::Suset,
            GucFlags::default(),
        );
    };
    days(
        c"tenancy.usage_late",
        c"How many days late usage can be recorded.",
        &LATE,
        0,
    );
    days(
        c"tenancy.usage_key_retention",
        c"For how many days an idempotency key is remembered.",
        &KEY_RETENTION,
        1,
    );
    days(
        c"tenancy.usage_retention",
        c"After how many days a rolled-up month of usage events is dropped; 0 is never.",
        &RETENTION,
        0,
    );
    GucRegistry::define_int_guc(
        c"tenancy.usage_rollup_interval",
        c"How often new usage events are rolled up.",
        c"",
        &ROLLUP_INTERVAL,
        1,
        3600,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
}

/// Returns how late an event may be recorded.
pub fn late() -> Length {
    Length::from_days(LATE.get().into())
}

/// Returns for how many days an idempotency key is remembered.
pub fn key_retention() -> i32 {
    KEY_RETENTION.get()
}

/// Returns after how many days a month is dropped; 0 is never.
pub fn retention() -> i32 {
    RETENTION.get()
}

/// Returns how often events are rolled up.
pub fn rollup_interval() -> Duration {
    Length::from_seconds(ROLLUP_INTERVAL.get().into()).into()
}
