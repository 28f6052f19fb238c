//! Asking for a feature and a setting of the context, against a setting of the server that an application would set itself.

use crate::Fault;
use crate::budgets::looped;
use crate::cases::{AUTHENTICATE, begin_as, pair};
use crate::config::{APP, Config, DATABASE};
use crate::measure::in_turns;
use crate::report::{Report, Wanted};
use crate::setup::World;

/// Measures both in a loop of PL/pgSQL, so that no time goes into the way there and back.
pub fn asking(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    config.administer(DATABASE)?.batch_execute(
        "SELECT tenancy.define_feature('bench_beta'), tenancy.define_setting('bench_language', default_value => '\"en\"')",
    )?;
    let (mut app, mut hand) = (config.connect(APP)?, config.connect(APP)?);
    hand.batch_execute("SET app.beta = 'on'; SET app.language = 'en'")?;
    let authenticate = app.prepare(AUTHENTICATE)?;
    for (what, asked, by_hand) in [
        (
            "feature(); hand: current_setting()",
            "IF tenancy.feature('bench_beta') THEN no := no + 1; END IF",
            "IF current_setting('app.beta') <> 'on' THEN no := no + 1; END IF",
        ),
        (
            "setting(); hand: current_setting()",
            "IF tenancy.setting('bench_language') <> 'en' THEN no := no + 1; END IF",
            "IF current_setting('app.language') <> 'en' THEN no := no + 1; END IF",
        ),
    ] {
        let times = in_turns(
            config.rounds(41),
            &mut [
                &mut |_| {
                    hand.batch_execute("BEGIN")?;
                    let turn = looped(&mut hand, by_hand)?;
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
        report.compare(what, pair(&times), Wanted::AtMost(3.0), None);
    }
    Ok(())
}
