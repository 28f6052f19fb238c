//! The cost of budgets: for one client and for many, compared with the bare INSERT of the same row and with counters
//! written by hand; and the cost of asking.

use std::time::Duration;

use postgres::Client;
use uuid::Uuid;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, pair};
use crate::config::{APP, Config, HAND};
use crate::crowd::{Crowd, Work};
use crate::measure::{Turn, in_turns, timed};
use crate::metering::{ATTRIBUTES, DIMENSIONS, PLATFORM, PRICE, Place, QUANTITY, places, prepare};
use crate::report::{Report, Wanted};
use crate::setup::World;

/// How long each side works in a round.
const TURN: Duration = Duration::from_millis(600);

const INSERT: &str = "INSERT INTO bench.events_hand (at, origin, xid, id, metric_id, partner_id, tenant_id, user_id, quantity, cost, attributes, dimensions)
     VALUES (clock_timestamp(), 1, pg_current_xact_id(), $1, 1, $2, $3, $4, $5, $6::bigint, $7::text::jsonb, $8::text::jsonb)";
const UPSERT: &str = "SELECT bench.consume_upsert($1, $2, $3, $4, $5, $6, $7::text::jsonb)";
const LOCKED: &str = "SELECT bench.consume_locked($1, $2, $3, $4, $5, $6, $7::text::jsonb)";
/// The same counters, for a client that sends each statement by itself.
const COUNT: &str = "INSERT INTO bench.counters AS c (scope, metric, period, used, amount, place)
     VALUES ($1, 1, date_trunc('month', now()), $4, 1000000000000000000, 0), ($2, 1, date_trunc('month', now()), $4, 1000000000000000000, 1),
            ($3, 1, date_trunc('month', now()), $4, 1000000000000000000, 2),
            ('00000000-0000-7000-8000-000000000000', 1, date_trunc('month', now()), $4, 1000000000000000000, 3)
     ON CONFLICT ON CONSTRAINT counters_pkey DO UPDATE SET used = c.used + excluded.used WHERE c.used + excluded.used <= c.amount";
const RECORD: &str =
    "SELECT tenancy.record_usage('tokens', $1::bigint, attributes => $2::text::jsonb)";
const CONSUME: &str = "SELECT tenancy.consume('tokens', $1::bigint, attributes => $2::text::jsonb)";

/// Use is recorded by one client, by eight and by 32 at once, of one partner.
pub fn crowds(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    let places = places(&mut admin, world, 100)?;
    let mut done = [0; 6];
    let before = written(&mut admin)?;
    for clients in [1, 8, 32] {
        admin.batch_execute("CHECKPOINT")?;
        let mut sides = [
            Crowd::new(clients, |n| by_hand(config, INSERT, places[n], true))?,
            Crowd::new(clients, |n| by_hand(config, UPSERT, places[n], false))?,
            Crowd::new(clients, |n| by_hand(config, LOCKED, places[n], false))?,
            Crowd::new(clients, |n| by_statements(config, places[n]))?,
            Crowd::new(clients, |n| metered(config, world, RECORD, n))?,
            Crowd::new(clients, |n| metered(config, world, CONSUME, n))?,
        ];
        let times = {
            let mut turns: Vec<_> = (sides.iter_mut())
                .map(|side| move |_: usize| side.turn(TURN))
                .collect();
            let mut turns: Vec<crate::measure::Side<'_>> =
                (turns.iter_mut()).map(|turn| turn as _).collect();
            in_turns(config.rounds(11), &mut turns)?
        };
        for (sum, side) in done.iter_mut().zip(&sides) {
            *sum += side.done;
        }
        let [insert, upsert, locked, statements, record, consume] = times[..] else {
            return Err("six sides".into());
        };
        let with = format!("{clients} client{}", if clients == 1 { "" } else { "s" });
        let at_32 = |wanted| {
            if clients == 32 { wanted } else { Wanted::Speed }
        };
        report.compare(
            &format!("record_usage(), {with}; hand: a bare INSERT"),
            [insert, record],
            Wanted::Speed,
            None,
        );
        report.compare(
            &format!("consume() under four budgets, {with}; hand: a bare INSERT"),
            [insert, consume],
            at_32(Wanted::Tps(0.85)),
            None,
        );
        report.compare(
            &format!(
                "  hand: {} and INSERT",
                if upsert < locked {
                    "ON CONFLICT DO UPDATE of four counters"
                } else {
                    "FOR UPDATE and UPDATE of four counters"
                }
            ),
            [upsert.min(locked), consume],
            at_32(Wanted::Faster(10.0)),
            None,
        );
        report.compare(
            "  hand: the client sends BEGIN, ON CONFLICT, INSERT, COMMIT",
            [statements, consume],
            Wanted::Speed,
            None,
        );
        let tps = |ms: f64| format!("{:.0}", 1e3 / ms);
        report.state(
            &format!("transactions a second with {with}"),
            &[
                format!("bare INSERT {}", tps(insert)),
                format!("record_usage {}", tps(record)),
                format!("consume {}", tps(consume)),
                format!("counters by ON CONFLICT {}", tps(upsert)),
                format!("by FOR UPDATE {}", tps(locked)),
                format!("by statements of the client's {}", tps(statements)),
            ],
        );
    }
    let after = written(&mut admin)?;
    let expected = [
        done[4] + done[5],
        done[0] + done[1] + done[2] + done[3],
        (done[1] + done[2] + done[3]) * QUANTITY.unsigned_abs(),
    ];
    for (n, expected) in expected.into_iter().enumerate() {
        if (after[n] - before[n]).unsigned_abs() != expected {
            return Err(format!("{before:?} became {after:?}, not by {expected:?}").into());
        }
    }
    let wrong: i64 = admin
        .query_one(
            "SELECT count(*) FROM tenancy.ledger l
              WHERE l.level = 'platform' AND l.used * 1000000 <> (SELECT sum(e.quantity) FROM tenancy_internal.usage_events e WHERE e.at >= l.period_start)",
            &[],
        )?
        .get(0);
    if wrong > 0 {
        return Err("the ledger and the events disagree".into());
    }
    Ok(())
}

/// Ten more budgets of each event: of members, of values of dimensions and of API keys.
const PARTS: &str = r#"
    SELECT tenancy.set_budget($1::text::tenancy.regscope, m, 1000000000000, p, per => per, dimensions => dimensions::jsonb)
      FROM (VALUES ('tokens', 'day', 'user', NULL), ('tokens', 'month', 'user', NULL), (NULL, 'month', 'user', NULL), ('tokens', 'month', 'model', NULL),
                   ('tokens', 'day', NULL, '{"model": "small"}'), ('tokens', 'month', NULL, '{"model": "small"}'), (NULL, 'month', NULL, '{"model": "small"}'),
                   ('tokens', 'month', 'user', '{"model": "small"}'), ('tokens', 'day', 'api_key', NULL), ('tokens', 'month', 'api_key', NULL))
           v (m, p, per, dimensions)"#;

/// The same with ten budgets of parts besides.
pub fn parts(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    let places = places(&mut admin, world, 100)?;
    let keyed = |n: usize, query: &str| -> Result<Work, Fault> {
        let mut client = config.connect(APP)?;
        client.execute(
            "SELECT tenancy.authenticate($1, session => true)",
            &[&world.tenants[n].key],
        )?;
        let ready = client.prepare(query)?;
        Ok(Box::new(move || {
            client.query(&ready, &[&QUANTITY, &ATTRIBUTES])?;
            Ok(())
        }))
    };
    for clients in [1, 32] {
        let mut times = Vec::new();
        // First without them.
        for parts in [false, true] {
            if parts {
                for place in places.iter().take(clients) {
                    admin.execute(PARTS, &[&place.tenant.to_string()])?;
                }
            }
            admin.batch_execute("CHECKPOINT")?;
            let mut insert = Crowd::new(clients, |n| by_hand(config, INSERT, places[n], true))?;
            let mut consume = Crowd::new(clients, |n| keyed(n, CONSUME))?;
            times.push(in_turns(
                config.rounds(11),
                &mut [&mut |_| insert.turn(TURN), &mut |_| consume.turn(TURN)],
            )?);
        }
        for (with, times) in ["four budgets", "four budgets and ten of parts"]
            .into_iter()
            .zip(&times)
        {
            let wanted = match clients {
                32 => Wanted::Tps(0.85),
                _ => Wanted::Speed,
            };
            report.compare(
                &format!("consume() under {with}, {clients} client(s); hand: a bare INSERT"),
                pair(times),
                wanted,
                None,
            );
        }
        for place in places.iter().take(clients) {
            let remove = "SELECT tenancy.remove_budget(b.scope_id, b.metric, b.period, b.per, b.dimensions)
                            FROM tenancy.budgets b WHERE b.scope_id = $1 AND (b.per IS NOT NULL OR b.dimensions IS NOT NULL)";
            admin.execute(remove, &[&place.tenant])?;
        }
    }
    Ok(())
}

/// Returns the number of tenancy's events, of hand-written ones, and the counter of the platform.
fn written(admin: &mut Client) -> Result<[i64; 3], Fault> {
    let row = admin.query_one(
        &format!(
            "SELECT (SELECT count(*) FROM tenancy_internal.usage_events WHERE at >= date_trunc('month', now())), (SELECT count(*) FROM bench.events_hand),
                    (SELECT used FROM bench.counters WHERE scope = '{PLATFORM}')"
        ),
        &[],
    )?;
    Ok([row.get(0), row.get(1), row.get(2)])
}

/// A client that names all the columns itself.
fn by_hand(config: &Config, query: &str, place: Place, bare: bool) -> Result<Work, Fault> {
    let mut client = config.connect(HAND)?;
    let ready = client.prepare(query)?;
    Ok(Box::new(move || {
        let id = Uuid::now_v7();
        let cost = QUANTITY * PRICE;
        let Place {
            partner,
            tenant,
            user,
        } = place;
        if bare {
            let millionths = QUANTITY * 1_000_000;
            client.execute(
                &ready,
                &[
                    &id,
                    &partner,
                    &tenant,
                    &user,
                    &millionths,
                    &cost,
                    &ATTRIBUTES,
                    &DIMENSIONS,
                ],
            )?;
        } else {
            client.query(
                &ready,
                &[&id, &partner, &tenant, &user, &QUANTITY, &cost, &ATTRIBUTES],
            )?;
        }
        Ok(())
    }))
}

/// A client that keeps counters with a transaction of its own statements.
fn by_statements(config: &Config, place: Place) -> Result<Work, Fault> {
    let mut client = config.connect(HAND)?;
    let (count, insert) = (client.prepare(COUNT)?, client.prepare(INSERT)?);
    Ok(Box::new(move || {
        let Place {
            partner,
            tenant,
            user,
        } = place;
        let mut transaction = client.transaction()?;
        let taken = transaction.execute(&count, &[&user, &tenant, &partner, &QUANTITY])?;
        if taken < 4 {
            return Err("a budget is exhausted".into());
        }
        transaction.execute(
            &insert,
            &[
                &Uuid::now_v7(),
                &partner,
                &tenant,
                &user,
                &(QUANTITY * 1_000_000),
                &(QUANTITY * PRICE),
                &ATTRIBUTES,
                &DIMENSIONS,
            ],
        )?;
        transaction.commit()?;
        Ok(())
    }))
}

/// A client whose connection has the identity.
fn metered(config: &Config, world: &World, query: &str, n: usize) -> Result<Work, Fault> {
    let mut client = config.connect(APP)?;
    client.batch_execute(&format!(
        "SET tenancy.ticket = '{}'",
        world.tenants[n].ticket
    ))?;
    let ready = client.prepare(query)?;
    Ok(Box::new(move || {
        client.query(&ready, &[&QUANTITY, &ATTRIBUTES])?;
        Ok(())
    }))
}

/// The number of questions in one turn.
const LOOPS: usize = 20_000;

/// Asking, against reading one counter row by its primary key: both in a loop of PL/pgSQL, so that no
/// time goes into the way there and back. Asking is an expression; the row takes a query.
pub fn asking(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    let place = places(&mut admin, world, 1)?[0];
    let (mut app, mut hand) = (config.connect(APP)?, config.connect(APP)?);
    let authenticate = app.prepare(AUTHENTICATE)?;
    let read = format!(
        "SELECT c.used, c.amount INTO used, amount FROM bench.counters c WHERE c.scope = '{}' AND c.metric = 1 AND c.period = start;
         IF used + 1 > amount THEN no := no + 1; END IF",
        place.user
    );
    for (what, asked, wanted) in [
        (
            "fits(), four budgets; hand: one counter row by its key",
            "IF NOT tenancy.fits('tokens', 1) THEN no := no + 1; END IF",
            Wanted::Faster(3.0),
        ),
        (
            "check_budget().allowed; hand: the same",
            "IF NOT (tenancy.check_budget('tokens', 1)).allowed THEN no := no + 1; END IF",
            Wanted::Faster(3.0),
        ),
        (
            "  all that it says, in a record",
            "r := tenancy.check_budget('tokens', 1); IF NOT r.allowed THEN no := no + 1; END IF",
            Wanted::Faster(3.0),
        ),
        (
            "  SELECT * FROM check_budget(): a query, too",
            "SELECT * INTO r FROM tenancy.check_budget('tokens', 1); IF NOT r.allowed THEN no := no + 1; END IF",
            Wanted::Speed,
        ),
    ] {
        let times = in_turns(
            config.rounds(41),
            &mut [
                &mut |_| {
                    hand.batch_execute("BEGIN")?;
                    let turn = looped(&mut hand, &read)?;
                    hand.batch_execute("COMMIT")?;
                    Ok(turn)
                },
                &mut |_| {
                    begin_as(&mut app, &authenticate, &world.tenants[0].key)?;
                    let turn = looped(&mut app, asked)?;
                    app.batch_execute("COMMIT")?;
                    Ok(turn)
                },
            ],
        )?;
        report.compare(what, pair(&times), wanted, None);
    }
    Ok(())
}

/// Asking for a metric with one price, against one with 10,000 prices by three dimensions, the most of them at the platform.
pub fn prices(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = prepare(config, world)?;
    let place = places(&mut admin, world, 1)?[0];
    admin.batch_execute(&format!(
        "SELECT tenancy.define_metric('one_price', 'unit', dimensions => '{{model,direction,cached}}', price => 0.000001),
                tenancy.define_metric('many_prices', 'unit', dimensions => '{{model,direction,cached}}');
         DELETE FROM tenancy_internal.price_book;
         INSERT INTO tenancy_internal.price_book (id, metric_id, scope_id, dimensions, valid_from, price, mode)
         SELECT n, m.id, CASE WHEN n % 100 = 0 THEN '{tenant}' WHEN n % 100 = 1 THEN '{partner}' ELSE '{PLATFORM}' END::uuid,
                CASE n % 4 WHEN 0 THEN jsonb_build_object('model', 'm' || n) WHEN 1 THEN jsonb_build_object('model', 'm' || n, 'direction', 'in')
                           WHEN 2 THEN jsonb_build_object('model', 'm' || n, 'direction', 'in', 'cached', 'true')
                           ELSE jsonb_build_object('direction', 'd' || n) END,
                '2000-01-01', 0.000001, 'flat'
           FROM tenancy_internal.metric_definitions m, generate_series(1, 10000) n WHERE m.name = 'many_prices'",
        tenant = place.tenant,
        partner = place.partner,
    ))?;
    let mut sides = [config.connect(APP)?, config.connect(APP)?];
    let authenticate = [
        sides[0].prepare(AUTHENTICATE)?,
        sides[1].prepare(AUTHENTICATE)?,
    ];
    let asked = |metric: &str| {
        format!(
            "IF NOT tenancy.fits('{metric}', 1, attributes => '{{\"model\": \"m5002\", \"direction\": \"in\", \"cached\": true}}') THEN no := no + 1; END IF"
        )
    };
    let [one, many] = &mut sides;
    let times = in_turns(
        config.rounds(41),
        &mut [
            &mut |_| {
                begin_as(one, &authenticate[0], &world.tenants[0].key)?;
                let turn = looped(one, &asked("one_price"))?;
                one.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |_| {
                begin_as(many, &authenticate[1], &world.tenants[0].key)?;
                let turn = looped(many, &asked("many_prices"))?;
                many.batch_execute("COMMIT")?;
                Ok(turn)
            },
        ],
    )?;
    let [one, many] = pair(&times);
    report.compare(
        "fits() of a metric with 10,000 prices; hand: with one price",
        [one, many],
        Wanted::Speed,
        None,
    );
    report.state(
        "the look-up of one of 10,000 prices",
        &[format!("{:.2} µs", (many - one) * 1e3)],
    );
    Ok(())
}

/// Runs a body many times in one call.
pub fn looped(client: &mut Client, body: &str) -> Result<Turn, Fault> {
    let block = format!(
        "DO $$ DECLARE r record; used bigint; amount bigint; no integer := 0; start timestamptz := date_trunc('month', now()); BEGIN
             FOR i IN 1..{LOOPS} LOOP {body}; END LOOP;
             IF no > 0 THEN RAISE 'exhausted'; END IF;
         END $$"
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

/// Reports the memory that an entry of the ledger takes.
pub fn memory(config: &Config, _world: &World, report: &mut Report) -> Result<(), Fault> {
    let row = config.administer(crate::config::DATABASE)?.query_one(
        "SELECT m.allocated_size, current_setting('tenancy.ledger_entries')::bigint FROM pg_shmem_allocations m WHERE m.name = 'tenancy_ledger_entries'",
        &[],
    )?;
    let (bytes, entries): (i64, i64) = (row.get(0), row.get(1));
    report.state(
        "the ledger's memory",
        &[
            format!("{} bytes an entry", bytes / entries),
            format!(
                "{} kB for {} entries",
                bytes / 1024,
                crate::report::grouped(entries)
            ),
        ],
    );
    Ok(())
}
