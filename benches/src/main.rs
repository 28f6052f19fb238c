//! The cost of tenancy: every measurement has a hand-written side and a tenancy side. They run in turns in
//! the same process, on tables with the same rows in the same order. One table of ratios at the end.

mod adoption;
mod budgets;
mod cases;
mod config;
mod crowd;
mod elevation;
mod features;
mod keys;
mod large_tree;
mod leaving;
mod limits;
mod logins;
mod management;
mod measure;
mod metering;
mod partitions;
mod plans;
mod principals;
mod quotas;
mod report;
mod scale;
mod search;
mod secrets;
mod setup;
mod usage;

use std::error::Error;
use std::process::ExitCode;

use config::Config;
use report::Report;

/// Whatever stops a run.
type Fault = Box<dyn Error>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("bench: {}", describe(fault.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// Runs everything; false when a target was missed and that is to be an error.
fn run() -> Result<bool, Fault> {
    let config = Config::read()?;
    if !cases::any(&config) {
        return Ok(true);
    }
    let began = std::time::Instant::now();
    let world = setup::build(&config)?;
    let mut report = Report::new(&config, &world);
    cases::all(&config, &world, &mut report)?;
    if !config.keep {
        setup::remove(&config)?;
    }
    print!("{}", report.text());
    println!("{} s in all.", began.elapsed().as_secs());
    Ok(!config.strict || report.missed() == 0)
}

/// Returns the server's message, or else the error's text.
fn describe(fault: &(dyn Error + 'static)) -> String {
    let server = fault
        .downcast_ref::<postgres::Error>()
        .and_then(postgres::Error::as_db_error);
    match server {
        Some(error) => {
            let hint = error
                .hint()
                .map(|hint| format!(" ({hint})"))
                .unwrap_or_default();
            format!("{}: {}{hint}", error.code().code(), error.message())
        }
        None => fault.to_string(),
    }
}
