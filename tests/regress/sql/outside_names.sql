-- cache_key() and subject(): names outside the database, which begin with the context's tenant.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.issue_api_key('acme/alice', 'names') AS alice, tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_api_key('apex/carol', 'names') AS carol \gset

\c - app_r
-- Without a context there is no name.
SELECT tenancy.cache_key('page', '1');
SELECT tenancy.subject('orders');

BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT replace(tenancy.cache_key('page', 'a/b:c d'), tenancy.tenant_id()::text, 'TENANT') AS key,
       replace(tenancy.subject('orders', 'created', 'v1.2', '*', ''), tenancy.tenant_id()::text, 'TENANT') AS subject,
       replace(tenancy.subject('orders'), tenancy.tenant_id()::text, 'TENANT') AS topic,
       replace(tenancy.subject('orders', VARIADIC '{a,b}'), tenancy.tenant_id()::text, 'TENANT') AS tokens;
SELECT length(tenancy.cache_key('page', repeat('é', 1000))) AS key, length(tenancy.cache_key(repeat('é', 1000), '')) AS hash_alone,
       length(tenancy.subject('orders', repeat('x', 1000))) AS subject, length(tenancy.subject(repeat('x', 1000))) AS hash_alone;
-- A project of the tenant has the tenant's names.
SELECT tenancy.cache_key('page', '1') AS alice \gset
SELECT slug(tenancy.select_project('acme/web'));
SELECT tenancy.cache_key('page', '1') = :'alice' AS same;
SAVEPOINT s;
SELECT tenancy.cache_key(NULL, '1');
ROLLBACK TO s;
SELECT tenancy.cache_key('page', NULL);
ROLLBACK TO s;
SELECT tenancy.subject(NULL);
ROLLBACK TO s;
SELECT tenancy.subject('orders', 'a', NULL);
ROLLBACK TO s;
SELECT tenancy.subject('orders', VARIADIC NULL);
ROLLBACK TO s;
SELECT tenancy.subject('orders', VARIADIC array_fill('a'::text, ARRAY[1001]));
COMMIT;

-- Another tenant has other names.
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
SELECT tenancy.cache_key('page', '1') = :'alice' AS same;
COMMIT;

-- A fleet has none until a tenant is selected.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SAVEPOINT s;
SELECT tenancy.cache_key('page', '1');
ROLLBACK TO s;
SELECT tenancy.subject('orders');
ROLLBACK TO s;
SELECT slug(tenancy.select_tenant('acme'));
SELECT tenancy.cache_key('page', '1') = :'alice' AS same;
COMMIT;

-- Maintenance spans all tenants.
\c - adm_r
BEGIN;
SELECT tenancy.maintenance('names');
SELECT tenancy.cache_key('page', '1');
ROLLBACK;

-- Granted to those who can have a context.
\c - plain_r
SELECT tenancy.cache_key('page', '1');
SELECT tenancy.subject('orders');
