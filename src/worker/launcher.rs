//! The launcher: one process of the server, without a database. It starts workers for databases where work is due.
//! If the server has no process left, it becomes the worker of a database itself, and restarts afterwards.

use pgrx::prelude::*;

use crate::pg::bgworker;
use crate::pg::workers::{self, Job};

/// Runs the launcher.
pub fn run() {
    loop {
        if bgworker::reload() {
            workers::reconsider();
        }
        if bgworker::stopping() {
            return;
        }
        match workers::next_job() {
            Job::Sleep(until) => bgworker::wait_until(until),
            Job::Start(database) => {
                if !bgworker::start(database) && work_for(database) {
                    return;
                }
            }
        }
    }
}

/// Works for a database, unless it has a worker.
fn work_for(database: u32) -> bool {
    let Some(started) = workers::take_on(database, true) else {
        return false;
    };
    if workers::to_tell() {
        ereport!(
            WARNING,
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
            "tenancy worker: no background worker slot is free, the launcher does the work",
            "Raise max_worker_processes and restart the server."
        );
    }
    bgworker::work_for(database, started);
    true
}
