//! A table with a partition for each of 1,000 tenants: what planning costs, what it locks, and what a new partition costs.

use std::time::Instant;

use postgres::Client;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, explain_as, literal, pair, run_text};
use crate::config::{APP, Config, DATABASE, HAND};
use crate::measure::{in_turns, median, timed};
use crate::plans::explain;
use crate::report::{Report, Wanted, milliseconds};
use crate::setup::World;

const SUM: &str = "SELECT coalesce(sum(id), 0)::bigint FROM bench.parted";
const LOCKS: &str =
    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IS NOT NULL";

/// Measures statements that are planned each time, and new partitions.
pub fn by_tenant(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    for name in ["parted", "parted_hand", "small"] {
        admin.batch_execute(&format!(
            "CREATE TABLE bench.{name} (id bigint NOT NULL, tenant_id uuid NOT NULL) PARTITION BY LIST (tenant_id)"
        ))?;
        let tenants = if name == "small" {
            10
        } else {
            world.tenants.len()
        };
        for (n, tenant) in world.tenants.iter().take(tenants).enumerate() {
            let id = literal(&tenant.id);
            admin.batch_execute(&format!(
                "CREATE TABLE bench.{name}_{n} PARTITION OF bench.{name} FOR VALUES IN ({id});
                 INSERT INTO bench.{name}_{n} SELECT i, {id} FROM generate_series(1, 10) i"
            ))?;
        }
        admin.batch_execute(&format!(
            "CREATE INDEX ON bench.{name} (tenant_id); ANALYZE bench.{name}"
        ))?;
    }
    admin.batch_execute(&format!(
        "SELECT tenancy.protect('bench.parted', grants => ARRAY['{APP}']), tenancy.protect('bench.small');
         GRANT SELECT ON bench.parted_hand TO {HAND}"
    ))?;

    let (mut app, mut hand) = (config.connect(APP)?, config.connect(HAND)?);
    let authenticate = app.prepare(AUTHENTICATE)?;
    let of = |round: usize| &world.tenants[round % world.tenants.len()];
    let by_hand = |round: usize| {
        let id = literal(&of(round).id);
        format!("SELECT coalesce(sum(id), 0)::bigint FROM bench.parted_hand WHERE tenant_id = {id}")
    };
    let times = in_turns(
        config.rounds(61),
        &mut [
            &mut |round| {
                hand.batch_execute("BEGIN")?;
                let turn = timed(50, |_| run_text(&mut hand, &by_hand(round)))?;
                hand.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |round| {
                begin_as(&mut app, &authenticate, &of(round).key)?;
                let turn = timed(50, |_| run_text(&mut app, SUM))?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            },
        ],
    )?;
    let plans = [
        explain(&mut hand, &by_hand(0))?,
        explain_as(&mut app, &authenticate, &of(0).key, SUM)?,
    ];
    report.compare(
        "1,000 partitions by tenant, not prepared",
        pair(&times),
        Wanted::AtMost(2.0),
        Some(plans),
    );
    let locks = |client: &mut Client, query: &str| -> Result<i64, Fault> {
        run_text(client, query)?;
        Ok(client.query_one(LOCKS, &[])?.get(0))
    };
    hand.batch_execute("BEGIN")?;
    let theirs = locks(&mut hand, &by_hand(0))?;
    hand.batch_execute("COMMIT")?;
    begin_as(&mut app, &authenticate, &of(0).key)?;
    let ours = locks(&mut app, SUM)?;
    app.batch_execute("COMMIT")?;
    report.state(
        "locks on relations after a query of 1,000 partitions: by hand, tenancy",
        &[theirs.to_string(), ours.to_string()],
    );

    let mut times = Vec::new();
    for table in ["parted_hand", "small", "parted"] {
        times.push(milliseconds(new_partition(config, &mut admin, table)?));
    }
    report.state(
        "a new partition: of 1,000 without protection, protected of 10, protected of 1,000",
        &times,
    );
    Ok(())
}

/// Returns the milliseconds that a new partition takes, which is rolled back.
fn new_partition(config: &Config, admin: &mut Client, table: &str) -> Result<f64, Fault> {
    let create = format!(
        "CREATE TABLE bench.one_more PARTITION OF bench.{table} FOR VALUES IN ('00000000-0000-4000-8000-000000000000')"
    );
    let mut times = Vec::new();
    for _ in 0..config.rounds(11) {
        let mut transaction = admin.transaction()?;
        let began = Instant::now();
        transaction.batch_execute(&create)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        transaction.rollback()?;
    }
    Ok(median(times))
}
