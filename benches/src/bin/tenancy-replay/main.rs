//! Replays a trace of LLM requests through `reserve()` and `settle()`: many connections, with the roles of
//! applications, spread over partners, tenants, projects and users. Then every level is counted in several ways, and all
//! results must agree with each other and with the file.
//!
//! | file | what |
//! | --- | --- |
//! | `options` | the options, and the connection |
//! | `trace` | the file |
//! | `world` | the tree that receives the trace, and its budgets |
//! | `drive` | the requests at their times, over many connections |
//! | `again` | the refused requests, sent again on a quiet server |
//! | `check` | every level, by `usage()`, events, ledger and the program's own count |
//! | `show` | the printed result |

mod again;
mod check;
mod drive;
mod options;
mod show;
mod trace;
mod world;

use std::error::Error;
use std::process::ExitCode;

use options::Options;
use world::World;

/// Whatever stops a run.
type Fault = Box<dyn Error + Send + Sync>;

/// The counts of a request: itself, its context tokens, its generated tokens.
type Counts = [i64; 3];

/// The metrics for that.
const METRICS: [&str; 3] = ["requests", "context_tokens", "generated_tokens"];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("replay: {}", describe(fault.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// Replays the trace. Returns false if a sum is wrong.
fn run() -> Result<bool, Fault> {
    let Some(options) = Options::read()? else {
        return Ok(true);
    };
    let requests = trace::read(&options.file)?;
    let world = World::build(&options, &requests)?;
    let mut done = drive::all(&options, &world, &requests)?;
    println!("{}", show::rate(&options, &requests, &done));
    let mut wrong = Vec::new();
    if options.budget.is_some() {
        let refused = done.refused.len();
        let late = again::all(&options, &world, &requests, &mut done, &mut wrong)?;
        println!("{}", show::refusals(&requests, &done, refused, late));
    }
    let said = check::all(&options, &world, &requests, &done, &mut wrong)?;
    println!("{}", show::tree(&world, &said));
    if !options.keep {
        World::remove(&options)?;
    }
    println!("{}", show::verdict(&options, &requests, &done, &wrong));
    Ok(wrong.is_empty())
}

/// Returns the sum of counts.
fn sum(of: impl Iterator<Item = Counts>) -> Counts {
    of.fold([0; 3], |sum, one| std::array::from_fn(|n| sum[n] + one[n]))
}

/// Returns the server's message, or else the error's text.
fn describe(fault: &(dyn Error + 'static)) -> String {
    let server = fault
        .downcast_ref::<postgres::Error>()
        .and_then(postgres::Error::as_db_error);
    match server {
        Some(error) => {
            let more = [error.detail(), error.hint()];
            let more: String = more.iter().flatten().map(|t| format!(" ({t})")).collect();
            format!("{}: {}{more}", error.code().code(), error.message())
        }
        None => fault.to_string(),
    }
}
