//! The cost of tenancy's own views for users who manage a part of a large tree.

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, explain_as, literal, pair, run};
use crate::config::{APP, Config, DATABASE};
use crate::measure::{in_turns, timed};
use crate::plans::explain;
use crate::report::{Report, Wanted};
use crate::setup::World;

const COUNT: &str = "SELECT count(*) FROM tenancy.users";
const COUNT_HAND: &str =
    "SELECT count(*) FROM tenancy.scopes WHERE level = 'user' AND path && ARRAY[$1::uuid]";

/// How many users there are below the caller, of 100,000: a tenant's admin, and its partner's.
pub fn views(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    // Else the sixth run would be planned for any scope.
    admin.batch_execute("SET plan_cache_mode = force_custom_plan")?;
    admin.batch_execute(
        "INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name, kind)
             SELECT n.id, 'user', t.id, t.path || n.id, 'person-' || n.i, 'Person ' || n.i, 'human'
             FROM (SELECT id, path FROM tenancy.scopes WHERE level = 'tenant' AND slug LIKE 'narrow-%') t
             CROSS JOIN LATERAL (SELECT i, tenancy.new_id() AS id FROM generate_series(1, 100) i WHERE t.id IS NOT NULL OFFSET 0) n",
    )?;
    admin.batch_execute("VACUUM (ANALYZE) tenancy.scopes")?;
    let mut app = config.connect(APP)?;
    let authenticate = app.prepare(AUTHENTICATE)?;
    let (count, count_hand) = (app.prepare(COUNT)?, admin.prepare(COUNT_HAND)?);
    let tenant = world.tenants[0].id;
    let partner = admin
        .query_one(
            "SELECT parent_id FROM tenancy.scopes WHERE id = $1",
            &[&world.fleet_100.tenants[0]],
        )?
        .get(0);
    for (what, key, scope, batch, wanted) in [
        (
            "users of 100,000 that a tenant's admin sees",
            &world.tenant_admin,
            tenant,
            100,
            Wanted::AtMost(2.0),
        ),
        (
            "  that a partner's sees",
            &world.fleet_100.key,
            partner,
            3,
            Wanted::Stated,
        ),
    ] {
        let times = in_turns(
            config.rounds(31),
            &mut [
                &mut |_| timed(batch, |_| run(&mut admin, &count_hand, &[&scope])),
                &mut |_| {
                    begin_as(&mut app, &authenticate, key)?;
                    let turn = timed(batch, |_| run(&mut app, &count, &[]))?;
                    app.batch_execute("COMMIT")?;
                    Ok(turn)
                },
            ],
        )?;
        let plans = [
            explain(&mut admin, &COUNT_HAND.replace("$1", &literal(&scope)))?,
            explain_as(&mut app, &authenticate, key, COUNT)?,
        ];
        report.compare(what, pair(&times), wanted, Some(plans));
    }
    Ok(())
}
