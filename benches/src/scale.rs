//! Measures how the cost of budgets depends on the number of scopes with a budget: the same users ask and consume, while
//! the tree, the tables and the ledger hold more and more others.

use std::time::Instant;

use postgres::{Client, Statement};

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as};
use crate::config::{APP, Config};
use crate::measure::{in_turns, timed};
use crate::metering::{QUANTITY, prepare};
use crate::report::{Report, grouped, milliseconds};
use crate::setup::World;

/// Users that ask in turn, each in a transaction of its own.
const ASKING: usize = 500;

/// Measures with 1,000 to a million scopes, up to BENCH_SCOPES.
pub fn scopes(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    let room: i64 = admin
        .query_one(
            "SELECT current_setting('tenancy.ledger_entries')::bigint",
            &[],
        )?
        .get(0);
    // Events are rolled up first: reading an entry also reads the events that are not.
    admin.batch_execute("SELECT tenancy.rollup()")?;
    let mut there = 0;
    let mut asking = Vec::new();
    for scopes in [1_000, 10_000, 100_000, 1_000_000] {
        if scopes > config.scopes || scopes > room - 1_000 {
            break;
        }
        let loaded = more(&mut admin, there, scopes)?;
        there = scopes;
        for table in [
            "tenancy.scopes",
            "tenancy_internal.budget_definitions",
            "tenancy_internal.usage_quarterly",
        ] {
            admin.batch_execute(&format!("VACUUM (ANALYZE) {table}"))?;
        }
        if asking.is_empty() {
            asking = tickets(&mut admin)?;
        }
        let mut app = config.connect(APP)?;
        let authenticate = app.prepare(AUTHENTICATE)?;
        let check = app
            .prepare("SELECT (tenancy.check_budget('tokens', $1::bigint)).allowed::int::bigint")?;
        let consume = app.prepare("SELECT count(tenancy.consume('tokens', $1::bigint))")?;
        let mut each = |query: &Statement| {
            timed(ASKING, |n| {
                begin_as(&mut app, &authenticate, &asking[n % asking.len()])?;
                let done: i64 = app.query_one(query, &[&QUANTITY])?.get(0);
                app.batch_execute("COMMIT")?;
                Ok(done)
            })
        };
        let times = {
            let each = std::cell::RefCell::new(&mut each);
            in_turns(
                config.rounds(9),
                &mut [&mut |_| each.borrow_mut()(&check), &mut |_| {
                    each.borrow_mut()(&consume)
                }],
            )?
        };
        let entries: i64 = admin
            .query_one(
                "SELECT count(*) FROM tenancy_internal.ledger_entries() WHERE loaded",
                &[],
            )?
            .get(0);
        if entries < scopes {
            return Err(format!("{entries} entries of {scopes} are in the ledger").into());
        }
        report.state(
            &format!("with {} scopes that have a budget", grouped(scopes)),
            &[
                format!(
                    "a transaction that authenticates and checks {}",
                    milliseconds(times[0])
                ),
                format!("one that consumes {}", milliseconds(times[1])),
                format!("the first use of one {}", milliseconds(loaded)),
            ],
        );
    }
    Ok(())
}

/// Users in the 100 tenants of a partner, each with a budget, a first event and an entry in the ledger.
/// Milliseconds for such a first event.
fn more(admin: &mut Client, from: i64, to: i64) -> Result<f64, Fault> {
    admin.batch_execute(&format!(
        "CREATE TABLE IF NOT EXISTS bench.people (n bigint PRIMARY KEY, id uuid);
         INSERT INTO bench.people SELECT n, tenancy.new_id() FROM generate_series({from}, {to} - 1) n;
         INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name, kind)
             SELECT p.id, 'user', t.id, t.path || p.id, 'someone-' || p.n, 'Someone ' || p.n, 'human'
               FROM bench.people p
               JOIN (SELECT id, path, row_number() OVER (ORDER BY slug) - 1 AS n FROM tenancy.scopes
                      WHERE level = 'tenant' AND slug LIKE 'narrow-2-%') t ON t.n = p.n % 100
              WHERE p.n >= {from};
         INSERT INTO tenancy_internal.role_assignments (user_id, role_id, scope_id)
             SELECT s.id, r.id, s.parent_id FROM bench.people p JOIN tenancy.scopes s ON s.id = p.id
               JOIN tenancy_internal.role_definitions r ON r.built_in AND r.name = 'member'
              WHERE p.n >= {from};
         INSERT INTO tenancy_internal.budget_definitions (scope_id, metric_id, period, imposed, amount, hard)
             SELECT p.id, 1, 'month', true, 1000000000000000000, true FROM bench.people p WHERE p.n >= {from}"
    ))?;
    // As a gateway writes batches: what is recorded is counted in the ledger, which reads an entry first.
    let (mut first, mut seconds) = (from, 0.0);
    while first < to {
        let next = to.min(first + 2_000);
        let began = Instant::now();
        admin.batch_execute(&format!(
            "INSERT INTO tenancy.recorded_usage (metric, quantity, user_id)
             SELECT 'tokens', 1, p.id FROM bench.people p WHERE p.n >= {first} AND p.n < {next}"
        ))?;
        seconds += began.elapsed().as_secs_f64();
        first = next;
        admin.batch_execute("SELECT tenancy.rollup()")?;
    }
    Ok(seconds * 1e3 / (to - from) as f64)
}

fn tickets(admin: &mut Client) -> Result<Vec<String>, Fault> {
    let rows = admin.query(
        "SELECT tenancy.issue_ticket(id, '1 day') FROM bench.people ORDER BY n LIMIT $1",
        &[&(ASKING as i64)],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
