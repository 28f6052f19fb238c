//! The launcher: one process of the server, without a database. It starts workers for what is due, and where the
//! server has no process left for one it becomes the worker of a database itself, and begins anew afterwards.

use pgrx::prelude::*;

use crate::pg::bgworker;
use crate::pg::workers::{self, Job};

/// The launcher's life.
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
            "tenancy worker: the server has no process left for workers, the launcher does their work",
            "Raise max_worker_processes, which takes a restart."
        );
    }
    bgworker::work_for(database, started);
    true
}
