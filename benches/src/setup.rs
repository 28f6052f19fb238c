//! Sets up the database for the measurements: two pairs of equal tables, a tree of tenants, three roles.

use std::time::Instant;

use postgres::Client;
use uuid::Uuid;

use crate::Fault;
use crate::config::{APP, COPY, Config, DATABASE, HAND, SEARCHED, SETTING};

/// A tenant with a user of its own.
pub struct Tenant {
    /// Its id.
    pub id: Uuid,
    /// An API key of its user.
    pub key: String,
    /// A ticket of its user.
    pub ticket: String,
}

/// A partner with a user who serves the whole fleet.
pub struct Fleet {
    /// The tenants.
    pub tenants: Vec<Uuid>,
    /// An API key of the partner's user.
    pub key: String,
}

/// What there is.
pub struct World {
    /// The 1000 tenants of `items`.
    pub tenants: Vec<Tenant>,
    /// 100 of them.
    pub fleet_100: Fleet,
    /// 1,000 of the 20,000 tenants of `wide`.
    pub fleet_1k: Fleet,
    /// 10,000 of them.
    pub fleet_10k: Fleet,
    /// A partner's user with a role at one tenant of `items`.
    pub picked_1: Fleet,
    /// With a role at each of the tenants of `fleet_100`.
    pub picked_100: Fleet,
    /// With a role at each of the tenants of `fleet_10k`.
    pub picked_10k: Fleet,
    /// The key of the first tenant's admin.
    pub tenant_admin: String,
    /// The key of a super admin.
    pub super_admin: String,
    /// The server, and what matters of how it is set.
    pub server: String,
}

/// Builds it.
pub fn build(config: &Config) -> Result<World, Fault> {
    remove(config)?;
    let mut server = config.administer("postgres")?;
    for role in [APP, HAND, SETTING] {
        server.batch_execute(&format!("CREATE ROLE {role} LOGIN"))?;
    }
    server.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
    server.batch_execute(&format!(
        "ALTER DATABASE {DATABASE} SET max_parallel_workers_per_gather = 0;
         ALTER DATABASE {DATABASE} SET jit = off;
         -- What the worker does is measured by itself.
         ALTER DATABASE {DATABASE} SET tenancy.usage_rollup_interval = '1h'"
    ))?;

    let mut admin = config.administer(DATABASE)?;
    admin.batch_execute(&format!(
        "CREATE EXTENSION tenancy; GRANT tenancy_app TO {APP}; CREATE SCHEMA bench"
    ))?;
    step("the tree: 21,000 tenants", || tree(&mut admin))?;
    if !config.many {
        for (table, tenants) in [("items", "narrow"), ("wide", "wide")] {
            step(
                &format!("{table}: two copies of {} rows", config.rows),
                || pair(&mut admin, table, tenants, config.rows),
            )?;
        }
        bulk_tables(&mut admin)?;
    }
    let world = read(&mut admin)?;
    admin.batch_execute("DROP TABLE bench.users; CHECKPOINT")?;
    Ok(world)
}

/// Removes what an earlier run may have left.
pub fn remove(config: &Config) -> Result<(), Fault> {
    let mut server = config.administer("postgres")?;
    for database in [DATABASE, SEARCHED, COPY] {
        server.batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))?;
    }
    for role in [APP, HAND, SETTING] {
        server.batch_execute(&format!("DROP ROLE IF EXISTS {role}"))?;
    }
    Ok(())
}

/// Does a step, and prints how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let began = Instant::now();
    let done = work()?;
    eprintln!("  {what} ({:.1} s)", began.elapsed().as_secs_f64());
    Ok(done)
}

/// Ten partners of 100 tenants for `items`; for `wide` one of 10,000, one of 1,000 and one of 9,000.
fn tree(admin: &mut Client) -> Result<(), Fault> {
    admin.batch_execute(
        "CREATE TABLE bench.partners (slug text, kind text, tenants int, id uuid);
         INSERT INTO bench.partners
             SELECT 'narrow-' || n, 'narrow', 100, tenancy.create_partner('narrow-' || n) FROM generate_series(1, 10) n;
         INSERT INTO bench.partners
             SELECT 'wide-' || n, 'wide', n, tenancy.create_partner('wide-' || n) FROM unnest(ARRAY[10000, 1000, 9000]) n;
         CREATE TABLE bench.tenants AS
             SELECT row_number() OVER (PARTITION BY p.kind ORDER BY p.slug, i) - 1 AS n, p.kind, p.slug AS partner,
                    p.slug || '-' || i AS slug, tenancy.create_tenant(p.slug || '-' || i, partner => p.id) AS id
             FROM bench.partners p, generate_series(1, p.tenants) i;
         CREATE TABLE bench.users AS
             SELECT t.n, t.kind, t.id AS parent, tenancy.create_user(t.id, 'worker', kind => 'service') AS id
             FROM bench.tenants t WHERE t.kind = 'narrow'
             UNION ALL
             SELECT NULL, p.slug, p.id, tenancy.create_user(p.id, 'operator', role => 'partner_admin') FROM bench.partners p
             UNION ALL
             SELECT NULL, 'picked-' || u.n, p.id, tenancy.create_user(p.id, 'picked-' || u.n)
             FROM (VALUES ('narrow-2', 1), ('narrow-1', 100), ('wide-10000', 10000)) u (partner, n) JOIN bench.partners p ON p.slug = u.partner
             UNION ALL
             SELECT NULL, 'tenant_admin', t.id, tenancy.create_user(t.id, 'admin', role => 'tenant_admin')
             FROM bench.tenants t WHERE t.kind = 'narrow' AND t.n = 0
             UNION ALL
             SELECT NULL, 'super_admin', p.id, tenancy.create_user(p.id, 'root', role => 'super_admin')
             FROM tenancy.scopes p WHERE p.level = 'platform';
         INSERT INTO tenancy_internal.role_assignments (user_id, role_id, scope_id)
             SELECT u.id, r.id, t.id
             FROM bench.users u JOIN bench.partners p ON p.id = u.parent JOIN bench.tenants t ON t.partner = p.slug
             JOIN tenancy_internal.role_definitions r ON r.built_in AND r.name = 'partner_user'
             WHERE u.kind LIKE 'picked-%' AND (u.kind <> 'picked-1' OR t.slug = 'narrow-2-1');
         ALTER TABLE bench.users ADD key text, ADD ticket text;
         UPDATE bench.users SET key = tenancy.issue_api_key(id, 'bench'), ticket = tenancy.issue_ticket(id, '1 day');
         ALTER TABLE tenancy.scopes SET (autovacuum_enabled = off);
         ALTER TABLE tenancy_internal.api_key_secrets SET (autovacuum_enabled = off);
         ALTER TABLE tenancy_internal.api_key_uses SET (autovacuum_enabled = off)",
    )?;
    vacuum(
        admin,
        &[
            "tenancy.scopes",
            "tenancy_internal.role_assignments",
            "tenancy_internal.api_key_secrets",
            "tenancy_internal.api_key_uses",
            "bench.tenants",
        ],
    )
}

/// A protected table and its hand-written copy: filled by the same statement, in the same random
/// order, with the same index.
fn pair(admin: &mut Client, table: &str, tenants: &str, rows: i64) -> Result<(), Fault> {
    let copy = format!("{table}_hand");
    for name in [table, &copy] {
        admin.batch_execute(&format!(
            "CREATE TABLE bench.{name} (
                 id bigint NOT NULL, tenant_id uuid NOT NULL, created_at timestamptz NOT NULL,
                 amount bigint NOT NULL, body text NOT NULL
             ) WITH (autovacuum_enabled = off);
             INSERT INTO bench.{name}
                 SELECT i, t.id, timestamptz '2025-01-01 00:00Z' + i * interval '7 s', i % 997, 'request ' || md5(i::text)
                 FROM generate_series(1, {rows}) i
                 JOIN bench.tenants t ON t.kind = '{tenants}'
                  AND t.n = i % (SELECT count(*) FROM bench.tenants WHERE kind = '{tenants}')
                 ORDER BY hashint8extended(i, 42), i;
             CREATE INDEX ON bench.{name} (tenant_id, created_at)"
        ))?;
    }
    protect(admin, table)?;
    admin.batch_execute(&format!(
        "ALTER TABLE bench.{copy}
             ALTER tenant_id SET DEFAULT tenancy.tenant_id(),
             ENABLE ROW LEVEL SECURITY,
             OWNER TO {HAND};
         CREATE POLICY by_setting ON bench.{copy} TO {SETTING}
             USING (tenant_id = current_setting('app.tenant')::uuid);
         GRANT SELECT ON bench.{copy} TO {SETTING};
         GRANT USAGE ON SCHEMA bench TO {HAND}, {SETTING}"
    ))?;
    vacuum(
        admin,
        &[&format!("bench.{table}"), &format!("bench.{copy}")],
    )
}

/// For the bulk insert: the application writes to both, one has no row security.
fn bulk_tables(admin: &mut Client) -> Result<(), Fault> {
    for name in ["bulk", "bulk_hand"] {
        admin.batch_execute(&format!(
            "CREATE TABLE bench.{name} (
                 id bigint NOT NULL, tenant_id uuid NOT NULL DEFAULT tenancy.tenant_id(),
                 created_at timestamptz NOT NULL, amount bigint NOT NULL, body text NOT NULL
             ) WITH (autovacuum_enabled = off);
             CREATE INDEX ON bench.{name} (tenant_id, created_at)"
        ))?;
    }
    protect(admin, "bulk")?;
    admin.batch_execute(&format!("GRANT SELECT, INSERT ON bench.bulk_hand TO {APP}"))?;
    Ok(())
}

/// Protects a table, for the application.
pub fn protect(admin: &mut Client, table: &str) -> Result<(), Fault> {
    admin.execute(
        &format!("SELECT tenancy.protect('bench.{table}', grants => ARRAY['{APP}'])"),
        &[],
    )?;
    Ok(())
}

/// Vacuums and analyzes tables.
pub fn vacuum(admin: &mut Client, tables: &[&str]) -> Result<(), Fault> {
    for table in tables {
        admin.batch_execute(&format!("VACUUM (ANALYZE, FREEZE) {table}"))?;
    }
    Ok(())
}

fn read(admin: &mut Client) -> Result<World, Fault> {
    let tenants = admin
        .query(
            "SELECT parent, key, ticket FROM bench.users WHERE kind = 'narrow' ORDER BY n",
            &[],
        )?
        .iter()
        .map(|row| Tenant {
            id: row.get(0),
            key: row.get(1),
            ticket: row.get(2),
        })
        .collect();
    let mut key = |kind: &str| -> Result<String, Fault> {
        Ok(admin
            .query_one("SELECT key FROM bench.users WHERE kind = $1", &[&kind])?
            .get(0))
    };
    let (tenant_admin, super_admin) = (key("tenant_admin")?, key("super_admin")?);
    let keys = [
        "narrow-1",
        "wide-1000",
        "wide-10000",
        "picked-1",
        "picked-100",
        "picked-10000",
    ]
    .map(key);
    let [
        fleet_100,
        fleet_1k,
        fleet_10k,
        picked_1,
        picked_100,
        picked_10k,
    ] = keys;
    let mut fleet = |partner: &str, key: Result<String, Fault>| -> Result<Fleet, Fault> {
        Ok(Fleet {
            tenants: admin
                .query(
                    "SELECT id FROM bench.tenants WHERE partner = $1 ORDER BY n",
                    &[&partner],
                )?
                .iter()
                .map(|row| row.get(0))
                .collect(),
            key: key?,
        })
    };
    let (fleet_100, fleet_1k, fleet_10k) = (
        fleet("narrow-1", fleet_100)?,
        fleet("wide-1000", fleet_1k)?,
        fleet("wide-10000", fleet_10k)?,
    );
    let (mut picked_1, picked_100, picked_10k) = (
        fleet("narrow-2", picked_1)?,
        fleet("narrow-1", picked_100)?,
        fleet("wide-10000", picked_10k)?,
    );
    // The tenants are made in this order.
    picked_1.tenants.truncate(1);
    let server = admin
        .query_one(
            "SELECT format('PostgreSQL %s, shared_buffers %s, fsync %s', split_part(current_setting('server_version'), ' ', 1),
                           current_setting('shared_buffers'), current_setting('fsync'))",
            &[],
        )?
        .get(0);
    Ok(World {
        tenants,
        fleet_100,
        fleet_1k,
        fleet_10k,
        picked_1,
        picked_100,
        picked_10k,
        tenant_admin,
        super_admin,
        server,
    })
}
