//! One statement of the fuzzer: its text, its protocol, its caller and its settings. It depends on the seed and its number alone.

use super::callers::CALLERS;
use super::facts::{Facts, Relation};
use super::outcome::Tables;
use super::query::Maker;
use super::settings::Settings;
use super::tables::TABLES;
use crate::dice::Dice;

/// How it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Unchanged.
    Plain,
    /// By a cursor.
    Cursor,
    /// By PREPARE and EXECUTE, with a parameter.
    Prepared,
    /// From a PL/pgSQL function of the session.
    Function,
    /// From one that catches errors.
    Catching,
    /// By COPY (…) TO STDOUT.
    Copy,
    /// A cursor's current row is updated.
    CurrentOf,
    /// From a PL/pgSQL function, with a record's field that is not there any more when it is needed.
    Record,
}

/// A step on the way: SQL, or COPY, whose rows come another way.
#[derive(Debug)]
pub enum Step {
    /// SQL.
    Sql(String),
    /// COPY … TO STDOUT.
    Copy(String),
}

/// A statement.
#[derive(Debug)]
pub struct Statement {
    /// Its number under the seed.
    pub number: u64,
    /// The place of its caller.
    pub caller: usize,
    /// Settings of its transaction.
    pub settings: Settings,
    /// How it is sent.
    pub mode: Mode,
    /// The SQL, with `«w:table»` for a table's writable rows and `«F»` for a mark that the caller does not see.
    pub sql: String,
    /// The table that it writes to.
    pub target: Option<&'static str>,
    /// Whether it returns rows.
    pub returns: bool,
    /// Whether it must be refused, for want of a context.
    pub refused: bool,
    /// The kinds of its conditions.
    pub kinds: Vec<&'static str>,
    /// The mark.
    mark: i32,
}

impl Statement {
    /// Makes it.
    pub fn new(seed: u64, number: u64, relations: &[Relation], facts: &[Facts]) -> Self {
        let mut dice = Dice::new(seed, number);
        let caller = dice.index(CALLERS.len());
        let mut settings = Settings::new(&mut dice);
        let facts = &facts[caller];
        let marks: Vec<i32> = facts.foreign["docs"].clone();
        let mark = if marks.is_empty() {
            999
        } else {
            *dice.of(&marks)
        };
        let mut mode = *dice.of(&[
            Mode::Plain,
            Mode::Plain,
            Mode::Plain,
            Mode::Plain,
            Mode::Plain,
            Mode::Prepared,
            Mode::Prepared,
            Mode::Cursor,
            Mode::Function,
            Mode::Catching,
            Mode::Copy,
            Mode::CurrentOf,
            Mode::Record,
        ]);
        if mode == Mode::CurrentOf && !(0..TABLES.len()).any(|table| facts.updates(table)) {
            mode = Mode::Plain;
        }
        if mode == Mode::Record {
            // With a plan of its own the field is read while planning.
            settings
                .all
                .push("plan_cache_mode = force_generic_plan".to_owned());
        }
        let writes = dice.chance(26)
            && matches!(
                mode,
                Mode::Plain | Mode::Prepared | Mode::Function | Mode::Catching
            );
        let own_views = CALLERS[caller].user.is_some();
        let mut maker = Maker::new(dice, relations, facts, own_views, settings.lossy);
        let (sql, target, returns) = match mode {
            Mode::CurrentOf => {
                let (sql, target) = maker.cursor_to_update();
                (sql, Some(target), true)
            }
            Mode::Record => (maker.record_query(), None, true),
            _ if writes => {
                let change = maker.change();
                (change.sql, Some(change.target), change.returns)
            }
            _ => (maker.query(), None, true),
        };
        Self {
            number,
            caller,
            settings,
            mode,
            sql,
            target,
            returns,
            refused: CALLERS[caller].user.is_none() && number.is_multiple_of(2),
            kinds: maker.kinds,
            mark,
        }
    }

    /// Returns whether it counts rows of any values: it must be refused, and a twin cannot show the reason.
    pub fn counts_blindly(&self) -> bool {
        self.kinds.contains(&"MERGE that counts")
    }

    /// The SQL for the tables themselves, or for a copy, in which the writable rows of a table may be a view of their own.
    pub fn rendered(&self, facts: &Facts, tables: &Tables, mark: &str) -> String {
        let mut sql = self.sql.replace("«F»", mark);
        let copy = matches!(tables, Tables::Copy);
        if matches!(tables, Tables::Twin(_)) {
            sql = facts.without_texts(&sql);
        }
        while let Some(at) = sql.find("«w:") {
            let end = at + sql[at..].find('»').unwrap_or(0);
            let name = sql[at + "«w:".len()..end].to_owned();
            let suffix = if copy && facts.read_only_rows.contains(name.as_str()) {
                "_w"
            } else {
                ""
            };
            sql.replace_range(at..end + '»'.len_utf8(), &format!("{name}{suffix}"));
        }
        sql
    }

    /// How it is explained, as it is planned when it is sent: what to do before, and what goes after EXPLAIN; None if it cannot be.
    pub fn explainable(
        &self,
        facts: &Facts,
        tables: &Tables,
        again: u64,
    ) -> Option<(String, String)> {
        let literal = self.mark.to_string();
        let plain = self.rendered(facts, tables, &literal);
        Some(match self.mode {
            Mode::Plain | Mode::Copy => (String::new(), plain),
            Mode::Cursor => (String::new(), format!("DECLARE c CURSOR FOR {plain}")),
            Mode::CurrentOf => (
                String::new(),
                format!("DECLARE c CURSOR FOR {plain} FOR UPDATE"),
            ),
            Mode::Prepared | Mode::Function | Mode::Catching => {
                let sql = self.rendered(facts, tables, "$1");
                // PL/pgSQL reads rows by a cursor, which has no workers.
                let workers = if self.mode == Mode::Prepared {
                    ""
                } else {
                    "SET LOCAL max_parallel_workers_per_gather = 0;"
                };
                (
                    format!("{workers} PREPARE q{again} (int) AS {sql}"),
                    format!("EXECUTE q{again} ({literal})"),
                )
            }
            Mode::Record => return None,
        })
    }

    /// Returns the commands to send. `again` gives a prepared statement a name that is new in the session.
    pub fn steps(&self, facts: &Facts, tables: &Tables, again: u64) -> Vec<Step> {
        let sql = |mark: &str| self.rendered(facts, tables, mark);
        let literal = self.mark.to_string();
        let plain = sql(&literal);
        let step = |s: String| Step::Sql(s);
        match self.mode {
            Mode::Plain => vec![step(plain)],
            Mode::Copy => vec![Step::Copy(format!("COPY ({plain}) TO STDOUT"))],
            Mode::Cursor => vec![
                step(format!("DECLARE c CURSOR FOR {plain}")),
                step("FETCH 3 FROM c".into()),
                step("FETCH ALL FROM c".into()),
                step("CLOSE c".into()),
            ],
            Mode::CurrentOf => vec![
                step(format!("DECLARE c CURSOR FOR {plain} FOR UPDATE")),
                step("FETCH 1 FROM c".into()),
                step(format!(
                    "UPDATE {} SET n = 77 WHERE CURRENT OF c",
                    self.current_target(facts, tables)
                )),
                step("FETCH ALL FROM c".into()),
            ],
            Mode::Prepared => {
                let name = format!("q{again}");
                let mut steps = vec![
                    step(format!("PREPARE {name} (int) AS {}", sql("$1"))),
                    step(format!("EXECUTE {name} ({literal})")),
                ];
                if self.target.is_none() {
                    steps.push(step(format!("EXECUTE {name} ({literal})")));
                }
                steps
            }
            Mode::Function | Mode::Catching | Mode::Record => {
                let query = sql("z_f");
                let body = if self.mode == Mode::Record {
                    format!(
                        "FOR z_i IN 1..2 LOOP IF z_i = 1 THEN SELECT 0 AS x INTO z_u; ELSE SELECT 'a'::text AS y INTO z_u; END IF; \
                         SELECT count(*) INTO z_n FROM ({query}) z_q; RETURN NEXT z_n::text; END LOOP;"
                    )
                } else if self.returns {
                    format!("FOR z_r IN {query} LOOP RETURN NEXT z_r::text; END LOOP;")
                } else {
                    format!("{query}; GET DIAGNOSTICS z_i = ROW_COUNT; RETURN NEXT z_i::text;")
                };
                let caught = if self.mode == Mode::Catching {
                    "EXCEPTION WHEN OTHERS THEN RETURN NEXT 'caught ' || sqlstate || ' ' || sqlerrm;"
                } else {
                    ""
                };
                vec![
                    step(format!(
                        "CREATE FUNCTION pg_temp.z(z_f int) RETURNS SETOF text LANGUAGE plpgsql AS $z$ DECLARE z_r record; z_u record; z_i int; z_n int; BEGIN {body} {caught} END $z$"
                    )),
                    step(format!("SELECT * FROM pg_temp.z({literal})")),
                ]
            }
        }
    }

    fn current_target(&self, facts: &Facts, tables: &Tables) -> String {
        let copy = matches!(tables, Tables::Copy);
        let name = self.target.unwrap_or("docs");
        let suffix = if copy && facts.read_only_rows.contains(name) {
            "_w"
        } else {
            ""
        };
        format!("{name}{suffix}")
    }

    /// For people: what is sent, in full.
    pub fn shown(&self, facts: &Facts) -> String {
        self.steps(facts, &Tables::Protected, 0)
            .iter()
            .map(|step| match step {
                Step::Sql(sql) | Step::Copy(sql) => format!("{sql};\n"),
            })
            .collect()
    }
}

impl Maker<'_> {
    /// A query for a cursor whose rows are updated: of one table all of whose rows the caller may write.
    fn cursor_to_update(&mut self) -> (String, &'static str) {
        loop {
            let relation = self.any_table();
            let super::facts::Shape::Table(table) = relation.shape else {
                continue;
            };
            if !self.facts.updates(table) {
                continue;
            }
            let name = TABLES[table].name;
            let alias = self.alias();
            let what = self.marks(
                super::facts::Relation {
                    name,
                    shape: relation.shape,
                },
                true,
            );
            let spot = super::conditions::Spot {
                alias: alias.clone(),
                what,
            };
            // A pair finds no row, and a cursor without one has no current row.
            let leak = if self.dice.chance(30) {
                self.leak(&spot)
            } else {
                self.leak_in_expression(&spot)
            };
            let plain = format!("{alias}.id > {}", self.dice.roll(60));
            return (
                format!(
                    "SELECT {alias}.id, {alias}.n FROM {name} {alias} WHERE {leak} AND {plain} ORDER BY {alias}.id"
                ),
                name,
            );
        }
    }

    /// A query with a record's field: `z_u.x` exists when the function first runs it, and no longer the next time.
    fn record_query(&mut self) -> String {
        let relation = self.any_table();
        let alias = self.alias();
        let what = self.marks(relation, true);
        let spot = super::conditions::Spot {
            alias: alias.clone(),
            what: what.clone(),
        };
        let super::conditions::What::Marks { foreign, own, .. } = what else {
            return String::new();
        };
        let f = *self.dice.of(&foreign);
        let guard = if own.iter().all(|o| *o < f) && self.dice.chance(50) {
            format!("{alias}.mark >= {f}")
        } else {
            format!("{alias}.mark = {f}")
        };
        self.kinds.push("field of a record");
        let plain = if self.dice.chance(50) {
            format!(" AND {}", super::conditions::plain(&mut self.dice, &spot))
        } else {
            String::new()
        };
        format!(
            "SELECT {alias}.id FROM {} {alias} WHERE {guard} AND {alias}.n = z_u.x{plain}",
            relation.name
        )
    }
}
