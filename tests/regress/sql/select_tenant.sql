-- select_tenant(): narrows a fleet's context to one tenant, never widens it.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('platform/petra') AS petra \gset
\c - app_r
-- A fleet has no one tenant until one is selected.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT slug(tenancy.tenant_id()) AS tenant, array_agg(slug(t) ORDER BY slug(t)) AS may FROM unnest(tenancy.tenant_ids('data:read')) t;
SELECT slug(tenancy.select_tenant('acme'));
SELECT slug(tenancy.tenant_id()) AS tenant, array_agg(slug(t) ORDER BY slug(t)) AS may FROM unnest(tenancy.tenant_ids('data:read')) t;
-- again is no error, another is outside now
SELECT slug(tenancy.select_tenant('acme'));
SELECT tenancy.select_tenant('apex');
\echo :SQLSTATE
ROLLBACK;

-- Until the transaction ends, or the savepoint is rolled back.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SAVEPOINT s;
SELECT slug(tenancy.select_tenant('acme'));
ROLLBACK TO s;
SELECT slug(tenancy.tenant_id()) AS tenant, cardinality(tenancy.tenant_ids('data:read')) AS may;
SELECT slug(tenancy.select_tenant('apex'));
COMMIT;
SELECT tenancy.tenant_id();

-- In a session: for the transaction, or for the session when asked by name.
SELECT slug(tenancy.authenticate(:'gina', session => true));
BEGIN;
SELECT slug(tenancy.select_tenant('acme'));
COMMIT;
SELECT slug(tenancy.tenant_id()) AS tenant, cardinality(tenancy.tenant_ids('data:read')) AS may;
SELECT slug(tenancy.select_tenant('acme', session => true));
SELECT slug(tenancy.tenant_id()) AS tenant, tenancy.context() ->> 'lifetime' AS lifetime;
SELECT tenancy.select_tenant('apex', session => true);
SELECT tenancy.release();
-- What lasts for the transaction cannot be made to last longer.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT tenancy.select_tenant('acme', session => true);
\echo :SQLSTATE
ROLLBACK;
SELECT tenancy.user_id();

-- A tenant's user may select its own tenant, and nothing else.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT slug(tenancy.select_tenant('acme'));
SAVEPOINT s;
SELECT tenancy.select_tenant('apex');
ROLLBACK TO s;
SELECT tenancy.select_tenant('nobody');
ROLLBACK TO s;
\set VERBOSITY sqlstate
SELECT tenancy.select_tenant('acme/web');
\set VERBOSITY default
ROLLBACK;
-- A user of the platform has none.
BEGIN;
SELECT slug(tenancy.authenticate(:'petra'));
SELECT tenancy.select_tenant('acme');
ROLLBACK;

-- The same answer for what is not there and what is not yours, by id too.
\c - adm_r
SELECT id AS beta FROM tenancy.tenants WHERE slug = 'beta' \gset
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
CREATE FUNCTION pg_temp.answer(scope uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    PERFORM tenancy.select_tenant(scope);
    RETURN 'selected';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || replace(SQLERRM, scope::text, '<id>') || ' ' || hint;
END
$$;
SELECT pg_temp.answer(:'beta') = pg_temp.answer('00000000-0000-7000-8000-0000000000ff') AS same, pg_temp.answer(:'beta');
ROLLBACK;

-- Without a context; NULL.
SELECT tenancy.select_tenant('00000000-0000-7000-8000-0000000000ff'::uuid);
\echo :SQLSTATE
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT tenancy.select_tenant(NULL);
\echo :SQLSTATE
ROLLBACK;
