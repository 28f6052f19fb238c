-- The audit log: its entries, who may read which, and that no role can change them.
\set SHOW_CONTEXT never
\c - adm_r
-- An administrator without a context adds an entry.
SELECT tenancy.audit('invoice.sent', 'invoice 7', '{"amount": 7}') IS NOT NULL AS done;
-- Of the extension's own, in the tenant and partner of what they are about.
\c - postgres
SELECT tenancy_internal.audit('test.scope', s.id, 'web', '{}') FROM tenancy.scopes s JOIN tenancy.scopes p ON p.id = s.parent_id WHERE s.slug = 'web' AND p.slug = 'acme';
SELECT tenancy_internal.audit('test.scope', id, 'globex', NULL) FROM tenancy.partners WHERE slug = 'globex';
SELECT tenancy_internal.audit('test.scope', id, 'beta', NULL) FROM tenancy.tenants WHERE slug = 'beta';
SELECT action, slug(user_id), slug(tenant_id), slug(partner_id), target, role, login, details, at <= clock_timestamp() AS past,
       origin = (SELECT system_identifier FROM pg_control_system()) AS here
FROM tenancy.audit_log WHERE action IN ('invoice.sent', 'tenancy.test.scope') ORDER BY id;

-- Arguments.
\c - adm_r
SELECT tenancy.audit(NULL);
\echo :SQLSTATE
SELECT tenancy.audit('');
\echo :SQLSTATE
SELECT tenancy.audit('Invoice');
SELECT tenancy.audit('tenancy.login');
\echo :SQLSTATE
SELECT tenancy.audit('a.b', '');
\echo :SQLSTATE
SELECT tenancy.audit('a.b', 'x', NULL);
\echo :SQLSTATE
SELECT tenancy.audit('a.b', 'x', '[]');
\echo :SQLSTATE
SELECT tenancy.audit('a.b', 'x', '{}'::jsonb || jsonb_build_object('x', repeat('y', 70000)));
\echo :SQLSTATE
BEGIN READ ONLY;
SELECT tenancy.audit('a.b');
\echo :SQLSTATE
ROLLBACK;
-- A rollback removes an entry, unless the worker has committed it.
BEGIN;
SELECT tenancy.audit('roll.back') IS NOT NULL AS done;
ROLLBACK;
\c - postgres
-- The library has it for tests alone.
CREATE FUNCTION record_now(action text, details jsonb) RETURNS void LANGUAGE c AS '$libdir/tenancy', '_record_now_wrapper';
BEGIN READ ONLY;
SELECT record_now('test.stays', '{"n": 1}');
ROLLBACK;
DROP FUNCTION record_now;
SELECT action, details FROM tenancy.audit_log WHERE action IN ('roll.back', 'tenancy.test.stays');

-- Refused without a context and the role.
\c - app_r
SELECT tenancy.audit('a.b');
\echo :SQLSTATE
\c - plain_r
SELECT tenancy.audit('a.b');
\echo :SQLSTATE
SELECT * FROM tenancy.audit_log;

-- Append-only for every role.
\c - adm_r
UPDATE tenancy.audit_log SET action = 'x';
DELETE FROM tenancy.audit_log;
TRUNCATE tenancy.audit_log;
INSERT INTO tenancy.audit_log SELECT * FROM tenancy.audit_log;
\c - postgres
UPDATE tenancy.audit_log SET action = 'x';
\echo :SQLSTATE
DELETE FROM tenancy.audit_log WHERE false;
\echo :SQLSTATE
TRUNCATE tenancy.audit_log;
\echo :SQLSTATE
SET session_replication_role = replica;
DELETE FROM tenancy.audit_log;
\echo :SQLSTATE
UPDATE tenancy.audit_seals SET hash = '';
\echo :SQLSTATE
DELETE FROM tenancy.audit_retired;
\echo :SQLSTATE
RESET session_replication_role;
-- Of partitions too, whose names depend on the month.
DO $$
DECLARE
    part regclass;
    statement text;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'tenancy.audit_log'::regclass LOOP
        FOREACH statement IN ARRAY ARRAY['UPDATE %s SET action = ''x''', 'DELETE FROM %s', 'TRUNCATE %s'] LOOP
            BEGIN
                EXECUTE format(statement, part);
                RAISE WARNING 'not refused: % %', statement, part;
            EXCEPTION WHEN insufficient_privilege THEN NULL;
            END;
        END LOOP;
    END LOOP;
END
$$;
-- tenancy_admin may lock a partition, which pg_dump -s does; its row security shows nothing. Each has its indexes.
SELECT count(*) > 0 AS partitions,
       bool_and((SELECT bool_and(a.grantee = c.relowner OR a.grantee = 'tenancy_admin'::regrole AND a.privilege_type = 'SELECT') FROM aclexplode(c.relacl) a)) AS admins_lock, bool_and(relrowsecurity) AS closed,
       bool_and((SELECT count(*) FROM pg_index x WHERE x.indrelid = c.oid) = 3) AS indexes,
       bool_and(NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')) AS no_members
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE inhparent = 'tenancy.audit_log'::regclass;

-- Tenants read theirs with audit:view, which a member has not; partners their fleet's, the platform and its administrators all.
\c - adm_r
SELECT slug(tenancy.create_user('acme', 'ada', role => 'tenant_admin')), slug(tenancy.create_user('beta', 'ben', role => 'manager'));
SELECT tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('acme/ada') AS ada, tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('beta/ben') AS ben \gset
SELECT target FROM tenancy.audit_log WHERE action = 'tenancy.test.scope' ORDER BY id;
\c - audit_r
SELECT target FROM tenancy.audit_log WHERE action = 'tenancy.test.scope' ORDER BY id;
\c - app_r
SELECT count(*) FROM tenancy.audit_log;
SET tenancy.ticket = :'alice';
SELECT target FROM tenancy.audit_log WHERE action = 'tenancy.test.scope' ORDER BY id;
SET tenancy.ticket = :'ada';
SELECT target FROM tenancy.audit_log WHERE action = 'tenancy.test.scope' ORDER BY id;
SET tenancy.ticket = :'gina';
SELECT target FROM tenancy.audit_log WHERE action = 'tenancy.test.scope' ORDER BY id;
SET tenancy.ticket = :'ben';
SELECT target FROM tenancy.audit_log WHERE action = 'tenancy.test.scope' ORDER BY id;
RESET tenancy.ticket;
\c - postgres
DELETE FROM tenancy.scopes WHERE slug IN ('ada', 'ben');

-- maintenance() and protect() are recorded.
\c - owner_r
BEGIN;
SELECT tenancy.maintenance('for the audit log');
COMMIT;
\c - audit_r
SELECT action, details, role FROM tenancy.audit_log WHERE action = 'tenancy.maintenance' AND details ->> 'reason' = 'for the audit log';
