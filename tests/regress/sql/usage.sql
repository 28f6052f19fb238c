-- Metering: what may be counted, who may record it where, and who sees it.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.issue_api_key('acme/alice', 'usage') AS alice, tenancy.issue_api_key('acme/bob', 'usage') AS bob,
       tenancy.issue_api_key('apex/carol', 'usage') AS carol, tenancy.issue_api_key('globex/gina', 'usage') AS gina \gset
SELECT slug(tenancy.create_user('globex', 'billing-bot', 'service')), slug(tenancy.create_user('acme', 'ada', role => 'tenant_admin'));
SELECT tenancy.issue_api_key('globex/billing-bot', 'usage') AS bot, tenancy.issue_api_key('acme/ada', 'usage') AS ada \gset

-- Definitions.
SELECT tenancy.define_metric('llm.tokens', 'tokens', dimensions => '{model,region}', price => 0.000002, prices => '{"model": {"big": 0.00001, "free": 0}}');
SELECT tenancy.define_metric('storage', 'GB', 'max');
SELECT tenancy.define_metric('requests', 'requests', 'count', price => 0.5);
SELECT tenancy.define_metric('active_users', 'users', 'distinct');
SELECT tenancy.define_metric('documents', 'documents', 'distinct', distinct_of => 'doc', description => 'read by readers');
SELECT name, unit, aggregation, dimensions, distinct_of, price, prices, description FROM tenancy.metrics ORDER BY name;
-- A price and dimensions change; what would make another thing of what was recorded does not.
SELECT tenancy.define_metric('requests', 'requests', 'count', price => 0.25);
SELECT tenancy.define_metric('requests', 'requests', 'sum');
\echo :SQLSTATE
SELECT tenancy.define_metric('requests', 'calls', 'count');
SELECT tenancy.define_metric('documents', 'documents', 'distinct', distinct_of => 'page');
SELECT tenancy.define_metric(NULL, 'x');
SELECT tenancy.define_metric('Bad', 'x');
\echo :SQLSTATE
SELECT tenancy.define_metric('x', '');
SELECT tenancy.define_metric('x', 'x', 'avg');
SELECT tenancy.define_metric('x', 'x', dimensions => '{a,a}');
SELECT tenancy.define_metric('x', 'x', dimensions => '{tenant}');
SELECT tenancy.define_metric('x', 'x', distinct_of => 'a');
SELECT tenancy.define_metric('x', 'x', price => -1);
SELECT tenancy.define_metric('x', 'x', price => 'NaN');
SELECT tenancy.define_metric('x', 'x', prices => '{"model": {"a": 1}}');
SELECT tenancy.define_metric('x', 'x', dimensions => '{model}', prices => '{"model": {"a": "1"}}');
SELECT tenancy.define_metric('x', 'x', dimensions => '{model,b}', prices => '{"model": {}, "b": {}}');
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT tenancy.define_metric('x', 'x');
\echo :SQLSTATE
ROLLBACK;

-- Recording: the scopes are the context's.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT slug(tenancy.select_project('acme/web'));
SELECT tenancy.record_usage('llm.tokens', 1000, attributes => '{"model": "big", "request": "r-1", "tenant_id": "nobody''s business"}') IS NOT NULL AS done;
SELECT tenancy.record_usage('llm.tokens', 500, attributes => '{"model": "small"}') IS NOT NULL AS done;
SELECT tenancy.record_usage('llm.tokens', 500, attributes => '{"model": "free"}') IS NOT NULL AS done;
SELECT tenancy.record_usage('llm.tokens', 0.000001, 1.0000005) IS NOT NULL AS done;
SELECT tenancy.record_usage('requests') IS NOT NULL AS done;
SELECT tenancy.record_usage('requests', 0) IS NOT NULL AS done;
SELECT tenancy.record_usage('storage', 12.5) IS NOT NULL AS done;
SELECT tenancy.record_usage('storage', 7) IS NOT NULL AS done;
SELECT tenancy.record_usage('active_users') IS NOT NULL AS done;
SELECT tenancy.record_usage('documents', attributes => '{"doc": "a"}') IS NOT NULL AS done;
SELECT tenancy.record_usage('documents', attributes => '{"doc": 7}') IS NOT NULL AS done;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'bob'));
SELECT tenancy.record_usage_many('[{"metric": "active_users"}, {"metric": "documents", "attributes": {"doc": "a"}}, {"metric": "requests", "quantity": 3},
    {"metric": "llm.tokens", "quantity": 12.25, "attributes": {"region": "eu"}, "idempotency_key": "k1"}, {"metric": "llm.tokens", "quantity": 12.25, "idempotency_key": "k1"}]') AS new;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
SELECT tenancy.record_usage('llm.tokens', 40) IS NOT NULL AS done;
COMMIT;
-- A partner's own user that has no tenant records for the partner; one that has several must say for which.
BEGIN;
SELECT slug(tenancy.authenticate(:'bot'));
SELECT tenancy.record_usage('llm.tokens', 3) IS NOT NULL AS done;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT tenancy.record_usage('llm.tokens', 3);
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT slug(tenancy.select_tenant('apex'));
SELECT tenancy.record_usage('llm.tokens', 2) IS NOT NULL AS done;
COMMIT;
SELECT tenancy.record_usage('llm.tokens');
\echo :SQLSTATE

-- What is refused.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SAVEPOINT s;
\set ON_ERROR_ROLLBACK on
SELECT tenancy.record_usage('nope');
\echo :SQLSTATE
SELECT tenancy.record_usage(NULL);
\echo :SQLSTATE
SELECT tenancy.record_usage('llm.tokens', NULL);
SELECT tenancy.record_usage('llm.tokens', -1);
\echo :SQLSTATE
SELECT tenancy.record_usage('llm.tokens', 'NaN');
SELECT tenancy.record_usage('llm.tokens', 'Infinity');
SELECT tenancy.record_usage('llm.tokens', 0.0000001);
SELECT tenancy.record_usage('llm.tokens', 9223372036854.775808);
SELECT tenancy.record_usage('llm.tokens', 1e40);
SELECT tenancy.record_usage('llm.tokens', 1, -0.1);
SELECT tenancy.record_usage('llm.tokens', 1, 'NaN');
SELECT tenancy.record_usage('llm.tokens', attributes => '[]');
SELECT tenancy.record_usage('llm.tokens', attributes => '{"model": {}}');
SELECT tenancy.record_usage('llm.tokens', attributes => jsonb_build_object('x', repeat('y', 20000)));
SELECT tenancy.record_usage('documents');
SELECT tenancy.record_usage('llm.tokens', idempotency_key => '');
SELECT tenancy.record_usage('llm.tokens', at => now() + interval '2 hours');
\echo :SQLSTATE
SELECT tenancy.record_usage('llm.tokens', at => now() - interval '36 days');
SELECT tenancy.record_usage('llm.tokens', at => 'infinity');
SELECT tenancy.record_usage('llm.tokens', at => '-infinity');
SELECT tenancy.record_usage_many('{}');
\echo :SQLSTATE
SELECT tenancy.record_usage_many(NULL);
SELECT tenancy.record_usage_many('[{"quantity": 1}]');
SELECT tenancy.record_usage_many('[{"metric": "requests"}, {"metric": "requests", "quantity": -1}]');
SELECT tenancy.record_usage_many('[]');
-- Not for it: naming others, and writing to what is below.
SELECT tenancy.record_usage_for('acme/bob', 'requests');
\echo :SQLSTATE
INSERT INTO tenancy.recorded_usage (metric) VALUES ('requests');
SELECT count(*) FROM tenancy_internal.usage_events;
\set ON_ERROR_ROLLBACK off
ROLLBACK;
BEGIN READ ONLY;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT tenancy.record_usage('requests');
\echo :SQLSTATE
ROLLBACK;

-- The gateway records for others, one by one and in batches.
\c - gw_r
SELECT tenancy.record_usage_for('acme/bob', 'llm.tokens', 5) IS NOT NULL AS done;
SELECT tenancy.record_usage_for('globex/gina', 'llm.tokens', 6, tenant => 'apex') IS NOT NULL AS done;
SELECT tenancy.record_usage_for(NULL, 'storage', 99, tenant => 'apex') IS NOT NULL AS done;
SELECT tenancy.record_usage_for('acme/bob', 'llm.tokens', 7, project => 'acme/ops') IS NOT NULL AS done;
\set VERBOSITY sqlstate
SELECT tenancy.record_usage_for('acme/bob', 'llm.tokens', tenant => 'apex');
SELECT tenancy.record_usage_for('acme/bob', 'llm.tokens', project => 'apex/web');
SELECT tenancy.record_usage_for('acme', 'llm.tokens');
SELECT tenancy.record_usage_for('acme/bob', 'llm.tokens', tenant => 'globex');
\set VERBOSITY default
SELECT tenancy.record_usage_for(NULL, 'llm.tokens');
SELECT tenancy.record_usage_for(NULL, 'active_users', tenant => 'apex');
INSERT INTO tenancy.recorded_usage (metric, quantity, user_id, attributes)
SELECT 'llm.tokens', 1, u.id, CASE WHEN g % 2 = 0 THEN '{"region": "us"}'::jsonb END
FROM generate_series(1, 1000) g JOIN tenancy.users u ON u.parent = CASE WHEN g % 4 = 0 THEN 'apex' ELSE 'acme' END AND u.slug = CASE WHEN g % 4 = 0 THEN 'carol' ELSE 'bob' END;
\copy tenancy.recorded_usage (metric, quantity, idempotency_key, tenant_id) FROM PROGRAM 'printf "storage\t1\tc1\t00000000-0000-7000-8000-0000000000ff\n"'
INSERT INTO tenancy.recorded_usage (metric, partner_id) VALUES ('requests', '00000000-0000-7000-8000-000000000001');
\echo :SQLSTATE
INSERT INTO tenancy.recorded_usage (metric) VALUES ('requests');
\echo :SQLSTATE
UPDATE tenancy.recorded_usage SET quantity = 0;
DELETE FROM tenancy.recorded_usage;
\set VERBOSITY terse
-- No role changes recorded events.
\c - postgres
UPDATE tenancy_internal.usage_events SET quantity = 0;
DELETE FROM tenancy_internal.usage_events;
TRUNCATE tenancy_internal.usage_events;
DO $$ BEGIN EXECUTE format('DELETE FROM tenancy_internal.%I', (SELECT min(relname) FROM pg_class WHERE relname LIKE 'usage\_events\_%' AND relkind = 'r'));
EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = regexp_replace(SQLERRM, '\d{4}_\d\d', 'year_month'), ERRCODE = SQLSTATE; END $$;
\set VERBOSITY default

-- What it adds up to: the same before and after it is rolled up.
SELECT slug(e.partner_id) AS partner, slug(e.tenant_id) AS tenant, slug(e.project_id) AS project, slug(e.user_id) AS "user", m.name AS metric,
       count(*), sum(e.quantity) AS quantity, sum(e.cost) AS cost
FROM tenancy_internal.usage_events e JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5;
CREATE FUNCTION all_usage() RETURNS TABLE (scope text, metric text, "by" text, key text, quantity numeric, cost numeric, events bigint) LANGUAGE sql AS $$
    SELECT s.scope, m.metric, b."by", CASE WHEN u.key ~ '^[0-9a-f]{8}-' THEN slug(u.key::uuid) ELSE u.key END, u.quantity, u.cost, u.events
    FROM unnest('{platform,globex,initech,acme,apex,acme/bob}'::text[]) s (scope),
         (SELECT name AS metric, dimensions FROM tenancy.metrics UNION ALL VALUES (NULL, '{}'::text[])) m,
         unnest('{partner,tenant,project,user}' || m.dimensions || NULL::text) b ("by"),
         tenancy.usage(s.scope, m.metric, by_dimension => b."by") u $$;
CREATE TABLE rolled_later AS SELECT * FROM all_usage();
SELECT tenancy.rollup() >= 0 AS done;
SELECT count(*) AS different FROM (TABLE rolled_later EXCEPT ALL SELECT * FROM all_usage()) d;
SELECT count(*) AS different FROM (SELECT * FROM all_usage() EXCEPT ALL TABLE rolled_later) d;
SELECT (SELECT sum(events) FROM tenancy_internal.usage_quarterly) = (SELECT count(*) FROM tenancy_internal.usage_events) AS quarters,
       (SELECT sum(events) FROM tenancy_internal.usage_hourly) = (SELECT count(*) FROM tenancy_internal.usage_events) AS hours,
       (SELECT sum(events) FROM tenancy_internal.usage_daily) = (SELECT count(*) FROM tenancy_internal.usage_events) AS days,
       (SELECT max(rolled_to) FROM tenancy.usage_marks) > (SELECT max(xid) FROM tenancy_internal.usage_events) AS marked;
\c - adm_r
SELECT * FROM all_usage() ORDER BY 1, 2, 3 NULLS FIRST, 4 NULLS FIRST;

-- Who sees it.
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT count(*), count(DISTINCT user_id), count(DISTINCT tenant_id) FROM tenancy.recorded_usage;
SELECT quantity, cost, events FROM tenancy.usage(tenancy.user_id(), 'llm.tokens');
\set ON_ERROR_ROLLBACK on
SELECT * FROM tenancy.usage('acme', 'llm.tokens');
\echo :SQLSTATE
SELECT * FROM tenancy.usage('acme/bob', 'llm.tokens');
\echo :SQLSTATE
SELECT * FROM tenancy.usage('00000000-0000-7000-8000-000000000001'::uuid);
\echo :SQLSTATE
SELECT * FROM tenancy.usage(NULL);
SELECT * FROM tenancy.usage(tenancy.user_id(), 'nope');
\echo :SQLSTATE
SELECT * FROM tenancy.usage(tenancy.user_id(), 'llm.tokens', bucket => 'year');
SELECT * FROM tenancy.usage(tenancy.user_id(), 'llm.tokens', by_dimension => 'request');
SELECT * FROM tenancy.usage(tenancy.user_id(), by_dimension => 'model');
SELECT * FROM tenancy.usage(tenancy.user_id(), 'llm.tokens', since => now(), until => now());
\set ON_ERROR_ROLLBACK off
ROLLBACK;
BEGIN;
SELECT slug(tenancy.authenticate(:'ada'));
SELECT count(*), count(DISTINCT user_id), count(DISTINCT tenant_id) FROM tenancy.recorded_usage;
SELECT quantity, events FROM tenancy.usage('acme', 'llm.tokens');
SELECT quantity, events FROM tenancy.usage('acme/bob', 'llm.tokens');
SELECT * FROM tenancy.usage('globex');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT count(*), count(DISTINCT user_id), count(DISTINCT tenant_id) FROM tenancy.recorded_usage;
SELECT slug(key::uuid), quantity, events FROM tenancy.usage('globex', 'llm.tokens', by_dimension => 'tenant') ORDER BY 1;
SELECT * FROM tenancy.usage('initech');
\echo :SQLSTATE
ROLLBACK;
-- One that narrowed its context sees no more than that.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT slug(tenancy.select_tenant('apex'));
SELECT count(*), count(DISTINCT tenant_id) FROM tenancy.recorded_usage;
SELECT * FROM tenancy.usage('acme');
\echo :SQLSTATE
ROLLBACK;
SELECT * FROM tenancy.usage('acme');
\echo :SQLSTATE
SELECT count(*) FROM tenancy.recorded_usage;
SELECT count(*) FROM tenancy.metrics;
\c - plain_r
SELECT * FROM tenancy.recorded_usage;
SELECT tenancy.record_usage('requests');
\c - audit_r
SELECT count(*) > 0 AS sees FROM tenancy.recorded_usage;
SELECT count(*) FROM tenancy.usage_marks;
