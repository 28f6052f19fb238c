-- tenancy.context can be cleared but not forged; neither it nor the ticket is ever shown.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.issue_ticket('acme/alice') AS alice \gset
\c - app_r
-- Made by hand: refused, whatever the value, and the value is not repeated.
SET tenancy.context = 'anything';
\echo :SQLSTATE
BEGIN;
SET LOCAL tenancy.context = 'anything';
ROLLBACK;
SELECT set_config('tenancy.context', 'anything', false);
\echo :SQLSTATE
SELECT set_config('tenancy.context', 'anything', true);
SET tenancy.context = '(sealed)';
SET tenancy.context = ' ';
SET SESSION tenancy.context TO DEFAULT;
CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET tenancy.context = 'anything' AS 'SELECT 1';
ALTER ROLE app_r SET tenancy.context = 'anything';
\c - postgres
ALTER ROLE plain_r SET tenancy.context = 'anything';
ALTER DATABASE regress SET tenancy.context = 'anything';
ALTER SYSTEM SET tenancy.context = 'anything';
ALTER SYSTEM SET tenancy.ticket = 'anything';
SET tenancy.nonsense = 1;
\echo :SQLSTATE

-- Read back: sealed, in every way to read a setting, and what is read cannot be set.
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SHOW tenancy.context;
SELECT current_setting('tenancy.context') AS current_setting, (SELECT setting FROM pg_settings WHERE name = 'tenancy.context') AS pg_settings,
       (SELECT count(*) FROM pg_show_all_settings() WHERE name IN ('tenancy.context', 'tenancy.ticket') AND setting NOT IN ('', '(sealed)')) AS shown;
SAVEPOINT s;
SELECT set_config('tenancy.context', current_setting('tenancy.context'), true);
ROLLBACK TO s;
SELECT slug(tenancy.user_id());

-- Cleared: by SET, set_config, RESET. That is all one can do with it.
SET LOCAL tenancy.context = '';
SELECT tenancy.user_id();
SHOW tenancy.context;
ROLLBACK;
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT set_config('tenancy.context', '', true);
SELECT tenancy.user_id();
ROLLBACK;
SELECT slug(tenancy.authenticate(:'alice', session => true));
RESET tenancy.context;
SELECT tenancy.user_id();
SELECT slug(tenancy.authenticate(:'alice', session => true));
SET tenancy.context = DEFAULT;
SELECT tenancy.user_id();
SELECT slug(tenancy.authenticate(:'alice', session => true));
DISCARD ALL;
SELECT tenancy.user_id();

-- A function's SET clause clears it for the function alone.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
CREATE FUNCTION pg_temp.blind() RETURNS uuid LANGUAGE plpgsql SET tenancy.context = '' AS 'BEGIN RETURN tenancy.user_id(); END';
SELECT pg_temp.blind(), slug(tenancy.user_id()) AS after;
ROLLBACK;

-- The ticket is taken as given and never shown.
SET tenancy.ticket = 'anything';
SHOW tenancy.ticket;
SELECT current_setting('tenancy.ticket');
RESET tenancy.ticket;
SHOW tenancy.ticket;
SELECT name FROM pg_settings WHERE name LIKE 'tenancy.%' ORDER BY 1;

-- What only a superuser may set.
SET tenancy.allow_bypassrls = on;
\echo :SQLSTATE
-- A role that many tenants share is not altered by its sessions.
ALTER ROLE app_r SET tenancy.ticket = 'x';
\echo :SQLSTATE
ALTER ROLE app_r SET search_path = pg_temp;
ALTER ROLE app_r PASSWORD 'x';
\c - adm_r
ALTER ROLE adm_r SET tenancy.missing_context = empty;
ALTER ROLE adm_r RESET ALL;
