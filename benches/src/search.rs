//! Searches by conditions that are not leakproof, with the indexes of a hand-written copy: full text, jsonb, arrays, trigrams, enums, numeric,
//! ranges, networks, hstore, citext, and joins.

use std::cell::RefCell;

use postgres::Client;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, explain_as, run, run_text};
use crate::config::{APP, COPY, Config, HAND, SEARCHED};
use crate::measure::{Turn, in_turns, timed};
use crate::plans::{Plan, explain};
use crate::report::{Report, Wanted};
use crate::setup::{World, protect, step, vacuum};

/// So many tenants, of which the first are a partner's fleet.
const TENANTS: usize = 100;
const FLEET: usize = 10;
/// The tenant that has half of the rows. Those of the fleet have 1 % each.
const LARGE: usize = FLEET;
/// The tenant that has 1 %.
const SMALL: usize = FLEET + 1;
/// How many rows have a value, on average.
const ROWS_PER_VALUE: i64 = 20;
/// Rows, at most: building the indexes takes most of the time.
const ROWS_MAX: i64 = 200_000;

/// A condition, and the table that is joined for it.
struct Search {
    name: &'static str,
    join: Option<&'static str>,
    /// With `{v}`, the value, and `{net}`, a network around it.
    condition: &'static str,
}

const fn search(name: &'static str, condition: &'static str) -> Search {
    Search {
        name,
        join: None,
        condition,
    }
}

const SEARCHES: [Search; 22] = [
    search("tsv @@ rare word", "d.tsv @@ 'w{v}'"),
    search("tsv @@ rare & common", "d.tsv @@ 'w{v} & item'"),
    search("jsonb @>", "d.meta @> '{\"ref\": {v}}'"),
    search("jsonb ?", "d.meta ? 'k{v}'"),
    search("LIKE '%…%'", "d.body LIKE '%doc{v}x%'"),
    search("ILIKE '%…%'", "d.body ILIKE '%DOC{v}X%'"),
    search("lower() LIKE prefix", "lower(d.body) LIKE 'doc{v}x %'"),
    search("LIKE prefix", "d.body LIKE 'doc{v}x %'"),
    search("enum =", "d.state = 'lost'"),
    search("numeric =", "d.price = {v}.5"),
    search("numeric BETWEEN", "d.price BETWEEN {v} AND {v} + 5"),
    search("numeric IN", "d.price IN ({v}.5, 1.5, 2.5, 3.5)"),
    search("array &&", "d.tags && '{{v}}'"),
    search("array @>", "d.tags @> '{{v}}'"),
    search("range &&", "d.span && int4range({v}0, {v}5)"),
    search("range @>", "d.span @> {v}3"),
    search("citext =", "d.name = 'nAME{v}'"),
    search("inet <<=", "d.net <<= '{net}'"),
    search("hstore @>", "d.attr @> 'ref=>{v}'"),
    search(
        "tsv OR jsonb",
        "(d.tsv @@ 'w{v}' OR d.meta @> '{\"ref\": {v}}')",
    ),
    Search {
        name: "join on enum",
        join: Some("states"),
        condition: "d.state = w.state",
    },
    Search {
        name: "join on numeric",
        join: Some("prices"),
        condition: "d.price = w.price",
    },
];

const INDEXES: [(&str, &str); 12] = [
    ("gin", "tsv"),
    ("gin", "meta"),
    ("gin", "body gin_trgm_ops"),
    ("btree", "lower(body) text_pattern_ops"),
    ("btree", "body text_pattern_ops"),
    ("btree", "state"),
    ("btree", "price"),
    ("gin", "tags"),
    ("gist", "span"),
    ("gist", "net inet_ops"),
    ("btree", "name"),
    ("gin", "attr"),
];

/// A caller, and the hand-written condition on the tenant column.
struct Caller {
    who: &'static str,
    key: String,
    tenant: String,
    /// A value that its rows have.
    value: i64,
}

/// A table with its indexes, and what is measured on it.
struct Table {
    name: &'static str,
    indexes: &'static str,
    /// What precedes an index's column.
    first: &'static str,
    mode: &'static str,
    /// The targets of a tenant: mean and worst.
    targets: [f64; 2],
}

const TABLES: [Table; 2] = [
    Table {
        name: "search",
        indexes: "composite indexes",
        first: "tenant_id, ",
        mode: "own",
        targets: [1.1, 2.0],
    },
    Table {
        name: "plain",
        indexes: "single-column indexes",
        first: "",
        mode: "all",
        targets: [1.3, 3.0],
    },
];
const TARGETS_OF_FLEET: [f64; 2] = [1.5, 3.0];

/// Measures searches by composite indexes and by single-column ones.
pub fn searches(config: &Config, _: &World, report: &mut Report) -> Result<(), Fault> {
    let rows = config.rows.min(ROWS_MAX);
    let callers = step(&format!("search: two tables of {rows} rows"), || {
        build(config, rows)
    })?;
    for table in &TABLES {
        config.administer(SEARCHED)?.batch_execute(&format!(
            "ALTER ROLE {APP} SET tenancy.index_search = '{}'",
            table.mode
        ))?;
        for caller in &callers {
            group(config, report, caller, table)?;
        }
    }
    Ok(())
}

/// Makes the tables, and a copy of their database in which they are not protected. So both sides have the same pages and
/// statistics: these depend on chance, and so would the plans.
fn build(config: &Config, rows: i64) -> Result<[Caller; 3], Fault> {
    let mut server = config.administer("postgres")?;
    server.batch_execute(&format!("CREATE DATABASE {SEARCHED}"))?;
    let mut admin = config.administer(SEARCHED)?;
    admin.batch_execute(&format!(
        "CREATE EXTENSION tenancy; GRANT tenancy_app TO {APP}; CREATE SCHEMA bench; GRANT USAGE ON SCHEMA bench TO {HAND};
         CREATE EXTENSION btree_gin; CREATE EXTENSION btree_gist; CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION pg_trgm;
         CREATE TYPE bench.state AS ENUM ('new', 'paid', 'sent', 'done', 'lost');
         CREATE TABLE bench.tenants AS
             SELECT n - 1 AS n, tenancy.create_tenant('t-' || n, partner => CASE WHEN n <= {FLEET} THEN p.fleet ELSE p.others END) AS id
             FROM (SELECT tenancy.create_partner('fleet') AS fleet, tenancy.create_partner('others') AS others) p, generate_series(1, {TENANTS}) n"
    ))?;
    for table in &TABLES {
        fill(&mut admin, table, rows)?;
    }
    let callers = callers(&mut admin)?;
    drop(admin);
    server.batch_execute(&format!("CREATE DATABASE {COPY} TEMPLATE {SEARCHED}"))?;
    for database in [SEARCHED, COPY] {
        server.batch_execute(&format!(
            "ALTER DATABASE {database} SET max_parallel_workers_per_gather = 0; ALTER DATABASE {database} SET jit = off"
        ))?;
    }
    let mut admin = config.administer(SEARCHED)?;
    for Table { name, .. } in &TABLES {
        for joined in ["", "_prices", "_states"] {
            protect(&mut admin, &format!("{name}{joined}"))?;
        }
    }
    Ok(callers)
}

/// Fills a table in random order, and creates its indexes.
fn fill(admin: &mut Client, table: &Table, rows: i64) -> Result<(), Fault> {
    let values = rows / ROWS_PER_VALUE;
    let (large, small, others) = (LARGE, SMALL, SMALL + 1);
    let Table { name, first, .. } = table;
    admin.batch_execute(&format!(
        "CREATE TABLE bench.{name} (
             id bigint NOT NULL, tenant_id uuid NOT NULL, price numeric NOT NULL, state bench.state NOT NULL, tags int[] NOT NULL,
             meta jsonb NOT NULL, tsv tsvector NOT NULL, body text NOT NULL, net inet NOT NULL, span int4range NOT NULL,
             name citext NOT NULL, attr hstore NOT NULL
         ) WITH (autovacuum_enabled = off);
         INSERT INTO bench.{name}
             SELECT i, t.id, v + 0.5, (CASE WHEN h % 1000 = 0 THEN 'lost' ELSE (ARRAY['new', 'paid', 'sent', 'done'])[h % 4 + 1] END)::bench.state,
                    ARRAY[v, {values} + h % 500], jsonb_build_object('ref', v, 'k' || v, 1, 'kind', h % 10),
                    to_tsvector('simple', 'item w' || v || ' c' || h % 1000 || ' d' || h % 100), 'doc' || v || 'x ' || md5(i::text),
                    inet '10.0.0.0' + v, int4range(v * 10, v * 10 + 5), 'Name' || v, hstore('ref', v::text) || hstore('kind', (h % 10)::text)
             FROM (SELECT i, (i % 200) AS slot, abs(hashint8extended(i, 1) % {values})::int AS v, abs(hashint8extended(i, 2) % 1000000)::int AS h
                   FROM generate_series(1, {rows}) i) r
             JOIN bench.tenants t ON t.n = CASE WHEN slot < 100 THEN {large} WHEN slot < 102 THEN {small}
                  WHEN slot < 102 + 2 * {FLEET} THEN (slot - 102) / 2 ELSE {others} + h % ({TENANTS} - {others}) END
             ORDER BY hashint8extended(i, 42), i;
         CREATE TABLE bench.{name}_prices AS
             SELECT t.id AS tenant_id, d.price FROM bench.tenants t,
                    LATERAL (SELECT price FROM bench.{name} WHERE tenant_id = t.id ORDER BY id LIMIT 5) d;
         CREATE TABLE bench.{name}_states AS SELECT id AS tenant_id, 'lost'::bench.state AS state FROM bench.tenants"
    ))?;
    for (method, column) in INDEXES {
        admin.batch_execute(&format!(
            "CREATE INDEX ON bench.{name} USING {method} ({first}{column})"
        ))?;
    }
    for table in [
        name.to_string(),
        format!("{name}_prices"),
        format!("{name}_states"),
    ] {
        admin.batch_execute(&format!(
            "CREATE INDEX ON bench.{table} (tenant_id); GRANT SELECT ON bench.{table} TO {HAND}"
        ))?;
        vacuum(admin, &[&format!("bench.{table}")])?;
    }
    Ok(())
}

fn callers(admin: &mut Client) -> Result<[Caller; 3], Fault> {
    let mut caller = |who, user: &str, tenants: &str| -> Result<Caller, Fault> {
        let row = admin.query_one(
            &format!(
                "SELECT tenancy.issue_api_key({user}, 'bench'), string_agg(id::text, ',' ORDER BY n),
                        (SELECT floor(price)::bigint FROM bench.search WHERE tenant_id = min(t.id::text)::uuid ORDER BY id LIMIT 1)
                 FROM bench.tenants t WHERE {tenants}"
            ),
            &[],
        )?;
        let ids: &str = row.get(1);
        Ok(Caller {
            who,
            key: row.get(0),
            tenant: match ids.contains(',') {
                true => format!("= ANY ('{{{ids}}}'::uuid[])"),
                false => format!("= '{ids}'"),
            },
            value: row.get(2),
        })
    };
    let worker = |n: usize| format!("tenancy.create_user('t-{}', 'worker')", n + 1);
    let operator = "tenancy.create_user('fleet', 'operator', role => 'partner_admin')";
    Ok([
        caller("a tenant with 1 %", &worker(SMALL), &format!("n = {SMALL}"))?,
        caller(
            "a tenant with half",
            &worker(LARGE),
            &format!("n = {LARGE}"),
        )?,
        caller("a fleet of 10 %", operator, &format!("n < {FLEET}"))?,
    ])
}

impl Search {
    /// Returns the statement of both sides.
    fn statements(&self, caller: &Caller, table: &str) -> [String; 2] {
        let value = caller.value;
        let network = format!("10.0.{}.{}/30", value >> 8 & 255, value & 252);
        let condition = (self.condition)
            .replace("{net}", &network)
            .replace("{v}", &value.to_string());
        let tenant = &caller.tenant;
        let ours = match self.join {
            None => format!("bench.{table} d WHERE {condition}"),
            Some(joined) => {
                format!("bench.{table} d JOIN bench.{table}_{joined} w ON {condition} WHERE true")
            }
        };
        let ours = format!("SELECT coalesce(sum(d.id), 0)::bigint FROM {ours}");
        let theirs = match self.join {
            None => format!("{ours} AND d.tenant_id {tenant}"),
            Some(_) => format!("{ours} AND d.tenant_id {tenant} AND w.tenant_id {tenant}"),
        };
        [theirs, ours]
    }
}

/// What one search took.
struct Measured {
    name: &'static str,
    /// Prepared: by hand, with tenancy.
    times: [f64; 2],
    /// Planned each time.
    planned: [f64; 2],
    plans: [Plan; 2],
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.times[1] / self.times[0]
    }
}

/// Measures all searches for a caller, and reports the geometric mean, the worst, and all ratios.
fn group(
    config: &Config,
    report: &mut Report,
    caller: &Caller,
    table: &Table,
) -> Result<(), Fault> {
    let what = &format!("{}, {}", caller.who, table.indexes);
    let [mean, worst] = if caller.tenant.contains("ANY") {
        TARGETS_OF_FLEET
    } else {
        table.targets
    };
    let mut all = Vec::new();
    for search in &SEARCHES {
        all.push(measure(config, caller, table, search)?);
    }
    all.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let of = |times: fn(&Measured) -> [f64; 2]| {
        [0, 1].map(|side| {
            let sum: f64 = all.iter().map(|one| times(one)[side].ln()).sum();
            (sum / all.len() as f64).exp()
        })
    };
    report.compare(
        &format!("{} searches, {what}: mean", all.len()),
        of(|one| one.times),
        Wanted::AtMost(mean),
        None,
    );
    report.compare(
        "  not prepared",
        of(|one| one.planned),
        Wanted::Stated,
        None,
    );
    let ratios: Vec<String> = (all.iter())
        .map(|one| format!("{} {:.2}", one.name, one.ratio()))
        .collect();
    report.state(what, &ratios);
    let last = all.pop();
    for one in all {
        report.plans(&format!("{}, {what}", one.name), one.plans);
    }
    if let Some(last) = last {
        report.compare(
            &format!("  worst: {}", last.name),
            last.times,
            Wanted::AtMost(worst),
            Some(last.plans),
        );
    }
    Ok(())
}

/// Measures one search: prepared and not, both sides in turns.
fn measure(
    config: &Config,
    caller: &Caller,
    table: &Table,
    search: &Search,
) -> Result<Measured, Fault> {
    const BATCH: usize = 10;
    // New connections: no plan of another search or caller is discarded.
    let (mut app, mut hand) = (config.open(APP, SEARCHED)?, config.open(HAND, COPY)?);
    let authenticate = app.prepare(AUTHENTICATE)?;
    let [theirs, ours] = search.statements(caller, table.name);
    let (theirs_ready, ours_ready) = (hand.prepare(&theirs)?, app.prepare(&ours)?);
    let (app, hand) = (&RefCell::new(app), &RefCell::new(hand));
    let by_hand = |query: &dyn Fn(&mut Client) -> Result<i64, Fault>| -> Result<Turn, Fault> {
        let mut hand = hand.borrow_mut();
        hand.batch_execute("BEGIN")?;
        let turn = timed(BATCH, |_| query(&mut hand))?;
        hand.batch_execute("COMMIT")?;
        Ok(turn)
    };
    let by_app = |query: &dyn Fn(&mut Client) -> Result<i64, Fault>| -> Result<Turn, Fault> {
        let mut app = app.borrow_mut();
        begin_as(&mut app, &authenticate, &caller.key)?;
        let turn = timed(BATCH, |_| query(&mut app))?;
        app.batch_execute("COMMIT")?;
        Ok(turn)
    };
    let times = in_turns(
        config.rounds(45),
        &mut [
            &mut |_| by_hand(&|hand| run(hand, &theirs_ready, &[])),
            &mut |_| by_app(&|app| run(app, &ours_ready, &[])),
            &mut |_| by_hand(&|hand| run_text(hand, &theirs)),
            &mut |_| by_app(&|app| run_text(app, &ours)),
        ],
    )?;
    let plans = [
        explain(&mut hand.borrow_mut(), &theirs)?,
        explain_as(&mut app.borrow_mut(), &authenticate, &caller.key, &ours)?,
    ];
    Ok(Measured {
        name: search.name,
        times: [times[0], times[1]],
        planned: [times[2], times[3]],
        plans,
    })
}
