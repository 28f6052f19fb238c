//! The objects that metering and budgets are measured with: a metric, four levels of hard budgets that never run
//! out, and the version written by hand: the same table of events, and a table of counters.

use postgres::Client;
use uuid::Uuid;

use crate::Fault;
use crate::config::{APP, Config, DATABASE, HAND};
use crate::setup::World;

/// The attributes of each event.
pub const ATTRIBUTES: &str = "{\"model\": \"small\", \"request\": \"r-20260117-000017\"}";
/// The attributes that are dimensions.
pub const DIMENSIONS: &str = "{\"model\": \"small\"}";
/// How much an event counts.
pub const QUANTITY: i64 = 37;
/// The cost of a unit, in millionths.
pub const PRICE: i64 = 2;
/// The platform's id in every install.
pub const PLATFORM: &str = "00000000-0000-7000-8000-000000000000";

/// A client's place in the tree.
#[derive(Clone, Copy)]
pub struct Place {
    /// The partner of all of them.
    pub partner: Uuid,
    /// The tenant.
    pub tenant: Uuid,
    /// The user.
    pub user: Uuid,
}

/// The places of the first tenants of `items`: all of one partner.
pub fn places(admin: &mut Client, world: &World, count: usize) -> Result<Vec<Place>, Fault> {
    let tenants: Vec<Uuid> = (world.tenants.iter().take(count))
        .map(|tenant| tenant.id)
        .collect();
    let rows = admin.query(
        "SELECT t.parent_id, t.id, u.id FROM unnest($1::uuid[]) WITH ORDINALITY n (id, n)
           JOIN tenancy.scopes t ON t.id = n.id JOIN tenancy.scopes u ON u.parent_id = t.id AND u.slug = 'worker' ORDER BY n.n",
        &[&tenants],
    )?;
    let places: Vec<Place> = rows
        .iter()
        .map(|row| Place {
            partner: row.get(0),
            tenant: row.get(1),
            user: row.get(2),
        })
        .collect();
    match places.first() {
        Some(first) if places.iter().all(|place| place.partner == first.partner) => Ok(places),
        _ => Err("the first tenants are not of one partner".into()),
    }
}

/// Makes all of it, if it is not there.
pub fn prepare(config: &Config, world: &World) -> Result<Client, Fault> {
    let mut admin = config.administer(DATABASE)?;
    if admin
        .query_one("SELECT to_regclass('bench.events_hand') IS NOT NULL", &[])?
        .get(0)
    {
        return Ok(admin);
    }
    admin.batch_execute(&format!(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => {PRICE}::numeric / 1000000, dimensions => '{{model}}');
         SELECT tenancy_internal.make_usage_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
           FROM generate_series(-2, 1) n;
         -- As tenancy's own: the same columns, partitions and indexes.
         CREATE TABLE bench.events_hand (LIKE tenancy_internal.usage_events INCLUDING DEFAULTS) PARTITION BY RANGE (at);
         DO $$ DECLARE lo timestamptz; BEGIN
             FOR n IN 0..1 LOOP
                 lo := (date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month') AT TIME ZONE 'UTC';
                 EXECUTE format('CREATE TABLE bench.%I PARTITION OF bench.events_hand FOR VALUES FROM (%L) TO (%L)',
                     'events_hand_' || n, lo, ((lo AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC');
                 EXECUTE format('CREATE INDEX ON bench.%I (origin, xid)', 'events_hand_' || n);
                 EXECUTE format('CREATE INDEX ON bench.%I USING brin (at) WITH (pages_per_range = 16)', 'events_hand_' || n);
                 EXECUTE format('CREATE INDEX ON bench.%I USING brin (id) WITH (pages_per_range = 16)', 'events_hand_' || n);
             END LOOP;
         END $$;
         -- A counter row a level: room on its page, so that an update stays there.
         CREATE TABLE bench.counters (
             scope uuid, metric integer, period timestamptz, used bigint NOT NULL, amount bigint NOT NULL, place integer NOT NULL,
             PRIMARY KEY (scope, metric, period)
         ) WITH (fillfactor = 20);
         GRANT USAGE ON SCHEMA bench TO {APP}, {HAND};
         GRANT SELECT, INSERT ON bench.events_hand TO {HAND};
         GRANT SELECT, INSERT, UPDATE ON bench.counters TO {HAND};
         GRANT SELECT ON bench.counters TO {APP};"
    ))?;
    admin.batch_execute(BY_HAND)?;
    let places = places(&mut admin, world, 100)?;
    let above = [PLATFORM.to_owned(), places[0].partner.to_string()];
    let below = places
        .iter()
        .flat_map(|place| [place.tenant.to_string(), place.user.to_string()]);
    for scope in above.into_iter().chain(below) {
        admin.execute(
            "SELECT tenancy.set_budget($1::text::tenancy.regscope, 'tokens', 1000000000000)",
            &[&scope],
        )?;
    }
    let scopes: Vec<Uuid> = places
        .iter()
        .flat_map(|place| [place.tenant, place.user])
        .collect();
    admin.execute(
        "INSERT INTO bench.counters
         SELECT s.id, 1, date_trunc('month', now()), 0, 1000000000000000000,
                CASE s.level WHEN 'user' THEN 0 WHEN 'tenant' THEN 1 WHEN 'partner' THEN 2 ELSE 3 END
           FROM tenancy.scopes s WHERE s.id = ANY ($1) OR s.id = $2 OR s.level = 'platform'",
        &[&scopes, &places[0].partner],
    )?;
    for command in ["VACUUM (ANALYZE) bench.counters", "CHECKPOINT"] {
        admin.batch_execute(command)?;
    }
    Ok(admin)
}

/// Hand-written budgets in the way that is usually recommended, each as fast as it can be: one call and one round trip.
/// Rows that all users share are locked last.
const BY_HAND: &str = "
    CREATE FUNCTION bench.consume_upsert(id uuid, partner uuid, tenant uuid, \"user\" uuid, quantity bigint, cost bigint, attributes jsonb) RETURNS void
        LANGUAGE plpgsql AS $$
    DECLARE
        period timestamptz := date_trunc('month', now());
        taken integer;
    BEGIN
        INSERT INTO bench.counters AS c (scope, metric, period, used, amount, place)
        VALUES (\"user\", 1, period, quantity, 1000000000000000000, 0), (tenant, 1, period, quantity, 1000000000000000000, 1),
               (partner, 1, period, quantity, 1000000000000000000, 2),
               ('00000000-0000-7000-8000-000000000000', 1, period, quantity, 1000000000000000000, 3)
        ON CONFLICT ON CONSTRAINT counters_pkey DO UPDATE SET used = c.used + excluded.used WHERE c.used + excluded.used <= c.amount;
        GET DIAGNOSTICS taken = ROW_COUNT;
        IF taken < 4 THEN
            RAISE EXCEPTION 'a budget is exhausted';
        END IF;
        INSERT INTO bench.events_hand (at, origin, xid, id, metric_id, partner_id, tenant_id, user_id, quantity, cost, attributes, dimensions)
        VALUES (clock_timestamp(), 1, pg_current_xact_id(), id, 1, partner, tenant, \"user\", quantity, cost, attributes,
                jsonb_build_object('model', attributes -> 'model'));
    END
    $$;
    CREATE FUNCTION bench.consume_locked(id uuid, partner uuid, tenant uuid, \"user\" uuid, quantity bigint, cost bigint, attributes jsonb) RETURNS void
        LANGUAGE plpgsql AS $$
    #variable_conflict use_variable
    DECLARE
        start timestamptz := date_trunc('month', now());
        scopes uuid[] := ARRAY[\"user\", tenant, partner, '00000000-0000-7000-8000-000000000000'];
        room integer;
    BEGIN
        SELECT count(*) FILTER (WHERE l.used + quantity <= l.amount) INTO room
          FROM (SELECT c.used, c.amount FROM bench.counters c WHERE c.scope = ANY (scopes) AND c.metric = 1 AND c.period = start
                 ORDER BY c.place FOR UPDATE) l;
        IF room < 4 THEN
            RAISE EXCEPTION 'a budget is exhausted';
        END IF;
        UPDATE bench.counters c SET used = c.used + quantity WHERE c.scope = ANY (scopes) AND c.metric = 1 AND c.period = start;
        INSERT INTO bench.events_hand (at, origin, xid, id, metric_id, partner_id, tenant_id, user_id, quantity, cost, attributes, dimensions)
        VALUES (clock_timestamp(), 1, pg_current_xact_id(), id, 1, partner, tenant, \"user\", quantity, cost, attributes,
                jsonb_build_object('model', attributes -> 'model'));
    END
    $$;";
