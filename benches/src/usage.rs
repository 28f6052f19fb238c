//! The cost of sums: rolling events up, and reading the usage of a month.

use std::time::Instant;

use postgres::Client;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, explain_as, literal, pair, run};
use crate::config::{APP, Config, DATABASE};
use crate::measure::{in_turns, median, timed};
use crate::metering::{PRICE, places, prepare};
use crate::plans::explain;
use crate::report::{Report, Wanted, grouped};
use crate::setup::World;

/// Events of a round of the rollup.
const ROUND: i64 = 200_000;

/// The rollup tables, and the hand-written SQL that fills them, each from the finer one.
const BY_HAND: [(&str, &str, &str); 3] = [
    (
        "quarterly",
        "project_id, user_id, value, dimensions",
        "SELECT metric_id, date_bin('15 minutes', at, '2000-01-01 00:00Z'), partner_id, tenant_id, project_id, user_id, value, dimensions,
                count(*), sum(quantity), max(quantity), sum(cost)
           FROM bench.roll_events GROUP BY 1, 2, 3, 4, 5, 6, 7, 8",
    ),
    (
        "hourly",
        "value",
        "SELECT metric_id, date_bin('1 hour', slot, '2000-01-01 00:00Z'), partner_id, tenant_id, value, sum(events), sum(quantity), max(most), sum(cost)
           FROM bench.quarterly_hand WHERE slot >= $from AND slot < $from + interval '1 day' GROUP BY 1, 2, 3, 4, 5",
    ),
    (
        "daily",
        "value",
        "SELECT metric_id, date_bin('1 day', slot, '2000-01-01 00:00Z'), partner_id, tenant_id, value, sum(events), sum(quantity), max(most), sum(cost)
           FROM bench.hourly_hand WHERE slot >= $from AND slot < $from + interval '1 day' GROUP BY 1, 2, 3, 4, 5",
    ),
];

/// Events of the partner's 100 tenants, of ten users each, evenly over a time that ends `hours` after it
/// begins: in the order of time, as they come.
fn fill(
    admin: &mut Client,
    world: &World,
    from: &str,
    hours: i64,
    count: i64,
) -> Result<(), Fault> {
    let places = places(admin, world, 100)?;
    let tenants: Vec<_> = places.iter().map(|place| place.tenant).collect();
    let micros = hours * 3_600_000_000 / count.max(1);
    // A million at a time.
    let mut first = 0;
    while first < count {
        let last = count.min(first + 1_000_000) - 1;
        admin.execute(
            &format!(
                "INSERT INTO tenancy_internal.usage_events (at, origin, xid, id, metric_id, partner_id, tenant_id, user_id, quantity, cost, dimensions)
                 SELECT {from} + i * {micros} * interval '1 microsecond', tenancy_internal.origin(), pg_current_xact_id(), gen_random_uuid(), 1, $1,
                        ($2::uuid[])[1 + h.n % 100], overlay(($2::uuid[])[1 + h.n % 100]::text PLACING lpad((h.n / 100 % 10)::text, 12, '0') FROM 25)::uuid,
                        (1 + h.n % 1000) * 1000000::bigint, (1 + h.n % 1000) * {PRICE},
                        (ARRAY['{{\"model\": \"small\"}}', '{{\"model\": \"large\"}}', '{{\"model\": \"other\"}}'])[1 + h.n / 1000 % 3]::jsonb
                   FROM generate_series({first}::bigint, {last}) i CROSS JOIN LATERAL (SELECT abs(hashint8(i))) h (n)"
            ),
            &[&places[0].partner, &tenants],
        )?;
        first = last + 1;
    }
    Ok(())
}

/// Months ago, in UTC.
fn month(ago: i64) -> String {
    format!(
        "((date_trunc('month', now() AT TIME ZONE 'UTC') - {ago} * interval '1 month') AT TIME ZONE 'UTC')"
    )
}

/// Events are rolled up into quarters, hours and days; by hand into the same tables, with the same keys.
pub fn rollup(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    let mut hand = config.administer(DATABASE)?;
    // Else the planner, which thinks that there will be a row for each event, sorts them on the disk.
    hand.batch_execute("SET work_mem = '64MB'")?;
    admin.batch_execute(
        "SELECT tenancy.rollup();
         CREATE TABLE bench.quarterly_hand (LIKE tenancy_internal.usage_quarterly INCLUDING ALL) WITH (fillfactor = 80);
         CREATE TABLE bench.hourly_hand (LIKE tenancy_internal.usage_hourly INCLUDING ALL) WITH (fillfactor = 80);
         CREATE TABLE bench.daily_hand (LIKE tenancy_internal.usage_daily INCLUDING ALL) WITH (fillfactor = 80)",
    )?;
    let mut day = 0;
    for (what, hours) in [("many to a row", 1), ("nearly each a row of its own", 24)] {
        let (mut ours, mut theirs, mut one) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..config.rounds(5).min(14) {
            // A day each, so that both sides make rows and change none; what is read is in memory for both.
            let from = format!("({} + {day} * interval '1 day')", month(1));
            day = (day + 1) % 28;
            fill(&mut admin, world, &from, hours, ROUND)?;
            admin.batch_execute(&format!(
                "DROP TABLE IF EXISTS bench.roll_events;
                 CREATE TABLE bench.roll_events AS SELECT * FROM tenancy_internal.usage_events WHERE at >= {from} AND at < {from} + interval '1 day';
                 ANALYZE bench.roll_events; ANALYZE tenancy_internal.usage_events"
            ))?;
            admin.batch_execute("CHECKPOINT")?;
            for side in [round % 2, (round + 1) % 2] {
                if side == 0 {
                    let began = Instant::now();
                    let rolled: i64 = admin.query_one("SELECT tenancy.rollup()", &[])?.get(0);
                    ours.push(per_event(began));
                    if rolled != ROUND {
                        return Err(format!("{rolled} events were rolled up, of {ROUND}").into());
                    }
                } else {
                    let (first, all) = by_hand(&mut hand, &from)?;
                    one.push(first);
                    theirs.push(all);
                }
            }
        }
        let (ours, theirs, one) = (median(ours), median(theirs), median(one));
        report.compare(
            &format!(
                "rollup(), an event, {what}; hand: INSERT … SELECT … GROUP BY into the three tables"
            ),
            [theirs, ours],
            Wanted::Tps(0.5),
            None,
        );
        report.compare(
            "  hand: into the quarters only",
            [one, ours],
            Wanted::Speed,
            None,
        );
        let a_second = |ms: f64| grouped((1e3 / ms) as i64);
        report.state(
            &format!("events a second, {what}"),
            &[
                format!("rollup() {}", a_second(ours)),
                format!("by hand {}", a_second(theirs)),
                format!("quarters only {}", a_second(one)),
            ],
        );
    }
    agree(&mut admin)
}

fn per_event(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3 / ROUND as f64
}

/// Milliseconds for an event: into the first table, and into all of them.
fn by_hand(hand: &mut Client, from: &str) -> Result<(f64, f64), Fault> {
    let began = Instant::now();
    let mut first = None;
    hand.batch_execute("BEGIN")?;
    for (table, own, select) in BY_HAND {
        let select = select.replace("$from", from);
        hand.batch_execute(&format!(
            "INSERT INTO bench.{table}_hand (metric_id, slot, partner_id, tenant_id, {own}, events, quantity, most, cost) {select}"
        ))?;
        first.get_or_insert_with(|| per_event(began));
    }
    hand.batch_execute("COMMIT")?;
    let all = per_event(began);
    Ok((first.unwrap_or(all), all))
}

/// Checks that both sides have written the same rows.
fn agree(admin: &mut Client) -> Result<(), Fault> {
    for (table, ..) in BY_HAND {
        let (lo, hi) = (month(1), month(0));
        let differ: i64 = admin
            .query_one(
                &format!(
                    "WITH ours AS (SELECT * FROM tenancy_internal.usage_{table} WHERE slot >= {lo} AND slot < {hi})
                     SELECT count(*) FROM ((SELECT * FROM bench.{table}_hand EXCEPT ALL SELECT * FROM ours)
                                           UNION ALL (SELECT * FROM ours EXCEPT ALL SELECT * FROM bench.{table}_hand)) d"
                ),
                &[],
            )?
            .get(0);
        if differ > 0 {
            return Err(format!("{differ} rows of {table} differ").into());
        }
    }
    Ok(())
}

/// The usage of a month, for a partner with 100 tenants: the sum, and each tenant's.
pub fn month_of_use(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    let (lo, hi) = (month(2), month(1));
    let hours: i64 = admin
        .query_one(
            &format!("SELECT (extract(epoch FROM {hi} - {lo}) / 3600)::bigint"),
            &[],
        )?
        .get(0);
    let began = Instant::now();
    fill(&mut admin, world, &lo, hours, config.events)?;
    eprintln!(
        "  {} events in a month ({:.1} s)",
        grouped(config.events),
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    let rolled: i64 = admin.query_one("SELECT tenancy.rollup()", &[])?.get(0);
    let seconds = began.elapsed().as_secs_f64();
    for table in [
        "usage_events",
        "usage_quarterly",
        "usage_hourly",
        "usage_daily",
    ] {
        admin.batch_execute(&format!("VACUUM (ANALYZE) tenancy_internal.{table}"))?;
    }
    let partner = places(&mut admin, world, 1)?[0].partner;
    let mut app = config.connect(APP)?;
    let authenticate = app.prepare(AUTHENTICATE)?;
    let span: (String, String) = {
        let row = admin.query_one(&format!("SELECT {lo}::text, {hi}::text"), &[])?;
        (row.get(0), row.get(1))
    };
    for (what, by) in [("in all", ""), ("of each tenant", "tenant_id")] {
        let asked = format!(
            "SELECT key, quantity::text, cost::text, events FROM tenancy.usage('{partner}', 'tokens', '{}', '{}'{})",
            span.0,
            span.1,
            if by.is_empty() {
                ""
            } else {
                ", by_dimension => 'tenant'"
            }
        );
        let asked_hand = format!(
            "SELECT {}::text, (sum(quantity) * 0.000001)::text, (sum(cost) * 0.000001)::text, count(*) FROM tenancy_internal.usage_events
              WHERE partner_id = {} AND metric_id = 1 AND at >= '{}' AND at < '{}'{}",
            if by.is_empty() { "NULL" } else { by },
            literal(&partner),
            span.0,
            span.1,
            if by.is_empty() { String::new() } else { format!(" GROUP BY {by}") }
        );
        let (ready, ready_hand) = (app.prepare(&asked)?, admin.prepare(&asked_hand)?);
        let times = in_turns(
            config.rounds(5),
            &mut [
                &mut |_| timed(1, |_| run(&mut admin, &ready_hand, &[])),
                &mut |_| {
                    begin_as(&mut app, &authenticate, &world.fleet_100.key)?;
                    let mut turn = timed(20, |_| run(&mut app, &ready, &[]))?;
                    app.batch_execute("COMMIT")?;
                    turn.answer /= 20;
                    Ok(turn)
                },
            ],
        )?;
        let plans = [
            explain(&mut admin, &asked_hand)?,
            explain_as(&mut app, &authenticate, &world.fleet_100.key, &asked)?,
        ];
        report.compare(
            &format!(
                "usage() over a month of {} events, {what}; hand: over the events",
                grouped(config.events)
            ),
            pair(&times),
            if config.events >= 10_000_000 {
                Wanted::Faster(100.0)
            } else {
                Wanted::Speed
            },
            config.plans.then_some(plans),
        );
    }
    report.state(
        "the month was rolled up",
        &[format!("{} events in {seconds:.1} s", grouped(rolled))],
    );
    Ok(())
}
