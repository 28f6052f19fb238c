//! Sends the requests at their times. Each is two transactions with the work in between, and holds no connection meanwhile: one
//! connection reserves, another may settle.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, Statement, Transaction};
use uuid::Uuid;

use crate::options::{APP, GATEWAY, Options};
use crate::trace::Request;
use crate::world::World;
use crate::{Counts, Fault};

/// The time for one token of an answer, in microseconds of the trace: an assumption, which the file does not contain.
const TOKEN: u64 = 20_000;

/// A step at a time of the trace. Steps run in the order of their times.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A request arrives.
    Begin(usize),
    /// Its answer is complete; with its reservations.
    End(usize, Held),
}

/// The reservations of a request.
pub type Held = [Uuid; 2];

/// What happened.
#[derive(Default)]
pub struct Done {
    /// The requests that were admitted, with what was recorded for them.
    pub admitted: Vec<(usize, Counts)>,
    /// Those that were refused.
    pub refused: Vec<usize>,
    /// The most reservations that were open at once.
    pub open: usize,
    /// The longest delay of a step.
    pub late: Duration,
    /// The duration of the replay.
    pub took: Duration,
}

/// The remaining steps.
#[derive(Default)]
struct Queue {
    steps: BinaryHeap<Reverse<(u64, Step)>>,
    /// How many steps are running, which may add others.
    busy: usize,
    open: usize,
    done: Done,
    failed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    began: Instant,
    speed: Option<f64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next step that is due. None: all steps are done.
    fn next(&self) -> Option<(u64, Step)> {
        let mut queue = self.lock();
        loop {
            if queue.failed {
                return None;
            }
            let Some(Reverse((due, _))) = queue.steps.peek() else {
                if queue.busy == 0 {
                    return None;
                }
                queue = (self.changed.wait(queue)).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some(speed) = self.speed {
                let due = Duration::from_secs_f64(*due as f64 / 1e6 / speed);
                let now = self.began.elapsed();
                if now < due {
                    let waited = self.changed.wait_timeout(queue, due - now);
                    queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
                queue.done.late = queue.done.late.max(now - due);
            }
            queue.busy += 1;
            return queue.steps.pop().map(|Reverse(step)| step);
        }
    }

    /// Notes that a step is done.
    fn finish(&self, then: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock();
        then(&mut queue);
        queue.busy -= 1;
        self.changed.notify_all();
    }
}

/// Replays all requests.
pub fn all(options: &Options, world: &World, requests: &[Request]) -> Result<Done, Fault> {
    let mut workers = Vec::new();
    for n in 0..options.connections {
        workers.push(Worker::connect(options, n)?);
    }
    let begin = |(n, request): (usize, &Request)| Reverse((request.at, Step::Begin(n)));
    let shared = Shared {
        queue: Mutex::new(Queue {
            steps: requests.iter().enumerate().map(begin).collect(),
            ..Queue::default()
        }),
        changed: Condvar::new(),
        began: Instant::now(),
        speed: options.speed,
    };
    std::thread::scope(|scope| -> Result<(), Fault> {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(|| work(&shared, worker, world, requests)))
            .collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        for end in ends {
            end.map_err(|_| "a connection's thread panicked")??;
        }
        Ok(())
    })?;
    let took = shared.began.elapsed();
    let queue = shared
        .queue
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Done { took, ..queue.done })
}

fn work(
    shared: &Shared,
    mut worker: Worker,
    world: &World,
    requests: &[Request],
) -> Result<(), Fault> {
    while let Some((due, step)) = shared.next() {
        let result = worker.step(&step, world, requests);
        shared.finish(|queue| match (&result, step) {
            (Err(_), _) => queue.failed = true,
            (Ok(Some(held)), Step::Begin(n)) => {
                queue.open += 1;
                queue.done.open = queue.done.open.max(queue.open);
                let end = due + requests[n].generated.unsigned_abs() * TOKEN;
                queue.steps.push(Reverse((end, Step::End(n, *held))));
            }
            (Ok(None), Step::Begin(n)) => queue.done.refused.push(n),
            (Ok(_), Step::End(n, _)) => {
                queue.open -= 1;
                queue.done.admitted.push((n, requests[n].counts()));
            }
        });
        result?;
    }
    Ok(())
}

/// How a connection names its user.
enum Way {
    /// An API key.
    Key,
    /// A ticket, verified when it is needed.
    Ticket,
    /// A trusted gateway names the user.
    Gateway,
}

/// A connection.
pub struct Worker {
    client: Client,
    way: Way,
    login: Statement,
    project: Statement,
    begin: Statement,
    end: Statement,
}

impl Worker {
    /// Opens the n-th connection: they log in in three ways.
    pub fn connect(options: &Options, n: usize) -> Result<Self, Fault> {
        let (way, role, login) = match n % 3 {
            0 => (Way::Key, APP, "SELECT tenancy.authenticate($1)"),
            1 => (
                Way::Ticket,
                APP,
                "SELECT set_config('tenancy.ticket', $1, true)",
            ),
            _ => (Way::Gateway, GATEWAY, "SELECT tenancy.assume($1::uuid)"),
        };
        let mut client = options.connect(role)?;
        Ok(Self {
            way,
            login: client.prepare(login)?,
            project: client.prepare("SELECT tenancy.select_project($1::uuid)")?,
            begin: client.prepare(
                "SELECT tenancy.reserve('context_tokens', greatest($1::bigint, 0.000001)), tenancy.reserve('generated_tokens', greatest($2::bigint, 0.000001)), tenancy.consume('requests')",
            )?,
            end: client.prepare("SELECT tenancy.settle($1, $3::bigint), tenancy.settle($2, $4::bigint)")?,
            client,
        })
    }

    fn step(
        &mut self,
        step: &Step,
        world: &World,
        requests: &[Request],
    ) -> Result<Option<Held>, Fault> {
        match step {
            Step::Begin(n) => self.begin(world, *n, &requests[*n]),
            Step::End(n, held) => self.end(world, *n, &requests[*n], held).map(|()| None),
        }
    }

    /// Counts the request and reserves its tokens; returns `None`, and does none of it, when a budget has no room.
    pub fn begin(
        &mut self,
        world: &World,
        n: usize,
        request: &Request,
    ) -> Result<Option<Held>, Fault> {
        let statement = self.begin.clone();
        let mut transaction = self.enter(world, n)?;
        match transaction.query_one(&statement, &[&request.context, &world.estimate]) {
            Ok(row) => {
                transaction.commit()?;
                Ok(Some([row.get(0), row.get(1)]))
            }
            Err(refused) if refused.code() == Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED) => {
                Ok(None)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Records what the request came to.
    pub fn end(
        &mut self,
        world: &World,
        n: usize,
        request: &Request,
        held: &Held,
    ) -> Result<(), Fault> {
        let statement = self.end.clone();
        let mut transaction = self.enter(world, n)?;
        transaction.query_one(
            &statement,
            &[&held[0], &held[1], &request.context, &request.generated],
        )?;
        Ok(transaction.commit()?)
    }

    /// Begins a transaction as the user of a request.
    fn enter(&mut self, world: &World, n: usize) -> Result<Transaction<'_>, Fault> {
        let user = world.user(n);
        let mut transaction = self.client.transaction()?;
        match self.way {
            Way::Key => transaction.execute(&self.login, &[&user.key])?,
            Way::Ticket => transaction.execute(&self.login, &[&user.ticket])?,
            Way::Gateway => transaction.execute(&self.login, &[&user.id])?,
        };
        if let Some(project) = world.project(n) {
            transaction.execute(&self.project, &[&world.scopes[project].id])?;
        }
        Ok(transaction)
    }
}
