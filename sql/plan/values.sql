-- The values of features and settings: setting them on scopes, and reading those of the context.

CREATE FUNCTION tenancy_internal.authorize_grant(scope uuid, parameter text DEFAULT 'scope') RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    above uuid := tenancy_internal.scope_above(scope);
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', parameter);
    END IF;
    PERFORM tenancy_internal.authorize('plans:manage', scope);
    IF NOT EXISTS (SELECT FROM tenancy.scopes p WHERE p.id = above AND p.path && tenancy.scope_ids('plans:manage')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('plan_denied');
    END IF;
    RETURN tenancy_internal.held_until('{plans:manage}', above);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_grant(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_grant(uuid, text) IS
    'internal: raises 42501 unless the caller may set features and the plan of a scope. Returns until when it may; NULL: without an end';

CREATE FUNCTION tenancy_internal.put_option(kind text, scope uuid, name text, value jsonb, held timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before jsonb;
    wanted jsonb;
BEGIN
    SELECT CASE put_option.kind WHEN 'feature' THEN s.features ELSE s.settings END INTO before FROM tenancy.scopes s WHERE s.id = scope FOR NO KEY UPDATE;
    wanted := tenancy_internal.place_option(kind, name, value, before);
    IF wanted <> before THEN
        PERFORM tenancy_internal.require_lasting('the ' || kind, held);
        UPDATE tenancy.scopes s
           SET features = CASE put_option.kind WHEN 'feature' THEN wanted ELSE s.features END, settings = CASE put_option.kind WHEN 'setting' THEN wanted ELSE s.settings END
         WHERE s.id = scope;
        -- A person's values are not for the log, which keeps them.
        PERFORM tenancy_internal.audit(kind || '.set', scope, name, CASE WHEN tenancy_internal.user_target(scope) IS NULL
            THEN jsonb_build_object('value', value) ELSE jsonb_build_object('user', scope) END);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_option(text, uuid, text, jsonb, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_option(text, uuid, text, jsonb, timestamptz) IS
    'internal: sets a feature or a setting of a scope for a caller that may, until held (NULL: without an end)';

CREATE FUNCTION tenancy_internal.set_feature(scope tenancy.regscope, name text, value jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held timestamptz := tenancy_internal.authorize_grant(scope);
BEGIN
    IF name IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'name');
    END IF;
    PERFORM tenancy_internal.put_option('feature', scope, name, value, held);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_feature(tenancy.regscope, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_feature(tenancy.regscope, text, jsonb) IS 'internal: see set_feature()';
CREATE FUNCTION tenancy.set_feature(scope tenancy.regscope, name text, value jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_feature(tenancy.regscope, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_feature(tenancy.regscope, text, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_feature(tenancy.regscope, text, jsonb) IS
    'Sets a feature for a scope and all below it, as JSON (true, 5, "eu"); NULL removes the scope''s own value. name: of define_feature(), or a path '
    'in one of type json. The nearest value counts: that of the user, the project, the tenant, the tenant''s plan, the partner, the platform, then '
    'the default. A scope''s own values are in its column features. Needs plans:manage above the tenant, at its partner; for a partner at the '
    'platform. Takes effect at the next statement of every session. Errors: 22023 a wrong value; 42501 permission denied; 42704 no such scope or '
    'feature. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.authorize_setting(scope uuid, name text) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Of a path in a setting of type json, the setting.
    lowest text := (SELECT d.level FROM tenancy_internal.option_definitions d
                     WHERE d.kind = 'setting' AND (d.name = authorize_setting.name OR starts_with(authorize_setting.name, d.name || '.') AND d.type = 'json'));
    place record;
    held timestamptz;
BEGIN
    IF lowest = 'user' AND scope = tenancy.user_id() THEN
        RETURN NULL;
    END IF;
    held := tenancy_internal.authorize_change(scope, true);
    SELECT s.level, s.path INTO place FROM tenancy.scopes s WHERE s.id = scope;
    IF tenancy_internal.level_rank(lowest) < tenancy_internal.level_rank(place.level) AND NOT EXISTS (
        SELECT FROM tenancy.scopes p
         WHERE p.id = place.path[least(tenancy_internal.level_rank(lowest), cardinality(place.path) - 1)]
           AND p.path && tenancy.scope_ids(CASE place.level
               WHEN 'partner' THEN 'partners:manage' WHEN 'tenant' THEN 'tenants:update' WHEN 'project' THEN 'projects:manage' ELSE 'users:manage' END)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('setting_denied', name, lowest);
    END IF;
    RETURN held;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_setting(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_setting(uuid, text) IS
    'internal: raises 42501 unless the caller may set a setting of a scope. Returns until when it may; NULL: without an end';

CREATE FUNCTION tenancy_internal.authorize_settings(scope uuid, before jsonb, after jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed record;
BEGIN
    FOR changed IN
        SELECT d.name FROM tenancy_internal.option_definitions d
         WHERE d.kind = 'setting' AND before -> d.name IS DISTINCT FROM after -> d.name
    LOOP
        PERFORM tenancy_internal.authorize_setting(scope, changed.name);
        IF after ? changed.name THEN
            PERFORM tenancy_internal.place_option('setting', changed.name, after -> changed.name, '{}');
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_settings(uuid, jsonb, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_settings(uuid, jsonb, jsonb) IS
    'internal: raises 42501 or 22023 unless the caller may change the settings of a scope so; names that are not defined are the application''s own';

CREATE FUNCTION tenancy_internal.set_setting(scope tenancy.regscope, name text, value jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF scope IS NULL OR name IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN scope IS NULL THEN 'scope' ELSE 'name' END);
    END IF;
    PERFORM tenancy_internal.put_option('setting', scope, name, value, tenancy_internal.authorize_setting(scope, name));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_setting(tenancy.regscope, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_setting(tenancy.regscope, text, jsonb) IS 'internal: see set_setting()';
CREATE FUNCTION tenancy.set_setting(scope tenancy.regscope, name text, value jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_setting(tenancy.regscope, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_setting(tenancy.regscope, text, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_setting(tenancy.regscope, text, jsonb) IS
    'Sets a setting for a scope and all below it, as JSON (true, 5, "de"); NULL removes the scope''s own value. name: of define_setting(), or a path '
    'in one of type json. The nearest value counts, as for set_feature(). A scope''s own values are in its column settings. Needs what '
    'update_scope() needs for settings; above the level of the definition, at a scope of that level. Users may set settings of level user for '
    'themselves. Takes effect at the next statement of every session. Errors: 22023 a wrong value; 42501 permission denied; 42704 no such scope '
    'or setting. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- Reading ------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.feature(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'tenancy_feature';
COMMENT ON FUNCTION tenancy.feature(text) IS
    'Returns whether the context has a feature: one of type boolean, a boolean path of one of type json (prompt_studio.enabled), or an element of '
    'one of type list (models.large). Read from memory. Errors: 22023 not a boolean; 42704 no such feature; 55000 no context. For tenancy_app, '
    'tenancy_gateway, tenancy_admin';
CREATE FUNCTION tenancy.feature_value(name text) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'tenancy_feature_value';
COMMENT ON FUNCTION tenancy.feature_value(text) IS
    'Returns the value of a feature of any type for the context; NULL if it has none. Errors: 42704 no such feature; 55000 no context. For '
    'tenancy_app, tenancy_gateway, tenancy_admin';
CREATE FUNCTION tenancy.setting(name text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'tenancy_setting';
COMMENT ON FUNCTION tenancy.setting(text) IS
    'Returns the value of a setting for the context as text; NULL if it has none. Read from memory. Errors: 42704 no such setting; 55000 no '
    'context. For tenancy_app, tenancy_gateway, tenancy_admin';
CREATE FUNCTION tenancy.setting_value(name text) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'tenancy_setting_value';
COMMENT ON FUNCTION tenancy.setting_value(text) IS
    'Returns the value of a setting for the context as JSON; NULL if it has none. Errors: 42704 no such setting; 55000 no context. For '
    'tenancy_app, tenancy_gateway, tenancy_admin';
REVOKE ALL ON FUNCTION tenancy.feature(text), tenancy.feature_value(text), tenancy.setting(text), tenancy.setting_value(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.feature(text), tenancy.feature_value(text), tenancy.setting(text), tenancy.setting_value(text)
    TO tenancy_app, tenancy_gateway, tenancy_admin;
