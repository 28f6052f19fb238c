//! Runs statements, compares their outcomes, and reports differences.

use std::env;
use std::time::Instant;

use super::callers::CALLERS;
use super::outcome::{Outcome, SLEPT, Tables};
use super::statement::{Mode, Statement};
use super::tally::Tally;
use super::world::{Watched, World};

/// The seed of the tests: another one finds other faults, and may miss rare plans.
const FIXED_SEED: u64 = 8;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// How many statements.
    pub statements: u64,
    /// Only this one, shown in full.
    pub only: Option<u64>,
    /// Stop at the first leak.
    pub stop: bool,
    /// With `tenancy.debug_planner_hardening` off, where a debug build has it.
    pub unhardened: bool,
}

impl Options {
    /// Returns whether the seed is that of the tests.
    pub fn is_fixed_seed(&self) -> bool {
        self.seed == FIXED_SEED
    }

    /// From `FUZZ_SEED` (a number, or `random`), `FUZZ_STATEMENTS` and `FUZZ_ONLY`.
    pub fn from_environment(statements: u64) -> Self {
        let number = |name: &str| env::var(name).ok().filter(|v| !v.is_empty());
        let seed = match number("FUZZ_SEED").as_deref() {
            None => FIXED_SEED,
            Some("random") => random(),
            Some(text) => text.parse().expect("FUZZ_SEED is a number, or random"),
        };
        Self {
            seed,
            statements: number("FUZZ_STATEMENTS").map_or(statements, |n| {
                n.parse().expect("FUZZ_STATEMENTS is a number")
            }),
            only: number("FUZZ_ONLY").map(|n| n.parse().expect("FUZZ_ONLY is a number")),
            stop: number("FUZZ_ALL").is_none(),
            unhardened: false,
        }
    }
}

fn random() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |t| (t.as_micros() % 1_000_000_007) as u64)
}

/// A leak, in words.
pub struct Leak {
    /// The statement's number.
    pub number: u64,
    /// Everything that is known of it.
    pub report: String,
}

/// Runs the statements. Returns the counts and the leaks.
pub fn run(options: &Options) -> (Tally, Vec<Leak>) {
    let start = Instant::now();
    let mut world = World::new();
    if options.unhardened {
        switch_off(&world);
    }
    println!(
        "fuzz: seed {}, {} statements; the world took {:.1} s",
        options.seed,
        options.statements,
        start.elapsed().as_secs_f64()
    );
    let mut app = world.app();
    let (mut tally, mut leaks) = (Tally::default(), vec![]);
    let numbers = options.only.map_or(0..options.statements, |n| n..n + 1);
    for number in numbers {
        if number % 400 == 399 {
            // Statements prepared by SQL stay; an elevation ends.
            app = world.app();
            world.elevate();
        }
        if number % 1000 == 999 {
            println!(
                "fuzz: {} statements, {} leaks, {:.0} s",
                number + 1,
                leaks.len(),
                start.elapsed().as_secs_f64()
            );
        }
        let statement = Statement::new(options.seed, number, &world.relations, &world.facts);
        if options.only.is_some() {
            println!("{}", describe(&statement, &world, options.seed));
        }
        if let Some(leak) = one(&statement, &mut world, &mut app, &mut tally, options) {
            println!("{}", leak.report);
            leaks.push(leak);
            if options.stop {
                break;
            }
        }
    }
    println!(
        "fuzz: {} statements in {:.0} s: {tally:#?}",
        tally.statements,
        start.elapsed().as_secs_f64()
    );
    (tally, leaks)
}

/// The negative control: without the hardening the fuzzer must find leaks.
fn switch_off(world: &World) {
    let mut admin = world.admin();
    if admin
        .number("SELECT count(*) FROM pg_settings WHERE name = 'tenancy.debug_planner_hardening'")
        > 0
    {
        admin.run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET tenancy.debug_planner_hardening = off', current_database()); END $$");
    } else {
        println!("fuzz: this build has no switch for its hardening");
    }
}

fn one(
    statement: &Statement,
    world: &mut World,
    app: &mut Watched,
    tally: &mut Tally,
    options: &Options,
) -> Option<Leak> {
    tally.statements += 1;
    for kind in &statement.kinds {
        *tally.kinds.entry(kind).or_default() += 1;
    }
    let start = Instant::now();
    explain(statement, world, app, tally, options.only.is_some());
    tally.seconds[0] += start.elapsed().as_secs_f64();
    let real = statement.run(world, app, &Tables::Protected);
    let copy = statement.run(world, app, &Tables::Copy);
    tally.seconds[1] += real.elapsed.as_secs_f64();
    tally.seconds[2] += copy.elapsed.as_secs_f64();
    tally.took(start.elapsed().as_millis(), statement.number);
    if options.only.is_some() {
        println!("tables: {}\ncopy:   {}", real.shown(), copy.shown());
    }
    count(statement, &copy, tally);
    let sleeps = may_sleep(statement);
    // One that takes half of its limit on fewer rows takes all of it on more, without sleeping.
    let heavy = |other: &Outcome| 2 * other.elapsed > real.elapsed;
    if copy.timed_out() || real.timed_out() && (!sleeps || heavy(&copy)) {
        tally.timeouts += 1;
        return None;
    }
    if statement.refused {
        // An error in the statement itself may come first.
        if real.needs_context() || real.result == copy.result && copy.result.is_err() {
            tally.without_context += 1;
            return None;
        }
        let report = format!(
            "NOT REFUSED without a context\n{}\n  tables: {}",
            describe(statement, world, options.seed),
            real.shown()
        );
        return Some(Leak {
            number: statement.number,
            report,
        });
    }
    if statement.counts_blindly() && real.failed() && real.counted == 0 {
        tally.refused += 1;
        return None;
    }
    if statement.target.is_some() && real.needs_one_tenant() {
        tally.refused += 1;
        return None;
    }
    let how = real.differs(&copy, sleeps)?;
    if how == "time" && !slept(statement, world, app) {
        tally.slow += 1;
        return None;
    }
    let mut twin_says = String::new();
    if how != "time" && real.depends_on_order(&copy) && !statement.counts_blindly() {
        let start = Instant::now();
        let tables = Tables::Twin(world.twin(statement.caller, &statement.sql));
        let twin = statement.run(world, app, &tables);
        let plans = (
            plan(statement, world, app, &Tables::Protected, "COSTS OFF"),
            plan(statement, world, app, &tables, "COSTS OFF"),
        );
        tally.seconds[3] += start.elapsed().as_secs_f64();
        if real.timed_out() && heavy(&twin) {
            tally.timeouts += 1;
            return None;
        }
        if real.lacked_workers() != twin.lacked_workers() {
            tally.crowded += 1;
            return None;
        }
        if real.differs(&twin, sleeps).is_none() {
            tally.explained(statement, how, true);
            return None;
        }
        if plans.0 != plans.1 {
            tally.explained(statement, how, false);
            return None;
        }
        // Which side of a hash join is read first follows from the costs, and those from the size of the tables, which
        // grow by what is rolled back.
        world.compact(statement.caller, &statement.sql);
        let (again, twin) = (
            statement.run(world, app, &Tables::Protected),
            statement.run(world, app, &tables),
        );
        if again.differs(&twin, sleeps).is_none() {
            let same = plan(statement, world, app, &Tables::Protected, "COSTS OFF") == plans.0;
            tally.explained(statement, "by its costs", same);
            return None;
        }
        twin_says = format!(
            "\n  twin:   {}\nplan on the twin:\n{}",
            twin.shown(),
            plan(statement, world, app, &tables, "COSTS ON")
        );
    }
    *tally
        .told
        .entry(format!("{how}: {:?}", statement.kinds))
        .or_default() += 1;
    let report = format!(
        "LEAK ({how})\n{}\n  tables: {}\n  copy:   {}{twin_says}\nplan on the tables:\n{}",
        describe(statement, world, options.seed),
        real.shown(),
        copy.shown(),
        plan(statement, world, app, &Tables::Protected, measured(how))
    );
    Some(Leak {
        number: statement.number,
        report,
    })
}

/// Returns the EXPLAIN that shows the plan of a statement with this kind of leak.
fn measured(how: &str) -> &'static str {
    if how == "time" {
        "ANALYZE, BUFFERS, WAL"
    } else {
        "COSTS ON"
    }
}

/// Whether a statement takes longer than on a twin of the same size, each time: a copy has fewer rows to read, and another process may hold
/// one up.
fn slept(statement: &Statement, world: &mut World, app: &mut Watched) -> bool {
    let twin = Tables::Twin(world.twin(statement.caller, &statement.sql));
    let slower = |app: &mut Watched| {
        let mut fastest = |tables: &Tables| {
            let all = (0..3).map(|_| statement.run(world, app, tables).elapsed);
            all.min().unwrap_or_default()
        };
        fastest(&Tables::Protected) > 2 * fastest(&twin) + SLEPT
    };
    // Where a page has room, an UPDATE leaves the indexes alone, and what they call.
    slower(app) && {
        world.compact(statement.caller, &statement.sql);
        slower(app)
    }
}

/// Whether its conditions may sleep.
fn may_sleep(statement: &Statement) -> bool {
    statement.settings.how == "sleep" || statement.kinds.contains(&"guarded sleep")
}

fn count(statement: &Statement, outcome: &Outcome, tally: &mut Tally) {
    match &outcome.result {
        Ok(rows) => {
            let answered = rows.iter().filter(|r| !r.starts_with('(')).count() as u64;
            tally.rows += answered;
            tally.with_rows +=
                u64::from(answered > 0 || rows.iter().any(|r| r.starts_with('(') && r != "(0)"));
        }
        Err((code, message)) => {
            tally.errors += 1;
            let entry = tally.codes.entry(format!("{code} {message}")).or_default();
            *entry = (entry.0 + 1, statement.number);
        }
    }
    tally.writes += u64::from(statement.target.is_some());
}

/// Which plan it has, without texts that the caller does not see.
fn plan(
    statement: &Statement,
    world: &World,
    app: &mut Watched,
    tables: &Tables,
    options: &str,
) -> String {
    let facts = &world.facts[statement.caller];
    app.sent += 1;
    let Some((before, sql)) = statement.explainable(facts, tables, app.sent) else {
        return String::new();
    };
    statement.open(world, app, tables);
    let prepared = app.session.batch_execute(&before);
    let explain = format!("EXPLAIN ({options}) {sql}");
    let plan = prepared
        .and_then(|()| app.session.simple_query(&explain))
        .map(|m| text(&m))
        .unwrap_or_default();
    app.session.run("ROLLBACK");
    app.notices();
    facts.without_texts(&plan)
}

/// Counts which plan it has; of a lossy bitmap only an execution tells.
fn explain(statement: &Statement, world: &World, app: &mut Watched, tally: &mut Tally, show: bool) {
    if !show && !statement.number.is_multiple_of(2) && statement.number > 20_000 {
        return;
    }
    let mut shape = plan(statement, world, app, &Tables::Protected, "COSTS OFF");
    if show {
        println!("{shape}");
    }
    if statement.settings.lossy
        && shape.contains("Bitmap Heap Scan")
        && statement.mode != Mode::CurrentOf
    {
        shape += &plan(
            statement,
            world,
            app,
            &Tables::Protected,
            "ANALYZE, TIMING OFF, SUMMARY OFF",
        );
    }
    tally.plan(&shape);
}

fn text(messages: &[postgres::SimpleQueryMessage]) -> String {
    let lines: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    lines.join("\n") + "\n"
}

fn describe(statement: &Statement, world: &World, seed: u64) -> String {
    let caller = &CALLERS[statement.caller];
    format!(
        "  seed {seed}, statement {n}, caller {}, {:?}, conditions {:?}\n  again: make fuzz SEED={seed} ONLY={n}\n  settings: hostile search_path {}, tells by {}, {}\n{}",
        caller.name,
        statement.mode,
        statement.kinds,
        statement.settings.hostile,
        statement.settings.how,
        statement.settings.all.join("; "),
        statement.shown(&world.facts[statement.caller]),
        n = statement.number
    )
}
