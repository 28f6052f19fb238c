//! Sends the refused requests again, one by one on a quiet server. Then the program can predict which of them fit their budgets,
//! and the server must agree.

use crate::drive::{Done, Worker};
use crate::options::Options;
use crate::trace::Request;
use crate::world::World;
use crate::{Counts, Fault, sum};

/// Asks again; returns how many were admitted now, and notes where the server saw it otherwise.
pub fn all(
    options: &Options,
    world: &World,
    requests: &[Request],
    done: &mut Done,
    wrong: &mut Vec<String>,
) -> Result<usize, Fault> {
    let mut worker = Worker::connect(options, 0)?;
    let mut used = world.totals(done.admitted.iter().copied());
    let (mut left, mut admitted) = (Vec::new(), 0);
    for n in std::mem::take(&mut done.refused) {
        let request = &requests[n];
        let asked = [1, request.context, world.estimate];
        let room = room(world, &used, n, asked);
        let held = worker.begin(world, n, request)?;
        if room != held.is_some() {
            wrong.push(format!(
                "request {n} asks for {asked:?}: it {} and was {}",
                if room { "fits" } else { "does not fit" },
                if room { "refused" } else { "admitted" },
            ));
        }
        let Some(held) = held else {
            left.push(n);
            continue;
        };
        worker.end(world, n, request, &held)?;
        admitted += 1;
        done.admitted.push((n, request.counts()));
        for at in world.path(n) {
            used[at] = sum([used[at], request.counts()].into_iter());
        }
    }
    done.refused = left;
    Ok(admitted)
}

/// Returns whether all budgets have room. A quantity of zero always fits.
fn room(world: &World, used: &[Counts], n: usize, asked: Counts) -> bool {
    world.path(n).all(|at| {
        (0..asked.len()).all(|metric| {
            asked[metric] == 0
                || used[at][metric] + asked[metric] <= world.scopes[at].budget[metric]
        })
    })
}
