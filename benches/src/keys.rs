//! Tenant columns of the application's own types, which policies cast and the planner compares as they are.

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, explain_as, literal, pair, run};
use crate::config::{APP, Config, DATABASE, HAND};
use crate::measure::{in_turns, timed};
use crate::plans::explain;
use crate::report::{Report, Wanted};
use crate::setup::World;

/// Each type, and the most that reading a tenant's rows may take in proportion to a hand-written condition.
const TYPES: [(&str, &str, f64); 4] = [
    ("smallint", "smallint", 1.2),
    ("numeric", "numeric(9,0)", 1.2),
    ("char", "char(8)", 1.2),
    // Searched as one, and compared as a text besides.
    ("citext", "citext", 1.2),
];

/// Measures reading one tenant's rows by index for each type.
pub fn other_types(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    admin.batch_execute("CREATE EXTENSION IF NOT EXISTS citext SCHEMA public")?;
    for (n, tenant) in world.tenants.iter().enumerate() {
        let id = literal(&tenant.id);
        admin.batch_execute(&format!(
            "SELECT tenancy.update_scope({id}::uuid, external_id => '{n}')"
        ))?;
    }
    let count = world.tenants.len();
    for (name, kind, limit) in TYPES {
        for table in ["keyed", "keyed_hand"] {
            admin.batch_execute(&format!(
                "CREATE TABLE bench.{table}_{name} (id bigint PRIMARY KEY, account {kind} NOT NULL, body text NOT NULL);
                 INSERT INTO bench.{table}_{name} SELECT n, (n % {count})::text::{kind}, 'row ' || n FROM generate_series(1, 100 * {count}) n;
                 CREATE INDEX ON bench.{table}_{name} (account); GRANT SELECT ON bench.{table}_{name} TO {HAND}"
            ))?;
            admin.batch_execute(&format!("VACUUM ANALYZE bench.{table}_{name}"))?;
        }
        admin.batch_execute(&format!(
            "SELECT tenancy.protect('bench.keyed_{name}', 'account', grants => ARRAY['{APP}'])"
        ))?;
        let (mut app, mut hand) = (config.connect(APP)?, config.connect(HAND)?);
        let authenticate = app.prepare(AUTHENTICATE)?;
        let sum = format!("SELECT count(*), max(id) FROM bench.keyed_{name}");
        let by_hand = format!(
            "SELECT count(*), max(id) FROM bench.keyed_hand_{name} WHERE account = ($1::text)::{kind}"
        );
        let (ours, theirs) = (app.prepare(&sum)?, hand.prepare(&by_hand)?);
        let of = |round: usize| round % count;
        let times = in_turns(
            config.rounds(101),
            &mut [
                &mut |round| {
                    hand.batch_execute("BEGIN")?;
                    let key = of(round).to_string();
                    let turn = timed(100, |_| run(&mut hand, &theirs, &[&key]))?;
                    hand.batch_execute("COMMIT")?;
                    Ok(turn)
                },
                &mut |round| {
                    begin_as(&mut app, &authenticate, &world.tenants[of(round)].key)?;
                    let turn = timed(100, |_| run(&mut app, &ours, &[]))?;
                    app.batch_execute("COMMIT")?;
                    Ok(turn)
                },
            ],
        )?;
        let plans = [
            explain(&mut hand, &by_hand.replace("$1::text", "'1'"))?,
            explain_as(&mut app, &authenticate, &world.tenants[1].key, &sum)?,
        ];
        report.compare(
            &format!("one tenant by a key of type {name}"),
            pair(&times),
            Wanted::AtMost(limit),
            Some(plans),
        );
    }
    Ok(())
}
