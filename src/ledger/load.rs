//! Sums the committed rows of an account, without this transaction's own usage, which counts when it commits.
//! Reservations and draws from credits are read with this transaction's changes.

use pgrx::datum::DatumWithOid;
use pgrx::spi::SpiTupleTable;
use tenancy_core::ledger::{Account, Counted, Span};

use crate::error::Error;
use crate::pg::{ledger, spi};

/// Loads an account's period into the ledger.
pub fn load(account: &Account, span: &Span) -> Result<(), Error> {
    ledger::load(account, span, |snapshot| {
        let (query, args) = question(account, span);
        spi::select_at_snapshot(snapshot, query, &args, sums)
    })
}

/// Reads used and reserved amounts from rows, where the ledger cannot be used.
pub fn read(account: &Account, span: &Span) -> Result<(i128, i128), Error> {
    let (query, args) = question(account, span);
    spi::read(query, &args, sums)
}

fn question(account: &Account, span: &Span) -> (&'static str, [DatumWithOid<'static>; 4]) {
    let query = match account.counted() {
        Counted::Covered | Counted::Drawn => {
            "SELECT used, reserved FROM tenancy_internal.drawn_of($1, $2, $3, $4)"
        }
        Counted::Open => "SELECT used, reserved FROM tenancy_internal.open_of($1, $2, $3, $4)",
        Counted::Cost | Counted::Metric(_) => {
            "SELECT used, reserved FROM tenancy_internal.used_of($1, $2, $3, $4)"
        }
    };
    let args = [
        pgrx::Uuid::from_bytes(account.scope).into(),
        account.counted().number().into(),
        span.start.unix_micros().into(),
        span.end.unix_micros().into(),
    ];
    (query, args)
}

fn sums(rows: SpiTupleTable<'_>) -> Result<(i128, i128), Error> {
    let row = rows.first();
    let number = |text: Option<String>| {
        text.and_then(|text| text.parse().ok())
            .ok_or(Error::Internal("a sum of usage"))
    };
    Ok((number(row.get(1)?)?, number(row.get(2)?)?))
}
