//! The cost of limits: asking one, and taking from rates, against a setting, an empty function, and a row with a token
//! bucket in it.

use std::time::Duration;

use postgres::Client;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, pair};
use crate::config::{APP, Config, DATABASE, HAND};
use crate::crowd::{Crowd, Work};
use crate::measure::{Turn, in_turns, timed};
use crate::metering::{Place, places};
use crate::report::{Report, Wanted};
use crate::setup::World;

/// How long each side works in a round.
const TURN: Duration = Duration::from_millis(600);
/// The number of calls in one turn.
const LOOPS: usize = 50_000;

/// What is written by hand: the row is locked until the commit.
const BUCKET: &str = "UPDATE bench.token_buckets b
     SET tokens = least(b.burst, b.tokens + b.rate * extract(epoch FROM clock_timestamp() - b.at)::float8) - 1, at = clock_timestamp()
   WHERE b.scope = $1 AND least(b.burst, b.tokens + b.rate * extract(epoch FROM clock_timestamp() - b.at)::float8) >= 1
   RETURNING b.tokens";
const TAKE: &str = "SELECT tenancy.take('bench-api')";

/// Makes the limits of the first tenant, three levels of rates that never run out, if they are not there.
fn prepare(config: &Config, world: &World) -> Result<(Client, Place), Fault> {
    let mut admin = config.administer(DATABASE)?;
    let place = places(&mut admin, world, 1)?[0];
    let made = "SELECT to_regclass('bench.token_buckets') IS NOT NULL";
    if !admin.query_one(made, &[])?.get::<_, bool>(0) {
        let Place {
            partner,
            tenant,
            user,
        } = place;
        admin.batch_execute(&format!(
            "SELECT tenancy.define_limit('bench-api', 'rate'), tenancy.define_limit('bench-rooms', 'amount');
             SELECT tenancy.set_rate_limit('{partner}', 'bench-api', 100000000), tenancy.set_rate_limit('{tenant}', 'bench-api', 10000000),
                    tenancy.set_rate_limit('{user}', 'bench-api', 1000000);
             SELECT tenancy.set_limit('{partner}', 'bench-rooms', 1000), tenancy.set_limit('{tenant}', 'bench-rooms', 500);
             CREATE TABLE bench.token_buckets (scope uuid PRIMARY KEY, tokens float8, burst float8, rate float8, at timestamptz) WITH (fillfactor = 20);
             INSERT INTO bench.token_buckets VALUES ('{tenant}', 1e7, 1e7, 1e7, clock_timestamp());
             CREATE FUNCTION bench.nothing(name text) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
             GRANT USAGE ON SCHEMA bench TO {APP}, {HAND};
             GRANT SELECT, UPDATE ON bench.token_buckets TO {HAND};"
        ))?;
    }
    Ok((admin, place))
}

/// Calls in a loop of PL/pgSQL, so that no time goes into the way there and back.
pub fn calls(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    prepare(config, world)?;
    let (mut app, mut hand) = (config.connect(APP)?, config.connect(APP)?);
    let authenticate = app.prepare(AUTHENTICATE)?;
    hand.batch_execute("SET app.rooms = '500'")?;
    for (what, ours, theirs, wanted) in [
        (
            "limit_of(); hand: current_setting()",
            "n := tenancy.limit_of('bench-rooms')",
            "t := current_setting('app.rooms')",
            Wanted::AtMost(3.0),
        ),
        (
            "take() from three levels; hand: an empty function in PL/pgSQL",
            "n := tenancy.take('bench-api')",
            "n := bench.nothing('bench-api')",
            Wanted::AtMost(3.0),
        ),
        (
            "  try_take(), a record",
            "r := tenancy.try_take('bench-api')",
            "n := bench.nothing('bench-api')",
            Wanted::Stated,
        ),
    ] {
        let times = in_turns(
            config.rounds(41),
            &mut [&mut |_| looped(&mut hand, theirs), &mut |_| {
                begin_as(&mut app, &authenticate, &world.tenants[0].key)?;
                let turn = looped(&mut app, ours)?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            }],
        )?;
        report.compare(what, pair(&times), wanted, None);
    }
    Ok(())
}

fn looped(client: &mut Client, body: &str) -> Result<Turn, Fault> {
    let block = format!(
        "DO $$ DECLARE n bigint; t text; r record; BEGIN FOR i IN 1..{LOOPS} LOOP {body}; END LOOP; END $$"
    );
    let turn = timed(1, |_| {
        client.batch_execute(&block)?;
        Ok(0)
    })?;
    Ok(Turn {
        ms: turn.ms / LOOPS as f64,
        ..turn
    })
}

/// All clients are one user of one tenant: a transaction that takes from three levels, and one that updates the tenant's row.
pub fn crowds(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let (mut admin, place) = prepare(config, world)?;
    for clients in [1, 8, 32] {
        for command in ["CHECKPOINT", "VACUUM bench.token_buckets"] {
            admin.batch_execute(command)?;
        }
        let mut sides = [
            Crowd::new(clients, |_| by_row(config, place))?,
            Crowd::new(clients, |_| taking(config, world))?,
        ];
        let times = {
            let mut turns: Vec<_> = (sides.iter_mut())
                .map(|side| move |_: usize| side.turn(TURN))
                .collect();
            let mut turns: Vec<crate::measure::Side<'_>> =
                (turns.iter_mut()).map(|turn| turn as _).collect();
            in_turns(config.rounds(11), &mut turns)?
        };
        let with = format!("{clients} client{}", if clients == 1 { "" } else { "s" });
        let wanted = match clients {
            32 => Wanted::Faster(20.0),
            _ => Wanted::Speed,
        };
        report.compare(
            &format!(
                "take() from three levels, {with} of a tenant; hand: a row with a token bucket"
            ),
            pair(&times),
            wanted,
            None,
        );
        let tps = |ms: f64| format!("{:.0}", 1e3 / ms);
        report.state(
            &format!("transactions a second with {with}"),
            &[
                format!("row {}", tps(times[0])),
                format!("take {}", tps(times[1])),
            ],
        );
    }
    Ok(())
}

fn by_row(config: &Config, place: Place) -> Result<Work, Fault> {
    let mut client = config.connect(HAND)?;
    let ready = client.prepare(BUCKET)?;
    Ok(Box::new(move || {
        client.query_one(&ready, &[&place.tenant])?;
        Ok(())
    }))
}

fn taking(config: &Config, world: &World) -> Result<Work, Fault> {
    let mut client = config.connect(APP)?;
    client.batch_execute(&format!(
        "SET tenancy.ticket = '{}'",
        world.tenants[0].ticket
    ))?;
    let ready = client.prepare(TAKE)?;
    Ok(Box::new(move || {
        client.query_one(&ready, &[])?;
        Ok(())
    }))
}
