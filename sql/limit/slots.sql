-- Acquiring and releasing slots, and those that are held.

CREATE FUNCTION tenancy.acquire_slot(name text, ttl interval DEFAULT NULL, until text DEFAULT 'transaction') RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'acquire_slot_wrapper';
REVOKE ALL ON FUNCTION tenancy.acquire_slot(text, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.acquire_slot(text, interval, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.acquire_slot(text, interval, text) IS
    'Acquires a slot of a limit of kind slots at every level that limits the context, or at none: then it raises an error. Returns its id for '
    'release_slot(). until: transaction (freed at its end), session (freed at its end, by DISCARD ALL, or when another user''s context begins in '
    'it) or release (needs ttl). ttl: frees the slot after that time in any case; more than 0, at most 7 days. Rolling back the transaction, or '
    'the savepoint, that acquired a slot frees it. A slot is also freed if its session is terminated, and every slot if the server restarts. '
    'It does not wait for a slot. Errors: 53400 as many are held as may be (DETAIL); 53000 no room in shared memory (tenancy.slots); 42501 a '
    'slot until the end of the session behind a pool (tenancy.pooled); 22023 an invalid argument, or a limit of another kind; 42704 no such '
    'limit; 55000 no context, or one with several tenants, or with several projects and none selected. For tenancy_app, tenancy_gateway, '
    'tenancy_admin (with a context)';

CREATE FUNCTION tenancy.try_acquire_slot(name text, ttl interval DEFAULT NULL, until text DEFAULT 'transaction') RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'try_acquire_slot_wrapper';
REVOKE ALL ON FUNCTION tenancy.try_acquire_slot(text, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.try_acquire_slot(text, interval, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.try_acquire_slot(text, interval, text) IS
    'Acquires a slot as acquire_slot() does, and returns NULL in place of error 53400 if as many are held as may be. Errors otherwise as '
    'acquire_slot(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.release_slot(slot uuid) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'release_slot_wrapper';
REVOKE ALL ON FUNCTION tenancy.release_slot(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.release_slot(uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.release_slot(uuid) IS
    'Frees a slot at once, whatever becomes of the transaction, and returns true. Returns false if the slot is no longer held, never was, or is '
    'not the caller''s to free: any context of the slot''s tenant may free it, one of its user, and a caller who holds limits:manage there. '
    'Errors: 22023 slot is NULL; 55000 no context. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy_internal.held_slots() RETURNS TABLE (
    id uuid, limit_id integer, user_id uuid, place_id uuid, until text, expires_at timestamptz, acquired_at timestamptz, pid integer)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_held_slots_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.held_slots() FROM PUBLIC;
-- For the view: no application role has USAGE on the schema to call it by its name.
GRANT EXECUTE ON FUNCTION tenancy_internal.held_slots() TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.held_slots() IS 'internal: returns this database''s slots that are held; users read the view slots';

CREATE FUNCTION tenancy_internal.slot_counts() RETURNS TABLE (capacity bigint, held bigint, full_refusals bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_slot_counts_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.slot_counts() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.slot_counts() IS 'internal: see slot_stats()';
CREATE FUNCTION tenancy.slot_stats() RETURNS TABLE (capacity bigint, held bigint, full_refusals bigint)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.capacity, c.held, c.full_refusals FROM tenancy_internal.slot_counts() c;
END;
REVOKE ALL ON FUNCTION tenancy.slot_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.slot_stats() TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.slot_stats() IS
    'Reports statistics of the whole server''s slots: how many may be held at once (tenancy.slots), how many are held, and how many requests were '
    'refused since the server''s start because there was no room. For tenancy_admin, tenancy_auditor';

CREATE VIEW tenancy.slots WITH (security_barrier) AS
    SELECT CASE WHEN p.path && tenancy.scope_ids('limits:manage') OR h.user_id = tenancy.user_id() THEN h.id END AS id,
           d.name, h.place_id AS scope_id, p.slug AS scope, h.user_id, u.slug AS username, h.until, h.acquired_at, h.expires_at, h.pid
      FROM tenancy_internal.held_slots() h
      JOIN tenancy_internal.limit_definitions d ON d.id = h.limit_id
      JOIN tenancy.scopes p ON p.id = h.place_id
      LEFT JOIN tenancy.scopes u ON u.id = h.user_id
     WHERE (p.path && tenancy.scope_ids('limits:view') OR h.user_id = tenancy.user_id()) AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.slots FROM PUBLIC;
GRANT SELECT ON tenancy.slots TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.slots IS
    'The slots that are held on this server, and by whom. scope: the tenant, or the partner or platform of a user without one. id: for those who may '
    'release it, else NULL. pid: the session that frees it; NULL if it is held until its release. Shows the reader''s own slots, and those of scopes '
    'where the reader holds limits:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, '
    'tenancy_gateway, tenancy_admin, tenancy_auditor';
