//! Prints the table of results.

use std::fmt::Write;

use crate::config::Config;
use crate::plans::Plan;
use crate::setup::World;

/// The limit of a ratio.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// Tenancy's time over the other's, at most.
    AtMost(f64),
    /// Tenancy's transactions per second over the other's, at least.
    Tps(f64),
    /// The milliseconds that tenancy takes more than the other, at most.
    Adds(f64),
    /// The other's time over tenancy's, at least.
    Faster(f64),
    /// No target: it is stated.
    Stated,
    /// The same, as how many times as fast tenancy is.
    Speed,
}

struct Row {
    what: String,
    hand: String,
    tenancy: String,
    ratio: String,
    wanted: String,
    plan: &'static str,
    verdict: &'static str,
}

/// All rows, as they come.
pub struct Report {
    head: String,
    rows: Vec<Row>,
    stated: Vec<String>,
    plans: bool,
    details: String,
}

impl Report {
    /// Creates an empty report.
    pub fn new(config: &Config, world: &World) -> Self {
        Self {
            head: if config.many {
                format!(
                    "{}; clients and server on all CPUs; parallel query and JIT off, rolling up measured by itself\n\
                     medians of interleaved rounds, prepared statements, a transaction is one statement and its commit on the disk\n\
                     a time is that of all clients together for one transaction; ratio: tenancy's over the hand-written one's, \
                     and its inverse where at least (≥) is wanted\n",
                    world.server
                )
            } else {
                format!(
                    "{}; tables of {} rows, 1,000 and 20,000 tenants in random order; parallel query, JIT and autovacuum off\n\
                     medians of interleaved rounds, one connection a side, prepared statements; both sides must return the same rows\n\
                     ratio: tenancy's time over the hand-written one's, and its inverse where at least (≥) is wanted\n",
                    world.server,
                    grouped(config.rows)
                )
            },
            rows: Vec::new(),
            stated: Vec::new(),
            plans: config.plans,
            details: String::new(),
        }
    }

    /// Adds a measured pair, in milliseconds, and whether both plans have the same nodes.
    pub fn compare(
        &mut self,
        what: &str,
        [hand, tenancy]: [f64; 2],
        wanted: Wanted,
        plans: Option<[Plan; 2]>,
    ) {
        let (ratio, text, ok) = match wanted {
            Wanted::AtMost(most) => (
                tenancy / hand,
                format!("≤ {most:.2}"),
                tenancy / hand <= most,
            ),
            Wanted::Tps(least) => (
                hand / tenancy,
                format!("≥ {least:.2} tps"),
                hand / tenancy >= least,
            ),
            Wanted::Adds(most) => (
                tenancy / hand,
                format!("+{:.2} ms, ≤ {most:.0}", tenancy - hand),
                tenancy - hand <= most,
            ),
            Wanted::Faster(least) => (
                hand / tenancy,
                format!("≥ {least:.2} faster"),
                hand / tenancy >= least,
            ),
            Wanted::Stated => (tenancy / hand, "stated".to_owned(), true),
            Wanted::Speed => (hand / tenancy, "stated, as speed".to_owned(), true),
        };
        let same = plans
            .as_ref()
            .map(|[hand, tenancy]| hand.shape() == tenancy.shape());
        self.push(Row {
            what: what.to_owned(),
            hand: milliseconds(hand),
            tenancy: milliseconds(tenancy),
            ratio: format!("{ratio:.2}"),
            wanted: text,
            plan: match same {
                None => "",
                Some(true) => "same",
                Some(false) => "differs",
            },
            verdict: match (wanted, ok) {
                (Wanted::Stated | Wanted::Speed, _) => "",
                (_, true) => "ok",
                (_, false) => "MISSED",
            },
        });
        if let Some([hand, tenancy]) = plans
            && (self.plans || same == Some(false))
        {
            self.detail(what, &hand, &tenancy);
        }
    }

    /// Adds the plans of a measurement that has no row of its own.
    pub fn plans(&mut self, what: &str, [hand, tenancy]: [Plan; 2]) {
        if self.plans {
            self.detail(what, &hand, &tenancy);
        }
    }

    fn detail(&mut self, what: &str, hand: &Plan, tenancy: &Plan) {
        let _ = write!(
            self.details,
            "\n{what}\n  hand-written\n{}  tenancy\n{}",
            hand.text(),
            tenancy.text()
        );
    }

    /// Figures without another side.
    pub fn state(&mut self, what: &str, figures: &[String]) {
        let line = format!("{what}: {}", figures.join(", "));
        eprintln!("  {line}");
        self.stated.push(line);
    }

    fn push(&mut self, row: Row) {
        eprintln!(
            "  {}: {} {} {} {}",
            row.what, row.hand, row.tenancy, row.ratio, row.verdict
        );
        self.rows.push(row);
    }

    /// Returns how many targets were missed.
    pub fn missed(&self) -> usize {
        self.rows
            .iter()
            .filter(|row| row.verdict == "MISSED")
            .count()
    }

    /// Returns the table and, if requested or needed, the plans.
    pub fn text(&self) -> String {
        let mut text = String::from("\n");
        text.push_str(&self.head);
        let titles = ["", "hand-written", "tenancy", "ratio", "wanted", "plan", ""];
        let mut lines = vec![titles.map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            [
                row.what.clone(),
                row.hand.clone(),
                row.tenancy.clone(),
                row.ratio.clone(),
                row.wanted.clone(),
                row.plan.to_owned(),
                row.verdict.to_owned(),
            ]
        }));
        let widths: Vec<usize> = (0..titles.len())
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for (n, line) in lines.iter().enumerate() {
            let mut out = String::new();
            for (column, cell) in line.iter().enumerate() {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                // Figures to the right, words to the left.
                let cell = if (1..=3).contains(&column) {
                    format!("{pad}{cell}")
                } else {
                    format!("{cell}{pad}")
                };
                let _ = write!(out, "{cell}  ");
            }
            let _ = writeln!(text, "{}", out.trim_end());
            if n == 0 {
                let _ = writeln!(
                    text,
                    "{}",
                    "─".repeat(widths.iter().sum::<usize>() + 2 * widths.len())
                );
            }
        }
        for line in &self.stated {
            let _ = writeln!(text, "{line}");
        }
        let targets = self
            .rows
            .iter()
            .filter(|row| !row.verdict.is_empty())
            .count();
        let _ = writeln!(
            text,
            "\n{} of {targets} targets met",
            targets - self.missed()
        );
        text.push_str(&self.details);
        text
    }
}

/// Formats a time with its significant digits.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 0.01 => format!("{:.2} µs", ms * 1e3),
        ms if ms < 1.0 => format!("{ms:.4} ms"),
        ms if ms < 100.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

/// Formats 1000000 as 1,000,000.
pub fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
