-- user_id(), tenant_id(), partner_id(), project_id(), context(): their results for each kind of principal.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('platform/petra') AS petra,
       tenancy.issue_ticket('globex/gina', tenant => 'acme') AS gina_acme, tenancy.issue_api_key('acme/alice', 'accessors') AS alice_key \gset
\c - postgres
-- The ids of a context as slugs; an end as whether there is one; of a role where it is held.
CREATE FUNCTION readable(context jsonb) RETURNS TABLE (key text, value text) LANGUAGE sql STABLE AS $$
    SELECT key, CASE WHEN key LIKE '%\_id' AND value IS NOT NULL THEN slug(value::uuid)
                     WHEN key = 'roles' THEN (SELECT string_agg(concat_ws(' ', r ->> 'level', slug((r ->> 'scope_id')::uuid)), ', ') FROM jsonb_array_elements(nullif(context -> 'roles', 'null')) r)
                     WHEN key = 'expires_at' AND value IS NOT NULL THEN 'a time' ELSE value END
    FROM jsonb_each_text(context) ORDER BY key $$;

-- The external id of a partner is a key of rows once a table has shared rows with such keys.
CREATE TABLE shared_keys (key bigint);
SELECT count(*) > 0 AS protected FROM tenancy.protect('shared_keys', 'key', shared => true);
DROP TABLE shared_keys;

\c - app_r
-- Without a context all are NULL.
SELECT tenancy.user_id(), tenancy.tenant_id(), tenancy.partner_id(), tenancy.project_id(), tenancy.context(),
       tenancy.tenant_key_bigint(), tenancy.tenant_key_integer(), tenancy.tenant_key_text();

-- A tenant's user.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice_key'));
SELECT slug(tenancy.user_id()) AS "user", slug(tenancy.tenant_id()) AS tenant, slug(tenancy.partner_id()) AS partner, tenancy.project_id(),
       tenancy.tenant_key_bigint(), tenancy.tenant_key_integer(), tenancy.tenant_key_text();
SELECT * FROM readable(tenancy.context());
SELECT slug(tenancy.select_project('acme/web'));
SELECT * FROM readable(tenancy.context());
ROLLBACK;

-- A partner's user: with the fleet, narrowed by itself, narrowed by its ticket.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT slug(tenancy.user_id()) AS "user", tenancy.tenant_id(), slug(tenancy.partner_id()) AS partner, tenancy.tenant_key_bigint();
SELECT * FROM readable(tenancy.context());
SELECT slug(tenancy.select_tenant('apex'));
SELECT slug(tenancy.tenant_id()) AS tenant, tenancy.tenant_key_bigint();
ROLLBACK;
BEGIN;
SET LOCAL tenancy.ticket = :'gina_acme';
SELECT * FROM readable(tenancy.context());
ROLLBACK;

-- A user of the platform.
BEGIN;
SELECT slug(tenancy.authenticate(:'petra'));
SELECT * FROM readable(tenancy.context()) WHERE key <> 'permissions';
ROLLBACK;

-- Permissions: those it has in its tenants, exactly.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT p AS permission, slug(tenancy.tenant_id(p)) AS tenant_id, cardinality(tenancy.tenant_ids(p)) AS tenant_ids,
       tenancy.tenant_key_bigint(p), tenancy.tenant_keys_text(p)
FROM unnest('{data:read,data:write,data:delete,data:*,*,"",data}'::text[]) p;
SELECT tenancy.can('data:read', 1) AS own, tenancy.can('data:write', '1'::text) AS own_text, tenancy.can('data:read', 2) AS other, tenancy.can('data:read', 2::bigint) AS other_bigint,
       tenancy.can_see('data:read', 9000) AS above, tenancy.can_see('data:read', 9001) AS above_other, tenancy.can('data:read', 9000) AS above_can;
SELECT tenancy.can(NULL, 1), tenancy.can('data:read', NULL::uuid), tenancy.tenant_id(NULL), tenancy.tenant_ids(NULL);
ROLLBACK;

-- Several tenants have no one tenant_id(permission), but ids.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT tenancy.tenant_keys_bigint('data:read') @> '{1,2}' AS fleet, tenancy.visible_keys_bigint('data:read') @> '{1,2,9000}' AS and_above;
SELECT tenancy.tenant_id('data:read');
\echo :SQLSTATE
ROLLBACK;

-- Maintenance.
\c - adm_r
BEGIN;
SELECT tenancy.maintenance('accessors');
SELECT tenancy.user_id(), tenancy.tenant_id();
SELECT * FROM readable(tenancy.context());
\set VERBOSITY sqlstate
SELECT tenancy.tenant_ids('data:read');
\set VERBOSITY default
ROLLBACK;

-- Not for PUBLIC.
\c - plain_r
SELECT tenancy.user_id();
SELECT tenancy.context();
