-- Intervals, buckets and time zones: usage() equals the sum of the events, rolled up or not.
\set SHOW_CONTEXT never
\c - postgres
SET timezone = 'UTC';
ALTER ROLE gw_r SET tenancy.usage_late = 36500;
SET ROLE adm_r;
SELECT tenancy.define_metric('clock', 'ticks');
SELECT slug(tenancy.create_tenant('berlin', settings => '{"time_zone": "Europe/Berlin"}')), slug(tenancy.create_tenant('kolkata', settings => '{"time_zone": "Asia/Kolkata"}')),
       slug(tenancy.create_tenant('howe', settings => '{"time_zone": "Australia/Lord_Howe"}')), slug(tenancy.create_tenant('monrovia', settings => '{"time_zone": "Africa/Monrovia"}'));
-- No zone that the server does not know.
SELECT slug(tenancy.create_tenant('nowhere', settings => '{"time_zone": "Mars/Olympus"}'));
\echo :SQLSTATE
SELECT slug(tenancy.create_tenant('nowhere', settings => '{"time_zone": null}'));
SELECT slug(tenancy.create_tenant('nowhere', settings => '{"time_zone": "Asia/Kolkata"}'));
SELECT tenancy.update_scope('nowhere', settings => '{"time_zone": "nonsense"}');
\echo :SQLSTATE
SELECT tenancy.update_scope('nowhere', settings => '{"time_zone": 5}');
SELECT tenancy.update_scope('nowhere', settings => '{"time_zone": ""}');
SELECT tenancy.update_scope('nowhere', settings => '{"time_zone": "UTC\u0001"}');
SELECT tenancy.update_scope('nowhere', settings => '[]');
\echo :SQLSTATE
SELECT settings FROM tenancy.tenants WHERE slug = 'nowhere';
-- An event every ten minutes around both changes of the clock, and some at the very edges.
\c - gw_r
INSERT INTO tenancy.recorded_usage (metric, tenant_id, at)
SELECT 'clock', t.id, g FROM tenancy.tenants t,
       (SELECT generate_series(d, d + interval '4 days', interval '10 minutes') FROM unnest('{2025-03-28 00:00+00,2025-10-24 00:00+00,2025-04-04 00:00+00}'::timestamptz[]) d) s (g)
WHERE t.slug IN ('berlin', 'kolkata', 'howe');
INSERT INTO tenancy.recorded_usage (metric, tenant_id, at)
SELECT 'clock', t.id, g + e FROM tenancy.tenants t, unnest('{2025-03-29 23:00+00,2025-03-30 22:00+00,2025-10-25 22:00+00,2025-03-29 18:30+00}'::timestamptz[]) g,
       unnest('{-1 microsecond,0,1 microsecond}'::interval[]) e WHERE t.slug IN ('berlin', 'kolkata', 'howe');
-- Liberia was 44 minutes and a half behind until 1972: its day began within a quarter of an hour, with which the bucket begins.
INSERT INTO tenancy.recorded_usage (metric, tenant_id, at) SELECT 'clock', t.id, '1971-06-01 00:44:29.999999+00'::timestamptz + g * interval '1 microsecond'
FROM tenancy.tenants t, generate_series(0, 2) g WHERE t.slug = 'monrovia';

-- The whole truth, from the events.
\c - postgres
CREATE FUNCTION truth(scope uuid, bucket text, since timestamptz, until timestamptz) RETURNS TABLE (bucket_start timestamptz, events bigint) LANGUAGE sql AS $$
    SELECT greatest(CASE WHEN bucket <> 'hour' OR date_trunc('hour', t.start, s.zone) = t.start THEN t.start
                         -- At Lord Howe the clock goes back by half an hour.
                         ELSE '2025-04-05 15:00+00' END, since), count(*)
    FROM tenancy_internal.usage_events e, (SELECT s.settings ->> 'time_zone' AS zone FROM tenancy.scopes s WHERE s.id = scope) s,
         LATERAL (SELECT date_trunc(bucket, e.at, s.zone) AS start) t
    WHERE e.tenant_id = scope AND (since IS NULL OR e.at >= since) AND (until IS NULL OR e.at < until) GROUP BY 1 $$;
CREATE FUNCTION differences() RETURNS TABLE (slug text, bucket text, since timestamptz, until timestamptz, wrong bigint) LANGUAGE sql AS $$
    SELECT t.slug, b, s.since, s.until,
           (SELECT count(*) FROM truth(t.id, b, s.since, s.until) a FULL JOIN tenancy.usage(t.id, 'clock', s.since, s.until, b) u USING (bucket_start)
             WHERE a.events IS DISTINCT FROM u.events OR u.quantity IS DISTINCT FROM a.events)
    FROM tenancy.tenants t, unnest('{hour,day,week,month}'::text[]) b,
         (VALUES (NULL::timestamptz, NULL::timestamptz), ('2025-03-29 10:07:03+00', NULL), (NULL, '2025-10-26 00:59:59+00'), ('2025-03-30 00:30+00', '2025-03-30 01:01+00'),
                 ('2025-03-29 23:00+00', '2025-10-25 22:00+00'), ('2025-10-26 00:00:00.5+00', '2025-10-26 00:00:01+00')) s (since, until)
    WHERE t.slug IN ('berlin', 'kolkata', 'howe') $$;
SELECT count(*) AS asked, sum(wrong) AS wrong FROM differences();
-- Part of it rolled up.
SELECT tenancy_internal.roll_usage(1) >= 0 AS some;
SELECT sum(wrong) AS wrong FROM differences();
SELECT tenancy.rollup() >= 0 AS all;
SELECT sum(wrong) AS wrong FROM differences();
SELECT * FROM differences() WHERE wrong > 0;

-- Days of 23 and 25 hours, and one of 23 and a half.
SELECT bucket_start AT TIME ZONE 'Europe/Berlin' AS day, events FROM tenancy.usage('berlin', 'clock', '2025-03-29 00:00 Europe/Berlin', '2025-04-01 00:00 Europe/Berlin', 'day');
SELECT bucket_start AT TIME ZONE 'Europe/Berlin' AS day, events FROM tenancy.usage('berlin', 'clock', '2025-10-25 00:00 Europe/Berlin', '2025-10-28 00:00 Europe/Berlin', 'day');
SELECT bucket_start AT TIME ZONE 'Australia/Lord_Howe' AS day, events FROM tenancy.usage('howe', 'clock', '2025-04-05 00:00 Australia/Lord_Howe', '2025-04-08 00:00 Australia/Lord_Howe', 'day');
SELECT bucket_start AT TIME ZONE 'UTC' AS hour, events FROM tenancy.usage('howe', 'clock', '2025-04-05 13:00+00', '2025-04-05 17:00+00', 'hour');
SELECT bucket_start AT TIME ZONE 'Asia/Kolkata' AS day, events FROM tenancy.usage('kolkata', 'clock', '2025-03-29 00:00 Asia/Kolkata', '2025-04-01 00:00 Asia/Kolkata', 'day');
SELECT bucket_start AT TIME ZONE 'Africa/Monrovia' AS day, events FROM tenancy.usage('monrovia', 'clock', bucket => 'day');
-- One that an upgrade of the server's zones took away, or a dump brought from elsewhere: UTC.
SELECT tenancy_internal.time_zone('nowhere'::tenancy.regscope);
UPDATE tenancy.scopes SET settings = '{"time_zone": "Mars/Olympus"}' WHERE slug = 'nowhere';
SELECT tenancy_internal.time_zone('nowhere'::tenancy.regscope);
SELECT * FROM tenancy.usage('nowhere', 'clock', bucket => 'day');
SELECT * FROM tenancy.usage('berlin', 'clock', '1900-01-01', '2100-01-01', 'hour');
\echo :SQLSTATE
SELECT * FROM tenancy.usage('solo', 'clock', bucket => 'day');
SELECT * FROM tenancy.usage('solo', 'clock');
-- A late event after all was rolled up.
\c - gw_r
INSERT INTO tenancy.recorded_usage (metric, tenant_id, at) SELECT 'clock', id, '2025-03-30 12:00+00' FROM tenancy.tenants WHERE slug = 'berlin';
\c - postgres
SELECT sum(wrong) AS wrong FROM differences();

-- Months go when they are old and rolled up, and what they added up to stays.
CREATE TABLE before AS SELECT t.slug, u.* FROM tenancy.tenants t, tenancy.usage(t.id, 'clock', bucket => 'day') u WHERE t.slug IN ('berlin', 'kolkata', 'howe');
SELECT tenancy_internal.retire_usage(0) AS off, tenancy_internal.retire_usage(36500) AS none;
-- A month in which something is not rolled up stays.
BEGIN;
SET LOCAL tenancy.usage_late = 36500;
INSERT INTO tenancy.recorded_usage (metric, tenant_id, at) SELECT 'clock', id, '2025-03-30 12:00+00' FROM tenancy.tenants WHERE slug = 'solo';
SELECT tenancy_internal.retire_usage(30) AS retired;
COMMIT;
SELECT partition FROM tenancy.usage_retired WHERE partition < 'usage_events_2026' ORDER BY 1;
SELECT tenancy.rollup() >= 0 AS done, tenancy_internal.retire_usage(30) AS retired;
SELECT partition FROM tenancy.usage_retired WHERE partition < 'usage_events_2026' ORDER BY 1;
SELECT count(*) FROM tenancy_internal.usage_events WHERE at < '2026-01-01';
SELECT count(*) AS different FROM before b FULL JOIN (SELECT t.slug, u.* FROM tenancy.tenants t, tenancy.usage(t.id, 'clock', bucket => 'day') u WHERE t.slug IN ('berlin', 'kolkata', 'howe')) a
    USING (slug, bucket_start) WHERE a.events IS DISTINCT FROM b.events;
SELECT events FROM tenancy.usage('berlin', 'clock', '2025-03-30 10:07+00', '2025-03-30 12:00+00');
\echo :SQLSTATE
SELECT events FROM tenancy.usage('berlin', 'clock', '2025-03-30 10:15+00', '2025-03-30 12:15+00');
SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.usage.retired' AND target = 'usage_events_2025_03';
ALTER ROLE gw_r RESET tenancy.usage_late;
