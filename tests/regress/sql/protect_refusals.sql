-- The tables and options that protect() refuses, each with the reason.
\set SHOW_CONTEXT never
\c - postgres
CREATE SCHEMA no AUTHORIZATION owner_r;
CREATE TABLE no.of_postgres (tenant_id uuid);
CREATE FOREIGN DATA WRAPPER no_wrapper;
CREATE SERVER no_server FOREIGN DATA WRAPPER no_wrapper;
GRANT USAGE ON FOREIGN SERVER no_server TO owner_r;
\c - owner_r
-- The kind of relation.
CREATE TABLE no.t (tenant_id uuid, body text, content jsonb);
CREATE VIEW no.a_view AS TABLE no.t;
SELECT * FROM tenancy.protect('no.a_view');
\echo :SQLSTATE
CREATE MATERIALIZED VIEW no.a_matview AS TABLE no.t;
SELECT * FROM tenancy.protect('no.a_matview');
\echo :SQLSTATE
CREATE FOREIGN TABLE no.a_foreign (tenant_id uuid) SERVER no_server;
SELECT * FROM tenancy.protect('no.a_foreign');
\echo :SQLSTATE
CREATE SEQUENCE no.a_sequence;
SELECT * FROM tenancy.protect('no.a_sequence');
\echo :SQLSTATE
CREATE INDEX an_index ON no.t (body);
SELECT * FROM tenancy.protect('no.an_index');
CREATE TYPE no.a_type AS (x int);
SELECT * FROM tenancy.protect('no.a_type');
CREATE TEMP TABLE temporary (tenant_id uuid);
\set VERBOSITY sqlstate
SELECT * FROM tenancy.protect('temporary');
\set VERBOSITY default
SELECT * FROM tenancy.protect('pg_class');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('information_schema.sql_features');
SELECT * FROM tenancy.protect('tenancy.scopes');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('tenancy.maintenance_log');
SELECT * FROM tenancy.protect('tenancy.tenants');
SELECT * FROM tenancy.protect('no.nothing');
\echo :SQLSTATE
SELECT * FROM tenancy.protect(4294967295::oid::regclass);
\echo :SQLSTATE
SELECT * FROM tenancy.protect(NULL);
\echo :SQLSTATE

-- A partition or a child, and a tree with a foreign table in it.
CREATE TABLE no.root (tenant_id uuid NOT NULL, n int) PARTITION BY LIST (n);
CREATE TABLE no.leaf PARTITION OF no.root FOR VALUES IN (1);
SELECT * FROM tenancy.protect('no.leaf');
\echo :SQLSTATE
CREATE FOREIGN TABLE no.far PARTITION OF no.root FOR VALUES IN (2) SERVER no_server;
SELECT * FROM tenancy.protect('no.root');
\echo :SQLSTATE
CREATE TABLE no.child () INHERITS (no.t);
SELECT * FROM tenancy.protect('no.child');

-- Columns.
SELECT * FROM tenancy.protect('no.t', 'tenant');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('no.t', 'ctid');
SELECT * FROM tenancy.protect('no.t', 'body', owner_column => 'nobody');
SELECT * FROM tenancy.protect('no.t', owner_column => 'content');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('no.t', project_column => 'nobody');
SELECT * FROM tenancy.protect('no.t', project_column => 'content');
SELECT * FROM tenancy.protect('no.t', owner_column => 'tenant_id');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('no.t', owner_column => '');
SELECT * FROM tenancy.protect('no.t', shared => true, owner_column => 'body');
CREATE DOMAIN no.tenant_no AS numeric(9,2);
CREATE COLLATION no.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE no.types (a numeric, b real, c uuid[], d "char", e no.tenant_no, f text COLLATE no.loose, g bigint GENERATED ALWAYS AS IDENTITY, h text,
                       i text GENERATED ALWAYS AS (h) STORED);
SELECT * FROM tenancy.protect('no.types', 'a');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('no.types', 'b');
SELECT * FROM tenancy.protect('no.types', 'c');
SELECT * FROM tenancy.protect('no.types', 'd');
SELECT * FROM tenancy.protect('no.types', 'e');
SELECT * FROM tenancy.protect('no.types', 'f');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('no.types', 'g');
SELECT * FROM tenancy.protect('no.types', 'i');

-- Rows without a tenant.
CREATE TABLE no.holes (tenant_id uuid, body text);
INSERT INTO no.holes VALUES (NULL, 'a'), (NULL, 'b');
SELECT * FROM tenancy.protect('no.holes');
\echo :SQLSTATE
DELETE FROM no.holes WHERE body = 'b';
SELECT * FROM tenancy.protect('no.holes');
CREATE TABLE no.bare AS SELECT 1 AS n;
SELECT * FROM tenancy.protect('no.bare', add_column => true);
\echo :SQLSTATE
SELECT * FROM tenancy.protect('no.bare', add_column => true, backfill => 'globex');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('no.bare', add_column => true, backfill => 'acme/alice');
SELECT * FROM tenancy.protect('no.bare', add_column => true, backfill => 'acme/alice', shared => true);
SELECT * FROM tenancy.protect('no.bare', add_column => true, backfill => 'nobody');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('no.bare', add_column => true, backfill => '00000000-0000-7000-8000-0000000000ff');
\echo :SQLSTATE
CREATE TABLE no.accounts (account bigint);
INSERT INTO no.accounts VALUES (NULL);
SELECT * FROM tenancy.protect('no.accounts', 'account', backfill => 'solo');
\echo :SQLSTATE

-- Another owner's table; the rights of tenancy_admin.
SELECT * FROM tenancy.protect('no.of_postgres');
\echo :SQLSTATE
\c - adm_r
SELECT * FROM tenancy.protect('no.bare', add_column => true);
\c - app_r
SELECT * FROM tenancy.protect(0);
\echo :SQLSTATE
SELECT * FROM tenancy.unprotect(0);
\c - gw_r
SELECT * FROM tenancy.protect(0);

-- Other options than it has; nothing to take off.
\c - owner_r
SELECT count(*) > 0 AS done FROM tenancy.protect('no.t', shared => true);
SELECT * FROM tenancy.protect('no.t');
\echo :SQLSTATE
SELECT * FROM tenancy.unprotect('no.accounts');
\echo :SQLSTATE
SELECT * FROM tenancy.unprotect('no.a_view');
SELECT * FROM tenancy.unprotect(NULL);
-- After all of this none of them is half done.
SELECT relname FROM pg_class WHERE relnamespace = 'no'::regnamespace AND relkind IN ('r', 'p') AND (relrowsecurity OR relforcerowsecurity) ORDER BY 1;
SELECT table_name FROM tenancy.protected_tables WHERE table_name LIKE 'no.%';
