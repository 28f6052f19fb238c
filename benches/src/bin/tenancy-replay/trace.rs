//! The trace: a CSV file with the time, the context tokens and the generated tokens of each request.

use std::fs;
use std::path::Path;

use crate::{Counts, Fault};

/// The first line of a file.
const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Microseconds after the first one.
    pub at: u64,
    /// The tokens that it came with.
    pub context: i64,
    /// The tokens of the answer.
    pub generated: i64,
}

impl Request {
    /// Its counts.
    pub fn counts(&self) -> Counts {
        [1, self.context, self.generated]
    }
}

/// Reads a file, in the order of time.
pub fn read(file: &Path) -> Result<Vec<Request>, Fault> {
    let text = fs::read_to_string(file).map_err(|fault| format!("{}: {fault}", file.display()))?;
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some(HEADER) {
        return Err(format!("{}: the first line is not {HEADER}", file.display()).into());
    }
    let mut found = Vec::new();
    for (n, line) in lines.enumerate() {
        let row =
            row(line).ok_or_else(|| format!("{}, line {}: {line:?}", file.display(), n + 2))?;
        found.push(row);
    }
    found.sort_by_key(|(ticks, ..)| *ticks);
    let Some((first, ..)) = found.first().copied() else {
        return Err(format!("{}: there is no request in it", file.display()).into());
    };
    Ok(found
        .into_iter()
        .map(|(ticks, context, generated)| Request {
            at: (ticks - first) / 10,
            context,
            generated,
        })
        .collect())
}

/// Ticks of 100 ns, context, generated.
fn row(line: &str) -> Option<(u64, i64, i64)> {
    let mut fields = line.trim().split(',');
    let at = ticks(fields.next()?)?;
    let mut tokens = || {
        let tokens: i64 = fields.next()?.parse().ok()?;
        (0..=1_000_000_000).contains(&tokens).then_some(tokens)
    };
    let (context, generated) = (tokens()?, tokens()?);
    fields.next().is_none().then_some((at, context, generated))
}

/// `2023-11-16 18:15:46.6805900` in units of 100 ns since the year 0.
fn ticks(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(' ')?;
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let parts: Vec<u64> = text
            .split(by)
            .map(|p| p.parse().ok())
            .collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(seconds, ':')?;
    let fine = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (1..=9999).contains(&year)
        && hour < 24
        && minute < 60
        && second < 60
        && (1..=7).contains(&fraction.len());
    if !fine {
        return None;
    }
    // A year that begins in March has its leap day at its end.
    let (years, months) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day;
    let fraction: u64 = format!("{fraction:0<7}").parse().ok()?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 10_000_000 + fraction)
}
