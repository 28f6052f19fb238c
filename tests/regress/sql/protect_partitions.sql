-- A partitioned table is isolated with all its partitions, also those created or attached later; a detached one stays isolated.
\set SHOW_CONTEXT never
\c - postgres
CREATE SCHEMA parts AUTHORIZATION owner_r;
\c - owner_r
-- Roles get rights only by protect().
ALTER DEFAULT PRIVILEGES REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM tenancy_app;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON SEQUENCES FROM tenancy_app;
CREATE TABLE parts.events (tenant_id uuid NOT NULL, at date NOT NULL, body text) PARTITION BY RANGE (at);
CREATE TABLE parts.events_2024 PARTITION OF parts.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parts.events_2025 PARTITION OF parts.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY RANGE (at);
CREATE TABLE parts.events_2025_h1 PARTITION OF parts.events_2025 FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');
CREATE FUNCTION parts.state() RETURNS TABLE ("table" text, enabled boolean, forced boolean, policies bigint, index boolean, foreign_key boolean)
LANGUAGE sql AS $$
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid),
           EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid), EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f')
    FROM pg_class c WHERE c.relnamespace = 'parts'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1 $$;
SELECT count(*) > 0 AS done FROM tenancy.protect('parts.events', grants => '{tenancy_app}');
SELECT * FROM parts.state();
SELECT table_name, partitions, isolated FROM tenancy.protected_tables WHERE table_name LIKE 'parts.%';

-- Made later, in every way there is.
CREATE TABLE parts.events_2025_h2 PARTITION OF parts.events_2025 FOR VALUES FROM ('2025-07-01') TO ('2026-01-01');
CREATE TABLE parts.events_2026 (LIKE parts.events INCLUDING ALL);
ALTER TABLE parts.events ATTACH PARTITION parts.events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
DO $$ BEGIN
    EXECUTE 'CREATE TABLE parts.events_rest PARTITION OF parts.events DEFAULT';
END $$;
SELECT * FROM parts.state();
SELECT table_name, partitions, isolated FROM tenancy.protected_tables WHERE table_name LIKE 'parts.%';

-- A partition has nothing of the application's grants; by its name, too, only the context's rows are seen.
\c - adm_r
SELECT tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('apex/carol') AS carol \gset
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
INSERT INTO parts.events (at, body) SELECT ('20' || y || '-12-01')::date, 'of acme' FROM generate_series(24, 27) y;
INSERT INTO parts.events (at, body) VALUES ('2025-02-01', 'of acme');
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
INSERT INTO parts.events (at, body) VALUES ('2025-02-01', 'of apex');
SELECT tableoid::regclass, body FROM parts.events ORDER BY at;
SELECT body FROM parts.events_2025_h1;
ROLLBACK;
\c - owner_r
GRANT SELECT ON parts.events_2025_h1, parts.events_rest TO tenancy_app;
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
SELECT body FROM parts.events_2025_h1;
SELECT body FROM parts.events_rest;
COMMIT;
SELECT body FROM parts.events_rest;

-- protect() on a partition does nothing of its own; unprotect() names the root.
\c - owner_r
SELECT kind, statement, note FROM tenancy.protect('parts.events_2024');
SELECT * FROM tenancy.unprotect('parts.events_2024');
\echo :SQLSTATE

-- Detached, it stays isolated until it is taken off.
ALTER TABLE parts.events DETACH PARTITION parts.events_2024;
SELECT * FROM parts.state() WHERE "table" = 'events_2024';
SELECT body FROM parts.events_2024;
SELECT count(*) > 0 AS taken_off FROM tenancy.unprotect('parts.events_2024');
SELECT "table", enabled, forced, policies FROM parts.state() WHERE "table" = 'events_2024';
SELECT body FROM parts.events_2024;

-- What cannot be isolated cannot be attached.
\c - postgres
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
GRANT USAGE ON FOREIGN SERVER nowhere TO owner_r;
\c - owner_r
CREATE TABLE parts.keyed (account bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
SELECT count(*) > 0 AS done FROM tenancy.protect('parts.keyed', 'account', concurrent_index => true, grants => '{tenancy_app}');
CREATE FOREIGN TABLE parts.far (account bigint NOT NULL, at date NOT NULL) SERVER nowhere;
ALTER TABLE parts.keyed ATTACH PARTITION parts.far FOR VALUES FROM ('2028-01-01') TO ('2029-01-01');
\echo :SQLSTATE
SELECT table_name, partitions, isolated FROM tenancy.protected_tables WHERE table_name = 'parts.keyed';

-- The index built concurrently: on each partition, then attached.
CREATE TABLE parts.log (tenant_id uuid NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE parts.log_a PARTITION OF parts.log FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parts.log_b PARTITION OF parts.log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
\pset format unaligned
SELECT statement, note FROM tenancy.protect('parts.log', grants => '{tenancy_app}', concurrent_index => true) WHERE kind = 'run' ORDER BY step;
SELECT statement FROM tenancy.protect('parts.log', grants => '{tenancy_app}', concurrent_index => true, dry_run => true) WHERE kind = 'run' ORDER BY step \gexec
SELECT indexrelid::regclass AS index, indisvalid FROM pg_index WHERE indrelid::regclass::text LIKE 'parts.log%' ORDER BY indexrelid::regclass::text;
SELECT count(*) FILTER (WHERE kind = 'run') AS left_to_run FROM tenancy.protect('parts.log', grants => '{tenancy_app}', concurrent_index => true);

\c - owner_r
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tenancy_app;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO tenancy_app;
