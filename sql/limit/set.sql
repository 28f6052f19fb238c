-- Defining and setting limits.

CREATE FUNCTION tenancy_internal.limit_named(name text) RETURNS tenancy_internal.limit_definitions
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found tenancy_internal.limit_definitions;
BEGIN
    SELECT d.* INTO found FROM tenancy_internal.limit_definitions d WHERE d.name = limit_named.name;
    IF found.id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('limit_not_found', left(coalesce(name, ''), 80));
    END IF;
    RETURN found;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.limit_named(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.limit_named(text) IS 'internal: returns the definition of a limit; raises 42704 if there is none';

CREATE FUNCTION tenancy_internal.define_limit(name text, kind text, unit text, description text) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.limit_definitions;
BEGIN
    PERFORM tenancy_internal.authorize('platform:manage', '00000000-0000-7000-8000-000000000000');
    IF name IS NULL OR kind IS NULL OR unit IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN name IS NULL THEN 'name' WHEN kind IS NULL THEN 'kind' ELSE 'unit' END);
    END IF;
    IF name !~ '^[a-z][a-z0-9_.-]{0,62}$' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a name of a limit', left(name, 80)),
            'Use up to 63 lower-case letters, digits, dots, hyphens and underscores, and a letter first.');
    END IF;
    IF kind NOT IN ('rate', 'slots', 'amount') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a kind of limit', left(kind, 80)),
            'Use rate (so much in a time), slots (so many at once) or amount (so much in all).');
    END IF;
    IF length(unit) NOT BETWEEN 1 AND 40 OR length(description) > 1000 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'unit must have 1 to 40 characters, and description 1000 at most');
    END IF;
    -- One caller at a time: ids are assigned in order.
    LOCK TABLE tenancy_internal.limit_definitions IN SHARE ROW EXCLUSIVE MODE;
    SELECT d.* INTO known FROM tenancy_internal.limit_definitions d WHERE d.name = define_limit.name;
    IF known.id IS NULL THEN
        INSERT INTO tenancy_internal.limit_definitions (id, name, kind, unit, description)
        SELECT coalesce(max(d.id), 0) + 1, define_limit.name, define_limit.kind, define_limit.unit, define_limit.description
          FROM tenancy_internal.limit_definitions d
        RETURNING id INTO known.id;
    ELSIF known.kind <> kind THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('limit_fixed', name, known.kind);
    ELSE
        UPDATE tenancy_internal.limit_definitions d SET unit = define_limit.unit, description = coalesce(define_limit.description, d.description)
         WHERE d.id = known.id;
    END IF;
    PERFORM tenancy_internal.audit('limit.defined', '00000000-0000-7000-8000-000000000000', name, jsonb_build_object('kind', kind, 'unit', unit));
    RETURN known.id;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.define_limit(text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.define_limit(text, text, text, text) IS 'internal: see define_limit()';
CREATE FUNCTION tenancy.define_limit(name text, kind text, unit text DEFAULT 'request', description text DEFAULT NULL) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_limit(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_limit(text, text, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_limit(text, text, text, text) IS
    'Defines the name of a limit, or changes its unit and description, and returns its id. kind: rate (so much in a time), slots (so many at '
    'once) or amount (so much in all); it cannot be changed. A limit without a value refuses nothing. Needs platform:manage at the platform. '
    'Errors: 22023 an invalid argument, or another kind than before; 42501 permission denied. For tenancy_app, tenancy_gateway (with a context), '
    'tenancy_admin';

-- Which level a caller means, whether the value is imposed, and the scope in which the caller's right decides that: it may end there
-- earlier than in the scope itself.
CREATE FUNCTION tenancy_internal.limit_place(scope uuid, level text, OUT for_level text, OUT imposed boolean, OUT decided_at uuid)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder text;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'scope');
    END IF;
    PERFORM tenancy_internal.authorize('limits:manage', scope);
    SELECT s.level INTO holder FROM tenancy.scopes s WHERE s.id = scope;
    for_level := coalesce(level, holder);
    IF tenancy_internal.level_rank(for_level) IS NULL OR tenancy_internal.level_rank(for_level) < tenancy_internal.level_rank(holder) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
            format('a %s has no limit for each "%s"', holder, left(for_level, 80)),
            'level is that of the scope or a lower one: platform, partner, tenant, project, user, api_key.');
    END IF;
    -- A caller that may set limits above the tenant, or above the partner, decides; a tenant or a partner can only add limits to these.
    imposed := holder = 'platform' OR (holder = 'partner' AND for_level <> 'partner');
    IF NOT imposed THEN
        SELECT p.id INTO decided_at FROM tenancy.scopes p WHERE p.id = tenancy_internal.scope_above(scope) AND p.path && tenancy.scope_ids('limits:manage');
        imposed := FOUND;
    END IF;
    decided_at := coalesce(decided_at, scope);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.limit_place(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.limit_place(uuid, text) IS
    'internal: returns the level that a caller of set_limit() means, whether its value is imposed, and in which scope the caller must hold limits:manage for that';

-- Writes a value that the caller may set, for a scope or a plan.
CREATE FUNCTION tenancy_internal.put_limit(
    scope uuid, plan uuid, wanted tenancy_internal.limit_definitions, level text, per text, imposed boolean, amount bigint, burst bigint) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    put uuid;
    widest bigint := CASE WHEN wanted.kind = 'amount' THEN 9000000000000000 ELSE 1000000000 END;
BEGIN
    IF amount NOT BETWEEN 0 AND widest THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('%s must be a number from 0 to %s',
            CASE wanted.kind WHEN 'rate' THEN 'rate' WHEN 'slots' THEN 'slots' ELSE 'amount' END, widest), 'NULL: not limited.');
    END IF;
    IF (wanted.kind = 'rate') <> (per IS NOT NULL) OR per NOT IN ('second', 'minute', 'hour', 'day') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a time of a rate', left(per, 80)),
            'Use second, minute, hour or day.');
    END IF;
    IF burst NOT BETWEEN 1 AND widest OR (burst IS NOT NULL AND (amount IS NULL OR wanted.kind <> 'rate')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('burst must be a number from 1 to %s', widest),
            'It is how much may be taken at once. NULL: as much as the rate.');
    END IF;
    INSERT INTO tenancy_internal.limit_values AS v (limit_id, scope_id, plan_id, level, per, imposed, amount, burst, created_by)
    VALUES (wanted.id, scope, plan, put_limit.level, put_limit.per, put_limit.imposed, put_limit.amount,
            CASE WHEN wanted.kind = 'rate' AND put_limit.amount IS NOT NULL THEN coalesce(put_limit.burst, greatest(put_limit.amount, 1)) END, tenancy.user_id())
    ON CONFLICT ON CONSTRAINT limit_values_key DO UPDATE
       SET amount = excluded.amount, burst = excluded.burst, created_by = excluded.created_by, created_at = excluded.created_at
    RETURNING v.id INTO put;
    RETURN put;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_limit(uuid, uuid, tenancy_internal.limit_definitions, text, text, boolean, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_limit(uuid, uuid, tenancy_internal.limit_definitions, text, text, boolean, bigint, bigint) IS
    'internal: writes the value of a limit; raises 22023 if it is out of range';

CREATE FUNCTION tenancy_internal.set_a_limit(scope uuid, name text, kind text, level text, per text, amount bigint, burst bigint) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted tenancy_internal.limit_definitions;
    place record;
    before record;
    put uuid;
BEGIN
    SELECT p.* INTO place FROM tenancy_internal.limit_place(scope, level) p;
    wanted := tenancy_internal.limit_named(name);
    IF wanted.kind <> kind THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('limit_of_other_kind', name, wanted.kind,
            CASE wanted.kind WHEN 'rate' THEN 'set_rate_limit' WHEN 'slots' THEN 'set_slots' ELSE 'set_limit' END);
    END IF;
    SELECT v.amount, v.burst INTO before FROM tenancy_internal.limit_values v
     WHERE v.scope_id = scope AND v.limit_id = wanted.id AND v.level = place.for_level AND v.per IS NOT DISTINCT FROM set_a_limit.per AND v.imposed = place.imposed
       FOR UPDATE;
    -- An imposed value replaces those above it, so that also the first may grant more.
    IF place.imposed AND (NOT FOUND OR amount IS NULL OR amount > before.amount OR coalesce(burst, amount) > before.burst)
       OR FOUND AND (amount IS NULL OR amount > before.amount OR coalesce(burst, amount) > before.burst) THEN
        PERFORM tenancy_internal.require_lasting('the limit', tenancy_internal.held_until('{limits:manage}', place.decided_at));
    END IF;
    put := tenancy_internal.put_limit(scope, NULL, wanted, place.for_level, per, place.imposed, amount, burst);
    PERFORM tenancy_internal.audit('limit.set', scope, name, jsonb_strip_nulls(jsonb_build_object(
        'amount', coalesce(to_jsonb(amount), '"unlimited"'), 'per', per, 'burst', burst, 'level', place.for_level, 'imposed', place.imposed,
        'before', before.amount)));
    RETURN put;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_a_limit(uuid, text, text, text, text, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_a_limit(uuid, text, text, text, text, bigint, bigint) IS 'internal: sets a limit of any kind, for set_limit(), set_rate_limit() and set_slots()';

CREATE FUNCTION tenancy_internal.set_rate_limit(scope tenancy.regscope, name text, rate bigint, per text, burst bigint, level text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF per IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'per');
    END IF;
    RETURN tenancy_internal.set_a_limit(scope, name, 'rate', level, per, rate, burst);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_rate_limit(tenancy.regscope, text, bigint, text, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_rate_limit(tenancy.regscope, text, bigint, text, bigint, text) IS 'internal: see set_rate_limit()';
CREATE FUNCTION tenancy.set_rate_limit(scope tenancy.regscope, name text, rate bigint, per text DEFAULT 'second', burst bigint DEFAULT NULL, level text DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_rate_limit(tenancy.regscope, text, bigint, text, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_rate_limit(tenancy.regscope, text, bigint, text, bigint, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_rate_limit(tenancy.regscope, text, bigint, text, bigint, text) IS
    'Sets how much of a limit of kind rate may be taken per second, minute, hour or day, and returns the value''s id. rate 0 refuses all, NULL '
    'does not limit. burst: how much may be taken at once, by default as much as the rate. A name may have a rate for each of second, minute, '
    'hour and day; all apply. level: for each scope of this level in the scope (partner, tenant, project, user, or api_key), by default '
    'for the scope itself. A caller with limits:manage above the tenant imposes the value: of imposed values the nearest counts, in the order '
    'user, project, tenant, plan, partner, platform. A caller with limits:manage only in the tenant adds a limit to these. Errors: 22023 an '
    'invalid argument, or a limit of another kind; 42501 permission denied; 42704 no such scope or limit. For tenancy_app, tenancy_gateway '
    '(with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.set_slots(scope tenancy.regscope, name text, slots bigint, level text) RETURNS uuid
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
RETURN tenancy_internal.set_a_limit(scope, name, 'slots', level, NULL, slots, NULL);
REVOKE ALL ON FUNCTION tenancy_internal.set_slots(tenancy.regscope, text, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_slots(tenancy.regscope, text, bigint, text) IS 'internal: see set_slots()';
CREATE FUNCTION tenancy.set_slots(scope tenancy.regscope, name text, slots bigint, level text DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_slots(tenancy.regscope, text, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_slots(tenancy.regscope, text, bigint, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_slots(tenancy.regscope, text, bigint, text) IS
    'Sets how many slots of a limit of kind slots may be held at the same time, and returns the value''s id. 0 refuses all, NULL does not '
    'limit. level, and which values count: see set_rate_limit(). Slots that are held already stay. Errors: 22023 an invalid argument, or a limit of another kind; '
    '42501 permission denied; 42704 no such scope or limit. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.set_limit(scope tenancy.regscope, name text, amount bigint, level text) RETURNS uuid
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
RETURN tenancy_internal.set_a_limit(scope, name, 'amount', level, NULL, amount, NULL);
REVOKE ALL ON FUNCTION tenancy_internal.set_limit(tenancy.regscope, text, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_limit(tenancy.regscope, text, bigint, text) IS 'internal: see set_limit()';
CREATE FUNCTION tenancy.set_limit(scope tenancy.regscope, name text, amount bigint, level text DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_limit(tenancy.regscope, text, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_limit(tenancy.regscope, text, bigint, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_limit(tenancy.regscope, text, bigint, text) IS
    'Sets a limit of kind amount, in its unit, and returns the value''s id. 0 allows none, NULL does not limit. level, and which values count: '
    'see set_rate_limit(). Errors: 22023 an invalid argument, or a limit of another kind; 42501 permission denied; 42704 no such scope or limit. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.remove_limit(scope tenancy.regscope, name text, per text, level text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted tenancy_internal.limit_definitions;
    place record;
    gone record;
BEGIN
    SELECT p.* INTO place FROM tenancy_internal.limit_place(scope, level) p;
    wanted := tenancy_internal.limit_named(name);
    PERFORM tenancy_internal.require_lasting('the removal of the limit', tenancy_internal.held_until('{limits:manage}', place.decided_at));
    -- A caller who may impose removes the imposed value first, then the scope's own.
    DELETE FROM tenancy_internal.limit_values v
     WHERE v.id = (SELECT o.id FROM tenancy_internal.limit_values o
                    WHERE o.scope_id = scope AND o.limit_id = wanted.id AND o.level = place.for_level AND o.per IS NOT DISTINCT FROM remove_limit.per
                      AND (place.imposed OR NOT o.imposed)
                    ORDER BY o.imposed DESC LIMIT 1)
    RETURNING v.amount, v.imposed INTO gone;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('limit_not_set', name);
    END IF;
    PERFORM tenancy_internal.audit('limit.removed', scope, name, jsonb_strip_nulls(jsonb_build_object(
        'per', per, 'level', place.for_level, 'imposed', gone.imposed, 'before', gone.amount)));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.remove_limit(tenancy.regscope, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.remove_limit(tenancy.regscope, text, text, text) IS 'internal: see remove_limit()';
CREATE FUNCTION tenancy.remove_limit(scope tenancy.regscope, name text, per text DEFAULT NULL, level text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.remove_limit(tenancy.regscope, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.remove_limit(tenancy.regscope, text, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.remove_limit(tenancy.regscope, text, text, text) IS
    'Removes the value of a limit from a scope; what the tenant''s plan, the partner and the platform say applies again. per: of a rate. level: as '
    'it was set, by default that of the scope. A caller who may impose removes the imposed value first. Errors: 22023 an invalid argument; 42501 '
    'permission denied; 42704 no such scope, limit or value, or none that the caller may remove. For tenancy_app, tenancy_gateway (with a context), '
    'tenancy_admin';

CREATE VIEW tenancy.limit_names WITH (security_barrier) AS
    SELECT d.name, d.kind, d.unit, d.description, d.created_at
      FROM tenancy_internal.limit_definitions d
     WHERE cardinality(tenancy.scope_ids()) > 0 AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.limit_names FROM PUBLIC;
GRANT SELECT ON tenancy.limit_names TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.limit_names IS
    'The names of limits, their kind (rate, slots, amount) and unit. Every context sees all of them; without one tenancy_gateway, tenancy_admin and '
    'tenancy_auditor do. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

CREATE VIEW tenancy.limit_settings WITH (security_barrier) AS
    SELECT v.id, v.scope_id, s.level AS scope_level, s.slug AS scope, d.name, d.kind, v.level, v.amount, v.per, v.burst, v.imposed, v.created_at, v.created_by
      FROM tenancy_internal.limit_values v
      JOIN tenancy_internal.limit_definitions d ON d.id = v.limit_id
      JOIN tenancy.scopes s ON s.id = v.scope_id
     WHERE s.path && tenancy.scope_ids('limits:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.limit_settings FROM PUBLIC;
GRANT SELECT ON tenancy.limit_settings TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.limit_settings IS
    'The values of limits as they are set on scopes: amount (NULL: not limited) for each scope of level in the scope. Shows scopes where the reader '
    'holds limits:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, '
    'tenancy_auditor';
