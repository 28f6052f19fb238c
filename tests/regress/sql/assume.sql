-- assume(): a gateway opens a user's context without a credential of the user.
\set SHOW_CONTEXT never
\c - gw_r
BEGIN;
SELECT slug(tenancy.assume('acme/alice'));
SELECT slug(tenancy.user_id()) AS "user", slug(tenancy.tenant_id()) AS tenant;
-- one principal a transaction
SELECT tenancy.assume('acme/bob');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT slug(tenancy.assume('acme/bob'));
COMMIT;
SELECT tenancy.user_id();

-- For the session.
SELECT slug(tenancy.assume('acme/alice', session => true));
SELECT slug(tenancy.user_id());
SELECT slug(tenancy.assume('apex/carol', session => true));
SELECT slug(tenancy.user_id());
SELECT tenancy.release();
SELECT tenancy.user_id();

-- Refusals: not there, not a user, NULL, not active.
SELECT tenancy.assume('acme/nobody');
\echo :SQLSTATE
SELECT tenancy.assume('00000000-0000-7000-8000-0000000000ff'::uuid);
\echo :SQLSTATE
\set VERBOSITY sqlstate
-- a tenant
SELECT tenancy.assume('acme');
\set VERBOSITY default
SELECT tenancy.assume(NULL);
\echo :SQLSTATE
\c - adm_r
SELECT slug(tenancy.create_user('solo', 'asleep', status => 'suspended'));
\c - gw_r
SELECT tenancy.assume('solo/asleep');
\echo :SQLSTATE

-- For the gateway alone.
\c - app_r
SELECT tenancy.assume('00000000-0000-7000-8000-0000000000ff'::uuid);
\echo :SQLSTATE
\c - adm_r
SELECT tenancy.assume('acme/alice');
\c - postgres
SELECT tenancy.assume('acme/alice');
\echo :SQLSTATE
