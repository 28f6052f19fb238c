//! The cost of quotas: INSERT into a protected table with a quota, against the same protected table without one.

use std::time::Duration;

use postgres::Client;

use crate::Fault;
use crate::cases::pair;
use crate::config::{APP, Config, DATABASE};
use crate::crowd::{Crowd, Work};
use crate::measure::in_turns;
use crate::metering::places;
use crate::report::{Report, Wanted};
use crate::setup::World;

/// How long each side works in a round.
const TURN: Duration = Duration::from_millis(600);

/// Makes the two tables, if they are not there.
fn prepare(config: &Config, world: &World) -> Result<Client, Fault> {
    let mut admin = config.administer(DATABASE)?;
    let place = places(&mut admin, world, 1)?[0];
    let made = "SELECT to_regclass('bench.counted') IS NOT NULL";
    if !admin.query_one(made, &[])?.get::<_, bool>(0) {
        let table = |name: &str| {
            format!(
                "CREATE TABLE bench.{name} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, body text);
                 SELECT tenancy.protect('bench.{name}', grants => '{{{APP}}}');"
            )
        };
        admin.batch_execute(&format!(
            "{} {}
             SELECT tenancy.define_limit('bench-rows', 'amount'), tenancy.set_limit('{}', 'bench-rows', 1000000000000);
             SELECT tenancy.set_quota('bench.counted', 'bench-rows');",
            table("counted"),
            table("uncounted"),
            place.tenant
        ))?;
    }
    Ok(admin)
}

/// One client, and several of one tenant, with batches of 1 and of 1000 rows.
pub fn inserts(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    for (clients, rows) in [(1, 1), (1, 1000), (4, 1), (4, 1000)] {
        let mut sides = [
            Crowd::new(clients, |n| {
                inserting(config, world, n, clients, "uncounted", rows)
            })?,
            Crowd::new(clients, |n| {
                inserting(config, world, n, clients, "counted", rows)
            })?,
        ];
        let times = {
            let mut turns: Vec<_> = (sides.iter_mut())
                .map(|side| move |_: usize| side.turn(TURN))
                .collect();
            let mut turns: Vec<crate::measure::Side<'_>> =
                (turns.iter_mut()).map(|turn| turn as _).collect();
            in_turns(config.rounds(21), &mut turns)?
        };
        let of = match clients {
            1 => "1 client".to_owned(),
            n => format!("{n} clients of {n} tenants"),
        };
        report.compare(
            &format!("INSERT of {rows} rows with a quota, {of}; other: without"),
            pair(&times),
            Wanted::Tps(0.9),
            None,
        );
        admin.batch_execute("TRUNCATE bench.counted, bench.uncounted; CHECKPOINT")?;
    }
    same_tenant(config, world, report)
}

/// Clients of one tenant share a counter: a transaction holds it until its end. Stated, as it depends on how long a commit takes.
fn same_tenant(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut sides = [
        Crowd::new(4, |_| inserting(config, world, 0, 1, "uncounted", 1))?,
        Crowd::new(4, |_| inserting(config, world, 0, 1, "counted", 1))?,
    ];
    let times = {
        let mut turns: Vec<_> = (sides.iter_mut())
            .map(|side| move |_: usize| side.turn(TURN))
            .collect();
        let mut turns: Vec<crate::measure::Side<'_>> =
            (turns.iter_mut()).map(|turn| turn as _).collect();
        in_turns(config.rounds(11), &mut turns)?
    };
    report.compare(
        "INSERT of 1 row with a quota, 4 clients of a tenant; other: without",
        pair(&times),
        Wanted::Stated,
        None,
    );
    Ok(())
}

fn inserting(
    config: &Config,
    world: &World,
    client: usize,
    clients: usize,
    table: &str,
    rows: usize,
) -> Result<Work, Fault> {
    let ticket = &world.tenants[client % clients.min(world.tenants.len())].ticket;
    let mut connection = config.connect(APP)?;
    connection.batch_execute(&format!("SET tenancy.ticket = '{ticket}'"))?;
    let insert = connection.prepare(&match rows {
        1 => format!("INSERT INTO bench.{table} (body) VALUES ('some text of a row')"),
        rows => format!(
            "INSERT INTO bench.{table} (body) SELECT 'some text of a row' FROM generate_series(1, {rows})"
        ),
    })?;
    Ok(Box::new(move || {
        connection.execute(&insert, &[])?;
        Ok(())
    }))
}
