-- Setting quotas, counting, and the views.

CREATE FUNCTION tenancy.count_quota() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_count_quota';
REVOKE ALL ON FUNCTION tenancy.count_quota() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.count_quota() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.count_quota() IS
    'Counts the rows of a table with quotas: the trigger that set_quota() creates. On a table without quotas it does nothing. For tenancy_admin';

-- With the caller's rights, as protect(): PostgreSQL itself checks who may create triggers.
CREATE FUNCTION tenancy_internal.set_quota("table" oid, name text, sum_of text, per text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_set_quota_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.set_quota(oid, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.set_quota(oid, text, text, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.set_quota(oid, text, text, text) IS 'internal: see set_quota()';

CREATE FUNCTION tenancy.set_quota(target regclass, name text, sum_of name DEFAULT NULL, per name DEFAULT 'tenant') RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT tenancy_internal.set_quota(target::oid, name, sum_of::text, per::text);
END;
REVOKE ALL ON FUNCTION tenancy.set_quota(regclass, text, name, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_quota(regclass, text, name, name) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.set_quota(regclass, text, name, name) IS
    'Counts what a protected table stores, and refuses what would exceed a limit of kind amount. name: the limit, which define_limit() defines and '
    'set_limit() or a plan gives a value. sum_of: an integer or numeric column that is summed; NULL: rows are counted. per: tenant, project (the '
    'table''s project_column), user (its owner_column), or a column of the table: then the tenant''s value is for each of the column''s values. A '
    'table may have several quotas, each of another limit. Called again it changes the quota. It counts all rows once, while nobody writes the '
    'table, says in notices how far it is, and returns the number of counters. Errors: 22023 an invalid argument, or a limit of another kind; 42501 '
    'the caller is not the owner; 42704 no such limit; 22003 a sum is too large; 54000 a value to count by is too long; 55006 the session is using the '
    'table. For tenancy_admin';

CREATE FUNCTION tenancy_internal.drop_quota("table" oid, name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_drop_quota_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.drop_quota(oid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.drop_quota(oid, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.drop_quota(oid, text) IS 'internal: see drop_quota()';

CREATE FUNCTION tenancy.drop_quota(target regclass, name text) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT tenancy_internal.drop_quota(target::oid, name);
END;
REVOKE ALL ON FUNCTION tenancy.drop_quota(regclass, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.drop_quota(regclass, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.drop_quota(regclass, text) IS
    'Ends a quota: the table''s rows are no longer counted for this limit, whose values stay. unprotect() and DROP TABLE end all quotas of the table. '
    'Errors: 42501 the caller is not the owner; 42704 no such quota. For tenancy_admin';

CREATE FUNCTION tenancy_internal.recount("table" oid, name text) RETURNS TABLE (name text, counters bigint, corrected bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_recount_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.recount(oid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.recount(oid, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.recount(oid, text) IS 'internal: see recount()';

CREATE FUNCTION tenancy.recount(target regclass, name text DEFAULT NULL) RETURNS TABLE (name text, counters bigint, corrected bigint)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT r.name, r.counters, r.corrected FROM tenancy_internal.recount(target::oid, recount.name) r;
END;
REVOKE ALL ON FUNCTION tenancy.recount(regclass, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.recount(regclass, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.recount(regclass, text) IS
    'Counts a table anew, and returns for each quota, or for the one with this name, how many counters there are and how many were wrong. Only rows '
    'that were stored while the triggers did not run can make one wrong: with session_replication_role = replica or DISABLE TRIGGER. Nobody writes '
    'the table meanwhile; reading goes on. Notices say how far it is. Errors: 42501 the caller is not the owner; 42704 no such quota; 22003 a sum is '
    'too large; 54000 a value to count by is too long; 55006 the session is using the table. For tenancy_admin';

CREATE FUNCTION tenancy_internal.quota_allowed("table" oid, quota integer, tenant text, key text) RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_quota_allowed_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.quota_allowed(oid, integer, text, text) FROM PUBLIC;
-- For the view: no application role has USAGE on the schema to call it by its name.
GRANT EXECUTE ON FUNCTION tenancy_internal.quota_allowed(oid, integer, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.quota_allowed(oid, integer, text, text) IS 'internal: returns how much a counter may count; NULL: not limited';

CREATE FUNCTION tenancy_internal.quota_scope("table" oid, quota integer, tenant uuid, key text) RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_quota_scope_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.quota_scope(oid, integer, uuid, text) FROM PUBLIC;
-- For the view, likewise.
GRANT EXECUTE ON FUNCTION tenancy_internal.quota_scope(oid, integer, uuid, text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.quota_scope(oid, integer, uuid, text) IS 'internal: returns the scope that a counter counts for';

CREATE VIEW tenancy.quotas WITH (security_barrier) AS
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS table_name, d.name, q.per, q.key_column, q.sum_column AS sum_of, d.unit,
           -- All triggers on the table and on each of its parts: a new part gets those for rows from the one above.
           NOT EXISTS (
               WITH RECURSIVE tree(oid) AS (
                   SELECT c.oid
                   UNION
                   SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid)
               SELECT FROM tree t JOIN pg_catalog.pg_class m ON m.oid = t.oid AND m.relkind IN ('r', 'p')
                CROSS JOIN (VALUES (CAST('tenancy_quota' AS name)), ('tenancy_quota_update'), ('tenancy_quota_truncate')) w (trigger)
                WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g
                                   WHERE g.tgrelid = m.oid AND g.tgname = w.trigger AND g.tgenabled IN ('O', 'A')
                                     AND g.tgfoid = CAST('tenancy.count_quota()' AS pg_catalog.regprocedure))) AS enforced,
           q.set_at, q.set_by
      FROM tenancy_internal.quota_definitions q
      JOIN tenancy_internal.limit_definitions d ON d.id = q.limit_id
      JOIN pg_catalog.pg_class c ON c.oid = q.relation
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE cardinality(tenancy.scope_ids()) > 0 AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.quotas FROM PUBLIC;
GRANT SELECT ON tenancy.quotas TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.quotas IS
    'The quotas of protected tables. per: tenant, project, user or column; key_column: the column with the project, the user or the value to count '
    'by; sum_of: the column that is summed, NULL: rows are counted; enforced: whether the triggers that count exist and are enabled. Every '
    'context sees all of them; without one tenancy_gateway, tenancy_admin and tenancy_auditor do. For tenancy_app, tenancy_gateway, tenancy_admin, '
    'tenancy_auditor';

CREATE VIEW tenancy.quota_usage WITH (security_barrier) AS
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS table_name, d.name, q.per, p.id AS scope_id, p.level AS scope_level, p.slug AS scope,
           CASE WHEN q.per = 'column' THEN u.key END AS key, x.used, a.allowed,
           CASE WHEN a.allowed > 0 THEN pg_catalog.round(x.used / a.allowed, 4) END AS share, d.unit
      FROM tenancy_internal.quota_definitions q
      JOIN tenancy_internal.protected_table_registry r ON r.relation = q.relation
      JOIN tenancy_internal.limit_definitions d ON d.id = q.limit_id
      JOIN pg_catalog.pg_class c ON c.oid = q.relation
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     -- From the few scopes that the reader sees to their counters, not from all counters.
     CROSS JOIN (
           SELECT s.id, s.level, s.keys_rows, s.external_id, CAST(NULL AS uuid) AS inner_id, CAST(NULL AS text[]) AS keys
             FROM tenancy.scopes s
            WHERE s.path && tenancy.scope_ids('limits:view') AND s.level <> 'user'
           UNION ALL
           -- The reader, and projects where the reader holds limits:view, in tenants where the reader does not.
           SELECT s.id, s.level, s.keys_rows, s.external_id, i.id, ARRAY[CAST(i.id AS text), i.external_id]
             FROM tenancy.scopes i JOIN tenancy.scopes s ON s.path && ARRAY[i.parent_id] OR s.id = ANY (i.path)
            WHERE i.id = ANY (tenancy.scope_ids('limits:view') || tenancy.user_id()) AND i.level IN ('project', 'user')
              AND s.level <> 'user' AND NOT s.path && tenancy.scope_ids('limits:view')) t
     -- OFFSET, here and below, keeps the server from reading all rows for a join.
     CROSS JOIN LATERAL (
           SELECT o.tenant, o.key, o.used FROM tenancy_internal.quota_counters o
            WHERE o.quota_id = q.id AND o.tenant = CASE WHEN r.key_type = 'uuid' THEN CAST(t.id AS text)
                                                        WHEN t.level = 'tenant' OR t.keys_rows THEN t.external_id END
              AND (t.keys IS NULL OR q.per IN ('project', 'user') AND o.key = ANY (t.keys))
           OFFSET 0) u
     CROSS JOIN LATERAL (
           SELECT CASE WHEN q.per IN ('tenant', 'column') THEN t.id
                       ELSE tenancy_internal.quota_scope(q.relation::oid, q.id, t.id, u.key) END AS id) k
     CROSS JOIN LATERAL (
           SELECT s.id, s.level, s.slug FROM tenancy.scopes s WHERE s.id = k.id AND (t.inner_id IS NULL OR s.id = t.inner_id)
           OFFSET 0) p
     CROSS JOIN LATERAL (SELECT greatest(CASE WHEN q.millionths THEN pg_catalog.trim_scale(u.used / 1000000.0) ELSE u.used END, 0) AS used) x
     CROSS JOIN LATERAL (SELECT tenancy_internal.quota_allowed(q.relation::oid, q.id, u.tenant, u.key) AS allowed) a
     WHERE tenancy_internal.barrier();
REVOKE ALL ON tenancy.quota_usage FROM PUBLIC;
GRANT SELECT ON tenancy.quota_usage TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.quota_usage IS
    'How much is stored for whom, and how much may be: scope_id is the tenant, project or user that is counted for, key the value of the quota''s '
    'column; used and allowed (NULL: not limited) in unit, share is used / allowed. Shows the reader''s own, and scopes where the reader holds '
    'limits:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, '
    'tenancy_auditor';
