-- A table whose tenant column holds scope ids: each tenant reads and writes its own rows, a partner its fleet's.
\set SHOW_CONTEXT never
\c - postgres
CREATE SCHEMA shop AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid, item text, n int DEFAULT 1);
SELECT count(*) FILTER (WHERE kind = 'do') > 0 AS done FROM tenancy.protect('shop.orders');
\d shop.orders
SELECT table_name, tenant_column, key_type, owner_column, project_column, shared, partitions, isolated, protected_by FROM tenancy.protected_tables WHERE table_name = 'shop.orders';
SELECT grantee, string_agg(privilege_type, ', ' ORDER BY privilege_type) FROM information_schema.role_table_grants
WHERE table_schema = 'shop' AND table_name = 'orders' AND grantee <> 'owner_r' GROUP BY grantee;

\c - adm_r
SELECT tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('apex/carol') AS carol,
       tenancy.issue_ticket('beta/dora') AS dora, tenancy.issue_ticket('platform/petra') AS petra \gset
SELECT id AS acme FROM tenancy.tenants WHERE slug = 'acme' \gset
SELECT id AS beta FROM tenancy.tenants WHERE slug = 'beta' \gset
\c - app_r
-- The tenant comes from the context.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
INSERT INTO shop.orders (item) VALUES ('anvil'), ('rope') RETURNING slug(tenant_id), item;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
INSERT INTO shop.orders (item) VALUES ('ladder') RETURNING slug(tenant_id), item;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'dora'));
INSERT INTO shop.orders (item) VALUES ('bucket') RETURNING slug(tenant_id), item;
COMMIT;

-- Its own rows, and no others, for every command.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT item FROM shop.orders ORDER BY item;
UPDATE shop.orders SET n = n + 1 RETURNING item, n;
DELETE FROM shop.orders WHERE item IN ('rope', 'ladder', 'bucket') RETURNING item;
SELECT item FROM shop.orders ORDER BY item;
COPY (SELECT item FROM shop.orders) TO STDOUT;
ROLLBACK;

-- Writing for another tenant is refused: by INSERT, by UPDATE, by MERGE, by ON CONFLICT.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SAVEPOINT s;
INSERT INTO shop.orders (tenant_id, item) VALUES (:'beta', 'forged');
\echo :SQLSTATE
ROLLBACK TO s;
UPDATE shop.orders SET tenant_id = :'beta';
\echo :SQLSTATE
ROLLBACK TO s;
INSERT INTO shop.orders (id, item) OVERRIDING SYSTEM VALUE SELECT 4, 'taken over' ON CONFLICT (id) DO UPDATE SET item = excluded.item;
\echo :SQLSTATE
ROLLBACK TO s;
MERGE INTO shop.orders o USING (VALUES (:'beta'::uuid)) v (t) ON o.tenant_id = v.t
    WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (tenant_id, item) VALUES (v.t, 'forged');
\echo :SQLSTATE
ROLLBACK;

-- A partner's user reads its fleet, and writes to one tenant, once selected.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT slug(tenant_id), item FROM shop.orders ORDER BY 1, 2;
SAVEPOINT s;
INSERT INTO shop.orders (tenant_id, item) VALUES (:'acme', 'for acme') RETURNING slug(tenant_id);
\echo :SQLSTATE
ROLLBACK TO s;
UPDATE shop.orders SET n = 4;
ROLLBACK TO s;
DELETE FROM shop.orders;
ROLLBACK TO s;
SELECT slug(tenancy.select_tenant('apex'));
INSERT INTO shop.orders (tenant_id, item) VALUES (:'acme', 'for acme');
ROLLBACK TO s;
INSERT INTO shop.orders (tenant_id, item) VALUES (:'beta', 'for beta');
\echo :SQLSTATE
ROLLBACK TO s;
SELECT slug(tenancy.select_tenant('apex'));
INSERT INTO shop.orders (item) VALUES ('for apex') RETURNING slug(tenant_id);
SELECT slug(tenant_id), item FROM shop.orders ORDER BY 1, 2;
UPDATE shop.orders SET n = 5 WHERE item = 'anvil';
SELECT count(*) FROM shop.orders WHERE n = 5;
ROLLBACK;

-- The platform's user: none.
BEGIN;
SELECT slug(tenancy.authenticate(:'petra'));
SELECT count(*) FROM shop.orders;
ROLLBACK;

-- TRUNCATE, DDL, foreign keys on it and triggers are not for the application.
TRUNCATE shop.orders;
ALTER TABLE shop.orders DISABLE ROW LEVEL SECURITY;
DROP POLICY tenancy_guard ON shop.orders;
CREATE TEMP TABLE probe (o bigint REFERENCES shop.orders);
CREATE TRIGGER t BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
SET row_security = off;
SELECT count(*) FROM shop.orders;
\echo :SQLSTATE
RESET row_security;

-- A policy made later cannot widen access.
\c - owner_r
CREATE POLICY everybody ON shop.orders USING (true) WITH CHECK (true);
BEGIN;
SELECT FROM tenancy.maintenance('another policy');
CREATE POLICY everybody ON shop.orders USING (true) WITH CHECK (true);
COMMIT;
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT item FROM shop.orders ORDER BY item;
INSERT INTO shop.orders (tenant_id, item) VALUES (:'beta', 'forged');
ROLLBACK;

-- No foreign key: rows that maintenance() writes for a tenant that does not exist are not visible.
\c - owner_r
BEGIN;
SELECT tenancy.maintenance('forged tenant');
INSERT INTO shop.orders (tenant_id, item) VALUES ('00000000-0000-7000-8000-0000000000ff', 'x');
ROLLBACK;
