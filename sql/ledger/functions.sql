-- Views and functions that show the ledger.

CREATE FUNCTION tenancy_internal.ledger_entries() RETURNS TABLE (
    scope_id uuid, metric_id integer, period_start timestamptz, period_end timestamptz, loaded boolean, used numeric, in_flight numeric,
    reserved numeric, touched_at timestamptz)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_ledger_entries_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.ledger_entries() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.ledger_entries() IS 'internal: returns this database''s entries of the ledger';

CREATE FUNCTION tenancy_internal.ledger_counts() RETURNS TABLE (capacity bigint, hits bigint, misses bigint, loads bigint, evictions bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', '_ledger_counts_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.ledger_counts() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.ledger_counts() IS 'internal: returns statistics of the ledger';

CREATE FUNCTION tenancy_internal.forget_ledger() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_forget_ledger_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.forget_ledger() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_ledger() IS 'internal: drops this database''s entries of the ledger, which are then loaded again';
-- Drops entries of an earlier installation in this database.
SELECT tenancy_internal.forget_ledger();

CREATE FUNCTION tenancy_internal.budget_limit(scope uuid, metric integer, at timestamptz, until timestamptz) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT trim_scale(min(b.amount) / 1000000.0) FROM tenancy_internal.budget_definitions b
     WHERE b.scope_id = scope AND coalesce(b.metric_id, 0) = metric AND b.hard AND NOT tenancy_internal.is_part(b)
       AND (SELECT p.lo FROM tenancy_internal.period(b.period, tenancy_internal.time_zone(b.scope_id), (extract(epoch FROM at) * 1000000)::bigint, b.anchor) p
             WHERE until IS NOT DISTINCT FROM CASE WHEN b.period <> 'total' THEN to_timestamp(p.hi / 1000000) END)
           = (extract(epoch FROM at) * 1000000)::bigint;
END;
REVOKE ALL ON FUNCTION tenancy_internal.budget_limit(uuid, integer, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.budget_limit(uuid, integer, timestamptz, timestamptz) IS
    'internal: returns the lowest hard budget of an entry of the ledger';

CREATE FUNCTION tenancy_internal.ledger() RETURNS TABLE (
    scope_id uuid, level text, scope text, metric text, period_start timestamptz, period_end timestamptz, used numeric, in_flight numeric,
    reserved numeric, hard_limit numeric, loaded boolean, touched_at timestamptz, hit_rate numeric, evictions bigint)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT e.scope_id, s.level, s.slug, m.name, e.period_start, e.period_end, e.used, e.in_flight, e.reserved,
           tenancy_internal.budget_limit(e.scope_id, e.metric_id, e.period_start, e.period_end), e.loaded, e.touched_at,
           round(100.0 * c.hits / nullif(c.hits + c.misses, 0), 1), c.evictions
      FROM tenancy_internal.ledger_entries() e
     CROSS JOIN tenancy_internal.ledger_counts() c
      LEFT JOIN tenancy.scopes s ON s.id = e.scope_id
      LEFT JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id
     -- Other entries count credits, which the view credits shows, reservations, and parts, by the hashes of their names.
     WHERE e.metric_id >= 0;
END;
REVOKE ALL ON FUNCTION tenancy_internal.ledger() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.ledger() TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.ledger() IS 'internal: see the view ledger. For tenancy_admin, tenancy_auditor';
CREATE VIEW tenancy.ledger AS SELECT * FROM tenancy_internal.ledger();
REVOKE ALL ON tenancy.ledger FROM PUBLIC;
GRANT SELECT ON tenancy.ledger TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.ledger IS
    'Entries of the ledger for this database, at this moment. An entry is loaded when one of its budgets is first needed. metric '
    'NULL is cost. in_flight: admitted in running transactions. hard_limit: the lowest hard budget; NULL: none. hit_rate: per cent of '
    'look-ups that found their entry. evictions: how many entries made room for others. Both count the whole ledger since the '
    'server''s start (see ledger_stats()). For tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy.ledger_stats() RETURNS TABLE (capacity bigint, hits bigint, misses bigint, loads bigint, evictions bigint)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.capacity, c.hits, c.misses, c.loads, c.evictions FROM tenancy_internal.ledger_counts() c;
END;
REVOKE ALL ON FUNCTION tenancy.ledger_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.ledger_stats() TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.ledger_stats() IS
    'Reports statistics of the whole server''s ledger since its start: its capacity (tenancy.ledger_entries), look-ups that found '
    'their entry and that did not, entries read from rows, and entries evicted. For tenancy_admin, tenancy_auditor';
