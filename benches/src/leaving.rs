//! What it costs that a tenant leaves: purge_tenant() against bare DELETEs in batches, export_tenant() against COPY.

use std::io::Read;
use std::time::Instant;

use crate::Fault;
use crate::cases::pair;
use crate::config::{Config, DATABASE, HAND};
use crate::measure::{Turn, in_turns};
use crate::report::{Report, Wanted};
use crate::setup::World;

/// The rows of each tenant that leaves.
const ROWS: u64 = 60_000;

/// Measures both, on tables that belong to [`HAND`]. Each round deletes another tenant's rows.
pub fn leaving(config: &Config, _world: &World, report: &mut Report) -> Result<(), Fault> {
    let rounds = config.rounds(7);
    let tenants = rounds + 2;
    let mut admin = config.administer(DATABASE)?;
    admin.batch_execute(&format!(
        "GRANT CREATE ON DATABASE {DATABASE} TO {HAND}; GRANT tenancy_admin TO {HAND}; SET ROLE {HAND}; CREATE SCHEMA leaving;
         SELECT tenancy.create_tenant('leaves-' || n, 'x') FROM generate_series(1, {tenants}) n;
         CREATE TABLE leaving.bare (tenant_id uuid, id bigint, at timestamptz, amount numeric, body text, PRIMARY KEY (tenant_id, id));
         INSERT INTO leaving.bare SELECT s.id, n, now(), n / 3.0, repeat('x', 50) FROM tenancy.tenants s, generate_series(1, {ROWS}) n WHERE s.slug LIKE 'leaves-%';
         CREATE TABLE leaving.protected (LIKE leaving.bare INCLUDING ALL);
         INSERT INTO leaving.protected SELECT * FROM leaving.bare;
         SELECT tenancy.protect('leaving.protected');
         CREATE PROCEDURE leaving.delete(tenant uuid) LANGUAGE plpgsql AS $$
         DECLARE
             deleted bigint := 1;
         BEGIN
             WHILE deleted > 0 LOOP
                 DELETE FROM leaving.bare WHERE ctid = ANY (ARRAY(SELECT ctid FROM leaving.bare WHERE tenant_id = tenant LIMIT 5000));
                 GET DIAGNOSTICS deleted = ROW_COUNT;
                 COMMIT;
             END LOOP;
         END $$;
         RESET ROLE"
    ))?;
    admin.batch_execute("VACUUM ANALYZE leaving.bare; VACUUM ANALYZE leaving.protected")?;
    let ids: Vec<String> = (admin.query(
        "SELECT id::text FROM tenancy.tenants WHERE slug LIKE 'leaves-%' ORDER BY id",
        &[],
    )?)
    .iter()
    .map(|row| row.get(0))
    .collect();
    let (mut bare, mut ours) = (config.connect(HAND)?, config.connect(HAND)?);
    let copied = |client: &mut postgres::Client, query: &str| -> Result<Turn, Fault> {
        let began = Instant::now();
        let mut text = Vec::new();
        client
            .copy_out(&format!("COPY ({query}) TO STDOUT"))?
            .read_to_end(&mut text)?;
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        // Rows alone: an export has other lines too.
        let rows = text
            .split(|byte| *byte == b'\n')
            .filter(|line| line.len() > 90)
            .count();
        Ok(Turn {
            ms,
            answer: i64::from(rows as u64 >= ROWS),
        })
    };
    let times = in_turns(
        rounds,
        &mut [
            &mut |round| {
                copied(
                    &mut bare,
                    &format!(
                        "SELECT * FROM leaving.bare WHERE tenant_id = '{}'",
                        ids[round]
                    ),
                )
            },
            &mut |round| {
                copied(
                    &mut ours,
                    &format!("SELECT tenancy.export_tenant('{}')", ids[round]),
                )
            },
        ],
    )?;
    report.compare(
        "export_tenant(), against COPY of the rows",
        pair(&times),
        Wanted::AtMost(1.0 / 0.5),
        None,
    );
    let done = |began: Instant,
                client: &mut postgres::Client,
                table: &str,
                tenant: &str|
     -> Result<Turn, Fault> {
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        let query = format!("SELECT count(*) FROM leaving.{table} WHERE tenant_id = '{tenant}'");
        Ok(Turn {
            ms,
            answer: client.query_one(&query, &[])?.get(0),
        })
    };
    let mut counter = config.administer(DATABASE)?;
    let counter = std::cell::RefCell::new(&mut counter);
    let times = in_turns(
        rounds,
        &mut [
            &mut |round| {
                let began = Instant::now();
                bare.batch_execute(&format!("CALL leaving.delete('{}')", ids[round]))?;
                done(began, &mut counter.borrow_mut(), "bare", &ids[round])
            },
            &mut |round| {
                ours.batch_execute(&format!(
                    "SELECT tenancy.set_status('{}', 'deleted')",
                    ids[round]
                ))?;
                let began = Instant::now();
                ours.batch_execute(&format!(
                    "CALL tenancy.purge_tenant('{}', 'bench')",
                    ids[round]
                ))?;
                done(began, &mut counter.borrow_mut(), "protected", &ids[round])
            },
        ],
    )?;
    report.compare(
        "purge_tenant(), against bare DELETEs in batches",
        pair(&times),
        Wanted::AtMost(1.0 / 0.7),
        None,
    );
    admin.batch_execute(
        "DROP TABLE leaving.bare, leaving.protected CASCADE; DROP SCHEMA leaving CASCADE",
    )?;
    Ok(())
}
