-- tree(), forecast() and top_usage(): events at fixed times, read at fixed times.
\set SHOW_CONTEXT never
\c - postgres
SET timezone = 'UTC';
ALTER ROLE gw_r SET tenancy.usage_late = 36500;
SET ROLE adm_r;
SELECT slug(tenancy.create_partner('north', settings => '{"time_zone": "Europe/Berlin"}')), slug(tenancy.create_partner('south'));
SELECT slug(tenancy.create_tenant('oslo', partner => 'north')), slug(tenancy.create_tenant('bergen', partner => 'north')),
       slug(tenancy.create_tenant('tromso', partner => 'north')), slug(tenancy.create_tenant('narvik', partner => 'north')),
       slug(tenancy.create_tenant('lima', partner => 'south', settings => '{"time_zone": "America/Lima"}'));
SELECT slug(tenancy.create_project('oslo', 'web')), slug(tenancy.create_project('oslo', 'app'));
SELECT slug(tenancy.create_user('oslo', 'ole')), slug(tenancy.create_user('oslo', 'kari')), slug(tenancy.create_user('bergen', 'nils')),
       slug(tenancy.create_user('north', 'nina', role => 'partner_admin')), slug(tenancy.create_user('lima', 'lucia'));
SELECT tenancy.set_status('tromso', 'suspended'), tenancy.set_status('narvik', 'archived');
SELECT tenancy.define_metric('words', 'words', price => 0.01, dimensions => '{model}'), tenancy.define_metric('seats', 'seats', 'max'),
       tenancy.define_metric('calls', 'calls', 'count'), tenancy.define_metric('people', 'people', 'distinct');
SELECT count(tenancy.set_budget(s::tenancy.regscope, m, a, p, h)) FROM (VALUES ('north', 'words', 20000, 'month', true), ('north', 'words', 5000, 'day', true),
    ('oslo', 'words', 8000, 'month', true), ('oslo', 'words', 12000, 'total', true), ('bergen', 'words', 3000, 'month', false), ('tromso', 'words', 0, 'month', true),
    ('oslo/ole', 'words', 1000, 'day', true), ('oslo/kari', 'words', 100000, 'year', false), ('lima', NULL, 50, 'month', true), ('narvik', 'words', 0, 'month', false)) b (s, m, a, p, h);
\c - gw_r
-- 100 words a day of June by kari, since the 10th 300 a day by ole, and one late night's work, in which Berlin is a day ahead.
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, project_id, at, attributes)
SELECT 'words', 100, u.id, p.id, d + interval '12 hours', '{"model": "small"}' FROM generate_series('2025-06-01 00:00+00'::timestamptz, '2025-06-29 00:00+00', '1 day') d,
       tenancy.users u, tenancy.projects p WHERE u.slug = 'kari' AND p.slug = 'web' AND p.tenant = 'oslo';
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at, attributes)
SELECT 'words', 300, u.id, d + interval '8 hours', '{"model": "large"}' FROM generate_series('2025-06-10 00:00+00'::timestamptz, '2025-06-29 00:00+00', '1 day') d, tenancy.users u WHERE u.slug = 'ole';
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at) SELECT 'words', 4000, id, '2025-06-30 22:30+00' FROM tenancy.users WHERE slug = 'nils';
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at) SELECT 'words', 7, id, '2025-06-01 04:59:59+00' FROM tenancy.users WHERE slug = 'lucia';
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at) SELECT 'words', 4000, id, '2025-06-14 22:30+00' FROM tenancy.users WHERE slug = 'nils';
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at) SELECT 'words', 4999, id, '2025-06-30 23:59+00' FROM tenancy.users WHERE slug = 'lucia';
INSERT INTO tenancy.recorded_usage (metric, quantity, tenant_id, at) SELECT 'words', 1, id, '2025-06-14 10:00+00' FROM tenancy.tenants WHERE slug = 'tromso';
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at)
SELECT m, q, id, '2025-06-14 10:00+00' FROM tenancy.users, (VALUES ('seats', 3), ('seats', 5), ('calls', 1), ('calls', 1), ('people', 1)) v (m, q) WHERE slug IN ('ole', 'kari');

\c - postgres
SET timezone = 'UTC';
\pset border 2
\pset linestyle unicode
\pset footer off
-- The last day of June begins: there will be another 400.
SELECT * FROM tenancy_internal.tree_at('north'::tenancy.regscope, 'words', 'month', 3, 20, '2025-06-30 00:00 Europe/Berlin');
-- The same, rolled up.
SELECT tenancy.rollup() > 0 AS rolled;
CREATE TABLE printed AS SELECT * FROM tenancy_internal.tree_at('north'::tenancy.regscope, 'words', 'month', 3, 20, '2025-06-30 00:00 Europe/Berlin') WITH ORDINALITY;
SELECT * FROM tenancy_internal.tree_at('north'::tenancy.regscope, 'words', 'month', 3, 20, '2025-06-30 00:00 Europe/Berlin') WITH ORDINALITY EXCEPT TABLE printed;
SELECT count(*) FROM printed;
-- A day; the night's work is of the 15th there.
SELECT * FROM tenancy_internal.tree_at('north'::tenancy.regscope, 'words', 'day', 2, 20, '2025-06-15 12:00 Europe/Berlin');
-- No end of it; fewer of each; no deeper.
SELECT * FROM tenancy_internal.tree_at('north'::tenancy.regscope, 'words', 'total', 2, 1, '2025-06-30 00:00 Europe/Berlin');
SELECT * FROM tenancy_internal.tree_at('north'::tenancy.regscope, 'words', 'month', 0, 20, '2025-06-30 00:00 Europe/Berlin');
-- Cost; each in its own time zone's June.
SELECT * FROM tenancy_internal.tree_at('south'::tenancy.regscope, NULL, 'month', 2, 20, '2025-06-29 00:00+00');
SELECT * FROM tenancy_internal.tree_at('south'::tenancy.regscope, NULL, 'month', 2, 20, '2025-07-01 04:59:59+00');
SELECT * FROM tenancy_internal.tree_at('south'::tenancy.regscope, NULL, 'month', 2, 20, '2025-07-01 05:00+00');
-- What does not add up; nothing to say too early.
SELECT * FROM tenancy_internal.tree_at('oslo'::tenancy.regscope, 'seats', 'month', 2, 1, '2025-06-30 00:00 Europe/Berlin');
SELECT * FROM tenancy_internal.tree_at('oslo'::tenancy.regscope, 'people', 'month', 1, 1, '2025-06-30 00:00 Europe/Berlin');
SELECT * FROM tenancy_internal.tree_at('oslo'::tenancy.regscope, 'calls', 'month', 1, 20, '2025-06-02 10:00 Europe/Berlin');
\pset border 1
\pset linestyle ascii
\pset footer on

-- 700 in seven days, 2900 in all: 3000. Each day of the week counts once.
CREATE FUNCTION say(scope text, period text, at timestamptz, zone text, metric text DEFAULT 'words') RETURNS text LANGUAGE sql AS $$
    SELECT format('%s to %s: %s used, %s expected of %s, until %s', f.period_start AT TIME ZONE zone, f.period_end AT TIME ZONE zone, f.used, f.forecast, f.budget, f.exhausted_at AT TIME ZONE zone)
    FROM tenancy_internal.forecast_at(scope::tenancy.regscope, metric, period, at) f $$;
SELECT say('oslo/kari', 'month', '2025-06-30 00:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo', 'month', '2025-06-30 00:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('north', 'month', '2025-06-30 00:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('lima', 'month', '2025-06-29 00:00+00', 'America/Lima', 'words');
-- Since the begin, where that is less than seven days ago; and not before a twentieth is over.
SELECT say('oslo', 'month', '2025-06-04 00:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo', 'month', '2025-06-02 11:59:59 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo', 'month', '2025-06-02 12:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo', 'month', '2025-06-01 00:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo', 'month', '2025-06-30 23:59:59.999999 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo', 'total', '2025-06-30 00:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo', 'month', '2025-06-30 00:00 Europe/Berlin', 'Europe/Berlin', 'seats');
SELECT say('tromso', 'month', '2025-06-30 00:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('narvik', 'month', '2025-06-30 00:00 Europe/Berlin', 'Europe/Berlin');
-- On its way: 200 of 400 after half of the day, so 300 after three quarters.
SELECT tenancy.set_budget('oslo/kari', 'words', 300, 'day') IS NOT NULL AS set;
\c - gw_r
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at) SELECT 'words', 100, id, g FROM tenancy.users, unnest('{2025-05-20 01:00 Europe/Berlin,2025-05-20 11:00 Europe/Berlin}'::timestamptz[]) g WHERE slug = 'kari';
\c - postgres
SET timezone = 'UTC';
SELECT say('oslo/kari', 'day', '2025-05-20 12:00 Europe/Berlin', 'Europe/Berlin');
SELECT tenancy.remove_budget('oslo/kari', 'words', 'day');
-- A credit of 50 puts it off by three hours, another until the day is over.
SELECT tenancy.set_budget('oslo/kari', 'words', 300, 'day') IS NOT NULL AS set;
SELECT tenancy.grant_credit('oslo/kari', 'words', 50, 'day', effective_at => '2025-05-01') IS NOT NULL AS granted;
SELECT say('oslo/kari', 'day', '2025-05-20 12:00 Europe/Berlin', 'Europe/Berlin');
SELECT tree, used, budget, bar FROM tenancy_internal.tree_at('oslo/kari'::tenancy.regscope, 'words', 'day', 0, 1, '2025-05-20 12:00 Europe/Berlin');
SELECT tenancy.grant_credit('oslo/kari', 'words', 50, 'day', effective_at => '2025-05-01') IS NOT NULL AS granted,
       tenancy.grant_credit('oslo/kari', 'words', 1000, 'day', effective_at => '2025-06-01') IS NOT NULL AS later;
SELECT say('oslo/kari', 'day', '2025-05-20 12:00 Europe/Berlin', 'Europe/Berlin');
SELECT count(tenancy.revoke_credit(id)) FROM tenancy.credits WHERE scope = 'kari';
SELECT tenancy.remove_budget('oslo/kari', 'words', 'day');
-- Days of 23 and 25 hours: half of the day's hours are over, not half of its clock.
\c - gw_r
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, at)
SELECT 'words', 10, u.id, h FROM (SELECT generate_series(d, d + interval '11 hours', '1 hour') FROM unnest('{2025-03-30 00:00 Europe/Berlin,2025-10-26 00:00 Europe/Berlin}'::timestamptz[]) d) t (h), tenancy.users u WHERE u.slug = 'ole';
\c - postgres
SET timezone = 'UTC';
SELECT say('oslo/ole', 'day', '2025-03-30 13:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo/ole', 'day', '2025-10-26 11:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo/ole', 'hour', '2025-10-26 00:30+00', 'UTC');
SELECT say('oslo/ole', 'week', '2025-03-30 13:00 Europe/Berlin', 'Europe/Berlin');
SELECT say('oslo/kari', 'year', '2025-06-30 00:00 Europe/Berlin', 'Europe/Berlin');
-- The week that is looked back on has an hour less, too.
SELECT s.since AT TIME ZONE 'Europe/Berlin' AS since, s.until AT TIME ZONE 'Europe/Berlin' AS until, s.lately AT TIME ZONE 'Europe/Berlin' AS lately
FROM unnest('{2025-03-31 12:07 Europe/Berlin,2025-03-05 12:07 Europe/Berlin}'::timestamptz[]) at, tenancy_internal.report_span('month', 'Europe/Berlin', at) s;

-- Who used most.
SELECT rank, name, quantity, share, cost, events FROM tenancy.top_usage('words', 'north', since => '2025-06-01 00:00 Europe/Berlin', until => '2025-07-01 00:00 Europe/Berlin');
SELECT rank, name, quantity, share, cost, events FROM tenancy.top_usage('words', since => '2025-06-01', until => '2025-07-01', by_dimension => 'partner', max_rows => 1);
SELECT rank, name, quantity, share, cost, events FROM tenancy.top_usage(NULL, 'north', 'user', since => '2025-06-01', until => '2025-06-30');
SELECT rank, key, name, quantity, share, cost, events FROM tenancy.top_usage('words', 'oslo', 'model', since => '2025-06-01', until => '2025-06-30', max_rows => 2);
SELECT rank, name, key IS NULL AS none, quantity, share FROM tenancy.top_usage('words', 'oslo', 'project', since => '2025-06-01', until => '2025-06-30');
SELECT rank, name, quantity, share, cost FROM tenancy.top_usage('seats', 'oslo', 'user', until => '2025-07-01');
-- Of this month nothing.
SELECT * FROM tenancy.top_usage('words', 'north');

-- What is refused.
SELECT * FROM tenancy.tree('oslo', 'nope');
\echo :SQLSTATE
SELECT * FROM tenancy.tree('oslo', 'words', 'decade');
\echo :SQLSTATE
SELECT * FROM tenancy.tree('oslo', 'words', NULL);
SELECT * FROM tenancy.tree('oslo', 'words', depth => 5);
SELECT * FROM tenancy.tree('oslo', 'words', depth => NULL);
SELECT * FROM tenancy.tree('oslo', 'words', most => 0);
SELECT * FROM tenancy.forecast('oslo', 'nope');
SELECT * FROM tenancy.forecast('oslo', 'words', 'never');
SELECT * FROM tenancy.forecast(NULL, 'words');
\echo :SQLSTATE
SELECT * FROM tenancy.top_usage('nope');
SELECT * FROM tenancy.top_usage('words', by_dimension => 'colour');
SELECT * FROM tenancy.top_usage('words', by_dimension => NULL);
SELECT * FROM tenancy.top_usage('words', max_rows => 0);
SELECT * FROM tenancy.top_usage('words', since => '2025-06-01', until => '2025-06-01');
SELECT * FROM tenancy.tree('00000000-0000-7000-8000-0000000000ff');
\echo :SQLSTATE
DROP FUNCTION say;
DROP TABLE printed;
ALTER ROLE gw_r RESET tenancy.usage_late;
