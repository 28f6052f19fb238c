//! A statement's outcome: rows, counts, errors, notices, its effects on the tables and the session, its duration.

use std::io::Read;
use std::time::{Duration, Instant};

use postgres::SimpleQueryMessage;

use super::callers::CALLERS;
use super::settings::ALWAYS_PARALLEL;
use super::statement::{Mode, Statement, Step};
use super::world::{Watched, World};
use crate::Failure;
use crate::session::{Until, always_parallel};

/// Which tables a statement finds.
#[derive(Clone, Debug)]
pub enum Tables {
    /// The protected ones.
    Protected,
    /// The caller's copy.
    Copy,
    /// The caller's twin, a schema.
    Twin(String),
}

/// What it did.
#[derive(Debug)]
pub struct Outcome {
    /// Rows as text, sorted, with the counts that the server reported; or the error.
    pub result: Result<Vec<String>, (String, String)>,
    /// Notices, sorted.
    pub notices: Vec<String>,
    /// How far it moved the attacker's counter.
    pub counted: i64,
    /// Its effects: a setting, locks, the rows of the table that it wrote to.
    pub left: String,
    /// How long it took.
    pub elapsed: Duration,
}

/// A difference of this much is a sleep.
pub const SLEPT: Duration = Duration::from_millis(250);

impl Outcome {
    /// Whether it was stopped by its time limit.
    pub fn timed_out(&self) -> bool {
        matches!(&self.result, Err((code, _)) if code == "57014")
            || matches!(&self.result, Ok(rows) if rows.iter().any(|r| r.contains("caught 57014")))
    }

    /// Returns whether its only outcome is a refusal because its caller has several tenants and writes.
    pub fn needs_one_tenant(&self) -> bool {
        let says = |text: &str| text.contains("tenants, and one is needed here");
        let refused = match &self.result {
            Err((_, message)) => says(message),
            Ok(rows) => rows.iter().any(|r| r.contains("caught 55000") && says(r)),
        };
        refused && self.notices.is_empty() && self.counted == 0 && self.elapsed < SLEPT
    }

    /// In what it differs from another; None if in nothing.
    pub fn differs(&self, other: &Outcome, sleeps: bool) -> Option<&'static str> {
        if self.result != other.result {
            return Some(match (&self.result, &other.result) {
                (Ok(_), Ok(_)) => "rows",
                _ => "error",
            });
        }
        if self.notices != other.notices {
            return Some("notices");
        }
        if self.counted != other.counted {
            return Some("counter");
        }
        if self.left != other.left {
            return Some("what it left");
        }
        if sleeps && self.elapsed > other.elapsed + SLEPT {
            return Some("time");
        }
        None
    }

    /// Whether it failed, its error caught or not.
    pub fn failed(&self) -> bool {
        match &self.result {
            Ok(rows) => rows.iter().any(|r| r.contains("caught ")),
            Err(_) => true,
        }
    }

    /// Whether the order of evaluation alone can have made it.
    pub fn depends_on_order(&self, other: &Outcome) -> bool {
        self.failed() || other.failed() || self.result == other.result
    }

    /// Whether it failed because no parallel worker was free: in a worker, a function of a statement that writes may run
    /// queries, in the leader not.
    pub fn lacked_workers(&self) -> bool {
        let says = |text: &str| text.contains("cannot start commands during a parallel operation");
        match &self.result {
            Err((_, message)) => says(message),
            Ok(rows) => rows.iter().any(|row| says(row)),
        }
    }

    /// Returns whether its only outcome is a refusal because there is no context.
    pub fn needs_context(&self) -> bool {
        let refused = match &self.result {
            Err((code, _)) => code == "55000",
            Ok(rows) => rows.iter().any(|r| r.contains("caught 55000")),
        };
        refused && self.notices.is_empty() && self.counted == 0 && self.elapsed < SLEPT
    }

    /// For people.
    pub fn shown(&self) -> String {
        let result = match &self.result {
            Ok(rows) => {
                let some: Vec<&str> = rows.iter().take(4).map(String::as_str).collect();
                format!("{} lines: {}", rows.len(), some.join(" ¦ "))
            }
            Err((code, message)) => format!("{code} {message}"),
        };
        format!(
            "{result} · notices {} · counter +{} · left {:?} · {} ms",
            self.notices.len(),
            self.counted,
            self.left,
            self.elapsed.as_millis()
        )
    }
}

impl Statement {
    /// Runs it in a transaction that is rolled back.
    pub fn run(&self, world: &World, app: &mut Watched, tables: &Tables) -> Outcome {
        self.open(world, app, tables);
        let before = counter(app, "SELECT last_value FROM evil.counter");
        app.notices();
        let start = Instant::now();
        let result = self.send(world, app, tables);
        let elapsed = start.elapsed();
        let notices = app.notices();
        let left = if result.is_ok() {
            self.left(app)
        } else {
            String::new()
        };
        let after = counter(app, "ROLLBACK; SELECT last_value FROM evil.counter");
        app.notices();
        Outcome {
            result,
            notices,
            counted: after - before,
            left,
            elapsed,
        }
    }

    /// Begins the transaction of its caller, with its settings.
    pub fn open(&self, world: &World, app: &mut Watched, tables: &Tables) {
        let caller = &CALLERS[self.caller];
        let facts = &world.facts[self.caller];
        let evil = if self.settings.hostile { "evil, " } else { "" };
        let path = match tables {
            Tables::Protected => format!("{evil}app, tenancy, fns"),
            Tables::Copy => format!("{evil}copy_{}, fns", caller.name),
            Tables::Twin(twin) => format!("{evil}{twin}, tenancy, fns"),
        };
        let (marks, mut texts) = facts.unseen();
        if matches!(tables, Tables::Twin(_)) {
            for text in facts.foreign_texts.values().flatten() {
                texts = texts
                    .replace(&format!(",{text}"), "")
                    .replace(&format!("{{{text}"), "{nosuch");
            }
        }
        let mut begin = format!(
            "BEGIN; SET LOCAL search_path = {path}; SET LOCAL fuzz.f = '{marks}'; SET LOCAL fuzz.t = '{texts}'; SET LOCAL fuzz.how = '{}';",
            self.settings.how
        );
        for setting in &self.settings.all {
            begin += &match setting.as_str() {
                ALWAYS_PARALLEL => always_parallel(Until::Transaction) + ";",
                setting => format!("SET LOCAL {setting};"),
            };
        }
        let empty = (caller.user.is_none() || self.number.is_multiple_of(5)) && !self.refused;
        begin += if empty {
            "SET LOCAL tenancy.missing_context = empty"
        } else {
            "SET LOCAL tenancy.missing_context = error"
        };
        app.session.run(&begin);
        world.enter(&mut app.session, caller);
    }

    fn send(
        &self,
        world: &World,
        app: &mut Watched,
        tables: &Tables,
    ) -> Result<Vec<String>, (String, String)> {
        let mut lines = vec![];
        app.sent += 1;
        for step in self.steps(&world.facts[self.caller], tables, app.sent) {
            match step {
                Step::Sql(sql) => lines.extend(simple(app, &sql)?),
                Step::Copy(sql) => lines.extend(copied(app, &sql)?),
            }
        }
        if self.mode == Mode::CurrentOf {
            // The first row is fetched, then changed; then the others are fetched.
            lines.dedup();
        }
        lines.sort();
        Ok(lines)
    }

    /// What is left before the rollback.
    fn left(&self, app: &mut Watched) -> String {
        let mut sql = "SELECT concat_ws(' ', current_setting('fuzz.hit', true), (SELECT nullif(count(*), 0) FROM pg_locks WHERE locktype = 'advisory' AND objid = 8008 AND pid = pg_backend_pid())".to_owned();
        if let Some(table) = self.target {
            sql += &format!(
                ", (SELECT concat(count(*), '/', sum(hashtext(t::text)::bigint)) FROM {table} t)"
            );
        }
        sql += ")";
        match app.session.simple_query(&sql) {
            Ok(messages) => rows(&messages).join(""),
            Err(error) => Failure::from(&error).message,
        }
    }
}

fn simple(app: &mut Watched, sql: &str) -> Result<Vec<String>, (String, String)> {
    match app.session.simple_query(sql) {
        Ok(messages) => Ok(rows(&messages)),
        Err(error) => Err(told(&error)),
    }
}

fn copied(app: &mut Watched, sql: &str) -> Result<Vec<String>, (String, String)> {
    let mut text = String::new();
    let read = app
        .session
        .copy_out(sql)
        .map_err(|e| told(&e))
        .and_then(|mut reader| {
            reader.read_to_string(&mut text).map(drop).map_err(|error| {
                match error
                    .get_ref()
                    .and_then(|e| e.downcast_ref::<postgres::Error>())
                {
                    Some(error) => told(error),
                    None => (String::new(), error.to_string()),
                }
            })
        });
    read.map(|()| text.lines().map(str::to_owned).collect())
}

fn told(error: &postgres::Error) -> (String, String) {
    let failure = Failure::from(error);
    (failure.code, failure.message)
}

fn rows(messages: &[SimpleQueryMessage]) -> Vec<String> {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let all: Vec<&str> = (0..row.len()).map(|n| row.get(n).unwrap_or("∅")).collect();
                Some(all.join("|"))
            }
            SimpleQueryMessage::CommandComplete(n) => Some(format!("({n})")),
            _ => None,
        })
        .collect()
}

fn counter(app: &mut Watched, sql: &str) -> i64 {
    let messages = app.session.simple_query(sql).unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).and_then(|n| n.parse().ok()),
        _ => None,
    });
    row.unwrap()
}
