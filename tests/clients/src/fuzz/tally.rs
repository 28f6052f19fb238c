//! Counts what the statements did: a fuzzer whose statements fail, or never reach a plan, tests nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::statement::Statement;

/// Kinds of plans, and a piece of EXPLAIN that each has.
pub const PLANS: [(&str, &str); 36] = [
    ("sequential scan", "Seq Scan on"),
    ("index scan", "Index Scan using"),
    ("index-only scan", "Index Only Scan"),
    ("bitmap scan", "Bitmap Heap Scan"),
    ("BitmapOr", "BitmapOr"),
    ("TID range scan", "Tid Range Scan"),
    ("sample scan", "Sample Scan"),
    ("parallel workers", "Gather"),
    ("nested loop", "Nested Loop"),
    ("hash join", "Hash Join"),
    ("merge join", "Merge Join"),
    ("left join", "Left Join"),
    ("full join", "Full Join"),
    ("semi join", "Semi Join"),
    ("anti join", "Anti Join"),
    ("append", "Append"),
    ("materialize", "Materialize"),
    ("initplan", "InitPlan"),
    ("subplan", "SubPlan"),
    ("hashed subplan", "hashed SubPlan"),
    ("common table expression", "CTE Scan"),
    ("recursive union", "Recursive Union"),
    ("set operation", "SetOp"),
    ("subquery scan", "Subquery Scan"),
    ("window", "WindowAgg"),
    ("aggregate", "Aggregate"),
    ("grouping sets", "MixedAggregate"),
    ("sort", "Sort"),
    ("unique", "Unique"),
    ("limit", "Limit"),
    ("row locks", "LockRows"),
    ("insert", "Insert on"),
    ("update", "Update on"),
    ("delete", "Delete on"),
    ("merge", "Merge on"),
    ("one-time filter", "One-Time Filter"),
];

/// Counts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Statements run.
    pub statements: u64,
    /// Statements that failed, in the same way on the tables and on the copy.
    pub errors: u64,
    /// Statements that their time limit stopped.
    pub timeouts: u64,
    /// Statements of which nothing is known, because a parallel worker was free for one side only.
    pub crowded: u64,
    /// Statements that behave by their plan, on the twin as on the tables.
    pub by_plan: u64,
    /// Statements that take longer than on the copy, since there are more rows to read.
    pub slow: u64,
    /// Statements that the twin has another plan for, so that nothing is known.
    pub unclear: u64,
    /// Statements that answered at least one row.
    pub with_rows: u64,
    /// Rows answered.
    pub rows: u64,
    /// Statements that wrote.
    pub writes: u64,
    /// Writes refused since their caller has several tenants and named none, or since they would count what it cannot see.
    pub refused: u64,
    /// Statements refused for want of a context.
    pub without_context: u64,
    /// Errors, how often each, and the last statement that had it.
    pub codes: BTreeMap<String, (u64, u64)>,
    /// The statements that behave by their plan, with their conditions.
    pub by_plan_kinds: BTreeMap<u64, String>,
    /// Seconds spent on plans, on the tables, on the copies, on twins.
    pub seconds: [f64; 4],
    /// The slowest statements, in milliseconds.
    pub slowest: BTreeSet<(u128, u64)>,
    /// Kinds of plans reached.
    pub plans: BTreeMap<&'static str, u64>,
    /// Kinds of conditions used.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Kinds of conditions that revealed something.
    pub told: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts the kinds of plans in an EXPLAIN.
    pub fn plan(&mut self, plan: &str) {
        let mut seen: BTreeSet<&'static str> = PLANS
            .iter()
            .filter(|(_, piece)| plan.contains(piece))
            .map(|(name, _)| *name)
            .collect();
        // An index searched by another table's column.
        if plan
            .lines()
            .any(|l| l.contains("Index Cond:") && has_alias(l))
        {
            seen.insert("parameterised index scan");
        }
        // An index searched by a condition that is not leakproof.
        let shown = [" @@ ", " ~~ ", " @> ", " && ", "cost "];
        if (plan.lines())
            .any(|l| l.contains("Index Cond:") && shown.iter().any(|by| l.contains(by)))
        {
            seen.insert("index search past a policy");
        }
        if plan.contains("BitmapAnd") {
            seen.insert("BitmapAnd");
        }
        if plan.contains("lossy=") {
            seen.insert("lossy bitmap");
        }
        if plan.contains("Index Scan Backward") || plan.contains("Index Only Scan Backward") {
            seen.insert("index scan backward");
        }
        for name in seen {
            *self.plans.entry(name).or_default() += 1;
        }
    }

    /// Keeps the slowest statements.
    pub fn took(&mut self, milliseconds: u128, number: u64) {
        self.slowest.insert((milliseconds, number));
        if self.slowest.len() > 8 {
            self.slowest.pop_first();
        }
    }

    /// Counts a difference that a plan explains or, if not `by_plan`, that another plan on the twin leaves open.
    pub fn explained(&mut self, statement: &Statement, how: &str, by_plan: bool) {
        let unclear = if by_plan { "" } else { "unclear: " };
        self.by_plan += u64::from(by_plan);
        self.unclear += u64::from(!by_plan);
        let text = format!("{unclear}{how}: {:?}", statement.kinds);
        self.by_plan_kinds.insert(statement.number, text);
    }

    /// The reasons why the run tested too little.
    pub fn defects(&self) -> Vec<String> {
        let mut all = vec![];
        let percent = |n: u64| 100 * n / self.statements.max(1);
        if percent(self.errors) > 20 {
            all.push(format!(
                "{} % of the statements are errors: {:?}",
                percent(self.errors),
                self.codes
            ));
        }
        if percent(self.timeouts + self.crowded) > 3 {
            all.push(format!(
                "{} % of the statements take too long",
                percent(self.timeouts)
            ));
        }
        if percent(self.by_plan) > 8 {
            all.push(format!(
                "{} % of the statements behave by their plan",
                percent(self.by_plan)
            ));
        }
        if percent(self.unclear) > 3 {
            all.push(format!(
                "{} % of the statements have another plan on the twin",
                percent(self.unclear)
            ));
        }
        if percent(self.with_rows) < 40 {
            all.push(format!(
                "only {} % of the statements answer rows",
                percent(self.with_rows)
            ));
        }
        let more = [
            "parameterised index scan",
            "BitmapAnd",
            "index search past a policy",
            "lossy bitmap",
            "index scan backward",
        ];
        for name in PLANS.iter().map(|(name, _)| *name).chain(more) {
            if !self.plans.contains_key(name) {
                all.push(format!("no statement reached this kind of plan: {name}"));
            }
        }
        if self.kinds.len() < 80 {
            all.push(format!("only {} kinds of conditions", self.kinds.len()));
        }
        all
    }
}

fn has_alias(line: &str) -> bool {
    let bytes = line.as_bytes();
    (0..bytes.len()).any(|n| {
        bytes[n] == b'a'
            && (n == 0 || !bytes[n - 1].is_ascii_alphanumeric())
            && bytes[n + 1..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count()
                > 0
            && bytes[n + 1..].iter().find(|b| !b.is_ascii_digit()) == Some(&b'.')
    })
}
