//! A table with a partition for each of 1,000 tenants: what planning costs, what it locks, and what a new partition costs.

use std::time::Instant;

use postgres::Client;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, explain_as, literal, pair, run_text};
use crate::config::{APP, Config, DATABASE, HAND};
use crate::measure::{Turn, in_turns, median, timed};
use crate::plans::explain;
use crate::report::{Report, Wanted, milliseconds};
use crate::setup::World;

const SUM: &str = "SELECT coalesce(sum(id), 0)::bigint FROM bench.parted";
const LOCKS: &str =
    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IS NOT NULL";

/// Measures statements that are planned each time, and new partitions.
pub fn by_tenant(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    // The owner is no superuser, as in production.
    admin.batch_execute(&format!(
        "GRANT CREATE ON SCHEMA bench TO {HAND}; SET ROLE {HAND}"
    ))?;
    for name in ["parted", "parted_hand", "few", "few_hand"] {
        admin.batch_execute(&format!(
            "CREATE TABLE bench.{name} (id bigint NOT NULL, tenant_id uuid NOT NULL) PARTITION BY LIST (tenant_id)"
        ))?;
        let tenants = if name.starts_with("few") {
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
        "RESET ROLE;
         SELECT tenancy.protect('bench.parted', grants => ARRAY['{APP}']), tenancy.protect('bench.few')"
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

    new_partitions(config, &mut hand, report)
}

/// Measures what a new partition costs its owner, beside 10 others and beside 1,000.
fn new_partitions(config: &Config, owner: &mut Client, report: &mut Report) -> Result<(), Fault> {
    let beside = [
        ("10", ["few_hand", "few"]),
        ("1,000", ["parted_hand", "parted"]),
    ];
    for (others, [hand, tenancy]) in beside {
        let owner = std::cell::RefCell::new(&mut *owner);
        let create = |table: &str| {
            Ok(Turn {
                ms: new_partition(&mut owner.borrow_mut(), table)?,
                answer: 0,
            })
        };
        let times = in_turns(
            config.rounds(31),
            &mut [&mut |_| create(hand), &mut |_| create(tenancy)],
        )?;
        report.compare(
            &format!("a new partition, beside {others} others"),
            pair(&times),
            Wanted::Adds(5.0),
            None,
        );
    }
    for (others, tables) in beside {
        let mut times = Vec::new();
        for table in tables {
            let in_new_session = (0..config.rounds(5))
                .map(|_| {
                    let mut owner = config.connect(HAND)?;
                    owner.batch_execute("SELECT 1")?;
                    new_partition(&mut owner, table)
                })
                .collect::<Result<Vec<f64>, Fault>>()?;
            times.push(milliseconds(median(in_new_session)));
        }
        for table in tables {
            times.push(milliseconds(a_hundred(owner, table)? / 100.0));
        }
        report.state(
            &format!(
                "a new partition beside {others} others, in a new session: by hand, tenancy; each of 100 in a DO block: by hand, tenancy"
            ),
            &times,
        );
    }
    Ok(())
}

/// Returns the milliseconds that a new partition takes, which is rolled back.
fn new_partition(owner: &mut Client, table: &str) -> Result<f64, Fault> {
    create_and_roll_back(
        owner,
        &format!(
            "CREATE TABLE bench.one_more PARTITION OF bench.{table} FOR VALUES IN ('00000000-0000-4000-8000-000000000000')"
        ),
    )
}

/// Returns the milliseconds of 100, as a maintenance job creates them.
fn a_hundred(owner: &mut Client, table: &str) -> Result<f64, Fault> {
    create_and_roll_back(
        owner,
        &format!(
            "DO $$ BEGIN
                 FOR n IN 1..100 LOOP
                     EXECUTE format('CREATE TABLE bench.more_%s PARTITION OF bench.{table} FOR VALUES IN (%L)',
                                    n, '00000000-0000-4000-8000-' || lpad(n::text, 12, '0'));
                 END LOOP;
             END $$"
        ),
    )
}

fn create_and_roll_back(owner: &mut Client, statement: &str) -> Result<f64, Fault> {
    let mut transaction = owner.transaction()?;
    let began = Instant::now();
    transaction.batch_execute(statement)?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    transaction.rollback()?;
    Ok(ms)
}
