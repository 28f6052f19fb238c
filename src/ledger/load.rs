//! Sums the committed rows of an account, without this transaction's own usage, which counts when it commits.
//! Reservations and draws from credits are read with this transaction's changes.

use pgrx::datum::DatumWithOid;
use pgrx::spi::SpiTupleTable;
use tenancy_core::ledger::{Account, Counted, Part, Per, Span, Traits};
use uuid::Uuid;

use crate::error::Error;
use crate::pg::uuid::pg_uuid;
use crate::pg::{ledger, spi};

/// The rows that the account of a part counts: its name does not tell.
pub struct PartRows {
    scope: Uuid,
    counted: Counted,
    /// As used_of() reads it.
    filter: serde_json::Value,
}

impl PartRows {
    /// Returns the rows of the part, or of one of its members, that usage counts in.
    pub fn new(scope: Uuid, counted: Counted, part: &Part, usage: &Traits<'_>) -> Self {
        let mut dimensions = part.dimensions().clone();
        let mut filter = serde_json::Map::new();
        if let Some(key) = part.api_key() {
            filter.insert("api_key".to_owned(), key.to_string().into());
        }
        match (part.per(), part.value_of(usage)) {
            (Some(Per::Dimension(name)), Some(value)) => {
                dimensions.insert(name.clone(), value);
            }
            (Some(level), Some(value)) => {
                filter.insert(level.as_str().to_owned(), value.into());
            }
            _ => {}
        }
        if !dimensions.is_empty() {
            let dimensions = dimensions.into_iter();
            let dimensions = dimensions.map(|(name, value)| (name, serde_json::Value::from(value)));
            filter.insert("dimensions".to_owned(), dimensions.collect());
        }
        Self {
            scope,
            counted,
            filter: filter.into(),
        }
    }
}

/// Loads an account's period into the ledger.
pub fn load(account: &Account, span: &Span, part: Option<&PartRows>) -> Result<(), Error> {
    ledger::load(account, span, |snapshot| {
        let (query, args) = question(account, span, part)?;
        spi::select_at_snapshot(snapshot, query, &args, sums)
    })
}

/// Reads used and reserved amounts from rows, where the ledger cannot be used.
pub fn read(
    account: &Account,
    span: &Span,
    part: Option<&PartRows>,
) -> Result<(i128, i128), Error> {
    let (query, args) = question(account, span, part)?;
    spi::read(query, &args, sums)
}

/// A query and its arguments.
type Question = (&'static str, Vec<DatumWithOid<'static>>);

fn question(account: &Account, span: &Span, part: Option<&PartRows>) -> Result<Question, Error> {
    let (mut of, mut counted) = (pgrx::Uuid::from_bytes(account.scope), account.counted());
    let mut filter = None;
    let query = match counted {
        Counted::PartOfCost | Counted::Part(_) => {
            let part = part.ok_or(Error::Internal("a part of usage without its rows"))?;
            (of, counted) = (pg_uuid(part.scope), part.counted);
            filter = Some(pgrx::JsonB(part.filter.clone()));
            "SELECT used, reserved FROM tenancy_internal.used_of($1, $2, $3, $4, $5)"
        }
        Counted::Covered | Counted::Drawn => {
            "SELECT used, reserved FROM tenancy_internal.drawn_of($1, $2, $3, $4)"
        }
        Counted::Open => "SELECT used, reserved FROM tenancy_internal.open_of($1, $2, $3, $4)",
        Counted::Cost | Counted::Metric(_) => {
            "SELECT used, reserved FROM tenancy_internal.used_of($1, $2, $3, $4)"
        }
    };
    let mut args = vec![
        of.into(),
        counted.number().into(),
        span.start.unix_micros().into(),
        span.end.unix_micros().into(),
    ];
    args.extend(filter.map(DatumWithOid::from));
    Ok((query, args))
}

/// Reads a whole number of attos. What is larger than the ledger counts is the largest number.
pub fn attos_of(text: &str) -> Result<i128, Error> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse()
        .or_else(|error: std::num::ParseIntError| match error.kind() {
            PosOverflow => Ok(i128::MAX),
            NegOverflow => Ok(i128::MIN),
            _ => Err(Error::Internal("a number of attos")),
        })
}

fn sums(rows: SpiTupleTable<'_>) -> Result<(i128, i128), Error> {
    let row = rows.first();
    let number = |text: Option<String>| {
        let text = text.ok_or(Error::Internal("a sum of usage"))?;
        attos_of(&text)
    };
    Ok((number(row.get(1)?)?, number(row.get(2)?)?))
}
