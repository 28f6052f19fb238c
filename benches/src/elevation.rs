//! The cost of elevation: each statement is written to the audit log, and to disk, before it reads.

use std::thread;
use std::time::Instant;

use postgres::{Client, Statement};
use uuid::Uuid;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, pair, run};
use crate::config::{APP, Config};
use crate::measure::{Turn, in_turns};
use crate::report::{Report, Wanted, milliseconds};
use crate::setup::World;

const QUERY: &str =
    "SELECT id, amount FROM bench.items WHERE tenant_id = $1 ORDER BY created_at DESC LIMIT 10";
/// Statements of a client in one turn.
const BATCH: usize = 40;

/// A client and its statements.
struct Asker {
    client: Client,
    authenticate: Statement,
    query: Statement,
}

/// The same statement by a tenant's user and by an elevated super admin, with one client and with eight.
pub fn statements(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut asker = open(config)?;
    begin_as(&mut asker.client, &asker.authenticate, &world.super_admin)?;
    asker
        .client
        .batch_execute("SELECT tenancy.elevate('bench', '1 hour'); COMMIT")?;

    let mut figures = Vec::new();
    for clients in [1, 8] {
        let mut hand = (0..clients)
            .map(|_| open(config))
            .collect::<Result<Vec<_>, _>>()?;
        let mut elevated = (0..clients)
            .map(|_| open(config))
            .collect::<Result<Vec<_>, _>>()?;
        let tenant = &world.tenants[7];
        let times = in_turns(
            config.rounds(15),
            &mut [
                &mut |_| together(&mut hand, &tenant.key, tenant.id),
                &mut |_| together(&mut elevated, &world.super_admin, tenant.id),
            ],
        )?;
        report.compare(
            &format!(
                "an elevated statement, {clients} client{}; hand: the tenant's user",
                if clients == 1 { "" } else { "s" }
            ),
            pair(&times),
            Wanted::Stated,
            None,
        );
        figures.push(format!(
            "{} with {clients} ({:.0} statements/s in all)",
            milliseconds(times[1] * clients as f64),
            1e3 / times[1]
        ));
    }
    report.state("an elevated statement waits for its record", &figures);
    Ok(())
}

fn open(config: &Config) -> Result<Asker, Fault> {
    let mut client = config.connect(APP)?;
    let authenticate = client.prepare(AUTHENTICATE)?;
    let query = client.prepare(QUERY)?;
    Ok(Asker {
        client,
        authenticate,
        query,
    })
}

/// All clients at once, each with a transaction of several statements: milliseconds of all for one.
fn together(askers: &mut [Asker], key: &String, tenant: Uuid) -> Result<Turn, Fault> {
    let clients = askers.len();
    for asker in &mut *askers {
        begin_as(&mut asker.client, &asker.authenticate, key)?;
    }
    let began = Instant::now();
    let answers = thread::scope(|scope| {
        let running: Vec<_> = askers
            .iter_mut()
            .map(|asker| {
                scope.spawn(move || {
                    (0..BATCH).try_fold(0, |sum, _| {
                        run(&mut asker.client, &asker.query, &[&tenant])
                            .map(|answer| sum + answer)
                            .map_err(|fault| crate::describe(fault.as_ref()))
                    })
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
            .collect::<Result<Vec<i64>, String>>()
    })?;
    let ms = began.elapsed().as_secs_f64() * 1e3 / (BATCH * clients) as f64;
    for asker in askers {
        asker.client.batch_execute("COMMIT")?;
    }
    Ok(Turn {
        ms,
        answer: answers.iter().sum(),
    })
}
