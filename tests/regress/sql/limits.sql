-- Limits: names, values on scopes, and which of them apply to whom.
\set SHOW_CONTEXT never
\c - adm_r
SELECT slug(tenancy.create_partner('lp'));
SELECT slug(tenancy.create_tenant('lt', partner => 'lp')), slug(tenancy.create_tenant('lo', partner => 'lp'));
SELECT slug(tenancy.create_project('lt', 'web')), slug(tenancy.create_user('lt', 'una')), slug(tenancy.create_user('lt', 'tad', role => 'tenant_admin')),
       slug(tenancy.create_user('lp', 'pad', role => 'partner_admin'));
SELECT tenancy.define_limit('api', 'rate'), tenancy.define_limit('jobs', 'slots', 'job'), tenancy.define_limit('rooms', 'amount', 'room', 'Rooms of a tenant'),
       tenancy.define_limit('rooms', 'amount', 'room');
SELECT name, kind, unit, description FROM tenancy.limit_names ORDER BY name;
-- Refused definitions.
SELECT tenancy.define_limit('rooms', 'rate');
SELECT tenancy.define_limit('Rooms', 'amount');
SELECT tenancy.define_limit('rooms', 'number');
SELECT tenancy.define_limit(NULL, 'rate');
SELECT tenancy.define_limit('x', 'rate', '');
-- Refused values.
SELECT tenancy.set_limit('lt', 'room', 1);
SELECT tenancy.set_limit('lt', 'api', 1);
SELECT tenancy.set_rate_limit('lt', 'rooms', 1);
SELECT tenancy.set_limit('lt', 'rooms', -1);
SELECT tenancy.set_limit('lt', 'rooms', 9223372036854775807);
SELECT tenancy.set_limit('lt', 'rooms', 1, 'partner');
SELECT tenancy.set_limit('lt', 'rooms', 1, 'team');
SELECT tenancy.set_rate_limit('lt', 'api', 1, 'week');
SELECT tenancy.set_rate_limit('lt', 'api', 1, NULL);
SELECT tenancy.set_rate_limit('lt', 'api', 1, burst => 0);
SELECT tenancy.set_rate_limit('lt', 'api', NULL, burst => 5);
SELECT tenancy.set_limit('no-such', 'rooms', 1);
SELECT tenancy.remove_limit('lt', 'rooms');

-- Who applies: u is the user una in lt and its project; o is somebody in lo.
\c - postgres
CREATE TABLE limit_plan (id uuid);
GRANT ALL ON limit_plan TO adm_r, app_r;
CREATE FUNCTION applies(who text, planned boolean DEFAULT false) RETURNS TABLE (l text, level text, target text, per text, amount bigint, burst bigint, imposed boolean, holder text)
    LANGUAGE sql SECURITY DEFINER AS $$
    SELECT d.name, o.level, coalesce(slug(o.target), 'key'), o.per, o.amount, o.burst, o.imposed, coalesce(slug(o.scope_id), 'plan')
      FROM tenancy_internal.limits_of(
               CASE who WHEN 'u' THEN (SELECT path FROM tenancy.scopes WHERE slug = 'una') || (SELECT s.id FROM tenancy.scopes s JOIN tenancy.scopes p ON p.id = s.parent_id WHERE s.slug = 'web' AND p.slug = 'lt')
                        ELSE (SELECT path FROM tenancy.scopes WHERE slug = 'lo') END,
               CASE WHEN planned THEN (SELECT id FROM limit_plan) END,
               CASE who WHEN 'u' THEN '00000000-0000-7000-8000-0000000000aa'::uuid END) o
      JOIN tenancy_internal.limit_definitions d ON d.id = o.limit_id ORDER BY 1, 2, 3, 4, 5
$$;
\c - adm_r
SELECT * FROM applies('u');
-- The nearest of the imposed values: platform, then partner, plan, tenant, project, user; each window on its own.
SELECT count(v) FROM tenancy.set_rate_limit('platform', 'api', 10, level => 'user') v;
SELECT count(v) FROM tenancy.set_rate_limit('platform', 'api', 1000, 'hour', level => 'user') v;
SELECT * FROM applies('u');
SELECT count(v) FROM tenancy.set_rate_limit('lp', 'api', 20, burst => 40, level => 'user') v;
SELECT * FROM applies('u');
SELECT count(v) FROM tenancy.set_rate_limit('lt', 'api', 30, level => 'user') v;
SELECT count(v) FROM tenancy.set_rate_limit('lt', 'api', 100) v;
SELECT * FROM applies('u');
SELECT * FROM applies('o');
SELECT count(v) FROM tenancy.set_rate_limit('lt/una', 'api', 50) v;
SELECT count(v) FROM tenancy.set_rate_limit('lt/una', 'api', 5, level => 'api_key') v;
SELECT * FROM applies('u');
-- NULL: not limited, whatever is above.
SELECT count(v) FROM tenancy.set_rate_limit('lt/una', 'api', NULL) v;
SELECT * FROM applies('u');
SELECT tenancy.remove_limit('lt/una', 'api', 'second', 'api_key'), tenancy.remove_limit('lt/una', 'api', 'second'), tenancy.remove_limit('lt', 'api', 'second', 'user');
SELECT * FROM applies('u');

-- A tenant's admin adds to what is imposed; it cannot change or remove it.
\c - gw_r
BEGIN;
SELECT slug(tenancy.assume((SELECT id FROM tenancy.users WHERE slug = 'tad')));
SELECT count(v) FROM tenancy.set_rate_limit('lt', 'api', 5000) v;
SELECT count(v) FROM tenancy.set_rate_limit('lt', 'api', 7, level => 'user') v;
SELECT count(v) FROM tenancy.set_rate_limit('lt/una', 'api', 9000) v;
SELECT * FROM applies('u');
SELECT scope, name, level, amount, per, burst, imposed FROM tenancy.limit_settings ORDER BY scope, name, level, per, imposed, amount;
SELECT tenancy.remove_limit('lt', 'api', 'second');
SAVEPOINT s;
SELECT tenancy.remove_limit('lt', 'api', 'second');
ROLLBACK TO s;
SELECT tenancy.define_limit('mine', 'rate');
ROLLBACK TO s;
SELECT * FROM applies('u');
COMMIT;
-- The partner's admin imposes on the tenant, and adds to what the platform says of the partner.
BEGIN;
SELECT slug(tenancy.assume((SELECT id FROM tenancy.users WHERE slug = 'pad')));
SELECT count(v) FROM tenancy.set_limit('lt', 'rooms', 500) v;
SELECT count(v) FROM tenancy.set_limit('lp', 'rooms', 9000) v;
SELECT count(v) FROM tenancy.set_limit('lp', 'rooms', 100, 'tenant') v;
SELECT * FROM applies('u') WHERE l = 'rooms';
SELECT * FROM applies('o') WHERE l = 'rooms';
COMMIT;
\c - adm_r
SELECT count(v) FROM tenancy.set_limit('lp', 'rooms', 800) v;
SELECT * FROM applies('o') WHERE l = 'rooms';
-- A member may not set or see them.
\c - gw_r
BEGIN;
SELECT slug(tenancy.assume((SELECT id FROM tenancy.users WHERE slug = 'una')));
SELECT count(*) FROM tenancy.limit_settings;
SELECT count(*) > 2 AS names FROM tenancy.limit_names;
SELECT tenancy.set_limit('lt', 'rooms', 5000);
ROLLBACK;
-- Without a context nobody sees plans; whoever may define templates gives no more than it holds.
\c - adm_r
SELECT count(tenancy.define_plan('lpplan', '{"limits": {"rooms": 7}}', 'lp'));
SELECT count(tenancy.define_role('lp', 'clerk', '{plans:manage,plans:view}')), slug(tenancy.create_user('lp', 'cleo'));
SELECT tenancy.assign('lp/cleo', 'clerk', 'lp');
\c - app_r
SELECT count(*) FROM tenancy.plans;
\c - gw_r
BEGIN;
SELECT slug(tenancy.assume((SELECT id FROM tenancy.users WHERE slug = 'cleo')));
SELECT owner, name FROM tenancy.plans WHERE owner = 'lp';
SELECT count(tenancy.define_template('plain', '{"features": {}}', 'lp'));
SAVEPOINT s;
SELECT tenancy.define_template('plain', '{"roles": {"all": {"permissions": ["data:*"]}}}', 'lp');
ROLLBACK TO s;
SELECT tenancy.define_template('plain', '{"groups": [{"issuer": "https://idp.example", "group": "staff", "role": "tenant_admin"}]}', 'lp');
ROLLBACK TO s;
SELECT tenancy.define_template('plain', '{"limits": {"rooms": null}}', 'lp');
ROLLBACK TO s;
SELECT tenancy.define_plan('fast', '{"resources": {"work_mem": "1GB"}}', 'lp');
ROLLBACK;
-- Recorded with what was before.
\c - audit_r
SELECT action, target, details FROM tenancy.audit_log WHERE action LIKE 'tenancy.limit.%' ORDER BY id;
\c - adm_r
SET client_min_messages = warning;
SELECT tenancy.set_status('lt', 'deleted');
