//! The cost of quotas: new rows of a protected table with a quota, against the same table without one, and against one whose rows a
//! trigger in PL/pgSQL counts in a table of its own.

use std::io::Write;
use std::time::Duration;

use postgres::Client;

use crate::Fault;
use crate::cases::pair;
use crate::config::{APP, Config, DATABASE};
use crate::crowd::{Crowd, Work};
use crate::measure::{Side, in_turns};
use crate::metering::places;
use crate::report::{Report, Wanted};
use crate::setup::World;

/// How long each side works in a round.
const TURN: Duration = Duration::from_millis(600);
/// The tables: without a quota, with one, and with the trigger.
const TABLES: [&str; 3] = ["uncounted", "counted", "counted_hand"];
/// The text of a row.
const BODY: &str = "some text of a row";

/// What a transaction stores.
#[derive(Clone, Copy)]
enum Stores {
    /// So many rows by INSERT.
    Insert(usize),
    /// So many rows by COPY.
    Copy(usize),
}

/// Makes the tables, if they are not there.
fn prepare(config: &Config, world: &World) -> Result<Client, Fault> {
    let mut admin = config.administer(DATABASE)?;
    let place = places(&mut admin, world, 1)?[0];
    let made = "SELECT to_regclass('bench.counted') IS NOT NULL";
    if !admin.query_one(made, &[])?.get::<_, bool>(0) {
        for table in TABLES {
            admin.batch_execute(&format!(
                "CREATE TABLE bench.{table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, body text);
                 SELECT tenancy.protect('bench.{table}', grants => '{{{APP}}}');"
            ))?;
        }
        admin.batch_execute(&format!(
            "SELECT tenancy.define_limit('bench-rows', 'amount'), tenancy.set_limit('{}', 'bench-rows', 1000000000000, level => 'tenant');
             SELECT tenancy.set_quota('bench.counted', 'bench-rows');
             CREATE TABLE bench.hand_counters (tenant_id uuid PRIMARY KEY, used bigint NOT NULL, allowed bigint NOT NULL) WITH (fillfactor = 20);
             INSERT INTO bench.hand_counters SELECT id, 0, 1000000000000 FROM tenancy.scopes WHERE level = 'tenant';
             CREATE FUNCTION bench.count_by_hand() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
             BEGIN
                 UPDATE bench.hand_counters c SET used = c.used + 1 WHERE c.tenant_id = NEW.tenant_id AND c.used < c.allowed;
                 IF NOT FOUND THEN RAISE 'exhausted'; END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER count_by_hand AFTER INSERT ON bench.counted_hand FOR EACH ROW EXECUTE FUNCTION bench.count_by_hand();
             GRANT USAGE ON SCHEMA bench TO {APP};",
            place.partner
        ))?;
    }
    Ok(admin)
}

/// One client.
pub fn inserts(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    for (what, stores) in [
        ("INSERT of a row", Stores::Insert(1)),
        ("INSERT of 100 rows", Stores::Insert(100)),
        ("COPY of 100 rows", Stores::Copy(100)),
        ("COPY of 10000 rows", Stores::Copy(10_000)),
    ] {
        let clients = Clients {
            count: 1,
            tenants: 1,
        };
        compare(
            config,
            world,
            report,
            &mut admin,
            &format!("{what}, 1 client"),
            (clients, stores),
            Wanted::Tps(0.9),
        )?;
    }
    Ok(())
}

/// 16 clients. Those of one tenant share a counter, which a transaction holds until its end: that is stated.
pub fn crowds(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    for (tenants, wanted) in [(16, Wanted::Tps(0.9)), (1, Wanted::Speed)] {
        let clients = Clients { count: 16, tenants };
        compare(
            config,
            world,
            report,
            &mut admin,
            &format!("INSERT of a row, 16 clients of {tenants} tenants"),
            (clients, Stores::Insert(1)),
            wanted,
        )?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Clients {
    count: usize,
    tenants: usize,
}

/// The same into each table, in turns.
fn compare(
    config: &Config,
    world: &World,
    report: &mut Report,
    admin: &mut Client,
    what: &str,
    (clients, stores): (Clients, Stores),
    wanted: Wanted,
) -> Result<(), Fault> {
    let crowd = |table: &'static str| {
        Crowd::new(clients.count, |n| {
            storing(config, world, n % clients.tenants, table, stores)
        })
    };
    let mut sides = TABLES
        .into_iter()
        .map(crowd)
        .collect::<Result<Vec<_>, _>>()?;
    let times = {
        let mut turns: Vec<_> = (sides.iter_mut())
            .map(|side| move |_: usize| side.turn(TURN))
            .collect();
        let mut turns: Vec<Side<'_>> = (turns.iter_mut()).map(|turn| turn as _).collect();
        in_turns(config.rounds(21), &mut turns)?
    };
    report.compare(
        &format!("{what}, with a quota; other: without"),
        pair(&times),
        wanted,
        None,
    );
    report.compare(
        &format!("{what}, with a quota; hand: a trigger that counts"),
        [times[2], times[1]],
        Wanted::Speed,
        None,
    );
    for table in TABLES {
        admin.batch_execute(&format!("TRUNCATE bench.{table}"))?;
    }
    admin.batch_execute("CHECKPOINT")?;
    Ok(())
}

fn storing(
    config: &Config,
    world: &World,
    tenant: usize,
    table: &str,
    stores: Stores,
) -> Result<Work, Fault> {
    let ticket = &world.tenants[tenant].ticket;
    let mut connection = config.connect(APP)?;
    connection.batch_execute(&format!("SET tenancy.ticket = '{ticket}'"))?;
    let rows = match stores {
        Stores::Copy(rows) => {
            let copy = format!("COPY bench.{table} (body) FROM STDIN");
            let lines = format!("{BODY}\n").repeat(rows);
            return Ok(Box::new(move || {
                let mut to = connection.copy_in(&copy)?;
                to.write_all(lines.as_bytes())?;
                to.finish()?;
                Ok(())
            }));
        }
        Stores::Insert(rows) => rows,
    };
    let insert = connection.prepare(&match rows {
        1 => format!("INSERT INTO bench.{table} (body) VALUES ('{BODY}')"),
        rows => format!(
            "INSERT INTO bench.{table} (body) SELECT '{BODY}' FROM generate_series(1, {rows})"
        ),
    })?;
    Ok(Box::new(move || {
        connection.execute(&insert, &[])?;
        Ok(())
    }))
}
