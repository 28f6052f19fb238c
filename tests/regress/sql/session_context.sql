-- session => true: a context that lasts until release(), and what is dropped when the principal changes.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.issue_api_key('acme/alice', 'session') AS alice, tenancy.issue_api_key('apex/carol', 'session') AS carol \gset
\c - app_r
SELECT slug(tenancy.authenticate(:'alice', session => true));
SELECT slug(tenancy.user_id()), tenancy.context() ->> 'lifetime' AS lifetime;
BEGIN;
SELECT slug(tenancy.user_id());
ROLLBACK;
SELECT slug(tenancy.user_id());

-- Taken in a transaction that is rolled back, it is not taken.
SELECT tenancy.release();
BEGIN;
SELECT slug(tenancy.authenticate(:'alice', session => true));
ROLLBACK;
SELECT tenancy.user_id();
BEGIN;
SELECT slug(tenancy.authenticate(:'alice', session => true));
COMMIT;
SELECT slug(tenancy.user_id());

-- release() ends it; a rollback undoes that, as with any setting; again is no error.
BEGIN;
SELECT tenancy.release();
ROLLBACK;
SELECT slug(tenancy.user_id());
SELECT tenancy.release();
SELECT tenancy.user_id();
SELECT tenancy.release();

-- DISCARD ALL and RESET ALL end it too.
SELECT slug(tenancy.authenticate(:'alice', session => true));
DISCARD ALL;
SELECT tenancy.user_id();
SELECT slug(tenancy.authenticate(:'alice', session => true));
RESET ALL;
SELECT tenancy.user_id();

-- Another principal's context replaces the session's in a transaction that has not used it; the session's is back afterwards.
SELECT slug(tenancy.authenticate(:'alice', session => true));
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
SELECT slug(tenancy.user_id());
COMMIT;
SELECT slug(tenancy.user_id());
BEGIN;
SELECT slug(tenancy.user_id());
SELECT tenancy.authenticate(:'carol');
\echo :SQLSTATE
ROLLBACK;

-- The second principal finds none of the first one's holdable cursors, temporary tables and currval().
\c - postgres
CREATE SEQUENCE session_numbers;
GRANT USAGE ON SEQUENCE session_numbers TO app_r;
\c - app_r
SELECT slug(tenancy.authenticate(:'alice', session => true));
CREATE TEMP TABLE notes AS SELECT 'of alice' AS text;
DECLARE rows CURSOR WITH HOLD FOR SELECT 'of alice';
SELECT nextval('session_numbers') > 0 AS next;
SELECT slug(tenancy.authenticate(:'alice', session => true));
TABLE notes;
SELECT name FROM pg_cursors ORDER BY 1;
SELECT slug(tenancy.authenticate(:'carol', session => true));
TABLE notes;
\echo :SQLSTATE
FETCH rows;
\echo :SQLSTATE
SELECT currval('session_numbers');
\echo :SQLSTATE

-- Suspended in mid-session: refused at the next transaction, and back when it is active again.
\c - adm_r
SELECT slug(tenancy.create_user('acme', 'tom'));
SELECT tenancy.issue_api_key('acme/tom', 'session') AS tom \gset
\c - postgres
GRANT app_r TO postgres;
SET ROLE app_r;
SELECT slug(tenancy.authenticate(:'tom', session => true));
RESET ROLE;
-- By hand: in tom's context set_status() asks what tom may.
SELECT tenancy.set_status('acme/tom', 'suspended');
\echo :SQLSTATE
UPDATE tenancy.scopes SET status = 'suspended' WHERE slug = 'tom';
SET ROLE app_r;
SELECT tenancy.user_id();
\echo :SQLSTATE
RESET ROLE;
UPDATE tenancy.scopes SET status = 'active' WHERE slug = 'tom';
SET ROLE app_r;
SELECT slug(tenancy.user_id());
RESET ROLE;
REVOKE app_r FROM postgres;
