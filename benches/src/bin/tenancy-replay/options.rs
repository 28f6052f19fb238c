//! Options of the command line, and the connection.

use std::env;
use std::path::{Path, PathBuf};

use postgres::{Client, NoTls};

use crate::{Counts, Fault};

/// The database that a replay makes, uses and drops.
pub const DATABASE: &str = "tenancy_replay";
/// The application: a member of tenancy_app and nothing else.
pub const APP: &str = "tenancy_replay_app";
/// The trusted one: a member of tenancy_app and tenancy_gateway.
pub const GATEWAY: &str = "tenancy_replay_gateway";

const HELP: &str = "tenancy-replay [OPTION…] FILE
Replays a CSV of LLM requests (columns TIMESTAMP,ContextTokens,GeneratedTokens) against the server of PGHOST, PGPORT and PGUSER
(a superuser), in a database of its own. Ends with 1 when what was used does not add up, with 2 when it could not run.

  --connections N  at once (16)
  --speed N        N times as fast as recorded; without it as fast as possible
  --budget P       every level may use P percent of what the file asks of it; without it all of it fits
  --estimate N     tokens that are reserved for an answer; without it as many as the longest one has
  --expect A,B,C   the file has A requests, B context tokens and C generated tokens, or else it ends with 1
  --keep           leave the database, to look around";

/// The options of a run, and the server.
pub struct Options {
    /// The trace.
    pub file: PathBuf,
    /// The number of connections.
    pub connections: usize,
    /// The speed relative to the recording. None: without waiting.
    pub speed: Option<f64>,
    /// The budget of each level, in percent of its requests in the file.
    pub budget: Option<i64>,
    /// The tokens reserved for an answer.
    pub estimate: Option<i64>,
    /// What the file should have in it.
    pub expect: Option<Counts>,
    /// Leave the database where it is.
    pub keep: bool,
    host: String,
    port: u16,
    superuser: String,
}

impl Options {
    /// Reads the command line and the environment. None: only the help was printed.
    pub fn read() -> Result<Option<Self>, Fault> {
        let mut words = env::args().skip(1);
        let (mut file, mut keep) = (None, false);
        let (mut connections, mut speed, mut budget, mut estimate, mut expect) =
            (16, None, None, None, None);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or(format!("{word} wants a value: see --help"))
            };
            match word.as_str() {
                "-h" | "--help" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                "--connections" => connections = number(&word, &value()?, 1.0, 190.0)? as usize,
                "--speed" => speed = Some(number(&word, &value()?, 0.001, 1e9)?),
                "--budget" => budget = Some(number(&word, &value()?, 0.0, 1000.0)? as i64),
                "--estimate" => estimate = Some(number(&word, &value()?, 0.0, 1e9)? as i64),
                "--expect" => expect = Some(counts(&value()?)?),
                "--keep" => keep = true,
                _ if word.starts_with('-') || file.is_some() => {
                    return Err(format!("what is {word}? See --help").into());
                }
                _ => file = Some(PathBuf::from(word)),
            }
        }
        Ok(Some(Self {
            file: file.ok_or("which file? See --help")?,
            connections,
            speed,
            budget,
            estimate,
            expect,
            keep,
            host: env::var("PGHOST").map_err(|_| "PGHOST is not set")?,
            port: match env::var("PGPORT") {
                Ok(port) => port.parse()?,
                Err(_) => 5432,
            },
            superuser: env::var("PGUSER").map_err(|_| "PGUSER is not set")?,
        }))
    }

    /// Connects to the replay's database as one of the roles.
    pub fn connect(&self, role: &str) -> Result<Client, Fault> {
        self.open(role, DATABASE)
    }

    /// Connects to a database as the superuser.
    pub fn administer(&self, database: &str) -> Result<Client, Fault> {
        self.open(&self.superuser, database)
    }

    fn open(&self, role: &str, database: &str) -> Result<Client, Fault> {
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
            .application_name("tenancy-replay")
            .connect(NoTls)?)
    }
}

fn number(word: &str, text: &str, least: f64, most: f64) -> Result<f64, Fault> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("{word} {text} is not a number"))?;
    match (least..=most).contains(&number) {
        true => Ok(number),
        false => Err(format!("{word} is from {least} to {most}").into()),
    }
}

fn counts(text: &str) -> Result<Counts, Fault> {
    let numbers: Vec<i64> = text
        .split(',')
        .map(|part| part.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|_| format!("--expect {text}: three numbers, such as 3,1200,340"))?;
    numbers
        .try_into()
        .map_err(|_| format!("--expect {text}: three numbers, such as 3,1200,340").into())
}
