//! The rules of metering, for SQL.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use tenancy_core::ledger::Span;
use tenancy_core::metric::{
    Aggregation, MetricError, check_dimensions, check_name, check_unit, dimension_value,
};
use tenancy_core::period::{NoEdges, Period, anchored, edges, period};
use tenancy_core::rollup_plan::{Grain, cover_all};
use tenancy_core::time::Instant;

use crate::error::{Error, ErrorReport};
use crate::pg::zone::ServerZone;
use crate::pg::{bounded, time};

fn refused(fault: MetricError) -> Error {
    let hint = match fault {
        MetricError::Name(_) | MetricError::Dimension(_) | MetricError::Twice(_) => {
            "A name has up to 63 of a-z, 0-9, _ and . after a letter, as in llm.tokens. A dimension must not have the name of a level of the tree, or be api_key."
        }
        MetricError::Aggregation(_) => "Use sum, max, count or distinct.",
        _ => "For example tokens, GB or requests.",
    };
    Error::bad(fault, hint)
}

/// Returns true, or raises an error with the reason if a metric is invalid.
#[pg_extern(sql = false)]
fn _check_metric(
    name: Option<&str>,
    unit: Option<&str>,
    aggregation: Option<&str>,
    dimensions: Option<bounded::Texts>,
    distinct_of: Option<&str>,
) -> Result<bool, ErrorReport> {
    check_name(name.ok_or(Error::Null("name"))?).map_err(refused)?;
    check_unit(unit.ok_or(Error::Null("unit"))?).map_err(refused)?;
    let aggregation: Aggregation = aggregation
        .ok_or(Error::Null("aggregation"))?
        .parse()
        .map_err(refused)?;
    let dimensions: Vec<String> = dimensions
        .ok_or(Error::Null("dimensions"))?
        .0
        .into_iter()
        .map(|name| name.ok_or(Error::Null("a dimension")))
        .collect::<Result<_, _>>()?;
    check_dimensions(&dimensions).map_err(refused)?;
    if let Some(of) = distinct_of {
        if aggregation != Aggregation::Distinct {
            Err(Error::bad(
                "distinct_of is for metrics that count distinct values",
                "Leave it out, or make aggregation distinct.",
            ))?;
        }
        check_dimensions(&[of.to_owned()]).map_err(refused)?;
    }
    Ok(true)
}

/// Returns a value of a dimension as the text that events have.
#[pg_extern(sql = false)]
fn _dimension_text(name: &str, value: bounded::Json) -> Result<Option<String>, ErrorReport> {
    let text = dimension_value(name, Some(&value.0));
    Ok(text.map_err(|fault| Error::bad(fault, "For example {\"model\": \"large\"}."))?)
}

/// Returns the rollups that spans of time are read from.
#[pg_extern(sql = false)]
fn _cover(
    edges: Vec<TimestampWithTimeZone>,
    coarsest: &str,
) -> TableIterator<
    'static,
    (
        name!(grain, &'static str),
        name!(lo, TimestampWithTimeZone),
        name!(hi, TimestampWithTimeZone),
    ),
> {
    let coarsest = if coarsest == Grain::Quarter.as_str() {
        Grain::Quarter
    } else {
        Grain::Day
    };
    let edges = edges.into_iter().map(|at| time::from_server(at.into()));
    let edges: Vec<Instant> = edges.collect();
    let pieces = cover_all(&edges, coarsest);
    TableIterator::new(pieces.into_iter().filter_map(|piece| {
        Some((
            piece.grain.as_str(),
            time::timestamp(piece.from)?,
            time::timestamp(piece.to)?,
        ))
    }))
}

fn kind_of(text: &str) -> Result<Period, Error> {
    text.parse().map_err(|_| {
        Error::bad(
            "not a period",
            "Use hour, day, week, month, quarter, year or total.",
        )
    })
}

fn zone_of(name: &str) -> Result<ServerZone, Error> {
    ServerZone::named(name).ok_or(Error::NoPeriod)
}

/// Returns the period of a time zone that contains an instant, in microseconds of the Unix epoch.
#[pg_extern(sql = false)]
fn _period(
    period: &str,
    zone: &str,
    unix_micros: i64,
) -> Result<TableIterator<'static, (name!(lo, i64), name!(hi, i64))>, ErrorReport> {
    let (kind, zone) = (kind_of(period)?, zone_of(zone)?);
    let at = Instant::from_unix_micros(unix_micros);
    let span = self::period(kind, &zone, at).ok_or(Error::NoPeriod)?;
    Ok(TableIterator::once((
        span.start.unix_micros(),
        span.end.unix_micros(),
    )))
}

/// Does the same with an anchor.
#[pg_extern(sql = false)]
fn _anchored_period(
    period: Option<&str>,
    zone: Option<&str>,
    unix_micros: Option<i64>,
    anchor: Option<TimestampWithTimeZone>,
) -> Result<TableIterator<'static, (name!(lo, i64), name!(hi, i64))>, ErrorReport> {
    let (Some(period), Some(zone), Some(at)) = (period, zone, unix_micros) else {
        return Ok(TableIterator::new(std::iter::empty()));
    };
    let kind: Period = period.parse().map_err(|_| Error::NoPeriod)?;
    let anchor = anchor.map(|anchor| time::from_server(anchor.into()));
    let at = Instant::from_unix_micros(at);
    let span = anchored(kind, anchor, &zone_of(zone)?, at).ok_or(Error::NoPeriod)?;
    let span = (span.start.unix_micros(), span.end.unix_micros());
    Ok(TableIterator::new(std::iter::once(span)))
}

/// The maximum number of buckets of a result.
const BUCKETS_MAX: usize = 100_000;

/// Returns the first instants of the periods in a span of time, and of the period after them.
#[pg_extern(sql = false)]
fn _bucket_edges(
    since: TimestampWithTimeZone,
    until: TimestampWithTimeZone,
    bucket: &str,
    zone: &str,
) -> Result<Vec<TimestampWithTimeZone>, ErrorReport> {
    let (kind, zone) = (kind_of(bucket)?, zone_of(zone)?);
    let span = Span {
        start: time::from_server(since.into()),
        end: time::from_server(until.into()),
    };
    let edges = edges(kind, &zone, span, BUCKETS_MAX).map_err(|why| match why {
        NoEdges::Unknown => Error::NoPeriod,
        NoEdges::TooMany => Error::bad(
            "there would be more than 100000 buckets",
            "Pass since and until, or a longer bucket.",
        ),
    })?;
    let edges = edges.into_iter().map(time::timestamp);
    Ok(edges.collect::<Option<_>>().ok_or(Error::NoPeriod)?)
}
