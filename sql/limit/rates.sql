-- Taking from rate limits, and their state in shared memory.

CREATE FUNCTION tenancy.take(name text, cost bigint DEFAULT 1) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_take';
REVOKE ALL ON FUNCTION tenancy.take(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.take(text, bigint) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.take(text, bigint) IS
    'Takes cost from a limit of kind rate at every level that limits the context (API key, user, project, tenant, partner, platform) and in every '
    'time, or from none: then it raises an error. Returns how much may be taken at once now, the least of all; NULL: not limited. cost 0 takes '
    'nothing. What was taken is not given back by ROLLBACK: attempts count. The level of API keys counts if a key proved the context. Rates are '
    'kept in shared memory, each server''s own, and full again after a restart. Errors: 53400 a level has too little left (DETAIL names the '
    'limit, what it has left and when to retry), or never allows as much; 53000 no room in shared memory (tenancy.rate_buckets); 22023 an invalid '
    'argument, or a limit of another kind; 42704 no such limit; 55000 no context, or one with several tenants, or with several projects and '
    'none selected. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.try_take(
    name text, cost bigint DEFAULT 1,
    OUT allowed boolean, OUT remaining bigint, OUT retry_after interval, OUT level text, OUT per text
) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_try_take';
REVOKE ALL ON FUNCTION tenancy.try_take(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.try_take(text, bigint) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.try_take(text, bigint) IS
    'Takes from a limit of kind rate as take() does, and reports a refusal as a row in place of error 53400. allowed: whether it was taken. '
    'remaining: how much may be taken at once now, the least of all levels; NULL: not limited. If it was refused, the other columns describe the '
    'value that refuses for longest: remaining is what it has left, level is platform, partner, tenant, project, user or api_key, per is second, '
    'minute, hour or day, and retry_after is the time after which the same call fits, if nothing else is taken; NULL: never. Errors otherwise '
    'as take(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.limits() RETURNS TABLE (
    name text, kind text, level text, scope_id uuid, per text, amount bigint, burst bigint, imposed boolean,
    used bigint, remaining bigint, refused bigint, refused_at timestamptz)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'limits_wrapper';
REVOKE ALL ON FUNCTION tenancy.limits() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.limits() TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.limits() IS
    'Reports every value of a limit that applies to the context, and its state: what is used of what may be used at once, what remains, how many '
    'requests it refused since it is in use, and when the last one. scope_id: the scope, or the API key, that the value is for. NULLs for limits '
    'of kind amount, and for partner and platform unless the caller holds limits:view there. Errors: 55000 no context, or one with several '
    'tenants, or with several projects and none selected. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy_internal.rate_buckets() RETURNS TABLE (
    limit_id integer, level text, target uuid, per text, imposed boolean, amount bigint, burst bigint,
    used bigint, remaining bigint, refused bigint, refused_at timestamptz)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_rate_buckets_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.rate_buckets() FROM PUBLIC;
-- For the view: no application role has USAGE on the schema to call it by its name.
GRANT EXECUTE ON FUNCTION tenancy_internal.rate_buckets() TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.rate_buckets() IS 'internal: returns this database''s rate limits in use; users read the view rates_in_use';

CREATE FUNCTION tenancy_internal.rate_counts() RETURNS TABLE (capacity bigint, used bigint, full_refusals bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_rate_counts_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.rate_counts() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.rate_counts() IS 'internal: see rate_stats()';
CREATE FUNCTION tenancy.rate_stats() RETURNS TABLE (capacity bigint, used bigint, full_refusals bigint)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.capacity, c.used, c.full_refusals FROM tenancy_internal.rate_counts() c;
END;
REVOKE ALL ON FUNCTION tenancy.rate_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.rate_stats() TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.rate_stats() IS
    'Reports statistics of the whole server''s rate limits: how many may be in use at once (tenancy.rate_buckets), how many are in memory, idle ones '
    'included that were not evicted yet, and how many requests were refused since the server''s start because there was no room. For '
    'tenancy_admin, tenancy_auditor';

CREATE VIEW tenancy.rates_in_use WITH (security_barrier) AS
    SELECT d.name, b.level, coalesce(s.id, u.id) AS scope_id, coalesce(s.slug, u.slug) AS scope, k.id AS api_key_id, b.per, b.amount, b.burst,
           b.imposed, b.used, b.remaining, b.refused, b.refused_at
      FROM tenancy_internal.rate_buckets() b
      JOIN tenancy_internal.limit_definitions d ON d.id = b.limit_id
      LEFT JOIN tenancy.scopes s ON s.id = b.target AND b.level <> 'api_key'
      LEFT JOIN tenancy_internal.api_key_secrets k ON k.id = b.target AND b.level = 'api_key'
      LEFT JOIN tenancy.scopes u ON u.id = k.user_id
     WHERE coalesce(s.path, u.path) && tenancy.scope_ids('limits:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.rates_in_use FROM PUBLIC;
GRANT SELECT ON tenancy.rates_in_use TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.rates_in_use IS
    'The rate limits of which something is used now, on this server: used of what may be taken at once (burst), what remains, how many requests '
    'were refused since it is in use, and when the last one. Of level api_key scope is the key''s user. Shows scopes where the reader holds '
    'limits:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, '
    'tenancy_admin, tenancy_auditor';
