//! The cost of a transaction that reads one tenant's rows, by the number of tenants that its principal reaches.

use uuid::Uuid;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, pair, run};
use crate::config::{APP, Config, SETTING};
use crate::measure::{in_turns, timed};
use crate::report::{Report, Wanted};
use crate::setup::World;

const BATCH: usize = 300;

/// Authenticate and read ten rows of one tenant by index, against set_config and a policy on it.
pub fn transactions(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let own = [world.tenants[5].id];
    let cases: [(&str, &str, &[Uuid], &String); 6] = [
        (
            "a principal with 1 tenant: authenticate, top-10",
            "items",
            &own,
            &world.tenants[5].key,
        ),
        (
            "  1 tenant, assigned",
            "items",
            &world.picked_1.tenants,
            &world.picked_1.key,
        ),
        (
            "  100 tenants, a fleet: one tenant's top-10",
            "items",
            &world.fleet_100.tenants,
            &world.fleet_100.key,
        ),
        (
            "  100 tenants, assigned",
            "items",
            &world.picked_100.tenants,
            &world.picked_100.key,
        ),
        (
            "  10,000 tenants, a fleet",
            "wide",
            &world.fleet_10k.tenants,
            &world.fleet_10k.key,
        ),
        (
            "  10,000 tenants, assigned",
            "wide",
            &world.picked_10k.tenants,
            &world.picked_10k.key,
        ),
    ];
    for (what, table, tenants, key) in cases {
        let (mut app, mut setting) = (config.connect(APP)?, config.connect(SETTING)?);
        let authenticate = app.prepare(AUTHENTICATE)?;
        let set = setting.prepare("SELECT set_config('app.tenant', $1, true)")?;
        let query = |table: &str| {
            format!(
                "SELECT id, amount FROM bench.{table} WHERE tenant_id = $1 ORDER BY created_at DESC LIMIT 10"
            )
        };
        let ready = app.prepare(&query(table))?;
        let ready_setting = setting.prepare(&query(&format!("{table}_hand")))?;
        let times = in_turns(
            config.rounds(21),
            &mut [
                &mut |round| {
                    timed(BATCH, |n| {
                        let tenant = tenants[(round * BATCH + n) % tenants.len()];
                        setting.batch_execute("BEGIN")?;
                        setting.query(&set, &[&tenant.to_string()])?;
                        let answer = run(&mut setting, &ready_setting, &[&tenant])?;
                        setting.batch_execute("COMMIT")?;
                        Ok(answer)
                    })
                },
                &mut |round| {
                    timed(BATCH, |n| {
                        let tenant = tenants[(round * BATCH + n) % tenants.len()];
                        begin_as(&mut app, &authenticate, key)?;
                        let answer = run(&mut app, &ready, &[&tenant])?;
                        app.batch_execute("COMMIT")?;
                        Ok(answer)
                    })
                },
            ],
        )?;
        report.compare(what, pair(&times), Wanted::Stated, None);
    }
    Ok(())
}
