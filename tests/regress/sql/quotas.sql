-- Quotas: set_quota(), what is refused, the views, drop_quota() and unprotect().
\set SHOW_CONTEXT never
\c - adm_r
SELECT slug(tenancy.create_partner('qp'));
SELECT slug(tenancy.create_tenant('qt', partner => 'qp', external_id => '7'));
SELECT slug(tenancy.create_user('qt', 'quinn'));
SELECT tenancy.issue_api_key('qt/quinn', 'k') AS quinn \gset
\c - postgres
CREATE SCHEMA qs AUTHORIZATION adm_r;
GRANT USAGE ON SCHEMA qs TO app_r;
\c - adm_r
CREATE TABLE qs.files (id int, account int NOT NULL, folder text, size numeric, body text, n int GENERATED ALWAYS AS (octet_length(body)) STORED);
SELECT count(*) > 0 AS done FROM tenancy.protect('qs.files', 'account', grants => '{app_r}');
SELECT tenancy.define_limit('q.files', 'amount', 'file') > 0 AS files, tenancy.define_limit('q.size', 'amount', 'MB') > 0 AS size,
       tenancy.define_limit('q.folder', 'amount', 'file') > 0 AS folder, tenancy.define_limit('q.rate', 'rate') > 0 AS rate;
SELECT count(*) FROM (SELECT tenancy.set_limit('qp', 'q.files', 4, 'tenant') UNION ALL SELECT tenancy.set_limit('qp', 'q.size', 10, 'tenant')
                      UNION ALL SELECT tenancy.set_limit('qt', 'q.folder', 2)) v;
INSERT INTO qs.files VALUES (1, 7, 'a', 1);
BEGIN;
SELECT tenancy.maintenance('the first file');
INSERT INTO qs.files VALUES (1, 7, 'a', 1.5);
COMMIT;
SELECT tenancy.set_quota('qs.files', 'q.files'), tenancy.set_quota('qs.files', 'q.size', 'size'), tenancy.set_quota('qs.files', 'q.folder', per => 'folder');
\d qs.files
SELECT table_name, name, per, key_column, sum_of, unit, enforced, set_by FROM tenancy.quotas ORDER BY name;
-- Refused.
SELECT tenancy.set_quota('qs.files', 'q.rate');
SELECT tenancy.set_quota('qs.files', 'none');
SELECT tenancy.set_quota('qs.files', 'q.files', 'body');
SELECT tenancy.set_quota('qs.files', 'q.files', 'none');
SELECT tenancy.set_quota('qs.files', 'q.files', per => 'size');
SELECT tenancy.set_quota('qs.files', 'q.files', per => 'project');
SELECT tenancy.set_quota('qs.files', NULL);
SELECT tenancy.drop_quota('qs.files', 'q.rate');
SELECT tenancy.set_quota('pg_class', 'q.files');
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'quinn'));
INSERT INTO qs.files (id, folder, size) VALUES (2, 'a', 8.5);
SAVEPOINT s;
INSERT INTO qs.files (id, folder, size) VALUES (3, 'b', 0.000001);
ROLLBACK TO s;
INSERT INTO qs.files (id, folder, size) VALUES (3, 'a', 0);
ROLLBACK TO s;
INSERT INTO qs.files (id, folder, size) VALUES (3, NULL, NULL), (4, NULL, -3), (5, 'c', 0);
ROLLBACK TO s;
INSERT INTO qs.files (id, folder, size) VALUES (3, NULL, NULL), (4, NULL, -3);
DELETE FROM qs.files WHERE id = 1;
SELECT name FROM tenancy.quota_usage;
COMMIT;
\c - adm_r
SELECT table_name, name, per, scope_level, scope, key, used, allowed, share, unit FROM tenancy.quota_usage ORDER BY name;
-- A quota that becomes another; counting anew.
SELECT tenancy.set_quota('qs.files', 'q.size', 'n');
SELECT * FROM tenancy.recount('qs.files') ORDER BY name;
SELECT tenancy.drop_quota('qs.files', 'q.folder');
SELECT name, used FROM tenancy.quota_usage ORDER BY name;
SELECT kind, statement FROM tenancy.unprotect('qs.files') WHERE statement LIKE '%quota%';
SELECT count(*) FROM tenancy.quotas;
DROP SCHEMA qs CASCADE;
