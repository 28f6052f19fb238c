-- verify_audit_log() finds every change that a superuser makes to the audit log behind its triggers, and names the entry.
\set SHOW_CONTEXT never
\c - postgres
-- Not while this runs.
ALTER SYSTEM SET tenancy.audit_seal_interval = '1h';
SELECT pg_reload_conf(), pg_sleep(0.2);
-- One transaction each, so that they are in this order in one seal; what was there before is sealed first.
SELECT tenancy.seal_audit_log() >= 0 AS sealed;
SELECT tenancy.audit('verify.one', 'a', '{"n": 1}') AS one \gset
SELECT tenancy.audit('verify.two', 'b', '{"n": 2}') AS two \gset
SELECT tenancy.audit('verify.three', 'c', '{"n": 3}') AS three \gset
SELECT tenancy.seal_audit_log() > 0 AS sealed;
SELECT tenancy.audit('verify.four', 'd') AS four \gset
SELECT tenancy.seal_audit_log() > 0 AS sealed;
SELECT tenancy.audit('verify.five', 'e') AS five \gset
SELECT tenancy.seal_audit_log() > 0 AS sealed;
SELECT * FROM tenancy.verify_audit_log();
\c - audit_r
SELECT * FROM tenancy.verify_audit_log();
SELECT * FROM tenancy.verify_audit_log(now() - interval '1 hour');
SELECT * FROM tenancy.verify_audit_log(now() + interval '1 hour');
SELECT count(*), min(octet_length(hash)) FROM tenancy.audit_head();
SELECT v.* FROM tenancy.audit_head() h, tenancy.verify_audit_log(NULL, h.seal, h.hash) v;
SELECT problem FROM tenancy.audit_head() h, tenancy.verify_audit_log(NULL, h.seal, '\x00') v;
SELECT problem FROM tenancy.audit_head() h, tenancy.verify_audit_log(NULL, h.seal + 1000, h.hash) v;
SELECT tenancy.verify_audit_log(expected_seal => 1);
\echo :SQLSTATE
-- Settings that change how values are shown change nothing.
SET timezone = 'Asia/Kathmandu';
SET datestyle = 'German';
SET extra_float_digits = -10;
SET bytea_output = 'escape';
SET intervalstyle = 'sql_standard';
SELECT * FROM tenancy.verify_audit_log();
\c - app_r
SELECT tenancy.verify_audit_log();
SELECT tenancy.seal_audit_log();
SELECT tenancy.audit_head();
SELECT count(*) FROM tenancy.audit_seals;

-- What is wrong, by the names used here.
\c - postgres
CREATE TEMPORARY TABLE names AS SELECT * FROM (VALUES (:'one'::uuid, 'one'), (:'two', 'two'), (:'three', 'three'), (:'four', 'four'), (:'five', 'five')) n (id, name);
CREATE FUNCTION pg_temp.wrong(OUT entry text, OUT problem text) RETURNS SETOF record LANGUAGE sql AS
    $$ SELECT n.name, v.problem FROM tenancy.verify_audit_log() v LEFT JOIN names n ON n.id = v.entry ORDER BY v.seal, n.name, v.problem $$;
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'tenancy.audit_log'::regclass UNION ALL SELECT 'tenancy.audit_log'::regclass UNION ALL SELECT 'tenancy.audit_seals'::regclass LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER append_only', part);
    END LOOP;
END
$$;
-- Each column of an entry.
BEGIN; UPDATE tenancy.audit_log SET details = '{"n": 20}' WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET at = at + interval '1 microsecond' WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET user_id = id WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET tenant_id = id WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET partner_id = id WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET action = 'verify.x' WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET target = NULL WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET role = 'x' WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET login = 'x' WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET client = '10.0.0.1' WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET origin = 1 WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log SET xid = '3' WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
-- One less, one more, two that change places.
BEGIN; DELETE FROM tenancy.audit_log WHERE id = :'two'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; INSERT INTO tenancy.audit_log SELECT at, origin, xid, tenancy.new_id(), user_id, tenant_id, partner_id, action, target, role, login, client, details FROM tenancy.audit_log WHERE id = :'four'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_log l SET details = o.details, target = o.target FROM tenancy.audit_log o
       WHERE (l.id, o.id) IN ((:'one', :'three'), (:'three', :'one')); SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; DELETE FROM tenancy.audit_log WHERE id IN (SELECT id FROM names); SELECT * FROM pg_temp.wrong(); ROLLBACK;
-- The entry and its digest, but not the hash.
BEGIN; UPDATE tenancy.audit_log SET target = 'z' WHERE id = :'four';
       UPDATE tenancy.audit_seals s SET digests = ARRAY(SELECT tenancy_internal.audit_digest(l) FROM tenancy.audit_log l WHERE l.id = ANY (s.ids) ORDER BY l.xid, l.id) WHERE :'four' = ANY (ids);
       SELECT * FROM pg_temp.wrong(); ROLLBACK;
-- And the hash, but not those after it.
BEGIN; UPDATE tenancy.audit_log SET target = 'z' WHERE id = :'four';
       UPDATE tenancy.audit_seals s SET digests = ARRAY(SELECT tenancy_internal.audit_digest(l) FROM tenancy.audit_log l WHERE l.id = ANY (s.ids) ORDER BY l.xid, l.id) WHERE :'four' = ANY (ids);
       UPDATE tenancy.audit_seals s SET hash = tenancy_internal.seal_hash(s) WHERE :'four' = ANY (ids);
       SELECT * FROM pg_temp.wrong(); ROLLBACK;
-- A seal less, with its entry or without; two that change places; the last one less, which only the noted head tells.
BEGIN; DELETE FROM tenancy.audit_seals WHERE :'four' = ANY (ids); SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; DELETE FROM tenancy.audit_seals WHERE :'four' = ANY (ids); DELETE FROM tenancy.audit_log WHERE id = :'four'; SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_seals SET id = -id WHERE :'four' = ANY (ids) OR :'five' = ANY (ids);
       UPDATE tenancy.audit_seals SET id = (SELECT sum(-id) FROM tenancy.audit_seals WHERE id < 0) + id WHERE id < 0;
       SELECT * FROM pg_temp.wrong(); ROLLBACK;
SELECT seal AS head, hash AS head_hash FROM tenancy.audit_head() \gset
BEGIN; DELETE FROM tenancy.audit_seals WHERE id = :head; DELETE FROM tenancy.audit_log WHERE id = :'five'; SELECT * FROM pg_temp.wrong();
       SELECT problem FROM tenancy.verify_audit_log(NULL, :head, :'head_hash'); ROLLBACK;
-- An entry of the seal's time and instants.
BEGIN; UPDATE tenancy.audit_seals SET sealed_at = sealed_at - interval '1 day' WHERE :'four' = ANY (ids); SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_seals SET ats[1] = ats[1] - interval '1 day' WHERE :'four' = ANY (ids); SELECT * FROM pg_temp.wrong(); ROLLBACK;
BEGIN; UPDATE tenancy.audit_seals SET ids = ids[2:], ats = ats[2:], digests = digests[2:] WHERE :'one' = ANY (ids); SELECT * FROM pg_temp.wrong(); ROLLBACK;
-- In order again.
SELECT * FROM pg_temp.wrong();
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'tenancy.audit_log'::regclass UNION ALL SELECT 'tenancy.audit_log'::regclass UNION ALL SELECT 'tenancy.audit_seals'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', part);
    END LOOP;
END
$$;

-- A month that is old enough, and sealed, goes as a whole; its entries are not missed.
SELECT tenancy_internal.make_audit_partition('2020-02-01');
INSERT INTO tenancy.audit_log SELECT '2020-02-29 23:59:59.999999+00', origin, xid, tenancy.new_id(), user_id, tenant_id, partner_id, 'old.one', target, role, login, client, details
FROM (SELECT l.*, pg_current_xact_id() FROM tenancy.audit_log l WHERE id = :'one') l;
-- It was added to sealed entries.
SELECT entry IS NOT NULL AS entry, at, problem FROM tenancy.verify_audit_log();
ALTER TABLE tenancy_internal.audit_log_2020_02 DISABLE TRIGGER append_only;
DELETE FROM tenancy_internal.audit_log_2020_02;
ALTER TABLE tenancy_internal.audit_log_2020_02 ENABLE ALWAYS TRIGGER append_only;
INSERT INTO tenancy.audit_log SELECT '2020-02-29 23:59:59.999999+00', origin, pg_current_xact_id(), tenancy.new_id(), user_id, tenant_id, partner_id, 'old.one', target, role, login, client, details
FROM tenancy.audit_log l WHERE id = :'one';
SET timezone = 'America/Los_Angeles';
SELECT tenancy_internal.retire_audit_log(0), tenancy_internal.retire_audit_log(100000);
-- Not sealed: it stays.
SELECT tenancy_internal.retire_audit_log(30);
SELECT tenancy.seal_audit_log() > 0 AS sealed;
SELECT tenancy_internal.retire_audit_log(30);
SELECT to_regclass('tenancy_internal.audit_log_2020_02') IS NULL AS gone;
SELECT partition, from_at AT TIME ZONE 'UTC' AS from_at, to_at AT TIME ZONE 'UTC' AS to_at, entries FROM tenancy.audit_retired;
SELECT action, target, details - 'last_seal' AS details FROM tenancy.audit_log WHERE action = 'tenancy.audit.retired';
SELECT * FROM pg_temp.wrong();
-- An entry that was not recorded by tenancy is found.
BEGIN;
INSERT INTO tenancy.audit_retired VALUES ('audit_log_2019_01', '2019-01-01', '2019-02-01', 0, 0);
SELECT * FROM pg_temp.wrong();
ROLLBACK;
RESET timezone;
ALTER SYSTEM RESET tenancy.audit_seal_interval;
SELECT pg_reload_conf();
