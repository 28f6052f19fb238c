-- Elevation -----------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.require_principal() RETURNS uuid
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_require_principal_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.require_principal() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_principal() IS 'internal: returns the context''s user; raises 55000 without one';

CREATE FUNCTION tenancy_internal.elevate(reason text, ttl interval) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who uuid := tenancy_internal.require_principal();
    seconds double precision := tenancy_internal.seconds(ttl);
    made record;
BEGIN
    PERFORM tenancy_internal.authorize('platform:elevate', '00000000-0000-7000-8000-000000000000');
    reason := tenancy_internal.checked_reason(reason);
    IF seconds IS NULL OR seconds NOT BETWEEN 1 AND 86400 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'ttl must be between 1 second and 1 day',
            'Make it as short as the work takes; another elevation can follow.');
    END IF;
    INSERT INTO tenancy.elevations (user_id, reason, expires_at) VALUES (who, reason, clock_timestamp() + make_interval(secs => seconds))
    RETURNING id, expires_at INTO made;
    PERFORM tenancy_internal.audit('elevation.began', NULL, NULL,
        jsonb_build_object('elevation', made.id, 'reason', reason, 'expires_at', made.expires_at));
    RETURN made.expires_at;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.elevate(text, interval) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.elevate(text, interval) IS 'internal: see elevate()';
CREATE FUNCTION tenancy.elevate(reason text, ttl interval DEFAULT '1 hour') RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.elevate(text, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.elevate(text, interval) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.elevate(text, interval) IS
    'Elevates the context''s user for ttl (1 second to 1 day) and returns when the elevation ends. While elevated, the user reaches '
    'tenants'' rows with the permissions that it holds at the platform. The elevation applies to transactions that begin after this '
    'one has committed, on all of the user''s connections. Before a statement on a protected table reads, the audit log records it, '
    'without its values. To write, select a tenant. Needs platform:elevate at the platform. Errors: 55000 no context; 42501 '
    'permission denied; 22023 an invalid reason or ttl. For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy_internal.end_elevation() RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who uuid := tenancy_internal.require_principal();
    ended uuid[];
BEGIN
    WITH gone AS (UPDATE tenancy.elevations e SET ended_at = clock_timestamp()
                   WHERE e.user_id = who AND e.ended_at IS NULL AND e.expires_at > now() RETURNING e.id)
    SELECT array_agg(g.id) INTO ended FROM gone g;
    IF ended IS NOT NULL THEN
        PERFORM tenancy_internal.audit('elevation.ended', NULL, NULL, NULL);
        -- Its keys end with it. Tickets are not stored: they check their elevation.
        PERFORM tenancy_internal.revoke_keys_of(ended);
    END IF;
    RETURN coalesce(cardinality(ended), 0);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.end_elevation() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.end_elevation() IS 'internal: see end_elevation()';
CREATE FUNCTION tenancy.end_elevation() RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.end_elevation() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.end_elevation() TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.end_elevation() IS
    'Ends the elevations of the context''s user early, and revokes the keys and tickets that were issued under them. Returns how '
    'many elevations it ended. It applies to transactions that begin after this one has committed. Errors: 55000 no context. For '
    'tenancy_app, tenancy_gateway';
