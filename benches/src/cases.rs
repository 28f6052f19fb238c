//! The cases that are measured.

use postgres::{Client, Statement};
use uuid::Uuid;

use crate::Fault;
use crate::config::{APP, Config, DATABASE, HAND, SETTING};
use crate::measure::{in_turns, median, timed};
use crate::plans::{Plan, explain};
use crate::report::{Report, Wanted, grouped, milliseconds};
use crate::setup::{Fleet, World};

pub const TOP_10: &str = "SELECT id, amount FROM bench.items ORDER BY created_at DESC LIMIT 10";
const TOP_10_HAND: &str = "SELECT id, amount FROM bench.items_hand WHERE tenant_id = $1 ORDER BY created_at DESC LIMIT 10";
pub const TOP_10_SETTING: &str =
    "SELECT id, amount FROM bench.items_hand ORDER BY created_at DESC LIMIT 10";
const COUNT: &str = "SELECT count(*) FROM bench.items";
const COUNT_HAND: &str = "SELECT count(*) FROM bench.items_hand WHERE tenant_id = $1";
const COUNT_SETTING: &str = "SELECT count(*) FROM bench.items_hand";
pub const AUTHENTICATE: &str = "SELECT tenancy.authenticate($1)";

type Case = fn(&Config, &World, &mut Report) -> Result<(), Fault>;

/// With one client, or with a few.
const FEW: [(&str, Case); 31] = [
    ("tenant", one_tenant),
    ("scan", sequential_scan),
    ("fleet", fleets),
    ("transaction", transaction),
    ("mixed", mixed),
    ("ticket", ticket),
    ("login", crate::logins::logins),
    ("bulk", bulk_insert),
    ("cache", cache),
    ("principal", crate::principals::transactions),
    ("partitions", crate::partitions::by_tenant),
    ("adopted rows", crate::adoption::rows_of_everybody),
    ("keys", crate::keys::other_types),
    ("search", crate::search::searches),
    ("audit", audit),
    ("elevation", crate::elevation::statements),
    ("budget", crate::budgets::asking),
    ("budget prices", crate::budgets::prices),
    ("budget memory", crate::budgets::memory),
    ("limit", crate::limits::calls),
    ("quota", crate::quotas::inserts),
    ("features", crate::features::asking),
    ("secret", crate::secrets::reading),
    ("rollup", crate::usage::rollup),
    ("usage", crate::usage::month_of_use),
    // Last: they fill the tree.
    ("adopt", crate::adoption::filling),
    ("leaving", crate::leaving::leaving),
    ("adopted children", crate::adoption::new_rows),
    ("budget scopes", crate::scale::scopes),
    ("management", crate::management::views),
    ("large tree", crate::large_tree::growth),
];

/// The cases with many clients.
const MANY: [(&str, Case); 4] = [
    ("budget crowd", crate::budgets::crowds),
    ("budget parts", crate::budgets::parts),
    ("limit crowd", crate::limits::crowds),
    ("quota crowd", crate::quotas::crowds),
];

fn wanted(config: &Config) -> impl Iterator<Item = Case> {
    let cases: &[(&str, Case)] = if config.many { &MANY } else { &FEW };
    let wanted = cases.iter().filter(|(name, _)| config.wants(name));
    wanted.map(|(_, case)| *case)
}

/// Returns whether any case is selected.
pub fn any(config: &Config) -> bool {
    wanted(config).next().is_some()
}

/// Runs the selected cases, in the order of the table.
pub fn all(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    wanted(config).try_for_each(|case| case(config, world, report))
}

/// Row 1 and 2: by index, for one tenant, in a transaction that has its context.
fn one_tenant(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut app = config.connect(APP)?;
    let mut hand = config.connect(HAND)?;
    let authenticate = app.prepare(AUTHENTICATE)?;

    let cases = [
        (
            "ordered top-10 of one tenant",
            TOP_10,
            TOP_10_HAND,
            300,
            101,
        ),
        ("count(*) of one tenant", COUNT, COUNT_HAND, 100, 101),
    ];
    for (what, ours, theirs, batch, rounds) in cases {
        let (ours_ready, theirs_ready) = (app.prepare(ours)?, hand.prepare(theirs)?);
        let times = in_turns(
            config.rounds(rounds),
            &mut [
                &mut |round| {
                    let id = world.tenants[round % world.tenants.len()].id;
                    hand.batch_execute("BEGIN")?;
                    let turn = timed(batch, |_| run(&mut hand, &theirs_ready, &[&id]))?;
                    hand.batch_execute("COMMIT")?;
                    Ok(turn)
                },
                &mut |round| {
                    let key = &world.tenants[round % world.tenants.len()].key;
                    begin_as(&mut app, &authenticate, key)?;
                    let turn = timed(batch, |_| run(&mut app, &ours_ready, &[]))?;
                    app.batch_execute("COMMIT")?;
                    Ok(turn)
                },
            ],
        )?;
        let tenant = &world.tenants[0];
        let plans = [
            explain(&mut hand, &theirs.replace("$1", &literal(&tenant.id)))?,
            explain_as(&mut app, &authenticate, &tenant.key, ours)?,
        ];
        report.compare(what, pair(&times), Wanted::AtMost(1.1), Some(plans));
    }

    // Planned each time, as by drivers that do not prepare.
    let times = in_turns(
        config.rounds(61),
        &mut [
            &mut |round| {
                let id = literal(&world.tenants[round % world.tenants.len()].id);
                let query = TOP_10_HAND.replace("$1", &id);
                hand.batch_execute("BEGIN")?;
                let turn = timed(200, |_| run_text(&mut hand, &query))?;
                hand.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |round| {
                let key = &world.tenants[round % world.tenants.len()].key;
                begin_as(&mut app, &authenticate, key)?;
                let turn = timed(200, |_| run_text(&mut app, TOP_10))?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            },
        ],
    )?;
    report.compare("  top-10, not prepared", pair(&times), Wanted::Stated, None);

    // A thousand times in one statement: what the executor does, without the way there and back.
    let looped = |query: &str, id: &str| {
        let query = query.replace("SELECT", "PERFORM").replace("$1", "tenant");
        format!(
            "DO $$ DECLARE tenant uuid := {id}; BEGIN FOR i IN 1..1000 LOOP {query}; END LOOP; END $$"
        )
    };
    let times = in_turns(
        config.rounds(61),
        &mut [
            &mut |round| {
                let id = literal(&world.tenants[round % world.tenants.len()].id);
                let block = looped(TOP_10_HAND, &id);
                hand.batch_execute("BEGIN")?;
                let turn = timed(1, |_| run_text(&mut hand, &block))?;
                hand.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |round| {
                let block = looped(TOP_10, "NULL");
                begin_as(
                    &mut app,
                    &authenticate,
                    &world.tenants[round % world.tenants.len()].key,
                )?;
                let turn = timed(1, |_| run_text(&mut app, &block))?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            },
        ],
    )?;
    report.compare(
        "  top-10, 1000 times in PL/pgSQL",
        pair(&times),
        Wanted::Stated,
        None,
    );
    Ok(())
}

/// Row 3 and 4: what the comparison costs per row.
fn sequential_scan(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut clients = [
        config.connect(HAND)?,
        config.connect(APP)?,
        config.connect(SETTING)?,
    ];
    for client in &mut clients {
        client.batch_execute("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off")?;
    }
    let [hand, app, setting] = &mut clients;
    let authenticate = app.prepare(AUTHENTICATE)?;
    let set = setting.prepare("SELECT set_config('app.tenant', $1::text, true)")?;
    let tenant = |round: usize| &world.tenants[round % world.tenants.len()];
    let times = in_turns(
        config.rounds(25),
        &mut [
            &mut |round| {
                let query = COUNT_HAND.replace("$1", &literal(&tenant(round).id));
                hand.batch_execute("BEGIN")?;
                let turn = timed(1, |_| run_text(hand, &query))?;
                hand.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |round| {
                begin_as(app, &authenticate, &tenant(round).key)?;
                let turn = timed(1, |_| run_text(app, COUNT))?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |round| {
                setting.batch_execute("BEGIN")?;
                setting.query(&set, &[&tenant(round).id.to_string()])?;
                let turn = timed(1, |_| run_text(setting, COUNT_SETTING))?;
                setting.batch_execute("COMMIT")?;
                Ok(turn)
            },
        ],
    )?;
    let plans = [
        explain(hand, &COUNT_HAND.replace("$1", &literal(&tenant(0).id)))?,
        explain_as(app, &authenticate, &tenant(0).key, COUNT)?,
    ];
    report.compare(
        "sequential scan; hand: a constant",
        [times[0], times[1]],
        Wanted::AtMost(2.0),
        Some(plans),
    );
    report.compare(
        "  hand: policy on current_setting()",
        [times[2], times[1]],
        Wanted::Faster(4.0),
        None,
    );
    Ok(())
}

/// Row 5 and 6: aggregates over a fleet.
fn fleets(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let cases = [
        ("aggregate of a fleet of 100", "items", &world.fleet_100, 61),
        (
            "aggregate of a fleet of 1,000 of 20,000",
            "wide",
            &world.fleet_1k,
            61,
        ),
        (
            "aggregate of a fleet of 10,000 of 20,000",
            "wide",
            &world.fleet_10k,
            31,
        ),
    ];
    let mut ours = Vec::new();
    for (what, table, fleet, rounds) in cases {
        let (times, plans) = fleet_aggregate(config, table, fleet, rounds)?;
        report.compare(what, times, Wanted::AtMost(1.1), Some(plans));
        ours.push(times[1]);
    }
    report.compare(
        "  10,000 (right) against 1,000 (left)",
        [ours[1], ours[2]],
        Wanted::AtMost(15.0),
        None,
    );
    Ok(())
}

fn fleet_aggregate(
    config: &Config,
    table: &str,
    fleet: &Fleet,
    rounds: usize,
) -> Result<([f64; 2], [Plan; 2]), Fault> {
    let mut app = config.connect(APP)?;
    let mut hand = config.connect(HAND)?;
    // Else the copy's sixth run would be planned for an array of ten.
    hand.batch_execute("SET plan_cache_mode = force_custom_plan")?;
    let authenticate = app.prepare(AUTHENTICATE)?;
    let query = format!("SELECT count(*) + sum(amount)::bigint FROM bench.{table}");
    let query_hand = format!(
        "SELECT count(*) + sum(amount)::bigint FROM bench.{table}_hand WHERE tenant_id = ANY ($1)"
    );
    let (ready, ready_hand) = (app.prepare(&query)?, hand.prepare(&query_hand)?);
    let times = in_turns(
        config.rounds(rounds),
        &mut [
            &mut |_| {
                hand.batch_execute("BEGIN")?;
                let turn = timed(1, |_| run(&mut hand, &ready_hand, &[&fleet.tenants]))?;
                hand.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |_| {
                begin_as(&mut app, &authenticate, &fleet.key)?;
                let turn = timed(1, |_| run(&mut app, &ready, &[]))?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            },
        ],
    )?;
    let ids: Vec<String> = fleet.tenants.iter().map(ToString::to_string).collect();
    let array = format!("'{{{}}}'::uuid[]", ids.join(","));
    let plans = [
        explain(&mut hand, &query_hand.replace("$1", &array))?,
        explain_as(&mut app, &authenticate, &fleet.key, &query)?,
    ];
    Ok((pair(&times), plans))
}

/// Row 7: requests of many tenants over one pooled connection, each a transaction.
fn transaction(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    const BATCH: usize = 500;
    let mut app = config.connect(APP)?;
    let mut setting = config.connect(SETTING)?;
    let authenticate = app.prepare(AUTHENTICATE)?;
    let set = setting.prepare("SELECT set_config('app.tenant', $1, true)")?;
    let (ready, ready_setting) = (app.prepare(TOP_10)?, setting.prepare(TOP_10_SETTING)?);
    let ids: Vec<String> = world
        .tenants
        .iter()
        .map(|tenant| tenant.id.to_string())
        .collect();
    let mut ours = |round: usize| {
        timed(BATCH, |n| {
            let tenant = &world.tenants[(round * BATCH + n) % world.tenants.len()];
            begin_as(&mut app, &authenticate, &tenant.key)?;
            let answer = run(&mut app, &ready, &[])?;
            app.batch_execute("COMMIT")?;
            Ok(answer)
        })
    };
    let times = in_turns(
        config.rounds(61),
        &mut [
            &mut |round| {
                timed(BATCH, |n| {
                    let id = &ids[(round * BATCH + n) % ids.len()];
                    setting.batch_execute("BEGIN")?;
                    setting.query(&set, &[id])?;
                    let answer = run(&mut setting, &ready_setting, &[])?;
                    setting.batch_execute("COMMIT")?;
                    Ok(answer)
                })
            },
            &mut ours,
        ],
    )?;
    let tenant = &world.tenants[0];
    setting.batch_execute(&format!("BEGIN; SET LOCAL app.tenant = '{}'", tenant.id))?;
    let plans = [
        explain(&mut setting, TOP_10_SETTING)?,
        explain_as(&mut app, &authenticate, &tenant.key, TOP_10)?,
    ];
    report.compare(
        "a transaction: authenticate, top-10",
        pair(&times),
        Wanted::Tps(0.9),
        Some(plans),
    );
    Ok(())
}

/// A connection that serves a tenant's users only, and one that serves a partner's in between: plans
/// for one tenant and for several are not the same.
fn mixed(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    const BATCH: usize = 200;
    const QUERY: &str = "SELECT count(*) FROM bench.items \
                         WHERE tenant_id = $1 AND created_at < timestamptz '2025-01-02 00:00Z'";
    let mut clients = [config.connect(APP)?, config.connect(APP)?];
    let [alike, mixed] = &mut clients;
    let request = |client: &mut Client| -> Result<(Statement, Statement), Fault> {
        Ok((client.prepare(AUTHENTICATE)?, client.prepare(QUERY)?))
    };
    let (ready_alike, ready_mixed) = (request(alike)?, request(mixed)?);
    let tenant = &world.tenants[0];
    let serve = |client: &mut Client, ready: &(Statement, Statement), key: &String| {
        begin_as(client, &ready.0, key)?;
        let answer = run(client, &ready.1, &[&tenant.id])?;
        client.batch_execute("COMMIT")?;
        Ok(answer)
    };
    let times = in_turns(
        config.rounds(31),
        &mut [
            &mut |_| timed(BATCH, |_| serve(alike, &ready_alike, &tenant.key)),
            &mut |_| {
                timed(BATCH, |n| {
                    let key = if n % 2 == 0 {
                        &tenant.key
                    } else {
                        &world.fleet_100.key
                    };
                    serve(mixed, &ready_mixed, key)
                })
            },
        ],
    )?;
    report.state(
        "a connection that serves a tenant's and a partner's users in turn, a tenant's alone: a transaction",
        &times.iter().rev().map(|ms| milliseconds(*ms)).collect::<Vec<_>>(),
    );
    Ok(())
}

/// Row 8: one statement a request, the identity comes with the connection.
fn ticket(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    const BATCH: usize = 500;
    let mut app = config.connect(APP)?;
    let mut hand = config.connect(HAND)?;
    let tenant = &world.tenants[7];
    app.batch_execute(&format!("SET tenancy.ticket = '{}'", tenant.ticket))?;
    for (what, ours, theirs) in [
        (
            "one query, tenancy.ticket on the connection",
            TOP_10,
            TOP_10_HAND,
        ),
        ("  the same with count(*)", COUNT, COUNT_HAND),
    ] {
        let (ready, ready_hand) = (app.prepare(ours)?, hand.prepare(theirs)?);
        let times = in_turns(
            config.rounds(61),
            &mut [
                &mut |_| timed(BATCH, |_| run(&mut hand, &ready_hand, &[&tenant.id])),
                &mut |_| timed(BATCH, |_| run(&mut app, &ready, &[])),
            ],
        )?;
        let plans = [
            explain(&mut hand, &theirs.replace("$1", &literal(&tenant.id)))?,
            explain(&mut app, ours)?,
        ];
        report.compare(what, pair(&times), Wanted::Tps(0.9), Some(plans));
    }
    Ok(())
}

/// Row 9: the same role writes to a protected table and to its copy without row security.
fn bulk_insert(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let rows = config.bulk_rows;
    let insert = |client: &mut Client, table: &str| {
        let sql = format!(
            "INSERT INTO bench.{table} (id, created_at, amount, body)
             SELECT i, now() + i * interval '1 ms', i % 997, 'request ' || i FROM generate_series(1, {rows}) i"
        );
        Ok(client.execute(&sql, &[])? as i64)
    };
    let times = loaded(config, world, &insert)?;
    let what = format!("bulk insert of {} rows", grouped(rows));
    report.compare(&what, pair(&times), Wanted::AtMost(1.15), None);

    // The other side is the server's own COPY, which it refuses where row security applies.
    let lines: String = (1..=rows)
        .map(|i| {
            format!(
                "{i}\t2026-01-01 00:00:{:02}+00\t{}\trequest {i}\n",
                i % 60,
                i % 997
            )
        })
        .collect();
    let copy = |client: &mut Client, table: &str| {
        let sql = format!("COPY bench.{table} (id, created_at, amount, body) FROM STDIN");
        let mut to = client.copy_in(&sql)?;
        std::io::Write::write_all(&mut to, lines.as_bytes())?;
        Ok(to.finish()? as i64)
    };
    let times = loaded(config, world, &copy)?;
    let what = format!("COPY of {} rows from the client", grouped(rows));
    report.compare(&what, pair(&times), Wanted::AtMost(1.5), None);
    Ok(())
}

/// Loads rows into an empty table without row security, and into a protected one, in turns.
fn loaded(
    config: &Config,
    world: &World,
    load: &dyn Fn(&mut Client, &str) -> Result<i64, Fault>,
) -> Result<Vec<f64>, Fault> {
    let mut admin = config.administer(DATABASE)?;
    let mut apps = [config.connect(APP)?, config.connect(APP)?];
    let authenticate = [
        apps[0].prepare(AUTHENTICATE)?,
        apps[1].prepare(AUTHENTICATE)?,
    ];
    let [hand, app] = &mut apps;
    let admin = std::cell::RefCell::new(&mut admin);
    let turn = |client: &mut Client, authenticate, round: usize, table: &str| {
        let clean = format!("TRUNCATE bench.{table}; CHECKPOINT");
        admin.borrow_mut().batch_execute(&clean)?;
        begin_as(client, authenticate, &world.tenants[round].key)?;
        timed(1, |_| {
            let written = load(client, table)?;
            client.batch_execute("COMMIT")?;
            Ok(written)
        })
    };
    in_turns(
        config.rounds(9),
        &mut [
            &mut |round| turn(hand, &authenticate[0], round, "bulk_hand"),
            &mut |round| turn(app, &authenticate[1], round, "bulk"),
        ],
    )
}

/// Row 10: what a principal costs a new backend: by number of tenants, as a partner's fleet and as
/// single assignments.
fn cache(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    for (who, key) in [
        ("1 tenant, its own", &world.tenants[5].key),
        ("1 tenant, assigned", &world.picked_1.key),
        ("100 tenants, a fleet", &world.fleet_100.key),
        ("100 tenants, assigned", &world.picked_100.key),
        ("10,000 tenants, a fleet", &world.fleet_10k.key),
        ("10,000 tenants, assigned", &world.picked_10k.key),
    ] {
        let (mut first, mut again, mut bytes) = (Vec::new(), Vec::new(), 0);
        for _ in 0..config.rounds(9) {
            let mut app = config.connect(APP)?;
            let authenticate = app.prepare(AUTHENTICATE)?;
            // Loads the library, and plans its queries.
            take(&mut app, &authenticate, &world.tenants[6].key)?;
            let before = cached_bytes(&mut app)?;
            first.push(take(&mut app, &authenticate, key)?);
            again.push(take(&mut app, &authenticate, key)?);
            bytes = cached_bytes(&mut app)? - before;
        }
        report.state(
            &format!("a principal with {who}: first call, later ones, memory"),
            &[
                milliseconds(median(first)),
                milliseconds(median(again)),
                format!("{} bytes", grouped(bytes)),
            ],
        );
    }
    Ok(())
}

/// Row 11: an application's entry in the audit log against a bare INSERT of the same row into a
/// table of the same shape with the same indexes.
fn audit(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    const BATCH: usize = 500;
    let mut hand = config.administer(DATABASE)?;
    let mut app = config.connect(APP)?;
    hand.batch_execute(
        "CREATE TABLE IF NOT EXISTS bench.audit_hand (LIKE tenancy.audit_log);
         CREATE UNIQUE INDEX ON bench.audit_hand (origin, xid, id);
         CREATE INDEX ON bench.audit_hand (tenant_id, at);
         CREATE INDEX ON bench.audit_hand (partner_id, at)",
    )?;
    let insert = hand.prepare(
        "INSERT INTO bench.audit_hand (at, origin, xid, id, user_id, tenant_id, partner_id, action, target, role, login, client, details)
         VALUES (clock_timestamp(), 1, pg_current_xact_id(), $1, $2, $2, $2, $3, $4, $5, $5, '127.0.0.1', $6::text::jsonb)",
    )?;
    let tenant = &world.tenants[3];
    app.batch_execute(&format!("SET tenancy.ticket = '{}'", tenant.ticket))?;
    let audit = app.prepare("SELECT tenancy.audit($1, $2, $3::text::jsonb)")?;
    let details = "{\"amount\": 7, \"currency\": \"EUR\", \"lines\": [1, 2, 3]}";
    // Any ids, each once: an id of version 7 has its time in front.
    let mut made = 0_u128;
    let mut new_id = || -> Result<Uuid, Fault> {
        made += 1;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Uuid::from_u128(
            (now.as_millis() << 80) | (7 << 76) | (2 << 62) | made,
        ))
    };
    for (what, inside) in [
        ("an audit row, a transaction each", false),
        ("  500 in a transaction", true),
    ] {
        let (begin, commit) = if inside {
            ("BEGIN", "COMMIT")
        } else {
            ("", "")
        };
        let times = in_turns(
            config.rounds(41),
            &mut [
                &mut |_| {
                    hand.batch_execute(begin)?;
                    let turn = timed(BATCH, |_| {
                        let written = hand.execute(
                            &insert,
                            &[
                                &new_id()?,
                                &tenant.id,
                                &"bench.entry",
                                &"invoice 7",
                                &APP,
                                &details,
                            ],
                        )?;
                        Ok(written.cast_signed())
                    })?;
                    hand.batch_execute(commit)?;
                    Ok(turn)
                },
                &mut |_| {
                    app.batch_execute(begin)?;
                    let turn = timed(BATCH, |_| {
                        let rows = app.query(&audit, &[&"bench.entry", &"invoice 7", &details])?;
                        Ok(rows.len() as i64)
                    })?;
                    app.batch_execute(commit)?;
                    Ok(turn)
                },
            ],
        )?;
        report.compare(what, pair(&times), Wanted::Tps(0.8), None);
    }
    Ok(())
}

/// Runs a transaction that only authenticates, and returns the time of that call.
fn take(app: &mut Client, authenticate: &Statement, key: &String) -> Result<f64, Fault> {
    app.batch_execute("BEGIN")?;
    let turn = timed(1, |_| Ok(app.query(authenticate, &[key])?.len() as i64))?;
    app.batch_execute("COMMIT")?;
    Ok(turn.ms)
}

fn cached_bytes(app: &mut Client) -> Result<i64, Fault> {
    Ok(app
        .query_one("SELECT bytes FROM tenancy.access_cache()", &[])?
        .get(0))
}

/// Begins a transaction and opens a context.
pub fn begin_as(client: &mut Client, authenticate: &Statement, key: &String) -> Result<(), Fault> {
    client.batch_execute("BEGIN")?;
    client.query(authenticate, &[key])?;
    Ok(())
}

/// Returns the sum of the last column.
pub fn run(
    client: &mut Client,
    query: &Statement,
    args: &[&(dyn postgres::types::ToSql + Sync)],
) -> Result<i64, Fault> {
    let last = query.columns().len() - 1;
    Ok(client
        .query(query, args)?
        .iter()
        .map(|row| row.get::<_, i64>(last))
        .sum())
}

/// Does the same by the simple protocol: parsed and planned each time, in one message.
pub fn run_text(client: &mut Client, query: &str) -> Result<i64, Fault> {
    let mut sum = 0;
    for message in client.simple_query(query)? {
        if let postgres::SimpleQueryMessage::Row(row) = message {
            let last = row.get(row.len() - 1).unwrap_or("0");
            sum += last.parse::<i64>()?;
        }
    }
    Ok(sum)
}

pub fn explain_as(
    client: &mut Client,
    authenticate: &Statement,
    key: &String,
    query: &str,
) -> Result<Plan, Fault> {
    begin_as(client, authenticate, key)?;
    let plan = explain(client, query)?;
    client.batch_execute("COMMIT")?;
    Ok(plan)
}

pub fn literal(id: &Uuid) -> String {
    format!("'{id}'")
}

pub fn pair(times: &[f64]) -> [f64; 2] {
    [times[0], times[1]]
}
