-- authenticate(): who may call it, which context it opens, and what it refuses.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.issue_api_key('acme/alice', 'authenticate') AS alice, tenancy.issue_api_key('apex/carol', 'authenticate') AS carol,
       tenancy.issue_api_key('platform/petra', 'authenticate') AS petra \gset

-- For the transaction: nothing is left after COMMIT or ROLLBACK, nor after a statement of its own.
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice')), slug(tenancy.user_id());
SELECT slug(tenancy.user_id());
COMMIT;
SELECT slug(tenancy.user_id());
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
ROLLBACK;
SELECT slug(tenancy.user_id());
SELECT slug(tenancy.authenticate(:'alice'));
SELECT slug(tenancy.user_id());

-- The same principal again is no error, another one is.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice')), slug(tenancy.authenticate(:'alice'));
SELECT tenancy.authenticate(:'carol');
\echo :SQLSTATE
ROLLBACK;
-- also after a release
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT tenancy.release();
SELECT slug(tenancy.user_id());
SELECT tenancy.authenticate(:'carol');
ROLLBACK;
-- The next transaction may have another.
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
COMMIT;

-- A failed attempt changes nothing.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SAVEPOINT s;
SELECT tenancy.authenticate('nonsense');
ROLLBACK TO s;
SELECT slug(tenancy.user_id());
COMMIT;

-- A user of the platform has a context, and reaches no tenant's rows.
BEGIN;
SELECT slug(tenancy.authenticate(:'petra'));
SELECT tenancy.tenant_ids('data:read') = '{}' AS none, tenancy.tenant_id('data:read'), tenancy.tenant_id(), tenancy.partner_id();
COMMIT;

-- NULL.
SELECT tenancy.authenticate(NULL);
\echo :SQLSTATE
BEGIN;
SELECT slug(tenancy.authenticate(:'alice', NULL));
COMMIT;
SELECT slug(tenancy.user_id());

-- Who may call it.
\c - gw_r
SELECT slug(tenancy.authenticate(:'alice'));
\c - adm_r
SELECT tenancy.authenticate(:'alice');
\echo :SQLSTATE
\c - plain_r
SELECT tenancy.authenticate(:'alice');

-- A role that bypasses row security is refused, unless a superuser allowed it.
\c - postgres
SELECT tenancy.authenticate(:'alice');
\echo :SQLSTATE
SET tenancy.allow_bypassrls = on;
SELECT slug(tenancy.authenticate(:'alice'));
RESET tenancy.allow_bypassrls;
ALTER ROLE app_r BYPASSRLS;
\c - app_r
SELECT tenancy.authenticate(:'alice');
SET tenancy.allow_bypassrls = on;
\c - postgres
ALTER ROLE app_r NOBYPASSRLS;
