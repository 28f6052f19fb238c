-- Inheritance children are isolated with their parent, also those added later.
\set SHOW_CONTEXT never
\c - postgres
CREATE SCHEMA kin AUTHORIZATION owner_r;
\c - owner_r
-- Roles get rights only by protect().
ALTER DEFAULT PRIVILEGES REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM tenancy_app;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON SEQUENCES FROM tenancy_app;
CREATE TABLE kin.assets (id int, tenant_id uuid, name text);
CREATE TABLE kin.cars (wheels int) INHERITS (kin.assets);
CREATE TABLE kin.vans (load int) INHERITS (kin.cars);
SELECT count(*) > 0 AS done FROM tenancy.protect('kin.assets', grants => '{tenancy_app}');
CREATE TABLE kin.bikes () INHERITS (kin.assets);
CREATE TABLE kin.boats (id int, tenant_id uuid NOT NULL, name text);
ALTER TABLE kin.boats INHERIT kin.assets;
SELECT c.relname, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS policies,
       (SELECT a.attnotnull FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS not_null,
       (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS "default"
FROM pg_class c WHERE relnamespace = 'kin'::regnamespace AND relkind = 'r' ORDER BY 1;
SELECT table_name, partitions, isolated FROM tenancy.protected_tables WHERE table_name LIKE 'kin.%';

BEGIN;
SELECT tenancy.maintenance('rows for the test');
INSERT INTO kin.assets SELECT 1, s, 'asset' FROM (VALUES ('acme'::tenancy.regscope), ('apex')) v (s);
INSERT INTO kin.vans SELECT 2, s, 'van' FROM (VALUES ('acme'::tenancy.regscope), ('apex')) v (s);
INSERT INTO kin.boats SELECT 3, s, 'boat' FROM (VALUES ('acme'::tenancy.regscope), ('apex')) v (s);
SELECT count(*) FROM kin.assets;
COMMIT;
SELECT count(*) FROM kin.boats;
\c - adm_r
SELECT tenancy.issue_ticket('acme/alice') AS alice \gset
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT tableoid::regclass, slug(tenant_id), name FROM kin.assets ORDER BY 1::text;
SELECT count(*) FROM ONLY kin.assets;
UPDATE kin.assets SET name = upper(name) RETURNING tableoid::regclass, name;
SAVEPOINT s;
SELECT * FROM kin.boats;
ROLLBACK;
-- Taken off: all of them.
\c - owner_r
SELECT count(*) > 0 AS taken_off FROM tenancy.unprotect('kin.assets');
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS policies
FROM pg_class c WHERE relnamespace = 'kin'::regnamespace AND relkind = 'r' ORDER BY 1;
SELECT count(*) FROM kin.assets;

\c - owner_r
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tenancy_app;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO tenancy_app;
