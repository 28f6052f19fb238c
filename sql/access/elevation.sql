-- Elevation -----------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.require_principal() RETURNS uuid
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_require_principal_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.require_principal() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_principal() IS 'internal: the context''s user, or 55000';

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
    'lets the context''s user reach tenants'' rows with what it holds at the platform, for ttl (1 second to 1 day); returns until when. It is in force in transactions that begin after this one has committed, on all of the user''s connections, '
    'and each statement on a protected table is then in the audit log before it reads, with its values removed. To write, select a tenant. Needs platform:elevate at the platform. '
    'Errors: 55000 no context; 42501 not held; 22023 reason or ttl. For tenancy_app, tenancy_gateway';

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
        -- What it gave ends with it. Tickets are nowhere: they ask for their elevation.
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
    'ends the elevations of the context''s user before their time, for transactions that begin after this one has committed, and with them the keys and tickets that were issued by their power; returns how many. Errors: 55000 no context. For tenancy_app, tenancy_gateway';
