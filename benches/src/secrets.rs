//! A tenant's secret, against a table of plain values that the application searches by tenant and name.

use std::time::Instant;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, literal, pair, run};
use crate::config::{APP, Config, DATABASE, HAND};
use crate::measure::{in_turns, median, timed};
use crate::report::{Report, Wanted};
use crate::setup::World;

/// Secrets of a tenant.
const SECRETS: i32 = 100;
/// Calls in one statement.
const CALLS: i64 = 10_000;
/// The most microseconds that a call may take.
const CALL_MICROSECONDS_MAX: f64 = 20.0;

/// Measures reading a secret in a statement of its own, and many in one statement.
pub fn reading(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    let tenant = &world.tenants[5];
    let id = literal(&tenant.id);
    admin.batch_execute(&format!(
        "CREATE TABLE bench.plain_secrets (tenant_id uuid, name text, value text, PRIMARY KEY (tenant_id, name));
         INSERT INTO bench.plain_secrets SELECT {id}, 'key/' || n, 'value ' || n FROM generate_series(1, {SECRETS}) n;
         GRANT SELECT ON bench.plain_secrets TO {HAND};
         SELECT tenancy.set_secret({id}::uuid, 'key/' || n, 'value ' || n) FROM generate_series(1, {SECRETS}) n;
         SELECT tenancy.define_role({id}::uuid, 'reader', '{{secrets:use}}');
         SELECT tenancy.assign(u.id, 'reader', {id}::uuid) FROM tenancy.scopes u WHERE u.parent_id = {id} AND u.level = 'user'"
    ))?;
    admin.batch_execute("VACUUM ANALYZE bench.plain_secrets")?;
    let (mut app, mut hand) = (config.connect(APP)?, config.connect(HAND)?);
    let authenticate = app.prepare(AUTHENTICATE)?;
    let ours = app.prepare("SELECT length(tenancy.secret('key/' || $1::int))::bigint")?;
    let theirs = hand.prepare("SELECT length(value)::bigint FROM bench.plain_secrets WHERE tenant_id = $1 AND name = 'key/' || $2::int")?;
    let times = in_turns(
        config.rounds(101),
        &mut [
            &mut |_| {
                hand.batch_execute("BEGIN")?;
                let turn = timed(100, |n| {
                    run(&mut hand, &theirs, &[&tenant.id, &(n as i32 % SECRETS + 1)])
                })?;
                hand.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |_| {
                begin_as(&mut app, &authenticate, &tenant.key)?;
                let turn = timed(100, |n| run(&mut app, &ours, &[&(n as i32 % SECRETS + 1)]))?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            },
        ],
    )?;
    report.compare(
        "a tenant's secret; hand: a plain value by tenant and name",
        pair(&times),
        Wanted::AtMost(1.5),
        None,
    );

    let many = app.prepare(&format!(
        "SELECT sum(length(tenancy.secret('key/' || n % {SECRETS} + 1)))::bigint FROM generate_series(1, {CALLS}) n"
    ))?;
    begin_as(&mut app, &authenticate, &tenant.key)?;
    let mut each = Vec::new();
    for _ in 0..config.rounds(9) {
        let began = Instant::now();
        run(&mut app, &many, &[])?;
        each.push(began.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
    }
    app.batch_execute("COMMIT")?;
    let each = median(each);
    report.state(
        "secret() in one statement",
        &[format!(
            "{each:.1} µs a call; wanted: at most {CALL_MICROSECONDS_MAX}"
        )],
    );
    Ok(())
}
