-- Defining features and settings: their types and ranges.

CREATE FUNCTION tenancy_internal.check_option(
    kind text, name text, type text, default_value jsonb, minimum double precision, maximum double precision, choices text[]) RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_check_option_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_option(text, text, text, jsonb, double precision, double precision, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_option(text, text, text, jsonb, double precision, double precision, text[]) IS
    'internal: returns true, or raises 22023 with what is wrong in a definition';

CREATE FUNCTION tenancy_internal.place_option(kind text, name text, value jsonb, own jsonb) RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_place_option_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.place_option(text, text, jsonb, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.place_option(text, text, jsonb, jsonb) IS
    'internal: returns the values of a scope with one more, or (value NULL) without it; raises 42704 for an unknown name, 22023 for a wrong value';

CREATE FUNCTION tenancy_internal.define_option(
    kind text, name text, type text, default_value jsonb, level text, minimum numeric, maximum numeric, choices text[], description text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.option_definitions;
    initial jsonb := coalesce(nullif(default_value, 'null'), CASE WHEN type = 'boolean' AND kind = 'feature' THEN 'false'::jsonb WHEN type = 'list' THEN '[]' END);
BEGIN
    PERFORM tenancy_internal.authorize('platform:manage', '00000000-0000-7000-8000-000000000000');
    IF name IS NULL OR type IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN name IS NULL THEN 'name' ELSE 'type' END);
    END IF;
    IF kind = 'setting' AND (level IS NULL OR level NOT IN ('platform', 'partner', 'tenant', 'project', 'user')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a level', left(level, 80)),
            'Levels are platform, partner, tenant, project, user.');
    END IF;
    IF kind = 'setting' AND name = 'time_zone' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'time_zone is a setting of tenancy itself', 'tenancy.update_scope() sets it.');
    END IF;
    IF length(description) > 1000 OR minimum IN ('NaN', 'Infinity', '-Infinity') OR maximum IN ('NaN', 'Infinity', '-Infinity') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
            'description must have 1000 characters at most, and minimum and maximum must be finite');
    END IF;
    -- One caller at a time: names are compared with all others.
    LOCK TABLE tenancy_internal.option_definitions IN SHARE ROW EXCLUSIVE MODE;
    PERFORM tenancy_internal.check_option(kind, name, type, initial, minimum, maximum, choices);
    SELECT d.* INTO known FROM tenancy_internal.option_definitions d WHERE d.kind = define_option.kind AND d.name = define_option.name;
    IF known.type <> type THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('option_fixed', kind, name, known.type);
    END IF;
    -- What scopes have, or may set, changes with it.
    IF known.name IS NOT NULL AND (known.default_value, known.level, known.minimum, known.maximum, known.choices)
                                  IS DISTINCT FROM (initial, level, minimum, maximum, choices) THEN
        PERFORM tenancy_internal.require_lasting('the ' || kind, tenancy_internal.held_until('{platform:manage}', '00000000-0000-7000-8000-000000000000'));
    END IF;
    INSERT INTO tenancy_internal.option_definitions AS d (kind, name, type, default_value, level, minimum, maximum, choices, description)
    VALUES (kind, name, type, initial, level, minimum, maximum, choices, description)
    ON CONFLICT ON CONSTRAINT option_definitions_pkey DO UPDATE
       SET default_value = excluded.default_value, level = excluded.level, minimum = excluded.minimum, maximum = excluded.maximum,
           choices = excluded.choices, description = coalesce(excluded.description, d.description)
     WHERE (d.default_value, d.level, d.minimum, d.maximum, d.choices, d.description)
           IS DISTINCT FROM (excluded.default_value, excluded.level, excluded.minimum, excluded.maximum, excluded.choices, coalesce(excluded.description, d.description));
    IF FOUND THEN
        PERFORM tenancy_internal.audit(kind || '.defined', '00000000-0000-7000-8000-000000000000', name, jsonb_strip_nulls(jsonb_build_object(
            'type', type, 'default', initial, 'level', level, 'minimum', minimum, 'maximum', maximum, 'choices', choices)));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.define_option(text, text, text, jsonb, text, numeric, numeric, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.define_option(text, text, text, jsonb, text, numeric, numeric, text[], text) IS
    'internal: defines a feature or a setting, for define_feature() and define_setting()';

CREATE FUNCTION tenancy_internal.define_feature(
    name text, type text, default_value jsonb, minimum numeric, maximum numeric, choices text[], description text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT tenancy_internal.define_option('feature', name, type, default_value, NULL, minimum, maximum, choices, description);
END;
REVOKE ALL ON FUNCTION tenancy_internal.define_feature(text, text, jsonb, numeric, numeric, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.define_feature(text, text, jsonb, numeric, numeric, text[], text) IS 'internal: see define_feature()';
CREATE FUNCTION tenancy.define_feature(
    name text, type text DEFAULT 'boolean', default_value jsonb DEFAULT NULL, minimum numeric DEFAULT NULL, maximum numeric DEFAULT NULL,
    choices text[] DEFAULT NULL, description text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_feature(text, text, jsonb, numeric, numeric, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_feature(text, text, jsonb, numeric, numeric, text[], text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_feature(text, text, jsonb, numeric, numeric, text[], text) IS
    'Defines a feature, or changes its default value, range and description. name: up to 63 lower-case letters, digits, hyphens and underscores, '
    'with dots between words, as in prompt_studio.enabled. type: boolean, integer, number, text, enum, list or json; it cannot be changed. '
    'default_value: what counts where nothing is set; NULL: none, for a boolean false. minimum, maximum: of a number, or of the length of a text. '
    'choices: the values of an enum, and the allowed elements of a list. Of type json, default_value is an object with every path that a value may '
    'have; each path takes its value from the nearest scope that sets it. A value that no longer fits does not count. Needs platform:manage at the '
    'platform. Errors: 22023 an invalid argument, or another type than before; 42501 permission denied. For tenancy_app, tenancy_gateway (with a '
    'context), tenancy_admin';

CREATE FUNCTION tenancy_internal.define_setting(
    name text, type text, default_value jsonb, level text, minimum numeric, maximum numeric, choices text[], description text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT tenancy_internal.define_option('setting', name, type, default_value, level, minimum, maximum, choices, description);
END;
REVOKE ALL ON FUNCTION tenancy_internal.define_setting(text, text, jsonb, text, numeric, numeric, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.define_setting(text, text, jsonb, text, numeric, numeric, text[], text) IS 'internal: see define_setting()';
CREATE FUNCTION tenancy.define_setting(
    name text, type text DEFAULT 'text', default_value jsonb DEFAULT NULL, level text DEFAULT 'tenant', minimum numeric DEFAULT NULL,
    maximum numeric DEFAULT NULL, choices text[] DEFAULT NULL, description text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_setting(text, text, jsonb, text, numeric, numeric, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_setting(text, text, jsonb, text, numeric, numeric, text[], text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_setting(text, text, jsonb, text, numeric, numeric, text[], text) IS
    'Defines a setting, or changes its default value, level, range and description. level: the lowest level whose scopes may set it themselves: '
    'platform, partner, tenant, project or user; callers of that level may set it for scopes below, too. The other arguments are as in '
    'define_feature(). From then on the name is checked wherever settings are set; a value that was set before and does not fit does not count. '
    'Needs platform:manage at the platform. Errors: 22023 an invalid argument, or another type than before; 42501 permission denied. For '
    'tenancy_app, tenancy_gateway (with a context), tenancy_admin';
