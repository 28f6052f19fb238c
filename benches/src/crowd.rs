//! Many clients at once: each runs one transaction after the other until the time is over.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::Fault;
use crate::measure::Turn;

/// The transaction that a client repeats.
pub type Work = Box<dyn FnMut() -> Result<(), Fault> + Send>;

/// The clients of one side.
pub struct Crowd {
    members: Vec<Work>,
    /// How many transactions they did in all.
    pub done: u64,
}

impl Crowd {
    /// Creates this number of clients; `make` connects each.
    pub fn new(
        clients: usize,
        mut make: impl FnMut(usize) -> Result<Work, Fault>,
    ) -> Result<Self, Fault> {
        let mut members = (0..clients).map(&mut make).collect::<Result<Vec<_>, _>>()?;
        // Plans are made, caches filled.
        for member in &mut members {
            for _ in 0..10 {
                member()?;
            }
        }
        Ok(Self {
            done: 10 * clients as u64,
            members,
        })
    }

    /// All of them for so long: milliseconds of all for one transaction.
    pub fn turn(&mut self, time: Duration) -> Result<Turn, Fault> {
        let barrier = Barrier::new(self.members.len());
        let results = thread::scope(|scope| {
            let running: Vec<_> = self
                .members
                .iter_mut()
                .map(|member| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        let (began, mut done) = (Instant::now(), 0_u64);
                        while began.elapsed() < time {
                            member().map_err(|fault| crate::describe(fault.as_ref()))?;
                            done += 1;
                        }
                        Ok((done, began.elapsed().as_secs_f64()))
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err("a client panicked".to_owned()))
                })
                .collect::<Result<Vec<(u64, f64)>, String>>()
        })?;
        let done: u64 = results.iter().map(|(done, _)| done).sum();
        self.done += done;
        // Each client's own speed: the last transaction of a slow one is not the others' time.
        let a_second: f64 = results.iter().map(|(done, s)| *done as f64 / s).sum();
        Ok(Turn {
            ms: 1e3 / a_second,
            answer: 0,
        })
    }
}
