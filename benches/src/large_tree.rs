//! What a user notices of a tree that grows to 100,000 tenants and 1,000,000 users, of which it sees as many as before.

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as};
use crate::config::{APP, Config, DATABASE};
use crate::measure::{Side, in_turns, median, timed};
use crate::report::{Report, Wanted, grouped};
use crate::setup::{World, step};

const ROUNDS: usize = 31;

/// Measures in the tree as it is, lets it grow, and measures again.
pub fn growth(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    if config.tenants == 0 {
        return Ok(());
    }
    let before = all(config, world)?;
    grow(config)?;
    let after = all(config, world)?;
    report.state(
        "the tree grows; in its lines, hand-written: before, tenancy: after",
        &[before.size, after.size],
    );
    for ((what, before), (_, after)) in before.times.into_iter().zip(after.times) {
        report.compare(&what, [before, after], Wanted::AtMost(1.5), None);
    }
    Ok(())
}

struct Measured {
    size: String,
    times: Vec<(String, f64)>,
}

fn all(config: &Config, world: &World) -> Result<Measured, Fault> {
    let mut admin = config.administer(DATABASE)?;
    let mut count = |level: &str| -> Result<i64, Fault> {
        let sql = "SELECT count(*) FROM tenancy.scopes WHERE level::text = $1";
        Ok(admin.query_one(sql, &[&level])?.get(0))
    };
    let size = format!(
        "{} tenants, {} users",
        grouped(count("tenant")?),
        grouped(count("user")?)
    );
    let mut times = Vec::new();
    for (who, key) in [
        ("a tenant's admin", &world.tenant_admin),
        ("a partner's of 10,000 tenants", &world.fleet_10k.key),
    ] {
        let first = alone(&mut |_| {
            let mut app = config.connect(APP)?;
            let authenticate = app.prepare(AUTHENTICATE)?;
            app.batch_execute("BEGIN")?;
            let resolve = "SELECT tenancy.scope_ids('data:read') IS NULL";
            timed(1, |_| {
                let credential = app.query(&authenticate, &[key])?.len();
                Ok((credential + app.query(resolve, &[])?.len()) as i64)
            })
        })?;
        times.push((format!("{who} authenticates, first in a session"), first));
        let mut app = config.connect(APP)?;
        let authenticate = app.prepare(AUTHENTICATE)?;
        let later = alone(&mut |_| {
            timed(10, |_| {
                begin_as(&mut app, &authenticate, key)?;
                app.batch_execute("COMMIT")?;
                Ok(0)
            })
        })?;
        times.push(("  later".to_owned(), later));
        for view in ["tenants", "users"] {
            let sql = format!("SELECT count(*), count(effective_status) FROM tenancy.{view}");
            let seen = alone(&mut |_| {
                begin_as(&mut app, &authenticate, key)?;
                let turn = timed(1, |_| Ok(app.query_one(&sql, &[])?.get(0)))?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            })?;
            times.push((format!("  reads tenancy.{view}"), seen));
        }
    }
    const CHANGES: [(&str, &str); 3] = [
        (
            "create_tenant()",
            "SELECT tenancy.create_tenant('new-' || gen_random_uuid(), partner => 'narrow-1')",
        ),
        (
            "a tenant is suspended",
            "SELECT tenancy.set_status('narrow-1-1', 'suspended')",
        ),
        (
            "  and active again",
            "SELECT tenancy.set_status('narrow-1-1', 'active')",
        ),
    ];
    let mut done = CHANGES.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, sql), done) in CHANGES.iter().zip(&mut done) {
            done.push(timed(1, |_| Ok(admin.query(*sql, &[])?.len() as i64))?.ms);
        }
    }
    let changes = CHANGES.iter().map(|(what, _)| (*what).to_owned());
    times.extend(changes.zip(done.map(median)));
    Ok(Measured { size, times })
}

/// The median of one side, without another.
fn alone(side: Side<'_>) -> Result<f64, Fault> {
    Ok(in_turns(ROUNDS, &mut [side])?[0])
}

/// Adds partners of 1,000 tenants with eleven users each, up to the wanted number of tenants.
fn grow(config: &Config) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    step("the tree grows", || {
        admin.batch_execute(&format!(
            "CREATE TABLE bench.grown AS
                 SELECT tenancy.create_partner('grown-' || n) AS id
                 FROM generate_series(1, (({tenants} - (SELECT count(*) FROM tenancy.scopes WHERE level = 'tenant')) / 1000)::int) n;
             INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name)
                 SELECT n.id, 'tenant', p.id, p.path || n.id, 'grown-' || n.id, 'Grown'
                 FROM bench.grown g JOIN tenancy.scopes p ON p.id = g.id
                 CROSS JOIN LATERAL (SELECT tenancy.new_id() AS id FROM generate_series(1, 1000) WHERE p.id IS NOT NULL OFFSET 0) n;
             INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name, kind)
                 SELECT n.id, 'user', t.id, t.path || n.id, 'person-' || n.i, 'Person', 'human'
                 FROM bench.grown g JOIN tenancy.scopes t ON t.parent_id = g.id
                 CROSS JOIN LATERAL (SELECT i, tenancy.new_id() AS id FROM generate_series(1, 11) i WHERE t.id IS NOT NULL OFFSET 0) n;
             DROP TABLE bench.grown",
            tenants = config.tenants
        ))?;
        admin.batch_execute("VACUUM (ANALYZE) tenancy.scopes")?;
        Ok(())
    })
}
