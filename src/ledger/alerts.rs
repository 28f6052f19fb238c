//! The worker's alerts of budgets.

use tenancy_core::time::Instant;

use super::settings;
use crate::error::Error;
use crate::pg::refusals::{self, Refusals};
use crate::pg::spi::{self, NotNull};

/// Records which budgets have reached a threshold, each once a period.
pub fn alert() -> Result<(), Error> {
    spi::write("SELECT tenancy_internal.raise_alerts()", &[]).map(drop)
}

/// Returns when an alert is due that a budget refuses requests; `None` if none is.
pub fn refusals_due() -> Option<Instant> {
    refusals::due()
}

/// Each count that was seen, whether it was written, and when the next may be.
pub struct Told(Vec<(Refusals, bool, Instant)>);

impl Told {
    /// Notes that the alerts were committed.
    pub fn committed(&self) {
        for (counted, written, until) in &self.0 {
            refusals::rest(counted, *written, *until);
        }
    }
}

/// Records what budgets refused, each at most once an interval.
pub fn alert_refusals() -> Result<Told, Error> {
    let every = settings::refusal_alert_interval();
    let told = refusals::pending().into_iter().map(|counted| {
        spi::write_returning(
            "SELECT r.written, (extract(epoch FROM r.rests_until) * 1000000)::bigint \
             FROM tenancy_internal.raise_refusals($1, $2, $3, $4, $5, to_timestamp($6::double precision / 1000000), $7) r",
            &[
                pgrx::Uuid::from_bytes(counted.budget).into(),
                pgrx::Uuid::from_bytes(counted.scope).into(),
                counted.metric.into(),
                counted.amount.into(),
                i64::try_from(counted.count).unwrap_or(i64::MAX).into(),
                counted.first.unix_micros().into(),
                every.into(),
            ],
            |rows| {
                let row = rows.first();
                let until = Instant::from_unix_micros(row.not_null(2)?);
                Ok((counted, row.not_null(1)?, until))
            },
        )
    });
    told.collect::<Result<Vec<_>, Error>>().map(Told)
}
