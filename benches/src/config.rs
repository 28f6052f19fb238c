//! Options of the command line, and the connection.

use std::env;
use std::path::Path;

use postgres::{Client, NoTls};

use crate::Fault;

/// The database that the benchmark makes, uses and drops.
pub const DATABASE: &str = "tenancy_bench";
/// The database of the searches.
pub const SEARCHED: &str = "tenancy_bench_searched";
/// Its copy, in which no table is protected.
pub const COPY: &str = "tenancy_bench_copy";
/// The application under tenancy: a member of tenancy_app and nothing else.
pub const APP: &str = "tenancy_bench_app";
/// The role with a hand-written WHERE: it owns the copies, so that no row security applies.
pub const HAND: &str = "tenancy_bench_hand";
/// The role under a policy on current_setting(), the usual recipe.
pub const SETTING: &str = "tenancy_bench_setting";

/// The options of a run, and the server.
pub struct Config {
    /// Rows of each of the two tables.
    pub rows: i64,
    /// Rows of the bulk insert.
    pub bulk_rows: i64,
    /// Events of the month that usage() sums up.
    pub events: i64,
    /// Scopes that have a budget, at most.
    pub scopes: i64,
    /// Tenants of the large tree; none without it.
    pub tenants: i64,
    /// A factor on the number of rounds.
    pub rounds: f64,
    /// Print the plans.
    pub plans: bool,
    /// A missed target is an error.
    pub strict: bool,
    /// Leave the database where it is, to look around.
    pub keep: bool,
    /// Only what many clients do at once, else only what few do.
    pub many: bool,
    /// Only measurements whose name has this word.
    pub only: Option<String>,
    host: String,
    port: u16,
    superuser: String,
}

impl Config {
    /// Reads the command line and the environment.
    pub fn read() -> Result<Self, Fault> {
        let mut config = Self {
            rows: number("BENCH_ROWS", 1_000_000)?,
            bulk_rows: number("BENCH_BULK_ROWS", 200_000)?,
            events: number("BENCH_EVENTS", 1_000_000)?,
            scopes: number("BENCH_SCOPES", 10_000)?,
            tenants: number("BENCH_TENANTS", 0)?,
            rounds: number("BENCH_ROUNDS", 1.0)?,
            plans: false,
            strict: false,
            keep: false,
            many: false,
            only: env::var("BENCH_ONLY").ok(),
            host: env::var("PGHOST").map_err(|_| "PGHOST is not set")?,
            port: number("PGPORT", 5432)?,
            superuser: env::var("PGUSER").map_err(|_| "PGUSER is not set")?,
        };
        for word in env::args().skip(1) {
            match word.as_str() {
                "--plans" => config.plans = true,
                "--keep" => config.keep = true,
                "--many" => config.many = true,
                "--strict" => config.strict = true,
                other => {
                    return Err(format!("unknown option {other}: see benches/run --help").into());
                }
            }
        }
        if config.rows < 20_000
            || config.bulk_rows < 1
            || config.events < 1
            || config.scopes < 1_000
            || config.rounds <= 0.0
        {
            return Err(
                "BENCH_ROWS must be 20000 or more, BENCH_SCOPES 1000, the others more than 0"
                    .into(),
            );
        }
        Ok(config)
    }

    /// Returns the number of rounds for a measurement that usually takes `usual`.
    pub fn rounds(&self, usual: usize) -> usize {
        ((usual as f64 * self.rounds) as usize).max(3)
    }

    /// Returns whether a measurement is selected.
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|word| name.contains(word))
    }

    /// Connects to the benchmark's database as one of the roles.
    pub fn connect(&self, role: &str) -> Result<Client, Fault> {
        self.open(role, DATABASE)
    }

    /// Connects to a database as the superuser.
    pub fn administer(&self, database: &str) -> Result<Client, Fault> {
        self.open(&self.superuser, database)
    }

    /// Connects to a database as one of the roles.
    pub fn open(&self, role: &str, database: &str) -> Result<Client, Fault> {
        let mut to = postgres::Config::new();
        if self.host.starts_with('/') {
            to.host_path(Path::new(&self.host));
        } else {
            to.host(&self.host);
        }
        Ok(to
            .port(self.port)
            .user(role)
            .dbname(database)
            .application_name("tenancy-bench")
            .connect(NoTls)?)
    }
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T, Fault> {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{name}={text} is not a number").into()),
        Err(_) => Ok(default),
    }
}
